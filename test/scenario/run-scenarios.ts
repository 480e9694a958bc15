// Handover scenarios: the whole gateway as its users run it, between CSEs on loopback, in the same stories with the testbed's
// CSEs and with ACME's. Readings, bundle, serving record and commands are counted from what the CSEs hold (judge.ts).
//
// --cse testbed|acme  one of the two; both when absent
// --only NAME,…       scenarios whose name contains one of these
// --parallel N        scenarios at once (3)
// --json              prints one object; --check exits with 1 when a scenario fails, as a run without it does
// What CSEs do otherwise is listed in differences.ts and printed at the end; a scenario named there must fail as it says.
// Exit code 2: ACME cannot be set up here, and nothing is proven of it.
import { parseArgs } from 'node:util';
import { UsageError, errorText } from '../../src/base/errors.ts';
import { createNodeHost } from '../../src/host/host.ts';
import { acmeVersion, setUp } from '../acme/set-up.ts';
import { NotRunError, endCommands } from '../real/programs.ts';
import { openAcmeWorld } from './acme-world.ts';
import { scenarioDifferences } from './differences.ts';
import type { CseMaker, World } from './ground.ts';
import { endScenarios, runScenario } from './scenario.ts';
import type { Outcome } from './scenario.ts';
import { scenarios } from './scenarios.ts';
import { createTestbedWorld } from './testbed-world.ts';

const makers: readonly CseMaker[] = ['testbed', 'acme'];
const interruptedCode = 130;
const parallelDefault = '3';

const { values } = parseArgs({
  options: {
    cse: { type: 'string' },
    only: { type: 'string', default: '' },
    parallel: { type: 'string', default: parallelDefault },
    json: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
  },
});
const host = createNodeHost();
/** With --json standard output holds nothing but the object. */
const tell = (text: string): void => (values.json ? console.error(text) : console.log(text));

/** What a half of the run came to. */
interface Half {
  readonly cse: CseMaker;
  readonly notRun?: string;
  readonly seconds: number;
  readonly outcomes: readonly Outcome[];
}

process.exitCode = await main().catch((error: unknown) => {
  console.error(errorText(error));
  return 2;
});

async function main(): Promise<number> {
  const { cse } = values;
  const chosen = makers.filter((maker) => cse === undefined || maker === cse);
  if (chosen.length === 0) throw new UsageError(`--cse ${cse}: one of ${makers.join(', ')} is expected`);
  const parallel = Number(values.parallel);
  if (!Number.isInteger(parallel) || parallel < 1 || parallel > 16) {
    throw new UsageError(`--parallel ${values.parallel}: a number from 1 to 16 is expected`);
  }
  const halves: Half[] = [];
  for (const maker of chosen) halves.push(await runHalf(maker, parallel));
  return finish(halves);
}

async function runHalf(cse: CseMaker, parallel: number): Promise<Half> {
  const beganMs = host.clock.monotonicMs();
  const seconds = (): number => Math.round((host.clock.monotonicMs() - beganMs) / 100) / 10;
  const outcomes: Outcome[] = [];
  let world: World | undefined;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      endCommands();
      void endScenarios()
        .then(() => world?.close())
        .finally(() => process.exit(interruptedCode));
    });
  }
  try {
    world = cse === 'acme' ? await openAcmeWorld(host, await setUp(tell)) : createTestbedWorld(host);
    if (cse === 'acme') tell(`ACME CSE ${acmeVersion}: all are up after ${seconds()} s`);
    await runAll(world, parallel, (outcome) => {
      outcomes.push(outcome);
      const { name, what, result, notes, ms } = outcome;
      const mark = { passed: 'ok  ', failed: 'FAIL', skipped: 'skip' }[result];
      tell(`${mark} ${cse}: ${name}: ${what} (${ms} ms)`);
      for (const note of notes) tell(`       ${note}`);
    });
  } catch (error) {
    if (!(error instanceof NotRunError)) throw error;
    tell(`${cse}: NOT RUN, nothing is proven: ${error.message}`);
    return { cse, notRun: error.message, seconds: seconds(), outcomes };
  } finally {
    await world?.close();
  }
  return { cse, seconds: seconds(), outcomes };
}

async function runAll(world: World, parallel: number, onEnd: (outcome: Outcome) => void): Promise<void> {
  const parts = values.only.split(',');
  const waiting = scenarios.filter(({ name }) => parts.some((part) => name.includes(part)));
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      onEnd(await runScenario(host, world, next));
    }
  };
  await Promise.all(Array.from({ length: parallel }, work));
}

function finish(halves: readonly Half[]): number {
  const all = halves.flatMap(({ outcomes }) => outcomes);
  const count = (result: Outcome['result']): number => all.filter((each) => each.result === result).length;
  const sum = { passed: count('passed'), failed: count('failed'), skipped: count('skipped') };
  if (values.json) console.log(JSON.stringify({ ...sum, halves, differences: scenarioDifferences }));
  for (const { maker, name, what, fallback, scenarios: concerned } of scenarioDifferences) {
    tell(`allowed difference of ${maker}: ${name} (${concerned.join(', ')}): ${what}; instead: ${fallback}`);
  }
  for (const { cse, seconds } of halves) tell(`${cse}: ${seconds} s`);
  tell(`${sum.passed} passed, ${sum.failed} failed${sum.skipped === 0 ? '' : `, ${sum.skipped} skipped`}`);
  if (sum.failed > 0) return 1;
  return halves.some(({ notRun }) => notRun !== undefined) ? 2 : all.length === 0 ? 1 : 0;
}
