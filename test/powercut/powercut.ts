// Power cuts at the level of blocks. A store works on an ext4 file system in an image whose every completed request is
// recorded (QEMU's blklogwrites behind a loop device with write-back cache) until it kills itself. From the recording the
// image is rebuilt as a power cut may have left it: every request before the last flush, and of those after it nothing,
// all, or a part, down to single sectors of 512 octets. The image is mounted, the store opened by a fresh process, and
// what it holds is compared with what it had reported by then.
//
// Proven, for the states that are drawn: with the real kernel, the real ext4 and the real system calls of Node, nothing
// reported stored is lost, changed, doubled, out of order or back after it was durably settled; counts add up; the store
// goes on. SQLite with synchronous=FULL passes the same, and stores with a sync removed are caught, which shows that the
// states are as hard as a power cut and the checks can fail.
//
// Not proven: what a real card does beyond the assumptions of src/buffer/reading-log.ts: tear a sector, lose what a
// flush had covered, or harm neighbours. That a write which completed while a flush was under way may be lost is not
// tried either. Cuts at file operations, all of them, are the business of test/buffer/crash.test.ts.
//
// --states N   states of Baton's log (default 24); the others get a fifth of it each, at least 8
// --seed S     the same use and the same draw of cuts; timing still differs, so failing states are kept as images
// --only NAME  only stores whose name contains it
// --keep DIR   where failing states are kept (default .build-powercut/failed); --replay DIR checks one again
// --json       prints one object; --check exits with 1 when a state fails or a defect is not caught
// Exit code 2: power cuts cannot be tried here, and nothing is proven.
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { gunzip, gzip } from 'node:zlib';
import { ConfigError } from '../../src/base/errors.ts';
import { NodeClock } from '../../src/host/clock.ts';
import { NodeEntropy } from '../../src/host/entropy.ts';
import { Campaign, checkState } from './campaign.ts';
import type { StoreResult } from './campaign.ts';
import type { Cut } from './cut-state.ts';
import { NotRunError, checkPrerequisites, checkRig } from './prerequisites.ts';
import { printReport, summaryOf, verdictOf } from './report.ts';
import { Rig } from './rig.ts';
import { storeOf, stores } from './stores.ts';
import type { Store } from './stores.ts';

const { values } = parseArgs({
  options: {
    states: { type: 'string', default: '24' },
    seed: { type: 'string' },
    only: { type: 'string', default: '' },
    replay: { type: 'string' },
    keep: { type: 'string', default: join(import.meta.dirname, '..', '..', 'failed') },
    json: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
  },
});
const clock = new NodeClock();
const seed = values.seed === undefined ? new NodeEntropy().uint32() : Number(values.seed);
const states = Number(values.states);
/** As of a shell whose command was interrupted. */
const interruptedCode = 130;
/** Failing states kept of one run, about 100 KB each. */
const keptMax = 10;
const kept: string[] = [];

process.exitCode = await main();

async function main(): Promise<number> {
  if (!Number.isSafeInteger(states) || states < 5 || !Number.isSafeInteger(seed)) {
    console.error('power cuts: --states takes a whole number from 5 up, --seed a whole number');
    return 1;
  }
  let rig: Rig | undefined;
  try {
    await checkPrerequisites(tell);
    rig = await Rig.create();
    disposeOnSignal(rig);
    await checkRig(rig);
    return values.replay === undefined ? await runAll(rig) : await replay(rig, values.replay);
  } catch (error) {
    if (rig?.isEnded === true) return interruptedCode;
    if (!(error instanceof NotRunError)) throw error;
    console.error(`power cuts: NOT RUN, nothing is proven: ${error.message}`);
    if (values.json) console.log(JSON.stringify({ states: 0, failures: 0, notRun: error.message, seed }));
    return 2;
  } finally {
    await rig?.dispose();
  }
}

async function runAll(rig: Rig): Promise<number> {
  tell(`power cuts: --states ${states} --seed ${seed}`);
  const beganMs = clock.monotonicMs();
  const campaign = new Campaign(rig, seed, keepState);
  const results: StoreResult[] = [];
  const chosen = stores.filter(({ name }) => name.includes(values.only));
  if (chosen.length === 0)
    throw new ConfigError(
      `no store has ${values.only} in its name: ${stores.map(({ name }) => name).join(', ')}`,
    );
  for (const [store, count] of countsOf(chosen)) {
    const result = await campaign.run(store, count);
    results.push(result);
    if (!values.json) printReport(result);
  }
  const seconds = Math.round((clock.monotonicMs() - beganMs) / 100) / 10;
  const summary = summaryOf(results, seconds, seed);
  if (values.json) console.log(JSON.stringify(summary));
  for (const folder of kept) tell(`replay: npm run test:powercut -- --replay ${folder}`);
  const complaints = verdictOf(results);
  for (const complaint of complaints) tell(`power cuts: ${complaint}`);
  if (complaints.length === 0) tell(`power cuts: all as they should be, ${seconds} s`);
  return values.check && complaints.length > 0 ? 1 : 0;
}

/** How many states each store gets. */
function countsOf(chosen: readonly Store[]): [Store, number][] {
  const others = Math.max(8, Math.round(states / 5));
  let left = states;
  const shared = stores.filter(({ share }) => share !== undefined);
  return chosen.map((store) => {
    if (store.share === undefined) return [store, others];
    const count = store === shared.at(-1) ? left : Math.max(1, Math.floor(states * store.share));
    left -= count;
    return [store, Math.max(1, count)];
  });
}

/** Keeps a state that fails, for `--replay`. */
async function keepState(store: Store, cut: Cut, image: Uint8Array, factsPath: string): Promise<void> {
  if (kept.length >= keptMax) return;
  const folder = join(values.keep, `${seed}-${store.name}-${cut.position}-${cut.outcome}`);
  kept.push(folder);
  await fs.mkdir(folder, { recursive: true });
  await fs.writeFile(join(folder, 'image.gz'), await promisify(gzip)(image));
  await fs.copyFile(factsPath, join(folder, 'facts'));
  const order = { store: store.name, position: cut.position };
  await fs.writeFile(join(folder, 'state.json'), JSON.stringify(order));
}

/** Checks a kept state once more. */
async function replay(rig: Rig, folder: string): Promise<number> {
  const { store, position } = JSON.parse(await fs.readFile(join(folder, 'state.json'), 'utf8')) as {
    store: string;
    position: number;
  };
  const image = await promisify(gunzip)(await fs.readFile(join(folder, 'image.gz')));
  const message = await checkState(rig, storeOf(store), image, join(folder, 'facts'), position);
  console.log(message === undefined ? 'the state passes' : `the state fails: ${message}`);
  return message === undefined ? 0 : 1;
}

function disposeOnSignal(rig: Rig): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      tell(`power cuts: ended by ${signal}`);
      void rig.dispose();
    });
  }
}

/** Progress goes to standard error: with --json standard output holds one object. */
function tell(text: string): void {
  console.error(text);
}
