import { millis, seq as toSeq, unixMillis } from '../base/units.ts';
import type { StreamName } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import type { LogAccounts } from './log-accounts.ts';
import type { Eviction, StreamOptions } from './log-options.ts';
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

  /** Settles the pending records up to `through` as evicted and tells it; false when there were none. */
  settle(ledger: StreamLedger, through: number, reason: Eviction['reason']): boolean {
    const { clock, accounts, streams, onEviction } = this.#parts;
    const from = ledger.floor + 1;
    const first = accounts.stampOf(ledger.name, from);
    const last = accounts.stampOf(ledger.name, through);
    const count = accounts.settle(ledger, through, 'evicted');
    if (count === 0) return false;
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
    return true;
  }
}
