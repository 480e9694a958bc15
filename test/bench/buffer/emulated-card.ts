import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { pauseSync, provide, run } from './commands.ts';
import { attach, formatImage } from './mounted-image.ts';
import type { Volume } from './mounted-image.ts';
import type { Undo } from './undo.ts';

/** Writes a second of an SD card of class A1, and octets a second of class U1. */
const writesPerSecond = 500;
const bytesPerSecond = 10 * 1024 * 1024;

/** Why no card can be emulated here, once what is missing was installed if it could be; undefined when one can. */
export function cardObstacle(): string | undefined {
  return provide(['qemu-img', 'qemu-storage-daemon'], ['qemu-utils', 'qemu-system-common']);
}

/**
 * An ext4 file system on a device that takes 500 writes and 10 MiB a second, as a throttled export of
 * qemu-storage-daemon. A flush costs what it costs on the disk below, a cost that no card is without: with a busy disk the
 * rates are too low, those of frugal stores most.
 */
export async function mountCard(directory: string, sizeMib: number, undo: Undo): Promise<Volume> {
  const folder = await fs.mkdtemp(join(directory, 'card-'));
  const remove = undo.add(() => run('rm', '-rf', folder));
  const at = (name: string): string => join(folder, name);
  run('qemu-img', 'create', '-q', '-f', 'raw', at('base.img'), `${sizeMib}M`);
  formatImage(at('base.img'));
  await fs.writeFile(at('card.img'), '');
  await fs.mkdir(at('mount'));
  const limits = `x-iops-write=${writesPerSecond},x-bps-write=${bytesPerSecond}`;
  run(
    ...(['qemu-storage-daemon', '--object', `throttle-group,id=limits,${limits}`] as const),
    ...['--blockdev', `driver=file,node-name=file,filename=${at('base.img')}`],
    ...['--blockdev', 'driver=throttle,node-name=card,throttle-group=limits,file=file'],
    ...['--export', `type=fuse,id=export,node-name=card,mountpoint=${at('card.img')},writable=on`],
    ...['--pidfile', at('pid'), '--daemonize'],
  );
  const pid = Number(await fs.readFile(at('pid'), 'utf8'));
  const stop = undo.add(() => endProcess(pid));
  pauseSync(500);
  const volume = attach(at('card.img'), at('mount'), undo);
  return {
    ...volume,
    dispose: () => {
      volume.dispose();
      stop();
      remove();
    },
  };
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGTERM');
    for (let tries = 0; tries < 100; tries++) {
      process.kill(pid, 0);
      pauseSync(100);
    }
  } catch {
    return;
  }
}
