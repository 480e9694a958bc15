import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { millis } from '../../../src/base/units.ts';
import { NodeClock, sleep } from '../../../src/host/clock.ts';
import { makePayloads, payloadBytes, payloadNumber } from './engine.ts';
import { loadEngine } from './engines.ts';
import type { ConsumeJob, ConsumeResult, FillJob, FillResult, OpenJob, OpenResult } from './jobs.ts';

const clock = new NodeClock();
const fillBatch = 4096;
const acknowledgedAtOnce = 256;
const samples = 20;

/** Makes a backlog. */
export async function runFill(job: FillJob): Promise<FillResult> {
  const open = await loadEngine(job.engine);
  const engine = await open({ ...job, isBulk: true });
  const beginMs = clock.monotonicMs();
  for (let done = 0; done < job.records; done += fillBatch) {
    await engine.append(makePayloads(done, Math.min(fillBatch, job.records - done)));
  }
  const recordsPerSecond = (job.records * 1000) / (clock.monotonicMs() - beginMs);
  if (!job.isKilled) await engine.close();
  return { recordsPerSecond };
}

/** Opens a store with a backlog and takes the first record. */
export async function runOpen(job: OpenJob): Promise<OpenResult> {
  const open = await loadEngine(job.engine);
  const beginMs = clock.monotonicMs();
  const engine = await open(job);
  const openMs = clock.monotonicMs() - beginMs;
  const [first] = await engine.deliver(1);
  const firstRecordMs = clock.monotonicMs() - beginMs;
  await sleep(clock, millis(500));
  const rssBytes = process.memoryUsage.rss();
  const rssBytesMax = process.resourceUsage().maxRSS * 1024;
  const status = await fs.readFile('/proc/self/status', 'latin1').catch(() => '');
  const anonymousKib = /^RssAnon:\s+(\d+)/m.exec(status)?.[1];
  await engine.close();
  return {
    openMs,
    rssBytes,
    rssBytesMax,
    ...(anonymousKib === undefined ? {} : { anonymousBytes: Number(anonymousKib) * 1024 }),
    ...(first === undefined ? {} : { firstRecordMs }),
  };
}

/** Takes a whole backlog out of a store. */
export async function runConsume(job: ConsumeJob): Promise<ConsumeResult> {
  const { records, statPath, mount, directory } = job;
  const open = await loadEngine(job.engine);
  const engine = await open(job);
  // Loaded here only, as the memory of an open store is measured without it.
  const { readCounts } = await import('./device-counts.ts');
  const before = statPath === undefined ? undefined : await readCounts(mount, statPath);
  const rssBytes: number[] = [];
  const beginMs = clock.monotonicMs();
  let done = 0;
  while (done < records) {
    const payloads = await engine.deliver(acknowledgedAtOnce);
    for (const payload of payloads) {
      if (payloadNumber(payload) !== done) throw new Error(`record ${done} is ${payloadNumber(payload)}`);
      done++;
    }
    if (payloads.length === 0) throw new Error(`the backlog ends after ${done} of ${records} records`);
    await engine.acknowledge();
    if (done >= ((rssBytes.length + 1) * records) / samples) rssBytes.push(process.memoryUsage.rss());
  }
  const seconds = (clock.monotonicMs() - beginMs) / 1000;
  const left = await engine.deliver(1);
  if (left.length > 0) throw new Error('records are left');
  await engine.close();
  const after = statPath === undefined ? undefined : await readCounts(mount, statPath);
  const figures = {
    seconds,
    recordsPerSecond: records / seconds,
    rssBytes,
    keptBytes: await sizeOf(directory),
  };
  if (before === undefined || after === undefined) return figures;
  const deviceBytes = after.writtenBytes - before.writtenBytes;
  return { ...figures, deviceBytesPerPayloadByte: deviceBytes / (records * payloadBytes) };
}

async function sizeOf(directory: string): Promise<number> {
  let total = 0;
  for (const name of await fs.readdir(directory)) {
    total += (await fs.stat(join(directory, name))).blocks * 512;
  }
  return total;
}
