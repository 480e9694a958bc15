import type { Millis } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';

/** A message that arrived; `answer` is the datagram a repeat of it gets again. */
export interface ServedRequest {
  readonly answer: Uint8Array | undefined;
}

interface Entry extends ServedRequest {
  answer: Uint8Array | undefined;
  readonly sinceMs: Millis;
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
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Messages remembered now. */
  get size(): number {
    return this.#entries.size;
  }

  /** Octets of answers remembered now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** What is remembered under the key. */
  get(key: string): ServedRequest | undefined {
    this.#expire();
    return this.#entries.get(key);
  }

  /** Remembers that a message arrived. */
  record(key: string): void {
    this.#forget(key);
    this.#entries.set(key, { answer: undefined, sinceMs: this.#clock.monotonicMs() });
    this.#expire();
  }

  /** Remembers what a message was answered with; without effect when the message is forgotten already. */
  answer(key: string, datagram: Uint8Array): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#bytes += datagram.length - (entry.answer?.length ?? 0);
    entry.answer = datagram;
    this.#expire();
  }

  #forget(key: string): void {
    this.#bytes -= this.#entries.get(key)?.answer?.length ?? 0;
    this.#entries.delete(key);
  }

  #expire(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const [key, { sinceMs }] of this.#entries) {
      const isFull = this.#entries.size > servedRequestsMax || this.#bytes > servedBytesMax;
      if (!isFull && nowMs - sinceMs < lifetimeMs) return;
      this.#forget(key);
    }
  }
}
