// Proves: the L3 filter keeps its time constant at any sample period and restarts after a gap; events A1-A6, B1, B2 enter
// and leave exactly as 3GPP TS 38.331 5.5.4 writes them; none triggers before its time to trigger or on one sample;
// service-path health sees a dead CSE within 3 s, a slow one against its own history, and no chance loss; penalties grow
// and decay; values that 3GPP does not know are refused with the nearest one named.
import fc from 'fast-check';
import t from 'tap';
import { db, dbm, millis, cseId } from '../../src/base/units.ts';
import {
  advanceEvent,
  checkEvent,
  eventMarginsDb,
  idleEvent,
  isEntering,
  isLeaving,
  timesToTriggerMs,
} from '../../src/decision/events.ts';
import type { EventLevels, EventState, MeasurementEvent } from '../../src/decision/events.ts';
import {
  checkFilterPolicy,
  filterCoefficients,
  filterLevel,
  filterWeight,
} from '../../src/decision/l3-filter.ts';
import type { FilteredLevel } from '../../src/decision/l3-filter.ts';
import { addFailure, clearFailures, failuresLeft, penaltyEndMs } from '../../src/decision/penalty.ts';
import type { Penalty } from '../../src/decision/penalty.ts';
import {
  advanceServicePath,
  answerDeadlineMs,
  createServicePath,
  defaultServicePathPolicy,
  isProbeDue,
} from '../../src/decision/service-path.ts';
import type { RequestOutcome, ServicePathState } from '../../src/decision/service-path.ts';

await t.test('the filter weight follows the sample period', async (t) => {
  // k, weight at 200 ms (2^(-k/4)), weight at 1 s: rounded figures worked out by hand.
  const rows = [
    [0, 1, 1],
    [4, 0.5, 0.97],
    [8, 0.25, 0.76],
    [11, 0.149, 0.55],
    [15, 0.074, 0.32],
    [19, 0.037, 0.17],
  ] as const;
  for (const [coefficient, at200ms, at1s] of rows) {
    t.ok(Math.abs(filterWeight(coefficient, 200) - at200ms) < 0.001, `k ${coefficient} at 200 ms`);
    t.ok(Math.abs(filterWeight(coefficient, 1000) - at1s) < 0.006, `k ${coefficient} at 1 s`);
  }
});

const filterPolicy = (coefficient: number): { coefficient: number; gapMsMax: ReturnType<typeof millis> } => ({
  coefficient,
  gapMsMax: millis(5000),
});

await t.test('one step of 1 s equals five steps of 200 ms towards a constant level', async () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...filterCoefficients),
      fc.integer({ min: -140, max: -44 }),
      fc.integer({ min: -140, max: -44 }),
      (coefficient, startDbm, levelDbm) => {
        const policy = filterPolicy(coefficient);
        const start: FilteredLevel = { levelDbm: dbm(startDbm), atMs: millis(0) };
        const coarse = filterLevel(start, { levelDbm: dbm(levelDbm), atMs: millis(1000) }, policy);
        let fine = start;
        for (const atMs of [200, 400, 600, 800, 1000]) {
          fine = filterLevel(fine, { levelDbm: dbm(levelDbm), atMs: millis(atMs) }, policy);
        }
        return Math.abs(coarse.levelDbm - fine.levelDbm) < 1e-9;
      },
    ),
  );
});

await t.test(
  'the filter starts at the first measurement, after a gap, and ignores what is not newer',
  async (t) => {
    const policy = filterPolicy(19);
    const first = filterLevel(undefined, { levelDbm: dbm(-80), atMs: millis(10) }, policy);
    t.same(first, { levelDbm: -80, atMs: 10 });
    t.equal(filterLevel(first, { levelDbm: dbm(-120), atMs: millis(10) }, policy), first, 'same time');
    t.equal(filterLevel(first, { levelDbm: dbm(-120), atMs: millis(5) }, policy), first, 'earlier');
    t.same(filterLevel(first, { levelDbm: dbm(-120), atMs: millis(5011) }, policy), {
      levelDbm: -120,
      atMs: 5011,
    });
    const within = filterLevel(first, { levelDbm: dbm(-120), atMs: millis(5010) }, policy);
    t.ok(within.levelDbm > -120 && within.levelDbm < -80, 'the longest accepted pause still filters');
  },
);

const timing = { hysteresisDb: db(1), timeToTriggerMs: millis(640) };
const at = (servingDbm: number, neighbourDbm?: number, more: Partial<EventLevels> = {}): EventLevels => ({
  servingDbm: dbm(servingDbm),
  ...(neighbourDbm === undefined ? {} : { neighbourDbm: dbm(neighbourDbm) }),
  ...more,
});

await t.test('entering and leaving conditions of the specification, at and beside their edges', async (t) => {
  const a1: MeasurementEvent = { kind: 'a1', thresholdDbm: dbm(-100), ...timing };
  const a2: MeasurementEvent = { kind: 'a2', thresholdDbm: dbm(-100), ...timing };
  const a3: MeasurementEvent = { kind: 'a3', offsetDb: db(3), ...timing };
  const a4: MeasurementEvent = { kind: 'a4', thresholdDbm: dbm(-100), ...timing };
  const a5: MeasurementEvent = {
    kind: 'a5',
    thresholdDbm: dbm(-110),
    neighbourThresholdDbm: dbm(-100),
    ...timing,
  };
  const a6: MeasurementEvent = { kind: 'a6', offsetDb: db(3), ...timing };
  const b1: MeasurementEvent = { ...a4, kind: 'b1' };
  const b2: MeasurementEvent = { ...a5, kind: 'b2' };
  // event, levels, entering, leaving
  const rows: [MeasurementEvent, EventLevels, boolean, boolean][] = [
    [a1, at(-98.5), true, false],
    [a1, at(-99), false, false],
    [a1, at(-101), false, false],
    [a1, at(-101.5), false, true],
    [a2, at(-101.5), true, false],
    [a2, at(-101), false, false],
    [a2, at(-99), false, false],
    [a2, at(-98.5), false, true],
    [a3, at(-90, -85.5), true, false],
    [a3, at(-90, -86), false, false],
    [a3, at(-90, -88), false, false],
    [a3, at(-90, -88.5), false, true],
    [a3, at(-90, -88, { neighbourOffsetDb: db(3) }), true, false],
    [a3, at(-90, -85.5, { servingOffsetDb: db(1) }), false, false],
    [a3, at(-90), false, true],
    [a4, at(-50, -98.5), true, false],
    [a4, at(-50, -99), false, false],
    [a4, at(-50, -101), false, false],
    [a4, at(-50, -101.5), false, true],
    [a5, at(-111.5, -98.5), true, false],
    [a5, at(-111, -98.5), false, false],
    [a5, at(-111.5, -99), false, false],
    [a5, at(-109, -98.5), false, false],
    [a5, at(-108.5, -98.5), false, true],
    [a5, at(-111.5, -101.5), false, true],
    [a6, at(-90, -85.5), true, false],
    [a6, at(-90, -85.5, { servingOffsetDb: db(1) }), false, false],
    [a6, at(-90, -88.5), false, true],
    [b1, at(-50, -98.5), true, false],
    [b1, at(-50, -101.5), false, true],
    [b2, at(-111.5, -98.5), true, false],
    [b2, at(-108.5, -98.5), false, true],
  ];
  for (const [event, levels, entering, leaving] of rows) {
    const name = `${event.kind} ${JSON.stringify(levels)}`;
    t.equal(isEntering(event, levels), entering, `${name} entering`);
    t.equal(isLeaving(event, levels), leaving, `${name} leaving`);
  }
});

const step = (state: EventState, event: MeasurementEvent, marginDb: number, atMs: number): EventState =>
  advanceEvent(state, event, at(-90, -90 + marginDb), millis(atMs));

await t.test('a time to trigger shorter than the sample period still takes two samples', async (t) => {
  const event: MeasurementEvent = {
    kind: 'a3',
    offsetDb: db(0),
    hysteresisDb: db(0),
    timeToTriggerMs: millis(0),
  };
  const once = step(idleEvent, event, 5, 1000);
  t.equal(once.kind, 'entering');
  t.equal(step(once, event, -1, 2000).kind, 'idle', 'an outlier is forgotten');
  const twice = step(once, event, 5, 2000);
  t.equal(twice.kind, 'triggered');
  const leaving = step(twice, event, -1, 3000);
  t.equal(leaving.kind, 'leaving');
  t.same(step(leaving, event, 5, 4000), twice, 'one bad sample does not end it');
  t.equal(step(leaving, event, -1, 4000).kind, 'idle');
});

await t.test('no event triggers before the condition held for the time to trigger', async () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...timesToTriggerMs),
      fc.array(fc.record({ periodMs: fc.integer({ min: 1, max: 3000 }), good: fc.boolean() }), {
        maxLength: 40,
      }),
      (timeToTriggerMs, samples) => {
        const event: MeasurementEvent = {
          kind: 'a3',
          offsetDb: db(3),
          hysteresisDb: db(1),
          timeToTriggerMs: millis(timeToTriggerMs),
        };
        let state: EventState = idleEvent;
        let atMs = 0;
        let goodSinceMs: number | undefined;
        let goodSamples = 0;
        for (const { periodMs, good } of samples) {
          atMs += periodMs;
          goodSinceMs = good ? (goodSinceMs ?? atMs) : undefined;
          goodSamples = good ? goodSamples + 1 : 0;
          const before = state;
          state = step(state, event, good ? 10 : -10, atMs);
          const hasTriggered = before.kind === 'entering' && state.kind === 'triggered';
          const isDue =
            goodSinceMs !== undefined && atMs - goodSinceMs >= timeToTriggerMs && goodSamples >= 2;
          if (hasTriggered && !isDue) return false;
          // … and never later than due.
          if (before.kind === 'entering' && isDue && state.kind !== 'triggered') return false;
        }
        return true;
      },
    ),
  );
});

await t.test('values outside the sets of the specification are refused with the way out', async (t) => {
  const event: MeasurementEvent = { kind: 'a3', offsetDb: db(3), ...timing };
  checkEvent(event, 'a3');
  const refusals: [MeasurementEvent, RegExp][] = [
    [{ ...event, timeToTriggerMs: millis(1000) }, /timeToTriggerMs is 1000 ms.*use 1024/],
    [{ ...event, hysteresisDb: db(0.3) }, /hysteresisDb is 0\.3 dB.*use 0\.5/],
    [{ ...event, hysteresisDb: db(-1) }, /hysteresisDb is -1 dB.*use 0/],
    [{ ...event, offsetDb: db(20) }, /offsetDb is 20 dB.*use 15/],
    [{ ...event, offsetDb: db(Number.NaN) }, /offsetDb is NaN dB/],
  ];
  for (const [bad, message] of refusals) t.throws(() => checkEvent(bad, 'a3'), { code: 'CONFIG', message });
  t.throws(() => checkFilterPolicy(filterPolicy(10), 'filter'), {
    code: 'CONFIG',
    message: /coefficient is 10.*use 9/,
  });
  t.throws(() => checkFilterPolicy({ coefficient: 4, gapMsMax: millis(0) }, 'filter'), { code: 'CONFIG' });
  t.same(eventMarginsDb(event, at(-90, -80)), [7]);
});

// --- service path

const pathPolicy = defaultServicePathPolicy;
const feed = (state: ServicePathState, outcomes: readonly RequestOutcome[]): ServicePathState =>
  outcomes.reduce((now, outcome) => advanceServicePath(now, outcome, pathPolicy), state);
const answered = (sentMs: number, responseMs: number): RequestOutcome => ({
  kind: 'answered',
  sentMs: millis(sentMs),
  responseMs: millis(responseMs),
});
const unanswered = (sentMs: number, waitedMs: number): RequestOutcome => ({
  kind: 'unanswered',
  sentMs: millis(sentMs),
  waitedMs: millis(waitedMs),
});
const steady = (count: number, responseMs: number): RequestOutcome[] =>
  Array.from({ length: count }, (_, index) => answered(index * 1000, responseMs));

await t.test(
  'a dead CSE is noticed within 3 s, with the deadlines that the tracker itself gives',
  async (t) => {
    for (const usualMs of [5, 40, 200, 900]) {
      let state = feed(createServicePath(millis(0)), steady(20, usualMs));
      t.equal(state.health.state, 'good', `${usualMs} ms: usual traffic is good`);
      // It dies at 20 s; the next request goes out at once and the second as soon as the first has failed.
      const firstMs = answerDeadlineMs(state, pathPolicy);
      state = feed(state, [unanswered(20_000, firstMs)]);
      t.equal(state.health.state, 'good', 'one unanswered request is chance');
      t.ok(isProbeDue(state, millis(20_000 + firstMs), millis(10_000)), 'and asks for another one at once');
      const secondMs = answerDeadlineMs(state, pathPolicy);
      state = feed(state, [unanswered(20_000 + firstMs, secondMs)]);
      t.match(state.health, { state: 'lost', reason: 'unanswered', sinceMs: 20_000 + firstMs + secondMs });
      t.ok(firstMs + secondMs <= 3000, `${usualMs} ms: noticed after ${firstMs + secondMs} ms`);
    }
    t.equal(
      answerDeadlineMs(createServicePath(millis(0)), pathPolicy),
      pathPolicy.deadlineMsMax,
      'nothing known yet',
    );
  },
);

await t.test('chance does not look like loss', async (t) => {
  const usual = feed(createServicePath(millis(0)), steady(20, 40));
  const burst = feed(
    usual,
    [0, 10, 20, 30].map((offset) => unanswered(20_000 + offset, 500)),
  );
  t.equal(burst.health.state, 'good', 'requests sent together share one fate');
  const alternating = feed(usual, [
    unanswered(20_000, 500),
    answered(20_500, 40),
    unanswered(21_000, 500),
    answered(21_500, 40),
  ]);
  t.equal(alternating.health.state, 'good', 'every second one lost is bad luck, not death');
  const overtaken = feed(usual, [answered(21_000, 40), unanswered(20_500, 1300), unanswered(20_700, 1300)]);
  t.equal(overtaken.health.state, 'good', 'a later request was answered');
  t.equal(
    feed(usual, [unanswered(20_000, 0), unanswered(20_000, 0)]).health.state,
    'good',
    'refused twice at once',
  );
});

await t.test('slow is judged by the own history; recovery takes two answers', async (t) => {
  const fast = feed(createServicePath(millis(0)), steady(20, 40));
  const slowOnce = feed(fast, [answered(20_000, 200)]);
  t.equal(slowOnce.health.state, 'good');
  const slow = feed(slowOnce, [answered(21_000, 200)]);
  t.match(slow.health, { state: 'degraded', reason: 'slow', sinceMs: 21_200 });
  const sluggish = feed(createServicePath(millis(0)), steady(20, 200));
  t.equal(feed(sluggish, [answered(20_000, 200), answered(21_000, 200)]).health.state, 'good', 'usual here');

  const lost = feed(fast, [unanswered(20_000, 500), unanswered(20_500, 500)]);
  const back = feed(lost, [answered(22_000, 40)]);
  t.match(back.health, { state: 'degraded', reason: 'recovering' });
  t.match(feed(back, [answered(23_000, 40)]).health, { state: 'good', reason: 'normal' });
  t.equal(feed(back, [unanswered(23_000, 500), unanswered(23_600, 500)]).health.state, 'lost');

  let adapting = slow;
  for (let n = 0; n < 400; n++) adapting = feed(adapting, [answered(30_000 + n * 1000, 200)]);
  t.equal(adapting.health.state, 'good', 'a path that stays slow becomes the usual');
});

await t.test('health is always a member of its set and baselines stay finite', async () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          gapMs: fc.integer({ min: 0, max: 3000 }),
          tookMs: fc.integer({ min: 0, max: 5000 }),
          isAnswered: fc.boolean(),
        }),
      ),
      (outcomes) => {
        let sentMs = 0;
        let state = createServicePath(millis(0));
        let row = 0;
        for (const { gapMs, tookMs, isAnswered } of outcomes) {
          sentMs += gapMs;
          row = isAnswered ? 0 : row + 1;
          state = feed(state, [isAnswered ? answered(sentMs, tookMs) : unanswered(sentMs, tookMs)]);
          if (isAnswered && state.health.state === 'lost') return false;
          if (row < 2 && !isAnswered && state.health.state === 'lost') return false;
          const deadlineMs = answerDeadlineMs(state, pathPolicy);
          if (!(deadlineMs >= pathPolicy.deadlineMsMin && deadlineMs <= pathPolicy.deadlineMsMax))
            return false;
        }
        return true;
      },
    ),
  );
});

await t.test('penalties double with each failure, are bounded, decay and are forgiven', async (t) => {
  const policy = { firstMs: millis(10_000), longestMs: millis(60_000), decayMs: millis(100_000) };
  const target = cseId('/id-mn2');
  let penalties: readonly Penalty[] = [];
  const lengths: number[] = [];
  for (const nowMs of [0, 1000, 2000, 3000, 4000]) {
    penalties = addFailure(penalties, target, millis(nowMs), policy);
    const [penalty] = penalties;
    if (penalty !== undefined) lengths.push(penaltyEndMs(penalty, policy) - nowMs);
  }
  t.same(lengths, [10_000, 20_000, 40_000, 60_000, 60_000]);
  t.equal(penalties.length, 1);
  t.same(clearFailures(penalties, target), []);
  const [last] = penalties;
  t.ok(
    last !== undefined && failuresLeft(last, millis(4000 + 300_000), policy) === 0,
    'forgotten in the end',
  );
  for (let n = 0; n < 200; n++) penalties = addFailure(penalties, cseId(`/id-${n}`), millis(n), policy);
  t.equal(penalties.length, 64, 'bounded');
});
