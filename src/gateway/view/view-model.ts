import type { GatewayEvent, GatewayStatus, HandoverEndedEvent } from '../status.ts';

/** A drive through the demo's radio field. */
export interface DriveProgress {
  readonly name: string;
  readonly elapsedMs: number;
  readonly totalMs: number;
}

/** A line worth reading, with its weight. */
export interface Message {
  readonly level: 'bad' | 'warn' | 'info';
  readonly text: string;
  /** Gateway's uptime when it arrived. */
  readonly atMs: number;
}

/** Everything the view shows; a value that `updateView` replaces. */
export interface ViewModel {
  readonly hint: string;
  readonly drive?: DriveProgress;
  readonly status?: GatewayStatus;
  /** Levels by CSE-ID in dBm, one for each status, the newest last. */
  readonly levels: ReadonlyMap<string, readonly (number | undefined)[]>;
  /** Readings per second over all streams, one for each status. */
  readonly rates: readonly number[];
  /** Handovers that ended, the newest first. */
  readonly ended: readonly HandoverEndedEvent[];
  /** The newest first. */
  readonly messages: readonly Message[];
}

/** What changes the view. */
export type ViewInput =
  | { readonly kind: 'status'; readonly status: GatewayStatus }
  | { readonly kind: 'drive'; readonly drive: DriveProgress }
  | GatewayEvent;

const historyMax = 240;
const csesMax = 16;
const endedMax = 16;
const messagesMax = 32;

/** An empty view; `hint` is its last line. */
export function createViewModel(hint: string, drive?: DriveProgress): ViewModel {
  const empty = { hint, levels: new Map<string, never[]>(), rates: [], ended: [], messages: [] };
  return drive === undefined ? empty : { ...empty, drive };
}

/** The view after a status, a drive's progress or an event. Memory is bounded whatever arrives. */
export function updateView(model: ViewModel, input: ViewInput): ViewModel {
  switch (input.kind) {
    case 'status':
      return takeStatus(model, input.status);
    case 'drive':
      return { ...model, drive: input.drive };
    case 'handoverEnded':
      return { ...model, ended: [input, ...model.ended].slice(0, endedMax) };
    case 'decision':
      return say(model, 'info', `decision: ${input.source ?? 'none'} → ${input.target} (${input.trigger})`);
    case 'eviction':
      return say(model, 'bad', `buffer full: ${input.count} readings of ${input.stream} given up`);
    case 'damage':
      return say(model, 'bad', `damage in ${input.file}: ${input.text}`);
    case 'linkState':
      return say(
        model,
        input.state === 'up' ? 'info' : 'warn',
        `link ${input.link} ${input.state}${input.reason === undefined ? '' : `: ${input.reason}`}`,
      );
    case 'alarm':
      return say(
        model,
        input.active ? 'bad' : 'info',
        `${input.active ? 'alarm' : 'alarm over'}: ${input.text}`,
      );
    case 'log':
      return input.level === 'debug' ? model : say(model, logLevels[input.level], input.text);
    case 'sample':
    case 'phase':
      return model; // the next status tells the same
  }
}

const logLevels = { error: 'bad', warn: 'warn', info: 'info' } as const;

function say(model: ViewModel, level: Message['level'], text: string): ViewModel {
  const message = { level, text: text.slice(0, 400), atMs: model.status?.uptimeMs ?? 0 };
  return { ...model, messages: [message, ...model.messages].slice(0, messagesMax) };
}

function takeStatus(model: ViewModel, status: GatewayStatus): ViewModel {
  const rate = status.streams.reduce((sum, { ratePerS }) => sum + ratePerS, 0);
  const now = new Map(status.levels.slice(0, csesMax).map(({ cseId, rsrpDbm }) => [cseId, rsrpDbm]));
  const levels = new Map<string, readonly (number | undefined)[]>();
  for (const [cseId, level] of now) levels.set(cseId, push(model.levels.get(cseId) ?? [], level));
  for (const [cseId, history] of model.levels) {
    // A CSE out of sight keeps its graph until every value in it is a gap.
    const next = push(history, undefined);
    if (!now.has(cseId) && levels.size < csesMax && next.some((level) => level !== undefined))
      levels.set(cseId, next);
  }
  return { ...model, status, levels, rates: push(model.rates, rate) };
}

function push<T>(history: readonly T[], value: T): readonly T[] {
  return [...history.slice(-(historyMax - 1)), value];
}
