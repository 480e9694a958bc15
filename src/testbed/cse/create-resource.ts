import { randomHex } from '../../host/entropy.ts';
import { ResourceType, ResponseStatusCode } from '../../onem2m/enums.ts';
import { encodeTimestamp, parseTimestamp } from '../../onem2m/primitives.ts';
import { isRegistered, registeredCse, requireAllowed } from './access-control.ts';
import { serverCreatedTypes, typePolicies } from './attribute-table.ts';
import type { TypePolicy } from './attribute-table.ts';
import { checkCreate, rootOf } from './content-check.ts';
import { storeResource } from './cse-core.ts';
import type { CseCore, IncomingRequest } from './cse-core.ts';
import type { Delivery } from './delivery.ts';
import { validateMembers } from './group.ts';
import { admitInstance, makeRoom } from './instances.ts';
import { checkSubscription, verifyTargets } from './notification-check.ts';
import { badRequest, noPrivilege, refuse } from './refusal.ts';
import { structuredPath } from './resource-tree.ts';
import type { Attributes, StoredResource } from './resource-tree.ts';
import { findLocal, reservedNames } from './target.ts';

/** A resource that is about to be created. */
interface Draft {
  readonly type: number;
  readonly root: string;
  readonly parent: StoredResource;
  attributes: Attributes;
  id?: string;
  name?: string;
  /** Originator to be remembered as creator. */
  createdBy: string;
}

/**
 * CREATE (TS-0001 10.1.2, TS-0004 7.3.3): checks in the order of the specification, then one synchronous step from the
 * name check to the insertion, so that of several creators of one name exactly one succeeds.
 */
export async function createResource(
  core: CseCore,
  delivery: Delivery,
  incoming: IncomingRequest,
  parent: StoredResource,
): Promise<StoredResource> {
  const { type, policy } = requestedType(incoming);
  if (!isRegistration(core, incoming, type, parent))
    requireAllowed(core, incoming.originator, 'create', parent);
  requireChildType(parent, type);
  const { root, attributes } = rootOf(incoming.request.primitiveContent, policy);
  const draft: Draft = { type, root, parent, attributes, createdBy: incoming.originator };
  takeName(draft);
  if (type === ResourceType.ae) admitAe(core, incoming, draft);
  requireFreeName(draft);
  checkCreate(policy, draft.attributes);
  settleCommon(core, draft);
  await applyTypeRules(core, delivery, incoming, draft);
  return commit(core, incoming, draft);
}

/** 4105 when the name is taken, checked again because validation may have waited for others meanwhile. */
function commit(core: CseCore, incoming: IncomingRequest, draft: Draft): StoredResource {
  const { parent } = draft;
  if (!core.tree.holds(parent)) {
    refuse(ResponseStatusCode.notFound, `${structuredPath(parent)} was deleted meanwhile`);
  }
  requireFreeName(draft);
  if (draft.type === ResourceType.ae && draft.id !== undefined) requireFreeStem(core, draft.id);
  if (core.tree.size >= core.settings.resourcesMax) {
    refuse(
      ResponseStatusCode.notAcceptable,
      `this CSE holds its limit of ${core.settings.resourcesMax} resources`,
    );
  }
  admitInstance(core, draft.type, draft.parent, draft.attributes);
  const resource = storeResource(core, { ...draft, arrivalMs: incoming.arrivalMs });
  makeRoom(core, parent);
  return resource;
}

function requestedType({ request }: IncomingRequest): { type: number; policy: TypePolicy } {
  const type = request.resourceType;
  if (type === undefined) return badRequest('CREATE without a resource type');
  const policy = typePolicies.get(type);
  if (policy === undefined)
    return refuse(ResponseStatusCode.notImplemented, `resource type ${String(type)} is unknown`);
  if (serverCreatedTypes.includes(type)) {
    return refuse(ResponseStatusCode.operationNotAllowed, `resource type ${type} is created by the CSE only`);
  }
  return { type, policy };
}

/** Registration of an AE or a CSE needs no privilege on the CSEBase: it gives privileges, such as to announce there. */
function isRegistration(
  core: CseCore,
  { originator }: IncomingRequest,
  type: number,
  parent: StoredResource,
): boolean {
  if (parent !== core.tree.root) return false;
  if (type === ResourceType.cseBaseAnnc) return registeredCse(core, originator) !== undefined;
  return type === ResourceType.ae || type === ResourceType.remoteCse;
}

function requireChildType(parent: StoredResource, type: number): void {
  if (typePolicies.get(parent.type)?.children.includes(type) === true) return;
  const code =
    type === ResourceType.subscription
      ? ResponseStatusCode.targetNotSubscribable
      : ResponseStatusCode.invalidChildResourceType;
  refuse(code, `${structuredPath(parent)} (type ${parent.type}) cannot have children of type ${type}`);
}

function takeName(draft: Draft): void {
  const name = draft.attributes.resourceName;
  if (name === undefined) return;
  // TS-0004 6.3.3: unreserved characters of RFC 3986, so that a name is one segment of an address.
  if (typeof name !== 'string' || !/^[A-Za-z0-9\-._~]{1,128}$/u.test(name) || reservedNames.includes(name)) {
    badRequest(`resourceName (rn) ${JSON.stringify(name)} is not allowed`);
  }
  draft.name = name;
}

function requireFreeName({ parent, name }: Draft): void {
  if (name === undefined || !parent.children.has(name)) return;
  refuse(ResponseStatusCode.conflict, `${structuredPath(parent)}/${name} exists already`);
}

function requireFreeStem(core: CseCore, stem: string): void {
  if (core.tree.byId(stem) === undefined) return;
  refuse(
    ResponseStatusCode.originatorHasAlreadyRegistered,
    `${stem} is registered at ${core.settings.cseId} already`,
  );
}

/** AE-ID and App-ID of a new AE (TS-0001 10.2.2.2, TS-0004 7.4.5). The stem check precedes that of the name. */
function admitAe(core: CseCore, { request }: IncomingRequest, draft: Draft): void {
  const { from } = request;
  let stem: string;
  if (from === undefined || from === '' || from === 'C') stem = `C${randomHex(core.entropy, 6)}`;
  else if (from === 'S') stem = `S${randomHex(core.entropy, 6)}`;
  else if (/^[SC][A-Za-z0-9\-._]+$/u.test(from)) stem = from;
  else
    return badRequest(
      `"${from}" is no AE-ID stem; S or C, then letters, digits, "-", "." and "_" are expected`,
    );
  requireFreeStem(core, stem);
  const { appId } = draft.attributes;
  if (typeof appId === 'string' && !/^[NR]./u.test(appId)) {
    badRequest(`App-ID (api) "${appId}" must begin with N or R`);
  }
  draft.id = stem;
  draft.createdBy = stem;
}

function settleCommon(core: CseCore, draft: Draft): void {
  const { attributes } = draft;
  settleExpiration(core, attributes);
  checkPolicyReferences(core, attributes);
  if (attributes.creator === null) attributes.creator = draft.createdBy;
}

/** Refuses a time in the past, shortens one beyond what this CSE grants (TS-0001 9.6.1.3.2). */
export function settleExpiration(core: CseCore, attributes: Attributes): void {
  const wanted = attributes.expirationTime;
  if (typeof wanted !== 'string') return;
  const wantedMs = parseTimestamp(wanted) ?? 0;
  const nowMs = core.clock.unixMs();
  if (wantedMs <= nowMs) badRequest(`expirationTime (et) ${wanted} is past, it is ${encodeTimestamp(nowMs)}`);
  const latestMs = nowMs + core.settings.lifetimeMaxMs;
  if (wantedMs > latestMs) attributes.expirationTime = encodeTimestamp(latestMs);
}

/** Refuses references to policies of this CSE that do not exist. */
export function checkPolicyReferences(core: CseCore, attributes: Attributes): void {
  const references = attributes.accessControlPolicyIds;
  if (!Array.isArray(references)) return;
  for (const reference of references as string[]) {
    const isElsewhere = reference.startsWith('/') && !reference.startsWith(`${core.settings.cseId}/`);
    if (isElsewhere) continue;
    if (findLocal(core, reference)?.type !== ResourceType.accessControlPolicy) {
      badRequest(`accessControlPolicyIDs (acpi): there is no policy ${reference}`);
    }
  }
}

async function applyTypeRules(
  core: CseCore,
  delivery: Delivery,
  incoming: IncomingRequest,
  draft: Draft,
): Promise<void> {
  const { attributes, parent } = draft;
  switch (draft.type) {
    case ResourceType.ae:
      attributes.aeId = draft.id;
      break;
    case ResourceType.remoteCse:
      admitCse(core, incoming, draft);
      break;
    case ResourceType.container:
    case ResourceType.flexContainer:
    case ResourceType.timeSeries:
      settleCapacity(draft);
      break;
    case ResourceType.contentInstance:
      if (attributes.content === undefined && attributes.contentRef === undefined) {
        badRequest('a contentInstance needs content (con) or contentRef (conr)');
      }
      break;
    case ResourceType.subscription:
      requireAllowed(core, incoming.originator, 'retrieve', parent);
      checkSubscription(attributes);
      draft.id = `sub${randomHex(core.entropy, 6)}`;
      await verifyTargets(
        core,
        delivery,
        incoming,
        attributes.notificationUri as string[],
        `${core.settings.cseId}/${draft.id}`,
      );
      break;
    case ResourceType.group:
      Object.assign(attributes, await validateMembers(core, delivery, incoming, attributes));
      break;
    case ResourceType.pollingChannel:
      admitPollingChannel(incoming, draft);
      break;
    default:
      break;
  }
}

function admitCse(core: CseCore, { originator }: IncomingRequest, { attributes }: Draft): void {
  const cseId = String(attributes.cseId);
  if (originator !== core.settings.adminOriginator && originator !== cseId) {
    noPrivilege(`${originator} cannot register the CSE ${cseId}`);
  }
  if (isRegistered(core, cseId)) {
    refuse(ResponseStatusCode.originatorHasAlreadyRegistered, `${cseId} is registered already`);
  }
}

function settleCapacity({ type, root, attributes }: Draft): void {
  if (type !== ResourceType.timeSeries) attributes.stateTag = 0;
  if (type === ResourceType.flexContainer) {
    if (!root.includes(':')) badRequest(`root element ${root} must carry the prefix of its specialisation`);
    if (attributes.fcinEnabled !== true) return;
  }
  attributes.currentNrOfInstances = 0;
  attributes.currentByteSize = 0;
  if (type === ResourceType.timeSeries && attributes.missingDataDetect === true) {
    if (attributes.periodicInterval === undefined || attributes.missingDataDetectTimer === undefined) {
      badRequest('missingDataDetect (mdd) needs periodicInterval (pei) and missingDataDetectTimer (mdt)');
    }
    attributes.missingDataList = [];
    attributes.missingDataCurrentNr = 0;
  }
}

function admitPollingChannel({ originator }: IncomingRequest, { parent }: Draft): void {
  if ([...parent.children.values()].some((child) => child.type === ResourceType.pollingChannel)) {
    badRequest(`${structuredPath(parent)} has a polling channel already`);
  }
  if (parent.type === ResourceType.ae && parent.id !== originator) {
    noPrivilege(`only ${parent.id} may create its polling channel`);
  }
}
