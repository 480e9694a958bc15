import { growthBytes, worstStallMs } from './bounds.ts';
import type { Bound } from './bounds.ts';
import { engineLegend, engineNames } from './engines.ts';
import type { EngineName } from './engines.ts';
import type { CyclesResult, OpenResult } from './jobs.ts';
import type { BacklogResult } from './measurements.ts';
import type { Outcome } from './outcome.ts';
import { figure, median } from './statistics.ts';

type Row = readonly string[];

/** Prints an outcome as tables: absolute values, ratios to Baton's log, and the bounds. */
export function printReport(outcome: Outcome, bounds: readonly Bound[]): void {
  const { machine, skipped, failed } = outcome;
  const { node, processors, platform, loadAverage } = machine;
  console.log(
    `Node ${node}, ${platform}, ${processors} processors, load ${figure(loadAverage)} at the start`,
  );
  for (const line of skipped) console.log(`left out: ${line}`);
  for (const [engine, reason] of Object.entries(failed)) console.log(`${engine}: not measured: ${reason}`);
  printCycles(outcome);
  printRates(outcome);
  printBacklogs(outcome);
  printTable('What must hold', ['', 'value', 'bound', ''], bounds.map(boundRow));
  for (const [engine, text] of Object.entries(engineLegend)) console.log(`${engine}: ${text}`);
}

function boundRow({ name, relation, limit, value, verdict, why }: Bound): Row {
  return [name, figure(value), `${relation} ${limit}`, why === undefined ? verdict : `${verdict}: ${why}`];
}

const cyclesHead = [
  ...['engine', 'records', 'WA', 'flushes', 'requests', 'p50 ms', 'p99 ms', 'CPU us'],
  ...['stall ms', 'median', 'most', 'own', 'idle'],
];

function printCycles({ padded, packed, classes }: Outcome): void {
  const named: [string, readonly CyclesResult[]][] = [];
  for (const engine of engineNames) {
    const results = padded[engine];
    if (results !== undefined) named.push([engine, results]);
  }
  if (packed !== undefined) named.splice(1, 0, ['baton packed', packed]);
  if (classes !== undefined) named.splice(2, 0, ['baton, 3 classes', classes]);
  if (named.length === 0) return;
  const rows = named.flatMap(([name, results]) => results.map((result) => cyclesRow(name, result)));
  printTable(
    'Paced cycles, per commit; stalls of each round, own: less what the machine made it wait',
    cyclesHead,
    rows,
  );
  const base = padded.baton;
  if (base === undefined || named.length < 2) return;
  const ratios = named.flatMap(([name, results]) =>
    results.flatMap((result) => ratioRow(name, result, base)),
  );
  printTable('Ratios to baton', [...cyclesHead.slice(0, 8), 'own stall'], ratios);
}

function cyclesRow(name: string, result: CyclesResult): Row {
  const stalls = result.stalls.map(({ measuredMs }) => measuredMs);
  const numbers = [
    ...ratioFigures(result).slice(0, -1),
    ...[Math.min(...stalls), median(stalls), Math.max(...stalls), worstStallMs(result)],
    Math.max(...result.stalls.map(({ idleMs }) => idleMs)),
  ];
  return [name, String(result.batch), ...numbers.map(figure)];
}

function ratioFigures(result: CyclesResult): (number | undefined)[] {
  const { deviceBytesPerPayloadByte, flushesPerCycle, writeRequestsPerCycle } = result;
  const { commitP50Ms, commitP99Ms, cpuUsPerCycle } = result;
  const device = [deviceBytesPerPayloadByte, flushesPerCycle, writeRequestsPerCycle];
  return [...device, commitP50Ms, commitP99Ms, cpuUsPerCycle, worstStallMs(result)];
}

function ratioRow(name: string, result: CyclesResult, bases: readonly CyclesResult[]): Row[] {
  const base = bases.find(({ batch }) => batch === result.batch);
  if (base === undefined || base === result) return [];
  const own = ratioFigures(base);
  const ratios = ratioFigures(result).map((value, index) => (value ?? NaN) / (own[index] ?? NaN));
  return [[name, String(result.batch), ...ratios.map(figure)]];
}

function printRates({ rates }: Outcome): void {
  const rows = engineNames.flatMap((engine) =>
    (rates[engine] ?? []).map((result) => ({ engine, ...result })),
  );
  if (rows.length === 0) return;
  const baton = new Map(rates.baton?.map(({ batch, cyclesPerSecond }) => [batch, cyclesPerSecond]));
  printTable(
    'Emulated card of 500 writes a second',
    ['engine', 'records', 'cycles/s', 'records/s', 'baton is faster'],
    rows.map(({ engine, batch, cyclesPerSecond }) => [
      ...[engine, String(batch), figure(cyclesPerSecond), figure(cyclesPerSecond * batch)],
      figure((baton.get(batch) ?? NaN) / cyclesPerSecond),
    ]),
  );
}

const backlogHead = [
  ...['engine', 'pending', 'warm: open ms', 'first ms', 'cold: open ms', 'first ms', 'killed: first ms'],
  ...[
    'memory MB',
    'most MB',
    'own MB',
    'fill rec/s',
    'drain rec/s',
    'WA',
    'memory MB',
    'growth MB',
    'kept MB',
  ],
];

function printBacklogs({ backlogs, bareRssBytes }: Outcome): void {
  const named = engineNames.flatMap((engine) => (backlogs[engine] ?? []).map((row) => ({ engine, row })));
  if (named.length === 0) return;
  const title = `Backlogs; memory is resident and above a bare Node process of ${figure(bareRssBytes / 1e6)} MB; own: anonymous, whole process`;
  const rows = named.map(({ engine, row }) => backlogRow(engine, row, bareRssBytes));
  printTable(title, backlogHead, rows);
}

function backlogRow(engine: EngineName, row: BacklogResult, bareRssBytes: number): Row {
  const { records, warm, cold, afterKill, fillRecordsPerSecond, consume } = row;
  const over = (size: number): number => (size - bareRssBytes) / 1e6;
  const middle = (opens: readonly OpenResult[], pick: (open: OpenResult) => number | undefined): number =>
    opens.length === 0 ? NaN : median(opens.map((open) => pick(open) ?? NaN));
  const all = [...warm, ...cold];
  const numbers = [
    middle(warm, ({ openMs }) => openMs),
    middle(warm, ({ firstRecordMs }) => firstRecordMs),
    middle(cold, ({ openMs }) => openMs),
    middle(cold, ({ firstRecordMs }) => firstRecordMs),
    afterKill?.firstRecordMs,
    over(middle(all, ({ rssBytes }) => rssBytes)),
    over(middle(all, ({ rssBytesMax }) => rssBytesMax)),
    middle(all, ({ anonymousBytes }) => anonymousBytes) / 1e6,
    fillRecordsPerSecond,
    consume?.recordsPerSecond,
    consume?.deviceBytesPerPayloadByte,
    consume === undefined ? undefined : over(Math.max(...consume.rssBytes)),
    consume === undefined ? undefined : growthBytes(consume) / 1e6,
    consume === undefined ? undefined : consume.keptBytes / 1e6,
  ];
  return [engine, String(records), ...numbers.map(figure)];
}

function printTable(title: string, head: Row, rows: readonly Row[]): void {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  const line = (row: Row): string =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  ');
  console.log(`\n${title}`);
  for (const row of all) console.log(line(row));
}
