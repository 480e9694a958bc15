import type { Result } from '../base/result.ts';
import type { Millis } from '../base/units.ts';
import type { RequestPrimitive, ResponsePrimitive } from './primitives.ts';

/** Why a request got no response primitive. Whether the receiver executed it is not known. */
export interface DeliveryError {
  /**
   * `deadline`: no answer in time. `unreachable`: the system refused to send (link or route gone). `reset`: the peer's
   * message layer rejected the exchange. `malformed`: an answer came that is no oneM2M response. `cancelled`: withdrawn
   * by the caller. `closed`: the binding was closed. `busy`: too many exchanges are open, here or, as it says, at the peer.
   */
  readonly kind: 'deadline' | 'unreachable' | 'reset' | 'malformed' | 'cancelled' | 'closed' | 'busy';
  readonly message: string;
  /** It never left, so that nobody can have executed it. */
  readonly isUnsent?: true;
}

/** How long a request may take and who may withdraw it. */
export interface SendOptions {
  /** Time from now until `deadline` is returned. */
  readonly deadlineMs: Millis;
  readonly signal?: AbortSignal;
  /** Where requests wait for their turn: so long at most, and the deadline counts from its end. It covers both when absent. */
  readonly turnMs?: Millis;
  /** Name under which it takes turns with others where requests wait; those without a name go before all others. */
  readonly queue?: string;
  /** The request, having waited for its turn, leaves now. */
  readonly onSent?: () => void;
  /** The message layer sends it once more, because there is no sign of the peer. */
  readonly onRepeated?: () => void;
}

/** A protocol binding (TS-0008 CoAP, TS-0010 MQTT) to one CSE. Never throws for what a network can do. */
export interface Binding {
  send(request: RequestPrimitive, options: SendOptions): Promise<Result<ResponsePrimitive, DeliveryError>>;
  close(): Promise<void>;
}

/** Where an incoming request came from and what answers it. */
export type RequestHandler = (request: RequestPrimitive) => Promise<ResponsePrimitive>;
