// What can happen to a link of the lab, and how it ends. Each fault tells when it took effect, in ms of CLOCK_MONOTONIC.
import { NodeClock } from '../../src/host/clock.ts';
import type { LabNetwork, LinkName } from './lab-network.ts';
import { linkNames } from './lab-network.ts';

/** Name of a fault. */
export type FaultName =
  'linkDown' | 'carrier' | 'addressLost' | 'blackhole' | 'brownout' | 'natRebind' | 'dnsDead' | 'captive';

/** A fault of one link. */
export interface LinkFault {
  begin(lab: LabNetwork, link: LinkName): Promise<number>;
  /** Undoes it, as the world would: a link that had lost its address gets it from DHCP. */
  end(lab: LabNetwork, link: LinkName): Promise<number>;
}

/** A scenario: what happens to the serving link, in steps. */
export interface Scenario {
  readonly name: string;
  readonly what: string;
  /** Steps: after this time, this fault begins or ends, on the serving link or on all links. */
  readonly steps: readonly {
    readonly afterMs: number;
    readonly fault: FaultName;
    readonly phase: 'begin' | 'end';
    readonly on?: 'all';
  }[];
  /** How long it is watched after the last step. */
  readonly restMs: number;
  /** Longest time from the first step to the change of the link; absent where none is expected of the link alone. */
  readonly detectMsMax?: number;
  readonly changesMax: number;
}

const clock = new NodeClock();

/** A fault whose effect begins when a command of ours ends. */
async function timed(work: Promise<unknown>): Promise<number> {
  await work;
  return clock.monotonicMs();
}

const bad = { loss: 0.15, jitterMs: 40, delayMs: 60 };
const usual = { loss: 0, jitterMs: 0, delayMs: 30 };

/** All faults. */
export const faults: Readonly<Record<FaultName, LinkFault>> = {
  linkDown: {
    // What comes before the command has ended is not counted as ours: the effect is somewhere in between.
    begin: async (lab, link) => {
      const atMs = clock.monotonicMs();
      await lab.ip('gw', 'link', 'set', link, 'down');
      return atMs;
    },
    end: (lab, link) => timed(lab.configure(link)),
  },
  carrier: {
    begin: async (lab, link) => (await lab.order({ link, carrier: false })).atMs,
    end: async (lab, link) => (await lab.order({ link, carrier: true })).atMs,
  },
  addressLost: {
    begin: async (lab, link) => {
      const atMs = clock.monotonicMs();
      await lab.ip('gw', 'addr', 'flush', 'dev', link);
      return atMs;
    },
    end: (lab, link) => timed(lab.configure(link)),
  },
  blackhole: {
    begin: async (lab, link) => (await lab.order({ link, conditions: { blackhole: true } })).atMs,
    end: async (lab, link) => (await lab.order({ link, conditions: { blackhole: false } })).atMs,
  },
  brownout: {
    begin: async (lab, link) => (await lab.order({ link, conditions: bad })).atMs,
    end: async (lab, link) => (await lab.order({ link, conditions: usual })).atMs,
  },
  natRebind: {
    begin: async (lab, link) => (await lab.order({ link, manners: { portShift: 1000 } })).atMs,
    end: async (lab, link) => (await lab.order({ link, manners: { portShift: 0 } })).atMs,
  },
  dnsDead: {
    begin: async (lab, link) => (await lab.order({ link, manners: { deadPorts: [53] } })).atMs,
    end: async (lab, link) => (await lab.order({ link, manners: { deadPorts: [] } })).atMs,
  },
  captive: {
    begin: async (lab, link) => (await lab.order({ link, manners: { isCaptive: true } })).atMs,
    end: async (lab, link) => (await lab.order({ link, manners: { isCaptive: false } })).atMs,
  },
};

const once = (fault: FaultName): Scenario['steps'] => [{ afterMs: 0, fault, phase: 'begin' }];
const flapping: Scenario['steps'] = Array.from({ length: 8 }, (_, index) => ({
  afterMs: 1500,
  fault: 'blackhole' as const,
  phase: index % 2 === 0 ? ('begin' as const) : ('end' as const),
}));

/** All scenarios. */
export const scenarios: readonly Scenario[] = [
  { name: 'link-down', what: 'the interface goes down', steps: once('linkDown'), restMs: 2000, detectMsMax: 200, changesMax: 1 },
  { name: 'carrier', what: 'the cable is pulled', steps: once('carrier'), restMs: 2500, detectMsMax: 1200, changesMax: 1 },
  { name: 'address-lost', what: 'the lease is gone', steps: once('addressLost'), restMs: 2000, detectMsMax: 200, changesMax: 1 },
  { name: 'blackhole', what: 'nothing gets through, nobody says so', steps: once('blackhole'), restMs: 3000, detectMsMax: 700, changesMax: 1 },
  { name: 'brownout', what: '15 % loss each way, slower', steps: once('brownout'), restMs: 6000, detectMsMax: 3000, changesMax: 1 },
  { name: 'flap', what: 'a blackhole that comes and goes', steps: flapping, restMs: 3000, detectMsMax: 2300, changesMax: 1 },
  {
    name: 'roam-back',
    what: 'away and back after two seconds',
    steps: [...once('linkDown'), { afterMs: 2000, fault: 'linkDown', phase: 'end' }],
    restMs: 4000,
    detectMsMax: 200,
    changesMax: 1,
  },
  { name: 'nat-rebind', what: 'the network translates to other ports', steps: once('natRebind'), restMs: 3000, changesMax: 0 },
  { name: 'dns-dead', what: 'the name server of the link is dead', steps: once('dnsDead'), restMs: 2000, changesMax: 0 },
  { name: 'captive', what: 'a portal answers in everybody’s place', steps: once('captive'), restMs: 3000, detectMsMax: 700, changesMax: 1 },
  {
    name: 'all-down-then-up',
    what: 'no link for two seconds',
    steps: [
      { afterMs: 0, fault: 'linkDown', phase: 'begin', on: 'all' },
      { afterMs: 2000, fault: 'linkDown', phase: 'end', on: 'all' },
    ],
    restMs: 5000,
    changesMax: 3,
  },
]; // prettier-ignore

/** The links that a step is about. */
export function linksOf(step: Scenario['steps'][number], serving: LinkName): readonly LinkName[] {
  return step.on === 'all' ? linkNames : [serving];
}
