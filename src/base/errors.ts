/**
 * Errors that a caller can tell apart by `code`. Every message names the thing, the value and the way out.
 * What is expected in operation (a lost link, a 4xxx response) is a `Result`, not one of these.
 */
export abstract class BatonError extends Error {
  /** Stable, machine-readable name of the failure. */
  abstract readonly code: string;

  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** The configuration cannot be used: unknown key, missing file, value out of range. */
export class ConfigError extends BatonError {
  readonly code = 'CONFIG';
}

/** A file, socket or serial line refused what was asked of it. */
export class IoError extends BatonError {
  readonly code = 'IO';
}

/** Bytes that do not follow their format. */
export class DecodeError extends BatonError {
  readonly code = 'DECODE';
}

/** A value that must not leave this process in the form given. */
export class EncodeError extends BatonError {
  readonly code = 'ENCODE';
}

/** A deadline passed before the awaited thing happened. */
export class DeadlineError extends BatonError {
  readonly code = 'DEADLINE';
}

/** The caller withdrew the work. */
export class CancelledError extends BatonError {
  readonly code = 'CANCELLED';
}

/** A bound (queue, disk, count) is reached; the message says which and how to raise or drain it. */
export class LimitError extends BatonError {
  readonly code = 'LIMIT';
}

/** Another owner holds what must have one owner (a data directory, a serial port). */
export class BusyError extends BatonError {
  readonly code = 'BUSY';
}

/** A command line that does not make sense; the message carries the nearest valid word. */
export class UsageError extends BatonError {
  readonly code = 'USAGE';
}

/** The text of any thrown value, for a log line or a wrapped message. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The `code` of a Node system error such as `ENOENT`, or undefined. */
export function errnoCode(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
