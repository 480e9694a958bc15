// What a run against ACME came to: steps that passed or failed, told as they end, and the sum.
import type { CheckResult } from './contract-run.ts';
import { allowedIn } from './differences-table.ts';
import type { Wire } from './differences-table.ts';

/** One step of a run. */
export interface Step {
  readonly part: string;
  readonly title: string;
  readonly passed: boolean;
  /** What was found; for a contract check the differences that showed. */
  readonly notes: readonly string[];
  readonly ms: number;
}

/** Collects the steps of a run. */
export class Report {
  readonly steps: Step[] = [];
  readonly #tell: (text: string) => void;

  constructor(tell: (text: string) => void) {
    this.#tell = tell;
  }

  get passed(): number {
    return this.steps.filter((step) => step.passed).length;
  }

  get failed(): number {
    return this.steps.length - this.passed;
  }

  add(step: Step): void {
    this.steps.push(step);
    const { part, title, passed, notes, ms } = step;
    this.#tell(`${passed ? 'ok  ' : 'FAIL'} ${part}: ${title} (${ms} ms)`);
    for (const note of notes) this.#tell(`       ${note}`);
  }

  addCheck(wire: Wire, { title, asserted, failures, ms }: CheckResult): void {
    const allowed = allowedIn(title, wire);
    const unseen = new Set(allowed);
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
    this.add({ part: `contract over ${wire}`, title, passed: wrong.length === 0, notes, ms });
  }
}
