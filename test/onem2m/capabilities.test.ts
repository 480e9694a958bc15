// Proves that a probe finds out what a CSE can do, against the CSE of the testbed as it is and with scripted defects: every
// trial says yes where the CSE can and no where it cannot; what cannot be tried is unknown with a reason; nothing stays at
// the CSE afterwards, a silent CSE costs a bounded number of requests; and what is known is kept under the identity of the
// CSE, grows old, survives its way through JSON, and goes before what is known of the product.
import t from 'tap';
import type { Test } from 'tap';
import { DecodeError } from '../../src/base/errors.ts';
import { err, ok } from '../../src/base/result.ts';
import { millis, unixMillis } from '../../src/base/units.ts';
import type { Binding } from '../../src/onem2m/binding.ts';
import {
  CapabilityMemory,
  decodeCapabilityMemory,
  effectiveCapabilities,
  encodeCapabilityMemory,
  findingLifetimeMs,
  isSameCse,
  rememberedCsesMax,
} from '../../src/onem2m/capabilities.ts';
import type { CseCapabilities, Finding } from '../../src/onem2m/capabilities.ts';
import { capabilityMeanings, capabilityNames } from '../../src/onem2m/capability-names.ts';
import type { CapabilityName } from '../../src/onem2m/capability-names.ts';
import { CapabilityProbe } from '../../src/onem2m/capability-probe.ts';
import type { ProbeOptions } from '../../src/onem2m/capability-probe.ts';
import { probeCosts } from '../../src/onem2m/capability-trials.ts';
import { Operation, ResourceType } from '../../src/onem2m/enums.ts';
import { productOf, quirksOf } from '../../src/onem2m/quirks.ts';
import type { PrimitiveContent } from '../../src/onem2m/resources.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { CseWorld, pointsOfAccess } from '../testbed/cse-world.ts';

const deadlineMs = millis(1_000);

/** A probe of mn1 in a world of its own; time passes while it waits. */
async function probeOf(
  t: Test,
  options: Partial<ProbeOptions> = {},
): Promise<{ world: CseWorld; probe: CapabilityProbe; seen: string[] }> {
  const world = new CseWorld({ seed: 51 });
  await world.start();
  t.teardown(() => world.stop());
  const seen: string[] = [];
  const arrivals = new Map<string, () => void>();
  world.network.listenAe('mem://probe', (request) => {
    const { notificationEvent } = request.primitiveContent?.notification ?? {};
    arrivals.get(notificationEvent?.representation?.contentInstance?.resourceName ?? '')?.();
    return Promise.resolve({ responseStatusCode: 2000, requestIdentifier: request.requestIdentifier });
  });
  const binding = world.network.binding(pointsOfAccess.mn1);
  const probe = new CapabilityProbe({
    clock: world.clock,
    entropy: new SeededEntropy(9),
    bindingFor: (dialect) => {
      seen.push(`${dialect.optionSet} ${dialect.serialisation}`);
      return {
        send: (request, limits) => world.until(binding.send(request, limits)),
        close: () => Promise.resolve(),
      };
    },
    protocol: 'coap',
    deadlineMs,
    pointOfAccess: 'mem://probe',
    heard: (name, signal) =>
      new Promise((resolve, reject) => {
        arrivals.set(name, resolve);
        signal.addEventListener('abort', () => reject(new Error('silence')), { once: true });
      }),
    siblingCseId: '/id-mn2',
    ...options,
  });
  return { world, probe, seen };
}

function values(known: CseCapabilities): Record<string, string> {
  return Object.fromEntries(Object.entries(known.findings).map(([name, { value }]) => [name, value]));
}

const left = (world: CseWorld): string[] =>
  world.cses.mn1.dump().map(({ path }) => path).filter((path) => path.includes('probe')); // prettier-ignore

await t.test('the first contact changes nothing and tells who the CSE is', async (t) => {
  const { world, probe, seen } = await probeOf(t);
  const before = world.cses.mn1.dump().length;
  const contact = await probe.contact();
  // Nobody without a registration may read the CSEBase: a refusal is an answer.
  t.match(contact, { ok: true, value: { dialect: { optionSet: 'r3', serialisation: 'cbor' } } });
  t.equal(probe.requests, 1);
  t.same(seen, ['r3 cbor']);
  t.equal(world.cses.mn1.dump().length, before);
  await world.stop();
});

await t.test('what the CSE of the testbed can do', async (t) => {
  const { world, probe } = await probeOf(t);
  const known = await world.until(probe.run(capabilityNames));
  t.ok(known.ok);
  if (!known.ok) return;
  for (const [name, { value, detail }] of Object.entries(known.value.findings))
    t.comment(`${name}: ${value}, ${detail}`);
  t.match(values(known.value), {
    cbor: 'yes',
    fixedResourceName: 'yes',
    resultContentNothing: 'yes',
    notificationsOverCoap: 'yes',
    notificationsOverMqtt: 'unknown',
    pollingChannel: 'yes',
    nonBlocking: 'yes',
    registrationTracking: 'unknown',
    siblingTransit: 'yes',
    blockwise: 'yes',
    limitAfterFilter: 'yes',
    groupFanOut: 'yes',
    releaseThreeOptions: 'yes',
  });
  t.same(left(world), [], 'nothing stays there');
  const bound = Object.values(probeCosts).reduce((sum, cost) => sum + cost, 8);
  t.ok(probe.requests <= bound, `${probe.requests} requests, ${bound} at most`);
  for (const { foundMs } of Object.values(known.value.findings)) t.type(foundMs, 'number');
});

await t.test('defects show, one by one', async (t) => {
  const rows: readonly (readonly [CapabilityName, Parameters<CseWorld['cses']['mn1']['misbehaviour']['add']>[0]])[] = [
    ['notificationsOverCoap', { direction: 'outgoing', operation: Operation.notify, action: { kind: 'dropRequest' } }],
    ['pollingChannel', { resourceType: ResourceType.pollingChannel, operation: Operation.create, action: { kind: 'answer', responseStatusCode: 4000 } }],
    ['nonBlocking', { resourceType: ResourceType.request, action: { kind: 'dropRequest' } }],
    ['siblingTransit', { to: '/id-mn2/-', action: { kind: 'answer', responseStatusCode: 4004 } }],
    ['groupFanOut', { to: '*/fopt', action: { kind: 'dropRequest' } }],
    ['fixedResourceName', { resourceType: ResourceType.contentInstance, operation: Operation.create, skip: 1, action: { kind: 'answer', responseStatusCode: 2001 } }],
    ['limitAfterFilter', { operation: Operation.retrieve, to: '*probe-*', skip: 1, action: { kind: 'answer', responseStatusCode: 2000 } }],
  ]; // prettier-ignore
  for (const [name, rule] of rows) {
    const { world, probe } = await probeOf(t);
    world.cses.mn1.misbehaviour.add(rule);
    const known = await world.until(probe.run([name]));
    t.ok(known.ok);
    const finding = known.ok ? known.value.findings[name] : undefined;
    t.equal(finding?.value, 'no', `${name}: ${finding?.detail}`);
    t.ok((finding?.detail ?? '').length > 5);
    t.same(left(world), [], `${name}: nothing stays there`);
    await world.stop();
  }
});

await t.test('an AE that is in use is left alone', async (t) => {
  const { world, probe } = await probeOf(t, { originator: 'Cgw' });
  const client = world.client('Cgw', 'mn1');
  const ae = { resourceName: 'gw', appId: 'Nx', requestReachability: true, pointOfAccess: ['mem://gw'], supportedReleaseVersions: ['4'] }; // prettier-ignore
  await client.create('cse-mn1', ResourceType.ae, { ae });
  const before = await client.retrieve('Cgw');
  const known = await world.until(probe.run(capabilityNames));
  t.ok(known.ok);
  if (!known.ok) return;
  t.match(values(known.value), {
    notificationsOverCoap: 'unknown',
    pollingChannel: 'unknown',
    spScopedStem: 'unknown',
    groupFanOut: 'yes',
  });
  const after = await client.retrieve('Cgw');
  t.ok(before.ok && after.ok);
  if (before.ok && after.ok) t.same(after.value.primitiveContent, before.value.primitiveContent);
  t.same(left(world), []);
});

await t.test('silence, refusals and other dialects', async (t) => {
  const scripted = (answer: (dialect: string) => number | 'silence' | 'unreachable'): CapabilityProbe =>
    new CapabilityProbe({
      clock: new CseWorld({ seed: 1 }).clock,
      entropy: new SeededEntropy(1),
      protocol: 'coap',
      bindingFor: ({ optionSet, serialisation }): Binding => ({
        send: ({ requestIdentifier }) => {
          const said = answer(`${optionSet} ${serialisation}`);
          if (said === 'silence') return Promise.resolve(err({ kind: 'deadline', message: 'silence' }));
          if (said === 'unreachable')
            return Promise.resolve(err({ kind: 'unreachable', message: 'no route' }));
          return Promise.resolve(ok({ responseStatusCode: said, requestIdentifier }));
        },
        close: () => Promise.resolve(),
      }),
    });
  const silent = scripted(() => 'silence');
  t.match(await silent.run(capabilityNames), { ok: false, error: { kind: 'deadline' } });
  t.equal(silent.requests, 3, 'three requests, and no more');
  const nowhere = scripted(() => 'unreachable');
  t.match(await nowhere.contact(), { ok: false, error: { kind: 'unreachable' } });
  t.equal(nowhere.requests, 1);
  t.match(await scripted(() => 4103).contact(), { ok: true, value: { dialect: { serialisation: 'cbor' } } }, 'proof of life'); // prettier-ignore
  const json = await scripted((dialect) => (dialect === 'r3 cbor' ? 4015 : 4103)).contact();
  t.match(json, {
    ok: true,
    value: { dialect: { optionSet: 'r3', serialisation: 'json' }, findings: { cbor: { value: 'no' } } },
  });
  const old = await scripted((dialect) => (dialect === 'r2 json' ? 4103 : 'silence')).contact();
  t.match(old, { ok: true, value: { dialect: { optionSet: 'r2' }, identity: { product: 'mobius' }, findings: { releaseThreeOptions: { value: 'no' } } } }); // prettier-ignore
});

/** Kinds of values that an attribute should not have; the last has no text. */
const nonsense: readonly unknown[] = [null, 7, '', 'x', true, [], [7], [null], {}, { toString: 1 }];

/** The body with some values exchanged for nonsense. */
function spoilt(entropy: SeededEntropy, value: unknown): unknown {
  if (entropy.uint32() % 6 === 0) return nonsense[entropy.uint32() % nonsense.length];
  if (Array.isArray(value)) return value.map((each) => spoilt(entropy, each));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, spoilt(entropy, inner)]));
}

await t.test('a CSE that answers nonsense', async (t) => {
  for (let seed = 1; seed <= 60; seed++) {
    const entropy = new SeededEntropy(seed);
    const send: Binding['send'] = async (request, limits) => {
      const binding = world.network.binding(pointsOfAccess.mn1);
      const answer = await world.until(binding.send(request, limits));
      if (!answer.ok) return answer;
      const { primitiveContent: _, ...rest } = answer.value;
      const isContact = request.to === '-';
      const cseBase = Object.fromEntries(
        ['cseId', 'resourceName', 'resourceId', 'creationTime', 'currentTime', 'contentSerialization', 'pointOfAccess', 'supportedReleaseVersions'] // prettier-ignore
          .map((name) => [name, nonsense[entropy.uint32() % nonsense.length]]),
      );
      const primitiveContent = isContact ? { cseBase } : spoilt(entropy, answer.value.primitiveContent ?? {});
      const code = isContact ? { responseStatusCode: 2000 } : {};
      const isObject = typeof primitiveContent === 'object' && primitiveContent !== null;
      return ok({
        ...rest,
        ...code,
        ...(isObject ? { primitiveContent: primitiveContent as PrimitiveContent } : {}),
      });
    };
    const { world, probe } = await probeOf(t, {
      bindingFor: () => ({ send, close: () => Promise.resolve() }),
    });
    const known = await world.until(probe.run(capabilityNames)).catch((error: unknown) => error);
    t.match(known, { ok: true }, `seed ${seed}: it is probed to the end`);
    await world.stop();
  }
});

await t.test('products by what they cannot hide', (t) => {
  const cseBase = { cseId: '/id-mn1', resourceId: 'id-mn1', creationTime: '20260101T000000' };
  const hasReleaseThreeOptions = true;
  t.equal(productOf({ hasReleaseThreeOptions, originatingTimestamp: '20260101T000000,123456' }), 'acme');
  t.equal(
    productOf({ hasReleaseThreeOptions, cseBase: { ...cseBase, creationTime: '20260101T000000,123456' } }),
    'acme',
  );
  t.equal(productOf({ hasReleaseThreeOptions, cseBase: { ...cseBase, resourceId: 'cb-id-mn1' } }), 'testbed');
  t.equal(productOf({ hasReleaseThreeOptions, cseBase }), 'unknown');
  t.equal(productOf({ hasReleaseThreeOptions: false }), 'mobius');
  for (const product of ['acme', 'testbed', 'tinyIoT', 'mobius', 'unknown'] as const) {
    for (const [name, quirk] of Object.entries(quirksOf(product))) {
      t.ok(Object.hasOwn(capabilityMeanings, name));
      t.ok(quirk.what.length > 3 && quirk.instead.length > 3 && quirk.versions !== '', `${product} ${name}`);
    }
  }
  t.equal(quirksOf('acme').notificationsOverCoap?.value, 'no');
  t.end();
});

await t.test('what is known: fresh findings go before quirks, per CSE and product', (t) => {
  const nowMs = unixMillis(1_800_000_000_000);
  const found = (value: Finding['value'], ageMs = 0): Finding => ({ value, how: 'probe', detail: 'tried', foundMs: unixMillis(nowMs - ageMs) }); // prettier-ignore
  const acme = { cseId: '/id-mn1', supportedReleaseVersions: ['3', '4'], product: 'acme' as const };
  const inForce = (
    findings: CseCapabilities['findings'],
    product = acme.product,
  ): Record<CapabilityName, Finding> =>
    effectiveCapabilities({ identity: { ...acme, product }, findings }, nowMs);
  t.match(inForce({}).notificationsOverCoap, {
    value: 'no',
    how: 'quirk',
    detail: /Baton: fetches commands/,
  });
  t.match(inForce({ notificationsOverCoap: found('yes') }).notificationsOverCoap, {
    value: 'yes',
    how: 'probe',
  });
  t.match(inForce({ notificationsOverCoap: found('yes', findingLifetimeMs.yes) }).notificationsOverCoap, {
    value: 'no',
    how: 'quirk',
  });
  t.match(
    inForce({ notificationsOverCoap: found('yes', -60_000) }).notificationsOverCoap,
    { how: 'quirk' },
    'a clock that stepped',
  );
  t.match(inForce({ notificationsOverCoap: found('unknown') }).notificationsOverCoap, { how: 'quirk' });
  t.match(inForce({ dtls: found('no', findingLifetimeMs.no - 1) }).dtls, { how: 'probe' });
  t.match(inForce({}).blockwise.value, 'yes');
  t.equal(Object.keys(inForce({})).length, capabilityNames.length);

  let memory = new CapabilityMemory().with({ identity: acme, findings: { cbor: found('yes') } });
  memory = memory.learnt('/id-mn1', 'notificationsOverCoap', { ...found('yes'), how: 'use' });
  t.match(memory.effective('/id-mn1', nowMs), {
    cbor: { value: 'yes' },
    notificationsOverCoap: { value: 'yes', how: 'use' },
  });
  t.match(memory.effective('/id-mn9', nowMs).cbor, { value: 'unknown' });
  t.same(decodeCapabilityMemory(JSON.parse(JSON.stringify(encodeCapabilityMemory(memory)))).all, memory.all);
  const other = memory.with({ identity: { ...acme, product: 'tinyIoT' }, findings: {} });
  t.same(other.of('/id-mn1')?.findings, {}, 'another product begins anew');
  t.ok(isSameCse(acme, { ...acme, supportedReleaseVersions: ['4', '3'] }));
  t.notOk(isSameCse(acme, { ...acme, supportedReleaseVersions: ['4'] }));
  for (let count = 0; count < 2 * rememberedCsesMax; count++)
    memory = memory.learnt(`/id-x${count}`, 'cbor', found('yes'));
  t.equal(memory.all.length, rememberedCsesMax, 'bounded');
  t.equal(memory.of('/id-mn1'), undefined, 'the one heard of longest ago made room');

  for (const broken of [null, [], {}, { cses: 1 }, { cses: [1] }, { cses: [{ identity: {}, findings: {} }] }, { cses: [{ identity: acme, findings: { cbor: 1 } }] }, { cses: [{ identity: acme, findings: { cbor: { value: 'maybe' } } }] }]) {
    t.throws(() => decodeCapabilityMemory(broken), DecodeError);
  } // prettier-ignore
  const later = decodeCapabilityMemory({
    cses: [{ identity: { ...acme, product: 'other' }, findings: { future: 1 } }],
  });
  t.match(later.all, [{ identity: { product: 'unknown' }, findings: {} }], 'what a later version wrote');
  t.end();
});
