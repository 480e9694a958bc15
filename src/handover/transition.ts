/**
 * The handover transaction as a pure function: `transition(state, input)` gives the next state and the effects to run.
 *
 *     detached ─┐
 *     serving ──┴─ begin ─→ preparing → prepared → claiming → switching → catchingUp → releasing → serving
 *                             │            │          │ refused
 *                             └────────────┴──────────┴──→ rollingBack → serving | detached | next candidate
 *                                                     │ another holds the epoch
 *                                                     └──→ fenced
 *
 * The claim is the only atomic step: before it everything can be undone, after it everything goes forward. A lost answer
 * to the claim is neither: the state stays `claiming` and the claim is repeated under the same epoch and nonce until the
 * IN-CSE says who holds the epoch, while the source goes on serving. The runner makes every state durable before it runs
 * the state's effect, so that a restart finds what may have been done: up to `prepared` it undoes, from `claiming` on it
 * goes forward. Every state but the idle ones has a deadline; every effect can be repeated.
 */
import { unreachable } from '../base/assert.ts';
import { epoch as toEpoch } from '../base/units.ts';
import type { CseId, Epoch, Millis } from '../base/units.ts';

/** A CSE as the transaction names it. */
export interface CseReference {
  readonly cseId: CseId;
  readonly cseBaseName: string;
  readonly pointOfAccess: string;
}

/** Why a handover began. */
export type HandoverTrigger = 'initial' | 'a3' | 'servingLost' | 'operator';

/** Who serves under which epoch. */
export interface Serving {
  readonly cse: CseReference;
  readonly epoch: Epoch;
  /** By stream: pending records up to this number may also be at a CSE left behind that did not say so in time. */
  readonly inDoubt?: Readonly<Record<string, number>>;
}

/** One attempt to move the bundle to `target`. */
export interface Transaction {
  readonly epoch: Epoch;
  /** Tells our claim of the epoch from anybody else's. */
  readonly nonce: string;
  readonly trigger: HandoverTrigger;
  /** Absent in the first registration. */
  readonly source?: Serving;
  readonly target: CseReference;
  /** Candidates to try after this one, best first. */
  readonly alternatives: readonly CseReference[];
  /** After the switch: the first sequence number of each stream at the target. */
  readonly firstSeqs?: Readonly<Record<string, number>>;
  /** After the switch: see `Serving.inDoubt`. */
  readonly inDoubt?: Readonly<Record<string, number>>;
}

export type HandoverState =
  | { readonly kind: 'detached'; readonly lastEpoch: Epoch }
  | { readonly kind: 'serving'; readonly serving: Serving }
  | { readonly kind: 'preparing'; readonly transaction: Transaction }
  | { readonly kind: 'prepared'; readonly transaction: Transaction }
  | { readonly kind: 'claiming'; readonly transaction: Transaction }
  | { readonly kind: 'switching'; readonly transaction: Transaction }
  | { readonly kind: 'catchingUp'; readonly transaction: Transaction }
  | { readonly kind: 'releasing'; readonly transaction: Transaction }
  | { readonly kind: 'rollingBack'; readonly transaction: Transaction; readonly reason: string }
  | { readonly kind: 'fenced'; readonly lastEpoch: Epoch; readonly reason: string };

export type HandoverInput =
  | {
      readonly kind: 'begin';
      readonly trigger: HandoverTrigger;
      readonly target: CseReference;
      readonly alternatives: readonly CseReference[];
      readonly nonce: string;
      /** Highest epoch the serving record is known to hold. */
      readonly knownEpoch: Epoch;
    }
  /** `firstSeqs` and `inDoubt` are what a switch brings. */
  | {
      readonly kind: 'succeeded';
      readonly firstSeqs?: Readonly<Record<string, number>>;
      readonly inDoubt?: Readonly<Record<string, number>>;
    }
  | { readonly kind: 'failed'; readonly reason: string }
  /** The claim was refused for good, without the epoch being taken. */
  | { readonly kind: 'refused'; readonly reason: string }
  /** Somebody else holds the epoch. */
  | { readonly kind: 'lost'; readonly reason: string }
  | { readonly kind: 'deadline' }
  | { readonly kind: 'restarted' };

/** The work behind a state; the runner feeds its outcome back as an input. */
export type HandoverWork = 'prepare' | 'verify' | 'claim' | 'switch' | 'catchUp' | 'release' | 'undo';

export type HandoverEffect =
  | {
      readonly kind: 'run';
      readonly work: HandoverWork;
      readonly transaction: Transaction;
      readonly deadlineMs: Millis;
      readonly delayMs: Millis;
    }
  /** The source still holds a registration nobody could remove; the sweeper does it later. */
  | { readonly kind: 'noteOrphan'; readonly cse: CseReference; readonly epoch: Epoch }
  | {
      readonly kind: 'ended';
      readonly transaction: Transaction;
      readonly outcome: 'completed' | 'rolledBack' | 'fenced';
      readonly reason?: string;
    }
  | { readonly kind: 'alarm'; readonly text: string };

/** Deadlines of the phases in milliseconds. */
export interface TransitionSettings {
  readonly phaseDeadlineMs: Millis;
  /** How long a planned switch waits for every stream's quiet moment before it takes what is unanswered along. */
  readonly switchDeadlineMs: Millis;
  /** Wait before an unanswered claim, or an undo that failed, is repeated. */
  readonly repeatMs: Millis;
}

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
  switch (state.kind) {
    case 'detached':
      if (input.kind !== 'begin') return stay(state);
      return begin(settings, input, undefined, state.lastEpoch);
    case 'serving':
      if (input.kind !== 'begin' || input.target.cseId === state.serving.cse.cseId) return stay(state);
      return begin(settings, input, state.serving, state.serving.epoch);
    case 'preparing':
      if (input.kind === 'succeeded') return enter(settings, { ...state, kind: 'prepared' });
      return undoUnless(settings, state, input);
    case 'prepared':
      if (input.kind === 'succeeded') return enter(settings, { ...state, kind: 'claiming' });
      return undoUnless(settings, state, input);
    case 'claiming':
      return whileClaiming(settings, state, input);
    case 'switching':
      if (input.kind === 'restarted') return enter(settings, state);
      if (input.kind === 'succeeded') {
        const { firstSeqs = {}, inDoubt = {} } = input;
        const transaction = { ...state.transaction, firstSeqs, inDoubt };
        return enter(settings, { kind: 'catchingUp', transaction });
      }
      return isFailure(input) ? enter(settings, state, settings.repeatMs) : stay(state);
    case 'catchingUp':
      if (input.kind === 'restarted') return enter(settings, state);
      if (input.kind === 'succeeded' || isFailure(input))
        return enter(settings, { ...state, kind: 'releasing' });
      return stay(state);
    case 'releasing':
      if (input.kind === 'restarted') return enter(settings, state);
      return input.kind === 'succeeded' || isFailure(input)
        ? complete(state.transaction, input)
        : stay(state);
    case 'rollingBack':
      return whileRollingBack(settings, state, input);
    case 'fenced':
      return stay(state);
    default:
      return unreachable(state);
  }
}

/** The transaction a state is in the middle of, if any. */
export function transactionOf(state: HandoverState): Transaction | undefined {
  return 'transaction' in state ? state.transaction : undefined;
}

/** Who serves in this state: the source until the switch has begun, the target from then on. */
export function servingOf(state: HandoverState): Serving | undefined {
  switch (state.kind) {
    case 'serving':
      return state.serving;
    case 'preparing':
    case 'prepared':
    case 'claiming':
    case 'rollingBack':
      return state.transaction.source;
    case 'switching':
    case 'catchingUp':
    case 'releasing':
      return servingAfter(state.transaction);
    case 'detached':
    case 'fenced':
      return undefined;
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
  releasing: 'release',
  rollingBack: 'undo',
} as const satisfies Record<Working['kind'], HandoverWork>;

function begin(
  settings: TransitionSettings,
  input: Begin,
  source: Serving | undefined,
  lastEpoch: Epoch,
): Transition {
  const tried = new Set([source?.cse.cseId, input.target.cseId]);
  const transaction: Transaction = {
    epoch: toEpoch(Math.max(lastEpoch, input.knownEpoch) + 1),
    nonce: input.nonce,
    trigger: input.trigger,
    target: input.target,
    // The source must not be among them: undoing a failed attempt there would release what serves.
    alternatives: input.alternatives.filter(({ cseId }) => !tried.has(cseId) && tried.add(cseId)),
    ...(source === undefined ? {} : { source }),
  };
  return enter(settings, { kind: 'preparing', transaction });
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
  if (input.kind === 'restarted') {
    const reason = `restarted while ${state.kind}`;
    return enter(settings, { kind: 'rollingBack', transaction: withoutAlternatives(transaction), reason });
  }
  if (!isFailure(input)) return stay(state);
  return enter(settings, { kind: 'rollingBack', transaction, reason: reasonOf(state, input) });
}

function whileClaiming(
  settings: TransitionSettings,
  state: Extract<Working, { kind: 'claiming' }>,
  input: HandoverInput,
): Transition {
  const { transaction } = state;
  switch (input.kind) {
    case 'succeeded':
      return enter(settings, { kind: 'switching', transaction });
    case 'restarted':
      return enter(settings, state);
    case 'failed':
    case 'deadline': {
      const again = enter(settings, state, settings.repeatMs);
      const text = `claim of epoch ${transaction.epoch} is unanswered (${reasonOf(state, input)}); it is repeated, the source goes on serving`;
      return { state: again.state, effects: [{ kind: 'alarm', text }, ...again.effects] };
    }
    case 'refused':
      return enter(settings, { kind: 'rollingBack', transaction, reason: input.reason });
    case 'lost':
      return {
        state: { kind: 'fenced', lastEpoch: transaction.epoch, reason: input.reason },
        effects: [
          { kind: 'noteOrphan', cse: transaction.target, epoch: transaction.epoch },
          { kind: 'ended', transaction, outcome: 'fenced', reason: input.reason },
          { kind: 'alarm', text: `fenced: ${input.reason}` },
        ],
      };
    case 'begin':
      return stay(state);
    default:
      return unreachable(input);
  }
}

function whileRollingBack(
  settings: TransitionSettings,
  state: Extract<Working, { kind: 'rollingBack' }>,
  input: HandoverInput,
): Transition {
  const { transaction, reason } = state;
  if (input.kind === 'restarted') {
    return enter(settings, { ...state, transaction: withoutAlternatives(transaction) });
  }
  if (input.kind !== 'succeeded' && !isFailure(input)) return stay(state);
  const ended: HandoverEffect[] = [{ kind: 'ended', transaction, outcome: 'rolledBack', reason }];
  if (isFailure(input)) ended.push({ kind: 'noteOrphan', cse: transaction.target, epoch: transaction.epoch });
  const [next, ...alternatives] = transaction.alternatives;
  if (next !== undefined) {
    const entered = enter(settings, {
      kind: 'preparing',
      transaction: { ...transaction, target: next, alternatives },
    });
    return { state: entered.state, effects: [...ended, ...entered.effects] };
  }
  const { source } = transaction;
  const lastEpoch = toEpoch(transaction.epoch - 1);
  return {
    state: source === undefined ? { kind: 'detached', lastEpoch } : { kind: 'serving', serving: source },
    effects: ended,
  };
}

/** They were ranked before the restart; what is best now is for the decision to say. */
function withoutAlternatives(transaction: Transaction): Transaction {
  return { ...transaction, alternatives: [] };
}

function complete(transaction: Transaction, input: HandoverInput): Transition {
  const effects: HandoverEffect[] = [];
  const { source } = transaction;
  if (isFailure(input) && source !== undefined)
    effects.push({ kind: 'noteOrphan', cse: source.cse, epoch: source.epoch });
  effects.push({ kind: 'ended', transaction, outcome: 'completed' });
  return { state: { kind: 'serving', serving: servingAfter(transaction) }, effects };
}

function servingAfter({ target, epoch, inDoubt }: Transaction): Serving {
  const isClear = inDoubt === undefined || Object.keys(inDoubt).length === 0;
  return { cse: target, epoch, ...(isClear ? {} : { inDoubt }) };
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
