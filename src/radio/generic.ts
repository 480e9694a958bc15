/**
 * Replies that any modem gives (3GPP TS 27.007). Converted levels are the lower edge of the bin that the index names;
 * `raw` keeps the index.
 */
import type { Db, Dbm } from '../base/units.ts';
import type { CellIdentity, CellMeasurement, Metric } from './radio-sample.ts';
import type { AccessTechnologyNumber } from './registration.ts';
import { readIndex, readInformation, readWhole } from './reply-fields.ts';
import type { Field } from './reply-fields.ts';

/** Signal levels of `+CESQ`; each is absent when the modem's form of the reply has no such field. */
export interface ExtendedSignalQuality {
  /** GSM. */
  readonly rxlevDbm?: Metric<Dbm>;
  /** UTRA. */
  readonly rscpDbm?: Metric<Dbm>;
  readonly ecnoDb?: Metric<Db>;
  /** E-UTRA. */
  readonly rsrqDb?: Metric<Db>;
  readonly rsrpDbm?: Metric<Dbm>;
  /** NR. */
  readonly ssRsrqDb?: Metric<Db>;
  readonly ssRsrpDbm?: Metric<Dbm>;
  readonly ssSinrDb?: Metric<Db>;
}

/** What `+COPS?` says. */
export interface OperatorSelection {
  readonly mode: number;
  /** Name or numeric PLMN as printed. */
  readonly operator?: string;
  readonly accessTechnology?: AccessTechnologyNumber;
}

/** Who the modem says it is. */
export interface ModemIdentity {
  readonly manufacturer?: string;
  readonly model?: string;
  readonly revision?: string;
}

/** `+CSQ` (3GPP TS 27.007 8.5): received signal strength. */
export function parseSignalQuality(lines: readonly string[]): Metric<Dbm> | undefined {
  const [rssi] = readInformation(lines, 'CSQ').at(-1) ?? [];
  return readIndex(rssi, { indexMax: 31, notKnown: 99, offset: -113, step: 2 });
}

/** `+CESQ` with six or nine fields (3GPP TS 27.007 8.69); undefined for any other number of them. */
export function parseExtendedSignalQuality(lines: readonly string[]): ExtendedSignalQuality | undefined {
  const fields = readInformation(lines, 'CESQ').at(-1);
  if (fields?.length !== 6 && fields?.length !== 9) return undefined;
  const [rxlev, , rscp, ecno, rsrq, rsrp, ssRsrq, ssRsrp, ssSinr] = fields;
  return present({
    rxlevDbm: readIndex<Dbm>(rxlev, { indexMax: 63, notKnown: 99, offset: -111, step: 1 }),
    rscpDbm: readIndex<Dbm>(rscp, { indexMax: 96, notKnown: 255, offset: -121, step: 1 }),
    ecnoDb: readIndex<Db>(ecno, { indexMax: 49, notKnown: 255, offset: -24.5, step: 0.5 }),
    rsrqDb: readIndex<Db>(rsrq, { indexMax: 34, notKnown: 255, offset: -20, step: 0.5 }),
    rsrpDbm: readIndex<Dbm>(rsrp, { indexMax: 97, notKnown: 255, offset: -141, step: 1 }),
    ssRsrqDb: readIndex<Db>(ssRsrq, { indexMax: 126, notKnown: 255, offset: -43.5, step: 0.5 }),
    ssRsrpDbm: readIndex<Dbm>(ssRsrp, { indexMax: 126, notKnown: 255, offset: -157, step: 1 }),
    ssSinrDb: readIndex<Db>(ssSinr, { indexMax: 127, notKnown: 255, offset: -23.5, step: 0.5 }),
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
  const add = (cell: Pick<CellMeasurement, 'rat' | 'rsrpDbm' | 'rsrqDb' | 'sinrDb' | 'rssiDbm'>): void => {
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
  if (cells.length === 0 && quality?.rscpDbm?.value !== undefined)
    add({ rat: 'wcdma', ...present({ rssiDbm: known(rssiDbm) }) });
  if (cells.length === 0 && quality?.rxlevDbm?.value !== undefined)
    add({ rat: 'gsm', rssiDbm: quality.rxlevDbm });
  return cells;
}

/** `+COPS?` (3GPP TS 27.007 7.3); undefined when there is no such line. */
export function parseOperator(lines: readonly string[]): OperatorSelection | undefined {
  const fields = readInformation(lines, 'COPS').at(-1);
  const mode = readWhole(fields?.[0], 0, 9);
  if (fields === undefined || mode === undefined) return undefined;
  const operator = cleanText(fields[2]);
  const accessTechnology = readWhole(fields[3], 0, 13) as AccessTechnologyNumber | undefined;
  return { mode, ...present({ operator, accessTechnology }) };
}

/** `ATI`, in its bare form (maker, model, revision on three lines) and its labelled one. */
export function parseIdentity(lines: readonly string[]): ModemIdentity {
  const labelled = (label: string): string | undefined => {
    const found = lines.find((line) => line.toLowerCase().startsWith(`${label}:`));
    return found === undefined
      ? undefined
      : cleanText({ text: found.slice(label.length + 1).trim(), quoted: false });
  };
  const bare = lines.filter((line) => !line.includes(':'));
  const text = (line: string | undefined): string | undefined =>
    line === undefined ? undefined : cleanText({ text: line, quoted: false });
  return present({
    manufacturer: labelled('manufacturer') ?? (bare.length > 1 ? text(bare[0]) : undefined),
    model: labelled('model') ?? text(bare.length > 1 ? bare[1] : bare[0]),
    revision: labelled('revision'),
  });
}

/** `+CGMM` (3GPP TS 27.007 5.2): the model, with or without a prefix. */
export function parseModel(lines: readonly string[]): string | undefined {
  const [field] = readInformation(lines, 'CGMM').at(-1) ?? [];
  return cleanText(field ?? (lines[0] === undefined ? undefined : { text: lines[0].trim(), quoted: false }));
}

function known<Unit extends number>(metric: Metric<Unit> | undefined): Metric<Unit> | undefined {
  return metric?.value === undefined ? undefined : metric;
}

/** A printed text of sensible length, or undefined. */
function cleanText(field: Field | undefined): string | undefined {
  const text = field?.text.replace(/[\p{Cc}\ufffd]/gu, '').trim();
  return text === undefined || text === '' || text === '-' ? undefined : text.slice(0, 64);
}

type Present<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** The object without its undefined members. */
export function present<T extends object>(members: T): Present<T> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as Present<T>;
}
