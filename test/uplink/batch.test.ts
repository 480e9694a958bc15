// Proves batches: what an instance of several readings holds and that all of it can be read again; that the same records
// are put together in the same way whenever they are looked at; when a batch leaves; and that each reading arrives once in
// every case in which a batch is not what it was before: answer lost, part of it given up, a late reading, a restart with
// another rule or without one, a move with an unanswered batch, a refusal, a live part and a backlog.
import * as fc from 'fast-check';
import t from 'tap';
import { epoch, millis, seq, streamName, unixMillis } from '../../src/base/units.ts';
import type { StoredRecord } from '../../src/buffer/record.ts';
import { Operation } from '../../src/onem2m/enums.ts';
import { decodeSenml, resolveSenml } from '../../src/onem2m/senml.ts';
import { encodeBatch, readingsOf } from '../../src/uplink/batch-instance.ts';
import { instanceName, nextBatch, parseInstanceName, repeatedBatch } from '../../src/uplink/batch.ts';
import type { Batch, BatchRule } from '../../src/uplink/batch.ts';
import { encodePayload } from '../../src/uplink/instance.ts';
import { World, deadlineMs, latencyMs, logId, s } from './world.ts';
import type { ModelCse, Streams } from './world.ts';

const rule: BatchRule = { max: 4, spanMs: millis(100), lateMs: millis(10) };
const batched = (changes: Partial<BatchRule> = {}): Streams =>
  new Map([[s, { order: 'inOrder', batch: { ...rule, ...changes } }]]);

function recordAt(number: number, changes: Partial<StoredRecord> = {}): StoredRecord {
  return {
    stream: s,
    seq: seq(number),
    logId,
    runId: '00000001',
    payload: encodePayload(number),
    monotonicMs: millis(0),
    wall: { unixMs: unixMillis(1_800_000_000_000 + number), source: 'system' },
    ...changes,
  };
}

const bounds = {
  rule,
  singlyThrough: seq(0),
  partThrough: Number.POSITIVE_INFINITY,
  runId: '00000001',
  nowMs: millis(50),
};

void t.test('an instance of several readings, and its reader', (t) => {
  const wall = (unixMs: number, errorBoundMs?: number): StoredRecord['wall'] => ({
    unixMs: unixMillis(unixMs),
    source: 'ntp',
    ...(errorBoundMs === undefined ? {} : { errorBoundMs: millis(errorBoundMs) }),
  });
  const records: Batch['records'] = [
    recordAt(7, { payload: encodePayload(21.5), producerSeq: 40, wall: wall(1_800_000_000_123, 3) }),
    recordAt(8, { payload: encodePayload('x'), producerSeq: 41, wall: wall(1_800_000_000_223, 3) }),
    recordAt(10, { payload: encodePayload(true), producerSeq: 50, wall: wall(1_800_000_000_999) }),
    recordAt(11, { payload: encodePayload({ a: [1, null] }), wall: wall(1_799_000_000_000, 9) }),
    recordAt(12, { payload: encodePayload(null), producerSeq: 3, wall: wall(1_800_000_060_000, 3) }),
    recordAt(13, { payload: Uint8Array.of(0xff), producerSeq: 4, wall: wall(1_800_000_060_001, 3) }),
  ];
  const content = encodeBatch(records, epoch(5), { name: 'gw1/s', unit: 'Cel' });
  t.match(content, /^[A-Za-z0-9+/]+=*$/u);
  t.same(readingsOf(`${logId}-7-13`, content), [
    { value: 21.5, seq: 7, unixMs: 1_800_000_000_123, epoch: 5, errorBoundMs: 3, producerSeq: 40 },
    { value: 'x', seq: 8, unixMs: 1_800_000_000_223, epoch: 5, errorBoundMs: 3, producerSeq: 41 },
    { value: true, seq: 10, unixMs: 1_800_000_000_999, epoch: 5, producerSeq: 50 },
    { value: { a: [1, null] }, seq: 11, unixMs: 1_799_000_000_000, epoch: 5, errorBoundMs: 9 },
    { value: null, seq: 12, unixMs: 1_800_000_060_000, epoch: 5, errorBoundMs: 3, producerSeq: 3 },
    { value: '/w==', seq: 13, unixMs: 1_800_000_060_001, epoch: 5, errorBoundMs: 3, producerSeq: 4 },
  ]);
  const plain = resolveSenml(decodeSenml(Buffer.from(content, 'base64')));
  t.same(
    plain.map(({ name, unit }) => [name, unit]),
    records.map(() => ['gw1/s', 'Cel']),
    'any SenML reader sees name, unit, time and value',
  );
  t.ok(plain.every(({ time }, at) => Math.abs(time * 1000 - (records[at]?.wall.unixMs ?? 0)) < 0.3));
  t.same(readingsOf(`${logId}-7`, { v: 1, q: 7, t: 99, e: 2, b: 3, n: 4 }), [
    { value: 1, seq: 7, unixMs: 99, epoch: 2, errorBoundMs: 3, producerSeq: 4 },
  ]);
  for (const bad of [undefined, 5, '', 'gA==', 'gaECAQ==']) t.throws(() => readingsOf(`${logId}-7-13`, bad));
  t.throws(() => readingsOf(`${logId}-7`, 'text'));
  t.end();
});

void t.test('any readings come back', (t) => {
  const field = fc.record({
    value: fc.oneof(
      fc.maxSafeInteger(),
      fc.double({ noNaN: true, min: -(2 ** 52), max: 2 ** 52 }),
      fc.string(),
      fc.boolean(),
    ),
    gap: fc.nat(2),
    aheadMs: fc.integer({ min: -5000, max: 70_000 }),
    errorBoundMs: fc.option(fc.nat(100), { nil: undefined }),
    count: fc.option(fc.nat(1000), { nil: undefined }),
  });
  fc.assert(
    fc.property(fc.array(field, { minLength: 2, maxLength: 64 }), (fields) => {
      let number = 0;
      const records = fields.map(({ value, gap, aheadMs, errorBoundMs, count }) => {
        number += 1 + gap;
        return recordAt(number, {
          payload: encodePayload(value),
          wall: {
            unixMs: unixMillis(1_800_000_000_000 + aheadMs),
            source: 'system',
            ...(errorBoundMs === undefined ? {} : { errorBoundMs: millis(errorBoundMs) }),
          },
          ...(count === undefined ? {} : { producerSeq: count }),
        });
      });
      const [first, ...others] = records;
      if (first === undefined) return;
      const content = encodeBatch([first, ...others], epoch(2), { name: 'gw1/s' });
      const readings = readingsOf(`${logId}-1-${number}`, content);
      t.same(
        readings.map(({ seq: at, unixMs, errorBoundMs, producerSeq }) => [
          at,
          unixMs,
          errorBoundMs,
          producerSeq,
        ]),
        records.map(({ seq: at, wall, producerSeq }) => [at, wall.unixMs, wall.errorBoundMs, producerSeq]),
      );
      t.same(
        readings.map(({ value }) => value),
        fields.map(({ value }) => (Object.is(value, -0) ? 0 : value)),
      );
    }),
    { numRuns: 100 },
  );
  t.end();
});

void t.test('what belongs together', (t) => {
  const at = (...ms: readonly number[]): StoredRecord[] =>
    ms.map((each, index) => recordAt(index + 1, { monotonicMs: millis(each) }));
  const rows: readonly (readonly [string, readonly StoredRecord[], string, number])[] = [
    ['a block of four', at(0, 10, 20, 30, 40), '1-4', 0],
    ['open while the span lasts', at(0, 10), '1-2', 110],
    ['a later span closes it', at(0, 10, 100), '1-2', 0],
    ['one alone is plain', at(0, 100), '1', 0],
    ['an earlier run has no more', at(0, 10).map((each) => ({ ...each, runId: '00000000' })), '1-2', 0],
    ['not from the future', at(99_000), '1', 0],
    ['a gap', [recordAt(1), recordAt(3)], '1', 0],
    ['a new log', [recordAt(1), recordAt(2, { logId: '0a0b0c0e' })], '1', 0],
    ['a new run', [recordAt(1), recordAt(2, { runId: '00000002' })], '1', 0],
    ['blocks are aligned', [recordAt(3), recordAt(4), recordAt(5)], '3-4', 0],
    [
      'without a wall clock',
      [recordAt(1, { wall: { unixMs: unixMillis(5), source: 'system' } }), recordAt(2)],
      '1',
      0,
    ],
    ['a large one', [recordAt(1, { payload: new Uint8Array(9000) }), recordAt(2)], '1', 0],
  ];
  for (const [what, records, name, dueMs] of rows) {
    const batch = nextBatch(records, bounds);
    t.equal(batch === undefined ? '' : instanceName(batch), `${logId}-${name}`, what);
    t.equal(batch?.dueMs, dueMs, what);
  }
  const cut = nextBatch([recordAt(1), recordAt(2), recordAt(3)], { ...bounds, partThrough: 2 });
  t.match(cut, { lastSeq: 2, dueMs: 0 }, 'the backlog ends where it ends');
  t.match(nextBatch([recordAt(1), recordAt(2)], { ...bounds, singlyThrough: seq(1) }), { lastSeq: 1 });
  t.match(nextBatch([recordAt(1), recordAt(2)], { ...bounds, rule: undefined }), { lastSeq: 1, dueMs: 0 });
  t.equal(nextBatch([], bounds), undefined);
  t.equal(nextBatch([recordAt(3)], { ...bounds, partThrough: 2 }), undefined);
  const attempt = { logId, firstSeq: seq(1), lastSeq: seq(4) };
  t.match(repeatedBatch(attempt, [recordAt(3), recordAt(4), recordAt(5)]), { firstSeq: 1, lastSeq: 4 });
  t.equal(repeatedBatch(attempt, [recordAt(5)]), undefined);
  for (const name of ['e5', '0a0b0c0d', '0a0b0c0d-0', '0a0b0c0d-5-4', '0a0b0c0d-1-2-3', 'echo-0a0b0c0d-1']) {
    t.equal(parseInstanceName(name), undefined, name);
  }
  t.same(parseInstanceName('0a0b0c0d-5-9'), { logId, firstSeq: 5, lastSeq: 9 });
  t.end();
});

void t.test('the same records make the same batches, wherever one begins to look', (t) => {
  const steps = fc.array(fc.record({ ms: fc.nat(60), gap: fc.boolean(), bytes: fc.nat(3000) }), {
    minLength: 5,
    maxLength: 60,
  });
  fc.assert(
    fc.property(steps, (list) => {
      let number = 0;
      let ms = 0;
      const records = list.map((step) => {
        number += step.gap ? 2 : 1;
        ms += step.ms;
        return recordAt(number, { monotonicMs: millis(ms), payload: new Uint8Array(step.bytes) });
      });
      const closed = { ...bounds, nowMs: millis(ms + 1000) };
      const names = (left: readonly StoredRecord[]): string[] => {
        const found: string[] = [];
        for (let rest = left; ;) {
          const batch = nextBatch(rest, closed);
          if (batch === undefined) return found;
          found.push(instanceName(batch));
          rest = rest.filter((record) => record.seq > batch.lastSeq);
        }
      };
      const all = names(records);
      // An acknowledgement is at the end of a batch, so a restart begins at the start of one.
      for (const [at, name] of all.entries()) {
        const { firstSeq = seq(0) } = parseInstanceName(name) ?? {};
        t.same(names(records.filter((record) => record.seq >= firstSeq)), all.slice(at));
      }
    }),
    { numRuns: 60 },
  );
  t.end();
});

const namesAt = (cse: ModelCse, container = 's'): string[] => [
  ...new Set((cse.order.get(container) ?? []).map(({ name }) => name.slice(logId.length + 1))),
];

void t.test('a batch that comes again waits for what of it cannot be read now', async (t) => {
  const world = new World(batched());
  await world.switchTo(world.a);
  await world.clock.advance(200 - world.clock.monotonicMs());
  world.a.fate = () => 'requestLost';
  world.store(4);
  await world.clock.advance(50);
  world.log.unreadable.add(`${s} 3`);
  world.a.fate = () => 'delivered';
  await world.clock.advance(2000);
  t.same(namesAt(world.a), [], 'its name would settle more than it carried');
  t.equal(world.log.pending, 4);
  world.log.unreadable.clear();
  await world.clock.advance(1000);
  t.same(namesAt(world.a), ['1-4']);
  t.same(world.a.numbers(), [1, 2, 3, 4]);
  await world.stop();
});

void t.test('a batch leaves when it is full, or when its span is over', async (t) => {
  const world = new World(batched());
  await world.switchTo(world.a);
  await world.clock.advance(200 - world.clock.monotonicMs());
  world.store(6);
  await world.clock.advance(25);
  t.same(namesAt(world.a), ['1-4'], 'a full block at once');
  await world.clock.advance(80);
  t.same(
    world.a.requests.length,
    1,
    'the rest waits for company until the span is over and what is late is there',
  );
  await world.clock.advance(30);
  t.same(namesAt(world.a), ['1-4', '5-6']);
  t.same(world.a.numbers(), [1, 2, 3, 4, 5, 6]);
  let peeks = 0;
  world.log.onPeek = () => peeks++;
  world.store(1);
  await world.clock.advance(5);
  world.store(1);
  await world.clock.advance(300);
  t.same(namesAt(world.a).slice(2), ['7-8']);
  t.ok(peeks <= 4, `${peeks} looks into the log`);
  world.log.onPeek = () => undefined;
  world.store(1);
  await world.clock.advance(300);
  t.same(namesAt(world.a).slice(3), ['9'], 'one alone travels plainly');
  world.a.fate = () => 'requestLost';
  world.store(40);
  await world.clock.advance(1000);
  world.a.fate = () => 'delivered';
  await world.clock.advance(1200);
  t.equal(world.log.pending, 0);
  t.same(namesAt(world.a).slice(4, 7), ['10-12', '13-16', '17-20'], 'a backlog goes in full blocks');
  await world.stop();
});

void t.test('no answer, and then the batch is not what it was', async (t) => {
  for (const change of ['nothing', 'part is given up', 'all is given up', 'a late reading joins'] as const) {
    const world = new World(batched());
    await world.switchTo(world.a);
    world.a.fate = () => 'answerLost';
    await world.clock.advance(200 - world.clock.monotonicMs());
    world.store(3);
    await world.clock.advance(150);
    t.same(namesAt(world.a), ['1-3'], change);
    if (change === 'part is given up') world.log.evict(s, 2);
    if (change === 'all is given up') world.log.evict(s, 3);
    if (change === 'a late reading joins') world.store(1, s, world.clock.monotonicMs() - 205);
    world.a.fate = () => 'delivered';
    await world.clock.advance(2000);
    world.store(1);
    await world.clock.advance(400);
    const expected = change === 'a late reading joins' ? ['1-3', '4', '5'] : ['1-3', '4'];
    t.same(namesAt(world.a), expected, `${change}: each reading once`);
    t.equal(world.log.pending, 0);
    await world.stop();
  }
});

void t.test('a restart that puts readings together in another way', async (t) => {
  const rules: readonly (readonly [string, Streams])[] = [
    ['the same', batched()],
    ['smaller', batched({ max: 2 })],
    ['larger', batched({ max: 16, spanMs: millis(1000) })],
    ['off', new Map([[s, { order: 'inOrder' }]])],
  ];
  for (const [before, first] of rules) {
    for (const [after, second] of rules) {
      const world = new World(first);
      await world.switchTo(world.a);
      world.store(5);
      await world.clock.advance(1500);
      world.store(5);
      await world.clock.advance(1500);
      world.a.fate = () => 'answerLost';
      world.store(3);
      await world.clock.advance(1200);
      await world.stop();
      world.log.powerCut();
      world.log.run += 1;
      await world.clock.advance(2 * deadlineMs);
      world.restart(second);
      world.a.fate = () => 'delivered';
      world.uplink.doubtAll(world.a.destination());
      await world.switchTo(world.a, { deadlineMs: 0 });
      world.store(4);
      await world.clock.advance(3000);
      t.equal(world.log.pending, 0);
      const all = Array.from({ length: 17 }, (_, index) => index + 1);
      t.same(world.a.numbers(), all, `${before}, then ${after}: each reading once and in order`);
      await world.stop();
    }
  }
});

void t.test('a restart at a CSE whose newest instance tells nothing', async (t) => {
  const world = new World(batched());
  await world.switchTo(world.a);
  world.store(8);
  await world.clock.advance(500);
  await world.stop();
  world.log.powerCut();
  world.log.run += 1;
  world.a.newest = 'stranger';
  world.restart(batched());
  world.uplink.doubtAll(world.a.destination());
  await world.switchTo(world.a, { deadlineMs: 0 });
  await world.clock.advance(500);
  t.equal(world.log.pending, 0);
  t.same(world.a.numbers(), [1, 2, 3, 4, 5, 6, 7, 8], 'the names are the same, so it answers 4105');
  await world.stop();
});

void t.test('a log that goes on under another name, and one that counts anew', async (t) => {
  const crash = async (world: World): Promise<void> => {
    await world.stop();
    world.log.powerCut();
    world.log.run += 1;
    world.log.logId = `0000000${world.log.run}`;
    await world.clock.advance(2 * deadlineMs);
    world.restart(batched());
    world.uplink.doubtAll(world.a.destination());
  };
  const world = new World(batched());
  await world.switchTo(world.a);
  world.store(12);
  await world.clock.advance(500);
  await crash(world);
  await world.switchTo(world.a, { deadlineMs: 0 });
  world.store(4);
  await world.clock.advance(500);
  await crash(world);
  t.equal(world.log.pending, 16);
  const asked = world.a.requests.length;
  await world.switchTo(world.b, { at: 2 });
  await world.clock.advance(500);
  t.equal(world.log.pending, 0);
  t.same(
    world.b.numbers(),
    [],
    'the newest instance, under the newer name, settles those under the older one',
  );
  t.same(
    world.a.requests.slice(asked).map(({ to }) => to),
    ['cse-a/gw1/s/la'],
    'by one question',
  );
  await world.stop();

  const replaced = new World(batched());
  await replaced.switchTo(replaced.a);
  replaced.a.newest = 'ffffffff-900-903';
  replaced.store(8);
  await replaced.clock.advance(500);
  await crash(replaced);
  replaced.a.newest = 'ffffffff-900-903';
  await replaced.switchTo(replaced.b, { at: 2 });
  replaced.store(4);
  await replaced.clock.advance(500);
  t.equal(replaced.log.pending, 0);
  t.same(replaced.b.numbers(), [9, 10, 11, 12], 'a stranger tells nothing: each batch is asked for by name');
  await replaced.stop();

  const fresh = new World(batched());
  await fresh.switchTo(fresh.a);
  fresh.a.fate = () => 'requestLost';
  fresh.store(8);
  await fresh.clock.advance(500);
  await crash(fresh);
  fresh.a.newest = 'ffffffff-900-903';
  fresh.a.fate = () => 'delivered';
  await fresh.switchTo(fresh.a, { deadlineMs: 0 });
  await fresh.clock.advance(500);
  t.same(fresh.a.numbers(), [1, 2, 3, 4, 5, 6, 7, 8], 'nor does it say that anything has arrived');
  await fresh.stop();
});

void t.test('a move with an unanswered batch: the source is asked by name', async (t) => {
  for (const fate of ['answerLost', 'requestLost', 'lateRequest'] as const) {
    for (const sourceAnswers of [true, false]) {
      const world = new World(batched());
      await world.switchTo(world.a);
      world.a.fate = ({ operation }) =>
        operation === Operation.create ? fate : sourceAnswers ? 'delivered' : 'requestLost';
      world.store(4);
      await world.clock.advance(5);
      await world.switchTo(world.b, { at: 2, deadlineMs: 50 });
      world.store(4);
      await world.clock.advance(3000);
      const name = `${fate}, source ${sourceAnswers ? 'answers' : 'is silent'}`;
      const isFound = fate === 'answerLost' && sourceAnswers;
      const labelled = (world.b.order.get('s') ?? []).filter(({ isLabelled }) => isLabelled);
      t.same(namesAt(world.b), isFound ? ['5-8'] : ['1-4', '5-8'], name);
      t.equal(labelled.length, isFound ? 0 : 4, `${name}: labelled where it may be double`);
      const asked = world.a.requests.filter(({ operation }) => operation === Operation.retrieve);
      t.same([...new Set(asked.map(({ to }) => to))], [`cse-a/gw1/s/${logId}-1-4`]);
      t.equal(world.log.pending, 0);
      await world.stop();
    }
  }
});

void t.test('a move with an unanswered batch to a CSE that takes none', async (t) => {
  const world = new World(batched());
  await world.switchTo(world.a);
  world.a.fate = ({ operation }) => (operation === Operation.create ? 'requestLost' : 'delivered');
  world.b.refuses = ({ primitiveContent }) => primitiveContent?.contentInstance?.contentInfo !== undefined;
  world.store(4);
  await world.clock.advance(5);
  await world.switchTo(world.b, { at: 2, deadlineMs: 50 });
  await world.clock.advance(8000);
  t.same(namesAt(world.b), ['1', '2', '3', '4']);
  const labelled = (world.b.order.get('s') ?? []).filter(({ isLabelled }) => isLabelled);
  t.equal(labelled.length, 4, 'the batch may still arrive: each copy says so');
  world.store(4);
  await world.clock.advance(8000);
  t.ok(
    (world.b.order.get('s') ?? []).slice(4).every(({ isLabelled }) => !isLabelled),
    'what comes after it is in no doubt',
  );
  await world.stop();
});

void t.test(
  'a restart with another rule, and then a move away from a CSE whose newest instance tells nothing',
  async (t) => {
    const rules: readonly (readonly [string, Streams])[] = [
      ['the same', batched()],
      ['off', new Map([[s, { order: 'inOrder' }]])],
    ];
    for (const [name, after] of rules) {
      const world = new World(batched());
      await world.switchTo(world.a);
      world.store(8);
      await world.clock.advance(500);
      t.same(namesAt(world.a), ['1-4', '5-8']);
      await world.stop();
      world.log.powerCut();
      world.log.run += 1;
      world.a.newest = 'stranger';
      world.restart(after);
      world.uplink.doubtAll(world.a.destination());
      await world.switchTo(world.b, { at: 2 });
      world.store(4);
      await world.clock.advance(3000);
      t.equal(world.log.pending, 0);
      const double = (world.b.order.get('s') ?? []).filter(({ seq: number }) => number <= 8);
      t.ok(
        double.every(({ isLabelled }) => isLabelled),
        `${name}: no copy without the label`,
      );
      t.equal(double.length, name === 'off' ? 8 : 0, `${name}: what has its name is found by it`);
      const fresh = (world.b.order.get('s') ?? []).filter(({ seq: number }) => number > 8);
      t.same(
        fresh.map(({ seq: number, isLabelled }) => [number, isLabelled]),
        [9, 10, 11, 12].map((number) => [number, false]),
      );
      await world.stop();
    }
  },
);

void t.test('a CSE that takes no batches gets the readings one by one', async (t) => {
  const world = new World(batched());
  await world.switchTo(world.a);
  world.a.refuses = ({ primitiveContent }) => primitiveContent?.contentInstance?.contentInfo !== undefined;
  world.store(4);
  await world.clock.advance(2000);
  t.same(namesAt(world.a), ['1', '2', '3', '4']);
  t.same(world.log.givenUp, [], 'nothing is given up');
  world.a.refuses = () => false;
  world.store(4);
  await world.clock.advance(300);
  t.same(namesAt(world.a).slice(4), ['5-8'], 'the next batch is tried again');
  await world.stop();
});

void t.test('batches of what is new go beside those of the backlog', async (t) => {
  const u = streamName('u');
  const streams: Streams = new Map([[u, { order: 'liveFirst', batch: rule }]]);
  const world = new World(streams);
  await world.switchTo(world.a);
  world.a.fate = () => 'requestLost';
  world.store(42, u);
  await world.clock.advance(1000);
  world.a.fate = () => 'delivered';
  for (let ms = 0; world.a.numbers('u').length < 1 && ms < 1000; ms++) await world.clock.advance(1);
  await world.clock.advance(latencyMs + 60);
  world.store(5, u);
  await world.clock.advance(1000);
  t.equal(world.log.pending, 0);
  t.same(namesAt(world.a, 'u'), ['1-4', '43-44', '45-47'], 'blocks are counted from 1 in both');
  t.equal(namesAt(world.a, 'u.history').at(-1), '41-42', 'the backlog ends where it was cut');
  t.same(
    world.a.numbers('u.history'),
    Array.from({ length: 38 }, (_, index) => index + 5),
  );
  await world.stop();
});
