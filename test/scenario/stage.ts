// One scenario on its way: its CSEs, its gateway, and what is done to them again and again.
import { errorText } from '../../src/base/errors.ts';
import { millis } from '../../src/base/units.ts';
import type { HandoverEndedEvent } from '../../src/gateway/status.ts';
import { targetLabel } from '../../src/handover/candidate-discovery.ts';
import { sleep } from '../../src/host/clock.ts';
import type { Host } from '../../src/host/host.ts';
import { ResourceType } from '../../src/onem2m/enums.ts';
import type { HeldResource } from '../../src/testbed/drive/cse-host-process.ts';
import { StepError } from '../real/steps.ts';
import { GatewaySite, isSettled } from './gateway-site.ts';
import { settleMs } from './ground.ts';
import type { CseMaker, Ground, Seat } from './ground.ts';
import { judge, resultsOf } from './judge.ts';

/** What the verdict has to know beside what is held. */
export interface VerdictOptions {
  /** What a CSE held before it forgot everything. */
  readonly forgotten?: readonly HeldResource[];
  readonly others?: readonly string[];
  readonly isProvisional?: boolean;
}

/** Longer than the sweep that releases what was left behind takes to come round. */
const verdictMs = millis(40_000);
const lookMs = millis(400);

/** A scenario's view of everything. */
export class Stage {
  readonly host: Host;
  readonly maker: CseMaker;
  readonly ground: Ground;
  readonly device: string;
  readonly #seed: number;
  readonly #sites: GatewaySite[] = [];
  readonly #commands: string[] = [];

  constructor(options: { host: Host; maker: CseMaker; ground: Ground; device: string; seed: number }) {
    this.host = options.host;
    this.maker = options.maker;
    this.ground = options.ground;
    this.device = options.device;
    this.#seed = options.seed;
  }

  /** What the gateways complained of last. */
  get notices(): readonly string[] {
    return this.#sites.flatMap(({ notices }) => notices);
  }

  /** The MN-CSE at a place of the scenario's list. */
  seat(index: number): Seat {
    const seat = this.ground.mns[index];
    if (seat === undefined) throw new StepError(`the scenario has no CSE ${index}`);
    return seat;
  }

  /** A further gateway of the same identity: a folder and a sensor of its own. */
  async site(options: { config?: Record<string, unknown>; isSilent?: boolean } = {}): Promise<GatewaySite> {
    const { host, ground, device } = this;
    const site = await GatewaySite.open({ host, ground, device, seed: this.#seed, ...options });
    this.#sites.push(site);
    return site;
  }

  /** A gateway whose home AE is provisioned and to which all MN-CSEs are published; it does not run yet. */
  async provisioned(config: Record<string, unknown> = {}): Promise<GatewaySite> {
    const site = await this.site({ config });
    const provisioned = await site.baton('provision', '--operator', 'CAdmin');
    if (provisioned.code !== 0) throw new StepError(`provision: ${provisioned.err}`);
    for (const seat of this.ground.mns) await this.publish(seat);
    return site;
  }

  /** An operator makes a CSE known to the gateway. */
  async publish({ name, cseId, cseBaseName, pointOfAccess }: Seat): Promise<void> {
    const content = { cseId, cseBaseName, pointsOfAccess: [pointOfAccess], coverage: [] };
    const contentInstance = { resourceName: name, labels: [targetLabel], content };
    const made = await this.ground.inCse.speaking((operator) =>
      operator.create(`cse-in/${this.device}-home/targets`, ResourceType.contentInstance, {
        contentInstance,
      }),
    );
    if (!made.ok) throw new StepError(`target ${name}: ${made.error.message}`);
  }

  /** A gateway that runs, is served at the first MN-CSE and has delivered readings there. */
  async begin(config: Record<string, unknown> = {}): Promise<GatewaySite> {
    const site = await this.provisioned(config);
    await site.start();
    await this.attach(site, this.seat(0));
    return site;
  }

  /** Orders the first registration, and waits for it and for some readings. */
  async attach(site: GatewaySite, seat: Seat): Promise<void> {
    const known = await site.until('candidates', ({ levels, serving }) => {
      return serving !== undefined || levels.some(({ cseId }) => cseId === seat.cseId);
    });
    // It may register there by itself just before the order.
    if (known.serving === undefined) {
      await site.baton('handover', '--to', seat.cseId, '--json');
    }
    await site.until(`serving at ${seat.cseId}`, (status) => {
      return isSettled(status) && status.serving?.cseId === seat.cseId;
    });
    await this.delivering(site);
  }

  /** Waits until ten more readings have been delivered. */
  async delivering(site: GatewaySite): Promise<void> {
    // One that has just started does not count yet what the last run delivered.
    const before = (await site.until('settled', isSettled)).buffer.delivered;
    await site.until('delivery', (status) => isSettled(status) && status.buffer.delivered >= before + 10);
  }

  /** Orders a move by `baton handover` and waits for its end. */
  async move(site: GatewaySite, seat: Seat): Promise<HandoverEndedEvent> {
    const ended = await this.order(site, seat);
    if (ended.outcome !== 'completed') {
      throw new StepError(`the move to ${seat.cseId} is ${ended.outcome}: ${ended.reason}`);
    }
    await site.until(`serving at ${seat.cseId}`, (status) => {
      return isSettled(status) && status.serving?.cseId === seat.cseId;
    });
    return ended;
  }

  /** Orders a move by `baton handover`; how it ended. */
  async order(site: GatewaySite, seat: Seat): Promise<HandoverEndedEvent> {
    const { code, out, err } = await site.baton('handover', '--to', seat.cseId, '--json');
    const told = out.trim().split('\n').at(-1) ?? '';
    const ended = (told === '' ? {} : JSON.parse(told)) as Partial<HandoverEndedEvent>;
    if (ended.kind !== 'handoverEnded')
      throw new StepError(`baton handover: exit code ${code}, ${told}${err}`);
    if ((code === 0) !== (ended.outcome === 'completed')) {
      throw new StepError(`baton handover ends with ${code} although it is ${ended.outcome}`);
    }
    return ended as HandoverEndedEvent;
  }

  /** What the CSEs hold of the gateway and of the AEs of these names. */
  held(others: readonly string[] = []): Promise<HeldResource[]> {
    return this.ground.held([this.device, `${this.device}-home`, ...others]);
  }

  /** An operator gives the gateway a command at a CSE; it counts in the verdict. */
  async command(seat: Seat, id: string): Promise<void> {
    const content = { id, command: 'ping' };
    const made = await seat.speaking((operator) =>
      operator.create(`${seat.cseBaseName}/${this.device}/cmd`, ResourceType.contentInstance, {
        contentInstance: { content },
      }),
    );
    if (!made.ok) throw new StepError(`command ${id} at ${seat.name}: ${made.error.message}`);
    this.#commands.push(id);
  }

  /** Waits until the result of a command stands at a CSE. */
  async result(id: string): Promise<void> {
    await this.until(`the result of command ${id}`, async () => {
      return resultsOf(await this.held(), this.device, id).length > 0;
    });
  }

  /** Asks again and again until it is so; throws `StepError` that names `what`. */
  async until(what: string, condition: () => Promise<boolean>, limitMs: number = settleMs): Promise<void> {
    const { clock } = this.host;
    const endMs = clock.monotonicMs() + limitMs;
    while (!(await condition())) {
      if (clock.monotonicMs() > endMs) throw new StepError(`${what}: not within ${limitMs} ms`);
      await sleep(clock, lookMs);
    }
  }

  /** Drains the gateway and judges; the notes of a scenario that went well. */
  async verdict(site: GatewaySite, servedAt: Seat, options: VerdictOptions = {}): Promise<string[]> {
    const { forgotten = [], others = [], isProvisional = false } = options;
    await site.drain();
    const { clock } = this.host;
    const endMs = clock.monotonicMs() + verdictMs;
    for (;;) {
      const now = await this.held(others);
      const isHeld = new Set(now.map(({ cse, path }) => `${cse} ${path}`));
      const held = [...now, ...forgotten.filter(({ cse, path }) => !isHeld.has(`${cse} ${path}`))];
      const commands = this.#commands;
      const view = { site, held, commands, others, isProvisional, servedAt: servedAt.cseId };
      const { figures, faults } = judge(view);
      if (faults.length === 0) return [figures];
      if (clock.monotonicMs() > endMs) throw new StepError(`${figures}; ${faults.join('; ')}`);
      await sleep(clock, lookMs);
    }
  }

  /** Ends everything; what cannot be ended is told. */
  async close(): Promise<void> {
    const ends = await Promise.allSettled([...this.#sites.map((site) => site.close()), this.ground.close()]);
    for (const end of ends) if (end.status === 'rejected') throw new StepError(errorText(end.reason));
  }
}
