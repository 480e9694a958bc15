import type { CseId, Epoch, StreamName } from '../base/units.ts';
import type { CseClient } from '../onem2m/cse-client.ts';

/** Where readings go: the AE at one CSE, under one epoch. */
export interface Destination {
  readonly cseId: CseId;
  readonly epoch: Epoch;
  readonly client: CseClient;
  /** CSE-relative address of the AE; the containers of a stream lie under it (see `containerName`). */
  readonly aeAddress: string;
}

/** Part of a stream: `backlog` is what an outage held back, where that goes beside what is new. */
export type StreamPart = 'live' | 'backlog';

/** Name of the container of a part: the stream's own, or its history container. No stream has a dot in its name. */
export function containerName(stream: StreamName, part: StreamPart): string {
  return part === 'live' ? stream : `${stream}.history`;
}

/** Address of the container of a part. */
export function containerOf(destination: Destination, stream: StreamName, part: StreamPart): string {
  return `${destination.aeAddress}/${containerName(stream, part)}`;
}
