/**
 * MeiG. `+MENG` reads as Quectel's `+QENG`, with RSRQ in decimals and, in rows of neighbours, RSRP before RSRQ:
 *
 *     LTE         "servingcell",state,"LTE",duplex,MCC,MNC,cell,pci,arfcn,band,ulbw,dlbw,tac,rsrp,rsrq,rssi,sinr,srxlev
 *     neighbours  "neighbourcell intra|inter","LTE",arfcn,pci,rsrp,rsrq,...
 */
import { identityMembers, readIdentity } from '../cell-identity.ts';
import { readLevels } from '../levels.ts';
import type { Dialect, ModemState, ReplyParser } from '../modem-report.ts';
import type { CellMeasurement } from '../radio-sample.ts';
import { present, readInformation } from '../reply-fields.ts';
import type { Field } from '../reply-fields.ts';
import { dialectCommand } from './generic.ts';

const states: Readonly<Record<string, ModemState>> = {
  SEARCH: 'searching',
  LIMSRV: 'limited',
  NOCONN: 'idle',
  CONNECT: 'connected',
};

/** `AT+MENG="servingcell"` and `AT+MENG="neighbourcell"`. */
const parseCells: ReplyParser = (lines) => {
  const rows = readInformation(lines, 'MENG');
  if (rows.length === 0) return {};
  const modemState = states[rows.find((row) => row[0]?.text === 'servingcell')?.[1]?.text ?? ''];
  const cells = rows.flatMap((row) => cellOf(row) ?? []);
  return { cells, ...present({ modemState }) };
};

function cellOf(row: readonly Field[]): CellMeasurement | undefined {
  if (row[0]?.text === 'servingcell') {
    if (row[2]?.text !== 'LTE' || row.length < 17) return undefined;
    const [, , , , mcc, mnc, cellId, pci, arfcn, band, , , tac, rsrp, rsrq, rssi, sinr] = row;
    const identity = readIdentity({ mcc, mnc, cellId, pci, arfcn, band, tac }, 'lte');
    if (identity.suspects.length > 0) return undefined;
    return {
      rat: 'lte',
      serving: true,
      ...identityMembers(identity),
      ...readLevels('lte', { rsrp, rsrq, rssi, sinr }),
    };
  }
  if (!/^neighbourcell/.test(row[0]?.text ?? '') || row[1]?.text !== 'LTE') return undefined;
  const [, , arfcn, pci, rsrp, rsrq] = row;
  const identity = readIdentity({ arfcn, pci }, 'lte');
  const levels = readLevels('lte', { rsrp, rsrq });
  if (identity.identity.pci === undefined || levels.rsrpDbm === undefined) return undefined;
  return { rat: 'lte', serving: false, ...identityMembers(identity), ...levels };
}

/** MeiG's commands. */
export const meigDialect: Dialect = {
  vendor: 'meig',
  setup: [],
  commands: [
    dialectCommand('AT+MENG="servingcell"', 'serving', parseCells),
    dialectCommand('AT+MENG="neighbourcell"', 'neighbours', parseCells),
  ],
};
