import { join } from 'node:path';
import { requireEngine } from '../require-engine.ts';
import type { Engine, OpenEngine } from '../engine.ts';

/** What is used of better-sqlite3. */
interface Statement {
  run(...values: unknown[]): unknown;
  all(...values: unknown[]): unknown[];
}
interface Database {
  pragma(text: string): unknown;
  exec(text: string): void;
  prepare(text: string): Statement;
  transaction<T extends unknown[]>(work: (...values: T) => void): (...values: T) => void;
  close(): void;
}

/**
 * SQLite with a write-ahead log. With `FULL` each transaction is flushed; with `NORMAL` a power cut takes what came after
 * the last checkpoint. `isRiding` deletes what is acknowledged within the next insert's transaction, as a careful user
 * would to save a commit.
 */
export function loadSqlite(synchronous: 'FULL' | 'NORMAL', isRiding: boolean): OpenEngine {
  const Sqlite = requireEngine('better-sqlite3') as new (path: string) => Database;
  return async ({ directory, isBulk = false }) => {
    const database = new Sqlite(join(directory, 'readings.db'));
    database.pragma('journal_mode = WAL');
    database.pragma(`synchronous = ${isBulk ? 'OFF' : synchronous}`);
    database.exec(
      'CREATE TABLE IF NOT EXISTS readings (seq INTEGER PRIMARY KEY, stream INTEGER, monotonic REAL, wall INTEGER, payload BLOB)',
    );
    return new SqliteEngine(database, isRiding);
  };
}

class SqliteEngine implements Engine {
  readonly #database: Database;
  readonly #isRiding: boolean;
  readonly #append: (payloads: readonly Uint8Array[]) => void;
  readonly #select: Statement;
  readonly #delete: Statement;
  #delivered = 0;
  #riding = 0;

  constructor(database: Database, isRiding: boolean) {
    this.#database = database;
    this.#isRiding = isRiding;
    const insert = database.prepare(
      'INSERT INTO readings (stream, monotonic, wall, payload) VALUES (?, ?, ?, ?)',
    );
    this.#select = database.prepare('SELECT seq, payload FROM readings WHERE seq > ? ORDER BY seq LIMIT ?');
    this.#delete = database.prepare('DELETE FROM readings WHERE seq <= ?');
    this.#append = database.transaction((payloads: readonly Uint8Array[]) => {
      if (this.#riding > 0) this.#delete.run(this.#riding);
      this.#riding = 0;
      for (const payload of payloads) insert.run(1, 12_345.6, 1_700_000_000_000, payload);
    });
  }

  async append(payloads: readonly Uint8Array[]): Promise<void> {
    this.#append(payloads);
  }

  async deliver(max: number): Promise<readonly Uint8Array[]> {
    const rows = this.#select.all(this.#riding, max) as { seq: number; payload: Uint8Array }[];
    this.#delivered = rows.at(-1)?.seq ?? this.#delivered;
    return rows.map(({ payload }) => payload);
  }

  async acknowledge(): Promise<void> {
    if (this.#isRiding) this.#riding = this.#delivered;
    else this.#delete.run(this.#delivered);
  }

  async close(): Promise<void> {
    this.#database.close();
  }
}
