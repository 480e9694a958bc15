/**
 * The context of the gateway's bundle at a CSE, made, repaired and released as the manifest says. Everything here can be
 * repeated: a resource that exists is taken over. The requests of one level are in flight together (repair-plan.ts), so that
 * preparing costs round trips by the depth of the tree, not by its size.
 *
 * Labels tell a moved AE from a terminated one and a prepared one from a serving one: `baton:dev=<device>`,
 * `baton:state=prepared|provisional|serving|moved`, `baton:epoch=<n>`.
 *
 * What is given up, be it a source that was left or a target that was prepared in vain, is marked as moved and expires; it is
 * never deleted. A request may arrive late, when the same AE serves again and holds readings: what a late mark does, the
 * gateway that serves there notices and mends long before the grace ends.
 */
import { DecodeError } from '../base/errors.ts';
import { epoch as toEpoch } from '../base/units.ts';
import type { Epoch, Millis } from '../base/units.ts';
import { contentOf, isRejectedWith } from '../onem2m/cse-client.ts';
import type { CallOptions, CseClient, CseFailure, CseOutcome } from '../onem2m/cse-client.ts';
import { Operation, ResourceType, ResponseStatusCode, ResultContent } from '../onem2m/enums.ts';
import { encodeTimestamp, parseTimestamp } from '../onem2m/primitives.ts';
import type { Ae } from '../onem2m/resources.ts';
import { announceBelow, areAnnounced, isAnnouncing } from './announcements.ts';
import { commandContainer, commandSubscription } from './bundle-manifest.ts';
import type { AeManifest, BundleManifest, ResourceManifest } from './bundle-manifest.ts';
import { announcementsOf, bundleLabels, contextTypes, observedIn, planRepair } from './repair-plan.ts';
import type { BundleState, ObservedAe, RepairRequest, WantedBundle } from './repair-plan.ts';
import type { CseReference } from './handover-state.ts';
import type { WorkOutcome } from './runner.ts';

/** What work on the context came to. */
export type ContextOutcome =
  { readonly kind: 'succeeded' } | { readonly kind: 'failed'; readonly reason: string };

/** How a CSE is left. */
export interface Leaving {
  /** Epoch that is written into the labels. */
  readonly epoch: Epoch;
  /** How long the AEs are kept with all they hold. */
  readonly graceMs: Millis;
  /** Fetches what is still to be had there; nothing expires before it has succeeded. */
  readonly lastLook?: () => Promise<WorkOutcome>;
  /** Whether what serves now is announced; until then, what is left stays announced too (announcements.ts). */
  readonly isRelinked?: () => Promise<boolean>;
}

const registrationMs = 365 * 24 * 3600 * 1000;

/** Creates, repairs and releases the bundle at a CSE. */
export class BundleContext {
  readonly #bundle: BundleManifest;
  readonly #onObserved: (cse: CseReference, observed: ReadonlyMap<string, ObservedAe>) => void;

  /** `onObserved` is told what a CSE was seen to hold, whatever it was read for. */
  constructor(
    bundle: BundleManifest,
    onObserved: (cse: CseReference, observed: ReadonlyMap<string, ObservedAe>) => void = () => undefined,
  ) {
    this.#bundle = bundle;
    this.#onObserved = onObserved;
  }

  /** What the CSEs are to hold. */
  get bundle(): BundleManifest {
    return this.#bundle;
  }

  /** AE-ID stem by AE name. */
  get aeIds(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.#bundle.aes.map(({ name, aeId }) => [name, aeId]));
  }

  /** CSE-relative address of the gateway's own AE. */
  aeAddress(cse: CseReference): string {
    return `${cse.cseBaseName}/${this.#bundle.device}`;
  }

  /** CSE-relative address of the container that commands are put into. */
  commandAddress(cse: CseReference): string {
    return `${this.aeAddress(cse)}/${commandContainer}`;
  }

  /**
   * Brings the bundle into being at a CSE that probably does not know it: the AEs are created and read at once. All or
   * nothing: the first failure is the outcome, and what was made is for `release`.
   */
  async prepare(
    client: CseClient,
    cse: CseReference,
    wanted: WantedBundle,
    options: CallOptions,
  ): Promise<ContextOutcome> {
    const first = planRepair(this.#bundle, cse.cseBaseName, new Map(), wanted, cse.cseId)[0] ?? [];
    const creations = first.filter(({ resourceType }) => resourceType === ResourceType.ae);
    const run = new PlanRun(client, options);
    const [seen] = await Promise.all([
      Promise.all(this.#bundle.aes.map((ae) => this.#observe(client, cse, ae, options))),
      run.perform(creations, true),
    ]);
    const admitted = this.#admit(client, cse, options);
    const observed = new Map<string, ObservedAe>();
    const tried = new Set(creations.map(({ ae }) => ae));
    for (const [index, { name }] of this.#bundle.aes.entries()) {
      const found = seen[index];
      if (run.made.has(name)) observed.set(name, 'fresh');
      else if (found !== undefined) observed.set(name, this.#assumed(found, tried.has(name)));
      const reason = this.#whyUnusable(cse, name, found, run);
      if (reason !== undefined) return { kind: 'failed', reason };
    }
    if (run.failure !== undefined) return { kind: 'failed', reason: run.failure };
    await run.performAll(planRepair(this.#bundle, cse.cseBaseName, observed, wanted, cse.cseId));
    // An AE that depends on others is tried late; the same may be wrong with it.
    const unusable = this.#bundle.aes
      .map(({ name }, index) => this.#whyUnusable(cse, name, seen[index], run))
      .find((reason) => reason !== undefined);
    return outcomeOf(run.failure === undefined ? await admitted : (unusable ?? run.failure));
  }

  /** Brings the bundle at a CSE that knows it to the manifest: what is read there decides what is done. */
  async repair(
    client: CseClient,
    cse: CseReference,
    wanted: WantedBundle,
    options: CallOptions,
  ): Promise<ContextOutcome> {
    const run = new PlanRun(client, options);
    const observed = await this.observe(client, cse, options);
    if ('reason' in observed) return { kind: 'failed', reason: observed.reason };
    await run.performAll(planRepair(this.#bundle, cse.cseBaseName, observed, wanted, cse.cseId));
    return outcomeOf(run.failure);
  }

  /** What a CSE holds of the bundle, by AE; a reason when it does not tell of all. */
  async observe(
    client: CseClient,
    cse: CseReference,
    options: CallOptions,
  ): Promise<ReadonlyMap<string, ObservedAe> | { readonly reason: string }> {
    const observed = new Map<string, ObservedAe>();
    const seen = await Promise.all(this.#bundle.aes.map((ae) => this.#observe(client, cse, ae, options)));
    for (const [index, { name }] of this.#bundle.aes.entries()) {
      const found = seen[index] ?? 'absent';
      if (typeof found === 'object' && 'reason' in found) return { reason: found.reason };
      observed.set(name, found);
    }
    this.#onObserved(cse, observed);
    return observed;
  }

  /** Whether what the bundle announces from a CSE has its copies; see announcements.ts. */
  async isAnnounced(client: CseClient, cse: CseReference, options: CallOptions): Promise<boolean> {
    const announced = await areAnnounced(client, this.#bundle, cse, options);
    return announced.ok && announced.value;
  }

  /** True when some AE is announced from this CSE. */
  announcesFrom(cse: CseReference): boolean {
    return isAnnouncing(this.#bundle, cse);
  }

  /** Writes the state into the labels of all AEs; those that serve are announced where the manifest says so. */
  async label(
    client: CseClient,
    cse: CseReference,
    mark: { epoch: Epoch; state: BundleState },
    options: CallOptions,
  ): Promise<ContextOutcome> {
    const isServing = mark.state === 'serving';
    const updates = this.#bundle.aes.map(async (manifest) => {
      const { name, aeId, labels = [] } = manifest;
      const targets = isServing ? announcementsOf(manifest, cse.cseId) : [];
      const announced = targets.length > 0 ? { announceTo: targets } : {};
      const ae: Ae = { labels: [...bundleLabels(this.#bundle.device, mark), ...labels], ...announced };
      const own = await client.update(`${cse.cseBaseName}/${name}`, { ae }, { ...options, from: aeId });
      if (!own.ok || !isServing) return [own];
      return [own, ...(await announceBelow(client, cse, manifest, { isServing, options }))];
    });
    return outcomeOf(firstFailure((await Promise.all(updates)).flat()));
  }

  /** The epoch and state that the gateway's own AE carries at a CSE; undefined when it is not there. */
  async marked(
    client: CseClient,
    cse: CseReference,
    options: CallOptions,
  ): Promise<{ epoch?: Epoch; state?: string } | { reason: string } | undefined> {
    const read = await client.retrieve(this.aeAddress(cse), options);
    if (read.ok) return markIn(contentOf(read.value, 'ae').labels);
    if (isRejectedWith(read.error, ResponseStatusCode.notFound)) return undefined;
    return { reason: read.error.message };
  }

  /**
   * Leaves a CSE: no more commands from it, all AEs marked as moved and, after a last look, kept for `graceMs` with all they
   * hold. The expiry is counted from the CSE's own clock, because ours may be wrong by years. An AE that carries a later epoch
   * is left alone.
   */
  async release(
    client: CseClient,
    cse: CseReference,
    leaving: Leaving,
    options: CallOptions,
  ): Promise<ContextOutcome> {
    const isWithdrawn = !this.announcesFrom(cse) || ((await leaving.isRelinked?.()) ?? true);
    const { epoch } = leaving;
    const marks = await Promise.all(
      this.#bundle.aes.map((ae) => this.#markMoved(client, cse, { ae, epoch, isWithdrawn, options })),
    );
    const moved: Moved[] = [];
    for (const mark of marks) {
      if (typeof mark === 'string') return { kind: 'failed', reason: mark };
      if (mark !== undefined) moved.push(mark);
    }
    if (moved.length === 0) return { kind: 'succeeded' };
    const looked = await leaving.lastLook?.();
    if (looked !== undefined && looked.kind !== 'succeeded') {
      return { kind: 'failed', reason: 'reason' in looked ? looked.reason : looked.kind };
    }
    const expiring = moved.map(({ address, from, nowMs }) => {
      const expirationTime = encodeTimestamp(nowMs + leaving.graceMs);
      return client.update(address, { ae: { expirationTime } }, { ...options, from });
    });
    const failure = firstFailure(await Promise.all(expiring));
    const waits = isWithdrawn ? undefined : `${cse.cseId} goes on announcing what the next CSE does not yet`;
    return outcomeOf(failure ?? waits);
  }

  /** Marks one AE as moved; the reason when that fails, undefined when there is none of ours to mark. */
  async #markMoved(
    client: CseClient,
    cse: CseReference,
    work: { ae: AeManifest; epoch: Epoch; isWithdrawn: boolean; options: CallOptions },
  ): Promise<Moved | string | undefined> {
    const { ae, epoch, isWithdrawn } = work;
    const options = { ...work.options, from: ae.aeId };
    const address = `${cse.cseBaseName}/${ae.name}`;
    const read = await client.retrieve(address, options);
    if (!read.ok) {
      return isRejectedWith(read.error, ResponseStatusCode.notFound) ? undefined : read.error.message;
    }
    const { aeId, labels } = contentOf(read.value, 'ae');
    if (stemOf(aeId) !== ae.aeId) return `${address} belongs to ${String(aeId)}`;
    if ((markIn(labels).epoch ?? 0) > epoch) return undefined;
    const isOwn = ae.name === this.#bundle.device;
    const left: Record<string, unknown> = {
      labels: [...bundleLabels(this.#bundle.device, { epoch, state: 'moved' }), ...(ae.labels ?? [])],
      requestReachability: false,
      ...(isWithdrawn && announcementsOf(ae, cse.cseId).length > 0 ? { announceTo: null } : {}),
    };
    const [labelled, unsubscribed] = await Promise.all([
      client.update(address, { ae: left }, { ...options, resultContent: ResultContent.attributes }),
      isOwn
        ? client.delete(`${address}/${commandContainer}/${commandSubscription}`, options)
        : Promise.resolve(undefined),
    ]);
    if (!labelled.ok) return labelled.error.message;
    if (isWithdrawn) await announceBelow(client, cse, ae, { isServing: false, options });
    if (unsubscribed?.ok === false && !isRejectedWith(unsubscribed.error, ResponseStatusCode.notFound)) {
      return unsubscribed.error.message;
    }
    const nowMs = cseTimeIn(labelled);
    if (nowMs === undefined) return `${address}: the answer carries no lastModifiedTime`;
    return { address, from: ae.aeId, nowMs };
  }

  /** What is at a CSE of one AE, in one round trip where the CSE gives child resources (`rcn` 4). */
  async #observe(
    client: CseClient,
    cse: CseReference,
    ae: AeManifest,
    options: CallOptions,
  ): Promise<ObservedAe | { reason: string; code?: number }> {
    const address = `${cse.cseBaseName}/${ae.name}`;
    const own = { ...options, from: ae.aeId };
    const read = await client.request(
      { operation: Operation.retrieve, to: address, filterCriteria: { resourceType: [...contextTypes] } },
      { ...own, resultContent: ResultContent.attributesAndChildResources },
    );
    if (read.ok) {
      const observed = observedIn(contentOf(read.value, 'ae'));
      const { aeId } = observed.attributes;
      if (stemOf(aeId) === ae.aeId) return observed;
      return { reason: `${address} belongs to ${String(aeId)}` };
    }
    const { error } = read;
    if (isRejectedWith(error, ResponseStatusCode.notFound)) return 'absent';
    if (error.kind !== 'rejected') return { reason: error.message };
    if (error.responseStatusCode === ResponseStatusCode.originatorHasNoPrivilege) {
      return { reason: error.message, code: error.responseStatusCode };
    }
    // Not every CSE can filter the children that it gives; that the AE is ours must be known all the same.
    const plain = await client.retrieve(address, own);
    if (!plain.ok) {
      if (isRejectedWith(plain.error, ResponseStatusCode.notFound)) return 'absent';
      return { reason: plain.error.message };
    }
    const { aeId } = contentOf(plain.value, 'ae');
    return stemOf(aeId) === ae.aeId ? 'unread' : { reason: `${address} belongs to ${String(aeId)}` };
  }

  /** What is assumed of an AE that a CSE does not show: one that was not tried yet is tried, where it may not be there. */
  #assumed(found: ObservedAe | { reason: string; code?: number }, wasTried: boolean): ObservedAe {
    if (typeof found !== 'object' || !('reason' in found)) return found;
    return found.code === ResponseStatusCode.originatorHasNoPrivilege && !wasTried ? 'absent' : 'unread';
  }

  /** Why an AE that could not be created cannot be taken over either. */
  #whyUnusable(
    cse: CseReference,
    name: string,
    found: ObservedAe | { reason: string; code?: number } | undefined,
    run: PlanRun,
  ): string | undefined {
    const refusal = run.refused.get(name);
    if (refusal === undefined) return undefined;
    const address = `${cse.cseBaseName}/${name}`;
    if (found === 'absent') return `${address} is registered under another name: ${refusal}`;
    if (typeof found !== 'object' || !('reason' in found)) return undefined;
    if (found.code !== ResponseStatusCode.originatorHasNoPrivilege) {
      return `${address} is held but not ours to use: ${found.reason}`;
    }
    // After a crash a registrar may know the AE-ID and have lost its owner; another CSE is the only way out.
    return `${cse.cseId} holds our AE-ID and does not let us use ${address} (${refusal}; ${found.reason}): its operator has to delete it`;
  }

  /** Asks a target whether it takes what the manifest holds, before anything is claimed; undefined when it does. */
  async #admit(client: CseClient, cse: CseReference, options: CallOptions): Promise<string | undefined> {
    const read = await client.retrieve(cse.cseBaseName, options);
    // What a CSE does not show is found out by the creation of it.
    if (!read.ok) return read.error.kind === 'rejected' ? undefined : read.error.message;
    const supported = read.value.primitiveContent?.cseBase?.supportedResourceType;
    if (!Array.isArray(supported)) return undefined;
    const lacking = [...typesIn(this.#bundle)].filter((type) => !supported.includes(type));
    if (lacking.length === 0) return undefined;
    return `${cse.cseId} does not support resource types ${lacking.join(', ')} of the bundle`;
  }
}

/** An AE that was marked as moved, at this time of the CSE. */
interface Moved {
  readonly address: string;
  readonly from: string;
  readonly nowMs: number;
}

/** One run of a plan: level by level, ended by the first failure. */
class PlanRun {
  readonly #client: CseClient;
  readonly #options: CallOptions;
  readonly #times = new Map<string, number>();
  /** AEs that this run registered. */
  readonly made = new Set<string>();
  /** AEs that could not be registered because they exist, with the words of the CSE. */
  readonly refused = new Map<string, string>();
  failure: string | undefined;

  constructor(client: CseClient, options: CallOptions) {
    this.#client = client;
    this.#options = options;
  }

  async performAll(plan: readonly (readonly RepairRequest[])[]): Promise<void> {
    for (const level of plan) {
      await this.perform(level, false);
      if (this.failure !== undefined) return;
    }
  }

  /** All requests at once; `isOpen` says that AEs may exist. */
  async perform(level: readonly RepairRequest[], isOpen: boolean): Promise<void> {
    const failures = await Promise.all(level.map((request) => this.#request(request, isOpen)));
    this.failure ??= failures.find((failure) => failure !== undefined);
  }

  async #request(request: RepairRequest, isOpen: boolean): Promise<string | undefined> {
    const { operation, to, from, ae, life, resourceType } = request;
    const tells = life === 'tells';
    const outcome = await this.#client.request(
      {
        operation,
        to,
        ...(resourceType === undefined ? {} : { resourceType }),
        primitiveContent: life === 'prolonged' ? this.#prolonged(ae) : request.content,
      },
      { ...this.#options, from, resultContent: tells ? ResultContent.attributes : ResultContent.nothing },
    );
    if (!outcome.ok) return this.#judge(request, outcome.error, isOpen);
    if (!tells) return undefined;
    const nowMs = cseTimeIn(outcome);
    if (nowMs === undefined) return `${to}: the answer carries no lastModifiedTime`;
    this.#times.set(ae, nowMs);
    if (operation === Operation.update) return undefined;
    const assigned = contentOf(outcome.value, 'ae').aeId;
    if (assigned !== undefined && stemOf(assigned) !== from) {
      return `${to} assigned the AE-ID ${assigned} instead of ${from}`;
    }
    this.made.add(ae);
    return undefined;
  }

  #judge(request: RepairRequest, error: CseFailure, isOpen: boolean): string | undefined {
    if (request.operation === Operation.update) return error.message;
    if (request.resourceType !== ResourceType.ae) {
      return isRejectedWith(error, ResponseStatusCode.conflict) ? undefined : error.message;
    }
    const { originatorHasAlreadyRegistered, alreadyExists, conflict } = ResponseStatusCode;
    const exists = [originatorHasAlreadyRegistered, alreadyExists, conflict].some((code) =>
      isRejectedWith(error, code),
    );
    if (exists) this.refused.set(request.ae, error.message);
    return exists && isOpen ? undefined : error.message;
  }

  #prolonged(ae: string): { ae: Ae } {
    const nowMs = this.#times.get(ae);
    if (nowMs === undefined) throw new DecodeError(`the time of the CSE is not known for ${ae}`);
    return { ae: { expirationTime: encodeTimestamp(nowMs + registrationMs) } };
  }
}

function typesIn(bundle: BundleManifest): Set<number> {
  const types = new Set<number>([ResourceType.ae, ResourceType.contentInstance]);
  const visit = ({ resourceType, children = [] }: ResourceManifest): void => {
    types.add(resourceType);
    children.forEach(visit);
  };
  for (const { resources } of bundle.aes) resources.forEach(visit);
  return types;
}

function markIn(labels: unknown): { epoch?: Epoch; state?: string } {
  const valueOf = (name: string): string | undefined => {
    const list: readonly unknown[] = Array.isArray(labels) ? labels : [];
    const label = list.find((each) => typeof each === 'string' && each.startsWith(`${name}=`));
    return typeof label === 'string' ? label.slice(name.length + 1) : undefined;
  };
  const epoch = /^\d{1,15}$/u.exec(valueOf('baton:epoch') ?? '')?.[0];
  const state = valueOf('baton:state');
  return {
    ...(epoch === undefined ? {} : { epoch: toEpoch(Number(epoch)) }),
    ...(state === undefined ? {} : { state }),
  };
}

function stemOf(aeId: unknown): string | undefined {
  return typeof aeId === 'string' ? aeId.split('/').pop() : undefined;
}

function cseTimeIn(outcome: Extract<CseOutcome, { ok: true }>): number | undefined {
  const time = contentOf(outcome.value, 'ae').lastModifiedTime;
  return typeof time === 'string' ? parseTimestamp(time) : undefined;
}

function firstFailure(outcomes: readonly CseOutcome[]): string | undefined {
  for (const outcome of outcomes) if (!outcome.ok) return outcome.error.message;
  return undefined;
}

function outcomeOf(reason: string | undefined): ContextOutcome {
  return reason === undefined ? { kind: 'succeeded' } : { kind: 'failed', reason };
}
