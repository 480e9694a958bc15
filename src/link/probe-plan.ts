/**
 * When a path is probed. Traffic makes probes needless; where there is none, the path that serves, and those that could, are
 * asked once in a long while, and quickly only while something is in doubt. All of it comes out of one allowance of octets for
 * each link: a bucket that fills at a steady rate. It starts full and holds `burstBytes`, so in no period of 24 hours,
 * wherever it begins, does a link spend more than `dayBytes`. Pure.
 */
import { bytes, millis } from '../base/units.ts';
import type { Bytes, Millis } from '../base/units.ts';

/** How often and how much. */
export interface ProbePolicy {
  /** Octets of probes and their answers in any 24 hours, IP headers included. */
  readonly dayBytes: Bytes;
  /** Part of it that may be spent at once. */
  readonly burstBytes: Bytes;
  /** Pause between probes of a path that is quiet and well. */
  readonly quietMs: Millis;
  /** Pause between probes of a path that is in doubt, or that may be needed at once because another one is. */
  readonly doubtMs: Millis;
  /** The same for a path that was lost, doubled by each probe without an answer up to `quietMs`. */
  readonly lostMs: Millis;
}

/** A CoAP ping and its answer are 64 octets over IPv4; one in 40 s is 138 kB in a day, which leaves the rest for doubt. */
export const defaultProbePolicy: ProbePolicy = {
  dayBytes: bytes(200_000),
  burstBytes: bytes(20_000),
  quietMs: millis(40_000),
  doubtMs: millis(250),
  lostMs: millis(1000),
};

/** What is remembered of the probes over one link. */
export interface ProbeState {
  /** Octets that may be spent, as of `atMs`. */
  readonly allowanceBytes: number;
  readonly atMs: Millis;
  readonly lastMs?: Millis;
  /** Probes in a row that were not answered. */
  readonly unanswered: number;
  /** Octets spent so far. */
  readonly spentBytes: number;
}

/** Why a path might be probed. */
export interface ProbeNeed {
  /** `doubt` also stands for a candidate while the serving path is in doubt. */
  readonly urgency: 'quiet' | 'doubt' | 'lost';
  /** Newest evidence of any kind. */
  readonly evidenceMs: Millis | undefined;
}

const dayMs = 86_400_000;

/** The allowance of a link that has not spent anything. */
export function createProbeState(nowMs: Millis, policy: ProbePolicy): ProbeState {
  return { allowanceBytes: policy.burstBytes, atMs: nowMs, unanswered: 0, spentBytes: 0 };
}

/** When the next probe of `probeBytes` (with its answer) is to be sent; at or before `nowMs` means at once. */
export function probeDueMs(
  state: ProbeState,
  need: ProbeNeed,
  probeBytes: Bytes,
  nowMs: Millis,
  policy: ProbePolicy,
): Millis {
  const pauseMs = pauseOf(state, need, policy);
  const newestMs = Math.max(state.lastMs ?? Number.NEGATIVE_INFINITY, evidenceThatCounts(need));
  const wantedMs = Number.isFinite(newestMs) ? newestMs + pauseMs : nowMs;
  const missing = probeBytes - allowanceAt(state, nowMs, policy);
  const affordableMs = missing <= 0 ? nowMs : nowMs + missing / ratePerMs(policy);
  return millis(Math.max(wantedMs, affordableMs));
}

/** A probe of this size was sent. */
export function takeProbeSent(
  state: ProbeState,
  probeBytes: Bytes,
  nowMs: Millis,
  policy: ProbePolicy,
): ProbeState {
  return {
    allowanceBytes: allowanceAt(state, nowMs, policy) - probeBytes,
    atMs: nowMs,
    lastMs: nowMs,
    unanswered: state.unanswered + 1,
    spentBytes: state.spentBytes + probeBytes,
  };
}

/** A probe was answered. */
export function takeProbeAnswered(state: ProbeState): ProbeState {
  return { ...state, unanswered: 0 };
}

function pauseOf(state: ProbeState, { urgency }: ProbeNeed, policy: ProbePolicy): number {
  switch (urgency) {
    case 'quiet':
      return policy.quietMs;
    case 'doubt':
      return policy.doubtMs;
    case 'lost':
      return Math.min(policy.quietMs, policy.lostMs * 2 ** Math.min(20, state.unanswered));
  }
}

/** What was heard puts a probe off only where nothing is in doubt. */
function evidenceThatCounts({ urgency, evidenceMs }: ProbeNeed): number {
  return urgency === 'quiet' && evidenceMs !== undefined ? evidenceMs : Number.NEGATIVE_INFINITY;
}

function ratePerMs(policy: ProbePolicy): number {
  return (policy.dayBytes - policy.burstBytes) / dayMs;
}

function allowanceAt(state: ProbeState, nowMs: Millis, policy: ProbePolicy): number {
  const filled = state.allowanceBytes + Math.max(0, nowMs - state.atMs) * ratePerMs(policy);
  return Math.min(policy.burstBytes, filled);
}
