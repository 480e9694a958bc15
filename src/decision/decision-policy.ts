import { ConfigError } from '../base/errors.ts';
import { db, dbm, millis } from '../base/units.ts';
import type { Db, Dbm, Millis } from '../base/units.ts';
import { checkEvent } from './events.ts';
import type { EventTiming, MeasurementEvent } from './events.ts';
import { checkFilterPolicy } from './l3-filter.ts';
import type { FilterPolicy } from './l3-filter.ts';
import type { PenaltyPolicy } from './penalty.ts';

/** Everything that a decision depends on beside its inputs. */
export interface DecisionPolicy {
  readonly filter: FilterPolicy;
  /** Event A3: a candidate is better than the serving CSE by `offsetDb` plus hysteresis. */
  readonly a3: EventTiming & { readonly offsetDb: Db };
  /** Offset of A3 while the way to the serving CSE is degraded: a weaker advantage is then enough. */
  readonly degradedOffsetDb: Db;
  /** A level that is older does not count. */
  readonly levelMsMax: Millis;
  /** A discovery that is older does not count, except when the serving CSE is lost. */
  readonly discoveryMsMax: Millis;
  /** Level that stands for "its cells are not heard although others are". */
  readonly unheardDbm: Dbm;
  /** Fixed range of the score: 0 at or below `worstDbm`, 1 at or above `bestDbm`. */
  readonly worstDbm: Dbm;
  readonly bestDbm: Dbm;
  /** No handover by A3 sooner than this after the last one. */
  readonly minimumStayMs: Millis;
  /** What makes the way back to a CSE that was left less than `withinMs` ago harder. */
  readonly pingPong: {
    readonly withinMs: Millis;
    readonly guard: 'refuse' | 'longerTimeToTrigger';
    /** Time to trigger of the way back, for `longerTimeToTrigger`. */
    readonly timeToTriggerMs: Millis;
  };
  readonly penalty: PenaltyPolicy;
  /** How long the first attachment waits for a measurement before it takes a candidate that was not measured. */
  readonly unmeasuredAfterMs: Millis;
  /** Ranked candidates in a decision at most, the target included. */
  readonly candidatesMax: number;
}

/** Values for a vehicle in a cellular network, sampled each second. */
export const defaultDecisionPolicy: DecisionPolicy = {
  filter: { coefficient: 8, gapMsMax: millis(10_000) },
  a3: { offsetDb: db(3), hysteresisDb: db(1), timeToTriggerMs: millis(1024) },
  degradedOffsetDb: db(0),
  levelMsMax: millis(5000),
  discoveryMsMax: millis(900_000),
  unheardDbm: dbm(-140),
  worstDbm: dbm(-140),
  bestDbm: dbm(-44),
  minimumStayMs: millis(5000),
  pingPong: { withinMs: millis(15_000), guard: 'longerTimeToTrigger', timeToTriggerMs: millis(5120) },
  penalty: { firstMs: millis(10_000), longestMs: millis(300_000), decayMs: millis(600_000) },
  unmeasuredAfterMs: millis(5000),
  candidatesMax: 3,
};

/** The A3 event that applies; `returning` is the way back to a CSE left a moment ago. */
export function a3Event(
  policy: DecisionPolicy,
  circumstances: { readonly degraded: boolean; readonly returning: boolean },
): MeasurementEvent {
  const { degraded, returning } = circumstances;
  return {
    kind: 'a3',
    offsetDb: degraded ? db(Math.min(policy.degradedOffsetDb, policy.a3.offsetDb)) : policy.a3.offsetDb,
    hysteresisDb: policy.a3.hysteresisDb,
    timeToTriggerMs: returning
      ? millis(Math.max(policy.pingPong.timeToTriggerMs, policy.a3.timeToTriggerMs))
      : policy.a3.timeToTriggerMs,
  };
}

/** Throws `ConfigError` naming the key, the value and a valid one unless the policy makes sense. */
export function checkDecisionPolicy(policy: DecisionPolicy, where = 'decision'): void {
  checkFilterPolicy(policy.filter, `${where}.filter`);
  checkEvent({ kind: 'a3', ...policy.a3 }, `${where}.a3`);
  checkEvent(
    { kind: 'a3', ...policy.a3, offsetDb: policy.degradedOffsetDb },
    `${where} with degradedOffsetDb as a3`,
  );
  checkEvent(
    { kind: 'a3', ...policy.a3, timeToTriggerMs: policy.pingPong.timeToTriggerMs },
    `${where}.pingPong`,
  );
  const durations: Record<string, number> = {
    'levelMsMax': policy.levelMsMax,
    'discoveryMsMax': policy.discoveryMsMax,
    'minimumStayMs': policy.minimumStayMs,
    'pingPong.withinMs': policy.pingPong.withinMs,
    'penalty.firstMs': policy.penalty.firstMs,
    'penalty.longestMs': policy.penalty.longestMs,
    'penalty.decayMs': policy.penalty.decayMs,
    'unmeasuredAfterMs': policy.unmeasuredAfterMs,
  };
  for (const [key, value] of Object.entries(durations)) {
    if (!(value >= 0) || !Number.isFinite(value)) {
      throw new ConfigError(`${where}.${key} is ${value} ms; a duration of 0 ms or more is needed`);
    }
  }
  if (policy.penalty.decayMs === 0) {
    throw new ConfigError(
      `${where}.penalty.decayMs is 0 ms; give the time in which half of the failures are forgotten`,
    );
  }
  if (!(policy.worstDbm < policy.bestDbm)) {
    throw new ConfigError(
      `${where}.worstDbm (${policy.worstDbm} dBm) must lie below ${where}.bestDbm (${policy.bestDbm} dBm)`,
    );
  }
  if (!Number.isInteger(policy.candidatesMax) || policy.candidatesMax < 1) {
    throw new ConfigError(
      `${where}.candidatesMax is ${policy.candidatesMax}; a whole number from 1 is needed`,
    );
  }
}
