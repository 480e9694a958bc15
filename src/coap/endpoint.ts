/**
 * CoAP message endpoint (RFC 7252) on one UDP socket: both client and server of the messages that pass through it.
 *
 * Client: every exchange has its caller's deadline, however the peer behaves (silence after an acknowledgement included);
 * a response counts only from the peer that was asked, under the token it was asked with (requests.ts). A refused send ends
 * the exchange at once, because it means that the link is gone.
 * Server: a request is remembered under (peer, message ID, token) the moment it arrives, so that a repeat never runs the
 * handler again, however long that takes (request-service.ts). Pings are answered by a reset, critical options that are
 * not understood by 4.02.
 * Messages: retransmission by the times measured with each peer, message IDs, acknowledgements (message-layer.ts).
 * Open exchanges, remembered messages, separate answers, observations and running handlers are bounded; beyond that the
 * caller gets `busy`, the peer 5.03, and a separate answer goes out once.
 *
 * An endpoint belongs to one access link. An exchange can go on at the endpoint of another link (`takeOver`): the peer
 * sees the request once more, from another address, and the first answer to either ends it.
 */
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import type { Entropy } from '../host/entropy.ts';
import type { DatagramSocket, SocketAddress } from '../host/network.ts';
import type { DeliveryError, SendOptions } from '../onem2m/binding.ts';
import type { Exchange, ExchangeOptions, ExchangeResult } from './exchange.ts';
import { decodeDatagram } from './message.ts';
import type { CoapMessage, Datagram } from './message.ts';
import { MessageLayer } from './message-layer.ts';
import type { EndpointCounters } from './message-layer.ts';
import { canonicalPeer } from './peer-address.ts';
import { RequestService } from './request-service.ts';
import type { MessageHandler, RefusalShaper } from './request-service.ts';
import { Requests } from './requests.ts';
import type { TokenListener } from './requests.ts';
import type { PeerFigures } from './response-times.ts';

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
  /** Observations that may be open at once. */
  readonly observationsMax: number;
}

export const defaultEndpointSettings: EndpointSettings = {
  ackTimeoutMs: millis(1000),
  piggybackMs: millis(50),
  exchangesMax: 256,
  handlersMax: 64,
  observationsMax: 64,
};

/** What the endpoint holds at this moment; all of it is bounded. */
export interface EndpointLoad {
  /** Requests of ours that wait for their answer. */
  readonly exchanges: number;
  readonly observations: number;
  /** Answers sent apart that are not acknowledged yet. */
  readonly separateAnswers: number;
  readonly runningHandlers: number;
  readonly rememberedMessages: number;
  readonly rememberedBytes: number;
}

/** A CoAP endpoint; see the header of this file. */
export class CoapEndpoint {
  /** The clock that its deadlines run on. */
  readonly clock: Clock;
  readonly #layer: MessageLayer;
  readonly #requests: Requests;
  readonly #service: RequestService;
  #isClosed = false;

  constructor(options: {
    socket: DatagramSocket;
    clock: Clock;
    entropy: Entropy;
    settings?: Partial<EndpointSettings>;
  }) {
    const { socket, clock, entropy } = options;
    const { ackTimeoutMs, piggybackMs, exchangesMax, handlersMax, observationsMax } = {
      ...defaultEndpointSettings,
      ...options.settings,
    };
    this.clock = clock;
    this.#layer = new MessageLayer({ socket, clock, entropy, ackTimeoutMs });
    this.#requests = new Requests(this.#layer, { exchangesMax, listenersMax: observationsMax });
    this.#service = new RequestService(this.#layer, { piggybackMs, handlersMax, separateMax: exchangesMax });
    socket.onMessage((data, from) => this.#receive(data, from));
  }

  /** Where peers reach this endpoint. */
  get local(): SocketAddress {
    return this.#layer.local;
  }

  /** What was counted since the endpoint was opened. */
  get counters(): Readonly<EndpointCounters> {
    return this.#layer.counters;
  }

  /** Usual time until the first sign of a peer on this link; undefined without recent measurement. */
  usualResponseMs(peer: SocketAddress): Millis | undefined {
    return this.#layer.responseTimes.usualMs(canonicalPeer(peer));
  }

  /** What the messages to a peer over this link have shown; undefined when none was sent. */
  peerFigures(peer: SocketAddress): PeerFigures | undefined {
    return this.#layer.responseTimes.figures(canonicalPeer(peer));
  }

  /** What is held at this moment. */
  get load(): EndpointLoad {
    return {
      exchanges: this.#requests.size,
      observations: this.#requests.listeners,
      separateAnswers: this.#service.separateAnswers,
      runningHandlers: this.#service.runningHandlers,
      rememberedMessages: this.#layer.served.size,
      rememberedBytes: this.#layer.served.bytes,
    };
  }

  /** Sets what answers incoming requests; without one they get 4.04. Refusals are plain CoAP unless shaped. */
  onRequest(handler: MessageHandler, shapeRefusal?: RefusalShaper): void {
    this.#service.serve(handler, shapeRefusal);
  }

  /** A token nobody can guess, for requests that must share one. */
  drawToken(): Uint8Array {
    return this.#layer.entropy.bytes(8);
  }

  /**
   * Sends a request, confirmable unless said otherwise, and waits for its response, at most until the deadline. Requests
   * that share a token must follow one another.
   */
  request(peer: SocketAddress, message: CoapMessage, options: ExchangeOptions): Promise<ExchangeResult> {
    return this.open(peer, message, options).result;
  }

  /** As `request`, for an exchange that may have to go on at another endpoint. */
  open(peer: SocketAddress, message: CoapMessage, options: ExchangeOptions): Exchange {
    return this.#requests.open(peer, message, options);
  }

  /**
   * Goes on with an open exchange of the endpoint of another link: sends it at once under the same token, and accepts
   * its answer here as well as there, until the deadline it has. That it ends once is all that is promised: the peer
   * knows repeats by the address they come from, so it may carry the request out twice. What must happen once needs a
   * name, as a oneM2M resource that is created under a fixed one (4105 the second time). Tells why it cannot be taken
   * over (`busy`, `closed`); it then stays where it is.
   */
  takeOver(exchange: Exchange): DeliveryError | undefined {
    return this.#requests.takeOver(exchange);
  }

  /**
   * Asks a peer for a sign of life (RFC 7252 4.3), which costs it no more than a reset; resolves to the time that took
   * in milliseconds.
   */
  async ping(peer: SocketAddress, options: SendOptions): Promise<Result<Millis, DeliveryError>> {
    const beganMs = this.clock.monotonicMs();
    const pong = await this.#requests.open(peer, undefined, options).result;
    return pong.ok ? ok(millis(this.clock.monotonicMs() - beganMs)) : err(pong.error);
  }

  /**
   * Hears messages that come from a peer under a token, other than the answers to open requests, until the returned
   * function is called. Confirmable ones are acknowledged, repeats and those that have to be rejected left out. Tells
   * why it cannot (`busy`, `closed`).
   */
  listen(peer: SocketAddress, token: Uint8Array, take: TokenListener): (() => void) | DeliveryError {
    return this.#requests.listen(peer, token, take);
  }

  /** Ends the exchanges that are at no other endpoint with `closed`, and closes the socket. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#requests.close();
    this.#service.close();
    await this.#layer.close();
  }

  #receive(data: Uint8Array, from: SocketAddress): void {
    if (this.#isClosed) return;
    const { counters } = this.#layer;
    counters.received += 1;
    let datagram: Datagram;
    try {
      datagram = decodeDatagram(data);
    } catch {
      counters.malformed += 1;
      // RFC 7252 4.2: a confirmable message that cannot be processed is rejected; anything else is ignored.
      if (data.length >= 4 && (data[0] ?? 0) >> 4 === 4) {
        this.#layer.reply('reset', ((data[2] ?? 0) << 8) | (data[3] ?? 0), from);
      }
      return;
    }
    const { message } = datagram;
    if (message === undefined) this.#layer.receiveEmpty(datagram, from);
    else if (this.#layer.answerRepeat(datagram, from)) counters.duplicates += 1;
    else if (message.code.startsWith('0.')) this.#service.receive(datagram, message, from);
    else this.#requests.receive(datagram, message, from);
  }
}
