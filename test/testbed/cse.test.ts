// Proves that the testbed CSE keeps the contract over the network in memory, under two seeds and with latency, and what
// the contract cannot ask of a foreign CSE: faults of primitives, any input at all, limits, missing data, histories,
// announced copies after a loss, reports for measurement.
import fc from 'fast-check';
import t from 'tap';
import type { Test } from 'tap';
import { millis } from '../../src/base/units.ts';
import { sleep } from '../../src/host/clock.ts';
import { contentOf } from '../../src/onem2m/cse-client.ts';
import type { CseClient, CseOutcome } from '../../src/onem2m/cse-client.ts';
import { Operation, ResourceType, ResponseStatusCode } from '../../src/onem2m/enums.ts';
import type { ResourceType as ResourceTypeValue } from '../../src/onem2m/enums.ts';
import { encodeTimestamp } from '../../src/onem2m/primitives.ts';
import type { RequestPrimitive } from '../../src/onem2m/primitives.ts';
import type { PrimitiveContent } from '../../src/onem2m/resources.ts';
import { typePolicies } from '../../src/testbed/cse/attribute-table.ts';
import { runContract } from './cse-contract.ts';
import {
  aeContent,
  allCapabilities,
  contractAddresses,
  instance,
  ok,
  refused,
} from './cse-contract-bench.ts';
import type { ContractTarget } from './cse-contract-bench.ts';
import { CseWorld, adminOriginator } from './cse-world.ts';

const rsc = ResponseStatusCode;

function memoryTarget(world: CseWorld, name: string): ContractTarget {
  let listeners = 0;
  return {
    name,
    adminOriginator,
    addresses: contractAddresses,
    capabilities: allCapabilities,
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
  });
}

/** A started world with AE `Cgw` at mn1, its client and a collector of what it is notified of. */
async function bed(
  t: Test,
  seed: number,
): Promise<{ world: CseWorld; gateway: CseClient; heard: RequestPrimitive[] }> {
  const world = new CseWorld({ seed });
  await world.start();
  t.teardown(() => world.stop());
  const gateway = world.client('Cgw', 'mn1');
  const heard: RequestPrimitive[] = [];
  world.network.listenAe('mem://gw', (request) => {
    heard.push(request);
    return Promise.resolve({ responseStatusCode: rsc.ok, requestIdentifier: request.requestIdentifier });
  });
  const ae = { ...aeContent('gw'), pointOfAccess: ['mem://gw'] };
  ok(t, await gateway.create('cse-mn1', ResourceType.ae, { ae }), rsc.created, 'an AE');
  return { world, gateway, heard };
}

await t.test('primitives that break the rules are answered with the code of their fault', async (t) => {
  const { world } = await bed(t, 20);
  const base: RequestPrimitive = {
    operation: Operation.retrieve,
    to: 'Cgw',
    from: 'Cgw',
    requestIdentifier: 'r',
    releaseVersionIndicator: '4',
  };
  const { releaseVersionIndicator: _rvi, ...withoutVersion } = base;
  const { from: _from, ...withoutOriginator } = base;
  const table: [string, object, number][] = [
    ['sound', base, rsc.ok],
    ['no rvi', withoutVersion, rsc.releaseVersionNotSupported],
    ['rvi of the future', { ...base, releaseVersionIndicator: '9' }, rsc.releaseVersionNotSupported],
    ['no originator', withoutOriginator, rsc.badRequest],
    ['operation 9', { ...base, operation: 9 }, rsc.badRequest],
    ['originator a number', { ...base, from: 7 }, rsc.badRequest],
    ['rqet no time', { ...base, requestExpirationTimestamp: 'soon' }, rsc.badRequest],
    ['rqet relative', { ...base, requestExpirationTimestamp: '5000' }, rsc.ok],
    ['rqet relative and past', { ...base, requestExpirationTimestamp: '-1' }, rsc.requestTimeout],
    ['rt 4', { ...base, responseType: 4 }, rsc.notImplemented],
    ['CREATE without type', { ...base, operation: 1, primitiveContent: {} }, rsc.badRequest],
    ['CREATE of type 9999', { ...base, operation: 1, resourceType: 9999 }, rsc.notImplemented],
    ['two roots', { ...base, operation: 3, primitiveContent: { ae: {}, container: {} } }, rsc.badRequest],
    ['wrong root', { ...base, operation: 3, primitiveContent: { container: {} } }, rsc.badRequest],
    ['another provider', { ...base, to: '//other/id-mn1/cse-mn1' }, rsc.notFound],
    ['own provider', { ...base, to: '//sp.example/id-mn1/cse-mn1/gw' }, rsc.ok],
    ['empty segment', { ...base, to: 'cse-mn1//gw' }, rsc.badRequest],
    ['below a resource ID', { ...base, to: 'Cgw/data' }, rsc.notFound],
    ['latest of an AE', { ...base, to: 'Cgw/la' }, rsc.notFound],
    ['labels as one text', { ...base, filterCriteria: { filterUsage: 1, labels: 'x' } }, rsc.ok],
    ['labels as a number', { ...base, filterCriteria: { filterUsage: 1, labels: 4 } }, rsc.badRequest],
    ['rcn 8 in discovery', { ...base, resultContent: 8, filterCriteria: { filterUsage: 1 } }, rsc.badRequest],
    ['partial', { ...base, attributeList: ['api'] }, rsc.ok],
  ];
  for (const [title, request, code] of table) {
    const response = await world.cses.mn1.handle(request as RequestPrimitive, { serialisation: 'json' });
    t.equal(response?.responseStatusCode, code, title);
    if (code !== rsc.ok) t.type(response?.primitiveContent?.debugInfo, 'string', `${title} is explained`);
  }
});

/** Values of every kind an attribute may have, and kinds it may not. */
const junk = fc.oneof(
  fc.jsonValue(),
  fc.constantFrom(
    'Cgw',
    'cse-mn1/gw/data',
    '/id-in',
    'mem://gw',
    'PT1S',
    '20990101T000000',
    '19990101T000000',
  ),
  fc.array(fc.constantFrom('Cgw', 'Cnobody', '/id-in', 'mem://gw', 'cse-mn1/gw/data', '*')),
  fc.integer({ min: -1, max: 5 }),
);

/** What each type needs to be created. */
const sound: readonly (readonly [type: number, root: string, attributes: object])[] = [
  [1, 'accessControlPolicy', { privileges: {}, selfPrivileges: {} }],
  [2, 'ae', { appId: 'N1', requestReachability: true, supportedReleaseVersions: ['4'] }],
  [3, 'container', {}],
  [4, 'contentInstance', { content: 1 }],
  [9, 'group', { maxNrOfMembers: 3, memberIds: ['cse-mn1/gw/data'] }],
  [15, 'pollingChannel', {}],
  [
    16,
    'remoteCse',
    { cseId: '/x', cseBase: '/x/y', requestReachability: true, supportedReleaseVersions: [] },
  ],
  [23, 'subscription', { notificationUri: ['Cgw'] }],
  [28, 'x:y', { containerDefinition: 'z' }],
  [29, 'timeSeries', {}],
  [30, 'timeSeriesInstance', { content: 1, dataGenerationTime: '20260101T000000' }],
];

/** Where a resource of each type stands that has one, for requests that come past the check of the type. */
const standing = new Map<number, readonly string[]>([
  [2, ['cse-mn1/gw', 'Cgw']],
  [3, ['cse-mn1/gw/data']],
  [15, ['cse-mn1/gw/pch']],
  [29, ['cse-mn1/gw/ts']],
]);

/** CREATE and UPDATE requests with attributes exchanged for anything, and primitives that hold anything at all. */
function anyRequest(): fc.Arbitrary<object> {
  const names = [...typePolicies.values()].flatMap(({ attributes }) => Object.keys(attributes));
  const changes: fc.Arbitrary<object> = fc.oneof(
    { arbitrary: fc.dictionary(fc.constantFrom(...new Set(names), 'lvl'), junk, { maxKeys: 2 }), weight: 3 },
    fc.constant({ labels: ['x'] }),
  );
  const places = [
    'cse-mn1',
    'cse-mn1/gw',
    'cse-mn1/gw/data',
    'cse-mn1/gw/ts',
    'cse-mn1/gw/data/la',
    'Cgw',
    '-/gw/pch/pcu',
  ];
  const to = fc.oneof(fc.constantFrom(...places, '', '/', '//', '/id-mn1/-/gw', '-/gw/fopt/x'), fc.string());
  const from = fc.constantFrom('Cgw', 'CAdmin', '/id-in', 'S');
  const common = { requestIdentifier: fc.constant('r'), releaseVersionIndicator: fc.constant('4') };
  const nearlySound = fc
    .tuple(fc.constantFrom(...sound), changes, fc.boolean())
    .chain(([[type, root, attributes], changed, isUpdate]) =>
      fc.record({
        ...common,
        operation: fc.constant(isUpdate ? 3 : 1),
        to: fc.oneof(
          fc.constantFrom(...places),
          fc.constantFrom(...((isUpdate ? standing.get(type) : undefined) ?? places)),
        ),
        from: fc.constantFrom('Cgw', 'CAdmin'),
        resourceType: fc.constant(type),
        primitiveContent: fc.constant({ [root]: isUpdate ? changed : { ...attributes, ...changed } }),
      }),
    );
  const filter = fc.dictionary(
    fc.constantFrom('filterUsage', 'labels', 'resourceType', 'limit', 'attributes'),
    junk,
  );
  const anything = fc.record(
    {
      ...common,
      operation: fc.integer({ min: 1, max: 5 }),
      to,
      from,
      resourceType: fc.oneof(fc.constantFrom(...sound.map(([type]) => type)), junk),
      primitiveContent: junk,
      resultContent: fc.oneof(fc.integer({ min: 0, max: 12 }), junk),
      filterCriteria: filter,
      requestExpirationTimestamp: fc.oneof(fc.constant('500'), junk),
    },
    { requiredKeys: ['operation', 'to', 'requestIdentifier', 'releaseVersionIndicator'] },
  );
  return fc.oneof({ arbitrary: nearlySound, weight: 3 }, anything);
}

function isPoll({ operation, to }: Partial<RequestPrimitive>): boolean {
  return operation === Operation.retrieve && to?.endsWith('/pch/pcu') === true;
}

await t.test('whatever arrives is answered with a code, and the CSE goes on (I12)', async (t) => {
  const { world, gateway } = await bed(t, 21);
  const seen = new Map<number, number>();
  const children: [ResourceTypeValue, PrimitiveContent][] = [
    [ResourceType.container, { container: { resourceName: 'data' } }],
    [ResourceType.timeSeries, { timeSeries: { resourceName: 'ts' } }],
    [ResourceType.pollingChannel, { pollingChannel: { resourceName: 'pch' } }],
  ];
  await fc.assert(
    fc.asyncProperty(anyRequest(), async (one) => {
      // Whatever an earlier request deleted is there again.
      const ae = { ...aeContent('gw'), pointOfAccess: ['mem://gw'] };
      await gateway.create('cse-mn1', ResourceType.ae, { ae });
      for (const [type, content] of children) await gateway.create('cse-mn1/gw', type, content);
      const answer = world.cses.mn1.handle(one as RequestPrimitive, { serialisation: 'json' });
      // A poll may stay open for as long as it says itself, be it years.
      const wait = new AbortController();
      const patience = sleep(world.clock, millis(120_000), wait.signal);
      const response = (await world.until(Promise.race([answer, patience]))) ?? undefined;
      wait.abort();
      const code = response?.responseStatusCode ?? 0;
      if (code === 0 && isPoll(one)) return;
      if (code === 5000) throw new Error(String(response?.primitiveContent?.debugInfo));
      if (code < 1000) throw new Error('no code');
      seen.set(code, (seen.get(code) ?? 0) + 1);
    }),
    { numRuns: 500 },
  );
  for (const code of [2001, 2004, 4000]) t.ok(seen.has(code), `the inputs reach ${code}: ${seen.get(code)}`);
  const alive = await gateway.retrieve('cse-mn1', { from: 'CAdmin' });
  ok(t, alive, rsc.ok, 'still serving');
});

await t.test('a name is claimed once even while targets are being verified', async (t) => {
  const { gateway, heard } = await bed(t, 29);
  const subscription = { resourceName: 'sub', notificationUri: ['mem://gw/ntf'] };
  const create = (): Promise<CseOutcome> =>
    gateway.create('cse-mn1/gw', ResourceType.subscription, { subscription });
  const outcomes = await Promise.all([create(), create(), create()]);
  t.equal(outcomes.filter((outcome) => outcome.ok).length, 1, 'one of three');
  for (const outcome of outcomes) if (!outcome.ok) refused(t, outcome, rsc.conflict, 'the others');
  t.equal(heard.length, 3, 'all were verified meanwhile');
  refused(t, await create(), rsc.conflict, 'a later one');
  t.equal(heard.length, 3, 'is refused before its target is bothered');
});

await t.test('limits of instances by bytes and age; sizes are counted', async (t) => {
  const { world, gateway } = await bed(t, 22);
  const to = 'cse-mn1/gw/data';
  const container = { resourceName: 'data', maxByteSize: 10, maxInstanceAge: 5 };
  ok(
    t,
    await gateway.create('cse-mn1/gw', ResourceType.container, { container }),
    rsc.created,
    'a container',
  );
  refused(
    t,
    await instance(gateway, to, { content: 'elevenbytes' }),
    rsc.notAcceptable,
    'larger than the container',
  );
  ok(t, await instance(gateway, to, { resourceName: 'a', content: 'sixsix' }), rsc.created, 'six bytes');
  ok(t, await instance(gateway, to, { resourceName: 'b', content: 'five5' }), rsc.created, 'five more');
  refused(t, await gateway.retrieve(`${to}/a`), rsc.notFound, 'the first gave way');
  const read = contentOf(ok(t, await gateway.retrieve(to), rsc.ok, 'container'), 'container');
  t.equal(read.currentByteSize, 5);
  await world.wait(6000);
  refused(t, await gateway.retrieve(`${to}/la`), rsc.notFound, 'five seconds are over');
  const { stateTag } = contentOf(ok(t, await gateway.retrieve(to), rsc.ok, 'container'), 'container');
  t.equal(stateTag, 4, 'two came, two went');
});

await t.test('latest of a batch, the end of a subscription, references only', async (t) => {
  const { world, gateway, heard } = await bed(t, 23);
  const to = 'cse-mn1/gw/data';
  const container = { container: { resourceName: 'data' } };
  ok(t, await gateway.create('cse-mn1/gw', ResourceType.container, container), rsc.created, 'a container');
  const subscription = {
    resourceName: 'sub',
    notificationUri: ['/id-mn1/Cgw'],
    notificationContentType: 3,
    latestNotify: true,
    batchNotify: { duration: 'PT2S' },
    subscriberUri: 'Cgw',
    eventNotificationCriteria: { notificationEventType: [3] },
  };
  ok(t, await gateway.create(to, ResourceType.subscription, { subscription }), rsc.created, 'a subscription');
  for (const resourceName of ['a', 'b']) {
    ok(t, await instance(gateway, to, { resourceName, content: 1 }), rsc.created, resourceName);
  }
  await world.wait(1000);
  t.equal(heard.length, 0, 'the batch is open');
  await world.wait(1500);
  const [batch] = heard.map((each) => each.primitiveContent?.aggregatedNotification?.notification ?? []);
  t.equal(batch?.length, 1, 'only the latest');
  const uri = batch?.[0]?.notificationEvent?.representation?.uri ?? '';
  const named = contentOf(ok(t, await gateway.retrieve(uri), rsc.ok, 'the reference'), 'contentInstance');
  t.equal(named.resourceName, 'b');
  ok(t, await gateway.delete(`${to}/sub`), rsc.deleted, 'the subscription ends');
  await world.wait(100);
  t.equal(
    heard.at(-1)?.primitiveContent?.notification?.subscriptionDeletion,
    true,
    'and its subscriber is told',
  );
});

await t.test('a time series reports what did not come in time (TS-0001 10.2.4.27)', async (t) => {
  const { world, gateway, heard } = await bed(t, 24);
  const timeSeries = {
    resourceName: 'ts',
    missingDataDetect: true,
    periodicInterval: 1000,
    missingDataDetectTimer: 300,
  };
  ok(t, await gateway.create('cse-mn1/gw', ResourceType.timeSeries, { timeSeries }), rsc.created, 'a series');
  const subscription = {
    notificationUri: ['Cgw'],
    eventNotificationCriteria: { notificationEventType: [8], missingData: { number: 2, duration: 'PT60S' } },
  };
  const to = 'cse-mn1/gw/ts';
  ok(t, await gateway.create(to, ResourceType.subscription, { subscription }), rsc.created, 'a subscription');
  const add = async (): Promise<void> => {
    const dataGenerationTime = encodeTimestamp(world.clock.unixMs());
    const timeSeriesInstance = { dataGenerationTime, content: 'x' };
    const made = await gateway.create(to, ResourceType.timeSeriesInstance, { timeSeriesInstance });
    ok(t, made, rsc.created, dataGenerationTime);
  };
  await add();
  await world.wait(1000);
  await add();
  await world.wait(3000);
  const one = contentOf(ok(t, await gateway.retrieve(to), rsc.ok, 'series'), 'timeSeries');
  t.equal(one.missingDataCurrentNr, 2);
  t.equal(heard.length, 1, 'told once there were two');
  await add();
  await world.wait(900);
  const later = contentOf(ok(t, await gateway.retrieve(to), rsc.ok, 'series'), 'timeSeries');
  t.equal(later.missingDataCurrentNr, 2, 'no more are missing since');
});

await t.test('a flexContainer with history records every state (TS-0001 9.6.35 fcinEnabled)', async (t) => {
  const { gateway } = await bed(t, 25);
  const content = {
    resourceName: 'bat',
    containerDefinition: 'x.battery',
    fcinEnabled: true,
    maxNrOfInstances: 2,
    lvl: 3,
  };
  const to = 'cse-mn1/gw/bat';
  ok(
    t,
    await gateway.create('cse-mn1/gw', ResourceType.flexContainer, { 'cod:bat': content }),
    rsc.created,
    'created',
  );
  for (const lvl of [2, 1])
    ok(t, await gateway.update(to, { 'cod:bat': { lvl } }), rsc.updated, `level ${lvl}`);
  const root = async (path: string): Promise<unknown> => {
    const response = ok(t, await gateway.retrieve(path), rsc.ok, path);
    return response.primitiveContent?.['cod:bat'];
  };
  t.match(await root(`${to}/la`), { lvl: 1, resourceType: ResourceType.flexContainerInstance });
  t.match(await root(`${to}/ol`), { lvl: 2 });
  t.match(await root(to), { lvl: 1, currentNrOfInstances: 2 });
  const tree = ok(t, await gateway.retrieve('cse-mn1/gw', { resultContent: 4 }), rsc.ok, 'nested in its AE');
  t.match((tree.primitiveContent?.ae as Record<string, unknown>)['cod:bat'], [
    { resourceName: 'bat', lvl: 1 },
  ]);
});

await t.test(
  'announced copies come back after the IN-CSE lost them; an announced policy opens them',
  async (t) => {
    const { world, gateway } = await bed(t, 26);
    const rules = {
      privileges: {
        accessControlRule: [
          { accessControlOriginators: ['Cgw'], accessControlOperations: 63 },
          { accessControlOriginators: ['all'], accessControlOperations: 34 },
        ],
      },
      selfPrivileges: {
        accessControlRule: [{ accessControlOriginators: ['Cgw'], accessControlOperations: 63 }],
      },
    };
    const accessControlPolicy = { resourceName: 'open', announceTo: ['/id-in'], ...rules };
    ok(
      t,
      await gateway.create('cse-mn1/gw', ResourceType.accessControlPolicy, { accessControlPolicy }),
      rsc.created,
      'a policy',
    );
    const container = {
      resourceName: 'data',
      labels: ['shared'],
      announceTo: ['/id-in'],
      accessControlPolicyIds: ['cse-mn1/gw/open'],
    };
    ok(
      t,
      await gateway.create('cse-mn1/gw', ResourceType.container, { container }),
      rsc.created,
      'a container',
    );
    await world.wait(1000);
    const stranger = world.client('Canybody', 'in');
    const found = async (): Promise<string[]> => {
      const outcome = await stranger.discover('cse-in', { labels: ['shared'] });
      return outcome.ok ? outcome.value : [];
    };
    const [copy = ''] = await found();
    const announced = ok(t, await stranger.retrieve(copy), rsc.ok, 'anybody reads the copy').primitiveContent;
    t.match(announced?.containerAnnc, { labels: ['shared'] });
    await world.cses.in.restart({ keepState: false });
    await world.wait(10_000);
    t.strictSame(await found(), [], 'the IN-CSE lost it');
    const labels = ['shared', 'more'];
    ok(t, await gateway.update('cse-mn1/gw/data', { container: { labels } }), rsc.updated, 'a change here');
    const touch = { accessControlPolicy: { labels: ['x'] } };
    ok(t, await gateway.update('cse-mn1/gw/open', touch), rsc.updated, 'and of the policy');
    await world.wait(5000);
    t.equal((await found()).length, 1, 'makes the copies again');
  },
);

await t.test('a copy goes with its original, also one under way or out of reach at the time', async (t) => {
  const { world, gateway } = await bed(t, 27);
  const stranger = world.client(adminOriginator, 'in');
  const found = async (): Promise<string[]> => {
    const outcome = await stranger.discover('cse-in', { labels: ['shared'] });
    return outcome.ok ? outcome.value : ['not to be told'];
  };
  const address = 'cse-mn1/gw/data';
  const nowhere: Record<string, unknown> = { announceTo: null };
  const ends: Record<string, () => Promise<CseOutcome>> = {
    'deleted': () => gateway.delete(address),
    'no longer announced': () => gateway.update(address, { container: nowhere }),
    'announced again, then deleted': async () => {
      const again = gateway.update(address, { container: { announceTo: ['/id-in'] } });
      const [, deleted] = await Promise.all([again, gateway.delete(address)]);
      return deleted;
    },
  };
  for (const [how, end] of Object.entries(ends)) {
    for (const isOutOfReach of [false, true]) {
      for (const settleMs of [0, 1000]) {
        const container = { resourceName: 'data', labels: ['shared'], announceTo: ['/id-in'] };
        await gateway.create('cse-mn1/gw', ResourceType.container, { container });
        await world.wait(settleMs);
        if (isOutOfReach) await world.cses.in.crash();
        t.ok((await end()).ok, how);
        await world.wait(5000);
        if (isOutOfReach) await world.cses.in.restart({ keepState: true });
        await world.wait(10_000);
        const when = `${how} ${settleMs} ms after its creation, the IN-CSE ${isOutOfReach ? 'gone' : 'there'}`;
        t.strictSame(await found(), [], when);
        await gateway.delete(address);
      }
    }
  }
});

await t.test(
  'of several points of access the first that answers is used, or each gets its copy',
  async (t) => {
    for (const notifiesEveryPointOfAccess of [false, true]) {
      const settings = { notifiesEveryPointOfAccess, requestDeadlineMs: millis(1000) };
      const world = new CseWorld({ seed: 30, settings });
      await world.start();
      t.teardown(() => world.stop());
      const heard: string[][] = [[], []];
      for (const [index, identifiers] of heard.entries()) {
        world.network.listenAe(`mem://gw${index}`, ({ requestIdentifier }) => {
          identifiers.push(requestIdentifier);
          return Promise.resolve({ responseStatusCode: rsc.ok, requestIdentifier });
        });
      }
      const gateway = world.client('Cgw', 'mn1');
      const pointOfAccess = ['mem://gw0', 'mem://gw1'];
      const ae = { ...aeContent('gw'), pointOfAccess };
      ok(t, await gateway.create('cse-mn1', ResourceType.ae, { ae }), rsc.created, 'an AE');
      const notify = (): Promise<CseOutcome> =>
        gateway.notify('Cgw', { notification: { subscriptionReference: 'x' } });
      ok(t, await notify(), rsc.ok, 'NOTIFY');
      const counts = (): number[] => heard.map(({ length }) => length);
      t.strictSame(counts(), notifiesEveryPointOfAccess ? [1, 1] : [1, 0]);
      if (notifiesEveryPointOfAccess) t.not(heard[0]?.[0], heard[1]?.[0], 'under identifiers of their own');
      world.network.cut('mem://gw0');
      ok(t, await notify(), rsc.ok, 'NOTIFY past a dead point of access');
      t.strictSame(counts(), notifiesEveryPointOfAccess ? [1, 2] : [1, 1]);
    }
  },
);

await t.test('the operator opens remoteCSEs to devices, by pattern', async (t) => {
  const world = new CseWorld({ seed: 27, settings: { remoteCseReaders: ['/id-mn*/Cgw*'] } });
  await world.start();
  t.teardown(() => world.stop());
  const filter = { labels: ['baton:target'], resourceType: [ResourceType.remoteCse] };
  for (const [stem, count] of [
    ['Cgw1', 2],
    ['Cother', 0],
  ] as const) {
    const client = world.client(stem, 'mn1');
    ok(t, await client.create('cse-mn1', ResourceType.ae, { ae: aeContent(stem) }), rsc.created, stem);
    const found = await client.discover('/id-in', filter);
    t.equal(found.ok && found.value.length, count, `${stem} finds ${count}`);
  }
});

await t.test('every instance is reported with its time of arrival, and shown by dump', async (t) => {
  const { world, gateway } = await bed(t, 28);
  const container = { container: { resourceName: 'data' } };
  ok(t, await gateway.create('cse-mn1/gw', ResourceType.container, container), rsc.created, 'a container');
  const to = 'cse-mn1/gw/data';
  const sentMs = world.clock.monotonicMs();
  ok(t, await instance(gateway, to, { resourceName: 'e1', content: 7 }), rsc.created, 'e1');
  const events = world.events.filter((event) => event.kind === 'instanceCreated');
  t.match(events, [{ path: `${to}/e1`, originator: 'Cgw', content: 7, arrivalMs: sentMs + 1 }]);
  const shown = world.cses.mn1.dump().find(({ path }) => path === `${to}/e1`);
  t.match(shown, { arrivalMs: sentMs + 1, attributes: { content: 7, resourceName: 'e1' } });
});
