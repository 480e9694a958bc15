/** Every capability that is looked at, in the order of a report, with what it means. */
export const capabilityMeanings = {
  releaseThreeOptions:
    'CoAP options have the numbers of Release 3 (TS-0008 6.2.2); no: those of Releases 1 and 2',
  cbor: 'bodies may be CBOR; no: JSON',
  fixedResourceName: 'a name given in CREATE is kept, and a second CREATE under it is 4105',
  resultContentNothing: 'rcn=0 spares the body of an answer',
  remoteCseReadable: 'remoteCSEs at this CSE can be discovered',
  spScopedStem: 'an AE with an S stem is addressed as /Sx',
  notificationsOverCoap: 'notifications arrive at a CoAP point of access',
  notificationsOverMqtt: 'notifications arrive over MQTT',
  pollingChannel: 'requests for an AE wait in a polling channel',
  nonBlocking: 'a request may be answered later (rt=1 on the method of the operation)',
  cmdhPolicies: 'CMDH policies are resources (mgmtObj 1011 and on)',
  registrationTracking: 'an AE that registers elsewhere with trackRegistrationPoints becomes inactive here',
  siblingTransit: 'requests for another MN-CSE are passed on',
  blockwise: 'bodies over 1 KiB go and come in blocks',
  dtls: 'the CSE is reached by coaps',
  limitAfterFilter: 'the limit of a discovery counts what matches',
  groupFanOut: 'a request to a group reaches its members',
} as const;

/** Name of a capability. */
export type CapabilityName = keyof typeof capabilityMeanings;

/** All of them, in the order of a report. */
export const capabilityNames = Object.keys(capabilityMeanings) as readonly CapabilityName[];

/** Products that the quirks table knows. */
export const products = ['acme', 'testbed', 'tinyIoT', 'mobius', 'unknown'] as const;

/** A product by name. */
export type Product = (typeof products)[number];
