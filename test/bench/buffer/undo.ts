/** Steps that take back what a run has set up, newest first, each once, also when the process is told to end. */
export class Undo {
  readonly #steps: (() => void)[] = [];

  constructor() {
    process.on('exit', () => this.all());
    for (const [signal, code] of [
      ['SIGINT', 130],
      ['SIGTERM', 143],
      ['SIGHUP', 129],
    ] as const) {
      process.on(signal, () => process.exit(code));
    }
  }

  /** Notes a step; returns the function that takes it now. */
  add(step: () => void): () => void {
    this.#steps.push(step);
    return () => {
      const index = this.#steps.indexOf(step);
      if (index < 0) return;
      this.#steps.splice(index, 1);
      step();
    };
  }

  /** Takes all steps that are left; one that fails is told and does not keep the others back. */
  all(): void {
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        step();
      } catch (error) {
        console.error(`clean-up: ${String(error)}`);
      }
    }
  }
}
