import { ok } from '../../src/base/result.ts';
import type { Result } from '../../src/base/result.ts';
import type { EndpointSettings } from '../../src/coap/endpoint.ts';
import { CoapEndpoint } from '../../src/coap/endpoint.ts';
import { decodeDatagram, encodeDatagram } from '../../src/coap/message.ts';
import type { CoapMessage, Datagram, MessageHeader } from '../../src/coap/message.ts';
import type { DatagramSocket, SendError, SocketAddress } from '../../src/host/network.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';

/** The peer that the endpoint under test talks to. */
export const peer: SocketAddress = { address: '192.0.2.1', port: 5683 };

/** A socket in memory: what is sent is kept and shown to `onSent` at once, what is received is put in by the test. */
export class TestSocket implements DatagramSocket {
  readonly local: SocketAddress = { address: '192.0.2.10', port: 40_000 };
  readonly sent: { datagram: Datagram; data: Uint8Array; to: SocketAddress }[] = [];
  onSent: ((datagram: Datagram, to: SocketAddress) => void) | undefined;
  refusal: Result<void, SendError> = ok(undefined);
  keeps = true;
  closes = 0;
  #handler: ((data: Uint8Array, from: SocketAddress) => void) | undefined;

  send(data: Uint8Array, to: SocketAddress): Promise<Result<void, SendError>> {
    const datagram = decodeDatagram(data); // throws, and fails the test, for anything that is no CoAP
    if (this.keeps) this.sent.push({ datagram, data, to });
    this.onSent?.(datagram, to);
    return Promise.resolve(this.refusal);
  }

  onMessage(handler: (data: Uint8Array, from: SocketAddress) => void): void {
    this.#handler = handler;
  }

  /** A datagram arrives. */
  receive(data: Uint8Array, from: SocketAddress = peer): void {
    this.#handler?.(data, from);
  }

  /** A message arrives. */
  receiveMessage(header: MessageHeader, message?: CoapMessage, from: SocketAddress = peer): void {
    this.receive(encodeDatagram(header, message), from);
  }

  close(): Promise<void> {
    this.closes++;
    return Promise.resolve();
  }
}

/** An endpoint on a socket in memory and a clock that stands still. */
export interface Bench {
  readonly socket: TestSocket;
  readonly clock: SimulatedClock;
  readonly endpoint: CoapEndpoint;
}

/** Opens one; the seed is always the same, so a run repeats exactly. */
export function openBench(settings: Partial<EndpointSettings> = {}): Bench {
  return openBenchOn(new SimulatedClock(), 2026, settings);
}

/** Opens one beside others on the same clock. */
export function openBenchOn(
  clock: SimulatedClock,
  seed: number,
  settings: Partial<EndpointSettings> = {},
): Bench {
  const socket = new TestSocket();
  const endpoint = new CoapEndpoint({ socket, clock, entropy: new SeededEntropy(seed), settings });
  return { socket, clock, endpoint };
}

/** A message of the test with only what matters in it. */
export function messageOf(code: string, fields: Partial<CoapMessage> = {}): CoapMessage {
  return { code, path: [], query: [], options: new Map(), payload: new Uint8Array(), ...fields };
}

/** Octets from their hexadecimal form. */
export function hex(text: string): Uint8Array {
  return Buffer.from(text.replaceAll(' ', ''), 'hex');
}
