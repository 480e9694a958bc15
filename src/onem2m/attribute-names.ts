/** The attributes of the resource types, in groups, with the complex types that only they have (TS-0004 8.2.3, 8.2.5). */

/** How a value that came is set right: a list of texts, of numbers or of anything, a whole number, a truth value. */
export type ValueKind = 'texts' | 'numbers' | 'list' | 'number' | 'flag';

/** What the value behind a name is: opaque unless a shape says how to go on. */
export interface Shape {
  readonly [long: string]: readonly [
    short: string,
    inner?: (() => Shape) | undefined,
    kind?: ValueKind | undefined,
  ];
}

/** One name: its short form and what is known of the value. */
export type Entry = Shape[string];
/** A list of texts. */
export const texts = (short: string): Entry => [short, undefined, 'texts'];
/** A list of numbers. */
export const numbers = (short: string): Entry => [short, undefined, 'numbers'];
/** A whole number. */
export const number = (short: string): Entry => [short, undefined, 'number'];
/** A truth value. */
export const flag = (short: string): Entry => [short, undefined, 'flag'];
/** A list. */
export const listOf = (short: string, inner?: () => Shape): Entry => [short, inner, 'list'];

/** What a resource must be like to match: in filter criteria and in the criteria of a subscription. */
export const resourceConditions: Shape = {
  createdBefore: ['crb'],
  createdAfter: ['cra'],
  modifiedSince: ['ms'],
  unmodifiedSince: ['us'],
  stateTagSmaller: number('sts'),
  stateTagBigger: number('stb'),
  expireBefore: ['exb'],
  expireAfter: ['exa'],
  sizeAbove: number('sza'),
  sizeBelow: number('szb'),
};

const schedule: Shape = { scheduleEntry: texts('sce') };

const context: Shape = {
  accessControlWindow: texts('actw'),
  accessControlIpAddresses: [
    'acip',
    (): Shape => ({ ipv4Addresses: texts('ipv4'), ipv6Addresses: texts('ipv6') }),
  ],
  accessControlLocationRegion: [
    'aclr',
    (): Shape => ({ countryCode: texts('accc'), circularRegion: listOf('accr') }),
  ],
};

const objectDetails: Shape = {
  resourceType: number('ty'),
  specializationId: ['spty'],
  childResourceType: numbers('chty'),
};

/** One rule of `pv` and `pvs` (TS-0004 6.3.5). */
const rule: Shape = {
  accessControlOriginators: texts('acor'),
  accessControlOperations: number('acop'),
  accessControlContexts: listOf('acco', () => context),
  accessControlAuthenticationFlag: flag('acaf'),
  accessControlObjectDetails: listOf('acod', () => objectDetails),
};

const setOfAcrs: Shape = {
  accessControlRule: listOf('acr', () => rule),
};

/** Operations by an originator, watched for or seen. */
export const operationMonitor: Shape = {
  operations: numbers('ops'),
  originator: ['or'],
};

/** `enc` (TS-0004 6.3.5.8). */
const criteria: Shape = {
  notificationEventType: numbers('net'),
  attribute: texts('atr'),
  childResourceType: numbers('chty'),
  operationMonitor: listOf('om', () => operationMonitor),
  missingData: ['md', (): Shape => ({ number: number('num'), duration: ['dur'] })],
  ...resourceConditions,
  filterOperation: number('fo'),
};

const batchNotify: Shape = {
  number: number('num'),
  duration: ['dur'],
};

const rateLimit: Shape = {
  maxNrOfNotify: number('mnn'),
  timeWindow: number('tww'),
};

/** A reference to a child or to a mgmtObj (TS-0004 6.3.5). */
const reference: Shape = {
  name: ['nm'],
  type: number('typ'),
  value: ['val'],
};
/** A list of references to resources. */
export const references = (short: string): Entry => listOf(short, () => reference);

/** One set of back-off parameters of a network access rule, times in ms (TS-0004 D.12). */
const backOff: Shape = {
  networkAction: number('nwa'),
  initialBackoffTime: number('ibt'),
  additionalBackoffTime: number('abt'),
  maximumBackoffTime: number('mbt'),
  optionalRandomBackoffTime: number('rbt'),
};

const activityPattern: Shape = {
  scheduleElement: ['se', (): Shape => schedule],
  stationaryIndication: number('sti'),
};

/** What every resource may have, and what most have (TS-0001 9.6.1.3). */
export const universal: Shape = {
  resourceType: number('ty'),
  resourceId: ['ri'],
  resourceName: ['rn'],
  parentId: ['pi'],
  creationTime: ['ct'],
  lastModifiedTime: ['lt'],
  expirationTime: ['et'],
  labels: texts('lbl'),
  accessControlPolicyIds: texts('acpi'),
  dynamicAuthorizationConsultationIds: texts('daci'),
  announceTo: texts('at'),
  announcedAttribute: texts('aa'),
  announceSyncType: number('ast'),
  creator: ['cr'],
  custodian: ['cstn'],
  location: ['loc'],
  stateTag: number('st'),
  link: ['lnk'],
  childResource: references('ch'),
};

/** What resources of a capacity have (container, flexContainer, timeSeries). */
export const capacity: Shape = {
  maxNrOfInstances: number('mni'),
  maxByteSize: number('mbs'),
  maxInstanceAge: number('mia'),
  currentNrOfInstances: number('cni'),
  currentByteSize: number('cbs'),
};

/** What the standard gives to flexContainers and mgmtObjs. */
export const ofSpecialisations: Shape = {
  containerDefinition: ['cnd'],
  contentSize: number('cs'),
  ontologyRef: ['or'],
  nodeLink: ['nl'],
  fcinEnabled: flag('fcied'),
  mgmtDefinition: number('mgd'),
  objectIds: texts('obis'),
  objectPaths: texts('obps'),
  description: ['dc'],
};

/** CSEBase, remoteCSE, AE, node and contact lists. */
export const ofEntities: Shape = {
  cseType: number('cst'),
  cseId: ['csi'],
  spId: ['spi'],
  inCseId: ['ici'],
  supportedResourceType: numbers('srt'),
  pointOfAccess: texts('poa'),
  supportedReleaseVersions: texts('srv'),
  contentSerialization: texts('csz'),
  currentTime: ['ctm'],
  cseBase: ['cb'],
  m2mExtId: ['mei'],
  triggerRecipientId: number('tri'),
  triggerReferenceNumber: number('trn'),
  requestReachability: flag('rr'),
  descendantCses: texts('dcse'),
  multicastCapability: ['mtcc'],
  externalGroupId: ['egid'],
  activityPatternElements: listOf('ape', () => activityPattern),
  appName: ['apn'],
  appId: ['api'],
  aeId: ['aei'],
  e2eSecInfo: ['esi'],
  registrationStatus: number('regs'),
  trackRegistrationPoints: flag('trps'),
  sessionCapabilities: texts('scp'),
  triggerEnable: flag('tren'),
  nodeId: ['ni'],
  hostedCseLink: ['hcl'],
  hostedAeLinks: texts('hael'),
  hostedServiceLinks: texts('hsl'),
  mgmtClientAddress: ['mgca'],
  roamingStatus: ['rms'],
  networkId: ['nid'],
  nodeType: ['nty'],
  currentState: ['cust'],
  numberImpactedCses: number('nic'),
  aeIdList: texts('ail'),
};

/** Containers, instances and time series. */
export const ofData: Shape = {
  locationId: ['li'],
  disableRetrieval: flag('disr'),
  subscriptionIds: texts('subi'),
  latest: ['la'],
  oldest: ['ol'],
  contentInfo: ['cnf'],
  content: ['con'],
  contentRef: ['conr'],
  deletionCnt: number('dcnt'),
  dataGenerationTime: ['dgt'],
  sequenceNr: number('snr'),
  periodicInterval: number('pei'),
  periodicIntervalDelta: number('peid'),
  missingDataDetect: flag('mdd'),
  missingDataMaxNr: number('mdn'),
  missingDataList: texts('mdlt'),
  missingDataCurrentNr: number('mdc'),
  missingDataDetectTimer: number('mdt'),
};

/** Subscriptions. */
export const ofSubscriptions: Shape = {
  eventNotificationCriteria: ['enc', (): Shape => criteria],
  expirationCounter: number('exc'),
  notificationUri: texts('nu'),
  groupId: ['gpi'],
  notificationForwardingUri: ['nfu'],
  batchNotify: ['bn', (): Shape => batchNotify],
  rateLimit: ['rl', (): Shape => rateLimit],
  preSubscriptionNotify: number('psn'),
  pendingNotification: number('pn'),
  notificationStoragePriority: number('nsp'),
  latestNotify: flag('ln'),
  notificationContentType: number('nct'),
  notificationEventCat: number('nec'),
  subscriberUri: ['su'],
  associatedCrossResourceSub: texts('acrs'),
  notificationStatsEnable: flag('nse'),
  notificationStatsInfo: listOf('nsi'),
  enableEventNotificationOriginator: flag('eeno'),
  maxAge: ['ma'],
};

/** Access control policies, groups, polling channels and schedules. */
export const ofPolicies: Shape = {
  privileges: ['pv', (): Shape => setOfAcrs],
  selfPrivileges: ['pvs', (): Shape => setOfAcrs],
  authorizationDecisionResourceIds: texts('adri'),
  authorizationPolicyResourceIds: texts('apri'),
  authorizationInformationResourceIds: texts('airi'),
  memberType: number('mt'),
  specializationType: ['spty'],
  currentNrOfMembers: number('cnm'),
  maxNrOfMembers: number('mnm'),
  memberIds: texts('mid'),
  membersAccessControlPolicyIds: texts('macp'),
  memberTypeValidated: flag('mtv'),
  consistencyStrategy: number('csy'),
  groupName: ['gn'],
  semanticSupportIndicator: flag('ssi'),
  notifyAggregation: ['nar'],
  requestAggregation: flag('rqag'),
  scheduleElement: ['se', (): Shape => schedule],
  networkCoordinated: flag('nco'),
};

/** Location policies. */
export const ofLocations: Shape = {
  locationSource: number('los'),
  locationInformationType: number('lit'),
  locationUpdatePeriod: texts('lou'),
  locationTargetId: ['lot'],
  locationServer: ['lor'],
  locationContainerId: ['loi'],
  locationContainerName: ['lon'],
  locationStatus: ['lost'],
  geographicalTargetArea: ['gta'],
  geofenceEventCriteria: number('gec'),
  authId: ['aid'],
  retrieveLastKnownLocation: flag('rlkl'),
  locationUpdateEventCriteria: ['luec'],
};

/** The request resource (but for the primitives in it), triggerRequest, mgmtCmd and execInstance. */
export const ofRequests: Shape = {
  operation: number('op'),
  target: ['tg'],
  originator: ['org'],
  requestId: ['rid'],
  requestStatus: number('rs'),
  triggerValidityTime: ['tvt'],
  duration: ['dur'],
  triggerPurpose: number('tpe'),
  triggerStatus: number('tst'),
  triggerInfoAeId: ['tiae'],
  triggerInfoAddress: ['tia'],
  triggerInfoOperation: number('tio'),
  triggerInfoResourceType: number('tirt'),
  cmdType: number('cmt'),
  execReqArgs: ['exra'],
  execEnable: flag('exe'),
  execTarget: ['ext'],
  execMode: number('exm'),
  execFrequency: ['exf'],
  execDelay: ['exy'],
  execNumber: number('exn'),
  execStatus: number('exs'),
  execResult: number('exr'),
  execDisable: flag('exd'),
};

/** Battery and the CMDH policies (TS-0004 D): mgmtObjs with names of their own. */
export const ofMgmtObjs: Shape = {
  batteryLevel: number('btl'),
  batteryStatus: number('bts'),
  cmdhPolicyName: ['cpn'],
  mgmtLink: references('cmlk'),
  activeCmdhPolicyLink: ['acmlk'],
  order: number('od'),
  defEcValue: number('dev'),
  requestOrigin: texts('ror'),
  requestContext: ['rct'],
  requestContextNotification: flag('rctn'),
  requestCharacteristics: ['rch'],
  applicableEventCategory: numbers('aec'),
  defaultRequestExpTime: number('dqet'),
  defaultResultExpTime: number('dset'),
  defaultOpExecTime: number('doet'),
  defaultRespPersistence: number('drp'),
  defaultDelAggregation: flag('dda'),
  limitsEventCategory: numbers('lec'),
  limitsRequestExpTime: ['lqet'],
  limitsResultExpTime: ['lset'],
  limitsOpExecTime: ['loet'],
  limitsRespPersistence: ['lrp'],
  limitsDelAggregation: ['lda'],
  applicableEventCategories: numbers('aecs'),
  targetNetwork: texts('ttn'),
  minReqVolume: number('mrv'),
  spreadingWaitTime: number('swt'),
  backOffParameters: ['bop', (): Shape => ({ backOffParametersSet: listOf('bops', () => backOff) })],
  otherConditions: ['ohc'],
  maxBufferSize: number('mbfs'),
  storagePriority: number('sgp'),
};
