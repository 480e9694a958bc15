import { DecodeError } from '../base/errors.ts';
import { millis, seq } from '../base/units.ts';
import type { StreamName } from '../base/units.ts';
import { needsWide, timeSources, wallStamp } from './record.ts';
import type { RecordContext, StoredRecord } from './record.ts';

/**
 * Content of a group frame: records of one commit that share a frame, a few octets each in place of a frame each. Little
 * endian: u16 low bits of the run; per record u8 flags (bits 0 to 2 time source, 3 error bound, 4 producer's count, 5 the
 * next number of the same stream as the record before), unless flagged so u16 number of the stream and u40 seq; then
 * as differences to the record before, in zigzag varints, monotonic time in 0.1 ms and unix ms; where flagged u16 error
 * bound in ms and the difference of the producer's count; the length of the payload as varint and the payload.
 *
 * A damaged frame costs its records: a group stays within what a flash page or a torn commit costs anyway.
 */
export function encodeGroup(
  records: readonly StoredRecord[],
  idOf: (name: StreamName) => number,
): Uint8Array {
  const lengthMax = records.reduce((sum, { payload }) => sum + entryBytesMax + payload.length, runBytes);
  const writer = new Writer(lengthMax);
  writer.uint(Number.parseInt(records[0]?.runId ?? '0', 16) & 0xffff, runBytes);
  let before = start;
  for (const record of records) before = encodeEntry(writer, record, before, idOf);
  return writer.content();
}

/** Most records in a group, and most octets of their payloads together. */
export const groupRecordsMax = 8;
const groupPayloadBytesMax = 2048;

/** Cuts the records of a commit, in order, into those that share a frame; a record that gains nothing stays alone. */
export function groupsOf(records: readonly StoredRecord[]): StoredRecord[][] {
  const groups: StoredRecord[][] = [];
  let group: StoredRecord[] = [];
  let payloadBytes = 0;
  for (const record of records) {
    const { length } = record.payload;
    const isFull = group.length >= groupRecordsMax || payloadBytes + length > groupPayloadBytesMax;
    if (group.length === 0 || isFull || !isClose(group.at(-1), record)) {
      group = [];
      groups.push(group);
      payloadBytes = 0;
    }
    group.push(record);
    payloadBytes += length;
  }
  return groups;
}

/** The records of a group; throws `DecodeError` for content that this version or this log does not know. */
export function decodeGroup(content: Uint8Array, context: RecordContext): StoredRecord[] {
  const reader = new Reader(content);
  const run = context.runOf(reader.uint(runBytes));
  if (run === undefined) throw new DecodeError('a group of records belongs to no known run');
  const records: StoredRecord[] = [];
  let { streamId, seq: number, tenths, unixMs, producerSeq } = start;
  while (!reader.isAtEnd) {
    const flags = reader.uint(1);
    const source = timeSources[flags & 7];
    if ((flags & flagNext) === 0) {
      streamId = reader.uint(2);
      number = reader.uint(5);
    } else number += 1;
    tenths += reader.zigzag();
    unixMs += reader.zigzag();
    const bound = (flags & flagBound) === 0 ? undefined : reader.uint(2);
    const hasProducer = (flags & flagProducer) !== 0;
    if (hasProducer) producerSeq += reader.zigzag();
    const payload = reader.octets(reader.varint());
    const stream = context.streamOf(streamId);
    if (stream === undefined || source === undefined || number < 1) {
      throw new DecodeError(`record ${number} of stream number ${streamId} belongs to nothing known`);
    }
    const record: StoredRecord = {
      stream,
      seq: seq(number),
      logId: run.logId,
      runId: run.runId,
      bootId: run.bootId,
      monotonicMs: millis(tenths / 10),
      wall: wallStamp(unixMs, source, bound),
      payload: context.keep(payload),
    };
    records.push(hasProducer ? { ...record, producerSeq } : record);
  }
  return records;
}

const runBytes = 2;
/** Octets that an entry takes beside its payload, at most. */
const entryBytesMax = 40;
const flagBound = 8;
const flagProducer = 16;
const flagNext = 32;
/** Farther apart than this in time or count, a difference saves nothing. */
const farApart = 2 ** 27;

interface Before {
  readonly streamId: number;
  readonly seq: number;
  readonly tenths: number;
  readonly unixMs: number;
  readonly producerSeq: number;
}

const start: Before = { streamId: -1, seq: 0, tenths: 0, unixMs: 0, producerSeq: 0 };

function encodeEntry(
  writer: Writer,
  record: StoredRecord,
  before: Before,
  idOf: (name: StreamName) => number,
): Before {
  const { wall, producerSeq, payload } = record;
  const streamId = idOf(record.stream);
  const isNext = streamId === before.streamId && record.seq === before.seq + 1;
  let flags = timeSources.indexOf(wall.source);
  if (wall.errorBoundMs !== undefined) flags |= flagBound;
  if (producerSeq !== undefined) flags |= flagProducer;
  if (isNext) flags |= flagNext;
  writer.uint(flags, 1);
  if (!isNext) {
    writer.uint(streamId, 2);
    writer.uint(record.seq, 5);
  }
  const tenths = Math.round(record.monotonicMs * 10);
  writer.zigzag(tenths - before.tenths);
  writer.zigzag(wall.unixMs - before.unixMs);
  if (wall.errorBoundMs !== undefined) writer.uint(wall.errorBoundMs, 2);
  if (producerSeq !== undefined) writer.zigzag(producerSeq - before.producerSeq);
  writer.varint(payload.length);
  writer.octets(payload);
  return {
    streamId,
    seq: record.seq,
    tenths,
    unixMs: wall.unixMs,
    producerSeq: producerSeq ?? before.producerSeq,
  };
}

/** Whether `record` takes fewer octets behind `last` in a group than in a frame of its own. */
function isClose(last: StoredRecord | undefined, record: StoredRecord): boolean {
  if (last === undefined || needsWide(last) || needsWide(record)) return false;
  return (
    Math.abs(record.monotonicMs - last.monotonicMs) < farApart &&
    Math.abs(record.wall.unixMs - last.wall.unixMs) < farApart
  );
}

/** Appends numbers to a piece of memory that is large enough. */
class Writer {
  readonly #memory: Uint8Array;
  #at = 0;

  constructor(length: number) {
    this.#memory = new Uint8Array(length);
  }

  uint(value: number, width: number): void {
    let rest = value;
    for (let index = 0; index < width; index++) {
      this.#memory[this.#at++] = rest % 256;
      rest = Math.floor(rest / 256);
    }
  }

  varint(value: number): void {
    let rest = value;
    while (rest >= 128) {
      this.#memory[this.#at++] = 128 + (rest % 128);
      rest = Math.floor(rest / 128);
    }
    this.#memory[this.#at++] = rest;
  }

  zigzag(value: number): void {
    this.varint(value < 0 ? -2 * value - 1 : 2 * value);
  }

  octets(data: Uint8Array): void {
    this.#memory.set(data, this.#at);
    this.#at += data.length;
  }

  content(): Uint8Array {
    return this.#memory.subarray(0, this.#at);
  }
}

/** Takes numbers from the head of what is left; throws `DecodeError` at the end of it. */
class Reader {
  readonly #content: Uint8Array;
  #at = 0;

  constructor(content: Uint8Array) {
    this.#content = content;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#content.length;
  }

  uint(width: number): number {
    let value = 0;
    for (let index = 0, scale = 1; index < width; index++, scale *= 256) value += scale * this.#octet();
    return value;
  }

  varint(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const octet = this.#octet();
      value += scale * (octet % 128);
      if (octet < 128) return value;
    }
  }

  zigzag(): number {
    const value = this.varint();
    return value % 2 === 1 ? -(value + 1) / 2 : value / 2;
  }

  octets(length: number): Uint8Array {
    if (this.#at + length > this.#content.length) throw tooShort();
    this.#at += length;
    return this.#content.subarray(this.#at - length, this.#at);
  }

  #octet(): number {
    const octet = this.#content[this.#at];
    if (octet === undefined) throw tooShort();
    this.#at += 1;
    return octet;
  }
}

function tooShort(): DecodeError {
  return new DecodeError('a group of records ends within a record; it is not of this version');
}
