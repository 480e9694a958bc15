// Proves: events come back in order with their times; the log stays within its bound and keeps the newest; a torn line is
// skipped and a restart goes on beside it; a disk that refuses, an event that is no JSON or a flood costs counted events
// and never throws.
import fc from 'fast-check';
import t from 'tap';
import { millis } from '../../src/base/units.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';
import { SimulatedFilesystem } from '../../src/testbed/simulated-filesystem.ts';
import { openFlightRecorder, readFlightLog } from '../../src/trial/recorder.ts';
import type { FlightRecorder, FlightRecorderOptions } from '../../src/trial/recorder.ts';

const directory = '/log';

function open(
  filesystem: SimulatedFilesystem,
  more: Partial<FlightRecorderOptions> = {},
): Promise<FlightRecorder> {
  const clock = new SimulatedClock();
  const bounds = { fileBytesMax: 1000, filesMax: 3, pendingBytesMax: 100_000 };
  return openFlightRecorder({ filesystem, clock, directory, ...bounds, ...more });
}

async function bytesOn(filesystem: SimulatedFilesystem): Promise<{ files: string[]; bytes: number }> {
  const files = await filesystem.list(directory);
  let bytes = 0;
  for (const name of files) {
    const handle = await filesystem.open(`${directory}/${name}`);
    bytes += await handle.size();
    await handle.close();
  }
  return { files, bytes };
}

await t.test('events come back in order, stamped', async (t) => {
  const filesystem = new SimulatedFilesystem();
  const clock = new SimulatedClock();
  const recorder = await open(filesystem, { clock });
  recorder.record({ kind: 'start', monotonicMs: -1 });
  await clock.advance(millis(1500));
  recorder.record({ kind: 'handover', target: '/id-mn2', values: [1, null, 'ä\n'] });
  await recorder.close();
  t.same(recorder.counters, { recorded: 2, dropped: 0 });
  const unixMs = Date.UTC(2026, 0, 1);
  t.same(await readFlightLog(filesystem, directory), {
    events: [
      { kind: 'start', monotonicMs: 0, unixMs },
      {
        kind: 'handover',
        target: '/id-mn2',
        values: [1, null, 'ä\n'],
        monotonicMs: 1500,
        unixMs: unixMs + 1500,
      },
    ],
    skipped: 0,
  });
  recorder.record({ kind: 'late' });
  t.equal(recorder.counters.dropped, 1, 'closed is closed');
});

await t.test('the log stays within its bound and keeps the newest events', async (t) => {
  const filesystem = new SimulatedFilesystem();
  const recorder = await open(filesystem);
  for (let n = 1; n <= 200; n++) {
    recorder.record({ kind: 'n', n });
    if (n % 7 === 0) await recorder.flush();
  }
  await recorder.close();
  t.same(recorder.counters, { recorded: 200, dropped: 0 });
  const { files, bytes } = await bytesOn(filesystem);
  t.equal(files.length, 3);
  t.ok(bytes <= 3000 && bytes > 1500, `${bytes} bytes`);
  const { events, skipped } = await readFlightLog(filesystem, directory);
  t.equal(skipped, 0);
  const numbers = events.map((event) => event.n as number);
  const first = numbers[0] ?? 0;
  t.same(
    numbers,
    Array.from({ length: 200 - first + 1 }, (_, index) => first + index),
    'without a gap to the newest',
  );
});

await t.test('a restart begins a new file and what is torn is skipped', async (t) => {
  const filesystem = new SimulatedFilesystem();
  const first = await open(filesystem);
  first.record({ kind: 'a' });
  await first.close();
  const torn = await filesystem.open(`${directory}/flight-00000001.jsonl`);
  await torn.write(Buffer.from('{"kind":"tor'), await torn.size());
  await torn.close();
  const foreign = await filesystem.open(`${directory}/notes.txt`, { create: true });
  await foreign.write(Buffer.from('not ours'), 0);
  await foreign.close();
  const second = await open(filesystem);
  second.record({ kind: 'b' });
  await second.close();
  const { events, skipped } = await readFlightLog(filesystem, directory);
  t.same(
    events.map(({ kind }) => kind),
    ['a', 'b'],
  );
  t.equal(skipped, 1);
  for (let n = 0; n < 5; n++) {
    const again = await open(filesystem);
    again.record({ kind: `again${n}` });
    await again.close();
  }
  t.equal((await filesystem.list(directory)).length, 4, 'three of the log, and the foreign file untouched');
});

await t.test('what cannot be recorded is counted', async (t) => {
  const recorder = await open(new SimulatedFilesystem(), { pendingBytesMax: 2000 });
  recorder.record({ kind: 'big', text: 'x'.repeat(1000) });
  const loop: Record<string, unknown> = {};
  loop.loop = loop;
  recorder.record({ kind: 'loop', loop });
  recorder.record({ kind: 'bigint', value: 1n });
  t.match(recorder.counters, { recorded: 0, dropped: 3, lastError: /BigInt/ });
  for (let n = 0; n < 1000; n++) recorder.record({ kind: 'flood', n });
  await recorder.close();
  const { recorded, dropped } = recorder.counters;
  t.equal(recorded + dropped, 1003, 'every event is one or the other');
  t.ok(recorded >= 20 && recorded <= 60, `${recorded} fit into what may wait`);
});

await t.test('a disk that refuses is survived', async (t) => {
  let isFull = false;
  const filesystem = new SimulatedFilesystem({
    onOperation: ({ kind }) =>
      isFull && (kind === 'write' || kind === 'create') ? { kind: 'error', errno: 'ENOSPC' } : undefined,
  });
  const recorder = await open(filesystem);
  recorder.record({ kind: 'before' });
  await recorder.flush();
  isFull = true;
  for (let n = 0; n < 20; n++) {
    recorder.record({ kind: 'lost', n });
    await recorder.flush();
  }
  t.match(recorder.counters, { recorded: 1, dropped: 20, lastError: /ENOSPC/ });
  isFull = false;
  recorder.record({ kind: 'after' });
  await recorder.close();
  const { events } = await readFlightLog(filesystem, directory);
  t.same(
    events.map(({ kind }) => kind),
    ['before', 'after'],
    'the log before the trouble is still there',
  );
});

await t.test(
  'any faults: no throw, every event counted once, and what is read back was recorded',
  async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ length: fc.integer({ min: 0, max: 900 }), flush: fc.boolean() }), {
          maxLength: 40,
        }),
        fc.array(fc.constantFrom('none', 'none', 'none', 'error', 'short'), { minLength: 1, maxLength: 60 }),
        async (plan, faults) => {
          let isOpen = false;
          const filesystem = new SimulatedFilesystem({
            onOperation: ({ index, kind, length }) => {
              const fault = faults[index % faults.length];
              if (!isOpen || kind === 'list' || fault === 'none') return undefined;
              if (fault === 'short' && kind === 'write')
                return { kind: 'short', length: length >> 1, errno: 'ENOSPC' };
              return { kind: 'error', errno: 'EIO' };
            },
          });
          const recorder = await open(filesystem);
          isOpen = true;
          for (const [n, { length, flush }] of plan.entries()) {
            recorder.record({ kind: 'n', n, text: 'x'.repeat(length) });
            if (flush) await recorder.flush();
          }
          await recorder.close();
          isOpen = false;
          const { recorded, dropped } = recorder.counters;
          const { events } = await readFlightLog(filesystem, directory);
          const numbers = events.map((event) => event.n as number);
          const { files, bytes } = await bytesOn(filesystem);
          return (
            recorded + dropped === plan.length &&
            numbers.every((n, index) => index === 0 || n > (numbers[index - 1] ?? 0)) &&
            files.length <= 3 &&
            bytes <= 3 * 1000
          );
        },
      ),
      { numRuns: 60 },
    );
  },
);
