import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { IoError, errorText } from '../base/errors.ts';

/** A directory that nobody else uses. */
export interface TemporaryDirectory {
  readonly path: string;
  /** Removes it with all it holds. */
  remove(): Promise<void>;
}

/** Makes an empty directory under the system's place for temporary files. Throws `IoError` when there is no place. */
export async function createTemporaryDirectory(prefix: string): Promise<TemporaryDirectory> {
  const path = await mkdtemp(join(tmpdir(), prefix)).catch((cause: unknown) => {
    const wayOut = 'set TMPDIR to a directory that can be written';
    throw new IoError(`cannot make a directory in ${tmpdir()}: ${errorText(cause)}; ${wayOut}`, { cause });
  });
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}
