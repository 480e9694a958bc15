import type { FileHandle } from '../../src/host/filesystem.ts';

/**
 * One request that a block device has completed: what precedes a flush is durable from then on, a write with `isFua` is
 * so by itself. Offsets and lengths in octets; a mere flush and a mark have length 0.
 */
export interface WriteLogEntry {
  readonly isFlush: boolean;
  readonly isFua: boolean;
  /** Without data: what was there is gone. */
  readonly isDiscard: boolean;
  /** Place on the device. */
  readonly offset: number;
  readonly length: number;
  /** Place of the data in the log. */
  readonly dataAt: number;
}

/** What the log reader needs of a file. */
export type ReadableFile = Pick<FileHandle, 'read'>;

/** The unit that a device writes whole or not at all, and that a torn write is cut at. */
export const sectorBytes = 512;

const magic = 0x6a_73_66_77_73_68_72n;
const version = 1n;
const flags = { flush: 1n, fua: 2n, discard: 4n, mark: 8n };

/**
 * The first `countMax` entries of a log in the format of the Linux target dm-log-writes: a superblock of one sector with
 * u64 magic, u64 version, u64 entries, u32 sector size; from the second sector on, for each entry a sector with u64
 * sector, u64 count of sectors, u64 flags, u64 length of a mark, then the data, none for a discard. Little endian.
 * Throws for a file that is no such log.
 */
export async function readWriteLog(
  file: ReadableFile,
  countMax: number = Number.POSITIVE_INFINITY,
): Promise<WriteLogEntry[]> {
  const head = await viewAt(file, 0, 32);
  const unit = head.getUint32(24, true);
  if (head.getBigUint64(0, true) !== magic)
    throw new Error('this is no write log: its magic number is wrong');
  if (head.getBigUint64(8, true) !== version || unit < sectorBytes || unit % sectorBytes !== 0) {
    throw new Error(`a write log of version ${head.getBigUint64(8, true)} with sectors of ${unit} bytes`);
  }
  const count = Math.min(countMax, Number(head.getBigUint64(16, true)));
  const entries: WriteLogEntry[] = [];
  for (let at = unit; entries.length < count;) {
    const view = await viewAt(file, at, 32);
    const has = (flag: bigint): boolean => (view.getBigUint64(16, true) & flag) !== 0n;
    const isDiscard = has(flags.discard);
    const sectors = Number(view.getBigUint64(8, true));
    const markBytes = has(flags.mark) ? Number(view.getBigUint64(24, true)) : 0;
    const length = has(flags.mark) ? 0 : sectors * unit;
    const offset = Number(view.getBigUint64(0, true)) * unit;
    entries.push({
      isFlush: has(flags.flush),
      isFua: has(flags.fua),
      isDiscard,
      offset,
      length,
      dataAt: at + unit,
    });
    const follows = Math.ceil((isDiscard ? 0 : length + markBytes) / unit) * unit;
    at += unit + follows;
  }
  return entries;
}

async function viewAt(file: ReadableFile, at: number, length: number): Promise<DataView> {
  const data = new Uint8Array(length);
  const filled = await file.read(data, at);
  if (filled < length) throw new Error(`the write log ends at ${at + filled}, within an entry`);
  return new DataView(data.buffer);
}
