/**
 * A stored reading as the content of a contentInstance: `{v, q, t, e, b?, n?}` — value, sequence number, wall time in
 * milliseconds, epoch under which it was sent, error bound of the time, the producer's own counter.
 */
import { DecodeError } from '../base/errors.ts';
import type { Epoch } from '../base/units.ts';
import type { StoredRecord } from '../buffer/record.ts';
import { decodeCbor, encodeCbor } from '../onem2m/cbor.ts';

/** The octets under which the log keeps a reading's value. */
export function encodePayload(value: unknown): Uint8Array {
  return encodeCbor(value);
}

/** What travels as `content` of the contentInstance. */
export function encodeInstance(record: StoredRecord, epoch: Epoch): Record<string, unknown> {
  const { producerSeq, wall } = record;
  return {
    v: decodePayload(record.payload),
    q: record.seq,
    t: wall.unixMs,
    e: epoch,
    ...(wall.errorBoundMs === undefined ? {} : { b: wall.errorBoundMs }),
    ...(producerSeq === undefined ? {} : { n: producerSeq }),
  };
}

/** The value in a record's octets; octets that an older run wrote in another form travel as text. */
export function decodePayload(payload: Uint8Array): unknown {
  try {
    return decodeCbor(payload);
  } catch (error) {
    if (error instanceof DecodeError) return Buffer.from(payload).toString('base64');
    throw error;
  }
}
