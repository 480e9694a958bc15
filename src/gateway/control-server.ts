import { BatonError, DecodeError, LimitError, UsageError, errorText } from '../base/errors.ts';
import { didYouMean, printable } from '../base/text.ts';
import { millis } from '../base/units.ts';
import { every } from '../host/clock.ts';
import type { CancelTimer } from '../host/clock.ts';
import type { LineConnection, LocalServerOptions } from '../host/local-socket.ts';
import { controlMethods, isRecord, parseMessage, periodMsRange } from './control-protocol.ts';
import type { ControlMethod, ControlPush } from './control-protocol.ts';
import { lockDataDirectory } from './data-directory-lock.ts';
import type { DataDirectoryLock, LockHost, OwnerState } from './data-directory-lock.ts';
import type { GatewayEvent, GatewayStatus } from './status.ts';

/** What the gateway does for its clients. A thrown or rejected `BatonError` becomes the error of the answer. */
export interface ControlHandlers {
  status(): GatewayStatus;
  /** Carries the order out; what it resolves to is the result. */
  handover(order: HandoverOrder): Promise<Readonly<Record<string, unknown>>>;
  /** Compares a CSE with the manifest of the bundle, and repairs it when told to. */
  context?(order: ContextOrder): Promise<Readonly<Record<string, unknown>>>;
  /** Asks the gateway to end; it answers before it does. */
  stop(): void;
}

/** An order of an operator. */
export interface HandoverOrder {
  /** CSE-ID to go to; the best candidate when absent. */
  readonly target?: string;
  /** Only tell what would be done. */
  readonly dryRun?: true;
  /** Let a fenced gateway serve again instead. */
  readonly unfence?: true;
  /** AEs that are to move; refused unless they are the whole bundle. */
  readonly aes?: readonly string[];
}

/** What is wanted of the context. */
export interface ContextOrder {
  /** CSE-ID; the one that serves when absent. */
  readonly cse?: string;
  readonly repair?: true;
}

/** Where a control server lives. */
export interface ControlServerOptions {
  readonly host: LockHost;
  /** Data directory, made when missing. */
  readonly directory: string;
  /** Process id to tell others. */
  readonly pid: number;
}

/** Requests of one client that wait for their answer at the same time. */
const outstandingMax = 32;

/** The local API of a gateway, and by its socket the proof that the data directory has one owner. */
export class ControlServer {
  readonly #host: LockHost;
  readonly #pid: number;
  readonly #clients = new Set<Client>();
  #handlers: ControlHandlers | undefined;
  #lock: DataDirectoryLock | undefined;

  private constructor(options: ControlServerOptions) {
    this.#host = options.host;
    this.#pid = options.pid;
  }

  /**
   * Takes the data directory, before anything in it is opened. Throws `BusyError` naming the pid of the gateway that
   * has it, `IoError` when the directory cannot be used. Until `serve`, requests are answered with code `BUSY`.
   */
  static async open(options: ControlServerOptions): Promise<ControlServer> {
    const server = new ControlServer(options);
    await options.host.filesystem.createDirectory(options.directory);
    server.#lock = await lockDataDirectory(options.host, options.directory, (state) =>
      server.#listener(state),
    );
    return server;
  }

  /** Answers requests by these handlers from now on. */
  serve(handlers: ControlHandlers): void {
    this.#handlers = handlers;
  }

  /** Whether anybody would see an event. */
  get hasSubscribers(): boolean {
    for (const client of this.#clients) if (client.isSubscribed) return true;
    return false;
  }

  /** Sends an event to all subscribers. */
  publish(event: GatewayEvent): void {
    if (!this.hasSubscribers) return;
    const line = JSON.stringify({ event } satisfies ControlPush);
    for (const client of this.#clients) if (client.isSubscribed) client.connection.send(line);
  }

  /** Gives the data directory up. Call it last, when everything in the directory is closed. */
  async close(): Promise<void> {
    for (const client of this.#clients) client.cancelPush();
    await this.#lock?.release();
    this.#lock = undefined;
  }

  #listener(state: OwnerState): LocalServerOptions {
    const hello = (): Readonly<Record<string, unknown>> => ({ pid: this.#pid, ...state });
    return {
      onConnection: (connection) => this.#accept(connection, hello),
      refusal: (reason) => JSON.stringify({ id: null, error: { ...errorBody(reason), ...hello() } }),
    };
  }

  #accept(connection: LineConnection, hello: () => Readonly<Record<string, unknown>>): void {
    const client: Client = { connection, isSubscribed: false, outstanding: 0, cancelPush: () => undefined };
    this.#clients.add(client);
    connection.onClose(() => {
      client.cancelPush();
      this.#clients.delete(client);
    });
    connection.onLine((line) => void this.#answer(client, line, hello));
  }

  async #answer(client: Client, line: string, hello: () => Readonly<Record<string, unknown>>): Promise<void> {
    const request = parseMessage(line);
    const id = idOf(request);
    client.outstanding++;
    try {
      if (client.outstanding > outstandingMax) {
        throw new LimitError(
          `${outstandingMax} requests wait for their answer already; wait for one of them`,
        );
      }
      if (request === undefined) {
        throw new DecodeError(`"${printable(line, 40)}" is no request; send {"id":1,"method":"status"}`);
      }
      const result = await this.#perform(request, hello);
      client.connection.send(JSON.stringify({ id, result }));
      if (request['method'] === 'subscribe') this.#startPush(client, request['params']);
      if (request['method'] === 'stop') this.#handlers?.stop();
    } catch (error) {
      client.connection.send(JSON.stringify({ id, error: errorBody(error) }));
    } finally {
      client.outstanding--;
    }
  }

  #perform(
    request: Readonly<Record<string, unknown>>,
    hello: () => Readonly<Record<string, unknown>>,
  ): unknown {
    const method = methodOf(request['method']);
    if (method === 'hello') return hello();
    const params = request['params'] ?? {};
    if (!isRecord(params)) throw new UsageError(`params of "${method}" must be an object`);
    if (this.#handlers === undefined) {
      throw new StartingError('the gateway is starting; ask again in a moment');
    }
    switch (method) {
      case 'status':
        return this.#handlers.status();
      case 'subscribe':
        return { periodMs: periodOf(params) };
      case 'handover':
        return this.#handlers.handover(orderOf(params));
      case 'context':
        if (this.#handlers.context === undefined) throw new UsageError('nobody answers for the context here');
        return this.#handlers.context(contextOrderOf(params));
      case 'stop':
        return {};
    }
  }

  /** One pushed state. A state that cannot be told must not end the gateway because somebody watches. */
  #statusLine(): string {
    try {
      const status = this.#handlers?.status();
      return JSON.stringify(status === undefined ? {} : ({ status } satisfies ControlPush));
    } catch (error) {
      return JSON.stringify({ id: null, error: errorBody(error) });
    }
  }

  #startPush(client: Client, params: unknown): void {
    client.cancelPush();
    client.isSubscribed = true;
    const push = (): void => {
      client.connection.send(this.#statusLine());
    };
    client.cancelPush = every(this.#host.clock, millis(periodOf(isRecord(params) ? params : {})), push);
    push();
  }
}

/** The gateway holds its data directory but cannot answer yet. */
class StartingError extends BatonError {
  readonly code = 'STARTING';
}

interface Client {
  readonly connection: LineConnection;
  isSubscribed: boolean;
  outstanding: number;
  cancelPush: CancelTimer;
}

function idOf(request: Readonly<Record<string, unknown>> | undefined): number | string | null {
  const id = request?.['id'];
  return typeof id === 'number' || (typeof id === 'string' && id.length <= 64) ? id : null;
}

function methodOf(value: unknown): ControlMethod {
  const method = controlMethods.find((known) => known === value);
  if (method !== undefined) return method;
  const shown = typeof value === 'string' ? value.slice(0, 40) : '';
  throw new UsageError(`unknown method "${printable(shown)}", ${didYouMean(shown, controlMethods)}`);
}

function periodOf(params: Readonly<Record<string, unknown>>): number {
  const value = params['periodMs'] ?? periodMsRange.default;
  const { min, max } = periodMsRange;
  if (typeof value === 'number' && value >= min && value <= max) return value;
  throw new UsageError(`periodMs must be a number of ms from ${min} to ${max}`);
}

function orderOf(params: Readonly<Record<string, unknown>>): HandoverOrder {
  const { target } = params;
  const aes: unknown = params['aes'];
  if (
    aes !== undefined &&
    (!Array.isArray(aes) || aes.length > 64 || !aes.every((each) => typeof each === 'string'))
  ) {
    throw new UsageError('aes must be a list of names of AEs, for example ["gw1"]');
  }
  if (target !== undefined && (typeof target !== 'string' || target.length > 256)) {
    throw new UsageError('target must be the CSE-ID of a candidate, for example "/id-mn2"');
  }
  return {
    ...(target === undefined ? {} : { target }),
    ...(params['dryRun'] === true ? { dryRun: true } : {}),
    ...(params['unfence'] === true ? { unfence: true } : {}),
    ...(aes === undefined ? {} : { aes: aes.map(String) }),
  };
}

function contextOrderOf(params: Readonly<Record<string, unknown>>): ContextOrder {
  const { cse } = params;
  if (cse !== undefined && (typeof cse !== 'string' || cse.length > 256)) {
    throw new UsageError(
      'cse must be the CSE-ID of a candidate or of the serving CSE, for example "/id-mn2"',
    );
  }
  return {
    ...(cse === undefined ? {} : { cse }),
    ...(params['repair'] === true ? { repair: true } : {}),
  };
}

function errorBody(error: unknown): { code: string; message: string } {
  return { code: error instanceof BatonError ? error.code : 'INTERNAL', message: errorText(error) };
}
