import { assert } from '../base/assert.ts';
import { millis } from '../base/units.ts';
import type { StreamName } from '../base/units.ts';
import { FileError } from '../host/filesystem.ts';
import type { CursorFile, CursorState } from './cursor-file.ts';
import type { LogDamage, StreamOptions } from './log-options.ts';
import type { StreamStats } from './log-results.ts';
import type { StoredRecord } from './record.ts';
import type { RecoveredLog } from './recovery.ts';
import { estimateStamp } from './segment.ts';
import type { Segment, Stamp } from './segment.ts';
import type { SegmentStore } from './segment-store.ts';
import type { StreamLedger } from './stream-ledger.ts';

/** The accounts of all streams, and their durable copy in the cursor. */
export class LogAccounts {
  readonly #logId: string;
  readonly #seqBase: number;
  readonly #cursor: CursorFile;
  readonly #store: SegmentStore;
  readonly #ledgers: Map<StreamName, StreamLedger>;
  readonly #fences: Map<number, number>;
  readonly #onDamage: ((damage: LogDamage) => void) | undefined;
  readonly #isNew: boolean;
  /** Floors that a power cut leaves in force. */
  #durableFloors = new Map<StreamName, number>();
  #saving: Promise<boolean> = Promise.resolve(true);

  constructor(found: RecoveredLog, store: SegmentStore, onDamage: ((damage: LogDamage) => void) | undefined) {
    this.#logId = found.logId;
    this.#seqBase = found.seqBase;
    this.#cursor = found.cursor;
    this.#store = store;
    this.#ledgers = found.ledgers;
    this.#fences = found.fences;
    this.#onDamage = onDamage;
    this.#isNew = found.needsCursor;
  }

  /**
   * Makes the accounts of this run durable before its first record. Throws `FileError` when the cursor is new and
   * cannot be written; one that exists is written later if need be.
   */
  async begin(): Promise<void> {
    if (!this.#isNew) {
      await this.save();
      return;
    }
    // Twice, so that a lost cursor cannot come back should its place be readable again.
    await this.#saveOnce();
    await this.#saveOnce();
  }

  find(stream: StreamName): StreamLedger | undefined {
    return this.#ledgers.get(stream);
  }

  /** The account of a stream that is configured or has records. */
  ledger(stream: StreamName): StreamLedger {
    const known = this.#ledgers.get(stream);
    assert(known !== undefined, `no account of stream ${stream}`);
    return known;
  }

  noteStored(record: StoredRecord): void {
    const ledger = this.ledger(record.stream);
    assert(record.seq === ledger.last + 1, `${record.stream}: number ${record.seq} after ${ledger.last}`);
    ledger.last = record.seq;
    ledger.noteProducerSeq(record.producerSeq);
  }

  noteMissing(ledger: StreamLedger, from: number, to: number): void {
    const count = ledger.markMissing(from, to);
    if (count === 0) return;
    const message = `stream ${ledger.name}: ${count} records between ${from} and ${to} are lost`;
    this.#onDamage?.({ kind: 'records', count, stream: ledger.name, message });
  }

  /** Bounds an abandoned segment to what it held before the failed write. */
  fence(segment: Segment): void {
    if (segment.length > 0) this.#fences.set(segment.id, segment.length);
    const message = `${segment.path} is set aside after a failed write`;
    this.#onDamage?.({ kind: 'segment', count: 0, message });
  }

  /**
   * The segment to give up first for a record of `priority`: of those whose most important pending stream is not above
   * it, the oldest of the lowest. Segments in `busy` are being written.
   */
  victim(
    priority: number,
    streams: ReadonlyMap<StreamName, StreamOptions>,
    busy: ReadonlySet<Segment>,
  ): Segment | undefined {
    let best: { segment: Segment; worth: number } | undefined;
    for (const segment of this.#store.segments) {
      if (busy.has(segment)) continue;
      const worth = this.#worth(segment, streams);
      if (worth <= priority && (best === undefined || worth < best.worth)) best = { segment, worth };
    }
    return best?.segment;
  }

  #worth(segment: Segment, streams: ReadonlyMap<StreamName, StreamOptions>): number {
    let worth = -2;
    for (const [name, span] of segment.spans) {
      if (span.last > this.ledger(name).floor) worth = Math.max(worth, streams.get(name)?.priority ?? -1);
    }
    return worth;
  }

  /** Makes the accounts durable, then removes the segments that they settle (B3). False when the disk refused. */
  save(): Promise<boolean> {
    this.#saving = this.#saving.then(async () => {
      try {
        await this.#saveOnce();
        return true;
      } catch (error) {
        if (error instanceof FileError) return false;
        throw error;
      }
    });
    return this.#saving;
  }

  /** Counts per stream; pending is counted over the segments, independently of the rest (B2). */
  stats(runId: string, now: Stamp): Map<StreamName, StreamStats> {
    return new Map([...this.#ledgers].map(([name, ledger]) => [name, this.#streamStats(ledger, runId, now)]));
  }

  async close(): Promise<void> {
    await this.#saving;
    await this.#cursor.close();
  }

  #streamStats(ledger: StreamLedger, runId: string, now: Stamp): StreamStats {
    const { stored, delivered, evicted, corrupt, floor } = ledger;
    let pending = 0;
    let ageMs: number | undefined;
    for (const segment of this.#store.segments) {
      const span = segment.spans.get(ledger.name);
      if (span === undefined || span.last <= floor) continue;
      const after = Math.max(span.first - 1, floor);
      pending += span.last - after - ledger.missingIn(after, span.last);
      if (ageMs !== undefined) continue;
      const taken = estimateStamp(span, after + 1);
      ageMs = segment.runId === runId ? now.monotonicMs - taken.monotonicMs : now.unixMs - taken.unixMs;
    }
    if (stored !== delivered + evicted + corrupt + pending) {
      const sum = `${delivered} delivered + ${evicted} evicted + ${corrupt} corrupt + ${pending} pending`;
      const message = `stream ${ledger.name}: ${stored} stored is not ${sum}; report this defect`;
      this.#onDamage?.({ kind: 'account', count: 0, stream: ledger.name, message });
    }
    const oldestUnacknowledgedMs =
      ageMs === undefined || pending === 0 ? undefined : millis(Math.max(0, ageMs));
    return { stored, delivered, evicted, corrupt, pending, oldestUnacknowledgedMs };
  }

  async #saveOnce(): Promise<void> {
    const streams = new Map([...this.#ledgers].map(([name, ledger]) => [name, ledger.state()]));
    const state: CursorState = {
      logId: this.#logId,
      nextSegment: this.#store.nextId,
      seqBase: this.#seqBase,
      fences: new Map([...this.#fences].slice(-fencesMax)),
      streams,
    };
    await this.#cursor.write(state);
    this.#durableFloors = new Map([...streams].map(([name, ledger]) => [name, ledger.floor]));
    await this.#store.removeSettled((name, through) => through <= (this.#durableFloors.get(name) ?? 0));
    const ids = new Set(this.#store.segments.map((segment) => segment.id));
    for (const id of this.#fences.keys()) if (!ids.has(id)) this.#fences.delete(id);
  }
}

const fencesMax = 128;
