import { assert } from '../base/assert.ts';
import type { StreamName } from '../base/units.ts';
import type { StreamOptions } from './log-options.ts';
import type { Slot, StreamSpan } from './slot.ts';

/** A slot in its chains. */
interface Link {
  readonly slot: Slot;
  readonly priority: number;
  /** Streams with pending records in it, and those of them that must not be given up for their own priority. */
  pendingCount: number;
  keptCount: number;
  chain: Chain | undefined;
  before: Link | undefined;
  after: Link | undefined;
}

/** Slots in the order of their lives. */
interface Chain {
  head: Link | undefined;
  tail: Link | undefined;
}

/** The slots of one priority: those that its own streams may take over, and those with records that must be kept. */
interface PriorityChains {
  readonly loose: Chain;
  readonly kept: Chain;
  count: number;
}

/** Whether all records that a slot holds of a stream are settled. */
export type IsSettled = (stream: StreamName, span: StreamSpan) => boolean;

/** Priority of streams without configuration: nobody waits for their records. */
const unknownPriority = -1;

/**
 * Which slot is given up, and which is free, without looking at the others. A slot counts with the priority whose records
 * it takes and, when the log was opened, the highest of the streams whose pending records it had. The one to give up for a record is
 * the oldest of the lowest priority; streams with `whenFull: refuse` give way only to higher priorities, so that a slot
 * with pending records of one is given up for no record of its own priority.
 *
 * Each stream knows its slots with pending records, oldest first, and each slot counts its streams: a record, or what
 * settles it, touches its own slot alone.
 */
export class SlotChains {
  readonly #streams: ReadonlyMap<StreamName, StreamOptions>;
  readonly #links = new Map<Slot, Link>();
  readonly #chains = new Map<number, PriorityChains>();
  /** Ascending. */
  #priorities: readonly number[] = [];
  readonly #slotsOf = new Map<StreamName, SlotQueue>();
  readonly #settled = new Set<Slot>();
  /** Links looked at, for the proof that their number does not grow with the log. */
  visits = 0;

  /** Takes over what a start has found; `isSettled` tells of a stream in a slot whether all its records are settled. */
  constructor(streams: ReadonlyMap<StreamName, StreamOptions>, slots: readonly Slot[], isSettled: IsSettled) {
    this.#streams = streams;
    for (const slot of slots) {
      const pending = [...slot.spans].filter(([name, span]) => !isSettled(name, span));
      const priorities = pending.map(([name]) => streams.get(name)?.priority ?? unknownPriority);
      // One that goes on taking records counts with these, also while nothing in it is pending.
      if (slot.state === 'open') priorities.push(slot.priority ?? unknownPriority);
      this.#insert(slot, Math.max(unknownPriority, ...priorities));
      for (const [name] of pending) this.noteStored(slot, name);
      this.noteClosed(slot);
    }
  }

  /** Takes in a slot that is begun for records of `priority`. */
  add(slot: Slot, priority: number): void {
    this.#insert(slot, priority);
  }

  /** Notes that a slot has a pending record of a stream. */
  noteStored(slot: Slot, stream: StreamName): void {
    this.visits += 1;
    const queue = this.#slotsOf.get(stream) ?? new SlotQueue();
    this.#slotsOf.set(stream, queue);
    if (queue.last === slot) return;
    queue.push(slot);
    const link = this.#link(slot);
    link.pendingCount += 1;
    this.#settled.delete(slot);
    if (!this.#isKept(link, stream)) return;
    link.keptCount += 1;
    if (link.keptCount === 1 && link.chain !== undefined) this.#move(link, true);
  }

  /** Notes that everything of a stream up to `floor` is settled. */
  noteSettled(stream: StreamName, floor: number): void {
    const queue = this.#slotsOf.get(stream);
    for (let slot = queue?.first; slot !== undefined; slot = queue?.first) {
      this.visits += 1;
      if ((slot.spans.get(stream)?.last ?? 0) > floor) return;
      queue?.shift();
      this.#noteDone(slot, stream);
    }
  }

  /** Notes that of a stream numbers from `from` on are settled, with older ones pending. */
  noteSettledFrom(stream: StreamName, from: number, isSettled: IsSettled): void {
    const queue = this.#slotsOf.get(stream);
    const settled = queue?.removeFromEnd((slot) => {
      this.visits += 1;
      const span = slot.spans.get(stream);
      if (span === undefined || span.last < from) return 'stop';
      return isSettled(stream, span);
    });
    for (const slot of settled ?? []) this.#noteDone(slot, stream);
  }

  /** Notes that a slot has no pending record of a stream any more. */
  #noteDone(slot: Slot, stream: StreamName): void {
    const link = this.#links.get(slot);
    if (link === undefined) return;
    link.pendingCount -= 1;
    if (this.#isKept(link, stream)) link.keptCount -= 1;
    this.noteClosed(slot);
  }

  /** Notes that a slot may have been closed: it is free once nothing in it is pending. */
  noteClosed(slot: Slot): void {
    const link = this.#link(slot);
    if (slot.state !== 'closed') return;
    if (link.pendingCount === 0) this.#settled.add(slot);
    else if (link.keptCount === 0 && link.chain === this.#chainsOf(link.priority).kept)
      this.#move(link, false);
  }

  /** Notes that a slot takes no part any more: it gives nothing when it is given up. */
  noteAside(slot: Slot): void {
    const link = this.#link(slot);
    this.#detach(link);
    this.#settled.delete(slot);
  }

  /** Notes that a slot that was set aside is closed like any other. */
  noteReturned(slot: Slot): void {
    const link = this.#link(slot);
    const { loose, kept } = this.#chainsOf(link.priority);
    this.#attach(link, link.keptCount > 0 ? kept : loose);
    this.noteClosed(slot);
  }

  /** Whether no record of a slot is pending. */
  isSettled(slot: Slot): boolean {
    this.visits += 1;
    return this.#link(slot).pendingCount === 0;
  }

  get hasSettled(): boolean {
    return this.#settled.size > 0;
  }

  /** The closed slots without a pending record; they stay until `remove`. */
  settled(): readonly Slot[] {
    return [...this.#settled];
  }

  /** Forgets a slot that is free again. */
  remove(slot: Slot): void {
    const link = this.#link(slot);
    this.#detach(link);
    this.#chainsOf(link.priority).count -= 1;
    this.#links.delete(slot);
    this.#settled.delete(slot);
  }

  /** Slots that count with a priority. */
  countOf(priority: number): number {
    return this.#chains.get(priority)?.count ?? 0;
  }

  /** The slot to give up for a record of `priority`; those in `busy` are being written. */
  victim(priority: number, busy: ReadonlySet<Slot>): Slot | undefined {
    // One without anything pending costs no record; its turn comes when the accounts can be saved.
    for (const slot of this.#settled) if (!busy.has(slot)) return slot;
    for (const candidate of this.#priorities) {
      if (candidate > priority) return undefined;
      const { loose, kept } = this.#chainsOf(candidate);
      const oldest = [firstFree(loose, busy), candidate < priority ? firstFree(kept, busy) : undefined]
        .filter((link) => link !== undefined)
        .sort((a, b) => a.slot.life - b.slot.life)[0];
      this.visits += 2;
      if (oldest !== undefined) return oldest.slot;
    }
    return undefined;
  }

  /** The slot with the oldest pending records of a stream. */
  headOf(stream: StreamName): Slot | undefined {
    return this.#slotsOf.get(stream)?.first;
  }

  /** The slots with pending records of a stream, oldest first. */
  slotsOf(stream: StreamName): readonly Slot[] {
    return this.#slotsOf.get(stream)?.list() ?? [];
  }

  /** The slot that holds the pending record of a number, or the next one. */
  slotWith(stream: StreamName, number: number): Slot | undefined {
    return this.#slotsOf.get(stream)?.find((slot) => {
      this.visits += 1;
      return (slot.spans.get(stream)?.last ?? 0) >= number;
    });
  }

  #isKept({ priority }: Link, stream: StreamName): boolean {
    const options = this.#streams.get(stream);
    return options?.whenFull === 'refuse' && options.priority >= priority;
  }

  #link(slot: Slot): Link {
    const link = this.#links.get(slot);
    assert(link !== undefined, `${slot.label} is in no chain`);
    return link;
  }

  #chainsOf(priority: number): PriorityChains {
    let chains = this.#chains.get(priority);
    if (chains === undefined) {
      chains = { loose: emptyChain(), kept: emptyChain(), count: 0 };
      this.#chains.set(priority, chains);
      this.#priorities = [...this.#chains.keys()].sort((a, b) => a - b);
    }
    return chains;
  }

  #insert(slot: Slot, priority: number): void {
    const chains = this.#chainsOf(priority);
    const link = { slot, priority, pendingCount: 0, keptCount: 0 };
    const inChain: Link = { ...link, chain: undefined, before: undefined, after: undefined };
    this.#links.set(slot, inChain);
    chains.count += 1;
    if (slot.state !== 'aside') this.#attach(inChain, chains.loose);
  }

  #move(link: Link, isKept: boolean): void {
    const { loose, kept } = this.#chainsOf(link.priority);
    this.#detach(link);
    this.#attach(link, isKept ? kept : loose);
  }

  /** At its place by life: new slots belong at the end, and so mostly do those that move. */
  #attach(link: Link, chain: Chain): void {
    let before = chain.tail;
    while (before !== undefined && before.slot.life > link.slot.life) {
      this.visits += 1;
      before = before.before;
    }
    link.chain = chain;
    link.before = before;
    link.after = before === undefined ? chain.head : before.after;
    if (link.after === undefined) chain.tail = link;
    else link.after.before = link;
    if (before === undefined) chain.head = link;
    else before.after = link;
  }

  #detach(link: Link): void {
    const { chain, before, after } = link;
    if (chain === undefined) return;
    if (before === undefined) chain.head = after;
    else before.after = after;
    if (after === undefined) chain.tail = before;
    else after.before = before;
    link.chain = undefined;
    link.before = undefined;
    link.after = undefined;
  }
}

function emptyChain(): Chain {
  return { head: undefined, tail: undefined };
}

function firstFree(chain: Chain, busy: ReadonlySet<Slot>): Link | undefined {
  let link = chain.head;
  while (link !== undefined && busy.has(link.slot)) link = link.after;
  return link;
}

/** A queue without moving what stays. */
class SlotQueue {
  #slots: Slot[] = [];
  #gone = 0;

  get first(): Slot | undefined {
    return this.#slots[this.#gone];
  }
  get last(): Slot | undefined {
    return this.#gone < this.#slots.length ? this.#slots.at(-1) : undefined;
  }

  push(slot: Slot): void {
    this.#slots.push(slot);
  }

  shift(): void {
    this.#gone += 1;
    if (2 * this.#gone < this.#slots.length) return;
    this.#slots = this.#slots.slice(this.#gone);
    this.#gone = 0;
  }

  /** Takes out the slots for which `isGone` holds, from the last one on until it says `stop`. */
  removeFromEnd(isGone: (slot: Slot) => boolean | 'stop'): readonly Slot[] {
    const gone: Slot[] = [];
    for (let index = this.#slots.length - 1; index >= this.#gone; index--) {
      const slot = this.#slots[index];
      const outcome = slot === undefined ? 'stop' : isGone(slot);
      if (slot === undefined || outcome === 'stop') break;
      if (!outcome) continue;
      this.#slots.splice(index, 1);
      gone.push(slot);
    }
    return gone;
  }

  find(isWanted: (slot: Slot) => boolean): Slot | undefined {
    for (let index = this.#gone; index < this.#slots.length; index++) {
      const slot = this.#slots[index];
      if (slot !== undefined && isWanted(slot)) return slot;
    }
    return undefined;
  }

  list(): readonly Slot[] {
    return this.#slots.slice(this.#gone);
  }
}
