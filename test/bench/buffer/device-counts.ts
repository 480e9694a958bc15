import * as fs from 'node:fs/promises';
import { run } from './commands.ts';

/** What a block device was told to do since it was set up. */
export interface DeviceCounts {
  /** A flush without data counts as a request. */
  readonly writeRequests: number;
  readonly writtenBytes: number;
  readonly flushes: number;
}

/** What the device has done up to now, with everything written before. */
export async function readCounts(mount: string, statPath: string): Promise<DeviceCounts> {
  run('sync', '-f', mount);
  const fields = (await fs.readFile(statPath, 'utf8')).trim().split(/\s+/).map(Number);
  const [writeRequests, sectors, flushes] = [fields[4], fields[6], fields[15]];
  if (writeRequests === undefined || sectors === undefined || flushes === undefined) {
    throw new Error(`${statPath} has ${fields.length} fields; Linux 5.5 or later counts flushes`);
  }
  return { writeRequests, writtenBytes: sectors * 512, flushes };
}
