import { assert } from '../base/assert.ts';
import { millis, seq as toSeq } from '../base/units.ts';
import type { StreamName } from '../base/units.ts';
import type { CancelTimer, Clock } from '../host/clock.ts';
import type { CommitQueue } from './commit-queue.ts';
import type { LogAccounts } from './log-accounts.ts';
import type { LogLimits, StreamOptions } from './log-options.ts';
import { refused } from './log-results.ts';
import type { AppendResult, MemoryStats } from './log-results.ts';
import { quantise } from './record.ts';
import type { NewRecord, StoredRecord } from './record.ts';
import { storedBytes } from './record-checks.ts';
import type { StreamLedger } from './stream-ledger.ts';

/** What `HeldRecords` works with. */
export interface HeldParts {
  readonly clock: Clock;
  readonly accounts: LogAccounts;
  readonly queue: CommitQueue;
  readonly limits: Required<LogLimits>;
  /** The names that records get. */
  readonly identity: Pick<StoredRecord, 'logId' | 'runId' | 'bootId'>;
  /** Stores a record as one of class B. */
  readonly store: (record: NewRecord) => Promise<AppendResult>;
  /** Called for each record that is held. */
  readonly onHeld: (record: StoredRecord) => void;
  /** Settles numbers once they are no longer being written. */
  readonly onDeferred: (ledger: StreamLedger, deferred: Deferred) => void;
  /** Makes the accounts durable; false when the disk refused. */
  readonly save: () => Promise<boolean>;
}

/** What was settled while it was on its way to the disk. */
export interface Deferred {
  readonly fromSeq: number;
  readonly throughSeq: number;
  readonly as: 'delivered' | 'givenUp' | 'expired';
}

interface HeldStream {
  readonly ledger: StreamLedger;
  readonly options: StreamOptions;
  records: StoredRecord[];
  /** Under way to the disk: nothing is taken in or settled meanwhile. */
  writing: Promise<void> | undefined;
  deferred: Deferred[];
  /** Whether numbers were settled in memory that the cursor does not know of. */
  isAhead: boolean;
  /** Appends that wait for the write, in order. */
  waiting: number;
  tail: Promise<void>;
  failure: AppendResult | undefined;
}

/**
 * Records of class C while the link is good: in memory, where they are read and settled without a single write. They have
 * numbers, always those after the newest stored one of their stream, so that the order of a stream is that on the disk
 * and then that in memory; a record is held only while everything before it in its stream is delivered or held.
 *
 * They go to the disk, under the numbers they have, when the link fails, when memory is exceeded, after `heldMsMax`, and
 * when the log is closed. A cut loses what is in memory; it was never counted as stored. Its numbers may be given again,
 * under another log id: a run that does not end in order has no successor of its id (B5), which is why nothing is held
 * before the cursor says that this run has begun. And before the first of them is written the cursor knows the numbers
 * settled in memory, lest a start take them for lost.
 */
export class HeldRecords {
  readonly #parts: HeldParts;
  readonly #streams = new Map<StreamName, HeldStream>();
  #isLinkUp = false;
  #heldBytes = 0;
  #waitingBytes = 0;
  #passed = 0;
  #dropped = 0;
  #cancelTimer: CancelTimer | undefined;

  constructor(parts: HeldParts, streams: Iterable<StreamOptions>) {
    this.#parts = parts;
    for (const options of streams) {
      if (options.durability !== 'C') continue;
      this.#streams.set(options.name, {
        ledger: parts.accounts.ledger(options.name),
        options,
        records: [],
        writing: undefined,
        deferred: [],
        isAhead: false,
        waiting: 0,
        tail: Promise.resolve(),
        failure: undefined,
      });
    }
  }

  stats(): MemoryStats {
    const held = [...this.#streams.values()].flatMap(({ ledger, records }) =>
      records.filter(({ seq }) => seq > Math.max(ledger.last, this.settledThrough(ledger.name))),
    );
    const heldBytes = held.reduce((sum, record) => sum + storedBytes(record), 0);
    return { held: held.length, heldBytes, passed: this.#passed, dropped: this.#dropped };
  }

  /** Takes over what another log held whose disk has vanished; numbers go on after its newest stored ones. */
  adopt(other: HeldRecords): void {
    this.#isLinkUp = other.#isLinkUp;
    other.#isLinkUp = false;
    this.#passed = other.#passed;
    this.#dropped = other.#dropped;
    for (const [stream, former] of other.#streams) {
      const held = this.#of(stream);
      const { records } = former;
      former.records = [];
      // What was settled while the other one closed down has numbers too.
      const through = (records[0]?.seq ?? former.ledger.last + 1) - 1;
      if (through > held.ledger.last) held.ledger.skip(through);
      held.records = records;
      held.isAhead = true;
      this.#heldBytes += records.reduce((sum, record) => sum + storedBytes(record), 0);
    }
    if (this.#heldBytes > 0) this.#arm();
  }

  /** Tells whether records are being delivered; when not, what is held goes to the disk. */
  setLinkUp(isUp: boolean): void {
    this.#isLinkUp = isUp;
    if (!isUp) void this.persist();
  }

  /** Takes a record of class C that can be stored. */
  async append(record: NewRecord): Promise<AppendResult> {
    const held = this.#of(record.stream);
    const bytes = storedBytes(record);
    if (held.writing !== undefined || held.waiting > 0) {
      if (this.#waitingBytes + bytes > this.#parts.limits.queuedBytesMax) {
        return refused('busy', `${held.waiting} records wait for the disk`);
      }
      const own = { ...record, payload: record.payload.slice() };
      held.waiting += 1;
      this.#waitingBytes += bytes;
      const turn = held.tail.then(() => held.writing);
      held.tail = turn;
      await turn;
      held.waiting -= 1;
      this.#waitingBytes -= bytes;
      return this.#take(held, own, bytes);
    }
    return this.#take(held, record, bytes);
  }

  /** Writes everything held to the disk; false when some of it could not be. */
  async persist(): Promise<boolean> {
    await Promise.all([...this.#streams.values()].map((held) => this.#persist(held)));
    return [...this.#streams.values()].every(({ records }) => records.length === 0);
  }

  /** The held records of a stream above a number, at most `max`. */
  read(stream: StreamName, after: number, max: number): readonly StoredRecord[] {
    const held = this.#streams.get(stream);
    if (held === undefined || held.records.length === 0) return [];
    const from = Math.max(after, held.ledger.last, this.settledThrough(stream));
    return held.records.filter(({ seq }) => seq > from).slice(0, max);
  }

  /** Number of the newest held record; 0 without one. */
  lastSeq(stream: StreamName): number {
    return this.#streams.get(stream)?.records.at(-1)?.seq ?? 0;
  }

  /** Up to where everything was settled while it is being written. */
  settledThrough(stream: StreamName): number {
    const held = this.#streams.get(stream);
    let through = held === undefined || held.deferred.length === 0 ? 0 : held.ledger.floor;
    for (const { fromSeq, throughSeq } of held?.deferred ?? []) {
      if (fromSeq <= through + 1) through = Math.max(through, throughSeq);
    }
    return through;
  }

  /** Puts off settling records that are being written; false when none are. */
  defer(stream: StreamName, deferred: Deferred): boolean {
    const held = this.#streams.get(stream);
    if (held?.writing === undefined) return false;
    if (deferred.throughSeq > this.settledThrough(stream)) held.deferred.push(deferred);
    return true;
  }

  /** Settles held records up to a number, all stored ones being settled; returns them. */
  pass(stream: StreamName, throughSeq: number, as: Deferred['as']): readonly StoredRecord[] {
    const held = this.#streams.get(stream);
    const last = Math.max(held?.ledger.last ?? 0, this.lastSeq(stream));
    assert(throughSeq <= last, `${stream} has ${last} records, cannot settle ${throughSeq}`);
    if (held === undefined || throughSeq <= held.ledger.last) return [];
    const passed = held.records.filter(({ seq }) => seq <= throughSeq);
    held.ledger.skip(throughSeq);
    held.isAhead = true;
    if (as === 'delivered') this.#passed += passed.length;
    else this.#dropped += passed.length;
    this.#keep(held);
    return passed;
  }

  stop(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  #of(stream: StreamName): HeldStream {
    const held = this.#streams.get(stream);
    assert(held !== undefined, `stream ${stream} is not of class C`);
    return held;
  }

  async #take(held: HeldStream, record: NewRecord, bytes: number): Promise<AppendResult> {
    const { ledger } = held;
    if (record.producerSeq !== undefined && ledger.holdsProducerSeq(record.producerSeq)) {
      return { kind: 'duplicate' };
    }
    if (this.#mayHold(held, bytes)) return { kind: 'held', record: this.#hold(held, record, bytes) };
    if (held.records.length > 0) {
      // What was held comes first; then this record takes its turn again.
      void this.#persist(held);
      if (this.#heldBytes + bytes > this.#parts.limits.heldBytesMax) void this.persist();
      const own = { ...record, payload: record.payload.slice() };
      await held.writing;
      if (held.records.length > 0)
        return held.failure ?? refused('busy', 'earlier records wait for the disk');
      return this.#take(held, own, bytes);
    }
    return this.#parts.store(record);
  }

  #mayHold(held: HeldStream, bytes: number): boolean {
    const { ledger, records } = held;
    if (!this.#isLinkUp || !this.#parts.accounts.isBegun) return false;
    if (this.#heldBytes + bytes > this.#parts.limits.heldBytesMax) return false;
    return records.length > 0 || (ledger.floor === ledger.last && !this.#parts.queue.holds(ledger.name));
  }

  #hold(held: HeldStream, record: NewRecord, bytes: number): StoredRecord {
    const { ledger } = held;
    const number = toSeq(Math.max(ledger.last, this.lastSeq(ledger.name)) + 1);
    const own = quantise({ ...record, payload: record.payload.slice() });
    const kept: StoredRecord = { ...own, seq: number, ...this.#parts.identity };
    held.records.push(kept);
    ledger.noteProducerSeq(kept.producerSeq);
    this.#heldBytes += bytes;
    this.#arm();
    this.#parts.onHeld(kept);
    return kept;
  }

  #persist(held: HeldStream): Promise<void> {
    if (held.records.length === 0 && held.writing === undefined) return Promise.resolve();
    held.writing ??= this.#write(held).finally(() => {
      held.writing = undefined;
      this.#keep(held);
      const deferred = held.deferred;
      held.deferred = [];
      for (const settled of deferred) this.#parts.onDeferred(held.ledger, settled);
    });
    return held.writing;
  }

  async #write(held: HeldStream): Promise<void> {
    // So that `writing` is set before anything happens.
    await Promise.resolve();
    if (held.isAhead) {
      if (!(await this.#parts.save())) {
        held.failure = refused('disk', 'the disk refuses to note what was delivered from memory');
        return;
      }
      held.isAhead = false;
    }
    const { options, records } = held;
    const results = await Promise.all(records.map((record) => this.#parts.queue.addHeld(record, options)));
    held.failure = results.find(({ kind }) => kind === 'refused');
  }

  /** Forgets what is stored or settled. */
  #keep(held: HeldStream): void {
    const { last } = held.ledger;
    for (const record of held.records) if (record.seq <= last) this.#heldBytes -= storedBytes(record);
    held.records = held.records.filter(({ seq }) => seq > last);
  }

  #arm(): void {
    this.#cancelTimer ??= this.#parts.clock.schedule(millis(this.#parts.limits.heldMsMax / 2), () => {
      this.#cancelTimer = undefined;
      const dueMs = this.#parts.clock.monotonicMs() - this.#parts.limits.heldMsMax / 2;
      for (const held of this.#streams.values()) {
        const [oldest] = held.records;
        if (oldest !== undefined && oldest.monotonicMs <= dueMs) void this.#persist(held);
      }
      if (this.#heldBytes > 0) this.#arm();
    });
  }
}
