import { UsageError } from '../base/errors.ts';
import { didYouMean } from '../base/text.ts';
import type { Host } from '../host/host.ts';
import type { LocalSockets } from '../host/local-socket.ts';
import type { Terminal } from '../host/terminal.ts';

/** Exit codes of `baton`. */
export const exitCodes = {
  ok: 0,
  /** What was asked for could not be done, or a verdict is "fail". */
  failed: 1,
  /** The command line does not make sense. */
  usage: 2,
  /** A defect in Baton. */
  defect: 70,
  /** A second Ctrl-C (or SIGTERM) cut the orderly end short. */
  interrupted: 130,
} as const;

/** One option of a command. */
export interface CommandOption {
  readonly type: 'text' | 'number' | 'flag';
  /** Name of the value in the help, for example `FILE`. */
  readonly argument?: string;
  readonly summary: string;
  /** Bounds of a number; whole numbers only unless `fraction`. */
  readonly min?: number;
  readonly max?: number;
  readonly fraction?: boolean;
  /** The words that a text may be. */
  readonly among?: readonly string[];
}

/** A command of `baton`; its module exports it as `command`. */
export interface Command {
  readonly name: string;
  readonly summary: string;
  /** One line for each way of calling it, without the leading `baton`. */
  readonly usage: readonly string[];
  readonly options: Readonly<Record<string, CommandOption>>;
  /** Words beside the options at most; default none. */
  readonly wordsMax?: number;
  /** More for `baton help NAME`. */
  readonly details?: string;
  /** Does the work and gives the exit code. What it throws is told to the user in one line. */
  run(context: CommandContext): Promise<number>;
}

/** What a command works with. */
export interface CommandContext {
  readonly stdout: Terminal;
  readonly stderr: Terminal;
  readonly host: Host;
  readonly localSockets: LocalSockets;
  /** Aborts at the first SIGINT or SIGTERM: end in order and return. */
  readonly signal: AbortSignal;
  /** Whether a person looks at `stdout`. */
  readonly isTty: boolean;
  readonly options: OptionValues;
  /** Words beside the options. */
  readonly words: readonly string[];
  /** Process id of this process. */
  readonly pid: number;
}

/** The options that were given, checked by their declaration. */
export class OptionValues {
  readonly #values: ReadonlyMap<string, string | number | true>;

  constructor(values: ReadonlyMap<string, string | number | true>) {
    this.#values = values;
  }

  text(name: string): string | undefined {
    const value = this.#values.get(name);
    return typeof value === 'string' ? value : undefined;
  }

  number(name: string): number | undefined {
    const value = this.#values.get(name);
    return typeof value === 'number' ? value : undefined;
  }

  flag(name: string): boolean {
    return this.#values.get(name) === true;
  }
}

/** The word at `index`; throws `UsageError` naming what is wanted when it is missing or none of `among`. */
export function requireWord(
  context: CommandContext,
  index: number,
  what: string,
  among?: readonly string[],
): string {
  const word = context.words[index];
  if (word === undefined) {
    throw new UsageError(`${what} is missing${among === undefined ? '' : `, valid: ${among.join(', ')}`}`);
  }
  if (among !== undefined && !among.includes(word)) {
    throw new UsageError(`unknown ${what} "${word}", ${didYouMean(word, among)}`);
  }
  return word;
}
