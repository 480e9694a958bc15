import type { Result } from '../base/result.ts';
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import type { CancelTimer, Clock } from '../host/clock.ts';
import { randomFraction } from '../host/entropy.ts';
import type { Entropy } from '../host/entropy.ts';
import type { DatagramSocket, SendError, SocketAddress } from '../host/network.ts';
import { encodeDatagram } from './message.ts';
import type { CoapMessage, Datagram, MessageHeader } from './message.ts';
import { ResponseTimes, backOffOf } from './response-times.ts';
import { ServedRequests } from './served-requests.ts';

/** What the endpoint counted since it was opened. */
export interface EndpointCounters {
  sent: number;
  received: number;
  retransmitted: number;
  duplicates: number;
  malformed: number;
  unmatched: number;
}

/** A message of ours that asks for a sign of the peer. Without `message` it is a ping (RFC 7252 4.3). */
export interface Outgoing {
  readonly peer: SocketAddress;
  readonly type: 'confirmable' | 'nonConfirmable';
  readonly token: Uint8Array;
  readonly message: CoapMessage | undefined;
}

/** What may become of a message under way. */
export interface TransmissionEvents {
  /** The peer acknowledged it with an empty message, or with anything if it is a ping. */
  readonly acknowledged?: () => void;
  /** The peer sent a reset. */
  readonly rejected?: () => void;
  /** The system refused to send it. */
  readonly refused?: (reason: string) => void;
  /** There was no sign of the peer, so it is sent again. */
  readonly repeated?: () => void;
  /** It was sent for the last time, and the pause after that is over. */
  readonly spent?: () => void;
}

const retransmitMax = 4;
const none = new Uint8Array();

/**
 * The messages of an endpoint apart from what they mean (RFC 7252 4): message IDs, retransmission, acknowledgements and
 * resets, and the memory of what has arrived. A confirmable message is sent again after `ackTimeoutMs`, or sooner or
 * later by the times measured with that peer, with pauses that grow (response-times.ts).
 */
export class MessageLayer {
  readonly counters: EndpointCounters = {
    sent: 0,
    received: 0,
    retransmitted: 0,
    duplicates: 0,
    malformed: 0,
    unmatched: 0,
  };
  readonly clock: Clock;
  readonly entropy: Entropy;
  /** Messages that arrived, for the recognition of repeats. */
  readonly served: ServedRequests;
  readonly responseTimes: ResponseTimes;
  readonly #socket: DatagramSocket;
  readonly #underWay = new Map<string, Transmission>();
  #nextMessageId: number;

  constructor(options: { socket: DatagramSocket; clock: Clock; entropy: Entropy; ackTimeoutMs: Millis }) {
    this.#socket = options.socket;
    this.clock = options.clock;
    this.entropy = options.entropy;
    this.served = new ServedRequests(options.clock);
    this.responseTimes = new ResponseTimes(options.clock, options.ackTimeoutMs);
    this.#nextMessageId = this.entropy.uint32() & 0xffff;
  }

  get local(): SocketAddress {
    return this.#socket.local;
  }

  /**
   * Takes a message under way, to be sent by `start` and given up by `release`. Throws `EncodeError` when it does not
   * fit a datagram.
   */
  prepare(outgoing: Outgoing, events: TransmissionEvents): Transmission {
    const { peer, type, token, message } = outgoing;
    const messageId = this.takeMessageId(peer);
    const data = encodeDatagram({ type, messageId, token }, message);
    const key = keyOf(peer, messageId);
    const transmission = new Transmission(this, outgoing, messageId, data, events, () =>
      this.#underWay.delete(key),
    );
    this.#underWay.set(key, transmission);
    return transmission;
  }

  /** A message ID that no message under way to this peer has. */
  takeMessageId(peer: SocketAddress): number {
    do this.#nextMessageId = (this.#nextMessageId + 1) & 0xffff;
    while (this.#underWay.has(keyOf(peer, this.#nextMessageId)));
    return this.#nextMessageId;
  }

  /** Hands one datagram to the network. */
  send(data: Uint8Array, peer: SocketAddress): Promise<Result<void, SendError>> {
    this.counters.sent += 1;
    return this.#socket.send(data, peer);
  }

  /** Answers the message layer of a peer. */
  reply(type: 'acknowledgement' | 'reset', messageId: number, peer: SocketAddress): void {
    void this.send(encodeDatagram({ type, messageId, token: none }), peer);
  }

  /** Acknowledges a message with an empty one, and every repeat of it likewise. */
  acknowledge(datagram: Datagram, to: SocketAddress): void {
    const header: MessageHeader = { type: 'acknowledgement', messageId: datagram.messageId, token: none };
    const acknowledgement = encodeDatagram(header);
    this.served.answer(servedKeyOf(datagram, to), acknowledgement);
    void this.send(acknowledgement, to);
  }

  /** Remembers that a message arrived. */
  noteArrival(datagram: Datagram, from: SocketAddress): void {
    this.served.record(servedKeyOf(datagram, from));
  }

  /** Remembers what a message was answered with, for its repeats. */
  noteAnswer(datagram: Datagram, to: SocketAddress, data: Uint8Array): void {
    this.served.answer(servedKeyOf(datagram, to), data);
  }

  /** True for a message that came before; it gets the same answer again, if there is one yet (RFC 7252 4.5). */
  answerRepeat(datagram: Datagram, from: SocketAddress): boolean {
    // The message ID of an acknowledgement or a reset is one of ours: what the peer counts is another matter.
    if (datagram.type === 'acknowledgement' || datagram.type === 'reset') return false;
    const known = this.served.get(servedKeyOf(datagram, from));
    if (known?.answer !== undefined) void this.send(known.answer, from);
    return known !== undefined;
  }

  /** Takes an empty message. */
  receiveEmpty({ type, messageId }: Datagram, from: SocketAddress): void {
    const transmission = this.#underWay.get(keyOf(from, messageId));
    switch (type) {
      case 'confirmable': // a ping (RFC 7252 4.3)
        this.reply('reset', messageId, from);
        return;
      case 'acknowledgement':
        transmission?.acknowledge();
        return;
      case 'reset':
        transmission?.reject();
        return;
      case 'nonConfirmable':
        this.counters.malformed += 1;
    }
  }

  /** True when a message is the answer to a ping; there are servers that take one for a request. */
  isPingAnswer({ type, messageId }: Datagram, from: SocketAddress): boolean {
    const transmission = this.#underWay.get(keyOf(from, messageId));
    if (type !== 'acknowledgement' || transmission?.isPing !== true) return false;
    transmission.acknowledge();
    return true;
  }

  close(): Promise<void> {
    return this.#socket.close();
  }
}

/** One message under way: sent, sent again while it is confirmable and nothing is heard, and known until it is released. */
export class Transmission {
  readonly messageId: number;
  readonly #layer: MessageLayer;
  readonly #outgoing: Outgoing;
  readonly #data: Uint8Array;
  readonly #events: TransmissionEvents;
  readonly #forget: () => void;
  #cancelTimer: CancelTimer = () => undefined;
  #sentMs = 0;
  #attempt = 0;
  #isHeard = false;
  #isReleased = false;
  #expectedMs = 0;

  constructor(
    layer: MessageLayer,
    outgoing: Outgoing,
    messageId: number,
    data: Uint8Array,
    events: TransmissionEvents,
    forget: () => void,
  ) {
    this.#layer = layer;
    this.#outgoing = outgoing;
    this.messageId = messageId;
    this.#data = data;
    this.#events = events;
    this.#forget = forget;
  }

  get isPing(): boolean {
    return this.#outgoing.message === undefined;
  }

  /** True once the peer has shown that it has the message. */
  get isHeard(): boolean {
    return this.#isHeard;
  }

  /** Sends now and, if it is confirmable, again after pauses that grow, until stopped or spent; it may be started anew. */
  start(): void {
    const { clock, entropy, responseTimes } = this.#layer;
    const { peer } = this.#outgoing;
    this.#expectedMs = responseTimes.timeoutMs(peer) * (1 + randomFraction(entropy) / 2);
    this.#sentMs = clock.monotonicMs();
    this.#attempt = 0;
    this.#isHeard = false;
    responseTimes.sent(peer);
    this.#transmit(this.#expectedMs);
  }

  /** Ends the retransmission; the message stays known. */
  stop(): void {
    this.#cancelTimer();
  }

  /** Ends all of it; a message without a sign of the peer counts as unanswered when it had the time for one. */
  release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    this.#cancelTimer();
    this.#forget();
    const elapsedMs = this.#layer.clock.monotonicMs() - this.#sentMs;
    if (this.#isHeard || this.#expectedMs === 0 || elapsedMs < this.#expectedMs) return;
    this.#layer.responseTimes.missed(this.#outgoing.peer);
  }

  /** The peer has shown that it has the message: the first such sign tells how long it takes. */
  hear(): void {
    if (this.#isHeard) return;
    this.#isHeard = true;
    this.#cancelTimer();
    const elapsedMs = this.#layer.clock.monotonicMs() - this.#sentMs;
    // What is not acknowledged is heard of when it is answered: that says nothing of the way alone.
    const repeats = this.#outgoing.type === 'confirmable' ? this.#attempt : Infinity;
    this.#layer.responseTimes.record(this.#outgoing.peer, elapsedMs, repeats);
  }

  /** An acknowledgement came. */
  acknowledge(): void {
    this.hear();
    this.#events.acknowledged?.();
  }

  /** A reset came. */
  reject(): void {
    this.hear();
    this.#events.rejected?.();
  }

  #transmit(timeoutMs: number): void {
    const { clock, counters, responseTimes } = this.#layer;
    const { peer, type } = this.#outgoing;
    if (this.#attempt > 0) {
      counters.retransmitted += 1;
      responseTimes.sentAgain(peer);
      this.#events.repeated?.();
    }
    if (type === 'confirmable') {
      // Armed before the send: a peer in the same process may answer, and thereby cancel, within it.
      this.#cancelTimer = clock.schedule(millis(timeoutMs), () => {
        if (this.#attempt >= retransmitMax) {
          this.#events.spent?.();
          return;
        }
        this.#attempt += 1;
        this.#transmit(timeoutMs * backOffOf(this.#expectedMs));
      });
    }
    void this.#layer.send(this.#data, peer).then((sent) => {
      if (!sent.ok && !this.#isReleased) this.#events.refused?.(sent.error.message);
    });
  }
}

/** Key of a message between this endpoint and a peer. */
function keyOf(peer: SocketAddress, messageId: number): string {
  return `${peer.address}|${peer.port}|${messageId}`;
}

/** Key of a message that arrived: a repeat has the same octets, while a peer that restarted may count from the start. */
function servedKeyOf(datagram: Datagram, peer: SocketAddress): string {
  return `${keyOf(peer, datagram.messageId)}|${Buffer.from(datagram.token).toString('hex')}`;
}
