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
 *
 * A stream that goes `liveFirst` is cut in two when its CSE answers again after an outage and more is pending than a few
 * records: what is pending then is its backlog, what is stored later is live. The live part goes to the stream's own
 * container and the backlog beside it to the history container, in turns, one request under way at a time. Under the same
 * names in two containers a repeat would not be noticed, so a record must never have been sent to the one and then go to
 * the other. It cannot, because
 *   - the part of a record follows from its number alone: up to the mark of the log (`markBacklog`) it is backlog;
 *   - the mark is durable, in one with the acknowledgements, before anything is sent by it;
 *   - the mark is only set over records that were never sent: the record before them was just delivered, nothing is under
 *     way, and no live record is in doubt anywhere. With records in doubt the stream stays in order until they are settled.
 * So each part has an order, a first number and a doubt of its own, here as in the outcome of a move, by which a restart
 * knows which container to ask; a doubt that took both together would cover records that were never sent.
 */
import type { Seq, StreamName } from '../base/units.ts';
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
import type { Destination, StreamPart } from './destination.ts';
import { Doubts } from './doubts.ts';
import type {
  DeliveryOrder,
  MoveLimits,
  Moved,
  MovedPart,
  RecordSource,
  UplinkObserver,
  UplinkSettings,
} from './lane-options.ts';
import { Turns } from './turns.ts';

/** Label of a copy that another CSE may hold too. */
export const inDoubtLabel = 'baton:indoubt';

/** Longest wait for a CSE left behind to say whether it holds a record: the stream stands still meanwhile. */
const questionMsMax = 500;

/** The next record of each part. */
interface Heads {
  readonly live: StoredRecord | undefined;
  readonly backlog: StoredRecord | undefined;
  /** Number of the next live record, be it stored or not. */
  readonly nextSeq: Seq;
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
  readonly #order: DeliveryOrder;
  readonly #turns: Turns;
  readonly #doubts = new Doubts();
  /** Where the parts stand: the first numbers for their destination. */
  #firstSeqs: { readonly live: Seq; readonly backlog: Seq | undefined } = {
    live: toSeq(1),
    backlog: undefined,
  };
  #hasBacklog = false;
  /** Records of both parts were waiting when the one under way was chosen. */
  #isContended = false;
  /** The CSE was out of reach since the backlog was last looked at; so it may have been before a start. */
  #wasCut = true;
  /** The mark that must be durable before anything more is sent. */
  #backlogDue: Seq | undefined;
  /** The log cannot settle live records beside the backlog: they wait until it is gone. */
  #isLiveHeld = false;
  #pending: PendingSwitch | undefined;
  /** Told when the move that is made has no records in doubt any more. */
  #settling: ((moved: Moved) => void) | undefined;
  #underWay: AbortController | undefined;
  #wake: () => void = () => undefined;
  /** By part: the record at its head, when it was refused, and how often. */
  readonly #refused = new Map<StreamPart, { readonly seq: Seq; readonly count: number }>();
  /** Something happened since the log was last looked at. */
  #stirred = false;
  #retryMs: number;

  constructor(options: {
    stream: StreamName;
    order: DeliveryOrder;
    source: RecordSource;
    clock: Clock;
    entropy: Entropy;
    settings: UplinkSettings;
    observer: UplinkObserver;
  }) {
    this.stream = options.stream;
    this.#order = options.order;
    this.#turns = new Turns(options.settings.backlogPercent);
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
      const isMarked = await this.#markBacklog();
      const heads = await this.#look();
      if (this.#pending !== undefined) {
        this.#move(this.#pending, heads);
        continue;
      }
      this.#settle(heads);
      const destination = this.#destination;
      const record = this.#choose(heads);
      if (destination === undefined || record === undefined) await this.#woken();
      else if (isMarked) await this.#deliver(record, destination);
      else if (!this.#isInterrupted()) await this.#backOff();
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

  /** Records of a part up to `throughSeq` may be at `destination`, or at one nobody can ask, from an earlier run. */
  doubt(part: StreamPart, destination: Destination | undefined, throughSeq: Seq): void {
    const mark = this.#source.backlogThrough(this.stream);
    const through = part === 'live' ? throughSeq : toSeq(Math.min(throughSeq, mark));
    if (through > 0) this.#doubts.add(part, destination, through);
  }

  /** Whatever is stored may be at `destination`, or at one nobody can ask, from an earlier run. */
  doubtAll(destination: Destination | undefined): void {
    const last = this.#source.lastSeq(this.stream);
    this.doubt('live', destination, last);
    this.doubt('backlog', destination, last);
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
    this.#pending?.settle(this.#moved(false));
    this.#pending = undefined;
    this.#conclude();
  }

  #move({ destination, limits, settle }: PendingSwitch, heads: Heads): void {
    this.#pending = undefined;
    if (limits.sourceLost) this.#doubts.loseOthers(destination);
    const before = this.#destination;
    const isSame = before?.cseId === destination?.cseId && before?.epoch === destination?.epoch;
    if (!isSame) this.#firstSeqs = { live: heads.nextSeq, backlog: heads.backlog?.seq };
    if (destination === undefined) this.#wasCut = true;
    this.#destination = destination;
    this.#retryMs = this.#settings.retryMsMin;
    this.#settling = settle;
    // What is delivered must be durable before anything goes elsewhere: a restart would send it there, after what comes next.
    if (before !== undefined && !isSame) this.#backlogDue ??= this.#source.backlogThrough(this.stream);
    if (limits.settled.aborted) this.#conclude();
  }

  /** Ends a move when the next record of each part is in no doubt: what comes after it is in none either. */
  #settle({ backlog, nextSeq }: Heads): void {
    const isDoubtful =
      (this.#doubts.through('live', this.#destination) ?? 0) >= nextSeq ||
      (backlog !== undefined && (this.#doubts.through('backlog', this.#destination) ?? 0) >= backlog.seq);
    if (isDoubtful && this.#destination !== undefined) return;
    this.#settling?.(this.#moved(false));
    this.#settling = undefined;
  }

  #conclude(): void {
    this.#settling?.(this.#moved(true));
    this.#settling = undefined;
  }

  #moved(tellsDoubt: boolean): Moved {
    const { live, backlog } = this.#firstSeqs;
    const moved = (part: StreamPart, firstSeq: Seq): MovedPart => {
      const through = tellsDoubt ? this.#doubts.through(part, this.#destination) : undefined;
      return { firstSeq, ...(through === undefined ? {} : { inDoubtThrough: through }) };
    };
    return {
      ...moved('live', live),
      ...(backlog === undefined ? {} : { backlog: moved('backlog', backlog) }),
    };
  }

  /** The next record of each part. */
  async #look(): Promise<Heads> {
    const mark = this.#source.backlogThrough(this.stream);
    // Taken before the look into the log: what is stored meanwhile is the first that comes after.
    const afterLast = toSeq(this.#source.lastSeq(this.stream) + 1);
    const [first] = await this.#source.peek(this.stream, 1);
    this.#hasBacklog = first !== undefined && first.seq <= mark;
    if (!this.#hasBacklog) {
      this.#doubts.settleAll('backlog');
      this.#isLiveHeld = false;
      return { live: first, backlog: undefined, nextSeq: first?.seq ?? afterLast };
    }
    const [live] = await this.#source.peek(this.stream, 1, mark);
    return { live, backlog: first, nextSeq: live?.seq ?? afterLast };
  }

  #choose({ live, backlog }: Heads): StoredRecord | undefined {
    this.#isContended = live !== undefined && backlog !== undefined && !this.#isLiveHeld;
    if (this.#isContended) return this.#turns.next === 'live' ? live : backlog;
    return backlog ?? live;
  }

  #partOf(record: StoredRecord): StreamPart {
    return record.seq > this.#source.backlogThrough(this.stream) ? 'live' : 'backlog';
  }

  /** Makes a mark durable that is due; false while the disk refuses. */
  async #markBacklog(): Promise<boolean> {
    if (this.#backlogDue === undefined) return true;
    const isDurable = await this.#source.markBacklog(this.stream, this.#backlogDue);
    if (isDurable) this.#backlogDue = undefined;
    else {
      const text = `stream ${this.stream} waits: the disk refuses to keep what is its backlog`;
      this.#observer.onAlarm(this.stream, text);
    }
    return isDurable;
  }

  /** Cuts the stream in two after an outage; see the header of this file for when that is safe. */
  #takeStock(delivered: StoredRecord): void {
    if (this.#order !== 'liveFirst' || !this.#wasCut || this.#doubts.has('live')) return;
    this.#wasCut = false;
    const last = this.#source.lastSeq(this.stream);
    if (last - delivered.seq > this.#settings.shortBacklogMax) this.#backlogDue = last;
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
    const part = this.#partOf(record);
    const verdict = await this.#resolveDoubt(record, part, destination);
    if (verdict === 'delivered') {
      this.#acknowledge(record, part, destination);
      return;
    }
    if (this.#isInterrupted()) return;
    const abort = new AbortController();
    this.#underWay = abort;
    const sentMs = this.#clock.monotonicMs();
    const outcome = await destination.client.create(
      containerOf(destination, this.stream, part),
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
    await this.#takeIn(record, part, destination, outcome);
  }

  async #takeIn(
    record: StoredRecord,
    part: StreamPart,
    destination: Destination,
    outcome: CseOutcome,
  ): Promise<void> {
    if (outcome.ok || isRejectedWith(outcome.error, ResponseStatusCode.conflict)) {
      if (outcome.ok) this.#doubts.settleAt(part, destination);
      if (this.#acknowledge(record, part, destination) && part === 'live') this.#takeStock(record);
      return;
    }
    const { error } = outcome;
    this.#turns.noteFailure(part);
    if (error.kind !== 'rejected') this.#doubts.noteUnanswered(part, destination, record.seq);
    if (!isContentRefused(error)) this.#wasCut ||= !saysNothing.includes(error.kind);
    else if (this.#countRefusal(record, part) >= refusalsMax) {
      this.#giveUp(record, part, error.message);
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

  #countRefusal({ seq }: StoredRecord, part: StreamPart): number {
    const known = this.#refused.get(part);
    const count = known?.seq === seq ? known.count + 1 : 1;
    this.#refused.set(part, { seq, count });
    return count;
  }

  #giveUp(record: StoredRecord, part: StreamPart, reason: string): void {
    if (!this.#source.giveUp(this.stream, record.seq, this.#settledFrom(part))) {
      this.#isLiveHeld = true;
      return;
    }
    this.#settleRecord(record, part);
    this.#observer.onRefused(this.stream, record.seq, reason);
  }

  /** False when the log cannot settle it yet: it is delivered again later, under its name, and in doubt until then. */
  #acknowledge(record: StoredRecord, part: StreamPart, destination: Destination): boolean {
    if (!this.#source.acknowledge(this.stream, record.seq, this.#settledFrom(part))) {
      this.#isLiveHeld = true;
      this.#doubts.add(part, destination, record.seq);
      return false;
    }
    if (this.#isContended) this.#turns.noteSuccess(part);
    this.#settleRecord(record, part);
    this.#observer.onDelivered(this.stream, record.seq);
    return true;
  }

  /** From where on everything is settled once the next record of a part is. */
  #settledFrom(part: StreamPart): Seq | undefined {
    const isBeside = part === 'live' && this.#hasBacklog;
    return isBeside ? toSeq(this.#source.backlogThrough(this.stream) + 1) : undefined;
  }

  #settleRecord(record: StoredRecord, part: StreamPart): void {
    this.#doubts.settle(part, record.seq);
    this.#retryMs = this.#settings.retryMsMin;
  }

  /** Nothing more is sent to this destination. */
  #isInterrupted(): boolean {
    return this.#pending !== undefined || this.#stop.signal.aborted;
  }

  async #resolveDoubt(
    record: StoredRecord,
    part: StreamPart,
    destination: Destination,
  ): Promise<'clear' | 'delivered' | 'inDoubt'> {
    let verdict: 'clear' | 'inDoubt' = 'clear';
    for (const doubt of this.#doubts.about(part, record.seq, destination)) {
      if (doubt.unreachable || doubt.destination === undefined) {
        verdict = 'inDoubt';
        continue;
      }
      const held = await doubt.destination.client.retrieve(
        `${containerOf(doubt.destination, this.stream, part)}/${recordName(record.logId, record.seq)}`,
        {
          deadlineMs: millis(Math.min(this.#settings.deadlineMs(), questionMsMax)),
          signal: this.#stop.signal,
        },
      );
      if (held.ok) return 'delivered';
      const isAbsent = isRejectedWith(held.error, ResponseStatusCode.notFound);
      if (isAbsent && doubt.lateSeq !== record.seq) {
        // Delivery is in order, so what comes after the first absent record of the part is absent as well.
        this.#doubts.remove(doubt);
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
