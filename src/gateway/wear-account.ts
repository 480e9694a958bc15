import { DecodeError, IoError, errorText } from '../base/errors.ts';
import type { Clock } from '../host/clock.ts';
import type { Disk } from '../host/block-device.ts';
import { isRecord } from './control-protocol.ts';

/**
 * What is written to flash, counted over restarts: the buffer by its own ledger, the whole disk by the kernel's count
 * since boot. The kernel's count is lost with each boot, so ours is saved, at most once an hour; what was written between
 * the last save and a boot is missing from it.
 */

/** The saved account. */
export interface WearState {
  /** Time that Baton ran, and what was written in that time. */
  readonly ranMs: number;
  readonly bufferBytes: number;
  readonly diskBytes: number;
  readonly disk?: DiskCount;
  readonly savedUnixMs: number;
}

/** What was written to one disk since it was first seen, also while Baton did not run. */
export interface DiskCount {
  readonly identity: string;
  readonly bootId: string;
  /** The kernel's count when it was last read. */
  readonly counterBytes: number;
  readonly writtenBytes: number;
  /** By the wall clock of that time, right or wrong. */
  readonly sinceUnixMs: number;
}

/** Where the account is kept: a `DurableState` or the like. */
export interface WearStore {
  load(): Promise<WearState | undefined>;
  save(state: WearState): Promise<void>;
}

const saveMs = 3_600_000;

/** The count after another reading of the disk; begins anew with a disk that is another one. */
export function countDisk(before: DiskCount | undefined, disk: Disk, unixMs: number): DiskCount {
  const { identity, bootId, writtenBytes: counterBytes } = disk;
  if (before?.identity !== identity) {
    return { identity, bootId, counterBytes, writtenBytes: 0, sinceUnixMs: unixMs };
  }
  // A count that went back began at zero again: a card plugged in anew, or a counter of 32 bit.
  const isContinued = before.bootId === bootId && counterBytes >= before.counterBytes;
  const more = counterBytes - (isContinued ? before.counterBytes : 0);
  return { ...before, bootId, counterBytes, writtenBytes: before.writtenBytes + more };
}

/** The account in memory, and its saving. */
export class WearAccount {
  readonly #store: WearStore;
  readonly #clock: Clock;
  readonly #onTrouble: (message: string) => void;
  #state: WearState = { ranMs: 0, bufferBytes: 0, diskBytes: 0, savedUnixMs: 0 };
  /** Undefined before the first note of this run. */
  #last: { readonly atMs: number; readonly bufferBytes: number } | undefined;
  #saveDueMs = 0;

  constructor(options: { store: WearStore; clock: Clock; onTrouble: (message: string) => void }) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#onTrouble = options.onTrouble;
  }

  get state(): WearState {
    return this.#state;
  }

  /** Takes up the saved account. */
  async open(): Promise<void> {
    const saved = await this.#attempt(() => this.#store.load());
    if (saved === undefined) return;
    this.#state = saved;
    // A wall clock that was set meanwhile makes it early, never late.
    const sinceMs = Math.abs(this.#clock.unixMs() - saved.savedUnixMs);
    this.#saveDueMs = this.#clock.monotonicMs() + Math.max(0, saveMs - sinceMs);
  }

  /** Counts what was written since the last note, and saves when an hour has passed or the count of the disk is a new one. */
  async note(bufferBytes: number, disk: Disk | undefined): Promise<void> {
    const atMs = this.#clock.monotonicMs();
    const unixMs = this.#clock.unixMs();
    const before = this.#state;
    const counted = disk === undefined ? before.disk : countDisk(before.disk, disk, unixMs);
    const isNewDisk = counted?.identity !== before.disk?.identity;
    const isNewCount = isNewDisk || counted?.bootId !== before.disk?.bootId;
    const past = isNewDisk ? { ranMs: 0, bufferBytes: 0, diskBytes: 0 } : before;
    const last = this.#last ?? { atMs, bufferBytes };
    const diskBytes = (counted?.writtenBytes ?? 0) - (isNewDisk ? 0 : (before.disk?.writtenBytes ?? 0));
    this.#state = {
      ranMs: past.ranMs + atMs - last.atMs,
      bufferBytes: past.bufferBytes + Math.max(0, bufferBytes - last.bufferBytes),
      // What was written before this run began took none of its time.
      diskBytes: past.diskBytes + (this.#last === undefined ? 0 : diskBytes),
      ...(counted === undefined ? {} : { disk: counted }),
      savedUnixMs: before.savedUnixMs,
    };
    this.#last = { atMs, bufferBytes };
    if (isNewCount || atMs >= this.#saveDueMs) await this.#save(atMs, unixMs);
  }

  async #save(atMs: number, unixMs: number): Promise<void> {
    this.#saveDueMs = atMs + saveMs;
    this.#state = { ...this.#state, savedUnixMs: unixMs };
    await this.#attempt(() => this.#store.save(this.#state));
  }

  async #attempt<T>(work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      this.#onTrouble(`the account of what is written to flash is not kept: ${errorText(error)}`);
      return undefined;
    }
  }
}

/** The account from what was saved; throws `DecodeError` for anything else. */
export function decodeWearState(value: unknown): WearState {
  if (!isRecord(value)) throw new DecodeError('the saved account of wear is no group of figures');
  const figure = (group: Readonly<Record<string, unknown>>, key: string): number => {
    const found = group[key];
    if (typeof found === 'number' && found >= 0) return found;
    throw new DecodeError(`the saved account of wear has no figure ${key}`);
  };
  const { disk } = value;
  const state = {
    ranMs: figure(value, 'ranMs'),
    bufferBytes: figure(value, 'bufferBytes'),
    diskBytes: figure(value, 'diskBytes'),
    savedUnixMs: figure(value, 'savedUnixMs'),
  };
  if (disk === undefined) return state;
  if (!isRecord(disk) || typeof disk['identity'] !== 'string' || typeof disk['bootId'] !== 'string') {
    throw new DecodeError('the saved account of wear names no disk');
  }
  return {
    ...state,
    disk: {
      identity: disk['identity'],
      bootId: disk['bootId'],
      counterBytes: figure(disk, 'counterBytes'),
      writtenBytes: figure(disk, 'writtenBytes'),
      sinceUnixMs: figure(disk, 'sinceUnixMs'),
    },
  };
}
