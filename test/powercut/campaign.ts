import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { NodeClock } from '../../src/host/clock.ts';
import { NodeFilesystem } from '../../src/host/filesystem.ts';
import type { FileHandle } from '../../src/host/filesystem.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { CutDevice, drawCut, drawCuts, outcomes } from './cut-state.ts';
import type { Cut, CutRange } from './cut-state.ts';
import { entryCount, readFacts } from './facts.ts';
import type { Fact } from './facts.ts';
import { logWorkload } from './log-workloads.ts';
import { writeSparse } from './rig.ts';
import type { Ended, Rig } from './rig.ts';
import { checkCommand, workCommand } from './stores.ts';
import type { Store } from './stores.ts';
import { readWriteLog } from './write-log.ts';
import type { WriteLogEntry } from './write-log.ts';

const clock = new NodeClock();
/** Longest session and longest check, after which it counts as hanging. */
const limitMs = 120_000;

/** One state that a store did not survive. */
export interface StateFailure {
  readonly position: number;
  readonly outcome: string;
  readonly message: string;
}

/** What a store went through. */
export interface StoreResult {
  readonly store: Store;
  /** Cuts after which it was checked. */
  readonly states: number;
  readonly failures: readonly StateFailure[];
  /** Requests that the recorded device completed. */
  readonly entries: number;
  /** Counts that the last session told. */
  readonly figures: Readonly<Record<string, number>>;
  readonly seconds: number;
}

/** What a session did to an image, request by request. */
interface Recording {
  readonly startPath: string;
  readonly logPath: string;
  readonly factsPath: string;
  readonly facts: readonly Fact[];
  readonly entries: readonly WriteLogEntry[];
  /** From the empty directory to the last kill. */
  readonly range: CutRange;
}

/** Called with each state that fails, as long as it is there. */
export type KeepState = (store: Store, cut: Cut, image: Uint8Array, factsPath: string) => Promise<void>;

/** Records stores, cuts their power and checks what is left. */
export class Campaign {
  readonly #rig: Rig;
  readonly #seed: number;
  readonly #keep: KeepState;

  constructor(rig: Rig, seed: number, keep: KeepState) {
    this.#rig = rig;
    this.#seed = seed;
    this.#keep = keep;
  }

  /** Takes a store through `count` cuts. A `defect` is done with at its first failure, from the last cut backwards. */
  async run(store: Store, count: number): Promise<StoreResult> {
    const beganMs = clock.monotonicMs();
    const entropy = new SeededEntropy(this.#seed).fork(store.name);
    const image = this.#rig.place('empty.img');
    await this.#rig.makeImage(image);
    let recording = await this.#record(store, await fs.readFile(image), [], 0);
    for (let number = 1; number <= (store.cutsBefore ?? 0); number++) {
      const { device, facts } = await this.#cutOnce(recording, entropy);
      recording = await this.#record(store, device, facts, number);
    }
    const { entries, range, facts } = recording;
    const cuts = drawCuts(entries, range, startsOf(facts, range), store.openShare, count, entropy);
    const failures: StateFailure[] = [];
    const chosen = store.role === 'defect' ? [cuts.slice(-1), cuts.slice(0, -1)] : [cuts];
    let states = 0;
    for (const part of chosen) {
      if (store.role === 'defect' && failures.length > 0) break;
      failures.push(...(await this.#checkAll(store, recording, part)));
      states += part.length;
    }
    const figures = facts.findLast((fact) => fact.kind === 'worked')?.figures ?? {};
    checkExercise(store, figures);
    const seconds = (clock.monotonicMs() - beganMs) / 1000;
    return { store, states, failures, entries: range.last - range.first, figures, seconds };
  }

  /** Lets the sessions of a store run on an image, with facts of earlier ones. */
  async #record(
    store: Store,
    start: Uint8Array,
    earlier: readonly Fact[],
    number: number,
  ): Promise<Recording> {
    const factsPath = this.#rig.place('facts');
    await fs.writeFile(factsPath, earlier.map((fact) => `${JSON.stringify({ ...fact, at: 0 })}\n`).join(''));
    const recorder = await this.#rig.record(start);
    const { mountPath, logPath, startPath } = recorder;
    const log = await fs.open(logPath, 'r');
    try {
      const first = await entryCount(log);
      for (const [index, end] of store.sessions.entries()) {
        const session = number * 100 + index;
        const directory = join(mountPath, 'store');
        const seed = this.#seed;
        const order = { store: store.name, directory, logPath, seed, session, end };
        const { file, words } = workCommand(store, order);
        const ended = await this.#rig.attempt(file, words, limitMs, factsPath);
        const isAsPlanned = end === 'close' ? ended.code === 0 : ended.signal === 'SIGKILL';
        if (!isAsPlanned) throw new Error(`${store.name}: session ${session} failed: ${toldBy(ended)}`);
      }
      // Before unmounting, which writes more.
      const last = await entryCount(log);
      await recorder.stop();
      const handle = await new NodeFilesystem().open(logPath, { readOnly: true });
      const entries = await readWriteLog(handle, last);
      await handle.close();
      const facts = await readFacts(factsPath);
      return { startPath, logPath, factsPath, facts, entries, range: { first, last } };
    } finally {
      await log.close();
    }
  }

  /** A state of a recording to go on from, with what was known by then. */
  async #cutOnce(
    { startPath, logPath, entries, range, facts }: Recording,
    entropy: SeededEntropy,
  ): Promise<{ device: Uint8Array; facts: Fact[] }> {
    const position = range.first + (entropy.uint32() % (range.last - range.first + 1));
    const outcome = outcomes[entropy.uint32() % outcomes.length] ?? 'sectors';
    const cut = drawCut(entries, position, outcome, entropy);
    return this.#withLog(logPath, async (log) => {
      const device = await new CutDevice(await fs.readFile(startPath), entries, log).after(cut);
      return { device, facts: facts.filter(({ at }) => at <= position) };
    });
  }

  async #checkAll(store: Store, recording: Recording, cuts: readonly Cut[]): Promise<StateFailure[]> {
    const { startPath, logPath, entries, factsPath } = recording;
    return this.#withLog(logPath, async (log) => {
      const device = new CutDevice(await fs.readFile(startPath), entries, log);
      const failures: StateFailure[] = [];
      const left = [...cuts];
      let making: Promise<unknown> = Promise.resolve();
      const lane = async (): Promise<void> => {
        for (let cut = left.shift(); cut !== undefined; cut = left.shift()) {
          const mine = cut;
          // In order: the device only goes forward.
          const made = making.then(() => device.after(mine));
          making = made;
          const image = await made;
          const message = await checkState(this.#rig, store, image, factsPath, mine.position);
          if (message === undefined) continue;
          failures.push({ position: mine.position, outcome: mine.outcome, message });
          if (store.role !== 'defect') await this.#keep(store, mine, image, factsPath);
        }
      };
      await Promise.all([lane(), lane()]);
      return failures.sort((a, b) => a.position - b.position);
    });
  }

  async #withLog<T>(logPath: string, use: (log: FileHandle) => Promise<T>): Promise<T> {
    const log = await new NodeFilesystem().open(logPath, { readOnly: true });
    try {
      return await use(log);
    } finally {
      await log.close();
    }
  }
}

/** Mounts a state, which replays the journal, and checks it in a fresh process; answers what is wrong. */
export async function checkState(
  rig: Rig,
  store: Store,
  image: Uint8Array,
  factsPath: string,
  position: number,
): Promise<string | undefined> {
  // A file and a loop device of its own: one that is used again serves pages of the state before.
  const path = rig.place('state.img');
  const point = `${path}.mount`;
  await writeSparse(path, image);
  try {
    const unmount = await rig.mount(path, point);
    try {
      const order = { store: store.name, directory: join(point, 'store'), factsPath, position };
      const { file, words } = checkCommand(order);
      const ended = await rig.attempt(file, words, limitMs);
      return ended.code === 0 ? undefined : toldBy(ended);
    } finally {
      await unmount();
    }
  } catch (error) {
    if (rig.isEnded) throw error;
    return error instanceof Error ? error.message : String(error);
  } finally {
    await fs.rm(path, { force: true });
    await fs.rmdir(point).catch(() => undefined);
  }
}

function toldBy({ code, signal, stderr }: Ended): string {
  const told = stderr.trim().slice(0, 2000);
  if (signal !== null) return `ended by ${signal}, after ${limitMs} ms if it hung. ${told}`;
  return told || `exit code ${code}`;
}

/** The stretches of a recording in which a store was being opened, and had just been. */
function startsOf(facts: readonly Fact[], range: CutRange): CutRange[] {
  const windows: CutRange[] = [];
  let first: number | undefined;
  for (const { kind, at } of facts) {
    if (kind === 'opening') first = Math.max(range.first, at);
    if (kind !== 'opened' || first === undefined) continue;
    windows.push({ first, last: at }, { first: at, last: Math.min(range.last, at + 1) });
    first = undefined;
  }
  return windows;
}

/** Throws when a log was not used as its workload is meant to use it: the proof would be of something else. */
function checkExercise({ name, engine, cutsBefore }: Store, figures: Readonly<Record<string, number>>): void {
  if (engine.kind !== 'log' || cutsBefore !== undefined) return;
  const { limits, evictedMin } = logWorkload(engine.workload);
  const turns = (figures['deviceBytes'] ?? 0) / (limits.quotaBytes ?? 1);
  if (turns < 4) throw new Error(`${name} wrote its pool only ${turns.toFixed(1)} times over`);
  if ((figures['evicted'] ?? 0) < evictedMin)
    throw new Error(`${name} evicted only ${figures['evicted'] ?? 0} records`);
}
