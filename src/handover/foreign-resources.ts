/**
 * What others have created under the AEs of the bundle: seen at the source, carried to the target, re-created there.
 *
 * No AE can create in the name of another, so what is re-created has the bundle's AE as its creator. That the one for whom it
 * is keeps its rights is up to a policy of its own (`rights-of-…`), and a label (`baton:for=…`) tells the next move who it was.
 * Instances are data, not context; polling channels work only for who polls them.
 */
import { DecodeError } from '../base/errors.ts';
import { AccessControlOperations, ResourceType } from '../onem2m/enums.ts';
import type { PrimitiveContent } from '../onem2m/resources.ts';
import type { AeManifest, BundleManifest, ResourceManifest } from './bundle-manifest.ts';
import { movedAddress, movedOriginators, movedRules } from './moved-references.ts';
import type { BundleMove } from './moved-references.ts';
import type { ObservedAe, ObservedResource } from './repair-plan.ts';

/** A resource below an AE of the bundle that the manifest does not name. */
export interface ForeignResource {
  /** Name of the AE. */
  readonly ae: string;
  /** Where it is below its AE. */
  readonly path: string;
  readonly resourceType: number;
  readonly root: string;
  readonly attributes: Readonly<Record<string, unknown>>;
  /** Who made it, as the CSE where it was seen names it; undefined where that CSE does not tell. */
  readonly creator?: string;
}

/** What is remembered of a CSE at most; the rest is told as not transferred. */
export const foreignBounds: { readonly resources: number; readonly bytes: number } = {
  resources: 256,
  bytes: 256 * 1024,
};

/** Label of a policy that exists only for what was re-created. */
const rightsLabel = 'baton:rights';
const forLabel = 'baton:for=';

/** Everything foreign below the AEs of the bundle, parents first. */
export function foreignIn(
  bundle: BundleManifest,
  observed: ReadonlyMap<string, ObservedAe>,
): ForeignResource[] {
  const found: ForeignResource[] = [];
  const visit = (
    ae: string,
    parent: string,
    tree: ObservedResource,
    manifest: readonly ResourceManifest[] | undefined,
  ): void => {
    for (const [name, child] of tree.children) {
      const path = parent === '' ? name : `${parent}/${name}`;
      const known = manifest?.find((each) => each.name === name);
      if (known === undefined) {
        const resource = foreignOf(ae, path, child);
        if (resource === undefined) continue;
        found.push(resource);
      }
      visit(ae, path, child, known?.children);
    }
  };
  for (const { name, resources } of bundle.aes) {
    const tree = observed.get(name);
    if (typeof tree === 'object') visit(name, '', tree, resources);
  }
  return found;
}

function foreignOf(ae: string, path: string, child: ObservedResource): ForeignResource | undefined {
  const { resourceType, creator } = child.attributes;
  const { root } = child;
  if (typeof resourceType !== 'number' || root === undefined) return undefined;
  const labels = textsIn(child.attributes.labels);
  if (labels.includes(rightsLabel)) return undefined;
  const known = labels.find((label) => label.startsWith(forLabel))?.slice(forLabel.length);
  const by = known ?? (typeof creator === 'string' ? creator : undefined);
  const attributes = Object.fromEntries(
    Object.entries(child.attributes).filter(([name, value]) => !serverSet.has(name) && value !== null),
  );
  return { ae, path, resourceType, root, attributes, ...(by === undefined ? {} : { creator: by }) };
}

/** Attributes that a CREATE may not carry, or that mean nothing elsewhere. */
const serverSet: ReadonlySet<string> = new Set([
  ...[
    'resourceType',
    'resourceId',
    'resourceName',
    'parentId',
    'creationTime',
    'lastModifiedTime',
    'creator',
  ],
  ...[
    'stateTag',
    'currentNrOfInstances',
    'currentByteSize',
    'contentSize',
    'subscriptionIds',
    'childResource',
  ],
  ...['currentNrOfMembers', 'memberTypeValidated', 'semanticSupportIndicator', 'notificationStatsInfo'],
  ...['missingDataList', 'missingDataCurrentNr', 'locationId', 'latest', 'oldest', 'fanOutPoint'],
]);

/** What is to be created at the target for one foreign resource. */
export interface ForeignCreation {
  readonly content: PrimitiveContent;
  /** A policy that has to be there before. */
  readonly policy?: { readonly name: string; readonly content: PrimitiveContent };
}

/** How a foreign resource is re-created by a move, or why it cannot be. */
export function recreated(
  move: BundleMove,
  ae: AeManifest,
  resource: ForeignResource,
): ForeignCreation | { readonly reason: string } {
  const { resourceType, creator, path, root } = resource;
  if (resourceType === ResourceType.pollingChannel) {
    return { reason: 'a polling channel serves only the AE that made it' };
  }
  const name = path.split('/').at(-1) ?? path;
  const attributes = movedAttributes(move, resource.attributes);
  const whole = { resourceName: name, ...attributes };
  if (creator === undefined || isOwn(move, creator)) return { content: { [root]: whole } };
  const forms = movedOriginators(move, creator);
  const shown = forms.at(-1) ?? creator;
  const policyName = `rights-of-${shown.replace(/[^A-Za-z0-9._-]/gu, '_').replace(/^_+/u, '')}`.slice(0, 100);
  const labels = [
    ...textsIn(attributes.labels).filter((label) => !label.startsWith(forLabel)),
    `${forLabel}${shown}`,
  ];
  // A policy has no policies: it is governed by its own self-privileges, which are moved as they were.
  if (resourceType === ResourceType.accessControlPolicy) return { content: { [root]: { ...whole, labels } } };
  const at = `${move.target.cseBaseName}/${ae.name}`;
  const governing = textsIn(attributes.accessControlPolicyIds);
  const own = governing.length > 0 || ae.policy === undefined ? governing : [`${at}/${ae.policy}`];
  return {
    content: { [root]: { ...whole, labels, accessControlPolicyIds: [...own, `${at}/${policyName}`] } },
    policy: { name: policyName, content: rightsOf(policyName, ae.aeId, forms) },
  };
}

/** The AE itself and the one for whom a resource was made may do everything with it. */
function rightsOf(name: string, aeId: string, originators: readonly string[]): PrimitiveContent {
  const rule = (accessControlOriginators: string[]) => ({
    accessControlOriginators,
    accessControlOperations: AccessControlOperations.all,
  });
  return {
    accessControlPolicy: {
      resourceName: name,
      labels: [rightsLabel],
      privileges: { accessControlRule: [rule([aeId]), rule([...originators])] },
      selfPrivileges: { accessControlRule: [rule([aeId])] },
    },
  };
}

function isOwn({ aeIds, source }: BundleMove, creator: string): boolean {
  return Object.values(aeIds).some((stem) => [stem, `${source.cseId}/${stem}`, `/${stem}`].includes(creator));
}

const addressed = ['notificationUri', 'memberIds', 'accessControlPolicyIds', 'membersAccessControlPolicyIds'];
const addressedOnce = ['groupId', 'notificationForwardingUri', 'subscriberUri', 'nodeLink'];

function movedAttributes(
  move: BundleMove,
  attributes: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const moved: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(attributes)) {
    if (addressed.includes(name)) moved[name] = textsIn(value).map((each) => movedAddress(move, each));
    else if (addressedOnce.includes(name) && typeof value === 'string')
      moved[name] = movedAddress(move, value);
    else if (name === 'privileges' || name === 'selfPrivileges') {
      moved[name] = movedRules(move, typeof value === 'object' && value !== null ? value : {});
    } else if (name === 'announceTo') {
      // The copy stays where it is until the source lets it go; the target makes its own.
      moved[name] = textsIn(value).map((each) => `/${each.split('/')[1] ?? ''}`);
    } else moved[name] = value;
  }
  return moved;
}

/** Cuts a list to what is remembered, and tells what is left out. */
export function bounded(resources: readonly ForeignResource[]): {
  readonly kept: readonly ForeignResource[];
  readonly left: readonly ForeignResource[];
} {
  let bytes = 0;
  const isKept = (resource: ForeignResource, index: number): boolean => {
    bytes += JSON.stringify(resource).length;
    return index < foreignBounds.resources && bytes <= foreignBounds.bytes;
  };
  const kept = resources.filter(isKept);
  return { kept, left: resources.filter((each) => !kept.includes(each)) };
}

/** A foreign resource from its stored form; throws `DecodeError` when it is none. */
export function decodeForeignResource(value: unknown): ForeignResource {
  const fields = typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  const { ae, path, resourceType, root, attributes, creator } = fields;
  if (
    typeof ae !== 'string' ||
    typeof path !== 'string' ||
    typeof resourceType !== 'number' ||
    typeof root !== 'string' ||
    typeof attributes !== 'object' ||
    attributes === null
  ) {
    throw new DecodeError('the memory of the context holds a resource that is not whole');
  }
  return {
    ...{ ae, path, resourceType, root, attributes: attributes as Record<string, unknown> },
    ...(typeof creator === 'string' ? { creator } : {}),
  };
}

function textsIn(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((each) => typeof each === 'string') : [];
}
