/**
 * What a command is, and what it came to, as both stand in contentInstances.
 *
 * A command is a JSON object (or its text) of at most 4096 octets, put into `<device>/cmd` at the serving CSE or into
 * `<device>-home/cmd` at the IN-CSE:
 *
 *     {
 *       "id": "c-17",        the sender's own name for it, 1 to 128 characters, not beginning with "/"; the address of
 *                            its resource (`/id-mn1/cin42`) where it has none
 *       "target": "relay1",  the actuator ("actuator" means the same); the gateway itself when absent
 *       "command": "set",    what to do, 1 to 64 characters
 *       "value": …,          its argument, as the actuator wants it
 *       "expires": …         UTC as `20261123T170000`, or milliseconds after the creation of the instance: a number, or
 *                            text as in a relative oneM2M time; it ends with the instance's `expirationTime` at the latest
 *     }
 *
 * It is answered by one reading of the stream `results`, priority 10:
 *
 *     {
 *       "id": "c-17", "target": "relay1", "command": "set",
 *       "status": "done" | "failed" | "expired" | "rejected" | "unknown",
 *       "reason": "…",       unless it is done
 *       "value": …,          what the actuator gave back, if anything
 *       "received": …, "begun": …, "ended": …   milliseconds since 1970 by the gateway's clock; no "begun" without effect
 *     }
 *
 * `failed`: the actuator refused, nothing took effect. `expired`, `rejected`: it was never begun. `unknown`: it was begun
 * and nobody can say how it ended; the gateway does not begin it again.
 */
import { DecodeError, errorText } from '../base/errors.ts';
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { printable } from '../base/text.ts';
import { unixMillis } from '../base/units.ts';
import type { UnixMillis } from '../base/units.ts';
import { parseTimestamp } from '../onem2m/primitives.ts';

/** One command that may be carried out. */
export interface Command {
  /** The sender's own identifier, or the SP-relative address of the contentInstance. */
  readonly id: string;
  /** Name of the actuator; `gatewayTarget` when the command names none. */
  readonly target: string;
  readonly command: string;
  readonly value?: unknown;
  /** Its place in the order of acceptance over all runs. */
  readonly number: number;
  /** When it ceases to be worth carrying out. */
  readonly expiresMs?: UnixMillis;
  /** CSE that held it, SP-relative. */
  readonly cseId: string;
  readonly receivedMs: UnixMillis;
}

export type CommandStatus = 'done' | 'failed' | 'expired' | 'rejected' | 'unknown';

/** What a command came to; see the header of this file. */
export interface CommandResult {
  readonly id: string;
  readonly target?: string;
  readonly command?: string;
  readonly status: CommandStatus;
  readonly reason?: string;
  readonly value?: unknown;
  readonly received: UnixMillis;
  readonly begun?: UnixMillis;
  readonly ended: UnixMillis;
}

/** Target of commands that name none: the gateway itself. */
export const gatewayTarget = 'gateway';

/** Longest JSON of a command in octets. */
export const commandBytesMax = 4096;

const idLengthMax = 128;
const nameLengthMax = 64;
/** Thirty years. */
const afterMsMax = 1e12;

/** A contentInstance as a notification or a RETRIEVE shows it. */
export interface HeldInstance {
  /** CSE-ID of the CSE that holds it, SP-relative; undefined when the notification does not tell. */
  readonly cseId: string | undefined;
  readonly resourceId: string | undefined;
  readonly resourceName: string | undefined;
  readonly content: unknown;
  readonly createdMs: UnixMillis | undefined;
  /** Its `expirationTime`. */
  readonly endsMs: UnixMillis | undefined;
}

/** What became of an instance: it is safe here, was known, is answered as no command, or does not fit in now. */
export type Taken = 'taken' | 'known' | 'rejected' | 'full';

/** The contentInstance in a notification or an answer; throws `DecodeError` when there is none. */
export function heldInstance(value: unknown, cseId: string | undefined): HeldInstance {
  const fields = fieldsOf(value);
  if (fields === undefined) throw new DecodeError('there is no contentInstance');
  return {
    cseId,
    resourceId: textOf(fields.resourceId),
    resourceName: textOf(fields.resourceName),
    content: fields.content,
    createdMs: timeOf(fields.creationTime),
    endsMs: timeOf(fields.expirationTime),
  };
}

/** SP-relative address of an instance, which names a command that has no `id`; undefined when it has no resource ID. */
export function addressOf({ cseId, resourceId }: HeldInstance): string | undefined {
  if (resourceId === undefined || resourceId === '' || resourceId.length > idLengthMax) return undefined;
  return `${cseId ?? '/?'}/${resourceId.split('/').pop() ?? ''}`;
}

/** Content as an object: a sender may also write it as text. */
export function objectIn(content: unknown): Readonly<Record<string, unknown>> | undefined {
  if (typeof content !== 'string') return Array.isArray(content) ? undefined : fieldsOf(content);
  if (content.length > commandBytesMax || !content.trimStart().startsWith('{')) return undefined;
  try {
    return fieldsOf(JSON.parse(content));
  } catch {
    return undefined;
  }
}

/** The `id` that a sender gave; undefined when there is none that can be used. */
export function idIn(content: unknown): string | undefined {
  const id = textOf(objectIn(content)?.id);
  return id === undefined || !isIdentifier(id) ? undefined : id;
}

/** What the sender wants, without its place in the order; the error says what is wrong with it. */
export function readCommand(
  instance: HeldInstance,
  id: string,
  receivedMs: UnixMillis,
): Result<Omit<Command, 'number'>, string> {
  const size = sizeOf(instance.content);
  if (typeof size === 'string') return err(size);
  if (size > commandBytesMax) return err(`it takes ${size} octets; at most ${commandBytesMax}`);
  const fields = objectIn(instance.content);
  if (fields === undefined) return err('its content is no JSON object');
  if (fields.id !== undefined && idIn(fields) === undefined) {
    return err(`its id is no text of 1 to ${idLengthMax} characters that does not begin with "/"`);
  }
  const { command, value } = fields;
  if (!isName(command)) return err(`its command is no text of 1 to ${nameLengthMax} characters`);
  const target = fields.target ?? fields.actuator ?? gatewayTarget;
  if (!isName(target)) return err(`its target is no text of 1 to ${nameLengthMax} characters`);
  const expiresMs = expiryIn(fields.expires, instance, receivedMs);
  if (expiresMs === 'wrong') {
    return err(`its expires ${shown(fields.expires)} is no time such as 20261123T170000 and no count of ms`);
  }
  return ok({
    id,
    target,
    command,
    ...(value === undefined ? {} : { value }),
    ...(expiresMs === undefined ? {} : { expiresMs }),
    cseId: instance.cseId ?? '',
    receivedMs,
  });
}

function expiryIn(
  expires: unknown,
  { createdMs, endsMs }: HeldInstance,
  receivedMs: UnixMillis,
): UnixMillis | undefined | 'wrong' {
  if (expires === undefined || expires === null) return endsMs;
  const relative =
    typeof expires === 'string' && /^[+-]?\d{1,12}$/u.test(expires) ? Number(expires) : expires;
  const absolute = typeof relative === 'string' ? parseTimestamp(relative) : undefined;
  const afterMs = typeof relative === 'number' && Math.abs(relative) <= afterMsMax ? relative : undefined;
  if (absolute === undefined && afterMs === undefined) return 'wrong';
  const own = absolute ?? (createdMs ?? receivedMs) + (afterMs ?? 0);
  return unixMillis(Math.min(own, endsMs ?? own));
}

function sizeOf(content: unknown): number | string {
  try {
    return Buffer.byteLength(JSON.stringify(content ?? null));
  } catch (error) {
    return `it cannot be written as JSON: ${errorText(error)}`;
  }
}

function isIdentifier(id: string): boolean {
  return id.length > 0 && id.length <= idLengthMax && !id.startsWith('/');
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value.length > 0 && value.length <= nameLengthMax;
}

function timeOf(value: unknown): UnixMillis | undefined {
  const ms = typeof value === 'string' ? parseTimestamp(value) : undefined;
  return ms === undefined ? undefined : unixMillis(ms);
}

function shown(value: unknown): string {
  return typeof value === 'string' ? `"${printable(value, 40)}"` : `of type ${typeof value}`;
}

/** An object, or an array, as fields; undefined for anything else. */
export function fieldsOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
}

/** A text; undefined for anything else. */
export function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
