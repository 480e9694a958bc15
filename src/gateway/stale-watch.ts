/**
 * Finds CSEs that say they serve the gateway though they do not: an MN-CSE that was restored from an old state holds an AE
 * marked as serving, with a subscription that still notifies; a gateway that was unfenced finds the AE where the other one
 * served. Nobody asks such a CSE in the normal course of things, since it was released long ago.
 *
 * Looked at are CSEs that notify without being in use, all candidates after a first registration, and else one candidate each
 * `recordCheckMs`. One whose AE is marked as serving under an epoch below ours is stale: an alarm says so, it becomes an
 * orphan, and the sweep releases it as any other CSE that is left (its commands fetched, each known one no second time, its
 * AE marked as moved). The alarm ends when the AE says so. A mark of our epoch or a later one is the serving guard's affair.
 *
 * What was prepared under an epoch below ours and is no standby was forgotten with the state of an earlier run: it is released
 * without an alarm. Where something may have been forgotten, AEs of the bundle are looked for by their label, too: the
 * gateway's own AE may be gone, or never have been made, beside others. What carries our epoch waits for the next one.
 */
import { millis } from '../base/units.ts';
import type { Epoch, Millis } from '../base/units.ts';
import { epoch as toEpoch } from '../base/units.ts';
import type { BundleContext } from '../handover/context.ts';
import type { CseReference, Serving } from '../handover/handover-state.ts';
import { sleep } from '../host/clock.ts';
import type { Clock } from '../host/clock.ts';
import type { CseClient } from '../onem2m/cse-client.ts';
import { ResourceType } from '../onem2m/enums.ts';

const lookMs = millis(5000);
const suspectsMax = 64;

/** What a watch works with. */
export interface StaleWatchOptions {
  readonly clock: Clock;
  readonly periodMs: Millis;
  readonly context: Pick<BundleContext, 'marked' | 'bundle'>;
  readonly clientFor: (cse: CseReference) => CseClient;
  /** Undefined while a handover is under way. */
  readonly serving: () => Serving | undefined;
  readonly candidates: () => readonly CseReference[];
  /** The CSE at which a standby is kept. */
  readonly standby: () => string | undefined;
  /** Has a CSE released; it is left alone if it holds a mark of a later epoch. */
  readonly onStale: (cse: CseReference, epoch: Epoch) => Promise<void>;
  /** What is wrong with a CSE; undefined when nothing is any more. */
  readonly onAlarm: (cseId: string, text: string | undefined) => void;
}

/** Watches for CSEs that come back with an old state; see the header of this file. */
export class StaleWatch {
  readonly #options: StaleWatchOptions;
  readonly #suspects = new Set<string>();
  readonly #stale = new Set<string>();
  #patrolledMs: number;
  #next = 0;

  constructor(options: StaleWatchOptions) {
    this.#options = options;
    this.#patrolledMs = options.clock.monotonicMs();
  }

  /** A CSE did what only one that serves should. */
  suspect(cseId: string): void {
    if (this.#suspects.size < suspectsMax) this.#suspects.add(cseId);
  }

  /** Every candidate may hold something of an earlier life, or of another gateway. */
  suspectAll(): void {
    for (const { cseId } of this.#options.candidates()) this.suspect(cseId);
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(this.#options.clock, lookMs, signal).catch(() => undefined);
      const serving = this.#options.serving();
      if (signal.aborted || serving === undefined) continue;
      const candidates = this.#options.candidates().filter(({ cseId }) => cseId !== serving.cse.cseId);
      const isSuspect = this.#suspects.size > 0;
      const cse = this.#choose(candidates);
      if (cse !== undefined) await this.#look(cse, serving, isSuspect, signal);
    }
  }

  #choose(candidates: readonly CseReference[]): CseReference | undefined {
    for (const cseId of [...this.#suspects, ...this.#stale]) {
      this.#suspects.delete(cseId);
      const suspected = candidates.find((cse) => cse.cseId === cseId);
      if (suspected !== undefined) {
        // The others have their turn before it comes again.
        if (this.#stale.delete(cseId)) this.#stale.add(cseId);
        return suspected;
      }
      // It serves now, or is no candidate any more.
      if (this.#stale.delete(cseId)) this.#options.onAlarm(cseId, undefined);
    }
    const { clock, periodMs } = this.#options;
    if (clock.monotonicMs() - this.#patrolledMs < periodMs || candidates.length === 0) return undefined;
    this.#patrolledMs = clock.monotonicMs();
    return candidates[this.#next++ % candidates.length];
  }

  /** Whether AEs of the bundle are there, whatever their names. */
  async #isLabelled(cse: CseReference, signal: AbortSignal): Promise<boolean> {
    const { context, clientFor } = this.#options;
    const criteria = { resourceType: [ResourceType.ae], labels: [`baton:dev=${context.bundle.device}`] };
    const found = await clientFor(cse).discover(cse.cseBaseName, criteria, { signal });
    return found.ok && found.value.length > 0;
  }

  async #look(cse: CseReference, serving: Serving, isSuspect: boolean, signal: AbortSignal): Promise<void> {
    const { context, clientFor, onStale, onAlarm } = this.#options;
    const { cseId } = cse;
    const mark = await context.marked(clientFor(cse), cse, { signal });
    if (signal.aborted || (mark !== undefined && 'reason' in mark)) return;
    const { epoch = 0, state } = mark ?? {};
    if (cseId === this.#options.standby()) return;
    const isForgotten =
      state === 'prepared' || (mark === undefined && isSuspect && (await this.#isLabelled(cse, signal)));
    if (isForgotten && epoch < serving.epoch && !signal.aborted) {
      await onStale(cse, toEpoch(serving.epoch - 1));
      return;
    }
    const isStale = (state === 'serving' || state === 'provisional') && epoch < serving.epoch;
    if (!isStale) {
      if (this.#stale.delete(cseId)) onAlarm(cseId, undefined);
      return;
    }
    this.#stale.add(cseId);
    onAlarm(
      cseId,
      `${cseId} says that it serves this gateway under epoch ${epoch}, but ${serving.cse.cseId} does under epoch ${serving.epoch}: ` +
        'it was restored from an old state, or another gateway used it; it is released',
    );
    await onStale(cse, toEpoch(serving.epoch - 1));
  }
}
