/**
 * Proves, on real processes, that misfortune and bad input around a serving gateway neither end it nor cost a stored
 * reading: a serving CSE that answers nonsense, falls silent for good, or crashes with or without its state.
 * What was emitted and what the CSEs hold is compared; every trouble shows as an alarm with its way out and goes when the
 * trouble goes.
 */
import t from 'tap';
import { millis } from '../../src/base/units.ts';
import { sleep } from '../../src/host/clock.ts';
import { Operation, ResourceType } from '../../src/onem2m/enums.ts';
import { Scene, clock } from './scene.ts';

t.setTimeout(150_000);

void t.test('misfortunes of the serving CSE', { timeout: 150_000 }, async (t) => {
  const scene = await Scene.open(t);
  const { world } = scene;

  await t.test('answers that make no sense', async (t) => {
    const creates = { operation: Operation.create, resourceType: ResourceType.contentInstance };
    const actions = [
      { kind: 'wrongIdentifier' },
      { kind: 'corrupt', corruption: 'missingStatusCode' },
      { kind: 'corrupt', corruption: 'garbageBody' },
      { kind: 'dropAnswer' },
      { kind: 'dropRequest' },
      { kind: 'answer', responseStatusCode: 5000 },
      { kind: 'answer', responseStatusCode: 5103 },
      { kind: 'answer', responseStatusCode: 4103 },
      { kind: 'answer', responseStatusCode: 4004 },
      { kind: 'answer', responseStatusCode: 9999 },
    ];
    for (const action of actions) {
      const area = await scene.servingArea();
      const what = JSON.stringify(action);
      await scene.misbehave(area, [{ ...creates, action, count: 3 }]);
      await scene.goesOn(what);
      t.ok((await scene.misbehave(area, [])) > 0, `${what} was met`);
    }
  });

  await t.test('silence for good', async (t) => {
    await scene.until('quiet', ({ handover }) => handover === undefined);
    const area = await scene.servingArea();
    const fromMs = clock.monotonicMs();
    await scene.misbehave(area, [{ action: { kind: 'dropRequest' } }]);
    const left = await scene.until('another CSE', ({ serving }) => serving?.cseId !== `/id-${area}`);
    const tookMs = clock.monotonicMs() - fromMs;
    t.ok(tookMs < 6000, `left for ${left.serving?.cseId} after ${Math.round(tookMs)} ms`);
    await scene.until('quiet', ({ handover }) => handover === undefined);
    t.match(scene.handovers.at(-1)?.event, {
      outcome: 'completed',
      trigger: 'servingLost',
      source: `/id-${area}`,
    });
    await scene.goesOn('at the other CSE');
    await scene.misbehave(area, []);
  });

  await t.test('a crash with the state kept', async () => {
    const area = await scene.servingArea();
    await world.orderCses({ cmd: 'crash', cse: area });
    await sleep(clock, millis(300));
    await world.orderCses({ cmd: 'restart', cse: area, keepState: true });
    await scene.goesOn('crash with state');
  });

  await t.test('a crash with the state lost', async (t) => {
    await scene.until('quiet', ({ handover }) => handover === undefined);
    const area = await scene.servingArea();
    await world.orderCses({ cmd: 'crash', cse: area });
    await scene.rememberHeld(area);
    await world.orderCses({ cmd: 'restart', cse: area, keepState: false });
    await scene.goesOn('crash without state');
    const { held } = await world.collect();
    const serving = await scene.servingArea();
    t.ok(
      held.some(({ path }) => path === `cse-${serving}/gw1/cmd/cmd-sub`),
      'the context is made again',
    );
    await scene.command(serving, 'after-crash');
    await scene.until('the command is executed', ({ commands }) => commands.executed === 1);
  });

  const { summary } = await scene.judge(t);
  t.comment(`${summary.inDoubtDoubles} doubles labelled as in doubt`);
});
