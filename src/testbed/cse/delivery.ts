import { millis } from '../../base/units.ts';
import type { Millis } from '../../base/units.ts';
import { randomHex } from '../../host/entropy.ts';
import type { DeliveryError } from '../../onem2m/binding.ts';
import { CseType, ResourceType, ResponseStatusCode, isSuccess } from '../../onem2m/enums.ts';
import type { RequestPrimitive, ResponsePrimitive, Serialisation } from '../../onem2m/primitives.ts';
import { registeredCse } from './access-control.ts';
import { respond, timeLeftMs } from './cse-core.ts';
import type { CseCore } from './cse-core.ts';
import type { PollingChannels } from './polling-channel.ts';
import { textOf, textsOf } from './resource-tree.ts';
import type { StoredResource } from './resource-tree.ts';
import { normaliseOriginator, resolveTarget } from './target.ts';

/**
 * Outgoing requests: to AEs registered here (point of access or polling channel), to other CSEs (transit through the
 * registrar, TS-0001 8.2.2), to URLs. Every failure to deliver comes back as an error response, never as a throw.
 */
export class Delivery {
  readonly #core: CseCore;
  readonly #pollingChannels: PollingChannels;

  constructor(core: CseCore, pollingChannels: PollingChannels) {
    this.#core = core;
    this.#pollingChannels = pollingChannels;
  }

  /** Passes a request on towards the CSE `cseId`; its originator becomes SP-relative. */
  async toCse(
    cseId: string,
    request: RequestPrimitive,
    serialisation: Serialisation,
  ): Promise<ResponsePrimitive> {
    const core = this.#core;
    const next = nextHop(core, cseId);
    if (next === undefined) {
      const debugInfo = `${core.settings.cseId} is not registered to and knows no CSE ${cseId}`;
      return respond(request, ResponseStatusCode.notFound, { debugInfo });
    }
    const from = request.from;
    const forwarded: RequestPrimitive =
      from === undefined || from.startsWith('/')
        ? request
        : { ...request, from: `${core.settings.cseId}/${from}` };
    const pointsOfAccess = textsOf(next, 'pointOfAccess');
    return this.#send(pointsOfAccess, forwarded, serialisation, textOf(next, 'cseId') ?? cseId);
  }

  /** Passes a request to an AE registered here (TS-0001 9.6.5 `pointOfAccess`, 9.6.21). */
  async toAe(
    ae: StoredResource,
    request: RequestPrimitive,
    serialisation: Serialisation,
  ): Promise<ResponsePrimitive> {
    const channel = [...ae.children.values()].find((child) => child.type === ResourceType.pollingChannel);
    const pointsOfAccess = textsOf(ae, 'pointOfAccess');
    const isReachable = ae.attributes.requestReachability === true && pointsOfAccess.length > 0;
    if (!isReachable && channel !== undefined) return this.#pollingChannels.deliver(channel, request);
    if (!isReachable) {
      const debugInfo = `AE ${ae.id} has neither a reachable point of access nor a polling channel`;
      return respond(request, ResponseStatusCode.targetNotReachable, { debugInfo });
    }
    return this.#send(pointsOfAccess, request, serialisation, ae.id);
  }

  /**
   * Sends a notification to what a `notificationURI` names: a URL, an AE here, or an entity at another CSE. Answers
   * 5103 when the name leads nowhere.
   */
  async toNotificationTarget(target: string, request: RequestPrimitive): Promise<ResponsePrimitive> {
    const core = this.#core;
    if (isUrl(target)) {
      const serialisation = /[?&]ct=(cbor|json)/u.exec(target)?.[1] ?? core.settings.serialisation;
      return this.#send([target], { ...request, to: target }, serialisation as Serialisation, target);
    }
    const addressed = { ...request, to: target };
    const resolved = tryResolve(core, target);
    if (resolved === undefined) {
      const debugInfo = `notification target ${target} does not exist`;
      return respond(request, ResponseStatusCode.targetNotReachable, { debugInfo });
    }
    if (resolved.kind === 'remote') {
      return this.toCse(resolved.cseId, addressed, core.settings.serialisation);
    }
    if (resolved.resource.type !== ResourceType.ae) {
      const debugInfo = `notification target ${target} is no AE`;
      return respond(request, ResponseStatusCode.targetNotReachable, { debugInfo });
    }
    return this.toAe(resolved.resource, addressed, this.serialisationOf(resolved.resource));
  }

  /** How an AE or CSE wants bodies written (`contentSerialization`). */
  serialisationOf(entity: StoredResource): Serialisation {
    const [preferred] = textsOf(entity, 'contentSerialization');
    if (preferred === undefined) return this.#core.settings.serialisation;
    return preferred.includes('cbor') ? 'cbor' : 'json';
  }

  async #send(
    pointsOfAccess: readonly string[],
    request: RequestPrimitive,
    serialisation: Serialisation,
    receiver: string,
  ): Promise<ResponsePrimitive> {
    const core = this.#core;
    const deadlineMs = millis(Math.max(0, timeLeftMs(core, request) ?? 0));
    const usable = pointsOfAccess.filter((each) => core.transports.some((one) => one.canReach(each)));
    let last = respond(request, ResponseStatusCode.targetNotReachable, {
      debugInfo: `no transport reaches ${receiver} (points of access: ${pointsOfAccess.join(', ') || 'none'})`,
    });
    const outcomes: ResponsePrimitive[] = [];
    // Never for a request to a CSE, which would execute it once per point of access.
    const isCopied = core.settings.notifiesEveryPointOfAccess && core.tree.byId(receiver) !== undefined;
    for (const pointOfAccess of usable) {
      const options = { serialisation, deadlineMs, ...(isUrl(receiver) ? {} : { receiver }) };
      const copy = isCopied ? { ...request, requestIdentifier: randomHex(core.entropy, 6) } : request;
      const sent = await this.#sendOnce(pointOfAccess, copy, options);
      last = { ...sent, requestIdentifier: request.requestIdentifier };
      if (!isCopied && isAnswer(last)) return last;
      outcomes.push(last);
    }
    return outcomes.find((each) => isSuccess(each.responseStatusCode)) ?? last;
  }

  async #sendOnce(
    pointOfAccess: string,
    request: RequestPrimitive,
    options: { serialisation: Serialisation; deadlineMs: Millis; receiver?: string },
  ): Promise<ResponsePrimitive> {
    const sent = await this.#core.send(pointOfAccess, request, options);
    if (sent.ok) return { ...sent.value, requestIdentifier: request.requestIdentifier };
    const debugInfo = `${pointOfAccess}: ${sent.error.message}`;
    return respond(request, statusOf(sent.error), { debugInfo });
  }
}

/** True when a notification target is a URL, as opposed to an identifier. */
export function isUrl(target: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//iu.test(target);
}

/** True when a notification target is the originator itself, which spares the verification request. */
export function isSameEntity(core: CseCore, target: string, originator: string): boolean {
  if (isUrl(target)) return false;
  if (normaliseOriginator(core, target) === originator) return true;
  const resolved = tryResolve(core, target);
  return (
    resolved?.kind === 'local' &&
    resolved.resource.type === ResourceType.ae &&
    textOf(resolved.resource, 'aeId') === originator
  );
}

function tryResolve(core: CseCore, target: string): ReturnType<typeof resolveTarget> | undefined {
  try {
    return resolveTarget(core, target);
  } catch {
    return undefined;
  }
}

/** The remoteCSE to which a request for `cseId` goes next: the CSE itself, one above it, or the registrar. */
function nextHop(core: CseCore, cseId: string): StoredResource | undefined {
  const direct = registeredCse(core, cseId);
  if (direct !== undefined) return direct;
  for (const child of core.tree.root.children.values()) {
    if (child.type === ResourceType.remoteCse && textsOf(child, 'descendantCses').includes(cseId))
      return child;
  }
  const { registrar, cseType } = core.settings;
  return cseType === CseType.inCse || registrar === undefined
    ? undefined
    : registeredCse(core, registrar.cseId);
}

function isAnswer(response: ResponsePrimitive): boolean {
  return (
    response.responseStatusCode !== ResponseStatusCode.targetNotReachable &&
    response.responseStatusCode !== ResponseStatusCode.requestTimeout
  );
}

function statusOf(error: DeliveryError): number {
  return error.kind === 'deadline'
    ? ResponseStatusCode.requestTimeout
    : ResponseStatusCode.targetNotReachable;
}
