/**
 * Resources as the code handles them: long attribute names of oneM2M TS-0004 8.2.3 in camel case, values plain (strings,
 * numbers, booleans, arrays, objects). Attributes are optional throughout because which of them are present depends on
 * who wrote the representation; what came from outside is a claim to be checked where it is used.
 */

/** Attributes every resource has (TS-0001 9.6.1.3). Times are `YYYYMMDDTHHMMSS`, UTC. */
export interface UniversalAttributes {
  resourceType?: number;
  resourceId?: string;
  resourceName?: string;
  parentId?: string;
  creationTime?: string;
  lastModifiedTime?: string;
}

/** Attributes most resources have (TS-0001 9.6.1.3.2). */
export interface CommonAttributes extends UniversalAttributes {
  expirationTime?: string;
  labels?: string[];
  accessControlPolicyIds?: string[];
  dynamicAuthorizationConsultationIds?: string[];
  announceTo?: string[];
  announcedAttribute?: string[];
  announceSyncType?: number;
  creator?: string | null;
  custodian?: string;
  location?: unknown;
  stateTag?: number;
}

export interface CseBase extends CommonAttributes {
  cseType?: number;
  cseId?: string;
  supportedResourceType?: number[];
  pointOfAccess?: string[];
  supportedReleaseVersions?: string[];
  contentSerialization?: string[];
  currentTime?: string;
}

export interface RemoteCse extends CommonAttributes {
  cseType?: number;
  cseBase?: string;
  cseId?: string;
  pointOfAccess?: string[];
  requestReachability?: boolean;
  supportedReleaseVersions?: string[];
  contentSerialization?: string[];
  descendantCses?: string[];
}

export interface Ae extends CommonAttributes {
  appName?: string;
  appId?: string;
  aeId?: string;
  pointOfAccess?: string[];
  requestReachability?: boolean;
  supportedReleaseVersions?: string[];
  contentSerialization?: string[];
  registrationStatus?: number;
  trackRegistrationPoints?: boolean;
}

export interface Container extends CommonAttributes {
  maxNrOfInstances?: number;
  maxByteSize?: number;
  maxInstanceAge?: number;
  currentNrOfInstances?: number;
  currentByteSize?: number;
  disableRetrieval?: boolean;
}

export interface ContentInstance extends CommonAttributes {
  contentInfo?: string;
  contentSize?: number;
  /** Opaque to oneM2M; never translated. */
  content?: unknown;
}

/** Event notification criteria `enc` (TS-0004 6.3.5.8). */
export interface EventNotificationCriteria {
  notificationEventType?: number[];
  attribute?: string[];
  childResourceType?: number[];
}

export interface Subscription extends CommonAttributes {
  eventNotificationCriteria?: EventNotificationCriteria;
  notificationUri?: string[];
  notificationContentType?: number;
  batchNotify?: { number?: number; duration?: string };
  subscriberUri?: string;
  expirationCounter?: number;
  latestNotify?: boolean;
  notificationForwardingUri?: string;
}

/** One access control rule (TS-0004 6.3.5.29). */
export interface AccessControlRule {
  accessControlOriginators: string[];
  accessControlOperations: number;
}

/** A set of rules, `pv` or `pvs`. */
export interface SetOfAcrs {
  accessControlRule?: AccessControlRule[];
}

export interface AccessControlPolicy extends CommonAttributes {
  privileges?: SetOfAcrs;
  selfPrivileges?: SetOfAcrs;
}

export interface Group extends CommonAttributes {
  memberType?: number;
  currentNrOfMembers?: number;
  maxNrOfMembers?: number;
  memberIds?: string[];
  membersAccessControlPolicyIds?: string[];
  memberTypeValidated?: boolean;
  consistencyStrategy?: number;
  groupName?: string;
}

export interface TimeSeries extends CommonAttributes {
  maxNrOfInstances?: number;
  maxByteSize?: number;
  maxInstanceAge?: number;
  currentNrOfInstances?: number;
  currentByteSize?: number;
  periodicInterval?: number;
  missingDataDetect?: boolean;
  missingDataMaxNr?: number;
  missingDataList?: string[];
  missingDataCurrentNr?: number;
  missingDataDetectTimer?: number;
  contentInfo?: string;
}

export interface TimeSeriesInstance extends CommonAttributes {
  dataGenerationTime?: string;
  content?: unknown;
  contentSize?: number;
  sequenceNr?: number;
}

/** A notification `sgn` (TS-0004 6.3.5.13 and 7.5.1.1). */
export interface Notification {
  notificationEvent?: { notificationEventType?: number; representation?: PrimitiveContent };
  verificationRequest?: boolean;
  subscriptionDeletion?: boolean;
  subscriptionReference?: string;
  creator?: string;
  notificationForwardingUri?: string;
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
  pollingChannel?: CommonAttributes;
  timeSeries?: TimeSeries;
  timeSeriesInstance?: TimeSeriesInstance;
  notification?: Notification;
  aggregatedNotification?: { notification?: Notification[] };
  uri?: string;
  uriList?: string[];
  resourceReferenceList?: unknown;
  debugInfo?: string;
  [root: string]: unknown;
}
