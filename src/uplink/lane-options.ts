import type { Millis, Seq, StreamName } from '../base/units.ts';
import type { StoredRecord } from '../buffer/record.ts';
import type { BatchRule } from './batch.ts';
import type { Destination } from './destination.ts';

/** What of the log a lane works on. */
export interface RecordSource {
  /**
   * The oldest records that are pending, or the oldest above `afterSeq`, at most `max`; fewer where the disk cannot be read
   * now, and rejects with `UnreadableError` when that is the first of them.
   */
  peek(stream: StreamName, max: number, afterSeq?: Seq): Promise<readonly StoredRecord[]>;
  /** Number of the first of them, without reading it; undefined when there is none. */
  firstPending(stream: StreamName, afterSeq?: Seq): Seq | undefined;
  /**
   * Everything of the stream up to `throughSeq`, or from `fromSeq` on, is delivered; false when the log cannot settle
   * records above pending ones now.
   */
  acknowledge(stream: StreamName, throughSeq: Seq, fromSeq?: Seq): boolean;
  /** The same for what is settled without being delivered. */
  giveUp(stream: StreamName, throughSeq: Seq, fromSeq?: Seq): boolean;
  /** What is pending up to this number is backlog; 0 without one. */
  backlogThrough(stream: StreamName): Seq;
  /** Sets the mark and makes it durable in one with the acknowledgements so far; false when the disk refused. */
  markBacklog(stream: StreamName, throughSeq: Seq): Promise<boolean>;
  /** Number of the newest stored record of the stream; 0 before the first. */
  lastSeq(stream: StreamName): Seq;
  /** Whether records of this log are, or were in an earlier run, named by it. */
  isOwnLogId(logId: string): boolean;
  /** The run that stores records now. */
  readonly runId: string;
}

/** Deadlines and waits of delivery. */
export interface UplinkSettings {
  /** How long the next answer may take; asked for each request, because it follows the path's own history. */
  readonly deadlineMs: () => Millis;
  readonly retryMsMin: Millis;
  readonly retryMsMax: Millis;
  /** Share of the deliveries that a backlog has while live records wait as well, from 1 to 90. */
  readonly backlogPercent: number;
  /** Records that are pending when a CSE returns and are delivered in order all the same: some round trips, soon over. */
  readonly shortBacklogMax: number;
}

/** What of a stream is delivered first after an outage: the oldest, or what is new; see the header of this file. */
export type DeliveryOrder = 'inOrder' | 'liveFirst';

/** How a stream is delivered. */
export interface StreamDelivery {
  readonly order: DeliveryOrder;
  /** How readings travel together; each on its own when absent. */
  readonly batch?: BatchRule;
  /** Unit of the values (RFC 8428 12.1); told with batches. */
  readonly unit?: string;
}

/** One request to the serving CSE, when it was sent, and how long its answer, or the wait for none, took. */
export interface Exchange {
  readonly isAnswered: boolean;
  readonly sentMs: Millis;
  readonly tookMs: Millis;
}

/** What lanes tell the gateway. */
export interface UplinkObserver {
  onExchange(destination: Destination, exchange: Exchange): void;
  /** Everything of the part up to `seq` is delivered. */
  onDelivered(stream: StreamName, seq: Seq): void;
  /** The CSE no longer knows the AE or a container of it: the context must be repaired. */
  onContextLost(destination: Destination, reason: string): void;
  /** A record the CSE refuses for what it is; it is set aside and counted. */
  onRefused(stream: StreamName, seq: Seq, reason: string): void;
  /** What holds a stream up; undefined when it has nothing to deliver. */
  onAlarm(stream: StreamName, text: string | undefined): void;
}

/** What a move came to for one part. */
export interface MovedPart {
  /** First number for the new destination. */
  readonly firstSeq: Seq;
  /** Pending records up to this number may be at another CSE, which could not be asked in time. */
  readonly inDoubtThrough?: Seq;
}

/** What a move came to: for the live part, and for the backlog if there was one. */
export interface Moved extends MovedPart {
  readonly backlog?: MovedPart;
}

/** Bounds of a move: who waits for what no longer. */
export interface MoveLimits {
  /** The CSE left behind does not answer: nobody waits for it or asks it. */
  readonly sourceLost: boolean;
  /** Aborts when the answer to the record under way is no longer waited for. */
  readonly quiet: AbortSignal;
  /** Aborts when the records in doubt are no longer waited for. */
  readonly settled: AbortSignal;
}

/** A move that a lane has not made yet. */
export interface PendingMove {
  readonly destination: Destination | undefined;
  readonly limits: MoveLimits;
  /** Takes what the move came to. */
  readonly settle: (moved: Moved) => void;
}
