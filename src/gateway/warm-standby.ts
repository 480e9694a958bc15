/**
 * The warm standby: the bundle prepared and proved ahead at the best alternative, so that an abrupt loss of the serving CSE, or
 * a decision for that target, costs the claim and the switch only.
 *
 *   - Which one: the best candidate but the serving one. It has to be the best for `holdMs` without a break before it is
 *     prepared, also in place of another, so that two that change places do not flap.
 *   - Before anything is sent, the owed work (owed-work.ts) knows of it, durably: whatever happens then, the AEs there are
 *     released, by this run or the next (I9). The next run finds it there and keeps it if it is still the best.
 *   - Fresh: every `refreshMs` a look at the label of our AE there and an echo, which proves the way up and down; every tenth
 *     time, or when the look shows something else than was left, all of the bundle is compared and repaired. What was
 *     proved longer ago than two periods is not warm, and a handover prepares it as any other target.
 *   - Never served from: the uplink knows nothing of it. What a standby sends down is a command like any other, once.
 *   - An AE of ours there that carries a higher epoch belongs to another gateway with our identity: it is left alone.
 *   - The budget: no round begins when the last hour and what such a round cost the last time exceed it. It counts from the
 *     start of the process, and a first preparation, whose cost nobody knows, may exceed it once.
 *
 * A transaction takes precedence: it ends a round that is under way, and a standby that it has had as its target is its own
 * to see to.
 */
import { LinkedAbort } from '../base/linked-abort.ts';
import { errorText } from '../base/errors.ts';
import { epoch as toEpoch, millis } from '../base/units.ts';
import type { CseId, Epoch, Millis } from '../base/units.ts';
import type { BundleContext, ContextOutcome } from '../handover/context.ts';
import type { WorkContext, WorkOutcome } from '../handover/runner.ts';
import type { CseReference, Serving, Transaction } from '../handover/handover-state.ts';
import { sleep } from '../host/clock.ts';
import type { Clock } from '../host/clock.ts';
import type { TrafficMeter } from '../onem2m/traffic-meter.ts';
import type { StandbyConfig } from './config.ts';
import type { OwedWork } from './owed-work.ts';
import type { StandbyStatus } from './status.ts';

/** What a standby is kept with. */
export interface WarmStandbyOptions {
  readonly clock: Clock;
  readonly settings: StandbyConfig;
  /** Longest duration of each part of a round. */
  readonly deadlineMs: Millis;
  readonly owed: Pick<OwedWork, 'standby' | 'holdStandby' | 'dropStandby' | 'forgetStandby'>;
  readonly serving: () => Serving | undefined;
  /** False while a transaction is under way, or the gateway is fenced. */
  readonly isFree: () => boolean;
  /** The best candidate but the serving one. */
  readonly best: () => CseReference | undefined;
  readonly work: StandbyWork;
  /** Counts what `work` sends. */
  readonly meter: TrafficMeter;
  readonly onChange: (text: string) => void;
}

/** The requests of a round; each can be repeated. */
export interface StandbyWork {
  readonly marked: (cse: CseReference, work: WorkContext) => ReturnType<BundleContext['marked']>;
  readonly prepare: (transaction: Transaction, work: WorkContext) => Promise<WorkOutcome>;
  readonly repair: (transaction: Transaction, work: WorkContext) => Promise<ContextOutcome>;
  readonly verify: (transaction: Transaction, work: WorkContext) => Promise<WorkOutcome>;
  /** Takes the commands that wait there from an earlier stay. */
  readonly fetchCommands: (transaction: Transaction, work: WorkContext) => Promise<WorkOutcome>;
  readonly pointOfAccessFor: (cse: CseReference) => string;
}

type RoundKind = 'prepare' | 'look' | 'repair';

interface Held {
  readonly cse: CseReference;
  readonly sinceMs: Millis;
  /** Point of access that the CSE was told, once it was. */
  toldPoa?: string;
  /** Epoch that its labels carry. */
  epoch?: Epoch;
  provedMs?: Millis;
  looks: number;
  failures: number;
  nextMs: Millis;
  reason?: string;
}

interface Round {
  readonly atMs: Millis;
  readonly requests: number;
  readonly bytes: number;
}

const tickMs = millis(1000);
const hourMs = 3_600_000;
/** Looks between two comparisons of the whole bundle. */
const looksPerRepair = 10;
/** Failures in a row after which the pause grows no more. */
const failuresMax = 4;

/** Keeps a standby; see the header of this file. */
export class WarmStandby {
  readonly #options: WarmStandbyOptions;
  #held: Held | undefined;
  #wanted: { readonly cseId: CseId; readonly sinceMs: Millis } | undefined;
  #round: { readonly abort: LinkedAbort; readonly done: Promise<void> } | undefined;
  #rounds: Round[] = [];
  readonly #costs = new Map<RoundKind, { requests: number; bytes: number }>();
  #isPutOff = false;

  constructor(options: WarmStandbyOptions) {
    this.#options = options;
  }

  /** Keeps the standby until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, owed, settings } = this.#options;
    const left = owed.standby;
    if (left !== undefined && settings.enabled) this.#hold(left.cse);
    if (left !== undefined && !settings.enabled) await owed.dropStandby();
    while (!signal.aborted && settings.enabled) {
      await sleep(clock, tickMs, signal).catch(() => undefined);
      if (!signal.aborted) await this.#tend(signal);
    }
  }

  /** Ends what is under way, for a transaction begins; true when its target is warm. */
  async giveWay(target: CseReference): Promise<boolean> {
    this.#round?.abort.abort();
    await this.#round?.done;
    return this.isWarmAt(target);
  }

  /** The CSE of the standby while it is warm. */
  get warm(): CseId | undefined {
    return this.#isWarm() ? this.#held?.cse.cseId : undefined;
  }

  /** Whether a handover to this target costs the claim and the switch only. */
  isWarmAt(target: CseReference): boolean {
    return this.#isWarm() && isSame(target, this.#held?.cse);
  }

  /** A transaction with this target has ended: what is there now is its doing. */
  noteEnded(target: CseId): void {
    if (this.#held?.cse.cseId !== target) return;
    this.#held = undefined;
    this.#wanted = undefined;
    void this.#options.owed.forgetStandby();
  }

  /** For the status; undefined where none is kept. */
  get status(): StandbyStatus | undefined {
    const { clock, settings } = this.#options;
    if (!settings.enabled) return undefined;
    const spent = this.#spent();
    const held = this.#held;
    return {
      state: this.#state(),
      ...(held === undefined ? {} : { cseId: held.cse.cseId }),
      ...(held?.provedMs === undefined
        ? {}
        : { provedAgeMs: Math.round(clock.monotonicMs() - held.provedMs) }),
      ...(held?.reason === undefined ? {} : { reason: held.reason }),
      requestsLastHour: spent.requests,
      bytesLastHour: spent.bytes,
    };
  }

  #state(): StandbyStatus['state'] {
    if (this.#held === undefined) return 'none';
    if (this.#isWarm()) return 'warm';
    if (this.#isPutOff) return 'putOff';
    return this.#held.reason === undefined ? 'preparing' : 'failed';
  }

  #isWarm(): boolean {
    const held = this.#held;
    if (held?.provedMs === undefined || held.reason !== undefined) return false;
    const { clock, settings, deadlineMs, work } = this.#options;
    const ageMs = clock.monotonicMs() - held.provedMs;
    // A round that is late by its own deadlines is no reason to prepare all anew.
    return ageMs <= 2 * settings.refreshMs + deadlineMs && held.toldPoa === work.pointOfAccessFor(held.cse);
  }

  async #tend(signal: AbortSignal): Promise<void> {
    const { clock, owed, settings, serving, isFree, best } = this.#options;
    const source = serving();
    if (!isFree() || source === undefined) return;
    if (this.#held?.cse.cseId === source.cse.cseId) this.noteEnded(source.cse.cseId);
    const nowMs = clock.monotonicMs();
    const wanted = best();
    if (wanted?.cseId !== this.#wanted?.cseId) {
      this.#wanted = wanted === undefined ? undefined : { cseId: wanted.cseId, sinceMs: nowMs };
    }
    const held = this.#held;
    const isSettled = this.#wanted !== undefined && nowMs - this.#wanted.sinceMs >= settings.holdMs;
    if (wanted !== undefined && isSettled && !isSame(wanted, held?.cse)) {
      if (held !== undefined) await owed.dropStandby();
      this.#hold(wanted);
    }
    if (this.#held === undefined || this.#held.nextMs > nowMs) return;
    await this.#spend(this.#held, source, signal);
  }

  #hold(cse: CseReference): void {
    const nowMs = this.#options.clock.monotonicMs();
    this.#held = { cse, sinceMs: nowMs, looks: 0, failures: 0, nextMs: nowMs };
  }

  /** Does the round that is due, unless it would exceed the budget. */
  async #spend(held: Held, source: Serving, signal: AbortSignal): Promise<void> {
    const { clock, settings, meter, onChange } = this.#options;
    const kind = this.#dueRound(held);
    this.#isPutOff = !this.#isAffordable(kind);
    if (this.#isPutOff) return;
    const wasWarm = this.#isWarm();
    const before = meter.traffic;
    const abort = new LinkedAbort(signal);
    const done = this.#do(kind, held, source, abort.signal).catch((error: unknown) => errorText(error));
    this.#round = { abort, done: done.then(() => undefined) };
    const reason = await done;
    const isAborted = abort.signal.aborted;
    abort.release();
    this.#round = undefined;
    const after = meter.traffic;
    const cost = { requests: after.requests - before.requests, bytes: after.bytes - before.bytes };
    this.#rounds.push({ atMs: clock.monotonicMs(), ...cost });
    if (isAborted || this.#held !== held) return;
    this.#costs.set(kind, cost);
    const nowMs = clock.monotonicMs();
    if (reason === undefined) {
      held.provedMs = nowMs;
      held.looks = kind === 'look' ? held.looks + 1 : 0;
      held.failures = 0;
      delete held.reason;
      held.nextMs = millis(nowMs + settings.refreshMs);
      if (!wasWarm) onChange(`standby: ${held.cse.cseId} is prepared (${cost.requests} requests)`);
      return;
    }
    // The next round compares all of it.
    delete held.toldPoa;
    if (held.reason === undefined) onChange(`standby: ${held.cse.cseId} is not warm: ${reason}`);
    held.reason = reason;
    held.failures = Math.min(failuresMax, held.failures + 1);
    held.nextMs = millis(nowMs + (settings.refreshMs / 4) * 2 ** (held.failures - 1));
  }

  #dueRound(held: Held): RoundKind {
    if (held.provedMs === undefined) return 'prepare';
    const isTold = held.toldPoa === this.#options.work.pointOfAccessFor(held.cse);
    return isTold && held.looks < looksPerRepair ? 'look' : 'repair';
  }

  /** The round; resolves to what was in the way. */
  async #do(kind: RoundKind, held: Held, source: Serving, signal: AbortSignal): Promise<string | undefined> {
    const { owed, work, deadlineMs } = this.#options;
    const { cse } = held;
    const context: WorkContext = { deadlineMs, signal };
    const epoch = toEpoch(source.epoch + 1);
    const mark = await work.marked(cse, context);
    if (mark !== undefined && 'reason' in mark) return mark.reason;
    if ((mark?.epoch ?? 0) > Math.max(epoch, held.epoch ?? 0)) {
      return `it holds our AE under epoch ${mark?.epoch}, ours is ${source.epoch}: another gateway with the same identity?`;
    }
    const transaction: Transaction = {
      epoch,
      nonce: 'standby',
      trigger: 'a3',
      source,
      target: cse,
      alternatives: [],
    };
    const isAsLeft = mark?.state === 'prepared' && mark.epoch === held.epoch;
    if (kind !== 'look' || !isAsLeft) {
      // Nothing is sent that a crash would make us forget (I9).
      if (!(await owed.holdStandby(cse, epoch))) return 'the list of owed work cannot be written';
      if (signal.aborted) return 'withdrawn';
      held.epoch = epoch;
      const pointOfAccess = work.pointOfAccessFor(cse);
      const isThere = mark !== undefined && kind !== 'prepare';
      const made = await (isThere ? work.repair(transaction, context) : work.prepare(transaction, context));
      if (made.kind !== 'succeeded') return reasonOf(made);
      held.toldPoa = pointOfAccess;
      const fetched = await work.fetchCommands(transaction, context);
      if (fetched.kind !== 'succeeded') return reasonOf(fetched);
    }
    const proved = await work.verify(transaction, context);
    return proved.kind === 'succeeded' ? undefined : reasonOf(proved);
  }

  #isAffordable(kind: RoundKind): boolean {
    const { requestsPerHour, bytesPerHour } = this.#options.settings;
    const spent = this.#spent();
    const { requests = 0, bytes = 0 } = this.#costs.get(kind) ?? this.#costs.get('prepare') ?? {};
    return spent.requests + requests <= requestsPerHour && spent.bytes + bytes <= bytesPerHour;
  }

  #spent(): { requests: number; bytes: number } {
    const fromMs = this.#options.clock.monotonicMs() - hourMs;
    this.#rounds = this.#rounds.filter(({ atMs }) => atMs > fromMs);
    return this.#rounds.reduce(
      (sum, { requests, bytes }) => ({ requests: sum.requests + requests, bytes: sum.bytes + bytes }),
      { requests: 0, bytes: 0 },
    );
  }
}

function isSame(a: CseReference, b: CseReference | undefined): boolean {
  return a.cseId === b?.cseId && a.pointOfAccess === b.pointOfAccess && a.cseBaseName === b.cseBaseName;
}

function reasonOf(outcome: WorkOutcome | ContextOutcome): string {
  return 'reason' in outcome ? outcome.reason : outcome.kind;
}
