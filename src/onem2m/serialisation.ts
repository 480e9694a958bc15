/**
 * Between primitives with long names and wire objects with short names, and between wire objects and bytes.
 *
 * Encoding is strict: `undefined` is left out, a number that is not finite or a value that is not plain is refused.
 * Decoding is tolerant: unknown names pass unchanged, times may carry fractions, a single value stands for a list of one,
 * a number may come as text where a number is meant, the response's own Content-Format decides (TS-0004 8.3 JSON, 8.5
 * CBOR).
 */
import { DecodeError, EncodeError, errorText } from '../base/errors.ts';
import { hexExcerpt, printable } from '../base/text.ts';
import type { Shape, ValueKind } from './attribute-names.ts';
import { cborBytesMax, decodeCbor, encodeCbor } from './cbor.ts';
import { Operation } from './enums.ts';
import { requestNames, responseNames, rootNames, specialisationNames, wrapperNames } from './names.ts';

import type { FilterCriteria, RequestPrimitive, ResponsePrimitive, Serialisation } from './primitives.ts';
import type { PrimitiveContent } from './resources.ts';

/** A JSON-like object with short names. */
export type WireObject = Record<string, unknown>;

/** Octets one body may have in either serialisation. */
export const bodyBytesMax: number = cborBytesMax;

/** Lists and objects one body may have inside one another. */
export const bodyDepthMax = 32;

/** `primitiveContent` as it travels. Throws `EncodeError` for a value that has no oneM2M form. */
export function encodeContent(content: PrimitiveContent): WireObject {
  return toWire(rootNames, content, 0) as WireObject;
}

/** `primitiveContent` from a decoded body; a body that is no object throws `DecodeError`. */
export function decodeContent(wire: unknown): PrimitiveContent {
  return fromWire(rootNames, objectOf(wire, 'primitive content'), 0) as PrimitiveContent;
}

/** A whole request primitive as one object, as MQTT and the polling channel carry it. */
export function encodeRequest(request: RequestPrimitive): WireObject {
  const { responseType, notificationUris, filterCriteria, ...rest } = request;
  const wire = toWire(requestNames, rest, 0) as WireObject;
  if (responseType !== undefined) {
    wire.rt = { rtv: responseType, ...(notificationUris === undefined ? {} : { nu: notificationUris }) };
  }
  if (filterCriteria !== undefined) {
    const { attributes, ...criteria } = filterCriteria;
    wire.fc = toWire(filterShape, { ...criteria, ...attributes }, 0);
  }
  return wire;
}

/** Throws `DecodeError` when a parameter that every request needs is missing or of the wrong kind. */
export function decodeRequest(wire: unknown): RequestPrimitive {
  return requestOf(fromWire(requestNames, objectOf(wire, 'request primitive'), 0));
}

/**
 * A request as it lies, decoded, in another body (`requestPrimitive` of a polling channel, TS-0004 7.4.22), where its
 * response type and filter are objects; checked like `decodeRequest`.
 */
export function requestOf(nested: unknown): RequestPrimitive {
  const object = objectOf(nested, 'request primitive');
  const { responseType, filterCriteria, ...rest } = object;
  const request: WireObject = { ...rest };
  requireText(request, 'requestIdentifier', 'rqi');
  requireText(request, 'to', 'to');
  const { operation } = request;
  if (typeof operation !== 'number' || !(operation in operationNames))
    throw new DecodeError('request primitive: op is missing or none of 1 to 5');
  checkParameters(request, 'request primitive');
  if (responseType !== undefined && responseType !== null) {
    const { responseTypeValue, notificationUri } = objectOf(responseType, 'request primitive, rt');
    if (typeof responseTypeValue === 'number') request.responseType = responseTypeValue;
    if (isTextList(notificationUri)) request.notificationUris = notificationUri;
  }
  if (filterCriteria !== undefined && filterCriteria !== null) {
    // A filter that is passed over would make a discovery return everything.
    request.filterCriteria = decodeFilterCriteria(objectOf(filterCriteria, 'request primitive, fc'));
  }
  return request as unknown as RequestPrimitive;
}

/** The content that carries a request inside another body; `requestOf` is its inverse. */
export function nestedRequest(request: RequestPrimitive): Pick<PrimitiveContent, 'requestPrimitive'> {
  const { responseType, notificationUris, filterCriteria, ...rest } = request;
  const { attributes, ...criteria } = filterCriteria ?? {};
  return {
    requestPrimitive: {
      ...rest,
      ...(responseType === undefined
        ? {}
        : { responseType: { responseTypeValue: responseType, notificationUri: notificationUris } }),
      ...(filterCriteria === undefined ? {} : { filterCriteria: { ...criteria, ...attributes } }),
    },
  };
}

/** A whole response primitive as one object. */
export function encodeResponse(response: ResponsePrimitive): WireObject {
  return toWire(responseNames, response, 0) as WireObject;
}

/** Throws `DecodeError` when there is no response status code. */
export function decodeResponse(wire: unknown): ResponsePrimitive {
  return responseOf(fromWire(responseNames, objectOf(wire, 'response primitive'), 0));
}

/**
 * A response as it lies, decoded, in another body (aggregated answers, results of non-blocking requests). What lies in a
 * body need not name the request it answers; `requestIdentifier` is then empty.
 */
export function nestedResponse(nested: unknown): ResponsePrimitive {
  return responseOf({ requestIdentifier: '', ...objectOf(nested, 'response primitive') });
}

function responseOf(nested: unknown): ResponsePrimitive {
  const response = { ...objectOf(nested, 'response primitive') };
  if (!Number.isInteger(response.responseStatusCode)) {
    throw new DecodeError('response primitive: rsc is missing or no whole number');
  }
  requireText(response, 'requestIdentifier', 'rqi');
  checkParameters(response, 'response primitive');
  return response as unknown as ResponsePrimitive;
}

/** The octets of a body. */
export function encodeBody(wire: unknown, serialisation: Serialisation): Uint8Array {
  return serialisation === 'cbor' ? encodeCbor(wire) : Buffer.from(JSON.stringify(wire));
}

/** A body from its octets; throws `DecodeError` naming the format and showing the first octets. */
export function decodeBody(data: Uint8Array, serialisation: Serialisation): unknown {
  if (data.length > bodyBytesMax) {
    throw new DecodeError(`body of ${data.length} bytes; at most ${bodyBytesMax} are accepted`);
  }
  if (serialisation === 'cbor') return decodeCbor(data);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(data));
  } catch (cause) {
    throw new DecodeError(`body is not JSON: ${errorText(cause)} (${hexExcerpt(data)})`, { cause });
  }
  checkDepth(value, 0);
  return value;
}

/** Filter criteria from wire names, attribute filters gathered under `attributes`. */
function decodeFilterCriteria(wire: WireObject): FilterCriteria {
  const known: WireObject = {};
  const attributes: Record<string, string[]> = {};
  for (const [name, value] of Object.entries(wire)) {
    if (Object.hasOwn(filterShape, name)) known[name] = value;
    else if (name !== '__proto__') attributes[name] = textsOf(name, value);
  }
  return { ...known, ...(Object.keys(attributes).length === 0 ? {} : { attributes }) };
}

function textsOf(name: string, value: unknown): string[] {
  return (Array.isArray(value) ? value : [value]).map((item: unknown) => {
    // An object may have a `toString` of its own, which is anything but a function.
    if (isContainer(item)) throw new DecodeError(`request primitive, fc: ${printable(name, 40)} is no text`);
    return String(item);
  });
}

const filterShape: Shape = requestNames.filterCriteria?.[1]?.() ?? {};

const reversed = new WeakMap<Shape, Map<string, string>>();

function longNames(shape: Shape): Map<string, string> {
  let names = reversed.get(shape);
  if (names === undefined) {
    names = new Map(Object.entries(shape).map(([long, [short]]) => [short, long]));
    reversed.set(shape, names);
  }
  return names;
}

function toWire(shape: Shape, value: unknown, depth: number): unknown {
  if (depth >= bodyDepthMax && isContainer(value)) throw new EncodeError(`nesting over ${bodyDepthMax}`);
  if (Array.isArray(value)) return value.map((item) => toWire(shape, item, depth + 1));
  if (!isObject(value)) return plain(value);
  const wire: WireObject = {};
  for (const [long, inner] of Object.entries(value)) {
    // Assigned, `__proto__` would become the prototype instead of a name.
    if (inner === undefined || long === '__proto__') continue;
    const named = Object.hasOwn(shape, long) ? shape[long] : undefined;
    // Child resources come as lists; anything else under such a name is a custom attribute of that name.
    const isCustom = isResource(shape) && named?.[0].startsWith('m2m:') === true && !Array.isArray(inner);
    const entry = isCustom ? undefined : named;
    const short = entry?.[0] ?? long;
    const innerShape =
      entry?.[1]?.() ?? (entry === undefined && isCustomRoot(shape, long, inner) ? customShape : undefined);
    wire[short] =
      innerShape === undefined ? plainDeep(inner, depth + 1) : toWire(innerShape, inner, depth + 1);
  }
  return wire;
}

function fromWire(shape: Shape, value: unknown, depth: number): unknown {
  if (Array.isArray(value)) return value.map((item) => fromWire(shape, item, depth + 1));
  if (!isObject(value)) return value;
  const names = longNames(shape);
  const decoded: WireObject = {};
  for (const [short, inner] of Object.entries(value)) {
    const long = names.get(short) ?? short;
    if (long === '__proto__') continue;
    const known = Object.hasOwn(shape, long) ? shape[long] : undefined;
    const innerShape =
      known?.[1]?.() ?? (known === undefined && isCustomRoot(shape, long, inner) ? customShape : undefined);
    const value = innerShape === undefined ? inner : fromWire(innerShape, inner, depth + 1);
    decoded[long] = setRight(known?.[2], value);
  }
  return decoded;
}

/** A value of the kind that is meant, where what came shows it; as it came otherwise. */
function setRight(kind: ValueKind | undefined, value: unknown): unknown {
  if (kind === undefined || value === null || value === undefined) return value;
  switch (kind) {
    case 'number':
      return numberIn(value);
    case 'flag':
      return value === 'true' ? true : value === 'false' ? false : value;
    case 'texts':
      return typeof value === 'string' ? [value] : value;
    case 'numbers':
      return Array.isArray(value)
        ? value.map(numberIn)
        : typeof value === 'object'
          ? value
          : [numberIn(value)];
    case 'list':
      return Array.isArray(value) ? value : [value];
  }
}

function numberIn(value: unknown): unknown {
  return typeof value === 'string' && /^-?\d{1,15}$/u.test(value) ? Number(value) : value;
}

// A flexContainer specialisation: its root is not in the table, its standard attributes are.
const customShape: Shape = specialisationNames;
const resourceShape: Shape = rootNames.container?.[1]?.() ?? {};

function isResource(shape: Shape): boolean {
  return shape === resourceShape || shape === customShape;
}

/** True for the root of a specialisation: at the top of a body, or as a list among the children of a resource. */
function isCustomRoot(shape: Shape, name: string, value: unknown): boolean {
  if (shape === rootNames) return true;
  if (shape === wrapperNames) return name !== 'uri';
  return isResource(shape) && name.includes(':') && Array.isArray(value);
}

function plainDeep(value: unknown, depth: number): unknown {
  if (depth >= bodyDepthMax && isContainer(value)) throw new EncodeError(`nesting over ${bodyDepthMax}`);
  if (Array.isArray(value)) return value.map((item) => plainDeep(item, depth + 1));
  if (!isObject(value)) return plain(value);
  const result: WireObject = {};
  for (const [name, inner] of Object.entries(value)) {
    if (inner !== undefined && name !== '__proto__') result[name] = plainDeep(inner, depth + 1);
  }
  return result;
}

function plain(value: unknown): unknown {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value;
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  throw new EncodeError(
    `a value of type ${typeof value} has no oneM2M form; use text, number, boolean, array or object`,
  );
}

function isContainer(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

function isObject(value: unknown): value is WireObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function objectOf(value: unknown, what: string): WireObject {
  if (!isObject(value))
    throw new DecodeError(
      `${what}: an object is expected, not ${Array.isArray(value) ? 'an array' : typeof value}`,
    );
  return value;
}

const operationNames: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(Operation).map(([name, code]) => [code, name]),
);

/** Optional parameters of a kind nobody can work with are refused; `null` counts as absent. */
function checkParameters(primitive: WireObject, what: string): void {
  for (const [name, value] of Object.entries(primitive)) {
    if (value === null) delete primitive[name];
    else if (name === 'primitiveContent') objectOf(value, `${what}, pc`);
    else if (textParameters.has(name) && typeof value !== 'string') {
      throw new DecodeError(`${what}: ${name} is no text`);
    } else if (numberParameters.has(name) && typeof value !== 'number') {
      throw new DecodeError(`${what}: ${name} is no number`);
    }
  }
}

const textParameters = new Set([
  'to',
  'from',
  'releaseVersionIndicator',
  'requestExpirationTimestamp',
  'resultExpirationTimestamp',
  'operationExecutionTime',
  'originatingTimestamp',
  'groupRequestIdentifier',
]);

const numberParameters = new Set(['resourceType', 'resultContent', 'eventCategory', 'discoveryResultType']);

function isTextList(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

function requireText(object: WireObject, long: string, short: string): void {
  if (typeof object[long] !== 'string') throw new DecodeError(`primitive: ${short} is missing or no text`);
}

function checkDepth(value: unknown, depth: number): void {
  if (!isContainer(value)) return;
  if (depth >= bodyDepthMax) throw new DecodeError(`body nests over ${bodyDepthMax} deep`);
  for (const inner of Object.values(value)) checkDepth(inner, depth + 1);
}
