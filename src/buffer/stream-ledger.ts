import { assert } from '../base/assert.ts';
import type { StreamName } from '../base/units.ts';

/** The part of a stream's account that survives restarts, in the cursor record. */
export interface LedgerState {
  /** Every number up to here is settled: delivered, evicted or lost. */
  readonly floor: number;
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
 * The account of one stream. Its numbers are cut in two by the floor: below, `floor - base = delivered + evicted +
 * corrupt`; above, every number up to `last` is either readable or known to be missing.
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
  /** Ranges above the floor that no frame holds, ascending, apart from each other. */
  #missing: { from: number; to: number }[] = [];
  /** Counts of the producer that are below the newest stored one and yet not stored, as a torn batch leaves them. */
  #producerGaps: { after: number; before: number }[] = [];

  constructor(name: StreamName, state: LedgerState) {
    this.name = name;
    this.last = state.last;
    this.lastProducerSeq = state.lastProducerSeq;
    this.#floor = state.floor;
    this.#base = state.base;
    this.#delivered = state.delivered;
    this.#evicted = state.evicted;
    this.#corrupt = state.corrupt;
  }

  /** The account of a stream that begins after number `base`. */
  static begin(name: StreamName, base: number): StreamLedger {
    const counts = { delivered: 0, evicted: 0, corrupt: 0, lastProducerSeq: undefined };
    return new StreamLedger(name, { floor: base, last: base, base, ...counts });
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
  /** Numbers that no frame holds, below and above the floor. */
  get corrupt(): number {
    return this.#corrupt + this.missingIn(this.#floor, this.last);
  }

  state(): LedgerState {
    return {
      floor: this.#floor,
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
    if (through <= this.#floor) return 0;
    assert(through <= this.last, `${this.name} has ${this.last} records, cannot settle ${through}`);
    const lost = this.missingIn(this.#floor, through);
    const count = through - this.#floor - lost;
    this.#corrupt += lost;
    if (as === 'delivered') this.#delivered += count;
    else this.#evicted += count;
    this.#floor = through;
    this.#missing = this.#missing
      .filter(({ to }) => to > through)
      .map(({ from, to }) => ({ from: Math.max(from, through + 1), to }));
    return count;
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
    const start = Math.max(from, this.#floor + 1);
    const before = this.missingIn(this.#floor, this.last);
    if (start > to) return 0;
    const touching = this.#missing.filter((range) => range.from <= to + 1 && range.to >= start - 1);
    const joined = {
      from: Math.min(start, ...touching.map((range) => range.from)),
      to: Math.max(to, ...touching.map((range) => range.to)),
    };
    this.#missing = [...this.#missing.filter((range) => !touching.includes(range)), joined].sort(
      (a, b) => a.from - b.from,
    );
    return this.missingIn(this.#floor, this.last) - before;
  }

  /** How many numbers n with after < n <= through are missing. */
  missingIn(after: number, through: number): number {
    let count = 0;
    for (const { from, to } of this.#missing) {
      count += Math.max(0, Math.min(to, through) - Math.max(from, after + 1) + 1);
    }
    return count;
  }

  /** Starts the account at `base`: what the lost cursor knew is gone. */
  rebase(base: number): void {
    this.#floor = base;
    this.#base = base;
    this.last = Math.max(this.last, base);
  }
}

const producerGapsMax = 64;
