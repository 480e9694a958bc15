/**
 * Proves that the whole gateway keeps its promises under faults: the seeds that failed once, and a slice of new ones, come to
 * rest without breaking an invariant of DESIGN; that a seed takes the same course each time; and that a failing run is made
 * smaller. The lot is `npm run sim:long`.
 */
import { setMaxListeners } from 'node:events';
import { readFile } from 'node:fs/promises';
import t from 'tap';
import { settle } from '../../src/host/clock.ts';
import { mutants } from '../../src/testbed/simulation/mutants.ts';
import { faultKinds, planOf } from '../../src/testbed/simulation/plan.ts';
import { shrink } from '../../src/testbed/simulation/shrink.ts';
import { simulate } from '../../src/testbed/simulation/simulate.ts';
import { Draw } from '../../src/testbed/simulation/draw.ts';
import { SimulatedNetwork } from '../../src/testbed/simulation/simulated-network.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';

t.setTimeout(300_000);
setMaxListeners(0);

void t.test('seeds that failed once', async (t) => {
  const text = await readFile(new URL('../../../test/sim/seeds.json', import.meta.url), 'utf8');
  for (const { seed, why } of JSON.parse(text) as { seed: number; why: string }[]) {
    const { violations } = await simulate({ seed });
    t.same(violations, [], `seed ${seed}: ${why}`);
    await settle();
  }
});

void t.test('new seeds', async (t) => {
  const total = { completed: 0, virtualMs: 0 };
  for (let seed = 1001; seed <= 1006; seed++) {
    const { violations, counts, virtualMs } = await simulate({ seed, handovers: 10 });
    t.same(violations, [], `seed ${seed}`);
    total.completed += counts.completed;
    total.virtualMs += virtualMs;
    await settle();
  }
  t.ok(
    total.completed > 30,
    `${total.completed} handovers in ${Math.round(total.virtualMs / 1000)} virtual s`,
  );
});

void t.test('a seed takes the same course each time', async (t) => {
  const options = { seed: 4, handovers: 6 };
  const [first, second] = [await simulate(options), await simulate(options)];
  t.equal(second.trace, first.trace);
  t.same(second.counts, first.counts);
  const other = await simulate({ seed: 5, handovers: 6 });
  t.not(other.trace, first.trace, 'another seed takes another one');
});

void t.test('a failing run is made smaller', async (t) => {
  const mutant = mutants.find(({ name }) => name === 'releasedBeforeClaim')!;
  t.equal(await shrink({ seed: 2, handovers: 1 }), undefined, 'one that does not fail is left alone');
  const smallest = await shrink({ seed: 2, handovers: 6, mutant });
  t.match(smallest?.result.violations[0], { invariant: 'I4' });
  t.equal(smallest?.result.plan.faults.size, 0, 'this defect takes no fault at all');
  t.ok((smallest?.handovers ?? 6) < 6);
});

void t.test('plans', (t) => {
  t.same(planOf({ seed: 9 }), planOf({ seed: 9 }));
  const seen = new Set<string>();
  for (let seed = 1; seed <= 300; seed++) {
    const plan = planOf({ seed });
    for (const kind of plan.faults.keys()) seen.add(kind);
  }
  const { faults } = planOf({ seed: 7 });
  const rest = [...faults].filter(([kind]) => kind !== 'loss');
  t.ok(rest.length > 0 && rest.length < faults.size);
  t.same(
    [...planOf({ seed: 7, without: ['loss'] }).faults],
    rest,
    'without one kind the others stay as they are',
  );
  t.same([...seen].sort(), [...faultKinds].sort(), 'every kind of fault occurs');
  t.end();
});

void t.test('the simulated network', async (t) => {
  const clock = new SimulatedClock();
  const path = { delayMs: 10, jitterMs: 0, lossRate: 0, duplicateRate: 0 };
  let current: typeof path | undefined = path;
  const network = new SimulatedNetwork({
    clock,
    draw: new Draw(new SeededEntropy(1)),
    pathOf: () => current,
    onDelivered: () => undefined,
  });
  const [a, b] = [network.station('a'), network.station('b')];
  const from = await a.openDatagram({ localAddress: 'a' });
  const to = await b.openDatagram({ localAddress: 'b', port: 7 });
  const got: number[] = [];
  to.onMessage((data, { address }) => {
    t.equal(address, 'a');
    got.push(data[0] ?? -1);
  });
  const send = async (value: number): Promise<unknown> => {
    const data = Uint8Array.of(value);
    const sent = await from.send(data, to.local);
    data[0] = 99;
    await clock.advance(20);
    return sent.ok ? 'sent' : sent.error.errno;
  };
  t.equal(await send(1), 'sent');
  current = { ...path, duplicateRate: 1 };
  await send(2);
  current = { ...path, lossRate: 1 };
  await send(3);
  current = undefined;
  await send(4);
  current = path;
  a.isUp = false;
  t.equal(await send(5), 'ENETUNREACH');
  a.isUp = true;
  b.isUp = false;
  await send(6);
  b.isUp = true;
  t.same(got, [1, 2, 2], 'what the sender writes over later is not what arrives');
  await t.rejects(b.openDatagram({ localAddress: 'b', port: 7 }), /EADDRINUSE/);
  await t.rejects(b.openDatagram({ localAddress: 'c' }), /EADDRNOTAVAIL/);
  b.end();
  await send(7);
  t.equal(got.length, 3, 'a process that has ended hears nothing');
  a.end();
  t.equal(await send(8), 'EBADF');
});
