// The process that kill.test.ts kills: uses a log by chance until then, each fact on standard output once it is one. Its
// argument is a `KillOrder`. It begins when standard input says so.
import { millis } from '../../src/base/units.ts';
import { NodeClock, sleep } from '../../src/host/clock.ts';
import { NodeFilesystem } from '../../src/host/filesystem.ts';
import type { Filesystem } from '../../src/host/filesystem.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { PrintingWitness } from '../powercut/facts.ts';
import { LogDriver } from '../powercut/log-driver.ts';
import { killWorkloads } from './kill-order.ts';
import type { KillOrder } from './kill-order.ts';
import { withHandles } from './with-handles.ts';

const { directory, seed, session, use } = JSON.parse(process.argv[2] ?? '') as KillOrder;
const filesystem = use === 'lateWrites' ? writingLate(new NodeFilesystem()) : new NodeFilesystem();
const driver = {
  filesystem,
  directory,
  workload: killWorkloads[use],
  session,
  witness: await PrintingWitness.open(),
  entropy: new SeededEntropy(seed).fork(`session ${session}`),
};
process.stdin.once('data', () => {
  void LogDriver.open(driver).then((log) => log.work());
});

/** A product that reports before it has written: its writes to slots happen a little later. */
function writingLate(inner: Filesystem): Filesystem {
  return withHandles(inner, (path, handle) => {
    if (!path.endsWith('/slots')) return handle;
    return {
      ...handle,
      write: (data, position) => {
        void sleep(new NodeClock(), millis(200)).then(() => handle.write(data, position));
        return Promise.resolve();
      },
    };
  });
}
