import { errorText } from '../base/errors.ts';
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import type { Clock } from '../host/clock.ts';
import type { SocketAddress } from '../host/network.ts';
import type { Binding, DeliveryError, RequestHandler, SendOptions } from '../onem2m/binding.ts';
import { ResponseStatusCode } from '../onem2m/enums.ts';
import type { RequestPrimitive, ResponsePrimitive, Serialisation } from '../onem2m/primitives.ts';
import { requestInBlocks } from './blockwise.ts';
import type { CoapEndpoint } from './endpoint.ts';
import {
  decodeRequestMessage,
  decodeResponseMessage,
  encodeRequestMessage,
  encodeResponseMessage,
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
 * because a CSE that relayed the request may hang without them.
 */
export function serveRequests(endpoint: CoapEndpoint, handler: RequestHandler): void {
  endpoint.onRequest(async (message) => {
    let requestIdentifier = '';
    let serialisation: Serialisation = 'json';
    try {
      const decoded = decodeRequestMessage(message);
      requestIdentifier = decoded.request.requestIdentifier;
      serialisation = decoded.accept ?? decoded.serialisation;
      return encodeResponseMessage(await handler(decoded.request), serialisation);
    } catch (error) {
      return refuse(message, requestIdentifier, serialisation, error);
    }
  });
}

function refuse(
  message: CoapMessage,
  requestIdentifier: string,
  serialisation: Serialisation,
  error: unknown,
): CoapMessage {
  const echoed =
    requestIdentifier === ''
      ? Buffer.from(message.options.get(283)?.[0] ?? []).toString()
      : requestIdentifier;
  return encodeResponseMessage(
    {
      responseStatusCode: ResponseStatusCode.badRequest,
      requestIdentifier: echoed,
      primitiveContent: { debugInfo: errorText(error).slice(0, 200) },
    },
    serialisation,
  );
}
