/**
 * Several readings as the content of one contentInstance: base64 text of a SenML-CBOR pack (`senmlContentInfo`), because
 * oneM2M content holds neither octets nor maps with number keys. Name, unit and the time of the first reading are base
 * fields; times are exact once they are rounded to the millisecond. Numbers are `v`, texts `vs`, truth values `vb`, all
 * other values `vd` as their CBOR. Beside the standard's labels, and ignored by who does not know them: `be` epoch under
 * which the batch was sent; `bq` and `bc` number and producer's count of the first reading, each further one having one
 * more unless `q` or `c` says another; `bm` error bound of the times in ms, `m` that of one reading where it differs, -1 for
 * none.
 */
import { DecodeError } from '../base/errors.ts';
import { millis, seq as toSeq, unixMillis } from '../base/units.ts';
import type { Epoch, Millis, Seq, UnixMillis } from '../base/units.ts';
import type { StoredRecord } from '../buffer/record.ts';
import { decodeCbor, encodeCbor } from '../onem2m/cbor.ts';
import { decodeSenml, encodeSenml, nearestHalf, resolveSenml } from '../onem2m/senml.ts';
import type { ResolvedSenmlRecord, SenmlRecord } from '../onem2m/senml.ts';
import { parseInstanceName } from './batch.ts';
import type { Batch } from './batch.ts';
import { decodePayload } from './instance.ts';

/** One reading out of an instance. */
export interface InstanceReading {
  readonly value: unknown;
  readonly seq: Seq;
  readonly unixMs: UnixMillis;
  readonly epoch: number;
  readonly errorBoundMs?: Millis;
  readonly producerSeq?: number;
}

/** What a stream's readings are called. */
export interface BatchNames {
  /** `<AE>/<stream>`, the same at every CSE. */
  readonly name: string;
  readonly unit?: string;
}

/** The content of a batch: base64 text. */
export function encodeBatch(records: Batch['records'], epoch: Epoch, names: BatchNames): string {
  const [first] = records;
  const startMs = first.wall.unixMs;
  const pack = records.map((record, index): SenmlRecord => {
    const before = records[index - 1];
    const timeMs = record.wall.unixMs - startMs;
    return {
      ...(index > 0 ? {} : { baseName: names.name, baseTime: startMs / 1000 }),
      ...(index > 0 || names.unit === undefined ? {} : { baseUnit: names.unit }),
      ...valueFields(decodePayload(record.payload)),
      ...(timeMs === 0 ? {} : { time: secondsOf(timeMs) }),
      extensions:
        before === undefined ? baseExtensions(record, epoch) : extensionsAfter(before, record, first),
    };
  });
  return Buffer.from(encodeSenml(pack)).toString('base64');
}

/**
 * The readings in an instance of a stream, a batch or, by any other name, a plain one. Throws `DecodeError` for content that
 * is not what the name says.
 */
export function readingsOf(resourceName: string, content: unknown): InstanceReading[] {
  const named = parseInstanceName(resourceName);
  if (named !== undefined && named.firstSeq !== named.lastSeq) return readingsOfBatch(content);
  if (typeof content !== 'object' || content === null)
    throw new DecodeError(`${resourceName} holds no reading`);
  const { v, q, t, e, b, n } = content as Record<string, unknown>;
  return [
    {
      value: v,
      seq: toSeq(Number(q)),
      unixMs: unixMillis(Number(t)),
      epoch: Number(e),
      ...(typeof b === 'number' ? { errorBoundMs: millis(b) } : {}),
      ...(typeof n === 'number' ? { producerSeq: n } : {}),
    },
  ];
}

function readingsOfBatch(content: unknown): InstanceReading[] {
  if (typeof content !== 'string') throw new DecodeError('the content of a batch is no text');
  const pack = resolveSenml(decodeSenml(Buffer.from(content, 'base64')));
  const base = pack[0]?.extensions ?? {};
  let seq = numberIn(base, 'bq');
  if (seq === undefined) throw new DecodeError('a batch does not tell the number of its first reading (bq)');
  let count = numberIn(base, 'bc');
  const epoch = numberIn(base, 'be') ?? Number.NaN;
  return pack.map((record, index): InstanceReading => {
    const own = record.extensions ?? {};
    if (index > 0) {
      seq = numberIn(own, 'q') ?? (seq ?? 0) + 1;
      const next = numberIn(own, 'c') ?? (count === undefined ? undefined : count + 1);
      count = next === -1 ? undefined : next;
    }
    const bound = numberIn(own, 'm') ?? numberIn(base, 'bm') ?? -1;
    return {
      value: valueOf(record),
      seq: toSeq(seq ?? 0),
      unixMs: unixMillis(Math.round(record.time * 1000)),
      epoch,
      ...(bound < 0 ? {} : { errorBoundMs: millis(bound) }),
      ...(count === undefined ? {} : { producerSeq: count }),
    };
  });
}

function valueFields(value: unknown): SenmlRecord {
  if (typeof value === 'number' && Number.isFinite(value)) return { value };
  if (typeof value === 'string') return { stringValue: value };
  if (typeof value === 'boolean') return { booleanValue: value };
  return { dataValue: encodeCbor(value) };
}

function valueOf({ value, stringValue, booleanValue, dataValue }: ResolvedSenmlRecord): unknown {
  if (dataValue !== undefined) return decodeCbor(dataValue);
  return value ?? stringValue ?? booleanValue;
}

function baseExtensions({ seq, producerSeq, wall }: StoredRecord, epoch: Epoch): Record<string, number> {
  return {
    be: epoch,
    bq: seq,
    ...(producerSeq === undefined ? {} : { bc: producerSeq }),
    ...(wall.errorBoundMs === undefined ? {} : { bm: wall.errorBoundMs }),
  };
}

function extensionsAfter(
  before: StoredRecord,
  record: StoredRecord,
  first: StoredRecord,
): Record<string, number> {
  const expected = before.producerSeq === undefined ? undefined : before.producerSeq + 1;
  const bound = record.wall.errorBoundMs;
  return {
    ...(record.seq === before.seq + 1 ? {} : { q: record.seq }),
    ...(record.producerSeq === expected ? {} : { c: record.producerSeq ?? -1 }),
    ...(bound === first.wall.errorBoundMs ? {} : { m: bound ?? -1 }),
  };
}

/** The shortest number that tells this time to well below a millisecond. */
function secondsOf(timeMs: number): number {
  const seconds = timeMs / 1000;
  const isNear = (candidate: number): boolean => Math.abs(candidate * 1000 - timeMs) <= 0.25;
  return [nearestHalf(seconds), Math.fround(seconds)].find(isNear) ?? seconds;
}

function numberIn(fields: Readonly<Record<string, unknown>>, label: string): number | undefined {
  const value = fields[label];
  return typeof value === 'number' ? value : undefined;
}
