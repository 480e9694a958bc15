import { ResourceType, ResponseStatusCode } from '../../onem2m/enums.ts';
import { encodeTimestamp, parseTimestamp } from '../../onem2m/primitives.ts';
import { typePolicies } from './attribute-table.ts';
import { removeResource, storeResource } from './cse-core.ts';
import type { CseCore } from './cse-core.ts';
import { refuse } from './refusal.ts';
import { isInstance, numberOf } from './resource-tree.ts';
import type { Attributes, StoredResource } from './resource-tree.ts';

/** Octets of a `content`: those of the text itself, or of its JSON form. */
export function contentSizeOf(content: unknown): number {
  return Buffer.byteLength(typeof content === 'string' ? content : JSON.stringify(content ?? ''));
}

/**
 * Prepares an instance for its container: size, state tag, end of life. Refuses with 5207 what is larger than the
 * container may hold, with 4105 a `dataGenerationTime` that its time series has already (TS-0001 9.6.6, 9.6.36).
 */
export function admitInstance(
  core: CseCore,
  type: number,
  parent: StoredResource,
  attributes: Attributes,
): void {
  if (!isInstance(type)) return;
  const contentSize =
    type === ResourceType.flexContainerInstance
      ? numberOf(parent, 'contentSize')
      : contentSizeOf(attributes.content ?? attributes.contentRef);
  attributes.contentSize = contentSize;
  const maxByteSize = numberOf(parent, 'maxByteSize');
  if (maxByteSize !== undefined && (contentSize ?? 0) > maxByteSize) {
    refuse(
      ResponseStatusCode.notAcceptable,
      `${contentSize} bytes of content exceed maxByteSize (mbs) ${maxByteSize}`,
    );
  }
  if (type === ResourceType.timeSeriesInstance) {
    const time = attributes.dataGenerationTime;
    if (parent.instances.some((each) => each.attributes.dataGenerationTime === time)) {
      refuse(
        ResponseStatusCode.conflict,
        `an instance with dataGenerationTime (dgt) ${String(time)} exists already`,
      );
    }
  }
  if (type === ResourceType.contentInstance) attributes.stateTag = (numberOf(parent, 'stateTag') ?? 0) + 1;
  const ageMaxS = numberOf(parent, 'maxInstanceAge');
  if (ageMaxS === undefined) return;
  const endMs = core.clock.unixMs() + ageMaxS * 1000;
  const wanted = attributes.expirationTime;
  const wantedMs = typeof wanted === 'string' ? parseTimestamp(wanted) : undefined;
  if (wantedMs === undefined || wantedMs > endMs) attributes.expirationTime = encodeTimestamp(endMs);
}

/** Evicts the oldest instances until the container keeps its limits (TS-0001 9.6.6 `maxNrOfInstances`, `maxByteSize`). */
export function makeRoom(core: CseCore, parent: StoredResource): void {
  const countMax = numberOf(parent, 'maxNrOfInstances') ?? Number.POSITIVE_INFINITY;
  const bytesMax = numberOf(parent, 'maxByteSize') ?? Number.POSITIVE_INFINITY;
  for (;;) {
    const [oldest] = parent.instances;
    if (oldest === undefined) return;
    const bytes = numberOf(parent, 'currentByteSize') ?? 0;
    if (parent.instances.length <= countMax && bytes <= bytesMax) return;
    removeResource(core, oldest);
  }
}

/** Keeps the counters of a container in step when an instance came or went. */
export function countInstance(instance: StoredResource, delta: 1 | -1): void {
  const { parent } = instance;
  if (parent === undefined) return;
  const { attributes } = parent;
  if (attributes.currentNrOfInstances === undefined) return;
  attributes.currentNrOfInstances = parent.instances.length;
  attributes.currentByteSize =
    (numberOf(parent, 'currentByteSize') ?? 0) + delta * (numberOf(instance, 'contentSize') ?? 0);
  if (attributes.stateTag !== undefined && parent.type === ResourceType.container) {
    attributes.stateTag = (numberOf(parent, 'stateTag') ?? 0) + 1;
  }
}

/** The specialisation's own attributes of a flexContainer. */
export function customAttributes(resource: StoredResource): Attributes {
  const standard = typePolicies.get(ResourceType.flexContainer)?.attributes ?? {};
  return Object.fromEntries(
    Object.entries(resource.attributes).filter(([name]) => !Object.hasOwn(standard, name)),
  );
}

/** Sets `contentSize` of a flexContainer and records the instance of its new state when it keeps a history. */
export function recordFlexContainer(core: CseCore, resource: StoredResource, by: string): void {
  const custom = customAttributes(resource);
  resource.attributes.contentSize = contentSizeOf(custom);
  if (resource.attributes.fcinEnabled !== true) return;
  const attributes: Attributes = { ...custom };
  admitInstance(core, ResourceType.flexContainerInstance, resource, attributes);
  storeResource(core, {
    type: ResourceType.flexContainerInstance,
    root: resource.root,
    parent: resource,
    attributes,
    createdBy: by,
    arrivalMs: core.clock.monotonicMs(),
  });
  makeRoom(core, resource);
}
