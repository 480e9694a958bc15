/**
 * One MQTT connection to one broker over one link, through mqtt.js with everything switched off that would act behind
 * the gateway's back: no reconnect, no resubscribe, no queue while offline. What is to survive a lost connection lives
 * in the flash buffer; a lost session stays lost, and its owner opens the next one when and where it decides to.
 *
 * Protocol 5 first; a broker that refuses it, or hangs up on it, is asked again with 3.1.1. What a broker says of itself
 * with MQTT 5 is kept to: as many unacknowledged messages as it takes (Receive Maximum), no longer and at no higher QoS
 * than it takes. A message that has found no room in its deadline is not sent later.
 */
import type { MqttClient, IClientPublishOptions } from 'mqtt';
import { errorText } from '../base/errors.ts';
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import type { DeliveryError } from '../onem2m/binding.ts';
import { connectMqtt, endNow, packetBytesMax } from './mqtt-connect.ts';
import type { MqttConnection, MqttSessionOptions } from './mqtt-connect.ts';

/** A message that came in. */
export interface MqttMessage {
  readonly topic: string;
  readonly payload: Uint8Array;
  /** The broker had kept it for whoever subscribes: it may be of any age. */
  readonly isRetained?: boolean;
}

/** How long a call may take and who may withdraw it. */
export interface MqttCallOptions {
  readonly deadlineMs: Millis;
  readonly signal?: AbortSignal;
}

const outstandingMax = 256;
const earlyMax = 256;
const closeMs = millis(500);
const noSubscriberCode = 16;
/** What a publication takes beside topic and payload: headers, packet identifier, its expiry as the one property. */
const overheadBytes = 16;

/** An open session. Nothing here throws or rejects: outcomes are values. */
export class MqttSession {
  readonly protocolVersion: 4 | 5;
  /** True when the broker still knew this client: subscriptions and undelivered messages are there. */
  readonly sessionPresent: boolean;
  readonly #client: MqttClient;
  readonly #options: MqttSessionOptions;
  readonly #packetBytesMax: number;
  readonly #qosMax: 0 | 1;
  /** Messages that the broker takes before it has acknowledged the first of them. */
  readonly #windowMax: number;
  readonly #waiting = new Set<(error: DeliveryError) => void>();
  /** Publications that wait for room in the window. */
  readonly #queue = new Set<() => void>();
  /** Packet identifiers of messages that the broker acknowledged as having no receiver. */
  readonly #unheard = new Set<number>();
  #unacknowledged = 0;
  #heardMs: Millis;
  /** Messages that came before anyone listened: a kept session delivers right after CONNACK. */
  #early: MqttMessage[] = [];
  #messageHandler: (message: MqttMessage) => void = (message) => {
    if (this.#early.length < earlyMax) this.#early.push(message);
  };
  #closeHandler: (reason: string) => void = () => undefined;
  #closedReason: string | undefined;
  #closing = false;

  private constructor({ client, connack, protocolVersion }: MqttConnection, options: MqttSessionOptions) {
    this.#client = client;
    this.#options = options;
    this.protocolVersion = protocolVersion;
    this.sessionPresent = connack.sessionPresent;
    const { receiveMaximum, maximumPacketSize, maximumQoS } = connack.properties ?? {};
    this.#windowMax = Math.min(outstandingMax, receiveMaximum ?? outstandingMax);
    this.#packetBytesMax = Math.min(packetBytesMax, maximumPacketSize ?? packetBytesMax);
    this.#qosMax = maximumQoS === 0 ? 0 : 1;
    this.#heardMs = options.clock.monotonicMs();
    // One cause may raise `error` twice (TLS) and `close` after it; only the first counts.
    client.on('error', (error) => this.#lose(errorText(error)));
    client.on('disconnect', ({ reasonCode }) => this.#lose(disconnectText(reasonCode)));
    client.on('close', () => this.#lose('connection closed'));
    client.on('packetreceive', (packet) => {
      this.#heardMs = options.clock.monotonicMs();
      if (packet.cmd === 'puback' && packet.reasonCode === noSubscriberCode && packet.messageId !== undefined)
        this.#unheard.add(packet.messageId);
    });
    client.on('message', (topic, payload, { retain }) =>
      this.#messageHandler({ topic, payload, ...(retain ? { isRetained: true } : {}) }),
    );
  }

  /** Connects within the deadline. */
  static async open(options: MqttSessionOptions): Promise<Result<MqttSession, DeliveryError>> {
    const { clock, deadlineMs, protocolVersion = 5 } = options;
    const startMs = clock.monotonicMs();
    const begin = (connection: MqttConnection): MqttSession => new MqttSession(connection, options);
    let made = await connectMqtt(options, protocolVersion, deadlineMs, begin);
    const leftMs = deadlineMs - (clock.monotonicMs() - startMs);
    if (!made.ok && protocolVersion === 5 && made.error.isProtocol && leftMs > 0)
      made = await connectMqtt(options, 4, millis(leftMs), begin);
    return made.ok ? made : err(made.error.error);
  }

  /** When the broker was last heard of, by any packet. */
  get heardMs(): Millis {
    return this.#heardMs;
  }

  /** True until the connection is lost or closed. */
  get isOpen(): boolean {
    return this.#closedReason === undefined && !this.#closing;
  }

  /**
   * Publishes with QoS 1; `ok` is the broker's PUBACK, which says nothing about any receiver. With MQTT 5 the broker forgets
   * the message after `expiryMs`, and is taken at its word when it says that nobody is subscribed: `unreachable`.
   */
  publish(
    topic: string,
    payload: Uint8Array,
    options: MqttCallOptions & { readonly expiryMs?: Millis },
  ): Promise<Result<void, DeliveryError>> {
    const wholeBytes = payload.length + Buffer.byteLength(topic) + overheadBytes;
    if (wholeBytes > this.#packetBytesMax) {
      return Promise.resolve(
        err({
          kind: 'unreachable',
          message: `MQTT packet of ${wholeBytes} bytes; the broker and this side take at most ${this.#packetBytesMax}`,
        }),
      );
    }
    const { expiryMs } = options;
    const settings: IClientPublishOptions = {
      qos: this.#qosMax,
      ...(expiryMs === undefined || this.protocolVersion === 4
        ? {}
        : { properties: { messageExpiryInterval: Math.ceil(expiryMs / 1000) } }),
    };
    return this.#ask(`publish on ${topic}`, options, (done) =>
      this.#inWindow((release) => {
        this.#client.publish(topic, Buffer.from(payload), settings, (error, packet) => {
          release();
          const isUnheard = packet?.messageId !== undefined && this.#unheard.delete(packet.messageId);
          if (isUnheard) done({ kind: 'unreachable', reason: 'nobody is subscribed to it at the broker' });
          else done(failureOf(error));
        });
      }),
    );
  }

  /** Subscribes with QoS 1 to all filters at once; an error means that none of them may be relied on. */
  subscribe(filters: readonly string[], options: MqttCallOptions): Promise<Result<void, DeliveryError>> {
    const [first = '', ...others] = filters;
    const what = `subscribe to ${first}${others.length === 0 ? '' : ` and ${others.length} more`}`;
    return this.#ask(what, options, (done) => {
      this.#client.subscribe([...filters], { qos: 1 }, (error) => {
        const failure = failureOf(error);
        done(failure && { ...failure, reason: `${failure.reason}; does the broker's access list allow it?` });
      });
      return () => undefined;
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
    // Whoever ends this may have withdrawn the signal it was opened with.
    const { signal: _, ...afresh } = this.#options;
    const clean = await MqttSession.open({ ...afresh, clean: true, protocolVersion: 4 });
    if (clean.ok) await clean.value.close();
  }

  /** Cuts the connection without a word, as a dying process would. */
  abort(): void {
    this.#closing = true;
    this.#cut('the session was cut here', 'closed');
  }

  #ask(
    what: string,
    options: MqttCallOptions,
    act: (done: (failure?: Failure) => void) => () => void,
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
        withdraw();
        resolve(result);
      };
      let withdraw = (): void => undefined;
      const fail = (error: DeliveryError): void => settle(err(error));
      const onAbort = (): void => fail({ kind: 'cancelled', message: `${what}: cancelled` });
      const cancel = this.#options.clock.schedule(deadlineMs, () => {
        fail({ kind: 'deadline', message: `${what}: no acknowledgement within ${deadlineMs} ms` });
      });
      this.#waiting.add(fail);
      signal?.addEventListener('abort', onAbort, { once: true });
      try {
        withdraw = act((failure) => {
          if (failure === undefined) settle(ok(undefined));
          else fail({ kind: failure.kind, message: `${what}: ${failure.reason}` });
        });
      } catch (error) {
        // The library throws when its stores went away with the connection in this very turn.
        fail({ kind: 'unreachable', message: `${what}: ${errorText(error)}` });
      }
    });
  }

  /** Begins at once, or when the broker has acknowledged an earlier message; returns what withdraws a beginning to come. */
  #inWindow(begin: (release: () => void) => void): () => void {
    const start = (): void => {
      this.#queue.delete(start);
      this.#unacknowledged++;
      let isReleased = false;
      begin(() => {
        if (isReleased) return;
        isReleased = true;
        this.#unacknowledged--;
        const [next] = this.#queue;
        next?.();
      });
    };
    if (this.#unacknowledged < this.#windowMax) start();
    else this.#queue.add(start);
    return () => this.#queue.delete(start);
  }

  #lose(reason: string): void {
    if (this.#closedReason !== undefined || this.#closing) return;
    this.#cut(reason, 'unreachable');
    this.#closeHandler(reason);
  }

  #cut(reason: string, kind: 'closed' | 'unreachable'): void {
    this.#closedReason ??= reason;
    this.#queue.clear();
    endNow(this.#client);
    for (const fail of [...this.#waiting]) fail({ kind, message: `MQTT session: ${reason}` });
  }
}

/** Why the broker did not do what it was asked. */
interface Failure {
  readonly kind: DeliveryError['kind'];
  readonly reason: string;
}

function failureOf(error: Error | null | undefined): Failure | undefined {
  return error === null || error === undefined ? undefined : { kind: 'reset', reason: errorText(error) };
}

/** What a broker may say at the end (MQTT 5 3.14.2.1); the most telling reasons in words. */
function disconnectText(reasonCode: number | undefined): string {
  const known: Readonly<Record<number, string>> = {
    135: 'it is not authorized',
    139: 'it shuts down',
    142: 'another client came with the same client identifier',
    147: 'it got more messages at once than it takes',
    149: 'it got a packet that is too large',
    151: 'a quota is exceeded',
  };
  const words = known[reasonCode ?? -1];
  return `broker ended the session (reason ${reasonCode}${words === undefined ? '' : `: ${words}`})`;
}
