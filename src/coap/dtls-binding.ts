/**
 * The oneM2M CoAP binding to one CSE over DTLS (coaps): a session at a time, opened when the first request needs it, or
 * ahead by `prepare`, on a socket of its own that is bound to the link. The CSE may send requests over it as well.
 *
 * A session can die without a sign (dtls-session.ts). So a request that ends at its deadline, with nothing heard in the
 * session since it was sent, casts doubt on the session: another one is opened beside it, and takes over when it is open.
 * Requests wait for it half of their time and then go out in the doubted one, because a CSE that was merely slow, or a link
 * that was merely away, finds it as it was; what is unanswered there may still be answered there. A refusal by the system, and an end that the peer declared, do the
 * same. Sessions are opened no faster than the pauses allow, which grow from failure to failure and are drawn
 * at random, until the CSE is heard again. While there is no session, requests fail at once with the reason of the last failure.
 */
import { errorText } from '../base/errors.ts';
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import { sleep, withDeadline } from '../host/clock.ts';
import type { CancelTimer, Clock } from '../host/clock.ts';
import type { DtlsCredentials } from '../host/dtls-credentials.ts';
import type { DtlsLibrary } from '../host/dtls-library.ts';
import { randomFraction } from '../host/entropy.ts';
import type { Entropy } from '../host/entropy.ts';
import type { DatagramSocket, SocketAddress } from '../host/network.ts';
import type { Binding, DeliveryError, RequestHandler, SendOptions } from '../onem2m/binding.ts';
import type { RequestPrimitive, ResponsePrimitive } from '../onem2m/primitives.ts';
import { CoapBinding, serveRequests } from './coap-binding.ts';
import { openDtlsSession } from './dtls-session.ts';
import type { DtlsError, DtlsSession } from './dtls-session.ts';
import { CoapEndpoint } from './endpoint.ts';

/** Settings of a binding over DTLS; durations in milliseconds. */
export interface DtlsBindingSettings {
  /** Time for a handshake. */
  readonly handshakeMs: Millis;
  /** First pause before a flight of the handshake is sent again. */
  readonly flightMs: Millis;
  /** First and longest pause between two handshakes, each lengthened by up to a half at random. */
  readonly pauseMsMin: Millis;
  readonly pauseMsMax: Millis;
  /** How long a session that was replaced waits for its last answers. */
  readonly retireMs: Millis;
  /** Requests that may wait for a session at once. */
  readonly waitingMax: number;
}

export const defaultDtlsBindingSettings: DtlsBindingSettings = {
  handshakeMs: millis(5000),
  flightMs: millis(1000),
  pauseMsMin: millis(500),
  pauseMsMax: millis(30_000),
  retireMs: millis(10_000),
  waitingMax: 64,
};

/** What a binding counted and holds. */
export interface DtlsBindingFacts {
  readonly opened: number;
  readonly failed: number;
  /** Sessions that ended or were doubted, and replaced. */
  readonly replaced: number;
  readonly isOpen: boolean;
  readonly cipher: string | undefined;
  /** Where the session goes out. */
  readonly local: SocketAddress | undefined;
}

interface Channel {
  readonly session: DtlsSession;
  readonly endpoint: CoapEndpoint;
  readonly binding: CoapBinding;
}

type Opened = Result<Channel, DeliveryError>;

/** A binding over DTLS; see the header of this file. */
export class DtlsBinding implements Binding {
  readonly #library: () => Promise<DtlsLibrary>;
  readonly #openSocket: () => Promise<DatagramSocket>;
  readonly #resolvePeer: () => Promise<SocketAddress>;
  readonly #credentials: () => Promise<DtlsCredentials>;
  readonly #clock: Clock;
  readonly #entropy: Entropy;
  readonly #handler: RequestHandler | undefined;
  readonly #settings: DtlsBindingSettings;
  readonly #retired = new Map<Channel, CancelTimer>();
  readonly #closed = new AbortController();
  #channel: Channel | undefined;
  #opening: Promise<Opened> | undefined;
  /** The session that shakes hands. */
  #pending: DtlsSession | undefined;
  #lastFailure: DeliveryError | undefined;
  #notBeforeMs = Number.NEGATIVE_INFINITY;
  #handshakesInARow = 0;
  #waiting = 0;
  #opened = 0;
  #failed = 0;
  #replaced = 0;

  constructor(options: {
    /** Gives the library when a session is opened. */
    library: () => Promise<DtlsLibrary>;
    /** Opens a socket on the address of the link; may throw `IoError`. */
    openSocket: () => Promise<DatagramSocket>;
    /** Finds the address of the CSE; may throw `IoError`. */
    resolvePeer: () => Promise<SocketAddress>;
    /** Gives identity and key when a session is opened; may throw `IoError`. */
    credentials: () => Promise<DtlsCredentials>;
    clock: Clock;
    entropy: Entropy;
    /** Answers requests of the CSE; without one they get 4.04. */
    handler?: RequestHandler;
    settings?: Partial<DtlsBindingSettings>;
  }) {
    this.#library = options.library;
    this.#openSocket = options.openSocket;
    this.#resolvePeer = options.resolvePeer;
    this.#credentials = options.credentials;
    this.#clock = options.clock;
    this.#entropy = options.entropy;
    this.#handler = options.handler;
    this.#settings = { ...defaultDtlsBindingSettings, ...options.settings };
  }

  get facts(): DtlsBindingFacts {
    const session = this.#channel?.session;
    return {
      opened: this.#opened,
      failed: this.#failed,
      replaced: this.#replaced,
      isOpen: session?.isOpen === true,
      cipher: session?.cipher,
      local: session?.local,
    };
  }

  /** Opens a session ahead of its first request; one that is open already is kept. */
  async prepare(options: SendOptions): Promise<Result<void, DeliveryError>> {
    const channel = await this.#take(options);
    return channel.ok ? ok(undefined) : channel;
  }

  async send(
    request: RequestPrimitive,
    options: SendOptions,
  ): Promise<Result<ResponsePrimitive, DeliveryError>> {
    const beganMs = this.#clock.monotonicMs();
    const taken = await this.#take(options);
    if (!taken.ok) return taken;
    const channel = taken.value;
    const heardBefore = channel.session.heard;
    const leftMs = millis(options.deadlineMs - (this.#clock.monotonicMs() - beganMs));
    if (leftMs <= 0) return err({ kind: 'deadline', message: 'the session took all of the time' });
    const outcome = await channel.binding.send(request, { ...options, deadlineMs: leftMs });
    const isSilent = channel.session.heard === heardBefore;
    if (!isSilent) this.#handshakesInARow = 0;
    if (outcome.ok) return outcome;
    if ((outcome.error.kind === 'deadline' && isSilent) || outcome.error.kind === 'unreachable') {
      this.#doubt(channel);
    }
    return outcome;
  }

  /** Takes leave of the CSE; what is unanswered ends with `closed`. */
  async close(): Promise<void> {
    this.#closed.abort();
    await this.#opening;
    for (const cancel of this.#retired.values()) cancel();
    const channels = [...this.#retired.keys(), ...(this.#channel === undefined ? [] : [this.#channel])];
    this.#retired.clear();
    this.#channel = undefined;
    await Promise.all(channels.map(({ endpoint }) => endpoint.close()));
  }

  /** The open session, or the one that is being opened, waited for no longer than the caller does. */
  async #take({ deadlineMs, signal }: SendOptions): Promise<Opened> {
    if (this.#closed.signal.aborted) return err({ kind: 'closed', message: 'the binding is closed' });
    if (signal?.aborted === true) return err({ kind: 'cancelled', message: 'withdrawn before it was sent' });
    const channel = this.#channel?.session.isOpen === true ? this.#channel : undefined;
    if (channel !== undefined && this.#opening === undefined) return ok(channel);
    if (this.#waiting >= this.#settings.waitingMax) {
      return err({
        kind: 'busy',
        message: `${this.#waiting} requests wait for a DTLS session, which is the limit`,
      });
    }
    const opening = this.#open();
    if (opening === undefined) return err(this.#pausing());
    this.#waiting += 1;
    try {
      if (channel === undefined) return await this.#await(opening, deadlineMs, signal);
      // What may be dead is used only when nothing better comes in time for an answer.
      const replaced = await this.#await(opening, millis(deadlineMs / 2), signal);
      return replaced.ok || !channel.session.isOpen ? replaced : ok(channel);
    } finally {
      this.#waiting -= 1;
    }
  }

  #await(opening: Promise<Opened>, deadlineMs: Millis, signal: AbortSignal | undefined): Promise<Opened> {
    const waited = withDeadline(this.#clock, deadlineMs, 'session', opening).catch(() => {
      const message = this.#pending?.late(deadlineMs).message ?? 'no DTLS session in time';
      return err({ kind: 'deadline', message } as const);
    });
    if (signal === undefined) return waited;
    return new Promise((resolve) => {
      const onAbort = (): void => resolve(err({ kind: 'cancelled', message: 'withdrawn by the caller' }));
      signal.addEventListener('abort', onAbort, { once: true });
      void waited.then((outcome) => {
        signal.removeEventListener('abort', onAbort);
        resolve(outcome);
      });
    });
  }

  #pausing(): DeliveryError {
    const leftMs = Math.max(0, this.#notBeforeMs - this.#clock.monotonicMs());
    const { kind, message } = this.#lastFailure ?? {
      kind: 'unreachable',
      message: 'the DTLS session has ended',
    };
    return { kind, message: `${message}; tried again in ${Math.round(leftMs)} ms` };
  }

  /** Begins a handshake unless one is under way; undefined during a pause, unless that is short. */
  #open(): Promise<Opened> | undefined {
    if (this.#opening !== undefined) return this.#opening;
    const nowMs = this.#clock.monotonicMs();
    const leftMs = millis(Math.max(0, this.#notBeforeMs - nowMs));
    // A CSE that was heard since the last handshake is worth the short wait.
    if (leftMs > 0 && this.#handshakesInARow > 0) return undefined;
    const { pauseMsMin, pauseMsMax } = this.#settings;
    const pauseMs = Math.min(pauseMsMax, pauseMsMin * 2 ** Math.min(this.#handshakesInARow, 16));
    this.#notBeforeMs = nowMs + leftMs + pauseMs * (1 + randomFraction(this.#entropy) / 2);
    this.#handshakesInARow += 1;
    this.#opening = this.#shakeHands(leftMs).then((outcome) => {
      this.#opening = undefined;
      this.#pending = undefined;
      if (outcome.ok) this.#install(outcome.value);
      else this.#failed += 1;
      this.#lastFailure = outcome.ok ? undefined : outcome.error;
      return outcome;
    });
    return this.#opening;
  }

  async #shakeHands(delayMs: Millis): Promise<Opened> {
    const { handshakeMs, flightMs } = this.#settings;
    let socket: DatagramSocket | undefined;
    try {
      if (delayMs > 0) await sleep(this.#clock, delayMs, this.#closed.signal);
      const [library, peer, credentials] = await Promise.all([
        this.#library(),
        this.#resolvePeer(),
        this.#credentials(),
      ]);
      socket = await this.#openSocket();
      const opened = await openDtlsSession({
        library,
        socket,
        peer,
        credentials,
        clock: this.#clock,
        deadlineMs: handshakeMs,
        flightMs,
        signal: this.#closed.signal,
        onSession: (session) => void (this.#pending = session),
      });
      if (!opened.ok) return err(deliveryError(opened.error));
      return ok(this.#createChannel(opened.value, peer));
    } catch (error) {
      await socket?.close();
      return err({ kind: 'unreachable', message: errorText(error) });
    }
  }

  #createChannel(session: DtlsSession, peer: SocketAddress): Channel {
    const endpoint = new CoapEndpoint({ socket: session, clock: this.#clock, entropy: this.#entropy });
    if (this.#handler !== undefined) serveRequests(endpoint, this.#handler);
    const channel = { session, endpoint, binding: new CoapBinding({ endpoint, clock: this.#clock, peer }) };
    session.onEnd(() => this.#discard(channel));
    return channel;
  }

  /** From here on requests go through the new session. */
  #install(channel: Channel): void {
    this.#opened += 1;
    const before = this.#channel;
    this.#channel = channel;
    if (before !== undefined) this.#retire(before);
  }

  /** Opens another session beside one that may be dead. */
  #doubt(channel: Channel): void {
    if (channel === this.#channel && !this.#closed.signal.aborted) void this.#open();
  }

  #retire(channel: Channel): void {
    this.#replaced += 1;
    const isIdle = channel.endpoint.load.exchanges === 0;
    const cancel = this.#clock.schedule(isIdle ? millis(0) : this.#settings.retireMs, () => {
      this.#retired.delete(channel);
      void channel.endpoint.close();
    });
    this.#retired.set(channel, cancel);
  }

  /** The peer has ended the session; what was asked in it stays unanswered. */
  #discard(channel: Channel): void {
    this.#retired.get(channel)?.();
    this.#retired.delete(channel);
    if (this.#channel === channel) {
      this.#channel = undefined;
      this.#replaced += 1;
    }
    void channel.endpoint.close();
  }
}

function deliveryError({ kind, message }: DtlsError): DeliveryError {
  if (kind === 'deadline' || kind === 'cancelled') return { kind, message };
  return { kind: 'unreachable', message };
}
