// Proves: the health of a path follows from its own history (slow is relative, loss is a share, silence is what is usual to wait
// for), one bad outcome changes nothing, time alone makes it worse and never better, evidence in any order never throws and
// keeps the memory bounded; probes never spend more than their allowance in any 24 hours, and an idle link stays below 200 kB.
import fc from 'fast-check';
import t from 'tap';
import { bytes, millis } from '../../src/base/units.ts';
import {
  advancePathHealth,
  createPathHealth,
  defaultPathHealthPolicy as policy,
  lossShare,
  overdueAfterMs,
  pathHealthAt,
} from '../../src/link/path-health.ts';
import type { PathEvidence, PathHealthState } from '../../src/link/path-health.ts';
import {
  createProbeState,
  defaultProbePolicy,
  probeDueMs,
  takeProbeAnswered,
  takeProbeSent,
} from '../../src/link/probe-plan.ts';

const seed = Number(process.env['SEED'] ?? 20_261_123);

function answered(sentMs: number, responseMs: number, retransmissions = 0): PathEvidence {
  return { kind: 'answered', sentMs: millis(sentMs), responseMs: millis(responseMs), retransmissions };
}
const unanswered = (sentMs: number, waitedMs = 200): PathEvidence => ({
  kind: 'unanswered',
  sentMs: millis(sentMs),
  waitedMs: millis(waitedMs),
});
const at = (kind: 'refused' | 'heard' | 'portal', atMs: number): PathEvidence => ({
  kind,
  atMs: millis(atMs),
});

function run(evidence: readonly PathEvidence[]): PathHealthState {
  return evidence.reduce(
    (state, item) => advancePathHealth(state, item, policy),
    createPathHealth(millis(0)),
  );
}
/** Ten requests a second from `fromMs` on, answered after `responseMs`. */
const steady = (fromMs: number, count: number, responseMs: number): PathEvidence[] =>
  Array.from({ length: count }, (_, index) => answered(fromMs + 100 * index, responseMs + (index % 3)));

await t.test('what each kind of evidence leads to', async (t) => {
  const usual = steady(0, 30, 60);
  const rows: [string, PathEvidence[], string][] = [
    ['nothing', [], 'unknown noEvidence'],
    ['the first answer', [answered(0, 900)], 'good normal'],
    ['usual answers', usual, 'good normal'],
    ['one slow answer is chance', [...usual, answered(3000, 400)], 'good normal'],
    ['two in a row are not', [...usual, answered(3000, 400), answered(3100, 420)], 'degraded slow'],
    ['slow is relative', steady(0, 30, 900), 'good normal'],
    ['one request without an answer', [...usual, unanswered(3000)], 'good normal'],
    ['two in a row', [...usual, unanswered(3000), unanswered(3100)], 'lost unanswered'],
    ['two at the same moment share one fate', [...usual, unanswered(3000), unanswered(3020)], 'good normal'],
    ['one answered between them', [...usual, unanswered(3000), answered(3100, 60), unanswered(3050)], 'good normal'],
    ['the first answer after a loss', [...usual, unanswered(3000), unanswered(3100), answered(3200, 60)], 'degraded recovering'],
    ['and the second', [...usual, unanswered(3000), unanswered(3100), ...steady(3200, 2, 60)], 'good normal'],
    ['refused by the system', [...usual, at('refused', 3000)], 'lost refused'],
    ['somebody else answers', [...usual, at('portal', 3000)], 'captive portal'],
    ['and nobody after it', [...usual, at('portal', 3000), unanswered(3100), unanswered(3300)], 'captive portal'],
    [
      'every fifth request sent twice',
      [...usual, ...Array.from({ length: 20 }, (_, i) => answered(3000 + 100 * i, i % 5 ? 60 : 700, i % 5 ? 0 : 1))],
      'degraded lossy',
    ],
    [
      'told by the retransmission itself, before any answer',
      [...usual, ...[0, 1, 2].map((i): PathEvidence => ({ kind: 'retransmitted', sentMs: millis(3000 + 100 * i), atMs: millis(3200 + 100 * i) }))],
      'degraded lossy',
    ],
  ]; // prettier-ignore
  for (const [name, evidence, expected] of rows) {
    const { health } = run(evidence);
    t.equal(`${health.state} ${health.reason}`, expected, name);
  }
});

await t.test('time makes it worse', async (t) => {
  const state = run(steady(0, 30, 60));
  const lastMs = 2960;
  const health = (nowMs: number, openMs?: number): string => {
    const open = openMs === undefined ? undefined : millis(openMs);
    const found = pathHealthAt(state, millis(nowMs), open, policy);
    return `${found.state} ${found.reason}`;
  };
  const overdue = overdueAfterMs(state, policy);
  t.ok(overdue >= 110 && overdue <= 150, `${overdue} ms at a usual response of 60 ms`);
  t.equal(health(lastMs + policy.staleMs - 1000), 'good normal');
  t.equal(health(lastMs + policy.staleMs + 1000), 'unknown stale');
  t.equal(health(3000 + overdue - 1, 3000), 'good normal', 'an open request is normal for a while');
  t.equal(health(3000 + overdue + 1, 3000), 'degraded overdue');
  t.equal(health(3000 + policy.halfOpenMs, 3000), 'lost halfOpen');
  const heard = advancePathHealth(state, at('heard', 3050), policy);
  t.equal(
    pathHealthAt(heard, millis(3000 + policy.halfOpenMs), millis(3000), policy).state,
    'good',
    'a peer that was heard since is there',
  );
  t.equal(overdueAfterMs(createPathHealth(millis(0)), policy), policy.overdueMsMax, 'nothing known');
  const lost = run([...steady(0, 30, 60), unanswered(3000), unanswered(3100)]);
  t.equal(
    pathHealthAt(lost, millis(1e7), undefined, policy).state,
    'lost',
    'bad news stay until better ones come',
  );
});

await t.test(
  'a blackhole and a brownout are noticed in time, at ten requests a second and 60 ms',
  async (t) => {
    let hole = run(steady(0, 50, 60));
    let noticedMs = 0;
    for (let nowMs = 5000; noticedMs === 0 && nowMs < 10_000; nowMs += 1) {
      const deadlineMs = overdueAfterMs(hole, policy);
      const sentMs = nowMs - Math.ceil(deadlineMs);
      if (sentMs >= 5000 && sentMs % 100 === 0)
        hole = advancePathHealth(hole, unanswered(sentMs, deadlineMs), policy);
      if (hole.health.state === 'lost') noticedMs = nowMs - 5000;
    }
    t.ok(noticedMs > 0 && noticedMs <= 350, `blackhole noticed after ${noticedMs} ms`);

    let random = seed;
    const chance = (): number => (random = (random * 1_103_515_245 + 12_345) % 2 ** 31) / 2 ** 31;
    const delays: number[] = [];
    for (let trial = 0; trial < 200; trial++) {
      let state = run(steady(0, 50, 60));
      for (let index = 0; index < 60; index++) {
        const sentMs = 5000 + 100 * index;
        const isLost = chance() < 0.28; // 15 % in each direction
        const overdueMs = Math.ceil(overdueAfterMs(state, policy));
        const atMs = millis(sentMs + overdueMs);
        const evidence: PathEvidence = isLost
          ? { kind: 'retransmitted', sentMs: millis(sentMs), atMs }
          : answered(sentMs, 60);
        state = advancePathHealth(state, evidence, policy);
        if (state.health.state === 'good') continue;
        delays.push(100 * index + overdueMs);
        break;
      }
    }
    delays.sort((a, b) => a - b);
    const p95 = delays[Math.floor(delays.length * 0.95)] ?? Number.POSITIVE_INFINITY;
    t.equal(delays.length, 200, 'every brownout was noticed');
    t.ok(p95 <= 2400, `seed ${seed}: brownout noticed after ${p95} ms (p95)`);
  },
);

await t.test('any evidence in any order', async () => {
  const anyTime = fc.integer({ min: 0, max: 60_000 });
  const anyEvidence = fc.oneof(
    fc
      .tuple(anyTime, fc.integer({ min: 0, max: 5000 }), fc.integer({ min: 0, max: 4 }))
      .map((row) => answered(...row)),
    fc.tuple(anyTime, fc.integer({ min: 1, max: 5000 })).map((row) => unanswered(...row)),
    fc
      .tuple(fc.constantFrom('refused' as const, 'heard' as const, 'portal' as const), anyTime)
      .map((row) => at(...row)),
  );
  fc.assert(
    fc.property(fc.array(anyEvidence, { maxLength: 80 }), anyTime, (evidence, nowMs) => {
      let state = createPathHealth(millis(0));
      let isLostOrCaptive = false;
      for (const item of evidence) {
        const next = advancePathHealth(state, item, policy);
        if (next.recent.length > policy.lossWindow) return false;
        if (!((next.baselineMs ?? 0) >= 0) || !Number.isFinite(next.baselineMs ?? 0)) return false;
        if (state.health.state === next.health.state && state.health.sinceMs !== next.health.sinceMs)
          return false;
        if (state.health.state !== 'good' && next.health.state === 'good' && item.kind !== 'answered')
          return false;
        isLostOrCaptive = next.health.state === 'lost' || next.health.state === 'captive';
        state = next;
      }
      const share = lossShare(state, millis(nowMs), policy);
      const now = pathHealthAt(state, millis(nowMs), undefined, policy);
      return share >= 0 && share <= 1 && (!isLostOrCaptive || now.state === state.health.state);
    }),
    { seed, numRuns: 300 },
  );
});

await t.test('probes keep to their allowance', async (t) => {
  const probes = defaultProbePolicy;
  const size = bytes(64);
  const dayMs = 86_400_000;
  await t.test('an idle link', async (t) => {
    let state = createProbeState(millis(0), probes);
    let evidenceMs = millis(0);
    while (evidenceMs < dayMs) {
      const dueMs = probeDueMs(state, { urgency: 'quiet', evidenceMs }, size, evidenceMs, probes);
      state = takeProbeAnswered(takeProbeSent(state, size, dueMs, probes));
      evidenceMs = millis(dueMs + 60);
    }
    t.ok(state.spentBytes <= 200_000, `${state.spentBytes} octets in a day`);
    t.ok(state.spentBytes >= 100_000, 'it is asked at all');
  });
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          urgency: fc.constantFrom('quiet' as const, 'doubt' as const, 'lost' as const),
          lastsMs: fc.integer({ min: 1000, max: dayMs }),
          isAnswered: fc.boolean(),
        }),
        { minLength: 1, maxLength: 6 },
      ),
      fc.integer({ min: 40, max: 2000 }),
      (phases, bytesEach) => {
        let state = createProbeState(millis(0), probes);
        const sent: number[] = [];
        let nowMs = 0;
        let evidenceMs = millis(0);
        for (const { urgency, lastsMs, isAnswered } of phases) {
          const endMs = nowMs + lastsMs;
          for (;;) {
            const dueMs = probeDueMs(state, { urgency, evidenceMs }, bytes(bytesEach), millis(nowMs), probes);
            if (dueMs > endMs) break;
            nowMs = Math.max(nowMs, dueMs);
            state = takeProbeSent(state, bytes(bytesEach), millis(nowMs), probes);
            sent.push(nowMs);
            if (isAnswered) state = takeProbeAnswered(state);
            if (isAnswered) evidenceMs = millis(nowMs);
          }
          nowMs = endMs;
        }
        // The octets of any 24 hours, wherever they begin; each may end with one probe that was just affordable.
        let first = 0;
        return sent.every((lastMs, index) => {
          while ((sent[first] ?? 0) < lastMs - dayMs) first++;
          return (index - first + 1) * bytesEach <= probes.dayBytes + 1;
        });
      },
    ),
    { seed, numRuns: 60 },
  );
});
