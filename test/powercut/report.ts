import type { StateFailure, StoreResult } from './campaign.ts';

const shownMax = 10;

/** What `--json` prints. */
export interface Summary {
  /** States of the product that were checked, and how many of them failed. */
  readonly states: number;
  readonly failures: number;
  readonly stores: Readonly<Record<string, { states: number; failures: number }>>;
  readonly controls: Readonly<Record<string, { states: number; failures: number; caught?: boolean }>>;
  /** The first of the failures of those that should have none. */
  readonly failed: readonly (StateFailure & { readonly store: string })[];
  readonly seconds: number;
  readonly seed: number;
}

/** The counts of a run: controls with a defect tell whether they were caught. */
export function summaryOf(results: readonly StoreResult[], seconds: number, seed: number): Summary {
  const product = results.filter(({ store }) => store.role === 'product');
  const others = results.filter(({ store }) => store.role !== 'product');
  const counts = ({ states, failures }: StoreResult): { states: number; failures: number } => {
    return { states, failures: failures.length };
  };
  const control = (result: StoreResult): { states: number; failures: number; caught?: boolean } => {
    const caught = { caught: result.failures.length > 0 };
    return { ...counts(result), ...(result.store.role === 'defect' ? caught : {}) };
  };
  return {
    states: product.reduce((sum, { states }) => sum + states, 0),
    failures: product.reduce((sum, { failures }) => sum + failures.length, 0),
    stores: Object.fromEntries(product.map((result) => [result.store.name, counts(result)])),
    controls: Object.fromEntries(others.map((result) => [result.store.name, control(result)])),
    failed: results
      .filter(({ store }) => store.role !== 'defect')
      .flatMap(({ store, failures }) => failures.map((failure) => ({ store: store.name, ...failure })))
      .slice(0, shownMax),
    seconds,
    seed,
  };
}

/** What is not as it should be, a line each. */
export function verdictOf(results: readonly StoreResult[]): string[] {
  return results.flatMap(({ store, states, failures }) => {
    if (store.role === 'defect') {
      return failures.length > 0
        ? []
        : [`${store.name} is broken on purpose, and ${states} states show nothing`];
    }
    return failures.length === 0 ? [] : [`${store.name}: ${failures.length} of ${states} states failed`];
  });
}

/** Prints a line for a store, and the first failures of one that should have none. */
export function printReport({ store, states, failures, entries, figures, seconds }: StoreResult): void {
  const counts = Object.entries(figures).map(([name, count]) => `${name} ${count}`);
  const outcome =
    store.role === 'defect' ? (failures.length > 0 ? 'caught' : 'NOT CAUGHT') : `${failures.length} failed`;
  const columns = [store.name.padEnd(20), `${states} states`.padStart(10), outcome.padStart(10)];
  console.log(`${columns.join('  ')}  ${seconds.toFixed(1)} s  ${entries} requests ${counts.join(', ')}`);
  const shown = store.role === 'defect' ? failures.slice(0, 1) : failures.slice(0, shownMax);
  for (const { position, outcome: what, message } of shown) {
    console.log(`  cut at ${position}, ${what}: ${message}`);
  }
}
