import { randomHex } from '../../host/entropy.ts';
import { Operation, ResourceType, ResponseStatusCode, isSuccess } from '../../onem2m/enums.ts';
import type { RequestPrimitive, ResponsePrimitive } from '../../onem2m/primitives.ts';
import { isAllowed, policiesAllow } from './access-control.ts';
import type { AccessOperation } from './access-control.ts';
import { typePolicies } from './attribute-table.ts';
import { respond } from './cse-core.ts';
import type { CseCore, IncomingRequest } from './cse-core.ts';
import type { Delivery } from './delivery.ts';
import { badRequest, noPrivilege, refuse } from './refusal.ts';
import { numberOf, textsOf } from './resource-tree.ts';
import type { Attributes, StoredResource } from './resource-tree.ts';
import { findLocal, normaliseOriginator } from './target.ts';

/** `consistencyStrategy` (TS-0004 6.3.4.2.9); 2 (abandon group) is what remains. */
const abandonMember = 1;
const setMixed = 3;
const memberTypeMixed = 0;
const noMembers = 4109;

/**
 * Members of a group as they are stored (TS-0004 7.4.13): duplicates removed, types compared with `memberType`, the
 * limit kept (6010). Members whose type cannot be learnt leave `memberTypeValidated` false.
 */
export async function validateMembers(
  core: CseCore,
  delivery: Delivery,
  incoming: IncomingRequest,
  attributes: Attributes,
): Promise<Attributes> {
  const countMax = attributes.maxNrOfMembers;
  let memberIds = [...new Set(attributes.memberIds as string[])];
  if (typeof countMax === 'number' && memberIds.length > countMax) {
    refuse(
      ResponseStatusCode.maxNumberOfMemberExceeded,
      `${memberIds.length} members exceed maxNrOfMembers (mnm) ${countMax}`,
    );
  }
  let memberType = typeof attributes.memberType === 'number' ? attributes.memberType : memberTypeMixed;
  let isValidated = true;
  if (memberType !== memberTypeMixed) {
    const types = await Promise.all(memberIds.map((id) => typeOfMember(core, delivery, incoming, id)));
    isValidated = types.every((type) => type !== undefined);
    const misfits = memberIds.filter((_, index) => types[index] !== undefined && types[index] !== memberType);
    if (misfits.length > 0) {
      const strategy = attributes.consistencyStrategy ?? abandonMember;
      if (strategy === abandonMember) {
        memberIds = memberIds.filter((id) => !misfits.includes(id));
      } else if (strategy === setMixed) memberType = memberTypeMixed;
      else {
        refuse(
          ResponseStatusCode.groupMemberTypeInconsistent,
          `not of memberType (mt) ${memberType}: ${misfits.join(', ')}`,
        );
      }
    }
  }
  return {
    memberIds,
    memberType,
    currentNrOfMembers: memberIds.length,
    memberTypeValidated: isValidated,
  };
}

/** A request to `fopt`: once per member, with the originator's own rights there; one aggregated answer. */
export async function fanOut(
  core: CseCore,
  incoming: IncomingRequest,
  group: StoredResource,
  suffix: string,
): Promise<ResponsePrimitive> {
  const { request, originator, origin } = incoming;
  const operation = accessOperationOf(request);
  const policies = textsOf(group, 'membersAccessControlPolicyIds');
  const isGranted =
    policies.length > 0
      ? originator === core.settings.adminOriginator || policiesAllow(core, policies, originator, operation)
      : isAllowed(core, originator, operation, group);
  if (!isGranted) noPrivilege(`${originator} has no ${operation} privilege on the members of ${group.name}`);
  const members = textsOf(group, 'memberIds');
  if (members.length === 0) refuse(noMembers, `group ${group.name} has no members`);
  const groupRequestIdentifier = request.groupRequestIdentifier ?? randomHex(core.entropy, 6);
  const responses = await Promise.all(
    members.map(async (member) => {
      const response = await core.perform(
        {
          ...request,
          to: `${member}${suffix}`,
          requestIdentifier: randomHex(core.entropy, 6),
          groupRequestIdentifier,
        },
        origin,
      );
      return { ...response, from: member };
    }),
  );
  return respond(request, ResponseStatusCode.ok, { aggregatedResponse: { response: responses } });
}

/** The operation bit that a request needs. */
export function accessOperationOf(request: RequestPrimitive): AccessOperation {
  switch (request.operation) {
    case Operation.create:
      return 'create';
    case Operation.retrieve:
      return request.filterCriteria?.filterUsage === 1 ? 'discovery' : 'retrieve';
    case Operation.update:
      return 'update';
    case Operation.delete:
      return 'delete';
    case Operation.notify:
      return 'notify';
    default:
      return badRequest(`operation ${String(request.operation)} is unknown`);
  }
}

async function typeOfMember(
  core: CseCore,
  delivery: Delivery,
  incoming: IncomingRequest,
  id: string,
): Promise<number | undefined> {
  const local = findLocal(core, id);
  if (local !== undefined) {
    if (isAllowed(core, incoming.originator, 'retrieve', local)) return local.type;
    return refuse(
      ResponseStatusCode.receiverHasNoPrivilege,
      `${incoming.originator} may not read member ${id}`,
    );
  }
  const spRelative = normaliseOriginator(core, id);
  if (!spRelative.startsWith('/')) return refuse(ResponseStatusCode.notFound, `member ${id} does not exist`);
  const response = await delivery.toCse(
    `/${spRelative.split('/')[1] ?? ''}`,
    {
      operation: Operation.retrieve,
      to: spRelative,
      from: incoming.originator,
      requestIdentifier: randomHex(core.entropy, 6),
      releaseVersionIndicator: '4',
    },
    incoming.origin.serialisation,
  );
  if (response.responseStatusCode === ResponseStatusCode.originatorHasNoPrivilege) {
    return refuse(
      ResponseStatusCode.receiverHasNoPrivilege,
      `${incoming.originator} may not read member ${id}`,
    );
  }
  if (!isSuccess(response.responseStatusCode)) return undefined;
  return representedType(response);
}

/** The resource type of the representation in an answer: the attribute, or what its root element says. */
function representedType(response: ResponsePrimitive): number | undefined {
  const [entry] = Object.entries(response.primitiveContent ?? {});
  if (entry === undefined) return undefined;
  const [root, attributes] = entry as [string, Attributes | undefined];
  if (typeof attributes?.resourceType === 'number') return attributes.resourceType;
  for (const [type, policy] of typePolicies) if (policy.root === root) return type;
  return undefined;
}

/** Whether an UPDATE of a group brings members that must be validated. */
export function changesMembers(resource: StoredResource, changes: Attributes): boolean {
  return (
    resource.type === ResourceType.group &&
    (changes.memberIds !== undefined || changes.maxNrOfMembers !== undefined)
  );
}

/** The attributes of a group as they would be after `changes`, for `validateMembers`. */
export function mergedGroup(resource: StoredResource, changes: Attributes): Attributes {
  return {
    memberIds: textsOf(resource, 'memberIds'),
    maxNrOfMembers: numberOf(resource, 'maxNrOfMembers'),
    memberType: numberOf(resource, 'memberType'),
    consistencyStrategy: numberOf(resource, 'consistencyStrategy'),
    ...changes,
  };
}
