// Proves of exchanges that go on at the endpoint of another link: the request is sent there at once under the same token,
// an answer to either endpoint ends it, once, and its deadline stays what the caller said; a link that closes or refuses
// after the move changes nothing; an endpoint that cannot take it leaves it where it was. Bodies on their way out begin
// again, those on their way in go on or are asked for again, and an answer to the last block on the first link counts.
// On real sockets: the handler at the peer runs twice when the first answer is lost, which no message layer can help; a
// resource with a name is created once all the same. What it costs each path shows in the figures of its peer.
import t from 'tap';
import { err, ok } from '../../src/base/result.ts';
import { millis } from '../../src/base/units.ts';
import { BlockService } from '../../src/coap/block-service.ts';
import { Transfer } from '../../src/coap/blockwise.ts';
import { CoapBinding } from '../../src/coap/coap-binding.ts';
import { CoapEndpoint } from '../../src/coap/endpoint.ts';
import type { ExchangeResult } from '../../src/coap/exchange.ts';
import type { CoapMessage, Datagram } from '../../src/coap/message.ts';
import { NodeClock, settle, sleep } from '../../src/host/clock.ts';
import { NodeEntropy } from '../../src/host/entropy.ts';
import { NodeNetwork } from '../../src/host/network.ts';
import type { DatagramSocket } from '../../src/host/network.ts';
import { parsePointOfAccess } from '../../src/onem2m/address.ts';
import { CseClient } from '../../src/onem2m/cse-client.ts';
import type { CseOutcome } from '../../src/onem2m/cse-client.ts';
import { CseType, ResourceType } from '../../src/onem2m/enums.ts';
import { TestbedCse } from '../../src/testbed/cse/testbed-cse.ts';
import { OwnCoapTransport } from '../../src/testbed/cse/transports/own-coap-transport.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';
import { messageOf, openBenchOn, peer } from './test-socket.ts';
import type { Bench } from './test-socket.ts';

const content = messageOf('2.05', { payload: Buffer.from('yes') });
const post = messageOf('0.02', { path: ['a'], payload: Buffer.from('x') });
const last = (bench: Bench): Datagram => bench.socket.sent.at(-1)?.datagram as Datagram;
const answerTo = (bench: Bench, { messageId, token }: Datagram, message: CoapMessage): void =>
  bench.socket.receiveMessage({ type: 'acknowledgement', messageId, token }, message);

/** Two links, and an exchange that has waited 700 ms of its 3,000 on the first. */
async function openExchange() {
  const clock = new SimulatedClock();
  const [one, two] = [openBenchOn(clock, 1), openBenchOn(clock, 2)];
  const state: { result?: ExchangeResult; endMs?: number; ends: number } = { ends: 0 };
  const exchange = one.endpoint.open(peer, post, { deadlineMs: millis(3_000) });
  void exchange.result.then((result) =>
    Object.assign(state, { result, endMs: clock.monotonicMs(), ends: 1 }),
  );
  await clock.advance(700);
  return { clock, one, two, exchange, state, request: last(one) };
}

await t.test('sent there at once, answered on either', async (t) => {
  for (const where of ['one', 'two'] as const) {
    const { clock, one, two, exchange, state, request } = await openExchange();
    t.equal(two.endpoint.takeOver(exchange), undefined);
    t.equal(two.socket.sent.length, 1, 'at once');
    t.same(last(two).token, request.token, 'under the same token');
    t.same(last(two).message, request.message);
    t.equal(two.endpoint.takeOver(exchange), undefined, 'which is done once');
    t.equal(two.socket.sent.length, 1);
    const before = one.socket.sent.length;
    await clock.advance(1_000);
    t.equal(one.socket.sent.length, before, 'the first link is not asked any more');
    answerTo(where === 'one' ? one : two, where === 'one' ? request : last(two), content);
    await settle();
    t.match(state, { result: { ok: true, value: { code: '2.05' } }, ends: 1 }, `answered on ${where}`);
    const other = where === 'one' ? two : one;
    answerTo(other, where === 'one' ? last(two) : request, messageOf('4.03'));
    t.equal(other.endpoint.counters.unmatched, 1, 'a second answer finds nobody');
    other.socket.receiveMessage({ type: 'confirmable', messageId: 77, token: request.token }, content);
    t.match(last(other), { type: 'reset', messageId: 77 });
    t.match(state.result, { ok: true });
    t.same([one.endpoint.load.exchanges, two.endpoint.load.exchanges, clock.pendingCount], [0, 0, 0]);
  }
  const { one, two, exchange, state, request } = await openExchange();
  two.endpoint.takeOver(exchange);
  const stranger = { address: '192.0.2.66', port: 5683 };
  const piggyback = {
    type: 'acknowledgement',
    messageId: last(two).messageId,
    token: request.token,
  } as const;
  two.socket.receiveMessage(piggyback, content, stranger);
  one.socket.receiveMessage({ ...piggyback, messageId: last(two).messageId + 1 }, content);
  await settle();
  t.equal(state.ends, 0, 'nobody but the asked peer, and each link by its own message ID');
});

await t.test('the deadline is the one of the caller', async (t) => {
  for (const acts of ['silence', 'acknowledgements'] as const) {
    const { clock, one, two, exchange, state, request } = await openExchange();
    two.endpoint.takeOver(exchange);
    if (acts === 'acknowledgements') {
      for (const [bench, { messageId }] of [
        [one, request],
        [two, last(two)],
      ] as const)
        // prettier-ignore
        bench.socket.receiveMessage({ type: 'acknowledgement', messageId, token: new Uint8Array() });
    }
    await clock.advance(2_299.5);
    t.equal(state.ends, 0);
    await clock.advance(0.5);
    t.match(state, { result: { ok: false, error: { kind: 'deadline' } }, endMs: 3_000 }, acts);
    t.same([one.endpoint.load.exchanges, two.endpoint.load.exchanges, clock.pendingCount], [0, 0, 0]);
  }
});

await t.test('links that close, refuse or are full', async (t) => {
  const closed = await openExchange();
  closed.two.endpoint.takeOver(closed.exchange);
  await closed.one.endpoint.close();
  t.equal(closed.state.ends, 0, 'the first link may close');
  answerTo(closed.two, last(closed.two), content);
  await settle();
  t.match(closed.state.result, { ok: true });
  const both = await openExchange();
  both.two.endpoint.takeOver(both.exchange);
  await both.two.endpoint.close();
  t.equal(both.state.ends, 0, 'or the second: the first still hears');
  await both.one.endpoint.close();
  await settle();
  t.match(both.state.result, { ok: false, error: { kind: 'closed' } }, 'but not both');
  t.equal(both.clock.pendingCount, 0);

  const full = await openExchange();
  const narrow = openBenchOn(full.clock, 3, { exchangesMax: 0 });
  t.match(narrow.endpoint.takeOver(full.exchange), { kind: 'busy' });
  await narrow.endpoint.close();
  t.match(narrow.endpoint.takeOver(full.exchange), { kind: 'closed' });
  const before = full.one.socket.sent.length;
  await full.clock.advance(1_500);
  t.ok(full.one.socket.sent.length > before, 'what cannot be taken over goes on where it was');
  answerTo(full.one, full.request, content);
  await settle();
  t.match(full.state.result, { ok: true });
  t.equal(full.two.endpoint.takeOver(full.exchange), undefined);
  t.equal(full.two.socket.sent.length, 0, 'what has ended is not sent');

  const gone = await openExchange();
  gone.two.endpoint.takeOver(gone.exchange);
  gone.two.socket.refusal = err({ errno: 'ENETUNREACH', message: 'network is unreachable' });
  await gone.clock.advance(1_500);
  t.match(gone.state.result, { ok: false, error: { kind: 'unreachable' } }, 'the link in use refuses');
  const late = await openExchange();
  late.one.socket.refusal = err({ errno: 'ENETUNREACH', message: 'network is unreachable' });
  const hurried = late.one.endpoint.open(peer, post, { deadlineMs: millis(3_000) });
  late.two.endpoint.takeOver(hurried);
  await settle();
  t.ok(hurried.isOpen, 'a refusal that comes after the move is no end');
  const left = await openExchange();
  left.one.socket.refusal = err({ errno: 'ENETUNREACH', message: 'network is unreachable' });
  left.two.endpoint.takeOver(left.exchange);
  await left.clock.advance(1_500);
  t.equal(left.state.ends, 0, 'the link that was left has nothing to say');
  left.one.socket.refusal = ok(undefined);
  const sent = left.one.socket.sent.length;
  t.equal(left.one.endpoint.takeOver(left.exchange), undefined);
  t.equal(left.one.socket.sent.length, sent + 1, 'back on the first link');
  t.equal(last(left.one).messageId, left.request.messageId, 'it is a repeat there');
  answerTo(left.one, left.request, content);
  await settle();
  t.match(left.state.result, { ok: true });
  t.equal(left.clock.pendingCount, 0);
});

await t.test('figures of the peer on each link', async (t) => {
  const { clock, one, two, exchange } = await openExchange();
  t.equal(two.endpoint.peerFigures(peer), undefined);
  await clock.advance(1_000);
  two.endpoint.takeOver(exchange);
  await clock.advance(40);
  answerTo(two, last(two), content);
  await settle();
  t.match(one.endpoint.peerFigures(peer), { messages: 1, heard: 0, unanswered: 1, retransmissions: 1 });
  t.equal(one.endpoint.peerFigures(peer)?.usualResponseMs, undefined);
  t.match(two.endpoint.peerFigures(peer), {
    messages: 1,
    heard: 1,
    unanswered: 0,
    retransmissions: 0,
    usualResponseMs: 40,
    deviationMs: 20,
    heardAtMs: 1_740,
  });
  const quick = two.endpoint.open(peer, post, { deadlineMs: millis(50) });
  await clock.advance(50);
  t.match(await quick.result, { ok: false });
  t.equal(two.endpoint.peerFigures(peer)?.unanswered, 0, 'what had no time for an answer does not count');
});

const text = (length: number): Buffer<ArrayBuffer> =>
  Buffer.from(Array.from({ length }, (_, index) => index % 251));

/** Two links to one server in memory that knows its peers by their addresses, 10 ms away; either may lose what it hears. */
function openWorld(handler: (message: CoapMessage) => CoapMessage) {
  const clock = new SimulatedClock();
  const [one, two] = [openBenchOn(clock, 1), openBenchOn(clock, 2)];
  let runs = 0;
  const service = new BlockService({
    clock,
    handler: (message) => {
      runs += 1;
      return Promise.resolve(handler(message));
    },
  });
  const seen: string[] = [];
  const loses = { one: (_: Datagram): boolean => false, two: (_: Datagram): boolean => false };
  for (const [name, bench] of Object.entries({ one, two })) {
    const from = { address: name === 'one' ? '192.0.2.10' : '192.0.2.20', port: 40_000 };
    bench.socket.onSent = (datagram) => {
      const { message, messageId, token } = datagram;
      if (message === undefined) return;
      seen.push(`${name} ${message.block1?.number ?? '-'}/${message.block2?.number ?? '-'}`);
      void service.answer(message, from).then((answer) => {
        clock.schedule(millis(10), () => {
          if (answer === undefined || loses[name as 'one' | 'two'](datagram)) return;
          bench.socket.receiveMessage({ type: 'acknowledgement', messageId, token }, answer);
        });
      });
    };
  }
  const start = (message: CoapMessage): Transfer =>
    new Transfer(one.endpoint, clock, peer, message, { deadlineMs: millis(5_000) });
  const isIdle = (): boolean =>
    one.endpoint.load.exchanges + two.endpoint.load.exchanges + clock.pendingCount === 0;
  return { clock, one, two, seen, loses, start, isIdle, runs: () => runs };
}

await t.test('bodies on their way', async (t) => {
  const echo = (message: CoapMessage): CoapMessage =>
    messageOf('2.04', { payload: message.payload.subarray(0, 4) });
  const upload = messageOf('0.02', { path: ['a'], payload: text(5_000) });

  const moved = openWorld((message) =>
    messageOf(Buffer.from(message.payload).equals(text(5_000)) ? '2.04' : '4.00'),
  );
  const transfer = moved.start(upload);
  await moved.clock.advance(25);
  t.equal(transfer.moveTo(moved.two.endpoint), undefined);
  t.match(await moved.clock.advanceUntil(transfer.result), { ok: true, value: { code: '2.04' } });
  t.same(
    moved.seen,
    ['one 0/-', 'one 1/-', 'one 2/-', 'two 0/-', 'two 1/-', 'two 2/-', 'two 3/-', 'two 4/-'],
    'begun again from its first block',
  );
  t.equal(moved.runs(), 1);
  await moved.clock.advance(100);
  t.ok(moved.isIdle());

  const between = openWorld(echo);
  const caught = between.start(upload);
  between.loses.one = ({ message }) => {
    if (message?.block1?.number === 1) queueMicrotask(() => caught.moveTo(between.two.endpoint));
    return false;
  };
  t.match(await between.clock.advanceUntil(caught.result), { ok: true, value: { code: '2.04' } });
  t.equal(between.seen[2], 'two 0/-', 'also when the move comes between two blocks');
  const lateAnswer = openWorld(echo);
  const finishing = lateAnswer.start(upload);
  await lateAnswer.clock.advance(45); // the last block is under way
  t.equal(finishing.moveTo(lateAnswer.two.endpoint), undefined);
  t.match(await lateAnswer.clock.advanceUntil(finishing.result), { ok: true, value: { code: '2.04' } });
  t.equal(lateAnswer.clock.monotonicMs(), 50, 'the answer to the last block on the first link is the answer');
  await lateAnswer.clock.advance(100);
  t.ok(lateAnswer.isIdle(), 'what was begun on the second is given up');

  const lost = openWorld(echo);
  lost.loses.one = ({ message }) => message?.block1?.number === 4;
  const twice = lost.start(upload);
  await lost.clock.advance(45);
  twice.moveTo(lost.two.endpoint);
  t.match(await lost.clock.advanceUntil(twice.result), { ok: true, value: { code: '2.04' } });
  t.equal(lost.runs(), 2, 'when that answer is lost, the body is carried out twice');

  const back = openWorld(echo);
  const wandering = back.start(upload);
  for (const bench of [back.two, back.one, back.two, back.one]) {
    await back.clock.advance(45);
    wandering.moveTo(bench.endpoint);
  }
  t.match(await back.clock.advanceUntil(wandering.result), { ok: true });
  await back.clock.advance(100);
  t.ok(back.isIdle(), 'to and fro');

  const body = text(20_000);
  const large = (): CoapMessage => messageOf('2.05', { payload: body });
  for (const code of ['0.01', '0.02'] as const) {
    const download = openWorld(large);
    const fetching = download.start(messageOf(code, { path: ['a'] }));
    await download.clock.advance(55);
    fetching.moveTo(download.two.endpoint);
    const got = await download.clock.advanceUntil(fetching.result);
    t.same(got.ok && got.value.payload, body, `${code}: whole`);
    const first = download.seen.find((each) => each.startsWith('two'));
    t.equal(first, 'two -/5', 'goes on with the block that was asked for');
    const begins = download.seen.filter((each) => each === 'two -/-').length;
    t.equal(begins, code === '0.01' ? 0 : 1, `${code}: begun again only where the peer cannot go on`);
    t.equal(download.runs(), 2);
    t.ok(download.isIdle());
  }

  const single = openWorld(echo);
  single.loses.one = () => true;
  const simple = single.start(post);
  await single.clock.advance(500);
  simple.moveTo(single.two.endpoint);
  t.match(await single.clock.advanceUntil(simple.result), { ok: true });
  t.equal(single.clock.monotonicMs(), 510, 'an answer one way later');

  const silent = openWorld(echo);
  silent.loses.one = silent.loses.two = ({ message }) => (message?.block1?.number ?? 0) > 2;
  const never = silent.start(upload);
  await silent.clock.advance(1_000);
  never.moveTo(silent.two.endpoint);
  t.match(await silent.clock.advanceUntil(never.result), { ok: false, error: { kind: 'deadline' } });
  t.equal(silent.clock.monotonicMs(), 5_000, 'one deadline for all of it');
  t.ok(silent.isIdle());
});

const clock = new NodeClock();
const network = new NodeNetwork();
const entropy = new NodeEntropy();

/** An endpoint on a real socket; `isDeaf` says whether what comes to it is lost. */
async function openReal(address: string, isDeaf: () => boolean = () => false): Promise<CoapEndpoint> {
  const socket = await network.openDatagram({ localAddress: address });
  const filtered: DatagramSocket = {
    local: socket.local,
    send: (data, to) => socket.send(data, to),
    onMessage: (handler) =>
      socket.onMessage((data, from) => {
        if (!isDeaf()) handler(data, from);
      }),
    close: () => socket.close(),
  };
  const endpoint = new CoapEndpoint({ socket: filtered, clock, entropy });
  t.teardown(() => endpoint.close());
  return endpoint;
}

await t.test('real sockets: a lost answer makes the handler run twice', async (t) => {
  const server = await openReal('127.0.0.1');
  const from: string[] = [];
  server.onRequest((_, { address }) => {
    from.push(address);
    return Promise.resolve(content);
  });
  let isDeaf = true;
  const one = await openReal('127.0.0.1', () => isDeaf);
  const two = await openReal('127.0.0.2');
  const exchange = one.open(server.local, post, { deadlineMs: millis(5_000) });
  while (from.length === 0) await sleep(clock, millis(5));
  t.equal(two.takeOver(exchange), undefined);
  t.match(await exchange.result, { ok: true });
  t.same(from, ['127.0.0.1', '127.0.0.2'], 'the peer cannot know that it was one request');
  isDeaf = false;
  const waiting = one.open(server.local, post, { deadlineMs: millis(5_000) });
  two.takeOver(waiting);
  t.match(await waiting.result, { ok: true }, 'both answers come, one counts');
  await sleep(clock, millis(20));
  t.same([one.load.exchanges, two.load.exchanges], [0, 0]);
});

await t.test('real sockets: a named resource is created once all the same', async (t) => {
  const cse = new TestbedCse({
    cseId: '/id-mn1',
    cseBaseName: 'cse-mn1',
    cseType: CseType.mnCse,
    adminOriginator: 'CAdmin',
    spId: '//sp.example',
    clock,
    entropy,
    transports: [new OwnCoapTransport({ network, clock, entropy })],
  });
  await cse.start();
  t.teardown(() => cse.stop());
  const port = parsePointOfAccess(cse.pointsOfAccess[0] ?? '')?.port ?? 0;
  let isDeaf = false;
  const one = await openReal('127.0.0.1', () => isDeaf);
  const two = await openReal('127.0.0.2');
  const binding = new CoapBinding({ endpoint: one, clock, peer: { address: '127.0.0.1', port } });
  const client = new CseClient({ binding, originator: 'CAdmin', entropy, deadlineMs: millis(5_000) });
  t.match(await client.create('cse-mn1', ResourceType.container, { container: { resourceName: 'd' } }), {
    ok: true,
  });
  isDeaf = true;
  const works: Promise<CseOutcome>[] = [];
  for (let index = 0; index < 8; index++) {
    // Every second one is a body in blocks.
    const value = index % 2 === 0 ? 'x' : 'x'.repeat(3_000);
    const instance = { contentInstance: { resourceName: `r${index}`, content: value } };
    works.push(client.create('cse-mn1/d', ResourceType.contentInstance, instance));
  }
  const { received } = one.counters;
  await sleep(clock, millis(150));
  t.equal(one.counters.received, received, 'nothing comes back');
  binding.moveTo(two);
  const outcomes = await Promise.all(works);
  for (const [index, outcome] of outcomes.entries()) {
    const status = outcome.ok
      ? 2001
      : outcome.error.kind === 'rejected'
        ? outcome.error.responseStatusCode
        : 0;
    t.equal(
      status,
      index % 2 === 0 ? 4105 : 2001,
      `r${index}: made before the move, or by its second upload`,
    );
  }
  const found = await client.discover('cse-mn1/d', { resourceType: [ResourceType.contentInstance] });
  t.equal(found.ok && found.value.length, 8, 'each is there once');
  t.match(await client.retrieve('cse-mn1/d'), { ok: true }, 'later requests take the second link');
  t.match(binding.peerFigures, { unanswered: 0 });
  t.same([one.load.exchanges, two.load.exchanges], [0, 0]);
});
