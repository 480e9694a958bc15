// What the buffer costs, beside other stores: device bytes, flushes and write requests per commit from the block layer,
// latency of commits, stalls of the event loop, cycles a second on an emulated card, and how a store opens, what memory it
// takes and how fast it drains with up to five million records pending.
//
//   npm run bench -- buffer [--quick] [--check] [--json] [--engines a,b] [--parts cycles,rates,backlogs] [--directory DIR]
//
// It needs Linux and root for the figures of devices; without them they are left out. A cycle appends a batch in one
// commit, takes it out and acknowledges it. Each engine has a new ext4 file system on a loop device of its own, and is warm
// before counting: all slots were in use, a write-ahead log has its full size. Cycles are 8 ms apart, so that the clock
// of the file system moves on between two flushes, and everything is synced before and after. The card takes 500 writes
// and 10 MiB a second, and cycles there follow each other without pause. Each engine and each measurement of memory has
// a process of its own. --quick measures Baton's log alone, with 200,000 records pending; --check ends with 1 when a
// bound is missed, or when an engine that was asked for and that a bound needs could not be measured.
import * as fs from 'node:fs/promises';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { checkBounds } from './buffer/bounds.ts';
import { run } from './buffer/commands.ts';
import { cardObstacle } from './buffer/emulated-card.ts';
import { installEngines } from './buffer/engine-packages.ts';
import { engineNames, enginePackages } from './buffer/engines.ts';
import type { EngineName } from './buffer/engines.ts';
import { measureBacklogs, measureCycles, measureRates } from './buffer/measurements.ts';
import type { Bench } from './buffer/measurements.ts';
import { imageObstacle } from './buffer/mounted-image.ts';
import type { Outcome } from './buffer/outcome.ts';
import { printReport } from './buffer/report.ts';
import { Undo } from './buffer/undo.ts';
import { bareRssBytes } from './buffer/worker-process.ts';

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    engines: { type: 'string' },
    parts: { type: 'string', default: 'cycles,rates,backlogs' },
    directory: { type: 'string', default: tmpdir() },
  },
});
const isQuick = values.quick;
const asked = namesOf(values.engines ?? (isQuick ? 'baton' : engineNames.join(',')));
const parts = values.parts.split(',');
const undo = new Undo();
const directory = await fs.mkdtemp(join(values.directory, 'baton-bench-'));
undo.add(() => run('rm', '-rf', '--one-file-system', directory));

const obstacle = imageObstacle();
const bench: Bench = {
  directory,
  undo,
  hasImages: obstacle === undefined,
  extent: isQuick
    ? { rounds: 3, cyclesPerRound: 120, warmCommits: 30, backlogs: [0, 200_000], openRepeats: 3 }
    : { rounds: 3, cyclesPerRound: 360, warmCommits: 100, backlogs: [0, 1e6, 5e6], openRepeats: 3 },
};
const outcome: Outcome = {
  machine: {
    node: process.version,
    processors: cpus().length,
    platform: `${process.platform} ${process.arch}`,
    loadAverage: loadavg()[0] ?? 0,
  },
  isQuick,
  skipped: obstacle === undefined ? [] : [`device bytes, flushes, remounts, card: ${obstacle}`],
  failed: {},
  bareRssBytes: bareRssBytes(),
  padded: {},
  rates: {},
  backlogs: {},
};

const engines = await findEngines();
if (parts.includes('cycles')) await measureAllCycles();
if (parts.includes('rates') && !isQuick) await measureAllRates();
if (parts.includes('backlogs')) await measureAllBacklogs();

const bounds = checkBounds(outcome, asked.includes('sqlite-full'));
undo.all();
if (values.json) console.log(JSON.stringify({ ...outcome, bounds }));
else printReport(outcome, bounds);
const unmet = bounds.filter(({ verdict }) => verdict === 'missed' || verdict === 'absent');
for (const { name, verdict, value, relation, limit, why } of values.check ? unmet : []) {
  const what = why ?? `${value} instead of ${relation} ${limit}`;
  console.error(`${verdict}: ${name}: ${what}`);
}
process.exit(values.check && unmet.length > 0 ? 1 : 0);

function namesOf(text: string): EngineName[] {
  return text.split(',').map((word) => {
    const name = engineNames.find((known) => known === word);
    if (name !== undefined) return name;
    console.error(`no engine "${word}"; there are ${engineNames.join(', ')}`);
    process.exit(2);
  });
}

/** The engines that can be measured; the others go into `failed`. */
async function findEngines(): Promise<EngineName[]> {
  const packages = new Set(asked.flatMap((name) => enginePackages[name] ?? []));
  const failures = packages.size === 0 ? new Map<string, string>() : await installEngines([...packages]);
  return asked.filter((name) => {
    const failure = failures.get(enginePackages[name] ?? '');
    if (failure !== undefined) outcome.failed[name] = failure;
    return failure === undefined;
  });
}

/** Measures each engine; one that fails is noted and does not keep the others back. */
async function forEachEngine(what: string, work: (engine: EngineName) => Promise<void>): Promise<void> {
  for (const engine of engines) {
    if (outcome.failed[engine] !== undefined) continue;
    console.error(`${engine}: ${what}`);
    try {
      await work(engine);
    } catch (error) {
      outcome.failed[engine] = `${what}: ${error instanceof Error ? error.message : String(error)}`;
      console.error(`${engine}: ${outcome.failed[engine]}`);
    }
  }
}

async function measureAllCycles(): Promise<void> {
  await forEachEngine('paced cycles', async (engine) => {
    outcome.padded[engine] = await measureCycles(bench, engine, 'padded');
    if (engine !== 'baton') return;
    outcome.packed = await measureCycles(bench, engine, 'packed');
    outcome.classes = await measureCycles(bench, engine, 'classes');
  });
}

async function measureAllRates(): Promise<void> {
  const missing = obstacle ?? cardObstacle();
  if (missing !== undefined) outcome.skipped.push(`emulated card: ${missing}`);
  else {
    await forEachEngine('cycles on the emulated card', async (engine) => {
      outcome.rates[engine] = await measureRates(bench, engine);
    });
  }
}

async function measureAllBacklogs(): Promise<void> {
  await forEachEngine('backlogs', async (engine) => {
    // They keep their data as sqlite-full does.
    if (engine === 'sqlite-riding' || engine === 'sqlite-normal') return;
    outcome.backlogs[engine] = await measureBacklogs(bench, engine);
  });
}
