// Proves the bundle of several AEs (G13): the plan of repair as a pure function (what is missing is made, and nothing else; what
// depends comes later), the cost of a handover in round trips and octets for 1, 10 and 40 AEs, cold, returning and warm, and what
// makes a target unfit before the claim.
import * as fc from 'fast-check';
import t from 'tap';
import { DecodeError } from '../../src/base/errors.ts';
import { cseId, epoch, millis, unixMillis } from '../../src/base/units.ts';
import {
  checkBundle,
  containerOf,
  gatewayBundle,
  policyOf,
  subscriptionOf,
} from '../../src/handover/bundle-manifest.ts';
import type { AeManifest, BundleManifest } from '../../src/handover/bundle-manifest.ts';
import { BundleContext } from '../../src/handover/context.ts';
import type { CseReference } from '../../src/handover/handover-state.ts';
import { homeAeOf, provisionHomeAe } from '../../src/handover/home-ae.ts';
import { observedIn, planRepair } from '../../src/handover/repair-plan.ts';
import type { ObservedAe, RepairPlan } from '../../src/handover/repair-plan.ts';
import { ServingRecord } from '../../src/handover/serving-record.ts';
import type { Binding } from '../../src/onem2m/binding.ts';
import { encodeCbor } from '../../src/onem2m/cbor.ts';
import { CseClient } from '../../src/onem2m/cse-client.ts';
import { Operation, ResourceType } from '../../src/onem2m/enums.ts';
import { encodeRequest, encodeResponse } from '../../src/onem2m/serialisation.ts';
import { CseWorld, adminOriginator, pointsOfAccess } from '../testbed/cse-world.ts';

const latencyMs = millis(10);
const ownPointOfAccess = 'coap://198.51.100.7:5683';
const mn1: CseReference = {
  cseId: cseId('/id-mn1'),
  cseBaseName: 'cse-mn1',
  pointOfAccess: pointsOfAccess.mn1,
};
const wanted = { epoch: epoch(3), state: 'prepared', pointOfAccess: ownPointOfAccess } as const;

/** An AE with one ACP, two containers and one subscription. */
function aeOf(name: string, more: Partial<AeManifest> = {}): AeManifest {
  const aeId = `S${name}`;
  return {
    name,
    aeId,
    appId: 'Nbaton',
    appName: 'baton',
    policy: 'acp',
    priority: 5,
    resources: [
      policyOf('acp', aeId, [{ originators: ['/id-in'], operations: 2 }]),
      containerOf('data', [subscriptionOf('sub', [aeId])]),
      containerOf('state'),
    ],
    ...more,
  };
}

/** A bundle of so many AEs; the gateway's own counts. */
function bundleOf(count: number): BundleManifest {
  const others = Array.from({ length: count - 1 }, (_, index) => aeOf(`gw1-${index + 1}`));
  return gatewayBundle({ device: 'gw1', aeId: 'Sgw1', streams: ['data'], readers: ['/id-in'], others });
}

// ---- the plan ----

/** A tree as a CSE that has carried the plan out would show it. */
function carriedOut(
  bundle: BundleManifest,
  plan: RepairPlan,
  before: Map<string, Tree> = new Map(),
): Map<string, Tree> {
  const trees = before;
  for (const request of plan.flat()) {
    const [root, body] = Object.entries(request.content)[0] ?? [];
    const attributes = (body ?? {}) as Record<string, unknown>;
    const path = request.to.split('/').slice(1);
    if (request.operation === Operation.create) {
      const parent = path.length === 0 ? undefined : treeAt(trees, path);
      const child: Tree = { attributes: { ...attributes }, children: new Map() };
      const name = String(attributes.resourceName);
      if (path.length === 0) trees.set(name, child);
      else if (parent === undefined) throw new Error(`${request.to} is not there when ${name} is made`);
      else parent.children.set(name, { ...child, root: String(root) });
      continue;
    }
    const target = treeAt(trees, path);
    if (target === undefined) throw new Error(`${request.to} is not there when it is updated`);
    const policies = attributes.accessControlPolicyIds as string[] | undefined;
    for (const policy of policies ?? []) {
      if (treeAt(trees, policy.split('/').slice(1)) === undefined)
        throw new Error(`${policy} is not there yet`);
    }
    Object.assign(target.attributes, attributes);
  }
  for (const { name } of bundle.aes) if (!trees.has(name)) throw new Error(`${name} was not made`);
  return trees;
}

interface Tree {
  readonly attributes: Record<string, unknown>;
  readonly children: Map<string, Tree>;
  readonly root?: string;
}

function treeAt(trees: Map<string, Tree>, path: readonly string[]): Tree | undefined {
  const [first = '', ...rest] = path;
  let at = trees.get(first);
  for (const name of rest) at = at?.children.get(name);
  return at;
}

/** Every place in the bundle by its path. */
function pathsOf(bundle: BundleManifest): string[] {
  const below = (parent: string, resources: AeManifest['resources']): string[] =>
    resources.flatMap(({ name, children = [] }) => [
      `${parent}/${name}`,
      ...below(`${parent}/${name}`, children),
    ]);
  return bundle.aes.flatMap(({ name, resources }) => [name, ...below(name, resources)]);
}

void t.test('plan: whatever is missing is made, in an order that works, and nothing else', (t) => {
  const bundle = bundleOf(4);
  const whole = carriedOut(bundle, planRepair(bundle, 'cse-x', new Map(), wanted));
  t.same(planRepair(bundle, 'cse-x', new Map(), wanted).length, 3, 'the depth of the tree');
  const isRefresh = ({ life }: { life?: string }): boolean => life !== undefined;
  const rest = planRepair(bundle, 'cse-x', whole, wanted).flat();
  t.same(
    rest.filter((request) => !isRefresh(request)),
    [],
    'what is whole lacks nothing',
  );
  fc.assert(
    fc.property(fc.subarray(pathsOf(bundle)), (gone) => {
      const left = carriedOut(bundle, planRepair(bundle, 'cse-x', new Map(), wanted));
      for (const path of gone) {
        const steps = path.split('/');
        const last = steps.pop() ?? '';
        if (steps.length === 0) left.delete(last);
        else treeAt(left, steps)?.children.delete(last);
      }
      const plan = planRepair(bundle, 'cse-x', left, wanted);
      const made = plan.flat().filter(({ operation }) => operation === Operation.create);
      const mended = carriedOut(bundle, plan, left);
      const isThere = pathsOf(bundle).every((path) => treeAt(mended, path.split('/')) !== undefined);
      // Below what is gone everything is gone with it.
      const missing = pathsOf(bundle).filter((path) =>
        gone.some((each) => path === each || path.startsWith(`${each}/`)),
      );
      return isThere && made.length === missing.length && plan.length <= 4;
    }),
    { numRuns: 300 },
  );
  t.end();
});

void t.test('plan: drift, priority, dependencies, groups', (t) => {
  const bundle = bundleOf(2);
  const seen = carriedOut(bundle, planRepair(bundle, 'cse-x', new Map(), wanted));
  const policy = treeAt(seen, ['gw1-1', 'acp']);
  Object.assign(policy?.attributes ?? {}, { privileges: { accessControlRule: [] } });
  const subscription = treeAt(seen, ['gw1-1', 'data', 'sub']);
  Object.assign(subscription?.attributes ?? {}, { notificationUri: ['/id-x/Sgw1-1'], extra: 1 });
  const drifted = planRepair(bundle, 'cse-x', seen, wanted)
    .flat()
    .filter(({ life }) => life === undefined);
  t.match(drifted, [{ operation: Operation.update, to: 'cse-x/gw1-1/acp', from: 'Sgw1-1' }]);
  t.equal(drifted.length, 1, 'an AE-ID in the words of the CSE is no drift');

  const group = {
    name: 'all',
    resourceType: ResourceType.group,
    root: 'group',
    attributes: { memberIds: ['./gw1/data', './low/data'], maxNrOfMembers: 5 },
  } as const;
  const ordered = checkBundle({
    device: 'gw1',
    aes: [
      aeOf('gw1', { priority: 5 }),
      aeOf('low', { priority: 1, dependsOn: ['high'] }),
      aeOf('high', { priority: 9, resources: [...aeOf('high').resources, group] }),
    ],
  });
  const plan = planRepair(ordered, 'cse-y', new Map(), wanted);
  const creations = plan.map((level) => level.filter(({ resourceType }) => resourceType === ResourceType.ae));
  t.same(
    creations.map((level) => level.map(({ ae }) => ae)).slice(0, 2),
    [['high', 'gw1'], ['low']],
    'the higher priority first, what depends a level later',
  );
  t.match(
    plan[2]?.find(({ resourceType }) => resourceType === ResourceType.group),
    { content: { group: { memberIds: ['cse-y/gw1/data', 'cse-y/low/data'] } } },
    'a group after its members, at their addresses here',
  );
  const circle = {
    device: 'x',
    aes: [aeOf('x', { dependsOn: ['y'] }), aeOf('y', { dependsOn: ['x'] })],
  } as const;
  t.throws(() => checkBundle(circle), DecodeError);
  t.throws(() => checkBundle({ device: 'x', aes: [aeOf('x', { dependsOn: ['z'] })] }), /z, which is not/);
  t.throws(() => checkBundle({ device: 'x', aes: [aeOf('x'), aeOf('x')] }), /two AEs/);
  t.throws(
    () => checkBundle({ device: 'x', aes: [aeOf('x', { policy: 'none' })] }),
    /no access control policy/,
  );
  t.end();
});

void t.test('plan: whatever a CSE shows', (t) => {
  const bundle = bundleOf(2);
  fc.assert(
    fc.property(fc.anything({ withNullPrototype: true }), (value) => {
      const observed = new Map<string, ObservedAe>([['gw1', observedIn(value)]]);
      return planRepair(bundle, 'cse-x', observed, wanted).length > 0;
    }),
    { numRuns: 500 },
  );
  t.end();
});

// ---- the cost ----

/** Counts what goes over a binding, as CBOR without the headers of a transport. */
class Counted {
  requests = 0;
  sentBytes = 0;
  receivedBytes = 0;

  over(binding: Binding): Binding {
    return {
      send: async (request, options) => {
        this.requests += 1;
        this.sentBytes += encodeCbor(encodeRequest(request)).length;
        const outcome = await binding.send(request, options);
        if (outcome.ok) this.receivedBytes += encodeCbor(encodeResponse(outcome.value)).length;
        return outcome;
      },
      close: () => binding.close(),
    };
  }
}

interface Bench {
  readonly world: CseWorld;
  readonly client: CseClient;
  readonly home: CseClient;
  readonly counted: Counted;
  /** Round trips that `work` takes. */
  readonly trips: (work: () => Promise<{ kind: string }>) => Promise<number>;
}

async function openBench(t: { teardown(done: () => unknown): void }, more = {}): Promise<Bench> {
  const world = new CseWorld({ seed: 3, latencyMs, settings: more });
  await world.start();
  t.teardown(() => world.stop());
  t.teardown(
    world.network.listenAe(ownPointOfAccess, (request) =>
      Promise.resolve({ responseStatusCode: 2000, requestIdentifier: request.requestIdentifier }),
    ),
  );
  const counted = new Counted();
  const clientAt = (name: 'in' | 'mn1', originator: string): CseClient => {
    const counting = counted.over(world.network.binding(pointsOfAccess[name], ownPointOfAccess));
    return new CseClient({
      originator,
      entropy: world.entropy.fork(originator),
      deadlineMs: millis(2000),
      binding: { ...counting, send: (request, options) => world.until(counting.send(request, options)) },
    });
  };
  const homeAe = homeAeOf('gw1', 'cse-in');
  const home = clientAt('in', homeAe.aeId);
  const rights = { operators: [], gatewayAeId: 'Sgw1' };
  const made = await provisionHomeAe(home, homeAe, 'cse-in', rights);
  if (!made.ok) throw new Error(made.error.message);
  return {
    world,
    client: clientAt('mn1', 'Sgw1'),
    home,
    counted,
    trips: async (work) => {
      const beginMs = world.clock.monotonicMs();
      const outcome = await work();
      if (outcome.kind !== 'succeeded') throw new Error(JSON.stringify(outcome));
      return (world.clock.monotonicMs() - beginMs) / (2 * latencyMs);
    },
  };
}

void t.test('cost: round trips from the decision to the switch do not grow with the bundle', async (t) => {
  const rows: Record<string, number>[] = [];
  for (const count of [1, 10, 40]) {
    const { world, client, home, counted, trips } = await openBench(t);
    const context = new BundleContext(bundleOf(count));
    const record = new ServingRecord(home, 'cse-in/gw1-home/serving');
    // What the worker does to verify: an instance in the command container, whose notification comes back.
    const verify = async (): Promise<{ kind: string }> => {
      const echo = await client.create(context.commandAddress(mn1), ResourceType.contentInstance, {
        contentInstance: { content: 1 },
      });
      return { kind: echo.ok ? 'succeeded' : 'failed' };
    };
    const claim = (at: number): Promise<{ kind: string }> =>
      record.claim({
        epoch: epoch(at),
        nonce: 'n',
        cse: mn1,
        link: 'cell0',
        aes: {},
        previousEpoch: epoch(at - 1),
        unixMs: unixMillis(1),
      });
    const options = { deadlineMs: millis(2000) };
    const cold = { ...counted };
    const prepared = await trips(() => context.prepare(client, mn1, wanted, options));
    const verified = await trips(verify);
    const claimed = await trips(() => claim(1));
    const sentBytes = counted.sentBytes - cold.sentBytes;
    const receivedBytes = counted.receivedBytes - cold.receivedBytes;
    const requests = counted.requests - cold.requests;
    const resources = world.cses.mn1.dump().filter(({ path }) => path.startsWith('cse-mn1/gw1')).length;
    t.equal(resources, 8 + (count - 1) * 5, 'everything is there');
    await context.release(client, mn1, { epoch: epoch(3), graceMs: millis(600_000) }, options);
    const returning = await trips(() =>
      context.prepare(client, mn1, { ...wanted, epoch: epoch(4) }, options),
    );
    const warm = await trips(() => claim(2));
    t.ok(
      prepared + verified + claimed <= 6,
      `${count} AEs, nothing prepared: ${prepared + verified + claimed}`,
    );
    t.ok(returning + verified + warm <= 6, `${count} AEs, returning: ${returning + verified + warm}`);
    t.ok(warm <= 2, `${count} AEs, warm standby: ${warm}`);
    rows.push({ prepared, verified, claimed, returning, warm });
    t.comment(`${count} AEs: ${requests} requests, ${sentBytes} octets up, ${receivedBytes} down`);
  }
  t.same(rows[1], rows[0], '10 AEs cost what one does');
  t.same(rows[2], rows[0], 'and so do 40');
});

void t.test('a target that is unfit is known before the claim', async (t) => {
  const bundle = bundleOf(3);
  const context = new BundleContext(bundle);
  const options = { deadlineMs: millis(2000) };
  const { world, client } = await openBench(t);
  const failOn = async (to: string, resourceType: number): Promise<unknown> => {
    const take = world.cses.mn1.misbehaviour.add({
      action: { kind: 'answer', responseStatusCode: 5207 },
      operation: Operation.create,
      resourceType,
      to,
    });
    const outcome = await context.prepare(client, mn1, wanted, options);
    take();
    return outcome;
  };
  t.match(await failOn('cse-mn1/gw1-2', ResourceType.container), { kind: 'failed', reason: /gw1-2.*5207/ });
  t.match(
    await failOn('cse-mn1/gw1-1/data', ResourceType.subscription),
    { kind: 'failed' },
    'all or nothing',
  );
  t.same(await context.prepare(client, mn1, wanted, options), { kind: 'succeeded' });

  const series = {
    name: 'ts',
    resourceType: ResourceType.timeSeries,
    root: 'timeSeries',
    attributes: {},
  } as const;
  const admin = world.client(adminOriginator, 'mn1');
  const types = world.cses.mn1.dump()[0]?.attributes.supportedResourceType as number[];
  t.ok(types.includes(ResourceType.timeSeries));
  const exotic = { ...series, name: 'exotic', resourceType: 39 as ResourceType };
  const demanding = checkBundle({
    ...bundle,
    aes: [bundle.aes[0], aeOf('gw1-9', { resources: [...aeOf('gw1-9').resources, exotic] })],
  });
  const outcome = await new BundleContext(demanding).prepare(client, mn1, wanted, options);
  t.match(outcome, { kind: 'failed' }, 'a type that the CSE does not have');

  // A registrar that lost the owner of an AE-ID but not the AE-ID.
  await admin.delete('cse-mn1/gw1-2');
  const refusals = [
    { operation: Operation.create, to: 'cse-mn1', responseStatusCode: 4117 },
    { operation: Operation.retrieve, to: 'cse-mn1/gw1-2', responseStatusCode: 4103 },
  ];
  for (const { operation, to, responseStatusCode } of refusals) {
    world.cses.mn1.misbehaviour.add({
      action: { kind: 'answer', responseStatusCode },
      operation,
      to,
      originator: 'Sgw1-2',
    });
  }
  const stuck = await context.prepare(client, mn1, wanted, options);
  t.match(stuck, {
    kind: 'failed',
    reason: /holds our AE-ID and does not let us use.*operator has to delete/,
  });
});

void t.test('announcements follow what serves', async (t) => {
  const { world, client } = await openBench(t);
  const own = bundleOf(1).aes[0];
  const context = new BundleContext(
    checkBundle({ device: 'gw1', aes: [{ ...own, announceTo: ['/id-in'] }] }),
  );
  const options = { deadlineMs: millis(2000) };
  const announced = (): number =>
    world.cses.in.dump().filter(({ resourceType }) => resourceType === ResourceType.aeAnnc).length;
  await context.prepare(client, mn1, wanted, options);
  await world.wait(1000);
  t.equal(announced(), 0, 'what is only prepared is not announced');
  await context.label(client, mn1, { epoch: epoch(3), state: 'serving' }, options);
  await world.wait(1000);
  t.equal(announced(), 1);
  t.same(await context.release(client, mn1, { epoch: epoch(3), graceMs: millis(60_000) }, options), {
    kind: 'succeeded',
  });
  await world.wait(1000);
  const left = world.cses.mn1.dump().find(({ path }) => path === 'cse-mn1/gw1');
  t.equal(left?.attributes.announceTo, undefined, 'and what was left is not');
});
