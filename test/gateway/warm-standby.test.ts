// Proves the warm standby: prepared at the best alternative only, known to the disk before anything is sent, so that a crash at
// any step leaves nothing behind (I9); fresh or not used; within its budget; not flapping; never served from; a handover to
// it costs claim and switch; and whatever another gateway with our identity holds there is left alone.
import t from 'tap';
import type { Test } from 'tap';
import { bytes, cseId, epoch, millis } from '../../src/base/units.ts';
import { OwedWork, decodeOwedTasks } from '../../src/gateway/owed-work.ts';
import type { OwedTask } from '../../src/gateway/owed-work.ts';
import { WarmStandby } from '../../src/gateway/warm-standby.ts';
import type { CseReference, Serving } from '../../src/handover/handover-state.ts';
import type { ServingRecord } from '../../src/handover/serving-record.ts';
import { TrafficMeter } from '../../src/onem2m/traffic-meter.ts';
import { settlePromises } from '../../src/host/clock.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';
import { GatewayWorld, device, stream } from '../handover/gateway-world.ts';
import type { GatewayWorldOptions } from '../handover/gateway-world.ts';

t.setTimeout(600_000);

const enabled = { enabled: true, holdMs: 2000, refreshMs: 10_000 };

async function openWorld(
  t: Test,
  handover: Readonly<Record<string, unknown>> = { standby: enabled },
  more: Partial<GatewayWorldOptions> = {},
): Promise<GatewayWorld> {
  const world = new GatewayWorld({ seed: 11, config: { handover }, ...more });
  t.teardown(() => world.close());
  await world.open();
  return world;
}

function referenceOf(name: string): CseReference {
  return { cseId: cseId(`/id-${name}`), cseBaseName: `cse-${name}`, pointOfAccess: `coap://${name}` };
}

/** A standby alone, whose work is counted and does nothing. */
class Bench {
  readonly clock = new SimulatedClock({ settle: settlePromises });
  readonly meter = new TrafficMeter();
  readonly calls: string[] = [];
  readonly saved: (readonly OwedTask[])[] = [];
  readonly owed: OwedWork;
  readonly standby: WarmStandby;
  serving: Serving | undefined = { cse: referenceOf('mn1'), epoch: epoch(7) };
  best: CseReference | undefined = referenceOf('mn2');
  isFree = true;
  diskRefuses = false;
  fails: string | undefined;
  mark: { epoch?: number; state?: string } | undefined;
  poa = 'coap://here';
  readonly #stop = new AbortController();

  constructor(
    settings: Partial<ConstructorParameters<typeof WarmStandby>[0]['settings']> = {},
    requests = 4,
  ) {
    const send = (name: string, count: number): void => {
      this.calls.push(name);
      const binding = this.meter.over({
        send: () => new Promise(() => undefined),
        close: () => Promise.resolve(),
      });
      const request = { operation: 2, to: 'x', from: 'x', requestIdentifier: '1' } as const;
      for (let at = 0; at < count; at++) void binding.send(request, { deadlineMs: millis(1) });
    };
    const done = (
      name: string,
      count: number,
    ): Promise<{ kind: 'succeeded' } | { kind: 'failed'; reason: string }> => {
      send(name, count);
      if (this.fails === name) return Promise.resolve({ kind: 'failed', reason: `${name} fails` });
      if (name !== 'verify') this.mark = { epoch: (this.serving?.epoch ?? 0) + 1, state: 'prepared' };
      return Promise.resolve({ kind: 'succeeded' });
    };
    this.owed = new OwedWork({
      store: {
        load: () => Promise.resolve(this.saved.at(-1)),
        save: (tasks) => {
          if (this.diskRefuses) return Promise.reject(new Error('full'));
          this.saved.push(tasks);
          return Promise.resolve();
        },
      },
      record: undefined as unknown as ServingRecord,
      releaseOrphan: () => Promise.resolve({ kind: 'succeeded' }),
      onAlarm: () => undefined,
    });
    this.standby = new WarmStandby({
      clock: this.clock,
      settings: {
        ...{ enabled: true, holdMs: millis(2000), refreshMs: millis(10_000) },
        ...{ requestsPerHour: 100_000, bytesPerHour: bytes(1e9) },
        ...settings,
      },
      deadlineMs: millis(1000),
      owed: this.owed,
      serving: () => this.serving,
      isFree: () => this.isFree,
      best: () => this.best,
      meter: this.meter,
      onChange: () => undefined,
      work: {
        marked: () => {
          send('marked', 1);
          const { mark } = this;
          return Promise.resolve(
            mark && {
              ...(mark.state === undefined ? {} : { state: mark.state }),
              ...(mark.epoch === undefined ? {} : { epoch: epoch(mark.epoch) }),
            },
          );
        },
        prepare: ({ target }) => {
          const known = this.saved
            .at(-1)
            ?.some((task) => task.kind === 'standby' && task.cse.cseId === target.cseId);
          if (known !== true) this.calls.push('prepared unknown to the disk');
          return done('prepare', requests);
        },
        repair: () => done('repair', requests),
        verify: () => done('verify', 1),
        fetchCommands: () => Promise.resolve({ kind: 'succeeded' }),
        pointOfAccessFor: () => this.poa,
      },
    });
  }

  async open(): Promise<this> {
    await this.owed.open();
    void this.standby.run(this.#stop.signal);
    return this;
  }

  async pass(ms: number): Promise<void> {
    await this.clock.advance(ms);
  }

  stop(): void {
    this.#stop.abort();
  }

  count(name: string): number {
    return this.calls.filter((call) => call === name).length;
  }
}

void t.test('held long enough, kept fresh, given up', async (t) => {
  const bench = await new Bench().open();
  t.teardown(() => bench.stop());
  const mn2 = referenceOf('mn2');
  await bench.pass(1900);
  t.equal(bench.count('prepare'), 0, 'not before it was the best for a while');
  await bench.pass(3000);
  t.same(bench.calls.slice(0, 3), ['marked', 'prepare', 'verify']);
  t.equal(bench.standby.isWarmAt(mn2), true);
  t.equal(bench.standby.isWarmAt(referenceOf('mn3')), false);
  t.equal(
    bench.standby.isWarmAt({ ...mn2, pointOfAccess: 'coap://elsewhere' }),
    false,
    'another way there is another',
  );
  t.match(bench.standby.status, { state: 'warm', cseId: '/id-mn2', requestsLastHour: 6 });
  bench.calls.length = 0;
  await bench.pass(100_000);
  t.equal(bench.count('prepare') + bench.count('repair'), 0, 'a look is enough');
  t.ok(Math.abs(bench.count('verify') - 10) <= 1, `${bench.count('verify')} proofs in ten periods`);
  await bench.pass(20_000);
  t.equal(bench.count('repair'), 1, 'and now and then the whole of it');
  bench.calls.length = 0;
  bench.mark = { state: 'moved', epoch: 8 };
  await bench.pass(11_000);
  t.equal(bench.count('repair'), 1, 'another mark than ours is mended');
  bench.mark = undefined;
  await bench.pass(11_000);
  t.equal(bench.count('prepare'), 1, 'a lost one is made again');
  bench.poa = 'coap://there';
  t.equal(bench.standby.isWarmAt(mn2), false, 'told the wrong address it is not warm');
  await bench.pass(11_000);
  t.equal(bench.standby.isWarmAt(mn2), true);

  bench.isFree = false;
  const before = bench.calls.length;
  await bench.pass(25_000);
  t.equal(bench.calls.length, before, 'nothing is sent beside a transaction, or fenced');
  t.equal(bench.standby.isWarmAt(mn2), false, 'and what was proved too long ago is not warm');
  bench.isFree = true;
  await bench.pass(2000);
  t.equal(bench.standby.isWarmAt(mn2), true);

  bench.serving = { cse: mn2, epoch: epoch(8) };
  bench.best = referenceOf('mn1');
  await bench.pass(1100);
  t.same(bench.owed.tasks, [], 'once it serves it is no standby');
  await bench.pass(5000);
  t.match(bench.owed.tasks, [{ kind: 'standby', cse: { cseId: '/id-mn1' }, epoch: 9 }]);
  t.equal(bench.count('prepared unknown to the disk'), 0);
});

void t.test('two that change places do not flap', async (t) => {
  const bench = await new Bench().open();
  t.teardown(() => bench.stop());
  await bench.pass(5000);
  bench.calls.length = 0;
  for (let at = 0; at < 60; at++) {
    bench.best = referenceOf(at % 2 === 0 ? 'mn3' : 'mn2');
    await bench.pass(1500);
  }
  t.equal(bench.count('prepare'), 0);
  bench.best = referenceOf('mn3');
  await bench.pass(4000);
  t.equal(bench.count('prepare'), 1, 'a lasting change is followed');
  t.match(
    bench.owed.tasks,
    [
      { kind: 'orphan', cse: { cseId: '/id-mn2' } },
      { kind: 'standby', cse: { cseId: '/id-mn3' } },
    ],
    'and what is left behind is to be released',
  );
  bench.best = undefined;
  await bench.pass(4000);
  t.match(bench.standby.status, { cseId: '/id-mn3' }, 'no alternative is no better one');
});

void t.test('budget', async (t) => {
  const bench = await new Bench({ requestsPerHour: 100 }, 60).open();
  t.teardown(() => bench.stop());
  await bench.pass(3_600_000);
  t.ok(bench.meter.traffic.requests <= 100, `${bench.meter.traffic.requests} requests in an hour`);
  t.match(bench.standby.status, { state: 'putOff' });
  await bench.pass(3_600_000);
  t.ok(bench.meter.traffic.requests <= 200, `${bench.meter.traffic.requests} in two`);
  t.ok(bench.meter.traffic.requests > 100, 'and it goes on');
  const octets = await new Bench({ bytesPerHour: bytes(1000) }).open();
  t.teardown(() => octets.stop());
  await octets.pass(3_600_000);
  t.ok(octets.meter.traffic.bytes <= 1000, `${octets.meter.traffic.bytes} octets in an hour`);
});

void t.test('what is in the way', async (t) => {
  const bench = await new Bench().open();
  t.teardown(() => bench.stop());
  bench.diskRefuses = true;
  await bench.pass(30_000);
  t.equal(bench.count('prepare'), 0, 'what the disk cannot keep is not begun (I9)');
  t.match(bench.standby.status, { state: 'failed', reason: /owed/ });
  bench.diskRefuses = false;
  bench.mark = { epoch: 12, state: 'serving' };
  await bench.pass(120_000);
  t.equal(bench.count('prepare') + bench.count('repair'), 0, 'an AE under a higher epoch is not ours');
  t.match(bench.standby.status, { state: 'failed', reason: /another gateway/ });
  bench.mark = undefined;
  bench.fails = 'verify';
  await bench.pass(600_000);
  t.ok(bench.count('prepare') + bench.count('repair') <= 40, 'failures are repeated at a growing distance');
  t.equal(bench.standby.isWarmAt(referenceOf('mn2')), false);
  bench.fails = undefined;
  await bench.pass(60_000);
  t.equal(bench.standby.isWarmAt(referenceOf('mn2')), true);
  bench.standby.noteEnded(cseId('/id-mn2'));
  t.equal(
    bench.standby.isWarmAt(referenceOf('mn2')),
    false,
    'a transaction that had it as its target sees to it',
  );

  const off = await new Bench({ enabled: false }).open();
  t.teardown(() => off.stop());
  await off.pass(60_000);
  t.same(off.calls, []);
  t.equal(off.standby.status, undefined);
});

void t.test('owed work: a CSE is in the list once', async (t) => {
  const bench = new Bench();
  const [a, b] = [referenceOf('a'), referenceOf('b')];
  await bench.owed.add({ kind: 'orphan', cse: a, epoch: epoch(9) });
  t.equal(await bench.owed.holdStandby(a, epoch(4)), true);
  t.same(bench.owed.tasks, [{ kind: 'standby', cse: a, epoch: 9 }], 'not released under our hands');
  await bench.owed.add({ kind: 'orphan', cse: a, epoch: epoch(10) });
  t.same(bench.owed.tasks, [{ kind: 'orphan', cse: a, epoch: 10 }]);
  await bench.owed.holdStandby(b, epoch(11));
  t.same(decodeOwedTasks(JSON.parse(JSON.stringify(bench.owed.tasks))), bench.owed.tasks);
  bench.diskRefuses = true;
  t.equal(await bench.owed.holdStandby(a, epoch(12)), false);
  t.notOk(bench.owed.standby, 'what the disk may or may not hold is released');
  bench.diskRefuses = false;
  await bench.owed.sweep([], new AbortController().signal);
  t.same(bench.owed.tasks, []);
});

void t.test('a handover to it costs the claim and the switch', async (t) => {
  const world = await openWorld(t);
  t.equal(world.serving, '/id-mn1');
  await world.until('a standby', () => world.status.standby?.state === 'warm');
  t.equal(world.status.standby?.cseId, '/id-mn2');
  t.equal(world.stateAt('/id-mn2'), 'prepared');
  const count = (id: string): number =>
    world.cses
      .find(id)
      ?.dump()
      .filter(({ path }) => path.includes(`/${stream}/`)).length ?? 0;
  await world.pass(30_000);
  t.equal(count('/id-mn2'), 0, 'nothing is written to it');
  const warm = await world.handOver('/id-mn2');
  t.same(
    warm.phases.map(({ phase }) => phase),
    ['claiming', 'switching', 'catchingUp', 'releasing'],
  );
  await world.until(
    'the way back is prepared',
    () => world.status.standby?.cseId === '/id-mn1' && world.status.standby.state === 'warm',
  );
  t.equal(world.stateAt('/id-mn1'), 'prepared', 'a CSE that was left is taken over as it is');
  t.ok(count('/id-mn1') > 10, 'with what it holds');
  t.equal(world.stateAt('/id-mn2'), 'serving');

  // The serving CSE falls silent: the decision goes to the standby.
  world.cut('/id-mn2');
  const before = world.ended.length;
  await world.until('the loss is answered', () => world.ended.length > before);
  t.match(world.ended.at(-1), { outcome: 'completed', trigger: 'servingLost', target: '/id-mn1' });
  t.notOk(world.ended.at(-1)?.phases.some(({ phase }) => phase === 'preparing'));
  t.match(
    world.events.findLast(({ kind }) => kind === 'decision'),
    { explanation: /prepared ahead/ },
  );
  world.heal('/id-mn2');
  await world.pass(60_000);
  t.equal(world.status.buffer.pending <= 1, true, 'all is delivered');
});

void t.test('a crash at any step leaves nothing that nobody knows', async (t) => {
  let hasPrepared = 0;
  // The process ends after so many steps of it (calls on the disk, datagrams) from the preparation on.
  for (let steps = 1; steps <= 46; steps += 3) {
    const world = await openWorld(t, { standby: { ...enabled, holdMs: 0 } }, { periodMs: 5000 });
    await world.until('a preparation', () => world.status.standby?.cseId === '/id-mn2', 30_000);
    world.machine.end(steps % 2 === 0 ? 'kill' : 'powerCut', steps);
    await world.pass(500);
    world.machine.disarm();
    const isMade = world.labelsAt('/id-mn2') !== undefined;
    if (isMade) hasPrepared += 1;
    world.machine.start();
    await world.until('it serves again', () => world.serving !== undefined);
    if (isMade) t.equal(world.status.standby?.cseId, '/id-mn2', `known after ${steps} steps`);
    await world.close();
  }
  t.ok(hasPrepared >= 4, `${hasPrepared} times something was there`);
});

void t.test('what is no standby any more is released', async (t) => {
  const world = await openWorld(
    t,
    { standby: { ...enabled, holdMs: 1000 }, graceMs: 20_000 },
    { periodMs: 2000 },
  );
  await world.until('a standby', () => world.status.standby?.state === 'warm');
  world.restart();
  await world.until(
    'it serves again',
    () => world.serving !== undefined && world.status.handover === undefined,
  );
  await world.handOver('/id-mn3');
  await world.until('the best is another one', () => world.status.standby?.cseId === '/id-mn1');
  await world.pass(60_000);
  t.same(
    ['/id-mn1', '/id-mn2', '/id-mn3'].map((id) => world.stateAt(id)),
    ['prepared', undefined, 'serving'],
    'its AEs are left to expire',
  );
});

void t.test('a standby of the last run', async (t) => {
  const world = await openWorld(t);
  await world.until('a standby', () => world.status.standby?.state === 'warm');
  world.restart('powerCut');
  await world.until(
    'it serves again',
    () => world.serving !== undefined && world.status.standby?.state === 'warm',
  );
  t.equal(world.status.standby?.cseId, '/id-mn2', 'is kept where it is still the best');
  t.equal(world.labelsAt('/id-mn2')?.[0], `baton:dev=${device}`);
});

void t.test('what a lost state directory leaves behind is found by its label and released', async (t) => {
  const world = await openWorld(t, { graceMs: 20_000 }, { periodMs: 2000 });
  await world.handOver('/id-mn2');
  // A target was prepared, under an epoch below ours, by a run that nobody remembers.
  const mn3 = world.cses.find('/id-mn3');
  const made = (name: string, labels: readonly string[]): Promise<unknown> =>
    mn3?.handle(
      {
        operation: 1,
        to: 'cse-mn3',
        from: `S${name}`,
        requestIdentifier: name,
        releaseVersionIndicator: '4',
        resourceType: 2,
        primitiveContent: {
          ae: {
            ...{ resourceName: name, appId: 'Nbaton', requestReachability: false },
            ...{ supportedReleaseVersions: ['4'], labels: [...labels] },
          },
        },
      },
      { serialisation: 'cbor' },
    ) ?? Promise.resolve();
  await world.clock.advanceUntil(
    made(device, [`baton:dev=${device}`, 'baton:state=prepared', 'baton:epoch=1']),
  );
  world.machine.end('kill');
  for (const name of ['handover.journal', 'owed.state', 'owed.previous'])
    world.machine.forget(`/data/state/${name}`);
  world.machine.start();
  await world.until(
    'it serves anew',
    () => world.serving !== undefined && world.status.handover === undefined,
  );
  await world.until('it is found', () => world.stateAt('/id-mn3') !== 'prepared', 120_000);
  await world.pass(30_000);
  t.equal(world.stateAt('/id-mn3'), undefined, 'and expires after the time of grace');
  t.equal(world.stateAt(world.serving ?? ''), 'serving');

  // One of a later epoch belongs to somebody else.
  await world.clock.advanceUntil(
    made(device, [`baton:dev=${device}`, 'baton:state=prepared', 'baton:epoch=99']),
  );
  world.machine.end('kill');
  world.machine.forget('/data/state/handover.journal');
  world.machine.start();
  await world.until(
    'it serves anew',
    () => world.serving !== undefined && world.status.handover === undefined,
  );
  await world.pass(60_000);
  t.equal(world.stateAt('/id-mn3'), 'prepared', 'is left alone');
});
