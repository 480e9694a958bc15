// Others at work: operators with commands and subscriptions, a second gateway with the same identity, a copy of the disk.
import * as fs from 'node:fs/promises';
import { millis } from '../../src/base/units.ts';
import { sleep } from '../../src/host/clock.ts';
import { isSettled } from './gateway-site.ts';
import type { GatewaySite } from './gateway-site.ts';
import { expect } from './scenario.ts';
import type { Scenario } from './scenario.ts';
import type { Stage } from './stage.ts';

const quietMs = millis(1_500);

async function fenced(site: GatewaySite): Promise<string> {
  const status = await site.until('fenced', ({ alarms }) => {
    return alarms.some(({ text }) => text.startsWith('fenced:'));
  });
  return status.alarms.find(({ text }) => text.startsWith('fenced:'))?.text ?? '';
}

/** Readings of the streams that the CSEs hold. */
async function countHeld(stage: Stage): Promise<number> {
  return (await stage.held()).filter(({ path }) => /\/(?:fast|slow)\/[^/]+$/u.test(path)).length;
}

/** The scenarios of this file. */
export const sharedScenarios: readonly Scenario[] = [
  {
    name: 'commands',
    what: 'commands before, during and after a move, at the source and at the target, are each carried out once',
    seats: ['lasting', 'lasting'],
    isQuick: true,
    run: async (stage) => {
      const site = await stage.begin();
      const [source, target] = [stage.seat(0), stage.seat(1)];
      await stage.command(source, 'before');
      await stage.result('before');
      source.setDelayMs(40);
      target.setDelayMs(40);
      const given = [
        site.at('claiming', () => stage.command(source, 'claiming')),
        stage.move(site, target).then(() => stage.command(target, 'after')),
      ];
      await Promise.all(given);
      for (const id of ['claiming', 'after']) await stage.result(id);
      return stage.verdict(site, target);
    },
  },
  {
    name: 'late-command',
    what: 'a command given to a CSE after it was left is carried out once when the gateway is back there',
    seats: ['lasting', 'lasting'],
    run: async (stage) => {
      const site = await stage.begin();
      await stage.move(site, stage.seat(1));
      await stage.command(stage.seat(0), 'late');
      await stage.delivering(site);
      await stage.move(site, stage.seat(0));
      await stage.result('late');
      return stage.verdict(site, stage.seat(0));
    },
  },
  {
    name: 'killed-command',
    what: 'a command given just before a kill -9 is carried out once',
    seats: ['lasting'],
    run: async (stage) => {
      const site = await stage.begin();
      await stage.command(stage.seat(0), 'cut');
      await site.kill();
      await site.start();
      await stage.result('cut');
      return stage.verdict(site, stage.seat(0));
    },
  },
  {
    name: 'second-gateway',
    what: 'of two gateways with one identity the one that loses an epoch is fenced and writes nothing; --unfence lets it serve again',
    seats: ['lasting', 'lasting'],
    isQuick: true,
    run: async (stage) => {
      const site = await stage.begin();
      const rival = await stage.site({ isSilent: true });
      await rival.start();
      await rival.until('candidates', ({ levels }) => levels.length > 0);
      await stage.move(rival, stage.seat(1));
      const ordered = await site.baton('handover', '--to', stage.seat(1).cseId, '--json');
      expect(ordered.code !== 0, 'the order to the fenced one is carried out');
      const told = await fenced(site);
      await sleep(stage.host.clock, quietMs);
      const before = await countHeld(stage);
      await sleep(stage.host.clock, quietMs);
      expect((await countHeld(stage)) === before, 'the fenced gateway writes');
      await rival.stop();
      const unfenced = await site.baton('handover', '--unfence');
      expect(unfenced.code === 0, `--unfence: ${unfenced.out}${unfenced.err}`);
      await stage.attach(site, stage.seat(0));
      return [told.slice(0, 200), ...(await stage.verdict(site, stage.seat(0)))];
    },
  },
  {
    name: 'clone',
    what: 'a gateway started from an old copy of the data directory is fenced at its first claim; the one that serves is not disturbed',
    seats: ['lasting', 'lasting'],
    run: async (stage) => {
      const site = await stage.begin();
      await site.stop();
      const clone = await stage.site({ isSilent: true });
      await fs.cp(site.dataDirectory, clone.dataDirectory, { recursive: true });
      await site.start();
      await stage.delivering(site);
      await stage.move(site, stage.seat(1));
      await clone.start();
      const told = await fenced(clone);
      await stage.delivering(site);
      const { serving } = await site.until('settled', isSettled);
      expect(serving?.cseId === stage.seat(1).cseId, `served at ${serving?.cseId}`);
      return [told.slice(0, 200), ...(await stage.verdict(site, stage.seat(1)))];
    },
  },
];
