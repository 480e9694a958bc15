import { DecodeError, errorText } from '../base/errors.ts';
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

/**
 * One request and its response whatever their size: a body over 1,024 octets goes out in blocks, an answer that comes in
 * blocks is put together (RFC 7959). All parts share the caller's deadline.
 */
export async function requestInBlocks(
  endpoint: CoapEndpoint,
  clock: Clock,
  peer: SocketAddress,
  message: CoapMessage,
  options: SendOptions,
): Promise<Result<CoapMessage, DeliveryError>> {
  const endMs = clock.monotonicMs() + options.deadlineMs;
  const ask = (part: CoapMessage): Promise<Result<CoapMessage, DeliveryError>> =>
    endpoint.request(peer, part, {
      ...options,
      deadlineMs: millis(Math.max(0, endMs - clock.monotonicMs())),
    });
  const first = await sendBody(ask, message);
  if (!first.ok || first.value.block2?.more !== true) return first;
  return collectBody(ask, message, first.value, first.value.block2);
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
    if (!answer.ok || !more || answer.value.code !== '2.31') return answer;
    // The peer may ask for smaller blocks; the offset reached stays a multiple of any smaller power of two.
    size = Math.min(size, answer.value.block1?.size ?? size);
    offset = end;
  }
}

async function collectBody(
  ask: Ask,
  request: CoapMessage,
  first: CoapMessage,
  block: Block,
): Promise<Result<CoapMessage, DeliveryError>> {
  const parts = [first.payload];
  let length = first.payload.length;
  const { block1: _, ...rest } = request;
  for (let number = block.number + 1; ; number++) {
    const block2: Block = { number, more: false, size: block.size };
    const answer = await ask({ ...rest, payload: new Uint8Array(), block2 });
    if (!answer.ok) return answer;
    try {
      checkBlock(answer.value, first, number, (length += answer.value.payload.length));
    } catch (error) {
      return err({ kind: 'malformed', message: errorText(error) });
    }
    parts.push(answer.value.payload);
    if (answer.value.block2?.more !== true) return ok({ ...first, payload: Buffer.concat(parts) });
  }
}

function checkBlock(answer: CoapMessage, first: CoapMessage, number: number, length: number): void {
  if (answer.code !== first.code)
    throw new DecodeError(`block ${number} was answered ${answer.code}, the first ${first.code}`);
  if (answer.block2?.number !== number) {
    throw new DecodeError(`asked for block ${number}, got ${answer.block2?.number ?? 'no block'}`);
  }
  if (length > bodyBytesMax) throw new DecodeError(`answer over ${bodyBytesMax} bytes`);
  if (answer.block2.more && answer.payload.length === 0) throw new DecodeError(`block ${number} is empty`);
}
