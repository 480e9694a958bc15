import { ConfigError } from '../base/errors.ts';
import type { Db, Dbm, Millis } from '../base/units.ts';
import { nearestOf } from './spec-values.ts';

/** Values of `TimeToTrigger` in ms (3GPP TS 38.331 6.3.2). */
export const timesToTriggerMs: readonly number[] = [
  0, 40, 64, 80, 100, 128, 160, 256, 320, 480, 512, 640, 1024, 1280, 2560, 5120,
];

/** `Hysteresis` and event offsets come in steps of half a dB, up to these bounds (3GPP TS 38.331 6.3.2). */
const stepDb = 0.5;
const hysteresisDbMax = 15;
const offsetDbMax = 15;

/** The measurement events of 3GPP TS 38.331 5.5.4 (B1, B2 also TS 36.331 5.5.4.7, 5.5.4.8), each with its parameters. */
export type MeasurementEvent = EventTiming &
  (
    | { readonly kind: 'a1' | 'a2'; readonly thresholdDbm: Dbm }
    | { readonly kind: 'a3' | 'a6'; readonly offsetDb: Db }
    | { readonly kind: 'a4' | 'b1'; readonly thresholdDbm: Dbm }
    | { readonly kind: 'a5' | 'b2'; readonly thresholdDbm: Dbm; readonly neighbourThresholdDbm: Dbm }
  );

/** What every event has: how far and how long its condition must hold. */
export interface EventTiming {
  readonly hysteresisDb: Db;
  readonly timeToTriggerMs: Millis;
}

/** Filtered levels that an event compares. For A6 `servingDbm` is the secondary cell, for A3, A5, B2 the primary one. */
export interface EventLevels {
  readonly servingDbm: Dbm;
  /** Needed by all events but A1 and A2. */
  readonly neighbourDbm?: Dbm;
  /** Ofp (A3) or Ocs (A6) plus Ocp of the serving cell. */
  readonly servingOffsetDb?: Db;
  /** Ofn + Ocn of the neighbour. */
  readonly neighbourOffsetDb?: Db;
}

/**
 * By how many dB each part of the event's condition holds before hysteresis: one number, two for A5 and B2. Every entering
 * condition of the specification is "all margins above Hys", every leaving condition "one margin below -Hys".
 */
export function eventMarginsDb(event: MeasurementEvent, levels: EventLevels): readonly number[] {
  const serving = levels.servingDbm + (levels.servingOffsetDb ?? 0);
  const neighbour = (levels.neighbourDbm ?? Number.NEGATIVE_INFINITY) + (levels.neighbourOffsetDb ?? 0);
  switch (event.kind) {
    case 'a1':
      return [levels.servingDbm - event.thresholdDbm];
    case 'a2':
      return [event.thresholdDbm - levels.servingDbm];
    case 'a3':
    case 'a6':
      return [neighbour - (serving + event.offsetDb)];
    case 'a4':
    case 'b1':
      return [neighbour - event.thresholdDbm];
    case 'a5':
    case 'b2':
      return [event.thresholdDbm - levels.servingDbm, neighbour - event.neighbourThresholdDbm];
  }
}

/** The entering condition, strict as in the specification. */
export function isEntering(event: MeasurementEvent, levels: EventLevels): boolean {
  return eventMarginsDb(event, levels).every((margin) => margin > event.hysteresisDb);
}

/** The leaving condition, strict as in the specification. */
export function isLeaving(event: MeasurementEvent, levels: EventLevels): boolean {
  return eventMarginsDb(event, levels).some((margin) => margin + event.hysteresisDb < 0);
}

/** Where one event stands for one neighbour; `sinceMs` is the first of the samples in a row that led here. */
export type EventState =
  | { readonly kind: 'idle' }
  | { readonly kind: 'entering'; readonly sinceMs: Millis }
  | { readonly kind: 'triggered'; readonly sinceMs: Millis }
  | { readonly kind: 'leaving'; readonly triggeredMs: Millis; readonly sinceMs: Millis };

/** The state before any sample. */
export const idleEvent: EventState = { kind: 'idle' };

/**
 * Takes one new sample. The condition must hold during the time to trigger and, the states being what they are, in at
 * least two samples in a row: a modem that is asked each second would otherwise trigger on one outlier.
 */
export function advanceEvent(
  state: EventState,
  event: MeasurementEvent,
  levels: EventLevels,
  atMs: Millis,
): EventState {
  const hasLasted = (sinceMs: Millis): boolean => atMs - sinceMs >= event.timeToTriggerMs;
  switch (state.kind) {
    case 'idle':
      return isEntering(event, levels) ? { kind: 'entering', sinceMs: atMs } : state;
    case 'entering':
      if (!isEntering(event, levels)) return idleEvent;
      return hasLasted(state.sinceMs) ? { kind: 'triggered', sinceMs: atMs } : state;
    case 'triggered':
      if (!isLeaving(event, levels)) return state;
      return { kind: 'leaving', triggeredMs: state.sinceMs, sinceMs: atMs };
    case 'leaving':
      if (!isLeaving(event, levels)) return { kind: 'triggered', sinceMs: state.triggeredMs };
      return hasLasted(state.sinceMs) ? idleEvent : state;
  }
}

/** Throws `ConfigError` unless hysteresis, offset and time to trigger are values of the specification. */
export function checkEvent(event: MeasurementEvent, where: string): void {
  if (!timesToTriggerMs.includes(event.timeToTriggerMs)) {
    throw new ConfigError(
      `${where}.timeToTriggerMs is ${event.timeToTriggerMs} ms; 3GPP TS 38.331 knows ${timesToTriggerMs.join(', ')}: ` +
        `use ${nearestOf(event.timeToTriggerMs, timesToTriggerMs)}`,
    );
  }
  checkStep(event.hysteresisDb, 0, hysteresisDbMax, `${where}.hysteresisDb`);
  if (event.kind === 'a3' || event.kind === 'a6') {
    checkStep(event.offsetDb, -offsetDbMax, offsetDbMax, `${where}.offsetDb`);
  }
}

function checkStep(valueDb: number, minDb: number, maxDb: number, where: string): void {
  if (valueDb >= minDb && valueDb <= maxDb && Number.isInteger(valueDb / stepDb)) return;
  const inside = Math.min(maxDb, Math.max(minDb, Number.isFinite(valueDb) ? valueDb : minDb));
  throw new ConfigError(
    `${where} is ${valueDb} dB; it goes from ${minDb} to ${maxDb} dB in steps of ${stepDb} dB: ` +
      `use ${Math.round(inside / stepDb) * stepDb}`,
  );
}
