/**
 * The client half of the `coap` package (node-coap 1.5.0) with its reproduced defects worked around: every request has a
 * watchdog, because silence after an acknowledgement is never reported; its socket is its own; what the library throws
 * out of a received datagram ends in a counter instead of the process; datagrams from anyone but the peers being asked
 * are dropped; a reset is told apart from an answer; long bodies go out in blocks.
 */
import { EventEmitter } from 'node:events';
import type { RemoteInfo, Socket } from 'node:dgram';
import { Agent } from 'coap';
import type { IncomingMessage, OutgoingMessage } from 'coap';
import { errnoCode, errorText } from '../../../base/errors.ts';
import { err, ok } from '../../../base/result.ts';
import type { Result } from '../../../base/result.ts';
import type { CoapMessage } from '../../../coap/message.ts';
import type { Clock } from '../../../host/clock.ts';
import type { SocketAddress } from '../../../host/network.ts';
import type { DeliveryError, SendOptions } from '../../../onem2m/binding.ts';
import { contentFormatNumber, writeMessage } from './foreign-coap-message.ts';

const outstandingMax = 256;
const blockThreshold = 1_024;
/** Block1 with number 0 and size 1,024: asks the library to cut the body into blocks. */
const cutIntoBlocks = Buffer.of(6);

/** Asks peers from one socket, until it is closed. */
export class ForeignCoapClient {
  readonly #clock: Clock;
  readonly #socket: PeerSocket;
  readonly #agent: Agent;
  readonly #open = new Set<(error: DeliveryError) => void>();
  #closed = false;

  constructor(socket: Socket, clock: Clock) {
    this.#clock = clock;
    this.#socket = new PeerSocket(socket);
    this.#agent = new Agent({ socket: this.#socket as unknown as Socket });
    this.#agent.on('error', () => undefined);
  }

  /** Datagrams that came from nobody asked, or that the library could not stand. */
  get dropped(): number {
    return this.#socket.dropped;
  }

  /** Sends a confirmable request and waits for its answer. */
  request(
    peer: SocketAddress,
    message: CoapMessage,
    options: SendOptions,
  ): Promise<Result<CoapMessage, DeliveryError>> {
    const where = `${peer.address} port ${peer.port}`;
    const refuse = (kind: DeliveryError['kind'], text: string): Promise<Result<never, DeliveryError>> =>
      Promise.resolve(err({ kind, message: `${where}: ${text}` }));
    const { deadlineMs, signal } = options;
    if (this.#closed) return refuse('closed', 'the transport was closed');
    if (signal?.aborted === true) return refuse('cancelled', 'cancelled before it began');
    if (this.#open.size >= outstandingMax) return refuse('busy', `${outstandingMax} requests are open`);
    let request: OutgoingMessage;
    try {
      request = this.#agent.request({ host: peer.address, port: peer.port });
      writeMessage(request, message);
      if (message.payload.length > blockThreshold) request.setOption('Block1', cutIntoBlocks);
    } catch (error) {
      return refuse('unreachable', errorText(error));
    }
    this.#socket.expect(peer);
    return new Promise((resolve) => {
      let answered = false;
      const settle = (result: Result<CoapMessage, DeliveryError>): void => {
        if (!this.#open.delete(fail)) return;
        cancel();
        signal?.removeEventListener('abort', onAbort);
        this.#socket.release(peer);
        // An answered request was cleaned up by the library, an aborted one is here; never both.
        if (!answered) this.#agent.abort(request);
        else this.#forget(request);
        resolve(result);
      };
      const fail = (error: DeliveryError): void => settle(err(error));
      const onAbort = (): void => fail({ kind: 'cancelled', message: `${where}: cancelled` });
      const cancel = this.#clock.schedule(deadlineMs, () => {
        fail({ kind: 'deadline', message: `${where}: no answer within ${deadlineMs} ms` });
      });
      this.#open.add(fail);
      signal?.addEventListener('abort', onAbort, { once: true });
      request.on('error', (error: Error) => {
        const kind = errnoCode(error) === undefined ? 'malformed' : 'unreachable';
        fail({ kind, message: `${where}: ${errorText(error)}` });
      });
      request.on('response', (response: IncomingMessage) => {
        answered = true;
        if (response.code === '0.00') fail({ kind: 'reset', message: `${where}: reset by the peer` });
        else settle(ok(readResponse(response)));
      });
      try {
        request.end(Buffer.from(message.payload));
      } catch (error) {
        fail({ kind: 'unreachable', message: `${where}: ${errorText(error)}` });
      }
    });
  }

  /** The library leaves traces of exchanges that took another course than it expects. */
  #forget(request: OutgoingMessage): void {
    const { messageId, token } = request._packet;
    if (messageId !== undefined) this.#agent._msgIdToReq.delete(messageId);
    if (token !== undefined) this.#agent._tkToReq.delete(token.toString('hex'));
  }

  /** Drops what is under way. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const fail of [...this.#open]) fail({ kind: 'closed', message: 'the transport was closed' });
    await this.#socket.close();
  }
}

/** What the library takes for a socket: only datagrams of peers that were asked, and no way to throw. */
class PeerSocket extends EventEmitter {
  readonly type: string = 'udp4';
  readonly #socket: Socket;
  readonly #asked = new Map<string, number>();
  #closed = false;
  dropped = 0;

  constructor(socket: Socket) {
    super();
    this.#socket = socket;
    socket.on('error', () => undefined);
    socket.on('message', (data, from) => this.#receive(data, from));
  }

  address(): ReturnType<Socket['address']> {
    return this.#socket.address();
  }

  send(
    data: Buffer,
    offset: number,
    length: number,
    port: number,
    host: string,
    done: (error: Error | null, bytes: number) => void,
  ): void {
    if (this.#closed) return;
    try {
      this.#socket.send(data, offset, length, port, host, done);
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)), 0);
    }
  }

  expect(peer: SocketAddress): void {
    const name = nameOf(peer);
    this.#asked.set(name, (this.#asked.get(name) ?? 0) + 1);
  }

  release(peer: SocketAddress): void {
    const name = nameOf(peer);
    const left = (this.#asked.get(name) ?? 1) - 1;
    if (left > 0) this.#asked.set(name, left);
    else this.#asked.delete(name);
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#socket.removeAllListeners('message');
    return new Promise((resolve) => {
      this.#socket.close(() => resolve());
    });
  }

  #receive(data: Buffer, from: RemoteInfo): void {
    if (from.port === 0 || !this.#asked.has(nameOf(from))) {
      this.dropped++;
      return;
    }
    try {
      this.emit('message', data, from);
    } catch {
      this.dropped++;
    }
  }
}

function nameOf(peer: { address: string; port: number }): string {
  return `${peer.address} ${peer.port}`;
}

function readResponse(response: IncomingMessage): CoapMessage {
  const options = new Map<number, Uint8Array[]>();
  for (const { name, value } of response._packet.options ?? []) {
    const number = Number(name);
    if (Number.isNaN(number) || !Buffer.isBuffer(value)) continue;
    options.set(number, [...(options.get(number) ?? []), value]);
  }
  const contentFormat = contentFormatNumber(response.headers['Content-Format']);
  return {
    code: response.code,
    path: [],
    query: [],
    options,
    ...(contentFormat === undefined ? {} : { contentFormat }),
    payload: response.payload,
  };
}
