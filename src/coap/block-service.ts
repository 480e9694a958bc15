import type { SocketAddress } from '../host/network.ts';
import { bodyBytesMax } from '../onem2m/serialisation.ts';
import type { CoapMessage } from './message.ts';

type Handler = (message: CoapMessage, from: SocketAddress) => Promise<CoapMessage | undefined>;

const blockSizeMax = 1_024;
const bodiesMax = 32;

/**
 * The receiving side of block-wise transfer (RFC 7959): puts requests that come in blocks together before the handler
 * sees them, and hands long answers out block by block. Bodies are matched by peer, method and options, never by token,
 * because some peers keep one token for a body and others draw one for each block.
 * At most 32 of each kind are held; the eldest gives way.
 */
export class BlockService {
  readonly #handler: Handler;
  readonly #arriving = new Map<string, Uint8Array>();
  readonly #leaving = new Map<string, CoapMessage>();

  constructor(handler: Handler) {
    this.#handler = handler;
  }

  /** Answers a message that may be one block of several. */
  async answer(message: CoapMessage, from: SocketAddress): Promise<CoapMessage | undefined> {
    const { block1, block2, ...rest } = message;
    const key = keyOf(rest, from);
    if (block2 !== undefined && block2.number > 0) {
      const known = this.#leaving.get(key);
      // A body that was forgotten in between has to be asked for again from its first block.
      return known === undefined ? plain('4.08') : cut(known, block2.number, block2.size);
    }
    let whole: CoapMessage = rest;
    if (block1 !== undefined) {
      const offset = block1.number * block1.size;
      const before = block1.number === 0 ? new Uint8Array() : this.#arriving.get(key);
      this.#arriving.delete(key);
      if (before?.length !== offset) return { ...plain('4.08'), block1 };
      if (offset + rest.payload.length > bodyBytesMax) return { ...plain('4.13'), block1 };
      const payload = Buffer.concat([before, rest.payload]);
      if (block1.more) {
        hold(this.#arriving, key, payload);
        return { ...plain('2.31'), block1 };
      }
      whole = { ...rest, payload };
    }
    const answer = await this.#handler(whole, from);
    if (answer === undefined) return undefined;
    const size = Math.min(block2?.size ?? blockSizeMax, blockSizeMax);
    const first = answer.payload.length > size ? cut(answer, 0, size) : answer;
    if (first !== answer) hold(this.#leaving, key, answer);
    return block1 === undefined ? first : { ...first, block1 };
  }
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

function plain(code: string): CoapMessage {
  return { code, path: [], query: [], options: new Map(), payload: new Uint8Array() };
}

function keyOf(message: CoapMessage, from: SocketAddress): string {
  const options = [...message.options].flatMap(([number, values]) =>
    values.map((value) => `${number}=${Buffer.from(value).toString('hex')}`),
  );
  return JSON.stringify([from.address, from.port, message.code, message.path, message.query, options]);
}

function hold<T>(held: Map<string, T>, key: string, value: T): void {
  held.delete(key);
  held.set(key, value);
  const [eldest] = held.keys();
  if (held.size > bodiesMax && eldest !== undefined) held.delete(eldest);
}
