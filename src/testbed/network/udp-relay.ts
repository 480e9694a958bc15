/**
 * A UDP relay with the manners of a mobile network: it listens on one port, hands datagrams to a target from a socket of
 * its own per client, and carries the target's answers back, each way with delay, jitter, loss, duplication, reordering
 * and a rate. Every condition can be changed while it runs. One relay stands in front of a CSE, another, for what the
 * CSE sends of its own accord, in front of the gateway's notification port.
 */
import { IoError } from '../../base/errors.ts';
import { randomFraction } from '../../host/entropy.ts';
import type { Entropy } from '../../host/entropy.ts';
import type { Clock } from '../../host/clock.ts';
import type { DatagramSocket, Network, SocketAddress } from '../../host/network.ts';
import { DelayLine } from './delay-line.ts';

/** What happens to datagrams of one direction. */
export interface PathConditions {
  /** Time on the way. */
  readonly delayMs: number;
  /** Up to this much more, evenly distributed. With 0 the order is kept. */
  readonly jitterMs: number;
  /** Share of datagrams that get lost, 0 to 1. */
  readonly loss: number;
  /** Share that arrives twice, 0 to 1. */
  readonly duplication: number;
  /** Share that is held back by `reorderMs`, 0 to 1, so that later ones overtake. */
  readonly reordering: number;
  readonly reorderMs: number;
  /** True: nothing gets through, and nobody is told. */
  readonly blackhole: boolean;
  /** Octets per second; 0 for no limit. A datagram waits until those before it have passed. */
  readonly rateBytesPerS: number;
}

/** A path that does nothing to its datagrams. */
export const perfectPath: PathConditions = {
  delayMs: 0,
  jitterMs: 0,
  loss: 0,
  duplication: 0,
  reordering: 0,
  reorderMs: 20,
  blackhole: false,
  rateBytesPerS: 0,
};

/** `forward` is from the clients to the target, `backward` from the target to the clients. */
export type RelayDirection = 'forward' | 'backward';

/** What became of the datagrams of one direction. */
export interface PathCounters {
  readonly received: number;
  readonly delivered: number;
  /** Lost by chance or in the black hole. */
  readonly lost: number;
  readonly duplicated: number;
  /** Dropped because too much was on its way. */
  readonly overflowed: number;
  /** The system did not take them, or the client's entry was gone. */
  readonly unsent: number;
}

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

interface Path {
  conditions: PathConditions;
  readonly line: DelayLine<InFlight>;
  readonly counters: { -readonly [name in keyof PathCounters]: number };
  /** Octets on their way. */
  bytes: number;
  /** When the last octet of the rate limit's queue has passed. */
  busyUntilMs: number;
  /** Due time of the last datagram that was to keep its place. */
  lastDueMs: number;
}

/** A running relay. */
export class UdpRelay {
  /** Where clients send to. */
  readonly local: SocketAddress;
  readonly #socket: DatagramSocket;
  readonly #options: UdpRelayOptions;
  readonly #clients = new Map<string, Client>();
  readonly #paths: Readonly<Record<RelayDirection, Path>>;
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
      const conditions = { ...path.conditions, ...changes };
      checkConditions(conditions);
      path.conditions = conditions;
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
    return this.#paths.forward.line.length + this.#paths.backward.line.length;
  }

  /** Loses everything on its way and frees all ports. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const path of Object.values(this.#paths)) path.line.clear();
    const clients = [...this.#clients.values()];
    this.#clients.clear();
    await Promise.all([this.#socket.close(), ...clients.map(closeClient)]);
  }

  #createPath(deliver: (item: InFlight) => void): Path {
    return {
      conditions: { ...perfectPath, ...this.#options.conditions },
      line: new DelayLine(this.#options.clock, deliver),
      bytes: 0,
      counters: { received: 0, delivered: 0, lost: 0, duplicated: 0, overflowed: 0, unsent: 0 },
      busyUntilMs: 0,
      lastDueMs: 0,
    };
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
    this.#pass(this.#paths.forward, { data, client });
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
        this.#pass(this.#paths.backward, { data, client });
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

  #pass(path: Path, item: InFlight): void {
    path.counters.received++;
    const { conditions } = path;
    // Chance is drawn for every datagram whatever the conditions, so that a change of one leaves the others' draws alone.
    const [loss, duplication, reordering, jitter] = [0, 0, 0, 0].map(() =>
      randomFraction(this.#options.entropy),
    ) as [number, number, number, number];
    if (conditions.blackhole || loss < conditions.loss) {
      path.counters.lost++;
      return;
    }
    const copies = duplication < conditions.duplication ? 2 : 1;
    const bytes = copies * item.data.length;
    const { queueMax = 4_096, queueBytesMax = 8_388_608 } = this.#options;
    if (path.line.length + copies > queueMax || path.bytes + bytes > queueBytesMax) {
      path.counters.overflowed++;
      return;
    }
    const nowMs = this.#options.clock.monotonicMs();
    if (conditions.rateBytesPerS > 0) {
      const passMs = (item.data.length * 1000) / conditions.rateBytesPerS;
      path.busyUntilMs = Math.max(nowMs, path.busyUntilMs) + passMs;
    } else {
      path.busyUntilMs = nowMs;
    }
    let dueMs = path.busyUntilMs + conditions.delayMs + jitter * conditions.jitterMs;
    if (reordering < conditions.reordering) {
      dueMs += conditions.reorderMs;
    } else if (conditions.jitterMs === 0) {
      dueMs = Math.max(dueMs, path.lastDueMs);
      path.lastDueMs = dueMs;
    }
    if (copies === 2) path.counters.duplicated++;
    path.bytes += bytes;
    for (let copy = 0; copy < copies; copy++) path.line.push(item, dueMs);
  }

  #sendForward({ data, client }: InFlight): void {
    const path = this.#paths.forward;
    path.bytes -= data.length;
    void client.socket.then(async (socket) => {
      const sent = await socket?.send(data, this.#target);
      if (sent?.ok === true) path.counters.delivered++;
      else path.counters.unsent++;
    });
  }

  #sendBackward({ data, client }: InFlight): void {
    const path = this.#paths.backward;
    path.bytes -= data.length;
    void this.#socket.send(data, client.address).then((sent) => {
      if (sent.ok) path.counters.delivered++;
      else path.counters.unsent++;
    });
  }
}

async function closeClient(client: Client): Promise<void> {
  await (await client.socket)?.close();
}

function checkConditions(conditions: PathConditions): void {
  const { loss, duplication, reordering, delayMs, jitterMs, reorderMs, rateBytesPerS } = conditions;
  for (const [name, value] of Object.entries({ loss, duplication, reordering })) {
    if (!(value >= 0 && value <= 1)) throw new IoError(`${name} ${value}: a share from 0 to 1 is expected`);
  }
  for (const [name, value] of Object.entries({ delayMs, jitterMs, reorderMs, rateBytesPerS })) {
    if (!(value >= 0 && Number.isFinite(value)))
      throw new IoError(`${name} ${value}: a number from 0 on is expected`);
  }
}
