/**
 * Delivery of one stream: one record under way at a time, so that the order at the CSE is the order of storing (I3).
 *
 * A record is named by its log and number, so a repeat of it at the same CSE answers 4105 and counts as delivered. Another
 * CSE does not know the name: a record whose answer is still missing when the stream moves, and the records a crashed run
 * may have delivered without remembering, are in doubt. The lane asks the CSE they may be at before it sends them
 * elsewhere; where that cannot be settled the copy carries the label `baton:indoubt` (I2).
 *
 * A move is over when nothing is in doubt any more, or when its time is up: what is in doubt then is part of its outcome,
 * for a restart to know of (`Moved`). So a restart has to ask one CSE at most: all else that is pending was sent to one
 * only. The same destination again, as a repeated switch gives it, is no new move.
 */
import type { Millis, Seq, StreamName } from '../base/units.ts';
import { millis, seq as toSeq } from '../base/units.ts';
import { recordName } from '../buffer/record.ts';
import type { StoredRecord } from '../buffer/record.ts';
import { sleep } from '../host/clock.ts';
import type { Clock } from '../host/clock.ts';
import { randomFraction } from '../host/entropy.ts';
import type { Entropy } from '../host/entropy.ts';
import { isRejectedWith } from '../onem2m/cse-client.ts';
import type { CseFailure, CseOutcome } from '../onem2m/cse-client.ts';
import { ResourceType, ResponseStatusCode, ResultContent } from '../onem2m/enums.ts';
import { encodeInstance } from './instance.ts';
import { containerOf } from './destination.ts';
import type { Destination } from './destination.ts';

/** Label of a copy that another CSE may hold too. */
export const inDoubtLabel = 'baton:indoubt';

/** Longest wait for a CSE left behind to say whether it holds a record: the stream stands still meanwhile. */
const questionMsMax = 500;

/** The part of the log a lane works on. */
export interface RecordSource {
  /** The oldest records that are not acknowledged, at most `max`. */
  peek(stream: StreamName, max: number): Promise<readonly StoredRecord[]>;
  /** Everything of the stream up to `throughSeq` is delivered. */
  acknowledge(stream: StreamName, throughSeq: Seq): void;
  /** Everything of the stream up to `throughSeq` is settled without being delivered. */
  giveUp(stream: StreamName, throughSeq: Seq): void;
  /** Number of the newest stored record of the stream; 0 before the first. */
  lastSeq(stream: StreamName): Seq;
}

/** Deadlines and waits of delivery. */
export interface UplinkSettings {
  /** How long the next answer may take; asked for each request, because it follows the path's own history. */
  readonly deadlineMs: () => Millis;
  readonly retryMsMin: Millis;
  readonly retryMsMax: Millis;
}

/** One request to the serving CSE, when it was sent, and how long its answer, or the wait for none, took. */
export interface Exchange {
  readonly isAnswered: boolean;
  readonly sentMs: Millis;
  readonly tookMs: Millis;
}

/** What lanes tell the gateway. */
export interface UplinkObserver {
  onExchange(destination: Destination, exchange: Exchange): void;
  onDelivered(stream: StreamName, seq: Seq): void;
  /** The CSE no longer knows the AE or a container of it: the context must be repaired. */
  onContextLost(destination: Destination, reason: string): void;
  /** A record the CSE refuses for what it is; it is set aside and counted. */
  onRefused(stream: StreamName, seq: Seq, reason: string): void;
  onAlarm(stream: StreamName, text: string): void;
}

/** What a move came to. */
export interface Moved {
  /** First number for the new destination. */
  readonly firstSeq: Seq;
  /** Pending records up to this number may be at another CSE, which could not be asked in time. */
  readonly inDoubtThrough?: Seq;
}

/** Bounds of a move: who waits for what no longer. */
export interface MoveLimits {
  /** The CSE left behind does not answer: nobody waits for it or asks it. */
  readonly sourceLost: boolean;
  /** Aborts when the answer to the record under way is no longer waited for. */
  readonly quiet: AbortSignal;
  /** Aborts when the records in doubt are no longer waited for. */
  readonly settled: AbortSignal;
}

/** Records that may be at a CSE although nobody remembers its answer; at one that nobody can ask when it is undefined. */
interface Doubt {
  readonly destination: Destination | undefined;
  readonly throughSeq: Seq;
  /** The record whose request was under way: it may still arrive after the CSE said that it has no such record. */
  readonly lateSeq?: Seq;
  unreachable: boolean;
}

interface PendingSwitch {
  readonly destination: Destination | undefined;
  readonly limits: MoveLimits;
  readonly settle: (moved: Moved) => void;
}

/** Delivers one stream; see the header of this file. */
export class StreamLane {
  readonly stream: StreamName;
  readonly #source: RecordSource;
  readonly #clock: Clock;
  readonly #entropy: Entropy;
  readonly #settings: UplinkSettings;
  readonly #observer: UplinkObserver;
  readonly #stop = new AbortController();
  #destination: Destination | undefined;
  /** Where the stream stands: the first number for its destination. */
  #firstSeq: Seq = toSeq(1);
  #pending: PendingSwitch | undefined;
  /** Told when the move that is made has no records in doubt any more. */
  #settling: ((moved: Moved) => void) | undefined;
  #doubts: Doubt[] = [];
  #underWay: AbortController | undefined;
  #wake: () => void = () => undefined;
  /** The record at the head of the stream, when it was refused, and how often. */
  #refused: { readonly seq: Seq; readonly count: number } | undefined;
  /** Something happened since the log was last looked at. */
  #stirred = false;
  #retryMs: number;

  constructor(options: {
    stream: StreamName;
    source: RecordSource;
    clock: Clock;
    entropy: Entropy;
    settings: UplinkSettings;
    observer: UplinkObserver;
  }) {
    this.stream = options.stream;
    this.#source = options.source;
    this.#clock = options.clock;
    this.#entropy = options.entropy;
    this.#settings = options.settings;
    this.#observer = options.observer;
    this.#retryMs = options.settings.retryMsMin;
  }

  /** Delivers until `stop`. */
  async run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      this.#stirred = false;
      // Taken before the look into the log: what is stored meanwhile is the first that comes after.
      const afterLast = toSeq(this.#source.lastSeq(this.stream) + 1);
      const record = (await this.#source.peek(this.stream, 1))[0];
      const nextSeq = record?.seq ?? afterLast;
      if (this.#pending !== undefined) this.#move(this.#pending, nextSeq);
      this.#settle(nextSeq);
      const destination = this.#destination;
      if (destination === undefined || record === undefined) await this.#woken();
      else await this.#deliver(record, destination);
    }
  }

  stop(): void {
    this.#stop.abort();
    this.#underWay?.abort();
    this.#stir();
  }

  /** A record was stored. */
  notice(): void {
    this.#stir();
  }

  /** Records up to `throughSeq` may be at `destination`, or at one nobody can ask, from an earlier run. */
  doubt(destination: Destination | undefined, throughSeq: Seq): void {
    this.#doubts.push({ destination, throughSeq, unreachable: destination === undefined });
  }

  /**
   * Sends everything from the next record on to `destination` (nowhere when undefined), as soon as no answer is awaited.
   * A record whose answer is given up is in doubt. Resolves when the move is over; see the header of this file.
   */
  switchTo(destination: Destination | undefined, limits: MoveLimits): Promise<Moved> {
    const { quiet, settled } = limits;
    return new Promise((resolve) => {
      const giveUp = (): void => this.#underWay?.abort();
      const giveIn = (): void => {
        if (this.#settling === settle) this.#conclude();
      };
      const settle = (moved: Moved): void => {
        quiet.removeEventListener('abort', giveUp);
        settled.removeEventListener('abort', giveIn);
        resolve(moved);
      };
      this.#overtake();
      this.#pending = { destination, limits, settle };
      quiet.addEventListener('abort', giveUp, { once: true });
      settled.addEventListener('abort', giveIn, { once: true });
      if (quiet.aborted) giveUp();
      this.#stir();
    });
  }

  /** A move that another one overtakes is over. */
  #overtake(): void {
    this.#pending?.settle({ firstSeq: this.#firstSeq });
    this.#pending = undefined;
    this.#conclude();
  }

  #move({ destination, limits, settle }: PendingSwitch, nextSeq: Seq): void {
    this.#pending = undefined;
    for (const doubt of this.#doubts) {
      if (limits.sourceLost && !isAt(doubt, destination)) doubt.unreachable = true;
    }
    const before = this.#destination;
    const isSame = before?.cseId === destination?.cseId && before?.epoch === destination?.epoch;
    if (!isSame) this.#firstSeq = nextSeq;
    this.#destination = destination;
    this.#retryMs = this.#settings.retryMsMin;
    this.#settling = settle;
    if (limits.settled.aborted) this.#conclude();
  }

  /** Ends a move when the next record is in no doubt: what comes after it is in none either. */
  #settle(nextSeq: Seq): void {
    const throughSeq = this.#inDoubtThrough();
    const isDoubtful = throughSeq !== undefined && throughSeq >= nextSeq;
    if (isDoubtful && this.#destination !== undefined) return;
    this.#settling?.({ firstSeq: this.#firstSeq });
    this.#settling = undefined;
  }

  #conclude(): void {
    const inDoubtThrough = this.#inDoubtThrough();
    this.#settling?.({
      firstSeq: this.#firstSeq,
      ...(inDoubtThrough === undefined ? {} : { inDoubtThrough }),
    });
    this.#settling = undefined;
  }

  #inDoubtThrough(): Seq | undefined {
    const elsewhere = this.#doubts.filter((doubt) => !isAt(doubt, this.#destination));
    return elsewhere.length === 0
      ? undefined
      : toSeq(Math.max(...elsewhere.map(({ throughSeq }) => throughSeq)));
  }

  #stir(): void {
    this.#stirred = true;
    this.#wake();
  }

  #woken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      if (this.#stirred) resolve();
    });
  }

  async #deliver(record: StoredRecord, destination: Destination): Promise<void> {
    const verdict = await this.#resolveDoubt(record, destination);
    if (verdict === 'delivered') {
      this.#acknowledge(record);
      return;
    }
    if (this.#isInterrupted()) return;
    const abort = new AbortController();
    this.#underWay = abort;
    const sentMs = this.#clock.monotonicMs();
    const outcome = await destination.client.create(
      containerOf(destination, this.stream),
      ResourceType.contentInstance,
      {
        contentInstance: {
          resourceName: recordName(record.logId, record.seq),
          content: encodeInstance(record, destination.epoch),
          ...(verdict === 'inDoubt' ? { labels: [inDoubtLabel] } : {}),
        },
      },
      { deadlineMs: this.#settings.deadlineMs(), resultContent: ResultContent.nothing, signal: abort.signal },
    );
    this.#underWay = undefined;
    if (outcome.ok || !saysNothing.includes(outcome.error.kind)) {
      const isAnswered = outcome.ok || outcome.error.kind === 'rejected';
      const tookMs = millis(this.#clock.monotonicMs() - sentMs);
      this.#observer.onExchange(destination, { isAnswered, sentMs, tookMs });
    }
    await this.#takeIn(record, destination, outcome);
  }

  async #takeIn(record: StoredRecord, destination: Destination, outcome: CseOutcome): Promise<void> {
    if (outcome.ok || isRejectedWith(outcome.error, ResponseStatusCode.conflict)) {
      this.#acknowledge(record);
      return;
    }
    const { error } = outcome;
    if (error.kind !== 'rejected') this.#noteUnanswered(record, destination);
    if (isContentRefused(error) && this.#countRefusal(record) >= refusalsMax) {
      this.#settleRecord(record);
      this.#source.giveUp(this.stream, record.seq);
      this.#observer.onRefused(this.stream, record.seq, error.message);
      return;
    }
    // A CSE that has lost the AE may say either.
    const isContextLost =
      isRejectedWith(error, ResponseStatusCode.notFound) ||
      isRejectedWith(error, ResponseStatusCode.originatorHasNoPrivilege);
    if (isContextLost) this.#observer.onContextLost(destination, error.message);
    if (error.kind === 'rejected') {
      this.#observer.onAlarm(this.stream, `stream ${this.stream} is held back: ${error.message}`);
    }
    if (!this.#isInterrupted()) await this.#backOff();
  }

  #countRefusal(record: StoredRecord): number {
    const { seq, count } = this.#refused ?? { seq: record.seq, count: 0 };
    this.#refused = { seq: record.seq, count: seq === record.seq ? count + 1 : 1 };
    return this.#refused.count;
  }

  #noteUnanswered(record: StoredRecord, destination: Destination): void {
    const isSame = (doubt: Doubt): boolean => isAt(doubt, destination);
    const throughSeq = toSeq(
      Math.max(record.seq, ...this.#doubts.filter(isSame).map((doubt) => doubt.throughSeq)),
    );
    this.#doubts = this.#doubts.filter((doubt) => !isSame(doubt));
    this.#doubts.push({ destination, throughSeq, lateSeq: record.seq, unreachable: false });
  }

  #acknowledge(record: StoredRecord): void {
    this.#settleRecord(record);
    this.#source.acknowledge(this.stream, record.seq);
    this.#observer.onDelivered(this.stream, record.seq);
  }

  #settleRecord(record: StoredRecord): void {
    this.#doubts = this.#doubts.filter((doubt) => doubt.throughSeq > record.seq);
    this.#retryMs = this.#settings.retryMsMin;
  }

  /** Nothing more is sent to this destination. */
  #isInterrupted(): boolean {
    return this.#pending !== undefined || this.#stop.signal.aborted;
  }

  async #resolveDoubt(
    record: StoredRecord,
    destination: Destination,
  ): Promise<'clear' | 'delivered' | 'inDoubt'> {
    let verdict: 'clear' | 'inDoubt' = 'clear';
    for (const doubt of this.#doubts) {
      if (isAt(doubt, destination) || doubt.throughSeq < record.seq) continue;
      if (doubt.unreachable || doubt.destination === undefined) {
        verdict = 'inDoubt';
        continue;
      }
      const held = await doubt.destination.client.retrieve(
        `${containerOf(doubt.destination, this.stream)}/${recordName(record.logId, record.seq)}`,
        {
          deadlineMs: millis(Math.min(this.#settings.deadlineMs(), questionMsMax)),
          signal: this.#stop.signal,
        },
      );
      if (held.ok) return 'delivered';
      const isAbsent = isRejectedWith(held.error, ResponseStatusCode.notFound);
      if (isAbsent && doubt.lateSeq !== record.seq) {
        // Delivery is in order, so what comes after the first absent record is absent as well.
        this.#doubts = this.#doubts.filter((other) => other !== doubt);
        continue;
      }
      if (!isAbsent) doubt.unreachable = true;
      verdict = 'inDoubt';
    }
    return verdict;
  }

  async #backOff(): Promise<void> {
    const waitMs = millis(this.#retryMs * (0.5 + randomFraction(this.#entropy) / 2));
    this.#retryMs = Math.min(this.#retryMs * 2, this.#settings.retryMsMax);
    const wait = new AbortController();
    const slept = sleep(this.#clock, waitMs, wait.signal).catch(() => undefined);
    const woken = new Promise<void>((resolve) => {
      // A stored record does not shorten the wait; a switch or the end does.
      this.#wake = () => {
        if (this.#isInterrupted()) resolve();
      };
      this.#wake();
    });
    await Promise.race([slept, woken]);
    wait.abort();
  }
}

/**
 * Refusals of a record for what it is before it is given up, with growing waits between them: a CSE may be confused, or
 * another may serve by then.
 */
const refusalsMax = 8;

/** Outcomes that say nothing about the CSE: the request was withdrawn, or never left. */
const saysNothing: readonly CseFailure['kind'][] = ['cancelled', 'closed', 'busy'];

function isAt(doubt: Doubt, destination: Destination | undefined): boolean {
  return doubt.destination !== undefined && doubt.destination.cseId === destination?.cseId;
}

/**
 * The CSE refuses the record for what it is: sending it again is of little use. 5207 is not among the codes, because it may as
 * well say that the CSE is full.
 */
function isContentRefused(error: CseFailure): boolean {
  const codes: number[] = [
    ResponseStatusCode.badRequest,
    ResponseStatusCode.contentsUnacceptable,
    ResponseStatusCode.unsupportedMediaType,
  ];
  return error.kind === 'rejected' && codes.includes(error.responseStatusCode);
}
