/**
 * Resources as the code handles them: long attribute names of oneM2M TS-0004 8.2.3 in camel case, values plain (strings,
 * numbers, booleans, arrays, objects). Attributes are optional throughout because which of them are present depends on
 * who wrote the representation; what came from outside is a claim to be checked where it is used.
 */

import type { CommonAttributes, ResourceConditions, ResourceReference } from './common-attributes.ts';
import type { Battery, CmdhMgmtObj, MgmtCmd, NodeResource } from './mgmt-resources.ts';

/** When something is, `se`: `"second minute hour day month weekday year"`. */
export interface ScheduleEntries {
  scheduleEntry?: string[];
}

/** What an AE or a CSE expects of its own traffic, `ape`. */
export interface ActivityPattern {
  scheduleElement?: ScheduleEntries;
  stationaryIndication?: number;
}

/** The CSE itself (TS-0001 9.6.3). */
export interface CseBase extends CommonAttributes {
  cseType?: number;
  cseId?: string;
  spId?: string;
  inCseId?: string;
  supportedResourceType?: number[];
  pointOfAccess?: string[];
  supportedReleaseVersions?: string[];
  contentSerialization?: string[];
  currentTime?: string;
  e2eSecInfo?: unknown;
  nodeLink?: string;
}

/** A CSE that is registered here (TS-0001 9.6.4). */
export interface RemoteCse extends CommonAttributes {
  cseType?: number;
  cseBase?: string;
  cseId?: string;
  spId?: string;
  inCseId?: string;
  pointOfAccess?: string[];
  requestReachability?: boolean;
  supportedReleaseVersions?: string[];
  contentSerialization?: string[];
  descendantCses?: string[];
  m2mExtId?: string;
  triggerRecipientId?: number;
  triggerReferenceNumber?: number;
  triggerEnable?: boolean;
  multicastCapability?: string;
  externalGroupId?: string;
  activityPatternElements?: ActivityPattern[];
  nodeLink?: string;
  e2eSecInfo?: unknown;
}

/** An application entity (TS-0001 9.6.5). */
export interface Ae extends CommonAttributes {
  appName?: string;
  appId?: string;
  /** The stem, or SP-relative where a CSE writes it so: `aeIdStem` tells. */
  aeId?: string;
  pointOfAccess?: string[];
  requestReachability?: boolean;
  supportedReleaseVersions?: string[];
  contentSerialization?: string[];
  registrationStatus?: number;
  trackRegistrationPoints?: boolean;
  sessionCapabilities?: string[];
  triggerEnable?: boolean;
  m2mExtId?: string;
  activityPatternElements?: ActivityPattern[];
  ontologyRef?: string;
  nodeLink?: string;
  e2eSecInfo?: unknown;
}

/** What may hold instances up to a limit: ages in s, sizes in octets. */
export interface CapacityAttributes extends CommonAttributes {
  maxNrOfInstances?: number;
  maxByteSize?: number;
  maxInstanceAge?: number;
  currentNrOfInstances?: number;
  currentByteSize?: number;
}

/** A container of contentInstances (TS-0001 9.6.6). */
export interface Container extends CapacityAttributes {
  disableRetrieval?: boolean;
  locationId?: string;
  ontologyRef?: string;
  subscriptionIds?: string[];
}

/** One immutable content (TS-0001 9.6.7). */
export interface ContentInstance extends CommonAttributes {
  contentInfo?: string;
  contentSize?: number;
  /** Opaque to oneM2M; never translated. */
  content?: unknown;
  contentRef?: unknown;
  ontologyRef?: string;
  deletionCnt?: number;
  dataGenerationTime?: string;
}

/** A container of own attributes (TS-0001 9.6.35), whose root is its specialisation's own. */
export interface FlexContainer extends CapacityAttributes {
  containerDefinition?: string;
  contentSize?: number;
  ontologyRef?: string;
  nodeLink?: string;
  fcinEnabled?: boolean;
  [custom: string]: unknown;
}

/** Event notification criteria `enc` (TS-0004 6.3.5.8). */
export interface EventNotificationCriteria extends ResourceConditions {
  notificationEventType?: number[];
  attribute?: string[];
  childResourceType?: number[];
  operationMonitor?: OperationMonitor[];
  missingData?: { number?: number; duration?: string };
  filterOperation?: number;
}

/** Operations by an originator that a subscription watches, or the one that was seen. */
export interface OperationMonitor {
  operations?: number[];
  originator?: string;
}

/** A wish to be notified (TS-0001 9.6.8). */
export interface Subscription extends CommonAttributes {
  eventNotificationCriteria?: EventNotificationCriteria;
  notificationUri?: string[];
  notificationContentType?: number;
  notificationEventCat?: number;
  /** `duration` as `PT5S`. */
  batchNotify?: { number?: number; duration?: string };
  /** At most so many notifications in so many seconds. */
  rateLimit?: { maxNrOfNotify?: number; timeWindow?: number };
  preSubscriptionNotify?: number;
  pendingNotification?: number;
  notificationStoragePriority?: number;
  subscriberUri?: string;
  expirationCounter?: number;
  latestNotify?: boolean;
  groupId?: string;
  notificationForwardingUri?: string;
  associatedCrossResourceSub?: string[];
  notificationStatsEnable?: boolean;
  notificationStatsInfo?: unknown[];
  enableEventNotificationOriginator?: boolean;
  maxAge?: string;
}

/** One access control rule (TS-0004 6.3.5.29). */
export interface AccessControlRule {
  accessControlOriginators: string[];
  accessControlOperations: number;
  /** When and from where the rule holds. */
  accessControlContexts?: AccessControlContext[];
  accessControlAuthenticationFlag?: boolean;
  /** What the rule is for, where it is not for everything. */
  accessControlObjectDetails?: {
    resourceType?: number;
    childResourceType?: number[];
    specializationId?: string;
  }[];
}

/** When and from where an access control rule holds. */
export interface AccessControlContext {
  accessControlWindow?: string[];
  accessControlIpAddresses?: { ipv4Addresses?: string[]; ipv6Addresses?: string[] };
  accessControlLocationRegion?: { countryCode?: string[]; circularRegion?: unknown[] };
}

/** A set of rules, `pv` or `pvs`. */
export interface SetOfAcrs {
  accessControlRule?: AccessControlRule[];
}

/** Who may do what (TS-0001 9.6.2). */
export interface AccessControlPolicy extends CommonAttributes {
  privileges?: SetOfAcrs;
  selfPrivileges?: SetOfAcrs;
  authorizationDecisionResourceIds?: string[];
  authorizationPolicyResourceIds?: string[];
  authorizationInformationResourceIds?: string[];
}

/** Resources that are addressed together (TS-0001 9.6.13). */
export interface Group extends CommonAttributes {
  memberType?: number;
  specializationType?: string;
  currentNrOfMembers?: number;
  maxNrOfMembers?: number;
  memberIds?: string[];
  membersAccessControlPolicyIds?: string[];
  memberTypeValidated?: boolean;
  consistencyStrategy?: number;
  groupName?: string;
  semanticSupportIndicator?: boolean;
  notifyAggregation?: unknown;
}

/** Where requests wait for an AE that cannot be reached (TS-0001 9.6.21). */
export interface PollingChannelResource extends CommonAttributes {
  requestAggregation?: boolean;
}

/** A series of instances with a period (TS-0001 9.6.36); times in ms. */
export interface TimeSeries extends CapacityAttributes {
  periodicInterval?: number;
  periodicIntervalDelta?: number;
  missingDataDetect?: boolean;
  missingDataMaxNr?: number;
  missingDataList?: string[];
  missingDataCurrentNr?: number;
  missingDataDetectTimer?: number;
  contentInfo?: string;
  ontologyRef?: string;
}

/** One instance of a time series (TS-0001 9.6.37). */
export interface TimeSeriesInstance extends CommonAttributes {
  dataGenerationTime?: string;
  content?: unknown;
  contentSize?: number;
  sequenceNr?: number;
}

/** A request that is or was under way without its originator waiting (TS-0001 9.6.12). */
export interface RequestResource extends CommonAttributes {
  operation?: number;
  target?: string;
  originator?: string;
  requestId?: string;
  metaInformation?: unknown;
  primitiveContent?: PrimitiveContent;
  requestStatus?: number;
  /** A response primitive, as far as the CSE wrote one. */
  operationResult?: unknown;
}

/** When its parent is active (TS-0001 9.6.9). */
export interface Schedule extends CommonAttributes {
  scheduleElement?: ScheduleEntries;
  networkCoordinated?: boolean;
}

/** Where locations come from and go to (TS-0001 9.6.10). */
export interface LocationPolicy extends CommonAttributes {
  locationSource?: number;
  locationInformationType?: number;
  locationUpdatePeriod?: string[];
  locationTargetId?: string;
  locationServer?: string;
  locationContainerId?: string;
  locationContainerName?: string;
  locationStatus?: string;
  geographicalTargetArea?: unknown;
  geofenceEventCriteria?: number;
  authId?: string;
  retrieveLastKnownLocation?: boolean;
  locationUpdateEventCriteria?: unknown;
}

/** A request to wake a device (TS-0001 9.6.44), at an IN-CSE only. */
export interface TriggerRequest extends CommonAttributes {
  m2mExtId?: string;
  triggerRecipientId?: number;
  triggerValidityTime?: string;
  duration?: string;
  triggerPurpose?: number;
  triggerStatus?: number;
  triggerInfoAeId?: string;
  triggerInfoAddress?: string;
  triggerInfoOperation?: number;
  triggerInfoResourceType?: number;
}

/** What a trigger tells the device (TS-0004 9.2.1). */
export interface TriggerPayload {
  triggerPurpose?: number;
  triggerInfoAeId?: string;
  triggerInfoAddress?: string;
  triggerInfoOperation?: number;
  triggerInfoResourceType?: number;
  triggerInfoPointOfAccess?: string[];
  triggerInfoSerializationTypes?: string[];
}

/** Who at a CSE refers to an AE (TS-0001 9.6.42, 9.6.43). */
export interface AeContactList extends CommonAttributes {
  currentState?: unknown;
  numberImpactedCses?: number;
  cseId?: string;
  aeIdList?: string[];
}

/**
 * A notification `sgn` (TS-0004 6.3.5.13 and 7.5.1.1). `aeRegistrationPointChange` and `aeReferenceIdChange` tell that an
 * AE is now known under `trackingId2` instead of `trackingId1` (TS-0004 7.5.1.2).
 */
export interface Notification {
  notificationEvent?: {
    notificationEventType?: number;
    operationMonitor?: OperationMonitor;
    representation?: PrimitiveContent;
  };
  verificationRequest?: boolean;
  subscriptionDeletion?: boolean;
  subscriptionReference?: string;
  creator?: string;
  notificationForwardingUri?: string;
  notificationTarget?: string;
  targetRemovalRequest?: boolean;
  targetRemovalAllowance?: boolean;
  ipeDiscoveryRequest?: unknown;
  aeRegistrationPointChange?: boolean;
  aeReferenceIdChange?: boolean;
  trackingId1?: string;
  trackingId2?: string;
}

/**
 * Primitive content by its root element. Roots this table does not name (flexContainer specialisations such as
 * `cod:battery`) keep their wire name, and their custom attributes theirs.
 */
export interface PrimitiveContent {
  cseBase?: CseBase;
  remoteCse?: RemoteCse;
  ae?: Ae;
  container?: Container;
  contentInstance?: ContentInstance;
  subscription?: Subscription;
  accessControlPolicy?: AccessControlPolicy;
  group?: Group;
  pollingChannel?: PollingChannelResource;
  node?: NodeResource;
  request?: RequestResource;
  schedule?: Schedule;
  locationPolicy?: LocationPolicy;
  triggerRequest?: TriggerRequest;
  mgmtCmd?: MgmtCmd;
  execInstance?: MgmtCmd;
  aeContactList?: AeContactList;
  aeContactListPerCse?: AeContactList;
  timeSeries?: TimeSeries;
  timeSeriesInstance?: TimeSeriesInstance;
  battery?: Battery;
  cmdhPolicy?: CmdhMgmtObj;
  activeCmdhPolicy?: CmdhMgmtObj;
  cmdhDefaults?: CmdhMgmtObj;
  cmdhDefEcValue?: CmdhMgmtObj;
  cmdhEcDefParamValues?: CmdhMgmtObj;
  cmdhLimits?: CmdhMgmtObj;
  cmdhNetworkAccessRules?: CmdhMgmtObj;
  cmdhNwAccessRule?: CmdhMgmtObj;
  cmdhBuffer?: CmdhMgmtObj;
  cseBaseAnnc?: CseBase;
  remoteCseAnnc?: RemoteCse;
  aeAnnc?: Ae;
  containerAnnc?: Container;
  contentInstanceAnnc?: ContentInstance;
  groupAnnc?: Group;
  accessControlPolicyAnnc?: AccessControlPolicy;
  nodeAnnc?: NodeResource;
  scheduleAnnc?: Schedule;
  locationPolicyAnnc?: LocationPolicy;
  timeSeriesAnnc?: TimeSeries;
  timeSeriesInstanceAnnc?: TimeSeriesInstance;
  notification?: Notification;
  aggregatedNotification?: { notification?: Notification[] };
  /** A request inside another body: `requestOf` makes a primitive of it. */
  requestPrimitive?: unknown;
  /** A response inside another body: `responseOf` makes a primitive of it. */
  responsePrimitive?: unknown;
  aggregatedResponse?: { response?: unknown };
  triggerPayload?: TriggerPayload;
  uri?: string;
  uriList?: string[];
  resourceReferenceList?: { resourceReference?: ResourceReference[] };
  debugInfo?: string;
  [root: string]: unknown;
}
