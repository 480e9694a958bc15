/**
 * Proves, on real processes, that misfortune and bad input around a serving gateway neither end it nor cost a stored
 * reading: a modem and a sensor that go and come back, strange datagrams, an IN-CSE that is away during a handover.
 * What was emitted and what the CSEs hold is compared; every trouble shows as an alarm with its way out and goes when the
 * trouble goes.
 */
import t from 'tap';
import { millis } from '../../src/base/units.ts';
import { sleep } from '../../src/host/clock.ts';
import { randomFraction } from '../../src/host/entropy.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { Scene, clock, seed } from './scene.ts';

t.setTimeout(150_000);

/** Datagrams that a scanner, a broken peer or a bad network may send: random, and CoAP messages cut short or turned. */
function strangeDatagrams(count: number): Uint8Array[] {
  const entropy = new SeededEntropy(seed).fork('datagrams');
  const below = (bound: number): number => Math.floor(randomFraction(entropy) * bound);
  // CON POST with Uri-Path "gw1", the oneM2M options 256 to 283 and a CBOR body, as a notification begins.
  const notification = Buffer.from(
    '44021a2b01020304b367773152063ce1f30a2f69642d6d6e312f782101ff41054141a1686d326d3a73676ea0',
    'hex',
  );
  return Array.from({ length: count }, (_, index) => {
    switch (index % 4) {
      case 0:
        return entropy.bytes(below(1200));
      case 1:
        return notification.subarray(0, below(notification.length));
      case 2: {
        const turned = Buffer.from(notification);
        turned[below(turned.length)] = below(256);
        return turned;
      }
      default:
        return Buffer.concat([Uint8Array.of(0x40 | below(9), below(256)), entropy.bytes(2 + below(60))]);
    }
  });
}

void t.test('devices, strangers and the IN-CSE', { timeout: 150_000 }, async (t) => {
  const scene = await Scene.open(t);
  const { world } = scene;
  const port = /modem\.tty/u;

  await t.test('a modem that goes, babbles or is silent', async (t) => {
    world.tellModem('unplug');
    const unplugged = await scene.alarm(port);
    t.match(
      unplugged,
      /^modem lte0: .*(?:plug the device in|check its cable)/u,
      'the alarm tells the way out',
    );
    await scene.goesOn('modem unplugged');
    world.tellModem('replug');
    await scene.noAlarm(/modem/u);
    for (const mode of ['garbage', 'silent']) {
      world.tellModem(mode);
      const text = await scene.alarm(/modem\.tty does not answer AT/u);
      t.match(text, /check that this is its AT port/u, `${mode}: the alarm tells the way out`);
      const { links } = await scene.status();
      t.match(links[0]?.modem, { state: 'silent', reason: port });
      await scene.goesOn(`modem ${mode}`);
      world.tellModem('normal');
      await scene.noAlarm(/modem/u);
    }
  });

  await t.test('a sensor that goes and comes back', async (t) => {
    world.tellSensor('unplug');
    const text = await scene.alarm(/sensor\.tty/u);
    t.match(
      text,
      /^sensor weather: .*(?:plug the device in|check its cable)/u,
      'the alarm tells the way out',
    );
    t.match((await scene.status()).sensors[0], { state: 'lost', reason: /sensor\.tty/u });
    await sleep(clock, millis(700));
    world.tellSensor('replug');
    await scene.noAlarm(/sensor/u);
    await scene.goesOn('sensor replugged');
  });

  await t.test('strange datagrams', async () => {
    await scene.goesOn('before the datagrams', 5);
    for (let burst = 0; burst < 10; burst++) {
      await world.sendToGateway(strangeDatagrams(200));
      await sleep(clock, millis(20));
    }
    await scene.goesOn('after the datagrams');
  });

  await t.test('commands, also right before a handover', async () => {
    const source = await scene.servingArea();
    await scene.command(source, 'quiet-1');
    await scene.until('the command is executed', ({ commands }) => commands.executed === 1);
    const target = source === 'mn1' ? 'mn2' : 'mn1';
    const ordered = scene.order(`/id-${target}`);
    await Promise.all([ordered, scene.command(source, 'moving-1'), scene.command(source, 'moving-2')]);
    await scene.until(
      'served by the target',
      ({ serving, handover }) => serving?.cseId === `/id-${target}` && handover === undefined,
    );
    await scene.until('all commands are executed', ({ commands }) => commands.executed === 3);
  });

  await t.test('the IN-CSE is away during a handover', async (t) => {
    const source = await scene.servingArea();
    const target = source === 'mn1' ? 'mn2' : 'mn1';
    const before = scene.handovers.length;
    await world.orderCses({ cmd: 'crash', cse: 'in' });
    await scene.order(`/id-${target}`);
    await scene.until('claiming', ({ handover }) => handover?.state === 'claiming');
    await scene.goesOn('no IN-CSE', 60);
    t.match(await scene.status(), { handover: { state: 'claiming' }, serving: { cseId: `/id-${source}` } });
    await world.orderCses({ cmd: 'restart', cse: 'in', keepState: true });
    await scene.until(
      'served by the target',
      ({ serving, handover }) => serving?.cseId === `/id-${target}` && handover === undefined,
    );
    t.match(
      scene.handovers.slice(before).map(({ event }) => event),
      [{ outcome: 'completed', trigger: 'operator', target: `/id-${target}` }],
    );
  });

  const { summary } = await scene.judge(t);
  t.equal(summary.inDoubtDoubles, 0);
  t.equal(world.gatewayFailure, undefined);
});
