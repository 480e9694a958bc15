import { DecodeError } from '../base/errors.ts';
import { millis, seq, streamName, unixMillis } from '../base/units.ts';
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

/**
 * Content of a record frame. Little endian: u32 log id, u32 run id, u8 flags (1 producerSeq, 2 error bound), u8 time
 * source, u8 length of the stream name, u8 zero, f64 seq, f64 monotonic ms, f64 unix ms, then f64 producerSeq and f64
 * error bound ms where flagged, the stream name in UTF-8, the payload.
 */
export function encodeRecord(record: StoredRecord): Uint8Array {
  const name = textEncoder.encode(record.stream);
  const { producerSeq, wall, payload } = record;
  const optional = (producerSeq === undefined ? 0 : 8) + (wall.errorBoundMs === undefined ? 0 : 8);
  const content = new Uint8Array(fixedBytes + optional + name.length + payload.length);
  const view = new DataView(content.buffer);
  view.setUint32(0, Number.parseInt(record.logId, 16), true);
  view.setUint32(4, Number.parseInt(record.runId, 16), true);
  content[8] = (producerSeq === undefined ? 0 : 1) | (wall.errorBoundMs === undefined ? 0 : 2);
  content[9] = timeSources.indexOf(wall.source);
  content[10] = name.length;
  view.setFloat64(12, record.seq, true);
  view.setFloat64(20, record.monotonicMs, true);
  view.setFloat64(28, wall.unixMs, true);
  let at = fixedBytes;
  for (const value of [producerSeq, wall.errorBoundMs]) {
    if (value === undefined) continue;
    view.setFloat64(at, value, true);
    at += 8;
  }
  content.set(name, at);
  content.set(payload, at + name.length);
  return content;
}

/** Octets of content that a record will take in a frame. */
export function recordBytes(record: NewRecord): number {
  const optional =
    (record.producerSeq === undefined ? 0 : 8) + (record.wall.errorBoundMs === undefined ? 0 : 8);
  return fixedBytes + optional + Buffer.byteLength(record.stream) + record.payload.length;
}

/** The record of a frame's content; throws `DecodeError` when a later version of Baton wrote it otherwise. */
export function decodeRecord(content: Uint8Array): StoredRecord {
  const view = new DataView(content.buffer, content.byteOffset, content.length);
  const flags = content[8] ?? 0;
  const nameBytes = content[10] ?? 0;
  const head = fixedBytes + (flags & 1 ? 8 : 0) + (flags & 2 ? 8 : 0);
  const source = timeSources[content[9] ?? -1];
  if (content.length < head + nameBytes || flags > 3 || source === undefined || nameBytes === 0) {
    throw new DecodeError(
      `record frame of ${content.length} bytes with flags ${flags} is not of this version`,
    );
  }
  const number = view.getFloat64(12, true);
  if (!Number.isSafeInteger(number) || number < 1) throw new DecodeError(`record number ${number}`);
  const errorBoundMs = flags & 2 ? view.getFloat64(fixedBytes + (flags & 1 ? 8 : 0), true) : undefined;
  return {
    stream: streamName(textDecoder.decode(content.subarray(head, head + nameBytes))),
    seq: seq(number),
    logId: hex32(view.getUint32(0, true)),
    runId: hex32(view.getUint32(4, true)),
    monotonicMs: millis(view.getFloat64(20, true)),
    wall: {
      unixMs: unixMillis(view.getFloat64(28, true)),
      source,
      ...(errorBoundMs === undefined ? {} : { errorBoundMs: millis(errorBoundMs) }),
    },
    ...(flags & 1 ? { producerSeq: view.getFloat64(fixedBytes, true) } : {}),
    payload: content.subarray(head + nameBytes),
  };
}

/** 32 bits as 8 hexadecimal digits. */
export function hex32(value: number): string {
  return value.toString(16).padStart(8, '0');
}

const fixedBytes = 36;
/** The position in this list is the number on disk. */
const timeSources: readonly TimeSource[] = ['gps', 'ntp', 'cse', 'restored', 'system'];
const textEncoder = new TextEncoder();
const textDecoder = new TextDecoder();
