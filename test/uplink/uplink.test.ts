// Proves the way up: order and names, what each answer leads to, planned and forced switches, what is new before a backlog,
// back-off, the end; and, by a model over random schedules of crashes, switches, lost and late messages, CSEs that fall
// silent and disks that refuse, that nothing stored is lost (I1), that a reading is in one container only, at two CSEs only
// under the label (I2), and that each container gets its part of a stream in order (I3). Only a labelled copy may come
// behind later records: after a crash in the middle of a switch from a source that cannot be asked.
import * as fc from 'fast-check';
import t from 'tap';
import { err, ok } from '../../src/base/result.ts';
import type { Result } from '../../src/base/result.ts';
import { cseId, epoch, millis, seq, streamName, unixMillis } from '../../src/base/units.ts';
import type { Seq, StreamName } from '../../src/base/units.ts';
import { recordName } from '../../src/buffer/record.ts';
import type { StoredRecord } from '../../src/buffer/record.ts';
import { randomFraction } from '../../src/host/entropy.ts';
import { settle } from '../../src/host/clock.ts';
import type { Binding, DeliveryError, SendOptions } from '../../src/onem2m/binding.ts';
import { CseClient } from '../../src/onem2m/cse-client.ts';
import { Operation } from '../../src/onem2m/enums.ts';
import type { RequestPrimitive, ResponsePrimitive } from '../../src/onem2m/primitives.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';
import type { Destination } from '../../src/uplink/destination.ts';
import { encodeInstance, encodePayload } from '../../src/uplink/instance.ts';
import { inDoubtLabel } from '../../src/uplink/stream-lane.ts';
import type { DeliveryOrder, Exchange, Moved, RecordSource } from '../../src/uplink/lane-options.ts';
import { Uplink } from '../../src/uplink/uplink.ts';

const logId = '0a0b0c0d';
const latencyMs = 10;
const deadlineMs = millis(200);
const settings = {
  deadlineMs: () => deadlineMs,
  retryMsMin: millis(50),
  retryMsMax: millis(400),
  backlogPercent: 50,
  shortBacklogMax: 2,
};

/** What is settled of a stream, and the mark of its backlog. */
interface Account {
  readonly settled: ReadonlySet<number>;
  readonly backlogThrough: number;
}

const noAccount: Account = { settled: new Set(), backlogThrough: 0 };

/** The log: records by stream, what is settled, and what of that a power cut leaves. */
class ModelLog implements RecordSource {
  readonly stored = new Map<StreamName, StoredRecord[]>();
  readonly accounts = new Map<StreamName, Account>();
  readonly givenUp: string[] = [];
  #durable = new Map<StreamName, Account>();
  /** Runs in the middle of a look into the log. */
  onPeek: () => void = () => undefined;
  /** Whether records above pending ones can be settled, and the mark be written. */
  hasRanges = true;
  /** `unknown`: the disk reports an error, but has written the mark. */
  takesMark: 'yes' | 'no' | 'unknown' = 'yes';

  append(stream: StreamName): Seq {
    const records = this.stored.get(stream) ?? [];
    this.stored.set(stream, records);
    const number = seq(records.length + 1);
    records.push({
      stream,
      seq: number,
      logId,
      runId: '00000001',
      payload: encodePayload(number),
      monotonicMs: millis(0),
      wall: { unixMs: unixMillis(0), source: 'system' },
    });
    return number;
  }

  async peek(stream: StreamName, max: number, afterSeq = 0): Promise<readonly StoredRecord[]> {
    const found = this.pendingOf(stream).filter((record) => record.seq > afterSeq);
    await Promise.resolve();
    this.onPeek();
    return found.slice(0, max);
  }

  acknowledge(stream: StreamName, throughSeq: Seq, fromSeq = 1): boolean {
    const { settled, backlogThrough } = this.#account(stream);
    const isBeside = this.pendingOf(stream).some((record) => record.seq < fromSeq);
    if (isBeside && !this.hasRanges) return false;
    const all = Array.from({ length: throughSeq - fromSeq + 1 }, (_, index) => fromSeq + index);
    this.accounts.set(stream, { settled: new Set([...settled, ...all]), backlogThrough });
    return true;
  }

  giveUp(stream: StreamName, throughSeq: Seq, fromSeq?: number): boolean {
    this.givenUp.push(`${stream} ${throughSeq}`);
    return this.acknowledge(stream, throughSeq, fromSeq);
  }

  backlogThrough(stream: StreamName): Seq {
    return seq(this.#account(stream).backlogThrough);
  }

  async markBacklog(stream: StreamName, throughSeq: Seq): Promise<boolean> {
    const { settled, backlogThrough } = this.#account(stream);
    this.accounts.set(stream, { settled, backlogThrough: Math.max(backlogThrough, throughSeq) });
    await Promise.resolve();
    if (this.takesMark !== 'no') this.sync();
    return this.takesMark === 'yes';
  }

  lastSeq(stream: StreamName): Seq {
    return seq(this.stored.get(stream)?.length ?? 0);
  }

  pendingOf(stream: StreamName): StoredRecord[] {
    const { settled } = this.#account(stream);
    return (this.stored.get(stream) ?? []).filter((record) => !settled.has(record.seq));
  }

  sync(): void {
    this.#durable = new Map(this.accounts);
  }

  powerCut(): void {
    this.accounts.clear();
    for (const [stream, account] of this.#durable) this.accounts.set(stream, account);
  }

  get pending(): number {
    return [...this.stored.keys()].reduce((sum, stream) => sum + this.pendingOf(stream).length, 0);
  }

  #account(stream: StreamName): Account {
    return this.accounts.get(stream) ?? noAccount;
  }
}

interface Held {
  readonly seq: number;
  readonly isLabelled: boolean;
  /** Nobody waited for it any more when it arrived. */
  readonly isLate: boolean;
}

/** What happens to one request; latency otherwise. */
type Fate = 'delivered' | 'requestLost' | 'answerLost' | 'late' | 'lateRequest';

/** A CSE that holds instances by address, on a network that the test has in its hand. */
class ModelCse {
  readonly id: string;
  readonly held = new Map<string, Held>();
  /** Instances in the order of their creation, by stream. */
  readonly order = new Map<string, Held[]>();
  readonly requests: RequestPrimitive[] = [];
  /** Answers this to creations instead of executing them. */
  refusal: number | undefined;
  /** Answers 5207 to these. */
  refuses: (request: RequestPrimitive) => boolean = () => false;
  fate: (request: RequestPrimitive) => Fate = () => 'delivered';
  readonly #clock: SimulatedClock;

  constructor(id: string, clock: SimulatedClock) {
    this.id = id;
    this.#clock = clock;
  }

  destination(at = 1): Destination {
    const binding: Binding = {
      send: (request, options) => this.#send(request, options),
      close: () => Promise.resolve(),
    };
    const client = new CseClient({ binding, originator: 'Sgw1', entropy: new SeededEntropy(3), deadlineMs });
    return { cseId: cseId(`/id-${this.id}`), epoch: epoch(at), client, aeAddress: `cse-${this.id}/gw1` };
  }

  numbers(stream = 's'): number[] {
    return (this.order.get(stream) ?? []).map((held) => held.seq);
  }

  /** Sequence numbers of the creations asked for, repeats included. */
  get creations(): number[] {
    return this.requests.filter(({ operation }) => operation === Operation.create).map(seqIn);
  }

  #send(request: RequestPrimitive, options: SendOptions): Promise<Result<ResponsePrimitive, DeliveryError>> {
    const { signal } = options;
    if (signal?.aborted === true) return Promise.resolve(err({ kind: 'cancelled', message: 'cancelled' }));
    this.requests.push(request);
    const fate = this.fate(request);
    return new Promise((resolve) => {
      let isOver = false;
      const finish = (outcome: Result<ResponsePrimitive, DeliveryError>): void => {
        isOver = true;
        cancel();
        signal?.removeEventListener('abort', onAbort);
        resolve(outcome);
      };
      const onAbort = (): void => finish(err({ kind: 'cancelled', message: 'cancelled' }));
      const cancel = this.#clock.schedule(options.deadlineMs, () =>
        finish(err({ kind: 'deadline', message: 'no answer' })),
      );
      signal?.addEventListener('abort', onAbort, { once: true });
      if (fate === 'requestLost') return;
      // A request on its way arrives whether or not anybody still waits for its answer.
      this.#clock.schedule(millis(fate === 'lateRequest' ? 1.5 * deadlineMs : latencyMs), () => {
        const response = this.#execute(request, isOver);
        if (fate === 'answerLost') return;
        this.#clock.schedule(millis(fate === 'late' ? 2 * deadlineMs : latencyMs), () =>
          finish(ok(response)),
        );
      });
    });
  }

  #execute(request: RequestPrimitive, isLate: boolean): ResponsePrimitive {
    const answer = (responseStatusCode: number): ResponsePrimitive => ({
      responseStatusCode,
      requestIdentifier: request.requestIdentifier,
    });
    if (request.operation === Operation.retrieve) return answer(this.held.has(request.to) ? 2000 : 4004);
    const instance = request.primitiveContent?.contentInstance;
    const address = `${request.to}/${String(instance?.resourceName)}`;
    if (this.held.has(address)) return answer(4105);
    if (this.refusal !== undefined) return answer(this.refusal);
    if (this.refuses(request)) return answer(5207);
    const stream = request.to.split('/').at(-1) ?? '';
    const isLabelled = instance?.labels?.includes(inDoubtLabel) ?? false;
    const held: Held = { seq: seqIn(request), isLabelled, isLate };
    this.held.set(address, held);
    this.order.set(stream, [...(this.order.get(stream) ?? []), held]);
    return answer(2001);
  }
}

function seqIn(request: RequestPrimitive): number {
  return Number((request.primitiveContent?.contentInstance?.content as { q: number } | undefined)?.q);
}

const s = streamName('s');

type Streams = ReadonlyMap<StreamName, DeliveryOrder>;

class World {
  readonly clock = new SimulatedClock();
  readonly log = new ModelLog();
  readonly a = new ModelCse('a', this.clock);
  readonly b = new ModelCse('b', this.clock);
  readonly exchanges: Exchange[] = [];
  readonly told: string[] = [];
  uplink: Uplink;
  #running: Promise<void>;

  constructor(streams: Streams = new Map([[s, 'inOrder']])) {
    this.uplink = this.#open(streams);
    this.#running = this.uplink.run();
  }

  restart(streams: Streams): void {
    this.uplink = this.#open(streams);
    this.#running = this.uplink.run();
  }

  #open(streams: Streams): Uplink {
    return new Uplink({
      streams,
      source: this.log,
      clock: this.clock,
      entropy: new SeededEntropy(9),
      settings,
      observer: {
        onExchange: (_destination, exchange) => this.exchanges.push(exchange),
        onDelivered: (stream, number) => this.told.push(`delivered ${stream} ${number}`),
        onContextLost: () => this.told.push('context lost'),
        onRefused: (stream, number) => this.told.push(`refused ${stream} ${number}`),
        onAlarm: (_stream, text) => this.told.push(text),
      },
    });
  }

  store(count = 1, stream: StreamName = s): void {
    for (let at = 0; at < count; at++) {
      this.log.append(stream);
      this.uplink.notice(stream);
    }
  }

  async switchTo(
    target: ModelCse | undefined,
    options: { at?: number; deadlineMs?: number; sourceLost?: boolean } = {},
  ): Promise<Moved | undefined> {
    const { at = 1, deadlineMs: limitMs = 100, sourceLost = false } = options;
    const moves = await this.clock.advanceUntil(
      this.uplink.switchTo(target?.destination(at), { deadlineMs: millis(limitMs), sourceLost }),
    );
    return moves.get(s);
  }

  async stop(): Promise<void> {
    this.uplink.stop();
    await this.#running;
  }
}

void t.test('order, names, and answers that mean delivered', async (t) => {
  const world = new World();
  world.store(3);
  await world.clock.advance(1000);
  t.same(world.a.requests, [], 'nothing leaves before there is a destination');
  t.same(await world.switchTo(world.a), { firstSeq: 1 });
  await world.clock.advance(60);
  world.store(2);
  await world.clock.advance(1000);
  t.same(world.a.numbers(), [1, 2, 3, 4, 5]);
  t.ok(world.a.held.has(`cse-a/gw1/s/${recordName(logId, seq(4))}`), 'named by log and number');
  t.equal(world.log.pending, 0);
  t.equal(
    world.exchanges.every(({ isAnswered, tookMs }) => isAnswered && tookMs === 2 * latencyMs),
    true,
  );

  world.a.fate = () => 'answerLost';
  world.store();
  await world.clock.advance(210);
  world.a.fate = () => 'delivered';
  await world.clock.advance(1000);
  t.same(world.a.creations.slice(5), [6, 6], 'no answer: again, under the same name');
  t.same(world.a.numbers(), [1, 2, 3, 4, 5, 6], '4105 counts as delivered, nothing is double');
  t.same(world.exchanges.map(({ isAnswered }) => isAnswered).slice(5), [false, true]);
  t.equal(world.log.pending, 0);
  await world.stop();
});

void t.test('what is sent', (t) => {
  const record: StoredRecord = {
    stream: s,
    seq: seq(7),
    logId,
    runId: '00000001',
    payload: encodePayload({ deep: [1, 'x'] }),
    monotonicMs: millis(5),
    wall: { unixMs: unixMillis(99), source: 'ntp', errorBoundMs: millis(3) },
    producerSeq: 4,
  };
  t.same(encodeInstance(record, epoch(2)), { v: { deep: [1, 'x'] }, q: 7, t: 99, e: 2, b: 3, n: 4 });
  const foreign = { ...record, payload: Uint8Array.of(0xff, 0x00) };
  t.equal(encodeInstance(foreign, epoch(2)).v, '/wA=', 'octets that are no value travel as text');
  t.end();
});

void t.test('planned switch: at the quiet moment, without a pause', async (t) => {
  const world = new World();
  await world.switchTo(world.a);
  world.store(4);
  await world.clock.advance(30);
  t.same(world.a.creations, [1, 2], 'the second is under way');
  const beginMs = world.clock.monotonicMs();
  t.same(await world.switchTo(world.b, { at: 2 }), { firstSeq: 3 });
  t.equal(world.clock.monotonicMs() - beginMs, 10, 'it waits for that answer and no longer');
  await world.clock.advance(100);
  t.same(
    [world.a.numbers(), world.b.numbers()],
    [
      [1, 2],
      [3, 4],
    ],
  );
  t.notOk([...world.b.held.values()].some(({ isLabelled }) => isLabelled));
  t.same(
    world.b.requests.filter(({ operation }) => operation === Operation.retrieve),
    [],
    'nothing was in doubt',
  );
  t.same(await world.switchTo(world.a, { at: 3 }), { firstSeq: 5 }, 'with nothing pending: what comes next');
  t.same(await world.switchTo(world.a, { at: 3 }), { firstSeq: 5 });
  world.store(2);
  await world.clock.advance(100);
  t.same(
    await world.switchTo(world.a, { at: 3 }),
    { firstSeq: 5 },
    'a repeated switch keeps its first number',
  );
  await world.stop();
});

void t.test('what the source has is durable before the target gets what comes after', async (t) => {
  const world = new World();
  await world.switchTo(world.a);
  world.store(4);
  await world.clock.advance(30);
  await world.switchTo(world.b, { at: 2 });
  await world.clock.advance(5);
  t.same(world.b.creations, [3]);
  world.log.powerCut();
  t.equal(world.log.pendingOf(s)[0]?.seq, 3, 'a restart would not send 1 and 2 to the target behind 3');
  await world.stop();
});

void t.test('a record that is stored while the stream moves', async (t) => {
  const world = new World();
  await world.switchTo(world.a);
  world.log.onPeek = () => {
    world.log.onPeek = () => undefined;
    world.store();
  };
  t.same(await world.switchTo(world.b), { firstSeq: 1 }, 'belongs to the new destination');
  await world.clock.advance(100);
  t.same(world.b.numbers(), [1]);
  await world.stop();
});

void t.test('forced switch: the record under way is in doubt', async (t) => {
  for (const fate of ['answerLost', 'requestLost', 'lateRequest'] as const) {
    for (const sourceAnswers of [true, false]) {
      const world = new World();
      await world.switchTo(world.a);
      world.a.fate = ({ operation }) =>
        operation === Operation.create ? fate : sourceAnswers ? 'delivered' : 'requestLost';
      world.store(2);
      await world.clock.advance(5);
      const moved = await world.switchTo(world.b, { at: 2, deadlineMs: 50 });
      t.equal(moved?.firstSeq, 1);
      await world.clock.advance(3000);
      const atB = [...world.b.held.values()].map(({ seq: number, isLabelled }) => [number, isLabelled]);
      const name = `${fate}, source ${sourceAnswers ? 'answers' : 'is silent'}`;
      if (fate === 'answerLost' && sourceAnswers) t.same(atB, [[2, false]], `${name}: found at the source`);
      else
        t.same(
          atB,
          [
            [1, true],
            [2, false],
          ],
          `${name}: sent again, labelled`,
        );
      t.equal(world.log.pending, 0);
      await world.stop();
    }
  }
  const world = new World();
  await world.switchTo(world.a);
  world.a.fate = () => 'requestLost';
  world.store(2);
  await world.clock.advance(5);
  const asked = world.a.requests.length;
  const beginMs = world.clock.monotonicMs();
  await world.switchTo(world.b, { at: 2, deadlineMs: 5000, sourceLost: true });
  t.ok(world.clock.monotonicMs() - beginMs < 100, 'a lost source is not waited for');
  await world.clock.advance(1000);
  t.equal(world.a.requests.length, asked, 'nor asked');
  t.same(
    [...world.b.held.values()].map(({ isLabelled }) => isLabelled),
    [true, false],
  );
  await world.stop();
});

void t.test('a target that falls silent right after the switch', async (t) => {
  const world = new World();
  await world.switchTo(world.a);
  world.a.fate = () => 'requestLost';
  world.b.fate = () => 'requestLost';
  world.store(3);
  await world.clock.advance(5);
  const beginMs = world.clock.monotonicMs();
  const moved = await world.switchTo(world.b, { at: 2, deadlineMs: 300, sourceLost: true });
  t.same(moved, { firstSeq: 1, inDoubtThrough: 1 }, 'the move ends and says what is in doubt');
  t.equal(world.clock.monotonicMs() - beginMs, 600, 'in bounded time');
  world.a.fate = () => 'delivered';
  t.same(await world.switchTo(world.a, { at: 3, deadlineMs: 300, sourceLost: true }), { firstSeq: 1 });
  await world.clock.advance(1000);
  t.same(world.a.numbers(), [1, 2, 3]);
  await world.stop();
});

void t.test('taking up what a restart left in doubt does not wait for it', async (t) => {
  const world = new World();
  world.store(5);
  world.uplink.doubt(undefined, new Map([[s, seq(3)]]));
  world.a.fate = () => 'requestLost';
  t.same(await world.switchTo(world.a, { deadlineMs: 0 }), { firstSeq: 1, inDoubtThrough: 3 });
  world.a.fate = () => 'delivered';
  await world.clock.advance(1000);
  const labels = [...world.a.held.values()].map(({ isLabelled }) => isLabelled);
  t.same(labels, [true, true, true, false, false], 'what nobody can ask about is labelled');
  await world.stop();
});

void t.test('overlapping switches all end', async (t) => {
  const world = new World();
  await world.switchTo(world.a);
  world.store(3);
  await world.clock.advance(5);
  const limits = { deadlineMs: millis(1000), sourceLost: false };
  const all = Promise.all([
    world.uplink.switchTo(world.b.destination(2), limits),
    world.uplink.switchTo(undefined, limits),
    world.uplink.switchTo(world.b.destination(3), limits),
  ]);
  await world.clock.advanceUntil(all, 1000);
  await world.clock.advance(200);
  t.same([world.a.numbers(), world.b.numbers()], [[1], [2, 3]]);
  await world.stop();
});

void t.test('answers that are not success', async (t) => {
  const world = new World();
  await world.switchTo(world.a);
  for (const code of [4004, 4103]) {
    world.told.length = 0;
    world.a.refusal = code;
    world.store(2);
    await world.clock.advance(2000);
    t.ok(world.told.includes('context lost'), `${code}: the context must be repaired`);
    t.equal(world.log.pending, 2, 'and nothing is lost meanwhile');
    world.a.refusal = undefined;
    await world.clock.advance(2000);
    t.equal(world.log.pending, 0);
  }
  t.same(world.a.numbers(), [1, 2, 3, 4]);

  for (const code of [4000, 4102, 4015]) {
    const next = world.log.lastSeq(s) + 1;
    world.log.givenUp.length = 0;
    world.told.length = 0;
    world.a.refusal = code;
    world.store();
    await world.clock.advance(500);
    world.a.refusal = undefined;
    await world.clock.advance(2000);
    t.ok(world.told.includes(`delivered s ${next}`), `${code}: a refusal that passes costs nothing`);
    t.same(world.log.givenUp, []);

    world.told.length = 0;
    world.a.refusal = code;
    world.store();
    await world.clock.advance(90_000);
    world.a.refusal = undefined;
    world.store();
    await world.clock.advance(300);
    t.same(world.log.givenUp, [`s ${next + 1}`], 'one that stays: the record is given up, not acknowledged');
    t.ok(world.told.includes(`refused s ${next + 1}`));
    t.notOk(world.told.includes(`delivered s ${next + 1}`), 'it does not count as delivered');
    t.equal(world.told.at(-1), `delivered s ${next + 2}`);
    t.equal(world.log.pending, 0, 'and holds nobody back for ever');
  }
  for (const code of [5000, 5207]) {
    world.told.length = 0;
    world.a.refusal = code;
    world.store();
    await world.clock.advance(3000);
    t.match(world.told.at(-1), /held back/, `${code}: held back, and said so`);
    t.equal(world.log.pending, 1);
    world.a.refusal = undefined;
    await world.clock.advance(1000);
    t.equal(world.log.pending, 0);
  }
  await world.stop();
});

void t.test('back-off grows within its bounds; the end comes at once', async (t) => {
  const world = new World();
  await world.switchTo(world.a);
  world.a.fate = () => 'requestLost';
  world.store();
  await world.clock.advance(20_000);
  const waits = world.exchanges.slice(1).map(({ sentMs }, at) => {
    const before = world.exchanges[at];
    return sentMs - (before?.sentMs ?? 0) - (before?.tookMs ?? 0);
  });
  t.ok(waits.every((wait) => wait >= settings.retryMsMin / 2 && wait <= settings.retryMsMax));
  t.ok((waits[0] ?? 0) <= settings.retryMsMin, 'the first is short');
  t.ok(
    waits.length >= 20_000 / (deadlineMs + settings.retryMsMax) - 1 && waits.length < 60,
    `${waits.length} tries`,
  );
  const sent = world.a.requests.length;
  world.store(50);
  await world.clock.advance(100);
  t.ok(world.a.requests.length - sent <= 1, 'new records do not shorten the wait');

  // In the wait, in a request, in a question, in a look into the log: each time it ends without time passing.
  for (const pauseMs of [1, 60, 110, 210, 300]) {
    const other = new World();
    other.store(5);
    other.uplink.doubt(other.b.destination(), new Map([[s, seq(5)]]));
    other.b.fate = () => 'requestLost';
    other.a.fate = () => 'requestLost';
    void other.uplink.switchTo(other.a.destination(), { deadlineMs: millis(10), sourceLost: false });
    await other.clock.advance(pauseMs);
    const before = other.a.requests.length;
    let isOver = false;
    void other.stop().then(() => (isOver = true));
    for (let turn = 0; turn < 5; turn++) await settle();
    t.ok(isOver, `over after ${pauseMs} ms`);
    t.equal(other.a.requests.length, before, 'nothing is sent any more');
  }
  await world.stop();
});

void t.test('fenced: nothing leaves, everything is kept', async (t) => {
  const world = new World();
  await world.switchTo(world.a);
  world.store(2);
  await world.clock.advance(5);
  await world.switchTo(undefined, { deadlineMs: 0 });
  const sent = world.a.requests.length;
  world.store(10);
  await world.clock.advance(60_000);
  t.equal(world.a.requests.length, sent);
  t.ok(world.log.pending >= 11);
  await world.stop();
});

const liveFirst: Streams = new Map([[s, 'liveFirst']]);

/** A stream with `count` records behind an outage: one was delivered when the CSE came back. */
async function afterOutage(count: number, streams: Streams = liveFirst): Promise<World> {
  const world = new World(streams);
  await world.switchTo(world.a);
  world.a.fate = () => 'requestLost';
  world.store(count);
  await world.clock.advance(1000);
  world.a.fate = () => 'delivered';
  for (let ms = 0; world.a.numbers().length < 1 && ms < 1000; ms++) await world.clock.advance(1);
  await world.clock.advance(latencyMs);
  return world;
}

void t.test(
  'live first: what is new overtakes the backlog, which goes to the history container',
  async (t) => {
    const world = await afterOutage(40);
    t.same(world.a.numbers(), [1], 'what was under way is settled first, where it was sent');
    await world.clock.advance(100);
    t.same(
      world.a.numbers('s.history'),
      [2, 3, 4, 5, 6],
      'the backlog has all of the way while nothing new waits',
    );
    world.store();
    const before = world.a.creations.length;
    await world.clock.advance(60);
    t.equal(world.a.numbers().at(-1), 41, 'a new reading is delivered');
    t.ok(world.a.creations.indexOf(41) - before <= 1, 'after one more of the backlog at most');
    world.store(10);
    await world.clock.advance(420);
    t.same(world.a.numbers().slice(-10), [42, 43, 44, 45, 46, 47, 48, 49, 50, 51], 'in order');
    const beside = world.a.numbers('s.history').length;
    t.ok(beside >= 15 && beside <= 19, `${beside} of the backlog went beside them, in turns`);
    await world.clock.advance(1000);
    t.equal(world.log.pending, 0);
    t.same(
      world.a.numbers('s.history'),
      Array.from({ length: 39 }, (_, index) => index + 2),
    );
    t.equal(world.a.held.size, 51, 'each once');
    t.ok(world.a.held.has(`cse-a/gw1/s.history/${recordName(logId, seq(7))}`), 'under the same names');
    world.store();
    await world.clock.advance(100);
    t.equal(world.a.numbers().at(-1), 52);
    await world.stop();

    const short = await afterOutage(3);
    await short.clock.advance(200);
    t.same(short.a.numbers(), [1, 2, 3], 'a few records are delivered in order');
    await short.stop();
    const ordered = await afterOutage(40, new Map([[s, 'inOrder']]));
    await ordered.clock.advance(2000);
    t.equal(ordered.a.numbers().length, 40, 'and so are the streams that ask for it');
    await ordered.stop();
  },
);

void t.test('live first: a restart, a second outage and a move in the middle of the backlog', async (t) => {
  const world = await afterOutage(40);
  world.store(5);
  await world.clock.advance(150);
  await world.stop();
  world.log.powerCut();
  t.ok(world.log.backlogThrough(s) >= 40, 'the mark survives what acknowledgements do not');
  world.restart(liveFirst);
  world.uplink.doubtAll(world.a.destination());
  await world.switchTo(world.a, { deadlineMs: 0 });
  await world.clock.advance(100);
  world.a.fate = () => 'requestLost';
  world.store(30);
  await world.clock.advance(500);
  world.a.fate = () => 'delivered';
  await world.clock.advance(700);
  world.store(2);
  await world.clock.advance(100);
  t.same(world.a.numbers().slice(-2), [76, 77], 'the second outage left a backlog, too');
  const moved = await world.switchTo(world.b, { at: 2 });
  t.equal(moved?.firstSeq, 78);
  const first = moved?.backlog?.firstSeq ?? 0;
  t.equal(first, (world.a.numbers('s.history').at(-1) ?? 0) + 1, 'each part has a first number of its own');
  world.store();
  await world.clock.advance(3000);
  t.equal(world.log.pending, 0);
  t.same(world.b.numbers(), [78]);
  t.equal(world.b.numbers('s.history')[0], first);
  const all = [world.a, world.b].flatMap((cse) => [...cse.numbers(), ...cse.numbers('s.history')]);
  t.same(
    all.sort((x, y) => x - y),
    Array.from({ length: 78 }, (_, index) => index + 1),
    'each once',
  );
  await world.stop();
});

void t.test('live first: what is in doubt is asked for where it would be', async (t) => {
  const world = await afterOutage(40);
  await world.clock.advance(45);
  world.a.fate = () => 'answerLost';
  await world.clock.advance(20);
  world.a.fate = ({ operation }) => (operation === Operation.create ? 'requestLost' : 'delivered');
  const moved = await world.switchTo(world.b, { at: 2, deadlineMs: 30 });
  await world.clock.advance(2000);
  const asked = world.a.requests.filter(({ operation }) => operation === Operation.retrieve);
  t.ok(asked.length > 0 && asked.every(({ to }) => to.startsWith('cse-a/gw1/s.history/')));
  t.equal(moved?.inDoubtThrough, undefined, 'no live record is in doubt for it');
  t.notOk(
    [...world.b.held.values()].some(({ isLabelled }) => isLabelled),
    'found at the source',
  );
  t.equal(world.a.held.size + world.b.held.size, 40);
  await world.stop();
});

void t.test(
  'live first: a log without room for it, a disk that refuses the mark, a record nobody takes',
  async (t) => {
    const world = await afterOutage(20);
    world.log.hasRanges = false;
    world.store(5);
    await world.clock.advance(2000);
    t.equal(world.log.pending, 0, 'without ranges: the backlog first, then the rest');
    t.equal(world.a.held.size, 25);
    t.same(world.a.numbers(), [1, 21, 22, 23, 24, 25]);
    await world.stop();

    const moving = await afterOutage(20);
    moving.log.hasRanges = false;
    moving.store();
    await moving.clock.advance(100);
    t.equal(moving.a.numbers().at(-1), 21, 'what is delivered and cannot be settled yet');
    await moving.switchTo(moving.b, { at: 2 });
    await moving.clock.advance(2000);
    t.equal(moving.log.pending, 0);
    t.same(moving.b.numbers(), [], 'is asked for when the stream moves on');
    await moving.stop();

    const refused = new World(liveFirst);
    refused.log.takesMark = 'no';
    await refused.switchTo(refused.a);
    refused.store(30);
    await refused.clock.advance(1000);
    t.same(refused.a.numbers(), [1], 'nothing is sent by a mark that may be lost');
    t.match(refused.told.at(-1), /disk refuses/);
    refused.log.takesMark = 'yes';
    await refused.clock.advance(2000);
    t.equal(refused.log.pending, 0);
    t.equal(refused.a.numbers('s.history').length, 29);
    await refused.stop();

    const stuck = await afterOutage(30);
    const execute = stuck.a.refuses;
    stuck.a.refuses = (request) => request.to.endsWith('.history');
    for (let count = 0; count < 5; count++) {
      stuck.store();
      await stuck.clock.advance(500);
    }
    t.equal(
      stuck.a.numbers().at(-1),
      35,
      'a history container that takes nothing does not hold back what is new',
    );
    stuck.a.refuses = execute;
    await stuck.clock.advance(4000);
    t.equal(stuck.log.pending, 0);
    await stuck.stop();
  },
);

// ---- the model ----

type Step =
  | { readonly kind: 'store'; readonly count: number; readonly stream: number }
  | { readonly kind: 'wait'; readonly ms: number }
  | {
      readonly kind: 'switch';
      readonly target: 0 | 1 | 2;
      readonly sourceLost: boolean;
      readonly waitMs: number;
    }
  | { readonly kind: 'crash' }
  | { readonly kind: 'sync' }
  | { readonly kind: 'silence'; readonly cse: 0 | 1 | 2; readonly isSilent: boolean }
  | { readonly kind: 'disk'; readonly hasRanges: boolean; readonly takesMark: 'yes' | 'no' | 'unknown' };

const who = fc.constantFrom<0 | 1 | 2>(0, 1, 2);
const steps = fc.array(
  fc.oneof<fc.Arbitrary<Step>[]>(
    fc.record({
      kind: fc.constant('store' as const),
      count: fc.integer({ min: 1, max: 5 }),
      stream: fc.nat(1),
    }),
    fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 400 }) }),
    fc.record({
      kind: fc.constant('switch' as const),
      target: who,
      sourceLost: fc.boolean(),
      waitMs: fc.integer({ min: 0, max: 800 }),
    }),
    fc.record({ kind: fc.constant('crash' as const) }),
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

const modelStreams: Streams = new Map([
  [s, 'inOrder'],
  [streamName('u'), 'liveFirst'],
]);
const modelNames = [...modelStreams.keys()];

/** The gateway around the uplink: a journal before each switch and after it, and the doubts of a restart. */
class ModelGateway {
  readonly world = new World(modelStreams);
  readonly cses = [this.world.a, this.world.b, new ModelCse('c', this.world.clock)] as const;
  readonly silent = new Set<ModelCse>();
  isLossy = true;
  #journal: Journaled = { at: 1, cse: this.cses[0], inDoubt: new Map() };
  #run = 0;

  constructor(seed: number) {
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

  async crash(): Promise<void> {
    this.#run++;
    await this.world.stop();
    this.world.log.powerCut();
    // What was on its way has arrived or is lost when the next process asks.
    await this.world.clock.advance(2 * deadlineMs);
    this.world.restart(modelStreams);
    this.#takeUp();
  }

  #takeUp(): void {
    const { cse, at, inDoubt, target } = this.#journal;
    const { uplink } = this.world;
    for (const entry of inDoubt) uplink.doubt(undefined, new Map([entry]));
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

/** Schedules in which a backlog went beside new records. */
let histories = 0;

async function runSchedule(schedule: readonly Step[], seed: number): Promise<string | undefined> {
  const gateway = new ModelGateway(seed);
  const { world, cses, silent } = gateway;
  for (const step of schedule) {
    if (step.kind === 'store') world.store(step.count, modelNames[step.stream] ?? s);
    else if (step.kind === 'wait') await world.clock.advance(step.ms);
    else if (step.kind === 'crash') await gateway.crash();
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
      const name = recordName(logId, record.seq);
      const copiesAt = cses.map((cse) =>
        [stream, `${stream}.history`]
          .map((container) => cse.held.get(`cse-${cse.id}/gw1/${container}/${name}`))
          .filter((copy) => copy !== undefined),
      );
      if (copiesAt.some((copies) => copies.length > 1))
        return `${stream} ${record.seq} is in both containers`;
      const copies = copiesAt.flat();
      if (copies.length === 0) return `I1: ${stream} ${record.seq} is nowhere`;
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

void t.test('random schedules of crashes, switches, losses and silences', { timeout: 60_000 }, async (t) => {
  await fc.assert(
    fc.asyncProperty(steps, fc.nat(), async (schedule, seed) => {
      const wrong = await runSchedule(schedule, seed);
      if (wrong !== undefined) throw new Error(wrong);
    }),
    { numRuns: 1500, interruptAfterTimeLimit: 30_000 },
  );
  t.ok(histories > 50, `${histories} schedules had a backlog`);
  t.pass();
});
