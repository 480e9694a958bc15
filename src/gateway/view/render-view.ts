import type { TerminalSize } from '../../host/terminal.ts';
import type { AlarmStatus, BufferStatus, CellStatus, GatewayStatus, LinkStatus } from '../status.ts';
import { flashLines } from './flash-lines.ts';
import { bytesText, durationText, shortNumber } from './format.ts';
import { levelRangeDbm, progressBar, signalBars, sparkline } from './graphs.ts';
import { encodeLine, pad, padLeft, safe, span, widthOf, wrap } from './line.ts';
import type { Appearance, Line, Span, Style } from './line.ts';
import { createViewModel, updateView } from './view-model.ts';
import type { ViewModel } from './view-model.ts';

/** Phases of a handover that goes well, in their order. */
const phaseOrder = ['preparing', 'prepared', 'claiming', 'switching', 'catchingUp', 'releasing'];

const graphHeightMax = 4;
const alarmWidthMax = 1000;

/** The view as text: at most `rows` lines of at most `columns` columns, joined by line feeds. */
export function renderView(
  model: ViewModel,
  size: TerminalSize,
  appearance: Appearance = { unicode: true, colour: false },
): string {
  return layoutView(model, size)
    .map((line) => encodeLine(line, size.columns, appearance))
    .join('\n');
}

/** The view as lines, exactly as many as there are rows. */
export function layoutView(model: ViewModel, size: TerminalSize): Line[] {
  const columns = Math.max(1, Math.floor(size.columns) || 1);
  const rows = Math.max(1, Math.floor(size.rows) || 1);
  const footer: Line = [span(` ${safe(model.hint, columns)}`, 'dim')];
  if (rows < 3) return [titleLine(model, columns), footer].slice(0, rows);
  const body = fit(tallest(model, columns, rows - 2), rows - 2);
  const blank = Array.from({ length: Math.max(0, rows - 2 - body.length) }, (): Line => []);
  return [titleLine(model, columns), ...body, ...blank, footer];
}

/** The sections with graphs as high as the screen has room for, at a height that does not change with what comes and goes. */
function tallest(model: ViewModel, columns: number, rows: number): Section[] {
  for (let height = graphHeightMax; height > 1; height--) {
    const given = sections(model, columns, height);
    const wanted = given.map(({ lines, reserve }) => reserve ?? lines.length);
    if (wanted.reduce((sum, count) => sum + count, 0) <= rows) return given;
  }
  return sections(model, columns, 1);
}

interface Section {
  readonly lines: readonly Line[];
  /** Lines kept longest when the screen is small. */
  readonly min: number;
  /** Sections of a low rank give way first. */
  readonly rank: number;
  /** Lines that count for the height of the graphs, where the true number varies. */
  readonly reserve?: number;
}

function fit(given: readonly Section[], rows: number): Line[] {
  const counts = given.map(({ lines }) => lines.length);
  const byRank = given.map((_, index) => index).sort((a, b) => (given[a]?.rank ?? 0) - (given[b]?.rank ?? 0));
  const shrink = (least: (section: Section) => number): void => {
    for (const index of byRank) {
      const section = given[index];
      const excess = counts.reduce((sum, count) => sum + count, 0) - rows;
      if (section === undefined || excess <= 0) continue;
      const count = counts[index] ?? 0;
      counts[index] = Math.max(Math.min(least(section), count), count - excess);
    }
  };
  shrink(({ min }) => min);
  shrink(() => 0);
  return given.flatMap(({ lines }, index) => lines.slice(0, counts[index] ?? 0));
}

function sections(model: ViewModel, columns: number, graphHeight: number): Section[] {
  const { status } = model;
  if (status === undefined) {
    return [{ lines: [[], [span('  waiting for the gateway …', 'dim')]], min: 2, rank: 9 }];
  }
  const links = status.links.slice(0, 8).flatMap((link) => linkLines(link));
  const levels = levelLines(model, status, columns, graphHeight);
  const ended = endedLines(model);
  const alarms = status.alarms
    .slice(0, 4)
    .map(({ sinceMs, text }): Line => [
      span('  ! ', 'bad'),
      span(safe(text, columns), 'bad'),
      span(`  ${durationText(status.uptimeMs - sinceMs)}`, 'dim'),
    ]);
  return [
    { lines: alarms, min: Math.min(2, alarms.length), rank: 8, reserve: 1 },
    { lines: [heading('links', columns), ...links], min: 3, rank: 5 },
    { lines: [heading('level of the cells of each CSE', columns), ...levels], min: 3, rank: 4 },
    { lines: [heading('service', columns), ...serviceLines(status)], min: 4, rank: 7 },
    {
      lines: [heading(endedTitle(status), columns), ...ended],
      min: Math.min(4, 1 + ended.length),
      rank: 3,
      reserve: 5,
    },
    { lines: [heading('readings', columns), ...bufferLines(model, status, columns)], min: 3, rank: 6 },
    { lines: flashLines(status), min: 0, rank: 0, reserve: 0 },
    { lines: sourceLines(status), min: 0, rank: 2 },
    { lines: messageLines(model, columns), min: 0, rank: 1, reserve: 5 },
  ];
}

function heading(text: string, columns: number): Line {
  return [span(` ${text} `, 'heading'), span('─'.repeat(Math.max(0, columns - widthOf(text) - 3)), 'dim')];
}

function titleLine(model: ViewModel, columns: number): Line {
  const { drive, status } = model;
  const device = status === undefined ? '' : `  ${safe(status.device, 32)}`;
  const left = ` baton${device}${drive === undefined ? '' : `  ${safe(drive.name, 32)}`} `;
  const right =
    drive === undefined
      ? ` ${status === undefined ? '' : `pid ${shortNumber(status.pid)}  up ${durationText(status.uptimeMs)} `}`
      : ` ${Math.floor(drive.elapsedMs / 1000)}/${Math.round(drive.totalMs / 1000)} s `;
  const room = Math.max(0, columns - widthOf(left) - widthOf(right));
  const middle = drive === undefined ? ' '.repeat(room) : progressBar(drive.elapsedMs / drive.totalMs, room);
  return [span(left, 'title'), span(middle, drive === undefined ? 'title' : 'accent'), span(right, 'title')];
}

function linkLines(link: LinkStatus): Line[] {
  const up = link.state === 'up';
  const modem = link.modem;
  const modemText =
    modem === undefined
      ? ''
      : `modem ${safe(modem.state, 16)}${modem.reason === undefined ? '' : `: ${safe(modem.reason, 60)}`}`;
  const first: Line = [
    span(`  ${pad(safe(link.name, 10), 10)} `, 'strong'),
    span(pad(link.state, 10), up ? 'good' : link.state === 'down' ? 'bad' : 'warn'),
    span(` ${pad(safe(link.localAddress, 15), 15)} `),
    span(pad(safe(`${link.registration ?? ''} ${link.operator ?? ''}`.trim(), 20), 20)),
    span(` ${modemText}`, modem?.reason === undefined ? 'dim' : 'warn'),
  ];
  const serving = link.cells.find((cell) => cell.serving);
  if (link.cells.length === 0) return [first];
  const others = link.cells.filter((cell) => cell !== serving);
  const age = link.sampleAgeMs ?? 0;
  return [
    first,
    [
      span(`    ${signalBars(serving?.rsrpDbm)} `, barStyle(serving?.rsrpDbm)),
      span(serving === undefined ? 'no serving cell' : cellText(serving)),
      span(others.length === 0 ? '' : `   heard ${neighboursText(others)}`, 'dim'),
      span(age > 3000 ? `  ${durationText(age)} old` : '', 'warn'),
    ],
  ];
}

function barStyle(rsrpDbm: number | undefined): Style {
  if (rsrpDbm === undefined || rsrpDbm < -110) return 'bad';
  return rsrpDbm < -100 ? 'warn' : 'good';
}

function cellText(cell: CellStatus): string {
  const parts = [safe(cell.rat, 8), `cell ${shortNumber(cell.arfcn)}/${shortNumber(cell.pci)}`];
  if (cell.rsrpDbm !== undefined) parts.push(`${shortNumber(cell.rsrpDbm)} dBm`);
  if (cell.rsrqDb !== undefined) parts.push(`rsrq ${shortNumber(cell.rsrqDb)}`);
  if (cell.sinrDb !== undefined) parts.push(`sinr ${shortNumber(cell.sinrDb)}`);
  return parts.join('  ');
}

function neighboursText(cells: readonly CellStatus[]): string {
  return cells
    .slice(0, 3)
    .map(({ pci, rsrpDbm }) => `${shortNumber(pci)}:${shortNumber(rsrpDbm)}`)
    .join(' ');
}

function levelLines(model: ViewModel, status: GatewayStatus, columns: number, height: number): Line[] {
  const notes = new Map(status.levels.map((level) => [level.cseId, level.note ?? '']));
  const now = new Map(status.levels.map((level) => [level.cseId, level.rsrpDbm]));
  const noteWidth = columns >= 100 ? 24 : 16;
  const width = Math.max(0, columns - noteWidth - 31);
  return [...model.levels].slice(0, 8).flatMap(([cseId, history]) => {
    const isServing = status.serving?.cseId === cseId;
    const isTarget = status.handover?.target === cseId;
    const style: Style = isServing ? 'good' : isTarget ? 'accent' : 'dim';
    const graph = sparkline(history, levelRangeDbm, { width, height });
    const level = now.get(cseId);
    const mark = isServing ? '●' : isTarget ? '▸' : '○';
    return graph.map((drawn, row): Line => {
      if (row < height - 1) return [span(' '.repeat(30)), span(drawn, style)];
      return [
        span(`  ${mark} `, style),
        span(pad(safe(cseId, 14), 14), isServing ? 'strong' : undefined),
        span(`${padLeft(shortNumber(level), 7)} dBm `),
        span(drawn, style),
        span(` ${safe(notes.get(cseId) ?? '', noteWidth)}`, 'dim'),
      ];
    });
  });
}

function serviceLines(status: GatewayStatus): Line[] {
  const { serving, service, handover } = status;
  const health: Span[] = [
    span('  path ', 'dim'),
    span(safe(service.state, 12), service.state === 'good' ? 'good' : 'warn'),
    span(service.responseMs === undefined ? '' : `, answer in ${durationText(service.responseMs)}`),
  ];
  const first: Line =
    serving === undefined
      ? [span('  no serving CSE yet', 'warn'), ...health]
      : [
          span('  ● ', 'good'),
          span(safe(serving.cseId, 20), 'strong'),
          span(`  epoch ${shortNumber(serving.epoch)}`, 'accent'),
          span(`  ${durationText(status.uptimeMs - serving.sinceMs)}  `),
          span(safe(serving.pointOfAccess, 28), 'dim'),
          ...health,
        ];
  if (handover === undefined) return [first, idleLine(status), []];
  return [
    first,
    [
      span(`  ▸ ${safe(handover.source ?? 'none', 16)} → ${safe(handover.target, 16)}`, 'accent'),
      span(`  epoch ${shortNumber(handover.epoch)}  by ${safe(handover.trigger, 12)}`),
      span(`  ${safe(handover.state, 14)} ${durationText(handover.elapsedMs)}`, 'strong'),
    ],
    timeline(handover.phases, handover.state),
  ];
}

function idleLine({ standby }: GatewayStatus): Line {
  const idle = span('  no handover is running', 'dim');
  if (standby === undefined) return [idle];
  const { state, cseId, provedAgeMs, reason, requestsLastHour, bytesLastHour } = standby;
  return [
    idle,
    span(`   standby ${cseId === undefined ? '' : `${safe(cseId, 16)} `}`),
    span(state, state === 'warm' ? 'good' : state === 'failed' ? 'warn' : 'dim'),
    span(provedAgeMs === undefined ? '' : `, proved ${durationText(provedAgeMs)} ago`),
    span(`  ${shortNumber(requestsLastHour)} requests, ${bytesText(bytesLastHour)} in the last hour`, 'dim'),
    span(reason === undefined ? '' : `  ${safe(reason, 60)}`, 'warn'),
  ];
}

/** Done phases with their duration, the current one, and those to come. */
function timeline(phases: readonly { phase: string; ms: number }[], state: string): Line {
  const took = new Map(phases.map(({ phase, ms }) => [phase, ms]));
  const seen = [...took.keys(), state].filter((phase) => !phaseOrder.includes(phase));
  const isForward = phaseOrder.includes(state);
  const all = [...phaseOrder.filter((phase) => isForward || took.has(phase)), ...new Set(seen)].slice(0, 12);
  const spans = all.map((phase): Span => {
    const ms = took.get(phase);
    const text = `${safe(phase, 14)}${ms === undefined ? '' : ` ${shortNumber(Math.round(ms))}`}`;
    if (phase === state) return span(` ▸${text}`, 'accent');
    return ms === undefined ? span(` ·${text}`, 'dim') : span(` ✓${text}`, 'good');
  });
  return [span('   '), ...spans];
}

function endedTitle(status: GatewayStatus): string {
  const { completed, rolledBack, failed } = status.handovers;
  return `handovers: ${shortNumber(completed)} done, ${shortNumber(rolledBack)} rolled back, ${shortNumber(failed)} failed`;
}

function endedLines(model: ViewModel): Line[] {
  return model.ended.slice(0, 6).map((ended): Line => {
    const { outcome, uplinkInterruptionMs } = ended;
    const style: Style = outcome === 'completed' ? 'good' : outcome === 'failed' ? 'bad' : 'warn';
    return [
      span(`  ${outcome === 'completed' ? '✓' : '✗'} `, style),
      span(padLeft(shortNumber(ended.epoch), 4)),
      span(` ${pad(`${safe(ended.source ?? 'none', 12)} → ${safe(ended.target, 12)}`, 28)}`),
      span(pad(safe(ended.trigger, 11), 12), 'dim'),
      span(padLeft(durationText(ended.elapsedMs), 8)),
      span(uplinkInterruptionMs === undefined ? '' : `  uplink gap ${durationText(uplinkInterruptionMs)}`),
      span(ended.reason === undefined ? '' : `  ${safe(ended.reason, 60)}`, style),
    ];
  });
}

function bufferLines(model: ViewModel, status: GatewayStatus, columns: number): Line[] {
  const { buffer } = status;
  const rate = model.rates.at(-1) ?? 0;
  const rateText = `  ${padLeft(shortNumber(rate), 6)} readings/s `;
  const width = Math.max(0, columns - widthOf(rateText) - 2);
  const max = Math.max(1, ...model.rates.slice(-width));
  const [graph = ''] = sparkline(model.rates, { min: 0, max }, { width, height: 1 });
  const oldest = buffer.oldestAgeMs === undefined ? '' : ` (${durationText(buffer.oldestAgeMs)})`;
  return [
    [
      span(`  stored ${shortNumber(buffer.stored)}`),
      span(`  delivered ${shortNumber(buffer.delivered)}`, 'good'),
      span(`  pending ${shortNumber(buffer.pending)}${oldest}`, buffer.pending > 100 ? 'warn' : undefined),
      ...lossSpans(buffer),
      span(`  ${bytesText(buffer.bytes)}`, 'dim'),
    ],
    [span(rateText), span(graph, 'good')],
  ];
}

function lossSpans({ evicted, corrupt }: BufferStatus): Span[] {
  return [
    span(`  evicted ${shortNumber(evicted)}`, evicted > 0 ? 'bad' : 'dim'),
    span(`  damaged ${shortNumber(corrupt)}`, corrupt > 0 ? 'bad' : 'dim'),
  ];
}

function sourceLines(status: GatewayStatus): Line[] {
  const sensors = status.sensors.slice(0, 8).map((sensor): Line => {
    const rejected = Object.entries(sensor.rejected).filter(([, count]) => count > 0);
    const reasons = rejected
      .slice(0, 3)
      .map(([reason, count]) => `${safe(reason, 20)} ${shortNumber(count)}`);
    const isWell = sensor.reason === undefined;
    return [
      span(`  sensor ${pad(safe(sensor.name, 12), 12)} `),
      span(pad(safe(sensor.state, 10), 10), isWell ? 'good' : 'warn'),
      span(isWell ? '' : ` ${safe(sensor.reason ?? '', 50)}`, 'warn'),
      span(reasons.length === 0 ? '' : ` rejected: ${reasons.join(', ')}`, 'warn'),
    ];
  });
  const streams = status.streams
    .slice(0, 16)
    .map((stream): Line => [
      span(`  stream ${pad(safe(stream.name, 12), 12)} `),
      span(
        `stored ${padLeft(shortNumber(stream.stored), 7)}  delivered ${padLeft(shortNumber(stream.delivered), 7)}`,
      ),
      span(
        `  pending ${padLeft(shortNumber(stream.pending), 4)} ${padLeft(shortNumber(stream.ratePerS), 5)}/s`,
        'dim',
      ),
    ]);
  const { received, executed, duplicates } = status.commands;
  const commands: Line = [
    span(
      `  commands received ${shortNumber(received)}  executed ${shortNumber(executed)}  duplicates ${shortNumber(duplicates)}`,
      'dim',
    ),
  ];
  return [...sensors, ...streams, ...(received > 0 ? [commands] : [])];
}

function messageLines(model: ViewModel, columns: number): Line[] {
  if (model.messages.length === 0) return [];
  const styles = { bad: 'bad', warn: 'warn', info: 'dim' } as const;
  return [
    heading('messages', columns),
    ...model.messages
      .slice(0, 12)
      .map(({ level, text, atMs }): Line => [
        span(` ${padLeft(durationText(atMs), 9)}  `, 'dim'),
        span(safe(text, columns), styles[level]),
      ]),
  ];
}

/** One line on how things stand, for an output without cursor control. */
export function renderHeadline(model: ViewModel, unicode: boolean): string {
  const { status, drive } = model;
  if (status === undefined) return 'waiting for the gateway';
  const { buffer, serving, handover } = status;
  const time = drive === undefined ? status.uptimeMs : drive.elapsedMs;
  const parts = [
    durationText(time),
    serving === undefined
      ? 'no serving CSE'
      : `serving ${safe(serving.cseId)} epoch ${shortNumber(serving.epoch)}`,
    ...(handover === undefined ? [] : [`handover to ${safe(handover.target)}: ${safe(handover.state)}`]),
    `stored ${shortNumber(buffer.stored)} delivered ${shortNumber(buffer.delivered)} pending ${shortNumber(buffer.pending)}`,
    ...status.alarms.slice(0, 2).map(({ text }) => `alarm: ${safe(text)}`),
  ];
  return encodeLine([span(parts.join('  '))], 400, { unicode, colour: false });
}

/** An alarm to its end, where the way out stands. */
function wholeAlarm(status: GatewayStatus, { sinceMs, text }: AlarmStatus, columns: number): Line[] {
  const since = durationText(status.uptimeMs - sinceMs);
  const rows = wrap(`${safe(text, alarmWidthMax)}  (since ${since})`, Math.max(20, columns - 4));
  return rows.map((row, index) => [span(index === 0 ? '  ! ' : '    ', 'bad'), span(row, 'bad')]);
}

/** A status in full, for a pipe or a glance, with a line feed at its end. */
export function renderStatus(
  status: GatewayStatus,
  columns: number,
  appearance: Appearance = { unicode: true, colour: false },
): string {
  const model = updateView(createViewModel(''), { kind: 'status', status });
  const [, ...below] = sections(model, columns, 1);
  const lines = [
    titleLine(model, columns),
    ...status.alarms.flatMap((alarm) => wholeAlarm(status, alarm, columns)),
    ...below.flatMap((section) => section.lines),
  ];
  return lines.map((line) => `${encodeLine(line, columns, appearance)}\n`).join('');
}
