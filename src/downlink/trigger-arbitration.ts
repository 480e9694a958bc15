/**
 * What becomes of the triggers that are open, as a pure function. The rules, in this order:
 *
 *   1. A deadline that has passed is a `timeout`. A fenced gateway refuses, and so does one that is asked about an AE that it
 *      does not have.
 *   2. A move to the CSE that serves is completed without anything being done.
 *   3. The decision module says which targets can be: one that cannot be is refused, one that is not there yet (its host
 *      does not run, it is not known, a handover to it failed a moment ago) defers the move until its deadline.
 *   4. Of the moves that can be, the one of the highest priority goes, of equals the newest, which knows most. The others are
 *      refused as superseded, unless they want the same target: those are completed with it.
 *   5. One thing at a time: while a handover is under way, whoever began it, everything is deferred; it is neither broken off
 *      nor redirected. What is still wanted when it is over goes then.
 *   6. A move of a priority below 8 is deferred until the stay at the serving CSE was as long as the policy asks
 *      (`decision.minimumStayMs`).
 *   7. `reRegister` and `update` go in the order of their priority, the oldest first, after a move that can go at once, since
 *      it does what they ask for.
 */
import type { Trigger } from './trigger.ts';

/** A trigger that is not over. */
export interface OpenTrigger {
  readonly trigger: Trigger;
  /** Its place in the order of acceptance. */
  readonly number: number;
}

/** What the decision module says of a target; without one, of the best there is. */
export type TargetView =
  | { readonly kind: 'eligible'; readonly cseId: string }
  | { readonly kind: 'notYet'; readonly reason: string }
  | { readonly kind: 'never'; readonly reason: string };

/** The gateway as the arbitration sees it. */
export interface ArbitrationView {
  readonly nowMs: number;
  readonly isFenced: boolean;
  /** A handover, or the work for another trigger, is under way. */
  readonly isBusy: boolean;
  readonly serving: string | undefined;
  /** Milliseconds for which it serves. */
  readonly stayMs: number;
  readonly minimumStayMs: number;
  /** Names of the AEs of the bundle. */
  readonly aes: readonly string[];
  readonly targetOf: (target: string | undefined) => TargetView;
}

/** What becomes of one of them now. */
export type Verdict =
  | { readonly id: string; readonly kind: 'refused' | 'timeout' | 'deferred'; readonly reason: string }
  | { readonly id: string; readonly kind: 'completed'; readonly reason: string }
  | { readonly id: string; readonly kind: 'start'; readonly target?: string };

/** From this priority on a move does not wait for the minimum stay. */
export const urgentPriority = 8;

/** Judges every open trigger; at most one is to be started. */
export function arbitrate(open: readonly OpenTrigger[], view: ArbitrationView): readonly Verdict[] {
  const verdicts = new Map<string, Verdict>();
  const moves: { readonly open: OpenTrigger; readonly target: string }[] = [];
  const others: OpenTrigger[] = [];
  for (const each of open) {
    const { trigger } = each;
    const settled = settle(trigger, view);
    if (settled !== undefined) verdicts.set(trigger.id, settled);
    else if (trigger.kind !== 'move') others.push(each);
    else {
      const target = view.targetOf(trigger.target);
      if (target.kind === 'eligible') moves.push({ open: each, target: target.cseId });
      else {
        const kind = target.kind === 'never' ? 'refused' : 'deferred';
        verdicts.set(trigger.id, { id: trigger.id, kind, reason: target.reason });
      }
    }
  }
  const begun = judgeMoves(moves, view, verdicts);
  others.sort(byPriority(1));
  for (const [index, { trigger }] of others.entries()) {
    const reason = begun || view.isBusy || index > 0 ? 'something else is under way' : undefined;
    const nobody = view.serving === undefined ? 'no CSE serves' : undefined;
    const why = reason ?? nobody;
    verdicts.set(
      trigger.id,
      why === undefined
        ? { id: trigger.id, kind: 'start' }
        : { id: trigger.id, kind: 'deferred', reason: why },
    );
  }
  return open.flatMap(({ trigger }) => verdicts.get(trigger.id) ?? []);
}

function settle(trigger: Trigger, view: ArbitrationView): Verdict | undefined {
  const { id, aes = [], deadlineMs, kind, target } = trigger;
  if (deadlineMs <= view.nowMs) return { id, kind: 'timeout', reason: 'its deadline has passed' };
  if (view.isFenced)
    return { id, kind: 'refused', reason: 'this gateway is fenced: another one has its identity' };
  const unknown = aes.filter((name) => !view.aes.includes(name));
  if (unknown.length > 0) {
    return {
      id,
      kind: 'refused',
      reason: `no AE is named ${unknown.join(', ')}; known: ${view.aes.join(', ')}`,
    };
  }
  if (kind === 'move' && target !== undefined && target === view.serving && !view.isBusy) {
    return { id, kind: 'completed', reason: `${target} serves` };
  }
  return undefined;
}

/** Whether one of the moves is to be started. */
function judgeMoves(
  moves: { readonly open: OpenTrigger; readonly target: string }[],
  view: ArbitrationView,
  verdicts: Map<string, Verdict>,
): boolean {
  const order = byPriority(-1);
  const [best, ...rest] = moves.sort((one, other) => order(one.open, other.open));
  if (best === undefined) return false;
  const { trigger } = best.open;
  const { id } = trigger;
  const isTooSoon = trigger.priority < urgentPriority && view.stayMs < view.minimumStayMs;
  const wait = view.isBusy
    ? 'a handover is under way'
    : isTooSoon && view.serving !== undefined
      ? `the minimum stay of ${view.minimumStayMs} ms is not over`
      : undefined;
  if (wait === undefined) verdicts.set(id, { id, kind: 'start', target: best.target });
  else verdicts.set(id, { id, kind: 'deferred', reason: wait });
  for (const { open, target } of rest) {
    const other = open.trigger.id;
    verdicts.set(
      other,
      target === best.target
        ? { id: other, kind: 'deferred', reason: `${id} goes to the same CSE` }
        : { id: other, kind: 'refused', reason: `superseded by ${id}` },
    );
  }
  return wait === undefined;
}

/** Highest priority first; of equals the oldest for `1`, the newest for `-1`. */
function byPriority(age: 1 | -1): (one: OpenTrigger, other: OpenTrigger) => number {
  return (one, other) => other.trigger.priority - one.trigger.priority || age * (one.number - other.number);
}
