import type { Db, Dbm, Millis } from '../base/units.ts';

/** Radio access technology of a measured cell, access point or beacon. */
export type RadioAccessTechnology = 'gsm' | 'wcdma' | 'lte' | 'nr' | 'wifi' | 'ble' | 'dect' | 'ethernet';

/**
 * One measured quantity. `value` is absent when the modem did not know it or the number lies outside what the quantity
 * can be; `raw` is what the modem printed; `suspect` marks a printed number that was not believed.
 */
export interface Metric<Unit extends number> {
  readonly value?: Unit;
  readonly raw: string;
  readonly suspect?: true;
}

/** What identifies a cell; every part may be unknown. */
export interface CellIdentity {
  /** Mobile country code, three digits as text. */
  readonly mcc?: string;
  /** Mobile network code, two or three digits as text (`"00"` differs from `"0"`). */
  readonly mnc?: string;
  /** Tracking area code; location area code for GSM and UMTS. */
  readonly tac?: number;
  /** Cell identity: 16 bits (GSM), 28 bits (UTRA, E-UTRA) or 36 bits (NR), exact in a double. */
  readonly cellId?: number;
  /** Physical cell identity, 0..503 (LTE) or 0..1007 (NR); primary scrambling code, 0..511 (UMTS). */
  readonly pci?: number;
  /** GSM, UTRA, E-UTRA or NR absolute radio frequency channel number. */
  readonly arfcn?: number;
  readonly band?: number;
}

/** One cell as the radio sees it now. */
export interface CellMeasurement {
  readonly rat: RadioAccessTechnology;
  readonly serving: boolean;
  readonly identity: CellIdentity;
  /** Parts of the identity that were printed and cannot be. */
  readonly suspectIdentity?: readonly (keyof CellIdentity)[];
  /** Reference signal received power (SS-RSRP for NR). */
  readonly rsrpDbm?: Metric<Dbm>;
  /** Reference signal received quality (SS-RSRQ for NR). */
  readonly rsrqDb?: Metric<Db>;
  readonly sinrDb?: Metric<Db>;
  readonly rssiDbm?: Metric<Dbm>;
  /** Received signal code power of UMTS. */
  readonly rscpDbm?: Metric<Dbm>;
  /** Energy per chip over noise (Ec/No, Ec/Io) of UMTS. */
  readonly ecnoDb?: Metric<Db>;
}

/** Network registration in the words of 3GPP TS 27.007. */
export type RegistrationState = 'idle' | 'home' | 'searching' | 'denied' | 'unknown' | 'roaming' | 'limited';

/** Where a radio is, by its own satellite receiver. */
export interface RadioPosition {
  /** Degrees north (WGS 84). */
  readonly latitudeDeg: number;
  /** Degrees east (WGS 84). */
  readonly longitudeDeg: number;
  /** Above mean sea level. */
  readonly altitudeM?: number;
  readonly speedKmh?: number;
  readonly courseDeg?: number;
  /** Horizontal dilution of precision. */
  readonly hdop?: number;
  readonly satellites?: number;
  /** UTC of the fix as ISO 8601, from the satellites. */
  readonly fixTime?: string;
}

/** One reading of a radio: everything a source learnt in one polling round. */
export interface RadioSample {
  /** Name of the source in the configuration. */
  readonly source: string;
  /** Monotonic time at which the first value of the round was received. */
  readonly atMs: Millis;
  /** Monotonic time up to which it describes the radio: later it is stale. Absent in a sample that was made up. */
  readonly validUntilMs?: Millis;
  readonly registration?: RegistrationState;
  /** Operator name or numeric PLMN as printed. */
  readonly operator?: string;
  /** The serving cell first, then neighbours. */
  readonly cells: readonly CellMeasurement[];
  /** Hottest sensor of the radio. */
  readonly temperatureC?: number;
}

/** One position of a radio, sampled beside its cells. */
export interface PositionSample {
  /** Name of the source in the configuration. */
  readonly source: string;
  /** Monotonic time at which the position was received. */
  readonly atMs: Millis;
  readonly validUntilMs: Millis;
  readonly position: RadioPosition;
}
