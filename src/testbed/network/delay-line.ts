import { millis } from '../../base/units.ts';
import type { CancelTimer, Clock } from '../../host/clock.ts';

interface Entry<T> {
  readonly dueMs: number;
  readonly item: T;
}

/**
 * Hands items out when they are due, ordered by due time and, within the same time, by entry. One timer serves them
 * all: separate timers of the machine's clock, rounded to whole milliseconds each, would let items overtake each other.
 */
export class DelayLine<T> {
  readonly #clock: Clock;
  readonly #deliver: (item: T) => void;
  readonly #entries: Entry<T>[] = [];
  #head = 0;
  #timer: { readonly dueMs: number; readonly cancel: CancelTimer } | undefined;

  constructor(clock: Clock, deliver: (item: T) => void) {
    this.#clock = clock;
    this.#deliver = deliver;
  }

  /** Items on their way. */
  get length(): number {
    return this.#entries.length - this.#head;
  }

  /** Enters an item that is due at `dueMs` of the monotonic clock; one that is due already goes out at once. */
  push(item: T, dueMs: number): void {
    let index = this.#entries.length;
    while (index > this.#head && (this.#entries[index - 1]?.dueMs ?? 0) > dueMs) index--;
    this.#entries.splice(index, 0, { dueMs, item });
    this.#release();
  }

  /** Loses everything on its way. */
  clear(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#entries.length = 0;
    this.#head = 0;
  }

  #release(): void {
    for (;;) {
      const first = this.#entries[this.#head];
      if (first === undefined) break;
      // The margin keeps the rounding of sums of fractions from arming a timer that would not move the clock.
      if (first.dueMs > this.#clock.monotonicMs() + 0.001) {
        this.#arm(first.dueMs);
        break;
      }
      this.#head++;
      if (this.#head > 256 && this.#head * 2 > this.#entries.length) {
        this.#entries.splice(0, this.#head);
        this.#head = 0;
      }
      this.#deliver(first.item);
    }
    if (this.length === 0) this.clear();
  }

  #arm(dueMs: number): void {
    if (this.#timer !== undefined && this.#timer.dueMs <= dueMs) return;
    this.#timer?.cancel();
    const delayMs = millis(Math.max(0, dueMs - this.#clock.monotonicMs()));
    const cancel = this.#clock.schedule(delayMs, () => {
      this.#timer = undefined;
      this.#release();
    });
    this.#timer = { dueMs, cancel };
  }
}
