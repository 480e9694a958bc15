import * as fs from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { SeededEntropy, hashText } from '../../src/testbed/seeded-entropy.ts';

/**
 * What a store told or was about to do. `id` names a record and determines its payload; `through` a number of the stream.
 * Those in -ing and `evicted` allow something to be found or missing from then on; the others oblige.
 */
export type FactBody =
  | { readonly kind: 'opening' | 'opened' }
  | { readonly kind: 'appending'; readonly stream: string; readonly id: string }
  | {
      readonly kind: 'stored';
      readonly stream: string;
      readonly id: string;
      readonly seq: number;
      readonly logId: string;
    }
  | {
      readonly kind: 'acknowledging' | 'durable' | 'evicted';
      readonly stream: string;
      readonly through: number;
    }
  | { readonly kind: 'saving' | 'saved' | 'entering' | 'entered'; readonly count: number }
  | { readonly kind: 'compacting' | 'compacted'; readonly from: number }
  | { readonly kind: 'worked'; readonly figures: Readonly<Record<string, number>> };

/** A fact and the number of entries in the write log at that time: it holds for every cut at that number or later. */
export type Fact = FactBody & { readonly at: number };

/** Where the write log keeps its number of entries, u64 little endian. */
export const entryCountAt = 16;

/** The number of entries that a write log holds now. */
export async function entryCount(handle: FileHandle): Promise<number> {
  const count = new Uint8Array(8);
  await handle.read(count, 0, 8, entryCountAt);
  return Number(new DataView(count.buffer).getBigUint64(0, true));
}

/** Takes the facts of a store at work. */
export interface Witness {
  /** Notes what may reach the disk from now on. */
  allow(fact: FactBody): void;
  /** Notes what must be on the disk by now. */
  oblige(fact: FactBody): Promise<void>;
}

/**
 * Writes facts to standard output: each is there when the call that makes it goes on, and outlives a SIGKILL. Beside a
 * write log it dates them on the safe side: what is allowed not later, what is owed not earlier than it happened.
 */
export class PrintingWitness implements Witness {
  readonly #log: FileHandle | undefined;
  #count: number;

  private constructor(log: FileHandle | undefined, count: number) {
    this.#log = log;
    this.#count = count;
  }

  /** `logPath` is the write log that the image is recorded to; without one all facts are of time 0. */
  static async open(logPath?: string): Promise<PrintingWitness> {
    if (logPath === undefined) return new PrintingWitness(undefined, 0);
    const log = await fs.open(logPath, 'r');
    return new PrintingWitness(log, await entryCount(log));
  }

  allow(fact: FactBody): void {
    print({ ...fact, at: this.#count });
  }

  async oblige(fact: FactBody): Promise<void> {
    const at = this.#log === undefined ? 0 : await entryCount(this.#log);
    this.#count = Math.max(this.#count, at);
    print({ ...fact, at });
  }

  async close(): Promise<void> {
    await this.#log?.close();
  }
}

function print(fact: Fact): void {
  process.stdout.write(`${JSON.stringify(fact)}\n`);
}

/** The facts of a file, in the order in which they were noted. */
export async function readFacts(path: string): Promise<Fact[]> {
  return parseFacts(await fs.readFile(path, 'utf8'));
}

/** The facts in a text, a line each; a last line that does not end does not count. */
export function parseFacts(text: string): Fact[] {
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Fact);
}

/** The payload of the record `id`, such as `meter#0.17:160`: as many octets as the last number tells, if they suffice. */
export function payloadOf(id: string): Uint8Array {
  const head = Buffer.from(`${id}/`);
  const size = Math.max(head.length + 4, Number(id.slice(id.lastIndexOf(':') + 1)));
  return Buffer.concat([head, new SeededEntropy(hashText(id)).bytes(size - head.length)]);
}

/** The name in a payload; throws for one that is not as it was written. */
export function idOf(payload: Uint8Array): string {
  const data = Buffer.from(payload);
  const id = data.subarray(0, Math.max(0, data.indexOf('/'))).toString();
  if (!data.equals(payloadOf(id))) throw new Error(`a payload of ${data.length} bytes at ${id} is wrong`);
  return id;
}
