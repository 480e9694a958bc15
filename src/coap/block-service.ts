import { createHash } from 'node:crypto';
import type { Clock } from '../host/clock.ts';
import type { SocketAddress } from '../host/network.ts';
import { bodyBytesMax } from '../onem2m/serialisation.ts';
import { HeldBodies } from './held-bodies.ts';
import { decodeUint, encodeUint } from './message.ts';
import type { Block, CoapMessage } from './message.ts';
import type { MessageHandler } from './request-service.ts';

const blockBytesDefault = 1_024;
const entityTagBytes = 4;
const Option = { entityTag: 4, observe: 6, size2: 28, size1: 60 } as const;

/** A body of which the first octets have come; there is room for more of them in `octets`. */
interface Arriving {
  readonly octets: Uint8Array;
  readonly length: number;
  /** Octets of the block that came last. */
  readonly last: number;
}

/**
 * The receiving side of block-wise transfer (RFC 7959): puts requests that come in blocks together before the handler
 * sees them, and hands long answers out block by block, each under an entity tag, so that the peer notices when the
 * blocks are not of one body. Bodies are matched by peer, method and options (RFC 7959 2.2, RFC 9175 3), never by token,
 * because some peers keep one token for a body and others draw one for each block. What is held is bounded
 * (held-bodies.ts); of what was forgotten the peer learns by 4.08, and begins again.
 */
export class BlockService {
  readonly #handler: MessageHandler;
  readonly #blockBytes: number;
  readonly #arriving: HeldBodies<Arriving>;
  readonly #leaving: HeldBodies<CoapMessage>;

  /** `blockBytes` is the largest block that is sent or, from the second block of a body on, taken: 16, 32 … 1024. */
  constructor(options: { clock: Clock; handler: MessageHandler; blockBytes?: number }) {
    this.#handler = options.handler;
    this.#blockBytes = options.blockBytes ?? blockBytesDefault;
    this.#arriving = new HeldBodies(options.clock);
    this.#leaving = new HeldBodies(options.clock);
  }

  /** Bodies and octets held at this moment. */
  get load(): { readonly bodies: number; readonly bytes: number } {
    return {
      bodies: this.#arriving.size + this.#leaving.size,
      bytes: this.#arriving.bytes + this.#leaving.bytes,
    };
  }

  /** Answers a message that may be one block of several. */
  async answer(message: CoapMessage, from: SocketAddress): Promise<CoapMessage | undefined> {
    const { block1, block2, ...rest } = message;
    const key = keyOf(rest, from);
    if (block2 !== undefined && block2.number > 0) {
      const known = this.#leaving.get(key);
      if (known !== undefined) return cut(known, block2.number, this.#sizeFor(block2));
      // What has no effect can be asked for once more; any other body has to be begun again.
      if (message.code !== '0.01') return plain('4.08');
    }
    if (block1 === undefined) return this.#respond(key, message, rest, from);
    const taken = this.#take(`${key} ${rest.contentFormat}`, rest, block1, from);
    if ('code' in taken) return taken;
    const answer = await this.#respond(key, message, { ...rest, payload: taken.payload }, from);
    return answer === undefined ? undefined : { ...answer, block1 };
  }

  /** Takes a block: what it is to be answered with, or the whole body. */
  #take(
    key: string,
    { payload, options }: CoapMessage,
    block1: Block,
    from: SocketAddress,
  ): CoapMessage | { readonly payload: Uint8Array } {
    const { number, size, more } = block1;
    const offset = number * size;
    const announced = number === 0 ? announcedBytes(options) : 0;
    const tooLarge: CoapMessage = {
      ...plain('4.13'),
      block1: this.#proposed(block1),
      options: new Map([[Option.size1, [encodeUint(bodyBytesMax)]]]),
    };
    if (Math.max(announced, offset + payload.length) > bodyBytesMax) {
      this.#arriving.drop(key);
      return tooLarge;
    }
    const before = number === 0 ? nothing : this.#arriving.get(key);
    if (number === 0) this.#arriving.drop(key);
    if (number === 0 && !more) return { payload };
    if (more ? payload.length !== size : payload.length > size) return { ...plain('4.00'), block1 };
    if (before === undefined) return { ...plain('4.08'), block1 };
    if (more && isRepeat(before, offset, payload)) return { ...plain('2.31'), block1 };
    if (before.length !== offset) return { ...plain('4.08'), block1 };
    const after = append(before, payload);
    if (!more) {
      this.#arriving.drop(key);
      return { payload: after.octets.subarray(0, after.length) };
    }
    this.#arriving.hold(key, after, after.octets.length, from);
    return { ...plain('2.31'), block1: this.#proposed(block1) };
  }

  /** Has the handler answer, and cuts the answer where it is long. */
  async #respond(
    key: string,
    { block2 }: CoapMessage,
    whole: CoapMessage,
    from: SocketAddress,
  ): Promise<CoapMessage | undefined> {
    const answer = await this.#handler(whole, from);
    const size = this.#sizeFor(block2);
    const number = block2?.number ?? 0;
    if (answer === undefined || answer.block2 !== undefined) return answer;
    if (answer.payload.length <= size) return number === 0 ? answer : plain('4.00');
    const tagged = withEntityTag(answer);
    this.#leaving.hold(key, tagged, answer.payload.length, from);
    const part = cut(tagged, number, size);
    if (number > 0 || !whole.options.has(Option.size2)) return part;
    const total = encodeUint(answer.payload.length);
    return { ...part, options: new Map([...part.options, [Option.size2, [total]]]) };
  }

  #sizeFor(block2: Block | undefined): number {
    return Math.min(block2?.size ?? this.#blockBytes, this.#blockBytes);
  }

  /** The block as it was taken, with the size that the next ones should have. */
  #proposed(block: Block): Block {
    return { ...block, size: Math.min(block.size, this.#blockBytes) };
  }
}

const nothing: Arriving = { octets: new Uint8Array(), length: 0, last: 0 };

/** The block that came last, sent once more under another message ID. */
function isRepeat({ octets, length, last }: Arriving, offset: number, payload: Uint8Array): boolean {
  const isThere = last > 0 && offset === length - last && payload.length === last;
  return isThere && Buffer.compare(octets.subarray(offset, length), payload) === 0;
}

/** What the peer says that the whole body has (Size1); 0 when it says nothing. */
function announcedBytes(options: CoapMessage['options']): number {
  return decodeUint(options.get(Option.size1)?.[0] ?? new Uint8Array()) ?? 0;
}

function append({ octets, length }: Arriving, payload: Uint8Array): Arriving {
  const needed = length + payload.length;
  let room = octets;
  if (needed > octets.length) {
    room = new Uint8Array(Math.min(bodyBytesMax, Math.max(needed, 2 * octets.length)));
    room.set(octets.subarray(0, length));
  }
  room.set(payload, length);
  return { octets: room, length: needed, last: payload.length };
}

function cut(answer: CoapMessage, number: number, size: number): CoapMessage {
  const end = (number + 1) * size;
  if (number * size >= answer.payload.length) return plain('4.00');
  return {
    ...answer,
    payload: answer.payload.subarray(number * size, end),
    block2: { number, size, more: end < answer.payload.length },
  };
}

function withEntityTag(answer: CoapMessage): CoapMessage {
  if (answer.options.has(Option.entityTag)) return answer;
  const tag = createHash('sha256').update(answer.payload).digest().subarray(0, entityTagBytes);
  return { ...answer, options: new Map([...answer.options, [Option.entityTag, [tag]]]) };
}

function plain(code: string): CoapMessage {
  return { code, path: [], query: [], options: new Map(), payload: new Uint8Array() };
}

/** What the blocks of one body have in common: options that are no part of a cache key differ between them. */
function keyOf(message: CoapMessage, from: SocketAddress): string {
  const options = [...message.options]
    .filter(([number]) => number !== Option.observe && (number & 0x1e) !== 0x1c)
    .flatMap(([number, values]) => values.map((value) => `${number}=${Buffer.from(value).toString('hex')}`));
  const { code, path, query, accept } = message;
  return JSON.stringify([from.address, from.port, code, path, query, accept, options]);
}
