import type { StreamName } from '../base/units.ts';
import { seq as toSeq } from '../base/units.ts';
import type { LogAccounts } from './log-accounts.ts';
import type { Eviction, StreamOptions } from './log-options.ts';
import { refused } from './log-results.ts';
import type { AppendResult } from './log-results.ts';
import type { Slot } from './slot.ts';
import type { SlotPool } from './slot-pool.ts';
import type { StreamLedger } from './stream-ledger.ts';

/** What `OpenSlots` works with. */
export interface OpenSlotsParts {
  readonly pool: SlotPool;
  readonly accounts: LogAccounts;
  readonly streams: ReadonlyMap<StreamName, StreamOptions>;
  readonly quotaBytes: number;
  /** Slots that a former run has left open, by priority. */
  readonly open: ReadonlyMap<number, Slot>;
  readonly onEviction: ((eviction: Eviction) => void) | undefined;
  /** Makes the accounts durable, which frees slots; false when the disk refused. */
  readonly save: () => Promise<boolean>;
}

/** The slots that take records, one per priority, and the room that is made for them. */
export class OpenSlots {
  readonly #pool: SlotPool;
  readonly #accounts: LogAccounts;
  readonly #streams: ReadonlyMap<StreamName, StreamOptions>;
  readonly #quotaBytes: number;
  readonly #onEviction: ((eviction: Eviction) => void) | undefined;
  readonly #save: () => Promise<boolean>;
  readonly #open: Map<number, Slot>;

  constructor(parts: OpenSlotsParts) {
    this.#pool = parts.pool;
    this.#accounts = parts.accounts;
    this.#streams = parts.streams;
    this.#quotaBytes = parts.quotaBytes;
    this.#onEviction = parts.onEviction;
    this.#save = parts.save;
    this.#open = new Map(parts.open);
  }

  get(priority: number): Slot | undefined {
    return this.#open.get(priority);
  }

  /** Takes a slot whose write failed out of service (B6). */
  abandon(slot: Slot): void {
    for (const [priority, open] of this.#open) if (open === slot) this.#open.delete(priority);
    this.#accounts.fence(slot);
  }

  /**
   * Opens a slot for a record of the stream if none is, evicting if need be; answers a refusal when it must not or
   * cannot. Slots in `busy` are being written.
   */
  async makeRoom(
    { priority, whenFull }: StreamOptions,
    busy: ReadonlySet<Slot>,
  ): Promise<AppendResult | undefined> {
    for (let isReclaimed = false; ;) {
      if (this.#open.has(priority) && (!this.#pool.isOverQuota || whenFull === 'refuse')) return undefined;
      const slot = this.#open.get(priority) ?? (await this.#pool.take(priority));
      if (slot !== undefined) this.#open.set(priority, slot);
      if (slot !== undefined && !this.#pool.isOverQuota) return undefined;
      if (!isReclaimed && (await this.#reclaim(busy))) continue;
      isReclaimed = true;
      if (whenFull === 'refuse') return this.#fullRefusal('the log is full');
      const victim = this.#accounts.victim(priority, this.#streams, busy);
      if (victim === undefined || victim === slot) {
        if (slot !== undefined) return undefined;
        return this.#fullRefusal('everything stored has a higher priority');
      }
      const isFreed = await this.#evict(victim, this.#pool.isShortOfDisk ? 'diskFull' : 'quota');
      if (!isFreed) return refused('disk', 'the disk refuses to note that evicted records are gone');
    }
  }

  #fullRefusal(why: string): AppendResult {
    const { asideCount, slots, usedBytes } = this.#pool;
    if (asideCount > 0 && asideCount === slots.length) {
      return refused('disk', `all ${asideCount} slots are set aside after failed writes`);
    }
    if (usedBytes === 0) return refused('disk', 'the disk has no space for a single slot');
    return refused('full', `${why}: ${usedBytes} of ${this.#quotaBytes} bytes are in use`);
  }

  /** Frees slots whose records are settled, if not yet durably; false when there was none. */
  async #reclaim(busy: ReadonlySet<Slot>): Promise<boolean> {
    for (const [priority, slot] of this.#open) {
      if (!busy.has(slot) && this.#accounts.isSettled(slot)) await this.seal(priority);
    }
    const before = this.#pool.slots.length;
    const isDue = this.#pool.slots.some((slot) => slot.state === 'closed' && this.#accounts.isSettled(slot));
    return isDue && (await this.#save()) && this.#pool.slots.length < before;
  }

  async #evict(victim: Slot, reason: 'quota' | 'diskFull'): Promise<boolean> {
    for (const [priority, slot] of this.#open) if (slot === victim) await this.seal(priority);
    for (const [stream, span] of victim.spans) {
      const ledger = this.#accounts.ledger(stream);
      // Below a slot that is settled already there may be older records, pending in other slots.
      if (!ledger.isSettled(span.first, span.last)) this.settleEvicted(ledger, 1, span.last, reason);
    }
    await this.#save();
    return !this.#pool.slots.includes(victim);
  }

  /** Settles records as evicted and tells it; how many there were, undefined as `LogAccounts.settle` answers it. */
  settleEvicted(
    ledger: StreamLedger,
    from: number,
    through: number,
    reason: Eviction['reason'],
  ): number | undefined {
    const fromSeq = toSeq(Math.max(from, ledger.floor + 1));
    const count = this.#accounts.settle(ledger, from, through, 'evicted');
    if (count !== undefined && count > 0) {
      this.#onEviction?.({ stream: ledger.name, count, fromSeq, toSeq: toSeq(through), reason });
    }
    return count;
  }

  /** Closes the slot of a priority to records. */
  async seal(priority: number): Promise<void> {
    const slot = this.#open.get(priority);
    if (slot === undefined) return;
    this.#open.delete(priority);
    await this.#pool.seal(slot);
  }
}
