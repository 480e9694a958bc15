/**
 * Delivery of one stream: one request under way at a time, so that the order at the CSE is the order of storing (I3). A
 * request carries one record, or several where the stream allows it (batch.ts); below, a record stands for either.
 *
 * A record is named by its log and number, so a repeat of it at the same CSE answers 4105 and counts as delivered. Another
 * CSE does not know the name: a record whose answer is still missing when the stream moves, and the records a crashed run
 * may have delivered without remembering, are in doubt. The lane asks the CSE they may be at before it sends them
 * elsewhere; where that cannot be settled the copy carries the label `baton:indoubt` (I2).
 *
 * A run does not know how the one before put records together: its rule may have been another, and part of a batch may be
 * gone since. So before the first record of each part it asks the CSE that serves, too, for the newest instance in the
 * container. Because delivery is in order, everything up to the last number in its name is settled, and nothing after it has
 * arrived. Whatever the answer, batches get the names that an equal run gave them, so a request that was still on its way
 * when the former process died is a repeat (4105) unless the rule has changed as well.
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
import { assert } from '../base/assert.ts';
import type { Seq, StreamName } from '../base/units.ts';
import { millis, seq as toSeq } from '../base/units.ts';
import { sleep } from '../host/clock.ts';
import type { Clock } from '../host/clock.ts';
import { randomFraction } from '../host/entropy.ts';
import type { Entropy } from '../host/entropy.ts';
import { isRejectedWith } from '../onem2m/cse-client.ts';
import { ResponseStatusCode } from '../onem2m/enums.ts';
import type { Batch } from './batch.ts';
import type { Destination, StreamPart } from './destination.ts';
import { askByName, askNewest } from './doubt-questions.ts';
import type { HeldAnswer } from './doubt-questions.ts';
import { Doubts, isAt, mayHoldYet } from './doubts.ts';
import type { Doubt } from './doubts.ts';
import type {
  MoveLimits,
  Moved,
  MovedPart,
  PendingMove,
  RecordSource,
  StreamDelivery,
  UplinkObserver,
  UplinkSettings,
} from './lane-options.ts';
import { Refusals, isContentRefused } from './refusals.ts';
import { saysNothing, sendBatch } from './send-batch.ts';
import type { Sent } from './send-batch.ts';
import { StreamHeads, waitMs } from './stream-heads.ts';
import type { Heads } from './stream-heads.ts';
import { Turns } from './turns.ts';

/** Label of a copy that another CSE may hold too. */
export const inDoubtLabel = 'baton:indoubt';

/** Longest wait for a CSE left behind to say whether it holds a record: the stream stands still meanwhile. */
const questionMsMax = 500;

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
  readonly #delivery: StreamDelivery;
  readonly #heads: StreamHeads;
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
  #pending: PendingMove | undefined;
  /** Told when the move that is made has no records in doubt any more. */
  #settling: ((moved: Moved) => void) | undefined;
  #underWay: AbortController | undefined;
  #wake: () => void = () => undefined;
  /** Records below this number are stored without stirring anything. */
  #noticedFrom: Seq = toSeq(0);
  readonly #refusals = new Refusals();
  /** Something happened since the log was last looked at. */
  #stirred = false;
  #retryMs: number;

  constructor(options: {
    stream: StreamName;
    delivery: StreamDelivery;
    source: RecordSource;
    clock: Clock;
    entropy: Entropy;
    settings: UplinkSettings;
    observer: UplinkObserver;
  }) {
    this.stream = options.stream;
    this.#delivery = options.delivery;
    this.#heads = new StreamHeads({ ...options, rule: options.delivery.batch });
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
      const part = this.#choose(heads);
      if (destination === undefined) await this.#woken();
      else if (!isMarked) await this.#backOff();
      else if (part === undefined && heads.unreadable !== undefined) await this.#awaitDisk(heads.unreadable);
      else if (part === undefined) await this.#woken(heads);
      else await this.#deliver(heads, part, destination);
    }
  }

  stop(): void {
    this.#stop.abort();
    this.#underWay?.abort();
    this.#stir();
  }

  /** A record was stored. */
  notice(): void {
    if (this.#source.lastSeq(this.stream) >= this.#noticedFrom) this.#stir();
  }

  /** Records of a part up to `throughSeq` may be at `destination`, or at one nobody can ask, from an earlier run. */
  doubt(part: StreamPart, destination: Destination | undefined, throughSeq: Seq): void {
    const mark = this.#source.backlogThrough(this.stream);
    const through = part === 'live' ? throughSeq : toSeq(Math.min(throughSeq, mark));
    if (through > 0) this.#doubts.inherit(part, destination, through);
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

  #move({ destination, limits, settle }: PendingMove, heads: Heads): void {
    this.#pending = undefined;
    if (limits.sourceLost) this.#doubts.loseOthers(destination);
    const before = this.#destination;
    const isSame = before?.cseId === destination?.cseId && before?.epoch === destination?.epoch;
    if (!isSame) this.#firstSeqs = { live: heads.nextSeq, backlog: heads.backlogSeq };
    if (destination === undefined) this.#wasCut = true;
    else if (!isSame) this.#doubts.inheritAt(destination);
    this.#destination = destination;
    this.#retryMs = this.#settings.retryMsMin;
    this.#settling = settle;
    // What is delivered must be durable before anything goes elsewhere: a restart would send it there, after what comes next.
    if (before !== undefined && !isSame) this.#backlogDue ??= this.#source.backlogThrough(this.stream);
    if (limits.settled.aborted) this.#conclude();
  }

  /** Ends a move when the next record of each part is in no doubt: what comes after it is in none either. */
  #settle({ backlogSeq, nextSeq }: Heads): void {
    const isDoubtful =
      (this.#doubts.through('live', this.#destination) ?? 0) >= nextSeq ||
      (backlogSeq !== undefined && (this.#doubts.through('backlog', this.#destination) ?? 0) >= backlogSeq);
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

  async #look(): Promise<Heads> {
    const heads = await this.#heads.look();
    this.#hasBacklog = heads.backlogSeq !== undefined;
    if (!this.#hasBacklog) {
      this.#doubts.settleAll('backlog');
      this.#isLiveHeld = false;
    }
    return heads;
  }

  /** The part whose next batch goes now; undefined while there is none that is complete. */
  #choose({ live, backlog }: Heads): StreamPart | undefined {
    const nowMs = this.#clock.monotonicMs();
    const isDue = (batch: Batch | undefined): boolean => batch !== undefined && batch.dueMs <= nowMs;
    this.#isContended = isDue(live) && isDue(backlog) && !this.#isLiveHeld;
    if (this.#isContended) return this.#turns.next;
    if (isDue(backlog)) return 'backlog';
    return isDue(live) && !this.#isLiveHeld ? 'live' : undefined;
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
  #takeStock(deliveredSeq: Seq): void {
    if (this.#delivery.order !== 'liveFirst' || !this.#wasCut || this.#doubts.has('live')) return;
    this.#wasCut = false;
    const last = this.#source.lastSeq(this.stream);
    if (last - deliveredSeq > this.#settings.shortBacklogMax) this.#backlogDue = last;
  }

  #stir(): void {
    this.#stirred = true;
    this.#wake();
  }

  /** Until something happens, or one of the batches that wait for company is complete. */
  async #woken({ live, backlog }: Partial<Heads> = {}): Promise<void> {
    if (live === undefined && backlog === undefined) this.#observer.onAlarm(this.stream, undefined);
    const leftMs = waitMs(this.#isLiveHeld ? [backlog] : [live, backlog], this.#clock.monotonicMs());
    const cancel = leftMs === undefined ? undefined : this.#clock.schedule(leftMs, () => this.#stir());
    // What merely joins a batch that waits is no reason to look at the log.
    if (live !== undefined && live.dueMs > 0) this.#noticedFrom = live.openThrough;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      if (this.#stirred) resolve();
    });
    this.#noticedFrom = toSeq(0);
    cancel?.();
  }

  async #deliver(heads: Heads, part: StreamPart, destination: Destination): Promise<void> {
    const batch = heads[part];
    assert(batch !== undefined, 'a chosen part has a batch');
    const verdict = await this.#resolveDoubts(batch, part, destination);
    if (verdict === 'again') return;
    if (verdict === 'delivered') {
      this.#acknowledge(batch, part, destination);
      return;
    }
    if (this.#isInterrupted()) return;
    this.#heads.begin(part, batch);
    const abort = new AbortController();
    this.#underWay = abort;
    const sent = await sendBatch({
      clock: this.#clock,
      stream: this.stream,
      unit: this.#delivery.unit,
      ...{ batch, part, destination },
      labels: verdict === 'inDoubt' ? [inDoubtLabel] : [],
      answerMs: this.#settings.deadlineMs(),
      signal: abort.signal,
    });
    this.#underWay = undefined;
    if (sent.exchange !== undefined) this.#observer.onExchange(destination, sent.exchange);
    await this.#takeIn(batch, part, destination, sent);
  }

  async #takeIn(batch: Batch, part: StreamPart, destination: Destination, { outcome }: Sent): Promise<void> {
    if (outcome.ok || isRejectedWith(outcome.error, ResponseStatusCode.conflict)) {
      if (outcome.ok) this.#doubts.settleAt(part, destination);
      const isSettled = this.#acknowledge(batch, part, destination);
      if (isSettled && part === 'live') this.#takeStock(batch.lastSeq);
      return;
    }
    const { error } = outcome;
    this.#turns.noteFailure(part);
    if (error.kind !== 'rejected' && error.isUnsent !== true) {
      this.#doubts.noteUnanswered(part, destination, batch.lastSeq);
    }
    if (isContentRefused(error, batch)) {
      if (this.#isGivenUp(batch, part, error.message)) return;
    } else this.#wasCut ||= !saysNothing(error);
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

  /** Refused for what it is: after a few times the records of a batch go one by one, and a single one is given up. */
  #isGivenUp(batch: Batch, part: StreamPart, reason: string): boolean {
    if (!this.#refusals.note(part, batch, this.#doubts.has(part))) return false;
    if (batch.firstSeq < batch.lastSeq) this.#heads.sendSingly(part, batch);
    else if (this.#source.giveUp(this.stream, batch.lastSeq, this.#settledFrom(part))) {
      this.#settleThrough(part, batch.lastSeq);
      this.#observer.onRefused(this.stream, batch.lastSeq, reason);
    } else this.#isLiveHeld = true;
    return true;
  }

  /** False when the log cannot settle it yet: it is delivered again later, under its name, and in doubt until then. */
  #acknowledge({ lastSeq }: Batch, part: StreamPart, destination: Destination): boolean {
    if (!this.#acknowledgeThrough(part, lastSeq)) {
      this.#doubts.add(part, destination, lastSeq);
      return false;
    }
    if (this.#isContended) this.#turns.noteSuccess(part);
    return true;
  }

  #acknowledgeThrough(part: StreamPart, seq: Seq): boolean {
    if (!this.#source.acknowledge(this.stream, seq, this.#settledFrom(part))) {
      this.#isLiveHeld = true;
      return false;
    }
    this.#settleThrough(part, seq);
    this.#observer.onDelivered(this.stream, seq);
    return true;
  }

  /** From where on everything is settled once the next record of a part is. */
  #settledFrom(part: StreamPart): Seq | undefined {
    const isBeside = part === 'live' && this.#hasBacklog;
    return isBeside ? toSeq(this.#source.backlogThrough(this.stream) + 1) : undefined;
  }

  #settleThrough(part: StreamPart, seq: Seq): void {
    this.#doubts.settle(part, seq);
    this.#retryMs = this.#settings.retryMsMin;
  }

  /** Nothing more is sent to this destination. */
  #isInterrupted(): boolean {
    return this.#pending !== undefined || this.#stop.signal.aborted;
  }

  /** What is to be done with a batch that may be at one CSE or another; `again` when the heads have changed. */
  async #resolveDoubts(
    batch: Batch,
    part: StreamPart,
    destination: Destination,
  ): Promise<'clear' | 'delivered' | 'inDoubt' | 'again'> {
    let verdict: 'clear' | 'inDoubt' = 'clear';
    const [{ seq: firstSeq }] = batch.records;
    const doubts = this.#doubts.about(part, firstSeq, destination);
    // What the serving CSE says settles most without asking another one.
    const isOwn = (doubt: Doubt): boolean => isAt(doubt, destination);
    for (const doubt of [...doubts.filter(isOwn), ...doubts.filter((each) => !isOwn(each))]) {
      if (this.#stop.signal.aborted) return 'again';
      if (!isOwn(doubt) && (doubt.unreachable || doubt.destination === undefined)) {
        verdict = 'inDoubt';
        continue;
      }
      const answer = await this.#ask(doubt, batch, part, isOwn(doubt));
      if (answer.kind === 'held') {
        if (answer.newest === undefined) return 'delivered';
        const throughSeq = toSeq(Math.min(answer.newest.lastSeq, doubt.throughSeq));
        const isSettled = this.#acknowledgeThrough(part, throughSeq);
        if (isSettled && doubt.lateSeq === undefined) this.#doubts.remove(doubt);
        return 'again';
      }
      if (isOwn(doubt)) {
        if (answer.kind === 'unanswered') return 'again';
        doubt.isAsked = true;
      } else if (answer.kind === 'absent' && !mayHoldYet(doubt, batch.lastSeq, answer.isOfName === true)) {
        // Delivery is in order, so what comes after the first absent record of the part is absent as well.
        this.#doubts.remove(doubt);
      } else {
        if (answer.kind !== 'absent') doubt.unreachable = true;
        verdict = 'inDoubt';
      }
    }
    return verdict;
  }

  async #ask(doubt: Doubt, batch: Batch, part: StreamPart, isOwn: boolean): Promise<HeldAnswer> {
    const { destination } = doubt;
    assert(destination !== undefined, 'a doubt without a CSE is not asked about');
    // A CSE left behind is asked while the stream moves; a move does not wait for the serving one.
    const abort = new AbortController();
    if (isOwn) this.#underWay = abort;
    const deadlineMs = this.#settings.deadlineMs();
    const options = {
      deadlineMs: isOwn ? deadlineMs : millis(Math.min(deadlineMs, questionMsMax)),
      signal: isOwn ? abort.signal : this.#stop.signal,
    };
    const isOwnLogId = (logId: string): boolean => this.#source.isOwnLogId(logId);
    const answer: HeldAnswer = doubt.isInherited
      ? await askNewest(destination, this.stream, part, batch, isOwnLogId, options)
      : { kind: 'unclear' };
    this.#underWay = undefined;
    if (isOwn && answer.kind === 'unanswered' && !this.#isInterrupted()) {
      this.#wasCut = true;
      this.#turns.noteFailure(part);
      await this.#backOff();
    }
    if (isOwn || answer.kind !== 'unclear') return answer;
    return askByName(destination, this.stream, part, batch, options);
  }

  /** What cannot be read now may be readable later: it stays pending. */
  async #awaitDisk(reason: string): Promise<void> {
    this.#observer.onAlarm(this.stream, `stream ${this.stream} waits for its disk: ${reason}`);
    if (!this.#isInterrupted()) await this.#backOff();
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
