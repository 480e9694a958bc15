import { assert } from '../base/assert.ts';
import type { StreamName } from '../base/units.ts';
import type { Entropy } from '../host/entropy.ts';
import type { Filesystem } from '../host/filesystem.ts';
import { encodeFooter, encodeHeader, extendSpan, footerBytes, headerBytes, segmentName } from './segment.ts';
import type { Segment } from './segment.ts';
import type { StoredRecord } from './record.ts';

const pageBytes = 4096;

/** The segment files of a log, in the order they were made. Knows nothing of queues or acknowledgements. */
export class SegmentStore {
  readonly #filesystem: Filesystem;
  readonly #entropy: Entropy;
  readonly #directory: string;
  readonly #runId: string;
  readonly #logId: string;
  #segments: Segment[];
  #nextId: number;

  constructor(options: {
    filesystem: Filesystem;
    entropy: Entropy;
    directory: string;
    runId: string;
    logId: string;
    segments: readonly Segment[];
    nextId: number;
  }) {
    this.#filesystem = options.filesystem;
    this.#entropy = options.entropy;
    this.#directory = options.directory;
    this.#runId = options.runId;
    this.#logId = options.logId;
    this.#segments = [...options.segments];
    this.#nextId = options.nextId;
  }

  /** Ascending by id; every change makes a new list, so that a reader may hold on to one. */
  get segments(): readonly Segment[] {
    return this.#segments;
  }
  get nextId(): number {
    return this.#nextId;
  }
  /** Octets of disk that the segments take. */
  get usedBytes(): number {
    return this.#segments.reduce((sum, segment) => sum + diskBytes(segment, 0), 0);
  }

  /** Makes an empty segment that takes records. Throws `FileError` and leaves nothing behind. */
  async create(): Promise<Segment> {
    const id = this.#nextId++;
    const path = `${this.#directory}/${segmentName(id)}`;
    const handle = await this.#filesystem.open(path, { create: true });
    const nonce = this.#entropy.uint32();
    const segment = { id, path, runId: this.#runId, nonce, length: 0, spans: new Map(), handle };
    this.#segments = [...this.#segments, segment];
    return segment;
  }

  /**
   * Writes encoded records at the end of an open segment and makes them durable, with the name of the file when they
   * are its first. Throws `FileError`; then the segment must be closed with `quarantine`.
   */
  async commit(segment: Segment, frames: Uint8Array, records: readonly StoredRecord[]): Promise<void> {
    const { handle, nonce } = segment;
    assert(handle !== undefined && nonce !== undefined, `${segment.path} takes no records`);
    const isFirst = segment.length === 0;
    const head = isFirst ? encodeHeader(nonce, this.#runId, this.#logId) : new Uint8Array(0);
    await handle.write(Buffer.concat([head, frames]), segment.length);
    await handle.datasync();
    if (isFirst) await this.#filesystem.syncDirectory(this.#directory);
    segment.length += head.length + frames.length;
    for (const record of records) extendSpan(segment, record);
  }

  /** Closes a segment to records. The footer only saves time at the next start: a failure does no harm. */
  async seal(segment: Segment): Promise<void> {
    const { handle } = segment;
    if (handle === undefined) return;
    segment.handle = undefined;
    const footer = segment.length > 0 ? encodeFooter(segment) : undefined;
    await ignoreFailure(async () => {
      if (footer !== undefined) await handle.write(footer, segment.length);
    });
    await ignoreFailure(() => handle.close());
  }

  /** Closes a segment whose last write failed: a retry proves nothing, the kernel has marked the pages clean. */
  async quarantine(segment: Segment): Promise<void> {
    const { handle } = segment;
    segment.handle = undefined;
    if (handle !== undefined) await ignoreFailure(() => handle.close());
  }

  /** Removes the closed segments without an open record; what cannot be removed is tried again next time. */
  async removeSettled(isSettled: (stream: StreamName, through: number) => boolean): Promise<void> {
    for (const segment of this.#segments) {
      if (segment.handle !== undefined) continue;
      if (![...segment.spans].every(([name, span]) => isSettled(name, span.last))) continue;
      await ignoreFailure(async () => {
        await this.#filesystem.remove(segment.path);
        this.#segments = this.#segments.filter((other) => other !== segment);
      });
    }
  }
}

/** Octets of disk that a segment takes once `more` octets are added. */
export function diskBytes(segment: Segment | undefined, more: number): number {
  const length =
    Math.max(segment?.length ?? 0, headerBytes) + more + footerBytes((segment?.spans.size ?? 0) + 1);
  return Math.ceil(length / pageBytes) * pageBytes;
}

async function ignoreFailure(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch {
    // The caller goes on without.
  }
}
