import { mutate } from './mutate.ts';
import type { Dice } from './target.ts';

/** What a body is the body of. */
export type BodyKind = 'content' | 'notification' | 'request' | 'response';

/** Octets put together one after the other, in one buffer that is used again and again. */
export class OctetWriter {
  readonly #buffer = new Uint8Array(131_072);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  reset(): void {
    this.#length = 0;
  }

  octet(value: number): void {
    if (this.#length < this.#buffer.length) this.#buffer[this.#length++] = value;
  }

  uint(value: number, octets: number): void {
    for (let index = octets - 1; index >= 0; index--) this.octet(Math.floor(value / 256 ** index) % 256);
  }

  put(data: Uint8Array): void {
    const room = this.#buffer.length - this.#length;
    const part = data.length <= room ? data : data.subarray(0, room);
    this.#buffer.set(part, this.#length);
    this.#length += part.length;
  }

  /** A copy of what was written. */
  take(): Uint8Array {
    return this.#buffer.slice(0, this.#length);
  }
}

const names = ['rn', 'ri', 'ty', 'con', 'lbl', 'api', 'poa', 'rr', 'srv', 'st', 'et', 'acpi', 'x:y', '__proto__', 'constructor', 'toString', '', 'm2m:cin', 'm2m:cnt']; // prettier-ignore
const texts = ['', 'a', 'Sgw1', '/id-mn1/Cgw1', '20260101T000000', '20260101T000000,123456', 'ünï', 'x'.repeat(300), '-5000', 'fail', 'echo-1']; // prettier-ignore
const numbers = [0, 1, 2, 3, 4, 5, 23, 24, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, -1, -24, -(2 ** 32), -(2 ** 53 - 1), 0.5, 21.25, 1e300]; // prettier-ignore

/** A value as a body of this kind has it, with parts that are missing, foreign or of the wrong kind here and there. */
export function bodyValue(dice: Dice, kind: BodyKind): unknown {
  const value = template(dice, kind);
  return dice.oneIn(6) ? spoil(dice, value) : value;
}

/** The same as octets of a serialisation: well-formed for the most part, else hostile or mutated. */
export function bodyOctets(
  dice: Dice,
  writer: OctetWriter,
  kind: BodyKind,
  format: 'cbor' | 'json',
): Uint8Array {
  const fate = dice.below(8);
  const value = bodyValue(dice, kind);
  if (format === 'json') {
    const text = Buffer.from(JSON.stringify(value));
    if (fate === 0) return mutate(dice, text);
    return fate === 1 ? hostileJson(dice) : text;
  }
  writer.reset();
  if (fate === 2) hostileItem(dice, writer);
  else writeCbor(dice, writer, value, fate === 1 ? 6 : 0);
  const octets = writer.take();
  return fate === 0 ? mutate(dice, octets) : octets;
}

function template(dice: Dice, kind: BodyKind): unknown {
  const instance = {
    'm2m:cin': {
      rn: `c-${dice.below(4096)}`,
      ri: `r${dice.below(4096)}`,
      con: leaf(dice),
      cr: 'Cgw1',
      ct: dice.pick(texts),
    },
  };
  switch (kind) {
    case 'content':
      if (dice.oneIn(4)) return { [dice.pick(names)]: tree(dice, 3) };
      if (dice.oneIn(3)) return { 'm2m:uril': [dice.pick(texts), dice.pick(texts)] };
      return dice.oneIn(3)
        ? { 'm2m:cnt': { 'rn': 'data', 'lbl': ['a'], 'm2m:cin': [instance['m2m:cin']] } }
        : instance;
    case 'notification': {
      const command = {
        con: {
          id: `k${dice.below(100_000)}`,
          command: dice.oneIn(8) ? leaf(dice) : 'ping',
          ...(dice.oneIn(4) ? { target: dice.pick(['gateway', 'relay1', '']) } : {}),
          ...(dice.oneIn(6) ? { expires: dice.pick([leaf(dice), -1, 1000]) } : {}),
        },
        rn: 'k',
        ri: `ri${dice.below(1000)}`,
      };
      const single = { nev: { rep: { 'm2m:cin': command }, net: dice.pick([1, 3, 7]) }, sur: '/id-mn1/sub' };
      if (dice.oneIn(8)) return { 'm2m:sgn': { vrq: true, sur: '/id-mn1/sub', cr: 'Cgw1' } };
      if (dice.oneIn(12)) return { 'm2m:sgn': { sud: true, sur: dice.pick(texts) } };
      if (dice.oneIn(6)) return { 'm2m:agn': { 'm2m:sgn': [single, single, tree(dice, 2)] } };
      return { 'm2m:sgn': single };
    }
    case 'request':
      return {
        op: 1 + dice.below(5),
        to: dice.pick(['-/gw1/commands', '/id-mn1', '~', ...texts]),
        fr: dice.pick(['/id-mn1', 'Cgw1', '']),
        rqi: `q${dice.below(2000)}`,
        rvi: '4',
        ...(dice.oneIn(2) ? { pc: template(dice, dice.oneIn(2) ? 'notification' : 'content') } : {}),
        ...(dice.oneIn(6) ? { fc: { fu: 1, ty: [4], [dice.pick(names)]: leaf(dice) } } : {}),
        ...(dice.oneIn(6)
          ? { rt: { rtv: 3, nu: ['mqtt://x'] }, rqet: dice.pick(texts), ty: dice.pick(numbers) }
          : {}),
      };
    case 'response':
      return {
        rsc: dice.pick([2000, 2001, 4004, 4105, 5000, 1000, 0, 2000.5]),
        rqi: `o${dice.below(8)}`,
        ...(dice.oneIn(2) ? { pc: template(dice, 'content') } : {}),
        ...(dice.oneIn(3) ? { to: 'Cgw1', fr: '/id-mn1', ot: dice.pick(texts) } : {}),
      };
  }
}

function leaf(dice: Dice): unknown {
  switch (dice.below(8)) {
    case 0:
      return dice.pick(texts);
    case 1:
      return dice.pick([true, false, null]);
    case 2:
      return tree(dice, 3);
    case 3:
      return dice.uint32() * 2 ** dice.below(20);
    default:
      return dice.pick(numbers);
  }
}

function tree(dice: Dice, depth: number): unknown {
  if (depth === 0 || dice.oneIn(3)) return dice.oneIn(2) ? dice.pick(texts) : dice.pick(numbers);
  if (dice.oneIn(2)) return Array.from({ length: dice.below(4) }, () => tree(dice, depth - 1));
  const object: Record<string, unknown> = {};
  for (let count = dice.below(4); count > 0; count--) object[dice.pick(names)] = tree(dice, depth - 1);
  return object;
}

/** Something anywhere in the value replaced by something else. */
function spoil(dice: Dice, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || dice.oneIn(5)) return leaf(dice);
  if (Array.isArray(value)) {
    const at = dice.below(value.length + 1);
    return value.map((item: unknown, index) => (index === at ? spoil(dice, item) : item));
  }
  const keys = Object.keys(value);
  const key = dice.pick(keys.length === 0 ? names : keys);
  const fields = value as Record<string, unknown>;
  if (dice.oneIn(6)) return Object.fromEntries(Object.entries(fields).filter(([name]) => name !== key));
  return { ...fields, [key]: spoil(dice, fields[key]) };
}

/** One item; with `hostility` above 0 about one in so many items is written as it must not be. */
function writeCbor(dice: Dice, writer: OctetWriter, value: unknown, hostility: number): void {
  if (hostility > 0 && dice.oneIn(hostility)) hostileItem(dice, writer);
  else if (typeof value === 'string') writeText(dice, writer, value, hostility);
  else if (typeof value === 'number') writeNumber(dice, writer, value, hostility);
  else if (Array.isArray(value)) {
    writeHead(dice, writer, 4, value.length, hostility);
    for (const item of value) writeCbor(dice, writer, item, hostility);
  } else if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value);
    const isDouble = hostility > 0 && entries.length > 0 && dice.oneIn(hostility);
    writeHead(dice, writer, 5, entries.length + (isDouble ? 1 : 0), hostility);
    if (isDouble) entries.push(entries[0] as [string, unknown]);
    for (const [key, inner] of entries) {
      writeText(dice, writer, key, hostility);
      writeCbor(dice, writer, inner, hostility);
    }
  } else writer.octet(value === true ? 0xf5 : value === false ? 0xf4 : 0xf6);
}

function writeText(dice: Dice, writer: OctetWriter, text: string, hostility: number): void {
  const octets = Buffer.from(text);
  const major = hostility > 0 && dice.oneIn(hostility * 4) ? 2 : 3;
  writeHead(dice, writer, major, octets.length, hostility);
  writer.put(octets);
}

function writeNumber(dice: Dice, writer: OctetWriter, value: number, hostility: number): void {
  if (Number.isSafeInteger(value)) {
    writeHead(dice, writer, value < 0 ? 1 : 0, value < 0 ? -1 - value : value, hostility);
    return;
  }
  writer.octet(0xfb);
  const octets = Buffer.alloc(8);
  octets.writeDoubleBE(value);
  writer.put(octets);
}

function writeHead(dice: Dice, writer: OctetWriter, major: number, value: number, hostility: number): void {
  const lie = hostility > 0 && dice.oneIn(hostility * 8) ? dice.pick([1, -1, 1000, 2 ** 31, 2 ** 40]) : 0;
  const told = Math.max(0, value + lie);
  const shortest = told < 24 ? 0 : told < 256 ? 1 : told < 65_536 ? 2 : told < 2 ** 32 ? 4 : 8;
  const width = hostility > 0 && dice.oneIn(hostility * 4) ? dice.pick([1, 2, 4, 8]) : shortest;
  if (width === 0) writer.octet(major * 32 + told);
  else {
    writer.octet(major * 32 + 24 + Math.log2(width));
    writer.uint(told % 2 ** (8 * width), width);
  }
}

function hostileItem(dice: Dice, writer: OctetWriter): void {
  switch (dice.below(12)) {
    case 0: // nesting
      for (let count = dice.oneIn(40) ? 5000 : dice.pick([31, 32, 33, 34]); count > 0; count--)
        writer.octet(0x81);
      writer.octet(0);
      return;
    case 1: // nested maps
      for (let count = dice.oneIn(40) ? 500 : dice.pick([30, 31, 32, 33]); count > 0; count--)
        writer.uint(0xa16161, 3);
      writer.octet(0);
      return;
    case 2: // a bignum
      writer.octet(dice.oneIn(2) ? 0xc2 : 0xc3);
      writer.octet(0x5a);
      writer.uint(dice.pick([4, 64, 1000]), 4);
      writer.put(new Uint8Array(64));
      return;
    case 3: // any tag
      writer.octet(0xc0 + dice.below(24));
      writer.octet(0x61);
      writer.octet(0x61);
      return;
    case 4: // a record of the codec's own kind, and its shared values
      writer.uint(dice.pick([0xd9dff8, 0xd9dff9, 0xd81c, 0xd81d]), 3);
      writer.octet(0x82);
      return;
    case 5: // indefinite
      writer.octet(dice.pick([0x5f, 0x7f, 0x9f, 0xbf]));
      writer.put(dice.bytes(dice.below(6)));
      writer.octet(0xff);
      return;
    case 6: // huge counts and lengths
      writer.octet(dice.pick([0x5b, 0x7b, 0x9b, 0xbb, 0x5a, 0x7a, 0x9a, 0xba]));
      writer.put(dice.bytes(8));
      return;
    case 7: // simple values and half floats
      writer.octet(0xe0 + dice.below(32));
      writer.put(dice.bytes(dice.below(9)));
      return;
    case 8: // integers around 2^53
      writer.octet(dice.oneIn(2) ? 0x1b : 0x3b);
      writer.uint(dice.pick([0x1fffff, 0x200000, 0xffffffff]), 4);
      writer.uint(dice.pick([0, 1, 0xffffffff, 0xfffffffe]), 4);
      return;
    case 9: // text that is no UTF-8
      writer.octet(0x64);
      writer.put(dice.bytes(4));
      return;
    case 10: // many small items
      writeManyItems(dice, writer);
      return;
    default:
      writer.put(dice.bytes(dice.below(24)));
  }
}

function writeManyItems(dice: Dice, writer: OctetWriter): void {
  // Rarely near the bounds on octets and items: such an input costs as much as hundreds of others.
  const count = dice.oneIn(200) ? dice.pick([30_000, 65_000, 65_532, 65_536]) : 20;
  writer.octet(0x99);
  writer.uint(dice.oneIn(4) ? count + 1 : count, 2);
  for (let index = 0; index < count; index++) writer.octet(0x80);
}

const brokenJson = ['', '{', '{"a":1}x', '{"a":1,"a":2}', '{"__proto__":{"x":1}}', '[1,]', '1e999', '-0', 'nul', '"\\ud800"', '{"a":NaN}', '\ufeff{}', '{"a":"\u0000"}', '{"m2m:cin":{"__proto__":1,"con":-0}}', '{"m2m:cin":{"con":123456789012345678901}}']; // prettier-ignore

function hostileJson(dice: Dice): Uint8Array {
  const depth = dice.oneIn(40) ? 2000 : dice.pick([30, 31, 32, 33]);
  switch (dice.below(4)) {
    case 0:
      return Buffer.from('['.repeat(depth) + ']'.repeat(dice.oneIn(2) ? depth : depth - 1));
    case 1:
      return Buffer.from('{"a":'.repeat(depth) + '1' + '}'.repeat(depth));
    case 2:
      return dice.bytes(dice.below(40));
    default:
      return Buffer.from(dice.pick(brokenJson));
  }
}
