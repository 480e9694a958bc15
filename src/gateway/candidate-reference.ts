import type { Candidate } from '../decision/candidate.ts';
import type { HandoverDecision } from '../decision/decision.ts';
import type { CseReference } from '../handover/handover-state.ts';
import { parsePointOfAccess } from '../onem2m/address.ts';

/** True unless its MEC host says that it does not run. */
export function isRunning({ hosting }: Candidate): boolean {
  return hosting === undefined || hosting === 'instantiated';
}

/** The CSE behind a candidate, by its first point of access that is spoken here. */
export function referenceOf(candidate: Candidate): CseReference | undefined {
  const pointOfAccess = candidate.pointsOfAccess.find((poa) => parsePointOfAccess(poa)?.scheme === 'coap');
  if (pointOfAccess === undefined) return undefined;
  return { cseId: candidate.cseId, cseBaseName: candidate.cseBaseName, pointOfAccess };
}

/** A decision in one line. */
export function explainDecision(decision: HandoverDecision): string {
  const chosen = decision.explanation.candidates.find(({ verdict }) => verdict === 'chosen');
  const level = chosen?.levelDbm === undefined ? 'not measured' : `${chosen.levelDbm.toFixed(1)} dBm`;
  const margin = chosen?.marginDb === undefined ? '' : `, ${chosen.marginDb.toFixed(1)} dB beyond the offset`;
  return `${decision.trigger}: ${decision.target.cseId} at ${level}${margin}`;
}
