import { assert } from '../base/assert.ts';

/**
 * What to do with a count: `next` hand it on; `inFlight` it is being stored; `stored` acknowledge it again; `gap` an
 * earlier one has not come yet; `reusedCount` it was used before for another value, or so long ago that this cannot
 * be told.
 */
export type CountVerdict = 'next' | 'inFlight' | 'stored' | 'gap' | 'reusedCount';

/** Counts remembered with their value, so that a repetition is told from a reuse; more than a sensor sends ahead. */
const rememberedMax = 256;

/**
 * The counts of one stream as they arrive: hands on each one once and in order (I3), whatever is lost or repeated on
 * the line. The value is compared as text.
 */
export class StreamOrder {
  readonly #remembered = new Map<number, { value: string; stored: boolean }>();
  #last: number | undefined;

  /** The highest count handed on, undefined before the first. */
  get last(): number | undefined {
    return this.#last;
  }

  /** Judges a line with `count`, sent by a sensor that holds everything from `oldest` on. */
  judge(count: number, oldest: number, value: string): CountVerdict {
    const last = this.#last;
    if (last === undefined) return count === oldest ? 'next' : 'gap';
    if (count > last) return count === last + 1 || count === oldest ? 'next' : 'gap';
    const remembered = this.#remembered.get(count);
    if (remembered?.value !== value) return 'reusedCount';
    return remembered.stored ? 'stored' : 'inFlight';
  }

  /** The count is handed on. */
  begin(count: number, value: string): void {
    assert(this.#last === undefined || count > this.#last, `count ${count} follows ${this.#last}`);
    this.#last = count;
    this.#remembered.set(count, { value, stored: false });
    if (this.#remembered.size <= rememberedMax) return;
    for (const oldest of this.#remembered.keys()) {
      this.#remembered.delete(oldest);
      return;
    }
  }

  /** The count is stored. */
  finish(count: number): void {
    const remembered = this.#remembered.get(count);
    if (remembered !== undefined) remembered.stored = true;
  }

  /** The count could not be stored: it, and what was handed on after it, is expected again. */
  fail(count: number): void {
    if (this.#last === undefined || count > this.#last) return;
    for (const later of [...this.#remembered.keys()]) {
      if (later >= count) this.#remembered.delete(later);
    }
    this.#last = [...this.#remembered.keys()].at(-1) ?? (count > 1 ? count - 1 : undefined);
  }
}
