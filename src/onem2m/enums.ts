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
  mgmtObj: 13,
  node: 14,
  pollingChannel: 15,
  remoteCse: 16,
  request: 17,
  subscription: 23,
  flexContainer: 28,
  timeSeries: 29,
  timeSeriesInstance: 30,
  flexContainerInstance: 58,
  accessControlPolicyAnnc: 10001,
  aeAnnc: 10002,
  containerAnnc: 10003,
  contentInstanceAnnc: 10004,
  cseBaseAnnc: 10005,
  groupAnnc: 10009,
  remoteCseAnnc: 10016,
  flexContainerAnnc: 10028,
  timeSeriesAnnc: 10029,
} as const;
export type ResourceType = (typeof ResourceType)[keyof typeof ResourceType];

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
export const FilterUsage = { discovery: 1, conditionalRetrieval: 2 } as const;
export type FilterUsage = (typeof FilterUsage)[keyof typeof FilterUsage];

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
} as const;
export type NotificationEventType = (typeof NotificationEventType)[keyof typeof NotificationEventType];

/** Notification content type (TS-0004 6.3.4.2.20). */
export const NotificationContentType = { allAttributes: 1, modifiedAttributes: 2, resourceId: 3 } as const;
export type NotificationContentType = (typeof NotificationContentType)[keyof typeof NotificationContentType];

/** Request status of a `request` resource (TS-0004 6.3.4.2.16). */
export const RequestStatus = { completed: 1, failed: 2, pending: 3, forwarded: 4 } as const;
export type RequestStatus = (typeof RequestStatus)[keyof typeof RequestStatus];

/** Response status codes (TS-0004 6.6.3) that Baton's own code tells apart; any other travels as its number. */
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
  conflict: 4105,
  invalidChildResourceType: 4108,
  groupMemberTypeInconsistent: 4110,
  originatorHasAlreadyRegistered: 4117,
  notAcceptable: 5207,
  internalServerError: 5000,
  notImplemented: 5001,
  targetNotReachable: 5103,
  receiverHasNoPrivilege: 5105,
  alreadyExists: 5106,
  targetNotSubscribable: 5203,
  subscriptionVerificationInitiationFailed: 5204,
  subscriptionHostHasNoPrivilege: 5205,
  maxNumberOfMemberExceeded: 6010,
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
