// What a scenario did to the subject, from what arrived at the far side and what the subject told.
import type { Scenario } from './lab-faults.ts';
import { readingPeriodMs } from './lab-subject.ts';
import type { Arrival, SubjectSample } from './lab-subject.ts';

/** Figures of one run. */
export interface ScenarioReport {
  readonly scenario: string;
  readonly seed: number;
  /** Link that served when the fault began, and in the end. */
  readonly serving: string;
  readonly servingInTheEnd: string | undefined;
  /** From the first step to the kernel's first event of that link, and to the change of the link. */
  readonly kernelEventMs: number | undefined;
  readonly detectionMs: number | undefined;
  /** Longest pause between new readings at the far side, the period not counted; the same for answers at the gateway. */
  readonly uplinkInterruptionMs: number;
  readonly downlinkInterruptionMs: number;
  readonly sent: number;
  readonly lost: number;
  /** Arrived twice without a label that says so. */
  readonly doubled: number;
  readonly repeated: number;
  readonly reordered: number;
  readonly probeBytes: Readonly<Record<string, number>>;
  readonly changes: readonly { readonly afterMs: number; readonly text: string }[];
  readonly problems: readonly string[];
  /** Bounds of the scenario that were not kept. */
  readonly violations: readonly string[];
}

/** The figures of a run whose first step was taken at `beganMs`. */
export function reportOf(
  scenario: Scenario,
  seed: number,
  serving: string,
  beganMs: number,
  sample: SubjectSample,
): ScenarioReport {
  const changes = sample.changes.filter(({ atMs }) => atMs >= beganMs);
  const event = sample.events.find(({ atMs, link }) => link === serving && atMs >= beganMs);
  const since = (atMs: number | undefined): number | undefined =>
    atMs === undefined ? undefined : round(atMs - beganMs);
  const seen = new Set(sample.arrivals.map(({ seq }) => seq));
  // What was sent within the last moments may still be on its way.
  const lost = Math.max(0, sample.sent - 20 - [...seen].filter((seq) => seq <= sample.sent - 20).length);
  const copies = sample.arrivals.map(({ seq, copy }) => `${seq} ${copy}`);
  const figures = {
    scenario: scenario.name,
    seed,
    serving,
    servingInTheEnd: sample.changes.at(-1)?.target,
    kernelEventMs: since(event?.toldMs),
    detectionMs: since(changes[0]?.atMs),
    uplinkInterruptionMs: longestPause(sample.arrivals, beganMs),
    downlinkInterruptionMs: longestPause(sample.answers, beganMs),
    sent: sample.sent,
    lost,
    doubled: copies.length - new Set(copies).size,
    repeated: sample.arrivals.length - seen.size,
    reordered: reorderedCount(sample.arrivals),
    probeBytes: sample.probeBytes,
    changes: changes.map(({ atMs, trigger, serving: left, target, reasons }) => ({
      afterMs: round(atMs - beganMs),
      text: `${left ?? 'none'} -> ${target} (${trigger}): ${reasons.join('; ')}`,
    })),
    problems: sample.problems,
  };
  return { ...figures, violations: violationsOf(scenario, figures) };
}

/** Percentile of some figures, undefined ones left out. */
export function percentile(values: readonly (number | undefined)[], share: number): number | undefined {
  const sorted = values.filter((value) => value !== undefined).sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)];
}

function violationsOf(scenario: Scenario, figures: Omit<ScenarioReport, 'violations'>): string[] {
  const { detectMsMax, changesMax } = scenario;
  const { detectionMs, lost, doubled, changes } = figures;
  const found: string[] = [];
  if (lost > 0) found.push(`${lost} readings lost`);
  if (doubled > 0) found.push(`${doubled} readings doubled without a label`);
  if (changes.length > changesMax)
    found.push(`${changes.length} changes of the link, at most ${changesMax} are expected`);
  if (detectMsMax !== undefined && !(detectionMs !== undefined && detectionMs <= detectMsMax)) {
    found.push(`the link was left after ${detectionMs ?? 'no'} ms, at most ${detectMsMax} are expected`);
  }
  return found;
}

function longestPause(arrivals: readonly Arrival[], sinceMs: number): number {
  const seen = new Set<number>();
  let lastMs: number | undefined;
  let longestMs = 0;
  for (const { seq, atMs } of [...arrivals].sort((a, b) => a.atMs - b.atMs)) {
    if (seen.has(seq)) continue;
    seen.add(seq);
    if (lastMs !== undefined && atMs >= sinceMs)
      longestMs = Math.max(longestMs, atMs - lastMs - readingPeriodMs);
    lastMs = atMs;
  }
  return round(longestMs);
}

function reorderedCount(arrivals: readonly Arrival[]): number {
  const seen = new Set<number>();
  let highest = 0;
  let count = 0;
  for (const { seq } of arrivals) {
    if (seen.has(seq)) continue;
    seen.add(seq);
    if (seq < highest) count++;
    highest = Math.max(highest, seq);
  }
  return count;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
