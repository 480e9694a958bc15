// One session of a store on the image that is being recorded, in a process of its own: it ends by SIGKILL of itself, or in
// order. Its one argument is a `WorkOrder`; facts go to standard output.
import { NodeFilesystem } from '../../src/host/filesystem.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { PrintingWitness } from './facts.ts';
import { LogDriver } from './log-driver.ts';
import { logWorkload } from './log-workloads.ts';
import { workSmallState } from './small-state.ts';
import { flawed, storeOf, watched } from './stores.ts';
import type { WorkOrder } from './stores.ts';

const {
  store: name,
  directory,
  logPath,
  seed,
  session,
  end,
} = JSON.parse(process.argv[2] ?? '') as WorkOrder;
const { engine, flaw } = storeOf(name);
const entropy = new SeededEntropy(seed).fork(`${name} ${session}`);
const kill = (): boolean => process.kill(process.pid, 'SIGKILL');
let isArmed = false;
const filesystem = watched(flawed(new NodeFilesystem(), flaw), () => isArmed && kill());
const witness = await PrintingWitness.open(logPath);

if (engine.kind === 'smallState') {
  await workSmallState(filesystem, directory, witness, entropy);
  isArmed = end === 'killUnsynced';
  if (isArmed) await workSmallState(filesystem, directory, witness, entropy);
}
if (engine.kind === 'log') {
  const workload = logWorkload(engine.workload);
  const driver = await LogDriver.open({ filesystem, directory, workload, session, witness, entropy });
  await driver.work();
  isArmed = end === 'killUnsynced';
  if (end === 'close') await driver.close();
  else await driver.leaveInFlight();
}
if (end === 'kill') kill();
await witness.close();
