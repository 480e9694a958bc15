// Proves on a virtual clock that a testbed CSE fails as scripted and only as scripted: requests and answers are dropped,
// delayed, replaced and broken where the rule says, what was executed before the failure stays executed, a crash answers
// nothing, a restart keeps or loses the resources, registrations heal by themselves, and one seed gives one history.
import t from 'tap';
import type { Test } from 'tap';
import { millis } from '../../src/base/units.ts';
import type { CseClient, CseOutcome } from '../../src/onem2m/cse-client.ts';
import { Operation, ResourceType, ResponseStatusCode } from '../../src/onem2m/enums.ts';
import type { RequestPrimitive } from '../../src/onem2m/primitives.ts';
import type { MisbehaviourAction, MisbehaviourRule } from '../../src/testbed/cse/misbehaviour.ts';
import { aeContent, instance, ok, refused } from './cse-contract-bench.ts';
import { CseWorld, adminOriginator } from './cse-world.ts';

const rsc = ResponseStatusCode;
const container = 'cse-mn1/gw/data';

interface Bed {
  readonly world: CseWorld;
  readonly gateway: CseClient;
}

/** A world with AE `Cgw` and one container at mn1. */
async function bed(t: Test, seed: number): Promise<Bed> {
  const world = new CseWorld({ seed });
  await world.start();
  t.teardown(() => world.stop());
  const gateway = world.client('Cgw', 'mn1', 5000);
  const ae = { ...aeContent('gw'), pointOfAccess: ['mem://gw'] };
  ok(t, await gateway.create('cse-mn1', ResourceType.ae, { ae }), rsc.created, 'an AE');
  const created = await gateway.create('cse-mn1/gw', ResourceType.container, {
    container: { resourceName: 'data' },
  });
  ok(t, created, rsc.created, 'a container');
  return { world, gateway };
}

function once(action: MisbehaviourAction): MisbehaviourRule {
  return { action, count: 1, operation: Operation.create, resourceType: ResourceType.contentInstance };
}

function write({ gateway }: Bed, resourceName: string): Promise<CseOutcome> {
  return instance(gateway, container, { resourceName, content: resourceName });
}

function names({ world }: Bed): string[] {
  const held = world.cses.mn1
    .dump()
    .filter(({ resourceType }) => resourceType === ResourceType.contentInstance);
  return held.map(({ path }) => path.split('/').at(-1) ?? '');
}

await t.test('one request is hit, executed or not as the rule says, and the next is not', async (t) => {
  const table: [MisbehaviourAction, { answer: string | number; executed: boolean }][] = [
    [{ kind: 'dropRequest' }, { answer: 'deadline', executed: false }],
    [{ kind: 'dropAnswer' }, { answer: 'deadline', executed: true }],
    [
      { kind: 'answer', responseStatusCode: 5000 },
      { answer: 5000, executed: false },
    ],
    [{ kind: 'wrongIdentifier' }, { answer: 'malformed', executed: true }],
    [
      { kind: 'corrupt', corruption: 'missingStatusCode' },
      { answer: 'malformed', executed: true },
    ],
    [
      { kind: 'corrupt', corruption: 'garbageBody' },
      { answer: 'malformed', executed: true },
    ],
  ];
  for (const [action, { answer, executed }] of table) {
    await t.test(JSON.stringify(action), async (t) => {
      const it = await bed(t, 3);
      it.world.cses.mn1.misbehaviour.add(once(action));
      const outcome = await write(it, 'e1');
      const got = outcome.ok
        ? outcome.value.responseStatusCode
        : outcome.error.kind === 'rejected'
          ? outcome.error.responseStatusCode
          : outcome.error.kind;
      t.equal(got, answer);
      t.strictSame(names(it), executed ? ['e1'] : []);
      const retry = await write(it, 'e1');
      if (executed) refused(t, retry, rsc.conflict, 'a retry finds it stored');
      else ok(t, retry, rsc.created, 'a retry stores it');
      ok(t, await write(it, 'e2'), rsc.created, 'the rule is spent');
      t.equal(it.world.cses.mn1.misbehaviour.hits, 1);
    });
  }
});

await t.test('rules choose by operation, type, originator, address, and after some that pass', async (t) => {
  const it = await bed(t, 4);
  const { misbehaviour } = it.world.cses.mn1;
  const action = { kind: 'answer', responseStatusCode: 5000 } as const;
  const takeBack = misbehaviour.add({ action, operation: Operation.create, originator: 'Cx*' });
  ok(t, await write(it, 'e1'), rsc.created, 'another originator');
  takeBack();
  misbehaviour.add({ action, resourceType: ResourceType.contentInstance, to: '*/data*', skip: 1 });
  ok(t, await write(it, 'e2'), rsc.created, 'skipped');
  refused(t, await write(it, 'e3'), 5000, 'hit');
  ok(t, await it.gateway.retrieve(container), rsc.ok, 'the container itself is of another type');
  refused(
    t,
    await it.gateway.retrieve(`${container}/e1`),
    5000,
    'RETRIEVE of an instance is hit by the type',
  );
  misbehaviour.clear();
  ok(t, await write(it, 'e3'), rsc.created, 'behaves again');
});

await t.test('a delay executes later, and its jitter repeats with the seed', async (t) => {
  const times = async (seed: number): Promise<number[]> => {
    const it = await bed(t, seed);
    it.world.cses.mn1.misbehaviour.add({
      action: { kind: 'delay', delayMs: millis(100), jitterMs: millis(400) },
      probability: 0.5,
    });
    const taken: number[] = [];
    for (let index = 0; index < 20; index++) {
      const startMs = it.world.clock.monotonicMs();
      ok(t, await write(it, `e${index}`), rsc.created, `e${index}`);
      taken.push(it.world.clock.monotonicMs() - startMs);
    }
    return taken;
  };
  const first = await times(5);
  t.strictSame(await times(5), first, 'the same seed, the same history');
  t.notSame(await times(6), first, 'another seed, another history');
  const delayed = first.filter((ms) => ms > 2);
  t.ok(delayed.length > 3 && delayed.length < 17, `${delayed.length} of 20 were delayed`);
  t.ok(
    delayed.every((ms) => ms >= 102 && ms <= 502),
    'by 100 to 500 ms over two hops',
  );
});

await t.test('a crash answers nothing; a restart keeps what was executed or loses all', async (t) => {
  const table = [
    { when: 'beforeExecution', keepState: true, left: ['e1'], retried: 'created' },
    { when: 'afterExecution', keepState: true, left: ['e1', 'e2'], retried: 'conflict' },
    { when: 'afterExecution', keepState: false, left: [], retried: 'notFound' },
  ] as const;
  for (const { when, keepState, left, retried } of table) {
    await t.test(`${when}, ${keepState ? 'with' : 'without'} state`, async (t) => {
      const it = await bed(t, 7);
      const mn1 = it.world.cses.mn1;
      ok(t, await write(it, 'e1'), rsc.created, 'before the crash');
      mn1.misbehaviour.add(once({ kind: 'crash', when, keepState, restartAfterMs: millis(8000) }));
      const outcome = await write(it, 'e2');
      t.equal(!outcome.ok && outcome.error.kind, 'deadline', 'no answer');
      t.equal(mn1.isRunning, false);
      const dead = await it.gateway.retrieve(container);
      t.equal(!dead.ok && dead.error.kind, 'deadline', 'silence while it is down');
      await it.world.wait(5000);
      t.equal(mn1.isRunning, true, 'it is back');
      t.strictSame(names(it), left);
      const retry = await write(it, 'e2');
      if (retried === 'created') ok(t, retry, rsc.created, 'the retry');
      else refused(t, retry, rsc[retried], 'the retry');
      const kinds = it.world.events.filter(({ cseId }) => cseId === '/id-mn1').map(({ kind }) => kind);
      t.ok(kinds.includes('crashed') && kinds.includes('restarted'), 'both are reported');
    });
  }
});

await t.test('what is under way at a crash is never answered, not even after the restart', async (t) => {
  const it = await bed(t, 8);
  const { mn1 } = it.world.cses;
  const channel = await it.gateway.create('cse-mn1/gw', ResourceType.pollingChannel, {
    pollingChannel: { resourceName: 'pch' },
  });
  ok(t, channel, rsc.created, 'a polling channel');
  mn1.misbehaviour.add(once({ kind: 'delay', delayMs: millis(3000) }));
  const written = write(it, 'e1');
  const polled = it.gateway.retrieve('cse-mn1/gw/pch/pcu');
  await it.world.wait(500);
  await mn1.restart({ keepState: true });
  for (const work of [written, polled]) {
    const outcome = await work;
    t.equal(!outcome.ok && outcome.error.kind, 'deadline');
  }
  t.strictSame(names(it), [], 'the delayed request died with its process');
});

await t.test('subscriptions outlive a restart with state; a batch that was waiting does not', async (t) => {
  const it = await bed(t, 9);
  const heard: RequestPrimitive[] = [];
  t.teardown(
    it.world.network.listenAe('mem://gw', (request) => {
      heard.push(request);
      return Promise.resolve({ responseStatusCode: rsc.ok, requestIdentifier: request.requestIdentifier });
    }),
  );
  const subscribe = (more: object): Promise<CseOutcome> =>
    it.gateway.create(container, ResourceType.subscription, {
      subscription: {
        notificationUri: ['Cgw'],
        eventNotificationCriteria: { notificationEventType: [3], childResourceType: [4] },
        ...more,
      },
    });
  ok(t, await subscribe({}), rsc.created, 'one at once');
  ok(t, await subscribe({ batchNotify: { duration: 'PT2S' } }), rsc.created, 'one in batches');
  ok(t, await write(it, 'e1'), rsc.created, 'e1');
  await it.world.wait(100);
  t.equal(heard.length, 1);
  await it.world.cses.mn1.restart({ keepState: true });
  await it.world.wait(5000);
  t.equal(heard.length, 1, 'the batch is gone');
  ok(t, await write(it, 'e2'), rsc.created, 'e2');
  await it.world.wait(5000);
  t.equal(heard.length, 3, 'both subscriptions work on');
});

await t.test(
  'an MN-CSE registers again at an IN-CSE that lost it, and is dropped when it stays away',
  async (t) => {
    const it = await bed(t, 10);
    const { in: inCse, mn1 } = it.world.cses;
    const admin = it.world.client(adminOriginator, 'in');
    const registered = async (): Promise<string[]> => {
      const found = await admin.discover('cse-in', {
        resourceType: [ResourceType.remoteCse],
        labels: ['baton:target'],
      });
      return found.ok ? found.value.sort() : [];
    };
    const both = ['cse-in/id-mn1', 'cse-in/id-mn2'];
    t.strictSame(await registered(), both);
    await inCse.restart({ keepState: false });
    t.strictSame(await registered(), [], 'the IN-CSE forgot');
    await it.world.wait(7000);
    t.strictSame(await registered(), both, 'and was reminded');
    await mn1.crash();
    await it.world.wait(40_000);
    t.strictSame(await registered(), ['cse-in/id-mn2'], 'the lease of a dead MN-CSE ran out');
    refused(t, await admin.retrieve('/id-mn1/cse-mn1'), rsc.notFound, 'and it is not reachable any more');
    await mn1.restart({ keepState: false });
    await it.world.wait(2000);
    t.strictSame(await registered(), both, 'it came back');
    it.world.network.cut('mem://mn1');
    await it.world.wait(40_000);
    t.strictSame(await registered(), ['cse-in/id-mn2'], 'cut off is as good as dead');
    it.world.network.heal('mem://mn1');
    await it.world.wait(10_000);
    t.strictSame(await registered(), both, 'healed');
  },
);

await t.test('an outgoing rule loses notifications and forwarded requests only', async (t) => {
  const it = await bed(t, 11);
  const heard: RequestPrimitive[] = [];
  t.teardown(
    it.world.network.listenAe('mem://gw', (request) => {
      heard.push(request);
      return Promise.resolve({ responseStatusCode: rsc.ok, requestIdentifier: request.requestIdentifier });
    }),
  );
  const created = await it.gateway.create(container, ResourceType.subscription, {
    subscription: { notificationUri: ['Cgw'], eventNotificationCriteria: { notificationEventType: [3] } },
  });
  ok(t, created, rsc.created, 'a subscription');
  const { misbehaviour } = it.world.cses.mn1;
  misbehaviour.add({
    direction: 'outgoing',
    action: { kind: 'dropRequest' },
    operation: Operation.notify,
    count: 1,
  });
  ok(t, await write(it, 'e1'), rsc.created, 'e1');
  ok(t, await write(it, 'e2'), rsc.created, 'e2');
  await it.world.wait(20_000);
  const names = heard.map(
    (each) =>
      each.primitiveContent?.notification?.notificationEvent?.representation?.contentInstance?.resourceName,
  );
  t.strictSame(names, ['e2']);
  t.ok(
    it.world.events.some(({ kind }) => kind === 'notificationFailed'),
    'the loss is reported',
  );
});
