import { durationText, shortNumber } from './format.ts';
import { encodeLine, pad, padLeft, safe, span, widthOf } from './line.ts';
import type { Appearance, Line } from './line.ts';

/** One handover of a drive. */
export interface DemoHandover {
  readonly epoch: number;
  /** Absent for the first attachment. */
  readonly source?: string;
  readonly target: string;
  readonly trigger: string;
  /** Milliseconds by phase. */
  readonly phases: Readonly<Record<string, number>>;
  readonly uplinkInterruptionMs: number;
}

/** The outcome of a drive, counted from what the sensor emitted and what the CSEs hold. */
export interface DemoSummary {
  readonly drive: string;
  readonly seed: number;
  readonly seconds: number;
  /** Round trip time of the simulated links. */
  readonly rttMs: number;
  readonly handovers: readonly DemoHandover[];
  readonly stored: number;
  readonly delivered: number;
  readonly evicted: number;
  readonly pending: number;
  readonly duplicates: number;
  /** Doubles labelled in doubt, which a handover may leave (I2). */
  readonly inDoubtDoubles: number;
  readonly lost: number;
  readonly reordered: number;
  readonly longestGapMs: number;
  readonly readingPeriodMs: number;
  readonly verdict: 'pass' | 'fail';
  /** Why the verdict is `fail`. */
  readonly reasons: readonly string[];
}

const columnsMax = 110;

/** The summary as text for a terminal or a file, with a line feed at its end. */
export function renderSummary(
  summary: DemoSummary,
  appearance: Appearance = { unicode: true, colour: false },
  columns: number = columnsMax,
): string {
  const lines = [
    ...headLines(summary),
    [],
    ...handoverLines(summary.handovers),
    [],
    ...countLines(summary),
    [],
    ...verdictLines(summary),
  ];
  return lines.map((line) => `${encodeLine(line, columns, appearance)}\n`).join('');
}

function headLines({ drive, seconds, seed, rttMs }: DemoSummary): Line[] {
  return [
    [
      span(` drive ${safe(drive)} `, 'title'),
      span(`  ${shortNumber(seconds)} s, seed ${shortNumber(seed)}, round trip ${durationText(rttMs)}`),
    ],
  ];
}

function handoverLines(handovers: readonly DemoHandover[]): Line[] {
  if (handovers.length === 0) return [[span('  no handover took place', 'warn')]];
  const names = [...new Set(handovers.flatMap(({ phases }) => Object.keys(phases)))].slice(0, 8);
  const widths = names.map((name) => Math.max(4, widthOf(safe(name, 10))) + 1);
  const header = names.map((name, index) => padLeft(safe(name, 10), widths[index] ?? 5)).join('');
  const ways = handovers.map(({ source, target }) => `${safe(source ?? 'none', 12)} → ${safe(target, 12)}`);
  const wayWidth = Math.max(15, ...ways.map(widthOf));
  const rows = handovers.map((handover, row): Line => {
    const times = names.map((name, index) => padLeft(millisText(handover.phases[name]), widths[index] ?? 5));
    return [
      span(padLeft(shortNumber(handover.epoch), 6), 'accent'),
      span(`  ${pad(ways[row] ?? '', wayWidth)} ${pad(safe(handover.trigger, 11), 11)}`),
      span(padLeft(millisText(handover.uplinkInterruptionMs), 12), 'strong'),
      span(times.join('')),
    ];
  });
  return [
    [
      span(
        ` epoch  ${pad('source → target', wayWidth)} ${pad('trigger', 11)}interruption${header}`,
        'heading',
      ),
    ],
    ...rows,
    [span('  in ms: what the longest wait for a reading exceeds its period by, then the phases', 'dim')],
  ];
}

function millisText(ms: number | undefined): string {
  return ms === undefined ? '-' : shortNumber(Math.round(ms));
}

function countLines(summary: DemoSummary): Line[] {
  const { stored, delivered, evicted, pending, lost, duplicates, inDoubtDoubles, reordered } = summary;
  const isConserved = stored === delivered + evicted + pending;
  const bad = (count: number): 'bad' | 'good' => (count > 0 ? 'bad' : 'good');
  return [
    [
      span(
        `  stored ${shortNumber(stored)} ${isConserved ? '=' : '≠'} delivered ${shortNumber(delivered)} + evicted ${shortNumber(evicted)} + pending ${shortNumber(pending)}`,
        isConserved ? 'good' : 'bad',
      ),
    ],
    [
      span('  at the CSEs:'),
      span(` lost ${shortNumber(lost)}`, bad(lost)),
      span(`, doubled ${shortNumber(duplicates)}`, bad(duplicates)),
      span(`, out of order ${shortNumber(reordered)}`, bad(reordered)),
      span(`, labelled in-doubt doubles ${shortNumber(inDoubtDoubles)}`),
    ],
    [
      span(`  longest gap between readings ${durationText(summary.longestGapMs)}`),
      span(` at one reading every ${durationText(summary.readingPeriodMs)}`, 'dim'),
    ],
  ];
}

function verdictLines({ verdict, reasons }: DemoSummary): Line[] {
  if (verdict === 'pass')
    return [[span('  PASS', 'good'), span('  nothing lost, nothing doubled, nothing left split')]];
  return [
    [span('  FAIL', 'bad')],
    ...reasons.slice(0, 20).map((reason): Line => [span('  ✗ ', 'bad'), span(safe(reason, 400))]),
  ];
}
