/**
 * Proves that the verdict on a scenario can fail: sound evidence of a gateway that moved once with its bundle and carried out
 * a command has no faults, and each way to break it has the fault that names it. And that a scenario named in the table of
 * differences must fail just as it says.
 */
import t from 'tap';
import { ResourceType } from '../../src/onem2m/enums.ts';
import type { HeldResource } from '../../src/testbed/drive/cse-host-process.ts';
import { fakeSensorValue } from '../../src/testbed/sensor/fake-sensor.ts';
import { inDoubtLabel } from '../../src/uplink/stream-lane.ts';
import { streams } from './gateway-site.ts';
import { judge } from './judge.ts';
import type { Evidence } from './judge.ts';
import { weigh } from './scenario.ts';

const seed = 7;
const device = 'gw1';
const other = 'gw1-a';
const last = 10;
/** The last reading at the CSE that was left. */
const through = 5;

function held(
  cse: string,
  path: string,
  type: number,
  content?: unknown,
  labels: string[] = [],
): HeldResource {
  return {
    cse,
    path: `cse-${cse}/${path}`,
    type,
    labels,
    arrivalMs: 1000,
    ...(content === undefined ? {} : { content }),
  };
}

function reading(cse: string, stream: string, n: number, epoch: number, arrivalMs = 1000 + n): HeldResource {
  const content = { v: fakeSensorValue(seed, stream, n), q: n, n, e: epoch };
  return {
    ...held(cse, `${device}/${stream}/0000000a-${n}`, ResourceType.contentInstance, content),
    arrivalMs,
  };
}

function bundle(cse: string, state: string): HeldResource[] {
  const labels = [`baton:dev=${device}`, `baton:state=${state}`];
  return [
    held(cse, device, ResourceType.ae, undefined, labels),
    held(cse, other, ResourceType.ae, undefined, labels),
    held(cse, `${device}/acp`, ResourceType.accessControlPolicy),
    ...['cmd', ...Object.keys(streams)].map((name) => held(cse, `${device}/${name}`, ResourceType.container)),
  ];
}

function claim(epoch: number, cse: string, previous = epoch - 1): HeldResource {
  const named = { id: `/id-${cse}`, base: `cse-${cse}`, poa: 'coap://x' };
  const content = { epoch, nonce: `n${epoch}`, link: 'lte0', cse: named, previous };
  return held('in', `${device}-home/serving/e${epoch}`, ResourceType.contentInstance, content);
}

function ledger(epoch: number, seq: number): HeldResource {
  const first = Object.fromEntries(Object.keys(streams).map((stream) => [stream, seq]));
  return held('in', `${device}-home/serving/s${epoch}`, ResourceType.contentInstance, { epoch, first });
}

function result(cse: string, n: number, more: { status?: string; labels?: string[] } = {}): HeldResource {
  const { status = 'done', labels = [] } = more;
  const content = { v: { id: 'c1', target: 'gateway', command: 'ping', status }, q: n, n, e: 2 };
  return held(cse, `${device}/results/0000000a-${n}`, ResourceType.contentInstance, content, labels);
}

/** From mn1 to mn2 after the reading `through`; a command was carried out at mn2. */
function sound(): HeldResource[] {
  const readings = Object.keys(streams).flatMap((stream) =>
    Array.from({ length: last }, (_, index) => index + 1).map((n) =>
      n <= through ? reading('mn1', stream, n, 1) : reading('mn2', stream, n, 2),
    ),
  );
  const record = [claim(1, 'mn1'), ledger(1, 1), claim(2, 'mn2'), ledger(2, through + 1)];
  return [...record, ...bundle('mn1', 'moved'), ...bundle('mn2', 'serving'), ...readings, result('mn2', 1)];
}

function faultsOf(resources: readonly HeldResource[], changes: Partial<Evidence> = {}): readonly string[] {
  const report = { acknowledged: last, pending: 0, dropped: 0, droppedRanges: [], repeated: 0 };
  const emitted = Object.fromEntries(
    Object.keys(streams).map((name) => [name, { first: 1, last, ...report }]),
  );
  const site = { device, seed, emitted, failures: [], handovers: [] };
  const evidence = { commands: ['c1'], others: [other], servedAt: '/id-mn2', isProvisional: false };
  return judge({ site, held: resources, ...evidence, ...changes }).faults;
}

function isAt(cse: string, end: string): (resource: HeldResource) => boolean {
  return (resource) => resource.cse === cse && resource.path.endsWith(`/${end}`);
}

const without = (cse: string, end: string): HeldResource[] => sound().filter((each) => !isAt(cse, end)(each));

const replaced = (cse: string, end: string, by: HeldResource): HeldResource[] =>
  sound().map((each) => (isAt(cse, end)(each) ? by : each));

const serving = ['baton:state=serving'];

/** What is held, and what the verdict must say of it. */
const broken: Readonly<Record<string, readonly [HeldResource[], RegExp, Partial<Evidence>?]>> = {
  'a reading is lost': [
    without('mn1', 'fast/0000000a-3'),
    /^1 readings were emitted and are held by no CSE/u,
  ],
  'a reading is held twice': [[...sound(), reading('mn2', 'fast', 3, 2)], /^1 readings are held twice/u],
  'a reading is out of order': [
    [...without('mn2', 'slow/0000000a-7'), reading('mn2', 'slow', 7, 2, 5000)],
    /^1 readings arrived after a later one/u,
  ],
  'two CSEs serve': [
    replaced('mn1', device, held('mn1', device, ResourceType.ae, undefined, serving)),
    /mn1 does not serve but holds the AE as serving/u,
  ],
  'an AE of the bundle serves elsewhere': [
    replaced('mn1', other, held('mn1', other, ResourceType.ae, undefined, serving)),
    /\/id-mn1 holds gw1-a as/u,
  ],
  'an AE of the bundle stayed behind': [without('mn2', other), /\/id-mn2 lacks gw1-a/u],
  'an epoch is missing': [
    [...without('in', 'serving/e2'), claim(3, 'mn2')],
    /the serving record has epoch 3 in place 2/u,
  ],
  'an epoch does not follow the one before': [
    replaced('in', 'serving/e2', claim(2, 'mn2', 0)),
    /epoch 2 names 0/u,
  ],
  'an epoch has no ledger': [without('in', 'serving/s2'), /epoch 2 has no ledger/u],
  'a reading carries an epoch that others have': [
    replaced('mn2', 'fast/0000000a-7', reading('mn2', 'fast', 7, 1)),
    /fast at mn2 carries epoch 1, claimed for \/id-mn1/u,
  ],
  'a reading carries no epoch': [
    replaced('mn2', 'fast/0000000a-7', reading('mn2', 'fast', 7, 0)),
    /fast at mn2 carries epoch 0, claimed for nobody/u,
  ],
  'a reading lies before its ledger': [replaced('in', 'serving/s2', ledger(2, 8)), /fast: 6 is at mn2/u],
  'a command is carried out twice': [
    [...sound(), result('mn2', 2)],
    /command c1 has 2 results under 2 names/u,
  ],
  'a result is held twice and none is in doubt': [
    [...sound(), result('mn1', 1)],
    /command c1 has 2 results under 1 names/u,
  ],
  'a command has no result': [without('mn2', 'results/0000000a-1'), /command c1 has 0 results/u],
  'a command fails': [
    replaced('mn2', 'results/0000000a-1', result('mn2', 1, { status: 'failed' })),
    /command c1 came to "failed"/u,
  ],
  'another CSE serves than was expected': [
    sound(),
    /served at \/id-mn2, expected \/id-mn1/u,
    { servedAt: '/id-mn1' },
  ],
  'the gateway ended by itself': [
    sound(),
    /ended by itself/u,
    {
      site: { device, seed, emitted: {}, handovers: [], failures: ['the gateway ended by itself'] },
    },
  ],
};

void t.test('sound evidence has no faults', async (t) => {
  t.same(faultsOf(sound()), []);
  const inDoubt = [...sound(), result('mn1', 1, { labels: [inDoubtLabel] })];
  t.same(faultsOf(inDoubt), [], 'nor has a result whose second copy says that it is in doubt');
  const deferred = replaced('mn2', 'fast/0000000a-7', reading('mn2', 'fast', 7, 0));
  t.same(
    faultsOf(deferred, { isProvisional: true }),
    [],
    'nor a reading of the time before a deferred claim',
  );
});

for (const [what, [resources, fault, changes]] of Object.entries(broken)) {
  void t.test(what, async (t) => {
    const faults = faultsOf(resources, changes);
    t.ok(
      faults.some((each) => fault.test(each)),
      `${String(fault)} in ${JSON.stringify(faults)}`,
    );
  });
}

void t.test('a difference is allowed only where it shows, and only as it is told', async (t) => {
  const difference = {
    name: 'forgets',
    maker: 'acme',
    what: 'it forgets',
    fallback: 'nothing',
    scenarios: ['planned-move'],
    shows: /is gone/u,
  } as const;
  const resultOf = (...args: Parameters<typeof weigh>): string => weigh(...args).result;
  const gone = { isWell: false, notes: ['the AE is gone'] };
  const late = { isWell: false, notes: ['delivery: not within 60000 ms', 'the AE is gone'] };
  const well = { isWell: true, notes: [] };
  t.equal(resultOf(undefined, well), 'passed');
  t.equal(resultOf(undefined, gone), 'failed');
  t.equal(resultOf(difference, gone), 'skipped');
  t.equal(resultOf(difference, late), 'failed', 'something else went wrong');
  t.equal(resultOf(difference, well), 'failed', 'it does not show any more');
  t.match(weigh(difference, well).notes[0], /forgets does not show any more/u);
});
