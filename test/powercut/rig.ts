import { execFile, spawn } from 'node:child_process';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { millis } from '../../src/base/units.ts';
import { NodeClock, sleep } from '../../src/host/clock.ts';
import { createTemporaryDirectory } from '../../src/host/temporary-directory.ts';
import type { TemporaryDirectory } from '../../src/host/temporary-directory.ts';

const clock = new NodeClock();
const execute = promisify(execFile);

/** Octets of the image that stores write to. */
export const imageBytes: number = 16 * 1024 * 1024;

/** How a process ended, and what it wrote. */
export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** An image that is being recorded: mounted at `mountPath`, its requests in `logPath`. */
export interface Recorder {
  readonly mountPath: string;
  readonly logPath: string;
  /** The image before the first request. */
  readonly startPath: string;
  /** Unmounts, ends the daemon, and leaves the two files. */
  stop(): Promise<void>;
}

/**
 * Images, mounts and processes of one run, all in one temporary directory. `dispose` ends and removes whatever is left of
 * them, also in the middle of something.
 */
export class Rig {
  readonly path: string;
  readonly #directory: TemporaryDirectory;
  readonly #abort = new AbortController();
  readonly #undo = new Set<() => Promise<void>>();
  readonly #running = new Set<Promise<unknown>>();
  #disposing: Promise<void> | undefined;
  #count = 0;

  private constructor(directory: TemporaryDirectory) {
    this.path = directory.path;
    this.#directory = directory;
  }

  static async create(): Promise<Rig> {
    return new Rig(await createTemporaryDirectory('baton-powercut-'));
  }

  /** Whether it was disposed of: what fails from then on tells nothing. */
  get isEnded(): boolean {
    return this.#abort.signal.aborted;
  }

  /** A new name in the directory. */
  place(name: string): string {
    this.#count += 1;
    return join(this.path, `${this.#count}-${name}`);
  }

  /** Runs a program to its end; rejects with what it wrote to standard error when it fails. */
  async run(file: string, words: readonly string[]): Promise<string> {
    this.#abort.signal.throwIfAborted();
    const running = execute(file, words, { maxBuffer: 1 << 26 });
    this.#running.add(running);
    try {
      return (await running).stdout;
    } catch (cause) {
      const told = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).trim() : '';
      throw new Error(`${file} ${words.join(' ')} failed: ${told || String(cause)}`, { cause });
    } finally {
      this.#running.delete(running);
    }
  }

  /** Runs a program, killing it after `limitMs`; its standard output goes to `outputPath` if given. */
  async attempt(
    file: string,
    words: readonly string[],
    limitMs: number,
    outputPath?: string,
  ): Promise<Ended> {
    this.#abort.signal.throwIfAborted();
    const output = outputPath === undefined ? undefined : await fs.open(outputPath, 'a');
    const child = spawn(file, words, { stdio: ['ignore', output?.fd ?? 'pipe', 'pipe'] });
    const texts = { stdout: '', stderr: '' };
    child.stdout?.on('data', (data: Buffer) => (texts.stdout += data.toString()));
    child.stderr?.on('data', (data: Buffer) => (texts.stderr += data.toString()));
    const ended = new Promise<Ended>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => resolve({ code, signal, ...texts }));
    });
    const stop = async (): Promise<void> => {
      child.kill('SIGKILL');
      await ended.catch(() => undefined);
    };
    this.#undo.add(stop);
    const cancel = clock.schedule(millis(limitMs), () => child.kill('SIGKILL'));
    try {
      const end = await ended;
      this.#abort.signal.throwIfAborted();
      return end;
    } finally {
      cancel();
      this.#undo.delete(stop);
      await output?.close();
    }
  }

  /** Makes an empty ext4 file system in a new image file. */
  async makeImage(path: string): Promise<void> {
    await writeSparse(path, new Uint8Array(imageBytes));
    const extended = 'lazy_itable_init=0,lazy_journal_init=0,nodiscard';
    const layout = ['-q', '-F', '-b', '4096', '-N', '512', '-J', 'size=4', '-E', extended];
    await this.run('mkfs.ext4', [...layout, path]);
  }

  /** Mounts an image on a loop device of its own. */
  async mount(image: string, point: string): Promise<() => Promise<void>> {
    this.#abort.signal.throwIfAborted();
    await fs.mkdir(point, { recursive: true });
    const unmount = async (): Promise<void> => {
      if (!(await fs.readFile('/proc/self/mounts', 'utf8')).includes(` ${point} `)) return;
      for (let tries = 0; ; tries++) {
        const force = tries < 20 ? [] : ['-l'];
        const isDone = await execute('umount', [...force, point]).then(
          () => true,
          () => tries >= 20,
        );
        if (isDone) return;
        await sleep(clock, millis(50));
      }
    };
    this.#undo.add(unmount);
    await this.run('mount', ['-o', 'loop,noatime,data=ordered', image, point]);
    return async () => {
      await unmount();
      this.#undo.delete(unmount);
    };
  }

  /** Mounts a copy of `start` and records every request that reaches it. */
  async record(start: Uint8Array): Promise<Recorder> {
    const folder = this.place('recording');
    await fs.mkdir(folder);
    const at = (name: string): string => join(folder, name);
    await writeSparse(at('start.img'), start);
    await writeSparse(at('base.img'), start);
    await fs.writeFile(at('log.img'), '');
    await fs.truncate(at('log.img'), logBytesMax);
    await fs.writeFile(at('export.img'), '');
    const log = 'driver=file,node-name=log,filename=';
    const base = 'driver=file,node-name=base,filename=';
    const recorder =
      'driver=blklogwrites,node-name=recorder,file=base,log=log,log-sector-size=512,log-super-update-interval=1';
    const fuse = `type=fuse,id=export,node-name=recorder,mountpoint=${at('export.img')},writable=on`;
    const nodes = [`${base}${at('base.img')}`, `${log}${at('log.img')}`, recorder];
    const endDaemon = await this.#startDaemon(
      [...nodes.flatMap((node) => ['--blockdev', node]), '--export', fuse],
      at('export.img'),
    );
    const unmount = await this.mount(at('export.img'), at('mount'));
    const stop = async (): Promise<void> => {
      await unmount();
      await this.#awaitLoopFree(at('export.img'));
      await endDaemon();
      await fs.rm(at('base.img'), { force: true });
    };
    return { mountPath: at('mount'), logPath: at('log.img'), startPath: at('start.img'), stop };
  }

  /** Starts the storage daemon; it serves when the exported file has the size of the image. */
  async #startDaemon(words: readonly string[], exported: string): Promise<() => Promise<void>> {
    // Its output goes to a file: a pipe that it inherits would keep whoever reads it waiting.
    const output = await fs.open(join(this.path, 'daemon.txt'), 'a');
    const daemon = spawn('qemu-storage-daemon', words, {
      stdio: ['ignore', output.fd, output.fd],
      detached: true,
    });
    const exit = new Promise<void>((resolve) => {
      daemon.once('exit', () => resolve());
      daemon.once('error', () => resolve());
    });
    const end = async (): Promise<void> => {
      daemon.kill('SIGTERM');
      const cancel = clock.schedule(millis(5000), () => daemon.kill('SIGKILL'));
      await exit;
      cancel();
      await execute('umount', ['-l', exported]).catch(() => undefined);
      this.#undo.delete(end);
    };
    this.#undo.add(end);
    await output.close();
    for (let tries = 0; (await fs.stat(exported)).size !== imageBytes; tries++) {
      if (tries > 500 || daemon.exitCode !== null) {
        const told = await fs.readFile(join(this.path, 'daemon.txt'), 'utf8');
        throw new Error(`qemu-storage-daemon serves no image: ${told.trim() || 'it says nothing'}`);
      }
      await sleep(clock, millis(20));
    }
    return end;
  }

  /** Waits until no loop device holds a file, detaching one that stays. */
  async #awaitLoopFree(file: string): Promise<void> {
    for (let tries = 0; ; tries++) {
      const devices = (await this.run('losetup', ['-j', file])).split('\n').filter((line) => line !== '');
      if (devices.length === 0) return;
      if (tries > 100) throw new Error(`loop devices stay: ${devices.join(', ')}`);
      for (const device of tries > 20 ? devices : []) {
        await execute('losetup', ['-d', device.slice(0, device.indexOf(':'))]).catch(() => undefined);
      }
      await sleep(clock, millis(50));
    }
  }

  /** Ends what runs, unmounts what is mounted, the newest first, and removes the directory. */
  dispose(): Promise<void> {
    this.#abort.abort(new Error('the run was ended'));
    this.#disposing ??= this.#dispose();
    return this.#disposing;
  }

  async #dispose(): Promise<void> {
    // A mount that is being made is undone only once it is there.
    await Promise.allSettled(this.#running);
    for (const undo of [...this.#undo].reverse()) await undo().catch(() => undefined);
    for (let tries = 0; ; tries++) {
      try {
        return await this.#directory.remove();
      } catch (error) {
        // Whoever was interrupted may still have added a file.
        if (tries > 20) throw error;
        await sleep(clock, millis(50));
      }
    }
  }
}

/** Nominal size of the write log: it is sparse. */
const logBytesMax = 4 * 1024 ** 3;
const blockBytes = 64 * 1024;

/** Writes a file that has no blocks where `content` is zero. */
export async function writeSparse(path: string, content: Uint8Array): Promise<void> {
  const file = await fs.open(path, 'w');
  try {
    await file.truncate(content.length);
    const zeros = Buffer.alloc(blockBytes);
    for (let at = 0; at < content.length; at += blockBytes) {
      const block = content.subarray(at, at + blockBytes);
      if (zeros.subarray(0, block.length).equals(block)) continue;
      await file.write(block, 0, block.length, at);
    }
  } finally {
    await file.close();
  }
}
