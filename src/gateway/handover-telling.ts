import type { Millis } from '../base/units.ts';
import type { HandoverRecord } from '../handover/runner.ts';
import type { HandoverState } from '../handover/handover-state.ts';
import type { Telling } from './telling.ts';

/** Tells that a state of a handover was entered, `ms` after the one before. */
export function tellPhase(telling: Telling, state: HandoverState, ms: Millis | undefined): void {
  // What stood in the way of a transaction, or of a claim for the CSE that serves already, is over.
  if (state.kind === 'serving') telling.alarms.clear('handover');
  if (!('transaction' in state)) return;
  const { epoch, source, target } = state.transaction;
  telling.tell({
    kind: 'phase',
    state: state.kind,
    epoch,
    ...(source === undefined ? {} : { source: source.cse.cseId }),
    target: target.cseId,
    ms: Math.round(ms ?? 0),
  });
}

/** Tells how a handover went, at a monotonic time. */
export function tellEnded(telling: Telling, record: HandoverRecord, nowMs: Millis): void {
  const { outcome, epoch, source, target, trigger, phases, startedMs, reason } = record;
  if (outcome !== 'fenced') telling.alarms.clear('handover');
  // What was missing was missing at the CSE that is left.
  if (outcome === 'completed') telling.alarms.clear('context');
  telling.tell({
    kind: 'handoverEnded',
    outcome: outcomeTold(record),
    epoch,
    ...(source === undefined ? {} : { source: source.cseId }),
    target: target.cseId,
    trigger,
    elapsedMs: Math.round(nowMs - startedMs),
    phases: phases.map(({ phase, ms }) => ({ phase, ms: Math.round(ms) })),
    ...(reason === undefined ? {} : { reason }),
  });
}

/** Being fenced is a failure to whoever counts handovers. */
export function outcomeTold({ outcome }: HandoverRecord): 'completed' | 'rolledBack' | 'failed' {
  return outcome === 'fenced' ? 'failed' : outcome;
}

/** Raises the alarm of a gateway that does not serve because another one has its identity. */
export function tellFenced({ alarms }: Telling, reason: string): void {
  const wayOut = 'stop the other one, then "baton handover --unfence" lets this one serve again';
  alarms.raise('fenced', `fenced: ${reason}; readings are only stored; to go on, ${wayOut}`);
}
