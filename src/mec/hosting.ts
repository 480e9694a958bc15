import type { Candidate } from '../decision/candidate.ts';

/** The part of an `AppInstanceInfo` that tells whether an application runs (ETSI GS MEC 010-2). */
export interface AppInstanceStatus {
  readonly instantiationState: string;
  readonly operationalState?: string;
}

/**
 * What the application life-cycle API says about the MEC application of a CSE, in the words of a candidate. An instance
 * that exists without being instantiated and started is provisioned: its package is on board, it does not serve. Without
 * an instance, `undefined`, nothing is provisioned.
 */
export function hostingFromAppInstance(
  status: AppInstanceStatus | undefined,
): NonNullable<Candidate['hosting']> {
  if (status === undefined) return 'notProvisioned';
  const isServing = status.instantiationState === 'INSTANTIATED' && status.operationalState === 'STARTED';
  return isServing ? 'instantiated' : 'provisioned';
}
