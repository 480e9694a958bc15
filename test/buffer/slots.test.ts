// Proves the life of slots: a power cut at any operation while the container is made, or while slots are used again and
// again, loses nothing stored and brings nothing back (B1, B3, B7); that a smaller disk means a smaller pool; that slots
// with failed writes are set aside until none is left; that files of another version are left alone; and that these checks find the defects they are there for.
import { crc32 } from 'node:zlib';
import t from 'tap';
import { bytes } from '../../src/base/units.ts';
import type { LogLimits } from '../../src/buffer/log-options.ts';
import { encodeHeader, formatVersion } from '../../src/buffer/slot.ts';
import type { Entropy } from '../../src/host/entropy.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { SimulatedFilesystem } from '../../src/testbed/simulated-filesystem.ts';
import { cuts, firstFailure } from './cuts.ts';
import type { CutState } from './cuts.ts';
import { mutate } from './mutants.ts';
import type { Mutant } from './mutants.ts';
import { World, Witness, everyChoice, keep, lose, streamA, streamB, streamC } from './world.ts';

t.setTimeout(120_000);

const poolOf = (count: number, slotBytes = 4096): LogLimits => ({
  quotaBytes: bytes(count * slotBytes),
  segmentBytesMax: bytes(slotBytes),
});

void t.test('a power cut while the container is made', async (t) => {
  const disk = new SimulatedFilesystem();
  const witness = new Witness();
  const limits = poolOf(6);
  const states = await cuts(disk, witness, new SeededEntropy(3), 6, async () => {
    const world = await World.open(disk, witness, { limits });
    await world.append(streamA, 900);
    await world.clock.advance(2000);
    await world.append(streamC, 900);
    await world.log.close();
  });
  t.ok(states.length > 300, `${states.length} states`);
  t.equal(disk.contentOf('/data/buffer/slots').length, 6 * 4096, 'the rest is filled in the background');
  t.equal(await firstFailure(states, undefined, limits), undefined);
  for (const { disk: image, witness: facts } of states.filter((_, index) => index % 7 === 0)) {
    const world = await World.open(image, facts, { limits, seed: 2 });
    for (let count = 0; count < 14; count++) await world.append(streamA, 900);
    t.equal(image.contentOf('/data/buffer/slots').length, 6 * 4096);
    await world.check();
  }
});

/** Fills, delivers and evicts in a small pool; `size` gives the lengths of the records. */
async function churn(
  disk: SimulatedFilesystem,
  witness: Witness,
  limits: LogLimits,
  size: (index: number) => number,
  mutant?: Mutant,
): Promise<void> {
  const world = await World.open(mutate(disk, mutant), witness, { limits });
  for (let index = 0; index < 22; index++) {
    const work = [world.append(streamA, size(index))];
    if (index < 3 || index % 5 === 2) work.push(world.append(streamB, size(index + 7)));
    if (index % 6 === 3) work.push(world.append(streamC, size(index + 3)));
    await world.clock.advance(25);
    await Promise.all(work);
    if (index === 6) world.acknowledge(streamB, 2);
    if (index % 4 === 3) {
      const [oldest] = await world.log.peek(streamA, 1);
      if (oldest !== undefined)
        world.acknowledge(streamA, Math.min(oldest.seq + 2, world.log.lastSeq(streamA)));
    }
    if (index === 12) await world.sync();
  }
}

const sizes: Record<string, (index: number) => number> = {
  'fixed-size records': () => 700,
  'records of many sizes': (index) => 40 + ((index * 733) % 1700),
};

for (const [name, size] of Object.entries(sizes)) {
  void t.test(`a power cut while slots are used again: ${name}`, async (t) => {
    for (const limits of [poolOf(5), poolOf(6, 8192)]) {
      const entropy = new SeededEntropy(11);
      const disk = new SimulatedFilesystem();
      const witness = new Witness();
      const states = await cuts(disk, witness, entropy, 1, () => churn(disk, witness, limits, size));
      t.comment(`seed ${entropy.seed}, ${states.length} states`);
      t.ok(states.length > 200);
      t.equal(await firstFailure(states, undefined, limits), undefined);
    }
  });
}

void t.test('the checks find what goes wrong when slots are used again', async (t) => {
  const rows: [Mutant, RegExp][] = [
    ['noEpoch', /lost|back|readable|count as lost|earlier start/],
    ['cursorNeverSynced', /count as lost|is back/],
    ['cursorAfterReuse', /count as lost|is back|lost/],
  ];
  const limits = poolOf(5);
  for (const [mutant, expected] of rows) {
    const found: (string | undefined)[] = [];
    for (const size of Object.values(sizes)) {
      const disk = new SimulatedFilesystem();
      const witness = new Witness();
      const run = async (): Promise<CutState[]> =>
        cuts(disk, witness, new SeededEntropy(11), 1, () => churn(disk, witness, limits, size, mutant));
      found.push(
        await run().then(
          (states) => firstFailure(states, mutant, limits),
          (error: unknown) => String(error),
        ),
      );
    }
    t.match(found.find((failure) => failure !== undefined) ?? '', expected, mutant);
  }
});

/** Cuts the power in a commit, then in the one that the next run writes over it; every combination of sectors. */
async function overwriteTorn(mutant?: Mutant): Promise<{ failure: string | undefined; states: number }> {
  const disk = new SimulatedFilesystem();
  const witness = new Witness();
  const world = await World.open(disk, witness);
  await world.append(streamA, 300);
  const cutAtFlush = (image: SimulatedFilesystem): void => {
    image.onOperation = ({ kind, path }) =>
      kind === 'datasync' && path.endsWith('/slots') ? { kind: 'crash' } : undefined;
  };
  cutAtFlush(disk);
  void world.append(streamA, 1500);
  await disk.crashed;
  let states = 0;
  let failure: string | undefined;
  await everyChoice(300, async (first) => {
    const facts = witness.snapshot();
    const image = disk.crash(first);
    const second = await World.open(mutate(image, mutant), facts, { seed: 2 });
    await second.check();
    cutAtFlush(image);
    void second.append(streamA, 1500);
    await image.crashed;
    await everyChoice(300, async (choose) => {
      states += 1;
      const third = await World.open(mutate(image.crash(choose), mutant), facts.snapshot(), { seed: 3 });
      await third.check().catch((error: unknown) => (failure ??= String(error)));
    });
  });
  return { failure, states };
}

void t.test('what a cut tore stays gone when the next run writes over it', async (t) => {
  const { failure, states } = await overwriteTorn();
  t.equal(failure, undefined);
  t.ok(states > 30, `${states} states`);
  t.match((await overwriteTorn('noErase')).failure, /earlier start had not found/);
});

/** Draws the same all the time: two lives of the same number have the same nonce. */
class EvenEntropy implements Entropy {
  readonly #log = new SeededEntropy(1);
  bytes(count: number): Uint8Array {
    return this.#log.bytes(count);
  }
  uint32(): number {
    return 7;
  }
}

/** A first commit loses its header to a cut; the next run begins the same life of the same slot, with the same nonce. */
async function repeatLife(mutant?: Mutant): Promise<{ failure: string | undefined; states: number }> {
  const disk = new SimulatedFilesystem();
  const witness = new Witness();
  const entropy = new EvenEntropy();
  const world = await World.open(disk, witness, { entropy });
  disk.onOperation = ({ kind, path }) =>
    kind === 'datasync' && path.endsWith('/slots') ? { kind: 'crash' } : undefined;
  for (let count = 0; count < 6; count++) void world.append(streamA, 440);
  await disk.crashed;
  let states = 0;
  let failure: string | undefined;
  await everyChoice(300, async (choose) => {
    states += 1;
    try {
      const facts = witness.snapshot();
      const image = disk.crash(choose);
      const second = await World.open(mutate(image, mutant), facts, { entropy });
      await second.check();
      await second.append(streamA, 440);
      const third = await World.open(mutate(image.crash(lose), mutant), facts, { entropy });
      await third.check();
    } catch (error) {
      failure ??= String(error);
    }
  });
  return { failure, states };
}

void t.test('frames of an earlier run never count after those of a later one', async (t) => {
  const { failure, states } = await repeatLife();
  t.equal(failure, undefined);
  t.ok(states > 8, `${states} states`);
  t.match((await repeatLife('noRunId')).failure, /earlier start had not found/);
});

void t.test('a disk without space for all slots means a smaller pool and an alarm', async (t) => {
  const disk = new SimulatedFilesystem({ capacityBytes: 131_072 + 4 * 8192 + 1000 });
  const world = await World.open(disk, new Witness(), { limits: poolOf(20, 8192) });
  for (let index = 0; index < 60; index++) {
    t.equal((await world.append(streamA, 900)).kind, 'stored');
  }
  t.equal(world.damage.filter(({ kind }) => kind === 'space').length, 1);
  t.equal(world.log.stats().usedBytes, 4 * 8192);
  await world.check();
  const full = new SimulatedFilesystem({ capacityBytes: 131_072 });
  const none = await World.open(full, new Witness(), { limits: poolOf(20, 8192) });
  t.match(await none.append(streamA, 900), { kind: 'refused', reason: 'disk', message: /single slot/ });
  full.capacityBytes = Number.POSITIVE_INFINITY;
  t.equal((await none.append(streamA, 900)).kind, 'stored', 'space that came free is used');
});

void t.test('slots with failed writes are set aside, stay readable, and may use up the pool', async (t) => {
  const disk = new SimulatedFilesystem();
  const witness = new Witness();
  const limits = poolOf(4, 8192);
  const world = await World.open(disk, witness, { limits });
  await world.append(streamA, 500);
  disk.onOperation = ({ kind, path }) =>
    kind === 'datasync' && path.endsWith('/slots') ? { kind: 'error', errno: 'EIO' } : undefined;
  for (let count = 0; count < 4; count++) {
    t.match(await world.append(streamA, 500), { kind: 'refused', reason: 'disk' });
  }
  disk.onOperation = undefined;
  t.match(await world.append(streamA, 500), { kind: 'refused', reason: 'disk', message: /set aside/ });
  t.equal(world.log.stats().flash.slotsAside, 4);
  t.equal((await world.readAll(streamA)).length, 1);
  for (const choose of [lose, keep]) {
    const next = await World.open(disk.crash(choose), witness.snapshot(), { seed: 2, limits });
    await next.check();
    t.equal((await next.append(streamA, 500)).kind, 'stored', 'a restart gives them back');
    await next.check();
  }
  await world.clock.advance(30_000);
  t.equal(world.log.stats().flash.slotsAside, 0);
  t.equal((await world.append(streamA, 500)).kind, 'stored', 'and so does time');
  for (let count = 0; count < 40; count++) await world.append(streamA, 900);
  t.equal(world.log.stats().usedBytes, 4 * 8192, 'each of them is used again');
  t.ok(world.evictions.length > 0);
  await world.check();
});

void t.test(
  'what a failed write left in a slot does not come back when the slot is free again',
  async (t) => {
    const disk = new SimulatedFilesystem();
    const witness = new Witness();
    const limits = poolOf(4, 8192);
    const world = await World.open(disk, witness, { limits });
    disk.onOperation = ({ kind, path }) =>
      kind === 'datasync' && path.endsWith('/slots') ? { kind: 'error', errno: 'EIO' } : undefined;
    t.match(await world.append(streamA, 500), { kind: 'refused', reason: 'disk' });
    disk.onOperation = undefined;
    await world.clock.advance(30_000);
    t.equal(world.log.stats().flash.slotsAside, 0);
    for (let count = 0; count < 3; count++) await world.sync();
    t.equal(world.log.stats().usedBytes, 0, 'it is free');
    const next = await World.open(disk.crash(keep), witness.snapshot(), { seed: 2, limits });
    t.equal((await next.readAll(streamA)).length, 0);
    await next.check();
  },
);

void t.test('files of another version are left alone, and do not keep the log from service', async (t) => {
  const disk = new SimulatedFilesystem();
  const world = await World.open(disk, new Witness(), { limits: poolOf(8) });
  await world.append(streamA, 500);
  await world.log.close();
  for (const sizeBytes of [0, 1, 1024, 2 ** 32 - 1]) {
    const other = disk.crash(keep);
    const handle = await other.open('/data/buffer/slots');
    const header = Buffer.from(encodeHeader({ nonce: 1, life: 1, priority: 1, run: 1, sizeBytes }));
    header.writeUInt16LE(formatVersion + 1, 8);
    header.writeUInt32LE(crc32(header.subarray(0, 40)), 40);
    await handle.write(header, 0);
    await handle.close();
    const next = await World.open(other, new Witness(), { seed: 2, limits: poolOf(8) });
    t.ok(next.damage.find(({ kind, message }) => kind === 'slot' && message.includes('left alone')));
    t.equal((await next.append(streamA, 500)).kind, 'stored');
  }
  for (const text of ['{}', 'null', 'no JSON']) {
    const other = disk.crash(keep);
    const handle = await other.open('/data/buffer/cursor');
    const record = Buffer.concat([Buffer.from('BATONCUR'), Buffer.alloc(8), Buffer.from(text)]);
    record.writeUInt32LE(text.length, 8);
    record.writeUInt32LE(crc32(Buffer.from(text), text.length), 12);
    for (const position of [0, 65_536]) await handle.write(record, position);
    await handle.close();
    const next = await World.open(other, world.witness.snapshot(), { seed: 2, limits: poolOf(8) });
    t.ok(next.damage.find(({ kind }) => kind === 'cursor'));
    await next.check();
    t.ok(other.paths().includes('/data/buffer/cursor.damaged'));
  }
});

void t.test('one flush for all priorities, and what it costs', async (t) => {
  const disk = new SimulatedFilesystem();
  const limits = { quotaBytes: bytes(8 * 1024 * 1024), segmentBytesMax: bytes(1024 * 1024) };
  const world = await World.open(disk, new Witness(), { limits });
  const before = world.log.stats().flash;
  let flushes = 0;
  let growth = 0;
  const size = disk.contentOf('/data/buffer/slots').length;
  disk.onOperation = ({ kind, path, position, length }) => {
    if (kind === 'datasync' && path.endsWith('/slots')) flushes += 1;
    if (kind === 'write' && path.endsWith('/slots')) growth = Math.max(growth, position + length - size);
    if (!['write', 'datasync', 'read'].includes(kind)) throw new Error(`${kind} in service`);
    return undefined;
  };
  for (let round = 0; round < 50; round++) {
    const all = [streamA, streamB, streamC].map((stream) => world.append(stream, 160));
    await Promise.all(all);
  }
  t.equal(flushes, 50);
  t.ok(growth <= 0);
  const { commits, payloadBytes, deviceBytes } = world.log.stats().flash;
  t.equal(commits - before.commits, 50);
  t.equal(payloadBytes, 150 * 160);
  // A page per slot that the commit touches; streams A and B share one.
  t.equal(deviceBytes - before.deviceBytes, 50 * 2 * 4096);
});

void t.test('small commits are packed once half the pool is in use', async (t) => {
  const limits = poolOf(4, 65_536);
  const world = await World.open(new SimulatedFilesystem(), new Witness(), { limits });
  const counts: number[] = [];
  for (let slots = 1; slots <= 4; slots++) {
    let count = 0;
    while (world.log.stats().usedBytes <= slots * 65_536 && count < 1000 && world.log.stats().evicted === 0) {
      await world.append(streamA, 160);
      count += 1;
    }
    counts.push(count);
  }
  t.ok((counts[0] ?? 99) < 20 && (counts[1] ?? 99) < 20, `a page each: ${counts.join()}`);
  t.ok((counts[2] ?? 0) > 250 && (counts[3] ?? 0) > 250, `side by side: ${counts.join()}`);
  await world.check();
});
