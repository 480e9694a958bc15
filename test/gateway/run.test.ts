/**
 * Proves, on the real process, what `baton run` and `baton provision` answer to a world that is not as the configuration
 * says: what cannot be used ends with exit code 1 and one line that names the thing and the way out; what may come back
 * (a link, a port, a device) leaves the gateway up, storing readings, with an alarm that says the same; and `baton status`
 * tells the figures of buffer and flash meanwhile.
 */
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type { Test } from 'tap';
import { stringify } from 'yaml';
import { millis } from '../../src/base/units.ts';
import { ControlClient } from '../../src/gateway/control-client.ts';
import { parseStatus } from '../../src/gateway/status-schema.ts';
import type { GatewayStatus } from '../../src/gateway/status.ts';
import { sleep } from '../../src/host/clock.ts';
import { createNodeHost } from '../../src/host/host.ts';
import { NodeLocalSockets } from '../../src/host/local-socket.ts';
import { openPseudoTerminal } from '../../src/host/pseudo-terminal.ts';
import { parsePointOfAccess } from '../../src/onem2m/address.ts';
import { CseType } from '../../src/onem2m/enums.ts';
import { TestbedCse } from '../../src/testbed/cse/testbed-cse.ts';
import { ForeignCoapTransport } from '../../src/testbed/cse/transports/foreign-coap-transport.ts';
import { FakeSensor } from '../../src/testbed/sensor/fake-sensor.ts';
import { readFlightLog } from '../../src/trial/recorder.ts';

t.setTimeout(60_000);

const binPath = fileURLToPath(new URL('../../src/gateway/bin.js', import.meta.url));
const host = createNodeHost();
const localSockets = new NodeLocalSockets();
const { clock } = host;

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

interface Running {
  readonly pid: number;
  readonly ended: Promise<Ended>;
  kill(signal: 'SIGINT' | 'SIGTERM'): void;
}

function start(args: readonly string[], directory?: string): Running {
  const child = spawn(process.execPath, [binPath, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(directory === undefined ? {} : { cwd: directory }),
  });
  let out = '';
  let err = '';
  child.stdout.on('data', (data: Buffer) => (out += data.toString()));
  child.stderr.on('data', (data: Buffer) => (err += data.toString()));
  const ended = new Promise<Ended>((resolve) => child.once('close', (code) => resolve({ code, out, err })));
  return { pid: child.pid ?? 0, ended, kill: (signal) => child.kill(signal) };
}

async function temporaryDirectory(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'baton-run-'));
  t.teardown(() => rm(directory, { recursive: true }));
  return directory;
}

interface World {
  readonly inCse?: string;
  readonly localAddress?: string;
  readonly port?: number;
  readonly modem?: string;
  readonly sensor?: string;
  readonly [key: string]: unknown;
}

function configText(world: World = {}): string {
  const { inCse = 'coap://127.0.0.1:9', localAddress = '127.0.0.1', port, modem, sensor, ...rest } = world;
  return stringify({
    device: 'gw1',
    dataDirectory: 'data',
    inCse: { pointOfAccess: inCse, cseId: '/id-in', cseBaseName: 'cse-in' },
    links: [
      {
        name: 'lte0',
        localAddress,
        ...(port === undefined ? {} : { port }),
        ...(modem === undefined ? {} : { modem: { path: modem } }),
      },
    ],
    sensors: [
      {
        name: 'weather',
        serialLine: { path: sensor ?? '/dev/baton-no-such-sensor', format: 'json', acknowledge: true },
        streams: [{ name: 'temperature', class: 'A' }],
      },
    ],
    handover: { phaseDeadlineMs: 300 },
    ...rest,
  });
}

async function statusOf(dataDirectory: string): Promise<GatewayStatus> {
  const client = await ControlClient.open({ clock, localSockets }, dataDirectory);
  try {
    return (await client.request('status', {})) as GatewayStatus;
  } finally {
    client.close();
  }
}

/** The status as soon as it satisfies `condition`. */
async function until(
  t: Test,
  dataDirectory: string,
  what: string,
  condition: (status: GatewayStatus) => boolean,
): Promise<GatewayStatus> {
  const endMs = clock.monotonicMs() + 15_000;
  for (;;) {
    const status = await statusOf(dataDirectory).catch(() => undefined);
    if (status !== undefined && condition(status)) return status;
    if (clock.monotonicMs() > endMs) {
      t.fail(`${what}: ${JSON.stringify(status?.alarms)}`);
      throw new Error(what);
    }
    await sleep(clock, millis(30));
  }
}

const alarmOf = (status: GatewayStatus, pattern: RegExp): string =>
  status.alarms.find(({ text }) => pattern.test(text))?.text ?? '';

void t.test('what cannot be used ends it with a clear line', async (t) => {
  const directory = await temporaryDirectory(t);
  const write = async (name: string, text: string): Promise<string> => {
    const file = join(directory, name);
    await writeFile(file, text);
    return file;
  };
  const none = join(directory, 'none.yaml');
  await write('occupied', 'a file');
  await mkdir(join(directory, 'folder'));
  const unknownKey = await write('key.yaml', configText({ devcie: 'gw2' }));
  const yaml = await write('yaml.yaml', 'device: gw1\nlinks: [\n');
  const occupied = await write('occupied.yaml', configText({ dataDirectory: 'occupied' }));
  const below = await write('below.yaml', configText({ dataDirectory: 'occupied/data' }));
  const unwritable = await write('proc.yaml', configText({ dataDirectory: '/proc/baton/data' }));
  const cases: readonly (readonly [string[], number, RegExp])[] = [
    [['run', '--config', none], 1, /none\.yaml: no such file; write one with "baton config init > .*none\.yaml"$/u],
    [['run'], 1, /^baton: baton\.yaml: no such file; write one with/u],
    [['run', '--config', unknownKey], 1, /key\.yaml:\d+: devcie: unknown key, did you mean "device"\?$/u],
    [['run', '--config', yaml], 1, /yaml\.yaml:\d: YAML: /u],
    [['run', '--config', join(directory, 'folder')], 1, /folder: cannot be used as a configuration: .*directory/u],
    [['run', '--config', occupied], 1, /the data directory .*occupied cannot be used: .*; let this user write there, or set another dataDirectory$/u],
    [['run', '--config', below], 1, /the data directory .*occupied\/data cannot be used: .*set another dataDirectory$/u],
    [['run', '--config', unwritable], 1, /the data directory \/proc\/baton\/data cannot be used: .*set another dataDirectory$/u],
    [['run', '--confg', none], 2, /unknown option "--confg", did you mean "--config"\?/u],
    [['run', 'gw.yaml'], 2, /"gw\.yaml" is one word too many/u],
  ]; // prettier-ignore
  for (const [args, code, pattern] of cases) {
    const ended = await start(args, directory).ended;
    t.equal(ended.code, code, args.join(' '));
    t.equal(ended.out, '');
    t.match(ended.err.trimEnd(), pattern);
    t.match(ended.err, /^baton: [^\n]+\n$/u, 'one line');
  }
});

void t.test('what may come back leaves it up and storing', async (t) => {
  const directory = await temporaryDirectory(t);
  const dataDirectory = join(directory, 'data');
  const file = join(directory, 'gw.yaml');
  const sensorPath = join(directory, 'sensor.tty');
  const terminal = await openPseudoTerminal({ link: sensorPath });
  const sensor = new FakeSensor({
    clock,
    seed: 1,
    streams: [{ name: 'temperature', periodMs: millis(40) }],
    write: (data) => terminal.write(data),
  });
  terminal.onData((data) => sensor.receive(data));
  sensor.start();
  t.teardown(async () => {
    sensor.stop();
    await terminal.hangUp();
  });
  const modem = '/dev/baton-no-such-modem';
  let stored = 0;

  await t.test('an address that is not there, a modem that is not there', async (t) => {
    await writeFile(file, configText({ localAddress: '192.0.2.10', modem, sensor: sensorPath }));
    const gateway = start(['run', '--config', file]);
    const status = await until(t, dataDirectory, 'stored with alarms', ({ buffer, alarms }) => {
      return buffer.stored > 5 && alarms.length >= 2;
    });
    t.match(
      alarmOf(status, /^link lte0/u),
      /192\.0\.2\.10.*bring the link up, or set localAddress of link lte0 .*not 192\.0\.2\.10; readings are stored meanwhile$/u,
    );
    t.match(
      alarmOf(status, /^modem lte0/u),
      /cannot open serial line \/dev\/baton-no-such-modem: No such file or directory; plug the device in, or set its path/u,
    );
    t.match(status.sensors, [{ name: 'weather', state: 'ready' }]);

    const second = await start(['run', '--config', file]).ended;
    t.equal(second.code, 1, 'one gateway per data directory');
    t.match(
      second.err,
      new RegExp(
        `^baton: .*data belongs to the gateway with pid ${gateway.pid}; stop it first .*another dataDirectory\n$`,
        'u',
      ),
    );
    const shown = await start(['status', '--config', file]).ended;
    t.equal(shown.code, 0);
    t.match(
      shown.out.replace(/\s+/gu, ' '),
      /! link lte0: .* readings are stored meanwhile/u,
      'the whole alarm',
    );
    const json = await start(['status', '--config', file, '--json']).ended;
    const told = parseStatus(JSON.parse(json.out));
    const { buffer, flash } = told;
    t.equal(buffer.stored, buffer.delivered + buffer.evicted + buffer.corrupt + buffer.pending);
    t.equal(buffer.capacityBytes, 512 * 1024 * 1024);
    t.ok(flash !== undefined && flash.deviceBytes >= flash.commits * 4096 && flash.payloadBytes > 0);
    t.equal(
      flash?.writeAmplification?.toFixed(1),
      ((flash?.deviceBytes ?? 0) / (flash?.payloadBytes ?? 1)).toFixed(1),
    );
    t.ok(flash?.disk.name !== undefined || flash?.disk.reason !== undefined, 'a disk, or why it is unknown');
    for (const pattern of [
      /^ {2}space 512\.0 MiB/mu,
      /^ {2}flash .* written for .* of readings, /mu,
      /^ {2}disk /mu,
    ])
      t.match(shown.out, pattern);

    gateway.kill('SIGINT');
    const ended = await gateway.ended;
    t.match(ended, { code: 0, err: '' });
    t.match(ended.out, /^error alarm: link lte0: cannot open UDP 192\.0\.2\.10/mu);
    t.equal(ended.out.match(/cannot open serial line/gu)?.length, 1, 'an alarm is told once');
    t.match(
      ended.out,
      /^info +buffer: streams by durability class A 2; capacity 512\.0 MiB, used .*, pending=\d+.*; disk .*; wall clock /mu,
      'the line of the start',
    );
    const { events } = await readFlightLog(host.filesystem, join(dataDirectory, 'flight'));
    t.match(
      events.find(({ kind }) => kind === 'buffer'),
      { buffer: { capacityBytes: 512 * 1024 * 1024 }, flash: { disk: { type: String } } },
      'the flight log has the figures',
    );
    stored = sensor.report()['temperature']?.acknowledged ?? 0;
  });

  await t.test('a port that another program has, until it gives it up', async (t) => {
    const holder = await host.network.openDatagram({ localAddress: '127.0.0.1' });
    const { port } = holder.local;
    await writeFile(file, configText({ port, sensor: sensorPath }));
    const gateway = start(['run', '--config', file]);
    const blocked = await until(t, dataDirectory, 'stored with alarm', ({ buffer, alarms }) => {
      return buffer.stored > stored && alarms.length > 0;
    });
    t.match(
      alarmOf(blocked, /^link lte0/u),
      new RegExp(
        `127\\.0\\.0\\.1 port ${port}: .*EADDRINUSE.*; end the program that uses it .* or set another port of link lte0;`,
        'u',
      ),
    );
    await holder.close();
    const open = await until(t, dataDirectory, 'link open, IN-CSE dead', (status) => {
      return alarmOf(status, /^link lte0/u) === '' && alarmOf(status, /coap:\/\/127\.0\.0\.1:9/u) !== '';
    });
    t.match(open.alarms, [{ text: /^no candidates from coap:\/\/127\.0\.0\.1:9: / }]);
    t.equal(open.buffer.pending, open.buffer.stored, 'what earlier runs stored waits as well');
    gateway.kill('SIGTERM');
    t.match(await gateway.ended, { code: 0, err: '' });
  });
});

void t.test('provision', async (t) => {
  const directory = await temporaryDirectory(t);
  const cse = new TestbedCse({
    cseId: '/id-in',
    cseBaseName: 'cse-in',
    cseType: CseType.inCse,
    adminOriginator: 'CAdmin',
    spId: '//sp.example',
    serialisation: 'cbor',
    clock,
    entropy: host.entropy,
    transports: [new ForeignCoapTransport({ network: host.network, clock })],
  });
  await cse.start();
  t.teardown(() => cse.stop());
  const [inCse] = cse.pointsOfAccess;
  const provision = async (world: World, ...args: string[]): Promise<Ended> => {
    const file = join(directory, 'gw.yaml');
    await writeFile(file, configText(world));
    return start(['provision', '--config', file, ...args]).ended;
  };
  const live = { inCse: String(inCse) };

  cse.misbehaviour.add({ action: { kind: 'answer', responseStatusCode: 4103 }, count: 2 });
  const refused = await provision(live);
  t.match(refused, { code: 1, out: '', err: /4103.*; allow the originator \S+ to register there\n$/u });

  const created = await provision(live, '--operator', 'CAdmin');
  t.same(created, { code: 0, out: 'home AE cse-in/gw1-home created\n', err: '' });
  const before = cse.dump().map(({ path }) => path);
  for (const name of ['serving', 'cmd', 'targets', 'policy', 'intents', 'events']) {
    t.ok(before.includes(`cse-in/gw1-home/${name}`), name);
  }
  const kept = await provision(live, '--operator', 'CAdmin');
  t.same(kept, { code: 0, out: 'home AE cse-in/gw1-home was there, kept\n', err: '' });
  t.same(
    cse.dump().map(({ path }) => path),
    before,
    'the second time makes nothing anew',
  );

  cse.misbehaviour.add({ action: { kind: 'dropAnswer' }, count: 1 });
  t.match(await provision(live), { code: 0, out: /kept\n$/u }, 'a lost answer is asked for again');

  const dead = await host.network.openDatagram({ localAddress: '127.0.0.1' });
  await dead.close();
  const failures: readonly (readonly [World, RegExp])[] = [
    [{ inCse: `coap://127.0.0.1:${dead.local.port}` }, new RegExp(`no answer within \\d+ ms; check inCse\\.pointOfAccess \\(coap://127\\.0\\.0\\.1:${dead.local.port}\\)`, 'u')],
    [{ inCse: 'coap://baton.invalid:5683' }, /host name baton\.invalid has no address: .*; check inCse\.pointOfAccess/u],
    [{ ...live, localAddress: '192.0.2.10' }, /192\.0\.2\.10.*; bring the link up, or set localAddress of link lte0/u],
  ]; // prettier-ignore
  for (const [world, pattern] of failures) {
    const ended = await provision(world);
    t.match(ended, { code: 1, out: '' });
    t.match(ended.err, /^baton: [^\n]+\n$/u, 'one line');
    t.match(ended.err, pattern);
  }
  t.ok(parsePointOfAccess(live.inCse), 'the CSE was there');
});
