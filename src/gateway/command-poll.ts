import { errorText } from '../base/errors.ts';
import type { Epoch } from '../base/units.ts';
import type { Downlink } from '../downlink/downlink.ts';
import type { BundleContext } from '../handover/context.ts';
import type { CseReference, Serving } from '../handover/handover-state.ts';
import { sleep } from '../host/clock.ts';
import type { Host } from '../host/host.ts';
import type { CseClient } from '../onem2m/cse-client.ts';
import type { GatewayConfig } from './config.ts';
import type { Telling } from './telling.ts';

/**
 * Fetches commands from a serving CSE that does not notify, as often as the configuration says, until `signal` aborts;
 * ends at once where it says nothing.
 */
export async function keepPolling(options: {
  readonly host: Pick<Host, 'clock'>;
  readonly config: Pick<GatewayConfig, 'downlink'>;
  readonly telling: Telling;
  readonly downlink: Pick<Downlink, 'catchUp'>;
  readonly context: Pick<BundleContext, 'commandAddress'>;
  /** Undefined while a handover is under way, which fetches for itself. */
  readonly serving: () => Serving | undefined;
  readonly clientFor: (cse: CseReference) => CseClient;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { host, config, telling, downlink, signal } = options;
  const { pollMs } = config.downlink;
  let epoch: Epoch | undefined;
  let seen = new Set<string>();
  while (pollMs !== undefined && !signal.aborted) {
    await sleep(host.clock, pollMs, signal).catch(() => undefined);
    const serving = options.serving();
    if (signal.aborted || serving === undefined) continue;
    if (serving.epoch !== epoch) seen = new Set();
    epoch = serving.epoch;
    const container = options.context.commandAddress(serving.cse);
    try {
      // What cannot be fetched now is fetched next time; that the path is down is the uplink's to tell.
      await downlink.catchUp(options.clientFor(serving.cse), container, { signal }, seen);
    } catch (error) {
      telling.alarms.raise('downlink', `commands cannot be kept: ${errorText(error)}`);
    }
  }
}
