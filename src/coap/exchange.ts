import { err } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { millis } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import type { SocketAddress } from '../host/network.ts';
import type { DeliveryError, SendOptions } from '../onem2m/binding.ts';
import type { CoapMessage } from './message.ts';
import type { Transmission } from './message-layer.ts';

/** A request's settings: as `SendOptions`, and the token where several requests must share one. */
export interface ExchangeOptions extends SendOptions {
  readonly token?: Uint8Array;
  /** Sent once and never acknowledged (RFC 7252 4.3); confirmable by default. */
  readonly type?: 'confirmable' | 'nonConfirmable';
}

/** How an exchange ended: what the peer answered, or why there is no answer. */
export type ExchangeResult = Result<CoapMessage, DeliveryError>;

/** One endpoint that an exchange is known at. */
export interface ExchangePlace {
  forget(exchange: Exchange): void;
}

/**
 * A request from its opening until its end, which comes once and no later than its caller's deadline. It is sent by one
 * endpoint at a time; endpoints that sent it before go on listening for its answer.
 */
export class Exchange {
  readonly peer: SocketAddress;
  readonly token: Uint8Array;
  /** What it is known by; no other open exchange of an endpoint has it. */
  readonly key: string;
  readonly type: 'confirmable' | 'nonConfirmable';
  /** Undefined for a ping. */
  readonly message: CoapMessage | undefined;
  /** See `SendOptions`. */
  readonly onRepeated: (() => void) | undefined;
  /** Never rejects. */
  readonly result: Promise<ExchangeResult>;
  readonly #places = new Map<ExchangePlace, Transmission>();
  readonly #deadlineMs: number;
  readonly #end: (result: ExchangeResult) => void;
  #sender: ExchangePlace | undefined;
  #isOpen = true;

  constructor(
    clock: Clock,
    peer: SocketAddress,
    message: CoapMessage | undefined,
    options: ExchangeOptions & { token: Uint8Array },
  ) {
    this.peer = peer;
    this.message = message;
    this.token = options.token;
    this.key = Buffer.from(options.token).toString('hex');
    this.type = options.type ?? 'confirmable';
    this.onRepeated = options.onRepeated;
    this.#deadlineMs = options.deadlineMs;
    const { signal } = options;
    const onAbort = (): void => this.finish(err({ kind: 'cancelled', message: 'withdrawn by the caller' }));
    const cancelDeadline = clock.schedule(millis(this.#deadlineMs), () => this.#expire());
    signal?.addEventListener('abort', onAbort, { once: true });
    let resolve: (result: ExchangeResult) => void;
    this.result = new Promise((settle) => (resolve = settle));
    this.#end = (result) => {
      cancelDeadline();
      signal?.removeEventListener('abort', onAbort);
      resolve(result);
    };
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Its peer in words. */
  get where(): string {
    return `${this.peer.address} port ${this.peer.port}`;
  }

  /** The message ID it was sent under from there. */
  messageIdAt(place: ExchangePlace): number | undefined {
    return this.#places.get(place)?.messageId;
  }

  /** Makes an endpoint the one that sends it; those before only listen from now on. */
  sendFrom(place: ExchangePlace, transmission: Transmission): void {
    for (const before of this.#places.values()) before.stop();
    this.#places.set(place, transmission);
    this.#sender = place;
    transmission.start();
  }

  /**
   * Goes back to an endpoint that sent it before: under the same message ID, so that the peer knows it for a repeat.
   * False when this is none of those.
   */
  resumeFrom(place: ExchangePlace): boolean {
    const transmission = this.#places.get(place);
    if (transmission !== undefined && this.#sender !== place) this.sendFrom(place, transmission);
    return transmission !== undefined;
  }

  /** Ends the sending of it; its answer counts until the deadline. */
  rest(): void {
    for (const transmission of this.#places.values()) transmission.stop();
  }

  /** An answer came to an endpoint. */
  hearAt(place: ExchangePlace): void {
    this.#places.get(place)?.hear();
  }

  /** The system refused to send it from there, which ends it unless it is being sent from elsewhere by now. */
  refuseFrom(place: ExchangePlace, reason: string): void {
    if (this.#sender !== place) return;
    this.finish(err({ kind: 'unreachable', message: `${this.where}: ${reason}` }));
  }

  /** An endpoint closes; without another one the exchange ends. */
  leave(place: ExchangePlace): void {
    this.#places.get(place)?.release();
    this.#places.delete(place);
    if (this.#places.size === 0) this.finish(err({ kind: 'closed', message: 'the endpoint was closed' }));
  }

  /** Ends it; without effect when it has ended. */
  finish(result: ExchangeResult): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    for (const [place, transmission] of this.#places) {
      place.forget(this);
      transmission.release();
    }
    this.#places.clear();
    this.#end(result);
  }

  #expire(): void {
    const isHeard = [...this.#places.values()].some((transmission) => transmission.isHeard);
    const state = isHeard ? 'acknowledged, then silence' : 'no answer';
    const message = `${this.where}: ${state} within ${Math.round(this.#deadlineMs)} ms`;
    this.finish(err({ kind: 'deadline', message }));
  }
}
