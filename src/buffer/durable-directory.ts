import { FileError } from '../host/filesystem.ts';
import type { Filesystem } from '../host/filesystem.ts';

/**
 * Makes a directory with its parents so that it survives a power cut. Throws `FileError` when it can be neither made
 * nor used. An ancestor that this user may not open was not made by it and needs no sync.
 */
export async function createDurableDirectory(filesystem: Filesystem, path: string): Promise<void> {
  await filesystem.createDirectory(path);
  await filesystem.syncDirectory(path);
  for (let at = parentOf(path); at !== undefined; at = parentOf(at)) {
    try {
      await filesystem.syncDirectory(at);
    } catch (error) {
      if (!(error instanceof FileError) || !foreign.has(error.errno ?? '')) throw error;
      return;
    }
  }
}

const foreign = new Set(['EACCES', 'EPERM', 'EINVAL', 'EROFS']);

function parentOf(path: string): string | undefined {
  const trimmed = path.replace(/\/+$/, '');
  const cut = trimmed.lastIndexOf('/');
  if (cut < 0) return trimmed === '.' || trimmed === '' ? undefined : '.';
  if (trimmed === '') return undefined;
  return cut === 0 ? '/' : trimmed.slice(0, cut);
}
