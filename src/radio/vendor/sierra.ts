/**
 * Sierra Wireless (AT Command Reference, protected commands). The replies are tables for people: values are found by
 * their labels, two to a line, parted by blanks or tabs; `--` and `---` mean "not known". Identities read
 * `hexadecimal (decimal)`, of which the decimal counts. Of two receive branches the better one counts.
 */
import type { Dbm } from '../../base/units.ts';
import { identityMembers, readIdentity, splitPlmn } from '../cell-identity.ts';
import { readLevels, readUmtsLevels } from '../levels.ts';
import type { Levels } from '../levels.ts';
import type { Dialect, ModemState, ReplyParser } from '../modem-report.ts';
import type { CellMeasurement, Metric } from '../radio-sample.ts';
import { contentLines, fieldOf, isBlank, present, readDecimal } from '../reply-fields.ts';
import type { Field } from '../reply-fields.ts';
import { dialectCommand } from './generic.ts';

/** `label: value` pairs of a table; a label that comes twice has several values. */
class Table {
  readonly #values = new Map<string, Field[]>();

  constructor(lines: readonly string[]) {
    for (const line of contentLines(lines).slice(0, 128)) {
      for (const [label, value] of pairsOf(line)) {
        const values = this.#values.get(label);
        if (values === undefined) this.#values.set(label, [fieldOf(value)]);
        else values.push(fieldOf(value));
      }
    }
  }

  /** The first value under a label, without its unit; undefined when it is not there. */
  get(label: string): Field | undefined {
    return this.#values.get(label)?.[0];
  }

  /** All values of the labels that match. */
  all(pattern: RegExp): Field[] {
    return [...this.#values].flatMap(([label, values]) => (pattern.test(label) ? values : []));
  }
}

/** A column begins at a label: after the start of the line, a tab or two blanks. */
function pairsOf(line: string): [label: string, value: string][] {
  const pairs: [string, string][] = [];
  const columns = line.replace(/^!\w+:\s*/, '').split(/\t+|\s{2,}(?=[A-Z])/);
  for (const column of columns) {
    const at = column.indexOf(':');
    if (at < 1) continue;
    const label = column.slice(0, at).trim().toLowerCase().replace(/\s+/g, ' ');
    pairs.push([label, column.slice(at + 1).trim()]);
  }
  return pairs;
}

/** `!GSTATUS?` and `!NRINFO?`: one table for LTE and one, in the same reply or alone, for NR. */
const parseStatus: ReplyParser = (lines) => {
  const table = new Table(lines);
  const cells = [lteCell(table), nrCell(table), umtsCell(table)].flatMap((cell) => cell ?? []);
  const temperatureC = readDecimal(table.get('temperature'), -60, 150);
  const modemState = stateOf(table.get('system mode')?.text);
  if (cells.length === 0 && temperatureC === undefined && modemState === undefined) return {};
  return {
    cells,
    ...present({ modemState }),
    ...(temperatureC !== undefined && { temperatures: [{ temperatureC }] }),
  };
};

function stateOf(mode: string | undefined): ModemState | undefined {
  return mode !== undefined && /^no service/i.test(mode) ? 'noService' : undefined;
}

function lteCell(table: Table): CellMeasurement | undefined {
  const rsrp = best(
    table.all(/^(?:rsrp \(dbm\)|pcc rx[md] rsrp)$/),
    (field) => readLevels('lte', { rsrp: field }).rsrpDbm,
  );
  const rssi = best(table.all(/^pcc rx[md] rssi$/), (field) => readLevels('lte', { rssi: field }).rssiDbm);
  if (rsrp === undefined && table.get('lte rx chan') === undefined) return undefined;
  if (/^nr5g/i.test(table.get('system mode')?.text ?? '') && isBlank(rsrp)) return undefined;
  const identity = readIdentity(
    {
      tac: inParentheses(table.get('tac')),
      cellId: inParentheses(table.get('cell id')),
      band: withoutNone(table.get('lte band')),
      arfcn: table.get('lte rx chan'),
    },
    'lte',
    { tac: 'decimal', cellId: 'decimal' },
  );
  const levels = readLevels('lte', {
    rsrp,
    rssi,
    rsrq: table.get('rsrq (db)'),
    sinr: table.get('sinr (db)'),
  });
  return { rat: 'lte', serving: true, ...identityMembers(identity), ...levels };
}

function nrCell(table: Table): CellMeasurement | undefined {
  const rsrp = table.get('nr5g rsrp (dbm)') ?? table.get('nr5g(sub6) rsrp (dbm)');
  if (rsrp === undefined || isBlank(rsrp)) return undefined;
  const identity = readIdentity(
    {
      ...splitPlmn(table.get('nr5g mcc-mnc')),
      tac: hexOf(table.get('nr5g tac')),
      cellId: hexOf(table.get('nr5g cell id')),
      band: withoutNone(table.get('nr5g band')),
      arfcn: table.get('nr5g rx chan'),
    },
    'nr',
  );
  const rssi = best(
    table.all(/^nr5g(?:\(sub6\))? rx\d rssi \(dbm\)$/),
    (field) => readLevels('nr', { rssi: field }).rssiDbm,
  );
  const levels = readLevels('nr', {
    rsrp,
    rssi,
    rsrq: table.get('nr5g rsrq (db)'),
    sinr: table.get('nr5g sinr (db)'),
  });
  return { rat: 'nr', serving: true, ...identityMembers(identity), ...levels };
}

function umtsCell(table: Table): CellMeasurement | undefined {
  const arfcn = table.get('wcdma channel');
  if (arfcn === undefined) return undefined;
  const identity = readIdentity(
    { arfcn, tac: inParentheses(table.get('lac')), cellId: inParentheses(table.get('cell id')) },
    'wcdma',
    { tac: 'decimal', cellId: 'decimal' },
  );
  const rssi = best(
    table.all(/^rx[md] rssi c0$/),
    (field) => readUmtsLevels(undefined, undefined, field).rssiDbm,
  );
  return {
    rat: 'wcdma',
    serving: true,
    ...identityMembers(identity),
    ...readUmtsLevels(undefined, undefined, rssi),
  };
}

/** The field with the greatest believed value; else the first. */
function best(fields: readonly Field[], read: (field: Field) => Metric<Dbm> | undefined): Field | undefined {
  let found = fields[0];
  let value = Number.NEGATIVE_INFINITY;
  for (const field of fields) {
    const level = read(field)?.value ?? Number.NEGATIVE_INFINITY;
    if (level > value) [found, value] = [field, level];
  }
  return found;
}

/** The decimal of `023E3E34 (37633588)`. */
function inParentheses(field: Field | undefined): Field | undefined {
  const decimal = /\((\d{1,12})\)/.exec(field?.text ?? '')?.[1];
  return decimal === undefined ? undefined : fieldOf(decimal);
}

/** The hexadecimal before the parenthesis. */
function hexOf(field: Field | undefined): Field | undefined {
  const hex = /^([0-9a-f]{1,10})\b/i.exec(field?.text ?? '')?.[1];
  return hex === undefined ? undefined : fieldOf(hex);
}

function withoutNone(field: Field | undefined): Field | undefined {
  return field !== undefined && /\d/.test(field.text) ? field : undefined;
}

/**
 * `!LTEINFO?`: sections `Serving:`, `IntraFreq:`, `InterFreq:`, each with the names of its columns and rows of values; line
 * breaks do not count, for some terminals lose them. TAC is decimal, CID hexadecimal.
 */
const parseLteInformation: ReplyParser = (lines) => {
  const words = contentLines(lines).join(' ').split(/\s+/).slice(0, 2000);
  const start = words.findIndex((word) => /^serving:$/i.test(word));
  if (start < 0) return {};
  const cells: CellMeasurement[] = [];
  let servingArfcn: Field | undefined;
  for (const [section, columns, rows] of sectionsOf(words.slice(start))) {
    if (!/^(?:serving|intrafreq|interfreq)$/i.test(section)) continue;
    const isServing = /^serving$/i.test(section);
    for (const row of rows) {
      const value = (name: string): Field | undefined => {
        const text = row[columns.indexOf(name)];
        return text === undefined ? undefined : fieldOf(text);
      };
      const arfcn = value('EARFCN') ?? servingArfcn;
      if (isServing) servingArfcn = arfcn;
      const fields = {
        mcc: value('MCC'),
        mnc: value('MNC'),
        tac: value('TAC'),
        cellId: value('CID'),
        band: value('BD'),
      };
      const identity = readIdentity({ ...fields, pci: value('PCI'), arfcn }, 'lte', { tac: 'decimal' });
      const levels: Levels = readLevels('lte', {
        rsrp: value('RSRP'),
        rsrq: value('RSRQ'),
        rssi: value('RSSI'),
        ...(isServing && { sinr: value('SNR') }),
      });
      const cell = { rat: 'lte', serving: isServing, ...identityMembers(identity), ...levels } as const;
      const isServingAgain =
        !isServing &&
        cells[0]?.identity.pci === cell.identity.pci &&
        cells[0]?.identity.arfcn === cell.identity.arfcn;
      if (!isServingAgain) cells.push(cell);
    }
  }
  return { cells };
};

type Section = [name: string, columns: string[], rows: string[][]];

function sectionsOf(words: readonly string[]): Section[] {
  const sections: Section[] = [];
  let values: string[] = [];
  let inHeader = false;
  const flush = (): void => {
    const last = sections.at(-1);
    const width = last?.[1].length ?? 0;
    for (let at = 0; width > 0 && at + width <= values.length; at += width)
      last?.[2].push(values.slice(at, at + width));
    values = [];
  };
  for (const word of words) {
    if (/^[A-Za-z]+:$/.test(word)) {
      flush();
      sections.push([word.slice(0, -1), [], []]);
      inHeader = true;
    } else {
      // The first value of every section is a number.
      inHeader &&= /^[A-Za-z]/.test(word);
      if (inHeader) sections.at(-1)?.[1].push(word.toUpperCase());
      else values.push(word);
    }
  }
  flush();
  return sections;
}

/** Sierra's commands. */
export const sierraDialect: Dialect = {
  vendor: 'sierra',
  setup: [],
  commands: [
    dialectCommand('AT!GSTATUS?', 'serving', parseStatus, { timeoutMs: 3000 }),
    dialectCommand('AT!LTEINFO?', 'neighbours', parseLteInformation, { timeoutMs: 3000 }),
    dialectCommand('AT!NRINFO?', 'neighbours', parseStatus, { timeoutMs: 3000 }),
  ],
};
