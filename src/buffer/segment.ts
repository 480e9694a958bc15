import { crc32 } from 'node:zlib';
import { DecodeError } from '../base/errors.ts';
import { streamName } from '../base/units.ts';
import type { Seq, StreamName } from '../base/units.ts';
import type { FileHandle, Filesystem } from '../host/filesystem.ts';
import { contentBytesMax, encodeFrame, readFrames } from './frame.ts';
import type { FoundFrame } from './frame.ts';
import { decodeRecord, hex32 } from './record.ts';
import type { StoredRecord } from './record.ts';

/** When a record was taken, on both clocks. */
export interface Stamp {
  readonly monotonicMs: number;
  readonly unixMs: number;
}

/** What a segment holds of one stream: the numbers `first` to `last` without gap, as far as frames are intact. */
export interface StreamSpan {
  first: number;
  last: number;
  firstStamp: Stamp;
  lastStamp: Stamp;
  firstProducerSeq: number | undefined;
  lastProducerSeq: number | undefined;
}

/** Numbers of a stream without a frame, and the producer's counts on either side where it counts. */
export interface SpanGap {
  readonly stream: StreamName;
  readonly from: number;
  readonly to: number;
  readonly producerAfter: number | undefined;
  readonly producerBefore: number | undefined;
}

/** One file of the log; written by one run, appended to only by that run. */
export interface Segment {
  readonly id: number;
  readonly path: string;
  /** Run that wrote it; undefined when no frame tells. */
  runId: string | undefined;
  /** Nonce of its frames; undefined when neither header nor frame tells. */
  nonce: number | undefined;
  /** Octets whose frames count. */
  length: number;
  readonly spans: Map<StreamName, StreamSpan>;
  /** Open while the segment takes records. */
  handle: FileHandle | undefined;
}

/**
 * Header of a segment, one sector: 8 octets `BATONSEG`, u16 version, u16 zero, u32 nonce, u32 run id, u32 log id, u32
 * CRC-32 of the octets before, zeros. A damaged header costs nothing: every frame carries the same facts.
 */
export const headerBytes = 512;
/** Version of the format that this code writes and reads. */
export const formatVersion = 1;

const magic = Buffer.from('BATONSEG');
const trailerMagic = Buffer.from('BATONEND');
const trailerBytes = 16;
const crcOffset = 24;

/** File name of segment `id`; names sort like numbers. */
export function segmentName(id: number): string {
  return `${String(id).padStart(10, '0')}.segment`;
}

/** The number in a segment's file name; undefined for any other file. */
export function parseSegmentName(name: string): number | undefined {
  return /^\d{10}\.segment$/.test(name) ? Number.parseInt(name, 10) : undefined;
}

/** The header sector of a new segment. */
export function encodeHeader(nonce: number, runId: string, logId: string): Uint8Array {
  const header = new Uint8Array(headerBytes);
  const view = new DataView(header.buffer);
  header.set(magic);
  view.setUint16(8, formatVersion, true);
  view.setUint32(12, nonce, true);
  view.setUint32(16, Number.parseInt(runId, 16), true);
  view.setUint32(20, Number.parseInt(logId, 16), true);
  view.setUint32(crcOffset, crc32(header.subarray(0, crcOffset)), true);
  return header;
}

/**
 * The summary that closes a full segment, so that opening the log need not read it: a footer frame with the spans, and
 * a trailer (8 octets `BATONEND`, f64 offset of the frame). Undefined when it would be too long for a frame.
 */
export function encodeFooter(segment: Segment): Uint8Array | undefined {
  const rows = [...segment.spans].map(([name, span]): SpanRow => {
    const { first, last, firstStamp, lastStamp, firstProducerSeq, lastProducerSeq } = span;
    const stamps = [
      firstStamp.monotonicMs,
      firstStamp.unixMs,
      lastStamp.monotonicMs,
      lastStamp.unixMs,
    ] as const;
    return [name, first, last, ...stamps, firstProducerSeq ?? null, lastProducerSeq ?? null];
  });
  const content = Buffer.from(JSON.stringify(rows));
  if (content.length > contentBytesMax || segment.nonce === undefined) return undefined;
  const frame = encodeFrame(segment.nonce, 'footer', content);
  const footer = new Uint8Array(frame.length + trailerBytes);
  footer.set(frame);
  footer.set(trailerMagic, frame.length);
  new DataView(footer.buffer).setFloat64(frame.length + 8, segment.length, true);
  return footer;
}

/** Octets that a footer of `spanCount` spans may take, generously. */
export function footerBytes(spanCount: number): number {
  return 64 + 192 * spanCount;
}

type SpanRow = [string, number, number, number, number, number, number, number | null, number | null];

/** What came to light when a segment was read. */
export interface SegmentReport {
  /** Octets that are no frame and lie before an intact one. */
  readonly skippedBytes: number;
  /** Octets after the last intact frame: a batch that the power cut, or damage. */
  readonly tailBytes: number;
  /** Numbers that are absent between intact frames of a stream. */
  readonly missing: readonly SpanGap[];
  /** Whether some part could not be read, or not be made durable. */
  readonly isUnreadable: boolean;
  /** The format version, when it is not ours; nothing is read then. */
  readonly foreignVersion: number | undefined;
}

/**
 * Reads the summary of a segment, or the whole of it when it was not closed. `fence` bounds what counts.
 * The length found ends after the last frame that counts.
 */
export async function readSegment(
  filesystem: Filesystem,
  directory: string,
  id: number,
  fence: number | undefined,
): Promise<{ segment: Segment; report: SegmentReport }> {
  const path = `${directory}/${segmentName(id)}`;
  const segment: Segment = {
    id,
    path,
    runId: undefined,
    nonce: undefined,
    length: headerBytes,
    spans: new Map(),
    handle: undefined,
  };
  const nothing = {
    skippedBytes: 0,
    tailBytes: 0,
    missing: [],
    isUnreadable: false,
    foreignVersion: undefined,
  };
  const handle = await filesystem.open(path);
  try {
    const size = await handle.size();
    const foreignVersion = await readHeader(handle, segment);
    if (foreignVersion !== undefined) return { segment, report: { ...nothing, foreignVersion } };
    if (fence === undefined && (await readFooter(handle, segment, size))) return { segment, report: nothing };
    const report = await scan(handle, segment, Math.min(size, fence ?? size));
    // What a killed process left may be in the page cache only; it must not be delivered before it is on the disk.
    const isSynced = await handle.datasync().then(
      () => true,
      () => false,
    );
    return { segment, report: { ...report, isUnreadable: report.isUnreadable || !isSynced } };
  } finally {
    await handle.close();
  }
}

/** Takes over what the header tells; returns the version when it is not ours. */
async function readHeader(handle: FileHandle, segment: Segment): Promise<number | undefined> {
  const header = new Uint8Array(headerBytes);
  try {
    await handle.read(header, 0);
  } catch {
    return undefined;
  }
  const view = new DataView(header.buffer);
  const isIntact = crc32(header.subarray(0, crcOffset)) === view.getUint32(crcOffset, true);
  if (!isIntact || !magic.equals(header.subarray(0, 8))) return undefined;
  const version = view.getUint16(8, true);
  if (version !== formatVersion) return version;
  segment.nonce = view.getUint32(12, true);
  segment.runId = hex32(view.getUint32(16, true));
  return undefined;
}

async function readFooter(handle: FileHandle, segment: Segment, size: number): Promise<boolean> {
  const trailer = new Uint8Array(trailerBytes);
  if (segment.nonce === undefined || size < headerBytes + trailerBytes) return false;
  try {
    await handle.read(trailer, size - trailerBytes);
  } catch {
    return false;
  }
  const offset = new DataView(trailer.buffer).getFloat64(8, true);
  const isTrailer = trailerMagic.equals(trailer.subarray(0, 8)) && offset >= headerBytes && offset < size;
  if (!isTrailer || !Number.isSafeInteger(offset)) return false;
  for await (const frame of readFrames(handle, { start: offset, end: size, nonce: segment.nonce })) {
    if (frame.kind !== 'footer' || frame.offset !== offset) return false;
    for (const row of JSON.parse(Buffer.from(frame.content).toString()) as SpanRow[]) {
      segment.spans.set(streamName(row[0]), {
        first: row[1],
        last: row[2],
        firstStamp: { monotonicMs: row[3], unixMs: row[4] },
        lastStamp: { monotonicMs: row[5], unixMs: row[6] },
        firstProducerSeq: row[7] ?? undefined,
        lastProducerSeq: row[8] ?? undefined,
      });
    }
    segment.length = offset;
    return true;
  }
  return false;
}

async function scan(handle: FileHandle, segment: Segment, end: number): Promise<SegmentReport> {
  const missing: SpanGap[] = [];
  let skippedBytes = 0;
  let isUnreadable = false;
  const range = { start: headerBytes, end, nonce: segment.nonce, onUnreadable: () => (isUnreadable = true) };
  for await (const record of readRecords(handle, range)) {
    segment.nonce = record.nonce;
    segment.runId = record.value.runId;
    skippedBytes += record.skippedBytes;
    segment.length = record.end;
    const gap = extendSpan(segment, record.value);
    if (gap !== undefined) missing.push(gap);
  }
  const tailBytes = Math.max(0, end - segment.length);
  return { skippedBytes, tailBytes, missing, isUnreadable, foreignVersion: undefined };
}

/** Adds a record to the span of its stream; returns the numbers that it leaves out. */
export function extendSpan(segment: Segment, record: StoredRecord): SpanGap | undefined {
  const stamp = { monotonicMs: record.monotonicMs, unixMs: record.wall.unixMs };
  const span = segment.spans.get(record.stream);
  if (span === undefined) {
    segment.spans.set(record.stream, {
      first: record.seq,
      last: record.seq,
      firstStamp: stamp,
      lastStamp: stamp,
      firstProducerSeq: record.producerSeq,
      lastProducerSeq: record.producerSeq,
    });
    return undefined;
  }
  const gap = {
    stream: record.stream,
    from: span.last + 1,
    to: record.seq - 1,
    producerAfter: span.lastProducerSeq,
    producerBefore: record.producerSeq,
  };
  span.last = record.seq;
  span.lastStamp = stamp;
  span.lastProducerSeq = record.producerSeq ?? span.lastProducerSeq;
  return gap.from <= gap.to ? gap : undefined;
}

/** A record with its place in the segment. */
export interface FoundRecord {
  readonly value: StoredRecord;
  readonly nonce: number;
  readonly end: number;
  readonly skippedBytes: number;
}

/**
 * The intact records of a stretch of a segment, each stream's numbers growing: a frame that repeats a number already
 * passed is what damage uncovered, not a record.
 */
export async function* readRecords(
  handle: FileHandle,
  range: { start: number; end: number; nonce: number | undefined; onUnreadable?: () => void },
): AsyncGenerator<FoundRecord, void, undefined> {
  const passed = new Map<StreamName, Seq>();
  for await (const frame of readFrames(handle, range)) {
    if (frame.kind !== 'record') continue;
    const value = recordOf(frame);
    if (value === undefined || value.seq <= (passed.get(value.stream) ?? 0)) continue;
    passed.set(value.stream, value.seq);
    yield { value, nonce: frame.nonce, end: frame.end, skippedBytes: frame.skippedBytes };
  }
}

function recordOf(frame: FoundFrame): StoredRecord | undefined {
  try {
    return decodeRecord(frame.content);
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

/** The time at which the record of number `seq` was taken, estimated from the ends of its span. */
export function estimateStamp(span: StreamSpan, seq: number): Stamp {
  const share =
    span.last === span.first ? 0 : (Math.max(seq, span.first) - span.first) / (span.last - span.first);
  const between = (from: number, to: number): number => from + share * (to - from);
  return {
    monotonicMs: between(span.firstStamp.monotonicMs, span.lastStamp.monotonicMs),
    unixMs: between(span.firstStamp.unixMs, span.lastStamp.unixMs),
  };
}
