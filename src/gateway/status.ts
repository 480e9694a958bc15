/**
 * What a gateway tells of itself over its control socket: the status (a snapshot) and events. Plain JSON; every
 * duration in ms, every level in dBm or dB. `sinceMs` is a reading of the clock that `uptimeMs` reads (0 = start of the
 * process), so that a step of the wall clock changes no age.
 */

import type { DiskType, LifeTime, PreEol } from '../host/block-device.ts';

/** State of a link or radio in the words of IEEE 802.21. */
export type LinkWord = 'up' | 'down' | 'goingDown' | 'detected' | 'parametersChange';

/** One cell as a modem sees it. */
export interface CellStatus {
  readonly serving: boolean;
  /** Radio access technology: `lte`, `nr` … */
  readonly rat: string;
  readonly pci?: number;
  readonly arfcn?: number;
  readonly rsrpDbm?: number;
  readonly rsrqDb?: number;
  readonly sinrDb?: number;
}

/** One access link with its modem. */
export interface LinkStatus {
  readonly name: string;
  readonly state: LinkWord;
  readonly localAddress: string;
  readonly registration?: string;
  readonly operator?: string;
  readonly modem?: { readonly state: string; readonly reason?: string };
  readonly cells: readonly CellStatus[];
  readonly sampleAgeMs?: number;
}

/** The radio level of one CSE, from the cells it covers. */
export interface LevelStatus {
  readonly cseId: string;
  readonly rsrpDbm?: number;
  /** Why it is not a candidate, or what else is worth saying. */
  readonly note?: string;
}

/** The CSE that holds the registration. */
export interface ServingStatus {
  readonly cseId: string;
  readonly epoch: number;
  readonly pointOfAccess: string;
  readonly sinceMs: number;
}

/** One phase of a handover and the time it took, or has taken so far. */
export interface PhaseStatus {
  readonly phase: string;
  readonly ms: number;
}

/** The handover that is running. */
export interface HandoverStatus {
  readonly source?: string;
  readonly target: string;
  readonly trigger: string;
  readonly epoch: number;
  readonly state: string;
  readonly elapsedMs: number;
  readonly phases: readonly PhaseStatus[];
}

/** The standby that is kept ahead at the best alternative. */
export interface StandbyStatus {
  /** `warm`: a handover to it costs claim and switch. `putOff`: its budget is used up. `none`: there is no alternative yet. */
  readonly state: 'none' | 'preparing' | 'warm' | 'failed' | 'putOff';
  readonly cseId?: string;
  /** Since it was last proved. */
  readonly provedAgeMs?: number;
  readonly reason?: string;
  readonly requestsLastHour: number;
  readonly bytesLastHour: number;
}

/** Counters of the buffer; `stored = delivered + evicted + corrupt + pending`. */
export interface BufferStatus {
  readonly stored: number;
  readonly delivered: number;
  readonly evicted: number;
  readonly corrupt: number;
  readonly pending: number;
  /** Octets of flash that slots with records take, of `capacityBytes`. */
  readonly bytes: number;
  readonly capacityBytes: number;
  readonly oldestAgeMs?: number;
  /** Hours until full at the rate of the last hour if nothing is delivered; absent before a rate is known. */
  readonly hoursUntilFull?: number;
  /** Hours that an outage may last from an empty buffer on, at the same rate. */
  readonly outageHours?: number;
}

/** What is written to flash; rates are in octets per day, of the last hour and (`Overall`) of all the time Baton ran. */
export interface FlashStatus {
  /** By the buffer since it was made: payload, and octets of device in whole pages. */
  readonly payloadBytes: number;
  readonly deviceBytes: number;
  /** `deviceBytes` per octet of payload. */
  readonly writeAmplification?: number;
  readonly commits: number;
  readonly flushes: number;
  /** Slots set aside after a failed write. */
  readonly slotsAside: number;
  readonly bytesPerDay?: number;
  readonly bytesPerDayOverall?: number;
  readonly disk: DiskStatus;
  /** Absent when the capacity is neither configured nor known. */
  readonly card?: CardStatus;
}

/** The disk that holds the data directory, written to by every program of the machine. */
export interface DiskStatus {
  readonly type: DiskType | 'unknown';
  /** Why it is unknown. */
  readonly reason?: string;
  readonly name?: string;
  readonly model?: string;
  readonly sizeBytes?: number;
  readonly writtenSinceBootBytes?: number;
  /** Since Baton first saw it, at `sinceUnixMs`. */
  readonly writtenBytes?: number;
  readonly sinceUnixMs?: number;
  readonly bytesPerDay?: number;
  readonly bytesPerDayOverall?: number;
  /** Of an eMMC: n says up to 10 n percent used, 11 exceeded. */
  readonly lifeTime?: LifeTime;
  readonly preEol?: PreEol;
}

/** Projected life of the card with what is assumed of it. */
export interface CardStatus {
  readonly capacityBytes: number;
  readonly enduranceCycles: number;
  readonly nandFactor: number;
  /** Whose rates count: all that is written to the disk, or, where that is unknown, what the buffer writes. */
  readonly basis: 'disk' | 'buffer';
  /** Years that a new card would last at the rate of the last hour, and at that of all the time Baton ran. */
  readonly years?: number;
  readonly yearsOverall?: number;
  /** Share of its life that was used since Baton first saw it; 1 is all. */
  readonly wornShare?: number;
}

/** One stream of readings. */
export interface StreamStatus {
  readonly name: string;
  readonly stored: number;
  readonly delivered: number;
  readonly pending: number;
  readonly ratePerS: number;
}

/** One sensor; `rejected` counts lines by the reason of their rejection. */
export interface SensorStatus {
  readonly name: string;
  readonly state: string;
  readonly reason?: string;
  readonly rejected: Readonly<Record<string, number>>;
}

/** A condition that a person should know of, from its beginning to its end. */
export interface AlarmStatus {
  readonly sinceMs: number;
  readonly text: string;
}

/** Snapshot of a running gateway. */
export interface GatewayStatus {
  readonly device: string;
  readonly pid: number;
  readonly uptimeMs: number;
  readonly links: readonly LinkStatus[];
  readonly levels: readonly LevelStatus[];
  readonly serving?: ServingStatus;
  readonly handover?: HandoverStatus;
  /** Absent where none is to be kept. */
  readonly standby?: StandbyStatus;
  readonly handovers: { readonly completed: number; readonly rolledBack: number; readonly failed: number };
  readonly buffer: BufferStatus;
  /** Absent until the buffer is open. */
  readonly flash?: FlashStatus;
  readonly streams: readonly StreamStatus[];
  readonly sensors: readonly SensorStatus[];
  /** Health of the way to the serving CSE and its last response time. */
  readonly service: { readonly state: string; readonly responseMs?: number };
  readonly commands: { readonly received: number; readonly executed: number; readonly duplicates: number };
  readonly alarms: readonly AlarmStatus[];
}

/** A round of measurements of a link arrived. */
export interface SampleEvent {
  readonly kind: 'sample';
  readonly link: string;
  readonly cells: readonly CellStatus[];
}

/** The decision asks for a handover. */
export interface DecisionEvent {
  readonly kind: 'decision';
  readonly trigger: string;
  readonly source?: string;
  readonly target: string;
  readonly explanation?: string;
}

/** A handover left a phase; `ms` is what the phase took. */
export interface PhaseEvent {
  readonly kind: 'phase';
  readonly state: string;
  readonly epoch: number;
  readonly source?: string;
  readonly target: string;
  readonly ms: number;
}

/** A handover ended. */
export interface HandoverEndedEvent {
  readonly kind: 'handoverEnded';
  readonly outcome: 'completed' | 'rolledBack' | 'failed';
  readonly epoch: number;
  readonly source?: string;
  readonly target: string;
  readonly trigger: string;
  readonly elapsedMs: number;
  readonly phases: readonly PhaseStatus[];
  readonly uplinkInterruptionMs?: number;
  readonly reason?: string;
}

/** Readings were given up because the buffer was full. */
export interface EvictionEvent {
  readonly kind: 'eviction';
  readonly stream: string;
  readonly count: number;
  readonly firstSeq: number;
  readonly lastSeq: number;
}

/** Stored data was found damaged and skipped. */
export interface DamageEvent {
  readonly kind: 'damage';
  readonly file: string;
  readonly text: string;
}

/** A link changed its state. */
export interface LinkStateEvent {
  readonly kind: 'linkState';
  readonly link: string;
  readonly state: LinkWord;
  readonly reason?: string;
}

/** An alarm began or ended. */
export interface AlarmEvent {
  readonly kind: 'alarm';
  readonly text: string;
  readonly active: boolean;
}

/** Weight of a log line, the heaviest first. */
export type LogLevel = 'error' | 'warn' | 'info' | 'debug';

/** A log line. */
export interface LogEvent {
  readonly kind: 'log';
  readonly level: LogLevel;
  readonly text: string;
}

/** Something that happened in a gateway. */
export type GatewayEvent =
  | SampleEvent
  | DecisionEvent
  | PhaseEvent
  | HandoverEndedEvent
  | EvictionEvent
  | DamageEvent
  | LinkStateEvent
  | AlarmEvent
  | LogEvent;
