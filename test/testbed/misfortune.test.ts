/**
 * Proves, on real processes, that misfortune and bad input around a serving gateway neither end it nor cost a stored
 * reading: a modem and a sensor that go and come back, strange datagrams, an IN-CSE that is away during a handover, a
 * serving CSE that answers nonsense, crashes with or without its state, or falls silent for good. What was emitted and
 * what the CSEs hold is compared; every trouble shows as an alarm with its way out and goes when the trouble goes.
 */
import t from 'tap';
import type { Test } from 'tap';
import { errorText } from '../../src/base/errors.ts';
import { millis } from '../../src/base/units.ts';
import type { GatewayEvent, GatewayStatus } from '../../src/gateway/status.ts';
import { sleep } from '../../src/host/clock.ts';
import { createNodeHost } from '../../src/host/host.ts';
import { NodeLocalSockets } from '../../src/host/local-socket.ts';
import { Operation, ResourceType } from '../../src/onem2m/enums.ts';
import type { HeldResource } from '../../src/testbed/drive/cse-host-process.ts';
import { TrialWorld } from '../../src/testbed/drive/trial-world.ts';
import type { TrialEvidenceRaw } from '../../src/testbed/drive/trial-world.ts';
import { judgeDrive } from '../../src/testbed/drive/verdict.ts';
import type { ObservedHandover } from '../../src/testbed/drive/verdict.ts';
import type { DemoSummary } from '../../src/gateway/view/summary.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { randomFraction } from '../../src/host/entropy.ts';

t.setTimeout(150_000);

const streams = { temperature: 100, vibration: 60 };
const seed = 11;
const settleMs = millis(20_000);
const host = createNodeHost();
const { clock } = host;

/** A world with its gateway, and what was seen of it. */
class Scene {
  readonly handovers: ObservedHandover[] = [];
  readonly #gone: HeldResource[] = [];
  readonly #commands: string[] = [];
  world!: TrialWorld;

  static async open(t: Test): Promise<Scene> {
    const scene = new Scene();
    scene.world = await TrialWorld.open({
      host,
      localSockets: new NodeLocalSockets(),
      drive: 'ring',
      seconds: 3600,
      seed,
      rttMs: 20,
      streams,
      onEvent: (event: GatewayEvent) => {
        if (event.kind === 'handoverEnded') scene.handovers.push({ event, endedMs: clock.monotonicMs() });
      },
    });
    t.teardown(() => scene.world.stop());
    await scene.world.go();
    await scene.world.startGateway();
    await scene.until('serving', ({ serving, handover }) => serving !== undefined && handover === undefined);
    return scene;
  }

  until(what: string, condition: (status: GatewayStatus) => boolean): Promise<GatewayStatus> {
    return this.world.waitForStatus(what, condition, settleMs);
  }

  async status(): Promise<GatewayStatus> {
    return (await this.world.control('status')) as GatewayStatus;
  }

  /** The text of an alarm that matches, as soon as there is one. */
  async alarm(pattern: RegExp): Promise<string> {
    let found = '';
    await this.until(`alarm ${String(pattern)}`, ({ alarms }) => {
      found = alarms.find(({ text }) => pattern.test(text))?.text ?? '';
      return found !== '';
    });
    return found;
  }

  noAlarm(pattern: RegExp): Promise<GatewayStatus> {
    return this.until(`no alarm ${String(pattern)}`, ({ alarms }) =>
      alarms.every(({ text }) => !pattern.test(text)),
    );
  }

  /** Resolves when `more` further readings were delivered. */
  async goesOn(what: string, more = 15): Promise<void> {
    const { buffer } = await this.status();
    await this.until(
      `${what}: readings go on`,
      (status) => status.buffer.delivered >= buffer.delivered + more,
    );
  }

  async servingArea(): Promise<string> {
    const { serving } = await this.until('serving', (status) => status.serving !== undefined);
    return String(serving?.cseId).slice('/id-'.length);
  }

  /** Orders a handover; an order may have to be repeated while another one is under way. */
  async order(target: string): Promise<void> {
    const endMs = clock.monotonicMs() + settleMs;
    for (;;) {
      const answer = await this.world.control('handover', { target }).catch(errorText);
      if (typeof answer === 'object' && (answer as { accepted?: unknown }).accepted === true) return;
      if (clock.monotonicMs() > endMs) throw new Error(`order to ${target}: ${JSON.stringify(answer)}`);
      await sleep(clock, millis(50));
    }
  }

  async command(area: string, id: string): Promise<void> {
    this.#commands.push(id);
    const created = await this.world.createCommand(area, { id, command: 'ping' });
    if (!created.ok) throw new Error(created.error.message);
  }

  /** Misbehaviour of a CSE from now on; returns how often the rules before have hit. */
  async misbehave(cse: string, rules: readonly Readonly<Record<string, unknown>>[]): Promise<number> {
    const { hits } = await this.world.orderCses({ cmd: 'misbehave', cse, rules });
    return Number(hits);
  }

  /** What a crashed CSE held counts as delivered although its restart without state forgets it. */
  async rememberHeld(cse: string): Promise<void> {
    const { held } = await this.world.collect();
    this.#gone.push(...held.filter((each) => each.cse === cse && each.type === ResourceType.contentInstance));
  }

  /** The verdict over everything until now; ends the sensor. */
  async judge(t: Test): Promise<{ summary: DemoSummary; evidence: TrialEvidenceRaw }> {
    await this.world.drain(settleMs);
    const status = await this.status();
    const { emitted, held } = await this.world.collect();
    const isHeldStill = (gone: HeldResource): boolean =>
      held.some(({ cse, path }) => cse === gone.cse && path === gone.path);
    const evidence = { emitted, held: [...this.#gone.filter((gone) => !isHeldStill(gone)), ...held] };
    const { gatewayFailure } = this.world;
    const summary = judgeDrive({
      drive: 'ring',
      seed,
      seconds: 0,
      rttMs: 20,
      device: status.device,
      streams,
      handovers: this.handovers,
      evidence,
      status,
      failures: gatewayFailure === undefined ? [] : [gatewayFailure],
    });
    t.same(summary.reasons, [], `verdict over ${summary.stored} readings, seed ${seed}`);
    for (const name of missing(evidence)) t.comment(`lost: ${name}`);
    t.ok(summary.stored > 100, 'enough was emitted to prove something');
    t.equal(summary.pending, 0);
    t.same(status.alarms, [], 'no alarm is left');
    for (const id of this.#commands) {
      t.same(
        outcomesOf(evidence.held, id),
        ['done'],
        `command ${id} took effect once and its result arrived once`,
      );
    }
    return { summary, evidence };
  }
}

/** Readings that no CSE holds, with the CSEs that hold the ones around them. */
function missing({ emitted, held }: TrialEvidenceRaw): string[] {
  return Object.entries(emitted).flatMap(([stream, { first, last }]) => {
    const holders = new Map<unknown, string>();
    for (const { cse, path, type, content } of held) {
      if (type !== ResourceType.contentInstance || path.split('/')[2] !== stream) continue;
      holders.set((content as { n?: unknown }).n, cse);
    }
    const numbers = Array.from({ length: last - first + 1 }, (_, index) => first + index);
    return numbers
      .filter((n) => !holders.has(n))
      .map((n) => `${stream} ${n}, between those at ${holders.get(n - 1)} and ${holders.get(n + 1)}`);
  });
}

/** Outcomes of the command `id` in the containers of results, at whichever CSE. */
function outcomesOf(held: readonly HeldResource[], id: string): unknown[] {
  return held
    .filter(({ path, type }) => type === ResourceType.contentInstance && path.split('/')[2] === 'results')
    .map(({ content }) => (content as { v?: { id?: unknown; outcome?: unknown } }).v)
    .filter((value) => value?.id === id)
    .map((value) => value?.outcome);
}

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

  const { summary } = await scene.judge(t);
  t.comment(`${summary.inDoubtDoubles} doubles labelled as in doubt`);
});
