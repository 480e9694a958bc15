// Proves, without root, that a recorded log of requests is read as the format says, and that the device after a power cut
// holds every request before the last flush, those writes that are durable by themselves, and of the others exactly what
// survived, in units of sectors; that every kind of outcome is what it is called; that cuts fall where they are wanted.
import t from 'tap';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { CutDevice, drawCut, drawCuts, outcomes, pendingBefore } from './cut-state.ts';
import type { Cut } from './cut-state.ts';
import { idOf, payloadOf } from './facts.ts';
import { readWriteLog, sectorBytes } from './write-log.ts';
import type { ReadableFile, WriteLogEntry } from './write-log.ts';

const seed = Number(process.env['BATON_TEST_SEED'] ?? 1);
t.comment(`seed ${seed}, set BATON_TEST_SEED for another`);

/** A request: sector, sectors and the octet that they are filled with, and flags. */
interface Request {
  readonly sector?: number;
  readonly sectors?: number;
  readonly fill?: number;
  readonly flags?: number;
  readonly mark?: string;
}

const flush: Request = { flags: 1 };
const deviceSectors = 64;

/** A write log as the kernel and QEMU lay it out. */
function logOf(requests: readonly Request[], unit = sectorBytes): Buffer {
  const head = Buffer.alloc(unit);
  head.writeBigUInt64LE(0x6a736677736872n, 0);
  head.writeBigUInt64LE(1n, 8);
  head.writeBigUInt64LE(BigInt(requests.length), 16);
  head.writeUInt32LE(unit, 24);
  const pieces = [head];
  for (const { sector = 0, sectors = 0, fill = 0, flags = 0, mark = '' } of requests) {
    const entry = Buffer.alloc(unit);
    for (const [index, value] of [sector, sectors, flags, mark.length].entries()) {
      entry.writeBigUInt64LE(BigInt(value), index * 8);
    }
    pieces.push(entry, Buffer.alloc((flags & 4) !== 0 ? 0 : sectors * unit, fill));
    if (mark !== '') pieces.push(Buffer.from(mark.padEnd(Math.ceil(mark.length / unit) * unit, '\0')));
  }
  return Buffer.concat(pieces);
}

function fileOf(content: Uint8Array): ReadableFile {
  return {
    read: async (target, position) => {
      const part = content.subarray(position, position + target.length);
      target.set(part);
      return part.length;
    },
  };
}

async function recordingOf(
  requests: readonly Request[],
): Promise<{ entries: WriteLogEntry[]; device: CutDevice }> {
  const log = fileOf(logOf(requests));
  const entries = await readWriteLog(log);
  return { entries, device: new CutDevice(Buffer.alloc(deviceSectors * sectorBytes), entries, log) };
}

/** The first octet of each of the first `count` sectors. */
function sectorsOf(device: Uint8Array, count: number): number[] {
  return Array.from({ length: count }, (_, index) => device[index * sectorBytes] ?? -1);
}

void t.test(
  'the log: places, flags, marks, discards, sector sizes, a bounded number, and what is none',
  async (t) => {
    const requests = [
      { sector: 8, sectors: 2, fill: 1 },
      flush,
      { sector: 3, sectors: 1, fill: 2, flags: 2 },
      { mark: 'here', flags: 8 },
      { sector: 5, sectors: 4, flags: 4 },
      { sector: 9, sectors: 1, fill: 3, flags: 3 },
    ];
    for (const unit of [512, 4096]) {
      const entries = await readWriteLog(fileOf(logOf(requests, unit)));
      const rows = entries.map((entry) => [
        entry.offset / unit,
        entry.length / unit,
        entry.isFlush,
        entry.isFua,
        entry.isDiscard,
      ]);
      t.strictSame(rows, [
        [8, 2, false, false, false],
        [0, 0, true, false, false],
        [3, 1, false, true, false],
        [0, 0, false, false, false],
        [5, 4, false, false, true],
        [9, 1, true, true, false],
      ]);
      t.equal(
        entries[5]?.dataAt,
        unit * 11,
        'after superblock, six heads, two and one of data, one of mark and one',
      );
    }
    const log = logOf(requests);
    t.equal((await readWriteLog(fileOf(log), 3)).length, 3);
    await t.rejects(readWriteLog(fileOf(Buffer.alloc(512))), /magic/);
    await t.rejects(readWriteLog(fileOf(log.subarray(0, 2000))), /within an entry/);
    const newer = Buffer.from(log);
    newer.writeBigUInt64LE(2n, 8);
    await t.rejects(readWriteLog(fileOf(newer)), /version 2/);
  },
);

void t.test('the device after a cut, by outcome', async (t) => {
  const requests = [
    { sector: 0, sectors: 1, fill: 1 },
    { sector: 1, sectors: 1, fill: 2 },
    flush,
    { sector: 0, sectors: 1, fill: 3 },
    { sector: 2, sectors: 1, fill: 4, flags: 2 },
    { sector: 4, sectors: 4, fill: 5 },
  ];
  const entropy = new SeededEntropy(seed);
  const { entries } = await recordingOf(requests);
  const after = async (cut: Cut): Promise<number[]> =>
    sectorsOf(await (await recordingOf(requests)).device.after(cut), 8);
  t.strictSame(pendingBefore(entries, 6), [3, 5], 'not what was flushed, not what is durable by itself');
  t.strictSame(pendingBefore(entries, 3), []);
  t.strictSame(pendingBefore(entries, 2), [0, 1]);
  t.strictSame(await after(drawCut(entries, 6, 'none', entropy)), [1, 2, 4, 0, 0, 0, 0, 0]);
  t.strictSame(await after(drawCut(entries, 6, 'all', entropy)), [3, 2, 4, 0, 5, 5, 5, 5]);
  t.strictSame(await after(drawCut(entries, 4, 'all', entropy)), [3, 2, 0, 0, 0, 0, 0, 0]);
  t.strictSame(await after(drawCut(entries, 2, 'none', entropy)), [0, 0, 0, 0, 0, 0, 0, 0]);
  const seen = {
    torn: new Set<string>(),
    half: new Set<string>(),
    allButOne: new Set<string>(),
    sectors: new Set<string>(),
  };
  for (let draw = 0; draw < 400; draw++) {
    for (const outcome of ['torn', 'half', 'allButOne', 'sectors'] as const) {
      const found = await after(drawCut(entries, 6, outcome, entropy));
      if (found.slice(1, 4).join() !== '2,4,0') t.fail(`${outcome} changes what is durable: ${found.join()}`);
      seen[outcome].add([found[0], ...found.slice(4)].join(' '));
    }
  }
  t.strictSame([...seen.torn].sort(), ['3 0 0 0 0', '3 5 0 0 0', '3 5 5 0 0', '3 5 5 5 0']);
  t.strictSame([...seen.half].sort(), ['1 0 0 0 0', '1 5 5 5 5', '3 0 0 0 0', '3 5 5 5 5']);
  t.strictSame([...seen.allButOne].sort(), ['1 5 5 5 5', '3 0 0 0 0']);
  t.equal(seen.sectors.size, 32, 'every subset of five sectors');
});

void t.test('devices of later cuts build on the same recording and leave earlier ones alone', async (t) => {
  const { entries, device } = await recordingOf([
    { sector: 0, sectors: 1, fill: 1 },
    flush,
    { sector: 0, sectors: 1, fill: 2 },
    { sector: 1, sectors: 1, fill: 9 },
    flush,
    { sector: 1, sectors: 2, flags: 4 },
  ]);
  const cut = (position: number): Cut => drawCut(entries, position, 'all', new SeededEntropy(seed));
  const early = await device.after(cut(2));
  const late = await device.after(cut(5));
  const last = await device.after(cut(6));
  t.strictSame(
    [early, late, last].map((image) => sectorsOf(image, 2)),
    [
      [1, 0],
      [2, 9],
      [2, 0],
    ],
  );
  await t.rejects(device.after(cut(2)), /beyond it/);
  const outside = await recordingOf([{ sector: deviceSectors, sectors: 1 }]);
  await t.rejects(
    outside.device.after(drawCut(outside.entries, 1, 'all', new SeededEntropy(seed))),
    /beyond the device/,
  );
});

void t.test(
  'cuts: the end always, ascending, within the range, windows and outcomes in their share',
  async (t) => {
    const write = { sector: 1, sectors: 1, fill: 1 };
    const { entries } = await recordingOf(
      Array.from({ length: 500 }, (_, index) => (index % 2 === 0 ? write : flush)),
    );
    const window = { first: 100, last: 110 };
    for (const count of [1, 2, 8, 60, 900]) {
      const cuts = drawCuts(entries, { first: 20, last: 500 }, [window], 0.5, count, new SeededEntropy(seed));
      const positions = cuts.map(({ position }) => position);
      t.equal(cuts.length, count);
      t.equal(positions.at(-1), 500);
      t.strictSame(
        positions,
        [...positions].sort((a, b) => a - b),
      );
      t.ok(positions.every((position) => position >= 20 && position <= 500));
      if (count < 60) continue;
      const within = positions.filter((position) => position >= window.first && position <= window.last);
      t.ok(within.length >= (count - 1) / 2 - 1, `${within.length} of ${count} in the window`);
      t.same(new Set(cuts.map(({ outcome }) => outcome)), new Set(outcomes));
      const pending = cuts.filter(({ survivors }) => survivors.size > 0).length;
      if (count < 480) t.ok(pending > 0.75 * count, `${pending} of ${count} have something to lose`);
      t.strictSame(
        drawCuts(entries, { first: 20, last: 500 }, [window], 0.5, count, new SeededEntropy(seed)),
        cuts,
        'the same seed draws the same',
      );
    }
  },
);

void t.test('payloads tell their name and any change', async (t) => {
  for (const size of [0, 1, 40, 300]) {
    const id = `meter#3.17:${size}`;
    const payload = payloadOf(id);
    t.equal(idOf(payload), id);
    t.equal(payload.length, Math.max(size, id.length + 5));
    for (const at of [0, payload.length - 1]) {
      const changed = new Uint8Array(payload);
      changed[at] = (changed[at] ?? 0) ^ 1;
      t.throws(() => idOf(changed));
    }
    t.throws(() => idOf(payload.subarray(0, -1)));
  }
});
