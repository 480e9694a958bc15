import { assert } from '../base/assert.ts';
import { errorText } from '../base/errors.ts';
import { bytes, millis, seq as toSeq } from '../base/units.ts';
import type { Seq, StreamName } from '../base/units.ts';
import type { CancelTimer, Clock } from '../host/clock.ts';
import { FileError } from '../host/filesystem.ts';
import { CommitQueue } from './commit-queue.ts';
import { Evictions } from './evictions.ts';
import { Expiry } from './expiry.ts';
import { HeldRecords } from './held-records.ts';
import type { Identities } from './identities.ts';
import type { Deferred } from './held-records.ts';
import type { LogAccounts } from './log-accounts.ts';
import type { LogLimits, ReadingLogOptions, StreamOptions } from './log-options.ts';
import { clearPlace, openParts } from './log-parts.ts';
import type { LogParts } from './log-parts.ts';
import { OpenSlots } from './open-slots.ts';
import { LogReader } from './log-reader.ts';
import type { ReadResult } from './log-reader.ts';
import { UnreadableError, refused } from './log-results.ts';
import type { AppendResult, FlashStats, LogStats, StreamStats } from './log-results.ts';
import { checkRecord, storedBytes } from './record-checks.ts';
import type { NewRecord, StoredRecord } from './record.ts';
import { largestFrameBytes } from './slot-pool.ts';
import type { SlotPool } from './slot-pool.ts';
import type { StreamLedger } from './stream-ledger.ts';
import type { WearLedger } from './wear-ledger.ts';

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
 *      one of a later run, and what a cut tore is erased before the next run writes over its place;
 *   B8 nothing is reported stored in a container that its path no longer leads to: beside each flush it is asked, and
 *      when it has vanished a fresh log is begun there, under a new id and with numbers that go on;
 *   B9 age is time of the log (log-time.ts): no wall clock alone makes a record old or young.
 * One flush is in flight at a time and covers all slots; what arrives meanwhile is the next commit. No call blocks the
 * JavaScript thread.
 */
export class ReadingLog {
  readonly #options: ReadingLogOptions;
  readonly #clock: Clock;
  readonly #limits: Required<LogLimits>;
  readonly #streams: Map<StreamName, StreamOptions>;
  readonly #listeners = new Set<(record: StoredRecord) => void>();
  #core: Core;
  /** Set while there is no place to store anything. */
  #gone: { message: string; triedMs: number } | undefined;
  #renewing: Promise<void> | undefined;
  #cursorTimer: CancelTimer | undefined;
  #isClosed = false;

  private constructor(options: ReadingLogOptions, parts: LogParts) {
    this.#options = options;
    this.#clock = options.clock;
    this.#limits = parts.limits;
    this.#streams = parts.streams;
    this.#core = this.#createCore(parts);
  }

  /** See `openReadingLog`. */
  static async open(options: ReadingLogOptions): Promise<ReadingLog> {
    const log = new ReadingLog(options, await openParts(options));
    log.#core.expiry.start();
    return log;
  }

  /** 8 hexadecimal digits, the first part of the names of new records. */
  get logId(): string {
    return this.#core.identity.logId;
  }
  /** Whether it is, or was before a run that did not end in order, the `logId` of this log. */
  isOwnLogId(logId: string): boolean {
    return this.#core.identities.hasLogId(logId);
  }
  get runId(): string {
    return this.#core.identity.runId;
  }
  get #accounts(): LogAccounts {
    return this.#core.accounts;
  }
  get #pool(): SlotPool {
    return this.#core.pool;
  }
  get #held(): HeldRecords {
    return this.#core.held;
  }

  #createCore(parts: LogParts): Core {
    const { accounts, pool, identities, bootId } = parts;
    const { clock, onEviction } = this.#options;
    const identity = { logId: identities.logId ?? '', runId: identities.runId, bootId };
    const save = (): Promise<boolean> => this.#saveCursor();
    const saveSoon = (): void => this.#armCursor();
    const pass = (
      ledger: StreamLedger,
      through: number,
      as: 'givenUp' | 'expired',
    ): readonly StoredRecord[] =>
      held.defer(ledger.name, { fromSeq: 1, throughSeq: through, as })
        ? []
        : held.pass(ledger.name, through, as);
    const evictions = new Evictions({ ...parts, clock, pass, onEviction });
    const open = new OpenSlots({ ...parts, evictions, save });
    const expiry = new Expiry({
      ...parts,
      clock,
      evictions,
      read: async (ledger, after, countMax) => (await this.#readPending(ledger, after, countMax)).records,
      onSettled: saveSoon,
    });
    const queue = new CommitQueue({
      ...parts,
      clock,
      open,
      identity,
      onStored: (record) => this.#tell(record),
      save,
      saveSoon,
      onGone: (message) => this.#onGone(message),
    });
    const held = new HeldRecords(
      {
        ...parts,
        clock,
        queue,
        identity,
        store: (record) => this.#store(record),
        onHeld: (record) => this.#tell(record),
        onDeferred: ({ name }, deferred) => this.#settle(this.#accounts.ledger(name), deferred),
        save,
      },
      parts.streams.values(),
    );
    const reader = new LogReader(pool.handle, identities, clock);
    return { identity, identities, accounts, pool, reader, wear: parts.wear, evictions, expiry, queue, held };
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
    if (this.#gone !== undefined) {
      await this.#renew();
      if (this.#gone !== undefined) return refused('disk', this.#gone.message);
    }
    return stream.durability === 'C' ? this.#held.append(record) : this.#store(record);
  }

  /**
   * Tells whether readings are being delivered; a new log takes it that they are not. While they are, records of class C
   * stay in memory; when they are not any more, those in memory go to the disk, and so do new ones.
   */
  setLinkUp(isUp: boolean): void {
    this.#held.setLinkUp(isUp && !this.#isClosed);
  }

  async #store(record: NewRecord): Promise<AppendResult> {
    const stream = this.#streams.get(record.stream);
    assert(stream !== undefined, `no stream ${record.stream}`);
    if (this.#isClosed) return refused('closed', 'the log is closed');
    if (this.#gone !== undefined) return refused('disk', this.#gone.message);
    const ledger = this.#accounts.ledger(record.stream);
    if (record.producerSeq !== undefined) {
      if (ledger.holdsProducerSeq(record.producerSeq)) return { kind: 'duplicate' };
      const newest = this.#core.queue.newestCounted(record.stream);
      if (newest !== undefined && record.producerSeq <= (newest.record.producerSeq ?? -1)) {
        // Whether it is a repeat is known only when the earlier one is stored, or is not.
        await newest.settled;
        return this.#store(record);
      }
    }
    return this.#core.queue.add(record, stream);
  }

  /**
   * The oldest pending records of a stream, or the oldest above `afterSeq`, in order; at most `max`, and fewer when their
   * payloads exceed 1 MiB or the next one cannot be read now: when that is the first, throws `UnreadableError`.
   */
  async peek(stream: StreamName, max: number, afterSeq?: Seq): Promise<StoredRecord[]> {
    const ledger = this.#accounts.find(stream);
    if (ledger === undefined || max < 1 || this.#gone !== undefined) return [];
    for (;;) {
      await this.#core.expiry.settle(ledger, afterSeq ?? 0);
      const after = Math.max(afterSeq ?? 0, this.#held.settledThrough(stream));
      const { last } = ledger;
      const { records: stored, failure } = await this.#readPending(ledger, after, max);
      // What moved to the disk meanwhile comes before what is still held.
      if (ledger.last !== last) continue;
      if (failure !== undefined && stored.length === 0) throw new UnreadableError(stream, failure);
      const newest = stored.at(-1)?.seq;
      const isAll = newest === undefined || ledger.openAfter(newest) === undefined;
      const held = isAll ? this.#held.read(stream, after, max - stored.length) : [];
      const records = [...stored, ...held];
      const fresh = this.#core.expiry.fresh(ledger, records, Math.max(ledger.floor, after));
      if (fresh.length > 0 || records.length === 0) return [...fresh];
    }
  }

  /** Number of the oldest pending record, or of the oldest above `afterSeq`; undefined when there is none. Reads nothing. */
  firstPending(stream: StreamName, afterSeq?: Seq): Seq | undefined {
    const ledger = this.#accounts.find(stream);
    if (ledger === undefined || this.#gone !== undefined) return undefined;
    const after = Math.max(afterSeq ?? 0, this.#held.settledThrough(stream));
    const first = ledger.firstPendingIn(after, ledger.last) ?? this.#held.read(stream, after, 1)[0]?.seq;
    return first === undefined ? undefined : toSeq(first);
  }

  /** One record by its number, while a slot still holds it. Throws `UnreadableError` like `peek`. */
  async get(stream: StreamName, number: Seq): Promise<StoredRecord | undefined> {
    const ledger = this.#accounts.find(stream);
    if (ledger === undefined || number < 1) return undefined;
    if (number > ledger.last) return this.#held.read(stream, number - 1, 1)[0];
    const read = await this.#core.reader.readOne(this.#pool.slots, stream, number);
    if (read.failure !== undefined) throw new UnreadableError(stream, read.failure);
    return this.#takeIn(ledger, read).records[0];
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
    return this.#settle(ledger, { fromSeq, throughSeq, as: 'delivered' });
  }

  /** Settles records like `acknowledge`, but as evicted, because nobody takes them; they are reported so. */
  giveUp(stream: StreamName, throughSeq: Seq, fromSeq: Seq = toSeq(1)): boolean {
    const ledger = this.#accounts.find(stream);
    assert(ledger !== undefined, `records of unknown stream ${stream} are given up`);
    return this.#settle(ledger, { fromSeq, throughSeq, as: 'givenUp' });
  }

  /** What is pending up to this number is the stream's backlog (see `markBacklog`); 0 without one. */
  backlogThrough(stream: StreamName): Seq {
    return toSeq(this.#accounts.find(stream)?.backlogThrough ?? 0);
  }

  /**
   * Marks what is pending up to `throughSeq` as backlog, without what is still held because the disk does not take it. True
   * once the mark is durable, in one with the acknowledgements so far; when false, a later start may find the one before,
   * even if it is set in this run.
   */
  async markBacklog(stream: StreamName, throughSeq: Seq): Promise<boolean> {
    // The mark is about numbers on the disk.
    if (throughSeq > this.#accounts.ledger(stream).last) await this.#held.persist();
    const ledger = this.#accounts.ledger(stream);
    ledger.markBacklog(Math.min(throughSeq, ledger.last));
    return this.#saveCursor();
  }

  /** The newest counter of the producer that is stored, or held in class C; what is not above it need not be sent again. */
  lastProducerSeq(stream: StreamName): number | undefined {
    return this.#accounts.find(stream)?.lastProducerSeq;
  }

  /** Number of the newest record, stored or held; 0 before the first. */
  lastSeq(stream: StreamName): Seq {
    return toSeq(Math.max(this.#accounts.find(stream)?.last ?? 0, this.#held.lastSeq(stream)));
  }

  /** Calls `handler` for each record once it is stored or held, until the returned function is called. */
  onStored(handler: (record: StoredRecord) => void): () => void {
    this.#listeners.add(handler);
    return () => this.#listeners.delete(handler);
  }

  /** The counters now. Finding them unequal is reported as damage of kind `account`. */
  stats(): LogStats {
    const streams = this.#accounts.stats();
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
      isAgeExact: [...streams.values()].every((stats) => stats.isAgeExact),
      usedBytes: bytes(this.#pool.usedBytes),
      quotaBytes: this.#limits.quotaBytes,
      queued: this.#core.queue.length,
      memory: this.#held.stats(),
      flash: this.#flash(),
      streams,
    };
  }

  /** Stores what waits and what is held, and makes the acknowledgements durable; false when the disk refused the latter. */
  async sync(): Promise<boolean> {
    await this.#held.persist();
    await this.#core.queue.drain();
    return this.#saveCursor();
  }

  #flash(): FlashStats {
    const wear = this.#core.wear.state();
    const { payloadBytes, deviceBytes } = wear;
    const { consumedBytes, roomBytes, roomyBytes } = this.#pool;
    return {
      ...wear,
      writeAmplification: payloadBytes > 0 ? deviceBytes / payloadBytes : undefined,
      slotsAside: this.#pool.asideCount,
      consumedBytes,
      roomBytes,
      roomyBytes,
    };
  }

  /** Stores what waits, makes the acknowledgements durable and closes the files. Later appends are refused. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#core.expiry.stop();
    this.#held.setLinkUp(false);
    await this.sync();
    // The numbers of what the disk refused have been seen: only another log id can use them again (B5).
    const isInOrder = await this.#held.persist();
    this.#held.stop();
    this.#core.queue.stop();
    this.#cursorTimer?.();
    await this.#accounts.close(isInOrder);
    await this.#pool.close();
  }

  /** B1: what was in the files can no longer be found, and what comes cannot be stored there. */
  #onGone(message: string): void {
    if (this.#gone !== undefined) return;
    this.#gone = { message, triedMs: Number.NEGATIVE_INFINITY };
    this.#core.expiry.stop();
    const count = this.stats().pending;
    const text = `${message}; ${count} stored records are lost with it, and a new log is begun if it can be`;
    this.#options.onDamage?.({ kind: 'place', count, message: text });
    void this.#renew();
  }

  /** Begins a fresh log, under a new id and with numbers that go on, in the place of one that has vanished. */
  #renew(): Promise<void> {
    this.#renewing ??= this.#tryRenewal().finally(() => {
      this.#renewing = undefined;
    });
    return this.#renewing;
  }

  async #tryRenewal(): Promise<void> {
    const gone = this.#gone;
    const nowMs = this.#clock.monotonicMs();
    if (gone === undefined || this.#isClosed || nowMs - gone.triedMs < renewalMs) return;
    gone.triedMs = nowMs;
    const { filesystem, directory } = this.#options;
    const former = this.#core;
    try {
      await clearPlace(filesystem, directory);
      const parts = await openParts(this.#options, former.accounts.predecessor());
      const core = this.#createCore(parts);
      core.held.adopt(former.held);
      former.held.stop();
      former.queue.stop();
      this.#core = core;
      this.#gone = undefined;
      core.expiry.start();
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
      gone.message = errorText(error);
      return;
    }
    await Promise.allSettled([former.pool.close(), former.accounts.abandon()]);
  }

  #refusal(record: NewRecord, stream: StreamOptions | undefined): AppendResult | undefined {
    if (this.#isClosed) return refused('closed', 'the log is closed');
    if (stream === undefined) return refused('unknownStream', `stream ${record.stream} is not configured`);
    const wrong = checkRecord(record, largestFrameBytes(this.#pool.slotBytes));
    if (wrong !== undefined) return wrong;
    const queuedBytes = this.#core.queue.queuedBytes + storedBytes(record);
    if (queuedBytes > this.#limits.queuedBytesMax && this.#core.queue.length > 0) {
      return refused('busy', `${this.#core.queue.length} records wait for the disk`);
    }
    return undefined;
  }

  #settle(ledger: StreamLedger, deferred: Deferred): boolean {
    const { fromSeq, throughSeq, as } = deferred;
    const newest = this.lastSeq(ledger.name);
    assert(throughSeq <= newest, `${ledger.name} has ${newest} records, cannot settle ${throughSeq}`);
    if (this.#held.defer(ledger.name, deferred)) return true;
    const { floor, last } = ledger;
    // What is held settles only after everything on the disk.
    const isApart = ledger.firstPendingIn(floor, Math.min(fromSeq - 1, last)) !== undefined;
    if (throughSeq > last && isApart) return false;
    const stored = Math.min(throughSeq, last);
    // Below it there is nothing then, but perhaps what no frame holds: that is settled with it.
    const from = throughSeq > last ? 1 : fromSeq;
    const count =
      as === 'delivered'
        ? this.#accounts.settle(ledger, from, stored, as)
        : this.#core.evictions.settle(ledger, from, throughSeq, as);
    if (count === undefined) return false;
    if (count > 0 || ledger.floor > floor) this.#armCursor();
    if (as === 'delivered' && throughSeq > last) this.#held.pass(ledger.name, throughSeq, as);
    return true;
  }

  async #readPending(ledger: StreamLedger, after: number, countMax: number): Promise<ReadResult> {
    return this.#takeIn(
      ledger,
      await this.#core.reader.readPending(this.#pool.slots, ledger, after, countMax),
    );
  }

  #takeIn(ledger: StreamLedger, read: ReadResult): ReadResult {
    for (const { from, to } of read.missing) this.#accounts.noteMissing(ledger, from, to);
    return read;
  }

  #tell(record: StoredRecord): void {
    for (const listener of this.#listeners) queueMicrotask(() => listener(record));
  }

  #armCursor(): void {
    this.#cursorTimer ??= this.#clock.schedule(this.#limits.cursorLingerMs, () => {
      this.#cursorTimer = undefined;
      void this.#saveCursor();
    });
  }

  async #saveCursor(): Promise<boolean> {
    // It takes in every acknowledgement so far, so what waits for the timer need not.
    this.#cursorTimer?.();
    this.#cursorTimer = undefined;
    if (this.#gone !== undefined) return false;
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

/** Shortest time between two attempts to begin a log where one has vanished. */
const renewalMs = 1000;

/** What works together on the files of one log. */
interface Core {
  readonly identity: Pick<StoredRecord, 'logId' | 'runId' | 'bootId'>;
  readonly identities: Identities;
  readonly accounts: LogAccounts;
  readonly pool: SlotPool;
  readonly reader: LogReader;
  readonly wear: WearLedger;
  readonly evictions: Evictions;
  readonly expiry: Expiry;
  readonly queue: CommitQueue;
  readonly held: HeldRecords;
}
