import { seq as toSeq } from '../base/units.ts';
import type { Seq } from '../base/units.ts';
import type { Destination, StreamPart } from './destination.ts';

/** Records that may be at a CSE although nobody remembers its answer; at one that nobody can ask when it is undefined. */
export interface Doubt {
  readonly destination: Destination | undefined;
  /** All of them are of one part, so that it is known in which container they would be. */
  readonly part: StreamPart;
  readonly throughSeq: Seq;
  /** The record whose request was under way: it may still arrive after the CSE said that it has no such record. */
  readonly lateSeq?: Seq;
  unreachable: boolean;
}

/** What of one stream is in doubt. Each part is delivered in its own order, so each is in doubt up to a number of its own. */
export class Doubts {
  #doubts: Doubt[] = [];

  /** Pending records of a part up to `throughSeq` may be at `destination`. */
  add(part: StreamPart, destination: Destination | undefined, throughSeq: Seq): void {
    this.#doubts.push({ part, destination, throughSeq, unreachable: destination === undefined });
  }

  /** The request for a record at `destination` was not answered. */
  noteUnanswered(part: StreamPart, destination: Destination, seq: Seq): void {
    const isSame = (doubt: Doubt): boolean => doubt.part === part && isAt(doubt, destination);
    const known = this.#doubts.filter(isSame).map(({ throughSeq }) => throughSeq);
    this.#doubts = this.#doubts.filter((doubt) => !isSame(doubt));
    const throughSeq = toSeq(Math.max(seq, ...known));
    this.#doubts.push({ part, destination, throughSeq, lateSeq: seq, unreachable: false });
  }

  /** Doubts about a record with regard to CSEs other than `destination`. */
  about(part: StreamPart, seq: Seq, destination: Destination): readonly Doubt[] {
    return this.#doubts.filter(
      (doubt) => doubt.part === part && doubt.throughSeq >= seq && !isAt(doubt, destination),
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

function isAt(doubt: Doubt, destination: Destination | undefined): boolean {
  return doubt.destination !== undefined && doubt.destination.cseId === destination?.cseId;
}
