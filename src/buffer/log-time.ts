import type { WallStamp } from '../base/wall-stamp.ts';
import type { Slot, Stamp } from './slot.ts';

/**
 * The time of the log: it counts while the machine is on, goes on over restarts of the process, and never goes back.
 * The time between two boots is added as far as the wall clocks of both prove it: each with a source that is told the
 * time (GNSS, NTP, CSE) and a bound, and neither in contradiction with itself. The least time is added that they
 * allow, and nothing without them: an unknown clock makes no record old or young.
 */
export interface LogTimeState {
  /** Newest log time and newest run that the log knew of. */
  readonly lastMs: number;
  readonly lastRun: number;
  /** Ascending. */
  readonly boots: readonly BootRow[];
}

/** A boot of the machine, as the cursor keeps it. */
export type BootRow = readonly [
  sinceRun: number,
  bootId: string | null,
  /** Log time at monotonic time 0, and when the log first ran in this boot or, better, when the boot began. */
  originMs: number,
  beganMs: number,
  /** Bounds of wall time minus monotonic time, and when they held; false for a clock that contradicts itself. */
  wall: readonly [lowMs: number, highMs: number, atMs: number] | false | null,
];

/** How long ago something was. */
export interface LogAge {
  readonly ageMs: number;
  /** False for the least age: boots of the machine lie between, and the time that it was off is not known. */
  readonly isExact: boolean;
}

/** What a run of an earlier start is known by. */
export interface PastRun {
  readonly run: number;
  readonly bootId: string | undefined;
  /** Newest monotonic time found of it. */
  readonly lastMonotonicMs: number;
}

interface Boot {
  readonly sinceRun: number;
  readonly bootId: string | undefined;
  originMs: number;
  beganMs: number;
  wall: WallOffset | 'contradictory' | undefined;
}

interface WallOffset {
  readonly lowMs: number;
  readonly highMs: number;
  readonly atMs: number;
}

/** Most boots that are told apart; what is older is at least as old as the oldest of them. */
const bootsMax = 16;
/** How far a second of the monotonic clock may be off, slewing included. */
const driftShare = 1e-3;
/** What the cursor's whole milliseconds may take away. */
const roundingMs = 1;
const trusted: readonly string[] = ['gps', 'ntp', 'cse'];

/** See `LogTimeState`. Monotonic times are those of the run in question; within one boot they go on. */
export class LogTime {
  readonly #boots: Boot[];
  #lastMs: number;
  #lastRun: number;

  constructor(state: LogTimeState | undefined) {
    this.#lastMs = state?.lastMs ?? 0;
    this.#lastRun = state?.lastRun ?? 0;
    this.#boots = (state?.boots ?? []).map(([sinceRun, bootId, originMs, beganMs, wall]): Boot => {
      const [lowMs, highMs, atMs] = wall === false || wall === null ? [] : wall;
      const offset =
        lowMs === undefined || highMs === undefined || atMs === undefined
          ? undefined
          : { lowMs, highMs, atMs };
      const known = wall === false ? 'contradictory' : offset;
      return { sinceRun, bootId: bootId ?? undefined, originMs, beganMs, wall: known };
    });
  }

  /** Takes in what slots tell of an earlier run; called in the order of runs. */
  observe({ run, bootId, lastMonotonicMs }: PastRun): void {
    const boot = this.#bootOf(run);
    if (boot === undefined && this.#boots.length > 0) return;
    if (run > this.#lastRun) {
      // Nothing tells when it began: it gets the least time.
      if (boot?.bootId === undefined || boot.bootId !== bootId) {
        this.#add(run, bootId, bootId === undefined ? lastMonotonicMs : 0);
      }
      this.#lastRun = run;
    }
    const now = this.#bootOf(run);
    if (now === this.#boots.at(-1))
      this.#lastMs = Math.max(this.#lastMs, (now?.originMs ?? 0) + lastMonotonicMs);
  }

  /**
   * Begins a run. With the id of the boot, the monotonic clock counts from the begin of the boot; without, it counts
   * from anywhere, and the run is a boot of its own.
   */
  begin(run: number, bootId: string | undefined, monotonicMs: number): void {
    const boot = this.#boots.at(-1);
    const isSame = boot !== undefined && bootId !== undefined && boot.bootId === bootId;
    const goesOn = isSame && boot.originMs + monotonicMs >= this.#lastMs - roundingMs;
    if (!goesOn) this.#add(run, bootId, isSame || bootId === undefined ? monotonicMs : 0);
    this.#lastRun = run;
  }

  /**
   * Takes in a wall time; one without a trusted source or a bound tells nothing. True for the first of a boot, and the
   * first that contradicts it: the cursor should know.
   */
  noteWall({ unixMs, errorBoundMs, source }: WallStamp, monotonicMs: number): boolean {
    const boot = this.#boots.at(-1);
    if (boot === undefined || errorBoundMs === undefined || !trusted.includes(source)) return false;
    const { wall } = boot;
    if (wall === 'contradictory') return false;
    const offsetMs = unixMs - monotonicMs;
    const driftMs = wall === undefined ? 0 : driftShare * Math.abs(monotonicMs - wall.atMs);
    const lowMs = Math.max(offsetMs - errorBoundMs, (wall?.lowMs ?? Number.NEGATIVE_INFINITY) - driftMs);
    const highMs = Math.min(offsetMs + errorBoundMs, (wall?.highMs ?? Number.POSITIVE_INFINITY) + driftMs);
    boot.wall = lowMs <= highMs ? { lowMs, highMs, atMs: monotonicMs } : 'contradictory';
    if (boot.wall === 'contradictory') return true;
    this.#raise(boot, lowMs);
    return wall === undefined;
  }

  /** Adds to the time before a boot what its wall clock and that of the boot before prove. */
  #raise(boot: Boot, lowMs: number): void {
    // Of boots further back it is not known on which side of those between them the time has to be added.
    const before = this.#boots.at(-2);
    if (typeof before?.wall !== 'object') return;
    const raisedMs = before.originMs - before.wall.highMs + lowMs - boot.originMs;
    if (raisedMs <= 0) return;
    boot.originMs += raisedMs;
    boot.beganMs += raisedMs;
  }

  /** Log time now. */
  nowMs(monotonicMs: number): number {
    this.#lastMs = Math.max(this.#lastMs, (this.#boots.at(-1)?.originMs ?? 0) + monotonicMs);
    return this.#lastMs;
  }

  /** Age of a record at log time `nowMs`; its monotonic time counts no further than its boot lasted. */
  ageOf({ runId, monotonicMs }: Pick<Stamp, 'runId' | 'monotonicMs'>, nowMs: number): LogAge {
    const boot = this.#bootOf(Number.parseInt(runId, 16));
    const [oldest] = this.#boots;
    if (boot === undefined) return { ageMs: Math.max(0, nowMs - (oldest?.beganMs ?? nowMs)), isExact: false };
    const next = this.#boots[this.#boots.indexOf(boot) + 1];
    const endMs = next?.beganMs ?? nowMs;
    const takenMs = Math.min(endMs, Math.max(boot.beganMs, boot.originMs + monotonicMs));
    const ageMs = Math.max(0, nowMs - takenMs, this.#wallAgeMs(boot, takenMs - boot.originMs, nowMs));
    return { ageMs, isExact: next === undefined };
  }

  /** The boot in which a run was; undefined when it is not known. */
  bootIdOf(run: number): string | undefined {
    return this.#bootOf(run)?.bootId;
  }

  /** What the cursor keeps. */
  state(monotonicMs: number): LogTimeState {
    return {
      lastMs: Math.floor(this.nowMs(monotonicMs)),
      lastRun: this.#lastRun,
      boots: this.#boots.map(({ sinceRun, bootId, originMs, beganMs, wall }): BootRow => {
        const kept = typeof wall === 'object' ? wholeOffset(wall) : null;
        const row = [sinceRun, bootId ?? null, Math.floor(originMs), Math.floor(beganMs)] as const;
        return [...row, wall === 'contradictory' ? false : kept];
      }),
    };
  }

  /** The least age by the wall clocks of an earlier boot and of this one; below 0 when they prove nothing. */
  #wallAgeMs({ wall }: Boot, monotonicMs: number, nowMs: number): number {
    const now = this.#boots.at(-1);
    if (typeof wall !== 'object' || typeof now?.wall !== 'object' || now.wall === wall) return -1;
    const nowMonotonicMs = nowMs - now.originMs;
    const driftMs =
      driftShare * (Math.abs(monotonicMs - wall.atMs) + Math.abs(nowMonotonicMs - now.wall.atMs));
    return nowMonotonicMs + now.wall.lowMs - (monotonicMs + wall.highMs) - driftMs;
  }

  #bootOf(run: number): Boot | undefined {
    return this.#boots.findLast(({ sinceRun }) => sinceRun <= run);
  }

  /** `firstMonotonicMs`: monotonic time that need not have passed since the boot before. */
  #add(sinceRun: number, bootId: string | undefined, firstMonotonicMs: number): void {
    const beganMs = this.#lastMs;
    const originMs = beganMs - firstMonotonicMs;
    this.#boots.push({ sinceRun, bootId, originMs, beganMs, wall: undefined });
    if (this.#boots.length > bootsMax) this.#boots.shift();
  }
}

function wholeOffset({ lowMs, highMs, atMs }: WallOffset): readonly [number, number, number] {
  return [Math.floor(lowMs), Math.ceil(highMs), Math.floor(atMs)];
}

/** The runs that slots tell of, in order. */
export function pastRuns(slots: readonly Slot[]): PastRun[] {
  const lasts = new Map<string, number>();
  const boots = new Map<string, string | undefined>();
  for (const { runs, spans } of slots) {
    for (const { runId, bootId } of runs.values()) boots.set(runId, bootId);
    for (const { firstStamp, lastStamp } of spans.values()) {
      for (const { runId, monotonicMs } of [firstStamp, lastStamp]) {
        lasts.set(runId, Math.max(monotonicMs, lasts.get(runId) ?? monotonicMs));
      }
    }
  }
  const found = [...lasts].map(([runId, lastMonotonicMs]): PastRun => {
    return { run: Number.parseInt(runId, 16), bootId: boots.get(runId), lastMonotonicMs };
  });
  return found.sort((a, b) => a.run - b.run);
}
