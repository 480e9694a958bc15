/**
 * oneM2M primitives as CoAP messages (TS-0008 6.2) and back. The status option (307) decides what an answer means, never the
 * CoAP code; a missing one is a failure. Requests may be written with the option numbers of Releases 1 and 2 for CSEs that
 * know no others; of those releases only answers are understood.
 */
import { DecodeError } from '../base/errors.ts';
import { Operation, ResponseStatusCode, ResponseType } from '../onem2m/enums.ts';
import { releaseVersion } from '../onem2m/primitives.ts';
import type { RequestPrimitive, ResponsePrimitive, Serialisation } from '../onem2m/primitives.ts';
import { decodeBody, decodeContent, encodeBody, encodeContent } from '../onem2m/serialisation.ts';
import { decodeUint, encodeUint } from './message.ts';
import type { CoapMessage } from './message.ts';
import { decodeQuery, encodeQuery } from './query.ts';

const Option = {
  originatingTimestamp: 259,
  responseTypeUris: 263,
  resourceType: 267,
  releaseVersionIndicator: 271,
  from: 279,
  requestIdentifier: 283,
  requestExpirationTimestamp: 291,
  resultExpirationTimestamp: 295,
  operationExecutionTime: 299,
  eventCategory: 303,
  responseStatusCode: 307,
  groupRequestIdentifier: 311,
  vendorInformation: 331,
  groupRequestTargetMembers: 335,
  authorizationSignatures: 339,
  ontologyMappingResources: 343,
  primitiveProfileIdentifier: 347,
  m2mServiceUser: 351,
} as const;

/** Numbers of Releases 1 and 2 for the options above; what is not here has no option there. */
const olderNumbers = new Map<number, number>([
  [Option.from, 256],
  [Option.requestIdentifier, 257],
  [Option.originatingTimestamp, 259],
  [Option.requestExpirationTimestamp, 260],
  [Option.resultExpirationTimestamp, 261],
  [Option.operationExecutionTime, 262],
  [Option.responseTypeUris, 263],
  [Option.eventCategory, 264],
  [Option.responseStatusCode, 265],
  [Option.groupRequestIdentifier, 266],
  [Option.resourceType, 267],
]);

const locationPath = 8;

/** How a CSE wants its requests written; what is left out is as TS-0008 of Release 3 has it, but for `nonBlocking`. */
export interface CoapDialect {
  /** Option numbers of Release 3, or of the releases before. */
  readonly optionSet?: 'r3' | 'r2';
  /** A request that is answered later: `rt` on the method of its operation (default), or POST with `op`. */
  readonly nonBlocking?: 'method' | 'post';
}

/** Content-Format numbers of the two serialisations (RFC 7252 12.3, RFC 8949 9.4). */
export const contentFormats = { json: 50, cbor: 60 } as const;

/**
 * Critical oneM2M options an endpoint understands: 259 … 363 in steps of four, and what answers of Releases 1 and 2 may
 * have.
 */
export const oneM2mOptionNumbers: readonly number[] = [
  ...Array.from({ length: 27 }, (_, index) => 259 + 4 * index),
  257,
  261,
  265,
];

const methods = { 1: '0.02', 2: '0.01', 3: '0.03', 4: '0.04', 5: '0.02' } as const;

/** A request primitive as a CoAP request. */
export function encodeRequestMessage(
  request: RequestPrimitive,
  serialisation: Serialisation,
  { optionSet = 'r3', nonBlocking = 'method' }: CoapDialect = {},
): CoapMessage {
  const options = new Map<number, Uint8Array[]>();
  const text = (number: number, value: string | undefined): void => {
    if (value !== undefined) options.set(number, [Buffer.from(value)]);
  };
  text(Option.from, request.from);
  text(Option.requestIdentifier, request.requestIdentifier);
  text(Option.releaseVersionIndicator, request.releaseVersionIndicator);
  text(Option.originatingTimestamp, request.originatingTimestamp);
  text(Option.requestExpirationTimestamp, request.requestExpirationTimestamp);
  text(Option.resultExpirationTimestamp, request.resultExpirationTimestamp);
  text(Option.operationExecutionTime, request.operationExecutionTime);
  text(Option.groupRequestIdentifier, request.groupRequestIdentifier);
  text(Option.vendorInformation, request.vendorInformation);
  text(Option.groupRequestTargetMembers, request.groupRequestTargetMembers?.join('+'));
  text(Option.authorizationSignatures, request.authorizationSignatures?.join('+'));
  text(Option.ontologyMappingResources, request.ontologyMappingResources);
  text(Option.primitiveProfileIdentifier, request.primitiveProfileIdentifier);
  text(Option.m2mServiceUser, request.m2mServiceUser);
  text(Option.responseTypeUris, request.notificationUris?.join('&'));
  if (request.eventCategory !== undefined)
    options.set(Option.eventCategory, [encodeUint(request.eventCategory)]);
  if (request.operation === Operation.create && request.resourceType !== undefined) {
    options.set(Option.resourceType, [encodeUint(request.resourceType)]);
  }
  const content = request.primitiveContent;
  const isDeferred =
    request.responseType !== undefined && request.responseType !== ResponseType.blockingRequest;
  const isPosted = nonBlocking === 'post' && isDeferred;
  const query = encodeQuery(request);
  return {
    code: isPosted ? '0.02' : methods[request.operation],
    path: encodePath(request.to),
    query: isPosted ? [...query, `op=${request.operation}`] : query,
    accept: contentFormats[serialisation],
    options: optionSet === 'r2' ? withOlderNumbers(options) : options,
    ...(content === undefined
      ? { payload: new Uint8Array() }
      : {
          contentFormat: contentFormats[serialisation],
          payload: encodeBody(encodeContent(content), serialisation),
        }),
  };
}

/** A CoAP request as a request primitive. Throws `DecodeError` when it is none. */
export function decodeRequestMessage(message: CoapMessage): {
  request: RequestPrimitive;
  serialisation: Serialisation;
  accept?: Serialisation;
} {
  const text = (number: number): string | undefined => optionText(message, number);
  const requestIdentifier = text(Option.requestIdentifier);
  if (requestIdentifier === undefined) throw new DecodeError('oneM2M request without X-M2M-RI (option 283)');
  const type = message.options.get(Option.resourceType)?.[0];
  const resourceType = type === undefined ? undefined : decodeUint(type);
  // Passed over, a broken type would turn a creation into a notification.
  if (type !== undefined && resourceType === undefined)
    throw new DecodeError(`option TY has ${type.length} bytes; 4 at most`);
  const category = message.options.get(Option.eventCategory)?.[0];
  const fields = {
    from: text(Option.from),
    releaseVersionIndicator: text(Option.releaseVersionIndicator),
    originatingTimestamp: text(Option.originatingTimestamp),
    requestExpirationTimestamp: text(Option.requestExpirationTimestamp),
    resultExpirationTimestamp: text(Option.resultExpirationTimestamp),
    operationExecutionTime: text(Option.operationExecutionTime),
    groupRequestIdentifier: text(Option.groupRequestIdentifier),
    vendorInformation: text(Option.vendorInformation),
    groupRequestTargetMembers: text(Option.groupRequestTargetMembers)?.split('+'),
    authorizationSignatures: text(Option.authorizationSignatures)?.split('+'),
    ontologyMappingResources: text(Option.ontologyMappingResources),
    primitiveProfileIdentifier: text(Option.primitiveProfileIdentifier),
    m2mServiceUser: text(Option.m2mServiceUser),
    notificationUris: text(Option.responseTypeUris)?.split('&'),
    eventCategory: category === undefined ? undefined : decodeUint(category),
    resourceType,
    ...decodeQuery(message.query),
    primitiveContent: bodyOf(message),
  };
  // What is not to be waited for may be posted with its operation in a query.
  const posted = message.code === '0.02' ? fields.operation : undefined;
  const request = {
    ...withoutUndefined(fields),
    operation: posted ?? operationOf(message.code, resourceType),
    to: decodePath(message.path),
    requestIdentifier,
  } as RequestPrimitive;
  const serialisation = serialisationOf(message.contentFormat) ?? serialisationOf(message.accept) ?? 'json';
  const accept = serialisationOf(message.accept);
  return { request, serialisation, ...(accept === undefined ? {} : { accept }) };
}

/**
 * A response primitive as a CoAP response. To a NOTIFY the success is 2.04 with an empty payload, to any other operation
 * it is what table 6.2.4-1 of TS-0008 says.
 */
export function encodeResponseMessage(
  response: ResponsePrimitive,
  serialisation: Serialisation,
  operation?: Operation,
): CoapMessage {
  const options = new Map<number, Uint8Array[]>([
    [Option.responseStatusCode, [encodeUint(response.responseStatusCode)]],
    [Option.requestIdentifier, [Buffer.from(response.requestIdentifier)]],
    [Option.releaseVersionIndicator, [Buffer.from(response.releaseVersionIndicator ?? releaseVersion)]],
  ]);
  if (response.originatingTimestamp !== undefined) {
    options.set(Option.originatingTimestamp, [Buffer.from(response.originatingTimestamp)]);
  }
  const isNotified = operation === Operation.notify && response.responseStatusCode === ResponseStatusCode.ok;
  const content = isNotified ? undefined : response.primitiveContent;
  return {
    code: isNotified ? '2.04' : coapCodeOf(response.responseStatusCode),
    path: [],
    query: [],
    options,
    ...(content === undefined
      ? { payload: new Uint8Array() }
      : {
          contentFormat: contentFormats[serialisation],
          payload: encodeBody(encodeContent(content), serialisation),
        }),
  };
}

/** A CoAP response as a response primitive. Throws `DecodeError` without a response status code (option 307, once 265). */
export function decodeResponseMessage(message: CoapMessage): ResponsePrimitive {
  const isOlder = !message.options.has(Option.responseStatusCode);
  const number = (option: number): number => (isOlder ? (olderNumbers.get(option) ?? option) : option);
  const octets = message.options.get(number(Option.responseStatusCode))?.[0];
  const responseStatusCode = octets === undefined || octets.length === 0 ? undefined : decodeUint(octets);
  if (responseStatusCode === undefined) {
    throw new DecodeError(`answer ${message.code} without a oneM2M response status code (option 307)`);
  }
  const requestIdentifier = optionText(message, number(Option.requestIdentifier)) ?? '';
  const originatingTimestamp = optionText(message, Option.originatingTimestamp);
  const content = bodyOf(message) ?? locationOf(message);
  return {
    responseStatusCode,
    requestIdentifier,
    ...(originatingTimestamp === undefined ? {} : { originatingTimestamp }),
    ...(content === undefined ? {} : { primitiveContent: content }),
  };
}

/** An address that comes in Location-Path alone, its segments in an option each or, as some CSEs write it, all in one. */
function locationOf({ options }: CoapMessage): ResponsePrimitive['primitiveContent'] {
  const segments = options.get(locationPath);
  if (segments === undefined) return undefined;
  return { uri: segments.map((segment) => Buffer.from(segment).toString()).join('/') };
}

function withOlderNumbers(options: ReadonlyMap<number, Uint8Array[]>): Map<number, Uint8Array[]> {
  const older = new Map<number, Uint8Array[]>();
  for (const [number, values] of options) {
    const other = olderNumbers.get(number);
    if (other !== undefined) older.set(other, values);
  }
  return older;
}

/** CoAP code for a response status code (TS-0008 table 6.2.4-1). */
export function coapCodeOf(responseStatusCode: number): string {
  return (
    codeTable.get(responseStatusCode) ??
    (responseStatusCode < 4000 ? '2.05' : responseStatusCode < 5000 ? '4.00' : '5.00')
  );
}

const codeTable = new Map<number, string>(
  (
    [
      ['2.01', [1000, 1001, 1002, 2001]],
      ['2.02', [2002]],
      ['2.04', [2004]],
      ['2.05', [2000]],
      ['4.00', [4000, 4102, 4104, 4110, 4123, 4124, 5106, 5219, 5220, 6010, 6022, 6023, 6024, 6028, 6029]],
      ['4.02', [4120, 4122]],
      ['4.03', [4101, 4103, 4105, 4106, 4107, 4108, 4109, 4111, 4112, 4113, 4114, 4115, 4116, 4117]],
      ['4.03', [4126, 4127, 5105, 5203, 5205, 5208, 5214, 5215, 5218, 5222]],
      ['4.04', [4004, 4118, 4119, 4121, 5103, 5107, 6003, 6005]],
      ['4.05', [4005]],
      ['4.06', [5207]],
      ['4.15', [4015]],
      ['5.00', [5000, 5204, 5209, 5210, 5211, 5212, 5216, 5217, 5221, 6020, 6021, 6025, 6026]],
      ['5.01', [4001, 4125, 5001, 5206]],
      ['5.04', [4008, 6030, 6031]],
    ] as const
  ).flatMap(([code, statuses]) => statuses.map((status): [number, string] => [status, code])),
);

function encodePath(to: string): string[] {
  if (to.startsWith('//')) return ['_', ...to.slice(2).split('/')];
  if (to.startsWith('/')) return ['~', ...to.slice(1).split('/')];
  return to.split('/');
}

function decodePath(path: readonly string[]): string {
  const [first, ...rest] = path;
  if (first === '~') return `/${rest.join('/')}`;
  if (first === '_') return `//${rest.join('/')}`;
  return path.join('/');
}

function operationOf(code: string, resourceType: number | undefined): RequestPrimitive['operation'] {
  switch (code) {
    case '0.01':
      return Operation.retrieve;
    case '0.02':
      return resourceType === undefined ? Operation.notify : Operation.create;
    case '0.03':
      return Operation.update;
    case '0.04':
      return Operation.delete;
    default:
      throw new DecodeError(`CoAP method ${code} has no oneM2M operation`);
  }
}

function bodyOf(message: CoapMessage): RequestPrimitive['primitiveContent'] {
  if (message.payload.length === 0) return undefined;
  const { contentFormat } = message;
  const serialisation =
    contentFormat === undefined
      ? message.payload[0] === 0x7b
        ? 'json'
        : 'cbor'
      : serialisationOf(contentFormat);
  if (serialisation === undefined)
    throw new DecodeError(`body in Content-Format ${contentFormat}; 50 (JSON) and 60 (CBOR) are understood`);
  return decodeContent(decodeBody(message.payload, serialisation));
}

/**
 * The serialisation behind a Content-Format number, oneM2M's own registrations included (TS-0008 table 6.2.2.2-1);
 * undefined for XML and for what is no oneM2M format.
 */
export function serialisationOf(contentFormat: number | undefined): Serialisation | undefined {
  return contentFormat === undefined ? undefined : serialisations.get(contentFormat);
}

const serialisations = new Map<number, Serialisation>([
  ...[50, 10_001, 10_003, 10_007, 10_009].map((number) => [number, 'json'] as const),
  ...[60, 10_010, 10_011, 10_012, 10_013].map((number) => [number, 'cbor'] as const),
]);

function optionText(message: CoapMessage, number: number): string | undefined {
  const value = message.options.get(number)?.[0];
  return value === undefined ? undefined : Buffer.from(value).toString();
}

function withoutUndefined(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
