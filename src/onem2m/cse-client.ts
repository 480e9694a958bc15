import { DecodeError } from '../base/errors.ts';
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import type { Millis } from '../base/units.ts';
import { randomHex } from '../host/entropy.ts';
import type { Entropy } from '../host/entropy.ts';
import type { Binding, DeliveryError, SendOptions } from './binding.ts';
import { FilterUsage, Operation, ResponseType, ResultContent, isSuccess, statusText } from './enums.ts';
import type { ResourceType } from './enums.ts';
import { releaseVersion } from './primitives.ts';
import type { FilterCriteria, RequestPrimitive, ResponsePrimitive } from './primitives.ts';
import type { PrimitiveContent } from './resources.ts';

/** The CSE answered, and the answer is no. */
export interface Rejection {
  readonly kind: 'rejected';
  readonly responseStatusCode: number;
  /** The CSE's own words (`m2m:dbg`), when it gave any. */
  readonly debugInfo?: string;
  readonly message: string;
}

/** Everything but success. */
export type CseFailure = Rejection | DeliveryError;

/** What a request came to. */
export type CseOutcome = Result<ResponsePrimitive, CseFailure>;

/** Per-request settings; the deadline falls back to that of the client. */
export interface CallOptions extends Omit<SendOptions, 'deadlineMs'> {
  readonly deadlineMs?: Millis;
  readonly resultContent?: ResultContent;
  /** Originator other than that of the client. */
  readonly from?: string;
  /** Name of the request, for what answers it later; drawn where it is absent. */
  readonly requestIdentifier?: string;
  /**
   * Whether the request carries an expiration after which nobody executes it or waits for it. Without a word it does where
   * it may be passed on to another CSE (an SP-relative or absolute address), and where nobody waits for the answer.
   */
  readonly expires?: boolean;
}

/** A request as a caller gives it; identifier, originator and release version are filled in. */
export type RequestCall = Omit<RequestPrimitive, 'requestIdentifier' | 'from'>;

/** What a discovery asks for. An offset is not offered: CSEs do not agree on what it counts. */
export type DiscoveryCriteria = Omit<FilterCriteria, 'filterUsage' | 'offset'>;

/**
 * Mca requests of one originator to one CSE (TS-0001 10.1, 10.2). `to` is CSE-relative (`cse-mn1/gw1/data`), SP-relative
 * (`/id-mn1/…`) or a resource ID. Nothing here throws for what a network or a CSE can do: outcomes are values.
 */
export class CseClient {
  readonly originator: string;
  readonly #binding: Binding;
  readonly #entropy: Entropy;
  readonly #deadlineMs: Millis;
  readonly #limitsAfterFilter: boolean;

  constructor(options: {
    binding: Binding;
    originator: string;
    entropy: Entropy;
    /** Time for a request whose caller gives none. */
    deadlineMs: Millis;
    /** The CSE is known to apply the limit of a discovery to what matches; where it is not, no limit is sent. */
    limitsAfterFilter?: boolean;
  }) {
    this.originator = options.originator;
    this.#binding = options.binding;
    this.#entropy = options.entropy;
    this.#deadlineMs = options.deadlineMs;
    this.#limitsAfterFilter = options.limitsAfterFilter ?? false;
  }

  /** CREATE `content` under `to`. Without `resultContent` the CSE answers with all attributes. */
  create(
    to: string,
    resourceType: ResourceType,
    content: PrimitiveContent,
    options: CallOptions = {},
  ): Promise<CseOutcome> {
    return this.request(
      { operation: Operation.create, to, resourceType, primitiveContent: content },
      options,
    );
  }

  /** RETRIEVE what is at `to` (TS-0001 10.1.3). */
  retrieve(to: string, options: CallOptions = {}): Promise<CseOutcome> {
    return this.request({ operation: Operation.retrieve, to }, options);
  }

  /** UPDATE with the attributes given; `null` removes one. */
  update(to: string, content: PrimitiveContent, options: CallOptions = {}): Promise<CseOutcome> {
    return this.request({ operation: Operation.update, to, primitiveContent: content }, options);
  }

  /** DELETE what is at `to` and all below it (TS-0001 10.1.5). */
  delete(to: string, options: CallOptions = {}): Promise<CseOutcome> {
    return this.request({ operation: Operation.delete, to }, options);
  }

  /** NOTIFY the entity at `to` (TS-0001 10.1.6). */
  notify(to: string, content: PrimitiveContent, options: CallOptions = {}): Promise<CseOutcome> {
    return this.request({ operation: Operation.notify, to, primitiveContent: content }, options);
  }

  /**
   * Discovery below `to` (TS-0001 10.2.6): the addresses of what matches, in the CSE's order. CSEs are known that count
   * what they look at against `limit` instead of what matches: there the limit is kept here.
   */
  async discover(
    to: string,
    criteria: DiscoveryCriteria,
    options: CallOptions = {},
  ): Promise<Result<string[], CseFailure>> {
    const { limit, ...unlimited } = criteria;
    const filterCriteria = this.#limitsAfterFilter ? criteria : unlimited;
    const outcome = await this.request(
      {
        operation: Operation.retrieve,
        to,
        filterCriteria: { ...filterCriteria, filterUsage: FilterUsage.discovery },
      },
      { resultContent: ResultContent.discoveryResultReferences, ...options },
    );
    if (!outcome.ok) return outcome;
    const list = outcome.value.primitiveContent?.uriList;
    if (!Array.isArray(list) || !list.every((uri) => typeof uri === 'string')) {
      return err({
        kind: 'malformed',
        message: `discovery below ${to} was answered without a list of addresses`,
      });
    }
    return ok(limit === undefined ? list : list.slice(0, limit));
  }

  /** Any request primitive; identifier, originator and release version are filled in. */
  async request(request: RequestCall, options: CallOptions = {}): Promise<CseOutcome> {
    const { resultContent, from, requestIdentifier, expires, ...sending } = options;
    const deadlineMs = options.deadlineMs ?? this.#deadlineMs;
    const primitive: RequestPrimitive = {
      ...((expires ?? isLeftToItself(request))
        ? { requestExpirationTimestamp: expirationWithin(deadlineMs) }
        : {}),
      ...request,
      from: from ?? this.originator,
      requestIdentifier: requestIdentifier ?? randomHex(this.#entropy, 6),
      releaseVersionIndicator: releaseVersion,
      ...(resultContent === undefined ? {} : { resultContent }),
    };
    const sent = await this.#binding.send(primitive, { ...sending, deadlineMs });
    if (!sent.ok) return sent;
    const response = sent.value;
    if (isSuccess(response.responseStatusCode)) return ok(response);
    return err(rejectionOf(primitive.to, response));
  }

  /** The same client by way of what `wrap` makes of its binding. */
  through(wrap: (binding: Binding) => Binding): CseClient {
    return new CseClient({
      originator: this.originator,
      binding: wrap(this.#binding),
      entropy: this.#entropy,
      deadlineMs: this.#deadlineMs,
      limitsAfterFilter: this.#limitsAfterFilter,
    });
  }

  close(): Promise<void> {
    return this.#binding.close();
  }
}

/** True when the CSE refused with exactly this code. */
export function isRejectedWith(failure: CseFailure, responseStatusCode: number): boolean {
  return failure.kind === 'rejected' && failure.responseStatusCode === responseStatusCode;
}

/** The content root `name` of a response, or `DecodeError` when the CSE sent something else. */
export function contentOf<Root extends keyof PrimitiveContent & string>(
  response: ResponsePrimitive,
  name: Root,
): NonNullable<PrimitiveContent[Root]> {
  const content = response.primitiveContent?.[name];
  if (typeof content !== 'object' || content === null) {
    throw new DecodeError(`the answer ${statusText(response.responseStatusCode)} carries no ${name}`);
  }
  return content;
}

/** A response that is no success as the refusal it is; `to` names in the message what was asked for. */
export function rejectionOf(to: string, response: ResponsePrimitive): Rejection {
  const debugInfo = response.primitiveContent?.debugInfo;
  const said = typeof debugInfo === 'string' ? `: ${debugInfo.slice(0, 200)}` : '';
  return {
    kind: 'rejected',
    responseStatusCode: response.responseStatusCode,
    ...(typeof debugInfo === 'string' ? { debugInfo } : {}),
    message: `${to} answered ${statusText(response.responseStatusCode)}${said}`,
  };
}

/** A request that goes on by way of another CSE, or for which nobody waits. */
function isLeftToItself({ to, responseType }: RequestCall): boolean {
  return to.startsWith('/') || (responseType !== undefined && responseType !== ResponseType.blockingRequest);
}

/**
 * The expiration of a request whose answer is awaited for `deadlineMs`: relative, in milliseconds as text (TS-0004 6.3.3),
 * since the clock of a CSE may be far from ours, and a tenth earlier, so that the refusal still arrives in time.
 */
export function expirationWithin(deadlineMs: Millis): string {
  return String(Math.max(1, Math.floor(0.9 * deadlineMs)));
}
