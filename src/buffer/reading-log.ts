import { assert } from '../base/assert.ts';
import { errorText } from '../base/errors.ts';
import { bytes, millis, seq as toSeq } from '../base/units.ts';
import type { Seq, StreamName } from '../base/units.ts';
import type { CancelTimer, Clock } from '../host/clock.ts';
import { randomHex } from '../host/entropy.ts';
import { FileError } from '../host/filesystem.ts';
import { encodeFrame, frameBytes } from './frame.ts';
import { LogAccounts } from './log-accounts.ts';
import { checkLimits, checkStreams } from './log-options.ts';
import type { LogLimits, ReadingLogOptions, StreamOptions } from './log-options.ts';
import { LogReader } from './log-reader.ts';
import type { AppendResult, LogStats, RefusalReason, StreamStats } from './log-results.ts';
import { Batch, QueuedRecord } from './record-batch.ts';
import { encodeRecord, payloadBytesMax, recordBytes } from './record.ts';
import type { NewRecord, StoredRecord } from './record.ts';
import { recoverLog } from './recovery.ts';
import { headerBytes } from './segment.ts';
import type { Segment } from './segment.ts';
import { SegmentStore, diskBytes } from './segment-store.ts';
import type { StreamLedger } from './stream-ledger.ts';

/**
 * The durable buffer: readings of many streams on flash, each delivered once in order and then forgotten.
 *
 * Files of its directory: `cursor` (cursor-file.ts) and segments `<number>.segment` (segment.ts) of frames (frame.ts).
 * Streams of one priority share a segment; a run appends only to segments that it made itself, so that what a power
 * cut left of an older one is never written over and never mistaken for this run's.
 *
 * It relies on the device for three things:
 *   D1 a 512-byte sector is written whole or not at all;
 *   D2 what a completed flush covers stays;
 *   D3 writing a sector harms no other that is already durable (the weakest one on SD cards).
 *
 * It holds, and test/buffer/ checks, that
 *   B1 a record reported stored survives a power cut at any instant: the report follows the fdatasync that covers it;
 *   B2 per stream, stored = delivered + evicted + corrupt + pending, also across restarts;
 *   B3 the cursor that settles a segment's records is durable before the segment is removed;
 *   B4 a bad frame costs that frame, neither its neighbours nor the start;
 *   B5 a name (log id, number) is never given to two records that anyone has seen;
 *   B6 after a failed write or flush nothing of that batch counts, the segment takes no more records, and its tail is
 *      fenced off durably before the producers hear of it.
 * One flush is in flight per segment; what arrives meanwhile is the next batch. No call blocks the JavaScript thread.
 */
export class ReadingLog {
  readonly logId: string;
  readonly runId: string;
  readonly #clock: Clock;
  readonly #limits: Required<LogLimits>;
  readonly #streams: Map<StreamName, StreamOptions>;
  readonly #accounts: LogAccounts;
  readonly #store: SegmentStore;
  readonly #reader: LogReader;
  readonly #onEviction: ReadingLogOptions['onEviction'];
  readonly #listeners = new Set<(record: StoredRecord) => void>();
  /** The segment that takes the records of a priority. */
  readonly #open = new Map<number, Segment>();
  #queue: QueuedRecord[] = [];
  /** Of each stream the newest waiting record with a counter of its producer. */
  readonly #newestCounted = new Map<StreamName, QueuedRecord>();
  #queuedBytes = 0;
  #flushing: Promise<void> | undefined;
  #flushTimer: CancelTimer | undefined;
  #cursorTimer: CancelTimer | undefined;
  #diskIsFull = false;
  #isClosed = false;

  private constructor(options: ReadingLogOptions, parts: LogParts) {
    this.logId = parts.logId;
    this.runId = parts.runId;
    this.#clock = options.clock;
    this.#limits = parts.limits;
    this.#streams = parts.streams;
    this.#accounts = parts.accounts;
    this.#store = parts.store;
    this.#reader = new LogReader(options.filesystem);
    this.#onEviction = options.onEviction;
  }

  /** See `openReadingLog`. */
  static async open(options: ReadingLogOptions): Promise<ReadingLog> {
    const limits = checkLimits(options.limits ?? {});
    const streams = checkStreams(options.streams);
    const { filesystem, entropy, directory } = options;
    const found = await recoverLog(filesystem, directory, entropy, streams.keys());
    const runId = randomHex(entropy, 4);
    const { logId, segments } = found;
    const nextId = found.nextSegment;
    const store = new SegmentStore({ filesystem, entropy, directory, runId, logId, segments, nextId });
    const accounts = new LogAccounts(found, store, options.onDamage);
    const log = new ReadingLog(options, { logId, runId, limits, streams, accounts, store });
    for (const damage of found.damage) options.onDamage?.(damage);
    await accounts.begin();
    return log;
  }

  /**
   * Stores a record. Answers when it is durable, or when it is certain that it is not stored; never rejects for what
   * the disk or the producer does. Records of one stream get their numbers in the order of the calls.
   *
   * With `producerSeq`, a record whose counter is not above the newest stored one is a `duplicate` and not stored
   * again. A producer that restarts its counter therefore needs a stream of its own per start, or a counter that
   * carries the start in its upper digits.
   */
  async append(record: NewRecord): Promise<AppendResult> {
    const stream = this.#streams.get(record.stream);
    const refusal = this.#refusal(record, stream);
    if (refusal !== undefined || stream === undefined)
      return refusal ?? refused('unknownStream', record.stream);
    const ledger = this.#accounts.ledger(record.stream);
    if (record.producerSeq !== undefined) {
      if (ledger.holdsProducerSeq(record.producerSeq)) return { kind: 'duplicate' };
      const newest = this.#newestCounted.get(record.stream);
      if (newest !== undefined && record.producerSeq <= (newest.record.producerSeq ?? -1)) {
        // Whether it is a repeat is known only when the earlier one is stored, or is not.
        await newest.settled;
        return this.append(record);
      }
    }
    const item = new QueuedRecord(record, stream, this.#dueMs(stream));
    this.#queue.push(item);
    if (record.producerSeq !== undefined) this.#newestCounted.set(record.stream, item);
    this.#queuedBytes += item.frameBytes;
    this.#arm();
    return item.settled;
  }

  /**
   * The oldest records of a stream that are not acknowledged, or the oldest above `afterSeq`, in order; at most `max`,
   * and fewer when their payloads exceed 1 MiB. Takes memory for those only.
   * Throws `FileError` when a segment cannot be opened.
   */
  async peek(stream: StreamName, max: number, afterSeq?: Seq): Promise<StoredRecord[]> {
    const ledger = this.#accounts.find(stream);
    if (ledger === undefined || max < 1) return [];
    const after = Math.max(ledger.floor, afterSeq ?? 0);
    return this.#read(ledger, after, Math.min(max, peekCountMax));
  }

  /** One record by its number, while a segment still holds it. Throws `FileError` like `peek`. */
  async get(stream: StreamName, number: Seq): Promise<StoredRecord | undefined> {
    const ledger = this.#accounts.find(stream);
    if (ledger === undefined || number < 1 || number > ledger.last) return undefined;
    const [record] = await this.#read(ledger, number - 1, 1);
    return record?.seq === number ? record : undefined;
  }

  /**
   * Settles every record up to `throughSeq` as delivered. It reaches the disk within `cursorLingerMs`: after a power
   * cut the last ones may be pending again, under the same names. Numbers already settled are no error.
   */
  acknowledge(stream: StreamName, throughSeq: Seq): void {
    const ledger = this.#accounts.find(stream);
    assert(ledger !== undefined, `acknowledgement for unknown stream ${stream}`);
    if (throughSeq <= ledger.floor) return;
    ledger.settle(throughSeq, 'delivered');
    this.#armCursor();
  }

  /**
   * Settles every pending record up to `throughSeq` as evicted, because nobody takes them: like `acknowledge`, except
   * that they count as evicted and are reported so.
   */
  giveUp(stream: StreamName, throughSeq: Seq): void {
    const ledger = this.#accounts.find(stream);
    assert(ledger !== undefined, `records of unknown stream ${stream} are given up`);
    const fromSeq = toSeq(ledger.floor + 1);
    const count = ledger.settle(throughSeq, 'evicted');
    if (count === 0) return;
    this.#onEviction?.({ stream, count, fromSeq, toSeq: throughSeq, reason: 'givenUp' });
    this.#armCursor();
  }

  /** The newest counter of the producer that is durably stored; what is not above it need not be sent again. */
  lastProducerSeq(stream: StreamName): number | undefined {
    return this.#accounts.find(stream)?.lastProducerSeq;
  }

  /** Number of the newest stored record; 0 before the first. */
  lastSeq(stream: StreamName): Seq {
    return toSeq(this.#accounts.find(stream)?.last ?? 0);
  }

  /** Calls `handler` for each record once it is stored, until the returned function is called. */
  onStored(handler: (record: StoredRecord) => void): () => void {
    this.#listeners.add(handler);
    return () => this.#listeners.delete(handler);
  }

  /** The counters now. Finding them unequal is reported as damage of kind `account`. */
  stats(): LogStats {
    const now = { monotonicMs: this.#clock.monotonicMs(), unixMs: this.#clock.unixMs() };
    const streams = this.#accounts.stats(this.runId, now);
    const sum = (pick: (stats: StreamStats) => number): number =>
      [...streams.values()].reduce((total, stats) => total + pick(stats), 0);
    const ages = [...streams.values()].map((stats) => stats.oldestUnacknowledgedMs ?? -1);
    const oldest = Math.max(-1, ...ages);
    return {
      stored: sum((stats) => stats.stored),
      delivered: sum((stats) => stats.delivered),
      evicted: sum((stats) => stats.evicted),
      corrupt: sum((stats) => stats.corrupt),
      pending: sum((stats) => stats.pending),
      oldestUnacknowledgedMs: oldest < 0 ? undefined : millis(oldest),
      usedBytes: bytes(this.#store.usedBytes),
      quotaBytes: this.#limits.quotaBytes,
      queued: this.#queue.length,
      streams,
    };
  }

  /** Flushes what waits, and makes the acknowledgements durable; false when the disk refused the latter. */
  async sync(): Promise<boolean> {
    while (this.#queue.length > 0) await this.#startFlush();
    return this.#saveCursor();
  }

  /** Stores what waits, makes the acknowledgements durable and closes the files. Later appends are refused. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.sync();
    this.#flushTimer?.();
    this.#cursorTimer?.();
    for (const segment of this.#open.values()) await this.#store.seal(segment);
    this.#open.clear();
    await this.#accounts.close();
  }

  #refusal(record: NewRecord, stream: StreamOptions | undefined): AppendResult | undefined {
    if (this.#isClosed) return refused('closed', 'the log is closed');
    if (stream === undefined) return refused('unknownStream', `stream ${record.stream} is not configured`);
    const { payload, producerSeq } = record;
    const wall = [record.monotonicMs, record.wall.unixMs, record.wall.errorBoundMs ?? 0];
    if (payload.length > payloadBytesMax) {
      return refused('tooLarge', `a payload of ${payload.length} bytes; at most ${payloadBytesMax} fit`);
    }
    if (producerSeq !== undefined && (!Number.isSafeInteger(producerSeq) || producerSeq < 0)) {
      return refused('invalid', `producerSeq ${producerSeq} is no whole number from 0 up`);
    }
    if (!wall.every(Number.isFinite))
      return refused('invalid', `times ${wall.join(', ')} are not all numbers`);
    const size = frameBytes(recordBytes(record));
    if (diskBytes(undefined, size) > this.#limits.quotaBytes) {
      return refused('tooLarge', `a record of ${size} bytes in a log of ${this.#limits.quotaBytes}`);
    }
    if (this.#queuedBytes + size > this.#limits.queuedBytesMax && this.#queue.length > 0) {
      return refused('busy', `${this.#queue.length} records wait for the disk`);
    }
    return undefined;
  }

  async #read(ledger: StreamLedger, after: number, countMax: number): Promise<StoredRecord[]> {
    const request = { stream: ledger.name, after, countMax, payloadBytesMax: peekBytesMax };
    const { records, missing } = await this.#reader.read(this.#store.segments, request);
    for (const { from, to } of missing) this.#accounts.noteMissing(ledger, from, to);
    return records;
  }

  #dueMs(stream: StreamOptions): number {
    const now = this.#clock.monotonicMs();
    return stream.durability === 'A' ? now : now + (stream.lingerMs ?? lingerMsDefault);
  }

  /** Starts a flush when one is due, else the timer for it. */
  #arm(): void {
    if (this.#flushing !== undefined || this.#queue.length === 0) return;
    const dueMs = this.#queue.reduce((least, item) => Math.min(least, item.dueMs), Number.POSITIVE_INFINITY);
    const delayMs = dueMs - this.#clock.monotonicMs();
    this.#flushTimer?.();
    this.#flushTimer = undefined;
    if (delayMs <= 0 || this.#queuedBytes >= batchBytesEarly) void this.#startFlush();
    else this.#flushTimer = this.#clock.schedule(millis(delayMs), () => this.#arm());
  }

  #startFlush(): Promise<void> {
    this.#flushing ??= this.#flush().finally(() => {
      this.#flushing = undefined;
      this.#arm();
    });
    return this.#flushing;
  }

  async #flush(): Promise<void> {
    // What the caller appends in the same turn belongs to the same batch.
    await Promise.resolve();
    const batches = await this.#takeBatches();
    await Promise.all(batches.map((batch) => this.#commit(batch)));
  }

  /** Takes records from the queue, finds room for them, and numbers them; what must wait stays in the queue. */
  async #takeBatches(): Promise<Batch[]> {
    const batches = new Map<number, Batch>();
    const full = new Set<number>();
    const refusals = new Map<QueuedRecord, AppendResult>();
    let diskRefusal: AppendResult | undefined;
    let takenBytes = 0;
    for (const item of [...this.#queue]) {
      const { priority } = item.stream;
      if (full.has(priority) || takenBytes + item.frameBytes > batchBytesMax) {
        full.add(priority);
        continue;
      }
      const outcome = diskRefusal ?? (await this.#place(item, batches));
      if (outcome === 'wait') full.add(priority);
      else if (outcome === 'taken') takenBytes += item.frameBytes;
      else {
        refusals.set(item, outcome);
        if (outcome.kind === 'refused' && outcome.reason === 'disk') diskRefusal = outcome;
      }
    }
    this.#answer(refusals);
    return [...batches.values()];
  }

  /** Adds a record to the batch of its priority, making room first. */
  async #place(item: QueuedRecord, batches: Map<number, Batch>): Promise<'taken' | 'wait' | AppendResult> {
    const { priority } = item.stream;
    const batch = batches.get(priority);
    let segment = this.#open.get(priority);
    const planned = batch?.frameBytes ?? 0;
    if (segment !== undefined && !this.#fits(segment, planned + item.frameBytes)) {
      if (batch !== undefined) return 'wait';
      await this.#sealOpen(priority);
      segment = undefined;
    }
    const refusal = await this.#makeRoom(item, segment, batches);
    if (refusal !== undefined) return refusal;
    try {
      const target = this.#open.get(priority) ?? (await this.#store.create());
      this.#open.set(priority, target);
      const into = batch ?? new Batch(target);
      into.add(item);
      batches.set(priority, into);
      return 'taken';
    } catch (error) {
      return this.#diskRefusal(error);
    }
  }

  #fits(segment: Segment, more: number): boolean {
    const used = Math.max(segment.length, headerBytes);
    return used + more <= this.#limits.segmentBytesMax || (used === headerBytes && segment.spans.size === 0);
  }

  /** Evicts until the record fits into the quota; answers a refusal when it must not or cannot. */
  async #makeRoom(
    item: QueuedRecord,
    segment: Segment | undefined,
    batches: ReadonlyMap<number, Batch>,
  ): Promise<AppendResult | undefined> {
    const busy = new Set([...batches.values()].map((batch) => batch.segment));
    const growth = (): number => {
      let sum = 0;
      const planned = new Map([...batches.values()].map((batch) => [batch.segment, batch.frameBytes]));
      if (segment === undefined) sum += diskBytes(undefined, item.frameBytes);
      else planned.set(segment, (planned.get(segment) ?? 0) + item.frameBytes);
      for (const [target, more] of planned) sum += diskBytes(target, more) - diskBytes(target, 0);
      return sum;
    };
    for (;;) {
      const exceeds = this.#store.usedBytes + growth() > this.#limits.quotaBytes;
      if (!exceeds && !this.#diskIsFull) return undefined;
      const reason = exceeds ? 'quota' : 'diskFull';
      this.#diskIsFull = false;
      if (item.stream.whenFull === 'refuse') {
        if (!exceeds) return undefined;
        return refused('full', `the log holds ${this.#store.usedBytes} of ${this.#limits.quotaBytes} bytes`);
      }
      const victim = this.#accounts.victim(item.stream.priority, this.#streams, busy);
      if (victim === undefined || victim === segment) {
        // The segment that the record would join is the only one left to give.
        if (!exceeds) return undefined;
        if (victim === undefined) return refused('full', 'everything stored has a higher priority');
      }
      const freed = await this.#evict(victim, reason);
      if (!freed) return refused('disk', 'the disk refuses to give up evicted segments');
      if (victim === segment) segment = undefined;
    }
  }

  async #evict(victim: Segment, reason: 'quota' | 'diskFull'): Promise<boolean> {
    for (const [priority, segment] of this.#open) if (segment === victim) await this.#sealOpen(priority);
    for (const [stream, span] of victim.spans) {
      const ledger = this.#accounts.ledger(stream);
      const fromSeq = toSeq(ledger.floor + 1);
      const count = ledger.settle(span.last, 'evicted');
      if (count > 0) this.#onEviction?.({ stream, count, fromSeq, toSeq: toSeq(span.last), reason });
    }
    await this.#saveCursor();
    return !this.#store.segments.includes(victim);
  }

  async #sealOpen(priority: number): Promise<void> {
    const segment = this.#open.get(priority);
    if (segment === undefined) return;
    this.#open.delete(priority);
    await this.#store.seal(segment);
  }

  /** Writes a batch; its records are answered when the flush that covers them has returned (B1). */
  async #commit(batch: Batch): Promise<void> {
    const { segment, items } = batch;
    const next = new Map<StreamName, number>();
    const results = new Map<QueuedRecord, AppendResult>();
    const records = items.map((item): StoredRecord => {
      const { stream } = item.record;
      const number = (next.get(stream) ?? this.#accounts.ledger(stream).last) + 1;
      next.set(stream, number);
      const record = { ...item.record, seq: toSeq(number), logId: this.logId, runId: this.runId };
      results.set(item, { kind: 'stored', record });
      return record;
    });
    const nonce = segment.nonce ?? 0;
    const frames = Buffer.concat(records.map((record) => encodeFrame(nonce, 'record', encodeRecord(record))));
    try {
      await this.#store.commit(segment, frames, records);
    } catch (error) {
      await this.#abandon(segment);
      const refusal = this.#diskRefusal(error);
      this.#answer(new Map(items.map((item) => [item, refusal])));
      return;
    }
    for (const record of records) this.#accounts.noteStored(record);
    this.#answer(results);
    for (const record of records) {
      for (const listener of this.#listeners) queueMicrotask(() => listener(record));
    }
  }

  /** B6. Should the fence not become durable either, a later segment that repeats the numbers wins at the next start. */
  async #abandon(segment: Segment): Promise<void> {
    for (const [priority, open] of this.#open) if (open === segment) this.#open.delete(priority);
    await this.#store.quarantine(segment);
    this.#accounts.fence(segment);
    await this.#saveCursor();
  }

  #diskRefusal(error: unknown): AppendResult {
    if (!(error instanceof FileError)) throw error;
    if (error.errno === 'ENOSPC' || error.errno === 'EDQUOT') this.#diskIsFull = true;
    return refused('disk', errorText(error));
  }

  #answer(results: ReadonlyMap<QueuedRecord, AppendResult>): void {
    this.#queue = this.#queue.filter((item) => !results.has(item));
    for (const [item, result] of results) {
      this.#queuedBytes -= item.frameBytes;
      const { stream } = item.record;
      if (this.#newestCounted.get(stream) === item) this.#newestCounted.delete(stream);
      item.settle(result);
    }
  }

  #armCursor(): void {
    this.#cursorTimer ??= this.#clock.schedule(this.#limits.cursorLingerMs, () => {
      this.#cursorTimer = undefined;
      void this.#saveCursor();
    });
  }

  async #saveCursor(): Promise<boolean> {
    const isSaved = await this.#accounts.save();
    // Tried again later; meanwhile nothing is removed (B3).
    if (!isSaved && !this.#isClosed) this.#armCursor();
    return isSaved;
  }
}

/**
 * Opens the log of a directory, making it when there is none. Damage is reported, never fatal. Throws `ConfigError` for
 * limits or streams that cannot work, and `FileError` when the directory cannot be made, read or written.
 */
export function openReadingLog(options: ReadingLogOptions): Promise<ReadingLog> {
  return ReadingLog.open(options);
}

const lingerMsDefault = 100;
/** A class B batch of this size waits no longer. */
const batchBytesEarly = 16 * 1024;
const batchBytesMax = 1024 * 1024;
const peekCountMax = 4096;
const peekBytesMax = 1024 * 1024;

interface LogParts {
  readonly logId: string;
  readonly runId: string;
  readonly limits: Required<LogLimits>;
  readonly streams: Map<StreamName, StreamOptions>;
  readonly accounts: LogAccounts;
  readonly store: SegmentStore;
}

function refused(reason: RefusalReason, message: string): AppendResult {
  return { kind: 'refused', reason, message };
}
