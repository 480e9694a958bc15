/**
 * Long names to short names and back (TS-0004 8.2.2 to 8.2.5). Only the serialisation uses this table. A short name is
 * unique within its shape, not across shapes (`or` is `ontologyRef` in an AE and `originator` in an operation monitor).
 *
 * A name may say what kind its value is, for a reader that is tolerant: CSEs are known to send one text where a list of
 * texts is meant, and numbers as text (`regs`).
 */

import {
  capacity,
  flag,
  listOf,
  number,
  numbers,
  ofData,
  ofEntities,
  ofLocations,
  ofMgmtObjs,
  ofPolicies,
  ofRequests,
  ofSpecialisations,
  ofSubscriptions,
  operationMonitor,
  references,
  texts,
  universal,
  resourceConditions,
} from './attribute-names.ts';
import type { Shape } from './attribute-names.ts';

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
  metaInformation: ['mi', (): Shape => requestNames],
  primitiveContent: ['pc', (): Shape => rootNames],
  operationResult: ['ors', (): Shape => responseNames],
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
  ...resourceConditions,
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
