/**
 * What the bundle consists of: the manifest is the truth, and a CSE is brought to it (repair-plan.ts).
 *
 * An AE is a tree of resources below a CSEBase. The first AE is the gateway's own: it holds the streams and the command
 * container. All AEs move together or not at all (G13); priority says whose requests go first where a window is full,
 * `dependsOn` which AEs must be registered before.
 */
import { DecodeError } from '../base/errors.ts';
import type { Millis } from '../base/units.ts';
import { AccessControlOperations, NotificationEventType, ResourceType } from '../onem2m/enums.ts';
import type { AccessControlRule, PrimitiveContent } from '../onem2m/resources.ts';

/** What of the instances of a container is copied to the next CSE: the newest so many, or those of the last so many ms. */
export type RecentPolicy =
  { readonly kind: 'last'; readonly count: number } | { readonly kind: 'since'; readonly spanMs: Millis };

/** A resource below an AE. */
export interface ResourceManifest {
  readonly name: string;
  readonly resourceType: ResourceType;
  /** Root element of its representation (`container`, `subscription`, `cod:battery` …). */
  readonly root: keyof PrimitiveContent & string;
  /** Attributes it has to have beside its name; an address that begins with `./` is below the CSEBase. */
  readonly attributes: Readonly<Record<string, unknown>>;
  /** Attributes that only a CREATE may carry. */
  readonly fixed?: readonly string[];
  /** Its newest instances are taken along in a move. */
  readonly recent?: RecentPolicy;
  /** It is announced with its AE. */
  readonly isAnnounced?: true;
  readonly children?: readonly ResourceManifest[];
}

/** One AE of the bundle. */
export interface AeManifest {
  /** Resource name, the same at every CSE. */
  readonly name: string;
  /** AE-ID stem, the same at every CSE. */
  readonly aeId: string;
  readonly appId: string;
  readonly appName: string;
  /** Name of the ACP among its children that governs it and what lies below. */
  readonly policy?: string;
  /** CSEs to which it is announced while it serves. */
  readonly announceTo?: readonly string[];
  /** Labels beside those that say what the AE is in. */
  readonly labels?: readonly string[];
  /** 1 to 10; the requests of a higher one go first. */
  readonly priority: number;
  /** Names of AEs that are registered before. */
  readonly dependsOn?: readonly string[];
  readonly resources: readonly ResourceManifest[];
}

/** The whole bundle; the gateway's own AE is the first. */
export interface BundleManifest {
  readonly device: string;
  readonly aes: readonly [AeManifest, ...AeManifest[]];
}

/** Name of the command container under the gateway's AE. */
export const commandContainer = 'cmd';

/** Name of the subscription that brings commands down. */
export const commandSubscription = 'cmd-sub';

/** Name of the container under the gateway's AE that takes triggers from whoever is at the same CSE. */
export const intentContainer = 'intents';

/** Who may do what, beside an AE itself: bits of `AccessControlOperations`. */
export interface Rights {
  readonly originators: readonly string[];
  readonly operations: number;
}

/** What originators may do that read an AE's data and send it commands. */
export function readerRights(readers: readonly string[]): Rights[] {
  const { create, retrieve, notify, discovery } = AccessControlOperations;
  return readers.length === 0
    ? []
    : [{ originators: readers, operations: create + retrieve + notify + discovery }];
}

/** The bundle of a gateway: its own AE with a container for each stream, and the AEs that are configured beside it. */
export function gatewayBundle(options: {
  readonly device: string;
  readonly aeId: string;
  /** Container names, one for each stream of the gateway's own AE. */
  readonly streams: readonly string[];
  /** Originators beside the AE itself that may read its data and send it commands. */
  readonly readers: readonly string[];
  /** What the gateway's own AE has beside that; `resources` come instead of the containers of the streams. */
  readonly own?: Partial<AeManifest> & { readonly rights?: readonly Rights[] };
  readonly others?: readonly AeManifest[];
}): BundleManifest {
  const { device, aeId, streams, readers, others = [] } = options;
  const { rights = [], resources = streams.map((name) => containerOf(name)), ...more } = options.own ?? {};
  const own: AeManifest = {
    appId: 'Nbaton',
    appName: 'baton',
    policy: 'acp',
    priority: 10,
    ...more,
    name: device,
    aeId,
    resources: [
      policyOf('acp', aeId, [...readerRights(readers), ...rights]),
      ...resources,
      containerOf(commandContainer, [subscriptionOf(commandSubscription, [aeId])]),
      containerOf(intentContainer, [subscriptionOf('intents-sub', [aeId])]),
    ],
  };
  return checkBundle({ device, aes: [own, ...others] });
}

/** An ACP by which the AE itself may do everything and others what `rules` say. */
export function policyOf(name: string, aeId: string, rules: readonly Rights[]): ResourceManifest {
  const own: AccessControlRule = {
    accessControlOriginators: [aeId],
    accessControlOperations: AccessControlOperations.all,
  };
  const others = rules.map(({ originators, operations }): AccessControlRule => ({
    accessControlOriginators: [...originators],
    accessControlOperations: operations,
  }));
  return {
    name,
    resourceType: ResourceType.accessControlPolicy,
    root: 'accessControlPolicy',
    attributes: {
      privileges: { accessControlRule: [own, ...others] },
      selfPrivileges: { accessControlRule: [own] },
    },
  };
}

/** A container. */
export function containerOf(
  name: string,
  children: readonly ResourceManifest[] = [],
  attributes: Readonly<Record<string, unknown>> = {},
): ResourceManifest {
  return { name, resourceType: ResourceType.container, root: 'container', attributes, children };
}

/** A subscription to new instances of its parent. */
export function subscriptionOf(name: string, notificationUri: readonly string[]): ResourceManifest {
  return {
    name,
    resourceType: ResourceType.subscription,
    root: 'subscription',
    attributes: {
      eventNotificationCriteria: {
        notificationEventType: [NotificationEventType.createOfDirectChild],
        childResourceType: [ResourceType.contentInstance],
      },
      notificationUri: [...notificationUri],
      notificationContentType: 1,
    },
  };
}

/** The same bundle; throws `DecodeError` for names given twice, and for dependencies that are missing or go in a circle. */
export function checkBundle(bundle: BundleManifest): BundleManifest {
  const names = new Set<string>();
  for (const { name, aeId, resources, policy } of bundle.aes) {
    for (const taken of [name, aeId]) {
      if (names.has(taken)) throw new DecodeError(`two AEs of the bundle are named ${taken}; rename one`);
      names.add(taken);
    }
    if (policy !== undefined && !resources.some((resource) => resource.name === policy)) {
      throw new DecodeError(`AE ${name} has no access control policy ${policy}; add it or name another`);
    }
  }
  for (const ae of bundle.aes) registrationLevel(bundle, ae);
  return bundle;
}

/**
 * Why an order to move these AEs is refused; undefined when it means the whole bundle. The AEs of a bundle share one claim, one
 * serving CSE and one command container, so that moving some of them would split it (G13, I4, I5).
 */
export function whyNotClosed(names: readonly string[], ordered: readonly string[]): string | undefined {
  const unknown = ordered.filter((name) => !names.includes(name));
  if (unknown.length > 0) return `${unknown.join(', ')}: not in the bundle, which is ${names.join(', ')}`;
  const left = names.filter((name) => !ordered.includes(name));
  if (left.length === 0) return undefined;
  return `${left.join(', ')} would be left behind, and a bundle is never split; name them too, or no AEs to move them all`;
}

/** How many AEs must be registered one after the other before this one. */
export function registrationLevel(
  bundle: BundleManifest,
  ae: AeManifest,
  above: readonly string[] = [],
): number {
  if (above.includes(ae.name)) {
    throw new DecodeError(`the AEs ${[...above, ae.name].join(', ')} depend on each other in a circle`);
  }
  const levels = (ae.dependsOn ?? []).map((name) => {
    const needed = bundle.aes.find((other) => other.name === name);
    if (needed === undefined)
      throw new DecodeError(`AE ${ae.name} depends on ${name}, which is not in the bundle`);
    return registrationLevel(bundle, needed, [...above, ae.name]) + 1;
  });
  return Math.max(0, ...levels);
}
