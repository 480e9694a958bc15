import type { FileHandle, Filesystem } from '../../src/host/filesystem.ts';

/** A file system that behaves as `inner`, but for what `change` makes of the handle of each file that is opened. */
export function withHandles(
  inner: Filesystem,
  change: (path: string, handle: FileHandle) => FileHandle,
): Filesystem {
  return {
    list: (directory) => inner.list(directory),
    createDirectory: (directory) => inner.createDirectory(directory),
    rename: (from, to) => inner.rename(from, to),
    remove: (file) => inner.remove(file),
    syncDirectory: (directory) => inner.syncDirectory(directory),
    open: async (file, options) => {
      const handle = await inner.open(file, options);
      return change(file, {
        read: (target, position) => handle.read(target, position),
        write: (data, position) => handle.write(data, position),
        datasync: () => handle.datasync(),
        size: () => handle.size(),
        isInPlace: () => handle.isInPlace(),
        close: () => handle.close(),
      });
    },
  };
}
