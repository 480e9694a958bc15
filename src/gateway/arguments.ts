import { parseArgs } from 'node:util';
import { UsageError } from '../base/errors.ts';
import { didYouMean } from '../base/text.ts';
import { OptionValues } from './command.ts';
import type { CommandOption } from './command.ts';

/** A command line after its command. */
export interface ParsedArguments {
  readonly options: OptionValues;
  readonly words: readonly string[];
}

/** Takes arguments apart by the declared options; throws `UsageError` naming the argument and the nearest valid one. */
export function parseArguments(
  args: readonly string[],
  declared: Readonly<Record<string, CommandOption>>,
  wordsMax: number,
): ParsedArguments {
  const { tokens } = parseArgs({
    args: [...args],
    options: Object.fromEntries(
      Object.entries(declared).map(([name, { type }]) => [
        name,
        { type: type === 'flag' ? 'boolean' : 'string' },
      ]),
    ),
    strict: false,
    tokens: true,
    allowPositionals: true,
  });
  const values = new Map<string, string | number | true>();
  const words: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') words.push(token.value);
    if (token.kind !== 'option') continue;
    const option = Object.hasOwn(declared, token.name) ? declared[token.name] : undefined;
    if (option === undefined || !token.rawName.startsWith('--')) throw unknownOption(token.rawName, declared);
    if (values.has(token.name)) throw new UsageError(`${token.rawName} is given twice; give it once`);
    values.set(token.name, readValue(token.rawName, option, token.value, token.inlineValue === true));
  }
  if (words.length > wordsMax) {
    throw new UsageError(`"${words[wordsMax]}" is one word too many; quote words that belong together`);
  }
  return { options: new OptionValues(values), words };
}

function unknownOption(rawName: string, declared: Readonly<Record<string, CommandOption>>): UsageError {
  const names = Object.keys(declared).map((name) => `--${name}`);
  return new UsageError(`unknown option "${rawName}", ${didYouMean(rawName, names)}`);
}

function readValue(
  rawName: string,
  option: CommandOption,
  value: string | undefined,
  isInline: boolean,
): string | number | true {
  if (option.type === 'flag') {
    if (value !== undefined) throw new UsageError(`${rawName} takes no value; write ${rawName} alone`);
    return true;
  }
  const argument = option.argument ?? 'VALUE';
  // `--config --json` is a forgotten value rather than a file named "--json".
  if (value === undefined || value === '' || (!isInline && value.startsWith('--'))) {
    throw new UsageError(`${rawName} needs a value: ${rawName} ${argument}`);
  }
  if (option.type === 'number') return readNumber(rawName, option, value);
  if (option.among !== undefined && !option.among.includes(value)) {
    throw new UsageError(`${rawName} "${value}" is unknown, ${didYouMean(value, option.among)}`);
  }
  return value;
}

function readNumber(rawName: string, option: CommandOption, text: string): number {
  const value = /^-?\d+(\.\d+)?$/u.test(text) ? Number(text) : Number.NaN;
  const { min = 0, max = Number.MAX_SAFE_INTEGER, fraction = false } = option;
  if (value >= min && value <= max && (fraction || Number.isSafeInteger(value))) return value;
  const what = fraction ? 'a number' : 'a whole number';
  throw new UsageError(`${rawName} "${text}" is not ${what} from ${min} to ${max}`);
}
