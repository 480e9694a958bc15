import { bytes, millis, streamName } from '../../src/base/units.ts';
import type { StreamName } from '../../src/base/units.ts';
import type { LogLimits, StreamOptions } from '../../src/buffer/log-options.ts';

/** What a workload does next. */
export type LogAction = 'single' | 'group' | 'deliver' | 'sync' | 'giveUp' | 'pause';

/** How a log is used while it is recorded. */
export interface LogWorkload {
  readonly streams: readonly StreamOptions[];
  readonly limits: LogLimits;
  /** Actions of each session. */
  readonly actions: number;
  readonly weights: Readonly<Record<LogAction, number>>;
  /** Most records appended at once by `group`. */
  readonly groupMax: number;
  /** Longest payload, in octets. */
  readonly payloadMax: number;
  /** Records evicted over all sessions that make it the workload that it is meant to be. */
  readonly evictedMin: number;
}

const alarm = streamName('alarm');
const meter = streamName('meter');
const room = streamName('room');
const bulk = streamName('bulk');

const twoPriorities: readonly StreamOptions[] = [
  { name: alarm, durability: 'A', priority: 5 },
  { name: meter, durability: 'B', priority: 1, lingerMs: millis(4) },
  { name: room, durability: 'A', priority: 1 },
];

const threePriorities: readonly StreamOptions[] = [
  { name: alarm, durability: 'A', priority: 9 },
  { name: meter, durability: 'B', priority: 5, lingerMs: millis(4) },
  { name: room, durability: 'A', priority: 5, whenFull: 'refuse' },
  { name: bulk, durability: 'B', priority: 1, lingerMs: millis(8) },
];

function limits(slotBytes: number, slots: number): LogLimits {
  return {
    quotaBytes: bytes(slots * slotBytes),
    segmentBytesMax: bytes(slotBytes),
    cursorLingerMs: millis(30),
  };
}

const weights = { single: 40, group: 10, deliver: 30, sync: 6, giveUp: 0, pause: 4 };
const steady: LogWorkload = {
  streams: twoPriorities,
  limits: limits(8192, 16),
  actions: 420,
  weights,
  groupMax: 6,
  payloadMax: 300,
  evictedMin: 0,
};

/** The uses of a log that are recorded, each for what it reaches. */
export const logWorkloads: Readonly<Record<string, LogWorkload>> = {
  /** Everything is delivered in time: slots roll over and are used again, many times. */
  steady,
  /** Commits of many records and several pages. */
  bursts: {
    ...steady,
    streams: threePriorities,
    limits: limits(16_384, 14),
    actions: 170,
    weights: { single: 6, group: 34, deliver: 50, sync: 6, giveUp: 0, pause: 4 },
    groupMax: 64,
  },
  /** Little is delivered and the pool is short: commits are packed, slots evicted, producers refused. */
  short: {
    ...steady,
    streams: threePriorities,
    limits: limits(4096, 9),
    actions: 600,
    weights: { single: 46, group: 20, deliver: 5, sync: 3, giveUp: 1, pause: 3 },
    groupMax: 8,
    evictedMin: 100,
  },
  /** Short runs, closed or killed. */
  reopens: { ...steady, streams: threePriorities, limits: limits(8192, 12), actions: 40 },
};

/** The workload of a name; throws for one that does not exist. */
export function logWorkload(name: string): LogWorkload {
  const workload = logWorkloads[name];
  if (workload === undefined) throw new Error(`no workload ${name}`);
  return workload;
}

/** Names of the streams of a workload. */
export function streamsOf({ streams }: LogWorkload): StreamName[] {
  return streams.map(({ name }) => name);
}
