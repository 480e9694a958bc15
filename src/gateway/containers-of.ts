import type { StreamName } from '../base/units.ts';
import type { ReadingLog } from '../buffer/reading-log.ts';
import { containerName } from '../uplink/destination.ts';
import type { StreamDelivery } from '../uplink/lane-options.ts';

/** Names of the containers that each stream needs, its own first: a backlog that a former configuration has begun goes on where it was. */
export function containersOf(options: {
  readonly streams: ReadonlyMap<StreamName, StreamDelivery>;
  readonly log: Pick<ReadingLog, 'backlogThrough'>;
}): ReadonlyMap<StreamName, readonly string[]> {
  const containers = [...options.streams].map(([stream, { order }]) => {
    const hasHistory = order === 'liveFirst' || options.log.backlogThrough(stream) > 0;
    const names = [containerName(stream, 'live'), ...(hasHistory ? [containerName(stream, 'backlog')] : [])];
    return [stream, names] as const;
  });
  return new Map(containers);
}
