import { DecodeError } from '../base/errors.ts';
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import type { Millis } from '../base/units.ts';
import { randomHex } from '../host/entropy.ts';
import type { Entropy } from '../host/entropy.ts';
import type { Binding, DeliveryError, SendOptions } from './binding.ts';
import { FilterUsage, Operation, ResultContent, isSuccess, statusText } from './enums.ts';
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
}

/**
 * Mca requests of one originator to one CSE (TS-0001 10.1, 10.2). `to` is CSE-relative (`cse-mn1/gw1/data`), SP-relative
 * (`/id-mn1/…`) or a resource ID. Nothing here throws for what a network or a CSE can do: outcomes are values.
 */
export class CseClient {
  readonly originator: string;
  readonly #binding: Binding;
  readonly #entropy: Entropy;
  readonly #deadlineMs: Millis;

  constructor(options: { binding: Binding; originator: string; entropy: Entropy; deadlineMs: Millis }) {
    this.originator = options.originator;
    this.#binding = options.binding;
    this.#entropy = options.entropy;
    this.#deadlineMs = options.deadlineMs;
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

  retrieve(to: string, options: CallOptions = {}): Promise<CseOutcome> {
    return this.request({ operation: Operation.retrieve, to }, options);
  }

  /** UPDATE with the attributes given; `null` removes one. */
  update(to: string, content: PrimitiveContent, options: CallOptions = {}): Promise<CseOutcome> {
    return this.request({ operation: Operation.update, to, primitiveContent: content }, options);
  }

  delete(to: string, options: CallOptions = {}): Promise<CseOutcome> {
    return this.request({ operation: Operation.delete, to }, options);
  }

  notify(to: string, content: PrimitiveContent, options: CallOptions = {}): Promise<CseOutcome> {
    return this.request({ operation: Operation.notify, to, primitiveContent: content }, options);
  }

  /** Discovery below `to` (TS-0001 10.2.6): the addresses of what matches, in the CSE's order. */
  async discover(
    to: string,
    filterCriteria: FilterCriteria,
    options: CallOptions = {},
  ): Promise<Result<string[], CseFailure>> {
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
    return ok(list);
  }

  /** Any request primitive; identifier, originator and release version are filled in. */
  async request(
    request: Omit<RequestPrimitive, 'requestIdentifier' | 'from'>,
    options: CallOptions = {},
  ): Promise<CseOutcome> {
    const { resultContent, from, deadlineMs, ...sending } = options;
    const primitive: RequestPrimitive = {
      ...request,
      from: from ?? this.originator,
      requestIdentifier: randomHex(this.#entropy, 6),
      releaseVersionIndicator: releaseVersion,
      ...(resultContent === undefined ? {} : { resultContent }),
    };
    const sent = await this.#binding.send(primitive, {
      ...sending,
      deadlineMs: deadlineMs ?? this.#deadlineMs,
    });
    if (!sent.ok) return sent;
    const response = sent.value;
    if (isSuccess(response.responseStatusCode)) return ok(response);
    return err(rejection(primitive, response));
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

function rejection(request: RequestPrimitive, response: ResponsePrimitive): Rejection {
  const debugInfo = response.primitiveContent?.debugInfo;
  const said = typeof debugInfo === 'string' ? `: ${debugInfo.slice(0, 200)}` : '';
  return {
    kind: 'rejected',
    responseStatusCode: response.responseStatusCode,
    ...(typeof debugInfo === 'string' ? { debugInfo } : {}),
    message: `${request.to} answered ${statusText(response.responseStatusCode)}${said}`,
  };
}
