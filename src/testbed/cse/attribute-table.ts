/**
 * Which attributes a resource may have, who sets them and what they hold (TS-0001 9.6, TS-0004 7.4): one row per
 * attribute, one table per resource type. Everything about types that is data and not behaviour is here.
 */
import { ResourceType } from '../../onem2m/enums.ts';

/** What the value of an attribute must look like. */
export type ValueKind =
  'text' | 'texts' | 'uint' | 'uints' | 'flag' | 'timestamp' | 'object' | 'rules' | 'creator' | 'any';

/** Announcement class: always copied, copied when listed in `announcedAttribute`, never (TS-0001 9.6.26). */
export type AnnounceClass = 'always' | 'listed' | 'never';

/** The rule for one attribute of one resource type. */
export interface AttributePolicy {
  readonly kind: ValueKind;
  readonly onCreate: 'mandatory' | 'optional' | 'forbidden';
  readonly onUpdate: 'optional' | 'forbidden';
  readonly announce: AnnounceClass;
}

/** The rule for one resource type. */
export interface TypePolicy {
  /** Root element by its long name; undefined when the root is the specialisation's own. */
  readonly root: string | undefined;
  /** Begins the identifiers that the CSE gives to resources of this type. */
  readonly prefix: string;
  readonly attributes: Readonly<Record<string, AttributePolicy>>;
  /** Types that may be created below. */
  readonly children: readonly number[];
  /** Attributes beyond the table are the specialisation's own and pass unchecked. */
  readonly customAttributes?: true;
}

const optional = (kind: ValueKind, announce: AnnounceClass = 'never'): AttributePolicy => ({
  kind,
  onCreate: 'optional',
  onUpdate: 'optional',
  announce,
});
const mandatory = (kind: ValueKind, announce: AnnounceClass = 'never'): AttributePolicy => ({
  kind,
  onCreate: 'mandatory',
  onUpdate: 'optional',
  announce,
});
const optionalOnce = (kind: ValueKind, announce: AnnounceClass = 'never'): AttributePolicy => ({
  kind,
  onCreate: 'optional',
  onUpdate: 'forbidden',
  announce,
});
const mandatoryOnce = (kind: ValueKind, announce: AnnounceClass = 'never'): AttributePolicy => ({
  kind,
  onCreate: 'mandatory',
  onUpdate: 'forbidden',
  announce,
});
const byServer = (kind: ValueKind = 'any', announce: AnnounceClass = 'never'): AttributePolicy => ({
  kind,
  onCreate: 'forbidden',
  onUpdate: 'forbidden',
  announce,
});

const universal = {
  resourceType: byServer(),
  resourceId: byServer(),
  parentId: byServer(),
  creationTime: byServer(),
  lastModifiedTime: byServer(),
  resourceName: optionalOnce('text'),
};
const ageing = { ...universal, expirationTime: optional('timestamp', 'always') };
const labelled = { ...ageing, labels: optional('texts', 'always') };
const governed = {
  ...labelled,
  accessControlPolicyIds: optional('texts', 'always'),
  dynamicAuthorizationConsultationIds: optional('texts'),
  custodian: optional('text'),
};
const announceable = {
  announceTo: optional('texts'),
  announcedAttribute: optional('texts'),
  announceSyncType: optional('uint', 'always'),
};
const standard = { ...governed, ...announceable, location: optional('object', 'listed') };
const created = { creator: optionalOnce('creator') };
/** A contentInstance and its kin are immutable: no attribute can be updated. */
const instance = {
  ...universal,
  expirationTime: optionalOnce('timestamp', 'always'),
  labels: optionalOnce('texts', 'always'),
  announceTo: optionalOnce('texts'),
  announcedAttribute: optionalOnce('texts'),
  announceSyncType: optionalOnce('uint'),
  location: optionalOnce('object', 'listed'),
  ...created,
};
const capacity = {
  maxNrOfInstances: optional('uint', 'listed'),
  maxByteSize: optional('uint', 'listed'),
  maxInstanceAge: optional('uint', 'listed'),
  currentNrOfInstances: byServer(),
  currentByteSize: byServer(),
};

const t = ResourceType;

const originals: Readonly<Record<number, TypePolicy>> = {
  [t.cseBase]: {
    root: 'cseBase',
    prefix: 'cb',
    attributes: {
      ...universal,
      labels: byServer('texts', 'always'),
      accessControlPolicyIds: byServer(),
      cseType: byServer('uint', 'listed'),
      cseId: byServer('text', 'listed'),
      supportedResourceType: byServer(),
      pointOfAccess: byServer('texts', 'listed'),
      supportedReleaseVersions: byServer('texts', 'always'),
      contentSerialization: byServer('texts', 'listed'),
      currentTime: byServer(),
    },
    children: [
      t.accessControlPolicy,
      t.ae,
      t.remoteCse,
      t.container,
      t.flexContainer,
      t.group,
      t.node,
      t.subscription,
      t.timeSeries,
      t.cseBaseAnnc,
    ],
  },
  [t.remoteCse]: {
    root: 'remoteCse',
    prefix: 'csr',
    attributes: {
      ...standard,
      ...created,
      cseType: optionalOnce('uint', 'listed'),
      pointOfAccess: optional('texts', 'listed'),
      cseBase: mandatoryOnce('text', 'listed'),
      cseId: mandatoryOnce('text', 'listed'),
      m2mExtId: optional('text', 'listed'),
      triggerRecipientId: optional('uint', 'listed'),
      requestReachability: mandatory('flag', 'listed'),
      nodeLink: optional('text', 'listed'),
      contentSerialization: optional('texts', 'listed'),
      e2eSecInfo: optional('object', 'always'),
      descendantCses: optional('texts', 'listed'),
      supportedReleaseVersions: mandatory('texts', 'always'),
      triggerEnable: optional('flag', 'listed'),
    },
    children: [
      t.container,
      t.flexContainer,
      t.group,
      t.subscription,
      t.timeSeries,
      t.pollingChannel,
      t.accessControlPolicy,
    ],
  },
  [t.ae]: {
    root: 'ae',
    prefix: 'ae',
    attributes: {
      ...standard,
      appName: optional('text', 'listed'),
      appId: mandatoryOnce('text', 'listed'),
      aeId: byServer('text', 'listed'),
      pointOfAccess: optional('texts', 'listed'),
      nodeLink: optional('text', 'listed'),
      requestReachability: mandatory('flag', 'listed'),
      contentSerialization: optional('texts', 'listed'),
      e2eSecInfo: optional('object', 'always'),
      m2mExtId: optional('text', 'listed'),
      supportedReleaseVersions: mandatory('texts', 'always'),
      registrationStatus: optional('uint', 'listed'),
      trackRegistrationPoints: optional('flag', 'listed'),
      sessionCapabilities: optional('texts', 'listed'),
      triggerEnable: optional('flag', 'listed'),
      ontologyRef: optional('text', 'listed'),
    },
    children: [
      t.accessControlPolicy,
      t.container,
      t.flexContainer,
      t.group,
      t.pollingChannel,
      t.subscription,
      t.timeSeries,
    ],
  },
  [t.container]: {
    root: 'container',
    prefix: 'cnt',
    attributes: {
      ...standard,
      ...created,
      ...capacity,
      stateTag: byServer(),
      locationId: byServer(),
      ontologyRef: optional('text', 'listed'),
      disableRetrieval: optional('flag', 'listed'),
    },
    children: [t.container, t.contentInstance, t.flexContainer, t.timeSeries, t.subscription],
  },
  [t.contentInstance]: {
    root: 'contentInstance',
    prefix: 'cin',
    attributes: {
      ...instance,
      stateTag: byServer(),
      contentInfo: optionalOnce('text', 'listed'),
      contentSize: byServer(),
      content: optionalOnce('any', 'listed'),
      contentRef: optionalOnce('any', 'listed'),
      ontologyRef: optionalOnce('text', 'listed'),
      deletionCnt: optionalOnce('uint'),
      dataGenerationTime: optionalOnce('timestamp', 'listed'),
    },
    children: [],
  },
  [t.subscription]: {
    root: 'subscription',
    prefix: 'sub',
    attributes: {
      ...governed,
      ...created,
      eventNotificationCriteria: optional('object'),
      expirationCounter: optional('uint'),
      notificationUri: mandatory('texts'),
      groupId: optional('text'),
      notificationForwardingUri: optional('text'),
      batchNotify: optional('object'),
      notificationContentType: optional('uint'),
      notificationEventCat: optional('uint'),
      latestNotify: optional('flag'),
      pendingNotification: optional('uint'),
      notificationStoragePriority: optional('uint'),
      subscriberUri: optionalOnce('text'),
    },
    children: [],
  },
  [t.accessControlPolicy]: {
    root: 'accessControlPolicy',
    prefix: 'acp',
    attributes: {
      ...labelled,
      ...announceable,
      privileges: mandatory('rules', 'always'),
      selfPrivileges: mandatory('rules', 'always'),
    },
    children: [t.subscription],
  },
  [t.group]: {
    root: 'group',
    prefix: 'grp',
    attributes: {
      ...standard,
      ...created,
      memberType: optionalOnce('uint', 'listed'),
      currentNrOfMembers: byServer(),
      maxNrOfMembers: mandatory('uint', 'listed'),
      memberIds: mandatory('texts', 'listed'),
      membersAccessControlPolicyIds: optional('texts', 'listed'),
      memberTypeValidated: byServer(),
      consistencyStrategy: optionalOnce('uint', 'listed'),
      groupName: optional('text', 'listed'),
    },
    children: [t.subscription],
  },
  [t.pollingChannel]: {
    root: 'pollingChannel',
    prefix: 'pch',
    attributes: { ...labelled, requestAggregation: optional('flag') },
    children: [],
  },
  [t.node]: {
    root: 'node',
    prefix: 'nod',
    attributes: {
      ...standard,
      nodeId: mandatory('text', 'always'),
      hostedCseLink: optional('text', 'listed'),
      hostedAeLinks: optional('texts', 'listed'),
    },
    children: [t.flexContainer, t.mgmtObj, t.subscription],
  },
  [t.mgmtObj]: {
    root: undefined,
    prefix: 'mgo',
    attributes: {
      ...standard,
      mgmtDefinition: mandatoryOnce('uint', 'always'),
      description: optional('text', 'listed'),
    },
    children: [t.subscription],
    customAttributes: true,
  },
  [t.flexContainer]: {
    root: undefined,
    prefix: 'fcnt',
    attributes: {
      ...standard,
      ...created,
      ...capacity,
      stateTag: byServer(),
      containerDefinition: mandatoryOnce('text', 'always'),
      ontologyRef: optional('text', 'listed'),
      contentSize: byServer(),
      nodeLink: optional('text', 'listed'),
      fcinEnabled: optional('flag'),
    },
    children: [t.container, t.flexContainer, t.timeSeries, t.subscription],
    customAttributes: true,
  },
  [t.flexContainerInstance]: {
    root: undefined,
    prefix: 'fcin',
    attributes: instance,
    children: [],
    customAttributes: true,
  },
  [t.timeSeries]: {
    root: 'timeSeries',
    prefix: 'ts',
    attributes: {
      ...standard,
      ...created,
      ...capacity,
      periodicInterval: optional('uint', 'listed'),
      periodicIntervalDelta: optional('uint', 'listed'),
      missingDataDetect: optional('flag', 'listed'),
      missingDataMaxNr: optional('uint', 'listed'),
      missingDataList: byServer(),
      missingDataCurrentNr: byServer(),
      missingDataDetectTimer: optional('uint', 'listed'),
      contentInfo: optionalOnce('text', 'listed'),
      ontologyRef: optional('text', 'listed'),
    },
    children: [t.timeSeriesInstance, t.subscription],
  },
  [t.timeSeriesInstance]: {
    root: 'timeSeriesInstance',
    prefix: 'tsi',
    attributes: {
      ...instance,
      dataGenerationTime: mandatoryOnce('timestamp', 'listed'),
      content: mandatoryOnce('any', 'listed'),
      contentSize: byServer(),
      sequenceNr: optionalOnce('uint', 'listed'),
    },
    children: [],
  },
  [t.request]: {
    root: 'request',
    prefix: 'req',
    attributes: {
      ...governed,
      operation: byServer(),
      target: byServer(),
      originator: byServer(),
      requestId: byServer(),
      metaInformation: byServer(),
      primitiveContent: byServer(),
      requestStatus: byServer(),
      operationResult: byServer(),
    },
    children: [],
  },
};

/** Original types that can be announced, with their announced variant. */
const announced: readonly (readonly [number, number])[] = [
  [t.cseBase, t.cseBaseAnnc],
  [t.remoteCse, t.remoteCseAnnc],
  [t.ae, t.aeAnnc],
  [t.container, t.containerAnnc],
  [t.contentInstance, t.contentInstanceAnnc],
  [t.group, t.groupAnnc],
  [t.accessControlPolicy, t.accessControlPolicyAnnc],
  [t.flexContainer, t.flexContainerAnnc],
  [t.timeSeries, t.timeSeriesAnnc],
];

function announcedPolicy(original: TypePolicy): TypePolicy {
  const attributes: Record<string, AttributePolicy> = {
    ...governed,
    link: mandatory('text'),
    announceSyncType: optional('uint'),
  };
  for (const [name, { kind, announce }] of Object.entries(original.attributes)) {
    if (announce !== 'never') attributes[name] = optional(kind);
  }
  const children = announced.filter(([type]) => type !== t.cseBase).map(([, variant]) => variant);
  return {
    root: original.root === undefined ? undefined : `${original.root}Annc`,
    prefix: `${original.prefix}A`,
    attributes,
    children: [...children, t.subscription],
    ...(original.customAttributes === undefined ? {} : { customAttributes: true }),
  };
}

/** The policy of every resource type that the testbed CSE knows, by resource type number. */
export const typePolicies: ReadonlyMap<number, TypePolicy> = new Map([
  ...Object.entries(originals).map(([type, policy]): [number, TypePolicy] => [Number(type), policy]),
  ...announced.flatMap(([type, variant]): [number, TypePolicy][] => {
    const original = originals[type];
    return original === undefined ? [] : [[variant, announcedPolicy(original)]];
  }),
]);

/** Types that the CSE alone creates; a CREATE request for one is refused. */
export const serverCreatedTypes: readonly number[] = [t.cseBase, t.flexContainerInstance, t.request];

/** Types without the attribute `accessControlPolicyIds`: their parent's rules apply (TS-0001 9.6.1.3.2). */
export function isGovernedByParent(type: number): boolean {
  return typePolicies.get(type)?.attributes.accessControlPolicyIds === undefined;
}

/** The announced variant of a type, or undefined when resources of that type are not announced. */
export function announcedVariant(type: number): number | undefined {
  return announced.find(([original]) => original === type)?.[1];
}
