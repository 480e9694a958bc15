import type { StreamName } from '../base/units.ts';
import type { LogAccounts } from './log-accounts.ts';
import type { Evictions } from './evictions.ts';
import type { LogLimits, StreamOptions } from './log-options.ts';
import { refused } from './log-results.ts';
import type { AppendResult } from './log-results.ts';
import type { Slot } from './slot.ts';
import type { SlotPool } from './slot-pool.ts';

/** What `OpenSlots` works with. */
export interface OpenSlotsParts {
  readonly pool: SlotPool;
  readonly accounts: LogAccounts;
  readonly streams: ReadonlyMap<StreamName, StreamOptions>;
  readonly limits: Required<LogLimits>;
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
  readonly #quotaBytes: number;
  readonly #top: number;
  readonly #reserveSlots: number;
  readonly #evictions: Evictions;
  readonly #save: () => Promise<boolean>;
  readonly #open: Map<number, Slot>;

  constructor(parts: OpenSlotsParts) {
    this.#pool = parts.pool;
    this.#accounts = parts.accounts;
    const priorities = new Set([...parts.streams.values()].map(({ priority }) => priority));
    const { quotaBytes, reserveBytes } = parts.limits;
    this.#quotaBytes = quotaBytes;
    this.#top = Math.max(...priorities);
    // Every priority must have a slot to be in service at all.
    const spare = Math.max(0, this.#pool.limit - priorities.size);
    this.#reserveSlots = Math.min(spare, Math.ceil(reserveBytes / this.#pool.slotBytes));
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
      if (this.#open.has(priority) && (!this.#isOver(priority) || whenFull === 'refuse')) return undefined;
      const slot = this.#open.get(priority) ?? (await this.#take(priority));
      if (slot !== undefined && !this.#isOver(priority)) return undefined;
      if (!isReclaimed && (await this.#reclaim(busy))) continue;
      isReclaimed = true;
      if (whenFull === 'refuse') return this.#fullRefusal('the log is full');
      const victim = this.#accounts.chains.victim(priority, busy);
      if (victim === undefined || victim === slot) {
        if (slot !== undefined) return undefined;
        return this.#fullRefusal(
          'everything stored has a higher priority or must be kept, or the rest is reserved',
        );
      }
      const isFreed = await this.#evict(victim, this.#pool.isShortOfDisk ? 'diskFull' : 'quota');
      if (!isFreed) return refused('disk', 'the disk refuses to note that evicted records are gone');
    }
  }

  async #take(priority: number): Promise<Slot | undefined> {
    const { chains } = this.#accounts;
    const reserved = priority < this.#top ? this.#reserveSlots - chains.countOf(this.#top) : 0;
    if (reserved > 0 && this.#pool.roomSlots <= reserved) return undefined;
    const slot = await this.#pool.take(priority);
    if (slot === undefined) return undefined;
    this.#open.set(priority, slot);
    chains.add(slot, priority);
    return slot;
  }

  /** Whether a priority has more than it may, as after limits were lowered. */
  #isOver(priority: number): boolean {
    if (this.#pool.isOverQuota) return true;
    const others = this.#pool.count - this.#accounts.chains.countOf(this.#top);
    return priority < this.#top && others > this.#pool.limit - this.#reserveSlots;
  }

  #fullRefusal(why: string): AppendResult {
    const { asideCount, count, usedBytes } = this.#pool;
    if (asideCount > 0 && asideCount === count) {
      return refused(
        'disk',
        `all ${asideCount} slots are set aside after failed writes; they are tried again`,
      );
    }
    if (usedBytes === 0) return refused('disk', 'the disk has no space for a single slot');
    return refused('full', `${why}: ${usedBytes} of ${this.#quotaBytes} bytes are in use`);
  }

  /** Frees slots whose records are settled, if not yet durably; false when there was none. */
  async #reclaim(busy: ReadonlySet<Slot>): Promise<boolean> {
    for (const [priority, slot] of this.#open) {
      if (!busy.has(slot) && this.#accounts.chains.isSettled(slot)) await this.seal(priority);
    }
    const before = this.#pool.count;
    return this.#accounts.chains.hasSettled && (await this.#save()) && this.#pool.count < before;
  }

  async #evict(victim: Slot, reason: 'quota' | 'diskFull'): Promise<boolean> {
    for (const [priority, slot] of this.#open) if (slot === victim) await this.seal(priority);
    for (const [stream, span] of victim.spans) {
      const ledger = this.#accounts.ledger(stream);
      // Below a slot that is settled already there may be older records, pending in other slots.
      if (!ledger.isSettled(span.first, span.last)) this.#evictions.settle(ledger, 1, span.last, reason);
    }
    await this.#save();
    return !this.#pool.holds(victim);
  }

  /** Closes the slot of a priority to records. */
  async seal(priority: number): Promise<void> {
    const slot = this.#open.get(priority);
    if (slot === undefined) return;
    this.#open.delete(priority);
    await this.#pool.seal(slot);
    this.#accounts.chains.noteClosed(slot);
  }
}

/**
 * Of the slots found open those that may take records: the records of a stream lie in the order of lives, so none whose
 * streams have records in a later one, as after a stream was given another priority. The others are closed.
 */
export function continuable(
  open: ReadonlyMap<number, Slot>,
  slots: readonly Slot[],
  streams: ReadonlyMap<StreamName, StreamOptions>,
): Map<number, Slot> {
  const newest = new Map<StreamName, number>();
  for (const { life, spans } of slots) for (const name of spans.keys()) newest.set(name, life);
  const overtaken = new Set<Slot>();
  for (const { name, priority } of streams.values()) {
    const slot = open.get(priority);
    if (slot !== undefined && (newest.get(name) ?? 0) > slot.life) overtaken.add(slot);
  }
  for (const slot of overtaken) slot.state = 'closed';
  return new Map([...open].filter(([, slot]) => !overtaken.has(slot)));
}
