// Where CSEs of a maker do otherwise than the scenarios of a handover expect: everything that may differ, by name. A scenario
// listed here must fail with the words given; one that goes well, or fails otherwise, fails the run.
import type { CseMaker } from './ground.ts';

/** One difference that is allowed. */
export interface ScenarioDifference {
  readonly name: string;
  readonly maker: CseMaker;
  /** What those CSEs do. */
  readonly what: string;
  /** What Baton relies on instead. */
  readonly fallback: string;
  /** Scenarios that cannot go well because of it. */
  readonly scenarios: readonly string[];
  /** How that shows in the first note of the failed scenario. */
  readonly shows: RegExp;
}

/** The allowed differences. */
export const scenarioDifferences: readonly ScenarioDifference[] = [];

/** The difference that a scenario must show; undefined when it must go well. */
export function differenceOf(maker: CseMaker, scenario: string): ScenarioDifference | undefined {
  return scenarioDifferences.find((each) => each.maker === maker && each.scenarios.includes(scenario));
}
