import { isDeepStrictEqual } from 'node:util';
import { ok } from '../../src/base/result.ts';
import type { Result } from '../../src/base/result.ts';
import { millis } from '../../src/base/units.ts';
import { requestInBlocks } from '../../src/coap/blockwise.ts';
import { CoapEndpoint, defaultEndpointSettings } from '../../src/coap/endpoint.ts';
import { decodeDatagram, encodeDatagram } from '../../src/coap/message.ts';
import type { CoapMessage, Datagram } from '../../src/coap/message.ts';
import { servedBytesMax, servedRequestsMax } from '../../src/coap/served-requests.ts';
import { settle } from '../../src/host/clock.ts';
import type { DatagramSocket, SendError, SocketAddress } from '../../src/host/network.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';
import { peersMax } from './coap-generator.ts';
import { expect } from './target.ts';
import type { Input, Size } from './target.ts';

const peers: readonly SocketAddress[] = Array.from({ length: peersMax }, (_, index) => ({
  address: index < 6 ? `192.0.2.${index}` : `2001:db8::${index}`,
  port: 5683 + (index % 2),
}));
const accepted: Promise<Result<void, SendError>> = Promise.resolve(ok(undefined));
const none = new Uint8Array();
const asksMax = 8;
const askDeadlineMs = 400;
const datagramAnswerMax = 1_600;

interface Ask {
  readonly peer: number;
  readonly endMs: number;
  /** Where the last part of it was sent under. */
  header?: { readonly messageId: number; readonly token: Uint8Array };
}

/** An endpoint on a socket in memory, fed with datagrams; every datagram it sends must be a legal one. */
export class CoapWorld {
  readonly clock: SimulatedClock = new SimulatedClock();
  readonly endpoint: CoapEndpoint;
  readonly reached: Record<'malformed' | 'duplicates' | 'unmatched' | 'answers' | 'asksAnswered', number> = {
    malformed: 0,
    duplicates: 0,
    unmatched: 0,
    answers: 0,
    asksAnswered: 0,
  };
  readonly #asks = new Set<Ask>();
  #receive: (data: Uint8Array, from: SocketAddress) => void = () => undefined;
  /** What is being fed, while it is. */
  #current: { readonly data: Uint8Array; readonly from: SocketAddress; sent: number } | undefined;
  #asking: Ask | undefined;
  #turns = 0;

  constructor() {
    const socket: DatagramSocket = {
      local: { address: '192.0.2.10', port: 40_000 },
      send: (data, to) => this.#check(data, to),
      onMessage: (handler) => (this.#receive = handler),
      close: () => Promise.resolve(),
    };
    this.endpoint = new CoapEndpoint({ socket, clock: this.clock, entropy: new SeededEntropy(2026) });
  }

  /** Takes an input of the CoAP generator. */
  feed({ channel, data }: Input): void {
    const [number = '0', act] = channel.split(' ');
    const peer = Number(number) % peersMax;
    if (act === 'ask') this.#ask(peer, data[0] ?? 0);
    else this.#deliver(act === 'answer' ? this.#addressed(peer, data) : data, peers[peer] as SocketAddress);
  }

  async settle(): Promise<void> {
    await settle();
    if (++this.#turns % 8 === 0) await this.clock.advance(this.#turns % 1024 === 0 ? 3_000 : 5);
    const { malformed, duplicates, unmatched } = this.endpoint.counters;
    Object.assign(this.reached, { malformed, duplicates, unmatched });
    const nowMs = this.clock.monotonicMs();
    for (const ask of this.#asks) expect(nowMs <= ask.endMs, 'an exchange outlived its deadline');
  }

  sizes(): Size[] {
    const { exchanges, separateAnswers, runningHandlers, rememberedMessages, rememberedBytes } =
      this.endpoint.load;
    const { exchangesMax, handlersMax } = defaultEndpointSettings;
    // A handler has one timer, an exchange two, a separate answer one.
    const timersMax = 2 * exchangesMax + exchangesMax + handlersMax;
    return [
      { name: 'open exchanges', value: exchanges, max: exchangesMax },
      { name: 'separate answers', value: separateAnswers, max: exchangesMax },
      { name: 'running handlers', value: runningHandlers, max: handlersMax },
      { name: 'remembered messages', value: rememberedMessages, max: servedRequestsMax },
      { name: 'remembered octets', value: rememberedBytes, max: servedBytesMax },
      { name: 'timers', value: this.clock.pendingCount, max: timersMax },
    ];
  }

  async close(): Promise<void> {
    await this.endpoint.close();
    await settle();
    expect(this.#asks.size === 0, 'a request is open after the endpoint was closed');
    expect(this.endpoint.load.exchanges === 0, 'an exchange is open after the endpoint was closed');
  }

  #ask(peer: number, kind: number): void {
    if (this.#asks.size >= asksMax) return;
    const ask: Ask = { peer, endMs: this.clock.monotonicMs() + askDeadlineMs };
    this.#asks.add(ask);
    const message: CoapMessage = {
      code: kind === 0 ? '0.01' : '0.02',
      path: ['~', 'id-mn1'],
      query: [],
      options: new Map(),
      payload: kind === 0 ? none : new Uint8Array(kind * 1_000),
    };
    const options = { deadlineMs: millis(askDeadlineMs) };
    this.#asking = ask;
    const work = requestInBlocks(this.endpoint, this.clock, peers[peer] as SocketAddress, message, options);
    this.#asking = undefined;
    void work.then((result) => {
      this.#asks.delete(ask);
      if (result.ok) this.reached.asksAnswered++;
    });
  }

  /** An answer under the message ID and the token of the request that this peer was asked last. */
  #addressed(peer: number, data: Uint8Array): Uint8Array {
    const header = [...this.#asks].findLast((ask) => ask.peer === peer)?.header;
    if (header === undefined || data.length < 12) return data;
    const addressed = Uint8Array.from(data);
    if ((addressed[0] ?? 0) >> 4 === 6) addressed.set([header.messageId >> 8, header.messageId & 255], 2);
    addressed.set(header.token.subarray(0, 8), 4);
    return addressed;
  }

  #deliver(data: Uint8Array, from: SocketAddress): void {
    this.#current = { data, from, sent: 0 };
    const repliesMax = 1;
    try {
      this.#receive(data, from);
      expect(this.#current.sent <= repliesMax, `${this.#current.sent} datagrams at once for one`);
    } finally {
      this.#current = undefined;
    }
  }

  #check(data: Uint8Array, to: SocketAddress): Promise<Result<void, SendError>> {
    const datagram = decodeDatagram(data);
    const { message, type, messageId } = datagram;
    if (message !== undefined) this.#checkMessage(datagram, message, data);
    else expect(type === 'acknowledgement' || type === 'reset', `an empty message of type ${type}`);
    if (message?.code.startsWith('0.') === true) this.#noteRequest(datagram, to);
    const { current } = { current: this.#current };
    if (current === undefined || message?.code.startsWith('0.') === true) return accepted;
    current.sent++;
    expect(to === current.from, 'a reply to somebody else');
    const asked = current.data;
    const askedType = ((asked[0] ?? 0) >> 4) & 3;
    expect(askedType < 2, 'a reply to an acknowledgement or a reset');
    if (type === 'acknowledgement' || type === 'reset') {
      expect(messageId === (asked[2] ?? 0) * 256 + (asked[3] ?? 0), 'a reply under another message ID');
    }
    return accepted;
  }

  #checkMessage(datagram: Datagram, message: CoapMessage, data: Uint8Array): void {
    expect(/^[0245]\./u.test(message.code), `code ${message.code} was sent`);
    expect(datagram.token.length <= 8, 'a token over eight octets was sent');
    if (!message.code.startsWith('0.')) {
      this.reached.answers++;
      expect(data.length <= datagramAnswerMax, `an answer of ${data.length} octets in one datagram`);
    }
    if (this.reached.answers % 16 === 0) {
      const again = decodeDatagram(encodeDatagram(datagram, message));
      expect(isDeepStrictEqual(again, datagram), 'a datagram is not read as it was written');
    }
  }

  #noteRequest({ messageId, token }: Datagram, to: SocketAddress): void {
    const ask = this.#asking ?? [...this.#asks].findLast(({ peer }) => peers[peer] === to);
    if (ask !== undefined) ask.header = { messageId, token };
  }
}
