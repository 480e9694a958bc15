import { assert } from '../base/assert.ts';
import { errorText } from '../base/errors.ts';
import { err, ok } from '../base/result.ts';
import type { SocketAddress } from '../host/network.ts';
import type { DeliveryError } from '../onem2m/binding.ts';
import { unfitOption } from './critical-options.ts';
import { Exchange } from './exchange.ts';
import type { ExchangeOptions, ExchangePlace } from './exchange.ts';
import type { CoapMessage, Datagram } from './message.ts';
import type { MessageLayer } from './message-layer.ts';
import { canonicalPeer } from './peer-address.ts';

/** Takes a message that came under a token without being the answer to an open exchange. */
export type TokenListener = (message: CoapMessage) => void;

const observeOption = 6;
const pong: CoapMessage = {
  code: '0.00',
  path: [],
  query: [],
  options: new Map(),
  payload: new Uint8Array(),
};

/**
 * The requests of an endpoint (RFC 7252 5.3): which are open, and which message answers which of them. A response counts
 * only from the peer that was asked, under the token it was asked with; one under the token of a listener goes to that.
 */
export class Requests implements ExchangePlace {
  readonly #layer: MessageLayer;
  readonly #exchangesMax: number;
  readonly #listenersMax: number;
  readonly #open = new Map<string, Exchange>();
  readonly #listeners = new Map<string, { readonly peer: SocketAddress; readonly take: TokenListener }>();
  #isClosed = false;

  constructor(layer: MessageLayer, limits: { exchangesMax: number; listenersMax: number }) {
    this.#layer = layer;
    this.#exchangesMax = limits.exchangesMax;
    this.#listenersMax = limits.listenersMax;
  }

  /** Exchanges that wait for their answer. */
  get size(): number {
    return this.#open.size;
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  /** Opens an exchange; without a message it is a ping. */
  open(peer: SocketAddress, message: CoapMessage | undefined, options: ExchangeOptions): Exchange {
    const token = options.token ?? this.#layer.entropy.bytes(8);
    const exchange = new Exchange(this.#layer.clock, canonicalPeer(peer), message, { ...options, token });
    const refused =
      options.signal?.aborted === true
        ? ({ kind: 'cancelled', message: 'withdrawn before it was sent' } as const)
        : this.#send(exchange);
    if (refused !== undefined) exchange.finish(err(refused));
    return exchange;
  }

  /** Goes on with an open exchange of another endpoint; tells why it cannot, and the exchange stays where it is. */
  takeOver(exchange: Exchange): DeliveryError | undefined {
    if (!exchange.isOpen || exchange.resumeFrom(this)) return undefined;
    return this.#send(exchange);
  }

  /** Hears what comes under a token from a peer, until the returned function is called. */
  listen(peer: SocketAddress, token: Uint8Array, take: TokenListener): (() => void) | DeliveryError {
    if (this.#isClosed) return closedError;
    if (this.#listeners.size >= this.#listenersMax) {
      return { kind: 'busy', message: `${this.#listeners.size} observations are open, which is the limit` };
    }
    const key = Buffer.from(token).toString('hex');
    assert(!this.#listeners.has(key), 'two listeners share a token');
    this.#listeners.set(key, { peer: canonicalPeer(peer), take });
    return () => void this.#listeners.delete(key);
  }

  /** Takes a response. */
  receive(datagram: Datagram, message: CoapMessage, from: SocketAddress): void {
    const key = Buffer.from(datagram.token).toString('hex');
    const exchange = this.#exchangeFor(key, datagram, from);
    const listener = this.#listeners.get(key);
    const isHeard = listener !== undefined && isSame(listener.peer, from);
    if (exchange === undefined && !isHeard) {
      if (!this.#layer.isPingAnswer(datagram, from)) this.#refuse(datagram, message, from);
      return;
    }
    exchange?.hearAt(this);
    const unfit = unfitOption(message);
    if (unfit !== undefined) {
      // RFC 7252 5.4.1: such an answer is rejected; an acknowledgement is not answered, whatever it carries.
      if (datagram.type === 'confirmable') this.#layer.reply('reset', datagram.messageId, from);
      const reason = `answer ${message.code} with option ${unfit.number}, which is critical and not understood`;
      exchange?.finish(err({ kind: 'malformed', message: reason }));
      return;
    }
    if (datagram.type === 'confirmable') {
      this.#layer.noteArrival(datagram, from);
      this.#layer.acknowledge(datagram, from);
    }
    if (exchange === undefined) listener?.take(message);
    else exchange.finish(ok(message));
  }

  forget(exchange: Exchange): void {
    if (this.#open.get(exchange.key) === exchange) this.#open.delete(exchange.key);
  }

  /** Ends all exchanges that are known nowhere else with `closed`. */
  close(): void {
    this.#isClosed = true;
    for (const exchange of [...this.#open.values()]) {
      this.forget(exchange);
      exchange.leave(this);
    }
    this.#listeners.clear();
  }

  #send(exchange: Exchange): DeliveryError | undefined {
    if (this.#isClosed) return closedError;
    if (this.#open.size >= this.#exchangesMax) {
      return { kind: 'busy', message: `${this.#open.size} exchanges are open, which is the limit` };
    }
    assert(!this.#open.has(exchange.key), 'two open exchanges share a token');
    const { peer, type, message } = exchange;
    const isPing = message === undefined;
    // A ping has no token, and keeps the one it is known by to itself.
    const outgoing = { peer, type, message, token: isPing ? new Uint8Array() : exchange.token };
    const pinged = (): void => exchange.finish(ok(pong));
    const rejected = (): void =>
      exchange.finish(err({ kind: 'reset', message: `${exchange.where} rejected the message` }));
    const events = {
      rejected: isPing ? pinged : rejected,
      refused: (reason: string) => exchange.refuseFrom(this, reason),
      repeated: () => exchange.onRepeated?.(),
      ...(isPing ? { acknowledged: pinged } : {}),
    };
    try {
      const transmission = this.#layer.prepare(outgoing, events);
      this.#open.set(exchange.key, exchange);
      exchange.sendFrom(this, transmission);
      return undefined;
    } catch (error) {
      return { kind: 'malformed', message: errorText(error) };
    }
  }

  #exchangeFor(key: string, datagram: Datagram, from: SocketAddress): Exchange | undefined {
    const exchange = this.#open.get(key);
    if (exchange === undefined || exchange.message === undefined || !isSame(exchange.peer, from)) {
      return undefined;
    }
    const isMatch = datagram.type !== 'acknowledgement' || datagram.messageId === exchange.messageIdAt(this);
    return isMatch ? exchange : undefined;
  }

  #refuse({ type, messageId }: Datagram, message: CoapMessage, from: SocketAddress): void {
    this.#layer.counters.unmatched += 1;
    // A reset to a notification ends an observation that nobody has any more (RFC 7641 3.6).
    const isNotification = type === 'nonConfirmable' && message.options.has(observeOption);
    if (type === 'confirmable' || isNotification) this.#layer.reply('reset', messageId, from);
  }
}

const closedError: DeliveryError = { kind: 'closed', message: 'the endpoint is closed' };

function isSame(one: SocketAddress, other: SocketAddress): boolean {
  return one.port === other.port && one.address === other.address;
}
