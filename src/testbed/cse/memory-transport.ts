import { IoError, errorText } from '../../base/errors.ts';
import { err, ok } from '../../base/result.ts';
import type { Result } from '../../base/result.ts';
import { millis } from '../../base/units.ts';
import type { Millis } from '../../base/units.ts';
import type { CancelTimer, Clock } from '../../host/clock.ts';
import type { Binding, DeliveryError, RequestHandler, SendOptions } from '../../onem2m/binding.ts';
import type { RequestPrimitive, ResponsePrimitive, Serialisation } from '../../onem2m/primitives.ts';
import { decodeRequest, decodeResponse, encodeRequest, encodeResponse } from '../../onem2m/serialisation.ts';
import type { CseRequestHandler, CseTransport, RequestOrigin } from './cse-transport.ts';
import { corruptionOf } from './misbehaviour.ts';

type Outcome = Result<ResponsePrimitive, DeliveryError>;

/**
 * A network within the process: CSEs, clients and AEs meet by their points of access (`mem://mn1`, or any other URL such
 * as `coap://10.0.0.1:5683`, found by scheme and authority). Primitives cross it as wire objects, so that what has no
 * oneM2M form fails here as it would on a socket. Silence, not refusal, is what an absent peer gives, as with UDP.
 */
export class MemoryNetwork {
  readonly #clock: Clock;
  readonly #peers = new Map<string, CseRequestHandler>();
  readonly #cut = new Set<string>();
  #latencyMs: Millis;

  constructor(options: { clock: Clock; latencyMs?: Millis }) {
    this.#clock = options.clock;
    this.#latencyMs = options.latencyMs ?? millis(0);
  }

  /** One-way delay from now on. */
  setLatency(latencyMs: Millis): void {
    this.#latencyMs = latencyMs;
  }

  /** Swallows everything to and from a point of access until `heal`. */
  cut(pointOfAccess: string): void {
    this.#cut.add(authorityOf(pointOfAccess));
  }

  heal(pointOfAccess: string): void {
    this.#cut.delete(authorityOf(pointOfAccess));
  }

  /** A transport for the CSE that is to be reached at `pointOfAccess`. */
  transport(pointOfAccess: string): CseTransport {
    let end = new AbortController();
    return {
      listen: (handler) => {
        end = new AbortController();
        this.#attach(pointOfAccess, handler);
        return Promise.resolve(pointOfAccess);
      },
      canReach: (other) => /^[a-z][a-z0-9+.-]*:\/\//iu.test(other),
      send: (other, request, { serialisation, ...options }) => {
        const signal =
          options.signal === undefined ? end.signal : AbortSignal.any([options.signal, end.signal]);
        return this.#exchange(pointOfAccess, other, request, { ...options, signal, serialisation });
      },
      close: () => {
        end.abort();
        this.#peers.delete(authorityOf(pointOfAccess));
        return Promise.resolve();
      },
    };
  }

  /** What a client at `from` uses to reach the CSE at `pointOfAccess`. */
  binding(pointOfAccess: string, from = 'mem://client'): Binding {
    const end = new AbortController();
    return {
      send: (request, options) => {
        if (end.signal.aborted) {
          return Promise.resolve(err({ kind: 'closed', message: 'the binding is closed' }));
        }
        const signal =
          options.signal === undefined ? end.signal : AbortSignal.any([options.signal, end.signal]);
        return this.#exchange(from, pointOfAccess, request, { ...options, signal, serialisation: 'cbor' });
      },
      close: () => {
        end.abort();
        return Promise.resolve();
      },
    };
  }

  /** Receives requests for an AE at `pointOfAccess`; the returned function stops that. */
  listenAe(pointOfAccess: string, handler: RequestHandler): () => void {
    this.#attach(pointOfAccess, handler);
    return () => void this.#peers.delete(authorityOf(pointOfAccess));
  }

  #attach(pointOfAccess: string, handler: CseRequestHandler): void {
    const authority = authorityOf(pointOfAccess);
    if (this.#peers.has(authority)) throw new IoError(`${authority} is in use on this network`);
    this.#peers.set(authority, handler);
  }

  #exchange(
    from: string,
    to: string,
    request: RequestPrimitive,
    options: SendOptions & { serialisation: Serialisation },
  ): Promise<Outcome> {
    const { deadlineMs, signal, serialisation } = options;
    if (signal?.aborted === true) return Promise.resolve(cancelled(request));
    return new Promise((resolve) => {
      const finish = (outcome: Outcome): void => {
        cancelDeadline();
        cancelHop();
        signal?.removeEventListener('abort', onAbort);
        resolve(outcome);
      };
      const onAbort = (): void => finish(cancelled(request));
      let cancelHop: CancelTimer = () => undefined;
      const cancelDeadline = this.#clock.schedule(deadlineMs, () =>
        finish(err({ kind: 'deadline', message: `no answer from ${to} within ${deadlineMs} ms` })),
      );
      signal?.addEventListener('abort', onAbort, { once: true });
      const hop = (deliver: () => void): void => {
        cancelHop = this.#clock.schedule(this.#latencyMs, () => {
          if (!this.#isCut(from, to)) deliver();
        });
      };
      const sent = encodeRequest(request);
      hop(() => {
        void this.#deliver(to, sent, { serialisation, accept: serialisation }).then((answer) => {
          if (answer !== undefined) hop(() => finish(answer));
        });
      });
    });
  }

  /** The answer of the peer, or undefined for silence. */
  async #deliver(to: string, wire: unknown, origin: RequestOrigin): Promise<Outcome | undefined> {
    const request = decodeRequest(wire);
    const response = await this.#peers.get(authorityOf(to))?.(request, origin);
    if (response === undefined) return undefined;
    const corruption = corruptionOf(response);
    if (corruption !== undefined) {
      return err({ kind: 'malformed', message: `${to} answered what is no response (${corruption})` });
    }
    if (response.requestIdentifier !== request.requestIdentifier) {
      return err({
        kind: 'malformed',
        message: `${to} answered request ${response.requestIdentifier}, not ${request.requestIdentifier}`,
      });
    }
    try {
      return ok(decodeResponse(encodeResponse(response)));
    } catch (error) {
      return err({ kind: 'malformed', message: `${to}: ${errorText(error)}` });
    }
  }

  #isCut(from: string, to: string): boolean {
    return this.#cut.has(authorityOf(from)) || this.#cut.has(authorityOf(to));
  }
}

function cancelled(request: RequestPrimitive): Outcome {
  return err({ kind: 'cancelled', message: `request to ${request.to} was withdrawn` });
}

/** Scheme and authority of a URL, `coap://10.0.0.1:5683`. */
function authorityOf(url: string): string {
  return /^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/iu.exec(url)?.[0].toLowerCase() ?? url;
}
