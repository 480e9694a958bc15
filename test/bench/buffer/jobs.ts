import type { EngineName } from './engines.ts';
import type { WorstDelays } from './stall-watch.ts';

/**
 * The pieces of work that run in a process of their own each, told as JSON on the command line and answered as JSON on
 * standard output.
 */
export type Job = CyclesJob | RatesJob | FillJob | OpenJob | ConsumeJob;

interface EngineJob {
  readonly engine: EngineName;
  readonly directory: string;
  readonly quotaBytes: number;
}

/** What a workload of cycles begins with. */
interface SteadyJob extends EngineJob {
  readonly batches: readonly number[];
  /** Commits of 256 records before the first cycle: enough for slots to recycle and a write-ahead log to be full. */
  readonly warmCommits: number;
  readonly priorities?: number;
  readonly isShortOfSpace?: boolean;
}

/** Paced cycles of append, deliver and acknowledge for each batch size, with what the device did meanwhile. */
export interface CyclesJob extends SteadyJob {
  readonly kind: 'cycles';
  readonly mount: string;
  readonly statPath?: string;
  readonly rounds: number;
  readonly cyclesPerRound: number;
  readonly pauseMs: number;
}

/** The same cycles without pause, counted over a time. */
export interface RatesJob extends SteadyJob {
  readonly kind: 'rates';
  readonly restMs: number;
  readonly measureMs: number;
}

/** Appends `records` to the store as fast as it goes; `isKilled` ends the process without closing. */
export interface FillJob extends EngineJob {
  readonly kind: 'fill';
  readonly records: number;
  readonly isKilled: boolean;
}

/** Opens the store and takes the first record. */
export interface OpenJob extends EngineJob {
  readonly kind: 'open';
}

/** Delivers and acknowledges everything, 256 records at a time. */
export interface ConsumeJob extends EngineJob {
  readonly kind: 'consume';
  readonly records: number;
  readonly mount: string;
  readonly statPath?: string;
}

/** Worst delay of the event loop in one round, in this process and in one beside it that does nothing. */
export interface Stall extends WorstDelays {
  readonly idleMs: number;
}

/** Outcome of the cycles with one batch size. */
export interface CyclesResult {
  readonly batch: number;
  readonly cycles: number;
  /** Undefined where there is no device to count at. */
  readonly deviceBytesPerPayloadByte?: number;
  readonly flushesPerCycle?: number;
  readonly writeRequestsPerCycle?: number;
  readonly commitP50Ms: number;
  readonly commitP99Ms: number;
  readonly cpuUsPerCycle: number;
  readonly stalls: readonly Stall[];
}

/** Outcome of the unpaced cycles with one batch size. */
export interface RatesResult {
  readonly batch: number;
  readonly cyclesPerSecond: number;
}

/** Outcome of a fill. */
export interface FillResult {
  readonly recordsPerSecond: number;
}

/** Outcome of an open. */
export interface OpenResult {
  readonly openMs: number;
  /** From the call of open to the first record in hand; undefined when the store is empty. */
  readonly firstRecordMs?: number;
  /** Memory of the process half a second later, and the most it had. */
  readonly rssBytes: number;
  readonly rssBytesMax: number;
  /** The part that is the process's own and no page of the Node binary; undefined where the kernel does not tell. */
  readonly anonymousBytes?: number;
}

/** Outcome of a consumption. */
export interface ConsumeResult {
  readonly seconds: number;
  readonly recordsPerSecond: number;
  readonly deviceBytesPerPayloadByte?: number;
  /** Memory of the process after each twentieth of the records. */
  readonly rssBytes: readonly number[];
  /** Octets of the files that are left. */
  readonly keptBytes: number;
}

/** What a job answers. */
export type Result<J extends Job> = J extends CyclesJob
  ? readonly CyclesResult[]
  : J extends RatesJob
    ? readonly RatesResult[]
    : J extends FillJob
      ? FillResult
      : J extends OpenJob
        ? OpenResult
        : ConsumeResult;
