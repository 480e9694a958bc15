// Proves what a move takes along beside the manifest: references in every form mean the same at the target and grant no more than
// before; subscriptions of others go on notifying, with the rights of the one who made them; what cannot be taken along is told;
// states and newest instances come with their times, once, however often it is tried, and from memory when the source is gone.
import t from 'tap';
import { cseId, epoch, millis } from '../../src/base/units.ts';
import { checkBundle, containerOf, policyOf } from '../../src/handover/bundle-manifest.ts';
import type { BundleManifest } from '../../src/handover/bundle-manifest.ts';
import { differencesOf } from '../../src/handover/context-diff.ts';
import { ContextTransfer, snapshotOf } from '../../src/handover/context-transfer.ts';
import type { ContextSnapshot, TransferReport } from '../../src/handover/context-transfer.ts';
import { BundleContext } from '../../src/handover/context.ts';
import { bounded, foreignBounds, recreated } from '../../src/handover/foreign-resources.ts';
import type { ForeignResource } from '../../src/handover/foreign-resources.ts';
import type { CseReference } from '../../src/handover/handover-state.ts';
import { movedAddress, movedOriginators, movedRules } from '../../src/handover/moved-references.ts';
import type { BundleMove } from '../../src/handover/moved-references.ts';
import { writtenInstance } from '../../src/handover/recent-instances.ts';
import type { CseClient } from '../../src/onem2m/cse-client.ts';
import { ResourceType } from '../../src/onem2m/enums.ts';
import type { PrimitiveContent } from '../../src/onem2m/resources.ts';
import { decodeContextMemory } from '../../src/gateway/context-desk.ts';
import { CseWorld, adminOriginator, pointsOfAccess } from '../testbed/cse-world.ts';

t.setTimeout(120_000);

const reference = (name: 'mn1' | 'mn2'): CseReference => ({
  cseId: cseId(`/id-${name}`),
  cseBaseName: `cse-${name}`,
  pointOfAccess: pointsOfAccess[name],
});
const [mn1, mn2] = [reference('mn1'), reference('mn2')];

const move: BundleMove = {
  source: mn1,
  target: mn2,
  aeIds: { gw1: 'Sgw1', weather: 'Cweather' },
  pathOf: new Map([['cnt17', 'gw1/data']]),
};

void t.test('references mean the same from the target', (t) => {
  const originators: [string, string[]][] = [
    ['Sgw1', ['Sgw1']],
    ['Cweather', ['Cweather']],
    ['/id-mn1/Sgw1', ['/id-mn2/Sgw1']],
    ['/id-mn1/Cweather', ['/id-mn2/Cweather']],
    ['//sp.example/id-mn1/Cweather', ['//sp.example/id-mn2/Cweather']],
    ['Cviewer', ['/id-mn1/Cviewer']],
    ['Sviewer', ['Sviewer', '/Sviewer', '/id-mn1/Sviewer']],
    ['/id-mn1/Cviewer', ['/id-mn1/Cviewer']],
    ['/id-in/Cviewer', ['/id-in/Cviewer']],
    ['//other.example/id-x/C1', ['//other.example/id-x/C1']],
    ['/id-mn1', ['/id-mn1', '/id-mn2']],
    ['/id-mn1/*', ['/id-mn1/*']],
    ['/*/Sgw1', ['/*/Sgw1']],
    ['all', ['all']],
  ];
  for (const [given, wanted] of originators) t.same(movedOriginators(move, given), wanted, given);
  const addresses: [string, string][] = [
    ['coap://192.0.2.1:5683/x', 'coap://192.0.2.1:5683/x'],
    ['cse-mn1/gw1/data', 'cse-mn2/gw1/data'],
    ['-/gw1/data', 'cse-mn2/gw1/data'],
    ['/id-mn1/cse-mn1/gw1/data', '/id-mn2/cse-mn2/gw1/data'],
    ['/id-mn1/-/weather', '/id-mn2/cse-mn2/weather'],
    ['//sp.example/id-mn1/cse-mn1/gw1', '//sp.example/id-mn2/cse-mn2/gw1'],
    ['cnt17', 'cse-mn2/gw1/data'],
    ['/id-mn1/cnt17', '/id-mn2/cse-mn2/gw1/data'],
    ['Cweather', 'Cweather'],
    ['/id-mn1/Cweather', '/id-mn2/Cweather'],
    ['Cviewer', '/id-mn1/Cviewer'],
    ['cse-mn1/app/data', '/id-mn1/cse-mn1/app/data'],
    ['/id-mn1/cse-mn1/app', '/id-mn1/cse-mn1/app'],
    ['/id-in/cse-in/app', '/id-in/cse-in/app'],
    ['/id-mn1', '/id-mn1'],
  ];
  for (const [given, wanted] of addresses) t.equal(movedAddress(move, given), wanted, given);
  const rules = movedRules(move, {
    accessControlRule: [
      { accessControlOriginators: ['Cviewer', '/id-mn1/Cviewer'], accessControlOperations: 2 },
    ],
  });
  t.same(rules.accessControlRule, [
    { accessControlOriginators: ['/id-mn1/Cviewer'], accessControlOperations: 2 },
  ]);
  t.same(movedRules(move, { accessControlRule: 'none' as never }), { accessControlRule: [] });
  t.end();
});

const own = {
  name: 'gw1',
  aeId: 'Sgw1',
  appId: 'Nbaton',
  appName: 'baton',
  policy: 'acp',
  priority: 5,
} as const;
const bundle: BundleManifest = checkBundle({
  device: 'gw1',
  aes: [
    {
      ...own,
      resources: [
        policyOf('acp', 'Sgw1', [{ originators: ['/id-in', '/id-in/*', '/id-mn1/*'], operations: 63 }]),
        { ...containerOf('data'), recent: { kind: 'last', count: 3 } },
        containerOf('data.recent', [], { maxNrOfInstances: 3 }),
        { ...containerOf('state'), recent: { kind: 'since', spanMs: millis(60_000) } },
        {
          name: 'battery',
          resourceType: ResourceType.flexContainer,
          root: 'cod:battery',
          attributes: { containerDefinition: 'org.onem2m.battery', lvl: 100 },
          fixed: ['containerDefinition', 'lvl'],
        },
        {
          name: 'load',
          resourceType: ResourceType.timeSeries,
          root: 'timeSeries',
          attributes: {},
          recent: { kind: 'last', count: 2 },
        },
      ],
    },
  ],
});

const options = { deadlineMs: millis(2000) };

interface Bench {
  readonly world: CseWorld;
  readonly context: BundleContext;
  readonly notified: { sur: unknown; name: unknown }[];
  /** Acts as somebody at a CSE and fails when refused. */
  readonly done: (work: ReturnType<CseClient['create']>) => Promise<void>;
  readonly snapshot: () => Promise<ContextSnapshot>;
  readonly transfer: (snapshot?: ContextSnapshot, more?: object) => Promise<TransferReport>;
  readonly at: (cse: 'in' | 'mn1' | 'mn2', path: string) => Readonly<Record<string, unknown>> | undefined;
  readonly names: (cse: 'mn1' | 'mn2', parent: string) => string[];
}

/** The bundle at both MN-CSEs, a viewer registered at the IN-CSE and one at the first MN-CSE. */
async function openBench(t: { teardown(done: () => unknown): void }): Promise<Bench> {
  const world = new CseWorld({ seed: 7, latencyMs: millis(5) });
  await world.start();
  t.teardown(() => world.stop());
  const notified: Bench['notified'] = [];
  const done = async (work: ReturnType<CseClient['create']>): Promise<void> => {
    const outcome = await work;
    if (!outcome.ok) throw new Error(outcome.error.message);
  };
  for (const [name, cse] of [
    ['Cviewer', 'in'],
    ['Clocal', 'mn1'],
  ] as const) {
    const poa = `coap://198.51.100.${name.length}:5683`;
    const stop = world.network.listenAe(poa, (request) => {
      const { notification } = request.primitiveContent ?? {};
      const instance = notification?.notificationEvent?.representation?.contentInstance;
      if (instance !== undefined)
        notified.push({ sur: notification?.subscriptionReference, name: instance.resourceName });
      return Promise.resolve({ responseStatusCode: 2000, requestIdentifier: request.requestIdentifier });
    });
    t.teardown(stop);
    const client = world.client(name, cse);
    const base = `cse-${cse}`;
    const ae = {
      resourceName: name,
      appId: 'Nviewer',
      requestReachability: true,
      supportedReleaseVersions: ['4'],
      pointOfAccess: [poa],
    };
    await done(client.create(base, ResourceType.ae, { ae }));
    const policy = policyOf('acp', name, [{ originators: ['/id-in', '/id-mn1', '/id-mn2'], operations: 16 }]);
    const accessControlPolicy = { resourceName: 'acp', ...policy.attributes };
    await done(client.create(`${base}/${name}`, ResourceType.accessControlPolicy, { accessControlPolicy }));
    await done(client.update(`${base}/${name}`, { ae: { accessControlPolicyIds: [`${base}/${name}/acp`] } }));
  }
  const context = new BundleContext(bundle);
  const clients = { mn1: world.client('Sgw1', 'mn1'), mn2: world.client('Sgw1', 'mn2') };
  for (const [cse, state] of [
    [mn1, 'serving'],
    [mn2, 'prepared'],
  ] as const) {
    const client = clients[cse === mn1 ? 'mn1' : 'mn2'];
    const made = await context.prepare(client, cse, { epoch: epoch(1), state }, options);
    if (made.kind === 'failed') throw new Error(made.reason);
  }
  return {
    world,
    context,
    notified,
    done,
    snapshot: async () => {
      const observed = await context.observe(clients.mn1, mn1, options);
      if ('reason' in observed) throw new Error(observed.reason);
      return snapshotOf(bundle, mn1, observed).snapshot;
    },
    transfer: (snapshot, more = {}) =>
      new ContextTransfer(bundle, {
        source: { client: clients.mn1, cse: mn1 },
        target: { client: clients.mn2, cse: mn2 },
        snapshot,
        written: () => [],
        options,
        ...more,
      }).run(),
    at: (cse, path) => world.cses[cse].dump().find((each) => each.path === `cse-${cse}/${path}`)?.attributes,
    names: (cse, parent) =>
      world.cses[cse]
        .dump()
        .filter(({ path }) => path.startsWith(`cse-${cse}/${parent}/`))
        .map(({ path }) => path.split('/').at(-1) ?? ''),
  };
}

function subscription(name: string, nu: string, creator = true): PrimitiveContent {
  return {
    subscription: {
      resourceName: name,
      notificationUri: [nu],
      eventNotificationCriteria: { notificationEventType: [3], childResourceType: [4] },
      ...(creator ? { creator: null } : {}),
    },
  };
}

void t.test('subscriptions of others go on, with their rights', async (t) => {
  const { world, done, snapshot, transfer, at, names, notified, context } = await openBench(t);
  const viewer = world.client('/id-in/Cviewer', 'mn1');
  const local = world.client('Clocal', 'mn1');
  const rights = { accessControlPolicyIds: ['cse-mn1/gw1/acp'] };
  await done(world.client('Sgw1', 'mn1').update('cse-mn1/gw1/data', { container: rights }));
  await done(
    viewer.create('cse-mn1/gw1/data', ResourceType.subscription, subscription('watch', '/id-in/Cviewer')),
  );
  await done(local.create('cse-mn1/gw1/data', ResourceType.subscription, subscription('near', 'Clocal')));
  await done(
    viewer.create('cse-mn1/gw1', ResourceType.group, {
      group: { resourceName: 'ours', memberIds: ['cse-mn1/gw1/data', '/id-in/Cviewer'], maxNrOfMembers: 3 },
    }),
  );
  const seen = await snapshot();
  t.same(seen.foreign.map(({ path }) => path).sort(), ['data/near', 'data/watch', 'ours']);
  t.same(decodeContextMemory(JSON.parse(JSON.stringify({ snapshots: [seen] }))), { snapshots: [seen] });
  t.throws(() => decodeContextMemory({ snapshots: [{ ...seen, states: [{}] }] }), { code: 'DECODE' });

  const report = await transfer(seen);
  t.match(report, { foreign: 3, notTransferred: [], isComplete: true });
  t.match(at('mn2', 'gw1/data/watch'), { notificationUri: ['/id-in/Cviewer'] });
  t.match(at('mn2', 'gw1/data/near'), { notificationUri: ['/id-mn1/Clocal'] }, 'an address at the source');
  t.same(at('mn2', 'gw1/ours')?.memberIds, ['cse-mn2/gw1/data', '/id-in/Cviewer'], 'members follow');
  await done(
    world.client('Sgw1', 'mn2').create('cse-mn2/gw1/data', ResourceType.contentInstance, {
      contentInstance: { resourceName: 'r1', content: 1 },
    }),
  );
  await world.wait(500);
  t.equal(notified.filter(({ name }) => name === 'r1').length, 2, 'both are notified from the target');
  const before = names('mn2', 'gw1').length;
  t.match(await transfer(seen), { foreign: 3, notTransferred: [] }, 'a repeat');
  t.equal(names('mn2', 'gw1').length, before, 'makes nothing');

  // From the target the same again: who it was for is still known.
  const again = await context.observe(world.client('Sgw1', 'mn2'), mn2, options);
  if ('reason' in again) throw new Error(again.reason);
  const next = snapshotOf(bundle, mn2, again).snapshot.foreign;
  t.same(next.map(({ path, creator }) => [path, creator]).sort(), [
    ['data/near', '/id-mn1/Clocal'],
    ['data/watch', '/id-in/Cviewer'],
    ['ours', undefined],
  ]);
  const diff = differencesOf(bundle, mn2, again, { epoch: epoch(1), state: 'prepared' });
  t.same(
    diff.map(({ kind }) => kind),
    ['foreign', 'foreign', 'foreign'],
    'and no difference from the manifest',
  );
  t.ok(
    (await world.client('/id-mn1/Clocal', 'mn2').delete('cse-mn2/gw1/data/near', options)).ok,
    'its owner may delete it',
  );
  t.notOk(
    (await world.client('/id-x/Cother', 'mn2').delete('cse-mn2/gw1/data/watch', options)).ok,
    'nobody else',
  );
});

void t.test('what cannot be taken along is told', async (t) => {
  const { world, done, snapshot, transfer, at } = await openBench(t);
  const admin = world.client(adminOriginator, 'mn1');
  await done(
    admin.create('cse-mn1/gw1/data', ResourceType.subscription, subscription('watch', '/id-in/Cviewer')),
  );
  await done(
    world
      .client('Sgw1', 'mn1')
      .create('cse-mn1/gw1', ResourceType.pollingChannel, { pollingChannel: { resourceName: 'pch' } }),
  );
  const seen = await snapshot();
  const stop = world.cses.mn2.misbehaviour.add({
    action: { kind: 'answer', responseStatusCode: 5204 },
    operation: 1,
    resourceType: ResourceType.subscription,
  });
  const report = await transfer(seen);
  t.match(report, { foreign: 0, isComplete: true });
  t.match(
    [...report.notTransferred].sort((one, other) => one.path.localeCompare(other.path)),
    [
      { path: 'gw1/data/watch', reason: /5204/ },
      { path: 'gw1/pch', reason: /polling channel serves only/ },
    ],
  );
  stop();
  t.match(await transfer(seen), { foreign: 1, notTransferred: [{ path: 'gw1/pch' }] }, 'until it can be');
  t.ok(at('mn2', 'gw1/data/watch'));
  const [ae] = bundle.aes;
  const many = Array.from({ length: foreignBounds.resources + 5 }, (_, index): ForeignResource => ({
    ...{ ae: 'gw1', path: `data/s${index}`, resourceType: 23, root: 'subscription', attributes: {} },
  }));
  t.equal(bounded(many).left.length, 5, 'no end of subscriptions is remembered');
  const policy: ForeignResource = {
    ...{ ae: 'gw1', path: 'theirs', resourceType: 1, root: 'accessControlPolicy', creator: 'Clocal' },
    attributes: {
      privileges: {
        accessControlRule: [{ accessControlOriginators: ['Clocal'], accessControlOperations: 63 }],
      },
      selfPrivileges: { accessControlRule: [] },
    },
  };
  t.match(recreated(move, ae, policy), {
    content: {
      accessControlPolicy: {
        privileges: { accessControlRule: [{ accessControlOriginators: ['/id-mn1/Clocal'] }] },
      },
    },
  });
});

void t.test('states and newest instances, with their times, once', async (t) => {
  const { world, done, snapshot, transfer, at, names } = await openBench(t);
  const source = world.client('Sgw1', 'mn1');
  const instance = async (container: string, resourceName: string, more = {}): Promise<void> => {
    await done(
      source.create(`cse-mn1/gw1/${container}`, ResourceType.contentInstance, {
        contentInstance: {
          resourceName,
          content: { v: resourceName },
          contentInfo: 'application/json:0',
          ...more,
        },
      }),
    );
    await world.wait(7000);
  };
  for (let seq = 1; seq <= 9; seq++) await instance('data', `0000000a-${seq}`);
  for (let step = 1; step <= 12; step++) await instance('state', `s${step}`);
  await done(source.update('cse-mn1/gw1/battery', { 'cod:battery': { lvl: 42 } }));
  for (const second of [1, 2, 3]) {
    const timeSeriesInstance = { dataGenerationTime: `20260101T00000${second}`, content: second };
    await done(source.create('cse-mn1/gw1/load', ResourceType.timeSeriesInstance, { timeSeriesInstance }));
  }
  const seen = await snapshot();
  const report = await transfer(seen);
  t.match(report, { states: 1, copies: 3 + 9 + 2, notTransferred: [], isComplete: true });
  t.same(names('mn2', 'gw1/data.recent'), ['0000000a-7', '0000000a-8', '0000000a-9'], 'the last three');
  t.same(names('mn2', 'gw1/data'), [], 'and none among the readings');
  const copy = at('mn2', 'gw1/data.recent/0000000a-9');
  const original = at('mn1', 'gw1/data/0000000a-9');
  t.match(copy, { content: { v: '0000000a-9' }, contentInfo: 'application/json:0' });
  t.same(copy?.labels, [
    'baton:copy',
    'baton:from=/id-mn1',
    `baton:at=${String(original?.creationTime).slice(0, 15)}`,
  ]);
  t.same(names('mn2', 'gw1/state').at(-1), 's12');
  t.equal(at('mn2', 'gw1/battery')?.lvl, 42);
  t.equal(names('mn2', 'gw1/load').length, 2);

  t.match(await transfer(seen), { copies: 3 + 1 - 1 + 2, notTransferred: [] }, 'a repeat');
  t.same(names('mn2', 'gw1/state').filter((name) => name === 's12').length, 1);
  t.equal(names('mn2', 'gw1/state').length, 9, 'doubles nothing');
  t.equal(names('mn2', 'gw1/load').length, 2);

  const target = world.client('Sgw1', 'mn2');
  await world.wait(3000);
  await done(target.update('cse-mn2/gw1/battery', { 'cod:battery': { lvl: 41 } }));
  await done(
    target.create('cse-mn2/gw1/state', ResourceType.contentInstance, {
      contentInstance: { resourceName: 'new', content: 1 },
    }),
  );
  await transfer(seen);
  t.equal(at('mn2', 'gw1/battery')?.lvl, 41, 'what the target has since become stays');
  t.equal(names('mn2', 'gw1/state').at(-1), 'new', 'and its newest instance stays the newest');
});

void t.test('a source that is gone', async (t) => {
  const { world, done, snapshot, transfer, at, names } = await openBench(t);
  const viewer = world.client(adminOriginator, 'mn1');
  await done(
    viewer.create('cse-mn1/gw1/data', ResourceType.subscription, subscription('watch', '/id-in/Cviewer')),
  );
  await done(world.client('Sgw1', 'mn1').update('cse-mn1/gw1/battery', { 'cod:battery': { lvl: 7 } }));
  const seen = await snapshot();
  world.network.cut(pointsOfAccess.mn1);
  const written = (_ae: string, path: string): readonly ReturnType<typeof writtenInstance>[] =>
    path !== 'data'
      ? []
      : [1, 2].map((seq) =>
          writtenInstance(mn1.cseId, { resourceName: `0000000a-${seq}`, content: seq }, world.clock.unixMs()),
        );
  const report = await transfer(seen, { written });
  t.match(report, { foreign: 1, states: 1, copies: 2, isComplete: false }, 'more may come when it answers');
  t.match(report.notTransferred, [{ path: 'gw1/state' }, { path: 'gw1/load' }]);
  t.equal(at('mn2', 'gw1/battery')?.lvl, 7);
  t.ok(at('mn2', 'gw1/data/watch'));
  t.same(names('mn2', 'gw1/data.recent'), ['0000000a-1', '0000000a-2'], 'what this gateway wrote itself');
  world.network.heal(pointsOfAccess.mn1);
  t.match(await transfer(seen, { written }), { isComplete: true, notTransferred: [] });
});
