// Proves the reader's side of the serving record: who serves (claimed, moving, left without a claim, silent), which CSE holds
// a reading (single, in a batch, at the boundary of two CSEs, in the history container, where a ledger is owed, and what is
// answered when nobody can say), watching, in memory; then `baton resolve` against CSEs on real sockets.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { cseId, epoch, millis, seq, streamName, unixMillis } from '../../src/base/units.ts';
import { homeAeOf, provisionHomeAe } from '../../src/handover/home-ae.ts';
import { ServingRecord } from '../../src/handover/serving-record.ts';
import { createNodeHost } from '../../src/host/host.ts';
import { CseClient, isRejectedWith } from '../../src/onem2m/cse-client.ts';
import { CseType, ResourceType, ResponseStatusCode } from '../../src/onem2m/enums.ts';
import type { PrimitiveContent } from '../../src/onem2m/resources.ts';
import { TestbedCse } from '../../src/testbed/cse/testbed-cse.ts';
import { ForeignCoapTransport } from '../../src/testbed/cse/transports/foreign-coap-transport.ts';
import { ServingResolver } from '../../src/uplink/serving-resolver.ts';
import { CoapBinding } from '../../src/coap/coap-binding.ts';
import { CoapEndpoint } from '../../src/coap/endpoint.ts';
import { CseWorld, pointsOfAccess } from '../testbed/cse-world.ts';

const home = homeAeOf('gw1', 'cse-in');
const stream = streamName('temperature');
const logId = '0a1b2c3d';
type Mn = 'mn1' | 'mn2';

/** Makes what a gateway would have left at the CSEs, by requests of its own. */
class Left {
  readonly record: ServingRecord;
  readonly #clientAt: (name: 'in' | Mn, originator: string) => CseClient;
  readonly #poaOf: (name: Mn) => string;

  constructor(clientAt: Left['clientAt'], poaOf: (name: Mn) => string) {
    this.#clientAt = clientAt;
    this.#poaOf = poaOf;
    this.record = new ServingRecord(clientAt('in', home.aeId), `${home.address}/serving`);
  }

  get clientAt(): (name: 'in' | Mn, originator: string) => CseClient {
    return this.#clientAt;
  }

  async provision(): Promise<void> {
    const rights = { operators: ['CReader'], gatewayAeId: 'Sgw1' };
    const made = await provisionHomeAe(this.clientAt('in', home.aeId), home, 'cse-in', rights);
    if (!made.ok) throw new Error(made.error.message);
  }

  async claim(at: number, name: Mn): Promise<void> {
    const made = await this.record.claim({
      epoch: epoch(at),
      nonce: `n${at}`,
      cse: { cseId: cseId(`/id-${name}`), cseBaseName: `cse-${name}`, pointOfAccess: this.#poaOf(name) },
      link: 'cell0',
      aes: { gw1: 'Sgw1' },
      previousEpoch: epoch(at - 1),
      unixMs: unixMillis(1_700_000_000_000 + at),
    });
    if (made.kind !== 'succeeded') throw new Error(made.kind);
  }

  async ledger(at: number, first: Readonly<Record<string, number>>): Promise<void> {
    const made = await this.record.writeLedger(epoch(at), first as never);
    if (!made.ok) throw new Error(made.error.message);
  }

  async ae(name: Mn, containers: readonly string[], state = 'serving'): Promise<void> {
    const client = this.clientAt(name, 'Sgw1');
    const base = `cse-${name}`;
    const ae = {
      ...{ resourceName: 'gw1', appId: 'Nbaton', requestReachability: false },
      ...{ supportedReleaseVersions: ['4'], labels: ['baton:dev=gw1', `baton:state=${state}`] },
    };
    await this.#make(client, base, ResourceType.ae, { ae });
    const rule = {
      accessControlRule: [
        { accessControlOriginators: ['Sgw1', '/id-in', '/id-in/*'], accessControlOperations: 63 },
      ],
    };
    const accessControlPolicy = { resourceName: 'acp', privileges: rule, selfPrivileges: rule };
    await this.#make(client, `${base}/gw1`, ResourceType.accessControlPolicy, { accessControlPolicy });
    const accessControlPolicyIds = [`${base}/gw1/acp`];
    await client.update(`${base}/gw1`, { ae: { accessControlPolicyIds } });
    for (const resourceName of containers) {
      const container = { resourceName, accessControlPolicyIds };
      await this.#make(client, `${base}/gw1`, ResourceType.container, { container });
    }
  }

  async instance(name: Mn, container: string, resourceName: string, labels: string[] = []): Promise<void> {
    const contentInstance = { resourceName, content: 'x', ...(labels.length === 0 ? {} : { labels }) };
    const client = this.clientAt(name, 'Sgw1');
    await this.#make(client, `cse-${name}/gw1/${container}`, ResourceType.contentInstance, {
      contentInstance,
    });
  }

  async #make(client: CseClient, to: string, type: ResourceType, content: PrimitiveContent): Promise<void> {
    const made = await client.create(to, type, content);
    if (!made.ok && !isRejectedWith(made.error, ResponseStatusCode.conflict))
      throw new Error(made.error.message);
  }
}

/** A past: mn1 under epochs 1 and 2 (a restart), mn2 under 3, with a backlog, back at mn1 under 4. */
async function leave(left: Left): Promise<void> {
  await left.provision();
  await left.ae('mn1', ['temperature', 'temperature.history']);
  await left.ae('mn2', ['temperature', 'temperature.history']);
  for (const [at, name] of [
    [1, 'mn1'],
    [2, 'mn1'],
    [3, 'mn2'],
    [4, 'mn1'],
  ] as const)
    await left.claim(at, name);
  await left.ledger(1, { temperature: 1 });
  await left.ledger(2, { temperature: 5 });
  await left.ledger(3, { 'temperature': 20, 'temperature.history': 11 });
  await left.ledger(4, { temperature: 30 });
  for (const at of [1, 2, 5, 10]) await left.instance('mn1', 'temperature', `${logId}-${at}`);
  await left.instance('mn2', 'temperature.history', `${logId}-11-18`);
  // The answer to it was missing when the gateway left mn1.
  await left.instance('mn1', 'temperature', `${logId}-19`);
  await left.instance('mn2', 'temperature.history', `${logId}-19`, ['baton:indoubt']);
  await left.instance('mn2', 'temperature', `${logId}-20`);
  await left.instance('mn2', 'temperature', `${logId}-21-29`);
  await left.instance('mn1', 'temperature', `${logId}-31`);
}

async function openMemory(tt: { teardown(done: () => unknown): void }): Promise<{
  world: CseWorld;
  left: Left;
  resolver: ServingResolver;
}> {
  const world = new CseWorld({ seed: 7, latencyMs: millis(10) });
  await world.start();
  tt.teardown(() => world.stop());
  const left = new Left(
    (name, originator) => world.client(originator, name, 400),
    (name) => pointsOfAccess[name],
  );
  const client = world.client('CReader', 'in', 400);
  const record = new ServingRecord(client, `${home.address}/serving`);
  const resolver = new ServingResolver({ client, record, clock: world.clock, device: 'gw1' });
  return { world, left, resolver };
}

void t.test('who serves', async (t) => {
  const { world, left, resolver } = await openMemory(t);
  t.match(
    await resolver.current(),
    { ok: false, error: { kind: 'rejected' } },
    'a device nobody provisioned',
  );
  await left.provision();
  t.same(await resolver.current({ confirm: true }), { ok: true, value: { kind: 'unclaimed' } });
  await left.ae('mn1', ['temperature']);
  await left.claim(1, 'mn1');
  t.match(await resolver.current({ confirm: true }), {
    ok: true,
    value: { kind: 'moving', isConfirmed: true },
  });
  await left.ledger(1, { temperature: 1 });
  t.match(await resolver.current({ confirm: true }), {
    ok: true,
    value: {
      kind: 'serving',
      entry: { epoch: 1, link: 'cell0', aes: { gw1: 'Sgw1' }, cse: { pointOfAccess: pointsOfAccess.mn1 } },
      aeAddress: '/id-mn1/cse-mn1/gw1',
      sinceUnixMs: 1_700_000_000_001,
      isConfirmed: true,
    },
  });
  world.network.cut(pointsOfAccess.mn1);
  t.match(
    await resolver.current({ confirm: true }),
    { ok: true, value: { kind: 'serving', isConfirmed: false, reason: String } },
    'a CSE that is silent is named, and not confirmed',
  );
  world.network.heal(pointsOfAccess.mn1);
  await left.clientAt('mn1', 'Sgw1').update('cse-mn1/gw1', { ae: { labels: ['baton:state=moved'] } });
  t.match(
    await resolver.current({ confirm: true }),
    { ok: true, value: { kind: 'left', entry: { epoch: 1 }, reason: /marked as moved/ } },
    'left provisionally: nobody was told where to',
  );
  await left.clientAt('mn1', 'Sgw1').delete('cse-mn1/gw1');
  t.match(await resolver.current({ confirm: true }), {
    ok: true,
    value: { kind: 'left', reason: /not there/ },
  });

  // What others wrote into the record does not pass for a claim.
  const operator = left.clientAt('in', 'CReader');
  await operator.create(`${home.address}/serving`, ResourceType.contentInstance, {
    contentInstance: { resourceName: 'e2', content: { epoch: 2, nonce: 7 } },
  });
  t.match(await resolver.current(), { ok: false, error: { kind: 'malformed', message: /e2/ } });
});

void t.test('which CSE holds a reading', async (t) => {
  const { world, left, resolver } = await openMemory(t);
  await left.provision();
  t.match(await resolver.holderOf(stream, seq(1)), {
    ok: true,
    value: { kind: 'unknown', reason: /nothing was ever claimed/ },
  });
  await leave(left);
  const where = async (at: number): Promise<unknown> => {
    const answer = await resolver.holderOf(stream, seq(at));
    if (!answer.ok) return answer.error;
    const { value } = answer;
    return value.kind === 'held' ? `${value.address}${value.isInDoubt ? ' ?' : ''}` : value.kind;
  };
  const table: readonly [number, string][] = [
    [1, `/id-mn1/cse-mn1/gw1/temperature/${logId}-1`],
    [5, `/id-mn1/cse-mn1/gw1/temperature/${logId}-5`],
    [10, `/id-mn1/cse-mn1/gw1/temperature/${logId}-10`],
    [14, `/id-mn2/cse-mn2/gw1/temperature.history/${logId}-11-18`],
    [19, `/id-mn2/cse-mn2/gw1/temperature.history/${logId}-19 ?`],
    [20, `/id-mn2/cse-mn2/gw1/temperature/${logId}-20`],
    [29, `/id-mn2/cse-mn2/gw1/temperature/${logId}-21-29`],
    [31, `/id-mn1/cse-mn1/gw1/temperature/${logId}-31`],
    [3, 'absent'],
    [99, 'absent'],
  ];
  for (const [at, expected] of table) t.equal(await where(at), expected, `reading ${at}`);

  // The answer to 30 was missing when mn2 was left; asked, mn2 held it: it was not sent again.
  await left.instance('mn2', 'temperature', `${logId}-30`);
  t.equal(await where(30), `/id-mn2/cse-mn2/gw1/temperature/${logId}-30`, 'at the earlier end of a boundary');
  t.match(await resolver.holderOf(streamName('other'), seq(1)), {
    ok: true,
    value: { kind: 'unknown', reason: /no ledger tells of other/ },
  });

  // A switch under way: epoch 5 is claimed for mn2, its ledger is owed.
  await left.claim(5, 'mn2');
  await left.instance('mn2', 'temperature', `${logId}-32`);
  t.equal(
    await where(31),
    `/id-mn1/cse-mn1/gw1/temperature/${logId}-31`,
    'with a ledger owed, the place before',
  );
  t.equal(await where(32), `/id-mn2/cse-mn2/gw1/temperature/${logId}-32`, 'or the new one');
  world.network.cut(pointsOfAccess.mn2);
  t.match(
    await resolver.holderOf(stream, seq(20)),
    { ok: true, value: { kind: 'named', places: [{ cse: { cseId: '/id-mn2' }, epoch: 3 }] } },
    'a CSE that cannot be asked is named',
  );
  world.network.heal(pointsOfAccess.mn2);

  // Claims that were removed, as the slow reaper does: the rest is still found.
  await left.clientAt('in', 'CReader').delete(`${home.address}/serving/e1`);
  await left.clientAt('in', 'CReader').delete(`${home.address}/serving/e2`);
  const client = world.client('CReader', 'in', 400);
  const record = new ServingRecord(client, `${home.address}/serving`);
  const fresh = new ServingResolver({ client, record, clock: world.clock, device: 'gw1' });
  t.match(await fresh.holderOf(stream, seq(20)), { ok: true, value: { kind: 'held' } });
  t.match(await fresh.holderOf(stream, seq(1)), { ok: true, value: { kind: 'absent' } });
  world.network.cut(pointsOfAccess.in);
  t.match(await fresh.holderOf(stream, seq(20)), { ok: false, error: { kind: 'deadline' } });
});

void t.test('a long past costs few round trips, once', async (t) => {
  const { world, left, resolver } = await openMemory(t);
  await left.provision();
  await left.ae('mn1', ['temperature']);
  await left.ae('mn2', ['temperature']);
  for (let at = 1; at <= 40; at++) {
    await left.claim(at, at % 2 === 0 ? 'mn2' : 'mn1');
    await left.ledger(at, { temperature: at * 10 });
  }
  await left.instance('mn1', 'temperature', `${logId}-10`);
  const askedBy = async (work: () => Promise<unknown>): Promise<number> => {
    const before = world.events.length;
    await work();
    return world.events.slice(before).filter((event) => event.kind === 'answered' && event.cseId === '/id-in')
      .length;
  };
  const cold = await askedBy(async () => {
    t.match(await resolver.holderOf(stream, seq(10)), { ok: true, value: { kind: 'held' } });
  });
  const warm = await askedBy(() => resolver.holderOf(stream, seq(10)));
  t.ok(cold <= 2 * 40 + 8, `${cold} requests for 40 epochs`);
  t.ok(warm <= 8, `${warm} once they are known`);
});

void t.test('watching', async (t) => {
  const { world, left, resolver } = await openMemory(t);
  await left.provision();
  await left.ae('mn1', []);
  const told: string[] = [];
  const stop = new AbortController();
  const watching = resolver.watch({
    periodMs: millis(1000),
    signal: stop.signal,
    onAnswer: (answer) => told.push(answer.ok ? answer.value.kind : answer.error.kind),
  });
  await world.wait(3500);
  t.same(told, ['unclaimed'], 'the same is told once');
  await left.claim(1, 'mn1');
  await left.ledger(1, {});
  await world.wait(1500);
  t.same(told, ['unclaimed', 'serving']);
  const asked = world.events.filter(({ kind }) => kind === 'answered').length;
  await world.wait(10_000);
  const more = world.events.filter(({ kind }) => kind === 'answered').length - asked;
  t.ok(more <= 40, `${more} requests in ten periods`);
  world.network.cut(pointsOfAccess.in);
  await world.wait(5000);
  t.same(told, ['unclaimed', 'serving', 'deadline'], 'a failure is told once');
  world.network.heal(pointsOfAccess.in);
  await world.wait(3000);
  t.same(told.at(-1), 'serving');
  stop.abort();
  await world.until(watching);
});

void t.test('baton resolve on real sockets', async (t) => {
  const host = createNodeHost();
  const { clock, entropy } = host;
  const open = async (name: 'in' | Mn, registrar?: string): Promise<string> => {
    const cse = new TestbedCse({
      cseId: `/id-${name}`,
      cseBaseName: `cse-${name}`,
      cseType: name === 'in' ? CseType.inCse : CseType.mnCse,
      spId: '//sp.example',
      adminOriginator: 'CAdmin',
      clock,
      entropy,
      transports: [new ForeignCoapTransport(host)],
      ...(registrar === undefined
        ? {}
        : { registrar: { cseId: '/id-in', pointOfAccess: registrar, cseBaseName: 'cse-in' } }),
    });
    await cse.start();
    t.teardown(() => cse.stop());
    return cse.pointsOfAccess[0] ?? '';
  };
  const inPoa = await open('in');
  const poas = { in: inPoa, mn1: await open('mn1', inPoa), mn2: await open('mn2', inPoa) };
  const socket = await host.network.openDatagram({ localAddress: '127.0.0.1' });
  const endpoint = new CoapEndpoint({ socket, clock, entropy });
  t.teardown(() => endpoint.close());
  const left = new Left(
    (name, originator) => {
      const peer = { address: '127.0.0.1', port: Number(new URL(poas[name]).port) };
      const binding = new CoapBinding({ endpoint, clock, peer, serialisation: 'cbor' });
      return new CseClient({ binding, originator, entropy, deadlineMs: millis(5000) });
    },
    (name) => poas[name],
  );
  await leave(left);
  const bin = fileURLToPath(new URL('../../src/gateway/bin.js', import.meta.url));
  const baton = (...args: string[]): Promise<{ code: number | null; out: string; err: string }> =>
    new Promise((resolve) => {
      const child = spawn(process.execPath, [bin, 'resolve', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
      let [out, err] = ['', ''];
      child.stdout.on('data', (data: Buffer) => (out += data.toString()));
      child.stderr.on('data', (data: Buffer) => (err += data.toString()));
      child.once('close', (code) => resolve({ code, out, err }));
    });
  const asReader = ['--in', inPoa, '--originator', 'CReader'];
  const serving = await baton('gw1', ...asReader);
  t.match(serving, { code: 0, out: /^serving: \/id-mn1 \(epoch 4, says the CSE too\)\n/u });
  t.match(serving.out, /AE-ID {12}gw1 Sgw1/u);
  const asJson = JSON.parse((await baton('gw1', ...asReader, '--json')).out) as unknown;
  t.match(asJson, { kind: 'serving', entry: { epoch: 4, cse: { pointOfAccess: poas.mn1 } } });
  const reading = (at: number): Promise<{ code: number | null; out: string }> =>
    baton('gw1', ...asReader, '--stream', 'temperature', '--seq', String(at));
  t.match(await reading(25), { code: 0, out: /^held: \/id-mn2 .*\n {2}\/id-mn2\/.*-21-29\n$/u });
  t.match(await reading(3), { code: 1, out: /^absent/u });
  t.match(await baton('gw9', ...asReader), { code: 1, err: /record of gw9 cannot be read.*provision/u });
  t.match(await baton('gw1', '--in', inPoa, '--originator', 'CStranger'), { code: 1, err: /--originator/u });
  t.match(await baton('gw1', '--seq', '1'), { code: 2, err: /go together/u });
  t.match(await baton('gw1', '--in', 'http://x'), { code: 2, err: /no coap:/u });
  t.match(await baton(), { code: 2, err: /DEVICE is missing/u });
});
