import { crc32 } from 'node:zlib';
import type { FileHandle, Filesystem } from '../../src/host/filesystem.ts';
import { withHandles } from './with-handles.ts';

/**
 * Defective variants of the buffer, made by standing between it and its disk: what the product does wrong and what the
 * file system does for it cannot be told apart from outside.
 */
export type Mutant =
  /** The product never calls datasync. */
  | 'noDatasync'
  /** The product reports before its datasync has happened. */
  | 'reportBeforeDatasync'
  /** The product checks no CRC: every frame read carries the one that fits its content. */
  | 'noCrc'
  /** The product stops at the first bad frame: what follows one in a slot reads as zeros. */
  | 'stopAtBadFrame'
  /** The CRC does not cover the nonce of the slot's life: frames of earlier lives read as of the present one. */
  | 'noEpoch'
  /** Frames do not tell their run: all read as of the run that began the slot's life. */
  | 'noRunId'
  /** What a cut tore is not erased before the next run writes over its place. */
  | 'noErase'
  /** The cursor is not synced after the log was opened, so not before a slot is used again. */
  | 'cursorNeverSynced'
  /** The cursor does not say what is settled above older pending records, though slots are used again by it. */
  | 'forgetRanges'
  /** The cursor is written only after the slot that it frees was used again. */
  | 'cursorAfterReuse'
  /** A run that did not end in order keeps the log id. */
  | 'keepsLogId'
  /** The product does not look whether its files are still in their directory. */
  | 'noPlaceCheck';

/** The file system as `mutant` would use it. */
export function mutate(inner: Filesystem, mutant: Mutant | undefined): Filesystem {
  if (mutant === undefined) return inner;
  const late: (() => Promise<void>)[] = [];
  return withHandles(inner, (path, handle) => {
    if (path.endsWith('/slots')) return spoilSlots(handle, mutant, late);
    return path.endsWith('/cursor') ? spoilCursor(handle, mutant, late) : handle;
  });
}

type Late = (() => Promise<void>)[];

/** Syncs of the cursor while a log is opened, when it is made. */
const syncsAtOpen = 3;

function spoilCursor(handle: FileHandle, mutant: Mutant, late: Late): FileHandle {
  let syncs = 0;
  return {
    ...handle,
    isInPlace: () => (mutant === 'noPlaceCheck' ? Promise.resolve(true) : handle.isInPlace()),
    read: async (target, position) => {
      const length = await handle.read(target, position);
      if (mutant === 'keepsLogId') closeCursor(target);
      return length;
    },
    close: async () => {
      for (const work of late.splice(0)) await work();
      await handle.close();
    },
    write: async (data, position) => {
      if (mutant === 'forgetRanges') await handle.write(withoutRanges(data), position);
      else if (mutant === 'cursorAfterReuse') {
        const copy = data.slice();
        late.push(() => handle.write(copy, position));
      } else await handle.write(data, position);
    },
    datasync: async () => {
      syncs += 1;
      if (mutant === 'cursorNeverSynced' && syncs > syncsAtOpen) return;
      if (mutant === 'cursorAfterReuse') late.push(() => handle.datasync());
      else await handle.datasync();
    },
  };
}

/** A cursor record with the settled ranges, which follow the first nine columns of a row, left out and not counted. */
function withoutRanges(record: Uint8Array): Uint8Array {
  const length = viewOf(record).getUint32(8, true);
  if (length === 0) return record;
  const state = JSON.parse(Buffer.from(record.subarray(16, 16 + length)).toString()) as { rows: number[][] };
  const rows = state.rows.map((row) => {
    const inRanges = row.slice(9).reduce((sum, end, at) => sum + (at % 2 === 0 ? 1 - end : end), 0);
    return row.slice(0, 9).map((column, at) => (at === 4 ? column - inRanges : column));
  });
  const text = Buffer.from(JSON.stringify({ ...state, rows }));
  const changed = new Uint8Array(16 + text.length);
  changed.set(record.subarray(0, 8));
  viewOf(changed).setUint32(8, text.length, true);
  viewOf(changed).setUint32(12, crc32(text, text.length), true);
  changed.set(text, 16);
  return changed;
}

/** Makes a cursor record say that the run ended in order. */
function closeCursor(record: Uint8Array): void {
  const length = viewOf(record).getUint32(8, true);
  const text = Buffer.from(record.buffer, record.byteOffset + 16, length);
  const at = text.indexOf('"isClosed":false');
  if (at < 0) return;
  text.write('"isClosed":true ', at);
  viewOf(record).setUint32(12, crc32(text, length), true);
}

function spoilSlots(handle: FileHandle, mutant: Mutant, late: Late): FileHandle {
  return {
    ...handle,
    isInPlace: () => (mutant === 'noPlaceCheck' ? Promise.resolve(true) : handle.isInPlace()),
    write: async (data, position) => {
      if (mutant === 'reportBeforeDatasync') for (const sync of late.splice(0)) await sync();
      const isErasure = data.length <= 512 && data.every((octet) => octet === 0);
      if (mutant === 'noErase' && isErasure) return;
      await handle.write(data, position);
    },
    datasync: async () => {
      if (mutant === 'noDatasync') return;
      if (mutant === 'reportBeforeDatasync') late.push(() => handle.datasync().catch(() => undefined));
      else await handle.datasync();
      if (mutant === 'cursorAfterReuse') for (const work of late.splice(0)) await work();
    },
    read: async (target, position) => {
      const change = readings[mutant];
      if (change === undefined) return handle.read(target, position);
      const whole = new Uint8Array(await handle.size());
      await handle.read(whole, 0);
      const slotBytes = whole.length < 40 ? 0 : new DataView(whole.buffer).getUint32(36, true);
      for (let at = 0; slotBytes > 0 && at < whole.length; at += slotBytes) {
        change(whole.subarray(at, at + slotBytes));
      }
      const part = whole.subarray(position, position + target.length);
      target.set(part);
      return part.length;
    },
  };
}

interface Place {
  readonly at: number;
  readonly bodyLength: number;
  readonly holds: boolean;
}

/** Places in a slot: what looks like a frame, and every other 8 octets. */
function* places(slot: Uint8Array): Generator<Place, void, undefined> {
  const view = viewOf(slot);
  for (let at = 512; at + 12 <= slot.length;) {
    const kind = slot[at + 3] ?? 0;
    const bodyLength = view.getUint32(at, true) & 0xff_ffff;
    const isFrame = kind >= 0xb1 && kind <= 0xb6 && bodyLength >= 4 && at + 8 + bodyLength <= slot.length;
    const holds = isFrame && crcAt(slot, at, bodyLength) === view.getUint32(at + 4, true);
    yield { at, bodyLength: isFrame ? bodyLength : 0, holds };
    at += isFrame ? Math.ceil((8 + bodyLength) / 8) * 8 : 8;
  }
}

function viewOf(data: Uint8Array): DataView {
  return new DataView(data.buffer, data.byteOffset, data.length);
}

function crcAt(slot: Uint8Array, at: number, bodyLength: number): number {
  return crc32(slot.subarray(at + 8, at + 8 + bodyLength), viewOf(slot).getUint32(at, true));
}

function fitCrc(slot: Uint8Array, { at, bodyLength }: Place): void {
  if (bodyLength > 0) viewOf(slot).setUint32(at + 4, crcAt(slot, at, bodyLength), true);
}

/** What a reader makes of a slot when one of its checks is missing. */
const readings: Partial<Record<Mutant, (slot: Uint8Array) => void>> = {
  noCrc: (slot) => {
    for (const place of places(slot)) fitCrc(slot, place);
  },
  stopAtBadFrame: (slot) => {
    for (const { at, holds } of places(slot)) {
      if (holds || slot.subarray(at, at + 8).every((octet) => octet === 0)) continue;
      slot.fill(0, at);
      return;
    }
  },
  noEpoch: (slot) => {
    const view = viewOf(slot);
    if (view.getFloat64(16, true) === 0) return;
    for (const place of places(slot)) {
      if (!place.holds) continue;
      view.setUint32(place.at + 8, view.getUint32(12, true), true);
      fitCrc(slot, place);
    }
  },
  noRunId: (slot) => {
    const view = viewOf(slot);
    for (const place of places(slot)) {
      if (!place.holds) continue;
      const kind = slot[place.at + 3];
      if (kind === 0xb1 || kind === 0xb6) view.setUint16(place.at + 12, view.getUint16(32, true), true);
      if (slot[place.at + 3] === 0xb4) view.setUint32(place.at + 12, view.getUint32(32, true), true);
      fitCrc(slot, place);
    }
  },
};
