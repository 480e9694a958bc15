// Proves of DTLS with a pre-shared key, between two sides of the library over a network in memory: what crosses it is
// enciphered, requests go both ways over one session, whole bodies by blocks; every way in which a handshake can fail has
// its name and never shows the key; lost flights are sent again; foreign, forged, repeated and broken datagrams change nothing,
// in a session as in a handshake; a server spends nothing on a hello before its cookie and holds no more than its bounds;
// a binding replaces a session that died without a sign, paced, and has one ready on another address before it is needed.
import t from 'tap';
import { err } from '../../src/base/result.ts';
import { millis } from '../../src/base/units.ts';
import { requestInBlocks } from '../../src/coap/blockwise.ts';
import { serveRequests } from '../../src/coap/coap-binding.ts';
import { DtlsBinding } from '../../src/coap/dtls-binding.ts';
import type { DtlsBindingSettings } from '../../src/coap/dtls-binding.ts';
import { DtlsServer } from '../../src/coap/dtls-server.ts';
import type { DtlsServerSettings } from '../../src/coap/dtls-server.ts';
import { openDtlsSession } from '../../src/coap/dtls-session.ts';
import type { DtlsSession, DtlsSessionOptions } from '../../src/coap/dtls-session.ts';
import { CoapEndpoint } from '../../src/coap/endpoint.ts';
import { NodeClock, settle } from '../../src/host/clock.ts';
import type { Clock } from '../../src/host/clock.ts';
import { loadDtlsLibrary } from '../../src/host/dtls-library.ts';
import type { DtlsEngine, DtlsLibrary } from '../../src/host/dtls-library.ts';
import { NodeEntropy } from '../../src/host/entropy.ts';
import type { SocketAddress } from '../../src/host/network.ts';
import type { RequestHandler } from '../../src/onem2m/binding.ts';
import type { RequestPrimitive } from '../../src/onem2m/primitives.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';
import { Wire } from './dtls-wire.ts';
import { messageOf } from './test-socket.ts';

const openssl = await loadDtlsLibrary();
/** Engines that hold memory outside of the heap. */
const live = new Set<DtlsEngine>();
const library: DtlsLibrary = {
  version: openssl.version,
  createClient: (options) => counted(openssl.createClient(options)),
  createServer: (options) => counted(openssl.createServer(options)),
};
function counted(engine: DtlsEngine): DtlsEngine {
  live.add(engine);
  const free = engine.free.bind(engine);
  return Object.assign(engine, {
    free: () => {
      live.delete(engine);
      free();
    },
  });
}

const clock = new NodeClock();
const entropy = new NodeEntropy();
const serverAt: SocketAddress = { address: '192.0.2.1', port: 5684 };
const home = '192.0.2.10';
const secret = 'seventeen octets!';
const credentials = { identity: 'gw1', key: Buffer.from(secret) };
const request: RequestPrimitive = {
  operation: 2,
  to: 'cse-mn1',
  from: 'Sgw1',
  requestIdentifier: 'q1',
  releaseVersionIndicator: '4',
};
const answering: RequestHandler = ({ requestIdentifier }) =>
  Promise.resolve({ responseStatusCode: 2000, requestIdentifier });

function openServer(wire: Wire, settings: Partial<DtlsServerSettings> = {}, on: Clock = clock): DtlsServer {
  return new DtlsServer({
    socket: wire.open(serverAt.address, serverAt.port),
    library,
    keyOf: (identity) => (identity === credentials.identity ? credentials.key : undefined),
    clock: on,
    entropy,
    settings: { flightMs: millis(20), ...settings },
  });
}

function open(wire: Wire, options: Partial<DtlsSessionOptions> = {}): ReturnType<typeof openDtlsSession> {
  return openDtlsSession({
    library,
    socket: wire.open(home),
    peer: serverAt,
    credentials,
    clock,
    deadlineMs: millis(2000),
    flightMs: millis(20),
    ...options,
  });
}

async function openOrFail(wire: Wire, options: Partial<DtlsSessionOptions> = {}): Promise<DtlsSession> {
  const opened = await open(wire, options);
  if (!opened.ok) throw new Error(opened.error.message);
  return opened.value;
}

function endpointOn(socket: DtlsSession | DtlsServer): CoapEndpoint {
  return new CoapEndpoint({ socket, clock, entropy });
}

const onTheWire = (wire: Wire): string => Buffer.concat(wire.sent.map(({ data }) => data)).toString('latin1');

await t.test('requests and whole bodies go both ways over one session, enciphered', async (t) => {
  const wire = new Wire();
  const [server, session] = [openServer(wire), await openOrFail(wire)];
  const [far, near] = [endpointOn(server), endpointOn(session)];
  t.match(session.cipher, /^ECDHE-PSK-/u, 'forward secret where both sides can');
  serveRequests(near, ({ requestIdentifier, primitiveContent }) =>
    Promise.resolve({
      responseStatusCode: 2004,
      requestIdentifier,
      primitiveContent: { heard: JSON.stringify(primitiveContent).length },
    }),
  );
  far.onRequest(({ path }) => Promise.resolve(messageOf('2.05', { payload: Buffer.from(path.join('/')) })));
  const options = { deadlineMs: millis(2000) };

  const got = await near.request(serverAt, messageOf('0.01', { path: ['a', 'b'] }), options);
  t.ok(got.ok && Buffer.from(got.value.payload).toString() === 'a/b');
  const body = Buffer.from(JSON.stringify({ 'm2m:sgn': { nev: { rep: 'plain text '.repeat(2000) } } }));
  const notification = messageOf('0.02', {
    contentFormat: 50,
    options: new Map([
      [271, [Buffer.from('4')]],
      [279, [Buffer.from('/id-mn1')]],
      [283, [Buffer.from('n1')]],
    ]),
    payload: body,
  });
  const notified = await requestInBlocks(far, clock, session.local, notification, options);
  t.ok(notified.ok && notified.value.code === '2.04', 'a body of 22 kB from the side that was called');
  t.notMatch(onTheWire(wire), 'plain text', 'nothing that was said can be read');
  t.ok((await far.request({ ...session.local, port: 1 }, messageOf('0.01'), options)).ok === false);
  await Promise.all([near.close(), far.close()]);
  t.equal(wire.openSockets, 0);
});

await t.test('each failure has its name, and none shows the key', async (t) => {
  const short = { deadlineMs: millis(150) };
  const rows: [string, Partial<DtlsSessionOptions>, string, RegExp, ((wire: Wire) => void)?][] = [
    ['wrong key', { credentials: { identity: 'gw1', key: Buffer.from('a wrong one') }, ...short }, 'wrongKey', /"gw1": the key/u],
    ['unknown identity', { credentials: { identity: 'gw2', key: credentials.key } }, 'unknownIdentity', /"gw2"/u],
    ['nobody there', { peer: { ...serverAt, port: 9 }, ...short }, 'deadline', /port 9 .* no answer within 150 ms/u],
    [
      'link gone',
      {},
      'unreachable',
      /no route/u,
      (wire) => void (wire.outcome = err({ errno: 'ENETUNREACH', message: 'no route' })),
    ],
    ['withdrawn', { signal: AbortSignal.abort() }, 'cancelled', /withdrawn/u],
    [
      'broken answers',
      {},
      'protocol',
      /the handshake broke/u,
      // The length of the ServerHello's session identifier.
      (wire) => void (wire.fate = (data, from) => (from.port === 5684 && data[13] === 2 ? data.with(59, 200) : data)),
    ],
  ]; // prettier-ignore
  for (const [name, options, kind, message, change] of rows) {
    const wire = new Wire();
    const server = openServer(wire);
    change?.(wire);
    const opened = await open(wire, options);
    t.notOk(opened.ok, name);
    if (opened.ok) continue;
    t.equal(opened.error.kind, kind, name);
    t.match(opened.error.message, message, name);
    for (const key of [credentials.key, options.credentials?.key ?? credentials.key]) {
      for (const form of ['utf8', 'hex', 'base64'] as const) {
        t.notOk(opened.error.message.includes(key.toString(form)), `${name}: no key in the message`);
      }
    }
    await server.close();
    t.equal(wire.openSockets, 0, `${name}: the socket is closed`);
  }
  const wire = new Wire();
  const withdraw = new AbortController();
  const opening = open(wire, { signal: withdraw.signal, deadlineMs: millis(60_000) });
  await settle();
  withdraw.abort();
  const withdrawn = await opening;
  t.ok(!withdrawn.ok && withdrawn.error.kind === 'cancelled', 'withdrawn during the handshake');
});

await t.test('a handshake gets through whichever of its datagrams are lost', async (t) => {
  const seed = entropy.uint32();
  t.comment(`seed ${seed}`);
  const random = new SeededEntropy(seed);
  const patterns = [...Array.from({ length: 8 }, (_, index) => 1 << index), 0b11, 0b1100, 0b110000];
  for (let count = 0; count < 6; count++) patterns.push(random.uint32() & random.uint32() & 0xff);
  await Promise.all(
    patterns.map(async (pattern) => {
      const wire = new Wire();
      let index = 0;
      // Application data is the business of CoAP.
      wire.fate = (data) => (data[0] !== 23 && (pattern >> index++) & 1 ? undefined : data);
      const server = openServer(wire);
      const near = endpointOn(await openOrFail(wire));
      const far = endpointOn(server);
      far.onRequest(() => Promise.resolve(messageOf('2.05')));
      const got = await near.request(serverAt, messageOf('0.01'), { deadlineMs: millis(3000) });
      t.ok(got.ok, `losses ${pattern.toString(2)}`);
      await Promise.all([near.close(), far.close()]);
    }),
  );
});

await t.test('foreign, forged, repeated and mutated datagrams change nothing in a session', async (t) => {
  const wire = new Wire();
  const server = openServer(wire);
  const session = await openOrFail(wire);
  const [heardFar, heardNear]: [string[], string[]] = [[], []];
  server.onMessage((data) => heardFar.push(Buffer.from(data).toString()));
  session.onMessage((data) => heardNear.push(Buffer.from(data).toString()));
  wire.sent = [];
  await session.send(Buffer.from('one'), serverAt);
  await server.send(Buffer.from('two'), session.local);
  await settle();
  const records = [...wire.sent];
  for (const { data, from, to } of records) {
    wire.inject(data, from, to); // a repeat
    for (let at = 0; at < data.length; at++) wire.inject(data.with(at, (data[at] ?? 0) ^ 1), from, to);
    wire.inject(data, { address: '198.51.100.7', port: 5684 }, to); // from elsewhere
    wire.inject(Buffer.alloc(70_000), from, to);
    wire.inject(new Uint8Array(), from, to);
  }
  // An alert in the clear, as anybody can forge it.
  wire.inject(Buffer.from('15fefd000000000000000900020228', 'hex'), serverAt, session.local);
  // Records too short for a tag, of every type; OpenSSL by itself ends the session over one.
  for (let length = 0; length < 40; length++) {
    for (const type of [20, 21, 22, 23, 24]) {
      const header = [type, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0x10, length, 0, length];
      const short = Buffer.concat([Uint8Array.from(header), new Uint8Array(length)]);
      wire.inject(short, serverAt, session.local);
      wire.inject(short, session.local, serverAt);
    }
  }
  await session.send(Buffer.from('three'), serverAt);
  await settle();
  t.strictSame([heardFar, heardNear], [['one', 'three'], ['two']]);
  t.ok(session.isOpen);
  t.ok(session.counters.ignored > 30 && session.counters.foreign === 1, 'and all of it is counted');
  t.ok((await session.send(Buffer.from('four'), { ...serverAt, port: 1 })).ok === false, 'one peer only');
  t.ok((await session.send(new Uint8Array(9000), serverAt)).ok === false, 'nothing longer than fits');

  const reasons: string[] = [];
  session.onEnd((reason) => reasons.push(reason));
  await server.close();
  await settle();
  t.strictSame(reasons, ['closed by the peer']);
  const refused = await session.send(Buffer.from('five'), serverAt);
  t.ok(!refused.ok && refused.error.errno === 'ENOTCONN');
  await session.close();
});

await t.test(
  'a server spends nothing on a hello, keeps its bounds, and a forged hello ends no session',
  async (t) => {
    const wire = new Wire();
    const server = openServer(wire, { sessionsMax: 3, handshakesMax: 2, handshakeMs: millis(60_000) });
    const sessions = [await openOrFail(wire), await openOrFail(wire), await openOrFail(wire)];
    const hello = wire.sent[0]?.data ?? new Uint8Array();
    for (let port = 1; port <= 500; port++) wire.inject(hello, { address: '203.0.113.9', port }, serverAt);
    const [first, second, third] = sessions as [DtlsSession, DtlsSession, DtlsSession];
    wire.inject(hello, first.local, serverAt);
    t.strictSame(server.load, { sessions: 3, handshakes: 0 }, 'hellos without a cookie leave no trace');
    const heard: number[] = [];
    server.onMessage((_, from) => heard.push(from.port));
    await first.send(Buffer.from('x'), serverAt);
    await settle();
    t.strictSame(heard, [first.local.port], 'the session behind the forged hello goes on');

    const fourth = await openOrFail(wire);
    t.equal(server.load.sessions, 3);
    await settle();
    t.strictSame(
      [first, second, third, fourth].map(({ isOpen }) => isOpen),
      [true, false, true, true],
      'the one heard longest ago gave way, and was told',
    );
    // Clients that go silent after their cookie.
    wire.fate = (data, from) => (from.address === home && data[13] === 16 ? undefined : data);
    const silent = [1, 2, 3, 4].map(() => open(wire, { deadlineMs: millis(100) }));
    await Promise.all(silent);
    t.ok(server.load.handshakes <= 2);
    t.equal(server.load.sessions, 3);

    // The same address again, as after a restart of the gateway.
    wire.fate = (data) => data;
    const { local } = third;
    const again = await openOrFail(wire, { socket: wire.open(local.address, local.port) });
    heard.length = 0;
    await again.send(Buffer.from('y'), serverAt);
    await settle();
    t.strictSame(heard, [local.port]);
    await Promise.all([first, second, third, fourth, again].map((each) => each.close()));
    await server.close();
  },
);

await t.test(
  '20,000 random and mutated datagrams: no throw, no hang, no growth, and the session goes on',
  async (t) => {
    const seed = entropy.uint32();
    t.comment(`seed ${seed}`);
    const random = new SeededEntropy(seed);
    const wire = new Wire();
    const server = openServer(wire);
    const session = await openOrFail(wire);
    await session.send(Buffer.from('x'.repeat(100)), serverAt);
    await server.send(Buffer.from('y'.repeat(100)), session.local);
    const samples = wire.sent.map(({ data }) => data);
    wire.keeps = false;
    const mutated = (): Uint8Array => {
      if (random.uint32() % 4 === 0) return random.bytes(random.uint32() % 200);
      const data = Uint8Array.from(samples[random.uint32() % samples.length] ?? []);
      for (let flips = random.uint32() % 4; flips >= 0; flips--) {
        data[random.uint32() % data.length] = random.uint32() & 0xff;
      }
      return random.uint32() % 4 === 0 ? data.subarray(0, random.uint32() % data.length) : data;
    };
    let slowestUs = 0;
    for (let count = 0; count < 20_000; count++) {
      const data = mutated();
      // Processor time: that the machine is busy with others says nothing.
      const began = process.cpuUsage();
      if (count % 2 === 0) wire.inject(data, serverAt, session.local);
      else wire.inject(data, { address: home, port: 50_000 + (count % 1000) }, serverAt);
      const { user, system } = process.cpuUsage(began);
      slowestUs = Math.max(slowestUs, user + system);
      if (count % 500 === 0) await settle();
    }
    t.ok(slowestUs < 100_000, `slowest ${slowestUs} µs of processor time`);
    t.ok(server.load.handshakes <= 16 && server.load.sessions === 1);
    const heard: string[] = [];
    server.onMessage((data) => heard.push(Buffer.from(data).toString()));
    await session.send(Buffer.from('still here'), serverAt);
    await settle();
    t.strictSame(heard, ['still here']);
    await session.close();

    // Handshakes under fire: each ends, and most often with its session.
    let opened = 0;
    for (let round = 0; round < 40; round++) {
      wire.fate = (data, from, to) => {
        wire.inject(mutated(), from, to);
        return data;
      };
      const under = await open(wire, { deadlineMs: millis(200) });
      if (!under.ok) continue;
      opened += 1;
      await under.value.close();
    }
    t.ok(opened > 0, `${opened} of 40 handshakes under fire`);
    await server.close();
  },
);

await t.test('sessions leave no memory behind', async (t) => {
  const wire = new Wire();
  wire.keeps = false;
  const server = openServer(wire);
  const run = async (count: number): Promise<void> => {
    for (let done = 0; done < count; done++) await (await openOrFail(wire)).close();
  };
  await run(50);
  const before = process.memoryUsage.rss();
  await run(300);
  const grownBytes = process.memoryUsage.rss() - before;
  // Two sides that are not given back take 140 KiB: 41 MiB.
  t.ok(grownBytes < 20 * 1024 * 1024, `grown by ${(grownBytes / 1024).toFixed(0)} KiB`);
  await settle();
  t.strictSame(server.load, { sessions: 0, handshakes: 0 });
  await server.close();
});

/** A binding and its CSE on a clock that stands still. */
function openBench(settings: Partial<DtlsBindingSettings> = {}) {
  const simulated = new SimulatedClock();
  const wire = new Wire();
  const server = openServer(wire, {}, simulated);
  const far = new CoapEndpoint({ socket: server, clock: simulated, entropy: new SeededEntropy(1) });
  serveRequests(far, answering);
  const bindingAt = (address: string): DtlsBinding =>
    new DtlsBinding({
      library: () => Promise.resolve(library),
      openSocket: () => Promise.resolve(wire.open(address)),
      resolvePeer: () => Promise.resolve(serverAt),
      credentials: () => Promise.resolve(credentials),
      clock: simulated,
      entropy: new SeededEntropy(2026),
      handler: answering,
      settings,
    });
  const send = (binding: DtlsBinding, deadlineMs = 2000) =>
    simulated.advanceUntil(binding.send(request, { deadlineMs: millis(deadlineMs) }));
  return { clock: simulated, wire, server, far, bindingAt, send };
}

await t.test('a session that died without a sign is replaced; one that is merely slow is not', async (t) => {
  const bench = openBench();
  const binding = bench.bindingAt(home);
  t.ok((await bench.send(binding)).ok);
  const { local } = binding.facts;
  t.ok((await bench.send(binding)).ok);
  t.equal(binding.facts.opened, 1, 'one session for all requests');

  // A translator on the way has forgotten this pair of addresses.
  bench.wire.fate = (data, from, to) =>
    from.port === local?.port || to.port === local?.port ? undefined : data;
  const lost = await bench.send(binding);
  t.ok(!lost.ok && lost.error.kind === 'deadline');
  t.ok((await bench.send(binding)).ok, 'the next request has a new session');
  t.strictSame([binding.facts.opened, binding.facts.replaced], [2, 1]);
  t.not(binding.facts.local?.port, local?.port);

  // A CSE that takes longer than the caller waits, but acknowledges.
  serveRequests(bench.far, (asked) => new Promise((resolve) => {
    bench.clock.schedule(millis(3000), () => resolve({ responseStatusCode: 2000, requestIdentifier: asked.requestIdentifier }));
  })); // prettier-ignore
  bench.wire.fate = (data) => data;
  const slow = await bench.send(binding);
  t.ok(!slow.ok && slow.error.kind === 'deadline');
  await bench.clock.advance(5000);
  t.equal(binding.facts.opened, 2, 'a CSE that acknowledges keeps its session');

  // The CSE restarts: it takes leave, and the next request begins anew.
  serveRequests(bench.far, answering);
  await bench.clock.advance(60_000);
  await bench.far.close();
  await bench.clock.advance(0);
  t.equal(binding.facts.isOpen, false);
  const dead = await bench.send(binding);
  t.ok(!dead.ok && /as "gw1": no answer within 2000 ms/u.test(dead.error.message));
  await binding.close();
  t.equal(bench.clock.pendingCount, 0, 'nothing is left running');
  t.equal(bench.wire.openSockets, 0);
});

await t.test(
  'handshakes with a CSE that is gone are paced, and requests meanwhile fail at once',
  async (t) => {
    const bench = openBench({ waitingMax: 2 });
    await bench.far.close();
    const binding = bench.bindingAt(home);
    const deadlineMs = millis(100);
    const waiting = [1, 2, 3].map(() => binding.send(request, { deadlineMs }));
    const outcomes = await bench.clock.advanceUntil(Promise.all(waiting));
    t.strictSame(outcomes.map((each) => (each.ok ? 'ok' : each.error.kind)), ['deadline', 'deadline', 'busy']); // prettier-ignore
    const begins: number[] = [];
    let at = 0;
    for (let step = 0; step < 6000; step++) {
      const failedBefore = binding.facts.failed;
      const outcome = await bench.send(binding, 10);
      if (!outcome.ok && /tried again in/u.test(outcome.error.message))
        t.equal(outcome.error.kind, 'deadline');
      await bench.clock.advance(90);
      if (binding.facts.failed > failedBefore) begins.push(bench.clock.monotonicMs() - at);
      if (binding.facts.failed > failedBefore) at = bench.clock.monotonicMs();
    }
    const { failed } = binding.facts;
    t.ok(failed >= 12 && failed <= 40, `${failed} handshakes in ten minutes`);
    t.ok(new Set(begins.slice(-5)).size > 1, 'at pauses that differ');
    const withdrawn = await binding.send(request, { deadlineMs, signal: AbortSignal.abort() });
    t.ok(!withdrawn.ok && withdrawn.error.kind === 'cancelled');
    await binding.close();
    const closed = await binding.send(request, { deadlineMs });
    t.ok(!closed.ok && closed.error.kind === 'closed');
  },
);

await t.test('a session is ready on the new link before the switch, and carries notifications', async (t) => {
  const bench = openBench();
  const [serving, candidate] = [bench.bindingAt(home), bench.bindingAt('198.51.100.10')];
  t.ok((await bench.send(serving)).ok);
  t.ok((await bench.clock.advanceUntil(candidate.prepare({ deadlineMs: millis(1000) }))).ok);
  t.equal(candidate.facts.local?.address, '198.51.100.10');
  bench.wire.sent = [];
  t.ok((await bench.send(candidate)).ok);
  t.equal(bench.wire.sent.length, 2, 'the switch costs one datagram each way, and no handshake');
  t.equal(serving.facts.isOpen, true, 'make before break');

  const notification = messageOf('0.02', {
    options: new Map([
      [271, [Buffer.from('4')]],
      [279, [Buffer.from('/id-mn1')]],
      [283, [Buffer.from('n1')]],
    ]),
  });
  for (const { local } of [serving.facts, candidate.facts]) {
    const notified = await bench.far.request(local ?? serverAt, notification, { deadlineMs: millis(1000) });
    t.ok(notified.ok && notified.value.code.startsWith('2.'), 'a notification is answered over the session');
  }
  await Promise.all([serving.close(), candidate.close(), bench.far.close()]);
});

await t.test('every engine of all these tests was given back', async (t) => {
  t.equal(live.size, 0);
});
