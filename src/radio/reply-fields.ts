import type { Metric } from './radio-sample.ts';

/** One field of an information response. */
export interface Field {
  /** Without quotes and surrounding blanks. */
  readonly text: string;
  readonly quoted: boolean;
}

const fieldsMax = 256;
const rowsMax = 128;
const whole = /^[+-]?\d{1,10}$/;
const decimal = /^[+-]?(?:\d{1,6}(?:\.\d{0,6})?|\.\d{1,6})$/;
/** The firmware of some XMM modems prints the sign twice: `-7.-50`. */
const twiceSigned = /^-(\d{1,6})\.-(\d{1,6})$/;
const anyPrefix = /^[+^!#$%*&][A-Z0-9_]{1,24}:/i;
const quotes = /["\u201c\u201d]/g;

/** Lines of a reply, trimmed, without empty ones, the echo of the command and final results. */
export function contentLines(lines: readonly string[]): string[] {
  return lines
    .flatMap((text) => text.split(/[\r\n]+/))
    .map((text) => text.trim())
    .filter((text) => text !== '' && !/^(?:AT$|AT[+^!#$%*]|AT[EIZ]\d?$|OK$|ERROR$)/i.test(text));
}

/**
 * The fields of every response with `prefix` (`+` where it names no sign), wherever it stands in `lines`. Joins what
 * broken firmware tears apart (a newline after the colon, inside a quote) and parts what it glues together (two
 * responses on one line).
 */
export function readInformation(lines: readonly string[], prefix: string): Field[][] {
  return readBodies(lines, prefix).map(splitFields);
}

/** As `readInformation`, each response as one text. */
export function readBodies(lines: readonly string[], prefix: string): string[] {
  const start = `${/^[a-z0-9]/i.test(prefix) ? '+' : ''}${prefix}:`.toUpperCase();
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
      if (torn === '' || (torn.match(quotes) ?? []).length % 2 === 1) rows[rows.length - 1] = torn + text;
    }
    if (rows.length >= rowsMax) break;
  }
  return rows.slice(0, rowsMax);
}

/** The bodies of the responses that begin with `start` on one line; empty when there is none. */
function splitGlued(text: string, start: string): string[] {
  const upper = text.toUpperCase();
  const bodies: string[] = [];
  let at = upper.indexOf(start);
  while (at >= 0 && bodies.length < rowsMax) {
    const next = upper.indexOf(start, at + start.length);
    const body = text.slice(at + start.length, next < 0 ? undefined : next);
    // Polls of several commands are sometimes logged on one line: `+CREG: 1,5  +CGREG: 1,5`.
    bodies.push((/\s\s[+^%!#$*&][A-Z0-9_]{2,24}:/i.exec(body) === null ? body : cutAtPrefix(body)).trim());
    at = next;
  }
  return bodies;
}

function cutAtPrefix(body: string): string {
  return body.slice(0, body.search(/\s\s[+^%!#$*&][A-Z0-9_]{2,24}:/i));
}

/** Fields between commas; a comma inside quotes does not part. Typographic quotes from documents count as quotes. */
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
    // A quote in the middle of a number is damage: it stays, and the field is no number.
    if (isQuote(char) && (inQuotes || current.trim() === '')) {
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

function isQuote(char: string): boolean {
  return char === '"' || char === '\u201c' || char === '\u201d';
}

/** A field of a text that stands alone. */
export function fieldOf(text: string): Field {
  return { text: text.trim(), quoted: false };
}

/** Whether a field is there and says that nothing is known: empty or dashes. */
export function isBlank(field: Field | undefined): boolean {
  return field === undefined || /^-*$/.test(field.text);
}

/** A printed text of sensible length, or undefined. */
export function cleanText(field: Field | undefined): string | undefined {
  const text = field?.text.replace(/[\p{Cc}\ufffd]/gu, '').trim();
  return text === undefined || text === '' || text === '-' ? undefined : text.slice(0, 64);
}

/** A whole decimal number within the bounds, else undefined. */
export function readWhole(field: Field | undefined, min: number, max: number): number | undefined {
  if (field === undefined || !whole.test(field.text)) return undefined;
  const value = Number(field.text) + 0;
  return value >= min && value <= max ? value : undefined;
}

/** A hexadecimal number of up to 36 bits that does not exceed `max`, else undefined. */
export function readHex(field: Field | undefined, max: number): number | undefined {
  const digits = /^(?:0x)?([0-9a-f]{1,16})$/i.exec(field?.text ?? '')?.[1]?.replace(/^0+(?=.)/, '');
  if (digits === undefined || digits.length > 9) return undefined;
  const value = Number.parseInt(digits, 16);
  return value <= max ? value : undefined;
}

/** A decimal number within the bounds, else undefined. */
export function readDecimal(field: Field | undefined, min: number, max: number): number | undefined {
  const value = toNumber(field?.text ?? '');
  return value !== undefined && value >= min && value <= max ? value : undefined;
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
  const raw = field.text.slice(0, 64);
  if (raw === '' || /^-+$/.test(raw)) return { raw };
  const printed = toNumber(raw);
  if (printed === undefined) return { raw, suspect: true };
  const value = round(convert(printed));
  const believed = value >= window.min && value <= window.max && window.sentinels?.includes(value) !== true;
  return believed ? { value: value as Unit, raw } : { raw, suspect: true };
}

/** A printed number that is not believed, whatever it is; a missing field or `-` is only unknown. */
export function disbelieve<Unit extends number>(field: Field | undefined): Metric<Unit> | undefined {
  if (field === undefined) return undefined;
  const raw = field.text.slice(0, 64);
  return isBlank(field) ? { raw } : { raw, suspect: true };
}

/** How a modem numbers the steps of a level. */
export interface IndexScale {
  readonly indexMin?: number;
  readonly indexMax: number;
  readonly notKnown: number;
  readonly offset: number;
  readonly step: number;
}

/**
 * A metric from a 3GPP index: `notKnown` gives one without value, an index above `indexMax` a suspect one.
 */
export function readIndex<Unit extends number>(
  field: Field | undefined,
  scale: IndexScale,
): Metric<Unit> | undefined {
  if (field === undefined) return undefined;
  const raw = field.text.slice(0, 64);
  const index = readWhole(field, -1_000_000, 1_000_000);
  if (index === scale.notKnown || isBlank(field)) return { raw };
  if (index === undefined || index > scale.indexMax || index < (scale.indexMin ?? 0))
    return { raw, suspect: true };
  return { value: round(scale.offset + index * scale.step) as Unit, raw };
}

function toNumber(text: string): number | undefined {
  const twice = twiceSigned.exec(text);
  if (twice !== null) return Number(`-${twice[1]}.${twice[2]}`);
  // Adding zero turns the negative zero of `-0.0` into zero.
  return decimal.test(text) ? Number(text) + 0 : undefined;
}

/** Scales of fifths and tenths leave traces of binary fractions behind. */
function round(value: number): number {
  return Math.round(value * 1000) / 1000 + 0;
}

type Present<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** The object without its undefined members. */
export function present<T extends object>(members: T): Present<T> {
  const kept: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(members)) if (value !== undefined) kept[name] = value;
  return kept as Present<T>;
}
