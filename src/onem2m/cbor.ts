/**
 * CBOR (RFC 8949) as oneM2M uses it (TS-0004 8.5): text keys, no tags, no indefinite lengths. The only module that
 * touches cbor-x, because its defaults write record tags nobody else reads, its decoder honours tags whose bignum form
 * blocks the event loop for minutes, and integers from 2^32 on leave as floats. So: fixed options, an iterative scan
 * before every decode of foreign octets, and BigInt for wide integers on the way out.
 *
 * The examples in the standard write texts as octet strings, keys included, against its own words. A body with such a key
 * is in that style: each octet string in it that is UTF-8 is read as text. Elsewhere an octet string stays what it is.
 *
 * What a body costs to decode goes by its maps (each set of keys that was not seen before is a new kind of object) and by
 * its octet strings (each is a view of its own), not by its other items. Their numbers are bounded so that no body of a
 * CSE is touched: a map of two attributes with names of one letter takes 7 octets, and binary data travels as text.
 */
import { isUtf8 } from 'node:buffer';
import { Encoder } from 'cbor-x';
import type { Options } from 'cbor-x';
import { DecodeError, EncodeError, errorText } from '../base/errors.ts';
import { hexExcerpt } from '../base/text.ts';

const depthMax = 32;

/** Octets of foreign CBOR that are looked at (TS-0004 leaves it open; a gateway needs a bound, I8). */
export const cborBytesMax = 65_536;

/** Maps one body may have. */
export const cborMapsMax: number = Math.floor(cborBytesMax / 7);

/** Octet strings one body may have, those apart that are read as text. */
export const cborOctetStringsMax = 1_024;

const options: Options & { int64AsNumber: boolean } = {
  useRecords: false,
  mapsAsObjects: true,
  variableMapSize: true,
  tagUint8Array: false,
  int64AsNumber: true,
};
const codec = new Encoder(options);
const mapCodec = new Encoder({ ...options, mapsAsObjects: false });

/** Encodes plain data (null, booleans, finite numbers, text, arrays, objects). Throws `EncodeError` otherwise. */
export function encodeCbor(value: unknown): Uint8Array {
  // cbor-x returns a slice of a shared block; the copy is what may be kept.
  return Uint8Array.from(codec.encode(widen(value, 0)));
}

/** Decodes foreign octets after checking their shape; throws `DecodeError` naming what is wrong and where. */
export function decodeCbor(data: Uint8Array): unknown {
  return decodeScanned(data, scanCbor(data), codec);
}

/**
 * The same for a format whose maps have integers as keys beside texts, as SenML has them: each map becomes a `Map`.
 */
export function decodeCborMaps(data: Uint8Array): unknown {
  return decodeScanned(data, scanCbor(data, { hasIntegerKeys: true }), mapCodec);
}

function decodeScanned(data: Uint8Array, texts: readonly number[], by: Encoder): unknown {
  try {
    return by.decode(texts.length === 0 ? data : withTexts(data, texts));
  } catch (cause) {
    throw new DecodeError(`body is not CBOR: ${errorText(cause)} (${hexExcerpt(data)})`, { cause });
  }
}

/**
 * Walks one CBOR item without building it. Refuses tags, indefinite lengths, keys that are no text (integers pass where
 * `hasIntegerKeys` says so), integers beyond ±(2^53-1), simple values other than false, true, null and undefined, nesting over 32, over 65,536 octets, too many maps
 * or octet strings, lengths and counts beyond the octets left, and octets after the item. What passes decodes without a
 * throw. Returns where the octet strings begin that stand for texts.
 */
export function scanCbor(
  data: Uint8Array,
  { hasIntegerKeys = false }: { readonly hasIntegerKeys?: boolean } = {},
): readonly number[] {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  // One entry per open container: items still to come, and whether the next one is a map key.
  const remaining: number[] = [1];
  const isMap: boolean[] = [false];
  const strings: number[] = [];
  let hasOctetKeys = false;
  let maps = 0;
  let offset = 0;
  const refuse = (reason: string): never => {
    throw new DecodeError(`body is not acceptable CBOR: ${reason} at byte ${offset} (${hexExcerpt(data)})`);
  };
  if (data.length > cborBytesMax) refuse(`more than ${cborBytesMax} bytes`);
  while (remaining.length > 0) {
    const level = remaining.length - 1;
    const left = remaining[level] ?? 0;
    if (left === 0) {
      remaining.pop();
      isMap.pop();
      continue;
    }
    remaining[level] = left - 1;
    if (offset >= data.length) refuse('truncated');
    const initial = data[offset] ?? 0;
    const major = initial >> 5;
    const isKey = isMap[level] === true && left % 2 === 0;
    const isKeyAllowed = major === 2 || major === 3 || (hasIntegerKeys && major < 2);
    if (isKey && !isKeyAllowed) refuse('a map key that is not text');
    const { value, size } = readArgument(view, offset, initial, refuse);
    const start = offset;
    offset += size;
    if (major === 2 || major === 3) {
      if (value > data.length - offset) refuse('a length beyond the end');
      if (major === 2) strings.push(start);
      if (major === 2 && isKey) {
        if (!isUtf8(data.subarray(offset, offset + value))) refuse('a map key that is not text');
        hasOctetKeys = true;
      }
      offset += value;
    } else if (major === 4 || major === 5) {
      const count = major === 5 ? value * 2 : value;
      if (count > data.length - offset) refuse('a count beyond the end');
      if (remaining.length > depthMax) refuse(`nesting over ${depthMax}`);
      if (major === 5 && ++maps > cborMapsMax) refuse(`more than ${cborMapsMax} maps`);
      remaining.push(count);
      isMap.push(major === 5);
    } else if (major === 6) {
      refuse('a tag');
    }
  }
  if (offset !== data.length) refuse('octets after the end');
  const texts = hasOctetKeys ? strings.filter((start) => isTextAt(data, view, start, refuse)) : [];
  if (strings.length - texts.length > cborOctetStringsMax) {
    refuse(`more than ${cborOctetStringsMax} octet strings`);
  }
  return texts;
}

function isTextAt(
  data: Uint8Array,
  view: DataView,
  start: number,
  refuse: (reason: string) => never,
): boolean {
  const { value, size } = readArgument(view, start, data[start] ?? 0, refuse);
  return isUtf8(data.subarray(start + size, start + size + value));
}

/** The same octets with the octet strings that begin at `starts` as texts: their heads differ in one bit. */
function withTexts(data: Uint8Array, starts: readonly number[]): Uint8Array {
  const changed = Uint8Array.from(data);
  for (const start of starts) changed[start] = (changed[start] ?? 0) | 0x20;
  return changed;
}

function readArgument(
  view: DataView,
  offset: number,
  initial: number,
  refuse: (reason: string) => never,
): { value: number; size: number } {
  const info = initial & 31;
  const isSimple = initial >> 5 === 7;
  if (info < 24) {
    if (isSimple && info < 20) refuse('an unassigned simple value');
    return { value: info, size: 1 };
  }
  if (info > 27) refuse('an indefinite or reserved length');
  if (isSimple && info === 24) refuse('an unassigned simple value');
  const width = 1 << (info - 24);
  if (offset + 1 + width > view.byteLength) refuse('truncated');
  if (isSimple) return { value: 0, size: 1 + width };
  if (width === 8) {
    const wide = view.getBigUint64(offset + 1);
    // Major type 1 holds -1 - n, which is one further from zero than n.
    const wideMax = BigInt(Number.MAX_SAFE_INTEGER) - (initial >> 5 === 1 ? 1n : 0n);
    if (wide > wideMax) refuse('an integer beyond 2^53-1');
    return { value: Number(wide), size: 9 };
  }
  const value =
    width === 1
      ? view.getUint8(offset + 1)
      : width === 2
        ? view.getUint16(offset + 1)
        : view.getUint32(offset + 1);
  return { value, size: 1 + width };
}

/** Integers outside 32 bits as BigInt, which cbor-x writes as integers; anything that is not plain is refused. */
function widen(value: unknown, depth: number): unknown {
  if (typeof value === 'number') {
    if (Number.isInteger(value) && (value > 0xffff_ffff || value < -0x1_0000_0000)) {
      if (!Number.isSafeInteger(value)) throw new EncodeError(`integer ${value} is beyond 2^53-1`);
      return BigInt(value);
    }
    if (!Number.isFinite(value)) throw new EncodeError(`number ${value} has no CBOR form in oneM2M`);
    return Object.is(value, -0) ? 0 : value;
  }
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value;
  if (typeof value === 'object' && depth >= depthMax) throw new EncodeError(`nesting over ${depthMax}`);
  if (Array.isArray(value)) return value.map((inner) => widen(inner, depth + 1));
  if (typeof value !== 'object') throw new EncodeError(`a ${typeof value} has no CBOR form in oneM2M`);
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null)
    throw new EncodeError('only plain objects have a CBOR form in oneM2M');
  const result: Record<string, unknown> = {};
  for (const [key, inner] of Object.entries(value)) {
    // Assigned, it would become the prototype instead of a key.
    if (inner !== undefined && key !== '__proto__') result[key] = widen(inner, depth + 1);
  }
  return result;
}
