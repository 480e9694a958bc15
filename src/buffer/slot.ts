import { crc32 } from 'node:zlib';
import { streamName } from '../base/units.ts';
import type { StreamName } from '../base/units.ts';
import type { FileHandle } from '../host/filesystem.ts';
import { contentBytesMax, encodeFrame, frameIn } from './frame.ts';
import type { RunIdentity } from './identities.ts';
import { hex32 } from './record.ts';
import type { StoredRecord } from './record.ts';

/** When a record was taken, on both clocks; the monotonic one holds within its run. */
export interface Stamp {
  readonly monotonicMs: number;
  readonly unixMs: number;
  readonly runId: string;
}

/** What a slot holds of one stream: the numbers `first` to `last` without gap, as far as frames are intact. */
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

/** One life of a slot: from the header that begins it until the next one. */
export interface Slot {
  /** Place in the container. */
  readonly index: number;
  /** Where it begins in the container, and its size, in octets. */
  readonly start: number;
  readonly sizeBytes: number;
  /** For people. */
  readonly label: string;
  /** Number of this life, growing over the whole log: the order of slots. 0 is a slot that was never used. */
  life: number;
  /** Nonce of its frames: the low 16 bits of the life, and 16 drawn ones. */
  nonce: number;
  /** Priority whose records it takes; undefined when the header is lost. */
  priority: number | undefined;
  /** Run that began this life; undefined when the header is lost. */
  run: number | undefined;
  /** Octets whose frames count. */
  length: number;
  readonly spans: Map<StreamName, StreamSpan>;
  /** What the frames of this slot tell about the numbers in them. */
  readonly names: Map<number, StreamName>;
  readonly runs: Map<number, RunIdentity>;
  /** Whether its header is on the disk. */
  isBegun: boolean;
  /** `open` takes records; `closed` no more; `aside` had a failed write and is not used again before a restart. */
  state: 'open' | 'closed' | 'aside';
}

/**
 * Header of a slot, one sector: 8 octets `BATONSLT`, u16 version, u16 zero, u32 nonce, f64 life, f64 priority, u32 run,
 * u32 size of a slot, u32 CRC-32 of the octets before, zeros. Life 0 marks a slot filled with zeros and never used. A
 * damaged header costs nothing: the frames tell the nonce, and the cursor what they refer to.
 */
export const headerBytes = 512;
/** Version of the format that this code writes and reads. */
export const formatVersion = 1;

const magic = Buffer.from('BATONSLT');
const trailerMagic = 0x444e4542;
const trailerBytes = 16;
const crcOffset = 40;

/** A slot as `readHeader` finds it. */
export interface SlotHeader {
  readonly version: number;
  readonly nonce: number;
  readonly life: number;
  readonly priority: number;
  readonly run: number;
  readonly sizeBytes: number;
}

/** The header sector of a slot; life 0 for one that was never used. */
export function encodeHeader(header: Omit<SlotHeader, 'version'>): Uint8Array {
  const sector = new Uint8Array(headerBytes);
  const view = new DataView(sector.buffer);
  sector.set(magic);
  view.setUint16(8, formatVersion, true);
  view.setUint32(12, header.nonce, true);
  view.setFloat64(16, header.life, true);
  view.setFloat64(24, header.priority, true);
  view.setUint32(32, header.run, true);
  view.setUint32(36, header.sizeBytes, true);
  view.setUint32(crcOffset, crc32(sector.subarray(0, crcOffset)), true);
  return sector;
}

/** The header at `start`; undefined when none is intact, `unreadable` when the disk does not give it. */
export async function readHeader(
  handle: FileHandle,
  start: number,
): Promise<SlotHeader | 'unreadable' | undefined> {
  const sector = new Uint8Array(headerBytes);
  try {
    await handle.read(sector, start);
  } catch {
    return 'unreadable';
  }
  const view = new DataView(sector.buffer);
  const isIntact = crc32(sector.subarray(0, crcOffset)) === view.getUint32(crcOffset, true);
  if (!isIntact || !magic.equals(sector.subarray(0, 8))) return undefined;
  return {
    version: view.getUint16(8, true),
    nonce: view.getUint32(12, true),
    life: view.getFloat64(16, true),
    priority: view.getFloat64(24, true),
    run: view.getUint32(32, true),
    sizeBytes: view.getUint32(36, true),
  };
}

/** A slot without records. */
export function emptySlot(place: {
  index: number;
  sizeBytes: number;
  container: string;
  life: number;
  nonce: number;
  priority: number | undefined;
  run: number | undefined;
}): Slot {
  const { index, sizeBytes, container, ...rest } = place;
  return {
    index,
    start: index * sizeBytes,
    sizeBytes,
    label: `slot ${index} of ${container}`,
    length: headerBytes,
    spans: new Map(),
    names: new Map(),
    runs: new Map(),
    state: 'closed',
    isBegun: true,
    ...rest,
  };
}

/** The nonce of a life, of which `drawn` gives 16 bits. */
export function nonceOf(life: number, drawn: number): number {
  return (((life % 0x1_0000) << 16) | (drawn & 0xffff)) >>> 0;
}

/** Content of the frame that tells who writes from here on: u32 run, u32 log id, 16 octets boot id, 0 if unknown. */
export function encodeRun({ runId, logId, bootId }: RunIdentity): Uint8Array {
  const content = new Uint8Array(runContentBytes);
  const view = new DataView(content.buffer);
  view.setUint32(0, Number.parseInt(runId, 16), true);
  view.setUint32(4, Number.parseInt(logId, 16), true);
  if (bootId !== undefined) content.set(Buffer.from(bootId, 'hex'), bootIdOffset);
  return content;
}

/** The identity in a run frame's content of at least 8 octets. */
export function decodeRun(content: Uint8Array): RunIdentity {
  const view = new DataView(content.buffer, content.byteOffset, content.length);
  const bootId = content.subarray(bootIdOffset, runContentBytes);
  const isKnown = bootId.length === runContentBytes - bootIdOffset && bootId.some((octet) => octet !== 0);
  return {
    runId: hex32(view.getUint32(0, true)),
    logId: hex32(view.getUint32(4, true)),
    bootId: isKnown ? Buffer.from(bootId).toString('hex') : undefined,
  };
}

/** Octets of content of a run frame. */
export const runContentBytes = 24;
const bootIdOffset = 8;

/** Content of the frame that names a stream: u16 number, name in UTF-8. */
export function encodeStream(id: number, name: StreamName): Uint8Array {
  return Buffer.concat([Uint8Array.of(id & 0xff, id >> 8), Buffer.from(name)]);
}

/**
 * The summary that closes a full slot, so that opening the log need not read it: a footer frame with the spans and
 * identities, and in the last octets of the slot u32 `BEND`, u32 nonce, u32 offset of the frame, u32 CRC-32 of these.
 * Undefined when it does not fit.
 */
export function encodeFooter(slot: Slot): { frame: Uint8Array; trailer: Uint8Array } | undefined {
  const content = Buffer.from(encodeSummary(slot));
  if (content.length > contentBytesMax) return undefined;
  const frame = encodeFrame(slot.nonce, 'footer', content);
  if (slot.length + frame.length + trailerBytes > slot.sizeBytes) return undefined;
  const trailer = new Uint8Array(trailerBytes);
  const view = new DataView(trailer.buffer);
  view.setUint32(0, trailerMagic, true);
  view.setUint32(4, slot.nonce, true);
  view.setUint32(8, slot.length, true);
  view.setUint32(12, crc32(trailer.subarray(0, 12)), true);
  return { frame, trailer };
}

/** What a slot holds up to its present length, as JSON. */
export function encodeSummary(slot: Slot): string {
  const rows = [...slot.spans].map(([name, span]): SpanRow => {
    const { first, last, firstStamp, lastStamp, firstProducerSeq, lastProducerSeq } = span;
    const stamps = [
      firstStamp.monotonicMs,
      firstStamp.unixMs,
      lastStamp.monotonicMs,
      lastStamp.unixMs,
      firstStamp.runId,
      lastStamp.runId,
    ] as const;
    return [name, first, last, ...stamps, firstProducerSeq ?? null, lastProducerSeq ?? null];
  });
  const runs = [...slot.runs].map(([run, { logId, bootId }]) => [run, logId, bootId ?? null]);
  return JSON.stringify({ runs, names: [...slot.names], rows });
}

/** Octets that a footer of `spanCount` spans may take, generously. */
export function footerBytes(spanCount: number): number {
  return 240 + 192 * spanCount;
}

type SpanRow = [
  name: string,
  first: number,
  last: number,
  firstMonotonicMs: number,
  firstUnixMs: number,
  lastMonotonicMs: number,
  lastUnixMs: number,
  firstRunId: string,
  lastRunId: string,
  firstProducerSeq: number | null,
  lastProducerSeq: number | null,
];

/** Octets at the end of a slot that hold its trailer and, as a rule, its footer. */
export const slotEndBytes = 4096;

/**
 * Takes over the summary of a closed slot, of which `end` are the last octets; false when there is no intact one.
 */
export async function readFooter(handle: FileHandle, slot: Slot, end: Uint8Array): Promise<boolean> {
  if (end.length < trailerBytes) return false;
  const trailer = end.subarray(end.length - trailerBytes);
  const view = new DataView(trailer.buffer, trailer.byteOffset, trailer.length);
  const offset = view.getUint32(8, true);
  const isTrailer =
    view.getUint32(0, true) === trailerMagic &&
    view.getUint32(4, true) === slot.nonce &&
    view.getUint32(12, true) === crc32(trailer.subarray(0, 12));
  if (!isTrailer || offset < headerBytes || offset >= slot.sizeBytes) return false;
  let data = end;
  if (offset < slot.sizeBytes - end.length) {
    data = new Uint8Array(slot.sizeBytes - offset);
    if (!(await isRead(handle, data, slot.start + offset))) return false;
  }
  const frame = frameIn(data, data.length - (slot.sizeBytes - offset), slot.nonce);
  if (frame?.kind !== 'footer') return false;
  takeSummary(slot, Buffer.from(frame.content).toString());
  slot.length = offset;
  return true;
}

/** Whether `target` could be filled from `position`. */
export async function isRead(handle: FileHandle, target: Uint8Array, position: number): Promise<boolean> {
  return handle.read(target, position).then(
    (length) => length === target.length,
    () => false,
  );
}

/** Takes over what `encodeSummary` wrote; the CRC held. */
export function takeSummary(slot: Slot, text: string): void {
  const { runs, names, rows } = JSON.parse(text) as {
    runs: [number, string, (string | null)?][];
    names: [number, string][];
    rows: SpanRow[];
  };
  for (const [run, logId, bootId] of runs) {
    slot.runs.set(run, { runId: hex32(run), logId, bootId: bootId ?? undefined });
  }
  for (const [id, name] of names) slot.names.set(id, streamName(name));
  for (const row of rows) {
    const [name, first, last, firstMonotonicMs, firstUnixMs, monotonicMs, unixMs, firstRunId, runId] = row;
    slot.spans.set(streamName(name), {
      first,
      last,
      firstStamp: { monotonicMs: firstMonotonicMs, unixMs: firstUnixMs, runId: firstRunId },
      lastStamp: { monotonicMs, unixMs, runId },
      firstProducerSeq: row[9] ?? undefined,
      lastProducerSeq: row[10] ?? undefined,
    });
  }
}

/** Adds a record to the span of its stream; returns the numbers that it leaves out. */
export function extendSpan(slot: Slot, record: StoredRecord): SpanGap | undefined {
  const stamp = { monotonicMs: record.monotonicMs, unixMs: record.wall.unixMs, runId: record.runId };
  const span = slot.spans.get(record.stream);
  if (span === undefined) {
    slot.spans.set(record.stream, {
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
  // The newest of them: a producer that hands an older reading in late must not make the slot look older.
  if (stamp.runId !== span.lastStamp.runId || stamp.monotonicMs >= span.lastStamp.monotonicMs) {
    span.lastStamp = stamp;
  }
  span.lastProducerSeq = record.producerSeq ?? span.lastProducerSeq;
  return gap.from <= gap.to ? gap : undefined;
}

/** The time at which the record of number `seq` was taken, estimated from the ends of its span. */
export function estimateStamp(span: StreamSpan, seq: number): Stamp {
  const share =
    span.last === span.first ? 0 : (Math.max(seq, span.first) - span.first) / (span.last - span.first);
  const between = (from: number, to: number): number => from + share * (to - from);
  return {
    monotonicMs: between(span.firstStamp.monotonicMs, span.lastStamp.monotonicMs),
    unixMs: between(span.firstStamp.unixMs, span.lastStamp.unixMs),
    // Monotonic times of two runs have nothing between them: the age is that of the newest at least.
    ...(span.firstStamp.runId === span.lastStamp.runId ? {} : { monotonicMs: span.lastStamp.monotonicMs }),
    runId: span.lastStamp.runId,
  };
}
