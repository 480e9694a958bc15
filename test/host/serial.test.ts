// Proves, over real pseudo terminals with the real serialport: octets pass both ways unchanged and without echo; a
// hang-up closes the far side at once, wherever it falls, and ends its writes; a link survives it; a modem process that answers, chatters noise, is pulled
// and plugged in again shows as such; a sensor process loses nothing to a gateway that dies between storing and
// acknowledging; a child ends with its standard input.
import t from 'tap';
import { access, mkdtemp, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { IoError } from '../../src/base/errors.ts';
import { millis } from '../../src/base/units.ts';
import { startModule } from '../../src/host/child-process.ts';
import type { ModuleProcess } from '../../src/host/child-process.ts';
import { NodeClock, withDeadline } from '../../src/host/clock.ts';
import { NodeEntropy } from '../../src/host/entropy.ts';
import { openPseudoTerminal } from '../../src/host/pseudo-terminal.ts';
import { NodeSerialLines } from '../../src/host/serial-line.ts';
import { AtSession } from '../../src/radio/at-session.ts';
import { parseSignalQuality } from '../../src/radio/vendor/generic.ts';
import { ModemSource } from '../../src/radio/modem-source.ts';
import type { Reading } from '../../src/sensor/reading.ts';
import { SerialLineSource } from '../../src/sensor/serial-line-source.ts';
import { fakeSensorValue } from '../../src/testbed/sensor/fake-sensor.ts';
import type { FakeStreamReport } from '../../src/testbed/sensor/fake-sensor.ts';

const clock = new NodeClock();
const serialLines = new NodeSerialLines();
const entropy = new NodeEntropy();
const folder = await mkdtemp(join(tmpdir(), 'baton-serial-'));
t.teardown(() => rm(folder, { recursive: true }));

/** Events that a test waits for, each with a deadline instead of a sleep. */
class Events<T> {
  readonly seen: T[] = [];
  #wake: () => void = () => undefined;

  readonly add = (event: T): void => {
    this.seen.push(event);
    this.#wake();
  };

  /** Resolves with the first event, from index `from` on, that `test` accepts. */
  find(what: string, test: (event: T) => boolean, from = 0): Promise<T> {
    const found = new Promise<T>((resolve) => {
      const look = (): void => {
        const event = this.seen.slice(from).find(test);
        if (event !== undefined) resolve(event);
      };
      const before = this.#wake;
      this.#wake = (): void => {
        before();
        look();
      };
      look();
    });
    return withDeadline(clock, millis(8000), what, found);
  }
}

type Message = {
  path?: string;
  unplugged?: boolean;
  finished?: boolean;
  error?: string;
  emitted?: Record<string, FakeStreamReport>;
};

interface Child {
  readonly process: ModuleProcess;
  readonly messages: Events<Message>;
  /** Sends a command and waits for the answer to it. */
  ask(cmd: string, test: (message: Message) => boolean): Promise<Message>;
}

async function startChild(module: string, args: readonly string[]): Promise<Child> {
  const messages = new Events<Message>();
  const process = await startModule({
    module: new URL(`../../src/testbed/${module}.js`, import.meta.url),
    args,
    onLine: (line) => messages.add(JSON.parse(line) as Message),
    onErrorLine: (line) => messages.add({ error: line }),
  });
  t.teardown(() => process.kill('SIGKILL'));
  return {
    process,
    messages,
    ask: (cmd, test) => {
      const from = messages.seen.length;
      process.writeLine(JSON.stringify({ cmd }));
      return messages.find(`answer to ${cmd}`, test, from);
    },
  };
}

await t.test('pseudo terminal', async (t) => {
  const link = join(folder, 'device');
  const terminal = await openPseudoTerminal({ link });
  t.equal(terminal.path, link);
  const everyOctet = Uint8Array.from({ length: 256 }, (_, index) => index);
  const near = new Events<Uint8Array>();
  const far = new Events<Uint8Array>();
  terminal.onData((data) => near.add(data));
  const line = await serialLines.open(link, { baudRate: 115_200 });
  line.onData((data) => far.add(data));
  const joined = (events: Events<Uint8Array>): string => Buffer.concat(events.seen).toString('hex');
  await line.write(everyOctet);
  await near.find('octets at the near end', () => joined(near).length >= 512);
  t.equal(joined(near), Buffer.from(everyOctet).toString('hex'), 'unchanged to the near end');
  t.equal(far.seen.length, 0, 'no echo');
  t.equal(terminal.write(everyOctet), true);
  await far.find('octets at the far end', () => joined(far).length >= 512);
  t.equal(joined(far), Buffer.from(everyOctet).toString('hex'), 'unchanged to the far end');
  const closed = new Events<IoError | undefined>();
  line.onClose(closed.add);
  await terminal.hangUp();
  await terminal.hangUp();
  t.match(await closed.find('close', () => true), { message: /went away/ });
  t.equal(terminal.write(everyOctet), false);
  await t.rejects(readlink(link), 'the link is gone');
  await t.rejects(serialLines.open(link, { baudRate: 9600 }), IoError);

  const unread = await openPseudoTerminal({ link });
  let accepted = 0;
  while (accepted < 10_000 && unread.write(everyOctet)) accepted++;
  t.ok(accepted < 1000, `a far side that does not read bounds what is kept (${accepted * 256} bytes)`);
  await unread.hangUp();
  await t.rejects(
    openPseudoTerminal({ link: join(folder, 'missing', 'device') }),
    /is its folder there and writable/,
  );
});

await t.test('a hang-up that falls between two reads, and writes that nobody takes', async (t) => {
  const terminal = await openPseudoTerminal();
  const line = await serialLines.open(terminal.path, { baudRate: 115_200 });
  await terminal.hangUp();
  const closed = new Events<IoError | undefined>();
  line.onClose(closed.add);
  line.onData(() => undefined);
  t.match(await closed.find('close', () => true), { message: /went away/ });

  for (const ending of ['hang-up', 'close'] as const) {
    // Nobody reads the near end, so most of this waits inside serialport.
    const stuffed = await openPseudoTerminal();
    const writer = await serialLines.open(stuffed.path, { baudRate: 115_200 });
    const writes = Array.from({ length: 50 }, () =>
      writer.write(new Uint8Array(4096)).then(() => 'sent', String),
    );
    await (ending === 'hang-up' ? stuffed.hangUp() : writer.close());
    writer.onData(() => undefined);
    const outcomes = await withDeadline(
      clock,
      millis(8000),
      `every write after ${ending}`,
      Promise.all(writes),
    );
    t.match(outcomes.at(-1), /IoError: .*serial line/, ending);
    await stuffed.hangUp();
  }
});

await t.test('modem process', async (t) => {
  const link = join(folder, 'modem');
  const modem = await startChild('modem/fake-modem-process', [
    '--drive',
    'ring',
    '--seconds',
    '20',
    '--link',
    link,
  ]);
  await modem.messages.find('path', (message) => message.path === link);

  const line = await serialLines.open(link, { baudRate: 115_200 });
  const session = new AtSession({ line, clock });
  const ask = { text: 'AT+CSQ', timeoutMs: millis(2000), parse: parseSignalQuality, answers: true };
  for (let round = 0; round < 50; round++) {
    const outcome = await session.run(ask);
    if (outcome.kind !== 'ok' || outcome.value?.value === undefined)
      t.fail(`round ${round}: ${JSON.stringify(outcome)}`);
  }
  t.equal(session.counters.timeouts, 0, 'fifty questions with echo on');
  await session.close();

  const states = new Events<string>();
  const samples = new Events<number>();
  const reasons: string[] = [];
  const source = new ModemSource({
    serialLines,
    clock,
    entropy,
    source: 'modem0',
    path: link,
    periodMs: millis(50),
    reopenMsMin: millis(20),
    reopenMsMax: millis(100),
    onSample: (sample) => samples.add(sample.cells.length),
    onState: (report) => {
      reasons.push(report.reason);
      states.add(report.state);
    },
  });
  const next = (state: string): Promise<string> =>
    states.find(state, (seen) => seen === state, states.seen.length);
  const firstReady = next('ready');
  source.start();
  await firstReady;
  await samples.find('a sample with neighbours', (cells) => cells >= 2);
  const lost = next('lost');
  await modem.ask('unplug', (message) => message.unplugged === true);
  await lost;
  t.match(reasons.at(-1), link);
  const back = next('ready');
  await modem.ask('replug', (message) => message.path === link);
  await back;
  const silent = next('silent');
  modem.process.writeLine('{"cmd":"garbage"}');
  await silent;
  t.match(reasons.at(-1), /does not answer AT \(\d+ bytes received, \d+ unreadable lines\)/);
  const again = next('ready');
  modem.process.writeLine('{"cmd":"normal"}');
  await again;
  await samples.find('samples again', (cells) => cells >= 2, samples.seen.length);
  t.match(await modem.ask('unplgu', (message) => message.error !== undefined), {
    error: /did you mean "unplug"/,
  });
  await source.stop();
  modem.process.endInput();
  t.same(await modem.process.exited, { code: 0, signal: null }, 'ends with its standard input');
  await t.rejects(access(link));
});

await t.test('sensor process and a gateway that dies', async (t) => {
  const link = join(folder, 'sensor');
  const args = ['--stream', 'temperature:10', '--stream', 'humidity:25', '--seed', '9', '--link', link];
  const sensor = await startChild('sensor/fake-sensor-process', args);
  await sensor.messages.find('path', (message) => message.path === link);
  const stored: Reading[] = [];

  const run = async (count: number, options: { dies: boolean }): Promise<void> => {
    const seen = new Events<Reading>();
    let dead = false;
    const source = new SerialLineSource({
      serialLines,
      clock,
      entropy,
      name: 'climate',
      path: link,
      format: 'json',
      acknowledge: true,
      reopenMsMin: millis(20),
      onReading: (reading) => {
        if (dead) return new Promise(() => undefined);
        stored.push(reading);
        seen.add(reading);
        dead = options.dies && seen.seen.length >= count;
        // Dying between storing and acknowledging: the reading is durable and the sensor never learns it.
        return dead ? new Promise(() => undefined) : Promise.resolve();
      },
      onState: () => undefined,
    });
    source.start();
    await seen.find(`${count} readings`, () => seen.seen.length >= count);
    await source.stop();
  };
  for (let round = 0; round < 3; round++) await run(30, { dies: true });
  const pulled = run(40, { dies: false });
  await sensor.ask('unplug', (message) => message.unplugged === true);
  await sensor.ask('replug', (message) => message.path === link);
  await pulled;
  const last = run(20, { dies: false });
  await last;
  await sensor.ask('finish', (message) => message.finished === true);
  const draining = new Events<true>();
  const drain = new SerialLineSource({
    serialLines,
    clock,
    entropy,
    name: 'climate',
    path: link,
    format: 'json',
    acknowledge: true,
    onReading: (reading) => {
      stored.push(reading);
      return Promise.resolve();
    },
    onState: () => undefined,
  });
  drain.start();
  let emitted: Record<string, FakeStreamReport> = {};
  const poll = async (): Promise<void> => {
    const message = await sensor.ask('report', (candidate) => candidate.emitted !== undefined);
    emitted = message.emitted ?? {};
    if (Object.values(emitted).every((report) => report.pending === 0)) draining.add(true);
    else clock.schedule(millis(20), () => void poll());
  };
  await poll();
  await draining.find('everything acknowledged', () => true);
  await drain.stop();
  let doubles = 0;
  for (const stream of ['temperature', 'humidity']) {
    const report = emitted[stream];
    const counts = stored
      .filter((reading) => reading.stream === stream)
      .map((reading) => reading.producerSeq ?? 0);
    t.match(report, { first: 1, pending: 0, dropped: 0, acknowledged: report?.last });
    t.same(
      [...new Set(counts)],
      Array.from({ length: report?.last ?? 0 }, (_, index) => index + 1),
      `${stream}: each count, in order`,
    );
    doubles += counts.length - new Set(counts).size;
  }
  t.ok(doubles >= 3, `${doubles} readings came twice, known by their count`);
  for (const { stream, producerSeq = 0, value } of stored) {
    if (value !== fakeSensorValue(9, stream, producerSeq))
      t.fail(`${stream} ${producerSeq} has value ${JSON.stringify(value)}`);
  }
  sensor.process.endInput();
  t.same(await sensor.process.exited, { code: 0, signal: null });
});

await t.test('a child says what is wrong with its arguments', async (t) => {
  for (const [module, args, text] of [
    ['modem/fake-modem-process', ['--drive', 'rnig'], /unknown drive "rnig"/],
    ['modem/fake-modem-process', ['--seed', 'x'], /--seed needs a whole number, got "x"/],
    ['sensor/fake-sensor-process', ['--stream', 'temperature'], /--stream needs NAME:PERIOD_MS/],
  ] as const) {
    const child = await startChild(module, args);
    t.match(await child.messages.find('message', (message) => message.error !== undefined), { error: text });
    child.process.endInput();
    t.match(await child.process.exited, { code: 2 });
  }
});
