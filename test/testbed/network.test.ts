// Proves of the UDP relay: what it promises of delay, order, loss, duplication, reordering, rate and black hole holds in
// virtual time, repeatably for a seed; its tables and queues stay within their bounds; and over real loopback sockets a
// client reaches a target and is answered, also after the target moved.
import fc from 'fast-check';
import t from 'tap';
import { IoError } from '../../src/base/errors.ts';
import { ok } from '../../src/base/result.ts';
import { millis } from '../../src/base/units.ts';
import { NodeClock, withDeadline } from '../../src/host/clock.ts';
import { NodeNetwork } from '../../src/host/network.ts';
import type { DatagramSocket, Network, SocketAddress } from '../../src/host/network.ts';
import { DelayLine } from '../../src/testbed/network/delay-line.ts';
import type { PathConditions } from '../../src/testbed/network/conditioned-path.ts';
import { UdpRelay } from '../../src/testbed/network/udp-relay.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';

/** Sockets that hand datagrams to each other at once. */
class MemoryNetwork implements Network {
  readonly sockets = new Map<number, (data: Uint8Array, from: SocketAddress) => void>();
  #port = 40_000;

  openDatagram(options: { localAddress: string; port?: number }): Promise<DatagramSocket> {
    const port = options.port ?? this.#port++;
    const local = { address: options.localAddress, port };
    this.sockets.set(port, () => undefined);
    return Promise.resolve({
      local,
      send: (data, to) => {
        this.sockets.get(to.port)?.(data, local);
        return Promise.resolve(ok(undefined));
      },
      onMessage: (handler) => {
        this.sockets.set(port, handler);
      },
      close: () => {
        this.sockets.delete(port);
        return Promise.resolve();
      },
    });
  }

  resolve(host: string): Promise<string> {
    return Promise.resolve(host);
  }

  openStream(): never {
    throw new IoError('no streams here');
  }
}

interface Bench {
  readonly clock: SimulatedClock;
  readonly network: MemoryNetwork;
  readonly relay: UdpRelay;
  /** Arrivals at the target: number of the datagram and time. */
  readonly arrivals: { readonly number: number; readonly atMs: number }[];
  send(number: number, length?: number): void;
}

async function openBench(
  conditions: Partial<PathConditions>,
  options: { seed?: number; clientsMax?: number; queueMax?: number; queueBytesMax?: number } = {},
): Promise<Bench> {
  const { seed = 7, ...bounds } = options;
  const clock = new SimulatedClock();
  const network = new MemoryNetwork();
  const target = await network.openDatagram({ localAddress: '10.0.0.1' });
  const client = await network.openDatagram({ localAddress: '10.0.0.2' });
  const arrivals: Bench['arrivals'] = [];
  target.onMessage((data) => arrivals.push({ number: numberIn(data), atMs: clock.monotonicMs() }));
  const relay = await UdpRelay.open({
    network,
    clock,
    entropy: new SeededEntropy(seed),
    listen: { localAddress: '10.0.0.3' },
    target: target.local,
    conditions,
    ...bounds,
  });
  const send = (number: number, length = 4): void => void client.send(datagram(number, length), relay.local);
  return { clock, network, relay, arrivals, send };
}

function datagram(number: number, length = 4): Uint8Array {
  const data = new Uint8Array(length);
  new DataView(data.buffer).setUint32(0, number);
  return data;
}

function numberIn(data: Uint8Array): number {
  return new DataView(data.buffer, data.byteOffset).getUint32(0);
}

await t.test('delay and order', async (t) => {
  const bench = await openBench({ delayMs: 40 });
  for (let number = 0; number < 20; number++) bench.send(number);
  await bench.clock.advance(39);
  t.equal(bench.arrivals.length, 0, 'nothing arrives before the delay has passed');
  await bench.clock.advance(1);
  t.same(
    bench.arrivals.map(({ number }) => number),
    Array.from({ length: 20 }, (_, index) => index),
  );
  // A delay that shrinks must not let later datagrams overtake: without jitter the path is a pipe.
  bench.send(100);
  bench.relay.setConditions({ delayMs: 5 });
  bench.send(101);
  await bench.clock.advance(39);
  t.equal(bench.arrivals.length, 20);
  await bench.clock.advance(1);
  t.same(
    bench.arrivals.slice(20).map(({ number }) => number),
    [100, 101],
  );
  t.equal(bench.relay.inFlightCount, 0);
  t.equal(bench.clock.pendingCount, 0, 'an empty relay leaves no timer');
  await bench.relay.close();
});

await t.test('order is kept whatever the sending times, lost and doubled ones apart', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(30), { minLength: 1, maxLength: 30 }),
      fc.nat(),
      async (pauses, seed) => {
        const bench = await openBench({ delayMs: 17, loss: 0.2, duplication: 0.2 }, { seed });
        for (const [number, pause] of pauses.entries()) {
          bench.send(number);
          await bench.clock.advance(pause / 7);
        }
        await bench.clock.advance(100);
        const numbers = bench.arrivals.map(({ number }) => number);
        t.same(
          numbers,
          [...numbers].sort((a, b) => a - b),
        );
        const { received, delivered, lost, duplicated } = bench.relay.counters('forward');
        t.equal(delivered, received - lost + duplicated);
        t.equal(numbers.length, delivered);
        await bench.relay.close();
      },
    ),
    { numRuns: 30 },
  );
});

await t.test('shares of chance are met, and repeat for a seed', async (t) => {
  const run = async (seed: number): Promise<{ trace: string; bench: Bench }> => {
    const bench = await openBench(
      { delayMs: 10, jitterMs: 8, loss: 0.1, duplication: 0.05, reordering: 0.1 },
      { seed },
    );
    for (let number = 0; number < 2_000; number++) {
      bench.send(number);
      await bench.clock.advance(1);
    }
    await bench.clock.advance(100);
    await bench.relay.close();
    return { trace: bench.arrivals.map(({ number, atMs }) => `${number}@${atMs}`).join(), bench };
  };
  const [first, again, other] = [await run(3), await run(3), await run(4)];
  t.equal(first.trace, again.trace);
  t.not(first.trace, other.trace);
  const { lost, duplicated } = first.bench.relay.counters('forward');
  t.ok(lost > 150 && lost < 250, `lost ${lost} of 2000 at 10 %`);
  t.ok(duplicated > 60 && duplicated < 125, `doubled ${duplicated} of 1800 at 5 %`);
  const late = first.bench.arrivals.filter(({ number, atMs }) => atMs - number > 18);
  t.ok(late.length > 120 && late.length < 280, `${late.length} held back at 10 %`);
  t.ok(
    first.bench.arrivals.every(({ number, atMs }) => atMs - number > 9.99 && atMs - number < 38.01),
    'nobody is faster than the delay or slower than delay, jitter and holding back together',
  );
});

await t.test('rate, black hole and bounds', async (t) => {
  const bench = await openBench({ delayMs: 10, rateBytesPerS: 1_000 });
  for (let number = 0; number < 5; number++) bench.send(number, 100);
  await bench.clock.advance(1_000);
  t.same(
    bench.arrivals.map(({ atMs }) => atMs),
    [110, 210, 310, 410, 510],
    '100 octets take 100 ms at 1,000 octets per second',
  );
  bench.relay.setConditions({ blackhole: true });
  bench.send(9);
  await bench.clock.advance(1_000);
  t.equal(bench.arrivals.length, 5);
  bench.relay.setConditions({ blackhole: false });
  bench.send(10);
  await bench.clock.advance(1_000);
  t.equal(bench.arrivals.at(-1)?.number, 10, 'the path is there again');
  await bench.relay.close();

  const full = await openBench({ delayMs: 10 }, { queueMax: 3 });
  for (let number = 0; number < 5; number++) full.send(number);
  t.equal(full.relay.inFlightCount, 3);
  t.equal(full.relay.counters('forward').overflowed, 2);
  await full.clock.advance(10);
  full.send(5);
  await full.clock.advance(10);
  t.equal(full.arrivals.length, 4);
  await full.relay.close();

  const heavy = await openBench({ delayMs: 10 }, { queueBytesMax: 250 });
  for (let round = 0; round < 2; round++) {
    for (let number = 0; number < 4; number++) heavy.send(number, 100);
    await heavy.clock.advance(10);
  }
  t.equal(heavy.arrivals.length, 4, 'octets on the way are bounded and counted back');
  await heavy.relay.close();

  for (const wrong of [{ loss: 1.5 }, { delayMs: -1 }, { rateBytesPerS: Number.NaN }]) {
    await t.rejects(openBench(wrong), IoError);
  }
});

await t.test('answers find their client; the client table is bounded', async (t) => {
  const bench = await openBench({ delayMs: 5 }, { clientsMax: 3 });
  const target = await bench.network.openDatagram({ localAddress: '10.0.0.9' });
  target.onMessage((data, from) => void target.send(data, from));
  bench.relay.setTarget(target.local);
  const answers: string[] = [];
  const clients = await Promise.all(
    [0, 1, 2, 3].map(async (name) => {
      const socket = await bench.network.openDatagram({ localAddress: '10.0.0.8' });
      socket.onMessage((data) => answers.push(`${name}:${numberIn(data)}`));
      return socket;
    }),
  );
  for (const [name, socket] of clients.entries()) void socket.send(datagram(name), bench.relay.local);
  await bench.clock.advance(20);
  t.same(answers, ['1:1', '2:2', '3:3'], 'the eldest client gave way, the others got their own answer');
  t.equal(bench.relay.clientCount, 3);
  const openBefore = bench.network.sockets.size;
  await bench.relay.close();
  t.equal(bench.network.sockets.size, openBefore - 4, 'all ports of the relay are free again');
});

await t.test('delay line: equal times keep their order of entry', async (t) => {
  const clock = new SimulatedClock();
  const out: number[] = [];
  const line = new DelayLine<number>(clock, (item) => out.push(item));
  line.push(3, 30);
  line.push(1, 10);
  line.push(2, 10);
  line.push(0, 0);
  t.same(out, [0], 'what is due goes out at once');
  await clock.advance(40);
  t.same(out, [0, 1, 2, 3]);
});

await t.test('real sockets', async (t) => {
  const network = new NodeNetwork();
  const clock = new NodeClock();
  const target = await network.openDatagram({ localAddress: '127.0.0.1' });
  target.onMessage((data, from) => void target.send(data, from));
  const relay = await UdpRelay.open({
    network,
    clock,
    entropy: new SeededEntropy(1),
    listen: { localAddress: '127.0.0.1' },
    target: target.local,
    conditions: { delayMs: 20 },
  });
  const client = await network.openDatagram({ localAddress: '127.0.0.1' });
  const answers: number[] = [];
  const startMs = clock.monotonicMs();
  const all = new Promise<number>((resolve) => {
    client.onMessage((data) => {
      answers.push(numberIn(data));
      if (answers.length === 50) resolve(clock.monotonicMs() - startMs);
    });
  });
  for (let number = 0; number < 50; number++) await client.send(datagram(number), relay.local);
  const tookMs = await withDeadline(clock, millis(5_000), 'fifty answers', all);
  t.ok(tookMs >= 39, `there and back took ${tookMs.toFixed(1)} ms, at least twice 20 ms`);
  t.same(
    answers,
    Array.from({ length: 50 }, (_, index) => index),
    'in order, through timers of one millisecond',
  );
  await Promise.all([relay.close(), target.close(), client.close()]);
});
