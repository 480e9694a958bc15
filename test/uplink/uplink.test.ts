// Proves the way up: order and names, what each answer leads to, planned and forced switches, what is new before a backlog,
// back-off, the end. What holds over random schedules is proven by schedules.test.ts, batches by batch.test.ts.
import t from 'tap';
import { epoch, millis, seq, unixMillis } from '../../src/base/units.ts';
import { recordName } from '../../src/buffer/record.ts';
import type { StoredRecord } from '../../src/buffer/record.ts';
import { settle } from '../../src/host/clock.ts';
import { Operation } from '../../src/onem2m/enums.ts';
import { encodeInstance, encodePayload } from '../../src/uplink/instance.ts';
import { World, deadlineMs, latencyMs, logId, s, settings } from './world.ts';
import type { Streams } from './world.ts';

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
  t.notOk([...world.b.held.values()].flat().some(({ isLabelled }) => isLabelled));
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

void t.test('what the disk does not let be read now holds its stream up, not the move', async (t) => {
  const world = new World();
  await world.switchTo(world.a);
  world.log.unreadable.add(`${s} 3`);
  world.store(5);
  await world.clock.advance(1000);
  t.same(world.a.numbers(), [1, 2], 'order is kept: nothing behind it goes first');
  t.match(world.told.at(-1), /waits for its disk: .*EIO/);
  t.same(await world.switchTo(world.b, { at: 2 }), { firstSeq: 3 }, 'the move does not need to read');
  await world.clock.advance(1000);
  t.same(world.b.numbers(), []);
  world.log.unreadable.clear();
  await world.clock.advance(1000);
  t.same(world.b.numbers(), [3, 4, 5]);
  t.equal(world.log.pending, 0);
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
      const atB = [...world.b.held.values()]
        .flat()
        .map(({ seq: number, isLabelled }) => [number, isLabelled]);
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
    [...world.b.held.values()].flat().map(({ isLabelled }) => isLabelled),
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
  const labels = [...world.a.held.values()].flat().map(({ isLabelled }) => isLabelled);
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

const liveFirst: Streams = new Map([[s, { order: 'liveFirst' }]]);

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
    const ordered = await afterOutage(40, new Map([[s, { order: 'inOrder' }]]));
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
    [...world.b.held.values()].flat().some(({ isLabelled }) => isLabelled),
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
