import { assert } from '../base/assert.ts';
import { errorText } from '../base/errors.ts';
import { bytes, millis, seq as toSeq } from '../base/units.ts';
import type { Seq, StreamName } from '../base/units.ts';
import type { CancelTimer, Clock } from '../host/clock.ts';
import { FileError } from '../host/filesystem.ts';
import { frameBytes } from './frame.ts';
import type { Identities } from './identities.ts';
import { LogAccounts } from './log-accounts.ts';
import { checkLimits, checkStreams, slotBytesFor } from './log-options.ts';
import type { LogLimits, ReadingLogOptions, StreamOptions } from './log-options.ts';
import { OpenSlots } from './open-slots.ts';
import { LogReader } from './log-reader.ts';
import type { ReadResult } from './log-reader.ts';
import { refused } from './log-results.ts';
import type { AppendResult, FlashStats, LogStats, StreamStats } from './log-results.ts';
import { Batch, QueuedRecord } from './record-batch.ts';
import { payloadBytesMax, quantise, recordBytes, streamNameBytesMax } from './record.ts';
import type { NewRecord, StoredRecord } from './record.ts';
import { recoverLog } from './recovery.ts';
import type { Slot } from './slot.ts';
import { SlotPool, commitBytesMax, largestFrameBytes } from './slot-pool.ts';
import type { CommitPart } from './slot-pool.ts';
import type { StreamLedger } from './stream-ledger.ts';
import { WearLedger } from './wear-ledger.ts';

/**
 * The durable buffer: readings of many streams on flash, each delivered once in order and then forgotten.
 *
 * Files of its directory: `cursor` (cursor-file.ts) and `slots`, a container of slots of equal size (slot.ts) filled
 * with frames (frame.ts, record.ts). The container is filled with zeros once (slot-filler.ts); from then on records go
 * into blocks that exist, with one write and one fdatasync per commit, and no commit touches the file system's own
 * records. Streams of one priority share a chain of slots. A slot whose records are all settled is used again.
 *
 * It relies on the device for three things:
 *   D1 a 512-byte sector is written whole or not at all;
 *   D2 what a completed flush covers stays;
 *   D3 writing a sector harms no other that is already durable (the weakest one on SD cards: while space allows,
 *      commits end with their page, so that none that holds durable records is written again).
 *
 * It holds, and test/buffer/ checks, that
 *   B1 a record reported stored survives a power cut at any instant: the report follows the fdatasync that covers it;
 *   B2 per stream, stored = delivered + evicted + corrupt + pending, also across restarts;
 *   B3 the cursor that settles a slot's records is durable before the slot is used again: cursor, fdatasync, new header
 *      with a new life and nonce, frames;
 *   B4 a bad frame costs that frame, a record or a few of one commit, neither its neighbours nor the start;
 *   B5 a name (log id, number) is never given to two records that anyone has seen;
 *   B6 after a failed write or flush nothing of that commit counts, its slots take no more records, and their tails are
 *      fenced off durably before the producers hear of it;
 *   B7 what a start did not find stays gone: no frame of an earlier life of a slot counts, none of an earlier run after
 *      one of a later run, and what a cut tore is erased before the next run writes over its place.
 * One flush is in flight at a time and covers all slots; what arrives meanwhile is the next commit. No call blocks the
 * JavaScript thread.
 */
export class ReadingLog {
  readonly logId: string;
  readonly runId: string;
  readonly #clock: Clock;
  readonly #limits: Required<LogLimits>;
  readonly #streams: Map<StreamName, StreamOptions>;
  readonly #accounts: LogAccounts;
  readonly #pool: SlotPool;
  readonly #reader: LogReader;
  readonly #listeners = new Set<(record: StoredRecord) => void>();
  readonly #wear: WearLedger;
  readonly #beganMs: number;
  readonly #open: OpenSlots;
  #queue: QueuedRecord[] = [];
  /** Of each stream the newest waiting record with a counter of its producer. */
  readonly #newestCounted = new Map<StreamName, QueuedRecord>();
  #queuedBytes = 0;
  #flushing: Promise<void> | undefined;
  #flushTimer: CancelTimer | undefined;
  #cursorTimer: CancelTimer | undefined;
  #isClosed = false;

  private constructor(options: ReadingLogOptions, parts: LogParts) {
    this.logId = parts.identities.logId ?? '';
    this.runId = parts.identities.runId;
    this.#clock = options.clock;
    this.#limits = parts.limits;
    this.#streams = parts.streams;
    this.#accounts = parts.accounts;
    this.#pool = parts.pool;
    this.#reader = new LogReader(parts.pool.handle, parts.identities);
    this.#wear = parts.wear;
    this.#beganMs = options.clock.monotonicMs();
    this.#open = new OpenSlots({
      ...parts,
      quotaBytes: parts.limits.quotaBytes,
      onEviction: options.onEviction,
      save: () => this.#saveCursor(),
    });
  }

  /** See `openReadingLog`. */
  static async open(options: ReadingLogOptions): Promise<ReadingLog> {
    const limits = checkLimits(options.limits ?? {});
    const streams = checkStreams(options.streams);
    const { filesystem, entropy, directory, clock } = options;
    const priorities = new Set([...streams.values()].map(({ priority }) => priority));
    const { quotaBytes } = limits;
    const slotBytes = slotBytesFor(limits, priorities.size);
    const names = new Set(streams.keys());
    const found = await recoverLog({
      filesystem,
      directory,
      entropy,
      streams: names,
      priorities,
      slotBytes,
      quotaBytes,
    });
    const { identities, places } = found;
    const wear = new WearLedger(found.wear);
    const onShortage = (message: string): void => options.onDamage?.({ kind: 'space', count: 0, message });
    const pool = new SlotPool(places, { clock, entropy, identities, wear, quotaBytes, onShortage });
    const accounts = new LogAccounts(found, pool, wear, options.onDamage);
    const log = new ReadingLog(options, {
      identities,
      limits,
      streams,
      accounts,
      pool,
      wear,
      open: found.open,
    });
    for (const damage of found.damage) options.onDamage?.(damage);
    // One for each priority and one to roll over into; a run that goes on has had these.
    const isNew = found.open.size === 0;
    await pool.prepare(priorities.size - found.open.size + (isNew ? 1 : 0));
    await accounts.begin();
    pool.startFilling();
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
   * The oldest pending records of a stream, or the oldest above `afterSeq`, in order; at most `max`, and fewer when their
   * payloads exceed 1 MiB. Takes memory for those only. Throws `FileError` when the log is closed.
   */
  async peek(stream: StreamName, max: number, afterSeq?: Seq): Promise<StoredRecord[]> {
    const ledger = this.#accounts.find(stream);
    if (ledger === undefined || max < 1) return [];
    return this.#takeIn(ledger, await this.#reader.readPending(this.#pool.slots, ledger, afterSeq ?? 0, max));
  }

  /** One record by its number, while a slot still holds it. Throws `FileError` like `peek`. */
  async get(stream: StreamName, number: Seq): Promise<StoredRecord | undefined> {
    const ledger = this.#accounts.find(stream);
    if (ledger === undefined || number < 1 || number > ledger.last) return undefined;
    return this.#takeIn(ledger, await this.#reader.readOne(this.#pool.slots, stream, number))[0];
  }

  /**
   * Settles every record up to `throughSeq` as delivered, or those from `fromSeq` on while older ones stay pending. It
   * reaches the disk within `cursorLingerMs`: after a power cut the last ones may be pending again, under the same
   * names. Numbers already settled are no error. False, and nothing is settled, when the cursor has no place for one range
   * more above pending records: settle those first.
   */
  acknowledge(stream: StreamName, throughSeq: Seq, fromSeq: Seq = toSeq(1)): boolean {
    const ledger = this.#accounts.find(stream);
    assert(ledger !== undefined, `acknowledgement for unknown stream ${stream}`);
    if (throughSeq <= ledger.floor) return true;
    return this.#noteSettled(this.#accounts.settle(ledger, fromSeq, throughSeq, 'delivered'));
  }

  /** Settles records like `acknowledge`, but as evicted, because nobody takes them; they are reported so. */
  giveUp(stream: StreamName, throughSeq: Seq, fromSeq: Seq = toSeq(1)): boolean {
    const ledger = this.#accounts.find(stream);
    assert(ledger !== undefined, `records of unknown stream ${stream} are given up`);
    return this.#noteSettled(this.#open.settleEvicted(ledger, fromSeq, throughSeq, 'givenUp'));
  }

  /** What is pending up to this number is the stream's backlog (see `markBacklog`); 0 without one. */
  backlogThrough(stream: StreamName): Seq {
    return toSeq(this.#accounts.find(stream)?.backlogThrough ?? 0);
  }

  /**
   * Marks what is pending up to `throughSeq` as backlog. True once the mark is durable, in one with the acknowledgements so
   * far; when false, it is set all the same, but a later start may find the one before.
   */
  markBacklog(stream: StreamName, throughSeq: Seq): Promise<boolean> {
    this.#accounts.ledger(stream).markBacklog(throughSeq);
    return this.#saveCursor();
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
      usedBytes: bytes(this.#pool.usedBytes),
      quotaBytes: this.#limits.quotaBytes,
      queued: this.#queue.length,
      flash: this.#flash(now.monotonicMs),
      streams,
    };
  }

  /** Flushes what waits, and makes the acknowledgements durable; false when the disk refused the latter. */
  async sync(): Promise<boolean> {
    while (this.#queue.length > 0) await this.#startFlush();
    return this.#saveCursor();
  }

  #flash(nowMs: number): FlashStats {
    const wear = this.#wear.state();
    const { payloadBytes, deviceBytes } = wear;
    const elapsedMs = nowMs - this.#beganMs;
    const { consumedBytes, roomBytes, roomyBytes } = this.#pool;
    const bytesPerHour = elapsedMs > 0 ? (consumedBytes / elapsedMs) * 3_600_000 : 0;
    return {
      ...wear,
      writeAmplification: payloadBytes > 0 ? deviceBytes / payloadBytes : undefined,
      slotsAside: this.#pool.asideCount,
      consumedBytes,
      roomBytes,
      roomyBytes,
      hoursUntilFull: bytesPerHour > 0 ? roomBytes / bytesPerHour : undefined,
    };
  }

  /** Stores what waits, makes the acknowledgements durable and closes the files. Later appends are refused. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.sync();
    this.#flushTimer?.();
    this.#cursorTimer?.();
    await this.#accounts.close();
    await this.#pool.close();
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
    const size = frameBytes(recordBytes(quantise(record)));
    const largest = largestFrameBytes(this.#pool.slotBytes);
    if (size > largest) {
      return refused('tooLarge', `a record of ${size} bytes; a slot of this log takes at most ${largest}`);
    }
    if (this.#queuedBytes + size > this.#limits.queuedBytesMax && this.#queue.length > 0) {
      return refused('busy', `${this.#queue.length} records wait for the disk`);
    }
    return undefined;
  }

  #takeIn(ledger: StreamLedger, { records, missing }: ReadResult): StoredRecord[] {
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
    // What this commit has no room for shall not wait for company again.
    for (const item of this.#queue) item.dueMs = Math.min(item.dueMs, this.#clock.monotonicMs());
    const batches = await this.#takeBatches();
    if (batches.length > 0) await this.#commit(batches);
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
      if (full.has(priority) || takenBytes + item.frameBytes > commitBytesMax) {
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
    const slot = this.#open.get(priority);
    const length = (batch?.frameBytes ?? 0) + item.frameBytes + frameBytes(2 + streamNameBytesMax);
    if (slot !== undefined && !this.#pool.fits(slot, length)) {
      if (batch !== undefined) return 'wait';
      await this.#open.seal(priority);
    }
    const busy = new Set([...batches.values()].map((other) => other.slot));
    const refusal = await this.#open.makeRoom(item.stream, busy);
    if (refusal !== undefined) return refusal;
    const target = this.#open.get(priority);
    assert(target !== undefined, `no slot for priority ${priority}`);
    const into = batch ?? new Batch(target);
    into.add(item);
    batches.set(priority, into);
    return 'taken';
  }

  /** Writes batches; their records are answered when the flush that covers them has returned (B1). */
  async #commit(batches: readonly Batch[]): Promise<void> {
    const parts = new Map<CommitPart, Batch>();
    for (const batch of batches) parts.set({ slot: batch.slot, records: this.#number(batch) }, batch);
    const failures = await this.#pool.commit([...parts.keys()]);
    for (const [part, { items }] of parts) {
      if (failures.has(part)) continue;
      const { records } = part;
      for (const record of records) this.#accounts.noteStored(record);
      this.#answer(new Map(items.flatMap((item, index) => resultRow(item, records[index]))));
      for (const record of records) {
        for (const listener of this.#listeners) queueMicrotask(() => listener(record));
      }
    }
    if (failures.size > 0) await this.#abandon(parts, failures);
    const committedBytes = batches.reduce((sum, batch) => sum + batch.frameBytes, 0);
    if (this.#accounts.noteCommitted(committedBytes)) void this.#saveCursor();
  }

  #number(batch: Batch): StoredRecord[] {
    const next = new Map<StreamName, number>();
    return batch.items.map((item): StoredRecord => {
      const { stream } = item.record;
      const number = (next.get(stream) ?? this.#accounts.ledger(stream).last) + 1;
      next.set(stream, number);
      return { ...item.record, seq: toSeq(number), logId: this.logId, runId: this.runId };
    });
  }

  /** B6. Should the fence not become durable either, a later slot that repeats the numbers wins at the next start. */
  async #abandon(
    parts: ReadonlyMap<CommitPart, Batch>,
    failures: ReadonlyMap<CommitPart, unknown>,
  ): Promise<void> {
    for (const part of failures.keys()) this.#open.abandon(part.slot);
    await this.#saveCursor();
    for (const [part, error] of failures) {
      const refusal = this.#diskRefusal(error);
      this.#answer(new Map((parts.get(part)?.items ?? []).map((item) => [item, refusal])));
    }
  }

  #diskRefusal(error: unknown): AppendResult {
    if (!(error instanceof FileError)) throw error;
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

  #noteSettled(count: number | undefined): boolean {
    if (count !== undefined && count > 0) this.#armCursor();
    return count !== undefined;
  }

  #armCursor(): void {
    this.#cursorTimer ??= this.#clock.schedule(this.#limits.cursorLingerMs, () => {
      this.#cursorTimer = undefined;
      void this.#saveCursor();
    });
  }

  async #saveCursor(): Promise<boolean> {
    const isSaved = await this.#accounts.save();
    // Tried again later; meanwhile no slot is used again (B3).
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

interface LogParts {
  readonly identities: Identities;
  readonly limits: Required<LogLimits>;
  readonly streams: Map<StreamName, StreamOptions>;
  readonly accounts: LogAccounts;
  readonly pool: SlotPool;
  readonly wear: WearLedger;
  readonly open: ReadonlyMap<number, Slot>;
}

function resultRow(item: QueuedRecord, record: StoredRecord | undefined): [QueuedRecord, AppendResult][] {
  return record === undefined ? [] : [[item, { kind: 'stored', record }]];
}
