import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { IoError, errorText } from '../../base/errors.ts';
import type { Clock } from '../../host/clock.ts';
import type { SocketAddress } from '../../host/network.ts';
import { DelayLine } from './delay-line.ts';

/** What happens to the connections through a relay. */
export interface StreamConditions {
  /** Time on the way, in each direction. */
  readonly delayMs: number;
  /** True: nothing gets through. What is under way arrives later, as TCP sends it again; a new connection waits. */
  readonly blackhole: boolean;
}

/** Octets of one direction of one connection that may be under way; a sender beyond that waits. */
const underWayBytesMax = 1024 * 1024;

/** A TCP relay in front of a broker: each way with a delay, and now and then without coverage. */
export class TcpRelay {
  readonly local: SocketAddress;
  readonly #server: Server;
  readonly #pipes: Set<Pipe>;
  readonly #state: { conditions: StreamConditions };

  private constructor(server: Server, pipes: Set<Pipe>, state: { conditions: StreamConditions }) {
    const { address, port } = server.address() as AddressInfo;
    this.local = { address, port };
    this.#server = server;
    this.#pipes = pipes;
    this.#state = state;
  }

  /** Listens on a free port of `localAddress`; throws `IoError` when that is not possible. */
  static async open(options: {
    clock: Clock;
    localAddress: string;
    target: SocketAddress;
    conditions?: Partial<StreamConditions>;
  }): Promise<TcpRelay> {
    const { clock, localAddress, target } = options;
    const state = { conditions: { delayMs: 0, blackhole: false, ...options.conditions } };
    const pipes = new Set<Pipe>();
    const server = createServer({ noDelay: true }, (client) => {
      const onward = connect({ host: target.address, port: target.port, noDelay: true });
      const both = [new Pipe(clock, client, onward, state), new Pipe(clock, onward, client, state)];
      for (const pipe of both) {
        pipes.add(pipe);
        pipe.onEnd(() => pipes.delete(pipe));
      }
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) => {
        reject(new IoError(`cannot relay TCP on ${localAddress}: ${errorText(cause)}`, { cause }));
      });
      server.listen(0, localAddress, resolve);
    });
    return new TcpRelay(server, pipes, state);
  }

  /** Changes what happens from now on. */
  setConditions(changes: Partial<StreamConditions>): void {
    this.#state.conditions = { ...this.#state.conditions, ...changes };
    if (!this.#state.conditions.blackhole) for (const pipe of this.#pipes) pipe.flow();
  }

  async close(): Promise<void> {
    for (const pipe of [...this.#pipes]) pipe.cut();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

/** One direction of one connection. */
class Pipe {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #state: { readonly conditions: StreamConditions };
  readonly #line: DelayLine<Uint8Array | undefined>;
  readonly #held: (Uint8Array | undefined)[] = [];
  #underWayBytes = 0;

  constructor(clock: Clock, from: Socket, to: Socket, state: { readonly conditions: StreamConditions }) {
    this.#from = from;
    this.#to = to;
    this.#state = state;
    this.#line = new DelayLine(clock, (data) => this.#arrive(data));
    const enter = (data: Uint8Array | undefined): void =>
      this.#line.push(data, clock.monotonicMs() + this.#state.conditions.delayMs);
    from.on('data', (data) => {
      this.#underWayBytes += data.length;
      if (this.#underWayBytes > underWayBytesMax) from.pause();
      enter(data);
    });
    from.on('error', () => undefined);
    // However it ended, the other side hears of it no sooner than of what was sent before.
    from.once('close', () => enter(undefined));
  }

  onEnd(action: () => void): void {
    this.#to.once('close', action);
  }

  /** Lets through what was held back. */
  flow(): void {
    for (const data of this.#held.splice(0)) this.#arrive(data);
  }

  cut(): void {
    this.#line.clear();
    this.#from.destroy();
    this.#to.destroy();
  }

  #arrive(data: Uint8Array | undefined): void {
    if (this.#state.conditions.blackhole) {
      this.#held.push(data);
      return;
    }
    if (data === undefined) {
      this.#to.destroy();
      return;
    }
    this.#underWayBytes -= data.length;
    if (this.#underWayBytes <= underWayBytesMax && this.#from.isPaused()) this.#from.resume();
    this.#to.write(data);
  }
}
