/**
 * CoAP messages (RFC 7252 3) as values, between the octets of a datagram (codec: coap-packet) and the endpoint. Options
 * the endpoint itself understands are fields; all others stay octets under their number.
 */
import { generate, parse } from 'coap-packet';
import type { Option } from 'coap-packet';
import { DecodeError, EncodeError, errorText } from '../base/errors.ts';
import { hexExcerpt } from '../base/text.ts';

/** Options one message may have: far more than any oneM2M primitive needs. */
export const optionsMax = 256;

/** Octets a datagram may have: what one UDP datagram carries over IPv4. */
export const datagramBytesMax = 65_507;

/** A block option (RFC 7959 2.2): number, more-follows, size in octets (16 … 1024). */
export interface Block {
  readonly number: number;
  readonly more: boolean;
  readonly size: number;
}

/** What a request or response carries, apart from its message-layer header. */
export interface CoapMessage {
  /** `0.02` for POST, `2.01` for Created … */
  readonly code: string;
  readonly path: readonly string[];
  readonly query: readonly string[];
  readonly contentFormat?: number;
  readonly accept?: number;
  readonly block1?: Block;
  readonly block2?: Block;
  /**
   * Every other option by number, in the order of arrival; among them, of the options above, an occurrence too many and
   * one whose value it cannot have.
   */
  readonly options: ReadonlyMap<number, readonly Uint8Array[]>;
  readonly payload: Uint8Array;
}

/** The message layer's header (RFC 7252 3). */
export interface MessageHeader {
  readonly type: 'confirmable' | 'nonConfirmable' | 'acknowledgement' | 'reset';
  readonly messageId: number;
  readonly token: Uint8Array;
}

/** One datagram taken apart; `message` is absent for an empty one (code 0.00). */
export interface Datagram extends MessageHeader {
  readonly message?: CoapMessage;
}

interface Fields {
  contentFormat?: number;
  accept?: number;
  block1?: Block;
  block2?: Block;
}

/** Octets of one part of a path or a query (RFC 7252 5.10). */
const textBytesMax = 255;

const numbers = new Map<string, number>([
  ['If-Match', 1],
  ['Uri-Host', 3],
  ['ETag', 4],
  ['If-None-Match', 5],
  ['Observe', 6],
  ['Uri-Port', 7],
  ['Location-Path', 8],
  ['OSCORE', 9],
  ['Uri-Path', 11],
  ['Content-Format', 12],
  ['Max-Age', 14],
  ['Uri-Query', 15],
  ['Hop-Limit', 16],
  ['Accept', 17],
  ['Q-Block1', 19],
  ['Location-Query', 20],
  ['Block2', 23],
  ['Block1', 27],
  ['Size2', 28],
  ['Q-Block2', 31],
  ['Proxy-Uri', 35],
  ['Proxy-Scheme', 39],
  ['Size1', 60],
  ['No-Response', 258],
  ['OCF-Accept-Content-Format-Version', 2049],
  ['OCF-Content-Format-Version', 2053],
]);

/** The octets of one datagram. Throws `EncodeError` when it would not fit. */
export function encodeDatagram(header: MessageHeader, message?: CoapMessage): Uint8Array {
  try {
    return generate(
      {
        code: message?.code ?? '0.00',
        messageId: header.messageId,
        token: Buffer.from(header.token),
        confirmable: header.type === 'confirmable',
        ack: header.type === 'acknowledgement',
        reset: header.type === 'reset',
        options: message === undefined ? [] : encodeOptions(message),
        payload: Buffer.from(message?.payload ?? []),
      },
      datagramBytesMax,
    );
  } catch (cause) {
    throw new EncodeError(`message does not fit a CoAP datagram: ${errorText(cause)}`, { cause });
  }
}

/**
 * Takes a datagram apart; throws `DecodeError` for octets that are no CoAP message, for more than 256 options and for a
 * reserved code class.
 */
export function decodeDatagram(data: Uint8Array): Datagram {
  try {
    checkFraming(data);
    const packet = parse(Buffer.from(data));
    const header: MessageHeader = {
      type: packet.ack
        ? 'acknowledgement'
        : packet.reset
          ? 'reset'
          : packet.confirmable
            ? 'confirmable'
            : 'nonConfirmable',
      messageId: packet.messageId,
      token: packet.token,
    };
    if (packet.code === '0.00') return header;
    if (header.type === 'reset') throw new DecodeError('a reset that is not empty');
    if (!/^[0245]/u.test(packet.code)) throw new DecodeError(`code ${packet.code} is of a reserved class`);
    return { ...header, message: decodeMessage(packet.code, packet.options, packet.payload) };
  } catch (cause) {
    if (cause instanceof DecodeError) throw cause;
    throw new DecodeError(`datagram is no CoAP message: ${errorText(cause)} (${hexExcerpt(data)})`, {
      cause,
    });
  }
}

/** An option's unsigned integer (RFC 7252 3.2), shortest form. */
export function encodeUint(value: number): Uint8Array {
  const octets: number[] = [];
  for (let rest = value; rest > 0; rest = Math.floor(rest / 256)) octets.unshift(rest % 256);
  return Uint8Array.from(octets);
}

/** The unsigned integer in an option of at most four octets; undefined for a longer one. */
export function decodeUint(octets: Uint8Array): number | undefined {
  if (octets.length > 4) return undefined;
  return octets.reduce((value, octet) => value * 256 + octet, 0);
}

function encodeOptions(message: CoapMessage): Option[] {
  const options: Option[] = [];
  const add = (number: number, value: Uint8Array): void => {
    options.push({ name: String(number), value: Buffer.from(value) });
  };
  for (const segment of message.path) add(11, Buffer.from(segment));
  if (message.contentFormat !== undefined) add(12, encodeUint(message.contentFormat));
  for (const part of message.query) add(15, Buffer.from(part));
  if (message.accept !== undefined) add(17, encodeUint(message.accept));
  if (message.block2 !== undefined) add(23, encodeBlock(message.block2));
  if (message.block1 !== undefined) add(27, encodeBlock(message.block1));
  for (const [number, values] of message.options) for (const value of values) add(number, value);
  return options;
}

function decodeMessage(
  code: string,
  packetOptions: readonly { name: string | number; value: Uint8Array }[],
  payload: Uint8Array,
): CoapMessage {
  const path: string[] = [];
  const query: string[] = [];
  const fields: Fields = {};
  const options = new Map<number, Uint8Array[]>();
  for (const { name, value } of packetOptions) {
    const number = typeof name === 'number' ? name : (numbers.get(name) ?? Number(name));
    if (number === 11 && value.length <= textBytesMax) path.push(Buffer.from(value).toString());
    else if (number === 15 && value.length <= textBytesMax) query.push(Buffer.from(value).toString());
    else if (!takeField(fields, number, value)) {
      const values = options.get(number);
      if (values === undefined) options.set(number, [value]);
      else values.push(value);
    }
  }
  return { code, path, query, ...fields, options, payload };
}

/** Takes an option into its field; false when it has none, is taken already or has a value that it cannot have. */
function takeField(fields: Fields, number: number, value: Uint8Array): boolean {
  switch (number) {
    case 12:
      if (fields.contentFormat !== undefined || value.length > 2) return false;
      fields.contentFormat = decodeUint(value) ?? 0;
      return true;
    case 17:
      if (fields.accept !== undefined || value.length > 2) return false;
      fields.accept = decodeUint(value) ?? 0;
      return true;
    case 23:
    case 27: {
      const name = number === 23 ? 'block2' : 'block1';
      const block = fields[name] === undefined ? decodeBlock(value) : undefined;
      if (block === undefined) return false;
      fields[name] = block;
      return true;
    }
    default:
      return false;
  }
}

/**
 * Checks what the codec takes as it comes: lengths that reach past the end, a payload marker without payload, a token
 * over eight octets (RFC 7252 3), and options without number.
 */
function checkFraming(data: Uint8Array): void {
  const refuse = (reason: string): never => {
    throw new DecodeError(`datagram is no CoAP message: ${reason} (${hexExcerpt(data)})`);
  };
  const tokenBytes = (data[0] ?? 0) & 15;
  if (data.length < 4) refuse('shorter than its header');
  if (tokenBytes > 8) refuse('a token length over 8');
  let offset = 4 + tokenBytes;
  let count = 0;
  while (offset < data.length && data[offset] !== 0xff) {
    if (++count > optionsMax) refuse(`more than ${optionsMax} options`);
    const head = data[offset++] ?? 0;
    for (const part of [head >> 4, head & 15]) if (part === 15) refuse('a reserved option header');
    offset += extensionBytes(head >> 4);
    const length = head & 15;
    const extra = extensionBytes(length);
    const [first = 0, second = 0] = data.subarray(offset, offset + extra);
    offset += extra + (extra === 0 ? length : extra === 1 ? first + 13 : first * 256 + second + 269);
  }
  if (offset > data.length) refuse('truncated');
  if (offset === data.length - 1) refuse('a payload marker without payload');
}

function extensionBytes(nibble: number): number {
  return nibble === 13 ? 1 : nibble === 14 ? 2 : 0;
}

function encodeBlock(block: Block): Uint8Array {
  const exponent = Math.log2(block.size) - 4;
  return encodeUint(block.number * 16 + (block.more ? 8 : 0) + exponent);
}

function decodeBlock(octets: Uint8Array): Block | undefined {
  const value = octets.length > 3 ? undefined : decodeUint(octets);
  if (value === undefined || (value & 7) === 7) return undefined;
  return { number: value >> 4, more: (value & 8) !== 0, size: 2 ** ((value & 7) + 4) };
}
