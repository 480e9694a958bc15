import type { Entropy } from '../host/entropy.ts';

/**
 * Chance that repeats: xoshiro128** (Blackman and Vigna) over 32-bit integers, so that a seed gives the same numbers
 * on every machine. Not for secrets.
 */
export class SeededEntropy implements Entropy {
  readonly seed: number;
  readonly #state: Uint32Array;

  /** `seed` is taken modulo 2^32. */
  constructor(seed: number) {
    this.seed = seed >>> 0;
    this.#state = new Uint32Array(4);
    let mixed = this.seed;
    for (let index = 0; index < 4; index++) {
      mixed = (mixed + 0x9e3779b9) >>> 0;
      this.#state[index] = mix32(mixed);
    }
  }

  /** An independent generator for the part called `name`; taking numbers here does not change it, nor the reverse. */
  fork(name: string): SeededEntropy {
    return new SeededEntropy(hash32(this.seed, hashText(name)));
  }

  bytes(count: number): Uint8Array {
    const out = new Uint8Array(count);
    for (let at = 0; at < count; at += 4) {
      const word = this.uint32();
      for (let octet = 0; octet < 4 && at + octet < count; octet++) out[at + octet] = word >>> (8 * octet);
    }
    return out;
  }

  uint32(): number {
    const state = this.#state;
    const [s0 = 0, s1 = 0, s2 = 0, s3 = 0] = state;
    const result = Math.imul(rotateLeft(Math.imul(s1, 5), 7), 9) >>> 0;
    const third = s2 ^ s0;
    const fourth = s3 ^ s1;
    state[1] = s1 ^ third;
    state[0] = s0 ^ fourth;
    state[2] = third ^ (s1 << 9);
    state[3] = rotateLeft(fourth, 11);
    return result;
  }
}

/** A 32-bit hash of whole numbers (each taken modulo 2^32): chance that is a pure function of a place or a count. */
export function hash32(...parts: readonly number[]): number {
  let hash = 0x811c9dc5;
  for (const part of parts) hash = mix32((hash ^ (part >>> 0)) + 0x9e3779b9);
  return hash;
}

/** A 32-bit hash of a text. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  return mix32(hash);
}

function mix32(value: number): number {
  let mixed = value >>> 0;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

function rotateLeft(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}
