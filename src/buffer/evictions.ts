import { millis, seq as toSeq, unixMillis } from '../base/units.ts';
import type { StreamName } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import type { LogAccounts } from './log-accounts.ts';
import type { Eviction, StreamOptions } from './log-options.ts';
import type { StoredRecord } from './record.ts';
import type { Stamp } from './slot.ts';
import type { StreamLedger } from './stream-ledger.ts';

/** What `Evictions` works with. */
export interface EvictionParts {
  readonly clock: Clock;
  readonly accounts: LogAccounts;
  readonly streams: ReadonlyMap<StreamName, StreamOptions>;
  readonly onEviction: ((eviction: Eviction) => void) | undefined;
}

/** Settles records that go without being delivered, and tells of each such span. */
export class Evictions {
  readonly #parts: EvictionParts;

  constructor(parts: EvictionParts) {
    this.#parts = parts;
  }

  /**
   * Settles the stored records from `from` to `through` as evicted and tells it; how many there were, undefined as
   * `LogAccounts.settle` answers it.
   */
  settle(
    ledger: StreamLedger,
    from: number,
    through: number,
    reason: Eviction['reason'],
  ): number | undefined {
    const { accounts } = this.#parts;
    const start = Math.max(from, ledger.floor + 1);
    const first = accounts.stampOf(ledger.name, start);
    const last = accounts.stampOf(ledger.name, through);
    const count = accounts.settle(ledger, start, through, 'evicted');
    if (count !== undefined && count > 0) {
      this.#tell(ledger, { count, from: start, through, reason, first, last });
    }
    return count;
  }

  /** Tells of records that were held and are settled without being delivered. */
  tellHeld(ledger: StreamLedger, records: readonly StoredRecord[], reason: Eviction['reason']): void {
    const [oldest, newest] = [records[0], records.at(-1)];
    if (oldest === undefined || newest === undefined) return;
    const span = { count: records.length, from: oldest.seq, through: newest.seq };
    this.#tell(ledger, { ...span, reason, first: stampOf(oldest), last: stampOf(newest) });
  }

  #tell(ledger: StreamLedger, { count, from, through, reason, first, last }: EvictedSpan): void {
    const { clock, accounts, streams, onEviction } = this.#parts;
    const { time } = accounts;
    const nowMs = time.nowMs(clock.monotonicMs());
    const oldest = first === undefined ? undefined : time.ageOf(first, nowMs);
    const newest = last === undefined ? undefined : time.ageOf(last, nowMs);
    onEviction?.({
      stream: ledger.name,
      priority: streams.get(ledger.name)?.priority,
      count,
      fromSeq: toSeq(from),
      toSeq: toSeq(through),
      reason,
      ...(first === undefined ? {} : { firstUnixMs: unixMillis(Math.round(first.unixMs)) }),
      ...(last === undefined ? {} : { lastUnixMs: unixMillis(Math.round(last.unixMs)) }),
      oldestAgeMs: millis(oldest?.ageMs ?? 0),
      newestAgeMs: millis(newest?.ageMs ?? 0),
      isAgeExact: oldest?.isExact === true && newest?.isExact === true,
    });
  }
}

interface EvictedSpan {
  readonly count: number;
  readonly from: number;
  readonly through: number;
  readonly reason: Eviction['reason'];
  readonly first: Stamp | undefined;
  readonly last: Stamp | undefined;
}

function stampOf({ monotonicMs, wall, runId }: StoredRecord): Stamp {
  return { monotonicMs, unixMs: wall.unixMs, runId };
}
