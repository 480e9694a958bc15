import { spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { Job, Result } from './jobs.ts';
import type { Undo } from './undo.ts';

/** Runs a job in a process of its own and returns its result; throws with what it said when it fails. */
export function runJob<J extends Job>(job: J, undo: Undo): Promise<Result<J>> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'worker.js'), JSON.stringify(job)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const end = undo.add(() => child.kill('SIGKILL'));
  let output = '';
  let errors = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (errors = (errors + chunk.toString()).slice(-4096)));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status, signal) => {
      end();
      const isDone = status === 0 || (signal === 'SIGKILL' && job.kind === 'fill' && job.isKilled);
      if (errors !== '' && isDone) console.error(`${job.engine} ${job.kind}: ${errors.trim()}`);
      if (isDone && output !== '') resolve(JSON.parse(output) as Result<J>);
      else reject(new Error(errors.trim() === '' ? `${job.kind} ended with ${signal ?? status}` : errors));
    });
  });
}

/** Resident size of a Node process that does nothing, in octets: the median of five. */
export function bareRssBytes(): number {
  const script = 'setTimeout(() => process.stdout.write(String(process.memoryUsage.rss())), 500)';
  const sizes = Array.from({ length: 5 }, () => {
    return Number(spawnSync(process.execPath, ['-e', script], { encoding: 'utf8' }).stdout);
  });
  return sizes.sort((a, b) => a - b)[2] ?? 0;
}
