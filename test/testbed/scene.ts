import type { Test } from 'tap';
import { errorText } from '../../src/base/errors.ts';
import { millis } from '../../src/base/units.ts';
import type { GatewayEvent, GatewayStatus } from '../../src/gateway/status.ts';
import { sleep } from '../../src/host/clock.ts';
import type { Clock } from '../../src/host/clock.ts';
import { createNodeHost } from '../../src/host/host.ts';
import { NodeLocalSockets } from '../../src/host/local-socket.ts';
import { ResourceType } from '../../src/onem2m/enums.ts';
import type { HeldResource } from '../../src/testbed/drive/cse-host-process.ts';
import { TrialWorld } from '../../src/testbed/drive/trial-world.ts';
import type { TrialEvidenceRaw } from '../../src/testbed/drive/trial-world.ts';
import { judgeDrive } from '../../src/testbed/drive/verdict.ts';
import type { ObservedHandover } from '../../src/testbed/drive/verdict.ts';
import type { DemoSummary } from '../../src/gateway/view/summary.ts';

const streams = { temperature: 100, vibration: 60 };
/** Start value of every chance. */
export const seed = 11;
const settleMs = millis(20_000);
const host = createNodeHost();
/** The clock of the tests and of all their processes. */
export const clock: Clock = host.clock;

/** A world with its gateway, and what was seen of it. */
export class Scene {
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

  /** What is emitted and held now, and what a verdict makes of it. */
  async #sum(): Promise<{ summary: DemoSummary; evidence: TrialEvidenceRaw; status: GatewayStatus }> {
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
    return { summary, evidence, status };
  }

  /** The verdict over everything until now; ends the sensor. */
  async judge(t: Test): Promise<{ summary: DemoSummary; evidence: TrialEvidenceRaw }> {
    await this.world.drain(settleMs);
    // A CSE that could not be reached when it was left is released by a later sweep (I10).
    const endMs = clock.monotonicMs() + settleMs;
    let { summary, evidence, status } = await this.#sum();
    while (summary.verdict === 'fail' && clock.monotonicMs() < endMs) {
      await sleep(clock, millis(500));
      ({ summary, evidence, status } = await this.#sum());
    }
    t.same(summary.reasons, [], `verdict over ${summary.stored} readings, seed ${seed}`);
    for (const name of missing(evidence)) t.comment(`lost: ${name}`);
    t.ok(summary.stored > 100, 'enough was emitted to prove something');
    t.equal(summary.pending, 0);
    t.same(status.alarms, [], 'no alarm is left');
    for (const id of this.#commands) {
      t.same(
        statusesOf(evidence.held, id),
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

/** Statuses of the command `id` in the containers of results, at whichever CSE. */
function statusesOf(held: readonly HeldResource[], id: string): unknown[] {
  return held
    .filter(({ path, type }) => type === ResourceType.contentInstance && path.split('/')[2] === 'results')
    .map(({ content }) => (content as { v?: { id?: unknown; status?: unknown } }).v)
    .filter((value) => value?.id === id)
    .map((value) => value?.status);
}
