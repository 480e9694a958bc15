import { SysfsBlockDevices } from './block-device.ts';
import type { BlockDevices } from './block-device.ts';
import { readBootId } from './boot-id.ts';
import { NodeClock } from './clock.ts';
import type { Clock } from './clock.ts';
import { loadDtlsLibrary } from './dtls-library.ts';
import type { DtlsLibrary } from './dtls-library.ts';
import { NodeEntropy } from './entropy.ts';
import type { Entropy } from './entropy.ts';
import { NodeFilesystem } from './filesystem.ts';
import type { Filesystem } from './filesystem.ts';
import type { KernelNetwork } from './netlink.ts';
import { NodeNetwork } from './network.ts';
import type { Network } from './network.ts';
import { NodeSerialLines } from './serial-line.ts';
import type { SerialLines } from './serial-line.ts';

/** Everything of the outside world that the gateway touches, injected so that a simulation can replace it. */
export interface Host {
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly filesystem: Filesystem;
  readonly blockDevices: BlockDevices;
  readonly network: Network;
  /**
   * Gives the kernel's view of links and routes, its addon loaded when it is first needed; absent where there is none, as in a
   * simulation. Rejects where the addon does not fit the machine.
   */
  readonly kernelNetwork?: () => Promise<KernelNetwork>;
  readonly serialLines: SerialLines;
  /** Gives the DTLS library, loaded when it is first needed; absent where there is none, as in a simulation. */
  readonly dtls?: () => Promise<DtlsLibrary>;
  /** Boot of the machine, as `readBootId` gives it; undefined where restarts do not share a clock. */
  readonly bootId?: string;
}

/** The machine this process runs on. */
export function createNodeHost(): Host {
  const entropy = new NodeEntropy();
  const filesystem = new NodeFilesystem();
  const clock = new NodeClock();
  return {
    clock,
    entropy,
    filesystem,
    blockDevices: new SysfsBlockDevices({ filesystem }),
    network: new NodeNetwork(),
    kernelNetwork: async () => new (await import('./netlink.ts')).NetlinkNetwork(clock),
    serialLines: new NodeSerialLines(),
    dtls: loadDtlsLibrary,
    bootId: readBootId(entropy),
  };
}
