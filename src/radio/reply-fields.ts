import type { Metric } from './radio-sample.ts';

/** One field of an information response. */
export interface Field {
  /** Without quotes and surrounding blanks. */
  readonly text: string;
  readonly quoted: boolean;
}

const fieldsMax = 64;
const rowsMax = 128;
const whole = /^[+-]?\d{1,9}$/;
const decimal = /^[+-]?\d{1,6}(?:\.\d{1,6})?$/;
const anyPrefix = /^[+^!#$%*&][A-Z0-9_]{1,24}:/i;

/**
 * The fields of every response with `prefix` (without `+`), wherever it stands in `lines`. Joins what broken firmware
 * tears apart (a newline after the colon, inside a quote) and parts what it glues together (two responses on one
 * line).
 */
export function readInformation(lines: readonly string[], prefix: string): Field[][] {
  const start = `+${prefix}:`.toUpperCase();
  const rows: string[] = [];
  let open = false;
  for (const line of lines.flatMap((text) => text.split(/[\r\n]+/))) {
    const text = line.trim();
    if (text === '') continue;
    const parts = splitGlued(text, start);
    if (parts.length > 0) {
      rows.push(...parts);
      open = true;
    } else if (anyPrefix.test(text) || /^(?:OK|ERROR)$/i.test(text)) {
      open = false;
    } else if (open && rows.length > 0) {
      const torn = rows[rows.length - 1] ?? '';
      // Only what cannot stand alone is a continuation: a response without fields, or one torn inside quotes.
      if (torn === '' || (torn.match(/"/g) ?? []).length % 2 === 1) rows[rows.length - 1] = torn + text;
    }
    if (rows.length >= rowsMax) break;
  }
  return rows.slice(0, rowsMax).map(splitFields);
}

/** The bodies of the responses that begin with `start` on one line; empty when there is none. */
function splitGlued(text: string, start: string): string[] {
  const upper = text.toUpperCase();
  const bodies: string[] = [];
  let at = upper.indexOf(start);
  while (at >= 0) {
    const next = upper.indexOf(start, at + start.length);
    bodies.push(text.slice(at + start.length, next < 0 ? undefined : next).trim());
    at = next;
  }
  return bodies;
}

/** Fields between commas; a comma inside quotes does not part. */
export function splitFields(body: string): Field[] {
  const fields: Field[] = [];
  let current = '';
  let quoted = false;
  let inQuotes = false;
  const finish = (): void => {
    fields.push({ text: current.trim(), quoted });
    current = '';
    quoted = false;
  };
  for (const char of body) {
    if (char === '"') {
      inQuotes = !inQuotes;
      quoted = true;
    } else if (char === ',' && !inQuotes) {
      finish();
      if (fields.length >= fieldsMax) return fields;
    } else {
      current += char;
    }
  }
  finish();
  return fields;
}

/** A whole decimal number within the bounds, else undefined. */
export function readWhole(field: Field | undefined, min: number, max: number): number | undefined {
  if (field === undefined || !whole.test(field.text)) return undefined;
  const value = Number(field.text);
  return value >= min && value <= max ? value : undefined;
}

/** A hexadecimal number of up to 36 bits that does not exceed `max`, else undefined. */
export function readHex(field: Field | undefined, max: number): number | undefined {
  const digits = /^(?:0x)?([0-9a-f]{1,16})$/i.exec(field?.text ?? '')?.[1]?.replace(/^0+(?=.)/, '');
  if (digits === undefined || digits.length > 9) return undefined;
  const value = Number.parseInt(digits, 16);
  return value <= max ? value : undefined;
}

/** What a quantity can be, and which numbers a modem prints instead of "not known". */
export interface Window {
  readonly min: number;
  readonly max: number;
  readonly sentinels?: readonly number[];
}

/**
 * A metric from a printed number, scaled by `convert`. A missing field or `-` gives a metric without value; a number
 * outside the window, a sentinel or a text gives one that is `suspect`.
 */
export function readMetric<Unit extends number>(
  field: Field | undefined,
  window: Window,
  convert: (printed: number) => number = (printed): number => printed,
): Metric<Unit> | undefined {
  if (field === undefined) return undefined;
  const raw = field.text;
  if (raw === '' || /^-+$/.test(raw)) return { raw };
  if (!decimal.test(raw)) return { raw, suspect: true };
  const value = convert(Number(raw));
  const believed = value >= window.min && value <= window.max && window.sentinels?.includes(value) !== true;
  return believed ? { value: value as Unit, raw } : { raw, suspect: true };
}

/**
 * A metric from a 3GPP index: `notKnown` gives one without value, an index above `indexMax` a suspect one.
 */
export function readIndex<Unit extends number>(
  field: Field | undefined,
  scale: { indexMax: number; notKnown: number; offset: number; step: number },
): Metric<Unit> | undefined {
  if (field === undefined) return undefined;
  const raw = field.text;
  const index = readWhole(field, 0, 1_000_000);
  if (index === scale.notKnown || raw === '') return { raw };
  if (index === undefined || index > scale.indexMax) return { raw, suspect: true };
  return { value: (scale.offset + index * scale.step) as Unit, raw };
}
