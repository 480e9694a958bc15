import { assert } from '../../base/assert.ts';
import { ResourceType } from '../../onem2m/enums.ts';

/** Attributes of a stored resource by long name. */
export type Attributes = Record<string, unknown>;

/** A resource as the testbed CSE holds it. */
export interface StoredResource {
  readonly type: number;
  /** Root element of its representation. */
  readonly root: string;
  readonly id: string;
  readonly name: string;
  readonly parent: StoredResource | undefined;
  readonly attributes: Attributes;
  readonly children: Map<string, StoredResource>;
  /** contentInstances, timeSeriesInstances or flexContainerInstances, oldest first. */
  readonly instances: StoredResource[];
  /** The subscriptions among the children, in order of creation. */
  readonly subscriptions: Set<StoredResource>;
  /** The originator whose CREATE made it, whether or not the attribute `creator` was asked for. */
  readonly createdBy: string;
  /** Monotonic time at which the CREATE arrived, in ms. */
  readonly arrivalMs: number;
}

/** The resources of one CSE with both of their addresses (TS-0001 9.3.1: structured and unstructured). */
export class ResourceTree {
  readonly root: StoredResource;
  readonly #byId = new Map<string, StoredResource>();

  constructor(root: StoredResource) {
    this.root = root;
    this.#byId.set(root.id, root);
  }

  /** Resources held, the CSEBase included. */
  get size(): number {
    return this.#byId.size;
  }

  byId(id: string): StoredResource | undefined {
    return this.#byId.get(id);
  }

  /** The resource at a structured path whose first segment is the name of the CSEBase. */
  byPath(segments: readonly string[]): StoredResource | undefined {
    const [first, ...rest] = segments;
    if (first !== this.root.name) return undefined;
    let resource: StoredResource | undefined = this.root;
    for (const segment of rest) resource = resource?.children.get(segment);
    return resource;
  }

  /** True while the resource has not been removed. */
  holds(resource: StoredResource): boolean {
    return this.#byId.get(resource.id) === resource;
  }

  add(resource: StoredResource): void {
    const { parent } = resource;
    assert(parent !== undefined && this.holds(parent), `the parent of ${resource.name} is not in the tree`);
    assert(!parent.children.has(resource.name), `${resource.name} exists already`);
    assert(!this.#byId.has(resource.id), `${resource.id} exists already`);
    parent.children.set(resource.name, resource);
    this.#byId.set(resource.id, resource);
    if (isInstance(resource.type)) parent.instances.push(resource);
    if (resource.type === ResourceType.subscription) parent.subscriptions.add(resource);
  }

  /** Removes a resource with everything below it; returns what was removed, deepest first, itself last. */
  remove(resource: StoredResource): StoredResource[] {
    const { parent } = resource;
    assert(parent !== undefined, 'the CSEBase cannot be removed');
    const removed = [...descendants(resource)].reverse();
    removed.push(resource);
    for (const each of removed) this.#byId.delete(each.id);
    parent.children.delete(resource.name);
    parent.subscriptions.delete(resource);
    if (isInstance(resource.type)) {
      const index = parent.instances[0] === resource ? 0 : parent.instances.indexOf(resource);
      parent.instances.splice(index, 1);
    }
    return removed;
  }

  /** Every resource, parents before children. */
  *all(): Generator<StoredResource> {
    yield this.root;
    yield* descendants(this.root);
  }
}

/** Everything below a resource, parents before children, in order of creation. */
export function* descendants(resource: StoredResource): Generator<StoredResource> {
  for (const child of resource.children.values()) {
    yield child;
    yield* descendants(child);
  }
}

/** The structured CSE-relative address, `cse-mn1/gw1/data`. */
export function structuredPath(resource: StoredResource): string {
  const names: string[] = [];
  for (let each: StoredResource | undefined = resource; each !== undefined; each = each.parent) {
    names.unshift(each.name);
  }
  return names.join('/');
}

/** True for the types of which a parent keeps an ordered history with `latest` and `oldest`. */
export function isInstance(type: number): boolean {
  return (
    type === ResourceType.contentInstance ||
    type === ResourceType.timeSeriesInstance ||
    type === ResourceType.flexContainerInstance
  );
}

/** The list of texts behind an attribute, empty when the attribute is absent. */
export function textsOf(resource: StoredResource, name: string): string[] {
  const value = resource.attributes[name];
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}

/** The text behind an attribute, undefined when absent. */
export function textOf(resource: StoredResource, name: string): string | undefined {
  const value = resource.attributes[name];
  return typeof value === 'string' ? value : undefined;
}

/** The number behind an attribute, undefined when absent. */
export function numberOf(resource: StoredResource, name: string): number | undefined {
  const value = resource.attributes[name];
  return typeof value === 'number' ? value : undefined;
}
