/**
 * Proves that the verdict of a drive can fail: sound evidence passes, and the same evidence with one reading lost, doubled,
 * altered, invented or out of order, or with the bundle split or incomplete, fails and says why. A double passes only
 * across CSEs and labelled as in doubt.
 */
import t from 'tap';
import { cseId, epoch, millis } from '../../src/base/units.ts';
import type { HandoverEndedEvent } from '../../src/gateway/status.ts';
import { ResourceType } from '../../src/onem2m/enums.ts';
import type { HeldResource } from '../../src/testbed/drive/cse-host-process.ts';
import { judgeDrive } from '../../src/testbed/drive/verdict.ts';
import type { DriveRecord } from '../../src/testbed/drive/verdict.ts';
import { fakeSensorValue } from '../../src/testbed/sensor/fake-sensor.ts';

const seed = 3;
const streams = { temperature: 100, vibration: 50 };
const moveAt = 5;
const last = 10;

function instance(cse: string, stream: string, n: number, extra: Partial<HeldResource> = {}): HeldResource {
  return {
    cse,
    path: `cse-${cse}/gw1/${stream}/r-${n}`,
    type: ResourceType.contentInstance,
    labels: [],
    arrivalMs: 1000 + n * 100,
    content: { v: fakeSensorValue(seed, stream, n), q: n, n },
    ...extra,
  };
}

function ae(cse: string, state: string): HeldResource[] {
  const resource = (suffix: string, type: number, labels: string[] = []): HeldResource => ({
    cse,
    path: `cse-${cse}/gw1${suffix}`,
    type,
    labels,
    arrivalMs: 900,
  });
  return [
    resource('', ResourceType.ae, ['baton:dev=gw1', `baton:state=${state}`]),
    resource('/acp', ResourceType.accessControlPolicy),
    ...['cmd', 'temperature', 'vibration'].map((name) => resource(`/${name}`, ResourceType.container)),
  ];
}

function claim(n: number, mn: string): HeldResource {
  return {
    cse: 'in',
    path: `cse-in/gw1-home/serving/e${n}`,
    type: ResourceType.contentInstance,
    labels: [],
    arrivalMs: 900,
    content: {
      epoch: n,
      nonce: `n${n}`,
      link: 'lte0',
      cse: { id: `/id-${mn}`, base: `cse-${mn}`, poa: 'coap://x' },
    },
  };
}

/** A drive from mn1 to mn2 in which everything went well: readings up to `moveAt` are at mn1. */
function soundHeld(): HeldResource[] {
  const readings = Object.keys(streams).flatMap((stream) =>
    Array.from({ length: last }, (_, index) => index + 1).map((n) =>
      instance(n <= moveAt ? 'mn1' : 'mn2', stream, n),
    ),
  );
  return [claim(1, 'mn1'), claim(2, 'mn2'), ...ae('mn1', 'moved'), ...ae('mn2', 'serving'), ...readings];
}

function ended(
  n: number,
  source: string | undefined,
  target: string,
  outcome: HandoverEndedEvent['outcome'],
): DriveRecord['handovers'][number] {
  return {
    endedMs: millis(1400 + n),
    event: {
      kind: 'handoverEnded',
      outcome,
      epoch: epoch(n),
      ...(source === undefined ? {} : { source: cseId(source) }),
      target: cseId(target),
      trigger: source === undefined ? 'initial' : 'a3',
      elapsedMs: 200,
      phases: [
        { phase: 'preparing', ms: 120 },
        { phase: 'claiming', ms: 80 },
      ],
    },
  };
}

function record(held: readonly HeldResource[], changes: Partial<DriveRecord> = {}): DriveRecord {
  const report = {
    first: 1,
    last,
    acknowledged: last,
    pending: 0,
    dropped: 0,
    droppedRanges: [],
    repeated: 0,
  };
  return {
    drive: 'ring',
    seed,
    seconds: 1,
    rttMs: 20,
    device: 'gw1',
    streams,
    handovers: [ended(1, undefined, '/id-mn1', 'completed'), ended(2, '/id-mn1', '/id-mn2', 'completed')],
    evidence: { emitted: { temperature: report, vibration: report }, held },
    status: undefined,
    failures: [],
    ...changes,
  };
}

const isAt = (path: string) => (resource: HeldResource) => resource.path === path;
const without = (path: string): HeldResource[] => soundHeld().filter((each) => !isAt(path)(each));
const changed = (path: string, changes: Partial<HeldResource>): HeldResource[] =>
  soundHeld().map((each) => (isAt(path)(each) ? { ...each, ...changes } : each));
const inDoubt = ['baton:indoubt'];

void t.test('sound evidence passes', async (t) => {
  const summary = judgeDrive(record(soundHeld()));
  t.match(summary, { verdict: 'pass', stored: 2 * last, delivered: 2 * last, lost: 0, duplicates: 0 });
  t.same(summary.reasons, []);
  t.same(summary.handovers[0], {
    epoch: 1,
    target: '/id-mn1',
    trigger: 'initial',
    phases: { preparing: 120, claiming: 80 },
    uplinkInterruptionMs: 0,
  });
  t.match(summary.handovers[1], { source: '/id-mn1', target: '/id-mn2', uplinkInterruptionMs: 50 });
  t.equal(summary.handovers.length, 2);
});

/** A reading that an outage held back, in the history container of its stream. */
function late(cse: string, stream: string, n: number, arrivalMs: number): HeldResource {
  return instance(cse, stream, n, { path: `cse-${cse}/gw1/${stream}.history/r-${n}`, arrivalMs });
}

void t.test('readings in a history container count like the others', async (t) => {
  const others = soundHeld().filter(({ path }) => !/temperature\/r-[67]$/u.test(path));
  const behind = [late('mn2', 'temperature', 6, 2500), late('mn2', 'temperature', 7, 2600)];
  t.same(judgeDrive(record([...others, ...behind])).reasons, [], 'behind newer ones in the container beside');
  const turned = [late('mn2', 'temperature', 6, 2600), late('mn2', 'temperature', 7, 2500)];
  t.match(judgeDrive(record([...others, ...turned])).reasons, [/^1 readings arrived after a later one/u]);
  const twice = [...soundHeld(), late('mn2', 'temperature', 7, 2500)];
  t.match(judgeDrive(record(twice)).reasons, [/^1 readings are held twice/u], 'not in both containers');
});

void t.test('doctored evidence fails and says why', async (t) => {
  const cases: readonly (readonly [string, readonly HeldResource[], RegExp])[] = [
    [
      'a lost reading',
      without('cse-mn1/gw1/vibration/r-4'),
      /^1 readings were emitted and are held by no CSE$/u,
    ],
    ['the last reading lost', without('cse-mn2/gw1/temperature/r-10'), /^1 readings were emitted/u],
    [
      'a double at the other CSE',
      [...soundHeld(), instance('mn2', 'vibration', 4, { arrivalMs: 1451 })],
      /held twice/u,
    ],
    [
      'a double at the same CSE, labelled or not',
      [
        ...soundHeld(),
        instance('mn2', 'vibration', 7, { path: 'cse-mn2/gw1/vibration/r-7b', labels: inDoubt }),
      ],
      /held twice/u,
    ],
    [
      'an altered reading',
      changed('cse-mn2/gw1/vibration/r-8', { content: { v: -1, q: 8, n: 8 } }),
      /another value/u,
    ],
    [
      'a reading without its value',
      changed('cse-mn2/gw1/vibration/r-8', { content: { n: 8 } }),
      /another value/u,
    ],
    ['an invented reading', [...soundHeld(), instance('mn2', 'vibration', 11)], /never emitted/u],
    [
      'a reading without content',
      changed('cse-mn2/gw1/vibration/r-8', { content: undefined }),
      /held by no CSE/u,
    ],
    [
      'a reading out of order',
      changed('cse-mn2/gw1/vibration/r-8', { arrivalMs: 2500 }),
      /after a later one/u,
    ],
    ['an AE that serves at the source', [...soundHeld().filter(({ cse, type }) => cse !== 'mn1' || type !== ResourceType.ae), ...ae('mn1', 'serving').slice(0, 1)], /^mn1 does not serve but holds the AE as serving$/u], // prettier-ignore
    [
      'an AE left prepared elsewhere',
      [...soundHeld(), ...ae('mn3', 'prepared')],
      /^mn3 does not serve .* as prepared$/u,
    ],
    [
      'the serving AE as moved',
      changed('cse-mn2/gw1', { labels: ['baton:state=moved'] }),
      /the serving CSE mn2 holds the AE as moved/u,
    ],
    ['no AE at the serving CSE', without('cse-mn2/gw1'), /the serving CSE mn2 lacks gw1$/u],
    [
      'a container missing there',
      without('cse-mn2/gw1/vibration'),
      /the serving CSE mn2 lacks gw1\/vibration$/u,
    ],
    ['no way for commands there', without('cse-mn2/gw1/cmd'), /the serving CSE mn2 lacks gw1\/cmd$/u],
    ['no access rights there', without('cse-mn2/gw1/acp'), /the serving CSE mn2 lacks gw1\/acp$/u],
    [
      'a claim that nobody knows of',
      without('cse-in/gw1-home/serving/e2'),
      /mn2 does not serve but holds the AE as serving/u,
    ],
    ['no claim at all', soundHeld().filter(({ cse }) => cse !== 'in'), /^no CSE was ever claimed$/u],
  ];
  for (const [what, held, reason] of cases) {
    const { verdict, reasons } = judgeDrive(record(held));
    t.equal(verdict, 'fail', what);
    t.ok(
      reasons.some((text) => reason.test(text)),
      `${what}: ${reasons.join('; ')}`,
    );
  }
});

void t.test('what else decides', async (t) => {
  const labelled = [...soundHeld(), instance('mn2', 'vibration', 5, { arrivalMs: 1551, labels: inDoubt })];
  t.match(judgeDrive(record(labelled)), { verdict: 'pass', inDoubtDoubles: 1, duplicates: 0 });
  const failures = ['the gateway ended by itself'];
  t.match(judgeDrive(record(soundHeld(), { failures })), { verdict: 'fail', reasons: failures });
  const silent = { emitted: {}, held: soundHeld() };
  t.match(judgeDrive(record([], { evidence: silent })), { verdict: 'fail', reasons: [/nothing is proven/u] });
  const rolledBack = [...record([]).handovers, ended(3, '/id-mn2', '/id-mn1', 'rolledBack')];
  t.match(judgeDrive(record(soundHeld(), { handovers: rolledBack })), {
    verdict: 'pass',
    handovers: { length: 2 },
  });
  const foreign = { ...instance('mn2', 'vibration', 99), path: 'cse-mn2/other/vibration/r-99' };
  t.match(
    judgeDrive(record([...soundHeld(), foreign])),
    { verdict: 'pass' },
    'what others store is not ours',
  );
});
