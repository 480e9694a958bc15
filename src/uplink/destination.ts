import type { CseId, Epoch, StreamName } from '../base/units.ts';
import type { CseClient } from '../onem2m/cse-client.ts';
import type { ContentInstance } from '../onem2m/resources.ts';

/** Where readings go: the AE at one CSE, under one epoch. */
export interface Destination {
  readonly cseId: CseId;
  readonly epoch: Epoch;
  readonly client: CseClient;
  /** CSE-relative address of the gateway's own AE; the containers of a stream lie under it (see `containerName`). */
  readonly aeAddress: string;
  /** Streams whose containers lie under another AE, which is also the originator of what is sent there. */
  readonly streamAes?: ReadonlyMap<StreamName, StreamAe>;
  /** Told of each instance of a stream that the CSE has taken. */
  readonly onTaken?: (stream: StreamName, instance: ContentInstance) => void;
}

/** An AE that holds the containers of a stream. */
export interface StreamAe {
  /** CSE-relative. */
  readonly address: string;
  /** AE-ID stem. */
  readonly aeId: string;
}

/** Part of a stream: `backlog` is what an outage held back, where that goes beside what is new. */
export type StreamPart = 'live' | 'backlog';

/** Name of the container of a part: the stream's own, or its history container. No stream has a dot in its name. */
export function containerName(stream: StreamName, part: StreamPart): string {
  return part === 'live' ? stream : `${stream}.history`;
}

/** Name of the container for copies of a stream's readings that another CSE holds. */
export function recentContainerName(stream: StreamName): string {
  return `${stream}.recent`;
}

/** Address of the AE that holds the containers of a stream. */
export function aeOf(destination: Destination, stream: StreamName): string {
  return destination.streamAes?.get(stream)?.address ?? destination.aeAddress;
}

/** Address of the container of a part. */
export function containerOf(destination: Destination, stream: StreamName, part: StreamPart): string {
  return `${aeOf(destination, stream)}/${containerName(stream, part)}`;
}

/** The originator of requests for a stream, where it is not that of the client. */
export function originatorOf(destination: Destination, stream: StreamName): { readonly from?: string } {
  const ae = destination.streamAes?.get(stream);
  return ae === undefined ? {} : { from: ae.aeId };
}
