// Proves of the Observe client, on a socket in memory and a clock that stands still: a registration is the request of its
// own token; notifications are taken in order by number and by time, confirmable ones acknowledged; one that comes in blocks
// is collected, and given up for a newer one; registration again when Max-Age has passed, some times, then the end; the
// peer's last word ends it; called off or forgotten, nothing is left and the peer gets a reset; their number is bounded; on
// the endpoint of another link it goes on, and what comes to the first one counts until the peer has answered.
import t from 'tap';
import { millis } from '../../src/base/units.ts';
import { Observation } from '../../src/coap/observation.ts';
import type { ObservationFailure } from '../../src/coap/observation.ts';
import { encodeUint } from '../../src/coap/message.ts';
import type { CoapMessage, Datagram, MessageHeader } from '../../src/coap/message.ts';
import { settle } from '../../src/host/clock.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';
import { messageOf, openBench, openBenchOn, peer } from './test-socket.ts';
import type { Bench } from './test-socket.ts';

const get = messageOf('0.01', { path: ['a'] });
const none = new Uint8Array();

/** A representation with its number and, if it has one, its Max-Age in seconds. */
function representation(sequence: number, text: string, maxAgeS?: number): CoapMessage {
  const options = new Map([[6, [encodeUint(sequence)]]]);
  if (maxAgeS !== undefined) options.set(14, [encodeUint(maxAgeS)]);
  return messageOf('2.05', { options, payload: Buffer.from(text) });
}

const answerTo = (bench: Bench, { messageId, token }: Datagram, message: CoapMessage): void =>
  bench.socket.receiveMessage({ type: 'acknowledgement', messageId, token }, message);
const last = (bench: Bench): Datagram => bench.socket.sent.at(-1)?.datagram as Datagram;
const observeOf = ({ message }: Datagram): readonly Uint8Array[] | undefined => message?.options.get(6);

/** Registers, has the peer answer, and writes down what comes. */
async function observe(bench: Bench, first: CoapMessage = representation(10, 'first')) {
  const heard: string[] = [];
  const ends: ObservationFailure[] = [];
  const work = Observation.register(bench.endpoint, peer, get, {
    deadlineMs: millis(3_000),
    onNotification: ({ payload }) => void heard.push(Buffer.from(payload).toString()),
    onEnd: (reason) => void ends.push(reason),
  });
  const request = last(bench);
  answerTo(bench, request, first);
  const observed = await work;
  const { token } = request;
  let messageId = 9_000;
  const notify = async (
    message: CoapMessage,
    type: MessageHeader['type'] = 'nonConfirmable',
    to: Bench = bench,
  ): Promise<number> => {
    to.socket.receiveMessage({ type, messageId: ++messageId, token }, message);
    await settle();
    return messageId;
  };
  return { heard, ends, observed, request, token, notify };
}

await t.test('registration, order, acknowledgement, the end by request', async (t) => {
  const bench = openBench();
  const { heard, ends, observed, request, token, notify } = await observe(bench);
  t.ok(observed.ok);
  if (!observed.ok) return;
  t.match(request, { type: 'confirmable', message: { code: '0.01', path: ['a'] } });
  t.same(observeOf(request), [Buffer.alloc(0)], 'registers');
  await notify(representation(12, 'second'));
  await notify(representation(11, 'overtaken'));
  await notify(representation(12, 'again'));
  await notify(representation(13, 'third'));
  t.same(heard, ['first', 'second', 'third']);
  const acknowledged = await notify(representation(14, 'fourth'), 'confirmable');
  t.match(last(bench), { type: 'acknowledgement', messageId: acknowledged });
  bench.socket.receiveMessage(
    { type: 'confirmable', messageId: acknowledged, token },
    representation(15, 'x'),
  );
  await settle();
  t.match(last(bench), { type: 'acknowledgement', messageId: acknowledged }, 'a repeat likewise');
  t.equal(heard.length, 4, 'but it is no news');
  t.equal(bench.endpoint.load.observations, 1);
  await notify(messageOf('2.05', { options: new Map([[6, [none]], [9, [none]]]) }), 'confirmable'); // prettier-ignore
  t.match(last(bench), { type: 'reset' }, 'what has a critical option that means nothing is rejected');
  const stranger = { address: '192.0.2.99', port: 5683 };
  bench.socket.receiveMessage(
    { type: 'nonConfirmable', messageId: 5, token },
    representation(99, 'x'),
    stranger,
  );
  await settle();
  t.equal(heard.length, 4, 'nobody else has a word in it');

  const leaving = observed.value.deregister({ deadlineMs: millis(1_000) });
  t.same(observeOf(last(bench)), [Buffer.of(1)], 'deregisters');
  t.same(last(bench).token, token, 'under the same token');
  answerTo(bench, last(bench), messageOf('2.05'));
  t.match(await leaving, { ok: true });
  const rejected = await notify(representation(20, 'late'));
  t.match(last(bench), { type: 'reset', messageId: rejected }, 'what comes later gets a reset');
  t.same(heard.length, 4);
  t.same(ends, []);
  t.equal(observed.value.isOpen, false);
  t.equal(bench.endpoint.load.observations, 0);
  t.equal(bench.clock.pendingCount, 0, 'no timer left');
});

await t.test('order by number and time (RFC 7641 3.4)', async (t) => {
  const rows: readonly (readonly [string, number, number, number, boolean])[] = [
    ['next', 5, 6, 0, true],
    ['same', 5, 5, 0, false],
    ['one before', 5, 4, 0, false],
    ['round the end', 2 ** 24 - 1, 0, 0, true],
    ['back over the end', 0, 2 ** 24 - 1, 0, false],
    ['half way less one', 0, 2 ** 23 - 1, 0, true],
    ['half way', 0, 2 ** 23, 0, false],
    ['next, after a number of 32 bits', 2 ** 32 - 2, 2 ** 24 - 1, 0, true],
    ['round the end, after a number of 32 bits', 2 ** 32 - 1, 0, 0, true],
    ['one before, 128 s later', 5, 4, 128_000, false],
    ['one before, more than 128 s later', 5, 4, 128_001, true],
  ];
  for (const [name, before, after, laterMs, isTaken] of rows) {
    const bench = openBench();
    const { heard, notify } = await observe(bench, representation(before, 'before', 3_600));
    await bench.clock.advance(laterMs);
    await notify(representation(after, 'after'));
    t.equal(heard.length === 2, isTaken, name);
  }
});

await t.test('registration again when Max-Age has passed', async (t) => {
  const bench = openBench();
  const { heard, ends, notify, token } = await observe(bench, representation(10, 'first', 30));
  const before = bench.socket.sent.length;
  await bench.clock.advance(34_999);
  t.equal(bench.socket.sent.length, before, 'not before it has passed');
  await bench.clock.advance(10_001);
  t.ok(bench.socket.sent.length > before);
  t.same(observeOf(last(bench)), [Buffer.alloc(0)]);
  t.same(last(bench).token, token, 'under the same token');
  answerTo(bench, last(bench), representation(3, 'after a restart of the peer'));
  await settle();
  t.same(heard, ['first', 'after a restart of the peer'], 'its answer is newer, whatever its number');
  await notify(representation(4, 'next'));
  t.equal(heard.at(-1), 'next');

  const sent = bench.socket.sent.length;
  await bench.clock.advance(1_000_000);
  const again = bench.socket.sent.slice(sent).filter(({ datagram }) => observeOf(datagram) !== undefined);
  const ids = new Set(again.map(({ datagram }) => datagram.messageId));
  t.equal(ids.size, 5, 'five registrations without answer');
  t.match(ends, [{ kind: 'deadline' }], 'end it, once');
  t.equal(bench.clock.pendingCount, 0);
  t.equal(bench.endpoint.load.observations, 0);

  const long = openBench();
  await observe(long, representation(1, 'for ever', 2 ** 32 - 1));
  const quiet = long.socket.sent.length;
  await long.clock.advance(86_000_000);
  t.equal(long.socket.sent.length, quiet, 'a long Max-Age is waited for');
  await long.clock.advance(1_000_000);
  t.ok(long.socket.sent.length > quiet, 'for a day');
});

await t.test('what ends it', async (t) => {
  const refusals: readonly (readonly [string, CoapMessage, object])[] = [
    ['a refusal', messageOf('4.04'), { kind: 'notObserved', answer: { code: '4.04' } }],
    ['an answer to a plain GET', messageOf('2.05'), { kind: 'notObserved', answer: { code: '2.05' } }],
  ];
  for (const [name, message, expected] of refusals) {
    const bench = openBench();
    const { observed, ends, heard } = await observe(bench, message);
    t.match(observed, { ok: false, error: expected }, `${name} to the registration`);
    t.same([ends, heard], [[], []]);
    t.equal(bench.clock.pendingCount + bench.endpoint.load.observations, 0);
    const open = openBench();
    const later = await observe(open);
    await later.notify(message);
    t.match(later.ends, [expected], `${name} as notification`);
    t.equal(later.heard.length, message.code === '2.05' ? 2 : 1, 'a representation is taken all the same');
    t.equal(open.clock.pendingCount + open.endpoint.load.observations, 0);
  }
  const silent = openBench();
  const options = { deadlineMs: millis(500), onNotification: () => undefined, onEnd: () => undefined };
  const work = Observation.register(silent.endpoint, peer, get, options);
  t.match(await silent.clock.advanceUntil(work), { ok: false, error: { kind: 'deadline' } });
  t.equal(silent.clock.monotonicMs(), 500);
  t.equal(silent.endpoint.load.observations, 0);

  const full = openBench({ observationsMax: 2 });
  const [first] = [await observe(full), await observe(full)];
  const third = await Observation.register(full.endpoint, peer, get, options);
  t.match(third, { ok: false, error: { kind: 'busy', message: /2 observations/ } });
  if (first.observed.ok) first.observed.value.forget();
  const fourth = await observe(full);
  t.ok(fourth.observed.ok, 'one that is over makes room');

  const closing = openBench();
  const { ends } = await observe(closing);
  await closing.endpoint.close();
  await closing.clock.advance(80_000);
  t.match(ends, [{ kind: 'closed' }], 'a closed endpoint ends it when it should register again');
  t.equal(closing.clock.pendingCount, 0);
});

await t.test('notifications in blocks', async (t) => {
  const bench = openBench();
  const { heard, ends, notify, token } = await observe(bench);
  const body = 'abcdefghijklmnopqrstuvwxyz0123456789'.repeat(2);
  const part = (sequence: number, version: number): CoapMessage => {
    const whole = representation(sequence, body.slice(0, 32));
    const options = new Map([...whole.options, [4, [Buffer.of(version)]] as const]);
    return { ...whole, options, block2: { number: 0, more: true, size: 32 } };
  };
  const rest = (number: number, version: number): CoapMessage =>
    messageOf('2.05', {
      payload: Buffer.from(body.slice(number * 32, number * 32 + 32)),
      block2: { number, more: number < 2, size: 32 },
      options: new Map([[4, [Buffer.of(version)]]]),
    });
  await notify(part(20, 1), 'confirmable');
  const asked = last(bench);
  t.match(asked.message, { code: '0.01', block2: { number: 1 } }, 'the rest is asked for');
  t.equal(observeOf(asked), undefined, 'without observing');
  t.notSame(asked.token, token, 'under a token of its own');
  answerTo(bench, asked, rest(1, 1));
  await settle();
  answerTo(bench, last(bench), rest(2, 1));
  await settle();
  t.same(heard, ['first', body]);

  await notify(part(21, 2));
  const stale = last(bench);
  await notify(part(22, 3));
  answerTo(bench, stale, rest(1, 2));
  await settle();
  for (const number of [1, 2]) {
    answerTo(bench, last(bench), rest(number, 3));
    await settle();
  }
  t.same(heard, ['first', body, body], 'a newer one makes the collection of an older one pointless');
  await notify(part(23, 4));
  await notify(representation(24, 'short'));
  t.equal(heard.at(-1), 'short');
  t.equal(bench.endpoint.load.exchanges, 0);

  for (let count = 0; count < 5; count++) {
    const sequence = 30 + count;
    await notify(part(sequence, sequence));
    await bench.clock.advance(3_000); // the blocks never come
  }
  t.match(ends, [{ kind: 'deadline' }], 'what can never be collected ends it');
  await bench.clock.advance(100_000);
  t.equal(bench.clock.pendingCount, 0);
});

await t.test('on to the endpoint of another link', async (t) => {
  const clock = new SimulatedClock();
  const [one, two] = [openBenchOn(clock, 1), openBenchOn(clock, 2)];
  const { heard, ends, observed, token, notify } = await observe(one);
  if (!observed.ok) return;
  const { value: observation } = observed;
  t.equal(observation.moveTo(two.endpoint), undefined);
  t.same(observeOf(last(two)), [Buffer.alloc(0)], 'registers there at once');
  t.same(last(two).token, token);
  await notify(representation(11, 'still to the first'));
  t.equal(heard.at(-1), 'still to the first', 'which is heard until the peer has answered');
  answerTo(two, last(two), representation(12, 'at the second'));
  await settle();
  const late = await notify(representation(13, 'too late'));
  t.match(last(one), { type: 'reset', messageId: late }, 'then a reset ends it there');
  await notify(representation(13, 'next'), 'nonConfirmable', two);
  t.same(heard, ['first', 'still to the first', 'at the second', 'next']);
  t.equal(observation.moveTo(one.endpoint), undefined);
  t.equal(observation.moveTo(two.endpoint), undefined, 'back before an answer came');
  t.equal(observation.moveTo(one.endpoint), undefined, 'and again');
  answerTo(one, last(one), representation(2, 'home'));
  await settle();
  t.equal(heard.at(-1), 'home');
  t.same([one.endpoint.load.observations, two.endpoint.load.observations], [1, 0]);
  t.same([one.endpoint.load.exchanges, two.endpoint.load.exchanges], [0, 0]);
  observation.forget();
  t.equal(observation.moveTo(two.endpoint), undefined);
  t.same(ends, []);
  t.equal(clock.pendingCount, 0);
  const full = openBenchOn(clock, 3, { observationsMax: 0 });
  const stays = await observe(one);
  if (stays.observed.ok) t.match(stays.observed.value.moveTo(full.endpoint), { kind: 'busy' });
  await stays.notify(representation(11, 'where it was'));
  t.equal(stays.heard.at(-1), 'where it was');
});
