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
  /** In an announced copy: the original, SP-relative. */
  link?: string;
  /** Children by reference (`rcn` 5). */
  childResource?: ResourceReference[];
}

/** A resource named from elsewhere: a child (`rcn` 5 and 6), a mgmtObj. */
export interface ResourceReference {
  name?: string;
  type?: number;
  value?: string;
}

/** What a resource must be like to match: in filter criteria and in the criteria of a subscription (TS-0004 6.3.5.8, 8.2.2). */
export interface ResourceConditions {
  createdBefore?: string;
  createdAfter?: string;
  modifiedSince?: string;
  unmodifiedSince?: string;
  stateTagSmaller?: number;
  stateTagBigger?: number;
  expireBefore?: string;
  expireAfter?: string;
  sizeAbove?: number;
  sizeBelow?: number;
}
