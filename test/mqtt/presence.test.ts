// Proves of a presence at a broker: it opens its session again after growing pauses that differ from device to device and are
// bounded, and ends the row only after a session that lasted; requests wait for a session that is being opened, and are told at
// once why there is none in a pause; a silent broker is given up by the deadlines of requests, one whose CSE is silent is not;
// everything is subscribed again before the first request. Of a session: it sends no more than the broker takes.
import t from 'tap';
import { err } from '../../src/base/result.ts';
import type { Result } from '../../src/base/result.ts';
import { millis } from '../../src/base/units.ts';
import { NodeClock, sleep } from '../../src/host/clock.ts';
import type { Network } from '../../src/host/network.ts';
import { backOffMs } from '../../src/mqtt/back-off.ts';
import { MqttPresence } from '../../src/mqtt/mqtt-presence.ts';
import type { MqttAttempt, MqttPresenceOptions } from '../../src/mqtt/mqtt-presence.ts';
import { MqttSession } from '../../src/mqtt/mqtt-session.ts';
import type { MqttRoute } from '../../src/mqtt/mqtt-exchange.ts';
import type { DeliveryError } from '../../src/onem2m/binding.ts';
import type { RequestPrimitive } from '../../src/onem2m/primitives.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';
import { StreamPair } from './stream-pair.ts';

const real = new NodeClock();

/** Waits for what streams and promises bring about; the time of the presence stands still meanwhile. */
async function until(what: string, holds: () => boolean): Promise<void> {
  for (let round = 0; !holds(); round++) {
    if (round > 2_000) throw new Error(`${what} did not come about`);
    await sleep(real, millis(1));
  }
}

/** A broker made of octets: acknowledges what it is told to, and shows what it got. */
class ByteBroker {
  readonly pair = new StreamPair();
  readonly got: { readonly type: number; readonly packetId: number; readonly topic: string }[] = [];
  isSilent = false;
  acknowledges = true;
  refusesSubscriptions = false;
  readonly #version: 4 | 5;
  #octets = Buffer.alloc(0);

  constructor(version: 4 | 5 = 4, connackProperties: readonly number[] = []) {
    this.#version = version;
    const properties = version === 5 ? [connackProperties.length, ...connackProperties] : [];
    this.pair.peer.on('data', (data: Buffer) => {
      this.#octets = Buffer.concat([this.#octets, data]);
      this.#read(Uint8Array.of(0x20, 2 + properties.length, 0, 0, ...properties));
    });
  }

  get network(): Network {
    const refuse = (): never => {
      throw new Error('not here');
    };
    return { openDatagram: refuse, resolve: refuse, openStream: () => this.pair.stream };
  }

  count(type: number): number {
    return this.got.filter((packet) => packet.type === type).length;
  }

  acknowledge(packetId: number): void {
    this.pair.peer.write(Uint8Array.of(0x40, 2, packetId >> 8, packetId & 255));
  }

  /** All packets here are shorter than 128 octets, or their length has two. */
  #read(connack: Uint8Array): void {
    for (;;) {
      const [head = 0, first = 0, second = 0] = this.#octets;
      const isLong = first > 127;
      const end = isLong ? 3 + (first & 127) + second * 128 : 2 + first;
      if (this.#octets.length < 2 || this.#octets.length < end) return;
      const packet = this.#octets.subarray(isLong ? 3 : 2, end);
      this.#octets = this.#octets.subarray(end);
      this.#answer(head >> 4, packet, connack);
    }
  }

  #answer(type: number, body: Uint8Array, connack: Uint8Array): void {
    const at = type === 3 ? 2 + (body[0] ?? 0) * 256 + (body[1] ?? 0) : 0;
    const packetId = (body[at] ?? 0) * 256 + (body[at + 1] ?? 0);
    const topic = Buffer.from(body.subarray(2, at)).toString();
    this.got.push({ type, packetId, topic });
    if (this.isSilent) return;
    const properties = this.#version === 5 ? [0] : [];
    if (type === 1) this.pair.peer.write(connack);
    if (type === 8) {
      const code = this.refusesSubscriptions ? 0x80 : 1;
      const granted = [0x90, 4 + properties.length, packetId >> 8, packetId & 255, ...properties, code, code];
      this.pair.peer.write(Uint8Array.of(...granted));
    }
    if (type === 3 && this.acknowledges) this.acknowledge(packetId);
  }
}

const refused: DeliveryError = { kind: 'reset', message: 'not authorized' };
const unreachable: DeliveryError = { kind: 'unreachable', message: 'connection refused' };
const hearing = { answers: ['/oneM2M/resp/Cgw1/+/#'], requests: ['/oneM2M/req/+/Cgw1/#'] };
const route: MqttRoute = {
  prefix: '',
  kind: 'req',
  originator: 'Cgw1',
  receiver: 'id-mn1',
  serialisation: 'json',
};
const request = (requestIdentifier: string): RequestPrimitive => ({
  operation: 2,
  to: 'cse-mn1',
  from: 'Cgw1',
  requestIdentifier,
});
const within = { deadlineMs: millis(2_000) };

/** A presence whose attempts are decided by `next`. */
class Scene {
  readonly clock = new SimulatedClock();
  readonly attempts: { readonly atMs: number; readonly attempt: MqttAttempt }[] = [];
  readonly states: (string | undefined)[] = [];
  readonly presence: MqttPresence;
  next: () => Promise<Result<MqttSession, DeliveryError>> = () => Promise.resolve(err(unreachable));

  constructor(options: Partial<MqttPresenceOptions> = {}) {
    this.presence = new MqttPresence({
      clock: this.clock,
      clientId: 'A::Cgw1::lte0',
      handler: ({ requestIdentifier }) => Promise.resolve({ responseStatusCode: 2000, requestIdentifier }),
      onState: (failure) => this.states.push(failure),
      open: (attempt) => {
        this.attempts.push({ atMs: this.clock.monotonicMs(), attempt });
        return this.next();
      },
      ...options,
    });
  }

  /** Pauses between the attempts from the one of this number on. */
  pauses(from = 0): number[] {
    const times = this.attempts.slice(from).map(({ atMs }) => atMs);
    return times.slice(1).map((atMs, index) => atMs - (times[index] ?? 0));
  }

  async advance(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 50) {
      await this.clock.advance(Math.min(50, left));
    }
  }

  /** Lets the next attempts succeed at this broker. */
  welcome(broker: ByteBroker): void {
    this.next = () =>
      MqttSession.open({
        network: broker.network,
        clock: this.clock,
        endpoint: { host: 'broker', port: 1, clientId: 'A::Cgw1::lte0' },
        deadlineMs: millis(3_000),
        protocolVersion: 4,
        keepaliveS: 3600,
      });
  }
}

await t.test('pauses grow, are bounded, and differ from device to device', async (t) => {
  for (const [failure, limitMs] of [
    [unreachable, 5_000],
    [refused, 60_000],
  ] as const) {
    const scene = new Scene();
    scene.next = () => Promise.resolve(err(failure));
    t.match(await scene.presence.hear('AE', hearing, within), { ok: false, error: failure });
    await scene.advance(300_000);
    const pauses = scene.pauses();
    for (const [index, pause] of pauses.entries()) {
      const wholeMs = Math.min(limitMs, 250 * 2 ** index);
      t.ok(
        pause >= wholeMs / 2 - 1 && pause <= wholeMs + 1,
        `${failure.message} ${index}: ${pause} ms of ${wholeMs}`,
      );
    }
    t.ok(
      pauses.length >= 300_000 / (limitMs + 1) && pauses.length < 200,
      `${pauses.length} attempts in 300 s`,
    );
    await scene.presence.close();
    const before = scene.attempts.length;
    await scene.advance(120_000);
    t.equal(scene.attempts.length, before, 'none after its end');
    t.equal(scene.clock.pendingCount, 0, 'no timer is left');
  }
  const firsts = Array.from({ length: 100 }, (_, index) => backOffMs(`A::Sgw${index}`, 8, millis(60_000)));
  t.ok(new Set(firsts).size > 90, 'a hundred devices do not come back at once');
});

await t.test('only a session that lasted ends the row', async (t) => {
  const scene = new Scene();
  await scene.presence.hear('AE', hearing, within);
  await scene.advance(3_000);
  const failures = scene.attempts.length;
  t.ok(failures >= 4);
  for (const [livesMs, isReset] of [
    [1_000, false],
    [100_000, false],
    [121_000, true],
  ] as const) {
    const broker = new ByteBroker();
    scene.welcome(broker);
    const { length } = scene.states;
    for (let ms = 0; !scene.states.slice(length).includes(undefined); ms += 500) {
      if (ms > 20_000) throw new Error('no session');
      await scene.advance(500);
      await sleep(real, millis(5));
    }
    t.equal(broker.count(8), 1, 'subscribed again');
    await scene.clock.advance(livesMs);
    const attempt = scene.attempts.length;
    const lostMs = scene.clock.monotonicMs();
    scene.next = () => Promise.resolve(err(unreachable));
    broker.pair.peer.destroy();
    await until('the loss', () => scene.states.at(-1) !== undefined);
    for (let ms = 0; scene.attempts.length === attempt && ms < 70_000; ms += 50) await scene.advance(50);
    const pauseMs = (scene.attempts.at(-1)?.atMs ?? 0) - lostMs;
    t.equal(pauseMs <= 300, isReset, `after ${livesMs} ms of life tried again after ${pauseMs} ms`);
  }
  await scene.presence.close();
});

await t.test(
  'requests wait for a session that is being opened, and are told at once in a pause',
  async (t) => {
    const scene = new Scene({ outstandingMax: 2 });
    let decide = (_: Result<MqttSession, DeliveryError>): void => undefined;
    scene.next = () => new Promise((resolve) => (decide = resolve));
    const soon = { deadlineMs: millis(100) };
    const first = scene.presence.hear('AE', hearing, soon);
    const controller = new AbortController();
    const second = scene.presence.hear('AE', hearing, { ...within, signal: controller.signal });
    t.match(await scene.presence.hear('AE', hearing, within), { ok: false, error: { kind: 'busy' } });
    await scene.advance(100);
    t.match(await first, { ok: false, error: { kind: 'deadline' } });
    controller.abort();
    t.match(await second, { ok: false, error: { kind: 'cancelled' } });
    const third = scene.presence.hear('AE', hearing, within);
    t.equal(scene.attempts.length, 1, 'one attempt serves all');
    decide(err(unreachable));
    t.match(await third, { ok: false, error: unreachable });
    const message = /connection refused; tried again in \d+ ms/u;
    const short = { deadlineMs: millis(100) };
    t.match(await scene.presence.request(route, request('r1'), short), { ok: false, error: { message } });
    scene.next = () => Promise.resolve(err(refused));
    const patient = scene.presence.request(route, request('r3'), within);
    await scene.advance(250);
    t.match(await patient, { ok: false, error: refused }, 'a pause shorter than the deadline is waited out');
    const ended = scene.presence.request(route, request('r4'), within);
    await scene.presence.close();
    t.match(await ended, { ok: false, error: { kind: 'closed' } }, 'the end ends the wait as well');
    t.equal(scene.clock.pendingCount, 0);
    t.match(await scene.presence.request(route, request('r2'), within), {
      ok: false,
      error: { kind: 'closed' },
    });
  },
);

await t.test('a broker that refuses subscriptions is told by that, not taken for a rival', async (t) => {
  const scene = new Scene();
  const failures = (): string[] => scene.states.filter((state) => state !== undefined);
  const refuseNext = (): void => {
    const broker = new ByteBroker();
    broker.refusesSubscriptions = true;
    scene.welcome(broker);
    const open = scene.next;
    scene.next = () => {
      refuseNext();
      return open();
    };
  };
  refuseNext();
  const heard = scene.presence.hear('AE', hearing, within);
  for (let count = 0; count < 6; count++) {
    while (scene.attempts.length <= count) await scene.advance(50);
    await until('the refusal', () => failures().length > count);
  }
  t.equal((await heard).ok, false);
  for (const text of failures()) t.match(text, /does the broker's access list allow it\?$/u);
  await scene.presence.close();
});

await t.test('a silent broker is given up by the deadlines of requests, a silent CSE is not', async (t) => {
  const scene = new Scene();
  const broker = new ByteBroker();
  scene.welcome(broker);
  t.ok((await scene.presence.hear('AE', hearing, within)).ok);
  const ask = async (name: string, deadlineMs: number): Promise<void> => {
    const before = broker.count(3);
    const asked = scene.presence.request(route, request(name), { deadlineMs: millis(deadlineMs) });
    await until('the request', () => broker.count(3) > before);
    await sleep(real, millis(5));
    await scene.advance(deadlineMs);
    t.match(await asked, { ok: false, error: { kind: 'deadline' } });
  };
  await ask('cse1', 1_500);
  await ask('cse2', 1_500);
  t.same(scene.states, [undefined], 'the PUBACK shows that the way is there');
  broker.isSilent = true;
  await ask('dead1', 400);
  t.same(scene.states, [undefined], 'a short silence says nothing');
  await ask('dead2', 400);
  await ask('dead3', 400);
  t.match(scene.states.at(-1), /the broker has not been heard for 1\d\d\d ms/u);
  t.ok(broker.pair.stream.destroyed, 'its connection is gone');
  await scene.presence.close();
});

await t.test(
  'a session sends no more than the broker takes, and no message later than its deadline',
  async (t) => {
    const clock = new SimulatedClock();
    // Receive Maximum 2, Maximum QoS 1 not told, Maximum Packet Size 4096.
    const broker = new ByteBroker(5, [0x21, 0, 2, 0x27, 0, 0, 0x10, 0]);
    broker.acknowledges = false;
    const opened = await MqttSession.open({
      network: broker.network,
      clock,
      endpoint: { host: 'broker', port: 1, clientId: 'x' },
      deadlineMs: millis(3_000),
      keepaliveS: 3600,
    });
    if (!opened.ok) throw new Error(opened.error.message);
    const session = opened.value;
    t.equal(session.protocolVersion, 5);
    const publish = (topic: string, deadlineMs: number): ReturnType<MqttSession['publish']> =>
      session.publish(topic, Buffer.from('x'), { deadlineMs: millis(deadlineMs) });
    const sent = [publish('/a', 10_000), publish('/b', 500), publish('/c', 500), publish('/d', 10_000)];
    await until('two messages', () => broker.count(3) === 2);
    await sleep(real, millis(20));
    t.equal(broker.count(3), 2, 'two are under way');
    await clock.advance(500);
    t.match(await sent[1], { ok: false, error: { kind: 'deadline' } }, 'not acknowledged');
    t.match(await sent[2], { ok: false, error: { kind: 'deadline' } }, 'not even sent');
    await sleep(real, millis(20));
    t.equal(broker.count(3), 2, 'what timed out still takes its place at the broker');
    broker.acknowledge(broker.got.filter(({ type }) => type === 3)[0]?.packetId ?? 0);
    t.match(await sent[0], { ok: true });
    await until('the next', () => broker.count(3) === 3);
    t.equal(broker.got.at(-1)?.topic, '/d', 'not the one whose time is over');
    t.match(await session.publish('/a', new Uint8Array(4_090), within), {
      ok: false,
      error: { kind: 'unreachable', message: /at most 4096/u },
    });
    session.abort();
    t.match(await sent[3], { ok: false, error: { kind: 'closed' } });
    t.equal(clock.pendingCount, 0);
  },
);

await t.test('an end to a peer that does not answer leaves no connection behind', async (t) => {
  const broker = new ByteBroker();
  broker.acknowledges = false;
  const clock = new SimulatedClock();
  const scene = new Scene();
  scene.welcome(broker);
  t.ok((await scene.presence.hear('AE', hearing, within)).ok);
  const asked = scene.presence.request(route, request('r1'), within);
  await until('the request', () => broker.count(3) === 1);
  const closed = scene.presence.close();
  await sleep(real, millis(5));
  await scene.advance(600);
  await closed;
  t.match(await asked, { ok: false, error: { kind: 'closed' } });
  t.ok(broker.pair.stream.destroyed);
  t.equal(clock.pendingCount, 0);
});
