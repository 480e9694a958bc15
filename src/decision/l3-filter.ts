import { ConfigError } from '../base/errors.ts';
import { dbm } from '../base/units.ts';
import type { Dbm, Millis } from '../base/units.ts';
import { nearestOf } from './spec-values.ts';

/** Values of `FilterCoefficient` (3GPP TS 38.331 6.3.2); 0 switches filtering off. */
export const filterCoefficients: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 15, 17, 19];

/** The sample period for which the coefficient is defined (3GPP TS 38.331 5.5.3.2: X = 200 ms at layer 1). */
const referencePeriodMs = 200;

/** What the filter knows of one cell. */
export interface FilteredLevel {
  readonly levelDbm: Dbm;
  /** Time of the newest measurement in it. */
  readonly atMs: Millis;
}

/** How levels are smoothed. */
export interface FilterPolicy {
  /** `k` of 3GPP TS 38.331 5.5.3.2, one of `filterCoefficients`. */
  readonly coefficient: number;
  /** A longer pause than this starts the filter anew from the next measurement. */
  readonly gapMsMax: Millis;
}

/**
 * Weight of a new measurement, 0..1, that follows the one before by `periodMs`. The specification's a = 2^(-k/4) holds
 * for 200 ms; a_T = 1 - (1 - a)^(T / 200 ms) keeps its time constant at any other period.
 */
export function filterWeight(coefficient: number, periodMs: number): number {
  const weight = 2 ** (-coefficient / 4);
  return 1 - (1 - weight) ** (Math.max(0, periodMs) / referencePeriodMs);
}

/**
 * F(n) = (1 - a) F(n-1) + a M(n), in dB; F(0) is the first measurement (3GPP TS 38.331 5.5.3.2). A measurement that is
 * not newer than the last one changes nothing.
 */
export function filterLevel(
  previous: FilteredLevel | undefined,
  measured: { readonly levelDbm: Dbm; readonly atMs: Millis },
  policy: FilterPolicy,
): FilteredLevel {
  if (previous === undefined) return { levelDbm: measured.levelDbm, atMs: measured.atMs };
  const periodMs = measured.atMs - previous.atMs;
  if (periodMs <= 0) return previous;
  if (periodMs > policy.gapMsMax) return { levelDbm: measured.levelDbm, atMs: measured.atMs };
  const weight = filterWeight(policy.coefficient, periodMs);
  return {
    levelDbm: dbm((1 - weight) * previous.levelDbm + weight * measured.levelDbm),
    atMs: measured.atMs,
  };
}

/** Throws `ConfigError` unless the coefficient is one that the specification knows. */
export function checkFilterPolicy(policy: FilterPolicy, where: string): void {
  if (!filterCoefficients.includes(policy.coefficient)) {
    throw new ConfigError(
      `${where}.coefficient is ${policy.coefficient}; 3GPP TS 38.331 knows ${filterCoefficients.join(', ')}: ` +
        `use ${nearestOf(policy.coefficient, filterCoefficients)}`,
    );
  }
  if (!(policy.gapMsMax > 0)) {
    throw new ConfigError(`${where}.gapMsMax is ${policy.gapMsMax} ms; a positive duration is needed`);
  }
}
