import { isUtf8 } from 'node:buffer';

/**
 * The plainest reader of one CBOR item (RFC 8949) in the subset that the scan lets through: what the codec read is held
 * against it. The codec never assigns `__proto__`: it writes that key with one underscore less, and so does this. Where a
 * key is an octet string, all octet strings that are UTF-8 are texts.
 */
export function readCbor(data: Uint8Array): unknown {
  const plain = read(data, false);
  return plain.hasOctetKeys ? read(data, true).value : plain.value;
}

function read(data: Uint8Array, areTexts: boolean): { value: unknown; hasOctetKeys: boolean } {
  let hasOctetKeys = false;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  let offset = 0;
  const argument = (info: number): number => {
    if (info < 24) return info;
    const width = 1 << (info - 24);
    const at = offset;
    offset += width;
    if (width === 1) return view.getUint8(at);
    if (width === 2) return view.getUint16(at);
    return width === 4 ? view.getUint32(at) : Number(view.getBigUint64(at));
  };
  const special = (info: number): unknown => {
    const at = offset;
    if (info === 25) return ((offset += 2), halfFloat(view.getUint16(at)));
    if (info === 26) return ((offset += 4), view.getFloat32(at));
    if (info === 27) return ((offset += 8), view.getFloat64(at));
    return info === 20 ? false : info === 21 ? true : info === 22 ? null : undefined;
  };
  const item = (): unknown => {
    const initial = view.getUint8(offset++);
    const major = initial >> 5;
    if (major === 7) return special(initial & 31);
    const value = argument(initial & 31);
    if (major === 0) return value;
    if (major === 1) return -1 - value;
    if (major === 2 || major === 3) {
      const octets = data.subarray(offset, (offset += value));
      return major === 2 && !(areTexts && isUtf8(octets)) ? octets : Buffer.from(octets).toString();
    }
    if (major === 4) return Array.from({ length: value }, item);
    const object: Record<string, unknown> = {};
    for (let count = value; count > 0; count--) {
      const read = item();
      hasOctetKeys ||= typeof read !== 'string';
      const key = String(read);
      const inner = item();
      object[key === '__proto__' ? '__proto_' : key] = inner;
    }
    return object;
  };
  return { value: item(), hasOctetKeys };
}

function halfFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
