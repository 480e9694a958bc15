import { servingOf, transactionOf } from '../handover/handover-state.ts';
import type { HandoverState, Serving } from '../handover/handover-state.ts';

/** Who held the records of the last run. */
export function holderIn(state: HandoverState): Pick<Serving, 'cse' | 'epoch' | 'inDoubt'> | undefined {
  const transaction = transactionOf(state);
  if (transaction === undefined) return servingOf(state);
  const { target, epoch, inDoubt, firstSeqs, source } = transaction;
  // A switch that was not over left its records at the source, or under their own names at the target.
  if (firstSeqs === undefined) return source;
  return { cse: target, epoch, ...(inDoubt === undefined ? {} : { inDoubt }) };
}

/** CSEs at which nothing is to be released now. */
export function inUse(state: HandoverState): string[] {
  const { source, target } = transactionOf(state) ?? {};
  const serving = servingOf(state);
  const used = [serving?.cse, serving?.claimed, source?.cse, source?.claimed, target];
  return used.flatMap((cse) => (cse === undefined ? [] : [cse.cseId]));
}
