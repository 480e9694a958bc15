import { millis, seq, unixMillis } from '../../src/base/units.ts';
import type { StreamName } from '../../src/base/units.ts';
import { openReadingLog } from '../../src/buffer/reading-log.ts';
import type { ReadingLog } from '../../src/buffer/reading-log.ts';
import type { StoredRecord } from '../../src/buffer/record.ts';
import { NodeClock } from '../../src/host/clock.ts';
import { NodeEntropy } from '../../src/host/entropy.ts';
import { NodeFilesystem } from '../../src/host/filesystem.ts';
import { idOf, payloadOf } from './facts.ts';
import type { Fact } from './facts.ts';
import { readPending } from './log-driver.ts';
import { streamsOf } from './log-workloads.ts';
import type { LogWorkload } from './log-workloads.ts';

const clock = new NodeClock();

/** What the facts up to a cut say of one stream. */
export interface StreamKnowledge {
  /** Reported stored: by number. */
  readonly stored: ReadonlyMap<number, { readonly id: string; readonly logId: string }>;
  readonly appended: ReadonlySet<string>;
  /** Numbers up to here may be gone: acknowledged or evicted. */
  readonly settled: number;
  /** Numbers up to here must be gone. */
  readonly durable: number;
}

/** What `facts` say of a stream. */
export function knowledgeOf(facts: readonly Fact[], stream: string): StreamKnowledge {
  const stored = new Map<number, { id: string; logId: string }>();
  const numbers = new Map<string, number>();
  const appended = new Set<string>();
  let settled = 0;
  let durable = 0;
  for (const fact of facts) {
    if (!('stream' in fact) || fact.stream !== stream) continue;
    if (fact.kind === 'appending') appended.add(fact.id);
    else if (fact.kind === 'durable') durable = Math.max(durable, fact.through);
    else if (fact.kind === 'stored') {
      const { id, seq: number, logId } = fact;
      const before = stored.get(number);
      if (before !== undefined && before.id !== id)
        throw new Error(`${stream} ${number} was reported stored as ${before.id} and as ${id}`);
      if ((numbers.get(id) ?? number) !== number)
        throw new Error(`${stream}: ${id} was reported stored as ${numbers.get(id)} and as ${number}`);
      numbers.set(id, number);
      stored.set(number, { id, logId });
    } else settled = Math.max(settled, fact.through);
  }
  return { stored, appended, settled: Math.max(settled, durable), durable };
}

/**
 * Throws when a log does not hold what the facts demand: a stored record that is missing, doubled, out of order or changed,
 * one that is durably settled and back, one never appended, a name given twice, more losses than unreported records,
 * counts that do not add up; or when it does not go on working through a close and another start.
 */
export async function checkLog(
  directory: string,
  workload: LogWorkload,
  facts: readonly Fact[],
): Promise<void> {
  const streams = streamsOf(workload);
  const known = new Map(streams.map((stream) => [stream, knowledgeOf(facts, stream)]));
  const hasStored = [...known.values()].some(({ stored }) => stored.size > 0);
  const first = await Reopened.open(directory, workload, hasStored);
  for (const [stream, knowledge] of known) await first.check(stream, knowledge);
  const pending = new Map<StreamName, StoredRecord[]>();
  let storedCount = 0;
  for (const stream of streams) {
    const appended = await first.append(stream);
    if (appended !== undefined) storedCount += 1;
    pending.set(stream, [
      ...(first.pending.get(stream) ?? []),
      ...(appended === undefined ? [] : [appended]),
    ]);
  }
  if (storedCount === 0) throw new Error('the log takes no record any more');
  const evicted = new Map(first.evicted);
  await first.close();

  const second = await Reopened.open(directory, workload, true);
  for (const [stream, records] of pending) {
    const expected = records.filter((record) => record.seq > (evicted.get(stream) ?? 0)).map(nameOf);
    const found = (await readPending(second.log, stream)).map(nameOf);
    if (expected.join() !== found.join()) {
      throw new Error(`${stream} after a close: ${found.join(' ')} instead of ${expected.join(' ')}`);
    }
    const last = records.at(-1);
    if (last !== undefined) second.log.acknowledge(stream, seq(second.log.lastSeq(stream)));
  }
  await second.close();

  const third = await Reopened.open(directory, workload, true);
  const { pending: left } = third.log.stats();
  await third.close();
  if (left > 0) throw new Error(`${left} records are back after they were acknowledged and the log closed`);
}

function nameOf({ seq: number, payload }: StoredRecord): string {
  return `${number}=${idOf(payload)}`;
}

/** A log opened after a cut. */
class Reopened {
  readonly log: ReadingLog;
  readonly pending = new Map<StreamName, StoredRecord[]>();
  readonly evicted: ReadonlyMap<StreamName, number>;
  readonly #defects: readonly string[];

  private constructor(log: ReadingLog, evicted: ReadonlyMap<StreamName, number>, defects: readonly string[]) {
    this.log = log;
    this.evicted = evicted;
    this.#defects = defects;
  }

  static async open(directory: string, workload: LogWorkload, hasStored: boolean): Promise<Reopened> {
    const evicted = new Map<StreamName, number>();
    const defects: string[] = [];
    const log = await openReadingLog({
      filesystem: new NodeFilesystem(),
      clock,
      entropy: new NodeEntropy(),
      directory,
      limits: workload.limits,
      streams: workload.streams,
      onEviction: ({ stream, toSeq }) => evicted.set(stream, toSeq),
      onDamage: ({ kind, message }) => {
        const isForgotten = kind === 'cursor' && hasStored && message.includes('counts start again');
        if (kind === 'account' || kind === 'space' || isForgotten) defects.push(message);
      },
    });
    return new Reopened(log, evicted, defects);
  }

  /** Compares one stream with what is known of it. */
  async check(stream: StreamName, { stored, appended, settled, durable }: StreamKnowledge): Promise<void> {
    const records = await readPending(this.log, stream);
    this.pending.set(stream, records);
    const found = new Set<number>();
    let previous = 0;
    for (const { seq: number, logId, payload } of records) {
      if (number <= previous) throw new Error(`${stream}: ${number} after ${previous}`);
      previous = number;
      found.add(number);
      const id = idOf(payload);
      const before = stored.get(number);
      if (!appended.has(id)) throw new Error(`${stream} ${number} is ${id}, never appended`);
      if (before !== undefined && (before.id !== id || before.logId !== logId))
        throw new Error(`${stream} ${number} was stored as ${before.id} and is ${id}`);
      if (number <= durable) throw new Error(`${stream} ${number} is back, durably settled to ${durable}`);
    }
    if (new Set(records.map(({ payload }) => idOf(payload))).size < records.length)
      throw new Error(`${stream} holds a record twice`);
    for (const number of stored.keys()) {
      if (number > settled && !found.has(number))
        throw new Error(`${stream} ${number} was stored and is lost; settled to ${settled}`);
    }
    this.#checkCounts(stream, { found: found.size, stored: stored.size, settled });
    const [head] = records;
    const again = head === undefined ? undefined : await this.log.get(stream, head.seq);
    if (head !== undefined && (again === undefined || nameOf(again) !== nameOf(head)))
      throw new Error(`${stream} ${head.seq} is not found by its number`);
  }

  #checkCounts(stream: StreamName, known: { found: number; stored: number; settled: number }): void {
    const stats = this.log.stats().streams.get(stream);
    if (stats === undefined) throw new Error(`no counts of ${stream}`);
    const { stored, delivered, evicted, corrupt, pending } = stats;
    const text = JSON.stringify({ stored, delivered, evicted, corrupt, pending, known });
    if (stored !== delivered + evicted + corrupt + pending)
      throw new Error(`${stream} does not add up: ${text}`);
    if (pending !== known.found) throw new Error(`${stream} has other records than it counts: ${text}`);
    // A number that was never reported may be lost to the cut, no other.
    if (corrupt > this.log.lastSeq(stream) - known.stored)
      throw new Error(`${stream} has lost records: ${text}`);
    if (delivered + evicted > known.settled) throw new Error(`${stream} has settled too much: ${text}`);
    if (this.#defects.length > 0) throw new Error(this.#defects.join('; '));
  }

  /** Stores one more record; undefined when the log may refuse it. */
  async append(stream: StreamName): Promise<StoredRecord | undefined> {
    const id = `${stream}#after.0:200`;
    const result = await this.log.append({
      stream,
      payload: payloadOf(id),
      monotonicMs: millis(1),
      wall: { unixMs: unixMillis(1e12), source: 'system' },
    });
    if (result.kind === 'stored') return result.record;
    if (result.kind === 'refused' && result.reason === 'full') return undefined;
    throw new Error(`${id}: ${JSON.stringify(result)}`);
  }

  async close(): Promise<void> {
    await this.log.close();
    if (this.#defects.length > 0) throw new Error(this.#defects.join('; '));
  }
}
