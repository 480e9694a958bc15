import type { StreamOptions } from './log-options.ts';
import type { AppendResult } from './log-results.ts';
import { frameBytes } from './frame.ts';
import { recordBytes } from './record.ts';
import type { NewRecord } from './record.ts';
import type { Segment } from './segment.ts';

/** A record that waits for its flush. */
export class QueuedRecord {
  readonly record: NewRecord;
  readonly stream: StreamOptions;
  readonly dueMs: number;
  readonly frameBytes: number;
  readonly settled: Promise<AppendResult>;
  settle: (result: AppendResult) => void = () => undefined;

  constructor(record: NewRecord, stream: StreamOptions, dueMs: number) {
    // The caller may use its buffer again at once.
    this.record = { ...record, payload: record.payload.slice() };
    this.stream = stream;
    this.dueMs = dueMs;
    this.frameBytes = frameBytes(recordBytes(record));
    this.settled = new Promise((resolve) => {
      this.settle = resolve;
    });
  }
}

/** The records that one write and one flush make durable in a segment. */
export class Batch {
  readonly segment: Segment;
  readonly items: QueuedRecord[] = [];
  frameBytes = 0;

  constructor(segment: Segment) {
    this.segment = segment;
  }

  add(item: QueuedRecord): void {
    this.items.push(item);
    this.frameBytes += item.frameBytes;
  }
}
