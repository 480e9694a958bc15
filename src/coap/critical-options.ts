import { oneM2mOptionNumbers } from './mapping.ts';
import type { CoapMessage } from './message.ts';

/** An option that must not be passed over, and the code that a request with it is answered with. */
export interface OptionProblem {
  readonly number: number;
  readonly code: '4.00' | '4.02' | '5.05';
  readonly reason: string;
}

const uriHost = 3;
const uriPort = 7;
const blockNumbers: readonly number[] = [23, 27];
const proxyNumbers: readonly number[] = [35, 39];
// If-Match and If-None-Match are left out: a condition that is passed over would be a wrong answer.
const understood = new Set<number>([uriHost, uriPort, ...oneM2mOptionNumbers]);

/**
 * The first critical option that means nothing here (RFC 7252 5.4.1), comes once too often (5.4.5) or with a length that
 * it cannot have (5.4.3). Options with fields of their own in `CoapMessage` are among `options` for the last two reasons.
 */
export function unfitOption(message: CoapMessage): OptionProblem | undefined {
  for (const [number, values] of message.options) {
    if (number % 2 === 0 || isFit(number, values)) continue;
    const [first] = values;
    if (proxyNumbers.includes(number)) {
      return { number, code: '5.05', reason: `option ${number} asks for a proxy, and this is none` };
    }
    // RFC 7959 2.2. A block option that is one too many is another matter.
    const isTaken = (number === 23 ? message.block2 : message.block1) !== undefined;
    if (blockNumbers.includes(number) && !isTaken && (first?.length ?? 0) <= 3) {
      return { number, code: '4.00', reason: `option ${number} has a block size that is reserved` };
    }
    return { number, code: '4.02', reason: `option ${number} is not understood` };
  }
  return undefined;
}

function isFit(number: number, values: readonly Uint8Array[]): boolean {
  if (!understood.has(number)) return false;
  const [{ length } = new Uint8Array(), second] = values;
  if (number === uriHost) return second === undefined && length >= 1 && length <= 255;
  if (number === uriPort) return second === undefined && length <= 2;
  return true;
}
