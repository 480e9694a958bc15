/**
 * What a seed stands for: the world of a run, and which faults strike it how often. Each run has some kinds of faults and not
 * others (swarm testing): with all of them at once, the ones that hold everything up would hide the rest.
 *
 * Every part draws from a source of its own, so that a run without one kind of fault is otherwise the same run as far as
 * possible: that is how a failing seed is made smaller.
 *
 * What finds defects is how densely handovers and faults follow each other, not how many readings pass in between: most
 * streams are as slow as most sensors are, a few are fast enough to keep the buffer full, and orders come every few seconds.
 */
import { SeededEntropy } from '../seeded-entropy.ts';
import { Draw } from './draw.ts';

/** Kinds of faults; what each does is told in `fault-injector.ts`. */
export const faultKinds = [
  'loss',
  'duplication',
  'reordering',
  'badSpells',
  'partitions',
  'halfOpen',
  'linkDown',
  'cseCrashes',
  'cseAmnesia',
  'slowCse',
  'wrongAnswers',
  'kills',
  'handoverKills',
  'powerCuts',
  'diskErrors',
  'diskFull',
  'readErrors',
  'bitRot',
  'wallSteps',
  'sensorGaps',
  'strangers',
  'rival',
] as const;

/** One kind of fault. */
export type FaultKind = (typeof faultKinds)[number];

/** A stream of the simulated sensor. */
export interface PlannedStream {
  readonly name: string;
  readonly durability: 'A' | 'B' | 'C';
  readonly order: 'inOrder' | 'liveFirst';
  readonly periodMs: number;
  /** Readings that may share one instance; undefined for one each. */
  readonly batch: { readonly max: number; readonly spanMs: number } | undefined;
  /** Age at which a reading is given up; mostly none. */
  readonly ttlMs: number | undefined;
  /** AE of the bundle that it is under, by its number; 0 is the gateway's own. */
  readonly ae: number;
}

/** The world of one run. */
export interface SimulationPlan {
  readonly seed: number;
  /** Handovers, completed or rolled back, after which the faults end. */
  readonly handovers: number;
  /** MN-CSEs beside the one IN-CSE. */
  readonly mnCount: number;
  readonly streams: readonly PlannedStream[];
  /** AEs of the bundle, the gateway's own among them. */
  readonly aes: number;
  /** Whether a claim may follow the switch while the IN-CSE is out of reach. */
  readonly claim: 'required' | 'deferred';
  /** Whether the bundle is prepared ahead at the best alternative. */
  readonly hasStandby: boolean;
  /** Whether a modem measures a radio field, so that the decision moves the gateway; orders move it in any case. */
  readonly hasRadio: boolean;
  /** Mean time between two orders for a handover. */
  readonly orderMs: number;
  /** Mean time between two commands. */
  readonly commandMs: number;
  /** One-way delay of every path without faults. */
  readonly delayMs: number;
  readonly graceMs: number;
  readonly phaseDeadlineMs: number;
  readonly switchDeadlineMs: number;
  readonly deadlineMs: number;
  /** Commands are fetched by the gateway: the CSEs do not notify. */
  readonly pollMs: number | undefined;
  readonly quotaBytes: number;
  /** By kind, the mean time between two strikes, or the strength where a fault is always there. */
  readonly faults: ReadonlyMap<FaultKind, number>;
}

/** Handovers of a run unless told otherwise; a seed is replayed with the number that it failed with. */
export const handoversPerSeed = 20;

/** What may be set instead of drawn. */
export interface PlanOptions {
  readonly seed: number;
  readonly handovers?: number;
  /** Kinds left out. */
  readonly without?: readonly FaultKind[];
}

/** The plan of a seed. */
export function planOf(options: PlanOptions): SimulationPlan {
  const { seed, handovers = handoversPerSeed, without = [] } = options;
  const entropy = new SeededEntropy(seed).fork('plan');
  const draw = new Draw(entropy.fork('world'));
  const bundle = new Draw(entropy.fork('bundle'));
  const delayMs = new Draw(entropy.fork('delay')).spread(2, 120);
  const aes = bundle.chance(0.6) ? 1 : Math.round(bundle.spread(2, 40));
  return {
    seed,
    handovers,
    mnCount: draw.whole(2, 6),
    streams: drawStreams(new Draw(entropy.fork('streams')), aes),
    aes,
    claim: bundle.chance(0.2) ? 'deferred' : 'required',
    hasStandby: bundle.chance(0.3),
    hasRadio: draw.chance(0.3),
    orderMs: draw.spread(1500, 15_000),
    commandMs: draw.spread(2000, 20_000),
    delayMs,
    graceMs: draw.spread(5000, 600_000),
    // A large bundle over a long way takes many rounds of requests: who has one allows for them.
    phaseDeadlineMs: draw.spread(1500, 5000) + aes * delayMs,
    switchDeadlineMs: draw.spread(100, 2000),
    deadlineMs: draw.spread(1000, 4000),
    pollMs: draw.chance(0.15) ? Math.round(draw.spread(500, 3000)) : undefined,
    quotaBytes: draw.pick([128, 256, 512]) * 1024,
    faults: drawFaults(entropy, without),
  };
}

function drawStreams(draw: Draw, aes: number): PlannedStream[] {
  const count = draw.whole(1, 4);
  return Array.from({ length: count }, (_, index) => ({
    name: `stream${index + 1}`,
    durability: draw.pick(['A', 'A', 'B', 'B', 'C'] as const),
    order: draw.chance(0.4) ? 'liveFirst' : 'inOrder',
    periodMs: Math.round(draw.chance(0.15) ? draw.spread(150, 1500) : draw.spread(1500, 30_000)),
    batch: draw.chance(0.25)
      ? { max: draw.whole(2, 16), spanMs: Math.round(draw.spread(200, 20_000)) }
      : undefined,
    ttlMs: draw.chance(0.1) ? Math.round(draw.spread(5000, 120_000)) : undefined,
    ae: draw.chance(0.5) ? draw.whole(0, aes - 1) : 0,
  }));
}

function drawFaults(entropy: SeededEntropy, without: readonly FaultKind[]): Map<FaultKind, number> {
  const faults = new Map<FaultKind, number>();
  const share = new Draw(entropy.fork('share')).between(0.05, 0.45);
  for (const kind of faultKinds) {
    const draw = new Draw(entropy.fork(kind));
    const strikes = draw.chance(kind === 'rival' ? share / 4 : share);
    const strength = strengthOf(kind, draw);
    if (strikes && !without.includes(kind)) faults.set(kind, strength);
  }
  return faults;
}

function strengthOf(kind: FaultKind, draw: Draw): number {
  const [least, most] = strengths[kind] ?? [4000, 120_000];
  return draw.spread(least, most);
}

/** Where the strength is not a mean time between 4 s and 2 minutes. */
const strengths: Partial<Record<FaultKind, readonly [number, number]>> = {
  loss: [0.003, 0.2],
  duplication: [0.01, 0.3],
  reordering: [20, 1000],
  handoverKills: [0.05, 0.5],
  rival: [60_000, 600_000],
};
