import type { Clock } from '../host/clock.ts';
import type { SocketAddress } from '../host/network.ts';

/** What may be held of bodies that come or go in blocks; the eldest gives way. */
export const heldBodiesLimits: {
  readonly bodies: number;
  readonly bodiesPerPeer: number;
  readonly bytes: number;
  readonly lifetimeMs: number;
} = {
  bodies: 32,
  bodiesPerPeer: 4,
  bytes: 1_048_576,
  // MAX_TRANSMIT_WAIT (RFC 7252 4.8.2): by then a peer has given up the block that it sent last.
  lifetimeMs: 93_000,
};

interface Entry<T> {
  readonly value: T;
  readonly peer: string;
  readonly bytes: number;
  readonly sinceMs: number;
}

/**
 * Bodies between their blocks, by what identifies them: bounded in number, for each peer as well, and in octets. One
 * that was not touched for its lifetime is as good as gone, and leaves its memory to the next.
 */
export class HeldBodies<T> {
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry<T>>();
  #bytes = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get(key: string): T | undefined {
    this.#expire();
    return this.#entries.get(key)?.value;
  }

  /** Holds a body of so many octets, in the place of what was held under the key. */
  hold(key: string, value: T, bytes: number, { address, port }: SocketAddress): void {
    this.drop(key);
    const peer = `${address}|${port}`;
    this.#entries.set(key, { value, peer, bytes, sinceMs: this.#clock.monotonicMs() });
    this.#bytes += bytes;
    const own = [...this.#entries].filter(([, entry]) => entry.peer === peer);
    const [eldestOwn] = own;
    if (own.length > heldBodiesLimits.bodiesPerPeer && eldestOwn !== undefined) this.drop(eldestOwn[0]);
    this.#expire();
  }

  drop(key: string): void {
    this.#bytes -= this.#entries.get(key)?.bytes ?? 0;
    this.#entries.delete(key);
  }

  #expire(): void {
    const { bodies, bytes, lifetimeMs } = heldBodiesLimits;
    const nowMs = this.#clock.monotonicMs();
    for (const [key, { sinceMs }] of this.#entries) {
      const isFull = this.#entries.size > bodies || this.#bytes > bytes;
      if (!isFull && nowMs - sinceMs < lifetimeMs) return;
      this.drop(key);
    }
  }
}
