// Proves that a power cut at any file operation, and a second one at any operation of the run after it, loses nothing
// that was reported stored, brings back nothing durably acknowledged, gives no name twice, and keeps the counters equal
// (B1, B2, B3, B5, B6); that a damaged frame costs that frame (B4); and that these checks find five defective buffers.
import t from 'tap';
import { bytes } from '../../src/base/units.ts';
import { groupRecordsMax } from '../../src/buffer/record-group.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';
import { SimulatedFilesystem } from '../../src/testbed/simulated-filesystem.ts';
import { mutate } from './mutants.ts';
import type { Mutant } from './mutants.ts';
import { cuts, firstFailure } from './cuts.ts';
import { World, Witness, smallLimits, everyChoice, keep, streamA, streamB, streamC } from './world.ts';

t.setTimeout(120_000);

async function firstRun(disk: SimulatedFilesystem, witness: Witness, mutant?: Mutant): Promise<void> {
  const world = await World.open(mutate(disk, mutant), witness);
  for (let round = 0; round < 4; round++) {
    await world.append(streamA, 200 + 150 * round, 10 + round);
    const together = [
      world.append(streamB, 700),
      world.append(streamB, 90),
      world.append(streamC, 300),
      world.append(streamA, 40),
    ];
    await world.clock.advance(25);
    await Promise.all(together);
    if (round === 1) world.acknowledge(streamA, 2);
    if (round === 2) {
      world.acknowledge(streamA, 4);
      world.acknowledge(streamB, 4);
      await world.sync();
    }
  }
  world.acknowledge(streamB, 6);
  await world.clock.advance(1100);
  await world.append(streamC, 20);
  await world.log.close();
}

async function laterRun(world: World): Promise<void> {
  await world.check();
  await world.append(streamA, 333);
  await Promise.all([world.append(streamA, 600), world.append(streamA, 600), world.append(streamC, 100)]);
  const [oldest, , third, fourth] = await world.log.peek(streamA, 4);
  if (fourth !== undefined) world.acknowledgeRange(streamA, third?.seq ?? 0, fourth.seq);
  if (oldest !== undefined) world.acknowledge(streamA, oldest.seq);
  await world.sync();
}

/** New records are acknowledged while an older backlog waits, until their slots are used again; then the backlog goes. */
async function liveFirstRun(disk: SimulatedFilesystem, witness: Witness, mutant?: Mutant): Promise<void> {
  const limits = { quotaBytes: bytes(6 * 4096), segmentBytesMax: bytes(4096) };
  const world = await World.open(mutate(disk, mutant), witness, { limits });
  for (let count = 0; count < 3; count++) await world.append(streamA, 900);
  for (let count = 0; count < 18; count++) {
    await world.append(streamA, 900);
    if (count === 7) continue;
    world.acknowledgeRange(streamA, 4 + count, 4 + count);
    if (count % 5 === 4) await world.sync();
  }
  for (const [index, backlog] of (await world.readAll(streamA)).entries()) {
    world.acknowledge(streamA, backlog.seq);
    if (index === 1) await world.sync();
  }
  await world.append(streamC, 20);
}

void t.test('one power cut, and a second one after it', async (t) => {
  const entropy = new SeededEntropy(7);
  const disk = new SimulatedFilesystem();
  const witness = new Witness();
  const states = await cuts(disk, witness, entropy, 4, () => firstRun(disk, witness));
  t.comment(`seed ${entropy.seed}, ${disk.operationCount} operations, ${states.length} states`);
  t.ok(states.length > 300);
  t.equal(await firstFailure(states), undefined);

  let second = 0;
  const sampled = states.filter((_, index) => index % 61 === 0);
  for (const [index, state] of sampled.entries()) {
    const again = state.disk.crash(keep);
    const facts = state.witness.snapshot();
    const seed = 5000 + index;
    const later = await cuts(again, facts, entropy, 1, async () => {
      await laterRun(await World.open(again, facts, { seed }));
    });
    second += later.length;
    const failure = await firstFailure(later);
    if (failure !== undefined) t.fail(`${state.cut}, then ${failure}`);
  }
  t.ok(second > 500, `${second} states after a second cut`);
});

void t.test('a power cut while old records make room', async (t) => {
  const limits = { quotaBytes: bytes(4 * 4096), segmentBytesMax: bytes(4096) };
  const disk = new SimulatedFilesystem();
  const witness = new Witness();
  const states = await cuts(disk, witness, new SeededEntropy(8), 2, async () => {
    const world = await World.open(disk, witness, { limits });
    for (let count = 0; count < 12; count++) {
      await world.append(streamA, 1500);
      if (count % 4 === 1) await world.append(streamC, 1500);
      if (count === 6) world.acknowledge(streamC, 1);
    }
  });
  t.ok((witness.evicted.get(streamA) ?? 0) > 4);
  t.equal(await firstFailure(states, undefined, limits), undefined, `${states.length} states`);
});

void t.test('a power cut while new records are acknowledged beside a backlog', async (t) => {
  const limits = { quotaBytes: bytes(6 * 4096), segmentBytesMax: bytes(4096) };
  for (const mutant of [undefined, 'forgetRanges'] as const) {
    const disk = new SimulatedFilesystem();
    const witness = new Witness();
    const states = await cuts(disk, witness, new SeededEntropy(11), 1, () =>
      liveFirstRun(disk, witness, mutant),
    );
    t.equal(witness.evicted.size, 0, 'slots of acknowledged records make room, nothing is evicted');
    t.ok(disk.contentOf('/data/buffer/slots').length <= limits.quotaBytes);
    const failure = await firstFailure(states, mutant, limits);
    if (mutant === undefined) t.equal(failure, undefined, `${states.length} states`);
    else t.match(failure, /is back|count as lost/, mutant);
  }
});

void t.test('every combination of surviving sectors of one batch', async (t) => {
  const disk = new SimulatedFilesystem();
  const witness = new Witness();
  const limits = { ...smallLimits, segmentBytesMax: bytes(16_384) };
  const world = await World.open(disk, witness, { limits });
  await world.append(streamA, 100);
  disk.onOperation = ({ kind }) => (kind === 'datasync' ? { kind: 'crash' } : undefined);
  for (const size of [700, 900, 300, 1200, 40]) void world.append(streamA, size);
  await disk.crashed;
  let states = 0;
  const isAll = await everyChoice(20_000, async (choose) => {
    states += 1;
    const facts = witness.snapshot();
    const next = await World.open(disk.crash(choose), facts, { seed: states });
    await next.check();
    await next.append(streamA, 50);
    await next.check();
  });
  t.ok(isAll, `${states} states are all there are`);
  t.ok(states > 100);
});

void t.test(
  'a repeated reading is recognised after any cut, and one that was not stored is not',
  async (t) => {
    const disk = new SimulatedFilesystem();
    const witness = new Witness();
    const world = await World.open(disk, witness);
    await world.append(streamA, 100, 1);
    disk.onOperation = ({ kind }) => (kind === 'datasync' ? { kind: 'crash' } : undefined);
    void world.append(streamA, 600, 2);
    void world.append(streamA, 600, 3);
    void world.append(streamA, 600, 4);
    await disk.crashed;
    await everyChoice(5000, async (choose) => {
      const facts = witness.snapshot();
      const next = await World.open(disk.crash(choose), facts, { seed: 3 });
      t.equal((await next.append(streamA, 10, 1)).kind, 'duplicate');
      const before = (await next.readAll(streamA)).map((record) => record.producerSeq);
      for (const producerSeq of [2, 3, 4]) {
        const result = await next.append(streamA, 10, producerSeq);
        const expected = before.includes(producerSeq) ? 'duplicate' : 'stored';
        if (result.kind !== expected) t.fail(`${producerSeq} with ${before.join()}: ${result.kind}`);
      }
      await next.check();
    });
  },
);

void t.test('the checks find a buffer that does not sync, or reports too early', async (t) => {
  for (const mutant of ['noDatasync', 'reportBeforeDatasync'] as const) {
    const entropy = new SeededEntropy(7);
    const disk = new SimulatedFilesystem();
    const witness = new Witness();
    const states = await cuts(disk, witness, entropy, 2, () => firstRun(disk, witness, mutant));
    t.match(await firstFailure(states, mutant), /was stored and is lost/, mutant);
  }
});

/** Flips one bit at every `step`th place of every sector with content in turn; what was stored must come back but for one record. */
async function survivesBitFlips(
  { isClosed = false, isTogether = false },
  step: number,
  mutant?: Mutant,
): Promise<{ failure: string | undefined; flips: number }> {
  const disk = new SimulatedFilesystem();
  const witness = new Witness();
  const world = await World.open(disk, witness);
  const appends: Promise<unknown>[] = [];
  for (let index = 0; index < 12; index++) {
    appends.push(world.append(streamA, 100 + 37 * index));
    if (!isTogether) await appends.at(-1);
  }
  await Promise.all(appends);
  await world.append(streamC, 400);
  const lostMax = isTogether ? groupRecordsMax : 1;
  if (isClosed) await world.log.close();
  let flips = 0;
  const path = '/data/buffer/slots';
  const content = disk.contentOf(path);
  for (let sector = 0; sector < content.length; sector += 512) {
    if (content.subarray(sector, sector + 512).every((octet) => octet === 0)) continue;
    for (let bit = sector * 8 + (sector % 11); bit < (sector + 512) * 8; bit += step) {
      flips += 1;
      const image = disk.crash(keep);
      image.flipBit(path, bit);
      const facts = witness.snapshot();
      const next = await World.open(mutate(image, mutant), facts, { seed: flips });
      const found = [...(await next.readAll(streamA)), ...(await next.readAll(streamC))];
      const before = 13;
      try {
        for (const record of found) facts.see(record);
        next.checkCounts(streamA, found.filter((record) => record.stream === streamA).length);
        if (found.length < before - lostMax) throw new Error(`${before - found.length} records lost`);
        await next.append(streamA, 20);
        await next.append(streamC, 20);
        for (const record of [...(await next.readAll(streamA)), ...(await next.readAll(streamC))])
          facts.see(record);
      } catch (error) {
        return { failure: `bit ${bit} of ${path}: ${String(error)}`, flips };
      }
    }
  }
  return { failure: undefined, flips };
}

void t.test('a flipped bit costs one record at most, or those that share its frame', async (t) => {
  for (const how of [{}, { isClosed: true }, { isTogether: true }, { isTogether: true, isClosed: true }]) {
    const { failure, flips } = await survivesBitFlips(how, 211);
    t.equal(failure, undefined, JSON.stringify(how));
    t.ok(flips > 100, `${flips} flips`);
  }
  t.match((await survivesBitFlips({}, 211, 'noCrc')).failure, /never appended|was .* and is|NaN|lost/);
  t.match((await survivesBitFlips({}, 211, 'stopAtBadFrame')).failure, /records lost/);
});

void t.test('zeroed sectors, unreadable pages and lost cursors never stop the start', async (t) => {
  const disk = new SimulatedFilesystem();
  const witness = new Witness();
  await firstRun(disk, witness);
  for (const path of disk.paths()) {
    const sectors = Math.min(20, Math.ceil(disk.contentOf(path).length / 512));
    for (let sector = 0; sector < sectors; sector++) {
      const image = disk.crash(keep);
      image.zeroSector(path, sector);
      const world = await World.open(image, witness.snapshot(), { seed: sector });
      for (const stream of [streamA, streamB, streamC])
        world.checkCounts(stream, (await world.readAll(stream)).length);
    }
  }
  const image = disk.crash(keep);
  for (const slot of [0, 128]) image.flipBit('/data/buffer/cursor', slot * 512 * 8 + 200);
  const facts = witness.snapshot();
  const blind = await World.open(image, facts, { seed: 99 });
  t.ok(blind.damage.some((damage) => damage.kind === 'cursor'));
  facts.durable.clear();
  await blind.check();
  await blind.append(streamA, 20);
  await blind.check();

  const unreadable = disk.crash(keep);
  const [bad] = unreadable.paths().filter((path) => path.endsWith('/slots'));
  unreadable.onOperation = ({ kind, path }) =>
    kind === 'read' && path === bad ? { kind: 'error', errno: 'EIO' } : undefined;
  const world = await World.open(unreadable, witness.snapshot(), { seed: 5, driver: new SimulatedClock() });
  for (const stream of [streamA, streamB, streamC])
    world.checkCounts(stream, (await world.readAll(stream)).length);
  t.ok(world.damage.length > 0);
  t.ok(unreadable.paths().includes(bad ?? ''), 'a file that may be readable another time is kept');
});
