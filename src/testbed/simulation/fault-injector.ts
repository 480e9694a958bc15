/**
 * The faults of a run. Each kind draws from a source of its own and strikes again and again until the run is healed:
 *
 *   loss, duplication, reordering  always there, on every path
 *   badSpells      a path loses much for a while         partitions    a path is cut, both ways or one
 *   halfOpen       a CSE hears the gateway and is not heard, or the reverse
 *   linkDown       the gateway's link is gone: nothing leaves, sockets cannot be opened
 *   cseCrashes     a CSE ends and comes back with what it held; cseAmnesia: an MN-CSE comes back empty
 *   slowCse, wrongAnswers   a CSE answers late; refuses, keeps silent, crashes in the middle, answers nonsense
 *   kills, powerCuts        the process of the gateway ends after some steps; handoverKills: in the middle of a handover
 *   diskErrors, diskFull    calls on the disk but reads fail; nothing more fits on it
 *   readErrors, bitRot      reads fail; a bit flips or a sector is zeroed in what the buffer has written: what the gateway counts
 *                           as corrupt may be missing, and no more
 *   wallSteps      the gateway's wall clock jumps        sensorGaps    the sensor is unplugged, then has much to tell
 *   strangers      datagrams that nobody understands     rival         somebody claims an epoch with our identity
 */
import { millis } from '../../base/units.ts';
import type { CancelTimer, Clock } from '../../host/clock.ts';
import type { SeededEntropy } from '../seeded-entropy.ts';
import type { FileFault, FileOperation } from '../simulated-filesystem.ts';
import { Draw } from './draw.ts';
import type { FaultKind, SimulationPlan } from './plan.ts';
import type { PathConditions } from './simulated-network.ts';
import type { Ending } from './gateway-machine.ts';

/** What faults act on. */
export interface FaultTargets {
  readonly clock: Clock;
  readonly entropy: SeededEntropy;
  readonly plan: SimulationPlan;
  readonly gatewayAddress: string;
  /** Addresses of the CSEs, the IN-CSE first. */
  readonly cseAddresses: readonly string[];
  readonly crashCse: (index: number, downMs: number, keepState: boolean) => void;
  readonly disturbCse: (index: number, how: 'slow' | 'wrong', draw: Draw) => () => void;
  readonly endGateway: (how: Ending, steps: number, downMs: number) => void;
  readonly setLinkUp: (isUp: boolean) => void;
  /** Spoils something that the buffer has written, and says what. */
  readonly rotDisk: (draw: Draw) => string;
  readonly setDiskFull: (isFull: boolean) => void;
  readonly stepWall: (deltaMs: number) => void;
  readonly setSensorPlugged: (isPlugged: boolean) => void;
  readonly sendStrange: (data: Uint8Array) => void;
  readonly claimAsRival: () => void;
  readonly note: (text: string) => void;
}

/** Strikes; see the header of this file. */
export class FaultInjector {
  readonly #targets: FaultTargets;
  readonly #cancels = new Set<CancelTimer>();
  readonly #undo = new Set<() => void>();
  /** By "from to": how much a path loses; 1 for all. */
  readonly #spells = new Map<string, number>();
  #diskErrorRate = 0;
  #readErrorRate = 0;
  #isHealed = false;
  readonly #diskDraw: Draw;
  readonly #killDraw: Draw;

  constructor(targets: FaultTargets) {
    this.#targets = targets;
    this.#diskDraw = new Draw(targets.entropy.fork('disk'));
    this.#killDraw = new Draw(targets.entropy.fork('handoverKills'));
  }

  /** Begins to strike. */
  start(): void {
    for (const [kind, meanMs] of this.#targets.plan.faults) {
      const strike = this.#strikeOf(kind, new Draw(this.#targets.entropy.fork(kind)));
      if (strike !== undefined)
        this.#repeat(meanMs, strike, new Draw(this.#targets.entropy.fork(`${kind} times`)));
    }
  }

  /** Ends every fault. */
  heal(): void {
    this.#isHealed = true;
    for (const cancel of this.#cancels) cancel();
    for (const undo of this.#undo) undo();
    this.#cancels.clear();
    this.#undo.clear();
    this.#spells.clear();
    this.#diskErrorRate = 0;
    this.#readErrorRate = 0;
  }

  /** What happens to a datagram now; undefined when it does not arrive. */
  pathOf(from: string, to: string): PathConditions | undefined {
    const { faults, delayMs } = this.#targets.plan;
    if (this.#isHealed) return { delayMs, jitterMs: 0, lossRate: 0, duplicateRate: 0 };
    const spell = this.#spells.get(`${from} ${to}`) ?? 0;
    if (spell >= 1) return undefined;
    return {
      delayMs,
      jitterMs: faults.get('reordering') ?? delayMs / 10,
      lossRate: Math.max(faults.get('loss') ?? 0, spell),
      duplicateRate: faults.get('duplication') ?? 0,
    };
  }

  /** What goes wrong with a call on the disk. */
  onOperation({ kind, length }: FileOperation): FileFault | undefined {
    const rate = kind === 'read' ? this.#readErrorRate : this.#diskErrorRate;
    if (rate === 0 || !this.#diskDraw.chance(rate)) return undefined;
    if (kind === 'write' && this.#diskDraw.chance(0.3)) {
      return { kind: 'short', length: this.#diskDraw.whole(0, length), errno: 'EIO' };
    }
    return { kind: 'error', errno: 'EIO' };
  }

  /** A phase of a handover has begun. */
  onPhase(): void {
    const rate = this.#targets.plan.faults.get('handoverKills');
    const draw = this.#killDraw;
    if (rate === undefined || this.#isHealed || !draw.chance(rate / 4)) return;
    this.#targets.endGateway(
      draw.chance(0.5) ? 'kill' : 'powerCut',
      draw.whole(1, 40),
      draw.spread(200, 5000),
    );
  }

  #repeat(meanMs: number, strike: () => void, draw: Draw): void {
    this.#later(draw.waitMs(meanMs), () => {
      strike();
      this.#repeat(meanMs, strike, draw);
    });
  }

  #later(delayMs: number, action: () => void): void {
    const cancel = this.#targets.clock.schedule(millis(delayMs), () => {
      this.#cancels.delete(cancel);
      action();
    });
    this.#cancels.add(cancel);
  }

  /** Something that is wrong for a while, and put right by the end at the latest. */
  #spell(text: string, durationMs: number, begin: () => () => void): void {
    this.#targets.note(`${text} for ${Math.round(durationMs)} ms`);
    const end = begin();
    const undo = (): void => {
      if (!this.#undo.delete(undo)) return;
      end();
      this.#targets.note(`${text} ends`);
    };
    this.#undo.add(undo);
    this.#later(durationMs, undo);
  }

  #strikeOf(kind: FaultKind, draw: Draw): (() => void) | undefined {
    const targets = this.#targets;
    const { cseAddresses: cses } = targets;
    const cse = (least = 0): number => draw.whole(least, cses.length - 1);
    switch (kind) {
      case 'loss':
      case 'duplication':
      case 'reordering':
      case 'handoverKills':
        return undefined;
      case 'badSpells':
        return () => this.#breakPath(draw, draw.between(0.2, 0.8));
      case 'partitions':
        return () => this.#breakPath(draw, 1);
      case 'halfOpen':
        return () => this.#breakHalf(draw, cses[cse()] ?? '');
      case 'linkDown':
        return () =>
          this.#spell('link down', draw.spread(200, 20_000), () => {
            targets.setLinkUp(false);
            return () => targets.setLinkUp(true);
          });
      case 'cseCrashes':
        return () => targets.crashCse(cse(), draw.spread(1500, 20_000), true);
      case 'cseAmnesia':
        return () => targets.crashCse(cse(1), draw.spread(1500, 20_000), false);
      case 'slowCse':
      case 'wrongAnswers':
        return () => {
          const index = cse();
          const how = kind === 'slowCse' ? 'slow' : 'wrong';
          this.#spell(`${kind} ${index}`, draw.spread(500, 15_000), () =>
            targets.disturbCse(index, how, draw),
          );
        };
      case 'kills':
      case 'powerCuts':
        return () => {
          const how = kind === 'kills' ? 'kill' : 'powerCut';
          targets.endGateway(how, draw.whole(0, 200), draw.spread(200, 10_000));
        };
      case 'diskErrors':
      case 'diskFull':
      case 'readErrors':
      case 'bitRot':
      case 'wallSteps':
      case 'sensorGaps':
      case 'strangers':
      case 'rival':
        return this.#strikeAtHome(kind, draw);
    }
  }

  #strikeAtHome(
    kind:
      | 'diskErrors'
      | 'diskFull'
      | 'readErrors'
      | 'bitRot'
      | 'wallSteps'
      | 'sensorGaps'
      | 'strangers'
      | 'rival',
    draw: Draw,
  ): () => void {
    const targets = this.#targets;
    switch (kind) {
      case 'diskErrors':
        return () =>
          this.#spell('disk errors', draw.spread(100, 5000), () => {
            this.#diskErrorRate = draw.spread(0.01, 0.9);
            return () => void (this.#diskErrorRate = 0);
          });
      case 'readErrors':
        return () =>
          this.#spell('read errors', draw.spread(100, 5000), () => {
            this.#readErrorRate = draw.spread(0.01, 0.9);
            return () => void (this.#readErrorRate = 0);
          });
      case 'bitRot':
        return () => targets.note(`bit rot: ${targets.rotDisk(draw)}`);
      case 'diskFull':
        return () =>
          this.#spell('disk full', draw.spread(200, 20_000), () => {
            targets.setDiskFull(true);
            return () => targets.setDiskFull(false);
          });
      case 'wallSteps':
        return () => targets.stepWall((draw.chance(0.5) ? 1 : -1) * draw.spread(10, 5e9));
      case 'sensorGaps':
        return () =>
          this.#spell('sensor unplugged', draw.spread(200, 15_000), () => {
            targets.setSensorPlugged(false);
            return () => targets.setSensorPlugged(true);
          });
      case 'strangers':
        return () => targets.sendStrange(draw.bytes(draw.whole(0, 300)));
      case 'rival':
        return () => targets.claimAsRival();
    }
  }

  #breakPath(draw: Draw, rate: number): void {
    const { gatewayAddress, cseAddresses } = this.#targets;
    const ends = draw.chance(0.7)
      ? [gatewayAddress, draw.pick(cseAddresses)]
      : [cseAddresses[0] ?? '', draw.pick(cseAddresses.slice(1))];
    const [a = '', b = ''] = draw.chance(0.5) ? ends : [...ends].reverse();
    const isOneWay = draw.chance(0.4);
    const ways = isOneWay ? [`${a} ${b}`] : [`${a} ${b}`, `${b} ${a}`];
    this.#setSpell(ways, rate, draw.spread(200, 30_000));
  }

  #breakHalf(draw: Draw, cse: string): void {
    const { gatewayAddress: gateway } = this.#targets;
    const way = draw.chance(0.7) ? `${cse} ${gateway}` : `${gateway} ${cse}`;
    this.#setSpell([way], 1, draw.spread(200, 15_000));
  }

  #setSpell(ways: readonly string[], rate: number, durationMs: number): void {
    this.#spell(`${ways.join(', ')} loses ${rate.toFixed(2)}`, durationMs, () => {
      for (const way of ways) this.#spells.set(way, rate);
      return () => {
        for (const way of ways) this.#spells.delete(way);
      };
    });
  }
}
