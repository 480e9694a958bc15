import { DecodeError } from '../base/errors.ts';
import { err, ok } from '../base/result.ts';
import { millis } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import type { SocketAddress } from '../host/network.ts';
import type { DeliveryError, SendOptions } from '../onem2m/binding.ts';
import { bodyBytesMax } from '../onem2m/serialisation.ts';
import type { CoapEndpoint } from './endpoint.ts';
import type { Exchange, ExchangeOptions, ExchangeResult } from './exchange.ts';
import { decodeUint } from './message.ts';
import type { Block, CoapMessage } from './message.ts';

/** A transfer's settings: as `SendOptions`, and how it is to be done. */
export interface TransferOptions extends SendOptions {
  /** Largest block that is sent, and asked for from the first block on: 16, 32 … 1024, which is asked for by nothing. */
  readonly blockBytes?: number;
  readonly type?: 'confirmable' | 'nonConfirmable';
  /** The first block of the answer, when it has come already, as that of a notification has. */
  readonly firstBlock?: CoapMessage;
}

const blockBytesMax = 1_024;
/** Times that a body is begun again because the peer lost it or it changed. */
const restartsMax = 3;
const Option = { entityTag: 4, size2: 28, echo: 252 } as const;

/** As `Transfer`, for a request that stays on one link. */
export function requestInBlocks(
  endpoint: CoapEndpoint,
  clock: Clock,
  peer: SocketAddress,
  message: CoapMessage,
  options: TransferOptions,
): Promise<ExchangeResult> {
  return new Transfer(endpoint, clock, peer, message, options).result;
}

type Step = ExchangeResult | 'again';

/**
 * One request and its response whatever their size: a body over 1,024 octets goes out in blocks, an answer that comes in
 * blocks is put together (RFC 7959). All parts share the caller's deadline, and one token, because there are CSEs that
 * know the blocks of a body by their token.
 *
 * It can go on at the endpoint of another link (`moveTo`). A request of one message is sent there once more; a body that
 * was on its way out is begun again, because the peer knows its blocks by the address they come from; an answer that
 * was on its way in goes on where it was, or is asked for again from its beginning when the peer cannot go on. The peer
 * may carry the request out for each link once, see `CoapEndpoint.takeOver`.
 */
export class Transfer {
  /** Never rejects. */
  readonly result: Promise<ExchangeResult>;
  readonly #clock: Clock;
  readonly #peer: SocketAddress;
  readonly #message: CoapMessage;
  readonly #options: TransferOptions;
  readonly #endMs: number;
  readonly #blockBytes: number;
  /** All that are open: the one that is being answered, and last blocks of earlier links whose answer would do as well. */
  readonly #exchanges = new Set<Exchange>();
  #endpoint: CoapEndpoint;
  #token: Uint8Array;
  #current: { readonly exchange: Exchange; readonly part: 'whole' | 'block' | 'lastBlock' } | undefined;
  #interrupt: () => void = () => undefined;
  #finish: (result: ExchangeResult) => void = () => undefined;
  #moves = 0;
  #restarts = 0;
  #echo: Uint8Array | undefined;

  constructor(
    endpoint: CoapEndpoint,
    clock: Clock,
    peer: SocketAddress,
    message: CoapMessage,
    options: TransferOptions,
  ) {
    this.#endpoint = endpoint;
    this.#clock = clock;
    this.#peer = peer;
    this.#options = options;
    this.#blockBytes = Math.min(options.blockBytes ?? blockBytesMax, blockBytesMax);
    const asked: Block = { number: 0, more: false, size: this.#blockBytes };
    this.#message =
      message.block2 === undefined && this.#blockBytes < blockBytesMax
        ? { ...message, block2: asked }
        : message;
    this.#token = endpoint.drawToken();
    this.#endMs = clock.monotonicMs() + options.deadlineMs;
    this.result = new Promise((resolve) => (this.#finish = resolve));
    void this.#run().then((result) => this.#end(result));
  }

  /** Goes on at the endpoint of another link. Tells why it cannot; it then stays where it is. */
  moveTo(endpoint: CoapEndpoint): DeliveryError | undefined {
    if (endpoint === this.#endpoint) return undefined;
    const current = this.#current;
    if (current?.part === 'whole') {
      const refused = endpoint.takeOver(current.exchange);
      if (refused !== undefined) return refused;
    }
    this.#endpoint = endpoint;
    this.#moves += 1;
    if (current !== undefined && current.part !== 'whole') this.#interrupt();
    return undefined;
  }

  #end(result: ExchangeResult): void {
    this.#finish(result);
    for (const exchange of this.#exchanges) exchange.finish(err(withdrawn));
  }

  async #run(): Promise<ExchangeResult> {
    try {
      let first: Step | undefined =
        this.#options.firstBlock === undefined ? undefined : ok(this.#options.firstBlock);
      for (;;) {
        const moves = this.#moves;
        const sent: Step = first ?? (await this.#sendBody());
        first = undefined;
        const isWhole = sent === 'again' || !sent.ok || sent.value.block2 === undefined;
        const got = isWhole ? sent : await this.#collectBody(sent.value, sent.value.block2, moves);
        if (got !== 'again') return got;
        if (moves === this.#moves) this.#restarts += 1;
        this.#token = this.#endpoint.drawToken();
      }
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      return err({ kind: 'malformed', message: error.message });
    }
  }

  async #sendBody(): Promise<Step> {
    const { block2, ...message } = this.#message;
    const last = block2 === undefined ? {} : { block2 };
    const { payload } = message;
    let size = this.#blockBytes;
    if (payload.length <= size) return this.#ask({ ...message, ...last }, 'whole');
    const moves = this.#moves;
    let offset = 0;
    for (;;) {
      const end = offset + size;
      const more = end < payload.length;
      const block1: Block = { number: offset / size, more, size };
      const part = { ...message, ...(more ? {} : last), payload: payload.subarray(offset, end), block1 };
      const answer = await this.#ask(part, more ? 'block' : 'lastBlock');
      if (answer === 'again' || !answer.ok) return answer;
      const { code, block1: accepted } = answer.value;
      const sizeAsked = accepted?.size ?? size;
      // The peer may ask for smaller blocks; the offset reached stays a multiple of any smaller power of two.
      if (code === '2.31' && more) {
        if (accepted !== undefined && accepted.number !== block1.number) {
          throw new DecodeError(`sent block ${block1.number}, block ${accepted.number} was taken`);
        }
        if (moves !== this.#moves) return 'again';
        offset = end;
      } else if (code === '4.08' && offset > 0 && this.#restarts < restartsMax) {
        return 'again'; // the peer forgot the blocks before, so it cannot have carried anything out
      } else if (code !== '4.13' || offset > 0 || sizeAsked >= size) {
        if (more && code.startsWith('2.')) {
          throw new DecodeError(`block ${block1.number} was answered ${code} before the body was complete`);
        }
        return answer;
      }
      size = Math.min(size, sizeAsked);
    }
  }

  async #collectBody(first: CoapMessage, block: Block, moves: number): Promise<Step> {
    const parts: Uint8Array[] = [];
    let length = 0;
    let answer = first;
    let asked: Block = { ...block, number: 0 };
    const { block1: _, ...rest } = this.#message;
    checkAnnounced(first);
    for (;;) {
      if (this.#isStale(answer, first, moves)) return 'again';
      const received = checkBlock(answer, first, asked, length);
      parts.push(answer.payload);
      length += answer.payload.length;
      if (length > bodyBytesMax) throw new DecodeError(`answer over ${bodyBytesMax} bytes`);
      if (!received.more) return ok({ ...first, payload: Buffer.concat(parts) });
      const size = Math.min(received.size, this.#blockBytes);
      asked = { number: length / size, more: false, size };
      const next = await this.#ask({ ...rest, payload: new Uint8Array(), block2: asked }, 'whole');
      if (next === 'again' || !next.ok) return next;
      answer = next.value;
    }
  }

  /** Whether the blocks so far are worth nothing any more, and it does no harm to ask for all of them again. */
  #isStale(answer: CoapMessage, first: CoapMessage, moves: number): boolean {
    if (answer === first) return false;
    const isLost = answer.code.startsWith('4.') && !first.code.startsWith('4.');
    if (!isLost && tagOf(answer) === tagOf(first)) return false;
    // What the move itself led to is the mover's wish; else only what has no effect is asked for twice.
    return moves !== this.#moves || (this.#message.code === '0.01' && this.#restarts < restartsMax);
  }

  /** Sends one part and waits for its answer; `again` when a move made it worthless. */
  async #ask(part: CoapMessage, kind: 'whole' | 'block' | 'lastBlock'): Promise<Step> {
    const exchange = this.#open(part);
    const interrupted = new Promise<'again'>((resolve) => (this.#interrupt = () => resolve('again')));
    this.#current = { exchange, part: kind };
    const answer = await Promise.race([exchange.result, interrupted]);
    this.#current = undefined;
    if (answer === 'again') {
      this.#leave(exchange, kind);
      return answer;
    }
    const echo =
      answer.ok && answer.value.code === '4.01' ? answer.value.options.get(Option.echo)?.[0] : undefined;
    if (echo === undefined || this.#echo !== undefined) return answer;
    // RFC 9175 2.3: the peer wants to see that the request is fresh.
    this.#echo = echo;
    return this.#ask(part, kind);
  }

  #open(part: CoapMessage): Exchange {
    const { signal, type } = this.#options;
    const options: ExchangeOptions = {
      token: this.#token,
      deadlineMs: millis(Math.max(0, this.#endMs - this.#clock.monotonicMs())),
      ...(signal === undefined ? {} : { signal }),
      ...(type === undefined ? {} : { type }),
    };
    const echo = this.#echo;
    const message =
      echo === undefined ? part : { ...part, options: new Map([...part.options, [Option.echo, [echo]]]) };
    const exchange = this.#endpoint.open(this.#peer, message, options);
    this.#exchanges.add(exchange);
    void exchange.result.then(() => this.#exchanges.delete(exchange));
    return exchange;
  }

  /** Gives a block up that was sent on an earlier link; the answer to the last one would still be the answer to all. */
  #leave(exchange: Exchange, kind: 'whole' | 'block' | 'lastBlock'): void {
    if (kind !== 'lastBlock') {
      exchange.finish(err(withdrawn));
      return;
    }
    exchange.rest();
    void exchange.result.then((late) => {
      // An answer in blocks cannot be collected from there any more, and 4.08 speaks of blocks that are sent anew.
      if (late.ok && late.value.code !== '4.08' && late.value.block2?.more !== true) this.#end(late);
    });
  }
}

const withdrawn: DeliveryError = { kind: 'cancelled', message: 'it went on elsewhere' };

function checkAnnounced(first: CoapMessage): void {
  const octets = first.options.get(Option.size2)?.[0];
  const announced = octets === undefined ? undefined : decodeUint(octets);
  if (announced !== undefined && announced > bodyBytesMax) {
    throw new DecodeError(`answer of ${announced} bytes announced; ${bodyBytesMax} at most`);
  }
}

/** The block an answer carries, when it continues what was received so far. */
function checkBlock(answer: CoapMessage, first: CoapMessage, asked: Block, length: number): Block {
  const { block2: block, code, payload } = answer;
  // There are servers that answer every block but the first with 2.05; the first says what happened.
  if (code[0] !== first.code[0])
    throw new DecodeError(`block ${asked.number} was answered ${code}, the first ${first.code}`);
  // A peer may go on in smaller blocks than asked for; what counts is where the block belongs.
  if (block === undefined || block.number * block.size !== length || block.size > asked.size) {
    const got = block === undefined ? 'no block' : `block ${block.number} of ${block.size} bytes`;
    throw new DecodeError(`asked for block ${asked.number} of ${asked.size} bytes, got ${got}`);
  }
  const isWhole = block.more ? payload.length === block.size : payload.length <= block.size;
  if (!isWhole) throw new DecodeError(`block ${block.number} of ${block.size} bytes holds ${payload.length}`);
  if (tagOf(answer) !== tagOf(first)) throw new DecodeError('the answer changed while it was fetched');
  return block;
}

function tagOf(message: CoapMessage): string {
  return Buffer.from(message.options.get(Option.entityTag)?.[0] ?? []).toString('hex');
}
