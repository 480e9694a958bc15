/**
 * The line protocol between a sensor and the gateway, as pure text functions.
 *
 *     sensor  -> gateway    {"s":"temperature","n":17,"v":21.5}*HH
 *     gateway -> sensor     +17 temperature*HH
 *
 * `s` is the stream, `n` its count, `v` the value (any JSON). `HH` is the CRC-8 (polynomial x^8+x^2+x+1, start 0) of
 * the octets before the asterisk, two hexadecimal digits. Lines end with CR LF; either alone is taken too.
 *
 * With acknowledgement:
 * - The gateway acknowledges a count once the reading is on flash. The sensor keeps a line until then and repeats it, so a gateway that is
 *   killed loses nothing. A repeated count carries the same value.
 * - Counts of a stream rise by one and are never used again for another value; a sensor that cannot remember its last count starts above any
 *   it has used (its clock in seconds, for example).
 * - The sensor may send ahead of an acknowledgement. A line then carries `"o"`, the oldest count still unacknowledged; without it the
 *   line itself is the oldest. The gateway takes a count only when everything from `o` on has come before it, so a line
 *   damaged on the way never lets a later one overtake it; the sensor repeats from `o`.
 */
import { isUtf8 } from 'node:buffer';
import type { Plain } from './reading.ts';

/** Why a line was not taken. */
export type LineFault =
  'notUtf8' | 'missingChecksum' | 'wrongChecksum' | 'notJson' | 'notAReading' | 'badStreamName' | 'badCount';

/** One reading on the line. */
export interface LineReading {
  readonly stream: string;
  readonly value: Plain;
  readonly count?: number;
  /** The oldest count that the sensor still holds. */
  readonly oldest?: number;
}

/** What a line turned out to be. */
export type LineResult =
  | { readonly ok: true; readonly readings: readonly LineReading[] }
  | { readonly ok: false; readonly fault: LineFault };

const streamNamePattern = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;
const depthMax = 8;

/** CRC-8 with polynomial 0x07, start 0, as used by SMBus. */
export function crc8(data: Uint8Array): number {
  let crc = 0;
  for (const octet of data) {
    crc ^= octet;
    for (let bit = 0; bit < 8; bit++)
      crc = (crc & 0x80) === 0 ? (crc << 1) & 0xff : ((crc << 1) ^ 0x07) & 0xff;
  }
  return crc;
}

/** Adds the checksum and the line end. */
export function sealLine(text: string): string {
  const sum = crc8(Buffer.from(text, 'utf8')).toString(16).toUpperCase().padStart(2, '0');
  return `${text}*${sum}\r\n`;
}

/** The line that a sensor sends for one reading. */
export function formatReadingLine(reading: LineReading): string {
  const { stream, count, oldest, value } = reading;
  return sealLine(
    JSON.stringify({
      s: stream,
      n: count,
      ...(oldest !== undefined && oldest !== count && { o: oldest }),
      v: value,
    }),
  );
}

/** The line that tells a sensor that a count of a stream is stored. */
export function formatAcknowledgement(stream: string, count: number): string {
  return sealLine(`+${count} ${stream}`);
}

/** Reads an acknowledgement; undefined when it is none or damaged. */
export function parseAcknowledgement(line: Uint8Array): { stream: string; count: number } | undefined {
  const opened = openLine(line);
  if (opened?.checksum !== 'right') return undefined;
  const parts = /^\+(\d{1,15}) ([A-Za-z0-9][A-Za-z0-9_.-]{0,63})$/.exec(opened.text);
  return parts?.[1] === undefined || parts[2] === undefined
    ? undefined
    : { stream: parts[2], count: Number(parts[1]) };
}

/**
 * Reads a JSON line. With `acknowledge` it must be one reading with count and checksum; else a checksum is checked
 * only where there is one, and an object without `s` and `v` gives one reading for each of its members.
 */
export function parseJsonLine(line: Uint8Array, options: { acknowledge: boolean }): LineResult {
  const opened = openLine(line);
  if (opened === undefined) return { ok: false, fault: 'notUtf8' };
  if (opened.checksum === 'wrong') return { ok: false, fault: 'wrongChecksum' };
  if (opened.checksum === 'none' && options.acknowledge) return { ok: false, fault: 'missingChecksum' };
  const parsed = parseJson(opened.text);
  if (parsed === undefined) return { ok: false, fault: 'notJson' };
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed) || !isPlain(parsed, 0)) {
    return { ok: false, fault: 'notAReading' };
  }
  const members = new Map(Object.entries(parsed));
  if (!members.has('s') || !members.has('v')) {
    return options.acknowledge ? { ok: false, fault: 'notAReading' } : readMembers(members);
  }
  return readOne(members, options.acknowledge);
}

/**
 * Reads a line of comma-separated values: `stream,value`, or one value per name in `columns`. A number is taken as
 * one, anything else as text; an empty column gives no reading.
 */
export function parseCsvLine(line: Uint8Array, columns: readonly string[] | undefined): LineResult {
  const opened = openLine(line);
  if (opened === undefined) return { ok: false, fault: 'notUtf8' };
  if (opened.checksum === 'wrong') return { ok: false, fault: 'wrongChecksum' };
  const cells = opened.text.split(',').map((cell) => cell.trim());
  const pairs =
    columns === undefined ? [[cells[0], cells[1]]] : columns.map((name, index) => [name, cells[index]]);
  if (cells.length !== (columns?.length ?? 2)) return { ok: false, fault: 'notAReading' };
  const readings: LineReading[] = [];
  for (const [stream = '', cell = ''] of pairs) {
    if (!streamNamePattern.test(stream)) return { ok: false, fault: 'badStreamName' };
    if (cell === '') continue;
    const number = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,3})?$/i.test(cell) ? Number(cell) : Number.NaN;
    readings.push({ stream, value: Number.isFinite(number) ? number : cell });
  }
  return readings.length === 0 ? { ok: false, fault: 'notAReading' } : { ok: true, readings };
}

function readOne(members: ReadonlyMap<string, Plain>, acknowledge: boolean): LineResult {
  const stream = members.get('s');
  const value = members.get('v');
  const count = members.get('n');
  const oldest = members.get('o') ?? count;
  if (typeof stream !== 'string' || !streamNamePattern.test(stream))
    return { ok: false, fault: 'badStreamName' };
  if (count === undefined && !acknowledge) return { ok: true, readings: [{ stream, value: value ?? null }] };
  if (!isCount(count) || !isCount(oldest) || oldest > count) return { ok: false, fault: 'badCount' };
  return { ok: true, readings: [{ stream, value: value ?? null, count, oldest }] };
}

function readMembers(members: ReadonlyMap<string, Plain>): LineResult {
  const readings: LineReading[] = [];
  for (const [stream, value] of members) {
    if (!streamNamePattern.test(stream)) return { ok: false, fault: 'badStreamName' };
    readings.push({ stream, value });
  }
  return readings.length === 0 ? { ok: false, fault: 'notAReading' } : { ok: true, readings };
}

function isCount(value: Plain | undefined): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 1;
}

/** The text before the checksum, and whether the checksum is right; undefined for octets that are no UTF-8. */
function openLine(line: Uint8Array): { text: string; checksum: 'right' | 'wrong' | 'none' } | undefined {
  if (!isUtf8(line)) return undefined;
  const whole = Buffer.from(line).toString('utf8').trim();
  const sealed = /^(.*)\*([0-9a-f]{2})$/is.exec(whole);
  if (sealed?.[1] === undefined || sealed[2] === undefined) return { text: whole, checksum: 'none' };
  const right = crc8(Buffer.from(sealed[1], 'utf8')) === Number.parseInt(sealed[2], 16);
  return { text: sealed[1], checksum: right ? 'right' : 'wrong' };
}

function parseJson(text: string): Plain | undefined {
  try {
    return JSON.parse(text) as Plain;
  } catch {
    return undefined;
  }
}

/** JSON allows numbers beyond the range of a double, which arrive as infinity, and any depth. */
function isPlain(value: Plain, depth: number): boolean {
  if (typeof value === 'number') return Number.isFinite(value);
  if (typeof value !== 'object' || value === null) return true;
  return depth < depthMax && Object.values(value).every((member: Plain) => isPlain(member, depth + 1));
}
