// Proves that a saved state and a journal survive a power cut at any file operation: what was reported saved is there,
// what was not may be, nothing else is; that damage falls back to the former value or costs one entry; and that one
// failed operation anywhere leaves both usable.
import t from 'tap';
import { bytes } from '../../src/base/units.ts';
import { DecodeError, LimitError } from '../../src/base/errors.ts';
import { DurableState } from '../../src/buffer/durable-state.ts';
import { openJournal } from '../../src/buffer/journal.ts';
import type { Journal } from '../../src/buffer/journal.ts';
import { FileError } from '../../src/host/filesystem.ts';
import type { Filesystem } from '../../src/host/filesystem.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { SimulatedFilesystem } from '../../src/testbed/simulated-filesystem.ts';
import { drawn, keep, lose } from './world.ts';

interface Value {
  readonly count: number;
  readonly text: string;
}

function decodeValue(value: unknown): Value {
  if (typeof value === 'object' && value !== null && 'count' in value && 'text' in value) {
    if (typeof value.count === 'number' && typeof value.text === 'string') {
      return { count: value.count, text: value.text };
    }
  }
  throw new DecodeError('not a value of this test');
}

function valueOf(count: number): Value {
  return { count, text: `${count}`.repeat(300 + 100 * (count % 5)) };
}

function stateOn(filesystem: Filesystem, messages: string[] = []): DurableState<Value> {
  return new DurableState({
    filesystem,
    directory: '/data',
    name: 'serving',
    version: 3,
    decode: decodeValue,
    bytesMax: bytes(20_000),
    onDamage: (message) => messages.push(message),
  });
}

function journalOn(filesystem: Filesystem, seed = 1, messages: string[] = []): Promise<Journal<Value>> {
  return openJournal({
    filesystem,
    entropy: new SeededEntropy(seed),
    directory: '/data',
    name: 'handover',
    decode: decodeValue,
    bytesMax: bytes(20_000),
    onDamage: (message) => messages.push(message),
  });
}

const outcomes = [lose, keep, ...[1, 2, 3, 4, 5, 6].map((seed) => drawn(new SeededEntropy(seed)))];

void t.test('state: saved values after a power cut at any operation, twice', async (t) => {
  const disk = new SimulatedFilesystem();
  let reported = 0;
  const states: { disk: SimulatedFilesystem; reported: number; cut: string }[] = [];
  const take = (cut: string): void => {
    for (const choose of outcomes) states.push({ disk: disk.crash(choose), reported, cut });
  };
  disk.onOperation = ({ index, kind, path }) => {
    take(`before ${index} ${kind} ${path}`);
    return undefined;
  };
  const state = stateOn(disk);
  t.equal(await state.load(), undefined);
  for (let count = 1; count <= 4; count++) {
    await state.save(valueOf(count));
    reported = count;
  }
  take('at the end');
  for (const { disk: image, reported: least, cut } of states) {
    const next = stateOn(image);
    const value = await next.load();
    const count = value?.count ?? 0;
    if (count < least || count > least + 1) t.fail(`${cut}: ${least} was saved and ${count} is there`);
    if (value !== undefined) t.strictSame(value, valueOf(count));
    await next.save(valueOf(9));
    for (const choose of outcomes.slice(0, 3)) {
      if ((await stateOn(image.crash(choose)).load())?.count !== 9) t.fail(`${cut}: 9 was saved and is lost`);
    }
  }
  t.ok(states.length > 200, `${states.length} states`);
});

void t.test('state: damage falls back to the former value', async (t) => {
  const disk = new SimulatedFilesystem();
  const state = stateOn(disk);
  await state.save(valueOf(1));
  await state.save(valueOf(2));
  const length = disk.contentOf('/data/serving.state').length;
  for (let bit = 0; bit < length * 8; bit += 61) {
    const image = disk.crash(keep);
    image.flipBit('/data/serving.state', bit);
    const messages: string[] = [];
    const next = stateOn(image, messages);
    if ((await next.load())?.count !== 1 || messages.length !== 1) t.fail(`bit ${bit}`);
    await next.save(valueOf(3));
    if ((await stateOn(image.crash(lose)).load())?.count !== 3) t.fail(`bit ${bit} after a save`);
  }
  const image = disk.crash(keep);
  await image.remove('/data/serving.state');
  await (await image.open('/data/serving.state', { create: true })).close();
  t.equal((await stateOn(image).load())?.count, 1, 'an empty file, as a power cut leaves it');
  const other = new DurableState({
    filesystem: disk.crash(keep),
    directory: '/data',
    name: 'serving',
    version: 4,
    decode: (value, version) => {
      t.equal(version, 3);
      if (decodeValue(value).count === 2) throw new DecodeError('from the future');
      return decodeValue(value);
    },
  });
  t.equal((await other.load())?.count, 1, 'a value that its owner cannot read');
  await t.rejects(state.save({ count: 1, text: 'x'.repeat(30_000) }), LimitError);
});

void t.test(
  'state: saves at once share writes, in order; a failed one leaves the former value',
  async (t) => {
    const disk = new SimulatedFilesystem();
    const state = stateOn(disk);
    await state.load();
    const before = disk.operationCount;
    await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map((count) => state.save(valueOf(count))));
    t.ok(disk.operationCount - before < 20);
    t.equal((await stateOn(disk.crash(lose)).load())?.count, 8);
    const from = disk.operationCount;
    await state.save(valueOf(9));
    const steps = disk.operationCount - from;
    for (let step = 1; step <= steps; step++) {
      const image = disk.crash(keep);
      const failing = stateOn(image);
      await failing.load();
      const at = image.operationCount + step;
      image.onOperation = ({ index }) => (index === at ? { kind: 'error', errno: 'EIO' } : undefined);
      const isSaved = await failing.save(valueOf(10)).then(
        () => true,
        (error: unknown) => !(error instanceof FileError),
      );
      for (const choose of outcomes) {
        const count = (await stateOn(image.crash(choose)).load())?.count;
        if (isSaved ? count !== 10 : count !== 9 && count !== 10) t.fail(`step ${step}: ${count}`);
      }
      await failing.save(valueOf(11));
      for (const choose of outcomes) {
        const count = (await stateOn(image.crash(choose)).load())?.count;
        if (count !== 11) t.fail(`step ${step}, then a good save: ${count}`);
      }
    }
  },
);

void t.test('journal: entries after a power cut at any operation, twice', async (t) => {
  const disk = new SimulatedFilesystem();
  let reported: number[] = [];
  let possible: number[][] = [[]];
  const states: { disk: SimulatedFilesystem; reported: number[]; possible: number[][]; cut: string }[] = [];
  const take = (cut: string): void => {
    for (const choose of outcomes) states.push({ disk: disk.crash(choose), reported, possible, cut });
  };
  disk.onOperation = ({ index, kind, path }) => {
    take(`before ${index} ${kind} ${path}`);
    return undefined;
  };
  const journal = await journalOn(disk);
  const append = async (...counts: number[]): Promise<void> => {
    possible = [reported, [...reported, ...counts]];
    await Promise.all(counts.map((count) => journal.append(valueOf(count))));
    reported = [...reported, ...counts];
  };
  await append(1);
  await append(2, 3, 4);
  possible = [reported, [3, 4]];
  reported = [3, 4];
  await journal.compact((entry) => entry.count > 2);
  await append(5);
  await append(6, 7);
  take('at the end');
  await journal.close();
  await t.rejects(journal.append(valueOf(1)), { code: 'IO' });
  for (const [index, { disk: image, reported: least, possible: allowed, cut }] of states.entries()) {
    const next = await journalOn(image, index + 2);
    const found = next.entries().map((entry) => entry.count);
    const text = found.join();
    const isPartial =
      least.every((count) => found.includes(count)) && allowed.some((all) => isWithin(found, all));
    if (!isPartial && !allowed.some((all) => all.join() === text))
      t.fail(`${cut}: ${least.join()} became ${text}`);
    await next.append(valueOf(8));
    for (const choose of outcomes.slice(0, 3)) {
      const again = await journalOn(image.crash(choose), index + 3);
      const then = again.entries().map((entry) => entry.count);
      if (then.join() !== [...found, 8].join())
        t.fail(`${cut}: ${[...found, 8].join()} became ${then.join()}`);
    }
  }
  t.ok(states.length > 150, `${states.length} states`);
});

function isWithin(part: readonly number[], whole: readonly number[]): boolean {
  let at = -1;
  return part.every((count) => (at = whole.indexOf(count, at + 1)) >= 0);
}

void t.test('journal: a flipped bit costs one entry', async (t) => {
  const disk = new SimulatedFilesystem();
  const journal = await journalOn(disk);
  for (let count = 1; count <= 6; count++) await journal.append(valueOf(count));
  const length = disk.contentOf('/data/handover.journal').length;
  for (let bit = 0; bit < length * 8; bit += 59) {
    const image = disk.crash(keep);
    image.flipBit('/data/handover.journal', bit);
    const messages: string[] = [];
    const next = await journalOn(image, bit, messages);
    const found = next.entries();
    if (found.length < 5) t.fail(`bit ${bit}: ${found.length} entries`);
    if (found.length < 6 && messages.length === 0) t.fail(`bit ${bit}: no report`);
    for (const entry of found)
      if (entry.text !== valueOf(entry.count).text) t.fail(`bit ${bit}: wrong entry`);
    await next.append(valueOf(7));
    const then = (await journalOn(image.crash(lose), bit + 1)).entries();
    if (then.length !== found.length + 1) t.fail(`bit ${bit}: ${then.length} after an append`);
  }
});

void t.test('journal: one failed operation anywhere; bounds', async (t) => {
  const run = async (disk: SimulatedFilesystem): Promise<number[]> => {
    const journal = await journalOn(disk);
    const kept: number[] = [];
    for (let count = 1; count <= 5; count++) {
      await journal.append(valueOf(count)).then(
        () => kept.push(count),
        (error: unknown) => {
          if (!(error instanceof FileError)) throw error;
        },
      );
    }
    t.strictSame(
      journal.entries().map((entry) => entry.count),
      kept,
    );
    return kept;
  };
  const calm = new SimulatedFilesystem();
  t.strictSame(await run(calm), [1, 2, 3, 4, 5]);
  for (let at = 1; at <= calm.operationCount; at++) {
    const disk = new SimulatedFilesystem({
      onOperation: ({ index }) => (index === at ? { kind: 'error', errno: 'EIO' } : undefined),
    });
    const kept = await run(disk).catch((error: unknown) => {
      if (!(error instanceof FileError)) throw error;
      return undefined;
    });
    if (kept === undefined) continue;
    t.ok(kept.length >= 4, `fault at ${at}`);
    for (const choose of outcomes) {
      const found = (await journalOn(disk.crash(choose), at + 2)).entries().map((entry) => entry.count);
      if (!kept.every((count) => found.includes(count)))
        t.fail(`fault at ${at}: ${kept.join()} became ${found.join()}`);
    }
  }
  const journal = await journalOn(new SimulatedFilesystem());
  await t.rejects(async () => {
    for (;;) await journal.append(valueOf(4));
  }, LimitError);
  t.ok(journal.usedBytes <= 20_000);
  await journal.compact(() => false);
  await journal.append(valueOf(4));
  t.equal(journal.entries().length, 1);
});
