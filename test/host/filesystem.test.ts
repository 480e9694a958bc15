// Proves that the real file system does what the buffer builds on, that the buffer works on it, and that a process
// killed with SIGKILL in the middle of appends loses nothing that it had printed as stored.
import { spawn } from 'node:child_process';
import * as fs from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { bytes, millis, streamName, unixMillis } from '../../src/base/units.ts';
import { DurableState } from '../../src/buffer/durable-state.ts';
import { openJournal } from '../../src/buffer/journal.ts';
import { openReadingLog } from '../../src/buffer/reading-log.ts';
import type { ReadingLog } from '../../src/buffer/reading-log.ts';
import type { LogDamage } from '../../src/buffer/log-options.ts';
import { NodeClock } from '../../src/host/clock.ts';
import { NodeEntropy } from '../../src/host/entropy.ts';
import { NodeFilesystem, readWhole } from '../../src/host/filesystem.ts';

const stream = streamName('s');
const filesystem = new NodeFilesystem();

function openLog(directory: string, damage: LogDamage[] = []): Promise<ReadingLog> {
  return openReadingLog({
    filesystem,
    clock: new NodeClock(),
    entropy: new NodeEntropy(),
    directory,
    limits: { segmentBytesMax: bytes(20_000), quotaBytes: bytes(50_000_000) },
    streams: [{ name: stream, durability: 'A', priority: 1 }],
    onDamage: (found) => damage.push(found),
  });
}

async function append(log: ReadingLog, text: string): Promise<number> {
  const wall = { unixMs: unixMillis(0), source: 'system' as const };
  const result = await log.append({ stream, payload: Buffer.from(text), monotonicMs: millis(0), wall });
  if (result.kind !== 'stored') throw new Error(JSON.stringify(result));
  return result.record.seq;
}

/** The child: appends without end, several at a time, and prints each record once it is stored. */
async function appendForEver(directory: string): Promise<void> {
  const log = await openLog(directory);
  const lane = async (name: number): Promise<void> => {
    for (let count = 0; ; count++) {
      const text = `${process.pid}.${name}.${count}`.padEnd(40 + ((count * 37) % 400), '_');
      const seq = await append(log, text);
      process.stdout.write(`${seq} ${text}\n`);
    }
  };
  await Promise.all([lane(1), lane(2), lane(3)]);
}

/** Runs the child until it has printed `count` records, kills it, and returns every complete line. */
async function killAfter(directory: string, count: number): Promise<string[]> {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url)], {
    env: { ...process.env, BATON_TEST_APPEND: directory },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines: string[] = [];
  const ended = new Promise((resolve) => child.once('close', resolve));
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line);
    if (lines.length === count) child.kill('SIGKILL');
  }
  await ended;
  // The last line may have been cut by the kill.
  return lines.slice(0, -1);
}

const childDirectory = process.env['BATON_TEST_APPEND'];
if (childDirectory !== undefined) await appendForEver(childDirectory);

const folder = await fs.mkdtemp(join(tmpdir(), 'baton-buffer-'));
t.teardown(() => fs.rm(folder, { recursive: true }));

void t.test('files, names and errors', async (t) => {
  const directory = join(folder, 'deep', 'er');
  await filesystem.createDirectory(directory);
  await filesystem.createDirectory(directory);
  const handle = await filesystem.open(join(directory, 'b'), { create: true });
  await handle.write(Buffer.from('hello'), 3);
  await handle.datasync();
  t.equal(await handle.size(), 8);
  const target = new Uint8Array(20);
  t.equal(await handle.read(target, 4), 4);
  t.equal(await handle.read(target, 40), 0);
  await handle.close();
  await filesystem.syncDirectory(directory);
  await t.rejects(filesystem.open(join(directory, 'b'), { create: true }), { errno: 'EEXIST', code: 'IO' });
  await t.rejects(filesystem.open(join(directory, 'none')), { errno: 'ENOENT', message: /none/ });
  await t.rejects(filesystem.list(join(directory, 'none')), { code: 'IO', errno: 'ENOENT' });
  await filesystem.rename(join(directory, 'b'), join(directory, 'a'));
  t.strictSame(await filesystem.list(directory), ['a']);
  t.equal(
    Buffer.from((await readWhole(filesystem, join(directory, 'a'), 100)) ?? []).toString(),
    '\0\0\0hello',
  );
  t.equal(await readWhole(filesystem, join(directory, 'b'), 100), undefined);
  await t.rejects(readWhole(filesystem, join(directory, 'a'), 7), { code: 'IO', message: /8 bytes/ });
  await filesystem.remove(join(directory, 'a'));
  await filesystem.remove(join(directory, 'a'));
});

void t.test('the log, a state and a journal on a real disk', async (t) => {
  const directory = join(folder, 'log');
  const log = await openLog(directory);
  for (let count = 1; count <= 100; count++) await append(log, `${count}`.repeat(100));
  t.equal((await log.peek(stream, 1000)).length, 100);
  log.acknowledge(stream, (await log.peek(stream, 60)).at(-1)?.seq ?? log.lastSeq(stream));
  await log.close();
  const damage: LogDamage[] = [];
  const again = await openLog(directory, damage);
  t.strictSame(damage, []);
  t.equal(again.logId, log.logId);
  t.equal((await again.peek(stream, 1000)).length, 40);
  t.match(again.stats(), { stored: 100, delivered: 60, pending: 40 });
  again.acknowledge(stream, again.lastSeq(stream));
  await again.close();
  t.strictSame(await fs.readdir(directory), ['cursor', 'slots']);

  const decode = (value: unknown): string => String(value);
  const state = new DurableState({ filesystem, directory: folder, name: 'state', version: 1, decode });
  await state.save('one');
  await state.save('two');
  t.equal(await state.load(), 'two');
  const options = { filesystem, entropy: new NodeEntropy(), directory: folder, name: 'journal', decode };
  const journal = await openJournal(options);
  await Promise.all(['a', 'b', 'c'].map((entry) => journal.append(entry)));
  await journal.compact((entry) => entry !== 'b');
  await journal.append('d');
  await journal.close();
  const journalAgain = await openJournal(options);
  t.strictSame(journalAgain.entries(), ['a', 'c', 'd']);
  await journalAgain.close();
});

void t.test('killed in the middle of appends', async (t) => {
  const directory = join(folder, 'killed');
  const printed = new Map<number, string>();
  for (const count of [5, 60, 200]) {
    for (const line of await killAfter(directory, count)) {
      const [seq = '', text = ''] = line.split(' ');
      t.notOk(printed.has(Number(seq)), `${seq} was given once`);
      printed.set(Number(seq), text);
    }
  }
  const log = await openLog(directory);
  const found = new Map<number, string>();
  for (;;) {
    const after = [...found.keys()].at(-1);
    const window = await log.peek(stream, 50, after === undefined ? undefined : (after as never));
    if (window.length === 0) break;
    for (const record of window) found.set(record.seq, Buffer.from(record.payload).toString());
  }
  const lost = [...printed].filter(([seq, text]) => found.get(seq) !== text);
  t.strictSame(lost, []);
  t.ok(printed.size > 200);
  t.equal(log.stats().pending, found.size);
  await log.close();
});
