/**
 * What others may ask of the gateway's registration: a trigger, put into `<device>-home/intents` at the IN-CSE (by an
 * orchestrator) or into `<device>/intents` at the serving MN-CSE (by an edge AE), as a JSON object of at most 2048 octets:
 *
 *     {
 *       "id": "t-4",                 1 to 64 characters of A-Z a-z 0-9 - . _ ; the same id is the same trigger, for good
 *       "kind": "move",              "move" to another CSE, "reRegister": make the registration anew where it is,
 *                                    "update": tell the CSE the point of access again
 *       "target": "/id-mn2",         of a move; the best candidate when absent
 *       "aes": ["gw1"],              AE-targeted: names of AEs of the bundle; device-targeted when absent
 *       "deadline": …,               UTC as `20261123T170000`, or milliseconds from its acceptance on; default 60 s
 *       "priority": 5,               1 to 10
 *       "issuer": "/id-in/Corch",    who asks, 1 to 64 characters
 *       "origin": "orchestrator",    "network", "edge" or "orchestrator"; that of the container when absent
 *       "reason": "load"             for people, at most 200 characters
 *     }
 *
 * A bundle is never split: a move that names some AEs moves all of them. Each step of what becomes of a trigger is a
 * contentInstance `<id>-<state>` in `<device>-home/events`:
 *
 *     {"id": "t-4", "kind": "move", "state": "accepted" | "refused" | "deferred" | "completed" | "failed" | "timeout",
 *      "reason": "…", "target": "/id-mn2", "serving": "/id-mn1", "epoch": 7, "t": milliseconds since 1970}
 *
 * `accepted` and `deferred` are followed by one of the other four, which are final.
 */
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import type { UnixMillis } from '../base/units.ts';
import { unixMillis } from '../base/units.ts';
import { parseTimestamp } from '../onem2m/primitives.ts';
import { fieldsOf, objectIn } from './command.ts';

/** What a trigger may ask for. */
export const triggerKinds = ['reRegister', 'update', 'move'] as const;

/** One of these. */
export type TriggerKind = (typeof triggerKinds)[number];

/** Who stands behind a trigger; also the trigger of the handover that follows. */
export const triggerOrigins = ['network', 'edge', 'orchestrator'] as const;
/** One of these. */
export type TriggerOrigin = (typeof triggerOrigins)[number];

/** A trigger that makes sense by itself. */
export interface Trigger {
  readonly id: string;
  readonly kind: TriggerKind;
  /** CSE-ID; the best candidate when absent. */
  readonly target?: string;
  /** AE names. */
  readonly aes?: readonly string[];
  /** By the gateway's wall clock. */
  readonly deadlineMs: UnixMillis;
  readonly priority: number;
  readonly issuer: string;
  readonly origin: TriggerOrigin;
  readonly reason?: string;
}

/** What becomes of a trigger. */
export type TriggerState = 'accepted' | 'refused' | 'deferred' | 'completed' | 'failed' | 'timeout';

/** Longest JSON of a trigger in octets. */
export const triggerBytesMax = 2048;
const defaultDeadlineMs = 60_000;
const deadlineMsMax = 7 * 24 * 3_600_000;

/** Whether a content is meant to be a trigger and no command. */
export function isTrigger(content: unknown): boolean {
  const fields = objectIn(content);
  return fields !== undefined && fields.command === undefined && typeof fields.kind === 'string';
}

/** The id under which a trigger is answered; undefined when there is none that can be used. */
export function triggerIdIn(content: unknown): string | undefined {
  const id = objectIn(content)?.id;
  return typeof id === 'string' && /^[A-Za-z0-9\-._]{1,64}$/u.test(id) ? id : undefined;
}

/** A trigger from the content of an instance; the error says what is wrong with it. */
export function readTrigger(
  content: unknown,
  origin: TriggerOrigin,
  nowMs: UnixMillis,
): Result<Trigger, string> {
  if (Buffer.byteLength(JSON.stringify(content ?? null)) > triggerBytesMax) {
    return err(`it takes more than ${triggerBytesMax} octets`);
  }
  const fields = objectIn(content);
  const id = triggerIdIn(content);
  if (fields === undefined || id === undefined) {
    return err('it has no id of 1 to 64 characters of A-Z a-z 0-9 - . _');
  }
  const { kind, target, aes, priority = 5, issuer, reason } = fields;
  if (!isOneOf(triggerKinds, kind)) return err(`its kind is none of ${triggerKinds.join(', ')}`);
  if (target !== undefined && !(typeof target === 'string' && /^\/[A-Za-z0-9._~-]{1,64}$/u.test(target))) {
    return err('its target is no CSE-ID such as /id-mn2');
  }
  if (target !== undefined && kind !== 'move') return err(`${kind} has no target`);
  if (aes !== undefined && !isNames(aes)) return err('its aes is no list of 1 to 64 names of AEs');
  if (!(typeof priority === 'number' && Number.isInteger(priority) && priority >= 1 && priority <= 10)) {
    return err('its priority is no whole number from 1 to 10');
  }
  if (!(typeof issuer === 'string' && issuer.length >= 1 && issuer.length <= 64)) {
    return err('its issuer is no text of 1 to 64 characters');
  }
  if (reason !== undefined && !(typeof reason === 'string' && reason.length <= 200)) {
    return err('its reason is no text of at most 200 characters');
  }
  const from = fields.origin ?? origin;
  if (!isOneOf(triggerOrigins, from)) return err(`its origin is none of ${triggerOrigins.join(', ')}`);
  const deadlineMs = deadlineIn(fields.deadline, nowMs);
  if (deadlineMs === undefined) {
    return err('its deadline is no time such as 20261123T170000 and no count of ms up to a week');
  }
  return ok({
    ...{ id, kind, deadlineMs, priority, issuer, origin: from },
    ...(target === undefined ? {} : { target }),
    ...(aes === undefined ? {} : { aes }),
    ...(reason === undefined ? {} : { reason }),
  });
}

/** A trigger as it was kept; undefined when it is none. */
export function keptTrigger(value: unknown): Trigger | undefined {
  const fields = fieldsOf(value);
  if (typeof fields?.deadlineMs !== 'number') return undefined;
  const { deadlineMs, ...rest } = fields;
  const read = readTrigger(rest, 'orchestrator', unixMillis(0));
  return read.ok ? { ...read.value, deadlineMs: unixMillis(deadlineMs) } : undefined;
}

function deadlineIn(deadline: unknown, nowMs: UnixMillis): UnixMillis | undefined {
  if (deadline === undefined) return unixMillis(nowMs + defaultDeadlineMs);
  if (typeof deadline === 'number') {
    return deadline > 0 && deadline <= deadlineMsMax ? unixMillis(nowMs + deadline) : undefined;
  }
  const atMs = typeof deadline === 'string' ? parseTimestamp(deadline) : undefined;
  return atMs === undefined ? undefined : unixMillis(Math.min(atMs, nowMs + deadlineMsMax));
}

function isNames(value: unknown): value is readonly string[] {
  const isName = (name: unknown): boolean =>
    typeof name === 'string' && name.length > 0 && name.length <= 128;
  return Array.isArray(value) && value.length >= 1 && value.length <= 64 && value.every(isName);
}

function isOneOf<Word extends string>(words: readonly Word[], value: unknown): value is Word {
  return (words as readonly unknown[]).includes(value);
}
