// Proves against the CSE of the testbed, in memory and on a virtual clock: subscriptions are verified and 5204 tells whether
// the way down works; groups answer by member; announced copies are found and followed; a polling channel hands each
// request over once through lost polls, lost answers, refusals and a CSE that is gone for a time; non-blocking requests end
// with their result or at their deadline; requests carry an expiration where they are left to themselves; and a discovery
// never sends a limit to a CSE that is not known to count what matches.
import t from 'tap';
import type { Test } from 'tap';
import { ok } from '../../src/base/result.ts';
import { millis } from '../../src/base/units.ts';
import { aeIdStem } from '../../src/onem2m/address.ts';
import { announce, followLink } from '../../src/onem2m/announcement.ts';
import type { Binding } from '../../src/onem2m/binding.ts';
import type { CseOutcome } from '../../src/onem2m/cse-client.ts';
import { CseClient, expirationWithin } from '../../src/onem2m/cse-client.ts';
import { Operation, ResourceType, ResponseStatusCode } from '../../src/onem2m/enums.ts';
import { createGroup, fanOut, updateMembers } from '../../src/onem2m/groups.ts';
import { NonBlockingResults, isNonBlockingRefused, requestSynch } from '../../src/onem2m/non-blocking.ts';
import { PollingChannel } from '../../src/onem2m/polling-channel.ts';
import type { PollingChannelOptions, PollingEnd } from '../../src/onem2m/polling-channel.ts';
import type { RequestPrimitive } from '../../src/onem2m/primitives.ts';
import { SubscriptionVerifier } from '../../src/onem2m/subscriptions.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { CseWorld, adminOriginator, pointsOfAccess } from '../testbed/cse-world.ts';

const rsc = ResponseStatusCode;
const seed = 41;

interface Bed {
  readonly world: CseWorld;
  readonly client: CseClient;
}

/** A world with the AE `Cgw` at mn1, which cannot be reached, and its container `data`. */
async function bed(t: Test, ae: object = {}): Promise<Bed> {
  const world = new CseWorld({ seed });
  await world.start();
  t.teardown(() => world.stop());
  const client = world.client('Cgw', 'mn1', 5_000);
  const made = await client.create('cse-mn1', ResourceType.ae, {
    ae: {
      resourceName: 'gw',
      appId: 'Nbaton',
      requestReachability: false,
      supportedReleaseVersions: ['4'],
      ...ae,
    },
  });
  t.ok(made.ok, 'an AE');
  const container = { resourceName: 'data' };
  t.ok((await client.create('cse-mn1/gw', ResourceType.container, { container })).ok, 'a container');
  return { world, client };
}

const created = { notificationEventType: [3], childResourceType: [4] };

await t.test('subscriptions and their verification', async (t) => {
  const { world, client } = await bed(t);
  const verifier = new SubscriptionVerifier();
  const heard: RequestPrimitive[] = [];
  const close = world.network.listenAe('mem://desk', (request) => {
    const answer = verifier.answer(request);
    if (answer === undefined) heard.push(request);
    const { requestIdentifier } = request;
    return Promise.resolve(answer ?? { responseStatusCode: rsc.ok, requestIdentifier });
  });
  const subscription = { notificationUri: ['mem://desk'], eventNotificationCriteria: created };
  const made = await verifier.subscribe(client, 'cse-mn1/gw/data', { resourceName: 'sub', ...subscription });
  t.match(made, { ok: true, value: { address: 'cse-mn1/gw/data/sub', isVerified: true } });
  const nameless = await verifier.subscribe(client, 'cse-mn1/gw/data', subscription);
  t.ok(nameless.ok && (await client.retrieve(nameless.value.address)).ok, 'found by the ID that was told');
  const own = await verifier.subscribe(client, 'cse-mn1/gw/data', {
    ...subscription,
    notificationUri: ['Cgw'],
  });
  t.match(own, { ok: true, value: { isVerified: false } }, 'the originator itself is not verified');
  await client.create('cse-mn1/gw/data', ResourceType.contentInstance, { contentInstance: { content: 1 } });
  await world.wait(200);
  t.equal(heard.length, 2, 'notified');

  const stranger = await client.create('cse-mn1/gw/data', ResourceType.subscription, { subscription });
  t.match(
    stranger,
    { ok: false, error: { responseStatusCode: 4101 } },
    'nobody else may direct notifications here',
  );
  const unwanted = { requestIdentifier: 'v', operation: Operation.notify, to: 'x' };
  const asked = { notification: { verificationRequest: true, creator: '/id-mn1/Cother' } };
  t.match(verifier.answer({ ...unwanted, primitiveContent: asked }), { responseStatusCode: 4101 });
  t.equal(verifier.answer({ ...unwanted, primitiveContent: { notification: {} } }), undefined);
  t.equal(verifier.answer({ ...unwanted, operation: Operation.create, primitiveContent: asked }), undefined);

  close();
  const dead = await verifier.subscribe(client, 'cse-mn1/gw/data', subscription, {
    deadlineMs: millis(30_000),
  });
  t.match(dead, { ok: false, error: { kind: 'unverified', wasAsked: false, message: /does not reach/ } });
  world.network.listenAe('mem://desk', (request) => {
    verifier.answer(request);
    return Promise.resolve({ responseStatusCode: 5000, requestIdentifier: request.requestIdentifier });
  });
  const lost = await verifier.subscribe(client, 'cse-mn1/gw/data', subscription);
  t.match(lost, { ok: false, error: { kind: 'unverified', wasAsked: true, message: /did not take/ } });
  const gone = await verifier.subscribe(client, 'cse-mn1/gw/none', subscription);
  t.match(gone, { ok: false, error: { kind: 'rejected', responseStatusCode: 4004 } });
});

await t.test('groups: a request to all, an outcome for each', async (t) => {
  const { client } = await bed(t);
  for (const resourceName of ['a', 'b'])
    await client.create('cse-mn1/gw/data', ResourceType.container, { container: { resourceName } });
  const memberIds = ['cse-mn1/gw/data/a', 'cse-mn1/gw/data/b'];
  const group = { resourceName: 'grp', memberIds, maxNrOfMembers: 5, memberType: ResourceType.container };
  t.same(await createGroup(client, 'cse-mn1/gw', group), ok('cse-mn1/gw/grp'));
  const call = {
    operation: Operation.create,
    resourceType: ResourceType.contentInstance,
    primitiveContent: { contentInstance: { resourceName: 'c1', content: 1 } },
  };
  const first = await fanOut(client, 'cse-mn1/gw/grp', call);
  t.ok(first.ok);
  if (!first.ok) return;
  t.same(
    first.value.map(({ outcome }) => outcome.ok && outcome.value.responseStatusCode),
    [2001, 2001],
  );
  t.same(
    first.value.map(({ member }) => member),
    memberIds,
  );
  t.equal(
    first.value.every(
      ({ outcome }) => outcome.ok && outcome.value.primitiveContent?.contentInstance?.content === 1,
    ),
    true,
    'contents have long names',
  );
  t.ok((await updateMembers(client, 'cse-mn1/gw/grp', [...memberIds, 'cse-mn1/gw/data'])).ok);
  await client.delete('cse-mn1/gw/data/a');
  const mixed = await fanOut(client, 'cse-mn1/gw/grp', { operation: Operation.retrieve, below: 'la' });
  t.ok(mixed.ok);
  if (!mixed.ok) return;
  const codes = mixed.value.map(
    ({ outcome }) => (outcome.ok ? outcome.value : outcome.error).responseStatusCode,
  );
  t.same(codes, [4004, 2000, 4004], 'one is gone, one has no instance');
  t.match(mixed.value[0]?.outcome, { ok: false, error: { kind: 'rejected', debugInfo: String } });
  t.match(await fanOut(client, 'cse-mn1/gw/data', { operation: Operation.retrieve }), { ok: false });
  const binding: Binding = {
    send: ({ requestIdentifier }) => Promise.resolve(ok({ responseStatusCode: 2000, requestIdentifier, primitiveContent: { aggregatedResponse: { response: [{ x: 1 }] } } })),
    close: () => Promise.resolve(),
  }; // prettier-ignore
  const odd = new CseClient({
    binding,
    originator: 'C',
    entropy: new SeededEntropy(1),
    deadlineMs: millis(1),
  });
  t.match(await fanOut(odd, 'g', { operation: Operation.retrieve }), {
    ok: false,
    error: { kind: 'malformed' },
  });
});

await t.test('announcement: the copy is found and leads back', async (t) => {
  const { world, client } = await bed(t, { appName: 'first', announceTo: [] });
  const call = { to: 'cse-mn1/gw', root: 'ae', cseId: '/id-in', attributes: ['apn'] } as const;
  const limits = { deadlineMs: millis(5_000) };
  const copy = await world.until(announce(client, world.clock, call, limits));
  t.ok(copy.ok && copy.value.startsWith('/id-in/'), JSON.stringify(copy));
  if (!copy.ok) return;
  const again = await world.until(announce(client, world.clock, call, limits));
  t.same(again, copy, 'announced once');
  const admin = world.client(adminOriginator, 'in');
  t.match(await admin.retrieve(copy.value), {
    value: { primitiveContent: { aeAnnc: { appName: 'first' } } },
  });
  const back = await followLink(world.client(adminOriginator, 'mn1'), copy.value);
  t.match(back, { ok: false, error: { responseStatusCode: 4103 } }, 'the copy is not for everybody');
  const readable = await world.until(followLink(admin, copy.value));
  t.match(
    readable,
    { ok: false, error: { kind: 'rejected' } },
    'nor is the original for the administrator of another CSE',
  );
  await world.cses.in.crash();
  const away = { ...call, to: 'cse-mn1/gw/data', root: 'container' } as const;
  t.match(
    await world.until(announce(client, world.clock, away, { deadlineMs: millis(2_000) })),
    { ok: false, error: { kind: 'deadline', message: /no copy at \/id-in/ } },
  ); // prettier-ignore
  t.match(await followLink(client, 'cse-mn1/gw/data'), { ok: false, error: { kind: 'malformed' } });
});

interface Polled {
  readonly channel: PollingChannel;
  readonly handed: RequestPrimitive[];
  readonly failures: (string | undefined)[];
  readonly ended: Promise<PollingEnd>;
  readonly stop: () => void;
}

/** A channel that is polled; commands come to it as notifications of `data`. */
async function polled(t: Test, it: Bed, options: Partial<PollingChannelOptions> = {}): Promise<Polled> {
  const { world, client } = it;
  const pollingChannel = { resourceName: 'pch' };
  t.ok((await client.create('cse-mn1/gw', ResourceType.pollingChannel, { pollingChannel })).ok, 'a channel');
  const subscription = { notificationUri: ['Cgw'], eventNotificationCriteria: created };
  t.ok(
    (await client.create('cse-mn1/gw/data', ResourceType.subscription, { subscription })).ok,
    'a subscription',
  );
  const handed: RequestPrimitive[] = [];
  const failures: (string | undefined)[] = [];
  const channel = new PollingChannel({
    client,
    clock: world.clock,
    entropy: new SeededEntropy(seed),
    address: 'cse-mn1/gw/pch',
    pollMs: millis(4_000),
    answerMs: millis(1_000),
    handler: (request) => {
      handed.push(request);
      return Promise.resolve({ responseStatusCode: rsc.ok, requestIdentifier: request.requestIdentifier });
    },
    onFailure: (message) => failures.push(message),
    ...options,
  });
  const end = new AbortController();
  t.teardown(() => end.abort());
  return { channel, handed, failures, ended: channel.run(end.signal), stop: () => end.abort() };
}

function command(client: CseClient, resourceName: string): Promise<CseOutcome> {
  const content = { contentInstance: { resourceName, content: resourceName } };
  return client.create('cse-mn1/gw/data', ResourceType.contentInstance, content);
}

function names(handed: readonly RequestPrimitive[]): (string | undefined)[] {
  return handed.map(
    ({ primitiveContent }) =>
      primitiveContent?.notification?.notificationEvent?.representation?.contentInstance?.resourceName,
  );
}

await t.test('polling channel: requests come and are answered', async (t) => {
  const it = await bed(t);
  const { world, client } = it;
  const { channel, handed, stop, ended, failures } = await polled(t, it);
  await world.wait(9_000);
  t.ok(channel.figures.polls >= 2 && channel.figures.polls <= 4, `${channel.figures.polls} polls in 9 s`);
  for (const name of ['c1', 'c2', 'c3']) t.ok((await command(client, name)).ok);
  await world.wait(1_000);
  t.same(names(handed), ['c1', 'c2', 'c3'], 'in order');
  const policy = await client.notify('Cgw', { notification: { subscriptionReference: 'direct' } });
  t.ok(policy.ok, 'the sender of a request gets the answer');
  t.equal(handed.length, 4);
  t.same(failures, []);
  stop();
  t.equal(await world.until(ended), 'stopped');
  const before = channel.figures.polls;
  await world.wait(20_000);
  t.equal(channel.figures.polls, before, 'nothing goes on after the end');
  t.equal(world.cses.mn1.misbehaviour.hits, 0);
});

await t.test('polling channel: once, through lost answers and repeats', async (t) => {
  const it = await bed(t);
  const { world, client } = it;
  const { channel, handed, failures } = await polled(t, it);
  const { misbehaviour } = world.cses.mn1;
  const pcu = { to: '*/pcu' };
  misbehaviour.add({ ...pcu, operation: Operation.notify, action: { kind: 'dropRequest' }, count: 2 });
  await command(client, 'c1');
  await world.wait(8_000);
  t.same(names(handed), ['c1'], 'our answer was lost twice and brought up at last');
  t.equal(channel.figures.unanswered, 0);
  misbehaviour.add({ ...pcu, operation: Operation.retrieve, action: { kind: 'answer', responseStatusCode: 5000 }, count: 3 }); // prettier-ignore
  await world.wait(5_000);
  await command(client, 'c2');
  await world.wait(15_000);
  t.same(names(handed), ['c1', 'c2'], 'polls that were refused');
  t.ok(failures.length === 4 && failures.at(-1) === undefined, JSON.stringify(failures));
  await world.cses.mn1.restart({ keepState: true });
  await world.wait(5_000);
  await command(client, 'c3');
  await world.wait(10_000);
  t.same(names(handed), ['c1', 'c2', 'c3'], 'a CSE that was gone');

  const [first] = handed;
  const scripted = async (requests: readonly unknown[]): Promise<string[]> => {
    const queue = [...requests];
    const answers: string[] = [];
    const binding: Binding = {
      send: (request) => {
        const { requestIdentifier, primitiveContent } = request;
        const okay = { responseStatusCode: 2000, requestIdentifier };
        if (request.operation === Operation.notify) {
          answers.push(JSON.stringify(primitiveContent?.responsePrimitive));
          return Promise.resolve(ok(okay));
        }
        const requestPrimitive = queue.shift();
        if (requestPrimitive !== undefined) return Promise.resolve(ok({ ...okay, primitiveContent: { requestPrimitive } }));
        return Promise.resolve(ok({ ...okay, responseStatusCode: 4004 }));
      },
      close: () => Promise.resolve(),
    }; // prettier-ignore
    const other = new PollingChannel({
      client: new CseClient({
        binding,
        originator: 'Cgw',
        entropy: new SeededEntropy(1),
        deadlineMs: millis(9),
      }),
      clock: world.clock,
      entropy: new SeededEntropy(2),
      address: 'x',
      handler: (request) => {
        handed.push(request);
        return Promise.resolve({ responseStatusCode: rsc.ok, requestIdentifier: request.requestIdentifier });
      },
    });
    t.equal(await world.until(other.run(new AbortController().signal)), 'gone');
    return answers;
  };
  handed.length = 0;
  const answers = await scripted([first, first, { ...first, requestIdentifier: 'again' }, 'no request', { ...first, requestIdentifier: 'n', primitiveContent: { notification: { subscriptionReference: 'other' } } }]); // prettier-ignore
  t.equal(
    handed.length,
    2,
    'the same request, and the same event under another identifier, are handed over once',
  );
  t.equal(answers.length, 4, 'each is answered');
  t.match(answers[2], /"again"/, 'under its own identifier');
  handed.length = 0;
  const another = { ...first, requestIdentifier: 'm', primitiveContent: { notification: { subscriptionReference: 'more' } } }; // prettier-ignore
  await scripted([['no request', another]]);
  t.equal(handed.length, 1, 'one that cannot be read does not take along what came with it');
});

await t.test('polling channel: the end of it', async (t) => {
  const it = await bed(t);
  const { world, client } = it;
  const gone = await polled(t, it);
  await world.wait(1_000);
  t.ok((await client.delete('cse-mn1/gw/pch')).ok);
  t.equal(await world.until(gone.ended), 'gone', 'a channel that was deleted');
  const foreign = await polled(t, it, { client: world.client('Cother', 'mn1') });
  t.equal(await world.until(foreign.ended), 'refused', 'a channel of somebody else');
  await client.delete('cse-mn1/gw/pch');
  const broken = await polled(t, it, { handler: () => Promise.reject(new Error('x')) });
  await command(client, 'c1');
  await world.wait(2_000);
  t.ok(broken.channel.figures.handedOver >= 1);
  t.equal(broken.channel.figures.unanswered, 0, 'what fails here is answered 5000');
});

await t.test('non-blocking: fetched', async (t) => {
  const { world, client } = await bed(t);
  const call = { operation: Operation.retrieve, to: 'cse-mn1/gw/data' };
  const limits = { deadlineMs: millis(5_000) };
  const ask = (to: string): ReturnType<typeof requestSynch> =>
    world.until(requestSynch(client, world.clock, { ...call, to }, limits));
  t.match(await ask(call.to), { ok: true, value: { responseStatusCode: 2000, primitiveContent: { container: { resourceName: 'data' } } } }); // prettier-ignore
  t.match(await ask('cse-mn1/none'), {
    ok: false,
    error: { kind: 'rejected', responseStatusCode: 4004, debugInfo: String },
  });
  world.cses.mn1.misbehaviour.add({
    action: { kind: 'dropAnswer' },
    resourceType: ResourceType.request,
    count: 1,
  });
  const slow = await ask(call.to);
  t.notOk(slow.ok && slow.value.responseStatusCode !== 2000, 'a lost look is repeated within the deadline');
  const signal = AbortSignal.abort();
  t.match(await world.until(requestSynch(client, world.clock, call, { ...limits, signal })), {
    ok: false,
    error: { kind: 'cancelled' },
  });
  await world.cses.in.crash();
  const beganMs = world.clock.monotonicMs();
  const never = await ask('/id-in/cse-in');
  t.notOk(never.ok, 'no result');
  t.ok(world.clock.monotonicMs() - beganMs <= 5_050, 'ends at its deadline');
});

await t.test('non-blocking: notified', async (t) => {
  const { world, client } = await bed(t, { requestReachability: true, pointOfAccess: ['mem://gw'] });
  const results = new NonBlockingResults({ clock: world.clock, entropy: new SeededEntropy(3) });
  world.network.listenAe('mem://gw', (request) => {
    const { requestIdentifier } = request;
    return Promise.resolve(
      results.take(request) ?? { responseStatusCode: rsc.badRequest, requestIdentifier },
    );
  });
  const ask = (to: string, deadlineMs = 5_000): ReturnType<typeof requestSynch> =>
    world.until(
      results.request(client, { operation: Operation.retrieve, to }, { deadlineMs: millis(deadlineMs) }),
    );
  t.match(await ask('cse-mn1/gw/data'), { ok: true, value: { primitiveContent: { container: { resourceName: 'data' } } } }); // prettier-ignore
  t.match(await ask('cse-mn1/none'), { ok: false, error: { responseStatusCode: 4004 } });
  const lost = {
    operation: Operation.notify,
    direction: 'outgoing',
    action: { kind: 'dropRequest' },
    count: 9,
  } as const;
  world.cses.mn1.misbehaviour.add(lost);
  t.match(
    await ask('cse-mn1/gw/data', 1_000),
    { ok: false, error: { kind: 'deadline' } },
    'a result that never comes',
  );
  const notified = { requestIdentifier: 'x', operation: Operation.notify, to: 'Cgw' };
  const stray = { responsePrimitive: { responseStatusCode: 2000, requestIdentifier: 'unknown' } };
  t.match(results.take({ ...notified, primitiveContent: stray }), { responseStatusCode: 2000 });
  t.match(results.take({ ...notified, primitiveContent: { responsePrimitive: 5 } }), {
    responseStatusCode: 4000,
  });
  t.equal(results.take({ ...notified, primitiveContent: { notification: {} } }), undefined);
  const refused = { action: { kind: 'answer', responseStatusCode: 5206 }, count: 1 } as const;
  world.cses.mn1.misbehaviour.clear();
  world.cses.mn1.misbehaviour.add(refused);
  const not = await ask('cse-mn1/gw/data');
  t.ok(isNonBlockingRefused(not), 'a CSE that does not do it says so');
});

await t.test('expirations, limits and identifiers', async (t) => {
  const sent: RequestPrimitive[] = [];
  const binding: Binding = {
    send: (request) => {
      sent.push(request);
      const { requestIdentifier } = request;
      return Promise.resolve(ok({ responseStatusCode: 2000, requestIdentifier, primitiveContent: { uriList: ['a', 'b', 'c'] } })); // prettier-ignore
    },
    close: () => Promise.resolve(),
  };
  const entropy = new SeededEntropy(5);
  const client = new CseClient({ binding, originator: 'Sgw1', entropy, deadlineMs: millis(5_000) });
  const expiry = (): string | undefined => sent.at(-1)?.requestExpirationTimestamp;
  await client.retrieve('cse-mn1/gw');
  t.equal(expiry(), undefined, 'the CSE itself answers at once');
  await client.retrieve('/id-in/x');
  t.equal(expiry(), '4500', 'what is passed on expires before we stop waiting');
  await client.retrieve('/id-in/x', { deadlineMs: millis(1) });
  t.equal(expiry(), '1');
  await client.retrieve('/id-in/x', { expires: false });
  t.equal(expiry(), undefined);
  await client.retrieve('cse-mn1', { expires: true, deadlineMs: millis(100) });
  t.equal(expiry(), '90');
  await client.request({ operation: Operation.retrieve, to: '/x', requestExpirationTimestamp: '7' });
  t.equal(expiry(), '7', 'the word of the caller goes first');
  t.equal(expirationWithin(millis(0)), '1', 'never in the past');
  await client.retrieve('x', { requestIdentifier: 'mine' });
  t.equal(sent.at(-1)?.requestIdentifier, 'mine');

  t.same(await client.discover('x', { labels: ['l'], limit: 2 }), ok(['a', 'b']), 'cut here');
  t.notOk(Object.hasOwn(sent.at(-1)?.filterCriteria ?? {}, 'limit'), 'not there');
  const known = new CseClient({
    binding,
    originator: 'S',
    entropy,
    deadlineMs: millis(1),
    limitsAfterFilter: true,
  });
  t.same(await known.discover('x', { labels: ['l'], limit: 2 }), ok(['a', 'b']));
  t.equal(sent.at(-1)?.filterCriteria?.limit, 2);
  for (const id of ['Cq1', '/id-mn1/Cq1', '//sp.example/id-mn1/Cq1']) t.equal(aeIdStem(id), 'Cq1');
  t.ok(pointsOfAccess.in.startsWith('coap'));
});
