import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { millis } from '../../../src/base/units.ts';
import { NodeClock, sleep } from '../../../src/host/clock.ts';
import { readCounts } from './device-counts.ts';
import { loadEngine } from './engines.ts';
import { makePayloads, payloadBytes, payloadNumber } from './engine.ts';
import type { Engine } from './engine.ts';
import type { CyclesJob, CyclesResult, RatesJob, RatesResult, Stall } from './jobs.ts';
import { watchStalls } from './stall-watch.ts';

const clock = new NodeClock();

/** Runs the cycles of each batch size in turn on one store that is warm. */
export async function runCycles(job: CyclesJob): Promise<CyclesResult[]> {
  const { engine, workload } = await warmUp(job);
  const witness = await Witness.start();
  const results: CyclesResult[] = [];
  for (const batch of job.batches) results.push(await measure(job, workload, batch, witness));
  witness.stop();
  await engine.close();
  return results;
}

/** Runs cycles without pause for a time with each batch size. */
export async function runRates(job: RatesJob): Promise<RatesResult[]> {
  const { engine, workload } = await warmUp(job);
  const results: RatesResult[] = [];
  for (const batch of job.batches) {
    // The card's debt of octets from before is paid meanwhile.
    await sleep(clock, millis(job.restMs));
    const beginMs = clock.monotonicMs();
    let cycles = 0;
    while (clock.monotonicMs() - beginMs < job.measureMs) {
      await workload.cycle(batch);
      cycles++;
    }
    results.push({ batch, cyclesPerSecond: (cycles * 1000) / (clock.monotonicMs() - beginMs) });
  }
  await engine.close();
  return results;
}

async function warmUp(job: CyclesJob | RatesJob): Promise<{ engine: Engine; workload: Workload }> {
  const open = await loadEngine(job.engine);
  const engine = await open(job);
  await engine.prepareSteady?.();
  const workload = new Workload(engine);
  for (let count = 0; count < job.warmCommits; count++) await workload.cycle(256);
  return { engine, workload };
}

/** One queue into which records go and out of which they come, checked for order and completeness. */
class Workload {
  readonly #engine: Engine;
  #appended = 0;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** Appends a commit, takes it out and acknowledges it; returns how long the commit took. */
  async cycle(batch: number): Promise<number> {
    const payloads = makePayloads(this.#appended, batch);
    const beginMs = clock.monotonicMs();
    await this.#engine.append(payloads);
    const commitMs = clock.monotonicMs() - beginMs;
    const delivered = (await this.#engine.deliver(batch + 1)).map(payloadNumber).sort((a, b) => a - b);
    const isWhole = delivered.length === batch && delivered[0] === this.#appended;
    if (!isWhole || delivered.at(-1) !== this.#appended + batch - 1) {
      throw new Error(`delivered ${delivered.length} records from ${delivered[0]} instead of ${batch}`);
    }
    this.#appended += batch;
    await this.#engine.acknowledge();
    return commitMs;
  }
}

async function measure(
  job: CyclesJob,
  workload: Workload,
  batch: number,
  witness: Witness,
): Promise<CyclesResult> {
  const { mount, statPath, rounds, cyclesPerRound, pauseMs } = job;
  for (let count = 0; count < 20; count++) {
    await workload.cycle(batch);
    await sleep(clock, millis(pauseMs));
  }
  // What the cycles before have left to be written lazily shall not count here.
  await sleep(clock, millis(1500));
  const before = statPath === undefined ? undefined : await readCounts(mount, statPath);
  const commitsMs: number[] = [];
  const stalls: Stall[] = [];
  const cpuBefore = process.cpuUsage();
  for (let round = 0; round < rounds; round++) {
    stalls.push(
      await witness.round(async () => {
        for (let count = 0; count < cyclesPerRound; count++) {
          commitsMs.push(await workload.cycle(batch));
          await sleep(clock, millis(pauseMs));
        }
      }),
    );
  }
  const cpu = process.cpuUsage(cpuBefore);
  const after = statPath === undefined ? undefined : await readCounts(mount, statPath);
  const cycles = rounds * cyclesPerRound;
  commitsMs.sort((a, b) => a - b);
  const quantile = (share: number): number => commitsMs[Math.floor(share * (commitsMs.length - 1))] ?? 0;
  const figures = {
    batch,
    cycles,
    commitP50Ms: quantile(0.5),
    commitP99Ms: quantile(0.99),
    cpuUsPerCycle: (cpu.user + cpu.system) / cycles,
    stalls,
  };
  if (before === undefined || after === undefined) return figures;
  return {
    ...figures,
    deviceBytesPerPayloadByte: (after.writtenBytes - before.writtenBytes) / (cycles * batch * payloadBytes),
    flushesPerCycle: (after.flushes - before.flushes) / cycles,
    writeRequestsPerCycle: (after.writeRequests - before.writeRequests) / cycles,
  };
}

/** Watches the event loop of this process, and of an idle one over the same rounds. */
class Witness {
  readonly #child: ReturnType<typeof fork>;

  private constructor(child: ReturnType<typeof fork>) {
    this.#child = child;
  }

  static async start(): Promise<Witness> {
    const child = fork(join(import.meta.dirname, 'witness.js'));
    await once(child, 'message');
    return new Witness(child);
  }

  async round(work: () => Promise<void>): Promise<Stall> {
    await this.#ask();
    const end = watchStalls();
    await work();
    return { ...end(), idleMs: await this.#ask() };
  }

  stop(): void {
    this.#child.disconnect();
  }

  async #ask(): Promise<number> {
    const answer = once(this.#child, 'message');
    this.#child.send('round');
    const [idleMs] = (await answer) as [number];
    return idleMs;
  }
}
