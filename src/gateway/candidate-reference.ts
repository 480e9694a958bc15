import type { Candidate } from '../decision/candidate.ts';
import type { HandoverDecision } from '../decision/decision.ts';
import type { CseReference } from '../handover/handover-state.ts';

/** True unless its MEC host says that it does not run. */
export function isRunning({ hosting }: Candidate): boolean {
  return hosting === undefined || hosting === 'instantiated';
}

/**
 * Keeps of each candidate the points of access that this link can use: those of a protocol that it speaks and for which it has
 * what is needed, credentials for example. Their order, which is the candidate's own order of preference, stays; the first
 * that is left is used. For a candidate that loses all of them, `onObstacle` is told why.
 */
export function reachableBy(
  candidates: readonly Candidate[],
  obstacleTo: (pointOfAccess: string) => string | undefined,
  onObstacle: (cseId: Candidate['cseId'], reason: string) => void,
): Candidate[] {
  return candidates.map((candidate) => {
    const pointsOfAccess = candidate.pointsOfAccess.filter((poa) => obstacleTo(poa) === undefined);
    const [first] = candidate.pointsOfAccess;
    if (pointsOfAccess.length === 0) {
      onObstacle(
        candidate.cseId,
        first === undefined ? 'it has no point of access' : (obstacleTo(first) ?? ''),
      );
    }
    return { ...candidate, pointsOfAccess };
  });
}

/** The CSE behind a candidate of which `reachableBy` has left what can be used, by its first point of access. */
export function referenceOf(candidate: Candidate): CseReference | undefined {
  const [pointOfAccess] = candidate.pointsOfAccess;
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

/** The candidate that an order means, or why there is none; the best that runs when the order names none. */
export function chooseTarget(
  candidates: readonly Candidate[],
  serving: string | undefined,
  target: string | undefined,
): CseReference | string {
  const others = candidates.filter(({ cseId }) => cseId !== serving);
  const chosen = target === undefined ? others.find(isRunning) : others.find(({ cseId }) => cseId === target);
  const reference = chosen === undefined ? undefined : referenceOf(chosen);
  if (reference !== undefined) return reference;
  const known = others.map(({ cseId }) => cseId).join(', ');
  return `${target ?? 'no target'} is no candidate; known: ${known || 'none'}`;
}
