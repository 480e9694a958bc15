import type { EngineName } from './engines.ts';
import type { ConsumeResult, CyclesResult, OpenResult } from './jobs.ts';
import type { Outcome } from './outcome.ts';
import { median } from './statistics.ts';

/** One thing that Baton's log must reach. */
export interface Bound {
  readonly name: string;
  readonly relation: '<=' | '>=';
  readonly limit: number;
  /** Undefined when it was not measured, for the reason in `why`. */
  readonly value: number | undefined;
  readonly why: string | undefined;
  /** `absent` is a failure: something needed could not be measured; `skipped` is not. */
  readonly verdict: 'met' | 'missed' | 'absent' | 'skipped';
}

/** Growth of memory, in MB, between the halves of a consumption that is the garbage collector's and counts as none. */
const flatMb = 4;
const mb = 1e6;

/** Holds an outcome against what must be reached; `isCompared` with SQLite too. */
export function checkBounds(outcome: Outcome, isCompared: boolean): Bound[] {
  const cycles = [
    ...padding('padded', outcome.padded.baton, [26.5, 1.7, 1.2]),
    ...padding('packed', outcome.packed, [28, 2.8, 1.3]),
    ...flushes(outcome),
    ...stalls(outcome),
  ];
  const bounds = [...cycles, ...(isCompared ? comparisons(outcome) : []), ...backlogs(outcome)];
  return bounds.map((found) => needing(outcome, 'baton', found));
}

function bound(name: string, relation: '<=' | '>=', limit: number, value: number | undefined): Bound {
  const isMet = value !== undefined && (relation === '<=' ? value <= limit : value >= limit);
  const verdict = value === undefined ? 'skipped' : isMet ? 'met' : 'missed';
  return { name, relation, limit, value, why: undefined, verdict };
}

function atBatch<T extends { batch: number }>(
  results: readonly T[] | undefined,
  batch: number,
): T | undefined {
  return results?.find((result) => result.batch === batch);
}

function padding(
  name: string,
  results: readonly CyclesResult[] | undefined,
  limits: readonly [number, number, number],
): Bound[] {
  return [1, 16, 256].map((batch, index) => {
    const value = atBatch(results, batch)?.deviceBytesPerPayloadByte;
    return bound(
      `device bytes per payload byte, ${name}, ${batch} a commit`,
      '<=',
      limits[index] ?? 0,
      value,
    );
  });
}

function flushes({ padded, packed, classes }: Outcome): Bound[] {
  const rows: [string, readonly CyclesResult[] | undefined][] = [
    ['padded', padded.baton],
    ['packed', packed],
    ['three classes', classes],
  ];
  return rows.map(([name, results]) => {
    const values = (results ?? []).flatMap(({ flushesPerCycle }) => flushesPerCycle ?? []);
    const value = values.length === 0 ? undefined : Math.max(...values);
    return bound(`flushes per commit window, ${name}, worst batch size`, '<=', 1.05, value);
  });
}

/** The worst delay that is not the machine's, where the kernel tells it apart; else the worst. */
export function worstStallMs({ stalls }: CyclesResult): number {
  return Math.max(...stalls.map(({ ownMs, measuredMs }) => ownMs ?? measuredMs));
}

function stalls({ padded, packed }: Outcome): Bound[] {
  return [1, 16, 256].map((batch) => {
    const results = [atBatch(padded.baton, batch), atBatch(packed, batch)].filter((one) => one !== undefined);
    const value = results.length === 0 ? undefined : Math.max(...results.map(worstStallMs));
    return bound(`event-loop stall in ms, ${batch} a commit`, '<=', batch === 256 ? 50 : 20, value);
  });
}

function comparisons(outcome: Outcome): Bound[] {
  const { padded, rates } = outcome;
  const wear = [1, 16].map((batch) => {
    const [own, other] = [atBatch(padded.baton, batch), atBatch(padded['sqlite-full'], batch)];
    const ratio = divide(other?.deviceBytesPerPayloadByte, own?.deviceBytesPerPayloadByte);
    const name = `device bytes of sqlite-full to Baton's, ${batch} a commit`;
    return needing(outcome, 'sqlite-full', bound(name, '>=', 7, ratio));
  });
  const speed = [1, 16].map((batch) => {
    const [own, other] = [atBatch(rates.baton, batch), atBatch(rates['sqlite-full'], batch)];
    const ratio = divide(own?.cyclesPerSecond, other?.cyclesPerSecond);
    const name = `cycles a second to sqlite-full's on the emulated card, ${batch} a commit`;
    return needing(outcome, 'sqlite-full', bound(name, '>=', 5, ratio));
  });
  return [...wear, ...speed];
}

function divide(above: number | undefined, below: number | undefined): number | undefined {
  return above === undefined || below === undefined ? undefined : above / below;
}

/** A bound that an engine which could not be measured leaves open is not met. */
function needing(outcome: Outcome, engine: EngineName, found: Bound): Bound {
  const why = outcome.failed[engine];
  if (found.value !== undefined || why === undefined) return found;
  return { ...found, verdict: 'absent', why: `${engine}: ${why}` };
}

function backlogs({ backlogs: all, bareRssBytes }: Outcome): Bound[] {
  const largest = all.baton?.at(-1);
  if (largest === undefined) return [bound('first record with a backlog in ms', '<=', 100, undefined)];
  const { records, warm, cold, afterKill, consume } = largest;
  const opens: [string, readonly OpenResult[]][] = [
    ['warm', warm],
    ['after a remount', cold],
    ['after a kill', afterKill === undefined ? [] : [afterKill]],
  ];
  const first = opens.map(([name, results]) => {
    const value = results.length === 0 ? undefined : median(results.map((open) => open.firstRecordMs ?? NaN));
    return bound(`first record with ${records} pending in ms, ${name}`, '<=', 100, value);
  });
  const rss = median([...warm, ...cold].map(({ rssBytes }) => rssBytes)) - bareRssBytes;
  const memory = bound(`memory over bare Node with ${records} pending in MB`, '<=', 12, rss / mb);
  return [...first, memory, ...consumption(records, consume)];
}

function consumption(records: number, consume: ConsumeResult | undefined): Bound[] {
  if (consume === undefined) return [];
  const grown = growthBytes(consume) / mb;
  return [bound(`growth of memory while ${records} are consumed in MB`, '<=', flatMb, grown)];
}

/** How much higher memory rises in the second half than in the first. */
export function growthBytes({ rssBytes }: ConsumeResult): number {
  const half = Math.floor(rssBytes.length / 2);
  return Math.max(...rssBytes.slice(half)) - Math.max(...rssBytes.slice(0, half));
}
