// Proves that the disk below a directory is told from a sysfs tree as the kernel lays it out (written to a temporary
// directory): whole disk of a partition, sort, size, octets written, wear of an eMMC by every documented value; that what
// is no disk is unknown with its reason; and that the real system is read, whatever sizes its files report.
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import {
  SysfsBlockDevices,
  deviceNumberOf,
  parseLifeTime,
  parseMountType,
  parsePreEol,
  parseSectorsWritten,
  splitDeviceNumber,
} from '../../src/host/block-device.ts';
import type { DiskReading } from '../../src/host/block-device.ts';
import { NodeFilesystem } from '../../src/host/filesystem.ts';

const filesystem = new NodeFilesystem();
const statLine =
  '  205953    38662  5819810   207347   338507   280040 1000 146476 0 168340 429061 0 0 0 0 0 0\n';

/** Writes files and links (`-> target`) below a directory of their own, and reads the disk of device `number`. */
async function readTree(
  t: Test,
  number: readonly [number, number],
  tree: Readonly<Record<string, string>>,
): Promise<DiskReading> {
  const root = await mkdtemp(join(tmpdir(), 'baton-sysfs-'));
  t.teardown(() => rm(root, { recursive: true }));
  const all = { 'proc/sys/kernel/random/boot_id': 'boot-1\n', ...tree };
  for (const [path, content] of Object.entries(all)) {
    const file = join(root, path);
    await mkdir(dirname(file), { recursive: true });
    if (content.startsWith('-> ')) await symlink(content.slice(3), file);
    else await writeFile(file, content);
  }
  const [major, minor] = number;
  const devices = new SysfsBlockDevices({
    filesystem,
    sysRoot: join(root, 'sys'),
    procRoot: join(root, 'proc'),
    deviceNumber: () => Promise.resolve({ major, minor }),
  });
  return devices.read('/data');
}

const mmc = 'sys/devices/platform/mmc0/mmc0:0001/block/mmcblk0';

function cardTree(device: Readonly<Record<string, string>>): Record<string, string> {
  const below = Object.entries(device).map(([name, text]) => [`${mmc}/device/${name}`, text]);
  return {
    'sys/dev/block/179:0': '-> ../../devices/platform/mmc0/mmc0:0001/block/mmcblk0',
    'sys/dev/block/179:2': '-> ../../devices/platform/mmc0/mmc0:0001/block/mmcblk0/mmcblk0p2',
    [`${mmc}/uevent`]: 'MAJOR=179\nMINOR=0\nDEVNAME=mmcblk0\nDEVTYPE=disk\nDISKSEQ=1\n',
    [`${mmc}/size`]: '30535680\n',
    [`${mmc}/stat`]: statLine,
    [`${mmc}/mmcblk0p2/uevent`]: 'MAJOR=179\nMINOR=2\nDEVNAME=mmcblk0p2\nDEVTYPE=partition\nPARTN=2\n',
    [`${mmc}/mmcblk0p2/size`]: '1\n',
    [`${mmc}/mmcblk0p2/stat`]: statLine.replace('1000', '7'),
    ...(Object.fromEntries(below) as Record<string, string>),
  };
}

const plain = (name: string, extra: Readonly<Record<string, string>> = {}): Record<string, string> => ({
  [`sys/dev/block/8:0/uevent`]: `DEVNAME=${name}\nDEVTYPE=disk\n`,
  'sys/dev/block/8:0/size': '2048\n',
  'sys/dev/block/8:0/stat': statLine,
  ...extra,
});
const device = { 'sys/dev/block/8:0/device/uevent': 'DRIVER=sd\n' };

void t.test('disks', async (t) => {
  const emmc = {
    type: 'MMC\n',
    name: 'AJTD4R\n',
    cid: '15010041\n',
    life_time: '0x02 0x01\n',
    pre_eol_info: '0x01\n',
  };
  const whole = {
    kind: 'disk',
    disk: {
      name: 'mmcblk0',
      type: 'emmc',
      model: 'AJTD4R',
      identity: '15010041',
      sizeBytes: 30535680 * 512,
      writtenBytes: 512_000,
      bootId: 'boot-1',
      lifeTime: { typeA: 2, typeB: 1 },
      preEol: 'normal',
    },
  };
  t.same(await readTree(t, [179, 0], cardTree(emmc)), whole);
  t.same(await readTree(t, [179, 2], cardTree(emmc)), whole, 'of a partition the whole disk');

  const sd = await readTree(
    t,
    [179, 2],
    cardTree({ type: 'SD\n', name: 'SC16G\n', cid: '0353\n', life_time: '0x02 0x01\n' }),
  );
  t.match(sd, { disk: { type: 'sd', model: 'SC16G', identity: '0353' } });
  t.notOk(sd.kind === 'disk' && sd.disk.lifeTime, 'an SD card tells no wear');

  const old = await readTree(t, [179, 0], cardTree({ type: 'MMC\n' }));
  t.match(old, { disk: { type: 'emmc', identity: `mmcblk0/${30535680 * 512}` } }, 'an eMMC before 5.0');
  t.notOk(old.kind === 'disk' && (old.disk.lifeTime ?? old.disk.preEol ?? old.disk.model));

  const nvme = plain('nvme0n1', { ...device, 'sys/dev/block/8:0/device/model': 'KINGSTON  \n', 'sys/dev/block/8:0/device/serial': '50026\n' }); // prettier-ignore
  t.match(await readTree(t, [8, 0], nvme), { disk: { type: 'nvme', model: 'KINGSTON', identity: '50026' } });
  t.match(await readTree(t, [8, 0], plain('sda', device)), { disk: { type: 'other', sizeBytes: 1_048_576 } });
});

void t.test('what is no disk is unknown, with the reason', async (t) => {
  const mounts = [
    '22 27 0:21 / /proc rw,relatime - proc proc rw',
    '36 35 0:45 / / rw,noatime master:1 shared:2 - overlay overlay rw,lowerdir=/a - b',
    '40 36 0:50 / /run rw - tmpfs tmpfs rw',
    '',
  ].join('\n');
  const none = { 'proc/self/mountinfo': mounts };
  const table: readonly (readonly [readonly [number, number], Record<string, string>, RegExp])[] = [
    [[0, 45], none, /^its file system is overlay, which has no disk of its own$/u],
    [[0, 50], none, /file system is tmpfs/u],
    [[0, 60], none, /^its file system has no disk of its own \(device 0:60\)$/u],
    [[0, 45], {}, /no disk of its own \(device 0:45\)$/u],
    [[8, 0], {}, /sys\/dev\/block\/8:0 does not exist$/u],
    [[8, 0], plain('loop3'), /^loop3 is a loop device; its disk is not guessed$/u],
    [[8, 0], plain('dm-0'), /^dm-0 is a mapped device/u],
    [[8, 0], plain('md127'), /^md127 is a RAID/u],
    [[8, 0], plain('zram0'), /^zram0 is memory/u],
    [[8, 0], plain('nbd0'), /^nbd0 is a virtual device/u],
    [[8, 0], plain('\u001b[2J', device), /^device 8:0 has no name$/u],
    [[8, 0], plain('sda', { ...device, 'sys/dev/block/8:0/stat': '1 2 3\n' }), /^sda does not tell its size/u],
    [[8, 0], plain('sda', { ...device, 'sys/dev/block/8:0/size': 'big\n' }), /^sda does not tell its size/u],
    [[8, 0], plain('sda', { ...device, 'proc/sys/kernel/random/boot_id': '' }), /^sda does not tell/u],
  ]; // prettier-ignore
  for (const [number, tree, pattern] of table) {
    const reading = await readTree(t, number, tree);
    t.match(reading, { kind: 'unknown', reason: pattern }, String(pattern));
  }
});

void t.test('formats', async (t) => {
  const lifeTimes: readonly (readonly [string, unknown])[] = [
    ['0x02 0x01\n', { typeA: 2, typeB: 1 }],
    ['0x01 0x01', { typeA: 1, typeB: 1 }],
    ['0x0A 0x0b', { typeA: 10, typeB: 11 }],
    ['0x00 0x05', { typeB: 5 }],
    ['0x03 0x0c', { typeA: 3 }],
    ['0x00 0x00', undefined],
    ['', undefined],
    ['2 1', undefined],
    ['0x02', undefined],
    ['0x02 0x01 0x01', undefined],
  ];
  for (const [text, expected] of lifeTimes) t.same(parseLifeTime(text), expected, text);
  const states: readonly (readonly [string, unknown])[] = [
    ['0x01\n', 'normal'], ['0x02', 'warning'], ['0x03', 'urgent'], ['0x00', undefined], ['0x04', undefined], ['', undefined],
    ['urgent', undefined],
  ]; // prettier-ignore
  for (const [text, expected] of states) t.equal(parsePreEol(text), expected, text);
  const stats: readonly (readonly [string, number | undefined])[] = [
    [statLine, 1000],
    ['1 2 3 4 5 6 7 8 9 10 11', 7],
    ['1 2 3 4 5 6 7 8 9 10', undefined],
    ['1 2 3 4 5 6 -7 8 9 10 11', undefined],
    ['1 2 3 4 5 6 99999999999999999999 8 9 10 11', undefined],
    ['', undefined],
  ];
  for (const [text, expected] of stats) t.equal(parseSectorsWritten(text), expected, text);
  t.equal(parseMountType('1 2 8:1 / / rw - ext4 /dev/sda1 rw', '8:1'), 'ext4');
  t.equal(parseMountType('', '8:1'), undefined);
  // mmcblk0p2, an anonymous device, and a minor number beyond 8 bits.
  t.same(splitDeviceNumber(0xb302n), { major: 179, minor: 2 });
  t.same(splitDeviceNumber(45n), { major: 0, minor: 45 });
  t.same(splitDeviceNumber(0x0010_0301n), { major: 3, minor: 0x101 });
});

void t.test('the machine that runs this', async (t) => {
  const devices = new SysfsBlockDevices({ filesystem });
  const here = await devices.read(tmpdir());
  t.comment(JSON.stringify(here));
  if (here.kind === 'disk') {
    t.ok(here.disk.sizeBytes > 0);
    t.match(here.disk.bootId, /^[0-9a-f-]{36}$/u);
  } else t.ok(here.reason.length > 10);
  // A file system in memory on every Linux: its files report size 0, and it has no disk.
  t.match(await devices.read('/proc'), {
    kind: 'unknown',
    reason: 'its file system is proc, which has no disk of its own',
  });
  t.match(await devices.read('/no/such/place'), {
    kind: 'unknown',
    reason: /cannot stat \/no\/such\/place/u,
  });
  await t.rejects(deviceNumberOf('/no/such/place'), { code: 'IO' });
});
