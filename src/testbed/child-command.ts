import { UsageError } from '../base/errors.ts';
import { didYouMean, printable } from '../base/text.ts';

/**
 * The command of a line `{"cmd":NAME}` that a testbed process reads. Throws `UsageError` for anything but one of
 * `names`.
 */
export function parseChildCommand(line: string, names: readonly string[]): string {
  let command: unknown;
  try {
    const parsed: unknown = JSON.parse(line);
    command = typeof parsed === 'object' && parsed !== null && 'cmd' in parsed ? parsed.cmd : undefined;
  } catch {
    command = undefined;
  }
  if (typeof command !== 'string') {
    throw new UsageError(
      `not a command: ${printable(line)}; send one JSON object a line, such as {"cmd":"${names[0]}"}`,
    );
  }
  if (!names.includes(command))
    throw new UsageError(`unknown command "${printable(command)}": ${didYouMean(command, names)}`);
  return command;
}

/** A whole number of at least 0 from a command line. Throws `UsageError` naming the option. */
export function parseCount(option: string, text: string): number {
  if (!/^\d{1,15}$/.test(text))
    throw new UsageError(`--${option} needs a whole number, got "${printable(text)}"`);
  return Number(text);
}
