/**
 * Sensor Measurement Lists in CBOR (RFC 8428 6): an array of maps, one for each record, with numbers for the labels of the
 * standard. Base fields hold from their record on. Labels that are not of the standard are text here; a reader that does
 * not know one ignores it, unless it ends with an underscore. Floats leave in the shortest form that holds their value.
 */
import { DecodeError, EncodeError } from '../base/errors.ts';
import { decodeCborMaps } from './cbor.ts';

/** How a contentInstance says that its content is base64 text of a SenML-CBOR pack (`contentInfo`, TS-0004 6.3.3). */
export const senmlContentInfo = 'application/senml+cbor:2';

/** One record as it is written; times in seconds. Absent fields follow from the base fields before. */
export interface SenmlRecord {
  readonly baseVersion?: number;
  readonly baseName?: string;
  readonly baseTime?: number;
  readonly baseUnit?: string;
  readonly baseValue?: number;
  readonly baseSum?: number;
  readonly name?: string;
  readonly unit?: string;
  readonly value?: number;
  readonly stringValue?: string;
  readonly booleanValue?: boolean;
  readonly sum?: number;
  readonly time?: number;
  readonly updateTime?: number;
  readonly dataValue?: Uint8Array;
  /** Labels that are not of the standard. */
  readonly extensions?: Readonly<Record<string, number | string | boolean>>;
}

/** A record that stands for itself (RFC 8428 4.6). A time below 2^28 is relative to now. */
export type ResolvedSenmlRecord = Omit<
  SenmlRecord,
  'baseVersion' | 'baseName' | 'baseTime' | 'baseUnit' | 'baseValue' | 'baseSum'
> & { readonly name: string; readonly time: number };

/** Smallest time that is absolute (RFC 8428 4.5.3), in seconds since 1970. */
export const absoluteTimeMin: number = 2 ** 28;

type Field = Exclude<keyof SenmlRecord, 'extensions'>;
type Kind = 'number' | 'string' | 'boolean' | 'octets';

/** Labels and types of the standard (RFC 8428 table 4), base fields first, because they apply to their own record. */
const fields: readonly (readonly [field: Field, label: number, kind: Kind])[] = [
  ['baseVersion', -1, 'number'],
  ['baseName', -2, 'string'],
  ['baseTime', -3, 'number'],
  ['baseUnit', -4, 'string'],
  ['baseValue', -5, 'number'],
  ['baseSum', -6, 'number'],
  ['name', 0, 'string'],
  ['unit', 1, 'string'],
  ['value', 2, 'number'],
  ['stringValue', 3, 'string'],
  ['booleanValue', 4, 'boolean'],
  ['sum', 5, 'number'],
  ['time', 6, 'number'],
  ['updateTime', 7, 'number'],
  ['dataValue', 8, 'octets'],
];
const byLabel = new Map(fields.map(([field, label, kind]) => [label, { field, kind }]));
const versionMax = 10;

/** Octets of a pack. Throws `EncodeError` for a number that is not finite. */
export function encodeSenml(records: readonly SenmlRecord[]): Uint8Array {
  const writer = new Writer();
  writer.head(4, records.length);
  for (const record of records) {
    const present = fields.filter(([field]) => record[field] !== undefined);
    const extensions = Object.entries(record.extensions ?? {});
    writer.head(5, present.length + extensions.length);
    for (const [field, label] of present) {
      writer.number(label);
      writer.item(record[field] ?? 0);
    }
    for (const [label, value] of extensions) {
      writer.item(label);
      writer.item(value);
    }
  }
  return writer.octets();
}

/** The records of a pack as they are written; throws `DecodeError` naming what is wrong. */
export function decodeSenml(data: Uint8Array): SenmlRecord[] {
  const pack = decodeCborMaps(data);
  if (!Array.isArray(pack) || pack.length === 0) throw new DecodeError('a SenML pack is a filled array');
  return pack.map((item: unknown, index) => {
    if (!(item instanceof Map)) throw new DecodeError(`record ${index} of the SenML pack is no map`);
    return decodeRecord(item, index);
  });
}

/** The records with what the base fields say of them (RFC 8428 4.6); throws `DecodeError` for another version. */
export function resolveSenml(records: readonly SenmlRecord[]): ResolvedSenmlRecord[] {
  let base: Pick<SenmlRecord, 'baseName' | 'baseTime' | 'baseUnit' | 'baseValue' | 'baseSum'> = {};
  return records.map((record) => {
    const { baseVersion = versionMax, baseName, baseTime, baseUnit, baseValue, baseSum, ...own } = record;
    if (baseVersion > versionMax) throw new DecodeError(`SenML version ${baseVersion} is not known`);
    base = {
      ...base,
      ...(baseName === undefined ? {} : { baseName }),
      ...(baseTime === undefined ? {} : { baseTime }),
      ...(baseUnit === undefined ? {} : { baseUnit }),
      ...(baseValue === undefined ? {} : { baseValue }),
      ...(baseSum === undefined ? {} : { baseSum }),
    };
    const unit = own.unit ?? base.baseUnit;
    const hasOther =
      own.stringValue !== undefined || own.booleanValue !== undefined || own.dataValue !== undefined;
    const value = hasOther ? own.value : added(base.baseValue, own.value);
    const sum = added(base.baseSum, own.sum);
    return {
      ...own,
      name: `${base.baseName ?? ''}${own.name ?? ''}`,
      time: (base.baseTime ?? 0) + (own.time ?? 0),
      ...(unit === undefined ? {} : { unit }),
      ...(value === undefined ? {} : { value }),
      ...(sum === undefined ? {} : { sum }),
    };
  });
}

/** The value with eleven significant bits that is nearest: what three octets can hold. */
export function nearestHalf(value: number): number {
  if (value === 0) return 0;
  const unit = 2 ** (Math.floor(Math.log2(Math.abs(value))) - 10);
  return Math.round(value / unit) * unit;
}

function added(base: number | undefined, own: number | undefined): number | undefined {
  return base === undefined ? own : base + (own ?? 0);
}

function decodeRecord(map: ReadonlyMap<unknown, unknown>, index: number): SenmlRecord {
  const record: Record<string, unknown> = {};
  const extensions: Record<string, number | string | boolean> = {};
  for (const [label, value] of map) {
    const known = typeof label === 'number' ? byLabel.get(label) : undefined;
    if (known !== undefined) {
      if (kindOf(value) !== known.kind)
        throw new DecodeError(`${known.field} of record ${index} of the SenML pack is no ${known.kind}`);
      record[known.field] = value;
    } else if (typeof label === 'string') {
      if (label.endsWith('_')) throw new DecodeError(`label ${label} of the SenML pack must be understood`);
      if (typeof value === 'number' || typeof value === 'string' || typeof value === 'boolean')
        extensions[label] = value;
    }
  }
  return Object.keys(extensions).length === 0 ? record : { ...record, extensions };
}

function kindOf(value: unknown): Kind | undefined {
  if (value instanceof Uint8Array) return 'octets';
  const type = typeof value;
  return type === 'number' || type === 'string' || type === 'boolean' ? type : undefined;
}

/** Deterministic CBOR (RFC 8949 4.2.1) of what SenML needs, which the codec module does not write: number keys, short floats. */
class Writer {
  readonly #parts: Uint8Array[] = [];

  octets(): Uint8Array {
    return Uint8Array.from(Buffer.concat(this.#parts));
  }

  head(major: number, argument: number): void {
    const high = major << 5;
    if (argument < 24) this.#parts.push(Uint8Array.of(high | argument));
    else if (argument < 0x100) this.#parts.push(Uint8Array.of(high | 24, argument));
    else if (argument < 0x1_0000) this.#sized(high | 25, 2, (view) => view.setUint16(1, argument));
    else if (argument < 0x1_0000_0000) this.#sized(high | 26, 4, (view) => view.setUint32(1, argument));
    else this.#sized(high | 27, 8, (view) => view.setBigUint64(1, BigInt(argument)));
  }

  item(value: number | string | boolean | Uint8Array): void {
    if (typeof value === 'number') this.number(value);
    else if (typeof value === 'boolean') this.#parts.push(Uint8Array.of(value ? 0xf5 : 0xf4));
    else {
      const octets = typeof value === 'string' ? Buffer.from(value) : value;
      this.head(typeof value === 'string' ? 3 : 2, octets.length);
      this.#parts.push(octets);
    }
  }

  number(value: number): void {
    if (!Number.isFinite(value)) throw new EncodeError(`number ${value} has no place in SenML`);
    if (Number.isSafeInteger(value)) {
      this.head(value < 0 ? 1 : 0, value < 0 ? -1 - value : Math.abs(value));
      return;
    }
    const half = halfBits(value);
    if (half !== undefined) this.#sized(0xf9, 2, (view) => view.setUint16(1, half));
    else if (Math.fround(value) === value) this.#sized(0xfa, 4, (view) => view.setFloat32(1, value));
    else this.#sized(0xfb, 8, (view) => view.setFloat64(1, value));
  }

  #sized(initial: number, bytes: number, set: (view: DataView) => void): void {
    const part = new Uint8Array(1 + bytes);
    part[0] = initial;
    set(new DataView(part.buffer));
    this.#parts.push(part);
  }
}

/** The value as a half-precision float, if one holds it in its normal range. */
function halfBits(value: number): number | undefined {
  if (Math.fround(value) !== value) return undefined;
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, value);
  const bits = view.getUint32(0);
  const exponent = ((bits >>> 23) & 0xff) - 127;
  if ((bits & 0x1fff) !== 0 || exponent < -14 || exponent > 15) return undefined;
  return ((bits >>> 31) << 15) | ((exponent + 15) << 10) | ((bits >>> 13) & 0x3ff);
}
