import { frameBytes } from './frame.ts';
import { refused } from './log-results.ts';
import type { AppendResult } from './log-results.ts';
import { payloadBytesMax, quantise, recordBytes } from './record.ts';
import type { NewRecord } from './record.ts';

/** Why a record can never be stored as it is in slots that take frames of `largestBytes`; undefined when it can. */
export function checkRecord(record: NewRecord, largestBytes: number): AppendResult | undefined {
  const { payload, producerSeq } = record;
  const wall = [record.monotonicMs, record.wall.unixMs, record.wall.errorBoundMs ?? 0];
  if (payload.length > payloadBytesMax) {
    return refused('tooLarge', `a payload of ${payload.length} bytes; at most ${payloadBytesMax} fit`);
  }
  if (producerSeq !== undefined && (!Number.isSafeInteger(producerSeq) || producerSeq < 0)) {
    return refused('invalid', `producerSeq ${producerSeq} is no whole number from 0 up`);
  }
  if (!wall.every(Number.isFinite)) return refused('invalid', `times ${wall.join(', ')} are not all numbers`);
  const size = storedBytes(record);
  if (size > largestBytes) {
    return refused('tooLarge', `a record of ${size} bytes; a slot of this log takes at most ${largestBytes}`);
  }
  return undefined;
}

/** Octets that a record takes in a slot. */
export function storedBytes(record: NewRecord): number {
  return frameBytes(recordBytes(quantise(record)));
}
