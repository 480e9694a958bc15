import { crc32 } from 'node:zlib';
import { DecodeError, IoError, LimitError, errorText } from '../base/errors.ts';
import type { Bytes } from '../base/units.ts';
import type { Entropy } from '../host/entropy.ts';
import { FileError } from '../host/filesystem.ts';
import type { FileHandle, Filesystem } from '../host/filesystem.ts';
import { createDurableDirectory } from './durable-directory.ts';
import { contentBytesMax, encodeFrame, frameBytes, visitFrames } from './frame.ts';

/** Settings of a `Journal`. */
export interface JournalOptions<T> {
  readonly filesystem: Filesystem;
  readonly entropy: Entropy;
  /** Made when missing. */
  readonly directory: string;
  /** File name without ending; the entries are in `<name>.journal`. */
  readonly name: string;
  /** An entry from what `JSON.parse` gave. Throws `DecodeError` for what it cannot read: the entry is passed over. */
  readonly decode: (value: unknown) => T;
  /** Longest file, in octets; default 1 MiB. */
  readonly bytesMax?: Bytes;
  /** Told when entries are damaged, or the end of the file was torn. */
  readonly onDamage?: (message: string) => void;
}

/**
 * A list of small entries that only grows until it is compacted, held in memory and on the disk. An appended entry
 * survives a power cut; one whose append had not returned may.
 *
 * The file is 8 octets `BATONJOU`, u32 nonce, u32 CRC-32 of the octets before, then frames (frame.ts) of JSON. It is
 * appended to in place as long as it ends with an intact frame and no write failed; else the next append writes the
 * whole list to `<name>.temp`, makes it durable, and renames it: nothing is ever written over what counts.
 */
export class Journal<T> {
  readonly #options: JournalOptions<T>;
  readonly #bytesMax: number;
  readonly #path: string;
  #entries: { value: T; content: Uint8Array }[] = [];
  #file: { handle: FileHandle; nonce: number; length: number } | undefined;
  #waiting: { content: Uint8Array; value: T }[] = [];
  #flush: Promise<void> | undefined;
  #tail: Promise<unknown> = Promise.resolve();
  #usedBytes = headBytes;
  #isClosed = false;

  private constructor(options: JournalOptions<T>) {
    this.#options = options;
    this.#bytesMax = options.bytesMax ?? 1024 * 1024;
    this.#path = `${options.directory}/${options.name}.journal`;
  }

  /** See `openJournal`. */
  static async open<T>(options: JournalOptions<T>): Promise<Journal<T>> {
    const journal = new Journal(options);
    await createDurableDirectory(options.filesystem, options.directory);
    await journal.#read();
    return journal;
  }

  /** The durable entries in order. */
  entries(): readonly T[] {
    return this.#entries.map((entry) => entry.value);
  }

  /** Octets that the entries take; `compact` before they reach `bytesMax`. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /**
   * Adds an entry; resolves when it is durable. Entries appended meanwhile share the next flush. Rejects with
   * `FileError` when the disk refuses (the entry is not in the list then), and with `LimitError` when it is full.
   */
  async append(entry: T): Promise<void> {
    if (this.#isClosed) throw new IoError(`${this.#path} is closed`);
    const content = Buffer.from(JSON.stringify(entry));
    const waiting = sizeOf(this.#waiting) - headBytes;
    const total = this.#usedBytes + waiting + frameBytes(content.length);
    if (content.length > contentBytesMax || total > this.#bytesMax) {
      throw new LimitError(
        `${this.#path} would take ${total} bytes; at most ${this.#bytesMax}: compact it first`,
      );
    }
    this.#waiting.push({ content, value: entry });
    this.#flush ??= this.#enqueue(() => {
      this.#flush = undefined;
      const batch = this.#waiting;
      this.#waiting = [];
      return this.#commit(batch);
    });
    return this.#flush;
  }

  /** Keeps only the entries that `keep` wants, in one step: a power cut leaves the former list or the new one. */
  compact(keep: (entry: T) => boolean): Promise<void> {
    return this.#enqueue(async () => {
      const kept = this.#entries.filter((entry) => keep(entry.value));
      await this.#rewrite(kept.map((entry) => entry.content));
      this.#entries = kept;
      this.#usedBytes = sizeOf(kept);
    });
  }

  /** Waits for what is being written and closes the file. */
  close(): Promise<void> {
    this.#isClosed = true;
    return this.#enqueue(async () => {
      await this.#file?.handle.close();
      this.#file = undefined;
    });
  }

  async #commit(batch: { content: Uint8Array; value: T }[]): Promise<void> {
    const { handle, nonce, length } = this.#file ?? { handle: undefined, nonce: 0, length: 0 };
    if (handle === undefined) {
      await this.#rewrite([...this.#entries, ...batch].map((entry) => entry.content));
    } else {
      const frames = Buffer.concat(batch.map((entry) => encodeFrame(nonce, 'entry', entry.content)));
      try {
        await handle.write(frames, length);
        await handle.datasync();
      } catch (error) {
        // What this file holds beyond `length` is unknown from here on: it takes nothing more.
        this.#file = undefined;
        await handle.close().catch(() => undefined);
        await this.#rewrite(this.#entries.map((entry) => entry.content)).catch(() => undefined);
        throw error;
      }
      this.#file = { handle, nonce, length: length + frames.length };
    }
    this.#entries.push(...batch);
    this.#usedBytes += sizeOf(batch) - headBytes;
  }

  async #rewrite(contents: readonly Uint8Array[]): Promise<void> {
    const { filesystem, entropy, directory, name } = this.#options;
    const temp = `${directory}/${name}.temp`;
    const nonce = entropy.uint32();
    const frames = contents.map((content) => encodeFrame(nonce, 'entry', content));
    const data = Buffer.concat([encodeHead(nonce), ...frames]);
    const former = this.#file?.handle;
    this.#file = undefined;
    await former?.close();
    await filesystem.remove(temp);
    const handle = await filesystem.open(temp, { create: true });
    try {
      await handle.write(data, 0);
      await handle.datasync();
      await filesystem.rename(temp, this.#path);
      await filesystem.syncDirectory(directory);
    } catch (error) {
      await handle.close().catch(() => undefined);
      throw error;
    }
    this.#file = { handle, nonce, length: data.length };
  }

  async #read(): Promise<void> {
    const { filesystem, decode } = this.#options;
    const handle = await filesystem.open(this.#path).catch((error: unknown) => {
      if (error instanceof FileError && error.errno === 'ENOENT') return undefined;
      throw error;
    });
    if (handle === undefined) return;
    const end = Math.min(await handle.size(), 2 * this.#bytesMax);
    let nonce = await readHead(handle);
    let length = headBytes;
    let isClean = nonce !== undefined;
    const range = { start: headBytes, end, nonce, onUnreadable: () => (isClean = false) };
    await visitFrames(handle, range, (frame) => {
      if (frame.skippedBytes > 0) {
        isClean = false;
        this.#damaged(`${frame.skippedBytes} bytes before offset ${frame.offset} are no entry`);
      }
      nonce = frame.nonce;
      length = frame.end;
      const content = frame.content.slice();
      try {
        const value = decode(JSON.parse(Buffer.from(content).toString()));
        this.#entries.push({ value, content });
      } catch (error) {
        if (!(error instanceof DecodeError)) throw error;
        this.#damaged(`the entry at offset ${frame.offset} is passed over: ${errorText(error)}`);
      }
      return undefined;
    });
    this.#usedBytes = sizeOf(this.#entries);
    if (length < end) this.#damaged(`${end - length} bytes at the end are no entry`);
    if (isClean && length === end && nonce !== undefined && (await isSynced(handle))) {
      this.#file = { handle, nonce, length };
      return;
    }
    await handle.close();
    await this.#rewrite(this.#entries.map((entry) => entry.content));
  }

  #damaged(message: string): void {
    this.#options.onDamage?.(`${this.#path}: ${message}`);
  }

  #enqueue<R>(work: () => Promise<R>): Promise<R> {
    const done = this.#tail.then(work);
    this.#tail = done.catch(() => undefined);
    return done;
  }
}

/**
 * Opens a journal, making it with its first entry when there is none. Damaged entries are reported and passed over.
 * Throws `FileError` when the directory or the file cannot be used.
 */
export function openJournal<T>(options: JournalOptions<T>): Promise<Journal<T>> {
  return Journal.open(options);
}

const headBytes = 16;
const magic = Buffer.from('BATONJOU');

function sizeOf(entries: readonly { content: Uint8Array }[]): number {
  return entries.reduce((sum, entry) => sum + frameBytes(entry.content.length), headBytes);
}

function encodeHead(nonce: number): Uint8Array {
  const head = new Uint8Array(headBytes);
  const view = new DataView(head.buffer);
  head.set(magic);
  view.setUint32(8, nonce, true);
  view.setUint32(12, crc32(head.subarray(0, 12)), true);
  return head;
}

async function readHead(handle: FileHandle): Promise<number | undefined> {
  const head = new Uint8Array(headBytes);
  try {
    await handle.read(head, 0);
  } catch {
    return undefined;
  }
  const view = new DataView(head.buffer);
  const isIntact =
    magic.equals(head.subarray(0, 8)) && crc32(head.subarray(0, 12)) === view.getUint32(12, true);
  return isIntact ? view.getUint32(8, true) : undefined;
}

/** What a killed process left may be in the page cache only. */
async function isSynced(handle: FileHandle): Promise<boolean> {
  return handle.datasync().then(
    () => true,
    () => false,
  );
}
