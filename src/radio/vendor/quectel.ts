/**
 * Quectel. The layout of `AT+QENG` follows from the tag of the radio technology and the number of columns; a row that
 * fits no layout, or whose identity cannot be (a 36-bit cell in LTE), is refused whole, because its levels would then
 * be read from wrong columns.
 *
 *     LTE     "servingcell",state,"LTE",duplex,MCC,MNC,cell,pci,arfcn,band,ulbw,dlbw,tac,rsrp,rsrq,rssi,sinr[,cqi,txpower],srxlev
 *     EN-DC   "servingcell",state    then    "LTE",duplex,...  and  "NR5G-NSA",MCC,MNC,pci,rsrp,sinr,rsrq[,arfcn,band[,bw[,scs]]]
 *     NR SA   "servingcell",state,"NR5G-SA",duplex,MCC,MNC,cell,pci,tac,arfcn,band,bw,rsrp,rsrq,sinr,scs,srxlev
 *     RM500U  as NR SA with the tail rsrp,rsrq,sinr,txpower,srxlev,scs
 *     LTE neighbours  "neighbourcell intra|inter","LTE",arfcn,pci,rsrq,rsrp,rssi,sinr,...
 *                     "neighbourcell","LTE",arfcn,pci,rsrp,rsrq,srxlev                 while camped on GSM or UMTS
 *     NR neighbours   "neighbourcell","NR5G"|"NR",arfcn,pci,rsrp,rsrq,sinr[,...]       not documented, seen
 *
 * SINR is taken as dB, which is what the serving row prints on every module that could be cross-checked; the satellite
 * form of NB-IoT prints fifths, and so do LTE-M and NB-IoT modules whose number is too great for dB. The SINR column of
 * LTE neighbours stays at constants (0, -20) while the serving cell reads otherwise: it is never believed.
 */
import type { Db, Dbm } from '../../base/units.ts';
import { identityMembers, readBand, readIdentity, splitPlmn } from '../cell-identity.ts';
import type { IdentityFields } from '../cell-identity.ts';
import { fifths, readLevels, readUmtsLevels, windows } from '../levels.ts';
import type {
  AntennaLevels,
  Carrier,
  Dialect,
  ModemState,
  ReplyParser,
  Temperature,
} from '../modem-report.ts';
import type { CellIdentity, CellMeasurement, Metric } from '../radio-sample.ts';
import {
  cleanText,
  disbelieve,
  fieldOf,
  isBlank,
  present,
  readDecimal,
  readInformation,
  readMetric,
  readWhole,
} from '../reply-fields.ts';
import type { Field } from '../reply-fields.ts';
import { readFix } from '../satellite-fix.ts';
import { dialectCommand, readRows } from './generic.ts';

type Row = readonly Field[];

const states: Readonly<Record<string, ModemState>> = {
  SEARCH: 'searching',
  LIMSRV: 'limited',
  NOCONN: 'idle',
  CONNECT: 'connected',
};

/** `AT+QENG="servingcell"` and `AT+QENG="neighbourcell"`. */
export const parseCells: ReplyParser = (lines) => {
  const rows = readInformation(lines, 'QENG');
  if (rows.length === 0) return {};
  let modemState: ModemState | undefined;
  let refusedRows = 0;
  const cells: CellMeasurement[] = [];
  for (const row of rows) {
    const kind = row[0]?.text ?? '';
    if (/^neighbourcell/.test(kind)) {
      const cell = parseNeighbourRow(row);
      if (cell !== undefined) cells.push(cell);
      continue;
    }
    const isServing = kind === 'servingcell';
    if (isServing) modemState = states[row[1]?.text ?? ''] ?? modemState;
    if (isServing && row.length <= 2) continue;
    const cell = parseServingRow(closeGap(isServing ? row.slice(2) : row));
    if (cell === undefined) refusedRows++;
    else cells.push(cell);
  }
  return { cells, ...present({ modemState }), ...(refusedRows > 0 && { refusedRows }) };
};

function parseServingRow(row: Row): CellMeasurement | undefined {
  const technology = row[0]?.text.toUpperCase() ?? '';
  if (technology === 'LTE' || narrowband.test(technology)) return parseLte(row, technology);
  if (technology === 'NR5G-SA') return parseStandalone(row);
  if (technology === 'NR5G-NSA') return parseNonStandalone(row);
  if (technology === 'WCDMA') return parseWcdma(row);
  if (technology === 'GSM') return parseGsm(row);
  return undefined;
}

/** Where the middle of a row was cut out (`...`), its columns are counted from the end. */
function closeGap(row: Row): Row {
  const gap = row.findIndex(({ text }) => text === '...');
  const length = row[0]?.text === 'NR5G-SA' ? 15 : 16;
  if (gap < 0 || row.length >= length) return row;
  const unknown = Array.from({ length: length - row.length + 1 }, () => fieldOf(''));
  return [...row.slice(0, gap), ...unknown, ...row.slice(gap + 1)];
}

const narrowband = /^(?:EMTC|CAT-?M1?|CAT-?NB[12]?|NB-?IOT|NTN NB-?IOT)$/i;

function parseLte(row: Row, technology: string): CellMeasurement | undefined {
  if (row.length < 15 || row.length > 18) return undefined;
  const [, , mcc, mnc, cellId, pci, arfcn, band, , , tac, rsrp, rsrq, rssi, sinr] = row;
  const identity = wholeIdentity({ mcc, mnc, cellId, pci, arfcn, band, tac }, 'lte');
  if (identity === undefined) return undefined;
  const levels = readLevels('lte', { rsrp, rsrq, rssi, sinr }, 1, sinrScale(technology));
  return { rat: 'lte', serving: true, identity, ...levels };
}

function sinrScale(technology: string): ((printed: number) => number) | undefined {
  if (/^NTN/i.test(technology)) return fifths;
  if (!narrowband.test(technology)) return undefined;
  // BG9x: the manual says fifths, the firmware seen prints dB; only a number that no SINR in dB reaches is in fifths.
  return (printed) => (printed > windows.sinr.max ? fifths(printed) : printed);
}

function parseStandalone(row: Row): CellMeasurement | undefined {
  if (row.length < 13 || row.length > 17) return undefined;
  const [, , mcc, mnc, cellId, pci, tac, arfcn, band, , rsrp, rsrq, sinr] = row;
  const identity = wholeIdentity({ mcc, mnc, cellId, pci, arfcn, band, tac }, 'nr');
  return identity && { rat: 'nr', serving: true, identity, ...readLevels('nr', { rsrp, rsrq, sinr }) };
}

function parseNonStandalone(row: Row): CellMeasurement | undefined {
  if (row.length < 7 || row.length > 11) return undefined;
  const [, mcc, mnc, pci, rsrp, sinr, rsrq, arfcn, band] = row;
  const identity = wholeIdentity({ mcc, mnc, pci, arfcn, band }, 'nr');
  return identity && { rat: 'nr', serving: true, identity, ...readLevels('nr', { rsrp, rsrq, sinr }) };
}

/** `"WCDMA",MCC,MNC,lac,cell,uarfcn,psc,rac,rscp,ecio,...`. */
function parseWcdma(row: Row): CellMeasurement | undefined {
  if (row.length < 10) return undefined;
  const [, mcc, mnc, tac, cellId, arfcn, pci, , rscp, ecno] = row;
  const identity = wholeIdentity({ mcc, mnc, cellId, arfcn, tac, pci }, 'wcdma');
  return identity && { rat: 'wcdma', serving: true, identity, ...readUmtsLevels(rscp, ecno) };
}

/** `"GSM",MCC,MNC,lac,cell,bsic,arfcn,band,rxlev,...`. */
function parseGsm(row: Row): CellMeasurement | undefined {
  if (row.length < 9) return undefined;
  const [, mcc, mnc, tac, cellId, , arfcn, , rxlev] = row;
  const identity = wholeIdentity({ mcc, mnc, cellId, arfcn, tac }, 'gsm');
  const rssiDbm = readMetric<Dbm>(rxlev, windows.rssi);
  return identity && { rat: 'gsm', serving: true, identity, ...present({ rssiDbm }) };
}

/** A measured neighbour; undefined for a row without a measurement or without the identity of a cell. */
function parseNeighbourRow(row: Row): CellMeasurement | undefined {
  const [kind, technology, arfcn, pci, third, fourth, fifth, sixth] = row;
  const place = /^neighbourcell(?: (int(?:ra|er)))?$/.exec(kind?.text ?? '');
  if (place === null || row.length < 6) return undefined;
  if (technology?.text === 'WCDMA') return parseUmtsNeighbour(row);
  if (technology?.text === 'GSM') return parseGsmNeighbour(row);
  const rat =
    technology?.text === 'LTE' ? 'lte' : /^NR(?:5G)?$/.test(technology?.text ?? '') ? 'nr' : undefined;
  if (rat === undefined) return undefined;
  const identity = wholeIdentity({ arfcn, pci }, rat);
  if (identity?.pci === undefined || identity.arfcn === undefined) return undefined;
  const levels =
    rat === 'nr'
      ? readLevels('nr', { rsrp: third, rsrq: fourth, sinr: fifth })
      : place[1] === undefined
        ? readLevels('lte', { rsrp: third, rsrq: fourth })
        : {
            ...readLevels('lte', { rsrq: third, rsrp: fourth, rssi: fifth }),
            ...present({ sinrDb: disbelieve<Db>(sixth) }),
          };
  return levels.rsrpDbm === undefined ? undefined : { rat, serving: false, identity, ...levels };
}

/** While camped on LTE `uarfcn,priority,high,low,psc,rscp,ecno,srxlev`, on UMTS `uarfcn,srxqual,psc,rscp,ecno,...`. */
function parseUmtsNeighbour(row: Row): CellMeasurement | undefined {
  for (const [pci, rscp, ecno] of [row.slice(6, 9), row.slice(4, 7), row.slice(3, 6)]) {
    const levels = readUmtsLevels(rscp, ecno);
    if (levels.rscpDbm?.value === undefined || levels.ecnoDb?.value === undefined) continue;
    const identity = wholeIdentity({ arfcn: row[2], pci }, 'wcdma');
    if (identity !== undefined) return { rat: 'wcdma', serving: false, identity, ...levels };
  }
  return undefined;
}

/** While camped on GSM: `MCC,MNC,lac,cell,bsic,arfcn,rxlev,...`. */
function parseGsmNeighbour(row: Row): CellMeasurement | undefined {
  const [, , mcc, mnc, tac, cellId, , arfcn, rxlev] = row;
  const identity = wholeIdentity({ mcc, mnc, tac, cellId, arfcn }, 'gsm');
  const rssiDbm = readMetric<Dbm>(rxlev, windows.rssi);
  if (identity?.mcc === undefined || rssiDbm?.value === undefined) return undefined;
  return { rat: 'gsm', serving: false, identity, rssiDbm };
}

/** The identity, or undefined when a part of it cannot be: then the columns are not where they seem to be. */
function wholeIdentity(
  fields: IdentityFields,
  rat: 'gsm' | 'wcdma' | 'lte' | 'nr',
): CellIdentity | undefined {
  const { identity, suspects } = readIdentity(fields, rat);
  return suspects.length > 0 ? undefined : identity;
}

/** `+QCSQ: "LTE",rssi,rsrp,sinr(fifths),rsrq`, `"NR5G",rsrp,sinr(dB),rsrq`, `"WCDMA",rssi,rscp,ecio`, `"GSM",rssi`. */
const parseSignal: ReplyParser = (lines) => {
  const rows = readInformation(lines, 'QCSQ');
  if (rows.length === 0) return {};
  if (rows.some((row) => /^NO ?SERVICE$/i.test(row[0]?.text ?? '')))
    return { cells: [], modemState: 'noService' };
  const { items, refusedRows } = readRows(rows, ([technology, ...fields]) =>
    signalCell(technology?.text.toUpperCase() ?? '', fields),
  );
  return { cells: items, ...(refusedRows > 0 && { refusedRows }) };
};

function signalCell(technology: string, fields: Row): CellMeasurement | undefined {
  const cell = { serving: true, identity: {} } as const;
  const [first, second, third, fourth] = fields;
  if (technology === 'LTE' || narrowband.test(technology)) {
    if (fields.length !== 4) return undefined;
    const levels = { rssi: first, rsrp: second, sinr: third, rsrq: fourth };
    return { rat: 'lte', ...cell, ...readLevels('lte', levels, 1, fifths) };
  }
  if (technology.startsWith('NR5G')) {
    // A form with four numbers circulates; which of them is which is not known.
    if (fields.length !== 3) return undefined;
    return { rat: 'nr', ...cell, ...readLevels('nr', { rsrp: first, sinr: second, rsrq: third }) };
  }
  if (technology === 'WCDMA' && fields.length >= 3)
    return { rat: 'wcdma', ...cell, ...readUmtsLevels(second, third, first) };
  if (technology === 'GSM' && fields.length >= 1)
    return { rat: 'gsm', ...cell, ...present({ rssiDbm: readMetric<Dbm>(first, windows.rssi) }) };
  return undefined;
}

/** `+QNWINFO: act,plmn,band,channel`, one row for each technology in use; `No Service` without one. */
const parseNetwork: ReplyParser = (lines) => {
  const rows = readInformation(lines, 'QNWINFO');
  if (rows.length === 0) return {};
  if (rows.some((row) => /^NO ?SERVICE$/i.test(row[0]?.text ?? '')))
    return { cells: [], modemState: 'noService' };
  const { items, refusedRows } = readRows(rows, ([technology, plmn, band, arfcn]) => {
    const rat = ratOfName(technology?.text ?? '');
    if (rat === undefined) return undefined;
    const identity = readIdentity({ ...splitPlmn(plmn), arfcn, ...bandField(band) }, rat);
    return { rat, serving: true, ...identityMembers(identity) };
  });
  return { cells: items, ...(refusedRows > 0 && { refusedRows }) };
};

/** Names such as `GSM 900` hold a frequency and no band number. */
function bandField(field: Field | undefined): { band?: Field } {
  const isBand = field !== undefined && readBand(field.text) !== undefined;
  return isBand ? { band: field } : {};
}

type CellularRat = 'gsm' | 'wcdma' | 'lte' | 'nr';

function ratOfName(name: string): CellularRat | undefined {
  if (/NR/i.test(name)) return 'nr';
  if (/LTE|EMTC|CAT-?M|CAT-?NB|NB-?IOT/i.test(name)) return 'lte';
  if (/WCDMA|HSPA|HSDPA|HSUPA|UMTS/i.test(name)) return 'wcdma';
  return /GSM|GPRS|EDGE/i.test(name) ? 'gsm' : undefined;
}

/** `+QRSRP`, `+QRSRQ`, `+QSINR`: `rx0,rx1,rx2,rx3[,technology]`, one row for each technology. */
function parseAntennas(prefix: 'QRSRP' | 'QRSRQ' | 'QSINR'): ReplyParser {
  return (lines) => {
    const antennas = readInformation(lines, prefix).map((row): AntennaLevels => {
      const rat = ratOfName(row.at(-1)?.text ?? '');
      const branches = row.slice(0, rat === undefined ? 4 : Math.min(4, row.length - 1));
      const level = (field: Field): Metric<Dbm & Db> => {
        const { rsrpDbm, rsrqDb, sinrDb } = readLevels(rat === 'nr' ? 'nr' : 'lte', {
          rsrp: field,
          rsrq: field,
          sinr: field,
        });
        const metric = prefix === 'QRSRP' ? rsrpDbm : prefix === 'QRSRQ' ? rsrqDb : sinrDb;
        return (metric ?? { raw: field.text }) as Metric<Dbm & Db>;
      };
      const levels = branches.map(level);
      return {
        ...present({ rat }),
        ...(prefix === 'QRSRP'
          ? { rsrpDbm: levels }
          : prefix === 'QRSRQ'
            ? { rsrqDb: levels }
            : { sinrDb: levels }),
      };
    });
    return antennas.length === 0 ? {} : { antennas };
  };
}

const resourceBlockMhz: Readonly<Record<number, number>> = { 6: 1.4, 15: 3, 25: 5, 50: 10, 75: 15, 100: 20 };

/**
 * `+QCAINFO`, one row for each carrier. The bandwidth is in resource blocks for LTE; for NR it is an index whose table
 * changes with the firmware, left out. The last number of LTE rows is the RSSNR: the manual says fifths, some firmware
 * prints dB (15 beside a SINR of 16, -4), so it is not believed; that of NR rows is the SNR in hundredths.
 *
 *     LTE          "PCC"|"SCC",arfcn,bandwidth,"LTE BAND n",state,pci,rsrp,rsrq,rssi,rssnr[,uplink...]
 *     NR           "PCC"|"SCC",arfcn,bandwidth,"NR5G BAND n",pci[,rsrp,rsrq,snr]
 *     NR, SA       "SCC",arfcn,bandwidth,"NR5G BAND n",state,pci,uplink,ulbw,ularfcn[,rsrp,rsrq,snr]
 *     RM500U       "PCC",arfcn,MHz,"NR Nn",state,pci,rsrp,rsrq,rssi,snr
 */
const parseCarriers: ReplyParser = (lines) => {
  const rows = readInformation(lines, 'QCAINFO');
  if (rows.length === 0) return {};
  const { items, refusedRows } = readRows(rows, carrierOf);
  return { carriers: items, ...(refusedRows > 0 && { refusedRows }) };
};

function carrierOf(row: Row): Carrier | undefined {
  const [kind, arfcn, bandwidth, bandName, ...rest] = row;
  const role = /^PCC$/i.test(kind?.text ?? '')
    ? 'primary'
    : /^SCC\d*$/i.test(kind?.text ?? '')
      ? 'secondary'
      : undefined;
  const rat = ratOfName(bandName?.text ?? '');
  if (role === undefined || (rat !== 'lte' && rat !== 'nr')) return undefined;
  const isUnisoc = /^NR N\d/i.test(bandName?.text ?? '');
  const hasState = rat === 'lte' || isUnisoc || (rest.length !== 1 && rest.length !== 4);
  const [pci, ...levels] = hasState ? rest.slice(1) : rest;
  const identity = wholeIdentity({ arfcn, pci, band: bandName }, rat);
  if (identity === undefined) return undefined;
  const blocks = readWhole(bandwidth, 0, 400);
  const bandwidthMhz = isUnisoc ? blocks : rat === 'lte' ? resourceBlockMhz[blocks ?? 0] : undefined;
  const [rsrp, rsrq, third, fourth] =
    rat === 'lte' || isUnisoc ? levels : hasState ? levels.slice(3) : levels;
  const isNr = rat === 'nr' && !isUnisoc;
  const { rsrpDbm, rsrqDb, rssiDbm } = readLevels(rat, { rsrp, rsrq, ...(!isNr && { rssi: third }) });
  const rssnrDb = isNr
    ? readMetric<Db>(third, windows.sinr, hundredths)
    : isUnisoc
      ? readMetric<Db>(fourth, windows.sinr)
      : disbelieve<Db>(fourth);
  return { role, rat, identity, ...present({ bandwidthMhz, rsrpDbm, rsrqDb, rssiDbm, rssnrDb }) };
}

/** Below 41 the number could as well be in whole dB. */
function hundredths(printed: number): number {
  return Math.abs(printed) > windows.sinr.max ? printed / 100 : Number.NaN;
}

/** `+QSPN: full name,short name,service provider,alphabet,plmn`. */
const parseProvider: ReplyParser = (lines) => {
  const [full, short, , , plmn] = readInformation(lines, 'QSPN').at(-1) ?? [];
  const operator = cleanText(full) ?? cleanText(short) ?? cleanText(plmn);
  return operator === undefined ? {} : { operator };
};

/**
 * `+QCELL` of the EC200 family: kind,technology,mcc,mnc,tac,cell,pci|bsic,level. The scale of the level is not known.
 */
const parseCellList: ReplyParser = (lines) => {
  const rows = readInformation(lines, 'QCELL');
  if (rows.length === 0) return {};
  const { items, refusedRows } = readRows(rows, ([kind, technology, mcc, mnc, tac, cellId, pci, level]) => {
    const rat = ratOfName(technology?.text ?? '');
    if (rat === undefined) return undefined;
    const identity = readIdentity({ mcc, mnc, tac, cellId, ...(rat !== 'gsm' && { pci }) }, rat);
    const rssiDbm = disbelieve<Dbm>(level);
    return {
      rat,
      serving: kind?.text === 'servingcell',
      ...identityMembers(identity),
      ...present({ rssiDbm }),
    };
  });
  return { cells: items, ...(refusedRows > 0 && { refusedRows }) };
};

/** `+QTEMP: "sensor","50"` one a row, or `+QTEMP: 30,28,27`; -273 is a sensor that is off. */
const parseTemperatures: ReplyParser = (lines) => {
  const temperatures = readInformation(lines, 'QTEMP').flatMap((row): Temperature[] => {
    const isNamed = row[0] !== undefined && !isBlank(row[0]) && readDecimal(row[0], -300, 300) === undefined;
    return (isNamed ? row.slice(1, 2) : row).flatMap((field) => {
      const temperatureC = readDecimal(field, -60, 150);
      const sensor = isNamed ? cleanText(row[0]) : undefined;
      return temperatureC === undefined ? [] : [{ temperatureC, ...present({ sensor }) }];
    });
  });
  return temperatures.length === 0 ? {} : { temperatures };
};

/** `+QGPSLOC: utc,lat,lon,hdop,altitude,fix,course,km/h,knots,date,satellites` in each of its coordinate forms. */
export const parsePosition: ReplyParser = (lines) => {
  const row = readInformation(lines, 'QGPSLOC').at(-1) ?? [];
  // Mode 1 gives the hemispheres in fields of their own.
  const isSplit = /^[NS]$/i.test(row[2]?.text ?? '');
  const [time, latitude, longitude, hdop, altitude, , course, speedKmh, , date, satellites] = isSplit
    ? row.filter((_, index) => index !== 2 && index !== 4)
    : row;
  const hemispheres = isSplit ? { northSouth: row[2], eastWest: row[4] } : {};
  const position = readFix({
    latitude,
    longitude,
    ...hemispheres,
    hdop,
    altitude,
    course,
    speedKmh,
    satellites,
    time,
    date,
  });
  return position === undefined ? {} : { position };
};

/** Quectel's commands. */
export const quectelDialect: Dialect = {
  vendor: 'quectel',
  setup: [],
  commands: [
    dialectCommand('AT+QENG="servingcell"', 'serving', parseCells),
    dialectCommand('AT+QENG="neighbourcell"', 'neighbours', parseCells),
    dialectCommand('AT+QCSQ', 'other', parseSignal),
    dialectCommand('AT+QNWINFO', 'other', parseNetwork),
    dialectCommand('AT+QCELL?', 'other', parseCellList),
    dialectCommand('AT+QRSRP', 'other', parseAntennas('QRSRP')),
    dialectCommand('AT+QRSRQ', 'other', parseAntennas('QRSRQ')),
    dialectCommand('AT+QSINR', 'other', parseAntennas('QSINR')),
    dialectCommand('AT+QCAINFO', 'carriers', parseCarriers),
    dialectCommand('AT+QSPN', 'other', parseProvider),
    dialectCommand('AT+QTEMP', 'temperature', parseTemperatures),
    dialectCommand('AT+QGPSLOC=2', 'position', parsePosition),
  ],
};
