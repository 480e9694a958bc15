/**
 * One MQTT connection to one broker over one link, through mqtt.js with everything switched off that would act behind
 * the gateway's back: no reconnect, no resubscribe, no queue while offline. What is to survive a lost connection lives
 * in the flash buffer; a lost session stays lost, and its owner opens the next one when and where it decides to.
 *
 * Protocol 5 first; a broker that refuses it, or hangs up on it, is asked again with 3.1.1.
 */
import { MqttClient } from 'mqtt';
import type { IClientOptions } from 'mqtt';
import { errnoCode, errorText } from '../base/errors.ts';
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import type { Network } from '../host/network.ts';
import type { DeliveryError } from '../onem2m/binding.ts';
import { PacketGuard } from './packet-guard.ts';

/** Where and as whom to connect. */
export interface MqttEndpoint {
  readonly host: string;
  readonly port: number;
  /** Address of the link to leave by; any when absent. */
  readonly localAddress?: string;
  /** One per broker and link: a broker ends the session of an earlier holder of the same identifier. */
  readonly clientId: string;
  readonly username?: string;
  readonly password?: string;
}

/** How to connect. */
export interface MqttSessionOptions {
  readonly network: Network;
  readonly clock: Clock;
  readonly endpoint: MqttEndpoint;
  /** Time for the whole connection set-up, a second attempt with MQTT 3.1.1 included. */
  readonly deadlineMs: Millis;
  /** Protocol level to try first: 5, or 4 for MQTT 3.1.1 when the broker is known to speak no other. */
  readonly protocolVersion?: 4 | 5;
  /** True to begin without the state the broker kept; false (default) to go on with it. */
  readonly clean?: boolean;
  /** Silence after which the broker is asked for a sign of life; a dead one is noticed within 1.5 times this. */
  readonly keepaliveS?: number;
  readonly signal?: AbortSignal;
}

/** A message that came in. */
export interface MqttMessage {
  readonly topic: string;
  readonly payload: Uint8Array;
}

/** Octets one MQTT packet may have, in and out. */
export const packetBytesMax = 131_072;

const sessionExpiryS = 3600;
const receiveMaximum = 20;
const outstandingMax = 256;
const earlyMax = 256;
const closeMs = millis(500);

/** Why a connection attempt failed, and whether an older protocol level might do. */
interface Refusal {
  readonly error: DeliveryError;
  readonly isProtocol: boolean;
}

/** An open session. Nothing here throws or rejects: outcomes are values. */
export class MqttSession {
  readonly protocolVersion: 4 | 5;
  /** True when the broker still knew this client: subscriptions and undelivered messages are there. */
  readonly sessionPresent: boolean;
  readonly #client: MqttClient;
  readonly #options: MqttSessionOptions;
  readonly #waiting = new Set<(error: DeliveryError) => void>();
  /** Messages that came before anyone listened: a kept session delivers right after CONNACK. */
  #early: MqttMessage[] = [];
  #messageHandler: (message: MqttMessage) => void = (message) => {
    if (this.#early.length < earlyMax) this.#early.push(message);
  };
  #closeHandler: (reason: string) => void = () => undefined;
  #closedReason: string | undefined;
  #closing = false;

  private constructor(
    client: MqttClient,
    options: MqttSessionOptions,
    protocolVersion: 4 | 5,
    sessionPresent: boolean,
  ) {
    this.#client = client;
    this.#options = options;
    this.protocolVersion = protocolVersion;
    this.sessionPresent = sessionPresent;
    // One cause may raise `error` twice (TLS) and `close` after it; only the first counts.
    client.on('error', (error) => this.#lose(errorText(error)));
    client.on('disconnect', (packet) => this.#lose(`broker ended the session (reason ${packet.reasonCode})`));
    client.on('close', () => this.#lose('connection closed'));
    client.on('message', (topic, payload) => this.#messageHandler({ topic, payload }));
  }

  /** Connects within the deadline. */
  static async open(options: MqttSessionOptions): Promise<Result<MqttSession, DeliveryError>> {
    const { clock, deadlineMs, protocolVersion = 5 } = options;
    const startMs = clock.monotonicMs();
    const first = await MqttSession.#connect(options, protocolVersion, deadlineMs);
    if (first.ok || protocolVersion === 4 || !first.error.isProtocol) return opened(first);
    const leftMs = deadlineMs - (clock.monotonicMs() - startMs);
    if (leftMs <= 0) return opened(first);
    return opened(await MqttSession.#connect(options, 4, millis(leftMs)));
  }

  static #connect(
    options: MqttSessionOptions,
    protocolVersion: 4 | 5,
    deadlineMs: Millis,
  ): Promise<Result<MqttSession, Refusal>> {
    const { clock, signal, endpoint } = options;
    const where = `MQTT broker ${endpoint.host} port ${endpoint.port}`;
    if (signal?.aborted === true) {
      return Promise.resolve(
        err({ error: { kind: 'cancelled', message: `${where}: cancelled` }, isProtocol: false }),
      );
    }
    return new Promise((resolve) => {
      const client = new MqttClient(
        () => openStream(options),
        clientOptions(options, protocolVersion, deadlineMs),
      );
      let settled = false;
      const settle = (result: Result<MqttSession, Refusal>): void => {
        if (settled) return;
        settled = true;
        cancel();
        signal?.removeEventListener('abort', onAbort);
        if (!result.ok) client.end(true);
        resolve(result);
      };
      const refuse = (kind: DeliveryError['kind'], reason: string, isProtocol = false): void => {
        settle(err({ error: { kind, message: `${where}: ${reason}` }, isProtocol }));
      };
      const onAbort = (): void => refuse('cancelled', 'cancelled');
      const cancel = clock.schedule(deadlineMs, () =>
        refuse('deadline', `no CONNACK within ${deadlineMs} ms`),
      );
      signal?.addEventListener('abort', onAbort, { once: true });
      // The listener stays: an error after this must find one, or it would end the process.
      client.on('error', (error: Error & { code?: unknown }) => {
        const isNetwork = errnoCode(error) !== undefined;
        const isProtocol = error.code === 1 || error.code === 132;
        refuse(isNetwork ? 'unreachable' : 'reset', errorText(error), isProtocol);
      });
      client.once('close', () => refuse('unreachable', 'connection closed before CONNACK', true));
      client.once('connect', (packet) => {
        if (settled) return;
        settle(ok(new MqttSession(client, options, protocolVersion, packet.sessionPresent)));
      });
    });
  }

  /** True until the connection is lost or closed. */
  get isOpen(): boolean {
    return this.#closedReason === undefined && !this.#closing;
  }

  /** Publishes with QoS 1; `ok` is the broker's PUBACK, which says nothing about any receiver. */
  publish(
    topic: string,
    payload: Uint8Array,
    options: { deadlineMs: Millis; signal?: AbortSignal },
  ): Promise<Result<void, DeliveryError>> {
    if (payload.length > packetBytesMax - 1024) {
      return Promise.resolve(
        err({
          kind: 'unreachable',
          message: `MQTT message of ${payload.length} bytes; at most ${packetBytesMax - 1024} leave here`,
        }),
      );
    }
    return this.#ask(`publish on ${topic}`, options, (done) => {
      this.#client.publish(topic, Buffer.from(payload), { qos: 1 }, (error) => done(error ?? undefined));
    });
  }

  /** Subscribes with QoS 1 to all filters at once; an error means that none of them may be relied on. */
  subscribe(
    filters: readonly string[],
    options: { deadlineMs: Millis; signal?: AbortSignal },
  ): Promise<Result<void, DeliveryError>> {
    return this.#ask(`subscribe to ${filters.join(' ')}`, options, (done) => {
      this.#client.subscribe([...filters], { qos: 1 }, (error) => done(error ?? undefined));
    });
  }

  /** Sets the receiver of messages; it gets those that came before it, too. */
  onMessage(handler: (message: MqttMessage) => void): void {
    this.#messageHandler = handler;
    for (const message of this.#early.splice(0)) handler(message);
  }

  /** Called once when the session is lost, at once when it already is; not after `close`. */
  onClose(handler: (reason: string) => void): void {
    this.#closeHandler = handler;
    if (this.#closedReason !== undefined && !this.#closing) handler(this.#closedReason);
  }

  /**
   * Says goodbye to the broker; cuts the connection when that takes longer than half a second. With `forget` the broker
   * also drops what it keeps for this client, so that a return later is not met by stale requests (TS-0010 6.3).
   */
  async close(options: { forget?: boolean } = {}): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    const forget = options.forget === true;
    const expire = forget && this.protocolVersion === 5 ? { properties: { sessionExpiryInterval: 0 } } : {};
    await new Promise<void>((resolve) => {
      const cancel = this.#options.clock.schedule(closeMs, () => resolve());
      this.#client.end(false, expire, () => {
        cancel();
        resolve();
      });
    });
    this.#cut('the session was closed here', 'closed');
    if (!forget || this.protocolVersion === 5) return;
    // MQTT 3.1.1 knows no other way to end a persistent session than to begin a clean one.
    const clean = await MqttSession.#connect({ ...this.#options, clean: true }, 4, this.#options.deadlineMs);
    if (clean.ok) await clean.value.close();
  }

  /** Cuts the connection without a word, as a dying process would. */
  abort(): void {
    this.#closing = true;
    this.#cut('the session was cut here', 'closed');
  }

  #ask(
    what: string,
    options: { deadlineMs: Millis; signal?: AbortSignal },
    act: (done: (error?: Error) => void) => void,
  ): Promise<Result<void, DeliveryError>> {
    if (this.#closing) return Promise.resolve(err({ kind: 'closed', message: `${what}: session closed` }));
    // While it is not connected the library would keep the message and send it at some later time.
    if (this.#closedReason !== undefined || !this.#client.connected) {
      return Promise.resolve(
        err({ kind: 'unreachable', message: `${what}: ${this.#closedReason ?? 'not connected'}` }),
      );
    }
    if (this.#waiting.size >= outstandingMax) {
      return Promise.resolve(
        err({ kind: 'busy', message: `${what}: ${outstandingMax} messages unacknowledged` }),
      );
    }
    const { deadlineMs, signal } = options;
    if (signal?.aborted === true) {
      return Promise.resolve(err({ kind: 'cancelled', message: `${what}: cancelled before it began` }));
    }
    return new Promise((resolve) => {
      const settle = (result: Result<void, DeliveryError>): void => {
        cancel();
        signal?.removeEventListener('abort', onAbort);
        this.#waiting.delete(fail);
        resolve(result);
      };
      const fail = (error: DeliveryError): void => settle(err(error));
      const onAbort = (): void => fail({ kind: 'cancelled', message: `${what}: cancelled` });
      const cancel = this.#options.clock.schedule(deadlineMs, () => {
        fail({ kind: 'deadline', message: `${what}: no acknowledgement within ${deadlineMs} ms` });
      });
      this.#waiting.add(fail);
      signal?.addEventListener('abort', onAbort, { once: true });
      try {
        act((error) => {
          if (error === undefined) settle(ok(undefined));
          else fail({ kind: 'reset', message: `${what}: ${errorText(error)}` });
        });
      } catch (error) {
        // The library throws when its stores went away with the connection in this very turn.
        fail({ kind: 'unreachable', message: `${what}: ${errorText(error)}` });
      }
    });
  }

  #lose(reason: string): void {
    if (this.#closedReason !== undefined || this.#closing) return;
    this.#cut(reason, 'unreachable');
    this.#closeHandler(reason);
  }

  #cut(reason: string, kind: 'closed' | 'unreachable'): void {
    this.#closedReason ??= reason;
    this.#client.end(true);
    for (const fail of [...this.#waiting]) fail({ kind, message: `MQTT session: ${reason}` });
  }
}

function opened(result: Result<MqttSession, Refusal>): Result<MqttSession, DeliveryError> {
  return result.ok ? result : err(result.error.error);
}

function openStream(options: MqttSessionOptions): ReturnType<Network['openStream']> {
  const { host, port, localAddress } = options.endpoint;
  const stream = options.network.openStream({
    host,
    port,
    ...(localAddress === undefined ? {} : { localAddress }),
  });
  const guard = new PacketGuard(packetBytesMax);
  stream.on('data', (data: Uint8Array) => {
    if (!guard.accepts(data)) stream.destroy();
  });
  return stream;
}

function clientOptions(
  options: MqttSessionOptions,
  protocolVersion: 4 | 5,
  deadlineMs: Millis,
): IClientOptions {
  const { endpoint, clean = false, keepaliveS = 5 } = options;
  return {
    clientId: endpoint.clientId,
    protocolVersion,
    clean,
    keepalive: keepaliveS,
    // The library's own limit stays behind ours, which reports the failure.
    connectTimeout: deadlineMs + 1_000,
    reconnectPeriod: 0,
    queueQoSZero: false,
    resubscribe: false,
    ...(endpoint.username === undefined ? {} : { username: endpoint.username }),
    ...(endpoint.password === undefined ? {} : { password: endpoint.password }),
    ...(protocolVersion === 5
      ? {
          properties: {
            sessionExpiryInterval: clean ? 0 : sessionExpiryS,
            receiveMaximum,
            maximumPacketSize: packetBytesMax,
          },
        }
      : {}),
  };
}
