// Proves: the decision moves to a better CSE after offset, hysteresis and time to trigger, never inside the minimum stay
// and not straight back; takes a first CSE and leaves a lost one whatever the radio says; explains every candidate exactly
// once with a reason for each refusal; does not depend on the order of its input; and is replayed bit by bit.
import fc from 'fast-check';
import t from 'tap';
import { cseId, db, dbm, millis } from '../../src/base/units.ts';
import type { CseId, Dbm, Millis } from '../../src/base/units.ts';
import type { Candidate, DiscoveredCandidate } from '../../src/decision/candidate.ts';
import { filterSample } from '../../src/decision/cell-levels.ts';
import type { CellLevels } from '../../src/decision/cell-levels.ts';
import { createDecision } from '../../src/decision/decision.ts';
import type { DecisionInput, DecisionState, DecisionStep } from '../../src/decision/decision.ts';
import { checkDecisionPolicy, defaultDecisionPolicy } from '../../src/decision/decision-policy.ts';
import type { DecisionPolicy } from '../../src/decision/decision-policy.ts';
import type { ServicePathHealth } from '../../src/decision/service-path.ts';
import type { CellMeasurement, RadioSample } from '../../src/radio/radio-sample.ts';

const mn1 = cseId('/id-mn1');
const mn2 = cseId('/id-mn2');
const mn3 = cseId('/id-mn3');
const arfcn = 6300;

function candidate(id: CseId, pcis: readonly number[], more: Partial<Candidate> = {}): Candidate {
  return {
    cseId: id,
    cseBaseName: `cse-${id.slice(1)}`,
    pointsOfAccess: ['coap://127.0.0.1:5683'],
    coverage: pcis.map((pci) => ({ arfcn, pci })),
    ...more,
  };
}

const three = [candidate(mn1, [1]), candidate(mn2, [2]), candidate(mn3, [3])];
const discovered = (candidates: readonly Candidate[], discoveredMs = 0): DiscoveredCandidate[] =>
  candidates.map((entry) => ({ candidate: entry, discoveredMs: millis(discoveredMs) }));

/** A sample with the given RSRP by physical cell identity; the first one serves. */
function sample(atMs: number, levels: Readonly<Record<number, number>>): RadioSample {
  const cells = Object.entries(levels).map(([pci, level], index): CellMeasurement => {
    const rsrpDbm = { value: dbm(level), raw: String(level) };
    return { rat: 'lte', serving: index === 0, identity: { arfcn, pci: Number(pci) }, rsrpDbm };
  });
  return { source: 'modem0', atMs: millis(atMs), cells };
}

const quick: DecisionPolicy = {
  ...defaultDecisionPolicy,
  filter: { coefficient: 0, gapMsMax: millis(10_000) },
};

function input(atMs: number, more: Partial<DecisionInput> = {}): DecisionInput {
  return {
    nowMs: millis(atMs),
    sample: undefined,
    serving: { cseId: mn1, sinceMs: millis(-60_000) },
    candidates: discovered(three),
    busy: false,
    penalties: [],
    servicePath: undefined,
    ...more,
  };
}

/** Runs inputs through one decision, from its initial state. */
function run(policy: DecisionPolicy, inputs: readonly DecisionInput[]): DecisionStep[] {
  const decision = createDecision(policy);
  const steps: DecisionStep[] = [];
  let state: DecisionState = decision.initial;
  for (const next of inputs) {
    const result = decision.decide(state, next);
    state = result.state;
    steps.push(result);
  }
  return steps;
}

const last = (steps: readonly DecisionStep[]): DecisionStep => {
  const step = steps.at(-1);
  if (step === undefined) throw new Error('no step');
  return step;
};
const reasonsOf = (step: DecisionStep, id: CseId): readonly string[] | undefined =>
  step.explanation.candidates.find((entry) => entry.cseId === id)?.reasons;

/** Serving at -100 dBm, the second CSE at `level`, sampled each second. */
const approach = (
  seconds: readonly number[],
  level = -90,
  more: Partial<DecisionInput> = {},
): DecisionInput[] =>
  seconds.map((second) =>
    input(second * 1000, { sample: sample(second * 1000, { 1: -100, 2: level }), ...more }),
  );

const lost: ServicePathHealth = { state: 'lost', reason: 'unanswered', sinceMs: millis(900) };

await t.test('A3 fires after offset, hysteresis and time to trigger', async (t) => {
  const steps = run(quick, approach([0, 1, 2]));
  t.same(
    steps.map((step) => step.decision?.target.cseId),
    [undefined, undefined, mn2],
    '1024 ms take the third sample at 1 s',
  );
  t.same(reasonsOf(steps[0]!, mn2), ['timeToTrigger']);
  t.equal(last(steps).decision?.trigger, 'a3');
  t.equal(last(steps).explanation.outcome, 'handover');
  const fast = { ...quick, a3: { ...quick.a3, timeToTriggerMs: millis(640) } };
  t.same(
    run(fast, approach([0, 1])).map((step) => step.decision?.target.cseId),
    [undefined, mn2],
    '640 ms are over with the second sample',
  );
  t.same(
    reasonsOf(last(run(quick, approach([0, 1, 2, 3], -96))), mn2),
    ['notBetter'],
    '4 dB are not above 3 + 1',
  );
  t.same(
    run(quick, approach([0, 0.5, 0.5, 0.5])).map((step) => step.decision),
    [undefined, undefined, undefined, undefined],
    'one sample handed in twice is one sample',
  );
});

await t.test('what was observed against one serving CSE is void against the next', async (t) => {
  const levels = { 1: -100, 2: -95, 3: -90 };
  const at = (second: number, serving: CseId, sinceMs: number): DecisionInput =>
    input(second * 1000, {
      serving: { cseId: serving, sinceMs: millis(sinceMs) },
      sample: sample(second * 1000, levels),
    });
  const policy = { ...quick, minimumStayMs: millis(0) };
  const steps = run(policy, [
    at(0, mn1, -60_000),
    at(1, mn1, -60_000),
    at(2, mn2, 1500),
    at(3, mn2, 1500),
    at(4, mn2, 1500),
  ]);
  t.same(
    steps.map((step) => step.decision?.target.cseId),
    [undefined, undefined, undefined, undefined, mn3],
  );
});

await t.test('a degraded way to the serving CSE makes a smaller advantage enough', async (t) => {
  const degraded: ServicePathHealth = { state: 'degraded', reason: 'slow', sinceMs: millis(0) };
  t.equal(last(run(quick, approach([0, 1, 2], -98))).decision, undefined);
  const step = last(run(quick, approach([0, 1, 2], -98, { servicePath: degraded })));
  t.match(step.decision, { target: { cseId: mn2 }, trigger: 'a3' });
});

await t.test('each circumstance has its reason', async (t) => {
  const weaker = candidate(mn2, [2]);
  const stay = millis(2000 - quick.minimumStayMs + 1);
  const failure = { cseId: mn2, failures: 1, lastFailureMs: millis(0) };
  const rows: [string, DecisionInput[], readonly string[]][] = [
    ['no point of access', approach([0, 1, 2], -90, with2({ pointsOfAccess: [] })), ['noPointOfAccess']],
    ['provisioned only', approach([0, 1, 2], -90, with2({ hosting: 'provisioned' })), ['notInstantiated']],
    ['not provisioned', approach([0, 1, 2], -90, with2({ hosting: 'notProvisioned' })), ['notInstantiated']],
    ['penalised', approach([0, 1, 2], -90, { penalties: [failure] }), ['penalised']],
    ['unknown cells', approach([0, 1, 2], -90, with2({ coverage: [{ arfcn, pci: 77 }] })), ['noMeasurement']],
    ['no coverage stated', approach([0, 1, 2], -90, with2({ coverage: [] })), ['noMeasurement']],
    ['stay too short', approach([0, 1, 2], -90, { serving: { cseId: mn1, sinceMs: stay } }), ['minimumStay']],
    ['busy', approach([0, 1, 2], -90, { busy: true }), ['handoverRunning']],
    [
      'old discovery',
      approach([0, 1, 2], -90, { candidates: discovered(three, 2000 - quick.discoveryMsMax - 1) }),
      ['discoveryStale'],
    ],
    [
      'coverage of the serving CSE unknown',
      approach([0, 1, 2], -90, { candidates: discovered([weaker]) }),
      ['servingUnknown'],
    ],
    [
      'several at once',
      approach([0], -90, { ...with2({ pointsOfAccess: [], hosting: 'provisioned' }), busy: true }),
      ['noPointOfAccess', 'notInstantiated', 'timeToTrigger', 'handoverRunning'],
    ],
  ];
  for (const [name, inputs, reasons] of rows) {
    const step = last(run(quick, inputs));
    t.equal(step.decision, undefined, `${name}: no handover`);
    t.equal(step.explanation.outcome, 'stay');
    t.same(reasonsOf(step, mn2), reasons, name);
  }
  t.same(reasonsOf(last(run(quick, approach([0]))), mn1), ['sameAsServing']);
  const hosted = last(run(quick, approach([0, 1, 2], -90, with2({ hosting: 'instantiated' }))));
  t.equal(hosted.decision?.target.cseId, mn2, 'a running MEC application is fit');
  const over = last(run(quick, approach([0, 1, 2, 11], -90, { penalties: [failure] })));
  t.equal(over.decision?.target.cseId, mn2, 'the penalty ends');

  function with2(more: Partial<Candidate>): Partial<DecisionInput> {
    return { candidates: discovered([candidate(mn1, [1]), candidate(mn2, [2], more), candidate(mn3, [3])]) };
  }
});

await t.test(
  'levels age: a silent modem stops decisions, a serving cell out of range does not',
  async (t) => {
    const silent = last(run(quick, [...approach([0, 1]), input(1000 + quick.levelMsMax + 1)]));
    t.same(reasonsOf(silent, mn2), ['noMeasurement']);
    t.equal(silent.decision, undefined);
    // Only the second CSE is heard from now on; the level of the first is held until it is too old.
    const alone = [0, 1, 2, 3, 4, 5, 6].map((second) =>
      input(second * 1000, {
        sample: sample(second * 1000, second === 0 ? { 1: -100, 2: -110 } : { 2: -110 }),
      }),
    );
    const steps = run(quick, alone);
    t.equal(steps[5]!.decision, undefined);
    t.same(reasonsOf(steps[5]!, mn2), ['notBetter']);
    t.same(reasonsOf(steps[6]!, mn2), ['timeToTrigger'], 'not heard any more: the floor of the policy');
    // A neighbour that the modem stops listing is no second observation of itself.
    const held = [0, 1, 2, 3].map((second) =>
      input(second * 1000, {
        sample: sample(second * 1000, second === 0 ? { 1: -100, 2: -90 } : { 1: -100 }),
      }),
    );
    t.same(reasonsOf(last(run(quick, held)), mn2), ['timeToTrigger']);
  },
);

await t.test('a CSE is as good as the best of its cells', async (t) => {
  const candidates = discovered([candidate(mn1, [1, 11]), candidate(mn2, [2, 12, 2])]);
  const inputs = [0, 1, 2].map((second) =>
    input(second * 1000, {
      candidates,
      sample: sample(second * 1000, { 1: -120, 11: -94, 2: -130, 12: -80 }),
    }),
  );
  const step = last(run(quick, inputs));
  t.match(step.decision, { target: { cseId: mn2 } });
  const [target, serving] = step.explanation.candidates;
  t.match(target, { cseId: mn2, levelDbm: -80, cell: `${arfcn}/12`, marginDb: 11, levelAgeMs: 0 });
  t.match(serving, { cseId: mn1, levelDbm: -94, cell: `${arfcn}/11` });
  t.match(step.explanation.inputs, [
    { name: 'serving', value: mn1, unit: 'cseId', ageMs: 62_000 },
    { name: 'servingLevel', value: -94, unit: 'dBm', ageMs: 0 },
    { name: 'cellsHeard', value: 4, unit: 'count' },
  ]);
});

await t.test('the first attachment takes the best one measured, and anyone fit after a while', async (t) => {
  const unserved = { serving: undefined };
  const step = last(run(quick, approach([0], -90, unserved)));
  t.match(step.decision, { target: { cseId: mn2 }, trigger: 'initial' });
  t.same(
    step.decision?.alternatives.map((entry) => entry.cseId),
    [mn1],
  );
  t.same(reasonsOf(step, mn3), ['noMeasurement']);
  const blind = run(
    quick,
    [0, quick.unmeasuredAfterMs - 1, quick.unmeasuredAfterMs].map((at) => input(at, unserved)),
  );
  t.same(
    blind.map((entry) => entry.decision?.target.cseId),
    [undefined, undefined, mn1],
    'without any radio the order of the CSE-IDs decides',
  );
  const floor = sample(0, { 3: -150 });
  const weak = run(quick, [input(0, { ...unserved, sample: floor }), input(5000, unserved)]);
  t.equal(last(weak).decision?.target.cseId, mn3, 'measured goes before not measured, even at score 0');
  t.same(run(quick, [input(0, { ...unserved, candidates: [] })])[0]?.explanation.candidates, []);
});

await t.test(
  'a lost CSE is left at once, even for a weaker one, and not during another handover',
  async (t) => {
    const inputs = approach([0, 1], -120);
    const step = last(run(quick, [...inputs, input(1100, { servicePath: lost })]));
    t.match(step.decision, { target: { cseId: mn2 }, trigger: 'servingLost' });
    t.same(
      step.decision?.alternatives.map((entry) => entry.cseId),
      [mn3],
      'not measured, but better than nothing',
    );
    t.match(step.explanation, { question: 'servingLost', servicePath: lost });
    const fresh = { servicePath: lost, serving: { cseId: mn1, sinceMs: millis(1000) } };
    t.equal(last(run(quick, [...inputs, input(1100, fresh)])).decision?.target.cseId, mn2, 'no minimum stay');
    const busy = last(run(quick, [...inputs, input(1100, { servicePath: lost, busy: true })]));
    t.equal(busy.decision, undefined);
    const failed = { cseId: mn2, failures: 1, lastFailureMs: millis(1000) };
    const next = last(run(quick, [...inputs, input(1100, { servicePath: lost, penalties: [failed] })]));
    t.equal(next.decision?.target.cseId, mn3, 'one that refused a moment ago is passed over');
  },
);

await t.test('after a loss the CSE that is prepared goes before a better one', async (t) => {
  const heard = (levels: Record<number, number>, more: Partial<DecisionInput> = {}): DecisionInput =>
    input(1000, { sample: sample(1000, levels), prepared: mn3, servicePath: lost, ...more });
  const targetOf = (next: DecisionInput): string | undefined =>
    last(run(quick, [next])).decision?.target.cseId;
  const both = { 1: -80, 2: -85, 3: -100 };
  const step = last(run(quick, [heard(both)]));
  t.match(step.decision, { target: { cseId: mn3 }, alternatives: [{ cseId: mn2 }] });
  t.same(
    step.explanation.candidates.map(({ cseId: id, verdict }) => [id, verdict]),
    [
      [mn1, 'rejected'],
      [mn2, 'alternative'],
      [mn3, 'chosen'],
    ],
    'in the order of the levels',
  );
  t.match(step.explanation.inputs.at(-1), { name: 'prepared', value: mn3 });
  t.equal(targetOf(heard({ 1: -80, 2: -85 })), mn2, 'but not where nothing is heard of it any more');
  t.equal(targetOf(heard({})), mn3, 'unless nothing is heard at all');
  const failed = { cseId: mn3, failures: 1, lastFailureMs: millis(1000) };
  t.equal(targetOf(heard(both, { penalties: [failed] })), mn2, 'nor what refused a moment ago');
  const planned = approach([0, 1, 2]).map((next) => ({ ...next, prepared: mn3 }));
  t.equal(last(run(quick, planned)).decision?.target.cseId, mn2, 'a move that has time goes to the best');
});

await t.test('the way back is longer, or barred, for a while', async (t) => {
  const policy = { ...quick, minimumStayMs: millis(0) };
  // From 2 s on the second CSE serves; then the first one is 10 dB better.
  const moved: Partial<DecisionInput> = { serving: { cseId: mn2, sinceMs: millis(2000) } };
  const back = Array.from({ length: 14 }, (_, index) => 3 + index).map((second) =>
    input(second * 1000, { ...moved, sample: sample(second * 1000, { 1: -90, 2: -100 }) }),
  );
  const firedAt = (steps: readonly DecisionStep[]): number | undefined =>
    steps.findIndex((step) => step.decision?.target.cseId === mn1);
  const slowed = run(policy, [...approach([0, 1, 2]), ...back]);
  t.equal(firedAt(slowed), 3 + 6, '5120 ms after the first better sample');
  t.same(reasonsOf(slowed[4]!, mn1), ['timeToTrigger', 'pingPongGuard']);
  const refusing = {
    ...policy,
    pingPong: { ...policy.pingPong, guard: 'refuse' as const, withinMs: millis(10_000) },
  };
  const barred = run(refusing, [...approach([0, 1, 2]), ...back]);
  t.equal(firedAt(barred), 3 + 9, 'at 12 s, 10 s after it was left');
  t.same(reasonsOf(barred[11]!, mn1), ['pingPongGuard']);
  const direct = run(policy, back);
  t.equal(firedAt(direct), 2, 'without a departure the usual time to trigger');
});

await t.test('a decision carries N ranked candidates, and the rest is told', async (t) => {
  const many = [1, 2, 3, 4, 5, 6].map((n) => candidate(cseId(`/id-mn${n}`), [n]));
  const levels = { 1: -110, 2: -90, 3: -80, 4: -90, 5: -95, 6: -100 };
  const inputs = [0, 1, 2].map((second) =>
    input(second * 1000, { candidates: discovered(many), sample: sample(second * 1000, levels) }),
  );
  const step = last(run(quick, inputs));
  t.equal(step.decision?.target.cseId, mn3);
  t.same(
    step.decision?.alternatives.map((entry) => entry.cseId),
    [mn2, '/id-mn4'],
    'equal scores in the order of the CSE-IDs',
  );
  t.same(
    step.explanation.candidates.map((entry) => [entry.cseId, entry.verdict]),
    [
      [mn3, 'chosen'],
      [mn2, 'alternative'],
      ['/id-mn4', 'alternative'],
      ['/id-mn5', 'rejected'],
      ['/id-mn6', 'rejected'],
      [mn1, 'rejected'],
    ],
  );
  t.same(reasonsOf(step, cseId('/id-mn5')), ['beyondNBest']);
});

await t.test(
  'samples without a usable measurement change nothing; the memory of cells is bounded',
  async (t) => {
    const odd: CellMeasurement[] = [
      { rat: 'lte', serving: true, identity: { pci: 1 }, rsrpDbm: { value: dbm(-80), raw: '-80' } },
      { rat: 'lte', serving: false, identity: { arfcn }, rsrpDbm: { value: dbm(-80), raw: '-80' } },
      { rat: 'lte', serving: false, identity: { arfcn, pci: 1 } },
      { rat: 'lte', serving: false, identity: { arfcn, pci: 1 }, rsrpDbm: { raw: '-' } },
      {
        rat: 'lte',
        serving: false,
        identity: { arfcn, pci: 1 },
        rsrpDbm: { value: dbm(-20), raw: '-20', suspect: true },
      },
      {
        rat: 'lte',
        serving: false,
        identity: { arfcn, pci: 1 },
        rsrpDbm: { value: dbm(Number.NaN), raw: '?' },
      },
    ];
    t.same(filterSample({}, { source: 'm', atMs: millis(0), cells: odd }, quick.filter), {});
    const crowd = Object.fromEntries(Array.from({ length: 500 }, (_, pci) => [pci, -100]));
    let levels: CellLevels = {};
    for (let second = 0; second < 5; second++)
      levels = filterSample(levels, sample(second * 1000, crowd), quick.filter);
    t.equal(Object.keys(levels).length, 64);
  },
);

await t.test('a policy that makes no sense is refused with the key, the value and the way out', async (t) => {
  checkDecisionPolicy(defaultDecisionPolicy);
  const base = defaultDecisionPolicy;
  const refusals: [DecisionPolicy, RegExp][] = [
    [{ ...base, candidatesMax: 0 }, /candidatesMax is 0/],
    [{ ...base, minimumStayMs: millis(-1) }, /minimumStayMs is -1 ms/],
    [{ ...base, worstDbm: dbm(-40) }, /worstDbm \(-40 dBm\) must lie below/],
    [{ ...base, degradedOffsetDb: db(0.2) }, /degradedOffsetDb.*0\.2 dB/],
    [
      { ...base, pingPong: { ...base.pingPong, timeToTriggerMs: millis(5000) } },
      /pingPong.*5000 ms.*use 5120/,
    ],
    [{ ...base, filter: { ...base.filter, coefficient: 12 } }, /coefficient is 12/],
    [{ ...base, penalty: { ...base.penalty, decayMs: millis(0) } }, /decayMs is 0/],
  ];
  for (const [policy, message] of refusals) {
    t.throws(() => createDecision(policy), { code: 'CONFIG', message });
  }
});

// --- properties over random drives

const ids = Array.from({ length: 6 }, (_, index) => cseId(`/id-mn${index + 1}`));
const anyCandidate = fc.record({
  index: fc.nat({ max: 5 }),
  pcis: fc.array(fc.integer({ min: 1, max: 8 }), { maxLength: 3 }),
  reachable: fc.boolean(),
  hosting: fc.constantFrom(undefined, 'instantiated' as const, 'provisioned' as const),
  discoveredMs: fc.constantFrom(0, -1000, -1_000_000),
});
const anyCandidates = fc.array(anyCandidate, { maxLength: 10 }).map((entries) =>
  entries.map(({ index, pcis, reachable, hosting, discoveredMs }): DiscoveredCandidate => {
    const id = ids[index] ?? mn1;
    const more = {
      ...(reachable ? {} : { pointsOfAccess: [] }),
      ...(hosting === undefined ? {} : { hosting }),
    };
    return { candidate: candidate(id, pcis, more), discoveredMs: millis(discoveredMs) };
  }),
);
const anyStep = fc.record({
  periodMs: fc.integer({ min: 0, max: 4000 }),
  levels: fc.option(
    fc.dictionary(
      fc.constantFrom('1', '2', '3', '4', '5', '6', '7', '8'),
      fc.integer({ min: -140, max: -60 }),
    ),
  ),
  health: fc.constantFrom(undefined, 'good' as const, 'degraded' as const, 'lost' as const),
  isBusy: fc.boolean(),
});
const anyDrive = fc.record({
  candidates: anyCandidates,
  steps: fc.array(anyStep, { minLength: 1, maxLength: 40 }),
});

/** Drives the decision like a gateway: each decision is carried out until the next input. */
function drive(
  policy: DecisionPolicy,
  {
    candidates,
    steps,
  }: {
    candidates: readonly DiscoveredCandidate[];
    steps: readonly (typeof anyStep extends fc.Arbitrary<infer T> ? T : never)[];
  },
  rearrange: (entries: readonly DiscoveredCandidate[]) => readonly DiscoveredCandidate[] = (entries) =>
    entries,
): { inputs: DecisionInput[]; results: DecisionStep[] } {
  const decision = createDecision(policy);
  const inputs: DecisionInput[] = [];
  const results: DecisionStep[] = [];
  let state = decision.initial;
  let serving: { cseId: CseId; sinceMs: Millis } | undefined;
  let nowMs = 0;
  for (const { periodMs, levels, health, isBusy } of steps) {
    nowMs += periodMs;
    const next: DecisionInput = {
      nowMs: millis(nowMs),
      sample: levels === null ? undefined : sample(nowMs, levels),
      serving,
      candidates: rearrange(candidates),
      busy: isBusy,
      penalties: [],
      servicePath: health === undefined ? undefined : { state: health, reason: 'normal', sinceMs: millis(0) },
    };
    const result = decision.decide(state, next);
    inputs.push(next);
    results.push(result);
    state = result.state;
    if (result.decision !== undefined)
      serving = { cseId: result.decision.target.cseId, sinceMs: millis(nowMs) };
  }
  return { inputs, results };
}

await t.test(
  'every candidate is explained exactly once, in a total order, and only fit ones are chosen',
  async () => {
    fc.assert(
      fc.property(anyDrive, (plan) => {
        const { inputs, results } = drive(quick, plan);
        const known = [...new Set(plan.candidates.map((entry) => entry.candidate.cseId))].sort();
        return results.every(({ explanation, decision }, index) => {
          const told = explanation.candidates.map((entry) => entry.cseId);
          const chosen = explanation.candidates.filter((entry) => entry.verdict === 'chosen');
          const spare = explanation.candidates.filter((entry) => entry.verdict === 'alternative');
          const refused = explanation.candidates.filter((entry) => entry.verdict === 'rejected');
          const scores = explanation.candidates.map((entry) => entry.score);
          const target = decision?.target;
          return (
            JSON.stringify([...told].sort()) === JSON.stringify(known) &&
            scores.every((score, at) => at === 0 || score <= (scores[at - 1] ?? 1)) &&
            chosen[0]?.cseId === target?.cseId &&
            chosen.length === (target === undefined ? 0 : 1) &&
            spare.map((entry) => entry.cseId).join() ===
              (decision?.alternatives ?? []).map((entry) => entry.cseId).join() &&
            refused.every((entry) => entry.reasons.length > 0) &&
            (target === undefined ||
              (target.pointsOfAccess.length > 0 &&
                target.hosting !== 'provisioned' &&
                target.cseId !== inputs[index]?.serving?.cseId &&
                inputs[index]?.busy === false))
          );
        });
      }),
    );
  },
);

await t.test('the order of the candidates does not matter', async () => {
  fc.assert(
    fc.property(anyDrive, fc.array(fc.nat()), (plan, keys) => {
      const shuffled = (entries: readonly DiscoveredCandidate[]): readonly DiscoveredCandidate[] =>
        entries
          .map((entry, index) => ({ entry, key: keys[index % Math.max(1, keys.length)] ?? 0 }))
          .sort((a, b) => a.key - b.key)
          .map(({ entry }) => entry)
          .reverse();
      const outcome = (steps: readonly DecisionStep[]): string =>
        JSON.stringify(steps.map(({ decision, explanation }) => ({ decision, explanation })));
      return outcome(drive(quick, plan).results) === outcome(drive(quick, plan, shuffled).results);
    }),
  );
});

await t.test('a recording replays bit by bit, state included', async () => {
  fc.assert(
    fc.property(anyDrive, (plan) => {
      const { inputs, results } = drive(defaultDecisionPolicy, plan);
      const recorded = JSON.parse(JSON.stringify({ inputs, policy: defaultDecisionPolicy })) as {
        inputs: DecisionInput[];
        policy: DecisionPolicy;
      };
      let state = JSON.parse(JSON.stringify(createDecision(recorded.policy).initial)) as DecisionState;
      return recorded.inputs.every((next, index) => {
        const result = createDecision(recorded.policy).decide(state, next);
        state = JSON.parse(JSON.stringify(result.state)) as DecisionState;
        return JSON.stringify(result) === JSON.stringify(results[index]);
      });
    }),
  );
});

await t.test(
  'no handover by A3 inside the minimum stay, none before the time to trigger, and only uphill',
  async () => {
    fc.assert(
      fc.property(anyDrive, (plan) => {
        const { inputs, results } = drive(quick, plan);
        return results.every(({ decision, explanation }, index) => {
          if (decision?.trigger !== 'a3') return true;
          const { nowMs, serving } = inputs[index] ?? input(0);
          const stayMs = serving === undefined ? 0 : nowMs - serving.sinceMs;
          const margin = explanation.candidates.find((entry) => entry.verdict === 'chosen')?.marginDb ?? 0;
          return (
            stayMs >= quick.minimumStayMs &&
            stayMs >= quick.a3.timeToTriggerMs &&
            margin > quick.a3.hysteresisDb &&
            explanation.question === 'a3'
          );
        });
      }),
    );
  },
);

await t.test('no way back inside the guard time when it is barred', async () => {
  const barring: DecisionPolicy = {
    ...quick,
    minimumStayMs: millis(0),
    pingPong: { ...quick.pingPong, guard: 'refuse', withinMs: millis(20_000) },
  };
  const reference: { level: Dbm } = { level: dbm(-100) };
  fc.assert(
    fc.property(
      fc.array(fc.array(fc.integer({ min: -20, max: 20 }), { minLength: 3, maxLength: 3 }), {
        minLength: 5,
        maxLength: 60,
      }),
      (offsets) => {
        const steps = offsets.map((row) => ({
          periodMs: 1000,
          levels: Object.fromEntries(row.map((offset, index) => [index + 1, reference.level + offset])),
          health: undefined,
          isBusy: false,
        }));
        const { results } = drive(barring, { candidates: discovered(three), steps });
        const moves = results.flatMap(({ decision, explanation }) =>
          decision === undefined ? [] : [{ to: decision.target.cseId, atMs: explanation.atMs }],
        );
        return moves.every((move, index) =>
          moves
            .slice(0, index)
            .every(
              (earlier, at) => earlier.to !== move.to || move.atMs - (moves[at + 1]?.atMs ?? 0) >= 20_000,
            ),
        );
      },
    ),
  );
});
