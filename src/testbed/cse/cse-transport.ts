import type { Result } from '../../base/result.ts';
import type { DeliveryError, SendOptions } from '../../onem2m/binding.ts';
import type { RequestPrimitive, ResponsePrimitive, Serialisation } from '../../onem2m/primitives.ts';

/** What a transport knows of a request beside its primitive. */
export interface RequestOrigin {
  /** How the request's body was written; answers and relayed requests follow it. */
  readonly serialisation: Serialisation;
  /** How the answer is wanted, when the requester said so (CoAP Accept). */
  readonly accept?: Serialisation;
}

/** A CSE seen from a transport. `undefined` means: stay silent (scripted misbehaviour). */
export type CseRequestHandler = (
  request: RequestPrimitive,
  origin: RequestOrigin,
) => Promise<ResponsePrimitive | undefined>;

/** A protocol binding of a testbed CSE: receives requests for it and sends its requests and notifications. */
export interface CseTransport {
  /** Starts receiving; resolves to the point of access under which the CSE is reached. */
  listen(handler: CseRequestHandler): Promise<string>;
  /** True when this transport can reach such a point of access. */
  canReach(pointOfAccess: string): boolean;
  /** Sends a request to a point of access and waits for its answer. */
  send(
    pointOfAccess: string,
    request: RequestPrimitive,
    options: SendOptions & {
      serialisation: Serialisation;
      /** ID of the entity behind the point of access, `/id-mn1` or `Sgw1`: an MQTT topic is made of it. */
      receiver?: string;
    },
  ): Promise<Result<ResponsePrimitive, DeliveryError>>;
  /** Stops receiving and drops what is under way, as a crashed process would. */
  close(): Promise<void>;
}
