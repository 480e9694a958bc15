/**
 * Sees to what a move takes along beside the manifest (context-transfer.ts): remembers durably what the serving CSE was seen to
 * hold, and which CSEs are still to be taken from, so that neither a lost source nor a restart loses the subscriptions of others.
 *
 * A transfer begins when the switch is done and runs beside everything else. A CSE that does not answer is tried again until the
 * time is over for which a source is kept. What could not be taken along stands in an alarm until the next move.
 */
import { DecodeError, errorText } from '../base/errors.ts';
import { LinkedAbort, createSharedAbort } from '../base/linked-abort.ts';
import { epoch as toEpoch, millis } from '../base/units.ts';
import type { CseId, Millis, StreamName } from '../base/units.ts';
import type { BundleContext } from '../handover/context.ts';
import { differencesOf } from '../handover/context-diff.ts';
import { ContextTransfer, snapshotOf } from '../handover/context-transfer.ts';
import type { ContextSnapshot, FlexState, TransferReport } from '../handover/context-transfer.ts';
import { decodeForeignResource } from '../handover/foreign-resources.ts';
import { decodeCseReference } from '../handover/handover-state-codec.ts';
import { isRenewal } from '../handover/handover-state.ts';
import type { CseReference, Serving, Transaction } from '../handover/handover-state.ts';
import { writtenInstance } from '../handover/recent-instances.ts';
import type { ReadInstance } from '../handover/recent-instances.ts';
import type { ObservedAe } from '../handover/repair-plan.ts';
import { sleep } from '../host/clock.ts';
import type { Clock } from '../host/clock.ts';
import type { CseClient } from '../onem2m/cse-client.ts';
import type { ContentInstance } from '../onem2m/resources.ts';
import type { Telling } from './telling.ts';

/** What is remembered. */
export interface ContextMemory {
  readonly snapshots: readonly ContextSnapshot[];
  /** CSEs from which something may still have to be taken along, the oldest first. */
  readonly pending?: { readonly sources: readonly CseReference[]; readonly target: CseReference };
}

/** Durable place of the memory. */
export interface ContextStore {
  load(): Promise<ContextMemory | undefined>;
  save(memory: ContextMemory): Promise<void>;
}

/** What a desk works with. */
export interface ContextDeskOptions {
  readonly clock: Clock;
  /** Nothing outlives the process without one. */
  readonly store: ContextStore | undefined;
  readonly telling: Telling;
  readonly context: () => BundleContext;
  readonly clientFor: (cse: CseReference) => CseClient;
  readonly serving: () => Serving | undefined;
  /** True while a transaction is under way. */
  readonly isBusy: () => boolean;
  readonly deadlineMs: Millis;
  /** A look has shown that the serving CSE lacks something, which no request may ever tell: a subscription for example. */
  readonly onLacking: () => void;
  /** For so long a source is kept, and asked again. */
  readonly graceMs: Millis;
}

const bundleStates = ['prepared', 'provisional', 'serving', 'moved'] as const;

/** CSEs of which something is remembered. */
const snapshotsMax = 4;
const retryMs = millis(15_000);
/** Time between two looks at what others have created at the serving CSE. */
const lookMs = millis(300_000);
/** Instances of one stream that are remembered, and their octets. */
const writtenMax = { instances: 1000, bytes: 256 * 1024 };

/** The keeper of everything beside the manifest; see the header of this file. */
export class ContextDesk {
  readonly #options: ContextDeskOptions;
  readonly #written = new Map<string, ReadInstance[]>();
  #memory: ContextMemory = { snapshots: [] };
  #wake: LinkedAbort | undefined;
  #transfer: LinkedAbort | undefined;
  #pendingSinceMs = 0;
  #lookedMs = Number.NEGATIVE_INFINITY;
  /** The disk has refused the memory. */
  #isUnkept = false;

  constructor(options: ContextDeskOptions) {
    this.#options = options;
  }

  /** Takes up what the last run remembered. */
  async open(): Promise<void> {
    this.#memory = (await this.#options.store?.load()) ?? this.#memory;
    this.#pendingSinceMs = this.#options.clock.monotonicMs();
  }

  /** Something has read what a CSE holds. */
  note(cse: CseReference, observed: ReadonlyMap<string, ObservedAe>): void {
    const { serving, isBusy, context, onLacking } = this.#options;
    const held = serving();
    if (held?.cse.cseId === cse.cseId && !isBusy()) {
      const wanted = { epoch: held.epoch, state: 'serving' as const };
      const differences = differencesOf(context().bundle, cse, observed, wanted);
      if (differences.some(({ kind }) => kind === 'missing')) onLacking();
    }
    // Half a look would forget what the other half was known to hold.
    if ([...observed.values()].some((each) => typeof each === 'string')) return;
    const { snapshot, left } = snapshotOf(this.#options.context().bundle, cse, observed);
    if (left.length > 0) {
      const [first] = left;
      const text = `${left.length} resources that others made at ${cse.cseId} are too many to be taken along, ${first?.ae}/${first?.path} among them`;
      this.#options.telling.alarms.raise('foreign', text);
    } else this.#options.telling.alarms.clear('foreign');
    const known = this.#memory.snapshots.find((each) => each.cse.cseId === cse.cseId);
    if (JSON.stringify(known) === JSON.stringify(snapshot)) return;
    const others = this.#memory.snapshots.filter((each) => each !== known);
    this.#remember({ ...this.#memory, snapshots: [...others, snapshot].slice(-snapshotsMax) });
  }

  /** A handover begins: a last look at the source beside its first phase, which does not wait for it. */
  lookAtSource({ source, trigger, target }: Transaction): void {
    if (source === undefined || trigger === 'servingLost' || source.cse.cseId === target.cseId) return;
    void this.#look(source.cse, createSharedAbort().signal);
  }

  /** The switch is done: what is at the source is to be taken along. */
  begin(transaction: Transaction): void {
    const { source, target, isProvisional } = transaction;
    if (source === undefined || isProvisional || isRenewal(transaction)) return;
    const earlier = this.#memory.pending?.sources ?? [];
    const sources = [...earlier, source.cse].filter(
      ({ cseId }, at, all) =>
        cseId !== target.cseId && all.findLastIndex((each) => each.cseId === cseId) === at,
    );
    this.#options.telling.alarms.clear('transfer');
    this.#remember({ ...this.#memory, pending: { sources: sources.slice(-snapshotsMax), target } });
    this.#pendingSinceMs = this.#options.clock.monotonicMs();
    this.#transfer?.abort();
    this.#wake?.abort();
  }

  /** An instance of a stream has arrived at a CSE. */
  noteWritten(cseId: CseId, ae: string, stream: StreamName, instance: ContentInstance): void {
    const { clock } = this.#options;
    const key = `${ae}/${stream}`;
    const ring = this.#written.get(key) ?? [];
    ring.push(writtenInstance(cseId, instance, clock.unixMs()));
    let bytes = ring.reduce((sum, each) => sum + sizeOf(each), 0);
    while (ring.length > writtenMax.instances || bytes > writtenMax.bytes) {
      const oldest = ring.shift();
      bytes -= oldest === undefined ? bytes : sizeOf(oldest);
    }
    this.#written.set(key, ring);
  }

  /** What differs at a CSE from the manifest; with `isRepair` it is repaired, where the bundle is registered there. */
  async inspect(cse: CseReference, isRepair: boolean): Promise<Readonly<Record<string, unknown>>> {
    const { context, clientFor, deadlineMs, isBusy } = this.#options;
    const [client, bundle, limits] = [clientFor(cse), context().bundle, { deadlineMs }];
    const refused = (reason: string): Readonly<Record<string, unknown>> => ({ accepted: false, reason });
    const mark = await context().marked(client, cse, limits);
    if (mark !== undefined && 'reason' in mark) return refused(mark.reason);
    const state = bundleStates.find((each) => each === mark?.state) ?? 'prepared';
    const wanted = { epoch: mark?.epoch ?? toEpoch(0), state };
    if (isRepair && mark === undefined) {
      return refused(`nothing of ${bundle.device} is at ${cse.cseId}; a handover prepares it there`);
    }
    if (isRepair && isBusy()) return refused('a handover is under way, which sees to the context itself');
    const before = await context().observe(client, cse, limits);
    if ('reason' in before) return refused(before.reason);
    const differences = differencesOf(bundle, cse, before, wanted);
    const answer = { accepted: true, cse: cse.cseId, state: mark?.state ?? 'absent', differences };
    if (!isRepair) return answer;
    const outcome = await context().repair(client, cse, wanted, limits);
    if (outcome.kind === 'failed') return refused(outcome.reason);
    const after = await context().observe(client, cse, limits);
    if ('reason' in after) return refused(after.reason);
    return { ...answer, repaired: true, remaining: differencesOf(bundle, cse, after, wanted) };
  }

  /** Transfers what is pending and looks at the serving CSE from time to time, until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (!signal.aborted) {
      this.#wake = new LinkedAbort(signal);
      await this.#step(signal);
      if (this.#isUnkept) this.#remember(this.#memory);
      const isDone = this.#memory.pending === undefined && !this.#isUnkept;
      const waitMs = isDone ? lookMs : retryMs;
      await sleep(clock, waitMs, this.#wake.signal).catch(() => undefined);
      this.#wake.release();
    }
  }

  async #step(signal: AbortSignal): Promise<void> {
    const { clock, serving, isBusy } = this.#options;
    const cse = serving()?.cse;
    const { pending } = this.#memory;
    if (cse === undefined) return;
    if (pending?.target.cseId === cse.cseId) {
      this.#transfer = new LinkedAbort(signal);
      for (const source of pending.sources) {
        if (!this.#transfer.signal.aborted) await this.#take(source, pending.target, this.#transfer.signal);
      }
      this.#transfer.release();
      this.#transfer = undefined;
    }
    if (isBusy() || clock.monotonicMs() - this.#lookedMs < lookMs) return;
    this.#lookedMs = clock.monotonicMs();
    await this.#look(cse, signal);
  }

  /** True when the CSE told what it holds. */
  async #look(cse: CseReference, signal: AbortSignal): Promise<boolean> {
    const { context, clientFor, deadlineMs } = this.#options;
    try {
      const observed = await context().observe(clientFor(cse), cse, { deadlineMs, signal });
      return !('reason' in observed);
    } catch (error) {
      // What cannot be read is known from before, or not at all.
      this.#options.telling.log('debug', `${cse.cseId} does not show what it holds: ${errorText(error)}`);
      return false;
    }
  }

  async #take(source: CseReference, target: CseReference, signal: AbortSignal): Promise<void> {
    const { clock, context, clientFor, deadlineMs, graceMs } = this.#options;
    const hasLooked = await this.#look(source, signal);
    const snapshot = this.#memory.snapshots.find(({ cse }) => cse.cseId === source.cseId);
    const report = await new ContextTransfer(context().bundle, {
      source: { client: clientFor(source), cse: source },
      target: { client: clientFor(target), cse: target },
      snapshot,
      written: (ae, path) => this.#written.get(`${ae}/${path}`) ?? [],
      options: { deadlineMs, signal, queue: 'context' },
    }).run();
    if (signal.aborted) return;
    const isOver = clock.monotonicMs() - this.#pendingSinceMs >= graceMs;
    const isDone = (report.isComplete && hasLooked) || isOver;
    this.#tell(source, target, report, isDone);
    const { pending } = this.#memory;
    if (!isDone || pending === undefined) return;
    const sources = pending.sources.filter(({ cseId }) => cseId !== source.cseId);
    const { pending: _, ...rest } = this.#memory;
    this.#remember(sources.length === 0 ? rest : { ...rest, pending: { ...pending, sources } });
  }

  #tell(source: CseReference, target: CseReference, report: TransferReport, isDone: boolean): void {
    const { telling } = this.#options;
    const { notTransferred, foreign, states, copies } = report;
    telling.record({ kind: 'contextTransfer', source: source.cseId, target: target.cseId, ...report });
    const counts = `${foreign} resources of others, the state of ${states} flexContainers, ${copies} instances`;
    if (isDone) telling.log('info', `taken along from ${source.cseId} to ${target.cseId}: ${counts}`);
    for (const { path, reason } of notTransferred) {
      telling.log('warn', `${path} is not taken along from ${source.cseId}: ${reason}`);
    }
    const [first, ...more] = notTransferred;
    if (first === undefined) telling.alarms.clear('transfer');
    else {
      const others = more.length === 0 ? '' : `; and ${more.length} more, see the log`;
      const text = `not taken along from ${source.cseId} to ${target.cseId}: ${first.path}: ${first.reason}${others}`;
      telling.alarms.raise('transfer', text);
    }
  }

  #remember(memory: ContextMemory): void {
    this.#memory = memory;
    const { alarms } = this.#options.telling;
    this.#options.store?.save(memory).then(
      () => {
        this.#isUnkept = false;
        alarms.clear('contextMemory');
      },
      (error: unknown) => {
        const text = `what others made at the CSEs cannot be remembered: ${errorText(error)}`;
        alarms.raise('contextMemory', text);
        // The wait may be a long one.
        if (!this.#isUnkept) this.#wake?.abort();
        this.#isUnkept = true;
      },
    );
  }
}

function sizeOf({ attributes }: ReadInstance): number {
  const { content } = attributes;
  return 64 + (typeof content === 'string' ? content.length : JSON.stringify(content ?? '').length);
}

/** The memory from its stored form; throws `DecodeError` when it is none. */
export function decodeContextMemory(value: unknown): ContextMemory {
  const { snapshots, pending } = recordOf(value);
  if (!Array.isArray(snapshots)) throw new DecodeError('the memory of the context holds no list of CSEs');
  const decoded = { snapshots: snapshots.map(decodeSnapshot) };
  if (pending === undefined) return decoded;
  const { sources, target } = recordOf(pending);
  if (!Array.isArray(sources)) throw new DecodeError('the memory of the context holds no list of sources');
  return {
    ...decoded,
    pending: { sources: sources.map(decodeCseReference), target: decodeCseReference(target) },
  };
}

function decodeSnapshot(value: unknown): ContextSnapshot {
  const { cse, foreign, states, paths } = recordOf(value);
  if (!Array.isArray(foreign) || !Array.isArray(states) || !Array.isArray(paths)) {
    throw new DecodeError('the memory of the context holds a CSE that is not whole');
  }
  return {
    cse: decodeCseReference(cse),
    foreign: foreign.map(decodeForeignResource),
    states: states.map(decodeState),
    paths: paths.map((pair: unknown): [string, string] => {
      const [id, path] = (Array.isArray(pair) ? pair : []) as readonly unknown[];
      if (typeof id === 'string' && typeof path === 'string') return [id, path];
      throw new DecodeError('the memory of the context holds a path that is not whole');
    }),
  };
}

function decodeState(value: unknown): FlexState {
  const { ae, path, custom, lastModifiedTime } = recordOf(value);
  if (typeof ae !== 'string' || typeof path !== 'string' || typeof lastModifiedTime !== 'string') {
    throw new DecodeError('the memory of the context holds a state that is not whole');
  }
  return { ae, path, custom: recordOf(custom), lastModifiedTime };
}

function recordOf(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw new DecodeError('the memory of the context holds no object');
}
