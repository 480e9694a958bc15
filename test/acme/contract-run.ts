// The contract of the testbed's CSEs against ACME: each check, and which of its assertions did not hold.
import { errorText } from '../../src/base/errors.ts';
import { millis } from '../../src/base/units.ts';
import { sleep } from '../../src/host/clock.ts';
import type { Host } from '../../src/host/host.ts';
import { CseClient } from '../../src/onem2m/cse-client.ts';
import { Bench, allCapabilities, contractAddresses } from '../testbed/cse-contract-bench.ts';
import type { ContractCapabilities, ContractTarget } from '../testbed/cse-contract-bench.ts';
import { contractChecks } from '../testbed/cse-contract.ts';
import type { ContractWires } from '../testbed/cse-contract-wires.ts';
import { adminOriginator } from './acme-network.ts';
import type { AcmeNetwork } from './acme-network.ts';
import { CheckRecorder } from './check-recorder.ts';
import type { Failure } from './check-recorder.ts';

/** What a check of the contract came to. */
export interface CheckResult {
  readonly title: string;
  readonly asserted: number;
  readonly failures: readonly Failure[];
  readonly ms: number;
}

const deadlineMs = millis(4_000);
const patienceMs = millis(5_000);

/** Nothing is left out for ACME, so that what it lacks shows, but for 5204, which it gives after 10 s. */
const everything: ContractCapabilities = { ...allCapabilities, verifiesUnreachable: false };

/** Runs the whole contract over one kind of wire; names of the run are left out of the failures. */
export async function runContractAgainst(
  host: Host,
  network: AcmeNetwork,
  wires: ContractWires,
  onResult: (result: CheckResult) => void,
): Promise<void> {
  const { clock, entropy } = host;
  const target: ContractTarget = {
    name: 'ACME CSE',
    adminOriginator,
    addresses: contractAddresses,
    capabilities: everything,
    entropy,
    patienceMs,
    connect: async (originator, cse) => {
      const binding = await wires.bind(originator, cse, network.pointOfAccess(cse));
      return new CseClient({ binding, originator, entropy, deadlineMs });
    },
    listen: (handler) => wires.listen(handler),
    wait: (durationMs) => sleep(clock, millis(durationMs)),
    unixMs: () => clock.unixMs(),
  };
  const bench = new Bench(target);
  try {
    for (const [title, check] of contractChecks) {
      const recorder = new CheckRecorder();
      const beganMs = clock.monotonicMs();
      await check(recorder.test, bench).catch((error: unknown) => {
        // A failed assertion that ends its check was written down already.
        if (recorder.failures.length === 0) recorder.fail(`the check ends: ${errorText(error)}`);
      });
      onResult({
        title,
        asserted: recorder.asserted,
        failures: recorder.failures.map(({ assertion, detail }) => ({
          assertion: nameOf(assertion, bench.run),
          detail,
        })),
        ms: Math.round(clock.monotonicMs() - beganMs),
      });
    }
  } finally {
    await bench.close();
  }
}

/** An assertion without what differs from run to run. */
function nameOf(assertion: string, run: string): string {
  return assertion.replaceAll(new RegExp(`-${run}-\\d+`, 'gu'), '-N');
}
