// Proves the claim, switch and fence protocol by visiting every state of a small world (explorer.ts): no two gateways write as
// serving under one epoch, none writes under an epoch it does not hold or once it is fenced, none forgets a claim that was
// made or fences itself, one winner per epoch, and from everywhere a world at rest can be reached (I4-I6, I9, I10). Then it
// proves that this proves something: each rule taken out of the protocol is missed, with the way to the harm. `BATON_EXPLORE=all`
// visits worlds in which more happens, which takes minutes.
import t from 'tap';
import { transition } from '../../src/handover/transition.ts';
import { explore } from './explorer.ts';
import type { Defects, WorldLimits } from './explorer.ts';

const worlds: readonly WorldLimits[] = [
  { begins: [2, 0], crashes: 1, refusals: 1 },
  { begins: [2, 0], crashes: 1, refusals: 0, claim: 'deferred', warm: true },
  { begins: [1, 1], crashes: 1, refusals: 0 },
  { begins: [1, 1], crashes: 0, refusals: 1 },
  { begins: [1, 1], crashes: 0, refusals: 0, claim: 'deferred' },
  { begins: [1, 0], crashes: 1, refusals: 0, images: 1, rearms: 1 },
  { begins: [1, 0], crashes: 0, refusals: 0, images: 1, claim: 'deferred' },
];

/** These take minutes. */
const largeWorlds: readonly WorldLimits[] = [
  { begins: [3, 0], crashes: 2, refusals: 2 },
  { begins: [2, 0], crashes: 2, refusals: 1, claim: 'deferred' },
  { begins: [1, 1], crashes: 1, refusals: 1 },
  { begins: [2, 1], crashes: 1, refusals: 0 },
  { begins: [2, 1], crashes: 1, refusals: 0, images: 1 },
  { begins: [1, 1], crashes: 1, refusals: 0, images: 1, rearms: 1, claim: 'deferred' },
];

t.setTimeout(process.env.BATON_EXPLORE === 'all' ? 1_800_000 : 120_000);

void t.test('every state of the world', (t) => {
  const kinds = new Set<string>();
  for (const limits of process.env.BATON_EXPLORE === 'all' ? [...worlds, ...largeWorlds] : worlds) {
    const found = explore(limits);
    for (const kind of found.kinds) kinds.add(kind);
    t.same(
      found.violation,
      undefined,
      `${JSON.stringify(limits)}: ${found.states} states, ${found.steps} steps`,
    );
  }
  t.equal(kinds.size, 11, 'all kinds of states of a handover were there');
  t.end();
});

/** What is taken out, where that is missed, and as what. */
const mutants: readonly [string, WorldLimits, Defects, RegExp][] = [
  [
    'the nonce is not compared',
    { begins: [1, 1], crashes: 0, refusals: 0 },
    { ignoresNonce: true },
    /does not hold|both gateways/,
  ],
  [
    'the work of a state begins before the state is durable',
    { begins: [1, 0], crashes: 1, refusals: 0 },
    { worksBeforeJournal: true },
    /forgot/,
  ],
  [
    'a claim without an answer is given up',
    { begins: [1, 0], crashes: 0, refusals: 0 },
    {
      transition: (settings, state, input) =>
        state.kind === 'claiming' && (input.kind === 'deadline' || input.kind === 'failed')
          ? transition(settings, state, { kind: 'refused', reason: '' })
          : transition(settings, state, input),
      forgetsStrays: true,
    },
    /forgot/,
  ],
  [
    'a claim that was given up is forgotten',
    { begins: [2, 0], crashes: 0, refusals: 1 },
    { forgetsStrays: true },
    /forgot/,
  ],
  [
    'a process that starts goes on where its disk says',
    { begins: [1, 0], crashes: 0, refusals: 0, images: 1 },
    {
      transition: (settings, state, input) =>
        state.kind === 'serving' && input.kind === 'restarted'
          ? { state, effects: [] }
          : transition(settings, state, input),
      writesAtStart: true,
    },
    /does not hold|both gateways/,
  ],
  [
    'undoing deletes what was prepared',
    { begins: [2, 0], crashes: 0, refusals: 0 },
    { undoDeletes: true },
    /deleted/,
  ],
  [
    'a fenced gateway begins again',
    { begins: [1, 1], crashes: 0, refusals: 0 },
    {
      transition: (settings, state, input) =>
        input.kind === 'lost' && state.kind === 'claiming'
          ? transition(settings, state, { kind: 'succeeded' })
          : transition(settings, state, input),
    },
    /does not hold|both gateways/,
  ],
];

void t.test('each rule is needed', (t) => {
  for (const [name, limits, defects, harm] of mutants) {
    const { violation, states } = explore(limits, defects);
    t.match(violation?.invariant, harm, `${name}: missed after ${states} states`);
    for (const step of violation?.trace ?? []) t.comment(`    ${step}`);
  }
  t.end();
});
