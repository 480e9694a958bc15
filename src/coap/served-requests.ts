import type { Clock } from '../host/clock.ts';
import { AgedEntries } from './aged-entries.ts';

/** A message that arrived; `answer` is the datagram a repeat of it gets again. */
export interface ServedRequest {
  readonly answer: Uint8Array | undefined;
}

const lifetimeMs = 247_000; // EXCHANGE_LIFETIME, RFC 7252 4.8.2

/** Messages remembered at once. */
export const servedRequestsMax = 4096;

/** Octets of answers remembered at once. */
export const servedBytesMax = 4_194_304;

/**
 * The messages an endpoint has seen, by what identifies them, from their arrival on (RFC 7252 4.5). Bounded in number
 * and in octets: when it is full of entries younger than their lifetime, the oldest goes, because refusing new requests
 * would be the worse harm.
 */
export class ServedRequests {
  readonly #served: AgedEntries<{ answer: Uint8Array | undefined }>;

  constructor(clock: Clock) {
    const limits = { entries: servedRequestsMax, bytes: servedBytesMax, lifetimeMs };
    this.#served = new AgedEntries(clock, limits);
  }

  /** Messages remembered now. */
  get size(): number {
    return this.#served.size;
  }

  /** Octets of answers remembered now. */
  get bytes(): number {
    return this.#served.bytes;
  }

  /** What is remembered under the key. */
  get(key: string): ServedRequest | undefined {
    return this.#served.get(key);
  }

  /** Remembers that a message arrived. */
  record(key: string): void {
    this.#served.put(key, { answer: undefined }, 0);
  }

  /** Remembers what a message was answered with; without effect when the message is forgotten already. */
  answer(key: string, datagram: Uint8Array): void {
    const served = this.#served.get(key);
    if (served === undefined) return;
    served.answer = datagram;
    this.#served.resize(key, datagram.length);
  }
}
