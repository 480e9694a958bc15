import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import type { SocketAddress } from '../host/network.ts';

/** Peers whose times are kept; the one measured longest ago gives way. */
export const measuredPeersMax = 64;

/** A time without measurement after which the past says nothing any more: the gateway has moved on. */
export const measurementLifetimeMs: Millis = millis(60_000);

/** First retransmissions come no sooner and no later than this, whatever was measured. */
export const timeoutBounds: { readonly minMs: Millis; readonly maxMs: Millis } = {
  minMs: millis(200),
  maxMs: millis(4000),
};

/** Smoothed time and its deviation (RFC 6298 2). */
interface Estimate {
  smoothedMs: number;
  deviationMs: number;
}

interface Peer {
  /** From messages sent once. */
  strong: Estimate | undefined;
  /** From messages sent two or three times, counted from the first: too long, but it shows that a path became slow. */
  weak: Estimate | undefined;
  timeoutMs: number;
  atMs: number;
}

/**
 * How long each peer takes to answer, and from it how long to wait before a message is sent again (as CoCoA does,
 * draft-ietf-core-cocoa 4; RFC 7252 4.8 leaves the value to the implementation). An endpoint belongs to one link, so
 * these are times per peer and link.
 */
export class ResponseTimes {
  readonly #clock: Clock;
  readonly #initialMs: Millis;
  readonly #peers = new Map<string, Peer>();

  /** `initialMs` is the timeout towards a peer that is not measured. */
  constructor(clock: Clock, initialMs: Millis) {
    this.#clock = clock;
    this.#initialMs = initialMs;
  }

  /** Usual time until the first sign of the peer; undefined without recent measurement. */
  usualMs(peer: SocketAddress): Millis | undefined {
    const smoothedMs = this.#recent(peer)?.strong?.smoothedMs;
    return smoothedMs === undefined ? undefined : millis(smoothedMs);
  }

  /** How long to wait for a sign of the peer before a message is sent again. */
  timeoutMs(peer: SocketAddress): Millis {
    return millis(this.#recent(peer)?.timeoutMs ?? this.#initialMs);
  }

  /** Takes the time from the first sending of a message to the first sign of its arrival. */
  record(peer: SocketAddress, elapsedMs: number, retransmissions: number): void {
    // After more repeats nobody can tell which one was answered.
    if (retransmissions > 2) return;
    const known = this.#recent(peer) ?? {
      strong: undefined,
      weak: undefined,
      timeoutMs: this.#initialMs,
      atMs: 0,
    };
    const isStrong = retransmissions === 0;
    const estimate = follow(isStrong ? known.strong : known.weak, elapsedMs);
    const boundMs = estimate.smoothedMs + (isStrong ? 4 : 1) * estimate.deviationMs;
    const weight = isStrong ? 0.5 : 0.25;
    const timeoutMs = weight * boundMs + (1 - weight) * known.timeoutMs;
    const key = keyOf(peer);
    this.#peers.delete(key);
    this.#peers.set(key, {
      ...known,
      // A message that got through at once ends what repeats told of the path.
      ...(isStrong ? { strong: estimate, weak: undefined } : { weak: estimate }),
      timeoutMs: Math.min(timeoutBounds.maxMs, Math.max(timeoutBounds.minMs, timeoutMs)),
      atMs: this.#clock.monotonicMs(),
    });
    const [eldest] = this.#peers.keys();
    if (this.#peers.size > measuredPeersMax && eldest !== undefined) this.#peers.delete(eldest);
  }

  #recent(peer: SocketAddress): Peer | undefined {
    const known = this.#peers.get(keyOf(peer));
    const isRecent = known !== undefined && this.#clock.monotonicMs() - known.atMs < measurementLifetimeMs;
    return isRecent ? known : undefined;
  }
}

/**
 * By how much the pause before each further retransmission is longer: short pauses grow faster, so that a few messages
 * reach as far into an outage as they do from the initial timeout.
 */
export function backOffOf(timeoutMs: number): number {
  return timeoutMs < 500 ? 3 : timeoutMs <= 3000 ? 2 : 1.5;
}

function follow(before: Estimate | undefined, elapsedMs: number): Estimate {
  if (before === undefined) return { smoothedMs: elapsedMs, deviationMs: elapsedMs / 2 };
  const deviationMs = 0.75 * before.deviationMs + 0.25 * Math.abs(before.smoothedMs - elapsedMs);
  return { smoothedMs: 0.875 * before.smoothedMs + 0.125 * elapsedMs, deviationMs };
}

function keyOf({ address, port }: SocketAddress): string {
  return `${address}|${port}`;
}
