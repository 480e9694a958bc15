import type { RegistrationState } from './radio-sample.ts';
import { readHex, readInformation, readWhole } from './reply-fields.ts';
import type { Field } from './reply-fields.ts';

/** The four registration commands of 3GPP TS 27.007: circuit, packet, EPS, 5GS. */
export type RegistrationDomain = 'CREG' | 'CGREG' | 'CEREG' | 'C5GREG';

/** Access technology numbers of 3GPP TS 27.007 10.1.20. */
export type AccessTechnologyNumber = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 | 12 | 13;

/** What a registration line says. */
export interface Registration {
  readonly domain: RegistrationDomain;
  readonly state: RegistrationState;
  /** The number behind `state`; several numbers share a word. */
  readonly stat: number;
  /** Location or tracking area code; undefined when absent or the code for "none". */
  readonly tac?: number;
  readonly cellId?: number;
  readonly accessTechnology?: AccessTechnologyNumber;
  /** Codes that were printed but cannot be. */
  readonly suspects?: readonly ('tac' | 'cellId')[];
}

const registrationLine = /^\+(CREG|CGREG|CEREG|C5GREG):\s*(.*)$/i;
const states: readonly (RegistrationState | undefined)[] = [
  'idle',
  'home',
  'searching',
  'denied',
  'unknown',
  'roaming',
  'limited', // 6, 7: short messages only
  'limited',
  'limited', // 8: emergency only
  'home', // 9, 10: registered, circuit-switched fallback not preferred
  'roaming',
  'limited', // 11: restricted local operator service
];
/** Nordic modems say 90 when the SIM does not answer. */
const simFailure = 90;

/**
 * Whether a line with a registration prefix is the answer to a read command (`n,stat[,...]`), came unsolicited
 * (`stat[,...]`), or is too short to tell; undefined for any other line (3GPP TS 27.007 7.2, 10.1.20, 10.1.22,
 * 10.1.47).
 */
export function registrationShape(line: string): 'read' | 'unsolicited' | 'ambiguous' | undefined {
  if (!registrationLine.test(line)) return undefined;
  const fields = readInformation([line], line.slice(1, line.indexOf(':')))[0] ?? [];
  if (fields.length < 2) return 'ambiguous';
  return hasMode(fields) ? 'read' : 'unsolicited';
}

/**
 * Reads the last registration line of `domain`, in either form (3GPP TS 27.007 7.2, 10.1.20, 10.1.22, 10.1.47);
 * undefined when there is none or its state is no known number.
 */
export function parseRegistration(
  lines: readonly string[],
  domain: RegistrationDomain,
): Registration | undefined {
  const fields = readInformation(lines, domain).at(-1);
  if (fields === undefined) return undefined;
  const [status, ...rest] = hasMode(fields) ? fields.slice(1) : fields;
  const [tac, cellId, technology] = placeFields(rest);
  return registrationOf(domain, { status, tac, cellId, technology });
}

/** The registration that a state number and what may come with it stand for; undefined for an unknown number. */
export function registrationOf(
  domain: RegistrationDomain,
  fields: Readonly<Record<'status' | 'tac' | 'cellId' | 'technology', Field | undefined>>,
): Registration | undefined {
  const stat = readWhole(fields.status, 0, 255);
  const state = stat === simFailure ? 'idle' : stat === undefined ? undefined : states[stat];
  if (stat === undefined || state === undefined) return undefined;
  const accessTechnology = readWhole(fields.technology, 0, 13) as AccessTechnologyNumber | undefined;
  const bounds = boundsOf(domain, accessTechnology);
  const tac = readCode(fields.tac, bounds.tac);
  const cellId = readCode(fields.cellId, bounds.cellId);
  const suspects = [
    ...(tac === undefined && isPrinted(fields.tac) ? (['tac'] as const) : []),
    ...(cellId === undefined && isPrinted(fields.cellId) ? (['cellId'] as const) : []),
  ];
  return {
    domain,
    state,
    stat,
    ...(tac !== undefined && { tac }),
    ...(cellId !== undefined && { cellId }),
    ...(accessTechnology !== undefined && { accessTechnology }),
    ...(suspects.length > 0 && { suspects }),
  };
}

/** Largest codes of a technology (3GPP TS 23.003); where it is not told, of the core network that the domain speaks of. */
function boundsOf(
  domain: RegistrationDomain,
  technology: AccessTechnologyNumber | undefined,
): { readonly tac: number; readonly cellId: number } {
  if (technology === 0 || technology === 1 || technology === 3) return { tac: 0xffff, cellId: 0xffff };
  if (technology === 11 || technology === 12) return { tac: 0xff_ffff, cellId: 0xf_ffff_ffff };
  if (technology === 10) return { tac: 0xff_ffff, cellId: 0xfff_ffff };
  const isNr = technology === undefined && domain === 'C5GREG';
  return isNr ? { tac: 0xff_ffff, cellId: 0xf_ffff_ffff } : { tac: 0xffff, cellId: 0xfff_ffff };
}

/**
 * Two leading small decimals are mode and state; in the unsolicited form an area code (quoted, or four digits and
 * more) follows the state.
 */
function hasMode(fields: readonly Field[]): boolean {
  const [first, second] = fields;
  if (first === undefined || second === undefined || second.quoted || second.text.length > 3) return false;
  const stat = readWhole(second, 0, 255);
  if (stat === undefined || readWhole(first, 0, 5) === undefined) return false;
  // An area never comes without its cell, so of two numbers the second is a state, even one that is not known.
  return fields.length === 2 || stat < states.length || stat === simFailure;
}

/** Area, cell and technology, whether or not a two-digit routing area stands before or after the cell. */
function placeFields(fields: readonly Field[]): [Field | undefined, Field | undefined, Field | undefined] {
  const [area, ...rest] = fields;
  const isRoutingArea = (field: Field | undefined): boolean =>
    field !== undefined && /^[0-9a-f]{2}$/i.test(field.text);
  if (isRoutingArea(rest[0]) && rest[1] !== undefined && rest[1].text.length > 2) rest.shift();
  const [cell, ...tail] = rest;
  if (tail[0]?.quoted === true && isRoutingArea(tail[0])) tail.shift();
  return [area, cell, tail[0]];
}

const noCode = /^(?:0x)?(?:0*f{2,}e?|0+)$/i;

/** Whether a field holds something other than a code for "none". */
function isPrinted(field: Field | undefined): boolean {
  return field !== undefined && field.text !== '' && !noCode.test(field.text);
}

/** A hexadecimal code, undefined for all ones and zero, which mean "none". */
function readCode(field: Field | undefined, max: number): number | undefined {
  if (field === undefined || noCode.test(field.text)) return undefined;
  return readHex(field, max);
}
