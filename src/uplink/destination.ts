import type { CseId, Epoch, StreamName } from '../base/units.ts';
import type { CseClient } from '../onem2m/cse-client.ts';

/** Where readings go: the AE at one CSE, under one epoch. */
export interface Destination {
  readonly cseId: CseId;
  readonly epoch: Epoch;
  readonly client: CseClient;
  /** CSE-relative address of the AE; a stream's container lies under it by the stream's name. */
  readonly aeAddress: string;
}

/** Address of a stream's container. */
export function containerOf(destination: Destination, stream: StreamName): string {
  return `${destination.aeAddress}/${stream}`;
}
