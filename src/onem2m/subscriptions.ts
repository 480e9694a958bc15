import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { aeIdStem } from './address.ts';
import { isRejectedWith } from './cse-client.ts';
import type { CallOptions, CseClient, CseFailure } from './cse-client.ts';
import { Operation, ResourceType, ResponseStatusCode } from './enums.ts';
import type { RequestPrimitive, ResponsePrimitive } from './primitives.ts';
import type { Subscription } from './resources.ts';

/** A subscription that was made. */
export interface MadeSubscription {
  /** Its address below the subscribed resource where a name was given, else its resource ID. */
  readonly address: string;
  readonly resourceId?: string;
  /** A verification request came for it and was answered; not asked for when the target is the originator itself. */
  readonly isVerified: boolean;
}

/** The CSE could not verify a notification target (5204, TS-0001 10.2.10.3): there is no subscription. */
export interface UnverifiedTarget {
  readonly kind: 'unverified';
  /**
   * Whether the verification request came here. If it did, the way down works and our answer was lost or refused; if it did
   * not, the CSE does not reach the target: choose another binding, or poll.
   */
  readonly wasAsked: boolean;
  readonly message: string;
  readonly debugInfo?: string;
}

/** Everything but a subscription. */
export type SubscriptionFailure = CseFailure | UnverifiedTarget;

interface Pending {
  readonly stem: string;
  wasAsked: boolean;
}

/**
 * Makes subscriptions and answers the verification requests that come for them (TS-0001 10.2.10.3, TS-0004 7.5.1.2.3).
 * `answer` belongs in front of whatever handles incoming requests. A verification that nobody here waits for is refused,
 * so that no stranger can direct notifications to this entity.
 */
export class SubscriptionVerifier {
  readonly #pending = new Set<Pending>();

  /** The answer to a verification request; undefined for any other request. */
  answer(request: RequestPrimitive): ResponsePrimitive | undefined {
    const notification = request.primitiveContent?.notification;
    if (request.operation !== Operation.notify || notification?.verificationRequest !== true)
      return undefined;
    const { creator } = notification;
    const answer = (responseStatusCode: number): ResponsePrimitive => ({
      responseStatusCode,
      requestIdentifier: request.requestIdentifier,
    });
    for (const pending of this.#pending) {
      // A CSE may leave the creator out.
      if (typeof creator === 'string' && aeIdStem(creator) !== pending.stem) continue;
      pending.wasAsked = true;
      return answer(ResponseStatusCode.ok);
    }
    return answer(ResponseStatusCode.subscriptionCreatorHasNoPrivilege);
  }

  /** CREATE of a subscription below `to`; a target other than the originator is verified while the CREATE is under way. */
  async subscribe(
    client: CseClient,
    to: string,
    subscription: Subscription,
    options: CallOptions = {},
  ): Promise<Result<MadeSubscription, SubscriptionFailure>> {
    const pending: Pending = { stem: aeIdStem(options.from ?? client.originator), wasAsked: false };
    this.#pending.add(pending);
    try {
      const made = await client.create(to, ResourceType.subscription, { subscription }, options);
      if (!made.ok) return err(failureOf(made.error, pending.wasAsked));
      const { resourceName } = subscription;
      const resourceId = made.value.primitiveContent?.subscription?.resourceId;
      const address = resourceName === undefined ? resourceId : `${to}/${resourceName}`;
      if (address === undefined) {
        const message = `the subscription below ${to} was made without a name and its ID was not told`;
        return err({ kind: 'malformed', message });
      }
      return ok({
        address,
        ...(resourceId === undefined ? {} : { resourceId }),
        isVerified: pending.wasAsked,
      });
    } finally {
      this.#pending.delete(pending);
    }
  }
}

function failureOf(failure: CseFailure, wasAsked: boolean): SubscriptionFailure {
  if (!isRejectedWith(failure, ResponseStatusCode.subscriptionVerificationInitiationFailed)) return failure;
  const said = failure.kind === 'rejected' ? failure.debugInfo : undefined;
  const why = wasAsked
    ? 'the verification request came, but the CSE did not take our answer'
    : 'the CSE does not reach the notification target';
  return {
    kind: 'unverified',
    wasAsked,
    message: `${why}: ${failure.message}`,
    ...(said === undefined ? {} : { debugInfo: said }),
  };
}
