import { pageBytes } from './wear-ledger.ts';

/**
 * Arithmetic of wear and space: how long a card lasts, and how long an outage may last. Nothing is measured here; every
 * figure is as good as the rates and the assumptions that it is given.
 */

/** A flash card and what is assumed of it. */
export interface Card {
  readonly capacityBytes: number;
  /** Times that each cell can be programmed. */
  readonly enduranceCycles: number;
  /** Octets that the card programs for each octet that it is told to write. */
  readonly nandFactor: number;
}

/**
 * What is assumed of a card that says nothing of itself: 3000 cycles is the low end of what is published for TLC (3000
 * to 5000; there are cards with 300, industrial pSLC has 20,000 and more), and 4 a cautious factor for small writes.
 */
export const cardDefaults: Omit<Card, 'capacityBytes'> = { enduranceCycles: 3000, nandFactor: 4 };

/** Octets that a card takes in its life: capacity x cycles / factor. */
export function writableBytes({ capacityBytes, enduranceCycles, nandFactor }: Card): number {
  return (capacityBytes * enduranceCycles) / nandFactor;
}

/** Life of a new card in years at `bytesPerDay`: writable octets / rate / 365.25; undefined without a rate. */
export function cardYears(card: Card, bytesPerDay: number | undefined): number | undefined {
  if (bytesPerDay === undefined || !(bytesPerDay > 0)) return undefined;
  return writableBytes(card) / bytesPerDay / 365.25;
}

/** Share of a card's life that `writtenBytes` have used: 1 is all of it. */
export function wornShare(card: Card, writtenBytes: number): number {
  return writtenBytes / writableBytes(card);
}

/** A rate in octets per day; undefined for a time shorter than `leastMs`, which would tell too little. */
export function bytesPerDay(written: number, elapsedMs: number, leastMs = 600_000): number | undefined {
  return elapsedMs < leastMs ? undefined : (written / elapsedMs) * 86_400_000;
}

/** What a log has stored in some time. */
export interface Consumption {
  readonly elapsedMs: number;
  /** Octets of container that commits used up, padding included. */
  readonly spaceBytes: number;
  readonly payloadBytes: number;
  readonly records: number;
  readonly commits: number;
}

/** Octets that a record takes beside its payload: those of its frame and its head, generously. */
const recordOverheadBytes = 32;

/** Space of a container, in octets. */
export interface FillSpace {
  /** What records may still take. */
  readonly roomBytes: number;
  readonly capacityBytes: number;
  /** Use up to which commits are padded to whole pages (slot-pool.ts). */
  readonly roomyBytes: number;
}

/**
 * Hours until a container is used up if nothing is delivered. With padded = max(0, room - (capacity - roomy)):
 *
 *   padded / roomy rate + (room - padded) / tight rate
 *
 * While less than `roomyBytes` are used, commits end with their page: the roomy rate is the space that they used, and
 * at least a page for each. From then on they are packed, except large ones: the tight rate is what their records take,
 * or the roomy rate where that is less. Undefined without a rate, or when `elapsedMs` is shorter than 10 s.
 */
export function fillHours(
  { roomBytes, capacityBytes, roomyBytes }: FillSpace,
  consumption: Consumption,
): number | undefined {
  const { elapsedMs, spaceBytes, payloadBytes, records, commits } = consumption;
  if (elapsedMs < 10_000 || records <= 0 || commits <= 0) return undefined;
  const hours = elapsedMs / 3_600_000;
  const packed = payloadBytes + records * recordOverheadBytes;
  const roomy = Math.max(spaceBytes, commits * pageBytes) / hours;
  const tight = Math.min(roomy, packed / hours);
  const padded = Math.max(0, roomBytes - (capacityBytes - roomyBytes));
  return padded / roomy + (roomBytes - padded) / tight;
}
