import { NodeClock } from '../../src/host/clock.ts';
import { parseReply } from '../../src/radio/parse-reply.ts';
import { vendors } from '../../src/radio/vendor-table.ts';
import { problemsOf } from '../radio/report-checks.ts';
import { atReplies } from './at-replies-table.ts';
import { mutate } from './mutate.ts';
import { PureSubject, expect } from './target.ts';
import type { Dice, Input, Target } from './target.ts';

/**
 * Replies of modems, from their octets to the report. A channel is the maker and, after a blank, the command. The oracles: no
 * throw, no value that cannot be or is not in the reply, no line that takes more than a millisecond.
 */
export const atTarget: Target = {
  name: 'at',
  open: () => new ReplySubject(),
  generate: (dice) => generate(dice),
};

const lineMsMax = 1;
const clock = new NodeClock();
const numbers = [
  '0', '-0', '1', '-1', '97', '98', '99', '127', '255', '-44', '-140', '-157', '-3276', '-32768', '32767', '65535', '4294967295',
  'FFFF', 'FFFFFFF', 'FFFFFFFFF', '0x1A', '-', '--', '', '-7.-50', '1e9', 'NaN', 'Infinity', '99999999999', '-10.5', '\u201d', '000',
]; // prettier-ignore
const pieces = [
  '\r\n',
  ',',
  '"',
  ' ',
  '\0',
  '+QENG:',
  '+CESQ: ',
  'OK',
  'ERROR',
  '\r\r\n',
  '...',
  'RING\r\n',
  '+CEREG: 1\r\n',
];

function generate(dice: Dice): () => Input {
  return () => {
    const [vendor, command, reply] = dice.pick(atReplies);
    const named = dice.oneIn(8) ? dice.pick(vendors) : vendor;
    const channel = `${named} ${dice.oneIn(10) ? '' : command}`;
    if (dice.oneIn(30)) return { channel, data: dice.bytes(dice.below(200)) };
    let text = reply;
    for (let count = dice.below(5); count > 0; count--) text = change(dice, text);
    const data = Buffer.from(text, 'utf8');
    return { channel, data: dice.oneIn(4) ? mutate(dice, data) : data };
  };
}

/** One change of the kind that firmware makes: another number, a column more or less, something in between, two glued. */
function change(dice: Dice, text: string): string {
  const at = dice.below(text.length + 1);
  switch (dice.below(7)) {
    case 0:
    case 1: {
      const fields = text.split(',');
      fields[dice.below(fields.length)] = dice.oneIn(2)
        ? dice.pick(numbers)
        : String(dice.below(140_000) - 70_000);
      return fields.join(',');
    }
    case 2: {
      const fields = text.split(',');
      fields.splice(dice.below(fields.length), 1);
      return fields.join(',');
    }
    case 3: {
      const fields = text.split(',');
      fields.splice(dice.below(fields.length), 0, dice.pick(numbers));
      return fields.join(',');
    }
    case 4:
      return text.slice(0, at) + dice.pick(pieces) + text.slice(at);
    case 5:
      return text.slice(0, at);
    default:
      return text.length > 4000 ? text : text + dice.pick(atReplies)[2];
  }
}

const nothingReached = {
  cells: 0,
  suspects: 0,
  refusedRows: 0,
  nothing: 0,
  positions: 0,
  carriers: 0,
  registrations: 0,
};

class ReplySubject extends PureSubject<keyof typeof nothingReached> {
  constructor() {
    super({ ...nothingReached });
  }

  feed({ channel, data }: Input): void {
    const [vendor, ...rest] = channel.split(' ');
    const response = Buffer.from(data).toString('utf8');
    const known = vendors.find((name) => name === vendor);
    const reply = { command: rest.join(' '), response, ...(known !== undefined && { vendor: known }) };
    const lines = Math.max(1, response.split(/[\r\n]+/u).length);
    const startMs = clock.monotonicMs();
    const { report } = parseReply(reply);
    if (clock.monotonicMs() - startMs > lineMsMax * lines) this.#confirmSlow(reply, lines);
    const problems = problemsOf(report, response);
    expect(problems.length === 0, () => `${problems[0]} in ${JSON.stringify(response).slice(0, 300)}`);
    this.#count(report);
  }

  /** A pause of the machine is no slowness: the least of several tries counts. */
  #confirmSlow(reply: Parameters<typeof parseReply>[0], lines: number): void {
    const tries = Array.from({ length: 8 }, () => {
      const startMs = clock.monotonicMs();
      parseReply(reply);
      return clock.monotonicMs() - startMs;
    });
    expect(
      Math.min(...tries) <= lineMsMax * lines,
      () => `over ${lineMsMax} ms a line: ${Math.min(...tries)} ms`,
    );
  }

  #count(report: ReturnType<typeof parseReply>['report']): void {
    const { cells = [], refusedRows = 0, position, carriers, registrations } = report;
    if (cells.length > 0) this.count('cells');
    if (cells.some((cell) => cell.rsrpDbm?.suspect === true || cell.suspectIdentity !== undefined))
      this.count('suspects');
    if (refusedRows > 0) this.count('refusedRows');
    if (position !== undefined) this.count('positions');
    if (carriers !== undefined) this.count('carriers');
    if (registrations !== undefined) this.count('registrations');
    if (Object.keys(report).length === 0) this.count('nothing');
  }
}
