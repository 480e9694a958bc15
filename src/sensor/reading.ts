import type { Millis, StreamName, UnixMillis } from '../base/units.ts';

/** Where a wall-clock time came from, best first. */
export type TimeSource = 'gps' | 'ntp' | 'cse' | 'restored' | 'system';

/** A wall-clock time with what is known of its error; order never comes from it. */
export interface WallStamp {
  readonly unixMs: UnixMillis;
  /** Half width of the interval that holds the true time; undefined when nothing bounds it. */
  readonly errorBoundMs?: Millis;
  readonly source: TimeSource;
}

/** A value that travels unchanged as JSON or CBOR. */
export type Plain = null | boolean | number | string | readonly Plain[] | { readonly [key: string]: Plain };

/** One value that a sensor delivered. */
export interface Reading {
  readonly stream: StreamName;
  readonly value: Plain;
  /** The producer's own counter, when it has one: a repeated count of a stream is the same reading. */
  readonly producerSeq?: number;
  /** Monotonic time of reception. */
  readonly monotonicMs: Millis;
  readonly wall: WallStamp;
}
