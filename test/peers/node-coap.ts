// Proves of the CoAP endpoint against the `coap` package 1.5, whose defects must neither hang nor break nor leak us:
// - its client at our server: plain, in blocks both ways, with a separate answer, and an observation that we do not offer;
// - our client at its server: plain, non-confirmable, in blocks both ways, with a separate answer, a ping (which it takes
//   for a request), an unknown critical option (which it passes over), a large answer (for which its handler runs for each
//   block) and blocks under one token (it knows bodies by nothing else);
// - our Observe client there: notifications, the end by request, and one that it cannot send because of its size;
// - an open exchange that moves to another local address.
// Not proven: the answers that end this package's own process, such as a block option of no octets.
import assert from 'node:assert/strict';
import { Agent, createServer } from 'coap';
import type { IncomingMessage, OutgoingMessage } from 'coap';
import { millis } from '../../src/base/units.ts';
import { requestInBlocks } from '../../src/coap/blockwise.ts';
import { Observation } from '../../src/coap/observation.ts';
import type { ObservationFailure } from '../../src/coap/observation.ts';
import { sleep } from '../../src/host/clock.ts';
import type { SocketAddress } from '../../src/host/network.ts';
import {
  RecordingServer,
  answered,
  assertIdle,
  bodyOf,
  deadlineMs,
  onLoopback,
  openEndpoint,
  requestOf,
} from './coap-rig.ts';
import type { PeerBench, PeerPart } from './peer-bench.ts';

const local = '127.0.0.1';
const slowMs = 400;
/** Blocks of 1,024 octets, as the package wants them asked for. */
const block1024 = Buffer.of(6);

/** The `coap` package, which needs nothing but Node. */
export const nodeCoapPart: PeerPart = {
  name: 'node-coap',
  programs: [],
  run: async (bench) => {
    await runClient(bench);
    const theirs = await startServer(bench);
    await runServer(bench, theirs);
    await runObservation(bench, theirs);
  },
};

async function runClient(bench: PeerBench): Promise<void> {
  const ours = new RecordingServer(bench, await openEndpoint(bench), slowMs);
  const agent = new Agent({ type: 'udp4' });
  bench.defer(() => Promise.resolve(agent.close()));
  const ask = (
    method: 'GET' | 'PUT' | 'POST' | 'DELETE',
    pathname: string,
    options: { payload?: Buffer; confirmable?: boolean; observe?: boolean } = {},
  ): Promise<IncomingMessage> => {
    const { payload = Buffer.alloc(0), confirmable = true, observe = false } = options;
    const { port } = ours.endpoint.local;
    return new Promise((resolve, reject) => {
      const request = agent.request({ host: local, port, method, pathname, confirmable, observe });
      if (payload.length > 1_024) request.setOption('Block1', block1024);
      request.on('response', resolve);
      request.on('error', reject);
      request.end(payload);
    });
  };
  const codes = { GET: '0.01', POST: '0.02', PUT: '0.03', DELETE: '0.04' } as const;
  for (const confirmable of [true, false]) {
    const kind = confirmable ? 'confirmable' : 'non-confirmable';
    await bench.check(`its client: GET, POST, PUT, DELETE, ${kind}`, async () => {
      for (const [method, code] of Object.entries(codes)) {
        const payload = Buffer.from(method === 'POST' || method === 'PUT' ? `body of ${method}` : '');
        const answer = await ask(method as keyof typeof codes, '/a', { payload, confirmable });
        assert.equal(answer.code, method === 'DELETE' ? '2.02' : '2.05');
        assert.equal(answer.payload.compare(payload), 0);
        assert.deepEqual(ours.take(), [{ code, path: 'a', payload }]);
      }
    });
  }
  for (const length of [20_000, 60_000]) {
    await bench.check(`its client: ${length} bytes in blocks there and back`, async () => {
      const payload = bodyOf(length);
      const answer = await ask('PUT', '/up', { payload });
      const asked = ours.take();
      assert.equal(asked.length, 1, 'the handler ran once');
      assert.equal(asked[0]?.payload.compare(payload), 0);
      assert.equal(answer.payload.compare(payload), 0);
    });
  }
  await bench.check('its client: 20 kB in blocks', async () => {
    const answer = await ask('GET', '/big');
    assert.equal(answer.payload.compare(bodyOf(20_000)), 0);
    assert.equal(ours.take().length, 1, 'the handler ran once for all blocks');
  });
  await bench.check('its client: a separate answer', async () => {
    const answer = await ask('POST', '/slow', { payload: Buffer.from('late') });
    assert.equal(answer.payload.toString(), 'late');
    assert.equal(ours.take().length, 1);
  });
  await bench.check('its client: an observation is answered once, since we offer none', async () => {
    const answer = await ask('GET', '/a', { observe: true });
    assert.equal(answer.code, '2.05');
    assert.equal(ours.take().length, 1);
  });
  await bench.check('our server holds nothing afterwards', async () => {
    await bench.until('the last acknowledgement', () => ours.endpoint.load.separateAnswers === 0);
    assertIdle(ours.endpoint);
  });
}

/** What the server of the package was asked, and where it is. */
interface Theirs {
  readonly peer: SocketAddress;
  readonly urls: string[];
  readonly tokens: Set<string>;
}

async function startServer(bench: PeerBench): Promise<Theirs> {
  const { clock } = bench.host;
  const port = await bench.freeUdpPort(local);
  const theirs: Theirs = { peer: onLoopback(port), urls: [], tokens: new Set() };
  const server = createServer({ type: 'udp4' }, (request: IncomingMessage, response: OutgoingMessage) => {
    theirs.urls.push(request.url);
    theirs.tokens.add(request._packet.token?.toString('hex') ?? '');
    if (request.url === '/slow') clock.schedule(millis(slowMs), () => response.end('late'));
    else if (request.url === '/silent') return;
    else if (request.url === '/big') response.end(bodyOf(20_000));
    else if (request.headers.Observe === 0) notify(request.url, response);
    else response.end(request.method === 'GET' ? request.url : request.payload);
  });
  const notify = (url: string, response: OutgoingMessage): void => {
    let count = 0;
    const write = (): void => {
      try {
        response.write(url === '/huge' && count > 0 ? bodyOf(3_000) : `${url} ${count++}`);
      } catch {
        // It throws for a notification that is too large for it.
      }
    };
    write();
    let cancel = (): void => undefined;
    const again = (): void => {
      write();
      cancel = clock.schedule(millis(40), again);
    };
    cancel = clock.schedule(millis(40), again);
    response.on('finish', () => cancel());
    bench.defer(() => Promise.resolve(cancel()));
  };
  await new Promise<void>((resolve) => server.listen(port, local, () => resolve()));
  bench.defer(() => new Promise<void>((resolve) => void server.close(() => resolve())));
  return theirs;
}

async function runServer(bench: PeerBench, theirs: Theirs): Promise<void> {
  const { clock } = bench.host;
  const { peer } = theirs;
  const ours = await openEndpoint(bench);
  const within = { deadlineMs };
  await bench.check('its server: GET and PUT, confirmable and not', async () => {
    for (const type of ['confirmable', 'nonConfirmable'] as const) {
      const got = answered(await ours.request(peer, requestOf('0.01', 'a'), { ...within, type }), '2.05');
      assert.equal(Buffer.from(got.payload).toString(), '/a');
      const put = requestOf('0.03', 'a', Buffer.from('body'));
      const echo = answered(await ours.request(peer, put, { ...within, type }), '2.05');
      assert.equal(Buffer.from(echo.payload).toString(), 'body');
    }
  });
  await bench.check('its server: 20 and 60 kB in blocks, all under one token', async () => {
    for (const length of [20_000, 60_000]) {
      theirs.tokens.clear();
      const body = bodyOf(length);
      const put = requestOf('0.03', 'up', body);
      const echo = answered(await requestInBlocks(ours, clock, peer, put, within), '2.05');
      assert.equal(Buffer.from(echo.payload).compare(body), 0);
      assert.equal(theirs.tokens.size, 1);
    }
  });
  await bench.check('its server: 20 kB in blocks, smaller ones as well', async () => {
    for (const blockBytes of [1024, 256, 64]) {
      const get = requestOf('0.01', 'big');
      const got = await requestInBlocks(ours, clock, peer, get, { ...within, blockBytes });
      assert.equal(Buffer.from(answered(got, '2.05').payload).compare(bodyOf(20_000)), 0);
    }
  });
  await bench.check('its server: a separate answer', async () => {
    const late = answered(await ours.request(peer, requestOf('0.01', 'slow'), within), '2.05');
    assert.equal(Buffer.from(late.payload).toString(), 'late');
  });
  await bench.check('its server: silence after its acknowledgement ends with the deadline', async () => {
    const beganMs = clock.monotonicMs();
    const silent = await ours.request(peer, requestOf('0.01', 'silent'), { deadlineMs: millis(700) });
    const tookMs = clock.monotonicMs() - beganMs;
    assert.ok(!silent.ok && silent.error.kind === 'deadline' && /acknowledged/u.test(silent.error.message));
    assert.ok(tookMs < 1_000, `${tookMs} ms`);
  });
  await bench.check('its server: a ping is a sign of life, though it takes it for a request', async () => {
    const pong = await ours.ping(peer, within);
    assert.ok(pong.ok, pong.ok ? '' : pong.error.message);
  });
  await bench.check('its server: an unknown critical option is passed over', async () => {
    const options = new Map([[65_001, [Buffer.from('x')]]]);
    answered(await ours.request(peer, { ...requestOf('0.01', 'a'), options }, within), '2.05');
  });
  await bench.check('its server: an exchange goes on at another address', async () => {
    const second = await openEndpoint(bench, '127.0.0.2');
    const exchange = ours.open(peer, requestOf('0.01', 'slow'), within);
    await sleep(clock, millis(120));
    assert.equal(second.takeOver(exchange), undefined);
    await ours.close();
    const late = answered(await exchange.result, '2.05');
    assert.equal(Buffer.from(late.payload).toString(), 'late');
    assertIdle(second);
    assertIdle(ours);
  });
}

async function runObservation(bench: PeerBench, { peer }: Theirs): Promise<void> {
  const { clock } = bench.host;
  const observe = async (path: string) => {
    const endpoint = await openEndpoint(bench);
    const heard: string[] = [];
    const ends: ObservationFailure[] = [];
    const observed = await Observation.register(endpoint, peer, requestOf('0.01', path), {
      deadlineMs,
      onNotification: ({ payload }) => void heard.push(Buffer.from(payload).toString()),
      onEnd: (reason) => void ends.push(reason),
    });
    assert.ok(observed.ok, observed.ok ? '' : observed.error.message);
    return { endpoint, heard, ends, observation: observed.value };
  };
  await bench.check('its server: notifications come in order until they are called off', async () => {
    const { endpoint, heard, ends, observation } = await observe('count');
    await bench.until('ten notifications', () => heard.length >= 10);
    assert.deepEqual(
      heard,
      heard.map((_, index) => `/count ${index}`),
    );
    await observation.deregister({ deadlineMs: millis(1_000) });
    await sleep(clock, millis(200));
    const after = heard.length;
    await sleep(clock, millis(200));
    assert.equal(heard.length, after);
    assert.deepEqual(ends, []);
    assertIdle(endpoint);
  });
  await bench.check(
    'its server: what is too large for a notification never comes, and holds nothing up',
    async () => {
      const { endpoint, heard, ends, observation } = await observe('huge');
      await sleep(clock, millis(300));
      assert.deepEqual(heard, ['/huge 0']);
      observation.forget();
      assert.deepEqual(ends, []);
      assertIdle(endpoint);
    },
  );
}
