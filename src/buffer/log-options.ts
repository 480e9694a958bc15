import { ConfigError } from '../base/errors.ts';
import { millis } from '../base/units.ts';
import type { Bytes, Millis, Seq, StreamName, UnixMillis } from '../base/units.ts';
import { bytes } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import type { Entropy } from '../host/entropy.ts';
import type { Filesystem } from '../host/filesystem.ts';
import { streamsMax } from './cursor-file.ts';
import { streamNameBytesMax } from './record.ts';
import { pageBytes } from './wear-ledger.ts';

/** How a stream is kept. */
export interface StreamOptions {
  readonly name: StreamName;
  /**
   * When an append is flushed: A at once; B together with others, at most `lingerMs` later; C not at all while the link
   * is up (`setLinkUp`) and nothing stored of the stream is pending, else like B. An append of C is then answered `held`:
   * in memory, where a power cut loses it. In all of them what is reported stored survives a power cut.
   */
  readonly durability: 'A' | 'B' | 'C';
  /**
   * Higher is kept longer: a full log evicts the oldest records of the lowest priority, none of a higher one than that of
   * the record that needs room, and none of a stream with `whenFull: refuse` for a record of the same priority.
   */
  readonly priority: number;
  /** Longest wait for company of a class B record; default 100 ms. */
  readonly lingerMs?: Millis;
  /**
   * When the log is full: `evict` (default) drops the oldest records of this or a lower priority; `refuse` answers
   * the producer with `refused: full` and drops nothing.
   */
  readonly whenFull?: 'evict' | 'refuse';
  /**
   * Age at which a record that is not delivered goes (`expired`), on the time of the log (log-time.ts): time that the
   * machine was off counts as far as trustworthy clocks prove it. Default: never.
   */
  readonly ttlMs?: Millis;
}

/** Bounds of a log. */
export interface LogLimits {
  /** Disk that slots may take; the cursor takes 128 KiB beside it. Default 512 MiB. */
  readonly quotaBytes?: Bytes;
  /**
   * Size of a slot, the unit in which space is given up and used again; less when the quota would not hold one slot
   * more than there are priorities. A record must fit into one. Counts when the container is made. Default 4 MiB.
   */
  readonly segmentBytesMax?: Bytes;
  /**
   * Part of the quota, in whole slots, that only streams of the highest priority may take; less where each priority
   * would not have a slot. Default 0, at most half of the quota.
   */
  readonly reserveBytes?: Bytes;
  /** Memory for records that wait for a flush; beyond it an append is refused with `busy`. Default 4 MiB. */
  readonly queuedBytesMax?: Bytes;
  /** Memory for held records of class C; beyond it they are stored. Default 1 MiB. */
  readonly heldBytesMax?: Bytes;
  /** Longest time for which a record of class C is held, about. Default 30 s. */
  readonly heldMsMax?: Millis;
  /** Longest time from an acknowledgement to its place on the disk. Default 2 s. */
  readonly cursorLingerMs?: Millis;
}

/** Something on the disk that is not as it was written. */
export interface LogDamage {
  /**
   * `cursor` one or both cursor records; `slot` a slot that cannot be read, is of another version, or was set aside
   * after a failed write; `records` numbers of a stream that no frame holds; `tail` something torn after the last
   * intact frame of an unfinished slot, as a power cut leaves it; `space` the disk has no room for all slots, the log
   * holds less than its quota; `place` the files were removed or replaced while in use; `account` the counters do not add up, a defect in Baton.
   */
  readonly kind: 'cursor' | 'slot' | 'records' | 'tail' | 'space' | 'place' | 'account';
  /** Records lost, as far as known. */
  readonly count: number;
  readonly stream?: StreamName;
  /** For people: the file and what was found. */
  readonly message: string;
}

/** Records of one stream that went without being delivered. */
export interface Eviction {
  readonly stream: StreamName;
  /** Priority of the stream; undefined when it is no longer configured. */
  readonly priority: number | undefined;
  readonly count: number;
  readonly fromSeq: Seq;
  readonly toSeq: Seq;
  /**
   * `quota` the log had reached its limit; `diskFull` the same below the quota, for want of disk; `expired` past
   * `ttlMs`; `givenUp` see `giveUp`.
   */
  readonly reason: 'quota' | 'diskFull' | 'expired' | 'givenUp';
  /** Wall times of the first and the last of them as they were recorded, estimated within their slots. */
  readonly firstUnixMs?: UnixMillis;
  readonly lastUnixMs?: UnixMillis;
  /** Their ages on the time of the log; the least ages unless `isAgeExact`. */
  readonly oldestAgeMs: Millis;
  readonly newestAgeMs: Millis;
  readonly isAgeExact: boolean;
}

/** What a log is opened with. */
export interface ReadingLogOptions {
  readonly filesystem: Filesystem;
  readonly clock: Clock;
  readonly entropy: Entropy;
  /** Directory of this log alone; made when missing. */
  readonly directory: string;
  readonly limits?: LogLimits;
  readonly streams: readonly StreamOptions[];
  /**
   * UUID or 32 hexadecimal digits of this boot of the machine, with which the monotonic clock began and goes on over
   * restarts of the process. Without it every run counts as a boot of its own, of unknown distance.
   */
  readonly bootId?: string;
  /** Called for every damage, also those found while opening. */
  readonly onDamage?: (damage: LogDamage) => void;
  /** Called for every eviction and stream. */
  readonly onEviction?: (eviction: Eviction) => void;
}

/** The limits with their defaults; throws `ConfigError` for what cannot work. */
export function checkLimits(limits: LogLimits): Required<LogLimits> {
  const checked = {
    quotaBytes: limits.quotaBytes ?? bytes(512 * 1024 * 1024),
    segmentBytesMax: limits.segmentBytesMax ?? bytes(4 * 1024 * 1024),
    reserveBytes: limits.reserveBytes ?? bytes(0),
    queuedBytesMax: limits.queuedBytesMax ?? bytes(4 * 1024 * 1024),
    heldBytesMax: limits.heldBytesMax ?? bytes(1024 * 1024),
    heldMsMax: limits.heldMsMax ?? millis(30_000),
    cursorLingerMs: limits.cursorLingerMs ?? millis(2000),
  };
  const least = {
    quotaBytes: 2 * pageBytes,
    segmentBytesMax: pageBytes,
    reserveBytes: 0,
    queuedBytesMax: 1024,
    heldBytesMax: 0,
    heldMsMax: 1,
    cursorLingerMs: 0,
  };
  for (const [name, value] of Object.entries(checked)) {
    const min = least[name as keyof typeof least];
    if (!Number.isSafeInteger(value) || value < min) {
      throw new ConfigError(`buffer limit ${name} is ${value}; use a whole number of at least ${min}`);
    }
  }
  if (2 * checked.reserveBytes > checked.quotaBytes) {
    const { reserveBytes, quotaBytes } = checked;
    throw new ConfigError(
      `buffer limit reserveBytes is ${reserveBytes}; use at most half of quotaBytes, ${quotaBytes / 2}`,
    );
  }
  return checked;
}

/**
 * Size of the slots of a new container, in whole pages: at least one slot per priority and one more must be there, lest
 * one priority keep the others from service.
 */
export function slotBytesFor(limits: Required<LogLimits>, priorityCount: number): number {
  const share = limits.quotaBytes / (priorityCount + 1);
  const size = Math.min(limits.segmentBytesMax, share);
  return Math.max(pageBytes, Math.floor(size / pageBytes) * pageBytes);
}

/** The streams by name; throws `ConfigError` for what cannot work. */
export function checkStreams(streams: readonly StreamOptions[]): Map<StreamName, StreamOptions> {
  const byName = new Map<StreamName, StreamOptions>();
  if (streams.length > streamsMax / 2) {
    throw new ConfigError(`${streams.length} streams are configured; a buffer takes ${streamsMax / 2}`);
  }
  for (const stream of streams) {
    const length = Buffer.byteLength(stream.name);
    if (length === 0 || length > streamNameBytesMax) {
      throw new ConfigError(
        `stream name "${stream.name}" has ${length} bytes; use 1 to ${streamNameBytesMax}`,
      );
    }
    if (/[\p{Cc}"\\]/u.test(stream.name)) {
      throw new ConfigError(
        `stream name ${JSON.stringify(stream.name)} has a quote, backslash or control character`,
      );
    }
    if (byName.has(stream.name)) throw new ConfigError(`stream ${stream.name} is configured twice`);
    if (!Number.isFinite(stream.priority) || stream.priority < 0) {
      throw new ConfigError(`stream ${stream.name} has priority ${stream.priority}; use a number from 0 up`);
    }
    if (stream.ttlMs !== undefined && !(stream.ttlMs > 0)) {
      throw new ConfigError(
        `stream ${stream.name} has ttlMs ${stream.ttlMs}; use a time above 0 ms, or none`,
      );
    }
    byName.set(stream.name, stream);
  }
  return byName;
}

/** A boot id as 32 hexadecimal digits; throws `ConfigError` for anything else. */
export function checkBootId(bootId: string | undefined): string | undefined {
  if (bootId === undefined) return undefined;
  const digits = bootId.replaceAll('-', '').toLowerCase();
  if (!/^[0-9a-f]{32}$/.test(digits)) {
    throw new ConfigError(`boot id ${JSON.stringify(bootId)} is no UUID and no 32 hexadecimal digits`);
  }
  return digits;
}
