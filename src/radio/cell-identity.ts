import type { CellIdentity } from './radio-sample.ts';
import { isBlank, present, readHex, readWhole } from './reply-fields.ts';
import type { Field } from './reply-fields.ts';

/** Fields that identify a cell, as printed. */
export type IdentityFields = Partial<
  Record<'mcc' | 'mnc' | 'tac' | 'cellId' | 'pci' | 'arfcn' | 'band', Field | undefined>
>;

/** Which of the numbers a modem prints in which base; the default is hexadecimal for codes, decimal for the rest. */
export type IdentityBases = Partial<Record<'tac' | 'cellId' | 'pci' | 'arfcn', 'hexadecimal' | 'decimal'>>;

/** A cell's identity, and the parts that were printed but cannot be: those are left out of it. */
export interface ReadIdentity {
  readonly identity: CellIdentity;
  readonly suspects: readonly (keyof CellIdentity)[];
}

type CellularRat = 'gsm' | 'wcdma' | 'lte' | 'nr';

/** Largest values: 3GPP TS 23.003 (codes), TS 36.101 and 38.104 (channels), TS 36.211 and 38.211 (physical cells). */
const bounds: Readonly<Record<CellularRat, { cellId: number; tac: number; pci: number; arfcn: number }>> = {
  gsm: { cellId: 0xffff, tac: 0xffff, pci: 63, arfcn: 1023 },
  wcdma: { cellId: 0xfff_ffff, tac: 0xffff, pci: 511, arfcn: 16_383 },
  lte: { cellId: 0xfff_ffff, tac: 0xffff, pci: 503, arfcn: 262_143 },
  nr: { cellId: 0xf_ffff_ffff, tac: 0xff_ffff, pci: 1007, arfcn: 3_279_165 },
};
const bandMax = 1024;
/** Numbers that modems print for a physical cell, channel or band that they do not know. */
const unknownNumbers: readonly string[] = ['65535', '32767', '-32768', '4294967295', '-1'];
/** Countries whose network codes have three digits (ITU-T E.212): North America and its neighbours. */
const threeDigitCountries =
  /^(?:302|310|311|312|313|314|315|316|334|338|342|344|346|348|352|354|356|358|360|365|366|374|376|708|722|732|750)$/;

/**
 * Reads the parts of an identity. "Not known" in the codes of the modems (dashes, all ones, 65535, a cell of -1, the
 * area codes 0 and FFFE that TS 23.003 reserves, country 000) is left out; a part that cannot be is named as suspect.
 */
export function readIdentity(
  fields: IdentityFields,
  rat: CellularRat,
  bases: IdentityBases = {},
): ReadIdentity {
  const limit = bounds[rat];
  const suspects: (keyof CellIdentity)[] = [];
  const part = <T>(
    name: keyof CellIdentity,
    isUnknown: (text: string) => boolean,
    read: (field: Field) => T | undefined,
  ): T | undefined => {
    const field = fields[name];
    // People shorten identities in what they post: `A20...` is not known.
    if (field === undefined || isBlank(field) || field.text.includes('..')) return undefined;
    if (isUnknown(field.text)) return undefined;
    const value = read(field);
    if (value === undefined) suspects.push(name);
    return value;
  };
  const number = (
    name: 'tac' | 'cellId' | 'pci' | 'arfcn',
    base: 'hexadecimal' | 'decimal',
  ): number | undefined => {
    const isHex = (bases[name] ?? base) === 'hexadecimal';
    const isUnknown = (text: string): boolean =>
      /^(?:0x)?0*f{3,}e?$/i.test(text) || unknownNumbers.includes(text) || isReserved(name, text);
    return part(name, isUnknown, (field) =>
      isHex ? readHex(field, limit[name]) : readWhole(field, 0, limit[name]),
    );
  };
  const mcc = part(
    'mcc',
    (text) => /^(?:f+|000|0)$/i.test(text),
    (field) => (/^\d{3}$/.test(field.text) ? field.text : undefined),
  );
  const mnc = part(
    'mnc',
    (text) => mcc === undefined || /^f+$/i.test(text),
    (field) => readMnc(mcc, field.text),
  );
  const identity = present({
    mcc,
    mnc,
    tac: number('tac', 'hexadecimal'),
    cellId: number('cellId', 'hexadecimal'),
    pci: number('pci', 'decimal'),
    arfcn: number('arfcn', 'decimal'),
    band: part(
      'band',
      (text) => /^(?:0|255|65535)$/.test(text),
      (field) => readBand(field.text),
    ),
  });
  return { identity, suspects };
}

/** The members of a cell measurement that an identity fills. */
export function identityMembers({ identity, suspects }: ReadIdentity): {
  identity: CellIdentity;
  suspectIdentity?: readonly (keyof CellIdentity)[];
} {
  return suspects.length === 0 ? { identity } : { identity, suspectIdentity: suspects };
}

function isReserved(name: 'tac' | 'cellId' | 'pci' | 'arfcn', text: string): boolean {
  if (name === 'tac') return /^(?:0x|[+-])?0+$/i.test(text);
  return name === 'cellId' && /^(?:0x)?0{5,}$/i.test(text);
}

/** A modem that holds the code as a number prints no leading zeros: `250,1` is network 01, `310,4` is 004. */
function readMnc(mcc: string | undefined, text: string): string | undefined {
  if (/^\d{2,3}$/.test(text)) return text;
  if (!/^\d$/.test(text)) return undefined;
  return text.padStart(threeDigitCountries.test(mcc ?? '') ? 3 : 2, '0');
}

/** A band from its number or its name: `3`, `B3`, `n41`, `LTE BAND 3`, `EUTRAN-BAND4`, `NR5G_BAND78`, `NR N78`. */
export function readBand(text: string): number | undefined {
  const digits =
    /^(\d{1,4})$/.exec(text)?.[1] ?? /(?:BAND[\s_-]*(?:LTE_)?|^B|\bN)(\d{1,3})$/i.exec(text)?.[1];
  const band = digits === undefined ? undefined : Number(digits);
  return band === undefined || band < 1 || band > bandMax ? undefined : band;
}

/** Country and network code from one text: `310260`, `310 260`, `250-02`. */
export function splitPlmn(field: Field | undefined): { mcc?: Field; mnc?: Field } {
  const parts = /^(\d{3})[\s-]?(\d{1,3})$/.exec(field?.text ?? '');
  if (parts?.[1] === undefined || parts[2] === undefined) return {};
  return { mcc: { text: parts[1], quoted: false }, mnc: { text: parts[2], quoted: false } };
}
