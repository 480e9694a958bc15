import { errorText } from '../base/errors.ts';
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import type { Clock } from '../host/clock.ts';
import type { SocketAddress } from '../host/network.ts';
import type { Binding, DeliveryError, RequestHandler, SendOptions } from '../onem2m/binding.ts';
import { ResponseStatusCode } from '../onem2m/enums.ts';
import type { RequestPrimitive, ResponsePrimitive, Serialisation } from '../onem2m/primitives.ts';
import { BlockService } from './block-service.ts';
import { Transfer } from './blockwise.ts';
import type { CoapEndpoint } from './endpoint.ts';
import type { ExchangeResult } from './exchange.ts';
import {
  decodeRequestMessage,
  decodeResponseMessage,
  encodeRequestMessage,
  encodeResponseMessage,
  serialisationOf,
} from './mapping.ts';
import type { CoapDialect } from './mapping.ts';
import type { CoapMessage } from './message.ts';
import type { PeerFigures } from './response-times.ts';

/**
 * The oneM2M CoAP binding to one CSE (TS-0008) over an endpoint that other bindings may share. It can move to the
 * endpoint of another link with all requests that are open.
 */
export class CoapBinding implements Binding {
  readonly #clock: Clock;
  readonly #peer: SocketAddress;
  readonly #serialisation: Serialisation;
  readonly #blockBytes: number | undefined;
  readonly #dialect: CoapDialect;
  readonly #open = new Set<Transfer>();
  #endpoint: CoapEndpoint;

  /** `blockBytes` is the largest block, 16, 32 … 1024: links with small frames are better off with less than 1024. */
  constructor(options: {
    endpoint: CoapEndpoint;
    clock: Clock;
    peer: SocketAddress;
    serialisation?: Serialisation;
    blockBytes?: number;
    /** How the CSE wants its requests written, where that is not as in Release 3. */
    dialect?: CoapDialect;
  }) {
    this.#endpoint = options.endpoint;
    this.#clock = options.clock;
    this.#peer = options.peer;
    this.#serialisation = options.serialisation ?? 'cbor';
    this.#blockBytes = options.blockBytes;
    this.#dialect = options.dialect ?? {};
  }

  /** What the messages to this CSE over the present link have shown; undefined before the first. */
  get peerFigures(): PeerFigures | undefined {
    return this.#endpoint.peerFigures(this.#peer);
  }

  /**
   * Goes on at the endpoint of another link, with every later request and with those that are open: they keep their
   * deadlines, and each ends once. An open request that the endpoint cannot take (`busy`) stays where it is. The CSE may
   * carry an open request out twice, since it knows repeats by the address they come from; resources that are created
   * under a name are made once all the same (4105 the second time).
   */
  moveTo(endpoint: CoapEndpoint): void {
    this.#endpoint = endpoint;
    for (const transfer of this.#open) transfer.moveTo(endpoint);
  }

  async send(
    request: RequestPrimitive,
    options: SendOptions,
  ): Promise<Result<ResponsePrimitive, DeliveryError>> {
    let message: CoapMessage;
    try {
      message = encodeRequestMessage(request, this.#serialisation, this.#dialect);
    } catch (error) {
      return err({ kind: 'malformed', message: `request not sent: ${errorText(error)}` });
    }
    const answer = await this.#transfer(message, options);
    if (!answer.ok) return answer;
    // RFC 7252 5.9.3.4: the server cannot take the request now, whatever oneM2M status comes with it.
    if (answer.value.code === '5.03')
      return err({ kind: 'busy', message: 'the CSE has too much to do (5.03)' });
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

  async #transfer(message: CoapMessage, options: SendOptions): Promise<ExchangeResult> {
    const settings = this.#blockBytes === undefined ? options : { ...options, blockBytes: this.#blockBytes };
    const transfer = new Transfer(this.#endpoint, this.#clock, this.#peer, message, settings);
    this.#open.add(transfer);
    const answer = await transfer.result;
    this.#open.delete(transfer);
    return answer;
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
  const { clock } = endpoint;
  const blocks = new BlockService({ clock, handler: (message) => answerRequest(message, handler) });
  endpoint.onRequest(async (message, from) => {
    const answer = await blocks.answer(message, from);
    const isRefusal = answer !== undefined && /^[45]/u.test(answer.code) && !answer.options.has(statusOption);
    if (!isRefusal) return answer;
    const refusal = shapeRefusal(answer.code, 'the blocks do not fit together', message);
    const options = new Map([...refusal.options, ...answer.options]);
    return { ...refusal, options, ...(answer.block1 === undefined ? {} : { block1: answer.block1 }) };
  }, shapeRefusal);
}

const statusOption = 307;
const requestIdentifierOption = 283;
const resourceTypeOption = 267;

async function answerRequest(message: CoapMessage, handler: RequestHandler): Promise<CoapMessage> {
  const unservable = refusalOf(message);
  if (unservable !== undefined) return unservable;
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

/** The refusal of a request whose method or formats RFC 7252 (5.8, 5.10.3, 5.10.4) answers with codes of their own. */
function refusalOf(message: CoapMessage): CoapMessage | undefined {
  const { code, contentFormat, accept, payload } = message;
  if (!methods.has(code)) {
    return refuse(message, ResponseStatusCode.operationNotAllowed, `method ${code} has no oneM2M operation`);
  }
  if (payload.length > 0 && contentFormat !== undefined && serialisationOf(contentFormat) === undefined) {
    const reason = `body in Content-Format ${contentFormat}; 50 (JSON) and 60 (CBOR) are understood`;
    return refuse(message, ResponseStatusCode.unsupportedMediaType, reason);
  }
  // The answer to a notification has no body, so its format does not matter.
  const isNotification = code === '0.02' && !message.options.has(resourceTypeOption);
  if (accept !== undefined && !isNotification && serialisationOf(accept) === undefined) {
    const reason = `an answer in Content-Format ${accept}; 50 (JSON) and 60 (CBOR) are to be had`;
    return refuse(message, ResponseStatusCode.notAcceptable, reason);
  }
  return undefined;
}

const methods: ReadonlySet<string> = new Set(['0.01', '0.02', '0.03', '0.04']);

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
