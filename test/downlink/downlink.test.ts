// Proves the way down: each command is executed once whichever CSE, route and run it comes by (I7), a notification is
// answered only when its command is durable, a crash loses none, the memory is bounded (I8), and whatever is received
// disturbs nothing else (I12).
import * as fc from 'fast-check';
import t from 'tap';
import { FileError } from '../../src/host/filesystem.ts';
import { bytes } from '../../src/base/units.ts';
import { Journal } from '../../src/buffer/journal.ts';
import { Downlink, echoName } from '../../src/downlink/downlink.ts';
import type { Command, CommandMark, CommandMemory } from '../../src/downlink/downlink.ts';
import { settle } from '../../src/host/clock.ts';
import { Operation, ResourceType } from '../../src/onem2m/enums.ts';
import type { RequestPrimitive, ResponsePrimitive } from '../../src/onem2m/primitives.ts';
import type { PrimitiveContent } from '../../src/onem2m/resources.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
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

class World {
  readonly executed: string[] = [];
  readonly alarms: string[] = [];
  readonly memory: CommandMemory;
  readonly downlink: Downlink;
  failing = false;

  constructor(memory: CommandMemory = new HeldMemory()) {
    this.memory = memory;
    this.downlink = new Downlink({
      memory,
      execute: (command: Command) => {
        if (this.failing) return Promise.reject(new Error('actuator is off'));
        this.executed.push(command.id);
        return Promise.resolve();
      },
      onAlarm: (text) => {
        if (text !== undefined) this.alarms.push(text);
      },
    });
  }

  async handle(content: unknown): Promise<number> {
    const answer = await this.answer(content);
    await settle();
    return answer.responseStatusCode;
  }

  answer(content: unknown): Promise<ResponsePrimitive> {
    return this.downlink.handle({
      operation: Operation.notify,
      to: 'Sgw1',
      requestIdentifier: 'r',
      primitiveContent: content as PrimitiveContent,
    });
  }
}

function notification(content: unknown, resource: Record<string, unknown> = {}): Record<string, unknown> {
  const contentInstance = { resourceId: 'cin-1', resourceName: 'c1', ...resource, content };
  return { notificationEvent: { representation: { contentInstance } }, subscriptionReference: 'x' };
}

function one(content: unknown, resource?: Record<string, unknown>): unknown {
  return { notification: notification(content, resource) };
}

void t.test('once, by the id of the command or of its resource', async (t) => {
  const world = new World();
  await world.downlink.open();
  t.equal(await world.handle(one({ id: 'a', command: 'ping' })), 2000);
  t.equal(await world.handle(one({ id: 'a', command: 'ping' }, { resourceId: 'at-another-cse' })), 2000);
  t.equal(await world.handle(one('plain', { resourceId: 'cin-7' })), 2000);
  t.equal(await world.handle(one('plain', { resourceId: 'cin-7' })), 2000);
  t.same(world.executed, ['a', 'cin-7']);
  t.same(world.downlink.figures, { received: 2, executed: 2, duplicates: 2, rejected: 0 });
  t.equal(
    await world.handle({ notification: { verificationRequest: true } }),
    2000,
    'verification is answered',
  );
  t.equal(await world.handle({ notification: { subscriptionDeletion: true } }), 2000);
  t.same(world.executed, ['a', 'cin-7']);

  const next = new World(world.memory);
  await next.downlink.open();
  t.equal(await next.handle(one({ id: 'a' })), 2000);
  t.same(next.executed, [], 'not again after a restart');
});

void t.test('answered when durable, and not before', async (t) => {
  const memory = new HeldMemory();
  const world = new World(memory);
  await world.downlink.open();
  memory.isHolding = true;
  const answers: number[] = [];
  for (let at = 0; at < 2; at++) {
    void world.answer(one({ id: 'a' })).then(({ responseStatusCode }) => answers.push(responseStatusCode));
  }
  await settle();
  t.same([answers, world.executed, memory.held.length], [[], [], 1], 'the repeat waits for the same write');
  memory.isHolding = false;
  memory.held[0]?.release();
  await settle();
  t.same([answers, world.executed], [[2000, 2000], ['a']]);

  memory.isHolding = true;
  memory.held = [];
  const refused = Promise.all([world.answer(one({ id: 'b' })), world.answer(one({ id: 'b' }))]);
  await settle();
  memory.held[0]?.release(new FileError('write', 'x', new Error('ENOSPC')));
  t.same(
    (await refused).map(({ responseStatusCode }) => responseStatusCode),
    [5000, 5000],
  );
  t.match(world.alarms, [/not be made durable/, /not be made durable/]);
  memory.isHolding = false;
  t.equal(await world.handle(one({ id: 'b' })), 2000, 'the repeat of the CSE is taken');
  t.same(world.executed, ['a', 'b']);
});

void t.test('a crash between reception and execution, and an actuator that fails', async (t) => {
  const memory = new HeldMemory();
  memory.marks.push(
    { kind: 'received', id: 'a', content: { id: 'a' } },
    { kind: 'received', id: 'b', content: { id: 'b' } },
    { kind: 'executed', id: 'a' },
  );
  const world = new World(memory);
  await world.downlink.open();
  t.same(world.executed, ['b'], 'the next run executes what was left');
  world.failing = true;
  t.equal(await world.handle(one({ id: 'c' })), 2000, 'it is durable');
  t.match(world.alarms, [/command c failed: actuator is off/]);
  t.equal(await world.handle(one({ id: 'c' })), 2000);
  world.failing = false;
  world.downlink.retryFailed();
  world.downlink.retryFailed();
  await settle();
  t.same(world.executed, ['b', 'c'], 'and tried again until it is done, once');
});

void t.test(
  'a command executed again has its number again, and none overtakes one that failed',
  async (t) => {
    const memory = new HeldMemory();
    // An old memory without numbers, and a run that died between an execution and its mark.
    memory.marks.push({ kind: 'received', id: 'old', content: 0 });
    memory.marks.push({ kind: 'received', id: 'again', content: 1, number: 7 });
    const numbers: [string, number][] = [];
    let failing = '';
    const downlink = new Downlink({
      memory,
      execute: ({ id, number }) => {
        if (id === failing) return Promise.reject(new Error('the disk is full'));
        numbers.push([id, number]);
        return Promise.resolve();
      },
      firstNumber: 5,
      onAlarm: () => undefined,
    });
    await downlink.open();
    t.same(numbers, [
      ['old', 8],
      ['again', 7],
    ]);
    failing = 'x';
    for (const id of ['x', 'y']) {
      const primitiveContent = one({ id }) as PrimitiveContent;
      await downlink.handle({
        operation: Operation.notify,
        to: 'Sgw1',
        requestIdentifier: 'r',
        primitiveContent,
      });
    }
    await settle();
    t.equal(numbers.length, 2, 'what comes behind a failed command waits');
    failing = '';
    downlink.retryFailed();
    await settle();
    t.same(numbers.slice(2), [
      ['x', 9],
      ['y', 10],
    ]);
  },
);

void t.test('batches, and what is no command', async (t) => {
  const world = new World();
  await world.downlink.open();
  const mixed = [notification({ id: 'a' }), null, 7, { notificationEvent: null }, notification({ id: 'b' })];
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
    one({ id: 'x'.repeat(257) }),
    one('x', { resourceId: 7 }),
    one({ id: 'big', value: 2n ** 70n }),
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
  await world.handle(one({ id: 'a', echo: 'on' }));
  t.same(world.executed, ['a'], 'but a command may speak of an echo');
});

async function openJournal(filesystem: SimulatedFilesystem, bytesMax: number): Promise<Journal<CommandMark>> {
  return Journal.open<CommandMark>({
    filesystem,
    entropy: new SeededEntropy(1),
    directory: '/state',
    name: 'commands',
    bytesMax: bytes(bytesMax),
    decode: (value) => value as CommandMark,
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
      if ((await world.handle(one({ id: id(at), text: 'x'.repeat(length) }))) !== 2000) refused++;
    }
    t.equal(refused, 0, `${count} commands of ${length} octets in ${bytesMax}`);
    t.equal(world.executed.length, count);
    t.ok(journal.usedBytes <= bytesMax && journal.entries().length <= 4 * 2048);
    const image = filesystem.crash((options) => options - 1);
    const next = new World(await openJournal(image, bytesMax));
    await next.downlink.open();
    for (let at = count - 100; at < count; at++) await next.handle(one({ id: id(at) }));
    t.same(next.executed, [], 'the newest are known after a power cut');
  }
});

void t.test('catching up at a CSE', async (t) => {
  const cses = new CseWorld({ seed: 4 });
  await cses.start();
  t.teardown(() => cses.stop());
  const admin = cses.client(adminOriginator, 'mn1');
  await admin.create('cse-mn1', ResourceType.container, { container: { resourceName: 'cmd' } });
  const put = async (resourceName: string, content: unknown): Promise<void> => {
    const made = await admin.create('cse-mn1/cmd', ResourceType.contentInstance, {
      contentInstance: { resourceName, content },
    });
    if (!made.ok) throw new Error(made.error.message);
  };
  const world = new World();
  await world.downlink.open();
  await world.handle(one({ id: 'known' }));
  await put('c1', { id: 'known' });
  await put(echoName('n'), { echo: 'n' });
  await put('c2', { id: 'x'.repeat(300) });
  await put('c3', { id: 'new-1' });
  await put('c4', { id: 'new-2' });
  t.same(await world.downlink.catchUp(admin, 'cse-mn1/cmd', {}), { ok: true, value: 2 });
  await settle();
  t.same(world.executed, ['known', 'new-1', 'new-2'], 'only the unknown ones, and garbage stops none');
  t.same(await world.downlink.catchUp(admin, 'cse-mn1/cmd', {}), { ok: true, value: 0 });
  t.match(await world.downlink.catchUp(admin, 'cse-mn1/nowhere', {}), { ok: false });

  const seen = new Set<string>();
  const { rejected } = world.downlink.figures;
  for (let round = 0; round < 3; round++) await world.downlink.catchUp(admin, 'cse-mn1/cmd', {}, seen);
  t.equal(world.downlink.figures.rejected, rejected + 1, 'what was read before is not read again');
  await admin.delete('cse-mn1/cmd/c4');
  t.same(await world.downlink.catchUp(admin, 'cse-mn1/cmd', {}, seen), { ok: true, value: 0 });
  await put('c4', { id: 'new-3' });
  t.same(await world.downlink.catchUp(admin, 'cse-mn1/cmd', {}, seen), { ok: true, value: 1 });
});
