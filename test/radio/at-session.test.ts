// Proves: replies are framed whatever ends a line and however octets are cut; echo, unsolicited codes and answers
// with the same prefix are told apart; one command runs at a time behind a bounded queue; after a timeout, a
// cancelled command or noise no late reply is taken for another command's; every wait ends when the line closes or
// the caller withdraws; no received octet makes the session throw, hang or grow.
import t from 'tap';
import fc from 'fast-check';
import { millis } from '../../src/base/units.ts';
import { AtSession } from '../../src/radio/at-session.ts';
import type { AtCommand, AtLimits, AtOutcome } from '../../src/radio/at-session.ts';
import type { SimulatedDevice } from '../../src/testbed/simulated-serial-lines.ts';
import { SimulatedSerialLines } from '../../src/testbed/simulated-serial-lines.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';

interface Bench {
  readonly clock: SimulatedClock;
  readonly device: SimulatedDevice;
  readonly session: AtSession;
  readonly sent: string[];
  readonly unsolicited: string[];
  /** What the modem does with a command; the probe `AT` is answered unless this answers it. */
  script: (command: string) => string | undefined;
  run<T>(work: Promise<T>): Promise<T>;
}

async function openBench(limits: Partial<AtLimits> = {}): Promise<Bench> {
  const clock = new SimulatedClock();
  const lines = new SimulatedSerialLines({ clock });
  const device = lines.plug('/dev/modem');
  const sent: string[] = [];
  const unsolicited: string[] = [];
  const line = await lines.open('/dev/modem');
  const session = new AtSession({ line, clock, limits, onUnsolicited: (text) => unsolicited.push(text) });
  const bench: Bench = {
    clock,
    device,
    session,
    sent,
    unsolicited,
    script: () => undefined,
    run: (work) => clock.advanceUntil(work, 120_000),
  };
  device.onData((data) => {
    const command = Buffer.from(data).toString('latin1').replace(/\r$/, '');
    sent.push(command);
    const reply = bench.script(command) ?? (command === 'AT' ? '\r\nOK\r\n' : undefined);
    if (reply !== undefined) device.write(Buffer.from(reply, 'latin1'));
  });
  return bench;
}

const ask = (text: string, answers = true): AtCommand<readonly string[]> => ({
  text,
  timeoutMs: millis(1000),
  parse: (lines) => lines,
  answers,
});
const linesOf = (outcome: AtOutcome<readonly string[]>): readonly string[] | string =>
  outcome.kind === 'ok' ? outcome.value : outcome.kind === 'refused' ? outcome.code : outcome.kind;

await t.test('framing', async (t) => {
  const rows: readonly (readonly [string, string, string, readonly string[] | string])[] = [
    ['CR LF around', 'AT+CSQ', '\r\n+CSQ: 16,99\r\n\r\nOK\r\n', ['+CSQ: 16,99']],
    ['bare LF', 'AT+CSQ', '+CSQ: 16,99\n\nOK\n', ['+CSQ: 16,99']],
    ['bare CR', 'AT+CSQ', '+CSQ: 16,99\rOK\r', ['+CSQ: 16,99']],
    ['echo ending CR CR LF (RM500U-CNV)', 'AT+CSQ', 'AT+CSQ\r\r\n+CSQ: 18,99\r\n\r\nOK\r\n', ['+CSQ: 18,99']],
    ['echo in another case', 'AT+CSQ', 'at+csq\r\n+CSQ: 18,99\r\nOK\r\n', ['+CSQ: 18,99']],
    ['NUL octets', 'AT+CSQ', '\0\0\r\n+CSQ: 18,99\0\r\n\0OK\r\n', ['+CSQ: 18,99']],
    [
      'newline after the colon',
      'AT+QENG="x"',
      '+QENG:\r\n"servingcell","SEARCH"\r\nOK\r\n',
      ['+QENG:', '"servingcell","SEARCH"'],
    ],
    ['plain lines', 'ATI', 'ATI\r\r\nQuectel\r\nRM500U-CNV\r\n\r\nOK\r\n', ['Quectel', 'RM500U-CNV']],
    [
      'codes between the lines of ATI (E398)',
      'ATI',
      '^RSSI:26\nManufacturer: huawei\n^LTERSRP:-87,-12\nModel: E398\nOK\n',
      ['Manufacturer: huawei', 'Model: E398'],
    ],
    [
      'chained',
      'AT+CSQ;+CESQ',
      '+CSQ: 1,99\r\n+CESQ: 99,99,255,255,1,2\r\nOK\r\n',
      ['+CSQ: 1,99', '+CESQ: 99,99,255,255,1,2'],
    ],
    ['ERROR', 'AT+CSQ', '\r\nERROR\r\n', 'ERROR'],
    ['+CME ERROR number', 'AT+CSQ', '\r\n+CME ERROR: 13\r\n', '+CME ERROR: 13'],
    ['+CME ERROR text', 'AT+CSQ', '\r\n+CME ERROR: SIM not inserted\r\n', '+CME ERROR: SIM not inserted'],
    ['+CMS ERROR', 'AT+CSQ', '\r\n+CMS ERROR: 500\r\n', '+CMS ERROR: 500'],
    ['NO CARRIER', 'ATD', '\r\nNO CARRIER\r\n', 'NO CARRIER'],
  ];
  for (const [name, command, reply, expected] of rows) {
    for (const cut of [1, 3, reply.length]) {
      const bench = await openBench();
      bench.script = (text) => {
        if (text !== command) return undefined;
        for (let at = 0; at < reply.length; at += cut)
          bench.device.write(Buffer.from(reply.slice(at, at + cut), 'latin1'));
        return '';
      };
      t.same(
        linesOf(await bench.run(bench.session.run(ask(command)))),
        expected,
        `${name}, in pieces of ${cut}`,
      );
    }
  }
});

await t.test('answers and unsolicited lines of one prefix', async (t) => {
  const bench = await openBench();
  const replies: Record<string, string> = {
    'AT+CEREG?':
      '+CEREG: 1,"1A2B","0012345",7\r\n+CEREG: 2,1,"1A2C","0012346",7\r\n+CREG: 5\r\nRING\r\nOK\r\n',
    'AT+C5GREG?': '+C5GREG: 0\r\nOK\r\n',
    'AT+CREG?': '+CREG: 0,5\r\n+CREG: 1\r\nOK\r\n',
  };
  bench.script = (text) => replies[text];
  t.same(linesOf(await bench.run(bench.session.run(ask('AT+CEREG?')))), ['+CEREG: 2,1,"1A2C","0012346",7']);
  t.same(bench.unsolicited.splice(0), ['+CEREG: 1,"1A2B","0012345",7', '+CREG: 5', 'RING']);
  t.same(
    linesOf(await bench.run(bench.session.run(ask('AT+C5GREG?')))),
    ['+C5GREG: 0'],
    'one value is the answer when nothing else is',
  );
  t.same(linesOf(await bench.run(bench.session.run(ask('AT+CREG?')))), ['+CREG: 0,5']);
  t.same(bench.unsolicited.splice(0), ['+CREG: 1'], 'and unsolicited beside a full answer');
  bench.device.write(Buffer.from('\r\n+CGEV: NW DETACH\r\n'));
  await bench.clock.advance(10);
  t.same(bench.unsolicited, ['+CGEV: NW DETACH'], 'with no command running');
});

await t.test('one at a time, bounded', async (t) => {
  const bench = await openBench({ queueMax: 3 });
  bench.script = (text) => (text === 'AT' ? undefined : `\r\n${text.slice(2)}: 1\r\nOK\r\n`);
  const works = ['A', 'B', 'C', 'D', 'E', 'F'].map((name) => bench.session.run(ask(`AT+${name}`)));
  const outcomes = await bench.run(Promise.all(works));
  t.same(outcomes.map(linesOf), [['+A: 1'], ['+B: 1'], ['+C: 1'], ['+D: 1'], 'busy', 'busy']);
  t.same(bench.sent, ['AT', 'AT+A', 'AT+B', 'AT+C', 'AT+D'], 'a new session synchronises once');
});

await t.test('a late reply is not taken for the next one', async (t) => {
  const bench = await openBench();
  const { clock, device } = bench;
  bench.script = (text) => {
    if (text === 'AT+SLOW') {
      clock.schedule(millis(1500), () => device.write(Buffer.from('\r\n+SLOW: 1\r\nOK\r\n')));
      return '';
    }
    return text === 'AT+CSQ' ? '\r\n+CSQ: 7,99\r\nOK\r\n' : undefined;
  };
  const slow = bench.session.run(ask('AT+SLOW'));
  const next = bench.session.run(ask('AT+CSQ'));
  t.equal((await bench.run(slow)).kind, 'timeout');
  t.same(linesOf(await bench.run(next)), ['+CSQ: 7,99']);
  t.equal(bench.session.counters.synchronisations, 2);
  // The same when the reply arrives while the probe of the synchronisation is out.
  const probing = await openBench({ quietMs: millis(20) });
  probing.script = (text) => {
    if (text === 'AT+SLOW') {
      probing.clock.schedule(millis(1026), () => probing.device.write(Buffer.from('+SLOW: 1\r\nOK\r\n')));
      return '';
    }
    const reply = text === 'AT' ? 'OK\r\n' : '\r\n+CSQ: 7,99\r\nOK\r\n';
    probing.clock.schedule(millis(10), () => probing.device.write(Buffer.from(reply)));
    return '';
  };
  const early = probing.session.run(ask('AT+SLOW'));
  const after = probing.session.run(ask('AT+CSQ'));
  t.equal((await probing.run(early)).kind, 'timeout');
  t.same(linesOf(await probing.run(after)), ['+CSQ: 7,99']);
});

await t.test('a stray OK brings the session back into step', async (t) => {
  const bench = await openBench();
  let strays = 1;
  bench.script = (text) =>
    text !== 'AT+CSQ' ? undefined : strays-- > 0 ? 'OK\r\n' : '\r\n+CSQ: 7,99\r\nOK\r\n';
  t.same(linesOf(await bench.run(bench.session.run(ask('AT+CSQ')))), []);
  t.same(linesOf(await bench.run(bench.session.run(ask('AT+CSQ')))), ['+CSQ: 7,99']);
  t.equal(bench.session.counters.synchronisations, 2);
});

await t.test('a prompt is left', async (t) => {
  for (const cut of [1, 100]) {
    const bench = await openBench();
    let isWriting = true;
    bench.script = (text) => {
      if (text === '\x1b') isWriting = false;
      const reply =
        text === '\x1b'
          ? '\r\nOK\r\n'
          : isWriting
            ? '\r\n> '
            : text === 'AT+CSQ'
              ? '\r\n+CSQ: 7,99\r\nOK\r\n'
              : 'OK\r\n';
      for (let at = 0; at < reply.length; at += cut)
        bench.device.write(Buffer.from(reply.slice(at, at + cut)));
      return '';
    };
    t.same(
      linesOf(await bench.run(bench.session.run(ask('AT+CSQ')))),
      ['+CSQ: 7,99'],
      'left there by another program',
    );
    isWriting = true;
    t.equal((await bench.run(bench.session.run(ask('AT+CMGS="1"')))).kind, 'prompt', `in pieces of ${cut}`);
    t.same(linesOf(await bench.run(bench.session.run(ask('AT+CSQ')))), ['+CSQ: 7,99']);
  }
});

await t.test('what is shouted waits for nothing', async (t) => {
  const bench = await openBench();
  bench.script = (text) =>
    text.includes('CFUN') ? '\r\nOK\r\n' : text === 'AT+CSQ' ? '+CSQ: 7,99\r\nOK\r\n' : undefined;
  await bench.run(bench.session.shout('AT+CFUN=1,1'));
  await bench.clock.advance(50);
  t.same(bench.sent, ['\rAT+CFUN=1,1']);
  t.same(
    linesOf(await bench.run(bench.session.run(ask('AT+CSQ')))),
    ['+CSQ: 7,99'],
    'its answer is not taken for the next',
  );
  await bench.session.close();
  await bench.run(bench.session.shout('AT'));
  t.equal(bench.sent.at(-1), 'AT+CSQ');
});

await t.test('withdrawn, closed, silent, overflowing', async (t) => {
  const bench = await openBench({ replyLinesMax: 50 });
  bench.script = (text) => (text === 'AT+MANY' ? `${'+MANY: 1\r\n'.repeat(500)}OK\r\n` : longReply(text));
  const longReply = (text: string): string | undefined =>
    text === 'AT+LONG' ? `${`+LONG: ${'x'.repeat(1000)}\r\n`.repeat(40)}OK\r\n` : undefined;
  const controller = new AbortController();
  const running = bench.session.run(ask('AT+HANGS'), controller.signal);
  const waiting = bench.session.run(ask('AT+NEVER'), controller.signal);
  await bench.clock.advance(300);
  controller.abort();
  t.same((await Promise.all([running, waiting])).map(linesOf), ['cancelled', 'cancelled']);
  t.equal(bench.sent.includes('AT+NEVER'), false);
  t.equal((await bench.session.run(ask('AT+X'), controller.signal)).kind, 'cancelled');
  t.equal((await bench.run(bench.session.run(ask('AT+MANY')))).kind, 'overflow');
  t.equal((await bench.run(bench.session.run(ask('AT+LONG')))).kind, 'overflow');

  const lost = [bench.session.run(ask('AT+HANGS')), bench.session.run(ask('AT+NEVER'))];
  await bench.clock.advance(300);
  bench.device.unplug();
  for (const outcome of await Promise.all(lost))
    t.match(outcome, { kind: 'closed', reason: /\/dev\/modem went away/ });
  t.match(await bench.session.run(ask('AT')), { kind: 'closed' });
  await bench.clock.advance(5000);
  t.equal(bench.clock.pendingCount, 0, 'no timer is left');

  const silent = await openBench();
  silent.script = () => '';
  const startMs = silent.clock.monotonicMs();
  t.equal((await silent.run(silent.session.run(ask('AT+CSQ')))).kind, 'timeout');
  t.ok(silent.clock.monotonicMs() - startMs < 4000, 'a silent modem is known as one soon');
  const chatty = await openBench();
  chatty.script = () => '';
  const stop = setChatter(chatty);
  t.equal(
    (await chatty.run(chatty.session.run(ask('AT+CSQ')))).kind,
    'timeout',
    'a modem that never stops talking',
  );
  stop();
  await silent.session.close();
  t.match(await silent.session.run(ask('AT')), { kind: 'closed', reason: /closed by its owner/ });
});

function setChatter(bench: Bench): () => void {
  let stopped = false;
  const chat = (): void => {
    if (stopped) return;
    bench.device.write(new SeededEntropy(bench.clock.monotonicMs()).bytes(300));
    bench.clock.schedule(millis(10), chat);
  };
  chat();
  return () => {
    stopped = true;
  };
}

await t.test('no octets make it throw, hang or grow', async (t) => {
  const piece = fc.oneof(
    fc.uint8Array({ maxLength: 80 }),
    fc
      .constantFrom(
        'OK\r\n',
        'ERROR\r\n',
        '+CSQ: 1,2\r\n',
        '+CEREG: 1\r\n',
        'AT+CSQ\r',
        '\r',
        '+CSQ:',
        '"',
        'x'.repeat(5000),
      )
      .map((text) => Buffer.from(text)),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 40 }), async (pieces) => {
      const bench = await openBench({ lineBytesMax: 512 });
      const queue = [...pieces];
      bench.script = () => {
        for (const data of queue.splice(0, 5)) bench.device.write(data);
        return '';
      };
      const noisy = await bench.run(bench.session.run(ask('AT+CSQ')));
      await bench.run(bench.session.run(ask('AT+CSQ')));
      // Once the noise is over, the second command at the latest is answered properly.
      bench.script = (text) => (text === 'AT+CSQ' ? '\r\n+CSQ: 7,99\r\nOK\r\n' : undefined);
      await bench.run(bench.session.run(ask('AT+CSQ')));
      const clean = await bench.run(bench.session.run(ask('AT+CSQ')));
      await bench.session.close();
      await bench.clock.advance(5000);
      return (
        ['ok', 'refused', 'timeout', 'overflow'].includes(noisy.kind) &&
        JSON.stringify(linesOf(clean)) === '["+CSQ: 7,99"]' &&
        bench.clock.pendingCount === 0
      );
    }),
    { numRuns: 150 },
  );
  t.pass('and it recovers');
});
