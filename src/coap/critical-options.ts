import { oneM2mOptionNumbers } from './mapping.ts';
import type { CoapMessage } from './message.ts';

// If-Match and If-None-Match are left out: a condition that is passed over would be a wrong answer.
const understood = new Set<number>([3, 7, 11, 15, 17, 23, 27, ...oneM2mOptionNumbers]);

/** The first option that must not be passed over (RFC 7252 5.4.1) and means nothing here. */
export function unknownCriticalOption(message: CoapMessage): number | undefined {
  return [...message.options.keys()].find((number) => number % 2 === 1 && !understood.has(number));
}
