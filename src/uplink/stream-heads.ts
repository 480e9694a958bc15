import type { Seq, StreamName } from '../base/units.ts';
import { seq as toSeq } from '../base/units.ts';
import type { StoredRecord } from '../buffer/record.ts';
import type { Clock } from '../host/clock.ts';
import { nextBatch, repeatedBatch } from './batch.ts';
import type { Attempt, Batch, BatchRule } from './batch.ts';
import type { StreamPart } from './destination.ts';
import type { RecordSource } from './lane-options.ts';

/** What comes next of each part. */
export interface Heads {
  readonly live: Batch | undefined;
  readonly backlog: Batch | undefined;
  /** Number of the next live record, be it stored or not. */
  readonly nextSeq: Seq;
}

/**
 * The next batch of each part of a stream. What was sent once and is not settled comes again as it was, as far as it is
 * still pending: that is what keeps its name the same while parts of it are given up (I2).
 */
export class StreamHeads {
  readonly #stream: StreamName;
  readonly #source: RecordSource;
  readonly #clock: Clock;
  readonly #rule: BatchRule | undefined;
  readonly #attempts = new Map<StreamPart, Attempt>();
  readonly #singlyThrough = new Map<StreamPart, Seq>();

  constructor(options: {
    stream: StreamName;
    source: RecordSource;
    clock: Clock;
    rule: BatchRule | undefined;
  }) {
    this.#stream = options.stream;
    this.#source = options.source;
    this.#clock = options.clock;
    this.#rule = options.rule;
  }

  /** Looks into the log. */
  async look(): Promise<Heads> {
    const mark = this.#source.backlogThrough(this.#stream);
    // Taken before the look into the log: what is stored meanwhile is the first that comes after.
    const afterLast = toSeq(this.#source.lastSeq(this.#stream) + 1);
    // One more than a batch holds tells that the last one is complete.
    const countMax = this.#rule === undefined ? 1 : this.#rule.max + 1;
    const oldest = await this.#source.peek(this.#stream, countMax);
    const hasBacklog = (oldest[0]?.seq ?? Number.POSITIVE_INFINITY) <= mark;
    if (!hasBacklog) {
      const live = this.#next('live', oldest, Number.POSITIVE_INFINITY);
      return { live, backlog: undefined, nextSeq: live?.records[0].seq ?? afterLast };
    }
    const backlog = this.#next('backlog', oldest, mark);
    const newer = await this.#source.peek(this.#stream, countMax, mark);
    const live = this.#next('live', newer, Number.POSITIVE_INFINITY);
    return { live, backlog, nextSeq: live?.records[0].seq ?? afterLast };
  }

  /** A batch is sent: until it is settled it stays as it is. */
  begin(part: StreamPart, { logId, firstSeq, lastSeq }: Batch): void {
    this.#attempts.set(part, { logId, firstSeq, lastSeq });
  }

  /** The CSE does not take a batch: each of its records goes alone. */
  sendSingly(part: StreamPart, { lastSeq }: Batch): void {
    this.#attempts.delete(part);
    this.#singlyThrough.set(part, lastSeq);
  }

  #next(part: StreamPart, records: readonly StoredRecord[], partThrough: number): Batch | undefined {
    const attempt = this.#attempts.get(part);
    const repeated = attempt === undefined ? undefined : repeatedBatch(attempt, records);
    if (repeated !== undefined) return repeated;
    this.#attempts.delete(part);
    return nextBatch(records, {
      rule: this.#rule,
      singlyThrough: this.#singlyThrough.get(part) ?? toSeq(0),
      partThrough,
      runId: this.#source.runId,
      nowMs: this.#clock.monotonicMs(),
    });
  }
}
