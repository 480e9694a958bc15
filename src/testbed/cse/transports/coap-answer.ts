import { BatonError } from '../../../base/errors.ts';
import {
  contentFormats,
  decodeRequestMessage,
  encodeResponseMessage,
  serialisationOf,
} from '../../../coap/mapping.ts';
import type { CoapMessage } from '../../../coap/message.ts';
import { ResponseStatusCode } from '../../../onem2m/enums.ts';
import type { Serialisation } from '../../../onem2m/primitives.ts';
import type { CseRequestHandler } from '../cse-transport.ts';
import { corruptionOf } from '../misbehaviour.ts';
import type { Corruption } from '../misbehaviour.ts';

const requestIdentifierOption = 283;
const responseStatusCodeOption = 307;

/** Octets that are neither JSON nor acceptable CBOR: a tag in an indefinite array, cut off. */
export const garbage: Uint8Array = Uint8Array.of(0x9f, 0xc2, 0x5f, 0xff, 0x7b);

/**
 * What a CSE answers to a CoAP request, whichever stack carried it. The format is that of Accept, else of the request,
 * else JSON; every answer has the options 307 and 283. Undefined stays silent.
 */
export async function answerMessage(
  handler: CseRequestHandler,
  message: CoapMessage,
): Promise<CoapMessage | undefined> {
  const accept = serialisationOf(message.accept);
  const serialisation = accept ?? serialisationOf(message.contentFormat) ?? 'json';
  if (message.accept !== undefined && accept === undefined) {
    return refuse(message, ResponseStatusCode.notAcceptable, serialisation, `Accept ${message.accept}`);
  }
  if (message.contentFormat !== undefined && serialisationOf(message.contentFormat) === undefined) {
    const said = `Content-Format ${message.contentFormat}`;
    return refuse(message, ResponseStatusCode.unsupportedMediaType, serialisation, said);
  }
  let decoded: ReturnType<typeof decodeRequestMessage>;
  try {
    decoded = decodeRequestMessage(message);
  } catch (error) {
    const debugInfo = error instanceof BatonError ? error.message : 'the request cannot be read';
    return refuse(message, ResponseStatusCode.badRequest, serialisation, debugInfo);
  }
  try {
    const response = await handler(decoded.request, {
      serialisation: decoded.serialisation,
      ...(accept === undefined ? {} : { accept }),
    });
    if (response === undefined) return undefined;
    return corrupt(encodeResponseMessage(response, serialisation), corruptionOf(response));
  } catch {
    // What went wrong inside is nobody else's business.
    return refuse(message, ResponseStatusCode.internalServerError, serialisation, 'internal error');
  }
}

/** Carries out a scripted misbehaviour. */
function corrupt(message: CoapMessage, corruption: Corruption | undefined): CoapMessage {
  switch (corruption) {
    case undefined:
      return message;
    case 'garbageBody':
      return { ...message, contentFormat: message.contentFormat ?? contentFormats.cbor, payload: garbage };
    case 'missingStatusCode': {
      const options = new Map(message.options);
      options.delete(responseStatusCodeOption);
      return { ...message, options };
    }
  }
}

function refuse(
  message: CoapMessage,
  responseStatusCode: number,
  serialisation: Serialisation,
  debugInfo: string,
): CoapMessage {
  const requestIdentifier = Buffer.from(message.options.get(requestIdentifierOption)?.[0] ?? []).toString();
  const response = { responseStatusCode, requestIdentifier, primitiveContent: { debugInfo } };
  return encodeResponseMessage(response, serialisation);
}
