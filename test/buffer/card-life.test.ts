// Proves the arithmetic of wear and space against figures worked out by hand: life of a card by rate, what is worn, no
// figure without a rate, and the hours that a container holds out while commits are padded and once they are packed.
import t from 'tap';
import {
  bytesPerDay,
  cardDefaults,
  cardYears,
  fillHours,
  wornShare,
  writableBytes,
} from '../../src/buffer/card-life.ts';
import type { Consumption } from '../../src/buffer/card-life.ts';

const gigabyte = 1e9;
const card = { capacityBytes: 16 * gigabyte, ...cardDefaults };

void t.test('life of a card', async (t) => {
  t.equal(writableBytes(card), 12_000 * gigabyte);
  // Ten readings of 160 octets a second: one a commit, 16 a commit, and what other engines write for the same.
  const table: readonly (readonly [number, number, number])[] = [
    [3.75, 3000, 8.8],
    [3.75, 300, 0.9],
    [0.38, 3000, 86.5],
    [14.9, 3000, 2.2],
    [14.9, 300, 0.2],
    [27.9, 3000, 1.2],
    [2, 3000, 16.4],
  ];
  for (const [gigabytesPerDay, enduranceCycles, years] of table) {
    const found = cardYears({ ...card, enduranceCycles }, gigabytesPerDay * gigabyte) ?? 0;
    t.equal(found.toFixed(1), years.toFixed(1), `${gigabytesPerDay} GB a day, ${enduranceCycles} cycles`);
  }
  for (const rate of [undefined, 0, -1, Number.NaN]) t.equal(cardYears(card, rate), undefined);
  t.equal(wornShare(card, 3000 * gigabyte), 0.25);
});

void t.test('a rate needs time', async (t) => {
  t.equal(bytesPerDay(1000, 599_999), undefined);
  t.equal(bytesPerDay(1000, 600_000), 144_000);
  t.equal(bytesPerDay(1000, 8_640_000, 0), 10_000);
  t.equal(bytesPerDay(0, 86_400_000), 0);
});

void t.test('hours until full', async (t) => {
  const hour = 3_600_000;
  const pool = 512 * 1024 * 1024;
  const roomyBytes = pool / 16;
  const empty = { roomBytes: pool, capacityBytes: pool, roomyBytes };
  // Ten readings of 160 octets a second.
  const hourly = { elapsedMs: hour, payloadBytes: 36_000 * 160, records: 36_000 };
  const alone: Consumption = { ...hourly, commits: 36_000, spaceBytes: 36_000 * 4096 };
  const rest = pool - roomyBytes;
  const expected = roomyBytes / (36_000 * 4096) + rest / (36_000 * 192);
  t.equal(fillHours(empty, alone), expected, 'one a commit: padded, then packed');
  t.ok(expected > 72 && expected < 74, `${expected} hours`);
  t.equal(fillHours({ ...empty, roomBytes: rest }, alone), rest / (36_000 * 192), 'packed');
  t.equal(fillHours({ ...empty, roomBytes: 0 }, alone), 0, 'full');

  const packed = { ...alone, spaceBytes: 36_000 * 192 };
  t.equal(fillHours(empty, packed), expected, 'a rate taken while packed does not promise more');

  const together = { ...hourly, commits: 140, spaceBytes: 140 * 11 * 4096 };
  t.equal(fillHours(empty, together), pool / (140 * 11 * 4096), 'large ones are padded to the end');
  t.ok((fillHours(empty, together) ?? 0) > 80);

  const slow = { elapsedMs: 10_000, payloadBytes: 10, records: 1, commits: 1, spaceBytes: 4096 };
  t.ok((fillHours(empty, slow) ?? 0) > 0);
  t.equal(fillHours(empty, { ...slow, elapsedMs: 9_999 }), undefined, 'too short a time');
  t.equal(fillHours(empty, { ...slow, records: 0, commits: 0 }), undefined, 'nothing was stored');
});
