/** The states of the handover transaction as values, and what they say of who serves; how they follow each other is in transition.ts. */
import { unreachable } from '../base/assert.ts';
import { epoch as toEpoch } from '../base/units.ts';
import type { CseId, Epoch } from '../base/units.ts';

/** A CSE as the transaction names it. */
export interface CseReference {
  readonly cseId: CseId;
  readonly cseBaseName: string;
  readonly pointOfAccess: string;
}

/**
 * Why a handover began; `restarted` and `corrected` claim a fresh epoch for the CSE that serves already, the last three are
 * triggers from outside.
 */
export type HandoverTrigger =
  | 'initial'
  | 'a3'
  | 'servingLost'
  | 'operator'
  | 'restarted'
  | 'corrected'
  | 'network'
  | 'edge'
  | 'orchestrator';

/** Who serves under which epoch. */
export interface Serving {
  readonly cse: CseReference;
  /** The newest one that was claimed. */
  readonly epoch: Epoch;
  /** The claim of the next epoch for this CSE is deferred. */
  readonly isProvisional?: true;
  /** While provisional: the CSE that the newest claim names. It is as it was, and released after the next claim. */
  readonly claimed?: CseReference;
  /** By stream: pending records up to this number may also be at a CSE left behind that did not say so in time. */
  readonly inDoubt?: Readonly<Record<string, number>>;
}

/** One attempt to move the bundle to `target`. */
export interface Transaction {
  /** The one that is claimed, or was. */
  readonly epoch: Epoch;
  /** Tells our claim of the epoch from anybody else's; drawn anew by each process. */
  readonly nonce: string;
  /** Nonces of claims of this epoch that were given up and may still arrive. */
  readonly strays?: readonly string[];
  readonly trigger: HandoverTrigger;
  /** Absent in the first registration. */
  readonly source?: Serving;
  readonly target: CseReference;
  /** Candidates to try after this one, best first. */
  readonly alternatives: readonly CseReference[];
  /** Being prepared when a restart came: released with the source. */
  readonly abandoned?: CseReference;
  /** A process that has just started claims: nothing is written before it holds an epoch. */
  readonly isResumed?: true;
  /** There is no way back: the target may hold what no other CSE does. */
  readonly isBound?: true;
  /** The target is used before it is claimed. */
  readonly isProvisional?: true;
  /** After the switch: the first sequence number of each stream at the target. */
  readonly firstSeqs?: Readonly<Record<string, number>>;
  /** After the switch: see `Serving.inDoubt`. */
  readonly inDoubt?: Readonly<Record<string, number>>;
}

export type HandoverState =
  | { readonly kind: 'detached'; readonly lastEpoch: Epoch; readonly strays?: readonly string[] }
  | { readonly kind: 'serving'; readonly serving: Serving; readonly strays?: readonly string[] }
  | { readonly kind: 'preparing'; readonly transaction: Transaction }
  | { readonly kind: 'prepared'; readonly transaction: Transaction }
  | { readonly kind: 'claiming'; readonly transaction: Transaction }
  | { readonly kind: 'switching'; readonly transaction: Transaction }
  | { readonly kind: 'catchingUp'; readonly transaction: Transaction }
  | { readonly kind: 'provisional'; readonly transaction: Transaction }
  | { readonly kind: 'releasing'; readonly transaction: Transaction }
  | { readonly kind: 'rollingBack'; readonly transaction: Transaction; readonly reason: string }
  | { readonly kind: 'fenced'; readonly lastEpoch: Epoch; readonly reason: string };

/** The transaction a state is in the middle of, if any. */
export function transactionOf(state: HandoverState): Transaction | undefined {
  return 'transaction' in state ? state.transaction : undefined;
}

/**
 * Who serves in this state: the source until the switch has begun, the target from then on; nobody while a process that
 * has just started has no epoch of its own.
 */
export function servingOf(state: HandoverState): Serving | undefined {
  switch (state.kind) {
    case 'serving':
      return state.serving;
    case 'preparing':
    case 'prepared':
    case 'claiming':
    case 'rollingBack':
      return state.transaction.isResumed ? undefined : state.transaction.source;
    case 'switching':
    case 'catchingUp':
    case 'provisional':
    case 'releasing':
      return servingAfter(state.transaction);
    case 'detached':
    case 'fenced':
      return undefined;
    default:
      return unreachable(state);
  }
}

/** Epoch that what is written carries: 0, nobody's, before the claim is made. */
export function writtenEpoch({ epoch, isProvisional }: Serving): Epoch {
  return isProvisional ? toEpoch(0) : epoch;
}

/** True when the transaction moves nothing: it claims a fresh epoch for the CSE that serves. */
export function isRenewal({ source, target }: Transaction): boolean {
  return source?.cse.cseId === target.cseId;
}

/**
 * Where a transaction leaves a registration of ours, with the newest epoch that it can be marked with: the source that of an
 * earlier claim; what was being prepared when a restart came, and what has to do with a provisional use, that of this one.
 */
export function leftBehind({
  source,
  abandoned,
  epoch,
}: Pick<Transaction, 'source' | 'abandoned' | 'epoch'>): readonly { cse: CseReference; epoch: Epoch }[] {
  const sourceEpoch = source?.isProvisional ? epoch : toEpoch(epoch - 1);
  const left = [
    ...(source === undefined ? [] : [{ cse: source.cse, epoch: sourceEpoch }]),
    ...(source?.claimed === undefined ? [] : [{ cse: source.claimed, epoch }]),
    ...(abandoned === undefined ? [] : [{ cse: abandoned, epoch }]),
  ];
  // The way back from a provisional use may have been given up at the CSE that is claimed.
  return left.filter(({ cse }, at) => left.findIndex((each) => each.cse.cseId === cse.cseId) === at);
}

/** The CSE that the newest claim names. */
export function claimedIn(serving: Serving | undefined): CseReference | undefined {
  return serving?.isProvisional ? serving.claimed : serving?.cse;
}

/** Who serves once the switch of this transaction has begun. */
export function servingAfter({ source, target, epoch, inDoubt, isProvisional }: Transaction): Serving {
  const isClear = inDoubt === undefined || Object.keys(inDoubt).length === 0;
  const claimed = isProvisional ? claimedIn(source) : undefined;
  return {
    cse: target,
    epoch: isProvisional ? (source?.epoch ?? toEpoch(0)) : epoch,
    ...(isProvisional ? { isProvisional } : {}),
    ...(claimed === undefined ? {} : { claimed }),
    ...(isClear ? {} : { inDoubt }),
  };
}
