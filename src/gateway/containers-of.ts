import type { StreamName } from '../base/units.ts';
import type { ReadingLog } from '../buffer/reading-log.ts';
import { containerName } from '../uplink/destination.ts';
import type { StreamDelivery } from '../uplink/lane-options.ts';

/** Names of the containers that the streams need: a backlog that a former configuration has begun goes on where it was. */
export function containersOf(options: {
  readonly streams: ReadonlyMap<StreamName, StreamDelivery>;
  readonly log: Pick<ReadingLog, 'backlogThrough'>;
}): string[] {
  return [...options.streams].flatMap(([stream, { order }]) => {
    const hasHistory = order === 'liveFirst' || options.log.backlogThrough(stream) > 0;
    return [containerName(stream, 'live'), ...(hasHistory ? [containerName(stream, 'backlog')] : [])];
  });
}
