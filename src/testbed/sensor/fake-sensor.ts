import { assert } from '../../base/assert.ts';
import { millis } from '../../base/units.ts';
import type { Millis } from '../../base/units.ts';
import { every } from '../../host/clock.ts';
import type { CancelTimer, Clock } from '../../host/clock.ts';
import { LineSplitter } from '../../host/line-splitter.ts';
import { formatReadingLine, parseAcknowledgement } from '../../sensor/sensor-line.ts';
import { hash32, hashText } from '../seeded-entropy.ts';

/** A stream of the double and how often it has a new value. */
export interface FakeStream {
  readonly name: string;
  readonly periodMs: Millis;
}

/** What the double did with one stream; counts start at 1. */
export interface FakeStreamReport {
  /** First and last count that were made; 0 when none was. */
  readonly first: number;
  readonly last: number;
  readonly acknowledged: number;
  /** Still waiting for an acknowledgement. */
  readonly pending: number;
  /** Given up because memory was full, as a count and as ranges (the first few) of counts, both ends included. */
  readonly dropped: number;
  readonly droppedRanges: readonly (readonly [number, number])[];
  /** Lines sent again. */
  readonly repeated: number;
}

const retryMs = millis(400);
/** Lines that may be sent ahead of an acknowledgement. */
const windowMax = 16;
const rangesMax = 64;

/**
 * The value that stream `name` of a double with `seed` has at `count`: anyone who knows the three can check a
 * delivered value. A slow wave with noise, two decimals.
 */
export function fakeSensorValue(seed: number, name: string, count: number): number {
  const noise = hash32(seed, hashText(name), count) / 0x1_0000_0000 - 0.5;
  return Math.round((20 + 5 * Math.sin(count / 50) + noise) * 100) / 100;
}

/**
 * A sensor that numbers its readings and repeats each until it is acknowledged (`sensor-line.ts`), whatever happens
 * to the gateway. Its memory is bounded: the oldest readings are given up, counted and reported.
 */
export class FakeSensor {
  readonly #clock: Clock;
  readonly #senders: readonly StreamSender[];
  readonly #splitter: LineSplitter;
  readonly #timers: CancelTimer[] = [];

  constructor(options: {
    clock: Clock;
    seed: number;
    streams: readonly FakeStream[];
    /** Sends octets; false when the line cannot take them now. */
    write: (data: Uint8Array) => boolean;
    /** Without acknowledgement each reading is sent once. */
    acknowledge?: boolean;
    /** Readings of one stream that are kept; the default is 10,000. */
    memoryMax?: number;
  }) {
    const { clock, seed, streams, write, acknowledge = true, memoryMax = 10_000 } = options;
    assert(memoryMax >= windowMax, `a memory of ${memoryMax} readings is below the window of ${windowMax}`);
    this.#clock = clock;
    this.#senders = streams.map(
      (stream) => new StreamSender(stream, { seed, write, acknowledge, memoryMax }),
    );
    this.#splitter = new LineSplitter({ lengthMax: 256, onLine: (line) => this.#take(line) });
  }

  start(): void {
    assert(this.#timers.length === 0, 'a sensor is started once');
    for (const sender of this.#senders) {
      this.#timers.push(every(this.#clock, sender.stream.periodMs, () => sender.make()));
    }
    this.#timers.push(every(this.#clock, retryMs, () => this.#retry()));
  }

  /** Makes no further readings, but keeps repeating what is not acknowledged. */
  finish(): void {
    for (const cancel of this.#timers.splice(0, this.#senders.length)) cancel();
  }

  stop(): void {
    for (const cancel of this.#timers.splice(0)) cancel();
  }

  /** Takes octets from the serial line. */
  receive(data: Uint8Array): void {
    this.#splitter.push(data);
  }

  /** What was made and what became of it, by stream. */
  report(): Readonly<Record<string, FakeStreamReport>> {
    return Object.fromEntries(this.#senders.map((sender) => [sender.stream.name, sender.report()]));
  }

  #take(line: Uint8Array): void {
    const acknowledgement = parseAcknowledgement(line);
    if (acknowledgement === undefined) return;
    this.#senders
      .find((sender) => sender.stream.name === acknowledgement.stream)
      ?.acknowledge(acknowledgement.count);
  }

  #retry(): void {
    for (const sender of this.#senders) sender.retry();
  }
}

interface SenderOptions {
  readonly seed: number;
  readonly write: (data: Uint8Array) => boolean;
  readonly acknowledge: boolean;
  readonly memoryMax: number;
}

/**
 * One stream: counts up to `#last` were made, those in `#pending` are unacknowledged, those up to `#sent` went out.
 */
class StreamSender {
  readonly stream: FakeStream;
  readonly #options: SenderOptions;
  readonly #pending = new Set<number>();
  readonly #droppedRanges: [number, number][] = [];
  #last = 0;
  #sent = 0;
  #sentMax = 0;
  #acknowledged = 0;
  #dropped = 0;
  #repeated = 0;
  /** Shrinks to one while nobody acknowledges, so that a dead gateway's line does not fill with copies. */
  #window = windowMax;
  #progressed = false;

  constructor(stream: FakeStream, options: SenderOptions) {
    this.stream = stream;
    this.#options = options;
  }

  make(): void {
    this.#last++;
    this.#pending.add(this.#last);
    if (this.#options.acknowledge) {
      if (this.#pending.size > this.#options.memoryMax) this.#drop();
      this.#sendWindow();
    } else {
      const count = this.#last;
      if (!this.#send(count, count)) this.#drop();
      else this.#pending.delete(count);
    }
  }

  acknowledge(count: number): void {
    if (!this.#pending.delete(count)) return;
    this.#acknowledged++;
    this.#progressed = true;
    this.#window = windowMax;
    this.#sendWindow();
  }

  /** Starts over from the oldest unacknowledged line when no acknowledgement came since the last call. */
  retry(): void {
    const stalled = !this.#progressed;
    this.#progressed = false;
    if (!stalled || this.#pending.size === 0) return;
    this.#sent = this.#oldest() - 1;
    this.#window = 1;
    this.#sendWindow();
  }

  report(): FakeStreamReport {
    return {
      first: this.#last === 0 ? 0 : 1,
      last: this.#last,
      acknowledged: this.#acknowledged,
      pending: this.#pending.size,
      dropped: this.#dropped,
      droppedRanges: this.#droppedRanges.map(([first, last]) => [first, last] as const),
      repeated: this.#repeated,
    };
  }

  #sendWindow(): void {
    const oldest = this.#oldest();
    const end = Math.min(this.#last, oldest + this.#window - 1);
    for (let count = Math.max(this.#sent + 1, oldest); count <= end; count++) {
      if (this.#pending.has(count) && !this.#send(count, oldest)) return;
      this.#sent = count;
    }
  }

  #send(count: number, oldest: number): boolean {
    const { seed, write, acknowledge } = this.#options;
    const { name } = this.stream;
    const line = formatReadingLine({
      stream: name,
      value: fakeSensorValue(seed, name, count),
      count,
      ...(acknowledge && { oldest }),
    });
    if (!write(Buffer.from(line))) return false;
    if (count <= this.#sentMax) this.#repeated++;
    this.#sentMax = Math.max(this.#sentMax, count);
    return true;
  }

  /** Counts are added in rising order, so the first of the set is the oldest. */
  #oldest(): number {
    for (const count of this.#pending) return count;
    return this.#last + 1;
  }

  #drop(): void {
    const count = this.#oldest();
    this.#pending.delete(count);
    this.#dropped++;
    const range = this.#droppedRanges.at(-1);
    if (range?.[1] === count - 1) range[1] = count;
    else if (this.#droppedRanges.length < rangesMax) this.#droppedRanges.push([count, count]);
  }
}
