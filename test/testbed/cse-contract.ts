/**
 * The contract: what Baton relies on in a oneM2M CSE, as checks that speak Mca only (through `CseClient` and a
 * notification listener), so that they run against any IN-CSE with two MN-CSEs. Each check names its clause.
 */
import type { Test } from 'tap';
import { Bench } from './cse-contract-bench.ts';
import type { ContractTarget } from './cse-contract-bench.ts';
import { reachabilityChecks } from './cse-contract-reachability.ts';
import { resourceChecks } from './cse-contract-resources.ts';

/** All checks of the contract, in their order. */
export const contractChecks: readonly (readonly [
  title: string,
  check: (t: Test, bench: Bench) => Promise<void>,
])[] = [...resourceChecks, ...reachabilityChecks];

/** Runs the whole contract as one subtest; the target must be up and its MN-CSEs registered. */
export async function runContract(t: Test, target: ContractTarget): Promise<void> {
  await t.test(`the contract holds for ${target.name}`, async (t) => {
    const bench = new Bench(target);
    t.teardown(() => bench.close());
    t.comment(`names of this run hold ${bench.run}`);
    for (const [title, check] of contractChecks) {
      await t.test(title, async (t) => check(t, bench));
    }
  });
}
