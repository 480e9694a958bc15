import { assert } from '../base/assert.ts';
import { FileError } from '../host/filesystem.ts';
import type { FileHandle, Filesystem } from '../host/filesystem.ts';
import type { SlotTail } from './cursor-file.ts';
import { ReadWindows } from './frame.ts';
import type { Identities } from './identities.ts';
import type { LogDamage } from './log-options.ts';
import {
  emptySlot,
  formatVersion,
  headerBytes,
  isRead,
  readFooter,
  readHeader,
  slotEndBytes,
  takeSummary,
} from './slot.ts';
import type { Slot, SlotHeader } from './slot.ts';
import { commitBytesMax, paddingUnit } from './slot-pool.ts';
import type { FoundPlaces } from './slot-pool.ts';
import { noncesIn, scanSlot, sectorBytes } from './slot-scan.ts';
import type { SlotReport, SlotSource } from './slot-scan.ts';

/** The file with all slots, open. */
export interface Container {
  readonly handle: FileHandle;
  readonly path: string;
  readonly slotBytes: number;
  /** Octets that the file has. */
  readonly sizeBytes: number;
}

/** What a container holds. */
export interface ContainerContent {
  readonly places: FoundPlaces;
  readonly reports: ReadonlyMap<Slot, SlotReport>;
  readonly open: ReadonlyMap<number, Slot>;
  readonly fences: Map<number, number>;
  readonly damage: readonly LogDamage[];
}

/**
 * Opens the container, making an empty one when there is none. Its slots have the size that its first header tells, else
 * `slotBytes`. Throws `FileError` when it can be neither opened nor made.
 */
export async function openContainer(
  filesystem: Filesystem,
  directory: string,
  slotBytes: number,
): Promise<Container> {
  const path = `${directory}/slots`;
  if (!(await filesystem.list(directory)).includes('slots')) {
    const handle = await filesystem.open(path, { create: true });
    await filesystem.syncDirectory(directory);
    return { handle, path, slotBytes, sizeBytes: 0 };
  }
  const handle = await filesystem.open(path);
  const sizeBytes = await handle.size();
  const first = await readHeader(handle, 0);
  const told = first === undefined || first === 'unreadable' ? undefined : first;
  // A header of another version may have anything in this place.
  const isSize = told?.version === formatVersion && told.sizeBytes > 2 * headerBytes;
  return { handle, path, slotBytes: isSize ? told.sizeBytes : slotBytes, sizeBytes };
}

/** What is known before the container is read. */
interface Knowledge {
  readonly identities: Identities;
  readonly fences: Map<number, number>;
  /** By life, what open slots held when the cursor was written. */
  readonly tails: ReadonlyMap<number, SlotTail>;
  readonly nextLife: number;
  readonly quotaBytes: number;
  readonly priorities: ReadonlySet<number>;
}

/**
 * Reads the summaries of closed slots and the whole of the others, and makes what they hold durable. Slots of this
 * log that end in order and have room are found `open`; what a run left torn behind their last frame is erased first.
 */
export async function readContainer(container: Container, knowledge: Knowledge): Promise<ContainerContent> {
  const reading = new ContainerReading(container, knowledge);
  const { handle, slotBytes, sizeBytes } = container;
  const present = Math.ceil(sizeBytes / slotBytes);
  for (let first = 0; first < present; first += placesAtOnce) {
    const count = Math.min(placesAtOnce, present - first);
    const ends = await Promise.all(
      Array.from({ length: count }, (_, index) => readEnds(container, first + index)),
    );
    for (const [index, found] of ends.entries()) await reading.readPlace(first + index, found);
  }
  for (let index = present; index < Math.floor(knowledge.quotaBytes / slotBytes); index++) {
    reading.unfilled.push(index);
  }
  // What a killed process left may be in the page cache only; it must not be delivered before it is on the disk.
  const isSynced = sizeBytes === 0 || (await succeeds(() => handle.datasync()));
  return reading.finish(isSynced);
}

/** Header and last octets of a place. */
interface PlaceEnds {
  readonly header: SlotHeader | 'unreadable' | undefined;
  readonly end: Uint8Array;
}

const placesAtOnce = 16;

async function readEnds({ handle, slotBytes }: Container, index: number): Promise<PlaceEnds> {
  const start = index * slotBytes;
  const end = new Uint8Array(Math.min(slotEndBytes, slotBytes));
  const [header, isEndRead] = await Promise.all([
    readHeader(handle, start),
    isRead(handle, end, start + slotBytes - end.length),
  ]);
  return { header, end: isEndRead ? end : end.subarray(0, 0) };
}

/** The places of one container, one after the other. */
class ContainerReading {
  readonly unfilled: number[] = [];
  readonly #container: Container;
  readonly #knowledge: Knowledge;
  readonly #free: number[] = [];
  readonly #slots: Slot[] = [];
  readonly #headless: { slot: Slot; end: Uint8Array; nonces: ReadonlySet<number> }[] = [];
  readonly #source: SlotSource;
  readonly #reports = new Map<Slot, SlotReport>();
  readonly #damage: LogDamage[] = [];

  constructor(container: Container, knowledge: Knowledge) {
    this.#container = container;
    this.#knowledge = knowledge;
    this.#source = {
      handle: container.handle,
      identities: knowledge.identities,
      windows: new ReadWindows(),
    };
  }

  async readPlace(index: number, { header, end }: PlaceEnds): Promise<void> {
    const { handle, slotBytes, sizeBytes } = this.#container;
    const start = index * slotBytes;
    if (header === undefined || header === 'unreadable') {
      await this.#readHeadless(index, end, header === 'unreadable');
      return;
    }
    const isLife = Number.isSafeInteger(header.life) && header.life >= 0;
    if (header.version !== formatVersion || header.sizeBytes !== slotBytes || !isLife) {
      const what = `format version ${header.version}, slots of ${header.sizeBytes} bytes and life ${header.life}`;
      this.#note('slot', index, `has ${what}; it is left alone for a Baton that knows them`);
    } else if (header.life === 0) {
      if (start + slotBytes > sizeBytes) this.unfilled.push(index);
      else this.#free.push(index);
    } else {
      this.#knowledge.identities.noteRunNumber(header.run);
      const slot = this.#slot(index, header);
      this.#slots.push(slot);
      if (!this.#knowledge.fences.has(slot.life) && (await readFooter(handle, slot, end))) {
        this.#learn(slot);
      } else await this.#scan(slot);
    }
  }

  /** A place without an intact header: never filled, or damaged. */
  async #readHeadless(index: number, slotEnd: Uint8Array, isHeaderUnreadable: boolean): Promise<void> {
    const { slotBytes, sizeBytes } = this.#container;
    const start = index * slotBytes;
    const end = Math.min(start + slotBytes, sizeBytes);
    const { nonces, isUnreadable } = await noncesIn(this.#source, start + headerBytes, end);
    if (nonces.size > 0) {
      const slot = this.#slot(index, undefined);
      this.#headless.push({ slot, end: slotEnd, nonces });
    } else if (isUnreadable || isHeaderUnreadable) {
      this.#note('slot', index, 'cannot be read; it is left alone');
    } else {
      this.unfilled.push(index);
    }
  }

  async #scan(slot: Slot): Promise<void> {
    const { slotBytes } = this.#container;
    const { fences, tails } = this.#knowledge;
    const fence = fences.get(slot.life);
    const end = Math.min(slotBytes, fence ?? slotBytes);
    const tail = tails.get(slot.life);
    let gapBytesMax: number | undefined;
    // What was durable when the cursor was written needs no second look: the cursor tells what it is. Behind what has
    // become durable since, one commit may have left its remains.
    if (tail !== undefined && tail.length <= end) {
      takeSummary(slot, tail.summary);
      slot.length = tail.length;
      gapBytesMax = 2 * commitBytesMax;
    }
    const report = await scanSlot(this.#source, slot, end, gapBytesMax);
    this.#reports.set(slot, report);
    this.#learn(slot);
    if (report.isUnreadable) this.#note('slot', slot.index, 'cannot be read in part; what could be is used');
    if (report.damagedBytes > 0) {
      this.#note('slot', slot.index, `has ${report.damagedBytes} damaged bytes between records`);
    }
    if (report.tornSectors.length > 0 && fence === undefined) {
      this.#note('tail', slot.index, `ends with ${report.tornSectors.length} sectors that are torn`);
    }
  }

  /** Takes over what a slot tells of streams and runs. */
  #learn(slot: Slot): void {
    const { identities } = this.#knowledge;
    for (const [run, { logId }] of slot.runs) identities.noteRun(run, logId);
    for (const [id, name] of slot.names) identities.noteStream(id, name);
  }

  async finish(isSynced: boolean): Promise<ContainerContent> {
    const { handle, path, slotBytes } = this.#container;
    const newest = Math.max(this.#knowledge.nextLife - 1, ...this.#slots.map(({ life }) => life), 0);
    for (const { slot, end, nonces } of this.#headless) await this.#readByNonces(slot, end, nonces, newest);
    this.#slots.sort((a, b) => a.life - b.life);
    const nextLife = Math.max(newest, this.#slots.at(-1)?.life ?? 0) + 1;
    const open = isSynced ? await this.#continue() : new Map<number, Slot>();
    const lives = new Set(this.#slots.map(({ life }) => life));
    const fences = new Map([...this.#knowledge.fences].filter(([life]) => lives.has(life)));
    const used = this.#slots.filter((slot) => {
      if (slot.spans.size > 0) return true;
      // What may hold more than could be read is left for a later start; else the cut came in the first commit.
      if (this.#reports.get(slot)?.isUnreadable === true) slot.state = 'aside';
      else this.#free.push(slot.index);
      return slot.state === 'aside';
    });
    const { unfilled } = this;
    return {
      places: { path, handle, slotBytes, slots: used, free: this.#free, unfilled, nextLife },
      reports: this.#reports,
      open,
      fences,
      damage: this.#damage,
    };
  }

  /** The present life is the newest of those that have frames in the slot. */
  async #readByNonces(
    slot: Slot,
    end: Uint8Array,
    nonces: ReadonlySet<number>,
    newest: number,
  ): Promise<void> {
    for (const nonce of nonces) {
      const life = newest - ((newest - (nonce >>> 16)) & 0xffff);
      const known = life > 0 ? life : nonce >>> 16;
      if (known <= slot.life) continue;
      slot.life = known;
      slot.nonce = nonce;
    }
    this.#note('slot', slot.index, 'has lost its header; what its frames tell is used');
    this.#slots.push(slot);
    const isFenced = this.#knowledge.fences.has(slot.life);
    if (!isFenced && (await readFooter(this.#container.handle, slot, end))) this.#learn(slot);
    else await this.#scan(slot);
  }

  /** Finds the newest slot of each priority fit to be continued. */
  async #continue(): Promise<Map<number, Slot>> {
    const open = new Map<number, Slot>();
    for (const priority of this.#knowledge.priorities) {
      const slot = this.#slots.findLast((candidate) => candidate.priority === priority);
      const report = slot === undefined ? undefined : this.#reports.get(slot);
      if (slot === undefined || report === undefined || report.isUnreadable) continue;
      if (slot.spans.size === 0 || this.#knowledge.fences.has(slot.life)) continue;
      if (!(await this.#erase(slot, report.tornSectors))) continue;
      slot.length = await this.#afterPadding(slot);
      slot.state = 'open';
      open.set(priority, slot);
    }
    return open;
  }

  /**
   * Erases what was torn behind the last frame: this run writes its frames over the same place, and a sector of the
   * former together with one of this run's could make a frame whole that a start had not found.
   */
  async #erase(slot: Slot, sectors: readonly number[]): Promise<boolean> {
    const { handle } = this.#container;
    if (sectors.length === 0) return true;
    return succeeds(async () => {
      for (const sector of sectors) {
        const from = Math.max(sector, slot.length);
        await handle.write(new Uint8Array(sector + sectorBytes - from), slot.start + from);
      }
      await handle.datasync();
    });
  }

  /** The end of the zeros after the last frame when these fill its page, so that it is not written again. */
  async #afterPadding(slot: Slot): Promise<number> {
    const unit = paddingUnit(slot.sizeBytes);
    const end = Math.min(Math.ceil(slot.length / unit) * unit, slot.sizeBytes);
    const rest = new Uint8Array(end - slot.length);
    const isRead = await succeeds(() => this.#container.handle.read(rest, slot.start + slot.length));
    return isRead && rest.every((octet) => octet === 0) ? end : slot.length;
  }

  #slot(index: number, header: SlotHeader | undefined): Slot {
    const { path, slotBytes } = this.#container;
    assert(header === undefined || header.life > 0, 'a slot that was never used');
    return emptySlot({
      index,
      sizeBytes: slotBytes,
      container: path,
      life: header?.life ?? 0,
      nonce: header?.nonce ?? 0,
      priority: header?.priority,
      run: header?.run,
    });
  }

  #note(kind: LogDamage['kind'], index: number, text: string): void {
    this.#damage.push({ kind, count: 0, message: `slot ${index} of ${this.#container.path} ${text}` });
  }
}

async function succeeds(work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    return false;
  }
}
