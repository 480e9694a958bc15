import { errorText } from '../base/errors.ts';
import { assert } from '../base/assert.ts';
import type { Clock } from '../host/clock.ts';
import { readWhole } from '../host/filesystem.ts';
import type { FileHandle, Filesystem } from '../host/filesystem.ts';

/**
 * Flight log: what happened, one JSON object per line, in files `flight-00000001.jsonl` and following. The newest file
 * grows; when it is full the next one begins and the oldest is removed, so that the whole never exceeds its bound (I8).
 * Every start begins a file: the last line of the one before may be torn, and a reader skips it. Nothing waits for the
 * log, and a disk that refuses costs events, which are counted, never the gateway.
 */

/** A recorded event; `kind` says what the other members are. Everything in it must be plain JSON. */
export interface FlightEvent {
  readonly kind: string;
  readonly [key: string]: unknown;
}

/** A recorded event with the times that the recorder gave it. */
export interface RecordedEvent extends FlightEvent {
  readonly monotonicMs: number;
  readonly unixMs: number;
}

/** Where to record and how much. */
export interface FlightRecorderOptions {
  readonly filesystem: Filesystem;
  readonly clock: Clock;
  readonly directory: string;
  /** Bound of one file; a line that does not fit into an empty file is not recorded. */
  readonly fileBytesMax: number;
  /** Files kept, at least 2. */
  readonly filesMax: number;
  /** Bytes that may wait for the disk before events are dropped. */
  readonly pendingBytesMax: number;
}

/** Bounds that keep the flight log of some days within 16 MiB. */
export const defaultFlightBounds: Pick<
  FlightRecorderOptions,
  'fileBytesMax' | 'filesMax' | 'pendingBytesMax'
> = {
  fileBytesMax: 2 * 1024 * 1024,
  filesMax: 8,
  pendingBytesMax: 1024 * 1024,
};

/** What became of the events so far. */
export interface FlightCounters {
  readonly recorded: number;
  /** Not recorded: too large, not JSON, too many at once, or refused by the disk. */
  readonly dropped: number;
  /** Last refusal of the disk. */
  readonly lastError?: string;
}

const fileNamePattern = /^flight-(\d{8})\.jsonl$/;
const fileName = (number: number): string => `flight-${String(number).padStart(8, '0')}.jsonl`;

/** Opens the flight log in `directory`, which is created when missing. Throws `FileError` when it cannot be used at all. */
export async function openFlightRecorder(options: FlightRecorderOptions): Promise<FlightRecorder> {
  assert(options.filesMax >= 2, `a flight log needs at least 2 files, got ${options.filesMax}`);
  await options.filesystem.createDirectory(options.directory);
  const numbers = await fileNumbers(options.filesystem, options.directory);
  return new FlightRecorder(options, numbers);
}

/** The open flight log; made by `openFlightRecorder`. */
export class FlightRecorder {
  readonly #options: FlightRecorderOptions;
  /** Numbers of the files on disk, oldest first. */
  #numbers: number[];
  /** Number of the newest file that was begun, successfully or not. */
  #newest: number;
  #file: { readonly handle: FileHandle; size: number } | undefined;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #writing: Promise<void> | undefined;
  #recorded = 0;
  #dropped = 0;
  #lastError: string | undefined;
  #isClosed = false;

  constructor(options: FlightRecorderOptions, numbers: readonly number[]) {
    this.#options = options;
    this.#numbers = [...numbers];
    this.#newest = numbers.at(-1) ?? 0;
  }

  get counters(): FlightCounters {
    const error = this.#lastError === undefined ? {} : { lastError: this.#lastError };
    return { recorded: this.#recorded, dropped: this.#dropped, ...error };
  }

  /** Stamps the event and hands it to the disk without waiting. Never throws. */
  record(event: FlightEvent): void {
    const line = this.#encode(event);
    const { fileBytesMax, pendingBytesMax } = this.#options;
    const length = line?.length ?? 0;
    const hasRoom = length <= fileBytesMax && this.#pendingBytes + length <= pendingBytesMax;
    if (line === undefined || this.#isClosed || !hasRoom) {
      this.#dropped += 1;
      return;
    }
    this.#pending.push(line);
    this.#pendingBytes += length;
    this.#writing ??= this.#writePending();
  }

  /** Waits until everything recorded so far is durable or counted as dropped. */
  async flush(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
    try {
      await this.#file?.handle.datasync();
    } catch (error) {
      this.#lastError = errorText(error);
      await this.#closeFile();
    }
  }

  /** Flushes and closes; later events are dropped. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.flush();
    await this.#closeFile();
  }

  #encode(event: FlightEvent): Uint8Array | undefined {
    const { clock } = this.#options;
    try {
      const stamped = { ...event, monotonicMs: clock.monotonicMs(), unixMs: clock.unixMs() };
      return Buffer.from(`${JSON.stringify(stamped)}\n`);
    } catch (error) {
      this.#lastError = errorText(error);
      return undefined;
    }
  }

  async #writePending(): Promise<void> {
    while (this.#pending.length > 0) {
      const lines = this.#takeBatch();
      try {
        await this.#append(lines);
        this.#recorded += lines.length;
      } catch (error) {
        this.#dropped += lines.length;
        this.#lastError = errorText(error);
        // What the file holds now is uncertain: the next line begins another one.
        await this.#closeFile();
      }
    }
    this.#writing = undefined;
  }

  /** As many waiting lines as fit into the current file, or into an empty one when the current file is full. */
  #takeBatch(): Uint8Array[] {
    const { fileBytesMax } = this.#options;
    const first = this.#pending[0]?.length ?? 0;
    const size = this.#file?.size ?? 0;
    let room = size + first <= fileBytesMax ? fileBytesMax - size : fileBytesMax;
    let count = 0;
    for (const line of this.#pending) {
      if (line.length > room) break;
      room -= line.length;
      count += 1;
    }
    assert(count > 0, `a line of ${first} bytes waits for a file of ${fileBytesMax} bytes`);
    const lines = this.#pending.splice(0, count);
    this.#pendingBytes -= lines.reduce((sum, line) => sum + line.length, 0);
    return lines;
  }

  async #append(lines: readonly Uint8Array[]): Promise<void> {
    const data = Buffer.concat(lines);
    if (this.#file !== undefined && this.#file.size + data.length > this.#options.fileBytesMax) {
      await this.#closeFile();
    }
    this.#file ??= await this.#beginFile();
    await this.#file.handle.write(data, this.#file.size);
    this.#file.size += data.length;
  }

  async #beginFile(): Promise<{ handle: FileHandle; size: number }> {
    const { filesystem, directory, filesMax } = this.#options;
    while (this.#numbers.length >= filesMax) {
      const oldest = this.#numbers[0] ?? 0;
      await filesystem.remove(`${directory}/${fileName(oldest)}`);
      this.#numbers.shift();
    }
    this.#newest += 1;
    const number = this.#newest;
    const handle = await filesystem.open(`${directory}/${fileName(number)}`, { create: true });
    this.#numbers.push(number);
    await filesystem.syncDirectory(directory);
    return { handle, size: 0 };
  }

  async #closeFile(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    try {
      await file?.handle.close();
    } catch (error) {
      this.#lastError = errorText(error);
    }
  }
}

/**
 * Reads a flight log back, oldest event first, one file after the other; `skipped` counts lines that are no event, as a
 * power cut leaves them. Throws `FileError` when the directory cannot be read.
 */
export async function readFlightLog(
  filesystem: Filesystem,
  directory: string,
  fileBytesMax: number = defaultFlightBounds.fileBytesMax,
): Promise<{ readonly events: readonly RecordedEvent[]; readonly skipped: number }> {
  const events: RecordedEvent[] = [];
  let skipped = 0;
  for (const number of await fileNumbers(filesystem, directory)) {
    const data = await readWhole(filesystem, `${directory}/${fileName(number)}`, fileBytesMax);
    for (const line of Buffer.from(data ?? [])
      .toString('utf8')
      .split('\n')) {
      if (line === '') continue;
      const event = parseEvent(line);
      if (event === undefined) skipped += 1;
      else events.push(event);
    }
  }
  return { events, skipped };
}

function parseEvent(line: string): RecordedEvent | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { kind, monotonicMs, unixMs } = value as Record<string, unknown>;
  const isEvent = typeof kind === 'string' && typeof monotonicMs === 'number' && typeof unixMs === 'number';
  return isEvent ? { ...value, kind, monotonicMs, unixMs } : undefined;
}

async function fileNumbers(filesystem: Filesystem, directory: string): Promise<number[]> {
  const names = await filesystem.list(directory);
  return names
    .map((name) => Number(fileNamePattern.exec(name)?.[1]))
    .filter((number) => Number.isInteger(number))
    .sort((a, b) => a - b);
}
