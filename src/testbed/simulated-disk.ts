/** What a simulated disk holds, and what of it a power cut may leave: see `SimulatedFilesystem`. */

/** Picks one of `options` possibilities, 0 <= n < options; 0 is always "as at the last sync", the last is newest. */
export type Choose = (options: number) => number;

/** Unit in which a disk writes. */
export const sectorBytes = 512;

/** A file or a directory. */
export type Entry = Inode | Directory;

/** A step of the entries of a directory that a power cut leaves whole or not at all. */
interface DirectoryChange {
  readonly set: readonly (readonly [string, Entry])[];
  readonly remove: readonly string[];
}

/** A directory, with its changes since its last sync. */
export class Directory {
  entries: Map<string, Entry> = new Map();
  #durable = new Map<string, Entry>();
  #changes: DirectoryChange[] = [];

  apply(change: DirectoryChange): void {
    this.#changes.push(change);
    applyChange(this.entries, change);
  }

  sync(): void {
    this.#durable = new Map(this.entries);
    this.#changes = [];
  }

  crash(choose: Choose, images: Map<Entry, Entry>): Directory {
    const left = new Map(this.#durable);
    const kept = choose(this.#changes.length + 1);
    for (const change of this.#changes.slice(0, kept)) applyChange(left, change);
    const image = new Directory();
    for (const [name, entry] of left) {
      const copy = images.get(entry) ?? entry.crash(choose, images);
      images.set(entry, copy);
      image.entries.set(name, copy);
    }
    image.sync();
    return image;
  }

  allocatedSectors(): number {
    let total = 0;
    for (const entry of this.entries.values()) total += entry.allocatedSectors();
    return total;
  }

  paths(prefix: string): string[] {
    return [...this.entries].flatMap(([name, entry]) =>
      entry instanceof Directory ? entry.paths(`${prefix}/${name}`) : [`${prefix}/${name}`],
    );
  }
}

/** A file, with every version of its sectors since its last sync. Sectors are never changed in place, so that images share them. */
export class Inode {
  size: number = 0;
  #current = new Map<number, Uint8Array>();
  #durable = new Map<number, Uint8Array>();
  #durableSize = 0;
  /** Per sector every version written since the last datasync that counts for it. */
  #versions = new Map<number, Uint8Array[]>();
  #sizes: number[] = [];
  #unsynced = new Set<number>();
  #sizeUnsynced = false;

  read(target: Uint8Array, position: number): number {
    const end = Math.min(this.size, position + target.length);
    for (let at = position; at < end;) {
      const offset = at % sectorBytes;
      const length = Math.min(sectorBytes - offset, end - at);
      const sector = this.#current.get((at - offset) / sectorBytes);
      const into = target.subarray(at - position, at - position + length);
      if (sector === undefined) into.fill(0);
      else into.set(sector.subarray(offset, offset + length));
      at += length;
    }
    return Math.max(0, end - position);
  }

  write(data: Uint8Array, position: number): void {
    for (let done = 0; done < data.length;) {
      const at = position + done;
      const offset = at % sectorBytes;
      const length = Math.min(sectorBytes - offset, data.length - done);
      const index = (at - offset) / sectorBytes;
      const sector = Uint8Array.from(this.#current.get(index) ?? new Uint8Array(sectorBytes));
      sector.set(data.subarray(done, done + length), offset);
      this.#current.set(index, sector);
      const versions = this.#versions.get(index) ?? [];
      versions.push(sector);
      this.#versions.set(index, versions);
      this.#unsynced.add(index);
      done += length;
    }
    if (position + data.length > this.size) {
      this.size = position + data.length;
      this.#sizes.push(this.size);
      this.#sizeUnsynced = true;
    }
  }

  /** How many of `length` octets at `position` can be written with `room` octets of free disk. */
  fitting(length: number, position: number, room: number): number {
    if (room === Number.POSITIVE_INFINITY) return length;
    let free = Math.max(0, Math.floor(room / sectorBytes));
    let end = position;
    while (end < position + length) {
      const index = Math.floor(end / sectorBytes);
      if (!this.#current.has(index)) {
        if (free === 0) break;
        free -= 1;
      }
      end = (index + 1) * sectorBytes;
    }
    return Math.min(length, end - position);
  }

  sync(): void {
    for (const index of this.#unsynced) {
      const sector = this.#current.get(index);
      if (sector !== undefined) this.#durable.set(index, sector);
      this.#versions.delete(index);
    }
    this.#unsynced.clear();
    if (this.#sizeUnsynced || this.#versions.size === 0) {
      this.#durableSize = this.size;
      this.#sizes = [];
    }
    this.#sizeUnsynced = false;
  }

  /** The kernel marks the pages clean although they never reached the disk. */
  failSync(): void {
    this.#unsynced.clear();
    this.#sizeUnsynced = false;
  }

  damage(position: number, length: number, change: (octet: number) => number): void {
    for (const sectors of [this.#current, this.#durable]) {
      for (let at = position; at < Math.min(position + length, this.size); at++) {
        const index = Math.floor(at / sectorBytes);
        const sector = Uint8Array.from(sectors.get(index) ?? new Uint8Array(sectorBytes));
        sector[at % sectorBytes] = change(sector[at % sectorBytes] ?? 0);
        sectors.set(index, sector);
      }
    }
  }

  content(): Uint8Array {
    const data = new Uint8Array(this.size);
    this.read(data, 0);
    return data;
  }

  crash(choose: Choose): Inode {
    const image = new Inode();
    image.#current = new Map(this.#durable);
    const sizes = [this.#durableSize, ...this.#sizes];
    image.size = sizes[choose(sizes.length)] ?? this.#durableSize;
    for (const [index, versions] of [...this.#versions].sort(([a], [b]) => a - b)) {
      const version = versions[choose(versions.length + 1) - 1];
      if (version === undefined) continue;
      image.#current.set(index, version);
      image.size = Math.max(image.size, Math.min(this.size, (index + 1) * sectorBytes));
    }
    image.#durable = new Map(image.#current);
    image.#durableSize = image.size;
    return image;
  }

  allocatedSectors(): number {
    return this.#current.size;
  }
}

function applyChange(entries: Map<string, Entry>, change: DirectoryChange): void {
  for (const name of change.remove) entries.delete(name);
  for (const [name, entry] of change.set) entries.set(name, entry);
}
