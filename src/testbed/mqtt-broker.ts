import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { Aedes } from 'aedes';
import { IoError, errorText } from '../base/errors.ts';

/** Bounds of a broker; the defaults suit a testbed of a few CSEs and gateways. */
export interface MqttBrokerOptions {
  /** Loopback by default: the broker knows no passwords. */
  readonly address?: string;
  /** Any free port by default. */
  readonly port?: number;
  readonly connectionsMax?: number;
  /** Octets of one payload; the connection that sends more is ended. */
  readonly payloadBytesMax?: number;
  /** Messages kept for one absent client; the next ones are not kept. */
  readonly queueMax?: number;
}

/** The part of the broker's memory store that grows while a client is away. */
interface OutgoingStore {
  outgoingEnqueueCombi(subscriptions: { clientId: string }[], packet: unknown): Promise<void>;
  outgoingClearMessageId(client: { id: string }, packet: unknown): Promise<unknown>;
}

/** An MQTT 3.1.1 broker inside this process, on the `aedes` package. It refuses MQTT 5, QoS 2 and retained messages. */
export class MqttBroker {
  readonly address: string;
  readonly port: number;
  readonly #aedes: Aedes;
  readonly #server: Server;
  readonly #sockets: Set<Socket>;

  private constructor(aedes: Aedes, server: Server, sockets: Set<Socket>) {
    const { address, port } = server.address() as AddressInfo;
    this.address = address;
    this.port = port;
    this.#aedes = aedes;
    this.#server = server;
    this.#sockets = sockets;
  }

  /** Throws `IoError` when the address cannot be listened on. */
  static async open(options: MqttBrokerOptions = {}): Promise<MqttBroker> {
    const { address = '127.0.0.1', port = 0, connectionsMax = 64 } = options;
    const { payloadBytesMax = 131_072, queueMax = 1_000 } = options;
    const aedes = await Aedes.createBroker({
      concurrency: 100,
      connectTimeout: 5_000,
      drainTimeout: 5_000,
      maxTopicLevels: 16,
      heartbeatInterval: 3_600_000,
      authorizePublish: (_client, packet, done) => {
        const isRefused = packet.payload.length > payloadBytesMax || packet.qos === 2 || packet.retain;
        done(isRefused ? new Error('payload too long, QoS 2 or retained') : null);
      },
    });
    boundQueues((aedes as unknown as { persistence: OutgoingStore }).persistence, queueMax);
    aedes.on('clientError', () => undefined);
    aedes.on('connectionError', () => undefined);
    const sockets = new Set<Socket>();
    const server = createServer({ noDelay: true }, (socket) => {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.once('close', () => sockets.delete(socket));
      aedes.handle(socket);
    });
    server.maxConnections = connectionsMax;
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) => {
        reject(
          new IoError(`cannot listen for MQTT on ${address} port ${port}: ${errorText(cause)}`, { cause }),
        );
      });
      server.listen(port, address, resolve);
    });
    return new MqttBroker(aedes, server, sockets);
  }

  /** The point of access of whoever is reached through this broker. */
  get pointOfAccess(): string {
    return `mqtt://${this.address}:${this.port}`;
  }

  /** Clients connected now. */
  get connectionCount(): number {
    return this.#sockets.size;
  }

  /** Cuts every connection without a word, as a reboot would, and goes on listening. */
  dropConnections(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Ends all connections and forgets all sessions. */
  async close(): Promise<void> {
    this.dropConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
    await new Promise<void>((resolve) => this.#aedes.close(() => resolve()));
  }
}

/** The store keeps messages for absent clients without a limit of its own. */
function boundQueues(store: OutgoingStore, queueMax: number): void {
  const lengths = new Map<string, number>();
  const enqueue = store.outgoingEnqueueCombi.bind(store);
  const clear = store.outgoingClearMessageId.bind(store);
  store.outgoingEnqueueCombi = (subscriptions, packet) => {
    const kept = subscriptions.filter(({ clientId }) => (lengths.get(clientId) ?? 0) < queueMax);
    for (const { clientId } of kept) lengths.set(clientId, (lengths.get(clientId) ?? 0) + 1);
    return enqueue(kept, packet);
  };
  store.outgoingClearMessageId = async (client, packet) => {
    const cleared = await clear(client, packet);
    if (cleared !== undefined) lengths.set(client.id, Math.max(0, (lengths.get(client.id) ?? 0) - 1));
    return cleared;
  };
}
