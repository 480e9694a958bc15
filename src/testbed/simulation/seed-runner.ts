/** Runs many seeds in processes side by side, in the order of the seeds, and adds up what they came to. */
import { assert } from '../../base/assert.ts';
import { millis } from '../../base/units.ts';
import { startModule } from '../../host/child-process.ts';
import type { ModuleProcess } from '../../host/child-process.ts';
import type { CancelTimer, Clock } from '../../host/clock.ts';
import { handoversPerSeed } from './plan.ts';
import type { FaultKind } from './plan.ts';
import { replayOf } from './seed-order.ts';
import type { SeedOrder, SeedOutcome, SeedReport } from './seed-order.ts';

/** Seeds that fail before no further one is begun. */
const failingMax = 50;
/** A seed that runs for longer hangs (I12); one that is made smaller is many runs. */
const seedMsMax = millis(900_000);

/** What is to be run. */
export interface SeedRunnerOptions {
  readonly clock: Clock;
  readonly firstSeed: number;
  readonly lastSeed: number;
  /** No further seed is begun once so many handovers are completed. */
  readonly handovers?: number;
  /** Handovers of the run of one seed; default `handoversPerSeed`. */
  readonly perSeed?: number;
  readonly without: readonly FaultKind[];
  readonly mutant?: string;
  readonly isTraced: boolean;
  readonly isShrunk: boolean;
  readonly workers: number;
  /** Aborted: no further seed is begun, and those that run are left out. */
  readonly signal: AbortSignal;
  /** A seed is done. */
  readonly onSeed: (outcome: SeedOutcome, totals: SeedTotals) => void;
  readonly onNote: (atMs: number, text: string) => void;
}

/** A seed that broke an invariant, and how to see it again. */
export interface FailingSeed {
  readonly seed: number;
  readonly violations: SeedOutcome['violations'];
  /** Kinds of faults that it takes. */
  readonly faults: readonly string[];
  readonly replay: string;
}

/** The sum over the seeds that are done. */
export interface SeedTotals {
  seeds: number;
  completed: number;
  rolledBack: number;
  fenced: number;
  kills: number;
  powerCuts: number;
  /** Ends of the gateway by itself. */
  failures: number;
  /** Hands that an operator had to lend. */
  resets: number;
  readings: number;
  commands: number;
  /** Damage on the disk that the gateway told of. */
  damages: number;
  /** Readings at two CSEs of which one copy says that it was in doubt. */
  labelledDoubles: number;
  virtualHours: number;
  /** From the end of the faults to the rest, the longest. */
  restSecondsMax: number;
  violations: number;
  readonly triggers: Record<string, number>;
  readonly failing: FailingSeed[];
}

interface Worker {
  readonly process: ModuleProcess;
  seed: number | undefined;
  cancelWatch: CancelTimer;
}

/** Runs seeds until the last one, or enough handovers, or the signal; throws `IoError` when no worker can be started. */
export async function runSeeds(options: SeedRunnerOptions): Promise<SeedTotals> {
  return new SeedRunner(options).run();
}

class SeedRunner {
  readonly #options: SeedRunnerOptions;
  readonly #totals: SeedTotals = {
    ...{
      seeds: 0,
      completed: 0,
      rolledBack: 0,
      fenced: 0,
      kills: 0,
      powerCuts: 0,
      failures: 0,
      resets: 0,
      damages: 0,
    },
    ...{ readings: 0, commands: 0, labelledDoubles: 0, virtualHours: 0, restSecondsMax: 0, violations: 0 },
    triggers: {},
    failing: [],
  };
  readonly #workers = new Set<Worker>();
  #next: number;

  constructor(options: SeedRunnerOptions) {
    this.#options = options;
    this.#next = options.firstSeed;
  }

  async run(): Promise<SeedTotals> {
    const { workers, signal } = this.#options;
    const onAbort = (): void => {
      for (const worker of this.#workers) worker.process.kill('SIGKILL');
    };
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      await Promise.all(Array.from({ length: workers }, () => this.#work()));
    } finally {
      signal.removeEventListener('abort', onAbort);
      onAbort();
    }
    return this.#totals;
  }

  /** One place for a worker: a new one takes it when the last one died of its seed. */
  async #work(): Promise<void> {
    while (this.#hasMore()) {
      const worker = await this.#start();
      const { code, signal } = await worker.process.exited;
      this.#workers.delete(worker);
      worker.cancelWatch();
      if (worker.seed === undefined || this.#options.signal.aborted) continue;
      this.#takeFailure(worker.seed, `the process that ran it ended (${signal ?? `exit code ${code}`})`);
    }
  }

  #hasMore(): boolean {
    const { lastSeed, handovers, signal } = this.#options;
    const { completed, failing } = this.#totals;
    const isEnough = handovers !== undefined && completed >= handovers;
    return !signal.aborted && !isEnough && this.#next <= lastSeed && failing.length < failingMax;
  }

  async #start(): Promise<Worker> {
    const worker: Worker = {
      process: await startModule({
        module: new URL('./seed-worker-process.js', import.meta.url),
        onLine: (line) => this.#take(worker, JSON.parse(line) as SeedReport),
        onErrorLine: (line) => this.#options.onNote(0, `worker: ${line}`),
      }),
      seed: undefined,
      cancelWatch: () => undefined,
    };
    this.#workers.add(worker);
    if (this.#options.signal.aborted) worker.process.kill('SIGKILL');
    this.#dispense(worker);
    return worker;
  }

  #dispense(worker: Worker): void {
    worker.cancelWatch();
    worker.seed = undefined;
    if (!this.#hasMore()) {
      worker.process.endInput();
      return;
    }
    const { perSeed, without, mutant, isTraced, isShrunk, clock } = this.#options;
    const seed = this.#next++;
    worker.seed = seed;
    const order: SeedOrder = {
      ...{ seed, without, isTraced, isShrunk },
      ...(perSeed === undefined ? {} : { handovers: perSeed }),
      ...(mutant === undefined ? {} : { mutant }),
    };
    if (!isShrunk) worker.cancelWatch = clock.schedule(seedMsMax, () => worker.process.kill('SIGKILL'));
    worker.process.writeLine(JSON.stringify(order));
  }

  #take(worker: Worker, report: SeedReport): void {
    const { seed } = worker;
    assert(seed !== undefined, `a worker reports without an order: ${report.kind}`);
    switch (report.kind) {
      case 'note':
        this.#options.onNote(report.atMs, report.text);
        return;
      case 'outcome':
        this.#takeOutcome(report.outcome);
        break;
      case 'failed':
        this.#takeFailure(seed, `the run itself failed: ${report.reason}`);
    }
    this.#dispense(worker);
  }

  /** A run that did not come to its end says nothing but that (I12). */
  #takeFailure(seed: number, text: string): void {
    const { perSeed = handoversPerSeed, without } = this.#options;
    this.#takeOutcome({
      ...{ seed, handovers: perSeed, without, faults: {}, trace: '' },
      violations: [{ invariant: 'I12', text, atMs: 0 }],
      counts: {
        ...{
          completed: 0,
          rolledBack: 0,
          fenced: 0,
          kills: 0,
          powerCuts: 0,
          failures: 0,
          resets: 0,
          damages: 0,
        },
        triggers: {},
      },
      ...{ readings: 0, commands: 0, labelledDoubles: 0, virtualMs: 0, restMs: 0 },
    });
  }

  #takeOutcome(outcome: SeedOutcome): void {
    const totals = this.#totals;
    const { seed, counts, violations } = outcome;
    totals.seeds += 1;
    totals.violations += violations.length;
    totals.virtualHours += outcome.virtualMs / 3_600_000;
    totals.restSecondsMax = Math.max(totals.restSecondsMax, outcome.restMs / 1000);
    for (const name of ['readings', 'commands', 'labelledDoubles'] as const) totals[name] += outcome[name];
    const counted = [
      'completed',
      'rolledBack',
      'fenced',
      'kills',
      'powerCuts',
      'failures',
      'resets',
    ] as const;
    for (const name of counted) totals[name] += counts[name];
    for (const [name, count] of Object.entries(counts.triggers)) {
      totals.triggers[name] = (totals.triggers[name] ?? 0) + count;
    }
    if (violations.length > 0) {
      const replay = replayOf(outcome, handoversPerSeed, this.#options.mutant);
      totals.failing.push({ seed, violations, faults: Object.keys(outcome.faults), replay });
    }
    this.#options.onSeed(outcome, totals);
  }
}
