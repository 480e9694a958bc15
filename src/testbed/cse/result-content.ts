import {
  FilterUsage,
  Operation,
  ResourceType,
  ResponseStatusCode,
  ResultContent,
} from '../../onem2m/enums.ts';
import type { ResourceReference } from '../../onem2m/common-attributes.ts';
import { shortAttributeName } from '../../onem2m/names.ts';
import { encodeTimestamp } from '../../onem2m/primitives.ts';
import type { RequestPrimitive } from '../../onem2m/primitives.ts';
import type { PrimitiveContent } from '../../onem2m/resources.ts';
import type { CseCore, IncomingRequest } from './cse-core.ts';
import { select } from './discovery.ts';
import { badRequest, refuse } from './refusal.ts';
import { numberOf } from './resource-tree.ts';
import type { Attributes, StoredResource } from './resource-tree.ts';
import { addressOf } from './target.ts';

const rcn = ResultContent;

/** Result contents an operation allows, its default first (TS-0001 8.1.2 table 8.1.2-4). */
const allowed: Readonly<Record<number, readonly number[]>> = {
  [Operation.create]: [
    rcn.attributes,
    rcn.nothing,
    rcn.hierarchicalAddress,
    rcn.hierarchicalAddressAndAttributes,
    rcn.modifiedAttributes,
  ],
  [Operation.retrieve]: [
    rcn.attributes,
    rcn.attributesAndChildResources,
    rcn.attributesAndChildResourceReferences,
    rcn.childResourceReferences,
    rcn.childResources,
  ],
  [Operation.update]: [rcn.attributes, rcn.nothing, rcn.modifiedAttributes],
  [Operation.delete]: [
    rcn.nothing,
    rcn.attributes,
    rcn.attributesAndChildResources,
    rcn.attributesAndChildResourceReferences,
    rcn.childResourceReferences,
    rcn.childResources,
  ],
  [Operation.notify]: [rcn.nothing],
};
const allowedInDiscovery: readonly number[] = [rcn.discoveryResultReferences, rcn.childResourceReferences];

/** The result content a request asks for, or the default of its operation; 4000 for one that is not allowed there. */
export function resultContentOf(request: RequestPrimitive): number {
  const isDiscovery = isDiscoveryRequest(request);
  const options = isDiscovery ? allowedInDiscovery : (allowed[request.operation] ?? []);
  const wanted = request.resultContent;
  if (wanted === undefined) return options[0] ?? rcn.nothing;
  if (options.includes(wanted)) return wanted;
  return badRequest(
    `result content (rcn) ${wanted} is not allowed here; ${options.join(', ')} ${isDiscovery ? '(discovery)' : ''}`.trim(),
  );
}

/** True for RETRIEVE with `filterUsage` discovery. */
export function isDiscoveryRequest(request: RequestPrimitive): boolean {
  return (
    request.operation === Operation.retrieve && request.filterCriteria?.filterUsage === FilterUsage.discovery
  );
}

/** Body of the answer to a CREATE or UPDATE; `sent` is what the originator gave. */
export function contentAfterWrite(
  core: CseCore,
  resource: StoredResource,
  resultContent: number,
  options: { sent: Attributes; isSpRelative: boolean },
): PrimitiveContent | undefined {
  const uri = addressOf(core, resource, options.isSpRelative);
  switch (resultContent) {
    case rcn.nothing:
      return undefined;
    case rcn.hierarchicalAddress:
      return { uri };
    case rcn.hierarchicalAddressAndAttributes:
      return { resourceWrapper: { uri, ...representation(core, resource) } };
    case rcn.modifiedAttributes: {
      const own = Object.entries(attributesOf(core, resource)).filter(
        ([name, value]) => !isSame(options.sent[name], value),
      );
      return { [resource.root]: Object.fromEntries(own) };
    }
    default:
      return representation(core, resource);
  }
}

/** Body of the answer to a RETRIEVE or DELETE, children filtered by what the originator may read. */
export function contentOfResource(
  core: CseCore,
  incoming: IncomingRequest,
  resource: StoredResource,
  options: { resultContent: number; isSpRelative: boolean },
): PrimitiveContent | undefined {
  const { request } = incoming;
  switch (options.resultContent) {
    case rcn.nothing:
      return undefined;
    case rcn.attributesAndChildResources:
      return { [resource.root]: { ...attributesOf(core, resource), ...children(core, incoming, resource) } };
    case rcn.childResources:
      return { [resource.root]: children(core, incoming, resource) };
    case rcn.attributesAndChildResourceReferences: {
      const childResource = references(core, incoming, resource, options.isSpRelative);
      return { [resource.root]: { ...attributesOf(core, resource), childResource } };
    }
    case rcn.childResourceReferences:
      return {
        resourceReferenceList: {
          resourceReference: references(core, incoming, resource, options.isSpRelative),
        },
      };
    default:
      return { [resource.root]: pick(attributesOf(core, resource), request.attributeList) };
  }
}

/** A reference as `rcn` 5 and 6 list it (TS-0004 6.3.5.29 `m2m:childResourceRef`). */
export function childReference(resource: StoredResource, address: string): ResourceReference {
  return { name: resource.name, type: resource.type, value: address };
}

function representation(core: CseCore, resource: StoredResource): PrimitiveContent {
  return { [resource.root]: attributesOf(core, resource) };
}

/** A copy of the attributes, times that are computed when read filled in. */
function attributesOf(core: CseCore, resource: StoredResource): Attributes {
  const attributes = { ...resource.attributes };
  if (resource.type === ResourceType.cseBase) attributes.currentTime = encodeTimestamp(core.clock.unixMs());
  return attributes;
}

function pick(attributes: Attributes, names: readonly string[] | undefined): Attributes {
  if (names === undefined) return attributes;
  const kept = Object.entries(attributes).filter(
    ([name]) => names.includes(name) || names.includes(shortAttributeName(name)),
  );
  if (kept.length === 0) badRequest(`none of the attributes ${names.join(', ')} is present`);
  return Object.fromEntries(kept);
}

/** Child resources nested under their root elements, a list per root (TS-0004 7.4.1 `rcn` 4 and 8). */
function children(core: CseCore, incoming: IncomingRequest, resource: StoredResource): Attributes {
  const wanted = new Set(select(core, incoming, resource, 'retrieve'));
  const gather = (parent: StoredResource): Attributes => {
    const nested: Record<string, unknown[]> = {};
    for (const child of parent.children.values()) {
      const below = gather(child);
      if (!wanted.has(child)) continue;
      (nested[child.root] ??= []).push({ ...attributesOf(core, child), ...below });
    }
    return nested;
  };
  return gather(resource);
}

function references(
  core: CseCore,
  incoming: IncomingRequest,
  resource: StoredResource,
  isSpRelative: boolean,
): ResourceReference[] {
  const found = select(core, incoming, resource, 'retrieve');
  return found.map((each) => childReference(each, addressOf(core, each, isSpRelative)));
}

function isSame(a: unknown, b: unknown): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

/** Refuses reading instances of a container whose retrieval is disabled (TS-0001 9.6.6 `disableRetrieval`). */
export function requireRetrievable(resource: StoredResource): void {
  const { parent } = resource;
  if (resource.type === ResourceType.contentInstance && parent?.attributes.disableRetrieval === true) {
    refuse(ResponseStatusCode.operationNotAllowed, `retrieval is disabled in container ${parent.name}`);
  }
}

/** The latest or oldest instance; 4004 when there is none. */
export function virtualInstance(resource: StoredResource, virtual: 'latest' | 'oldest'): StoredResource {
  const instance = virtual === 'latest' ? resource.instances.at(-1) : resource.instances[0];
  if (instance !== undefined) return instance;
  return refuse(
    ResponseStatusCode.notFound,
    `${resource.name} has no instances (${numberOf(resource, 'currentNrOfInstances') ?? 0})`,
  );
}
