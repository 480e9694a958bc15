import { exitCodes, requireWord } from '../command.ts';
import type { Command } from '../command.ts';
import { vendors } from '../../radio/vendor-table.ts';
import { parseStream } from '../radio-parse.ts';

const actions = ['parse'] as const;

/** `baton radio`: what is known of the radios, and how their replies are read. */
export const command: Command = {
  name: 'radio',
  summary: 'read recorded replies of modems',
  usage: ['radio parse [--vendor NAME] < lines.jsonl'],
  options: {
    vendor: {
      type: 'text',
      argument: 'NAME',
      summary: 'maker of the modem where a line names none',
      among: vendors,
    },
  },
  wordsMax: 1,
  details: [
    'parse  takes one JSON object a line, {"command": "AT+CESQ", "response": "+CESQ: ..."}, if wanted with "vendor",',
    '       "model" and "id", and prints one JSON object for each: the levels and the identity of the serving cell',
    '       (null where not known), `suspect` with the names of those that were printed but not believed, and all that',
    '       the reply says in the form of the public types: `cells`, `registrations`, `operator`, `carriers` ...',
    '       A line that cannot be read is told on standard error with its number, and the exit code is 1.',
    `Makers: ${vendors.join(', ')}`,
  ].join('\n'),
  async run(context) {
    requireWord(context, 0, 'action', actions);
    const { openStandardInput } = await import('../../host/standard-input.ts');
    const { bad } = await parseStream({
      input: openStandardInput(context.signal),
      vendor: vendors.find((name) => name === context.options.text('vendor')),
      stdout: context.stdout,
      stderr: context.stderr,
    });
    return bad === 0 ? exitCodes.ok : exitCodes.failed;
  },
};
