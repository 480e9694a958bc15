// Proves: a link goes through the states of IEEE 802.21 by registration, signal, silence and the modem itself; every change
// is one event; what is not told is kept, what is older is ignored; any sequence of inputs leaves a consistent link.
import fc from 'fast-check';
import t from 'tap';
import { dbm, millis } from '../../src/base/units.ts';
import type { DeviceState } from '../../src/host/reopening-line.ts';
import {
  advanceLink,
  advanceLinks,
  createLink,
  defaultLinkPolicy,
  isUsable,
} from '../../src/link/access-link.ts';
import type { AccessLink, LinkEvent, LinkInput } from '../../src/link/access-link.ts';
import type { RadioSample, RegistrationState } from '../../src/radio/radio-sample.ts';

const policy = defaultLinkPolicy;

function sample(
  atMs: number,
  registration: RegistrationState | undefined,
  level?: number,
  pci = 1,
): LinkInput & { kind: 'sample' } {
  const rsrp = level === undefined ? {} : { rsrpDbm: { value: dbm(level), raw: String(level) } };
  const cells: RadioSample['cells'] =
    level === undefined && registration !== 'home'
      ? []
      : [{ rat: 'lte', serving: true, identity: { arfcn: 6300, pci }, ...rsrp }];
  return {
    kind: 'sample',
    sample: {
      source: 'modem0',
      atMs: millis(atMs),
      cells,
      ...(registration === undefined ? {} : { registration }),
    },
  };
}
const device = (atMs: number, state: DeviceState): LinkInput => ({
  kind: 'device',
  atMs: millis(atMs),
  report: { state, reason: 'told by a test' },
});
const tick = (atMs: number): LinkInput => ({ kind: 'tick', atMs: millis(atMs) });
const address = (atMs: number, localAddress: string | undefined): LinkInput => ({
  kind: 'address',
  atMs: millis(atMs),
  localAddress,
});

function run(inputs: readonly LinkInput[]): { link: AccessLink; events: LinkEvent[] } {
  let link = createLink('wwan0', millis(0), '192.0.2.7');
  const events: LinkEvent[] = [];
  for (const input of inputs) {
    const step = advanceLink(link, input, policy);
    link = step.link;
    events.push(...step.events);
  }
  return { link, events };
}

await t.test('states and reasons', async (t) => {
  const rows: [string, LinkInput[], string[], Partial<AccessLink>][] = [
    ['nothing known', [tick(100_000)], [], { state: 'down', reason: 'initial' }],
    ['registered', [sample(1000, 'home', -90)], ['up registered'], { state: 'up', sinceMs: millis(1000) }],
    ['roaming', [sample(1000, 'roaming', -90)], ['up registered'], { state: 'up' }],
    [
      'searching with a cell',
      [sample(1000, 'searching', -90)],
      ['detected notRegistered'],
      { state: 'detected' },
    ],
    [
      'searching without a cell',
      [sample(1000, 'searching')],
      ['parametersChange notRegistered'],
      { state: 'down', reason: 'notRegistered' },
    ],
    ['denied', [sample(1000, 'denied', -90)], ['detected registrationDenied'], { state: 'detected' }],
    [
      'registration lost',
      [sample(1000, 'home', -90), sample(2000, 'limited')],
      ['up registered', 'down notRegistered'],
      { state: 'down' },
    ],
    [
      'one weak sample is chance',
      [sample(1000, 'home', -90), sample(2000, 'home', -120), sample(3000, 'home', -90)],
      ['up registered'],
      { state: 'up', weakSamples: 0 },
    ],
    [
      'two weak samples, then between the levels, then recovered',
      [
        sample(1000, 'home', -90),
        sample(2000, 'home', -118),
        sample(3000, 'home', -118),
        sample(4000, 'home', -116),
        sample(5000, 'home', -114),
      ],
      ['up registered', 'goingDown weakSignal', 'up registered'],
      { state: 'up', sinceMs: millis(5000) },
    ],
    [
      'a registration not told is the one told before',
      [sample(1000, 'home', -90), sample(2000, undefined, -91)],
      ['up registered'],
      { state: 'up', registration: 'home', rsrpDbm: dbm(-91) },
    ],
    [
      'no sample for long, then one',
      [sample(1000, 'home', -90), tick(11_000), tick(11_001), sample(12_000, 'home', -90)],
      ['up registered', 'goingDown noSample', 'up registered'],
      { state: 'up' },
    ],
    [
      'silent modem',
      [sample(1000, 'home', -90), device(2000, 'silent')],
      ['up registered', 'goingDown deviceSilent'],
      { state: 'goingDown' },
    ],
    [
      'unplugged and back',
      [sample(1000, 'home', -90), device(2000, 'lost'), device(3000, 'ready'), sample(4000, undefined, -90)],
      ['up registered', 'down deviceLost', 'detected notRegistered'],
      { state: 'detected' },
    ],
    [
      'stopped',
      [sample(1000, 'home', -90), device(2000, 'stopped')],
      ['up registered', 'down deviceStopped'],
      {},
    ],
    [
      'older sample',
      [sample(1000, 'home', -90), sample(999, 'denied')],
      ['up registered'],
      { registration: 'home' },
    ],
  ];
  for (const [name, inputs, events, link] of rows) {
    const result = run(inputs);
    t.same(
      result.events.map(({ kind, reason }) => `${kind} ${reason}`),
      events,
      name,
    );
    t.match(result.link, link, name);
  }
});

await t.test('parameters that change within a state are told', async (t) => {
  const { events, link } = run([
    sample(1000, 'home', -90),
    sample(2000, 'roaming', -80, 2),
    address(3000, '198.51.100.9'),
    address(4000, undefined),
  ]);
  t.same(
    events.slice(1).map(({ kind, changed, atMs }) => [kind, changed, atMs]),
    [
      ['parametersChange', ['cell', 'registration'], 2000],
      ['parametersChange', ['address'], 3000],
      ['parametersChange', ['address'], 4000],
    ],
  );
  t.notOk(isUsable(link), 'up, but without an address');
  t.ok(isUsable(run([sample(1000, 'home', -90)]).link));
  t.notOk(isUsable(run([sample(1000, 'searching', -90)]).link), 'an address, but no network');
});

await t.test('the list changes only the link that is named', async (t) => {
  const links = [createLink('wwan0', millis(0)), createLink('wlan0', millis(0), '127.0.0.1')];
  const step = advanceLinks(links, 'wwan0', sample(1000, 'home', -90), policy);
  t.same(
    step.links.map(({ name, state }) => [name, state]),
    [
      ['wwan0', 'up'],
      ['wlan0', 'down'],
    ],
  );
  t.match(step.events, [{ link: 'wwan0', kind: 'up' }]);
  t.equal(step.links[1], links[1]);
  t.same(advanceLinks(links, 'eth7', tick(0), policy), { links, events: [] });
});

await t.test(
  'any sequence: one event per change of state, no change without one, time only forwards',
  async () => {
    const anyInput = fc.oneof(
      fc.record({
        kind: fc.constant('sample' as const),
        registration: fc.constantFrom(undefined, 'home' as const, 'searching' as const, 'denied' as const),
        level: fc.option(fc.integer({ min: -140, max: -60 }), { nil: undefined }),
      }),
      fc.record({
        kind: fc.constant('device' as const),
        state: fc.constantFrom<DeviceState>('ready', 'silent', 'lost', 'opening'),
      }),
      fc.record({ kind: fc.constant('tick' as const) }),
    );
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 1, max: 8000 }), anyInput), { maxLength: 60 }),
        (plan) => {
          let link = createLink('wwan0', millis(0));
          let nowMs = 0;
          for (const [gapMs, entry] of plan) {
            nowMs += gapMs;
            const input =
              entry.kind === 'sample'
                ? sample(nowMs, entry.registration, entry.level)
                : entry.kind === 'device'
                  ? device(nowMs, entry.state)
                  : tick(nowMs);
            const step = advanceLink(link, input, policy);
            const isChanged = step.link.state !== link.state;
            const told = step.events.filter((event) => event.kind !== 'parametersChange');
            if (told.length !== (isChanged ? 1 : 0) || step.events.length > 1) return false;
            if (isChanged && (told[0]?.kind !== step.link.state || step.link.sinceMs !== nowMs)) return false;
            if (step.link.state === 'up' && !['home', 'roaming'].includes(step.link.registration ?? ''))
              return false;
            link = step.link;
          }
          return true;
        },
      ),
    );
  },
);
