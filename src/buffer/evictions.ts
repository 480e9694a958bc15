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
  /** Settles held records up to a number; returns them, none while they are being written. */
  readonly pass: (
    ledger: StreamLedger,
    through: number,
    reason: 'givenUp' | 'expired',
  ) => readonly StoredRecord[];
  readonly onEviction: ((eviction: Eviction) => void) | undefined;
}

/** Settles records that go without being delivered, and tells of each such span. */
export class Evictions {
  readonly #parts: EvictionParts;

  constructor(parts: EvictionParts) {
    this.#parts = parts;
  }

  /**
   * Settles the pending records from `start` to `through` as evicted and tells it. Returns how many stored records that
   * were; undefined, and nothing is settled, as `LogAccounts.settle` answers it.
   */
  settle(
    ledger: StreamLedger,
    start: number,
    through: number,
    reason: Eviction['reason'],
  ): number | undefined {
    const { accounts, pass } = this.#parts;
    const from = Math.max(start, ledger.floor + 1);
    const stored = Math.min(through, ledger.last);
    const first = accounts.stampOf(ledger.name, from);
    const last = accounts.stampOf(ledger.name, stored);
    const count = accounts.settle(ledger, from, stored, 'evicted');
    if (count === undefined) return undefined;
    if (count > 0) this.#tell(ledger, { count, from, through: stored, reason, first, last });
    if (through > ledger.last && (reason === 'givenUp' || reason === 'expired')) {
      const passed = pass(ledger, through, reason);
      const [oldest, newest] = [passed[0], passed.at(-1)];
      if (oldest !== undefined && newest !== undefined) {
        const span = { count: passed.length, from: oldest.seq, through: newest.seq };
        this.#tell(ledger, { ...span, reason, first: stampOf(oldest), last: stampOf(newest) });
      }
    }
    return count;
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
