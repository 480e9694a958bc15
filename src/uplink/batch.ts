/**
 * Which records of a stream travel together in one contentInstance.
 *
 * A batch is a run of consecutive records of one run of the process which lie in one aligned block of `max` numbers and
 * were taken in one span of `spanMs` of the monotonic clock. All of that is on flash with the records, and so is the cut
 * where their octets become too many: whoever looks at the same records, after a restart too, finds the same batches and
 * gives them the same names, so that a repeat answers 4105 (I2). A batch of one travels as a plain reading under the
 * reading's own name. Records whose wall clock says a time that SenML takes as relative travel plainly as well.
 *
 * A batch leaves once no further record can join it: its block is full, a later record is there, it is of an earlier run,
 * or its span and the time that a reading may take until it is stored (`lateMs`) have passed. Neither this nor the rule is
 * what makes delivery exact: a record may be stored later than anybody thought, part of a batch may be given up between two
 * tries, the rule may be another after a restart. What was sent once is therefore tried again as it was (`Attempt`), and
 * what an earlier run has sent is learned from the name of the newest instance at the CSE (stream-lane.ts).
 */
import { assert } from '../base/assert.ts';
import { seq as toSeq } from '../base/units.ts';
import type { Millis, Seq } from '../base/units.ts';
import { recordName } from '../buffer/record.ts';
import type { StoredRecord } from '../buffer/record.ts';
import { absoluteTimeMin } from '../onem2m/senml.ts';

/** How the records of a stream are put together. */
export interface BatchRule {
  /** Most records in one batch, 2 to `batchRecordsMax`. */
  readonly max: number;
  /** Longest time between the first and the last one. */
  readonly spanMs: Millis;
  /** How long a reading may take until it is stored. */
  readonly lateMs: Millis;
}

/** Most records in one batch, whatever the rule says. */
export const batchRecordsMax = 64;

/** Octets of payload in a batch of more than one record: a few datagrams, and far below what a CSE must take. */
export const batchBytesMax: number = 8 * 1024;

/** Consecutive numbers that travel under one name. */
export interface Attempt {
  readonly logId: string;
  readonly firstSeq: Seq;
  readonly lastSeq: Seq;
}

/** Records that are delivered by one request: a batch, or a single one. */
export interface Batch extends Attempt {
  /** In order; fewer than the numbers when some were given up meanwhile. */
  readonly records: readonly [StoredRecord, ...StoredRecord[]];
  /** Monotonic time from which on no record can join it. */
  readonly dueMs: number;
  /** Last number that could still join it. */
  readonly openThrough: Seq;
}

/** What limits the first batch of `records`. */
export interface BatchBounds {
  /** Without one, and up to `singlyThrough`, each record travels on its own. */
  readonly rule: BatchRule | undefined;
  readonly singlyThrough: Seq;
  /** Last number of the part of the stream; records after it belong to another. */
  readonly partThrough: number;
  /** Run of the process that stores records now. */
  readonly runId: string;
  readonly nowMs: Millis;
}

/** Name of the instance: `<logId>-<seq>`, or `<logId>-<first>-<last>` for a batch. */
export function instanceName({ logId, firstSeq, lastSeq }: Attempt): string {
  const name = recordName(logId, firstSeq);
  return firstSeq === lastSeq ? name : `${name}-${lastSeq}`;
}

/** The numbers that an instance name tells, or undefined when it is none of ours. */
export function parseInstanceName(name: string): Attempt | undefined {
  const match = /^([0-9a-f]{8})-([1-9]\d{0,14})(?:-([1-9]\d{0,14}))?$/u.exec(name);
  if (match === null) return undefined;
  const [, logId = '', first = '', last = first] = match;
  const attempt = { logId, firstSeq: toSeq(Number(first)), lastSeq: toSeq(Number(last)) };
  return attempt.lastSeq < attempt.firstSeq ? undefined : attempt;
}

/** The first batch of the oldest pending records of a part; undefined without any. */
export function nextBatch(records: readonly StoredRecord[], bounds: BatchBounds): Batch | undefined {
  const [first, ...others] = records;
  if (first === undefined || first.seq > bounds.partThrough) return undefined;
  const { rule, runId, nowMs } = bounds;
  const isSingle = rule === undefined || first.seq <= bounds.singlyThrough || !isDatable(first);
  const taken: [StoredRecord, ...StoredRecord[]] = [first];
  const whole = { logId: first.logId, firstSeq: first.seq };
  if (isSingle) return { ...whole, lastSeq: first.seq, records: taken, dueMs: 0, openThrough: first.seq };
  const blockEnd = Math.ceil(first.seq / rule.max) * rule.max;
  const openThrough = toSeq(Math.min(blockEnd, bounds.partThrough));
  let payloadBytes = first.payload.length;
  let isCut = false;
  for (const record of others) {
    payloadBytes += record.payload.length;
    const before = taken.at(-1) ?? first;
    isCut =
      record.seq > openThrough || !isNeighbour(before, record, rule.spanMs) || payloadBytes > batchBytesMax;
    if (isCut) break;
    taken.push(record);
  }
  const lastSeq = (taken.at(-1) ?? first).seq;
  const isComplete = isCut || lastSeq === openThrough || first.runId !== runId;
  const endMs = (spanOf(first, rule.spanMs) + 1) * rule.spanMs + rule.lateMs;
  // A reading that claims to be from later than now does not hold the stream back.
  const isStrange = endMs > nowMs + rule.spanMs + rule.lateMs;
  return { ...whole, lastSeq, records: taken, dueMs: isComplete || isStrange ? 0 : endMs, openThrough };
}

/** What is still pending of a batch that was sent before, under its name. */
export function repeatedBatch(attempt: Attempt, records: readonly StoredRecord[]): Batch | undefined {
  const [first, ...others] = records.filter(({ seq }) => seq <= attempt.lastSeq);
  if (first === undefined) return undefined;
  assert(first.seq >= attempt.firstSeq, `record ${first.seq} is pending before the attempt at it`);
  return { ...attempt, records: [first, ...others], dueMs: 0, openThrough: attempt.lastSeq };
}

function isNeighbour(before: StoredRecord, record: StoredRecord, spanMs: Millis): boolean {
  return (
    record.seq === before.seq + 1 &&
    record.logId === before.logId &&
    record.runId === before.runId &&
    spanOf(record, spanMs) === spanOf(before, spanMs) &&
    isDatable(record)
  );
}

function spanOf({ monotonicMs }: StoredRecord, spanMs: Millis): number {
  return Math.floor(monotonicMs / spanMs);
}

function isDatable({ wall }: StoredRecord): boolean {
  return wall.unixMs >= absoluteTimeMin * 1000;
}
