import { errorText } from '../base/errors.ts';
import type { StreamName } from '../base/units.ts';
import { randomHex } from '../host/entropy.ts';
import type { Entropy } from '../host/entropy.ts';
import { FileError } from '../host/filesystem.ts';
import type { Filesystem } from '../host/filesystem.ts';
import { CursorFile, streamsMax } from './cursor-file.ts';
import type { CursorState } from './cursor-file.ts';
import { createDurableDirectory } from './durable-directory.ts';
import type { LogDamage } from './log-options.ts';
import { parseSegmentName, readSegment } from './segment.ts';
import type { Segment, SegmentReport, SpanGap } from './segment.ts';
import { StreamLedger } from './stream-ledger.ts';

/** A log as found on the disk. */
export interface RecoveredLog {
  readonly cursor: CursorFile;
  /** Id for the records of this run: that of the previous one unless something was damaged. */
  readonly logId: string;
  readonly nextSegment: number;
  readonly seqBase: number;
  readonly fences: Map<number, number>;
  readonly ledgers: Map<StreamName, StreamLedger>;
  /** Ascending by id. */
  readonly segments: Segment[];
  readonly damage: readonly LogDamage[];
  /** True when no cursor was found, so that one must be written before anything else. */
  readonly needsCursor: boolean;
}

/**
 * Reads what a previous run left. Damage never stops it; it throws `FileError` only when the directory or its cursor
 * cannot be used at all.
 *
 * Any damage, a torn tail included, draws a new log id: the last intact frame may not be the last that was delivered,
 * and the number after it, given once more, must not make the same name.
 */
export async function recoverLog(
  filesystem: Filesystem,
  directory: string,
  entropy: Entropy,
  streams: Iterable<StreamName>,
): Promise<RecoveredLog> {
  await createDurableDirectory(filesystem, directory);
  const { file, state, isDamaged } = await CursorFile.open(filesystem, directory);
  const names = await filesystem.list(directory);
  const ids = names.map(parseSegmentName).filter((id) => id !== undefined);
  const damage: LogDamage[] = [];
  if (isDamaged || (state === undefined && ids.length > 0)) {
    const consequence =
      state === undefined
        ? 'delivered records may repeat, and counts start again'
        : 'the other record is used; some delivered records may repeat';
    damage.push({ kind: 'cursor', count: 0, message: `${directory}/cursor is damaged: ${consequence}` });
  }
  const fences = new Map(state?.fences);
  const { segments, reports } = await readSegments(filesystem, directory, ids, fences, damage);
  clipRepeats(segments);
  const ledgers = openLedgers(state, segments, streams, damage);
  noteGaps(state, segments, reports, ledgers, damage);
  const seqBase = dropRetired(ledgers, new Set(streams), state?.seqBase ?? 0);
  return {
    cursor: file,
    logId: state === undefined || damage.length > 0 ? randomHex(entropy, 4) : state.logId,
    nextSegment: Math.max(state?.nextSegment ?? 1, ...ids.map((id) => id + 1)),
    seqBase,
    fences,
    ledgers,
    segments,
    damage,
    needsCursor: state === undefined,
  };
}

async function readSegments(
  filesystem: Filesystem,
  directory: string,
  ids: readonly number[],
  fences: Map<number, number>,
  damage: LogDamage[],
): Promise<{ segments: Segment[]; reports: Map<Segment, SegmentReport> }> {
  const segments: Segment[] = [];
  const reports = new Map<Segment, SegmentReport>();
  for (const id of fences.keys()) if (!ids.includes(id)) fences.delete(id);
  for (const id of ids) {
    try {
      const { segment, report } = await readSegment(filesystem, directory, id, fences.get(id));
      damage.push(...describe(segment, report));
      // A file that may hold more than could be read is left for a later start.
      if (report.foreignVersion !== undefined || (report.isUnreadable && segment.spans.size === 0)) continue;
      segments.push(segment);
      reports.set(segment, report);
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
      damage.push({ kind: 'segment', count: 0, message: errorText(error) });
    }
  }
  return { segments, reports };
}

function describe(segment: Segment, report: SegmentReport): LogDamage[] {
  const found: LogDamage[] = [];
  const note = (kind: LogDamage['kind'], text: string): void => {
    found.push({ kind, count: 0, message: `${segment.path} ${text}` });
  };
  if (report.foreignVersion !== undefined) {
    note(
      'segment',
      `has format version ${report.foreignVersion}; it is left alone for a Baton that knows it`,
    );
  }
  if (report.isUnreadable) note('segment', 'cannot be read in part; what could be read is used');
  if (report.skippedBytes > 0) note('segment', `has ${report.skippedBytes} damaged bytes between records`);
  if (report.tailBytes > 0) note('tail', `ends with ${report.tailBytes} bytes that are no record`);
  return found;
}

/**
 * A batch whose write failed may have reached the disk all the same, while its numbers were given again in a later
 * segment: the later one holds what was reported stored.
 */
function clipRepeats(segments: readonly Segment[]): void {
  const firstLater = new Map<StreamName, number>();
  for (const segment of [...segments].reverse()) {
    for (const [name, span] of segment.spans) {
      const bound = firstLater.get(name) ?? Number.POSITIVE_INFINITY;
      firstLater.set(name, Math.min(bound, span.first));
      if (span.last < bound) continue;
      if (span.first >= bound) segment.spans.delete(name);
      else {
        span.last = bound - 1;
        span.lastProducerSeq = undefined;
      }
    }
  }
}

function openLedgers(
  state: CursorState | undefined,
  segments: readonly Segment[],
  streams: Iterable<StreamName>,
  damage: LogDamage[],
): Map<StreamName, StreamLedger> {
  const ledgers = new Map<StreamName, StreamLedger>();
  for (const [name, ledger] of state?.streams ?? []) {
    ledgers.set(name as StreamName, new StreamLedger(name as StreamName, ledger));
  }
  for (const name of streams) {
    if (!ledgers.has(name)) ledgers.set(name, StreamLedger.begin(name, state?.seqBase ?? 0));
  }
  for (const { spans } of segments) {
    for (const [name, span] of spans) {
      const ledger = ledgers.get(name) ?? StreamLedger.begin(name, span.first - 1);
      if (!ledgers.has(name)) ledgers.set(name, ledger);
      if (state === undefined && ledger.last === 0) ledger.rebase(span.first - 1);
      ledger.last = Math.max(ledger.last, span.last);
      if (span.lastProducerSeq !== undefined) {
        ledger.lastProducerSeq = Math.max(
          ledger.lastProducerSeq ?? span.lastProducerSeq,
          span.lastProducerSeq,
        );
      }
    }
  }
  if (ledgers.size > streamsMax) {
    const message = `${ledgers.size} streams are known; ${streamsMax} fit, streams without configuration are dropped`;
    damage.push({ kind: 'cursor', count: 0, message });
  }
  return ledgers;
}

/** Finds the numbers above the floor that no segment holds. */
function noteGaps(
  state: CursorState | undefined,
  segments: readonly Segment[],
  reports: ReadonlyMap<Segment, SegmentReport>,
  ledgers: ReadonlyMap<StreamName, StreamLedger>,
  damage: LogDamage[],
): void {
  const reached = new Map<StreamName, { last: number; producerSeq: number | undefined }>();
  const note = (ledger: StreamLedger, gap: SpanGap): void => {
    const count = ledger.markMissing(gap.from, gap.to);
    if (count === 0) return;
    if (gap.producerBefore !== undefined) ledger.noteProducerGap(gap.producerAfter ?? -1, gap.producerBefore);
    const message = `stream ${gap.stream}: ${count} records between ${gap.from} and ${gap.to} are lost`;
    damage.push({ kind: 'records', count, stream: gap.stream, message });
  };
  for (const segment of segments) {
    for (const [stream, span] of segment.spans) {
      const ledger = ledgers.get(stream);
      if (ledger === undefined) continue;
      const before = reached.get(stream) ?? {
        last: ledger.floor,
        producerSeq: state?.streams.get(stream)?.lastProducerSeq,
      };
      const producerAfter = before.producerSeq;
      note(ledger, {
        stream,
        from: before.last + 1,
        to: span.first - 1,
        producerAfter,
        producerBefore: span.firstProducerSeq,
      });
      const producerSeq = span.lastProducerSeq ?? before.producerSeq;
      reached.set(stream, { last: Math.max(before.last, span.last), producerSeq });
    }
    for (const gap of reports.get(segment)?.missing ?? []) {
      const ledger = ledgers.get(gap.stream);
      const to = Math.min(gap.to, segment.spans.get(gap.stream)?.last ?? 0);
      if (ledger !== undefined) note(ledger, { ...gap, to });
    }
  }
}

/**
 * Forgets streams without configuration, first those without records, when the cursor record would not hold all. Returns the
 * number after which a stream not known begins, so that one that comes back repeats no number.
 */
function dropRetired(
  ledgers: Map<StreamName, StreamLedger>,
  configured: ReadonlySet<StreamName>,
  seqBase: number,
): number {
  let base = seqBase;
  const retired = [...ledgers].filter(([name]) => !configured.has(name));
  const pendingOf = (ledger: StreamLedger): number => ledger.last - ledger.floor;
  for (const [name, ledger] of retired.sort(([, a], [, b]) => pendingOf(a) - pendingOf(b))) {
    if (ledgers.size <= streamsMax) break;
    base = Math.max(base, ledger.last);
    ledgers.delete(name);
  }
  return base;
}
