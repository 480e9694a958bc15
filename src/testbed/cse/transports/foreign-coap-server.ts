/**
 * The server half of the `coap` package (node-coap 1.5.0), a CoAP stack that is not ours, with its reproduced defects
 * worked around where they would end the process, bloat it, or run a request twice:
 * its reply cache is bounded; requests are recorded by peer and message ID when they arrive, so that a repeat of a slow
 * one does not run again; blocks are matched by peer and options instead of by token; the last Block1 answer names its
 * block; pings get a reset; unknown critical options get 4.02; its error replies, which go to the wrong host and carry
 * exception text, are suppressed; datagrams from port 0 and tokens
 * of more than eight octets are ignored, and so is Observe.
 */
import type { Socket } from 'node:dgram';
import { Server } from 'coap';
import type { CoapPacket, IncomingMessage, OutgoingMessage } from 'coap';
import { millis } from '../../../base/units.ts';
import { oneM2mOptionNumbers } from '../../../coap/mapping.ts';
import type { CoapMessage } from '../../../coap/message.ts';
import type { Clock } from '../../../host/clock.ts';
import type { SocketAddress } from '../../../host/network.ts';
import { contentFormatNumber, writeMessage } from './foreign-coap-message.ts';

/** Answers a request; `undefined` stays silent. */
export type ForeignRequestHandler = (
  message: CoapMessage,
  from: SocketAddress,
) => Promise<CoapMessage | undefined>;

// Entries beyond this many are forgotten, oldest first; the reply cache holds 1,272.
const seenMax = 1_000;
const cacheSize = 14_000;
const longMax = 32;
/** Longer than the library waits before it acknowledges, 50 ms. */
const orphanMs = millis(100);
// The smallest block there is; a requester may ask for it.
const blockBytesMin = 16;
const blockOptions = ['Block1', 'Block2', 'Size1', 'Size2'];
const criticalNames = new Set(['OSCORE', 'Proxy-Uri', 'Proxy-Scheme', 'Q-Block1', 'Q-Block2']);
const criticalNumbers = new Set(oneM2mOptionNumbers);

/** Serves requests on a socket of its own, until it is closed. */
export class ForeignCoapServer {
  readonly #server: GuardedServer;
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #handler: ForeignRequestHandler;
  readonly #seen = new Set<string>();
  readonly #open = new Set<OutgoingMessage>();
  /** Answers that take several blocks, by peer and request. */
  readonly #long = new Map<string, CoapMessage>();
  #closed = false;

  constructor(socket: Socket, clock: Clock, handler: ForeignRequestHandler) {
    this.#socket = socket;
    this.#clock = clock;
    this.#handler = handler;
    this.#server = new GuardedServer({ cacheSize }, (request, response) => this.#receive(request, response));
    this.#server.on('error', () => undefined);
    this.#server.listen(socket);
  }

  /** Stops answering at once, also what is being handled. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const response of this.#open) silence(response);
    this.#open.clear();
    this.#socket.removeAllListeners('message');
    this.#server.close();
    // A request the library refused by an exception still has a timer for its acknowledgement. It would throw at the
    // closed socket, and leave in the reply cache a timer of minutes that only another close takes away.
    Object.assign(this.#socket, { send: () => undefined });
    this.#clock.schedule(orphanMs, () => this.#server.close());
    await new Promise<void>((resolve) => this.#socket.close(() => resolve()));
  }

  #receive(request: IncomingMessage, response: OutgoingMessage): void {
    response.on('error', () => undefined);
    if (request.code === '0.00') {
      silence(response);
      response.reset();
      return;
    }
    const { address, port } = request.rsinfo;
    const key = `${address} ${port} ${request._packet.messageId}`;
    // What can be said to a repeat is in the library's reply cache, or is about to be.
    if (this.#seen.has(key)) {
      silence(response);
      return;
    }
    this.#seen.add(key);
    if (this.#seen.size > seenMax) {
      const [eldest] = this.#seen;
      if (eldest !== undefined) this.#seen.delete(eldest);
    }
    this.#open.add(response);
    void this.#answer(request, response, { address, port });
  }

  async #answer(request: IncomingMessage, response: OutgoingMessage, from: SocketAddress): Promise<void> {
    try {
      const answer = await this.#answerOf(request, from);
      this.#open.delete(response);
      if (this.#closed) return;
      if (answer === undefined) {
        silence(response);
        return;
      }
      const block1 = optionValues(request._packet, 'Block1')[0];
      if (block1 !== undefined) response.setOption('Block1', block1);
      writeMessage(response, answer);
      response.end(Buffer.from(answer.payload));
    } catch {
      // An answer that the library cannot write leaves the requester to its deadline.
      this.#open.delete(response);
      silence(response);
    }
  }

  /** The handler's answer, given once: further blocks of a long one are cut from what it said the first time. */
  async #answerOf(request: IncomingMessage, from: SocketAddress): Promise<CoapMessage | undefined> {
    if (unknownCriticalOption(request) !== undefined) {
      return { code: '4.02', path: [], query: [], options: new Map(), payload: new Uint8Array() };
    }
    const key = this.#server._toCacheKey(request, request._packet);
    const block2 = optionValues(request._packet, 'Block2')[0];
    const isLaterBlock = block2 !== undefined && (block2.length > 1 || (block2[0] ?? 0) > 15);
    const known = isLaterBlock ? this.#long.get(key) : undefined;
    if (known !== undefined) return known;
    const answer = await this.#handler(readRequest(request), from);
    this.#long.delete(key);
    if (answer !== undefined && answer.payload.length > blockBytesMin) {
      this.#long.set(key, answer);
      const [eldest] = this.#long.keys();
      if (this.#long.size > longMax && eldest !== undefined) this.#long.delete(eldest);
    }
    return answer;
  }
}

/** The library's server without what it does wrong before a handler sees anything. */
class GuardedServer extends Server {
  constructor(...args: ConstructorParameters<typeof Server>) {
    super(...args);
    // It would answer later blocks without code and options, and keep bodies for minutes without a limit.
    this._block2Cache.add = () => undefined;
  }

  override _handle(packet: CoapPacket, from: Parameters<Server['_handle']>[1]): void {
    // Neither can be answered: the one has no address, the other no legal token.
    if (from.port === 0 || (packet.token?.length ?? 0) > 8) return;
    packet.options = (packet.options ?? []).filter(({ name }) => name !== 'Observe');
    super._handle(packet, from);
  }

  override _sendError(): void {
    // The original echoes exception text to a wrong address.
  }

  override _toCacheKey(request: IncomingMessage, packet: CoapPacket): string {
    const options = (packet.options ?? [])
      .filter(({ name }) => !blockOptions.includes(String(name)))
      .map(({ name, value }) => `${name}=${Buffer.isBuffer(value) ? value.toString('hex') : String(value)}`);
    return `${this._clientIdentifier(request)} ${packet.code} ${options.join(' ')}`;
  }
}

function silence(response: OutgoingMessage): void {
  if (response._ackTimer !== null) clearTimeout(response._ackTimer);
  response._ackTimer = null;
}

function unknownCriticalOption(request: IncomingMessage): string | undefined {
  return (request._packet.options ?? [])
    .map(({ name }) => String(name))
    .find((name) => {
      const number = Number(name);
      if (Number.isNaN(number)) return criticalNames.has(name);
      return number % 2 === 1 && !criticalNumbers.has(number);
    });
}

function readRequest(request: IncomingMessage): CoapMessage {
  const packet = request._packet;
  const options = new Map<number, Uint8Array[]>();
  for (const { name, value } of packet.options ?? []) {
    const number = Number(name);
    if (Number.isNaN(number) || !Buffer.isBuffer(value)) continue;
    options.set(number, [...(options.get(number) ?? []), value]);
  }
  const contentFormat = contentFormatNumber(request.headers['Content-Format']);
  const accept = contentFormatNumber(request.headers['Accept']);
  return {
    code: request.code,
    path: optionValues(packet, 'Uri-Path').map(String),
    query: optionValues(packet, 'Uri-Query').map(String),
    options,
    ...(contentFormat === undefined ? {} : { contentFormat }),
    ...(accept === undefined ? {} : { accept }),
    payload: request.payload,
  };
}

function optionValues(packet: CoapPacket, wanted: string): Buffer[] {
  return (packet.options ?? []).flatMap(({ name, value }) =>
    name === wanted && Buffer.isBuffer(value) ? [value] : [],
  );
}
