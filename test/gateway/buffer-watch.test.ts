// Proves, on a virtual clock with sysfs and state in memory: the figures of the buffer and of the flash, the line of the
// start, one record a minute; each alarm with its beginning and its end (counters that do not add up, an eMMC near its
// end, a buffer that fills while nothing is delivered); and the account of what is written to the disk over restarts,
// boots and other disks, saved at most once an hour.
import t from 'tap';
import { bytes, millis, streamName, unixMillis } from '../../src/base/units.ts';
import { cardDefaults } from '../../src/buffer/card-life.ts';
import type { FlashStats, LogStats } from '../../src/buffer/log-results.ts';
import { Alarms } from '../../src/gateway/alarms.ts';
import { BufferWatch } from '../../src/gateway/buffer-watch.ts';
import type { BufferConfig } from '../../src/gateway/config.ts';
import { renderStatus } from '../../src/gateway/view/render-view.ts';
import { parseStatus } from '../../src/gateway/status-schema.ts';
import type { GatewayStatus } from '../../src/gateway/status.ts';
import { openWearStore } from '../../src/gateway/stores.ts';
import { countDisk, decodeWearState } from '../../src/gateway/wear-account.ts';
import type { DiskCount } from '../../src/gateway/wear-account.ts';
import { SysfsBlockDevices } from '../../src/host/block-device.ts';
import type { Disk } from '../../src/host/block-device.ts';
import type { Host } from '../../src/host/host.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';
import { SimulatedFilesystem } from '../../src/testbed/simulated-filesystem.ts';

const minuteMs = 60_000;
const mebibyte = 1024 * 1024;
const node = '/sys/dev/block/179:0';

interface Counts {
  stored: number;
  delivered: number;
  evicted: number;
  corrupt: number;
  pending: number;
}

/** A machine with an eMMC whose sysfs files can be written, and a log whose counters can be set. */
class Machine {
  readonly clock: SimulatedClock;
  readonly filesystem = new SimulatedFilesystem();
  readonly told: string[] = [];
  readonly records: Record<string, unknown>[] = [];
  readonly counts: Counts = { stored: 0, delivered: 0, evicted: 0, corrupt: 0, pending: 0 };
  flash: FlashStats = {
    payloadBytes: 0,
    deviceBytes: 0,
    commits: 0,
    flushes: 0,
    writeAmplification: undefined,
    slotsAside: 0,
    consumedBytes: 0,
    roomBytes: 512 * mebibyte,
    roomyBytes: 32 * mebibyte,
  };
  config: BufferConfig = {
    quotaBytes: bytes(512 * mebibyte),
    segmentBytes: bytes(4 * mebibyte),
    reserveBytes: bytes(0),
    fullAlarmHours: 24,
    card: cardDefaults,
  };
  major = 179;
  #alarms: Alarms | undefined;
  #running:
    { readonly end: AbortController; readonly done: Promise<void>; readonly watch: BufferWatch } | undefined;

  constructor(unixMs: number = Date.UTC(2026, 10, 1)) {
    this.clock = new SimulatedClock({ unixMs: unixMillis(unixMs) });
  }

  get alarms(): string[] {
    return this.#alarms?.list().map(({ text }) => text) ?? [];
  }

  get watch(): BufferWatch {
    if (this.#running === undefined) throw new Error('the watch does not run');
    return this.#running.watch;
  }

  async write(path: string, text: string): Promise<void> {
    await this.filesystem.createDirectory(path.slice(0, path.lastIndexOf('/')));
    await this.filesystem.remove(path);
    const handle = await this.filesystem.open(path, { create: true });
    await handle.write(Buffer.from(text), 0);
    await handle.close();
  }

  async install(): Promise<void> {
    await this.boot('boot-1');
    await this.write(`${node}/uevent`, 'DEVNAME=mmcblk0\nDEVTYPE=disk\n');
    await this.write(`${node}/size`, '31250000\n');
    await this.write(`${node}/device/type`, 'MMC\n');
    await this.write(`${node}/device/name`, 'AJTD4R\n');
    await this.write(`${node}/device/cid`, '1501\n');
    await this.wear('0x01 0x01', '0x01');
    await this.disk(0);
  }

  boot(id: string): Promise<void> {
    return this.write('/proc/sys/kernel/random/boot_id', `${id}\n`);
  }

  async wear(lifeTime: string, preEol: string): Promise<void> {
    await this.write(`${node}/device/life_time`, `${lifeTime}\n`);
    await this.write(`${node}/device/pre_eol_info`, `${preEol}\n`);
  }

  /** What the kernel has counted since boot. */
  disk(writtenBytes: number): Promise<void> {
    return this.write(`${node}/stat`, `1 2 3 4 5 6 ${writtenBytes / 512} 8 9 10 11 12\n`);
  }

  stats(): LogStats {
    const { payloadBytes, deviceBytes } = this.flash;
    const counts = {
      ...this.counts,
      oldestUnacknowledgedMs: this.counts.pending > 0 ? millis(5000) : undefined,
      isAgeExact: true,
    };
    return {
      ...counts,
      usedBytes: bytes(4 * mebibyte),
      quotaBytes: this.config.quotaBytes,
      queued: 0,
      memory: { held: 0, heldBytes: 0, passed: 0, dropped: 0 },
      flash: { ...this.flash, writeAmplification: payloadBytes > 0 ? deviceBytes / payloadBytes : undefined },
      streams: new Map([[streamName('temperature'), counts]]),
    };
  }

  /** Ten readings a second of 160 octets, one a commit, for `durationMs`; those not delivered wait. */
  store(durationMs: number, isDelivered: boolean): void {
    const count = durationMs / 100;
    // Padded while there is room, then packed.
    const space = this.flash.roomBytes > 256 * mebibyte ? 4096 : 192;
    const { payloadBytes, deviceBytes, commits, flushes, consumedBytes, roomBytes } = this.flash;
    this.flash = {
      ...this.flash,
      payloadBytes: payloadBytes + count * 160,
      deviceBytes: deviceBytes + count * 4096,
      commits: commits + count,
      flushes: flushes + count,
      consumedBytes: consumedBytes + count * space,
      roomBytes: isDelivered ? roomBytes : Math.max(0, roomBytes - count * space),
    };
    this.counts.stored += count;
    if (isDelivered) this.counts.delivered += count;
    else this.counts.pending += count;
  }

  async start(): Promise<void> {
    const { clock, filesystem } = this;
    const stores = {
      host: { filesystem, clock } as unknown as Host,
      directory: '/data/state',
      onDamage: (text: string) => this.told.push(`damage ${text}`),
    };
    const alarms = new Alarms(clock, clock.monotonicMs(), (text, active) =>
      this.told.push(`${active ? 'alarm' : 'over'}: ${text}`),
    );
    this.#alarms = alarms;
    const watch = new BufferWatch({
      host: {
        clock,
        blockDevices: new SysfsBlockDevices({
          filesystem,
          deviceNumber: () => Promise.resolve({ major: this.major, minor: 0 }),
        }),
      },
      log: { stats: () => this.stats() },
      directory: '/data/buffer',
      config: this.config,
      streams: [{ durability: 'A' }, { durability: 'B' }, { durability: 'A' }],
      store: openWearStore(stores),
      telling: {
        alarms,
        tell: () => undefined,
        log: (level, text) => this.told.push(`${level}: ${text}`),
        record: (event) => this.records.push(event),
      },
    });
    const end = new AbortController();
    this.#running = { end, done: watch.run(end.signal), watch };
    await this.clock.advance(1);
  }

  async stop(): Promise<void> {
    this.#running?.end.abort();
    await this.#running?.done;
    this.#running = undefined;
  }

  /** Minutes of service. */
  async minutes(count: number, isDelivered = true): Promise<void> {
    for (let minute = 0; minute < count; minute++) {
      this.store(minuteMs, isDelivered);
      await this.clock.advance(minuteMs);
    }
  }
}

async function machine(unixMs?: number): Promise<Machine> {
  const made = new Machine(unixMs);
  await made.install();
  return made;
}

void t.test('figures', async (t) => {
  const gw = await machine();
  await gw.start();
  t.equal(gw.told.length, 1);
  t.equal(
    gw.told[0],
    'info: buffer: streams by durability class A 2, B 1; capacity 512.0 MiB, used 4.0 MiB, pending=0; ' +
      'disk mmcblk0 (emmc, 14.9 GiB); wall clock 2026-11-01T00:00:00.000Z, error unknown',
  );
  const first = gw.watch.figures();
  t.notOk('hoursUntilFull' in first.buffer || 'bytesPerDay' in first.flash, 'no rate, no figure');
  t.match(first.flash, { card: { capacityBytes: 16_000_000_000, basis: 'disk', wornShare: 0 } });
  t.notOk('years' in (first.flash.card ?? {}));

  await gw.disk(120 * 1_000_000 * 512);
  await gw.minutes(120);
  const { buffer, flash } = gw.watch.figures();
  t.same(buffer, {
    stored: 72_000,
    delivered: 72_000,
    evicted: 0,
    corrupt: 0,
    pending: 0,
    bytes: 4 * mebibyte,
    capacityBytes: 512 * mebibyte,
    hoursUntilFull: buffer.hoursUntilFull,
    outageHours: buffer.hoursUntilFull,
  });
  t.equal(buffer.hoursUntilFull?.toFixed(1), '73.0');
  t.match(flash, {
    payloadBytes: 72_000 * 160,
    deviceBytes: 72_000 * 4096,
    writeAmplification: 25.6,
    commits: 72_000,
  });
  t.equal(flash.bytesPerDay, 864_000 * 4096);
  t.equal(flash.bytesPerDayOverall, 864_000 * 4096);
  t.match(flash.disk, {
    type: 'emmc',
    name: 'mmcblk0',
    writtenBytes: 120 * 1_000_000 * 512,
    sinceUnixMs: Date.UTC(2026, 10, 1),
    bytesPerDay: 0,
    bytesPerDayOverall: 12 * 120 * 1_000_000 * 512,
    lifeTime: { typeA: 1, typeB: 1 },
    preEol: 'normal',
  });
  t.equal(flash.card?.years, undefined, 'nothing in the last hour');
  t.equal(flash.card?.yearsOverall, Number((12e12 / (12 * 120 * 512e6) / 365.25).toFixed(4)));
  t.equal(flash.card?.wornShare, Number(((120 * 512e6) / 12e12).toFixed(6)));

  const kinds = new Set(gw.records.map(({ kind }) => kind));
  t.same([...kinds], ['buffer']);
  t.equal(gw.records.length, 121, 'one record a minute');
  t.match(gw.records.at(-1), { buffer: { stored: 72_000 }, flash: { disk: { name: 'mmcblk0' } } });
  await gw.stop();
  t.equal(gw.clock.pendingCount, 0, 'no timer is left');
  t.same(gw.alarms, []);
});

void t.test('a disk that cannot be told, a card that is configured, a clock that is not set', async (t) => {
  const gw = await machine(Date.UTC(1970, 0, 1));
  gw.major = 0;
  await gw.start();
  t.match(
    gw.told[0],
    /pending=0; disk unknown: its file system has no disk of its own \(device 0:0\); wall clock not set; /u,
  );
  await gw.minutes(60);
  t.notOk('card' in gw.watch.figures().flash, 'no capacity, no projection');
  t.match(gw.watch.figures().flash.disk, { type: 'unknown', reason: /no disk of its own/u });
  await gw.stop();
  gw.config = { ...gw.config, card: { capacityBytes: bytes(16e9), enduranceCycles: 300, nandFactor: 4 } };
  await gw.start();
  await gw.minutes(60);
  const { card } = gw.watch.figures().flash;
  t.match(card, { basis: 'buffer', capacityBytes: 16e9 });
  t.equal(card?.years, Number((1.2e12 / (864_000 * 4096) / 365.25).toFixed(4)));
  await gw.stop();
});

void t.test('an eMMC that nears its end', async (t) => {
  const gw = await machine();
  await gw.start();
  const table: readonly (readonly [string, string, RegExp | undefined])[] = [
    ['0x09 0x09', '0x01', undefined],
    [
      '0x0a 0x02',
      '0x01',
      /^the eMMC mmcblk0 has used up 90 % of its life time; replace the board or move dataDirectory/u,
    ],
    ['0x02 0x0b', '0x01', /^the eMMC mmcblk0 has exceeded its life time; /u],
    ['0x02 0x02', '0x02', /^the eMMC mmcblk0 has used up 80 % of its reserved blocks; /u],
    ['0x0A 0x02', '0x03', /has used up 90 % of its reserved blocks and has used up 90 % of its life time; /u],
    ['0x00 0x00', '0x00', undefined],
  ];
  for (const [lifeTime, preEol, expected] of table) {
    await gw.wear(lifeTime, preEol);
    await gw.minutes(1);
    t.equal(gw.alarms.length, expected === undefined ? 0 : 1, `${lifeTime} ${preEol}`);
    if (expected !== undefined) t.match(gw.alarms[0], expected);
  }
  t.match(gw.told.at(-1), /^over: the eMMC/u);
  await gw.stop();
});

void t.test('counters that do not add up', async (t) => {
  const gw = await machine();
  await gw.start();
  await gw.minutes(2);
  t.same(gw.alarms, []);
  gw.counts.stored += 1;
  await gw.minutes(2);
  t.match(gw.alarms, [
    /^the counters of stream temperature do not add up: .*; report this defect with the flight log$/u,
  ]);
  gw.counts.stored -= 1;
  await gw.minutes(2);
  t.equal(gw.alarms.length, 1, 'a defect is not forgotten');
  t.equal(gw.told.filter((text) => text.startsWith('alarm')).length, 1, 'and told once');
  await gw.stop();
});

void t.test('a buffer that fills while nothing is delivered', async (t) => {
  const gw = await machine();
  await gw.start();
  await gw.minutes(30);
  // 73 h from empty; delivery stops with 15 h left.
  gw.flash = { ...gw.flash, roomBytes: 100 * mebibyte };
  await gw.minutes(10);
  t.same(gw.alarms, [], 'it is delivered');
  await gw.minutes(4, false);
  t.same(gw.alarms, [], 'not for long enough');
  await gw.minutes(2, false);
  t.match(gw.alarms, [
    /^nothing is delivered and the buffer will be full in about \d+ h at the present rate; bring the way .* back, or raise buffer\.quotaBytes$/u,
  ]);
  const before = gw.told.length;
  await gw.minutes(30, false);
  t.ok(gw.told.length - before <= 1, 'told again by the hour, not by the minute');
  gw.flash = { ...gw.flash, roomBytes: 0 };
  await gw.minutes(1, false);
  t.match(gw.alarms, [/full in less than an hour/u]);
  gw.counts.delivered += 10;
  gw.counts.pending -= 10;
  await gw.minutes(1, false);
  t.same(gw.alarms, [], 'delivery goes on');
  await gw.stop();

  gw.config = { ...gw.config, fullAlarmHours: 0 };
  await gw.start();
  await gw.minutes(20, false);
  t.same(gw.alarms, [], 'switched off');
  await gw.stop();
});

void t.test('the count of a disk', async (t) => {
  const before: DiskCount = {
    identity: 'a',
    bootId: 'b1',
    counterBytes: 1000,
    writtenBytes: 5000,
    sinceUnixMs: 7,
  };
  const table: readonly (readonly [string, DiskCount | undefined, Partial<Disk>, number, number])[] = [
    ['first seen: what was written before does not count', undefined, { writtenBytes: bytes(900) }, 0, 99],
    ['the same boot', before, { writtenBytes: bytes(1600) }, 5600, 7],
    ['another boot counts from zero', before, { bootId: 'b2', writtenBytes: bytes(1600) }, 6600, 7],
    ['a count that went back', before, { writtenBytes: bytes(300) }, 5300, 7],
    ['another disk', before, { identity: 'c', writtenBytes: bytes(1600) }, 0, 99],
  ];
  for (const [what, from, change, writtenBytes, sinceUnixMs] of table) {
    const disk: Disk = {
      name: 'mmcblk0',
      type: 'sd',
      identity: 'a',
      bootId: 'b1',
      sizeBytes: bytes(1),
      writtenBytes: bytes(0),
      ...change,
    };
    t.match(countDisk(from, disk, 99), { writtenBytes, sinceUnixMs, counterBytes: disk.writtenBytes }, what);
  }
});

void t.test('the account over restarts', async (t) => {
  const gw = await machine();
  let saves = 0;
  gw.filesystem.onOperation = ({ kind, path }) => {
    if (kind === 'rename' && path.endsWith('wear.temp')) saves += 1;
    return undefined;
  };
  const written = (): number | undefined => gw.watch.figures().flash.disk.writtenBytes;
  await gw.disk(1_024_000);
  await gw.start();
  t.equal(written(), 0, 'begins with the installation');
  t.equal(saves, 1, 'a disk seen first is saved');
  for (let hour = 1; hour <= 5; hour++) {
    await gw.disk(1_024_000 + hour * 512_000);
    await gw.minutes(60);
  }
  t.equal(written(), 5 * 512_000);
  t.equal(saves, 6, 'then once an hour');
  await gw.stop();

  for (let restart = 0; restart < 20; restart++) {
    await gw.disk(1_024_000 + 6 * 512_000);
    await gw.start();
    t.equal(written(), 6 * 512_000, 'what was written meanwhile counts');
    await gw.minutes(2);
    await gw.stop();
  }
  t.equal(saves, 6, 'restarts within the hour do not save');

  await gw.boot('boot-2');
  await gw.disk(51_200);
  await gw.start();
  t.equal(written(), 5 * 512_000 + 51_200, 'a boot counts from zero; what was not saved yet is missing');
  t.equal(saves, 7);
  t.equal(gw.watch.figures().flash.disk.writtenSinceBootBytes, 51_200);
  await gw.minutes(61);
  const overall = gw.watch.figures().flash.bytesPerDayOverall ?? 0;
  t.ok(Math.abs(overall - 864_000 * 4096) < 1e7, 'the mean rate is that of the time that Baton ran');
  const ranMinutes = 5 * 60 + 61;
  t.equal(
    gw.watch.figures().flash.disk.bytesPerDayOverall,
    Math.round(((5 * 512_000) / ranMinutes) * 1440),
    'what was written while it did not run is not in its rate',
  );
  await gw.stop();

  await gw.write(`${node}/device/cid`, '9999\n');
  await gw.start();
  t.equal(written(), 0, 'another card begins anew');
  await gw.stop();

  gw.filesystem.onOperation = ({ kind, path }) =>
    kind === 'create' && path.includes('wear') ? { kind: 'error', errno: 'ENOSPC' } : undefined;
  await gw.boot('boot-3');
  await gw.start();
  t.match(
    gw.told.at(-2),
    /^warn: the account of what is written to flash is not kept: .*ENOSPC/u,
    'a full disk is told',
  );
  t.match(gw.told.at(-1), /^info: buffer/u, 'and the watch goes on');
  await gw.minutes(30);
  t.equal(gw.told.filter((text) => /ENOSPC/u.test(text)).length, 1);
  await gw.stop();
});

void t.test('a saved account that is none', async (t) => {
  const good = { ranMs: 1, bufferBytes: 2, diskBytes: 3, savedUnixMs: 4 };
  const disk = { identity: 'a', bootId: 'b', counterBytes: 1, writtenBytes: 2, sinceUnixMs: 3 };
  t.same(decodeWearState(good), good);
  t.same(decodeWearState({ ...good, disk }), { ...good, disk });
  const bad = [
    undefined, [], {}, { ...good, ranMs: -1 }, { ...good, diskBytes: '3' }, { ...good, disk: null }, { ...good, disk: {} },
    { ...good, disk: { ...disk, writtenBytes: undefined } },
  ]; // prettier-ignore
  for (const value of bad) t.throws(() => decodeWearState(value), { code: 'DECODE' });
});

void t.test('in the text of a status', async (t) => {
  const gw = await machine();
  await gw.start();
  const base: Omit<GatewayStatus, 'buffer' | 'flash'> = {
    device: 'gw1', pid: 1, uptimeMs: 1, links: [], levels: [], streams: [], sensors: [], alarms: [],
    handovers: { completed: 0, rolledBack: 0, failed: 0 }, service: { state: 'good' },
    commands: { received: 0, executed: 0, duplicates: 0 },
  }; // prettier-ignore
  const shown = (columns = 200): string => {
    const status = parseStatus(JSON.parse(JSON.stringify({ ...base, ...gw.watch.figures() })));
    return renderStatus(status, columns);
  };
  t.match(shown(), /space 512\.0 MiB {2}no rate yet\n/u);
  await gw.disk(332_000 * 512);
  await gw.wear('0x02 0x01', '0x01');
  await gw.minutes(60);
  const text = shown();
  t.comment(`\n${text}`);
  t.match(text, / {2}space 512\.0 MiB {2}full in 73 h without delivery, empty it would last 73 h\n/u);
  t.match(text, / {2}flash 140\.6 MiB written for 5\.5 MiB of readings, 25\.6 times {2}3\.3 GiB\/day\n/u);
  t.match(
    text,
    / {2}disk mmcblk0 emmc AJTD4R 14\.9 GiB\n {4}162\.1 MiB written since 2026-11-01 {2}3\.8 GiB\/day\n {4}at most 20 % of its life used {4}reserve normal\n/u,
  );
  t.match(
    text,
    / {2}card life 8\.1 years at the present rate of the disk\n {4}less than 0\.1 % used so far, if 14\.9 GiB take 3000 cycles at factor 4\n/u,
  );
  const ours = shown(80).split('\n').slice(-9);
  t.comment(ours.join('\n'));
  t.notOk(
    ours.some((line) => line.includes('…')),
    'nothing is cut off at 80 columns',
  );
  for (const line of shown(40).split('\n')) t.ok(line.length <= 40);
  t.throws(() => parseStatus({ ...base, ...gw.watch.figures(), flash: {} }), { code: 'DECODE' });
  await gw.stop();
});
