// The gateway as its users run it (`baton run`), with a sensor and a modem on pseudo terminals, at ACME's CSEs over CoAP or
// over MQTT: readings up, commands down and their results up, handovers by order to and fro, and a kill in the middle of one. What the
// sensor made is compared with what the CSEs hold. Over CoAP commands are fetched, without a key that says so; over MQTT ACME's notifications do arrive:
// nothing is fetched there, and a target proves its way down by one.
import { errorText } from '../../src/base/errors.ts';
import { millis } from '../../src/base/units.ts';
import type { Millis } from '../../src/base/units.ts';
import type { GatewayEvent, GatewayStatus } from '../../src/gateway/status.ts';
import { sleep } from '../../src/host/clock.ts';
import type { Host } from '../../src/host/host.ts';
import { NodeLocalSockets } from '../../src/host/local-socket.ts';
import { ResourceType } from '../../src/onem2m/enums.ts';
import type { HeldResource } from '../../src/testbed/drive/cse-host-process.ts';
import { TrialWorld } from '../../src/testbed/drive/trial-world.ts';
import { judgeDrive } from '../../src/testbed/drive/verdict.ts';
import type { ObservedHandover } from '../../src/testbed/drive/verdict.ts';
import type { AcmeNetwork } from './acme-network.ts';
import type { Wire } from './differences-table.ts';
import { heldBelow } from './held.ts';
import type { Report } from '../real/report.ts';
import { StepError, runSteps } from '../real/steps.ts';

/** The last step of a path. */
export const everythingOnce =
  'every reading stands at the CSEs exactly once, in order; the bundle is whole at one';

/** Both paths run at the same CSEs at the same time. */
const devices = { coap: 'gw1', mqtt: 'gw2' } as const;
const drive = 'ring';
const seed = 11;
const streams = { temperature: 250, vibration: 200 };
const settleMs = millis(30_000);
/** Long enough for a phase at a CSE written in Python on a machine that has other things to do. */
const phaseDeadlineMs = 8_000;
const staysMs = millis(2_500);

/** Runs the whole path; each step is reported. */
export async function runGateway(
  host: Host,
  network: AcmeNetwork,
  report: Report,
  wire: Wire,
): Promise<void> {
  const run = new GatewayRun(host, network, wire);
  const part = `gateway over ${wire}`;
  const work = (): Promise<void> =>
    runSteps({ clock: host.clock, report, part, notices: () => run.notices }, [
      ['the gateway attaches to an MN-CSE and delivers', () => run.attach()],
      ['a command goes down, its result comes up', () => run.command('before')],
      ['a handover by order', () => run.handOver()],
      ['a command at the target goes down, its result comes up', () => run.command('moved')],
      ['and back', () => run.handOver()],
      [
        'kill -9 while claiming: the restarted gateway ends at the target',
        () => run.handOverKilled('claiming'),
      ],
      [
        'kill -9 while preparing: the restarted gateway stays at the source',
        () => run.handOverKilled('preparing'),
      ],
      ['a command after the kills, its result comes up', () => run.command('after')],
      [everythingOnce, () => run.verdict()],
    ]);
  await network.lending(() => run.stop(), work);
}

class GatewayRun {
  readonly notices: string[] = [];
  readonly #host: Host;
  readonly #network: AcmeNetwork;
  readonly #wire: Wire;
  readonly #handovers: ObservedHandover[] = [];
  readonly #commands: string[] = [];
  #world: TrialWorld | undefined;
  #onPhase: (state: string) => void = () => undefined;

  constructor(host: Host, network: AcmeNetwork, wire: Wire) {
    this.#host = host;
    this.#network = network;
    this.#wire = wire;
  }

  async attach(): Promise<readonly string[]> {
    const { clock } = this.#host;
    const network = this.#network;
    const world = await TrialWorld.open({
      host: this.#host,
      localSockets: new NodeLocalSockets(),
      device: devices[this.#wire],
      drive,
      seconds: 3600,
      seed,
      rttMs: 0,
      streams,
      cses: {
        in: network.pointOfAccess('in', this.#wire),
        mn: {
          mn1: network.pointOfAccess('mn1', this.#wire),
          mn2: network.pointOfAccess('mn2', this.#wire),
        },
        held: () => this.#held(),
      },
      config: {
        // Only what is ordered moves the gateway.
        decision: { minimumStayMs: 3_600_000, discoveryPeriodMs: 2_000 },
        handover: { phaseDeadlineMs },
        uplink: { deadlineMs: 5_000 },
      },
      onEvent: (event: GatewayEvent) => {
        if (event.kind === 'handoverEnded') this.#handovers.push({ event, endedMs: clock.monotonicMs() });
        if (event.kind === 'phase') this.#onPhase(event.state);
        if (event.kind === 'alarm')
          this.notices.push(`${event.active ? 'alarm' : 'alarm over'}: ${event.text}`);
      },
      onNotice: (text) => this.notices.push(text),
    });
    this.#world = world;
    await world.go();
    await world.startGateway();
    const { serving, buffer } = await this.#until(
      'delivery',
      (status) => isSettled(status) && status.buffer.delivered > 20,
    );
    return [`at ${serving?.cseId}, ${buffer.delivered} readings delivered`];
  }

  /** An operator's command at the serving CSE is executed and its result stands there. */
  async command(id: string): Promise<readonly string[]> {
    const serving = await this.#serving();
    const area = serving.replace('/id-', '');
    const { clock } = this.#host;
    const beganMs = clock.monotonicMs();
    const created = await this.#running.createCommand(area, { id, command: 'ping' });
    if (!created.ok) throw new StepError(`the command cannot be created: ${created.error.message}`);
    this.#commands.push(id);
    for (;;) {
      const results = resultsIn(await this.#held()).filter((result) => result.id === id);
      const tookMs = Math.round(clock.monotonicMs() - beganMs);
      if (results.some(({ status }) => status === 'done'))
        return [`at ${serving}, after ${tookMs} ms at most`];
      if (tookMs > settleMs) throw new StepError(`no result of command ${id} within ${settleMs} ms`);
      await sleep(clock, millis(200));
    }
  }

  async handOver(): Promise<readonly string[]> {
    const { source, target } = await this.#route();
    const count = this.#handovers.length;
    await this.#order(target, () => false);
    const after = await this.#until(
      `serving at ${target}`,
      (status) => isSettled(status) && this.#handovers.length > count,
    );
    const ended = this.#handovers.at(-1)?.event;
    if (ended?.outcome !== 'completed' || after.serving?.cseId !== target)
      throw new StepError(`${ended?.outcome}: ${ended?.reason ?? `at ${after.serving?.cseId}`}`);
    await sleep(this.#host.clock, staysMs);
    return [`${source} to ${target} in ${ended.elapsedMs} ms`];
  }

  async handOverKilled(state: 'preparing' | 'claiming'): Promise<readonly string[]> {
    const { source, target } = await this.#route();
    const world = this.#running;
    let isKilled = false;
    const killed = new Promise<void>((resolve, reject) => {
      this.#onPhase = (entered) => {
        if (entered !== state || isKilled) return;
        isKilled = true;
        world
          .killGateway()
          .then(() => world.startGateway())
          .then(resolve, reject);
      };
    });
    await this.#order(target, () => isKilled);
    await killed;
    const wanted = state === 'claiming' ? target : source;
    const after = await this.#until(`settled after the kill`, isSettled);
    if (after.serving?.cseId !== wanted)
      throw new StepError(`at ${after.serving?.cseId} instead of ${wanted}`);
    await sleep(this.#host.clock, staysMs);
    return [`${source} to ${target}, ends at ${wanted}`];
  }

  async verdict(): Promise<readonly string[]> {
    const device = devices[this.#wire];
    const world = this.#running;
    await world.drain(settleMs);
    const { clock } = this.#host;
    const endMs = clock.monotonicMs() + settleMs;
    for (;;) {
      const status = (await world.control('status')) as GatewayStatus;
      const evidence = await world.collect();
      const failures = world.gatewayFailure === undefined ? [] : [world.gatewayFailure];
      const seen = { handovers: this.#handovers, evidence, status, failures };
      const summary = judgeDrive({ drive, seed, seconds: 0, rttMs: 0, device, streams, ...seen });
      const reasons = [...summary.reasons, ...this.#commandFaults(evidence.held)];
      if (summary.stored !== summary.delivered || summary.stored < 50)
        reasons.push(`${summary.stored} stored, ${summary.delivered} delivered`);
      const { stored, delivered, lost, duplicates, inDoubtDoubles, reordered } = summary;
      const figures = `${stored} readings emitted, ${delivered} held, ${lost} lost, ${duplicates} doubled, ${inDoubtDoubles} in doubt, ${reordered} reordered`;
      if (reasons.length === 0) return [figures];
      // A CSE that was left is released a little later.
      if (clock.monotonicMs() > endMs) throw new StepError(`${figures}; ${reasons.join('; ')}`);
      await sleep(clock, millis(500));
    }
  }

  async stop(): Promise<void> {
    await this.#world?.stop();
  }

  get #running(): TrialWorld {
    if (this.#world === undefined) throw new StepError('the world was not built');
    return this.#world;
  }

  #held(): Promise<HeldResource[]> {
    const device = devices[this.#wire];
    const aes = [
      ['mn1', device],
      ['mn2', device],
      ['mn3', device],
      ['in', `${device}-home`],
    ] as const;
    return heldBelow(this.#network, this.#host.clock, aes);
  }

  #until(
    what: string,
    condition: (status: GatewayStatus) => boolean,
    limitMs: Millis = settleMs,
  ): Promise<GatewayStatus> {
    return this.#running.waitForStatus(what, condition, limitMs);
  }

  async #serving(): Promise<string> {
    const { serving } = await this.#until('serving', isSettled);
    return serving?.cseId ?? '';
  }

  async #route(): Promise<{ source: string; target: string }> {
    const source = await this.#serving();
    return { source, target: source === '/id-mn1' ? '/id-mn2' : '/id-mn1' };
  }

  /** Right after a start the candidates are not discovered yet, so an order may have to be given again. */
  async #order(target: string, isDone: () => boolean): Promise<void> {
    const { clock } = this.#host;
    const endMs = clock.monotonicMs() + settleMs;
    for (;;) {
      const answer = await this.#running.control('handover', { target }).catch(errorText);
      const isAccepted =
        typeof answer === 'object' && answer !== null && 'accepted' in answer && answer.accepted === true;
      if (isAccepted || isDone()) return;
      if (clock.monotonicMs() > endMs) throw new StepError(`order to ${target}: ${JSON.stringify(answer)}`);
      await sleep(clock, millis(100));
    }
  }

  #commandFaults(held: readonly HeldResource[]): string[] {
    const results = resultsIn(held);
    return this.#commands
      .map((id) => [id, results.filter((result) => result.id === id).length] as const)
      .filter(([, count]) => count !== 1)
      .map(([id, count]) => `command ${id} has ${count} results`);
  }
}

function isSettled({ serving, handover }: GatewayStatus): boolean {
  return serving !== undefined && handover === undefined;
}

/** The results of commands among the resources. */
export function resultsIn(held: readonly HeldResource[]): { id: unknown; status: unknown }[] {
  return held
    .filter(({ type, path }) => type === ResourceType.contentInstance && path.split('/')[2] === 'results')
    .map(({ content }) => (content as { v?: { id?: unknown; status?: unknown } }).v ?? {})
    .map(({ id, status }) => ({ id, status }));
}
