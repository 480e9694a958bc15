import { MqttClient } from 'mqtt';
import type { IClientOptions, IConnackPacket } from 'mqtt';
import { errnoCode, errorText } from '../base/errors.ts';
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import type { Millis } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import type { Network, TlsIdentity } from '../host/network.ts';
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
  /** For mqtts. */
  readonly tls?: TlsIdentity;
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
  /** Words for what a connection failed of, with the way out; by default those of the library. */
  readonly explain?: (error: unknown) => string | undefined;
}

/** A connection that the broker has accepted. */
export interface MqttConnection {
  readonly client: MqttClient;
  readonly connack: IConnackPacket;
  readonly protocolVersion: 4 | 5;
}

/** Why a connection attempt failed, and whether an older protocol level might do. */
export interface Refusal {
  readonly error: DeliveryError;
  readonly isProtocol: boolean;
}

/** Octets one MQTT packet may have, in and out. */
export const packetBytesMax = 131_072;

const sessionExpiryS = 3600;
const receiveMaximum = 20;

/**
 * One attempt at one protocol level: TCP, TLS, CONNECT, CONNACK within the deadline. Never rejects. `begin` takes the connection
 * over in the very turn of the CONNACK, because what the broker had kept may lie right behind it.
 */
export function connectMqtt<Session>(
  options: MqttSessionOptions,
  protocolVersion: 4 | 5,
  deadlineMs: Millis,
  begin: (connection: MqttConnection) => Session,
): Promise<Result<Session, Refusal>> {
  const { clock, signal, endpoint } = options;
  const where = `MQTT broker ${endpoint.host} port ${endpoint.port}`;
  const refusal = (kind: DeliveryError['kind'], reason: string, isProtocol = false): Refusal => ({
    error: { kind, message: `${where}: ${reason}` },
    isProtocol,
  });
  if (signal?.aborted === true) return Promise.resolve(err(refusal('cancelled', 'cancelled')));
  return new Promise((resolve) => {
    let settled = false;
    const fail = (error: Error & { code?: unknown; syscall?: unknown }): void => {
      const isNetwork = errnoCode(error) !== undefined && typeof error.syscall === 'string';
      const isProtocol = error.code === 1 || error.code === 132;
      const reason = options.explain?.(error) ?? errorText(error);
      refuse(isNetwork ? 'unreachable' : 'reset', reason, isProtocol);
    };
    let client: MqttClient;
    try {
      const wanted = clientOptions(options, protocolVersion, deadlineMs);
      client = new MqttClient(() => openStream(options, fail), wanted);
    } catch (error) {
      resolve(err(refusal('reset', options.explain?.(error) ?? errorText(error))));
      return;
    }
    const settle = (result: Result<Session, Refusal>): void => {
      if (settled) return;
      settled = true;
      cancel();
      signal?.removeEventListener('abort', onAbort);
      if (!result.ok) endNow(client);
      resolve(result);
    };
    const refuse = (...why: Parameters<typeof refusal>): void => settle(err(refusal(...why)));
    const onAbort = (): void => refuse('cancelled', 'cancelled');
    const cancel = clock.schedule(deadlineMs, () => refuse('deadline', `no CONNACK within ${deadlineMs} ms`));
    signal?.addEventListener('abort', onAbort, { once: true });
    // The listener stays: an error after this must find one, or it would end the process.
    client.on('error', fail);
    client.once('close', () => refuse('unreachable', 'connection closed before CONNACK', true));
    client.once('connect', (connack) => {
      if (!settled) settle(ok(begin({ client, connack, protocolVersion })));
    });
  });
}

/** Ends a client and its socket at once. The library alone would leave the socket to a peer that does not answer. */
export function endNow(client: MqttClient): void {
  client.end(true);
  client.stream.destroy();
}

function openStream(
  options: MqttSessionOptions,
  onError: (error: Error) => void,
): ReturnType<Network['openStream']> {
  const { host, port, localAddress, tls } = options.endpoint;
  const stream = options.network.openStream({
    host,
    port,
    ...(localAddress === undefined ? {} : { localAddress }),
    ...(tls === undefined ? {} : { tls }),
  });
  // The library passes over what it does not know for an error of a socket, what TLS complains of among it.
  stream.on('error', onError);
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
