// What the CoAP parts share: endpoints that are closed with the part, a server that writes down what it is asked, a
// socket that loses what it should send, and expectations.
import assert from 'node:assert/strict';
import { ok } from '../../src/base/result.ts';
import { millis } from '../../src/base/units.ts';
import type { Millis } from '../../src/base/units.ts';
import { BlockService } from '../../src/coap/block-service.ts';
import { CoapEndpoint } from '../../src/coap/endpoint.ts';
import type { ExchangeResult } from '../../src/coap/exchange.ts';
import type { CoapMessage } from '../../src/coap/message.ts';
import { sleep } from '../../src/host/clock.ts';
import type { DatagramSocket, SocketAddress } from '../../src/host/network.ts';
import { messageOf } from '../coap/test-socket.ts';
import type { PeerBench } from './peer-bench.ts';

/** Long enough for some retransmissions of a peer that waits for two to three seconds before the first. */
export const deadlineMs: Millis = millis(20_000);

/** One request as the handler of a `RecordingServer` got it. */
export interface Asked {
  readonly code: string;
  readonly path: string;
  readonly payload: Buffer;
}

/** Octets that differ from block to block. */
export function bodyOf(length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, index) => 97 + ((index + (index >> 8)) % 26)));
}

/** An endpoint of ours; `loses` is asked of each datagram, by its number, whether it is lost on the way out. */
export async function openEndpoint(
  bench: PeerBench,
  localAddress = '127.0.0.1',
  loses: (count: number) => boolean = () => false,
): Promise<CoapEndpoint> {
  const { clock, entropy, network } = bench.host;
  const socket = await network.openDatagram({ localAddress });
  const endpoint = new CoapEndpoint({ socket: losing(socket, loses), clock, entropy });
  bench.defer(() => endpoint.close());
  return endpoint;
}

function losing(socket: DatagramSocket, loses: (count: number) => boolean): DatagramSocket {
  let count = 0;
  return {
    local: socket.local,
    send: (data, to) => (loses(++count) ? Promise.resolve(ok(undefined)) : socket.send(data, to)),
    onMessage: (handler) => socket.onMessage(handler),
    close: () => socket.close(),
  };
}

/** Our server: echoes what it gets, gives 20 kB for `big`, and takes its time for `slow`. */
export class RecordingServer {
  readonly endpoint: CoapEndpoint;
  readonly asked: Asked[] = [];

  constructor(bench: PeerBench, endpoint: CoapEndpoint, slowMs: number) {
    this.endpoint = endpoint;
    const { clock } = bench.host;
    const handler = async ({ code, path, payload }: CoapMessage): Promise<CoapMessage> => {
      this.asked.push({ code, path: path.join('/'), payload: Buffer.from(payload) });
      if (path[0] === 'slow') await sleep(clock, millis(slowMs));
      const answer = path[0] === 'big' ? bodyOf(20_000) : payload;
      return messageOf(code === '0.04' ? '2.02' : '2.05', { payload: answer });
    };
    const blocks = new BlockService({ clock, handler });
    endpoint.onRequest((message, from) => blocks.answer(message, from));
  }

  /** Its address in a URI. */
  get uri(): string {
    const { address, port } = this.endpoint.local;
    return `coap://${address.includes(':') ? `[${address}]` : address}:${port}`;
  }

  /** Forgets and returns what was asked so far. */
  take(): Asked[] {
    return this.asked.splice(0);
  }
}

/** A request of ours. */
export function requestOf(code: string, path: string, payload: Uint8Array = Buffer.alloc(0)): CoapMessage {
  return messageOf(code, { path: path.split('/').filter((part) => part !== ''), payload });
}

/** The answer, when there is one and it has this code. */
export function answered(result: ExchangeResult, code: string): CoapMessage {
  assert.ok(result.ok, result.ok ? '' : `${result.error.kind}: ${result.error.message}`);
  assert.equal(result.value.code, code);
  return result.value;
}

/** Asserts that an endpoint holds nothing of what it was asked to do. */
export function assertIdle(endpoint: CoapEndpoint): void {
  const { exchanges, observations, separateAnswers, runningHandlers } = endpoint.load;
  assert.deepEqual(
    { exchanges, observations, separateAnswers, runningHandlers },
    { exchanges: 0, observations: 0, separateAnswers: 0, runningHandlers: 0 },
  );
}

/** Where a server on loopback listens. */
export function onLoopback(port: number, address = '127.0.0.1'): SocketAddress {
  return { address, port };
}
