/** Resources that describe and manage devices; how they are written is said in resources.ts. */
import type { CommonAttributes, ResourceReference } from './common-attributes.ts';

/** The device that AEs and CSEs live on (TS-0001 9.6.18). */
export interface NodeResource extends CommonAttributes {
  nodeId?: string;
  hostedCseLink?: string;
  hostedAeLinks?: string[];
  hostedServiceLinks?: string[];
  mgmtClientAddress?: string;
  roamingStatus?: string;
  networkId?: string;
  nodeType?: string;
}

/** What every mgmtObj has (TS-0001 9.6.15). */
export interface MgmtObj extends CommonAttributes {
  mgmtDefinition?: number;
  description?: string;
  objectIds?: string[];
  objectPaths?: string[];
}

/** Battery of a node (TS-0001 D.7). */
export interface Battery extends MgmtObj {
  batteryLevel?: number;
  batteryStatus?: number;
}

/** The attributes of the ten CMDH mgmtObjs (TS-0004 D.12); times in ms, -1 for no limit. */
export interface CmdhMgmtObj extends MgmtObj {
  cmdhPolicyName?: string;
  mgmtLink?: ResourceReference[];
  activeCmdhPolicyLink?: string;
  order?: number;
  defEcValue?: number;
  requestOrigin?: string[];
  requestContext?: string;
  requestContextNotification?: boolean;
  requestCharacteristics?: unknown;
  applicableEventCategory?: number[];
  defaultRequestExpTime?: number;
  defaultResultExpTime?: number;
  defaultOpExecTime?: number;
  defaultRespPersistence?: number;
  defaultDelAggregation?: boolean;
  limitsEventCategory?: number[];
  /** Limits are `"min max"`. */
  limitsRequestExpTime?: string;
  limitsResultExpTime?: string;
  limitsOpExecTime?: string;
  limitsRespPersistence?: string;
  limitsDelAggregation?: unknown;
  applicableEventCategories?: number[];
  targetNetwork?: string[];
  minReqVolume?: number;
  spreadingWaitTime?: number;
  backOffParameters?: { backOffParametersSet?: BackOffParameters[] };
  otherConditions?: unknown;
  maxBufferSize?: number;
  storagePriority?: number;
}

/** How a failed network access is repeated, in ms. */
export interface BackOffParameters {
  networkAction?: number;
  initialBackoffTime?: number;
  additionalBackoffTime?: number;
  maximumBackoffTime?: number;
  optionalRandomBackoffTime?: number;
}

/** A command to a node, and one execution of it (TS-0001 9.6.16, 9.6.17). */
export interface MgmtCmd extends CommonAttributes {
  cmdType?: number;
  execReqArgs?: unknown;
  execEnable?: boolean;
  execTarget?: string;
  execMode?: number;
  execFrequency?: string;
  execDelay?: string;
  execNumber?: number;
  execStatus?: number;
  execResult?: number;
  execDisable?: boolean;
}
