import { millis } from '../base/units.ts';
import type { CseId, Millis, StreamName } from '../base/units.ts';

/**
 * What a trial amounts to, by comparing what the sensors emitted with what the CSEs hold. The gateway's own counters are
 * not asked: a gateway that loses a reading without noticing must not pass (I1, I2, I3).
 */

/** What one sensor emitted: the readings numbered `first` to `last` without a gap. */
export interface EmittedStream {
  readonly stream: StreamName;
  readonly first: number;
  readonly last: number;
  /** Time between two readings. */
  readonly periodMs: Millis;
  /** The value of reading `producerSeq`, where it can be told; values are then compared as JSON. */
  readonly valueOf?: (producerSeq: number) => unknown;
}

/** One reading as a CSE holds it: those of one batch are each an instance here, in their order and with its name. */
export interface HeldInstance {
  readonly cseId: CseId;
  readonly stream: StreamName;
  /** Container that holds it: readings come to each in an order of its own. The stream's own when absent. */
  readonly container?: string;
  /** The producer's number in its content. */
  readonly producerSeq: number;
  /** Resource name of the contentInstance, unique within its container; several readings may share it. */
  readonly recordName: string;
  readonly labels: readonly string[];
  /** When the CSE created it, on the clock of the handovers. */
  readonly arrivalMs: Millis;
  readonly value?: unknown;
}

/** When a handover began (its decision) and ended (source released or rolled back). */
export interface HandoverSpan {
  readonly source: CseId | undefined;
  readonly target: CseId;
  readonly startedMs: Millis;
  readonly endedMs: Millis;
}

/** Everything that the comparison needs. */
export interface TrialEvidence {
  readonly emitted: readonly EmittedStream[];
  readonly held: readonly HeldInstance[];
  readonly handovers: readonly HandoverSpan[];
  /** Label of a copy that was sent although the first one may have arrived; such doubles are allowed (I2). */
  readonly inDoubtLabel?: string;
  /** End of the observation; the silence before it counts as a gap. */
  readonly endedMs?: Millis;
}

/** Figures of one stream. */
export interface StreamKpis {
  readonly stream: StreamName;
  readonly emitted: number;
  /** Different readings held by at least one CSE. */
  readonly stored: number;
  readonly lost: number;
  /** Readings held more than once without the label that allows it, counted by surplus copy. */
  readonly duplicates: number;
  /** Surplus copies across CSEs that carry the label. */
  readonly inDoubtDoubles: number;
  /** Readings that arrived in a container after a later one of their stream. */
  readonly reordered: number;
  /** Readings whose value is not the one emitted. */
  readonly altered: number;
  /** Readings that were never emitted. */
  readonly unexpected: number;
  /** Longest time between the first arrivals of two readings in a row, at whichever CSE. */
  readonly longestGapMs: Millis;
}

/** Figures of one handover. */
export interface HandoverKpis extends HandoverSpan {
  readonly longestGapMs: Millis;
  /** Of the stream that waited longest: its longest gap around the handover beyond its own period. */
  readonly uplinkInterruptionMs: Millis;
  readonly interruptedStream?: StreamName;
}

/** Figures of a trial, with what speaks against it. */
export interface TrialKpis {
  readonly emitted: number;
  readonly stored: number;
  readonly lost: number;
  readonly duplicates: number;
  readonly inDoubtDoubles: number;
  readonly reordered: number;
  readonly altered: number;
  readonly unexpected: number;
  readonly longestGapMs: Millis;
  readonly streams: readonly StreamKpis[];
  readonly handovers: readonly HandoverKpis[];
  readonly verdict: 'passed' | 'failed';
  /** One sentence for each fault; empty when passed. */
  readonly faults: readonly string[];
}

/** Compares what was emitted with what is held. Streams that are held but were not emitted count as unexpected. */
export function computeTrialKpis(evidence: TrialEvidence): TrialKpis {
  const byStream = groupByStream(evidence.held);
  const names = new Set(evidence.emitted.map(({ stream }) => stream));
  const streams = evidence.emitted.map((emitted) =>
    streamKpis(emitted, byStream.get(emitted.stream) ?? [], evidence),
  );
  const strangers = evidence.held.filter(({ stream }) => !names.has(stream)).length;
  const sum = (pick: (kpis: StreamKpis) => number): number =>
    streams.reduce((total, kpis) => total + pick(kpis), 0);
  const totals = {
    emitted: sum(({ emitted }) => emitted),
    stored: sum(({ stored }) => stored),
    lost: sum(({ lost }) => lost),
    duplicates: sum(({ duplicates }) => duplicates),
    inDoubtDoubles: sum(({ inDoubtDoubles }) => inDoubtDoubles),
    reordered: sum(({ reordered }) => reordered),
    altered: sum(({ altered }) => altered),
    unexpected: sum(({ unexpected }) => unexpected) + strangers,
  };
  const faults = faultsOf(totals);
  return {
    ...totals,
    longestGapMs: millis(Math.max(0, ...streams.map(({ longestGapMs }) => longestGapMs))),
    streams,
    handovers: evidence.handovers.map((span) => handoverKpis(span, byStream, evidence)),
    verdict: faults.length === 0 ? 'passed' : 'failed',
    faults,
  };
}

function streamKpis(
  emitted: EmittedStream,
  held: readonly HeldInstance[],
  evidence: TrialEvidence,
): StreamKpis {
  const count = Math.max(0, emitted.last - emitted.first + 1);
  const isEmitted = ({ producerSeq }: HeldInstance): boolean =>
    Number.isInteger(producerSeq) && producerSeq >= emitted.first && producerSeq <= emitted.last;
  const known = held.filter(isEmitted);
  const stored = new Set(known.map(({ producerSeq }) => producerSeq)).size;
  const { valueOf } = emitted;
  const isAltered = ({ producerSeq, value }: HeldInstance): boolean =>
    valueOf !== undefined && JSON.stringify(value) !== JSON.stringify(valueOf(producerSeq));
  const gaps = gapsOf(held, evidence.endedMs);
  return {
    stream: emitted.stream,
    emitted: count,
    stored,
    lost: count - stored,
    ...doubles(known, evidence.inDoubtLabel),
    reordered: reordered(known),
    altered: known.filter(isAltered).length,
    unexpected: held.length - known.length,
    longestGapMs: millis(Math.max(0, ...gaps.map(({ lengthMs }) => lengthMs))),
  };
}

/**
 * Surplus copies. Within one CSE each is a fault, labelled or not; across CSEs a reading may be held once more for each
 * copy that says of itself that it was in doubt.
 */
function doubles(
  held: readonly HeldInstance[],
  inDoubtLabel: string | undefined,
): { duplicates: number; inDoubtDoubles: number } {
  let duplicates = 0;
  let inDoubtDoubles = 0;
  const byReading = new Map<number, Map<CseId, HeldInstance[]>>();
  for (const instance of held) {
    const byCse = byReading.get(instance.producerSeq) ?? new Map<CseId, HeldInstance[]>();
    byReading.set(instance.producerSeq, byCse);
    byCse.set(instance.cseId, [...(byCse.get(instance.cseId) ?? []), instance]);
  }
  for (const byCse of byReading.values()) {
    const copies = [...byCse.values()];
    for (const atOneCse of copies) duplicates += atOneCse.length - 1;
    const isLabelled = (copy: HeldInstance): boolean =>
      inDoubtLabel !== undefined && copy.labels.includes(inDoubtLabel);
    const labelled = copies.filter((atOneCse) => atOneCse.some(isLabelled)).length;
    const surplus = copies.length - 1;
    inDoubtDoubles += Math.min(surplus, labelled);
    duplicates += surplus - Math.min(surplus, labelled);
  }
  return { duplicates, inDoubtDoubles };
}

/** Readings that came to a container after a later one; the first copy of each reading at each CSE counts. */
function reordered(held: readonly HeldInstance[]): number {
  const highest = new Map<string, number>();
  const seen = new Set<string>();
  let count = 0;
  for (const { cseId, stream, container = stream, producerSeq } of inOrderOfArrival(held)) {
    const key = `${producerSeq}@${cseId}`;
    if (seen.has(key)) continue;
    seen.add(key);
    const place = `${container}@${cseId}`;
    const before = highest.get(place) ?? Number.NEGATIVE_INFINITY;
    if (producerSeq < before) count += 1;
    highest.set(place, Math.max(before, producerSeq));
  }
  return count;
}

interface Gap {
  readonly fromMs: number;
  readonly toMs: number;
  readonly lengthMs: number;
}

/**
 * Times between two first arrivals in a row of one stream at whichever CSE, and from the last one to the end. A second
 * copy of a reading brings nothing new and ends no gap.
 */
function gapsOf(held: readonly HeldInstance[], endedMs: Millis | undefined): Gap[] {
  const seen = new Set<number>();
  const arrivals: number[] = [];
  for (const { producerSeq, arrivalMs } of inOrderOfArrival(held)) {
    if (!seen.has(producerSeq)) arrivals.push(arrivalMs);
    seen.add(producerSeq);
  }
  const lastMs = arrivals.at(-1);
  if (lastMs !== undefined && endedMs !== undefined && endedMs > lastMs) arrivals.push(endedMs);
  return arrivals.slice(1).map((toMs, index) => {
    const fromMs = arrivals[index] ?? toMs;
    return { fromMs, toMs, lengthMs: toMs - fromMs };
  });
}

function handoverKpis(
  span: HandoverSpan,
  byStream: ReadonlyMap<StreamName, readonly HeldInstance[]>,
  evidence: TrialEvidence,
): HandoverKpis {
  let longestGapMs = 0;
  let interruptionMs = 0;
  let interruptedStream: StreamName | undefined;
  for (const { stream, periodMs } of evidence.emitted) {
    for (const gap of gapsOf(byStream.get(stream) ?? [], evidence.endedMs)) {
      if (gap.toMs < span.startedMs || gap.fromMs > span.endedMs) continue;
      longestGapMs = Math.max(longestGapMs, gap.lengthMs);
      if (gap.lengthMs - periodMs <= interruptionMs) continue;
      interruptionMs = gap.lengthMs - periodMs;
      interruptedStream = stream;
    }
  }
  return {
    ...span,
    longestGapMs: millis(longestGapMs),
    uplinkInterruptionMs: millis(interruptionMs),
    ...(interruptedStream === undefined ? {} : { interruptedStream }),
  };
}

function faultsOf(
  totals: Omit<TrialKpis, 'longestGapMs' | 'streams' | 'handovers' | 'verdict' | 'faults'>,
): string[] {
  const faults: string[] = [];
  const note = (count: number, text: string): void => {
    if (count > 0) faults.push(`${count} ${text}`);
  };
  if (totals.emitted === 0) faults.push('nothing was emitted, so nothing is proven');
  note(totals.lost, 'readings were emitted and are held by no CSE');
  note(totals.duplicates, 'readings are held twice without being marked as in doubt');
  note(totals.reordered, 'readings arrived after a later one of their stream');
  note(totals.altered, 'readings have another value than the one emitted');
  note(totals.unexpected, 'readings are held that were never emitted');
  return faults;
}

function groupByStream(held: readonly HeldInstance[]): ReadonlyMap<StreamName, readonly HeldInstance[]> {
  const groups = new Map<StreamName, HeldInstance[]>();
  for (const instance of held) {
    const group = groups.get(instance.stream);
    if (group === undefined) groups.set(instance.stream, [instance]);
    else group.push(instance);
  }
  return groups;
}

/** By time; instances of one moment stay in the order given, which is that of the CSE. */
function inOrderOfArrival(held: readonly HeldInstance[]): HeldInstance[] {
  return [...held].sort((a, b) => a.arrivalMs - b.arrivalMs);
}
