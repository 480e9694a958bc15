/**
 * Telit (LE910Cx, LM960 AT Commands Reference Guides).
 *
 *     #RFSTS LTE    "mcc mnc",arfcn,rsrp,rssi,rsrq,tac,rac[,txpower],drx,mm,rrc,cell,"imsi","name",sd,band[,sinr in fifths]
 *            UMTS   "mcc mnc",arfcn,psc,ecio,rscp,rssi,lac,rac,txpower,drx,mm,rrc,nom,bler,cell,"imsi","name",sd,...
 *            GSM    "mcc mnc",arfcn,rssi,lac,rac,txpower,mm,rr,nom,cell,"imsi","name",sd,band
 *     #SERVINFO LTE  arfcn,rssi,"name","plmn",cell,tac,drx,sd,rsrp        UMTS  arfcn,rssi,"name","plmn",psc,lac,drx,sd,rscp,nom,rac
 *     #MONI         NAME RSRP:n RSRQ:n TAC:x Id:x EARFCN:n PWR:ndbm DRX:n       after #MONI=1 without TAC, Id is the PCI
 *
 * The quoted IMSI is the anchor of `#RFSTS`: columns before it come and go. It is never reported.
 */
import type { Db, Dbm } from '../../base/units.ts';
import { identityMembers, readIdentity, splitPlmn } from '../cell-identity.ts';
import { fifths, readLevels, readUmtsLevels, windows } from '../levels.ts';
import type { Dialect, ModemReport, ReplyParser } from '../modem-report.ts';
import type { CellMeasurement } from '../radio-sample.ts';
import {
  cleanText,
  contentLines,
  fieldOf,
  present,
  readBodies,
  readDecimal,
  readInformation,
  readMetric,
  splitFields,
} from '../reply-fields.ts';
import type { Field } from '../reply-fields.ts';
import { readFix } from '../satellite-fix.ts';
import { dialectCommand } from './generic.ts';

type Row = readonly Field[];

/** `#RFSTS`. */
const parseStatus: ReplyParser = (lines) => {
  const row = readInformation(lines, '#RFSTS').at(-1);
  if (row === undefined) return {};
  const imsi = row.findIndex((field, index) => index > 0 && field.quoted);
  const operator = cleanText(row[imsi + 1]);
  const cell = imsi < 10 ? undefined : statusCell(row, imsi);
  return cell === undefined
    ? { cells: [], refusedRows: 1 }
    : { cells: [cell], ...(imsi > 0 && present({ operator })) };
};

function statusCell(row: Row, imsi: number): CellMeasurement | undefined {
  const [plmn, arfcn, third, fourth, fifth, sixth, seventh] = row;
  const cellId = row[imsi - 1];
  const codes = { ...splitPlmn(plmn), arfcn, cellId };
  const isLte = [third, fourth, fifth].every((field) => /^-\d/.test(field?.text ?? ''));
  if (isLte) {
    const sinrDb = readMetric<Db>(row[imsi + 4], windows.sinr, fifths);
    const identity = readIdentity({ ...codes, tac: sixth, band: row[imsi + 3] }, 'lte');
    const levels = readLevels('lte', { rsrp: third, rssi: fourth, rsrq: fifth });
    return { rat: 'lte', serving: true, ...identityMembers(identity), ...levels, ...present({ sinrDb }) };
  }
  if (imsi >= 14) {
    const identity = readIdentity({ ...codes, pci: third, tac: seventh }, 'wcdma');
    return {
      rat: 'wcdma',
      serving: true,
      ...identityMembers(identity),
      ...readUmtsLevels(fifth, fourth, sixth),
    };
  }
  if (!/^-\d/.test(third?.text ?? '')) return undefined;
  const identity = readIdentity({ ...codes, tac: fourth }, 'gsm');
  const rssiDbm = readMetric<Dbm>(third, windows.rssi);
  return { rat: 'gsm', serving: true, ...identityMembers(identity), ...present({ rssiDbm }) };
}

/** `#SERVINFO`. */
const parseServing: ReplyParser = (lines): ModemReport => {
  const row = readInformation(lines, '#SERVINFO').at(-1);
  if (row === undefined) return {};
  const [arfcn, rssi, name, plmn, fifth, tac, , , level] = row;
  const operator = present({ operator: cleanText(name) });
  if (row.length === 9 && /^-\d/.test(level?.text ?? '')) {
    const identity = readIdentity({ ...splitPlmn(plmn), arfcn, cellId: fifth, tac }, 'lte');
    const levels = readLevels('lte', { rssi, rsrp: level });
    return { cells: [{ rat: 'lte', serving: true, ...identityMembers(identity), ...levels }], ...operator };
  }
  if (row.length === 11) {
    const identity = readIdentity({ ...splitPlmn(plmn), arfcn, pci: fifth, tac }, 'wcdma');
    const levels = readUmtsLevels(level, undefined, rssi);
    return { cells: [{ rat: 'wcdma', serving: true, ...identityMembers(identity), ...levels }], ...operator };
  }
  if (row.length < 8) return { cells: [], refusedRows: 1 };
  const identity = readIdentity({ ...splitPlmn(plmn), arfcn, tac }, 'gsm');
  const rssiDbm = readMetric<Dbm>(rssi, windows.rssi);
  return {
    cells: [{ rat: 'gsm', serving: true, ...identityMembers(identity), ...present({ rssiDbm }) }],
    ...operator,
  };
};

/** `#MONI`: the first row is the serving cell. */
const parseMonitor: ReplyParser = (lines) => {
  const bodies = readBodies(lines, '#MONI').filter((body) => body.includes(':'));
  if (bodies.length === 0) return {};
  const cells: CellMeasurement[] = [];
  let operator: string | undefined;
  for (const body of bodies) {
    const values = new Map(
      [...body.matchAll(/\b([A-Za-z]{2,8}):\s*(\S+)/g)].map(([, key, value]) => [
        key?.toLowerCase() ?? '',
        fieldOf((value ?? '').replace(/dbm$/i, '')),
      ]),
    );
    const cell = monitorCell(values, cells.length === 0);
    if (cell !== undefined) cells.push(cell);
    operator ??= cleanText(fieldOf(/^(.*?)\s*\b[A-Za-z]{2,8}:/.exec(body)?.[1] ?? ''));
  }
  return {
    cells,
    ...present({ operator }),
    ...(cells.length < bodies.length && { refusedRows: bodies.length - cells.length }),
  };
};

function monitorCell(values: ReadonlyMap<string, Field>, serving: boolean): CellMeasurement | undefined {
  const tac = values.get('tac') ?? values.get('lac');
  const id = values.get('id');
  const rssi = values.get('pwr');
  if (values.has('earfcn')) {
    const place = tac === undefined ? { pci: id } : { tac, cellId: id };
    const identity = readIdentity({ arfcn: values.get('earfcn'), ...place }, 'lte', { pci: 'hexadecimal' });
    const levels = readLevels('lte', { rsrp: values.get('rsrp'), rsrq: values.get('rsrq'), rssi });
    return { rat: 'lte', serving, ...identityMembers(identity), ...levels };
  }
  if (values.has('uarfcn')) {
    const fields = { arfcn: values.get('uarfcn'), pci: values.get('psc'), tac, cellId: id };
    const levels = readUmtsLevels(values.get('rscp'), values.get('ecio'), rssi);
    return { rat: 'wcdma', serving, ...identityMembers(readIdentity(fields, 'wcdma')), ...levels };
  }
  if (!values.has('arfcn')) return undefined;
  const identity = readIdentity({ arfcn: values.get('arfcn'), tac, cellId: id }, 'gsm');
  const rssiDbm = readMetric<Dbm>(rssi, windows.rssi);
  return { rat: 'gsm', serving, ...identityMembers(identity), ...present({ rssiDbm }) };
}

/**
 * `#CSURVC`, the survey in numbers: arfcn,rssi,mcc,mnc,cell(dec),tac(dec),pci,status,rsrp,rsrq,bandwidth between "Network
 * survey started" and "ended". None of the cells is the serving one.
 */
const parseSurvey: ReplyParser = (lines) => {
  const cells = contentLines(lines).flatMap((line): CellMeasurement[] => {
    const row = splitFields(line);
    if (row.length !== 11 || !/^\d/.test(line)) return [];
    const [arfcn, rssi, mcc, mnc, cellId, tac, pci, , rsrp, rsrq] = row;
    const identity = readIdentity({ arfcn, mcc, mnc, cellId, tac, pci }, 'lte', {
      cellId: 'decimal',
      tac: 'decimal',
    });
    return [
      {
        rat: 'lte',
        serving: false,
        ...identityMembers(identity),
        ...readLevels('lte', { rsrp, rsrq, rssi }),
      },
    ];
  });
  return cells.length === 0 ? {} : { cells: cells.slice(0, 64) };
};

/** `#TEMPMEAS: level,degrees`. */
const parseTemperature: ReplyParser = (lines) => {
  const temperatureC = readDecimal(readInformation(lines, '#TEMPMEAS').at(-1)?.[1], -60, 150);
  return temperatureC === undefined ? {} : { temperatures: [{ temperatureC }] };
};

/** `$GPSACP: utc,lat,lon,hdop,altitude,fix,course,km/h,knots,date,satellites`. */
const parsePosition: ReplyParser = (lines) => {
  const [time, latitude, longitude, hdop, altitude, , course, speedKmh, , date, satellites] =
    readInformation(lines, '$GPSACP').at(-1) ?? [];
  const position = readFix({ latitude, longitude, hdop, altitude, course, speedKmh, satellites, time, date });
  return position === undefined ? {} : { position };
};

/** Telit's commands. */
export const telitDialect: Dialect = {
  vendor: 'telit',
  setup: ['AT#MONI=1'],
  commands: [
    dialectCommand('AT#RFSTS', 'serving', parseStatus),
    dialectCommand('AT#MONI', 'neighbours', parseMonitor),
    dialectCommand('AT#SERVINFO', 'other', parseServing),
    dialectCommand('AT#CSURVC', 'other', parseSurvey, { timeoutMs: 180_000 }),
    dialectCommand('AT#TEMPMEAS', 'temperature', parseTemperature),
    dialectCommand('AT$GPSACP', 'position', parsePosition),
  ],
};
