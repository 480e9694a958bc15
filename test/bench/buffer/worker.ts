// Runs one job (jobs.ts) and writes its result, for every engine in a process set up as the gateway's. Imports what the
// job needs only, as memory is measured in here.
import { limitYoungGeneration } from '../../../src/host/young-generation.ts';
import type { Job } from './jobs.ts';

limitYoungGeneration();

const job = JSON.parse(process.argv[2] ?? '') as Job;
const result = await perform(job);
await new Promise((resolve) => process.stdout.write(JSON.stringify(result), resolve));
if (job.kind === 'fill' && job.isKilled) process.kill(process.pid, 'SIGKILL');

async function perform(work: Job): Promise<unknown> {
  switch (work.kind) {
    case 'cycles':
      return (await import('./cycles.ts')).runCycles(work);
    case 'rates':
      return (await import('./cycles.ts')).runRates(work);
    case 'fill':
      return (await import('./backlog.ts')).runFill(work);
    case 'open':
      return (await import('./backlog.ts')).runOpen(work);
    case 'consume':
      return (await import('./backlog.ts')).runConsume(work);
  }
}
