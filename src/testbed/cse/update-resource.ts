import { ResourceType, ResponseStatusCode } from '../../onem2m/enums.ts';
import { mayChangePolicies, requireAllowed } from './access-control.ts';
import { typePolicies } from './attribute-table.ts';
import { checkUpdate, rootOf } from './content-check.ts';
import { checkPolicyReferences, settleExpiration } from './create-resource.ts';
import { modifyResource, removeResource } from './cse-core.ts';
import type { CseCore, IncomingRequest } from './cse-core.ts';
import type { Delivery } from './delivery.ts';
import { changesMembers, mergedGroup, validateMembers } from './group.ts';
import { makeRoom, recordFlexContainer } from './instances.ts';
import { checkSubscription, verifyTargets } from './notification-check.ts';
import { badRequest, noPrivilege, refuse } from './refusal.ts';
import { isInstance, numberOf, structuredPath, textsOf } from './resource-tree.ts';
import type { Attributes, StoredResource } from './resource-tree.ts';

/** UPDATE (TS-0001 10.1.4, TS-0004 7.3.3): all attributes or none; resolves to what the originator sent. */
export async function updateResource(
  core: CseCore,
  delivery: Delivery,
  incoming: IncomingRequest,
  resource: StoredResource,
): Promise<Attributes> {
  const policy = typePolicies.get(resource.type);
  if (policy === undefined || isImmutable(resource.type)) {
    return refuse(
      ResponseStatusCode.operationNotAllowed,
      `${structuredPath(resource)} (type ${resource.type}) cannot be updated`,
    );
  }
  const { root, attributes: sent } = rootOf(incoming.request.primitiveContent, policy);
  requireUpdateAllowed(core, incoming, resource, sent);
  if (policy.root === undefined && root !== resource.root) {
    badRequest(`root element ${root} does not fit; ${resource.root} is expected`);
  }
  checkUpdate(policy, sent);
  const changes: Attributes = { ...sent };
  settleExpiration(core, changes);
  checkPolicyReferences(core, changes);
  if (changes.expirationTime === null) badRequest('expirationTime (et) cannot be removed');
  if (resource.type === ResourceType.subscription) {
    checkSubscription(changes);
    const known = textsOf(resource, 'notificationUri');
    const added = ((changes.notificationUri ?? []) as string[]).filter((target) => !known.includes(target));
    await verifyTargets(core, delivery, incoming, added, `${core.settings.cseId}/${resource.id}`);
  }
  if (changesMembers(resource, changes)) {
    Object.assign(changes, await validateMembers(core, delivery, incoming, mergedGroup(resource, changes)));
  }
  if (!core.tree.holds(resource)) {
    refuse(ResponseStatusCode.notFound, `${structuredPath(resource)} was deleted meanwhile`);
  }
  apply(core, incoming, resource, changes);
  return sent;
}

function apply(
  core: CseCore,
  incoming: IncomingRequest,
  resource: StoredResource,
  changes: Attributes,
): void {
  for (const [name, value] of Object.entries(changes)) if (value === null) changes[name] = undefined;
  const stateTag = numberOf(resource, 'stateTag');
  if (stateTag !== undefined) resource.attributes.stateTag = stateTag + 1;
  if (resource.type === ResourceType.flexContainer) settleHistory(core, resource, changes);
  modifyResource(core, resource, changes);
  if (resource.type === ResourceType.flexContainer) {
    recordFlexContainer(core, resource, incoming.originator);
  }
  makeRoom(core, resource);
}

function isImmutable(type: number): boolean {
  return isInstance(type) || type === ResourceType.cseBase || type === ResourceType.request;
}

/** Policies change alone and by the right to do so in the policies themselves (TS-0004 7.3.3.15). */
function requireUpdateAllowed(
  core: CseCore,
  { originator }: IncomingRequest,
  resource: StoredResource,
  sent: Attributes,
): void {
  if (sent.accessControlPolicyIds === undefined) {
    requireAllowed(core, originator, 'update', resource);
    return;
  }
  if (!mayChangePolicies(core, originator, resource)) {
    noPrivilege(`${originator} may not change the access control policies of ${structuredPath(resource)}`);
  }
  if (Object.keys(sent).length > 1) {
    badRequest('accessControlPolicyIDs (acpi) must be the only attribute of its UPDATE');
  }
}

/** `fcinEnabled` switched on starts a history, switched off drops it. */
function settleHistory(core: CseCore, resource: StoredResource, changes: Attributes): void {
  const { fcinEnabled } = changes;
  if (fcinEnabled === undefined || fcinEnabled === resource.attributes.fcinEnabled) return;
  if (fcinEnabled === true) {
    resource.attributes.currentNrOfInstances = 0;
    resource.attributes.currentByteSize = 0;
    return;
  }
  for (const instance of [...resource.instances]) removeResource(core, instance);
  delete resource.attributes.currentNrOfInstances;
  delete resource.attributes.currentByteSize;
}
