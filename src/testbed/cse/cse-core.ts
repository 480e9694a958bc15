import type { Result } from '../../base/result.ts';
import { millis } from '../../base/units.ts';
import type { Millis } from '../../base/units.ts';
import type { Clock } from '../../host/clock.ts';
import { randomHex } from '../../host/entropy.ts';
import type { Entropy } from '../../host/entropy.ts';
import type { DeliveryError } from '../../onem2m/binding.ts';
import type { CseType } from '../../onem2m/enums.ts';
import { encodeTimestamp, parseTimestamp } from '../../onem2m/primitives.ts';
import type { RequestPrimitive, ResponsePrimitive, Serialisation } from '../../onem2m/primitives.ts';
import type { PrimitiveContent } from '../../onem2m/resources.ts';
import { typePolicies } from './attribute-table.ts';
import type { CseTransport, RequestOrigin } from './cse-transport.ts';
import type { Attributes, ResourceTree, StoredResource } from './resource-tree.ts';

/** The CSE at which an MN-CSE registers. */
export interface RegistrarSettings {
  /** SP-relative CSE-ID, `/id-in`. */
  readonly cseId: string;
  readonly pointOfAccess: string;
  /** Resource name of its CSEBase, `cse-in`. */
  readonly cseBaseName: string;
}

/** How one testbed CSE is set up. */
export interface CseSettings {
  /** SP-relative CSE-ID with its slash, `/id-mn1`. */
  readonly cseId: string;
  /** Resource name of the CSEBase, `cse-mn1`. */
  readonly cseBaseName: string;
  readonly cseType: CseType;
  /** M2M service provider, `//sp.example`. */
  readonly spId: string;
  /** Originator that may do everything here, `CAdmin`. */
  readonly adminOriginator: string;
  readonly registrar?: RegistrarSettings;
  /** Labels of this CSE's remoteCSE at its registrar, for example `baton:target`. */
  readonly labels: readonly string[];
  /** How long a request, notification or poll without an own limit may take. */
  readonly requestDeadlineMs: Millis;
  /** Wait between two attempts to register at the registrar. */
  readonly registrationRetryMs: Millis;
  /** Period with which the registration is checked and its lease renewed. */
  readonly registrationCheckMs: Millis;
  /** Life of a remoteCSE without renewal; the registrar drops a dead MN-CSE after it. */
  readonly registrationLeaseMs: Millis;
  /** Latest `expirationTime` granted, counted from now. */
  readonly lifetimeMaxMs: Millis;
  /** Resources held at most; a CREATE beyond is answered 5207. */
  readonly resourcesMax: number;
  /** Originators (`*` allowed) that may read and discover the remoteCSEs here, by decision of the operator. */
  readonly remoteCseReaders: readonly string[];
  /** Body format of notifications to receivers that state none. */
  readonly serialisation: Serialisation;
  /** Send a notification to every point of access of an AE, as some CSEs do, instead of the first that answers. */
  readonly notifiesEveryPointOfAccess: boolean;
}

/** What a change to the tree was. */
export type ResourceChange =
  | { readonly kind: 'created'; readonly resource: StoredResource }
  | { readonly kind: 'updated'; readonly resource: StoredResource; readonly modified: readonly string[] }
  | {
      readonly kind: 'deleted';
      readonly resource: StoredResource;
      /** The resource itself last, what was below it before. */
      readonly removed: readonly StoredResource[];
    };

/** Something worth measuring or showing that happened in a testbed CSE. */
export type CseEvent =
  | {
      readonly kind: 'instanceCreated';
      readonly cseId: string;
      /** Structured CSE-relative address. */
      readonly path: string;
      readonly resourceId: string;
      readonly originator: string;
      readonly content: unknown;
      readonly labels: readonly string[];
      /** Monotonic time at which the request arrived, in ms. */
      readonly arrivalMs: number;
    }
  | {
      readonly kind: 'answered';
      readonly cseId: string;
      readonly request: RequestPrimitive;
      /** Undefined when a scripted misbehaviour kept the CSE silent. */
      readonly responseStatusCode: number | undefined;
      readonly arrivalMs: number;
    }
  | {
      readonly kind: 'notificationFailed';
      readonly cseId: string;
      readonly target: string;
      readonly reason: string;
    }
  | { readonly kind: 'registered' | 'crashed' | 'restarted'; readonly cseId: string };

/** A request on its way through the CSE. */
export interface IncomingRequest {
  readonly request: RequestPrimitive;
  readonly origin: RequestOrigin;
  /** Originator in the form it has at this CSE: bare stem for own AEs, SP-relative for others. */
  readonly originator: string;
  readonly arrivalMs: number;
}

/** What the parts of a testbed CSE share: settings, time, the tree of this run and ways to act. */
export interface CseCore {
  readonly settings: CseSettings;
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly transports: readonly CseTransport[];
  readonly tree: ResourceTree;
  /** Points of access of the transports, known once they listen. */
  readonly pointsOfAccess: readonly string[];
  /** Aborts when this run of the CSE ends by a crash or a stop. */
  readonly lifetime: AbortSignal;
  /** Sends to a point of access that one of the transports reaches; scripted misbehaviour applies. */
  send(
    pointOfAccess: string,
    request: RequestPrimitive,
    options: { serialisation: Serialisation; deadlineMs: Millis },
  ): Promise<Result<ResponsePrimitive, DeliveryError>>;
  /** Runs a request as if it had arrived; used for group members and deferred requests. */
  perform(request: RequestPrimitive, origin: RequestOrigin): Promise<ResponsePrimitive>;
  /** Tells every part of the CSE about a change that has just been made. */
  changed(change: ResourceChange): void;
  emit(event: CseEvent): void;
}

/** Now, as oneM2M writes it. */
export function timestampNow(core: CseCore): string {
  return encodeTimestamp(core.clock.unixMs());
}

/** A response primitive to `request`. */
export function respond(
  request: RequestPrimitive,
  responseStatusCode: number,
  primitiveContent?: PrimitiveContent,
): ResponsePrimitive {
  return {
    responseStatusCode,
    requestIdentifier: request.requestIdentifier,
    ...(primitiveContent === undefined ? {} : { primitiveContent }),
  };
}

/**
 * Milliseconds a request may still take: until its Request Expiration Timestamp (absolute, or signed milliseconds as
 * text), else the default. Zero or less means it is past; undefined that the text is no timestamp.
 */
export function timeLeftMs(core: CseCore, request: RequestPrimitive): Millis | undefined {
  const limit = request.requestExpirationTimestamp;
  if (limit === undefined) return core.settings.requestDeadlineMs;
  if (/^[+-]?\d{1,10}$/u.test(limit)) return millis(Number(limit));
  const expiryMs = parseTimestamp(limit);
  return expiryMs === undefined ? undefined : millis(expiryMs - core.clock.unixMs());
}

/** Puts a resource into the tree with its universal attributes; announces the change. Checks nothing. */
export function storeResource(
  core: CseCore,
  options: {
    type: number;
    root: string;
    parent: StoredResource;
    attributes: Attributes;
    createdBy: string;
    arrivalMs: number;
    id?: string;
    name?: string;
  },
): StoredResource {
  const { type, root, parent, createdBy, arrivalMs } = options;
  const prefix = typePolicies.get(type)?.prefix ?? 'res';
  const id = options.id ?? `${prefix}${randomHex(core.entropy, 6)}`;
  const name = options.name ?? `${prefix}_${randomHex(core.entropy, 4)}`;
  const now = timestampNow(core);
  const expirationTime =
    options.attributes.expirationTime ?? encodeTimestamp(core.clock.unixMs() + core.settings.lifetimeMaxMs);
  const attributes: Attributes = {
    ...options.attributes,
    resourceType: type,
    resourceId: id,
    resourceName: name,
    parentId: parent.id,
    creationTime: now,
    lastModifiedTime: now,
    expirationTime,
  };
  const resource: StoredResource = {
    type,
    root,
    id,
    name,
    parent,
    attributes,
    children: new Map(),
    instances: [],
    subscriptions: new Set(),
    createdBy,
    arrivalMs,
  };
  core.tree.add(resource);
  core.changed({ kind: 'created', resource });
  return resource;
}

/** Takes a resource and everything below it out of the tree and announces the change. */
export function removeResource(core: CseCore, resource: StoredResource): void {
  if (!core.tree.holds(resource)) return;
  const removed = core.tree.remove(resource);
  core.changed({ kind: 'deleted', resource, removed });
}

/** Changes attributes of a resource (`undefined` removes one), stamps it and announces the change. */
export function modifyResource(core: CseCore, resource: StoredResource, changes: Attributes): void {
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) delete resource.attributes[name];
    else resource.attributes[name] = value;
  }
  resource.attributes.lastModifiedTime = timestampNow(core);
  core.changed({ kind: 'updated', resource, modified: Object.keys(changes) });
}
