// What a run against programs that are not ours came to: steps that passed or failed, told as they end, and the sum.

/** One step of a run. */
export interface Step {
  readonly part: string;
  readonly title: string;
  readonly passed: boolean;
  /** What was found. */
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
}
