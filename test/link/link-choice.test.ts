// Proves: the serving link is left at once when it carries nothing, within time to trigger when it is worse than a good one,
// and for a preferred one only after hysteresis, time and minimum stay; a link that flaps is left no more than once in a
// minute while another one works, whatever its pattern; every change names a reason and why each other link was not taken;
// the order of the list does not matter. Seeds are printed by fast-check.
import fc from 'fast-check';
import t from 'tap';
import { millis } from '../../src/base/units.ts';
import { chooseLink, defaultLinkChoicePolicy as policy, noLinkChosen } from '../../src/link/link-choice.ts';
import type { LinkChange, LinkChoiceState, LinkOption } from '../../src/link/link-choice.ts';
import type { PathState } from '../../src/link/path-health.ts';

const seed = Number(process.env['SEED'] ?? 20_261_123);

function option(name: string, path: PathState | 'down' | 'goingDown', cost = 0, responseMs?: number): LinkOption {
  const isState = path === 'down' || path === 'goingDown';
  const reason = path === 'unknown' ? 'noEvidence' : path === 'degraded' ? 'lossy' : path === 'lost' ? 'unanswered' : 'normal';
  return {
    name,
    state: isState ? path : 'up',
    isUsable: path !== 'down',
    health: { state: isState ? 'good' : path, reason, sinceMs: millis(0) },
    ...(responseMs === undefined ? {} : { responseMs: millis(responseMs) }),
    preference: { cost, isMetered: false, energyClass: 'low' },
  };
} // prettier-ignore

/** Looks every `stepMs` from `fromMs` to `toMs`; the changes and the state after them. */
function look(
  from: LinkChoiceState,
  optionsAt: (nowMs: number) => readonly LinkOption[],
  fromMs: number,
  toMs: number,
  stepMs = 50,
): { state: LinkChoiceState; changes: LinkChange[] } {
  const changes: LinkChange[] = [];
  let state = from;
  for (let nowMs = fromMs; nowMs <= toMs; nowMs += stepMs) {
    const step = chooseLink(state, optionsAt(nowMs), millis(nowMs), policy);
    state = step.state;
    if (step.change !== undefined) changes.push(step.change);
  }
  return { state, changes };
}
const started = (name: string): LinkChoiceState => ({
  serving: name,
  servingSinceMs: millis(0),
  records: [],
});
const told = (changes: readonly LinkChange[]): string[] =>
  changes.map(({ atMs, trigger, target }) => `${atMs} ${trigger} ${target}`);

await t.test('the first choice', async (t) => {
  const first = (options: readonly LinkOption[]): string[] =>
    told(look(noLinkChosen, () => options, 0, 0).changes);
  t.same(first([option('b', 'good', 1), option('a', 'good', 2)]), ['0 initial b'], 'the cheaper one');
  t.same(
    first([option('b', 'unknown'), option('a', 'good', 9)]),
    ['0 initial a'],
    'the one that is known to work',
  );
  t.same(first([option('b', 'good'), option('a', 'good')]), ['0 initial a'], 'equal ones by name');
  t.same(
    first([option('a', 'down'), option('b', 'lost'), option('c', 'captive')]),
    [],
    'none that carries anything',
  );
});

await t.test('a serving link that carries nothing is left at once, whatever stay it had', async (t) => {
  for (const bad of ['down', 'lost', 'captive'] as const) {
    const { changes } = look(started('a'), (now) => [option('a', now < 200 ? 'good' : bad), option('b', 'unknown', 9)], 0, 1000);
    t.equal(changes.length, 1, bad);
    t.match(changes[0], { atMs: 200, serving: 'a', target: 'b' });
    t.ok(changes[0]?.reasons[0]?.startsWith('a: '));
  }
  const stranded = look(started('a'), () => [option('a', 'lost'), option('b', 'down')], 0, 1000);
  t.same(stranded.changes, [], 'nowhere to go');
}); // prettier-ignore

await t.test('a worse link is left for a good one only, in time', async (t) => {
  const brownout = look(started('a'), () => [option('a', 'degraded'), option('b', 'good', 9)], 0, 3000);
  t.same(told(brownout.changes), [`${policy.degradedMs} degraded b`]);
  const goingDown = look(started('a'), () => [option('a', 'goingDown'), option('b', 'good', 9)], 0, 3000);
  t.same(told(goingDown.changes), [`${policy.degradedMs} goingDown b`]);
  const unknown = chooseLink(started('a'), [option('a', 'degraded'), option('b', 'unknown')], millis(5000), policy);
  t.same(unknown.toProbe, ['b'], 'an unknown one is asked first');
  t.equal(unknown.change, undefined);
  const both = look(started('a'), () => [option('a', 'degraded'), option('b', 'degraded')], 0, 9000);
  t.same(both.changes, [], 'not for one that is no better');
  const short = look(started('a'), (now) => [option('a', now % 300 < 250 ? 'degraded' : 'good'), option('b', 'good', 9)], 0, 9000);
  t.same(short.changes, [], 'not when it recovers in between');
}); // prettier-ignore

await t.test('a preferred link is taken after hysteresis, time and minimum stay', async (t) => {
  const cheap = look(started('a'), () => [option('a', 'good', 2), option('b', 'good', 1)], 0, 120_000);
  t.same(told(cheap.changes), [`${policy.minimumStayMs} preferred b`]);
  const equal = look(started('a'), () => [option('a', 'good', 1.4), option('b', 'good', 1)], 0, 120_000);
  t.same(equal.changes, [], 'a difference within the hysteresis');
  const later = look(started('a'), (now) => [option('a', 'good', 2), option('b', now < 100_000 ? 'lost' : 'good', 1)], 0, 150_000);
  t.same(told(later.changes), [`${100_000 + policy.preferredMs} preferred b`], 'its own time to trigger');
}); // prettier-ignore

await t.test('a link that failed must be well for its penalty, which doubles', async (t) => {
  const flap = (now: number): LinkOption[] => [option('a', now >= 1000 && now < 2000 ? 'lost' : 'good', 0), option('b', 'good', 5)];
  const once = look(started('a'), flap, 0, 200_000);
  const backMs = 2000 + policy.penalty.firstMs + policy.preferredMs;
  t.same(told(once.changes), ['1000 pathLost b', `${backMs} preferred a`]);
  const again = look(once.state, (now) => [option('a', now < 201_000 ? 'lost' : 'good'), option('b', 'good', 5)], 200_050, 600_000);
  t.same(told(again.changes), ['200050 pathLost b', `${201_000 + 2 * policy.penalty.firstMs + policy.preferredMs} preferred a`]);
  const rescue = look(once.state, (now) => [option('a', now < 201_000 ? 'lost' : 'good'), option('b', now > 202_000 ? 'lost' : 'good', 5)], 200_050, 210_000);
  t.match(rescue.changes.at(-1), { target: 'a', trigger: 'pathLost' }, 'forgiven when nothing else is left');
  t.match(rescue.changes.at(-1)?.reasons.at(-1), /nothing else is left/u);
}); // prettier-ignore

await t.test('no pattern of flapping moves the gateway more than once a minute', async () => {
  const anyPattern = fc.array(
    fc.tuple(
      fc.integer({ min: 1, max: 300 }),
      fc.constantFrom<PathState | 'down' | 'goingDown'>(
        'good',
        'lost',
        'down',
        'degraded',
        'unknown',
        'captive',
      ),
    ),
    { minLength: 1, maxLength: 25 },
  );
  fc.assert(
    fc.property(anyPattern, fc.integer({ min: 0, max: 9 }), (pattern, steadyCost) => {
      let nowMs = 0;
      let state: LinkChoiceState = started('flapping');
      const leaves: number[] = [];
      for (const [ticks, path] of pattern) {
        for (let tick = 0; tick < ticks; tick++, nowMs += 500) {
          const options = [
            option('flapping', path),
            option('steady', 'good', steadyCost),
            option('dead', 'lost'),
          ];
          const step = chooseLink(state, options, millis(nowMs), policy);
          const reordered =
            tick > 3 ? step : chooseLink(state, [...options].reverse(), millis(nowMs), policy);
          if (reordered.change?.target !== step.change?.target) return false;
          state = step.state;
          if (step.change === undefined) continue;
          const { serving, target, reasons, rejected } = step.change;
          if (target === 'dead' || target === serving || reasons.length === 0 || rejected.length !== 1)
            return false;
          if (serving === 'flapping') leaves.push(nowMs);
        }
      }
      return leaves.every((leftMs, index) => index === 0 || leftMs - (leaves[index - 1] ?? 0) >= 60_000);
    }),
    { seed, numRuns: 300 },
  );
});

await t.test(
  'a link that flaps with any period up to a minute is left once and not returned to',
  async () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 200, max: 60_000 }),
        fc.double({ min: 0.02, max: 0.9, noNaN: true }),
        (periodMs, badShare) => {
          const { changes } = look(
            started('a'),
            (now) => [
              option('a', now % periodMs < badShare * periodMs ? 'lost' : 'good'),
              option('b', 'good', 5),
            ],
            0,
            600_000,
            100,
          );
          return changes.length <= 1;
        },
      ),
      { seed, numRuns: 60 },
    );
  },
);
