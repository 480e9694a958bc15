/**
 * u-blox (AT Commands Manuals UBX-13002752, UBX-19047455). `+UCGED: 2` is followed by two lines of their own, which some
 * firmware wraps again:
 *
 *     rat,svc,MCC,MNC                    rat 2 GSM, 3 UMTS, 4 or 6 LTE; svc 2 searching, 3 no service, 4 registered
 *     LTE   arfcn,band,ulbw,dlbw,tac,cell,pci,tmsi,group,mme,rsrp index,rsrq index,sinr dB,...
 *     UMTS  arfcn,band,cell,lac,rac,scrambling code,...
 */
import { identityMembers, readIdentity } from '../cell-identity.ts';
import { readIndexedLevels, readLevels, scales } from '../levels.ts';
import type { Dialect, ModemReport, ModemState, ReplyParser } from '../modem-report.ts';
import type { CellMeasurement } from '../radio-sample.ts';
import {
  contentLines,
  present,
  readIndex,
  readInformation,
  readWhole,
  splitFields,
} from '../reply-fields.ts';
import type { Field } from '../reply-fields.ts';
import type { Db, Dbm } from '../../base/units.ts';
import { dialectCommand, readRows } from './generic.ts';

const services: Readonly<Record<string, ModemState>> = { 1: 'noService', 2: 'searching', 3: 'noService' };

/** `+UCGED?` in mode 2. */
const parseEnvironment: ReplyParser = (lines) => {
  const content = contentLines(lines);
  const start = content.findIndex((line) => /^\+UCGED:\s*2\s*$/i.test(line));
  if (start < 0) return {};
  const end = content.findIndex((line, index) => index > start && /^[+^!#$%*&]/.test(line));
  const [head, ...rest] = content.slice(start + 1, end < 0 ? undefined : end);
  if (head === undefined) return {};
  const [rat, service, mcc, mnc] = splitFields(head);
  const modemState = services[service?.text ?? ''];
  const cell = parseServing(rat, { mcc, mnc }, splitFields(rest.slice(0, 8).join('')));
  return { cells: cell === undefined ? [] : [cell], ...present({ modemState }) };
};

function parseServing(
  rat: Field | undefined,
  plmn: { mcc: Field | undefined; mnc: Field | undefined },
  row: readonly Field[],
): CellMeasurement | undefined {
  if ((rat?.text === '4' || rat?.text === '6') && row.length >= 13) {
    const [arfcn, band, , , tac, cellId, pci, , , , rsrp, rsrq, sinr] = row;
    const identity = readIdentity({ ...plmn, arfcn, band, tac, cellId, pci }, 'lte');
    const known = sinr?.text === '255' ? { ...sinr, text: '' } : sinr;
    const levels = readIndexedLevels('lte', { rsrp, rsrq, sinr: known });
    const isNothing =
      identity.suspects.length === 0 &&
      Object.keys(identity.identity).length === 0 &&
      levels.rsrpDbm?.value === undefined;
    return isNothing ? undefined : { rat: 'lte', serving: true, ...identityMembers(identity), ...levels };
  }
  if (rat?.text === '3' && row.length >= 6) {
    const [arfcn, , cellId, tac, , pci] = row;
    return {
      rat: 'wcdma',
      serving: true,
      ...identityMembers(readIdentity({ ...plmn, arfcn, cellId, tac, pci }, 'wcdma')),
    };
  }
  if (rat?.text === '2' && row.length >= 5) {
    const [arfcn, , cellId, , tac] = row;
    return {
      rat: 'gsm',
      serving: true,
      ...identityMembers(readIdentity({ ...plmn, arfcn, cellId, tac }, 'gsm')),
    };
  }
  return undefined;
}

/**
 * `+RSRP: pci,arfcn,level[,pci,arfcn,level...]` and `+RSRQ`, printed in mode 5, quoted or not; the first cell serves.
 */
const parseLevels: ReplyParser = (lines) => {
  const cells = new Map<string, CellMeasurement>();
  for (const prefix of ['RSRP', 'RSRQ'] as const) {
    const row = readInformation(lines, prefix).at(-1) ?? [];
    for (let at = 0; at + 2 < row.length; at += 3) {
      const [pci, arfcn, level] = row.slice(at, at + 3);
      const identity = readIdentity({ pci, arfcn }, 'lte');
      const key = `${pci?.text},${arfcn?.text}`;
      const levels = readLevels('lte', prefix === 'RSRP' ? { rsrp: level } : { rsrq: level });
      cells.set(key, {
        rat: 'lte',
        serving: at === 0,
        ...identityMembers(identity),
        ...cells.get(key),
        ...levels,
      });
    }
  }
  return cells.size === 0 ? {} : { cells: [...cells.values()] };
};

/**
 * `+UCELLINFO: mode,type,MCC,MNC,...`: type 0 GSM `lac,cell,rxlev,ta`, 2 UMTS serving and 3 UMTS neighbour `lac,cell,
 * scrambling code,channel,rscp,ecno`, 4 LTE `tac,cell,pci,channel,rsrp,rsrq,ta`; levels as indices of +CESQ.
 */
const parseCellInformation: ReplyParser = (lines): ModemReport => {
  const rows = readInformation(lines, 'UCELLINFO').filter((row) => row.length > 2);
  if (rows.length === 0) return {};
  let servingSeen = false;
  const { items, refusedRows } = readRows(rows, (row) => {
    const [, type, mcc, mnc, tac, cellId, fifth, sixth, seventh, eighth] = row;
    const kind = readWhole(type, 0, 9);
    const serving = !servingSeen && kind !== 1 && kind !== 3;
    const cell = cellOfType(kind, { mcc, mnc, tac, cellId }, [fifth, sixth, seventh, eighth]);
    servingSeen ||= cell !== undefined && serving;
    return cell === undefined ? undefined : { ...cell, serving };
  });
  return { cells: items, ...(refusedRows > 0 && { refusedRows }) };
};

function cellOfType(
  kind: number | undefined,
  codes: {
    mcc: Field | undefined;
    mnc: Field | undefined;
    tac: Field | undefined;
    cellId: Field | undefined;
  },
  [first, second, third, fourth]: readonly (Field | undefined)[],
): Omit<CellMeasurement, 'serving'> | undefined {
  if (kind === 0 || kind === 1) {
    const rssiDbm = readIndex<Dbm>(first, scales.rxlev);
    return { rat: 'gsm', ...identityMembers(readIdentity(codes, 'gsm')), ...present({ rssiDbm }) };
  }
  const place = { ...codes, pci: first, arfcn: second };
  if (kind === 2 || kind === 3) {
    const rscpDbm = readIndex<Dbm>(third, scales.rscp);
    const ecnoDb = readIndex<Db>(fourth, scales.ecno);
    return {
      rat: 'wcdma',
      ...identityMembers(readIdentity(place, 'wcdma')),
      ...present({ rscpDbm, ecnoDb }),
    };
  }
  if (kind !== 4 && kind !== 5) return undefined;
  const levels = readIndexedLevels('lte', { rsrp: third, rsrq: fourth });
  return { rat: 'lte', ...identityMembers(readIdentity(place, 'lte')), ...levels };
}

/** `+UTEMP: 25.5`, or in tenths of a degree Celsius. */
const parseTemperature: ReplyParser = (lines) => {
  const [field] = readInformation(lines, 'UTEMP').at(-1) ?? [];
  const printed =
    field?.text.includes('.') === true
      ? Number(field.text)
      : (readWhole(field, -600, 1500) ?? Number.NaN) / 10;
  return printed >= -60 && printed <= 150 ? { temperatures: [{ temperatureC: printed }] } : {};
};

/** u-blox's commands. */
export const ubloxDialect: Dialect = {
  vendor: 'ublox',
  setup: ['AT+UCGED=2'],
  commands: [
    dialectCommand('AT+UCGED?', 'serving', parseEnvironment),
    dialectCommand('AT+UCELLINFO?', 'neighbours', parseCellInformation),
    dialectCommand('AT+RSRP?', 'other', parseLevels),
    dialectCommand('AT+RSRQ?', 'other', parseLevels),
    dialectCommand('AT+UTEMP?', 'temperature', parseTemperature),
  ],
};
