import { crc32 } from 'node:zlib';
import { DecodeError, IoError, LimitError, errorText } from '../base/errors.ts';
import type { Bytes } from '../base/units.ts';
import { readWhole } from '../host/filesystem.ts';
import type { Filesystem } from '../host/filesystem.ts';
import { createDurableDirectory } from './durable-directory.ts';

/** Settings of a `DurableState`. */
export interface DurableStateOptions<T> {
  readonly filesystem: Filesystem;
  /** Made when missing. */
  readonly directory: string;
  /** File name without ending; the state is in `<name>.state`, its former value in `<name>.previous`. */
  readonly name: string;
  /** Version of the value's shape, stored beside it. */
  readonly version: number;
  /**
   * The value from what `JSON.parse` gave and the version it was saved with. Throws `DecodeError` for what it cannot
   * read: the former value is tried then.
   */
  readonly decode: (value: unknown, version: number) => T;
  /** Longest file, in octets; default 1 MiB. */
  readonly bytesMax?: Bytes;
  /** Told when a file is damaged and why. */
  readonly onDamage?: (message: string) => void;
}

/**
 * One small value that survives a power cut: after it, `load` gives the last value saved, or the one whose `save` had
 * not yet returned. The value must come back from JSON as it went in.
 *
 * A file is 8 octets `BATONSTA`, f64 generation, u32 version, u32 CRC-32 of all else, the text
 * in UTF-8. A save writes `<name>.temp`, makes it durable, renames the state to `.previous` unless it is
 * damaged, renames `.temp` to the state, and makes the names durable: at every instant one of the two files is whole.
 */
export class DurableState<T> {
  readonly #options: DurableStateOptions<T>;
  readonly #bytesMax: number;
  #generation: number | undefined;
  #isCurrentIntact = false;
  #waiting: { text: Uint8Array; saved: Promise<void> } | undefined;
  #tail: Promise<unknown> = Promise.resolve();

  constructor(options: DurableStateOptions<T>) {
    this.#options = options;
    this.#bytesMax = options.bytesMax ?? 1024 * 1024;
  }

  /** The saved value; undefined when there is none that can be read. Throws `FileError` for a directory out of reach. */
  load(): Promise<T | undefined> {
    return this.#enqueue(() => this.#load());
  }

  /**
   * Replaces the value. Resolves when it, or a value saved after it, is durable; values that wait for the same write
   * are passed over for the newest. Rejects with `FileError` when the disk refuses (the former value stays), and with
   * `LimitError` for a value beyond `bytesMax`.
   */
  async save(value: T): Promise<void> {
    const text = Buffer.from(JSON.stringify(value));
    if (text.length + headBytes > this.#bytesMax) {
      throw new LimitError(
        `${this.#options.name} would take ${text.length} bytes; at most ${this.#bytesMax} are allowed`,
      );
    }
    if (this.#waiting !== undefined) {
      this.#waiting.text = text;
      return this.#waiting.saved;
    }
    const waiting = { text, saved: Promise.resolve() };
    waiting.saved = this.#enqueue(async () => {
      this.#waiting = undefined;
      if (this.#generation === undefined) await this.#load();
      await this.#write(waiting.text);
    });
    this.#waiting = waiting;
    return waiting.saved;
  }

  async #load(): Promise<T | undefined> {
    const { filesystem, directory } = this.#options;
    await createDurableDirectory(filesystem, directory);
    const current = await this.#read(this.#path('state'));
    const previous =
      current.value === undefined ? await this.#read(this.#path('previous')) : { generation: 0 };
    this.#isCurrentIntact = current.value !== undefined;
    this.#generation = Math.max(current.generation, previous.generation);
    return (current.value ?? previous.value)?.held;
  }

  async #read(path: string): Promise<{ generation: number; value?: { held: T } }> {
    const { filesystem, decode, onDamage } = this.#options;
    try {
      const data = await readWhole(filesystem, path, this.#bytesMax);
      if (data === undefined) return { generation: 0 };
      const { generation, version, value } = decodeState(data);
      return { generation, value: { held: decode(value, version) } };
    } catch (error) {
      // Whatever is wrong with one file, the other is still to be tried.
      if (!(error instanceof DecodeError) && !(error instanceof IoError)) throw error;
      onDamage?.(`${path}: ${errorText(error)}`);
      return { generation: 0 };
    }
  }

  async #write(text: Uint8Array): Promise<void> {
    const { filesystem, directory, version } = this.#options;
    const generation = (this.#generation ?? 0) + 1;
    await filesystem.remove(this.#path('temp'));
    const handle = await filesystem.open(this.#path('temp'), { create: true });
    try {
      await handle.write(encodeState(generation, version, text), 0);
      await handle.datasync();
    } finally {
      await handle.close();
    }
    if (this.#isCurrentIntact) await filesystem.rename(this.#path('state'), this.#path('previous'));
    // Until the new name is durable, a repeated save must not put a file of unknown standing over the former value.
    this.#isCurrentIntact = false;
    await filesystem.rename(this.#path('temp'), this.#path('state'));
    await filesystem.syncDirectory(directory);
    this.#generation = generation;
    this.#isCurrentIntact = true;
  }

  #path(ending: string): string {
    return `${this.#options.directory}/${this.#options.name}.${ending}`;
  }

  #enqueue<R>(work: () => Promise<R>): Promise<R> {
    const done = this.#tail.then(work);
    this.#tail = done.catch(() => undefined);
    return done;
  }
}

const headBytes = 24;
const magic = Buffer.from('BATONSTA');

function encodeState(generation: number, version: number, text: Uint8Array): Uint8Array {
  const data = new Uint8Array(headBytes + text.length);
  const view = new DataView(data.buffer);
  data.set(magic);
  view.setFloat64(8, generation, true);
  view.setUint32(16, version, true);
  data.set(text, headBytes);
  view.setUint32(20, checksum(data), true);
  return data;
}

function decodeState(data: Uint8Array): { generation: number; version: number; value: unknown } {
  if (data.length < headBytes || !magic.equals(data.subarray(0, 8))) {
    throw new DecodeError(`${data.length} bytes are no saved state; the former value is used`);
  }
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  const generation = view.getFloat64(8, true);
  if (checksum(data) !== view.getUint32(20, true)) {
    throw new DecodeError('the checksum of the saved state does not hold; the former value is used');
  }
  const text = Buffer.from(data.subarray(headBytes)).toString();
  return { generation, version: view.getUint32(16, true), value: JSON.parse(text) };
}

/** Covers all but itself. */
function checksum(data: Uint8Array): number {
  return crc32(data.subarray(headBytes), crc32(data.subarray(0, 20)));
}
