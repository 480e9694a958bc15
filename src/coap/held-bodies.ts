import type { Clock } from '../host/clock.ts';
import type { SocketAddress } from '../host/network.ts';
import { AgedEntries } from './aged-entries.ts';

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

interface Held<T> {
  readonly value: T;
  readonly peer: string;
}

/** Bodies between their blocks, by what identifies them; bounded as `heldBodiesLimits` says, for each peer as well. */
export class HeldBodies<T> {
  readonly #held: AgedEntries<Held<T>>;

  constructor(clock: Clock) {
    this.#held = new AgedEntries(clock, { ...heldBodiesLimits, entries: heldBodiesLimits.bodies });
  }

  get size(): number {
    return this.#held.size;
  }

  get bytes(): number {
    return this.#held.bytes;
  }

  get(key: string): T | undefined {
    return this.#held.get(key)?.value;
  }

  /** Holds a body of so many octets, in the place of what was held under the key. */
  hold(key: string, value: T, bytes: number, { address, port }: SocketAddress): void {
    const peer = `${address}|${port}`;
    this.drop(key);
    const [eldest, ...others] = this.#held.keysOf((held) => held.peer === peer);
    if (eldest !== undefined && others.length + 1 >= heldBodiesLimits.bodiesPerPeer) this.drop(eldest);
    this.#held.put(key, { value, peer }, bytes);
  }

  drop(key: string): void {
    this.#held.drop(key);
  }
}
