import type { CseId, Millis } from '../base/units.ts';
import type { Candidate, DiscoveredCandidate } from '../decision/candidate.ts';
import { createDecision } from '../decision/decision.ts';
import type { Decision, DecisionInput, DecisionState, HandoverDecision } from '../decision/decision.ts';
import type { DecisionPolicy } from '../decision/decision-policy.ts';
import type { Explanation, RejectionReason } from '../decision/explanation.ts';
import { addFailure, clearFailures } from '../decision/penalty.ts';
import type { Penalty } from '../decision/penalty.ts';
import { advanceServicePath, createServicePath, defaultServicePathPolicy } from '../decision/service-path.ts';
import type { RequestOutcome, ServicePathState } from '../decision/service-path.ts';
import type { Clock } from '../host/clock.ts';
import type { RadioSample } from '../radio/radio-sample.ts';

/** Reasons that speak against a candidate whatever serves; the others compare it with what serves now. */
const unfit: readonly RejectionReason[] = [
  'sameAsServing',
  'noPointOfAccess',
  'notInstantiated',
  'discoveryStale',
  'penalised',
];

/** What the pilot sees of the transaction when it decides. */
export interface PilotView {
  readonly serving: CseId | undefined;
  readonly isBusy: boolean;
  /** The CSE of a standby that is warm. */
  readonly prepared: CseId | undefined;
}

/**
 * Keeps what the decision looks at (samples, candidates, health of the service path, penalties), asks it at every change,
 * and hands what it decides to the transaction.
 */
export class Pilot {
  readonly #clock: Clock;
  readonly #policy: DecisionPolicy;
  readonly #decision: Decision;
  readonly #view: () => PilotView;
  readonly #onDecision: (decision: HandoverDecision) => void;
  readonly #onStep: (input: DecisionInput, explanation: Explanation) => void;
  #state: DecisionState;
  #sample: RadioSample | undefined;
  #candidates: readonly DiscoveredCandidate[] = [];
  #penalties: readonly Penalty[] = [];
  #servicePath: ServicePathState;
  #serving: { cseId: CseId; sinceMs: Millis } | undefined;
  #explanation: Explanation | undefined;
  #verdict: string | undefined;

  constructor(options: {
    clock: Clock;
    policy: DecisionPolicy;
    view: () => PilotView;
    onDecision: (decision: HandoverDecision) => void;
    /** A step that judges otherwise than the one before, with its inputs, for the flight log: all steps would wear the card. */
    onStep: (input: DecisionInput, explanation: Explanation) => void;
  }) {
    this.#clock = options.clock;
    this.#policy = options.policy;
    this.#decision = createDecision(options.policy);
    this.#view = options.view;
    this.#onDecision = options.onDecision;
    this.#onStep = options.onStep;
    this.#state = this.#decision.initial;
    this.#servicePath = createServicePath(options.clock.monotonicMs());
  }

  get candidates(): readonly Candidate[] {
    return this.#candidates.map(({ candidate }) => candidate);
  }

  /** The best candidate but the serving one that could take over at once, by the last step. */
  get bestAlternative(): Candidate | undefined {
    const fit = this.#explanation?.candidates.find(
      ({ reasons }) => !reasons.some((each) => unfit.includes(each)),
    );
    return this.candidates.find(({ cseId }) => cseId === fit?.cseId);
  }

  /** Why the last step came out as it did. */
  get explanation(): Explanation | undefined {
    return this.#explanation;
  }

  get servicePath(): ServicePathState {
    return this.#servicePath;
  }

  takeSample(sample: RadioSample): void {
    this.#sample = sample;
    this.decide();
  }

  takeCandidates(candidates: readonly Candidate[]): void {
    const discoveredMs = this.#clock.monotonicMs();
    this.#candidates = candidates.map((candidate) => ({ candidate, discoveredMs }));
    this.decide();
  }

  /** One exchange with a CSE; only those with the serving one say something about the service path. */
  takeExchange(cseId: CseId, outcome: RequestOutcome): void {
    if (cseId !== this.#serving?.cseId) return;
    const before = this.#servicePath.health.state;
    this.#servicePath = advanceServicePath(this.#servicePath, outcome, defaultServicePathPolicy);
    if (this.#servicePath.health.state !== before) this.decide();
  }

  /** A handover to `cseId` came to its end. */
  takeOutcome(cseId: CseId, succeeded: boolean): void {
    const nowMs = this.#clock.monotonicMs();
    this.#penalties = succeeded
      ? clearFailures(this.#penalties, cseId)
      : addFailure(this.#penalties, cseId, nowMs, this.#policy.penalty);
  }

  /** Asks the decision with what is known now. */
  decide(): void {
    const { serving, isBusy, prepared } = this.#view();
    const nowMs = this.#clock.monotonicMs();
    if (serving !== this.#serving?.cseId) {
      this.#serving = serving === undefined ? undefined : { cseId: serving, sinceMs: nowMs };
      this.#servicePath = createServicePath(nowMs);
    }
    const input: DecisionInput = {
      nowMs,
      sample: this.#sample,
      serving: this.#serving,
      candidates: this.#candidates,
      busy: isBusy,
      penalties: this.#penalties,
      servicePath: this.#servicePath.health,
      ...(prepared === undefined ? {} : { prepared }),
    };
    const { state, decision, explanation } = this.#decision.decide(this.#state, input);
    this.#state = state;
    this.#explanation = explanation;
    const verdict = JSON.stringify([
      explanation.question,
      explanation.candidates.map(({ cseId, verdict, reasons }) => [cseId, verdict, reasons]),
    ]);
    if (verdict !== this.#verdict) this.#onStep(input, explanation);
    this.#verdict = verdict;
    if (decision !== undefined && !isBusy) this.#onDecision(decision);
  }
}
