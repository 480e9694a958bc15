/**
 * A DTLS session with one peer (RFC 6347, keys of RFC 4279), offered as the socket that it is: what CoapEndpoint sends
 * goes out enciphered, what the peer sends comes in deciphered, in both directions alike.
 *
 * A session belongs to its pair of addresses: there is no connection ID, so when this side gets another address, or a
 * translator on the way forgets it, the session dies without a sign. Whoever uses it notices by unanswered requests
 * (dtls-binding.ts) and opens another one, on a socket of its own: libcoap 4.3.1 does not answer the hello of a pair of
 * addresses whose session it still holds. An endpoint lives and dies with its session, because
 * no message may be sent again under another one (RFC 7252 9.1.1).
 *
 * What comes from anybody else is dropped and counted. A server that holds another key for the identity says nothing at
 * all, as DTLS drops what it cannot authenticate: it is told from silence by its having answered until then.
 */
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { assert } from '../base/assert.ts';
import { printable } from '../base/text.ts';
import type { Millis } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import type { DtlsCredentials } from '../host/dtls-credentials.ts';
import type { DtlsEnd, DtlsLibrary } from '../host/dtls-library.ts';
import type { DatagramSocket, SendError, SocketAddress } from '../host/network.ts';
import { DtlsConversation } from './dtls-conversation.ts';
import type { ConversationCounters } from './dtls-conversation.ts';

/** Why there is no session. The message names peer and identity, never the key. */
export interface DtlsError {
  /**
   * `unknownIdentity`: the peer does not know it. `wrongKey`: the peer holds another key. `deadline`: no answer in time.
   * `unreachable`: the system refused to send. `protocol`: the handshake broke. `cancelled`: withdrawn by the caller.
   */
  readonly kind: 'unknownIdentity' | 'wrongKey' | 'deadline' | 'unreachable' | 'protocol' | 'cancelled';
  readonly message: string;
}

/** What a session is opened with. */
export interface DtlsSessionOptions {
  readonly library: DtlsLibrary;
  /** Bound to the link; it belongs to the session from here on, and is closed when there will be none. */
  readonly socket: DatagramSocket;
  readonly peer: SocketAddress;
  readonly credentials: DtlsCredentials;
  readonly clock: Clock;
  /** Time for the handshake. */
  readonly deadlineMs: Millis;
  readonly signal?: AbortSignal;
  /** First pause before a flight of the handshake is sent again. */
  readonly flightMs?: Millis;
  /** Told of the session before it shakes hands. */
  readonly onSession?: (session: DtlsSession) => void;
}

/** Alerts of RFC 5246 7.2 and RFC 4279 2 by what they mean here. */
const alertBadRecord = 20;
const alertDecryptError = 51;
const alertUnknownIdentity = 115;

/** Shakes hands with the peer. The error says who failed to prove what; the socket is closed then. */
export async function openDtlsSession(options: DtlsSessionOptions): Promise<Result<DtlsSession, DtlsError>> {
  const session = new DtlsSession(options);
  options.onSession?.(session);
  const outcome = await session.handshake(options);
  if (outcome.ok) return ok(session);
  await session.close();
  return outcome;
}

/** An open session; see the header of this file. `openDtlsSession` makes them. */
export class DtlsSession implements DatagramSocket {
  readonly local: SocketAddress;
  readonly #peer: SocketAddress;
  readonly #identity: string;
  readonly #socket: DatagramSocket;
  readonly #clock: Clock;
  readonly #conversation: DtlsConversation;
  #foreign = 0;
  #heard = 0;
  #onPlain: ((data: Uint8Array, from: SocketAddress) => void) | undefined;
  #onEnd: ((reason: string) => void) | undefined;
  #endReason: string | undefined;
  #settle: ((outcome: Result<void, DtlsError>) => void) | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: Omit<DtlsSessionOptions, 'deadlineMs' | 'signal' | 'onSession'>) {
    const { library, socket, peer, credentials, clock, flightMs } = options;
    this.local = socket.local;
    this.#peer = peer;
    this.#identity = credentials.identity;
    this.#socket = socket;
    this.#clock = clock;
    this.#conversation = new DtlsConversation({
      engine: library.createClient({ credentials, ...(flightMs === undefined ? {} : { flightMs }) }),
      clock,
      send: (data) => socket.send(data, peer),
      events: {
        onOpen: () => this.#settle?.(ok(undefined)),
        onPlain: (plain) => {
          this.#heard += 1;
          this.#onPlain?.(plain, peer);
        },
        onEnd: (end) => this.#take(end),
      },
    });
    socket.onMessage((data, from) => {
      if (from.address === peer.address && from.port === peer.port) this.#conversation.receive(data);
      else this.#foreign += 1;
    });
  }

  /** What passed, and what was dropped: `foreign` came from elsewhere, `ignored` is not authentic. */
  get counters(): Readonly<ConversationCounters> & { readonly foreign: number } {
    return { ...this.#conversation.counters, foreign: this.#foreign };
  }

  /** Datagrams of the peer since the handshake: signs that the session lives. */
  get heard(): number {
    return this.#heard;
  }

  /** Name of the cipher suite. */
  get cipher(): string | undefined {
    return this.#conversation.cipher;
  }

  get isOpen(): boolean {
    return this.#conversation.isOpen;
  }

  /** Called once by `openDtlsSession`. */
  handshake(options: Pick<DtlsSessionOptions, 'deadlineMs' | 'signal'>): Promise<Result<void, DtlsError>> {
    const { deadlineMs, signal } = options;
    assert(this.#settle === undefined, 'a session shakes hands once');
    return new Promise((resolve) => {
      const onAbort = (): void => this.#settle?.(err(this.#error('cancelled', 'withdrawn by the caller')));
      const cancelDeadline = this.#clock.schedule(deadlineMs, () =>
        this.#settle?.(err(this.late(deadlineMs))),
      );
      this.#settle = (outcome) => {
        this.#settle = () => undefined;
        cancelDeadline();
        signal?.removeEventListener('abort', onAbort);
        resolve(outcome);
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      if (signal?.aborted === true) onAbort();
      else this.#conversation.begin();
    });
  }

  async send(data: Uint8Array, to: SocketAddress): Promise<Result<void, SendError>> {
    if (to.address !== this.#peer.address || to.port !== this.#peer.port) {
      const message = `this session is with ${textOf(this.#peer)}, not with ${textOf(to)}`;
      return err({ errno: 'EINVAL', message });
    }
    return this.#conversation.send(data);
  }

  onMessage(handler: (data: Uint8Array, from: SocketAddress) => void): void {
    this.#onPlain = handler;
  }

  /** Sets what is told, once, that the peer has ended the session. */
  onEnd(handler: (reason: string) => void): void {
    this.#onEnd = handler;
    if (this.#endReason !== undefined) handler(this.#endReason);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#onPlain = undefined;
    this.#onEnd = undefined;
    await this.#conversation.close();
    await this.#socket.close();
  }

  #take(end: DtlsEnd | { readonly kind: 'refused'; readonly message: string }): void {
    this.#endReason = end.message;
    this.#settle?.(err(this.#explain(end)));
    this.#onEnd?.(end.message);
  }

  #explain(end: DtlsEnd | { readonly kind: 'refused'; readonly message: string }): DtlsError {
    if (end.kind === 'refused') return this.#error('unreachable', end.message);
    const { alert } = end.kind === 'alert' ? end : {};
    if (alert === alertUnknownIdentity)
      return this.#error('unknownIdentity', 'it does not know the identity');
    if (alert === alertBadRecord || alert === alertDecryptError) return this.#error('wrongKey', wrongKey);
    return this.#error('protocol', `the handshake broke: ${end.message}`);
  }

  /** What there is to say when no more time is left for the handshake. */
  late(deadlineMs: Millis): DtlsError {
    const within = `within ${Math.round(deadlineMs)} ms`;
    return this.#conversation.hasProvedInVain
      ? this.#error('wrongKey', `${wrongKey} (it was silent from that proof on, ${within})`)
      : this.#error('deadline', `no answer ${within}`);
  }

  #error(kind: DtlsError['kind'], reason: string): DtlsError {
    const identity = printable(this.#identity, 64);
    return { kind, message: `coaps ${textOf(this.#peer)} as "${identity}": ${reason}` };
  }
}

const wrongKey = 'the key is not the one that it holds for this identity';

function textOf({ address, port }: SocketAddress): string {
  return `${address} port ${port}`;
}
