import { printable } from '../../base/text.ts';
import { millis } from '../../base/units.ts';
import { exitCodes, requireWord } from '../command.ts';
import type { Command, CommandContext } from '../command.ts';
import { ControlClient } from '../control-client.ts';
import { isRecord } from '../control-protocol.ts';
import { dataDirectoryOf, gatewayOptions } from '../data-directory-option.ts';

/** A look at 40 AEs over a slow link, twice, and what is repaired between. */
const answerMs = millis(60_000);

/** `baton context`: the manifest of the bundle against what a CSE holds. */
export const command: Command = {
  name: 'context',
  summary: 'compare a CSE with the manifest of the bundle, and repair it',
  usage: ['context diff|repair [--cse CSE] [--config FILE | --data DIR] [--json]'],
  options: {
    cse: {
      type: 'text',
      argument: 'CSE',
      summary: 'CSE-ID of a candidate; the CSE that serves when absent',
    },
    ...gatewayOptions,
    json: { type: 'flag', summary: 'print one JSON object' },
  },
  wordsMax: 1,
  details:
    'The running gateway is asked. What others made under its AEs is shown as foreign; it is no difference and is left alone.\n' +
    'The exit code is 0 when the CSE is as the manifest says, or was brought to it, else 1.',
  async run(context) {
    const { options } = context;
    const word = requireWord(context, 0, 'what to do', ['diff', 'repair']);
    const client = await ControlClient.open(
      { ...context, clock: context.host.clock },
      await dataDirectoryOf(context),
    );
    try {
      const cse = options.text('cse');
      const order = { ...(cse === undefined ? {} : { cse }), ...(word === 'repair' ? { repair: true } : {}) };
      return tell(context, await client.request('context', order, answerMs));
    } finally {
      client.close();
    }
  },
};

function tell({ options, stdout }: CommandContext, answer: unknown): number {
  const fields = isRecord(answer) ? answer : {};
  const found = differencesIn(fields['differences']);
  const left = fields['repaired'] === true ? differencesIn(fields['remaining']) : found;
  const isWhole = fields['accepted'] === true && left.every(({ kind }) => kind === 'foreign');
  const exitCode = isWhole ? exitCodes.ok : exitCodes.failed;
  if (options.flag('json')) {
    stdout.write(`${JSON.stringify(fields)}\n`);
    return exitCode;
  }
  if (fields['accepted'] !== true) {
    stdout.write(`refused: ${textOf(fields['reason'], 'no reason given')}\n`);
    return exitCode;
  }
  stdout.write(
    `${textOf(fields['cse'], 'the CSE')} holds the bundle as ${textOf(fields['state'], 'unknown')}\n`,
  );
  for (const difference of found) stdout.write(line(difference));
  if (fields['repaired'] === true) stdout.write(isWhole ? 'repaired\n' : 'not all of it could be repaired\n');
  else if (isWhole) stdout.write('as the manifest says\n');
  return exitCode;
}

function line({ kind, address, attributes, creator }: Readonly<Record<string, unknown>>): string {
  const names = Array.isArray(attributes) ? ` (${attributes.map(String).join(', ')})` : '';
  const by = typeof creator === 'string' ? ` by ${creator}` : '';
  return `${textOf(kind, '').padEnd(8)} ${printable(`${String(address)}${names}${by}`, 300)}\n`;
}

function differencesIn(value: unknown): Readonly<Record<string, unknown>>[] {
  return Array.isArray(value) ? value.filter(isRecord) : [];
}

function textOf(value: unknown, otherwise: string): string {
  return typeof value === 'string' ? printable(value, 300) : otherwise;
}
