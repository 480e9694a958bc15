import * as path from 'node:path';
import type { Filesystem } from '../../src/host/filesystem.ts';
import { mutate } from '../buffer/mutants.ts';
import { withHandles } from '../buffer/with-handles.ts';

/** How a session of a store ends: by SIGKILL of itself, the same between a write and its flush, or in order. */
export type SessionEnd = 'kill' | 'killUnsynced' | 'close';

/** Something that stores, and what is expected of it. */
export interface Store {
  readonly name: string;
  /** `product` and `control` must pass every state; of a `defect` one state must fail. */
  readonly role: 'product' | 'control' | 'defect';
  readonly engine:
    | { readonly kind: 'log'; readonly workload: string }
    | { readonly kind: 'smallState' }
    | { readonly kind: 'sqlite'; readonly synchronous: 'FULL' | 'NORMAL' };
  /** Sessions one after the other on the same mount. */
  readonly sessions: readonly SessionEnd[];
  /** What it does wrong with the file system. */
  readonly flaw?: 'noSync' | 'cursorNeverSynced';
  /** Part of all states of the product that it gets. */
  readonly share?: number;
  /** Share of the cuts that fall into a start. */
  readonly openShare: number;
  /** Number of earlier power cuts: the recording begins with a state that a cut of it has left. */
  readonly cutsBefore?: number;
}

const log = (workload: string): { kind: 'log'; workload: string } => ({ kind: 'log', workload });
const restarts: readonly SessionEnd[] = [
  'kill',
  'close',
  'killUnsynced',
  'killUnsynced',
  'close',
  'killUnsynced',
  'kill',
];

/** Baton's log, the small state beside it, and the controls. */
export const stores: readonly Store[] = [
  { name: 'baton-steady', role: 'product', engine: log('steady'), sessions: ['kill'], share: 0.24, openShare: 0.1 },
  { name: 'baton-bursts', role: 'product', engine: log('bursts'), sessions: ['kill'], share: 0.16, openShare: 0.1 },
  { name: 'baton-short', role: 'product', engine: log('short'), sessions: ['kill'], share: 0.2, openShare: 0.05 },
  { name: 'baton-reopens', role: 'product', engine: log('reopens'), sessions: restarts, share: 0.2, openShare: 0.6 },
  {
    name: 'baton-cut-again',
    role: 'product',
    engine: log('reopens'),
    sessions: ['killUnsynced', 'kill'],
    share: 0.2,
    openShare: 0.5,
    cutsBefore: 2,
  },
  { name: 'small-state', role: 'product', engine: { kind: 'smallState' }, sessions: ['killUnsynced', 'killUnsynced', 'kill'], openShare: 0.2 },
  {
    name: 'sqlite-full',
    role: 'control',
    engine: { kind: 'sqlite', synchronous: 'FULL' },
    sessions: ['kill'],
    openShare: 0.1,
  },
  {
    name: 'sqlite-normal',
    role: 'defect',
    engine: { kind: 'sqlite', synchronous: 'NORMAL' },
    sessions: ['kill'],
    openShare: 0,
  },
  { name: 'baton-no-sync', role: 'defect', engine: log('steady'), sessions: ['kill'], openShare: 0, flaw: 'noSync' },
  {
    name: 'baton-fence',
    role: 'defect',
    engine: log('steady'),
    sessions: ['kill'],
    openShare: 0,
    flaw: 'cursorNeverSynced',
  },
  {
    name: 'small-state-no-sync',
    role: 'defect',
    engine: { kind: 'smallState' },
    sessions: ['kill'],
    openShare: 0,
    flaw: 'noSync',
  },
]; // prettier-ignore

/** The store of a name; throws for one that does not exist. */
export function storeOf(name: string): Store {
  const store = stores.find((candidate) => candidate.name === name);
  if (store === undefined)
    throw new Error(`no store ${name}; there are ${stores.map((one) => one.name).join(', ')}`);
  return store;
}

/** The file system as a store with a flaw uses it. */
export function flawed(inner: Filesystem, flaw: Store['flaw']): Filesystem {
  if (flaw !== 'noSync') return mutate(inner, flaw);
  return withHandles(inner, (_, handle) => ({ ...handle, datasync: () => Promise.resolve() }));
}

/** A file system that calls `onWrite` after each write to slots or to a journal, before it can be made durable. */
export function watched(inner: Filesystem, onWrite: () => void): Filesystem {
  return withHandles(inner, (path, handle) => {
    if (!/\/slots$|\.journal$/.test(path)) return handle;
    return { ...handle, write: (data, position) => handle.write(data, position).then(onWrite) };
  });
}

/** What a session is started with. */
export interface WorkOrder {
  readonly store: string;
  /** Directory of the store, on the image that is recorded. */
  readonly directory: string;
  readonly logPath: string;
  readonly seed: number;
  readonly session: number;
  readonly end: SessionEnd;
}

/** What a check after a cut is started with. */
export interface CheckOrder {
  readonly store: string;
  readonly directory: string;
  readonly factsPath: string;
  /** Entries of the write log before the cut: later facts do not count. */
  readonly position: number;
}

/** The program that a session runs as, and its words; standard output takes the facts. */
export function workCommand(store: Store, order: WorkOrder): { file: string; words: readonly string[] } {
  if (store.engine.kind === 'sqlite') {
    const words = ['work', order.directory, order.logPath, store.engine.synchronous, String(order.seed)];
    return { file: 'python3', words: [sqliteScript, ...words] };
  }
  return { file: process.execPath, words: [beside('worker.js'), JSON.stringify(order)] };
}

/** The program that checks a state. */
export function checkCommand(order: CheckOrder): { file: string; words: readonly string[] } {
  return { file: process.execPath, words: [beside('checker.js'), JSON.stringify(order)] };
}

function beside(name: string): string {
  return path.join(import.meta.dirname, name);
}

/** From the root of the package, where the tests are started. */
export const sqliteScript: string = path.resolve('test/powercut/sqlite-store.py');
