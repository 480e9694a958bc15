import type { SimulationCounts, Mutant } from './simulation.ts';
import { Simulation } from './simulation.ts';
import { judgeAtRest, unrest } from './invariants.ts';
import type { Violation } from './observer.ts';
import { planOf } from './plan.ts';
import type { PlanOptions, SimulationPlan } from './plan.ts';

/** What a run came to. */
export interface SimulationResult {
  readonly seed: number;
  readonly plan: SimulationPlan;
  readonly violations: readonly Violation[];
  readonly counts: SimulationCounts;
  readonly readings: number;
  readonly commands: number;
  readonly labelledDoubles: number;
  /** Time of the clock that passed. */
  readonly virtualMs: number;
  /** Of it, from the healing to the rest. */
  readonly restMs: number;
  /** Equal for two runs that took the same course. */
  readonly trace: string;
}

/** Options of a run beside its seed. */
export interface SimulateOptions extends PlanOptions {
  readonly mutant?: Mutant;
  /** Time for coming to rest, where another than `restMsMax` is wanted. */
  readonly restMs?: number;
  readonly onNote?: (atMs: number, text: string) => void;
}

const stepMs = 500;
/** For so long each handover may take on average before the faults end anyway. */
const handoverMsMax = 60_000;
/** Within this time after the last fault everything must be settled (I10). */
export const restMsMax = 900_000;

/** Runs one seed to its rest, or to the first violation. */
export async function simulate(options: SimulateOptions): Promise<SimulationResult> {
  const plan = planOf(options);
  const simulation = new Simulation(plan, options);
  const { clock, observer, counts } = simulation;
  await simulation.begin();
  await clock.advance(10_000);
  simulation.strike();
  const strikeMsMax = clock.monotonicMs() + plan.handovers * handoverMsMax;
  while (simulation.ended < plan.handovers && clock.monotonicMs() < strikeMsMax) {
    await clock.advance(stepMs);
    if (observer.violations.length > 0) break;
  }
  simulation.heal();
  const healedMs = clock.monotonicMs();
  if (observer.violations.length === 0) await rest(simulation, options.restMs ?? restMsMax);
  if (observer.violations.length === 0) judgeAtRest(simulation);
  const restedMs = clock.monotonicMs();
  const trace = simulation.trace.digest();
  await simulation.stop();
  return {
    seed: plan.seed,
    plan,
    violations: observer.violations,
    counts,
    readings: plan.streams.reduce((sum, { name }) => sum + observer.arrived(name).size, 0),
    commands: observer.commands.size,
    labelledDoubles: observer.labelledDoubles,
    virtualMs: restedMs,
    restMs: restedMs - healedMs,
    trace,
  };
}

/** Lets time pass until nothing is left to be done. */
async function rest(simulation: Simulation, limitMs: number): Promise<void> {
  const { clock, observer } = simulation;
  const endMs = clock.monotonicMs() + limitMs;
  for (;;) {
    await clock.advance(stepMs);
    if (observer.violations.length > 0) return;
    const reason = await unrest(simulation);
    if (reason === undefined) return;
    if (clock.monotonicMs() > endMs) {
      observer.violate('I10', `not at rest ${limitMs} ms after the last fault: ${reason}`);
      return;
    }
  }
}
