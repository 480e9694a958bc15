import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { NodeClock, every } from '../../../../src/host/clock.ts';
import { millis } from '../../../../src/base/units.ts';
import type { Engine, EngineOptions } from '../engine.ts';

/** A segment as long as a slot of Baton's log. */
const segmentBytes = 4 * 1024 * 1024;
const headBytes = 16;
const windowBytes = 64 * 1024;

/**
 * What is written when nobody thinks of the card: records at the end of a growing file, fdatasync after each commit, a
 * new file every 4 MiB, files that are read removed, the place of the reader noted each second without a flush. A
 * record is u32 length, 12 octets for stream and times, and the payload.
 */
export async function openAppendLog({ directory, isBulk = false }: EngineOptions): Promise<Engine> {
  const names = await fs.readdir(directory);
  const segments = names
    .filter((name) => name.endsWith('.log'))
    .map((name) => Number.parseInt(name, 10))
    .sort((a, b) => a - b);
  const text = await fs.readFile(join(directory, 'cursor'), 'utf8').catch(() => '');
  const place = text === '' ? undefined : (JSON.parse(text) as Place);
  const engine = new AppendLog(directory, segments, place, isBulk);
  await engine.roll();
  return engine;
}

interface Place {
  segment: number;
  offset: number;
}

class AppendLog implements Engine {
  readonly #directory: string;
  readonly #isBulk: boolean;
  #segments: number[];
  #tail: { handle: fs.FileHandle; length: number } | undefined;
  #head: { handle: fs.FileHandle; segment: number } | undefined;
  #place: Place;
  #next: Place;
  readonly #stop: () => void;

  constructor(directory: string, segments: readonly number[], place: Place | undefined, isBulk: boolean) {
    this.#directory = directory;
    this.#segments = [...segments];
    this.#isBulk = isBulk;
    this.#place = place ?? { segment: segments[0] ?? 1, offset: 0 };
    this.#next = this.#place;
    this.#stop = every(new NodeClock(), millis(1000), () => void this.#save());
  }

  async append(payloads: readonly Uint8Array[]): Promise<void> {
    const pieces: Uint8Array[] = [];
    for (const payload of payloads) {
      const head = new Uint8Array(headBytes);
      new DataView(head.buffer).setUint32(0, payload.length, true);
      pieces.push(head, payload);
    }
    const data = Buffer.concat(pieces);
    if ((this.#tail?.length ?? 0) + data.length > segmentBytes) await this.roll();
    const tail = this.#tail;
    if (tail === undefined) throw new Error('the append log is closed');
    await tail.handle.write(data, 0, data.length, tail.length);
    if (!this.#isBulk) await tail.handle.datasync();
    tail.length += data.length;
  }

  async deliver(max: number): Promise<readonly Uint8Array[]> {
    const payloads: Uint8Array[] = [];
    let { segment, offset } = this.#place;
    while (payloads.length < max) {
      const data = await this.#read(segment, offset);
      const before = payloads.length;
      for (let at = 0; payloads.length < max && at + headBytes <= data.length;) {
        const length = new DataView(data.buffer, data.byteOffset).getUint32(at, true);
        if (at + headBytes + length > data.length) break;
        payloads.push(data.subarray(at + headBytes, at + headBytes + length));
        at += headBytes + length;
        offset += headBytes + length;
      }
      if (payloads.length > before) continue;
      const following = this.#segments.find((other) => other > segment);
      if (following === undefined) break;
      [segment, offset] = [following, 0];
    }
    this.#next = { segment, offset };
    return payloads;
  }

  async acknowledge(): Promise<void> {
    this.#place = this.#next;
    const done = this.#segments.filter((segment) => segment < this.#place.segment);
    if (done.length === 0) return;
    this.#segments = this.#segments.filter((segment) => segment >= this.#place.segment);
    await this.#save();
    for (const segment of done) await fs.rm(this.#path(segment));
  }

  async close(): Promise<void> {
    this.#stop();
    await this.#save();
    await this.#tail?.handle.datasync();
    await this.#tail?.handle.close();
    await this.#head?.handle.close();
  }

  /** Begins a new segment. */
  async roll(): Promise<void> {
    await this.#tail?.handle.close();
    const segment = (this.#segments.at(-1) ?? 0) + 1;
    this.#segments.push(segment);
    this.#tail = { handle: await fs.open(this.#path(segment), 'w'), length: 0 };
  }

  async #read(segment: number, offset: number): Promise<Buffer> {
    if (this.#head?.segment !== segment) {
      await this.#head?.handle.close();
      this.#head = { handle: await fs.open(this.#path(segment), 'r'), segment };
    }
    const window = Buffer.alloc(windowBytes);
    const { bytesRead } = await this.#head.handle.read(window, 0, windowBytes, offset);
    return window.subarray(0, bytesRead);
  }

  async #save(): Promise<void> {
    await fs.writeFile(join(this.#directory, 'cursor'), JSON.stringify(this.#place));
  }

  #path(segment: number): string {
    return join(this.#directory, `${segment}.log`);
  }
}
