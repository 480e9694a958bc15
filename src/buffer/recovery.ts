import type { StreamName } from '../base/units.ts';
import { randomHex } from '../host/entropy.ts';
import type { Clock } from '../host/clock.ts';
import type { Entropy } from '../host/entropy.ts';
import type { Filesystem } from '../host/filesystem.ts';
import { openContainer, readContainer } from './container.ts';
import type { ContainerContent } from './container.ts';
import { CursorFile, streamsMax } from './cursor-file.ts';
import type { CursorState } from './cursor-file.ts';
import { createDurableDirectory } from './durable-directory.ts';
import { Identities } from './identities.ts';
import type { LogDamage } from './log-options.ts';
import { LogTime, pastRuns } from './log-time.ts';
import type { LogTimeState } from './log-time.ts';
import type { Slot, SpanGap } from './slot.ts';
import type { FoundPlaces } from './slot-pool.ts';
import { PatientReads } from './patient-reads.ts';
import { StreamLedger } from './stream-ledger.ts';
import type { LedgerState } from './stream-ledger.ts';
import type { WearState } from './wear-ledger.ts';

/** A log as found on the disk. */
export interface RecoveredLog {
  readonly cursor: CursorFile;
  readonly identities: Identities;
  readonly time: LogTime;
  readonly seqBase: number;
  readonly fences: Map<number, number>;
  readonly ledgers: Map<StreamName, StreamLedger>;
  readonly places: FoundPlaces;
  /** Slots that this run may continue, by priority. */
  readonly open: ReadonlyMap<number, Slot>;
  readonly wear: WearState | undefined;
  readonly damage: readonly LogDamage[];
  /** True when no cursor was found, so that one must be written before anything else. */
  readonly needsCursor: boolean;
}

/** Where and for what a log is recovered. */
export interface RecoveryOptions {
  readonly filesystem: Filesystem;
  readonly clock: Clock;
  readonly directory: string;
  readonly entropy: Entropy;
  readonly streams: ReadonlySet<StreamName>;
  /** Priorities of the streams: only their slots are continued. */
  readonly priorities: ReadonlySet<number>;
  /** Size of a slot if the container is new, and slots that the quota allows. */
  readonly slotBytes: number;
  readonly quotaBytes: number;
  /** Boot of the machine, if known. */
  readonly bootId: string | undefined;
  /** What is known of a log that vanished from this place while it was in use. */
  readonly predecessor?: Predecessor;
}

/** What a log hands on to one that takes its place: no number is given again, and time goes on. */
export interface Predecessor {
  readonly run: number;
  readonly time: LogTimeState;
  readonly wear: WearState;
  readonly ledgers: ReadonlyMap<StreamName, LedgerState>;
}

/**
 * Reads what a previous run left. Damage never stops it; it throws `FileError` only when the directory, its cursor or
 * its container cannot be used at all.
 *
 * A run that did not end in order, and any damage, draws a new log id: the last intact frame may not be the last that
 * was delivered, and the number after it, given once more, must not make the same name.
 */
export async function recoverLog(options: RecoveryOptions): Promise<RecoveredLog> {
  const { clock, directory, entropy, streams } = options;
  const reads = new PatientReads(clock);
  const filesystem = reads.filesystem(options.filesystem);
  await createDurableDirectory(filesystem, directory);
  const { file, state, isDamaged } = await CursorFile.open(filesystem, directory);
  const damage: LogDamage[] = [];
  const { predecessor } = options;
  const identities = new Identities(state?.identities);
  if (predecessor !== undefined) identities.noteRunNumber(predecessor.run);
  const runBefore = identities.run;
  const container = await openContainer(filesystem, directory, state?.slotBytes ?? options.slotBytes);
  const content = await readContainer(container, {
    identities,
    fences: new Map(state?.fences),
    tails: state?.tails ?? new Map(),
    nextLife: state?.nextLife ?? 1,
    quotaBytes: options.quotaBytes,
    priorities: options.priorities,
  });
  const { slots } = content.places;
  if (isDamaged || (state === undefined && slots.length > 0)) {
    const consequence =
      state === undefined
        ? 'delivered records may repeat, and counts start again'
        : 'the other record is used; some delivered records may repeat';
    damage.push({ kind: 'cursor', count: 0, message: `${directory}/cursor is damaged: ${consequence}` });
  }
  damage.push(...content.damage);
  clipRepeats(slots);
  const ledgers = openLedgers(state, slots, streams, damage);
  noteGaps(state, content, ledgers, damage);
  for (const [name, { last, lastProducerSeq }] of predecessor?.ledgers ?? []) {
    ledgers.get(name)?.skip(last);
    ledgers.get(name)?.noteProducerSeq(lastProducerSeq);
  }
  const seqBase = dropRetired(ledgers, streams, state?.seqBase ?? 0);
  for (const { spans } of slots) {
    for (const name of spans.keys()) if (!ledgers.has(name)) spans.delete(name);
  }
  reads.end();
  const isClean = state?.isClosed === true && identities.run === runBefore && damage.length === 0;
  const logId = isClean ? identities.logId : undefined;
  identities.beginRun(logId ?? randomHex(entropy, 4));
  for (const name of ledgers.keys()) identities.idOf(name);
  const time = new LogTime(state?.time ?? predecessor?.time);
  for (const run of pastRuns(slots)) time.observe(run);
  time.begin(identities.run, options.bootId, clock.monotonicMs());
  identities.askBoots((run) => time.bootIdOf(run));
  return {
    cursor: file,
    identities,
    time,
    seqBase,
    fences: content.fences,
    ledgers,
    places: content.places,
    open: content.open,
    wear: state?.wear ?? predecessor?.wear,
    damage,
    needsCursor: state === undefined,
  };
}

/**
 * A batch whose write failed may have reached the disk all the same, while its numbers were given again in a later
 * slot: the later one holds what was reported stored.
 */
function clipRepeats(slots: readonly Slot[]): void {
  const firstLater = new Map<StreamName, number>();
  for (const slot of [...slots].reverse()) {
    for (const [name, span] of slot.spans) {
      const bound = firstLater.get(name) ?? Number.POSITIVE_INFINITY;
      firstLater.set(name, Math.min(bound, span.first));
      if (span.last < bound) continue;
      if (span.first >= bound) slot.spans.delete(name);
      else {
        span.last = bound - 1;
        span.lastProducerSeq = undefined;
      }
    }
  }
}

function openLedgers(
  state: CursorState | undefined,
  slots: readonly Slot[],
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
  for (const { spans } of slots) {
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

/** Finds the numbers above the floor that no slot holds. */
function noteGaps(
  state: CursorState | undefined,
  content: ContainerContent,
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
  for (const slot of content.places.slots) {
    for (const [stream, span] of slot.spans) {
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
    for (const gap of content.reports.get(slot)?.missing ?? []) {
      const ledger = ledgers.get(gap.stream);
      const to = Math.min(gap.to, slot.spans.get(gap.stream)?.last ?? 0);
      if (ledger !== undefined) note(ledger, { ...gap, to });
    }
  }
  for (const [stream, ledger] of ledgers) {
    const from = (reached.get(stream)?.last ?? ledger.floor) + 1;
    note(ledger, { stream, from, to: ledger.last, producerAfter: undefined, producerBefore: undefined });
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
  const pendingOf = (ledger: StreamLedger): number => ledger.pendingIn(ledger.floor, ledger.last);
  for (const [name, ledger] of retired.sort(([, a], [, b]) => pendingOf(a) - pendingOf(b))) {
    if (ledgers.size <= streamsMax) break;
    base = Math.max(base, ledger.last);
    ledgers.delete(name);
  }
  return base;
}
