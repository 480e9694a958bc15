/**
 * Delivery of one stream: one record under way at a time, so that the order at the CSE is the order of storing (I3).
 *
 * A record is named by its log and number, so a repeat of it at the same CSE answers 4105 and counts as delivered. Another
 * CSE does not know the name: a record whose answer is still missing when the stream moves, and the records a crashed run
 * may have delivered without remembering, are in doubt. The lane asks the CSE they may be at before it sends them
 * elsewhere; where that cannot be settled the copy carries the label `baton:indoubt` (I2). A move is over only when nothing
 * is in doubt any more: a restart then has to ask one CSE at most, because all that is pending was sent to one only.
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

/** Records that may be at a CSE although nobody remembers its answer. */
interface Doubt {
  readonly destination: Destination;
  readonly throughSeq: Seq;
  /** The record whose request was under way: it may still arrive after the CSE said that it has no such record. */
  readonly lateSeq?: Seq;
  unreachable: boolean;
}

interface PendingSwitch {
  readonly destination: Destination | undefined;
  readonly sourceLost: boolean;
  readonly moved: (firstSeq: Seq) => void;
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
  #pending: PendingSwitch | undefined;
  /** A move that is made but has records in doubt. */
  #settling: { readonly moved: (firstSeq: Seq) => void; readonly firstSeq: Seq } | undefined;
  #doubts: Doubt[] = [];
  #underWay: AbortController | undefined;
  #wake: () => void = () => undefined;
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
      const record = (await this.#source.peek(this.stream, 1))[0];
      if (this.#pending !== undefined) this.#move(this.#pending, record);
      this.#settle(record);
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

  /** Records up to `throughSeq` may be at `destination` from an earlier run. */
  doubt(destination: Destination, throughSeq: Seq): void {
    this.#doubts.push({ destination, throughSeq, unreachable: false });
  }

  /**
   * Sends everything from the next record on to `destination` (nowhere when undefined). Waits for the answer to the record
   * under way until `signal` aborts; then that record is in doubt. With `sourceLost` nobody asks the CSE left behind.
   * Resolves to the first number for the new destination once no record is in doubt any more.
   */
  switchTo(destination: Destination | undefined, sourceLost: boolean, signal: AbortSignal): Promise<Seq> {
    return new Promise((resolve) => {
      const giveUp = (): void => this.#underWay?.abort();
      this.#pending = {
        destination,
        sourceLost,
        moved: (firstSeq) => {
          signal.removeEventListener('abort', giveUp);
          resolve(firstSeq);
        },
      };
      if (signal.aborted) giveUp();
      else signal.addEventListener('abort', giveUp, { once: true });
      this.#stir();
    });
  }

  #move(pending: PendingSwitch, next: StoredRecord | undefined): void {
    this.#pending = undefined;
    if (pending.sourceLost) for (const doubt of this.#doubts) doubt.unreachable = true;
    this.#destination = pending.destination;
    this.#retryMs = this.#settings.retryMsMin;
    this.#settling?.moved(this.#settling.firstSeq);
    this.#settling = {
      moved: pending.moved,
      firstSeq: next?.seq ?? toSeq(this.#source.lastSeq(this.stream) + 1),
    };
  }

  /** Ends a move when the next record is in no doubt: what comes after it is in none either. */
  #settle(next: StoredRecord | undefined): void {
    const isDoubtful = this.#doubts.some(
      ({ destination, throughSeq }) =>
        next !== undefined && destination.cseId !== this.#destination?.cseId && throughSeq >= next.seq,
    );
    if (isDoubtful && this.#destination !== undefined) return;
    this.#settling?.moved(this.#settling.firstSeq);
    this.#settling = undefined;
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
    if (outcome.ok || outcome.error.kind !== 'cancelled') {
      const isAnswered = outcome.ok || outcome.error.kind === 'rejected';
      const tookMs = millis(this.#clock.monotonicMs() - sentMs);
      this.#observer.onExchange(destination, { isAnswered, sentMs, tookMs });
    }
    await this.#conclude(record, destination, outcome);
  }

  async #conclude(record: StoredRecord, destination: Destination, outcome: CseOutcome): Promise<void> {
    if (outcome.ok || isRejectedWith(outcome.error, ResponseStatusCode.conflict)) {
      this.#acknowledge(record);
      return;
    }
    const { error } = outcome;
    if (error.kind !== 'rejected') this.#noteUnanswered(record, destination);
    if (isContentRefused(error)) {
      this.#observer.onRefused(this.stream, record.seq, error.message);
      this.#acknowledge(record);
      return;
    }
    if (isRejectedWith(error, ResponseStatusCode.notFound))
      this.#observer.onContextLost(destination, error.message);
    if (isRejectedWith(error, ResponseStatusCode.originatorHasNoPrivilege)) {
      this.#observer.onAlarm(this.stream, `stream ${this.stream} is held back: ${error.message}`);
    }
    if (this.#pending === undefined) await this.#backOff();
  }

  #noteUnanswered(record: StoredRecord, destination: Destination): void {
    const isSame = (doubt: Doubt): boolean => doubt.destination.cseId === destination.cseId;
    const throughSeq = toSeq(
      Math.max(record.seq, ...this.#doubts.filter(isSame).map((doubt) => doubt.throughSeq)),
    );
    this.#doubts = this.#doubts.filter((doubt) => !isSame(doubt));
    this.#doubts.push({ destination, throughSeq, lateSeq: record.seq, unreachable: false });
  }

  #acknowledge(record: StoredRecord): void {
    this.#doubts = this.#doubts.filter((doubt) => doubt.throughSeq > record.seq);
    this.#source.acknowledge(this.stream, record.seq);
    this.#retryMs = this.#settings.retryMsMin;
    this.#observer.onDelivered(this.stream, record.seq);
  }

  async #resolveDoubt(
    record: StoredRecord,
    destination: Destination,
  ): Promise<'clear' | 'delivered' | 'inDoubt'> {
    let verdict: 'clear' | 'inDoubt' = 'clear';
    for (const doubt of this.#doubts) {
      if (doubt.destination.cseId === destination.cseId || doubt.throughSeq < record.seq) continue;
      if (doubt.unreachable) {
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
    const waitMs = millis(this.#retryMs * (0.5 + randomFraction(this.#entropy)));
    this.#retryMs = Math.min(this.#retryMs * 2, this.#settings.retryMsMax);
    const wait = new AbortController();
    const slept = sleep(this.#clock, waitMs, wait.signal).catch(() => undefined);
    const woken = new Promise<void>((resolve) => {
      // A stored record does not shorten the wait; a switch or the end does.
      this.#wake = () => {
        if (this.#pending !== undefined || this.#stop.signal.aborted) resolve();
      };
      this.#wake();
    });
    await Promise.race([slept, woken]);
    wait.abort();
  }
}

/** The CSE refuses the record for what it is: sending it again cannot help. */
function isContentRefused(error: CseFailure): boolean {
  const codes: number[] = [
    ResponseStatusCode.badRequest,
    ResponseStatusCode.contentsUnacceptable,
    ResponseStatusCode.unsupportedMediaType,
    ResponseStatusCode.notAcceptable,
  ];
  return error.kind === 'rejected' && codes.includes(error.responseStatusCode);
}
