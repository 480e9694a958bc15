import { assert } from '../base/assert.ts';
import { millis } from '../base/units.ts';
import type { StreamName } from '../base/units.ts';
import type { CancelTimer, Clock } from '../host/clock.ts';
import { FileError } from '../host/filesystem.ts';
import { settledRangesMax } from './cursor-file.ts';
import type { CursorFile, CursorState, SlotTail } from './cursor-file.ts';
import type { LogDamage, StreamOptions } from './log-options.ts';
import type { LogAge, LogTime } from './log-time.ts';
import type { StreamStats } from './log-results.ts';
import type { StoredRecord } from './record.ts';
import type { Predecessor, RecoveredLog } from './recovery.ts';
import type { Identities } from './identities.ts';
import { encodeSummary, estimateStamp } from './slot.ts';
import type { Slot, Stamp, StreamSpan } from './slot.ts';
import { SlotChains } from './slot-chains.ts';
import type { IsSettled } from './slot-chains.ts';
import type { SlotPool } from './slot-pool.ts';
import type { WearLedger } from './wear-ledger.ts';
import { streamRangesMax } from './stream-ledger.ts';
import type { StreamLedger } from './stream-ledger.ts';

/** The accounts of all streams, and their durable copy in the cursor. */
export class LogAccounts {
  readonly time: LogTime;
  readonly chains: SlotChains;
  readonly #clock: Clock;
  readonly #identities: Identities;
  readonly #wear: WearLedger;
  readonly #seqBase: number;
  readonly #cursor: CursorFile;
  readonly #pool: SlotPool;
  readonly #ledgers: Map<StreamName, StreamLedger>;
  readonly #fences: Map<number, number>;
  readonly #onDamage: ((damage: LogDamage) => void) | undefined;
  readonly #isNew: boolean;
  #unsavedBytes = 0;
  readonly #isSettled: IsSettled = (name, { first, last }) => this.ledger(name).isSettled(first, last);
  #isClosed = false;
  #isBegun = false;
  #saving: Promise<boolean> = Promise.resolve(true);
  /** By slot that a failed write has set aside: withdraws its return. */
  readonly #returns = new Map<Slot, CancelTimer>();

  constructor(
    found: RecoveredLog,
    pool: SlotPool,
    wear: WearLedger,
    clock: Clock,
    streams: ReadonlyMap<StreamName, StreamOptions>,
    onDamage: ((damage: LogDamage) => void) | undefined,
  ) {
    this.time = found.time;
    this.#clock = clock;
    this.#identities = found.identities;
    this.#wear = wear;
    this.#seqBase = found.seqBase;
    this.#cursor = found.cursor;
    this.#pool = pool;
    this.#ledgers = found.ledgers;
    this.#fences = found.fences;
    this.#onDamage = onDamage;
    this.#isNew = found.needsCursor;
    this.chains = new SlotChains(streams, pool.slots, this.#isSettled);
  }

  /**
   * Makes the accounts of this run durable before its first record. Throws `FileError` when the cursor is new and
   * cannot be written; one that exists is written later if need be.
   */
  async begin(): Promise<void> {
    if (!this.#isNew) {
      await this.save();
      return;
    }
    // Twice, so that a lost cursor cannot come back should its place be readable again.
    await this.#saveOnce();
    await this.#saveOnce();
  }

  /** Whether the cursor says that this run has begun: a cut would be noticed. */
  get isBegun(): boolean {
    return this.#isBegun;
  }

  find(stream: StreamName): StreamLedger | undefined {
    return this.#ledgers.get(stream);
  }

  /** The account of a stream that is configured or has records. */
  ledger(stream: StreamName): StreamLedger {
    const known = this.#ledgers.get(stream);
    assert(known !== undefined, `no account of stream ${stream}`);
    return known;
  }

  /** True when it tells something that the cursor should know soon. */
  noteStored(record: StoredRecord, slot: Slot): boolean {
    const ledger = this.ledger(record.stream);
    assert(record.seq === ledger.last + 1, `${record.stream}: number ${record.seq} after ${ledger.last}`);
    ledger.last = record.seq;
    ledger.noteProducerSeq(record.producerSeq);
    this.chains.noteStored(slot, record.stream);
    return this.time.noteWall(record.wall, record.monotonicMs);
  }

  /** What the slot with the oldest pending records of a stream holds of it. */
  headSpan(ledger: StreamLedger): StreamSpan | undefined {
    return this.chains.headOf(ledger.name)?.spans.get(ledger.name);
  }

  /** When a pending record was taken, estimated within its slot. */
  stampOf(stream: StreamName, number: number): Stamp | undefined {
    const span = this.chains.slotWith(stream, number)?.spans.get(stream);
    return span === undefined ? undefined : estimateStamp(span, number);
  }

  /**
   * Settles the numbers `from` to `through`; returns how many records that were. Undefined, and nothing is settled, when
   * that takes a range above the floor and none is left.
   */
  settle(
    ledger: StreamLedger,
    from: number,
    through: number,
    as: 'delivered' | 'evicted',
  ): number | undefined {
    if (ledger.needsRange(from, through)) {
      const all = [...this.#ledgers.values()].reduce((sum, { rangeCount }) => sum + rangeCount, 0);
      if (ledger.rangeCount >= streamRangesMax || all >= settledRangesMax) return undefined;
    }
    const count = ledger.settleRange(from, through, as);
    this.chains.noteSettled(ledger.name, ledger.floor);
    if (from > ledger.floor) this.chains.noteSettledFrom(ledger.name, from, this.#isSettled);
    return count;
  }

  /** Notes the size of a commit; true when the cursor should be written, for the sake of the next start. */
  noteCommitted(commitBytes: number): boolean {
    this.#unsavedBytes += commitBytes;
    return this.#unsavedBytes >= unsavedBytesMax;
  }

  noteMissing(ledger: StreamLedger, from: number, to: number): void {
    const count = ledger.markMissing(from, to);
    if (count === 0) return;
    const message = `stream ${ledger.name}: ${count} records between ${from} and ${to} are lost`;
    this.#onDamage?.({ kind: 'records', count, stream: ledger.name, message });
  }

  /**
   * Sets a slot aside with what it held before the failed write. After a while it is as good as any other that takes no
   * more records: once they are settled its place is tried again, as it would be after a restart.
   */
  fence(slot: Slot): void {
    this.#pool.setAside(slot);
    this.chains.noteAside(slot);
    this.#fences.set(slot.life, slot.length);
    this.#returns.set(
      slot,
      this.#clock.schedule(asideMs, () => this.#giveBack(slot)),
    );
    const message = `${slot.label} is set aside for ${asideMs / 1000} s after a failed write`;
    this.#onDamage?.({ kind: 'slot', count: 0, message });
  }

  #giveBack(slot: Slot): void {
    this.#returns.delete(slot);
    this.#pool.giveBack(slot);
    this.chains.noteReturned(slot);
  }

  /** Makes the accounts durable, then frees the slots that they settle (B3). False when the disk refused. */
  save(): Promise<boolean> {
    this.#saving = this.#saving.then(async () => {
      try {
        await this.#saveOnce();
        return true;
      } catch (error) {
        if (error instanceof FileError) return false;
        throw error;
      }
    });
    return this.#saving;
  }

  /** What a log hands on to one that takes its place. */
  predecessor(): Predecessor {
    const ledgers = new Map([...this.#ledgers].map(([name, ledger]) => [name, ledger.state()]));
    const time = this.time.state(this.#clock.monotonicMs());
    return { run: this.#identities.run, time, wear: this.#wear.state(), ledgers };
  }

  /** Closes the cursor of a log that has vanished. */
  async abandon(): Promise<void> {
    this.#stopReturns();
    await this.#saving;
    await this.#cursor.close();
  }

  /** Counts per stream; pending is counted over the slots, independently of the rest (B2). */
  stats(): Map<StreamName, StreamStats> {
    const nowMs = this.time.nowMs(this.#clock.monotonicMs());
    return new Map([...this.#ledgers].map(([name, ledger]) => [name, this.#streamStats(ledger, nowMs)]));
  }

  /** Writes the accounts of a run that ends, in order or not, and closes the cursor. */
  async close(isInOrder: boolean): Promise<void> {
    this.#isClosed = isInOrder;
    this.#stopReturns();
    await this.save();
    await this.#cursor.close();
  }

  #stopReturns(): void {
    for (const cancel of this.#returns.values()) cancel();
    this.#returns.clear();
  }

  #streamStats(ledger: StreamLedger, nowMs: number): StreamStats {
    const { stored, delivered, evicted, corrupt } = ledger;
    let pending = 0;
    let age: LogAge | undefined;
    for (const slot of this.#pool.slots) {
      const span = slot.spans.get(ledger.name);
      if (span === undefined) continue;
      pending += ledger.pendingIn(span.first - 1, span.last);
      if (age !== undefined) continue;
      const oldest = ledger.firstPendingIn(span.first - 1, span.last);
      if (oldest !== undefined) age = this.time.ageOf(estimateStamp(span, oldest), nowMs);
    }
    if (stored !== delivered + evicted + corrupt + pending) {
      const sum = `${delivered} delivered + ${evicted} evicted + ${corrupt} corrupt + ${pending} pending`;
      const message = `stream ${ledger.name}: ${stored} stored is not ${sum}; report this defect`;
      this.#onDamage?.({ kind: 'account', count: 0, stream: ledger.name, message });
    }
    const oldestUnacknowledgedMs = age === undefined || pending === 0 ? undefined : millis(age.ageMs);
    const isAgeExact = age?.isExact ?? true;
    return { stored, delivered, evicted, corrupt, pending, oldestUnacknowledgedMs, isAgeExact };
  }

  #tails(): Map<number, SlotTail> {
    const open = this.#pool.openSlots().filter((slot) => slot.isBegun);
    return new Map(open.map((slot) => [slot.life, { length: slot.length, summary: encodeSummary(slot) }]));
  }

  async #saveOnce(): Promise<void> {
    const streams = new Map([...this.#ledgers].map(([name, ledger]) => [name, ledger.state()]));
    const state: CursorState = {
      slotBytes: this.#pool.slotBytes,
      nextLife: this.#pool.nextLife,
      seqBase: this.#seqBase,
      isClosed: this.#isClosed,
      identities: this.#identities.state(new Set(streams.keys())),
      fences: new Map([...this.#fences].slice(-fencesMax)),
      tails: this.#tails(),
      streams,
      time: this.time.state(this.#clock.monotonicMs()),
      wear: this.#wear.state(),
    };
    const settled = this.chains.settled();
    this.#unsavedBytes = 0;
    const { position, length } = await this.#cursor.write(state);
    this.#isBegun = !state.isClosed;
    this.#wear.noteWrite(position, length);
    this.#wear.noteFlush();
    for (const slot of settled) {
      this.chains.remove(slot);
      this.#pool.release(slot);
    }
    if (this.#fences.size > freedFencesMax) this.#dropFences();
  }

  /** A slot that is free still holds what its fence keeps out, until another life is begun there: the oldest go. */
  #dropFences(): void {
    const lives = new Set(this.#pool.slots.map((slot) => slot.life));
    const freed = [...this.#fences.keys()].filter((life) => !lives.has(life));
    for (const life of freed.slice(0, -freedFencesMax)) this.#fences.delete(life);
  }
}

/** Time after which a slot that a failed write has set aside may be used again. */
const asideMs = millis(30_000);
const fencesMax = 128;
/** Of them, those of slots that are free. */
const freedFencesMax = 64;
/** Octets of commits after which the cursor is written again, so that a start has little to read. */
const unsavedBytesMax = 3 * 1024 * 1024;
