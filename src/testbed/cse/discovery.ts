import { attributeNames, shortAttributeName } from '../../onem2m/names.ts';
import { parseTimestamp } from '../../onem2m/primitives.ts';
import type { FilterCriteria } from '../../onem2m/primitives.ts';
import { isAllowed, matchesWildcard } from './access-control.ts';
import type { CseCore, IncomingRequest } from './cse-core.ts';
import { badRequest } from './refusal.ts';
import { textOf, textsOf } from './resource-tree.ts';
import type { StoredResource } from './resource-tree.ts';

/** Criteria that arrive under their wire names and are not attributes of resources. */
const unsupported: readonly string[] = [
  ...['sts', 'stb', 'exb', 'exa', 'sza', 'szb', 'catr', 'patr', 'chty', 'pty', 'clbl', 'palb', 'smf'],
];

/**
 * The resources below `root` that match the filter and on which the originator has the privilege, parents before
 * children (TS-0001 10.2.6, TS-0004 7.3.3.17). Offset and limit apply to what remains.
 */
export function select(
  core: CseCore,
  incoming: IncomingRequest,
  root: StoredResource,
  operation: 'discovery' | 'retrieve',
): StoredResource[] {
  const filter = wellFormed(incoming.request.filterCriteria ?? {});
  const matches = matcher(filter);
  const levelMax = filter.level ?? Number.POSITIVE_INFINITY;
  const offset = filter.offset ?? 0;
  const limit = filter.limit ?? Number.POSITIVE_INFINITY;
  const found: StoredResource[] = [];
  let skipped = 0;
  const visit = (parent: StoredResource, level: number): void => {
    for (const child of parent.children.values()) {
      if (found.length >= limit) return;
      if (matches(child) && isAllowed(core, incoming.originator, operation, child)) {
        if (skipped < offset) skipped++;
        else found.push(child);
      }
      if (level < levelMax && child.children.size > 0) visit(child, level + 1);
    }
  };
  visit(root, 1);
  return found;
}

/** Lists of one may come as the value itself; anything else than lists of the right kind is 4000. */
function wellFormed(filter: FilterCriteria): FilterCriteria {
  const given: Record<string, unknown> = { ...filter };
  for (const name of ['resourceType', 'labels', 'contentFilterType']) {
    const value = given[name];
    if (value === undefined) continue;
    const list: unknown[] = Array.isArray(value) ? value : [value];
    const kind = name === 'resourceType' ? 'number' : 'string';
    if (!list.every((each) => typeof each === kind))
      badRequest(`filter criterion ${name} must hold ${kind}s`);
    given[name] = list;
  }
  for (const name of ['level', 'offset', 'limit']) {
    const value = given[name];
    if (value !== undefined && typeof value !== 'number')
      badRequest(`filter criterion ${name} must be a number`);
  }
  for (const name of ['createdBefore', 'createdAfter', 'modifiedSince', 'unmodifiedSince']) {
    const value = given[name];
    if (value !== undefined && typeof value !== 'string')
      badRequest(`filter criterion ${name} must be a time`);
  }
  return given;
}

function matcher(filter: FilterCriteria): (resource: StoredResource) => boolean {
  const conditions = [...timeConditions(filter)];
  const { resourceType, labels, contentFilterType, attributes } = filter;
  if (resourceType !== undefined) conditions.push((each) => resourceType.includes(each.type));
  if (labels !== undefined) {
    conditions.push((each) => textsOf(each, 'labels').some((label) => labels.includes(label)));
  }
  if (contentFilterType !== undefined) {
    conditions.push((each) => contentFilterType.includes(textOf(each, 'contentInfo') ?? ''));
  }
  for (const [name, patterns] of Object.entries(attributes ?? {})) {
    conditions.push(attributeCondition(name, patterns));
  }
  return (resource) => conditions.every((condition) => condition(resource));
}

function attributeCondition(
  name: string,
  patterns: readonly string[],
): (resource: StoredResource) => boolean {
  if (unsupported.includes(name)) return badRequest(`filter criterion ${name} is not supported`);
  if (name === 'fo') {
    return patterns.every((each) => each === '1')
      ? () => true
      : badRequest('filter operation (fo) other than 1 (AND) is not supported');
  }
  const long = longName(name);
  return (resource) => {
    const value = resource.attributes[long];
    if (value === undefined || value === null) return false;
    const texts = (Array.isArray(value) ? value : [value]).map((each) =>
      typeof each === 'object' ? JSON.stringify(each) : String(each),
    );
    return texts.some((text) => patterns.some((pattern) => matchesWildcard(pattern, text)));
  };
}

function* timeConditions(filter: FilterCriteria): Generator<(resource: StoredResource) => boolean> {
  const { createdBefore, createdAfter, modifiedSince, unmodifiedSince } = filter;
  if (createdBefore !== undefined) {
    const limitMs = timeOf('crb', createdBefore);
    yield (each) => attributeTimeMs(each, 'creationTime') < limitMs;
  }
  if (createdAfter !== undefined) {
    const limitMs = timeOf('cra', createdAfter);
    yield (each) => attributeTimeMs(each, 'creationTime') > limitMs;
  }
  if (modifiedSince !== undefined) {
    const limitMs = timeOf('ms', modifiedSince);
    yield (each) => attributeTimeMs(each, 'lastModifiedTime') > limitMs;
  }
  if (unmodifiedSince !== undefined) {
    const limitMs = timeOf('us', unmodifiedSince);
    yield (each) => attributeTimeMs(each, 'lastModifiedTime') < limitMs;
  }
}

function timeOf(name: string, text: string): number {
  return parseTimestamp(text) ?? badRequest(`filter criterion ${name}: "${text}" is no time YYYYMMDDTHHMMSS`);
}

function attributeTimeMs(resource: StoredResource, name: string): number {
  return parseTimestamp(textOf(resource, name) ?? '') ?? Number.NaN;
}

const longNames = new Map(Object.keys(attributeNames).map((long) => [shortAttributeName(long), long]));

/** Attribute filters use wire names; custom attributes have no other. */
function longName(wireName: string): string {
  return longNames.get(wireName) ?? wireName;
}
