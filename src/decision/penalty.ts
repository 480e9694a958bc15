import { millis } from '../base/units.ts';
import type { CseId, Millis } from '../base/units.ts';

/** What is remembered of failed handovers to one CSE. */
export interface Penalty {
  readonly cseId: CseId;
  /** Failures that still count, at least 1. */
  readonly failures: number;
  readonly lastFailureMs: Millis;
}

/** How long a failed target is left alone. */
export interface PenaltyPolicy {
  /** After the first failure; doubled by each further one. */
  readonly firstMs: Millis;
  readonly longestMs: Millis;
  /** Half of the failures are forgotten after each such time without a new one. */
  readonly decayMs: Millis;
}

/** CSEs remembered at most; the one that failed longest ago goes first (I8). */
const penaltiesMax = 64;

/** Adds one failed handover to `cseId`. */
export function addFailure(
  penalties: readonly Penalty[],
  cseId: CseId,
  nowMs: Millis,
  policy: PenaltyPolicy,
): readonly Penalty[] {
  const before = penalties.find((penalty) => penalty.cseId === cseId);
  const failures = (before === undefined ? 0 : failuresLeft(before, nowMs, policy)) + 1;
  const others = penalties.filter((penalty) => penalty.cseId !== cseId);
  return [...others, { cseId, failures, lastFailureMs: nowMs }].slice(-penaltiesMax);
}

/** Forgets the failures of a CSE to which a handover has succeeded. */
export function clearFailures(penalties: readonly Penalty[], cseId: CseId): readonly Penalty[] {
  return penalties.filter((penalty) => penalty.cseId !== cseId);
}

/** Until when the CSE is not chosen. */
export function penaltyEndMs(penalty: Penalty, policy: PenaltyPolicy): Millis {
  const lengthMs = policy.firstMs * 2 ** (Math.max(1, penalty.failures) - 1);
  return millis(penalty.lastFailureMs + Math.min(policy.longestMs, lengthMs));
}

/** Failures that still count at `nowMs`. */
export function failuresLeft(penalty: Penalty, nowMs: Millis, policy: PenaltyPolicy): number {
  const halvings = Math.floor(Math.max(0, nowMs - penalty.lastFailureMs) / policy.decayMs);
  return Math.floor(penalty.failures * 2 ** -halvings);
}
