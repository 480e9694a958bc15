// Compiles into .build-simulation/ and runs a whole gateway with its CSEs, network and disk on a virtual clock:
//
//   npm run sim -- [--seed N] [--handovers N] [--workers N] [--without KIND,KIND] [--mutant NAME]
//                  [--per-seed N] [--shrink] [--trace] [--json] [--check]
//
// With --seed alone it runs that seed; with --handovers it runs one seed after the other, from --seed or 1 on, until so many
// handovers are completed. A failing seed prints the command that replays it, and ends with exit code 1; --shrink finds the
// faults that it takes, --trace tells all that happens, --json prints a line per seed and one for all. --check also
// fails a run that was slower than 500 times real time. See the heads of src/testbed/simulation/.
import { fork, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const timesMin = 500;
const out = '.build-simulation';

const text = { type: 'string' };
const flag = { type: 'boolean', default: false };
const { values: args } = parseArgs({
  options: {
    'seed': text,
    'handovers': text,
    'workers': text,
    'without': text,
    'mutant': text,
    'per-seed': text,
    'shrink': flag,
    'trace': flag,
    'json': flag,
    'check': flag,
  },
});
for (const name of ['seed', 'handovers', 'workers', 'per-seed']) {
  if (args[name] === undefined || /^[1-9]\d{0,8}$/.test(args[name])) continue;
  console.error(`--${name} takes a whole number from 1 on, not "${args[name]}"`);
  process.exit(2);
}

const tsc = 'node_modules/typescript/bin/tsc -p tsconfig.json --incremental --outDir'.split(' ');
const compile = [...tsc, out, '--tsBuildInfoFile', join(out, 'tsbuildinfo')];
if (spawnSync(process.execPath, compile, { stdio: ['ignore', 2, 2] }).status !== 0) process.exit(1);

const isOne = args.handovers === undefined;
const first = Number(args.seed ?? 1);
const wanted = Number(args.handovers ?? 1);
const beganMs = performance.now();
const total = {
  ...{ seeds: 0, completed: 0, rolledBack: 0, fenced: 0, kills: 0, powerCuts: 0, resets: 0 },
  ...{ readings: 0, commands: 0, labelledDoubles: 0, violations: 0, virtualHours: 0, restSecondsMax: 0 },
};
const triggers = {};
const failing = [];
let next = first;
let running = 0;
const workers = Array.from({ length: isOne ? 1 : Number(args.workers ?? 1) }, startWorker);
for (const worker of workers) dispense(worker);
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => end(1));

function startWorker() {
  const worker = fork(join(out, 'test', 'sim', 'worker.js'), {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  worker.on('message', (result) => take(worker, result));
  worker.on('exit', (code) => {
    if (worker.isDone) return;
    console.error(
      `a worker ended (${code}) while it ran seed ${worker.seed}; ${replayOf({ seed: worker.seed })}`,
    );
    end(1);
  });
  return worker;
}

function dispense(worker) {
  const isEnough = isOne ? next > first : total.completed >= wanted || failing.length >= 10;
  if (isEnough) {
    worker.isDone = true;
    worker.disconnect();
    if (running === 0) finish();
    return;
  }
  worker.seed = next;
  worker.send({
    seed: next++,
    ...(args['per-seed'] === undefined ? {} : { handovers: Number(args['per-seed']) }),
    without: args.without?.split(',') ?? [],
    ...(args.mutant === undefined ? {} : { mutant: args.mutant }),
    isTraced: args.trace,
    isShrunk: args.shrink,
  });
  running++;
}

function take(worker, result) {
  running--;
  const { violations, counts, virtualMs = 0, restMs = 0 } = result;
  total.seeds++;
  total.violations += violations.length;
  total.virtualHours += virtualMs / 3_600_000;
  total.restSecondsMax = Math.max(total.restSecondsMax, restMs / 1000);
  for (const name of ['readings', 'commands', 'labelledDoubles']) total[name] += result[name] ?? 0;
  for (const [name, count] of Object.entries(counts ?? {})) if (name in total) total[name] += count;
  for (const [name, count] of Object.entries(counts?.triggers ?? {})) {
    triggers[name] = (triggers[name] ?? 0) + count;
  }
  if (args.json) console.log(JSON.stringify(result));
  else if (isOne) console.log(result);
  if (violations.length > 0) {
    failing.push(result.seed);
    for (const { invariant, text: what, atMs } of violations.slice(0, 3)) {
      console.error(`seed ${result.seed} at ${(atMs / 1000).toFixed(3)} s: ${invariant}: ${what}`);
    }
    console.error(`  faults: ${Object.keys(result.faults ?? {}).join(', ')}`);
    console.error(`  ${replayOf(result)}`);
  }
  dispense(worker);
}

function replayOf({ seed, handovers, without = [] }) {
  const smaller = without.length === 0 ? '' : ` --without ${without.join(',')}`;
  const count = handovers === undefined || args['per-seed'] === undefined ? '' : ` --per-seed ${handovers}`;
  const mutant = args.mutant === undefined ? '' : ` --mutant ${args.mutant}`;
  return `replay: npm run sim -- --seed ${seed}${count}${smaller}${mutant}`;
}

function finish() {
  const wallSeconds = (performance.now() - beganMs) / 1000;
  const timesRealTime = (total.virtualHours * 3600) / wallSeconds;
  const figures = {
    ...total,
    virtualHours: round(total.virtualHours),
    triggers,
    wallSeconds: round(wallSeconds),
    timesRealTime: round(timesRealTime),
    msPerHandover: round((wallSeconds * 1000) / Math.max(1, total.completed)),
    failing,
  };
  console.log(args.json ? JSON.stringify(figures) : figures);
  const isSlow = args.check && timesRealTime < timesMin;
  if (isSlow) console.error(`slower than ${timesMin} times real time: ${Math.round(timesRealTime)}`);
  end(total.violations > 0 || isSlow ? 1 : 0);
}

function end(code) {
  for (const worker of workers) {
    worker.isDone = true;
    worker.kill();
  }
  process.exit(code);
}

function round(value) {
  return Math.round(value * 100) / 100;
}
