import { millis } from '../../base/units.ts';
import { sleep } from '../../host/clock.ts';
import { randomHex } from '../../host/entropy.ts';
import { Operation, ResourceType, ResponseStatusCode, isSuccess } from '../../onem2m/enums.ts';
import type { ResourceType as ResourceTypeValue } from '../../onem2m/enums.ts';
import { shortAttributeName } from '../../onem2m/names.ts';
import type { RequestPrimitive, ResponsePrimitive } from '../../onem2m/primitives.ts';
import { announcedVariant, typePolicies } from './attribute-table.ts';
import type { CseCore, ResourceChange } from './cse-core.ts';
import type { Delivery } from './delivery.ts';
import { textsOf } from './resource-tree.ts';
import type { Attributes, StoredResource } from './resource-tree.ts';
import { findLocal } from './target.ts';

const attemptsMax = 60;

/** Answers after which another attempt may fare better: the other CSE cannot be reached or does not know us yet. */
const passing: readonly number[] = [
  ResponseStatusCode.targetNotReachable,
  ResponseStatusCode.requestTimeout,
  ResponseStatusCode.originatorHasNoPrivilege,
];

/**
 * Announced copies at other CSEs (TS-0001 9.6.26, 10.2.18): made in the background after the original, kept in step,
 * removed with it. `announceTo` names a CSE until the copy exists and then the copy.
 */
export class Announcer {
  readonly #core: CseCore;
  readonly #delivery: Delivery;
  readonly #lanes = new Map<string, Promise<void>>();
  /** The copies that exist, by the original's ID: an UPDATE of `announceTo` says only what is wanted. */
  readonly #known = new Map<string, string[]>();

  constructor(core: CseCore, delivery: Delivery) {
    this.#core = core;
    this.#delivery = delivery;
    for (const resource of core.tree.all()) {
      const copies = copiesOf(resource);
      if (copies.length > 0) this.#known.set(resource.id, copies);
    }
  }

  /** Called for every change, after it was made. */
  observe(change: ResourceChange): void {
    const { resource } = change;
    switch (change.kind) {
      case 'created':
        if (textsOf(resource, 'announceTo').length > 0) this.#inOrder(resource, () => this.#create(resource));
        break;
      case 'updated':
        this.#updated(resource, change.modified);
        break;
      case 'deleted':
        for (const removed of change.removed) {
          if (this.#isConcerned(removed)) this.#inOrder(removed, () => this.#removeAll(removed));
        }
        break;
    }
  }

  #updated(resource: StoredResource, modified: readonly string[]): void {
    if (!this.#isConcerned(resource)) return;
    this.#inOrder(resource, async () => {
      const wanted = textsOf(resource, 'announceTo');
      const existing = this.#known.get(resource.id) ?? [];
      const keeps = (copy: string): boolean => wanted.some((each) => cseOf(each) === cseOf(copy));
      for (const copy of existing.filter((each) => !keeps(each))) await this.#delete(copy);
      const kept = existing.filter(keeps);
      this.#remember(resource, kept);
      if (wanted.length > 0) {
        resource.attributes.announceTo = wanted.map(
          (each) => kept.find((copy) => cseOf(copy) === cseOf(each)) ?? each,
        );
      }
      await this.#create(resource);
      for (const copy of kept) await this.#synchronise(resource, copy, modified);
    });
  }

  /** It has copies, wants some, or one is being made that nobody wants any more. */
  #isConcerned(resource: StoredResource): boolean {
    const { length: known } = this.#known.get(resource.id) ?? [];
    return known > 0 || textsOf(resource, 'announceTo').length > 0 || this.#lanes.has(resource.id);
  }

  /** Makes the copies that are still missing. */
  async #create(resource: StoredResource): Promise<void> {
    const variant = announcedVariant(resource.type);
    if (variant === undefined) return;
    for (const target of textsOf(resource, 'announceTo').filter((each) => !isCopy(each))) {
      const created = await this.#persist(
        () => this.#announce(resource, target, variant),
        () => this.#core.tree.holds(resource),
      );
      if (created === undefined) continue;
      const id = resourceIdOf(created);
      if (id === undefined) continue;
      const copy = `${target}/${id}`;
      // Also when the original went meanwhile: its removal comes next.
      this.#known.set(resource.id, [...(this.#known.get(resource.id) ?? []), copy]);
      const wanted = textsOf(resource, 'announceTo');
      if (!wanted.includes(target)) continue;
      resource.attributes.announceTo = wanted.map((each) => (each === target ? copy : each));
    }
  }

  async #announce(
    resource: StoredResource,
    target: string,
    variant: number,
  ): Promise<ResponsePrimitive | undefined> {
    const { parent } = resource;
    const aboveCopy = parent === undefined ? undefined : copiesOf(parent).find((c) => cseOf(c) === target);
    const to = aboveCopy ?? (await this.#announcedBase(target));
    if (to === undefined) return undefined;
    const root = typePolicies.get(variant)?.root ?? `${resource.root}Annc`;
    return this.#call(target, {
      operation: Operation.create,
      to,
      resourceType: variant as ResourceTypeValue,
      primitiveContent: {
        [root]: { ...announcedAttributes(this.#core, resource), link: this.#linkTo(resource) },
      },
    });
  }

  /** The CSEBaseAnnc of this CSE at `target`, made when it is not there yet. */
  async #announcedBase(target: string): Promise<string | undefined> {
    const { root } = this.#core.tree;
    const name = `${this.#core.settings.cseId.slice(1)}Annc`;
    const created = await this.#call(target, {
      operation: Operation.create,
      to: target,
      resourceType: ResourceType.cseBaseAnnc,
      primitiveContent: {
        cseBaseAnnc: {
          resourceName: name,
          link: this.#linkTo(root),
          labels: textsOf(root, 'labels'),
          supportedReleaseVersions: textsOf(root, 'supportedReleaseVersions'),
        },
      },
    });
    const code = created?.responseStatusCode;
    return code === ResponseStatusCode.created || code === ResponseStatusCode.conflict
      ? `${target}/-/${name}`
      : undefined;
  }

  async #synchronise(resource: StoredResource, copy: string, modified: readonly string[]): Promise<void> {
    const attributes = announcedAttributes(this.#core, resource);
    const concerned = modified.includes('announcedAttribute')
      ? Object.keys(typePolicies.get(resource.type)?.attributes ?? {})
      : modified;
    const changes: Attributes = {};
    for (const name of concerned) {
      if (Object.hasOwn(attributes, name)) changes[name] = attributes[name];
      else if (isAnnounceable(resource, name)) changes[name] = null;
    }
    if (Object.keys(changes).length === 0) return;
    const variant = announcedVariant(resource.type) ?? 0;
    const root = typePolicies.get(variant)?.root ?? `${resource.root}Annc`;
    const response = await this.#persist(
      () =>
        this.#call(cseOf(copy), {
          operation: Operation.update,
          to: copy,
          primitiveContent: { [root]: changes },
        }),
      () => this.#core.tree.holds(resource),
    );
    if (response?.responseStatusCode !== ResponseStatusCode.notFound) return;
    // The other CSE lost the copy: it is made again.
    this.#remember(
      resource,
      (this.#known.get(resource.id) ?? []).filter((each) => each !== copy),
    );
    resource.attributes.announceTo = textsOf(resource, 'announceTo').map((each) =>
      each === copy ? cseOf(copy) : each,
    );
    await this.#create(resource);
  }

  async #removeAll(resource: StoredResource): Promise<void> {
    // An UPDATE just before may have taken the copies out of `announceTo`.
    const copies = new Set([...(this.#known.get(resource.id) ?? []), ...copiesOf(resource)]);
    this.#known.delete(resource.id);
    for (const copy of copies) await this.#delete(copy);
  }

  /** Given up, it would lead to what is no longer there until it expires. */
  async #delete(copy: string): Promise<void> {
    await this.#persist(() => this.#call(cseOf(copy), { operation: Operation.delete, to: copy }));
  }

  #remember(resource: StoredResource, copies: string[]): void {
    if (this.#core.tree.holds(resource)) this.#known.set(resource.id, copies);
  }

  /** Repeats until an answer comes that is not a failure to deliver, it is not wanted any more or patience ends. */
  async #persist(
    attempt: () => Promise<ResponsePrimitive | undefined>,
    isWanted: () => boolean = () => true,
  ): Promise<ResponsePrimitive | undefined> {
    const core = this.#core;
    for (let attempts = 0; attempts < attemptsMax; attempts++) {
      if (core.lifetime.aborted || !isWanted()) return undefined;
      const response = await attempt();
      if (response !== undefined && !passing.includes(response.responseStatusCode)) return response;
      if (core.lifetime.aborted) return undefined;
      await sleep(core.clock, millis(core.settings.registrationRetryMs), core.lifetime).catch(
        () => undefined,
      );
    }
    return undefined;
  }

  #call(
    target: string,
    call: Omit<RequestPrimitive, 'requestIdentifier' | 'from'>,
  ): Promise<ResponsePrimitive> {
    const core = this.#core;
    return this.#delivery.toCse(
      target,
      {
        ...call,
        from: core.settings.cseId,
        requestIdentifier: randomHex(core.entropy, 6),
        releaseVersionIndicator: '4',
      },
      core.settings.serialisation,
    );
  }

  #linkTo(resource: StoredResource): string {
    return `${this.#core.settings.cseId}/${resource.id}`;
  }

  /** One thing at a time per resource, so that a copy never overtakes its own update. */
  #inOrder(resource: StoredResource, work: () => Promise<void>): void {
    const lane = (this.#lanes.get(resource.id) ?? Promise.resolve()).then(work).finally(() => {
      if (this.#lanes.get(resource.id) === lane) this.#lanes.delete(resource.id);
    });
    this.#lanes.set(resource.id, lane);
  }
}

/** Attributes of the class "always", and of the class "listed" when `announcedAttribute` names them. */
function announcedAttributes(core: CseCore, resource: StoredResource): Attributes {
  const attributes: Attributes = {};
  for (const [name, value] of Object.entries(resource.attributes)) {
    if (!isAnnounced(resource, name)) continue;
    attributes[name] =
      name === 'accessControlPolicyIds' && Array.isArray(value)
        ? (value as string[]).map((reference) => spRelativeId(core, reference))
        : value;
  }
  return attributes;
}

/** A reference to a resource here by its ID, so that it equals the link of that resource's own copy. */
function spRelativeId(core: CseCore, reference: string): string {
  const id = findLocal(core, reference)?.id;
  if (id !== undefined) return `${core.settings.cseId}/${id}`;
  return reference.startsWith('/') ? reference : `${core.settings.cseId}/${reference}`;
}

function isAnnounced(resource: StoredResource, name: string): boolean {
  const rule = typePolicies.get(resource.type)?.attributes[name];
  if (rule?.announce === 'always') return true;
  if (rule?.announce === 'never') return false;
  const listed = textsOf(resource, 'announcedAttribute');
  return listed.includes(shortAttributeName(name)) || listed.includes(name);
}

function isAnnounceable(resource: StoredResource, name: string): boolean {
  const policy = typePolicies.get(resource.type);
  const rule = policy?.attributes[name];
  return rule === undefined ? policy?.customAttributes === true : rule.announce !== 'never';
}

function copiesOf(resource: StoredResource): string[] {
  return textsOf(resource, 'announceTo').filter(isCopy);
}

/** `/id-in` names a CSE, `/id-in/aeA…` a copy there. */
function isCopy(entry: string): boolean {
  return entry.split('/').length > 2;
}

function cseOf(entry: string): string {
  return `/${entry.split('/')[1] ?? ''}`;
}

function resourceIdOf(response: ResponsePrimitive): string | undefined {
  if (!isSuccess(response.responseStatusCode)) return undefined;
  const [attributes] = Object.values(response.primitiveContent ?? {}) as (Attributes | undefined)[];
  return typeof attributes?.resourceId === 'string' ? attributes.resourceId : undefined;
}
