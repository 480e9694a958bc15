import { errorText } from '../base/errors.ts';
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import type { Clock } from '../host/clock.ts';
import type { SocketAddress } from '../host/network.ts';
import type { Binding, DeliveryError, RequestHandler, SendOptions } from '../onem2m/binding.ts';
import { ResponseStatusCode } from '../onem2m/enums.ts';
import type { RequestPrimitive, ResponsePrimitive, Serialisation } from '../onem2m/primitives.ts';
import { BlockService } from './block-service.ts';
import { requestInBlocks } from './blockwise.ts';
import type { CoapEndpoint } from './endpoint.ts';
import {
  decodeRequestMessage,
  decodeResponseMessage,
  encodeRequestMessage,
  encodeResponseMessage,
  serialisationOf,
} from './mapping.ts';
import type { CoapMessage } from './message.ts';

/** The oneM2M CoAP binding to one CSE (TS-0008) over an endpoint that other bindings may share. */
export class CoapBinding implements Binding {
  readonly #endpoint: CoapEndpoint;
  readonly #clock: Clock;
  readonly #peer: SocketAddress;
  readonly #serialisation: Serialisation;

  constructor(options: {
    endpoint: CoapEndpoint;
    clock: Clock;
    peer: SocketAddress;
    serialisation?: Serialisation;
  }) {
    this.#endpoint = options.endpoint;
    this.#clock = options.clock;
    this.#peer = options.peer;
    this.#serialisation = options.serialisation ?? 'cbor';
  }

  async send(
    request: RequestPrimitive,
    options: SendOptions,
  ): Promise<Result<ResponsePrimitive, DeliveryError>> {
    let message: CoapMessage;
    try {
      message = encodeRequestMessage(request, this.#serialisation);
    } catch (error) {
      return err({ kind: 'malformed', message: `request not sent: ${errorText(error)}` });
    }
    const answer = await requestInBlocks(this.#endpoint, this.#clock, this.#peer, message, options);
    if (!answer.ok) return answer;
    try {
      const response = decodeResponseMessage(answer.value);
      if (response.requestIdentifier !== '' && response.requestIdentifier !== request.requestIdentifier) {
        const message = `asked as ${request.requestIdentifier}, answered as ${response.requestIdentifier.slice(0, 40)}`;
        return err({ kind: 'malformed', message });
      }
      return ok({ ...response, requestIdentifier: request.requestIdentifier });
    } catch (error) {
      return err({ kind: 'malformed', message: errorText(error) });
    }
  }

  /** Nothing to end: the endpoint belongs to the link, not to the binding. */
  close(): Promise<void> {
    return Promise.resolve();
  }
}

/**
 * Receives oneM2M requests (notifications, verification requests) on an endpoint. Any Uri-Path is accepted, because each
 * route to a device writes it differently; every answer, errors included, carries the status and the request identifier,
 * because a CSE that relayed the request may hang without them. Bodies may come and go in blocks.
 */
export function serveRequests(endpoint: CoapEndpoint, handler: RequestHandler): void {
  const blocks = new BlockService((message) => answerRequest(message, handler));
  endpoint.onRequest(async (message, from) => {
    const answer = await blocks.answer(message, from);
    const isRefusal = answer !== undefined && /^[45]/u.test(answer.code) && !answer.options.has(statusOption);
    if (!isRefusal) return answer;
    const refusal = shapeRefusal(answer.code, 'the blocks do not fit together', message);
    return answer.block1 === undefined ? refusal : { ...refusal, block1: answer.block1 };
  }, shapeRefusal);
}

const statusOption = 307;
const requestIdentifierOption = 283;

async function answerRequest(message: CoapMessage, handler: RequestHandler): Promise<CoapMessage> {
  let decoded: ReturnType<typeof decodeRequestMessage>;
  try {
    decoded = decodeRequestMessage(message);
  } catch (error) {
    return refuse(message, ResponseStatusCode.badRequest, errorText(error).slice(0, 200));
  }
  const { request, accept, serialisation } = decoded;
  try {
    return encodeResponseMessage(await handler(request), accept ?? serialisation, request.operation);
  } catch {
    // What went wrong inside is nobody else's business.
    return refuse(message, ResponseStatusCode.internalServerError, 'internal error');
  }
}

/** A refusal of the message layer as a oneM2M answer, under the code the message layer chose. */
function shapeRefusal(code: string, reason: string, message: CoapMessage): CoapMessage {
  const status = code.startsWith('4.')
    ? ResponseStatusCode.badRequest
    : ResponseStatusCode.internalServerError;
  return { ...refuse(message, status, reason), code };
}

function refuse(message: CoapMessage, responseStatusCode: number, debugInfo: string): CoapMessage {
  const requestIdentifier = Buffer.from(message.options.get(requestIdentifierOption)?.[0] ?? []).toString();
  const serialisation = serialisationOf(message.accept) ?? serialisationOf(message.contentFormat) ?? 'json';
  const response = { responseStatusCode, requestIdentifier, primitiveContent: { debugInfo } };
  return encodeResponseMessage(response, serialisation);
}
