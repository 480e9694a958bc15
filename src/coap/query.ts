/**
 * Request parameters as queries of a CoAP request (TS-0008 6.2.2.3): lists join with `+`, and what would be taken for a
 * separator inside a value is escaped.
 */
import { DecodeError } from '../base/errors.ts';
import { Operation } from '../onem2m/enums.ts';
import type { FilterCriteria, RequestPrimitive } from '../onem2m/primitives.ts';

/** The parameters of a request that travel as queries. */
export function encodeQuery(request: RequestPrimitive): string[] {
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
  one('rp', request.resultPersistence);
  for (const [long, short] of flagNames) {
    const value = request[long];
    one(short, value === undefined ? undefined : String(value));
  }
  for (const [long, short] of listNames) add(short, request[long]);
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
  ['stateTagSmaller', 'sts'],
  ['stateTagBigger', 'stb'],
  ['expireBefore', 'exb'],
  ['expireAfter', 'exa'],
  ['sizeAbove', 'sza'],
  ['sizeBelow', 'szb'],
  ['contentFilterType', 'cty'],
  ['level', 'lvl'],
  ['offset', 'ofst'],
  ['limit', 'lim'],
  ['filterOperation', 'fo'],
  ['applyRelativePath', 'arp'],
  ['childLabels', 'clbl'],
  ['parentLabels', 'palb'],
  ['childResourceType', 'chty'],
  ['parentResourceType', 'pty'],
  ['childAttribute', 'catr'],
  ['parentAttribute', 'patr'],
  ['semanticsFilter', 'smf'],
] as const satisfies readonly (readonly [keyof FilterCriteria, string])[];

const queriesMax = 64;

const textFilters = new Set([
  'labels',
  'contentFilterType',
  'childLabels',
  'parentLabels',
  'childAttribute',
  'parentAttribute',
  'semanticsFilter',
]);
const typeFilters = new Set(['resourceType', 'childResourceType', 'parentResourceType']);
const numberFilters = new Set([
  'filterUsage',
  'filterOperation',
  'level',
  'offset',
  'limit',
  'stateTagSmaller',
  'stateTagBigger',
  'sizeAbove',
  'sizeBelow',
]);

/** Parameters of a request that travel as queries: truth values, and lists. */
const flagNames = [
  ['deliveryAggregation', 'da'],
  ['tokenRequestIndicator', 'tqi'],
  ['authorizationSignatureIndicator', 'asi'],
  ['authorizationRelationshipIndicator', 'auri'],
  ['semanticQueryIndicator', 'sqi'],
] as const satisfies readonly (readonly [keyof RequestPrimitive, string])[];
const listNames = [
  ['roleIds', 'rids'],
  ['tokens', 'tkns'],
  ['tokenIds', 'tids'],
  ['localTokenIds', 'ltids'],
] as const satisfies readonly (readonly [keyof RequestPrimitive, string])[];

/**
 * The parameters that queries hold; what is none of them filters by an attribute. Throws `DecodeError` for a value of the
 * wrong kind.
 */
export function decodeQuery(query: readonly string[]): Partial<RequestPrimitive> {
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
    else if (name === 'op') result.operation = operationNumber(values);
    else if (name === 'rp') result.resultPersistence = values.join('+');
    else if (flagNames.some(([, short]) => short === name)) takeFlag(result, name, values);
    else if (listNames.some(([, short]) => short === name)) takeList(result, name, values);
    else if (name === 'atrl') result.attributeList = [...(result.attributeList ?? []), ...values];
    else if (known === undefined && name === '__proto__') continue;
    else if (known === undefined)
      attributes[name] = [...(Object.hasOwn(attributes, name) ? (attributes[name] ?? []) : []), ...values];
    else if (textFilters.has(known[0]))
      filter[known[0]] = [...((filter[known[0]] as string[] | undefined) ?? []), ...values];
    else if (typeFilters.has(known[0]))
      filter[known[0]] = [
        ...((filter[known[0]] as number[] | undefined) ?? []),
        ...values.map((value) => numberOf(name, [value])),
      ];
    else if (numberFilters.has(known[0])) filter[known[0]] = numberOf(name, values);
    else filter[known[0]] = values[0];
  }
  if (Object.keys(attributes).length > 0) filter.attributes = attributes;
  if (Object.keys(filter).length > 0) result.filterCriteria = filter;
  return result;
}

function operationNumber(values: readonly string[]): RequestPrimitive['operation'] {
  const number = numberOf('op', values);
  const known = Object.values(Operation).find((each) => each === number);
  if (known === undefined) throw new DecodeError(`query op=${number} is none of 1 to 5`);
  return known;
}

function takeFlag(result: Partial<RequestPrimitive>, name: string, values: readonly string[]): void {
  const [text] = values;
  const long = flagNames.find(([, short]) => short === name)?.[0];
  if (long === undefined || values.length !== 1 || !/^(?:true|false|[01])$/u.test(text ?? '')) {
    throw new DecodeError(`query ${name}=${values.join('+').slice(0, 40)}: true or false is expected`);
  }
  result[long] = text === 'true' || text === '1';
}

function takeList(result: Partial<RequestPrimitive>, name: string, values: readonly string[]): void {
  const long = listNames.find(([, short]) => short === name)?.[0];
  if (long !== undefined) result[long] = [...(result[long] ?? []), ...values];
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
