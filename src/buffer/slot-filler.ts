import { millis } from '../base/units.ts';
import type { CancelTimer, Clock } from '../host/clock.ts';
import { errorText } from '../base/errors.ts';
import { FileError } from '../host/filesystem.ts';
import type { FileHandle } from '../host/filesystem.ts';
import { encodeHeader } from './slot.ts';

/** What a `SlotFiller` works with. */
export interface SlotFillerOptions {
  readonly clock: Clock;
  readonly handle: FileHandle;
  readonly path: string;
  readonly slotBytes: number;
  /** Places to fill, ascending. */
  readonly unfilled: readonly number[];
  /** Runs work between a write and its flush alone. */
  readonly exclusive: <T>(work: () => Promise<T>) => Promise<T>;
  readonly onFilled: (index: number) => void;
  readonly onShortage: (message: string) => void;
}

/** Octets written at once: what a commit may have to wait for. */
const pieceBytes = 256 * 1024;
/** Pause between two pieces in the background. */
const pauseMs = 250;

/**
 * Makes slots: fills places of the container with zeros, so that later writes need neither space nor the file system's
 * own records. A place is marked by a header once its zeros are durable; a place without mark is filled again.
 */
export class SlotFiller {
  readonly #options: SlotFillerOptions;
  readonly #unfilled: number[];
  #filling: Promise<void> | undefined;
  #isUrgent = false;
  #isStopped = false;
  #isShort = false;
  #endPause: () => void = () => undefined;

  constructor(options: SlotFillerOptions) {
    this.#options = options;
    this.#unfilled = [...options.unfilled];
  }

  /** Whether the last attempt failed. */
  get isShort(): boolean {
    return this.#isShort;
  }

  /** Fills the next place without pause; returns when it is done, or has failed. */
  async fillNow(): Promise<void> {
    if (this.#isStopped || this.#unfilled.length === 0) return;
    this.#isUrgent = true;
    this.#endPause();
    await this.#fillNext();
    this.#isUrgent = false;
  }

  /** Goes on in the background until all are filled or one cannot be. */
  start(): void {
    void this.#fillAll();
  }

  /** Ends after the piece being written. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#endPause();
    await this.#filling;
  }

  async #fillAll(): Promise<void> {
    while (this.#unfilled.length > 0 && !this.#isStopped) {
      await this.#pause();
      if (this.#isStopped) return;
      await this.#fillNext();
      if (this.#isShort) return;
    }
  }

  #fillNext(): Promise<void> {
    this.#filling ??= this.#fill().finally(() => {
      this.#filling = undefined;
    });
    return this.#filling;
  }

  async #fill(): Promise<void> {
    const { handle, slotBytes, exclusive, onFilled, onShortage, path } = this.#options;
    const [index] = this.#unfilled;
    if (index === undefined) return;
    const start = index * slotBytes;
    const zeros = new Uint8Array(Math.min(pieceBytes, slotBytes));
    try {
      for (let at = 0; at < slotBytes; at += zeros.length) {
        if (at > 0 && !this.#isUrgent) await this.#pause();
        if (this.#isStopped) return;
        await exclusive(async () => {
          await handle.write(zeros.subarray(0, Math.min(zeros.length, slotBytes - at)), start + at);
          await handle.datasync();
        });
      }
      const mark = encodeHeader({ nonce: 0, life: 0, priority: 0, run: 0, sizeBytes: slotBytes });
      await exclusive(() => handle.write(mark, start));
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
      if (!this.#isShort) {
        onShortage(`${path} cannot be given slot ${index}, the buffer holds less: ${errorText(error)}`);
      }
      this.#isShort = true;
      return;
    }
    this.#isShort = false;
    this.#unfilled.shift();
    onFilled(index);
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const cancel: CancelTimer = this.#options.clock.schedule(millis(pauseMs), resolve);
      this.#endPause = () => {
        cancel();
        resolve();
      };
    });
  }
}
