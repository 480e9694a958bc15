import { errorText } from '../base/errors.ts';
import type { Millis, Seq, StreamName } from '../base/units.ts';
import { millis, seq as toSeq } from '../base/units.ts';
import { UnreadableError } from '../buffer/log-results.ts';
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
  /** Number of the oldest record of the backlog; undefined without one. */
  readonly backlogSeq: Seq | undefined;
  /** Number of the next live record, be it stored or not. */
  readonly nextSeq: Seq;
  /** Why a part has records and no batch: the disk cannot be read now. */
  readonly unreadable?: string;
}

/** Shortest wait: the rest of a difference of two times can be too small to be added to either of them. */
const waitMsMin = 1;

/** How long it takes until one of the batches is complete; undefined when none waits for company. */
export function waitMs(batches: readonly (Batch | undefined)[], nowMs: Millis): Millis | undefined {
  const dueMs = Math.min(...batches.map((batch) => batch?.dueMs ?? Number.POSITIVE_INFINITY));
  return Number.isFinite(dueMs) ? millis(Math.max(waitMsMin, dueMs - nowMs)) : undefined;
}

/** What is pending of a stream, as far as the disk can be read. */
interface Peeked {
  readonly records: readonly StoredRecord[];
  readonly firstSeq: Seq | undefined;
  readonly unreadable?: string;
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
    const oldest = await this.#peek(countMax);
    const hasBacklog = (oldest.firstSeq ?? Number.POSITIVE_INFINITY) <= mark;
    const newer = hasBacklog ? await this.#peek(countMax, mark) : oldest;
    const backlog = hasBacklog ? this.#next('backlog', oldest, mark) : undefined;
    const live = this.#next('live', newer, Number.POSITIVE_INFINITY);
    const unreadable = [live, backlog].find((part) => typeof part === 'string');
    const liveBatch = typeof live === 'string' ? undefined : live;
    return {
      live: liveBatch,
      backlog: typeof backlog === 'string' ? undefined : backlog,
      backlogSeq: hasBacklog ? oldest.firstSeq : undefined,
      nextSeq: liveBatch?.records[0].seq ?? newer.firstSeq ?? afterLast,
      ...(unreadable === undefined ? {} : { unreadable }),
    };
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

  async #peek(countMax: number, afterSeq?: Seq): Promise<Peeked> {
    try {
      const records = await this.#source.peek(this.#stream, countMax, afterSeq);
      return { records, firstSeq: records[0]?.seq };
    } catch (error) {
      if (!(error instanceof UnreadableError)) throw error;
      const firstSeq = this.#source.firstPending(this.#stream, afterSeq);
      return { records: [], firstSeq, unreadable: errorText(error) };
    }
  }

  /** A text says why there is none although records are pending. */
  #next(part: StreamPart, { records, unreadable }: Peeked, partThrough: number): Batch | string | undefined {
    if (unreadable !== undefined) return unreadable;
    const attempt = this.#attempts.get(part);
    const repeated = attempt === undefined ? undefined : repeatedBatch(attempt, records);
    if (repeated !== undefined) return this.#isWhole(repeated) ? repeated : 'a part of it cannot be read now';
    this.#attempts.delete(part);
    return nextBatch(records, {
      rule: this.#rule,
      singlyThrough: this.#singlyThrough.get(part) ?? toSeq(0),
      partThrough,
      runId: this.#source.runId,
      nowMs: this.#clock.monotonicMs(),
    });
  }

  /** Whether a batch that comes again has all that is pending of it: its name settles as much. */
  #isWhole({ records, lastSeq }: Batch): boolean {
    const after = records.at(-1)?.seq;
    return (this.#source.firstPending(this.#stream, after) ?? Number.POSITIVE_INFINITY) > lastSeq;
  }
}
