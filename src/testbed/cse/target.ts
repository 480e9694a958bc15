import { ResourceType } from '../../onem2m/enums.ts';
import type { CseCore } from './cse-core.ts';
import { badRequest, notFound } from './refusal.ts';
import { structuredPath } from './resource-tree.ts';
import type { StoredResource } from './resource-tree.ts';

/** Virtual child resources (TS-0001 9.6: latest, oldest, fanOutPoint, pollingChannelURI). */
export type VirtualResource = 'latest' | 'oldest' | 'fanOutPoint' | 'pollingChannelUri';

/** Where a request is to be executed. */
export type Target =
  | {
      readonly kind: 'local';
      readonly resource: StoredResource;
      readonly virtual?: VirtualResource;
      /** What follows `fopt` in the address, with its leading slash. */
      readonly suffix: string;
      /** True when the address named this CSE, so that addresses in the answer do too. */
      readonly isSpRelative: boolean;
    }
  | { readonly kind: 'remote'; readonly cseId: string };

const virtualNames: Readonly<Record<string, readonly [VirtualResource, readonly number[]]>> = {
  la: ['latest', [ResourceType.container, ResourceType.timeSeries, ResourceType.flexContainer]],
  ol: ['oldest', [ResourceType.container, ResourceType.timeSeries, ResourceType.flexContainer]],
  fopt: ['fanOutPoint', [ResourceType.group]],
  pcu: ['pollingChannelUri', [ResourceType.pollingChannel]],
};

/** Names that no resource may have because they are those of virtual resources. */
export const reservedNames: readonly string[] = Object.keys(virtualNames);

/**
 * Takes `to` apart (TS-0004 6.3.3 `m2m:ID`, TS-0001 7.2, 9.3.1): absolute `//sp/cse/…`, SP-relative `/cse/…`,
 * CSE-relative structured `base/…` or `-/…`, or a resource ID, each optionally with a virtual resource at its end.
 * Refuses with 4000 for an address that is none of these and with 4004 for a resource that is not here.
 */
export function resolveTarget(core: CseCore, to: string): Target {
  const { settings, tree } = core;
  const address = spRelativeForm(core, to);
  if (address === undefined) return notFound(`${to} names a service provider other than ${settings.spId}`);
  let segments = address.split('/');
  const isSpRelative = segments[0] === '' && segments.length > 1;
  if (isSpRelative) {
    const cseId = `/${segments[1] ?? ''}`;
    if (cseId !== settings.cseId) return { kind: 'remote', cseId };
    segments = segments.slice(2);
    if (segments.length === 0) segments = [tree.root.name];
  }
  if (segments.some((segment) => segment === '')) return badRequest(`"${to}" is no address of a resource`);
  if (segments[0] === '-') segments[0] = tree.root.name;
  return { kind: 'local', isSpRelative, ...resolveSegments(core, segments, to) };
}

/** The resource a reference within an attribute points to, when it is on this CSE. */
export function findLocal(core: CseCore, reference: string): StoredResource | undefined {
  const address = spRelativeForm(core, reference);
  if (address === undefined) return undefined;
  const { cseId } = core.settings;
  const local = address.startsWith(`${cseId}/`) ? address.slice(cseId.length + 1) : address;
  if (local === cseId || local === '-') return core.tree.root;
  const segments = local.split('/');
  return segments.length === 1 && segments[0] !== core.tree.root.name
    ? core.tree.byId(local)
    : core.tree.byPath([
        segments[0] === '-' ? core.tree.root.name : (segments[0] ?? ''),
        ...segments.slice(1),
      ]);
}

/** Structured address for an answer: CSE-relative, or SP-relative when the request's address was. */
export function addressOf(core: CseCore, resource: StoredResource, isSpRelative: boolean): string {
  const path = structuredPath(resource);
  return isSpRelative ? `${core.settings.cseId}/${path}` : path;
}

/** An originator in the form it has at this CSE: own AEs by their stem, everybody else SP-relative. */
export function normaliseOriginator(core: CseCore, from: string): string {
  const { cseId } = core.settings;
  const spRelative = spRelativeForm(core, from) ?? from;
  if (spRelative.startsWith(`${cseId}/`)) return spRelative.slice(cseId.length + 1);
  return spRelative;
}

/** Strips `//sp` of this service provider; undefined when the address belongs to another one. */
function spRelativeForm(core: CseCore, address: string): string | undefined {
  if (!address.startsWith('//')) return address;
  const { spId } = core.settings;
  return address.startsWith(`${spId}/`) ? address.slice(spId.length) : undefined;
}

function resolveSegments(
  core: CseCore,
  segments: readonly string[],
  to: string,
): { resource: StoredResource; virtual?: VirtualResource; suffix: string } {
  const exact = findSegments(core, segments);
  if (exact !== undefined) return { resource: exact, suffix: '' };
  const fanOut = segments.indexOf('fopt', 1);
  const virtualAt = fanOut > 0 ? fanOut : segments.length - 1;
  const named = virtualNames[segments[virtualAt] ?? ''];
  const parent = virtualAt > 0 ? findSegments(core, segments.slice(0, virtualAt)) : undefined;
  if (named === undefined || parent === undefined || !named[1].includes(parent.type)) {
    return notFound(`${to} does not exist at ${core.settings.cseId}`);
  }
  const rest = segments.slice(virtualAt + 1);
  return {
    resource: parent,
    virtual: named[0],
    suffix: rest.length === 0 ? '' : `/${rest.join('/')}`,
  };
}

function findSegments(core: CseCore, segments: readonly string[]): StoredResource | undefined {
  const [first = ''] = segments;
  if (first === core.tree.root.name) return core.tree.byPath(segments);
  return segments.length === 1 ? core.tree.byId(first) : undefined;
}
