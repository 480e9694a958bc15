import { createHash } from 'node:crypto';
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';

const firstMs = 250;
const doublingsMax = 20;

/**
 * The pause before a broker is tried again after `failures` failures in a row: it doubles up to `limitMs` and is cut by a part,
 * up to half of it, that follows from the name of the client. Gateways that lost a broker in the same instant come back spread
 * out, also those whose source of chance is poor after a start.
 */
export function backOffMs(clientId: string, failures: number, limitMs: Millis): Millis {
  const wholeMs = Math.min(limitMs, firstMs * 2 ** Math.min(failures, doublingsMax));
  const digest = createHash('sha256').update(`${clientId} ${failures}`).digest();
  return millis(Math.round(wholeMs * (1 - digest.readUInt32BE(0) / 2 ** 33)));
}
