/**
 * The emulated links of a lab, in a process of their own: TAP devices in namespaces, a `LinkEmulator` between each pair. What to
 * build is one JSON argument (`EmulatorPlan`), what to change one JSON object a line on standard input (`EmulatorOrder`); each
 * is answered by one line. The devices vanish with the process, which ends with its parent.
 */
import { UsageError, errorText } from '../../base/errors.ts';
import { isMainModule, openParentChannel } from '../../host/child-process.ts';
import { NodeClock } from '../../host/clock.ts';
import { endByKill, openTapDevice } from '../../host/tap-device.ts';
import type { TapDevice } from '../../host/tap-device.ts';
import { SeededEntropy } from '../seeded-entropy.ts';
import type { PathConditions, PathCounters } from './conditioned-path.ts';
import { LinkEmulator } from './link-emulator.ts';
import type { LinkDirection, LinkManners } from './link-emulator.ts';

/** What to build. */
export interface EmulatorPlan {
  readonly seed: number;
  readonly links: readonly {
    readonly name: string;
    /** Namespace and interface of each end. */
    readonly gateway: readonly [namespace: string, name: string];
    readonly network: readonly [namespace: string, name: string];
    readonly conditions: Partial<PathConditions>;
  }[];
}

/** What to change on one link; answered by `EmulatorAnswer`. */
export interface EmulatorOrder {
  readonly link: string;
  readonly conditions?: Partial<PathConditions>;
  readonly direction?: LinkDirection;
  readonly manners?: Partial<LinkManners>;
  readonly carrier?: boolean;
}

/** The answer to the plan and to each order; `atMs` is of CLOCK_MONOTONIC. */
export type EmulatorAnswer =
  | {
      readonly ok: true;
      readonly atMs: number;
      readonly counters?: Readonly<Record<LinkDirection, PathCounters>>;
    }
  | { readonly ok: false; readonly message: string };

/** Threads that a process of so many links needs (UV_THREADPOOL_SIZE): one for each device, and some to spare. */
export function threadsFor(linkCount: number): number {
  return 2 * linkCount + 4;
}

async function main(): Promise<void> {
  const clock = new NodeClock();
  const links = new Map<string, { emulator: LinkEmulator; device: TapDevice }>();
  const answer = (text: EmulatorAnswer): void => channel.writeLine(JSON.stringify(text));
  const channel = openParentChannel({
    onLine: (line) => {
      try {
        const order = JSON.parse(line) as EmulatorOrder;
        const link = links.get(order.link);
        if (link === undefined) throw new UsageError(`no link ${order.link}`);
        if (order.conditions !== undefined) link.emulator.setConditions(order.conditions, order.direction);
        if (order.manners !== undefined) link.emulator.setManners(order.manners);
        if (order.carrier !== undefined) link.device.setCarrier(order.carrier);
        const counters = { up: link.emulator.counters('up'), down: link.emulator.counters('down') };
        answer({ ok: true, atMs: clock.monotonicMs(), counters });
      } catch (cause) {
        answer({ ok: false, message: errorText(cause) });
      }
    },
    onEnd: endByKill,
  });
  try {
    const plan = JSON.parse(channel.args[0] ?? '') as EmulatorPlan;
    for (const { name, gateway, network, conditions } of plan.links) {
      const device = await openTapDevice({ namespace: gateway[0], name: gateway[1] });
      const networkEnd = await openTapDevice({ namespace: network[0], name: network[1] });
      const entropy = new SeededEntropy(plan.seed).fork(name);
      const emulator = new LinkEmulator({ clock, entropy, gatewayEnd: device, networkEnd, conditions });
      links.set(name, { emulator, device });
    }
    answer({ ok: true, atMs: clock.monotonicMs() });
  } catch (cause) {
    answer({ ok: false, message: errorText(cause) });
    await channel.flush();
    endByKill();
  }
}

if (isMainModule(import.meta.url)) await main();
