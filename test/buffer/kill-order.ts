import { logWorkload } from '../powercut/log-workloads.ts';
import type { LogWorkload } from '../powercut/log-workloads.ts';

/** What a process to be killed does: everything, or appends that are reported before they are written. */
export type KillUse = 'everything' | 'lateWrites';

/** What a process to be killed is started with. */
export interface KillOrder {
  readonly directory: string;
  readonly seed: number;
  /** Number of the process, from 0 up. */
  readonly session: number;
  readonly use: KillUse;
}

const short = logWorkload('short');

/** Workloads that end with the process only. */
export const killWorkloads: Readonly<Record<KillUse, LogWorkload>> = {
  everything: {
    ...short,
    actions: Number.MAX_SAFE_INTEGER,
    weights: { single: 34, group: 16, deliver: 14, sync: 5, giveUp: 1, pause: 1 },
  },
  lateWrites: {
    ...short,
    actions: Number.MAX_SAFE_INTEGER,
    weights: { single: 1, group: 0, deliver: 0, sync: 0, giveUp: 0, pause: 0 },
  },
};
