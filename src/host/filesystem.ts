import { constants } from 'node:fs';
import * as fs from 'node:fs/promises';
import { dirname } from 'node:path';
import { IoError, errnoCode, errorText } from '../base/errors.ts';

/**
 * The few file operations that durable state is built on. What `datasync` and `syncDirectory` have returned survives a
 * power cut; anything else may be lost, in any order, in units of 512-byte sectors.
 * Failures throw `IoError` with the path and the system's code in `errno`.
 */
export interface Filesystem {
  /**
   * Opens for reading and writing. `create: true` makes an empty file and fails if one exists; `readOnly: true` asks for
   * no right to write and never waits for the writer of a pipe.
   */
  open(path: string, options?: { create?: boolean; readOnly?: boolean }): Promise<FileHandle>;
  /** Names in a directory, sorted. */
  list(directory: string): Promise<string[]>;
  /** Creates a directory and its parents; an existing one is fine. */
  createDirectory(path: string): Promise<void>;
  /** Replaces `to` by `from` in one step. */
  rename(from: string, to: string): Promise<void>;
  /** Removes a file; a missing one is fine. */
  remove(path: string): Promise<void>;
  /** Makes creations, renames and removals in a directory durable. */
  syncDirectory(path: string): Promise<void>;
  /** Who may do what with a file: the permission bits, 0o600 for example; absent where nobody else is, as in a simulation. */
  modeOf?(path: string): Promise<number>;
}

/** One open file, addressed by position. */
export interface FileHandle {
  /** Fills `target` from `position`; returns the octets read, fewer only at the end of the file. */
  read(target: Uint8Array, position: number): Promise<number>;
  /** Writes all of `data` at `position`. */
  write(data: Uint8Array, position: number): Promise<void>;
  /** Makes the written data durable (fdatasync). After a failure nothing written since the last success counts. */
  datasync(): Promise<void>;
  /** Size in octets. */
  size(): Promise<number>;
  /** Whether its path still leads to this file: false once it, or a directory above it, was removed or replaced. */
  isInPlace(): Promise<boolean>;
  close(): Promise<void>;
}

/** An `IoError` of the file system with the operating system's code, such as `ENOSPC`. */
export class FileError extends IoError {
  readonly errno: string | undefined;

  constructor(operation: string, path: string, cause: unknown) {
    super(`cannot ${operation} ${path}: ${errorText(cause)}`, { cause });
    this.errno = errnoCode(cause);
  }
}

/** The real file system, asynchronous throughout. */
export class NodeFilesystem implements Filesystem {
  async open(path: string, options: { create?: boolean; readOnly?: boolean } = {}): Promise<FileHandle> {
    const access = options.readOnly === true ? constants.O_RDONLY | constants.O_NONBLOCK : constants.O_RDWR;
    const flags = access | (options.create === true ? constants.O_CREAT | constants.O_EXCL : 0);
    return new NodeFileHandle(path, await attempt('open', path, fs.open(path, flags, 0o640)));
  }

  async list(directory: string): Promise<string[]> {
    return (await attempt('list', directory, fs.readdir(directory))).sort();
  }

  async createDirectory(path: string): Promise<void> {
    await attempt('create directory', path, makeDirectories(path));
  }

  async rename(from: string, to: string): Promise<void> {
    await attempt('rename', from, fs.rename(from, to));
  }

  async remove(path: string): Promise<void> {
    await attempt('remove', path, fs.rm(path, { force: true }));
  }

  async modeOf(path: string): Promise<number> {
    return (await attempt('stat', path, fs.stat(path))).mode & 0o777;
  }

  async syncDirectory(path: string): Promise<void> {
    const directory = await attempt('open directory', path, fs.open(path, constants.O_RDONLY));
    try {
      await attempt('sync directory', path, directory.sync());
    } finally {
      await directory.close();
    }
  }
}

class NodeFileHandle implements FileHandle {
  readonly #path: string;
  readonly #handle: fs.FileHandle;
  #inode: { readonly dev: bigint; readonly ino: bigint } | undefined;

  constructor(path: string, handle: fs.FileHandle) {
    this.#path = path;
    this.#handle = handle;
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    let filled = 0;
    while (filled < target.length) {
      const rest = target.length - filled;
      const { bytesRead } = await attempt(
        'read',
        this.#path,
        this.#handle.read(target, filled, rest, position + filled),
      );
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return filled;
  }

  async write(data: Uint8Array, position: number): Promise<void> {
    let done = 0;
    while (done < data.length) {
      const rest = data.length - done;
      const { bytesWritten } = await attempt(
        'write',
        this.#path,
        this.#handle.write(data, done, rest, position + done),
      );
      done += bytesWritten;
    }
  }

  async datasync(): Promise<void> {
    await attempt('sync', this.#path, this.#handle.datasync());
  }

  async size(): Promise<number> {
    return (await attempt('stat', this.#path, this.#handle.stat())).size;
  }

  async isInPlace(): Promise<boolean> {
    this.#inode ??= await attempt('stat', this.#path, this.#handle.stat({ bigint: true }));
    try {
      const { dev, ino } = await fs.stat(this.#path, { bigint: true });
      return dev === this.#inode.dev && ino === this.#inode.ino;
    } catch (cause) {
      if (['ENOENT', 'ENOTDIR'].includes(errnoCode(cause) ?? '')) return false;
      throw new FileError('stat', this.#path, cause);
    }
  }

  async close(): Promise<void> {
    await attempt('close', this.#path, this.#handle.close());
  }
}

/** Not Node's `recursive`: that tries for ever where a parent exists but takes no entries, as in /proc. */
async function makeDirectories(path: string): Promise<void> {
  const parent = dirname(path);
  try {
    await fs.mkdir(path);
  } catch (cause) {
    if (await isDirectory(path)) return;
    if (errnoCode(cause) !== 'ENOENT' || parent === path || (await isDirectory(parent))) throw cause;
    await makeDirectories(parent);
    await makeDirectories(path);
  }
}

async function isDirectory(path: string): Promise<boolean> {
  return fs.stat(path).then(
    (stat) => stat.isDirectory(),
    () => false,
  );
}

async function attempt<T>(operation: string, path: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    throw new FileError(operation, path, cause);
  }
}

/** Reads a whole file of at most `lengthMax` octets; undefined when there is none. */
export async function readWhole(
  filesystem: Filesystem,
  path: string,
  lengthMax: number,
): Promise<Uint8Array | undefined> {
  let handle: FileHandle;
  try {
    handle = await filesystem.open(path, { readOnly: true });
  } catch (error) {
    if (error instanceof FileError && error.errno === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const length = await handle.size();
    if (length > lengthMax)
      throw new IoError(`${path} has ${length} bytes; at most ${lengthMax} are expected`);
    const data = new Uint8Array(length);
    const filled = await handle.read(data, 0);
    return data.subarray(0, filled);
  } finally {
    await handle.close();
  }
}
