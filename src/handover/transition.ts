/**
 * The handover transaction as a pure function: `transition(state, input)` gives the next state and the effects to run.
 *
 *     detached ─┐
 *     serving ──┴─ begin ─→ preparing → prepared → claiming → switching → catchingUp → releasing → serving
 *                             │            │          │ refused                  │ claim deferred
 *                             └────────────┴──────────┴──→ rollingBack           └→ provisional ─ claimed ─→ switching
 *                                                     │     → serving | detached | next candidate
 *                                                     └──→ fenced: another holds the epoch ─ rearm ─→ detached
 *
 * The claim is the only atomic step: before it everything can be undone, after it everything goes forward. A lost answer
 * to the claim is neither: the state stays `claiming` and the claim is repeated under the same epoch and nonce until the
 * IN-CSE says who holds the epoch, while the source goes on serving. The runner makes every state durable before it runs
 * the state's effect, so that a restart finds what may have been done. Every state but the idle ones has a deadline; every
 * effect can be repeated.
 *
 * Three rules keep two gateways of one identity apart (G5), and one gateway from fencing itself:
 *   - A process that starts claims a fresh epoch, under a nonce of its own, before anything is written as serving: its disk
 *     may be an old image, or have a copy that runs elsewhere. What was being prepared is given up (`abandoned`), what was
 *     claimed goes on under the next epoch.
 *   - A claim that was given up (refused, or left by a restart) may still arrive. Its nonce is kept (`strays`) as long as its
 *     epoch is free: found in the record, it is no rival's, and the next epoch is claimed.
 *   - Epochs are claimed without a gap, for the name `e<n>` stands for all that came before.
 *
 * With `claim: deferred`, an IN-CSE out of reach does not hold a gateway up: it switches to the target provisionally, keeps
 * the source as it is, and claims until the record tells who serves. What is delivered meanwhile carries epoch 0, nobody's.
 * The CSE that the record names all the while (`claimed`) is kept through any number of such moves, also when one of them
 * tries to go back there in vain, and released with the source of the one that is claimed.
 */
import { unreachable } from '../base/assert.ts';
import { epoch as toEpoch } from '../base/units.ts';
import type { Epoch, Millis } from '../base/units.ts';
import { isRenewal, leftBehind, servingAfter, servingOf } from './handover-state.ts';
import type { CseReference, HandoverState, Serving, Transaction } from './handover-state.ts';
import type { HandoverEffect, HandoverInput, HandoverWork, TransitionSettings } from './handover-input.ts';

export interface Transition {
  readonly state: HandoverState;
  readonly effects: readonly HandoverEffect[];
}

/** The next state and what to do in it. An input that means nothing in a state changes nothing. */
export function transition(
  settings: TransitionSettings,
  state: HandoverState,
  input: HandoverInput,
): Transition {
  if (input.kind === 'restarted') return restart(settings, state, input.nonce);
  switch (state.kind) {
    case 'detached':
      if (input.kind !== 'begin') return stay(state);
      return begin(settings, input, { lastEpoch: state.lastEpoch, strays: state.strays });
    case 'serving':
      return whileServing(settings, state, input);
    case 'preparing':
      if (input.kind === 'succeeded') return enter(settings, { ...state, kind: 'prepared' });
      return undoUnless(settings, state, input);
    case 'prepared':
      if (input.kind === 'succeeded') return enter(settings, { ...state, kind: 'claiming' });
      return undoUnless(settings, state, input);
    case 'claiming':
      return whileClaiming(settings, state, input);
    case 'switching':
      if (input.kind === 'succeeded') return enter(settings, afterSwitch(state.transaction, input));
      return isFailure(input) ? enter(settings, state, settings.repeatMs) : stay(state);
    case 'catchingUp': {
      if (input.kind !== 'succeeded' && !isFailure(input)) return stay(state);
      const kind = state.transaction.isProvisional ? 'provisional' : 'releasing';
      return enter(settings, { ...state, kind });
    }
    case 'provisional':
      return whileProvisional(settings, state, input);
    case 'releasing':
      return input.kind === 'succeeded' || isFailure(input)
        ? complete(state.transaction, input)
        : stay(state);
    case 'rollingBack':
      return whileRollingBack(settings, state, input);
    case 'fenced':
      if (input.kind !== 'rearm') return stay(state);
      return { state: { kind: 'detached', lastEpoch: state.lastEpoch }, effects: [] };
    default:
      return unreachable(state);
  }
}

type Working = Extract<HandoverState, { readonly transaction: Transaction }>;
type Begin = Extract<HandoverInput, { readonly kind: 'begin' }>;

const workOf = {
  preparing: 'prepare',
  prepared: 'verify',
  claiming: 'claim',
  switching: 'switch',
  catchingUp: 'catchUp',
  provisional: 'claim',
  releasing: 'release',
  rollingBack: 'undo',
} as const satisfies Record<Working['kind'], HandoverWork>;

/** Where a transaction starts from. */
interface Start {
  readonly source?: Serving | undefined;
  readonly lastEpoch: Epoch;
  readonly strays: readonly string[] | undefined;
}

function begin(settings: TransitionSettings, input: Begin, start: Start): Transition {
  const { source, lastEpoch, strays = [] } = start;
  const tried = new Set([source?.cse.cseId, input.target.cseId]);
  const epoch = toEpoch(Math.max(lastEpoch, input.knownEpoch) + 1);
  const transaction: Transaction = {
    epoch,
    nonce: input.nonce,
    ...(epoch === lastEpoch + 1 ? withStrays(strays) : {}),
    trigger: input.trigger,
    target: input.target,
    // The source must not be among them: undoing a failed attempt there would release what serves.
    alternatives: input.alternatives.filter(({ cseId }) => !tried.has(cseId) && tried.add(cseId)),
    ...(source === undefined ? {} : { source }),
  };
  return enter(settings, { kind: input.isWarm ? 'claiming' : 'preparing', transaction });
}

/** Claims `epoch` for the CSE that serves. */
function renew(
  settings: TransitionSettings,
  serving: Serving,
  claim: Pick<Transaction, 'epoch' | 'nonce' | 'trigger' | 'strays' | 'abandoned' | 'isResumed'>,
): Transition {
  const { strays, abandoned, isResumed, ...rest } = claim;
  const transaction: Transaction = {
    ...rest,
    ...withStrays(strays ?? []),
    source: serving,
    target: serving.cse,
    alternatives: [],
    ...(abandoned === undefined ? {} : { abandoned }),
    ...(isResumed === undefined ? {} : { isResumed }),
    isBound: true,
  };
  return enter(settings, { kind: 'claiming', transaction });
}

/** A process starts; see the header of this file. */
function restart(settings: TransitionSettings, state: HandoverState, nonce: string): Transition {
  switch (state.kind) {
    case 'detached':
    case 'fenced':
      return stay(state);
    case 'serving': {
      const { serving, strays } = state;
      const epoch = toEpoch(serving.epoch + 1);
      const claim = { epoch, nonce, trigger: 'restarted' as const, isResumed: true as const };
      return renew(settings, serving, { ...claim, ...withStrays(strays ?? []) });
    }
    case 'preparing':
    case 'prepared':
    case 'rollingBack': {
      const { source, target, epoch, strays } = state.transaction;
      if (source === undefined) {
        const reason = state.kind === 'rollingBack' ? state.reason : `restarted while ${state.kind}`;
        const transaction = withoutAlternatives(state.transaction);
        return enter(settings, { kind: 'rollingBack', transaction, reason });
      }
      const claim = { epoch, nonce, trigger: 'restarted' as const, isResumed: true as const };
      const renewal = renew(settings, source, { ...claim, ...withStrays(strays ?? []), abandoned: target });
      const ended: HandoverEffect = {
        kind: 'ended',
        transaction: state.transaction,
        outcome: 'rolledBack',
        reason: `restarted while ${state.kind}`,
      };
      return { state: renewal.state, effects: [ended, ...renewal.effects] };
    }
    case 'claiming':
    case 'switching':
    case 'catchingUp':
    case 'provisional':
    case 'releasing':
      return reclaim(settings, state, nonce);
    default:
      return unreachable(state);
  }
}

/** Goes on with a transaction that had come to its claim, or past it, in a process that has just started. */
function reclaim(settings: TransitionSettings, state: Working, nonce: string): Transition {
  const { strays = [], ...before } = state.transaction;
  const isClaimed = state.kind !== 'claiming' && before.isProvisional === undefined;
  const { isProvisional: _, ...rest } = withoutAlternatives(before);
  const transaction: Transaction = {
    ...rest,
    nonce,
    epoch: toEpoch(isClaimed ? before.epoch + 1 : before.epoch),
    ...withStrays(isClaimed ? [] : [...strays, before.nonce]),
    isResumed: true,
    // A first registration that nothing was written to can still be given up.
    ...(state.kind === 'claiming' && before.source === undefined ? {} : { isBound: true }),
  };
  return enter(settings, { kind: 'claiming', transaction });
}

function whileServing(
  settings: TransitionSettings,
  state: Extract<HandoverState, { kind: 'serving' }>,
  input: HandoverInput,
): Transition {
  const { serving, strays } = state;
  switch (input.kind) {
    case 'begin':
      if (input.target.cseId === serving.cse.cseId) return stay(state);
      return begin(settings, input, { source: serving, lastEpoch: serving.epoch, strays });
    case 'displaced':
      if (input.epoch <= serving.epoch) return stay(state);
      return renew(settings, serving, {
        epoch: toEpoch(input.epoch + 1),
        nonce: input.nonce,
        trigger: 'corrected',
      });
    case 'overtaken':
      return fence(serving.epoch, input.reason, []);
    case 'succeeded':
    case 'failed':
    case 'refused':
    case 'lost':
    case 'deadline':
    case 'rearm':
    case 'restarted':
      return stay(state);
    default:
      return unreachable(input);
  }
}

function fence(lastEpoch: Epoch, reason: string, effects: readonly HandoverEffect[]): Transition {
  return {
    state: { kind: 'fenced', lastEpoch, reason },
    effects: [...effects, { kind: 'alarm', text: `fenced: ${reason}` }],
  };
}

function enter(settings: TransitionSettings, state: Working, delayMs: Millis = 0 as Millis): Transition {
  const deadlineMs = state.kind === 'switching' ? settings.switchDeadlineMs : settings.phaseDeadlineMs;
  const effect: HandoverEffect = {
    kind: 'run',
    work: workOf[state.kind],
    transaction: state.transaction,
    deadlineMs,
    delayMs,
  };
  return { state, effects: [effect] };
}

function undoUnless(
  settings: TransitionSettings,
  state: Extract<Working, { kind: 'preparing' | 'prepared' }>,
  input: HandoverInput,
): Transition {
  const { transaction } = state;
  if (!isFailure(input)) return stay(state);
  const undoing = enter(settings, { kind: 'rollingBack', transaction, reason: reasonOf(state, input) });
  // What was asked without an answer may take effect after the undo: a last look is owed.
  const { target, epoch } = transaction;
  return { ...undoing, effects: [{ kind: 'noteOrphan', cse: target, epoch }, ...undoing.effects] };
}

function whileClaiming(
  settings: TransitionSettings,
  state: Extract<Working, { kind: 'claiming' }>,
  input: HandoverInput,
): Transition {
  const { transaction } = state;
  switch (input.kind) {
    case 'succeeded':
      return enter(settings, { kind: 'switching', transaction: settled(transaction) });
    case 'failed':
    case 'deadline':
      if (settings.claim === 'deferred') {
        const { isResumed: _, ...rest } = transaction;
        const provisional: Transaction = { ...rest, isProvisional: true, isBound: true };
        const text = `claim of epoch ${transaction.epoch} is unanswered (${reasonOf(state, input)}); ${transaction.target.cseId} is used provisionally`;
        return withAlarm(text, enter(settings, { kind: 'switching', transaction: provisional }));
      }
      return repeatClaim(settings, state, reasonOf(state, input));
    case 'refused': {
      if (transaction.isBound) return repeatClaim(settings, state, input.reason);
      const { strays = [], nonce } = transaction;
      const given = { ...transaction, ...withStrays([...strays, nonce]) };
      return enter(settings, { kind: 'rollingBack', transaction: given, reason: input.reason });
    }
    case 'displaced':
      return enter(settings, { ...state, transaction: nextEpoch(transaction) });
    case 'lost':
      return lose(transaction, input.reason);
    case 'begin':
    case 'overtaken':
    case 'rearm':
    case 'restarted':
      return stay(state);
    default:
      return unreachable(input);
  }
}

function whileProvisional(
  settings: TransitionSettings,
  state: Extract<Working, { kind: 'provisional' }>,
  input: HandoverInput,
): Transition {
  const { transaction } = state;
  switch (input.kind) {
    case 'succeeded':
      // The same CSE once more, under the epoch that is now ours.
      return enter(settings, { kind: 'switching', transaction: settled(transaction) });
    case 'failed':
    case 'deadline':
    case 'refused':
      return repeatClaim(settings, state, reasonOf(state, input));
    case 'displaced':
      return enter(settings, { ...state, transaction: nextEpoch(transaction) });
    case 'lost':
      return lose(transaction, input.reason);
    case 'begin': {
      if (input.target.cseId === transaction.target.cseId) return stay(state);
      const { strays = [], nonce, epoch } = transaction;
      const source = servingAfter(transaction);
      const begun = begin(settings, input, {
        source,
        lastEpoch: toEpoch(epoch - 1),
        strays: [...strays, nonce],
      });
      const orphans = orphansOf(transaction, [source.cse, source.claimed, input.target]);
      const over = ended(transaction, 'completed', 'its claim is still deferred');
      return { state: begun.state, effects: [...over, ...orphans, ...begun.effects] };
    }
    case 'overtaken':
    case 'rearm':
    case 'restarted':
      return stay(state);
    default:
      return unreachable(input);
  }
}

function repeatClaim(
  settings: TransitionSettings,
  state: Extract<Working, { kind: 'claiming' | 'provisional' }>,
  reason: string,
): Transition {
  const { transaction } = state;
  const serving = servingOf(state);
  const meanwhile =
    serving === undefined ? 'readings are only stored' : `${serving.cse.cseId} goes on serving`;
  const text = `claim of epoch ${transaction.epoch} is unanswered (${reason}); it is repeated, ${meanwhile}`;
  return withAlarm(text, enter(settings, state, settings.repeatMs));
}

/** The gateway that loses an epoch leaves what it prepared, or used, to whoever re-arms it. */
function lose(transaction: Transaction, reason: string): Transition {
  const { target, epoch } = transaction;
  const orphans: HandoverEffect[] = isRenewal(transaction)
    ? []
    : [{ kind: 'noteOrphan', cse: target, epoch }];
  return fence(epoch, reason, [...orphans, ...ended(transaction, 'fenced', reason)]);
}

/** The claim is made. */
function settled(transaction: Transaction): Transaction {
  const { strays: _, isResumed: _resumed, isProvisional: _provisional, ...rest } = transaction;
  return rest;
}

/** The epoch is ours by another claim: the next one is tried. */
function nextEpoch(transaction: Transaction): Transaction {
  const { strays: _, ...rest } = transaction;
  return { ...rest, epoch: toEpoch(transaction.epoch + 1) };
}

/** A switch that is repeated after a restart keeps the numbers that the first one began with: its ledger may be missing. */
function afterSwitch(
  transaction: Transaction,
  { firstSeqs = {}, inDoubt = {} }: Extract<HandoverInput, { kind: 'succeeded' }>,
): Working {
  const first = { ...firstSeqs };
  for (const [stream, seq] of Object.entries(transaction.firstSeqs ?? {})) {
    first[stream] = Math.min(seq, first[stream] ?? seq);
  }
  return { kind: 'catchingUp', transaction: { ...transaction, firstSeqs: first, inDoubt } };
}

function whileRollingBack(
  settings: TransitionSettings,
  state: Extract<Working, { kind: 'rollingBack' }>,
  input: HandoverInput,
): Transition {
  const { transaction, reason } = state;
  if (input.kind !== 'succeeded' && !isFailure(input)) return stay(state);
  const effects = ended(transaction, 'rolledBack', reason);
  if (isFailure(input))
    effects.push({ kind: 'noteOrphan', cse: transaction.target, epoch: transaction.epoch });
  const [next, ...alternatives] = transaction.alternatives;
  if (next !== undefined) {
    const entered = enter(settings, {
      kind: 'preparing',
      transaction: { ...transaction, target: next, alternatives },
    });
    return { state: entered.state, effects: [...effects, ...entered.effects] };
  }
  const { source, epoch, nonce, strays = [] } = transaction;
  if (source?.isProvisional) {
    // It still has to be claimed.
    const renewal = renew(settings, source, { epoch, nonce, strays, trigger: 'corrected' });
    return { state: renewal.state, effects: [...effects, ...renewal.effects] };
  }
  const kept = withStrays(strays);
  const lastEpoch = toEpoch(epoch - 1);
  return {
    state:
      source === undefined
        ? { kind: 'detached', lastEpoch, ...kept }
        : { kind: 'serving', serving: source, ...kept },
    effects,
  };
}

/** They were ranked before the restart; what is best now is for the decision to say. */
function withoutAlternatives(transaction: Transaction): Transaction {
  return { ...transaction, alternatives: [] };
}

/** More processes in a row than this do not die in the middle of one claim whose request is still under way. */
const straysMax = 16;

function withStrays(strays: readonly string[]): { strays?: readonly string[] } {
  return strays.length === 0 ? {} : { strays: [...new Set(strays)].slice(-straysMax) };
}

function complete(transaction: Transaction, input: HandoverInput): Transition {
  const effects = isFailure(input) ? orphansOf(transaction, [transaction.target]) : [];
  effects.push(...ended(transaction, 'completed'));
  return { state: { kind: 'serving', serving: servingAfter(transaction) }, effects };
}

/** CSEs that a transaction leaves with a registration of ours, except those in use. */
function orphansOf(
  transaction: Pick<Transaction, 'source' | 'abandoned' | 'epoch'>,
  inUse: readonly (CseReference | undefined)[],
): HandoverEffect[] {
  return leftBehind(transaction).flatMap(({ cse, epoch }): HandoverEffect[] =>
    inUse.some((used) => used?.cseId === cse.cseId) ? [] : [{ kind: 'noteOrphan', cse, epoch }],
  );
}

/** A renewal is nobody's handover: nothing moved. */
function ended(
  transaction: Transaction,
  outcome: Extract<HandoverEffect, { kind: 'ended' }>['outcome'],
  reason?: string,
): HandoverEffect[] {
  if (isRenewal(transaction) && outcome !== 'fenced') return [];
  return [{ kind: 'ended', transaction, outcome, ...(reason === undefined ? {} : { reason }) }];
}

function withAlarm(text: string, { state, effects }: Transition): Transition {
  return { state, effects: [{ kind: 'alarm', text }, ...effects] };
}

function isFailure(input: HandoverInput): boolean {
  return (
    input.kind === 'failed' || input.kind === 'deadline' || input.kind === 'refused' || input.kind === 'lost'
  );
}

function reasonOf(state: Working, input: HandoverInput): string {
  return 'reason' in input ? input.reason : `no outcome within the deadline of ${state.kind}`;
}

function stay(state: HandoverState): Transition {
  return { state, effects: [] };
}
