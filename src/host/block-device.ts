/**
 * The disk below a directory, as Linux tells it in sysfs: /sys/dev/block/MAJOR:MINOR, found by the device number of the
 * directory; of a partition, the directory above is the whole disk. What cannot be told for certain is `unknown` with
 * the reason: a file system without a disk of its own (tmpfs, overlay, btrfs) and devices that stand on others (loop,
 * device mapper, md, zram), whose disk is not guessed.
 */
import * as fs from 'node:fs/promises';
import { IoError, errorText } from '../base/errors.ts';
import { bytes } from '../base/units.ts';
import type { Bytes } from '../base/units.ts';
import type { Filesystem } from './filesystem.ts';

/** Reads what is known of the disk below a directory; never rejects for what the system does. */
export interface BlockDevices {
  read(directory: string): Promise<DiskReading>;
}

/** A disk, or why none can be named. */
export type DiskReading =
  { readonly kind: 'disk'; readonly disk: Disk } | { readonly kind: 'unknown'; readonly reason: string };

/** Sort of a disk; `other` is any that says nothing of its wear here, such as USB, SATA and virtual disks. */
export type DiskType = 'emmc' | 'sd' | 'nvme' | 'other';

/** A whole disk. */
export interface Disk {
  /** The kernel's name, such as `mmcblk0`. */
  readonly name: string;
  readonly type: DiskType;
  /** Product name of the CID (SD, eMMC) or model; foreign text. */
  readonly model?: string;
  /** Tells this disk from another one that bears its name later: the CID or serial number where there is one. */
  readonly identity: string;
  readonly sizeBytes: Bytes;
  /** Octets written to the whole disk since the boot `bootId`, whoever wrote them; see `parseSectorsWritten`. */
  readonly writtenBytes: Bytes;
  readonly bootId: string;
  /** Of eMMC 5.0 and newer; as the kernel read it when it started the card. */
  readonly lifeTime?: LifeTime;
  readonly preEol?: PreEol;
}

/**
 * Device life time estimation of an eMMC (JESD84-B51, EXT_CSD 268 and 269) for memory of type A (SLC) and B (MLC, TLC):
 * n from 1 to 10 says that between 10 (n - 1) and 10 n percent of its life are used, 11 that it is exceeded.
 */
export interface LifeTime {
  readonly typeA?: number;
  readonly typeB?: number;
}

/** Reserved blocks used up (EXT_CSD 267): less than 80 %, 80 %, 90 %. */
export type PreEol = 'normal' | 'warning' | 'urgent';

/** Major and minor number of the device that holds a path. */
export interface DeviceNumber {
  readonly major: number;
  readonly minor: number;
}

/** `BlockDevices` over sysfs and procfs; the roots and the device number can be replaced by a test's own. */
export class SysfsBlockDevices implements BlockDevices {
  readonly #filesystem: Filesystem;
  readonly #sysRoot: string;
  readonly #procRoot: string;
  readonly #deviceNumber: (path: string) => Promise<DeviceNumber>;

  constructor(options: {
    filesystem: Filesystem;
    sysRoot?: string;
    procRoot?: string;
    deviceNumber?: (path: string) => Promise<DeviceNumber>;
  }) {
    this.#filesystem = options.filesystem;
    this.#sysRoot = options.sysRoot ?? '/sys';
    this.#procRoot = options.procRoot ?? '/proc';
    this.#deviceNumber = options.deviceNumber ?? deviceNumberOf;
  }

  async read(directory: string): Promise<DiskReading> {
    try {
      return await this.#read(directory);
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      return unknown(errorText(error));
    }
  }

  async #read(directory: string): Promise<DiskReading> {
    const number = await this.#deviceNumber(directory);
    const label = `${number.major}:${number.minor}`;
    if (number.major === 0) return unknown(await this.#withoutDisk(label));
    const node = `${this.#sysRoot}/dev/block/${label}`;
    const own = await this.#uevent(node);
    if (own === undefined) return unknown(`${node} does not exist`);
    // The kernel resolves the link of a partition first, so that ".." is its disk.
    const base = own.get('DEVTYPE') === 'partition' ? `${node}/..` : node;
    const name = (await this.#uevent(base))?.get('DEVNAME') ?? '';
    if (!/^[A-Za-z0-9!_-]{1,32}$/u.test(name)) return unknown(`device ${label} has no name`);
    if (!(await this.#exists(`${base}/device`)))
      return unknown(`${virtualKind(name)}; its disk is not guessed`);
    const sizeBytes = parseCount(await this.#text(`${base}/size`));
    const sectors = parseSectorsWritten(await this.#text(`${base}/stat`));
    const bootId = await this.#text(`${this.#procRoot}/sys/kernel/random/boot_id`);
    if (sizeBytes === undefined || sectors === undefined || bootId === '') {
      return unknown(`${name} does not tell its size and what was written to it`);
    }
    return { kind: 'disk', disk: await this.#disk({ base, name, sectors, size: sizeBytes, bootId }) };
  }

  async #disk(found: {
    base: string;
    name: string;
    size: number;
    sectors: number;
    bootId: string;
  }): Promise<Disk> {
    const { base, name, bootId } = found;
    const type = diskType(name, await this.#text(`${base}/device/type`));
    const isCard = type === 'emmc' || type === 'sd';
    const model = await this.#text(`${base}/device/${isCard ? 'name' : 'model'}`);
    const serial = await this.#text(`${base}/device/${isCard ? 'cid' : 'serial'}`);
    const lifeTime =
      type === 'emmc' ? parseLifeTime(await this.#text(`${base}/device/life_time`)) : undefined;
    const preEol = type === 'emmc' ? parsePreEol(await this.#text(`${base}/device/pre_eol_info`)) : undefined;
    const sizeBytes = bytes(found.size * sectorBytes);
    return {
      name,
      type,
      ...(model === '' ? {} : { model }),
      identity: serial === '' ? `${name}/${sizeBytes}` : serial,
      sizeBytes,
      writtenBytes: bytes(found.sectors * sectorBytes),
      bootId,
      ...(lifeTime === undefined ? {} : { lifeTime }),
      ...(preEol === undefined ? {} : { preEol }),
    };
  }

  /** The kind of file system that has a device number without a device. */
  async #withoutDisk(label: string): Promise<string> {
    const mounts = await this.#text(`${this.#procRoot}/self/mountinfo`, mountsBytesMax);
    const type = parseMountType(mounts, label);
    return type === undefined
      ? `its file system has no disk of its own (device ${label})`
      : `its file system is ${type}, which has no disk of its own`;
  }

  async #uevent(node: string): Promise<Map<string, string> | undefined> {
    const text = await this.#text(`${node}/uevent`);
    if (text === '') return undefined;
    return new Map(
      text.split('\n').map((line): [string, string] => {
        const at = line.indexOf('=');
        return [line.slice(0, at), line.slice(at + 1)];
      }),
    );
  }

  async #exists(directory: string): Promise<boolean> {
    return this.#filesystem.list(directory).then(
      () => true,
      () => false,
    );
  }

  /** A file of sysfs or procfs, trimmed; empty when there is none. Their sizes say nothing (4096 or 0). */
  async #text(path: string, bytesMax = attributeBytesMax): Promise<string> {
    try {
      const handle = await this.#filesystem.open(path, { readOnly: true });
      try {
        const data = new Uint8Array(bytesMax);
        const length = await handle.read(data, 0);
        return Buffer.from(data.subarray(0, length)).toString('utf8').trim();
      } finally {
        await handle.close();
      }
    } catch (error) {
      if (error instanceof IoError) return '';
      throw error;
    }
  }
}

/** Fields of `life_time`, such as `0x02 0x01`: type A, type B; 0x00 is "not defined". */
export function parseLifeTime(text: string): LifeTime | undefined {
  const match = /^0x([0-9a-f]{2})\s+0x([0-9a-f]{2})$/iu.exec(text.trim());
  const [typeA, typeB] = [match?.[1], match?.[2]].map((digits) => {
    const value = Number.parseInt(digits ?? '', 16);
    return value >= 1 && value <= 11 ? value : undefined;
  });
  if (typeA === undefined && typeB === undefined) return undefined;
  return { ...(typeA === undefined ? {} : { typeA }), ...(typeB === undefined ? {} : { typeB }) };
}

/** `pre_eol_info`, such as `0x01`; undefined for "not defined" and reserved values. */
export function parsePreEol(text: string): PreEol | undefined {
  const match = /^0x([0-9a-f]{1,2})$/iu.exec(text.trim());
  const known: readonly (PreEol | undefined)[] = [undefined, 'normal', 'warning', 'urgent'];
  return known[Number.parseInt(match?.[1] ?? '', 16)];
}

/**
 * Field 7 of a `stat` file (Documentation/block/stat.rst): sectors of 512 octets written since boot. Kernels of 32 bit
 * count to 2^32 sectors, 2 TiB, and begin again.
 */
export function parseSectorsWritten(text: string): number | undefined {
  const fields = text.trim().split(/\s+/u);
  return fields.length < 11 ? undefined : parseCount(fields[6] ?? '');
}

/** Type of the file system that /proc/self/mountinfo lists for a device `major:minor` (proc(5)). */
export function parseMountType(mounts: string, device: string): string | undefined {
  for (const line of mounts.split('\n')) {
    const fields = line.split(' ');
    if (fields[2] === device) return fields[fields.indexOf('-') + 1];
  }
  return undefined;
}

/** Device number of a path, as stat(2) gives it; throws `IoError`. */
export async function deviceNumberOf(path: string): Promise<DeviceNumber> {
  try {
    const { dev } = await fs.stat(path, { bigint: true });
    return splitDeviceNumber(dev);
  } catch (cause) {
    throw new IoError(`cannot stat ${path}: ${errorText(cause)}`, { cause });
  }
}

/** Major and minor number in Linux's encoding (gnu_dev_major(3)). */
export function splitDeviceNumber(dev: bigint): DeviceNumber {
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & 0xffff_f000n);
  const minor = (dev & 0xffn) | ((dev >> 12n) & 0xffff_ff00n);
  return { major: Number(major), minor: Number(minor) };
}

const sectorBytes = 512;
const attributeBytesMax = 8192;
const mountsBytesMax = 256 * 1024;

function parseCount(text: string): number | undefined {
  if (!/^\d+$/u.test(text)) return undefined;
  const value = Number(text);
  return Number.isSafeInteger(value * sectorBytes) ? value : undefined;
}

function diskType(name: string, cardType: string): DiskType {
  if (name.startsWith('mmcblk') && cardType === 'MMC') return 'emmc';
  if (name.startsWith('mmcblk') && cardType === 'SD') return 'sd';
  return name.startsWith('nvme') ? 'nvme' : 'other';
}

function virtualKind(name: string): string {
  const kinds: readonly [RegExp, string][] = [
    [/^loop\d/u, 'a loop device'],
    [/^dm-\d/u, 'a mapped device (dm: LVM, LUKS or the like)'],
    [/^md/u, 'a RAID'],
    [/^z?ram\d/u, 'memory'],
  ];
  const found = kinds.find(([pattern]) => pattern.test(name));
  return `${name} is ${found?.[1] ?? 'a virtual device'}`;
}

function unknown(reason: string): DiskReading {
  return { kind: 'unknown', reason };
}
