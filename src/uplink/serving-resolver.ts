/**
 * The reader's side of the serving record, for applications: which CSE serves a gateway, and which one holds a reading.
 *
 * All questions go to the IN-CSE, which passes on what concerns an MN-CSE (SP-relative addresses), so that a reader needs to
 * reach nothing else and no rights but to read. What can be answered, and how sure it is:
 *   - The claim with the highest epoch names the serving CSE. Until its ledger `s<n>` is there the gateway is still moving:
 *     commands are taken at both ends, new readings appear at either.
 *   - A gateway that was allowed to go on while the IN-CSE was out of reach (provisionally) is not named anywhere. `confirm`
 *     asks the CSE that the record names: one that was left says so in the labels of the AE.
 *   - Readings: of two ledgers that follow each other, the earlier one has the numbers below the first of the later one. At
 *     that boundary a reading may be at both ends (`baton:indoubt` on the later copy), or at the earlier end alone, and where
 *     a ledger is still owed the place is one of several. Such places are asked, the most likely first, until one holds it.
 *   - A stream that goes on live while it catches up has two containers, and numbers of its own in each (`containerName`).
 * Claims and ledgers never change once they are there: what was read is kept, within bounds.
 */
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { epoch as toEpoch, millis } from '../base/units.ts';
import type { Epoch, Millis, Seq, StreamName, UnixMillis } from '../base/units.ts';
import type { CseReference } from '../handover/handover-state.ts';
import type { ServingEntry, ServingLedger, ServingRecord } from '../handover/serving-record.ts';
import { sleep } from '../host/clock.ts';
import type { Clock } from '../host/clock.ts';
import { spRelative } from '../onem2m/address.ts';
import { isRejectedWith } from '../onem2m/cse-client.ts';
import type { CallOptions, CseClient, CseFailure } from '../onem2m/cse-client.ts';
import { ResourceType, ResponseStatusCode } from '../onem2m/enums.ts';
import { parseInstanceName } from './batch.ts';
import { containerName } from './destination.ts';
import type { StreamPart } from './destination.ts';
import { inDoubtLabel } from './stream-lane.ts';

/** Who serves a gateway. */
export interface ServingAnswer {
  /**
   * `serving`: the record names it, its ledger is there. `moving`: it is claimed and the ledger is not there yet. `left`: the
   * CSE says that the gateway was there and has gone; where it is now, nobody was told. `terminated`: its registration is
   * over; the entry names the CSE that served last. `unclaimed`: it never registered.
   */
  readonly kind: 'serving' | 'moving' | 'left' | 'terminated' | 'unclaimed';
  /** The claim; absent where there is none. */
  readonly entry?: ServingEntry;
  /** SP-relative address of the gateway's AE. */
  readonly aeAddress?: string;
  /** By the clock of the gateway when it claimed. */
  readonly sinceUnixMs?: UnixMillis;
  /** Whether the CSE itself said so; else why it could not be asked. Absent when it was not asked. */
  readonly isConfirmed?: boolean;
  readonly reason?: string;
}

/** A place where a reading belongs. */
export interface ReadingPlace {
  readonly cse: CseReference;
  readonly epoch: Epoch;
  /** SP-relative address of the container. */
  readonly container: string;
}

/** Where a reading is. */
export type ReadingAnswer =
  /** Found; a copy `isInDoubt` may have a double at an earlier CSE. */
  | {
      readonly kind: 'held';
      readonly place: ReadingPlace;
      /** SP-relative address of the instance: the reading, or the batch that it is in. */
      readonly address: string;
      readonly isInDoubt: boolean;
    }
  /** It belongs there, most likely first, but not all of these CSEs could be asked. */
  | { readonly kind: 'named'; readonly places: readonly ReadingPlace[]; readonly reason: string }
  /** Every CSE where it belongs was asked and does not hold it: not delivered yet, given up, or past its expiry. */
  | { readonly kind: 'absent'; readonly places: readonly ReadingPlace[] }
  /** The record does not say. */
  | { readonly kind: 'unknown'; readonly reason: string };

/** What a resolver works with. */
export interface ServingResolverOptions {
  /** Requests to the IN-CSE as an originator that may read the record. */
  readonly client: CseClient;
  readonly record: ServingRecord;
  readonly clock: Clock;
  /** Name of the gateway. */
  readonly device: string;
}

/** Epochs that one question goes back at most, and that are kept. */
const epochsMax = 1024;
/** Epochs that are read at once. */
const stride = 8;
/** Places that are asked for one reading. */
const placesMax = 8;

interface NamedPlace {
  readonly cse: CseReference;
  readonly epoch: Epoch;
  readonly container: string;
}

interface Step {
  readonly entry: ServingEntry;
  readonly ledger: ServingLedger | undefined;
}

/** Answers applications; see the header of this file. */
export class ServingResolver {
  readonly #options: ServingResolverOptions;
  readonly #steps = new Map<number, Step>();
  #wake: () => void = () => undefined;

  constructor(options: ServingResolverOptions) {
    this.#options = options;
  }

  /** Who serves now; with `confirm`, the CSE that the record names is asked as well. */
  async current(
    options: CallOptions & { readonly confirm?: boolean } = {},
  ): Promise<Result<ServingAnswer, CseFailure>> {
    const { confirm = false, ...call } = options;
    const latest = await this.#options.record.latestEpoch(call);
    if (!latest.ok) return latest;
    if (latest.value === 0) return ok({ kind: 'unclaimed' });
    const step = await this.#step(latest.value, call);
    if (!step.ok) return step;
    if (step.value === undefined) {
      return err({
        kind: 'malformed',
        message: `the claim of epoch ${latest.value} is gone from the record`,
      });
    }
    const { entry, ledger } = step.value;
    if (entry.isTerminated) return ok({ kind: 'terminated', entry, sinceUnixMs: entry.unixMs });
    const aeAddress = this.#aeAddress(entry.cse);
    const answer: ServingAnswer = {
      kind: ledger === undefined ? 'moving' : 'serving',
      entry,
      aeAddress,
      sinceUnixMs: entry.unixMs,
    };
    return ok(confirm ? await this.#confirm(answer, aeAddress, call) : answer);
  }

  /** The CSE that holds reading `seq` of `stream`. */
  async holderOf(
    stream: StreamName,
    seq: Seq,
    options: CallOptions = {},
  ): Promise<Result<ReadingAnswer, CseFailure>> {
    const found = await this.#placesOf(stream, seq, options);
    if (!found.ok) return found;
    const places = found.value;
    if (typeof places === 'string') return ok({ kind: 'unknown', reason: places });
    let reason: string | undefined;
    for (const place of places) {
      const held = await this.#lookFor(seq, place, options);
      if (!held.ok) reason ??= held.error.message;
      else if (held.value !== undefined) return ok({ kind: 'held', place, ...held.value });
    }
    return ok(reason === undefined ? { kind: 'absent', places } : { kind: 'named', places, reason });
  }

  /**
   * Tells who serves, at once and at every change, until `signal` aborts. The record is read every `periodMs`, and when
   * `notice` is called; a failure is told once and the next reading repeats the question.
   */
  async watch(options: {
    readonly periodMs: Millis;
    readonly deadlineMs?: Millis;
    readonly confirm?: boolean;
    readonly signal: AbortSignal;
    readonly onAnswer: (answer: Result<ServingAnswer, CseFailure>) => void;
  }): Promise<void> {
    const { periodMs, signal, onAnswer, ...call } = options;
    let told: string | undefined;
    while (!signal.aborted) {
      const answer = await this.current({ ...call, signal });
      if (signal.aborted) return;
      const text = JSON.stringify(answer);
      if (text !== told) onAnswer(answer);
      told = text;
      await this.#pause(periodMs, signal);
    }
  }

  /** Something about the record has changed, as a subscription of the caller's own to it may tell. */
  notice(): void {
    this.#wake();
  }

  async #pause(periodMs: Millis, signal: AbortSignal): Promise<void> {
    const ended = new AbortController();
    const end = (): void => ended.abort();
    this.#wake = end;
    signal.addEventListener('abort', end, { once: true });
    await sleep(this.#options.clock, millis(periodMs), ended.signal).catch(() => undefined);
    signal.removeEventListener('abort', end);
  }

  #aeAddress(cse: CseReference): string {
    return spRelative(cse.cseId, `${cse.cseBaseName}/${this.#options.device}`);
  }

  /** What the CSE that the record names says of the gateway's AE there. */
  async #confirm(answer: ServingAnswer, aeAddress: string, options: CallOptions): Promise<ServingAnswer> {
    const read = await this.#options.client.retrieve(aeAddress, options);
    if (read.ok) {
      const { labels = [] } = read.value.primitiveContent?.ae ?? {};
      const isLeft = Array.isArray(labels) && labels.includes('baton:state=moved');
      // Before the switch is over the labels are those of the preparation, or of a stay before.
      if (!isLeft || answer.kind === 'moving') return { ...answer, isConfirmed: true };
      return { ...answer, kind: 'left', isConfirmed: true, reason: `${aeAddress} is marked as moved` };
    }
    if (isRejectedWith(read.error, ResponseStatusCode.notFound)) {
      return { ...answer, kind: 'left', isConfirmed: true, reason: `${aeAddress} is not there` };
    }
    return { ...answer, isConfirmed: false, reason: read.error.message };
  }

  /** Claim and ledger of an epoch; undefined when there is no such claim. */
  async #step(epoch: Epoch, options: CallOptions): Promise<Result<Step | undefined, CseFailure>> {
    const known = this.#steps.get(epoch);
    if (known?.ledger !== undefined) return ok(known);
    const { record } = this.#options;
    const [entry, ledger] = await Promise.all([
      known === undefined ? record.entry(epoch, options) : ok(known.entry),
      record.ledger(epoch, options),
    ]);
    if (!entry.ok) return entry;
    if (!ledger.ok) return ledger;
    if (entry.value === undefined) return ok(undefined);
    const step = { entry: entry.value, ledger: ledger.value };
    this.#steps.set(epoch, step);
    for (const oldest of this.#steps.keys()) {
      if (this.#steps.size <= epochsMax) break;
      this.#steps.delete(oldest);
    }
    return ok(step);
  }

  /** Where a reading may be, most likely first; a text says why the record names no place. */
  async #placesOf(
    stream: StreamName,
    seq: Seq,
    options: CallOptions,
  ): Promise<Result<ReadingPlace[] | string, CseFailure>> {
    const latest = await this.#options.record.latestEpoch(options);
    if (!latest.ok) return latest;
    if (latest.value === 0) return ok('nothing was ever claimed');
    const search = new PlaceSearch(stream, seq);
    for (let top = latest.value as number; top > 0; top -= stride) {
      const epochs = Array.from({ length: Math.min(stride, top) }, (_, index) => toEpoch(top - index));
      const steps = await Promise.all(epochs.map((epoch) => this.#step(epoch, options)));
      for (const step of steps) {
        if (!step.ok) return step;
        if (step.value === undefined) return ok(this.#settled(search, 'its epoch is gone from the record'));
        if (search.take(step.value)) return ok(this.#settled(search, ''));
      }
      if (latest.value - top >= epochsMax)
        return ok(this.#settled(search, `it is more than ${epochsMax} epochs old`));
    }
    return ok(this.#settled(search, `no ledger tells of ${stream} from ${seq} on`));
  }

  #settled({ places }: PlaceSearch, otherwise: string): ReadingPlace[] | string {
    if (places.length === 0) return otherwise;
    return places.slice(0, placesMax).map(({ cse, epoch, container }) => ({
      cse,
      epoch,
      container: `${this.#aeAddress(cse)}/${container}`,
    }));
  }

  /** The instance of a container that holds a reading: by name, else as one of a batch. */
  async #lookFor(
    seq: Seq,
    { container }: ReadingPlace,
    options: CallOptions,
  ): Promise<Result<{ address: string; isInDoubt: boolean } | undefined, CseFailure>> {
    const { client } = this.#options;
    const newest = await client.retrieve(`${container}/la`, options);
    if (!newest.ok) {
      return isRejectedWith(newest.error, ResponseStatusCode.notFound) ? ok(undefined) : newest;
    }
    const { resourceName } = newest.value.primitiveContent?.contentInstance ?? {};
    const named = typeof resourceName === 'string' ? parseInstanceName(resourceName) : undefined;
    if (named !== undefined) {
      const single = await client.retrieve(`${container}/${named.logId}-${seq}`, options);
      const held = heldIn(single, `${container}/${named.logId}-${seq}`);
      if (held !== undefined) return held;
    }
    const found = await client.discover(container, { resourceType: [ResourceType.contentInstance] }, options);
    if (!found.ok) return found;
    const name = found.value
      .map((address) => address.split('/').pop() ?? '')
      .find((each) => {
        const range = parseInstanceName(each);
        return range !== undefined && range.firstSeq <= seq && seq <= range.lastSeq;
      });
    if (name === undefined) return ok(undefined);
    return (
      heldIn(await client.retrieve(`${container}/${name}`, options), `${container}/${name}`) ?? ok(undefined)
    );
  }
}

/**
 * Goes down the epochs and collects where a reading may be. The numbers at which the live part begins grow with the epochs, so
 * the first epoch that begins at or below the reading is its own; the next one at another CSE is the boundary.
 */
class PlaceSearch {
  readonly #stream: StreamName;
  readonly #seq: Seq;
  readonly #likely: NamedPlace[] = [];
  readonly #possible: NamedPlace[] = [];
  #own: CseReference | undefined;

  constructor(stream: StreamName, seq: Seq) {
    this.#stream = stream;
    this.#seq = seq;
  }

  get places(): NamedPlace[] {
    const seen = new Set<string>();
    return [...this.#likely, ...this.#possible].filter(({ cse, container }) => {
      const key = `${cse.cseId} ${container}`;
      return !seen.has(key) && seen.add(key);
    });
  }

  /** Takes the next lower epoch in; true when those below have nothing to do with the reading. */
  take({ entry: { cse, epoch }, ledger }: Step): boolean {
    const at = (part: StreamPart): NamedPlace => ({
      cse,
      epoch,
      container: containerName(this.#stream, part),
    });
    // Nobody knows yet where this epoch begins.
    if (ledger === undefined) this.#possible.push(at('live'), at('backlog'));
    const live = ledger?.firstSeqs[containerName(this.#stream, 'live')];
    const backlog = ledger?.firstSeqs[containerName(this.#stream, 'backlog')];
    if (backlog !== undefined && backlog <= this.#seq) this.#likely.push(at('backlog'));
    if (live === undefined || live > this.#seq) return false;
    if (this.#own === undefined) {
      this.#own = cse;
      this.#likely.push(at('live'));
      // An outage within the epoch leaves its backlog beside the live part.
      this.#possible.push(at('backlog'));
      return false;
    }
    if (this.#own.cseId === cse.cseId) return false;
    this.#possible.push(at('live'));
    return true;
  }
}

function heldIn(
  read: Awaited<ReturnType<CseClient['retrieve']>>,
  address: string,
): Result<{ address: string; isInDoubt: boolean } | undefined, CseFailure> | undefined {
  if (!read.ok) return isRejectedWith(read.error, ResponseStatusCode.notFound) ? undefined : read;
  const { labels } = read.value.primitiveContent?.contentInstance ?? {};
  return ok({ address, isInDoubt: Array.isArray(labels) && labels.includes(inDoubtLabel) });
}
