import { millis } from '../base/units.ts';
import type { StreamName } from '../base/units.ts';
import { every } from '../host/clock.ts';
import type { CancelTimer, Clock } from '../host/clock.ts';
import type { Evictions } from './evictions.ts';
import type { LogAccounts } from './log-accounts.ts';
import type { StreamOptions } from './log-options.ts';
import type { StoredRecord } from './record.ts';
import type { StreamLedger } from './stream-ledger.ts';

/** What `Expiry` works with. */
export interface ExpiryParts {
  readonly clock: Clock;
  readonly accounts: LogAccounts;
  readonly evictions: Evictions;
  readonly streams: ReadonlyMap<StreamName, StreamOptions>;
  /** The first pending records of a stream above a number. */
  readonly read: (ledger: StreamLedger, after: number, countMax: number) => Promise<StoredRecord[]>;
  /** Something was settled. */
  readonly onSettled: () => void;
}

/** The oldest pending record of a stream, as far as it was read. */
interface Head {
  readonly seq: number;
  readonly monotonicMs: number;
  readonly runId: string;
}

const windowCount = 64;
const sweepMsMax = 60_000;
const sweepMsMin = 100;

/**
 * Ends the life of records past `ttlMs` on the time of the log (log-time.ts). In order: a record waits for those before
 * it. What a slot holds of a stream goes as a whole once its newest record is past its time, also without a reader;
 * before each read the rest goes record by record.
 */
export class Expiry {
  readonly #parts: ExpiryParts;
  readonly #heads = new Map<StreamName, Head>();
  readonly #streams: readonly { readonly name: StreamName; readonly ttlMs: number }[];
  #cancel: CancelTimer = () => undefined;

  constructor(parts: ExpiryParts) {
    this.#parts = parts;
    this.#streams = [...parts.streams.values()].flatMap(({ name, ttlMs }) =>
      ttlMs === undefined ? [] : [{ name, ttlMs }],
    );
  }

  /** Checks from time to time until `stop`. */
  start(): void {
    if (this.#streams.length === 0) return;
    const least = Math.min(...this.#streams.map(({ ttlMs }) => ttlMs));
    const periodMs = Math.min(sweepMsMax, Math.max(sweepMsMin, least / 4));
    this.#cancel = every(this.#parts.clock, millis(periodMs), () => this.#sweep());
  }

  stop(): void {
    this.#cancel();
  }

  /**
   * Settles what is past its time before the records above `after` are read. Reads itself only when these are not the
   * oldest, whose time is not known then.
   */
  async settle(ledger: StreamLedger, after: number): Promise<void> {
    const ttlMs = this.#ttlMsOf(ledger);
    if (ttlMs === undefined) return;
    this.#settleSlots(ledger, ttlMs);
    while (after > ledger.floor && this.#mayBePast(ledger, ttlMs)) {
      const { floor } = ledger;
      const records = await this.#parts.read(ledger, floor, windowCount);
      if (this.fresh(ledger, records, floor).length > 0 || records.length === 0) return;
    }
  }

  /** Those of the records read above `after` that are not past their time; the others are settled. */
  fresh(ledger: StreamLedger, records: readonly StoredRecord[], after: number): readonly StoredRecord[] {
    const ttlMs = this.#ttlMsOf(ledger);
    if (ttlMs === undefined || after > ledger.floor) return records;
    const found = records.findIndex((record) => !this.#isPast(record, ttlMs));
    const count = found < 0 ? records.length : found;
    const [head] = records.slice(count);
    if (head !== undefined)
      this.#heads.set(ledger.name, { seq: head.seq, monotonicMs: head.monotonicMs, runId: head.runId });
    const last = records[count - 1];
    if (last !== undefined && last.seq > ledger.floor) this.#settleThrough(ledger, last.seq);
    return records.slice(count);
  }

  #ttlMsOf(ledger: StreamLedger): number | undefined {
    return this.#parts.streams.get(ledger.name)?.ttlMs;
  }

  #sweep(): void {
    for (const { name, ttlMs } of this.#streams) {
      const ledger = this.#parts.accounts.find(name);
      if (ledger !== undefined) this.#settleSlots(ledger, ttlMs);
    }
  }

  #settleSlots(ledger: StreamLedger, ttlMs: number): void {
    const { accounts } = this.#parts;
    for (let span = accounts.headSpan(ledger); span !== undefined; span = accounts.headSpan(ledger)) {
      if (!this.#isPast(span.lastStamp, ttlMs)) return;
      this.#settleThrough(ledger, span.last);
    }
  }

  /** Whether the oldest record may be past its time: it is as old as the oldest of its slot at most. */
  #mayBePast(ledger: StreamLedger, ttlMs: number): boolean {
    const span = this.#parts.accounts.headSpan(ledger);
    if (span === undefined) return false;
    const head = this.#heads.get(ledger.name);
    const known = head !== undefined && head.seq > ledger.floor ? head : span.firstStamp;
    return this.#isPast(known, ttlMs);
  }

  #isPast(stamp: { readonly runId: string; readonly monotonicMs: number }, ttlMs: number): boolean {
    const { clock, accounts } = this.#parts;
    const nowMs = accounts.time.nowMs(clock.monotonicMs());
    return accounts.time.ageOf(stamp, nowMs).ageMs >= ttlMs;
  }

  #settleThrough(ledger: StreamLedger, through: number): void {
    const count = this.#parts.evictions.settle(ledger, 1, through, 'expired');
    if (count !== undefined && count > 0) this.#parts.onSettled();
  }
}
