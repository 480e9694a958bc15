import { IoError, errorText } from '../base/errors.ts';
import type { Bytes, Millis, StreamName } from '../base/units.ts';
import type { StoredRecord } from './record.ts';

/**
 * Outcome of an append: `stored` and durable; `held` in memory, where a power cut loses it (class C); `duplicate`, already stored by the producer's counter; or `refused` and
 * not stored, for a stated reason.
 */
export type AppendResult =
  | { readonly kind: 'stored'; readonly record: StoredRecord }
  | { readonly kind: 'held'; readonly record: StoredRecord }
  | { readonly kind: 'duplicate' }
  | { readonly kind: 'refused'; readonly reason: RefusalReason; readonly message: string };

/**
 * Why a record was not stored: `full` by quota and policy (drain, or raise the quota), `busy` more waits than memory
 * allows (send slower), `disk` a write failed (send again), `tooLarge`, `invalid`, `unknownStream` (never as it is),
 * `closed`.
 */
export type RefusalReason = 'full' | 'busy' | 'disk' | 'tooLarge' | 'invalid' | 'unknownStream' | 'closed';

/** Records are there and cannot be read now; they stay pending, and a later try may read them. */
export class UnreadableError extends IoError {
  constructor(stream: StreamName, cause: unknown) {
    super(`stream ${stream}: its oldest reading cannot be read now: ${errorText(cause)}`, { cause });
  }
}

/** Counts of one stream over all runs; `stored = delivered + evicted + corrupt + pending`. */
export interface StreamStats {
  readonly stored: number;
  readonly delivered: number;
  readonly evicted: number;
  /** Records that no intact frame holds, and numbers of a batch that a power cut tore. */
  readonly corrupt: number;
  readonly pending: number;
  /** Age of the oldest pending record on the time of the log, estimated within its slot; undefined when nothing is pending. */
  readonly oldestUnacknowledgedMs: Millis | undefined;
  /** False when that is the least age: the machine was off since, for a time that is not known exactly. */
  readonly isAgeExact: boolean;
}

/** Wear of the flash by this log since it was made, and what is left of its space. */
export interface FlashStats {
  readonly payloadBytes: number;
  /** Octets written in whole pages, slots and cursor; without the zeros that new slots are filled with. */
  readonly deviceBytes: number;
  readonly commits: number;
  readonly flushes: number;
  /** `deviceBytes` per octet of payload; undefined before the first record. */
  readonly writeAmplification: number | undefined;
  /** Slots set aside after a failed write, until the next start. */
  readonly slotsAside: number;
  /** Octets of container that commits have used up in this run, padding included. */
  readonly consumedBytes: number;
  /** Octets that records may still take without giving up any. */
  readonly roomBytes: number;
  /** Octets of container up to which commits are padded to whole pages; beyond, small ones are packed. */
  readonly roomyBytes: number;
}

/** Records of class C in memory, and what became of such in this run; none of them counts as stored. */
export interface MemoryStats {
  readonly held: number;
  readonly heldBytes: number;
  /** Delivered from memory. */
  readonly passed: number;
  /** Given up in memory: expired, or given up. */
  readonly dropped: number;
}

/** Counts of a whole log. */
export interface LogStats extends StreamStats {
  readonly usedBytes: Bytes;
  readonly quotaBytes: Bytes;
  /** Records that wait for a flush. */
  readonly queued: number;
  readonly memory: MemoryStats;
  readonly flash: FlashStats;
  /** Also streams that are no longer configured but have records or numbers here. */
  readonly streams: ReadonlyMap<StreamName, StreamStats>;
}

/** A refusal with its reason and a message for people. */
export function refused(reason: RefusalReason, message: string): AppendResult {
  return { kind: 'refused', reason, message };
}
