import type { LogLimits } from '../../src/buffer/log-options.ts';
import type { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import type { FileOperation, SimulatedFilesystem } from '../../src/testbed/simulated-filesystem.ts';
import { mutate } from './mutants.ts';
import type { Mutant } from './mutants.ts';
import { World, drawn, keep, lose, smallLimits, streamA, streamC } from './world.ts';
import type { Witness } from './world.ts';

/** A disk as a power cut left it, with what had been told until then. */
export interface CutState {
  readonly disk: SimulatedFilesystem;
  readonly witness: Witness;
  readonly cut: string;
}

/** Runs `use` on a disk and takes the disks that power cuts before each of its operations may leave. */
export async function cuts(
  disk: SimulatedFilesystem,
  witness: Witness,
  entropy: SeededEntropy,
  drawsPerCut: number,
  use: () => Promise<void>,
): Promise<CutState[]> {
  const states: CutState[] = [];
  const take = (label: string): void => {
    const choosers = [lose, keep, ...Array.from({ length: drawsPerCut }, () => drawn(entropy))];
    for (const [index, choose] of choosers.entries()) {
      states.push({
        disk: disk.crash(choose),
        witness: witness.snapshot(),
        cut: `${label}, outcome ${index}`,
      });
    }
  };
  disk.onOperation = (operation: FileOperation) => {
    take(`before ${operation.index} ${operation.kind} ${operation.path}`);
    return undefined;
  };
  await use();
  take('at the end');
  disk.onOperation = undefined;
  return states;
}

/** Opens every state and checks it; returns the first failure. */
export async function firstFailure(
  states: readonly CutState[],
  mutant?: Mutant,
  limits: LogLimits = smallLimits,
): Promise<string | undefined> {
  for (const [index, { disk, witness, cut }] of states.entries()) {
    try {
      const world = await World.open(mutate(disk, mutant), witness, { seed: 1000 + index, limits });
      await world.check();
      world.checkLosses();
      const isForgotten = world.damage.some(({ message }) => message.includes('counts start again'));
      if (isForgotten && witness.stored.size > 0) throw new Error('the cursor is lost');
      // A number given once more shows in its name.
      await world.append(streamA, 20);
      await world.append(streamC, 20);
      await world.check();
    } catch (error) {
      return `${cut}: ${String(error)}`;
    }
  }
  return undefined;
}
