// Proves of the MQTT binding: topics follow TS-0010 6.4 and refuse what cannot be a topic; a session connects, falls
// back to 3.1.1, meets every deadline, and never throws whatever the broker does; requests and notifications travel both
// ways in JSON and CBOR over a real broker; a PUBACK is no answer; late, doubled, foreign and broken messages are counted
// and change nothing; everything that waits is bounded.
import { spawn } from 'node:child_process';
import fc from 'fast-check';
import t from 'tap';
import type { Test } from 'tap';
import { EncodeError } from '../../src/base/errors.ts';
import { millis, unixMillis } from '../../src/base/units.ts';
import { NodeClock, sleep, withDeadline } from '../../src/host/clock.ts';
import { NodeNetwork } from '../../src/host/network.ts';
import type { Network } from '../../src/host/network.ts';
import { MqttBinding } from '../../src/mqtt/mqtt-binding.ts';
import type { MqttBindingOptions } from '../../src/mqtt/mqtt-binding.ts';
import { MqttExchange } from '../../src/mqtt/mqtt-exchange.ts';
import { MqttSession } from '../../src/mqtt/mqtt-session.ts';
import type { MqttSessionOptions } from '../../src/mqtt/mqtt-connect.ts';
import { MqttPresence } from '../../src/mqtt/mqtt-presence.ts';
import type { MqttPresenceOptions } from '../../src/mqtt/mqtt-presence.ts';
import { PacketGuard } from '../../src/mqtt/packet-guard.ts';
import { aeLevels, buildTopic, encodeEntity, parseTopic, responseTopic } from '../../src/mqtt/topics.ts';
import type { OneM2mTopic } from '../../src/mqtt/topics.ts';
import type { RequestPrimitive, Serialisation } from '../../src/onem2m/primitives.ts';
import { encodeBody, encodeRequest, encodeResponse } from '../../src/onem2m/serialisation.ts';
import { MqttBroker } from '../../src/testbed/mqtt-broker.ts';

const network = new NodeNetwork();
const clock = new NodeClock();
let clients = 0;

function sessionOptions(port: number, changes: Partial<MqttSessionOptions> = {}): MqttSessionOptions {
  const clientId = `A::test${clients++}`;
  return {
    network,
    clock,
    endpoint: { host: '127.0.0.1', port, clientId },
    deadlineMs: millis(5_000),
    protocolVersion: 4,
    ...changes,
  };
}

async function openSession(port: number, changes: Partial<MqttSessionOptions> = {}): Promise<MqttSession> {
  const opened = await MqttSession.open(sessionOptions(port, changes));
  if (!opened.ok) throw new Error(opened.error.message);
  return opened.value;
}

/** A binding with the presence behind it, and the counters and the end of both. */
interface Opened extends MqttBinding {
  readonly presence: MqttPresence;
}

interface OpenOptions extends Partial<Omit<MqttPresenceOptions, 'open'>> {
  readonly session?: MqttSessionOptions;
  readonly binding?: Partial<MqttBindingOptions>;
  readonly originators?: readonly string[];
}

async function openBinding(port: number, changes: OpenOptions = {}): Promise<Opened> {
  const {
    session = sessionOptions(port),
    binding: bindingChanges,
    originators = ['Cgw1'],
    ...rest
  } = changes;
  const presence = new MqttPresence({
    clock,
    clientId: session.endpoint.clientId,
    open: (attempt) => MqttSession.open({ ...attempt, ...session, signal: attempt.signal }),
    ...rest,
  });
  const binding = new MqttBinding({
    presence,
    clock,
    cseId: '/id-mn1',
    serialisation: 'cbor',
    ...bindingChanges,
  });
  for (const originator of originators) {
    const attached = await binding.attach(originator, within);
    if (!attached.ok) throw new Error(attached.error.message);
  }
  return Object.assign(binding, { presence });
}

function createRequest(requestIdentifier: string, from = 'Cgw1'): RequestPrimitive {
  return {
    operation: 1,
    to: 'cse-mn1/gw1/data',
    from,
    requestIdentifier,
    releaseVersionIndicator: '4',
    resourceType: 4,
    primitiveContent: { contentInstance: { resourceName: 'b-1', content: 21.5 } },
  };
}

const within = { deadlineMs: millis(5_000) };

/** Waits for a condition that other tasks bring about. */
async function until(what: string, isTrue: () => boolean): Promise<void> {
  for (let round = 0; !isTrue(); round++) {
    if (round > 1_000) throw new Error(`${what} did not come about`);
    await sleep(clock, millis(2));
  }
}

await t.test('topics', async (t) => {
  const levels: readonly (readonly [string, string])[] = [
    ['/id-mn1', 'id-mn1'],
    ['/id-mn1/Cgw1', 'id-mn1:Cgw1'],
    ['Sgw1', 'Sgw1'],
    ['/Sgw1', 'Sgw1'],
    ['//sp.example/id-in', ':sp.example:id-in'],
    ['cred/1', 'cred:1'],
  ];
  for (const [id, level] of levels) t.equal(encodeEntity(id), level);
  for (const bad of ['', '/', '+', 'a#', 'a\u0000b', 'x'.repeat(256)]) {
    t.throws(() => encodeEntity(bad), EncodeError, JSON.stringify(bad));
  }
  t.same(aeLevels('Cgw1', '/id-mn1'), ['Cgw1', 'id-mn1:Cgw1']);
  t.same(aeLevels('/id-mn1/Cgw1', '/id-mn1'), ['id-mn1:Cgw1']);

  const topic: OneM2mTopic = {
    prefix: '',
    kind: 'req',
    originator: 'Cgw1',
    receiver: 'id-mn1',
    serialisation: 'cbor',
  };
  t.equal(buildTopic(topic), '/oneM2M/req/Cgw1/id-mn1/cbor');
  t.equal(buildTopic({ ...topic, prefix: 'plant/7' }), 'plant/7/oneM2M/req/Cgw1/id-mn1/cbor');
  t.equal(buildTopic(responseTopic(topic)), '/oneM2M/resp/Cgw1/id-mn1/cbor');
  t.equal(responseTopic({ ...topic, kind: 'reg_req' }).kind, 'reg_resp');
  t.same(parseTopic('plant/7/oneM2M/req/Cgw1/id-mn1/cbor'), { ...topic, prefix: 'plant/7' });
  for (const foreign of [
    'oneM2M/req/a/b/json',
    '/oneM2M/req/a/b/xml',
    '/oneM2M/req/a/b',
    '/oneM2M/req/a/b/json/c',
    '/oneM2M/req//b/json',
    '/oneM2M/other/a/b/json',
  ]) {
    t.equal(parseTopic(foreign), undefined, foreign);
  }
  const level = fc.stringMatching(/^[A-Za-z0-9._:-]{1,20}$/u);
  fc.assert(
    fc.property(
      fc.record({
        prefix: fc.constantFrom('', 'a', 'a/b', '/oneM2M/req/a/b/json'),
        kind: fc.constantFrom('req' as const, 'resp' as const, 'reg_req' as const, 'reg_resp' as const),
        originator: level,
        receiver: level,
        serialisation: fc.constantFrom<Serialisation>('json', 'cbor'),
      }),
      (any) => {
        t.same(parseTopic(buildTopic(any)), any);
      },
    ),
    { numRuns: 50 },
  );
});

await t.test('packet guard reads fixed headers across any cuts', async (t) => {
  const packet = (length: number): Uint8Array => {
    const size: number[] = [];
    for (let rest = length; ; rest >>= 7) {
      size.push(rest > 127 ? (rest & 127) | 128 : rest);
      if (rest <= 127) break;
    }
    return Uint8Array.from([0x30, ...size, ...new Uint8Array(length)]);
  };
  fc.assert(
    fc.property(
      fc.array(fc.nat(400), { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1 }),
      (lengths, cuts) => {
        const stream = Buffer.concat(lengths.map(packet));
        const guard = new PacketGuard(300);
        let accepted = true;
        for (let at = 0, index = 0; at < stream.length; index++) {
          const end = at + (cuts[index % cuts.length] ?? 1);
          accepted &&= guard.accepts(stream.subarray(at, end));
          at = end;
        }
        t.equal(
          accepted,
          lengths.every((length) => length <= 300),
        );
      },
    ),
    { numRuns: 200 },
  );
  t.notOk(new PacketGuard(2 ** 30).accepts(Uint8Array.of(0x30, 0xff, 0xff, 0xff, 0xff)));
});

await t.test('session: connect, fall back, publish, lose, close', async (t) => {
  const broker = await MqttBroker.open();
  t.teardown(() => broker.close());
  const session = await openSession(broker.port, { protocolVersion: 5 });
  t.equal(session.protocolVersion, 4, 'a broker that refuses MQTT 5 is asked again with 3.1.1');
  const received: string[] = [];
  session.onMessage(({ topic, payload }) => received.push(`${topic} ${Buffer.from(payload).toString()}`));
  t.ok((await session.subscribe(['/a/+', '/b'], within)).ok);
  t.ok((await session.publish('/a/1', Buffer.from('x'), within)).ok);
  t.ok((await session.publish('/b', Buffer.from('y'), within)).ok);
  t.ok((await session.publish('/c', Buffer.from('z'), within)).ok);
  await until('two messages', () => received.length === 2);
  t.same(received, ['/a/1 x', '/b y']);
  const tooLong = await session.publish('/b', new Uint8Array(200_000), within);
  t.match(tooLong, { ok: false, error: { kind: 'unreachable', message: /200018 bytes/u } });
  const aborted = await session.publish('/b', Buffer.from('q'), { ...within, signal: AbortSignal.abort() });
  t.match(aborted, { ok: false, error: { kind: 'cancelled' } });

  const lost = new Promise<string>((resolve) => session.onClose(resolve));
  broker.dropConnections();
  t.match(await withDeadline(clock, millis(5_000), 'loss', lost), /connection closed/u);
  t.notOk(session.isOpen);
  t.match(await session.publish('/b', Buffer.from('q'), within), {
    ok: false,
    error: { kind: 'unreachable' },
  });
  await session.close();
  t.match(await session.subscribe(['/b'], within), { ok: false, error: { kind: 'closed' } });
});

await t.test('session: nobody there, silence, nonsense, wrong address', async (t) => {
  const broker = await MqttBroker.open();
  const { port } = broker;
  await broker.close();
  t.match(await MqttSession.open(sessionOptions(port)), { ok: false, error: { kind: 'unreachable' } });

  t.match(
    await MqttSession.open(
      sessionOptions(port, {
        endpoint: { host: '127.0.0.1', port, localAddress: '192.0.2.77', clientId: 'x' },
      }),
    ),
    { ok: false, error: { kind: 'unreachable' } },
    'an address that is not here',
  );
  const { StreamPair } = await import('./stream-pair.ts');
  for (const [name, answer, kind] of [
    ['silence', new Uint8Array(), 'deadline'],
    ['nonsense', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'), 'reset'],
    ['a packet of 256 MiB announced', Uint8Array.of(0x30, 0xff, 0xff, 0xff, 0x7f), 'unreachable'],
    ['refused identifier', Uint8Array.of(0x20, 2, 0, 2), 'reset'],
  ] as const) {
    const pair = new StreamPair();
    const fake: Network = {
      openDatagram: (options) => network.openDatagram(options),
      resolve: (host) => Promise.resolve(host),
      openStream: () => {
        pair.peer.once('data', () => answer.length > 0 && pair.peer.write(answer));
        return pair.stream;
      },
    };
    const opened = await MqttSession.open(
      sessionOptions(1, { network: fake, deadlineMs: millis(100), protocolVersion: 4 }),
    );
    t.match(opened, { ok: false, error: { kind } }, name);
    t.ok(pair.stream.destroyed, `${name}: the stream is gone`);
  }
});

await t.test('session: a broker that stops answering meets the deadline of each call', async (t) => {
  const { StreamPair } = await import('./stream-pair.ts');
  const pair = new StreamPair();
  pair.peer.once('data', () => pair.peer.write(Uint8Array.of(0x20, 2, 0, 0)));
  const fake: Network = {
    openDatagram: (options) => network.openDatagram(options),
    resolve: (host) => Promise.resolve(host),
    openStream: () => pair.stream,
  };
  const session = await openSession(1, { network: fake });
  const soon = { deadlineMs: millis(30) };
  t.match(await session.publish('/a', Buffer.from('x'), soon), { ok: false, error: { kind: 'deadline' } });
  t.match(await session.subscribe(['/a'], soon), { ok: false, error: { kind: 'deadline' } });
  const controller = new AbortController();
  const waiting = session.publish('/a', Buffer.from('x'), { ...within, signal: controller.signal });
  controller.abort();
  t.match(await waiting, { ok: false, error: { kind: 'cancelled' } });
  const open = Array.from({ length: 300 }, () => session.publish('/a', Buffer.from('x'), within));
  t.match(await open.at(-1), { ok: false, error: { kind: 'busy' } }, 'unacknowledged messages are bounded');
  const cut = open[0];
  pair.peer.destroy();
  t.match(await cut, { ok: false, error: { kind: 'unreachable' } }, 'a lost connection ends every wait');
  await session.close();
});

await t.test('session: what a kept session delivers with the CONNACK is not lost', async (t) => {
  const { StreamPair } = await import('./stream-pair.ts');
  const pair = new StreamPair();
  const connack = Uint8Array.of(0x20, 2, 1, 0);
  const publish = Uint8Array.of(0x30, 5, 0, 2, 0x2f, 0x61, 0x78);
  pair.peer.once('data', () => pair.peer.write(Buffer.concat([connack, publish, publish])));
  const fake: Network = {
    openDatagram: (options) => network.openDatagram(options),
    resolve: (host) => Promise.resolve(host),
    openStream: () => pair.stream,
  };
  const session = await openSession(1, { network: fake });
  t.equal(session.sessionPresent, true);
  await sleep(clock, millis(20));
  const received: string[] = [];
  session.onMessage(({ topic, payload }) => received.push(`${topic} ${Buffer.from(payload).toString()}`));
  t.same(received, ['/a x', '/a x']);
  session.abort();
});

await t.test('binding: both directions, both serialisations, over a broker', async (t) => {
  const broker = await MqttBroker.open();
  t.teardown(() => broker.close());
  for (const [serialisation, prefix] of [
    ['json', ''],
    ['cbor', 'plant/7'],
  ] as const) {
    const cse = await openSession(broker.port);
    const exchange = new MqttExchange({ session: cse, clock });
    const seen: unknown[] = [];
    exchange.onRequest((request, topic) => {
      seen.push([request, topic]);
      return Promise.resolve({
        responseStatusCode: 2001,
        requestIdentifier: request.requestIdentifier,
        primitiveContent: { contentInstance: { resourceId: 'cin1', content: { deep: [1, 'two'] } } },
      });
    });
    const filters = [`${prefix}/oneM2M/req/+/id-mn1/#`, `${prefix}/oneM2M/resp/id-mn1/+/#`];
    t.ok((await cse.subscribe(filters, within)).ok);
    const notified: RequestPrimitive[] = [];
    const binding = await openBinding(broker.port, {
      binding: { serialisation, topicPrefix: prefix },
      originators: ['Cgw1', 'Sgw1'],
      handler: (notification) => {
        notified.push(notification);
        return Promise.resolve({
          responseStatusCode: 2000,
          requestIdentifier: notification.requestIdentifier,
        });
      },
    });
    const request = createRequest('r1');
    const answer = await binding.send(request, within);
    t.match(answer, { ok: true, value: { responseStatusCode: 2001, requestIdentifier: 'r1' } });
    t.same(seen, [[request, { prefix, kind: 'req', originator: 'Cgw1', receiver: 'id-mn1', serialisation }]]);

    const notification: RequestPrimitive = {
      operation: 5,
      to: 'Cgw1',
      from: '/id-mn1',
      requestIdentifier: 'n1',
      primitiveContent: { notification: { subscriptionReference: '/id-mn1/sub1' } },
    };
    for (const [index, receiver] of ['Cgw1', 'id-mn1:Cgw1', 'Sgw1'].entries()) {
      const sent = await exchange.request(
        { prefix, kind: 'req', originator: 'id-mn1', receiver, serialisation },
        { ...notification, requestIdentifier: `n${index}` },
        within,
      );
      t.match(sent, { ok: true, value: { responseStatusCode: 2000 } }, `addressed as ${receiver}`);
    }
    t.equal(notified.length, 3);
    await binding.presence.close();
    await cse.close();
  }
});

await t.test('binding: an AE-ID is assigned under a credential and heard at once', async (t) => {
  const broker = await MqttBroker.open();
  t.teardown(() => broker.close());
  const cse = await openSession(broker.port);
  const exchange = new MqttExchange({ session: cse, clock });
  const topics: string[] = [];
  exchange.onRequest(({ requestIdentifier }, topic) => {
    topics.push(buildTopic(topic));
    const isRegistration = topic.kind === 'reg_req';
    return Promise.resolve({
      responseStatusCode: isRegistration ? 2001 : 2000,
      requestIdentifier,
      ...(isRegistration ? { primitiveContent: { ae: { aeId: 'Cnew' } } } : {}),
    });
  });
  const filters = ['/oneM2M/req/+/id-mn1/#', '/oneM2M/reg_req/+/id-mn1/#', '/oneM2M/resp/id-mn1/+/#'];
  await cse.subscribe(filters, within);
  const binding = await openBinding(broker.port, {
    originators: [],
    binding: { credentialId: 'gate/7' },
    handler: ({ requestIdentifier }) => Promise.resolve({ responseStatusCode: 2000, requestIdentifier }),
  });
  const registration: RequestPrimitive = {
    operation: 1,
    to: 'cse-mn1',
    from: 'C',
    requestIdentifier: 'reg1',
    resourceType: 2,
    primitiveContent: { ae: { appId: 'Nbaton', requestReachability: true } },
  };
  t.match(await binding.send(registration, within), { ok: true, value: { responseStatusCode: 2001 } });
  const notified = await exchange.request(
    { prefix: '', kind: 'req', originator: 'id-mn1', receiver: 'Cnew', serialisation: 'json' },
    { operation: 5, to: 'Cnew', from: '/id-mn1', requestIdentifier: 'n1' },
    within,
  );
  t.match(notified, { ok: true }, 'a notification to the new AE is heard without a further request');
  t.match(await binding.send(createRequest('r1', 'Cnew'), within), { ok: true });
  t.same(topics, ['/oneM2M/reg_req/gate:7/id-mn1/cbor', '/oneM2M/req/Cnew/id-mn1/cbor']);
  const nobody = await openBinding(broker.port, { originators: [] });
  t.match(await nobody.send(registration, within), { ok: false, error: { message: /credentialId/u } });
  await Promise.all([binding.presence.close(), nobody.presence.close(), cse.close()]);
});

await t.test('binding: what is not an answer is not taken for one', async (t) => {
  const broker = await MqttBroker.open();
  t.teardown(() => broker.close());
  const stranger = await openSession(broker.port);
  await stranger.subscribe(['/oneM2M/req/#'], within);
  const heard: string[] = [];
  stranger.onMessage(({ topic }) => heard.push(topic));
  const binding = await openBinding(broker.port, { outstandingMax: 3 });
  const answerTopic = '/oneM2M/resp/Cgw1/id-mn1/json';
  const say = async (topic: string, payload: Uint8Array): Promise<void> => {
    t.ok((await stranger.publish(topic, payload, within)).ok);
  };
  const answer = (requestIdentifier: string): Uint8Array =>
    encodeBody(encodeResponse({ responseStatusCode: 2000, requestIdentifier }), 'json');

  const first = binding.send(createRequest('r1'), { deadlineMs: millis(4_000) });
  await until('the request', () => heard.length === 1);
  await say('/oneM2M/resp/Cgw1/id-mn2/json', answer('r1'));
  await say('/oneM2M/resp/id-mn1:Cgw1/id-mn1/json', answer('r1'));
  await say(answerTopic, answer('other'));
  await say(answerTopic, Buffer.from('{"rsc":2000,'));
  await say(answerTopic, Buffer.from('[]'));
  await say('/oneM2M/resp/Cgw1/id-mn1/xml', answer('r1'));
  await until('all seen', () => {
    const { unexpectedAnswer, malformed, unknownTopic } = binding.presence.counters;
    return unexpectedAnswer + malformed + unknownTopic === 6;
  });
  t.match(binding.presence.counters, { unexpectedAnswer: 4, malformed: 1, unknownTopic: 1 });
  await say(answerTopic, answer('r1'));
  t.match(await first, { ok: true, value: { responseStatusCode: 2000 } }, 'the right answer still counts');
  await say(answerTopic, answer('r1'));
  await until('the second answer', () => binding.presence.counters.unexpectedAnswer === 5);

  const headless = binding.send(createRequest('r2'), within);
  await until('the request', () => heard.length === 2);
  await say(answerTopic, Buffer.from('{"rqi":"r2"}'));
  t.match(await headless, { ok: false, error: { kind: 'malformed', message: /rsc/u } });

  const silent = await binding.send(createRequest('r3'), { deadlineMs: millis(50) });
  t.match(silent, { ok: false, error: { kind: 'deadline' } }, 'the PUBACK of the broker is no answer');
  const controller = new AbortController();
  const withdrawn = binding.send(createRequest('r4'), { ...within, signal: controller.signal });
  await until('the request', () => heard.length === 4);
  controller.abort();
  t.match(await withdrawn, { ok: false, error: { kind: 'cancelled' } });

  const open = ['a', 'b', 'c'].map((name) => binding.send(createRequest(name), within));
  t.match(await binding.send(createRequest('d'), within), { ok: false, error: { kind: 'busy' } });
  await binding.presence.close();
  for (const each of open) t.match(await each, { ok: false, error: { kind: 'closed' } });
  await stranger.close();
});

await t.test('binding: requests that come again, expired, broken or too many', async (t) => {
  const broker = await MqttBroker.open();
  t.teardown(() => broker.close());
  const cse = await openSession(broker.port);
  await cse.subscribe(['/oneM2M/resp/id-mn1/+/#'], within);
  const answers: string[] = [];
  cse.onMessage(({ payload }) => answers.push(Buffer.from(payload).toString()));
  let handled = 0;
  let held = Promise.resolve();
  const binding = await openBinding(broker.port, {
    wallTime: () => unixMillis(Date.UTC(2026, 5, 1)),
    handler: async ({ requestIdentifier }) => {
      handled++;
      if (requestIdentifier === 'bad') throw new Error('secret of the house');
      await held;
      return { responseStatusCode: 2000, requestIdentifier };
    },
  });
  const ask = async (wire: unknown): Promise<string> => {
    const before = answers.length;
    await cse.publish('/oneM2M/req/id-mn1/Cgw1/json', encodeBody(wire, 'json'), within);
    await until('an answer', () => answers.length > before);
    return answers.at(-1) ?? '';
  };
  const notification = (requestIdentifier: string, changes: Partial<RequestPrimitive> = {}): unknown =>
    encodeRequest({ operation: 5, to: 'Cgw1', from: '/id-mn1', requestIdentifier, ...changes });

  t.equal(await ask(notification('n1')), '{"rsc":2000,"rqi":"n1","rvi":"4"}');
  t.equal(await ask(notification('n1')), '{"rsc":2000,"rqi":"n1","rvi":"4"}', 'the same answer again');
  t.equal(handled, 1, 'the handler ran once');
  t.equal(binding.presence.counters.repeatedRequest, 1);
  t.match(await ask(notification('n2', { requestExpirationTimestamp: '20260531T235959' })), /"rsc":4008/u);
  t.equal(handled, 1, 'what expired at the broker does not reach the handler');
  await ask(notification('n3', { requestExpirationTimestamp: '20260601T000001' }));
  t.equal(handled, 2);
  t.match(await ask({ rqi: 'n4', to: 'Cgw1' }), /"rsc":4000.*op is missing/u);
  const broken = await ask(notification('bad'));
  t.match(broken, /"rsc":5000/u);
  t.notMatch(broken, /secret/u, 'what went wrong inside stays inside');

  const { malformed } = binding.presence.counters;
  for (const junk of ['', '{}', 'null', '[1]', '\u0000\u0001', '{"rqi":1}']) {
    await cse.publish('/oneM2M/req/id-mn1/Cgw1/json', Buffer.from(junk), within);
    await cse.publish('/oneM2M/req/id-mn1/Cgw1/cbor', Buffer.from(junk), within);
  }
  await until('all junk', () => binding.presence.counters.malformed === malformed + 12);
  t.equal(await ask(notification('n5')), '{"rsc":2000,"rqi":"n5","rvi":"4"}', 'still at work');

  let release = (): void => undefined;
  held = new Promise<void>((resolve) => (release = resolve));
  for (let number = 0; number < 70; number++) {
    await cse.publish('/oneM2M/req/id-mn1/Cgw1/json', encodeBody(notification(`f${number}`), 'json'), within);
  }
  await until('overload', () => binding.presence.counters.overload === 6);
  const before = answers.length;
  release();
  await until('the held answers', () => answers.length === before + 64);
  await binding.presence.close();
  await cse.close();
});

await t.test('binding: a lost broker ends every request', async (t) => {
  const broker = await MqttBroker.open();
  t.teardown(() => broker.close());
  const binding = await openBinding(broker.port);
  const watcher = await openSession(broker.port);
  await watcher.subscribe(['/oneM2M/req/#'], within);
  const heard = new Promise<void>((resolve) => watcher.onMessage(() => resolve()));
  const open = binding.send(createRequest('r1'), within);
  await withDeadline(clock, millis(5_000), 'the publication', heard);
  broker.dropConnections();
  t.match(await open, { ok: false, error: { kind: 'unreachable', message: /closed/u } });
  t.match(await binding.send(createRequest('r2'), { deadlineMs: millis(50) }), {
    ok: false,
    error: { kind: 'unreachable', message: /connection closed; tried again in \d+ ms/u },
  });
  await binding.presence.close();
});

await t.test('binding: what the broker kept is heard on return, unless it was to forget', async (t) => {
  const broker = await MqttBroker.open();
  t.teardown(() => broker.close());
  await provesKeptSession(t, broker.port, 4);
});

/** A gateway that goes away for a while gets what came meanwhile; one that left for good does not. */
async function provesKeptSession(t: Test, port: number, protocolVersion: 4 | 5): Promise<void> {
  const cse = await openSession(port, { protocolVersion });
  const exchange = new MqttExchange({ session: cse, clock });
  await cse.subscribe(['/oneM2M/resp/id-mn1/+/#'], within);
  const notify = (requestIdentifier: string, deadlineMs: number): Promise<unknown> =>
    exchange.request(
      { prefix: '', kind: 'req', originator: 'id-mn1', receiver: 'Cgw1', serialisation: 'json' },
      { operation: 5, to: 'Cgw1', from: '/id-mn1', requestIdentifier },
      { deadlineMs: millis(deadlineMs) },
    );
  const heard: string[] = [];
  const open = async (): Promise<MqttPresence> => {
    const endpoint = { host: '127.0.0.1', port, clientId: 'A::Cgw1' };
    const { presence } = await openBinding(port, {
      session: sessionOptions(port, { protocolVersion, endpoint }),
      handler: ({ requestIdentifier }) => {
        heard.push(requestIdentifier);
        return Promise.resolve({ responseStatusCode: 2000, requestIdentifier });
      },
    });
    return presence;
  };
  const first = await open();
  t.match(await notify('live0', 5_000), { ok: true });
  await first.close();
  t.match(await notify('stored1', 100), { ok: false, error: { kind: 'deadline' } });
  const back = await open();
  t.match(await notify('live1', 5_000), { ok: true });
  t.same(heard, ['live0', 'stored1', 'live1'], 'the broker kept what came while the gateway was away');
  await back.close({ forget: true });
  // An MQTT 5 broker tells that nobody is there any more.
  const kind = protocolVersion === 5 ? 'unreachable' : 'deadline';
  t.match(await notify('stored2', 100), { ok: false, error: { kind } });
  const again = await open();
  t.match(await notify('live2', 5_000), { ok: true });
  t.same(heard.slice(3), ['live2'], 'after forgetting, no stale request is delivered');
  await again.close({ forget: true });
  await cse.close();
}

await t.test('mosquitto: MQTT 5', async (t) => {
  const probe = await MqttBroker.open();
  const { port } = probe;
  await probe.close();
  const mosquitto = spawn('mosquitto', ['-p', String(port)], { stdio: 'ignore' });
  const isThere = await new Promise<boolean>((resolve) => {
    mosquitto.once('spawn', () => resolve(true));
    mosquitto.once('error', () => resolve(false));
  });
  if (!isThere) {
    t.pass('mosquitto is not installed: the MQTT 5 side of the session was not tried', { skip: true });
    return;
  }
  t.teardown(() => mosquitto.kill());
  let session: MqttSession | undefined;
  await until('mosquitto', () => {
    void MqttSession.open(sessionOptions(port, { protocolVersion: 5 })).then((opened) => {
      if (!opened.ok) return;
      if (session === undefined) session = opened.value;
      else opened.value.abort();
    });
    return session !== undefined;
  });
  t.equal(session?.protocolVersion, 5);
  t.equal(session?.sessionPresent, false);
  const cse = await openSession(port, { protocolVersion: 5 });
  const exchange = new MqttExchange({ session: cse, clock });
  exchange.onRequest(({ requestIdentifier }) =>
    Promise.resolve({ responseStatusCode: 2001, requestIdentifier }),
  );
  await cse.subscribe(['/oneM2M/req/+/id-mn1/#'], within);
  const binding = await openBinding(port, { session: sessionOptions(port, { protocolVersion: 5 }) });
  t.match(await binding.send(createRequest('r1'), within), {
    ok: true,
    value: { responseStatusCode: 2001 },
  });
  await Promise.all([binding.presence.close({ forget: true }), cse.close(), session?.close()]);
  await provesKeptSession(t, port, 5);
});
