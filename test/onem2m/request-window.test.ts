// Proves the window of requests to a CSE: over a path of 80 ms, N streams are N times as fast as one up to its bound; a CSE
// that works on one request at a time is kept busy without being flooded; each sign of too much halves it, once for what was
// in flight together; queues take turns and what has none goes first, in a place of its own; what waits is bounded in number
// and time, and withdrawn or refused without ever leaving.
import t from 'tap';
import { err, ok } from '../../src/base/result.ts';
import { millis } from '../../src/base/units.ts';
import type { Binding, DeliveryError, SendOptions } from '../../src/onem2m/binding.ts';
import { Operation } from '../../src/onem2m/enums.ts';
import type { RequestPrimitive } from '../../src/onem2m/primitives.ts';
import { RequestWindow, RequestWindows, defaultWindowSettings } from '../../src/onem2m/request-window.ts';
import type { WindowSettings } from '../../src/onem2m/request-window.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';

type Outcome = Awaited<ReturnType<Binding['send']>>;

const requestTo = (to: string): RequestPrimitive => ({
  operation: Operation.retrieve,
  to,
  requestIdentifier: to,
});

/** A CSE behind a path: each request takes the path once in both directions, and `serviceMs` of the CSE, one at a time. */
class Peer {
  readonly clock: SimulatedClock = new SimulatedClock();
  readonly arrived: string[] = [];
  inFlight = 0;
  inFlightMax = 0;
  rttMs = 10;
  serviceMs = 0;
  answer: (request: RequestPrimitive, options: SendOptions) => DeliveryError['kind'] | undefined = () =>
    undefined;
  #freeMs = 0;

  readonly binding: Binding = {
    send: async (request, options) => {
      this.arrived.push(request.to);
      this.inFlight += 1;
      this.inFlightMax = Math.max(this.inFlight, this.inFlightMax);
      const kind = this.answer(request, options);
      const nowMs = this.clock.monotonicMs();
      this.#freeMs = Math.max(this.#freeMs, nowMs + this.rttMs / 2) + this.serviceMs;
      const tookMs = this.serviceMs === 0 ? this.rttMs : this.#freeMs + this.rttMs / 2 - nowMs;
      await new Promise<void>((resolve) => {
        this.clock.schedule(millis(kind === 'deadline' ? options.deadlineMs : tookMs), resolve);
      });
      this.inFlight -= 1;
      if (kind !== undefined) return err({ kind, message: kind });
      return ok({ responseStatusCode: 2000, requestIdentifier: request.requestIdentifier });
    },
    close: () => Promise.resolve(),
  };

  window(settings: Partial<WindowSettings> = {}): RequestWindow {
    return new RequestWindow(this.clock, { ...defaultWindowSettings, ...settings });
  }
}

const reading: SendOptions = { deadlineMs: millis(3000), queue: 's' };

/** Answers to `streams` streams with one request each under way, within `ms`. */
async function rate(peer: Peer, window: RequestWindow, streams: number, ms: number): Promise<number> {
  let answered = 0;
  let isOver = false;
  const lane = async (queue: string): Promise<void> => {
    while (!isOver) {
      const options = { deadlineMs: millis(3000), turnMs: millis(3000), queue };
      const outcome = await window.send(peer.binding, requestTo(queue), options);
      if (outcome.ok && !isOver) answered += 1;
    }
  };
  const lanes = Array.from({ length: streams }, (_, index) => lane(`s${index}`));
  await peer.clock.advance(ms);
  isOver = true;
  await peer.clock.advanceUntil(Promise.all(lanes), 10_000);
  return answered;
}

void t.test('streams over a long path', async (t) => {
  const rates = new Map<number, number>();
  for (const streams of [1, 2, 4, 8, 16, 32]) {
    const peer = new Peer();
    peer.rttMs = 80;
    const window = peer.window();
    await rate(peer, window, streams, 4000);
    rates.set(streams, await rate(peer, window, streams, 8000));
    t.ok(
      peer.inFlightMax <= defaultWindowSettings.max,
      `${streams} streams: at most ${peer.inFlightMax} in flight`,
    );
  }
  const one = rates.get(1) ?? 0;
  t.equal(one, 100, 'one stream: an answer in 80 ms');
  for (const streams of [2, 4, 8, 16]) {
    const times = (rates.get(streams) ?? 0) / one;
    t.ok(times >= 0.95 * streams, `${streams} streams are ${times} times as fast`);
  }
  t.ok((rates.get(32) ?? 0) >= 0.95 * 16 * one, 'more than the window holds take turns');
});

void t.test('a CSE that works on one request at a time', async (t) => {
  for (const [rttMs, most] of [
    [2, 6],
    [80, 14],
  ] as const) {
    const peer = new Peer();
    peer.rttMs = rttMs;
    peer.serviceMs = 10;
    const window = peer.window();
    await rate(peer, window, 16, 4000);
    peer.inFlightMax = 0;
    const answered = await rate(peer, window, 16, 10_000);
    t.ok(answered >= 950, `over ${rttMs} ms: ${answered} of the 1000 answers that it can give`);
    t.ok(peer.inFlightMax <= most, `with at most ${peer.inFlightMax} in flight of 16 that want to`);
  }
});

void t.test('what halves the window', async (t) => {
  const peer = new Peer();
  const window = peer.window();
  await rate(peer, window, 16, 2000);
  t.equal(window.load.limit, 16);
  for (const [kind, after] of [
    ['deadline', 8],
    ['busy', 4],
    ['unreachable', 4],
    ['reset', 4],
    ['malformed', 4],
    ['cancelled', 4],
  ] as const) {
    peer.answer = () => kind;
    const all = Array.from({ length: 4 }, () => window.send(peer.binding, requestTo('x'), reading));
    await peer.clock.advanceUntil(Promise.all(all), 5000);
    t.equal(window.load.limit, after, `four times ${kind} at once`);
  }
  peer.answer = (_, { onRepeated }) => {
    onRepeated?.();
    return undefined;
  };
  let repeats = 0;
  const options = { ...reading, onRepeated: () => (repeats += 1) };
  await peer.clock.advanceUntil(window.send(peer.binding, requestTo('x'), options), 1000);
  t.equal(window.load.limit, 2, 'a message that had to be sent again');
  t.equal(repeats, 1, 'which the caller hears of');
  peer.answer = () => 'busy';
  for (let count = 0; count < 5; count++) {
    await peer.clock.advanceUntil(window.send(peer.binding, requestTo('x'), reading), 1000);
  }
  t.equal(window.load.limit, 1, 'one stays');
  peer.answer = () => undefined;
  await rate(peer, window, 16, 60);
  const { limit } = window.load;
  t.ok(limit > 1 && limit < 16, `it grows again, slowly: ${limit}`);
  await rate(peer, window, 16, 4000);
  t.equal(window.load.limit, 16);
  await rate(peer, peer.window({ first: 2 }), 1, 1000);
  const idle = peer.window();
  await rate(peer, idle, 1, 2000);
  t.equal(idle.load.limit, 2, 'a window that is not needed does not grow');
});

void t.test('a burst of signalling', async (t) => {
  const peer = new Peer();
  peer.rttMs = 40;
  const window = peer.window();
  const burst = async (count: number): Promise<number> => {
    const beganMs = peer.clock.monotonicMs();
    const all = Array.from({ length: count }, () =>
      window.send(peer.binding, requestTo('x'), { deadlineMs: millis(3000) }),
    );
    await peer.clock.advanceUntil(Promise.all(all), 5000);
    return (peer.clock.monotonicMs() - beganMs) / peer.rttMs;
  };
  t.equal(await burst(30), 1, 'goes in one round trip');
  t.equal(await burst(32), 1);
  t.ok((await burst(120)) <= 5, 'what is beyond it follows');
  peer.answer = () => 'deadline';
  await burst(1);
  peer.answer = () => undefined;
  peer.inFlightMax = 0;
  await burst(30);
  t.ok(peer.inFlightMax < 30, `after a sign of too much at most ${peer.inFlightMax} go together`);
  await burst(30);
  t.equal(await burst(30), 1, 'answers in time give the places back');
});

void t.test('whose turn it is', async (t) => {
  const peer = new Peer();
  const window = peer.window({ first: 1, max: 1, burst: 0 });
  const sent: Promise<Outcome>[] = [];
  const send = (to: string, queue?: string): void => {
    const options = { deadlineMs: millis(3000), ...(queue === undefined ? {} : { queue }) };
    sent.push(window.send(peer.binding, requestTo(to), options));
  };
  for (const to of ['a1', 'a2', 'a3']) send(to, 'a');
  for (const to of ['b1', 'b2']) send(to, 'b');
  send('claim');
  send('heartbeat');
  send('c1', 'c');
  t.same(window.load, { limit: 1, inFlight: 2, waiting: 6 });
  t.same(peer.arrived, ['a1', 'claim'], 'a claim does not wait for readings');
  await peer.clock.advanceUntil(Promise.all(sent), 1000);
  t.same(
    peer.arrived,
    ['a1', 'claim', 'heartbeat', 'a2', 'b1', 'c1', 'a3', 'b2'],
    'in turns, each queue in order',
  );
  t.same(window.load, { limit: 1, inFlight: 0, waiting: 0 });

  const wide = peer.window({ first: 4, max: 4, burst: 0 });
  peer.arrived.length = 0;
  const level = ['p1', 'p2', 'p3', 'p4', 'p5', 'p6'].map((to) =>
    wide.send(peer.binding, requestTo(to), { deadlineMs: millis(3000) }),
  );
  t.equal(wide.load.inFlight, 5, 'a level of a preparation goes together, as far as the window reaches');
  await peer.clock.advanceUntil(Promise.all(level), 1000);
});

void t.test('what waits is bounded', async (t) => {
  const peer = new Peer();
  peer.rttMs = 100;
  const window = peer.window({ first: 1, max: 1, waitingMax: 3 });
  const first = window.send(peer.binding, requestTo('first'), reading);
  let leftMs = -1;
  const abort = new AbortController();
  const withdrawn = window.send(peer.binding, requestTo('x'), { ...reading, signal: abort.signal });
  const late = window.send(peer.binding, requestTo('late'), { ...reading, deadlineMs: millis(60) });
  const patient = window.send(peer.binding, requestTo('patient'), {
    ...reading,
    deadlineMs: millis(150),
    turnMs: millis(400),
    onSent: () => (leftMs = peer.clock.monotonicMs()),
  });
  const excess = await window.send(peer.binding, requestTo('x'), reading);
  t.match(excess, { ok: false, error: { kind: 'busy', isUnsent: true, message: /3 requests wait/ } });
  abort.abort();
  t.match(await withdrawn, { ok: false, error: { kind: 'cancelled', isUnsent: true } });
  t.equal(window.load.waiting, 2);
  const aborted = await window.send(peer.binding, requestTo('x'), { ...reading, signal: abort.signal });
  t.match(aborted, { ok: false, error: { kind: 'cancelled', isUnsent: true } });
  await peer.clock.advance(60);
  t.match(await late, {
    ok: false,
    error: { kind: 'busy', isUnsent: true, message: /no turn within 60 ms/ },
  });
  await peer.clock.advanceUntil(first, 1000);
  t.equal((await peer.clock.advanceUntil(patient, 1000)).ok, true);
  t.equal(leftMs, 100, 'the deadline of one with a time for its turn begins when it leaves');
  t.same(peer.arrived, ['first', 'patient'], 'nothing else ever left');

  let deadlineMs = 0;
  peer.answer = (_, options) => {
    deadlineMs = options.deadlineMs;
    return undefined;
  };
  const both = ['one', 'two'].map((to) =>
    window.send(peer.binding, requestTo(to), { deadlineMs: millis(180), queue: 's' }),
  );
  await peer.clock.advanceUntil(Promise.all(both), 1000);
  t.equal(deadlineMs, 80, 'without one it covers the wait');
});

void t.test('a window for each CSE', async (t) => {
  const peer = new Peer();
  const windows = new RequestWindows(peer.clock, { max: 3 });
  const mn1 = windows.windowOf('coap://mn1');
  t.equal(windows.windowOf('coap://mn1'), mn1);
  t.not(windows.windowOf('coap://mn2'), mn1);
  peer.rttMs = 1000;
  const open = windows.bindingThrough('coap://mn1', peer.binding).send(requestTo('x'), reading);
  t.equal(mn1.load.inFlight, 1);
  for (let count = 0; count < 200; count++) windows.windowOf(`coap://other${count}`);
  t.equal(windows.windowOf('coap://mn1'), mn1, 'one in use is kept, however many come after it');
  t.not(windows.windowOf('coap://other0'), windows.windowOf('coap://other1'));
  await peer.clock.advanceUntil(open, 5000);
});
