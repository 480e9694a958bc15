// Registration and moves that go well, and what is left behind after them.
import { millis } from '../../src/base/units.ts';
import { sleep } from '../../src/host/clock.ts';
import { ResourceType } from '../../src/onem2m/enums.ts';
import type { HeldResource } from '../../src/testbed/drive/cse-host-process.ts';
import { isSettled } from './gateway-site.ts';
import type { Seat } from './ground.ts';
import { claimsIn } from './judge.ts';
import { expect } from './scenario.ts';
import type { Scenario } from './scenario.ts';
import type { Stage } from './stage.ts';

/** The gateway's own AE at a CSE. */
export async function ownAe(stage: Stage, seat: Seat): Promise<HeldResource | undefined> {
  const path = `${seat.cseBaseName}/${stage.device}`;
  return (await stage.held()).find((each) => each.cse === seat.name && each.path === path);
}

/** The scenarios of this file. */
export const movingScenarios: readonly Scenario[] = [
  {
    name: 'first-registration',
    what: 'without an order the gateway registers at the first of equal candidates and claims epoch 1',
    seats: ['lasting', 'lasting'],
    run: async (stage) => {
      const site = await stage.provisioned();
      await site.start();
      const { serving } = await site.until('serving', isSettled);
      await stage.delivering(site);
      expect(serving?.epoch === 1, `epoch ${serving?.epoch} instead of 1`);
      const other = await ownAe(stage, stage.seat(1));
      expect(other === undefined, 'it is registered at the other CSE as well');
      return stage.verdict(site, stage.seat(0));
    },
  },
  {
    name: 'next-candidate',
    what: 'the best candidate refuses the registration: the next one is taken, the first is left clean',
    seats: ['closed', 'lasting'],
    run: async (stage) => {
      const site = await stage.provisioned();
      await site.start();
      await site.until('serving', isSettled);
      const [first] = site.handovers;
      expect(first?.event.outcome === 'rolledBack', `the first attempt is ${first?.event.outcome}`);
      await stage.delivering(site);
      expect((await ownAe(stage, stage.seat(0))) === undefined, 'the closed CSE holds an AE');
      return [`refused: ${first?.event.reason}`, ...(await stage.verdict(site, stage.seat(1)))];
    },
  },
  {
    name: 'planned-move',
    what: 'a move by order, make before break: the source is marked as moved',
    seats: ['lasting', 'lasting'],
    isQuick: true,
    run: async (stage) => {
      const site = await stage.begin();
      const { elapsedMs } = await stage.move(site, stage.seat(1));
      await stage.delivering(site);
      return [`moved in ${elapsedMs} ms`, ...(await stage.verdict(site, stage.seat(1)))];
    },
  },
  {
    name: 'back-in-grace',
    what: 'a gateway that comes back within the grace period finds its AE and what it holds, and serves from it again',
    seats: ['lasting', 'lasting'],
    run: async (stage) => {
      const site = await stage.begin();
      const made = await stage.held();
      await stage.move(site, stage.seat(1));
      await stage.delivering(site);
      await stage.move(site, stage.seat(0));
      await stage.delivering(site);
      const kept = await stage.held();
      const { name } = stage.seat(0);
      const lasting = made.filter(({ cse, type }) => cse === name && type !== ResourceType.subscription);
      for (const { path, arrivalMs } of lasting) {
        const again = kept.find((each) => each.cse === name && each.path === path);
        // Clocks are compared by way of wall time.
        const isSame = again !== undefined && Math.abs(again.arrivalMs - arrivalMs) < 100;
        expect(isSame, `${path} is ${again === undefined ? 'gone' : 'another one'}`);
      }
      return [`${lasting.length} resources kept`, ...(await stage.verdict(site, stage.seat(0)))];
    },
  },
  {
    name: 'retention',
    what: 'the AE that was left expires after the grace period with all it holds; the one that serves stays',
    seats: ['lasting', 'lasting'],
    run: async (stage) => {
      const site = await stage.begin({ handover: { graceMs: 2_000 } });
      await stage.move(site, stage.seat(1));
      const left = await stage.held();
      const beganMs = stage.host.clock.monotonicMs();
      expect((await ownAe(stage, stage.seat(0))) !== undefined, 'the source is gone at once');
      await stage.until('the source expires', async () => (await ownAe(stage, stage.seat(0))) === undefined);
      const goneMs = Math.round(stage.host.clock.monotonicMs() - beganMs);
      const forgotten = left.filter(({ cse }) => cse === stage.seat(0).name);
      await sleep(stage.host.clock, millis(3_000));
      expect((await ownAe(stage, stage.seat(1))) !== undefined, 'the AE that serves has expired');
      return [`gone after ${goneMs} ms`, ...(await stage.verdict(site, stage.seat(1), { forgotten }))];
    },
  },
  {
    name: 'provision-twice',
    what: 'provisioning again, also under a running gateway, keeps the home AE and the serving record',
    seats: ['lasting', 'lasting'],
    run: async (stage) => {
      const site = await stage.begin();
      const before = (await stage.held()).filter(
        ({ cse, path }) => cse === 'in' && !/\/[es]\d+$/u.test(path),
      );
      const again = await site.baton('provision', '--operator', 'CAdmin');
      expect(again.code === 0 && /was there, kept/u.test(again.out), `provision: ${again.out}${again.err}`);
      const after = await stage.held();
      const isKept = before.every(({ path }) =>
        after.some((each) => each.cse === 'in' && each.path === path),
      );
      expect(isKept, 'something of the home AE is gone');
      await stage.move(site, stage.seat(1));
      return stage.verdict(site, stage.seat(1));
    },
  },
  {
    name: 'restart-at-rest',
    what: 'stopped in order, or killed, and started again: the gateway stays where it was under a fresh epoch',
    seats: ['lasting', 'lasting'],
    isQuick: true,
    run: async (stage) => {
      const site = await stage.begin();
      await site.stop();
      await site.start();
      await stage.delivering(site);
      await site.kill();
      await site.start();
      await stage.delivering(site);
      const served = claimsIn(await stage.held()).map(({ cse }) => cse.cseId);
      const { cseId } = stage.seat(0);
      expect(served.join() === [cseId, cseId, cseId].join(), `claimed for ${served.join()}`);
      return stage.verdict(site, stage.seat(0));
    },
  },
];
