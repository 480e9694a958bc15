// Proves what bounds the log in time and space: every record knows its boot; the time of the log never makes a record
// older than it is, whatever wall clocks say, and counts the time between boots where trustworthy clocks prove it;
// what is past its time to live goes, in order, with and without a reader, and is told; who gives way to whom in a full
// log, at a cost that does not grow with it; and that these checks find a log that expires by the wall clock, or ignores
// its reserve.
import * as fc from 'fast-check';
import t from 'tap';
import { ConfigError } from '../../src/base/errors.ts';
import { bytes, millis, unixMillis } from '../../src/base/units.ts';
import type { TimeSource } from '../../src/base/wall-stamp.ts';
import type { StreamOptions } from '../../src/buffer/log-options.ts';
import { LogTime } from '../../src/buffer/log-time.ts';
import { SlotChains } from '../../src/buffer/slot-chains.ts';
import { emptySlot } from '../../src/buffer/slot.ts';
import type { Slot } from '../../src/buffer/slot.ts';
import type { Clock } from '../../src/host/clock.ts';
import type { SimulatedClock } from '../../src/testbed/simulated-clock.ts';
import { SimulatedFilesystem } from '../../src/testbed/simulated-filesystem.ts';
import { World, Witness, keep, streamA, streamB, streamC } from './world.ts';

const bootA = 'aaaaaaaa-0000-4000-8000-00000000000a';
const bootB = 'bbbbbbbb-0000-4000-8000-00000000000b';
const digits = (bootId: string): string => bootId.replaceAll('-', '');

void t.test('each record knows the boot in which it was stored', async (t) => {
  const disk = new SimulatedFilesystem();
  const witness = new Witness();
  const bootIds = async (world: World): Promise<(string | undefined)[]> =>
    (await world.readAll(streamA)).map((record) => record.bootId);
  const first = await World.open(disk, witness, { bootId: bootA });
  await first.append(streamA, 3000);
  t.same(await bootIds(first), [digits(bootA)]);
  await first.log.close();
  const second = await World.open(disk, witness, { seed: 2, bootId: bootB });
  for (let index = 0; index < 3; index++) await second.append(streamA, 3000);
  const third = await World.open(disk, witness, { seed: 3 });
  await third.append(streamA, 10);
  const fourth = await World.open(disk.crash(keep), witness, { seed: 4, bootId: bootA });
  const expected = [bootA, bootB, bootB, bootB].map(digits);
  t.same(
    await bootIds(fourth),
    [...expected, undefined],
    'from open slots, closed ones, and of a run without',
  );
  const [row] = [...disk.paths()].filter((path) => path.endsWith('/cursor'));
  const blind = disk.crash(keep);
  for (const sector of [0, 128]) blind.zeroSector(row ?? '', sector);
  t.same(await bootIds(await World.open(blind, witness, { seed: 5 })), [...expected, undefined], 'no cursor');
  await t.rejects(World.open(disk, witness, { bootId: 'last tuesday' }), ConfigError);
});

/** A past of several boots, with what every clock said, and the ages that follow from it. */
interface Past {
  readonly boots: readonly {
    readonly offMs: number;
    readonly isBootKnown: boolean;
    readonly wallErrorMs: number;
    readonly runs: readonly {
      readonly waitMs: number;
      readonly source: TimeSource;
      readonly boundMs: number;
    }[];
  }[];
}

const anyPast: fc.Arbitrary<Past> = fc.record({
  boots: fc.array(
    fc.record({
      offMs: fc.integer({ min: 0, max: 1e9 }),
      isBootKnown: fc.boolean(),
      wallErrorMs: fc.integer({ min: -1e12, max: 1e12 }),
      runs: fc.array(
        fc.record({
          waitMs: fc.integer({ min: 0, max: 1e7 }),
          source: fc.constantFrom<TimeSource>('gps', 'ntp', 'cse', 'restored', 'system'),
          boundMs: fc.integer({ min: 0, max: 5000 }),
        }),
        { minLength: 1, maxLength: 4 },
      ),
    }),
    { minLength: 1, maxLength: 20 },
  ),
});

void t.test('the time of the log makes no record older than it is, and never goes back', (t) => {
  let proven = 0;
  let exact = 0;
  const run = ({ boots }: Past): void => {
    let time = new LogTime(undefined);
    let trueMs = 1e12;
    let runNumber = 0;
    let previousMs = 0;
    const taken: { runId: string; monotonicMs: number; trueMs: number; boot: number }[] = [];
    for (const [boot, { offMs, isBootKnown, wallErrorMs, runs }] of boots.entries()) {
      trueMs += offMs;
      const bootMs = trueMs;
      for (const { waitMs, source, boundMs } of runs) {
        trueMs += 1 + waitMs;
        time = new LogTime(
          JSON.parse(JSON.stringify(time.state(lastOf(taken)))) as ConstructorParameters<typeof LogTime>[0],
        );
        time.begin(++runNumber, isBootKnown ? `${boot}` : undefined, trueMs - bootMs);
        trueMs += waitMs;
        const isTrue = source === 'gps' || source === 'ntp' || source === 'cse';
        // A source that is told the time keeps its bound; any other may be anywhere.
        const errorMs = isTrue ? boundMs : wallErrorMs;
        const wall = { unixMs: unixMillis(trueMs + errorMs), errorBoundMs: millis(boundMs), source };
        const monotonicMs = trueMs - bootMs;
        time.noteWall(wall, monotonicMs);
        taken.push({ runId: runNumber.toString(16), monotonicMs, trueMs, boot });
        const nowMs = time.nowMs(monotonicMs);
        if (nowMs < previousMs - 1) throw new Error(`log time went back from ${previousMs} to ${nowMs}`);
        previousMs = nowMs;
        for (const record of taken) {
          const age = time.ageOf(record, nowMs);
          const trueAgeMs = trueMs - record.trueMs;
          // The cursor keeps whole milliseconds, once per run.
          if (age.ageMs > trueAgeMs + 2 * taken.length)
            throw new Error(`${age.ageMs} of ${trueAgeMs} ms old`);
          if (age.isExact && Math.abs(age.ageMs - trueAgeMs) > 1) throw new Error('not exact');
          if (age.isExact) exact += 1;
          else if (age.ageMs > trueAgeMs / 2 && trueAgeMs > 0) proven += 1;
        }
      }
    }
  };
  const lastOf = (taken: readonly { monotonicMs: number }[]): number => taken.at(-1)?.monotonicMs ?? 0;
  fc.assert(fc.property(anyPast, run), { numRuns: 500 });
  t.ok(
    proven > 1000 && exact > 1000,
    `${exact} ages are exact, ${proven} others at least half of the true one`,
  );
  t.end();
});

const ttlStreams: readonly StreamOptions[] = [
  { name: streamA, durability: 'A', priority: 1, ttlMs: millis(10_000) },
  { name: streamB, durability: 'A', priority: 1 },
  { name: streamC, durability: 'A', priority: 5, ttlMs: millis(3_600_000) },
];
const limits = { quotaBytes: bytes(24 * 4096), segmentBytesMax: bytes(4096) };

void t.test('what is past its time to live is not read any more, in order, and told', async (t) => {
  const world = await World.open(new SimulatedFilesystem(), new Witness(), { streams: ttlStreams, limits });
  const numbers = async (): Promise<number[]> => (await world.readAll(streamA)).map(({ seq }) => seq);
  for (let index = 0; index < 8; index++) {
    await world.append(streamA, 1000);
    await world.append(streamB, 500);
    await world.clock.advance(1000);
  }
  t.same(await numbers(), [1, 2, 3, 4, 5, 6, 7, 8]);
  await world.clock.advance(2000);
  t.same(await numbers(), [2, 3, 4, 5, 6, 7, 8], 'at its limit to the millisecond');
  t.match(world.evictions, [
    {
      stream: streamA,
      priority: 1,
      count: 1,
      fromSeq: 1,
      toSeq: 1,
      reason: 'expired',
      firstUnixMs: 1e12,
      lastUnixMs: 1e12,
      oldestAgeMs: 10_000,
      newestAgeMs: 10_000,
      isAgeExact: true,
    },
  ]);
  world.acknowledge(streamA, 2);
  await world.clock.advance(2500);
  t.same(
    (await world.log.peek(streamA, 9, 6 as never)).map(({ seq }) => seq),
    [7, 8],
    'ahead of the oldest',
  );
  t.same(await numbers(), [4, 5, 6, 7, 8]);
  const counts = (): object => world.log.stats().streams.get(streamA) ?? {};
  t.match(counts(), { stored: 8, delivered: 1, evicted: 2, pending: 5, isAgeExact: true });
  await world.clock.advance(60_000);
  t.match(counts(), { stored: 8, delivered: 1, evicted: 7, pending: 0 }, 'also when nobody reads');
  t.equal(
    world.evictions.reduce((sum, { count }) => sum + count, 0),
    7,
  );
  t.match(world.log.stats().streams.get(streamB), { stored: 8, pending: 8, evicted: 0 });
  await world.check();
  await world.log.close();
  t.equal(world.clock.pendingCount, 0, 'no timer is left');
});

/** Records that age while wall clocks step and the machine restarts; what is left of them, and when they went. */
async function ageing(spoil?: (clock: SimulatedClock) => Clock): Promise<string[]> {
  const failures: string[] = [];
  const disk = new SimulatedFilesystem();
  const witness = new Witness();
  const options = { streams: ttlStreams, limits, ...(spoil === undefined ? {} : { clock: spoil }) };
  const expect = async (world: World, count: number, what: string): Promise<void> => {
    const found = (await world.readAll(streamC)).length;
    if (found !== count) failures.push(`${what}: ${found} records, not ${count}`);
  };
  const first = await World.open(disk, witness, { ...options, bootId: bootA });
  await first.append(streamC, 100);
  first.clock.stepWall(86_400_000);
  await first.clock.advance(1000);
  await expect(first, 1, 'a wall clock that steps a day ahead makes nothing old');
  first.clock.stepWall(-86_400_000 * 400);
  await first.clock.advance(1_200_000);
  await first.append(streamC, 100);
  await expect(first, 2, 'nor one that steps back');

  const again = await World.open(disk, witness, { ...options, seed: 2, bootId: bootA, startMs: 2_400_000 });
  again.clock.stepWall(86_400_000 * 30);
  await expect(again, 2, 'a restart of the process in the same boot');
  const { oldestUnacknowledgedMs, isAgeExact } = again.log.stats();
  if (!isAgeExact || oldestUnacknowledgedMs !== 2_400_000) failures.push(`${oldestUnacknowledgedMs} ms old`);
  await again.clock.advance(1_200_000);
  await expect(again, 1, 'time goes on over it');
  await again.log.close();

  const other = await World.open(disk, witness, { ...options, seed: 3, bootId: bootB, startMs: 30_000 });
  other.clock.stepWall(-86_400_000 * 5000);
  await expect(other, 1, 'after a restart of the machine of unknown length');
  if (other.log.stats().isAgeExact) failures.push('the age is not exact');
  await other.clock.advance(1_140_000);
  await expect(other, 1, 'only time in which the machine was on counts');
  await other.clock.advance(40_000);
  await expect(other, 0, 'and that does count');
  return failures;
}

void t.test('age is time in which the machine was on; wall clocks make nothing old or young', async (t) => {
  t.same(await ageing(), []);
  const byWall = (clock: SimulatedClock): Clock => ({
    monotonicMs: () => millis(clock.unixMs() - Date.UTC(2026, 0, 1)),
    unixMs: () => clock.unixMs(),
    schedule: (delayMs, action) => clock.schedule(delayMs, action),
  });
  t.ok((await ageing(byWall)).length > 1, 'the check finds a log that goes by the wall clock');
});

void t.test('the time between two boots counts as far as two trustworthy clocks prove it', async (t) => {
  const rows = [
    { source: 'gps', laterMs: 3_700_000, boundMs: 5, left: 0, what: 'proven' },
    { source: 'gps', laterMs: 3_500_000, boundMs: 5, left: 1, what: 'too short' },
    { source: 'gps', laterMs: 3_700_000, boundMs: 120_000, left: 1, what: 'not sure enough' },
    { source: 'system', laterMs: 86_400_000, boundMs: 5, left: 1, what: 'not trustworthy' },
    { source: 'gps', laterMs: -5_000_000, boundMs: 5, left: 1, what: 'a clock that went back' },
  ] as const;
  for (const { source, laterMs, boundMs, left, what } of rows) {
    const disk = new SimulatedFilesystem();
    const first = await World.open(disk, new Witness(), { streams: ttlStreams, limits, bootId: bootA });
    await first.append(streamC, 100);
    await first.clock.advance(2000);
    const second = await World.open(disk, first.witness, {
      seed: 2,
      streams: ttlStreams,
      limits,
      bootId: bootB,
    });
    t.equal((await second.readAll(streamC)).length, 1);
    await second.log.append({
      stream: streamB,
      payload: Buffer.from('b'),
      monotonicMs: second.clock.monotonicMs(),
      wall: { unixMs: unixMillis(1e12 + laterMs), errorBoundMs: millis(boundMs), source },
    });
    t.equal((await second.readAll(streamC)).length, left, what);
  }
});

const three: readonly StreamOptions[] = [
  { name: streamA, durability: 'A', priority: 1 },
  { name: streamB, durability: 'A', priority: 1, whenFull: 'refuse' },
  { name: streamC, durability: 'A', priority: 5 },
];

/** What is wrong with a reserve of half the log: the highest priority must find it free, and the others keep out. */
async function reserveFailure(isIgnored: boolean): Promise<string | undefined> {
  const quotaBytes = bytes(16 * 4096);
  const reserveBytes = bytes(isIgnored ? 0 : 8 * 4096);
  const bounded = { quotaBytes, reserveBytes, segmentBytesMax: bytes(4096) };
  const world = await World.open(new SimulatedFilesystem(), new Witness(), {
    streams: three,
    limits: bounded,
  });
  for (let count = 0; count < 60; count++) await world.append(streamA, 900);
  const { usedBytes } = world.log.stats();
  if (usedBytes > 8 * 4096) return `${usedBytes} bytes of records that may not have the reserve`;
  const before = world.evictions.length;
  for (let count = 0; count < 12; count++) await world.append(streamC, 900);
  if (world.evictions.length > before) return 'room was made though the reserve was free';
  for (let count = 0; count < 60; count++) await world.append(streamC, 900);
  const { streams, usedBytes: all } = world.log.stats();
  if (streams.get(streamA)?.pending !== 0) return 'the highest priority does not get the rest';
  if (all < 15 * 4096) return `only ${all} bytes are used`;
  if ((await world.append(streamA, 900)).kind === 'stored') return 'a lower priority gets in';
  await world.check();
  await world.log.close();
  // Taken back where it is too much.
  const again = await World.open(world.filesystem, world.witness, {
    seed: 2,
    streams: three,
    limits: bounded,
  });
  again.acknowledge(streamC, again.log.lastSeq(streamC));
  await again.sync();
  for (let count = 0; count < 30; count++) await again.append(streamA, 900);
  await again.check();
  const { usedBytes: late } = again.log.stats();
  return late > 9 * 4096 ? `${late} bytes after the reserve was free again` : undefined;
}

void t.test('a reserve is for the highest priority alone', async (t) => {
  t.equal(await reserveFailure(false), undefined);
  t.match(await reserveFailure(true), /may not have the reserve/, 'the check finds a log that ignores it');
  const wrong = { quotaBytes: bytes(65_536), reserveBytes: bytes(40_000) };
  await t.rejects(World.open(new SimulatedFilesystem(), new Witness(), { limits: wrong }), {
    message: /at most half of quotaBytes, 32768/,
  });
});

void t.test('a stream that must not lose anything gives way to higher priorities alone', async (t) => {
  const limits = { quotaBytes: bytes(8 * 4096), segmentBytesMax: bytes(4096) };
  const world = await World.open(new SimulatedFilesystem(), new Witness(), { streams: three, limits });
  for (let count = 0; count < 6; count++) await world.append(streamB, 900);
  for (let count = 0; count < 60; count++) await world.append(streamA, 900);
  const pending = (name: typeof streamA): number => world.log.stats().streams.get(name)?.pending ?? 0;
  t.equal(pending(streamB), 6, 'none for records of its own priority');
  t.ok(world.log.stats().streams.get(streamA)?.evicted, 'which give up their own');
  for (let count = 0; count < 60; count++) await world.append(streamC, 900);
  t.equal(pending(streamB), 0, 'all for those of a higher one');
  await world.check();
});

void t.test(
  'a slot that a run goes on with counts with its priority, though nothing in it was pending',
  async (t) => {
    const limits = { quotaBytes: bytes(8 * 4096), segmentBytesMax: bytes(4096) };
    const disk = new SimulatedFilesystem();
    const world = await World.open(disk, new Witness(), { streams: three, limits });
    await world.append(streamA, 10);
    await world.append(streamC, 10);
    world.acknowledge(streamA, 1);
    world.acknowledge(streamC, 1);
    await world.log.close();
    const again = await World.open(disk, world.witness, { seed: 2, streams: three, limits });
    for (let count = 0; count < 2; count++) await again.append(streamC, 10);
    for (let count = 0; count < 60; count++) await again.append(streamA, 900);
    const { streams } = again.log.stats();
    t.equal(streams.get(streamC)?.pending, 2, 'a higher priority gives nothing to a lower one');
    t.ok(streams.get(streamA)?.evicted);
    await again.check();
  },
);

void t.test('a stream keeps its order when it is given another priority', async (t) => {
  const disk = new SimulatedFilesystem();
  const world = await World.open(disk, new Witness(), { streams: three });
  await world.append(streamC, 100);
  await world.append(streamA, 100);
  await world.append(streamA, 100);
  const raised = three.map((stream) => ({ ...stream, priority: 5 }));
  for (const seed of [2, 3]) {
    const next = await World.open(disk, world.witness, { seed, streams: raised });
    await next.append(streamA, 100);
    await next.check();
    t.equal((await next.readAll(streamA)).length, 1 + seed);
  }
});

/** Links looked at per record in a log of `count` slots that is always full. */
function visitsPerRecord(count: number): number {
  const perSlot = 4;
  const floors = new Map([streamA, streamB, streamC].map((name) => [name, 0]));
  const chains = new SlotChains(
    new Map(three.map((stream) => [stream.name, stream])),
    [],
    (name, span) => span.last <= (floors.get(name) ?? 0),
  );
  const seqs = new Map(floors);
  let life = 0;
  let records = 0;
  const held = new Set<Slot>();
  const begin = (name: typeof streamA, priority: number): void => {
    life += 1;
    const place = { index: life, sizeBytes: 4096, container: 'test', life, nonce: life, priority, run: 1 };
    const slot = { ...emptySlot(place), state: 'open' as Slot['state'] };
    chains.add(slot, priority);
    held.add(slot);
    const stamp = { monotonicMs: 0, unixMs: 0, runId: '1' };
    const first = (seqs.get(name) ?? 0) + 1;
    const last = first + perSlot - 1;
    const producer = { firstProducerSeq: undefined, lastProducerSeq: undefined };
    slot.spans.set(name, { first, last, firstStamp: stamp, lastStamp: stamp, ...producer });
    for (let index = 0; index < perSlot; index++) chains.noteStored(slot, name);
    seqs.set(name, last);
    records += perSlot;
    slot.state = 'closed';
    chains.noteClosed(slot);
  };
  for (let turn = 0; turn < 3 * count; turn++) {
    const [name, priority] = turn % 2 === 0 ? ([streamA, 1] as const) : ([streamC, 5] as const);
    while (held.size >= count) {
      const victim = chains.victim(priority, new Set());
      if (victim === undefined) break;
      for (const [stream, { last }] of victim.spans) {
        floors.set(stream, Math.max(last, floors.get(stream) ?? 0));
        chains.noteSettled(stream, floors.get(stream) ?? 0);
      }
      for (const slot of chains.settled()) {
        chains.remove(slot);
        held.delete(slot);
      }
    }
    if (held.size < count) begin(name, priority);
  }
  return chains.visits / records;
}

void t.test('making room costs the same in a log of any size', async (t) => {
  const [small, large] = [visitsPerRecord(16), visitsPerRecord(4096)];
  t.ok(large < 4 && large < 1.5 * small, `${small} and ${large} links are looked at per record`);
  const operations = async (slots: number): Promise<number> => {
    const limits = { quotaBytes: bytes(slots * 4096), segmentBytesMax: bytes(4096) };
    const disk = new SimulatedFilesystem();
    const world = await World.open(disk, new Witness(), { streams: three, limits });
    for (let count = 0; count < 6 * slots; count++) await world.append(streamA, 900);
    const before = disk.operationCount;
    for (let count = 0; count < 60; count++) await world.append(streamA, 900);
    return (disk.operationCount - before) / 60;
  };
  t.equal(await operations(8), await operations(64), 'and the same file operations');
});
