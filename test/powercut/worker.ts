// One session of a store on the image that is being recorded, in a process of its own: it ends by SIGKILL of itself, or in
// order. Its one argument is a `WorkOrder`; facts go to standard output.
import { NodeFilesystem } from '../../src/host/filesystem.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { Witness } from './facts.ts';
import { LogDriver } from './log-driver.ts';
import { logWorkload } from './log-workloads.ts';
import { workSmallState } from './small-state.ts';
import { flawed, storeOf } from './stores.ts';
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
const filesystem = flawed(new NodeFilesystem(), flaw);
const witness = await Witness.open(logPath);

if (engine.kind === 'smallState') await workSmallState(filesystem, directory, witness, entropy);
if (engine.kind === 'log') {
  const workload = logWorkload(engine.workload);
  const driver = await LogDriver.open({ filesystem, directory, workload, session, witness, entropy });
  await driver.work();
  if (end === 'close') await driver.close();
  else await driver.leaveInFlight();
}
if (end === 'kill') process.kill(process.pid, 'SIGKILL');
await witness.close();
