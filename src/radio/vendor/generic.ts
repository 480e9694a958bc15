/**
 * Replies that any modem gives (3GPP TS 27.007). Converted levels are the lower edge of the bin that the index names;
 * `raw` keeps the index.
 */
import { millis } from '../../base/units.ts';
import type { Db, Dbm } from '../../base/units.ts';
import { splitPlmn, readIdentity } from '../cell-identity.ts';
import { scales } from '../levels.ts';
import type {
  CommandUse,
  Dialect,
  DialectCommand,
  ExtendedSignalQuality,
  Indicator,
  ModemIdentity,
  ModemReport,
  PdpContext,
  ReplyParser,
  SimState,
} from '../modem-report.ts';
import { readAddress, readAddresses } from '../network-address.ts';
import type { CellIdentity, CellMeasurement, Metric } from '../radio-sample.ts';
import { parseRegistration } from '../registration.ts';
import type { RegistrationDomain } from '../registration.ts';
import {
  cleanText,
  contentLines,
  fieldOf,
  present,
  readBodies,
  readIndex,
  readInformation,
  readWhole,
} from '../reply-fields.ts';
import type { Field, IndexScale } from '../reply-fields.ts';

/** A command of a dialect; `AT+X?` has the name `+X` unless told otherwise. */
export function dialectCommand(
  text: string,
  use: CommandUse,
  parse: ReplyParser,
  options: { name?: string; timeoutMs?: number } = {},
): DialectCommand {
  const name = options.name ?? /^AT([+^!#$%*&][A-Z0-9_]+)/i.exec(text)?.[1] ?? text.slice(2);
  return { text, name: name.toUpperCase(), use, timeoutMs: millis(options.timeoutMs ?? 1500), parse };
}

/** `+CSQ` (3GPP TS 27.007 8.5): received signal strength. */
export function parseSignalQuality(lines: readonly string[]): Metric<Dbm> | undefined {
  const [rssi] = readInformation(lines, 'CSQ').at(-1) ?? [];
  return readIndex(rssi, scales.rssi);
}

/**
 * `+CESQ` with six or nine fields (3GPP TS 27.007 8.69); undefined for any other number of them. `lte` replaces the
 * scales of RSRP and RSRQ for a maker that counts otherwise.
 */
export function parseExtendedSignalQuality(
  lines: readonly string[],
  lte: { rsrp: IndexScale; rsrq: IndexScale } = scales,
): ExtendedSignalQuality | undefined {
  const fields = readInformation(lines, 'CESQ').at(-1);
  if (fields?.length !== 6 && fields?.length !== 9) return undefined;
  const [rxlev, , rscp, ecno, rsrq, rsrp, ssRsrq, ssRsrp, ssSinr] = fields;
  return present({
    rxlevDbm: readIndex<Dbm>(rxlev, scales.rxlev),
    rscpDbm: readIndex<Dbm>(rscp, scales.rscp),
    ecnoDb: readIndex<Db>(ecno, scales.ecno),
    rsrqDb: readIndex<Db>(rsrq, lte.rsrq),
    rsrpDbm: readIndex<Dbm>(rsrp, lte.rsrp),
    ssRsrqDb: readIndex<Db>(ssRsrq, scales.ssRsrq),
    ssRsrpDbm: readIndex<Dbm>(ssRsrp, scales.ssRsrp),
    ssSinrDb: readIndex<Db>(ssSinr, scales.ssSinr),
  });
}

/**
 * The serving cells that `+CESQ` and `+CSQ` describe together: none, one, or LTE and NR at once (EN-DC). `identity`
 * is what the registration reply knows; it belongs to the first cell.
 */
export function servingCellsOf(
  quality: ExtendedSignalQuality | undefined,
  rssiDbm: Metric<Dbm> | undefined,
  identity: CellIdentity,
): CellMeasurement[] {
  const cells: CellMeasurement[] = [];
  const add = (cell: Omit<CellMeasurement, 'serving' | 'identity'>): void => {
    cells.push({ serving: true, identity: cells.length === 0 ? identity : {}, ...cell });
  };
  if (quality?.rsrpDbm?.value !== undefined) {
    const { rsrpDbm, rsrqDb } = quality;
    add({ rat: 'lte', rsrpDbm, ...present({ rsrqDb, rssiDbm: known(rssiDbm) }) });
  }
  if (quality?.ssRsrpDbm?.value !== undefined) {
    const { ssRsrpDbm, ssRsrqDb, ssSinrDb } = quality;
    add({ rat: 'nr', rsrpDbm: ssRsrpDbm, ...present({ rsrqDb: ssRsrqDb, sinrDb: ssSinrDb }) });
  }
  if (cells.length === 0 && quality?.rscpDbm?.value !== undefined) {
    const { rscpDbm, ecnoDb } = quality;
    add({ rat: 'wcdma', ...present({ rscpDbm, ecnoDb, rssiDbm: known(rssiDbm) }) });
  }
  if (cells.length === 0 && quality?.rxlevDbm?.value !== undefined)
    add({ rat: 'gsm', rssiDbm: quality.rxlevDbm });
  return cells;
}

/** `+CESQ` as a report. */
export function reportExtendedSignalQuality(
  lines: readonly string[],
  lte?: { rsrp: IndexScale; rsrq: IndexScale },
): ModemReport {
  const signalQuality = parseExtendedSignalQuality(lines, lte);
  return signalQuality === undefined
    ? {}
    : { signalQuality, cells: servingCellsOf(signalQuality, undefined, {}) };
}

/** `+COPS?` (3GPP TS 27.007 7.3): how the operator is chosen, its name or number, the technology. */
export function parseOperator(lines: readonly string[]): ModemReport {
  const fields = readInformation(lines, 'COPS').at(-1);
  const operatorMode = readWhole(fields?.[0], 0, 9);
  if (fields === undefined || operatorMode === undefined) return {};
  const operator = cleanText(fields[2]);
  const identity = fields[1]?.text === '2' ? readIdentity(splitPlmn(fields[2]), 'lte').identity : {};
  const accessTechnology = readWhole(fields[3], 0, 13);
  const rat = accessTechnology === undefined ? undefined : ratOf(accessTechnology);
  return {
    operatorMode,
    ...present({ operator, accessTechnology }),
    ...(rat !== undefined && identity.mcc !== undefined && { cells: [{ rat, serving: true, identity }] }),
  };
}

/** The radio behind a technology number of 3GPP TS 27.007 7.3; undefined where there are two. */
function ratOf(technology: number): CellMeasurement['rat'] | undefined {
  if ([0, 1, 3, 8].includes(technology)) return 'gsm';
  if (technology <= 6) return 'wcdma';
  if ([7, 9, 10, 13].includes(technology)) return 'lte';
  return technology === 11 || technology === 12 ? 'nr' : undefined;
}

/** `ATI` (ITU-T V.250 6.1.3), in its bare form (maker, model, revision on three lines) and its labelled one. */
export function parseIdentity(lines: readonly string[]): ModemIdentity {
  const content = contentLines(lines).filter((line) => !/^[+^!#$%*&]/.test(line) || /^\+GMM:/i.test(line));
  const labelled = (label: string): string | undefined => {
    const found = content.find((line) => line.toLowerCase().startsWith(`${label}:`));
    return found === undefined ? undefined : cleanText(fieldOf(found.slice(label.length + 1)));
  };
  const bare = content.filter((line) => !line.includes(':'));
  const text = (line: string | undefined): string | undefined =>
    line === undefined ? undefined : cleanText(fieldOf(line.replace(/^"(.*)"$/, '$1')));
  const manufacturer = labelled('manufacturer');
  const isLabelled = manufacturer !== undefined || labelled('model') !== undefined;
  return present({
    manufacturer: manufacturer ?? (!isLabelled && bare.length > 1 ? text(bare[0]) : undefined),
    model: labelled('model') ?? (isLabelled ? undefined : text(bare.length > 1 ? bare[1] : bare[0])),
    revision: labelled('revision') ?? (!isLabelled && bare.length > 2 ? text(bare[2]) : undefined),
  });
}

/** `+CGMM` (3GPP TS 27.007 5.2): the model, with or without a prefix. */
export function parseModel(lines: readonly string[]): string | undefined {
  return parseNamed(lines, 'CGMM');
}

/** `+CGMI`, `+CGMM`, `+CGMR` (3GPP TS 27.007 5.1 to 5.3): one text, with or without its prefix, quoted or not. */
function parseNamed(lines: readonly string[], prefix: string): string | undefined {
  const [field] = readInformation(lines, prefix).at(-1) ?? [];
  if (field !== undefined) return cleanText(field);
  const [line] = contentLines(lines).filter((text) => !/^[+^!#$%*&]/.test(text));
  return line === undefined ? undefined : cleanText(fieldOf(line.replace(/^"(.*)"$/, '$1')));
}

const identityPart =
  (prefix: string, part: keyof ModemIdentity): ReplyParser =>
  (lines) => {
    const text = parseNamed(lines, prefix);
    return text === undefined ? {} : { identity: { [part]: text } };
  };

/** One registration command (3GPP TS 27.007 7.2, 10.1.20, 10.1.22, 10.1.47) as a report. */
function reportRegistration(domain: RegistrationDomain): ReplyParser {
  return (lines) => {
    const registration = parseRegistration(lines, domain);
    if (registration === undefined) return {};
    const { accessTechnology, tac, cellId } = registration;
    const rat = accessTechnology === undefined ? undefined : ratOf(accessTechnology);
    const isServed = ['home', 'roaming', 'limited'].includes(registration.state);
    const isCell = rat !== undefined && isServed && (tac !== undefined || cellId !== undefined);
    return {
      registrations: [registration],
      ...(isCell && {
        cells: [
          {
            rat,
            serving: true,
            identity: present({ tac, cellId }),
            ...present({ suspectIdentity: registration.suspects }),
          },
        ],
      }),
    };
  };
}

/** `+CPIN?` (3GPP TS 27.007 8.3). */
function parseSim(lines: readonly string[]): ModemReport {
  const [code] = readInformation(lines, 'CPIN').at(-1) ?? [];
  const sim = simStateOf(code?.text ?? '');
  return sim === undefined ? {} : { sim };
}

function simStateOf(code: string): SimState | undefined {
  if (/^READY$/i.test(code)) return 'ready';
  if (/PUK/i.test(code)) return 'pukLocked';
  if (/^(?:SIM PIN2?|PH-SIM PIN)$/i.test(code)) return 'pinLocked';
  if (/^PH-/i.test(code)) return 'networkLocked';
  if (/NOT (?:INSERTED|READY)|REMOVED/i.test(code)) return 'missing';
  return undefined;
}

/**
 * Final results that speak of the SIM (3GPP TS 27.007 9.2), as numbers or in words; undefined for any other.
 */
export function simStateOfError(code: string): SimState | undefined {
  const number = Number(/^\+CME ERROR:\s*(\d+)\s*$/i.exec(code)?.[1] ?? Number.NaN);
  const states: Readonly<Record<number, SimState>> = {
    10: 'missing',
    11: 'pinLocked',
    12: 'pukLocked',
    13: 'failed',
    14: 'busy',
    15: 'failed',
    17: 'pinLocked',
    18: 'pukLocked',
    40: 'networkLocked',
  };
  const known = states[number];
  if (known !== undefined) return known;
  if (/SIM not inserted/i.test(code)) return 'missing';
  if (/SIM PUK2? required/i.test(code)) return 'pukLocked';
  if (/SIM PIN2? required/i.test(code)) return 'pinLocked';
  if (/SIM busy/i.test(code)) return 'busy';
  return /SIM (?:failure|wrong)/i.test(code) ? 'failed' : undefined;
}

/** `+CGPADDR` (3GPP TS 27.007 10.1.27): the addresses of each context. */
function parsePdpAddresses(lines: readonly string[]): ModemReport {
  const contexts = readInformation(lines, 'CGPADDR').flatMap(([id, ...fields]) => {
    const contextId = readWhole(id, 0, 255);
    if (contextId === undefined) return [];
    return [{ contextId, addresses: fields.flatMap(({ text }) => readAddresses(text)) }];
  });
  return contexts.length === 0 ? {} : { contexts };
}

/** `+CGCONTRDP` (3GPP TS 27.007 10.1.23): access point, address with mask, gateway, name servers. */
function parseContextParameters(lines: readonly string[]): ModemReport {
  const contexts = readInformation(lines, 'CGCONTRDP').flatMap(([id, , name, ...fields]): PdpContext[] => {
    const contextId = readWhole(id, 0, 255);
    if (contextId === undefined) return [];
    const [local, ...rest] = fields;
    // Before release 11 the mask stood in a field of its own.
    const others = /^255\.255\.|^(?:255\.){4}/.test(rest[0]?.text ?? '') ? rest.slice(1) : rest;
    const [gateway, ...servers] = others.slice(0, 3);
    const accessPointName = cleanText(name);
    const gatewayAddress = gateway === undefined ? undefined : readAddress(gateway.text);
    return [
      {
        contextId,
        addresses: local === undefined ? [] : readAddresses(local.text),
        nameServers: servers.flatMap(({ text }) => readAddress(text) ?? []),
        ...present({ accessPointName, gateway: gatewayAddress }),
      },
    ];
  });
  return contexts.length === 0 ? {} : { contexts };
}

/** `+CGACT?` (3GPP TS 27.007 10.1.10). */
function parseContextStates(lines: readonly string[]): ModemReport {
  const contexts = readInformation(lines, 'CGACT').flatMap(([id, state]) => {
    const contextId = readWhole(id, 0, 255);
    const active = readWhole(state, 0, 1);
    return contextId === undefined || active === undefined ? [] : [{ contextId, active: active === 1 }];
  });
  return contexts.length === 0 ? {} : { contexts };
}

/**
 * `+CIND=?` and `+CIND?` (3GPP TS 27.007 8.9). The order of the indicators differs from modem to modem: values have a
 * name only where both replies are in `lines`.
 */
function parseIndicators(lines: readonly string[]): ModemReport {
  const bodies = readBodies(lines, 'CIND');
  const described = bodies.find((body) => body.startsWith('('));
  const values = bodies.findLast((body) => !body.startsWith('('));
  const names = [
    ...(described ?? '').matchAll(
      /\(\s*"([^"]{1,32})"\s*,\s*\(\s*(\d{1,3})\s*(?:[-,][^)]*?(\d{1,3}))?\s*\)\s*\)/g,
    ),
  ];
  const numbers = values?.split(',').map((text) => readWhole(fieldOf(text), 0, 255)) ?? [];
  const count = Math.min(64, Math.max(names.length, numbers.length));
  if (count === 0) return {};
  const indicators = Array.from({ length: count }, (_, index): Indicator => {
    const [, name, min, max] = names[index] ?? [];
    const bound = (text: string | undefined): number | undefined =>
      text === undefined ? undefined : Number(text);
    return present({ name, value: numbers[index], valueMin: bound(min), valueMax: bound(max ?? min) });
  });
  return { indicators };
}

/** `+CEER` (3GPP TS 27.007 6.10): the cause in words. */
function parseFailureCause(lines: readonly string[]): ModemReport {
  const failureCause = cleanText(fieldOf(readBodies(lines, 'CEER').at(-1) ?? ''));
  return failureCause === undefined ? {} : { failureCause };
}

function known<Unit extends number>(metric: Metric<Unit> | undefined): Metric<Unit> | undefined {
  return metric?.value === undefined ? undefined : metric;
}

const registration = (domain: RegistrationDomain): DialectCommand =>
  dialectCommand(`AT+${domain}?`, 'registration', reportRegistration(domain));

/** The commands that 3GPP TS 27.007 and ITU-T V.250 define. */
export const genericDialect: Dialect = {
  vendor: 'generic',
  setup: ['ATE0', 'AT+CMEE=1', 'AT+CREG=2', 'AT+CGREG=2', 'AT+CEREG=2', 'AT+C5GREG=2', 'AT+CGEREP=2,1'],
  commands: [
    dialectCommand('AT+CESQ', 'signal', (lines) => reportExtendedSignalQuality(lines)),
    dialectCommand('AT+CSQ', 'signal', (lines) => present({ rssiDbm: parseSignalQuality(lines) })),
    registration('CEREG'),
    registration('C5GREG'),
    registration('CREG'),
    registration('CGREG'),
    dialectCommand('AT+COPS?', 'operator', parseOperator, { timeoutMs: 3000 }),
    dialectCommand('AT+CPIN?', 'other', parseSim, { timeoutMs: 3000 }),
    dialectCommand('AT+CGPADDR', 'other', parsePdpAddresses),
    dialectCommand('AT+CGCONTRDP', 'other', parseContextParameters),
    dialectCommand('AT+CGACT?', 'other', parseContextStates),
    dialectCommand('AT+CIND?', 'other', parseIndicators),
    dialectCommand('AT+CEER', 'other', parseFailureCause),
    dialectCommand('ATI', 'other', (lines) => ({ identity: parseIdentity(lines) })),
    dialectCommand('AT+CGMI', 'other', identityPart('CGMI', 'manufacturer')),
    dialectCommand('AT+CGMM', 'other', identityPart('CGMM', 'model')),
    dialectCommand('AT+CGMR', 'other', identityPart('CGMR', 'revision')),
  ],
};

/** A row of a reply that fits no layout counts in `refusedRows`. */
export function readRows<T>(
  rows: readonly (readonly Field[])[],
  read: (row: readonly Field[]) => T | undefined,
): { items: T[]; refusedRows: number } {
  const items: T[] = [];
  let refusedRows = 0;
  for (const row of rows) {
    const item = read(row);
    if (item === undefined) refusedRows++;
    else items.push(item);
  }
  return { items, refusedRows };
}
