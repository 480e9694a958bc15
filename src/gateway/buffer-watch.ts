/**
 * Watches the buffer and the flash below it: says at the start what it holds, keeps the figures of `baton status`,
 * writes them to the flight log once a minute, and raises an alarm when the counters do not add up, when a card nears
 * its end, or when the buffer will be full while nothing is delivered.
 */
import { bytesPerDay, cardYears, fillHours, wornShare } from '../buffer/card-life.ts';
import type { Card } from '../buffer/card-life.ts';
import type { LogStats, StreamStats } from '../buffer/log-results.ts';
import type { DiskReading, LifeTime, PreEol } from '../host/block-device.ts';
import { sleep } from '../host/clock.ts';
import type { Host } from '../host/host.ts';
import { millis } from '../base/units.ts';
import type { BufferConfig } from './config.ts';
import type { BufferStatus, CardStatus, DiskStatus, FlashStatus } from './status.ts';
import type { Telling } from './telling.ts';
import { bytesText, durationText } from './view/format.ts';
import { WearAccount } from './wear-account.ts';
import type { WearStore } from './wear-account.ts';

/** What a watch is made of. */
export interface BufferWatchOptions {
  readonly host: Pick<Host, 'clock' | 'blockDevices'>;
  readonly log: { stats(): LogStats };
  /** Directory of the buffer. */
  readonly directory: string;
  readonly config: BufferConfig;
  readonly streams: readonly { readonly durability: 'A' | 'B' | 'C' }[];
  readonly store: WearStore;
  readonly telling: Telling;
}

/** The figures of a status. */
export interface BufferFigures {
  readonly buffer: BufferStatus;
  readonly flash: FlashStatus;
}

interface Sample {
  readonly atMs: number;
  readonly stats: LogStats;
  /** What the account has counted of the disk in the time that Baton ran. */
  readonly diskBytes: number;
}

const periodMs = millis(60_000);
/** The rates of the present are those of this time. */
const windowMs = 3_600_000;
/** Time without a delivery after which delivery stands still. */
const stillMs = 300_000;
/** Wall clocks before this have not been set. */
const wallUnixMsMin = Date.UTC(2024, 0, 1);

/** The watch over the buffer of a gateway; see the header of this file. */
export class BufferWatch {
  readonly #options: BufferWatchOptions;
  readonly #account: WearAccount;
  readonly #samples: Sample[] = [];
  #reading: DiskReading = { kind: 'unknown', reason: 'it has not been read yet' };
  #deliveredAtMs: number;

  constructor(options: BufferWatchOptions) {
    this.#options = options;
    const { store, host, telling } = options;
    this.#deliveredAtMs = host.clock.monotonicMs();
    this.#account = new WearAccount({
      store,
      clock: host.clock,
      onTrouble: (message) => telling.log('warn', message),
    });
  }

  /** Watches until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { host, telling } = this.#options;
    await this.#account.open();
    await this.#look();
    telling.log('info', this.#opening());
    while (!signal.aborted) {
      await sleep(host.clock, periodMs, signal).catch(() => undefined);
      await this.#look();
    }
  }

  /** The figures, with counters as of now. */
  figures(stats: LogStats = this.#options.log.stats()): BufferFigures {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    const now = { atMs: this.#options.host.clock.monotonicMs(), stats };
    const { state } = this.#account;
    const rate = (before: number, after: number): number | undefined =>
      bytesPerDay(after - before, (last?.atMs ?? 0) - (first?.atMs ?? 0));
    const ofBuffer = rate(first?.stats.flash.deviceBytes ?? 0, last?.stats.flash.deviceBytes ?? 0);
    const isKnown = this.#reading.kind === 'disk';
    const ofDisk = isKnown ? rate(first?.diskBytes ?? 0, last?.diskBytes ?? 0) : undefined;
    const bufferOverall = bytesPerDay(state.bufferBytes, state.ranMs);
    const diskOverall = isKnown ? bytesPerDay(state.diskBytes, state.ranMs) : undefined;
    const card = this.#card(
      isKnown
        ? { basis: 'disk', present: ofDisk, overall: diskOverall, written: state.disk?.writtenBytes }
        : { basis: 'buffer', present: ofBuffer, overall: bufferOverall, written: stats.flash.deviceBytes },
    );
    const { payloadBytes, deviceBytes, writeAmplification, commits, flushes, slotsAside } = stats.flash;
    return {
      buffer: { ...counters(stats), ...(first === undefined ? {} : hoursOf(first, now)) },
      flash: {
        payloadBytes,
        deviceBytes,
        ...given('writeAmplification', writeAmplification, 2),
        commits,
        flushes,
        slotsAside,
        ...given('bytesPerDay', ofBuffer, 0),
        ...given('bytesPerDayOverall', bufferOverall, 0),
        disk: {
          ...this.#disk(),
          ...given('bytesPerDay', ofDisk, 0),
          ...given('bytesPerDayOverall', diskOverall, 0),
        },
        ...(card === undefined ? {} : { card }),
      },
    };
  }

  /** One look at the counters and the disk, and what follows from it. */
  async #look(): Promise<void> {
    const { host, log, directory, telling } = this.#options;
    this.#reading = await host.blockDevices.read(directory);
    const stats = log.stats();
    const disk = this.#reading.kind === 'disk' ? this.#reading.disk : undefined;
    await this.#account.note(stats.flash.deviceBytes, disk);
    const atMs = host.clock.monotonicMs();
    const before = this.#samples.at(-1);
    if (before?.stats.delivered !== stats.delivered || stats.pending === 0) this.#deliveredAtMs = atMs;
    this.#samples.push({ atMs, stats, diskBytes: this.#account.state.diskBytes });
    while (atMs - (this.#samples[1]?.atMs ?? atMs) >= windowMs) this.#samples.shift();
    const figures = this.figures(stats);
    for (const [stream, counts] of stats.streams) {
      // Told until the next start: what did not add up once is a defect, whatever it adds up to later.
      if (!isConserved(counts)) telling.alarms.raise(`account ${stream}`, accountAlarm(stream));
    }
    telling.alarms.set('card', disk === undefined ? undefined : cardAlarm(disk));
    telling.alarms.set('buffer fills', this.#fillAlarm(figures.buffer, atMs));
    telling.record({ kind: 'buffer', ...figures });
  }

  #fillAlarm({ hoursUntilFull: hours }: BufferStatus, atMs: number): string | undefined {
    const { fullAlarmHours } = this.#options.config;
    const stillForMs = atMs - this.#deliveredAtMs;
    if (hours === undefined || hours >= fullAlarmHours || stillForMs < stillMs) return undefined;
    const when = hours < 1 ? 'in less than an hour' : `in about ${Math.floor(hours)} h`;
    return (
      `nothing is delivered and the buffer will be full ${when} at the present rate; ` +
      'bring the way to the serving CSE back, or raise buffer.quotaBytes'
    );
  }

  #disk(): DiskStatus {
    if (this.#reading.kind === 'unknown') return { type: 'unknown', reason: this.#reading.reason };
    const { name, type, model, sizeBytes, writtenBytes, lifeTime, preEol } = this.#reading.disk;
    const { disk: counted } = this.#account.state;
    return {
      type,
      name,
      ...(model === undefined ? {} : { model }),
      sizeBytes,
      writtenSinceBootBytes: writtenBytes,
      ...(counted === undefined
        ? {}
        : { writtenBytes: counted.writtenBytes, sinceUnixMs: counted.sinceUnixMs }),
      ...(lifeTime === undefined ? {} : { lifeTime }),
      ...(preEol === undefined ? {} : { preEol }),
    };
  }

  #card(rates: {
    basis: 'disk' | 'buffer';
    present: number | undefined;
    overall: number | undefined;
    written: number | undefined;
  }): CardStatus | undefined {
    const { capacityBytes, enduranceCycles, nandFactor } = this.#options.config.card;
    const size = this.#reading.kind === 'disk' ? this.#reading.disk.sizeBytes : undefined;
    const capacity = capacityBytes ?? size;
    if (capacity === undefined) return undefined;
    const card: Card = { capacityBytes: capacity, enduranceCycles, nandFactor };
    const worn = rates.written === undefined ? undefined : wornShare(card, rates.written);
    return {
      ...card,
      basis: rates.basis,
      ...given('years', cardYears(card, rates.present), 4),
      ...given('yearsOverall', cardYears(card, rates.overall), 4),
      ...given('wornShare', worn, 6),
    };
  }

  /** The line of the start: durability, capacity, what is used, and what the clock is worth. */
  #opening(): string {
    const { streams, host } = this.#options;
    const { buffer, flash } = this.figures();
    const classes = (['A', 'B', 'C'] as const)
      .map((name) => [name, streams.filter(({ durability }) => durability === name).length] as const)
      .filter(([, count]) => count > 0)
      .map(([name, count]) => `${name} ${count}`);
    const oldest = buffer.oldestAgeMs === undefined ? '' : ` (oldest ${durationText(buffer.oldestAgeMs)})`;
    const { name, sizeBytes, type, reason } = flash.disk;
    const disk =
      name === undefined ? `unknown: ${reason ?? ''}` : `${name} (${type}, ${bytesText(sizeBytes ?? 0)})`;
    const unixMs = host.clock.unixMs();
    const wall =
      unixMs < wallUnixMsMin
        ? 'not set; readings keep their order, their times are wrong until it is'
        : `${new Date(unixMs).toISOString()}, error unknown`;
    return (
      `buffer: streams by durability class ${classes.join(', ')}; capacity ${bytesText(buffer.capacityBytes)}, ` +
      `used ${bytesText(buffer.bytes)}, pending=${buffer.pending}${oldest}; disk ${disk}; wall clock ${wall}`
    );
  }
}

/** What an eMMC that nears its end is worth telling; undefined while all is well or nothing is known. */
export function cardAlarm(disk: {
  readonly name: string;
  readonly lifeTime?: LifeTime;
  readonly preEol?: PreEol;
}): string | undefined {
  const used = Math.max(disk.lifeTime?.typeA ?? 0, disk.lifeTime?.typeB ?? 0);
  const faults = [
    ...(disk.preEol === 'urgent' ? ['has used up 90 % of its reserved blocks'] : []),
    ...(disk.preEol === 'warning' ? ['has used up 80 % of its reserved blocks'] : []),
    ...(used === 11 ? ['has exceeded its life time'] : []),
    ...(used === 10 ? ['has used up 90 % of its life time'] : []),
  ];
  if (faults.length === 0) return undefined;
  return `the eMMC ${disk.name} ${faults.join(' and ')}; replace the board or move dataDirectory to another disk`;
}

function isConserved({ stored, delivered, evicted, corrupt, pending }: StreamStats): boolean {
  return stored === delivered + evicted + corrupt + pending;
}

function accountAlarm(stream: string): string {
  return (
    `the counters of stream ${stream} do not add up: stored is not delivered + evicted + damaged + pending; ` +
    'what is stored is still delivered; report this defect with the flight log'
  );
}

function counters(stats: LogStats): BufferStatus {
  const { stored, delivered, evicted, corrupt, pending, usedBytes, quotaBytes } = stats;
  return {
    stored,
    delivered,
    evicted,
    corrupt,
    pending,
    bytes: usedBytes,
    capacityBytes: quotaBytes,
    ...given('oldestAgeMs', stats.oldestUnacknowledgedMs, 0),
  };
}

function hoursOf(
  from: Pick<Sample, 'atMs' | 'stats'>,
  to: Pick<Sample, 'atMs' | 'stats'>,
): Pick<BufferStatus, 'hoursUntilFull' | 'outageHours'> {
  const consumption = {
    elapsedMs: to.atMs - from.atMs,
    spaceBytes: to.stats.flash.consumedBytes - from.stats.flash.consumedBytes,
    payloadBytes: to.stats.flash.payloadBytes - from.stats.flash.payloadBytes,
    records: to.stats.stored - from.stats.stored,
    commits: to.stats.flash.commits - from.stats.flash.commits,
  };
  const capacityBytes = to.stats.quotaBytes;
  const hours = (roomBytes: number): number | undefined =>
    fillHours({ roomBytes, capacityBytes, roomyBytes: to.stats.flash.roomyBytes }, consumption);
  return {
    ...given('hoursUntilFull', hours(to.stats.flash.roomBytes), 2),
    ...given('outageHours', hours(capacityBytes), 2),
  };
}

/** A figure rounded to `digits` behind the point; nothing for an unknown one. */
function given<Key extends string>(
  key: Key,
  value: number | undefined,
  digits: number,
): { readonly [K in Key]?: number } {
  if (value === undefined) return {};
  return { [key]: Number(value.toFixed(digits)) } as { readonly [K in Key]?: number };
}
