import { stringify } from 'yaml';
import { UsageError } from '../../base/errors.ts';
import { exitCodes, requireWord } from '../command.ts';
import type { Command, CommandContext } from '../command.ts';
import { loadConfig } from '../load-config.ts';
import { explainKey } from '../config-explain.ts';
import { exampleConfig } from '../config-example.ts';

const actions = ['init', 'check', 'explain'] as const;

/** `baton config`: an example to begin with, a check before a trial, the meaning of a key. */
export const command: Command = {
  name: 'config',
  summary: 'make, check and explain a configuration',
  usage: ['config init > FILE', 'config check FILE', 'config explain [KEY]'],
  options: {},
  wordsMax: 2,
  details: [
    'init     prints a small configuration with comments',
    'check    reports everything that is wrong with FILE, or prints it with every default filled in',
    'explain  says what a key means, its limits, unit and default; without KEY it lists all keys',
  ].join('\n'),
  async run(context) {
    const action = requireWord(context, 0, 'action', actions);
    context.stdout.write(await perform(action, context));
    return exitCodes.ok;
  },
};

async function perform(action: string, context: CommandContext): Promise<string> {
  if (action === 'check') {
    const config = await loadConfig(context.host.filesystem, requireWord(context, 1, 'FILE'));
    return stringify(config);
  }
  if (action === 'explain') return explainKey(context.words[1] ?? '');
  if (context.words[1] !== undefined) {
    throw new UsageError(
      `"config init" takes no further word; redirect its output: config init > ${context.words[1]}`,
    );
  }
  return exampleConfig;
}
