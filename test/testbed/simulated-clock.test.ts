// Proves: timers run in the order of time, then of creation; promises settle between timers; cancelled timers never
// run and are not kept; the wall clock steps alone; a seed gives the same numbers, a fork does not disturb them.
import t from 'tap';
import fc from 'fast-check';
import { AssertionError } from '../../src/base/assert.ts';
import { millis } from '../../src/base/units.ts';
import { every, sleep, withDeadline } from '../../src/host/clock.ts';
import { SeededEntropy, hash32 } from '../../src/testbed/seeded-entropy.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';

await t.test('timers run by time, then by creation', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(50), { maxLength: 60 }), async (delays) => {
      const clock = new SimulatedClock();
      const seen: [number, number][] = [];
      delays.forEach((delay, index) =>
        clock.schedule(millis(delay), () => seen.push([clock.monotonicMs(), index])),
      );
      await clock.advance(100);
      const expected = delays
        .map((delay, index) => [delay, index] as const)
        .sort((a, b) => a[0] - b[0] || a[1] - b[1]);
      return JSON.stringify(seen) === JSON.stringify(expected) && clock.monotonicMs() === 100;
    }),
    { numRuns: 50 },
  );
  t.pass('in every order of creation');
});

await t.test('work settles between timers', async (t) => {
  const clock = new SimulatedClock();
  const trace: string[] = [];
  const worker = async (): Promise<void> => {
    for (let round = 0; round < 3; round++) {
      await sleep(clock, millis(10));
      trace.push(`worker ${clock.monotonicMs()}`);
    }
  };
  const work = worker();
  clock.schedule(millis(25), () => trace.push('timer 25'));
  await clock.advance(29.5);
  t.same(trace, ['worker 10', 'worker 20', 'timer 25']);
  await clock.advance(0.5);
  await work;
  t.same(trace.at(-1), 'worker 30');
});

await t.test('a cancelled timer is gone, and a million of them do not pile up', async (t) => {
  const clock = new SimulatedClock();
  let ran = 0;
  for (let index = 0; index < 20_000; index++) clock.schedule(millis(1e6), () => ran++)();
  t.equal(clock.pendingCount, 0);
  const stop = every(clock, millis(100), () => ran++);
  await clock.advance(1000);
  stop();
  stop();
  await clock.advance(10_000);
  t.equal(ran, 10);
  t.equal(clock.pendingCount, 0);
});

await t.test('the wall clock steps alone', async (t) => {
  const clock = new SimulatedClock();
  const before = clock.unixMs();
  clock.stepWall(-5000);
  await clock.advance(1000);
  t.equal(clock.unixMs() - before, -4000);
  t.equal(clock.monotonicMs(), 1000);
});

await t.test('advanceUntil follows the work, and says when nothing can settle it', async (t) => {
  const clock = new SimulatedClock();
  await clock.advanceUntil(sleep(clock, millis(1234)));
  t.equal(clock.monotonicMs(), 1234);
  await t.rejects(
    clock.advanceUntil(withDeadline(clock, millis(50), 'x', new Promise<void>(() => undefined))),
    {
      code: 'DEADLINE',
    },
  );
  await t.rejects(clock.advanceUntil(new Promise<void>(() => undefined)), AssertionError);
  await t.rejects(clock.advance(-1), AssertionError);
});

await t.test('seeded chance', (t) => {
  const take = (entropy: SeededEntropy, count: number): number[] =>
    Array.from({ length: count }, () => entropy.uint32());
  const first = take(new SeededEntropy(7), 20);
  t.same(take(new SeededEntropy(7), 20), first, 'same seed, same numbers');
  t.notSame(take(new SeededEntropy(8), 20), first);
  const forking = new SeededEntropy(7);
  take(forking.fork('modem'), 5);
  t.same(take(forking, 20), first, 'a fork leaves its parent alone');
  t.notSame(take(new SeededEntropy(7).fork('a'), 5), take(new SeededEntropy(7).fork('b'), 5));
  const mean = take(new SeededEntropy(1), 20_000).reduce((sum, value) => sum + value / 2 ** 32, 0) / 20_000;
  t.ok(Math.abs(mean - 0.5) < 0.01, `mean ${mean}`);
  t.equal(new SeededEntropy(3).bytes(7).length, 7);
  t.equal(hash32(1, -2, 3), hash32(1, -2, 3));
  t.not(hash32(1, 2), hash32(2, 1));
  t.end();
});
