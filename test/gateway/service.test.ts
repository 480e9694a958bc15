// Proves the whole oneM2M side of a gateway on a virtual clock, against an IN-CSE and three MN-CSEs over a network in memory
// and a disk in memory: attachment, a handover by radio levels, orders, a CSE that loses its state, falls silent, or cannot be
// reached for the claim, restarts, a fence; and the parts that only the gateway has: owed work, penalties, stores.
import t from 'tap';
import { DecodeError } from '../../src/base/errors.ts';
import { bytes, cseId, dbm, epoch, millis, streamName } from '../../src/base/units.ts';
import { openReadingLog } from '../../src/buffer/reading-log.ts';
import type { ReadingLog } from '../../src/buffer/reading-log.ts';
import { gatewayActuator } from '../../src/downlink/actuator.ts';
import { gatewayTarget } from '../../src/downlink/command.ts';
import { Downlink } from '../../src/downlink/downlink.ts';
import { Alarms } from '../../src/gateway/alarms.ts';
import type { GatewayConfig } from '../../src/gateway/config.ts';
import { parseConfig } from '../../src/gateway/load-config.ts';
import { createHandoverWorker } from '../../src/gateway/handover-worker.ts';
import { decodeOwedTasks } from '../../src/gateway/owed-work.ts';
import { Service } from '../../src/gateway/service.ts';
import { WayDown } from '../../src/gateway/way-down.ts';
import type { GatewayEvent, HandoverEndedEvent } from '../../src/gateway/status.ts';
import {
  openCommandMemory,
  openHandoverJournal,
  openCapabilityStore,
  openOwedStore,
  openTriggerStore,
} from '../../src/gateway/stores.ts';
import { storeReading } from '../../src/gateway/intake.ts';
import { homeAeOf, provisionHomeAe } from '../../src/handover/home-ae.ts';
import { servingOf } from '../../src/handover/handover-state.ts';
import { settle } from '../../src/host/clock.ts';
import type { Host } from '../../src/host/host.ts';
import { CseClient } from '../../src/onem2m/cse-client.ts';
import { CseType, Operation, ResourceType } from '../../src/onem2m/enums.ts';
import { MemoryNetwork } from '../../src/testbed/cse/memory-transport.ts';
import { TestbedCse } from '../../src/testbed/cse/testbed-cse.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';
import { SimulatedFilesystem } from '../../src/testbed/simulated-filesystem.ts';
import { Uplink } from '../../src/uplink/uplink.ts';

const stream = streamName('temperature');
const names = ['in', 'mn1', 'mn2', 'mn3'] as const;
type Name = (typeof names)[number];
const poaOf = (name: Name): string => `coap://192.0.2.${names.indexOf(name) + 1}:5683`;
const ownPoa = 'coap://198.51.100.7:5683';
const home = homeAeOf('gw1', 'cse-in');

const config = parseConfig(
  `
device: gw1
dataDirectory: /data
inCse: { pointOfAccess: "${poaOf('in')}", cseId: /id-in, cseBaseName: cse-in }
links: [{ name: cell0, localAddress: 198.51.100.7 }]
sensors:
  - name: s1
    serialLine: { path: /dev/null, baudRate: 9600, format: json, acknowledge: true }
    streams: [{ name: temperature, class: A, priority: 5 }]
`,
  'test.yaml',
);

/** One life of the gateway process. */
interface Life {
  readonly service: Service;
  readonly log: ReadingLog;
  readonly executed: string[];
  readonly end: () => Promise<void>;
  readonly abandon: () => void;
}

/** The CSEs, the network, the disk, and the gateway whose life can be ended and begun again. */
class World {
  readonly clock = new SimulatedClock();
  readonly entropy = new SeededEntropy(5);
  readonly network = new MemoryNetwork({ clock: this.clock, latencyMs: millis(10) });
  readonly cses: Readonly<Record<Name, TestbedCse>>;
  filesystem = new SimulatedFilesystem();
  readonly events: GatewayEvent[] = [];
  readonly alarms = new Alarms(this.clock, millis(0), (text, active) =>
    this.events.push({ kind: 'alarm', text, active }),
  );
  stored = 0;
  readonly #config: GatewayConfig;
  /** Number of the last result of a command that is stored. */
  #results = 0;
  #life: Life | undefined;

  constructor(used: GatewayConfig) {
    this.#config = used;
    const make = (name: Name): TestbedCse =>
      new TestbedCse({
        cseId: `/id-${name}`,
        cseBaseName: `cse-${name}`,
        cseType: name === 'in' ? CseType.inCse : CseType.mnCse,
        spId: '//sp.example',
        adminOriginator: 'CAdmin',
        clock: this.clock,
        entropy: this.entropy.fork(name),
        transports: [this.network.transport(poaOf(name))],
        remoteCseReaders: [home.aeId],
        labels: name === 'in' ? [] : ['baton:target', `baton:cell=1850-${names.indexOf(name)}`],
        ...(name === 'in'
          ? {}
          : { registrar: { cseId: '/id-in', pointOfAccess: poaOf('in'), cseBaseName: 'cse-in' } }),
      });
    this.cses = { in: make('in'), mn1: make('mn1'), mn2: make('mn2'), mn3: make('mn3') };
  }

  client(originator: string, name: Name): CseClient {
    const binding = this.network.binding(poaOf(name));
    return new CseClient({ binding, originator, entropy: this.entropy, deadlineMs: millis(2000) });
  }

  /** Lets time pass in small steps, so that what awaits the disk comes to its end in between. */
  async pass(durationMs: number): Promise<void> {
    const stepMs = 10;
    for (let passed = 0; passed < durationMs; passed += stepMs) {
      await this.clock.advance(stepMs);
      await settle();
    }
  }

  async until(what: string, isDone: () => boolean, limitMs = 60_000): Promise<void> {
    for (let passed = 0; !isDone(); passed += 50) {
      if (passed >= limitMs) throw new Error(`not within ${limitMs} ms: ${what}; ${this.summary()}`);
      await this.pass(50);
    }
  }

  /** Settles like `work`, letting time pass. */
  async awaited<T>(work: Promise<T>): Promise<T> {
    let isSettled = false;
    const mark = (): void => void (isSettled = true);
    work.then(mark, mark);
    await this.until('the awaited work', () => isSettled);
    return work;
  }

  summary(): string {
    const alarms = this.alarms.list().map(({ text }) => text);
    return JSON.stringify({ state: this.service.facts().state, alarms, ended: this.ended });
  }

  async open(): Promise<void> {
    for (const cse of Object.values(this.cses)) await cse.start();
    await this.pass(200);
    const client = this.client(home.aeId, 'in');
    const rights = { operators: ['COperator'], gatewayAeId: 'Sgw1' };
    await this.awaited(provisionHomeAe(client, home, 'cse-in', rights));
    await this.begin();
  }

  async close(): Promise<void> {
    await this.end();
    for (const cse of Object.values(this.cses)) await cse.stop();
  }

  async begin(): Promise<void> {
    const host: Host = {
      clock: this.clock,
      entropy: this.entropy,
      filesystem: this.filesystem,
      blockDevices: undefined as never,
      network: undefined as never,
      serialLines: undefined as never,
    };
    const log = await openReadingLog({
      ...host,
      directory: '/data/buffer',
      streams: [{ name: stream, durability: 'A', priority: 5 }],
      limits: { quotaBytes: bytes(1024 * 1024) },
    });
    const stores = { host, directory: '/data/state', onDamage: () => undefined };
    const memory = await openCommandMemory(stores);
    const journal = await openHandoverJournal(stores);
    const executed: string[] = [];
    const downlink = new Downlink({
      memory,
      clock: host.clock,
      actuators: new Map([[gatewayTarget, gatewayActuator]]),
      store: ({ id }, number) => {
        if (number > this.#results) executed.push(id);
        this.#results = Math.max(this.#results, number);
        return Promise.resolve();
      },
      lastResult: this.#results,
      onAlarm: (text) => this.alarms.set('downlink', text),
    });
    await downlink.open();
    const stopListening = this.network.listenAe(ownPoa, (request) => downlink.handle(request));
    const wayDown = new WayDown({
      clock: host.clock,
      pollMs: this.#config.downlink.pollMs,
      store: openCapabilityStore(stores),
      onFailure: (text) => this.events.push({ kind: 'log', level: 'warn', text }),
    });
    await wayDown.open();
    const service = new Service({
      host,
      config: this.#config,
      streams: new Map([[stream, { order: 'inOrder' }]]),
      log,
      access: {
        pointOfAccessFor: () => ownPoa,
        obstacleTo: () => undefined,
        leave: () => Promise.resolve(),
        cseClient: ({ pointOfAccess }, originator) =>
          new CseClient({
            binding: this.network.binding(pointOfAccess, ownPoa),
            originator,
            entropy: this.entropy,
            deadlineMs: config.uplink.deadlineMs,
          }),
      },
      linkName: 'cell0',
      downlink,
      journal,
      owedStore: openOwedStore(stores),
      triggerStore: openTriggerStore(stores),
      wayDown,
      telling: {
        alarms: this.alarms,
        tell: (event) => this.events.push(event),
        log: (level, text) => this.events.push({ kind: 'log', level, text }),
        record: () => undefined,
      },
    });
    const stop = new AbortController();
    const running = service.run(stop.signal);
    this.#life = {
      service,
      log,
      executed,
      abandon: () => {
        stopListening();
        stop.abort();
      },
      end: async () => {
        stop.abort();
        stopListening();
        await this.awaited(running);
        await Promise.all([memory.close(), journal.close(), this.awaited(log.close())]);
      },
    };
  }

  /** Cuts the power: the disk keeps what was made durable, and nothing of this life goes on. */
  powerCut(): void {
    const image = this.filesystem.crash(() => 0);
    this.filesystem.powerOff();
    this.life.abandon();
    this.filesystem = image;
    this.#life = undefined;
  }

  async end(): Promise<void> {
    const life = this.#life;
    await life?.end();
    this.#life = undefined;
  }

  get life(): Life {
    if (this.#life === undefined) throw new Error('no gateway is running');
    return this.#life;
  }

  get service(): Service {
    return this.life.service;
  }

  get serving(): string | undefined {
    return servingOf(this.service.facts().state)?.cse.cseId;
  }

  get state(): string {
    return this.service.facts().state.kind;
  }

  get ended(): HandoverEndedEvent[] {
    return this.events.filter((event) => event.kind === 'handoverEnded');
  }

  /** Levels of the cells of the three MN-CSEs. */
  sample(...rsrp: readonly [number, number, number]): void {
    this.service.takeSample({
      source: 'modem',
      atMs: this.clock.monotonicMs(),
      cells: rsrp.map((level, at) => ({
        rat: 'nr',
        serving: at === 0,
        identity: { arfcn: 1850, pci: at + 1 },
        rsrpDbm: { value: dbm(level), raw: `${level}` },
      })),
    });
  }

  async store(): Promise<void> {
    this.stored++;
    await this.awaited(
      storeReading(this.life.log, {
        stream,
        value: this.stored,
        monotonicMs: this.clock.monotonicMs(),
        wall: { unixMs: this.clock.unixMs(), source: 'system' },
      }),
    );
  }

  /** A second of life: a sample and two readings. */
  async second(...rsrp: readonly [number, number, number]): Promise<void> {
    this.sample(...rsrp);
    for (let half = 0; half < 2; half++) {
      await this.store();
      await this.pass(500);
    }
  }

  async drive(
    seconds: number,
    levels: readonly [number, number, number],
    isDone = (): boolean => false,
  ): Promise<void> {
    for (let at = 0; at < seconds && !isDone(); at++) await this.second(...levels);
  }

  async attach(): Promise<void> {
    await this.drive(30, [-80, -100, -110], () => this.serving === '/id-mn1' && this.state === 'serving');
  }

  readonly #gone = new Map<string, { seq: number; isLabelled: boolean }[]>();

  /** Readings at a CSE, also those it held before it lost its state. */
  at(name: Name): { seq: number; isLabelled: boolean }[] {
    const path = `cse-${name}/gw1/${stream}/`;
    const live = this.cses[name]
      .dump()
      .filter(
        (resource) =>
          resource.path.startsWith(path) && resource.resourceType === ResourceType.contentInstance,
      )
      .map(({ attributes }) => ({
        seq: Number((attributes.content as { q: number }).q),
        isLabelled: (attributes.labels as string[] | undefined)?.includes('baton:indoubt') ?? false,
      }));
    return [...(this.#gone.get(name) ?? []), ...live];
  }

  async loseState(name: Name): Promise<void> {
    this.#gone.set(name, this.at(name));
    await this.cses[name].restart({ keepState: false });
  }

  labels(name: Name): readonly string[] {
    const ae = this.cses[name].dump().find(({ path }) => path === `cse-${name}/gw1`);
    return (ae?.attributes.labels ?? []) as string[];
  }

  /** What is wrong with the readings after everything was delivered: nothing lost, doubles only under the label, in order. */
  async wrong(): Promise<string[]> {
    await this.until('everything is delivered', () => this.life.log.stats().pending === 0);
    const wrong: string[] = [];
    const copies = new Map<number, { isLabelled: boolean }[]>();
    for (const name of ['mn1', 'mn2', 'mn3'] as const) {
      const held = this.at(name);
      for (const { seq, isLabelled } of held) copies.set(seq, [...(copies.get(seq) ?? []), { isLabelled }]);
      if (held.some(({ seq }, at) => seq <= (held[at - 1]?.seq ?? 0))) wrong.push(`${name} is out of order`);
    }
    for (let seq = 1; seq <= this.stored; seq++) {
      const found = copies.get(seq) ?? [];
      if (found.length === 0) wrong.push(`${seq} is lost`);
      if (found.filter(({ isLabelled }) => !isLabelled).length > 1) wrong.push(`${seq} is double`);
    }
    const { stored, delivered, evicted, pending } = this.life.log.stats();
    if (stored !== delivered + evicted + pending) wrong.push('the account is wrong');
    return wrong;
  }

  command(name: Name, id: string): Promise<unknown> {
    return this.awaited(
      this.client('CAdmin', name).create(`cse-${name}/gw1/cmd`, ResourceType.contentInstance, {
        contentInstance: { content: { id, command: 'ping' } },
      }),
    );
  }
}

async function openWorld(t: { teardown(done: () => unknown): void }, used = config): Promise<World> {
  const world = new World(used);
  t.teardown(() => world.close());
  await world.open();
  await world.attach();
  return world;
}

t.setTimeout(120_000);

void t.test('attach, hand over by levels, by order', async (t) => {
  const world = await openWorld(t);
  t.equal(world.serving, '/id-mn1');
  t.match(world.ended, [{ outcome: 'completed', trigger: 'initial', epoch: 1 }]);
  await world.command('mn1', 'one');
  await world.pass(200);
  await world.drive(10, [-80, -100, -110]);
  await world.drive(30, [-110, -80, -110], () => world.ended.length === 2);
  t.match(world.ended[1], {
    outcome: 'completed',
    trigger: 'a3',
    source: '/id-mn1',
    target: '/id-mn2',
    epoch: 2,
  });
  t.equal(world.serving, '/id-mn2');
  t.same(world.labels('mn1').slice(0, 2), ['baton:dev=gw1', 'baton:state=moved'], 'the source is released');
  t.same(world.labels('mn2').slice(0, 2), ['baton:dev=gw1', 'baton:state=serving']);
  await world.command('mn2', 'two');
  await world.pass(200);
  t.same(world.life.executed, ['one', 'two'], 'commands arrive at both');
  t.match(await world.awaited(world.service.orderHandover('/id-nowhere')), {
    accepted: false,
    reason: /no candidate; known/,
  });
  t.match(await world.awaited(world.service.orderHandover('/id-mn2')), { accepted: false });
  t.match(await world.awaited(world.service.orderHandover('/id-mn3')), { accepted: true, target: '/id-mn3' });
  t.match(await world.awaited(world.service.orderHandover('/id-mn1')), {
    accepted: false,
    reason: /not possible while/,
  });
  await world.until('the ordered handover', () => world.ended.length === 3);
  await world.command('mn1', 'left behind');
  await world.pass(200);
  t.same(world.life.executed, ['one', 'two'], 'a command for a CSE that was left waits there');
  t.match(world.ended[2], { outcome: 'completed', trigger: 'operator', target: '/id-mn3', epoch: 3 });
  await world.drive(3, [-110, -80, -80]);
  t.same(await world.wrong(), []);
  t.notOk(['mn1', 'mn2', 'mn3'].some((name) => world.at(name as Name).some(({ isLabelled }) => isLabelled)));
  const ledgers = world.cses.in.dump().filter(({ path }) => /serving\/s\d$/.test(path)).length;
  t.equal(ledgers, 3, 'each epoch has its ledger');
  t.match(await world.awaited(world.service.orderHandover('/id-mn1')), { accepted: true });
  await world.until('the way back', () => world.ended.length === 4);
  await world.pass(200);
  t.same(world.life.executed, ['one', 'two', 'left behind'], 'and is carried out on the return, once');
});

void t.test('a serving CSE that loses its state', async (t) => {
  const world = await openWorld(t);
  await world.drive(5, [-80, -100, -110]);
  await world.loseState('mn1');
  await world.drive(10, [-80, -100, -110]);
  t.equal(world.serving, '/id-mn1');
  t.equal(world.ended.length, 1, 'no handover was needed');
  t.same(
    world.labels('mn1').slice(0, 2),
    ['baton:dev=gw1', 'baton:state=serving'],
    'its context is made again',
  );
  await world.command('mn1', 'after');
  await world.pass(200);
  t.same(world.life.executed, ['after'], 'with the way down');
  t.same(await world.wrong(), []);
});

void t.test('a serving CSE that falls silent, and comes back', async (t) => {
  const world = await openWorld(t);
  await world.drive(5, [-80, -100, -110]);
  world.network.cut(poaOf('mn1'));
  const sinceMs = world.clock.monotonicMs();
  await world.drive(30, [-80, -100, -110], () => world.serving === '/id-mn2');
  t.ok(world.clock.monotonicMs() - sinceMs < 10_000, 'another CSE serves soon');
  await world.until('the end of the handover', () => world.ended.length === 2);
  t.match(world.ended[1], { outcome: 'completed', trigger: 'servingLost', target: '/id-mn2' });
  world.network.heal(poaOf('mn1'));
  await world.drive(7, [-80, -100, -110]);
  t.equal(world.ended.length, 2, 'it is not tried again at once, however strong its cell');
  await world.drive(40, [-110, -80, -110], () => world.labels('mn1').includes('baton:state=moved'));
  t.ok(world.labels('mn1').includes('baton:state=moved'), 'it is released when it answers again');
  t.same(await world.wrong(), []);
  await world.drive(90, [-80, -100, -110], () => world.ended.length === 3);
  t.match(world.ended[2], { target: '/id-mn1', outcome: 'completed' }, 'later it serves again');
  t.same(await world.wrong(), []);
});

void t.test('source and target silent, one after the other', async (t) => {
  const world = await openWorld(t);
  await world.drive(5, [-80, -100, -110]);
  world.network.cut(poaOf('mn1'));
  await world.drive(30, [-80, -100, -110], () => world.state === 'claiming');
  world.network.cut(poaOf('mn2'));
  await world.drive(120, [-80, -100, -110], () => world.serving === '/id-mn3' && world.state === 'serving');
  t.equal(world.serving, '/id-mn3', 'a target that dies right after the claim is no dead end');
  t.same(await world.wrong(), []);
});

void t.test('IN-CSE out of reach for the claim', async (t) => {
  const world = await openWorld(t);
  await world.drive(10, [-80, -100, -110]);
  world.cses.in.misbehaviour.add({ action: { kind: 'dropRequest' }, originator: home.aeId });
  await world.drive(30, [-110, -80, -110], () => world.state === 'claiming');
  t.equal(world.state, 'claiming');
  const before = world.at('mn1').length;
  await world.loseState('mn1');
  await world.drive(15, [-110, -80, -110]);
  t.equal(world.state, 'claiming');
  t.ok(world.at('mn1').length > before + 15, 'the source goes on serving, and is mended meanwhile');
  t.equal(world.at('mn2').length, 0, 'nothing goes to a target that is not claimed');
  t.match(world.alarms.list(), [{ text: /claim of epoch 2 is unanswered/ }]);
  world.cses.in.misbehaviour.clear();
  await world.until('the claim', () => world.ended.length === 2);
  t.match(world.ended[1], { outcome: 'completed', epoch: 2, target: '/id-mn2' });
  t.same(
    world.alarms.list().filter(({ text }) => text.includes('claim')),
    [],
  );
  t.same(await world.wrong(), []);
});

void t.test('restarts: commands that came meanwhile, and readings', async (t) => {
  const world = await openWorld(t);
  await world.drive(5, [-80, -100, -110]);
  await world.command('mn1', 'before');
  await world.pass(200);
  await world.end();
  await world.command('mn1', 'meanwhile');
  await world.pass(60_000);
  await world.begin();
  await world.pass(2000);
  t.same(world.life.executed, ['meanwhile'], 'what came while the process was down, and nothing twice');
  await world.drive(5, [-80, -100, -110]);
  t.equal(world.serving, '/id-mn1');
  t.same(await world.wrong(), []);
});

void t.test('a command that the disk did not take is fetched when it does', async (t) => {
  const world = await openWorld(t);
  await world.drive(5, [-80, -100, -110]);
  world.filesystem.onOperation = ({ kind, path }) =>
    kind !== 'read' && path.includes('/commands.') ? { kind: 'error', errno: 'ENOSPC' } : undefined;
  await world.command('mn1', 'refused');
  await world.pass(1000);
  t.match(world.alarms.list(), [{ text: /could not be made durable/ }]);
  world.filesystem.onOperation = undefined;
  await world.pass(20_000);
  t.same(world.life.executed, ['refused'], 'though its CSE does not tell it again');
  t.same(world.alarms.list(), []);
});

void t.test('small states that the disk did not take are written when it does', async (t) => {
  const world = await openWorld(t);
  await world.drive(8, [-80, -100, -110]);
  let isFull = true;
  world.filesystem.onOperation = ({ kind, path }) =>
    isFull && kind !== 'read' && /(?:owed|handover)/u.test(path)
      ? { kind: 'error', errno: 'ENOSPC' }
      : undefined;
  t.match(await world.awaited(world.service.orderHandover('/id-mn2')), { accepted: false });
  t.match(world.alarms.list(), [{ text: /stands still/ }]);
  isFull = false;
  await world.pass(2000);
  t.same(world.alarms.list(), [], 'though nothing is begun any more');
  world.filesystem.onOperation = ({ kind, path }) =>
    isFull && kind !== 'read' && path.includes('owed') ? { kind: 'error', errno: 'ENOSPC' } : undefined;
  isFull = true;
  await world.awaited(world.service.orderHandover('/id-mn2'));
  await world.drive(60, [-80, -100, -110]);
  t.match(world.alarms.list(), [{ text: /list of owed work cannot be written/ }]);
  isFull = false;
  await world.drive(20, [-80, -100, -110]);
  t.same(world.alarms.list(), []);
});

void t.test('a subscription that is lost alone is made again', async (t) => {
  const world = await openWorld(t);
  await world.drive(8, [-80, -100, -110]);
  const subscription = 'cse-mn1/gw1/cmd/cmd-sub';
  t.ok((await world.awaited(world.client('Sgw1', 'mn1').delete(subscription))).ok);
  await world.drive(330, [-80, -100, -110]);
  t.ok(
    world.cses.mn1.dump().some(({ path }) => path === subscription),
    'though no request misses it',
  );
  await world.command('mn1', 'later');
  await world.pass(200);
  t.same(world.life.executed, ['later']);
});

void t.test('fenced: another gateway with our identity claims', async (t) => {
  const world = await openWorld(t);
  await world.drive(8, [-80, -100, -110]);
  const other = await world.awaited(
    world.client(home.aeId, 'in').create(`${home.address}/serving`, ResourceType.contentInstance, {
      contentInstance: { resourceName: 'e2', content: { epoch: 2, nonce: 'other' } },
    }),
  );
  t.ok(other.ok);
  await world.drive(30, [-110, -80, -110], () => world.state === 'fenced');
  t.equal(world.state, 'fenced');
  t.match(
    world.alarms.list().map(({ text }) => text),
    [/fenced/],
    'it says so',
  );
  const written = (): number => world.at('mn1').length + world.at('mn2').length + world.at('mn3').length;
  await world.pass(500);
  const count = written();
  world.cses.mn2.misbehaviour.add({ action: { kind: 'dropRequest' }, originator: 'Sgw1' });
  await world.drive(40, [-110, -80, -110]);
  t.equal(written(), count, 'and writes nothing more (I6)');
  t.equal(world.cses.mn2.misbehaviour.hits, 0, 'not even what a sweep would');
  t.match(await world.awaited(world.service.orderHandover('/id-mn3')), { accepted: false, reason: /fenced/ });
  await world.end();
  for (const key of ['fenced', 'handover']) world.alarms.clear(key);
  await world.begin();
  await world.drive(5, [-110, -80, -110]);
  t.equal(world.state, 'fenced', 'also after a restart');
  t.match(world.alarms.list(), [{ text: /fenced/ }], 'and says so again');
  t.equal(written(), count);
  t.equal(world.life.log.stats().pending > 0, true, 'readings are kept');
});

void t.test('a copy of the disk, an old image, and the way out of the fence', async (t) => {
  const world = await openWorld(t);
  await world.drive(6, [-80, -100, -110]);
  await world.end();
  const image = world.filesystem.crash(() => 0);
  await world.begin();
  await world.drive(3, [-80, -100, -110]);
  t.match(servingOf(world.service.facts().state), { epoch: 2 }, 'each process claims an epoch of its own');
  t.match(world.ended.length, 1, "which is nobody's handover");
  await world.awaited(world.service.orderHandover('/id-mn2'));
  await world.until('the ordered handover', () => world.ended.length === 2);
  await world.drive(2, [-80, -80, -110]);

  // The disk as it was before is put back: what it takes itself for is long past.
  world.powerCut();
  world.filesystem = image;
  const held = world.at('mn1').length + world.at('mn2').length;
  await world.begin();
  await world.drive(5, [-80, -100, -110], () => world.state === 'fenced');
  t.equal(world.state, 'fenced', 'an old image is known before it writes');
  t.equal(world.at('mn1').length + world.at('mn2').length, held, 'nothing was written');
  t.match(
    world.alarms.list().map(({ text }) => text),
    [/fenced.*baton handover --unfence/],
    'and the way out is told',
  );
  t.match(await world.awaited(world.service.unfence()), { accepted: true });
  await world.drive(30, [-80, -100, -110], () => world.state === 'serving');
  t.equal(world.state, 'serving', 're-armed, it serves');
  t.match(await world.awaited(world.service.unfence()), { accepted: false, reason: /not fenced/ });
});

void t.test('another gateway serves on: the one that is overtaken learns of it', async (t) => {
  const world = await openWorld(t);
  await world.drive(6, [-80, -100, -110]);
  const claim = (name: string, epochNumber: number): Promise<unknown> =>
    world.awaited(
      world.client(home.aeId, 'in').create(`${home.address}/serving`, ResourceType.contentInstance, {
        contentInstance: { resourceName: name, content: { epoch: epochNumber, nonce: 'other' } },
      }),
    );
  await claim('e2', 2);
  await claim('e3', 3);
  await world.pass(config.handover.recordCheckMs);
  t.equal(world.state, 'fenced', 'without a handover of its own');
  const written = world.at('mn1').length;
  await world.drive(5, [-80, -100, -110]);
  t.equal(world.at('mn1').length, written, 'and writes nothing more (I6)');
});

void t.test('a release that arrives late is mended', async (t) => {
  const world = await openWorld(t);
  await world.drive(6, [-80, -100, -110]);
  const admin = world.client('CAdmin', 'mn1');
  await world.awaited(
    admin.update('cse-mn1/gw1', { ae: { labels: ['baton:dev=gw1', 'baton:state=moved'] } }),
  );
  await world.awaited(admin.update('cse-mn1/gw1', { ae: { expirationTime: '20260101T010000' } }));
  await world.awaited(admin.delete('cse-mn1/gw1/cmd/cmd-sub'));
  await world.pass(config.handover.recordCheckMs + 20_000);
  t.ok(world.labels('mn1').includes('baton:state=serving'), 'it says again that it serves');
  const ae = world.cses.mn1.dump().find(({ path }) => path === 'cse-mn1/gw1');
  t.match(ae?.attributes.expirationTime, /^2027/, 'and does not expire');
  await world.command('mn1', 'after');
  await world.pass(200);
  t.same(world.life.executed, ['after'], 'commands come down again');
});

void t.test('a deferred claim: data flows to the target while the IN-CSE is out of reach', async (t) => {
  const world = await openWorld(t, { ...config, handover: { ...config.handover, claim: 'deferred' } });
  await world.drive(5, [-80, -100, -110]);
  world.network.cut(poaOf('mn1'));
  world.cses.in.misbehaviour.add({ action: { kind: 'dropRequest' }, originator: home.aeId });
  await world.drive(60, [-110, -80, -110], () => world.state === 'provisional');
  t.equal(world.state, 'provisional');
  const before = world.at('mn2').length;
  await world.drive(5, [-110, -80, -110]);
  t.ok(world.at('mn2').length >= before + 8, 'readings go to the target');
  world.powerCut();
  await world.begin();
  await world.drive(60, [-110, -80, -110], () => world.state === 'provisional');
  t.equal(world.state, 'provisional', 'also after a power cut');
  world.cses.in.misbehaviour.clear();
  await world.until('the claim', () => world.state === 'serving');
  t.match(servingOf(world.service.facts().state), { cse: { cseId: '/id-mn2' }, epoch: 2 });
  world.network.heal(poaOf('mn1'));
  await world.drive(5, [-110, -80, -110]);
  t.same(world.alarms.list(), [], 'nothing is told to be wrong any more');
  t.same(await world.wrong(), []);
});

void t.test(
  'a deferred claim: the CSE that the record names is kept while a move is given up there',
  async (t) => {
    const world = await openWorld(t, { ...config, handover: { ...config.handover, claim: 'deferred' } });
    await world.drive(5, [-80, -100, -110]);
    world.network.cut(poaOf('mn1'));
    world.cses.in.misbehaviour.add({ action: { kind: 'dropRequest' }, originator: home.aeId });
    await world.drive(60, [-110, -80, -110], () => world.state === 'provisional');
    world.network.heal(poaOf('mn1'));
    world.cses.mn1.misbehaviour.add({ action: { kind: 'dropRequest' }, direction: 'outgoing' });
    t.match(await world.awaited(world.service.orderHandover('/id-mn1')), { accepted: true });
    await world.until('the end of the move', () => world.service.facts().counts.rolledBack === 1);
    await world.drive(20, [-110, -80, -110]);
    t.ok(world.labels('mn1').includes('baton:state=serving'), 'not released: the record names it');
    world.cses.mn1.misbehaviour.clear();
    await world.command('mn1', 'there');
    await world.pass(200);
    t.same(world.life.executed, ['there'], 'and commands come down from there');
    world.cses.in.misbehaviour.clear();
    await world.until('the claim', () => world.state === 'serving');
    t.match(servingOf(world.service.facts().state), { cse: { cseId: '/id-mn2' }, epoch: 2 });
    t.ok(world.labels('mn1').includes('baton:state=moved'), 'released after the claim');
    t.same(world.alarms.list(), []);
    t.same(await world.wrong(), []);
  },
);

void t.test('what others write into the record, and CSEs that refuse', async (t) => {
  const world = new World(config);
  t.teardown(() => world.close());
  for (const cse of Object.values(world.cses)) await cse.start();
  await world.pass(200);
  const rights = { operators: ['COperator'], gatewayAeId: 'Sgw1' };
  await world.awaited(provisionHomeAe(world.client(home.aeId, 'in'), home, 'cse-in', rights));
  const operator = world.client('COperator', 'in');
  await world.awaited(
    operator.create(`${home.address}/serving`, ResourceType.contentInstance, {
      contentInstance: { resourceName: 'note', content: 'hello' },
    }),
  );
  world.cses.mn1.misbehaviour.add({
    action: { kind: 'answer', responseStatusCode: 5000 },
    operation: Operation.create,
    originator: 'Sgw1',
  });
  await world.begin();
  await world.drive(15, [-80, -90, -110]);
  t.equal(world.serving, undefined);
  t.match(
    world.alarms.list(),
    [{ text: /serving\/?.*note carries no epoch; remove it/ }],
    'a clear alarm, no crash',
  );
  await world.awaited(operator.delete(`${home.address}/serving/note`));
  await world.drive(30, [-80, -90, -110], () => world.serving !== undefined && world.state === 'serving');
  t.equal(world.serving, '/id-mn2', 'the next best when the best refuses');
  t.match(world.ended[0], { outcome: 'rolledBack', target: '/id-mn1' });
  t.same(await world.wrong(), []);
});

void t.test('a restart asks the CSE it left what it holds', async (t) => {
  const world = await openWorld(t);
  await world.drive(3, [-80, -100, -110]);
  const isReading = { operation: Operation.create, to: `cse-mn1/gw1/${stream}` } as const;
  await world.pass(1500);
  for (let at = 0; at < 5; at++) {
    await world.store();
    await world.pass(50);
  }
  t.equal(world.life.log.stats().pending, 0, 'delivered, which the disk does not know yet');
  world.powerCut();
  world.cses.mn1.misbehaviour.add({ ...isReading, action: { kind: 'dropRequest' } });
  const isQuestion = { operation: Operation.retrieve, to: `${isReading.to}/la` } as const;
  const answerAgain = world.cses.mn1.misbehaviour.add({ ...isQuestion, action: { kind: 'dropRequest' } });
  const held = world.at('mn1').length;
  await world.begin();
  await world.pass(300);
  t.ok(world.life.log.stats().pending >= 5, 'readings are there again that the CSE has');
  answerAgain();
  await world.awaited(world.service.orderHandover('/id-mn2'));
  await world.until('the ordered handover', () => world.ended.length === 2);
  await world.drive(2, [-80, -100, -110]);
  t.same(await world.wrong(), []);
  t.equal(world.at('mn1').length, held);
  t.notOk(
    world.at('mn2').some(({ isLabelled }) => isLabelled),
    'it could be asked',
  );
});

void t.test('a target whose notifications do not arrive', async (t) => {
  const world = await openWorld(t);
  await world.drive(3, [-80, -100, -110]);
  world.cses.mn2.misbehaviour.add({
    direction: 'outgoing',
    operation: Operation.notify,
    action: { kind: 'dropRequest' },
  });
  await world.awaited(world.service.orderHandover('/id-mn2'));
  await world.until('the end of the handover', () => world.ended.length === 2);
  t.match(world.ended[1], { outcome: 'rolledBack', reason: /notifications do not reach/ });
  t.equal(world.serving, '/id-mn1');
  t.equal(world.labels('mn2')[1], 'baton:state=moved', 'and what was prepared there expires');
});

void t.test('CSEs that do not notify: commands are fetched, each executed once', async (t) => {
  const polling = { ...config, downlink: { pollMs: millis(500) } };
  const world = await openWorld(t, polling);
  for (const name of ['mn1', 'mn2'] as const) {
    world.cses[name].misbehaviour.add({
      direction: 'outgoing',
      operation: Operation.notify,
      action: { kind: 'dropRequest' },
    });
  }
  await world.drive(3, [-80, -100, -110]);
  await world.command('mn1', 'first');
  await world.until('the first command', () => world.life.executed.includes('first'), 2000);
  await world.awaited(world.service.orderHandover('/id-mn2'));
  await world.until('the ordered handover', () => world.ended.length === 2);
  t.match(world.ended[1], { outcome: 'completed' });
  await world.command('mn2', 'second');
  await world.until('the second command', () => world.life.executed.includes('second'), 2000);
  await world.pass(3000);
  t.same(world.life.executed, ['first', 'second']);
});

void t.test('a product that is known not to notify needs no key: its commands are fetched', async (t) => {
  const world = await openWorld(t);
  for (const name of ['mn1', 'mn2'] as const) {
    const cse = world.cses[name];
    cse.misbehaviour.add({
      direction: 'outgoing',
      operation: Operation.notify,
      action: { kind: 'dropRequest' },
    });
    // Its answers bear the mark of the product: times with microseconds.
    const handle = cse.handle.bind(cse);
    cse.handle = async (request, origin) => {
      const response = await handle(request, origin);
      return response && { ...response, originatingTimestamp: '20260101T000000,123456' };
    };
  }
  await world.drive(3, [-80, -100, -110]);
  for (const [index, name] of (['mn2', 'mn1'] as const).entries()) {
    await world.awaited(world.service.orderHandover(`/id-${name}`));
    await world.until('the ordered handover', () => world.ended.length === index + 2);
    t.match(world.ended[index + 1], { outcome: 'completed' });
    await world.command(name, `at ${name}`);
    await world.until('the command', () => world.life.executed.includes(`at ${name}`), 5000);
  }
  await world.pass(3000);
  t.same(world.life.executed, ['at mn2', 'at mn1']);
});

void t.test('a switch is not over before what was delivered is durable', async (t) => {
  const clock = new SimulatedClock();
  let isDurable = false;
  const uplink = new Uplink({
    streams: new Map(),
    source: undefined as never,
    clock,
    entropy: new SeededEntropy(1),
    settings: undefined as never,
    observer: undefined as never,
  });
  const worker = createHandoverWorker({
    uplink,
    syncLog: () => Promise.resolve(isDurable),
    destinationFor: () => undefined as never,
    context: undefined as never,
    record: undefined as never,
    downlink: undefined as never,
    owed: undefined as never,
    clock,
    entropy: new SeededEntropy(1),
    clientFor: undefined as never,
    link: { name: 'cell0', pointOfAccessFor: () => ownPoa },
    leave: () => undefined,
    aes: {},
    graceMs: millis(1),
    refreshLater: () => undefined,
    wayDown: undefined as never,
  });
  const cse = { cseId: cseId('/id-a'), cseBaseName: 'cse-a', pointOfAccess: 'coap://192.0.2.1' };
  const transaction = { epoch: epoch(1), nonce: 'n', trigger: 'a3', target: cse, alternatives: [] } as const;
  const limits = { deadlineMs: millis(100), signal: new AbortController().signal };
  t.match(await worker.switch(transaction, limits), { kind: 'failed' });
  isDurable = true;
  t.match(await worker.switch(transaction, limits), { kind: 'succeeded', firstSeqs: {}, inDoubt: {} });
});

void t.test('stored form of owed work', (t) => {
  const cse = { cseId: cseId('/id-a'), cseBaseName: 'cse-a', pointOfAccess: 'coap://192.0.2.1' };
  const tasks = [
    { kind: 'ledger', epoch: epoch(1), firstSeqs: { s: 1 } },
    { kind: 'orphan', epoch: epoch(2), cse },
  ];
  t.same(decodeOwedTasks(JSON.parse(JSON.stringify(tasks))), tasks);
  const junk = [
    undefined,
    {},
    [null],
    [7],
    [{ kind: 'x', epoch: 1 }],
    [{ kind: 'ledger', epoch: -1, firstSeqs: {} }],
    [{ kind: 'ledger', epoch: 1, firstSeqs: { s: 'x' } }],
    [{ kind: 'orphan', epoch: 1, cse: { cseId: '/x' } }],
  ];
  for (const value of junk) t.throws(() => decodeOwedTasks(value), DecodeError, JSON.stringify(value));
  t.end();
});
