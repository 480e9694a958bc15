// Proves what happens when the files of a log are removed or replaced under the running process: no append is answered
// `stored` for what nobody will find, the loss is told once, and a fresh log goes on in the place under a new id with
// numbers that go on, as soon as there is a place; also on the real file system. And that the check finds a log that
// does not look.
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import t from 'tap';
import { bytes, millis, seq, unixMillis } from '../../src/base/units.ts';
import type { StreamOptions } from '../../src/buffer/log-options.ts';
import { openReadingLog } from '../../src/buffer/reading-log.ts';
import { NodeClock } from '../../src/host/clock.ts';
import { NodeEntropy } from '../../src/host/entropy.ts';
import { NodeFilesystem } from '../../src/host/filesystem.ts';
import { SimulatedFilesystem } from '../../src/testbed/simulated-filesystem.ts';
import { mutate } from './mutants.ts';
import type { Mutant } from './mutants.ts';
import { World, Witness, keep, streamA, streamC } from './world.ts';

const streams: readonly StreamOptions[] = [
  { name: streamA, durability: 'A', priority: 1 },
  { name: streamC, durability: 'C', priority: 5, lingerMs: millis(0) },
];

/** What is wrong after `target` was removed from under a log with records; throws for what the world finds. */
async function afterRemoval(target: string, mutant?: Mutant): Promise<string | undefined> {
  const disk = new SimulatedFilesystem();
  const world = await World.open(mutate(disk, mutant), new Witness(), {
    streams,
    bootId: '0'.repeat(31) + '1',
  });
  const { log } = world;
  for (let count = 0; count < 5; count++) await world.append(streamA, 100, count + 1);
  world.acknowledge(streamA, 2);
  log.setLinkUp(true);
  await world.append(streamC, 30);
  const [held] = await log.peek(streamC, 1);
  const { logId } = log;
  await disk.remove(target);
  const first = await world.append(streamA, 100, 6);
  if (first.kind === 'stored') return 'a record is stored in files that are gone';
  if (first.kind !== 'refused' || first.reason !== 'disk') return JSON.stringify(first);
  const told = world.damage.filter(({ kind }) => kind === 'place');
  if (told.length !== 1 || told[0]?.count !== 3 || !told[0].message.includes('removed or replaced')) {
    return JSON.stringify(told);
  }
  const second = await world.append(streamA, 100, 6);
  if (second.kind !== 'stored') return `service does not go on: ${JSON.stringify(second)}`;
  if (second.record.seq !== 6 || second.record.logId === logId) return 'the name may stand for two records';
  if ((await world.append(streamA, 100, 4)).kind !== 'duplicate') return 'the producer is forgotten';
  log.acknowledge(streamA, seq(5));
  if (log.stats().pending !== 1) return 'an answer for a lost record settles another';
  const [still] = await log.peek(streamC, 1);
  if (held === undefined || still?.seq !== held.seq) return 'what was in memory is lost';
  log.setLinkUp(false);
  await world.clock.advance(20);
  const after = await World.open(disk.crash(keep), world.witness, { seed: 2, streams });
  const found = [...(await after.readAll(streamA)), ...(await after.readAll(streamC))];
  return found.length === 2 ? undefined : `${found.length} records after a restart`;
}

void t.test('what is removed under a running log is told, and a fresh one goes on', async (t) => {
  for (const target of ['/data/buffer', '/data/buffer/slots', '/data']) {
    t.equal(await afterRemoval(target), undefined, target);
  }
  t.match(
    await afterRemoval('/data/buffer', 'noPlaceCheck'),
    /in files that are gone/,
    'the check finds one that does not look',
  );
});

void t.test('where no log can be made, appends are refused until it can', async (t) => {
  const disk = new SimulatedFilesystem();
  const world = await World.open(disk, new Witness(), { streams });
  await world.append(streamA, 100);
  await disk.remove('/data/buffer');
  disk.onOperation = ({ kind }) =>
    kind === 'createDirectory' || kind === 'create' ? { kind: 'error', errno: 'EROFS' } : undefined;
  for (let count = 0; count < 5; count++) {
    t.match(await world.append(streamA, 100), {
      kind: 'refused',
      reason: 'disk',
      message: count > 0 ? /EROFS/ : /removed/,
    });
  }
  t.same(await world.log.peek(streamA, 5), [], 'a reader finds nothing, and no error');
  const tries = disk.operationCount;
  for (let count = 0; count < 20; count++) await world.append(streamA, 100);
  t.equal(disk.operationCount, tries, 'it is not tried more than once a second');
  disk.onOperation = undefined;
  await world.clock.advance(1000);
  t.match(await world.append(streamA, 100), { kind: 'stored', record: { seq: 2 } });
  t.equal(world.damage.filter(({ kind }) => kind === 'place').length, 1, 'told once');

  // Somebody else's container is not touched.
  await disk.remove('/data/buffer');
  disk.onOperation = ({ kind }) =>
    kind === 'createDirectory' ? { kind: 'error', errno: 'EACCES' } : undefined;
  t.match(await world.append(streamA, 100), { kind: 'refused', reason: 'disk' });
  t.match(await world.append(streamA, 100), { kind: 'refused', message: /EACCES/ });
  disk.onOperation = undefined;
  const other = await World.open(disk, new Witness(), { seed: 7, streams });
  await other.append(streamA, 100);
  await disk.remove('/data/buffer/cursor');
  t.equal((await other.append(streamA, 100)).kind, 'stored');
  await world.clock.advance(1000);
  t.match(await world.append(streamA, 100), {
    kind: 'refused',
    reason: 'disk',
    message: /another container/,
  });
  await world.log.close();
  t.equal((await other.readAll(streamA)).length, 2);
});

void t.test('on the real file system: removed, renamed, replaced', async (t) => {
  const root = await mkdtemp(`${tmpdir()}/baton-place-`);
  t.teardown(() => rm(root, { recursive: true, force: true }));
  const ways: Record<string, (directory: string) => Promise<unknown>> = {
    removed: (directory) => rm(directory, { recursive: true }),
    renamed: (directory) => rename(directory, `${directory}.away`),
    replaced: async (directory) => {
      await rename(directory, `${directory}.away`);
      await mkdir(directory);
    },
  };
  for (const [what, change] of Object.entries(ways)) {
    const directory = `${root}/${what}/buffer`;
    const places: string[] = [];
    const clock = new NodeClock();
    const log = await openReadingLog({
      filesystem: new NodeFilesystem(),
      clock,
      entropy: new NodeEntropy(),
      directory,
      limits: { quotaBytes: bytes(64 * 1024), segmentBytesMax: bytes(8192) },
      streams,
      onDamage: ({ kind, message }) => kind === 'place' && places.push(message),
    });
    const append = async (): Promise<unknown> =>
      log.append({
        stream: streamA,
        payload: Buffer.from('a'),
        monotonicMs: clock.monotonicMs(),
        wall: { unixMs: unixMillis(1e12), source: 'system' },
      });
    t.match(await append(), { kind: 'stored', record: { seq: 1 } });
    await change(directory);
    t.match(await append(), { kind: 'refused', reason: 'disk', message: /ESTALE|removed or replaced/ }, what);
    t.match(await append(), { kind: 'stored', record: { seq: 2 } }, `${what}: goes on`);
    t.equal(places.length, 1);
    await log.close();
  }
});
