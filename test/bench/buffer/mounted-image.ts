import * as fs from 'node:fs/promises';
import { basename, join } from 'node:path';
import { isInstalled, pauseSync, run } from './commands.ts';
import type { Undo } from './undo.ts';

/** A file system of its own for one engine, under a directory of the machine's disk. */
export interface Volume {
  readonly mount: string;
  /** Where the kernel counts; undefined when there is no device to count at. */
  readonly statPath: string | undefined;
  /** Empties the page cache of the file system by unmounting and mounting it; false where that is not possible. */
  remount(): boolean;
  dispose(): void;
}

/** Why no file system image can be mounted here; undefined when one can. */
export function imageObstacle(): string | undefined {
  if (process.platform !== 'linux') return 'no Linux';
  if (process.getuid?.() !== 0) return 'not root';
  const missing = ['losetup', 'mkfs.ext4', 'mount', 'umount', 'sync'].filter((name) => !isInstalled(name));
  if (missing.length > 0) return `no ${missing.join(', ')}`;
  try {
    run('losetup', '-f');
    return undefined;
  } catch (error) {
    return `no loop device (${error instanceof Error ? error.message : String(error)})`;
  }
}

/** Puts an empty ext4 file system into `image`; its tables are written now, not later in the background. */
export function formatImage(image: string): void {
  const extended = 'lazy_itable_init=0,lazy_journal_init=0,nodiscard';
  run('mkfs.ext4', '-q', '-F', '-b', '4096', '-N', '1024', '-J', 'size=16', '-E', extended, image);
}

/** Attaches `image` to a loop device and mounts it at `mount`. */
export function attach(image: string, mount: string, undo: Undo): Volume {
  const device = run('losetup', '-f', '--show', image);
  const detach = undo.add(() => run('losetup', '-d', device));
  run('mount', '-o', 'noatime,data=ordered', device, mount);
  const unmount = undo.add(() => unmountAt(mount));
  return {
    mount,
    statPath: `/sys/block/${basename(device)}/stat`,
    remount: () => {
      unmountAt(mount);
      run('mount', '-o', 'noatime,data=ordered', device, mount);
      return true;
    },
    dispose: () => {
      unmount();
      detach();
    },
  };
}

/** A new ext4 file system of `sizeMib` on a loop device of its own, with its image in a new folder of `directory`. */
export async function mountImage(directory: string, sizeMib: number, undo: Undo): Promise<Volume> {
  const folder = await fs.mkdtemp(join(directory, 'image-'));
  const remove = undo.add(() => run('rm', '-rf', folder));
  const [image, mount] = [join(folder, 'disk.img'), join(folder, 'mount')];
  await fs.mkdir(mount);
  run('truncate', '-s', `${sizeMib}M`, image);
  formatImage(image);
  const volume = attach(image, mount, undo);
  return {
    ...volume,
    dispose: () => {
      volume.dispose();
      remove();
    },
  };
}

/** A plain folder, where no image can be mounted. */
export async function plainFolder(directory: string, undo: Undo): Promise<Volume> {
  const mount = await fs.mkdtemp(join(directory, 'folder-'));
  const dispose = undo.add(() => run('rm', '-rf', mount));
  return { mount, statPath: undefined, remount: () => false, dispose };
}

/** A process that was just ended may hold the file system for a moment. */
function unmountAt(mount: string): void {
  for (let tries = 0; ; tries++) {
    try {
      run('umount', mount);
      return;
    } catch (error) {
      if (tries === 20) throw error;
      pauseSync(100);
    }
  }
}
