/**
 * Huawei and TD-Tech (ME909, MT5700 AT Command Interface Specifications).
 *
 *     ^HCSQ   "LTE",rssi,rsrp,sinr,rsrq     "NR",rsrp,sinr,rsrq     "WCDMA",rssi,rscp,ecio     "GSM",rssi      as indices
 *     ^MONSC  NR,mcc,mnc,arfcn,scs,cell,PCI(hex),tac,rsrp,rsrq,sinr
 *             LTE,mcc,mnc,arfcn,cell,PCI(hex),tac,rsrp,rsrq,rssi
 *             WCDMA,mcc,mnc,arfcn,psc,cell,lac,rscp,rxlev,ecno,...      GSM,mcc,mnc,band,arfcn,bsic,cell,lac,rxlev,...
 *     ^MONNC  NR,arfcn,PCI(hex),rsrp,rsrq,sinr      LTE,arfcn,PCI(hex),rsrp,rsrq[,rssi]
 *             WCDMA,arfcn,psc,rscp,ecno             GSM,band,arfcn,bsic,cell,lac,rxlev
 *
 * Indices convert to the lower edge of their bin. Some firmware prints the NR rows of `^MONNC` in eighths: an RSRP below
 * -157 gives it away, for the two ranges do not overlap.
 */
import type { Db, Dbm } from '../../base/units.ts';
import { identityMembers, readIdentity } from '../cell-identity.ts';
import { readLevels, readUmtsLevels, scales, windows } from '../levels.ts';
import type { Dialect, ModemReport, ReplyParser } from '../modem-report.ts';
import type { CellMeasurement } from '../radio-sample.ts';
import { present, readDecimal, readIndex, readInformation, readMetric } from '../reply-fields.ts';
import type { Field, IndexScale } from '../reply-fields.ts';
import { dialectCommand, readRows } from './generic.ts';

type Row = readonly Field[];

const rssiScale: IndexScale = { indexMax: 96, notKnown: 255, offset: -121, step: 1 };
const sinrScale: IndexScale = { indexMax: 251, notKnown: 255, offset: -20, step: 0.2 };
const ecioScale: IndexScale = { indexMax: 65, notKnown: 255, offset: -32.5, step: 0.5 };

/** `^HCSQ?`, and the same line unsolicited; a numeric prefix is the setting of the reports. */
const parseSignal: ReplyParser = (lines) => {
  const rows = readInformation(lines, '^HCSQ');
  if (rows.length === 0) return {};
  const found = rows.map((row) =>
    row.slice(
      Math.max(
        0,
        row.findIndex(({ text }) => /^[A-Z]/i.test(text)),
      ),
    ),
  );
  if (found.some((row) => /^NO ?SERVICE$/i.test(row[0]?.text ?? '')))
    return { cells: [], modemState: 'noService' };
  const { items, refusedRows } = readRows(found, signalCell);
  return { cells: items, ...(refusedRows > 0 && { refusedRows }) };
};

function signalCell(row: Row): CellMeasurement | undefined {
  const [technology, first, second, third, fourth] = row;
  const cell = { serving: true, identity: {} } as const;
  if (second === undefined && technology?.text !== 'GSM') return undefined;
  switch (technology?.text.toUpperCase() ?? '') {
    case 'LTE':
      return {
        rat: 'lte',
        ...cell,
        ...present({
          rssiDbm: readIndex<Dbm>(first, rssiScale),
          rsrpDbm: readIndex<Dbm>(second, scales.rsrp),
          sinrDb: readIndex<Db>(third, sinrScale),
          rsrqDb: readIndex<Db>(fourth, scales.rsrq),
        }),
      };
    case 'NR':
    case 'NR5G':
      return {
        rat: 'nr',
        ...cell,
        ...present({
          rsrpDbm: readIndex<Dbm>(first, { ...scales.rsrp, indexMax: 126 }),
          sinrDb: readIndex<Db>(second, sinrScale),
          rsrqDb: readIndex<Db>(third, { ...scales.rsrq, indexMax: 80 }),
        }),
      };
    case 'WCDMA':
      return {
        rat: 'wcdma',
        ...cell,
        ...present({
          rssiDbm: readIndex<Dbm>(first, rssiScale),
          rscpDbm: readIndex<Dbm>(second, scales.rscp),
          ecnoDb: readIndex<Db>(third, ecioScale),
        }),
      };
    case 'GSM':
      return { rat: 'gsm', ...cell, ...present({ rssiDbm: readIndex<Dbm>(first, rssiScale) }) };
    default:
      return undefined;
  }
}

/** `^MONSC`. */
const parseServing: ReplyParser = (lines) => {
  const rows = readInformation(lines, '^MONSC');
  if (rows.length === 0) return {};
  if (rows.some((row) => /^NONE$/i.test(row[0]?.text ?? ''))) return { cells: [], modemState: 'noService' };
  const { items, refusedRows } = readRows(rows, servingCell);
  return { cells: items, ...(refusedRows > 0 && { refusedRows }) };
};

function servingCell(row: Row): CellMeasurement | undefined {
  const [technology, mcc, mnc, fourth, fifth, sixth, seventh, eighth, ninth, tenth, eleventh] = row;
  const bases = { pci: 'hexadecimal' } as const;
  switch (technology?.text.toUpperCase() ?? '') {
    case 'NR': {
      if (row.length < 11) return undefined;
      const identity = readIdentity(
        { mcc, mnc, arfcn: fourth, cellId: sixth, pci: seventh, tac: eighth },
        'nr',
        bases,
      );
      const levels = nrLevels(ninth, tenth, eleventh);
      return { rat: 'nr', serving: true, ...identityMembers(identity), ...levels };
    }
    case 'LTE': {
      if (row.length < 10) return undefined;
      const identity = readIdentity(
        { mcc, mnc, arfcn: fourth, cellId: fifth, pci: sixth, tac: seventh },
        'lte',
        bases,
      );
      const levels = readLevels('lte', { rsrp: eighth, rsrq: ninth, rssi: tenth });
      return { rat: 'lte', serving: true, ...identityMembers(identity), ...levels };
    }
    case 'WCDMA': {
      if (row.length < 10) return undefined;
      const identity = readIdentity(
        { mcc, mnc, arfcn: fourth, pci: fifth, cellId: sixth, tac: seventh },
        'wcdma',
      );
      return { rat: 'wcdma', serving: true, ...identityMembers(identity), ...readUmtsLevels(eighth, tenth) };
    }
    case 'GSM': {
      if (row.length < 9) return undefined;
      const identity = readIdentity({ mcc, mnc, arfcn: fifth, cellId: seventh, tac: eighth }, 'gsm');
      const rssiDbm = readMetric<Dbm>(ninth, windows.rssi);
      return { rat: 'gsm', serving: true, ...identityMembers(identity), ...present({ rssiDbm }) };
    }
    default:
      return undefined;
  }
}

function nrLevels(
  rsrp: Field | undefined,
  rsrq: Field | undefined,
  sinr: Field | undefined,
): ReturnType<typeof readLevels> {
  const isEighths = readDecimal(rsrp, -1248, -248) !== undefined;
  const toSinr = isEighths ? (printed: number): number => printed / 8 : undefined;
  return readLevels('nr', { rsrp, rsrq, sinr }, isEighths ? 8 : 1, toSinr);
}

/** `^MONNC`. */
const parseNeighbours: ReplyParser = (lines) => {
  const rows = readInformation(lines, '^MONNC');
  if (rows.length === 0) return {};
  const measured = rows.filter((row) => !/^NONE$/i.test(row[0]?.text ?? ''));
  const { items, refusedRows } = readRows(measured, neighbourCell);
  return { cells: items, ...(refusedRows > 0 && { refusedRows }) };
};

function neighbourCell([technology, arfcn, pci, third, fourth, fifth, sixth]: Row):
  CellMeasurement | undefined {
  const hex = { pci: 'hexadecimal' } as const;
  if (fourth === undefined) return undefined;
  switch (technology?.text.toUpperCase() ?? '') {
    case 'NR': {
      const identity = readIdentity({ arfcn, pci }, 'nr', hex);
      return { rat: 'nr', serving: false, ...identityMembers(identity), ...nrLevels(third, fourth, fifth) };
    }
    case 'LTE': {
      const identity = readIdentity({ arfcn, pci }, 'lte', hex);
      const levels = readLevels('lte', { rsrp: third, rsrq: fourth, rssi: fifth });
      return { rat: 'lte', serving: false, ...identityMembers(identity), ...levels };
    }
    case 'WCDMA': {
      const identity = readIdentity({ arfcn, pci }, 'wcdma');
      return { rat: 'wcdma', serving: false, ...identityMembers(identity), ...readUmtsLevels(third, fourth) };
    }
    case 'GSM': {
      // Here the columns are band, channel, colour code, cell, area, level; a cell and an area of 0 are not known.
      const known = (field: Field | undefined): Field | undefined =>
        field?.text === '0' ? undefined : field;
      const identity = readIdentity({ arfcn: pci, cellId: known(fourth), tac: known(fifth) }, 'gsm');
      const rssiDbm = readMetric<Dbm>(sixth, windows.rssi);
      return { rat: 'gsm', serving: false, ...identityMembers(identity), ...present({ rssiDbm }) };
    }
    default:
      return undefined;
  }
}

const beamsServing = 8;
const beamsNeighbour = 4;
const unknownBeam = '32767';

/**
 * `^NRSSBID?`: arfcn,cell,pci,rsrp,sinr,ta, eight beams (id,rsrp), count of neighbours, and for each pci,arfcn,rsrp,sinr and
 * four beams.
 */
const parseBeams: ReplyParser = (lines): ModemReport => {
  const row = readInformation(lines, '^NRSSBID').at(-1);
  if (row === undefined) return {};
  const [arfcn, cellId, pci, rsrp, sinr] = row;
  const identity = readIdentity({ arfcn, cellId, pci }, 'nr');
  const serving: CellMeasurement = {
    rat: 'nr',
    serving: true,
    ...identityMembers(identity),
    ...readLevels('nr', { rsrp, sinr }),
  };
  const cells = [serving];
  const first = 6 + 2 * beamsServing + 1;
  for (let at = first; at + 4 <= row.length; at += 4 + 2 * beamsNeighbour) {
    const [neighbourPci, neighbourArfcn, level, quality] = row.slice(at, at + 4);
    if (level?.text === unknownBeam) continue;
    const place = readIdentity({ pci: neighbourPci, arfcn: neighbourArfcn }, 'nr');
    if (place.identity.pci === undefined) continue;
    const levels = readLevels('nr', { rsrp: level, sinr: quality });
    cells.push({ rat: 'nr', serving: false, ...identityMembers(place), ...levels });
  }
  return { cells };
};

/** `^RSSI: index of +CSQ`, unsolicited. */
const parseStrength: ReplyParser = (lines) => {
  const rssiDbm = readIndex<Dbm>(readInformation(lines, '^RSSI').at(-1)?.[0], scales.rssi);
  return present({ rssiDbm });
};

/** `^LTERSRP: rsrp,rsrq` in dBm and dB, unsolicited. */
const parseLteLevels: ReplyParser = (lines) => {
  const [rsrp, rsrq] = readInformation(lines, '^LTERSRP').at(-1) ?? [];
  if (rsrp === undefined) return {};
  return { cells: [{ rat: 'lte', serving: true, identity: {}, ...readLevels('lte', { rsrp, rsrq }) }] };
};

/** Huawei's commands. */
export const huaweiDialect: Dialect = {
  vendor: 'huawei',
  setup: [],
  commands: [
    dialectCommand('AT^MONSC', 'serving', parseServing),
    dialectCommand('AT^HCSQ?', 'serving', parseSignal),
    dialectCommand('AT^MONNC', 'neighbours', parseNeighbours),
    dialectCommand('AT^NRSSBID?', 'other', parseBeams),
    dialectCommand('AT^RSSI', 'other', parseStrength),
    dialectCommand('AT^LTERSRP', 'other', parseLteLevels),
  ],
};
