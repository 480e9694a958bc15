/**
 * Long names to short names and back (TS-0004 8.2.2 to 8.2.4). Only the serialisation uses this table. A short name is
 * unique within its shape, not across shapes (`or` is `ontologyRef` in an AE and `originator` in an operation monitor).
 */

/** What the value behind a name is: opaque unless a shape says how to go on. */
export interface Shape {
  readonly [long: string]: readonly [short: string, inner?: () => Shape];
}

const rule: Shape = {
  accessControlOriginators: ['acor'],
  accessControlOperations: ['acop'],
};

const setOfAcrs: Shape = {
  accessControlRule: ['acr', () => rule],
};

const criteria: Shape = {
  notificationEventType: ['net'],
  attribute: ['atr'],
  childResourceType: ['chty'],
  createdBefore: ['crb'],
  createdAfter: ['cra'],
  modifiedSince: ['ms'],
  unmodifiedSince: ['us'],
  missingData: ['md'],
  operationMonitor: ['om'],
};

const batchNotify: Shape = {
  number: ['num'],
  duration: ['dur'],
};

/** Attributes of every resource type. */
export const attributeNames: Shape = {
  resourceType: ['ty'],
  resourceId: ['ri'],
  resourceName: ['rn'],
  parentId: ['pi'],
  creationTime: ['ct'],
  lastModifiedTime: ['lt'],
  expirationTime: ['et'],
  labels: ['lbl'],
  accessControlPolicyIds: ['acpi'],
  dynamicAuthorizationConsultationIds: ['daci'],
  announceTo: ['at'],
  announcedAttribute: ['aa'],
  announceSyncType: ['ast'],
  creator: ['cr'],
  custodian: ['cstn'],
  location: ['loc'],
  stateTag: ['st'],
  link: ['lnk'],
  cseType: ['cst'],
  cseId: ['csi'],
  supportedResourceType: ['srt'],
  pointOfAccess: ['poa'],
  nodeLink: ['nl'],
  supportedReleaseVersions: ['srv'],
  contentSerialization: ['csz'],
  currentTime: ['ctm'],
  cseBase: ['cb'],
  m2mExtId: ['mei'],
  triggerRecipientId: ['tri'],
  requestReachability: ['rr'],
  descendantCses: ['dcse'],
  appName: ['apn'],
  appId: ['api'],
  aeId: ['aei'],
  ontologyRef: ['or'],
  e2eSecInfo: ['esi'],
  registrationStatus: ['regs'],
  trackRegistrationPoints: ['trps'],
  sessionCapabilities: ['scp'],
  triggerEnable: ['tren'],
  maxNrOfInstances: ['mni'],
  maxByteSize: ['mbs'],
  maxInstanceAge: ['mia'],
  currentNrOfInstances: ['cni'],
  currentByteSize: ['cbs'],
  locationId: ['li'],
  disableRetrieval: ['disr'],
  subscriptionIds: ['subi'],
  latest: ['la'],
  oldest: ['ol'],
  contentInfo: ['cnf'],
  contentSize: ['cs'],
  content: ['con'],
  contentRef: ['conr'],
  deletionCnt: ['dcnt'],
  dataGenerationTime: ['dgt'],
  sequenceNr: ['snr'],
  containerDefinition: ['cnd'],
  fcinEnabled: ['fcied'],
  eventNotificationCriteria: ['enc', () => criteria],
  expirationCounter: ['exc'],
  notificationUri: ['nu'],
  groupId: ['gpi'],
  notificationForwardingUri: ['nfu'],
  batchNotify: ['bn', () => batchNotify],
  rateLimit: ['rl'],
  preSubscriptionNotify: ['psn'],
  pendingNotification: ['pn'],
  notificationStoragePriority: ['nsp'],
  latestNotify: ['ln'],
  notificationContentType: ['nct'],
  notificationEventCat: ['nec'],
  subscriberUri: ['su'],
  privileges: ['pv', () => setOfAcrs],
  selfPrivileges: ['pvs', () => setOfAcrs],
  memberType: ['mt'],
  specializationType: ['spty'],
  currentNrOfMembers: ['cnm'],
  maxNrOfMembers: ['mnm'],
  memberIds: ['mid'],
  membersAccessControlPolicyIds: ['macp'],
  memberTypeValidated: ['mtv'],
  consistencyStrategy: ['csy'],
  groupName: ['gn'],
  notifyAggregation: ['nar'],
  requestAggregation: ['rqag'],
  nodeId: ['ni'],
  hostedCseLink: ['hcl'],
  hostedAeLinks: ['hael'],
  mgmtDefinition: ['mgd'],
  description: ['dc'],
  periodicInterval: ['pei'],
  periodicIntervalDelta: ['peid'],
  missingDataDetect: ['mdd'],
  missingDataMaxNr: ['mdn'],
  missingDataList: ['mdlt'],
  missingDataCurrentNr: ['mdc'],
  missingDataDetectTimer: ['mdt'],
  operation: ['op'],
  target: ['tg'],
  originator: ['org'],
  requestId: ['rid'],
  metaInformation: ['mi'],
  primitiveContent: ['pc'],
  requestStatus: ['rs'],
  operationResult: ['ors', () => responseNames],
};

const notificationEvent: Shape = {
  notificationEventType: ['net'],
  operationMonitor: ['om'],
  representation: ['rep', () => rootNames],
};

const notification: Shape = {
  notificationEvent: ['nev', () => notificationEvent],
  verificationRequest: ['vrq'],
  subscriptionDeletion: ['sud'],
  subscriptionReference: ['sur'],
  creator: ['cr'],
  notificationForwardingUri: ['nfu'],
  aeReferencePersistence: ['aerp'],
  targetId1: ['tid1'],
  targetId2: ['tid2'],
};

const aggregatedNotification: Shape = {
  notification: ['m2m:sgn', () => notification],
};

const aggregatedResponse: Shape = {
  response: ['m2m:rsp', () => responseNames],
};

const filterCriteria: Shape = {
  filterUsage: ['fu'],
  resourceType: ['ty'],
  labels: ['lbl'],
  createdBefore: ['crb'],
  createdAfter: ['cra'],
  modifiedSince: ['ms'],
  unmodifiedSince: ['us'],
  contentFilterType: ['cty'],
  level: ['lvl'],
  offset: ['ofst'],
  limit: ['lim'],
  applyRelativePath: ['arp'],
};

const responseType: Shape = {
  responseTypeValue: ['rtv'],
  notificationUri: ['nu'],
};

/** Parameters of a request primitive (TS-0004 8.2.2). */
export const requestNames: Shape = {
  operation: ['op'],
  to: ['to'],
  from: ['fr'],
  requestIdentifier: ['rqi'],
  resourceType: ['ty'],
  primitiveContent: ['pc', () => rootNames],
  releaseVersionIndicator: ['rvi'],
  resultContent: ['rcn'],
  responseType: ['rt', () => responseType],
  requestExpirationTimestamp: ['rqet'],
  resultExpirationTimestamp: ['rset'],
  operationExecutionTime: ['oet'],
  originatingTimestamp: ['ot'],
  eventCategory: ['ec'],
  groupRequestIdentifier: ['gid'],
  filterCriteria: ['fc', () => filterCriteria],
  discoveryResultType: ['drt'],
  attributeList: ['atrl'],
};

/** Parameters of a response primitive (TS-0004 8.2.2). */
export const responseNames: Shape = {
  responseStatusCode: ['rsc'],
  requestIdentifier: ['rqi'],
  primitiveContent: ['pc', () => rootNames],
  to: ['to'],
  from: ['fr'],
  originatingTimestamp: ['ot'],
  releaseVersionIndicator: ['rvi'],
};

/** A resource may hold child resources under their root elements (`rcn` 4 and 8, TS-0004 7.4.1). */
const resourceNames: Shape = {};
const resource = (): Shape => resourceNames;

/** Root elements of a primitive's content (TS-0004 8.2.4). */
export const rootNames: Shape = {
  cseBase: ['m2m:cb', resource],
  remoteCse: ['m2m:csr', resource],
  ae: ['m2m:ae', resource],
  container: ['m2m:cnt', resource],
  contentInstance: ['m2m:cin', resource],
  subscription: ['m2m:sub', resource],
  accessControlPolicy: ['m2m:acp', resource],
  group: ['m2m:grp', resource],
  pollingChannel: ['m2m:pch', resource],
  node: ['m2m:nod', resource],
  request: ['m2m:req', resource],
  timeSeries: ['m2m:ts', resource],
  timeSeriesInstance: ['m2m:tsi', resource],
  cseBaseAnnc: ['m2m:cbA', resource],
  remoteCseAnnc: ['m2m:csrA', resource],
  aeAnnc: ['m2m:aeA', resource],
  containerAnnc: ['m2m:cntA', resource],
  contentInstanceAnnc: ['m2m:cinA', resource],
  groupAnnc: ['m2m:grpA', resource],
  accessControlPolicyAnnc: ['m2m:acpA', resource],
  timeSeriesAnnc: ['m2m:tsA', resource],
  notification: ['m2m:sgn', () => notification],
  aggregatedNotification: ['m2m:agn', () => aggregatedNotification],
  requestPrimitive: ['m2m:rqp', () => requestNames],
  responsePrimitive: ['m2m:rsp', () => responseNames],
  aggregatedResponse: ['m2m:agr', () => aggregatedResponse],
  resourceWrapper: ['m2m:rce', () => wrapperNames],
  uri: ['m2m:uri'],
  uriList: ['m2m:uril'],
  resourceReferenceList: ['m2m:rrl'],
  debugInfo: ['m2m:dbg'],
};

/** A resource beside its address (`rcn` 3, TS-0004 7.5.2), which has another short name there. */
export const wrapperNames: Shape = { ...rootNames, uri: ['uri'] };

const childRoots = Object.entries(rootNames).filter(
  // The CSEBase is nobody's child, and its root shares its long name with an attribute.
  ([long, entry]) => entry[1] === resource && long !== 'cseBase',
);
Object.assign(resourceNames, Object.fromEntries(childRoots), attributeNames);

/**
 * The attributes that are the same word on the wire for filter use, for example `shortAttributeName('cseId')` is `csi`.
 */
export function shortAttributeName(long: string): string {
  return attributeNames[long]?.[0] ?? long;
}
