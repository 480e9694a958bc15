import { assert } from '../../base/assert.ts';
import { randomFraction } from '../../host/entropy.ts';
import type { Entropy } from '../../host/entropy.ts';

/** Draws of a simulation from a source of chance. */
export class Draw {
  readonly #entropy: Entropy;

  constructor(entropy: Entropy) {
    this.#entropy = entropy;
  }

  /** True with this probability. */
  chance(probability: number): boolean {
    return randomFraction(this.#entropy) < probability;
  }

  /** A fraction of a range. */
  between(least: number, most: number): number {
    return least + (most - least) * randomFraction(this.#entropy);
  }

  /** A whole number, both ends included. */
  whole(least: number, most: number): number {
    return least + Math.floor((most - least + 1) * randomFraction(this.#entropy));
  }

  /** Small values as often as large ones: even over the logarithm of the range. */
  spread(least: number, most: number): number {
    return least * (most / least) ** randomFraction(this.#entropy);
  }

  /** A time until something that happens on average every `meanMs`. */
  waitMs(meanMs: number): number {
    return -meanMs * Math.log(1 - randomFraction(this.#entropy));
  }

  /** One of a list that is not empty. */
  pick<T>(list: readonly T[]): T {
    const item = list[this.whole(0, list.length - 1)];
    assert(item !== undefined, 'nothing to choose from');
    return item;
  }

  /** Random octets. */
  bytes(count: number): Uint8Array {
    return this.#entropy.bytes(count);
  }
}
