/**
 * CoAP message endpoint (RFC 7252) on one UDP socket: both client and server of the messages that pass through it.
 *
 * Client: every exchange has its caller's deadline, however the peer behaves (silence after an acknowledgement included);
 * a response counts only from the peer that was asked, under the token it was asked with. Retransmission begins after
 * `ackTimeoutMs`, or sooner or later by the times measured with that peer, with pauses that grow (response-times.ts). A
 * refused send ends the exchange at once, because it means that the link is gone.
 * Server: a confirmable request is recorded under (peer, message ID) the moment it arrives, so that a repeat never runs
 * the handler again, however long that takes; a handler slower than `piggybackMs` is acknowledged first and answered in a
 * separate exchange. The token is part of that record: a repeat has the same octets, while a peer that restarted may
 * count its message IDs from the start. Pings are answered by a reset, unknown critical options by 4.02.
 * Open exchanges, remembered messages, separate answers and running handlers are bounded; beyond that the caller gets
 * `busy`, the peer 5.03, and a separate answer goes out once.
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
import { unknownCriticalOption } from './critical-options.ts';
import { decodeDatagram, encodeDatagram } from './message.ts';
import type { CoapMessage, Datagram, MessageHeader } from './message.ts';
import { ResponseTimes, backOffOf } from './response-times.ts';
import { ServedRequests } from './served-requests.ts';

/** Settings of the message layer (RFC 7252 4.8); durations in milliseconds. */
export interface EndpointSettings {
  /** First retransmission to a peer not yet measured after this time, lengthened by up to a half at random. */
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

/** What the endpoint holds at this moment; all of it is bounded. */
export interface EndpointLoad {
  /** Requests of ours that wait for their answer. */
  readonly exchanges: number;
  /** Answers sent apart that are not acknowledged yet. */
  readonly separateAnswers: number;
  readonly runningHandlers: number;
  readonly rememberedMessages: number;
  readonly rememberedBytes: number;
}

/** Answers a request; `undefined` leaves it unanswered. */
export type MessageHandler = (message: CoapMessage, from: SocketAddress) => Promise<CoapMessage | undefined>;

/** A request's settings: as `SendOptions`, and the token where several requests must share one. */
export interface ExchangeOptions extends SendOptions {
  readonly token?: Uint8Array;
}

/** Shapes the endpoint's own refusal (`code`, its reason in words) into what the peer of this protocol expects. */
export type RefusalShaper = (code: string, reason: string, request: CoapMessage) => CoapMessage;

/** A confirmable message that is sent again until it is answered. */
interface Transmission {
  cancelRetransmit: CancelTimer;
  /** When it was sent first; undefined once its time is measured. */
  sentMs: Millis | undefined;
  retransmissions: number;
}

interface Exchange extends Transmission {
  readonly peer: SocketAddress;
  readonly token: string;
  readonly messageId: number;
  acknowledged: boolean;
  finish(result: Result<CoapMessage, DeliveryError>): void;
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
  readonly #piggybacks = new Set<CancelTimer>();
  readonly #served: ServedRequests;
  readonly #responseTimes: ResponseTimes;
  #handler: MessageHandler | undefined;
  #shapeRefusal: RefusalShaper = errorMessage;
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
    this.#responseTimes = new ResponseTimes(options.clock, this.#settings.ackTimeoutMs);
    this.#nextMessageId = this.#entropy.uint32() & 0xffff;
    this.#socket.onMessage((data, from) => this.#receive(data, from));
  }

  /** Where peers reach this endpoint. */
  get local(): SocketAddress {
    return this.#socket.local;
  }

  /** Usual time until the first sign of a peer on this link; undefined without recent measurement. */
  usualResponseMs(peer: SocketAddress): Millis | undefined {
    return this.#responseTimes.usualMs(peer);
  }

  /** What is held at this moment. */
  get load(): EndpointLoad {
    return {
      exchanges: this.#byToken.size,
      separateAnswers: this.#separate.size,
      runningHandlers: this.#running,
      rememberedMessages: this.#served.size,
      rememberedBytes: this.#served.bytes,
    };
  }

  /** Sets what answers incoming requests; without one they get 4.04. Refusals are plain CoAP unless shaped. */
  onRequest(handler: MessageHandler, shapeRefusal: RefusalShaper = errorMessage): void {
    this.#handler = handler;
    this.#shapeRefusal = shapeRefusal;
  }

  /** A token nobody can guess, for requests that must share one. */
  drawToken(): Uint8Array {
    return this.#entropy.bytes(8);
  }

  /**
   * Sends a confirmable request and waits for its response, at most until the deadline. Requests that share a token must
   * follow one another.
   */
  request(
    peer: SocketAddress,
    message: CoapMessage,
    options: ExchangeOptions,
  ): Promise<Result<CoapMessage, DeliveryError>> {
    const refused = this.#refusal(options.signal);
    if (refused !== undefined) return Promise.resolve(err(refused));
    return new Promise((resolve) => {
      const token = options.token ?? this.drawToken();
      const header: MessageHeader = { type: 'confirmable', messageId: this.#takeMessageId(peer), token };
      const exchange = this.#openExchange(peer, header, options, resolve);
      let data: Uint8Array;
      try {
        data = encodeDatagram(header, message);
      } catch (error) {
        exchange.finish(err({ kind: 'malformed', message: errorText(error) }));
        return;
      }
      this.#transmit(data, peer, exchange, {
        refused: (reason) => {
          const where = `${peer.address} port ${peer.port}`;
          exchange.finish(err({ kind: 'unreachable', message: `${where}: ${reason}` }));
        },
      });
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
    for (const cancel of this.#piggybacks) cancel();
    this.#piggybacks.clear();
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
      const message = `${peer.address} port ${peer.port}: ${state} within ${Math.round(options.deadlineMs)} ms`;
      exchange.finish(err({ kind: 'deadline', message }));
    });
    const exchange: Exchange = {
      peer,
      token,
      messageId: header.messageId,
      acknowledged: false,
      ...untransmitted(),
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
    assert(!this.#byToken.has(token), 'two open exchanges share a token');
    this.#byToken.set(token, exchange);
    this.#byMessageId.set(messageKey, exchange);
    options.signal?.addEventListener('abort', onAbort, { once: true });
    return exchange;
  }

  #takeMessageId(peer: SocketAddress): number {
    let key: string;
    do {
      this.#nextMessageId = (this.#nextMessageId + 1) & 0xffff;
      key = keyOf(peer, this.#nextMessageId);
    } while (this.#byMessageId.has(key) || this.#separate.has(key));
    return this.#nextMessageId;
  }

  /** Sends now and again after pauses that grow, until cancelled or spent. */
  #transmit(
    data: Uint8Array,
    peer: SocketAddress,
    transmission: Transmission,
    ends: { refused?: (reason: string) => void; spent?: () => void },
  ): void {
    const initialMs = this.#responseTimes.timeoutMs(peer) * (1 + randomFraction(this.#entropy) / 2);
    const backOff = backOffOf(initialMs);
    transmission.sentMs = this.#clock.monotonicMs();
    const transmit = (attempt: number, timeoutMs: number): void => {
      transmission.retransmissions = attempt;
      if (attempt > 0) this.counters.retransmitted += 1;
      // Armed before the send: a peer in the same process may answer, and thereby cancel, within it.
      transmission.cancelRetransmit = this.#clock.schedule(millis(timeoutMs), () => {
        if (attempt < retransmitMax) transmit(attempt + 1, timeoutMs * backOff);
        else ends.spent?.();
      });
      void this.#send(data, peer).then((sent) => {
        if (!sent.ok) ends.refused?.(sent.error.message);
      });
    };
    transmit(0, initialMs);
  }

  /** The first sign that a message arrived tells how long the peer takes. */
  #measure(peer: SocketAddress, transmission: Transmission | undefined): void {
    if (transmission?.sentMs === undefined) return;
    const elapsedMs = this.#clock.monotonicMs() - transmission.sentMs;
    transmission.sentMs = undefined;
    this.#responseTimes.record(peer, elapsedMs, transmission.retransmissions);
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
    else if (this.#answerRepeat(datagram, from)) this.counters.duplicates += 1;
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
          this.#measure(from, exchange);
          exchange.acknowledged = true;
          exchange.cancelRetransmit();
        }
        this.#measure(from, this.#separate.get(key));
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

  /** True for a message that came before; it gets the same answer again, if there is one yet (RFC 7252 4.5). */
  #answerRepeat(datagram: Datagram, from: SocketAddress): boolean {
    // The message ID of an acknowledgement or a reset is one of ours: what the peer counts is another matter.
    if (datagram.type === 'acknowledgement' || datagram.type === 'reset') return false;
    const known = this.#served.get(servedKeyOf(datagram, from));
    if (known?.answer !== undefined) void this.#send(known.answer, from);
    return known !== undefined;
  }

  #receiveResponse(datagram: Datagram, message: CoapMessage, from: SocketAddress): void {
    const exchange = this.#byToken.get(Buffer.from(datagram.token).toString('hex'));
    const isMatch =
      exchange !== undefined &&
      exchange.peer.port === from.port &&
      exchange.peer.address === from.address &&
      (datagram.type !== 'acknowledgement' || datagram.messageId === exchange.messageId);
    if (!isMatch) {
      this.counters.unmatched += 1;
      if (datagram.type === 'confirmable') this.#reply('reset', datagram.messageId, from);
      return;
    }
    this.#measure(from, exchange);
    const unknown = unknownCriticalOption(message);
    if (unknown !== undefined) {
      if (datagram.type === 'confirmable') this.#reply('reset', datagram.messageId, from);
      const reason = `answer ${message.code} with option ${unknown}, which is critical and not understood`;
      exchange.finish(err({ kind: 'malformed', message: reason }));
      return;
    }
    if (datagram.type === 'confirmable') {
      this.#served.record(servedKeyOf(datagram, from));
      this.#acknowledge(datagram, from);
    }
    exchange.finish(ok(message));
  }

  #receiveRequest(datagram: Datagram, message: CoapMessage, from: SocketAddress): void {
    if (datagram.type !== 'confirmable' && datagram.type !== 'nonConfirmable') {
      this.counters.malformed += 1;
      return;
    }
    this.#served.record(servedKeyOf(datagram, from));
    const unknown = unknownCriticalOption(message);
    if (unknown !== undefined) {
      if (datagram.type !== 'confirmable') return;
      const refusal = this.#shapeRefusal('4.02', `option ${unknown} is not understood`, message);
      this.#answer(datagram, refusal, from, true);
    } else if (this.#running >= this.#settings.handlersMax) {
      this.#answer(datagram, this.#shapeRefusal('5.03', 'too many requests at once', message), from, true);
    } else {
      void this.#serve(datagram, message, from);
    }
  }

  async #serve(datagram: Datagram, message: CoapMessage, from: SocketAddress): Promise<void> {
    this.#running += 1;
    let acknowledged = false;
    const cancelPiggyback = this.#clock.schedule(this.#settings.piggybackMs, () => {
      this.#piggybacks.delete(cancelPiggyback);
      if (datagram.type !== 'confirmable') return;
      acknowledged = true;
      this.#acknowledge(datagram, from);
    });
    this.#piggybacks.add(cancelPiggyback);
    let response: CoapMessage | undefined;
    try {
      response =
        this.#handler === undefined
          ? this.#shapeRefusal('4.04', 'nothing is served here', message)
          : await this.#handler(message, from);
    } catch {
      response = this.#shapeRefusal('5.00', 'internal error', message);
    } finally {
      this.#running -= 1;
      cancelPiggyback();
      this.#piggybacks.delete(cancelPiggyback);
    }
    if (response === undefined || this.#closed) return;
    this.#answer(datagram, response, from, !acknowledged);
  }

  /** Sends a response: in the acknowledgement where that is still to be sent, else under its own message ID. */
  #answer(request: Datagram, response: CoapMessage, to: SocketAddress, canPiggyback: boolean): void {
    const { token } = request;
    const isPiggybacked = request.type === 'confirmable' && canPiggyback;
    const header: MessageHeader = isPiggybacked
      ? { type: 'acknowledgement', messageId: request.messageId, token }
      : { type: request.type, messageId: this.#takeMessageId(to), token };
    let data: Uint8Array;
    try {
      data = encodeDatagram(header, response);
    } catch {
      data = encodeDatagram(header, errorMessage('5.00', 'the answer does not fit a datagram'));
    }
    if (isPiggybacked) this.#served.answer(servedKeyOf(request, to), data);
    // Beyond the bound a separate answer goes out once; the peer's own repetition has to make up for its loss.
    if (header.type !== 'confirmable' || this.#separate.size >= this.#settings.exchangesMax) {
      void this.#send(data, to);
      return;
    }
    const key = keyOf(to, header.messageId);
    const transmission = untransmitted();
    this.#separate.set(key, transmission);
    this.#transmit(data, to, transmission, { spent: () => this.#separate.delete(key) });
  }

  /** Acknowledges a message with an empty one, and every repeat of it likewise. */
  #acknowledge(datagram: Datagram, to: SocketAddress): void {
    const { messageId } = datagram;
    const acknowledgement = encodeDatagram({ type: 'acknowledgement', messageId, token: empty });
    this.#served.answer(servedKeyOf(datagram, to), acknowledgement);
    void this.#send(acknowledgement, to);
  }

  #endSeparate(key: string): void {
    this.#separate.get(key)?.cancelRetransmit();
    this.#separate.delete(key);
  }
}

function untransmitted(): Transmission {
  return { cancelRetransmit: () => undefined, sentMs: undefined, retransmissions: 0 };
}

function errorMessage(code: string, text: string): CoapMessage {
  return { code, path: [], query: [], options: new Map(), payload: Buffer.from(text) };
}

function keyOf(peer: SocketAddress, messageId: number): string {
  return `${peer.address}|${peer.port}|${messageId}`;
}

function servedKeyOf(datagram: Datagram, peer: SocketAddress): string {
  return `${keyOf(peer, datagram.messageId)}|${Buffer.from(datagram.token).toString('hex')}`;
}
