import type { StreamName } from '../base/units.ts';
import type { FileHandle } from '../host/filesystem.ts';
import type { Identities } from './identities.ts';
import type { StoredRecord } from './record.ts';
import type { SeqRange } from './seq-ranges.ts';
import { headerBytes } from './slot.ts';
import type { Slot } from './slot.ts';
import { readRecords } from './slot-scan.ts';
import type { FoundRecord, ReadPlace } from './slot-scan.ts';
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
  readonly #handle: FileHandle;
  readonly #identities: Identities;
  readonly #bookmarks = new Map<StreamName, Bookmark[]>();

  constructor(handle: FileHandle, identities: Identities) {
    this.#handle = handle;
    this.#identities = identities;
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
    const isFull = (): boolean =>
      records.length >= request.countMax || payloadBytes >= request.payloadBytesMax;
    for (const slot of slots) {
      const span = slot.spans.get(request.stream);
      if (span === undefined || span.last <= reached) continue;
      if (reached >= request.through || isFull() || span.first > request.through) break;
      reached = Math.max(reached, span.first - 1);
      const last = Math.min(span.last, request.through);
      for await (const { value, next } of this.#records(slot, request.stream, reached)) {
        if (value.seq > last) break;
        if (value.seq > reached + 1) missing.push({ from: reached + 1, to: value.seq - 1 });
        reached = value.seq;
        records.push(value);
        payloadBytes += value.payload.length;
        this.#remember(request.stream, { life: slot.life, seq: value.seq, ...next });
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
    slot: Slot,
    stream: StreamName,
    after: number,
  ): AsyncGenerator<FoundRecord, void, undefined> {
    let place: ReadPlace = { offset: headerBytes, runBits: undefined };
    for (const bookmark of this.#bookmarks.get(stream) ?? []) {
      if (bookmark.life === slot.life && bookmark.seq <= after && bookmark.offset > place.offset)
        place = bookmark;
    }
    for await (const found of readRecords(this.#handle, slot, this.#identities, place)) {
      if (found.value.stream === stream && found.value.seq > after) yield found;
    }
  }

  #remember(stream: StreamName, bookmark: Bookmark): void {
    const all = this.#bookmarks.get(stream) ?? [];
    // A read that goes on moves its own bookmark; others keep theirs until they are the oldest.
    const others = all.filter(({ life, seq }) => life !== bookmark.life || seq !== bookmark.seq - 1);
    this.#bookmarks.set(stream, [...others, bookmark].slice(-bookmarksMax));
  }
}
