/**
 * Runs the seeds that its parent sends as lines of JSON (`seed-order.ts`), one after the other, and prints what each came to.
 * Ends when standard input ends.
 */
import { setMaxListeners } from 'node:events';
import { errorText } from '../../base/errors.ts';
import { isMainModule, openParentChannel, setExitCode } from '../../host/child-process.ts';
import { mutants } from './mutants.ts';
import type { SeedOrder, SeedOutcome, SeedReport } from './seed-order.ts';
import { shrink } from './shrink.ts';
import { simulate } from './simulate.ts';
import type { SimulateOptions, SimulationResult } from './simulate.ts';

/** Runs one seed as ordered. */
export async function runSeed(
  order: SeedOrder,
  onNote: (atMs: number, text: string) => void,
): Promise<SeedOutcome> {
  const mutant = mutants.find(({ name }) => name === order.mutant);
  const options: SimulateOptions = {
    seed: order.seed,
    ...(order.handovers === undefined ? {} : { handovers: order.handovers }),
    without: order.without,
    ...(mutant === undefined ? {} : { mutant }),
  };
  const result = await simulate(order.isTraced ? { ...options, onNote } : options);
  if (!order.isShrunk || result.violations.length === 0) return outcomeOf(result, order.without);
  const smallest = await shrink(options);
  return outcomeOf(smallest?.result ?? result, smallest?.without ?? order.without);
}

function outcomeOf({ plan, ...rest }: SimulationResult, without: SeedOrder['without']): SeedOutcome {
  return { ...rest, handovers: plan.handovers, without, faults: Object.fromEntries(plan.faults) };
}

function main(): void {
  // Tens of requests at once share the signal of a phase, which is no leak.
  setMaxListeners(0);
  const channel = openParentChannel({
    onLine: (line) => void obey(JSON.parse(line) as SeedOrder),
    onEnd: () => setExitCode(0),
  });
  const say = (report: SeedReport): void => channel.writeLine(JSON.stringify(report));
  const obey = async (order: SeedOrder): Promise<void> => {
    try {
      say({
        kind: 'outcome',
        outcome: await runSeed(order, (atMs, text) => say({ kind: 'note', atMs, text })),
      });
    } catch (error) {
      say({ kind: 'failed', reason: errorText(error) });
    }
  };
}

if (isMainModule(import.meta.url)) main();
