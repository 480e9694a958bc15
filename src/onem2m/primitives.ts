import type {
  DiscoveryResultType,
  FilterOperation,
  FilterUsage,
  Operation,
  ResourceType,
  ResponseType,
  ResultContent,
} from './enums.ts';
import type { ResourceConditions } from './common-attributes.ts';
import type { PrimitiveContent } from './resources.ts';

/** Filter criteria (TS-0004 8.2.2, `fc`). Repeated labels mean OR, different tags AND. */
export interface FilterCriteria extends ResourceConditions {
  filterUsage?: FilterUsage;
  filterOperation?: FilterOperation;
  resourceType?: number[];
  labels?: string[];
  contentFilterType?: string[];
  level?: number;
  offset?: number;
  limit?: number;
  applyRelativePath?: string;
  childLabels?: string[];
  parentLabels?: string[];
  childResourceType?: number[];
  parentResourceType?: number[];
  childAttribute?: string[];
  parentAttribute?: string[];
  semanticsFilter?: string[];
  /** Attribute filters by the attribute's wire name, for example `{ csi: ['/id-mn1'] }`. */
  attributes?: Readonly<Record<string, readonly string[]>>;
}

/** Request primitive (TS-0004 8.2.2). Times are absolute `YYYYMMDDTHHMMSS` or signed milliseconds as text. */
export interface RequestPrimitive {
  operation: Operation;
  to: string;
  /** Originator; absent only in the first registration of an AE without a preference for its ID. */
  from?: string;
  requestIdentifier: string;
  resourceType?: ResourceType;
  primitiveContent?: PrimitiveContent;
  releaseVersionIndicator?: string;
  resultContent?: ResultContent;
  responseType?: ResponseType;
  /** Where the result of a non-blocking request is notified. */
  notificationUris?: string[];
  requestExpirationTimestamp?: string;
  resultExpirationTimestamp?: string;
  operationExecutionTime?: string;
  originatingTimestamp?: string;
  /** How long the receiver keeps what it forwards or the result. */
  resultPersistence?: string;
  eventCategory?: number;
  deliveryAggregation?: boolean;
  groupRequestIdentifier?: string;
  groupRequestTargetMembers?: string[];
  filterCriteria?: FilterCriteria;
  discoveryResultType?: DiscoveryResultType;
  attributeList?: string[];
  roleIds?: string[];
  tokens?: string[];
  tokenIds?: string[];
  localTokenIds?: string[];
  tokenRequestIndicator?: boolean;
  authorizationSignatureIndicator?: boolean;
  authorizationSignatures?: string[];
  authorizationRelationshipIndicator?: boolean;
  semanticQueryIndicator?: boolean;
  vendorInformation?: string;
  /** The rest is of Release 4. */
  ontologyMappingResources?: string;
  primitiveProfileIdentifier?: string;
  m2mServiceUser?: string;
  groupSomecastTargetNumber?: number;
  maxAge?: string;
}

/** Response primitive (TS-0004 8.2.2). */
export interface ResponsePrimitive {
  responseStatusCode: number;
  requestIdentifier: string;
  primitiveContent?: PrimitiveContent;
  to?: string;
  from?: string;
  originatingTimestamp?: string;
  resultExpirationTimestamp?: string;
  eventCategory?: number;
  assignedTokenIdentifiers?: unknown;
  tokenRequestInformation?: unknown;
  /** 1 for a part of the content, 2 for all of it (TS-0004 6.3.4.2). */
  contentStatus?: number;
  contentOffset?: number;
  authorizationSignatureRequestInformation?: unknown;
  releaseVersionIndicator?: string;
  vendorInformation?: string;
}

/** The release whose primitives are sent, requests and responses alike; a CSE may refuse either without it. */
export const releaseVersion = '4';

/** How a body is serialised (TS-0004 8). */
export type Serialisation = 'json' | 'cbor';

/** `YYYYMMDDTHHMMSS` in UTC, as `expirationTime` and timestamps are written (TS-0004 6.3.3). */
export function encodeTimestamp(unixMs: number): string {
  return new Date(unixMs).toISOString().replace(/[-:]/gu, '').slice(0, 15);
}

/** Milliseconds since 1970 of `YYYYMMDDTHHMMSS[,ffffff]`, or undefined when the text is no timestamp. */
export function parseTimestamp(text: string): number | undefined {
  const match = /^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})(?:[.,](\d{1,9}))?$/u.exec(text);
  if (match === null) return undefined;
  const [, year, month, day, hour, minute, second, fraction] = match;
  const wholeMs = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  // The parser takes the 31st of any month for the day it would be; such a text is no time.
  if (Number.isNaN(wholeMs) || encodeTimestamp(wholeMs) !== text.slice(0, 15)) return undefined;
  return wholeMs + (fraction === undefined ? 0 : Number(fraction.padEnd(3, '0').slice(0, 3)));
}
