import { requireEngine } from '../require-engine.ts';
import type { Engine, OpenEngine } from '../engine.ts';

/** What is used of classic-level. */
type Operation = { type: 'put'; key: Uint8Array; value: Uint8Array } | { type: 'del'; key: Uint8Array };
interface Iterator {
  all(): Promise<[Uint8Array, Uint8Array][]>;
}
interface Database {
  open(): Promise<void>;
  batch(operations: readonly Operation[], options: { sync: boolean }): Promise<void>;
  iterator(range: { gt?: Uint8Array; reverse?: boolean; limit: number }): Iterator;
  close(): Promise<void>;
}
type ClassicLevel = new (directory: string, options: Record<string, string>) => Database;

/** LevelDB with `sync`. */
export function loadLevel(): OpenEngine {
  const { ClassicLevel } = requireEngine('classic-level') as { ClassicLevel: ClassicLevel };
  return async ({ directory, isBulk = false }) => {
    const database = new ClassicLevel(directory, { keyEncoding: 'view', valueEncoding: 'view' });
    await database.open();
    const [last] = await database.iterator({ reverse: true, limit: 1 }).all();
    return new LevelEngine(database, last === undefined ? 0 : keyNumber(last[0]), !isBulk);
  };
}

class LevelEngine implements Engine {
  readonly #database: Database;
  readonly #isSync: boolean;
  #last: number;
  #delivered: readonly Uint8Array[] = [];
  #floor = keyOf(0);

  constructor(database: Database, last: number, isSync: boolean) {
    this.#database = database;
    this.#isSync = isSync;
    this.#last = last;
  }

  async append(payloads: readonly Uint8Array[]): Promise<void> {
    const operations = payloads.map((payload): Operation => {
      return { type: 'put', key: keyOf(++this.#last), value: withHead(payload) };
    });
    await this.#database.batch(operations, { sync: this.#isSync });
  }

  async deliver(max: number): Promise<readonly Uint8Array[]> {
    const rows = await this.#database.iterator({ gt: this.#floor, limit: max }).all();
    this.#delivered = rows.map(([key]) => key);
    return rows.map(([, value]) => value.subarray(headBytes));
  }

  async acknowledge(): Promise<void> {
    const operations = this.#delivered.map((key): Operation => ({ type: 'del', key }));
    await this.#database.batch(operations, { sync: this.#isSync });
    this.#floor = this.#delivered.at(-1) ?? this.#floor;
  }

  async close(): Promise<void> {
    await this.#database.close();
  }
}

/** Stream, times and source, as a reading has them beside its payload. */
const headBytes = 16;

function withHead(payload: Uint8Array): Uint8Array {
  const value = new Uint8Array(headBytes + payload.length);
  value.set(payload, headBytes);
  return value;
}

function keyOf(number: number): Uint8Array {
  const key = new Uint8Array(8);
  new DataView(key.buffer).setFloat64(0, number);
  return key;
}

function keyNumber(key: Uint8Array): number {
  return new DataView(key.buffer, key.byteOffset).getFloat64(0);
}
