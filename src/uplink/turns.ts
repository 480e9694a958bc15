import type { StreamPart } from './destination.ts';

/** Whose turn it is while both parts of a stream wait: of `percent + (100 - percent)` deliveries, the backlog has `percent`. */
export class Turns {
  readonly #percent: number;
  #credit = 0;

  /** `percent` is the share of the backlog, from 1 to 90. */
  constructor(percent: number) {
    this.#percent = percent;
  }

  get next(): StreamPart {
    return this.#credit >= this.#price ? 'backlog' : 'live';
  }

  /** A delivery of this part, made while the other part waited, has succeeded. */
  noteSuccess(part: StreamPart): void {
    this.#credit += part === 'live' ? this.#percent : -this.#price;
    this.#credit = Math.min(Math.max(this.#credit, 0), this.#price + this.#percent);
  }

  /** A part that fails gives the turn away, so that it does not hold the other one back. */
  noteFailure(part: StreamPart): void {
    this.#credit = part === 'live' ? this.#price : 0;
  }

  get #price(): number {
    return 100 - this.#percent;
  }
}
