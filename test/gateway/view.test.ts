// Proves: the view fits every screen size whatever the status holds, no character of foreign text reaches the terminal as
// a control, memory of the model is bounded, the live view draws only what changed, restores the terminal, and degrades
// without cursor control, and the summary shows handovers, conservation and verdict.
import fc from 'fast-check';
import t from 'tap';
import { millis, unixMillis } from '../../src/base/units.ts';
import type { Millis, UnixMillis } from '../../src/base/units.ts';
import type { CancelTimer, Clock } from '../../src/host/clock.ts';
import type { Terminal, TerminalSize } from '../../src/host/terminal.ts';
import { parseEvent, parseStatus } from '../../src/gateway/status-schema.ts';
import type { GatewayEvent, GatewayStatus, HandoverEndedEvent } from '../../src/gateway/status.ts';
import { bytesText, durationText, shortNumber } from '../../src/gateway/view/format.ts';
import { progressBar, signalBars, sparkline } from '../../src/gateway/view/graphs.ts';
import { safe, widthOf } from '../../src/gateway/view/line.ts';
import { LiveView } from '../../src/gateway/view/live-view.ts';
import { renderHeadline, renderStatus, renderView } from '../../src/gateway/view/render-view.ts';
import { renderSummary } from '../../src/gateway/view/summary.ts';
import type { DemoSummary } from '../../src/gateway/view/summary.ts';
import { createViewModel, updateView } from '../../src/gateway/view/view-model.ts';
import type { ViewModel } from '../../src/gateway/view/view-model.ts';

const unicode = { unicode: true, colour: false };
const ascii = { unicode: false, colour: false };

function statusAt(second: number): GatewayStatus {
  const level = (center: number): number => Math.round((-75 - 0.9 * Math.abs(second - center)) * 10) / 10;
  const first = level(0);
  const second_ = level(40);
  return {
    device: 'gw1',
    pid: 4711,
    uptimeMs: second * 1000,
    links: [
      {
        name: 'lte0',
        state: 'up',
        localAddress: '127.0.0.11',
        registration: 'home',
        operator: 'Baton Mobile',
        modem: { state: 'ready' },
        cells: [
          { serving: true, rat: 'lte', pci: 101, arfcn: 1300, rsrpDbm: first, rsrqDb: -9.5, sinrDb: 14 },
          { serving: false, rat: 'lte', pci: 102, arfcn: 1300, rsrpDbm: second_ },
        ],
        sampleAgeMs: 320,
      },
      { name: 'wlan0', state: 'down', localAddress: '127.0.0.12', cells: [] },
    ],
    levels: [
      { cseId: '/id-mn1', rsrpDbm: first },
      { cseId: '/id-mn2', rsrpDbm: second_, note: 'timeToTrigger' },
      { cseId: '/id-mn3', note: 'noMeasurement' },
    ],
    serving: { cseId: '/id-mn1', epoch: 3, pointOfAccess: 'coap://127.0.0.1:5001', sinceMs: 2000 },
    ...(second > 20
      ? {
          handover: {
            source: '/id-mn1',
            target: '/id-mn2',
            trigger: 'a3',
            epoch: 4,
            state: 'claiming',
            elapsedMs: 243,
            phases: [
              { phase: 'preparing', ms: 121 },
              { phase: 'prepared', ms: 82 },
              { phase: 'claiming', ms: 40 },
            ],
          },
        }
      : {}),
    handovers: { completed: 2, rolledBack: 0, failed: 1 },
    buffer: {
      stored: second * 10,
      delivered: second * 10 - 3,
      evicted: 0,
      corrupt: 0,
      pending: 3,
      bytes: 48_230,
      capacityBytes: 512 * 1024 * 1024,
      oldestAgeMs: 312,
    },
    streams: [
      {
        name: 'temperature',
        stored: second * 5,
        delivered: second * 5 - 1,
        pending: 1,
        ratePerS: 5 + Math.sin(second),
      },
      { name: 'door', stored: second * 5, delivered: second * 5 - 2, pending: 2, ratePerS: 5 },
    ],
    sensors: [{ name: 'weather', state: 'up', rejected: { wrongChecksum: 2 } }],
    service: { state: 'good', responseMs: 41 },
    commands: { received: 1, executed: 1, duplicates: 0 },
    alarms: second > 20 ? [{ sinceMs: 20_000, text: 'CSE /id-mn3 has no container for "door"' }] : [],
  };
}

const ended: HandoverEndedEvent = {
  kind: 'handoverEnded',
  outcome: 'completed',
  epoch: 3,
  source: '/id-mn3',
  target: '/id-mn1',
  trigger: 'a3',
  elapsedMs: 431,
  phases: [{ phase: 'preparing', ms: 120 }],
  uplinkInterruptionMs: 12,
};

function drive(seconds: number): ViewModel {
  let model = createViewModel('Ctrl-C ends the drive', {
    name: 'three-towers',
    elapsedMs: 0,
    totalMs: 60_000,
  });
  for (let second = 0; second <= seconds; second++) {
    model = updateView(model, { kind: 'status', status: statusAt(second) });
    model = updateView(model, {
      kind: 'drive',
      drive: { name: 'three-towers', elapsedMs: second * 1000, totalMs: 60_000 },
    });
  }
  model = updateView(model, ended);
  model = updateView(model, { ...ended, epoch: 2, outcome: 'rolledBack', reason: 'claim lost' });
  return updateView(model, { kind: 'log', level: 'warn', text: 'modem lte0: garbage on the line' });
}

void t.test('a drive on 80x24 and 120x40', async (t) => {
  const model = drive(34);
  for (const size of [
    { columns: 80, rows: 24 },
    { columns: 120, rows: 40 },
  ]) {
    const screen = renderView(model, size);
    t.comment(`\n${screen}`);
    t.equal(screen.split('\n').length, size.rows);
    for (const part of [
      'three-towers', '34/60 s', 'lte0', '-105.6 dBm', '/id-mn2', 'epoch 3', '✓preparing 121', '▸claiming 40', '·switching',
      'stored 340', 'delivered 337', 'readings/s', 'Ctrl-C ends the drive', 'no container for "door"', 'uplink gap 12 ms',
    ]) {
      t.ok(screen.includes(part), `${size.columns} columns show ${part}`);
    } // prettier-ignore
    t.notMatch(renderView(model, size, ascii), /[^\n -~]/u, 'ASCII alone without Unicode');
  }
});

const word = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.string({ unit: 'grapheme', maxLength: 40 }),
  fc.constantFrom(
    '\x1b[2J\x1b[31m',
    '日本語テキスト'.repeat(9),
    '👩‍👩‍👧‍👦'.repeat(9),
    '\u202eevil',
    'e\u0301'.repeat(99),
    '\ud800',
    '\u0000\n\r\t',
    '\u009b31m',
    'x'.repeat(5000),
  ),
);
const number = fc.oneof(fc.integer(), fc.double(), fc.constantFrom(Number.NaN, Infinity, -0, 1e300, -1e300));
const maybe = <T>(key: string, value: fc.Arbitrary<T>): fc.Arbitrary<Record<string, T>> =>
  fc.option(value, { nil: undefined }).map((given) => (given === undefined ? {} : { [key]: given }));
const list = <T>(item: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(item, { maxLength: 20 });
const merged = (...parts: fc.Arbitrary<object>[]): fc.Arbitrary<object> =>
  fc.tuple(...parts).map((values) => Object.assign({}, ...values) as object);
const state = fc.constantFrom('up', 'down', 'goingDown', 'detected', 'parametersChange');
const cell = merged(
  fc.record({ serving: fc.boolean(), rat: word }),
  ...['pci', 'arfcn', 'rsrpDbm', 'rsrqDb', 'sinrDb'].map((key) => maybe(key, number)),
);
const phases = list(fc.record({ phase: word, ms: number }));
const anyStatus = merged(
  fc.record({
    device: word,
    pid: number,
    uptimeMs: number,
    links: list(
      merged(
        fc.record({ name: word, state, localAddress: word, cells: list(cell) }),
        maybe('operator', word),
        maybe('modem', fc.record({ state: word, reason: word })),
        maybe('sampleAgeMs', number),
      ),
    ),
    levels: list(merged(fc.record({ cseId: word }), maybe('rsrpDbm', number), maybe('note', word))),
    handovers: fc.record({ completed: number, rolledBack: number, failed: number }),
    buffer: fc.record({
      stored: number,
      delivered: number,
      evicted: number,
      corrupt: number,
      pending: number,
      bytes: number,
    }),
    streams: list(
      fc.record({ name: word, stored: number, delivered: number, pending: number, ratePerS: number }),
    ),
    sensors: list(
      merged(
        fc.record({ name: word, state: word, rejected: fc.dictionary(word, number) }),
        maybe('reason', word),
      ),
    ),
    service: merged(fc.record({ state: word }), maybe('responseMs', number)),
    commands: fc.record({ received: number, executed: number, duplicates: number }),
    alarms: list(fc.record({ sinceMs: number, text: word })),
  }),
  maybe('serving', fc.record({ cseId: word, epoch: number, pointOfAccess: word, sinceMs: number })),
  maybe(
    'handover',
    fc.record({
      source: word,
      target: word,
      trigger: word,
      epoch: number,
      state: word,
      elapsedMs: number,
      phases,
    }),
  ),
) as fc.Arbitrary<GatewayStatus>;
const anyEvent = fc.oneof(
  fc.record({
    kind: fc.constant('log'),
    level: fc.constantFrom('error', 'warn', 'info', 'debug'),
    text: word,
  }),
  fc.record({ kind: fc.constant('damage'), file: word, text: word }),
  fc.record({ kind: fc.constant('linkState'), link: word, state, reason: word }),
  fc.record({
    kind: fc.constant('eviction'),
    stream: word,
    count: number,
    firstSeq: number,
    lastSeq: number,
  }),
  fc.record({
    kind: fc.constant('handoverEnded'),
    outcome: fc.constantFrom('completed', 'rolledBack', 'failed'),
    epoch: number,
    source: word,
    target: word,
    trigger: word,
    elapsedMs: number,
    phases,
    uplinkInterruptionMs: number,
    reason: word,
  }),
) as fc.Arbitrary<GatewayEvent>;

/** Columns as a pessimistic terminal counts them: everything outside of a few narrow alphabets may be wide. */
function widthMost(line: string): number {
  let width = 0;
  for (const char of line)
    width += /[\u0020-\u036f\u0370-\u058f\u2010-\u22ff\u2460-\u25ff\u2713\u2717]/u.test(char) ? 1 : 2;
  return width;
}

void t.test('any status on any screen: never wider or higher, no control characters', async () => {
  fc.assert(
    fc.property(
      fc.array(anyStatus, { minLength: 1, maxLength: 3 }),
      fc.array(anyEvent, { maxLength: 5 }),
      fc.record({ columns: fc.integer({ min: 1, max: 150 }), rows: fc.integer({ min: 1, max: 60 }) }),
      fc.boolean(),
      (statuses, events, size, withUnicode) => {
        let model = createViewModel('hint');
        for (const status of statuses) model = updateView(model, { kind: 'status', status });
        for (const event of events) model = updateView(model, event);
        const lines = renderView(model, size, { unicode: withUnicode, colour: false }).split('\n');
        if (lines.length !== size.rows) throw new Error(`${lines.length} lines on ${size.rows} rows`);
        for (const line of lines) {
          if (/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(line))
            throw new Error(`control character in ${JSON.stringify(line)}`);
          if (widthOf(line) > size.columns)
            throw new Error(`${widthOf(line)} columns: ${JSON.stringify(line)}`);
          // Asian scripts that are narrow are counted twice by the pessimist, so it judges the ASCII rendering alone.
          if (!withUnicode && widthMost(line) > size.columns)
            throw new Error(`pessimist: ${JSON.stringify(line)}`);
        }
        const others =
          renderHeadline(model, withUnicode) + renderStatus(statuses[0] ?? statusAt(0), size.columns);
        if (/[\p{Cf}\p{Cs}]|[^\P{Cc}\n]/u.test(others))
          throw new Error(`control character in ${JSON.stringify(others)}`);
      },
    ),
    { numRuns: 300 },
  );
});

void t.test('colour adds escape sequences and nothing else', async (t) => {
  const size = { columns: 100, rows: 30 };
  const coloured = renderView(drive(30), size, { unicode: true, colour: true });
  t.match(coloured, /\x1b\[32m/u);
  const bare = coloured
    .replace(/\x1b\[[0-9;]*m/gu, '')
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n');
  t.equal(bare, renderView(drive(30), size, unicode));
});

void t.test('the model is bounded', async (t) => {
  let model = createViewModel('');
  for (let index = 0; index < 1000; index++) {
    const status = { ...statusAt(1), levels: [{ cseId: `/id-${index}`, rsrpDbm: -80 }] };
    model = updateView(model, { kind: 'status', status });
    model = updateView(model, { ...ended, epoch: index });
    model = updateView(model, { kind: 'log', level: 'info', text: 'x'.repeat(10_000) });
  }
  t.ok(model.levels.size <= 16, `${model.levels.size} graphs`);
  t.ok(model.rates.length <= 240);
  t.ok([...model.levels.values()].every((history) => history.length <= 240));
  t.ok(
    model.ended.length <= 16 &&
      model.messages.length <= 32 &&
      model.messages.every(({ text }) => text.length <= 400),
  );
});

void t.test('graphs and figures', async (t) => {
  t.same(sparkline([-125, undefined, -70, -97.5], { min: -125, max: -70 }, { width: 4, height: 1 }), [
    '▁ █▅',
  ]);
  t.same(sparkline([0, 1], { min: 0, max: 1 }, { width: 3, height: 2 }), ['  █', ' ▁█']);
  t.same(sparkline([1, 2, 3], { min: 1, max: 3 }, { width: 2, height: 1 }), ['▅█'], 'the newest');
  t.equal(signalBars(-70), '▂▄▆█');
  t.equal(signalBars(undefined), '····');
  t.equal(progressBar(0.5, 4), '━━──');
  t.equal(progressBar(Number.NaN, 2), '──');
  const durations = [0, 999, 4200, 187_000, 7_387_000, 5 * 86_400_000 + 7_200_000, Number.NaN, undefined];
  t.same(durations.map(durationText), ['0 ms', '999 ms', '4.2 s', '3:07', '2:03:07', '5 d 2 h', '-', '-']);
  t.same([0, 4096, 1.5 * 2 ** 30].map(bytesText), ['0 B', '4.0 KiB', '1.5 GiB']);
  t.same([1, 1.25, 1e300, Number.NaN].map(shortNumber), ['1', '1.3', '1.00e+300', '-']);
  t.equal(safe('a\x1b[31mb\u202ec'), 'a\\x1b[31mb\\x202ec');
});

class FakeTerminal implements Terminal {
  readonly isTty = true;
  hasCursorControl = true;
  readonly hasUnicode = true;
  readonly hasColour = false;
  isBroken = false;
  backlogBytes = 0;
  dimensions: TerminalSize = { columns: 80, rows: 24 };
  written: string[] = [];
  readonly resizers = new Set<() => void>();
  readonly exits = new Set<() => void>();

  write(text: string): void {
    this.written.push(text);
  }
  size(): TerminalSize {
    return this.dimensions;
  }
  onResize(handler: () => void): () => void {
    this.resizers.add(handler);
    return () => this.resizers.delete(handler);
  }
  onExit(handler: () => void): () => void {
    this.exits.add(handler);
    return () => this.exits.delete(handler);
  }
}

class StepClock implements Clock {
  nowMs = 0;
  due: (() => void)[] = [];
  monotonicMs(): Millis {
    return millis(this.nowMs);
  }
  unixMs(): UnixMillis {
    return unixMillis(0);
  }
  schedule(_delayMs: Millis, action: () => void): CancelTimer {
    this.due.push(action);
    return () => {
      this.due = this.due.filter((one) => one !== action);
    };
  }
  run(): void {
    for (const action of this.due.splice(0)) action();
  }
}

void t.test('live view', async (t) => {
  const setUp = (): { terminal: FakeTerminal; clock: StepClock; view: LiveView } => {
    const terminal = new FakeTerminal();
    const clock = new StepClock();
    return { terminal, clock, view: new LiveView({ terminal, clock, model: createViewModel('hint') }) };
  };

  await t.test('draws what changed, once per frame, and restores the terminal', async (t) => {
    const { terminal, clock, view } = setUp();
    view.start();
    t.match(terminal.written[0], /\x1b\[\?1049h\x1b\[\?25l/u, 'other screen, no cursor');
    t.match(terminal.written.join(''), /waiting for the gateway/u);
    terminal.written = [];
    for (let second = 1; second < 6; second++) view.update({ kind: 'status', status: statusAt(second) });
    t.equal(clock.due.length, 1, 'one frame for five updates');
    clock.run();
    t.match(terminal.written.join(''), /\/id-mn1/u);
    terminal.written = [];
    view.update({ kind: 'status', status: { ...statusAt(5), service: { state: 'slow' } } });
    clock.run();
    t.match(terminal.written.join(''), /slow/u);
    t.notMatch(terminal.written.join(''), /Baton Mobile/u, 'an unchanged line is not drawn again');
    terminal.written = [];
    terminal.dimensions = { columns: 60, rows: 20 };
    for (const resize of terminal.resizers) resize();
    clock.run();
    t.match(terminal.written.join(''), /\x1b\[2J.*Baton Mobile/su, 'a new size draws all');
    terminal.written = [];
    view.stop();
    view.stop();
    t.same(terminal.written, ['\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l'], 'restored once');
    t.equal(terminal.resizers.size + terminal.exits.size + clock.due.length, 0, 'nothing left behind');
  });

  await t.test('restores the terminal when the process ends', async (t) => {
    const { terminal, view } = setUp();
    view.start();
    terminal.written = [];
    for (const exit of terminal.exits) exit();
    t.match(terminal.written.join(''), /\x1b\[\?25h\x1b\[\?1049l/u);
  });

  await t.test('leaves a slow or broken terminal alone', async (t) => {
    const { terminal, clock, view } = setUp();
    view.start();
    terminal.written = [];
    terminal.backlogBytes = 1_000_000;
    view.update({ kind: 'status', status: statusAt(1) });
    clock.run();
    t.same(terminal.written, []);
    terminal.backlogBytes = 0;
    clock.run();
    t.match(terminal.written.join(''), /\/id-mn1/u, 'drawn when it has caught up');
    terminal.written = [];
    terminal.isBroken = true;
    view.update({ kind: 'status', status: statusAt(2) });
    clock.run();
    t.same(terminal.written, []);
  });

  await t.test('prints lines where the cursor cannot be moved', async (t) => {
    const { terminal, clock, view } = setUp();
    terminal.hasCursorControl = false;
    view.start();
    view.update({ kind: 'status', status: statusAt(1) });
    view.update({ kind: 'status', status: statusAt(2) });
    clock.nowMs = 5000;
    view.update({ kind: 'status', status: statusAt(25) });
    view.stop();
    t.equal(terminal.written.length, 2);
    t.match(
      terminal.written[1],
      /^25\.0 s {2}serving \/id-mn1 epoch 3 {2}handover to \/id-mn2: claiming {2}stored 250/u,
    );
    t.notMatch(terminal.written.join(''), /\x1b/u);
  });
});

const summary: DemoSummary = {
  drive: 'three-towers',
  seed: 7,
  seconds: 60,
  rttMs: 40,
  handovers: [
    { epoch: 1, target: '/id-mn1', trigger: 'initial', phases: { preparing: 80.4, claiming: 41 }, uplinkInterruptionMs: 0 },
    { epoch: 2, source: '/id-mn1', target: '/id-mn2', trigger: 'a3', phases: { preparing: 83, claiming: 42, switching: 51 }, uplinkInterruptionMs: 38.6 },
  ],
  stored: 600,
  delivered: 599,
  evicted: 0,
  pending: 1,
  duplicates: 0,
  inDoubtDoubles: 1,
  lost: 0,
  reordered: 0,
  longestGapMs: 138,
  readingPeriodMs: 100,
  verdict: 'pass',
  reasons: [],
}; // prettier-ignore

void t.test('summary', async (t) => {
  const passed = renderSummary(summary);
  t.comment(`\n${passed}`);
  t.match(passed, / 2 {2}\/id-mn1 → \/id-mn2 +a3 +39 +83 +42 +51\n/u);
  t.match(passed, / 1 {2}none → \/id-mn1 +initial +0 +80 +41 +-\n/u);
  t.match(passed, /stored 600 = delivered 599 \+ evicted 0 \+ pending 1/u);
  t.match(passed, /PASS/u);
  const failed = renderSummary({
    ...summary,
    lost: 2,
    delivered: 500,
    verdict: 'fail',
    reasons: ['2 lost\x1b[2J'],
    handovers: [],
  });
  t.match(failed, /stored 600 ≠ delivered 500/u);
  t.match(failed, /no handover took place/u);
  t.match(failed, /FAIL\n.*2 lost\\x1b\[2J/u);
  t.ok(failed.split('\n').every((line) => widthOf(line) <= 110));
});

void t.test('messages of a gateway: the types hold, anything else is refused', async (t) => {
  t.same(parseStatus(JSON.parse(JSON.stringify(statusAt(30)))), statusAt(30));
  t.same(parseEvent(JSON.parse(JSON.stringify(ended))), ended);
  t.throws(
    () => parseStatus({ ...statusAt(1), links: 'none' }),
    /status\.links "none" where Array is expected/u,
  );
  t.throws(() => parseEvent({ kind: 'nonsense' }), { code: 'DECODE' });
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      for (const parse of [parseStatus, parseEvent]) {
        try {
          parse(value);
          throw new Error('accepted');
        } catch (error) {
          if ((error as { code?: string }).code !== 'DECODE') throw error;
        }
      }
    }),
    { numRuns: 300 },
  );
});
