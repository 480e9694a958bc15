import { errorText } from '../base/errors.ts';
import { millis } from '../base/units.ts';
import type { Epoch, Millis } from '../base/units.ts';
import type { Downlink } from '../downlink/downlink.ts';
import type { BundleContext } from '../handover/context.ts';
import type { CseReference, Serving } from '../handover/handover-state.ts';
import { sleep } from '../host/clock.ts';
import type { Host } from '../host/host.ts';
import type { CseClient } from '../onem2m/cse-client.ts';
import type { Telling } from './telling.ts';
import type { WayDown } from './way-down.ts';

/** How soon it shows that the serving CSE is another one. */
const lookMs = millis(1_000);

/**
 * Fetches commands from a serving CSE that does not notify, until `signal` aborts; where it does, nothing is fetched.
 */
export async function keepPolling(options: {
  readonly host: Pick<Host, 'clock'>;
  readonly wayDown: Pick<WayDown, 'pollingOf'>;
  readonly telling: Telling;
  readonly downlink: Pick<Downlink, 'catchUp'>;
  readonly context: Pick<BundleContext, 'commandAddress'>;
  /** Undefined while a handover is under way, which fetches for itself. */
  readonly serving: () => Serving | undefined;
  readonly clientFor: (cse: CseReference) => CseClient;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { host, wayDown, telling, downlink, signal } = options;
  const pollMsNow = (): Millis | undefined => {
    const serving = options.serving();
    return serving === undefined ? undefined : wayDown.pollingOf(serving.cse)?.everyMs;
  };
  let epoch: Epoch | undefined;
  let seen = new Set<string>();
  while (!signal.aborted) {
    await sleep(host.clock, pollMsNow() ?? lookMs, signal).catch(() => undefined);
    const serving = options.serving();
    if (signal.aborted || serving === undefined || pollMsNow() === undefined) continue;
    if (serving.epoch !== epoch) seen = new Set();
    epoch = serving.epoch;
    const container = options.context.commandAddress(serving.cse);
    try {
      // What cannot be fetched now is fetched next time; that the path is down is the uplink's to tell.
      await downlink.catchUp(
        options.clientFor(serving.cse),
        { cseId: serving.cse.cseId, container, seen },
        { signal },
      );
    } catch (error) {
      telling.alarms.raise('downlink', `commands cannot be kept: ${errorText(error)}`);
    }
  }
}
