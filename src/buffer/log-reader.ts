import type { StreamName } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import type { FileHandle } from '../host/filesystem.ts';
import { ReadWindows } from './frame.ts';
import type { Identities } from './identities.ts';
import type { StoredRecord } from './record.ts';
import type { SeqRange } from './seq-ranges.ts';
import { headerBytes } from './slot.ts';
import type { Slot } from './slot.ts';
import { visitRecords } from './slot-scan.ts';
import type { ReadPlace, RecordVisitor, SlotSource } from './slot-scan.ts';
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
  /** Why nothing was read beyond the records, where the disk is to be asked again. */
  readonly failure?: unknown;
}

/** A place up to which a life of a slot holds no number of the stream above `seq`. */
interface Bookmark extends ReadPlace {
  readonly life: number;
  readonly seq: number;
}

/** A number that could not be read, with the time of the first try. */
interface Wait {
  readonly seq: number;
  readonly sinceMs: number;
}

const bookmarksMax = 4;
/** Readers of one stream that may stand before a place that cannot be read, generously. */
const waitsMax = 8;
/** For so long a place that cannot be read holds its stream up: it may be readable another time. */
const unreadableMsMax = 600_000;
const readCountMax = 4096;
const readBytesMax = 1024 * 1024;

/**
 * Reads records in order, window by window. There is no index: each stream has a few bookmarks where earlier reads
 * ended, so that a reader that goes on, or returns to the oldest record, does not start at the head of a slot.
 *
 * A number that no intact frame holds is missing. Where the disk fails to read, nothing is known: the read ends before that
 * place, and only when it has failed for `unreadableMsMax` does the place count as damaged.
 */
export class LogReader {
  readonly #source: SlotSource;
  readonly #clock: Clock;
  readonly #bookmarks = new Map<StreamName, readonly Bookmark[]>();
  readonly #waits = new Map<StreamName, readonly Wait[]>();

  constructor(handle: FileHandle, identities: Identities, clock: Clock) {
    this.#clock = clock;
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
      if (found.failure !== undefined) return { records, missing, failure: found.failure };
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
    const { stream } = request;
    const run = new ReadRun(request, (seq) => this.#isWaitedFor(stream, seq));
    for (const slot of slots) {
      const span = slot.spans.get(stream);
      if (span === undefined || span.last <= run.reached) continue;
      if (run.isOver || span.first > request.through) break;
      run.enter(span.first, Math.min(span.last, request.through));
      const began = this.#bookmarkBefore(stream, slot, run.reached);
      const stopped = await visitRecords(this.#source, slot, began ?? slotHead, run);
      if (stopped !== undefined && !run.isPast) {
        this.#move(stream, began, { life: slot.life, seq: run.reached, ...stopped });
      }
      run.leave();
    }
    this.#noteRead(request, run.reached);
    const { records, missing } = run;
    return run.isHeldUp ? { records, missing, failure: run.failure } : { records, missing };
  }

  #isWaitedFor(stream: StreamName, seq: number): boolean {
    const waits = this.#waits.get(stream) ?? [];
    const nowMs = this.#clock.monotonicMs();
    const known = waits.find((wait) => wait.seq === seq);
    if (known !== undefined) return nowMs - known.sinceMs < unreadableMsMax;
    this.#waits.set(stream, [...waits, { seq, sinceMs: nowMs }].slice(-waitsMax));
    return true;
  }

  #noteRead({ stream, after }: ReadRequest, reached: number): void {
    const waits = this.#waits.get(stream);
    if (waits === undefined) return;
    const left = waits.filter(({ seq }) => seq <= after || seq > reached);
    if (left.length > 0) this.#waits.set(stream, left);
    else this.#waits.delete(stream);
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

/** One read, slot by slot. */
class ReadRun implements RecordVisitor {
  readonly records: StoredRecord[] = [];
  readonly missing: SeqRange[] = [];
  /** Every number up to here is read, or missing. */
  reached: number;
  /** The last visit went past the numbers that the read could use. */
  isPast = false;
  /** The next number cannot be read now. */
  isHeldUp = false;
  /** Why a part of the slot could not be read. */
  failure: unknown;
  readonly keep: (payload: Uint8Array) => Uint8Array;
  readonly #request: ReadRequest;
  readonly #isWaitedFor: (seq: number) => boolean;
  #last = 0;
  #payloadBytes = 0;

  constructor(request: ReadRequest, isWaitedFor: (seq: number) => boolean) {
    const copier = new Copier();
    this.keep = (payload) => copier.copy(payload);
    this.reached = request.after;
    this.#request = request;
    this.#isWaitedFor = isWaitedFor;
  }

  get isOver(): boolean {
    return this.isHeldUp || this.#isFull || this.reached >= this.#request.through;
  }

  get #isFull(): boolean {
    const { countMax, payloadBytesMax } = this.#request;
    return this.records.length >= countMax || this.#payloadBytes >= payloadBytesMax;
  }

  /** A slot holds the numbers from `first` to `last`. */
  enter(first: number, last: number): void {
    this.reached = Math.max(this.reached, first - 1);
    this.#last = last;
    this.isPast = false;
    this.failure = undefined;
  }

  visit(record: StoredRecord): 'stop' | undefined {
    if (record.stream !== this.#request.stream || record.seq <= this.reached) return undefined;
    if (record.seq > this.#last || !this.#skip(record.seq - 1)) {
      this.isPast = true;
      return 'stop';
    }
    this.reached = record.seq;
    this.records.push(record);
    this.#payloadBytes += record.payload.length;
    return this.#isFull || record.seq === this.#last ? 'stop' : undefined;
  }

  onUnreadable(error: unknown): void {
    this.failure = error;
  }

  /** The slot has no more. */
  leave(): void {
    if (!this.isHeldUp && !this.#isFull) this.#skip(this.#last);
  }

  /** Goes on behind `through`, what is before it being missing; false when it may only be unreadable now. */
  #skip(through: number): boolean {
    if (this.reached >= through) return true;
    this.isHeldUp = this.failure !== undefined && this.#isWaitedFor(this.reached + 1);
    if (this.isHeldUp) return false;
    this.missing.push({ from: this.reached + 1, to: through });
    this.reached = through;
    return true;
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
