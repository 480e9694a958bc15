import { bytes, millis, streamName, unixMillis } from '../../src/base/units.ts';
import type { Seq, StreamName } from '../../src/base/units.ts';
import { openReadingLog } from '../../src/buffer/reading-log.ts';
import type { ReadingLog } from '../../src/buffer/reading-log.ts';
import type { Eviction, LogDamage, LogLimits, StreamOptions } from '../../src/buffer/log-options.ts';
import type { AppendResult } from '../../src/buffer/log-results.ts';
import { recordName } from '../../src/buffer/record.ts';
import type { StoredRecord } from '../../src/buffer/record.ts';
import type { Clock } from '../../src/host/clock.ts';
import type { Entropy } from '../../src/host/entropy.ts';
import type { Filesystem } from '../../src/host/filesystem.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';
import type { Choose } from '../../src/testbed/simulated-disk.ts';

export const streamA: StreamName = streamName('a');
export const streamB: StreamName = streamName('b');
export const streamC: StreamName = streamName('c');
export const names: readonly StreamName[] = [streamA, streamB, streamC];
export const streams: readonly StreamOptions[] = [
  { name: streamA, durability: 'A', priority: 1 },
  { name: streamB, durability: 'B', priority: 1, lingerMs: millis(20) },
  { name: streamC, durability: 'A', priority: 5 },
  // Never written: they make a cursor record longer than a sector, so that a power cut can tear it.
  ...['1', '2', '3', '4', '5', '6', '7', '8'].map((digit): StreamOptions => {
    return { name: streamName(`idle-${digit.repeat(50)}`), durability: 'A', priority: 9 };
  }),
];

/** Small enough that a slot is full after a few records. */
export const smallLimits: LogLimits = { quotaBytes: bytes(24 * 8192), segmentBytesMax: bytes(8192) };

/** What a run was told, to compare with what the next run finds. */
export class Witness {
  appended: Map<string, StreamName> = new Map();
  /** Reported stored: by stream and number. */
  stored: Map<StreamName, Map<number, StoredRecord>> = new Map();
  /** Seen by anyone: what each name stands for. */
  meaning: Map<string, string> = new Map();
  acknowledged: Map<StreamName, number> = new Map();
  evicted: Map<StreamName, number> = new Map();
  durable: Map<StreamName, number> = new Map();
  /** Acknowledged above older ones, and those of them that are durably so: `a7`. */
  ranged: Set<string> = new Set();
  durablyRanged: Set<string> = new Set();
  producerSeq: Map<StreamName, number> = new Map();
  /** Appended in an earlier run, never reported, and not found by a start: they must not come back. */
  gone: Set<string> = new Set();
  count = 0;

  /** What was known at this moment; later facts do not enter the copy. */
  snapshot(): Witness {
    const copy = new Witness();
    copy.appended = new Map(this.appended);
    copy.stored = new Map([...this.stored].map(([name, records]) => [name, new Map(records)]));
    copy.meaning = new Map(this.meaning);
    copy.acknowledged = new Map(this.acknowledged);
    copy.evicted = new Map(this.evicted);
    copy.durable = new Map(this.durable);
    copy.ranged = new Set(this.ranged);
    copy.durablyRanged = new Set(this.durablyRanged);
    copy.producerSeq = new Map(this.producerSeq);
    copy.gone = new Set(this.gone);
    copy.count = this.count;
    return copy;
  }

  /** Notes that a record was seen; throws when its name stood for another one. */
  see(record: StoredRecord): void {
    const { name, text } = identify(record, this.meaning);
    if (this.gone.has(text)) throw new Error(`${name} is ${text}, which an earlier start had not found`);
    if (this.appended.get(text) !== record.stream) throw new Error(`${name} holds ${text}, never appended`);
    this.meaning.set(name, text);
  }
}

/** Name and text of a record that was seen; throws when its name stood for another text. */
export function identify(
  record: StoredRecord,
  meaning: ReadonlyMap<string, string>,
): { readonly name: string; readonly text: string } {
  const name = `${record.stream}/${recordName(record.logId, record.seq)}`;
  const text = textOf(record);
  const before = meaning.get(name);
  if (before !== undefined && before !== text) throw new Error(`${name} was ${before} and is ${text}`);
  return { name, text };
}

/** A log on a simulated disk with everything it told. */
export class World {
  readonly clock: SimulatedClock;
  readonly filesystem: Filesystem;
  readonly log: ReadingLog;
  readonly witness: Witness;
  readonly damage: LogDamage[];
  readonly evictions: Eviction[];
  /** Appended before this run began. */
  readonly #earlier: ReadonlySet<string>;
  /** Acknowledged in this run: those of an earlier one may have been lost with it. */
  readonly #acknowledged = new Map<StreamName, number>();
  readonly #ranged = new Set<string>();

  private constructor(
    clock: SimulatedClock,
    filesystem: Filesystem,
    log: ReadingLog,
    witness: Witness,
    damage: LogDamage[],
    evictions: Eviction[],
  ) {
    this.clock = clock;
    this.filesystem = filesystem;
    this.log = log;
    this.witness = witness;
    this.damage = damage;
    this.evictions = evictions;
    this.#earlier = new Set(witness.appended.keys());
  }

  static async open(
    filesystem: Filesystem,
    witness: Witness = new Witness(),
    options: {
      seed?: number;
      limits?: LogLimits;
      streams?: readonly StreamOptions[];
      entropy?: Entropy;
      /** What the log takes for its clock, when it is not the world's own. */
      clock?: (clock: SimulatedClock) => Clock;
      /** When the run begins, on the monotonic clock. */
      startMs?: number;
      bootId?: string;
      /** The world's own clock; it goes on while the log waits for its disk. */
      driver?: SimulatedClock;
    } = {},
  ): Promise<World> {
    const clock = options.driver ?? new SimulatedClock();
    if (options.startMs !== undefined) await clock.advance(options.startMs);
    const damage: LogDamage[] = [];
    const evictions: Eviction[] = [];
    const opening = openReadingLog({
      filesystem,
      clock: options.clock?.(clock) ?? clock,
      ...(options.bootId === undefined ? {} : { bootId: options.bootId }),
      entropy: options.entropy ?? new SeededEntropy(options.seed ?? 1),
      directory: '/data/buffer',
      limits: options.limits ?? smallLimits,
      streams: options.streams ?? streams,
      onDamage: (found) => damage.push(found),
      onEviction: (eviction) => {
        evictions.push(eviction);
        witness.evicted.set(eviction.stream, eviction.toSeq);
      },
    });
    const log = await (options.driver === undefined ? opening : clock.advanceUntil(opening));
    return new World(clock, filesystem, log, witness, damage, evictions);
  }

  /** Appends a record that is told apart by its payload of at least `size` octets. */
  async append(stream: StreamName, size: number, producerSeq?: number): Promise<AppendResult> {
    const text = `${stream}${this.witness.count++}.`.padEnd(size, 'x');
    this.witness.appended.set(text, stream);
    const work = this.log.append({
      stream,
      payload: Buffer.from(text),
      monotonicMs: this.clock.monotonicMs(),
      wall: { unixMs: unixMillis(1e12), errorBoundMs: millis(5), source: 'ntp' },
      ...(producerSeq === undefined ? {} : { producerSeq }),
    });
    const result = await work;
    if (result.kind === 'stored') {
      const { record } = result;
      const records = this.witness.stored.get(stream) ?? new Map<number, StoredRecord>();
      if (records.get(record.seq)?.logId === record.logId)
        throw new Error(`${stream} ${record.seq} given twice`);
      this.witness.stored.set(stream, records.set(record.seq, record));
      this.witness.see(record);
      if (producerSeq !== undefined) this.witness.producerSeq.set(stream, producerSeq);
    }
    return result;
  }

  acknowledge(stream: StreamName, through: number): void {
    this.log.acknowledge(stream, through as Seq);
    const before = this.witness.acknowledged.get(stream) ?? 0;
    this.#acknowledged.set(stream, through);
    this.witness.acknowledged.set(stream, Math.max(before, through));
  }

  /** Acknowledges `from` to `to` while older ones stay; false when the log has no range left. */
  acknowledgeRange(stream: StreamName, from: number, to: number): boolean {
    if (!this.log.acknowledge(stream, to as Seq, from as Seq)) return false;
    for (let number = from; number <= to; number++) {
      this.#ranged.add(`${stream}${number}`);
      this.witness.ranged.add(`${stream}${number}`);
    }
    return true;
  }

  /** Makes the acknowledgements durable, and notes it when the log says so. */
  async sync(): Promise<void> {
    const acknowledged = [...this.#acknowledged];
    const ranged = [...this.#ranged];
    if (!(await this.log.sync())) return;
    for (const name of ranged) this.witness.durablyRanged.add(name);
    for (const [stream, through] of acknowledged) {
      this.witness.durable.set(stream, Math.max(through, this.witness.durable.get(stream) ?? 0));
    }
  }

  /** Reads everything pending in windows of `step`. */
  async readAll(stream: StreamName, step = 3): Promise<StoredRecord[]> {
    const all: StoredRecord[] = [];
    for (;;) {
      const window = await this.log.peek(stream, step, all.at(-1)?.seq);
      if (window.length === 0) return all;
      all.push(...window);
    }
  }

  /**
   * Compares what the log holds with what was told: throws for a stored record that is missing, wrong or out of order,
   * for a durably acknowledged one that is back, for a name used twice, and for counters that do not add up.
   */
  async check(): Promise<void> {
    for (const stream of names) {
      const found = new Map<number, StoredRecord>();
      let previous = 0;
      for (const record of await this.readAll(stream)) {
        if (record.seq <= previous) throw new Error(`${stream}: ${record.seq} after ${previous}`);
        previous = record.seq;
        this.witness.see(record);
        found.set(record.seq, record);
      }
      const settled = Math.max(
        this.witness.acknowledged.get(stream) ?? 0,
        this.witness.evicted.get(stream) ?? 0,
      );
      for (const [seq, record] of this.witness.stored.get(stream) ?? []) {
        const now = found.get(seq);
        const isSettled = seq <= settled || this.witness.ranged.has(`${stream}${seq}`);
        if (!isSettled && now === undefined) throw new Error(`${stream} ${seq} was stored and is lost`);
        if (now !== undefined && textOf(now) !== textOf(record))
          throw new Error(`${stream} ${seq} has changed`);
      }
      const durable = this.witness.durable.get(stream) ?? 0;
      const back = [...found.keys()].find(
        (seq) => seq <= durable || this.witness.durablyRanged.has(`${stream}${seq}`),
      );
      if (back !== undefined)
        throw new Error(`${stream} ${back} is back, durably acknowledged to ${durable}`);
      this.checkCounts(stream, found.size);
    }
    const seen = new Set(this.witness.meaning.values());
    for (const text of this.#earlier) if (!seen.has(text)) this.witness.gone.add(text);
    const account = this.damage.find((damage) => damage.kind === 'account');
    if (account !== undefined) throw new Error(account.message);
  }

  /** Throws when more numbers count as lost than were never reported stored: nothing else may be lost to a cut. */
  checkLosses(): void {
    for (const stream of names) {
      const corrupt = this.log.stats().streams.get(stream)?.corrupt ?? 0;
      const unreported = this.log.lastSeq(stream) - (this.witness.stored.get(stream)?.size ?? 0);
      if (corrupt > unreported) throw new Error(`${stream}: ${corrupt} count as lost, ${unreported} may be`);
    }
  }

  checkCounts(stream: StreamName, readable: number): void {
    const stats = this.log.stats().streams.get(stream);
    if (stats === undefined) throw new Error(`no stats of ${stream}`);
    const { stored, delivered, evicted, corrupt, pending } = stats;
    if (stored !== delivered + evicted + corrupt + pending || pending !== readable) {
      throw new Error(`${stream}: ${readable} readable, but ${JSON.stringify(stats)}`);
    }
  }
}

/** The payload as the text that it is. */
export function textOf(record: StoredRecord): string {
  return Buffer.from(record.payload).toString();
}

/** A chooser that draws evenly. */
export function drawn(entropy: SeededEntropy): Choose {
  return (options) => entropy.uint32() % options;
}

/** Power-cut outcomes that are always tried: nothing of the unsynced survives; all of it does. */
export const lose: Choose = () => 0;
export const keep: Choose = (options) => options - 1;

/** Calls `use` with every combination of choices, at most `limit`; true when those were all. */
export async function everyChoice(limit: number, use: (choose: Choose) => Promise<void>): Promise<boolean> {
  let prefix: number[] = [];
  for (let run = 0; run < limit; run++) {
    const taken: { pick: number; options: number }[] = [];
    await use((options) => {
      const pick = prefix[taken.length] ?? 0;
      taken.push({ pick, options });
      return pick;
    });
    let last = taken.pop();
    while (last !== undefined && last.pick + 1 >= last.options) last = taken.pop();
    if (last === undefined) return true;
    prefix = [...taken.map(({ pick }) => pick), last.pick + 1];
  }
  return false;
}
