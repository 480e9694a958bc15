// Proves what a trigger is and what becomes of it: every field is checked with a reason that names it, and the rules of the
// arbitration hold for a table of cases and for any set of triggers.
import * as fc from 'fast-check';
import t from 'tap';
import { unixMillis } from '../../src/base/units.ts';
import { arbitrate } from '../../src/downlink/trigger-arbitration.ts';
import type { ArbitrationView, OpenTrigger } from '../../src/downlink/trigger-arbitration.ts';
import { isTrigger, keptTrigger, readTrigger } from '../../src/downlink/trigger.ts';
import type { Trigger } from '../../src/downlink/trigger.ts';

const nowMs = unixMillis(Date.UTC(2026, 10, 23, 12));
const plain = { id: 't1', kind: 'move', issuer: '/id-in/Corch' };

void t.test('what a trigger is', (t) => {
  t.match(readTrigger({ ...plain, target: '/id-mn2' }, 'edge', nowMs), {
    ok: true,
    value: { ...plain, target: '/id-mn2', priority: 5, origin: 'edge', deadlineMs: nowMs + 60_000 },
  });
  t.match(readTrigger(JSON.stringify({ ...plain, deadline: 5000, origin: 'network' }), 'edge', nowMs), {
    value: { deadlineMs: nowMs + 5000, origin: 'network' },
  });
  t.match(readTrigger({ ...plain, deadline: '20261123T120100' }, 'edge', nowMs), {
    value: { deadlineMs: nowMs + 60_000 },
  });
  const wrong: [Record<string, unknown>, RegExp][] = [
    [{ id: 'a b' }, /no id/],
    [{ id: undefined }, /no id/],
    [{ kind: 'fly' }, /kind is none of/],
    [{ target: 'mn2' }, /no CSE-ID/],
    [{ kind: 'update', target: '/id-mn2' }, /update has no target/],
    [{ aes: [] }, /aes is no list/],
    [{ aes: [7] }, /aes is no list/],
    [{ priority: 11 }, /priority/],
    [{ priority: 1.5 }, /priority/],
    [{ issuer: '' }, /issuer/],
    [{ issuer: undefined }, /issuer/],
    [{ reason: 'x'.repeat(201) }, /reason/],
    [{ origin: 'me' }, /origin/],
    [{ deadline: -1 }, /deadline/],
    [{ deadline: 'soon' }, /deadline/],
    [{ text: 'x'.repeat(3000) }, /octets/],
  ];
  for (const [change, error] of wrong) {
    t.match(readTrigger({ ...plain, ...change }, 'edge', nowMs), { ok: false, error });
  }
  for (const garbage of [null, 7, [], 'x', '{', {}]) t.notOk(readTrigger(garbage, 'edge', nowMs).ok);
  t.ok(isTrigger(plain) && isTrigger({ kind: 'other' }) && isTrigger('{"kind":"move"}'));
  t.notOk(isTrigger({ kind: 'move', command: 'set' }) || isTrigger({ kind: 7 }) || isTrigger(null));
  const read = readTrigger({ ...plain, aes: ['gw1'], reason: 'load' }, 'edge', nowMs);
  t.same(
    read.ok && keptTrigger(JSON.parse(JSON.stringify(read.value))),
    read.ok && read.value,
    'kept and found',
  );
  t.equal(keptTrigger({ ...plain }), undefined);
  t.end();
});

function open(number: number, change: Partial<Trigger> & { id: string }): OpenTrigger {
  const trigger: Trigger = {
    kind: 'move',
    priority: 5,
    issuer: 'x',
    origin: 'orchestrator',
    deadlineMs: unixMillis(nowMs + 60_000),
    ...change,
  };
  return { trigger, number };
}

const calm: ArbitrationView = {
  nowMs,
  isFenced: false,
  isBusy: false,
  serving: '/id-mn1',
  stayMs: 100_000,
  minimumStayMs: 5000,
  aes: ['gw1', 'weather'],
  targetOf: (target) => {
    if (target === '/id-gone') return { kind: 'never', reason: 'it has no way' };
    if (target === '/id-later') return { kind: 'notYet', reason: 'it does not run' };
    return { kind: 'eligible', cseId: target ?? '/id-best' };
  },
};

function judged(opens: readonly OpenTrigger[], view: Partial<ArbitrationView> = {}): string[] {
  return arbitrate(opens, { ...calm, ...view }).map((verdict) => {
    const more = verdict.kind === 'start' ? (verdict.target ?? '') : verdict.reason;
    return `${verdict.id} ${verdict.kind} ${more}`.trim();
  });
}

void t.test('the rules, one by one', (t) => {
  const cases: [string, readonly OpenTrigger[], Partial<ArbitrationView>, RegExp[]][] = [
    ['late', [open(1, { id: 'a', deadlineMs: nowMs })], {}, [/^a timeout/]],
    ['late before fenced', [open(1, { id: 'a', deadlineMs: nowMs })], { isFenced: true }, [/^a timeout/]],
    ['fenced', [open(1, { id: 'a' })], { isFenced: true }, [/^a refused .*fenced/]],
    ['unknown AE', [open(1, { id: 'a', aes: ['gw1', 'door'] })], {}, [/^a refused no AE is named door/]],
    ['known AEs', [open(1, { id: 'a', aes: ['weather'] })], {}, [/^a start \/id-best/]],
    ['there already', [open(1, { id: 'a', target: '/id-mn1' })], {}, [/^a completed \/id-mn1 serves/]],
    ['no way', [open(1, { id: 'a', target: '/id-gone' })], {}, [/^a refused it has no way/]],
    ['not yet', [open(1, { id: 'a', target: '/id-later' })], {}, [/^a deferred it does not run/]],
    [
      'one that is not yet stands in nobody’s way',
      [open(1, { id: 'a', target: '/id-later', priority: 9 }), open(2, { id: 'b', target: '/id-mn2' })],
      {},
      [/^a deferred/, /^b start \/id-mn2/],
    ],
    [
      'priority',
      [open(1, { id: 'a', target: '/id-mn2', priority: 7 }), open(2, { id: 'b', target: '/id-mn3' })],
      {},
      [/^a start \/id-mn2/, /^b refused superseded by a/],
    ],
    [
      'the newest of equals',
      [open(1, { id: 'a', target: '/id-mn2' }), open(2, { id: 'b', target: '/id-mn3' })],
      {},
      [/^a refused superseded by b/, /^b start/],
    ],
    [
      'the same target',
      [open(1, { id: 'a', target: '/id-mn2' }), open(2, { id: 'b', target: '/id-mn2' })],
      {},
      [/^a deferred b goes/, /^b start/],
    ],
    ['busy', [open(1, { id: 'a' })], { isBusy: true }, [/^a deferred a handover/]],
    ['too soon', [open(1, { id: 'a' })], { stayMs: 1000 }, [/^a deferred the minimum stay/]],
    ['urgent', [open(1, { id: 'a', priority: 8 })], { stayMs: 1000 }, [/^a start/]],
    ['nobody serves', [open(1, { id: 'a' })], { serving: undefined, stayMs: 0 }, [/^a start/]],
    ['update', [open(1, { id: 'a', kind: 'update' })], {}, [/^a start$/]],
    [
      'update of nothing',
      [open(1, { id: 'a', kind: 'update' })],
      { serving: undefined },
      [/^a deferred no CSE/],
    ],
    [
      'a move does what the others ask for',
      [open(1, { id: 'a', kind: 'update', priority: 9 }), open(2, { id: 'b' })],
      {},
      [/^a deferred/, /^b start/],
    ],
    [
      'the oldest update',
      [open(2, { id: 'b', kind: 'update' }), open(1, { id: 'a', kind: 'reRegister' })],
      {},
      [/^b deferred/, /^a start/],
    ],
  ];
  for (const [name, opens, view, expected] of cases) t.match(judged(opens, view), expected, name);
  t.end();
});

void t.test(
  'any set: each is judged once, one is started at most, and never while something is under way',
  (t) => {
    const trigger = fc.record({
      kind: fc.constantFrom('move', 'update', 'reRegister'),
      priority: fc.integer({ min: 1, max: 10 }),
      target: fc.constantFrom('/id-mn1', '/id-mn2', '/id-mn3', '/id-gone', '/id-later'),
      lateMs: fc.constantFrom(-1, 1),
    });
    fc.assert(
      fc.property(
        fc.array(trigger, { maxLength: 16 }),
        fc.boolean(),
        fc.boolean(),
        (all, isBusy, isFenced) => {
          const opens = all.map(({ kind, priority, target, lateMs }, at) =>
            open(at, {
              id: `t${at}`,
              kind: kind,
              priority,
              deadlineMs: unixMillis(nowMs + lateMs),
              ...(kind === 'move' ? { target } : {}),
            }),
          );
          const verdicts = arbitrate(opens, { ...calm, isBusy, isFenced });
          const started = verdicts.filter(({ kind }) => kind === 'start');
          if (
            verdicts.length !== opens.length ||
            new Set(verdicts.map(({ id }) => id)).size !== opens.length
          ) {
            throw new Error('not each once');
          }
          if (started.length > 1 || (started.length > 0 && (isBusy || isFenced))) throw new Error('started');
        },
      ),
      { numRuns: 2000 },
    );
    t.end();
  },
);
