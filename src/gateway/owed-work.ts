/**
 * Work a handover still owes after it has ended: ledgers the IN-CSE could not take, registrations at CSEs that could not be
 * reached. Durable, bounded, repeated until it is done. The standby (warm-standby.ts) is among it from before anything is
 * prepared: what is no longer kept as one is released as an orphan. A CSE is in the list once.
 */
import { DecodeError, errorText } from '../base/errors.ts';
import { epoch as toEpoch } from '../base/units.ts';
import type { Epoch, Seq, StreamName } from '../base/units.ts';
import { decodeCseReference, decodeEpoch, decodeSeqs } from '../handover/handover-state-codec.ts';
import type { WorkOutcome } from '../handover/runner.ts';
import type { ServingRecord } from '../handover/serving-record.ts';
import type { CseReference } from '../handover/handover-state.ts';

export type OwedTask =
  | { readonly kind: 'ledger'; readonly epoch: Epoch; readonly firstSeqs: Readonly<Record<string, number>> }
  | { readonly kind: 'orphan'; readonly epoch: Epoch; readonly cse: CseReference }
  | { readonly kind: 'standby'; readonly epoch: Epoch; readonly cse: CseReference };

/** Durable memory of the list. */
export interface OwedStore {
  load(): Promise<readonly OwedTask[] | undefined>;
  save(tasks: readonly OwedTask[]): Promise<void>;
}

const tasksMax = 256;

/** The list of owed tasks; see the header of this file. */
export class OwedWork {
  readonly #store: OwedStore;
  readonly #record: ServingRecord;
  readonly #releaseOrphan: (cse: CseReference, epoch: Epoch, signal: AbortSignal) => Promise<WorkOutcome>;
  readonly #onAlarm: (text: string | undefined) => void;
  #tasks: readonly OwedTask[] = [];
  #isUnsaved = false;

  constructor(options: {
    store: OwedStore;
    record: ServingRecord;
    /** Takes the last commands from a CSE left behind and marks its AE as moved. */
    releaseOrphan: (cse: CseReference, epoch: Epoch, signal: AbortSignal) => Promise<WorkOutcome>;
    /** What is wrong; undefined when the list is whole and kept again. */
    onAlarm: (text: string | undefined) => void;
  }) {
    this.#store = options.store;
    this.#record = options.record;
    this.#releaseOrphan = options.releaseOrphan;
    this.#onAlarm = options.onAlarm;
  }

  get tasks(): readonly OwedTask[] {
    return this.#tasks;
  }

  async open(): Promise<void> {
    this.#tasks = (await this.#store.load()) ?? [];
  }

  /** Remembers a task, durably unless the disk refuses; the oldest go when there are too many. */
  async add(task: OwedTask): Promise<void> {
    const others = this.#tasks.filter((other) => !isSame(other, task));
    this.#tasks = [...others, task].slice(-tasksMax);
    await this.#save();
    if (others.length >= tasksMax) this.#onAlarm(`more than ${tasksMax} owed tasks: the oldest is given up`);
  }

  /** The CSE at which a standby is, or was when the last run ended. */
  get standby(): Extract<OwedTask, { readonly kind: 'standby' }> | undefined {
    return this.#tasks.find((task) => task.kind === 'standby');
  }

  /**
   * Remembers that a standby is about to be prepared at `cse` with labels of `epoch`; one elsewhere becomes an orphan. False
   * when the disk refuses: then nothing may be prepared.
   */
  async holdStandby(cse: CseReference, epoch: Epoch): Promise<boolean> {
    const before = this.#tasks;
    const known = before.find((task) => isAt(task, cse));
    const task: OwedTask = { kind: 'standby', cse, epoch: toEpoch(Math.max(epoch, known?.epoch ?? 0)) };
    const others = before.filter((other) => !isAt(other, cse)).map(asOrphan);
    this.#tasks = [...others, task].slice(-tasksMax);
    if (await this.#save()) return true;
    // The disk may hold either; both lead to a release.
    if (this.#tasks.includes(task)) this.#tasks = this.#tasks.map(asOrphan);
    return false;
  }

  /** The standby is not kept any more: it is released with the orphans. */
  async dropStandby(): Promise<void> {
    this.#tasks = this.#tasks.map(asOrphan);
    await this.#save();
  }

  /** A transaction has seen to what is at the CSE of the standby. */
  async forgetStandby(): Promise<void> {
    const { standby } = this;
    if (standby !== undefined) await this.#done(standby);
  }

  /** Writes the ledgers that are owed. */
  async settleLedgers(signal: AbortSignal): Promise<void> {
    for (const task of this.#tasks) {
      if (task.kind !== 'ledger') continue;
      const written = await this.#record.writeLedger(task.epoch, task.firstSeqs as Record<StreamName, Seq>, {
        signal,
      });
      if (written.ok) await this.#done(task);
      else if (written.error.kind !== 'rejected') return;
    }
  }

  /** Releases the CSEs left behind, except those that serve or are about to. */
  async sweep(inUse: readonly string[], signal: AbortSignal): Promise<void> {
    await this.settleLedgers(signal);
    for (const task of this.#tasks) {
      if (signal.aborted) return;
      if (task.kind !== 'orphan') continue;
      if (inUse.includes(task.cse.cseId)) {
        await this.#done(task);
        continue;
      }
      const outcome = await this.#releaseOrphan(task.cse, task.epoch, signal).catch(
        (error: unknown): WorkOutcome => ({ kind: 'failed', reason: errorText(error) }),
      );
      if (outcome.kind === 'succeeded') await this.#done(task);
    }
  }

  /** Writes the list that the disk refused; for a caller to do from time to time. */
  async retrySave(): Promise<void> {
    if (this.#isUnsaved) await this.#save();
  }

  async #done(task: OwedTask): Promise<void> {
    this.#tasks = this.#tasks.filter((other) => other !== task);
    // Found again after a restart it is done once more, which changes nothing.
    await this.#save();
  }

  async #save(): Promise<boolean> {
    try {
      await this.#store.save(this.#tasks);
      this.#isUnsaved = false;
      this.#onAlarm(undefined);
      return true;
    } catch (error) {
      this.#isUnsaved = true;
      this.#onAlarm(`the list of owed work cannot be written: ${errorText(error)}`);
      return false;
    }
  }
}

function isSame(a: OwedTask, b: OwedTask): boolean {
  if (a.kind !== 'ledger') return isAt(b, a.cse);
  return b.kind === 'ledger' && a.epoch === b.epoch;
}

function isAt(task: OwedTask, cse: CseReference): boolean {
  return task.kind !== 'ledger' && task.cse.cseId === cse.cseId;
}

function asOrphan(task: OwedTask): OwedTask {
  return task.kind === 'standby' ? { ...task, kind: 'orphan' } : task;
}

/** The stored form of the list; throws `DecodeError` when it is none. */
export function decodeOwedTasks(value: unknown): readonly OwedTask[] {
  if (!Array.isArray(value)) throw new DecodeError('the list of owed work is no array');
  return value.map((item: unknown): OwedTask => {
    const task = typeof item === 'object' && item !== null ? (item as Record<string, unknown>) : {};
    const epoch = decodeEpoch(task.epoch);
    switch (task.kind) {
      case 'ledger':
        return { kind: 'ledger', epoch, firstSeqs: decodeSeqs(task.firstSeqs) };
      case 'orphan':
      case 'standby':
        return { kind: task.kind, epoch, cse: decodeCseReference(task.cse) };
      default:
        throw new DecodeError('the list of owed work holds an unknown task');
    }
  });
}
