import { ConfigError } from '../base/errors.ts';
import { millis } from '../base/units.ts';
import type { Bytes, Millis, Seq, StreamName } from '../base/units.ts';
import { bytes } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import type { Entropy } from '../host/entropy.ts';
import type { Filesystem } from '../host/filesystem.ts';
import { streamsMax } from './cursor-file.ts';
import { streamNameBytesMax } from './record.ts';
import { headerBytes } from './segment.ts';

/** How a stream is kept. */
export interface StreamOptions {
  readonly name: StreamName;
  /**
   * When an append is flushed: A at once; B together with others, at most `lingerMs` later; C as B for now. In all of
   * them what is reported stored survives a power cut: they differ in delay and wear.
   */
  readonly durability: 'A' | 'B' | 'C';
  /** Higher is kept longer: a full log evicts the oldest records of the lowest priority. */
  readonly priority: number;
  /** Longest wait for company of a class B record; default 100 ms. */
  readonly lingerMs?: Millis;
  /**
   * When the log is full: `evict` (default) drops the oldest records of this or a lower priority; `refuse` answers
   * the producer with `refused: full` and drops nothing.
   */
  readonly whenFull?: 'evict' | 'refuse';
}

/** Bounds of a log. */
export interface LogLimits {
  /** Disk that segments may take, in whole pages of 4 KiB; the cursor takes 128 KiB beside it. Default 512 MiB. */
  readonly quotaBytes?: Bytes;
  /** A segment file is closed before it grows beyond this; one record always fits. Default 4 MiB. */
  readonly segmentBytesMax?: Bytes;
  /** Memory for records that wait for a flush; beyond it an append is refused with `busy`. Default 4 MiB. */
  readonly queuedBytesMax?: Bytes;
  /** Longest time from an acknowledgement to its place on the disk. Default 1 s. */
  readonly cursorLingerMs?: Millis;
}

/** Something on the disk that is not as it was written. */
export interface LogDamage {
  /**
   * `cursor` one or both cursor records; `segment` a file that cannot be read, is of another version, or was set aside
   * after a failed write; `records` numbers of a stream that no frame holds; `tail` octets after the last intact frame
   * of an unfinished segment, as a power cut leaves them; `account` the counters do not add up, a defect in Baton.
   */
  readonly kind: 'cursor' | 'segment' | 'records' | 'tail' | 'account';
  /** Records lost, as far as known. */
  readonly count: number;
  readonly stream?: StreamName;
  /** For people: the file and what was found. */
  readonly message: string;
}

/** Records of one stream that went without being delivered. */
export interface Eviction {
  readonly stream: StreamName;
  readonly count: number;
  readonly fromSeq: Seq;
  readonly toSeq: Seq;
  /** `quota` the log had reached its limit; `diskFull` the file system had no space left; `givenUp` see `giveUp`. */
  readonly reason: 'quota' | 'diskFull' | 'givenUp';
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
  /** Called for every damage, also those found while opening. */
  readonly onDamage?: (damage: LogDamage) => void;
  /** Called for every eviction and stream. */
  readonly onEviction?: (eviction: Eviction) => void;
}

const pageBytes = 4096;

/** The limits with their defaults; throws `ConfigError` for what cannot work. */
export function checkLimits(limits: LogLimits): Required<LogLimits> {
  const checked = {
    quotaBytes: limits.quotaBytes ?? bytes(512 * 1024 * 1024),
    segmentBytesMax: limits.segmentBytesMax ?? bytes(4 * 1024 * 1024),
    queuedBytesMax: limits.queuedBytesMax ?? bytes(4 * 1024 * 1024),
    cursorLingerMs: limits.cursorLingerMs ?? millis(1000),
  };
  const least = {
    quotaBytes: 2 * pageBytes,
    segmentBytesMax: 2 * headerBytes,
    queuedBytesMax: 1024,
    cursorLingerMs: 0,
  };
  for (const [name, value] of Object.entries(checked)) {
    const min = least[name as keyof typeof least];
    if (!Number.isSafeInteger(value) || value < min) {
      throw new ConfigError(`buffer limit ${name} is ${value}; use a whole number of at least ${min}`);
    }
  }
  return checked;
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
    byName.set(stream.name, stream);
  }
  return byName;
}
