import { millis } from '../base/units.ts';
import type { Candidate } from '../decision/candidate.ts';
import { discoverCandidates, targetLabel } from '../handover/candidate-discovery.ts';
import { sleep } from '../host/clock.ts';
import type { Host } from '../host/host.ts';
import type { CseClient } from '../onem2m/cse-client.ts';
import { reachableBy } from './candidate-reference.ts';
import type { GatewayConfig } from './config.ts';
import type { LinkAccess } from './link-access.ts';
import type { Telling } from './telling.ts';

const retryMs = millis(1000);

/** Looks for the CSEs that may serve, again and again until `signal` aborts; tells what keeps it from finding any. */
export async function keepDiscovering(options: {
  readonly host: Pick<Host, 'clock'>;
  readonly config: Pick<GatewayConfig, 'inCse' | 'decision'>;
  readonly telling: Telling;
  /** Acts as the home AE at the IN-CSE. */
  readonly client: CseClient;
  /** The link by which the candidates would be used. */
  readonly access: Pick<LinkAccess, 'obstacleTo'>;
  readonly onFound: (candidates: readonly Candidate[]) => void;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { host, config, telling, client, access, onFound, signal } = options;
  const { cseBaseName, pointOfAccess } = config.inCse;
  while (!signal.aborted) {
    const found = await discoverCandidates(client, cseBaseName, { signal });
    if (signal.aborted) return;
    if (found.ok) {
      const { candidates, rejected } = found.value;
      if (candidates.length > 0) telling.alarms.clear('discovery');
      else telling.alarms.raise('discovery', nothingPublished(rejected.length));
      const warn = (target: string, reason: string): void =>
        telling.log('warn', `target ${target} cannot be used: ${reason}`);
      for (const { address, reason } of rejected) warn(address, reason);
      onFound(reachableBy(candidates, (poa) => access.obstacleTo(poa), warn));
    } else {
      const hint = found.error.kind === 'rejected' ? '; was "baton provision" run for this device?' : '';
      telling.alarms.raise('discovery', `no candidates from ${pointOfAccess}: ${found.error.message}${hint}`);
    }
    const pauseMs = found.ok ? config.decision.discoveryPeriodMs : retryMs;
    await sleep(host.clock, pauseMs, signal).catch(() => undefined);
  }
}

function nothingPublished(rejected: number): string {
  const unusable = rejected === 0 ? '' : ` but ${rejected} unusable ones`;
  return `the IN-CSE publishes no target (label ${targetLabel})${unusable}; publish some, after "baton provision" if it lost its state`;
}
