// Proves of the gateway as its users run it, at CSEs that are reached over MQTT, each with a broker of its own or with one in
// common: it attaches, delivers, is handed over by order to and fro, gets commands as notifications and returns their results,
// and a kill -9 in the middle of a handover does no harm. What the sensor made is compared with what the CSEs hold. Of
// `baton provision` over MQTT: it makes the home AE and leaves a gateway that runs undisturbed.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type { Test } from 'tap';
import { millis } from '../../src/base/units.ts';
import type { GatewayEvent, GatewayStatus } from '../../src/gateway/status.ts';
import { sleep } from '../../src/host/clock.ts';
import { createNodeHost } from '../../src/host/host.ts';
import { NodeLocalSockets } from '../../src/host/local-socket.ts';
import { TrialWorld } from '../../src/testbed/drive/trial-world.ts';
import { judgeDrive } from '../../src/testbed/drive/verdict.ts';
import type { ObservedHandover } from '../../src/testbed/drive/verdict.ts';

t.setTimeout(120_000);

const host = createNodeHost();
const { clock } = host;
const streams = { temperature: 100 };
const seed = 5;
const patienceMs = millis(20_000);
const trial = { drive: 'ring', seed, seconds: 600, rttMs: 4 } as const;

/** A world in which only orders move the gateway. */
class Scene {
  readonly events: GatewayEvent[] = [];
  readonly handovers: ObservedHandover[] = [];
  #world: TrialWorld | undefined;

  async open(t: Test, transport: 'mqtt' | 'mqttShared'): Promise<TrialWorld> {
    const world = await TrialWorld.open({
      host,
      localSockets: new NodeLocalSockets(),
      ...trial,
      streams,
      transport,
      config: {
        decision: { minimumStayMs: 3_600_000, discoveryPeriodMs: 1_000 },
        handover: { phaseDeadlineMs: 6_000 },
      },
      onEvent: (event) => {
        this.events.push(event);
        if (event.kind === 'handoverEnded') this.handovers.push({ event, endedMs: clock.monotonicMs() });
      },
    });
    this.#world = world;
    t.teardown(() => world.stop());
    await world.go();
    await world.startGateway();
    await world.waitForStatus(
      'delivery',
      ({ serving, buffer }) => serving !== undefined && buffer.delivered > 5,
      patienceMs,
    );
    return world;
  }

  get world(): TrialWorld {
    if (this.#world === undefined) throw new Error('no world');
    return this.#world;
  }

  async serving(): Promise<string> {
    const isSettled = ({ serving, handover }: GatewayStatus): boolean =>
      serving !== undefined && handover === undefined;
    const { serving } = await this.world.waitForStatus('serving', isSettled, patienceMs);
    return serving?.cseId ?? '';
  }

  /** Orders a handover to another CSE; returns its target once `isDone`. */
  async handOver(isDone: (target: string) => boolean | Promise<boolean>): Promise<string> {
    const source = await this.serving();
    const target = source === '/id-mn1' ? '/id-mn2' : '/id-mn1';
    const endMs = clock.monotonicMs() + patienceMs;
    for (;;) {
      const answer = (await this.world.control('handover', { target })) as {
        accepted: boolean;
        reason?: string;
      };
      if (answer.accepted) break;
      if (clock.monotonicMs() > endMs) throw new Error(answer.reason);
      await sleep(clock, millis(50));
    }
    while (!(await isDone(target))) {
      if (clock.monotonicMs() > endMs) throw new Error(`the handover to ${target} did not end`);
      await sleep(clock, millis(10));
    }
    return target;
  }

  /** A command at the serving CSE, and how long its result took to stand there. */
  async command(id: string): Promise<number> {
    const beganMs = clock.monotonicMs();
    const created = await this.world.createCommand((await this.serving()).slice(4), { id, command: 'ping' });
    if (!created.ok) throw new Error(created.error.message);
    for (;;) {
      const { held } = await this.world.collect();
      const tookMs = clock.monotonicMs() - beganMs;
      if (
        held.some(
          ({ path, content }) => path.includes('/results/') && JSON.stringify(content).includes(`"${id}"`),
        )
      )
        return tookMs;
      if (tookMs > patienceMs) throw new Error(`no result of command ${id}`);
      await sleep(clock, millis(50));
    }
  }

  async judge(t: Test): Promise<void> {
    await this.world.drain(patienceMs);
    const endMs = clock.monotonicMs() + patienceMs;
    for (;;) {
      const status = (await this.world.control('status')) as GatewayStatus;
      const evidence = await this.world.collect();
      const failures = this.world.gatewayFailure === undefined ? [] : [this.world.gatewayFailure];
      const summary = judgeDrive({
        ...trial,
        device: 'gw1',
        streams,
        handovers: this.handovers,
        evidence,
        status,
        failures,
      });
      // A CSE that was left is released by a later sweep.
      if (summary.reasons.length > 0 && clock.monotonicMs() < endMs) {
        await sleep(clock, millis(500));
        continue;
      }
      t.same(summary.reasons, []);
      t.match(summary, { lost: 0, duplicates: 0, reordered: 0 });
      t.equal(summary.stored, summary.delivered);
      t.ok(summary.stored > 20, `${summary.stored} readings`);
      return;
    }
  }
}

/** Runs `baton provision` to its end. */
function provision(configPath: string): Promise<{ code: number | null; said: string }> {
  const binPath = fileURLToPath(new URL('../../src/gateway/bin.js', import.meta.url));
  const child = spawn(process.execPath, [binPath, 'provision', '--config', configPath], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  child.stdout.on('data', (data: Buffer) => (said += data.toString()));
  child.stderr.on('data', (data: Buffer) => (said += data.toString()));
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, said })));
}

for (const transport of ['mqtt', 'mqttShared'] as const) {
  await t.test(`${transport}: attach, command, handover to and fro, kill -9`, async (t) => {
    const scene = new Scene();
    const world = await scene.open(t, transport);
    const completed = (): boolean => scene.handovers.at(-1)?.event.outcome === 'completed';
    await scene.command('first');
    const again = await provision(world.configPath);
    t.same(again, { code: 0, said: 'home AE cse-in/gw1-home was there, kept\n' });
    const count = scene.handovers.length;
    const target = await scene.handOver(() => scene.handovers.length > count);
    t.ok(completed(), JSON.stringify(scene.handovers.at(-1)?.event));
    t.equal(await scene.serving(), target);
    await scene.command('moved');
    const lost = scene.events.filter((event) => event.kind === 'alarm' && event.text.startsWith('broker'));
    t.same(lost, [], 'no session was lost, not to a second client either');
    const killed = await scene.handOver(async () => {
      const isClaiming = scene.events.some(
        (event) => event.kind === 'phase' && event.epoch === 3 && event.state === 'claiming',
      );
      if (!isClaiming) return false;
      await world.killGateway();
      await world.startGateway();
      return true;
    });
    t.equal(await scene.serving(), killed, 'after the claim it goes forward');
    await scene.command('after');
    await scene.judge(t);
  });
}
