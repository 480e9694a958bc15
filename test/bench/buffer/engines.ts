import type { OpenEngine } from './engine.ts';

/** The engines by the names that `--engines` and the tables use. */
export const engineNames = [
  'baton',
  'append-log',
  'sqlite-full',
  'sqlite-riding',
  'sqlite-normal',
  'lmdb',
  'level',
] as const;
/** One of them. */
export type EngineName = (typeof engineNames)[number];

/** The npm package that an engine needs, if any. */
export const enginePackages: Readonly<Partial<Record<EngineName, string>>> = {
  'sqlite-full': 'better-sqlite3',
  'sqlite-riding': 'better-sqlite3',
  'sqlite-normal': 'better-sqlite3',
  'lmdb': 'lmdb',
  'level': 'classic-level',
};

/** What the names stand for, for the legend. */
export const engineLegend: Readonly<Record<EngineName, string>> = {
  'baton': "Baton's log, acknowledgements lazily durable",
  'append-log': 'write and fdatasync at the end of growing files, acknowledgements lazily durable',
  'sqlite-full': 'better-sqlite3, WAL, synchronous=FULL, a transaction for the insert and one for the delete',
  'sqlite-riding': 'the same, the delete within the transaction of the next insert',
  'sqlite-normal':
    'better-sqlite3, WAL, synchronous=NORMAL: a power cut takes records that were reported stored',
  'lmdb': 'lmdb, overlappingSync off, a transaction for the insert and one for the delete',
  'level': 'classic-level, sync, a batch for the insert and one for the delete',
};

/** Loads the code of an engine, and nothing of the others. */
export async function loadEngine(name: EngineName): Promise<OpenEngine> {
  switch (name) {
    case 'baton':
      return (await import('./engines/baton.ts')).openBaton;
    case 'append-log':
      return (await import('./engines/append-log.ts')).openAppendLog;
    case 'sqlite-full':
    case 'sqlite-riding':
    case 'sqlite-normal': {
      const { loadSqlite } = await import('./engines/sqlite.ts');
      return loadSqlite(name === 'sqlite-normal' ? 'NORMAL' : 'FULL', name === 'sqlite-riding');
    }
    case 'lmdb':
      return (await import('./engines/lmdb.ts')).loadLmdb();
    case 'level':
      return (await import('./engines/level.ts')).loadLevel();
  }
}
