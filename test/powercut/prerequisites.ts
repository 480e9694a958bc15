import { execFile } from 'node:child_process';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Rig } from './rig.ts';

const execute = promisify(execFile);

/** Why power cuts cannot be tried here: nothing was proven, for or against. */
export class NotRunError extends Error {}

/** Programs, and the Debian packages that have them. */
const programs: readonly (readonly [program: string, debianPackage: string])[] = [
  ['qemu-storage-daemon', 'qemu-system-common'],
  ['mkfs.ext4', 'e2fsprogs'],
  ['mount', 'mount'],
  ['umount', 'mount'],
  ['losetup', 'mount'],
  ['python3', 'python3'],
];

/** Throws `NotRunError` unless this user may make loop devices and mounts; installs the Debian packages that are missing. */
export async function checkPrerequisites(tell: (text: string) => void): Promise<void> {
  if (process.getuid?.() !== 0) {
    throw new NotRunError('power cuts need root for loop devices and mounts: sudo npm run test:powercut');
  }
  for (const device of ['/dev/loop-control', '/dev/fuse']) {
    if (!(await isThere(device))) {
      const module = device === '/dev/fuse' ? 'fuse' : 'loop';
      throw new NotRunError(`${device} is missing: load it with modprobe ${module}, or leave the container`);
    }
  }
  const missing = await missingPrograms();
  if (missing.length > 0) await install([...new Set(missing.map(([, name]) => name))], tell);
  const stillMissing = (await missingPrograms()).map(([program]) => program);
  if (stillMissing.length > 0)
    throw new NotRunError(`these programs are missing: ${stillMissing.join(', ')}`);
}

/** Throws `NotRunError` when a recorded image cannot be mounted here after all. */
export async function checkRig(rig: Rig): Promise<void> {
  try {
    const image = rig.place('trial.img');
    await rig.makeImage(image);
    const recorder = await rig.record(await fs.readFile(image));
    await recorder.stop();
  } catch (cause) {
    if (rig.isEnded) throw cause;
    const text = cause instanceof Error ? cause.message : String(cause);
    throw new NotRunError(`a recorded image cannot be mounted here: ${text}`, { cause });
  }
}

async function missingPrograms(): Promise<(readonly [string, string])[]> {
  const folders = [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin', '/sbin'];
  process.env['PATH'] = [...new Set(folders)].join(':');
  const missing = [];
  for (const row of programs) {
    const places = await Promise.all(folders.map((folder) => isThere(join(folder, row[0]))));
    if (!places.includes(true)) missing.push(row);
  }
  return missing;
}

async function install(packages: readonly string[], tell: (text: string) => void): Promise<void> {
  tell(`installing ${packages.join(', ')}`);
  const get = async (...words: string[]): Promise<unknown> =>
    execute('apt-get', ['-q', '-o', 'DPkg::Lock::Timeout=400', ...words], {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      maxBuffer: 1 << 26,
    });
  try {
    await get('update');
    await get('install', '-y', '--no-install-recommends', ...packages);
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause);
    throw new NotRunError(`${packages.join(', ')} cannot be installed: ${text}`, { cause });
  }
}

async function isThere(path: string): Promise<boolean> {
  return fs.access(path).then(
    () => true,
    () => false,
  );
}
