import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import type { CancelTimer } from '../host/clock.ts';
import type { SocketAddress } from '../host/network.ts';
import type { DeliveryError, SendOptions } from '../onem2m/binding.ts';
import { Transfer } from './blockwise.ts';
import type { CoapEndpoint } from './endpoint.ts';
import type { Exchange, ExchangeResult } from './exchange.ts';
import { decodeUint, encodeUint } from './message.ts';
import type { CoapMessage } from './message.ts';

/** How to observe a resource. */
export interface ObservationOptions {
  /** Time for each registration, and for the collection of a notification that comes in blocks. */
  readonly deadlineMs: Millis;
  /** Takes the representation of the resource, whole, the first time within the registration; newer ones only follow. */
  readonly onNotification: (message: CoapMessage) => void;
  /** The observation has ended, and not by us: the peer's last word or what was in the way. */
  readonly onEnd: (reason: ObservationFailure) => void;
}

/** Why there is no observation (any more): `notObserved` when the peer answered, but does not notify. */
export type ObservationFailure =
  DeliveryError | { readonly kind: 'notObserved'; readonly message: string; readonly answer: CoapMessage };

const Option = { observe: 6, maxAge: 14 } as const;
const maxAgeDefaultS = 60;
/** A timer that is longer is no timer any more. */
const maxAgeMsMax = 86_400_000;
/** Registrations and collections in a row that may fail. */
const failuresMax = 5;
const retryMsMax = 60_000;
/** RFC 7641 3.4: a notification this much later is newer whatever its number. */
const reorderMsMax = 128_000;
/** The number is one of 24 bits (RFC 7641 3.4), whatever a longer option says. */
const sequenceModulus = 2 ** 24;

/**
 * One resource of a peer that is observed (RFC 7641): registered under a token of its own, registered again when the
 * representation has outlived its Max-Age, which finds out whether the peer forgot about it. Notifications that were
 * overtaken are left out, those in blocks collected; a newer one makes the collection of an older one pointless.
 * An endpoint has at most `observationsMax` of them.
 */
export class Observation {
  readonly #peer: SocketAddress;
  readonly #message: CoapMessage;
  readonly #options: ObservationOptions;
  readonly #token: Uint8Array;
  /** Where notifications are heard: at the present endpoint, and at earlier ones until the peer has answered here. */
  readonly #ears = new Map<CoapEndpoint, () => void>();
  #endpoint: CoapEndpoint;
  #registration: Exchange | undefined;
  #sequence: number | undefined;
  #atMs = 0;
  #cancelTimer: CancelTimer = () => undefined;
  #collection: AbortController | undefined;
  #failures = 0;
  #isOpen = true;

  private constructor(
    endpoint: CoapEndpoint,
    peer: SocketAddress,
    message: CoapMessage,
    options: ObservationOptions,
  ) {
    this.#endpoint = endpoint;
    this.#peer = peer;
    this.#message = message;
    this.#options = options;
    this.#token = endpoint.drawToken();
  }

  /** Registers with the peer; `message` is a GET. Resolves when the peer has answered that it will notify. */
  static async register(
    endpoint: CoapEndpoint,
    peer: SocketAddress,
    message: CoapMessage,
    options: ObservationOptions,
  ): Promise<Result<Observation, ObservationFailure>> {
    const observation = new Observation(endpoint, peer, message, options);
    const obstacle = observation.#listenAt(endpoint);
    if (obstacle !== undefined) return err(obstacle);
    const answer = await observation.#ask();
    const failure = answer.ok ? lastWord(answer.value) : answer.error;
    if (failure !== undefined) {
      observation.forget();
      return err(failure);
    }
    if (answer.ok) observation.#take(answer.value, true);
    return ok(observation);
  }

  /** False once it has ended, by either side. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Ends it without a word: the peer learns by the reset that its next notification gets. */
  forget(): void {
    this.#isOpen = false;
    for (const leave of this.#ears.values()) leave();
    this.#ears.clear();
    this.#cancelTimer();
    this.#collection?.abort();
    this.#registration?.finish(err(withdrawn));
  }

  /** Ends it, and tells the peer, which answers as to a plain GET (RFC 7641 3.6). */
  deregister(options: SendOptions): Promise<ExchangeResult> {
    const { signal, deadlineMs } = options;
    this.forget();
    const last = { deadlineMs, token: this.#token, ...(signal === undefined ? {} : { signal }) };
    return this.#endpoint.request(this.#peer, this.#observing(1), last);
  }

  /**
   * Goes on at the endpoint of another link: registers there, and hears notifications at both until the peer has
   * answered. Tells why it cannot; it then stays where it is.
   */
  moveTo(endpoint: CoapEndpoint): DeliveryError | undefined {
    if (endpoint === this.#endpoint || !this.#isOpen) return undefined;
    const obstacle = this.#listenAt(endpoint);
    if (obstacle !== undefined) return obstacle;
    this.#endpoint = endpoint;
    this.#registration?.finish(err(withdrawn));
    this.#registration = undefined;
    this.#failures = 0;
    void this.#registerAgain();
    return undefined;
  }

  #listenAt(endpoint: CoapEndpoint): DeliveryError | undefined {
    if (this.#ears.has(endpoint)) return undefined;
    const listening = endpoint.listen(this.#peer, this.#token, (message) => this.#take(message, false));
    if (typeof listening !== 'function') return listening;
    this.#ears.set(endpoint, listening);
    return undefined;
  }

  async #ask(): Promise<ExchangeResult> {
    const { deadlineMs } = this.#options;
    const exchange = this.#endpoint.open(this.#peer, this.#observing(0), { deadlineMs, token: this.#token });
    this.#registration = exchange;
    const answer = await exchange.result;
    if (this.#registration === exchange) this.#registration = undefined;
    return answer;
  }

  async #registerAgain(): Promise<void> {
    if (this.#registration !== undefined) return;
    this.#cancelTimer();
    const endpoint = this.#endpoint;
    const answer = await this.#ask();
    // What was withdrawn for a move or an end is told by what came instead.
    if (!this.#isOpen || endpoint !== this.#endpoint) return;
    if (!answer.ok) {
      this.#fail(answer.error);
      return;
    }
    for (const [each, leave] of this.#ears) {
      if (each === endpoint) continue;
      leave();
      this.#ears.delete(each);
    }
    this.#take(answer.value, true);
  }

  /** Tries again after a pause, some times. */
  #fail(error: DeliveryError): void {
    this.#failures += 1;
    if (this.#failures >= failuresMax || error.kind === 'closed') this.#end(error);
    else this.#schedule(Math.min(retryMsMax, 1_000 * 2 ** this.#failures));
  }

  /** Takes a notification, or the answer to a registration, which is newer than all that came before. */
  #take(message: CoapMessage, isAnswer: boolean): void {
    if (!this.#isOpen) return;
    const failure = lastWord(message);
    if (failure !== undefined) {
      if (message.code.startsWith('2.')) this.#options.onNotification(message);
      this.#end(failure);
      return;
    }
    const number = decodeUint(message.options.get(Option.observe)?.[0] ?? new Uint8Array()) ?? 0;
    const sequence = number % sequenceModulus;
    const { clock } = this.#endpoint;
    const nowMs = clock.monotonicMs();
    if (!isAnswer && !this.#isNewer(sequence, nowMs)) return;
    this.#sequence = sequence;
    this.#atMs = nowMs;
    const maxAge = message.options.get(Option.maxAge)?.[0];
    const maxAgeMs = 1000 * ((maxAge === undefined ? undefined : decodeUint(maxAge)) ?? maxAgeDefaultS);
    // RFC 7641 3.3.1: some seconds more, and not all clients at once.
    this.#schedule(Math.min(maxAgeMsMax, maxAgeMs) + 5_000 + ((this.#token[0] ?? 0) / 256) * 10_000);
    this.#collection?.abort();
    this.#collection = undefined;
    if (message.block2?.more === true) void this.#collect(message);
    else this.#deliver(message);
  }

  #deliver(message: CoapMessage): void {
    this.#failures = 0;
    this.#options.onNotification(message);
  }

  /** Fetches the other blocks of a notification by requests that are not part of the observation (RFC 7959 3.4). */
  async #collect(first: CoapMessage): Promise<void> {
    const collection = new AbortController();
    this.#collection = collection;
    const { deadlineMs } = this.#options;
    const { signal } = collection;
    const settings = { deadlineMs, signal, firstBlock: first };
    const endpoint = this.#endpoint;
    const transfer = new Transfer(endpoint, endpoint.clock, this.#peer, this.#message, settings);
    const whole = await transfer.result;
    if (signal.aborted || !this.#isOpen) return;
    this.#collection = undefined;
    if (whole.ok) this.#deliver(whole.value);
    else this.#fail(whole.error);
  }

  #isNewer(sequence: number, nowMs: number): boolean {
    if (this.#sequence === undefined || nowMs > this.#atMs + reorderMsMax) return true;
    const ahead = (sequence - this.#sequence + sequenceModulus) % sequenceModulus;
    return ahead > 0 && ahead < sequenceModulus / 2;
  }

  #schedule(delayMs: number): void {
    this.#cancelTimer();
    this.#cancelTimer = this.#endpoint.clock.schedule(millis(delayMs), () => void this.#registerAgain());
  }

  #end(reason: ObservationFailure): void {
    this.forget();
    this.#options.onEnd(reason);
  }

  #observing(value: 0 | 1): CoapMessage {
    return {
      ...this.#message,
      options: new Map([...this.#message.options, [Option.observe, [encodeUint(value)]]]),
    };
  }
}

const withdrawn: DeliveryError = {
  kind: 'cancelled',
  message: 'the observation goes on elsewhere or has ended',
};

/** Why no notification follows on this message; undefined when more are to be expected. */
function lastWord(message: CoapMessage): ObservationFailure | undefined {
  if (message.code.startsWith('2.') && message.options.has(Option.observe)) return undefined;
  return { kind: 'notObserved', message: `answered ${message.code} without more to come`, answer: message };
}
