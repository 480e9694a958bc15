import { errorText } from '../base/errors.ts';
import { createSharedAbort } from '../base/linked-abort.ts';
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import type { Downlink } from '../downlink/downlink.ts';
import type { BundleContext, ContextOutcome } from '../handover/context.ts';
import type { CseReference, Serving } from '../handover/handover-state.ts';
import { sleep } from '../host/clock.ts';
import type { Clock } from '../host/clock.ts';
import type { CseClient } from '../onem2m/cse-client.ts';
import type { Destination } from '../uplink/destination.ts';
import type { LinkAccess } from './link-access.ts';
import type { Telling } from './telling.ts';

/** Wait after a repair, whatever it came to. */
const repairMs = millis(2000);

/** Looks, a tenth of a second apart, for the end of another repair. */
const renewTriesMax = 50;

/** What a keeper works with. */
export interface BundleKeeperOptions {
  readonly clock: Clock;
  readonly context: BundleContext;
  readonly downlink: Pick<Downlink, 'catchUp'>;
  readonly access: Pick<LinkAccess, 'pointOfAccessFor'>;
  readonly telling: Telling;
  readonly deadlineMs: Millis;
  readonly serving: () => Serving | undefined;
  /** True while a transaction is under way, which sees to all this itself. */
  readonly isBusy: () => boolean;
  readonly clientFor: (cse: CseReference) => CseClient;
}

/** Keeps the bundle at the serving CSE whole and the CSE informed of where the gateway is, between two handovers. */
export class BundleKeeper {
  readonly #options: BundleKeeperOptions;
  #abort: AbortController | undefined;
  /** Commands may wait at the serving CSE, or our address there may be an old one: the process, or the path, was down. */
  #isToRefresh = true;

  constructor(options: BundleKeeperOptions) {
    this.#options = options;
  }

  /** Has the next `refresh` done something. */
  refreshLater(): void {
    this.#isToRefresh = true;
  }

  /** A handover has just done what `refresh` would do. */
  noteFresh(): void {
    this.#isToRefresh = false;
  }

  /** Gives up what is being repaired, for another CSE serves now or none. */
  stop(): void {
    this.#abort?.abort();
  }

  /** After an outage: tells the serving CSE where we are and fetches the commands that it could not deliver. */
  async refresh(): Promise<void> {
    const { context, downlink, telling, clientFor } = this.#options;
    const serving = this.#options.serving();
    const isFree = this.#abort === undefined && !this.#options.isBusy();
    if (!this.#isToRefresh || serving === undefined || !isFree) return;
    const { signal } = (this.#abort = createSharedAbort());
    const client = clientFor(serving.cse);
    try {
      if (!(await this.#ensure(client, serving, signal))) return;
      const { cse } = serving;
      const source = { cseId: cse.cseId, container: context.commandAddress(cse) };
      const caught = await downlink.catchUp(client, source, { signal });
      if (caught.ok) this.#isToRefresh = false;
    } catch (error) {
      telling.alarms.raise('downlink', `commands cannot be kept: ${errorText(error)}`);
    } finally {
      this.#abort = undefined;
    }
  }

  /** Makes the registration at the serving CSE what it should be, now; resolves to why that failed. */
  async renew(): Promise<string | undefined> {
    const { clock, clientFor, serving } = this.#options;
    for (let tries = 0; this.#abort !== undefined && tries < renewTriesMax; tries++) {
      await sleep(clock, millis(100));
    }
    const held = serving();
    if (held === undefined || this.#abort !== undefined || this.#options.isBusy()) return 'not possible now';
    const { signal } = (this.#abort = createSharedAbort());
    try {
      const isWhole = await this.#ensure(clientFor(held.cse), held, signal);
      return isWhole ? undefined : `${held.cse.cseId} does not take the registration`;
    } finally {
      this.#abort = undefined;
    }
  }

  /** The serving CSE has lost the bundle, wholly or in part: what is missing is made again. */
  async repair(destination: Destination, reason: string): Promise<void> {
    const { clock, telling } = this.#options;
    const serving = this.#options.serving();
    if (this.#abort !== undefined || serving?.cse.cseId !== destination.cseId) return;
    const abort = createSharedAbort();
    this.#abort = abort;
    telling.log('warn', `${destination.cseId} has lost our context (${reason}); it is made again`);
    await this.#ensure(destination.client, serving, abort.signal);
    await sleep(clock, repairMs, abort.signal).catch(() => undefined);
    this.#abort = undefined;
  }

  async #ensure(client: CseClient, serving: Serving, signal: AbortSignal): Promise<boolean> {
    const { context, access, telling, deadlineMs } = this.#options;
    const { cse, epoch } = serving;
    const wanted = { epoch, state: 'serving' as const, pointOfAccess: access.pointOfAccessFor(cse) };
    const outcome = await context
      .repair(client, cse, wanted, { deadlineMs, signal })
      .catch((error: unknown): ContextOutcome => ({ kind: 'failed', reason: errorText(error) }));
    if (outcome.kind === 'succeeded') telling.alarms.clear('context');
    else if (!signal.aborted) {
      telling.alarms.raise('context', `context at ${cse.cseId}: ${outcome.reason}`);
    }
    return outcome.kind === 'succeeded';
  }
}
