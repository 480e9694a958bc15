import type { StreamName } from '../base/units.ts';
import type { FileHandle } from '../host/filesystem.ts';
import { ReadWindows } from './frame.ts';
import type { Identities } from './identities.ts';
import type { StoredRecord } from './record.ts';
import type { SeqRange } from './seq-ranges.ts';
import { headerBytes } from './slot.ts';
import type { Slot } from './slot.ts';
import { visitRecords } from './slot-scan.ts';
import type { ReadPlace, SlotSource } from './slot-scan.ts';
import type { StreamLedger } from './stream-ledger.ts';

/** What a reader asks for. */
export interface ReadRequest {
  readonly stream: StreamName;
  /** Records above this number, */
  readonly after: number;
  /** and not above this one, */
  readonly through: number;
  /** at most so many, and fewer once their payloads exceed `payloadBytesMax`. */
  readonly countMax: number;
  readonly payloadBytesMax: number;
}

/** What a reader found. */
export interface ReadResult {
  readonly records: StoredRecord[];
  /** Numbers that should be there and are not. */
  readonly missing: readonly SeqRange[];
}

/** A place up to which a life of a slot holds no number of the stream above `seq`. */
interface Bookmark extends ReadPlace {
  readonly life: number;
  readonly seq: number;
}

const bookmarksMax = 4;
const readCountMax = 4096;
const readBytesMax = 1024 * 1024;

/**
 * Reads records in order, window by window. There is no index: each stream has a few bookmarks where earlier reads
 * ended, so that a reader that goes on, or returns to the oldest record, does not start at the head of a slot.
 */
export class LogReader {
  readonly #source: SlotSource;
  readonly #bookmarks = new Map<StreamName, readonly Bookmark[]>();

  constructor(handle: FileHandle, identities: Identities) {
    this.#source = { handle, identities, windows: new ReadWindows() };
  }

  /** The pending records above `after`, at most `max` and fewer when their payloads exceed a bound. */
  async readPending(
    slots: readonly Slot[],
    ledger: StreamLedger,
    after: number,
    max: number,
  ): Promise<ReadResult> {
    const records: StoredRecord[] = [];
    const missing: SeqRange[] = [];
    let roomBytes = readBytesMax;
    for (let open = ledger.openAfter(after); open !== undefined; open = ledger.openAfter(open.to)) {
      const countMax = Math.min(max, readCountMax) - records.length;
      if (countMax < 1 || roomBytes <= 0) break;
      const bounds = { after: open.from - 1, through: open.to, countMax, payloadBytesMax: roomBytes };
      const found = await this.read(slots, { stream: ledger.name, ...bounds });
      records.push(...found.records);
      missing.push(...found.missing);
      roomBytes = found.records.reduce((room, { payload }) => room - payload.length, roomBytes);
    }
    return { records, missing };
  }

  /** The record of one number, if a slot holds it. */
  readOne(slots: readonly Slot[], stream: StreamName, seq: number): Promise<ReadResult> {
    const bounds = { after: seq - 1, through: seq, countMax: 1, payloadBytesMax: readBytesMax };
    return this.read(slots, { stream, ...bounds });
  }

  /** Reads from `slots`, which are ascending by life. */
  async read(slots: readonly Slot[], request: ReadRequest): Promise<ReadResult> {
    const records: StoredRecord[] = [];
    const missing: SeqRange[] = [];
    let reached = request.after;
    let payloadBytes = 0;
    const copier = new Copier();
    const keep = (payload: Uint8Array): Uint8Array => copier.copy(payload);
    const isFull = (): boolean =>
      records.length >= request.countMax || payloadBytes >= request.payloadBytesMax;
    for (const slot of slots) {
      const span = slot.spans.get(request.stream);
      if (span === undefined || span.last <= reached) continue;
      if (reached >= request.through || isFull() || span.first > request.through) break;
      reached = Math.max(reached, span.first - 1);
      const last = Math.min(span.last, request.through);
      let isPast = false;
      const began = this.#bookmarkBefore(request.stream, slot, reached);
      const stopped = await visitRecords(this.#source, slot, began ?? slotHead, keep, (record) => {
        if (record.stream !== request.stream || record.seq <= reached) return undefined;
        if (record.seq > last) {
          isPast = true;
          return 'stop';
        }
        if (record.seq > reached + 1) missing.push({ from: reached + 1, to: record.seq - 1 });
        reached = record.seq;
        records.push(record);
        payloadBytes += record.payload.length;
        return isFull() || record.seq === last ? 'stop' : undefined;
      });
      if (stopped !== undefined && !isPast) {
        this.#move(request.stream, began, { life: slot.life, seq: reached, ...stopped });
      }
      if (!isFull() && reached < last) {
        missing.push({ from: reached + 1, to: last });
        reached = last;
      }
    }
    return { records, missing };
  }

  #bookmarkBefore(stream: StreamName, slot: Slot, after: number): Bookmark | undefined {
    let best: Bookmark | undefined;
    for (const bookmark of this.#bookmarks.get(stream) ?? []) {
      if (bookmark.life !== slot.life || bookmark.seq > after) continue;
      if (best === undefined || bookmark.offset > best.offset) best = bookmark;
    }
    return best;
  }

  /** A read that goes on moves its own bookmark; others keep theirs until they are the oldest. */
  #move(stream: StreamName, began: Bookmark | undefined, ended: Bookmark): void {
    const others = (this.#bookmarks.get(stream) ?? []).filter((bookmark) => bookmark !== began);
    this.#bookmarks.set(stream, [...others, ended].slice(-bookmarksMax));
  }
}

const slotHead: ReadPlace = { offset: headerBytes, runBits: undefined };

const piecesBytes = 16 * 1024;

/** Copies many small pieces into few buffers: one each would cost more than its octets. */
class Copier {
  #memory = new Uint8Array(0);
  #used = 0;

  copy(piece: Uint8Array): Uint8Array {
    if (4 * piece.length > piecesBytes) return piece.slice();
    if (this.#used + piece.length > this.#memory.length) {
      this.#memory = new Uint8Array(piecesBytes);
      this.#used = 0;
    }
    const copy = this.#memory.subarray(this.#used, this.#used + piece.length);
    copy.set(piece);
    this.#used += piece.length;
    return copy;
  }
}
