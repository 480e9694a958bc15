// Moves in which a CSE refuses, dies, is out of reach or forgets.
import { millis } from '../../src/base/units.ts';
import { sleep } from '../../src/host/clock.ts';
import { ResourceType } from '../../src/onem2m/enums.ts';
import { isSettled } from './gateway-site.ts';
import type { GatewaySite } from './gateway-site.ts';
import type { Seat } from './ground.ts';
import { expect } from './scenario.ts';
import type { Scenario } from './scenario.ts';
import { ownAe } from './scenarios-moving.ts';
import type { Stage } from './stage.ts';

/** Slow enough for something to happen in the middle of a phase. */
const slowMs = 60;
/** Longer than requests to a CSE are waited for before it counts as lost. */
const lostMs = millis(4_000);

/** An AE of somebody else holds our name, and our AE-ID is registered under another: what is left of a broken registration. */
async function breakRegistration(stage: Stage, seat: Seat): Promise<void> {
  const { device } = stage;
  const register = async (stem: string, resourceName: string): Promise<void> => {
    const ae = { resourceName, appId: 'Nother', requestReachability: false, supportedReleaseVersions: ['4'] };
    const made = await seat.speaking(
      (client) => client.create(seat.cseBaseName, ResourceType.ae, { ae }),
      stem,
    );
    expect(made.ok, `the obstacle ${resourceName} cannot be made`);
  };
  await register(`S${device}`, `${device}-lost`);
  await register(`Cother-${device}`, device);
}

async function mendRegistration(stage: Stage, seat: Seat): Promise<void> {
  for (const name of [stage.device, `${stage.device}-lost`]) {
    const gone = await seat.speaking((operator) => operator.delete(`${seat.cseBaseName}/${name}`));
    expect(gone.ok, `the operator cannot delete ${name}`);
  }
}

/** Moves from the first CSE to the second while the first dies on the way; it comes back later. */
async function moveFromDying(stage: Stage, state: string): Promise<readonly string[]> {
  const site = await stage.begin();
  const source = stage.seat(0);
  for (const seat of stage.ground.mns) seat.setDelayMs(slowMs);
  const dead = site.at(state, () => source.die());
  const ended = await stage.move(site, stage.seat(1));
  await dead;
  await stage.delivering(site);
  await source.rise(true);
  return [`moved in ${ended.elapsedMs} ms`, ...(await stage.verdict(site, stage.seat(1)))];
}

/** The IN-CSE is out of reach while the move from the first CSE to the second claims; what the gateway does meanwhile. */
async function claimUnanswered(
  stage: Stage,
  config: Record<string, unknown>,
  meanwhile: (site: GatewaySite) => Promise<readonly string[]>,
): Promise<{ readonly site: GatewaySite; readonly notes: readonly string[] }> {
  const site = await stage.begin({ handover: { phaseDeadlineMs: 1_500, ...config } });
  const { inCse } = stage.ground;
  const cut = site.at('preparing', () => inCse.setReachable(false));
  const moving = stage.move(site, stage.seat(1));
  await cut;
  const notes = await meanwhile(site);
  inCse.setReachable(true);
  await moving;
  await stage.delivering(site);
  return { site, notes };
}

async function deliveredIn(stage: Stage, site: GatewaySite, waitMs: number): Promise<number> {
  const before = (await site.status()).buffer.delivered;
  await sleep(stage.host.clock, millis(waitMs));
  return (await site.status()).buffer.delivered - before;
}

/** The scenarios of this file. */
export const failingScenarios: readonly Scenario[] = [
  {
    name: 'target-refuses',
    what: 'a target that takes no registration: rolled back with its words, the source goes on serving',
    seats: ['lasting', 'closed'],
    isQuick: true,
    run: async (stage) => {
      const site = await stage.begin();
      const ended = await stage.order(site, stage.seat(1));
      expect(ended.outcome === 'rolledBack', `the order is ${ended.outcome}`);
      await stage.delivering(site);
      expect((await ownAe(stage, stage.seat(1))) === undefined, 'the closed CSE holds an AE');
      return [`told: ${ended.reason}`, ...(await stage.verdict(site, stage.seat(0)))];
    },
  },
  {
    name: 'stuck-registration',
    what: 'a registrar that holds our AE-ID without its owner (4117, then 4103): rolled back with the way out; once mended it serves',
    seats: ['lasting', 'lasting'],
    run: async (stage) => {
      const site = await stage.begin();
      await breakRegistration(stage, stage.seat(1));
      const ended = await stage.order(site, stage.seat(1));
      expect(ended.outcome === 'rolledBack', `the order is ${ended.outcome}`);
      expect(/operator has to delete it/u.test(ended.reason ?? ''), `told: ${ended.reason}`);
      await stage.delivering(site);
      await mendRegistration(stage, stage.seat(1));
      await stage.move(site, stage.seat(1));
      return [`told: ${ended.reason}`, ...(await stage.verdict(site, stage.seat(1)))];
    },
  },
  {
    name: 'target-dies-prepared',
    what: 'the target dies before it is verified: rolled back; what it still holds is released when it is back',
    seats: ['lasting', 'mortal'],
    run: async (stage) => {
      const site = await stage.begin();
      const target = stage.seat(1);
      target.setDelayMs(slowMs);
      const dead = site.at('prepared', () => target.die());
      const ended = await stage.order(site, target);
      expect(ended.outcome === 'rolledBack', `the order is ${ended.outcome}`);
      await dead;
      await stage.delivering(site);
      await target.rise(true);
      return [`told: ${ended.reason}`, ...(await stage.verdict(site, stage.seat(0)))];
    },
  },
  {
    name: 'target-dies-claiming',
    what: 'the target dies while it is claimed: no way back by undoing, the next epoch is claimed for a CSE that answers',
    seats: ['lasting', 'mortal'],
    run: async (stage) => {
      const site = await stage.begin();
      const target = stage.seat(1);
      stage.ground.inCse.setDelayMs(slowMs);
      const dead = site.at('claiming', () => target.die());
      const ended = await stage.order(site, target);
      await dead;
      const back = await site.until('serving at the first', (status) => {
        return isSettled(status) && status.serving?.cseId === stage.seat(0).cseId;
      });
      await stage.delivering(site);
      await target.rise(true);
      const epoch = back.serving?.epoch;
      return [`${ended.outcome}, then epoch ${epoch}`, ...(await stage.verdict(site, stage.seat(0)))];
    },
  },
  {
    name: 'source-dies-before',
    what: 'the source dies before the claim: the move goes on; what was unanswered is delivered, the source released later',
    seats: ['mortal', 'lasting'],
    run: (stage) => moveFromDying(stage, 'preparing'),
  },
  {
    name: 'source-dies-after',
    what: 'the source dies after the claim: the same',
    seats: ['mortal', 'lasting'],
    run: (stage) => moveFromDying(stage, 'switching'),
  },
  {
    name: 'path-lost',
    what: 'the serving CSE falls silent: the gateway moves without an order, nothing is lost, the source is released later',
    seats: ['lasting', 'lasting'],
    isQuick: true,
    run: async (stage) => {
      const site = await stage.begin();
      stage.seat(0).setReachable(false);
      const moved = await site.until('serving at the second', (status) => {
        return isSettled(status) && status.serving?.cseId === stage.seat(1).cseId;
      });
      stage.seat(0).setReachable(true);
      await stage.delivering(site);
      const ended = site.handovers.at(-1)?.event;
      expect(ended?.trigger === 'servingLost', `moved by ${ended?.trigger}`);
      return [`epoch ${moved.serving?.epoch}`, ...(await stage.verdict(site, stage.seat(1)))];
    },
  },
  {
    name: 'claim-required',
    what: 'the IN-CSE is out of reach at the claim and the claim is required: the source serves until it answers',
    seats: ['lasting', 'lasting'],
    isQuick: true,
    run: async (stage) => {
      const { site, notes } = await claimUnanswered(stage, { claim: 'required' }, async (site) => {
        await site.until('the claim is repeated', ({ handover, alarms }) => {
          return handover?.state === 'claiming' && alarms.some(({ text }) => /unanswered/u.test(text));
        });
        const { serving } = await site.status();
        expect(serving?.cseId === stage.seat(0).cseId, `${serving?.cseId} serves meanwhile`);
        const count = await deliveredIn(stage, site, 2_000);
        expect(count >= 5, `${count} readings in 2 s`);
        return [`${count} readings to the source in 2 s meanwhile`];
      });
      return [...notes, ...(await stage.verdict(site, stage.seat(1)))];
    },
  },
  {
    name: 'claim-deferred',
    what: 'the IN-CSE is out of reach at the claim and the claim may wait: the target serves provisionally, and for good once it answers',
    seats: ['lasting', 'lasting'],
    isQuick: true,
    run: async (stage) => {
      const { site, notes } = await claimUnanswered(stage, { claim: 'deferred' }, async (site) => {
        await site.until('provisional', ({ handover }) => handover?.state === 'provisional');
        const count = await deliveredIn(stage, site, 2_000);
        expect(count >= 5, `${count} readings in 2 s`);
        return [`${count} readings to the target in 2 s meanwhile`];
      });
      return [...notes, ...(await stage.verdict(site, stage.seat(1), { isProvisional: true }))];
    },
  },
  {
    name: 'serving-forgets',
    what: 'the serving CSE starts again without memory: the context is made again, every reading was or is there',
    seats: ['mortal'],
    run: async (stage) => {
      const site = await stage.begin();
      const serving = stage.seat(0);
      serving.setReachable(false);
      await sleep(stage.host.clock, lostMs);
      const forgotten = (await stage.held()).filter(({ cse }) => cse === serving.name);
      await serving.die();
      await serving.rise(false);
      await stage.delivering(site);
      await stage.command(serving, 'after');
      await stage.result('after');
      return stage.verdict(site, serving, { forgotten });
    },
  },
];
