// Proves that records which share a frame come back as they went in, take less room than each alone, and that content which
// is not such a group is refused as such, whatever it holds.
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { DecodeError } from '../../src/base/errors.ts';
import { millis, seq, streamName, unixMillis } from '../../src/base/units.ts';
import type { StreamName } from '../../src/base/units.ts';
import { frameBytes } from '../../src/buffer/frame.ts';
import { quantise, recordBytes } from '../../src/buffer/record.ts';
import type { RecordContext, StoredRecord } from '../../src/buffer/record.ts';
import { decodeGroup, encodeGroup, groupRecordsMax, groupsOf } from '../../src/buffer/record-group.ts';

const names = ['a', 'b', 'c'].map((name) => streamName(name));
const idOf = (name: StreamName): number => names.indexOf(name) + 5;
const identity = { runId: '0001abcd', logId: '89abcdef', bootId: '0123456789abcdef0123456789abcdef' };
const context: RecordContext = {
  keep: (payload) => payload.slice(),
  streamOf: (id) => names[id - 5],
  runOf: (lowBits) => (lowBits === 0xabcd ? identity : undefined),
};

const anyRecord = fc
  .record({
    stream: fc.constantFrom(...names),
    seq: fc.oneof(fc.integer({ min: 1, max: 50 }), fc.integer({ min: 1, max: 2 ** 40 - 1 })),
    monotonicMs: fc.oneof(
      { weight: 6, arbitrary: fc.double({ min: 0, max: 1e6, noNaN: true }) },
      { weight: 1, arbitrary: fc.double({ min: -1e9, max: 1e12, noNaN: true }) },
    ),
    unixMs: fc.oneof(
      { weight: 6, arbitrary: fc.integer({ min: 1_700_000_000_000, max: 1_700_000_100_000 }) },
      { weight: 1, arbitrary: fc.maxSafeInteger() },
    ),
    source: fc.constantFrom('gps' as const, 'ntp' as const, 'system' as const),
    errorBoundMs: fc.option(fc.double({ min: 0, max: 1e5, noNaN: true }), { nil: undefined }),
    producerSeq: fc.option(fc.nat(), { nil: undefined }),
    payload: fc.uint8Array({ maxLength: 700 }),
  })
  .map(({ unixMs, source, errorBoundMs, producerSeq, ...rest }): StoredRecord => ({
    ...quantise({
      stream: rest.stream,
      payload: rest.payload,
      monotonicMs: millis(rest.monotonicMs),
      wall: {
        unixMs: unixMillis(unixMs),
        source,
        ...(errorBoundMs === undefined ? {} : { errorBoundMs: millis(errorBoundMs) }),
      },
      ...(producerSeq === undefined ? {} : { producerSeq }),
    }),
    seq: seq(rest.seq),
    ...identity,
  }));

void t.test('any records', async (t) => {
  let together = 0;
  fc.assert(
    fc.property(fc.array(anyRecord, { maxLength: 40 }), (records) => {
      const groups = groupsOf(records);
      if (!isDeepStrictEqual(groups.flat(), records)) return false;
      return groups.every((group) => {
        if (group.length === 1) return true;
        together += 1;
        const content = encodeGroup(group, idOf);
        const alone = group.reduce((sum, record) => sum + frameBytes(recordBytes(record)), 0);
        const found = decodeGroup(content, context);
        return (
          group.length <= groupRecordsMax &&
          frameBytes(content.length) <= alone &&
          isDeepStrictEqual(found, group)
        );
      });
    }),
    { numRuns: 500 },
  );
  t.ok(together > 200, `${together} groups`);
});

void t.test('anything but a group', async (t) => {
  let refused = 0;
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (rest) => {
      try {
        decodeGroup(Uint8Array.of(0xcd, 0xab, ...rest), context);
        return true;
      } catch (error) {
        refused += 1;
        return error instanceof DecodeError;
      }
    }),
    { numRuns: 2000 },
  );
  t.ok(refused > 1000);
  t.throws(() => decodeGroup(Uint8Array.of(1, 2, 0), context), DecodeError);
});
