import { DecodeError } from '../base/errors.ts';
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { millis } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import type { SocketAddress } from '../host/network.ts';
import type { DeliveryError, SendOptions } from '../onem2m/binding.ts';
import { bodyBytesMax } from '../onem2m/serialisation.ts';
import type { CoapEndpoint } from './endpoint.ts';
import type { Block, CoapMessage } from './message.ts';

const blockSize = 1024;
const entityTagOption = 4;

/**
 * One request and its response whatever their size: a body over 1,024 octets goes out in blocks, an answer that comes in
 * blocks is put together (RFC 7959). All parts share the caller's deadline and one token, because there are CSEs that
 * know the blocks of a body by their token.
 */
export async function requestInBlocks(
  endpoint: CoapEndpoint,
  clock: Clock,
  peer: SocketAddress,
  message: CoapMessage,
  options: SendOptions,
): Promise<Result<CoapMessage, DeliveryError>> {
  const endMs = clock.monotonicMs() + options.deadlineMs;
  const token = endpoint.drawToken();
  const ask = (part: CoapMessage): Promise<Result<CoapMessage, DeliveryError>> =>
    endpoint.request(peer, part, {
      ...options,
      token,
      deadlineMs: millis(Math.max(0, endMs - clock.monotonicMs())),
    });
  try {
    const first = await sendBody(ask, message);
    if (!first.ok || first.value.block2 === undefined) return first;
    return await collectBody(ask, message, first.value, first.value.block2);
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    return err({ kind: 'malformed', message: error.message });
  }
}

type Ask = (message: CoapMessage) => Promise<Result<CoapMessage, DeliveryError>>;

async function sendBody(ask: Ask, message: CoapMessage): Promise<Result<CoapMessage, DeliveryError>> {
  const { payload } = message;
  if (payload.length <= blockSize) return ask(message);
  let size = blockSize;
  let offset = 0;
  for (;;) {
    const end = offset + size;
    const more = end < payload.length;
    const block1: Block = { number: offset / size, more, size };
    const answer = await ask({ ...message, payload: payload.subarray(offset, end), block1 });
    if (!answer.ok) return answer;
    const { code, block1: accepted } = answer.value;
    const sizeAsked = accepted?.size ?? size;
    // The peer may ask for smaller blocks; the offset reached stays a multiple of any smaller power of two.
    if (code === '2.31' && more) {
      if (accepted !== undefined && accepted.number !== block1.number) {
        throw new DecodeError(`sent block ${block1.number}, block ${accepted.number} was taken`);
      }
      offset = end;
    } else if (code !== '4.13' || offset > 0 || sizeAsked >= size) {
      if (more && code.startsWith('2.')) {
        throw new DecodeError(`block ${block1.number} was answered ${code} before the body was complete`);
      }
      return answer;
    }
    size = Math.min(size, sizeAsked);
  }
}

async function collectBody(
  ask: Ask,
  request: CoapMessage,
  first: CoapMessage,
  block: Block,
): Promise<Result<CoapMessage, DeliveryError>> {
  const parts: Uint8Array[] = [];
  let length = 0;
  let answer = first;
  let asked: Block = { ...block, number: 0 };
  const { block1: _, ...rest } = request;
  for (;;) {
    const received = checkBlock(answer, first, asked, length);
    parts.push(answer.payload);
    length += answer.payload.length;
    if (length > bodyBytesMax) throw new DecodeError(`answer over ${bodyBytesMax} bytes`);
    if (!received.more) return ok({ ...first, payload: Buffer.concat(parts) });
    asked = { number: length / received.size, more: false, size: received.size };
    const next = await ask({ ...rest, payload: new Uint8Array(), block2: asked });
    if (!next.ok) return next;
    answer = next.value;
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
  return Buffer.from(message.options.get(entityTagOption)?.[0] ?? []).toString('hex');
}
