/**
 * The bundle that a configuration describes. Streams have their containers under the gateway's own AE, or under the AE that the
 * stream or its sensor names; what `bundle` declares is put below its AE by path.
 */
import type { StreamName } from '../base/units.ts';
import {
  commandContainer,
  containerOf,
  gatewayBundle,
  policyOf,
  readerRights,
} from '../handover/bundle-manifest.ts';
import type { AeManifest, BundleManifest, ResourceManifest, Rights } from '../handover/bundle-manifest.ts';
import { AccessControlOperations, NotificationEventType, ResourceType } from '../onem2m/enums.ts';
import { recentContainerName } from '../uplink/destination.ts';
import type { BundleAeConfig, BundleRuleConfig, GatewayConfig, StreamConfig } from './config.ts';

/** AE-ID stem of the gateway's own AE, or of one of the bundle. */
export function aeIdOf(name: string, ae?: BundleAeConfig): string {
  return ae?.aeId ?? `S${name}`;
}

/** The AE that each stream's containers are under, where it is not the gateway's own: its name and its AE-ID stem. */
export function streamAes(
  config: Pick<GatewayConfig, 'device' | 'sensors' | 'bundle'>,
): ReadonlyMap<StreamName, { readonly name: string; readonly aeId: string }> {
  const found = new Map<StreamName, { name: string; aeId: string }>();
  for (const { ae: sensorAe, streams } of config.sensors) {
    for (const { name: stream, ae: name = sensorAe } of streams) {
      if (name === undefined || name === config.device) continue;
      const ae = config.bundle.aes?.find((each) => each.name === name);
      found.set(stream, { name, aeId: aeIdOf(name, ae) });
    }
  }
  return found;
}

/** The bundle; `containers` are those that each stream needs. */
export function bundleOf(
  config: Pick<GatewayConfig, 'device' | 'sensors' | 'bundle' | 'inCse'>,
  containers: ReadonlyMap<StreamName, readonly string[]>,
): BundleManifest {
  const { device, bundle, inCse, sensors } = config;
  const readers = [inCse.cseId, `${inCse.cseId}/*`];
  const placed = streamAes(config);
  const configured = new Map(sensors.flatMap(({ streams }) => streams.map((each) => [each.name, each])));
  const streamsOf = (name: string): ResourceManifest[] =>
    [...containers]
      .filter(([stream]) => (placed.get(stream)?.name ?? device) === name)
      .flatMap(([stream, names]) => streamContainers(names, stream, configured.get(stream)));
  const own = bundle.aes?.find(({ name }) => name === device);
  const others = (bundle.aes ?? []).filter((ae) => ae !== own);
  return gatewayBundle({
    device,
    aeId: aeIdOf(device),
    streams: [],
    readers,
    own: {
      ...(own === undefined ? {} : commonOf(own)),
      ...(own?.appId === undefined ? {} : { appId: own.appId }),
      ...(own?.appName === undefined ? {} : { appName: own.appName }),
      rights: rightsOf(own?.allow ?? []),
      resources: treeOf(streamsOf(device), own, aeIdOf(device)),
    },
    others: others.map((ae): AeManifest => {
      const aeId = aeIdOf(ae.name, ae);
      return {
        name: ae.name,
        aeId,
        appId: ae.appId ?? 'Nbaton',
        appName: ae.appName ?? ae.name,
        policy: 'acp',
        priority: ae.priority,
        ...commonOf(ae),
        resources: [
          policyOf('acp', aeId, [...readerRights(readers), ...rightsOf(ae.allow ?? [])]),
          ...treeOf(streamsOf(ae.name), ae, aeId),
        ],
      };
    }),
  });
}

function commonOf({ dependsOn, announceTo, labels }: BundleAeConfig): Partial<AeManifest> {
  return {
    ...(dependsOn === undefined ? {} : { dependsOn }),
    ...(announceTo === undefined ? {} : { announceTo }),
    ...(labels === undefined ? {} : { labels }),
  };
}

/** The containers of a stream; copies have one of their own, so that the newest instance of the stream stays its newest reading. */
function streamContainers(
  names: readonly string[],
  stream: StreamName,
  config: StreamConfig | undefined,
): ResourceManifest[] {
  const { recent } = config ?? {};
  const made = names.map((name) => containerOf(name));
  const [live, ...rest] = made;
  if (live === undefined || recent === undefined) return made;
  const copies = containerOf(recentContainerName(stream), [], {
    ...(recent.kind === 'last'
      ? { maxNrOfInstances: recent.count }
      : { maxInstanceAge: recent.spanMs / 1000 }),
  });
  return [{ ...live, recent }, ...rest, copies];
}

/** The names of the containers that the gateway itself puts below an AE, by which nothing else may be called. */
export function reservedPaths(streams: readonly string[], isOwn: boolean): string[] {
  const own = isOwn ? [commandContainer, 'intents', 'results', 'results.history'] : [];
  return ['acp', ...own, ...streams.flatMap((name) => [name, `${name}.history`, `${name}.recent`])];
}

/** What is below an AE as trees: each declared resource under the one that its path names. */
function treeOf(
  streams: readonly ResourceManifest[],
  ae: BundleAeConfig | undefined,
  aeId: string,
): ResourceManifest[] {
  const flat = ae === undefined ? [] : declaredIn(ae, aeId);
  const below = (parent: string, resource: ResourceManifest): ResourceManifest => {
    const path = parent === '' ? resource.name : `${parent}/${resource.name}`;
    const children = flat
      .filter((each) => each.path.split('/').slice(0, -1).join('/') === path)
      .map((each) => below(path, each.resource));
    return children.length === 0 ? resource : { ...resource, children };
  };
  const roots = flat.filter(({ path }) => !path.includes('/')).map(({ resource }) => resource);
  return [...streams, ...roots].map((resource) => below('', resource));
}

interface Declared {
  readonly path: string;
  readonly resource: ResourceManifest;
}

function declaredIn(ae: BundleAeConfig, aeId: string): Declared[] {
  const { policies = [], containers = [], flexContainers = [], timeSeries = [] } = ae;
  const governed = governedIn(ae);
  return [
    ...policies.map(({ name, allow }) => ({ path: name, resource: policyOf(name, aeId, rightsOf(allow)) })),
    ...containers.map(({ path, recent, announce, policy, ...rest }) =>
      made(
        path,
        {
          resourceType: ResourceType.container,
          root: 'container',
          attributes: { ...rest, ...governed({ ...(policy === undefined ? {} : { policy }) }) },
          ...(recent === undefined ? {} : { recent }),
        },
        announce,
      ),
    ),
    ...flexContainers.map((each) => {
      const { path, root, containerDefinition, attributes, labels, announce } = each;
      return made(
        path,
        {
          resourceType: ResourceType.flexContainer,
          root,
          attributes: {
            containerDefinition,
            ...attributes,
            ...(labels === undefined ? {} : { labels }),
            ...governed(each),
          },
          // What they have become since is the state of the resource, not a difference from the manifest.
          fixed: ['containerDefinition', ...Object.keys(attributes)],
        },
        announce,
      );
    }),
    ...timeSeries.map(({ path, recent, announce, policy, ...rest }) =>
      made(
        path,
        {
          resourceType: ResourceType.timeSeries,
          root: 'timeSeries',
          attributes: { ...rest, ...governed({ ...(policy === undefined ? {} : { policy }) }) },
          fixed: ['periodicInterval', 'missingDataDetect', 'missingDataDetectTimer'],
          ...(recent === undefined ? {} : { recent }),
        },
        announce,
      ),
    ),
    ...referencesIn(ae),
  ];
}

/** What points at other resources. */
function referencesIn(ae: BundleAeConfig): Declared[] {
  const { subscriptions = [], groups = [], timeSeries = [] } = ae;
  const governed = governedIn(ae);
  return [
    ...groups.map((each) =>
      made(each.path, {
        resourceType: ResourceType.group,
        root: 'group',
        attributes: {
          memberIds: [...each.members],
          maxNrOfMembers: each.maxNrOfMembers,
          ...governed(each),
        },
      }),
    ),
    ...subscriptions.map((each) =>
      made(each.path, {
        resourceType: ResourceType.subscription,
        root: 'subscription',
        attributes: {
          eventNotificationCriteria: criteriaOf(
            each.events,
            timeSeries.some(({ path }) => each.path.startsWith(`${path}/`)),
          ),
          notificationUri: [...each.notify],
          notificationContentType: 1,
        },
      }),
    ),
  ];
}

function governedIn(ae: BundleAeConfig): (resource: { readonly policy?: string }) => Record<string, unknown> {
  return ({ policy }) => (policy === undefined ? {} : { accessControlPolicyIds: [`./${ae.name}/${policy}`] });
}

function made(path: string, resource: Omit<ResourceManifest, 'name'>, isAnnounced = false): Declared {
  const name = path.split('/').at(-1) ?? path;
  return { path, resource: { name, ...resource, ...(isAnnounced ? { isAnnounced } : {}) } };
}

const eventTypes = {
  update: NotificationEventType.updateOfResource,
  delete: NotificationEventType.deleteOfResource,
  createChild: NotificationEventType.createOfDirectChild,
  deleteChild: NotificationEventType.deleteOfDirectChild,
} as const;

/** What a subscription watches: new instances unless it says otherwise. */
function criteriaOf(
  events: readonly (keyof typeof eventTypes)[] | undefined,
  isOfSeries: boolean,
): Record<string, unknown> {
  if (events !== undefined) return { notificationEventType: events.map((event) => eventTypes[event]) };
  return {
    notificationEventType: [NotificationEventType.createOfDirectChild],
    childResourceType: [isOfSeries ? ResourceType.timeSeriesInstance : ResourceType.contentInstance],
  };
}

function rightsOf(rules: readonly BundleRuleConfig[]): Rights[] {
  return rules.map(({ originators, operations }) => ({
    originators,
    operations: [...new Set(operations)].reduce((sum, each) => sum + AccessControlOperations[each], 0),
  }));
}
