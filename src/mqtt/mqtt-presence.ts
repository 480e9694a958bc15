/**
 * The presence of one party (an AE, or several that share it) at one broker over one link: a session that is opened when it is
 * first needed and again whenever it is lost, with everything subscribed again, until `close`. The ways to all CSEs behind the
 * broker share it.
 *
 * - A request that comes while the session is being opened waits for it, within its own deadline. So does one that comes in the
 *   pause after a failure, if its deadline is after the end of the pause; otherwise it fails at once and says why.
 * - The pause doubles with each failure and differs from device to device (back-off.ts). Only a session that lasted for
 *   minutes ends the row: a broker that accepts a client and throws it out again, as two clients with one identifier do to each
 *   other, is met with growing pauses as well. A broker that cannot be reached is tried more often than one that refuses.
 * - A dead link is noticed by the deadlines of requests: when one passes, and for a second since it or another before it was
 *   sent the broker has not been heard, not even by a PUBACK, the session is given up. The keepalive is left for times without traffic.
 */
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { millis } from '../base/units.ts';
import type { Millis, UnixMillis } from '../base/units.ts';
import type { CancelTimer, Clock } from '../host/clock.ts';
import type { DeliveryError, RequestHandler, SendOptions } from '../onem2m/binding.ts';
import { ResponseStatusCode } from '../onem2m/enums.ts';
import { parseTimestamp } from '../onem2m/primitives.ts';
import type { RequestPrimitive, ResponsePrimitive } from '../onem2m/primitives.ts';
import { backOffMs } from './back-off.ts';
import { MqttExchange, noCounters, refusal, timeLeft } from './mqtt-exchange.ts';
import type { MqttExchangeCounters, MqttRoute } from './mqtt-exchange.ts';
import type { MqttSession } from './mqtt-session.ts';

/** How a session is opened for a presence. */
export interface MqttAttempt {
  readonly deadlineMs: Millis;
  readonly protocolVersion: 4 | 5;
  /** True to begin without what the broker kept. */
  readonly clean: boolean;
  readonly signal: AbortSignal;
}

/** What a presence is made of. */
export interface MqttPresenceOptions {
  readonly clock: Clock;
  /** Client identifier at the broker. */
  readonly clientId: string;
  readonly open: (attempt: MqttAttempt) => Promise<Result<MqttSession, DeliveryError>>;
  /**
   * Answers requests to the party (notifications); one past its expiry is answered 4008 instead. Without it requests are not
   * subscribed to.
   */
  readonly handler?: RequestHandler;
  /** True to begin and to end without anything kept at the broker. */
  readonly isTransient?: boolean;
  /** Requests that may wait for an answer at once. */
  readonly outstandingMax?: number;
  /** Time for one opening of a session. */
  readonly openMs?: Millis;
  /** The time of day where it is known well enough to drop requests that expired at the broker. */
  readonly wallTime?: () => UnixMillis | undefined;
  /** Told when a session is open (`undefined`), and why there is none. */
  readonly onState?: (failure: string | undefined) => void;
}

/** Topic filters by which answers, and requests, to somebody are heard. */
export interface MqttHearing {
  readonly answers: readonly string[];
  readonly requests: readonly string[];
}

/** A session with what was made on it. */
interface Live {
  readonly session: MqttSession;
  readonly exchange: MqttExchange;
  readonly sinceMs: Millis;
  readonly subscribed: Map<string, Promise<Result<void, DeliveryError>>>;
  /** When the first of the requests was sent since which the broker has not been heard. */
  askedMs?: Millis;
}

const openMsDefault = millis(3_000);
const outstandingMaxDefault = 64;
/** A session that lasts so long ends a row of failures. */
const stableMs = 120_000;
const silentMsMin = 1_000;
/** A session that ends so many times in a row, soon after each beginning, is ended by somebody. */
const suspiciousCount = 3;
const unreachableMsMax = millis(5_000);
const refusedMsMax = millis(60_000);
const hearingsMax = 128;
/** A presence at a broker; see the header of this file. */
export class MqttPresence {
  readonly #options: MqttPresenceOptions;
  readonly #clock: Clock;
  readonly #outstandingMax: number;
  readonly #hearings = new Map<string, MqttHearing>();
  readonly #end = new AbortController();
  #live: Live | undefined;
  #opening: Promise<Result<Live, DeliveryError>> | undefined;
  /** Ends the waits for a session. */
  readonly #waiting = new Set<(error: DeliveryError) => void>();
  #failures = 0;
  #lastFailure: DeliveryError = { kind: 'unreachable', message: 'no MQTT session' };
  /** The pause after a failure, with what the attempt at its end comes to. */
  #pause: { readonly endMs: Millis; readonly attempt: Promise<Result<Live, DeliveryError>> } | undefined;
  #cancelRetry: CancelTimer = () => undefined;
  #protocolVersion: 4 | 5 = 5;
  #past = noCounters;

  constructor(options: MqttPresenceOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.#outstandingMax = options.outstandingMax ?? outstandingMaxDefault;
  }

  /** The protocol level of the session; undefined while there is none. */
  get protocolVersion(): 4 | 5 | undefined {
    return this.#live?.session.protocolVersion;
  }

  /** What came in and led to nothing, over all sessions. */
  get counters(): MqttExchangeCounters {
    return sum(this.#past, this.#live?.exchange.counters ?? noCounters);
  }

  /**
   * Hears what `hearing` lists from now on, over all sessions; `name` tells one hearing from another. An error means that
   * nothing of it may be relied on yet.
   */
  async hear(name: string, hearing: MqttHearing, options: SendOptions): Promise<Result<void, DeliveryError>> {
    if (!this.#hearings.has(name)) {
      if (this.#hearings.size >= hearingsMax) {
        const message = `${hearingsMax} originators use this MQTT session; ${name} finds no room`;
        return err({ kind: 'busy', message });
      }
      this.#hearings.set(name, hearing);
    }
    const startMs = this.#clock.monotonicMs();
    const live = await this.#session(options);
    if (!live.ok) return live;
    return this.#subscribe(live.value, name, timeLeft(this.#clock, startMs, options.deadlineMs));
  }

  /** Sends a request and waits for its answer; the route must be heard. */
  async request(
    route: MqttRoute,
    request: RequestPrimitive,
    options: SendOptions,
  ): Promise<Result<ResponsePrimitive, DeliveryError>> {
    const startMs = this.#clock.monotonicMs();
    const found = await this.#session(options);
    if (!found.ok) return found;
    const live = found.value;
    const sentMs = this.#clock.monotonicMs();
    const deadlineMs = timeLeft(this.#clock, startMs, options.deadlineMs);
    const answered = await live.exchange.request(route, request, { ...options, deadlineMs });
    if (!answered.ok && answered.error.kind === 'deadline') this.#suspect(live, sentMs);
    return answered;
  }

  /**
   * Ends the session for good. With `forget`, or when it is transient, the broker drops what it keeps for this client, so that
   * a return later is not met by stale requests (TS-0010 6.3).
   */
  async close(options: { readonly forget?: boolean } = {}): Promise<void> {
    if (this.#end.signal.aborted) return;
    this.#end.abort();
    this.#cancelRetry();
    this.#options.onState?.(undefined);
    for (const fail of [...this.#waiting]) fail({ kind: 'closed', message: 'the MQTT session was closed' });
    const live = this.#live;
    this.#live = undefined;
    const forget = options.forget === true;
    if (live !== undefined) {
      live.exchange.fail({ kind: 'closed', message: 'the MQTT session was closed' });
      await live.session.close({ forget });
    } else if (forget && this.#hearings.size > 0) {
      await this.#opening;
      const clean = await this.#options.open({
        ...this.#attempt(true),
        signal: new AbortController().signal,
      });
      if (clean.ok) await clean.value.close({ forget });
    }
  }

  /** The open session; waits for one that is being opened, opens the first. */
  async #session({ deadlineMs, signal }: SendOptions): Promise<Result<Live, DeliveryError>> {
    if (this.#live !== undefined) return ok(this.#live);
    if (this.#end.signal.aborted) return err({ kind: 'closed', message: 'the MQTT session was closed' });
    const pauseMs = (this.#pause?.endMs ?? 0) - this.#clock.monotonicMs();
    if (this.#pause !== undefined && pauseMs >= deadlineMs) {
      const { kind, message } = this.#lastFailure;
      return err({ kind, message: `${message}; tried again in ${Math.round(pauseMs)} ms` });
    }
    if (this.#waiting.size >= this.#outstandingMax) {
      return err({ kind: 'busy', message: `${this.#outstandingMax} requests wait for the MQTT session` });
    }
    return this.#within(this.#pause?.attempt ?? this.#open(), deadlineMs, signal);
  }

  #within(
    opening: Promise<Result<Live, DeliveryError>>,
    deadlineMs: Millis,
    signal: AbortSignal | undefined,
  ): Promise<Result<Live, DeliveryError>> {
    return new Promise((resolve) => {
      const settle = (result: Result<Live, DeliveryError>): void => {
        cancel();
        signal?.removeEventListener('abort', onAbort);
        this.#waiting.delete(fail);
        resolve(result);
      };
      const fail = (error: DeliveryError): void => settle(err(error));
      const onAbort = (): void => fail({ kind: 'cancelled', message: 'cancelled' });
      this.#waiting.add(fail);
      const cancel = this.#clock.schedule(deadlineMs, () => {
        fail({ kind: 'deadline', message: `no MQTT session within ${deadlineMs} ms` });
      });
      signal?.addEventListener('abort', onAbort, { once: true });
      if (signal?.aborted === true) onAbort();
      else void opening.then(settle);
    });
  }

  #open(): Promise<Result<Live, DeliveryError>> {
    this.#opening ??= this.#openNow().finally(() => (this.#opening = undefined));
    return this.#opening;
  }

  async #openNow(): Promise<Result<Live, DeliveryError>> {
    const { clock, wallTime, handler, onState } = this.#options;
    this.#pause = undefined;
    const opened = await this.#options.open(this.#attempt(this.#options.isTransient === true));
    if (this.#end.signal.aborted) {
      if (opened.ok) await opened.value.close();
      return err({ kind: 'closed', message: 'the MQTT session was closed' });
    }
    if (!opened.ok) {
      // A broker that fails with 3.1.1 may be another one by now.
      this.#protocolVersion = 5;
      return this.#fail(opened.error, isRefusal(opened.error) ? refusedMsMax : unreachableMsMax);
    }
    const session = opened.value;
    this.#protocolVersion = session.protocolVersion;
    const exchange = new MqttExchange({ session, clock, outstandingMax: this.#outstandingMax });
    if (handler !== undefined) exchange.onRequest((request) => answerInTime(request, handler, wallTime));
    const live: Live = { session, exchange, sinceMs: clock.monotonicMs(), subscribed: new Map() };
    this.#live = live;
    session.onClose((reason) => this.#lost(live, reason, refusedMsMax));
    // Hearing comes before the first request: its answer must not be missed.
    const names = [...this.#hearings.keys()];
    const results = await Promise.all(
      names.map((name) => this.#subscribe(live, name, this.#options.openMs ?? openMsDefault)),
    );
    const failed = results.find((result) => !result.ok);
    if (failed !== undefined && this.#live === live)
      this.#lost(live, failed.error.message, refusedMsMax, true);
    if (this.#live !== live) return err(this.#lastFailure);
    onState?.(undefined);
    return ok(live);
  }

  #attempt(clean: boolean): MqttAttempt {
    return {
      deadlineMs: this.#options.openMs ?? openMsDefault,
      protocolVersion: this.#protocolVersion,
      clean,
      signal: this.#end.signal,
    };
  }

  #subscribe(live: Live, name: string, deadlineMs: Millis): Promise<Result<void, DeliveryError>> {
    const known = live.subscribed.get(name);
    if (known !== undefined) return known;
    const { answers, requests } = this.#hearings.get(name) ?? { answers: [], requests: [] };
    const filters = this.#options.handler === undefined ? answers : [...answers, ...requests];
    const subscribing = live.session.subscribe(filters, { deadlineMs });
    live.subscribed.set(name, subscribing);
    void subscribing.then((result) => {
      if (!result.ok) live.subscribed.delete(name);
    });
    return subscribing;
  }

  /** A deadline has passed: is it the CSE that is silent, or the way to the broker? */
  #suspect(live: Live, sentMs: Millis): void {
    const { heardMs } = live.session;
    if (this.#live !== live || heardMs >= sentMs) return;
    if (live.askedMs === undefined || heardMs >= live.askedMs) live.askedMs = sentMs;
    const silentMs = this.#clock.monotonicMs() - live.askedMs;
    if (silentMs < silentMsMin) return;
    live.session.abort();
    this.#lost(live, `the broker has not been heard for ${Math.round(silentMs)} ms`, unreachableMsMax);
  }

  #lost(live: Live, reason: string, pauseMsMax: Millis, isOurs = false): void {
    if (this.#live !== live) return;
    this.#live = undefined;
    this.#past = sum(this.#past, live.exchange.counters);
    if (live.session.isOpen) live.session.abort();
    if (this.#clock.monotonicMs() - live.sinceMs >= stableMs) this.#failures = 0;
    const isRow = this.#failures >= suspiciousCount && pauseMsMax === refusedMsMax;
    // A refused subscription ends the session here: nobody else does.
    const guess =
      isRow && !isOurs
        ? `; another client with the identifier ${this.#options.clientId} may be ending it`
        : '';
    const lost: DeliveryError = { kind: 'unreachable', message: `MQTT session lost: ${reason}${guess}` };
    live.exchange.fail(lost);
    this.#fail(lost, pauseMsMax);
  }

  #fail(failure: DeliveryError, limitMs: Millis): Result<Live, DeliveryError> {
    const pauseMs = backOffMs(this.#options.clientId, this.#failures, limitMs);
    this.#failures++;
    this.#lastFailure = failure;
    const attempt = new Promise<Result<Live, DeliveryError>>((resolve) => {
      this.#cancelRetry = this.#clock.schedule(pauseMs, () => resolve(this.#open()));
    });
    this.#pause = { endMs: millis(this.#clock.monotonicMs() + pauseMs), attempt };
    this.#options.onState?.(failure.message);
    return err(failure);
  }
}

async function answerInTime(
  request: RequestPrimitive,
  handler: RequestHandler,
  wallTime: (() => UnixMillis | undefined) | undefined,
): Promise<ResponsePrimitive> {
  const nowMs = wallTime?.();
  const expiresAtMs = parseTimestamp(request.requestExpirationTimestamp ?? '');
  if (nowMs === undefined || expiresAtMs === undefined || expiresAtMs >= nowMs) return handler(request);
  const status = ResponseStatusCode.requestTimeout;
  return refusal(request.requestIdentifier, status, 'the request expired before it arrived');
}

/** The broker answered, and the answer is no: what it refuses now it will refuse in a second. */
function isRefusal({ kind }: DeliveryError): boolean {
  return kind === 'reset';
}

function sum(one: MqttExchangeCounters, other: MqttExchangeCounters): MqttExchangeCounters {
  return {
    unknownTopic: one.unknownTopic + other.unknownTopic,
    retained: one.retained + other.retained,
    malformed: one.malformed + other.malformed,
    unexpectedAnswer: one.unexpectedAnswer + other.unexpectedAnswer,
    repeatedRequest: one.repeatedRequest + other.repeatedRequest,
    overload: one.overload + other.overload,
    unsentAnswer: one.unsentAnswer + other.unsentAnswer,
  };
}
