import { millis } from '../base/units.ts';
import type { Dbm, Millis } from '../base/units.ts';
import type { RadioSample } from '../radio/radio-sample.ts';
import type { CoverageCell } from './candidate.ts';
import { filterLevel } from './l3-filter.ts';
import type { FilterPolicy, FilteredLevel } from './l3-filter.ts';

/** Filtered level of every cell heard lately, by `cellKey`. */
export type CellLevels = Readonly<Record<string, FilteredLevel>>;

/** The filtered level at which a CSE is served, and the cell that gives it. */
export interface CoverageLevel {
  readonly levelDbm: Dbm;
  readonly atMs: Millis;
  /** The cell that gives the level, `arfcn/pci`. */
  readonly cell: string;
  /** When any cell of the coverage was heard last. */
  readonly heardMs: Millis;
}

/** Cells remembered at most; those not heard for longest go first (I8). */
const cellsMax = 64;

/** `arfcn/pci`, which names a cell locally and is what a modem prints of neighbours. */
export function cellKey(cell: CoverageCell): string {
  return `${cell.arfcn}/${cell.pci}`;
}

/**
 * Filters one sample into the levels. Cells without channel, physical identity or a believed RSRP are left out; of several
 * measurements of one cell the strongest counts.
 */
export function filterSample(levels: CellLevels, sample: RadioSample, policy: FilterPolicy): CellLevels {
  const measured = new Map<string, Dbm>();
  for (const { identity, rsrpDbm } of sample.cells) {
    const value = rsrpDbm?.value;
    if (identity.arfcn === undefined || identity.pci === undefined) continue;
    if (value === undefined || rsrpDbm?.suspect === true || !Number.isFinite(value)) continue;
    const key = cellKey({ arfcn: identity.arfcn, pci: identity.pci });
    const other = measured.get(key);
    if (other === undefined || value > other) measured.set(key, value);
  }
  const next = new Map(Object.entries(levels));
  for (const [key, levelDbm] of measured) {
    next.set(key, filterLevel(next.get(key), { levelDbm, atMs: sample.atMs }, policy));
  }
  const kept = [...next].filter(([, level]) => sample.atMs - level.atMs <= policy.gapMsMax);
  if (kept.length > cellsMax) kept.sort(([, a], [, b]) => b.atMs - a.atMs);
  return Object.fromEntries(kept.slice(0, cellsMax));
}

/**
 * The strongest level among the cells of a coverage that is at most `ageMsMax` old; undefined when none of them has been
 * heard in that time. Of two equal levels the newer one counts, then the lower cell name.
 */
export function coverageLevel(
  levels: CellLevels,
  coverage: readonly CoverageCell[],
  nowMs: Millis,
  ageMsMax: Millis,
): CoverageLevel | undefined {
  let best: Omit<CoverageLevel, 'heardMs'> | undefined;
  let heardMs = Number.NEGATIVE_INFINITY;
  for (const cell of [...new Set(coverage.map(cellKey))].sort()) {
    const level = levels[cell];
    if (level === undefined || nowMs - level.atMs > ageMsMax) continue;
    heardMs = Math.max(heardMs, level.atMs);
    const isBetter =
      best === undefined ||
      level.levelDbm > best.levelDbm ||
      (level.levelDbm === best.levelDbm && level.atMs > best.atMs);
    if (isBetter) best = { levelDbm: level.levelDbm, atMs: level.atMs, cell };
  }
  return best === undefined ? undefined : { ...best, heardMs: millis(heardMs) };
}

/** Time of the newest level, or undefined when nothing has been heard. */
export function newestLevelMs(levels: CellLevels): Millis | undefined {
  const times = Object.values(levels).map((level) => level.atMs);
  return times.length === 0 ? undefined : millis(Math.max(...times));
}
