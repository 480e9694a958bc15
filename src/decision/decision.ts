import { millis } from '../base/units.ts';
import type { CseId, Millis } from '../base/units.ts';
import type { RadioSample } from '../radio/radio-sample.ts';
import type { Candidate, DiscoveredCandidate } from './candidate.ts';
import { coverageLevel, filterSample, newestLevelMs } from './cell-levels.ts';
import type { CellLevels, CoverageLevel } from './cell-levels.ts';
import { a3Event, checkDecisionPolicy } from './decision-policy.ts';
import type { DecisionPolicy } from './decision-policy.ts';
import { advanceEvent, eventMarginsDb, idleEvent, isEntering } from './events.ts';
import type { EventLevels, EventState } from './events.ts';
import { explainCandidate } from './explanation.ts';
import type { ExplainedInput, Explanation, JudgedCandidate, RejectionReason } from './explanation.ts';
import { penaltyEndMs } from './penalty.ts';
import type { Penalty } from './penalty.ts';
import type { ServicePathHealth } from './service-path.ts';

/**
 * Which MN-CSE should serve, from radio levels (event A3 of 3GPP TS 38.331 5.5.4.4), the health of the service path and
 * what discovery says of the candidates. Pure: recorded inputs, replayed in their order, give the same outcomes bit by bit.
 */

/** Everything that one decision looks at; plain JSON. */
export interface DecisionInput {
  readonly nowMs: Millis;
  /** The newest sample; one that was handed in before changes nothing. */
  readonly sample: RadioSample | undefined;
  /** The CSE that holds the registration, and since when; undefined before the first attachment. */
  readonly serving: { readonly cseId: CseId; readonly sinceMs: Millis } | undefined;
  /** All CSEs known, the serving one included: its coverage gives the serving level. */
  readonly candidates: readonly DiscoveredCandidate[];
  /** A handover is running: observe, decide nothing. */
  readonly busy: boolean;
  readonly penalties: readonly Penalty[];
  /** Health of the way to the serving CSE; `lost` asks for another CSE at once, whatever the radio says. */
  readonly servicePath: ServicePathHealth | undefined;
  /**
   * The CSE at which the bundle is prepared and proved ahead. After a loss it goes before better ones: until they are
   * prepared nobody delivers, and a better one can still be moved to afterwards.
   */
  readonly prepared?: CseId | undefined;
}

/** An order to move. */
export interface HandoverDecision {
  readonly target: Candidate;
  /** The next best, in order, for the case that the target refuses. */
  readonly alternatives: readonly Candidate[];
  readonly trigger: 'a3' | 'initial' | 'servingLost';
  readonly explanation: Explanation;
}

/** What is remembered from one decision to the next; plain JSON. */
export interface DecisionState {
  readonly levels: CellLevels;
  /** Time of the newest sample taken in. */
  readonly sampleMs?: Millis;
  /** Event A3 of the candidates for which it is not idle. */
  readonly events: readonly { readonly cseId: CseId; readonly event: EventState }[];
  readonly serving?: { readonly cseId: CseId; readonly sinceMs: Millis };
  /** CSEs left within the time of the ping-pong guard. */
  readonly left: readonly { readonly cseId: CseId; readonly atMs: Millis }[];
  /** Since when no CSE serves. */
  readonly unservedMs?: Millis;
}

/** A step of the decision. */
export interface DecisionStep {
  readonly state: DecisionState;
  readonly decision?: HandoverDecision;
  readonly explanation: Explanation;
}

/** The decision with its policy fixed. */
export interface Decision {
  readonly initial: DecisionState;
  /** Takes in what is new and says whether to move. Call it for every sample and whenever another input changes. */
  decide(state: DecisionState, input: DecisionInput): DecisionStep;
}

/** Builds the decision; throws `ConfigError` when the policy holds values that 3GPP does not know or that make no sense. */
export function createDecision(policy: DecisionPolicy): Decision {
  checkDecisionPolicy(policy);
  return {
    initial: { levels: {}, events: [], left: [] },
    decide: (state, input) => decide(policy, state, input),
  };
}

type Question = Explanation['question'];

/** What holds for all candidates of one decision. */
interface View {
  readonly policy: DecisionPolicy;
  readonly input: DecisionInput;
  readonly state: DecisionState;
  readonly question: Question;
  readonly servingLevel: Pick<CoverageLevel, 'levelDbm' | 'atMs'> | undefined;
  readonly candidates: readonly DiscoveredCandidate[];
}

function decide(policy: DecisionPolicy, before: DecisionState, input: DecisionInput): DecisionStep {
  const candidates = newestByCse(input.candidates);
  const observed = observe(policy, before, input);
  const servingLevel = levelOfServing(policy, observed, input, candidates);
  const question = questionOf(input);
  const isNewSample = observed.sampleMs !== before.sampleMs;
  const view = { policy, input, question, servingLevel, candidates, state: observed };
  const state = isNewSample || input.serving === undefined ? advanceEvents(view) : observed;

  const judged = candidates.map((entry) => judge({ ...view, state }, entry)).sort(byTotalOrder);
  const eligible = judged.filter(({ reasons }) => reasons.length === 0);
  const chosen = firstChoice(view, eligible);
  const ranked = chosen === undefined ? [] : [chosen, ...alternativesTo(chosen, judged, question)];
  const explanation = explain(view, judged, ranked);
  if (chosen === undefined) return { state, explanation };
  const alternatives = ranked.slice(1, policy.candidatesMax).map(({ entry }) => entry.candidate);
  const decision = { target: chosen.entry.candidate, alternatives, trigger: question, explanation };
  return { state, decision, explanation };
}

/** The best, or after a loss the one that is prepared, unless its coverage is gone while another's is heard. */
function firstChoice(
  { question, input }: View,
  eligible: readonly JudgedCandidate[],
): JudgedCandidate | undefined {
  const [best] = eligible;
  if (question !== 'servingLost') return best;
  const prepared = eligible.find(({ entry }) => entry.candidate.cseId === input.prepared);
  const isGone = prepared?.level === undefined && best?.level !== undefined;
  return prepared === undefined || isGone ? best : prepared;
}

function questionOf(input: DecisionInput): Question {
  if (input.serving === undefined) return 'initial';
  return input.servicePath?.state === 'lost' ? 'servingLost' : 'a3';
}

/** Filters the sample, notes which CSE serves and which one was left. */
function observe(policy: DecisionPolicy, before: DecisionState, input: DecisionInput): DecisionState {
  const { sample, serving, nowMs } = input;
  const isNew = sample !== undefined && (before.sampleMs === undefined || sample.atMs > before.sampleMs);
  const sampleMs = isNew ? sample.atMs : before.sampleMs;
  const moved = before.serving !== undefined && before.serving.cseId !== serving?.cseId;
  const departed =
    moved && before.serving !== undefined
      ? [{ cseId: before.serving.cseId, atMs: serving?.sinceMs ?? nowMs }]
      : [];
  const earlier = before.left.filter(
    ({ cseId, atMs }) =>
      nowMs - atMs < policy.pingPong.withinMs && departed.every((entry) => entry.cseId !== cseId),
  );
  const left = [...earlier, ...departed].slice(-leftMax);
  return {
    levels: isNew ? filterSample(before.levels, sample, policy.filter) : before.levels,
    ...(sampleMs === undefined ? {} : { sampleMs }),
    // Another serving CSE is another comparison: what was observed against the one before is void.
    events: serving?.cseId === before.serving?.cseId ? before.events : [],
    ...(serving === undefined ? { unservedMs: before.unservedMs ?? nowMs } : { serving }),
    left,
  };
}

/** Departures remembered at most (I8). */
const leftMax = 16;

/**
 * Level of the serving CSE. When none of its cells is heard although others are, it is out of range: the policy's floor.
 * Undefined when its coverage is unknown or no radio has been heard lately.
 */
function levelOfServing(
  policy: DecisionPolicy,
  state: DecisionState,
  input: DecisionInput,
  candidates: readonly DiscoveredCandidate[],
): View['servingLevel'] {
  const serving = candidates.find(({ candidate }) => candidate.cseId === input.serving?.cseId);
  if (serving === undefined || serving.candidate.coverage.length === 0) return undefined;
  const level = coverageLevel(state.levels, serving.candidate.coverage, input.nowMs, policy.levelMsMax);
  if (level !== undefined) return level;
  const newestMs = newestLevelMs(state.levels);
  if (newestMs === undefined || input.nowMs - newestMs > policy.levelMsMax) return undefined;
  return { levelDbm: policy.unheardDbm, atMs: newestMs };
}

/** Moves event A3 of each candidate by the sample that was just taken in. */
function advanceEvents(view: View): DecisionState {
  const { state, input, policy } = view;
  const events: { cseId: CseId; event: EventState }[] = [];
  if (input.serving === undefined || state.sampleMs === undefined) return { ...state, events };
  for (const { candidate } of view.candidates) {
    const { cseId } = candidate;
    if (cseId === input.serving.cseId) continue;
    const level = levelOf(view, candidate);
    const levels = eventLevels(view, level);
    const before = eventOf(state, cseId);
    if (level === undefined || levels === undefined) continue;
    // A level that this sample did not refresh is no second observation.
    const isFresh = level.heardMs === state.sampleMs;
    const event = a3Event(policy, circumstances(view, cseId));
    const next = isFresh ? advanceEvent(before, event, levels, state.sampleMs) : before;
    if (next.kind !== 'idle') events.push({ cseId, event: next });
  }
  return { ...state, events };
}

function judge(view: View, entry: DiscoveredCandidate): JudgedCandidate {
  const { policy, question } = view;
  const { candidate } = entry;
  const level = levelOf(view, candidate);
  const levels = eventLevels(view, level);
  const event = a3Event(policy, circumstances(view, candidate.cseId));
  const [marginDb] = levels === undefined ? [] : eventMarginsDb(event, levels);
  const basics = basicReasons(view, entry);
  const measured = question === 'a3' ? a3Reasons(view, entry, level) : measurementReasons(view, level);
  const busy: RejectionReason[] = view.input.busy ? ['handoverRunning'] : [];
  // Nothing more is to be said of the serving CSE: the rest compares a candidate with it.
  const reasons: RejectionReason[] =
    basics[0] === 'sameAsServing' ? basics : [...basics, ...measured, ...busy];
  return { entry, level, score: scoreOf(policy, level), marginDb, reasons };
}

/** What rules a candidate out whatever the radio says. */
function basicReasons(view: View, entry: DiscoveredCandidate): RejectionReason[] {
  const { policy, input, question } = view;
  const { candidate } = entry;
  if (candidate.cseId === input.serving?.cseId) return ['sameAsServing'];
  const reasons: RejectionReason[] = [];
  if (candidate.pointsOfAccess.length === 0) reasons.push('noPointOfAccess');
  if (candidate.hosting !== undefined && candidate.hosting !== 'instantiated')
    reasons.push('notInstantiated');
  const isStale = input.nowMs - entry.discoveredMs > policy.discoveryMsMax;
  if (isStale && question !== 'servingLost') reasons.push('discoveryStale');
  const penalty = input.penalties.find(({ cseId }) => cseId === candidate.cseId);
  if (penalty !== undefined && input.nowMs < penaltyEndMs(penalty, policy.penalty)) reasons.push('penalised');
  return reasons;
}

/** For the first attachment and for a lost CSE: a measurement is wanted, but not at any price. */
function measurementReasons(view: View, level: CoverageLevel | undefined): RejectionReason[] {
  if (level !== undefined || view.question === 'servingLost') return [];
  const waitedMs = view.input.nowMs - (view.state.unservedMs ?? view.input.nowMs);
  return waitedMs >= view.policy.unmeasuredAfterMs ? [] : ['noMeasurement'];
}

function a3Reasons(
  view: View,
  entry: DiscoveredCandidate,
  level: CoverageLevel | undefined,
): RejectionReason[] {
  const { policy, input, state } = view;
  const { cseId } = entry.candidate;
  const reasons: RejectionReason[] = [];
  const levels = eventLevels(view, level);
  const isReturning = circumstances(view, cseId).returning;
  const event = eventOf(state, cseId);
  const hasTriggered = event.kind === 'triggered' || event.kind === 'leaving';
  if (level === undefined) reasons.push('noMeasurement');
  else if (levels === undefined) reasons.push('servingUnknown');
  else if (!isBetter(view, cseId, levels)) reasons.push('notBetter');
  else if (!hasTriggered) reasons.push('timeToTrigger');
  if (isReturning && (policy.pingPong.guard === 'refuse' || reasons.includes('timeToTrigger'))) {
    reasons.push('pingPongGuard');
  }
  const stayMs = input.serving === undefined ? 0 : input.nowMs - input.serving.sinceMs;
  if (stayMs < policy.minimumStayMs) reasons.push('minimumStay');
  return reasons;
}

function eventOf(state: DecisionState, cseId: CseId): EventState {
  return state.events.find((entry) => entry.cseId === cseId)?.event ?? idleEvent;
}

/** A triggered event lasts until its leaving condition; a handover needs the advantage itself, now. */
function isBetter(view: View, cseId: CseId, levels: EventLevels): boolean {
  return isEntering(a3Event(view.policy, circumstances(view, cseId)), levels);
}

function circumstances(view: View, cseId: CseId): { degraded: boolean; returning: boolean } {
  return {
    degraded: view.input.servicePath?.state === 'degraded',
    returning: view.state.left.some((entry) => entry.cseId === cseId),
  };
}

function levelOf(view: View, candidate: Candidate): CoverageLevel | undefined {
  return coverageLevel(view.state.levels, candidate.coverage, view.input.nowMs, view.policy.levelMsMax);
}

function eventLevels(view: View, level: CoverageLevel | undefined): EventLevels | undefined {
  if (view.servingLevel === undefined || level === undefined) return undefined;
  return { servingDbm: view.servingLevel.levelDbm, neighbourDbm: level.levelDbm };
}

/** Utility over a fixed range: a candidate that comes or goes never changes the order of the others. */
function scoreOf(policy: DecisionPolicy, level: CoverageLevel | undefined): number {
  if (level === undefined) return 0;
  const utility = (level.levelDbm - policy.worstDbm) / (policy.bestDbm - policy.worstDbm);
  return Math.min(1, Math.max(0, utility));
}

/** Score, measured before not measured, then CSE-ID by code unit: total, whatever the order of the input. */
function byTotalOrder(a: JudgedCandidate, b: JudgedCandidate): number {
  if (a.score !== b.score) return b.score - a.score;
  if ((a.level === undefined) !== (b.level === undefined)) return a.level === undefined ? 1 : -1;
  return a.entry.candidate.cseId < b.entry.candidate.cseId ? -1 : 1;
}

/** For A3 also those that are better already but not yet for long enough: they are what is left if the target refuses. */
function alternativesTo(
  chosen: JudgedCandidate,
  judged: readonly JudgedCandidate[],
  question: Question,
): JudgedCandidate[] {
  const isSpare = ({ reasons }: JudgedCandidate): boolean =>
    reasons.length === 0 || (question === 'a3' && reasons.every((reason) => reason === 'timeToTrigger'));
  return judged.filter((entry) => entry !== chosen && isSpare(entry));
}

/** One entry per CSE-ID: the newest; of equally new ones the one whose text comes first, so that order does not matter. */
function newestByCse(candidates: readonly DiscoveredCandidate[]): DiscoveredCandidate[] {
  const byCse = new Map<CseId, DiscoveredCandidate>();
  for (const entry of candidates) {
    const other = byCse.get(entry.candidate.cseId);
    const isNewer =
      other === undefined ||
      entry.discoveredMs > other.discoveredMs ||
      (entry.discoveredMs === other.discoveredMs && JSON.stringify(entry) < JSON.stringify(other));
    if (isNewer) byCse.set(entry.candidate.cseId, entry);
  }
  return [...byCse.values()];
}

function explain(
  view: View,
  judged: readonly JudgedCandidate[],
  ranked: readonly JudgedCandidate[],
): Explanation {
  const { input, policy, question } = view;
  const rankOf = (entry: JudgedCandidate): number | undefined => {
    const index = ranked.indexOf(entry);
    return index < 0 ? undefined : index;
  };
  const circumstances = { nowMs: input.nowMs, candidatesMax: policy.candidatesMax };
  return {
    atMs: input.nowMs,
    outcome: ranked.length > 0 ? 'handover' : 'stay',
    question,
    ...(input.servicePath === undefined ? {} : { servicePath: input.servicePath }),
    inputs: explainedInputs(view),
    candidates: judged.map((entry) => explainCandidate(entry, rankOf(entry), circumstances)),
  };
}

function explainedInputs(view: View): ExplainedInput[] {
  const { input, state, servingLevel } = view;
  const age = (atMs: Millis): Millis => millis(input.nowMs - atMs);
  const inputs: ExplainedInput[] = [];
  if (input.serving !== undefined) {
    const { cseId, sinceMs } = input.serving;
    inputs.push({ name: 'serving', value: cseId, unit: 'cseId', ageMs: age(sinceMs) });
  }
  if (servingLevel !== undefined) {
    const { levelDbm, atMs } = servingLevel;
    inputs.push({ name: 'servingLevel', value: levelDbm, unit: 'dBm', ageMs: age(atMs) });
  }
  if (state.sampleMs !== undefined) {
    const cells = Object.keys(state.levels).length;
    inputs.push({ name: 'cellsHeard', value: cells, unit: 'count', ageMs: age(state.sampleMs) });
  }
  if (input.servicePath !== undefined) {
    const { state: health, sinceMs } = input.servicePath;
    inputs.push({ name: 'servicePath', value: health, unit: 'state', ageMs: age(sinceMs) });
  }
  if (input.prepared !== undefined && view.question === 'servingLost') {
    inputs.push({ name: 'prepared', value: input.prepared, unit: 'cseId' });
  }
  return inputs;
}
