import { seq as toSeq } from '../base/units.ts';
import type { Seq } from '../base/units.ts';
import type { Destination, StreamPart } from './destination.ts';

/** Records that may be at a CSE although nobody remembers its answer; at one that nobody can ask when it is undefined. */
export interface Doubt {
  readonly destination: Destination | undefined;
  /** All of them are of one part, so that it is known in which container they would be. */
  readonly part: StreamPart;
  readonly throughSeq: Seq;
  /**
   * What an earlier run left: how it put records together is not known, so the newest instance is asked for, at the CSE
   * that serves now as well.
   */
  readonly isInherited: boolean;
  /** The last number of the request that was under way: it may still arrive after the CSE said that it has no such one. */
  readonly lateSeq?: Seq;
  unreachable: boolean;
  /** What the newest instance tells is known. */
  isAsked: boolean;
}

/** What of one stream is in doubt. Each part is delivered in its own order, so each is in doubt up to a number of its own. */
export class Doubts {
  #doubts: Doubt[] = [];

  /** Pending records of a part up to `throughSeq`, sent by an earlier run, may be at `destination`. */
  inherit(part: StreamPart, destination: Destination | undefined, throughSeq: Seq): void {
    const unreachable = destination === undefined;
    this.#doubts.push({ part, destination, throughSeq, isInherited: true, unreachable, isAsked: false });
  }

  /** What an earlier run left in doubt elsewhere it may have sent to `destination` too, under names of another rule. */
  inheritAt(destination: Destination): void {
    for (const part of ['live', 'backlog'] as const) {
      const inherited = this.#doubts.filter((doubt) => doubt.part === part && doubt.isInherited);
      if (inherited.length === 0 || inherited.some((doubt) => isAt(doubt, destination))) continue;
      this.inherit(part, destination, toSeq(Math.max(...inherited.map(({ throughSeq }) => throughSeq))));
    }
  }

  /** Pending records of a part up to `throughSeq` are at `destination`. */
  add(part: StreamPart, destination: Destination, throughSeq: Seq): void {
    this.#doubts.push({
      ...{ part, destination, throughSeq },
      ...{ isInherited: false, unreachable: false, isAsked: false },
    });
  }

  /** A request for records up to `seq` at `destination` was not answered. */
  noteUnanswered(part: StreamPart, destination: Destination, seq: Seq): void {
    const isSame = (doubt: Doubt): boolean => doubt.part === part && isAt(doubt, destination);
    const known = this.#doubts.filter(isSame);
    this.#doubts = this.#doubts.filter((doubt) => !isSame(doubt));
    const throughSeq = toSeq(Math.max(seq, ...known.map((doubt) => doubt.throughSeq)));
    const isInherited = known.some((doubt) => doubt.isInherited);
    this.#doubts.push({
      ...{ part, destination, throughSeq, isInherited, lateSeq: seq },
      // It was asked before anything was sent there.
      ...{ unreachable: false, isAsked: true },
    });
  }

  /** Doubts about a record, at `destination` only what an earlier run left and nobody has asked for yet. */
  about(part: StreamPart, seq: Seq, destination: Destination): readonly Doubt[] {
    return this.#doubts.filter(
      (doubt) =>
        doubt.part === part &&
        doubt.throughSeq >= seq &&
        (!isAt(doubt, destination) || (doubt.isInherited && !doubt.isAsked)),
    );
  }

  /** Up to where a part may be at a CSE other than `destination`; undefined when it is not. */
  through(part: StreamPart, destination: Destination | undefined): Seq | undefined {
    const elsewhere = this.#doubts.filter((doubt) => doubt.part === part && !isAt(doubt, destination));
    return elsewhere.length === 0
      ? undefined
      : toSeq(Math.max(...elsewhere.map(({ throughSeq }) => throughSeq)));
  }

  has(part: StreamPart): boolean {
    return this.#doubts.some((doubt) => doubt.part === part);
  }

  remove(doubt: Doubt): void {
    this.#doubts = this.#doubts.filter((other) => other !== doubt);
  }

  /** A record of a part is settled, and with it those before. */
  settle(part: StreamPart, seq: Seq): void {
    this.#doubts = this.#doubts.filter((doubt) => doubt.part !== part || doubt.throughSeq > seq);
  }

  /** Nothing of a part is pending. */
  settleAll(part: StreamPart): void {
    this.#doubts = this.#doubts.filter((doubt) => doubt.part !== part);
  }

  /** `destination` did not have the next record of a part: delivery is in order, so it has none of those after. */
  settleAt(part: StreamPart, destination: Destination): void {
    this.#doubts = this.#doubts.filter((doubt) => doubt.part !== part || !isAt(doubt, destination));
  }

  /** Nobody asks any CSE but `destination` any more. */
  loseOthers(destination: Destination | undefined): void {
    for (const doubt of this.#doubts) if (!isAt(doubt, destination)) doubt.unreachable = true;
  }
}

/**
 * Whether a CSE may have, or get, records up to `seq` although it says that it does not: in a request that is late, be it
 * under another name than their own, or, where it was asked for a name, under one that an earlier run gave.
 */
export function mayHoldYet({ lateSeq, isInherited }: Doubt, seq: Seq, isOfName: boolean): boolean {
  return (lateSeq !== undefined && seq <= lateSeq) || (isInherited && isOfName);
}

/** Whether a doubt is about the CSE of `destination`. */
export function isAt(doubt: Doubt, destination: Destination | undefined): boolean {
  return doubt.destination !== undefined && doubt.destination.cseId === destination?.cseId;
}
