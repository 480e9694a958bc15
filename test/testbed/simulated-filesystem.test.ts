// Proves that the simulated disk behaves like the real one while the power is on, loses exactly what it may when the
// power goes, and that its faults do what they say.
import t from 'tap';
import { settle } from '../../src/host/clock.ts';
import { SimulatedFilesystem } from '../../src/testbed/simulated-filesystem.ts';
import type { Choose } from '../../src/testbed/simulated-disk.ts';

const lose: Choose = () => 0;
const keep: Choose = (options) => options - 1;
const sector = (fill: number): Uint8Array => new Uint8Array(512).fill(fill);

async function withFile(disk: SimulatedFilesystem): Promise<void> {
  await disk.createDirectory('/d');
  await disk.syncDirectory('/');
  const handle = await disk.open('/d/f', { create: true });
  await handle.write(Buffer.concat([sector(1), sector(1), sector(1)]), 0);
  await handle.datasync();
  await disk.syncDirectory('/d');
}

/** The first octet of each sector after a power cut, over every choice. */
async function outcomes(disk: SimulatedFilesystem): Promise<string[]> {
  const found = new Set<string>();
  let prefix: number[] = [];
  for (;;) {
    const taken: [number, number][] = [];
    const image = disk.crash((options) => {
      const pick = prefix[taken.length] ?? 0;
      taken.push([pick, options]);
      return pick;
    });
    const content = image.contentOf('/d/f');
    found.add(Array.from({ length: content.length / 512 }, (_, at) => content[at * 512]).join(''));
    let last = taken.pop();
    while (last !== undefined && last[0] + 1 >= last[1]) last = taken.pop();
    if (last === undefined) return [...found].sort();
    prefix = [...taken.map(([pick]) => pick), last[0] + 1];
  }
}

void t.test('any subset of unsynced sectors, any version of each, any size reached', async (t) => {
  const disk = new SimulatedFilesystem();
  await withFile(disk);
  t.strictSame(await outcomes(disk), ['111']);
  const handle = await disk.open('/d/f');
  await handle.write(sector(2), 0);
  await handle.write(sector(3), 1024);
  t.strictSame(await outcomes(disk), ['111', '113', '211', '213']);
  await handle.write(sector(4), 0);
  t.strictSame(await outcomes(disk), ['111', '113', '211', '213', '411', '413']);
  await handle.datasync();
  t.strictSame(await outcomes(disk), ['413']);
  await handle.write(sector(5), 1536);
  t.strictSame(await outcomes(disk), ['413', '4130', '4135'], 'a longer file may come without its data');
});

void t.test('a failed datasync leaves its sectors in doubt, whatever a later one says', async (t) => {
  const disk = new SimulatedFilesystem();
  await withFile(disk);
  const handle = await disk.open('/d/f');
  await handle.write(sector(2), 0);
  disk.onOperation = ({ kind }) => (kind === 'datasync' ? { kind: 'error', errno: 'EIO' } : undefined);
  await t.rejects(handle.datasync(), { code: 'IO', errno: 'EIO' });
  disk.onOperation = undefined;
  await handle.write(sector(3), 512);
  await handle.datasync();
  t.strictSame(await outcomes(disk), ['131', '231']);
  await handle.write(sector(4), 0);
  await handle.datasync();
  t.strictSame(await outcomes(disk), ['431']);
});

void t.test('names: a prefix of what happened since the directory was synced', async (t) => {
  const disk = new SimulatedFilesystem();
  await withFile(disk);
  await (await disk.open('/d/g', { create: true })).close();
  await disk.rename('/d/g', '/d/f');
  await disk.remove('/d/f');
  const after = async (count: number): Promise<string[]> => disk.crash(() => count).list('/d');
  t.strictSame(await after(0), ['f']);
  t.strictSame(await after(1), ['f', 'g']);
  t.strictSame(await after(2), ['f']);
  t.strictSame(await after(3), []);
  t.equal(disk.crash((options) => (options === 4 ? 2 : 0)).contentOf('/d/f').length, 0, 'the renamed file');
  await disk.syncDirectory('/d');
  t.strictSame(await disk.crash(lose).list('/d'), []);
  await disk.createDirectory('/x/y');
  t.strictSame(await disk.crash(lose).list('/'), ['d']);
  await disk.syncDirectory('/');
  t.strictSame(await disk.crash(lose).list('/x'), []);
});

void t.test('errors are those of the real one', async (t) => {
  const disk = new SimulatedFilesystem();
  await withFile(disk);
  await t.rejects(disk.open('/d/none'), { errno: 'ENOENT', message: /\/d\/none/ });
  await t.rejects(disk.open('/d/f', { create: true }), { code: 'IO', errno: 'EEXIST' });
  await t.rejects(disk.open('/none/f', { create: true }), { code: 'IO', errno: 'ENOENT' });
  await t.rejects(disk.open('/d'), { code: 'IO', errno: 'EISDIR' });
  await t.rejects(disk.list('/d/f'), { code: 'IO', errno: 'ENOTDIR' });
  await t.rejects(disk.rename('/d/none', '/d/x'), { code: 'IO', errno: 'ENOENT' });
  await t.resolves(disk.remove('/d/none'));
  const handle = await disk.open('/d/f');
  const target = new Uint8Array(2000);
  t.equal(await handle.read(target, 1000), 536);
  t.equal(await handle.read(target, 9000), 0);
  await handle.close();
  await t.rejects(handle.size(), { code: 'IO', errno: 'EBADF' });
});

void t.test('faults: short write, full disk, damage, power cut', async (t) => {
  const disk = new SimulatedFilesystem({ capacityBytes: 5 * 512 });
  await withFile(disk);
  const handle = await disk.open('/d/f');
  disk.onOperation = ({ kind }) =>
    kind === 'write' ? { kind: 'short', length: 700, errno: 'ENOSPC' } : undefined;
  await t.rejects(handle.write(Buffer.concat([sector(2), sector(2)]), 0), { code: 'IO', errno: 'ENOSPC' });
  disk.onOperation = undefined;
  t.equal(disk.contentOf('/d/f')[699], 2);
  t.equal(disk.contentOf('/d/f')[700], 1);
  await t.rejects(handle.write(new Uint8Array(2048).fill(7), 1536), { code: 'IO', errno: 'ENOSPC' });
  t.equal(disk.contentOf('/d/f').length, 5 * 512);
  await handle.write(sector(8), 0);
  await handle.datasync();
  disk.flipBit('/d/f', 512 * 8 + 1);
  disk.zeroSector('/d/f', 0);
  const content = disk.crash(lose).contentOf('/d/f');
  t.strictSame([content[0], content[512], content[513]], [0, 0, 2]);
  await disk.remove('/d/f');
  t.equal(disk.usedBytes, 0);

  const count = disk.operationCount;
  disk.onOperation = ({ index }) => (index === count + 2 ? { kind: 'crash' } : undefined);
  await disk.list('/d');
  let isAnswered = false;
  void disk.list('/d').then(() => (isAnswered = true));
  await disk.crashed;
  void disk.list('/d').then(() => (isAnswered = true));
  await settle();
  t.notOk(isAnswered, 'nothing returns after the power has gone');
  t.strictSame(await disk.crash(keep).list('/d'), []);
});

void t.test('a disk handed over by a killed process', async (t) => {
  const first = new SimulatedFilesystem();
  const file = await first.open('/a', { create: true });
  await first.syncDirectory('/');
  await file.write(Buffer.from('written'), 0);
  const late = file.datasync();
  const second = first.handOver();
  t.equal(
    Buffer.from(second.contentOf('/a')).toString(),
    'written',
    'the kill loses nothing that was written',
  );
  t.equal(second.crash(() => 0).contentOf('/a').length, 0, 'but a power cut after it may still take it');
  const settled = await Promise.race([late.then(() => 'returned'), Promise.resolve('silent')]);
  t.equal(settled, 'silent', 'no call of the killed process returns');
});
