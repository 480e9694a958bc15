/** The numbers `from` to `to`, both included. */
export interface SeqRange {
  readonly from: number;
  readonly to: number;
}

/** A set of sequence numbers, kept as ranges: ascending, and with at least one number between two of them. */
export class SeqRanges {
  #ranges: readonly SeqRange[];

  constructor(ranges: readonly SeqRange[] = []) {
    this.#ranges = ranges;
  }

  /** The ranges; a change makes a new list. */
  get list(): readonly SeqRange[] {
    return this.#ranges;
  }

  /** Adds the numbers `from` to `to`. */
  add(from: number, to: number): void {
    if (from > to) return;
    const isTouching = (range: SeqRange): boolean => range.from <= to + 1 && range.to >= from - 1;
    const touching = this.#ranges.filter(isTouching);
    const joined = {
      from: Math.min(from, ...touching.map((range) => range.from)),
      to: Math.max(to, ...touching.map((range) => range.to)),
    };
    const others = this.#ranges.filter((range) => !isTouching(range));
    this.#ranges = [...others, joined].sort((a, b) => a.from - b.from);
  }

  /** Takes the numbers `from` to `to` out. */
  remove(from: number, to: number): void {
    this.#ranges = this.#ranges.flatMap((range) =>
      [
        { from: range.from, to: Math.min(range.to, from - 1) },
        { from: Math.max(range.from, to + 1), to: range.to },
      ].filter((part) => part.from <= part.to),
    );
  }

  /** How many of the numbers n with after < n <= through are in the set. */
  countIn(after: number, through: number): number {
    let count = 0;
    for (const { from, to } of this.#ranges) {
      count += Math.max(0, Math.min(to, through) - Math.max(from, after + 1) + 1);
    }
    return count;
  }

  /** The range that `seq` is in. */
  find(seq: number): SeqRange | undefined {
    return this.#ranges.find(({ from, to }) => from <= seq && seq <= to);
  }

  /** Whether adding the numbers would make one range more. */
  wouldGrow(from: number, to: number): boolean {
    return from <= to && !this.#ranges.some((range) => range.from <= to + 1 && range.to >= from - 1);
  }

  /** What of the numbers `from` to `to` is not in the set, ascending. */
  gapsIn(from: number, to: number): SeqRange[] {
    const gaps: SeqRange[] = [];
    let next = from;
    for (const range of this.#ranges) {
      if (range.to < next) continue;
      if (range.from > to) break;
      if (range.from > next) gaps.push({ from: next, to: range.from - 1 });
      next = range.to + 1;
    }
    if (next <= to) gaps.push({ from: next, to });
    return gaps;
  }
}
