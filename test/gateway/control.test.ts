// Proves: the control socket answers its methods, streams states and events, survives garbage, huge lines, slow and too many
// clients, and is the lock of the data directory: a second gateway is refused by name, a stale socket is replaced, and of
// racing starters exactly one wins.
import { fork } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import type { Test } from 'tap';
import { BusyError, UsageError } from '../../src/base/errors.ts';
import { millis } from '../../src/base/units.ts';
import { ControlClient } from '../../src/gateway/control-client.ts';
import { controlSocketName } from '../../src/gateway/control-protocol.ts';
import { ControlServer } from '../../src/gateway/control-server.ts';
import type { ControlHandlers } from '../../src/gateway/control-server.ts';
import type { LockHost } from '../../src/gateway/data-directory-lock.ts';
import type { GatewayEvent, GatewayStatus } from '../../src/gateway/status.ts';
import { NodeClock } from '../../src/host/clock.ts';
import { NodeEntropy } from '../../src/host/entropy.ts';
import { NodeFilesystem } from '../../src/host/filesystem.ts';
import { NodeLocalSockets } from '../../src/host/local-socket.ts';
import type { LineConnection, LocalSocketLimits } from '../../src/host/local-socket.ts';

const clock = new NodeClock();
const localSockets = new NodeLocalSockets();
const host = { clock, localSockets, filesystem: new NodeFilesystem(), entropy: new NodeEntropy() };

const status: GatewayStatus = {
  device: 'gw1',
  pid: process.pid,
  uptimeMs: 1,
  links: [],
  levels: [],
  handovers: { completed: 0, rolledBack: 0, failed: 0 },
  buffer: { stored: 0, delivered: 0, evicted: 0, corrupt: 0, pending: 0, bytes: 0, capacityBytes: 0 },
  streams: [],
  sensors: [],
  service: { state: 'good' },
  commands: { received: 0, executed: 0, duplicates: 0 },
  alarms: [],
};

async function temporaryDirectory(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'baton-control-'));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

async function startServer(
  t: Test,
  handlers: Partial<ControlHandlers> = {},
  limits: Partial<LocalSocketLimits> = {},
): Promise<{
  server: ControlServer;
  directory: string;
  client: () => Promise<ControlClient>;
  raw: () => Promise<Raw>;
}> {
  const directory = await temporaryDirectory(t);
  const sockets = new NodeLocalSockets(limits);
  const server = await ControlServer.open({
    host: { ...host, localSockets: sockets },
    directory,
    pid: process.pid,
  });
  t.teardown(() => server.close());
  server.serve({ status: () => status, handover: async () => ({}), stop: () => undefined, ...handlers });
  const client = async (): Promise<ControlClient> => {
    const opened = await ControlClient.open(host, directory);
    t.teardown(() => opened.close());
    return opened;
  };
  const raw = async (): Promise<Raw> => {
    const opened = new Raw(await localSockets.connect(join(directory, controlSocketName)));
    t.teardown(() => opened.connection.close());
    return opened;
  };
  return { server, directory, client, raw };
}

/** A client that speaks lines only. */
class Raw {
  readonly connection: LineConnection;
  readonly lines: string[] = [];
  readonly closed: Promise<void>;
  #wake: () => void = () => undefined;

  constructor(connection: LineConnection) {
    this.connection = connection;
    connection.onLine((line) => {
      this.lines.push(line);
      this.#wake();
    });
    this.closed = new Promise((resolve) => connection.onClose(() => resolve()));
  }

  async next(): Promise<Record<string, unknown>> {
    while (this.lines.length === 0) await new Promise<void>((resolve) => (this.#wake = resolve));
    return JSON.parse(this.lines.shift() ?? '') as Record<string, unknown>;
  }

  ask(line: string): Promise<Record<string, unknown>> {
    this.connection.send(line);
    return this.next();
  }
}

void t.test('methods', async (t) => {
  const asked: unknown[] = [];
  let stopped = 0;
  const { client, raw } = await startServer(t, {
    handover: async (params) => {
      asked.push(params);
      if (params.target === '/id-none') throw new UsageError('no candidate /id-none');
      return { epoch: 4 };
    },
    stop: () => stopped++,
  });
  const gateway = await client();
  t.same(await gateway.status(), status);
  t.same(await gateway.request('handover', { target: '/id-mn2' }), { epoch: 4 });
  t.same(await gateway.request('handover'), { epoch: 4 });
  t.same(asked, [{ target: '/id-mn2' }, {}]);
  await t.rejects(gateway.request('handover', { target: '/id-none' }), {
    code: 'USAGE',
    message: 'the gateway refuses: no candidate /id-none',
  });
  t.same(await gateway.request('stop'), {});
  t.equal(stopped, 1);
  t.match(await gateway.request('hello'), { pid: process.pid, owner: true });

  const line = await raw();
  const refused: [string, string, RegExp][] = [
    ['nonsense', 'DECODE', /"nonsense" is no request/u],
    ['\u001b[2J\u0000', 'DECODE', /\\x1b\[2J\\x00/u],
    ['[]', 'DECODE', /no request/u],
    ['{"id":7,"method":"statsu"}', 'USAGE', /unknown method "statsu", /u],
    ['{"id":7}', 'USAGE', /unknown method/u],
    ['{"id":7,"method":"constructor"}', 'USAGE', /unknown method/u],
    ['{"id":7,"method":"status","params":[]}', 'USAGE', /params of "status" must be an object/u],
    [
      '{"id":7,"method":"subscribe","params":{"periodMs":1}}',
      'USAGE',
      /periodMs must be a number of ms from 100/u,
    ],
    ['{"id":7,"method":"handover","params":{"target":3}}', 'USAGE', /target must be the CSE-ID/u],
  ];
  for (const [request, code, pattern] of refused)
    t.match(await line.ask(request), { error: { code, message: pattern } }, request);
  t.match(
    await line.ask('{"id":"x","method":"status"}'),
    { id: 'x', result: { device: 'gw1' } },
    'and goes on',
  );
});

void t.test('before the gateway can serve', async (t) => {
  const directory = await temporaryDirectory(t);
  const server = await ControlServer.open({ host, directory: join(directory, 'made', 'new'), pid: 4711 });
  t.teardown(() => server.close());
  const gateway = await ControlClient.open(host, join(directory, 'made', 'new'));
  t.teardown(() => gateway.close());
  await t.rejects(gateway.status(), { code: 'STARTING' });
  t.match(await gateway.request('hello'), { pid: 4711 });
});

void t.test('subscription: states, events, end by the gateway', async (t) => {
  const { client, server } = await startServer(t);
  const gateway = await client();
  const events: GatewayEvent[] = [];
  let states = 0;
  const until = new AbortController();
  t.notOk(server.hasSubscribers);
  server.publish({ kind: 'alarm', text: 'nobody sees this', active: true });
  const event: GatewayEvent = { kind: 'alarm', text: 'link lost', active: true };
  const watched = gateway.subscribe(
    {
      onStatus: () => {
        if (++states === 1) server.publish(event);
      },
      onEvent: (received) => {
        events.push(received);
        until.abort();
      },
    },
    { periodMs: millis(60_000), signal: until.signal },
  );
  await watched;
  t.equal(states, 1, 'the state at once, without waiting for a period');
  t.same(events, [event]);
  const second = await client();
  const lost = second.subscribe(
    { onStatus: () => void server.close(), onEvent: () => undefined },
    { periodMs: millis(60_000), signal: new AbortController().signal },
  );
  await t.rejects(lost, { code: 'IO', message: /the gateway closed the connection/ });
  await t.rejects(second.status(), { code: 'IO' });
});

void t.test('a status that cannot be told harms only the answer', async (t) => {
  const { raw } = await startServer(t, {
    status: () => {
      throw new TypeError('defect');
    },
  });
  const line = await raw();
  t.match(await line.ask('{"id":1,"method":"status"}'), { id: 1, error: { code: 'INTERNAL' } });
  t.match(await line.ask('{"id":2,"method":"subscribe"}'), { id: 2, result: {} });
  t.match(await line.next(), { error: { code: 'INTERNAL' } });
  t.match(await line.ask('{"id":3,"method":"hello"}'), { id: 3 });
});

void t.test('bad clients do not disturb good ones', async (t) => {
  const { server, client, raw } = await startServer(
    t,
    {},
    { lineBytesMax: 10_000, backlogBytesMax: 100_000 },
  );
  const gateway = await client();

  await t.test('a huge line is answered and closed', async (t) => {
    const huge = await raw();
    huge.connection.send('x'.repeat(50_000));
    t.match(await huge.next(), { id: null, error: { code: 'LIMIT', message: /more than 10000 bytes/ } });
    await huge.closed;
  });

  await t.test('arbitrary bytes', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ unit: 'binary', maxLength: 60 }), { maxLength: 20 }),
        async (lines) => {
          const noise = await raw();
          for (const line of lines) noise.connection.send(line);
          noise.connection.send('{"id":"end","method":"hello"}');
          while ((await noise.next())['id'] !== 'end');
          noise.connection.close();
          await noise.closed;
        },
      ),
      { numRuns: 50 },
    );
  });

  await t.test('one that never reads is dropped', async (t) => {
    const directory = await temporaryDirectory(t);
    const limits = { backlogBytesMax: 100_000 };
    let reason: unknown;
    const served = new Promise<LineConnection>((resolve) => {
      void new NodeLocalSockets(limits)
        .listen(join(directory, 's'), { onConnection: resolve, refusal: String })
        .then(async (listening) => {
          t.teardown(() => listening.close());
          await localSockets.connect(join(directory, 's'));
        });
    });
    const connection = await served;
    const dropped = new Promise<void>((resolve) => {
      connection.onClose((given) => {
        reason = given;
        resolve();
      });
    });
    for (let index = 0; index < 2000; index++) connection.send('x'.repeat(1000));
    await dropped;
    t.match(reason, { code: 'LIMIT', message: /the peer left \d+ bytes unread/ });
  });

  await t.test('the seventeenth is told and closed', async (t) => {
    const others = [];
    for (let index = 0; index < 15; index++) others.push(await raw());
    const last = await raw();
    t.match(await last.next(), {
      id: null,
      error: { code: 'LIMIT', message: /16 clients are connected/, pid: process.pid },
    });
    await last.closed;
    for (const other of others) other.connection.close();
    await Promise.all(others.map(({ closed }) => closed));
  });

  t.same(await gateway.status(), status);
  t.notOk(server.hasSubscribers);
});

void t.test('too many requests at once', async (t) => {
  const waiting: (() => void)[] = [];
  const { raw } = await startServer(t, {
    handover: () => new Promise((resolve) => waiting.push(() => resolve({}))),
  });
  const line = await raw();
  for (let id = 1; id <= 32; id++) line.connection.send(JSON.stringify({ id, method: 'handover' }));
  t.match(await line.ask('{"id":33,"method":"status"}'), { id: 33, error: { code: 'LIMIT' } });
  for (const release of waiting) release();
  for (let id = 1; id <= 32; id++) t.match(await line.next(), { result: {} });
  t.match(await line.ask('{"id":34,"method":"status"}'), { id: 34, result: {} });
});

void t.test('a client without a gateway, or with something else', async (t) => {
  const directory = await temporaryDirectory(t);
  const open = (): Promise<ControlClient> => ControlClient.open(host, directory);
  await t.rejects(open(), {
    code: 'IO',
    message: /no gateway runs on .*; start one with "baton run --config FILE"/,
  });
  await writeFile(join(directory, controlSocketName), 'a file');
  await t.rejects(open(), { code: 'IO', message: /no gateway runs/ });
  await rm(join(directory, controlSocketName));
  for (const answer of [
    'hello?',
    '{"id":1,"result":{"device":3}}',
    '{"id":1,"error":{}}',
    '{"error":{"code":"LIMIT","message":"full"}}',
  ]) {
    const listening = await localSockets.listen(join(directory, controlSocketName), {
      onConnection: (connection) => connection.onLine(() => connection.send(answer)),
      refusal: String,
    });
    const other = await open();
    await t.rejects(other.status(), { code: /^(DECODE|UNKNOWN|LIMIT)$/ }, answer);
    other.close();
    await listening.close();
  }
  await t.rejects(localSockets.connect(`/${'x'.repeat(120)}`), {
    message: /has 121 bytes; a local socket allows 107/,
  });
});

void t.test('one owner', async (t) => {
  const open = (directory: string, pid: number): Promise<ControlServer> =>
    ControlServer.open({ host, directory, pid });

  await t.test('a second gateway is refused by name, the next one after the first', async (t) => {
    const directory = await temporaryDirectory(t);
    const first = await open(directory, 101);
    await t.rejects(open(directory, 102), {
      code: 'BUSY',
      message: /belongs to the gateway with pid 101; stop it first/,
    });
    t.same(await readdir(directory), [controlSocketName], 'the refused one leaves nothing');
    await first.close();
    t.same(await readdir(directory), []);
    await (await open(directory, 103)).close();
  });

  await t.test('refused as well while all clients are taken', async (t) => {
    const directory = await temporaryDirectory(t);
    const first = await open(directory, 104);
    t.teardown(() => first.close());
    const clients = [];
    for (let index = 0; index < 16; index++) {
      const connection = await localSockets.connect(join(directory, controlSocketName));
      connection.onLine(() => undefined);
      clients.push(connection);
    }
    await t.rejects(open(directory, 105), { code: 'BUSY', message: /pid 104/ });
    for (const connection of clients) connection.close();
  });

  await t.test('a killed gateway leaves a stale socket, which is replaced', async (t) => {
    const directory = await temporaryDirectory(t);
    const script = `
      import { ControlServer } from ${JSON.stringify(new URL('../../src/gateway/control-server.js', import.meta.url).href)};
      import { createNodeHost } from ${JSON.stringify(new URL('../../src/host/host.js', import.meta.url).href)};
      import { NodeLocalSockets } from ${JSON.stringify(new URL('../../src/host/local-socket.js', import.meta.url).href)};
      const host = { ...createNodeHost(), localSockets: new NodeLocalSockets() };
      await ControlServer.open({ host, directory: process.argv[2], pid: process.pid });
      process.send('open');
    `;
    await writeFile(join(directory, 'owner.mjs'), script);
    const child = fork(join(directory, 'owner.mjs'), [directory]);
    await new Promise((resolve) => child.once('message', resolve));
    await t.rejects(open(directory, 106), { code: 'BUSY', message: new RegExp(`pid ${child.pid}`) });
    child.kill('SIGSTOP');
    await t.rejects(
      open(directory, 106),
      { code: 'BUSY', message: /a process that does not answer/ },
      'frozen is not dead',
    );
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
    t.ok((await readdir(directory)).includes(controlSocketName), 'stale');
    await writeFile(join(directory, 'own-0123abcd'), ''); // what a starter killed in mid-start leaves
    const next = await open(directory, 107);
    t.same(await readdir(directory), [controlSocketName, 'owner.mjs'], 'tidied');
    await next.close();
  });

  await t.test('of racing starters exactly one wins, in any order of their steps', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.integer({ min: 2, max: 4 }),
        fc.boolean(),
        async (steps, count, isStale) => {
          const directory = await mkdtemp(join(tmpdir(), 'baton-race-'));
          if (isStale) await writeFile(join(directory, controlSocketName), '');
          const { filesystem, entropy } = host;
          const stepwise: LockHost = {
            clock,
            entropy,
            filesystem: {
              open: (path, options) => filesystem.open(path, options),
              createDirectory: (path) => filesystem.createDirectory(path),
              syncDirectory: (path) => filesystem.syncDirectory(path),
              list: async (path) => (await steps.schedule(Promise.resolve()), filesystem.list(path)),
              rename: async (from, to) => (
                await steps.schedule(Promise.resolve()),
                filesystem.rename(from, to)
              ),
              remove: async (path) => (await steps.schedule(Promise.resolve()), filesystem.remove(path)),
            },
            localSockets: {
              listen: async (path, options) => (
                await steps.schedule(Promise.resolve()),
                localSockets.listen(path, options)
              ),
              connect: async (path) => (await steps.schedule(Promise.resolve()), localSockets.connect(path)),
            },
          };
          const racing = Array.from({ length: count }, (_, index) =>
            ControlServer.open({ host: stepwise, directory, pid: 300 + index }),
          );
          const results = await steps.waitFor(Promise.allSettled(racing));
          const winners = results.filter((result) => result.status === 'fulfilled');
          await steps.waitFor(Promise.all(winners.map((winner) => winner.value.close())));
          const left = await readdir(directory);
          await rm(directory, { recursive: true });
          const refused = results.filter(
            (result) => result.status === 'rejected' && result.reason instanceof BusyError,
          );
          if (winners.length !== 1 || refused.length !== count - 1 || left.length > 0) {
            const reasons = results.map((result) =>
              result.status === 'rejected' ? String(result.reason) : 'won',
            );
            throw new Error(`${reasons.join('\n')}\nleft: ${left.join()}`);
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  await t.test('of starters at full speed exactly one wins', async (t) => {
    for (let round = 0; round < 15; round++) {
      const directory = await temporaryDirectory(t);
      if (round % 2 === 1) await writeFile(join(directory, controlSocketName), ''); // stale
      const racing = Array.from({ length: 2 + (round % 4) }, (_, index) => open(directory, 200 + index));
      const results = await Promise.allSettled(racing);
      const winners = results.filter((result) => result.status === 'fulfilled');
      t.equal(winners.length, 1, `${racing.length} starters, round ${round}`);
      for (const result of results) {
        if (result.status === 'rejected') t.ok(result.reason instanceof BusyError, String(result.reason));
      }
      const asked = await ControlClient.open(host, directory);
      t.match(await asked.request('hello'), { owner: true });
      asked.close();
      for (const winner of winners) await winner.value.close();
      t.same(await readdir(directory), []);
    }
  });
});
