import { mergeReports } from './modem-report.ts';
import type { Dialect, DialectCommand, ModemReport, SimState, Vendor } from './modem-report.ts';
import { dialects } from './vendor-table.ts';
import { simStateOfError } from './vendor/generic.ts';

/** A reply as it came from the line, with whatever echo and blank lines it has. */
export interface RecordedReply {
  readonly vendor?: Vendor;
  readonly model?: string;
  /** What was sent; may be several commands, and may be wrong. */
  readonly command: string;
  readonly response: string;
}

/** What a recorded reply says. */
export interface DecodedReply {
  readonly report: ModemReport;
  /** The final result of the reply, undefined where it has none. */
  readonly result?: string;
  /** Names of the commands and unsolicited lines that were understood, for example `+QENG`. */
  readonly understood: readonly string[];
}

const prefixes = /(?:^|[\r\n]|\s\s|-)\s*([+^!#$%*&][A-Z0-9_]{1,24}):/gi;
const commandNames = /(?:^|;|\r|\n)\s*(?:AT)?([+^!#$%*&][A-Z0-9_]{1,24})/gi;
const finalResult = /^\s*(OK|ERROR|COMMAND NOT SUPPORT|NO CARRIER|\+CM[ES] ERROR:.*?)\s*$/gim;
const charactersMax = 65_536;

/**
 * Decodes a recorded reply: every known line in it by its prefix, and replies without prefixes by the command. The dialect
 * of `vendor` comes first where two define the same prefix, then the generic one, then the others. Never throws.
 */
export function parseReply(reply: RecordedReply): DecodedReply {
  const text = reply.response.slice(0, charactersMax);
  const lines = text.split(/[\r\n]+/);
  const names = namesIn(reply.command, text);
  const result = [...text.matchAll(finalResult)].at(-1)?.[1];
  let report: ModemReport = {};
  const understood: string[] = [];
  const known = new Set<string>();
  for (const dialect of orderOf(reply.vendor)) {
    const parsers = new Set<DialectCommand['parse']>();
    const claimed: string[] = [];
    for (const command of dialect.commands) {
      if (!names.has(command.name) || known.has(command.name)) continue;
      claimed.push(command.name);
      if (parsers.has(command.parse)) continue;
      parsers.add(command.parse);
      const part = command.parse(lines, {
        command: reply.command,
        ...(reply.model !== undefined && { model: reply.model }),
      });
      if (Object.keys(part).length > 0 && !understood.includes(command.name)) understood.push(command.name);
      report = mergeReports(report, part);
    }
    for (const name of claimed) known.add(name);
  }
  const sim = result === undefined ? undefined : simStateOfError(result);
  if (sim !== undefined) report = mergeReports(report, simReport(sim));
  return { report, understood, ...(result !== undefined && { result }) };
}

function simReport(sim: SimState): ModemReport {
  return { sim };
}

function orderOf(vendor: Vendor | undefined): readonly Dialect[] {
  const first = vendor === undefined || vendor === 'generic' ? [] : [dialects[vendor]];
  const rest = Object.values(dialects).filter(
    (dialect) => dialect.vendor !== vendor && dialect.vendor !== 'generic',
  );
  return [...first, dialects.generic, ...rest];
}

function namesIn(command: string, text: string): Set<string> {
  const names = new Set<string>();
  for (const source of [text.matchAll(prefixes), command.slice(0, 1024).matchAll(commandNames)]) {
    for (const [, name] of source) {
      if (names.size < 64) names.add(name?.toUpperCase() ?? '');
    }
  }
  if (/^\s*ATI\d?\s*$/i.test(command) || /^\s*(?:Manufacturer|Model):/im.test(text)) names.add('I');
  return names;
}
