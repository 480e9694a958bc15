import type { EngineName } from './engines.ts';
import type { CyclesResult, RatesResult } from './jobs.ts';
import type { BacklogResult } from './measurements.ts';

/** Everything that a run has measured, as `--json` prints it. */
export interface Outcome {
  readonly machine: { node: string; processors: number; platform: string; loadAverage: number };
  readonly isQuick: boolean;
  /** What was left out and why, for people. */
  readonly skipped: string[];
  /** Engines that were asked for and could not be measured, with the reason. */
  readonly failed: Partial<Record<EngineName, string>>;
  bareRssBytes: number;
  readonly padded: Partial<Record<EngineName, readonly CyclesResult[]>>;
  /** Of Baton's log: with more than half of its space in use, and with three classes in each commit. */
  packed?: readonly CyclesResult[];
  classes?: readonly CyclesResult[];
  readonly rates: Partial<Record<EngineName, readonly RatesResult[]>>;
  readonly backlogs: Partial<Record<EngineName, readonly BacklogResult[]>>;
}
