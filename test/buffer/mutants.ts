import { crc32 } from 'node:zlib';
import type { FileHandle, Filesystem } from '../../src/host/filesystem.ts';

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
  /** The product stops at the first bad frame: what follows one reads as zeros. */
  | 'stopAtBadFrame';

/** The file system as `mutant` would use it. */
export function mutate(inner: Filesystem, mutant: Mutant | undefined): Filesystem {
  if (mutant === undefined) return inner;
  const late: (() => Promise<void>)[] = [];
  return {
    list: (directory) => inner.list(directory),
    createDirectory: (path) => inner.createDirectory(path),
    rename: (from, to) => inner.rename(from, to),
    remove: (path) => inner.remove(path),
    syncDirectory: (path) => inner.syncDirectory(path),
    open: async (path, options) => {
      const handle = await inner.open(path, options);
      return path.endsWith('.segment') ? spoil(handle, mutant, late) : handle;
    },
  };
}

function spoil(handle: FileHandle, mutant: Mutant, late: (() => Promise<void>)[]): FileHandle {
  return {
    size: () => handle.size(),
    close: () => handle.close(),
    write: async (data, position) => {
      for (const sync of late.splice(0)) await sync();
      await handle.write(data, position);
    },
    datasync: async () => {
      if (mutant === 'noDatasync') return;
      if (mutant === 'reportBeforeDatasync') late.push(() => handle.datasync().catch(() => undefined));
      else await handle.datasync();
    },
    read: async (target, position) => {
      if (mutant !== 'noCrc' && mutant !== 'stopAtBadFrame') return handle.read(target, position);
      const whole = new Uint8Array(await handle.size());
      await handle.read(whole, 0);
      if (mutant === 'noCrc') fitCrcs(whole);
      else zeroAfterBadFrame(whole);
      const part = whole.subarray(position, position + target.length);
      target.set(part);
      return part.length;
    },
  };
}

/** Calls `use` with every place in a segment that looks like a frame; it says where to go on. */
function walk(data: Uint8Array, use: (at: number, bodyLength: number, holds: boolean) => boolean): void {
  const view = new DataView(data.buffer);
  for (let at = 512; at + 14 <= data.length;) {
    const bodyLength = view.getUint32(at, true);
    const isFrame = bodyLength >= 6 && at + 8 + bodyLength <= data.length && data[at + 13] === 0x42;
    const crc = isFrame ? crc32(data.subarray(at + 8, at + 8 + bodyLength), bodyLength) : 0;
    const holds = isFrame && crc === view.getUint32(at + 4, true);
    if (!use(at, isFrame ? bodyLength : 0, holds)) return;
    at += isFrame ? Math.ceil((8 + bodyLength) / 8) * 8 : 8;
  }
}

function fitCrcs(data: Uint8Array): void {
  const view = new DataView(data.buffer);
  walk(data, (at, bodyLength) => {
    if (bodyLength > 0)
      view.setUint32(at + 4, crc32(data.subarray(at + 8, at + 8 + bodyLength), bodyLength), true);
    return true;
  });
}

function zeroAfterBadFrame(data: Uint8Array): void {
  walk(data, (at, _bodyLength, holds) => {
    if (!holds) data.fill(0, at);
    return holds;
  });
}
