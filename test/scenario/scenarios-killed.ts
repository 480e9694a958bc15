// The gateway is killed in each state of a handover and started again: undone before the claim, finished after it.
import type { GatewaySite } from './gateway-site.ts';
import { isSettled } from './gateway-site.ts';
import { expect } from './scenario.ts';
import type { Scenario } from './scenario.ts';
import type { Stage } from './stage.ts';

/** On every path, so that no state is over before the kill. */
const slowMs = 40;

/** The order dies with the process; where the gateway settles after it was killed in `state`. */
async function killIn(stage: Stage, site: GatewaySite, state: string): Promise<string | undefined> {
  for (const seat of [stage.ground.inCse, ...stage.ground.mns]) seat.setDelayMs(slowMs);
  const killed = site.at(state, () => site.kill());
  const ordered = site.baton('handover', '--to', stage.seat(1).cseId, '--json');
  await killed;
  await ordered;
  await site.start();
  const { serving } = await site.until(`settled after a kill in ${state}`, isSettled);
  await stage.delivering(site);
  return serving?.cseId;
}

function killedIn(state: string, ends: 'source' | 'target', isQuick: boolean): Scenario {
  return {
    name: `kill-${state.toLowerCase()}`,
    what: `kill -9 while ${state}: the next run ends at the ${ends}`,
    seats: ['lasting', 'lasting'],
    ...(isQuick ? { isQuick: true as const } : {}),
    run: async (stage) => {
      const site = await stage.begin();
      const servedAt = await killIn(stage, site, state);
      const wanted = stage.seat(ends === 'source' ? 0 : 1);
      expect(servedAt === wanted.cseId, `served at ${servedAt} instead of ${wanted.cseId}`);
      return stage.verdict(site, wanted);
    },
  };
}

/** The scenarios of this file. */
export const killedScenarios: readonly Scenario[] = [
  killedIn('preparing', 'source', false),
  killedIn('prepared', 'source', false),
  killedIn('claiming', 'target', true),
  killedIn('switching', 'target', false),
  killedIn('catchingUp', 'target', false),
  killedIn('releasing', 'target', false),
  {
    name: 'kill-rollingback',
    what: 'kill -9 while rolling back: the next run stays at the source',
    seats: ['lasting', 'closed'],
    run: async (stage) => {
      const site = await stage.begin();
      const servedAt = await killIn(stage, site, 'rollingBack');
      expect(servedAt === stage.seat(0).cseId, `served at ${servedAt}`);
      return stage.verdict(site, stage.seat(0));
    },
  },
  {
    name: 'kill-provisional',
    what: 'kill -9 while serving provisionally, the IN-CSE back before the next run: it ends at the target',
    seats: ['lasting', 'lasting'],
    run: async (stage) => {
      const site = await stage.begin({ handover: { phaseDeadlineMs: 1_500, claim: 'deferred' } });
      const { inCse } = stage.ground;
      void site.at('preparing', () => inCse.setReachable(false));
      const ordered = site.baton('handover', '--to', stage.seat(1).cseId, '--json');
      await site.until('provisional', ({ handover }) => handover?.state === 'provisional');
      await site.kill();
      await ordered;
      inCse.setReachable(true);
      await site.start();
      const { serving } = await site.until('settled', isSettled);
      expect(serving?.cseId === stage.seat(1).cseId, `served at ${serving?.cseId}`);
      await stage.delivering(site);
      return stage.verdict(site, stage.seat(1), { isProvisional: true });
    },
  },
];
