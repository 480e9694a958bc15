import type { Entropy } from '../../src/host/entropy.ts';
import { sectorBytes } from './write-log.ts';
import type { ReadableFile, WriteLogEntry } from './write-log.ts';

/** What becomes of the writes that no flush has covered when the power goes. */
export type Outcome = 'none' | 'all' | 'half' | 'allButOne' | 'torn' | 'sectors';

/** All of them: nothing; everything; each write by chance; all but one; the last cut off; each sector by chance. */
export const outcomes: readonly Outcome[] = ['torn', 'none', 'sectors', 'all', 'half', 'allButOne'];

/** A power cut after the first `position` entries of a log. */
export interface Cut {
  readonly position: number;
  readonly outcome: Outcome;
  /** For each pending write, by its index in the log, which of its sectors survive. */
  readonly survivors: ReadonlyMap<number, readonly boolean[]>;
}

/** Indexes of the writes before `position` that no flush covers. */
export function pendingBefore(entries: readonly WriteLogEntry[], position: number): number[] {
  const pending: number[] = [];
  for (let index = flushedBefore(entries, position); index < position; index++) {
    const entry = entries[index];
    if (entry !== undefined && entry.length > 0 && !entry.isFua) pending.push(index);
  }
  return pending;
}

/** How many entries the last flush before `position` covers. */
function flushedBefore(entries: readonly WriteLogEntry[], position: number): number {
  let index = position - 1;
  while (index > 0 && entries[index]?.isFlush !== true) index -= 1;
  return Math.max(0, index);
}

/** Draws what survives a cut at `position`. */
export function drawCut(
  entries: readonly WriteLogEntry[],
  position: number,
  outcome: Outcome,
  entropy: Entropy,
): Cut {
  const pending = pendingBefore(entries, position);
  const below = (bound: number): number => entropy.uint32() % bound;
  const spared = pending[below(Math.max(1, pending.length))];
  const survivors = new Map<number, readonly boolean[]>();
  for (const index of pending) {
    const sectors = Math.ceil((entries[index]?.length ?? 0) / sectorBytes);
    const kept = index === pending.at(-1) && outcome === 'torn' ? below(sectors) : sectors;
    const isKept = outcome === 'half' ? below(2) === 0 : outcome === 'allButOne' ? index !== spared : true;
    const survives = (sector: number): boolean => {
      if (outcome === 'none') return false;
      return outcome === 'sectors' ? below(2) === 0 : isKept && sector < kept;
    };
    survivors.set(
      index,
      Array.from({ length: sectors }, (_, sector) => survives(sector)),
    );
  }
  return { position, outcome, survivors };
}

/** The device as power cuts at ever later positions leave it. */
export class CutDevice {
  readonly #entries: readonly WriteLogEntry[];
  readonly #log: ReadableFile;
  readonly #durable: Uint8Array;
  #applied = 0;

  /** `start` is the device before the first entry; it is taken over. */
  constructor(start: Uint8Array, entries: readonly WriteLogEntry[], log: ReadableFile) {
    this.#durable = start;
    this.#entries = entries;
    this.#log = log;
  }

  /** The whole device after a cut, its own copy. Positions must not go back. */
  async after({ position, survivors }: Cut): Promise<Uint8Array> {
    const flushed = flushedBefore(this.#entries, position);
    if (flushed < this.#applied) throw new Error(`a cut at ${position} after one beyond it`);
    for (; this.#applied < flushed; this.#applied++) await this.#apply(this.#durable, this.#applied);
    const device = new Uint8Array(this.#durable);
    for (let index = flushed; index < position; index++) {
      await this.#apply(device, index, survivors.get(index));
    }
    return device;
  }

  async #apply(device: Uint8Array, index: number, survivors?: readonly boolean[]): Promise<void> {
    const entry = this.#entries[index];
    if (entry === undefined || entry.length === 0) return;
    const data = new Uint8Array(entry.length);
    if (!entry.isDiscard && (await this.#log.read(data, entry.dataAt)) < data.length) {
      throw new Error(`the write log ends within the data of entry ${index}`);
    }
    if (entry.offset + data.length > device.length) throw new Error(`entry ${index} is beyond the device`);
    if (survivors === undefined) device.set(data, entry.offset);
    for (const [sector, isKept] of survivors?.entries() ?? []) {
      const from = sector * sectorBytes;
      const isWritten = from > 0 && isSecondHalf(data, from, entry.offset) ? survivors?.[sector - 1] : isKept;
      if (isWritten === true) device.set(data.subarray(from, from + sectorBytes), entry.offset + from);
    }
  }
}

const ext4SuperblockAt = 1024;
/** Magic and type of the superblock of a journal, as jbd2 writes them. */
const journalSuperblock = Buffer.from('c03b399800000004', 'hex');

/**
 * Whether the sector at `from` of a write belongs to the sector before it: ext4 takes it that its superblock, and that of its
 * journal, of 1 KiB each with a checksum, are written whole or not at all, and does not mount where they are torn.
 */
function isSecondHalf(data: Uint8Array, from: number, offset: number): boolean {
  if (offset + from === ext4SuperblockAt + sectorBytes) return true;
  return journalSuperblock.equals(data.subarray(from - sectorBytes, from - sectorBytes + 8));
}

/** The stretch of a log in which cuts are wanted, first and last position included. */
export interface CutRange {
  readonly first: number;
  readonly last: number;
}

/**
 * Draws `count` cuts: always one at the end of `range`, a share of the others within `windows`, the rest spread evenly;
 * those with pending writes are preferred, the outcomes take turns. Ascending by position.
 */
export function drawCuts(
  entries: readonly WriteLogEntry[],
  range: CutRange,
  windows: readonly CutRange[],
  windowShare: number,
  count: number,
  entropy: Entropy,
): Cut[] {
  const within = ({ first, last }: CutRange): number => {
    let position = first;
    for (let tries = 0; tries < 4; tries++) {
      position = first + (entropy.uint32() % (last - first + 1));
      if (pendingBefore(entries, position).length > 0) break;
    }
    return position;
  };
  const positions = [range.last];
  const inWindows = windows.length === 0 ? 0 : Math.floor((count - 1) * windowShare);
  for (let index = 0; index < inWindows; index++) {
    const window = windows[(index + entropy.uint32()) % windows.length];
    if (window !== undefined) positions.push(within(window));
  }
  const spread = count - positions.length;
  for (let index = 0; index < spread; index++) {
    const length = range.last - range.first + 1;
    const first = range.first + Math.floor((index * length) / spread);
    const last = Math.max(first, range.first + Math.floor(((index + 1) * length) / spread) - 1);
    positions.push(within({ first, last }));
  }
  const shift = entropy.uint32();
  return positions
    .sort((a, b) => a - b)
    .slice(-count)
    .map((position, index) => {
      const outcome = outcomes[(index + shift) % outcomes.length] ?? 'all';
      return drawCut(entries, position, outcome, entropy);
    });
}
