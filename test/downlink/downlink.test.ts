// Proves the way down: each command is carried out once whichever CSE, container, route and run it comes by (I7), those of
// one target in order and those of several side by side, none after its expiry, none twice after a crash unless its target
// allows it; a notification is answered only when its command is durable, every command has one result, what is none is
// answered too, all that is kept is bounded (I8), and whatever is received disturbs nothing else (I12).
import * as fc from 'fast-check';
import t from 'tap';
import { FileError } from '../../src/host/filesystem.ts';
import { bytes, millis, unixMillis } from '../../src/base/units.ts';
import { Journal } from '../../src/buffer/journal.ts';
import type { Actuator, Performed } from '../../src/downlink/actuator.ts';
import { echoName } from '../../src/downlink/catch-up.ts';
import { decodeCommandMark } from '../../src/downlink/command-ledger.ts';
import type { CommandMark, CommandMemory } from '../../src/downlink/command-ledger.ts';
import type { Command, CommandResult } from '../../src/downlink/command.ts';
import { Downlink } from '../../src/downlink/downlink.ts';
import { settle } from '../../src/host/clock.ts';
import { CseClient } from '../../src/onem2m/cse-client.ts';
import { Operation, ResourceType } from '../../src/onem2m/enums.ts';
import { encodeTimestamp } from '../../src/onem2m/primitives.ts';
import type { RequestPrimitive, ResponsePrimitive } from '../../src/onem2m/primitives.ts';
import type { PrimitiveContent } from '../../src/onem2m/resources.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';
import { SimulatedFilesystem } from '../../src/testbed/simulated-filesystem.ts';
import { CseWorld, adminOriginator } from '../testbed/cse-world.ts';

/** A memory whose appends return when the test says so. */
class HeldMemory implements CommandMemory {
  readonly marks: CommandMark[] = [];
  held: { mark: CommandMark; release: (error?: Error) => void }[] = [];
  isHolding = false;

  entries(): readonly CommandMark[] {
    return [...this.marks];
  }

  append(mark: CommandMark): Promise<void> {
    if (!this.isHolding) {
      this.marks.push(mark);
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const release = (error?: Error): void => {
        if (error !== undefined) {
          reject(error);
          return;
        }
        this.marks.push(mark);
        resolve();
      };
      this.held.push({ mark, release });
    });
  }

  compact(keep: (mark: CommandMark) => boolean): Promise<void> {
    this.marks.splice(0, this.marks.length, ...this.marks.filter(keep));
    return Promise.resolve();
  }
}

/** An actuator that does what the test says. */
class FakeActuator implements Actuator {
  readonly afterCrash: Actuator['afterCrash'];
  /** Ids in the order in which they were begun. */
  readonly begun: string[] = [];
  held: ((performed: Performed) => void)[] = [];
  isHolding = false;
  outcome: Performed = { status: 'done' };

  constructor(afterCrash: Actuator['afterCrash']) {
    this.afterCrash = afterCrash;
  }

  whyNot({ command }: Pick<Command, 'command'>): string | undefined {
    return command === 'fly' ? 'it cannot fly' : undefined;
  }

  perform({ id }: Command): Promise<Performed> {
    this.begun.push(id);
    if (!this.isHolding) return Promise.resolve(this.outcome);
    return new Promise((resolve) => void this.held.push(resolve));
  }

  release(outcome: Performed = { status: 'done' }): void {
    this.held.shift()?.(outcome);
  }
}

class World {
  readonly clock = new SimulatedClock();
  readonly gateway = new FakeActuator('repeat');
  readonly valve = new FakeActuator('report');
  readonly lamp = new FakeActuator('repeat');
  readonly results: CommandResult[] = [];
  readonly numbers: number[] = [];
  readonly alarms: string[] = [];
  readonly taken: string[] = [];
  missed = 0;
  readonly memory: CommandMemory;
  readonly downlink: Downlink;
  isDiskFull = false;

  constructor(memory: CommandMemory = new HeldMemory(), lastResult = 0) {
    this.memory = memory;
    const { gateway, valve, lamp } = this;
    this.downlink = new Downlink({
      clock: this.clock,
      memory,
      actuators: new Map(Object.entries({ gateway, valve, lamp })),
      store: (result, number) => {
        if (this.isDiskFull) return Promise.reject(new Error('the disk is full'));
        if (number > Math.max(lastResult, ...this.numbers)) {
          this.results.push(result);
          this.numbers.push(number);
        }
        return Promise.resolve();
      },
      lastResult,
      onAlarm: (text) => {
        if (text !== undefined) this.alarms.push(text);
      },
    });
    this.downlink.listen({
      onTaken: ({ cseId, resourceId }) => this.taken.push(`${cseId}/${resourceId}`),
      onMissed: () => void this.missed++,
    });
  }

  /** Commands of the gateway itself that were carried out. */
  get executed(): string[] {
    return this.gateway.begun;
  }

  get told(): string[] {
    return this.results.map(({ id, status }) => `${id} ${status}`);
  }

  async handle(content: unknown, more: Partial<RequestPrimitive> = {}): Promise<number> {
    const answer = await this.answer(content, more);
    await settle();
    return answer.responseStatusCode;
  }

  answer(content: unknown, more: Partial<RequestPrimitive> = {}): Promise<ResponsePrimitive> {
    return this.downlink.handle({
      operation: Operation.notify,
      to: 'Sgw1',
      requestIdentifier: 'r',
      primitiveContent: content as PrimitiveContent,
      ...more,
    });
  }
}

function notification(content: unknown, resource: Record<string, unknown> = {}): Record<string, unknown> {
  const contentInstance = { resourceId: 'cin-1', resourceName: 'c1', ...resource, content };
  return {
    notificationEvent: { representation: { contentInstance } },
    subscriptionReference: '/id-mn1/sub1',
  };
}

/** A command that the gateway itself understands. */
function ping(id: string, more: Record<string, unknown> = {}): unknown {
  return one({ id, command: 'ping', ...more });
}

function one(content: unknown, resource?: Record<string, unknown>): unknown {
  return { notification: notification(content, resource) };
}

t.setTimeout(120_000);

void t.test('once, by the id of the command or the address of its resource', async (t) => {
  const world = new World();
  await world.downlink.open();
  t.equal(await world.handle(ping('a')), 2000);
  t.equal(await world.handle(one({ id: 'a', command: 'ping' }, { resourceId: 'at-another-cse' })), 2000);
  const nameless = (resourceId: string, cse?: string): unknown => ({
    notification: {
      ...notification({ command: 'ping' }, { resourceId }),
      subscriptionReference: cse === undefined ? 'x' : `${cse}/sub7`,
    },
  });
  for (let at = 0; at < 2; at++) t.equal(await world.handle(nameless('cin-7', '/id-mn1')), 2000);
  t.same(world.executed, ['a', '/id-mn1/cin-7']);
  await world.handle(nameless('cin-7', '/id-in'));
  t.same(world.executed.slice(2), ['/id-in/cin-7'], 'the same resource ID at another CSE is another command');
  await world.handle(nameless('cin-7'));
  t.equal(world.executed.length, 3, 'whose CSE is not told, may be any of them');
  await world.handle(nameless('cin-8'));
  await world.handle(nameless('cin-8', '/id-mn2'));
  t.same(world.executed.slice(3), ['/?/cin-8'], 'and the other way round');
  t.match(world.downlink.figures, { received: 4, executed: 4, duplicates: 4, rejected: 0 });
  t.same(world.taken.slice(0, 2), ['/id-mn1/cin-1', '/id-mn1/at-another-cse'], 'both instances can go');
  t.equal(
    await world.handle({ notification: { verificationRequest: true } }),
    2000,
    'verification is answered',
  );
  t.equal(await world.handle({ notification: { subscriptionDeletion: true } }), 2000);
  t.equal(world.executed.length, 4);

  const next = new World(world.memory);
  await next.downlink.open();
  t.equal(await next.handle(ping('a')), 2000);
  t.same(next.executed, [], 'not again after a restart');
});

void t.test('answered when durable, and not before', async (t) => {
  const memory = new HeldMemory();
  const world = new World(memory);
  await world.downlink.open();
  memory.isHolding = true;
  const answers: number[] = [];
  for (let at = 0; at < 2; at++) {
    void world.answer(ping('a')).then(({ responseStatusCode }) => answers.push(responseStatusCode));
  }
  await settle();
  t.same([answers, world.executed, memory.held.length], [[], [], 1], 'the repeat waits for the same write');
  memory.isHolding = false;
  memory.held[0]?.release();
  await settle();
  t.same([answers, world.executed], [[2000, 2000], ['a']]);

  memory.isHolding = true;
  memory.held = [];
  const refused = Promise.all([world.answer(ping('b')), world.answer(ping('b'))]);
  await settle();
  memory.held[0]?.release(new FileError('write', 'x', new Error('ENOSPC')));
  t.same(
    (await refused).map(({ responseStatusCode }) => responseStatusCode),
    [5000, 5000],
  );
  t.match(world.alarms, [/not be made durable/, /not be made durable/]);
  memory.isHolding = false;
  t.equal(await world.handle(ping('b')), 2000, 'the repeat of the CSE is taken');
  t.same(world.executed, ['a', 'b']);
});

void t.test('one target in order, targets side by side', async (t) => {
  const world = new World();
  await world.downlink.open();
  world.valve.isHolding = true;
  for (const id of ['v1', 'v2', 'v3']) await world.handle(one({ id, target: 'valve', command: 'set' }));
  for (const id of ['l1', 'l2']) await world.handle(one({ id, actuator: 'lamp', command: 'set' }));
  t.same([world.valve.begun, world.lamp.begun], [['v1'], ['l1', 'l2']], 'a slow valve holds up no lamp');
  t.same(world.told, ['l1 done', 'l2 done']);
  world.valve.release({ status: 'done', value: 7 });
  await settle();
  t.same(world.valve.begun, ['v1', 'v2'], 'the next one when the one before is over');
  world.valve.release({ status: 'failed', reason: 'stuck' });
  await settle();
  t.same(world.told.slice(2), ['v1 done', 'v2 failed']);
  t.match(world.results.slice(2), [
    { id: 'v1', target: 'valve', command: 'set', value: 7 },
    { reason: 'stuck' },
  ]);
  await world.clock.advance(30_000);
  await settle();
  t.match(world.results.at(-1), { id: 'v3', status: 'unknown', reason: /within 30000 ms/ });
  t.same(world.numbers, [1, 2, 3, 4, 5], 'results are numbered as they are stored');
  const [first] = world.results;
  t.ok(first !== undefined && first.received <= (first.begun ?? 0) && (first.begun ?? 0) <= first.ended);
});

void t.test(
  'expiry: by its own word, by its instance, while it waits, by the later of two clocks',
  async (t) => {
    const world = new World();
    await world.downlink.open();
    const nowMs = world.clock.unixMs();
    const at = (ms: number): string => encodeTimestamp(nowMs + ms);
    const times = { creationTime: at(-60_000), expirationTime: at(3_600_000) };
    await world.handle(one({ id: 'past', command: 'ping', expires: at(-2000) }, times));
    await world.handle(one({ id: 'future', command: 'ping', expires: at(60_000) }, times));
    await world.handle(one({ id: 'relative', command: 'ping', expires: 30_000 }, times));
    await world.handle(one({ id: 'text', command: 'ping', expires: '+90000' }, times));
    await world.handle(one({ id: 'instance', command: 'ping' }, { expirationTime: at(-1000) }));
    t.same(world.executed, ['future', 'text']);
    t.same(world.told, ['past expired', 'future done', 'relative expired', 'text done', 'instance expired']);
    t.equal(world.downlink.figures.expired, 3);

    world.valve.isHolding = true;
    await world.handle(one({ id: 'slow', target: 'valve', command: 'set' }));
    await world.handle(one({ id: 'late', target: 'valve', command: 'set', expires: at(10_000) }));
    await world.clock.advance(20_000);
    world.valve.release();
    await settle();
    t.same(world.told.slice(5), ['slow done', 'late expired'], 'it is asked when its turn comes');
    t.same(world.valve.begun, ['slow']);

    // The CSE is a year ahead: so is everybody who sets a time there.
    const aheadMs = 365 * 24 * 3_600_000;
    await world.handle(
      one({ id: 'ahead', command: 'ping', expires: at(aheadMs - 5000) }, { creationTime: at(aheadMs) }),
    );
    t.equal(world.told.at(-1), 'ahead expired');

    const { executed } = world.downlink.figures;
    t.equal(await world.handle(ping('late-notify'), { requestExpirationTimestamp: at(-5000) }), 4008);
    t.same(
      [world.downlink.figures.executed, world.missed],
      [executed, 1],
      'fetched when the CSE gave up waiting',
    );
  },
);

void t.test('a crash at every point: nothing twice but where the target allows it', async (t) => {
  const received = (id: string, target: string, number: number): CommandMark => ({
    kind: 'received',
    id,
    content: { id, target, command: 'set' },
    number,
    cseId: '/id-mn1',
    receivedMs: 5,
  });
  const result = (id: string): CommandResult => ({
    ...{ id, status: 'done', received: unixMillis(1), ended: unixMillis(2) },
  });
  const memory = new HeldMemory();
  memory.marks.push(
    received('v-begun', 'valve', 3),
    { kind: 'begun', id: 'v-begun' },
    received('l-begun', 'lamp', 2),
    { kind: 'begun', id: 'l-begun' },
    received('v-waiting', 'valve', 4),
    received('done', 'valve', 1),
    { kind: 'result', id: 'done', number: 8, result: result('done') },
    received('stored', 'valve', 0),
    { kind: 'result', id: 'stored', number: 7, result: result('stored') },
    { kind: 'executed', id: 'stored' },
    { kind: 'received', id: 'old', content: { id: 'old', command: 'ping' } },
    { kind: 'received', id: 'older', content: 'nonsense' },
  );
  const world = new World(memory, 7);
  await world.downlink.open();
  await settle();
  t.same(world.valve.begun, ['v-waiting'], 'what was begun at the valve is not begun again');
  t.same(world.lamp.begun, ['l-begun'], 'at the lamp it is');
  t.same(
    [...world.told].sort(),
    ['done done', 'l-begun done', 'old done', 'older rejected', 'v-begun unknown', 'v-waiting done'].sort(),
    'the result that was stored is not stored again, the one that was not is',
  );
  t.equal(world.told[0], 'done done');
  t.same(world.numbers, [8, 9, 10, 11, 12, 13]);

  const again = new World(memory, 13);
  await again.downlink.open();
  await settle();
  t.same([again.told, again.valve.begun], [[], []], 'a second restart finds nothing to do');

  // The intent is durable before the effect.
  const held = new HeldMemory();
  const careful = new World(held);
  await careful.downlink.open();
  await careful.handle(one({ id: 'x', target: 'lamp', command: 'set' }));
  t.notOk(
    held.marks.some(({ kind }) => kind === 'begun'),
    'no flush for what may be done twice',
  );
  held.isHolding = true;
  const answered = careful.answer(one({ id: 'y', target: 'valve', command: 'set' }));
  held.held.shift()?.release();
  await answered;
  await settle();
  t.same([careful.valve.begun, held.held.map(({ mark }) => mark.kind)], [[], ['begun']]);
  held.held.shift()?.release(new FileError('write', 'x', new Error('ENOSPC')));
  await settle();
  t.same(careful.valve.begun, []);
  t.match(careful.alarms, [/command y cannot be begun: .*ENOSPC/]);
  held.isHolding = false;
  careful.downlink.retryFailed();
  await settle();
  t.same([careful.valve.begun, careful.told], [['y'], ['x done', 'y done']]);
});

void t.test('a disk that refuses results holds them up, in order', async (t) => {
  const world = new World();
  await world.downlink.open();
  world.isDiskFull = true;
  for (const id of ['c', 'd']) t.equal(await world.handle(ping(id)), 2000, 'it is durable');
  t.match(world.alarms, [/result of command c cannot be kept: the disk is full/]);
  t.equal(await world.handle(ping('c')), 2000);
  world.isDiskFull = false;
  world.downlink.retryFailed();
  world.downlink.retryFailed();
  await settle();
  t.same(
    [world.executed, world.told],
    [
      ['c', 'd'],
      ['c done', 'd done'],
    ],
  );

  const stopped = new World();
  await stopped.downlink.open();
  stopped.valve.isHolding = true;
  for (const id of ['1', '2']) await stopped.handle(one({ id, target: 'valve', command: 'set' }));
  stopped.downlink.stop();
  stopped.valve.release();
  await settle();
  t.same([stopped.valve.begun, stopped.told], [['1'], ['1 done']], 'a gateway that ends begins nothing more');
  const next = new World(stopped.memory, 1);
  await next.downlink.open();
  await settle();
  t.same([next.valve.begun, next.told], [['2'], ['2 done']]);
});

void t.test('bad commands are answered by results, as many as there is a budget for', async (t) => {
  const world = new World();
  await world.downlink.open();
  const bad: [string, unknown, RegExp][] = [
    ['t1', { id: 't1', target: 'door', command: 'open' }, /no target "door"; known: gateway, valve, lamp/],
    ['t2', { id: 't2', command: 'fly' }, /cannot fly/],
    ['t3', { id: 't3', command: 7 }, /command is no text/],
    ['t4', { id: 't4', command: 'set', target: {} }, /target is no text/],
    ['t5', { id: 't5', command: 'ping', expires: 'soon' }, /expires "soon" is no time/],
    ['t6', { id: 't6', command: 'ping', text: 'x'.repeat(4096) }, /octets; at most 4096/],
    ['/id-mn1/r7', { id: 'x'.repeat(129), command: 'ping' }, /id is no text/],
    ['/id-mn1/r8', { id: '/id-mn2/r8', command: 'ping' }, /id is no text/],
    ['/id-mn1/r9', 'plain', /no JSON object/],
    ['/id-mn1/r10', ['ping'], /no JSON object/],
    ['/id-mn1/r11', { command: 'ping', value: 2n ** 70n }, /cannot be written/],
  ];
  for (const [at, [id, content, reason]] of bad.entries()) {
    t.equal(await world.handle(one(content, { resourceId: `r${at + 1}` })), 2000, id);
    t.match(world.results.at(-1), { id, status: 'rejected', reason });
  }
  t.equal(await world.handle(one('{"id":"text","command":"ping"}')), 2000);
  t.same(world.executed, ['text'], 'a command may be written as text');
  t.equal(await world.handle(one({ id: 't1', target: 'lamp', command: 'set' })), 2000);
  t.same(world.lamp.begun, [], 'an id that was answered is used up');
  for (let at = 0; at < 100; at++) await world.handle(one({ id: `bad${at}` }));
  t.equal(world.results.length, 33, '32 at once and the good one');
  t.equal(world.downlink.figures.unanswered, 100 - 21);
  await world.clock.advance(10_000);
  for (let at = 100; at < 110; at++) await world.handle(one({ id: `bad${at}` }));
  t.equal(world.results.length, 38, 'one more each two seconds');
  t.equal(world.downlink.figures.rejected, 11 + 110);
});

void t.test('batches, and what is no command', async (t) => {
  const world = new World();
  await world.downlink.open();
  const a = notification({ id: 'a', command: 'ping' });
  const b = notification({ id: 'b', command: 'ping' });
  const mixed = [a, null, 7, { notificationEvent: null }, b];
  t.equal(await world.handle({ aggregatedNotification: { notification: mixed } }), 4000);
  t.same(world.executed, ['a', 'b'], 'what is whole in a batch is taken');
  t.equal(world.downlink.figures.rejected, 3);
  const garbage: unknown[] = [
    undefined,
    {},
    { notification: null },
    { notification: {} },
    { notification: { notificationEvent: { representation: { contentInstance: null } } } },
    { aggregatedNotification: null },
    { aggregatedNotification: { notification: 'x' } },
    one({ id: '' }, { resourceId: '' }),
    one('x', { resourceId: 7 }),
  ];
  for (const [at, content] of garbage.entries()) t.equal(await world.handle(content), 4000, `garbage ${at}`);
  t.same(world.executed, ['a', 'b']);
  t.same(world.alarms, []);
  const other = {
    operation: Operation.create,
    to: 'Sgw1',
    requestIdentifier: 'r',
  } satisfies RequestPrimitive;
  t.equal((await world.downlink.handle(other)).responseStatusCode, 4005);

  const anything = fc.anything({ withBigInt: true, withNullPrototype: true });
  const shaped = fc.oneof(
    anything,
    fc.record({ notification: anything }),
    fc.record({ aggregatedNotification: fc.record({ notification: fc.array(anything) }) }),
    fc.record({
      notification: fc.record({
        notificationEvent: fc.record({ representation: fc.record({ contentInstance: anything }) }),
      }),
    }),
  );
  await fc.assert(
    fc.asyncProperty(shaped, async (content) => {
      const { responseStatusCode } = await world.answer(content);
      if (responseStatusCode !== 2000 && responseStatusCode !== 4000)
        throw new Error(`${responseStatusCode}`);
    }),
    { numRuns: 2000 },
  );
  t.same(world.alarms, [], 'nothing received is taken for a failure of ours');
});

void t.test('echoes', async (t) => {
  const world = new World();
  await world.downlink.open();
  const giveUp = new AbortController();
  const heard = world.downlink.awaitEcho('n1', giveUp.signal);
  t.equal(await world.handle(one({ echo: 'n0' }, { resourceName: echoName('n0') })), 2000, 'a foreign echo');
  t.equal(await world.handle(one({ echo: 'n1' }, { resourceName: echoName('n1') })), 2000);
  await heard;
  const missed = world.downlink.awaitEcho('n2', giveUp.signal);
  giveUp.abort();
  await t.rejects(missed);
  await t.rejects(world.downlink.awaitEcho('n3', giveUp.signal));
  t.same(world.executed, [], 'an echo is no command');
  await world.handle(ping('a', { echo: 'on' }));
  t.same(world.executed, ['a'], 'but a command may speak of an echo');
});

async function openJournal(filesystem: SimulatedFilesystem, bytesMax: number): Promise<Journal<CommandMark>> {
  return Journal.open<CommandMark>({
    filesystem,
    entropy: new SeededEntropy(1),
    directory: '/state',
    name: 'commands',
    bytesMax: bytes(bytesMax),
    decode: decodeCommandMark,
  });
}

void t.test('memory: bounded in count and in octets, durable through it all', async (t) => {
  for (const [bytesMax, count, length] of [
    [1024 * 1024, 5000, 10],
    [64 * 1024, 700, 1000],
    [16 * 1024, 1200, 10],
  ] as const) {
    const filesystem = new SimulatedFilesystem();
    const journal = await openJournal(filesystem, bytesMax);
    const world = new World(journal);
    await world.downlink.open();
    const id = (at: number): string => `command-${at}`;
    let refused = 0;
    for (let at = 0; at < count; at++) {
      if ((await world.handle(ping(id(at), { text: 'x'.repeat(length) }))) !== 2000) refused++;
    }
    t.equal(refused, 0, `${count} commands of ${length} octets in ${bytesMax}`);
    t.equal(world.executed.length, count);
    t.ok(journal.usedBytes <= bytesMax && journal.entries().length <= 4 * 2048);
    const image = filesystem.crash((options) => options - 1);
    const next = new World(await openJournal(image, bytesMax), count);
    await next.downlink.open();
    for (let at = count - 100; at < count; at++) await next.handle(ping(id(at)));
    t.same(next.executed, [], 'the newest are known after a power cut');
  }
});

void t.test('catching up at a CSE', async (t) => {
  const cses = new CseWorld({ seed: 4 });
  await cses.start();
  t.teardown(() => cses.stop());
  const admin = cses.client(adminOriginator, 'mn1');
  await admin.create('cse-mn1', ResourceType.container, { container: { resourceName: 'cmd' } });
  const source = { cseId: '/id-mn1', container: 'cse-mn1/cmd' };
  const put = async (resourceName: string, content: unknown): Promise<void> => {
    const made = await admin.create('cse-mn1/cmd', ResourceType.contentInstance, {
      contentInstance: { resourceName, content },
    });
    if (!made.ok) throw new Error(made.error.message);
  };
  const left = (): string[] =>
    cses.cses.mn1.dump().flatMap(({ path }) => (path.startsWith('cse-mn1/cmd/') ? [path] : []));
  const world = new World();
  await world.downlink.open();
  await world.handle(ping('known'));
  await put('c1', { id: 'known', command: 'ping' });
  await put(echoName('n'), { echo: 'n' });
  await put('c2', { id: 'x'.repeat(300) });
  await put('c3', { id: 'new-1', command: 'ping' });
  await put('c4', { id: 'new-2', command: 'ping' });
  t.same(await world.downlink.catchUp(admin, source, {}), { ok: true, value: 2 });
  await settle();
  t.same(world.executed, ['known', 'new-1', 'new-2'], 'only the unknown ones, and garbage stops none');
  t.same(left(), [], 'what was looked at is gone from the CSE');
  t.same(await world.downlink.catchUp(admin, source, {}), { ok: true, value: 0 });
  t.match(await world.downlink.catchUp(admin, { ...source, container: 'cse-mn1/nowhere' }, {}), {
    ok: false,
  });

  for (let at = 0; at < 700; at++) await put(`m${at}`, { id: `many-${at}`, command: 'ping' });
  t.same(await world.downlink.catchUp(admin, source, {}), { ok: true, value: 700 }, 'page by page');
  await settle();
  t.equal(world.executed.length, 703);
  t.same(left(), []);
});

/** A client that sees how often it is used, and may refuse. */
function counting(
  inner: CseClient,
  refuse: (request: RequestPrimitive) => number | undefined,
): { client: CseClient; asked: string[] } {
  const asked: string[] = [];
  const client = new CseClient({
    originator: inner.originator,
    entropy: new SeededEntropy(1),
    deadlineMs: millis(1000),
    binding: {
      send: async (request) => {
        asked.push(`${request.operation} ${request.to}`);
        const responseStatusCode = refuse(request);
        const { requestIdentifier } = request;
        if (responseStatusCode !== undefined) {
          return { ok: true, value: { responseStatusCode, requestIdentifier } };
        }
        const outcome = await inner.request(request);
        if (outcome.ok) return outcome;
        const { error } = outcome;
        if (error.kind !== 'rejected') return { ok: false, error };
        return { ok: true, value: { responseStatusCode: error.responseStatusCode, requestIdentifier } };
      },
      close: () => Promise.resolve(),
    },
  });
  return { client, asked };
}

void t.test('a CSE that lets nothing go, and one whose list is too long', async (t) => {
  const cses = new CseWorld({ seed: 5 });
  await cses.start();
  t.teardown(() => cses.stop());
  const admin = cses.client(adminOriginator, 'mn1');
  await admin.create('cse-mn1', ResourceType.container, { container: { resourceName: 'cmd' } });
  const put = (id: string, resourceName = id): Promise<unknown> =>
    admin.create('cse-mn1/cmd', ResourceType.contentInstance, {
      contentInstance: { resourceName, content: { id, command: 'ping' } },
    });
  const world = new World();
  await world.downlink.open();
  const stubborn = counting(admin, ({ operation }) => (operation === Operation.delete ? 4103 : undefined));
  const source = { cseId: '/id-mn1', container: 'cse-mn1/cmd', seen: new Set<string>() };
  await put('a');
  await put('b');
  t.match(await world.downlink.catchUp(stubborn.client, source, {}), { value: 2 });
  await put('c');
  stubborn.asked.length = 0;
  t.match(await world.downlink.catchUp(stubborn.client, source, {}), { value: 1 });
  t.same(
    stubborn.asked.filter((each) => each.startsWith('2 ')),
    ['2 cse-mn1/cmd', '2 cse-mn1/cmd/c'],
    'only what is new is read',
  );
  await admin.delete('cse-mn1/cmd/c');
  t.match(await world.downlink.catchUp(stubborn.client, source, {}), { value: 0 });
  await put('d', 'c');
  t.match(await world.downlink.catchUp(stubborn.client, source, {}), { value: 1 }, 'a name may come again');

  const long = counting(admin, ({ filterCriteria }) => (filterCriteria === undefined ? undefined : 2000));
  await put('e');
  t.match(await world.downlink.catchUp(long.client, source, {}), { value: 1 }, 'from the oldest end on');
  await settle();
  t.same(world.executed, ['a', 'b', 'c', 'd', 'e']);
  t.match(await admin.retrieve('cse-mn1/cmd/la'), { ok: false }, 'and the container is empty');
});

void t.test(
  'a flood of 100000 commands: refused beyond the room, fetched later, memory bounded',
  async (t) => {
    const world = new World(await openJournal(new SimulatedFilesystem(), 1024 * 1024));
    await world.downlink.open();
    world.valve.isHolding = true;
    const answers = new Map<number, number>();
    const heapBefore = process.memoryUsage().heapUsed;
    for (let at = 0; at < 100_000; at++) {
      const content = { id: `f${at}`, target: 'valve', command: 'set', text: 'x'.repeat(500) };
      const { responseStatusCode } = await world.answer(one(content));
      answers.set(responseStatusCode, (answers.get(responseStatusCode) ?? 0) + 1);
    }
    const grownMiB = (process.memoryUsage().heapUsed - heapBefore) / 1024 / 1024;
    t.equal(answers.get(2000), 256, 'so many wait');
    t.equal(answers.get(5000), 100_000 - 256, 'the others stay where they are');
    t.equal(world.missed, 100_000 - 256, 'and somebody knows of them');
    t.ok(grownMiB < 32, `the heap grew by ${grownMiB.toFixed(1)} MiB`);
    world.valve.isHolding = false;
    world.valve.release();
    for (let at = 0; at < 50; at++) await settle();
    t.equal(world.valve.begun.length, 256);
    t.equal(
      await world.handle(one({ id: 'after', target: 'valve', command: 'set' })),
      2000,
      'there is room again',
    );
  },
);
