// Steps of a path, one after the other: what comes after a failed one is not tried, and counts as failed.
import { errorText } from '../../src/base/errors.ts';
import type { Clock } from '../../src/host/clock.ts';
import type { Report } from './report.ts';

/** A step resolves to notes, and rejects with what went wrong. */
export type PathStep = readonly [title: string, run: () => Promise<readonly string[]>];

const noticesMax = 8;

/** A step did not come to what it should. */
export class StepError extends Error {}

/** Runs the steps and reports each; with a failure goes what was noticed last. */
export async function runSteps(
  options: { clock: Clock; report: Report; part: string; notices: () => readonly string[] },
  steps: readonly PathStep[],
): Promise<void> {
  const { clock, report, part, notices } = options;
  let isBroken = false;
  for (const [title, run] of steps) {
    const beganMs = clock.monotonicMs();
    const ms = (): number => Math.round(clock.monotonicMs() - beganMs);
    if (isBroken) {
      report.add({ part, title, passed: false, notes: ['not tried after what failed before'], ms: 0 });
      continue;
    }
    try {
      report.add({ part, title, notes: await run(), passed: true, ms: ms() });
    } catch (error) {
      isBroken = true;
      const notes = [errorText(error), ...notices().slice(-noticesMax)];
      report.add({ part, title, passed: false, notes, ms: ms() });
    }
  }
}
