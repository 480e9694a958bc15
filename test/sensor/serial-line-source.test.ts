// Proves: every stored reading of an acknowledging sensor is handed on once and in order, none is lost, whatever the
// line drops, damages or repeats and however often the gateway is ended between storing and acknowledging; damaged,
// overlong, foreign and surplus lines are counted by reason and disturb nothing; states name the port and the way
// out.
import t from 'tap';
import fc from 'fast-check';
import { ConfigError } from '../../src/base/errors.ts';
import { millis } from '../../src/base/units.ts';
import { sleep } from '../../src/host/clock.ts';
import type { DeviceReport } from '../../src/host/reopening-line.ts';
import type { Reading } from '../../src/sensor/reading.ts';
import {
  crc8,
  formatAcknowledgement,
  formatReadingLine,
  parseAcknowledgement,
  parseCsvLine,
  parseJsonLine,
  sealLine,
} from '../../src/sensor/sensor-line.ts';
import { SerialLineSource, parseSensorFormat } from '../../src/sensor/serial-line-source.ts';
import type { SerialSensorOptions } from '../../src/sensor/serial-line-source.ts';
import { StreamOrder } from '../../src/sensor/stream-order.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { FakeSensor, fakeSensorValue } from '../../src/testbed/sensor/fake-sensor.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';
import { SimulatedSerialLines } from '../../src/testbed/simulated-serial-lines.ts';

const octets = (text: string): Uint8Array => Buffer.from(text, 'utf8');

await t.test('lines', (t) => {
  t.equal(crc8(octets('123456789')), 0xf4, 'check value of CRC-8/SMBUS');
  t.equal(
    formatReadingLine({ stream: 'temperature', count: 17, value: 21.5 }),
    '{"s":"temperature","n":17,"v":21.5}*91\r\n',
  );
  t.same(parseAcknowledgement(octets(formatAcknowledgement('temperature', 17).trim())), {
    stream: 'temperature',
    count: 17,
  });
  t.equal(parseAcknowledgement(octets('+17 temperature')), undefined, 'without checksum it is none');
  const json = (text: string, acknowledge = true): unknown => {
    const result = parseJsonLine(octets(text), { acknowledge });
    return result.ok ? result.readings : result.fault;
  };
  const sealed = (text: string): string => sealLine(text).trim();
  t.same(json(sealed('{"s":"a","n":5,"o":3,"v":{"x":[1,null,"ä"]}}')), [
    { stream: 'a', count: 5, oldest: 3, value: { x: [1, null, 'ä'] } },
  ]);
  for (const [text, fault] of [
    ['{"s":"a","n":1,"v":1}', 'missingChecksum'],
    [sealed('{"s":"a","n":1,"v":1}').replace('1}', '2}'), 'wrongChecksum'],
    [sealed('{"s":"a","n":1'), 'notJson'],
    [sealed('[1]'), 'notAReading'],
    [sealed('{"s":"a","n":1}'), 'notAReading'],
    [sealed('{"s":"a","n":1,"v":1e999}'), 'notAReading'],
    [sealed(`{"s":"a","n":1,"v":${'['.repeat(40)}${']'.repeat(40)}}`), 'notAReading'],
    [sealed('{"s":"../a","n":1,"v":1}'), 'badStreamName'],
    [sealed('{"s":7,"n":1,"v":1}'), 'badStreamName'],
    [sealed('{"s":"a","n":0,"v":1}'), 'badCount'],
    [sealed('{"s":"a","n":1.5,"v":1}'), 'badCount'],
    [sealed('{"s":"a","v":1}'), 'badCount'],
    [sealed('{"s":"a","n":3,"o":4,"v":1}'), 'badCount'],
  ] as const) {
    t.equal(json(text), fault, text.slice(0, 60));
  }
  t.same(json('{"s":"a","v":1}', false), [{ stream: 'a', value: 1 }]);
  t.same(json('{"temperature":21.5,"door":"open"}', false), [
    { stream: 'temperature', value: 21.5 },
    { stream: 'door', value: 'open' },
  ]);
  t.equal(parseJsonLine(Uint8Array.of(0x7b, 0xff, 0x7d), { acknowledge: false }).ok, false);
  const csv = (text: string, columns?: string[]): unknown => {
    const result = parseCsvLine(octets(text), columns);
    return result.ok ? result.readings : result.fault;
  };
  t.same(csv('temperature, 21.5'), [{ stream: 'temperature', value: 21.5 }]);
  t.same(csv('1e2,,open', ['a', 'b', 'c']), [
    { stream: 'a', value: 100 },
    { stream: 'c', value: 'open' },
  ]);
  t.equal(csv('1,2', ['a']), 'notAReading');
  t.equal(csv('21.5'), 'notAReading');
  t.throws(
    () => parseSensorFormat('jason'),
    new ConfigError('unknown sensor format "jason": did you mean "json"?'),
  );
  t.end();
});

await t.test('order of counts', (t) => {
  const order = new StreamOrder();
  t.equal(order.judge(7, 6, 'a'), 'gap', 'the sensor still holds an earlier one');
  t.equal(order.judge(6, 6, 'x'), 'next', 'a sensor may start anywhere');
  order.begin(6, 'x');
  t.equal(order.judge(6, 6, 'x'), 'inFlight');
  order.finish(6);
  t.equal(order.judge(6, 6, 'x'), 'stored');
  t.equal(order.judge(6, 6, 'y'), 'reusedCount', 'another value under the same count');
  t.equal(order.judge(1, 1, 'x'), 'reusedCount', 'a sensor that started over');
  t.equal(order.judge(8, 7, 'z'), 'gap');
  t.equal(order.judge(8, 8, 'z'), 'next', 'the sensor gave 7 up');
  for (let count = 7; count < 2000; count++) order.begin(count, 'v');
  t.equal(order.judge(6, 6, 'x'), 'reusedCount', 'memory is bounded');
  order.fail(1990);
  t.equal(order.last, 1989);
  t.equal(order.judge(1990, 1990, 'v'), 'next');
  t.end();
});

interface Bench {
  readonly clock: SimulatedClock;
  readonly lines: SimulatedSerialLines;
  readonly readings: Reading[];
  readonly states: DeviceReport[];
  readonly source: SerialLineSource;
}

function openBench(options: Partial<SerialSensorOptions> = {}): Bench {
  const clock = new SimulatedClock();
  const lines = new SimulatedSerialLines();
  const readings: Reading[] = [];
  const states: DeviceReport[] = [];
  const source = new SerialLineSource({
    serialLines: lines,
    clock,
    entropy: new SeededEntropy(1),
    name: 'climate',
    path: '/dev/sensor',
    format: 'json',
    silenceMs: millis(5000),
    onReading: (reading) => {
      readings.push(reading);
      return Promise.resolve();
    },
    onState: (report) => states.push(report),
    ...options,
  });
  return { clock, lines, readings, states, source };
}

await t.test('refusals are counted and disturb nothing', async (t) => {
  const bench = openBench({ acknowledge: true, streams: ['a', 'b'] });
  const device = bench.lines.plug('/dev/sensor');
  const heard: string[] = [];
  device.onData((data) => heard.push(Buffer.from(data).toString()));
  bench.source.start();
  await bench.clock.advance(10);
  const line = (stream: string, count: number, value = 1): string =>
    formatReadingLine({ stream, count, value });
  device.write(octets(`ail of a line*11\r\n${line('a', 1)}`));
  device.write(Uint8Array.of(0xff, 0xfe, 0x0a));
  device.write(octets(line('a', 2).replace('1}', '7}')));
  device.write(octets('x'.repeat(5000)));
  device.write(octets(`\r\n${line('unknown', 1)}${line('b', 9)}${line('a', 4).replace('}', '}')}`));
  device.write(octets(line('a', 2).slice(0, 10)));
  device.write(octets('\n'));
  device.write(octets(sealLine('{"s":"a","n":3,"o":2,"v":1}')));
  for (const char of line('a', 5)) device.write(octets(char));
  await bench.clock.advance(10);
  t.same(
    bench.readings.map((reading) => `${reading.stream} ${reading.producerSeq}`),
    ['a 1', 'b 9', 'a 4', 'a 5'],
  );
  t.match(bench.source.counters.refused, {
    wrongChecksum: 2,
    notUtf8: 1,
    tooLong: 1,
    unknownStream: 1,
    missingChecksum: 1,
    reusedCount: 1,
  });
  t.same(
    heard,
    [
      ['a', 1],
      ['b', 9],
      ['a', 4],
      ['a', 5],
    ].map(([stream, count]) => formatAcknowledgement(String(stream), Number(count))),
  );
  t.match(bench.readings[0], { value: 1, wall: { source: 'system' } });
  device.write(octets(line('a', 5)));
  t.equal(heard.length, 5, 'a repeated line is acknowledged again');
  t.equal(bench.readings.length, 4, 'and not handed on again');
  t.same(
    bench.states.map((report) => report.state),
    ['opening', 'ready'],
  );
  device.unplug();
  await bench.clock.advance(100);
  t.match(bench.states.at(-1), { state: 'lost', reason: /sensor climate lost: .*\/dev\/sensor/ });
  bench.lines.plug('/dev/sensor');
  await bench.clock.advance(7000);
  t.match(bench.states.at(-1), {
    state: 'silent',
    reason: /climate on \/dev\/sensor sent no usable line for 5000 ms .*check its power/,
  });
  await bench.clock.advanceUntil(bench.source.stop());
  t.equal(bench.clock.pendingCount, 0);
});

await t.test('plain lines, and bounds', async (t) => {
  const plain = openBench();
  const device = plain.lines.plug('/dev/sensor');
  plain.source.start();
  await plain.clock.advance(10);
  for (let index = 0; index < 200; index++) device.write(octets(`{"s":"s${index}","v":${index}}\n`));
  t.equal(plain.readings.length, 64);
  t.equal(plain.source.counters.refused.tooManyStreams, 136);
  await plain.source.stop();

  const csv = openBench({ format: 'csv' });
  const csvDevice = csv.lines.plug('/dev/sensor');
  csv.source.start();
  await csv.clock.advance(10);
  csvDevice.write(octets('1.5\ntemperature,21.5\n'));
  t.same(
    csv.readings.map((reading) => reading.value),
    [21.5],
    'the tail of a line cannot pass for a reading',
  );
  t.equal(csv.source.counters.refused.partial, 1);
  await csv.source.stop();

  const stalled = openBench({
    acknowledge: true,
    inFlightMax: 4,
    onReading: () => new Promise(() => undefined),
  });
  const stalledDevice = stalled.lines.plug('/dev/sensor');
  stalled.source.start();
  await stalled.clock.advance(10);
  for (let count = 1; count <= 10; count++)
    stalledDevice.write(octets(formatReadingLine({ stream: 'a', count, value: 0 })));
  t.equal(stalled.source.counters.refused.overload, 6, 'a store that hangs bounds what is taken');
  await stalled.source.stop();
  t.throws(() => openBench({ format: 'csv', acknowledge: true }), /climate: acknowledge needs format json/);
});

await t.test('a failing store leaves readings unacknowledged until it works again', async (t) => {
  let failing = false;
  const stored: number[] = [];
  const bench = openBench({
    acknowledge: true,
    onReading: (reading) => {
      if (failing) return Promise.reject(new Error('disk full'));
      stored.push(reading.producerSeq ?? 0);
      return Promise.resolve();
    },
  });
  const device = bench.lines.plug('/dev/sensor');
  const streams = [{ name: 'a', periodMs: millis(100) }];
  const sensor = new FakeSensor({
    clock: bench.clock,
    seed: 1,
    streams,
    write: (data) => (device.write(data), device.isOpen),
  });
  device.onData((data) => sensor.receive(data));
  sensor.start();
  bench.source.start();
  await bench.clock.advance(2000);
  failing = true;
  await bench.clock.advance(3000);
  failing = false;
  await bench.clock.advance(3000);
  sensor.finish();
  await bench.clock.advance(2000);
  const { last = 0, pending } = sensor.report()['a'] ?? {};
  t.equal(pending, 0);
  t.same(
    stored,
    Array.from({ length: last }, (_, index) => index + 1),
  );
  t.ok((bench.source.counters.refused.storeFailed ?? 0) > 0);
  sensor.stop();
  await bench.source.stop();
});

await t.test('memory of the sensor double is bounded and its losses are reported', async (t) => {
  const clock = new SimulatedClock();
  const streams = [{ name: 'a', periodMs: millis(10) }];
  const sensor = new FakeSensor({ clock, seed: 1, streams, write: () => false, memoryMax: 20 });
  sensor.start();
  await clock.advance(1000);
  t.same(sensor.report()['a'], {
    first: 1,
    last: 100,
    acknowledged: 0,
    pending: 20,
    dropped: 80,
    droppedRanges: [[1, 80]],
    repeated: 0,
  });
  sensor.stop();
  t.equal(clock.pendingCount, 0);
  t.equal(fakeSensorValue(1, 'a', 5), fakeSensorValue(1, 'a', 5));
});

interface Fault {
  readonly atMs: number;
  readonly kind: 'kill' | 'unplug';
}

/**
 * A gateway over a line that damages octets, ended without notice at the given times; returns what it stored, in
 * order.
 */
async function drive(
  seed: number,
  lossRate: number,
  faults: readonly Fault[],
): Promise<{ problems: string[]; doubles: number }> {
  const clock = new SimulatedClock();
  const lines = new SimulatedSerialLines({ clock, latencyMs: millis(2) });
  const entropy = new SeededEntropy(seed);
  const damage = (data: Uint8Array): Uint8Array =>
    Uint8Array.from(data).map((octet) =>
      entropy.uint32() / 2 ** 32 < lossRate ? octet ^ (1 << (entropy.uint32() % 8)) : octet,
    );
  const streams = ['a', 'b'].map((name, index) => ({ name, periodMs: millis(40 + 30 * index) }));
  let device = lines.plug('/dev/sensor');
  const write = (data: Uint8Array): boolean => {
    device.write(damage(data));
    return true;
  };
  const sensor = new FakeSensor({ clock, seed, streams, write });
  const listen = (): void => device.onData((data) => sensor.receive(damage(data)));
  listen();
  sensor.start();
  const durable: Reading[] = [];
  let generation = 0;
  const startGateway = (): SerialLineSource => {
    const mine = ++generation;
    let tail = Promise.resolve();
    const source = new SerialLineSource({
      serialLines: lines,
      clock,
      entropy: entropy.fork('gateway'),
      name: 'climate',
      path: '/dev/sensor',
      format: 'json',
      acknowledge: true,
      onReading: async (reading) => {
        // A store keeps the order in which readings were handed to it.
        tail = tail.then(async () => {
          await sleep(clock, millis(entropy.uint32() % 30));
          // What is not on flash when the gateway dies is gone; what was stored stays, though it can no longer be
          // acknowledged.
          if (mine === generation) durable.push(reading);
        });
        await tail;
        await sleep(clock, millis(entropy.uint32() % 20));
        return mine === generation ? undefined : new Promise(() => undefined);
      },
      onState: () => undefined,
    });
    source.start();
    return source;
  };
  let source = startGateway();
  for (const fault of [...faults].sort((x, y) => x.atMs - y.atMs)) {
    await clock.advance(Math.max(0, fault.atMs - clock.monotonicMs()));
    if (fault.kind === 'unplug') {
      device = lines.plug('/dev/sensor');
      listen();
    } else {
      generation++;
      await clock.advanceUntil(source.stop());
      source = startGateway();
    }
  }
  await clock.advance(Math.max(0, 6000 - clock.monotonicMs()));
  sensor.finish();
  await clock.advance(60_000);
  sensor.stop();
  await clock.advanceUntil(source.stop());
  return judge(seed, durable, sensor);
}

function judge(
  seed: number,
  durable: readonly Reading[],
  sensor: FakeSensor,
): { problems: string[]; doubles: number } {
  const problems: string[] = [];
  let doubles = 0;
  for (const [stream, report] of Object.entries(sensor.report())) {
    let high = 0;
    for (const reading of durable.filter((candidate) => candidate.stream === stream)) {
      const count = reading.producerSeq ?? 0;
      if (reading.value !== fakeSensorValue(seed, stream, count))
        problems.push(`${stream} ${count} has value ${JSON.stringify(reading.value)}`);
      if (count <= high) doubles++;
      else if (count !== high + 1) problems.push(`${stream} jumps from ${high} to ${count}`);
      high = Math.max(high, count);
    }
    if (high !== report.last) problems.push(`${stream}: ${high} of ${report.last} stored`);
    if (report.pending !== 0) problems.push(`${stream}: ${report.pending} pending`);
  }
  return { problems, doubles };
}

await t.test('nothing is lost on a bad line with a gateway that keeps dying', async (t) => {
  const fault = fc.record({
    atMs: fc.integer({ min: 50, max: 5500 }),
    kind: fc.constantFrom('kill' as const, 'unplug' as const),
  });
  let doubles = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.nat(),
      fc.constantFrom(0, 0.0005, 0.003),
      fc.array(fault, { maxLength: 8 }),
      async (seed, lossRate, faults) => {
        const result = await drive(seed, lossRate, faults);
        doubles += result.doubles;
        if (result.problems.length > 0) throw new Error(result.problems.join('; '));
      },
    ),
    { numRuns: 25 },
  );
  t.pass(`${doubles} readings were handed on twice, each with the count of the first`);
});
