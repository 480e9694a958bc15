import { setMaxListeners } from 'node:events';

/** All requests of a large bundle, and all streams, wait under one signal; beyond this it is a leak. */
const waitersMax = 1024;

/** A controller for a signal that many wait under: of one made by itself, Node tells a leak from the eleventh listener on. */
export function createSharedAbort(): AbortController {
  const controller = new AbortController();
  setMaxListeners(waitersMax, controller.signal);
  return controller;
}

/** A signal that aborts by itself or with another one, and that many may wait under, unlike one of `AbortSignal.any`. */
export class LinkedAbort {
  readonly #controller = createSharedAbort();
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
