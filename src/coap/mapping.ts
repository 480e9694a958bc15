/**
 * oneM2M primitives as CoAP messages (TS-0008 6.2, option numbers of Release 3) and back. Option 307 decides what an
 * answer means, never the CoAP code; a missing one is a failure.
 */
import { DecodeError } from '../base/errors.ts';
import { Operation, ResponseStatusCode } from '../onem2m/enums.ts';
import { releaseVersion } from '../onem2m/primitives.ts';
import type {
  FilterCriteria,
  RequestPrimitive,
  ResponsePrimitive,
  Serialisation,
} from '../onem2m/primitives.ts';
import { decodeBody, decodeContent, encodeBody, encodeContent } from '../onem2m/serialisation.ts';
import { decodeUint, encodeUint } from './message.ts';
import type { CoapMessage } from './message.ts';

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
} as const;

/** Content-Format numbers of the two serialisations (RFC 7252 12.3, RFC 8949 9.4). */
export const contentFormats = { json: 50, cbor: 60 } as const;

/** oneM2M options an endpoint understands (all of them are critical): 259 … 363 in steps of four. */
export const oneM2mOptionNumbers: readonly number[] = Array.from(
  { length: 27 },
  (_, index) => 259 + 4 * index,
);

const methods = { 1: '0.02', 2: '0.01', 3: '0.03', 4: '0.04', 5: '0.02' } as const;

/** A request primitive as a CoAP request. */
export function encodeRequestMessage(request: RequestPrimitive, serialisation: Serialisation): CoapMessage {
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
  text(Option.responseTypeUris, request.notificationUris?.join('&'));
  if (request.eventCategory !== undefined)
    options.set(Option.eventCategory, [encodeUint(request.eventCategory)]);
  if (request.operation === Operation.create && request.resourceType !== undefined) {
    options.set(Option.resourceType, [encodeUint(request.resourceType)]);
  }
  const content = request.primitiveContent;
  return {
    code: methods[request.operation],
    path: encodePath(request.to),
    query: encodeQuery(request),
    accept: contentFormats[serialisation],
    options,
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
    notificationUris: text(Option.responseTypeUris)?.split('&'),
    eventCategory: category === undefined ? undefined : decodeUint(category),
    resourceType,
    ...decodeQuery(message.query),
    primitiveContent: bodyOf(message),
  };
  const request = {
    operation: operationOf(message.code, resourceType),
    to: decodePath(message.path),
    requestIdentifier,
    ...withoutUndefined(fields),
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

/** A CoAP response as a response primitive. Throws `DecodeError` without a response status code (option 307). */
export function decodeResponseMessage(message: CoapMessage): ResponsePrimitive {
  const octets = message.options.get(Option.responseStatusCode)?.[0];
  const responseStatusCode = octets === undefined || octets.length === 0 ? undefined : decodeUint(octets);
  if (responseStatusCode === undefined) {
    throw new DecodeError(`answer ${message.code} without a oneM2M response status code (option 307)`);
  }
  const requestIdentifier = optionText(message, Option.requestIdentifier) ?? '';
  const content = bodyOf(message);
  return {
    responseStatusCode,
    requestIdentifier,
    ...(content === undefined ? {} : { primitiveContent: content }),
  };
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

function encodeQuery(request: RequestPrimitive): string[] {
  const query: string[] = [];
  const add = (name: string, values: readonly (string | number)[] | undefined): void => {
    if (values !== undefined && values.length > 0) query.push(`${name}=${values.map(escapeValue).join('+')}`);
  };
  const one = (name: string, value: string | number | undefined): void =>
    add(name, value === undefined ? undefined : [value]);
  one('rcn', request.resultContent);
  one('rt', request.responseType);
  one('drt', request.discoveryResultType);
  add('atrl', request.attributeList);
  const filter = request.filterCriteria;
  if (filter === undefined) return query;
  for (const [long, short] of filterNames) {
    const value = filter[long];
    add(short, Array.isArray(value) ? value : value === undefined ? undefined : [value]);
  }
  for (const [name, values] of Object.entries(filter.attributes ?? {})) add(name, values);
  return query;
}

const filterNames = [
  ['filterUsage', 'fu'],
  ['resourceType', 'ty'],
  ['labels', 'lbl'],
  ['createdBefore', 'crb'],
  ['createdAfter', 'cra'],
  ['modifiedSince', 'ms'],
  ['unmodifiedSince', 'us'],
  ['contentFilterType', 'cty'],
  ['level', 'lvl'],
  ['offset', 'ofst'],
  ['limit', 'lim'],
  ['applyRelativePath', 'arp'],
] as const satisfies readonly (readonly [keyof FilterCriteria, string])[];

const queriesMax = 64;

const textFilters = new Set(['labels', 'contentFilterType']);

function decodeQuery(query: readonly string[]): Partial<RequestPrimitive> {
  const result: Partial<RequestPrimitive> = {};
  const filter: Record<string, unknown> = {};
  const attributes: Record<string, string[]> = {};
  // A filter that is passed over would make a discovery return everything.
  if (query.length > queriesMax) throw new DecodeError(`${query.length} queries; ${queriesMax} at most`);
  for (const part of query) {
    const split = part.indexOf('=');
    const name = split < 0 ? part : part.slice(0, split);
    const values = (split < 0 ? '' : part.slice(split + 1)).split('+').map(unescapeValue);
    const known = filterNames.find(([, short]) => short === name);
    if (name === 'rcn')
      result.resultContent = numberOf(name, values) as NonNullable<RequestPrimitive['resultContent']>;
    else if (name === 'rt')
      result.responseType = numberOf(name, values) as NonNullable<RequestPrimitive['responseType']>;
    else if (name === 'drt') result.discoveryResultType = numberOf(name, values) as 1 | 2;
    else if (name === 'atrl') result.attributeList = [...(result.attributeList ?? []), ...values];
    else if (known === undefined && name === '__proto__') continue;
    else if (known === undefined)
      attributes[name] = [...(Object.hasOwn(attributes, name) ? (attributes[name] ?? []) : []), ...values];
    else if (textFilters.has(known[0]))
      filter[known[0]] = [...((filter[known[0]] as string[] | undefined) ?? []), ...values];
    else if (known[0] === 'resourceType')
      filter.resourceType = [
        ...((filter.resourceType as number[] | undefined) ?? []),
        ...values.map((value) => numberOf(name, [value])),
      ];
    else if (['filterUsage', 'level', 'offset', 'limit'].includes(known[0]))
      filter[known[0]] = numberOf(name, values);
    else filter[known[0]] = values[0];
  }
  if (Object.keys(attributes).length > 0) filter.attributes = attributes;
  if (Object.keys(filter).length > 0) result.filterCriteria = filter;
  return result;
}

function numberOf(name: string, values: readonly string[]): number {
  const [text = ''] = values;
  if (values.length !== 1 || !/^\d{1,9}$/u.test(text)) {
    throw new DecodeError(`query ${name}=${values.join('+').slice(0, 40)}: a whole number is expected`);
  }
  return Number(text);
}

// A bare `=` inside a value makes at least one CSE drop the whole filter, so it travels escaped.
function escapeValue(value: string | number): string {
  return String(value).replace(/[%=&+]/gu, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

function unescapeValue(value: string): string {
  return value.replace(/(?:%[0-9A-Fa-f]{2})+/gu, (escaped) =>
    Buffer.from(escaped.replaceAll('%', ''), 'hex').toString(),
  );
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
