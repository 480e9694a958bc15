// Proves: losses, doubles, order, altered and foreign readings are counted from what CSEs hold alone; the interruption of a
// handover is the longest gap around it beyond the reading period; a trial that proves nothing does not pass; an intact
// transfer over any split between CSEs always passes, and any single fault put into it always fails.
import fc from 'fast-check';
import t from 'tap';
import { cseId, millis, streamName } from '../../src/base/units.ts';
import type { CseId } from '../../src/base/units.ts';
import { computeTrialKpis } from '../../src/trial/kpi.ts';
import type { EmittedStream, HeldInstance, TrialEvidence } from '../../src/trial/kpi.ts';

const mn1 = cseId('/id-mn1');
const mn2 = cseId('/id-mn2');
const temperature = streamName('temperature');
const inDoubtLabel = 'baton:indoubt';
const valueOf = (n: number): unknown => ({ n, celsius: 20 + n / 8 });

function emitted(last: number, more: Partial<EmittedStream> = {}): EmittedStream {
  return { stream: temperature, first: 1, last, periodMs: millis(100), valueOf, ...more };
}

function held(n: number, id: CseId, more: Partial<HeldInstance> = {}): HeldInstance {
  return {
    cseId: id,
    stream: temperature,
    producerSeq: n,
    recordName: `r${n}`,
    labels: [],
    arrivalMs: millis(n * 100),
    value: valueOf(n),
    ...more,
  };
}

const range = (first: number, last: number): number[] =>
  Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => first + index);
/** Readings 1 to 5 at the first CSE, 6 to 10 at the second. */
const intact = (): HeldInstance[] => range(1, 10).map((n) => held(n, n <= 5 ? mn1 : mn2));
const evidence = (more: Partial<TrialEvidence> = {}): TrialEvidence => ({
  emitted: [emitted(10)],
  held: intact(),
  handovers: [],
  inDoubtLabel,
  ...more,
});

await t.test('an intact trial passes', async (t) => {
  t.match(computeTrialKpis(evidence()), {
    emitted: 10,
    stored: 10,
    lost: 0,
    duplicates: 0,
    inDoubtDoubles: 0,
    reordered: 0,
    altered: 0,
    unexpected: 0,
    longestGapMs: 100,
    verdict: 'passed',
    faults: [],
  });
});

await t.test('each fault is counted under its name', async (t) => {
  const rows: [string, HeldInstance[], Record<string, unknown>][] = [
    [
      'lost',
      intact().filter(({ producerSeq }) => producerSeq !== 4),
      { lost: 1, stored: 9, longestGapMs: 200 },
    ],
    ['doubled at one CSE', [...intact(), held(4, mn1, { recordName: 'r4b' })], { duplicates: 1 }],
    [
      'doubled at one CSE in spite of the label',
      [...intact(), held(4, mn1, { recordName: 'r4b', labels: [inDoubtLabel] })],
      { duplicates: 1, inDoubtDoubles: 0 },
    ],
    ['doubled across CSEs', [...intact(), held(5, mn2)], { duplicates: 1 }],
    [
      'held by three CSEs, one labelled',
      [...intact(), held(5, mn2, { labels: [inDoubtLabel] }), held(5, cseId('/id-mn3'))],
      { duplicates: 1, inDoubtDoubles: 1 },
    ],
    [
      'reordered',
      intact().map((entry) => (entry.producerSeq === 2 ? { ...entry, arrivalMs: millis(350) } : entry)),
      { reordered: 1 },
    ],
    [
      'altered',
      intact().map((entry) => (entry.producerSeq === 2 ? { ...entry, value: 'x' } : entry)),
      { altered: 1 },
    ],
    ['never emitted', [...intact(), held(11, mn2)], { unexpected: 1 }],
    ['number between two', [...intact(), held(2.5, mn2)], { unexpected: 1 }],
    ['unknown stream', [...intact(), held(1, mn2, { stream: streamName('ghost') })], { unexpected: 1 }],
  ];
  for (const [name, instances, figures] of rows) {
    const kpis = computeTrialKpis(evidence({ held: instances }));
    t.match(kpis, { ...figures, verdict: 'failed' }, name);
    t.equal(kpis.faults.length, 1, `${name}: one fault, told once`);
  }
  const doubled = computeTrialKpis(
    evidence({ held: [...intact(), held(5, mn2, { labels: [inDoubtLabel] })] }),
  );
  t.match(
    doubled,
    { duplicates: 0, inDoubtDoubles: 1, verdict: 'passed' },
    'a labelled double across CSEs is allowed',
  );
  const empty = computeTrialKpis(evidence({ emitted: [], held: [] }));
  t.match(empty, { verdict: 'failed', faults: ['nothing was emitted, so nothing is proven'] });
});

await t.test('a later CSE may hold earlier readings as long as each CSE is in order', async (t) => {
  const backlog = [
    ...range(1, 5).map((n) => held(n, mn1)),
    ...range(6, 10).map((n) => held(n, mn2, { arrivalMs: millis(2000 + n) })),
  ];
  t.equal(computeTrialKpis(evidence({ held: backlog })).reordered, 0);
});

await t.test('the interruption is the longest gap around the handover beyond the period', async (t) => {
  const at = (n: number): number => (n <= 5 ? n * 100 : n * 100 + 40);
  const instances = range(1, 10).map((n) => held(n, n <= 5 ? mn1 : mn2, { arrivalMs: millis(at(n)) }));
  const span = (startedMs: number, endedMs: number): TrialEvidence['handovers'][number] => ({
    source: mn1,
    target: mn2,
    startedMs: millis(startedMs),
    endedMs: millis(endedMs),
  });
  const kpis = computeTrialKpis(
    evidence({
      held: instances,
      handovers: [span(480, 700), span(550, 560), span(100, 200), span(5000, 6000)],
    }),
  );
  t.same(
    kpis.handovers.map((entry) => [entry.longestGapMs, entry.uplinkInterruptionMs, entry.interruptedStream]),
    [
      [140, 40, temperature],
      [140, 40, temperature],
      [100, 0, undefined],
      [0, 0, undefined],
    ],
  );
  const silent = computeTrialKpis(
    evidence({ held: intact(), handovers: [span(1500, 1600)], endedMs: millis(2000) }),
  );
  t.match(
    silent.handovers,
    [{ longestGapMs: 1000, uplinkInterruptionMs: 900 }],
    'nothing came until the end',
  );
  const slow = { ...emitted(2), stream: streamName('slow'), periodMs: millis(1000) };
  const two = computeTrialKpis(
    evidence({
      emitted: [emitted(10), slow],
      held: [
        ...instances,
        ...[1, 2].map((n) => held(n, mn1, { stream: slow.stream, arrivalMs: millis(n * 1000 - 900) })),
      ],
      handovers: [span(480, 700)],
    }),
  );
  t.match(
    two.handovers,
    [{ longestGapMs: 1000, uplinkInterruptionMs: 40, interruptedStream: temperature }],
    'each stream against its own period',
  );
  const copy = held(5, mn2, { labels: [inDoubtLabel], arrivalMs: millis(570) });
  const hidden = computeTrialKpis(evidence({ held: [...instances, copy], handovers: [span(480, 700)] }));
  t.match(hidden.handovers, [{ uplinkInterruptionMs: 40 }], 'a second copy ends no gap');
});

await t.test('any intact split passes; any one fault fails', async () => {
  const fault = fc.constantFrom('lose', 'double', 'copyAcross', 'swap', 'alter', 'invent');
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 40 }), fc.nat(), fc.nat(), fault, (count, cut, at, kind) => {
      const split = cut % (count + 1);
      const whole = range(1, count).map((n) => held(n, n <= split ? mn1 : mn2));
      const pass = computeTrialKpis(evidence({ emitted: [emitted(count)], held: whole }));
      const index = at % count;
      const hit = whole[index]!;
      const other = hit.cseId === mn1 ? mn2 : mn1;
      const spoilt = {
        lose: () => whole.filter((entry) => entry !== hit),
        double: () => [...whole, { ...hit, recordName: 'again' }],
        copyAcross: () => [...whole, { ...hit, cseId: other }],
        swap: () => [
          ...whole.filter((entry) => entry !== hit),
          {
            ...hit,
            cseId: index === 0 ? whole[1]!.cseId : whole[0]!.cseId,
            arrivalMs: millis(index === 0 ? 1e6 : 0),
          },
        ],
        alter: () => whole.map((entry) => (entry === hit ? { ...entry, value: null } : entry)),
        invent: () => [...whole, held(count + 1, mn2)],
      }[kind]();
      const fail = computeTrialKpis(evidence({ emitted: [emitted(count)], held: spoilt }));
      return pass.verdict === 'passed' && fail.verdict === 'failed' && fail.faults.length > 0;
    }),
  );
});
