/**
 * Proves the quick ones of the handover scenarios with the testbed's CSEs: the whole gateway as its users run it, ordered by
 * `baton` on the command line, between CSEs on loopback; each scenario says what it proves, and its verdict is counted from
 * what the sensor emitted and the CSEs hold (judge.ts). `npm run test:scenarios` runs all of them, and with foreign CSEs.
 */
import t from 'tap';
import { createNodeHost } from '../../src/host/host.ts';
import { runScenario } from './scenario.ts';
import { scenarios } from './scenarios.ts';
import { createTestbedWorld } from './testbed-world.ts';

t.setTimeout(120_000);
t.jobs = 4;

const host = createNodeHost();
const world = createTestbedWorld(host);

for (const scenario of scenarios.filter(({ isQuick }) => isQuick === true)) {
  void t.test(`${scenario.name}: ${scenario.what}`, { timeout: 120_000 }, async (t) => {
    const { result, notes } = await runScenario(host, world, scenario);
    t.equal(result, 'passed', notes.join('\n'));
    for (const note of notes) t.comment(note);
  });
}
