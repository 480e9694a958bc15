import { ok } from '../../src/base/result.ts';
import type { Result } from '../../src/base/result.ts';
import type { DatagramSocket, SendError, SocketAddress } from '../../src/host/network.ts';

/** What becomes of a datagram on its way: the octets that arrive, or undefined for none. */
export type Fate = (data: Uint8Array, from: SocketAddress, to: SocketAddress) => Uint8Array | undefined;

/** A network in memory. Datagrams arrive in order, soon, and without any time passing, unless `fate` says otherwise. */
export class Wire {
  fate: Fate = (data) => data;
  /** What sends are answered with. */
  outcome: Result<void, SendError> = ok(undefined);
  /** Everything that was sent, as octets. */
  sent: { readonly data: Uint8Array; readonly from: SocketAddress; readonly to: SocketAddress }[] = [];
  /** Whether `sent` is kept. */
  keeps = true;
  readonly #sockets = new Map<string, WireSocket>();
  #nextPort = 40_000;

  get openSockets(): number {
    return this.#sockets.size;
  }

  open(address: string, port: number = this.#nextPort++): DatagramSocket {
    const socket = new WireSocket(this, { address, port });
    this.#sockets.set(nameOf(socket.local), socket);
    return socket;
  }

  /** Puts a datagram in as if `from` had sent it. */
  inject(data: Uint8Array, from: SocketAddress, to: SocketAddress): void {
    this.#sockets.get(nameOf(to))?.receive(data, from);
  }

  send(data: Uint8Array, from: SocketAddress, to: SocketAddress): Promise<Result<void, SendError>> {
    if (this.keeps) this.sent.push({ data, from, to });
    const arriving = this.outcome.ok ? this.fate(data, from, to) : undefined;
    if (arriving !== undefined) queueMicrotask(() => this.inject(arriving, from, to));
    return Promise.resolve(this.outcome);
  }

  close(socket: WireSocket): void {
    this.#sockets.delete(nameOf(socket.local));
  }
}

class WireSocket implements DatagramSocket {
  readonly local: SocketAddress;
  readonly #wire: Wire;
  #handler: ((data: Uint8Array, from: SocketAddress) => void) | undefined;

  constructor(wire: Wire, local: SocketAddress) {
    this.#wire = wire;
    this.local = local;
  }

  send(data: Uint8Array, to: SocketAddress): Promise<Result<void, SendError>> {
    return this.#wire.send(Uint8Array.from(data), this.local, to);
  }

  onMessage(handler: (data: Uint8Array, from: SocketAddress) => void): void {
    this.#handler = handler;
  }

  receive(data: Uint8Array, from: SocketAddress): void {
    this.#handler?.(data, from);
  }

  close(): Promise<void> {
    this.#wire.close(this);
    return Promise.resolve();
  }
}

function nameOf({ address, port }: SocketAddress): string {
  return `${address}|${port}`;
}
