// Proves the handover transaction: the pure transition by exploring every state with every input (no dead end, no way back
// after the claim, one end per attempt), and the runner by doubles that record order (durable before visible, late outcomes
// ignored, deadlines, resume from every journaled state, a disk that refuses).
import { getMaxListeners } from 'node:events';
import * as fc from 'fast-check';
import t from 'tap';
import { DecodeError } from '../../src/base/errors.ts';
import { cseId, epoch, millis } from '../../src/base/units.ts';
import { decodeHandoverState } from '../../src/handover/handover-state-codec.ts';
import { HandoverRunner } from '../../src/handover/runner.ts';
import type {
  HandoverJournal,
  HandoverRecord,
  HandoverWorker,
  WorkContext,
  WorkOutcome,
} from '../../src/handover/runner.ts';
import {
  isRenewal,
  leftBehind,
  servingOf,
  transactionOf,
  writtenEpoch,
} from '../../src/handover/handover-state.ts';
import { transition } from '../../src/handover/transition.ts';
import type { CseReference, HandoverState, Transaction } from '../../src/handover/handover-state.ts';
import type {
  HandoverEffect,
  HandoverInput,
  HandoverWork,
  TransitionSettings,
} from '../../src/handover/handover-input.ts';
import { settle } from '../../src/host/clock.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';

t.setTimeout(120_000);

const settings: TransitionSettings = {
  phaseDeadlineMs: millis(1000),
  switchDeadlineMs: millis(300),
  repeatMs: millis(50),
  claim: 'required',
};
const deferring: TransitionSettings = { ...settings, claim: 'deferred' };

function cse(name: string): CseReference {
  return { cseId: cseId(`/id-${name}`), cseBaseName: `cse-${name}`, pointOfAccess: `mem://${name}` };
}

const [a, b, c] = [cse('a'), cse('b'), cse('c')];
const cses = [a, b, c];
const idleKinds: readonly string[] = ['detached', 'serving', 'fenced'];
const undoneKinds: readonly string[] = ['preparing', 'prepared', 'rollingBack'];
const switchedKinds: readonly string[] = ['switching', 'catchingUp', 'provisional', 'releasing'];

const outcomes: readonly HandoverInput[] = [
  { kind: 'succeeded', firstSeqs: { s: 5 } },
  { kind: 'succeeded', firstSeqs: { s: 5 }, inDoubt: { s: 7 } },
  { kind: 'failed', reason: 'failed' },
  { kind: 'refused', reason: 'refused' },
  { kind: 'lost', reason: 'lost' },
  { kind: 'deadline' },
  { kind: 'displaced', epoch: epoch(2), nonce: 'n' },
  { kind: 'overtaken', reason: 'overtaken' },
  { kind: 'rearm' },
  { kind: 'restarted', nonce: 'r' },
];

const begins: readonly HandoverInput[] = cses.flatMap((target) =>
  [[], cses, [c, c, b]].flatMap((alternatives) =>
    [0, 2].map((knownEpoch): HandoverInput => {
      return {
        kind: 'begin',
        trigger: 'a3',
        target,
        alternatives,
        nonce: 'n',
        knownEpoch: epoch(knownEpoch),
      };
    }),
  ),
);
const inputs = [...outcomes, ...begins];

function runsIn(effects: readonly HandoverEffect[]): Extract<HandoverEffect, { kind: 'run' }>[] {
  return effects.filter((effect) => effect.kind === 'run');
}

function epochOf(state: HandoverState): number {
  const transaction = transactionOf(state);
  if (transaction !== undefined) return transaction.epoch;
  return 'lastEpoch' in state ? state.lastEpoch : (servingOf(state)?.epoch ?? 0);
}

type Step = readonly [HandoverState, HandoverInput, ReturnType<typeof transition>];

/** Every state that can be reached with epochs up to 2, and every step between them. */
function explore(used: TransitionSettings): { states: HandoverState[]; steps: Step[] } {
  const seen = new Map<string, HandoverState>();
  const steps: Step[] = [];
  const open: HandoverState[] = [{ kind: 'detached', lastEpoch: epoch(0) }];
  for (let state = open.pop(); state !== undefined; state = open.pop()) {
    const key = JSON.stringify(state);
    if (seen.has(key) || epochOf(state) > 2) continue;
    seen.set(key, state);
    for (const input of inputs) {
      const next = transition(used, state, input);
      steps.push([state, input, next]);
      open.push(next.state);
    }
  }
  return { states: [...seen.values()], steps };
}

const explored = explore(settings);

/** A value as text, whatever the order of its keys. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) =>
    typeof each === 'object' && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([one], [other]) => (one < other ? -1 : 1)))
      : each,
  );
}

/** What is wrong with a step, by name. */
function wrongIn([state, input, { state: next, effects }]: Step): string[] {
  const wrong: string[] = [];
  const isIdle = idleKinds.includes(next.kind);
  const runs = runsIn(effects);
  const isStill = next === state;
  const moving = ['begin', 'displaced', 'overtaken', 'rearm', 'restarted'];
  if (idleKinds.includes(state.kind) && !moving.includes(input.kind) && !isStill) wrong.push('idle');
  // Whatever becomes of a working state, exactly one work with a deadline is then pending.
  if (isIdle ? runs.length > 0 : runs.length > 1 || (runs.length === 0 && !isStill)) wrong.push('running');
  if (runs.some(({ deadlineMs, delayMs }) => !(deadlineMs > 0) || delayMs < 0)) wrong.push('running');
  // An unclaimed epoch may be given back by an undone attempt; who serves never goes back.
  if ((servingOf(next)?.epoch ?? 99) < (servingOf(state)?.epoch ?? 0)) wrong.push('epochs');
  const before = transactionOf(state);
  const after = transactionOf(next);
  if (after !== undefined && after.epoch <= (after.source?.epoch ?? 0)) wrong.push('epochs');
  const isRestart = input.kind === 'restarted';
  if (switchedKinds.includes(state.kind) && !isRestart && next.kind !== 'fenced' && input.kind !== 'begin') {
    const isForward = [...switchedKinds, 'serving'].includes(next.kind);
    if (!isForward || servingOf(next)?.cse !== before?.target) wrong.push('forward');
  }
  if (isRestart && !['detached', 'fenced'].includes(state.kind)) {
    if (servingOf(next) !== undefined) wrong.push('restart: it writes before it holds an epoch');
    const isUndone = undoneKinds.includes(state.kind) && before?.source === undefined;
    if (runs[0]?.work !== (isUndone ? 'undo' : 'claim')) wrong.push('restart');
    if (!isUndone && after?.nonce !== 'r') wrong.push('restart: an old nonce');
    if (switchedKinds.includes(state.kind) && after?.target !== before?.target)
      wrong.push('restart: a way back');
  }
  if (['preparing', 'prepared'].includes(state.kind) && !isRestart) {
    if (servingOf(next) !== servingOf(state)) wrong.push('early');
  }
  const ends = effects.filter((effect) => effect.kind === 'ended');
  const isAttemptOver = before !== undefined && after?.target !== before.target;
  const isTold = isAttemptOver && (!isRenewal(before) || next.kind === 'fenced');
  if (ends.length !== (isTold ? 1 : 0)) wrong.push('ends');
  if (ends.some((effect) => effect.transaction.target !== before?.target)) wrong.push('ends');
  return wrong.map((what) => `${what}: ${state.kind} ${input.kind} ${next.kind}`);
}

void t.test('every state with every input', (t) => {
  for (const used of [settings, deferring]) {
    const { states, steps } = used === settings ? explored : explore(used);
    const kinds = new Set(states.map(({ kind }) => kind));
    t.equal(kinds.size, used === settings ? 10 : 11, 'all kinds of states are reached');
    t.comment(`claim ${used.claim}: ${states.length} states, ${steps.length} steps`);
    t.same([...new Set(steps.flatMap(wrongIn))], []);
    const misread = states.filter(
      (state) => canonical(decodeHandoverState(JSON.parse(JSON.stringify(state)))) !== canonical(state),
    );
    t.same(misread, [], 'what is journaled is read back');
  }
  t.end();
});

void t.test('what begins, and what does not', (t) => {
  const serving: HandoverState = { kind: 'serving', serving: { cse: a, epoch: epoch(7) } };
  const begin = (target: CseReference, alternatives: readonly CseReference[], knownEpoch: number) =>
    transition(settings, serving, {
      kind: 'begin',
      trigger: 'operator',
      target,
      alternatives,
      nonce: 'n',
      knownEpoch: epoch(knownEpoch),
    });
  t.equal(begin(a, [b], 7).state, serving, 'the serving CSE as target changes nothing');
  const begun = transactionOf(begin(b, [a, b, c, c], 4).state);
  t.equal(begun?.epoch, 8);
  t.same(begun?.alternatives, [c], 'neither the source nor the target nor anything twice is an alternative');
  t.equal(transactionOf(begin(b, [], 30).state)?.epoch, 31, 'the record may know a higher epoch');

  const tried: string[] = [];
  let { state, effects } = begin(b, [c, cse('d')], 7);
  const all = [...effects];
  while (!idleKinds.includes(state.kind)) {
    const run = runsIn(effects)[0];
    if (run?.work === 'prepare') tried.push(run.transaction.target.cseId);
    ({ state, effects } = transition(settings, state, { kind: 'failed', reason: 'no' }));
    all.push(...effects);
  }
  t.same(tried, ['/id-b', '/id-c', '/id-d'], 'alternatives are tried in their order');
  t.same(state, serving, 'and then the source goes on');
  t.equal(all.filter(({ kind }) => kind === 'noteOrphan').length, 6, 'owed before the undo, and if it fails');

  const undone = transition(
    settings,
    { kind: 'rollingBack', reason: 'r', transaction: { ...(begun as Transaction), alternatives: [] } },
    { kind: 'succeeded' },
  );
  t.same(undone.state, serving);
  const { source: _source, ...first } = { ...(begun as Transaction), alternatives: [] };
  const detached = transition(
    settings,
    { kind: 'rollingBack', reason: 'r', transaction: first },
    { kind: 'succeeded' },
  );
  t.same(detached.state, { kind: 'detached', lastEpoch: 7 }, 'an epoch nobody claimed is given back');

  const doubtful = transition(
    settings,
    { kind: 'switching', transaction: { ...(begun as Transaction), epoch: epoch(8) } },
    { kind: 'succeeded', firstSeqs: { s: 4 }, inDoubt: { s: 9 } },
  ).state;
  t.same(servingOf(doubtful), { cse: b, epoch: 8, inDoubt: { s: 9 } }, 'doubt outlives the switch');
  t.end();
});

void t.test('what a restart left half prepared is released under the epoch it was prepared for', (t) => {
  const begin: HandoverInput = {
    ...{ kind: 'begin', trigger: 'a3', target: b, alternatives: [], nonce: 'n' },
    knownEpoch: epoch(4),
  };
  const serving = { cse: a, epoch: epoch(4) };
  const begun = transition(settings, { kind: 'serving', serving }, begin).state;
  const claiming = transition(settings, begun, { kind: 'restarted', nonce: 'r' }).state;
  const claimed = transactionOf(claiming);
  t.match(claimed, { epoch: 5, target: { cseId: '/id-a' }, abandoned: { cseId: '/id-b' } });
  const left = claimed === undefined ? [] : leftBehind(claimed);
  t.same(
    left.map(({ cse: { cseId: id }, epoch: newest }) => [id, newest]),
    [
      ['/id-a', 4],
      ['/id-b', 5],
    ],
  );
  // A release that fails leaves it to the sweeper, under the same epoch.
  const releasing: HandoverState =
    claimed === undefined ? claiming : { kind: 'releasing', transaction: claimed };
  const { effects } = transition(settings, releasing, { kind: 'failed', reason: 'silent' });
  t.match(effects, [{ kind: 'noteOrphan', cse: { cseId: '/id-b' }, epoch: 5 }]);
  t.end();
});

void t.test('a claim that was given up is known again', (t) => {
  const serving: HandoverState = { kind: 'serving', serving: { cse: a, epoch: epoch(7) } };
  const begin = (state: HandoverState, nonce: string): HandoverState =>
    transition(settings, state, {
      kind: 'begin',
      trigger: 'a3',
      target: b,
      alternatives: [],
      nonce,
      knownEpoch: epoch(7),
      isWarm: true,
    }).state;
  const refused = transition(settings, begin(serving, 'one'), { kind: 'refused', reason: 'no' }).state;
  const back = transition(settings, refused, { kind: 'succeeded' }).state;
  t.same(back, { ...serving, strays: ['one'] }, 'refused, it may still arrive');
  const again = begin(back, 'two');
  t.match(transactionOf(again), { epoch: 8, nonce: 'two', strays: ['one'] });
  const next = transition(settings, again, { kind: 'displaced', epoch: epoch(8), nonce: 'two' }).state;
  t.equal(transactionOf(next)?.epoch, 9, 'it had arrived: the next epoch is claimed');
  t.equal(transactionOf(next)?.strays, undefined);
  const arrived = transition(settings, back, { kind: 'displaced', epoch: epoch(8), nonce: 'two' }).state;
  t.match(arrived, { kind: 'claiming', transaction: { epoch: 9, target: a, source: { cse: a } } });
  t.match(servingOf(arrived), { cse: a, epoch: 7 }, 'the CSE that serves goes on meanwhile');
  const restarted = transition(settings, begin(serving, 'one'), { kind: 'restarted', nonce: 'two' }).state;
  t.match(transactionOf(restarted), { epoch: 8, nonce: 'two', strays: ['one'], target: b, isResumed: true });
  let crashing = begin(serving, 'one');
  for (let at = 0; at < 40; at++)
    crashing = transition(settings, crashing, { kind: 'restarted', nonce: `${at}` }).state;
  t.equal(transactionOf(crashing)?.strays?.length, 16, 'bounded');
  t.end();
});

void t.test('a deferred claim', (t) => {
  const serving: HandoverState = { kind: 'serving', serving: { cse: a, epoch: epoch(7) } };
  const step = (state: HandoverState, ...given: HandoverInput[]): HandoverState =>
    given.reduce((at, input) => transition(deferring, at, input).state, state);
  const done: HandoverInput = { kind: 'succeeded' };
  const begin: HandoverInput = {
    kind: 'begin',
    trigger: 'servingLost',
    target: b,
    alternatives: [],
    nonce: 'one',
    knownEpoch: epoch(7),
  };
  const failed: HandoverInput = { kind: 'failed', reason: 'silence' };
  const provisional = step(serving, begin, done, done, failed, done, done);
  t.equal(provisional.kind, 'provisional');
  const used = servingOf(provisional);
  t.match(used, { cse: b, epoch: 7, isProvisional: true }, 'the target is used');
  t.equal(used && writtenEpoch(used), 0, "under nobody's epoch");
  t.equal(step(provisional, failed), provisional, 'and claimed again and again');
  t.same(step(provisional, done, done, done, done), {
    kind: 'serving',
    serving: { cse: b, epoch: epoch(8) },
  });
  t.match(step(provisional, { kind: 'lost', reason: 'x' }), { kind: 'fenced', lastEpoch: 8 });
  const onward = transition(deferring, provisional, { ...begin, target: c, nonce: 'one' });
  const onwardSource = { cse: b, epoch: 7, isProvisional: true as const, claimed: a };
  t.match(onward.state, {
    kind: 'preparing',
    transaction: { epoch: 8, strays: ['one'], target: c, source: onwardSource },
  });
  const orphans = (given: ReturnType<typeof transition>): readonly HandoverEffect[] =>
    given.effects.filter(({ kind }) => kind === 'noteOrphan');
  t.same(orphans(onward), [], 'the CSE that the record names is kept');
  t.match(step(onward.state, failed, done), {
    kind: 'claiming',
    transaction: { epoch: 8, target: b, source: onwardSource },
  });
  const further = step(onward.state, done, done, failed, done, done);
  t.match(
    servingOf(further),
    { cse: c, epoch: 7, isProvisional: true, claimed: a },
    'on any number of moves',
  );
  const furthest = transition(deferring, further, { ...begin, target: a, nonce: 'one' });
  t.match(orphans(furthest), [{ cse: b }], 'those between are owed their release');
  t.equal(orphans(furthest).length, 1);
  const renewed = step(furthest.state, failed, done);
  t.match(renewed, { kind: 'claiming', transaction: { epoch: 8, target: c } }, 'the way back is given up');
  const releasing = transactionOf(step(renewed, done, done, done));
  t.match(
    releasing && leftBehind(releasing),
    [
      { cse: c, epoch: 8 },
      { cse: a, epoch: 8 },
    ],
    'what was claimed is released after the next claim',
  );
  t.same(decodeHandoverState(JSON.parse(JSON.stringify(renewed))), renewed, 'across a restart');
  t.end();
});

void t.test('any history ends idle when all work succeeds from then on', (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom(...inputs), { maxLength: 40 }),
      fc.constantFrom(settings, deferring),
      (history, used) => {
        let state: HandoverState = { kind: 'detached', lastEpoch: epoch(0) };
        let highest = 0;
        for (const input of history) {
          state = transition(used, state, input).state;
          const { epoch: now = highest } = servingOf(state) ?? {};
          if (now < highest) throw new Error(`epoch ${now} serves after ${highest}`);
          highest = now;
        }
        for (let steps = 0; !idleKinds.includes(state.kind); steps++) {
          if (steps > 60) throw new Error(`no end in ${JSON.stringify(state)}`);
          state = transition(used, state, { kind: 'succeeded' }).state;
        }
      },
    ),
    { numRuns: 3000, verbose: 1 },
  );
  t.end();
});

// ---- the runner ----

interface Pending {
  readonly work: HandoverWork;
  readonly transaction: Transaction;
  readonly context: WorkContext;
  readonly finish: (outcome: WorkOutcome) => void;
}

/** A runner with a journal and a worker that note the order of what happens to them. */
class Bench {
  readonly clock = new SimulatedClock();
  readonly order: string[] = [];
  readonly alarms: (string | undefined)[] = [];
  readonly ended: HandoverRecord[] = [];
  readonly orphans: string[] = [];
  readonly saved: HandoverState[] = [];
  pending: Pending | undefined;
  started = 0;
  refusals = 0;
  readonly runner: HandoverRunner;

  constructor(stored?: HandoverState, claim: TransitionSettings['claim'] = 'required') {
    const journal: HandoverJournal = {
      load: () => Promise.resolve(stored),
      save: async (state) => {
        this.order.push(`saving ${state.kind}`);
        await settle();
        if (this.refusals-- > 0) throw new Error('disk full');
        this.saved.push(JSON.parse(JSON.stringify(state)) as HandoverState);
        this.order.push(`saved ${state.kind}`);
      },
    };
    const work =
      (name: HandoverWork) =>
      (transaction: Transaction, context: WorkContext): Promise<WorkOutcome> => {
        this.started++;
        this.order.push(`run ${name}`);
        return new Promise((finish) => {
          this.pending = { work: name, transaction, context, finish };
        });
      };
    const worker: HandoverWorker = {
      prepare: work('prepare'),
      verify: work('verify'),
      claim: work('claim'),
      switch: work('switch'),
      catchUp: work('catchUp'),
      release: work('release'),
      undo: work('undo'),
    };
    this.runner = new HandoverRunner({
      clock: this.clock,
      entropy: new SeededEntropy(1),
      settings: { ...settings, claim },
      journal,
      worker,
      observer: {
        onState: (state) => this.order.push(`entered ${state.kind}`),
        onEnded: (record) => this.ended.push(record),
        onOrphan: (orphan, at) => this.orphans.push(`${orphan.cseId} ${at}`),
        onAlarm: (text) => this.alarms.push(text),
      },
    });
  }

  begin(target = b, alternatives: readonly CseReference[] = []): Promise<boolean> {
    return this.runner.begin({ trigger: 'a3', target, alternatives, knownEpoch: epoch(0) });
  }

  async finish(outcome: WorkOutcome = { kind: 'succeeded' }): Promise<void> {
    const { pending } = this;
    this.pending = undefined;
    pending?.finish(outcome);
    await this.settle();
  }

  async settle(): Promise<void> {
    for (let turn = 0; turn < 6; turn++) await settle();
  }

  async finishAll(): Promise<void> {
    for (let steps = 0; this.runner.isBusy && steps < 40; steps++) {
      if (this.pending === undefined) await this.clock.advance(settings.repeatMs);
      await this.finish();
    }
  }
}

void t.test('a state is durable before anybody sees it', async (t) => {
  const bench = new Bench();
  await bench.runner.load();
  t.ok(await bench.begin());
  const waiters = getMaxListeners(bench.pending?.context.signal ?? new AbortController().signal);
  t.ok(waiters >= 400, 'all requests of a large bundle may wait under the signal of a phase');
  await bench.finishAll();
  const works = ['prepare', 'verify', 'claim', 'switch', 'catchUp', 'release'];
  const kinds = ['preparing', 'prepared', 'claiming', 'switching', 'catchingUp', 'releasing'];
  const expected = kinds.flatMap((kind, at) => [
    `saving ${kind}`,
    `saved ${kind}`,
    `entered ${kind}`,
    `run ${works[at] ?? ''}`,
  ]);
  const end = ['saving serving', 'saved serving', 'entered serving'];
  t.same(bench.order, ['entered detached', ...expected, ...end]);
  t.equal(bench.ended.length, 1);
  t.same(
    bench.ended[0]?.phases.map(({ phase }) => phase),
    kinds,
  );
});

void t.test('one transaction at a time', async (t) => {
  const bench = new Bench();
  await bench.runner.load();
  const other = { trigger: 'operator', target: c, alternatives: [], knownEpoch: epoch(0) } as const;
  const both = await Promise.all([bench.begin(b), bench.runner.begin(other)]);
  t.same(both, [true, false], 'of two orders at once the second is not begun, and told so');
  t.notOk(await bench.begin(c));
  await bench.finishAll();
  t.equal(servingOf(bench.runner.state)?.cse.cseId, '/id-b');
  t.notOk(await bench.begin(b), 'the serving CSE is no target');
});

void t.test('work that was given up is ignored, a deadline aborts it', async (t) => {
  const bench = new Bench();
  await bench.runner.load();
  await bench.begin();
  const late = bench.pending;
  await bench.clock.advance(999);
  t.notOk(late?.context.signal.aborted);
  await bench.clock.advance(2);
  await bench.settle();
  t.ok(late?.context.signal.aborted, 'the deadline aborts the signal');
  t.equal(bench.runner.state.kind, 'rollingBack');
  late?.finish({ kind: 'succeeded' });
  await bench.settle();
  t.equal(bench.runner.state.kind, 'rollingBack', 'its late success means nothing');
  await bench.finish();
  t.equal(bench.runner.state.kind, 'detached');
  await bench.clock.advance(60_000);
  t.equal(bench.started, 2, 'no timer is left behind');

  await bench.begin();
  await bench.finish();
  await bench.finish();
  await bench.finish({ kind: 'failed', reason: 'silence' });
  t.equal(bench.runner.state.kind, 'claiming');
  t.match(bench.alarms.at(-1), /unanswered.*silence/);
  t.equal(bench.pending, undefined, 'the claim is repeated after a while');
  await bench.clock.advance(settings.repeatMs);
  t.equal(bench.pending?.work, 'claim');
  await bench.finishAll();
  t.equal(bench.runner.state.kind, 'serving');
});

void t.test('a disk that refuses holds the transaction, it does not let it go on', async (t) => {
  for (const passed of [0, 1, 2, 3, 4, 5, 6]) {
    const bench = new Bench();
    await bench.runner.load();
    if (passed === 0) bench.refusals = 1;
    const begun = await bench.begin();
    if (passed === 0) {
      t.notOk(begun);
      t.equal(bench.runner.state.kind, 'detached');
      t.equal(bench.started, 0, 'nothing was run');
      await bench.clock.advance(settings.repeatMs);
      await bench.settle();
      t.equal(bench.alarms.at(-1), undefined, 'the alarm ends with its cause');
      continue;
    }
    for (let step = 1; step < passed; step++) await bench.finish();
    const before = bench.runner.state;
    const started = bench.started;
    bench.refusals = 3;
    await bench.finish();
    t.equal(bench.runner.state, before, `${before.kind} stays`);
    t.equal(bench.started, started, 'and nothing is run');
    t.match(bench.alarms.at(-1), /stands still.*disk full/);
    for (let wait = 0; wait < 4; wait++) {
      await bench.clock.advance(settings.repeatMs);
      await bench.settle();
    }
    t.not(bench.runner.state.kind, before.kind, 'until the disk is there again');
    await bench.finishAll();
    t.equal(bench.runner.state.kind, 'serving');
  }
});

void t.test('a disk that refuses what is no order of a transaction that has begun', async (t) => {
  const restarted = new Bench({ kind: 'serving', serving: { cse: a, epoch: epoch(4) } });
  await restarted.runner.load();
  restarted.refusals = 3;
  await restarted.runner.resume();
  t.equal(restarted.started, 0);
  for (let wait = 0; wait < 4; wait++) {
    await restarted.clock.advance(settings.repeatMs);
    await restarted.settle();
  }
  await restarted.finishAll();
  t.match(restarted.runner.state, { kind: 'serving', serving: { epoch: 5 } }, 'a start claims all the same');

  const claimed = new Bench({ kind: 'serving', serving: { cse: a, epoch: epoch(4) } }, 'deferred');
  await claimed.runner.load();
  await claimed.begin();
  await claimed.finish();
  await claimed.finish();
  await claimed.finish({ kind: 'failed', reason: 'silence' });
  await claimed.finish();
  await claimed.finish();
  t.equal(claimed.runner.state.kind, 'provisional');
  claimed.refusals = 3;
  await claimed.finish();
  t.equal(claimed.runner.state.kind, 'provisional');
  for (let wait = 0; wait < 4; wait++) {
    await claimed.clock.advance(settings.repeatMs);
    await claimed.settle();
  }
  await claimed.finishAll();
  t.match(
    claimed.runner.state,
    { kind: 'serving', serving: { cse: b, epoch: 5 } },
    'a claim is not forgotten',
  );
});

void t.test('resume from every journaled state', async (t) => {
  const source = { cse: a, epoch: epoch(4) };
  const transaction: Transaction = {
    epoch: epoch(5),
    nonce: 'nonce',
    trigger: 'a3',
    source,
    target: b,
    alternatives: [c],
  };
  const cases: [HandoverState, HandoverWork | undefined, HandoverState][] = [];
  const forward: HandoverState = { kind: 'serving', serving: { cse: b, epoch: epoch(5) } };
  const further: HandoverState = { kind: 'serving', serving: { cse: b, epoch: epoch(6) } };
  const before: HandoverState = { kind: 'serving', serving: source };
  const back: HandoverState = { kind: 'serving', serving: { cse: a, epoch: epoch(5) } };
  const { source: _, ...first } = transaction;
  cases.push([{ kind: 'preparing', transaction: first }, 'undo', { kind: 'detached', lastEpoch: epoch(4) }]);
  cases.push([{ kind: 'preparing', transaction }, 'claim', back]);
  cases.push([{ kind: 'prepared', transaction }, 'claim', back]);
  cases.push([{ kind: 'rollingBack', transaction, reason: 'r' }, 'claim', back]);
  cases.push([{ kind: 'claiming', transaction }, 'claim', forward]);
  cases.push([{ kind: 'switching', transaction }, 'claim', further]);
  cases.push([{ kind: 'catchingUp', transaction }, 'claim', further]);
  cases.push([{ kind: 'releasing', transaction }, 'claim', further]);
  cases.push([before, 'claim', back]);
  const idle: HandoverState[] = [
    { kind: 'detached', lastEpoch: epoch(4) },
    { kind: 'fenced', lastEpoch: epoch(4), reason: 'r' },
  ];
  for (const state of idle) cases.push([state, undefined, state]);
  for (const [stored, work, end] of cases) {
    const bench = new Bench(decodeHandoverState(JSON.parse(JSON.stringify(stored))));
    await bench.runner.load();
    t.equal(bench.started, 0, `${stored.kind}: nothing is done before resume`);
    await bench.runner.resume();
    t.equal(bench.pending?.work, work, `${stored.kind}: ${work ?? 'nothing'} is done`);
    if (work === 'claim') {
      t.equal(bench.pending?.transaction.nonce, bench.runner.nonce, 'under the nonce of this process');
      t.notOk(servingOf(bench.runner.state), 'and nobody serves before that');
    }
    await bench.finishAll();
    t.same(bench.runner.state, end, `${stored.kind} ends ${end.kind}`);
  }
});

void t.test('a stopped runner does nothing more', async (t) => {
  const bench = new Bench();
  await bench.runner.load();
  await bench.begin();
  const late = bench.pending;
  late?.finish({ kind: 'succeeded' });
  while (!bench.order.includes('saving prepared')) await Promise.resolve();
  bench.runner.stop();
  await bench.settle();
  t.ok(late?.context.signal.aborted);
  t.equal(bench.started, 1, 'also when it was stopped while the journal was written');
  t.notOk(await bench.begin(c));
});

void t.test('what is no state is refused', (t) => {
  const whole = explored.states.filter((state) => transactionOf(state)?.source !== undefined);
  const state = whole.find(({ kind }) => kind === 'releasing');
  t.ok(state);
  const junk = [
    undefined,
    null,
    7,
    'x',
    [],
    {},
    { kind: 'asleep' },
    { kind: 'serving' },
    { kind: 'detached' },
  ];
  for (const value of junk) t.throws(() => decodeHandoverState(value), DecodeError, JSON.stringify(value));
  const wrong: unknown[] = [null, 7.5, -1, 'x', [], {}, 2 ** 53];
  const paths = [
    ['transaction'],
    ['transaction', 'epoch'],
    ['transaction', 'nonce'],
    ['transaction', 'trigger'],
    ['transaction', 'source'],
    ['transaction', 'source', 'epoch'],
    ['transaction', 'target'],
    ['transaction', 'target', 'cseId'],
    ['transaction', 'target', 'pointOfAccess'],
    ['transaction', 'alternatives'],
  ];
  let refused = 0;
  let accepted = 0;
  for (const path of paths) {
    for (const value of wrong) {
      const copy = JSON.parse(JSON.stringify(state)) as Record<string, unknown>;
      let at = copy;
      for (const key of path.slice(0, -1)) at = at[key] as Record<string, unknown>;
      at[path.at(-1) ?? ''] = value;
      try {
        decodeHandoverState(copy);
        accepted++;
        t.comment(`${path.join('.')} = ${JSON.stringify(value)}`);
      } catch (error) {
        if (!(error instanceof DecodeError)) throw error;
        refused++;
      }
    }
  }
  // A text where a text belongs, and an empty list of alternatives, are what they should be.
  t.same([refused, accepted], [66, 4]);
  t.end();
});
