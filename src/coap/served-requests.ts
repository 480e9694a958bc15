import type { Millis } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';

/** A request that arrived; `answer` is the datagram a repeat of it gets again. */
export interface ServedRequest {
  answer?: Uint8Array;
}

const lifetimeMs = 247_000; // EXCHANGE_LIFETIME, RFC 7252 4.8.2
const entriesMax = 4096;

/**
 * The requests an endpoint has seen, by peer and message ID, from their arrival on (RFC 7252 4.5). Bounded: when it is
 * full of entries younger than their lifetime, the oldest goes, because refusing new requests would be the worse harm.
 */
export class ServedRequests {
  readonly #clock: Clock;
  readonly #entries = new Map<string, { request: ServedRequest; sinceMs: Millis }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get(key: string): ServedRequest | undefined {
    this.#expire();
    return this.#entries.get(key)?.request;
  }

  record(key: string): ServedRequest {
    this.#expire();
    const request: ServedRequest = {};
    this.#entries.set(key, { request, sinceMs: this.#clock.monotonicMs() });
    return request;
  }

  #expire(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const [key, { sinceMs }] of this.#entries) {
      if (this.#entries.size <= entriesMax && nowMs - sinceMs < lifetimeMs) return;
      this.#entries.delete(key);
    }
  }
}
