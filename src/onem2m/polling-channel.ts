/**
 * The way down for an AE that cannot be reached from outside (TS-0001 9.6.21, 10.2.5.15; TS-0004 7.4.22): it asks its CSE
 * for what waits, with one request after the other that the CSE leaves open until something comes (long polling), and
 * answers what it got by a NOTIFY to the same address.
 *
 * Each request is handed over once: a CSE that repeats one, because our answer was lost or because its own originator
 * tried again under another identifier, gets the answer of the first time. Repeats are known by originator and identifier,
 * notifications of a resource that was created besides by what they tell: it is created once. Other events may come twice
 * with the same words and mean two things.
 */
import { createHash } from 'node:crypto';
import { errorText } from '../base/errors.ts';
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import { sleep } from '../host/clock.ts';
import type { Clock } from '../host/clock.ts';
import { randomFraction } from '../host/entropy.ts';
import type { Entropy } from '../host/entropy.ts';
import type { RequestHandler } from './binding.ts';
import { isRejectedWith } from './cse-client.ts';
import type { CseClient, CseFailure } from './cse-client.ts';
import { NotificationEventType, Operation, ResponseStatusCode } from './enums.ts';
import { releaseVersion } from './primitives.ts';
import type { RequestPrimitive, ResponsePrimitive } from './primitives.ts';
import { requestOf } from './serialisation.ts';

/** What a polling channel is worked with. */
export interface PollingChannelOptions {
  /** Acts as the AE that owns the channel. */
  readonly client: CseClient;
  readonly clock: Clock;
  readonly entropy: Entropy;
  /** Address of the pollingChannel resource. */
  readonly address: string;
  readonly handler: RequestHandler;
  /** How long one poll stays open; less than what the path keeps an idle exchange alive. Default 30 s. */
  readonly pollMs?: Millis;
  /** Time for one try to bring an answer up. Default 5 s. */
  readonly answerMs?: Millis;
  /** Told when polls begin to fail, with the reason, and with undefined when they work again. */
  readonly onFailure?: (message: string | undefined) => void;
}

/** Why polling ended: it was told to, the channel is not there (any more), or it is not ours. */
export type PollingEnd = 'stopped' | 'gone' | 'refused';

/** Counts since the start. */
export interface PollingFigures {
  readonly polls: number;
  readonly handedOver: number;
  readonly repeats: number;
  /** Answers that could not be brought up. */
  readonly unanswered: number;
  readonly failures: number;
}

const defaults = { pollMs: millis(30_000), answerMs: millis(5_000) };
const backOffMs = { first: 500, most: 30_000 };
const answerTriesMax = 3;
const rememberedMax = 1_024;
/** An empty answer that comes sooner was not waited for; the next poll then waits instead. */
const emptyMsMin = 1_000;

type Polled =
  | {
      readonly kind: 'polled';
      readonly requests: readonly RequestPrimitive[];
      /** What of the answer cannot be read. */
      readonly malformed: readonly string[];
    }
  | { readonly kind: 'failed'; readonly message: string }
  | { readonly kind: 'gone' }
  | { readonly kind: 'refused' };

/** Polls one channel; see the header of this file. */
export class PollingChannel {
  readonly #options: PollingChannelOptions;
  readonly #answers = new Map<string, Promise<ResponsePrimitive>>();
  #figures = { polls: 0, handedOver: 0, repeats: 0, unanswered: 0, failures: 0 };

  constructor(options: PollingChannelOptions) {
    this.#options = options;
  }

  get figures(): PollingFigures {
    return { ...this.#figures };
  }

  /** Polls until `signal` aborts or the channel is no more; it is then for the owner to make another. */
  async run(signal: AbortSignal): Promise<PollingEnd> {
    const { clock, onFailure } = this.#options;
    let failures = 0;
    while (!signal.aborted) {
      const beganMs = clock.monotonicMs();
      const polled = await this.#poll(signal);
      if (signal.aborted) break;
      if (polled.kind === 'gone' || polled.kind === 'refused') return polled.kind;
      if (polled.kind === 'failed') {
        this.#figures.failures += 1;
        failures += 1;
        onFailure?.(polled.message);
        await this.#wait(failures, signal);
        continue;
      }
      if (failures > 0) onFailure?.(undefined);
      failures = 0;
      for (const request of polled.requests) await this.#serve(request, signal);
      for (const message of polled.malformed) onFailure?.(message);
      const tookMs = clock.monotonicMs() - beganMs;
      if (polled.requests.length === 0 && tookMs < emptyMsMin) await this.#wait(1, signal);
    }
    return 'stopped';
  }

  async #poll(signal: AbortSignal): Promise<Polled> {
    const { client, pollMs = defaults.pollMs } = this.#options;
    this.#figures.polls += 1;
    const outcome = await client.retrieve(this.#pollingUri, { deadlineMs: pollMs, signal, expires: true });
    if (!outcome.ok) return emptyOr(outcome.error);
    const { requestPrimitive } = outcome.value.primitiveContent ?? {};
    const requests: RequestPrimitive[] = [];
    // The CSE has let go of what it handed out: one that cannot be read must not take the others along.
    const malformed: string[] = [];
    for (const nested of Array.isArray(requestPrimitive) ? requestPrimitive : [requestPrimitive]) {
      try {
        requests.push(requestOf(nested));
      } catch (error) {
        malformed.push(`${this.#pollingUri}: ${errorText(error)}`);
      }
    }
    const [message] = malformed;
    if (requests.length === 0 && message !== undefined) return { kind: 'failed', message };
    return { kind: 'polled', requests, malformed };
  }

  /** Hands a request over, or finds what was answered before, and brings the answer up. */
  async #serve(request: RequestPrimitive, signal: AbortSignal): Promise<void> {
    const keys = keysOf(request);
    let answering = keys.map((key) => this.#answers.get(key)).find((known) => known !== undefined);
    if (answering === undefined) {
      this.#figures.handedOver += 1;
      answering = this.#options.handler(request).catch((): ResponsePrimitive => ({
        responseStatusCode: ResponseStatusCode.internalServerError,
        requestIdentifier: request.requestIdentifier,
      }));
    } else this.#figures.repeats += 1;
    for (const key of keys) this.#remember(key, answering);
    const response = await answering;
    // What could not be kept is to be handed over again when it is repeated.
    if (response.responseStatusCode >= ResponseStatusCode.internalServerError)
      for (const key of keys) this.#answers.delete(key);
    await this.#answer(request, response, signal);
  }

  async #answer(request: RequestPrimitive, response: ResponsePrimitive, signal: AbortSignal): Promise<void> {
    const { client, answerMs = defaults.answerMs } = this.#options;
    const responsePrimitive: ResponsePrimitive = {
      releaseVersionIndicator: releaseVersion,
      ...response,
      requestIdentifier: request.requestIdentifier,
      from: client.originator,
      ...(request.from === undefined ? {} : { to: request.from }),
    };
    for (let tries = 1; tries <= answerTriesMax && !signal.aborted; tries++) {
      const sent = await client.notify(
        this.#pollingUri,
        { responsePrimitive },
        { deadlineMs: answerMs, signal },
      );
      // A refusal means that nobody waits any more.
      if (sent.ok) return;
      if (sent.error.kind === 'rejected') break;
      if (tries < answerTriesMax) await this.#wait(tries, signal);
    }
    this.#figures.unanswered += 1;
  }

  #remember(key: string, answering: Promise<ResponsePrimitive>): void {
    this.#answers.delete(key);
    this.#answers.set(key, answering);
    const [oldest] = this.#answers.keys();
    if (this.#answers.size > rememberedMax && oldest !== undefined) this.#answers.delete(oldest);
  }

  /** Exponential, with half of it left to chance, so that gateways do not come back all at once. */
  async #wait(failures: number, signal: AbortSignal): Promise<void> {
    const { clock, entropy } = this.#options;
    const wholeMs = Math.min(backOffMs.most, backOffMs.first * 2 ** Math.min(failures - 1, 16));
    const waitMs = millis(wholeMs * (0.5 + 0.5 * randomFraction(entropy)));
    await sleep(clock, waitMs, signal).catch(() => undefined);
  }

  get #pollingUri(): string {
    return `${this.#options.address}/pcu`;
  }
}

function emptyOr(failure: CseFailure): Polled {
  // A CSE that says nothing until the poll is over differs from a dead one only for the other requests of the link.
  const isEmpty = isRejectedWith(failure, ResponseStatusCode.requestTimeout) || failure.kind === 'deadline';
  if (isEmpty) return { kind: 'polled', requests: [], malformed: [] };
  if (isRejectedWith(failure, ResponseStatusCode.notFound)) return { kind: 'gone' };
  if (isRejectedWith(failure, ResponseStatusCode.originatorHasNoPrivilege)) return { kind: 'refused' };
  return { kind: 'failed', message: failure.message };
}

/** What a repeat of this request has in common with it. */
function keysOf(request: RequestPrimitive): string[] {
  const keys = [`request ${request.from ?? ''} ${request.requestIdentifier}`];
  const notification = request.primitiveContent?.notification;
  const event = notification?.notificationEvent;
  const isCreation = event?.notificationEventType === NotificationEventType.createOfDirectChild;
  if (request.operation !== Operation.notify || !isCreation) return keys;
  const told = JSON.stringify([notification?.subscriptionReference, event]);
  return [...keys, `event ${createHash('sha256').update(told).digest('base64')}`];
}
