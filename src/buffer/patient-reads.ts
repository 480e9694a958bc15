import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import { sleep } from '../host/clock.ts';
import type { Clock } from '../host/clock.ts';
import type { FileHandle, Filesystem } from '../host/filesystem.ts';

/** Longer than the reset of a card or of its controller takes; all reads of one opening share it. */
const patienceMs = 15_000;
const waitMsMin = 10;
const waitMsMax = 500;

/**
 * Reads for an opening: one that fails is tried again with growing waits, because what cannot be read at a start is taken
 * for lost. Once the patience is used up, which only lasting damage does, every failure counts at once.
 */
export class PatientReads {
  readonly #clock: Clock;
  #leftMs: number = patienceMs;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The same file system, with patient handles. */
  filesystem(filesystem: Filesystem): Filesystem {
    return {
      open: async (path, options) => this.handle(await filesystem.open(path, options)),
      list: (directory) => filesystem.list(directory),
      createDirectory: (path) => filesystem.createDirectory(path),
      rename: (from, to) => filesystem.rename(from, to),
      remove: (path) => filesystem.remove(path),
      syncDirectory: (path) => filesystem.syncDirectory(path),
    };
  }

  /** The same file, read patiently. */
  handle(handle: FileHandle): FileHandle {
    return {
      read: (target, position) => this.#read(handle, target, position),
      write: (data, position) => handle.write(data, position),
      datasync: () => handle.datasync(),
      size: () => handle.size(),
      isInPlace: () => handle.isInPlace(),
      close: () => handle.close(),
    };
  }

  /** The opening is over: from now on a failure counts at once. */
  end(): void {
    this.#leftMs = 0;
  }

  async #read(handle: FileHandle, target: Uint8Array, position: number): Promise<number> {
    for (let waitMs: Millis = millis(waitMsMin); ; waitMs = millis(Math.min(2 * waitMs, waitMsMax))) {
      try {
        return await handle.read(target, position);
      } catch (error) {
        if (this.#leftMs < waitMs) throw error;
      }
      this.#leftMs -= waitMs;
      await sleep(this.#clock, waitMs);
    }
  }
}
