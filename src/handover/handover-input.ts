import type { Epoch, Millis } from '../base/units.ts';
import type { CseReference, HandoverTrigger, Transaction } from './handover-state.ts';

/** What the transaction reacts to. */
export type HandoverInput =
  | {
      readonly kind: 'begin';
      readonly trigger: HandoverTrigger;
      readonly target: CseReference;
      readonly alternatives: readonly CseReference[];
      readonly nonce: string;
      /** Highest epoch the serving record is known to hold. */
      readonly knownEpoch: Epoch;
      /** A warm standby: the target was prepared and verified ahead. */
      readonly isWarm?: true;
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
  /** The record holds `epoch` by a claim of ours that was given up. */
  | { readonly kind: 'displaced'; readonly epoch: Epoch; readonly nonce: string }
  /** The record holds a higher epoch than ours, and not by us. */
  | { readonly kind: 'overtaken'; readonly reason: string }
  /** A person says that no other gateway with this identity runs any more. */
  | { readonly kind: 'rearm' }
  | { readonly kind: 'deadline' }
  | { readonly kind: 'restarted'; readonly nonce: string };

/** The work behind a state; the runner feeds its outcome back as an input. */
export type HandoverWork = 'prepare' | 'verify' | 'claim' | 'switch' | 'catchUp' | 'release' | 'undo';

/** What is to be done in a state. */
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
  /** Whether an IN-CSE out of reach holds a switch up. */
  readonly claim: 'required' | 'deferred';
}
