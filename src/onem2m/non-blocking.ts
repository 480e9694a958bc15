/**
 * Non-blocking requests (TS-0001 8.2.2): the CSE takes a request and answers later. Synchronous: the answer is fetched from
 * a request resource. Asynchronous: it is notified. How the wish travels differs by binding and CSE (`rt` on the method of
 * the operation, or POST with `op`, TS-0008 6.2): that is the binding's matter.
 */
import { errorText } from '../base/errors.ts';
import { err, ok } from '../base/result.ts';
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import { sleep } from '../host/clock.ts';
import type { CancelTimer, Clock } from '../host/clock.ts';
import { randomHex } from '../host/entropy.ts';
import type { Entropy } from '../host/entropy.ts';
import { isRejectedWith, rejectionOf } from './cse-client.ts';
import type { CallOptions, CseClient, CseOutcome, RequestCall } from './cse-client.ts';
import { Operation, RequestStatus, ResponseStatusCode, ResponseType, isSuccess } from './enums.ts';
import type { RequestPrimitive, ResponsePrimitive } from './primitives.ts';
import { nestedResponse } from './serialisation.ts';

/** One deadline for the request and its result. */
export type NonBlockingOptions = CallOptions & { readonly deadlineMs: Millis };

const lookMs = { first: millis(100), most: millis(2_000) };
const pendingMax = 256;

/**
 * Sends a request without blocking and fetches the result until it is there or the deadline passes. A CSE that answers with
 * the result at once is taken at its word.
 */
export async function requestSynch(
  client: CseClient,
  clock: Clock,
  call: RequestCall,
  options: NonBlockingOptions,
): Promise<CseOutcome> {
  const endMs = clock.monotonicMs() + options.deadlineMs;
  const left = (): NonBlockingOptions => ({
    ...withoutIdentifier(options),
    deadlineMs: millis(Math.max(1, endMs - clock.monotonicMs())),
  });
  const lasting = { resultExpirationTimestamp: String(Math.ceil(options.deadlineMs)) };
  const request = { ...lasting, ...call, responseType: ResponseType.nonBlockingRequestSynch };
  const accepted = await client.request(request, options);
  if (!accepted.ok || !isAccepted(accepted.value)) return accepted;
  const reference = accepted.value.primitiveContent?.uri;
  if (typeof reference !== 'string') {
    return err({ kind: 'malformed', message: `${call.to} was accepted without the address of its result` });
  }
  for (let waitMs = lookMs.first; ; waitMs = millis(Math.min(lookMs.most, 2 * waitMs))) {
    if (clock.monotonicMs() + waitMs >= endMs) {
      return err({ kind: 'deadline', message: `${call.to} has no result after ${options.deadlineMs} ms` });
    }
    const isCancelled = await sleep(clock, waitMs, options.signal).then(
      () => false,
      () => true,
    );
    if (isCancelled)
      return err({ kind: 'cancelled', message: `waiting for the result of ${call.to} was cancelled` });
    const { resultContent: _, ...look } = left();
    const read = await client.retrieve(reference, { ...look, expires: false });
    if (!read.ok) {
      if (read.error.kind === 'rejected' || read.error.kind === 'closed') return read;
      continue;
    }
    const result = resultIn(call.to, read.value);
    if (result !== undefined) return result;
  }
}

/** The result in a request resource, undefined while there is none. */
function resultIn(to: string, read: ResponsePrimitive): CseOutcome | undefined {
  const { requestStatus, operationResult } = read.primitiveContent?.request ?? {};
  const isOver =
    requestStatus === RequestStatus.completed ||
    requestStatus === RequestStatus.failed ||
    requestStatus === RequestStatus.partiallyCompleted;
  if (operationResult === undefined || operationResult === null) {
    if (!isOver) return undefined;
    return err({ kind: 'malformed', message: `${to} is over (rs ${requestStatus}) and has no result` });
  }
  try {
    return outcomeOf(to, nestedResponse(operationResult));
  } catch (error) {
    return err({ kind: 'malformed', message: `result of ${to}: ${errorText(error)}` });
  }
}

interface Pending {
  readonly to: string;
  settle(outcome: CseOutcome): void;
}

/**
 * Sends requests whose results come by notification. `take` belongs in front of whatever handles incoming requests. At most
 * 256 results are awaited at once.
 */
export class NonBlockingResults {
  readonly #clock: Clock;
  readonly #entropy: Entropy;
  readonly #pending = new Map<string, Pending>();

  constructor(options: { clock: Clock; entropy: Entropy }) {
    this.#clock = options.clock;
    this.#entropy = options.entropy;
  }

  /** Sends a request; its result is notified to `notificationUris`, by default to the originator itself. */
  async request(client: CseClient, call: RequestCall, options: NonBlockingOptions): Promise<CseOutcome> {
    if (this.#pending.size >= pendingMax) {
      return err({ kind: 'busy', message: `${pendingMax} results are awaited already` });
    }
    const requestIdentifier = options.requestIdentifier ?? randomHex(this.#entropy, 6);
    let cancel: CancelTimer = () => undefined;
    const onAbort = (): void =>
      this.#settle(requestIdentifier, err({ kind: 'cancelled', message: 'cancelled' }));
    const awaited = new Promise<CseOutcome>((settle) => {
      this.#pending.set(requestIdentifier, { to: call.to, settle });
      cancel = this.#clock.schedule(options.deadlineMs, () => {
        const message = `${call.to} has no result after ${options.deadlineMs} ms`;
        this.#settle(requestIdentifier, err({ kind: 'deadline', message }));
      });
      options.signal?.addEventListener('abort', onAbort, { once: true });
    });
    const notificationUris = call.notificationUris ?? [options.from ?? client.originator];
    const request = { ...call, notificationUris, responseType: ResponseType.nonBlockingRequestAsynch };
    const accepted = await client.request(request, { ...options, requestIdentifier });
    // An acceptance that was lost is no failure as long as the result may come.
    const isOpen = accepted.ok ? isAccepted(accepted.value) : accepted.error.kind === 'deadline';
    if (!isOpen) this.#settle(requestIdentifier, accepted);
    const outcome = await awaited;
    cancel();
    options.signal?.removeEventListener('abort', onAbort);
    return outcome;
  }

  /** The answer to a notified result; undefined for any other request. A result that nobody waits for is answered too. */
  take(request: RequestPrimitive): ResponsePrimitive | undefined {
    const nested = request.primitiveContent?.responsePrimitive;
    if (request.operation !== Operation.notify || nested === undefined) return undefined;
    const answer = (responseStatusCode: number): ResponsePrimitive => ({
      responseStatusCode,
      requestIdentifier: request.requestIdentifier,
    });
    try {
      const response = nestedResponse(nested);
      const pending = this.#pending.get(response.requestIdentifier);
      if (pending !== undefined) this.#settle(response.requestIdentifier, outcomeOf(pending.to, response));
      return answer(ResponseStatusCode.ok);
    } catch {
      return answer(ResponseStatusCode.badRequest);
    }
  }

  #settle(requestIdentifier: string, outcome: CseOutcome): void {
    const pending = this.#pending.get(requestIdentifier);
    this.#pending.delete(requestIdentifier);
    pending?.settle(outcome);
  }
}

function isAccepted({ responseStatusCode }: ResponsePrimitive): boolean {
  return (
    responseStatusCode === ResponseStatusCode.accepted ||
    responseStatusCode === ResponseStatusCode.acceptedNonBlockingSynch ||
    responseStatusCode === ResponseStatusCode.acceptedNonBlockingAsynch
  );
}

/** True when a CSE says that it does not do what was asked for without blocking; ask again and wait. */
export function isNonBlockingRefused(outcome: CseOutcome): boolean {
  if (outcome.ok) return false;
  const { notImplemented, nonBlockingSynchRequestNotSupported } = ResponseStatusCode;
  return (
    isRejectedWith(outcome.error, notImplemented) ||
    isRejectedWith(outcome.error, nonBlockingSynchRequestNotSupported)
  );
}

function outcomeOf(to: string, response: ResponsePrimitive): CseOutcome {
  return isSuccess(response.responseStatusCode) ? ok(response) : err(rejectionOf(to, response));
}

function withoutIdentifier({ requestIdentifier: _, ...rest }: NonBlockingOptions): NonBlockingOptions {
  return rest;
}
