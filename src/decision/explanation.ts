import { millis } from '../base/units.ts';
import type { CseId, Dbm, Millis } from '../base/units.ts';
import type { DiscoveredCandidate } from './candidate.ts';
import type { CoverageLevel } from './cell-levels.ts';
import type { ServicePathHealth } from './service-path.ts';

/** Why a candidate was not chosen. */
export type RejectionReason =
  /** It is the serving CSE. */
  | 'sameAsServing'
  /** Discovery gave no point of access for it. */
  | 'noPointOfAccess'
  /** Its MEC application is not running. */
  | 'notInstantiated'
  /** What is known of it is older than the policy accepts. */
  | 'discoveryStale'
  /** A handover to it failed lately. */
  | 'penalised'
  /** None of its cells was heard within the accepted age. */
  | 'noMeasurement'
  /** The level of the serving CSE is not known, so that nothing can be compared. */
  | 'servingUnknown'
  /** Not better than the serving CSE by offset and hysteresis. */
  | 'notBetter'
  /** Better, but not yet for the time to trigger. */
  | 'timeToTrigger'
  /** It was left a moment ago and the way back is barred or slowed. */
  | 'pingPongGuard'
  /** The stay at the serving CSE is too short yet. */
  | 'minimumStay'
  /** A handover is running. */
  | 'handoverRunning'
  /** Ranked, but behind as many as a decision carries. */
  | 'beyondNBest';

/** One value that the decision was based on. */
export interface ExplainedInput {
  readonly name: string;
  readonly value: number | string;
  readonly unit: 'dBm' | 'ms' | 'state' | 'cseId' | 'count';
  /** Age of the value at the time of the decision, for values that age. */
  readonly ageMs?: Millis;
}

/** One candidate as it was seen, scored and judged. */
export interface ExplainedCandidate {
  readonly cseId: CseId;
  /** 0 (worst) to 1 (best) over the fixed range of the policy; 0 without a measurement. */
  readonly score: number;
  readonly levelDbm?: Dbm;
  readonly levelAgeMs?: Millis;
  /** The cell that gave the level, `arfcn/pci`. */
  readonly cell?: string;
  /** dB by which A3 holds, before hysteresis. */
  readonly marginDb?: number;
  readonly discoveryAgeMs: Millis;
  readonly verdict: 'chosen' | 'alternative' | 'rejected';
  /** Why it is not the chosen one, the most basic reason first; empty when it only scored lower. */
  readonly reasons: readonly RejectionReason[];
}

/** Why a decision came out as it did: plain JSON, every candidate exactly once, the total order from best to worst. */
export interface Explanation {
  readonly atMs: Millis;
  readonly outcome: 'handover' | 'stay';
  /** What was looked for: a better CSE, a first one, or a replacement for one that no longer answers. */
  readonly question: 'a3' | 'initial' | 'servingLost';
  readonly servicePath?: ServicePathHealth;
  readonly inputs: readonly ExplainedInput[];
  readonly candidates: readonly ExplainedCandidate[];
}

/** One candidate as the decision judged it; `reasons` speak against it. */
export interface JudgedCandidate {
  readonly entry: DiscoveredCandidate;
  readonly level: CoverageLevel | undefined;
  readonly score: number;
  readonly marginDb: number | undefined;
  readonly reasons: readonly RejectionReason[];
}

/** Puts the judgement of one candidate into words; `rank` is its place among those that could be chosen, from 0. */
export function explainCandidate(
  judged: JudgedCandidate,
  rank: number | undefined,
  circumstances: { readonly nowMs: Millis; readonly candidatesMax: number },
): ExplainedCandidate {
  const { entry, level, score, marginDb, reasons } = judged;
  const { nowMs, candidatesMax } = circumstances;
  const isBeyond = rank !== undefined && rank >= candidatesMax;
  return {
    cseId: entry.candidate.cseId,
    score,
    ...(level === undefined
      ? {}
      : { levelDbm: level.levelDbm, levelAgeMs: millis(nowMs - level.atMs), cell: level.cell }),
    ...(marginDb === undefined ? {} : { marginDb }),
    discoveryAgeMs: millis(nowMs - entry.discoveredMs),
    verdict: rank === undefined || isBeyond ? 'rejected' : rank === 0 ? 'chosen' : 'alternative',
    reasons: isBeyond ? [...reasons, 'beyondNBest'] : reasons,
  };
}
