/**
 * Health of the path over one link to one peer, the CSE that is served or a candidate. It is judged by the real traffic first:
 * answers against the usual response time, requests without an answer, retransmissions (the share of requests that needed
 * one is the loss), and how long one has been waited for that is still open. Probes (`probe-plan.ts`) are evidence like any
 * other request, and are sent only where traffic says nothing.
 *
 * `decision/service-path.ts` judges the CSE by answers alone, whatever the link; its outcomes are the first two kinds of
 * evidence here, told by the same caller. This one stands below it and tells one path from another.
 *
 * Everything is relative to what is usual on this path. Evidence grows old: what was seen before `staleMs` says nothing, and
 * the path is `unknown`, not good. A path that has only sent for long is half open; one that answers from somebody else (a
 * captive portal) is `captive` whatever its speed. Pure: the caller reads the clock and counts the octets.
 */
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';

/** How the path is. `unknown` is no reproach: nothing has been asked for a while. */
export type PathState = 'unknown' | 'good' | 'degraded' | 'lost' | 'captive';

/** Why it is so. */
export type PathReason =
  | 'noEvidence'
  | 'stale'
  | 'normal'
  | 'slow'
  | 'lossy'
  | 'overdue'
  | 'unanswered'
  | 'refused'
  | 'halfOpen'
  | 'portal'
  | 'recovering';

/** One thing that was learned of the path. */
export type PathEvidence =
  /** A request, or a probe, was answered. */
  | {
      readonly kind: 'answered';
      readonly sentMs: Millis;
      readonly responseMs: Millis;
      /** Times it was sent again before the answer came; 0 for none. */
      readonly retransmissions?: number;
    }
  /** A request was sent again: the first one, or its answer, may be lost. Told when it happens. */
  | { readonly kind: 'retransmitted'; readonly sentMs: Millis; readonly atMs: Millis }
  /** Nobody waits any longer. */
  | { readonly kind: 'unanswered'; readonly sentMs: Millis; readonly waitedMs: Millis }
  /** The system did not take it: EHOSTUNREACH, ENETUNREACH, EADDRNOTAVAIL … */
  | { readonly kind: 'refused'; readonly atMs: Millis }
  /** Something came from the peer unasked: a notification, a keep-alive. */
  | { readonly kind: 'heard'; readonly atMs: Millis }
  /** Somebody else answered in the peer's place: a redirect, a foreign certificate, a name that leads to a local address. */
  | { readonly kind: 'portal'; readonly atMs: Millis };

/** Thresholds. */
export interface PathHealthPolicy {
  /** An answer is slow above this multiple of the usual response time … */
  readonly slowFactor: number;
  /** … and at least this much above it. */
  readonly slowMarginMs: Millis;
  /** What a request that is still open is waited for before the path is in doubt: the same, with these bounds. */
  readonly overdueMsMin: Millis;
  readonly overdueMsMax: Millis;
  /** Bad outcomes in a row that change the state. */
  readonly inARow: number;
  /** Requests sent closer together than this share one fate. */
  readonly spacingMs: Millis;
  /** Requests over which loss is counted, the newest ones … */
  readonly lossWindow: number;
  /** … none of them older than this. */
  readonly lossMs: Millis;
  /** Share of requests that needed a retransmission, or failed, at which the path is degraded, and below which it recovers. */
  readonly lossyAt: number;
  readonly recoveredAt: number;
  /** Lossy requests at least, so that a single one after a silence is not taken for a share. */
  readonly lossyMin: number;
  /** Evidence older than this says nothing. */
  readonly staleMs: Millis;
  /** Sent for so long without hearing anything at all. */
  readonly halfOpenMs: Millis;
}

/** Values for paths with round trips between 10 ms and 2 s and some ten requests in a second at most. */
export const defaultPathHealthPolicy: PathHealthPolicy = {
  slowFactor: 4,
  slowMarginMs: millis(100),
  overdueMsMin: millis(120),
  overdueMsMax: millis(3000),
  inARow: 2,
  spacingMs: millis(50),
  lossWindow: 20,
  lossMs: millis(5000),
  lossyAt: 0.15,
  recoveredAt: 0.05,
  lossyMin: 3,
  staleMs: millis(90_000),
  halfOpenMs: millis(10_000),
};

/** Health as the choice of links takes it in. */
export interface PathHealth {
  readonly state: PathState;
  readonly reason: PathReason;
  readonly sinceMs: Millis;
}

/** What is remembered of a path; a plain value, fit for a recording. */
export interface PathHealthState {
  readonly health: PathHealth;
  /** Usual response time; undefined before the first answer. */
  readonly baselineMs?: Millis;
  /** Mean deviation from it. */
  readonly deviationMs?: Millis;
  /** Newest time at which the peer was heard, whatever it said. */
  readonly heardMs?: Millis;
  /** End of the newest outcome, whatever became of it. */
  readonly evidenceMs?: Millis;
  /** Time at which the newest answered request was sent. */
  readonly answeredSentMs?: Millis;
  readonly unanswered: number;
  readonly unansweredSentMs?: Millis;
  readonly slow: number;
  readonly normal: number;
  /** The newest requests, oldest first: whether each came through at the first attempt. */
  readonly recent: readonly { readonly sentMs: Millis; readonly isClean: boolean }[];
}

/** A path of which nothing is known. */
export function createPathHealth(nowMs: Millis): PathHealthState {
  return {
    health: { state: 'unknown', reason: 'noEvidence', sinceMs: nowMs },
    unanswered: 0,
    slow: 0,
    normal: 0,
    recent: [],
  };
}

/** Weight of a response time in the baseline: quick to follow what is normal, slow to get used to what is not. */
const normalWeight = 1 / 8;
const slowWeight = 1 / 64;
const deviationWeight = 1 / 4;

/** Takes in what was learned. Evidence may come in any order of sending; what is older than newer news changes no state. */
export function advancePathHealth(
  state: PathHealthState,
  evidence: PathEvidence,
  policy: PathHealthPolicy,
): PathHealthState {
  switch (evidence.kind) {
    case 'answered':
      return takeAnswer(state, evidence, policy);
    case 'retransmitted':
      return takeLoss(state, evidence.sentMs, evidence.atMs, policy);
    case 'unanswered':
      return takeSilence(state, evidence, policy);
    case 'refused':
      return {
        ...withEvidence(state, evidence.atMs),
        health: enter(state.health, 'lost', 'refused', evidence.atMs),
        normal: 0,
      };
    case 'heard':
      return heard(state, evidence.atMs);
    case 'portal':
      return {
        ...withEvidence(state, evidence.atMs),
        health: enter(state.health, 'captive', 'portal', evidence.atMs),
        normal: 0,
      };
  }
}

/**
 * The health at this moment: time alone makes it worse. `oldestOpenMs` is when the oldest request was sent that still waits
 * for its answer, undefined when none does.
 */
export function pathHealthAt(
  state: PathHealthState,
  nowMs: Millis,
  oldestOpenMs: Millis | undefined,
  policy: PathHealthPolicy,
): PathHealth {
  const { health } = state;
  const lastMs = latest(state.evidenceMs, state.heardMs);
  const isFresh = lastMs !== undefined && nowMs - lastMs <= policy.staleMs;
  if (health.state === 'lost' || health.state === 'captive') {
    // Bad news stay until better ones come: a path is not taken up again because nobody looks.
    return health;
  }
  if (oldestOpenMs !== undefined) {
    const openMs = nowMs - oldestOpenMs;
    const isHeardSince = state.heardMs !== undefined && state.heardMs >= oldestOpenMs;
    if (!isHeardSince && openMs >= policy.halfOpenMs) {
      return { state: 'lost', reason: 'halfOpen', sinceMs: millis(oldestOpenMs + policy.halfOpenMs) };
    }
    const limitMs = overdueAfterMs(state, policy);
    if (!isHeardSince && openMs >= limitMs) {
      return { state: 'degraded', reason: 'overdue', sinceMs: millis(oldestOpenMs + limitMs) };
    }
  }
  if (lastMs === undefined) return health;
  if (!isFresh) return { state: 'unknown', reason: 'stale', sinceMs: millis(lastMs + policy.staleMs) };
  return health;
}

/**
 * How long an open request is normal: the usual response time with its deviation and margin, within bounds; the upper bound
 * while nothing is known. After that the path is in doubt, and a probe, also over another link, is worth its octets.
 */
export function overdueAfterMs(state: PathHealthState, policy: PathHealthPolicy): Millis {
  if (state.baselineMs === undefined) return policy.overdueMsMax;
  const wantedMs = state.baselineMs + 4 * (state.deviationMs ?? 0) + policy.slowMarginMs / 2;
  return millis(Math.min(policy.overdueMsMax, Math.max(policy.overdueMsMin, wantedMs)));
}

/** Share of the newest requests that did not come through at the first attempt; 0 without any. */
export function lossShare(state: PathHealthState, nowMs: Millis, policy: PathHealthPolicy): number {
  const counted = state.recent.filter(({ sentMs }) => nowMs - sentMs <= policy.lossMs);
  return counted.length === 0 ? 0 : counted.filter(({ isClean }) => !isClean).length / counted.length;
}

function takeAnswer(
  state: PathHealthState,
  evidence: PathEvidence & { kind: 'answered' },
  policy: PathHealthPolicy,
): PathHealthState {
  const { sentMs, responseMs, retransmissions = 0 } = evidence;
  const atMs = millis(sentMs + responseMs);
  const isClean = retransmissions === 0;
  const usualMs = state.baselineMs ?? responseMs;
  // Which of the copies was answered is not known (RFC 6298 3): a repeated request says nothing of the speed.
  const isSlow = isClean && responseMs > Math.max(usualMs * policy.slowFactor, usualMs + policy.slowMarginMs);
  const weight = !isClean ? 0 : isSlow ? slowWeight : normalWeight;
  const offMs = Math.abs(responseMs - usualMs);
  const deviationMs = state.deviationMs ?? responseMs / 2;
  const isNews =
    atMs >= (state.evidenceMs ?? Number.NEGATIVE_INFINITY) || sentMs > (state.unansweredSentMs ?? 0);
  const next: PathHealthState = {
    ...heard(remember(state, sentMs, isClean, policy), atMs),
    ...(isClean || state.baselineMs !== undefined
      ? { baselineMs: millis(usualMs + weight * (responseMs - usualMs)) }
      : {}),
    ...(isClean && !isSlow
      ? { deviationMs: millis(deviationMs + deviationWeight * (offMs - deviationMs)) }
      : {}),
    evidenceMs: latest(state.evidenceMs, atMs) ?? atMs,
    answeredSentMs: latest(state.answeredSentMs, sentMs) ?? sentMs,
    unanswered: 0,
    slow: isSlow ? state.slow + 1 : 0,
    normal: isSlow || !isClean ? 0 : state.normal + 1,
  };
  if (!isNews) return { ...next, health: state.health };
  return { ...next, health: healthAfterAnswer(state.health, next, atMs, policy) };
}

function healthAfterAnswer(
  before: PathHealth,
  next: PathHealthState,
  atMs: Millis,
  policy: PathHealthPolicy,
): PathHealth {
  if (isLossy(before, next, atMs, policy)) return enter(before, 'degraded', 'lossy', atMs);
  if (next.slow >= policy.inARow) return enter(before, 'degraded', 'slow', atMs);
  if (before.state === 'good' || before.state === 'unknown') return enter(before, 'good', 'normal', atMs);
  // The first answer ends the loss; only a second one in a row is trusted.
  if (next.normal >= policy.inARow) return enter(before, 'good', 'normal', atMs);
  return before.state === 'degraded' ? before : enter(before, 'degraded', 'recovering', atMs);
}

function isLossy(before: PathHealth, next: PathHealthState, atMs: Millis, policy: PathHealthPolicy): boolean {
  const share = lossShare(next, atMs, policy);
  if (before.reason === 'lossy') return share > policy.recoveredAt;
  const lossy = next.recent.filter(
    ({ sentMs, isClean }) => !isClean && atMs - sentMs <= policy.lossMs,
  ).length;
  return share >= policy.lossyAt && lossy >= policy.lossyMin;
}

function takeLoss(
  state: PathHealthState,
  sentMs: Millis,
  atMs: Millis,
  policy: PathHealthPolicy,
): PathHealthState {
  const next = remember(state, sentMs, false, policy);
  if (state.health.state !== 'good' && state.health.state !== 'unknown') return next;
  const lossy = isLossy(state.health, next, atMs, policy);
  return lossy ? { ...next, health: enter(state.health, 'degraded', 'lossy', atMs) } : next;
}

function takeSilence(
  state: PathHealthState,
  evidence: PathEvidence & { kind: 'unanswered' },
  policy: PathHealthPolicy,
): PathHealthState {
  const { sentMs, waitedMs } = evidence;
  const atMs = millis(sentMs + waitedMs);
  const seen = withEvidence(remember(state, sentMs, false, policy), atMs);
  // A request sent later was answered: this one was lost alone, and the row is broken.
  if (sentMs <= (state.answeredSentMs ?? Number.NEGATIVE_INFINITY)) {
    const lossy = state.health.state === 'good' && isLossy(state.health, seen, atMs, policy);
    return lossy ? { ...seen, health: enter(state.health, 'degraded', 'lossy', atMs) } : seen;
  }
  const previousMs = state.unanswered > 0 ? state.unansweredSentMs : undefined;
  if (previousMs !== undefined && Math.abs(sentMs - previousMs) < policy.spacingMs) return seen;
  const count = state.unanswered + 1;
  const isLost = count >= policy.inARow;
  const isKept = state.health.state === 'captive' || !isLost;
  return {
    ...seen,
    health: isKept ? state.health : enter(state.health, 'lost', 'unanswered', atMs),
    unanswered: count,
    unansweredSentMs: latest(previousMs, sentMs) ?? sentMs,
    normal: 0,
  };
}

function remember(
  state: PathHealthState,
  sentMs: Millis,
  isClean: boolean,
  policy: PathHealthPolicy,
): PathHealthState {
  const others = state.recent.filter((entry) => entry.sentMs !== sentMs);
  const known = state.recent.find((entry) => entry.sentMs === sentMs);
  const entry = { sentMs, isClean: isClean && (known?.isClean ?? true) };
  const recent = [...others, entry].sort((a, b) => a.sentMs - b.sentMs).slice(-policy.lossWindow);
  return { ...state, recent };
}

function heard(state: PathHealthState, atMs: Millis): PathHealthState {
  return { ...state, heardMs: latest(state.heardMs, atMs) ?? atMs };
}

function withEvidence(state: PathHealthState, atMs: Millis): PathHealthState {
  return { ...state, evidenceMs: latest(state.evidenceMs, atMs) ?? atMs };
}

function enter(before: PathHealth, state: PathState, reason: PathReason, atMs: Millis): PathHealth {
  return { state, reason, sinceMs: before.state === state ? before.sinceMs : atMs };
}

function latest(a: Millis | undefined, b: Millis | undefined): Millis | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return millis(Math.max(a, b));
}
