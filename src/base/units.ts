/**
 * Branded numbers: a value with its unit in its type, so that a dBm never meets a millisecond by accident.
 * A value is branded once, at the edge where it enters the process; inside, only branded values travel.
 */
declare const unit: unique symbol;

/** A primitive that carries the name of its unit (or of what it identifies) in its type only. */
export type Branded<T, Name extends string> = T & { readonly [unit]: Name };

/** Absolute power level in dBm. */
export type Dbm = Branded<number, 'Dbm'>;
/** Relative level in dB. */
export type Db = Branded<number, 'Db'>;
/** A duration, or a reading of the monotonic clock, in milliseconds. */
export type Millis = Branded<number, 'Millis'>;
/** Wall-clock time in milliseconds since 1970-01-01T00:00:00Z. */
export type UnixMillis = Branded<number, 'UnixMillis'>;
/** A count of octets. */
export type Bytes = Branded<number, 'Bytes'>;
/** Sequence number of a reading within its stream; the first is 1. */
export type Seq = Branded<number, 'Seq'>;
/** Number of the serving record (handover count of a gateway); the first is 1, 0 means "never claimed". */
export type Epoch = Branded<number, 'Epoch'>;
/** SP-relative CSE-ID with its leading slash, for example `/id-mn1` (oneM2M TS-0001 7.2). */
export type CseId = Branded<string, 'CseId'>;
/** AE-ID stem, for example `Sgw1` (oneM2M TS-0001 7.2). */
export type AeId = Branded<string, 'AeId'>;
/** Name of a stream of readings, unique within the gateway. */
export type StreamName = Branded<string, 'StreamName'>;

export const dbm = (value: number): Dbm => value as Dbm;
export const db = (value: number): Db => value as Db;
export const millis = (value: number): Millis => value as Millis;
export const unixMillis = (value: number): UnixMillis => value as UnixMillis;
export const bytes = (value: number): Bytes => value as Bytes;
export const seq = (value: number): Seq => value as Seq;
export const epoch = (value: number): Epoch => value as Epoch;
export const cseId = (value: string): CseId => value as CseId;
export const aeId = (value: string): AeId => value as AeId;
export const streamName = (value: string): StreamName => value as StreamName;
