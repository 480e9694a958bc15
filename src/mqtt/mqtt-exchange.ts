/**
 * Request and response primitives over one MQTT session (TS-0010 6.4 to 6.6): a request is published on the `req` topic
 * of its receiver, its answer comes on the `resp` topic of its originator and is matched by request identifier. A
 * PUBACK is never taken for delivery. QoS 1 may deliver twice: a late or second answer is ignored, and a request that
 * comes again within a minute gets the answer the first one got.
 */
import { createHash } from 'node:crypto';
import { BatonError, errorText } from '../base/errors.ts';
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import type { DeliveryError, SendOptions } from '../onem2m/binding.ts';
import { ResponseStatusCode } from '../onem2m/enums.ts';
import { releaseVersion } from '../onem2m/primitives.ts';
import type { RequestPrimitive, ResponsePrimitive, Serialisation } from '../onem2m/primitives.ts';
import {
  decodeBody,
  decodeRequest,
  decodeResponse,
  encodeBody,
  encodeRequest,
  encodeResponse,
} from '../onem2m/serialisation.ts';
import type { MqttMessage, MqttSession } from './mqtt-session.ts';
import { buildTopic, parseTopic, responseTopic } from './topics.ts';
import type { OneM2mTopic } from './topics.ts';

/** Answers a request; `undefined` stays silent. */
export type MqttRequestHandler = (
  request: RequestPrimitive,
  topic: OneM2mTopic,
) => Promise<ResponsePrimitive | undefined>;

/** Which way a request goes: the parts of its topic, and the topic itself where it is not built from them. */
export interface MqttRoute extends OneM2mTopic {
  readonly kind: 'req' | 'reg_req';
  /** A complete topic from a notification URI; the answer still comes on the `resp` topic of the originator. */
  readonly verbatimTopic?: string;
}

/** What came in and led to nothing. */
export interface MqttExchangeCounters {
  /** Messages on topics that are none of oneM2M's, or with a content type not spoken here. */
  readonly unknownTopic: number;
  /** Messages that the broker kept for whoever subscribes: a request is meant for now. */
  readonly retained: number;
  /** Payloads that are no primitive. */
  readonly malformed: number;
  /** Answers nobody waits for: late, repeated, or to somebody else's request. */
  readonly unexpectedAnswer: number;
  /** Requests that came again. */
  readonly repeatedRequest: number;
  /** Requests dropped because too many were being handled. */
  readonly overload: number;
  /** Answers the broker did not take. */
  readonly unsentAnswer: number;
}

/** Nothing has come in yet. */
export const noCounters: MqttExchangeCounters = {
  unknownTopic: 0,
  retained: 0,
  malformed: 0,
  unexpectedAnswer: 0,
  repeatedRequest: 0,
  overload: 0,
  unsentAnswer: 0,
};

interface Pending {
  readonly answerTopic: OneM2mTopic;
  readonly anyReceiver: boolean;
  readonly settle: (result: Result<ResponsePrimitive, DeliveryError>) => void;
}

interface Answered {
  readonly atMs: number;
  /** Undefined while the handler is at work. */
  answer?: { readonly topic: string; readonly payload: Uint8Array };
}

const answerDeadlineMs = millis(5_000);
const answerExpiryMs = millis(60_000);
const repeatWindowMs = 60_000;
const answeredMax = 256;
const answeredBytesMax = 4_096;

/** Both directions of one session. */
export class MqttExchange {
  readonly #session: MqttSession;
  readonly #clock: Clock;
  readonly #outstandingMax: number;
  readonly #handlingMax: number;
  readonly #encodeAnswer: (response: ResponsePrimitive, serialisation: Serialisation) => Uint8Array;
  readonly #pending = new Map<string, Pending>();
  readonly #answered = new Map<string, Answered>();
  readonly #early: (() => void)[] = [];
  #handler: MqttRequestHandler | undefined;
  #handling = 0;
  #closed = false;
  #counters = { ...noCounters };

  /** Takes over the session's messages; its loss is told by calling `fail`. */
  constructor(options: {
    session: MqttSession;
    clock: Clock;
    outstandingMax?: number;
    handlingMax?: number;
    /** Writes answers; a double may write broken ones. */
    encodeAnswer?: (response: ResponsePrimitive, serialisation: Serialisation) => Uint8Array;
  }) {
    this.#session = options.session;
    this.#clock = options.clock;
    this.#outstandingMax = options.outstandingMax ?? 64;
    this.#handlingMax = options.handlingMax ?? 64;
    this.#encodeAnswer =
      options.encodeAnswer ??
      ((response, serialisation) =>
        encodeBody(encodeResponse({ ...response, releaseVersionIndicator: releaseVersion }), serialisation));
    this.#session.onMessage((message) => this.#receive(message));
  }

  /** What came in and led to nothing, since the exchange began. */
  get counters(): MqttExchangeCounters {
    return { ...this.#counters };
  }

  /** Sets who answers requests; those that came before wait for it. */
  onRequest(handler: MqttRequestHandler): void {
    this.#handler = handler;
    for (const receive of this.#early.splice(0)) receive();
  }

  /**
   * Publishes a request and waits for its answer. Throws `EncodeError` only when the primitive itself has no form on
   * the wire.
   */
  async request(
    route: MqttRoute,
    request: RequestPrimitive,
    options: SendOptions,
  ): Promise<Result<ResponsePrimitive, DeliveryError>> {
    const payload = encodeBody(encodeRequest(request), route.serialisation);
    const key = request.requestIdentifier;
    if (this.#closed) return err({ kind: 'closed', message: `request to ${request.to}: binding closed` });
    if (this.#pending.size >= this.#outstandingMax) {
      return err({ kind: 'busy', message: `${this.#outstandingMax} requests are waiting for an answer` });
    }
    if (this.#pending.has(key)) {
      return err({ kind: 'busy', message: `a request with the identifier ${key} is waiting for its answer` });
    }
    if (options.signal?.aborted === true) {
      return err({ kind: 'cancelled', message: `request to ${request.to}: cancelled before it began` });
    }
    const topic = route.verbatimTopic ?? buildTopic(route);
    const answer = this.#awaitAnswer(key, route, options);
    const published = await Promise.race([
      // Whoever comes back after the deadline must not carry out what nobody waits for any more.
      this.#session.publish(topic, payload, { deadlineMs: options.deadlineMs, expiryMs: options.deadlineMs }),
      answer,
    ]);
    // An answer that overtakes the PUBACK is an answer all the same.
    if (!published.ok) this.#pending.get(key)?.settle(published);
    return answer;
  }

  /** Ends every wait with this error and forgets what was answered. */
  fail(error: DeliveryError): void {
    if (error.kind === 'closed') this.#closed = true;
    for (const pending of [...this.#pending.values()]) pending.settle(err(error));
  }

  #awaitAnswer(
    key: string,
    route: MqttRoute,
    options: SendOptions,
  ): Promise<Result<ResponsePrimitive, DeliveryError>> {
    const { deadlineMs, signal } = options;
    return new Promise((resolve) => {
      const settle = (result: Result<ResponsePrimitive, DeliveryError>): void => {
        this.#pending.delete(key);
        cancel();
        signal?.removeEventListener('abort', onAbort);
        resolve(result);
      };
      const onAbort = (): void => settle(err({ kind: 'cancelled', message: `request ${key} cancelled` }));
      const cancel = this.#clock.schedule(deadlineMs, () => {
        settle(
          err({ kind: 'deadline', message: `no answer from ${route.receiver} within ${deadlineMs} ms` }),
        );
      });
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#pending.set(key, {
        answerTopic: responseTopic(route),
        anyReceiver: route.verbatimTopic !== undefined,
        settle,
      });
    });
  }

  #receive(message: MqttMessage): void {
    if (this.#closed) return;
    if (message.isRetained === true) {
      this.#counters.retained++;
      return;
    }
    const topic = parseTopic(message.topic);
    if (topic === undefined) {
      this.#counters.unknownTopic++;
      return;
    }
    let wire: unknown;
    try {
      wire = decodeBody(message.payload, topic.serialisation);
    } catch {
      this.#counters.malformed++;
      return;
    }
    if (topic.kind === 'resp' || topic.kind === 'reg_resp') this.#receiveAnswer(topic, wire);
    else this.#receiveRequest(topic, wire, message.payload);
  }

  #receiveAnswer(topic: OneM2mTopic, wire: unknown): void {
    const pending = this.#pending.get(identifierOf(wire) ?? '');
    if (
      pending === undefined ||
      pending.answerTopic.prefix !== topic.prefix ||
      pending.answerTopic.kind !== topic.kind ||
      pending.answerTopic.originator !== topic.originator ||
      (!pending.anyReceiver && pending.answerTopic.receiver !== topic.receiver)
    ) {
      this.#counters.unexpectedAnswer++;
      return;
    }
    try {
      pending.settle(ok(decodeResponse(wire)));
    } catch (error) {
      this.#counters.malformed++;
      pending.settle(err({ kind: 'malformed', message: errorText(error) }));
    }
  }

  #receiveRequest(topic: OneM2mTopic, wire: unknown, payload: Uint8Array): void {
    const identifier = identifierOf(wire);
    if (identifier === undefined) {
      this.#counters.malformed++;
      return;
    }
    if (this.#handler === undefined && this.#early.length < this.#handlingMax) {
      this.#early.push(() => this.#receiveRequest(topic, wire, payload));
      return;
    }
    const key = `${topic.originator} ${createHash('sha256').update(payload).digest('base64')}`;
    const before = this.#answered.get(key);
    if (before !== undefined && this.#clock.monotonicMs() - before.atMs < repeatWindowMs) {
      this.#counters.repeatedRequest++;
      if (before.answer !== undefined) void this.#publishAnswer(before.answer.topic, before.answer.payload);
      return;
    }
    if (this.#handler === undefined || this.#handling >= this.#handlingMax) {
      this.#counters.overload++;
      return;
    }
    const entry: Answered = { atMs: this.#clock.monotonicMs() };
    this.#remember(key, entry);
    void this.#handle(this.#handler, topic, wire, identifier, entry, key);
  }

  async #handle(
    handler: MqttRequestHandler,
    topic: OneM2mTopic,
    wire: unknown,
    identifier: string,
    entry: Answered,
    key: string,
  ): Promise<void> {
    this.#handling++;
    try {
      const response = await this.#responseTo(handler, topic, wire, identifier);
      if (response === undefined || this.#closed) {
        this.#answered.delete(key);
        return;
      }
      const payload = this.#octetsOf(response, topic.serialisation);
      const answer = { topic: buildTopic(responseTopic(topic)), payload };
      if (payload.length <= answeredBytesMax) entry.answer = answer;
      else this.#answered.delete(key);
      await this.#publishAnswer(answer.topic, payload);
    } catch {
      this.#counters.unsentAnswer++;
    } finally {
      this.#handling--;
    }
  }

  /** An answer that has no form on the wire becomes an internal error: silence would leave the asker waiting. */
  #octetsOf(response: ResponsePrimitive, serialisation: Serialisation): Uint8Array {
    try {
      return this.#encodeAnswer(response, serialisation);
    } catch {
      const status = ResponseStatusCode.internalServerError;
      return this.#encodeAnswer(refusal(response.requestIdentifier, status, 'internal error'), serialisation);
    }
  }

  async #responseTo(
    handler: MqttRequestHandler,
    topic: OneM2mTopic,
    wire: unknown,
    identifier: string,
  ): Promise<ResponsePrimitive | undefined> {
    let request: RequestPrimitive;
    try {
      request = decodeRequest(wire);
    } catch (error) {
      this.#counters.malformed++;
      const debugInfo = error instanceof BatonError ? error.message : 'the request cannot be read';
      return refusal(identifier, ResponseStatusCode.badRequest, debugInfo);
    }
    try {
      return await handler(request, topic);
    } catch {
      // What went wrong inside is nobody else's business.
      return refusal(identifier, ResponseStatusCode.internalServerError, 'internal error');
    }
  }

  async #publishAnswer(topic: string, payload: Uint8Array): Promise<void> {
    const limits = { deadlineMs: answerDeadlineMs, expiryMs: answerExpiryMs };
    const published = await this.#session.publish(topic, payload, limits);
    if (!published.ok) this.#counters.unsentAnswer++;
  }

  #remember(key: string, entry: Answered): void {
    this.#answered.delete(key);
    this.#answered.set(key, entry);
    if (this.#answered.size <= answeredMax) return;
    const [eldest] = this.#answered.keys();
    if (eldest !== undefined) this.#answered.delete(eldest);
  }
}

/** Time left of a deadline that began at `startMs`; at least 1 ms, so that the wait itself reports the end. */
export function timeLeft(clock: Clock, startMs: number, deadlineMs: Millis): Millis {
  return millis(Math.max(1, Math.ceil(deadlineMs - (clock.monotonicMs() - startMs))));
}

/** A response that says no. */
export function refusal(
  requestIdentifier: string,
  responseStatusCode: number,
  debugInfo: string,
): ResponsePrimitive {
  return { requestIdentifier, responseStatusCode, primitiveContent: { debugInfo } };
}

function identifierOf(wire: unknown): string | undefined {
  if (typeof wire !== 'object' || wire === null || !('rqi' in wire)) return undefined;
  return typeof wire.rqi === 'string' ? wire.rqi : undefined;
}
