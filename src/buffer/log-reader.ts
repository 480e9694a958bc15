import type { StreamName } from '../base/units.ts';
import { FileError } from '../host/filesystem.ts';
import type { Filesystem } from '../host/filesystem.ts';
import type { StoredRecord } from './record.ts';
import { headerBytes, readRecords } from './segment.ts';
import type { Segment } from './segment.ts';

/** What a reader asks for. */
export interface ReadRequest {
  readonly stream: StreamName;
  /** Records above this number, */
  readonly after: number;
  /** at most so many, and fewer once their payloads exceed `payloadBytesMax`. */
  readonly countMax: number;
  readonly payloadBytesMax: number;
}

/** What a reader found. */
export interface ReadResult {
  readonly records: StoredRecord[];
  /** Numbers that should be there and are not. */
  readonly missing: readonly { from: number; to: number }[];
}

/** A place up to which a segment holds no number of the stream above `seq`. */
interface Bookmark {
  readonly segmentId: number;
  readonly offset: number;
  readonly seq: number;
}

const bookmarksMax = 4;

/**
 * Reads records in order, window by window. There is no index: each stream has a few bookmarks where earlier reads
 * ended, so that a reader that goes on, or returns to the oldest record, does not start at the head of a segment.
 */
export class LogReader {
  readonly #filesystem: Filesystem;
  readonly #bookmarks = new Map<StreamName, Bookmark[]>();

  constructor(filesystem: Filesystem) {
    this.#filesystem = filesystem;
  }

  /** Reads from `segments`, which are ascending. Throws `FileError` when a file cannot be opened. */
  async read(segments: readonly Segment[], request: ReadRequest): Promise<ReadResult> {
    const records: StoredRecord[] = [];
    const missing: { from: number; to: number }[] = [];
    let reached = request.after;
    let payloadBytes = 0;
    const isFull = (): boolean =>
      records.length >= request.countMax || payloadBytes >= request.payloadBytesMax;
    for (const segment of segments) {
      const span = segment.spans.get(request.stream);
      if (span === undefined || span.last <= reached) continue;
      if (isFull()) break;
      reached = Math.max(reached, span.first - 1);
      const last = span.last;
      for await (const { value, end } of this.#records(segment, request.stream, reached)) {
        if (value.seq > last) break;
        if (value.seq > reached + 1) missing.push({ from: reached + 1, to: value.seq - 1 });
        reached = value.seq;
        records.push(value);
        payloadBytes += value.payload.length;
        this.#remember(request.stream, { segmentId: segment.id, offset: end, seq: value.seq });
        if (isFull()) break;
      }
      if (!isFull() && reached < last) {
        missing.push({ from: reached + 1, to: last });
        reached = last;
      }
    }
    return { records, missing };
  }

  async *#records(
    segment: Segment,
    stream: StreamName,
    after: number,
  ): AsyncGenerator<{ value: StoredRecord; end: number }, void, undefined> {
    const known = (this.#bookmarks.get(stream) ?? []).filter(
      (bookmark) => bookmark.segmentId === segment.id && bookmark.seq <= after,
    );
    const start = Math.max(headerBytes, ...known.map((bookmark) => bookmark.offset));
    const handle = await this.#filesystem.open(segment.path).catch((error: unknown) => {
      // Removed since the list was taken: its records are settled.
      if (error instanceof FileError && error.errno === 'ENOENT') return undefined;
      throw error;
    });
    if (handle === undefined) return;
    try {
      const range = { start, end: segment.length, nonce: segment.nonce };
      for await (const { value, end } of readRecords(handle, range)) {
        if (value.stream === stream && value.seq > after) yield { value, end };
      }
    } finally {
      await handle.close();
    }
  }

  #remember(stream: StreamName, bookmark: Bookmark): void {
    const all = this.#bookmarks.get(stream) ?? [];
    // A read that goes on moves its own bookmark; others keep theirs until they are the oldest.
    const others = all.filter(
      ({ segmentId, seq }) => segmentId !== bookmark.segmentId || seq !== bookmark.seq - 1,
    );
    this.#bookmarks.set(stream, [...others, bookmark].slice(-bookmarksMax));
  }
}
