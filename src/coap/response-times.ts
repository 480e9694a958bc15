import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import type { SocketAddress } from '../host/network.ts';

/** Peers whose times are kept; the one spoken with longest ago gives way. */
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

/** What the messages to one peer over one link have shown, for the judgement of that path; durations in milliseconds. */
export interface PeerFigures {
  /** Usual time until the first sign of the peer, of messages sent once; undefined without one in the last minute. */
  readonly usualResponseMs: Millis | undefined;
  /** Mean deviation from it. */
  readonly deviationMs: Millis | undefined;
  /** After this time without a sign a message is sent again. */
  readonly timeoutMs: Millis;
  /** Messages that ask for a sign of the peer, each counted once; the counts run from the first message to the peer on. */
  readonly messages: number;
  /** Those of which the peer gave a sign. */
  readonly heard: number;
  /** Those that ended without one after the time in which it is to be expected. */
  readonly unanswered: number;
  /** Times that a message was sent again. */
  readonly retransmissions: number;
  /** When the peer was heard last, on the monotonic clock. */
  readonly heardAtMs: Millis | undefined;
}

interface Peer {
  /** From messages sent once. */
  strong: Estimate | undefined;
  /** From messages sent two or three times, counted from the first: too long, but it shows that a path became slow. */
  weak: Estimate | undefined;
  timeoutMs: number;
  measuredAtMs: number;
  messages: number;
  heard: number;
  unanswered: number;
  retransmissions: number;
  heardAtMs: Millis | undefined;
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

  /** What is known of a peer; undefined when nothing was sent to it, or so long ago that it gave way. */
  figures(peer: SocketAddress): PeerFigures | undefined {
    const known = this.#peers.get(keyOf(peer));
    if (known === undefined) return undefined;
    const { messages, heard, unanswered, retransmissions, heardAtMs, strong } = known;
    const recent = this.#isRecent(known) ? strong : undefined;
    return {
      usualResponseMs: recent === undefined ? undefined : millis(recent.smoothedMs),
      deviationMs: recent === undefined ? undefined : millis(recent.deviationMs),
      timeoutMs: this.timeoutMs(peer),
      messages,
      heard,
      unanswered,
      retransmissions,
      heardAtMs,
    };
  }

  /** Usual time until the first sign of the peer; undefined without recent measurement. */
  usualMs(peer: SocketAddress): Millis | undefined {
    return this.figures(peer)?.usualResponseMs;
  }

  /** How long to wait for a sign of the peer before a message is sent again. */
  timeoutMs(peer: SocketAddress): Millis {
    const known = this.#peers.get(keyOf(peer));
    return known !== undefined && this.#isRecent(known) ? millis(known.timeoutMs) : this.#initialMs;
  }

  /** Counts a message that is sent for the first time. */
  sent(peer: SocketAddress): void {
    this.#touch(peer).messages += 1;
  }

  /** Counts a message that is sent once more. */
  sentAgain(peer: SocketAddress): void {
    this.#touch(peer).retransmissions += 1;
  }

  /** Counts a message that ended without a sign of the peer. */
  missed(peer: SocketAddress): void {
    this.#touch(peer).unanswered += 1;
  }

  /** Takes the time from the first sending of a message to the first sign of its arrival. */
  record(peer: SocketAddress, elapsedMs: number, retransmissions: number): void {
    const known = this.#touch(peer);
    known.heard += 1;
    known.heardAtMs = this.#clock.monotonicMs();
    // After more repeats nobody can tell which one was answered.
    if (retransmissions > 2) return;
    if (!this.#isRecent(known)) Object.assign(known, unmeasured(this.#initialMs));
    const isStrong = retransmissions === 0;
    const estimate = follow(isStrong ? known.strong : known.weak, elapsedMs);
    const boundMs = estimate.smoothedMs + (isStrong ? 4 : 1) * estimate.deviationMs;
    const weight = isStrong ? 0.5 : 0.25;
    const timeoutMs = weight * boundMs + (1 - weight) * known.timeoutMs;
    if (isStrong) known.strong = estimate;
    // A message that got through at once ends what repeats told of the path.
    known.weak = isStrong ? undefined : estimate;
    known.timeoutMs = Math.min(timeoutBounds.maxMs, Math.max(timeoutBounds.minMs, timeoutMs));
    known.measuredAtMs = known.heardAtMs;
  }

  /** The entry of a peer, made where there is none; the peer spoken with longest ago gives way. */
  #touch(peer: SocketAddress): Peer {
    const key = keyOf(peer);
    const known = this.#peers.get(key) ?? {
      ...unmeasured(this.#initialMs),
      messages: 0,
      heard: 0,
      unanswered: 0,
      retransmissions: 0,
      heardAtMs: undefined,
    };
    this.#peers.delete(key);
    this.#peers.set(key, known);
    const [eldest] = this.#peers.keys();
    if (this.#peers.size > measuredPeersMax && eldest !== undefined) this.#peers.delete(eldest);
    return known;
  }

  #isRecent({ measuredAtMs }: Peer): boolean {
    return this.#clock.monotonicMs() - measuredAtMs < measurementLifetimeMs;
  }
}

function unmeasured(timeoutMs: number): Pick<Peer, 'strong' | 'weak' | 'timeoutMs' | 'measuredAtMs'> {
  return { strong: undefined, weak: undefined, timeoutMs, measuredAtMs: Number.NEGATIVE_INFINITY };
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
