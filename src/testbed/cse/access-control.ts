import { AccessControlOperations, ResourceType } from '../../onem2m/enums.ts';
import type { AccessControlRule, SetOfAcrs } from '../../onem2m/resources.ts';
import { isGovernedByParent } from './attribute-table.ts';
import type { CseCore } from './cse-core.ts';
import { noPrivilege } from './refusal.ts';
import { structuredPath, textsOf } from './resource-tree.ts';
import type { StoredResource } from './resource-tree.ts';
import { findLocal } from './target.ts';

/** The name of one operation bit of TS-0004 6.3.4.2.29. */
export type AccessOperation = Exclude<keyof typeof AccessControlOperations, 'all'>;

/**
 * Whether `originator` may do `operation` on `resource` (TS-0001 9.6.1.3.2, 11.3; TS-0004 7.3.3.15). With
 * `accessControlPolicyIds` the policies alone decide. Without, the creator may, and the rules of the parent apply; an AE
 * is its own creator. The policy itself is governed by its `selfPrivileges`, instances and polling channels by their
 * parent, and the CSEBase may be read by whoever is registered here.
 */
export function isAllowed(
  core: CseCore,
  originator: string,
  operation: AccessOperation,
  resource: StoredResource,
): boolean {
  const { settings } = core;
  if (originator === settings.adminOriginator || originator === settings.cseId) return true;
  if (isOwnCopy(resource, originator)) return true;
  let governed: StoredResource | undefined = resource;
  while (governed !== undefined) {
    if (isPolicy(governed)) return policyAllows(core, governed, 'selfPrivileges', originator, operation);
    const policies = textsOf(governed, 'accessControlPolicyIds');
    if (policies.length > 0) return policiesAllow(core, policies, originator, operation);
    if (!isGovernedByParent(governed.type) && isOwner(governed, originator)) return true;
    if (governed.type === ResourceType.pollingChannel && governed.createdBy === originator) return true;
    governed = governed.parent;
  }
  return isAllowedByOperator(core, originator, operation, resource);
}

/** What this CSE grants without any policy. */
function isAllowedByOperator(
  core: CseCore,
  originator: string,
  operation: AccessOperation,
  resource: StoredResource,
): boolean {
  if (resource === core.tree.root) return operation === 'retrieve' && isRegistered(core, originator);
  if (resource.type !== ResourceType.remoteCse) return false;
  const forms = originatorForms(core, originator);
  return (
    (operation === 'retrieve' || operation === 'discovery') &&
    core.settings.remoteCseReaders.some((reader) => forms.some((form) => matchesPattern(reader, form)))
  );
}

/** Refuses with 4103 what `isAllowed` denies. */
export function requireAllowed(
  core: CseCore,
  originator: string,
  operation: AccessOperation,
  resource: StoredResource,
): void {
  if (isAllowed(core, originator, operation, resource)) return;
  noPrivilege(`${originator} has no ${operation} privilege on ${structuredPath(resource)}`);
}

/** Whether the originator may change the policies of a resource: UPDATE in `selfPrivileges` of one it has now. */
export function mayChangePolicies(core: CseCore, originator: string, resource: StoredResource): boolean {
  if (originator === core.settings.adminOriginator) return true;
  const policies = textsOf(resource, 'accessControlPolicyIds');
  if (policies.length === 0) return isAllowed(core, originator, 'update', resource);
  return policies.some((id) => {
    const policy = findPolicy(core, id);
    return policy !== undefined && policyAllows(core, policy, 'selfPrivileges', originator, 'update');
  });
}

/** Whether one of the policies grants the operation; a policy that is not here grants nothing. */
export function policiesAllow(
  core: CseCore,
  policyIds: readonly string[],
  originator: string,
  operation: AccessOperation,
): boolean {
  return policyIds.some((id) => {
    const policy = findPolicy(core, id);
    return policy !== undefined && policyAllows(core, policy, 'privileges', originator, operation);
  });
}

/** True for AEs and CSEs that are registered at this CSE. */
export function isRegistered(core: CseCore, originator: string): boolean {
  if (core.tree.byId(originator)?.type === ResourceType.ae) return true;
  return registeredCse(core, originator) !== undefined;
}

/** The remoteCSE of a CSE that is registered here (or at which this CSE is registered). */
export function registeredCse(core: CseCore, cseId: string): StoredResource | undefined {
  for (const child of core.tree.root.children.values()) {
    if (child.type === ResourceType.remoteCse && child.attributes.cseId === cseId) return child;
  }
  return undefined;
}

/**
 * The CSE of an original keeps its announced copy in step and removes it (TS-0001 10.2.18): the policies of the copy are those of
 * the original, which may not be here.
 */
function isOwnCopy(resource: StoredResource, originator: string): boolean {
  return resource.type > announcedTypes && resource.createdBy === originator;
}

/** Announced variants have the number of their original added to this (TS-0004 6.3.4.2.1). */
const announcedTypes = 10_000;

function isPolicy(resource: StoredResource): boolean {
  return (
    resource.type === ResourceType.accessControlPolicy ||
    resource.type === ResourceType.accessControlPolicyAnnc
  );
}

function isOwner(resource: StoredResource, originator: string): boolean {
  return resource.type === ResourceType.ae ? resource.id === originator : resource.createdBy === originator;
}

/** A policy by its address, or the announced copy here of a policy that lives elsewhere. */
function findPolicy(core: CseCore, id: string): StoredResource | undefined {
  const local = findLocal(core, id);
  if (local !== undefined) return isPolicy(local) ? local : undefined;
  if (!id.startsWith('/')) return undefined;
  for (const resource of core.tree.all()) {
    if (resource.type === ResourceType.accessControlPolicyAnnc && resource.attributes.link === id) {
      return resource;
    }
  }
  return undefined;
}

function policyAllows(
  core: CseCore,
  policy: StoredResource,
  set: 'privileges' | 'selfPrivileges',
  originator: string,
  operation: AccessOperation,
): boolean {
  const rules = (policy.attributes[set] as SetOfAcrs | undefined)?.accessControlRule ?? [];
  return rules.some(
    (rule) =>
      (rule.accessControlOperations & AccessControlOperations[operation]) !== 0 &&
      ruleNames(core, rule, originator),
  );
}

function ruleNames(core: CseCore, rule: AccessControlRule, originator: string): boolean {
  const forms = originatorForms(core, originator);
  return rule.accessControlOriginators.some((entry) => {
    if (entry === 'all') return true;
    if (forms.some((form) => matchesPattern(entry, form))) return true;
    const group = entry.includes('*') ? undefined : findLocal(core, entry);
    if (group?.type !== ResourceType.group) return false;
    return textsOf(group, 'memberIds').some((member) => forms.includes(member));
  });
}

/** The ways a policy may write this originator: bare stem (own AEs), SP-relative, absolute. */
function originatorForms(core: CseCore, originator: string): string[] {
  const { cseId, spId } = core.settings;
  const spRelative = originator.startsWith('/') ? originator : `${cseId}/${originator}`;
  return [originator, spRelative, `${spId}${spRelative}`];
}

/** `*` stands for any text within one level of an identifier (TS-0004 7.3.3.15). */
function matchesPattern(pattern: string, identifier: string): boolean {
  if (!pattern.includes('*')) return pattern === identifier;
  const wanted = pattern.split('/');
  const given = identifier.split('/');
  return wanted.length === given.length && wanted.every((level, index) => matchesLevel(level, given[index]));
}

function matchesLevel(level: string, text: string | undefined): boolean {
  return text !== undefined && matchesWildcard(level, text);
}

/** Whether `text` fits a pattern in which `*` stands for any run of characters; linear in both. */
export function matchesWildcard(pattern: string, text: string): boolean {
  const parts = pattern.split('*');
  const [head = '', ...rest] = parts;
  const tail = rest.pop();
  if (tail === undefined) return text === pattern;
  if (!text.startsWith(head) || text.length < head.length + tail.length || !text.endsWith(tail)) return false;
  let at = head.length;
  for (const part of rest) {
    const found = text.indexOf(part, at);
    if (found < 0 || found + part.length > text.length - tail.length) return false;
    at = found + part.length;
  }
  return true;
}
