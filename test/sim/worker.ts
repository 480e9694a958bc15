// Runs the seeds that its parent process sends, one after the other, and sends back what each came to; see scripts/run-sim.mjs.
import { setMaxListeners } from 'node:events';
import { errorText } from '../../src/base/errors.ts';
import { mutants } from '../../src/testbed/simulation/mutants.ts';
import type { FaultKind } from '../../src/testbed/simulation/plan.ts';
import { shrink } from '../../src/testbed/simulation/shrink.ts';
import { simulate } from '../../src/testbed/simulation/simulate.ts';
import type { SimulationResult } from '../../src/testbed/simulation/simulate.ts';

interface Order {
  readonly seed: number;
  readonly handovers?: number;
  readonly without: readonly FaultKind[];
  readonly mutant?: string;
  readonly isTraced: boolean;
  readonly isShrunk: boolean;
}

// Tens of requests at once share the signal of a phase, which is no leak.
setMaxListeners(0);

process.on('message', (order: Order) => void run(order));

async function run(order: Order): Promise<void> {
  const before = process.cpuUsage();
  const mutant = mutants.find(({ name }) => name === order.mutant);
  const options = {
    seed: order.seed,
    ...(order.handovers === undefined ? {} : { handovers: order.handovers }),
    without: order.without,
    ...(mutant === undefined ? {} : { mutant }),
  };
  try {
    const onNote = (atMs: number, text: string): void => console.error(`${(atMs / 1000).toFixed(3)} ${text}`);
    let result = await simulate(order.isTraced ? { ...options, onNote } : options);
    let without = order.without;
    if (order.isShrunk && result.violations.length > 0) {
      const smallest = await shrink(options);
      result = smallest?.result ?? result;
      without = smallest?.without ?? without;
    }
    const { user, system } = process.cpuUsage(before);
    process.send?.({ ...summary(result), without, cpuMs: (user + system) / 1000 });
  } catch (error) {
    const violations = [{ invariant: 'I12', text: `the run itself failed: ${errorText(error)}`, atMs: 0 }];
    process.send?.({ seed: order.seed, violations, failed: true });
  }
}

function summary({ plan, ...rest }: SimulationResult): Record<string, unknown> {
  return { ...rest, handovers: plan.handovers, faults: Object.fromEntries(plan.faults) };
}
