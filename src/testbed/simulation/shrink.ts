import { faultKinds } from './plan.ts';
import type { FaultKind } from './plan.ts';
import { simulate } from './simulate.ts';
import type { SimulateOptions, SimulationResult } from './simulate.ts';

/** The smallest plan found for a failure. */
export interface Shrunk {
  readonly handovers: number;
  /** Kinds of faults that it does without. */
  readonly without: readonly FaultKind[];
  readonly result: SimulationResult;
}

/**
 * Makes a failing run smaller: leaves out one kind of fault after the other, then handovers, as long as the same invariant
 * breaks. Undefined when the run does not fail.
 */
export async function shrink(options: SimulateOptions): Promise<Shrunk | undefined> {
  const first = await simulate(options);
  const [violation] = first.violations;
  if (violation === undefined) return undefined;
  let smallest: Shrunk = { handovers: first.plan.handovers, without: options.without ?? [], result: first };
  const attempt = async (smaller: { handovers: number; without: readonly FaultKind[] }): Promise<void> => {
    const result = await simulate({ ...options, ...smaller });
    if (result.violations[0]?.invariant === violation.invariant) smallest = { ...smaller, result };
  };
  for (const kind of faultKinds) {
    if (!first.plan.faults.has(kind)) continue;
    await attempt({ handovers: smallest.handovers, without: [...smallest.without, kind] });
  }
  for (let handovers = smallest.handovers >> 1; handovers > 0; handovers >>= 1) {
    await attempt({ handovers, without: smallest.without });
    if (smallest.handovers !== handovers) break;
  }
  return smallest;
}
