/**
 * Long names to short names and back (TS-0004 8.2.2 to 8.2.5). Only the serialisation uses this table. A short name is
 * unique within its shape, not across shapes (`or` is `ontologyRef` in an AE and `originator` in an operation monitor).
 *
 * A name may say what kind its value is, for a reader that is tolerant: CSEs are known to send one text where a list of
 * texts is meant, and numbers as text (`regs`).
 */

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

type Entry = Shape[string];
const texts = (short: string): Entry => [short, undefined, 'texts'];
const numbers = (short: string): Entry => [short, undefined, 'numbers'];
const number = (short: string): Entry => [short, undefined, 'number'];
const flag = (short: string): Entry => [short, undefined, 'flag'];
const listOf = (short: string, inner?: () => Shape): Entry => [short, inner, 'list'];

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

const operationMonitor: Shape = {
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
const references = (short: string): Entry => listOf(short, () => reference);

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

const universal: Shape = {
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
const capacity: Shape = {
  maxNrOfInstances: number('mni'),
  maxByteSize: number('mbs'),
  maxInstanceAge: number('mia'),
  currentNrOfInstances: number('cni'),
  currentByteSize: number('cbs'),
};

const ofSpecialisations: Shape = {
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

const ofEntities: Shape = {
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

const ofData: Shape = {
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

const ofSubscriptions: Shape = {
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

const ofPolicies: Shape = {
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

const ofLocations: Shape = {
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

/** The request resource, triggerRequest, mgmtCmd and execInstance. */
const ofRequests: Shape = {
  operation: number('op'),
  target: ['tg'],
  originator: ['org'],
  requestId: ['rid'],
  metaInformation: ['mi', (): Shape => requestNames],
  primitiveContent: ['pc', (): Shape => rootNames],
  requestStatus: number('rs'),
  operationResult: ['ors', (): Shape => responseNames],
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
const ofMgmtObjs: Shape = {
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

/** Attributes of every resource type. */
export const attributeNames: Shape = {
  ...universal,
  ...capacity,
  ...ofSpecialisations,
  ...ofEntities,
  ...ofData,
  ...ofSubscriptions,
  ...ofPolicies,
  ...ofLocations,
  ...ofRequests,
  ...ofMgmtObjs,
};

const notificationEvent: Shape = {
  notificationEventType: number('net'),
  operationMonitor: ['om', (): Shape => operationMonitor],
  representation: ['rep', (): Shape => rootNames],
};

/** `sgn` (TS-0004 6.3.5.13); the last four follow an AE that registers elsewhere (TS-0004 7.5.1.2.16, 7.5.1.2.17). */
const notification: Shape = {
  notificationEvent: ['nev', (): Shape => notificationEvent],
  verificationRequest: flag('vrq'),
  subscriptionDeletion: flag('sud'),
  subscriptionReference: ['sur'],
  creator: ['cr'],
  notificationForwardingUri: ['nfu'],
  notificationTarget: ['ntt'],
  targetRemovalRequest: flag('trr'),
  targetRemovalAllowance: flag('tra'),
  ipeDiscoveryRequest: [
    'idr',
    (): Shape => ({ originator: ['org'], filterCriteria: ['fc', (): Shape => filterCriteria] }),
  ],
  aeRegistrationPointChange: flag('aerp'),
  aeReferenceIdChange: flag('aerid'),
  trackingId1: ['tid1'],
  trackingId2: ['tid2'],
};

const aggregatedNotification: Shape = {
  notification: listOf('m2m:sgn', () => notification),
};

const aggregatedResponse: Shape = {
  response: listOf('m2m:rsp', () => responseNames),
};

/** What a trigger tells a device (TS-0004 9.2.1). */
const triggerPayload: Shape = {
  triggerPurpose: number('tpe'),
  triggerInfoAeId: ['tiae'],
  triggerInfoAddress: ['tia'],
  triggerInfoOperation: number('tio'),
  triggerInfoResourceType: number('tirt'),
  triggerInfoPointOfAccess: texts('tipa'),
  triggerInfoSerializationTypes: texts('tist'),
};

const filterCriteria: Shape = {
  filterUsage: number('fu'),
  resourceType: numbers('ty'),
  labels: texts('lbl'),
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
  contentFilterType: texts('cty'),
  level: number('lvl'),
  offset: number('ofst'),
  limit: number('lim'),
  filterOperation: number('fo'),
  applyRelativePath: ['arp'],
  childLabels: texts('clbl'),
  parentLabels: texts('palb'),
  childResourceType: numbers('chty'),
  parentResourceType: numbers('pty'),
  childAttribute: texts('catr'),
  parentAttribute: texts('patr'),
  semanticsFilter: texts('smf'),
};

const responseType: Shape = {
  responseTypeValue: number('rtv'),
  notificationUri: texts('nu'),
};

/** Parameters of a request primitive (TS-0004 8.2.2); the last five are of Release 4. */
export const requestNames: Shape = {
  operation: ['op'],
  to: ['to'],
  from: ['fr'],
  requestIdentifier: ['rqi'],
  resourceType: ['ty'],
  primitiveContent: ['pc', (): Shape => rootNames],
  roleIds: texts('rids'),
  originatingTimestamp: ['ot'],
  requestExpirationTimestamp: ['rqet'],
  resultExpirationTimestamp: ['rset'],
  operationExecutionTime: ['oet'],
  responseType: ['rt', (): Shape => responseType],
  resultPersistence: ['rp'],
  resultContent: ['rcn'],
  eventCategory: ['ec'],
  deliveryAggregation: flag('da'),
  groupRequestIdentifier: ['gid'],
  filterCriteria: ['fc', (): Shape => filterCriteria],
  discoveryResultType: ['drt'],
  tokens: texts('tkns'),
  tokenIds: texts('tids'),
  tokenRequestIndicator: flag('tqi'),
  localTokenIds: texts('ltids'),
  groupRequestTargetMembers: texts('grtm'),
  authorizationSignatureIndicator: flag('asi'),
  authorizationSignatures: texts('aus'),
  authorizationRelationshipIndicator: flag('auri'),
  semanticQueryIndicator: flag('sqi'),
  releaseVersionIndicator: ['rvi'],
  vendorInformation: ['vsi'],
  attributeList: texts('atrl'),
  ontologyMappingResources: ['omr'],
  primitiveProfileIdentifier: ['prpi'],
  m2mServiceUser: ['msu'],
  groupSomecastTargetNumber: ['gstn'],
  maxAge: ['ma'],
};

/** Parameters of a response primitive (TS-0004 8.2.2). */
export const responseNames: Shape = {
  responseStatusCode: ['rsc'],
  requestIdentifier: ['rqi'],
  primitiveContent: ['pc', (): Shape => rootNames],
  to: ['to'],
  from: ['fr'],
  originatingTimestamp: ['ot'],
  resultExpirationTimestamp: ['rset'],
  eventCategory: ['ec'],
  assignedTokenIdentifiers: ['ati'],
  tokenRequestInformation: ['tqf'],
  contentStatus: ['cnst'],
  contentOffset: ['cnot'],
  authorizationSignatureRequestInformation: ['asri'],
  releaseVersionIndicator: ['rvi'],
  vendorInformation: ['vsi'],
};

/** A resource may hold child resources under their root elements (`rcn` 4 and 8, TS-0004 7.4.1). */
const resourceNames: Shape = {};
const resource = (): Shape => resourceNames;

/**
 * What a specialisation (flexContainer, mgmtObj) may hold beside its own attributes, which keep their wire names: a short
 * name of some other resource type has no meaning there.
 */
export const specialisationNames: Shape = {};

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
  schedule: ['m2m:sch', resource],
  locationPolicy: ['m2m:lcp', resource],
  triggerRequest: ['m2m:tgr', resource],
  mgmtCmd: ['m2m:mgc', resource],
  execInstance: ['m2m:exin', resource],
  aeContactList: ['m2m:alst', resource],
  aeContactListPerCse: ['m2m:alpc', resource],
  timeSeries: ['m2m:ts', resource],
  timeSeriesInstance: ['m2m:tsi', resource],
  battery: ['m2m:bat', resource],
  cmdhPolicy: ['m2m:cmp', resource],
  activeCmdhPolicy: ['m2m:acmp', resource],
  cmdhDefaults: ['m2m:cmdf', resource],
  cmdhDefEcValue: ['m2m:cmdv', resource],
  cmdhEcDefParamValues: ['m2m:cmpv', resource],
  cmdhLimits: ['m2m:cml', resource],
  cmdhNetworkAccessRules: ['m2m:cmnr', resource],
  cmdhNwAccessRule: ['m2m:cmwr', resource],
  cmdhBuffer: ['m2m:cmbf', resource],
  cseBaseAnnc: ['m2m:cbA', resource],
  remoteCseAnnc: ['m2m:csrA', resource],
  aeAnnc: ['m2m:aeA', resource],
  containerAnnc: ['m2m:cntA', resource],
  contentInstanceAnnc: ['m2m:cinA', resource],
  groupAnnc: ['m2m:grpA', resource],
  accessControlPolicyAnnc: ['m2m:acpA', resource],
  nodeAnnc: ['m2m:nodA', resource],
  scheduleAnnc: ['m2m:schA', resource],
  locationPolicyAnnc: ['m2m:lcpA', resource],
  timeSeriesAnnc: ['m2m:tsA', resource],
  timeSeriesInstanceAnnc: ['m2m:tsiA', resource],
  notification: ['m2m:sgn', (): Shape => notification],
  aggregatedNotification: ['m2m:agn', (): Shape => aggregatedNotification],
  requestPrimitive: ['m2m:rqp', (): Shape => requestNames],
  responsePrimitive: ['m2m:rsp', (): Shape => responseNames],
  aggregatedResponse: ['m2m:agr', (): Shape => aggregatedResponse],
  triggerPayload: ['m2m:tgp', (): Shape => triggerPayload],
  resourceWrapper: ['m2m:rce', (): Shape => wrapperNames],
  uri: ['m2m:uri'],
  uriList: texts('m2m:uril'),
  resourceReferenceList: ['m2m:rrl', (): Shape => ({ resourceReference: references('rrf') })],
  debugInfo: ['m2m:dbg'],
};

/** A resource beside its address (`rcn` 3, TS-0004 7.5.2), which has another short name there. */
export const wrapperNames: Shape = { ...rootNames, uri: ['uri'] };

const childRoots = Object.fromEntries(
  Object.entries(rootNames).filter(
    // The CSEBase is nobody's child, and its root shares its long name with an attribute.
    ([long, entry]) => entry[1] === resource && long !== 'cseBase',
  ),
);
Object.assign(resourceNames, childRoots, attributeNames);
Object.assign(specialisationNames, childRoots, universal, capacity, ofSpecialisations);

/**
 * The attributes that are the same word on the wire for filter use, for example `shortAttributeName('cseId')` is `csi`.
 */
export function shortAttributeName(long: string): string {
  return attributeNames[long]?.[0] ?? long;
}
