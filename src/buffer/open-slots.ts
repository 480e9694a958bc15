import type { StreamName } from '../base/units.ts';
import type { LogAccounts } from './log-accounts.ts';
import type { Evictions } from './evictions.ts';
import type { StreamOptions } from './log-options.ts';
import { refused } from './log-results.ts';
import type { AppendResult } from './log-results.ts';
import type { Slot } from './slot.ts';
import type { SlotPool } from './slot-pool.ts';

/** What `OpenSlots` works with. */
export interface OpenSlotsParts {
  readonly pool: SlotPool;
  readonly accounts: LogAccounts;
  readonly streams: ReadonlyMap<StreamName, StreamOptions>;
  readonly quotaBytes: number;
  /** Slots that a former run has left open, by priority. */
  readonly open: ReadonlyMap<number, Slot>;
  readonly evictions: Evictions;
  /** Makes the accounts durable, which frees slots; false when the disk refused. */
  readonly save: () => Promise<boolean>;
}

/** The slots that take records, one per priority, and the room that is made for them. */
export class OpenSlots {
  readonly #pool: SlotPool;
  readonly #accounts: LogAccounts;
  readonly #streams: ReadonlyMap<StreamName, StreamOptions>;
  readonly #quotaBytes: number;
  readonly #evictions: Evictions;
  readonly #save: () => Promise<boolean>;
  readonly #open: Map<number, Slot>;

  constructor(parts: OpenSlotsParts) {
    this.#pool = parts.pool;
    this.#accounts = parts.accounts;
    this.#streams = parts.streams;
    this.#quotaBytes = parts.quotaBytes;
    this.#evictions = parts.evictions;
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
      this.#evictions.settle(this.#accounts.ledger(stream), span.last, reason);
    }
    await this.#save();
    return !this.#pool.slots.includes(victim);
  }

  /** Closes the slot of a priority to records. */
  async seal(priority: number): Promise<void> {
    const slot = this.#open.get(priority);
    if (slot === undefined) return;
    this.#open.delete(priority);
    await this.#pool.seal(slot);
  }
}
