/** The trials of a capability probe: each a few requests within the scratch container, or without it. */
import type { Entropy } from '../host/entropy.ts';
import { randomHex } from '../host/entropy.ts';
import type { Clock } from '../host/clock.ts';
import type { Millis } from '../base/units.ts';
import { millis } from '../base/units.ts';
import type { Finding, FirstContact } from './capabilities.ts';
import type { CapabilityName } from './capability-names.ts';
import { isRejectedWith } from './cse-client.ts';
import type { CallOptions, CseClient, CseOutcome } from './cse-client.ts';
import {
  FilterUsage,
  MgmtDefinition,
  NotificationEventType,
  Operation,
  ResourceType,
  ResponseStatusCode,
  ResponseType,
  ResultContent,
} from './enums.ts';
import { createGroup, fanOut } from './groups.ts';
import { PollingChannel } from './polling-channel.ts';

/** What a trial works with. */
export interface TrialBench {
  readonly client: CseClient;
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly limits: CallOptions & { readonly deadlineMs: Millis };
  /** AE-ID stem of the originator. */
  readonly stem: string;
  /** Address of its AE; empty where there is none. */
  readonly ae: string;
  readonly protocol: 'coap' | 'mqtt';
  /** The AE was registered for this probe: its point of access and its channel are ours to change. */
  readonly isOwnAe: boolean;
  /** The scratch container; undefined where there is none, for the reason in `obstacle`. */
  readonly container: string | undefined;
  readonly obstacle: string;
  readonly pointOfAccess?: string;
  readonly heard?: (resourceName: string, signal: AbortSignal) => Promise<void>;
  readonly siblingCseId?: string;
  readonly contact: FirstContact;
  readonly name: CapabilityName;
}

/** What a trial came to. */
export type TrialOutcome = Pick<Finding, 'value' | 'detail'>;

type Trial = (bench: TrialBench) => Promise<TrialOutcome>;

const rsc = ResponseStatusCode;
const nothing = { resultContent: ResultContent.nothing };
const blockBytes = 3_000;

/** The trials by what they try; what has none shows only in use. */
export const capabilityTrials: Readonly<Partial<Record<CapabilityName, Trial>>> = {
  cbor: within(tryCbor),
  fixedResourceName: within(tryFixedName),
  resultContentNothing: within(tryNothing),
  remoteCseReadable: tryRemoteCses,
  spScopedStem: trySpScope,
  notificationsOverCoap: (bench) => tryNotifications(bench, 'coap'),
  notificationsOverMqtt: (bench) => tryNotifications(bench, 'mqtt'),
  pollingChannel: within(tryPollingChannel),
  nonBlocking: within(tryNonBlocking),
  cmdhPolicies: tryCmdh,
  registrationTracking: () => Promise.resolve(unknown('shows only when an AE registers at another CSE')),
  siblingTransit: trySibling,
  blockwise: within(tryBlocks),
  limitAfterFilter: within(tryLimit),
  groupFanOut: within(tryGroup),
};

/** Requests that a trial costs at most, beside two to four for the scratch AE and container. */
export const probeCosts: Readonly<Partial<Record<CapabilityName, number>>> = {
  releaseThreeOptions: 3,
  cbor: 1,
  fixedResourceName: 2,
  resultContentNothing: 1,
  remoteCseReadable: 1,
  spScopedStem: 1,
  notificationsOverCoap: 3,
  notificationsOverMqtt: 3,
  pollingChannel: 6,
  nonBlocking: 2,
  cmdhPolicies: 3,
  siblingTransit: 1,
  blockwise: 2,
  limitAfterFilter: 4,
  groupFanOut: 4,
};

function within(trial: (bench: TrialBench & { readonly container: string }) => Promise<TrialOutcome>): Trial {
  return (bench) => {
    const { container } = bench;
    return container === undefined
      ? Promise.resolve(unknown(bench.obstacle))
      : trial({ ...bench, container });
  };
}

type Within = TrialBench & { readonly container: string };

const yes = (detail: string): TrialOutcome => ({ value: 'yes', detail });
const no = (detail: string): TrialOutcome => ({ value: 'no', detail });
const unknown = (detail: string): TrialOutcome => ({ value: 'unknown', detail });

/** A refusal says no; silence says no as well where the CSE answers everything else; the rest says nothing. */
function refusal(outcome: CseOutcome): TrialOutcome {
  if (outcome.ok) return yes(`answered ${outcome.value.responseStatusCode}`);
  const { kind, message } = outcome.error;
  return kind === 'rejected' || kind === 'deadline' || kind === 'malformed' ? no(message) : unknown(message);
}

async function tryCbor({ container, contact, client, limits }: Within): Promise<TrialOutcome> {
  const content = { contentInstance: { resourceName: 'cbor', content: 1 } };
  const made = await client.create(container, ResourceType.contentInstance, content, {
    ...limits,
    ...nothing,
  });
  return contact.dialect.serialisation === 'cbor' ? refusal(made) : no('the CSE answers in JSON only');
}

async function tryFixedName({ container, client, limits }: Within): Promise<TrialOutcome> {
  const create = (): Promise<CseOutcome> =>
    client.create(
      container,
      ResourceType.contentInstance,
      { contentInstance: { resourceName: 'fixed', content: 1 } },
      { ...limits, ...nothing },
    );
  const first = await create();
  if (!first.ok) return refusal(first);
  const second = await create();
  if (second.ok) return no('a second CREATE under the same name made another resource');
  return isRejectedWith(second.error, rsc.conflict) ? yes('the second CREATE was 4105') : refusal(second);
}

async function tryNothing({ container, client, limits }: Within): Promise<TrialOutcome> {
  const content = { contentInstance: { content: 1 } };
  const made = await client.create(container, ResourceType.contentInstance, content, {
    ...limits,
    ...nothing,
  });
  if (!made.ok) return refusal(made);
  const { primitiveContent } = made.value;
  return primitiveContent === undefined
    ? yes('no body came')
    : no(`${Object.keys(primitiveContent).join()} came`);
}

async function tryRemoteCses({ client, contact, limits }: TrialBench): Promise<TrialOutcome> {
  const base = contact.cseBase?.resourceName ?? '-';
  const found = await client.discover(base, { resourceType: [ResourceType.remoteCse] }, limits);
  if (!found.ok)
    return found.error.kind === 'rejected' ? no(found.error.message) : unknown(found.error.message);
  return found.value.length > 0 ? yes(`${found.value.length} found`) : no('none is shown');
}

async function trySpScope({ client, stem, limits, container, obstacle }: TrialBench): Promise<TrialOutcome> {
  if (!stem.startsWith('S')) return unknown(`${stem} is no S stem`);
  if (container === undefined) return unknown(obstacle);
  return refusal(await client.retrieve(`/${stem}`, { ...limits, expires: false }));
}

async function tryNotifications(bench: TrialBench, over: 'coap' | 'mqtt'): Promise<TrialOutcome> {
  const { client, clock, entropy, limits, stem, ae, protocol, isOwnAe, container, pointOfAccess, heard } =
    bench;
  if (protocol !== over) return unknown(`this probe speaks ${protocol}`);
  if (container === undefined) return unknown(bench.obstacle);
  if (pointOfAccess === undefined || heard === undefined) return unknown('there is no address to notify');
  if (!isOwnAe) return unknown(`the AE of ${stem} is in use, its point of access is left alone`);
  const reachable = { ae: { pointOfAccess: [pointOfAccess], requestReachability: true } };
  const moved = await client.update(ae, reachable, limits);
  if (!moved.ok) return refusal(moved);
  const subscription = {
    notificationUri: [stem],
    notificationContentType: 1,
    eventNotificationCriteria: {
      notificationEventType: [NotificationEventType.createOfDirectChild],
      childResourceType: [ResourceType.contentInstance],
    },
  };
  const made = await client.create(container, ResourceType.subscription, { subscription }, limits);
  if (!made.ok) return refusal(made);
  const resourceName = `heard-${randomHex(entropy, 4)}`;
  const giveUp = new AbortController();
  const arrived = heard(resourceName, giveUp.signal).then(
    () => true,
    () => false,
  );
  const beganMs = clock.monotonicMs();
  const content = { contentInstance: { resourceName, content: 1 } };
  const written = await client.create(container, ResourceType.contentInstance, content, {
    ...limits,
    ...nothing,
  });
  const cancel = clock.schedule(limits.deadlineMs, () => giveUp.abort());
  const isHeard = await arrived;
  cancel();
  if (isHeard) return yes(`after ${Math.round(clock.monotonicMs() - beganMs)} ms at ${pointOfAccess}`);
  return written.ok
    ? no(`nothing came to ${pointOfAccess} within ${limits.deadlineMs} ms`)
    : refusal(written);
}

async function tryPollingChannel(bench: Within): Promise<TrialOutcome> {
  const { client, clock, entropy, limits, stem, ae, isOwnAe } = bench;
  if (!isOwnAe) return unknown(`the AE of ${stem} is in use and may have one polling channel only`);
  const unreachable = { ae: { requestReachability: false, pointOfAccess: null as unknown as string[] } };
  await client.update(ae, unreachable, limits);
  const pollingChannel = { resourceName: 'pch' };
  const made = await client.create(ae, ResourceType.pollingChannel, { pollingChannel }, limits);
  if (!made.ok) return refusal(made);
  const address = `${ae}/pch`;
  const over = new AbortController();
  let isHanded = false;
  const channel = new PollingChannel({
    client,
    clock,
    entropy,
    address,
    pollMs: limits.deadlineMs,
    answerMs: limits.deadlineMs,
    handler: ({ requestIdentifier }) => {
      isHanded = true;
      return Promise.resolve({ responseStatusCode: rsc.ok, requestIdentifier });
    },
  });
  const polling = channel.run(over.signal);
  const told = { notification: { subscriptionReference: address } };
  const sent = await client.notify(stem, told, limits);
  over.abort();
  await polling;
  await client.delete(address, { ...limits, ...nothing });
  if (sent.ok && isHanded) return yes('a request waited there, and its answer came back');
  if (isHanded) return no('a request came, its answer did not go back');
  return sent.ok ? no('the CSE answered a request that never came') : refusal(sent);
}

async function tryNonBlocking({ container, client, limits }: Within): Promise<TrialOutcome> {
  const responseType = ResponseType.nonBlockingRequestSynch;
  const asked = await client.request({ operation: Operation.retrieve, to: container, responseType }, limits);
  if (!asked.ok) return refusal(asked);
  const { responseStatusCode, primitiveContent } = asked.value;
  const reference = primitiveContent?.uri;
  if (typeof reference !== 'string') return no(`answered ${responseStatusCode} at once`);
  const read = await client.retrieve(reference, limits);
  if (!read.ok) return refusal(read);
  const isKept = typeof read.value.primitiveContent?.request === 'object';
  return isKept
    ? yes(`accepted with ${responseStatusCode}, kept at ${reference}`)
    : no(`${reference} is no request`);
}

async function tryCmdh({ client, contact, entropy, limits }: TrialBench): Promise<TrialOutcome> {
  const base = contact.cseBase?.resourceName ?? '-';
  const resourceName = `probe-${randomHex(entropy, 4)}`;
  const node = { resourceName, nodeId: resourceName };
  const made = await client.create(base, ResourceType.node, { node }, { ...limits, ...nothing });
  if (!made.ok) {
    const isRight = isRejectedWith(made.error, rsc.originatorHasNoPrivilege);
    return isRight ? unknown('needs the right to create a node') : refusal(made);
  }
  const cmdhPolicy = { mgmtDefinition: MgmtDefinition.cmdhPolicy, cmdhPolicyName: 'probe', mgmtLink: [] };
  const policy = await client.create(`${base}/${resourceName}`, ResourceType.mgmtObj, { cmdhPolicy }, limits);
  await client.delete(`${base}/${resourceName}`, { ...limits, ...nothing });
  return policy.ok ? yes('a cmdhPolicy was created; whether it is obeyed shows in use') : refusal(policy);
}

async function trySibling({ client, siblingCseId, limits }: TrialBench): Promise<TrialOutcome> {
  if (siblingCseId === undefined) return unknown('no other MN-CSE is known');
  // Its CSEBase; CSEs are known that take a CSE-ID alone for no address.
  const read = await client.retrieve(`${siblingCseId}/-`, limits);
  // Only the sibling itself refuses for want of rights.
  if (read.ok || isRejectedWith(read.error, rsc.originatorHasNoPrivilege))
    return yes(`${siblingCseId} answered`);
  return refusal(read);
}

async function tryBlocks({ container, client, limits, protocol }: Within): Promise<TrialOutcome> {
  if (protocol !== 'coap') return unknown('MQTT has no blocks');
  const content = 'x'.repeat(blockBytes);
  const address = `${container}/blocks`;
  const instance = { contentInstance: { resourceName: 'blocks', content } };
  const made = await client.create(container, ResourceType.contentInstance, instance, {
    ...limits,
    ...nothing,
  });
  if (!made.ok) return refusal(made);
  const read = await client.retrieve(address, limits);
  if (!read.ok) return refusal(read);
  const isSame = read.value.primitiveContent?.contentInstance?.content === content;
  return isSame
    ? yes(`${blockBytes} octets went up and came back`)
    : no('what came back is not what went up');
}

async function tryLimit({ container, client, stem, limits }: Within): Promise<TrialOutcome> {
  const label = `probe:${stem}`;
  for (const [resourceName, labels] of [
    ['plain', []],
    ['labelled', [label]],
  ] as const) {
    const made = await client.create(
      container,
      ResourceType.container,
      { container: { resourceName, ...(labels.length === 0 ? {} : { labels: [...labels] }) } },
      { ...limits, ...nothing },
    );
    if (!made.ok && !isRejectedWith(made.error, rsc.conflict)) return refusal(made);
  }
  const filterUsage = FilterUsage.discovery;
  const count = async (limit: object): Promise<number | TrialOutcome> => {
    const filterCriteria = { filterUsage, labels: [label], resourceType: [ResourceType.container], ...limit };
    const found = await client.request(
      { operation: Operation.retrieve, to: container, filterCriteria },
      { ...limits, resultContent: ResultContent.discoveryResultReferences },
    );
    return found.ok ? (found.value.primitiveContent?.uriList?.length ?? 0) : refusal(found);
  };
  const all = await count({});
  if (typeof all !== 'number') return all;
  if (all !== 1) return unknown(`one labelled container, ${all} found`);
  const limited = await count({ limit: 1 });
  if (typeof limited !== 'number') return limited;
  return limited === 1 ? yes('the one that matches was found') : no(`${limited} found of one that matches`);
}

async function tryGroup({ container, client, limits }: Within): Promise<TrialOutcome> {
  const members: string[] = [];
  for (const resourceName of ['one', 'two']) {
    const made = await client.create(
      container,
      ResourceType.container,
      { container: { resourceName } },
      limits,
    );
    if (!made.ok) return refusal(made);
    // The address used here may begin with the short form of the CSEBase, which is no name for a member.
    members.push(made.value.primitiveContent?.container?.resourceId ?? `${container}/${resourceName}`);
  }
  // A group cannot be a child of a container.
  const parent = container.slice(0, container.lastIndexOf('/'));
  const group = {
    resourceName: `${container.slice(parent.length + 1)}-grp`,
    memberIds: members,
    maxNrOfMembers: 2,
    memberType: ResourceType.container,
  };
  const made = await createGroup(client, parent, group, limits);
  if (!made.ok) return made.error.kind === 'rejected' ? no(made.error.message) : unknown(made.error.message);
  const fanned = await fanOut(client, made.value, { operation: Operation.retrieve }, limits);
  await client.delete(made.value, { ...limits, ...nothing });
  if (!fanned.ok) return no(fanned.error.message);
  const answered = fanned.value.filter(({ outcome }) => outcome.ok).length;
  return answered === 2 ? yes('both members answered') : no(`${answered} of 2 members answered`);
}

/** Time that all trials together may take, one after the other, each request at its deadline. */
export function probeMsMax(deadlineMs: Millis): Millis {
  const requests = Object.values(probeCosts).reduce((sum, cost) => sum + cost, 8);
  return millis(requests * deadlineMs);
}
