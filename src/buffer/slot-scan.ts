import { DecodeError } from '../base/errors.ts';
import { streamName } from '../base/units.ts';
import type { StreamName } from '../base/units.ts';
import type { FileHandle } from '../host/filesystem.ts';
import { visitFrames } from './frame.ts';
import type { FoundFrame, ReadWindows } from './frame.ts';
import type { Identities, RunIdentity } from './identities.ts';
import { decodeRecord, hex32, runBitsOf } from './record.ts';
import type { RecordContext, StoredRecord } from './record.ts';
import { decodeGroup } from './record-group.ts';
import { decodeRun, extendSpan } from './slot.ts';
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
function contextOf(slot: Slot, identities: Identities, keep: RecordContext['keep']): RecordContext {
  let newest: { lowBits: number; identity: RunIdentity } | undefined;
  return {
    keep,
    streamOf: (id) => slot.names.get(id) ?? identities.nameOf(id),
    runOf: (lowBits) => {
      if (newest?.lowBits === lowBits) return newest.identity;
      const run = identities.expandRun(lowBits);
      const known = slot.runs.get(run) ?? identities.identityOf(run);
      // Without any trace of the log's id a name of its own harms least: the record may arrive twice, not never.
      if (known === undefined) return { runId: hex32(run), logId: hex32(slot.nonce), bootId: undefined };
      newest = { lowBits, identity: known };
      return known;
    },
  };
}

/** A place in a slot from which to read on. */
export interface ReadPlace {
  /** Offset in the slot. */
  readonly offset: number;
  /** Low bits of the newest run passed; undefined at the head. */
  readonly runBits: number | undefined;
}

/** What is read from, and the memory to read into. */
export interface SlotSource {
  readonly handle: FileHandle;
  readonly identities: Identities;
  readonly windows: ReadWindows;
}

/** Who is shown the records of a slot. */
export interface RecordVisitor {
  /** What of a payload is kept. */
  readonly keep: RecordContext['keep'];
  /** One record; `stop` ends the visit. */
  visit(record: StoredRecord): 'stop' | undefined;
  /** Some part could not be read: what is visited from here on may leave out records that are there. */
  onUnreadable(error: unknown): void;
}

/** Shows the records of a slot from `place` on, as far as its frames count; tells where to read on once stopped. */
export async function visitRecords(
  { handle, identities, windows }: SlotSource,
  slot: Slot,
  place: ReadPlace,
  visitor: RecordVisitor,
): Promise<ReadPlace | undefined> {
  const range = {
    start: slot.start + place.offset,
    end: slot.start + slot.length,
    nonce: slot.nonce,
    windows,
    onUnreadable: (error: unknown) => visitor.onUnreadable(error),
  };
  const context = contextOf(slot, identities, visitor.keep);
  const filter = new FrameFilter(context, slot, identities, place.runBits);
  let stopped: ReadPlace | undefined;
  await visitFrames(handle, range, (frame) => {
    const taken = filter.take(frame);
    if (taken === undefined || taken === 'context') return undefined;
    for (const [index, record] of taken.entries()) {
      if (visitor.visit(record) !== 'stop') continue;
      // The rest of a group is found again from its head.
      const offset = (index === taken.length - 1 ? frame.end : frame.offset) - slot.start;
      stopped = { offset, runBits: filter.runBits };
      return 'stop';
    }
    return undefined;
  });
  return stopped;
}

/**
 * Reads a slot from where its spans end up to `end`, or so far that no commit can have left more, and fills in its
 * length, spans and identities.
 */
export async function scanSlot(
  { handle, identities, windows }: SlotSource,
  slot: Slot,
  end: number,
  gapBytesMax?: number,
): Promise<SlotReport> {
  const missing: SpanGap[] = [];
  let torn = new Set<number>();
  let damagedBytes = 0;
  let isUnreadable = false;
  const noteTorn = (position: number): void => {
    torn.add(Math.floor((position - slot.start) / sectorBytes) * sectorBytes);
  };
  const range = {
    start: slot.start + slot.length,
    end: slot.start + end,
    nonce: slot.nonce,
    windows,
    ...(gapBytesMax === undefined ? {} : { gapBytesMax }),
    onUnreadable: () => (isUnreadable = true),
    onTrace: noteTorn,
  };
  const filter = new FrameFilter(contextOf(slot, identities, nothing), slot, identities, newestRunBits(slot));
  for (const [stream, { last }] of slot.spans) filter.pass(stream, last);
  await visitFrames(handle, range, (frame) => {
    const taken = filter.take(frame);
    if (taken === undefined) {
      // Its nonce may lie in the sector after the one in which it begins.
      noteTorn(frame.offset);
      noteTorn(frame.offset + 8);
      return undefined;
    }
    if (torn.size > 0) torn = new Set([...torn].filter((sector) => sector > frame.offset - slot.start));
    damagedBytes += frame.damagedBytes;
    slot.length = frame.end - slot.start;
    for (const record of taken === 'context' ? [] : taken) {
      const gap = extendSpan(slot, record);
      if (gap !== undefined) missing.push(gap);
    }
    return undefined;
  });
  return { damagedBytes, missing, tornSectors: [...torn], isUnreadable };
}

const noOctets = new Uint8Array(0);
const nothing = (): Uint8Array => noOctets;

function newestRunBits(slot: Slot): number | undefined {
  return slot.runs.size === 0 ? undefined : Math.max(...slot.runs.keys()) & 0xffff;
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

  constructor(context: RecordContext, slot: Slot, identities: Identities, runBits: number | undefined) {
    this.#slot = slot;
    this.#identities = identities;
    this.#context = context;
    this.runBits = runBits ?? (slot.run === undefined ? undefined : slot.run & 0xffff);
  }

  /** Notes that no record of the stream up to `through` counts from here on. */
  pass(stream: StreamName, through: number): void {
    this.#passed.set(stream, through);
  }

  /** The records of a frame that counts, `context` for one without records; undefined for one that does not. */
  take(frame: FoundFrame): readonly StoredRecord[] | 'context' | undefined {
    if (frame.kind !== 'record' && frame.kind !== 'group') return this.#takeContext(frame);
    const runBits = runBitsOf(frame.content);
    if (this.#goesBack(runBits)) return undefined;
    const records = recordsOf(frame, this.#context);
    if (records?.some(({ stream, seq }) => seq <= (this.#passed.get(stream) ?? 0)) !== false)
      return undefined;
    for (const { stream, seq } of records) this.pass(stream, seq);
    this.runBits = runBits;
    return records;
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

function recordsOf(frame: FoundFrame, context: RecordContext): readonly StoredRecord[] | undefined {
  try {
    if (frame.kind === 'group') return decodeGroup(frame.content, context);
    return [decodeRecord(frame.content, context)];
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
  { handle, windows }: SlotSource,
  start: number,
  end: number,
): Promise<{ nonces: ReadonlySet<number>; isUnreadable: boolean }> {
  const nonces = new Set<number>();
  let isUnreadable = false;
  const range = { start, end, nonce: 'each' as const, windows, onUnreadable: () => (isUnreadable = true) };
  await visitFrames(handle, range, ({ nonce }) => {
    nonces.add(nonce);
    return undefined;
  });
  return { nonces, isUnreadable };
}
