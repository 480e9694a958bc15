import { readFileSync } from 'node:fs';
import { randomHex } from './entropy.ts';
import type { Entropy } from './entropy.ts';

/**
 * The id of this boot of the machine, a UUID; where the system has none, a random one of 32 hexadecimal digits, which
 * holds for this process.
 */
export function readBootId(entropy: Entropy): string {
  try {
    const text = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
    if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text)) return text;
  } catch {
    // Not Linux, or /proc is hidden.
  }
  return randomHex(entropy, 16);
}
