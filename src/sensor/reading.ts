import type { Millis, StreamName } from '../base/units.ts';
import type { WallStamp } from '../base/wall-stamp.ts';

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
