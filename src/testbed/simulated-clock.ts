import { assert } from '../base/assert.ts';
import { millis, unixMillis } from '../base/units.ts';
import type { Millis, UnixMillis } from '../base/units.ts';
import { settle } from '../host/clock.ts';
import type { CancelTimer, Clock } from '../host/clock.ts';

interface Timer {
  readonly dueMs: number;
  readonly sequence: number;
  action: (() => void) | undefined;
}

/**
 * A clock that stands still until `advance` is called. Between two timers everything that became runnable runs to its
 * end (`settle`: one real turn of the event loop unless another way is given), so a run is repeated exactly as long as
 * nothing awaits real input or output.
 */
export class SimulatedClock implements Clock {
  #nowMs = 0;
  #wallOffsetMs: number;
  #sequence = 0;
  #advancing = false;
  #cancelled = 0;
  #heap: Timer[] = [];
  readonly #settle: () => Promise<void>;

  constructor(options: { unixMs?: UnixMillis; settle?: () => Promise<void> } = {}) {
    this.#wallOffsetMs = options.unixMs ?? Date.UTC(2026, 0, 1);
    this.#settle = options.settle ?? settle;
  }

  /** Timers that are still to run. */
  get pendingCount(): number {
    return this.#heap.length - this.#cancelled;
  }

  monotonicMs(): Millis {
    return millis(this.#nowMs);
  }

  unixMs(): UnixMillis {
    return unixMillis(this.#wallOffsetMs + this.#nowMs);
  }

  schedule(delayMs: Millis, action: () => void): CancelTimer {
    assert(delayMs >= 0, `a timer needs a delay of at least 0 ms, got ${delayMs}`);
    const timer: Timer = { dueMs: this.#nowMs + delayMs, sequence: this.#sequence++, action };
    push(this.#heap, timer);
    return () => {
      if (timer.action === undefined) return;
      timer.action = undefined;
      this.#cancelled++;
      // Deadlines are mostly cancelled long before they are due; without this the heap would hold all of them.
      if (this.#cancelled > 64 && this.#cancelled * 2 > this.#heap.length) this.#compact();
    };
  }

  /** Steps the wall clock alone by `deltaMs`, as a time server or an operator would (I11). */
  stepWall(deltaMs: number): void {
    this.#wallOffsetMs += deltaMs;
  }

  /** Lets `durationMs` pass: runs every timer that falls due in it, in the order of (time, creation). */
  async advance(durationMs: number): Promise<void> {
    assert(!this.#advancing, 'one advance at a time');
    assert(durationMs >= 0, `time cannot go back by ${-durationMs} ms`);
    this.#advancing = true;
    try {
      const endMs = this.#nowMs + durationMs;
      await this.#settle();
      for (let next = this.#take(endMs); next !== undefined; next = this.#take(endMs)) {
        this.#nowMs = next.dueMs;
        const action = next.action;
        next.action = undefined;
        action?.();
        await this.#settle();
      }
      this.#nowMs = endMs;
    } finally {
      this.#advancing = false;
    }
  }

  /** Advances timer by timer until `work` settles; throws when `limitMs` pass or no timer is left before that. */
  async advanceUntil<T>(work: Promise<T>, limitMs = 3_600_000): Promise<T> {
    let settled = false;
    const mark = (): void => {
      settled = true;
    };
    work.then(mark, mark);
    const endMs = this.#nowMs + limitMs;
    await this.#settle();
    while (!settled) {
      const next = this.#peek();
      assert(
        next !== undefined,
        `nothing left to happen at ${this.#nowMs} ms, the awaited work cannot settle`,
      );
      assert(next.dueMs <= endMs, `the awaited work did not settle within ${limitMs} ms`);
      await this.advance(next.dueMs - this.#nowMs);
    }
    return work;
  }

  #peek(): Timer | undefined {
    while (this.#heap[0] !== undefined && this.#heap[0].action === undefined) {
      pop(this.#heap);
      this.#cancelled--;
    }
    return this.#heap[0];
  }

  #take(endMs: number): Timer | undefined {
    const next = this.#peek();
    return next !== undefined && next.dueMs <= endMs ? pop(this.#heap) : undefined;
  }

  #compact(): void {
    const alive = this.#heap.filter((timer) => timer.action !== undefined);
    this.#heap = [];
    this.#cancelled = 0;
    for (const timer of alive) push(this.#heap, timer);
  }
}

function isBefore(a: Timer, b: Timer): boolean {
  return a.dueMs === b.dueMs ? a.sequence < b.sequence : a.dueMs < b.dueMs;
}

function push(heap: Timer[], timer: Timer): void {
  let index = heap.push(timer) - 1;
  while (index > 0) {
    const parentIndex = (index - 1) >> 1;
    const parent = heap[parentIndex];
    if (parent === undefined || !isBefore(timer, parent)) break;
    heap[index] = parent;
    index = parentIndex;
  }
  heap[index] = timer;
}

function pop(heap: Timer[]): Timer | undefined {
  const top = heap[0];
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return top;
  let index = 0;
  for (;;) {
    let childIndex = 2 * index + 1;
    const right = heap[childIndex + 1];
    let child = heap[childIndex];
    if (child !== undefined && right !== undefined && isBefore(right, child)) {
      child = right;
      childIndex++;
    }
    if (child === undefined || !isBefore(child, last)) break;
    heap[index] = child;
    index = childIndex;
  }
  heap[index] = last;
  return top;
}
