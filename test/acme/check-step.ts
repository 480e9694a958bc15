// A check of the contract as a step of the run: it passes when it differs just where it is allowed and known to.
import type { Step } from '../real/report.ts';
import type { CheckResult } from './contract-run.ts';
import { allowedIn } from './differences-table.ts';
import type { Wire } from './differences-table.ts';

/** The step; its notes name the differences that showed. */
export function stepOfCheck(wire: Wire, { title, asserted, failures, ms }: CheckResult): Step {
  const allowed = allowedIn(title, wire);
  const unseen = new Set(allowed.filter(({ isSure }) => isSure));
  const names = new Set<string>();
  const wrong: string[] = [];
  for (const { assertion, detail } of failures) {
    const difference = allowed.find((each) => assertion.startsWith(each.assertion));
    if (difference === undefined) wrong.push(`differs: ${assertion} ${detail}`.slice(0, 300));
    else {
      unseen.delete(difference);
      names.add(difference.name);
    }
  }
  for (const { assertion, name } of unseen) {
    wrong.push(`${name} does not show any more at "${assertion}": take it out of differences-table.ts`);
  }
  if (asserted === 0) wrong.push('nothing was asserted');
  const notes = [...[...names].map((name) => `allowed difference: ${name}`), ...wrong];
  return { part: `contract over ${wire}`, title, passed: wrong.length === 0, notes, ms };
}
