/**
 * Nordic nRF91 (AT Commands Reference Guide). Its levels are indices that its manual converts by the upper edge of the bin:
 * RSRP n - 140 dBm, RSRQ n/2 - 19.5 dB, SNR n - 24 dB; they are read so here, in its `+CESQ` too, so that the replies of one
 * modem agree. 255 (127 for the SNR) is not known.
 *
 *     %XMONITOR   status,"name","short","plmn","tac",AcT,band,"cell",pci,arfcn,rsrp,snr,...
 *     %NCELLMEAS  status,"cell","plmn","tac",ta,arfcn,pci,rsrp,rsrq,time{,arfcn,pci,rsrp,rsrq,difference}[,ta time]
 *     types 3-5   status{,"cell","plmn","tac",ta,ta time,arfcn,pci,rsrp,rsrq,time,serving,count{,arfcn,pci,rsrp,rsrq,difference}}
 *     %CONEVAL    result,rrc,energy,rsrp,rsrq,snr,"cell","plmn",pci,arfcn,band,tau,ce level,tx power,tx,rx,path loss
 *     %CESQ       rsrp,threshold,rsrq,threshold
 */
import type { Db, Dbm } from '../../base/units.ts';
import { identityMembers, readIdentity, splitPlmn } from '../cell-identity.ts';
import { scales } from '../levels.ts';
import type { Levels } from '../levels.ts';
import type { Dialect, ModemReport, ReplyParser } from '../modem-report.ts';
import type { CellMeasurement } from '../radio-sample.ts';
import { registrationOf } from '../registration.ts';
import { cleanText, present, readIndex, readInformation, readWhole } from '../reply-fields.ts';
import type { Field, IndexScale } from '../reply-fields.ts';
import { dialectCommand, reportExtendedSignalQuality } from './generic.ts';

type Row = readonly Field[];

const snrScale: IndexScale = { indexMax: 64, notKnown: 127, offset: -24, step: 1 };
const neighbourColumns = 5;
const cellColumns = 12;

function levelsOf(rsrp: Field | undefined, rsrq: Field | undefined, snr?: Field): Levels {
  return present({
    rsrpDbm: readIndex<Dbm>(rsrp, scales.nordicRsrp),
    rsrqDb: readIndex<Db>(rsrq, scales.nordicRsrq),
    sinrDb: snr?.text === '255' ? { raw: snr.text } : readIndex<Db>(snr, snrScale),
  });
}

/** `%XMONITOR`. */
const parseMonitor: ReplyParser = (lines): ModemReport => {
  const row = readInformation(lines, '%XMONITOR').at(-1);
  if (row === undefined) return {};
  const [status, full, short, plmn, tac, technology, band, cellId, pci, arfcn, rsrp, snr] = row;
  const registration = registrationOf('CEREG', { status, tac, cellId, technology });
  const registrations = registration === undefined ? [] : [registration];
  if (cellId === undefined) return { registrations, cells: [] };
  const operator = cleanText(full) ?? cleanText(short) ?? cleanText(plmn);
  const identity = readIdentity({ ...splitPlmn(plmn), tac, band, cellId, pci, arfcn }, 'lte');
  const cell = {
    rat: 'lte',
    serving: true,
    ...identityMembers(identity),
    ...levelsOf(rsrp, undefined, snr),
  } as const;
  return { registrations, cells: [cell], ...present({ operator }) };
};

/** `%NCELLMEAS`; a status other than 0 means that the measurement failed, and nothing beside it is believed. */
const parseNeighbours: ReplyParser = (lines) => {
  const row = readInformation(lines, '%NCELLMEAS').at(-1);
  if (row === undefined) return {};
  if (row[0]?.text !== '0') return { cells: [], refusedRows: 1 };
  const cells = isGrouped(row) ? groupedCells(row.slice(1)) : singleCell(row.slice(1));
  return { cells: cells.slice(0, 64) };
};

/** The form of search types 3 to 5 has a serving flag and a count before the neighbours. */
function isGrouped(row: Row): boolean {
  if (row.slice(4).some((field) => field.quoted)) return true;
  const count = readWhole(row[12], 0, 17);
  const hasFlag = readWhole(row[11], 0, 1) !== undefined && count !== undefined;
  return hasFlag && row.length === 1 + cellColumns + neighbourColumns * count;
}

function singleCell(row: Row): CellMeasurement[] {
  if (row.length < 9) return [];
  const [cellId, plmn, tac, , arfcn, pci, rsrp, rsrq] = row;
  const identity = readIdentity({ ...splitPlmn(plmn), tac, cellId, arfcn, pci }, 'lte');
  const serving = {
    rat: 'lte',
    serving: true,
    ...identityMembers(identity),
    ...levelsOf(rsrp, rsrq),
  } as const;
  return [serving, ...neighboursOf(row.slice(9))];
}

function groupedCells(row: Row): CellMeasurement[] {
  const cells: CellMeasurement[] = [];
  for (let at = 0; at + cellColumns <= row.length;) {
    const [cellId, plmn, tac, , , arfcn, pci, rsrp, rsrq, , serving, count] = row.slice(at, at + cellColumns);
    const neighbours = readWhole(count, 0, 17);
    if (neighbours === undefined) break;
    const identity = readIdentity({ ...splitPlmn(plmn), tac, cellId, arfcn, pci }, 'lte');
    cells.push({
      rat: 'lte',
      serving: serving?.text === '1',
      ...identityMembers(identity),
      ...levelsOf(rsrp, rsrq),
    });
    at += cellColumns;
    cells.push(...neighboursOf(row.slice(at, at + neighbourColumns * neighbours)));
    at += neighbourColumns * neighbours;
  }
  return cells;
}

function neighboursOf(row: Row): CellMeasurement[] {
  const cells: CellMeasurement[] = [];
  for (let at = 0; at + neighbourColumns <= row.length; at += neighbourColumns) {
    const [arfcn, pci, rsrp, rsrq] = row.slice(at, at + neighbourColumns);
    const identity = readIdentity({ arfcn, pci }, 'lte');
    cells.push({ rat: 'lte', serving: false, ...identityMembers(identity), ...levelsOf(rsrp, rsrq) });
  }
  return cells;
}

/** `%CONEVAL`. */
const parseEvaluation: ReplyParser = (lines) => {
  const row = readInformation(lines, '%CONEVAL').at(-1);
  const result = readWhole(row?.[0], 0, 99);
  if (row === undefined || result === undefined) return {};
  const [, rrc, energy, rsrp, rsrq, snr, cellId, plmn, pci, arfcn, band, , coverage, power, , , loss] = row;
  const connected = readWhole(rrc, 0, 1);
  const connectionEvaluation = {
    result,
    ...present({
      isConnected: connected === undefined ? undefined : connected === 1,
      energyEstimate: readWhole(energy, 5, 9),
      coverageLevel: readWhole(coverage, 0, 2),
      txPowerDbm: readWhole(power, -60, 33),
      pathLossDb: readWhole(loss, 0, 254),
    }),
  };
  if (result !== 0 || cellId === undefined) return { connectionEvaluation };
  const identity = readIdentity({ ...splitPlmn(plmn), cellId, pci, arfcn, band }, 'lte');
  const cell = {
    rat: 'lte',
    serving: true,
    ...identityMembers(identity),
    ...levelsOf(rsrp, rsrq, snr),
  } as const;
  return { connectionEvaluation, cells: [cell] };
};

/** `%CESQ`; modem firmware 1.0 printed `rsrp,threshold` alone and counted the lower edge. */
const parseThreshold: ReplyParser = (lines) => {
  const row = readInformation(lines, '%CESQ').at(-1);
  if (row === undefined || (row.length !== 2 && row.length !== 4)) return {};
  const [rsrp, rsrpThreshold, rsrq, rsrqThreshold] = row;
  const levels =
    row.length === 2 ? present({ rsrpDbm: readIndex<Dbm>(rsrp, scales.rsrp) }) : levelsOf(rsrp, rsrq);
  return {
    cells: [{ rat: 'lte', serving: true, identity: {}, ...levels }],
    signalThreshold: present({
      rsrpThresholdIndex: readWhole(rsrpThreshold, 0, 99),
      rsrqThresholdIndex: readWhole(rsrqThreshold, 0, 99),
    }),
  };
};

/** `%XTEMP?: enabled,degrees` and its unsolicited form `%XTEMP: degrees`. */
const parseTemperature: ReplyParser = (lines) => {
  const row = readInformation(lines, '%XTEMP').at(-1);
  const temperatureC = readWhole(row?.at(-1), -60, 150);
  return temperatureC === undefined ? {} : { temperatures: [{ temperatureC }] };
};

/** `+CESQ` by the scales of Nordic's manual. */
const nordicQuality: ReplyParser = (lines) =>
  reportExtendedSignalQuality(lines, { rsrp: scales.nordicRsrp, rsrq: scales.nordicRsrq });

/** Nordic's commands. */
export const nordicDialect: Dialect = {
  vendor: 'nordic',
  setup: ['AT%CESQ=1'],
  commands: [
    dialectCommand('AT%XMONITOR', 'serving', parseMonitor),
    dialectCommand('AT%CONEVAL', 'other', parseEvaluation, { timeoutMs: 10_000 }),
    dialectCommand('AT+CESQ', 'signal', nordicQuality),
    dialectCommand('AT%NCELLMEAS', 'other', parseNeighbours, { timeoutMs: 30_000 }),
    dialectCommand('AT%CESQ', 'other', parseThreshold),
    dialectCommand('AT%XTEMP?', 'temperature', parseTemperature),
  ],
};
