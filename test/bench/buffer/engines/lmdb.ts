import { requireEngine } from '../require-engine.ts';
import type { Engine, OpenEngine } from '../engine.ts';

/** What is used of lmdb. */
interface Range {
  reverse?: boolean;
  limit: number;
}
interface Database {
  transaction<T>(work: () => T): Promise<T>;
  put(key: number, value: Uint8Array): unknown;
  remove(key: number): unknown;
  getRange(range: Range): Iterable<{ key: number; value: Uint8Array }>;
  getKeys(range: Range): Iterable<number>;
  close(): Promise<void>;
}
interface Lmdb {
  open: (options: Record<string, unknown>) => Database;
}

/** LMDB, flushed before a transaction is answered. */
export function loadLmdb(): OpenEngine {
  const { open } = requireEngine('lmdb') as Lmdb;
  return async ({ directory, isBulk = false }) => {
    const database = open({
      path: directory,
      noSubdir: false,
      keyEncoding: 'ordered-binary',
      encoding: 'binary',
      overlappingSync: false,
      noSync: isBulk,
    });
    const [last] = database.getKeys({ reverse: true, limit: 1 });
    return new LmdbEngine(database, last ?? 0);
  };
}

class LmdbEngine implements Engine {
  readonly #database: Database;
  #last: number;
  #delivered: readonly number[] = [];

  constructor(database: Database, last: number) {
    this.#database = database;
    this.#last = last;
  }

  async append(payloads: readonly Uint8Array[]): Promise<void> {
    await this.#database.transaction(() => {
      for (const payload of payloads) this.#database.put(++this.#last, withHead(payload));
    });
  }

  async deliver(max: number): Promise<readonly Uint8Array[]> {
    const rows = [...this.#database.getRange({ limit: max })];
    this.#delivered = rows.map(({ key }) => key);
    return rows.map(({ value }) => value.subarray(headBytes));
  }

  async acknowledge(): Promise<void> {
    await this.#database.transaction(() => {
      for (const key of this.#delivered) this.#database.remove(key);
    });
  }

  async close(): Promise<void> {
    await this.#database.close();
  }
}

/** Stream, times and source, as a reading has them beside its payload. */
const headBytes = 16;

function withHead(payload: Uint8Array): Uint8Array {
  const value = Buffer.alloc(headBytes + payload.length);
  value.set(payload, headBytes);
  return value;
}
