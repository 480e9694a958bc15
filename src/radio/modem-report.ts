import type { Db, Dbm, Millis } from '../base/units.ts';
import type {
  CellIdentity,
  CellMeasurement,
  Metric,
  RadioAccessTechnology,
  RadioPosition,
} from './radio-sample.ts';
import type { Registration } from './registration.ts';

/** Makers whose AT dialects are known; `generic` is what 3GPP TS 27.007 defines. */
export type Vendor =
  | 'generic'
  | 'quectel'
  | 'simcom'
  | 'ublox'
  | 'sierra'
  | 'telit'
  | 'huawei'
  | 'fibocom'
  | 'nordic'
  | 'meig'
  | 'openluat';

/** What one complete reply, or one unsolicited line, says. A member is absent when the reply does not speak of it. */
export interface ModemReport {
  /** Serving cells first, as printed. */
  readonly cells?: readonly CellMeasurement[];
  readonly carriers?: readonly Carrier[];
  readonly registrations?: readonly Registration[];
  readonly modemState?: ModemState;
  /** Operator name or numeric PLMN as printed. */
  readonly operator?: string;
  /** Technology number of 3GPP TS 27.007 7.3. */
  readonly accessTechnology?: number;
  /** Mode of the choice of operator (3GPP TS 27.007 7.3): 0 automatic, 1 manual, 2 none ... */
  readonly operatorMode?: number;
  /** Received signal strength without a word on the technology (`+CSQ`). */
  readonly rssiDbm?: Metric<Dbm>;
  /** All levels of `+CESQ`, whether or not they make up a cell. */
  readonly signalQuality?: ExtendedSignalQuality;
  readonly antennas?: readonly AntennaLevels[];
  readonly temperatures?: readonly Temperature[];
  readonly position?: RadioPosition;
  readonly contexts?: readonly PdpContext[];
  readonly identity?: ModemIdentity;
  readonly sim?: SimState;
  readonly indicators?: readonly Indicator[];
  readonly connectionEvaluation?: ConnectionEvaluation;
  readonly signalThreshold?: SignalThreshold;
  /** Why the last attempt failed, in the modem's words (`+CEER`). */
  readonly failureCause?: string;
  /** Rows of the reply that fit no known layout. */
  readonly refusedRows?: number;
}

/** What the modem does by its own word: nothing, searching, camped without service, with service, with a connection. */
export type ModemState = 'noService' | 'searching' | 'limited' | 'idle' | 'connected';

/** Whether the SIM can be used (3GPP TS 27.007 8.3). */
export type SimState = 'ready' | 'pinLocked' | 'pukLocked' | 'networkLocked' | 'missing' | 'failed' | 'busy';

/** One carrier of an aggregation. */
export interface Carrier {
  readonly role: 'primary' | 'secondary';
  readonly rat?: RadioAccessTechnology;
  readonly identity: CellIdentity;
  readonly bandwidthMhz?: number;
  readonly rsrpDbm?: Metric<Dbm>;
  readonly rsrqDb?: Metric<Db>;
  readonly rssiDbm?: Metric<Dbm>;
  /** Signal to noise ratio of the reference signals, which is not the SINR that the serving cell line gives. */
  readonly rssnrDb?: Metric<Db>;
}

/** One level, antenna by antenna. */
export interface AntennaLevels {
  readonly rat?: RadioAccessTechnology;
  readonly rsrpDbm?: readonly Metric<Dbm>[];
  readonly rsrqDb?: readonly Metric<Db>[];
  readonly sinrDb?: readonly Metric<Db>[];
}

/** One thermometer of the modem. */
export interface Temperature {
  readonly sensor?: string;
  readonly temperatureC: number;
}

/** A packet data context (3GPP TS 27.007 10.1). */
export interface PdpContext {
  readonly contextId: number;
  readonly active?: boolean;
  readonly accessPointName?: string;
  /** IPv4 and IPv6 addresses in their usual form. */
  readonly addresses?: readonly string[];
  readonly gateway?: string;
  readonly nameServers?: readonly string[];
}

/** Who the modem says it is. */
export interface ModemIdentity {
  readonly manufacturer?: string;
  readonly model?: string;
  readonly revision?: string;
}

/** One indicator of `+CIND`; the name is known only where the reply to the test command is. */
export interface Indicator {
  readonly name?: string;
  readonly value?: number;
  readonly valueMin?: number;
  readonly valueMax?: number;
}

/** What an attempt to send would meet and cost, by the modem's own estimate. */
export interface ConnectionEvaluation {
  /** 0 when the evaluation succeeded. */
  readonly result: number;
  readonly isConnected?: boolean;
  /** 5 excessive, 6 increased, 7 normal, 8 reduced, 9 efficient. */
  readonly energyEstimate?: number;
  readonly coverageLevel?: number;
  readonly txPowerDbm?: number;
  readonly pathLossDb?: number;
}

/** A report that a signal level has crossed a threshold of the modem. */
export interface SignalThreshold {
  readonly rsrpThresholdIndex?: number;
  readonly rsrqThresholdIndex?: number;
}

/** Signal levels of `+CESQ`; each is absent when the modem's form of the reply has no such field. */
export interface ExtendedSignalQuality {
  /** GSM. */
  readonly rxlevDbm?: Metric<Dbm>;
  /** UTRA. */
  readonly rscpDbm?: Metric<Dbm>;
  readonly ecnoDb?: Metric<Db>;
  /** E-UTRA. */
  readonly rsrqDb?: Metric<Db>;
  readonly rsrpDbm?: Metric<Dbm>;
  /** NR. */
  readonly ssRsrqDb?: Metric<Db>;
  readonly ssRsrpDbm?: Metric<Dbm>;
  readonly ssSinrDb?: Metric<Db>;
}

/** What a parser may know beside the lines of a reply. */
export interface ReplyContext {
  /** Model of the modem, as far as known. */
  readonly model?: string;
  /** The command that was sent. */
  readonly command?: string;
}

/** Reads one complete reply: a pure function of its lines, which may hold the echo and foreign lines. Never throws. */
export type ReplyParser = (lines: readonly string[], context: ReplyContext) => ModemReport;

/** What a command is asked for. */
export type CommandUse =
  | 'serving'
  | 'neighbours'
  | 'signal'
  | 'registration'
  | 'operator'
  | 'carriers'
  | 'temperature'
  | 'position'
  /** Understood, but not asked for by itself. */
  | 'other';

/** A command of a dialect as data. */
export interface DialectCommand {
  /** What is sent, without the ending CR. */
  readonly text: string;
  /** The prefix of its reply and of unsolicited lines of the same form, for example `+QENG`. */
  readonly name: string;
  readonly use: CommandUse;
  readonly timeoutMs: Millis;
  readonly parse: ReplyParser;
}

/** How the modems of one maker are spoken to. */
export interface Dialect {
  readonly vendor: Vendor;
  /** Settings sent once after the port was opened; a modem may refuse any of them. */
  readonly setup: readonly string[];
  /** In the order in which their reports are believed. */
  readonly commands: readonly DialectCommand[];
}

/**
 * Two reports as one: what the first says stands, lists are joined, and two descriptions of the same cell are one cell
 * with the parts of both.
 */
export function mergeReports(first: ModemReport, second: ModemReport): ModemReport {
  const joined: Record<string, unknown> = { ...second, ...first };
  for (const [name, value] of Object.entries(first)) {
    const other = second[name as keyof ModemReport];
    if (Array.isArray(value) && Array.isArray(other))
      joined[name] = [...(value as unknown[]), ...(other as unknown[])];
  }
  if (first.cells !== undefined && second.cells !== undefined)
    joined['cells'] = mergeCells(first.cells, second.cells);
  if (first.refusedRows !== undefined && second.refusedRows !== undefined)
    joined['refusedRows'] = first.refusedRows + second.refusedRows;
  return joined;
}

/** The cells of both lists; those that are one cell are joined, and the first list's numbers stand. */
export function mergeCells(
  first: readonly CellMeasurement[],
  second: readonly CellMeasurement[],
): CellMeasurement[] {
  const cells = [...first];
  for (const cell of second) {
    const index = cells.findIndex((known) => isSameCell(known, cell));
    const known = cells[index];
    if (known === undefined) cells.push(cell);
    else cells[index] = joinCells(known, cell);
  }
  return cells;
}

function joinCells(first: CellMeasurement, second: CellMeasurement): CellMeasurement {
  const { suspectIdentity: suspects = [], ...known } = first;
  const { suspectIdentity: others = [], ...more } = second;
  const identity = { ...more.identity, ...known.identity };
  const suspectIdentity = [...new Set([...suspects, ...others])].filter(
    (part) => identity[part] === undefined,
  );
  return { ...more, ...known, identity, ...(suspectIdentity.length > 0 && { suspectIdentity }) };
}

/** Serving cells of one technology are one unless their identities differ; neighbours need channel and cell to agree. */
function isSameCell(one: CellMeasurement, other: CellMeasurement): boolean {
  if (one.rat !== other.rat || one.serving !== other.serving) return false;
  const parts = Object.keys(one.identity) as (keyof CellIdentity)[];
  const differs = parts.some(
    (name) => other.identity[name] !== undefined && other.identity[name] !== one.identity[name],
  );
  if (differs) return false;
  return one.serving || (one.identity.pci !== undefined && one.identity.pci === other.identity.pci);
}
