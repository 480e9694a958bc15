// Proves, by a model over random schedules of crashes, switches, lost and late messages, CSEs that fall silent, disks that
// refuse, records that are given up, stored late or lost with the memory, and batches that are configured otherwise by the
// next run, that nothing stored is lost (I1), that a reading is in one container only, at two CSEs only under the label (I2),
// and that each container gets its part of a stream in order (I3). Only a labelled copy may come behind later records: after
// a crash in the middle of a switch from a source that cannot be asked. Each property prints its seed when it fails.
//
// Left out is one coincidence of four: a record is given up while its request is still on its way, that request arrives behind
// the next record, the process dies before either is remembered, and the next run has another rule. The newest instance does
// not tell then what has arrived. So schedules that give records up keep their rules.
import * as fc from 'fast-check';
import t from 'tap';
import { millis, streamName } from '../../src/base/units.ts';
import type { Seq } from '../../src/base/units.ts';
import { randomFraction } from '../../src/host/entropy.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { ModelCse, World, deadlineMs, s } from './world.ts';
import type { Fate, Held, Streams } from './world.ts';

type Step =
  | { readonly kind: 'store'; readonly count: number; readonly stream: number; readonly ageMs: number }
  | { readonly kind: 'evict'; readonly count: number; readonly stream: number }
  | { readonly kind: 'wait'; readonly ms: number }
  | {
      readonly kind: 'switch';
      readonly target: 0 | 1 | 2;
      readonly sourceLost: boolean;
      readonly waitMs: number;
    }
  /** Records of the newest are lost with the memory; the next run puts records together by another rule. */
  | { readonly kind: 'crash'; readonly lostCount: number; readonly rules: readonly number[] }
  | { readonly kind: 'sync' }
  | { readonly kind: 'silence'; readonly cse: 0 | 1 | 2; readonly isSilent: boolean }
  | { readonly kind: 'disk'; readonly hasRanges: boolean; readonly takesMark: 'yes' | 'no' | 'unknown' };

const ruleNumbers = fc.array(fc.nat(3), { minLength: 2, maxLength: 2 });
const who = fc.constantFrom<0 | 1 | 2>(0, 1, 2);
const steps = fc.array(
  fc.oneof<fc.Arbitrary<Step>[]>(
    fc.record({
      kind: fc.constant('store' as const),
      count: fc.integer({ min: 1, max: 7 }),
      stream: fc.nat(1),
      ageMs: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(150) }),
    }),
    fc.record({
      kind: fc.constant('evict' as const),
      count: fc.integer({ min: 1, max: 3 }),
      stream: fc.nat(1),
    }),
    fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 400 }) }),
    fc.record({
      kind: fc.constant('switch' as const),
      target: who,
      sourceLost: fc.boolean(),
      waitMs: fc.integer({ min: 0, max: 800 }),
    }),
    fc.record({
      kind: fc.constant('crash' as const),
      lostCount: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(3) }),
      rules: ruleNumbers,
    }),
    fc.record({ kind: fc.constant('sync' as const) }),
    fc.record({ kind: fc.constant('silence' as const), cse: who, isSilent: fc.boolean() }),
    fc.record({
      kind: fc.constant('disk' as const),
      hasRanges: fc.boolean(),
      takesMark: fc.constantFrom<'yes' | 'no' | 'unknown'>('yes', 'no', 'unknown'),
    }),
  ),
  { minLength: 3, maxLength: 40 },
);

/** What the journal of a handover holds of the way up. */
interface Journaled {
  readonly at: number;
  readonly cse: ModelCse;
  readonly inDoubt: ReadonlyMap<string, Seq>;
  readonly target?: { readonly cse: ModelCse; readonly sourceLost: boolean };
}

const modelNames = [s, streamName('u')] as const;
const batchRules = [
  undefined,
  { max: 4, spanMs: millis(100), lateMs: millis(10) },
  { max: 3, spanMs: millis(40), lateMs: millis(0) },
  { max: 16, spanMs: millis(300), lateMs: millis(10) },
];

/** How a run delivers: each stream in its order, with the rule of this number. */
function streamsBy([first = 0, second = 0]: readonly number[]): Streams {
  const rule = (at: number): { batch?: NonNullable<(typeof batchRules)[number]> } => {
    const batch = batchRules[at];
    return batch === undefined ? {} : { batch };
  };
  return new Map([
    [modelNames[0], { order: 'inOrder', ...rule(first) }],
    [modelNames[1], { order: 'liveFirst', ...rule(second) }],
  ]);
}

/** The gateway around the uplink: a journal before each switch and after it, and the doubts of a restart. */
class ModelGateway {
  readonly world: World;
  readonly cses: readonly [ModelCse, ModelCse, ModelCse];
  readonly silent = new Set<ModelCse>();
  isLossy = true;
  #journal: Journaled;
  #run = 0;

  constructor(seed: number, rules: readonly number[]) {
    this.world = new World(streamsBy(rules));
    this.cses = [this.world.a, this.world.b, new ModelCse('c', this.world.clock)];
    this.#journal = { at: 1, cse: this.cses[0], inDoubt: new Map() };
    const entropy = new SeededEntropy(seed);
    const fates: Fate[] = ['requestLost', 'answerLost', 'late', 'lateRequest'];
    for (const cse of this.cses) {
      cse.fate = () => {
        if (this.silent.has(cse)) return 'requestLost';
        if (!this.isLossy || randomFraction(entropy) > 0.25) return 'delivered';
        return fates[entropy.uint32() % fates.length] ?? 'delivered';
      };
    }
    this.#takeUp();
  }

  get isSwitching(): boolean {
    return this.#journal.target !== undefined;
  }

  begin(cse: ModelCse, sourceLost: boolean): void {
    if (this.isSwitching || cse === this.#journal.cse) return;
    this.#journal = { ...this.#journal, target: { cse, sourceLost } };
    void this.#switch();
  }

  async crash(lostCount: number, rules: readonly number[]): Promise<void> {
    this.#run++;
    await this.world.stop();
    this.world.log.powerCut();
    for (const stream of modelNames) this.world.log.loseNewest(stream, lostCount);
    this.world.log.run += 1;
    // A log that was not closed may go on under another name.
    if (this.world.log.run % 3 > 0) this.world.log.logId = `0000000${this.world.log.run % 10}`;
    // What was on its way has arrived or is lost when the next process asks.
    await this.world.clock.advance(2 * deadlineMs);
    this.world.restart(streamsBy(rules));
    this.#takeUp();
  }

  #takeUp(): void {
    const { cse, at, inDoubt, target } = this.#journal;
    const { uplink } = this.world;
    for (const entry of inDoubt) uplink.doubt(undefined, new Map([entry]));
    if (target !== undefined) uplink.doubtAll(target.cse.destination(at + 1));
    uplink.doubtAll(cse.destination(at));
    if (target !== undefined) void this.#switch();
    else void uplink.switchTo(cse.destination(at), { deadlineMs: millis(0), sourceLost: false });
  }

  async #switch(): Promise<void> {
    const run = this.#run;
    const { at, target } = this.#journal;
    if (target === undefined) return;
    const { cse, sourceLost } = target;
    const moves = await this.world.uplink.switchTo(cse.destination(at + 1), {
      deadlineMs: millis(150),
      sourceLost,
    });
    if (run !== this.#run) return;
    const inDoubt = new Map<string, Seq>();
    for (const [stream, { inDoubtThrough, backlog }] of moves) {
      if (inDoubtThrough !== undefined) inDoubt.set(stream, inDoubtThrough);
      if (backlog?.inDoubtThrough !== undefined) inDoubt.set(`${stream}.history`, backlog.inDoubtThrough);
    }
    this.world.log.sync();
    this.#journal = { at: at + 1, cse, inDoubt };
  }
}

/** Schedules in which a backlog went beside new records, and in which readings travelled together. */
let histories = 0;
let batches = 0;

async function runSchedule(
  schedule: readonly Step[],
  seed: number,
  rules: readonly number[],
): Promise<string | undefined> {
  const gateway = new ModelGateway(seed, rules);
  const { world, cses, silent } = gateway;
  const keepsRules = schedule.some(({ kind }) => kind === 'evict');
  for (const step of schedule) {
    if (step.kind === 'store') world.store(step.count, modelNames[step.stream] ?? s, step.ageMs);
    else if (step.kind === 'evict') world.log.evict(modelNames[step.stream] ?? s, step.count);
    else if (step.kind === 'wait') await world.clock.advance(step.ms);
    else if (step.kind === 'crash') await gateway.crash(step.lostCount, keepsRules ? rules : step.rules);
    else if (step.kind === 'sync') world.log.sync();
    else if (step.kind === 'silence') {
      if (step.isSilent) silent.add(cses[step.cse]);
      else silent.delete(cses[step.cse]);
    } else if (step.kind === 'disk') {
      world.log.hasRanges = step.hasRanges;
      world.log.takesMark = step.takesMark;
    } else {
      gateway.begin(cses[step.target], step.sourceLost);
      await world.clock.advance(step.waitMs);
    }
  }
  silent.clear();
  world.log.hasRanges = true;
  world.log.takesMark = 'yes';
  gateway.isLossy = false;
  await world.clock.advance(30_000);
  await world.stop();
  if (world.log.pending > 0) return `${world.log.pending} records are still pending`;
  if (gateway.isSwitching) return 'the switch has not ended';
  if (cses.some((cse) => cse.order.has('u.history'))) histories += 1;
  if (cses.some((cse) => [...cse.held.values()].some((readings) => readings.length > 1))) batches += 1;
  if (cses.some((cse) => cse.order.has('s.history'))) return 'a stream in order has a history';
  return judge(
    world,
    cses,
    schedule.some(({ kind }) => kind === 'crash'),
  );
}

function judge(world: World, cses: readonly ModelCse[], hasCrashed: boolean): string | undefined {
  for (const [stream, records] of world.log.stored) {
    for (const record of records) {
      const copiesAt = cses.map((cse) =>
        [stream, `${stream}.history`].flatMap((container) =>
          (cse.order.get(container) ?? []).filter((copy) => copy.seq === record.seq),
        ),
      );
      if (copiesAt.some((held) => held.length > 1)) {
        return `I2: ${stream} ${record.seq} is at one CSE as ${namesOf(copiesAt.flat())}`;
      }
      const copies = copiesAt.flat();
      if (copies.length === 0 && !world.log.evicted.has(`${stream} ${record.seq}`)) {
        return `I1: ${stream} ${record.seq} is nowhere`;
      }
      if (copies.filter(({ isLabelled }) => !isLabelled).length > 1)
        return `I2: ${stream} ${record.seq} twice`;
    }
  }
  for (const cse of cses) {
    for (const [stream, instances] of cse.order) {
      const numbers = instances
        .filter(({ isLabelled, isLate }) => !isLate && !(isLabelled && hasCrashed))
        .map((instance) => instance.seq);
      if (numbers.some((number, at) => number < (numbers[at - 1] ?? 0))) {
        return `I3: ${stream} at ${cse.id}: ${numbers.join(' ')}`;
      }
    }
  }
  return undefined;
}

function namesOf(copies: readonly Held[]): string {
  return copies.map(({ name }) => name).join(' and ');
}

void t.test('random schedules of crashes, switches, losses and silences', { timeout: 60_000 }, async (t) => {
  await fc.assert(
    fc.asyncProperty(steps, fc.nat(), ruleNumbers, async (schedule, seed, rules) => {
      const wrong = await runSchedule(schedule, seed, rules);
      if (wrong !== undefined) throw new Error(wrong);
    }),
    { numRuns: 1500, interruptAfterTimeLimit: 30_000 },
  );
  t.ok(histories > 50, `${histories} schedules had a backlog`);
  t.ok(batches > 50, `${batches} schedules had batches`);
  t.pass();
});
