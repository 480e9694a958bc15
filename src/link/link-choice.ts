/**
 * Which access link serves. Pure: links as they are now and what is remembered go in, at most one change and its reasons come
 * out. The rules, in the order in which they are asked:
 *
 *   1. A serving link that carries nothing (down, no address, path lost or captive) is left at once for the best other one.
 *   2. A serving link that is worse (degraded, going down) is left for one that is known to be good, once that has lasted for
 *      `degradedMs`.
 *   3. A link that is preferred (cost, metering, energy, response time) by more than the hysteresis is taken once that has
 *      lasted for `preferredMs`, and not before the serving link had its minimum stay.
 *
 * A link that was left by 1 or 2 failed. It is not taken again, however well it looks, before it has been well without a
 * break for its penalty, which doubles with each failure and is halved by time. So a link that flaps is left once and not
 * returned to; only when nothing else carries anything is a penalty forgiven. No rule asks the order of the list: links that
 * are equal in everything are told apart by name.
 */
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import type { LinkState } from './access-link.ts';
import type { PathHealth } from './path-health.ts';

/** A link as the choice sees it. */
export interface LinkOption {
  readonly name: string;
  readonly state: LinkState;
  /** Whether sockets can be opened on it. */
  readonly isUsable: boolean;
  readonly health: PathHealth;
  /** Usual response time over it, where it is known. */
  readonly responseMs?: Millis;
  readonly preference: LinkPreference;
}

/** What a link costs, from the configuration. */
export interface LinkPreference {
  /** Any scale that is the same for all links; lower is better. */
  readonly cost: number;
  readonly isMetered: boolean;
  readonly energyClass: 'low' | 'medium' | 'high';
}

/** Rules of the choice. */
export interface LinkChoicePolicy {
  /** How long a link must have been worse than a good one. */
  readonly degradedMs: Millis;
  /** How long a link must have been preferred, and by how much. */
  readonly preferredMs: Millis;
  readonly hysteresis: number;
  readonly minimumStayMs: Millis;
  /** How long a link that failed must be well without a break: the first time, at most, and until a failure is half forgotten. */
  readonly penalty: { readonly firstMs: Millis; readonly longestMs: Millis; readonly halfLifeMs: Millis };
  /** Weight of each point of cost, of being metered, of each step of energy, of each 100 ms of response time. */
  readonly weights: {
    readonly cost: number;
    readonly metered: number;
    readonly energy: number;
    readonly response: number;
  };
}

/** Brownouts are left within 3 s of their begin, two of which the health needs to see one. */
export const defaultLinkChoicePolicy: LinkChoicePolicy = {
  degradedMs: millis(300),
  preferredMs: millis(10_000),
  hysteresis: 0.5,
  minimumStayMs: millis(60_000),
  penalty: { firstMs: millis(60_000), longestMs: millis(900_000), halfLifeMs: millis(1_800_000) },
  weights: { cost: 1, metered: 1, energy: 0.25, response: 0.25 },
};

/** What is remembered; a plain value, fit for a recording. */
export interface LinkChoiceState {
  readonly serving?: string;
  readonly servingSinceMs?: Millis;
  /** Since when the serving link was worse, or another one preferred, without a break. */
  readonly worseSinceMs?: Millis;
  readonly preferred?: { readonly name: string; readonly sinceMs: Millis };
  readonly records: readonly LinkRecord[];
}

/** What is remembered of one link. */
export interface LinkRecord {
  readonly name: string;
  readonly failures: number;
  readonly lastFailureMs?: Millis;
  /** Since when it is well without a break; undefined while it is not. */
  readonly wellSinceMs?: Millis;
}

/** Why a link is taken, or left. */
export type LinkChoiceTrigger =
  'initial' | 'linkDown' | 'pathLost' | 'captive' | 'degraded' | 'goingDown' | 'preferred';

/** One change, with why every other link was not taken. */
export interface LinkChange {
  readonly atMs: Millis;
  readonly trigger: LinkChoiceTrigger;
  readonly serving: string | undefined;
  readonly target: string;
  readonly reasons: readonly string[];
  readonly rejected: readonly { readonly name: string; readonly reason: string }[];
}

/** What follows from a look at the links. */
export interface LinkChoice {
  readonly state: LinkChoiceState;
  readonly change?: LinkChange;
  /** Links whose path should be asked now because the serving one is in doubt. */
  readonly toProbe: readonly string[];
}

/** Before the first look. */
export const noLinkChosen: LinkChoiceState = { records: [] };

/** Looks at all links at one moment. Moments must not go back. */
export function chooseLink(
  before: LinkChoiceState,
  options: readonly LinkOption[],
  nowMs: Millis,
  policy: LinkChoicePolicy,
): LinkChoice {
  const state = { ...before, records: options.map((option) => recordOf(before, option, nowMs)) };
  const serving = options.find(({ name }) => name === state.serving);
  const trigger = serving === undefined ? undefined : failureOf(serving);
  const ranked = rank(options, policy);
  const others = ranked.filter(({ name }) => name !== serving?.name);
  const context = { state, options, nowMs, policy };
  if (serving === undefined || trigger?.isDead === true) {
    return leaveAtOnce(
      context,
      others,
      serving,
      trigger?.trigger ?? (before.serving === undefined ? 'initial' : 'linkDown'),
    );
  }
  if (trigger !== undefined) return leaveForBetter(context, others, serving, trigger.trigger);
  return considerPreferred({ ...context, state: without(state, 'worseSinceMs') }, others, serving);
}

/** Until when a link that failed is not returned to, if it stays well; undefined when nothing keeps it. */
export function penaltyEndMs(
  record: LinkRecord,
  nowMs: Millis,
  policy: LinkChoicePolicy,
): Millis | undefined {
  const { failures, lastFailureMs, wellSinceMs } = record;
  if (lastFailureMs === undefined) return undefined;
  const { firstMs, longestMs, halfLifeMs } = policy.penalty;
  const left = failures * 2 ** -Math.floor((nowMs - lastFailureMs) / halfLifeMs);
  if (left < 1) return undefined;
  const lengthMs = Math.min(longestMs, firstMs * 2 ** Math.min(30, Math.floor(left) - 1));
  return millis(Math.max(lastFailureMs, wellSinceMs ?? nowMs) + lengthMs);
}

interface Context {
  readonly state: LinkChoiceState;
  readonly options: readonly LinkOption[];
  readonly nowMs: Millis;
  readonly policy: LinkChoicePolicy;
}

function leaveAtOnce(
  context: Context,
  others: readonly LinkOption[],
  serving: LinkOption | undefined,
  trigger: LinkChoiceTrigger,
): LinkChoice {
  const { state } = context;
  const carrying = others.filter((option) => failureOf(option)?.isDead !== true);
  const free = carrying.filter((option) => !isPenalised(context, option));
  const target = free[0] ?? carrying[0];
  // Nothing else carries anything: the link stays, for it may come back, and a socket there is as good as none.
  if (target === undefined) return { state, toProbe: [] };
  const reasons = [
    ...(serving === undefined ? ['no link serves'] : [`${serving.name}: ${failureText(serving)}`]),
    ...(free.length === 0 ? [`${target.name} failed a moment ago, but nothing else is left`] : []),
  ];
  return changeTo(context, target, serving, trigger, reasons);
}

function leaveForBetter(
  context: Context,
  others: readonly LinkOption[],
  serving: LinkOption,
  trigger: LinkChoiceTrigger,
): LinkChoice {
  const { nowMs, policy } = context;
  const worseSinceMs = context.state.worseSinceMs ?? nowMs;
  const state = without({ ...context.state, worseSinceMs }, 'preferred');
  const usable = others.filter((option) => failureOf(option) === undefined && !isPenalised(context, option));
  const toProbe = usable.filter(({ health }) => health.state !== 'good').map(({ name }) => name);
  const target = usable.find(({ health }) => health.state === 'good');
  if (target === undefined || nowMs - worseSinceMs < policy.degradedMs) return { state, toProbe };
  const reasons = [`${serving.name}: ${failureText(serving)} for ${Math.round(nowMs - worseSinceMs)} ms`];
  return changeTo({ ...context, state }, target, serving, trigger, reasons);
}

function considerPreferred(context: Context, others: readonly LinkOption[], serving: LinkOption): LinkChoice {
  const { state, nowMs, policy } = context;
  const burden = burdenOf(serving, policy);
  const better = others.filter(
    (option) => failureOf(option) === undefined && burdenOf(option, policy) + policy.hysteresis < burden,
  );
  const candidates = better.filter((option) => !isPenalised(context, option));
  const best = candidates.find(({ health }) => health.state === 'good');
  const toProbe = candidates.filter(({ health }) => health.state === 'unknown').map(({ name }) => name);
  if (best === undefined) return { state: without(state, 'preferred'), toProbe };
  const sinceMs = state.preferred?.name === best.name ? state.preferred.sinceMs : nowMs;
  const waiting = { ...state, preferred: { name: best.name, sinceMs } };
  const hasStayed = nowMs - (state.servingSinceMs ?? nowMs) >= policy.minimumStayMs;
  if (nowMs - sinceMs < policy.preferredMs || !hasStayed) return { state: waiting, toProbe: [] };
  const gain = (burden - burdenOf(best, policy)).toFixed(2);
  return changeTo(context, best, serving, 'preferred', [`${best.name} is preferred by ${gain}`]);
}

function changeTo(
  context: Context,
  target: LinkOption,
  serving: LinkOption | undefined,
  trigger: LinkChoiceTrigger,
  reasons: readonly string[],
): LinkChoice {
  const { options, nowMs, policy } = context;
  const left = context.state.serving;
  const hasFailed = trigger !== 'initial' && trigger !== 'preferred';
  const records = context.state.records.map((record) =>
    hasFailed && record.name === left ? addFailure(record, nowMs, policy) : record,
  );
  const rejected = options
    .filter(({ name }) => name !== target.name && name !== left)
    .map((option) => ({ name: option.name, reason: rejectionOf(context, option, target) }));
  return {
    state: { serving: target.name, servingSinceMs: nowMs, records },
    change: { atMs: nowMs, trigger, serving: serving?.name, target: target.name, reasons, rejected },
    toProbe: [],
  };
}

function rejectionOf(context: Context, option: LinkOption, target: LinkOption): string {
  const { policy } = context;
  if (failureOf(option) !== undefined) return failureText(option);
  const endMs = penaltyEnd(context, option);
  if (endMs !== undefined) return `failed, not before another ${Math.round(endMs - context.nowMs)} ms`;
  if (option.health.state !== target.health.state)
    return `path ${option.health.state} (${option.health.reason})`;
  return `burden ${burdenOf(option, policy).toFixed(2)} against ${burdenOf(target, policy).toFixed(2)}`;
}

/** What is wrong with a link; `isDead` when it carries nothing. */
function failureOf(
  option: LinkOption,
): { readonly trigger: LinkChoiceTrigger; readonly isDead: boolean } | undefined {
  const { state, isUsable, health } = option;
  if (!isUsable) return { trigger: 'linkDown', isDead: true };
  if (health.state === 'lost') return { trigger: 'pathLost', isDead: true };
  if (health.state === 'captive') return { trigger: 'captive', isDead: true };
  if (health.state === 'degraded') return { trigger: 'degraded', isDead: false };
  if (state === 'goingDown') return { trigger: 'goingDown', isDead: false };
  return undefined;
}

function failureText({ state, isUsable, health }: LinkOption): string {
  if (!isUsable) return `link ${state}, nothing can be sent`;
  if (health.state === 'good' || health.state === 'unknown') return `link ${state}`;
  return `path ${health.state} (${health.reason})`;
}

function recordOf(before: LinkChoiceState, option: LinkOption, nowMs: Millis): LinkRecord {
  const known = before.records.find(({ name }) => name === option.name) ?? { name: option.name, failures: 0 };
  const isWell = failureOf(option) === undefined;
  const { wellSinceMs, ...rest } = known;
  return isWell ? { ...rest, wellSinceMs: wellSinceMs ?? nowMs } : rest;
}

function addFailure(record: LinkRecord, nowMs: Millis, policy: LinkChoicePolicy): LinkRecord {
  const { name, failures, lastFailureMs = nowMs } = record;
  const left = Math.floor(failures * 2 ** -Math.floor((nowMs - lastFailureMs) / policy.penalty.halfLifeMs));
  return { name, failures: left + 1, lastFailureMs: nowMs };
}

function isPenalised(context: Context, option: LinkOption): boolean {
  const endMs = penaltyEnd(context, option);
  return endMs !== undefined && endMs > context.nowMs;
}

function penaltyEnd({ state, nowMs, policy }: Context, { name }: LinkOption): Millis | undefined {
  const record = state.records.find((entry) => entry.name === name);
  return record === undefined ? undefined : penaltyEndMs(record, nowMs, policy);
}

/** Best first: by what is known of the path, then by burden, then by name. */
function rank(options: readonly LinkOption[], policy: LinkChoicePolicy): readonly LinkOption[] {
  const order = ['good', 'unknown', 'degraded', 'captive', 'lost'];
  const tier = (option: LinkOption): number =>
    order.indexOf(option.health.state) + (option.state === 'goingDown' ? 1.5 : 0);
  return [...options].sort(
    (a, b) => tier(a) - tier(b) || burdenOf(a, policy) - burdenOf(b, policy) || (a.name < b.name ? -1 : 1),
  );
}

function burdenOf({ preference, responseMs }: LinkOption, { weights }: LinkChoicePolicy): number {
  const energy = { low: 0, medium: 1, high: 2 }[preference.energyClass];
  return (
    weights.cost * preference.cost +
    weights.metered * (preference.isMetered ? 1 : 0) +
    weights.energy * energy +
    weights.response * ((responseMs ?? 0) / 100)
  );
}

function without(state: LinkChoiceState, key: 'worseSinceMs' | 'preferred'): LinkChoiceState {
  const { [key]: _, ...rest } = state;
  return rest;
}
