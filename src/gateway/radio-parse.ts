/**
 * `baton radio parse`: one JSON object a line in, one a line out, in order and with bounded memory.
 *
 *     in   {"command": TEXT, "response": TEXT, "vendor"?: NAME, "model"?: TEXT, "id"?: TEXT}        other members are ignored
 *     out  {"line", "id", "vendor", "command", "result", "understood",
 *           "rat", "mcc", "mnc", "tac", "cellId", "pci", "arfcn", "band",
 *           "rsrpDbm", "rsrqDb", "sinrDb", "rssiDbm", "rscpDbm", "ecnoDb", "suspect", ... }
 *
 * The flat members are those of the first serving cell, so that one look compares them with what a collection states; the
 * rest are the members of `ModemReport`, in which every cell has all members of its type. What is not known is null.
 */
import { DecodeError, errorText } from '../base/errors.ts';
import { didYouMean, printable } from '../base/text.ts';
import type { TextWriter } from '../host/terminal.ts';
import { LineSplitter } from '../host/line-splitter.ts';
import type { ModemReport, Vendor } from '../radio/modem-report.ts';
import { parseReply } from '../radio/parse-reply.ts';
import type { DecodedReply, RecordedReply } from '../radio/parse-reply.ts';
import type { CellIdentity, CellMeasurement, Metric } from '../radio/radio-sample.ts';
import { vendors } from '../radio/vendor-table.ts';

/** Longest line that is read. */
export const parseLineBytesMax = 262_144;

const identityParts: readonly (keyof CellIdentity)[] = [
  'mcc',
  'mnc',
  'tac',
  'cellId',
  'pci',
  'arfcn',
  'band',
];
const levelNames = ['rsrpDbm', 'rsrqDb', 'sinrDb', 'rssiDbm', 'rscpDbm', 'ecnoDb'] as const;

/** Reads `input` to its end and writes one object for each line; returns how many lines there were and were bad. */
export async function parseStream(options: {
  input: AsyncIterable<Uint8Array>;
  vendor: Vendor | undefined;
  stdout: TextWriter & { readonly isBroken: boolean };
  stderr: TextWriter;
}): Promise<{ readonly lines: number; readonly bad: number }> {
  const { stdout, stderr, vendor } = options;
  let lines = 0;
  let bad = 0;
  const refuse = (reason: string): void => {
    bad++;
    stderr.write(`line ${lines}: ${printable(reason, 300)}\n`);
  };
  const numbered = new NumberedLines(
    (number, text) => {
      lines = number;
      if (text.trim() === '') return;
      try {
        stdout.write(`${JSON.stringify(decodeLine(text, number, vendor))}\n`);
      } catch (error) {
        if (!(error instanceof DecodeError)) throw error;
        refuse(error.message);
      }
    },
    (number) => {
      lines = number;
      refuse(`longer than ${parseLineBytesMax} bytes; shorten the reply`);
    },
  );
  for await (const chunk of options.input) {
    numbered.push(chunk);
    if (stdout.isBroken) break;
  }
  numbered.end();
  return { lines, bad };
}

/** Lines with their numbers; empty lines count, as in an editor. */
class NumberedLines {
  readonly #splitter: LineSplitter;
  #number = 1;

  constructor(onLine: (number: number, text: string) => void, onOverlong: (number: number) => void) {
    this.#splitter = new LineSplitter({
      lengthMax: parseLineBytesMax,
      onLine: (line) => onLine(this.#number, Buffer.from(line).toString('utf8')),
      onOverlong: () => onOverlong(this.#number),
    });
  }

  push(chunk: Uint8Array): void {
    for (let start = 0; start < chunk.length;) {
      const end = chunk.indexOf(0x0a, start);
      if (end < 0) {
        this.#splitter.push(chunk.subarray(start));
        return;
      }
      this.#splitter.push(chunk.subarray(start, end + 1));
      this.#number++;
      start = end + 1;
    }
  }

  /** Takes a last line that nothing ends. */
  end(): void {
    this.#splitter.push(Uint8Array.of(0x0a));
  }
}

function decodeLine(text: string, line: number, vendor: Vendor | undefined): object {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new DecodeError(`no JSON (${errorText(error)}); each line is an object of its own`, {
      cause: error,
    });
  }
  const { reply, id } = readRecord(value, vendor);
  return { line, id, ...describe(reply, parseReply(reply)) };
}

function readRecord(value: unknown, vendor: Vendor | undefined): { reply: RecordedReply; id: string | null } {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new DecodeError('no object; write {"command": "AT+CESQ", "response": "+CESQ: ..."}');
  const record = value as Readonly<Record<string, unknown>>;
  const text = (name: string): string | undefined => {
    const member = Object.hasOwn(record, name) ? record[name] : undefined;
    if (member === undefined || member === null) return undefined;
    if (typeof member !== 'string')
      throw new DecodeError(`"${name}" is a ${typeof member}; it must be a text`);
    return member;
  };
  const response = text('response');
  if (response === undefined) throw new DecodeError('"response" is missing; it holds what the modem printed');
  const named = text('vendor')?.toLowerCase();
  const known = vendors.find((name) => name === named);
  if (named !== undefined && known === undefined && vendor === undefined)
    throw new DecodeError(`vendor "${named}" is unknown, ${didYouMean(named, vendors)}`);
  const maker = known ?? vendor;
  const model = text('model');
  return {
    id: text('id') ?? null,
    reply: {
      command: text('command') ?? '',
      response,
      ...(maker !== undefined && { vendor: maker }),
      ...(model !== undefined && { model }),
    },
  };
}

/** A decoded reply as it is printed. */
export function describe(reply: RecordedReply, decoded: DecodedReply): object {
  const { report, result, understood } = decoded;
  return {
    vendor: reply.vendor ?? null,
    command: reply.command,
    result: result ?? null,
    understood,
    ...summaryOf(report),
    ...describeReport(report),
  };
}

/** The first serving cell, its technology and levels as plain values; `suspect` names what was not believed. */
function summaryOf(report: ModemReport): object {
  const cell = report.cells?.find(({ serving }) => serving);
  const levels: Partial<Record<(typeof levelNames)[number], Metric<number>>> = {
    ...(report.rssiDbm !== undefined && { rssiDbm: report.rssiDbm }),
    ...report.signalQuality,
    ...cell,
  };
  const suspect: string[] = [
    ...(cell?.suspectIdentity ?? []),
    ...levelNames.filter((name) => levels[name]?.suspect === true),
    ...otherSuspects(report),
  ];
  return {
    rat: cell?.rat ?? null,
    ...Object.fromEntries(identityParts.map((name) => [name, cell?.identity[name] ?? null])),
    ...Object.fromEntries(levelNames.map((name) => [name, levels[name]?.value ?? null])),
    suspect,
  };
}

/** Levels of `+CESQ` that have no place among those of a cell. */
function otherSuspects({ signalQuality = {} }: ModemReport): string[] {
  const { rxlevDbm, ssRsrpDbm, ssRsrqDb, ssSinrDb } = signalQuality;
  return Object.entries({ rxlevDbm, ssRsrpDbm, ssRsrqDb, ssSinrDb }).flatMap(([name, metric]) =>
    metric?.suspect === true ? [name] : [],
  );
}

function describeReport(report: ModemReport): object {
  const { cells, registrations, carriers, signalQuality, antennas, rssiDbm: _, ...rest } = report;
  return {
    registration: registrations?.at(0)?.state ?? null,
    operator: null,
    modemState: null,
    sim: null,
    position: null,
    ...rest,
    cells: (cells ?? []).map(describeCell),
    registrations: (registrations ?? []).map(({ domain, state, stat, tac, cellId, accessTechnology }) => ({
      domain,
      state,
      stat,
      tac: tac ?? null,
      cellId: cellId ?? null,
      accessTechnology: accessTechnology ?? null,
    })),
    ...(signalQuality !== undefined && { signalQuality: describeMetrics(signalQuality) }),
    ...(antennas !== undefined && {
      antennas: antennas.map(({ rat, ...levels }) => ({
        rat: rat ?? null,
        ...Object.fromEntries(
          Object.entries(levels).map(([name, branches]) => [name, branches.map(describeMetric)]),
        ),
      })),
    }),
    ...(carriers !== undefined && {
      carriers: carriers.map(({ role, rat, identity, bandwidthMhz, ...levels }) => ({
        role,
        rat: rat ?? null,
        identity: describeIdentity(identity),
        bandwidthMhz: bandwidthMhz ?? null,
        ...describeMetrics(levels),
      })),
    }),
  };
}

function describeCell(cell: CellMeasurement): object {
  const { rat, serving, identity, suspectIdentity = [] } = cell;
  return {
    rat,
    serving,
    identity: describeIdentity(identity),
    suspectIdentity,
    ...Object.fromEntries(levelNames.map((name) => [name, describeMetric(cell[name])])),
  };
}

function describeIdentity(identity: CellIdentity): object {
  return Object.fromEntries(identityParts.map((name) => [name, identity[name] ?? null]));
}

function describeMetrics(metrics: object): object {
  return Object.fromEntries(
    Object.entries(metrics).map(([name, metric]) => [name, describeMetric(metric as Metric<number>)]),
  );
}

/** Null for a quantity of which the reply does not speak. */
function describeMetric(metric: Metric<number> | undefined): object | null {
  return metric === undefined
    ? null
    : { value: metric.value ?? null, raw: metric.raw, suspect: metric.suspect === true };
}
