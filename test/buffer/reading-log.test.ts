// Proves what the log promises its callers: numbers, order, group commit, repeats, refusals, eviction, the account over
// restarts; that one failed file operation anywhere loses nothing reported stored; and, against a model, that any mix
// of appends, reads, acknowledgements, evictions, closes, kills and power cuts keeps B1 to B5.
import * as fc from 'fast-check';
import t from 'tap';
import { bytes, millis, seq, streamName, unixMillis } from '../../src/base/units.ts';
import type { StreamName } from '../../src/base/units.ts';
import { ConfigError } from '../../src/base/errors.ts';
import type { StreamOptions } from '../../src/buffer/log-options.ts';
import { CursorFile, settledRangesMax, streamsMax } from '../../src/buffer/cursor-file.ts';
import type { CursorState } from '../../src/buffer/cursor-file.ts';
import { recordName } from '../../src/buffer/record.ts';
import type { LedgerState } from '../../src/buffer/stream-ledger.ts';
import { FileError } from '../../src/host/filesystem.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';
import { SimulatedFilesystem } from '../../src/testbed/simulated-filesystem.ts';
import type { FileFault } from '../../src/testbed/simulated-filesystem.ts';
import { mutate } from './mutants.ts';
import {
  World,
  Witness,
  drawn,
  everyChoice,
  keep,
  lose,
  names,
  smallLimits,
  streamA,
  streamB,
  streamC,
  streams,
  textOf,
} from './world.ts';

void t.test('what nobody takes is given up, and counts as evicted', async (t) => {
  const world = await World.open(new SimulatedFilesystem());
  const { log } = world;
  for (let index = 0; index < 4; index++) await world.append(streamA, 10);
  log.acknowledge(streamA, seq(1));
  log.giveUp(streamA, seq(3));
  log.giveUp(streamA, seq(2));
  t.match(log.stats(), { stored: 4, delivered: 1, evicted: 2, pending: 1 });
  t.same(
    (await log.peek(streamA, 9)).map((record) => record.seq),
    [4],
  );
  await log.close();
  const again = await World.open(world.filesystem);
  t.match(again.log.stats(), { stored: 4, delivered: 1, evicted: 2, pending: 1 }, 'also after a restart');
  await again.log.close();
});

void t.test('what the disk does not let be read now stays pending', async (t) => {
  const disk = new SimulatedFilesystem();
  const witness = new Witness();
  const world = await World.open(disk, witness);
  const { log } = world;
  for (let index = 0; index < 24; index++) await world.append(streamA, 900);
  const numbers = async (max: number): Promise<number[]> => (await log.peek(streamA, max)).map((r) => r.seq);
  t.same(await numbers(2), [1, 2]);
  disk.onOperation = ({ kind }) => (kind === 'read' ? { kind: 'error', errno: 'EIO' } : undefined);
  await t.rejects(log.peek(streamA, 3), { name: 'UnreadableError', code: 'IO', message: /EIO/ });
  await t.rejects(log.get(streamA, seq(5)), { name: 'UnreadableError' });
  t.equal(log.firstPending(streamA), 1);
  t.equal(log.firstPending(streamA, seq(7)), 8);
  await world.clock.advance(300_000);
  await t.rejects(log.peek(streamA, 3), { name: 'UnreadableError' });
  disk.onOperation = undefined;
  t.equal((await numbers(30)).length, 24);
  t.match(log.stats(), { pending: 24, corrupt: 0 });
  t.same(world.damage, []);

  // One page that is worn out: what lies before it can be read, and after a long time what lies behind it.
  const bad = 3;
  disk.onOperation = ({ kind, path, position, length }) => {
    const isBad = position < 4096 * (bad + 1) && position + length > 4096 * bad;
    return kind === 'read' && path.endsWith('/slots') && isBad ? { kind: 'error', errno: 'EIO' } : undefined;
  };
  const first = (await log.peek(streamA, 30)).map((record) => record.seq);
  t.ok(first.length > 0 && first.length < 24, `${first.length} records`);
  const next = seq((first.at(-1) ?? 0) + 1);
  await t.rejects(log.peek(streamA, 30, first.at(-1)), { name: 'UnreadableError' });
  await world.clock.advance(599_000);
  await t.rejects(log.peek(streamA, 30, first.at(-1)), { name: 'UnreadableError' }, 'not given up lightly');
  t.same(world.damage, []);
  await world.clock.advance(1000);
  const behind = await log.peek(streamA, 30, first.at(-1));
  t.ok((behind[0]?.seq ?? 0) > next, 'what lasts is damage');
  t.match(world.damage, [{ kind: 'records', stream: streamA }]);
  world.checkCounts(streamA, first.length + behind.length);
  disk.onOperation = undefined;

  // A disk that cannot be read for seconds when the log is opened.
  const again = disk.crash(keep);
  const clock = new SimulatedClock();
  again.onOperation = ({ kind }) =>
    kind === 'read' && clock.monotonicMs() < 8000 ? { kind: 'error', errno: 'EIO' } : undefined;
  const opened = await World.open(again, witness.snapshot(), { seed: 2, driver: clock });
  t.same(
    opened.damage.filter(({ kind }) => kind !== 'tail'),
    [],
  );
  t.equal((await opened.readAll(streamA)).length, 24, 'nothing is taken for lost');
});

void t.test('new records are acknowledged while older ones are pending', async (t) => {
  const limits = { quotaBytes: bytes(12 * 4096), segmentBytesMax: bytes(4096) };
  const disk = new SimulatedFilesystem();
  const world = await World.open(disk, new Witness(), { limits });
  const { log } = world;
  const pending = async (): Promise<number[]> => (await world.readAll(streamA)).map(({ seq }) => seq);
  for (let index = 0; index < 20; index++) {
    await world.append(streamA, 900);
    await world.clock.advance(100);
  }
  const usedBytes = log.stats().usedBytes;
  t.ok(world.acknowledgeRange(streamA, 6, 13));
  t.ok(world.acknowledgeRange(streamA, 12, 14), 'what was settled before counts once');
  t.match(log.stats(), { delivered: 9, pending: 11, evicted: 0, oldestUnacknowledgedMs: 2000 });
  t.same(await pending(), [1, 2, 3, 4, 5, 15, 16, 17, 18, 19, 20]);
  t.same(
    (await log.peek(streamA, 3, seq(4))).map((record) => record.seq),
    [5, 15, 16],
    'one look reads over the range',
  );
  await log.sync();
  t.ok(log.stats().usedBytes < usedBytes, 'slots of the range alone are free');
  t.ok(log.giveUp(streamA, seq(18), seq(16)));
  t.match(log.stats(), { delivered: 9, evicted: 3, pending: 8 });
  t.equal(await log.markBacklog(streamA, seq(15)), true);
  await log.close();

  const again = await World.open(disk, world.witness, { limits, seed: 2 });
  t.match(again.log.stats(), { stored: 20, delivered: 9, evicted: 3, corrupt: 0, pending: 8 });
  t.equal(again.log.backlogThrough(streamA), 15);
  again.acknowledge(streamA, 5);
  t.match(again.log.stats(), { delivered: 14, pending: 3 });
  t.same(
    (await again.readAll(streamA)).map((record) => record.seq),
    [15, 19, 20],
  );
  again.acknowledge(streamA, 20);
  t.match(again.log.stats(), { delivered: 17, evicted: 3, pending: 0, oldestUnacknowledgedMs: undefined });
  await again.sync();
  await again.check();
});

void t.test('ranges are bounded, and what is evicted or missing inside counts once', async (t) => {
  const disk = new SimulatedFilesystem();
  const world = await World.open(disk);
  const { log } = world;
  for (let index = 0; index < 70; index++) await world.append(streamA, 10);
  for (let number = 2; number <= 64; number += 2) t.ok(world.acknowledgeRange(streamA, number, number));
  const before = log.stats();
  t.notOk(world.acknowledgeRange(streamA, 66, 66), 'the 33rd has no place');
  t.match(log.stats(), before, 'and changes nothing');
  t.notOk(log.giveUp(streamA, seq(66), seq(66)));
  t.ok(world.acknowledgeRange(streamA, 65, 66), 'one that joins another needs none');
  world.acknowledge(streamA, 3);
  t.ok(world.acknowledgeRange(streamA, 69, 69), 'and one that the floor has reached is free again');
  await world.check();
  await log.close();
  const again = await World.open(disk, world.witness, { seed: 2 });
  t.match(again.log.stats(), { pending: log.stats().pending, delivered: log.stats().delivered });

  const damaged = new SimulatedFilesystem();
  const other = await World.open(damaged);
  for (let index = 0; index < 9; index++) await other.append(streamA, 500);
  await other.log.close();
  const at = Buffer.from(damaged.contentOf('/data/buffer/slots')).indexOf('a5.');
  damaged.flipBit('/data/buffer/slots', at * 8);
  const found = await World.open(damaged, other.witness, { seed: 2 });
  t.same(
    (await found.readAll(streamA)).map((record) => record.seq),
    [1, 2, 3, 4, 5, 7, 8, 9],
  );
  t.ok(found.acknowledgeRange(streamA, 4, 8));
  t.match(found.log.stats(), { delivered: 4, corrupt: 1, pending: 4 });
  found.log.giveUp(streamA, seq(9));
  t.match(found.log.stats(), { delivered: 4, evicted: 4, corrupt: 1, pending: 0 });
});

void t.test(
  'a full log whose cursor cannot be written gives up nothing for a slot that is settled',
  async (t) => {
    const limits = { quotaBytes: bytes(8 * 4096), segmentBytesMax: bytes(4096) };
    const disk = new SimulatedFilesystem();
    const world = await World.open(disk, new Witness(), { limits });
    for (let index = 0; index < 14; index++) await world.append(streamA, 900);
    t.ok(world.acknowledgeRange(streamA, 5, 10));
    disk.onOperation = ({ kind, path }) =>
      kind === 'write' && path.endsWith('/cursor') ? { kind: 'error', errno: 'EIO' } : undefined;
    for (let index = 0; index < 8; index++) await world.append(streamA, 900);
    t.match(await world.append(streamA, 900), { kind: 'refused', reason: 'disk' });
    t.equal(world.log.stats().evicted, 0);
    t.same(
      (await world.readAll(streamA)).slice(0, 5).map((record) => record.seq),
      [1, 2, 3, 4, 11],
    );
    disk.onOperation = undefined;
    t.equal((await world.append(streamA, 900)).kind, 'stored');
    await world.check();
  },
);

void t.test('a cursor record holds as many streams and ranges as are allowed', async (t) => {
  const filesystem = new SimulatedFilesystem();
  await filesystem.createDirectory('/data');
  const { file } = await CursorFile.open(filesystem, '/data');
  // More than 30 years of ten records a second, and more slots than a card lives through.
  const large = 9_999_999_999;
  const life = 99_999_999;
  const counts = { floor: large, last: large, base: large, delivered: large, evicted: large, corrupt: large };
  const range = { from: large, to: large };
  const rows = Array.from({ length: streamsMax }, (_, at): [string, LedgerState] => [
    String(at).padStart(64, 'x'),
    {
      ...counts,
      lastProducerSeq: large,
      backlogThrough: at < settledRangesMax ? large : 0,
      settled: at < settledRangesMax ? [range] : [],
    },
  ]);
  const state: CursorState = {
    slotBytes: 4 * 1024 * 1024,
    nextLife: life,
    seqBase: large,
    isClosed: false,
    identities: {
      run: 999_999,
      logIds: Array.from({ length: 128 }, () => [999_999, 'ffffffff'] as const),
      streamIds: rows.map(([name], at) => [at, name] as const),
    },
    fences: new Map(Array.from({ length: 128 }, (_, at) => [life - at, 4_194_304])),
    tails: new Map(),
    streams: new Map(rows),
    time: {
      lastMs: large * 1000,
      lastRun: 999_999,
      boots: Array.from(
        { length: 16 },
        () =>
          [
            999_999,
            'f'.repeat(32),
            large * 1000,
            large * 1000,
            [-large * 1000, large * 1000, large * 1000],
          ] as const,
      ),
    },
    wear: { payloadBytes: large * 1000, deviceBytes: large * 1000, commits: large, flushes: large },
  };
  await file.write(state);
  await file.close();
  const again = await CursorFile.open(filesystem, '/data');
  t.same([...(again.state?.streams ?? [])], rows);
});

void t.test('append, peek, get, acknowledge', async (t) => {
  const limits = { quotaBytes: bytes(10 * 131_072), segmentBytesMax: bytes(131_072) };
  const world = await World.open(new SimulatedFilesystem(), new Witness(), { limits });
  const { log } = world;
  const heard: string[] = [];
  const stop = log.onStored((record) => heard.push(recordName(record.logId, record.seq)));
  for (let index = 0; index < 10; index++) await world.append(streamA, 500);
  stop();
  await world.append(streamC, 70_000 - 6000);
  t.match(log.logId, /^[0-9a-f]{8}$/);
  t.strictSame(
    heard,
    Array.from({ length: 10 }, (_, index) => `${log.logId}-${index + 1}`),
  );
  const numbers = async (max: number, after?: number): Promise<number[]> =>
    (await log.peek(streamA, max, after === undefined ? undefined : seq(after))).map((record) => record.seq);
  t.strictSame(await numbers(3), [1, 2, 3]);
  t.strictSame(await numbers(3, 5), [6, 7, 8]);
  t.strictSame(await numbers(3, 5), [6, 7, 8], 'the same again');
  t.strictSame(await numbers(99, 9), [10]);
  t.strictSame(await numbers(0), []);
  const record = await log.get(streamA, seq(7));
  t.match(record, {
    seq: 7,
    logId: log.logId,
    runId: log.runId,
    wall: { unixMs: 1e12, errorBoundMs: 5, source: 'ntp' },
  });
  t.equal(await log.get(streamA, seq(11)), undefined);
  t.strictSame(await log.peek(streamName('nobody'), 5), []);
  world.acknowledge(streamA, 4);
  world.acknowledge(streamA, 2);
  t.strictSame(await numbers(2), [5, 6]);
  t.match(log.stats(), { stored: 11, delivered: 4, evicted: 0, corrupt: 0, pending: 7 });
  t.throws(() => log.acknowledge(streamA, seq(11)), { code: 'ASSERT' });
  await log.close();
  t.match(await world.append(streamA, 5), { kind: 'refused', reason: 'closed' });
});

void t.test(
  'class A is flushed at once, class B with company, and never two flushes at a time',
  async (t) => {
    const disk = new SimulatedFilesystem();
    const world = await World.open(disk);
    let syncs = 0;
    disk.onOperation = ({ kind, path }) => {
      if (kind === 'datasync' && path.endsWith('/slots')) syncs += 1;
      return undefined;
    };
    const waiting = [world.append(streamB, 10), world.append(streamB, 10)];
    let isStored = false;
    void waiting[0]?.then(() => (isStored = true));
    await world.clock.advance(19);
    t.notOk(isStored);
    await world.clock.advance(1);
    t.ok(isStored);
    t.equal(syncs, 1);
    await Promise.all([1, 2, 3, 4].map(() => world.append(streamA, 10)));
    t.equal(syncs, 2, 'what came in one turn shares a flush');
    const early = Array.from({ length: 40 }, () => world.append(streamB, 600));
    await Promise.all(early);
    t.ok(syncs < 20, 'a large batch does not wait for its time');
    t.strictSame(
      (await Promise.all(early)).map((result) => result.kind === 'stored' && result.record.seq),
      early.map((_, index) => index + 3),
    );
  },
);

void t.test(
  'a repeat is recognised: stored, waiting, after a restart and after its slot is used up',
  async (t) => {
    const disk = new SimulatedFilesystem();
    const world = await World.open(disk);
    t.equal((await world.append(streamA, 10, 5)).kind, 'stored');
    t.equal((await world.append(streamA, 10, 5)).kind, 'duplicate');
    t.equal((await world.append(streamA, 10, 4)).kind, 'duplicate');
    const both = await Promise.all([world.append(streamA, 10, 6), world.append(streamA, 10, 6)]);
    t.strictSame(
      both.map(({ kind }) => kind),
      ['stored', 'duplicate'],
    );
    disk.onOperation = ({ kind }) => (kind === 'write' ? { kind: 'error', errno: 'EIO' } : undefined);
    const failing = [world.append(streamA, 10, 7), world.append(streamA, 10, 7)];
    t.match(await failing[0], { kind: 'refused', reason: 'disk' });
    t.match(await failing[1], { kind: 'refused', reason: 'disk' }, 'not a repeat: the first is not stored');
    disk.onOperation = undefined;
    t.equal((await world.append(streamA, 10, 7)).kind, 'stored');
    t.equal(world.log.lastProducerSeq(streamA), 7);
    world.acknowledge(streamA, 3);
    await world.log.close();
    const again = await World.open(disk, new Witness(), { seed: 2 });
    t.equal(again.log.stats().usedBytes, 8192, 'the slot that was open');
    t.equal(again.log.lastProducerSeq(streamA), 7);
    t.equal((await again.append(streamA, 10, 7)).kind, 'duplicate');
    t.match(await again.append(streamA, 10, 8), {
      kind: 'stored',
      record: { seq: 4, logId: world.log.logId },
    });
    t.not(again.log.runId, world.log.runId);
    t.match(again.log.stats(), { stored: 4, delivered: 3, pending: 1 });
  },
);

void t.test(
  'a count that was refused while a later one was stored is no repeat when it comes again',
  async (t) => {
    const world = await World.open(new SimulatedFilesystem());
    for (const count of [16, 18, 19, 17])
      t.equal((await world.append(streamA, 10, count)).kind, 'stored', `${count}`);
    for (const count of [16, 17, 18, 19]) t.equal((await world.append(streamA, 10, count)).kind, 'duplicate');
    t.equal(world.log.lastProducerSeq(streamA), 19);
  },
);

void t.test('what cannot be stored is refused with a reason', async (t) => {
  const limits = { ...smallLimits, queuedBytesMax: bytes(5000) };
  const world = await World.open(new SimulatedFilesystem(), new Witness(), { limits });
  const base = {
    stream: streamA,
    payload: new Uint8Array(1),
    monotonicMs: millis(0),
    wall: { unixMs: unixMillis(0), source: 'system' as const },
  };
  const rows: [object, string][] = [
    [{ payload: new Uint8Array(65_537) }, 'tooLarge'],
    [{ stream: streamName('nobody') }, 'unknownStream'],
    [{ producerSeq: 1.5 }, 'invalid'],
    [{ producerSeq: -1 }, 'invalid'],
    [{ monotonicMs: Number.NaN }, 'invalid'],
    [{ wall: { unixMs: Number.POSITIVE_INFINITY, source: 'gps' } }, 'invalid'],
  ];
  for (const [change, reason] of rows) {
    t.match(await world.log.append({ ...base, ...change }), { kind: 'refused', reason, message: /./ });
  }
  const many = await Promise.all(Array.from({ length: 50 }, () => world.append(streamA, 200)));
  t.ok(many.some((result) => result.kind === 'refused' && result.reason === 'busy'));
  t.ok(many.some((result) => result.kind === 'stored'));
  await world.check();
  const open = (change: object): Promise<World> =>
    World.open(new SimulatedFilesystem(), new Witness(), change);
  await t.rejects(open({ limits: { quotaBytes: bytes(10) } }), ConfigError);
  await t.rejects(open({ streams: [...streams, ...streams] }), ConfigError);
  await t.rejects(open({ streams: [{ name: '', durability: 'A', priority: 0 }] }), ConfigError);
});

void t.test('a full log gives up the oldest of the lowest priority', async (t) => {
  const disk = new SimulatedFilesystem();
  const limits = { quotaBytes: bytes(24 * 1024), segmentBytesMax: bytes(4096) };
  const world = await World.open(disk, new Witness(), { limits });
  for (let index = 0; index < 12; index++) await world.append(streamA, 900);
  for (let index = 0; index < 12; index++) await world.append(streamC, 900);
  const stats = world.log.stats();
  t.ok((stats.streams.get(streamA)?.evicted ?? 0) > 3, 'priority 1 makes room for priority 5');
  t.ok(stats.usedBytes <= limits.quotaBytes);
  await world.check();
  for (let index = 0; index < 12; index++) await world.append(streamC, 900);
  t.match(await world.append(streamA, 900), { kind: 'refused', reason: 'full' });
  t.ok((world.log.stats().streams.get(streamC)?.evicted ?? 0) > 0);
  await world.check();
  const before = world.log.stats();
  await world.log.close();
  const smaller = { quotaBytes: bytes(12 * 1024), segmentBytesMax: bytes(4096) };
  const again = await World.open(disk, world.witness, { seed: 2, limits: smaller });
  t.match(again.log.stats(), {
    stored: before.stored,
    delivered: before.delivered,
    evicted: before.evicted,
    pending: before.pending,
  });
  await again.append(streamC, 900);
  t.ok(again.log.stats().usedBytes <= smaller.quotaBytes);
  await again.check();
});

void t.test(
  'a stream that must not lose anything is refused when the log is full, and goes on when drained',
  async (t) => {
    const kept: StreamOptions[] = streams.map((stream) => ({ ...stream, whenFull: 'refuse' }));
    const limits = { quotaBytes: bytes(16 * 1024), segmentBytesMax: bytes(4096) };
    const world = await World.open(new SimulatedFilesystem(), new Witness(), { limits, streams: kept });
    let stored = 0;
    while ((await world.append(streamA, 900)).kind === 'stored') stored += 1;
    t.ok(stored >= 8, `${stored} fit`);
    t.match(await world.append(streamA, 900), { kind: 'refused', reason: 'full' });
    world.acknowledge(streamA, stored);
    await world.sync();
    t.equal((await world.append(streamA, 900)).kind, 'stored');
    t.equal(world.log.stats().evicted, 0);
    await world.check();
  },
);

void t.test('the age of the oldest record', async (t) => {
  const disk = new SimulatedFilesystem();
  const world = await World.open(disk);
  t.equal(world.log.stats().oldestUnacknowledgedMs, undefined);
  for (let index = 0; index < 4; index++) {
    await world.append(streamA, 10);
    await world.clock.advance(1000);
  }
  t.equal(world.log.stats().oldestUnacknowledgedMs, 4000);
  world.acknowledge(streamA, 2);
  t.equal(world.log.stats().oldestUnacknowledgedMs, 2000);
  world.acknowledge(streamA, 4);
  t.equal(world.log.stats().oldestUnacknowledgedMs, undefined);
});

async function busyRun(world: World): Promise<void> {
  for (let round = 0; round < 3; round++) {
    await world.append(streamA, 400);
    const together = [world.append(streamB, 900), world.append(streamC, 500), world.append(streamA, 700)];
    await world.clock.advance(25);
    await Promise.all(together);
    const [oldest] = await world.readAll(streamA);
    if (oldest !== undefined) world.acknowledge(streamA, oldest.seq);
    if (round === 1) await world.sync();
  }
}

void t.test(
  'one failed operation anywhere: nothing reported stored is lost, and the service goes on',
  async (t) => {
    const calm = new SimulatedFilesystem();
    await busyRun(await World.open(calm));
    const faults: FileFault[] = [
      { kind: 'error', errno: 'EIO' },
      { kind: 'error', errno: 'ENOSPC' },
      { kind: 'short', length: 300, errno: 'ENOSPC' },
    ];
    let refusedOpens = 0;
    for (let at = 1; at <= calm.operationCount; at++) {
      for (const [index, fault] of faults.entries()) {
        const disk = new SimulatedFilesystem({
          onOperation: (operation) => (operation.index === at ? fault : undefined),
        });
        const witness = new Witness();
        const label = `fault ${index} at operation ${at}`;
        const world = await World.open(disk, witness).catch((error: unknown) => {
          if (!(error instanceof FileError)) throw error;
          refusedOpens += 1;
          return undefined;
        });
        if (world === undefined) continue;
        try {
          await busyRun(world).catch((error: unknown) => {
            if (!(error instanceof FileError)) throw error;
          });
          await world.check();
          t.equal((await world.append(streamA, 50)).kind, 'stored', label);
          await world.sync();
          for (const choose of [lose, keep, drawn(new SeededEntropy(at))]) {
            const next = await World.open(disk.crash(choose), witness.snapshot(), { seed: at + 1 });
            await next.check();
            await next.append(streamA, 50);
            await next.check();
          }
        } catch (error) {
          t.fail(`${label}: ${String(error)}`);
        }
      }
    }
    t.ok(refusedOpens > 0 && refusedOpens < 60, `${refusedOpens} starts were refused with an error`);
  },
);

void t.test('a batch whose flush failed never comes back, though its sectors reached the disk', async (t) => {
  const disk = new SimulatedFilesystem();
  const witness = new Witness();
  const world = await World.open(disk, witness);
  await world.append(streamA, 100);
  disk.onOperation = ({ kind, path }) =>
    kind === 'datasync' && path.endsWith('/slots') ? { kind: 'error', errno: 'EIO' } : undefined;
  const failed = await Promise.all([world.append(streamA, 100), world.append(streamA, 100)]);
  t.match(failed, [{ kind: 'refused', reason: 'disk', message: /EIO/ }, { kind: 'refused' }]);
  disk.onOperation = undefined;
  for (const isStored of [false, true]) {
    if (isStored) await world.append(streamA, 100);
    const next = await World.open(disk.crash(keep), witness.snapshot(), { seed: 2 });
    const found = await next.readAll(streamA);
    t.equal(found.length, isStored ? 2 : 1);
    t.notOk(found.some((record) => textOf(record).startsWith('a1.') || textOf(record).startsWith('a2.')));
    await next.check();
  }
});

void t.test('a failed batch does not come back either when the cursor failed with it', async (t) => {
  const disk = new SimulatedFilesystem();
  const world = await World.open(disk);
  await world.append(streamA, 100);
  disk.onOperation = ({ kind }) => (kind === 'datasync' ? { kind: 'error', errno: 'EIO' } : undefined);
  await Promise.all([world.append(streamA, 100), world.append(streamA, 100)]);
  disk.onOperation = ({ kind, path }) =>
    kind === 'datasync' && path.endsWith('cursor') ? { kind: 'error', errno: 'EIO' } : undefined;
  await world.append(streamA, 100);
  let repeats = 0;
  await everyChoice(2000, async (choose) => {
    const image = disk.crash(choose);
    const [first] = image.paths().filter((path) => path.endsWith('/slots'));
    if (Buffer.from(image.contentOf(first ?? '')).includes('a2.')) repeats += 1;
    const next = await World.open(image, world.witness.snapshot(), { seed: 2 });
    if ((await next.readAll(streamA)).length !== 2) t.fail('not the two records that were reported');
    await next.check();
  });
  t.ok(repeats > 0, `the failed batch was on ${repeats} disks`);
});

void t.test('a disk without space gives up old records where that is allowed', async (t) => {
  const disk = new SimulatedFilesystem({ capacityBytes: 150_000 });
  const world = await World.open(disk);
  let refused = 0;
  for (let index = 0; index < 60; index++) {
    if ((await world.append(streamA, 900)).kind !== 'stored') refused += 1;
  }
  t.ok(refused < 30, `${refused} of 60 refused`);
  t.ok(world.log.stats().evicted > 0);
  await world.check();
});

void t.test('a directory that cannot be used is an error that names it', async (t) => {
  const disk = new SimulatedFilesystem({
    onOperation: ({ kind }) => (kind === 'create' ? { kind: 'error', errno: 'EROFS' } : undefined),
  });
  await t.rejects(World.open(disk), { name: 'FileError', errno: 'EROFS', message: /\/data\/buffer\/cursor/ });
});

void t.test('what a killed process had not synced is durable before it is delivered', async (t) => {
  const disk = new SimulatedFilesystem();
  const witness = new Witness();
  const killed = await World.open(mutate(disk, 'noDatasync'), witness);
  for (let index = 0; index < 4; index++) await killed.append(streamA, 300);
  const next = await World.open(disk, witness, { seed: 2 });
  await next.check();
  const after = await World.open(disk.crash(lose), witness, { seed: 3 });
  await after.check();
  t.equal((await after.readAll(streamA)).length, 4);
});

void t.test('streams that are no longer configured keep their records and numbers', async (t) => {
  const disk = new SimulatedFilesystem();
  const world = await World.open(disk);
  await world.append(streamA, 10);
  await world.append(streamC, 10);
  await world.log.close();
  const without = await World.open(disk, world.witness, { seed: 2, streams: streams.slice(1) });
  t.match(await without.append(streamA, 10), { kind: 'refused', reason: 'unknownStream' });
  t.equal((await without.readAll(streamA)).length, 1);
  without.acknowledge(streamA, 1);
  await without.log.close();
  const again = await World.open(disk, world.witness, { seed: 3 });
  t.match(await again.append(streamA, 10), { kind: 'stored', record: { seq: 2 } });
});

void t.test('more streams than a cursor holds come and go', async (t) => {
  const disk = new SimulatedFilesystem();
  const limits = { quotaBytes: bytes(512 * 1024), segmentBytesMax: bytes(64 * 1024) };
  const witness = new Witness();
  for (const [run, prefix] of ['p', 'q', 'r', 's'].entries()) {
    const own = Array.from({ length: 100 }, (_, at): StreamOptions => {
      return { name: streamName(`${prefix}${at}`), durability: 'B', priority: 5 };
    });
    const world = await World.open(disk, witness, { seed: run, streams: own, limits });
    const stored = own.map(({ name }) => world.append(name, 10));
    await world.clock.advance(1000);
    t.ok((await Promise.all(stored)).every(({ kind }) => kind === 'stored'));
    t.ok(world.log.stats().streams.size <= streamsMax);
    t.notOk(world.damage.find(({ kind }) => kind === 'account'));
    await world.log.close();
  }
});

void t.test('what was never given cannot be settled, and nothing is by the attempt', async (t) => {
  const world = await World.open(new SimulatedFilesystem());
  await world.append(streamA, 10);
  for (const settle of ['acknowledge', 'giveUp'] as const) {
    t.throws(() => world.log[settle](streamA, seq(2)), { message: /has 1 records, cannot settle 2/ });
    t.equal(world.log.stats().pending, 1, settle);
  }
  t.equal((await world.readAll(streamA)).length, 1);
});

type Action =
  | { do: 'append'; stream: StreamName; size: number; count: number }
  | { do: 'acknowledge'; stream: StreamName; share: number }
  | { do: 'acknowledgeRange'; stream: StreamName; share: number; count: number }
  | { do: 'sync' }
  | { do: 'wait' }
  | { do: 'reopen'; quotaBytes: number }
  | { do: 'kill' }
  | { do: 'cut'; seed: number };

const anyStream = fc.constantFrom(...names);
const anyAction: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('append' as const),
      stream: anyStream,
      size: fc.integer({ min: 5, max: 2500 }),
      count: fc.integer({ min: 1, max: 4 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('acknowledge' as const),
      stream: anyStream,
      share: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('acknowledgeRange' as const),
      stream: anyStream,
      share: fc.double({ min: 0, max: 1, noNaN: true }),
      count: fc.integer({ min: 1, max: 6 }),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ do: 'sync' as const }) },
  { weight: 3, arbitrary: fc.constant({ do: 'wait' as const }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('reopen' as const),
      quotaBytes: fc.constantFrom(8192, 16_384, 1_000_000),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ do: 'kill' as const }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('cut' as const), seed: fc.nat() }) },
);

void t.test('any mix of actions against the model', async (t) => {
  let evictions = 0;
  let expired = 0;
  // What expires in one run may be back after a cut, in a boot of unknown distance.
  const mortal = streams.map((stream) =>
    stream.name === streamB ? { ...stream, ttlMs: millis(1000) } : stream,
  );
  let ranges = 0;
  const run = async (actions: readonly Action[]): Promise<void> => {
    let disk = new SimulatedFilesystem();
    let quotaBytes = 16_384;
    let seed = 1;
    const witness = new Witness();
    const open = (): Promise<World> =>
      World.open(disk, witness, {
        seed: seed++,
        limits: {
          quotaBytes: bytes(quotaBytes),
          reserveBytes: bytes(quotaBytes / 4),
          segmentBytesMax: bytes(4096),
        },
        streams: mortal,
      });
    let world = await open();
    const count = (): void => {
      expired += world.evictions.splice(0).filter(({ reason }) => reason === 'expired').length;
    };
    for (const action of actions) {
      switch (action.do) {
        case 'append': {
          const all = Array.from({ length: action.count }, () => world.append(action.stream, action.size));
          await world.clock.advance(25);
          await Promise.all(all);
          break;
        }
        case 'acknowledge': {
          const found = await world.readAll(action.stream);
          const last = found[Math.floor(action.share * (found.length - 1))];
          if (last !== undefined) world.acknowledge(action.stream, last.seq);
          break;
        }
        case 'acknowledgeRange': {
          const found = await world.readAll(action.stream);
          const from = Math.floor(action.share * (found.length - 1));
          const range = found.slice(from, from + action.count);
          const [first] = range;
          const last = range.at(-1);
          if (first === undefined || last === undefined) break;
          if (world.acknowledgeRange(action.stream, first.seq, last.seq)) ranges += 1;
          break;
        }
        case 'sync':
          await world.sync();
          break;
        case 'wait':
          await world.clock.advance(1500);
          break;
        case 'reopen':
          quotaBytes = action.quotaBytes;
          await world.log.close();
          world = await open();
          break;
        case 'kill':
          world = await open();
          break;
        case 'cut':
          disk = disk.crash(drawn(new SeededEntropy(action.seed)));
          world = await open();
          break;
      }
      await world.check();
      count();
    }
    evictions += witness.evicted.size;
  };
  await fc.assert(fc.asyncProperty(fc.array(anyAction, { maxLength: 25 }), run), { numRuns: 200 });
  t.ok(expired > 3, `${expired} spans past their time`);
  t.ok(evictions > 10, `evictions in ${evictions} streams`);
  t.ok(ranges > 20, `${ranges} ranges`);
});
