import type { Millis, UnixMillis } from './units.ts';

/** Where a wall-clock time came from, best first. */
export type TimeSource = 'gps' | 'ntp' | 'cse' | 'restored' | 'system';

/** A wall-clock time with what is known of its error; order never comes from it. */
export interface WallStamp {
  readonly unixMs: UnixMillis;
  /** Half width of the interval that holds the true time; undefined when nothing bounds it. */
  readonly errorBoundMs?: Millis;
  readonly source: TimeSource;
}
