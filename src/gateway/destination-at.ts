import type { Epoch } from '../base/units.ts';
import type { CseReference } from '../handover/handover-state.ts';
import type { CseClient } from '../onem2m/cse-client.ts';
import type { Destination } from '../uplink/destination.ts';
import { streamAes } from './bundle-of.ts';
import type { GatewayConfig } from './config.ts';
import type { ContextDesk } from './context-desk.ts';

/** Where readings go when they go to a CSE: each stream under its AE, and what arrives is remembered for the next move. */
export function destinationAt(options: {
  readonly cse: CseReference;
  readonly epoch: Epoch;
  readonly client: CseClient;
  /** CSE-relative address of the gateway's own AE. */
  readonly aeAddress: string;
  readonly config: Pick<GatewayConfig, 'device' | 'sensors' | 'bundle'>;
  readonly desk: Pick<ContextDesk, 'noteWritten'>;
}): Destination {
  const { cse, epoch, client, aeAddress, config, desk } = options;
  const aes = streamAes(config);
  const isTakenAlong = new Set(
    config.sensors.flatMap(({ streams }) =>
      streams.filter(({ recent }) => recent !== undefined).map(({ name }) => name),
    ),
  );
  return {
    cseId: cse.cseId,
    epoch,
    client,
    aeAddress,
    streamAes: new Map(
      [...aes].map(([stream, { name, aeId }]) => [stream, { address: `${cse.cseBaseName}/${name}`, aeId }]),
    ),
    onTaken: (stream, instance) => {
      if (!isTakenAlong.has(stream)) return;
      desk.noteWritten(cse.cseId, aes.get(stream)?.name ?? config.device, stream, instance);
    },
  };
}
