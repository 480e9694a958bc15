/** Enumerations of oneM2M TS-0004 6.3.4.2, by their specification names; the numbers travel on the wire. */

/** Operation (TS-0004 6.3.4.2.4). */
export const Operation = { create: 1, retrieve: 2, update: 3, delete: 4, notify: 5 } as const;
export type Operation = (typeof Operation)[keyof typeof Operation];

/** Resource type (TS-0004 6.3.4.2.1); an announced variant is the original plus 10000. */
export const ResourceType = {
  accessControlPolicy: 1,
  ae: 2,
  container: 3,
  contentInstance: 4,
  cseBase: 5,
  group: 9,
  locationPolicy: 10,
  mgmtCmd: 12,
  mgmtObj: 13,
  node: 14,
  pollingChannel: 15,
  remoteCse: 16,
  request: 17,
  schedule: 18,
  subscription: 23,
  semanticDescriptor: 24,
  flexContainer: 28,
  timeSeries: 29,
  timeSeriesInstance: 30,
  dynamicAuthorizationConsultation: 34,
  aeContactList: 43,
  aeContactListPerCse: 44,
  triggerRequest: 47,
  crossResourceSubscription: 48,
  flexContainerInstance: 58,
  timeSyncBeacon: 60,
  action: 65,
  dependency: 66,
  accessControlPolicyAnnc: 10001,
  aeAnnc: 10002,
  containerAnnc: 10003,
  contentInstanceAnnc: 10004,
  cseBaseAnnc: 10005,
  groupAnnc: 10009,
  locationPolicyAnnc: 10010,
  mgmtObjAnnc: 10013,
  nodeAnnc: 10014,
  remoteCseAnnc: 10016,
  scheduleAnnc: 10018,
  flexContainerAnnc: 10028,
  timeSeriesAnnc: 10029,
  timeSeriesInstanceAnnc: 10030,
} as const;
export type ResourceType = (typeof ResourceType)[keyof typeof ResourceType];

/** What a mgmtObj is about, `mgd` (TS-0004 6.3.4.2). */
export const MgmtDefinition = {
  firmware: 1001,
  software: 1002,
  memory: 1003,
  areaNwkInfo: 1004,
  areaNwkDeviceInfo: 1005,
  battery: 1006,
  deviceInfo: 1007,
  deviceCapability: 1008,
  reboot: 1009,
  eventLog: 1010,
  cmdhPolicy: 1011,
  activeCmdhPolicy: 1012,
  cmdhDefaults: 1013,
  cmdhDefEcValue: 1014,
  cmdhEcDefParamValues: 1015,
  cmdhLimits: 1016,
  cmdhNetworkAccessRules: 1017,
  cmdhNwAccessRule: 1018,
  cmdhBuffer: 1019,
  registration: 1020,
  dataCollection: 1021,
  authenticationProfile: 1022,
  myCertFileCred: 1023,
  trustAnchorCred: 1024,
  mafClientRegCfg: 1025,
  mefClientRegCfg: 1026,
  wifiClient: 1028,
  credentials: 1029,
  sim: 1030,
  mobileNetwork: 1031,
} as const;
export type MgmtDefinition = (typeof MgmtDefinition)[keyof typeof MgmtDefinition];

/** CSE type (TS-0004 6.3.4.2.2). */
export const CseType = { inCse: 1, mnCse: 2, asnCse: 3 } as const;
export type CseType = (typeof CseType)[keyof typeof CseType];

/** Response type (TS-0004 6.3.4.2.6). */
export const ResponseType = {
  nonBlockingRequestSynch: 1,
  nonBlockingRequestAsynch: 2,
  blockingRequest: 3,
  flexBlocking: 4,
  noResponse: 5,
} as const;
export type ResponseType = (typeof ResponseType)[keyof typeof ResponseType];

/** Result content (TS-0004 6.3.4.2.7). */
export const ResultContent = {
  nothing: 0,
  attributes: 1,
  hierarchicalAddress: 2,
  hierarchicalAddressAndAttributes: 3,
  attributesAndChildResources: 4,
  attributesAndChildResourceReferences: 5,
  childResourceReferences: 6,
  originalResource: 7,
  childResources: 8,
  modifiedAttributes: 9,
  discoveryResultReferences: 11,
  permissions: 12,
} as const;
export type ResultContent = (typeof ResultContent)[keyof typeof ResultContent];

/** Discovery result type (TS-0004 6.3.4.2.8). */
export const DiscoveryResultType = { structured: 1, unstructured: 2 } as const;
export type DiscoveryResultType = (typeof DiscoveryResultType)[keyof typeof DiscoveryResultType];

/** Filter usage (TS-0004 6.3.4.2.31). */
export const FilterUsage = {
  discovery: 1,
  conditionalRetrieval: 2,
  ipeOnDemandDiscovery: 3,
  discoveryBasedOperation: 4,
} as const;
export type FilterUsage = (typeof FilterUsage)[keyof typeof FilterUsage];

/** How filter conditions of different tags go together, `fo` (TS-0004 6.3.4.2); XOR is of Release 4. */
export const FilterOperation = { and: 1, or: 2, xor: 3 } as const;
export type FilterOperation = (typeof FilterOperation)[keyof typeof FilterOperation];

/**
 * Event category (TS-0004 6.3.4.2): there is no value 1; 100 to 999 are the user's own. 0 stands for "default" in CMDH
 * attributes only.
 */
export const EventCategory = { immediate: 2, bestEffort: 3, latest: 4 } as const;

/** First and last event category that a user may define. */
export const userEventCategories = { min: 100, max: 999 } as const;

/** Access control operations (TS-0004 6.3.4.2.29): bits that add up. */
export const AccessControlOperations = {
  create: 1,
  retrieve: 2,
  update: 4,
  delete: 8,
  notify: 16,
  discovery: 32,
  all: 63,
} as const;

/** Notification event type (TS-0004 6.3.4.2.19). */
export const NotificationEventType = {
  updateOfResource: 1,
  deleteOfResource: 2,
  createOfDirectChild: 3,
  deleteOfDirectChild: 4,
  retrieveOfContainerWithNoChild: 5,
  triggerReceivedForAe: 6,
  blockingUpdate: 7,
  missingDataPoints: 8,
} as const;
export type NotificationEventType = (typeof NotificationEventType)[keyof typeof NotificationEventType];

/** Notification content type (TS-0004 6.3.4.2.20). */
export const NotificationContentType = {
  allAttributes: 1,
  modifiedAttributes: 2,
  resourceId: 3,
  triggerPayload: 4,
  timeSeriesNotification: 5,
} as const;
export type NotificationContentType = (typeof NotificationContentType)[keyof typeof NotificationContentType];

/** What becomes of notifications that could not be sent, `pn` (TS-0004 6.3.4.2). */
export const PendingNotification = { sendLatest: 1, sendAllPending: 2 } as const;
export type PendingNotification = (typeof PendingNotification)[keyof typeof PendingNotification];

/** Request status of a `request` resource (TS-0004 6.3.4.2.16). */
export const RequestStatus = {
  completed: 1,
  failed: 2,
  pending: 3,
  forwarded: 4,
  partiallyCompleted: 5,
} as const;
export type RequestStatus = (typeof RequestStatus)[keyof typeof RequestStatus];

/** Whether an AE lives at this registrar, `regs` (TS-0004 7.4.5). */
export const RegistrationStatus = { active: 1, inactive: 2 } as const;
export type RegistrationStatus = (typeof RegistrationStatus)[keyof typeof RegistrationStatus];

/** What a group does with members of another type, `csy` (TS-0004 6.3.4.2). */
export const ConsistencyStrategy = { abandonMember: 1, abandonGroup: 2, setMixed: 3 } as const;
export type ConsistencyStrategy = (typeof ConsistencyStrategy)[keyof typeof ConsistencyStrategy];

/** What a trigger is for, `tpe` (TS-0004 6.3.4.2). */
export const TriggerPurpose = {
  establishConnection: 1,
  registrationRequest: 2,
  executeCrud: 3,
  enrolmentRequest: 4,
} as const;
export type TriggerPurpose = (typeof TriggerPurpose)[keyof typeof TriggerPurpose];

/** How far a trigger has come, `tst` (TS-0004 6.3.4.2). */
export const TriggerStatus = {
  processing: 1,
  nseNotFound: 2,
  triggered: 3,
  delivered: 4,
  expired: 5,
  failed: 6,
  replaced: 7,
  unconfirmed: 8,
  terminated: 9,
} as const;
export type TriggerStatus = (typeof TriggerStatus)[keyof typeof TriggerStatus];

/** What a mgmtCmd does, `cmt` (TS-0004 6.3.4.2). */
export const CmdType = {
  reset: 1,
  reboot: 2,
  upload: 3,
  download: 4,
  softwareInstall: 5,
  softwareUninstall: 6,
  softwareUpdate: 7,
} as const;
export type CmdType = (typeof CmdType)[keyof typeof CmdType];

/** How often a mgmtCmd runs, `exm` (TS-0004 6.3.4.2). */
export const ExecMode = { immediateOnce: 1, immediateRepeat: 2, randomOnce: 3, randomRepeat: 4 } as const;
export type ExecMode = (typeof ExecMode)[keyof typeof ExecMode];

/** How far an execInstance has come, `exs` (TS-0004 6.3.4.2). */
export const ExecStatus = {
  initiated: 1,
  pending: 2,
  finished: 3,
  cancelling: 4,
  cancelled: 5,
  nonCancellable: 6,
} as const;
export type ExecStatus = (typeof ExecStatus)[keyof typeof ExecStatus];

/** What a failed network access backs off from, `nwa` (TS-0004 6.3.4.2). */
export const NetworkAction = {
  cellularRegistration: 1,
  cellularAttach: 2,
  cellularPdpContextActivation: 3,
  cellularSms: 4,
  default: 5,
} as const;
export type NetworkAction = (typeof NetworkAction)[keyof typeof NetworkAction];

/** Whether a device stays where it is, `sti` (TS-0004 6.3.4.2). */
export const StationaryIndication = { stationary: 1, mobile: 2 } as const;
export type StationaryIndication = (typeof StationaryIndication)[keyof typeof StationaryIndication];

/** Response status codes (TS-0004 6.6.3). */
export const ResponseStatusCode = {
  accepted: 1000,
  acceptedNonBlockingSynch: 1001,
  acceptedNonBlockingAsynch: 1002,
  ok: 2000,
  created: 2001,
  deleted: 2002,
  updated: 2004,
  badRequest: 4000,
  releaseVersionNotSupported: 4001,
  notFound: 4004,
  operationNotAllowed: 4005,
  requestTimeout: 4008,
  unsupportedMediaType: 4015,
  subscriptionCreatorHasNoPrivilege: 4101,
  contentsUnacceptable: 4102,
  originatorHasNoPrivilege: 4103,
  groupRequestIdentifierExists: 4104,
  conflict: 4105,
  originatorHasNotAuthenticated: 4106,
  securityAssociationRequired: 4107,
  invalidChildResourceType: 4108,
  noMembers: 4109,
  groupMemberTypeInconsistent: 4110,
  esprimUnsupportedOption: 4111,
  esprimUnknownKeyId: 4112,
  esprimUnknownOrigRandId: 4113,
  esprimUnknownRecvRandId: 4114,
  esprimBadMac: 4115,
  esprimImpersonationError: 4116,
  originatorHasAlreadyRegistered: 4117,
  ontologyNotAvailable: 4118,
  linkedSemanticsNotAvailable: 4119,
  invalidSemantics: 4120,
  mashupMemberNotFound: 4121,
  invalidTriggerPurpose: 4122,
  illegalTransactionStateTransitionAttempted: 4123,
  blockingSubscriptionAlreadyExists: 4124,
  specializationSchemaNotFound: 4125,
  appRuleValidationFailed: 4126,
  operationDeniedByRemoteEntity: 4127,
  internalServerError: 5000,
  notImplemented: 5001,
  targetNotReachable: 5103,
  receiverHasNoPrivilege: 5105,
  alreadyExists: 5106,
  remoteEntityNotReachable: 5107,
  targetNotSubscribable: 5203,
  subscriptionVerificationInitiationFailed: 5204,
  subscriptionHostHasNoPrivilege: 5205,
  nonBlockingSynchRequestNotSupported: 5206,
  notAcceptable: 5207,
  discoveryDeniedByIpe: 5208,
  groupMembersNotResponded: 5209,
  esprimDecryptionError: 5210,
  esprimEncryptionError: 5211,
  sparqlUpdateError: 5212,
  targetHasNoSessionCapability: 5214,
  sessionIsOnline: 5215,
  joinMulticastGroupFailed: 5216,
  leaveMulticastGroupFailed: 5217,
  triggeringDisabledForRecipient: 5218,
  unableToReplaceRequest: 5219,
  unableToRecallRequest: 5220,
  crossResourceOperationFailure: 5221,
  transactionProcessingIsIncomplete: 5222,
  externalObjectNotReachable: 6003,
  externalObjectNotFound: 6005,
  maxNumberOfMemberExceeded: 6010,
  mgmtSessionCannotBeEstablished: 6020,
  mgmtSessionEstablishmentTimeout: 6021,
  invalidCmdtype: 6022,
  invalidArguments: 6023,
  insufficientArguments: 6024,
  mgmtConversionError: 6025,
  mgmtCancellationFailed: 6026,
  alreadyComplete: 6028,
  mgmtCommandNotCancellable: 6029,
  externalObjectNotReachableBeforeRqetTimeout: 6030,
  externalObjectNotReachableBeforeOetTimeout: 6031,
} as const;

/** True for the 1xxx and 2xxx classes. */
export function isSuccess(responseStatusCode: number): boolean {
  return responseStatusCode >= 1000 && responseStatusCode < 3000;
}

/** `"4105 conflict"`; the bare number when the code has no name here. */
export function statusText(responseStatusCode: number): string {
  const named = Object.entries(ResponseStatusCode).find(([, code]) => code === responseStatusCode);
  return named === undefined ? `${responseStatusCode}` : `${responseStatusCode} ${named[0]}`;
}
