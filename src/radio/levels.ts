import type { Db, Dbm } from '../base/units.ts';
import type { CellMeasurement } from './radio-sample.ts';
import { present, readIndex, readMetric } from './reply-fields.ts';
import type { Field, IndexScale, Window } from './reply-fields.ts';

/** What the levels of a cell can be. -140 and -44 are printed for branches that are not there. */
export const windows: {
  readonly lteRsrp: Window;
  readonly nrRsrp: Window;
  readonly lteRsrq: Window;
  readonly nrRsrq: Window;
  readonly sinr: Window;
  readonly rssi: Window;
  readonly rscp: Window;
  readonly ecno: Window;
} = {
  lteRsrp: { min: -140, max: -44, sentinels: [-140, -44] },
  nrRsrp: { min: -156, max: -31, sentinels: [-140, -44] },
  lteRsrq: { min: -34, max: 2.5 },
  nrRsrq: { min: -43, max: 20 },
  sinr: { min: -23, max: 40 },
  rssi: { min: -125, max: -20 },
  rscp: { min: -120, max: -24 },
  ecno: { min: -32, max: 0 },
};

/**
 * Indices of 3GPP TS 27.007 8.69 (`+CESQ`) and 8.5 (`+CSQ`), each converted to the lower edge of its bin. Nordic counts
 * the upper edge in its manual and library, and is read so: `nordicRsrp`, `nordicRsrq`.
 */
export const scales: {
  readonly rssi: IndexScale;
  readonly rxlev: IndexScale;
  readonly rscp: IndexScale;
  readonly ecno: IndexScale;
  readonly rsrq: IndexScale;
  readonly rsrp: IndexScale;
  readonly ssRsrq: IndexScale;
  readonly ssRsrp: IndexScale;
  readonly ssSinr: IndexScale;
  readonly nordicRsrp: IndexScale;
  readonly nordicRsrq: IndexScale;
} = {
  rssi: { indexMax: 31, notKnown: 99, offset: -113, step: 2 },
  rxlev: { indexMax: 63, notKnown: 99, offset: -111, step: 1 },
  rscp: { indexMax: 96, notKnown: 255, offset: -121, step: 1 },
  ecno: { indexMax: 49, notKnown: 255, offset: -24.5, step: 0.5 },
  rsrq: { indexMax: 34, notKnown: 255, offset: -20, step: 0.5 },
  rsrp: { indexMax: 97, notKnown: 255, offset: -141, step: 1 },
  ssRsrq: { indexMax: 126, notKnown: 255, offset: -43.5, step: 0.5 },
  ssRsrp: { indexMax: 126, notKnown: 255, offset: -157, step: 1 },
  ssSinr: { indexMax: 127, notKnown: 255, offset: -23.5, step: 0.5 },
  nordicRsrp: { indexMin: -17, indexMax: 97, notKnown: 255, offset: -140, step: 1 },
  nordicRsrq: { indexMin: -30, indexMax: 46, notKnown: 255, offset: -19.5, step: 0.5 },
};

/** The levels of a cell. */
export type Levels = Pick<
  CellMeasurement,
  'rsrpDbm' | 'rsrqDb' | 'sinrDb' | 'rssiDbm' | 'rscpDbm' | 'ecnoDb'
>;

/** The levels as printed. */
export interface LevelFields {
  readonly rsrp?: Field | undefined;
  readonly rsrq?: Field | undefined;
  readonly sinr?: Field | undefined;
  readonly rssi?: Field | undefined;
}

/** Levels that are printed in dBm and dB, times `factor` (10 for tenths); `toSinr` where the SINR has its own scale. */
export function readLevels(
  rat: 'lte' | 'nr',
  { rsrp, rsrq, sinr, rssi }: LevelFields,
  factor = 1,
  toSinr?: (printed: number) => number,
): Levels {
  const scale = (printed: number): number => printed / factor;
  return present({
    rsrpDbm: readMetric<Dbm>(rsrp, rat === 'nr' ? windows.nrRsrp : windows.lteRsrp, scale),
    rsrqDb: readMetric<Db>(rsrq, rat === 'nr' ? windows.nrRsrq : windows.lteRsrq, scale),
    sinrDb: readMetric<Db>(sinr, windows.sinr, toSinr),
    rssiDbm: readMetric<Dbm>(rssi, windows.rssi, scale),
  });
}

/** RSRP and RSRQ that are printed as indices of `+CESQ`; the SINR in dB unless `toSinr` says otherwise. */
export function readIndexedLevels(
  rat: 'lte' | 'nr',
  { rsrp, rsrq, sinr }: LevelFields,
  toSinr?: (printed: number) => number,
): Levels {
  return present({
    rsrpDbm: readIndex<Dbm>(rsrp, rat === 'nr' ? scales.ssRsrp : scales.rsrp),
    rsrqDb: readIndex<Db>(rsrq, rat === 'nr' ? scales.ssRsrq : scales.rsrq),
    sinrDb: readMetric<Db>(sinr, windows.sinr, toSinr),
  });
}

/** Code power and quality of UMTS in dBm and dB. */
export function readUmtsLevels(rscp: Field | undefined, ecno: Field | undefined, rssi?: Field): Levels {
  return present({
    rscpDbm: readMetric<Dbm>(rscp, windows.rscp),
    ecnoDb: readMetric<Db>(ecno, windows.ecno),
    rssiDbm: readMetric<Dbm>(rssi, windows.rssi),
  });
}

/** The scale of fifths that several makers print SINR in: 0..250 for -20..30 dB. Anything else is no SINR. */
export function fifths(printed: number): number {
  return Number.isInteger(printed) && printed >= 0 && printed <= 250 ? printed / 5 - 20 : Number.NaN;
}
