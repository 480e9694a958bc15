import type { Duplex } from 'node:stream';
import { IoError } from '../../base/errors.ts';
import { err, ok } from '../../base/result.ts';
import type { Result } from '../../base/result.ts';
import { millis } from '../../base/units.ts';
import type { Clock } from '../../host/clock.ts';
import type { DatagramSocket, Network, SendError, SocketAddress } from '../../host/network.ts';
import type { Draw } from './draw.ts';

/** What happens to datagrams from one address to another. */
export interface PathConditions {
  readonly delayMs: number;
  /** Added to the delay of each datagram at random, so that later ones overtake earlier ones. */
  readonly jitterMs: number;
  /** Chances of a datagram, 0 to 1. */
  readonly lossRate: number;
  readonly duplicateRate: number;
}

/** Datagrams in memory: what a path does to them is asked for each one, at the moment in which it is sent. */
export class SimulatedNetwork {
  readonly #clock: Clock;
  readonly #draw: Draw;
  readonly #pathOf: (from: string, to: string) => PathConditions | undefined;
  readonly #onDelivered: (data: Uint8Array, from: SocketAddress, to: SocketAddress) => void;
  readonly #sockets = new Map<string, SimulatedSocket>();
  #nextPort = 49_152;

  constructor(options: {
    clock: Clock;
    draw: Draw;
    /** Undefined swallows what is sent. */
    pathOf: (from: string, to: string) => PathConditions | undefined;
    onDelivered: (data: Uint8Array, from: SocketAddress, to: SocketAddress) => void;
  }) {
    this.#clock = options.clock;
    this.#draw = options.draw;
    this.#pathOf = options.pathOf;
    this.#onDelivered = options.onDelivered;
  }

  /** The network as the machine at `address` has it. */
  station(address: string): Station {
    return new Station(this, address);
  }

  /** Sends a datagram as a stranger may. */
  inject(data: Uint8Array, from: SocketAddress, to: SocketAddress): void {
    this.#carry(Uint8Array.from(data), from, to, 0);
  }

  /** For `Station` only. */
  bind(station: Station, port: number | undefined): SimulatedSocket {
    const taken = port ?? this.#nextPort++;
    const local = { address: station.address, port: taken };
    if (this.#sockets.has(keyOf(local))) {
      throw new IoError(`cannot open UDP ${local.address} port ${taken}: EADDRINUSE`, {
        cause: Object.assign(new Error('address in use'), { code: 'EADDRINUSE' }),
      });
    }
    const socket = new SimulatedSocket(local, station, {
      send: (data, to) => this.#send(data, local, to),
      close: () => {
        this.#sockets.delete(keyOf(local));
        station.forget(socket);
      },
    });
    this.#sockets.set(keyOf(local), socket);
    return socket;
  }

  #send(data: Uint8Array, from: SocketAddress, to: SocketAddress): void {
    const path = this.#pathOf(from.address, to.address);
    if (path === undefined) return;
    const copy = Uint8Array.from(data);
    const copies = this.#draw.chance(path.duplicateRate) ? 2 : 1;
    for (let sent = 0; sent < copies; sent++) {
      if (this.#draw.chance(path.lossRate)) continue;
      this.#carry(copy, from, to, path.delayMs + this.#draw.between(0, path.jitterMs));
    }
  }

  #carry(data: Uint8Array, from: SocketAddress, to: SocketAddress, delayMs: number): void {
    this.#clock.schedule(millis(delayMs), () => {
      const socket = this.#sockets.get(keyOf(to));
      if (socket === undefined || !socket.station.isUp) return;
      this.#onDelivered(data, from, to);
      socket.receive(data, from);
    });
  }
}

/** One machine on the network. */
export class Station implements Network {
  readonly address: string;
  /** Whether its link is there; without it nothing leaves or arrives, and no socket can be opened. */
  isUp: boolean = true;
  readonly #network: SimulatedNetwork;
  readonly #open = new Set<SimulatedSocket>();

  constructor(network: SimulatedNetwork, address: string) {
    this.#network = network;
    this.address = address;
  }

  openDatagram(options: { localAddress: string; port?: number }): Promise<DatagramSocket> {
    const { localAddress, port } = options;
    if (localAddress !== this.address || !this.isUp) {
      const cause = Object.assign(new Error('no such address'), { code: 'EADDRNOTAVAIL' });
      const text = `cannot open UDP ${localAddress} port ${port ?? 0}: EADDRNOTAVAIL`;
      return Promise.reject(new IoError(text, { cause }));
    }
    try {
      const socket = this.#network.bind(this, port);
      this.#open.add(socket);
      return Promise.resolve(socket);
    } catch (error) {
      return Promise.reject(error instanceof Error ? error : new IoError('no socket'));
    }
  }

  /** Sockets that are open. */
  get openCount(): number {
    return this.#open.size;
  }

  /** A socket is closed. For `SimulatedNetwork` only. */
  forget(socket: SimulatedSocket): void {
    this.#open.delete(socket);
  }

  resolve(host: string): Promise<string> {
    return Promise.resolve(host);
  }

  openStream(): Duplex {
    throw new IoError('a simulated network carries datagrams only');
  }

  /** Closes every socket at once, as the end of a process does. */
  end(): void {
    for (const socket of [...this.#open]) void socket.close();
  }
}

class SimulatedSocket implements DatagramSocket {
  readonly local: SocketAddress;
  readonly station: Station;
  readonly #wire: { send: (data: Uint8Array, to: SocketAddress) => void; close: () => void };
  #handler: ((data: Uint8Array, from: SocketAddress) => void) | undefined;
  #isClosed = false;

  constructor(
    local: SocketAddress,
    station: Station,
    wire: { send: (data: Uint8Array, to: SocketAddress) => void; close: () => void },
  ) {
    this.local = local;
    this.station = station;
    this.#wire = wire;
  }

  send(data: Uint8Array, to: SocketAddress): Promise<Result<void, SendError>> {
    if (this.#isClosed) return Promise.resolve(err({ errno: 'EBADF', message: 'the socket is closed' }));
    if (!this.station.isUp) {
      return Promise.resolve(err({ errno: 'ENETUNREACH', message: 'network is unreachable' }));
    }
    this.#wire.send(data, to);
    return Promise.resolve(ok(undefined));
  }

  onMessage(handler: (data: Uint8Array, from: SocketAddress) => void): void {
    this.#handler = handler;
  }

  receive(data: Uint8Array, from: SocketAddress): void {
    if (!this.#isClosed) this.#handler?.(Uint8Array.from(data), from);
  }

  close(): Promise<void> {
    if (!this.#isClosed) this.#wire.close();
    this.#isClosed = true;
    return Promise.resolve();
  }
}

function keyOf({ address, port }: SocketAddress): string {
  return `${address}|${port}`;
}
