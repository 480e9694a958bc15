import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';

/**
 * Health of the way to the serving CSE, judged by the real traffic alone: response times against their own history and
 * requests without an answer. Radio levels predict the loss of service badly; this says that it is lost.
 */

/** What became of one request to the serving CSE. */
export type RequestOutcome =
  | { readonly kind: 'answered'; readonly sentMs: Millis; readonly responseMs: Millis }
  /** The caller's own deadline has passed, or the system refused the datagram. */
  | { readonly kind: 'unanswered'; readonly sentMs: Millis; readonly waitedMs: Millis };

/** Why the health is what it is; `noTraffic` until the first answer. */
export type ServicePathReason = 'noTraffic' | 'normal' | 'slow' | 'unanswered' | 'recovering';

/** Health as the decision takes it in. */
export interface ServicePathHealth {
  readonly state: 'good' | 'degraded' | 'lost';
  readonly reason: ServicePathReason;
  /** When this state began. */
  readonly sinceMs: Millis;
}

/** Thresholds of the tracker. */
export interface ServicePathPolicy {
  /** An answer is slow above this multiple of the baseline … */
  readonly slowFactor: number;
  /** … and at least this much above it, so that a fast path is not judged by its jitter. */
  readonly slowMarginMs: Millis;
  /** Bad outcomes in a row that change the state. One bad outcome is chance. */
  readonly inARow: number;
  /** Requests sent closer together than this share one fate and count once. */
  readonly spacingMs: Millis;
  /** Bounds of the deadline for one request, see `answerDeadlineMs`. */
  readonly deadlineMsMin: Millis;
  readonly deadlineMsMax: Millis;
}

/** Two unanswered requests in a row are noticed within 3 s, the time until the first of them is sent not counted. */
export const defaultServicePathPolicy: ServicePathPolicy = {
  slowFactor: 4,
  slowMarginMs: millis(100),
  inARow: 2,
  spacingMs: millis(100),
  deadlineMsMin: millis(400),
  deadlineMsMax: millis(1300),
};

/** What the tracker remembers; a plain value, fit for a recording. */
export interface ServicePathState {
  readonly health: ServicePathHealth;
  /** Usual response time; undefined before the first answer. */
  readonly baselineMs?: Millis;
  /** Unanswered requests in a row, and when the newest of those that count was sent. */
  readonly unanswered: number;
  readonly unansweredSentMs?: Millis;
  /** When the newest answered request was sent. */
  readonly answeredSentMs?: Millis;
  /** Slow answers in a row. */
  readonly slow: number;
  /** Normal answers in a row. */
  readonly normal: number;
  /** End of the newest request, whatever became of it. */
  readonly lastOutcomeMs?: Millis;
}

/** The state for a CSE to which nothing has been sent yet. */
export function createServicePath(nowMs: Millis): ServicePathState {
  return {
    health: { state: 'good', reason: 'noTraffic', sinceMs: nowMs },
    unanswered: 0,
    slow: 0,
    normal: 0,
  };
}

/** Weight of a new response time in the baseline: quick to follow what is normal, slow to get used to what is not. */
const normalWeight = 1 / 8;
const slowWeight = 1 / 64;

/** Takes the outcome of one request. Outcomes may come in any order of sending. */
export function advanceServicePath(
  state: ServicePathState,
  outcome: RequestOutcome,
  policy: ServicePathPolicy,
): ServicePathState {
  return outcome.kind === 'answered' ? answered(state, outcome, policy) : unanswered(state, outcome, policy);
}

/**
 * How long the caller should wait for an answer before it reports `unanswered`: a multiple of the usual response time
 * within bounds, the upper bound while nothing is known.
 */
export function answerDeadlineMs(state: ServicePathState, policy: ServicePathPolicy): Millis {
  if (state.baselineMs === undefined) return policy.deadlineMsMax;
  const wantedMs = 2 * slowAboveMs(state.baselineMs, policy);
  return millis(Math.min(policy.deadlineMsMax, Math.max(policy.deadlineMsMin, wantedMs)));
}

/**
 * Whether the path should be asked although there is nothing to send: at once while a request is unanswered and no answer
 * has come since, else when the traffic has been silent for `quietMs`.
 */
export function isProbeDue(state: ServicePathState, nowMs: Millis, quietMs: Millis): boolean {
  if (state.unanswered > 0) return true;
  return nowMs - (state.lastOutcomeMs ?? state.health.sinceMs) >= quietMs;
}

function answered(
  state: ServicePathState,
  outcome: RequestOutcome & { kind: 'answered' },
  policy: ServicePathPolicy,
): ServicePathState {
  const { responseMs } = outcome;
  const atMs = millis(outcome.sentMs + responseMs);
  const usualMs = state.baselineMs ?? responseMs;
  const isSlow = responseMs > slowAboveMs(usualMs, policy);
  const weight = isSlow ? slowWeight : normalWeight;
  const slow = isSlow ? state.slow + 1 : 0;
  const normal = isSlow ? 0 : state.normal + 1;
  const base = {
    baselineMs: millis(usualMs + weight * (responseMs - usualMs)),
    unanswered: 0,
    slow,
    normal,
    answeredSentMs: latest(state.answeredSentMs, outcome.sentMs),
    lastOutcomeMs: latest(state.lastOutcomeMs, atMs),
  };
  const next = (health: Omit<ServicePathHealth, 'sinceMs'>): ServicePathState => ({
    ...base,
    health: enter(state.health, health, atMs),
  });
  if (slow >= policy.inARow) return next({ state: 'degraded', reason: 'slow' });
  if (state.health.state === 'good') return next({ state: 'good', reason: 'normal' });
  // The first answer ends the loss; only a second one in a row is trusted.
  if (normal >= policy.inARow) return next({ state: 'good', reason: 'normal' });
  return next({ state: 'degraded', reason: 'recovering' });
}

function unanswered(
  state: ServicePathState,
  outcome: RequestOutcome & { kind: 'unanswered' },
  policy: ServicePathPolicy,
): ServicePathState {
  const atMs = millis(outcome.sentMs + outcome.waitedMs);
  const lastOutcomeMs = latest(state.lastOutcomeMs, atMs);
  // A request sent later was answered: this one was lost alone, and the row is broken.
  if (outcome.sentMs <= (state.answeredSentMs ?? Number.NEGATIVE_INFINITY))
    return { ...state, lastOutcomeMs };
  const previousMs = state.unanswered > 0 ? state.unansweredSentMs : undefined;
  if (previousMs !== undefined && Math.abs(outcome.sentMs - previousMs) < policy.spacingMs) {
    return { ...state, lastOutcomeMs };
  }
  const count = state.unanswered + 1;
  const lost = count >= policy.inARow;
  return {
    ...state,
    health: lost ? enter(state.health, { state: 'lost', reason: 'unanswered' }, atMs) : state.health,
    unanswered: count,
    unansweredSentMs: latest(previousMs, outcome.sentMs),
    normal: 0,
    lastOutcomeMs,
  };
}

function slowAboveMs(baselineMs: Millis, policy: ServicePathPolicy): number {
  return Math.max(baselineMs * policy.slowFactor, baselineMs + policy.slowMarginMs);
}

function enter(
  before: ServicePathHealth,
  next: Omit<ServicePathHealth, 'sinceMs'>,
  atMs: Millis,
): ServicePathHealth {
  return { ...next, sinceMs: before.state === next.state ? before.sinceMs : atMs };
}

function latest(a: Millis | undefined, b: Millis): Millis {
  return a === undefined ? b : millis(Math.max(a, b));
}
