import { randomHex } from '../../host/entropy.ts';
import {
  DiscoveryResultType,
  Operation,
  RequestStatus,
  ResourceType,
  ResponseStatusCode,
  ResponseType,
  ResultContent,
  isSuccess,
} from '../../onem2m/enums.ts';
import { encodeTimestamp } from '../../onem2m/primitives.ts';
import type { RequestPrimitive, ResponsePrimitive } from '../../onem2m/primitives.ts';
import { requireAllowed } from './access-control.ts';
import { createResource } from './create-resource.ts';
import { modifyResource, removeResource, respond, storeResource, timeLeftMs } from './cse-core.ts';
import type { CseCore, IncomingRequest } from './cse-core.ts';
import type { RequestOrigin } from './cse-transport.ts';
import type { Delivery } from './delivery.ts';
import { select } from './discovery.ts';
import { fanOut } from './group.ts';
import { recordFlexContainer } from './instances.ts';
import type { PollingChannels } from './polling-channel.ts';
import { badRequest, refuse } from './refusal.ts';
import { structuredPath } from './resource-tree.ts';
import type { Attributes, StoredResource } from './resource-tree.ts';
import {
  childReference,
  contentAfterWrite,
  contentOfResource,
  isDiscoveryRequest,
  requireRetrievable,
  resultContentOf,
  virtualInstance,
} from './result-content.ts';
import { addressOf, normaliseOriginator, resolveTarget } from './target.ts';
import type { Target } from './target.ts';
import { updateResource } from './update-resource.ts';

/** The parts that requests are handed to. */
export interface DispatchParts {
  readonly core: CseCore;
  readonly delivery: Delivery;
  readonly pollingChannels: PollingChannels;
}

type LocalTarget = Extract<Target, { kind: 'local' }>;

/** How long the outcome of a non-blocking request can be fetched. */
const outcomeKeptMs = 60_000;

const releaseVersions: readonly string[] = ['2a', '3', '4', '5'];

/**
 * Carries out one request (TS-0004 7.2.2, 7.3): checks the primitive, finds the target, forwards or executes. Throws
 * `CseRefusal` for what is answered with an error.
 */
export async function dispatch(
  parts: DispatchParts,
  request: RequestPrimitive,
  origin: RequestOrigin,
  arrivalMs: number,
): Promise<ResponsePrimitive> {
  const { core, delivery } = parts;
  checkPrimitive(core, request);
  const originator = normaliseOriginator(core, request.from ?? '');
  const incoming: IncomingRequest = { request, origin, originator, arrivalMs };
  const target = resolveTarget(core, request.to);
  if (target.kind === 'remote') return delivery.toCse(target.cseId, request, origin.serialisation);
  if (request.responseType === ResponseType.nonBlockingRequestSynch) return defer(core, incoming);
  if (request.responseType === ResponseType.nonBlockingRequestAsynch) return deferNotified(parts, incoming);
  return execute(parts, incoming, target);
}

function checkPrimitive(core: CseCore, request: RequestPrimitive): void {
  const { releaseVersionIndicator, operation, from, responseType } = request;
  checkKinds(request);
  if (releaseVersionIndicator === undefined) {
    refuse(
      ResponseStatusCode.releaseVersionNotSupported,
      'the release version indicator (rvi) is missing; send "4"',
    );
  }
  if (!releaseVersions.includes(releaseVersionIndicator)) {
    refuse(
      ResponseStatusCode.releaseVersionNotSupported,
      `release version ${releaseVersionIndicator} is not supported; ${releaseVersions.join(', ')}`,
    );
  }
  if (!(Object.values(Operation) as number[]).includes(operation))
    badRequest(`operation ${String(operation)} is unknown`);
  const isRegistration =
    operation === Operation.create && request.resourceType === (ResourceType.ae as number);
  if ((from === undefined || from === '') && !isRegistration) badRequest('the originator (fr) is missing');
  const leftMs = timeLeftMs(core, request);
  if (leftMs === undefined) {
    badRequest(`requestExpirationTimestamp (rqet) "${request.requestExpirationTimestamp}" is no time`);
  }
  if (leftMs <= 0) {
    refuse(
      ResponseStatusCode.requestTimeout,
      `the request expired at ${request.requestExpirationTimestamp ?? ''}`,
    );
  }
  if (responseType === ResponseType.flexBlocking) {
    refuse(ResponseStatusCode.notImplemented, `response type (rt) ${responseType} is not supported`);
  }
  if (request.operationExecutionTime !== undefined) {
    refuse(ResponseStatusCode.notImplemented, 'operationExecutionTime (oet) is not supported');
  }
}

/** What came over MQTT or in another body was decoded tolerantly: parameters may hold anything. */
function checkKinds(request: RequestPrimitive): void {
  const kinds: Partial<Record<keyof RequestPrimitive, 'string' | 'number'>> = {
    from: 'string',
    releaseVersionIndicator: 'string',
    requestExpirationTimestamp: 'string',
    resourceType: 'number',
    resultContent: 'number',
    responseType: 'number',
    discoveryResultType: 'number',
  };
  for (const [name, kind] of Object.entries(kinds)) {
    const value: unknown = request[name as keyof RequestPrimitive];
    if (value !== undefined && typeof value !== kind) badRequest(`${name} must be a ${kind}`);
  }
  const { attributeList } = request as { attributeList?: unknown };
  if (attributeList !== undefined && !Array.isArray(attributeList))
    badRequest('attributeList must be a list');
}

async function execute(
  parts: DispatchParts,
  incoming: IncomingRequest,
  target: LocalTarget,
): Promise<ResponsePrimitive> {
  const { core } = parts;
  const { request } = incoming;
  const { resource } = target;
  switch (target.virtual) {
    case 'fanOutPoint':
      return fanOut(core, incoming, resource, target.suffix);
    case 'pollingChannelUri':
      return executePolling(parts, incoming, resource);
    case 'latest':
    case 'oldest': {
      const readable = request.operation === Operation.retrieve || request.operation === Operation.delete;
      if (!readable) {
        return refuse(
          ResponseStatusCode.operationNotAllowed,
          `${request.to} can only be retrieved or deleted`,
        );
      }
      return executeOn(parts, incoming, {
        ...target,
        resource: virtualInstance(resource, target.virtual),
      });
    }
    case undefined:
      break;
  }
  return executeOn(parts, incoming, target);
}

async function executePolling(
  { pollingChannels }: DispatchParts,
  incoming: IncomingRequest,
  channel: StoredResource,
): Promise<ResponsePrimitive> {
  const { operation } = incoming.request;
  if (operation === Operation.retrieve) return pollingChannels.poll(channel, incoming);
  if (operation === Operation.notify) return pollingChannels.answer(channel, incoming);
  return refuse(ResponseStatusCode.operationNotAllowed, 'pcu is polled by RETRIEVE and answered by NOTIFY');
}

async function executeOn(
  parts: DispatchParts,
  incoming: IncomingRequest,
  target: LocalTarget,
): Promise<ResponsePrimitive> {
  switch (incoming.request.operation) {
    case Operation.create:
      return executeCreate(parts, incoming, target);
    case Operation.retrieve:
      return executeRetrieve(parts, incoming, target);
    case Operation.update:
      return executeUpdate(parts, incoming, target);
    case Operation.delete:
      return executeDelete(parts, incoming, target);
    case Operation.notify:
      return executeNotify(parts, incoming, target);
  }
}

async function executeCreate(
  { core, delivery }: DispatchParts,
  incoming: IncomingRequest,
  target: LocalTarget,
): Promise<ResponsePrimitive> {
  const { request } = incoming;
  const resultContent = resultContentOf(request);
  const resource = await createResource(core, delivery, incoming, target.resource);
  if (resource.type === ResourceType.flexContainer) recordFlexContainer(core, resource, resource.createdBy);
  if (resource.type === ResourceType.contentInstance) {
    core.emit({
      kind: 'instanceCreated',
      cseId: core.settings.cseId,
      path: structuredPath(resource),
      resourceId: resource.id,
      originator: incoming.originator,
      content: resource.attributes.content,
      labels: (resource.attributes.labels ?? []) as string[],
      arrivalMs: incoming.arrivalMs,
    });
  }
  const content = contentAfterWrite(core, resource, resultContent, {
    sent: sentAttributes(request),
    isSpRelative: target.isSpRelative,
  });
  return respond(request, ResponseStatusCode.created, content);
}

function executeRetrieve(
  { core }: DispatchParts,
  incoming: IncomingRequest,
  target: LocalTarget,
): ResponsePrimitive {
  const { request } = incoming;
  const { resource } = target;
  const resultContent = resultContentOf(request);
  if (isDiscoveryRequest(request)) return discover(core, incoming, target, resultContent);
  requireAllowed(core, incoming.originator, 'retrieve', resource);
  requireRetrievable(resource);
  const content = contentOfResource(core, incoming, resource, {
    resultContent,
    isSpRelative: target.isSpRelative,
  });
  return respond(request, ResponseStatusCode.ok, content);
}

function discover(
  core: CseCore,
  incoming: IncomingRequest,
  { resource, isSpRelative }: LocalTarget,
  resultContent: number,
): ResponsePrimitive {
  const { request } = incoming;
  const isUnstructured = request.discoveryResultType === DiscoveryResultType.unstructured;
  const addresses = select(core, incoming, resource, 'discovery').map((each): [StoredResource, string] => [
    each,
    isUnstructured
      ? `${isSpRelative ? `${core.settings.cseId}/` : ''}${each.id}`
      : addressOf(core, each, isSpRelative),
  ]);
  if (resultContent === ResultContent.discoveryResultReferences) {
    const uriList = addresses.map(([, address]) => address);
    return respond(request, ResponseStatusCode.ok, { uriList });
  }
  const resourceReference = addresses.map(([each, address]) => childReference(each, address));
  return respond(request, ResponseStatusCode.ok, { resourceReferenceList: { resourceReference } });
}

async function executeUpdate(
  { core, delivery }: DispatchParts,
  incoming: IncomingRequest,
  target: LocalTarget,
): Promise<ResponsePrimitive> {
  const { request } = incoming;
  const resultContent = resultContentOf(request);
  const sent = await updateResource(core, delivery, incoming, target.resource);
  const content = contentAfterWrite(core, target.resource, resultContent, {
    sent,
    isSpRelative: target.isSpRelative,
  });
  return respond(request, ResponseStatusCode.updated, content);
}

function executeDelete(
  { core }: DispatchParts,
  incoming: IncomingRequest,
  target: LocalTarget,
): ResponsePrimitive {
  const { request } = incoming;
  const { resource } = target;
  const resultContent = resultContentOf(request);
  requireAllowed(core, incoming.originator, 'delete', resource);
  if (resource === core.tree.root)
    refuse(ResponseStatusCode.operationNotAllowed, 'the CSEBase cannot be deleted');
  const content = contentOfResource(core, incoming, resource, {
    resultContent,
    isSpRelative: target.isSpRelative,
  });
  removeResource(core, resource);
  return respond(request, ResponseStatusCode.deleted, content);
}

/** NOTIFY to an AE is passed on to it, given the privilege (TS-0001 10.2.10.5); the CSEBase takes what concerns CSEs. */
async function executeNotify(
  { core, delivery }: DispatchParts,
  incoming: IncomingRequest,
  { resource }: LocalTarget,
): Promise<ResponsePrimitive> {
  const { request, originator, origin } = incoming;
  if (resource === core.tree.root) {
    requireAllowed(core, originator, 'retrieve', resource);
    return respond(request, ResponseStatusCode.ok);
  }
  if (resource.type !== ResourceType.ae) {
    return refuse(
      ResponseStatusCode.operationNotAllowed,
      `${structuredPath(resource)} does not take notifications`,
    );
  }
  requireAllowed(core, originator, 'notify', resource);
  return delivery.toAe(resource, request, origin.serialisation);
}

/**
 * Non-blocking, synchronous (TS-0001 8.2.2): answers at once with the address of a request resource in which the
 * outcome appears.
 */
function defer(core: CseCore, incoming: IncomingRequest): ResponsePrimitive {
  const { request, originator, origin, arrivalMs } = incoming;
  const { responseType, ...blocking } = request;
  const record = storeResource(core, {
    type: ResourceType.request,
    root: 'request',
    parent: core.tree.root,
    createdBy: originator,
    arrivalMs,
    attributes: {
      operation: request.operation,
      target: request.to,
      originator: request.from,
      requestId: request.requestIdentifier,
      metaInformation: { responseType: { responseTypeValue: responseType } },
      requestStatus: RequestStatus.pending,
      expirationTime: encodeTimestamp(core.clock.unixMs() + outcomeKeptMs),
    },
  });
  void core.perform(blocking, origin).then((operationResult) => {
    if (core.lifetime.aborted || !core.tree.holds(record)) return;
    const isDone = isSuccess(operationResult.responseStatusCode);
    modifyResource(core, record, {
      operationResult,
      requestStatus: isDone ? RequestStatus.completed : RequestStatus.failed,
    });
  });
  return respond(request, ResponseStatusCode.acceptedNonBlockingSynch, { uri: record.id });
}

/** Non-blocking, asynchronous (TS-0001 8.2.2): answers at once, and the outcome is notified; to nobody twice. */
function deferNotified({ core, delivery }: DispatchParts, incoming: IncomingRequest): ResponsePrimitive {
  const { request, originator, origin } = incoming;
  const { responseType: _, notificationUris = [originator], ...blocking } = request;
  void core.perform(blocking, origin).then(async (responsePrimitive) => {
    for (const target of new Set(notificationUris)) {
      if (core.lifetime.aborted) return;
      await delivery.toNotificationTarget(target, {
        operation: Operation.notify,
        to: target,
        from: core.settings.cseId,
        requestIdentifier: randomHex(core.entropy, 6),
        releaseVersionIndicator: '4',
        primitiveContent: { responsePrimitive },
      });
    }
  });
  return respond(request, ResponseStatusCode.acceptedNonBlockingAsynch);
}

function sentAttributes(request: RequestPrimitive): Attributes {
  const [attributes] = Object.values(request.primitiveContent ?? {});
  return typeof attributes === 'object' && attributes !== null ? (attributes as Attributes) : {};
}

/** The type of what a request addresses, for matching scripted misbehaviour; undefined when it is not here. */
export function addressedType(core: CseCore, request: RequestPrimitive): number | undefined {
  if (request.operation === Operation.create) return request.resourceType;
  try {
    const target = resolveTarget(core, request.to);
    return target.kind === 'local' ? target.resource.type : undefined;
  } catch {
    return undefined;
  }
}
