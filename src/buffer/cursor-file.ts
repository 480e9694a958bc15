import { crc32 } from 'node:zlib';
import { assert } from '../base/assert.ts';
import type { IdentityState } from './identities.ts';
import { streamName } from '../base/units.ts';
import type { WearState } from './wear-ledger.ts';
import type { FileHandle, Filesystem } from '../host/filesystem.ts';
import type { LogTimeState } from './log-time.ts';
import type { SeqRange } from './seq-ranges.ts';
import type { LedgerState } from './stream-ledger.ts';

/**
 * What the log knows beside its slots. Two records of 64 KiB in one file that is filled with zeros when it is made,
 * so that no later write needs space: 8 octets `BATONCUR`, u32 length, u32 CRC-32 of the text with the length as start
 * value, the state as JSON. A write goes to the record that is not the newest durable one; the newest valid record
 * counts. A failed write is repeated in its own place, so that the other record stays whole.
 */
export interface CursorState {
  /** Size of a slot, in octets. */
  readonly slotBytes: number;
  /** No life of a slot with this number or above was begun before. */
  readonly nextLife: number;
  /** A stream not listed begins after this number: at least the last number of every stream dropped from the list. */
  readonly seqBase: number;
  /** Whether the run ended in order, with every stored record counted in here. */
  readonly isClosed: boolean;
  readonly identities: IdentityState;
  readonly time?: LogTimeState;
  /** Lives whose frames from this offset on were never reported stored. */
  readonly fences: ReadonlyMap<number, number>;
  /** By life, what open slots held, so that a start reads only what came after; left out where there is no room. */
  readonly tails: ReadonlyMap<number, SlotTail>;
  readonly streams: ReadonlyMap<string, LedgerState>;
  readonly wear: WearState;
}

/** A slot up to `length`; the summary is that of a footer. */
export interface SlotTail {
  readonly length: number;
  readonly summary: string;
}

/** Most streams that a cursor record holds. */
export const streamsMax = 240;

/** Most settled ranges above the floors of all streams that a cursor record holds. */
export const settledRangesMax = 96;

const recordBytes = 64 * 1024;
const headBytes = 16;
const magic = Buffer.from('BATONCUR');

/** The open cursor file of a log. */
export class CursorFile {
  readonly #handle: FileHandle;
  #generation: number;
  #place: 0 | 1;

  private constructor(handle: FileHandle, generation: number, place: 0 | 1) {
    this.#handle = handle;
    this.#generation = generation;
    this.#place = place;
  }

  /**
   * Opens the cursor, making it when there is none. `state` is undefined when nothing readable is there; `isDamaged`
   * when something unreadable is, which is then kept
   * as `cursor.damaged`. Throws `FileError` when the file can be neither opened nor made.
   */
  static async open(
    filesystem: Filesystem,
    directory: string,
  ): Promise<{ file: CursorFile; state: CursorState | undefined; isDamaged: boolean }> {
    const path = `${directory}/cursor`;
    if (!(await filesystem.list(directory)).includes('cursor')) {
      return { file: await CursorFile.#make(filesystem, directory), state: undefined, isDamaged: false };
    }
    const handle = await filesystem.open(path);
    const records = [await readRecord(handle, 0), await readRecord(handle, 1)] as const;
    const isDamaged = records.some((record) => record.isDamaged);
    const place = (records[1].generation ?? 0) > (records[0].generation ?? 0) ? 1 : 0;
    const { generation, state } = records[place];
    if (generation !== undefined && state !== undefined) {
      return { file: new CursorFile(handle, generation, place === 0 ? 1 : 0), state, isDamaged };
    }
    await handle.close();
    if (isDamaged) await filesystem.rename(path, `${path}.damaged`);
    else await filesystem.remove(path);
    return { file: await CursorFile.#make(filesystem, directory), state: undefined, isDamaged };
  }

  static async #make(filesystem: Filesystem, directory: string): Promise<CursorFile> {
    const handle = await filesystem.open(`${directory}/cursor`, { create: true });
    await handle.write(new Uint8Array(2 * recordBytes), 0);
    await handle.datasync();
    await filesystem.syncDirectory(directory);
    return new CursorFile(handle, 0, 0);
  }

  /** Makes `state` durable and returns what it wrote; throws `FileError` and leaves the previous one in force when that fails. */
  async write(state: CursorState): Promise<{ position: number; length: number }> {
    const text = Buffer.from(encodeState(this.#generation + 1, state));
    assert(text.length <= recordBytes - headBytes, `cursor record of ${text.length} bytes`);
    const record = new Uint8Array(headBytes + text.length);
    record.set(magic);
    const view = new DataView(record.buffer);
    view.setUint32(8, text.length, true);
    view.setUint32(12, crc32(text, text.length), true);
    record.set(text, headBytes);
    await this.#handle.write(record, this.#place * recordBytes);
    await this.#handle.datasync();
    const written = { position: this.#place * recordBytes, length: record.length };
    this.#generation += 1;
    this.#place = this.#place === 0 ? 1 : 0;
    return written;
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

interface ReadRecord {
  readonly generation?: number;
  readonly state?: CursorState;
  readonly isDamaged: boolean;
}

async function readRecord(handle: FileHandle, place: number): Promise<ReadRecord> {
  const record = new Uint8Array(recordBytes);
  try {
    await handle.read(record, place * recordBytes);
  } catch {
    return { isDamaged: true };
  }
  const view = new DataView(record.buffer);
  const length = view.getUint32(8, true);
  if (!magic.equals(record.subarray(0, 8)) || length > recordBytes - headBytes) {
    return { isDamaged: record.some((octet) => octet !== 0) };
  }
  const text = record.subarray(headBytes, headBytes + length);
  if (crc32(text, length) !== view.getUint32(12, true)) return { isDamaged: true };
  try {
    return { ...decodeState(text), isDamaged: false };
  } catch {
    // Another version wrote it, which left out what this one needs.
    return { isDamaged: true };
  }
}

type StreamRow = [
  name: string,
  floor: number,
  last: number,
  base: number,
  delivered: number,
  evicted: number,
  corrupt: number,
  lastProducerSeq: number | null,
  backlogThrough: number,
  /** The first and the last number of each settled range. */
  ...settled: number[],
];

type Scalars = Omit<CursorState, 'fences' | 'streams'>;

function encodeState(generation: number, state: CursorState): string {
  const rows = [...state.streams].map(([name, ledger]): StreamRow => {
    const { floor, last, base, delivered, evicted, corrupt, lastProducerSeq } = ledger;
    const counts = [floor, last, base, delivered, evicted, corrupt] as const;
    const ranges = ledger.settled.flatMap(({ from, to }) => [from, to]);
    return [name, ...counts, lastProducerSeq ?? null, ledger.backlogThrough, ...ranges];
  });
  const { fences, tails, streams: _, ...scalars } = state;
  const encode = (slots: CursorState['tails']): string => {
    const tailRows = [...slots].map(([life, { length, summary }]) => [life, length, summary]);
    return JSON.stringify({ generation, ...scalars, fences: [...fences], tails: tailRows, rows });
  };
  const text = encode(tails);
  return Buffer.byteLength(text) <= recordBytes - headBytes ? text : encode(new Map());
}

/** The CRC held, so the text is what some version of `encodeState` wrote. */
function decodeState(text: Uint8Array): { generation: number; state: CursorState } {
  const { generation, fences, tails, rows, ...scalars } = JSON.parse(
    Buffer.from(text).toString(),
  ) as Scalars & {
    generation: number;
    fences: [number, number][];
    tails: [number, number, string][];
    rows: StreamRow[];
  };
  const streams = rows.map((row): [string, LedgerState] => {
    const [name, floor, last, base, delivered, evicted, corrupt, producer, backlogThrough, ...ends] = row;
    const counts = { last, base, delivered, evicted, corrupt, lastProducerSeq: producer ?? undefined };
    return [streamName(name), { floor, settled: rangesOf(ends), backlogThrough, ...counts }];
  });
  const slots = new Map(tails.map(([life, length, summary]) => [life, { length, summary }]));
  return {
    generation,
    state: { ...scalars, fences: new Map(fences), tails: slots, streams: new Map(streams) },
  };
}

function rangesOf(ends: readonly number[]): SeqRange[] {
  const ranges: SeqRange[] = [];
  for (let at = 0; at + 1 < ends.length; at += 2) ranges.push({ from: ends[at] ?? 0, to: ends[at + 1] ?? 0 });
  return ranges;
}
