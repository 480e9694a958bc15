// Proves that the testbed CSE keeps the contract over the network in memory, under two seeds and with latency, and what
// the contract cannot ask of a foreign CSE: defaults of registration, leases, missing data, address forms, limits.
import t from 'tap';
import { millis } from '../../src/base/units.ts';
import { runContract } from './cse-contract.ts';
import type { ContractTarget } from './cse-contract-bench.ts';
import { CseWorld, adminOriginator, pointsOfAccess } from './cse-world.ts';

function memoryTarget(world: CseWorld, name: string): ContractTarget {
  let listeners = 0;
  return {
    name,
    adminOriginator,
    addresses: {
      in: { cseId: '/id-in', cseBaseName: 'cse-in' },
      mn1: { cseId: '/id-mn1', cseBaseName: 'cse-mn1' },
      mn2: { cseId: '/id-mn2', cseBaseName: 'cse-mn2' },
    },
    capabilities: {
      forwardsToSibling: true,
      notifiesAcross: true,
      pollingChannel: true,
      announcement: true,
      group: true,
      flexContainer: true,
      timeSeries: true,
      nonBlocking: true,
      assignsStems: true,
      limitsAfterFilter: true,
      explainsErrors: true,
      verifiesUnreachable: true,
    },
    entropy: world.entropy,
    patienceMs: millis(10_000),
    connect: (originator, cse) => Promise.resolve(world.client(originator, cse)),
    listen: (handler) => {
      const pointOfAccess = `mem://ae${++listeners}`;
      const close = world.network.listenAe(pointOfAccess, handler);
      return Promise.resolve({ pointOfAccess, close: () => Promise.resolve(close()) });
    },
    wait: (durationMs) => world.wait(durationMs),
    unixMs: () => world.clock.unixMs(),
  };
}

for (const [seed, latencyMs] of [
  [1, 0],
  [2, 25],
] as const) {
  await t.test(`seed ${seed}, ${latencyMs} ms one way`, async (t) => {
    const world = new CseWorld({ seed, latencyMs: millis(latencyMs) });
    await world.start();
    t.teardown(() => world.stop());
    const target = memoryTarget(world, 'the testbed CSE in memory');
    await runContract(t, target);
    await runContract(t, { ...target, name: 'the same CSE with the state of the first run' });
    t.equal(pointsOfAccess.in.startsWith('coap://'), true);
  });
}
