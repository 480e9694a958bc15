/**
 * Fibocom. `+GTCCINFO?` lists serving and neighbour cells without a prefix, after headings in some firmware:
 *
 *     serving      1,rat,mcc,mnc,tac,cell,arfcn,pci,band,bandwidth,snr,rxlev,rsrp index,rsrq index       rat 4 LTE, 9 NR
 *     neighbour    2,rat,mcc,mnc,tac,cell,arfcn,pci[,bandwidth],rxlev,rsrp index,rsrq index
 *     UMTS         1,2,mcc,mnc,lac,cell,arfcn,psc,...
 *
 * FM350 prints the channel and the physical cell in decimal and the SNR in dB; FM150, FM160 and FG621 print headings
 * (`LTE service cell:`), both numbers in hexadecimal and the SNR in halves of a dB. LTE bands come as 100 + band from
 * some, NR bands as `50` followed by the band. XMM modems (L850, L860) have `+XMCI`, `+XLEC`, `+XCESQ` instead.
 */
import type { Db, Dbm } from '../../base/units.ts';
import { identityMembers, readBand, readIdentity } from '../cell-identity.ts';
import type { IdentityBases } from '../cell-identity.ts';
import { readIndexedLevels, readLevels, scales, windows } from '../levels.ts';
import type { Carrier, Dialect, ModemReport, ReplyParser } from '../modem-report.ts';
import type { CellMeasurement } from '../radio-sample.ts';
import {
  contentLines,
  fieldOf,
  present,
  readDecimal,
  readIndex,
  readInformation,
  readMetric,
  readWhole,
  splitFields,
} from '../reply-fields.ts';
import type { Field } from '../reply-fields.ts';
import { dialectCommand } from './generic.ts';

type Row = readonly Field[];

interface Form {
  readonly bases: IdentityBases;
  readonly isHeaded: boolean;
}

/** `+GTCCINFO?` (FM350, FM150 AT Commands manuals, 9.1.15). */
const parseCells: ReplyParser = (lines) => {
  const content = contentLines(lines);
  const start = content.findIndex((line) => /^\+GTCCINFO:/i.test(line));
  if (start < 0) return {};
  const next = content.findIndex((line, index) => index > start && /^[+^!#$%*&][A-Z0-9]+:/i.test(line));
  const block = content.slice(start, next < 0 ? undefined : next);
  const rows = block
    .flatMap((line) => line.replace(/^\+GTCCINFO:\s*/i, '').split(/\s+(?=[12],\d,)/))
    .filter((line) => /^[0-2],\d{1,2},/.test(line))
    .slice(0, 64)
    .map(splitFields);
  const isHeaded = block.some((line) => /(?:service|neighbou?r) cell/i.test(line));
  const isHex =
    isHeaded ||
    rows.some((row) =>
      [row[6], row[7]].some((field) => /[a-f]/i.test(field?.text ?? '') && !/^f+$/i.test(field?.text ?? '')),
    );
  const form: Form = isHex
    ? { isHeaded, bases: { arfcn: 'hexadecimal', pci: 'hexadecimal' } }
    : { isHeaded, bases: {} };
  const cells = rows.flatMap((row) => cellOf(row, form) ?? []);
  const refusedRows = rows.length - cells.length;
  return { cells, ...(refusedRows > 0 && { refusedRows }) };
};

function cellOf(row: Row, form: Form): CellMeasurement | undefined {
  const [kind, technology, mcc, mnc, tac, cellId, arfcn, pci] = row;
  const serving = kind?.text !== '2';
  if (technology?.text === '2') {
    const identity = readIdentity({ mcc, mnc, tac, cellId, arfcn, pci }, 'wcdma', form.bases);
    return { rat: 'wcdma', serving, ...identityMembers(identity) };
  }
  const rat = technology?.text === '4' ? 'lte' : technology?.text === '9' ? 'nr' : undefined;
  if (rat === undefined || row.length < (serving ? 14 : 11)) return undefined;
  const identity = readIdentity(
    { mcc, mnc, tac, cellId, arfcn, pci, ...(serving && { band: bandOf(row[8]) }) },
    rat,
    form.bases,
  );
  // The levels end the row; neighbours of some firmware lack columns before them.
  const [rsrp, rsrq] = row.slice(serving ? 12 : -2);
  const toSinr = form.isHeaded ? (printed: number): number => printed / 2 : undefined;
  const levels = readIndexedLevels(rat, { rsrp, rsrq, ...(serving && { sinr: snrOf(row[10]) }) }, toSinr);
  return { rat, serving, ...identityMembers(identity), ...levels };
}

function snrOf(field: Field | undefined): Field | undefined {
  return field?.text === '255' ? fieldOf('') : field;
}

function bandOf(field: Field | undefined): Field | undefined {
  if (field === undefined) return undefined;
  const nr = /^50(\d{1,3})$/.exec(field.text)?.[1];
  if (nr !== undefined) return fieldOf(String(Number(nr)));
  const lte = readWhole(field, 101, 199);
  return lte === undefined ? field : fieldOf(String(lte - 100));
}

/**
 * `+GTCAINFO?`: `PCC: band,pci,arfcn,...,rsrp` and `SCC n:state,uplink,band,pci,arfcn,...,rsrp`, the prefix absent at times.
 * The level is in dBm where it is negative, else an index.
 */
const parseCarriers: ReplyParser = (lines) => {
  const carriers = contentLines(lines).flatMap((line): Carrier[] => {
    const parts = /^([PS])CC ?\d{0,2}\s*:\s*(.+)$/i.exec(line);
    if (parts?.[2] === undefined) return [];
    const role = /^p/i.test(parts[1] ?? '') ? 'primary' : 'secondary';
    const row = splitFields(parts[2]);
    const [band, pci, arfcn] = role === 'primary' ? row : row.slice(2);
    const rat = /^50\d/.test(band?.text ?? '') ? 'nr' : 'lte';
    const { identity } = readIdentity({ band: bandOf(band), pci, arfcn }, rat);
    const level = row.length >= 9 ? row.at(-1) : undefined;
    const { rsrpDbm } = /^-/.test(level?.text ?? '')
      ? readLevels(rat, { rsrp: level })
      : readIndexedLevels(rat, { rsrp: level });
    return [{ role, rat, identity, ...present({ rsrpDbm }) }];
  });
  return carriers.length === 0 ? {} : { carriers: carriers.slice(0, 16) };
};

const bandwidthsMhz: readonly number[] = [1.4, 3, 5, 10, 15, 20];

/** `+XLEC: mode,state,bandwidth...,BAND_LTE_n[,...]` (XMM): state 0 not on LTE, 1 primary only, 2..5 with secondaries. */
const parseAggregation: ReplyParser = (lines): ModemReport => {
  const row = readInformation(lines, 'XLEC').at(-1);
  const at = row?.findIndex(({ text }) => /^BAND_/i.test(text)) ?? -1;
  if (row === undefined || at < 2) return {};
  const band = readBand(row[at]?.text ?? '');
  const count = Math.min(readWhole(row[1], 1, 5) ?? 0, at - 2);
  const carriers = Array.from({ length: count }, (_, index): Carrier => {
    const bandwidthMhz = bandwidthsMhz[readWhole(row[2 + index], 0, 5) ?? -1];
    return {
      role: index === 0 ? 'primary' : 'secondary',
      rat: 'lte',
      identity: index === 0 ? present({ band }) : {},
      ...present({ bandwidthMhz }),
    };
  });
  return { carriers };
};

const halves = (printed: number): number => printed / 2;

/** `+XMCI: type,mcc,mnc,"tac","cell","pci","arfcn",...,rsrp,rsrq,rssnr,...` (XMM): 4 LTE serving, 5 neighbour; codes 0x. */
const parseMonitor: ReplyParser = (lines) => {
  const rows = readInformation(lines, 'XMCI').filter((row) => row.length >= 12);
  if (rows.length === 0) return {};
  const cells = rows.flatMap((row): CellMeasurement[] => {
    const [type, mcc, mnc, tac, cellId, pci, arfcn, , , rsrp, rsrq, sinr] = row;
    if (type?.text !== '4' && type?.text !== '5') return [];
    const serving = type.text === '4';
    const identity = readIdentity({ mcc, mnc, tac, cellId, pci, arfcn }, 'lte', {
      pci: 'hexadecimal',
      arfcn: 'hexadecimal',
    });
    const levels = readIndexedLevels('lte', { rsrp, rsrq, sinr: snrOf(sinr) }, halves);
    return [{ rat: 'lte', serving, ...identityMembers(identity), ...levels }];
  });
  return { cells };
};

/** `+XCESQ: n,rxlev,ber,rscp,ecno,rsrq,rsrp,rssnr` (XMM): indices of +CESQ and the RSSNR in halves of a dB. */
const parseExtendedQuality: ReplyParser = (lines): ModemReport => {
  const row = readInformation(lines, 'XCESQ').at(-1);
  if (row === undefined || row.length < 7) return {};
  const [, rxlev, , rscp, ecno, rsrq, rsrp, rssnr] = row;
  const signalQuality = present({
    rxlevDbm: readIndex<Dbm>(rxlev, scales.rxlev),
    rscpDbm: readIndex<Dbm>(rscp, scales.rscp),
    ecnoDb: readIndex<Db>(ecno, scales.ecno),
    rsrqDb: readIndex<Db>(rsrq, scales.rsrq),
    rsrpDbm: readIndex<Dbm>(rsrp, scales.rsrp),
  });
  if (signalQuality.rsrpDbm?.value === undefined) return { signalQuality, cells: [] };
  const sinrDb = readMetric<Db>(snrOf(rssnr), windows.sinr, halves);
  const { rsrpDbm, rsrqDb } = signalQuality;
  return {
    signalQuality,
    cells: [{ rat: 'lte', serving: true, identity: {}, ...present({ rsrpDbm, rsrqDb, sinrDb }) }],
  };
};

/** `+GTSENRDTEMP: sensor,thousandths of a degree` and `+MTSM: degrees`. */
const parseTemperature: ReplyParser = (lines) => {
  const thousandths = readDecimal(readInformation(lines, 'GTSENRDTEMP').at(-1)?.[1], -60_000, 150_000);
  const degrees = readDecimal(readInformation(lines, 'MTSM').at(-1)?.at(-1), -60, 150);
  const temperatureC = thousandths === undefined ? degrees : thousandths / 1000;
  return temperatureC === undefined ? {} : { temperatures: [{ temperatureC }] };
};

/** Fibocom's commands. */
export const fibocomDialect: Dialect = {
  vendor: 'fibocom',
  setup: [],
  commands: [
    dialectCommand('AT+GTCCINFO?', 'serving', parseCells),
    dialectCommand('AT+GTCAINFO?', 'carriers', parseCarriers),
    dialectCommand('AT+XMCI=1', 'other', parseMonitor),
    dialectCommand('AT+XCESQ?', 'other', parseExtendedQuality),
    dialectCommand('AT+XLEC?', 'other', parseAggregation),
    dialectCommand('AT+GTSENRDTEMP=1', 'temperature', parseTemperature),
    dialectCommand('AT+MTSM?', 'other', parseTemperature),
  ],
};
