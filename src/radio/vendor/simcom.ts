/**
 * SIMCom. `+CPSI` names the technology first; the columns follow from it.
 *
 *     LTE     LTE,Online,MCC-MNC,tac(0x hex),cell(dec),pci,band,arfcn,dlbw,ulbw,rsrq,rsrp,rssi,rssnr
 *     EN-DC   second row  NR5G,pci,arfcn,rsrq,rsrp,snr      or  NR5G_NSA,pci,band,arfcn,rsrp,rsrq,snr[,scs,bw]
 *     SA      NR5G[_SA],Online,MCC-MNC,tac,cell,pci,[band,]arfcn,rsrp,rsrq,snr           levels in another order than LTE
 *     WCDMA   WCDMA,Online,MCC-MNC,lac,cell,band,psc,arfcn,ssc,ecio,rscp,qual,rxlev,txpower
 *     GSM     GSM,Online,MCC-MNC,lac,cell,arfcn band,rxlev,offset,c1-c2
 *
 * Levels come in three scales: tenths (SIM7600, SIM8200), whole dB (SIM70xx) and indices of +CESQ (A76xx). The RSRP tells
 * which one a row has, for the ranges of the three do not overlap; EN-DC rows of one reply may differ. The SNR of NR rows
 * is in tenths or in dB: it is believed where only one of them can be, or where the row's own form tells.
 */
import type { Db } from '../../base/units.ts';
import { identityMembers, readBand, readIdentity, splitPlmn } from '../cell-identity.ts';
import { readIndexedLevels, readLevels, readUmtsLevels, windows } from '../levels.ts';
import type { Levels } from '../levels.ts';
import type { Dialect, ModemReport, ModemState, ReplyParser } from '../modem-report.ts';
import type { CellMeasurement, Metric } from '../radio-sample.ts';
import {
  disbelieve,
  fieldOf,
  present,
  readBodies,
  readDecimal,
  readInformation,
  readMetric,
} from '../reply-fields.ts';
import type { Field } from '../reply-fields.ts';
import { readFix } from '../satellite-fix.ts';
import { dialectCommand } from './generic.ts';

type Row = readonly Field[];
type Scale = 'tenths' | 'whole' | 'index';

/** `+CPSI` (SIM7500/SIM7600 AT manual, A76XX AT manual, SIM8200 AT manual: "Inquiring UE system information"). */
const parseSystem: ReplyParser = (lines) => {
  const rows = readInformation(lines, 'CPSI');
  if (rows.length === 0) return {};
  const cells: CellMeasurement[] = [];
  let modemState: ModemState | undefined;
  let refusedRows = 0;
  for (const row of rows) {
    const technology = row[0]?.text.toUpperCase() ?? '';
    if (/^NO SERVICE/.test(technology)) modemState = 'noService';
    if (/^NO/.test(technology)) continue;
    const cell = parseSystemRow(technology, row);
    if (cell === undefined) refusedRows++;
    else cells.push(cell);
    if (/^(?:LOW POWER|OFFLINE)/i.test(row[1]?.text ?? '')) modemState = 'noService';
  }
  return { cells, ...present({ modemState }), ...(refusedRows > 0 && { refusedRows }) };
};

function parseSystemRow(technology: string, row: Row): CellMeasurement | undefined {
  if (/^(?:LTE|EMTC|NB-?IOT)/.test(technology)) return parseLte(row);
  if (/^NR5G/.test(technology)) return parseNr(row);
  if (/^WCDMA/.test(technology)) return parseWcdma(row);
  if (/^GSM/.test(technology)) return parseGsm(row);
  return undefined;
}

function parseLte(row: Row): CellMeasurement | undefined {
  if (row.length < 14) return undefined;
  const [, , plmn, tac, cellId, pci, band, arfcn, , , rsrq, rsrp, rssi, rssnr] = row;
  const identity = readIdentity({ ...splitPlmn(plmn), tac, cellId, pci, band, arfcn }, 'lte', {
    cellId: 'decimal',
  });
  const scale = scaleOf(rsrp);
  const sinrDb = present({ sinrDb: readMetric<Db>(rssnr, windows.sinr) });
  const levels: Levels =
    scale === 'index'
      ? // The index of the RSSI follows no table that is known.
        { ...readIndexedLevels('lte', { rsrp, rsrq }), ...present({ rssiDbm: disbelieveRssi(rssi) }) }
      : readLevels('lte', { rsrp, rsrq, rssi }, scale === 'tenths' ? 10 : 1);
  return { rat: 'lte', serving: true, ...identityMembers(identity), ...levels, ...sinrDb };
}

function disbelieveRssi(field: Field | undefined): Levels['rssiDbm'] {
  return field?.text === '255' ? { raw: field.text } : disbelieve(field);
}

/** The scale of a row by its RSRP: -1400..-440, -156..-31 or 0..97; whole where none fits. */
function scaleOf(rsrp: Field | undefined): Scale {
  if (readDecimal(rsrp, -1560, -310) !== undefined) return 'tenths';
  return readDecimal(rsrp, 0, 126) !== undefined ? 'index' : 'whole';
}

function parseNr(row: Row): CellMeasurement | undefined {
  const isStandalone = /^[A-Z ]+$/i.test(row[1]?.text ?? '');
  if (isStandalone) return parseStandalone(row);
  const hasBand = readBand(row[2]?.text ?? '') !== undefined && /[A-Z]/i.test(row[2]?.text ?? '');
  if (row.length < (hasBand ? 7 : 6)) return undefined;
  const [, pci, second, third, fourth, fifth, sixth] = row;
  if (!hasBand) {
    // NR5G,pci,arfcn,rsrq,rsrp,snr
    const identity = readIdentity({ pci, arfcn: second }, 'nr');
    const levels = nrLevels(fourth, third, fifth, 'tenths');
    return { rat: 'nr', serving: true, ...identityMembers(identity), ...levels };
  }
  const identity = readIdentity({ pci, band: second, arfcn: third }, 'nr');
  const levels = nrLevels(fourth, fifth, sixth, row.length > 7 ? 'whole' : 'unknown');
  return { rat: 'nr', serving: true, ...identityMembers(identity), ...levels };
}

function parseStandalone(row: Row): CellMeasurement | undefined {
  const hasBand = /[A-Z]/i.test(row[6]?.text ?? '');
  if (row.length < (hasBand ? 11 : 10)) return undefined;
  const [, , plmn, tac, cellId, pci] = row;
  const [band, arfcn, rsrp, rsrq, snr] = hasBand ? row.slice(6) : [undefined, ...row.slice(6)];
  const identity = readIdentity({ ...splitPlmn(plmn), tac, cellId, pci, band, arfcn }, 'nr', {
    cellId: 'decimal',
  });
  const levels = nrLevels(rsrp, rsrq, snr, scaleOf(rsrp) === 'whole' ? 'whole' : 'unknown');
  return { rat: 'nr', serving: true, ...identityMembers(identity), ...levels };
}

/** Levels of an NR row; `snrScale` is what the form of the row says of its SNR. */
function nrLevels(
  rsrp: Field | undefined,
  rsrq: Field | undefined,
  snr: Field | undefined,
  snrScale: 'whole' | 'tenths' | 'unknown',
): Levels {
  const scale = scaleOf(rsrp);
  const levels =
    scale === 'index'
      ? readIndexedLevels('nr', { rsrp, rsrq })
      : readLevels('nr', { rsrp, rsrq }, scale === 'tenths' ? 10 : 1);
  return { ...levels, ...present({ sinrDb: readNrSnr(snr, snrScale) }) };
}

function readNrSnr(field: Field | undefined, scale: 'whole' | 'tenths' | 'unknown'): Metric<Db> | undefined {
  if (field === undefined) return undefined;
  const isDecimal = field.text.includes('.');
  if (isDecimal || scale === 'whole') return readMetric<Db>(field, windows.sinr);
  const printed = readDecimal(field, -400, 400);
  const isBeyondDb = printed !== undefined && (printed > windows.sinr.max || printed < windows.sinr.min);
  if (isBeyondDb || scale === 'tenths') return readMetric<Db>(field, windows.sinr, (value) => value / 10);
  return disbelieve<Db>(field);
}

function parseWcdma(row: Row): CellMeasurement | undefined {
  if (row.length < 11) return undefined;
  const [, , plmn, tac, cellId, , pci, arfcn, , ecno, rscp, , rssi] = row;
  const identity = readIdentity({ ...splitPlmn(plmn), tac, cellId, pci, arfcn }, 'wcdma', {
    cellId: 'decimal',
  });
  return { rat: 'wcdma', serving: true, ...identityMembers(identity), ...readUmtsLevels(rscp, ecno, rssi) };
}

function parseGsm(row: Row): CellMeasurement | undefined {
  if (row.length < 7) return undefined;
  const [, , plmn, tac, cellId, channel, rssi] = row;
  const arfcn = fieldOf(channel?.text.split(' ')[0] ?? '');
  const identity = readIdentity({ ...splitPlmn(plmn), tac, cellId, arfcn }, 'gsm', { cellId: 'decimal' });
  const { rssiDbm } = readUmtsLevels(undefined, undefined, rssi);
  return { rat: 'gsm', serving: true, ...identityMembers(identity), ...present({ rssiDbm }) };
}

/** `+CNETCI?` (A76XX AT manual): `+CNETCISRVINFO` and `+CNETCINONINFO` rows of `key: value`, levels as indices. */
const parseNeighbours: ReplyParser = (lines) => {
  const cells = [
    ...readBodies(lines, 'CNETCISRVINFO').map((body) => parseKeyedCell(body, true)),
    ...readBodies(lines, 'CNETCINONINFO').map((body) => parseKeyedCell(body, false)),
  ];
  return cells.length === 0 ? {} : { cells };
};

function parseKeyedCell(body: string, serving: boolean): CellMeasurement {
  const values = new Map(
    [...body.matchAll(/([A-Za-z-]{3,8})\s*:\s*(-?[\d-]+)/g)].map(([, key, value]) => [
      key?.toLowerCase() ?? '',
      fieldOf(value ?? ''),
    ]),
  );
  const identity = readIdentity(
    {
      ...splitPlmn(values.get('mcc-mnc')),
      tac: values.get('tac'),
      cellId: values.get('cellid'),
      pci: values.get('pci'),
      arfcn: values.get('earfcn'),
    },
    'lte',
    { tac: 'decimal', cellId: 'decimal' },
  );
  const levels = readIndexedLevels('lte', { rsrp: values.get('rsrp'), rsrq: values.get('rsrq') });
  return { rat: 'lte', serving, ...identityMembers(identity), ...levels };
}

/**
 * `+CGNSSINFO`, `+CGPSINFO` (SIM7500/SIM7600, A76XX AT manuals): `[mode,satellites...,]lat,N,lon,E,date,utc,altitude,
 * knots,course[,PDOP,HDOP,VDOP]`. The number of satellite columns differs; the hemispheres mark the place.
 */
function parseFix(prefix: 'CGNSSINFO' | 'CGPSINFO'): ReplyParser {
  return (lines): ModemReport => {
    const row = readInformation(lines, prefix).at(-1) ?? [];
    const north = row.findIndex(
      ({ text }, index) => /^[NS]$/i.test(text) && /^[EW]$/i.test(row[index + 2]?.text ?? ''),
    );
    if (north < 1) return {};
    const [latitude, northSouth, longitude, eastWest, date, time, altitude, speedKnots, course] = row.slice(
      north - 1,
    );
    const counts = row.slice(1, north - 1).map((field) => readDecimal(field, 0, 99) ?? 0);
    const used = counts.reduce((sum, count) => sum + count, 0);
    const position = readFix({
      latitude,
      longitude,
      northSouth,
      eastWest,
      date,
      time,
      altitude,
      speedKnots,
      course,
      hdop: row[north + 9],
      ...(prefix === 'CGNSSINFO' && used > 0 && { satellites: fieldOf(String(used)) }),
    });
    return position === undefined ? {} : { position };
  };
}

/** `+CGNSINF` (SIM7000/SIM70x0 AT manual): run,fix,utc,lat,lon,altitude,km/h,course,mode,,HDOP,PDOP,VDOP,,in view,used. */
const parseNavigation: ReplyParser = (lines) => {
  const row = readInformation(lines, 'CGNSINF').at(-1) ?? [];
  const [, fix, utc, latitude, longitude, altitude, speedKmh, course, , , hdop, , , , , satellites] = row;
  if (fix?.text !== '1') return {};
  const date = fieldOf(utc?.text.slice(0, 8) ?? '');
  const time = fieldOf(utc?.text.slice(8) ?? '');
  const position = readFix({ latitude, longitude, altitude, speedKmh, course, hdop, satellites, date, time });
  return position === undefined ? {} : { position };
};

/** `+CPMUTEMP: 46`. */
const parseTemperature: ReplyParser = (lines) => {
  const temperatureC = readDecimal(readInformation(lines, 'CPMUTEMP').at(-1)?.[0], -60, 150);
  return temperatureC === undefined ? {} : { temperatures: [{ temperatureC }] };
};

/** SIMCom's commands. */
export const simcomDialect: Dialect = {
  vendor: 'simcom',
  setup: [],
  commands: [
    dialectCommand('AT+CPSI?', 'serving', parseSystem),
    dialectCommand('AT+CNETCI?', 'neighbours', parseNeighbours),
    dialectCommand('AT+CNETCI?', 'other', parseNeighbours, { name: '+CNETCISRVINFO' }),
    dialectCommand('AT+CNETCI?', 'other', parseNeighbours, { name: '+CNETCINONINFO' }),
    dialectCommand('AT+CPMUTEMP', 'temperature', parseTemperature),
    dialectCommand('AT+CGNSSINFO', 'position', parseFix('CGNSSINFO')),
    dialectCommand('AT+CGPSINFO', 'other', parseFix('CGPSINFO')),
    dialectCommand('AT+CGNSINF', 'other', parseNavigation),
  ],
};
