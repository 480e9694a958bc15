// Proves the context of a whole gateway in a move: several AEs with streams of their own move together, the newest instances and
// what others made come along beside the move and after a restart, the IN-CSE never points to an original that is gone, a
// registrar that lost the owner of an AE is passed over, and the IN-CSE itself can serve.
import t from 'tap';
import { millis } from '../../src/base/units.ts';
import { Operation, ResourceType } from '../../src/onem2m/enums.ts';
import type { TestbedCse } from '../../src/testbed/cse/testbed-cse.ts';
import { GatewayWorld } from '../handover/gateway-world.ts';
import type { GatewayWorldOptions } from '../handover/gateway-world.ts';

t.setTimeout(240_000);

const config = {
  sensors: [
    {
      name: 'sensor',
      ae: 'gw1-weather',
      serialLine: { path: '/dev/sensor', format: 'json', acknowledge: true },
      streams: [{ name: 'temperature', class: 'A', recent: 'last 5' }],
    },
  ],
  bundle: {
    aes: [
      {
        name: 'gw1-weather',
        aeId: 'Cweather',
        dependsOn: ['gw1'],
        announceTo: ['/id-in'],
        containers: [{ path: 'state', announce: true, recent: 'last 2' }],
      },
    ],
  },
};

async function openWorld(
  t: { teardown(done: () => unknown): void },
  more: Partial<GatewayWorldOptions> = {},
): Promise<GatewayWorld> {
  const world = new GatewayWorld({ seed: 11, config, periodMs: 500, ...more });
  t.teardown(() => world.close());
  await world.open();
  return world;
}

interface Dumped {
  readonly path: string;
  readonly resourceType: number;
  readonly attributes: Readonly<Record<string, unknown>>;
}

function below(world: GatewayWorld, id: string, path: string): Dumped[] {
  const cse = world.cses.find(id);
  const prefix = `${cse?.settings.cseBaseName ?? ''}/${path}/`;
  return (cse?.dump() ?? []).filter((each) => each.path.startsWith(prefix));
}

const nameOf = ({ path }: Dumped): string => path.split('/').at(-1) ?? '';

/** Announced AEs at the IN-CSE: the state that each shows, and whether its original is there. */
function announced(world: GatewayWorld): { state: string; isLiving: boolean }[] {
  const copies = (world.cses.find('/id-in')?.dump() ?? []).filter(
    ({ resourceType }) => resourceType === ResourceType.aeAnnc,
  );
  return copies.map(({ attributes }) => {
    const [, id = '', resource = ''] = String(attributes.link).split('/');
    const cse = world.cses.find(`/${id}`);
    const original = cse?.find(`${cse.settings.cseBaseName}/gw1-weather`);
    const labels = (attributes.labels ?? []) as string[];
    return {
      state: labels.find((label) => label.startsWith('baton:state='))?.slice(12) ?? '',
      isLiving: original?.attributes.resourceId === resource,
    };
  });
}

void t.test('a move with all that hangs on it, and what the IN-CSE shows meanwhile', async (t) => {
  const world = await openWorld(t);
  await world.pass(3000);
  const first = world.serving ?? '';
  t.ok(
    below(world, first, 'gw1-weather/temperature').length > 5,
    'readings lie under the AE of their sensor',
  );
  t.same(below(world, first, 'gw1/temperature'), []);
  await world.cses.createInstance(first, `cse-${first.slice(4)}/gw1-weather/state`, {
    resourceName: 'note',
    content: 'x',
  });
  t.same(announced(world), [{ state: 'serving', isLiving: true }]);

  const faults = new Set<string>();
  const watch = world.clock.schedule.bind(world.clock);
  let isWatching = true;
  const look = (): void => {
    const seen = announced(world);
    if (seen.length === 0) faults.add('nothing is announced');
    if (seen.some(({ isLiving }) => !isLiving)) faults.add('a copy points to nothing');
    if (isWatching) watch(millis(20), look);
  };
  look();
  for (const target of ['/id-mn1', '/id-mn2', '/id-mn3'].filter((each) => each !== first)) {
    const source = world.serving ?? '';
    const delivered = below(world, source, 'gw1-weather/temperature').length;
    const ended = await world.handOver(target);
    t.equal(ended.outcome, 'completed');
    t.equal(world.stateAt(source), 'moved');
    await world.until('the source lets its copy go', () => announced(world).length === 1, 30_000);
    t.same(announced(world), [{ state: 'serving', isLiving: true }], `at ${target}`);
    await world.until(
      'the newest readings come along',
      () => below(world, target, 'gw1-weather/temperature.recent').length === 5,
    );
    const copies = below(world, target, 'gw1-weather/temperature.recent');
    const originals = below(world, source, 'gw1-weather/temperature').map(nameOf);
    t.ok(
      delivered >= 5 &&
        copies.every(
          (copy) => originals.includes(nameOf(copy)) || String(copy.attributes.labels).includes('baton:copy'),
        ),
    );
    t.ok(copies.every(({ attributes }) => (attributes.labels as string[]).includes('baton:copy')));
    const live = below(world, target, 'gw1-weather/temperature');
    t.notOk(
      live.some(({ attributes }) => String(attributes.labels).includes('baton:copy')),
      'and never among new ones',
    );
    await world.pass(3000);
  }
  isWatching = false;
  t.same([...faults], [], 'the IN-CSE always shows the AE, and never one that is gone');
  const state = below(world, world.serving ?? '', 'gw1-weather/state');
  t.same(state.map(nameOf), ['note'], 'what an application left came along from CSE to CSE');
  t.match(state[0]?.attributes.labels, ['baton:copy', `baton:from=${first}`]);
});

void t.test('the old copy stays while there is no new one', async (t) => {
  const world = await openWorld(t);
  await world.pass(2000);
  const source = world.serving ?? '';
  const target = source === '/id-mn2' ? '/id-mn3' : '/id-mn2';
  const stop = world.cses.find(target)?.misbehaviour.add({
    direction: 'outgoing',
    operation: Operation.create,
    resourceType: ResourceType.aeAnnc,
    action: { kind: 'dropRequest' },
  });
  await world.handOver(target);
  await world.pass(20_000);
  t.same(
    announced(world),
    [{ state: 'moved', isLiving: true }],
    'marked as moved, and its original is there',
  );
  stop?.();
  await world.until('both are there', () => announced(world).some(({ state }) => state === 'serving'));
  await world.until('one is left', () => announced(world).length === 1);
  t.same(announced(world), [{ state: 'serving', isLiving: true }]);
});

/** Somebody makes a subscription below an AE of ours. */
async function subscribe(
  cse: TestbedCse | undefined,
  parent: string,
  name: string,
): Promise<number | undefined> {
  const answer = await cse?.handle(
    {
      operation: Operation.create,
      to: `${cse.settings.cseBaseName}/${parent}`,
      from: 'Coperator',
      requestIdentifier: name,
      releaseVersionIndicator: '4',
      resourceType: ResourceType.subscription,
      primitiveContent: {
        subscription: {
          resourceName: name,
          notificationUri: ['Coperator'],
          eventNotificationCriteria: { notificationEventType: [3] },
        },
      },
    },
    { serialisation: 'cbor' },
  );
  return answer?.responseStatusCode;
}

void t.test(
  'a source that is lost, and a process that is killed before it has taken everything along',
  async (t) => {
    const world = await openWorld(t);
    await world.pass(2000);
    const source = world.serving ?? '';
    const admin = world.cses.find(source)?.settings.adminOriginator ?? '';
    const made = await world.cses.find(source)?.handle(
      {
        operation: Operation.create,
        to: `cse-${source.slice(4)}/gw1-weather/temperature`,
        from: admin,
        requestIdentifier: 'foreign',
        releaseVersionIndicator: '4',
        resourceType: ResourceType.group,
        primitiveContent: {},
      },
      { serialisation: 'cbor' },
    );
    t.not(made?.responseStatusCode, 2001, 'a container holds no group');
    t.type(await subscribe(world.cses.find(source), 'gw1-weather/temperature', 'theirs'), 'number');
    // What others make is looked for every five minutes.
    const cnt = await world.cses.find(source)?.handle(
      {
        operation: Operation.create,
        to: `cse-${source.slice(4)}/gw1-weather`,
        from: admin,
        requestIdentifier: 'cnt',
        releaseVersionIndicator: '4',
        resourceType: ResourceType.container,
        primitiveContent: { container: { resourceName: 'theirs', labels: ['keep'] } },
      },
      { serialisation: 'cbor' },
    );
    t.equal(cnt?.responseStatusCode, 2001);
    await world.pass(310_000);
    world.cut(source);
    await world.until('another CSE serves', () => world.serving !== undefined && world.serving !== source);
    const target = world.serving ?? '';
    world.restart('powerCut');
    await world.until('what others made is there', () =>
      below(world, target, 'gw1-weather').some((each) => nameOf(each) === 'theirs'),
    );
    t.same(
      below(world, target, 'gw1-weather').find((each) => nameOf(each) === 'theirs')?.attributes.labels,
      ['keep'],
      'from memory, across the power cut',
    );
    world.heal(source);
    await world.until(
      'the rest comes when the source is back',
      () => below(world, target, 'gw1-weather/temperature.recent').length === 5,
    );
  },
);

void t.test('a registrar that lost the owner of an AE is passed over', async (t) => {
  const world = await openWorld(t);
  await world.pass(2000);
  const source = world.serving ?? '';
  const stuck = source === '/id-mn2' ? '/id-mn1' : '/id-mn2';
  const base = `cse-${stuck.slice(4)}`;
  // As after a crash between two writes: the AE-ID is known, its owner is not.
  for (const { operation, to, responseStatusCode } of [
    { operation: Operation.create, to: base, responseStatusCode: 4117 },
    { operation: Operation.retrieve, to: `${base}/gw1-weather`, responseStatusCode: 4103 },
  ]) {
    world.cses.find(stuck)?.misbehaviour.add({
      action: { kind: 'answer', responseStatusCode },
      ...{ operation, to, originator: 'Cweather' },
    });
  }
  const ended = await world.handOver(stuck);
  t.match(ended, {
    outcome: 'rolledBack',
    reason: /holds our AE-ID and does not let us use .*gw1-weather.*operator has to delete/u,
  });
  t.equal(world.serving, source, 'an order names one CSE: it goes on where it was');
  // By decision, the next candidate is taken.
  world.cut(source);
  await world.until('another CSE serves', () => {
    const { serving } = world;
    return serving !== undefined && serving !== source && world.stateAt(serving) === 'serving';
  });
  t.not(world.serving, stuck, 'the next candidate is taken');
  await world.pass(3000);
  t.ok(below(world, world.serving ?? '', 'gw1-weather/temperature').length > 0, 'and data goes on');
});

void t.test('the IN-CSE itself serves, and is left again', async (t) => {
  const world = await openWorld(t);
  await world.pass(2000);
  const source = world.serving ?? '';
  const target = {
    cseId: '/id-in',
    cseBaseName: 'cse-in',
    pointsOfAccess: [world.cses.inPointOfAccess],
    coverage: [],
  };
  const published = await world.cses.createInstance('/id-in', 'cse-in/gw1-home/targets', {
    labels: ['baton:target'],
    content: target,
  });
  t.equal(published?.responseStatusCode, 2001);
  await world.pass(16_000);
  t.equal((await world.handOver('/id-in')).outcome, 'completed');
  t.equal(world.serving, '/id-in');
  await world.pass(3000);
  t.same(world.labelsAt('/id-in')?.slice(0, 2), ['baton:dev=gw1', 'baton:state=serving']);
  t.ok(below(world, '/id-in', 'gw1-weather/temperature').length > 0, 'beside the home AE');
  const own = world.cses.find('/id-in')?.find('cse-in/gw1-weather');
  t.equal(own?.attributes.announceTo, undefined, 'an AE of the IN-CSE is not announced to it');
  t.equal(world.stateAt(source), 'moved');
  t.same(announced(world), [], 'and the copy of the source is gone: the original is here');
  t.equal(await world.clock.advanceUntil(world.command('/id-in', 'one')), 2001);
  await world.pass(1000);
  const back = await world.handOver('/id-mn3');
  t.equal(back.outcome, 'completed');
  await world.pass(3000);
  t.equal(world.stateAt('/id-in'), 'moved');
  t.ok(world.cses.find('/id-in')?.find('cse-in/gw1-home'), 'the home AE stays');
  t.ok(below(world, '/id-mn3', 'gw1-weather/temperature').length > 0);
  await world.until('it is announced from there', () => announced(world).length === 1);
  t.equal((await world.handOver('/id-in')).outcome, 'completed', 'the way back finds its AEs there');
});
