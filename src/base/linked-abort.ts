/**
 * A signal that aborts by itself or with another one. `AbortSignal.any` would do, but the signals that Node 20 makes by it
 * warn of a leak from the eleventh listener on, and many requests wait under one signal here.
 */
export class LinkedAbort {
  readonly #controller = new AbortController();
  readonly #parent: AbortSignal;
  readonly #follow = (): void => this.abort();

  constructor(parent: AbortSignal) {
    this.#parent = parent;
    if (parent.aborted) this.#controller.abort();
    else parent.addEventListener('abort', this.#follow, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Aborts what waits under this signal; the other one goes on. */
  abort(): void {
    this.release();
    this.#controller.abort();
  }

  /** Follows the other signal no longer: to be called when the wait is over, for that one may live as long as the process. */
  release(): void {
    this.#parent.removeEventListener('abort', this.#follow);
  }
}
