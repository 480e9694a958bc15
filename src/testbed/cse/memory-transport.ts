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
type OpenExchanges = Set<(message: string) => void>;
type ExchangeOptions = SendOptions & { readonly serialisation: Serialisation };

interface Exchange {
  readonly from: string;
  readonly to: string;
  readonly request: RequestPrimitive;
  readonly open: OpenExchanges;
}

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
    const open: OpenExchanges = new Set();
    return {
      listen: (handler) => {
        this.#attach(pointOfAccess, handler);
        return Promise.resolve(pointOfAccess);
      },
      canReach: (other) => /^[a-z][a-z0-9+.-]*:\/\//iu.test(other),
      send: (other, request, options) =>
        this.#exchange({ from: pointOfAccess, to: other, request, open }, options),
      close: () => {
        this.#peers.delete(authorityOf(pointOfAccess));
        for (const end of [...open]) end('the transport was closed');
        return Promise.resolve();
      },
    };
  }

  /** What a client at `from` uses to reach the CSE at `pointOfAccess`. */
  binding(pointOfAccess: string, from = 'mem://client'): Binding {
    const open: OpenExchanges = new Set();
    let isClosed = false;
    return {
      send: (request, options) =>
        isClosed
          ? Promise.resolve(err({ kind: 'closed', message: 'the binding is closed' }))
          : this.#exchange({ from, to: pointOfAccess, request, open }, { ...options, serialisation: 'cbor' }),
      close: () => {
        isClosed = true;
        for (const end of [...open]) end('the binding was closed');
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

  #exchange(exchange: Exchange, options: ExchangeOptions): Promise<Outcome> {
    const { from, to, request, open } = exchange;
    const { deadlineMs, signal, serialisation } = options;
    if (signal?.aborted === true) return Promise.resolve(withdrawn(request));
    return new Promise((resolve) => {
      let cancelHop: CancelTimer = () => undefined;
      const finish = (outcome: Outcome): void => {
        cancelDeadline();
        cancelHop();
        open.delete(end);
        signal?.removeEventListener('abort', onAbort);
        resolve(outcome);
      };
      const end = (message: string): void => finish(err({ kind: 'closed', message }));
      const onAbort = (): void => finish(withdrawn(request));
      const cancelDeadline = this.#clock.schedule(deadlineMs, () =>
        finish(err({ kind: 'deadline', message: `no answer from ${to} within ${deadlineMs} ms` })),
      );
      open.add(end);
      signal?.addEventListener('abort', onAbort, { once: true });
      const hop = (arrive: () => void): void => {
        cancelHop = this.#clock.schedule(this.#latencyMs, () => {
          if (!this.#isCut(from, to)) arrive();
        });
      };
      const sent = encodeRequest(request);
      hop(() => {
        void this.#deliver(to, sent, { serialisation, accept: serialisation }).then((answer) => {
          if (answer !== undefined && open.has(end)) hop(() => finish(answer));
        });
      });
    });
  }

  /** The answer of the peer, or undefined for silence. */
  async #deliver(to: string, wire: unknown, origin: RequestOrigin): Promise<Outcome | undefined> {
    const malformed = (what: string): Outcome => err({ kind: 'malformed', message: `${to} ${what}` });
    try {
      const request = decodeRequest(wire);
      const response = await this.#peers.get(authorityOf(to))?.(request, origin);
      if (response === undefined) return undefined;
      const corruption = corruptionOf(response);
      if (corruption !== undefined) return malformed(`answered what is no response (${corruption})`);
      const { requestIdentifier } = request;
      if (response.requestIdentifier === requestIdentifier)
        return ok(decodeResponse(encodeResponse(response)));
      return malformed(`answered request ${response.requestIdentifier}, not ${requestIdentifier}`);
    } catch (error) {
      return malformed(errorText(error));
    }
  }

  #isCut(from: string, to: string): boolean {
    return this.#cut.has(authorityOf(from)) || this.#cut.has(authorityOf(to));
  }
}

function withdrawn(request: RequestPrimitive): Outcome {
  return err({ kind: 'cancelled', message: `request to ${request.to} was withdrawn` });
}

/** Scheme and authority of a URL, `coap://10.0.0.1:5683`. */
function authorityOf(url: string): string {
  return /^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/iu.exec(url)?.[0].toLowerCase() ?? url;
}
