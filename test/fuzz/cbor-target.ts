import { DecodeError, EncodeError } from '../../src/base/errors.ts';
import { cborBytesMax } from '../../src/onem2m/cbor.ts';
import {
  decodeBody,
  decodeContent,
  decodeRequest,
  decodeResponse,
  encodeBody,
  encodeContent,
  encodeRequest,
  encodeResponse,
} from '../../src/onem2m/serialisation.ts';
import { OctetWriter, bodyOctets } from './bodies.ts';
import type { BodyKind } from './bodies.ts';
import { mutate } from './mutate.ts';
import { readCbor } from './reference-cbor.ts';
import { PureSubject, expect } from './target.ts';
import type { Dice, Input, Target } from './target.ts';

/**
 * Bodies in both serialisations, from their octets to primitives and back. Channels: `cbor` and `json`, and after a space
 * what the body is taken for.
 */
export const cborTarget: Target = {
  name: 'cbor',
  open: () => new BodySubject(),
  generate: (dice) => generate(dice),
};

/** Longer bodies are only decoded: the oracles take several times as long, and it is decoding that must not be slow. */
const oracleBytesMax = 8_192;

const kinds: readonly BodyKind[] = ['content', 'notification', 'request', 'response'];

function generate(dice: Dice): () => Input {
  const writer = new OctetWriter();
  const recent: Input[] = [];
  return () => {
    // Half of the inputs are changed from one of the last: cheap, and it goes on where those came to.
    const before = dice.oneIn(2) && recent.length > 0 ? dice.pick(recent) : undefined;
    if (before !== undefined) return { channel: before.channel, data: mutate(dice, before.data) };
    const kind = dice.pick(kinds);
    const format = dice.oneIn(3) ? 'json' : 'cbor';
    const isRandom = dice.oneIn(12);
    const data = isRandom ? dice.bytes(dice.below(64)) : bodyOctets(dice, writer, kind, format);
    const input = { channel: `${format} ${kind}`, data };
    if (data.length < 4_096) recent[recent.length < 64 ? recent.length : dice.below(64)] = input;
    return input;
  };
}

const nothingReached = { accepted: 0, refused: 0, primitives: 0, notPrimitives: 0, notEncodable: 0 };

class BodySubject extends PureSubject<keyof typeof nothingReached> {
  constructor() {
    super({ ...nothingReached });
  }

  feed({ channel, data }: Input): void {
    const [format, kind] = channel.split(' ');
    const serialisation = format === 'json' ? 'json' : 'cbor';
    let value: unknown;
    try {
      value = decodeBody(data, serialisation);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      this.count('refused');
      return;
    }
    this.count('accepted');
    expect(data.length <= cborBytesMax, 'a body over the bound was taken');
    if (data.length > oracleBytesMax) return;
    if (serialisation === 'cbor') {
      const reference = readCbor(data);
      expect(isSame(value, reference), () => `read ${show(value)}, the reference reads ${show(reference)}`);
    }
    this.#turn(
      value,
      serialisation,
      () => encodeBody(value, serialisation),
      (octets) => decodeBody(octets, serialisation),
    );
    this.#takeFor(kind, value);
  }

  /** What can be written is read again as it was. */
  #turn(
    value: unknown,
    what: string,
    encode: () => Uint8Array,
    decode: (octets: Uint8Array) => unknown,
  ): void {
    let octets: Uint8Array;
    try {
      octets = encode();
    } catch (error) {
      if (!(error instanceof EncodeError)) throw error;
      this.count('notEncodable');
      return;
    }
    if (octets.length > cborBytesMax) return;
    const again = decode(octets);
    expect(isSame(value, again), () => `${what}: ${show(value)} came back as ${show(again)}`);
  }

  #takeFor(kind: string | undefined, value: unknown): void {
    try {
      if (kind === 'request') this.#turnWire('request', decodeRequest(value), encodeRequest, decodeRequest);
      else if (kind === 'response')
        this.#turnWire('response', decodeResponse(value), encodeResponse, decodeResponse);
      else this.#turnWire('content', decodeContent(value), encodeContent, decodeContent);
      this.count('primitives');
    } catch (error) {
      if (error instanceof DecodeError) this.count('notPrimitives');
      else if (error instanceof EncodeError) this.count('notEncodable');
      else throw error;
    }
  }

  #turnWire<T>(what: string, value: T, encode: (value: T) => unknown, decode: (wire: unknown) => T): void {
    const wire = encode(value);
    let again: T;
    try {
      again = decode(wire);
    } catch (error) {
      throw new Error(`${what} ${show(value)} cannot be read again as ${show(wire)}`, { cause: error });
    }
    const wireAgain = encode(again);
    expect(isSame(wire, wireAgain), () => `${what}: ${show(wire)} came back as ${show(wireAgain)}`);
  }
}

/**
 * True for values that no serialisation tells apart: negative zero is zero, what is beyond all numbers and what is not
 * there are null, and `__proto__` is no name.
 */
function isSame(one: unknown, other: unknown): boolean {
  if (one === other) return true;
  if (typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) {
    return isNothing(one) && isNothing(other);
  }
  if (one instanceof Uint8Array) return other instanceof Uint8Array && Buffer.compare(one, other) === 0;
  if (Array.isArray(one)) {
    return (
      Array.isArray(other) &&
      one.length === other.length &&
      one.every((item, index) => isSame(item, other[index]))
    );
  }
  const left = one as Record<string, unknown>;
  const right = other as Record<string, unknown>;
  const has = (fields: Record<string, unknown>, name: string): boolean => Object.hasOwn(fields, name);
  for (const name in left)
    if (!isSame(left[name], has(right, name) ? right[name] : undefined)) return name === '__proto__';
  for (const name in right) if (!has(left, name) && right[name] !== undefined) return name === '__proto__';
  return true;
}

function isNothing(value: unknown): boolean {
  return value === undefined || value === null || (typeof value === 'number' && !Number.isFinite(value));
}

function show(value: unknown): string {
  const text = JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === 'bigint' ? `${inner}n` : inner,
  );
  return (text ?? 'undefined').slice(0, 300);
}
