/**
 * OpenLuat modules on Unisoc and ASR chips (docs.openluat.com).
 *
 *     +CCED:LTE current cell:mcc,mnc,imsi,roaming,band,bandwidth,arfcn,cell(dec),rsrp index,rsrq index,tac(dec),snr,pci
 *     +EEMLTESVC: mcc(as hexadecimal digits),digits of mnc,mnc,tac,pci,arfcn,arfcn,band,bandwidth,cell,...
 *
 * The IMSI is never reported. The scale of the SNR is not known. `+EEMLTESVC` comes after the final result of its command.
 */
import type { Db } from '../../base/units.ts';
import { identityMembers, readIdentity } from '../cell-identity.ts';
import { readIndexedLevels } from '../levels.ts';
import type { Dialect, ReplyParser } from '../modem-report.ts';
import {
  disbelieve,
  fieldOf,
  present,
  readBodies,
  readInformation,
  readWhole,
  splitFields,
} from '../reply-fields.ts';
import type { Field } from '../reply-fields.ts';
import { dialectCommand } from './generic.ts';

const decimalCodes = { tac: 'decimal', cellId: 'decimal' } as const;

/** `AT+CCED=0,1`. */
const parseCurrentCell: ReplyParser = (lines) => {
  const body = readBodies(lines, 'CCED').find((text) => /^LTE current cell:/i.test(text));
  if (body === undefined) return {};
  const [mcc, mnc, , , band, , arfcn, cellId, rsrp, rsrq, tac, snr, pci] = splitFields(
    body.slice(body.indexOf(':') + 1),
  );
  const identity = readIdentity({ mcc, mnc, band, arfcn, cellId, tac, pci }, 'lte', decimalCodes);
  const sinrDb = disbelieve<Db>(snr);
  const levels = { ...readIndexedLevels('lte', { rsrp, rsrq }), ...present({ sinrDb }) };
  return { cells: [{ rat: 'lte', serving: true, ...identityMembers(identity), ...levels }] };
};

/** `+EEMLTESVC`. */
const parseServing: ReplyParser = (lines) => {
  const row = readInformation(lines, 'EEMLTESVC').at(-1);
  if (row === undefined || row.length < 13) return {};
  const [country, digits, network, tac, pci, arfcn, , band, , cellId, , rsrp, rsrq] = row;
  const mcc = hexDigits(country, 3);
  const mnc = hexDigits(network, readWhole(digits, 2, 3) ?? 2);
  const identity = readIdentity({ mcc, mnc, tac, pci, arfcn, band, cellId }, 'lte', decimalCodes);
  const levels = readIndexedLevels('lte', { rsrp, rsrq });
  return { cells: [{ rat: 'lte', serving: true, ...identityMembers(identity), ...levels }] };
};

/** 1120 is 0x460, country code 460. */
function hexDigits(field: Field | undefined, count: number): Field | undefined {
  const value = readWhole(field, 0, 0xfff);
  return value === undefined ? undefined : fieldOf(value.toString(16).padStart(count, '0'));
}

/** The commands of OpenLuat modules. */
export const openluatDialect: Dialect = {
  vendor: 'openluat',
  setup: [],
  commands: [
    dialectCommand('AT+CCED=0,1', 'serving', parseCurrentCell),
    dialectCommand('AT+EEMGINFO?', 'other', parseServing, { name: '+EEMLTESVC' }),
  ],
};
