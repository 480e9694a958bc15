import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { mountCard } from './emulated-card.ts';
import type { EngineName } from './engines.ts';
import type { ConsumeResult, CyclesResult, OpenResult, RatesResult } from './jobs.ts';
import { mountImage, plainFolder } from './mounted-image.ts';
import type { Volume } from './mounted-image.ts';
import type { Undo } from './undo.ts';
import { runJob } from './worker-process.ts';

const mebibyte = 1024 * 1024;

/** How much is measured. */
export interface Extent {
  readonly rounds: number;
  readonly cyclesPerRound: number;
  readonly warmCommits: number;
  /** Records pending when a store is opened, ascending. */
  readonly backlogs: readonly number[];
  /** Opens of each kind. */
  readonly openRepeats: number;
}

/** Where and with what a run measures. */
export interface Bench {
  readonly directory: string;
  readonly undo: Undo;
  readonly extent: Extent;
  /** Whether file systems on loop devices can be had. */
  readonly hasImages: boolean;
}

/** Room of the log in the steady state: eight slots. */
const steadyQuotaBytes = 32 * mebibyte;
const pauseMs = 8;

/** Runs `work` on a new file system that is gone afterwards. */
async function onVolume<T>(
  { directory, undo, hasImages }: Bench,
  sizeMib: number,
  work: (volume: Volume, store: string) => Promise<T>,
): Promise<T> {
  const volume = hasImages ? await mountImage(directory, sizeMib, undo) : await plainFolder(directory, undo);
  try {
    const store = join(volume.mount, 'store');
    await fs.mkdir(store);
    return await work(volume, store);
  } finally {
    volume.dispose();
  }
}

/** The workloads of paced cycles: the usual one, with space short, and three classes in one window. */
export type Workload = 'padded' | 'packed' | 'classes';

/** Paced cycles of one engine at each batch size. */
export function measureCycles(
  bench: Bench,
  engine: EngineName,
  workload: Workload,
): Promise<readonly CyclesResult[]> {
  const { rounds, cyclesPerRound, warmCommits } = bench.extent;
  return onVolume(bench, 256, ({ mount, statPath }, directory) => {
    return runJob(
      {
        kind: 'cycles',
        engine,
        directory,
        mount,
        ...(statPath === undefined ? {} : { statPath }),
        quotaBytes: steadyQuotaBytes,
        batches: workload === 'classes' ? [3] : [1, 16, 256],
        priorities: workload === 'classes' ? 3 : 1,
        isShortOfSpace: workload === 'packed',
        ...{ rounds, cyclesPerRound, warmCommits, pauseMs },
      },
      bench.undo,
    );
  });
}

/** Cycles a second of one engine on the emulated card. */
export async function measureRates(bench: Bench, engine: EngineName): Promise<readonly RatesResult[]> {
  const volume = await mountCard(bench.directory, 256, bench.undo);
  try {
    const directory = join(volume.mount, 'store');
    await fs.mkdir(directory);
    return await runJob(
      {
        kind: 'rates',
        engine,
        directory,
        quotaBytes: steadyQuotaBytes / 2,
        batches: [1, 16],
        warmCommits: 50,
        restMs: 4000,
        measureMs: 6000,
      },
      bench.undo,
    );
  } finally {
    volume.dispose();
  }
}

/** What one engine does with one backlog. */
export interface BacklogResult {
  readonly records: number;
  readonly fillRecordsPerSecond?: number;
  /** The first open after the process that filled it was killed; of Baton's log. */
  readonly afterKill?: OpenResult;
  /** With the pages of the store in memory, */
  readonly warm: readonly OpenResult[];
  /** and after the file system was unmounted and mounted. */
  readonly cold: readonly OpenResult[];
  readonly consume?: ConsumeResult;
}

/** Opens one engine's store with each backlog, and takes the middle one out of it; Baton's log every one. */
export function measureBacklogs(bench: Bench, engine: EngineName): Promise<BacklogResult[]> {
  const { backlogs } = bench.extent;
  return onVolume(bench, 6144, async (volume, store) => {
    const results: BacklogResult[] = [];
    for (const records of backlogs) {
      const isConsumed = records > 0 && (engine === 'baton' || records < (backlogs.at(-1) ?? 0));
      results.push(await measureBacklog(bench, volume, { engine, records, isConsumed, store }));
      await fs.rm(store, { recursive: true });
      await fs.mkdir(store);
    }
    return results;
  });
}

async function measureBacklog(
  { undo, extent }: Bench,
  volume: Volume,
  what: { engine: EngineName; records: number; isConsumed: boolean; store: string },
): Promise<BacklogResult> {
  const { engine, records, isConsumed, store } = what;
  const job = { engine, directory: store, quotaBytes: 2048 * mebibyte };
  const open = (): Promise<OpenResult> => runJob({ kind: 'open', ...job }, undo);
  const isKilled = engine === 'baton';
  const fill = records > 0 ? await runJob({ kind: 'fill', ...job, records, isKilled }, undo) : undefined;
  const afterKill = isKilled && records > 0 ? await open() : undefined;
  // Makes the store when there is none.
  if (records === 0) await open();
  const warm: OpenResult[] = [];
  const cold: OpenResult[] = [];
  for (let count = 0; count < extent.openRepeats; count++) warm.push(await open());
  for (let count = 0; count < extent.openRepeats && volume.remount(); count++) cold.push(await open());
  const { mount, statPath } = volume;
  const device = statPath === undefined ? { mount } : { mount, statPath };
  const consume = isConsumed
    ? await runJob({ kind: 'consume', ...job, ...device, records }, undo)
    : undefined;
  return {
    records,
    ...(fill === undefined ? {} : { fillRecordsPerSecond: fill.recordsPerSecond }),
    ...(afterKill === undefined ? {} : { afterKill }),
    warm,
    cold,
    ...(consume === undefined ? {} : { consume }),
  };
}
