// What the CoAP endpoint does on loopback with 64 requests in flight: its request rate beside node-coap's, its heap after
// 250,000 requests, and how far exchanges outlive their deadlines on an idle and on a busy event loop: with peers that are
// silent, that acknowledge and are silent then, and that do so in the middle of a body that comes in blocks.
//
//   npm run bench -- coap [--quick] [--check] [--json]
//
// Client and server are in one process; each measurement has a process of its own, and the two stacks take turns, so that
// another load of the machine meets both. The rate that counts is the median of the rounds. A busy event loop is held
// for 30 ms out of every 40; a bare timer set beside each exchange tells how much of a delay is the loop's, and the bound is
// for what exchanges are late beyond the latest of those: a machine with other things to do delays both. --quick takes
// shorter rounds and 50,000 requests; --check ends with 1 when a bound is missed.
import { fork } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { DeadlineResult, HeapResult, Job, RateResult } from './coap/worker.ts';

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
  },
});
const rounds = values.quick ? 3 : 5;
const secondsPerRound = values.quick ? 2 : 4;
const requests = values.quick ? 50_000 : 250_000;

const rates: Record<'baton' | 'node-coap', number[]> = { 'baton': [], 'node-coap': [] };
const cpuMicros: typeof rates = { 'baton': [], 'node-coap': [] };
for (let round = 0; round < rounds; round++) {
  for (const stack of ['baton', 'node-coap'] as const) {
    const { answered, seconds, cpuSeconds } = await measure<RateResult>(`rate-${stack}`, secondsPerRound);
    rates[stack].push(Math.round(answered / seconds));
    cpuMicros[stack].push(Math.round((cpuSeconds / answered) * 1e6));
  }
}
const heap = await measure<HeapResult>('heap', requests);
const idle = await measure<DeadlineResult>('deadline-idle', values.quick ? 3 : 10);
const busy = await measure<DeadlineResult>('deadline-busy', values.quick ? 3 : 10);

const medians = { 'baton': median(rates.baton), 'node-coap': median(rates['node-coap']) };
const heapGrowthMb = (heap.endBytes - heap.startBytes) / 1e6;
const bounds = [
  bound('requests a second, with those of node-coap as the limit', '>=', medians['node-coap'], medians.baton),
  bound(`growth of the heap over ${heap.answered} requests, MB`, '<=', 10, heapGrowthMb),
  bound('idle loop: exchanges beyond bare timers, ms', '<=', 50, idle.lateMsMax - idle.timerLateMsMax),
  bound('busy loop: exchanges beyond bare timers, ms', '<=', 50, busy.lateMsMax - busy.timerLateMsMax),
];
if (values.json) console.log(JSON.stringify({ rates, medians, cpuMicros, heap, idle, busy, bounds }));
else print();
const missed = bounds.filter(({ isMet }) => !isMet);
for (const { name, value, relation, limit } of values.check ? missed : []) {
  console.error(`missed: ${name}: ${value} instead of ${relation} ${limit}`);
}
process.exit(values.check && missed.length > 0 ? 1 : 0);

function bound(name: string, relation: '<=' | '>=', limit: number, exact: number) {
  const value = Math.round(exact * 10) / 10;
  return { name, relation, limit, value, isMet: relation === '<=' ? value <= limit : value >= limit };
}

function median(list: readonly number[]): number {
  return [...list].sort((a, b) => a - b)[list.length >> 1] ?? 0;
}

/** Has a process of its own do one job. */
function measure<T>(job: Job, extent: number): Promise<T> {
  const worker = join(import.meta.dirname, 'coap', 'worker.js');
  const child = fork(worker, [job, String(extent)], { execArgv: ['--expose-gc'] });
  return new Promise((resolve, reject) => {
    let outcome: T | undefined;
    child.on('message', (message) => (outcome = message as T));
    child.on('exit', (status) => {
      if (outcome === undefined) reject(new Error(`${job} ended with ${status} and without outcome`));
      else resolve(outcome);
    });
  });
}

function print(): void {
  for (const stack of ['baton', 'node-coap'] as const) {
    console.log(
      `${stack}: ${medians[stack]} requests a second (rounds: ${rates[stack].join(', ')}), ` +
        `${median(cpuMicros[stack])} us of processor time each`,
    );
  }
  console.log(`heap: ${heapGrowthMb.toFixed(1)} MB more after ${heap.answered} requests`);
  for (const [name, { exchanges, lateMsMax, timerLateMsMax, beyondTimerMsMax }] of Object.entries({
    idle,
    busy,
  })) {
    console.log(
      `${name} loop: ${exchanges} exchanges up to ${lateMsMax.toFixed(1)} ms late, bare timers up to ` +
        `${timerLateMsMax.toFixed(1)} ms, an exchange beyond its timer up to ${beyondTimerMsMax.toFixed(1)} ms`,
    );
  }
  for (const { name, relation, limit, value, isMet } of bounds) {
    console.log(`${isMet ? 'met   ' : 'MISSED'} ${name}: ${value} ${relation} ${limit}`);
  }
}
