import type { Filesystem } from '../host/filesystem.ts';

const directories: readonly string[] = ['/proc/sys/net/ipv4/conf', '/proc/sys/net/ipv6/conf'];
const settingName = 'ignore_routes_with_linkdown';
const on = Buffer.from('1\n');
const off = Buffer.from('0\n');

/**
 * Has the kernel ignore routes over a link without carrier, on the interfaces of our links alone: what is sent there is then
 * refused at once instead of being taken and lost, before the event of the loss is there (which may come a second late). Where
 * it may not be set nothing is said: the routes of such a link are removed when the event comes.
 */
export class LinkdownSetting {
  readonly #filesystem: Filesystem;
  /** Paths where it was off. */
  readonly #changed = new Set<string>();
  readonly #tried = new Set<string>();

  constructor(filesystem: Filesystem) {
    this.#filesystem = filesystem;
  }

  /** Sets it for those of these interfaces that have not been seen yet, or have been away. */
  async apply(interfaceNames: readonly string[]): Promise<void> {
    const wanted = interfaceNames.flatMap((name) =>
      directories.map((folder) => `${folder}/${name}/${settingName}`),
    );
    for (const path of this.#tried) if (!wanted.includes(path)) this.#tried.delete(path);
    for (const path of wanted) {
      if (this.#tried.has(path)) continue;
      this.#tried.add(path);
      await this.#set(path);
    }
  }

  /** Switches it off where it was off before. */
  async restore(): Promise<void> {
    for (const path of this.#changed) await this.#exchange(path, off).catch(() => undefined);
    this.#changed.clear();
  }

  async #set(path: string): Promise<void> {
    try {
      const before = await this.#exchange(path, on);
      if (before === off[0]) this.#changed.add(path);
    } catch {
      // No such setting, or no right to it.
    }
  }

  /** Writes the setting; the first octet of what stood there. */
  async #exchange(path: string, value: Uint8Array): Promise<number | undefined> {
    const handle = await this.#filesystem.open(path);
    try {
      const before = new Uint8Array(1);
      await handle.read(before, 0);
      if (before[0] !== value[0]) await handle.write(value, 0);
      return before[0];
    } finally {
      await handle.close();
    }
  }
}
