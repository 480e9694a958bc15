// Rate and delay of the buffer on this machine's disk: records/s and p50/p99 of an append, class A one at a time and
// class B with company, in a temporary folder. --json prints one object; --check fails when far below what a gateway
// needs, so that a gross regression shows on any machine.
import * as fs from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { millis, streamName, unixMillis } from '../../src/base/units.ts';
import { openReadingLog } from '../../src/buffer/reading-log.ts';
import type { ReadingLog } from '../../src/buffer/reading-log.ts';
import { NodeClock } from '../../src/host/clock.ts';
import { NodeEntropy } from '../../src/host/entropy.ts';
import { NodeFilesystem } from '../../src/host/filesystem.ts';

interface Figures {
  readonly class: string;
  readonly records: number;
  readonly recordsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    check: { type: 'boolean' },
    seconds: { type: 'string', default: '2' },
  },
});
const directory = await fs.mkdtemp(join(tmpdir(), 'baton-bench-'));
const clock = new NodeClock();
const urgent = streamName('urgent');
const regular = streamName('regular');

try {
  const log = await openReadingLog({
    filesystem: new NodeFilesystem(),
    clock,
    entropy: new NodeEntropy(),
    directory,
    streams: [
      { name: urgent, durability: 'A', priority: 1 },
      { name: regular, durability: 'B', priority: 1, lingerMs: millis(20) },
    ],
  });
  const figures = [await measure(log, 'A', 1), await measure(log, 'B', 64)];
  await log.close();
  if (values.json === true) console.log(JSON.stringify({ buffer: figures }));
  else console.table(figures);
  const slow = figures.filter(({ recordsPerSecond }) => recordsPerSecond < 20);
  if (values.check === true && slow.length > 0) {
    console.error(`fewer than 20 records/s in class ${slow.map((row) => row.class).join(', ')}`);
    process.exitCode = 1;
  }
} finally {
  await fs.rm(directory, { recursive: true });
}

/** Appends 160-octet records in `lanes` that each wait for their own, delivering as it goes. */
async function measure(log: ReadingLog, durability: 'A' | 'B', lanes: number): Promise<Figures> {
  const stream = durability === 'A' ? urgent : regular;
  const beginMs = clock.monotonicMs();
  const endMs = beginMs + Number(values.seconds) * 1000;
  const delaysMs: number[] = [];
  const lane = async (): Promise<void> => {
    while (clock.monotonicMs() < endMs) {
      const atMs = clock.monotonicMs();
      const wall = { unixMs: unixMillis(0), source: 'system' as const };
      const result = await log.append({ stream, payload: new Uint8Array(160), monotonicMs: atMs, wall });
      if (result.kind !== 'stored') throw new Error(JSON.stringify(result));
      delaysMs.push(clock.monotonicMs() - atMs);
      log.acknowledge(stream, result.record.seq);
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  const seconds = (clock.monotonicMs() - beginMs) / 1000;
  delaysMs.sort((a, b) => a - b);
  const share = (part: number): number =>
    Math.round((delaysMs[Math.floor(part * (delaysMs.length - 1))] ?? 0) * 100) / 100;
  return {
    class: durability,
    records: delaysMs.length,
    recordsPerSecond: Math.round(delaysMs.length / seconds),
    p50Ms: share(0.5),
    p99Ms: share(0.99),
  };
}
