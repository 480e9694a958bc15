import { BatonError, CancelledError, DecodeError, IoError } from '../base/errors.ts';
import { printable } from '../base/text.ts';
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import { withDeadline } from '../host/clock.ts';
import type { Clock } from '../host/clock.ts';
import { LocalSocketError } from '../host/local-socket.ts';
import type { LineConnection, LocalSockets } from '../host/local-socket.ts';
import { controlSocketName, isRecord, parseMessage } from './control-protocol.ts';
import type { ControlMethod } from './control-protocol.ts';
import { parseEvent, parseStatus } from './status-schema.ts';
import type { GatewayEvent, GatewayStatus } from './status.ts';

/** What the client needs of the machine. */
export interface ControlClientHost {
  readonly localSockets: LocalSockets;
  readonly clock: Clock;
}

/** The gateway refused a request; `code` is the one it gave. */
export class ControlRequestError extends BatonError {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** Receivers of a subscription. */
export interface Subscriber {
  onStatus(status: GatewayStatus): void;
  onEvent(event: GatewayEvent): void;
}

const answerMsDefault = millis(5000);

/** A connection to the gateway that owns a data directory. */
export class ControlClient {
  readonly #clock: Clock;
  readonly #connection: LineConnection;
  readonly #waiting = new Map<
    number,
    { resolve: (value: unknown) => void; reject: (error: Error) => void }
  >();
  readonly #closed: Promise<Error>;
  #subscriber: Subscriber | undefined;
  #fail: (error: Error) => void = () => undefined;
  #failure: Error | undefined;
  #nextId = 1;

  private constructor(clock: Clock, connection: LineConnection) {
    this.#clock = clock;
    this.#connection = connection;
    this.#closed = new Promise((resolve) => {
      this.#fail = resolve;
    });
    connection.onClose((reason) => this.#end(reason ?? new IoError('the gateway closed the connection')));
    connection.onLine((line) => this.#receive(line));
  }

  /** Connects to the gateway of a data directory; throws `IoError` saying how to start one when none runs. */
  static async open(host: ControlClientHost, directory: string): Promise<ControlClient> {
    try {
      const connection = await host.localSockets.connect(`${directory}/${controlSocketName}`);
      return new ControlClient(host.clock, connection);
    } catch (error) {
      if (!(error instanceof LocalSocketError)) throw error;
      if (!['ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'ENOTDIR'].includes(error.errno ?? '')) throw error;
      throw new IoError(
        `no gateway runs on ${directory}; start one with "baton run --config FILE", or name another directory by --data DIR`,
        { cause: error },
      );
    }
  }

  /** The state of the gateway now. */
  async status(): Promise<GatewayStatus> {
    return parseStatus(await this.request('status'));
  }

  /**
   * Sends one request and gives its result. Rejects with `ControlRequestError` when the gateway refuses it, with
   * `DeadlineError` or `IoError` when no answer comes.
   */
  async request(
    method: ControlMethod,
    params: Readonly<Record<string, unknown>> = {},
    deadlineMs: Millis = answerMsDefault,
  ): Promise<unknown> {
    if (this.#failure !== undefined) throw this.#failure;
    const id = this.#nextId++;
    const answer = new Promise<unknown>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.#connection.send(JSON.stringify({ id, method, params }));
    try {
      return await withDeadline(this.#clock, deadlineMs, `gateway, method ${method}`, answer);
    } finally {
      this.#waiting.delete(id);
    }
  }

  /**
   * Delivers the state each `periodMs` and events as they happen, until `signal` aborts (resolves) or the gateway goes
   * away or sends what is not understood (rejects).
   */
  async subscribe(subscriber: Subscriber, options: { periodMs: Millis; signal: AbortSignal }): Promise<void> {
    const { signal } = options;
    this.#subscriber = subscriber;
    const aborted = new Promise<undefined>((resolve) => {
      if (signal.aborted) resolve(undefined);
      signal.addEventListener('abort', () => resolve(undefined), { once: true });
    });
    try {
      const accepted = await Promise.race([
        this.request('subscribe', { periodMs: options.periodMs }),
        aborted,
      ]);
      if (accepted === undefined) return;
      const failure = await Promise.race([this.#closed, aborted]);
      if (failure !== undefined) throw failure;
    } finally {
      this.#subscriber = undefined;
    }
  }

  /** Ends the connection; requests that wait are rejected. */
  close(): void {
    this.#end(new CancelledError('the connection to the gateway was closed'));
    this.#connection.close();
  }

  #end(error: Error): void {
    this.#failure ??= error;
    this.#fail(error);
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  #receive(line: string): void {
    try {
      this.#dispatch(line);
    } catch (error) {
      this.#end(error instanceof Error ? error : new Error(String(error)));
      this.#connection.close();
    }
  }

  #dispatch(line: string): void {
    const message = parseMessage(line);
    if (message === undefined) {
      throw new DecodeError(
        `the gateway sent "${printable(line, 40)}", which is no message; is it another program?`,
      );
    }
    const { id, result, error, status, event } = message;
    if (status !== undefined) this.#subscriber?.onStatus(parseStatus(status));
    else if (event !== undefined) this.#subscriber?.onEvent(parseEvent(event));
    else if (isRecord(error)) this.#refuse(id, error);
    else if (typeof id === 'number') this.#waiting.get(id)?.resolve(result);
  }

  #refuse(id: unknown, error: Readonly<Record<string, unknown>>): void {
    const code = typeof error['code'] === 'string' ? error['code'] : 'UNKNOWN';
    const text = typeof error['message'] === 'string' ? error['message'] : 'no reason given';
    const refusal = new ControlRequestError(printable(code), `the gateway refuses: ${printable(text, 400)}`);
    const waiting = typeof id === 'number' ? this.#waiting.get(id) : undefined;
    if (waiting === undefined) throw refusal;
    waiting.reject(refusal);
  }
}
