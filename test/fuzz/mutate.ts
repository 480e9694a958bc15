import type { Dice } from './target.ts';

const telling = [
  0x00, 0x01, 0x0d, 0x0e, 0x0f, 0x1b, 0x3f, 0x40, 0x5f, 0x7f, 0x80, 0x9f, 0xbf, 0xc2, 0xd0, 0xe0, 0xf7, 0xff,
];

/** The octets with up to four changes: bits, octets, pieces cut out, doubled, put in, the end cut off. */
export function mutate(dice: Dice, data: Uint8Array): Uint8Array {
  let changed = Uint8Array.from(data);
  for (let count = 1 + dice.below(4); count > 0; count--) changed = change(dice, changed);
  return changed;
}

function change(dice: Dice, data: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  if (data.length === 0) return Uint8Array.from(dice.bytes(dice.below(8)));
  const at = dice.below(data.length);
  switch (dice.below(8)) {
    case 0:
      data[at] = (data[at] ?? 0) ^ (1 << dice.below(8));
      return data;
    case 1:
      data[at] = dice.uint32();
      return data;
    case 2:
      data[at] = dice.pick(telling);
      return data;
    case 3:
      data[at] = (data[at] ?? 0) + (dice.oneIn(2) ? 1 : 255);
      return data;
    case 4:
      return data.slice(0, at);
    case 5:
      return join(data.subarray(0, at), data.subarray(Math.min(data.length, at + 1 + dice.below(8))));
    case 6: {
      const piece = data.subarray(at, at + 1 + dice.below(16));
      return join(data.subarray(0, at), piece, data.subarray(at));
    }
    default:
      return join(data.subarray(0, at), dice.bytes(1 + dice.below(4)), data.subarray(at));
  }
}

function join(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}
