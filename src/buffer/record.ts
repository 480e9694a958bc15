import { DecodeError } from '../base/errors.ts';
import { millis, seq, unixMillis } from '../base/units.ts';
import type { Millis, Seq, StreamName } from '../base/units.ts';
import type { TimeSource, WallStamp } from '../base/wall-stamp.ts';

/** A reading as handed to the log. */
export interface NewRecord {
  readonly stream: StreamName;
  /** Opaque octets, at most `payloadBytesMax`. */
  readonly payload: Uint8Array;
  /** Monotonic time of the reading in this run. */
  readonly monotonicMs: Millis;
  readonly wall: WallStamp;
  /** The producer's own counter, growing within the stream: what is not above the newest stored one is a repeat. */
  readonly producerSeq?: number;
}

/** A reading that survives a power cut. */
export interface StoredRecord extends NewRecord {
  /** Number within the stream, from 1 without reuse; the order of delivery. */
  readonly seq: Seq;
  /** 8 hexadecimal digits that no other log has: with `seq` the name of the record for ever (`recordName`). */
  readonly logId: string;
  /** 8 hexadecimal digits of the run that stored it: monotonic times compare within one run only. */
  readonly runId: string;
  /** 32 hexadecimal digits of the boot of the machine in which it was stored; undefined when that is not known. */
  readonly bootId?: string | undefined;
}

/** Longest payload of a record, in octets. */
export const payloadBytesMax: number = 64 * 1024;
/** Longest stream name, in octets of UTF-8. */
export const streamNameBytesMax = 64;

/**
 * The resource name of a record, the same on every attempt and on every CSE, so that a repeated CREATE answers 4105.
 * It never names two records, even after the card was replaced.
 */
export function recordName(logId: string, seq: Seq): string {
  return `${logId}-${seq}`;
}

/** What the numbers in a record frame stand for. */
export interface RecordContext {
  streamOf(id: number): StreamName | undefined;
  /** The run whose number ends with these 16 bits. */
  runOf(lowBits: number): Pick<StoredRecord, 'runId' | 'logId' | 'bootId'> | undefined;
  /** What a record keeps of its payload, which lies in memory that will be used again. */
  keep(payload: Uint8Array): Uint8Array;
}

/** Most streams that a log tells apart by number. */
export const streamIdMax = 1023;

/** `record` as the disk keeps it: monotonic time in units of 0.1 ms, wall time in whole ms, its bound rounded up. */
export function quantise(record: NewRecord): NewRecord {
  const { wall, monotonicMs } = record;
  const bound = wall.errorBoundMs;
  return {
    ...record,
    monotonicMs: millis(Math.round(monotonicMs * 10) / 10),
    wall: {
      ...wall,
      unixMs: unixMillis(Math.round(wall.unixMs)),
      ...(bound === undefined ? {} : { errorBoundMs: millis(Math.ceil(bound)) }),
    },
  };
}

/**
 * Content of a record frame, for the 32 octets of overhead that a reading may cost. Little endian: u16 low bits of the
 * run, u16 number of the stream (upper 10 bits) and flags (bits 0 to 2 time source, 3 error bound, 4 producer's count, 5
 * wide), u40 seq; then u40 monotonic time in 0.1 ms, u48 unix ms and, where flagged, u16 error bound in ms and u32
 * count of the producer, or all of these as f64 when one of them does not fit (wide); the payload.
 */
export function encodeRecord(record: StoredRecord, streamId: number): Uint8Array {
  const { producerSeq, wall, payload } = record;
  const isWide = needsWide(record);
  const content = new Uint8Array(recordBytes(record));
  const view = new DataView(content.buffer);
  let flags = timeSources.indexOf(wall.source);
  if (wall.errorBoundMs !== undefined) flags |= flagBound;
  if (producerSeq !== undefined) flags |= flagProducer;
  if (isWide) flags |= flagWide;
  view.setUint16(0, Number.parseInt(record.runId, 16) & 0xffff, true);
  view.setUint16(2, (streamId << 6) | flags, true);
  setUint(view, 4, 5, record.seq);
  const fields: readonly (readonly [number | undefined, number])[] = [
    [isWide ? record.monotonicMs : Math.round(record.monotonicMs * 10), 5],
    [wall.unixMs, 6],
    [wall.errorBoundMs, 2],
    [producerSeq, 4],
  ];
  let at = headBytes;
  for (const [value, width] of fields) {
    if (value === undefined) continue;
    if (isWide) view.setFloat64(at, value, true);
    else setUint(view, at, width, value);
    at += isWide ? 8 : width;
  }
  content.set(payload, at);
  return content;
}

/** Octets of content that a record will take in a frame. */
export function recordBytes(record: NewRecord): number {
  const { producerSeq, wall, payload } = record;
  const isWide = needsWide(record);
  const bound = wall.errorBoundMs === undefined ? 0 : isWide ? 8 : 2;
  const producer = producerSeq === undefined ? 0 : isWide ? 8 : 4;
  return headBytes + (isWide ? 16 : 11) + bound + producer + payload.length;
}

/** The record of a frame's content; throws `DecodeError` for one that this version or this log does not know. */
export function decodeRecord(content: Uint8Array, context: RecordContext): StoredRecord {
  const view = new DataView(content.buffer, content.byteOffset, content.length);
  const flags = content.length >= headBytes ? view.getUint16(2, true) : 0;
  const isWide = (flags & flagWide) !== 0;
  const hasBound = (flags & flagBound) !== 0;
  const hasProducer = (flags & flagProducer) !== 0;
  const head =
    headBytes + (isWide ? 16 : 11) + (hasBound ? (isWide ? 8 : 2) : 0) + (hasProducer ? (isWide ? 8 : 4) : 0);
  const source = timeSources[flags & 7];
  if (content.length < head || source === undefined) {
    throw new DecodeError(
      `record frame of ${content.length} bytes with flags ${flags & 63} is not of this version`,
    );
  }
  const stream = context.streamOf(flags >> 6);
  const run = context.runOf(view.getUint16(0, true));
  const number = getUint(view, 4, 5);
  if (stream === undefined || run === undefined || number < 1) {
    throw new DecodeError(`record ${number} of stream number ${flags >> 6} belongs to nothing known`);
  }
  let at = headBytes;
  const next = (width: number): number => {
    const value = isWide ? view.getFloat64(at, true) : getUint(view, at, width);
    at += isWide ? 8 : width;
    return value;
  };
  const monotonic = next(5);
  const unixMs = next(6);
  const errorBoundMs = hasBound ? next(2) : undefined;
  const producerSeq = hasProducer ? next(4) : undefined;
  const record: StoredRecord = {
    stream,
    seq: seq(number),
    logId: run.logId,
    runId: run.runId,
    bootId: run.bootId,
    monotonicMs: millis(isWide ? monotonic : monotonic / 10),
    wall: wallStamp(unixMs, source, errorBoundMs),
    payload: context.keep(content.subarray(at)),
  };
  return producerSeq === undefined ? record : { ...record, producerSeq };
}

/** A wall-clock time from what a frame tells of it. */
export function wallStamp(unixMs: number, source: TimeSource, errorBoundMs: number | undefined): WallStamp {
  if (errorBoundMs === undefined) return { unixMs: unixMillis(unixMs), source };
  return { unixMs: unixMillis(unixMs), errorBoundMs: millis(errorBoundMs), source };
}

/** The low bits of the run in a record frame's content. */
export function runBitsOf(content: Uint8Array): number {
  return (content[0] ?? 0) | ((content[1] ?? 0) << 8);
}

/** 32 bits as 8 hexadecimal digits. */
export function hex32(value: number): string {
  return value.toString(16).padStart(8, '0');
}

const headBytes = 9;
const flagBound = 8;
const flagProducer = 16;
const flagWide = 32;
/** The position in this list is the number on disk. */
export const timeSources: readonly TimeSource[] = ['gps', 'ntp', 'cse', 'restored', 'system'];

/** Whether a time, bound or count of a record does not fit the usual width. */
export function needsWide({ monotonicMs, wall, producerSeq }: NewRecord): boolean {
  const tenths = Math.round(monotonicMs * 10);
  return !(
    isWithin(tenths, 2 ** 40) &&
    isWithin(wall.unixMs, 2 ** 48) &&
    isWithin(wall.errorBoundMs ?? 0, 2 ** 16) &&
    isWithin(producerSeq ?? 0, 2 ** 32)
  );
}

function isWithin(value: number, bound: number): boolean {
  return Number.isInteger(value) && value >= 0 && value < bound && !Object.is(value, -0);
}

function setUint(view: DataView, at: number, width: number, value: number): void {
  for (let index = 0, rest = value; index < width; index++, rest = Math.floor(rest / 256)) {
    view.setUint8(at + index, rest % 256);
  }
}

function getUint(view: DataView, at: number, width: number): number {
  let value = 0;
  for (let index = width - 1; index >= 0; index--) value = value * 256 + view.getUint8(at + index);
  return value;
}
