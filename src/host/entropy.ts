import { randomBytes } from 'node:crypto';

/** The only source of chance: names, tokens, jitter. */
export interface Entropy {
  /** `count` unpredictable octets. */
  bytes(count: number): Uint8Array;
  /** A whole number, 0 <= n < 2^32. */
  uint32(): number;
}

/** Chance from the operating system. */
export class NodeEntropy implements Entropy {
  bytes(count: number): Uint8Array {
    return randomBytes(count);
  }

  uint32(): number {
    return randomBytes(4).readUInt32BE(0);
  }
}

/** A name of 2 × `count` hexadecimal digits. */
export function randomHex(entropy: Entropy, count: number): string {
  return Buffer.from(entropy.bytes(count)).toString('hex');
}

/** A fraction, 0 <= x < 1. */
export function randomFraction(entropy: Entropy): number {
  return entropy.uint32() / 0x1_0000_0000;
}
