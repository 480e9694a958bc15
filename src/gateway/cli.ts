import { AssertionError } from '../base/assert.ts';
import { BatonError, CancelledError, UsageError, errorText } from '../base/errors.ts';
import { didYouMean, printable } from '../base/text.ts';
import type { Host } from '../host/host.ts';
import type { LocalSockets } from '../host/local-socket.ts';
import type { Terminal } from '../host/terminal.ts';
import { parseArguments } from './arguments.ts';
import { exitCodes } from './command.ts';
import type { Command, CommandContext, CommandOption } from './command.ts';
import { version } from './version.ts';

/** A command by name; its module is loaded when it runs, so that `baton help` costs nothing. */
export interface CommandEntry {
  readonly name: string;
  readonly summary: string;
  load(): Promise<{ readonly command: Command }>;
}

/** The commands of `baton`, in the order of the help. */
export const commandEntries: readonly CommandEntry[] = [
  {
    name: 'demo',
    summary: 'drive past simulated cells and CSEs with a real gateway in between',
    load: () => import('./commands/demo.ts'),
  },
  {
    name: 'sim',
    summary: 'simulate a gateway, its CSEs, network and disk under faults, seed by seed',
    load: () => import('./commands/sim.ts'),
  },
  { name: 'run', summary: 'run the gateway', load: () => import('./commands/run.ts') },
  {
    name: 'provision',
    summary: 'create the home AE of this gateway at the IN-CSE, once',
    load: () => import('./commands/provision.ts'),
  },
  {
    name: 'deregister',
    summary: 'end the registration of a stopped gateway for good',
    load: () => import('./commands/deregister.ts'),
  },
  {
    name: 'config',
    summary: 'make, check and explain a configuration',
    load: () => import('./commands/config.ts'),
  },
  {
    name: 'context',
    summary: 'compare a CSE with the manifest of the bundle, and repair it',
    load: () => import('./commands/context.ts'),
  },
  {
    name: 'handover',
    summary: 'move a running gateway to another CSE, or let a fenced one serve again',
    load: () => import('./commands/handover.ts'),
  },
  { name: 'status', summary: 'show what a running gateway does', load: () => import('./commands/status.ts') },
  {
    name: 'resolve',
    summary: 'tell which CSE serves a gateway, or holds a reading of it',
    load: () => import('./commands/resolve.ts'),
  },
  { name: 'cse', summary: 'find out what a CSE can do', load: () => import('./commands/cse.ts') },
  { name: 'radio', summary: 'read recorded replies of modems', load: () => import('./commands/radio.ts') },
];

/** The process around the command line. */
export interface CliEnvironment {
  readonly stdout: Terminal;
  readonly stderr: Terminal;
  readonly signal: AbortSignal;
  readonly pid: number;
  /** Opens the machine; called only for a command that runs. */
  openHost(): Promise<{ readonly host: Host; readonly localSockets: LocalSockets }>;
  /** Other commands than those of `baton`, for tests. */
  readonly entries?: readonly CommandEntry[];
}

const commonOptions: Readonly<Record<string, CommandOption>> = {
  help: { type: 'flag', summary: 'show this help' },
  debug: { type: 'flag', summary: 'show where an error came from' },
};

/** Runs one command line (without `node` and the script) and gives the exit code. Never throws. */
export async function runCli(args: readonly string[], environment: CliEnvironment): Promise<number> {
  const isDebug = args.includes('--debug');
  try {
    return await dispatch(args, environment);
  } catch (error) {
    if (error instanceof CancelledError && environment.signal.aborted) return exitCodes.ok;
    return reportError(error, environment.stderr, isDebug);
  }
}

async function dispatch(args: readonly string[], environment: CliEnvironment): Promise<number> {
  const entries = environment.entries ?? commandEntries;
  const at = args.findIndex((arg) => !arg.startsWith('-'));
  const before = at === -1 ? args : args.slice(0, at);
  const globals: Readonly<Record<string, CommandOption>> = {
    ...commonOptions,
    version: { type: 'flag', summary: 'show the version' },
  };
  const { options } = parseArguments(
    before.map((arg) => (arg === '-h' ? '--help' : arg)),
    globals,
    0,
  );
  if (options.flag('version')) {
    environment.stdout.write(`baton ${version}\n`);
    return exitCodes.ok;
  }
  const name = args[at] ?? 'help';
  const rest = args.slice(at === -1 ? args.length : at + 1);
  if (name === 'help') return help(rest, entries, environment.stdout);
  const { command } = await findEntry(name, entries).load();
  if (options.flag('help')) return help([name], entries, environment.stdout);
  return runCommand(command, rest, environment);
}

async function runCommand(
  command: Command,
  args: readonly string[],
  environment: CliEnvironment,
): Promise<number> {
  const declared = { ...command.options, ...commonOptions };
  const helped = args.map((arg) => (arg === '-h' ? '--help' : arg));
  if (helped.includes('--help')) {
    environment.stdout.write(commandHelp(command));
    return exitCodes.ok;
  }
  const { options, words } = parseArguments(helped, declared, command.wordsMax ?? 0);
  const { host, localSockets } = await environment.openHost();
  const { stdout, stderr, signal, pid } = environment;
  const context: CommandContext = {
    stdout,
    stderr,
    host,
    localSockets,
    signal,
    isTty: stdout.isTty,
    options,
    words,
    pid,
  };
  return command.run(context);
}

async function help(
  args: readonly string[],
  entries: readonly CommandEntry[],
  stdout: Terminal,
): Promise<number> {
  const { words } = parseArguments(args, commonOptions, 1);
  const [name] = words;
  if (name === undefined || name === 'help') stdout.write(generalHelp(entries));
  else stdout.write(commandHelp((await findEntry(name, entries).load()).command));
  return exitCodes.ok;
}

function findEntry(name: string, entries: readonly CommandEntry[]): CommandEntry {
  const entry = entries.find((known) => known.name === name);
  if (entry !== undefined) return entry;
  const names = [...entries.map((known) => known.name), 'help'];
  throw new UsageError(`unknown command "${name}", ${didYouMean(name, names)}`);
}

function generalHelp(entries: readonly CommandEntry[]): string {
  const commands = entries.map(({ name, summary }) => [name, summary] as const);
  return [
    'Usage: baton COMMAND [OPTION]...',
    '',
    'Moves the AEs of a gateway between radio links and between MN-CSEs; nothing lost, nothing doubled.',
    '',
    'Commands:',
    ...table([...commands, ['help [COMMAND]', 'show this help, or that of a command']]),
    '',
    'Options:',
    ...table([
      ['--version', 'show the version'],
      ['--debug', 'show where an error came from'],
    ]),
    '',
    'Exit codes:',
    ...table([
      ['0', 'done'],
      [
        '1',
        'it could not be done; one line on standard error says why (demo, sim: something was lost or doubled)',
      ],
      ['2', 'the command line does not make sense'],
      ['70', 'a defect in Baton'],
      ['130', 'a second Ctrl-C cut the orderly end short'],
    ]),
    '',
  ].join('\n');
}

function commandHelp(command: Command): string {
  const options = Object.entries({ ...command.options, ...commonOptions }).map(
    ([name, option]) =>
      [`--${name}${option.type === 'flag' ? '' : ` ${option.argument ?? 'VALUE'}`}`, option.summary] as const,
  );
  const usage = command.usage.map((line, index) => `${index === 0 ? 'Usage:' : '      '} baton ${line}`);
  const details = command.details === undefined ? [] : ['', command.details];
  return [
    ...usage,
    '',
    `${command.name}: ${command.summary}`,
    ...details,
    '',
    'Options:',
    ...table(options),
    '',
  ].join('\n');
}

function table(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`);
}

/** One clear line for the user; for a defect also where it is. */
function reportError(error: unknown, stderr: Terminal, isDebug: boolean): number {
  const isExpected = error instanceof BatonError && !(error instanceof AssertionError);
  const text = errorText(error) || 'unknown error';
  const lines = text.split('\n').map((line) => printable(line, 1000));
  const hint = error instanceof UsageError ? ' (baton help shows what there is)' : '';
  const label = isExpected ? '' : 'a defect in Baton: ';
  stderr.write(`baton: ${label}${lines.join('\n')}${hint}\n`);
  if ((isDebug || !isExpected) && error instanceof Error) stderr.write(`${stackOf(error)}\n`);
  if (error instanceof UsageError) return exitCodes.usage;
  return isExpected ? exitCodes.failed : exitCodes.defect;
}

function stackOf(error: Error): string {
  const stacks: string[] = [];
  for (let at: unknown = error; at instanceof Error && stacks.length < 5; at = at.cause) {
    stacks.push(at.stack ?? at.message);
  }
  return stacks.join('\ncaused by: ').replace(/[^\P{Cc}\n]/gu, '?');
}
