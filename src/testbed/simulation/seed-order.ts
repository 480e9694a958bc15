/** What the command `sim` and its workers say to each other: one line of JSON for each order, note and outcome. */
import type { FaultKind } from './plan.ts';
import type { Violation } from './observer.ts';
import type { SimulationCounts } from './simulation.ts';

/** One seed to run. */
export interface SeedOrder {
  readonly seed: number;
  /** Handovers of the run, where others than `handoversPerSeed`. */
  readonly handovers?: number;
  readonly without: readonly FaultKind[];
  /** Name of a defect to put in. */
  readonly mutant?: string;
  /** All that happens is told in notes. */
  readonly isTraced: boolean;
  /** A run that fails is made smaller. */
  readonly isShrunk: boolean;
}

/** What a seed came to. */
export interface SeedOutcome {
  readonly seed: number;
  /** Handovers of the run that fails, and kinds of faults that it did without: the smallest ones when it was made smaller. */
  readonly handovers: number;
  readonly without: readonly FaultKind[];
  /** Kinds of faults of the run with their strengths. */
  readonly faults: Readonly<Record<string, number>>;
  readonly violations: readonly Violation[];
  readonly counts: SimulationCounts;
  readonly readings: number;
  readonly commands: number;
  readonly labelledDoubles: number;
  readonly virtualMs: number;
  readonly restMs: number;
  readonly trace: string;
}

/** A line from a worker. */
export type SeedReport =
  | { readonly kind: 'note'; readonly atMs: number; readonly text: string }
  | { readonly kind: 'outcome'; readonly outcome: SeedOutcome }
  | { readonly kind: 'failed'; readonly reason: string };

/** Arguments of `baton` that run a seed again. */
export function replayOf(
  { seed, handovers, without }: Pick<SeedOutcome, 'seed' | 'handovers' | 'without'>,
  usualHandovers: number,
  mutant: string | undefined,
): string {
  const count = handovers === usualHandovers ? '' : ` --per-seed ${handovers}`;
  const smaller = without.length === 0 ? '' : ` --without ${without.join(',')}`;
  return `baton sim --seeds ${seed}..${seed}${count}${smaller}${mutant === undefined ? '' : ` --mutant ${mutant}`}`;
}
