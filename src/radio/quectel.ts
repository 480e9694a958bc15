/**
 * Quectel `AT+QENG`. The layout follows from the tag of the radio technology and the number of columns; a line that
 * fits no layout, or whose identity cannot be (a 36-bit cell in LTE), is refused whole, because its levels would then
 * be read from wrong columns.
 *
 *     LTE     "servingcell",state,"LTE",duplex,MCC,MNC,cell,pci,arfcn,band,ulbw,dlbw,tac,rsrp,rsrq,rssi,sinr[,cqi,txpower],srxlev
 *     EN-DC   "servingcell",state    then    "LTE",duplex,...  and  "NR5G-NSA",MCC,MNC,pci,rsrp,sinr,rsrq,arfcn,band[,bw[,scs]]
 *     NR SA   "servingcell",state,"NR5G-SA",duplex,MCC,MNC,cell,pci,tac,arfcn,band,bw,rsrp,rsrq,sinr,scs,srxlev
 *     RM500U  as NR SA with the tail rsrp,rsrq,sinr,txpower,srxlev,scs
 *     LTE neighbours  "neighbourcell intra|inter","LTE",arfcn,pci,rsrq,rsrp,rssi,sinr,...
 *     NR neighbours   "neighbourcell","NR5G"|"NR",arfcn,pci,rsrp,rsrq,sinr[,...]       not documented, seen
 *
 * SINR is taken as dB, which is what the serving line prints on every module that could be cross-checked; only the
 * satellite form of NB-IoT prints raw/5 - 20. The SINR column of LTE neighbours stays at constants (0, -20) while the
 * serving cell reads otherwise: it is never believed.
 */
import type { Db, Dbm } from '../base/units.ts';
import { present } from './generic.ts';
import type { CellIdentity, CellMeasurement, Metric } from './radio-sample.ts';
import { readHex, readInformation, readMetric, readWhole } from './reply-fields.ts';
import type { Field, Window } from './reply-fields.ts';

/** The modem's own word for what it does: searching, camped without service, idle, with a data connection. */
export type QuectelState = 'SEARCH' | 'LIMSRV' | 'NOCONN' | 'CONNECT';

/** What `AT+QENG="servingcell"` says. */
export interface QuectelServing {
  readonly state?: QuectelState;
  /** One cell, or the LTE anchor and the NR cell beside it (EN-DC). */
  readonly cells: readonly CellMeasurement[];
  /** Lines that fit no known layout. */
  readonly refusedLines: number;
}

const lteRsrp: Window = { min: -140, max: -44, sentinels: [-140, -44] };
const nrRsrp: Window = { min: -156, max: -31, sentinels: [-140, -44] };
const lteRsrq: Window = { min: -34, max: 2.5 };
const nrRsrq: Window = { min: -43, max: 20 };
const sinrWindow: Window = { min: -23, max: 40 };
const rssiWindow: Window = { min: -125, max: -20 };
const states: readonly string[] = ['SEARCH', 'LIMSRV', 'NOCONN', 'CONNECT'] satisfies QuectelState[];

/** `AT+QENG="servingcell"`. */
export function parseServingCell(lines: readonly string[]): QuectelServing {
  let state: QuectelState | undefined;
  let refusedLines = 0;
  const cells: CellMeasurement[] = [];
  for (const row of readInformation(lines, 'QENG')) {
    const isServing = row[0]?.text === 'servingcell';
    if (isServing && states.includes(row[1]?.text ?? '')) state = row[1]?.text as QuectelState;
    if (isServing && row.length <= 2) continue;
    const cell = parseServingRow(isServing ? row.slice(2) : row);
    if (cell === undefined) refusedLines++;
    else cells.push(cell);
  }
  return { ...(state !== undefined && { state }), cells, refusedLines };
}

/** `AT+QENG="neighbourcell"`: the measured cells; rows without a measurement or a cell identity are left out. */
export function parseNeighbourCells(lines: readonly string[]): CellMeasurement[] {
  const cells: CellMeasurement[] = [];
  for (const row of readInformation(lines, 'QENG')) {
    const cell = parseNeighbourRow(row);
    if (cell !== undefined) cells.push(cell);
  }
  return cells;
}

function parseServingRow(row: readonly Field[]): CellMeasurement | undefined {
  const technology = row[0]?.text.toUpperCase() ?? '';
  if (/^(?:LTE|EMTC|CAT-M1?|CAT-NB1?|NBIOT|NTN NBIOT)$/.test(technology)) return parseLte(row, technology);
  if (technology === 'NR5G-SA') return parseStandalone(row);
  if (technology === 'NR5G-NSA') return parseNonStandalone(row);
  if (technology === 'WCDMA') return parseWcdma(row);
  if (technology === 'GSM') return parseGsm(row);
  return undefined;
}

function parseLte(row: readonly Field[], technology: string): CellMeasurement | undefined {
  if (row.length !== 16 && row.length !== 18) return undefined;
  const [, , mcc, mnc, cell, pci, arfcn, band, , , tac, rsrp, rsrq, rssi, sinr] = row;
  const identity = readIdentity({ mcc, mnc, cell, pci, arfcn, band, tac }, 'lte');
  if (identity === undefined) return undefined;
  const toDb = technology.startsWith('NTN') ? (raw: number): number => raw / 5 - 20 : undefined;
  return {
    rat: 'lte',
    serving: true,
    identity,
    ...present({
      rsrpDbm: readMetric<Dbm>(rsrp, lteRsrp),
      rsrqDb: readMetric<Db>(rsrq, lteRsrq),
      sinrDb: readMetric<Db>(sinr, sinrWindow, toDb),
      rssiDbm: readMetric<Dbm>(rssi, rssiWindow),
    }),
  };
}

function parseStandalone(row: readonly Field[]): CellMeasurement | undefined {
  if (row.length !== 15 && row.length !== 16) return undefined;
  const [, , mcc, mnc, cell, pci, tac, arfcn, band, , rsrp, rsrq, sinr] = row;
  const identity = readIdentity({ mcc, mnc, cell, pci, arfcn, band, tac }, 'nr');
  if (identity === undefined) return undefined;
  return { rat: 'nr', serving: true, identity, ...readNrLevels(rsrp, rsrq, sinr) };
}

function parseNonStandalone(row: readonly Field[]): CellMeasurement | undefined {
  if (row.length < 9 || row.length > 11) return undefined;
  const [, mcc, mnc, pci, rsrp, sinr, rsrq, arfcn, band] = row;
  const identity = readIdentity({ mcc, mnc, pci, arfcn, band }, 'nr');
  if (identity === undefined) return undefined;
  return { rat: 'nr', serving: true, identity, ...readNrLevels(rsrp, rsrq, sinr) };
}

/**
 * `"WCDMA",MCC,MNC,lac,cell,uarfcn,psc,rac,rscp,ecio,...`: identity only, its levels are none that Baton compares.
 */
function parseWcdma(row: readonly Field[]): CellMeasurement | undefined {
  if (row.length < 10) return undefined;
  const [, mcc, mnc, tac, cell, arfcn] = row;
  const identity = readIdentity({ mcc, mnc, cell, arfcn, tac }, 'wcdma');
  return identity && { rat: 'wcdma', serving: true, identity };
}

/** `"GSM",MCC,MNC,lac,cell,bsic,arfcn,band,rxlev,...`. */
function parseGsm(row: readonly Field[]): CellMeasurement | undefined {
  if (row.length < 9) return undefined;
  const [, mcc, mnc, tac, cell, , arfcn, , rxlev] = row;
  const identity = readIdentity({ mcc, mnc, cell, arfcn, tac }, 'gsm');
  return (
    identity && {
      rat: 'gsm',
      serving: true,
      identity,
      ...present({ rssiDbm: readMetric<Dbm>(rxlev, rssiWindow) }),
    }
  );
}

function parseNeighbourRow(row: readonly Field[]): CellMeasurement | undefined {
  const [kind, technology, arfcn, pci, third, fourth, fifth, sixth] = row;
  if (kind === undefined || !/^neighbourcell(?: int(?:ra|er))?$/.test(kind.text)) return undefined;
  const rat =
    technology?.text === 'LTE' ? 'lte' : /^NR(?:5G)?$/.test(technology?.text ?? '') ? 'nr' : undefined;
  if (rat === undefined || row.length < 7) return undefined;
  const identity = readIdentity({ arfcn, pci }, rat);
  if (identity?.pci === undefined || identity.arfcn === undefined) return undefined;
  const levels =
    rat === 'nr'
      ? readNrLevels(third, fourth, fifth)
      : present({
          rsrpDbm: readMetric<Dbm>(fourth, lteRsrp),
          rsrqDb: readMetric<Db>(third, lteRsrq),
          sinrDb: disbelieved(sixth),
          rssiDbm: readMetric<Dbm>(fifth, rssiWindow),
        });
  return levels.rsrpDbm === undefined ? undefined : { rat, serving: false, identity, ...levels };
}

function readNrLevels(
  rsrp: Field | undefined,
  rsrq: Field | undefined,
  sinr: Field | undefined,
): Pick<CellMeasurement, 'rsrpDbm' | 'rsrqDb' | 'sinrDb'> {
  return present({
    rsrpDbm: readMetric<Dbm>(rsrp, nrRsrp),
    rsrqDb: readMetric<Db>(rsrq, nrRsrq),
    sinrDb: readMetric<Db>(sinr, sinrWindow),
  });
}

function disbelieved(field: Field | undefined): Metric<Db> | undefined {
  if (field === undefined) return undefined;
  return /^-*$/.test(field.text) ? { raw: field.text } : { raw: field.text, suspect: true };
}

type IdentityFields = Partial<
  Record<'mcc' | 'mnc' | 'cell' | 'pci' | 'arfcn' | 'band' | 'tac', Field | undefined>
>;

const identityBounds = {
  gsm: { cell: 0xffff, tac: 0xffff, pci: 0, arfcn: 1023 },
  wcdma: { cell: 0xfff_ffff, tac: 0xffff, pci: 0, arfcn: 16_383 },
  lte: { cell: 0xfff_ffff, tac: 0xffff, pci: 503, arfcn: 262_143 },
  nr: { cell: 0xf_ffff_ffff, tac: 0xff_ffff, pci: 1007, arfcn: 3_279_165 },
} as const;
const bandMax = 1024;

/** The identity, without the parts that are not known; undefined when a part is there that cannot be. */
function readIdentity(fields: IdentityFields, rat: keyof typeof identityBounds): CellIdentity | undefined {
  const bounds = identityBounds[rat];
  let impossible = false;
  const part = <T>(field: Field | undefined, read: (field: Field) => T | undefined): T | undefined => {
    if (field === undefined || /^-*$/.test(field.text) || /^(?:0x)?f{3,}e?$/i.test(field.text))
      return undefined;
    const value = read(field);
    impossible ||= value === undefined;
    return value;
  };
  const identity = present({
    mcc: part(fields.mcc, (field) => (/^\d{3}$/.test(field.text) ? field.text : undefined)),
    mnc: part(fields.mnc, (field) => (/^\d{2,3}$/.test(field.text) ? field.text : undefined)),
    tac: part(fields.tac, (field) => readHex(field, bounds.tac)),
    cellId: part(fields.cell, (field) => readHex(field, bounds.cell)),
    pci: part(fields.pci, (field) => readWhole(field, 0, bounds.pci)),
    arfcn: part(fields.arfcn, (field) => readWhole(field, 0, bounds.arfcn)),
    band: part(fields.band, (field) => readWhole(field, 0, bandMax)),
  });
  return impossible ? undefined : identity;
}
