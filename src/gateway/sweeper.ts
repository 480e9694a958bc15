import { LinkedAbort } from '../base/linked-abort.ts';
import { millis } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import { sleep } from '../host/clock.ts';
import type { OwedWork } from './owed-work.ts';

const sweepMs = millis(15_000);

/** What a sweeper works with. */
export interface SweeperOptions {
  readonly clock: Clock;
  readonly owed: Pick<OwedWork, 'sweep' | 'retrySave'>;
  /** CSEs at which nothing is to be released now; undefined while nothing is to be done at all. */
  readonly inUse: () => readonly string[] | undefined;
  /** Done before each wait. */
  readonly refresh: () => Promise<void>;
  /** Done after each wait. */
  readonly retry: () => void;
}

/** Does now and then what is owed at CSEs that were left, and what waits for such a moment; gives way to a handover. */
export class Sweeper {
  readonly #options: SweeperOptions;
  #sweeping: { readonly abort: LinkedAbort; readonly done: Promise<void> } | undefined;

  constructor(options: SweeperOptions) {
    this.#options = options;
  }

  /** Sweeps until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, owed, inUse, refresh, retry } = this.#options;
    while (!signal.aborted) {
      await refresh();
      await sleep(clock, sweepMs, signal).catch(() => undefined);
      retry();
      await owed.retrySave();
      const used = inUse();
      if (signal.aborted || used === undefined) continue;
      const abort = new LinkedAbort(signal);
      const done = owed.sweep(used, abort.signal);
      this.#sweeping = { abort, done };
      await done;
      abort.release();
      this.#sweeping = undefined;
    }
  }

  /** Ends what is under way: what is being released could be what is about to be prepared. */
  async giveWay(): Promise<void> {
    this.#sweeping?.abort.abort();
    await this.#sweeping?.done;
  }
}
