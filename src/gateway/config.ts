import type { Bytes, CseId, Db, Millis, StreamName } from '../base/units.ts';
import { defaultDecisionPolicy } from '../decision/decision-policy.ts';
import type { DecisionPolicy } from '../decision/decision-policy.ts';
import type { RecentPolicy } from '../handover/bundle-manifest.ts';
import type { LogLevel } from './status.ts';

/** A serial line with its speed. */
export interface SerialLineConfig {
  readonly path: string;
  readonly baudRate: number;
}

/** An access link. */
export interface LinkConfig {
  readonly name: string;
  /** Literal IP address to which the sockets of the link are bound. */
  readonly localAddress: string;
  /** UDP port; any free one when absent. */
  readonly port?: number;
  /** UDP port at which CSEs that are reached by coaps notify; any free one when absent. */
  readonly securePort?: number;
  /** Point of access told to CSEs, where it differs from the local one. */
  readonly advertise?: string;
  readonly modem?: SerialLineConfig & { readonly periodMs: Millis };
}

/** Files in PEM by which TLS connections are secured. */
export interface TlsConfig {
  /** The authorities of the system when absent. */
  readonly caFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
}

/** A pre-shared key for coaps. */
export interface PskConfig {
  /** Host of the points of access that it is for, as they write it; every host without a key of its own when absent. */
  readonly host?: string;
  readonly identity: string;
  /** File that holds the key in hexadecimal digits. */
  readonly keyFile: string;
}

/** Credentials that every connection may need. */
export interface SecurityConfig {
  readonly psk?: readonly PskConfig[];
  /** For every broker that has none of its own. */
  readonly tls?: TlsConfig;
}

/** What is otherwise at one MQTT broker. */
export interface BrokerConfig {
  readonly url: string;
  /** The same broker as CSEs reach it. */
  readonly advertise?: string;
  /** Name that its certificate must carry; the host of `url` when absent. */
  readonly serverName?: string;
  readonly username?: string;
  readonly passwordFile?: string;
  readonly tls?: TlsConfig;
}

/** How MQTT brokers are used. */
export interface MqttConfig {
  readonly keepaliveS: number;
  /** For every broker that has none of its own. */
  readonly username?: string;
  readonly passwordFile?: string;
  readonly brokers: readonly BrokerConfig[];
}

/** Brokers without credentials. */
export const plainMqtt: MqttConfig = { keepaliveS: 30, brokers: [] };

/** No credentials. */
export const noSecurity: SecurityConfig = {};

/** A stream of readings. */
export interface StreamConfig {
  readonly name: StreamName;
  readonly class: 'A' | 'B' | 'C';
  readonly lingerMs?: Millis;
  /** 1 to 10; higher is kept longer. */
  readonly priority: number;
  /** What is delivered first after an outage. */
  readonly order: 'inOrder' | 'liveFirst';
  /** Age at which a reading goes undelivered; undefined for never. */
  readonly ttlMs?: Millis;
  readonly unit?: string;
  /** How many readings share a contentInstance; each has its own when absent. */
  readonly batch?: { readonly max: number; readonly spanMs: Millis };
  /** AE of the bundle that its container is under; that of the sensor when absent. */
  readonly ae?: string;
  /** What of it is copied to the next CSE; nothing when absent. */
  readonly recent?: RecentPolicy | undefined;
}

/** A sensor on a serial line. */
export interface SensorConfig {
  readonly name: string;
  /** AE of the bundle that its streams are under; the gateway's own when absent. */
  readonly ae?: string;
  readonly serialLine: SerialLineConfig & { readonly format: 'json' | 'csv'; readonly acknowledge: boolean };
  readonly streams: readonly StreamConfig[];
}

/** Who may do what. */
export interface BundleRuleConfig {
  readonly originators: readonly string[];
  readonly operations: readonly ('create' | 'retrieve' | 'update' | 'delete' | 'notify' | 'discovery')[];
}

/** What every resource of the bundle may have; `path` is where it is below its AE. */
interface BundleResourceConfig {
  readonly path: string;
  readonly labels?: readonly string[];
  /** Name of the policy of the AE that governs it. */
  readonly policy?: string;
}

/** Limits of what holds instances. */
interface BundleCapacityConfig extends BundleResourceConfig {
  readonly maxNrOfInstances?: number;
  readonly maxByteSize?: number;
  /** In s. */
  readonly maxInstanceAge?: number;
  readonly recent?: RecentPolicy | undefined;
  readonly announce: boolean;
}

/** An AE of the bundle with what is below it; an entry with the gateway's name adds to its own AE. */
export interface BundleAeConfig {
  readonly name: string;
  readonly aeId?: string;
  readonly appId?: string;
  readonly appName?: string;
  readonly priority: number;
  readonly dependsOn?: readonly string[];
  readonly announceTo?: readonly string[];
  readonly labels?: readonly string[];
  readonly allow?: readonly BundleRuleConfig[];
  readonly policies?: readonly { readonly name: string; readonly allow: readonly BundleRuleConfig[] }[];
  readonly containers?: readonly BundleCapacityConfig[];
  readonly flexContainers?: readonly (BundleResourceConfig & {
    readonly root: string;
    readonly containerDefinition: string;
    readonly attributes: Readonly<Record<string, unknown>>;
    readonly announce: boolean;
  })[];
  readonly timeSeries?: readonly (BundleCapacityConfig & {
    /** In ms, as the timer. */
    readonly periodicInterval?: number;
    readonly missingDataDetect?: boolean;
    readonly missingDataDetectTimer?: number;
  })[];
  readonly subscriptions?: readonly (BundleResourceConfig & {
    readonly notify: readonly string[];
    readonly events?: readonly ('update' | 'delete' | 'createChild' | 'deleteChild')[];
  })[];
  readonly groups?: readonly (BundleResourceConfig & {
    readonly members: readonly string[];
    readonly maxNrOfMembers: number;
  })[];
}

/** The AEs beside the gateway's own. */
export interface BundleConfig {
  /** Absolute path of the file that the AEs were read from. */
  readonly file?: string;
  readonly aes?: readonly BundleAeConfig[];
}

/** What the decision is configured by; `decisionPolicy` makes a policy of it. */
export interface DecisionConfig {
  readonly a3: { readonly offsetDb: Db; readonly hysteresisDb: Db; readonly timeToTriggerMs: Millis };
  readonly filterCoefficient: number;
  readonly minimumStayMs: Millis;
  readonly pingPongMs: Millis;
  readonly sampleAgeMsMax: Millis;
  readonly penaltyMs: Millis;
  readonly candidatesMax: number;
  readonly discoveryPeriodMs: Millis;
}

/** Size of the buffer, and what its figures are computed with. */
export interface BufferConfig {
  readonly quotaBytes: Bytes;
  readonly segmentBytes: Bytes;
  readonly reserveBytes: Bytes;
  /** Least hours until full while nothing is delivered; 0 for no alarm. */
  readonly fullAlarmHours: number;
  /** See `Card`; the capacity is that of the disk when absent. */
  readonly card: {
    readonly capacityBytes?: Bytes;
    readonly enduranceCycles: number;
    readonly nandFactor: number;
  };
}

/** How a standby is kept ahead at the best alternative (warm-standby.ts). */
export interface StandbyConfig {
  readonly enabled: boolean;
  /** How long a candidate has to be the best alternative before it is prepared. */
  readonly holdMs: Millis;
  /** Time between two proofs of a standby. */
  readonly refreshMs: Millis;
  /** What keeping it may cost in an hour. */
  readonly requestsPerHour: number;
  readonly bytesPerHour: Bytes;
}

/** The configuration of a gateway with every default filled in. */
export interface GatewayConfig {
  /** Name of the gateway; its AE-ID stem is `S` followed by it. */
  readonly device: string;
  /** Absolute path. */
  readonly dataDirectory: string;
  readonly inCse: { readonly pointOfAccess: string; readonly cseId: CseId; readonly cseBaseName: string };
  readonly links: readonly LinkConfig[];
  readonly mqtt: MqttConfig;
  readonly security: SecurityConfig;
  readonly sensors: readonly SensorConfig[];
  readonly bundle: BundleConfig;
  readonly buffer: BufferConfig;
  readonly uplink: {
    readonly deadlineMs: Millis;
    readonly retryMsMin: Millis;
    readonly retryMsMax: Millis;
    /** Share of the deliveries that a backlog has while live readings wait. */
    readonly backlogPercent: number;
    /** Requests in flight to one CSE at most. */
    readonly requestsMax: number;
  };
  readonly decision: DecisionConfig;
  readonly handover: {
    readonly phaseDeadlineMs: Millis;
    readonly switchDeadlineMs: Millis;
    readonly graceMs: Millis;
    readonly claim: 'required' | 'deferred';
    /** Time between two looks at the serving record. */
    readonly recordCheckMs: Millis;
    readonly standby: StandbyConfig;
  };
  readonly downlink: {
    /** Period of fetching commands from a serving CSE that does not notify; never when absent. */
    readonly pollMs?: Millis;
  };
  readonly log: { readonly level: LogLevel };
}

/** The policy of the decision: what is configured, and the defaults of the decision for the rest. */
export function decisionPolicy(config: DecisionConfig): DecisionPolicy {
  const policy = defaultDecisionPolicy;
  return {
    ...policy,
    filter: { ...policy.filter, coefficient: config.filterCoefficient },
    a3: config.a3,
    levelMsMax: config.sampleAgeMsMax,
    minimumStayMs: config.minimumStayMs,
    pingPong: { ...policy.pingPong, withinMs: config.pingPongMs },
    penalty: { ...policy.penalty, firstMs: config.penaltyMs },
    candidatesMax: config.candidatesMax,
  };
}
