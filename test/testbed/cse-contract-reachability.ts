// Contract, part two: what reaches whom. Subscriptions and their notifications, the polling channel, groups, announced
// copies, and requests that cross from one CSE to another.
import type { Test } from 'tap';
import { contentOf } from '../../src/onem2m/cse-client.ts';
import type { CseOutcome } from '../../src/onem2m/cse-client.ts';
import { NotificationEventType, ResourceType, ResponseStatusCode } from '../../src/onem2m/enums.ts';
import type { RequestPrimitive, ResponsePrimitive } from '../../src/onem2m/primitives.ts';
import type { Ae, Notification, Subscription } from '../../src/onem2m/resources.ts';
import { instance, ok, refused } from './cse-contract-bench.ts';
import type { Bench, Receiver, RegisteredAe } from './cse-contract-bench.ts';

type Check = readonly [title: string, check: (t: Test, bench: Bench) => Promise<void>];

const rsc = ResponseStatusCode;
const net = NotificationEventType;

/** Checks that involve a second entity. */
export const reachabilityChecks: readonly Check[] = [
  [
    'an AE is notified of new instances at its point of access, without verification, in order (TS-0001 10.2.10)',
    async (t, bench) => {
      const { ae, receiver } = await listeningAe(t, bench);
      const container = await bench.container(t, ae);
      const subscription = await subscribe(t, ae, container, {
        notificationUri: [ae.stem],
        eventNotificationCriteria: {
          notificationEventType: [net.createOfDirectChild],
          childResourceType: [ResourceType.contentInstance],
        },
      });
      t.equal(receiver.verifications.length, 0, 'the creator is not verified');
      for (const resourceName of ['c1', 'c2', 'c3']) {
        ok(
          t,
          await instance(ae.client, container, { resourceName, content: resourceName }),
          rsc.created,
          resourceName,
        );
      }
      await bench.arrived(receiver, 3);
      t.strictSame(receiver.notifications.map(nameIn).sort(), ['c1', 'c2', 'c3']);
      for (const notification of receiver.notifications) {
        t.equal(notification.notificationEvent?.notificationEventType, net.createOfDirectChild);
        t.ok(
          await isSame(ae, subscription, notification.subscriptionReference),
          'the reference names the subscription',
        );
      }
      await bench.container(t, ae, {}, container);
      ok(t, await instance(ae.client, container, { resourceName: 'c4', content: 4 }), rsc.created, 'c4');
      await bench.arrived(receiver, 4);
      t.equal(nameIn(receiver.notifications[3]), 'c4', 'a container of no wanted type was passed over');
    },
  ],
  [
    'another notification target is verified first, and a refusal is 5204 (TS-0001 10.2.10.3)',
    async (t, bench) => {
      const ae = await bench.ae(t, 'mn1');
      const container = await bench.container(t, ae);
      const receiver = await bench.receiver();
      const to = urlOf(receiver);
      await subscribe(t, ae, container, created([to]));
      const [verification] = receiver.verifications;
      t.equal(verification?.verificationRequest, true);
      t.type(verification?.subscriptionReference, 'string');
      ok(
        t,
        await instance(ae.client, container, { resourceName: 'c1', content: 1 }),
        rsc.created,
        'an instance',
      );
      t.equal(nameIn(await bench.arrived(receiver)), 'c1', 'notified at the URL');
      receiver.responseStatusCode = rsc.originatorHasNoPrivilege;
      const denied = await ae.client.create(container, ResourceType.subscription, {
        subscription: created([to]),
      });
      refused(t, denied, rsc.subscriptionVerificationInitiationFailed, 'the target said no');
      if (!bench.target.capabilities.verifiesUnreachable) return;
      const nowhere = to.replace(/:\d+\b|\/\/[a-z0-9]+/u, (text) =>
        text.startsWith(':') ? ':9' : '//nowhere',
      );
      const dead = await ae.client.create(container, ResourceType.subscription, {
        subscription: created([nowhere]),
      });
      refused(t, dead, rsc.subscriptionVerificationInitiationFailed, `nobody at ${nowhere}`);
    },
  ],
  [
    'events: update with the attributes wanted, deletion, deletion of a child (TS-0004 6.3.4.2.19)',
    async (t, bench) => {
      const { ae, receiver } = await listeningAe(t, bench);
      const container = await bench.container(t, ae);
      await subscribe(t, ae, container, {
        notificationUri: [ae.stem],
        notificationContentType: 2,
        eventNotificationCriteria: { notificationEventType: [net.updateOfResource], attribute: ['lbl'] },
      });
      ok(
        t,
        await ae.client.update(container, { container: { maxNrOfInstances: 9 } }),
        rsc.updated,
        'another attribute',
      );
      ok(
        t,
        await ae.client.update(container, { container: { labels: ['x'] } }),
        rsc.updated,
        'the attribute wanted',
      );
      const first = await bench.arrived(receiver);
      t.match(first?.notificationEvent?.representation?.container, { labels: ['x'] });
      t.equal(receiver.notifications.length, 1, 'one of the two updates is reported');

      const child = await bench.container(t, ae, {}, container);
      await subscribe(t, ae, container, {
        notificationUri: [ae.stem],
        eventNotificationCriteria: { notificationEventType: [net.deleteOfDirectChild] },
      });
      await subscribe(t, ae, child, {
        notificationUri: [ae.stem],
        eventNotificationCriteria: { notificationEventType: [net.deleteOfResource] },
      });
      ok(t, await ae.client.delete(child), rsc.deleted, 'DELETE');
      await bench.arrived(receiver, 3);
      const events = receiver.notifications
        .slice(1)
        .map((each) => each.notificationEvent?.notificationEventType);
      t.strictSame(events.sort(), [net.deleteOfResource, net.deleteOfDirectChild]);
    },
  ],
  [
    'a change of the point of access counts from the next notification on (link change)',
    async (t, bench) => {
      const { ae, receiver } = await listeningAe(t, bench);
      const container = await bench.container(t, ae);
      await subscribe(t, ae, container, created([ae.stem]));
      const elsewhere = await bench.receiver();
      const moved = await ae.client.update(ae.stem, { ae: { pointOfAccess: [elsewhere.pointOfAccess] } });
      ok(t, moved, rsc.updated, 'the point of access moves');
      ok(
        t,
        await instance(ae.client, container, { resourceName: 'c1', content: 1 }),
        rsc.created,
        'an instance',
      );
      t.equal(nameIn(await bench.arrived(elsewhere)), 'c1');
      t.equal(receiver.notifications.length, 0, 'nothing at the former one');
    },
  ],
  [
    'notifications in batches, and an end by count (TS-0001 9.6.8 batchNotify, expirationCounter)',
    async (t, bench) => {
      const { ae, receiver } = await listeningAe(t, bench);
      const container = await bench.container(t, ae);
      await subscribe(t, ae, container, { ...created([ae.stem]), batchNotify: { number: 3 } });
      for (const content of [1, 2, 3])
        ok(t, await instance(ae.client, container, { content }), rsc.created, `${content}`);
      await bench.arrived(receiver, 3);
      const aggregated = receiver.requests.filter(
        (each) => each.primitiveContent?.aggregatedNotification !== undefined,
      );
      t.equal(aggregated.length, 1, 'three notifications in one request');

      const counted = await bench.container(t, ae);
      const ending = await subscribe(t, ae, counted, { ...created([ae.stem]), expirationCounter: 2 });
      for (const content of [1, 2, 3])
        ok(t, await instance(ae.client, counted, { content }), rsc.created, `${content}`);
      await bench.arrived(receiver, 5);
      const gone = await bench.eventually(async () =>
        (await ae.client.retrieve(ending)).ok ? undefined : true,
      );
      t.ok(gone, 'the subscription ended after its second notification');
      t.equal(receiver.notifications.length, 5);
    },
  ],
  ['a device behind a polling channel gets and answers requests (TS-0001 9.6.21, 10.2.5.15)', pollingChannel],
  [
    'a group fans out: one answer per member, each under its own policies (TS-0001 9.6.13, 9.6.14)',
    async (t, bench) => {
      if (!bench.target.capabilities.group) return t.comment('not offered');
      const ae = await bench.ae(t, 'mn1');
      const members = [await bench.container(t, ae), await bench.container(t, ae)];
      const group = await createGroup(t, bench, ae, members);
      const fanned = ok(
        t,
        await instance(ae.client, `${group}/fopt`, { resourceName: 'g1', content: 1 }),
        rsc.ok,
        'CREATE',
      );
      t.strictSame(codesOf(fanned), [rsc.created, rsc.created]);
      for (const member of members)
        ok(t, await ae.client.retrieve(`${member}/g1`), rsc.ok, `${member} got it`);
      const below = ok(
        t,
        await ae.client.retrieve(`${group}/fopt/la`),
        rsc.ok,
        'RETRIEVE below the fan-out point',
      );
      t.strictSame(codesOf(below), [rsc.ok, rsc.ok]);

      const third = await bench.container(t, ae);
      const update = await ae.client.update(group, { group: { memberIds: [...members, third] } });
      ok(t, update, rsc.updated, 'a member joins');
      ok(t, await ae.client.delete(members[0] ?? ''), rsc.deleted, 'a member vanishes');
      const mixed = ok(t, await instance(ae.client, `${group}/fopt`, { content: 2 }), rsc.ok, 'CREATE');
      t.strictSame(codesOf(mixed).sort(), [rsc.created, rsc.created, rsc.notFound]);

      const many = await ae.client.create(ae.path, ResourceType.group, {
        group: { memberType: 3, maxNrOfMembers: 1, memberIds: [...members.slice(1), third] },
      });
      refused(t, many, rsc.maxNumberOfMemberExceeded, 'more members than maxNrOfMembers');
      const strict = await ae.client.create(ae.path, ResourceType.group, {
        group: { memberType: 2, maxNrOfMembers: 5, memberIds: [third], consistencyStrategy: 2 },
      });
      refused(t, strict, rsc.groupMemberTypeInconsistent, 'a member of another type');
    },
  ],
  ['announced copies follow the original (TS-0001 9.6.26, 10.2.18)', announcement],
  [
    'a device works at the IN-CSE through its MN-CSE under one wildcard for all MN-CSEs (TS-0001 8.2, TS-0004 7.3.3.15)',
    async (t, bench) => {
      const home = await bench.ae(t, 'in');
      const stem = bench.name('S');
      const ways = [`${bench.cseId('mn1').slice(0, -1)}*/${stem}`, `/${stem}`];
      const policy = await bench.policy(t, home, [
        { accessControlOriginators: ways, accessControlOperations: 51 },
      ]);
      const serving = await bench.container(t, home, { accessControlPolicyIds: [policy] });
      const record = `${bench.cseId('in')}/${serving}`;
      const first = await bench.ae(t, 'mn1', { stem });
      const second = await bench.ae(t, 'mn2', { stem });
      ok(
        t,
        await instance(first.client, record, { resourceName: 'e1', content: 'mn1' }),
        rsc.created,
        'claim through mn1',
      );
      ok(
        t,
        await instance(second.client, record, { resourceName: 'e2', content: 'mn2' }),
        rsc.created,
        'through mn2',
      );
      refused(
        t,
        await instance(first.client, record, { resourceName: 'e2', content: 'late' }),
        rsc.conflict,
        'a late claim',
      );
      const latest = ok(t, await first.client.retrieve(`${record}/la`), rsc.ok, 'latest through mn1');
      t.equal(contentOf(latest, 'contentInstance').content, 'mn2');
      refused(
        t,
        await first.client.delete(`${record}/e1`),
        rsc.originatorHasNoPrivilege,
        'DELETE was not granted',
      );
      const stranger = await bench.ae(t, 'mn1');
      refused(
        t,
        await stranger.client.retrieve(`${record}/la`),
        rsc.originatorHasNoPrivilege,
        'a foreign device',
      );
    },
  ],
  [
    'the IN-CSE reaches resources and AEs at an MN-CSE (TS-0001 8.2)',
    async (t, bench) => {
      const home = await bench.ae(t, 'in');
      const device = await bench.ae(t, 'mn1');
      const policy = await bench.policy(t, device, [
        { accessControlOriginators: [`${bench.cseId('in')}/${home.stem}`], accessControlOperations: 63 },
      ]);
      const mailbox = await bench.container(t, device, { accessControlPolicyIds: [policy] });
      const to = `${bench.cseId('mn1')}/${mailbox}`;
      ok(
        t,
        await instance(home.client, to, { resourceName: 'k1', content: 'on' }),
        rsc.created,
        'command into the mailbox',
      );
      const read = ok(t, await device.client.retrieve(`${mailbox}/la`), rsc.ok, 'the device reads it');
      t.match(contentOf(read, 'contentInstance'), { content: 'on' });
      refused(
        t,
        await home.client.retrieve(device.spPath),
        rsc.originatorHasNoPrivilege,
        'the AE itself is not granted',
      );
      refused(
        t,
        await home.client.retrieve(`${bench.cseId('mn1')}/none/x`),
        rsc.notFound,
        'errors come back unchanged',
      );
      refused(t, await home.client.retrieve('/id-nowhere/x'), rsc.notFound, 'a CSE that nobody knows');
    },
  ],
  [
    'one MN-CSE reaches another through the IN-CSE (TS-0001 8.2)',
    async (t, bench) => {
      if (!bench.target.capabilities.forwardsToSibling) return t.comment('not offered');
      const near = await bench.ae(t, 'mn1');
      const far = await bench.ae(t, 'mn2');
      const policy = await bench.policy(t, far, [
        { accessControlOriginators: [`${bench.cseId('mn1')}/${near.stem}`], accessControlOperations: 51 },
      ]);
      const container = await bench.container(t, far, {
        accessControlPolicyIds: [policy],
        labels: [near.stem],
      });
      const to = `${bench.cseId('mn2')}/${container}`;
      ok(t, await instance(near.client, to, { resourceName: 'x1', content: 1 }), rsc.created, 'CREATE');
      ok(t, await near.client.retrieve(`${to}/x1`), rsc.ok, 'RETRIEVE');
      const found = await near.client.discover(bench.cseId('mn2'), { labels: [near.stem] });
      t.ok(found.ok && found.value.length === 1 && found.value[0]?.endsWith(container), 'discovery');
    },
  ],
  ['notifications cross CSEs once the AE grants NOTIFY (TS-0001 10.2.10)', notificationAcross],
];

async function pollingChannel(t: Test, bench: Bench): Promise<void> {
  if (!bench.target.capabilities.pollingChannel) return t.comment('not offered');
  const device = await bench.ae(t, 'mn1', { attributes: { requestReachability: false } });
  const resourceName = bench.name('pch');
  const create = (): Promise<CseOutcome> =>
    device.client.create(device.path, ResourceType.pollingChannel, {
      pollingChannel: { resourceName },
    });
  ok(t, await create(), rsc.created, 'a polling channel');
  const second = await device.client.create(device.path, ResourceType.pollingChannel, { pollingChannel: {} });
  refused(t, second, [rsc.badRequest, rsc.operationNotAllowed], 'a second one');
  const pcu = `${device.path}/${resourceName}/pcu`;
  const sender = await bench.ae(t, 'mn1');
  refused(t, await sender.client.retrieve(pcu), rsc.originatorHasNoPrivilege, 'polling a foreign channel');
  const policy = await bench.policy(t, device, [
    { accessControlOriginators: [sender.stem], accessControlOperations: 16 },
  ]);
  ok(
    t,
    await device.client.update(device.stem, { ae: { accessControlPolicyIds: [policy] } }),
    rsc.updated,
    'NOTIFY granted',
  );

  const poll = async (): Promise<RequestPrimitive> => {
    const response = ok(t, await device.client.retrieve(pcu), rsc.ok, 'poll');
    return response.primitiveContent?.requestPrimitive as RequestPrimitive;
  };
  const answer = (request: RequestPrimitive): Promise<CseOutcome> => {
    const response: ResponsePrimitive = {
      releaseVersionIndicator: '4',
      responseStatusCode: rsc.ok,
      requestIdentifier: request.requestIdentifier,
    };
    return device.client.notify(pcu, {
      responsePrimitive: { ...response, from: device.stem, to: request.from },
    });
  };
  const polled = poll();
  const sent = sender.client.notify(device.stem, { notification: { subscriptionReference: 'first' } });
  const first = await polled;
  t.equal(first.primitiveContent?.notification?.subscriptionReference, 'first', 'the poll was waiting');
  ok(t, await answer(first), rsc.ok, 'the device answers');
  ok(t, await sent, rsc.ok, 'the sender has the answer');

  const container = await bench.container(t, device);
  await subscribe(t, device, container, created([device.stem]));
  ok(
    t,
    await instance(device.client, container, { resourceName: 'c1', content: 1 }),
    rsc.created,
    'an instance',
  );
  const waiting = await poll();
  t.equal(nameIn(waiting.primitiveContent?.notification), 'c1', 'a notification waited for the poll');
  ok(t, await answer(waiting), rsc.ok, 'and is answered');
}

async function announcement(t: Test, bench: Bench): Promise<void> {
  if (!bench.target.capabilities.announcement) return t.comment('not offered');
  const label = bench.name('announced');
  const ae = await bench.ae(t, 'mn1', {
    attributes: {
      labels: [label],
      announceTo: [bench.cseId('in')],
      announcedAttribute: ['apn'],
      appName: 'first',
      requestReachability: true,
    },
  });
  const admin = await bench.admin('in');
  const copy = await bench.eventually(async () => {
    const { announceTo = [] } = contentOf(ok(t, await ae.client.retrieve(ae.stem), rsc.ok, 'original'), 'ae');
    return announceTo.find((each) => each.startsWith(`${bench.cseId('in')}/`));
  });
  t.ok(copy, 'announceTo names the copy');
  if (copy === undefined) return;
  const read = async (): Promise<Ae> =>
    contentOf(ok(t, await admin.retrieve(copy), rsc.ok, 'copy'), 'aeAnnc');
  const announced = await read();
  t.equal(announced.link, `${bench.cseId('mn1')}/${ae.stem}`);
  t.strictSame(announced.labels, [label]);
  t.equal(announced.appName, 'first');
  t.equal(announced.requestReachability, undefined, 'what is not listed is not copied');
  const found = await admin.discover(bench.base('in'), { labels: [label] });
  t.equal(found.ok && found.value.length, 1, 'the copy is discovered at the IN-CSE');
  ok(t, await ae.client.update(ae.stem, { ae: { appName: 'second' } }), rsc.updated, 'the original changes');
  t.ok(
    await bench.eventually(async () => ((await read()).appName === 'second' ? true : undefined)),
    'the copy follows',
  );
  ok(t, await ae.client.delete(ae.stem), rsc.deleted, 'the original is deleted');
  const gone = await bench.eventually(async () => ((await admin.retrieve(copy)).ok ? undefined : true));
  t.ok(gone, 'and so is the copy');
}

async function notificationAcross(t: Test, bench: Bench): Promise<void> {
  if (!bench.target.capabilities.notifiesAcross) return t.comment('not offered');
  const home = await bench.ae(t, 'in');
  const { ae: device, receiver } = await listeningAe(t, bench);
  const spStem = `${bench.cseId('mn1')}/${device.stem}`;
  const policy = await bench.policy(t, home, [
    { accessControlOriginators: [spStem], accessControlOperations: 51 },
  ]);
  const commands = await bench.container(t, home, { accessControlPolicyIds: [policy] });
  const to = `${bench.cseId('in')}/${commands}`;
  const subscription = created([spStem]);
  const inCse = bench.cseId('in');
  const sent = await home.client.notify(spStem, { notification: { subscriptionReference: 'x' } });
  refused(t, sent, rsc.originatorHasNoPrivilege, 'NOTIFY without the privilege');
  const grant = await bench.policy(t, device, [
    { accessControlOriginators: [inCse, `${inCse}/*`], accessControlOperations: 16 },
  ]);
  ok(
    t,
    await device.client.update(device.stem, { ae: { accessControlPolicyIds: [grant] } }),
    rsc.updated,
    'granted',
  );
  const made = await device.client.create(to, ResourceType.subscription, { subscription });
  ok(t, made, rsc.created, 'the device subscribes at the IN-CSE through its MN-CSE');
  ok(
    t,
    await instance(home.client, commands, { resourceName: 'k1', content: 'go' }),
    rsc.created,
    'a command',
  );
  t.equal(nameIn(await bench.arrived(receiver)), 'k1', 'arrives at the device');
  const direct = await home.client.notify(spStem, { notification: { subscriptionReference: 'x' } });
  ok(t, direct, rsc.ok, 'NOTIFY with the privilege');
  receiver.responseStatusCode = rsc.originatorHasNoPrivilege;
  const denied = await home.client.notify(spStem, { notification: { subscriptionReference: 'y' } });
  refused(t, denied, rsc.originatorHasNoPrivilege, "the device's error comes back unchanged");
}

async function listeningAe(t: Test, bench: Bench): Promise<{ ae: RegisteredAe; receiver: Receiver }> {
  const receiver = await bench.receiver();
  const attributes = { pointOfAccess: [receiver.pointOfAccess], contentSerialization: ['application/cbor'] };
  return { ae: await bench.ae(t, 'mn1', { attributes }), receiver };
}

/** Creates a subscription under `to` and returns its address. */
async function subscribe(t: Test, ae: RegisteredAe, to: string, subscription: Subscription): Promise<string> {
  const resourceName = `sub-${to.split('/').at(-1) ?? ''}-${String(subscription.eventNotificationCriteria?.notificationEventType)}`;
  const outcome = await ae.client.create(to, ResourceType.subscription, {
    subscription: { resourceName, ...subscription },
  });
  ok(t, outcome, rsc.created, `a subscription to ${to}`);
  return `${to}/${resourceName}`;
}

/** A subscription to new contentInstances. */
function created(notificationUri: string[]): Subscription {
  return {
    notificationUri,
    eventNotificationCriteria: {
      notificationEventType: [net.createOfDirectChild],
      childResourceType: [ResourceType.contentInstance],
    },
  };
}

async function createGroup(t: Test, bench: Bench, ae: RegisteredAe, memberIds: string[]): Promise<string> {
  const resourceName = bench.name('grp');
  const outcome = await ae.client.create(ae.path, ResourceType.group, {
    group: { resourceName, memberType: ResourceType.container, maxNrOfMembers: 10, memberIds },
  });
  ok(t, outcome, rsc.created, 'a group');
  const group = contentOf(
    ok(t, await ae.client.retrieve(`${ae.path}/${resourceName}`), rsc.ok, 'read'),
    'group',
  );
  t.equal(group.currentNrOfMembers, memberIds.length);
  t.equal(group.memberTypeValidated, true);
  return `${ae.path}/${resourceName}`;
}

function codesOf(response: ResponsePrimitive): number[] {
  const aggregated = response.primitiveContent?.aggregatedResponse as
    { response?: ResponsePrimitive[] } | undefined;
  return (aggregated?.response ?? []).map((each) => each.responseStatusCode);
}

function nameIn(notification: Notification | undefined): string | undefined {
  return notification?.notificationEvent?.representation?.contentInstance?.resourceName;
}

/** Whether a reference in a notification leads to the subscription, whatever form it has. */
async function isSame(ae: RegisteredAe, path: string, reference: string | undefined): Promise<boolean> {
  if (reference === undefined) return false;
  const [byPath, byReference] = [await ae.client.retrieve(path), await ae.client.retrieve(reference)];
  return (
    byPath.ok &&
    byReference.ok &&
    byPath.value.primitiveContent?.subscription?.resourceId ===
      byReference.value.primitiveContent?.subscription?.resourceId
  );
}

/** A receiver as the URL of a notification target, with the body format in it where the scheme has a place for it. */
function urlOf({ pointOfAccess }: Receiver): string {
  return pointOfAccess.startsWith('mqtt') ? pointOfAccess : `${pointOfAccess}/ntf?ct=cbor`;
}
