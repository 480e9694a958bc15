import { assert } from '../base/assert.ts';
import { millis } from '../base/units.ts';
import type { StreamName } from '../base/units.ts';
import { FileError } from '../host/filesystem.ts';
import { settledRangesMax } from './cursor-file.ts';
import type { CursorFile, CursorState, SlotTail } from './cursor-file.ts';
import type { LogDamage, StreamOptions } from './log-options.ts';
import type { StreamStats } from './log-results.ts';
import type { StoredRecord } from './record.ts';
import type { RecoveredLog } from './recovery.ts';
import type { Identities } from './identities.ts';
import { encodeSummary, estimateStamp } from './slot.ts';
import type { Slot } from './slot.ts';
import type { SlotPool } from './slot-pool.ts';
import type { WearLedger } from './wear-ledger.ts';
import { isSettledIn, streamRangesMax } from './stream-ledger.ts';
import type { StreamLedger } from './stream-ledger.ts';

/** The accounts of all streams, and their durable copy in the cursor. */
export class LogAccounts {
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
  #isClosed = false;
  #saving: Promise<boolean> = Promise.resolve(true);

  constructor(
    found: RecoveredLog,
    pool: SlotPool,
    wear: WearLedger,
    onDamage: ((damage: LogDamage) => void) | undefined,
  ) {
    this.#identities = found.identities;
    this.#wear = wear;
    this.#seqBase = found.seqBase;
    this.#cursor = found.cursor;
    this.#pool = pool;
    this.#ledgers = found.ledgers;
    this.#fences = found.fences;
    this.#onDamage = onDamage;
    this.#isNew = found.needsCursor;
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

  find(stream: StreamName): StreamLedger | undefined {
    return this.#ledgers.get(stream);
  }

  /** The account of a stream that is configured or has records. */
  ledger(stream: StreamName): StreamLedger {
    const known = this.#ledgers.get(stream);
    assert(known !== undefined, `no account of stream ${stream}`);
    return known;
  }

  noteStored(record: StoredRecord): void {
    const ledger = this.ledger(record.stream);
    assert(record.seq === ledger.last + 1, `${record.stream}: number ${record.seq} after ${ledger.last}`);
    ledger.last = record.seq;
    ledger.noteProducerSeq(record.producerSeq);
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
    return ledger.settleRange(from, through, as);
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

  /** Sets a slot aside with what it held before the failed write. */
  fence(slot: Slot): void {
    slot.state = 'aside';
    this.#fences.set(slot.life, slot.length);
    const message = `${slot.label} is set aside after a failed write`;
    this.#onDamage?.({ kind: 'slot', count: 0, message });
  }

  /** Whether every record of a slot is settled, if not yet durably. */
  isSettled(slot: Slot): boolean {
    return [...slot.spans].every(([name, { first, last }]) => this.ledger(name).isSettled(first, last));
  }

  /**
   * The slot to give up first for a record of `priority`: of those whose most important pending stream is not above
   * it, the oldest of the lowest. Slots in `busy` are being written; those set aside would give nothing.
   */
  victim(
    priority: number,
    streams: ReadonlyMap<StreamName, StreamOptions>,
    busy: ReadonlySet<Slot>,
  ): Slot | undefined {
    let best: { slot: Slot; worth: number } | undefined;
    for (const slot of this.#pool.slots) {
      if (busy.has(slot) || slot.state === 'aside') continue;
      const worth = this.#worth(slot, streams);
      if (worth <= priority && (best === undefined || worth < best.worth)) best = { slot, worth };
    }
    return best?.slot;
  }

  #worth(slot: Slot, streams: ReadonlyMap<StreamName, StreamOptions>): number {
    let worth = -2;
    for (const [name, { first, last }] of slot.spans) {
      if (!this.ledger(name).isSettled(first, last))
        worth = Math.max(worth, streams.get(name)?.priority ?? -1);
    }
    return worth;
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

  /** Counts per stream; pending is counted over the slots, independently of the rest (B2). */
  stats(runId: string, now: { monotonicMs: number; unixMs: number }): Map<StreamName, StreamStats> {
    return new Map([...this.#ledgers].map(([name, ledger]) => [name, this.#streamStats(ledger, runId, now)]));
  }

  /** Writes the accounts of a run that ends in order, and closes the cursor. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.save();
    await this.#cursor.close();
  }

  #streamStats(
    ledger: StreamLedger,
    runId: string,
    now: { monotonicMs: number; unixMs: number },
  ): StreamStats {
    const { stored, delivered, evicted, corrupt } = ledger;
    let pending = 0;
    let ageMs: number | undefined;
    for (const slot of this.#pool.slots) {
      const span = slot.spans.get(ledger.name);
      if (span === undefined) continue;
      pending += ledger.pendingIn(span.first - 1, span.last);
      if (ageMs !== undefined) continue;
      const oldest = ledger.firstPendingIn(span.first - 1, span.last);
      if (oldest === undefined) continue;
      const taken = estimateStamp(span, oldest);
      ageMs = taken.runId === runId ? now.monotonicMs - taken.monotonicMs : now.unixMs - taken.unixMs;
    }
    if (stored !== delivered + evicted + corrupt + pending) {
      const sum = `${delivered} delivered + ${evicted} evicted + ${corrupt} corrupt + ${pending} pending`;
      const message = `stream ${ledger.name}: ${stored} stored is not ${sum}; report this defect`;
      this.#onDamage?.({ kind: 'account', count: 0, stream: ledger.name, message });
    }
    const oldestUnacknowledgedMs =
      ageMs === undefined || pending === 0 ? undefined : millis(Math.max(0, ageMs));
    return { stored, delivered, evicted, corrupt, pending, oldestUnacknowledgedMs };
  }

  #tails(): Map<number, SlotTail> {
    const open = this.#pool.slots.filter((slot) => slot.state === 'open' && slot.isBegun);
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
      wear: this.#wear.state(),
    };
    this.#unsavedBytes = 0;
    const { position, length } = await this.#cursor.write(state);
    this.#wear.noteWrite(position, length);
    this.#wear.noteFlush();
    this.#pool.release((name, { first, last }) => {
      const durable = streams.get(name);
      return durable !== undefined && isSettledIn(durable, first, last);
    });
    const lives = new Set(this.#pool.slots.map((slot) => slot.life));
    for (const life of this.#fences.keys()) if (!lives.has(life)) this.#fences.delete(life);
  }
}

const fencesMax = 128;
/** Octets of commits after which the cursor is written again, so that a start has little to read. */
const unsavedBytesMax = 512 * 1024;
