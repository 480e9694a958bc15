import { assert } from '../base/assert.ts';
import type { StreamName } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import type { Entropy } from '../host/entropy.ts';
import { FileError } from '../host/filesystem.ts';
import type { FileHandle } from '../host/filesystem.ts';
import { encodeFrame, frameBytes } from './frame.ts';
import type { Identities, RunIdentity } from './identities.ts';
import { encodeRecord } from './record.ts';
import { encodeGroup, groupsOf } from './record-group.ts';
import type { StoredRecord } from './record.ts';
import {
  emptySlot,
  encodeFooter,
  encodeHeader,
  encodeRun,
  encodeStream,
  extendSpan,
  footerBytes,
  headerBytes,
  nonceOf,
  runContentBytes,
} from './slot.ts';
import type { Slot } from './slot.ts';
import { SlotFiller } from './slot-filler.ts';
import { pageBytes } from './wear-ledger.ts';
import type { WearLedger } from './wear-ledger.ts';

/** The places of a container as they were found. */
export interface FoundPlaces {
  readonly path: string;
  readonly handle: FileHandle;
  readonly slotBytes: number;
  /** Lives with something in them, ascending. */
  readonly slots: readonly Slot[];
  /** Places filled with zeros or holding nothing that counts. */
  readonly free: readonly number[];
  /** Places not yet filled with zeros, ascending. */
  readonly unfilled: readonly number[];
  readonly nextLife: number;
}

/** Records for one slot in one commit. */
export interface CommitPart {
  readonly slot: Slot;
  readonly records: readonly StoredRecord[];
}

/** The slots of a log, in the order of their lives. Knows nothing of queues or acknowledgements. */
export class SlotPool {
  readonly handle: FileHandle;
  readonly slotBytes: number;
  readonly #path: string;
  readonly #entropy: Entropy;
  readonly #identities: Identities;
  readonly #wear: WearLedger;
  readonly #filler: SlotFiller;
  readonly #limit: number;
  /** By life, ascending. */
  readonly #slots: Map<number, Slot>;
  #list: readonly Slot[] | undefined;
  readonly #open = new Set<Slot>();
  #asideCount = 0;
  readonly #free: number[];
  #nextLife: number;
  /** Between a write and the flush that covers it no other flush may take its failure away. */
  #window: Promise<unknown> = Promise.resolve();
  #consumedBytes = 0;
  #isGone = false;

  constructor(
    found: FoundPlaces,
    parts: {
      clock: Clock;
      entropy: Entropy;
      identities: Identities;
      wear: WearLedger;
      quotaBytes: number;
      onShortage: (message: string) => void;
    },
  ) {
    this.handle = found.handle;
    this.slotBytes = found.slotBytes;
    this.#path = found.path;
    this.#entropy = parts.entropy;
    this.#identities = parts.identities;
    this.#wear = parts.wear;
    this.#slots = new Map(found.slots.map((slot) => [slot.life, slot]));
    for (const slot of found.slots) if (slot.state === 'open') this.#open.add(slot);
    this.#asideCount = found.slots.filter(({ state }) => state === 'aside').length;
    this.#free = [...found.free];
    this.#nextLife = found.nextLife;
    this.#limit = Math.max(1, Math.floor(parts.quotaBytes / found.slotBytes));
    this.#filler = new SlotFiller({
      clock: parts.clock,
      handle: found.handle,
      path: found.path,
      slotBytes: found.slotBytes,
      unfilled: found.unfilled.filter((index) => index < this.#limit),
      exclusive: (work) => this.#exclusive(work),
      onFilled: (index) => this.#free.push(index),
      onShortage: parts.onShortage,
    });
  }

  /** Ascending by life; a reader may hold on to a list. Made when asked for: the way of a record does not ask. */
  get slots(): readonly Slot[] {
    this.#list ??= [...this.#slots.values()];
    return this.#list;
  }
  get count(): number {
    return this.#slots.size;
  }
  /** Slots that the quota allows, and those that may still be taken. */
  get limit(): number {
    return this.#limit;
  }
  get roomSlots(): number {
    return this.#filler.isShort ? this.#free.length : this.#limit - this.#slots.size;
  }
  get nextLife(): number {
    return this.#nextLife;
  }
  /** Octets of disk that slots with records take. */
  get usedBytes(): number {
    return this.#slots.size * this.slotBytes;
  }
  /** Octets of container that commits have used up in this run, padding included. */
  get consumedBytes(): number {
    return this.#consumedBytes;
  }
  /** Octets that records may still take without giving up any. */
  get roomBytes(): number {
    const inOpen = this.openSlots().reduce((sum, slot) => sum + slot.sizeBytes - slot.length, 0);
    return Math.max(0, this.#limit - this.#slots.size) * this.slotBytes + inOpen;
  }
  /** Octets of container that commits fill padded, before they are packed. */
  get roomyBytes(): number {
    return Math.floor(roomySlots(this.#limit)) * this.slotBytes;
  }
  /** Whether more slots have records than the quota allows, as after it was lowered. */
  get isOverQuota(): boolean {
    return this.#slots.size > this.#limit;
  }
  /** Whether the quota would allow a slot that the disk has no space for. */
  get isShortOfDisk(): boolean {
    return this.#filler.isShort && this.#slots.size < this.#limit;
  }
  /** Slots that are set aside: a write failed there, or they could not be read. */
  get asideCount(): number {
    return this.#asideCount;
  }

  /** The slots that take records. */
  openSlots(): Slot[] {
    return [...this.#open];
  }

  holds(slot: Slot): boolean {
    return this.#slots.get(slot.life) === slot;
  }

  /** Takes a slot out of service after a failed write. */
  setAside(slot: Slot): void {
    if (slot.state !== 'aside') this.#asideCount += 1;
    slot.state = 'aside';
    this.#open.delete(slot);
  }

  /** A slot that was set aside is closed like any other. */
  giveBack(slot: Slot): void {
    assert(slot.state === 'aside' && this.holds(slot), `${slot.label} is not set aside`);
    this.#asideCount -= 1;
    slot.state = 'closed';
  }

  /** Fills places with zeros until `count` can take records; fewer when the disk has no space. */
  async prepare(count: number): Promise<void> {
    const wanted = Math.min(count, this.#limit - this.#slots.size);
    for (let tries = 0; this.#free.length < wanted && tries < wanted + 1; tries++)
      await this.#filler.fillNow();
  }

  /** Fills the remaining places in the background, in small pieces. */
  startFilling(): void {
    this.#filler.start();
  }

  /** Begins a life for records of `priority`; undefined when no slot is free. */
  async take(priority: number): Promise<Slot | undefined> {
    if (this.#slots.size >= this.#limit) return undefined;
    if (this.#free.length === 0) await this.#filler.fillNow();
    const index = this.#free.shift();
    if (index === undefined) return undefined;
    const life = this.#nextLife++;
    const slot = emptySlot({
      index,
      sizeBytes: this.slotBytes,
      container: this.#path,
      life,
      nonce: nonceOf(life, this.#entropy.uint32()),
      priority,
      run: this.#identities.run,
    });
    slot.state = 'open';
    slot.isBegun = false;
    this.#slots.set(life, slot);
    this.#list = undefined;
    this.#open.add(slot);
    return slot;
  }

  /** Whether frames of `more` octets fit, leaving room for the footer unless they are the first. */
  fits(slot: Slot, more: number): boolean {
    const reserve = slot.spans.size === 0 ? 0 : footerBytes(slot.spans.size + 1);
    return slot.length + more + contextBytes + reserve <= slot.sizeBytes;
  }

  /**
   * Writes records at the end of open slots and makes them durable with one flush. Returns the parts that failed, with
   * the error: nothing of them counts, and their slots must be set aside.
   */
  commit(parts: readonly CommitPart[]): Promise<ReadonlyMap<CommitPart, unknown>> {
    return this.#exclusive(async () => {
      const failures = new Map<CommitPart, unknown>();
      const ends = new Map<CommitPart, number>();
      for (const part of parts) {
        const { data, at } = this.#encode(part);
        try {
          await this.handle.write(data, part.slot.start + at);
          this.#wear.noteWrite(part.slot.start + at, data.length);
          ends.set(part, at + data.length);
        } catch (error) {
          failures.set(part, error);
        }
      }
      if (ends.size === 0) return failures;
      try {
        await this.#flush();
        this.#wear.noteFlush();
      } catch (error) {
        for (const part of ends.keys()) failures.set(part, error);
        return failures;
      }
      for (const [part, end] of ends) this.#noteCommitted(part, end);
      this.#wear.noteCommit(
        [...ends.keys()]
          .flatMap(({ records }) => records)
          .reduce((sum, { payload }) => sum + payload.length, 0),
      );
      return failures;
    });
  }

  /** Beside the flush: what is durable in a file that nobody will find again is not stored. */
  async #flush(): Promise<void> {
    const [placed, flushed] = await Promise.allSettled([this.handle.isInPlace(), this.handle.datasync()]);
    if (flushed.status === 'rejected') throw flushed.reason;
    if (placed.status === 'rejected') throw placed.reason;
    if (placed.value) return;
    this.#isGone = true;
    const cause = Object.assign(new Error('it was removed or replaced while in use'), { code: 'ESTALE' });
    throw new FileError('keep', this.#path, cause);
  }

  /** Whether the container is no longer where it was opened: nothing can be stored in it any more. */
  get isGone(): boolean {
    return this.#isGone;
  }

  #noteCommitted({ slot, records }: CommitPart, end: number): void {
    this.#consumedBytes += end - slot.length;
    slot.length = end;
    slot.isBegun = true;
    const [first] = records;
    if (first !== undefined) {
      slot.runs.set(Number.parseInt(first.runId, 16), runOf(first));
    }
    for (const record of records) {
      slot.names.set(this.#identities.idOf(record.stream), record.stream);
      extendSpan(slot, record);
    }
  }

  #encode({ slot, records }: CommitPart): { data: Uint8Array; at: number } {
    assert(slot.state === 'open', `${slot.label} takes no records`);
    const pieces: Uint8Array[] = [];
    const [first] = records;
    assert(first !== undefined && slot.run !== undefined, 'an empty commit');
    const { nonce, life, priority, run, sizeBytes } = slot;
    if (!slot.isBegun) pieces.push(encodeHeader({ nonce, life, priority: priority ?? 0, run, sizeBytes }));
    if (!slot.runs.has(Number.parseInt(first.runId, 16))) {
      pieces.push(encodeFrame(nonce, 'run', encodeRun(runOf(first))));
    }
    const told = new Set(slot.spans.keys());
    for (const record of records) {
      const id = this.#identities.idOf(record.stream);
      if (!told.has(record.stream))
        pieces.push(encodeFrame(nonce, 'stream', encodeStream(id, record.stream)));
      told.add(record.stream);
    }
    for (const group of groupsOf(records)) pieces.push(this.#encodeGroup(nonce, group));
    const at = slot.isBegun ? slot.length : 0;
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    assert(at + length <= sizeBytes, `${slot.label} has no room for ${length} bytes at ${at}`);
    const padding = this.#paddedEnd(slot, at + length, length, told.size) - at - length;
    if (padding > 0) pieces.push(new Uint8Array(padding));
    return { data: Buffer.concat(pieces), at };
  }

  #encodeGroup(nonce: number, group: readonly StoredRecord[]): Uint8Array {
    const [single, second] = group;
    assert(single !== undefined, 'an empty group');
    const idOf = (name: StreamName): number => this.#identities.idOf(name);
    if (second !== undefined) return encodeFrame(nonce, 'group', encodeGroup(group, idOf));
    return encodeFrame(nonce, 'record', encodeRecord(single, idOf(single.stream)));
  }

  /**
   * Padding ends a commit with its page: no durable page is written again and the device writes fewer octets, at the
   * price of space. While few slots are in use, as in service, all commits are padded; in an outage, which is what the
   * space is for, only those that hardly grow by it.
   */
  #paddedEnd(slot: Slot, end: number, length: number, streamCount: number): number {
    const unit = paddingUnit(slot.sizeBytes);
    const last = slot.sizeBytes - footerBytes(streamCount);
    const padded = Math.max(end, Math.min(Math.ceil(end / unit) * unit, Math.floor(last / 8) * 8));
    const isRoomy = this.#slots.size <= roomySlots(this.#limit);
    return isRoomy || 8 * (padded - end) <= length ? padded : end;
  }

  /**
   * Closes a slot to records. The footer only saves time at the next start: it rides on the next flush, and a failure
   * does no harm.
   */
  async seal(slot: Slot): Promise<void> {
    if (slot.state !== 'open') return;
    slot.state = 'closed';
    this.#open.delete(slot);
    const footer = slot.isBegun ? encodeFooter(slot) : undefined;
    if (footer === undefined) return;
    const { frame, trailer } = footer;
    const trailerAt = slot.start + slot.sizeBytes - trailer.length;
    await this.#exclusive(async () => {
      await this.handle.write(frame, slot.start + slot.length);
      await this.handle.write(trailer, trailerAt);
      this.#wear.noteWrite(slot.start + slot.length, slot.sizeBytes - slot.length);
    }).catch((error: unknown) => {
      if (!(error instanceof FileError)) throw error;
    });
  }

  /** Frees a closed slot whose records are durably settled. */
  release(slot: Slot): void {
    assert(slot.state === 'closed' && this.holds(slot), `${slot.label} cannot be freed`);
    this.#slots.delete(slot.life);
    this.#list = undefined;
    this.#free.push(slot.index);
  }

  /** Waits for what is being written and closes the container. */
  async close(): Promise<void> {
    await this.#filler.stop();
    await this.#exclusive(() => this.handle.close()).catch((error: unknown) => {
      if (!(error instanceof FileError)) throw error;
    });
  }

  #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#window.then(work);
    this.#window = done.catch(() => undefined);
    return done;
  }
}

function runOf({ runId, logId, bootId }: StoredRecord): RunIdentity {
  return { runId, logId, bootId };
}

/** Octets of records that one commit writes at most. */
export const commitBytesMax: number = 1024 * 1024;

/** Octets of the frames that tell a slot the run and one stream, generously. */
export const contextBytes: number = frameBytes(runContentBytes) + frameBytes(2 + 64);

/** Slots in use up to which all commits are padded, of `limit`. */
function roomySlots(limit: number): number {
  return Math.min(limit / 2, 4 + limit / 32);
}

/** Octets that a commit is padded to: a page, less in the small slots of tests. */
export function paddingUnit(slotBytes: number): number {
  return Math.min(pageBytes, Math.max(headerBytes, slotBytes / 16));
}

/** Octets of the largest frame that a slot takes. */
export function largestFrameBytes(slotBytes: number): number {
  return slotBytes - headerBytes - contextBytes;
}
