// Proves what class C promises: while the link is up nothing of it is written to the disk; when it fails, when memory is
// exceeded, after a while and at the end it is stored, under the numbers that it has, in order; a power cut loses what
// was in memory and nothing else, and no name is given to two records (B5); in any mix of appends, reads,
// acknowledgements, failing links and disks, closes, kills and power cuts. And that these checks find a log that keeps
// its id over a cut.
import * as fc from 'fast-check';
import t from 'tap';
import { bytes, millis, seq, unixMillis } from '../../src/base/units.ts';
import type { Seq } from '../../src/base/units.ts';
import type { LogDamage, LogLimits, StreamOptions } from '../../src/buffer/log-options.ts';
import type { AppendResult } from '../../src/buffer/log-results.ts';
import { openReadingLog } from '../../src/buffer/reading-log.ts';
import type { ReadingLog } from '../../src/buffer/reading-log.ts';
import type { StoredRecord } from '../../src/buffer/record.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';
import { SimulatedFilesystem } from '../../src/testbed/simulated-filesystem.ts';
import { mutate } from './mutants.ts';
import type { Mutant } from './mutants.ts';
import { drawn, identify, keep, lose, streamA, streamC, textOf } from './world.ts';

const streams: readonly StreamOptions[] = [
  { name: streamA, durability: 'A', priority: 1 },
  { name: streamC, durability: 'C', priority: 1, lingerMs: millis(0), whenFull: 'refuse' },
];
const small: LogLimits = {
  quotaBytes: bytes(32 * 4096),
  segmentBytesMax: bytes(4096),
  heldMsMax: millis(1000),
};

/** What is known of all runs together. */
class Memory {
  readonly meaning = new Map<string, string>();
  /** Reported stored, and not acknowledged; by text. */
  stored = new Set<string>();
  /** Reported held in this run, and not acknowledged. */
  held = new Set<string>();
  count = 0;

  copy(): Memory {
    const copy = new Memory();
    for (const [name, text] of this.meaning) copy.meaning.set(name, text);
    copy.stored = new Set(this.stored);
    copy.count = this.count;
    return copy;
  }

  see(record: StoredRecord): void {
    const { name, text } = identify(record, this.meaning);
    this.meaning.set(name, text);
  }
}

/** A log with one stream of class C that is checked. */
class Bench {
  readonly clock: SimulatedClock;
  readonly log: ReadingLog;
  readonly memory: Memory;
  readonly damage: LogDamage[];
  #ackedThrough = 0;
  #newest = 0;

  private constructor(clock: SimulatedClock, log: ReadingLog, memory: Memory, damage: LogDamage[]) {
    this.clock = clock;
    this.log = log;
    this.memory = memory;
    this.damage = damage;
    memory.held = new Set();
  }

  static async open(
    disk: SimulatedFilesystem,
    memory: Memory = new Memory(),
    options: { seed?: number; limits?: LogLimits; mutant?: Mutant; streams?: readonly StreamOptions[] } = {},
  ): Promise<Bench> {
    const clock = new SimulatedClock();
    const damage: LogDamage[] = [];
    const log = await openReadingLog({
      filesystem: mutate(disk, options.mutant),
      clock,
      entropy: new SeededEntropy(options.seed ?? 1),
      directory: '/data/buffer',
      limits: options.limits ?? small,
      streams: options.streams ?? streams,
      onDamage: (found) => damage.push(found),
    });
    return new Bench(clock, log, memory, damage);
  }

  async append(size = 20, name = streamC, producerSeq?: number): Promise<AppendResult> {
    const text = `${name}${this.memory.count++}.`.padEnd(size, 'x');
    const result = await this.log.append({
      stream: name,
      payload: Buffer.from(text),
      monotonicMs: this.clock.monotonicMs(),
      wall: { unixMs: unixMillis(1e12), source: 'system' },
      ...(producerSeq === undefined ? {} : { producerSeq }),
    });
    if (result.kind === 'stored' || result.kind === 'held') {
      this.memory.see(result.record);
      if (name === streamC) {
        if (result.record.seq <= this.#newest) throw new Error(`${result.record.seq} after ${this.#newest}`);
        this.#newest = result.record.seq;
        this.memory[result.kind].add(text);
      }
    }
    return result;
  }

  async readAll(): Promise<StoredRecord[]> {
    const all: StoredRecord[] = [];
    for (;;) {
      const window = await this.log.peek(streamC, 3, all.at(-1)?.seq);
      if (window.length === 0) return all;
      all.push(...window);
    }
  }

  acknowledge(records: readonly StoredRecord[]): void {
    const last = records.at(-1);
    if (last === undefined) return;
    this.log.acknowledge(streamC, last.seq);
    this.#ackedThrough = last.seq;
    for (const record of records) {
      this.memory.stored.delete(textOf(record));
      this.memory.held.delete(textOf(record));
    }
  }

  /** Throws when something reported is not there, or is there out of order, or under a name of another. */
  async check(): Promise<void> {
    // What is on its way arrives first, so that counts and records are of one moment.
    await this.clock.advance(1);
    const found = await this.readAll();
    let previous = this.#ackedThrough;
    for (const record of found) {
      if (record.seq <= previous) throw new Error(`${record.seq} after ${previous}`);
      previous = record.seq;
      this.memory.see(record);
    }
    const texts = new Set(found.map(textOf));
    for (const text of this.memory.stored)
      if (!texts.has(text)) throw new Error(`${text} was stored and is lost`);
    for (const text of this.memory.held)
      if (!texts.has(text)) throw new Error(`${text} was held and is lost`);
    const { memory, streams: counts } = this.log.stats();
    const stats = counts.get(streamC);
    if (stats === undefined || stats.pending + memory.held !== found.length) {
      throw new Error(`${found.length} are read, but ${JSON.stringify({ stats, memory })}`);
    }
    const account = this.damage.find(({ kind }) => kind === 'account');
    if (account !== undefined) throw new Error(account.message);
  }
}

const kinds = (results: readonly AppendResult[]): string[] => results.map(({ kind }) => kind);

void t.test('while the link is up nothing of class C is written', async (t) => {
  const disk = new SimulatedFilesystem();
  const bench = await Bench.open(disk);
  await bench.clock.advance(120_000);
  const heard: number[] = [];
  bench.log.onStored((record) => heard.push(record.seq));
  bench.log.setLinkUp(true);
  const before = disk.operationCount;
  for (let round = 0; round < 100; round++) {
    t.equal((await bench.append(200)).kind, 'held');
    await bench.clock.advance(400);
    const found = await bench.readAll();
    t.equal(found.length, 1);
    bench.acknowledge(found);
    await bench.clock.advance(2000);
  }
  t.equal(disk.operationCount, before, 'no operation at all');
  t.equal(heard.length, 100, 'each is told of once');
  t.match(bench.log.stats(), {
    stored: 0,
    delivered: 0,
    pending: 0,
    memory: { held: 0, heldBytes: 0, passed: 100 },
  });
  t.equal(bench.log.lastSeq(streamC), 100);
  await bench.log.close();
  const again = await Bench.open(disk, bench.memory, { seed: 2 });
  t.equal(again.log.logId, bench.log.logId, 'it ended in order');
  t.match(await again.append(), { kind: 'stored', record: { seq: 101 } }, 'until the link is known to be up');
  await again.check();
  t.match(again.log.stats(), { stored: 1, corrupt: 0, pending: 1 });
});

void t.test('when the link fails, and in every other need, it is stored in order', async (t) => {
  const needs: Record<string, (bench: Bench) => Promise<unknown>> = {
    'the link fails': (bench) => Promise.resolve(bench.log.setLinkUp(false)),
    'too long in memory': (bench) => bench.clock.advance(2000),
    'the caller asks': (bench) => bench.log.sync(),
    'memory is exceeded': (bench) => bench.append(2000),
    'the log is closed': (bench) => bench.log.close(),
  };
  for (const [what, need] of Object.entries(needs)) {
    for (const delivered of [0, 2]) {
      const disk = new SimulatedFilesystem();
      const limits = { ...small, heldBytesMax: bytes(1500) };
      const bench = await Bench.open(disk, new Memory(), { limits });
      bench.log.setLinkUp(true);
      for (let index = 0; index < 6; index++) t.equal((await bench.append(100)).kind, 'held');
      bench.acknowledge((await bench.readAll()).slice(0, delivered));
      await need(bench);
      await bench.clock.advance(50);
      if (what !== 'the log is closed') {
        await bench.check();
        t.match(bench.log.stats().memory, { held: 0, heldBytes: 0 }, what);
      }
      const after = await Bench.open(disk.crash(lose), bench.memory.copy(), { seed: 2, limits });
      const found = await after.readAll();
      t.same(found.map(({ seq }) => seq).slice(0, 6 - delivered), [1, 2, 3, 4, 5, 6].slice(delivered), what);
      t.equal(after.log.stats().corrupt, 0, 'what was delivered from memory is not lost');
      await after.check();
    }
  }
});

void t.test('a record is held only behind what is delivered or held', async (t) => {
  const bench = await Bench.open(new SimulatedFilesystem());
  const first = [bench.append(), bench.append()];
  await bench.clock.advance(0);
  bench.log.setLinkUp(true);
  const more = [bench.append(), bench.append()];
  await bench.clock.advance(100);
  t.same(kinds(await Promise.all([...first, ...more])), ['stored', 'stored', 'stored', 'stored']);
  bench.acknowledge((await bench.readAll()).slice(0, 3));
  const late = bench.append();
  await bench.clock.advance(100);
  t.equal((await late).kind, 'stored', 'one is not delivered yet');
  bench.acknowledge(await bench.readAll());
  t.match(await bench.append(20, streamC, 7), { kind: 'held', record: { seq: 6 } });
  t.equal((await bench.append(20, streamC, 7)).kind, 'duplicate');
  t.equal(bench.log.lastProducerSeq(streamC), 7);
  t.equal((await bench.log.get(streamC, seq(6)))?.seq, 6);
  bench.log.setLinkUp(false);
  const behind = [bench.append(), bench.append(), bench.append(20, streamC, 8), bench.append(20, streamC, 8)];
  await bench.clock.advance(200);
  t.same(kinds(await Promise.all(behind)), ['stored', 'stored', 'stored', 'duplicate'], 'in their order');
  await bench.check();
});

void t.test('a disk that fails leaves it in memory, and its numbers are not given again', async (t) => {
  for (const file of ['slots', 'cursor']) {
    const disk = new SimulatedFilesystem();
    const bench = await Bench.open(disk);
    bench.log.setLinkUp(true);
    for (let index = 0; index < 5; index++) await bench.append(100);
    bench.acknowledge((await bench.readAll()).slice(0, 2));
    disk.onOperation = ({ kind, path }) =>
      kind === 'datasync' && path.endsWith(file) ? { kind: 'error', errno: 'EIO' } : undefined;
    bench.log.setLinkUp(false);
    await bench.clock.advance(50);
    await bench.check();
    t.equal(bench.log.stats().memory.held, 3, file);
    t.match(await bench.append(), { kind: 'refused', reason: 'disk' });
    await bench.log.close();
    disk.onOperation = undefined;
    const after = await Bench.open(disk.crash(keep), bench.memory.copy(), { seed: 2 });
    t.not(after.log.logId, bench.log.logId);
    const more = after.append();
    await after.clock.advance(50);
    t.equal((await more).kind, 'stored');
    await after.check();
  }
});

void t.test('nothing is held before the cursor says that the run has begun', async (t) => {
  const disk = new SimulatedFilesystem();
  const bench = await Bench.open(disk);
  await bench.log.close();
  disk.onOperation = ({ kind, path }) =>
    kind === 'datasync' && path.endsWith('cursor') ? { kind: 'error', errno: 'EIO' } : undefined;
  const blind = await Bench.open(disk, bench.memory, { seed: 2 });
  t.equal(blind.log.logId, bench.log.logId);
  blind.log.setLinkUp(true);
  t.equal((await blind.append()).kind, 'stored', 'a cut would not be noticed');
  disk.onOperation = undefined;
  blind.acknowledge(await blind.readAll());
  await blind.clock.advance(3000);
  t.equal((await blind.append()).kind, 'held');
});

type Action =
  | { do: 'append'; count: number; size: number }
  | { do: 'other' | 'sync' | 'wait' | 'reopen' | 'kill' }
  | { do: 'acknowledge'; share: number }
  | { do: 'link'; isUp: boolean }
  | { do: 'fault'; file: 'slots' | 'cursor' | 'none' }
  | { do: 'cut'; seed: number; failing: number };

const anyAction: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('append' as const),
      count: fc.integer({ min: 1, max: 4 }),
      size: fc.integer({ min: 6, max: 900 }),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('acknowledge' as const),
      share: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('link' as const), isUp: fc.boolean() }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom(
        'other' as const,
        'sync' as const,
        'wait' as const,
        'reopen' as const,
        'kill' as const,
      ),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('fault' as const),
      file: fc.constantFrom('slots' as const, 'cursor' as const, 'none' as const),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('cut' as const), seed: fc.nat(), failing: fc.nat(12) }),
  },
);

/** Runs actions; throws for what a check finds. Returns how many records were held, and how many of them passed. */
async function play(actions: readonly Action[], mutant?: Mutant): Promise<{ held: number; passed: number }> {
  let disk = new SimulatedFilesystem();
  let seed = 1;
  const memory = new Memory();
  const sum = { held: 0, passed: 0 };
  const limits = { ...small, heldBytesMax: bytes(3000) };
  const open = async (): Promise<Bench> => {
    disk.onOperation = undefined;
    const next = await Bench.open(disk, memory, {
      seed: seed++,
      limits,
      ...(mutant === undefined ? {} : { mutant }),
    });
    next.log.setLinkUp(true);
    return next;
  };
  let bench = await open();
  for (const action of actions) {
    switch (action.do) {
      case 'append': {
        const all = Promise.all(Array.from({ length: action.count }, () => bench.append(action.size)));
        await Promise.all([all, bench.clock.advance(25)]);
        sum.held += (await all).filter(({ kind }) => kind === 'held').length;
        break;
      }
      case 'other':
        await bench.append(300, streamA);
        break;
      case 'acknowledge': {
        const found = await bench.readAll();
        bench.acknowledge(found.slice(0, Math.ceil(action.share * found.length)));
        break;
      }
      case 'link':
        bench.log.setLinkUp(action.isUp);
        break;
      case 'fault':
        disk.onOperation = ({ kind, path }) =>
          kind === 'datasync' && path.endsWith(action.file) ? { kind: 'error', errno: 'EIO' } : undefined;
        break;
      case 'sync':
        await bench.log.sync();
        break;
      case 'wait':
        await bench.clock.advance(1500);
        break;
      case 'reopen':
        await bench.log.close();
        for (const text of memory.held) memory.stored.add(text);
        if (bench.log.stats().memory.held > 0) for (const text of memory.held) memory.stored.delete(text);
        bench = await open();
        break;
      case 'kill':
      case 'cut': {
        if (action.do === 'cut') {
          // In the middle of what a failing link sets off.
          let left = action.failing;
          disk.onOperation = () => (left-- === 0 ? { kind: 'crash' } : undefined);
          bench.log.setLinkUp(false);
          await bench.clock.advance(30);
          disk = disk.crash(drawn(new SeededEntropy(action.seed)));
        }
        bench = await open();
        break;
      }
    }
    sum.passed = Math.max(sum.passed, bench.log.stats().memory.passed);
    await bench.check();
  }
  return sum;
}

void t.test('any mix of actions against the model', async (t) => {
  let held = 0;
  let passed = 0;
  const run = async (actions: readonly Action[]): Promise<void> => {
    const sum = await play(actions);
    held += sum.held;
    passed += sum.passed;
  };
  const mix = fc.array(anyAction, { minLength: 5, maxLength: 30 });
  await fc.assert(fc.asyncProperty(mix, run), { numRuns: 150 });
  t.ok(held > 300 && passed > 50, `${held} records were held, ${passed} delivered from memory`);
  const broken = async (actions: readonly Action[]): Promise<void> =>
    void (await play(actions, 'keepsLogId'));
  const found = await fc.check(fc.asyncProperty(mix, broken), { numRuns: 150, endOnFailure: true });
  t.match(String(found.errorInstance), /was .* and is/, 'the checks find a log that keeps its id over a cut');
});

/** Appends and deliveries from memory, a link that fails in the middle, and more. */
async function session(bench: Bench): Promise<void> {
  bench.log.setLinkUp(true);
  for (let index = 0; index < 4; index++) await bench.append(100 + 150 * index);
  bench.acknowledge((await bench.readAll()).slice(0, 2));
  await bench.append(300, streamA);
  bench.log.setLinkUp(false);
  const more = [bench.append(200), bench.append(200)];
  await bench.clock.advance(30);
  await Promise.all(more);
  bench.acknowledge((await bench.readAll()).slice(0, 6));
  bench.log.setLinkUp(true);
  await bench.append(80);
  bench.acknowledge(await bench.readAll());
  await bench.append(90);
  await bench.log.close();
}

void t.test('a power cut at any operation', async (t) => {
  const disk = new SimulatedFilesystem();
  const memory = new Memory();
  const states: { image: SimulatedFilesystem; facts: Memory }[] = [];
  const entropy = new SeededEntropy(11);
  const bench = await Bench.open(disk, memory);
  disk.onOperation = () => {
    for (const choose of [lose, keep, drawn(entropy), drawn(entropy)]) {
      states.push({ image: disk.crash(choose), facts: memory.copy() });
    }
    return undefined;
  };
  await session(bench);
  for (const [index, { image, facts }] of states.entries()) {
    const next = await Bench.open(image, facts, { seed: index + 2 });
    await next.check();
    next.log.setLinkUp(true);
    const more = [next.append(50), next.append(50)];
    await next.clock.advance(50);
    await Promise.all(more);
    await next.check();
  }
  t.ok(states.length > 60, `seed ${entropy.seed}, ${states.length} states`);
});

void t.test('class C grows old in memory like on the disk', async (t) => {
  const ageing: readonly StreamOptions[] = [
    { name: streamA, durability: 'A', priority: 1 },
    { name: streamC, durability: 'C', priority: 1, lingerMs: millis(0), ttlMs: millis(600) },
  ];
  const bench = await Bench.open(new SimulatedFilesystem(), new Memory(), {
    streams: ageing,
    limits: { ...small, heldMsMax: millis(60_000) },
  });
  bench.log.setLinkUp(true);
  await bench.append();
  await bench.clock.advance(400);
  await bench.append();
  await bench.clock.advance(300);
  t.same(
    (await bench.readAll()).map((record) => record.seq),
    [2 as Seq],
  );
  t.match(bench.log.stats(), { stored: 0, evicted: 0, memory: { held: 1, dropped: 1 } });
});

void t.test('a full log marks as backlog what it has, and what is held stays live', async (t) => {
  const bench = await Bench.open(new SimulatedFilesystem(), new Memory(), {
    limits: { ...small, quotaBytes: bytes(3 * 4096), heldMsMax: millis(60_000) },
  });
  bench.log.setLinkUp(true);
  for (let count = 0; count < 40; count++) await bench.append(700);
  bench.log.setLinkUp(false);
  await bench.clock.advance(50);
  const { stored, memory } = bench.log.stats();
  t.ok(stored > 0 && memory.held > 0, `${stored} stored, ${memory.held} held`);
  t.equal(await bench.log.markBacklog(streamC, bench.log.lastSeq(streamC)), true);
  t.equal(bench.log.backlogThrough(streamC), stored);
  const all = await bench.readAll();
  t.equal(all.length, 40);
  t.equal(
    bench.log.acknowledge(streamC, seq(40), seq(stored + 1)),
    false,
    'held records wait for those before',
  );
  t.equal(bench.log.acknowledge(streamC, seq(stored)), true);
  t.equal(bench.log.acknowledge(streamC, seq(40)), true);
  t.same(await bench.log.peek(streamC, 10), []);
});
