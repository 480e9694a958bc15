import type { StreamOptions } from './log-options.ts';
import type { AppendResult } from './log-results.ts';
import { frameBytes } from './frame.ts';
import { quantise, recordBytes } from './record.ts';
import type { NewRecord } from './record.ts';
import type { Slot } from './slot.ts';

/** A record that waits for its flush. */
export class QueuedRecord {
  readonly record: NewRecord;
  readonly stream: StreamOptions;
  /** When it wants to be flushed. */
  dueMs: number;
  readonly frameBytes: number;
  /** Number that it was given before it is stored. */
  readonly seq: number | undefined;
  readonly settled: Promise<AppendResult>;
  settle: (result: AppendResult) => void = () => undefined;

  constructor(record: NewRecord, stream: StreamOptions, dueMs: number, seq?: number) {
    // The caller may use its buffer again at once.
    this.record = quantise({ ...record, payload: record.payload.slice() });
    this.stream = stream;
    this.seq = seq;
    this.dueMs = dueMs;
    this.frameBytes = frameBytes(recordBytes(this.record));
    this.settled = new Promise((resolve) => {
      this.settle = resolve;
    });
  }
}

/** The records that one commit makes durable in a slot. */
export class Batch {
  readonly slot: Slot;
  readonly items: QueuedRecord[] = [];
  frameBytes = 0;

  constructor(slot: Slot) {
    this.slot = slot;
  }

  add(item: QueuedRecord): void {
    this.items.push(item);
    this.frameBytes += item.frameBytes;
  }
}
