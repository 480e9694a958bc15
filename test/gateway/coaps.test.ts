// Proves that a gateway works with CSEs that speak coaps and nothing else, on the real process: `baton provision` and
// `baton run` by the keys of the configuration, candidates at coaps points of access, readings, notified commands, a
// handover, a restart of the serving CSE; that nothing which is said can be read, nor a key in any output; that each thing
// which is wrong with keys is told with the way out; that a key that cannot be read takes nothing away from the link, a
// renewed one counts from the next session on, in both directions, and a link that cannot be opened leaves no socket behind.
import { spawn } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type { Test } from 'tap';
import { stringify } from 'yaml';
import { errorText } from '../../src/base/errors.ts';
import { millis } from '../../src/base/units.ts';
import { ControlClient } from '../../src/gateway/control-client.ts';
import { LinkAccess } from '../../src/gateway/link-access.ts';
import { parseConfig } from '../../src/gateway/load-config.ts';
import { loadPsk } from '../../src/gateway/psk-credentials.ts';
import type { GatewayStatus } from '../../src/gateway/status.ts';
import { targetLabel } from '../../src/handover/candidate-discovery.ts';
import { sleep } from '../../src/host/clock.ts';
import { createNodeHost } from '../../src/host/host.ts';
import { NodeLocalSockets } from '../../src/host/local-socket.ts';
import { openPseudoTerminal } from '../../src/host/pseudo-terminal.ts';
import type { CseClient } from '../../src/onem2m/cse-client.ts';
import { CseType, ResourceType } from '../../src/onem2m/enums.ts';
import type { RequestPrimitive } from '../../src/onem2m/primitives.ts';
import { TestbedCse } from '../../src/testbed/cse/testbed-cse.ts';
import { FakeSensor } from '../../src/testbed/sensor/fake-sensor.ts';
import { SecureCoapTransport } from './secure-coap-transport.ts';

t.setTimeout(90_000);

const binPath = fileURLToPath(new URL('../../src/gateway/bin.js', import.meta.url));
const host = createNodeHost();
const { clock, entropy } = host;
const localSockets = new NodeLocalSockets();
const keyHex = '8f1d2c3b4a59687f0e1d2c3b4a596877';
const credentials = { identity: 'gw1', key: Buffer.from(keyHex, 'hex') };

async function temporaryDirectory(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'baton-coaps-'));
  t.teardown(() => rm(directory, { recursive: true }));
  return directory;
}

async function startCse(t: Test, name: 'in' | 'mn1' | 'mn2'): Promise<{ cse: TestbedCse; at: string }> {
  const cse = new TestbedCse({
    cseId: `/id-${name}`,
    cseBaseName: `cse-${name}`,
    cseType: name === 'in' ? CseType.inCse : CseType.mnCse,
    adminOriginator: 'CAdmin',
    spId: '//sp.example',
    serialisation: 'cbor',
    clock,
    entropy,
    transports: [new SecureCoapTransport(host, credentials)],
  });
  await cse.start();
  t.teardown(() => cse.stop());
  return { cse, at: cse.pointsOfAccess[0] ?? '' };
}

function configText(inCse: string, rest: object): string {
  return stringify({
    device: 'gw1',
    dataDirectory: 'data',
    inCse: { pointOfAccess: inCse, cseId: '/id-in', cseBaseName: 'cse-in' },
    links: [{ name: 'lte0', localAddress: '127.0.0.1' }],
    sensors: [
      {
        name: 'weather',
        serialLine: { path: 'weather.tty', format: 'json', acknowledge: true },
        streams: [{ name: 'temperature', class: 'A' }],
      },
    ],
    decision: { discoveryPeriodMs: 1000 },
    uplink: { deadlineMs: 1000 },
    ...rest,
  });
}

function run(directory: string, args: readonly string[]) {
  const child = spawn(process.execPath, [binPath, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: directory,
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (data: Buffer) => (said += data.toString()));
  const ended = new Promise<{ code: number | null; said: string }>((resolve) =>
    child.once('close', (code) => resolve({ code, said })),
  );
  return { ended, stop: () => child.kill('SIGTERM'), said: () => said };
}

await t.test('all of it over coaps', async (t) => {
  const directory = await temporaryDirectory(t);
  const [inCse, mn1, mn2] = [await startCse(t, 'in'), await startCse(t, 'mn1'), await startCse(t, 'mn2')];
  await mkdir(join(directory, 'secrets'));
  const keyFile = join(directory, 'secrets', 'cse.psk');
  await writeFile(keyFile, `${keyHex}\n`, { mode: 0o600 });
  const file = join(directory, 'baton.yaml');
  const psk = [{ host: '127.0.0.1', identity: 'gw1', keyFile: 'secrets/cse.psk' }];
  const text = configText(inCse.at, { security: { psk } });
  await writeFile(file, text);
  const provisioned = await run(directory, ['provision', '--operator', 'CAdmin']).ended;
  t.equal(provisioned.code, 0, provisioned.said);

  // The operator comes by coaps as well.
  const { security } = parseConfig(text, file);
  const link = { name: 'operator', localAddress: '127.0.0.1' };
  const access = await LinkAccess.open({ host, link, deadlineMs: millis(2000), security });
  t.teardown(() => access.close());
  const operatorAt = (cseId: string, pointOfAccess: string): CseClient =>
    access.cseClient({ cseId, pointOfAccess }, 'CAdmin');
  for (const [name, { at }] of [
    ['mn1', mn1],
    ['mn2', mn2],
  ] as const) {
    // prettier-ignore
    const content = { cseId: `/id-${name}`, cseBaseName: `cse-${name}`, pointsOfAccess: [at], coverage: [] };
    const published = await operatorAt('/id-in', inCse.at).create(
      'cse-in/gw1-home/targets',
      ResourceType.contentInstance,
      { contentInstance: { resourceName: name, labels: [targetLabel], content } },
    );
    t.ok(published.ok, `target ${name} published`);
  }

  const terminal = await openPseudoTerminal({ link: join(directory, 'weather.tty') });
  const sensor = new FakeSensor({
    clock,
    seed: 1,
    streams: [{ name: 'temperature', periodMs: millis(50) }],
    write: (data) => terminal.write(data),
  });
  terminal.onData((data) => sensor.receive(data));
  sensor.start();
  t.teardown(async () => {
    sensor.stop();
    await terminal.hangUp();
  });
  const gateway = run(directory, ['run']);
  t.teardown(async () => {
    gateway.stop();
    await gateway.ended;
  });
  const ask = async <T>(method: 'status' | 'handover', params: object): Promise<T> => {
    const client = await ControlClient.open({ clock, localSockets }, join(directory, 'data'));
    try {
      return (await client.request(method, { ...params })) as T;
    } finally {
      client.close();
    }
  };
  const until = async (what: string, holds: (status: GatewayStatus) => boolean): Promise<GatewayStatus> => {
    const endMs = clock.monotonicMs() + 20_000;
    for (;;) {
      const status = await ask<GatewayStatus>('status', {}).catch(() => undefined);
      if (status !== undefined && holds(status)) return status;
      if (clock.monotonicMs() > endMs)
        throw new Error(`${what}: ${JSON.stringify(status)} ${gateway.said()}`);
      await sleep(clock, millis(50));
    }
  };
  const handOver = async (target: string): Promise<void> => {
    const endMs = clock.monotonicMs() + 15_000;
    for (;;) {
      const answer = await ask<{ accepted?: boolean; reason?: string }>('handover', { target }).catch(
        () => ({}),
      );
      if ('accepted' in answer && answer.accepted === true) break;
      if (clock.monotonicMs() > endMs) throw new Error(`${JSON.stringify(answer)} ${gateway.said()}`);
      await sleep(clock, millis(100));
    }
    await until(`serving at ${target}`, ({ serving }) => serving?.cseId === target);
  };
  const delivers = async (what: string): Promise<void> => {
    const { buffer } = await until(what, () => true);
    await until(
      what,
      (status) => status.buffer.delivered > buffer.delivered + 20 && status.buffer.pending < 20,
    );
    t.pass(what);
  };
  const command = async (name: string, pointOfAccess: string, id: string): Promise<void> => {
    const operator = operatorAt(`/id-${name}`, pointOfAccess);
    const created = await operator.create(`cse-${name}/gw1/cmd`, ResourceType.contentInstance, {
      contentInstance: { content: { id, command: 'ping' } },
    });
    t.ok(created.ok, 'a command is given');
    const endMs = clock.monotonicMs() + 10_000;
    let isDone = false;
    while (!isDone && clock.monotonicMs() < endMs) {
      const latest = await operator.retrieve(`cse-${name}/gw1/results/la`);
      isDone = latest.ok && JSON.stringify(latest.value.primitiveContent).includes(`"id":"${id}"`);
      await sleep(clock, millis(50));
    }
    t.ok(isDone, `the command ${id} came by a notification over coaps, its result up`);
  };

  await handOver('/id-mn1');
  await delivers('readings go to mn1');
  await command('mn1', mn1.at, 'c1');
  await handOver('/id-mn2');
  await delivers('and after the handover to mn2');
  await command('mn2', mn2.at, 'c2');

  // The CSE's process is killed: its sessions are gone, and nobody takes leave of anybody.
  await mn2.cse.crash();
  await sleep(clock, millis(300));
  await mn2.cse.restart({ keepState: true });
  await delivers('and after a restart of mn2');
  const { buffer } = await until('end', () => true);
  t.equal(buffer.evicted, 0);
  gateway.stop();
  const { said } = await gateway.ended;
  t.notOk([provisioned.said, said].join().includes(keyHex), 'no key in any output');
  t.notMatch(said, /coap:\/\/127/u, 'no CSE is told a plain point of access');
});

await t.test('what is wrong with keys is told with the way out', async (t) => {
  const directory = await temporaryDirectory(t);
  const { at } = await startCse(t, 'in');
  const psk = { host: '127.0.0.1', identity: 'gw1', keyFile: 'mn1.psk' };
  const file = join(directory, 'mn1.psk');
  const said: string[] = [];
  const provision = async (rest: object): Promise<string> => {
    await writeFile(join(directory, 'baton.yaml'), configText(at, { handover: { phaseDeadlineMs: 1500 }, ...rest }));
    const ended = await run(directory, ['provision']).ended;
    t.equal(ended.code, 1);
    said.push(ended.said);
    return ended.said;
  };
  t.match(await provision({}), /there is no key for 127\.0\.0\.1; give one under security\.psk: \{ host: 127\.0\.0\.1/u);
  await writeFile(file, keyHex.replaceAll('8', '9'), { mode: 0o600 });
  t.match(await provision({ security: { psk: [psk] } }), /as "gw1": the key is not the one that it holds for this identity/u);
  t.match(await provision({ security: { psk: [{ ...psk, identity: 'gw2' }] } }), /as "gw2": it does not know the identity/u);

  const rows: [string | undefined, number, RegExp][] = [
    [undefined, 0o600, /mn1\.psk \(the key of gw1\) is not there; make one with "openssl rand -hex 16 > .*mn1\.psk"/u],
    [keyHex, 0o644, /mn1\.psk is open to others \(mode 644\); "chmod 600 .*mn1\.psk" closes it/u],
    [keyHex, 0o660, /mode 660/u],
    [`${keyHex}zz`, 0o600, /mn1\.psk holds no key; it needs 16 to 128 hexadecimal digits/u],
    [keyHex.slice(1), 0o600, /holds no key/u],
    ['', 0o600, /holds no key/u],
    [keyHex.repeat(200), 0o600, /cannot be read/u],
  ];
  for (const [content, mode, message] of rows) {
    await rm(file, { force: true });
    if (content !== undefined) await writeFile(file, content);
    if (content !== undefined) await chmod(file, mode);
    const loaded = await loadPsk(host.filesystem, { identity: 'gw1', keyFile: file }).catch(errorText);
    t.match(loaded, message);
    if (typeof loaded === 'string') said.push(loaded);
  }
  await chmod(file, 0o640);
  await writeFile(file, ` ${keyHex.toUpperCase()}\n`);
  t.strictSame((await loadPsk(host.filesystem, { identity: 'gw1', keyFile: file })).key, credentials.key);
  t.notOk(said.join().includes(keyHex.slice(2, -2)), 'no key in any message');

  const configured = (keys: object[]): string => {
    try {
      return JSON.stringify(parseConfig(configText(at, { security: { psk: keys } }), '/etc/baton.yaml').security);
    } catch (error) {
      return errorText(error);
    }
  };
  t.match(configured([psk, { ...psk, identity: 'gw2' }]), /security\.psk\[1\]\.host: "127\.0\.0\.1" is taken/u);
  t.match(configured([{ ...psk, keyFile: undefined }]), /security\.psk\[0\]\.keyFile: is missing/u);
  t.match(configured([{ ...psk, identity: 'two words' }]), /security\.psk\[0\]\.identity/u);
  t.match(configured([psk]), /"keyFile":"\/etc\/mn1\.psk"/u, 'paths are relative to the configuration');
}); // prettier-ignore

await t.test('keys that come late and keys that change', async (t) => {
  const directory = await temporaryDirectory(t);
  const keyFile = join(directory, 'cse.psk');
  const psk = [
    { host: '127.0.0.1', identity: 'gw1', keyFile },
    { host: '127.0.0.2', identity: 'gw1', keyFile: join(directory, 'other.psk') },
  ];
  const told: [string, string | undefined][] = [];
  const access = await LinkAccess.open({
    host,
    link: { name: 'lte0', localAddress: '127.0.0.1' },
    deadlineMs: millis(2000),
    security: { psk },
    handler: ({ requestIdentifier }) => Promise.resolve({ responseStatusCode: 2000, requestIdentifier }),
    onKey: (file, failure) => told.push([file, failure]),
  });
  t.teardown(() => access.close());
  t.match(told, [
    [keyFile, /is not there; make one/u],
    [psk[1]?.keyFile, /is not there; make one/u],
  ]);
  told.length = 0;

  // Whether the CSE that holds `key` is understood when it is asked, and when it asks.
  const bothWays = async (key: Buffer): Promise<boolean[]> => {
    const cse = new SecureCoapTransport(host, { identity: 'gw1', key });
    const at = await cse.listen(({ requestIdentifier }) =>
      Promise.resolve({ responseStatusCode: 2000, requestIdentifier }),
    );
    const client = access.cseClient({ cseId: '/id-mn1', pointOfAccess: at }, 'Sgw1');
    const asked = await client.retrieve('cse-mn1');
    const notify: RequestPrimitive = {
      operation: 5,
      to: 'Sgw1',
      from: '/id-mn1',
      requestIdentifier: 'n1',
      primitiveContent: {},
    };
    const own = access.pointOfAccessFor({ cseId: '/id-mn1', pointOfAccess: at });
    const notified = await cse.send(own, notify, {
      deadlineMs: millis(2000),
    });
    await cse.close();
    return [asked.ok, notified.ok];
  };
  await writeFile(keyFile, `${keyHex}\n`, { mode: 0o600 });
  t.strictSame(await bothWays(Buffer.from(keyHex, 'hex')), [true, true], 'a key that came late');
  t.strictSame(told[0], [keyFile, undefined], 'what was told is taken back');
  const renewedHex = keyHex.replaceAll('8', '9');
  await writeFile(keyFile, renewedHex, { mode: 0o600 });
  t.strictSame(await bothWays(Buffer.from(renewedHex, 'hex')), [true, true], 'a renewed key');
});

await t.test('a link that cannot be opened leaves no socket behind', async (t) => {
  const directory = await temporaryDirectory(t);
  const keyFile = join(directory, 'cse.psk');
  await writeFile(keyFile, keyHex, { mode: 0o600 });
  const taken = await host.network.openDatagram({ localAddress: '127.0.0.1' });
  const free = await host.network.openDatagram({ localAddress: '127.0.0.1' });
  await free.close();
  const options = {
    host,
    link: {
      name: 'lte0',
      localAddress: '127.0.0.1',
      port: free.local.port,
      securePort: taken.local.port,
    },
    deadlineMs: millis(1000),
    security: { psk: [{ identity: 'gw1', keyFile }] },
    handler: () => Promise.reject(new Error('nobody asks')),
  };
  await t.rejects(LinkAccess.open(options), /set another securePort of link lte0/u);
  await taken.close();
  const access = await LinkAccess.open(options);
  await access.close();
});

await t.test('a client of a CSE that was left asks again by another session', async (t) => {
  const directory = await temporaryDirectory(t);
  const { at } = await startCse(t, 'in');
  const keyFile = join(directory, 'cse.psk');
  await writeFile(keyFile, `${keyHex}\n`, { mode: 0o600 });
  const security = { psk: [{ identity: 'gw1', keyFile }] };
  const link = { name: 'lte0', localAddress: '127.0.0.1' };
  const access = await LinkAccess.open({ host, link, deadlineMs: millis(2000), security });
  const cse = { cseId: '/id-in', pointOfAccess: at };
  const client = access.cseClient(cse, 'CAdmin');
  t.ok((await client.retrieve('cse-in')).ok);
  await access.leave(cse);
  t.ok((await client.retrieve('cse-in')).ok, 'left, and asked again');
  await access.close();
  t.match(await client.retrieve('cse-in'), { ok: false, error: { kind: 'unreachable' } }, 'not once closed');
});
