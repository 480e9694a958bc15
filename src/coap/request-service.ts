import type { CancelTimer } from '../host/clock.ts';
import type { Millis } from '../base/units.ts';
import type { SocketAddress } from '../host/network.ts';
import { unfitOption } from './critical-options.ts';
import { encodeDatagram } from './message.ts';
import type { CoapMessage, Datagram } from './message.ts';
import type { MessageLayer, Transmission } from './message-layer.ts';

/** Answers a request; `undefined` leaves it unanswered. */
export type MessageHandler = (message: CoapMessage, from: SocketAddress) => Promise<CoapMessage | undefined>;

/** Shapes the endpoint's own refusal (`code`, its reason in words) into what the peer of this protocol expects. */
export type RefusalShaper = (code: string, reason: string, request: CoapMessage) => CoapMessage;

/**
 * The server side of an endpoint (RFC 7252 5.2): a request is remembered the moment it arrives, so that a repeat never
 * runs the handler again, however long that takes; a handler slower than `piggybackMs` is acknowledged first and answered
 * in a separate exchange. Running handlers and separate answers are bounded: beyond that the peer gets 5.03, and a
 * separate answer goes out once.
 */
export class RequestService {
  readonly #layer: MessageLayer;
  readonly #piggybackMs: Millis;
  readonly #handlersMax: number;
  readonly #separateMax: number;
  readonly #separate = new Set<Transmission>();
  readonly #piggybacks = new Set<CancelTimer>();
  #handler: MessageHandler | undefined;
  #shapeRefusal: RefusalShaper = errorMessage;
  #running = 0;
  #isClosed = false;

  constructor(
    layer: MessageLayer,
    limits: { piggybackMs: Millis; handlersMax: number; separateMax: number },
  ) {
    this.#layer = layer;
    this.#piggybackMs = limits.piggybackMs;
    this.#handlersMax = limits.handlersMax;
    this.#separateMax = limits.separateMax;
  }

  get runningHandlers(): number {
    return this.#running;
  }

  /** Answers sent apart that are not acknowledged yet. */
  get separateAnswers(): number {
    return this.#separate.size;
  }

  /** Sets what answers; without a handler requests get 4.04. */
  serve(handler: MessageHandler, shapeRefusal: RefusalShaper = errorMessage): void {
    this.#handler = handler;
    this.#shapeRefusal = shapeRefusal;
  }

  /** Takes a request that did not come before. */
  receive(datagram: Datagram, message: CoapMessage, from: SocketAddress): void {
    if (datagram.type !== 'confirmable' && datagram.type !== 'nonConfirmable') {
      this.#layer.counters.malformed += 1;
      return;
    }
    this.#layer.noteArrival(datagram, from);
    const unfit = unfitOption(message);
    if (unfit !== undefined) {
      // RFC 7252 5.4.1: to a non-confirmable request with such an option nothing is said.
      if (datagram.type !== 'confirmable') return;
      this.#answer(datagram, this.#shapeRefusal(unfit.code, unfit.reason, message), from, true);
    } else if (this.#running >= this.#handlersMax) {
      this.#answer(datagram, this.#shapeRefusal('5.03', 'too many requests at once', message), from, true);
    } else {
      void this.#serve(datagram, message, from);
    }
  }

  close(): void {
    this.#isClosed = true;
    for (const transmission of this.#separate) transmission.release();
    this.#separate.clear();
    for (const cancel of this.#piggybacks) cancel();
    this.#piggybacks.clear();
  }

  async #serve(datagram: Datagram, message: CoapMessage, from: SocketAddress): Promise<void> {
    this.#running += 1;
    let isAcknowledged = false;
    const cancelPiggyback = this.#layer.clock.schedule(this.#piggybackMs, () => {
      this.#piggybacks.delete(cancelPiggyback);
      if (datagram.type !== 'confirmable') return;
      isAcknowledged = true;
      this.#layer.acknowledge(datagram, from);
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
    if (response === undefined || this.#isClosed) return;
    this.#answer(datagram, response, from, !isAcknowledged);
  }

  /** Sends a response: in the acknowledgement where that is still to be sent, else under its own message ID. */
  #answer(request: Datagram, response: CoapMessage, to: SocketAddress, canPiggyback: boolean): void {
    const { token, messageId } = request;
    if (request.type === 'confirmable' && canPiggyback) {
      const data = encodeAnswer({ type: 'acknowledgement', messageId, token }, response);
      this.#layer.noteAnswer(request, to, data);
      void this.#layer.send(data, to);
      return;
    }
    const type = request.type === 'confirmable' ? 'confirmable' : 'nonConfirmable';
    // Beyond the bound a separate answer goes out once; the peer's own repetition has to make up for its loss.
    if (type === 'nonConfirmable' || this.#separate.size >= this.#separateMax) {
      const header = { type, messageId: this.#layer.takeMessageId(to), token } as const;
      void this.#layer.send(encodeAnswer(header, response), to);
      return;
    }
    this.#sendApart(to, token, response);
  }

  #sendApart(peer: SocketAddress, token: Uint8Array, response: CoapMessage): void {
    const end = (): void => {
      this.#separate.delete(transmission);
      transmission.release();
    };
    const events = { acknowledged: end, rejected: end, spent: end };
    const prepare = (message: CoapMessage): Transmission =>
      this.#layer.prepare({ peer, type: 'confirmable', token, message }, events);
    let transmission: Transmission;
    try {
      transmission = prepare(response);
    } catch {
      transmission = prepare(tooLarge);
    }
    this.#separate.add(transmission);
    transmission.start();
  }
}

/** A refusal with nothing in it but its reason. */
export function errorMessage(code: string, text: string): CoapMessage {
  return { code, path: [], query: [], options: new Map(), payload: Buffer.from(text) };
}

const tooLarge = errorMessage('5.00', 'the answer does not fit a datagram');

function encodeAnswer(header: Parameters<typeof encodeDatagram>[0], response: CoapMessage): Uint8Array {
  try {
    return encodeDatagram(header, response);
  } catch {
    return encodeDatagram(header, tooLarge);
  }
}
