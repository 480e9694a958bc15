import { assert } from '../base/assert.ts';
import type { StreamName } from '../base/units.ts';
import { SeqRanges } from './seq-ranges.ts';
import type { SeqRange } from './seq-ranges.ts';

/** The part of a stream's account that survives restarts, in the cursor record. */
export interface LedgerState {
  /** Every number up to here is settled: delivered, evicted or lost. */
  readonly floor: number;
  /** What is settled above the floor: ascending, and with at least one number between two ranges and above the floor. */
  readonly settled: readonly SeqRange[];
  /** The reader's mark: what is pending up to here is its backlog. 0 is none. */
  readonly backlogThrough: number;
  /** Newest number stored by then. */
  readonly last: number;
  /** Numbers up to here are not accounted for: the cursor that knew of them was lost. */
  readonly base: number;
  readonly delivered: number;
  readonly evicted: number;
  readonly corrupt: number;
  readonly lastProducerSeq: number | undefined;
}

/**
 * The account of one stream. A number is settled up to the floor and in a few ranges above it: of the settled ones above
 * the base, each was delivered, evicted or corrupt. Every other number up to `last` is either pending, which means that a
 * slot holds it, or known to be missing. A range that reaches the floor raises it.
 */
export class StreamLedger {
  readonly name: StreamName;
  /** Newest stored number; 0 before the first. */
  last: number;
  /** Newest counter of the producer that is stored. */
  lastProducerSeq: number | undefined;
  #floor: number;
  #base: number;
  #delivered: number;
  #evicted: number;
  #corrupt: number;
  /** Settled numbers above the floor. */
  readonly #settled: SeqRanges;
  /** Numbers that are not settled and that no frame holds. */
  readonly #missing = new SeqRanges();
  #backlogThrough: number;
  /** Counts of the producer that are below the newest stored one and yet not stored, as a torn batch leaves them. */
  #producerGaps: { after: number; before: number }[] = [];

  constructor(name: StreamName, state: LedgerState) {
    this.name = name;
    this.last = state.last;
    this.lastProducerSeq = state.lastProducerSeq;
    this.#floor = state.floor;
    this.#settled = new SeqRanges(state.settled);
    this.#backlogThrough = state.backlogThrough;
    this.#base = state.base;
    this.#delivered = state.delivered;
    this.#evicted = state.evicted;
    this.#corrupt = state.corrupt;
  }

  /** The account of a stream that begins after number `base`. */
  static begin(name: StreamName, base: number): StreamLedger {
    const counts = { delivered: 0, evicted: 0, corrupt: 0, lastProducerSeq: undefined };
    const reading = { floor: base, settled: [], backlogThrough: 0 };
    return new StreamLedger(name, { ...reading, last: base, base, ...counts });
  }

  get floor(): number {
    return this.#floor;
  }
  get stored(): number {
    return this.last - this.#base;
  }
  get delivered(): number {
    return this.#delivered;
  }
  get evicted(): number {
    return this.#evicted;
  }
  /** Numbers that no frame holds, settled or not. */
  get corrupt(): number {
    return this.#corrupt + this.#missing.countIn(this.#floor, this.last);
  }
  get backlogThrough(): number {
    return this.#backlogThrough;
  }
  /** Settled ranges above the floor. */
  get rangeCount(): number {
    return this.#settled.list.length;
  }

  state(): LedgerState {
    return {
      floor: this.#floor,
      settled: this.#settled.list,
      backlogThrough: this.#backlogThrough,
      last: this.last,
      base: this.#base,
      delivered: this.#delivered,
      evicted: this.#evicted,
      corrupt: this.#corrupt,
      lastProducerSeq: this.lastProducerSeq,
    };
  }

  /** Settles every number up to `through`; returns how many records that were. */
  settle(through: number, as: 'delivered' | 'evicted'): number {
    return this.settleRange(this.#floor + 1, through, as);
  }

  /** Whether settling `from` to `to` takes one range more than there are. */
  needsRange(from: number, to: number): boolean {
    const start = Math.max(from, this.#floor + 1);
    return start > this.#floor + 1 && this.#settled.wouldGrow(start, to);
  }

  /** Settles the numbers `from` to `to`; returns how many records that were, without those settled before. */
  settleRange(from: number, to: number, as: 'delivered' | 'evicted'): number {
    const start = Math.max(from, this.#floor + 1);
    if (start > to) return 0;
    assert(to <= this.last, `${this.name} has ${this.last} records, cannot settle ${to}`);
    const lost = this.#missing.countIn(start - 1, to);
    const count = this.pendingIn(start - 1, to);
    this.#corrupt += lost;
    if (as === 'delivered') this.#delivered += count;
    else this.#evicted += count;
    this.#missing.remove(start, to);
    this.#settled.add(start, to);
    const reached = this.#settled.find(this.#floor + 1);
    if (reached !== undefined) {
      this.#floor = reached.to;
      this.#settled.remove(reached.from, reached.to);
    }
    return count;
  }

  /** Marks what is pending up to `through` as the reader's backlog; the mark only grows. */
  markBacklog(through: number): void {
    assert(through <= this.last, `${this.name} has ${this.last} records, no backlog up to ${through}`);
    this.#backlogThrough = Math.max(this.#backlogThrough, through);
  }

  /** Whether all numbers from `from` to `to` are settled. */
  isSettled(from: number, to: number): boolean {
    const start = Math.max(from, this.#floor + 1);
    return start > to || (this.#settled.find(start)?.to ?? 0) >= to;
  }

  /** How many of the numbers n with after < n <= through are pending. */
  pendingIn(after: number, through: number): number {
    const start = Math.max(after, this.#floor);
    const others = this.#settled.countIn(start, through) + this.#missing.countIn(start, through);
    return Math.max(0, through - start) - others;
  }

  /** The first pending number n with after < n <= through. */
  firstPendingIn(after: number, through: number): number | undefined {
    const first = Math.max(after, this.#floor) + 1;
    for (const open of this.#settled.gapsIn(first, through)) {
      const [held] = this.#missing.gapsIn(open.from, open.to);
      if (held !== undefined) return held.from;
    }
    return undefined;
  }

  /** The first numbers in a row above `after` that are not settled. */
  openAfter(after: number): SeqRange | undefined {
    return this.#settled.gapsIn(Math.max(after, this.#floor) + 1, this.last)[0];
  }

  /** Notes that the numbers up to `through`, all others being settled, were given and will never be stored. */
  skip(through: number): void {
    assert(this.#floor === this.last, `${this.name} has pending records below ${through}`);
    this.#base += through - this.last;
    this.#floor = through;
    this.last = through;
  }

  /** Whether the producer's record of this count is stored already. */
  holdsProducerSeq(producerSeq: number): boolean {
    if (this.lastProducerSeq === undefined || producerSeq > this.lastProducerSeq) return false;
    return !this.#producerGaps.some(({ after, before }) => producerSeq > after && producerSeq < before);
  }

  /** Notes the producer's count of a record just stored. */
  noteProducerSeq(producerSeq: number | undefined): void {
    if (producerSeq === undefined) return;
    // A count that was refused while a later one got in may come again in this run; it is no repeat then.
    if (this.lastProducerSeq !== undefined) this.noteProducerGap(this.lastProducerSeq, producerSeq);
    this.lastProducerSeq = Math.max(this.lastProducerSeq ?? producerSeq, producerSeq);
    this.#producerGaps = this.#producerGaps
      .flatMap(({ after, before }) =>
        producerSeq > after && producerSeq < before
          ? [
              { after, before: producerSeq },
              { after: producerSeq, before },
            ]
          : [{ after, before }],
      )
      .filter(({ after, before }) => before > after + 1);
  }

  /** Notes that what the producer counted between `after` and `before` may not have survived. */
  noteProducerGap(after: number, before: number): void {
    if (before <= after + 1) return;
    this.#producerGaps = [...this.#producerGaps, { after, before }].slice(-producerGapsMax);
  }

  /** Notes that no frame holds the numbers `from` to `to`; returns how many of them were not known to be missing. */
  markMissing(from: number, to: number): number {
    const before = this.#missing.countIn(this.#floor, this.last);
    for (const open of this.#settled.gapsIn(Math.max(from, this.#floor + 1), to)) {
      this.#missing.add(open.from, open.to);
    }
    return this.#missing.countIn(this.#floor, this.last) - before;
  }

  /** Starts the account at `base`: what the lost cursor knew is gone. */
  rebase(base: number): void {
    this.#floor = base;
    this.#base = base;
    this.last = Math.max(this.last, base);
  }
}

const producerGapsMax = 64;

/** Most settled ranges above the floor of one stream. */
export const streamRangesMax = 32;
