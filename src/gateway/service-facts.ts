import type { Millis } from '../base/units.ts';
import type { HandoverProgress } from '../handover/runner.ts';
import { servingOf, transactionOf } from '../handover/handover-state.ts';
import type { HandoverState } from '../handover/handover-state.ts';
import type { Pilot } from './pilot.ts';
import type { StandbyStatus } from './status.ts';

/** What the status shows of a service. */
export interface ServiceFacts {
  readonly state: HandoverState;
  readonly progress: HandoverProgress;
  readonly servingSinceMs: Millis;
  readonly counts: { readonly completed: number; readonly rolledBack: number; readonly failed: number };
  readonly explanation: Pilot['explanation'];
  readonly servicePath: string;
  readonly responseMs: Millis | undefined;
  readonly standby: StandbyStatus | undefined;
}

/** Whether readings go through: a CSE serves, no handover is under way, and the path to it is good. */
export function isDelivering(facts: ServiceFacts | undefined): boolean {
  if (facts === undefined || servingOf(facts.state) === undefined) return false;
  return facts.servicePath === 'good' && transactionOf(facts.state) === undefined;
}
