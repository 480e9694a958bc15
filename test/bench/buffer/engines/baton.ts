import * as fs from 'node:fs/promises';
import { bytes, millis, streamName, unixMillis } from '../../../../src/base/units.ts';
import type { Seq, StreamName } from '../../../../src/base/units.ts';
import { openReadingLog } from '../../../../src/buffer/reading-log.ts';
import type { ReadingLog } from '../../../../src/buffer/reading-log.ts';
import { NodeClock } from '../../../../src/host/clock.ts';
import { NodeEntropy } from '../../../../src/host/entropy.ts';
import { NodeFilesystem } from '../../../../src/host/filesystem.ts';
import { makePayloads } from '../engine.ts';
import type { Engine, EngineOptions } from '../engine.ts';

const classes = ['A', 'B', 'C'] as const;
const held = streamName('held');

/** Baton's log as the gateway opens it: slots of 4 MiB, the cursor written a second after an acknowledgement. */
export async function openBaton(options: EngineOptions): Promise<Engine> {
  const { directory, quotaBytes, priorities = 1, isShortOfSpace = false } = options;
  const names = Array.from({ length: priorities }, (_, index) => streamName(`stream-${index}`));
  const streams = names.map((name, index) => ({
    name,
    durability: classes[index] ?? ('B' as const),
    priority: index + 1,
  }));
  const others = isShortOfSpace ? [{ name: held, durability: 'A' as const, priority: priorities + 1 }] : [];
  const log = await openReadingLog({
    filesystem: new NodeFilesystem(),
    clock: new NodeClock(),
    entropy: new NodeEntropy(),
    directory,
    limits: { quotaBytes: bytes(quotaBytes) },
    streams: [...streams, ...others],
    onDamage: (damage) => console.error(`baton: ${damage.message}`),
  });
  return new BatonEngine(log, names, options);
}

class BatonEngine implements Engine {
  readonly #log: ReadingLog;
  readonly #streams: readonly StreamName[];
  readonly #options: EngineOptions;
  readonly #clock = new NodeClock();
  #delivered = new Map<StreamName, Seq>();
  #turn = 0;

  constructor(log: ReadingLog, streams: readonly StreamName[], options: EngineOptions) {
    this.#log = log;
    this.#streams = streams;
    this.#options = options;
  }

  async append(payloads: readonly Uint8Array[]): Promise<void> {
    await this.#append(payloads, this.#streams);
  }

  async deliver(max: number): Promise<readonly Uint8Array[]> {
    this.#delivered = new Map();
    const payloads: Uint8Array[] = [];
    for (const stream of this.#streams) {
      const records = await this.#log.peek(stream, Math.ceil(max / this.#streams.length));
      const last = records.at(-1);
      if (last !== undefined) this.#delivered.set(stream, last.seq);
      for (const { payload } of records) payloads.push(payload);
    }
    return payloads;
  }

  async acknowledge(): Promise<void> {
    for (const [stream, seq] of this.#delivered) this.#log.acknowledge(stream, seq);
  }

  /** Takes every slot into use once, so that none is left to be filled with zeros, and empties them again. */
  async prepareSteady(): Promise<void> {
    const { quotaBytes, isShortOfSpace = false } = this.#options;
    if (isShortOfSpace) await this.#fill(quotaBytes / 2 + 1, [held]);
    await this.#fill(quotaBytes, this.#streams);
    while ((await this.deliver(4096)).length > 0) await this.acknowledge();
    await this.#log.sync();
    const { size } = await fs.stat(`${this.#options.directory}/slots`);
    const { usedBytes } = this.#log.stats();
    if (size < quotaBytes || 2 * usedBytes > quotaBytes !== isShortOfSpace) {
      throw new Error(`${size} octets of the log were made and ${usedBytes} are in use, of ${quotaBytes}`);
    }
  }

  async #fill(usedBytes: number, streams: readonly StreamName[]): Promise<void> {
    while (this.#log.stats().usedBytes < usedBytes) await this.#append(makePayloads(0, 2048), streams);
  }

  async close(): Promise<void> {
    await this.#log.close();
  }

  async #append(payloads: readonly Uint8Array[], streams: readonly StreamName[]): Promise<void> {
    const wall = { unixMs: unixMillis(this.#clock.unixMs()), source: 'ntp' as const };
    const monotonicMs = millis(this.#clock.monotonicMs());
    const results = await Promise.all(
      payloads.map((payload) => {
        const stream = streams[this.#turn++ % streams.length] ?? held;
        return this.#log.append({ stream, payload, monotonicMs, wall });
      }),
    );
    for (const result of results) {
      if (result.kind !== 'stored') throw new Error(`baton: ${JSON.stringify(result)}`);
    }
  }
}
