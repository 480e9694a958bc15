// Grounds of ACME's CSEs: all scenarios share the IN-CSE and the lasting MN-CSEs, under devices of different names; one that
// may be killed or one that is closed is lent to one scenario at a time.
import { assert } from '../../src/base/assert.ts';
import { millis } from '../../src/base/units.ts';
import { sleep } from '../../src/host/clock.ts';
import type { Host } from '../../src/host/host.ts';
import { AcmeNetwork } from '../acme/acme-network.ts';
import type { AcmeName } from '../acme/acme-network.ts';
import { heldBelow } from '../acme/held.ts';
import type { Programs } from '../acme/set-up.ts';
import { Seat } from './ground.ts';
import type { Ground, SeatKind, World } from './ground.ts';

const names: Readonly<Record<SeatKind, readonly AcmeName[]>> = {
  closed: ['mn0'],
  lasting: ['mn1', 'mn2', 'mn3'],
  mortal: ['mn4', 'mn5'],
};
/** ACME answers before it has written to disk, which it does within a second. */
const lateWriteMs = millis(1_500);
const retriesMax = 5;
const retryMs = millis(300);

/** Starts the CSEs; they are up when this resolves. */
export async function openAcmeWorld(
  host: Host,
  programs: Programs,
): Promise<World & { network: AcmeNetwork }> {
  const network = await AcmeNetwork.start(host, programs, {
    names: ['in', ...names.closed, ...names.lasting, ...names.mortal],
    onDisk: names.mortal,
    closed: names.closed,
  });
  await network.untilReady().catch(async (error: unknown) => {
    await network.stop();
    throw error;
  });
  const lent = new Set<AcmeName>();
  const isFree = (name: AcmeName, kind: SeatKind): boolean => kind === 'lasting' || !lent.has(name);
  return {
    maker: 'acme',
    network,
    open: async (kinds) => {
      for (;;) {
        const chosen = choose(kinds, isFree);
        if (chosen !== undefined) {
          const own = chosen.filter((_, index) => kinds[index] !== 'lasting');
          for (const name of own) lent.add(name);
          return openGround(host, network, chosen, () => own.forEach((name) => lent.delete(name)));
        }
        await sleep(host.clock, millis(100));
      }
    },
    close: () => network.stop(),
  };
}

/** A CSE for each kind, none twice; undefined while there are not enough. */
function choose(
  kinds: readonly SeatKind[],
  isFree: (name: AcmeName, kind: SeatKind) => boolean,
): AcmeName[] | undefined {
  const chosen: AcmeName[] = [];
  for (const kind of kinds) {
    const left = names[kind].filter((name) => !chosen.includes(name));
    assert(left.length > 0, `there are not so many CSEs that are ${kind}`);
    const name = left.find((each) => isFree(each, kind));
    if (name === undefined) return undefined;
    chosen.push(name);
  }
  return chosen;
}

async function openGround(
  host: Host,
  network: AcmeNetwork,
  chosen: readonly AcmeName[],
  giveBack: () => void,
): Promise<Ground> {
  const open = (name: AcmeName): Promise<Seat> =>
    Seat.open(name, host, {
      address: { address: '127.0.0.1', port: network.coapPort(name) },
      kill: async () => {
        await sleep(host.clock, lateWriteMs);
        await network.killCse(name);
      },
      restart: async (keepState) => {
        await network.startCse(name, !keepState);
        await network.untilReady([name]);
      },
    });
  const inCse = await open('in');
  const mns = await Promise.all(chosen.map(open));
  return {
    inCse,
    mns,
    held: (wanted) => {
      const alive = [inCse, ...mns].filter(({ isAlive }) => isAlive);
      const aes = alive.flatMap(({ name: cse }) =>
        wanted
          .filter((name) => name.endsWith('-home') === (cse === 'in'))
          .map((name) => [cse as AcmeName, name] as const),
      );
      return patiently(host, () => heldBelow(network, host.clock, aes));
    },
    close: async () => {
      for (const seat of [...mns, inCse]) await seat.close();
      giveBack();
    },
  };
}

/** ACME answers 500 now and then to a RETRIEVE of a tree that changes meanwhile. */
async function patiently<T>({ clock }: Host, work: () => Promise<T>): Promise<T> {
  for (let left = retriesMax; ; left--) {
    try {
      return await work();
    } catch (error) {
      if (left === 0) throw error;
      await sleep(clock, retryMs);
    }
  }
}
