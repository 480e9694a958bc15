import { assert } from '../base/assert.ts';
import { FileError } from '../host/filesystem.ts';
import type { FileHandle, Filesystem } from '../host/filesystem.ts';
import { Directory, Inode, sectorBytes } from './simulated-disk.ts';
import type { Choose, Entry } from './simulated-disk.ts';

/**
 * A file system in memory that can lose power.
 *
 * What a power cut may leave (`crash`), and nothing else:
 * - per file the content of its last successful datasync, and of every 512-byte sector written since any one of the
 *   versions written, or the durable one; no order between sectors or files; any size reached since;
 * - per directory the entries of the last `syncDirectory` and any prefix of the creations, renames and removals since;
 * - after a failed datasync the sectors it covers stay uncertain until they are written again, whatever others say.
 * A datasync of a file does not make its name durable, which is stricter than ext4.
 */

/** One call on the file system, before it takes effect. */
export interface FileOperation {
  /** Number of the call on this file system; the first is 1. */
  readonly index: number;
  readonly kind:
    | 'open'
    | 'create'
    | 'list'
    | 'createDirectory'
    | 'rename'
    | 'remove'
    | 'syncDirectory'
    | 'read'
    | 'write'
    | 'datasync'
    | 'size'
    | 'close';
  readonly path: string;
  /** Octets of a read or write. */
  readonly length: number;
  readonly position: number;
}

/**
 * What goes wrong with a call: it fails with `errno`; a write stores only `length` octets and then fails; or the power
 * goes before it takes effect.
 */
export type FileFault =
  | { readonly kind: 'error'; readonly errno: string }
  | { readonly kind: 'short'; readonly length: number; readonly errno: string }
  | { readonly kind: 'crash' };

/** Settings of a `SimulatedFilesystem`. */
export interface SimulatedFilesystemOptions {
  /** Sees every call before it takes effect, and may spoil it. */
  readonly onOperation?: (operation: FileOperation) => FileFault | undefined;
  /** Octets of data (in whole sectors) before writes fail with ENOSPC; default unlimited. */
  readonly capacityBytes?: number;
}

/** The in-memory twin of `NodeFilesystem`; paths are absolute. */
export class SimulatedFilesystem implements Filesystem {
  /** Settles when the power has gone; from then on no call returns. */
  readonly crashed: Promise<void>;
  /** May be replaced at any time. */
  onOperation: ((operation: FileOperation) => FileFault | undefined) | undefined;
  capacityBytes: number;
  #root = new Directory();
  #operationCount = 0;
  #hasCrashed = false;
  #settleCrashed: () => void = () => undefined;

  constructor(options: SimulatedFilesystemOptions = {}) {
    this.onOperation = options.onOperation;
    this.capacityBytes = options.capacityBytes ?? Number.POSITIVE_INFINITY;
    this.crashed = new Promise((resolve) => {
      this.#settleCrashed = resolve;
    });
  }

  /** Calls made so far. */
  get operationCount(): number {
    return this.#operationCount;
  }

  /** Octets that the live files occupy, in whole sectors. */
  get usedBytes(): number {
    return this.#root.allocatedSectors() * sectorBytes;
  }

  /** Cuts the power: every call from now on, and every one not yet answered, never returns. */
  powerOff(): void {
    this.#hasCrashed = true;
    this.#settleCrashed();
  }

  /**
   * The same disk as the next process finds it when this one was killed: nothing written is lost, and what was not made
   * durable still is not. No call of this one returns any more.
   */
  handOver(): SimulatedFilesystem {
    this.powerOff();
    const next = new SimulatedFilesystem({ capacityBytes: this.capacityBytes });
    next.#root = this.#root;
    return next;
  }

  /**
   * One of the disks that a power cut now may leave, as a file system of its own without faults. This one is not
   * changed and may be asked for another disk.
   */
  crash(choose: Choose): SimulatedFilesystem {
    const image = new SimulatedFilesystem();
    image.#root = this.#root.crash(choose, new Map());
    return image;
  }

  async open(path: string, options: { create?: boolean } = {}): Promise<FileHandle> {
    const create = options.create === true;
    await this.#step(create ? 'create' : 'open', path);
    const { directory, name } = this.#locate(create ? 'create' : 'open', path);
    let node = directory.entries.get(name);
    if (create) {
      if (node !== undefined) throw failure('open', path, 'EEXIST');
      node = new Inode();
      directory.apply({ set: [[name, node]], remove: [] });
    }
    if (node === undefined) throw failure('open', path, 'ENOENT');
    if (node instanceof Directory) throw failure('open', path, 'EISDIR');
    return new SimulatedFileHandle(this, path, node);
  }

  async list(directory: string): Promise<string[]> {
    await this.#step('list', directory);
    return [...this.#directory('list', directory).entries.keys()].sort();
  }

  async createDirectory(path: string): Promise<void> {
    await this.#step('createDirectory', path);
    let at = this.#root;
    for (const name of parts(path)) {
      const node = at.entries.get(name);
      if (node instanceof Inode) throw failure('create directory', path, 'ENOTDIR');
      if (node instanceof Directory) {
        at = node;
        continue;
      }
      const made = new Directory();
      at.apply({ set: [[name, made]], remove: [] });
      at = made;
    }
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#step('rename', from);
    const source = this.#locate('rename', from);
    const target = this.#locate('rename', to);
    const node = source.directory.entries.get(source.name);
    if (node === undefined) throw failure('rename', from, 'ENOENT');
    if (source.directory !== target.directory) throw failure('rename', from, 'EXDEV');
    if (source.name !== target.name)
      source.directory.apply({ set: [[target.name, node]], remove: [source.name] });
  }

  async remove(path: string): Promise<void> {
    await this.#step('remove', path);
    const { directory, name } = this.#locate('remove', path);
    if (directory.entries.has(name)) directory.apply({ set: [], remove: [name] });
  }

  async syncDirectory(path: string): Promise<void> {
    await this.#step('syncDirectory', path);
    this.#directory('sync directory', path).sync();
  }

  /** Flips one bit of a file, on the disk and as read from now on. */
  flipBit(path: string, bit: number): void {
    this.#file(path).damage(bit >> 3, 1, (octet) => octet ^ (1 << (bit & 7)));
  }

  /** Zeroes one 512-byte sector of a file, on the disk and as read from now on. */
  zeroSector(path: string, sector: number): void {
    this.#file(path).damage(sector * sectorBytes, sectorBytes, () => 0);
  }

  /** The content of a file as a reader sees it now; outside the count of operations. */
  contentOf(path: string): Uint8Array {
    return this.#file(path).content();
  }

  /** Every file with its path, sorted; outside the count of operations. */
  paths(): string[] {
    return this.#root.paths('').sort();
  }

  /** Lets the handle count and spoil its calls. For `SimulatedFileHandle` only. */
  async step(
    kind: FileOperation['kind'],
    path: string,
    length: number,
    position: number,
  ): Promise<FileFault | undefined> {
    await Promise.resolve();
    if (this.#hasCrashed) return never();
    this.#operationCount += 1;
    const fault = this.onOperation?.({ index: this.#operationCount, kind, path, length, position });
    if (fault?.kind === 'crash') {
      this.powerOff();
      return never();
    }
    return fault;
  }

  /** Whether a path leads to a file. For `SimulatedFileHandle` only. */
  leadsTo(path: string, node: Inode): Promise<boolean> {
    if (this.#hasCrashed) return never();
    let at: Entry | undefined = this.#root;
    for (const name of parts(path)) at = at instanceof Directory ? at.entries.get(name) : undefined;
    return Promise.resolve(at === node);
  }

  async #step(kind: FileOperation['kind'], path: string): Promise<void> {
    const fault = await this.step(kind, path, 0, 0);
    if (fault !== undefined) throw failure(kind, path, fault.kind === 'crash' ? 'EIO' : fault.errno);
  }

  #locate(operation: string, path: string): { directory: Directory; name: string } {
    const names = parts(path);
    const name = names.pop() ?? '';
    if (name === '') throw failure(operation, path, 'EISDIR');
    return { directory: this.#descend(operation, path, names), name };
  }

  #directory(operation: string, path: string): Directory {
    return this.#descend(operation, path, parts(path));
  }

  #descend(operation: string, path: string, names: readonly string[]): Directory {
    let at = this.#root;
    for (const name of names) {
      const node = at.entries.get(name);
      if (node === undefined) throw failure(operation, path, 'ENOENT');
      if (node instanceof Inode) throw failure(operation, path, 'ENOTDIR');
      at = node;
    }
    return at;
  }

  #file(path: string): Inode {
    const { directory, name } = this.#locate('open', path);
    const node = directory.entries.get(name);
    assert(node instanceof Inode, `no simulated file ${path}`);
    return node;
  }
}

class SimulatedFileHandle implements FileHandle {
  readonly #filesystem: SimulatedFilesystem;
  readonly #path: string;
  readonly #inode: Inode;
  #closed = false;

  constructor(filesystem: SimulatedFilesystem, path: string, inode: Inode) {
    this.#filesystem = filesystem;
    this.#path = path;
    this.#inode = inode;
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    await this.#step('read', target.length, position);
    return this.#inode.read(target, position);
  }

  async write(data: Uint8Array, position: number): Promise<void> {
    // A caller may use its buffer again once the call has returned, not before: the copy finds who does.
    const copy = Uint8Array.from(data);
    const fault = await this.#filesystem.step('write', this.#path, data.length, position);
    if (this.#closed) throw failure('write', this.#path, 'EBADF');
    if (fault?.kind === 'error') throw failure('write', this.#path, fault.errno);
    const room = this.#filesystem.capacityBytes - this.#filesystem.usedBytes;
    const fitting = this.#inode.fitting(copy.length, position, room);
    const length = fault?.kind === 'short' ? Math.min(fault.length, fitting) : fitting;
    this.#inode.write(copy.subarray(0, length), position);
    if (length < copy.length || fault?.kind === 'short') {
      throw failure('write', this.#path, fault?.kind === 'short' ? fault.errno : 'ENOSPC');
    }
  }

  async datasync(): Promise<void> {
    const fault = await this.#filesystem.step('datasync', this.#path, 0, 0);
    if (this.#closed) throw failure('sync', this.#path, 'EBADF');
    if (fault !== undefined) {
      this.#inode.failSync();
      throw failure('sync', this.#path, fault.kind === 'crash' ? 'EIO' : fault.errno);
    }
    this.#inode.sync();
  }

  async size(): Promise<number> {
    await this.#step('size', 0, 0);
    return this.#inode.size;
  }

  isInPlace(): Promise<boolean> {
    return this.#filesystem.leadsTo(this.#path, this.#inode);
  }

  async close(): Promise<void> {
    await this.#step('close', 0, 0);
    this.#closed = true;
  }

  async #step(kind: FileOperation['kind'], length: number, position: number): Promise<void> {
    const fault = await this.#filesystem.step(kind, this.#path, length, position);
    if (this.#closed) throw failure(kind, this.#path, 'EBADF');
    if (fault !== undefined) throw failure(kind, this.#path, fault.kind === 'crash' ? 'EIO' : fault.errno);
  }
}

function parts(path: string): string[] {
  assert(path.startsWith('/'), `simulated paths are absolute, not ${path}`);
  return path.split('/').filter((name) => name !== '');
}

function failure(operation: string, path: string, errno: string): FileError {
  return new FileError(
    operation,
    path,
    Object.assign(new Error(`${errno}: simulated failure`), { code: errno }),
  );
}

function never(): Promise<never> {
  return new Promise(() => undefined);
}
