/**
 * A UDP relay with the manners of a mobile network: it listens on one port, hands datagrams to a target from a socket of
 * its own per client, and carries the target's answers back, each way with delay, jitter, loss, duplication, reordering
 * and a rate. Every condition can be changed while it runs. One relay stands in front of a CSE, another, for what the
 * CSE sends of its own accord, in front of the gateway's notification port.
 */
import type { Entropy } from '../../host/entropy.ts';
import type { Clock } from '../../host/clock.ts';
import type { DatagramSocket, Network, SocketAddress } from '../../host/network.ts';
import { ConditionedPath, checkConditions, perfectPath } from './conditioned-path.ts';
import type { PathConditions, PathCounters } from './conditioned-path.ts';

/** `forward` is from the clients to the target, `backward` from the target to the clients. */
export type RelayDirection = 'forward' | 'backward';

/** How to set up a relay. */
export interface UdpRelayOptions {
  readonly network: Network;
  readonly clock: Clock;
  readonly entropy: Entropy;
  /** Where clients send to; any free port unless given. */
  readonly listen: { readonly localAddress: string; readonly port?: number };
  /** Address the relay's own sockets towards the target are bound to; that of `listen` by default. */
  readonly targetSideAddress?: string;
  readonly target: SocketAddress;
  readonly conditions?: Partial<PathConditions>;
  /** Clients served at once; the one silent longest gives way. */
  readonly clientsMax?: number;
  /** Datagrams on their way in one direction. */
  readonly queueMax?: number;
  /** Octets on their way in one direction. */
  readonly queueBytesMax?: number;
}

interface Client {
  readonly address: SocketAddress;
  readonly socket: Promise<DatagramSocket | undefined>;
}

interface InFlight {
  readonly data: Uint8Array;
  readonly client: Client;
}

/** A running relay. */
export class UdpRelay {
  /** Where clients send to. */
  readonly local: SocketAddress;
  readonly #socket: DatagramSocket;
  readonly #options: UdpRelayOptions;
  readonly #clients = new Map<string, Client>();
  readonly #paths: Readonly<Record<RelayDirection, ConditionedPath<InFlight>>>;
  #target: SocketAddress;
  #closed = false;

  private constructor(socket: DatagramSocket, options: UdpRelayOptions) {
    this.local = socket.local;
    this.#socket = socket;
    this.#options = options;
    this.#target = options.target;
    this.#paths = {
      forward: this.#createPath((item) => this.#sendForward(item)),
      backward: this.#createPath((item) => this.#sendBackward(item)),
    };
    socket.onMessage((data, from) => this.#receive(data, from));
  }

  /** Throws `IoError` when the listening port cannot be had or a condition makes no sense. */
  static async open(options: UdpRelayOptions): Promise<UdpRelay> {
    checkConditions({ ...perfectPath, ...options.conditions });
    return new UdpRelay(await options.network.openDatagram(options.listen), options);
  }

  /** Changes conditions of one direction, or of both; what is not named stays. Datagrams on their way are not touched. */
  setConditions(changes: Partial<PathConditions>, direction?: RelayDirection): void {
    for (const path of direction === undefined ? Object.values(this.#paths) : [this.#paths[direction]]) {
      path.setConditions(changes);
    }
  }

  /** The conditions of one direction. */
  conditions(direction: RelayDirection): PathConditions {
    return this.#paths[direction].conditions;
  }

  /** Sends what comes from now on to another target, as after a restart on another port. */
  setTarget(target: SocketAddress): void {
    this.#target = target;
  }

  /** What became of the datagrams of one direction so far. */
  counters(direction: RelayDirection): PathCounters {
    return { ...this.#paths[direction].counters };
  }

  /** Clients known now. */
  get clientCount(): number {
    return this.#clients.size;
  }

  /** Datagrams on their way now, both directions together. */
  get inFlightCount(): number {
    return this.#paths.forward.length + this.#paths.backward.length;
  }

  /** Loses everything on its way and frees all ports. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const path of Object.values(this.#paths)) path.clear();
    const clients = [...this.#clients.values()];
    this.#clients.clear();
    await Promise.all([this.#socket.close(), ...clients.map(closeClient)]);
  }

  #createPath(deliver: (item: InFlight) => void): ConditionedPath<InFlight> {
    const { clock, entropy, conditions = {}, queueMax, queueBytesMax } = this.#options;
    return new ConditionedPath({
      clock,
      entropy,
      conditions,
      bytesOf: ({ data }) => data.length,
      deliver,
      ...(queueMax === undefined ? {} : { queueMax }),
      ...(queueBytesMax === undefined ? {} : { queueBytesMax }),
    });
  }

  #receive(data: Uint8Array, from: SocketAddress): void {
    if (this.#closed) return;
    const name = `${from.address} ${from.port}`;
    const known = this.#clients.get(name);
    const client = known ?? { address: from, socket: this.#openSocket(name) };
    // Re-entering keeps the map ordered by last use.
    this.#clients.delete(name);
    this.#clients.set(name, client);
    if (this.#clients.size > (this.#options.clientsMax ?? 64)) this.#dropEldest();
    this.#paths.forward.pass({ data, client });
  }

  async #openSocket(name: string): Promise<DatagramSocket | undefined> {
    const { network, listen, targetSideAddress = listen.localAddress } = this.#options;
    try {
      const socket = await network.openDatagram({ localAddress: targetSideAddress });
      socket.onMessage((data, from) => {
        const client = this.#clients.get(name);
        // Like a network's address translation: only the target reaches the client through this port.
        const isTarget = from.port === this.#target.port && from.address === this.#target.address;
        if (client === undefined || !isTarget) return;
        this.#paths.backward.pass({ data, client });
      });
      return socket;
    } catch {
      this.#clients.delete(name);
      return undefined;
    }
  }

  #dropEldest(): void {
    const [eldest] = this.#clients;
    if (eldest === undefined) return;
    this.#clients.delete(eldest[0]);
    void closeClient(eldest[1]);
  }

  #sendForward({ data, client }: InFlight): void {
    const path = this.#paths.forward;
    void client.socket.then(async (socket) => {
      const sent = await socket?.send(data, this.#target);
      if (sent?.ok === true) path.counters.delivered++;
      else path.counters.unsent++;
    });
  }

  #sendBackward({ data, client }: InFlight): void {
    const path = this.#paths.backward;
    void this.#socket.send(data, client.address).then((sent) => {
      if (sent.ok) path.counters.delivered++;
      else path.counters.unsent++;
    });
  }
}

async function closeClient(client: Client): Promise<void> {
  await (await client.socket)?.close();
}
