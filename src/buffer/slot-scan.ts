import { DecodeError } from '../base/errors.ts';
import { streamName } from '../base/units.ts';
import type { StreamName } from '../base/units.ts';
import type { FileHandle } from '../host/filesystem.ts';
import { readFrames } from './frame.ts';
import type { FoundFrame } from './frame.ts';
import type { Identities } from './identities.ts';
import { decodeRecord, hex32, runBitsOf } from './record.ts';
import type { RecordContext, StoredRecord } from './record.ts';
import { decodeRun, extendSpan, headerBytes } from './slot.ts';
import type { Slot, SpanGap } from './slot.ts';

/** What came to light when a slot was read. */
export interface SlotReport {
  /** Octets other than zero that are no frame and lie before an intact one. */
  readonly damagedBytes: number;
  /** Numbers that are absent between intact frames of a stream. */
  readonly missing: readonly SpanGap[];
  /**
   * Sectors after the last frame that counts with something of this life in them: a batch that a power cut tore, or
   * damage. Offsets in the slot.
   */
  readonly tornSectors: readonly number[];
  /** Whether some part could not be read, or not be made durable. */
  readonly isUnreadable: boolean;
}

/** Octets that a disk writes whole or not at all. */
export const sectorBytes = 512;

/** What the numbers in the frames of `slot` stand for: what the slot tells, else what the log knows. */
function contextOf(slot: Slot, identities: Identities): RecordContext {
  return {
    streamOf: (id) => slot.names.get(id) ?? identities.nameOf(id),
    runOf: (lowBits) => {
      const run = identities.expandRun(lowBits);
      // Without any trace of the log's id a name of its own harms least: the record may arrive twice, not never.
      const unknown = { runId: hex32(run), logId: hex32(slot.nonce), bootId: undefined };
      return slot.runs.get(run) ?? identities.identityOf(run) ?? unknown;
    },
  };
}

/** A frame that counts, with its record if it is one. */
interface CountedFrame {
  readonly record: StoredRecord | undefined;
  readonly offset: number;
  readonly end: number;
  readonly damagedBytes: number;
}

/** A place in a slot from which to read on. */
export interface ReadPlace {
  /** Offset in the slot. */
  readonly offset: number;
  /** Low bits of the newest run passed; undefined at the head. */
  readonly runBits: number | undefined;
}

/** The record of a slot that counts, and the place after it. */
export interface FoundRecord {
  readonly value: StoredRecord;
  readonly next: ReadPlace;
}

/** The records of a slot from `place` on, as far as its frames count. */
export async function* readRecords(
  handle: FileHandle,
  slot: Slot,
  identities: Identities,
  place: ReadPlace,
): AsyncGenerator<FoundRecord, void, undefined> {
  const range = { start: slot.start + place.offset, end: slot.start + slot.length, nonce: slot.nonce };
  const filter = new FrameFilter(slot, identities, place.runBits);
  for await (const frame of readFrames(handle, range)) {
    const record = filter.take(frame);
    if (record === undefined || record === 'context') continue;
    yield { value: record, next: { offset: frame.end - slot.start, runBits: filter.runBits } };
  }
}

/**
 * Reads a slot up to `end` and fills in its length, spans and identities.
 */
export async function scanSlot(
  handle: FileHandle,
  slot: Slot,
  identities: Identities,
  end: number,
): Promise<SlotReport> {
  const missing: SpanGap[] = [];
  let torn = new Set<number>();
  let damagedBytes = 0;
  let isUnreadable = false;
  const noteTorn = (position: number): void => {
    torn.add(Math.floor((position - slot.start) / sectorBytes) * sectorBytes);
  };
  const range = {
    start: slot.start + headerBytes,
    end: slot.start + end,
    nonce: slot.nonce,
    onUnreadable: () => (isUnreadable = true),
    onTrace: noteTorn,
  };
  const filter = new FrameFilter(slot, identities, undefined);
  for await (const counted of countedFrames(handle, range, filter, noteTorn)) {
    torn = new Set([...torn].filter((sector) => sector > counted.offset - slot.start));
    damagedBytes += counted.damagedBytes;
    slot.length = counted.end - slot.start;
    const gap = counted.record === undefined ? undefined : extendSpan(slot, counted.record);
    if (gap !== undefined) missing.push(gap);
  }
  return { damagedBytes, missing, tornSectors: [...torn], isUnreadable };
}

async function* countedFrames(
  handle: FileHandle,
  range: Parameters<typeof readFrames>[1],
  filter: FrameFilter,
  onRejected: (position: number) => void,
): AsyncGenerator<CountedFrame, void, undefined> {
  for await (const frame of readFrames(handle, range)) {
    const taken = filter.take(frame);
    if (taken === undefined) {
      // Its nonce may lie in the sector after the one in which it begins.
      onRejected(frame.offset);
      onRejected(frame.offset + 8);
      continue;
    }
    const { offset, end, damagedBytes } = frame;
    yield { record: taken === 'context' ? undefined : taken, offset, end, damagedBytes };
  }
}

/**
 * Tells frames that count from those that do not though they are intact: in a slot the runs never go back, and neither
 * do the numbers of a stream. What fails this was left by a run whose end was not clean.
 */
class FrameFilter {
  runBits: number | undefined;
  readonly #slot: Slot;
  readonly #identities: Identities;
  readonly #context: RecordContext;
  readonly #passed = new Map<StreamName, number>();

  constructor(slot: Slot, identities: Identities, runBits: number | undefined) {
    this.#slot = slot;
    this.#identities = identities;
    this.#context = contextOf(slot, identities);
    this.runBits = runBits ?? (slot.run === undefined ? undefined : slot.run & 0xffff);
  }

  take(frame: FoundFrame): StoredRecord | 'context' | undefined {
    if (frame.kind !== 'record') return this.#takeContext(frame);
    const runBits = runBitsOf(frame.content);
    if (this.#goesBack(runBits)) return undefined;
    const record = recordOf(frame, this.#context);
    if (record === undefined || record.seq <= (this.#passed.get(record.stream) ?? 0)) return undefined;
    this.#passed.set(record.stream, record.seq);
    this.runBits = runBits;
    return record;
  }

  #takeContext({ kind, content }: FoundFrame): 'context' | undefined {
    const view = new DataView(content.buffer, content.byteOffset, content.length);
    if (kind === 'run' && content.length >= 8) {
      const run = view.getUint32(0, true);
      if (this.#goesBack(run & 0xffff)) return undefined;
      this.#slot.runs.set(run, decodeRun(content));
      this.#identities.noteRunNumber(run);
      this.runBits = run & 0xffff;
    } else if (kind === 'stream' && content.length > 2) {
      this.#slot.names.set(view.getUint16(0, true), streamName(Buffer.from(content.subarray(2)).toString()));
    }
    return 'context';
  }

  #goesBack(runBits: number): boolean {
    return this.runBits !== undefined && ((runBits - this.runBits) & 0xffff) >= 0x8000;
  }
}

function recordOf(frame: FoundFrame, context: RecordContext): StoredRecord | undefined {
  try {
    return decodeRecord(frame.content, context);
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

/**
 * The nonces in the frames of a slot whose header is lost. Several are there when what earlier lives left lies behind
 * the frames of the present one.
 */
export async function noncesIn(
  handle: FileHandle,
  start: number,
  end: number,
): Promise<{ nonces: ReadonlySet<number>; isUnreadable: boolean }> {
  const nonces = new Set<number>();
  let isUnreadable = false;
  const range = { start, end, nonce: 'each' as const, onUnreadable: () => (isUnreadable = true) };
  for await (const { nonce } of readFrames(handle, range)) nonces.add(nonce);
  return { nonces, isUnreadable };
}
