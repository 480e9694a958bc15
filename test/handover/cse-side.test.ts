// Proves the requests of a handover against CSE doubles over a network in memory: the serving record as compare-and-swap
// (two gateways, lost answers, ledgers, what others write into it), the bundle context (cost in round trips, repeats,
// take-over, undo, release by the CSE's own clock), the discovery of targets whatever is published there.
import * as fc from 'fast-check';
import t from 'tap';
import { DecodeError } from '../../src/base/errors.ts';
import { cseId, epoch, millis, seq, streamName, unixMillis } from '../../src/base/units.ts';
import type { Epoch, Seq, StreamName } from '../../src/base/units.ts';
import { discoverCandidates, parseTarget } from '../../src/handover/candidate-discovery.ts';
import { BundleContext } from '../../src/handover/context.ts';
import { gatewayBundle } from '../../src/handover/bundle-manifest.ts';
import type { BundleState } from '../../src/handover/repair-plan.ts';
import { homeAeOf, provisionHomeAe } from '../../src/handover/home-ae.ts';
import type { WorkOutcome } from '../../src/handover/runner.ts';
import { ServingRecord, decodeServingEntry } from '../../src/handover/serving-record.ts';
import type { ServingEntry } from '../../src/handover/serving-record.ts';
import type { CseReference } from '../../src/handover/handover-state.ts';
import type { CseClient } from '../../src/onem2m/cse-client.ts';
import { Operation, ResourceType } from '../../src/onem2m/enums.ts';
import { parseTimestamp } from '../../src/onem2m/primitives.ts';
import type { PrimitiveContent } from '../../src/onem2m/resources.ts';
import type { Misbehaviour, MisbehaviourRule } from '../../src/testbed/cse/misbehaviour.ts';
import { CseWorld, adminOriginator, pointsOfAccess } from '../testbed/cse-world.ts';

const latencyMs = millis(10);
const mn1: CseReference = {
  cseId: cseId('/id-mn1'),
  cseBaseName: 'cse-mn1',
  pointOfAccess: pointsOfAccess.mn1,
};
const ownPointOfAccess = 'coap://198.51.100.7:5683';
const home = homeAeOf('gw1', 'cse-in');
const container = `${home.address}/serving`;
const deadlineMs = millis(500);

async function openWorld(
  settings: ConstructorParameters<typeof CseWorld>[0]['settings'] = {},
): Promise<CseWorld> {
  const world = new CseWorld({ seed: 1, latencyMs, settings });
  await world.start();
  const client = world.client(home.aeId, 'in');
  const made = await provisionHomeAe(client, home, 'cse-in', {
    operators: ['COperator'],
    gatewayAeId: 'Sgw1',
  });
  if (!made.ok) throw new Error(made.error.message);
  return world;
}

function recordOf(world: CseWorld): ServingRecord {
  return new ServingRecord(world.client(home.aeId, 'in', deadlineMs), container);
}

function entryOf(at: number, nonce: string): ServingEntry {
  return {
    epoch: epoch(at),
    nonce,
    cse: mn1,
    link: 'cell0',
    aes: { gw1: 'Sgw1' },
    previousEpoch: epoch(at - 1),
    unixMs: unixMillis(1),
  };
}

/** Meets one request so, and then behaves. */
function once(misbehaviour: Misbehaviour, rule: MisbehaviourRule): void {
  misbehaviour.add({ count: 1, ...rule });
}

void t.test('home AE: repeated, and never taken from another', async (t) => {
  const world = await openWorld();
  t.teardown(() => world.stop());
  const rights = { operators: [], gatewayAeId: 'Sgw1' };
  t.same(await provisionHomeAe(world.client(home.aeId, 'in'), home, 'cse-in', rights), {
    ok: true,
    value: 'kept',
  });
  const foreign = await provisionHomeAe(world.client('Sother', 'in'), home, 'cse-in', rights);
  t.notOk(foreign.ok);
});

void t.test('serving record: one of two gateways gets an epoch', async (t) => {
  const world = await openWorld();
  t.teardown(() => world.stop());
  const [first, second] = [recordOf(world), recordOf(world)];
  t.same(await first.latestEpoch(), { ok: true, value: 0 }, 'an empty record holds epoch 0');
  const both = await Promise.all([first.claim(entryOf(1, 'one')), second.claim(entryOf(1, 'two'))]);
  t.same(both.map(({ kind }) => kind).sort(), ['lost', 'succeeded'], 'also when they claim at once');
  const winner = both[0].kind === 'succeeded' ? 'one' : 'two';
  t.same((await first.claim(entryOf(1, winner))).kind, 'succeeded', 'a repeat under the same nonce holds');
  t.same((await first.claim(entryOf(1, 'third'))).kind, 'lost');
  t.same((await first.claim(entryOf(2, 'x'))).kind, 'succeeded');
  t.same((await second.claim(entryOf(1, winner))).kind, 'succeeded', 'and knows its claim later on');
  t.same((await second.claim({ ...entryOf(1, 'y'), epoch: epoch(0) })).kind, 'lost', 'a past epoch is lost');
  const held = await world.client(home.aeId, 'in').retrieve(`${container}/e1`);
  if (!held.ok) throw new Error(held.error.message);
  const entry = decodeServingEntry(held.value.primitiveContent?.contentInstance?.content);
  t.same(entry, entryOf(1, winner), 'what is read is what was claimed');
  for (const junk of [undefined, 7, {}, { nonce: 'x', link: 'l', cse: {} }, { ...entry, epoch: 'a' }]) {
    t.throws(() => decodeServingEntry(junk), DecodeError);
  }
});

void t.test('serving record: lost answers', async (t) => {
  const world = await openWorld();
  t.teardown(() => world.stop());
  const record = recordOf(world);
  const { misbehaviour } = world.cses.in;
  const isClaim = { operation: Operation.create, to: container } as const;
  once(misbehaviour, { ...isClaim, action: { kind: 'dropAnswer' } });
  t.same((await record.claim(entryOf(1, 'mine'))).kind, 'failed', 'no answer leaves it open');
  t.same((await record.claim(entryOf(1, 'mine'))).kind, 'succeeded', 'the nonce tells that it was made');
  once(misbehaviour, { ...isClaim, action: { kind: 'dropAnswer' } });
  await record.claim(entryOf(2, 'other'));
  t.same((await record.claim(entryOf(2, 'mine'))).kind, 'lost', 'or that another made it');
  once(misbehaviour, { ...isClaim, action: { kind: 'dropRequest' } });
  t.same((await record.claim(entryOf(3, 'mine'))).kind, 'failed');
  t.same((await record.claim(entryOf(3, 'mine'))).kind, 'succeeded', 'or that it was not made');
  once(misbehaviour, { ...isClaim, action: { kind: 'answer', responseStatusCode: 5000 } });
  t.same((await record.claim(entryOf(4, 'mine'))).kind, 'failed', 'a failure of the CSE settles nothing');
  once(misbehaviour, { ...isClaim, action: { kind: 'answer', responseStatusCode: 4103 } });
  t.same((await record.claim(entryOf(4, 'mine'))).kind, 'refused', 'a refusal settles that it was not made');
  once(misbehaviour, { ...isClaim, action: { kind: 'corrupt', corruption: 'garbageBody' } });
  t.same((await record.claim(entryOf(4, 'mine'))).kind, 'failed');
  t.same((await record.claim(entryOf(4, 'mine'))).kind, 'succeeded');

  const isRead = { operation: Operation.retrieve, to: `${container}/la` } as const;
  once(misbehaviour, { ...isClaim, action: { kind: 'dropAnswer' } });
  t.same((await record.claim(entryOf(5, 'mine'))).kind, 'failed');
  once(misbehaviour, { ...isRead, action: { kind: 'answer', responseStatusCode: 4008 } });
  t.same((await record.claim(entryOf(5, 'mine'))).kind, 'succeeded', 'no refusal of a claim that was made');
  once(misbehaviour, { ...isClaim, action: { kind: 'dropAnswer' } });
  await record.claim(entryOf(6, 'mine'));
  misbehaviour.add({
    operation: Operation.retrieve,
    count: 2,
    action: { kind: 'answer', responseStatusCode: 4103 },
  });
  t.same((await record.claim(entryOf(6, 'mine'))).kind, 'failed', 'nor while nobody can tell');
  const elsewhere = { ...entryOf(6, 'mine'), cse: { ...entryOf(6, 'mine').cse, cseId: cseId('/id-mn9') } };
  t.same(
    (await record.claim(elsewhere)).kind,
    'displaced',
    'a claim of ours for another CSE holds the epoch, but is not this one',
  );
  const renewed = entryOf(6, 'renewed');
  t.same((await record.claim(renewed, ['mine'])).kind, 'displaced', 'nor is one that was given up');
  t.same((await record.claim(renewed)).kind, 'lost');
  t.same(await record.look(epoch(6), []), { ok: true, value: { kind: 'current' } });
  t.match(await record.look(epoch(5), ['mine']), { ok: true, value: { kind: 'displaced', epoch: 6 } });
  t.match(await record.look(epoch(5), ['x']), {
    ok: true,
    value: { kind: 'overtaken', reason: /claimed epoch 6 for .id-mn1; ours is 5/ },
  });
  t.match(
    await record.look(epoch(2), ['x']),
    { ok: true, value: { kind: 'overtaken', reason: /epoch 6/ } },
    'the newest entry counts',
  );
  const operator = world.client('COperator', 'in');
  for (const at of [1, 2, 3]) await operator.delete(`${container}/e${at}`);
  t.match(
    await record.look(epoch(1), ['x']),
    { ok: true, value: { kind: 'overtaken' } },
    'also where the entries between are gone',
  );

  world.network.cut(pointsOfAccess.in);
  t.same((await record.claim(entryOf(7, 'mine'))).kind, 'failed', 'an IN-CSE out of reach leaves it open');
  world.network.heal(pointsOfAccess.in);
  const missing = new ServingRecord(world.client(home.aeId, 'in', deadlineMs), `${home.address}/nowhere`);
  t.same((await missing.claim(entryOf(1, 'mine'))).kind, 'refused', 'a missing container refuses');
  t.notOk((await missing.latestEpoch()).ok, 'and is no empty record');
});

void t.test('serving record: ledgers and foreign instances', async (t) => {
  const world = await openWorld();
  t.teardown(() => world.stop());
  const record = recordOf(world);
  const first = { [streamName('s')]: seq(1) } as Record<StreamName, Seq>;
  for (const at of [1, 2, 3]) await record.claim(entryOf(at, 'mine'));
  t.ok((await record.writeLedger(epoch(3), first)).ok);
  t.same(await record.latestEpoch(), { ok: true, value: 3 });
  t.ok((await record.writeLedger(epoch(1), first)).ok, 'a ledger that was owed for long');
  t.ok((await record.writeLedger(epoch(1), first)).ok, 'and once more');
  t.same(await record.latestEpoch(), { ok: true, value: 3 }, 'does not hide later epochs');
  t.same((await record.claim(entryOf(3, 'another'))).kind, 'lost');
  t.same((await record.claim(entryOf(4, 'mine'))).kind, 'succeeded');

  const operator = world.client('COperator', 'in');
  const junk: unknown[] = [
    'text',
    7,
    { epoch: 'x' },
    { epoch: -1 },
    { epoch: 2 ** 53 - 1 },
    { epoch: 1e300 },
    [],
  ];
  for (const [at, content] of junk.entries()) {
    const resourceName = `junk-${at}`;
    const put = await operator.create(container, ResourceType.contentInstance, {
      contentInstance: { resourceName, content },
    });
    t.ok(put.ok);
    const latest = await record.latestEpoch();
    t.match(
      latest,
      { ok: false, error: { kind: 'malformed' } },
      `${JSON.stringify(content)} is told, not believed`,
    );
    if (!latest.ok) t.match(latest.error.message, resourceName, 'with its name');
    t.same((await record.claim(entryOf(5, 'mine'))).kind, 'failed');
    await operator.delete(`${container}/${resourceName}`);
  }
  t.same((await record.claim(entryOf(5, 'mine'))).kind, 'succeeded');
});

// ---- the bundle ----

const streams = ['temperature', 'vibration', 'results'];
const bundle = new BundleContext(
  gatewayBundle({ device: 'gw1', aeId: 'Sgw1', streams, readers: ['/id-in', '/id-in/*'] }),
);
const graceMs = millis(600_000);

interface BundleWorld {
  readonly world: CseWorld;
  readonly client: CseClient;
  readonly ensure: (at: number, state?: BundleState) => Promise<WorkOutcome>;
  /** Attributes of the resource at a path below cse-mn1. */
  readonly at: (path: string) => Readonly<Record<string, unknown>> | undefined;
  readonly labels: () => readonly string[];
}

async function openBundleWorld(t: { teardown(done: () => unknown): void }): Promise<BundleWorld> {
  const world = new CseWorld({ seed: 2, latencyMs });
  await world.start();
  t.teardown(() => world.stop());
  // The subscription is verified at the gateway's point of access.
  t.teardown(
    world.network.listenAe(ownPointOfAccess, (request) =>
      Promise.resolve({ responseStatusCode: 2000, requestIdentifier: request.requestIdentifier }),
    ),
  );
  const client = world.client('Sgw1', 'mn1', 1000);
  const at = (path: string): Readonly<Record<string, unknown>> | undefined =>
    world.cses.mn1.dump().find((resource) => resource.path === `cse-mn1/${path}`)?.attributes;
  return {
    world,
    client,
    ensure: (wanted, state = 'prepared') =>
      bundle[state === 'prepared' ? 'prepare' : 'repair'](
        client,
        mn1,
        { epoch: epoch(wanted), state, pointOfAccess: ownPointOfAccess },
        { deadlineMs: millis(1000) },
      ),
    at,
    labels: () => (at('gw1')?.labels ?? []) as string[],
  };
}

const mark = (at: number): { epoch: Epoch; graceMs: typeof graceMs } => ({ epoch: epoch(at), graceMs });

void t.test('bundle: prepared by levels, repeated without a trace', async (t) => {
  const { world, ensure, at, labels } = await openBundleWorld(t);
  const beginMs = world.clock.monotonicMs();
  t.same(await ensure(3), { kind: 'succeeded' });
  const roundTrips = (world.clock.monotonicMs() - beginMs) / (2 * latencyMs);
  // The AE; its children; rights and the subscription.
  t.equal(roundTrips, 3, 'the cost follows the depth of the tree, not its size');
  for (const name of [...streams, 'cmd', 'acp', 'cmd/cmd-sub']) t.ok(at(`gw1/${name}`), name);
  t.same(at('gw1')?.pointOfAccess, [ownPointOfAccess]);
  t.same(labels(), ['baton:dev=gw1', 'baton:state=prepared', 'baton:epoch=3']);
  const count = world.cses.mn1.dump().length;
  t.same(await ensure(3, 'serving'), { kind: 'succeeded' });
  t.equal(world.cses.mn1.dump().length, count, 'a repeat makes nothing new');
  t.same(labels(), ['baton:dev=gw1', 'baton:state=serving', 'baton:epoch=3']);
  await world.client(adminOriginator, 'mn1').delete('cse-mn1/gw1/vibration');
  t.same(await ensure(3, 'serving'), { kind: 'succeeded' });
  t.ok(at('gw1/vibration'), 'and mends what is missing');
});

void t.test('bundle: taken over from an earlier stay, never from another', async (t) => {
  const { world, client, ensure, at, labels } = await openBundleWorld(t);
  await ensure(3);
  await bundle.release(client, mn1, mark(3), {});
  const released = parseTimestamp(String(at('gw1')?.expirationTime)) ?? 0;
  t.same(await ensure(8), { kind: 'succeeded' }, 'our own AE of an earlier stay');
  t.same(labels().slice(1), ['baton:state=prepared', 'baton:epoch=8']);
  const extended = parseTimestamp(String(at('gw1')?.expirationTime)) ?? 0;
  t.ok(extended - released > 300 * 24 * 3_600_000, 'does not expire in the middle of the next stay');
  t.equal(at('gw1')?.requestReachability, true);
  t.ok(at('gw1/cmd/cmd-sub'), 'and notifies again');

  for (const originator of ['Sother', 'Cother']) {
    await world.client(adminOriginator, 'mn1').delete('cse-mn1/gw1');
    await world.client(originator, 'mn1').create('cse-mn1', ResourceType.ae, {
      ae: { resourceName: 'gw1', appId: 'N1', requestReachability: false, supportedReleaseVersions: ['4'] },
    });
    t.match(
      await ensure(9),
      { kind: 'failed', reason: /gw1/ },
      `an AE of ${originator} with our name is refused`,
    );
    t.same(at('gw1')?.labels, undefined, 'and left alone');
  }
  const admin = world.client(adminOriginator, 'mn1');
  const everything = { accessControlOriginators: ['all'], accessControlOperations: 63 };
  await admin.create('cse-mn1', ResourceType.accessControlPolicy, {
    accessControlPolicy: {
      resourceName: 'open',
      privileges: { accessControlRule: [everything] },
      selfPrivileges: { accessControlRule: [everything] },
    },
  });
  await admin.update('cse-mn1/gw1', { ae: { accessControlPolicyIds: ['cse-mn1/open'] } });
  const usable = await ensure(9);
  t.match(usable, { kind: 'failed', reason: /gw1 belongs to/ }, 'also when we could write to it');
  t.same(at('gw1')?.labels, undefined);
  await world.client(adminOriginator, 'mn1').delete('cse-mn1/gw1');
  await client.create('cse-mn1', ResourceType.ae, {
    ae: { resourceName: 'else', appId: 'N1', requestReachability: false, supportedReleaseVersions: ['4'] },
  });
  t.match(await ensure(9), { kind: 'failed', reason: /another name/ });
});

void t.test('bundle: what was prepared in vain is left, never deleted', async (t) => {
  const { client, ensure, at, labels } = await openBundleWorld(t);
  t.same(
    await bundle.release(client, mn1, mark(3), {}),
    { kind: 'succeeded' },
    'nothing there: nothing to do',
  );
  await ensure(4);
  await client.create('cse-mn1/gw1/temperature', ResourceType.contentInstance, {
    contentInstance: { resourceName: 'reading', content: 1 },
  });
  await ensure(7);
  t.same(await bundle.release(client, mn1, mark(7), {}), { kind: 'succeeded' });
  t.ok(at('gw1/temperature/reading'), 'readings of an earlier stay are never deleted');
  t.same(labels()[1], 'baton:state=moved');
  t.equal(at('gw1/cmd/cmd-sub'), undefined);
  await ensure(9, 'serving');
  t.same(await bundle.release(client, mn1, mark(8), {}), { kind: 'succeeded' });
  t.same(labels().slice(1), ['baton:state=serving', 'baton:epoch=9'], 'a later stay is left alone');
  t.ok(at('gw1/cmd/cmd-sub'));
});

void t.test('bundle: release by the clock of the CSE', async (t) => {
  const { world, client, ensure, at, labels } = await openBundleWorld(t);
  await ensure(3, 'serving');
  // Only the CSE's own times are used: those of the gateway do not enter, however wrong they are (I11).
  for (const stepMs of [0, 30 * 365 * 24 * 3_600_000]) {
    world.clock.stepWall(stepMs);
    await ensure(3, 'serving');
    t.same(await bundle.release(client, mn1, mark(3), {}), { kind: 'succeeded' });
    const left = (parseTimestamp(String(at('gw1')?.expirationTime)) ?? 0) - world.clock.unixMs();
    t.ok(left > graceMs - 1000 && left <= graceMs, `expires ${graceMs} ms from the CSE's now`);
    t.same(labels().slice(1), ['baton:state=moved', 'baton:epoch=3']);
    t.equal(at('gw1')?.requestReachability, false);
    t.equal(at('gw1/cmd/cmd-sub'), undefined, 'no more commands from there');
    t.same(await bundle.release(client, mn1, mark(3), {}), { kind: 'succeeded' }, 'again');
  }
  await ensure(3, 'serving');
  const before = at('gw1')?.expirationTime;
  const lastLook = (): Promise<WorkOutcome> => Promise.resolve({ kind: 'failed', reason: 'not all fetched' });
  t.match(await bundle.release(client, mn1, { ...mark(3), lastLook }, {}), { reason: 'not all fetched' });
  t.equal(labels()[1], 'baton:state=moved');
  t.equal(at('gw1')?.expirationTime, before, 'what could not be fetched does not expire');
  t.same(await bundle.release(client, mn1, mark(3), {}), { kind: 'succeeded' });
  await world.wait(graceMs + 60_000);
  t.equal(at('gw1'), undefined);
  t.same(await bundle.release(client, mn1, mark(3), {}), { kind: 'succeeded' }, 'what is gone is released');
  t.match(await bundle.label(client, mn1, { epoch: epoch(3), state: 'serving' }, {}), { kind: 'failed' });
});

function isComplete({ at, labels }: BundleWorld): boolean {
  const names = [...streams, 'cmd', 'acp', 'cmd/cmd-sub'];
  const isOpen = at('gw1')?.requestReachability === true && labels()[1] === 'baton:state=prepared';
  return isOpen && names.every((name) => at(`gw1/${name}`) !== undefined);
}

void t.test('bundle: any failing request is told, and a repeat finishes the work', async (t) => {
  const steps: [string, (b: BundleWorld) => Promise<WorkOutcome>][] = [
    ['ensure', (b) => b.ensure(3)],
    ['label', (b) => bundle.label(b.client, mn1, { epoch: epoch(3), state: 'serving' }, {})],
    ['release', (b) => bundle.release(b.client, mn1, mark(3), {})],
    ['take over', (b) => b.ensure(5)],
    ['release again', (b) => bundle.release(b.client, mn1, mark(5), {})],
  ];
  const bundleWorld = await openBundleWorld(t);
  const { misbehaviour } = bundleWorld.world.cses.mn1;
  let failures = 0;
  for (const [name, step] of steps) {
    for (const action of [{ kind: 'dropAnswer' }, { kind: 'answer', responseStatusCode: 5000 }] as const) {
      for (let skip = 0; skip < 12; skip++) {
        const take = misbehaviour.add({ action, skip, count: 1, originator: 'Sgw1' });
        const outcome = await step(bundleWorld).catch((error: unknown) => error);
        const wasHit = misbehaviour.hits > 0;
        take();
        if (!wasHit) break;
        failures++;
        const told = outcome as WorkOutcome;
        // What was asked for beside the work may fail without harm: then everything must be there.
        const isWhole =
          told.kind === 'succeeded' && ['ensure', 'take over'].includes(name) && isComplete(bundleWorld);
        if (!isWhole && (told.kind !== 'failed' || told.reason === ''))
          t.fail(`${name}, request ${skip}: ${JSON.stringify(told)}`);
      }
    }
    t.same(await step(bundleWorld), { kind: 'succeeded' }, `${name} succeeds when repeated`);
  }
  t.ok(failures > 20, `${failures} failures`);
});

// ---- discovery ----

const whole = {
  cseId: '/id-x',
  cseBaseName: 'cse-x',
  pointsOfAccess: ['coap://192.0.2.9:5683'],
  coverage: [{ arfcn: 1850, pci: 101 }],
};

void t.test('targets: both published forms', async (t) => {
  const remote = (labels: unknown): PrimitiveContent =>
    ({
      remoteCse: { cseId: '/id-x', cseBase: '/id-x/cse-x', pointOfAccess: ['coap://192.0.2.9:5683'], labels },
    }) as PrimitiveContent;
  const instance = (content: unknown): PrimitiveContent => ({ contentInstance: { content } });
  t.same(parseTarget(remote(['baton:target', 'baton:cell=1850-101'])), whole);
  t.same(parseTarget(instance(whole)), whole);
  const hosting: [unknown, unknown][] = [
    [undefined, undefined],
    ['instantiated', 'instantiated'],
    ['provisioned', 'provisioned'],
    ['INSTANTIATED', 'notProvisioned'],
    ['', 'notProvisioned'],
    [7, 'notProvisioned'],
    [{}, 'notProvisioned'],
  ];
  for (const [said, expected] of hosting) {
    t.match(
      parseTarget(instance({ ...whole, hosting: said })),
      { hosting: expected },
      `hosting ${String(said)}`,
    );
    if (typeof said !== 'string') continue;
    t.match(parseTarget(remote([`baton:mec=${said}`])), { hosting: expected }, `label baton:mec=${said}`);
  }
  t.match(parseTarget(remote(['baton:mec=instantiated', 'baton:mec=provisioned'])), {
    hosting: 'provisioned',
  });
  const many = Array.from({ length: 10_000 }, (_, pci) => ({ arfcn: 1, pci, more: 'x'.repeat(100) }));
  const big = parseTarget(instance({ ...whole, coverage: many }));
  t.ok(typeof big === 'object' && big.coverage.length === 256, 'bounded');
  t.same(typeof big === 'object' && big.coverage[0], { arfcn: 1, pci: 0 }, 'and nothing else is kept');
});

void t.test('targets: whatever is published', (t) => {
  const anything = fc.anything({ withNullPrototype: true, withBigInt: true });
  const named = fc.record(
    {
      cseId: anything,
      cseBaseName: anything,
      pointsOfAccess: anything,
      coverage: anything,
      hosting: anything,
    },
    { requiredKeys: [] },
  );
  const remote = fc.record(
    { cseId: anything, cseBase: anything, pointOfAccess: anything, labels: anything },
    { requiredKeys: [] },
  );
  const broken = fc.constantFrom({ toString: 1 }, null, '/id-x', ['/id-x'], '/id x', `/${'x'.repeat(300)}`);
  const content = fc.oneof(
    fc.record({ contentInstance: fc.oneof(anything, fc.record({ content: fc.oneof(named, anything) })) }),
    fc.record({ remoteCse: fc.oneof(remote, anything) }),
    fc.record({ contentInstance: fc.record({ content: fc.record({ ...fcWhole(), cseId: broken }) }) }),
  );
  fc.assert(
    fc.property(content, (value) => {
      const parsed = parseTarget(value as PrimitiveContent);
      if (typeof parsed === 'string') return parsed.length > 0 && parsed.length < 200;
      const { hosting = 'instantiated' } = parsed;
      return (
        parsed.cseId.startsWith('/') &&
        ['instantiated', 'provisioned', 'notProvisioned'].includes(hosting) &&
        parsed.coverage.every(({ arfcn, pci }) => Number.isInteger(arfcn) && Number.isInteger(pci)) &&
        parsed.pointsOfAccess.every((poa) => /^(?:coap|mqtt)s?:\/\//iu.test(poa))
      );
    }),
    { numRuns: 2000 },
  );
  t.end();
});

function fcWhole(): { [Key in Exclude<keyof typeof whole, 'cseId'>]: fc.Arbitrary<unknown> } {
  return {
    cseBaseName: fc.constant(whole.cseBaseName),
    pointsOfAccess: fc.constant(whole.pointsOfAccess),
    coverage: fc.constant(whole.coverage),
  };
}

void t.test('targets: discovered at the IN-CSE', async (t) => {
  const world = await openWorld({ remoteCseReaders: [home.aeId] });
  t.teardown(() => world.stop());
  const operator = world.client('COperator', 'in');
  const publish = async (name: string, content: unknown): Promise<void> => {
    const put = await operator.create(`${home.address}/targets`, ResourceType.contentInstance, {
      contentInstance: { resourceName: name, labels: ['baton:target'], content },
    });
    if (!put.ok) throw new Error(put.error.message);
  };
  const client = world.client(home.aeId, 'in');
  await publish('t1', whole);
  await publish('t2', { ...whole, hosting: 'asleep', coverage: [{ arfcn: 2, pci: 2 }] });
  await publish('t3', 'garbage');
  const found = await discoverCandidates(client, 'cse-in');
  if (!found.ok) throw new Error(found.error.message);
  const ids = found.value.candidates.map((candidate) => candidate.cseId).sort();
  t.same(ids, ['/id-mn1', '/id-mn2', '/id-x'], 'both forms');
  const x = found.value.candidates.find((candidate) => candidate.cseId === '/id-x');
  t.equal(x?.hosting, 'notProvisioned', 'of two descriptions the less ready one counts');
  t.equal(x?.coverage.length, 2);
  t.same(found.value.rejected, [
    { address: found.value.rejected[0]?.address, reason: 'its content is no object' },
  ]);

  for (let at = 0; at < 90; at++) await publish(`more-${at}`, { ...whole, cseId: `/id-more${at}` });
  const many = await discoverCandidates(client, 'cse-in');
  if (!many.ok) throw new Error(many.error.message);
  t.ok(many.value.candidates.length <= 64);
  t.equal(many.value.rejected.filter(({ reason }) => /beyond 64/.test(reason)).length, 1, 'told once');
  world.network.cut(pointsOfAccess.in);
  t.notOk((await discoverCandidates(world.client(home.aeId, 'in', 100), 'cse-in')).ok);
});
