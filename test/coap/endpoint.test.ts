// Proves of the CoAP endpoint, on a socket in memory and a clock that stands still: every exchange ends by its deadline,
// however the peer behaves, and leaves neither timer nor listener; retransmissions keep their schedule, which follows the
// times measured with each peer; a response counts
// only from the asked peer under the right token and message ID; a repeat never runs a handler again and gets the same
// answer; slow handlers are acknowledged and answered apart; pings, unknown critical options, exceptions, overload and
// garbage are answered as RFC 7252 says; all memory is bounded and given back; closing ends everything.
import t from 'tap';
import { err, ok } from '../../src/base/result.ts';
import type { Result } from '../../src/base/result.ts';
import { millis } from '../../src/base/units.ts';
import { serveRequests } from '../../src/coap/coap-binding.ts';
import { decodeDatagram, encodeDatagram, optionsMax } from '../../src/coap/message.ts';
import type { CoapMessage, Datagram, MessageHeader } from '../../src/coap/message.ts';
import { ResponseTimes, backOffOf, measuredPeersMax, timeoutBounds } from '../../src/coap/response-times.ts';
import { ServedRequests, servedBytesMax, servedRequestsMax } from '../../src/coap/served-requests.ts';
import { NodeClock, settle } from '../../src/host/clock.ts';
import type { DeliveryError } from '../../src/onem2m/binding.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';
import { hex, messageOf, openBench, peer } from './test-socket.ts';
import type { Bench } from './test-socket.ts';

const other = { address: '192.0.2.2', port: 5683 };
const none = new Uint8Array();
const firstBlock = { number: 0, more: false, size: 64 };
const content = messageOf('2.05', { payload: Buffer.from('yes') });
const con = (messageId: number, token: Uint8Array = Buffer.of(messageId & 255)): MessageHeader => ({
  type: 'confirmable',
  messageId,
  token,
});
const non = (messageId: number): MessageHeader => ({ ...con(messageId), type: 'nonConfirmable' });
const bareAck = (messageId: number): MessageHeader => ({ type: 'acknowledgement', messageId, token: none });
const reset = (messageId: number): MessageHeader => ({ type: 'reset', messageId, token: none });

/** Starts a GET and tells when and how it ended. */
function ask(bench: Bench, deadlineMs: number, signal?: AbortSignal) {
  const state: { result?: Result<CoapMessage, DeliveryError>; endMs?: number } = {};
  const options = { deadlineMs: millis(deadlineMs), ...(signal === undefined ? {} : { signal }) };
  const work = bench.endpoint.request(peer, messageOf('0.01', { path: ['a'] }), options).then((result) => {
    state.result = result;
    state.endMs = bench.clock.monotonicMs();
  });
  const request = bench.socket.sent.at(-1)?.datagram as Datagram;
  return { state, work, request };
}

const lastOf = (bench: Bench): Datagram | undefined => bench.socket.sent.at(-1)?.datagram;

await t.test('client: the deadline holds in every phase', async (t) => {
  const phases: readonly (readonly [string, (bench: Bench, request: Datagram) => void, RegExp])[] = [
    ['silence', () => undefined, /no answer within 2500 ms/],
    [
      'ACK, then silence',
      (bench, { messageId }) => bench.socket.receiveMessage(bareAck(messageId)),
      /acknowledged, then/,
    ],
    [
      'answers under another token',
      (bench, { messageId }) =>
        bench.socket.receiveMessage({ ...bareAck(messageId), token: Buffer.alloc(8) }, content),
      /no answer/,
    ],
  ];
  for (const [name, act, message] of phases) {
    const bench = openBench();
    const { state, request } = ask(bench, 2500);
    await bench.clock.advance(700);
    act(bench, request);
    await bench.clock.advance(1799.5);
    t.equal(state.result, undefined, `${name}: open until the deadline`);
    await bench.clock.advance(0.5);
    t.match(state.result, { ok: false, error: { kind: 'deadline', message } }, name);
    t.equal(state.endMs, 2500, `${name}: exact`);
    t.equal(bench.clock.pendingCount, 0, `${name}: no timer left`);
  }
  const bench = openBench();
  const { state } = ask(bench, 0);
  await bench.clock.advance(0);
  t.match(state.result, { ok: false, error: { kind: 'deadline' } }, 'a deadline of nothing');
});

await t.test('client: retransmission', async (t) => {
  const bench = openBench({ ackTimeoutMs: millis(1000) });
  const times: number[] = [];
  bench.socket.onSent = () => times.push(bench.clock.monotonicMs());
  const { state, request } = ask(bench, 100_000);
  await bench.clock.advance(100_000);
  t.equal(times.length, 5, 'sent once and four times more');
  const first = (times[1] ?? 0) - (times[0] ?? 0);
  t.ok(first >= 1000 && first <= 1500, `first pause ${first} ms`);
  for (let index = 1; index < 4; index++) {
    const pause = (times[index + 1] ?? 0) - (times[index] ?? 0);
    t.ok(Math.abs(pause - first * 2 ** index) < 1e-6, `pause ${index + 1} doubles`);
  }
  const [original] = bench.socket.sent;
  for (const { data, to } of bench.socket.sent) {
    t.same(data, original?.data, 'the same octets each time');
    t.equal(to, peer);
  }
  t.equal(bench.endpoint.counters.retransmitted, 4);
  t.match(state.result, { ok: false, error: { kind: 'deadline' } });
  t.equal(request.token.length, 8);

  const pauses = new Set<number>();
  for (let count = 0; count < 20; count++) {
    const { request: each } = ask(bench, 100_000);
    const start = bench.clock.monotonicMs();
    times.length = 0;
    await bench.clock.advance(1500);
    pauses.add((times[0] ?? 0) - start);
    bench.socket.receiveMessage(bareAck(each.messageId));
    times.length = 0;
    await bench.clock.advance(60_000);
    t.equal(times.length, 0, 'an acknowledged request is not sent again');
    bench.socket.receiveMessage(con(900 + count, each.token), content);
    await settle();
  }
  t.ok(pauses.size > 15, 'the first pause is drawn anew');
  t.equal(bench.clock.pendingCount, 0);
});

await t.test('client: retransmission follows the times of the peer', async (t) => {
  const bench = openBench();
  const { clock, socket, endpoint } = bench;
  const path = { delayMs: 40, losing: (): boolean => false };
  socket.onSent = (datagram) => {
    if (datagram.message === undefined || path.losing()) return;
    const { messageId, token } = datagram;
    clock.schedule(millis(path.delayMs), () => {
      if (!path.losing()) socket.receiveMessage({ ...bareAck(messageId), token }, content);
    });
  };
  /** Milliseconds until the answer, and the retransmissions it took; NaN without answer. */
  const exchange = async (deadlineMs = 10_000): Promise<{ tookMs: number; repeats: number }> => {
    const before = endpoint.counters.retransmitted;
    const { state, work } = ask(bench, deadlineMs);
    const startMs = clock.monotonicMs();
    await clock.advanceUntil(work);
    const tookMs = state.result?.ok === true ? (state.endMs ?? 0) - startMs : Number.NaN;
    return { tookMs, repeats: endpoint.counters.retransmitted - before };
  };
  /** Loses the next datagrams and has the others through. */
  const lose = (count: number): void => {
    let left = count;
    path.losing = () => left-- > 0;
  };

  t.equal(endpoint.usualResponseMs(peer), undefined, 'nothing is known of a peer that was never asked');
  lose(1);
  const unmeasured = await exchange();
  t.ok(unmeasured.tookMs >= 1000, `a loss costs ${unmeasured.tookMs} ms as long as nothing is known`);
  for (let count = 0; count < 10; count++) t.equal((await exchange()).tookMs, 40);
  t.equal(endpoint.usualResponseMs(peer), 40);
  lose(1);
  const measured = await exchange();
  t.ok(measured.tookMs <= 340 && measured.repeats === 1, `and ${measured.tookMs} ms afterwards`);
  lose(3);
  const outage = await exchange();
  t.ok(outage.repeats === 3 && outage.tookMs > 2000, `three losses reach ${outage.tookMs} ms far`);

  for (let count = 0; count < 20; count++) await exchange();
  path.delayMs = 900;
  const repeats: number[] = [];
  for (let count = 0; count < 20; count++) repeats.push((await exchange()).repeats);
  t.ok((repeats[0] ?? 0) > 0, 'a path that became slow is asked again too early');
  t.same(repeats.slice(-8), Array<number>(8).fill(0), `until that is known: ${repeats.join(' ')}`);

  await clock.advance(60_000);
  t.equal(endpoint.usualResponseMs(peer), undefined, 'what is a minute old says nothing any more');
  t.equal(clock.pendingCount, 0);
});

await t.test('client: a lossy link costs retransmissions, not answers', async (t) => {
  const seed = 77;
  t.comment(`seed ${seed}`);
  const failures: Record<string, number> = {};
  for (const isMeasured of [true, false]) {
    const entropy = new SeededEntropy(seed);
    const bench = openBench();
    const isLost = (): boolean => entropy.uint32() % 5 === 0;
    let failed = 0;
    bench.socket.onSent = ({ messageId, token }) => {
      if (isLost()) return;
      bench.clock.schedule(millis(60), () => {
        if (!isLost()) bench.socket.receiveMessage({ ...bareAck(messageId), token }, content);
      });
    };
    for (let count = 0; count < 300; count++) {
      // Without a recent measurement the endpoint starts from its setting.
      if (!isMeasured) await bench.clock.advance(60_000);
      const { state, work } = ask(bench, 1_200);
      await bench.clock.advanceUntil(work);
      if (state.result?.ok !== true) failed++;
    }
    failures[isMeasured ? 'measured' : 'fixed'] = failed;
  }
  const { measured = 0, fixed = 0 } = failures;
  t.ok(
    measured * 2 < fixed,
    `of 300 requests with 20 % loss each way ${measured} fail, with a fixed timeout ${fixed}`,
  );
});

await t.test('response times: bounded in value and in number', (t) => {
  const clock = new SimulatedClock();
  const times = new ResponseTimes(clock, millis(1000));
  for (let count = 0; count < 50; count++) times.record(peer, 0.1, 0);
  t.equal(times.timeoutMs(peer), timeoutBounds.minMs, 'no sooner');
  for (let count = 0; count < 50; count++) times.record(peer, 100_000, 2);
  t.equal(times.timeoutMs(peer), timeoutBounds.maxMs, 'no later');
  const before = times.usualMs(peer);
  times.record(peer, 1, 3);
  t.equal(times.timeoutMs(peer), timeoutBounds.maxMs, 'a message sent four times says nothing');
  t.equal(times.usualMs(peer), before);
  for (let port = 1; port <= measuredPeersMax; port++) times.record({ ...peer, port }, 50, 0);
  t.equal(times.usualMs(peer), undefined, 'the one measured longest ago gave way');
  t.equal(times.usualMs({ ...peer, port: 1 }), 50);
  t.same([150, 500, 2999, 3500].map(backOffOf), [3, 2, 2, 1.5]);
  t.end();
});

await t.test('client: answers', async (t) => {
  const bench = openBench();
  const piggybacked = ask(bench, 5000);
  bench.socket.receiveMessage(
    { ...bareAck(piggybacked.request.messageId), token: piggybacked.request.token },
    content,
  );
  await settle();
  t.match(piggybacked.state.result, { ok: true, value: { code: '2.05' } }, 'piggybacked');

  const separate = ask(bench, 5000);
  bench.socket.receiveMessage(bareAck(separate.request.messageId));
  const answered = con(77, separate.request.token);
  for (let count = 0; count < 3; count++) {
    bench.socket.receiveMessage(answered, content);
    t.match(
      lastOf(bench),
      { type: 'acknowledgement', messageId: 77 },
      'each copy of a separate answer is acknowledged',
    );
  }
  await settle();
  t.match(separate.state.result, { ok: true, value: { code: '2.05' } }, 'separate, confirmable');
  t.equal(bench.endpoint.counters.duplicates, 2);

  const early = ask(bench, 5000);
  bench.socket.receiveMessage(con(78, early.request.token), content);
  bench.socket.receiveMessage(bareAck(early.request.messageId));
  await settle();
  t.match(early.state.result, { ok: true }, 'separate before its acknowledgement');

  const nonConfirmable = ask(bench, 5000);
  const sent = bench.socket.sent.length;
  bench.socket.receiveMessage({ ...con(79, nonConfirmable.request.token), type: 'nonConfirmable' }, content);
  await settle();
  t.match(nonConfirmable.state.result, { ok: true }, 'separate, non-confirmable');
  t.equal(bench.socket.sent.length, sent, 'which nobody acknowledges');

  const rejected = ask(bench, 5000);
  bench.socket.receiveMessage(reset(rejected.request.messageId));
  await settle();
  t.match(rejected.state.result, { ok: false, error: { kind: 'reset' } });
  t.equal(bench.clock.pendingCount, 0, 'no timer left');

  const strict = ask(bench, 5000);
  const { messageId, token } = strict.request;
  const piggyback = { ...bareAck(messageId), token };
  bench.socket.receiveMessage(piggyback, content, other);
  bench.socket.receiveMessage(piggyback, content, { ...peer, port: 1 });
  bench.socket.receiveMessage({ ...piggyback, messageId: messageId + 1 }, content);
  bench.socket.receiveMessage({ ...piggyback, token: token.subarray(0, 7) }, content);
  bench.socket.receiveMessage({ ...piggyback, token: none }, content);
  t.equal(bench.endpoint.counters.unmatched, 5);
  bench.socket.receiveMessage(con(80, token), content, other);
  t.match(
    lastOf(bench),
    { type: 'reset', messageId: 80 },
    'a confirmable answer from a stranger is rejected',
  );
  bench.socket.receiveMessage(reset(messageId), undefined, other);
  bench.socket.receiveMessage(bareAck(messageId), undefined, other);
  bench.socket.receive(Buffer.concat([hex('78 45'), hex('0001'), token])); // a reset that carries an answer
  await bench.clock.advance(1500);
  t.equal(strict.state.result, undefined, 'none of these ends the exchange');
  t.equal(bench.socket.sent.at(-1)?.data[0], 0x48, 'and it is still being retransmitted');
  bench.socket.receiveMessage(piggyback, content);
  await settle();
  t.match(strict.state.result, { ok: true });

  const odd = ask(bench, 5000);
  const critical = messageOf('2.05', { options: new Map([[9, [Buffer.of(1)]]]) });
  bench.socket.receiveMessage(con(81, odd.request.token), critical);
  await settle();
  t.match(odd.state.result, { ok: false, error: { kind: 'malformed', message: /option 9/ } });
  t.match(lastOf(bench), { type: 'reset', messageId: 81 });
});

await t.test('client: non-confirmable requests, pings, a peer written otherwise', async (t) => {
  const bench = openBench();
  const open = (deadlineMs: number): ReturnType<typeof bench.endpoint.request> =>
    bench.endpoint.request(peer, messageOf('0.01'), {
      deadlineMs: millis(deadlineMs),
      type: 'nonConfirmable',
    });
  const answered = open(60_000);
  const { messageId, token } = lastOf(bench) as Datagram;
  t.match(lastOf(bench), { type: 'nonConfirmable' });
  await bench.clock.advance(59_000);
  t.equal(bench.socket.sent.length, 1, 'sent once');
  bench.socket.receiveMessage(con(90, token), content);
  t.match(lastOf(bench), { type: 'acknowledgement', messageId: 90 }, 'a confirmable answer is acknowledged');
  t.match(await answered, { ok: true });
  const rejected = open(60_000);
  bench.socket.receiveMessage(reset((lastOf(bench) as Datagram).messageId));
  t.match(await rejected, { ok: false, error: { kind: 'reset' } });
  t.match(await bench.clock.advanceUntil(open(300)), { ok: false, error: { kind: 'deadline' } });
  bench.socket.receiveMessage(non(91), { ...content, options: new Map([[6, [none]]]) });
  t.match(lastOf(bench), { type: 'reset', messageId: 91 }, 'a notification that nobody wants gets a reset');
  t.not(messageId, 91);

  for (const [name, answer] of [
    ['a reset', (id: number): void => bench.socket.receiveMessage(reset(id))],
    ['an acknowledgement', (id: number): void => bench.socket.receiveMessage(bareAck(id))],
    ['an answer', (id: number): void => bench.socket.receiveMessage(bareAck(id), messageOf('2.05'))],
  ] as const) {
    const ping = bench.endpoint.ping(peer, { deadlineMs: millis(5_000) });
    const sent = lastOf(bench);
    t.match(sent, { type: 'confirmable', token: Buffer.alloc(0) });
    t.notOk(sent?.message, 'a ping is empty');
    await bench.clock.advance(30);
    answer(sent?.messageId ?? 0);
    t.same(await ping, { ok: true, value: 30 }, `${name} is a sign of life`);
  }
  const before = bench.socket.sent.length;
  const dead = bench.clock.advanceUntil(bench.endpoint.ping(peer, { deadlineMs: millis(2_500) }));
  t.match(await dead, { ok: false, error: { kind: 'deadline' } });
  t.ok(bench.socket.sent.length > before + 1, 'it is sent again as any other');
  t.same([bench.clock.pendingCount, bench.endpoint.load.exchanges], [0, 0]);

  const six = { address: '2001:DB8:0::1', port: 5683 };
  const asked = bench.endpoint.request(six, messageOf('0.01'), { deadlineMs: millis(500) });
  const request = lastOf(bench) as Datagram;
  bench.socket.receiveMessage({ ...bareAck(request.messageId), token: request.token }, content, {
    address: '2001:db8::1',
    port: 5683,
  });
  t.match(await asked, { ok: true }, 'IPv6 has many ways to write an address');
  t.match(bench.endpoint.peerFigures(six), { messages: 1, heard: 1 });
});

await t.test('client: withdrawal, refusal to send, limits, an answer within the send', async (t) => {
  const bench = openBench({ exchangesMax: 3 });
  const abort = new AbortController();
  let listeners = 0;
  const { signal } = abort;
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (...rest: Parameters<typeof add>) => (listeners++, add(...rest));
  signal.removeEventListener = (...rest: Parameters<typeof remove>) => (listeners--, remove(...rest));
  const answered = ask(bench, 5000, signal);
  bench.socket.receiveMessage(
    { ...bareAck(answered.request.messageId), token: answered.request.token },
    content,
  );
  const late = ask(bench, 100, signal);
  await bench.clock.advance(100);
  t.match(late.state.result, { ok: false, error: { kind: 'deadline' } });
  t.equal(listeners, 0, 'an exchange that ended left no listener');
  const withdrawn = ask(bench, 5000, signal);
  t.equal(listeners, 1);
  abort.abort();
  await settle();
  t.match(withdrawn.state.result, { ok: false, error: { kind: 'cancelled' } });
  t.equal(listeners, 0);
  t.equal(bench.clock.pendingCount, 0);
  const sent = bench.socket.sent.length;
  const stillborn = ask(bench, 5000, signal);
  await settle();
  t.match(stillborn.state.result, { ok: false, error: { kind: 'cancelled' } });
  t.equal(bench.socket.sent.length, sent, 'nothing is sent for what is withdrawn already');

  bench.socket.refusal = err({ errno: 'ENETUNREACH', message: 'network is unreachable' });
  const refused = ask(bench, 5000);
  await settle();
  t.match(refused.state.result, {
    ok: false,
    error: { kind: 'unreachable', message: /192\.0\.2\.1 .*unreachable/ },
  });
  bench.socket.refusal = ok(undefined);
  const lost = ask(bench, 50_000);
  bench.socket.refusal = err({ errno: 'ENETUNREACH', message: 'network is unreachable' });
  await bench.clock.advance(1500);
  t.match(
    lost.state.result,
    { ok: false, error: { kind: 'unreachable' } },
    'a retransmission that is refused',
  );
  t.ok((lost.state.endMs ?? 0) <= 1600 && bench.clock.pendingCount === 0);
  bench.socket.refusal = ok(undefined);

  const open = [ask(bench, 9000), ask(bench, 9000), ask(bench, 9000)];
  const fourth = ask(bench, 9000);
  await settle();
  t.match(fourth.state.result, { ok: false, error: { kind: 'busy', message: /3 exchanges/ } });
  await bench.clock.advance(9000);
  for (const { state } of open) t.match(state.result, { ok: false, error: { kind: 'deadline' } });
  const big = await bench.endpoint.request(peer, messageOf('0.02', { payload: new Uint8Array(70_000) }), {
    deadlineMs: millis(1),
  });
  t.match(big, { ok: false, error: { kind: 'malformed' } });
  t.equal(bench.clock.pendingCount, 0);

  bench.socket.onSent = ({ messageId, token }) => {
    bench.socket.onSent = undefined;
    bench.socket.receiveMessage({ ...bareAck(messageId), token }, content);
  };
  const instant = ask(bench, 9000);
  await settle();
  t.match(instant.state.result, { ok: true });
  t.equal(bench.clock.pendingCount, 0, 'an answer within the send leaves no retransmission');
});

await t.test(
  'client: 70,000 exchanges leave nothing behind, and no open message ID is taken twice',
  async (t) => {
    const bench = openBench({ exchangesMax: 2 });
    bench.socket.keeps = false;
    const held = bench.endpoint.request(peer, messageOf('0.01'), { deadlineMs: millis(1e9) });
    let heldId: number | undefined;
    const seen = new Set<string>();
    let first: number | undefined;
    bench.socket.onSent = ({ messageId, token }) => {
      first ??= messageId;
      heldId ??= (first - 1) & 0xffff;
      if (messageId === heldId) t.fail('the message ID of an open exchange was drawn again');
      seen.add(Buffer.from(token).toString('hex'));
      bench.socket.receiveMessage({ ...bareAck(messageId), token }, content);
    };
    for (let count = 0; count < 70_000; count++) {
      const result = await bench.endpoint.request(peer, messageOf('0.01'), { deadlineMs: millis(1000) });
      if (!result.ok) throw new Error(`exchange ${count}: ${result.error.message}`);
    }
    t.equal(seen.size, 70_000, 'no token repeats');
    t.equal(bench.clock.pendingCount, 2, 'only the held exchange has timers');
    bench.socket.onSent = undefined;
    await bench.endpoint.close();
    t.match(await held, { ok: false, error: { kind: 'closed' } });
    t.equal(bench.clock.pendingCount, 0);
  },
);

await t.test('server: quick handlers, repeats, non-confirmable requests', async (t) => {
  const bench = openBench();
  let runs = 0;
  bench.endpoint.onRequest((message) => {
    runs++;
    return Promise.resolve(
      messageOf('2.05', { payload: Buffer.from(`run ${runs} ${message.path.join('/')}`) }),
    );
  });
  const get = messageOf('0.01', { path: ['a', 'b'] });
  for (let count = 0; count < 5; count++) {
    bench.socket.receiveMessage(con(10), get);
    await settle();
  }
  t.equal(runs, 1, 'a repeat does not run the handler');
  t.equal(bench.socket.sent.length, 5, 'but is answered');
  for (const { datagram } of bench.socket.sent) {
    t.match(datagram, { type: 'acknowledgement', messageId: 10, message: { code: '2.05' } });
    t.equal(Buffer.from(datagram.message?.payload ?? []).toString(), 'run 1 a/b');
  }
  t.equal(bench.endpoint.counters.duplicates, 4);
  bench.socket.receiveMessage(con(10, Buffer.from('fresh')), get);
  await settle();
  t.equal(runs, 2, 'another token is another request: the peer started again');
  bench.socket.receiveMessage(con(10), get, other);
  await settle();
  t.equal(runs, 3, 'another peer is another request');
  bench.socket.sent.length = 0;
  bench.socket.receiveMessage(non(11), get);
  bench.socket.receiveMessage(non(11), get);
  await settle();
  t.equal(runs, 4);
  t.equal(bench.socket.sent.length, 1);
  t.match(lastOf(bench), { type: 'nonConfirmable', token: Buffer.of(11) });
  t.not(lastOf(bench)?.messageId, 11, 'under a message ID of our own');
  await bench.clock.advance(246_000);
  bench.socket.receiveMessage(con(10), get);
  await settle();
  t.equal(runs, 4, 'still remembered');
  await bench.clock.advance(1_001);
  bench.socket.receiveMessage(con(10), get);
  await settle();
  t.equal(runs, 5, 'forgotten after EXCHANGE_LIFETIME');
  t.equal(bench.clock.pendingCount, 0);
});

await t.test('server: a handler of three seconds', async (t) => {
  const bench = openBench({ piggybackMs: millis(50), ackTimeoutMs: millis(1000) });
  let runs = 0;
  bench.endpoint.onRequest(
    () =>
      new Promise((resolve) => {
        runs++;
        bench.clock.schedule(millis(3000), () => resolve(content));
      }),
  );
  const post = messageOf('0.02', { payload: Buffer.from('x') });
  bench.socket.receiveMessage(con(20), post);
  await bench.clock.advance(20);
  bench.socket.receiveMessage(con(20), post);
  await settle();
  t.equal(bench.socket.sent.length, 0, 'a repeat before the acknowledgement is not answered yet');
  await bench.clock.advance(30);
  t.equal(bench.socket.sent.length, 1);
  t.match(lastOf(bench), { type: 'acknowledgement', messageId: 20, token: Buffer.alloc(0) });
  t.notOk(lastOf(bench)?.message, 'an empty acknowledgement');
  for (let count = 0; count < 4; count++) {
    await bench.clock.advance(500);
    bench.socket.receiveMessage(con(20), post);
  }
  t.equal(runs, 1, 'five repeats, one run');
  t.equal(bench.socket.sent.length, 5);
  await bench.clock.advance(950);
  const separate = lastOf(bench);
  t.match(
    separate,
    { type: 'confirmable', token: Buffer.of(20), message: { code: '2.05' } },
    'the answer comes apart',
  );
  const messageId = separate?.messageId ?? 0;
  bench.socket.sent.length = 0;
  await bench.clock.advance(5000);
  t.equal(bench.socket.sent.length, 2, 'and is sent again until it is acknowledged');
  bench.socket.receiveMessage(bareAck(messageId), undefined, other);
  await bench.clock.advance(5000);
  t.equal(bench.socket.sent.length, 3, 'by its receiver');
  bench.socket.receiveMessage(bareAck(messageId));
  await bench.clock.advance(100_000);
  t.equal(bench.socket.sent.length, 3);
  t.equal(bench.clock.pendingCount, 0);

  for (const end of ['reset', 'silence'] as const) {
    bench.socket.sent.length = 0;
    bench.socket.receiveMessage(con(end === 'reset' ? 21 : 22), post);
    await bench.clock.advance(3000);
    if (end === 'reset') bench.socket.receiveMessage(reset(lastOf(bench)?.messageId ?? 0));
    await bench.clock.advance(60_000);
    t.equal(bench.socket.sent.length, end === 'reset' ? 2 : 6, end);
    t.equal(bench.clock.pendingCount, 0);
  }
  bench.socket.sent.length = 0;
  bench.socket.receiveMessage(non(23), post);
  await bench.clock.advance(60_000);
  t.equal(bench.socket.sent.length, 1, 'a non-confirmable request is answered once');
});

await t.test('server: pings, options, exceptions, silence, overload', async (t) => {
  const bench = openBench({ handlersMax: 2 });
  bench.socket.receiveMessage({ type: 'confirmable', messageId: 30, token: none });
  t.match(lastOf(bench), { type: 'reset', messageId: 30 }, 'a ping');
  bench.socket.receiveMessage(con(31), messageOf('0.01'));
  await settle();
  t.match(lastOf(bench), { type: 'acknowledgement', message: { code: '4.04' } }, 'no handler');

  let runs = 0;
  bench.endpoint.onRequest(() => {
    runs++;
    return Promise.resolve(content);
  });
  for (const [index, number] of [1, 5, 9, 13, 35, 269, 367, 65_001].entries()) {
    const message = messageOf('0.01', { options: new Map([[number, [Buffer.of(1)]]]) });
    bench.socket.sent.length = 0;
    bench.socket.receiveMessage(con(100 + index), message);
    bench.socket.receiveMessage(con(100 + index), message);
    t.equal(bench.socket.sent.length, 2, 'twice the same');
    t.match(
      lastOf(bench),
      {
        type: 'acknowledgement',
        messageId: 100 + index,
        message: { code: number === 35 ? '5.05' : '4.02' },
      },
      `${number}`,
    );
    bench.socket.receiveMessage(non(200 + index), message);
    t.equal(bench.socket.sent.length, 2, `${number}: silence to a non-confirmable request`);
  }
  t.equal(runs, 0);
  const block = (number: number, ...values: readonly string[]): CoapMessage =>
    messageOf('0.01', { options: new Map([[number, values.map(hex)]]) });
  const unfit: readonly (readonly [string, CoapMessage, string])[] = [
    ['reserved block size', block(27, '07'), '4.00'],
    ['reserved block size beside a sound one', { ...block(23, '0f'), block1: firstBlock }, '4.00'],
    ['block of four octets', block(23, '01020304'), '4.02'],
    ['two block options', { ...block(27, '00'), block1: firstBlock }, '4.02'],
    ['accept of three octets', block(17, '010203'), '4.02'],
    ['two accepts', { ...block(17, '3c'), accept: 50 }, '4.02'],
    ['two hosts', block(3, '61', '62'), '4.02'],
    ['no host', block(3, ''), '4.02'],
    ['port of three octets', block(7, '010203'), '4.02'],
    ['path segment of 256 octets', block(11, '61'.repeat(256)), '4.02'],
    ['query of 256 octets', block(15, '61'.repeat(256)), '4.02'],
    ['proxy scheme', block(39, '61'), '5.05'],
  ];
  for (const [index, [name, message, code]] of unfit.entries()) {
    bench.socket.receiveMessage(con(160 + index), message);
    await settle();
    t.match(lastOf(bench), { type: 'acknowledgement', message: { code } }, name);
  }
  t.equal(runs, 0, 'none of these is passed over');
  const odd = block(12, '010203');
  bench.socket.receiveMessage(con(190), odd);
  await settle();
  t.equal(runs, 1, 'an elective option of an impossible length is');
  runs = 0;
  const elective = new Map(
    [3, 6, 7, 14, 60, 258, 2048, 259, 283, 351].map((number) => [number, [Buffer.of(1)]]),
  );
  bench.socket.receiveMessage(con(120), messageOf('0.01', { options: elective }));
  await settle();
  t.equal(runs, 1, 'elective and oneM2M options pass');

  bench.endpoint.onRequest(() => Promise.reject(new Error('secret path /etc')));
  bench.socket.receiveMessage(con(130), messageOf('0.01'));
  await settle();
  t.match(lastOf(bench), { type: 'acknowledgement', message: { code: '5.00' } });
  t.notMatch(Buffer.from(lastOf(bench)?.message?.payload ?? []).toString(), /secret/);
  bench.endpoint.onRequest(() => {
    throw new Error('at once');
  });
  bench.socket.receiveMessage(con(131), messageOf('0.01'));
  await settle();
  t.match(lastOf(bench), { messageId: 131, message: { code: '5.00' } });
  bench.endpoint.onRequest(() => Promise.resolve(messageOf('2.05', { payload: new Uint8Array(70_000) })));
  bench.socket.receiveMessage(con(132), messageOf('0.01'));
  await settle();
  t.match(lastOf(bench), { messageId: 132, message: { code: '5.00' } }, 'an answer that does not fit');

  bench.socket.sent.length = 0;
  bench.endpoint.onRequest(() => Promise.resolve(undefined));
  bench.socket.receiveMessage(con(133), messageOf('0.01'));
  bench.socket.receiveMessage(con(133), messageOf('0.01'));
  await bench.clock.advance(1000);
  t.equal(bench.socket.sent.length, 0, 'a handler may keep silent');

  const release: (() => void)[] = [];
  bench.endpoint.onRequest(() => new Promise((resolve) => release.push(() => resolve(content))));
  for (let count = 0; count < 4; count++) bench.socket.receiveMessage(con(140 + count), messageOf('0.01'));
  bench.socket.receiveMessage(con(143), messageOf('0.01'));
  t.equal(release.length, 2);
  t.equal(bench.socket.sent.length, 3);
  for (const { datagram } of bench.socket.sent)
    t.match(datagram.message, { code: '5.03' }, 'and its repeat likewise');
  bench.socket.receiveMessage(non(144), messageOf('0.01'));
  t.match(lastOf(bench), { type: 'nonConfirmable', message: { code: '5.03' } });
  for (const each of release) each();
  await settle();
  bench.socket.receiveMessage(con(145), messageOf('0.01'));
  t.equal(release.length, 3, 'handlers that ended make room');
});

await t.test('server: refusals of a oneM2M receiver carry status and request identifier', async (t) => {
  const bench = openBench({ handlersMax: 1 });
  const release: (() => void)[] = [];
  serveRequests(bench.endpoint, (request) => {
    if (request.to === 'broken') throw new Error('secret');
    if (request.to === 'quick') return Promise.resolve({ responseStatusCode: 2000, requestIdentifier: 'q1' });
    return new Promise((resolve) =>
      release.push(() => resolve({ responseStatusCode: 2000, requestIdentifier: 'q1' })),
    );
  });
  const request = (path: string, fields: Partial<CoapMessage> = {}): CoapMessage =>
    messageOf('0.02', { path: [path], options: new Map([[283, [Buffer.from('q1')]]]), ...fields });
  const rows: readonly (readonly [string, CoapMessage, string, number])[] = [
    ['notified', request('quick'), '2.04', 2000],
    ['handler throws', request('broken'), '5.00', 5000],
    ['no oneM2M method', { ...request('quick'), code: '0.06' }, '4.05', 4005],
    ['broken body', request('quick', { contentFormat: 60, payload: hex('ff') }), '4.00', 4000],
    ['body in XML', request('quick', { contentFormat: 41, payload: Buffer.from('<a/>') }), '4.15', 4015],
    ['answer in XML', { ...request('quick', { accept: 41 }), code: '0.01' }, '4.06', 5207],
    ['notified by somebody who accepts XML', request('quick', { accept: 41 }), '2.04', 2000],
    [
      'broken type',
      request('quick', {
        options: new Map([
          [267, [new Uint8Array(5)]],
          [283, [Buffer.from('q1')]],
        ]),
      }),
      '4.00',
      4000,
    ],
    [
      'block without the first',
      request('quick', { block1: { number: 3, more: false, size: 64 } }),
      '4.08',
      4000,
    ],
    [
      'option',
      request('quick', {
        options: new Map([
          [283, [Buffer.from('q1')]],
          [65_001, [none]],
        ]),
      }),
      '4.02',
      4000,
    ],
    ['slow', request('slow'), '', 0],
    ['overload', request('quick'), '5.03', 5000],
  ];
  for (const [index, [name, message, code, status]] of rows.entries()) {
    bench.socket.sent.length = 0;
    bench.socket.receiveMessage(con(300 + index), message);
    await settle();
    if (code === '') continue;
    const answer = lastOf(bench)?.message;
    t.equal(answer?.code, code, name);
    t.equal(Buffer.from(answer?.options.get(307)?.[0] ?? []).readUInt16BE(0), status, `${name}: status`);
    t.equal(Buffer.from(answer?.options.get(283)?.[0] ?? []).toString(), 'q1', `${name}: identifier`);
    t.notMatch(Buffer.from(answer?.payload ?? []).toString(), /secret/);
    if (status === 2000) t.equal(answer?.payload.length, 0);
  }
  bench.socket.receiveMessage(con(400), messageOf('0.02'));
  await settle();
  t.equal(
    lastOf(bench)?.message?.options.get(283)?.[0]?.length,
    0,
    'without an identifier there is none to echo',
  );
});

await t.test('server: what is remembered is bounded', async (t) => {
  const clock = new SimulatedClock();
  const served = new ServedRequests(clock);
  for (let count = 0; count < servedRequestsMax + 10; count++) served.record(`k${count}`);
  t.equal(served.get('k9'), undefined, 'the oldest went');
  t.ok(served.get('k10') && served.get(`k${servedRequestsMax + 9}`), 'the others are there');
  await clock.advance(247_000);
  t.equal(served.get(`k${servedRequestsMax + 9}`), undefined, 'and expire');
  const half = new Uint8Array(servedBytesMax / 2);
  for (const key of ['a', 'b', 'c']) {
    served.record(key);
    served.answer(key, half);
  }
  t.equal(served.get('a'), undefined, 'octets are bounded too');
  t.equal(served.get('b')?.answer, half);
  served.answer('c', new Uint8Array(1));
  served.answer('c', half);
  t.ok(served.get('b'), 'an answer that replaces another is counted once');
  served.answer('gone', half);
  t.equal(served.get('gone'), undefined);
  t.ok(served.get('b'), 'what is forgotten counts for nothing');
  served.record('b');
  served.record('d');
  served.answer('d', half);
  t.ok(served.get('c') && served.get('d'));

  const bench = openBench({ exchangesMax: 4, piggybackMs: millis(5) });
  bench.endpoint.onRequest(
    () => new Promise((resolve) => void bench.clock.schedule(millis(10), () => resolve(content))),
  );
  for (let count = 0; count < 20; count++) bench.socket.receiveMessage(con(count), messageOf('0.01'));
  await bench.clock.advance(10);
  const answers = bench.socket.sent.filter(({ datagram }) => datagram.type === 'confirmable');
  t.equal(answers.length, 20, 'all are answered');
  t.equal(bench.clock.pendingCount, 4, 'only as many again as there may be exchanges');
  await bench.clock.advance(100_000);
  t.equal(bench.clock.pendingCount, 0);
});

await t.test('close ends everything', async (t) => {
  const bench = openBench();
  const release: (() => void)[] = [];
  let slowMs = 1_000_000;
  bench.endpoint.onRequest(
    () =>
      new Promise((resolve) => {
        release.push(() => resolve(content));
        bench.clock.schedule(millis(slowMs), () => resolve(content));
      }),
  );
  slowMs = 100;
  bench.socket.receiveMessage(con(1), messageOf('0.01'));
  await bench.clock.advance(200); // a separate answer is under way
  const open = ask(bench, 5000);
  slowMs = 0;
  bench.socket.receiveMessage(con(2), messageOf('0.01')); // a handler is running, its acknowledgement pending
  await bench.endpoint.close();
  await bench.endpoint.close();
  t.equal(bench.socket.closes, 1);
  await settle();
  t.match(open.state.result, { ok: false, error: { kind: 'closed' } });
  t.equal(bench.clock.pendingCount, 1, "only the handler's own timer is left");
  const sent = bench.socket.sent.length;
  for (const each of release) each();
  bench.socket.receiveMessage(con(3), messageOf('0.01'));
  bench.socket.receiveMessage({ type: 'confirmable', messageId: 4, token: none });
  await bench.clock.advance(100_000);
  t.equal(bench.socket.sent.length, sent, 'nothing is sent any more');
  t.match(await bench.endpoint.request(peer, messageOf('0.01'), { deadlineMs: millis(5) }), {
    ok: false,
    error: { kind: 'closed' },
  });
});

await t.test('datagrams: framing', (t) => {
  const rows: readonly (readonly [string, string, RegExp | undefined])[] = [
    ['ping', '40000005', undefined],
    ['GET with token and path', '42010001c0deb161', undefined],
    ['payload', '40450001ff61', undefined],
    ['empty block option', '40450001d00e', undefined],
    ['nothing', '', /header/],
    ['three octets', '400100', /header/],
    ['version 2', '80010001', /no CoAP message/],
    ['token length 9', `49010001${'00'.repeat(9)}`, /token length/],
    ['token length 13', `4d01000100${'00'.repeat(13)}`, /token length/],
    ['token cut', '48010001c0de', /truncated/],
    ['option cut', '40010001b361', /truncated/],
    ['extended length cut', '40010001bd', /truncated/],
    ['extended length beyond', '40010001bd0561', /truncated/],
    ['extended delta cut', '40010001d0', /truncated/],
    ['delta 15', '40010001f0', /reserved option header|no CoAP/],
    ['length 15', '400100010f', /reserved option header/],
    ['marker without payload', '40010001ff', /marker/],
    ['octets after an empty message', '4000000500', /no CoAP message/],
    ['token in an empty message', '410000057a', /no CoAP message/],
    ['class 1', '40200001', /reserved class/],
    ['class 3', '40600001', /reserved class/],
    ['class 7', '40e10001', /reserved class/],
    ['reset with a code', '70450001', /not empty/],
    ['too many options', `40010001${'00'.repeat(optionsMax + 1)}`, /more than 256 options/],
  ];
  for (const [name, octets, reason] of rows) {
    if (reason === undefined) t.doesNotThrow(() => decodeDatagram(hex(octets)), name);
    else t.throws(() => decodeDatagram(hex(octets)), { code: 'DECODE', message: reason }, name);
  }
  const bench = openBench();
  bench.socket.receive(hex('40010007ff'));
  t.match(lastOf(bench), { type: 'reset', messageId: 7 }, 'a broken confirmable message is rejected');
  bench.socket.sent.length = 0;
  for (const octets of [
    '50010007ff',
    '60010007ff',
    '70010007ff',
    'ff',
    '80010007',
    '50000005',
    '60010009',
    '70010009',
  ]) {
    bench.socket.receive(hex(octets));
  }
  t.equal(bench.socket.sent.length, 0, 'any other is ignored');
  const realClock = new NodeClock();
  const startMs = realClock.monotonicMs();
  for (let count = 0; count < 50; count++)
    bench.socket.receive(Buffer.concat([hex('50010001'), Buffer.alloc(65_000)]));
  t.ok(realClock.monotonicMs() - startMs < 1000, '65,000 options cost nothing');
  t.end();
});

await t.test('mutated datagrams: no throw, no growth, only well-formed answers', async (t) => {
  const seed = 20_261;
  t.comment(`seed ${seed}`);
  const entropy = new SeededEntropy(seed);
  const bench = openBench({ handlersMax: 8 });
  serveRequests(bench.endpoint, (request) =>
    Promise.resolve({
      responseStatusCode: 2000,
      requestIdentifier: request.requestIdentifier,
      primitiveContent: { debugInfo: 'x'.repeat(entropy.uint32() % 3000) },
    }),
  );
  const options = new Map([
    [279, [Buffer.from('Sgw1')]],
    [283, [Buffer.from('q1')]],
    [267, [Buffer.of(4)]],
  ]);
  const seeds = [
    encodeDatagram(
      con(1),
      messageOf('0.01', { path: ['~', 'id', 'x'], query: ['fu=1', 'lbl=a%3Db'], options }),
    ),
    encodeDatagram(
      con(2),
      messageOf('0.02', {
        contentFormat: 60,
        payload: hex('a1676d326d3a63696ea163636f6e01'),
        options,
        accept: 60,
      }),
    ),
    encodeDatagram(
      non(3),
      messageOf('0.02', {
        block1: { number: 0, more: true, size: 16 },
        payload: new Uint8Array(16),
        options,
      }),
    ),
    encodeDatagram(bareAck(4)),
    encodeDatagram(con(5), content),
    encodeDatagram(con(6), messageOf('0.01', { block2: { number: 1, more: false, size: 64 }, options })),
  ];
  bench.socket.keeps = false;
  let answers = 0;
  bench.socket.onSent = () => answers++; // the socket decodes, and thereby checks, all that is sent
  let open = 0;
  let broken: unknown;
  for (let count = 0; count < 15_000 && broken === undefined; count++) {
    const data = Buffer.from(seeds[entropy.uint32() % seeds.length] ?? none);
    for (let changes = entropy.uint32() % 4; changes > 0; changes--) {
      data[entropy.uint32() % data.length] = entropy.uint32();
    }
    data.writeUInt16BE(entropy.uint32() & 0xffff, 2);
    const length = entropy.uint32() % 4 === 0 ? entropy.uint32() % (data.length + 1) : data.length;
    if (count % 1000 === 0) {
      open++;
      void bench.endpoint.request(peer, messageOf('0.01'), { deadlineMs: millis(50) }).then(() => open--);
    }
    try {
      bench.socket.receive(data.subarray(0, length));
    } catch (error) {
      broken = error;
    }
    if (count % 100 === 0) await bench.clock.advance(10);
  }
  t.equal(broken, undefined);
  await bench.clock.advance(300_000);
  t.equal(open, 0, 'every exchange among them ended');
  t.equal(bench.clock.pendingCount, 0, 'no timer is left');
  const { malformed, received, unmatched } = bench.endpoint.counters;
  t.ok(
    answers > 1_000 && malformed > 500 && unmatched > 100,
    `${received} in, ${answers} out, ${malformed} malformed`,
  );
});
