/**
 * The difference between the manifest of a bundle and what was read from a CSE, as requests by levels: those of a level may be
 * in flight together, those of the next need what they made. A pure function, so that it costs no request to know what is
 * missing.
 *
 * Levels of an AE that is missing: the AE; its children, but for groups; what lies below them, its rights (an AE can name an
 * ACP only once that is there) and groups, whose members must exist. An AE that is there is brought to its state in the first
 * level, beside what it lacks, and its life prolonged in the next.
 */
import type { Epoch } from '../base/units.ts';
import { Operation, ResourceType } from '../onem2m/enums.ts';
import type { Ae, PrimitiveContent } from '../onem2m/resources.ts';
import { registrationLevel } from './bundle-manifest.ts';
import type { AeManifest, BundleManifest, ResourceManifest } from './bundle-manifest.ts';

/** How far a bundle has come at a CSE. */
export type BundleState = 'prepared' | 'provisional' | 'serving' | 'moved';

/** A resource as it was read, with its children by name. */
export interface ObservedResource {
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly children: ReadonlyMap<string, ObservedResource>;
  /** Root element of its representation; absent for the resource that was asked for. */
  readonly root?: string;
}

/** What is known of an AE at a CSE: `fresh` was made a moment ago, `unread` is there, but what it holds is not known. */
export type ObservedAe = 'absent' | 'fresh' | 'unread' | ObservedResource;

/** What the bundle is to be like. */
export interface WantedBundle {
  readonly epoch: Epoch;
  readonly state: BundleState;
  /** Left as it is when absent. */
  readonly pointOfAccess?: string;
}

/** One request of a plan; `to` is CSE-relative. */
export interface RepairRequest {
  readonly operation: typeof Operation.create | typeof Operation.update;
  readonly to: string;
  /** AE-ID stem of the originator. */
  readonly from: string;
  readonly resourceType?: ResourceType;
  readonly content: PrimitiveContent;
  /** For the AE itself: its answer tells the CSE's time, or its life is prolonged from the time that was told. */
  readonly life?: 'tells' | 'prolonged';
  /** The name of the AE it belongs to. */
  readonly ae: string;
}

/** Requests by level. */
export type RepairPlan = readonly (readonly RepairRequest[])[];

/** Types of resources that a manifest can hold; instances are data, not context. */
export const contextTypes: readonly ResourceType[] = [
  ResourceType.accessControlPolicy,
  ResourceType.container,
  ResourceType.group,
  ResourceType.pollingChannel,
  ResourceType.subscription,
  ResourceType.flexContainer,
  ResourceType.timeSeries,
];

/** The requests that bring what was observed to the manifest; none when everything is there and as it should be. */
export function planRepair(
  bundle: BundleManifest,
  cseBaseName: string,
  observed: ReadonlyMap<string, ObservedAe>,
  wanted: WantedBundle,
  cseId?: string,
): RepairPlan {
  const levels: RepairRequest[][] = [];
  const add = (level: number, request: RepairRequest): void => {
    (levels[level] ??= []).push(request);
  };
  const byPriority = [...bundle.aes].sort((one, other) => other.priority - one.priority);
  for (const ae of byPriority) {
    const seen = observed.get(ae.name) ?? 'absent';
    planAe({ ae, bundle, cseBaseName, cseId, wanted, add, from: registrationLevel(bundle, ae) }, seen);
  }
  return Array.from(levels, (level) => level ?? []).filter((level) => level.length > 0);
}

/** Labels of an AE of the bundle. */
export function bundleLabels(device: string, mark: { epoch: Epoch; state: BundleState }): string[] {
  return [`baton:dev=${device}`, `baton:state=${mark.state}`, `baton:epoch=${mark.epoch}`];
}

/** The tree below an AE from an answer that carries its child resources (`rcn` 4, TS-0004 7.4.1). */
export function observedIn(representation: unknown, root?: string): ObservedResource {
  const attributes: Record<string, unknown> = {};
  const children = new Map<string, ObservedResource>();
  const fields = typeof representation === 'object' && representation !== null ? representation : {};
  for (const [key, value] of Object.entries(fields)) {
    if (!Array.isArray(value) || !value.every(isResource)) {
      attributes[key] = value;
      continue;
    }
    for (const child of value) {
      const name: unknown = Reflect.get(child, 'resourceName') ?? Reflect.get(child, 'rn');
      if (typeof name === 'string') children.set(name, observedIn(child, key));
    }
  }
  return { attributes, children, ...(root === undefined ? {} : { root }) };
}

function isResource(value: unknown): value is object {
  return typeof value === 'object' && value !== null && ('resourceName' in value || 'rn' in value);
}

interface AePlanning {
  readonly ae: AeManifest;
  readonly bundle: BundleManifest;
  readonly cseBaseName: string;
  readonly cseId: string | undefined;
  readonly wanted: WantedBundle;
  /** Level at which an AE that is missing is registered. */
  readonly from: number;
  readonly add: (level: number, request: RepairRequest) => void;
}

function planAe(planning: AePlanning, seen: ObservedAe): void {
  const { ae, bundle, cseBaseName, wanted, add, from } = planning;
  const address = `${cseBaseName}/${ae.name}`;
  const own = { from: ae.aeId, ae: ae.name };
  const present: Ae = {
    labels: [...bundleLabels(bundle.device, wanted), ...(ae.labels ?? [])],
    requestReachability: true,
    ...(wanted.pointOfAccess === undefined ? {} : { pointOfAccess: [wanted.pointOfAccess] }),
  };
  const policies = ae.policy === undefined ? [] : [`${address}/${ae.policy}`];
  const tree = typeof seen === 'string' ? undefined : seen;
  Object.assign(present, announced(planning, tree?.attributes.announceTo));
  if (seen === 'absent') {
    const content: PrimitiveContent = {
      ae: {
        resourceName: ae.name,
        appId: ae.appId,
        appName: ae.appName,
        supportedReleaseVersions: ['4'],
        contentSerialization: ['application/cbor'],
        ...present,
      },
    };
    const { create: operation } = Operation;
    add(from, { ...own, operation, to: cseBaseName, resourceType: ResourceType.ae, content, life: 'tells' });
  } else if (seen !== 'fresh') {
    const update = { ...own, operation: Operation.update, to: address } as const;
    add(0, { ...update, content: { ae: present }, life: 'tells' });
    add(1, { ...update, content: {}, life: 'prolonged' });
  }
  const childLevel = seen === 'absent' ? from + 1 : 0;
  const isPolicyThere = ae.policy !== undefined && tree?.children.has(ae.policy) === true;
  const isGoverned =
    isPolicyThere && policies.length === listOf(tree?.attributes.accessControlPolicyIds).length;
  if (policies.length > 0 && !isGoverned) {
    const content = { ae: { accessControlPolicyIds: policies } };
    add(childLevel + 1, { ...own, operation: Operation.update, to: address, content });
  }
  for (const resource of ae.resources) {
    const level = resource.resourceType === ResourceType.group ? childLevel + 1 : childLevel;
    planResource(planning, resource, { parent: address, level, governedFrom: childLevel + 1, tree });
  }
}

function planResource(
  planning: AePlanning,
  resource: ResourceManifest,
  place: {
    readonly parent: string;
    readonly level: number;
    /** Level at which the policies of the AE are there. */
    readonly governedFrom: number;
    readonly tree: ObservedResource | undefined;
  },
): void {
  const { ae, cseBaseName, add } = planning;
  const { parent, governedFrom, tree } = place;
  const seen = tree?.children.get(resource.name);
  const attributes = {
    ...located(resource.attributes, cseBaseName),
    ...(resource.isAnnounced ? announced(planning, seen?.attributes.announceTo) : {}),
  } as Record<string, unknown>;
  const { accessControlPolicyIds: policies, ...others } = attributes;
  const level =
    policies === undefined || seen !== undefined ? place.level : Math.max(place.level, governedFrom);
  const own = { from: ae.aeId, ae: ae.name };
  if (seen === undefined) {
    add(level, {
      ...own,
      operation: Operation.create,
      to: parent,
      resourceType: resource.resourceType,
      content: { [resource.root]: { resourceName: resource.name, ...attributes } },
    });
  } else {
    const update = { ...own, operation: Operation.update, to: `${parent}/${resource.name}` } as const;
    const changed = Object.entries(others).filter(
      ([name, value]) => resource.fixed?.includes(name) !== true && !holds(seen.attributes[name], value),
    );
    if (changed.length > 0)
      add(level, { ...update, content: { [resource.root]: Object.fromEntries(changed) } });
    // They change alone, and a CSE may tell them by other addresses.
    if (
      listOf(policies).length !== listOf(seen.attributes.accessControlPolicyIds).length &&
      policies !== undefined
    ) {
      add(governedFrom, { ...update, content: { [resource.root]: { accessControlPolicyIds: policies } } });
    }
  }
  const childLevel = seen === undefined ? level + 1 : level;
  for (const child of resource.children ?? []) {
    const below = { parent: `${parent}/${resource.name}`, level: childLevel, governedFrom, tree: seen };
    planResource(planning, child, below);
  }
}

/**
 * Where a resource is announced while it serves: copies that are there stay named, those of CSEs that are missing are asked for.
 * Nothing when all is as it should be.
 */
function announced(
  { ae, wanted, cseId }: Pick<AePlanning, 'ae' | 'wanted' | 'cseId'>,
  seen: unknown,
): { announceTo?: string[] } {
  const targets = wanted.state === 'serving' ? announcementsOf(ae, cseId) : [];
  const there = listOf(seen).map(String);
  const isThere = (target: string): boolean =>
    there.some((each) => each === target || each.startsWith(`${target}/`));
  if (targets.every(isThere)) return {};
  return { announceTo: [...there, ...targets.filter((target) => !isThere(target))] };
}

/** The CSEs to which an AE is announced from a CSE; none announces to itself. */
export function announcementsOf({ announceTo = [] }: AeManifest, cseId: string | undefined): string[] {
  return announceTo.filter((target) => target !== cseId);
}

/** Addresses below the CSEBase follow the CSE. */
function located(
  attributes: Readonly<Record<string, unknown>>,
  cseBaseName: string,
): Record<string, unknown> {
  const at = (value: unknown): unknown => {
    if (typeof value === 'string' && value.startsWith('./')) return `${cseBaseName}/${value.slice(2)}`;
    return Array.isArray(value) ? value.map(at) : value;
  };
  return Object.fromEntries(Object.entries(attributes).map(([name, value]) => [name, at(value)]));
}

/** True when what was read says what is wanted; what the CSE added of its own does not matter. */
export function holds(seen: unknown, wanted: unknown): boolean {
  if (Array.isArray(wanted)) {
    const list = listOf(seen);
    return list.length === wanted.length && wanted.every((each, index) => holds(list[index], each));
  }
  if (typeof wanted === 'object' && wanted !== null) {
    if (typeof seen !== 'object' || seen === null) return false;
    return Object.entries(wanted).every(([name, value]) => holds(Reflect.get(seen, name), value));
  }
  // An AE-ID may come back as the CSE knows it: `/id-mn1/Sgw1` for `Sgw1`.
  if (typeof seen === 'string' && typeof wanted === 'string' && seen.endsWith(`/${wanted}`)) return true;
  return seen === wanted;
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
