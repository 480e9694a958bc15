/**
 * An exhaustive exploration of the claim, switch and fence protocol: the real `transition` in a small world.
 *
 * The world: two gateways of one identity, two MN-CSEs, one IN-CSE with the serving record. What the runner and the worker do
 * around `transition` is modelled here in the steps that others can tell apart:
 *   - an input is taken in, its state made durable, and then the work of the state may begin: a crash fits in between;
 *   - a claim reads `la`, then sends a CREATE with a fixed name. The request stays in the network for good: it arrives never,
 *     late, or several times, also after its sender gave it up, crashed, or was answered otherwise;
 *   - an answer that was given is taken in, or lost: then the deadline is all that ends the work;
 *   - the IN-CSE may refuse a CREATE without making it;
 *   - all other work succeeds or fails, also when it was done.
 * Bounded are only the occasions to begin, to crash and to refuse. Each state of the world is checked when it is reached; from
 * each one, a world at rest must be reachable. Requests to the MN-CSEs are not followed one by one: they create nothing that
 * decides who serves, and what they take back they leave in place for the time of grace (context.ts).
 */
import { cseId, epoch, millis } from '../../src/base/units.ts';
import { servingOf, transactionOf, writtenEpoch } from '../../src/handover/handover-state.ts';
import { transition } from '../../src/handover/transition.ts';
import type { CseReference, HandoverState } from '../../src/handover/handover-state.ts';
import type { HandoverEffect, HandoverInput, TransitionSettings } from '../../src/handover/handover-input.ts';

/** How a world begins, and how much may happen in it. */
export interface WorldLimits {
  /** How often each of the two gateways may begin a handover. */
  readonly begins: readonly [number, number];
  /** Crashes of gateways, both together; restarts are free. */
  readonly crashes: number;
  /** CREATEs that the IN-CSE refuses without making them. */
  readonly refusals: number;
  /** Copies of the disk of the first gateway: one is made at any moment, and either gateway may start from it later. */
  readonly images?: 0 | 1;
  /** How often a person re-arms a fenced gateway. */
  readonly rearms?: number;
  readonly claim?: TransitionSettings['claim'];
  /** Whether handovers to a warm standby begin as well. */
  readonly warm?: boolean;
}

/** What may be taken out of the code under test, to see that the exploration misses it. */
export interface Defects {
  readonly transition?: typeof transition;
  /** Whoever holds the epoch, the claim counts as made. */
  readonly ignoresNonce?: boolean;
  /** The work of a state begins before the state is durable. */
  readonly worksBeforeJournal?: boolean;
  /** Undoing deletes what was prepared, by a request that may arrive late. */
  readonly undoDeletes?: boolean;
  /** The nonces of claims that were given up are not kept. */
  readonly forgetsStrays?: boolean;
  /** A process writes to the CSE of its last run as soon as it starts. */
  readonly writesAtStart?: boolean;
}

/** What an exploration came to. */
export interface Exploration {
  readonly states: number;
  readonly steps: number;
  readonly kinds: ReadonlySet<HandoverState['kind']>;
  /** The first broken invariant with the way to it, shortest first. */
  readonly violation?: { readonly invariant: string; readonly trace: readonly string[] };
}

const mns: readonly CseReference[] = ['a', 'b'].map((name) => ({
  cseId: cseId(`/id-${name}`),
  cseBaseName: `cse-${name}`,
  pointOfAccess: `mem://${name}`,
}));

/** Values by small numbers, so that a world is a short text; 0 is nothing. */
class Numbered<T> {
  readonly #numbers = new Map<string, number>();
  readonly #values: T[] = [];

  numberOf(value: T): number {
    const key = JSON.stringify(value);
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    this.#values.push(value);
    this.#numbers.set(key, this.#values.length);
    return this.#values.length;
  }

  at(number: number): T {
    const value = this.#values[number - 1];
    if (value === undefined) throw new RangeError(`nothing has the number ${number}`);
    return value;
  }
}

/** An entry of the serving record, or the CREATE of one on its way. */
interface Claim {
  readonly epoch: number;
  readonly nonce: string;
  readonly cse: string;
}

interface Gateway {
  /** By number: the state on the disk (0: there is no such gateway yet), and in memory (0: the process is down). */
  durable: number;
  memory: number;
  /** Where its work is: none, to be started, sent, or answered (`answered` plus the number of the outcome). */
  work: number;
  /** By number: what the uplink writes to. */
  destination: number;
  beginsLeft: number;
  /** Processes so far: each draws a nonce of its own. */
  lives: number;
  /** 1 when it started from a copy of a disk: it does not know what it did since. */
  isCopy: number;
}

interface World {
  readonly gateways: [Gateway, Gateway];
  /** Claims by number, in the order of their epochs. */
  readonly record: number[];
  /** Claims by number that were sent and may arrive. */
  readonly network: number[];
  crashesLeft: number;
  refusalsLeft: number;
  rearmsLeft: number;
  imagesLeft: number;
  /** State on the copied disk, by number. */
  image: number;
  /** By MN-CSE: whether readings were delivered there, and whether a request to delete the AE is on its way. */
  readonly held: [number, number];
  readonly deletions: [number, number];
}

interface Destination {
  readonly cse: string;
  readonly epoch: number;
}

const work = { none: 0, due: 1, sent: 2, answered: 2 } as const;

/** Explores the world; see the header of this file. Stops at the first broken invariant. */
export function explore(limits: WorldLimits, defects: Defects = {}): Exploration {
  return new Explorer(limits, defects).run();
}

class Explorer {
  readonly #limits: WorldLimits;
  readonly #settings: TransitionSettings;
  readonly #defects: Defects;
  readonly #states = new Numbered<HandoverState>();
  readonly #inputs = new Numbered<HandoverInput>();
  readonly #claims = new Numbered<Claim>();
  readonly #destinations = new Numbered<Destination>();
  readonly #transitions = new Map<number, { next: number; runs: boolean }>();
  readonly #kinds = new Set<HandoverState['kind']>();
  readonly #seen = new Map<string, number>();
  readonly #worlds: string[] = [];
  readonly #parents: number[] = [];
  readonly #labels: string[] = [];
  readonly #edges: number[] = [];
  #violation: Exploration['violation'];

  constructor(limits: WorldLimits, defects: Defects) {
    this.#limits = limits;
    this.#settings = {
      phaseDeadlineMs: millis(1000),
      switchDeadlineMs: millis(300),
      repeatMs: millis(50),
      claim: limits.claim ?? 'required',
    };
    this.#defects = defects;
  }

  run(): Exploration {
    this.#reach(-1, 'start', this.#firstWorld());
    for (let at = 0; at < this.#worlds.length && this.#violation === undefined; at++) {
      this.#step(at, decode(this.#worlds[at] ?? ''));
    }
    if (this.#violation === undefined) this.#findDeadEnd();
    const violation = this.#violation;
    return {
      states: this.#worlds.length,
      steps: this.#edges.length / 2,
      kinds: this.#kinds,
      ...(violation === undefined ? {} : { violation }),
    };
  }

  #firstWorld(): World {
    const fresh = this.#states.numberOf({ kind: 'detached', lastEpoch: epoch(0) });
    const { begins, crashes, refusals, images = 0, rearms = 0 } = this.#limits;
    const gateway = (beginsLeft: number, state: number): Gateway => ({
      durable: state,
      memory: state,
      work: work.none,
      destination: 0,
      beginsLeft,
      lives: 1,
      isCopy: 0,
    });
    return {
      // A second gateway that comes from the disk of the first is not there before.
      gateways: [gateway(begins[0], fresh), gateway(begins[1], images > 0 ? 0 : fresh)],
      record: [],
      network: [],
      crashesLeft: crashes,
      refusalsLeft: refusals,
      rearmsLeft: rearms,
      imagesLeft: images,
      image: 0,
      held: [0, 0],
      deletions: [0, 0],
    };
  }

  /** Notes a world that was reached from the one at `from`. */
  #reach(from: number, label: string, world: World): void {
    this.#forgetIdleClaims(world);
    const key = encode(world);
    let at = this.#seen.get(key);
    if (at === undefined) {
      at = this.#worlds.length;
      this.#seen.set(key, at);
      this.#worlds.push(key);
      this.#parents.push(from);
      this.#labels.push(label);
      const invariant = this.#brokenIn(world);
      if (invariant !== undefined) this.#violation ??= { invariant, trace: this.#traceTo(at) };
    }
    if (from >= 0) this.#edges.push(from, at);
  }

  /** A CREATE of a name that exists changes nothing any more; its sender hears of it by the claim that it repeats. */
  #forgetIdleClaims(world: World): void {
    const taken = new Set(world.record.map((number) => this.#claims.at(number).epoch));
    const awaited = world.gateways.map((gateway) =>
      gateway.work === work.sent ? this.#claimOf(gateway) : 0,
    );
    const kept = world.network.filter(
      (number) => !taken.has(this.#claims.at(number).epoch) || awaited.includes(number),
    );
    world.network.splice(0, world.network.length, ...kept);
  }

  #traceTo(at: number): string[] {
    const trace: string[] = [];
    for (let here = at; here >= 0; here = this.#parents[here] ?? -1) trace.unshift(this.#labels[here] ?? '');
    return trace;
  }

  // ---- steps ----

  #step(at: number, world: World): void {
    for (const g of [0, 1] as const) {
      if (world.gateways[g].memory === 0) this.#start(at, world, g);
      else {
        this.#begin(at, world, g);
        this.#look(at, world, g);
        this.#work(at, world, g);
        this.#crash(at, world, g);
      }
    }
    for (const number of world.network) this.#arrive(at, world, number);
    this.#delete(at, world);
    if (world.imagesLeft > 0) {
      this.#after(at, world, 'the disk of 0 is copied', (next) => {
        next.imagesLeft -= 1;
        next.image = next.gateways[0].durable;
      });
    }
  }

  /** The world after `change`, reached under `label`. */
  #after(at: number, world: World, label: string, change: (next: World) => void): void {
    const next = decode(encode(world));
    change(next);
    this.#reach(at, label, next);
  }

  #begin(at: number, world: World, g: 0 | 1): void {
    const gateway = world.gateways[g];
    const state = this.#states.at(gateway.memory);
    if (state.kind === 'fenced' && world.rearmsLeft > 0) {
      this.#after(at, world, `${g} is re-armed`, (next) => {
        next.rearmsLeft -= 1;
        this.#takeIn(next, g, { kind: 'rearm' });
      });
    }
    if (gateway.beginsLeft === 0 || !['detached', 'serving', 'provisional'].includes(state.kind)) return;
    const knownEpoch = epoch(servingOf(state)?.epoch ?? this.#highest(world));
    for (const target of mns) {
      for (const warm of this.#limits.warm === true ? [{}, { isWarm: true as const }] : [{}]) {
        const input: HandoverInput = {
          kind: 'begin',
          trigger: 'a3',
          target,
          alternatives: mns,
          nonce: nonceOf(g, gateway),
          knownEpoch,
          ...warm,
        };
        if (this.#transit(gateway.memory, input).next === gateway.memory) continue;
        this.#after(at, world, `${g} begins to ${target.cseId}`, (next) => {
          next.gateways[g].beginsLeft -= 1;
          this.#takeIn(next, g, input);
        });
      }
    }
  }

  /** The serving gateway compares itself with the record (`ServingRecord.compare`). */
  #look(at: number, world: World, g: 0 | 1): void {
    const input = this.#seenBy(world, g);
    if (input === undefined) return;
    this.#after(at, world, `${g} looks: ${input.kind}`, (next) => this.#takeIn(next, g, input));
  }

  #seenBy(world: World, g: 0 | 1): HandoverInput | undefined {
    const gateway = world.gateways[g];
    const state = this.#states.at(gateway.memory);
    const newest = world.record.at(-1);
    if (state.kind !== 'serving' || newest === undefined) return undefined;
    const entry = this.#claims.at(newest);
    if (entry.epoch <= state.serving.epoch) return undefined;
    const own = nonceOf(g, gateway);
    const isOurs = entry.nonce === own || state.strays?.includes(entry.nonce) === true;
    if (isOurs) return { kind: 'displaced', epoch: epoch(entry.epoch), nonce: own };
    return { kind: 'overtaken', reason: '' };
  }

  #work(at: number, world: World, g: 0 | 1): void {
    const gateway = world.gateways[g];
    if (gateway.work === work.none) return;
    const state = this.#states.at(gateway.memory);
    const feed = (
      label: string,
      input: HandoverInput,
      change: (next: World) => void = () => undefined,
    ): void =>
      this.#after(at, world, `${g} ${state.kind}: ${label}`, (next) => {
        change(next);
        this.#takeIn(next, g, input);
      });
    if (gateway.work > work.answered) {
      const outcome = this.#inputs.at(gateway.work - work.answered);
      feed(`takes in ${outcome.kind}`, outcome);
      feed('deadline, the answer was lost', { kind: 'deadline' });
      return;
    }
    if (gateway.work === work.sent) {
      feed('deadline', { kind: 'deadline' });
      return;
    }
    const transaction = transactionOf(state);
    if (transaction === undefined) return;
    switch (state.kind) {
      case 'claiming':
      case 'provisional':
        this.#startClaim(at, world, g);
        feed('IN-CSE out of reach', { kind: 'deadline' });
        return;
      case 'switching': {
        const { cseId } = transaction.target;
        const serving = servingOf(state);
        if (serving === undefined) return;
        const move = (next: World): void => {
          next.gateways[g].destination = this.#destinations.numberOf({
            cse: cseId,
            epoch: writtenEpoch(serving),
          });
          if (this.#defects.undoDeletes === true) next.held[indexOf(cseId)] = 1;
        };
        feed('done', { kind: 'succeeded', firstSeqs: {} }, move);
        feed('done, but the disk refuses', { kind: 'failed', reason: '' }, move);
        return;
      }
      case 'rollingBack': {
        const send = (next: World): void => {
          const index = indexOf(transaction.target.cseId);
          if (this.#defects.undoDeletes === true && next.held[index] === 0) next.deletions[index] = 1;
        };
        feed('done', { kind: 'succeeded' });
        feed('not answered', { kind: 'failed', reason: '' }, send);
        return;
      }
      case 'preparing':
      case 'prepared':
      case 'catchingUp':
      case 'releasing':
        feed('done', { kind: 'succeeded' });
        feed('failed', { kind: 'failed', reason: '' });
        return;
      case 'detached':
      case 'serving':
      case 'fenced':
        return;
    }
  }

  #delete(at: number, world: World): void {
    for (const index of [0, 1] as const) {
      if (world.deletions[index] === 0) continue;
      this.#after(at, world, `the AE at ${mns[index]?.cseId} is deleted`, (next) => {
        next.deletions[index] = 0;
        next.held[index] *= 2;
      });
    }
  }

  #startClaim(at: number, world: World, g: 0 | 1): void {
    const claim = this.#claimOf(world.gateways[g]);
    const { epoch: wanted } = this.#claims.at(claim);
    if (this.#highest(world) >= wanted) {
      this.#after(at, world, `${g} finds epoch ${wanted} in the record`, (next) => this.#answer(next, g));
      return;
    }
    this.#after(at, world, `${g} sends the claim of ${wanted}`, (next) => {
      next.gateways[g].work = work.sent;
      if (!next.network.includes(claim)) next.network.push(claim);
      next.network.sort((a, b) => a - b);
    });
  }

  #arrive(at: number, world: World, number: number): void {
    const claim = this.#claims.at(number);
    const awaiting = ([0, 1] as const).filter(
      (g) => world.gateways[g].work === work.sent && this.#claimOf(world.gateways[g]) === number,
    );
    const isTaken = this.#entryAt(world, claim.epoch) !== undefined;
    this.#after(at, world, `the claim of ${claim.epoch} by ${claim.nonce} arrives`, (next) => {
      if (!isTaken) {
        next.record.push(number);
        next.record.sort((a, b) => this.#claims.at(a).epoch - this.#claims.at(b).epoch);
      }
      for (const g of awaiting) this.#answer(next, g);
    });
    if (world.refusalsLeft === 0) return;
    for (const g of awaiting) {
      this.#after(at, world, `the claim of ${claim.epoch} by ${claim.nonce} is refused`, (next) => {
        next.refusalsLeft -= 1;
        if (isTaken) this.#answer(next, g);
        else next.gateways[g].work = work.answered + this.#inputs.numberOf({ kind: 'refused', reason: '' });
      });
    }
  }

  #crash(at: number, world: World, g: 0 | 1): void {
    if (world.crashesLeft === 0) return;
    this.#after(at, world, `${g} crashes`, (next) => {
      next.crashesLeft -= 1;
      Object.assign(next.gateways[g], { memory: 0, work: work.none, destination: 0 });
    });
  }

  #start(at: number, world: World, g: 0 | 1): void {
    const start = (label: string, isCopy: boolean): void =>
      this.#after(at, world, `${g} ${label}`, (next) => {
        const gateway = next.gateways[g];
        if (isCopy) {
          gateway.durable = next.image;
          gateway.isCopy = 1;
          next.image = 0;
        }
        gateway.memory = gateway.durable;
        gateway.lives += 1;
        this.#takeIn(next, g, { kind: 'restarted', nonce: nonceOf(g, gateway) });
        const serving = servingOf(this.#states.at(gateway.memory));
        if (this.#defects.writesAtStart !== true || serving === undefined) return;
        const written = { cse: serving.cse.cseId, epoch: writtenEpoch(serving) };
        gateway.destination = this.#destinations.numberOf(written);
      });
    if (world.gateways[g].durable !== 0) start('restarts', false);
    if (world.image !== 0) start('starts from the copy', true);
  }

  // ---- the gateway and the record ----

  /** What the runner does with an input. */
  #takeIn(world: World, g: 0 | 1, input: HandoverInput): void {
    const gateway = world.gateways[g];
    const { next, runs } = this.#transit(gateway.memory, input);
    // Written late, the journal holds the state before when a crash comes.
    gateway.durable = this.#defects.worksBeforeJournal === true ? gateway.memory : next;
    gateway.memory = next;
    if (runs) gateway.work = work.due;
    else if (transactionOf(this.#states.at(next)) === undefined) gateway.work = work.none;
    // What a process has not yet claimed, nobody writes to.
    if (servingOf(this.#states.at(next)) === undefined) gateway.destination = 0;
  }

  #transit(state: number, input: HandoverInput): { next: number; runs: boolean } {
    const key = state * 4096 + this.#inputs.numberOf(input);
    const known = this.#transitions.get(key);
    if (known !== undefined) return known;
    const apply = this.#defects.transition ?? transition;
    const result = apply(this.#settings, this.#states.at(state), input);
    this.#kinds.add(result.state.kind);
    const next = this.#states.numberOf(plain(result.state, this.#defects.forgetsStrays === true));
    const runs = result.effects.some((effect: HandoverEffect) => effect.kind === 'run');
    const taken = { next, runs };
    this.#transitions.set(key, taken);
    return taken;
  }

  #claimOf(gateway: Gateway): number {
    const transaction = transactionOf(this.#states.at(gateway.memory));
    if (transaction === undefined) return 0;
    const { epoch, nonce, target } = transaction;
    return this.#claims.numberOf({ epoch, nonce, cse: target.cseId });
  }

  #highest(world: World): number {
    const newest = world.record.at(-1);
    return newest === undefined ? 0 : this.#claims.at(newest).epoch;
  }

  #entryAt(world: World, wanted: number): Claim | undefined {
    return world.record.map((number) => this.#claims.at(number)).find(({ epoch }) => epoch === wanted);
  }

  /** The record tells the gateway what became of its claim (`ServingRecord.claim`). */
  #answer(world: World, g: 0 | 1): void {
    const gateway = world.gateways[g];
    const outcome = this.#judge(world, gateway);
    gateway.work = work.answered + this.#inputs.numberOf(outcome);
  }

  #judge(world: World, gateway: Gateway): HandoverInput {
    const own = this.#claims.at(this.#claimOf(gateway));
    const entry = this.#entryAt(world, own.epoch);
    if (this.#defects.ignoresNonce === true) return { kind: 'succeeded' };
    if (entry?.nonce === own.nonce && entry.cse === own.cse) return { kind: 'succeeded' };
    const strays = transactionOf(this.#states.at(gateway.memory))?.strays ?? [];
    if (entry !== undefined && [own.nonce, ...strays].includes(entry.nonce)) {
      return { kind: 'displaced', epoch: epoch(own.epoch), nonce: own.nonce };
    }
    return { kind: 'lost', reason: '' };
  }

  // ---- what must hold ----

  #brokenIn(world: World): string | undefined {
    const [first, second] = world.gateways;
    if (first.destination !== 0 && second.destination !== 0) {
      const [one, other] = [first, second].map(({ destination }) => this.#destinations.at(destination));
      if (one?.epoch === other?.epoch && one?.epoch !== 0)
        return `both gateways write as serving under epoch ${one?.epoch}`;
    }
    if (world.held.includes(2)) return 'delivered readings are deleted (I1)';
    for (const [g, gateway] of world.gateways.entries()) {
      if (gateway.durable === 0) continue;
      const broken = this.#brokenFor(world, g, gateway);
      if (broken !== undefined) return `gateway ${g}: ${broken}`;
    }
    return undefined;
  }

  #brokenFor(world: World, g: number, gateway: Gateway): string | undefined {
    const isOurs = (entry: Claim | undefined): boolean => entry?.nonce.startsWith(`${g}.`) === true;
    const memory = gateway.memory === 0 ? undefined : this.#states.at(gateway.memory);
    if (memory?.kind === 'fenced') {
      if (gateway.destination !== 0) return 'fenced, it writes as serving (I6)';
      const rivals = world.record.map((number) => this.#claims.at(number)).filter((entry) => !isOurs(entry));
      if (rivals.length === 0 && gateway.isCopy === 0) return 'fenced, though nobody else ever claimed';
    }
    if (gateway.destination !== 0) {
      const { cse, epoch: under } = this.#destinations.at(gateway.destination);
      if (under === 0) return this.#forgottenClaim(world, g, gateway);
      const entry = this.#entryAt(world, under);
      if (!isOurs(entry)) return `it writes under epoch ${under}, which it does not hold (I6)`;
      if (entry?.cse !== cse) return `it writes to ${cse}, epoch ${under} names ${entry?.cse} (I4)`;
    }
    return this.#forgottenClaim(world, g, gateway);
  }

  /** A claim that was made and that its gateway does not know of: the record names a CSE that gets nothing (I9). */
  #forgottenClaim(world: World, g: number, gateway: Gateway): string | undefined {
    const durable = this.#states.at(gateway.durable);
    if (durable.kind === 'fenced' || gateway.isCopy === 1) return undefined;
    const { through, open, nonces } = knownClaims(durable);
    for (const number of world.record) {
      const entry = this.#claims.at(number);
      if (!entry.nonce.startsWith(`${g}.`) || entry.epoch <= through) continue;
      if (entry.epoch === open && nonces.includes(entry.nonce)) continue;
      return `its claim of epoch ${entry.epoch} was made, and it forgot it (${durable.kind})`;
    }
    return undefined;
  }

  /** All gateways idle, and none of them would learn anything from the record: so one serves at most. */
  #isAtRest(world: World): boolean {
    const isIdle = world.gateways.every(({ durable, memory, work: at }) => {
      if (durable === 0) return true;
      return memory !== 0 && at === work.none && transactionOf(this.#states.at(memory)) === undefined;
    });
    if (!isIdle || ([0, 1] as const).some((g) => this.#isServing(world, g) && this.#seenBy(world, g))) {
      return false;
    }
    return !(this.#isServing(world, 0) && this.#isServing(world, 1));
  }

  #isServing(world: World, g: 0 | 1): boolean {
    const { memory } = world.gateways[g];
    return memory !== 0 && this.#states.at(memory).kind === 'serving';
  }

  /** A world from which no world at rest can be reached (I9, I10). */
  #findDeadEnd(): void {
    const count = this.#worlds.length;
    const isGood = new Uint8Array(count);
    const before: number[][] = Array.from({ length: count }, () => []);
    for (let at = 0; at < this.#edges.length; at += 2) {
      before[this.#edges[at + 1] ?? 0]?.push(this.#edges[at] ?? 0);
    }
    const open: number[] = [];
    for (const [at, key] of this.#worlds.entries()) {
      if (!this.#isAtRest(decode(key))) continue;
      isGood[at] = 1;
      open.push(at);
    }
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      for (const from of before[at] ?? []) {
        if (isGood[from] === 1) continue;
        isGood[from] = 1;
        open.push(from);
      }
    }
    const dead = isGood.indexOf(0);
    if (dead < 0) return;
    this.#violation = { invariant: 'no world at rest can be reached (I9, I10)', trace: this.#traceTo(dead) };
  }
}

/** Reasons are words for people; they would only multiply the states. */
function plain(state: HandoverState, forgetsStrays: boolean): HandoverState {
  const { strays: _, ...rest } = { strays: undefined, ...state };
  const kept = forgetsStrays ? rest : state;
  return 'reason' in kept ? { ...kept, reason: '' } : kept;
}

/** Up to which epoch a gateway knows its claims, and by which nonces one of the next epoch may still come to be its own. */
function knownClaims(state: HandoverState): { through: number; open: number; nonces: readonly string[] } {
  const transaction = transactionOf(state);
  if (transaction === undefined) {
    const through =
      state.kind === 'serving' ? state.serving.epoch : 'lastEpoch' in state ? state.lastEpoch : 0;
    return { through, open: through + 1, nonces: ('strays' in state ? state.strays : undefined) ?? [] };
  }
  const { epoch, nonce, strays = [], isProvisional } = transaction;
  const isClaimed = ['switching', 'catchingUp', 'releasing'].includes(state.kind) && isProvisional !== true;
  return { through: isClaimed ? epoch : epoch - 1, open: epoch, nonces: [nonce, ...strays] };
}

function nonceOf(g: number, { lives }: Gateway): string {
  return `${g}.${lives}`;
}

function indexOf(cseId: string): 0 | 1 {
  return mns[0]?.cseId === cseId ? 0 : 1;
}

const worldFields = 9;
const gatewayFields = 7;

function encode(world: World): string {
  const { crashesLeft, refusalsLeft, rearmsLeft, imagesLeft, image, held, deletions } = world;
  const numbers: number[] = [
    ...[crashesLeft, refusalsLeft, rearmsLeft, imagesLeft, image, ...held, ...deletions],
  ];
  for (const { durable, memory, work: at, destination, beginsLeft, lives, isCopy } of world.gateways) {
    numbers.push(durable, memory, at, destination, beginsLeft, lives, isCopy);
  }
  numbers.push(world.record.length, ...world.record, ...world.network);
  return String.fromCharCode(...numbers);
}

function decode(key: string): World {
  const at = (index: number): number => key.charCodeAt(index);
  const gateway = (g: number): Gateway => {
    const from = worldFields + g * gatewayFields;
    return {
      durable: at(from),
      memory: at(from + 1),
      work: at(from + 2),
      destination: at(from + 3),
      beginsLeft: at(from + 4),
      lives: at(from + 5),
      isCopy: at(from + 6),
    };
  };
  const recordAt = worldFields + 2 * gatewayFields;
  const rest = Array.from({ length: key.length - recordAt - 1 }, (_, index) => at(recordAt + 1 + index));
  const count = at(recordAt);
  return {
    gateways: [gateway(0), gateway(1)],
    record: rest.slice(0, count),
    network: rest.slice(count),
    crashesLeft: at(0),
    refusalsLeft: at(1),
    rearmsLeft: at(2),
    imagesLeft: at(3),
    image: at(4),
    held: [at(5), at(6)],
    deletions: [at(7), at(8)],
  };
}
