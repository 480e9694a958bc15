// All scenarios. Long ones first, so that what runs beside them fills the time.
import type { Scenario } from './scenario.ts';
import { bundleScenarios } from './scenarios-bundle.ts';
import { failingScenarios } from './scenarios-failing.ts';
import { killedScenarios } from './scenarios-killed.ts';
import { movingScenarios } from './scenarios-moving.ts';
import { sharedScenarios } from './scenarios-shared.ts';

/** All scenarios, each with a name of its own. */
export const scenarios: readonly Scenario[] = [
  ...failingScenarios,
  ...sharedScenarios,
  ...bundleScenarios,
  ...killedScenarios,
  ...movingScenarios,
];
