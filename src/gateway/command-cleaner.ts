import { millis } from '../base/units.ts';
import { every } from '../host/clock.ts';
import type { Clock } from '../host/clock.ts';
import { isRejectedWith } from '../onem2m/cse-client.ts';
import type { CseClient } from '../onem2m/cse-client.ts';
import { ResponseStatusCode } from '../onem2m/enums.ts';

interface Taken {
  readonly cseId: string;
  readonly resourceId: string;
}

const waitingMax = 256;
const atOnceMax = 8;
const everyMs = millis(500);
/** Refusals in a row after which a CSE is taken at its word. */
const refusalsMax = 4;

/**
 * Deletes at its CSE what a notification brought and what is safe here, so that a later look into the container finds only
 * what is new. What is not deleted, because there is too much of it or the CSE is out of reach, that look reads once more.
 */
export class CommandCleaner {
  readonly #clock: Clock;
  readonly #clientsOf: (cseId: string) => readonly CseClient[];
  readonly #waiting: Taken[] = [];
  readonly #refusals = new Map<string, number>();
  #isBusy = false;

  constructor(options: {
    clock: Clock;
    /** Who may own what lies at a CSE; none where it is no affair of ours any more. */
    clientsOf: (cseId: string) => readonly CseClient[];
  }) {
    this.#clock = options.clock;
    this.#clientsOf = options.clientsOf;
  }

  add(taken: Taken): void {
    if (this.#waiting.length < waitingMax) this.#waiting.push(taken);
  }

  run(signal: AbortSignal): Promise<void> {
    const cancel = every(this.#clock, everyMs, () => void this.#clean(signal));
    return new Promise((resolve) => {
      const end = (): void => {
        cancel();
        resolve();
      };
      if (signal.aborted) end();
      else signal.addEventListener('abort', end, { once: true });
    });
  }

  async #clean(signal: AbortSignal): Promise<void> {
    if (this.#isBusy || this.#waiting.length === 0) return;
    this.#isBusy = true;
    await Promise.all(this.#waiting.splice(0, atOnceMax).map((taken) => this.#delete(taken, signal)));
    this.#isBusy = false;
  }

  async #delete({ cseId, resourceId }: Taken, signal: AbortSignal): Promise<void> {
    const refusals = this.#refusals.get(cseId) ?? 0;
    if (refusals >= refusalsMax) return;
    for (const client of this.#clientsOf(cseId)) {
      const deleted = await client.delete(resourceId, { signal });
      if (deleted.ok || isRejectedWith(deleted.error, ResponseStatusCode.notFound)) {
        this.#refusals.delete(cseId);
        return;
      }
      if (deleted.error.kind !== 'rejected') return;
    }
    if (this.#refusals.size < 64 || this.#refusals.has(cseId)) this.#refusals.set(cseId, refusals + 1);
  }
}
