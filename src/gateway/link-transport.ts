import { err } from '../base/result.ts';
import type { PointOfAccess } from '../onem2m/address.ts';
import type { Binding } from '../onem2m/binding.ts';

/** A CSE and where it is reached; `CseReference` and the configured IN-CSE are such. */
export interface CseAddress {
  /** SP-relative CSE-ID, `/id-mn1`. */
  readonly cseId: string;
  readonly pointOfAccess: string;
}

/**
 * One way to speak to CSEs over an access link: `LinkAccess` holds one for each protocol and chooses by the scheme of the
 * CSE's point of access. What a transport opens leaves by the address of its link.
 */
export interface LinkTransport {
  readonly schemes: readonly PointOfAccess['scheme'][];
  /** Why a point of access of these schemes cannot be used from this link, credentials for example; undefined when it can. */
  obstacleTo(pointOfAccess: PointOfAccess): string | undefined;
  /**
   * A way to the CSE for one originator, to be used as long as the transport is open. Connections are opened when it is first
   * used and shared where that is possible. Never throws: what is wrong shows in each outcome.
   */
  bindingTo(cse: CseAddress, pointOfAccess: PointOfAccess, originator: string): Binding;
  /** What this CSE is told to notify. */
  ownPointOfAccess(pointOfAccess: PointOfAccess): string;
  /** The CSE is left for good: nothing that anybody keeps there for this gateway may be delivered to it later. */
  leave(cse: CseAddress, pointOfAccess: PointOfAccess): Promise<void>;
  close(): Promise<void>;
}

/** A binding by which nothing can be sent, for this reason. */
export function noWay(message: string): Binding {
  return {
    send: () => Promise.resolve(err({ kind: 'unreachable', message })),
    close: () => Promise.resolve(),
  };
}
