/**
 * CoAP message endpoint (RFC 7252) on one UDP socket: both client and server of the messages that pass through it.
 *
 * Client: every exchange has its caller's deadline, however the peer behaves (silence after an acknowledgement included);
 * a response counts only from the peer that was asked, under the token it was asked with. Retransmission doubles from
 * `ackTimeoutMs` until the deadline. A refused send ends the exchange at once, because it means that the link is gone.
 * Server: a confirmable request is recorded under (peer, message ID) the moment it arrives, so that a repeat never runs
 * the handler again, however long that takes; a handler slower than `piggybackMs` is acknowledged first and answered in a
 * separate exchange. Pings are answered by a reset, unknown critical options by 4.02.
 * Bounds: open exchanges, remembered requests and running handlers are limited; beyond them the caller gets `busy` and
 * the peer 5.03.
 */
import { assert } from '../base/assert.ts';
import { errorText } from '../base/errors.ts';
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import type { CancelTimer, Clock } from '../host/clock.ts';
import { randomFraction } from '../host/entropy.ts';
import type { Entropy } from '../host/entropy.ts';
import type { DatagramSocket, SocketAddress } from '../host/network.ts';
import type { DeliveryError, SendOptions } from '../onem2m/binding.ts';
import { oneM2mOptionNumbers } from './mapping.ts';
import { decodeDatagram, encodeDatagram } from './message.ts';
import type { CoapMessage, Datagram, MessageHeader } from './message.ts';
import { ServedRequests } from './served-requests.ts';

/** Settings of the message layer (RFC 7252 4.8); durations in milliseconds. */
export interface EndpointSettings {
  /** First retransmission after this time, lengthened by up to a half at random. */
  readonly ackTimeoutMs: Millis;
  /** How long a handler may take before its request is acknowledged on its own. */
  readonly piggybackMs: Millis;
  /** Requests of ours that may be open at once. */
  readonly exchangesMax: number;
  /** Handlers that may run at once. */
  readonly handlersMax: number;
}

export const defaultEndpointSettings: EndpointSettings = {
  ackTimeoutMs: millis(1000),
  piggybackMs: millis(50),
  exchangesMax: 256,
  handlersMax: 64,
};

/** What the endpoint counted since it was opened. */
export interface EndpointCounters {
  sent: number;
  received: number;
  retransmitted: number;
  duplicates: number;
  malformed: number;
  unmatched: number;
}

/** Answers a request; `undefined` leaves it unanswered. */
export type MessageHandler = (message: CoapMessage, from: SocketAddress) => Promise<CoapMessage | undefined>;

interface Exchange {
  readonly peer: SocketAddress;
  readonly token: string;
  readonly messageId: number;
  acknowledged: boolean;
  cancelRetransmit: CancelTimer;
  finish(result: Result<CoapMessage, DeliveryError>): void;
}

interface Transmission {
  cancelRetransmit: CancelTimer;
}

const empty = new Uint8Array();
const retransmitMax = 4;

/** A CoAP endpoint; see the header of this file. */
export class CoapEndpoint {
  readonly counters: EndpointCounters = {
    sent: 0,
    received: 0,
    retransmitted: 0,
    duplicates: 0,
    malformed: 0,
    unmatched: 0,
  };
  readonly #socket: DatagramSocket;
  readonly #clock: Clock;
  readonly #entropy: Entropy;
  readonly #settings: EndpointSettings;
  readonly #byToken = new Map<string, Exchange>();
  readonly #byMessageId = new Map<string, Exchange>();
  readonly #separate = new Map<string, Transmission>();
  readonly #served: ServedRequests;
  #handler: MessageHandler | undefined;
  #running = 0;
  #nextMessageId: number;
  #closed = false;

  constructor(options: {
    socket: DatagramSocket;
    clock: Clock;
    entropy: Entropy;
    settings?: Partial<EndpointSettings>;
  }) {
    this.#socket = options.socket;
    this.#clock = options.clock;
    this.#entropy = options.entropy;
    this.#settings = { ...defaultEndpointSettings, ...options.settings };
    this.#served = new ServedRequests(options.clock);
    this.#nextMessageId = this.#entropy.uint32() & 0xffff;
    this.#socket.onMessage((data, from) => this.#receive(data, from));
  }

  /** Where peers reach this endpoint. */
  get local(): SocketAddress {
    return this.#socket.local;
  }

  /** Sets what answers incoming requests; without one they get 4.04. */
  onRequest(handler: MessageHandler): void {
    this.#handler = handler;
  }

  /** Sends a confirmable request and waits for its response, at most until the deadline. */
  request(
    peer: SocketAddress,
    message: CoapMessage,
    options: SendOptions,
  ): Promise<Result<CoapMessage, DeliveryError>> {
    const refused = this.#refusal(options.signal);
    if (refused !== undefined) return Promise.resolve(err(refused));
    return new Promise((resolve) => {
      const token = this.#entropy.bytes(8);
      const header: MessageHeader = { type: 'confirmable', messageId: this.#takeMessageId(), token };
      const exchange = this.#openExchange(peer, header, options, resolve);
      let data: Uint8Array;
      try {
        data = encodeDatagram(header, message);
      } catch (error) {
        exchange.finish(err({ kind: 'malformed', message: errorText(error) }));
        return;
      }
      const transmit = (attempt: number, timeoutMs: number): void => {
        if (attempt > 0) this.counters.retransmitted += 1;
        void this.#send(data, peer).then((sent) => {
          if (sent.ok) return;
          const where = `${peer.address} port ${peer.port}`;
          exchange.finish(err({ kind: 'unreachable', message: `${where}: ${sent.error.message}` }));
        });
        if (attempt === retransmitMax) return;
        exchange.cancelRetransmit = this.#clock.schedule(millis(timeoutMs), () =>
          transmit(attempt + 1, timeoutMs * 2),
        );
      };
      transmit(0, this.#settings.ackTimeoutMs * (1 + randomFraction(this.#entropy) / 2));
    });
  }

  /** Ends all exchanges with `closed` and closes the socket. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const exchange of [...this.#byToken.values()]) {
      exchange.finish(err({ kind: 'closed', message: 'the endpoint was closed' }));
    }
    for (const transmission of this.#separate.values()) transmission.cancelRetransmit();
    this.#separate.clear();
    await this.#socket.close();
  }

  #refusal(signal: AbortSignal | undefined): DeliveryError | undefined {
    if (this.#closed) return { kind: 'closed', message: 'the endpoint is closed' };
    if (signal?.aborted === true) return { kind: 'cancelled', message: 'withdrawn before it was sent' };
    if (this.#byToken.size >= this.#settings.exchangesMax) {
      return { kind: 'busy', message: `${this.#byToken.size} exchanges are open, which is the limit` };
    }
    return undefined;
  }

  #openExchange(
    peer: SocketAddress,
    header: MessageHeader,
    options: SendOptions,
    resolve: (result: Result<CoapMessage, DeliveryError>) => void,
  ): Exchange {
    const token = Buffer.from(header.token).toString('hex');
    const messageKey = keyOf(peer, header.messageId);
    const onAbort = (): void =>
      exchange.finish(err({ kind: 'cancelled', message: 'withdrawn by the caller' }));
    const cancelDeadline = this.#clock.schedule(options.deadlineMs, () => {
      const state = exchange.acknowledged ? 'acknowledged, then silence' : 'no answer';
      const message = `${peer.address} port ${peer.port}: ${state} within ${options.deadlineMs} ms`;
      exchange.finish(err({ kind: 'deadline', message }));
    });
    const exchange: Exchange = {
      peer,
      token,
      messageId: header.messageId,
      acknowledged: false,
      cancelRetransmit: () => undefined,
      finish: (result) => {
        if (this.#byToken.get(token) !== exchange) return;
        this.#byToken.delete(token);
        this.#byMessageId.delete(messageKey);
        exchange.cancelRetransmit();
        cancelDeadline();
        options.signal?.removeEventListener('abort', onAbort);
        resolve(result);
      },
    };
    assert(!this.#byToken.has(token), 'a token of eight random octets repeated');
    this.#byToken.set(token, exchange);
    this.#byMessageId.set(messageKey, exchange);
    options.signal?.addEventListener('abort', onAbort, { once: true });
    return exchange;
  }

  #takeMessageId(): number {
    this.#nextMessageId = (this.#nextMessageId + 1) & 0xffff;
    return this.#nextMessageId;
  }

  #send(data: Uint8Array, peer: SocketAddress): ReturnType<DatagramSocket['send']> {
    this.counters.sent += 1;
    return this.#socket.send(data, peer);
  }

  #reply(type: 'acknowledgement' | 'reset', messageId: number, peer: SocketAddress): void {
    void this.#send(encodeDatagram({ type, messageId, token: empty }), peer);
  }

  #receive(data: Uint8Array, from: SocketAddress): void {
    if (this.#closed) return;
    this.counters.received += 1;
    let datagram: Datagram;
    try {
      datagram = decodeDatagram(data);
    } catch {
      this.counters.malformed += 1;
      // RFC 7252 4.2: a confirmable message that cannot be processed is rejected; anything else is ignored.
      if (data.length >= 4 && (data[0] ?? 0) >> 4 === 4) {
        this.#reply('reset', ((data[2] ?? 0) << 8) | (data[3] ?? 0), from);
      }
      return;
    }
    if (datagram.message === undefined) this.#receiveEmpty(datagram, from);
    else if (datagram.message.code.startsWith('0.')) this.#receiveRequest(datagram, datagram.message, from);
    else this.#receiveResponse(datagram, datagram.message, from);
  }

  #receiveEmpty(datagram: Datagram, from: SocketAddress): void {
    const key = keyOf(from, datagram.messageId);
    const exchange = this.#byMessageId.get(key);
    switch (datagram.type) {
      case 'confirmable': // a ping (RFC 7252 4.3)
        this.#reply('reset', datagram.messageId, from);
        return;
      case 'acknowledgement':
        if (exchange !== undefined) {
          exchange.acknowledged = true;
          exchange.cancelRetransmit();
        }
        this.#endSeparate(key);
        return;
      case 'reset':
        exchange?.finish(
          err({ kind: 'reset', message: `${from.address} port ${from.port} rejected the message` }),
        );
        this.#endSeparate(key);
        return;
      case 'nonConfirmable':
        this.counters.malformed += 1;
    }
  }

  #receiveResponse(datagram: Datagram, message: CoapMessage, from: SocketAddress): void {
    const exchange = this.#byToken.get(Buffer.from(datagram.token).toString('hex'));
    const isMatch =
      exchange !== undefined &&
      isSamePeer(exchange.peer, from) &&
      (datagram.type !== 'acknowledgement' || datagram.messageId === exchange.messageId);
    if (!isMatch) {
      this.counters.unmatched += 1;
      if (datagram.type === 'confirmable') this.#reply('reset', datagram.messageId, from);
      return;
    }
    if (datagram.type === 'confirmable') this.#reply('acknowledgement', datagram.messageId, from);
    exchange.finish(ok(message));
  }

  #receiveRequest(datagram: Datagram, message: CoapMessage, from: SocketAddress): void {
    if (datagram.type !== 'confirmable' && datagram.type !== 'nonConfirmable') {
      this.counters.malformed += 1;
      return;
    }
    const key = keyOf(from, datagram.messageId);
    const known = this.#served.get(key);
    if (known !== undefined) {
      this.counters.duplicates += 1;
      if (known.answer !== undefined) void this.#send(known.answer, from);
      return;
    }
    const served = this.#served.record(key);
    if (this.#running >= this.#settings.handlersMax) {
      this.#answer(datagram, errorMessage('5.03', 'too many requests at once'), from, undefined);
      return;
    }
    const unknown = unknownCriticalOption(message);
    if (unknown !== undefined) {
      if (datagram.type === 'confirmable') {
        served.answer = this.#answer(
          datagram,
          errorMessage('4.02', `option ${unknown} is not understood`),
          from,
          undefined,
        );
      }
      return;
    }
    void this.#serve(datagram, message, from, served);
  }

  async #serve(
    datagram: Datagram,
    message: CoapMessage,
    from: SocketAddress,
    served: { answer?: Uint8Array },
  ): Promise<void> {
    this.#running += 1;
    let acknowledged = false;
    const cancelPiggyback = this.#clock.schedule(this.#settings.piggybackMs, () => {
      if (datagram.type !== 'confirmable') return;
      acknowledged = true;
      const bare = encodeDatagram({ type: 'acknowledgement', messageId: datagram.messageId, token: empty });
      served.answer = bare;
      void this.#send(bare, from);
    });
    let response: CoapMessage | undefined;
    try {
      response = this.#handler === undefined ? errorMessage('4.04', '') : await this.#handler(message, from);
    } catch {
      response = errorMessage('5.00', '');
    } finally {
      this.#running -= 1;
      cancelPiggyback();
    }
    if (response === undefined || this.#closed) return;
    const isPiggybacked = datagram.type === 'confirmable' && !acknowledged;
    const sent = this.#answer(datagram, response, from, isPiggybacked ? undefined : this.#takeMessageId());
    if (isPiggybacked) served.answer = sent;
  }

  /** Sends a response: in the acknowledgement, or under its own message ID when one is given. */
  #answer(
    request: Datagram,
    response: CoapMessage,
    to: SocketAddress,
    messageId: number | undefined,
  ): Uint8Array {
    const isSeparate = messageId !== undefined;
    const type = isSeparate
      ? request.type
      : request.type === 'confirmable'
        ? 'acknowledgement'
        : 'nonConfirmable';
    const header: MessageHeader = { type, messageId: messageId ?? request.messageId, token: request.token };
    let data: Uint8Array;
    try {
      data = encodeDatagram(header, response);
    } catch {
      data = encodeDatagram(header, errorMessage('5.00', 'the answer does not fit a datagram'));
    }
    if (type === 'confirmable') this.#transmitSeparate(data, to, header.messageId);
    else void this.#send(data, to);
    return data;
  }

  #transmitSeparate(data: Uint8Array, to: SocketAddress, messageId: number): void {
    const key = keyOf(to, messageId);
    const transmission: Transmission = { cancelRetransmit: () => undefined };
    this.#separate.set(key, transmission);
    const transmit = (attempt: number, timeoutMs: number): void => {
      if (attempt > 0) this.counters.retransmitted += 1;
      void this.#send(data, to);
      transmission.cancelRetransmit = this.#clock.schedule(millis(timeoutMs), () => {
        if (attempt === retransmitMax) this.#separate.delete(key);
        else transmit(attempt + 1, timeoutMs * 2);
      });
    };
    transmit(0, this.#settings.ackTimeoutMs);
  }

  #endSeparate(key: string): void {
    this.#separate.get(key)?.cancelRetransmit();
    this.#separate.delete(key);
  }
}

const understood = new Set<number>([1, 3, 5, 7, 11, 15, 17, 23, 27, ...oneM2mOptionNumbers]);

function unknownCriticalOption(message: CoapMessage): number | undefined {
  return [...message.options.keys()].find((number) => number % 2 === 1 && !understood.has(number));
}

function errorMessage(code: string, text: string): CoapMessage {
  return { code, path: [], query: [], options: new Map(), payload: Buffer.from(text) };
}

function keyOf(peer: SocketAddress, messageId: number): string {
  return `${peer.address}|${peer.port}|${messageId}`;
}

function isSamePeer(a: SocketAddress, b: SocketAddress): boolean {
  return a.port === b.port && a.address === b.address;
}
