// Proves what others may ask of a gateway, on a virtual clock: commands in the mailbox at the IN-CSE arrive by notification,
// by polling channel or by polling, once in both containers together (I7); triggers are answered step by step, survive a
// restart and never split the bundle; a CSE that comes back with an old state is found, told and released (G5).
import t from 'tap';
import { Operation, ResourceType } from '../../src/onem2m/enums.ts';
import type { RequestPrimitive, ResponsePrimitive } from '../../src/onem2m/primitives.ts';
import type { TestbedCse } from '../../src/testbed/cse/testbed-cse.ts';
import { homeAeOf } from '../../src/handover/home-ae.ts';
import { gatewayBundle } from '../../src/handover/bundle-manifest.ts';
import { terminate } from '../../src/handover/termination.ts';
import { cseId, millis, unixMillis } from '../../src/base/units.ts';
import { CseClient } from '../../src/onem2m/cse-client.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { GatewayWorld } from '../handover/gateway-world.ts';
import type { GatewayWorldOptions } from '../handover/gateway-world.ts';

t.setTimeout(600_000);

const longStay = { decision: { discoveryPeriodMs: 15_000, minimumStayMs: 1000, penaltyMs: 2000 } };

class World extends GatewayWorld {
  #requests = 0;

  at(cseId: string): TestbedCse {
    const cse = this.cses.find(cseId);
    if (cse === undefined) throw new Error(`no ${cseId}`);
    return cse;
  }

  ask(
    cseId: string,
    request: Partial<RequestPrimitive> & { to: string },
  ): Promise<ResponsePrimitive | undefined> {
    const asked = this.at(cseId).handle(
      {
        operation: Operation.create,
        from: 'COperator',
        requestIdentifier: `ask-${++this.#requests}`,
        releaseVersionIndicator: '4',
        ...request,
      },
      { serialisation: 'cbor' },
    );
    return this.clock.advanceUntil(asked);
  }

  async put(cseId: string, container: string, content: unknown): Promise<void> {
    const answer = await this.ask(cseId, {
      to: `${this.at(cseId).settings.cseBaseName}/${container}`,
      resourceType: ResourceType.contentInstance,
      primitiveContent: { contentInstance: { content } },
    });
    if (answer?.responseStatusCode !== 2001) throw new Error(JSON.stringify(answer));
  }

  /** Contents of the instances of a container, wherever the gateway was. */
  held(container: string, cseIds: readonly string[] = this.cses.cseIds): Record<string, unknown>[] {
    return cseIds.flatMap((cseId) => {
      const cse = this.at(cseId);
      const path = `${cse.settings.cseBaseName}/${container}/`;
      const isOne = (at: string, type: number): boolean =>
        at.startsWith(path) && type === ResourceType.contentInstance;
      return cse
        .dump()
        .filter(({ path: at, resourceType }) => isOne(at, resourceType))
        .map(({ attributes }) => attributes.content as Record<string, unknown>);
    });
  }

  results(id: string): Record<string, unknown>[] {
    const values = this.held('gw1/results').map(({ v }) => v as Record<string, unknown>);
    return values.filter((value) => value.id === id);
  }

  async result(id: string, limitMs = 20_000): Promise<Record<string, unknown> | undefined> {
    await this.until(`the result of ${id}`, () => this.results(id).length > 0, limitMs);
    return this.results(id)[0];
  }

  told(id: string): string[] {
    return this.held('gw1-home/events')
      .filter((event) => event.id === id)
      .map(({ state }) => String(state));
  }

  why(id: string): unknown {
    return this.held('gw1-home/events')
      .filter((event) => event.id === id)
      .at(-1)?.reason;
  }

  async answered(id: string, state: string, limitMs = 60_000): Promise<void> {
    await this.until(`${id} is ${state}`, () => this.told(id).includes(state), limitMs);
  }
}

async function openWorld(
  t: { teardown(done: () => unknown): void },
  options: Partial<GatewayWorldOptions> = {},
  prepare: (world: World) => void = () => undefined,
): Promise<World> {
  const world = new World({ seed: 11, config: longStay, ...options });
  t.teardown(() => world.close());
  prepare(world);
  await world.open();
  return world;
}

void t.test('commands in the mailbox, and in both containers', async (t) => {
  const world = await openWorld(t);
  await world.pass(5000);
  await world.put('/id-in', 'gw1-home/cmd', { id: 'h1', command: 'ping' });
  t.match(await world.result('h1', 2000), { status: 'done', target: 'gateway' }, 'at once, by notification');
  const serving = world.serving ?? '';
  await world.put(serving, 'gw1/cmd', { id: 'both', command: 'ping' });
  await world.put('/id-in', 'gw1-home/cmd', { id: 'both', command: 'ping' });
  await world.put('/id-in', 'gw1-home/cmd', { id: 'bad', command: 'ping', target: 'door' });
  t.match(await world.result('bad'), { status: 'rejected', reason: /no target "door"/ });
  await world.pass(5000);
  t.equal(world.results('both').length, 1);
  t.same([world.held('gw1-home/cmd'), world.held('gw1/cmd')], [[], []], 'the containers are emptied');

  // While the gateway is down.
  world.machine.end('kill');
  await world.put('/id-in', 'gw1-home/cmd', { id: 'h2', command: 'ping' });
  await world.put('/id-in', 'gw1-home/cmd', { id: 'h1', command: 'ping' });
  world.machine.start();
  t.match(await world.result('h2'), { status: 'done' });
  await world.pass(5000);
  t.equal(world.results('h1').length, 1);
});

void t.test('an IN-CSE that does not notify: polling channel, then polling', async (t) => {
  const silence = (world: World): void => {
    world.at('/id-in').misbehaviour.add({
      direction: 'outgoing',
      operation: Operation.notify,
      action: { kind: 'dropRequest' },
    });
  };
  const channel = await openWorld(t, {}, silence);
  await channel.pass(15_000);
  t.ok(channel.at('/id-in').find('cse-in/gw1-home/pch'), 'it has made its polling channel');
  await channel.put('/id-in', 'gw1-home/cmd', { id: 'p1', command: 'ping' });
  await channel.result('p1', 2000);
  await channel.pass(70_000);
  await channel.put('/id-in', 'gw1-home/cmd', { id: 'p2', command: 'ping' });
  await channel.result('p2', 2000);

  const polled = await openWorld(t, { seed: 12 }, (world) => {
    silence(world);
    world.at('/id-in').misbehaviour.add({
      resourceType: ResourceType.pollingChannel,
      action: { kind: 'answer', responseStatusCode: 4000 },
    });
  });
  await polled.pass(15_000);
  t.notOk(polled.at('/id-in').find('cse-in/gw1-home/pch'));
  await polled.put('/id-in', 'gw1-home/cmd', { id: 'q1', command: 'ping' });
  await polled.result('q1', 12_000);
});

void t.test('triggers of an orchestrator', async (t) => {
  const world = await openWorld(t);
  await world.pass(5000);
  const from = world.serving ?? '';
  const to = ['/id-mn1', '/id-mn2', '/id-mn3'].find((cseId) => cseId !== from) ?? '';
  const plain = { issuer: '/id-in/Corch', reason: 'load' };
  const intend = (content: Record<string, unknown>): Promise<void> =>
    world.put('/id-in', 'gw1-home/intents', { ...plain, ...content });
  await intend({ id: 't1', kind: 'move', target: to });
  await world.answered('t1', 'completed');
  t.same([world.told('t1'), world.serving], [['accepted', 'completed'], to]);
  t.match(world.ended.at(-1), { trigger: 'orchestrator', target: to, outcome: 'completed' });
  await intend({ id: 't1', kind: 'move', target: from });
  await world.pass(10_000);
  t.same([world.told('t1').length, world.serving], [2, to], 'the same id is the same trigger');

  await intend({ id: 't2', kind: 'move', target: to });
  await world.answered('t2', 'completed');
  t.equal(world.ended.length, 2, 'nothing is begun to get where it is');
  await intend({ id: 't3', kind: 'move', aes: ['door'] });
  await world.answered('t3', 'refused');
  t.match(world.why('t3'), /no AE is named door; known: gw1/);
  await intend({ id: 't4', kind: 'move', target: '/id-nowhere', deadline: 5000 });
  await world.answered('t4', 'timeout');
  t.same(world.told('t4'), ['accepted', 'deferred', 'timeout']);
  await intend({ id: 't5', kind: 'fly' });
  await world.answered('t5', 'refused');
  for (const kind of ['update', 'reRegister']) {
    await intend({ id: `t-${kind}`, kind, aes: ['gw1'] });
    await world.answered(`t-${kind}`, 'completed');
  }
  t.same(world.held('gw1-home/intents'), [], 'what is taken is gone');
  await world.put('/id-in', 'gw1-home/cmd', { id: 'c-t', kind: 'move', ...plain, target: from });
  t.match(await world.result('c-t'), { status: 'rejected' }, 'a trigger among the commands is none');
  t.equal(world.serving, to);
});

void t.test(
  'a trigger of an edge AE at the serving CSE, a race, a budget, a restart in the middle',
  async (t) => {
    const world = await openWorld(t, { seed: 13 });
    await world.pass(5000);
    const others = (): string[] => ['/id-mn1', '/id-mn2', '/id-mn3'].filter((each) => each !== world.serving);
    const [first = '', second = ''] = others();
    const plain = { kind: 'move', issuer: 'Cedge' };
    await world.put(world.serving ?? '', 'gw1/intents', { ...plain, id: 'e1', target: first });
    await world.answered('e1', 'completed');
    t.equal(world.ended.at(-1)?.trigger, 'edge');

    await world.pass(5000);
    const back = others().find((each) => each !== second) ?? '';
    await world.put('/id-in', 'gw1-home/intents', { ...plain, id: 'r1', target: second, priority: 9 });
    await world.until('it is under way', () => world.status.handover !== undefined);
    await world.put('/id-in', 'gw1-home/intents', { ...plain, id: 'r2', target: back, priority: 10 });
    await world.answered('r1', 'completed');
    await world.answered('r2', 'completed');
    t.match(world.ended.slice(-2), [{ target: second }, { target: back }], 'one after the other');
    t.equal(world.serving, back);

    await world.pass(5000);
    const [last = ''] = others();
    await world.put('/id-in', 'gw1-home/intents', { ...plain, id: 'k1', target: last });
    await world.until('it is under way', () => world.status.handover?.state === 'claiming');
    world.restart('powerCut');
    await world.answered('k1', 'completed');
    t.equal(world.serving, last, 'what was claimed went on, and the trigger was answered after the restart');

    await world.pass(130_000);
    for (let at = 0; at < 12; at++) {
      await world.put('/id-in', 'gw1-home/intents', { id: `f${at}`, kind: 'update', issuer: 'x' });
    }
    await world.until('all are answered', () => world.told('f11').some((state) => state !== 'accepted'));
    await world.pass(10_000);
    const refused = Array.from({ length: 12 }, (_, at) => world.told(`f${at}`)).filter(
      (told) => told[0] === 'refused',
    );
    t.ok(refused.length >= 3 && refused.length <= 4, `${refused.length} of 12 at once are beyond the budget`);
  },
);

void t.test(
  'a registration that is ended is no move, and a gateway that still runs learns of it',
  async (t) => {
    const handover = { recordCheckMs: 30_000 };
    const world = await openWorld(t, { seed: 15, config: { ...longStay, handover } });
    await world.pass(3000);
    await world.handOver();
    const serving = world.serving ?? '';
    const clientAt = (id: string, originator: string): CseClient =>
      new CseClient({
        originator,
        entropy: new SeededEntropy(1),
        deadlineMs: millis(1000),
        binding: {
          send: async (request) => {
            const value = await world.at(id).handle(request, { serialisation: 'cbor' });
            return value === undefined
              ? { ok: false, error: { kind: 'deadline', message: 'no answer' } }
              : { ok: true, value };
          },
          close: () => Promise.resolve(),
        },
      });
    const home = homeAeOf('gw1', 'cse-in');
    const end = (): ReturnType<typeof terminate> =>
      terminate({
        home,
        homeClient: clientAt('/id-in', home.aeId),
        bundle: gatewayBundle({ device: 'gw1', aeId: 'Sgw1', streams: [], readers: [] }),
        clientFor: (cse) => clientAt(cse.cseId, 'Sgw1'),
        others: world.cses.cseIds.slice(1).map((id) => ({
          cseId: cseId(id),
          cseBaseName: world.at(id).settings.cseBaseName,
          pointOfAccess: '',
        })),
        nonce: 'end',
        nowMs: unixMillis(1),
      });
    const ended = await world.clock.advanceUntil(end());
    t.match(ended, { ok: true, value: { epoch: 3, left: [] } });
    t.ok(ended.ok && ended.value.deleted.includes(serving) && ended.value.deleted.length === 2);
    t.match(world.at('/id-in').find('cse-in/gw1-home')?.attributes.labels, [
      'baton:home',
      'baton:state=terminated',
    ]);
    t.match(world.held('gw1-home/serving').at(-1), { epoch: 3, end: true, cse: { id: serving } });
    const isFenced = (): boolean =>
      world.status.alarms.some(({ text }) => text.includes('deregistered by order'));
    await world.until('it fences itself', isFenced, 70_000);
    t.match(await world.clock.advanceUntil(end()), { value: { epoch: 3 } }, 'it is ended once');
  },
);

void t.test('a CSE comes back with an old state: found by what it notifies, or by the patrol', async (t) => {
  const world = await openWorld(t, {
    seed: 14,
    config: { ...longStay, handover: { recordCheckMs: 30_000, graceMs: 600_000 } },
  });
  await world.pass(3000);
  const left = world.serving ?? '';
  const base = `${world.at(left).settings.cseBaseName}/gw1`;
  const before = world.at(left).find(base)?.attributes ?? {};
  const labels = before.labels as string[];
  const pointOfAccess = before.pointOfAccess as string[];
  await world.handOver();
  t.equal(world.stateAt(left), 'moved');
  const restore = async (): Promise<void> => {
    await world.ask(left, {
      operation: Operation.update,
      to: base,
      primitiveContent: { ae: { labels, pointOfAccess, requestReachability: true } },
    });
    await world.ask(left, {
      to: `${base}/cmd`,
      from: 'Sgw1',
      resourceType: ResourceType.subscription,
      primitiveContent: {
        subscription: {
          resourceName: 'cmd-sub',
          notificationUri: ['Sgw1'],
          eventNotificationCriteria: { notificationEventType: [3], childResourceType: [4] },
        },
      },
    });
    t.equal(world.stateAt(left), 'serving');
  };
  const alarmed = (): boolean => world.status.alarms.some(({ text }) => text.includes('old state'));
  await restore();
  await world.put(left, 'gw1/cmd', { id: 'from-stale', command: 'ping' });
  t.match(await world.result('from-stale'), { status: 'done' }, 'a command there is not lost');
  await world.until('it is told', alarmed, 10_000);
  await world.until('it is released', () => world.stateAt(left) === 'moved', 40_000);
  await world.until('and the alarm is over', () => !alarmed(), 20_000);
  await world.pass(20_000);
  t.equal(world.results('from-stale').length, 1);

  await restore();
  await world.until('the patrol finds it', alarmed, 120_000);
  await world.until('it is released', () => world.stateAt(left) === 'moved', 40_000);
  t.not(world.serving, left);
});
