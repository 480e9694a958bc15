import type { CseId, Millis } from '../base/units.ts';

/** A cell whose users a CSE is meant to serve, by what a modem reports of it. */
export interface CoverageCell {
  readonly arfcn: number;
  readonly pci: number;
}

/** An MN-CSE to which the gateway's AEs could move, as discovery at the IN-CSE describes it. */
export interface Candidate {
  readonly cseId: CseId;
  /** Resource name of its CSEBase. */
  readonly cseBaseName: string;
  /** Points of access in the order of preference, for example `coap://192.0.2.1:5683`. */
  readonly pointsOfAccess: readonly string[];
  readonly coverage: readonly CoverageCell[];
  /** Life cycle of the MEC application that hosts it; undefined for a CSE outside MEC. */
  readonly hosting?: 'instantiated' | 'provisioned' | 'notProvisioned';
}

/** A candidate with the time at which discovery described it. */
export interface DiscoveredCandidate {
  readonly candidate: Candidate;
  readonly discoveredMs: Millis;
}
