/**
 * One direction of a path with the manners of a mobile network: delay, jitter, loss, duplication, reordering, a rate. What is
 * carried is the business of whoever owns the path: datagrams of a relay, frames of an emulated link.
 */
import { IoError } from '../../base/errors.ts';
import type { Clock } from '../../host/clock.ts';
import { randomFraction } from '../../host/entropy.ts';
import type { Entropy } from '../../host/entropy.ts';
import { DelayLine } from './delay-line.ts';

/** What happens to datagrams of one direction. */
export interface PathConditions {
  /** Time on the way. */
  readonly delayMs: number;
  /** Up to this much more, evenly distributed. With 0 the order is kept. */
  readonly jitterMs: number;
  /** Share of datagrams that get lost, 0 to 1. */
  readonly loss: number;
  /** Share that arrives twice, 0 to 1. */
  readonly duplication: number;
  /** Share that is held back by `reorderMs`, 0 to 1, so that later ones overtake. */
  readonly reordering: number;
  readonly reorderMs: number;
  /** True: nothing gets through, and nobody is told. */
  readonly blackhole: boolean;
  /** Octets per second; 0 for no limit. A datagram waits until those before it have passed. */
  readonly rateBytesPerS: number;
}

/** A path that does nothing to its datagrams. */
export const perfectPath: PathConditions = {
  delayMs: 0,
  jitterMs: 0,
  loss: 0,
  duplication: 0,
  reordering: 0,
  reorderMs: 20,
  blackhole: false,
  rateBytesPerS: 0,
};

/** What became of the datagrams of one direction. */
export interface PathCounters {
  readonly received: number;
  readonly delivered: number;
  /** Lost by chance or in the black hole. */
  readonly lost: number;
  readonly duplicated: number;
  /** Dropped because too much was on its way. */
  readonly overflowed: number;
  /** The system did not take them, or the client's entry was gone. */
  readonly unsent: number;
}

/** How to set up a path. */
export interface ConditionedPathOptions<T> {
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly conditions: Partial<PathConditions>;
  readonly bytesOf: (item: T) => number;
  /** Takes what has arrived. */
  readonly deliver: (item: T) => void;
  /** Items, and octets, on their way at most. */
  readonly queueMax?: number;
  readonly queueBytesMax?: number;
}

/** A path in one direction. */
export class ConditionedPath<T> {
  readonly counters: { -readonly [name in keyof PathCounters]: number } = {
    received: 0,
    delivered: 0,
    lost: 0,
    duplicated: 0,
    overflowed: 0,
    unsent: 0,
  };
  readonly #options: ConditionedPathOptions<T>;
  readonly #line: DelayLine<T>;
  #conditions: PathConditions;
  /** Octets on their way. */
  #bytes = 0;
  /** When the last octet of the rate limit's queue has passed. */
  #busyUntilMs = 0;
  /** Due time of the last item that was to keep its place. */
  #lastDueMs = 0;

  /** Throws `IoError` when a condition makes no sense. */
  constructor(options: ConditionedPathOptions<T>) {
    this.#options = options;
    this.#conditions = { ...perfectPath, ...options.conditions };
    checkConditions(this.#conditions);
    this.#line = new DelayLine(options.clock, (item) => {
      this.#bytes -= options.bytesOf(item);
      options.deliver(item);
    });
  }

  get conditions(): PathConditions {
    return this.#conditions;
  }

  /** Items on their way. */
  get length(): number {
    return this.#line.length;
  }

  /** Changes what is named; what is on its way is not touched. Throws `IoError` when a condition makes no sense. */
  setConditions(changes: Partial<PathConditions>): void {
    const conditions = { ...this.#conditions, ...changes };
    checkConditions(conditions);
    this.#conditions = conditions;
  }

  /** Loses everything on its way. */
  clear(): void {
    this.#line.clear();
    this.#bytes = 0;
  }

  /** Sends an item on its way. */
  pass(item: T): void {
    const { clock, entropy, bytesOf, queueMax = 4_096, queueBytesMax = 8_388_608 } = this.#options;
    const { counters } = this;
    counters.received++;
    const conditions = this.#conditions;
    // Chance is drawn for every datagram whatever the conditions, so that a change of one leaves the others' draws alone.
    const [loss, duplication, reordering, jitter] = [0, 0, 0, 0].map(() => randomFraction(entropy)) as [
      number,
      number,
      number,
      number,
    ];
    if (conditions.blackhole || loss < conditions.loss) {
      counters.lost++;
      return;
    }
    const copies = duplication < conditions.duplication ? 2 : 1;
    const bytes = copies * bytesOf(item);
    if (this.#line.length + copies > queueMax || this.#bytes + bytes > queueBytesMax) {
      counters.overflowed++;
      return;
    }
    const nowMs = clock.monotonicMs();
    if (conditions.rateBytesPerS > 0) {
      const passMs = (bytesOf(item) * 1000) / conditions.rateBytesPerS;
      this.#busyUntilMs = Math.max(nowMs, this.#busyUntilMs) + passMs;
    } else {
      this.#busyUntilMs = nowMs;
    }
    let dueMs = this.#busyUntilMs + conditions.delayMs + jitter * conditions.jitterMs;
    if (reordering < conditions.reordering) {
      dueMs += conditions.reorderMs;
    } else if (conditions.jitterMs === 0) {
      dueMs = Math.max(dueMs, this.#lastDueMs);
      this.#lastDueMs = dueMs;
    }
    if (copies === 2) counters.duplicated++;
    this.#bytes += bytes;
    for (let copy = 0; copy < copies; copy++) this.#line.push(item, dueMs);
  }
}

/** Throws `IoError` naming the condition that makes no sense. */
export function checkConditions(conditions: PathConditions): void {
  const { loss, duplication, reordering, delayMs, jitterMs, reorderMs, rateBytesPerS } = conditions;
  for (const [name, value] of Object.entries({ loss, duplication, reordering })) {
    if (!(value >= 0 && value <= 1)) throw new IoError(`${name} ${value}: a share from 0 to 1 is expected`);
  }
  for (const [name, value] of Object.entries({ delayMs, jitterMs, reorderMs, rateBytesPerS })) {
    if (!(value >= 0 && Number.isFinite(value)))
      throw new IoError(`${name} ${value}: a number from 0 on is expected`);
  }
}
