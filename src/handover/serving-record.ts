/**
 * The serving record: one container at the IN-CSE in which a gateway claims, epoch by epoch, the CSE that serves it.
 *
 * A claim is the CREATE of a contentInstance with the fixed name `e<epoch>`: the CSE's answer 4105 to a second one is the
 * lost compare-and-swap that oneM2M otherwise does not have. Epochs are claimed without a gap. After the switch, `s<epoch>` adds for every stream the first
 * sequence number found at the new CSE, so that all history stays findable. Readers take the highest epoch. The container
 * is created without `maxNrOfInstances`, because an evicted name could be claimed again.
 */
import { DecodeError, errorText } from '../base/errors.ts';
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { cseId as toCseId, epoch as toEpoch } from '../base/units.ts';
import { printable } from '../base/text.ts';
import type { Epoch, Seq, StreamName, UnixMillis } from '../base/units.ts';
import { isRejectedWith } from '../onem2m/cse-client.ts';
import type { CallOptions, CseClient, CseFailure } from '../onem2m/cse-client.ts';
import { ResourceType, ResponseStatusCode, ResultContent } from '../onem2m/enums.ts';
import type { ResponsePrimitive } from '../onem2m/primitives.ts';
import { decodeEpoch, decodeSeqs, isEpoch } from './handover-state-codec.ts';
import type { WorkOutcome } from './runner.ts';
import type { CseReference } from './handover-state.ts';

/** One claim as it stands in the record. */
export interface ServingEntry {
  readonly epoch: Epoch;
  readonly nonce: string;
  readonly cse: CseReference;
  /** Access link by which the gateway is reached. */
  readonly link: string;
  /** AE-ID stem by AE name. */
  readonly aes: Readonly<Record<string, string>>;
  readonly previousEpoch: Epoch;
  readonly unixMs: UnixMillis;
  /** The registration is over for good (termination.ts): nobody serves any more. */
  readonly isTerminated?: true;
}

/** Where the streams of a gateway begin at the CSE of an epoch: the first sequence number by container name. */
export interface ServingLedger {
  readonly epoch: Epoch;
  readonly firstSeqs: Readonly<Record<string, number>>;
}

/** What a look at the record shows to a gateway that serves. */
export type RecordView =
  | { readonly kind: 'current' }
  | { readonly kind: 'displaced'; readonly epoch: Epoch }
  | { readonly kind: 'overtaken'; readonly reason: string };

interface WantedEntry {
  readonly entry: ServingEntry;
  readonly strays: readonly string[];
}

/** Claims that may lie between a ledger written late and the newest one. */
const lateLedgersMax = 1024;

/** Reads and claims the serving record of one gateway. */
export class ServingRecord {
  readonly #client: CseClient;
  readonly #container: string;

  /** `container` is its CSE-relative address at the IN-CSE, for example `cse-in/gw1-home/serving`. */
  constructor(client: CseClient, container: string) {
    this.#client = client;
    this.#container = container;
  }

  /** The highest epoch that was claimed; 0 when the record is empty. */
  async latestEpoch(options: CallOptions = {}): Promise<Result<Epoch, CseFailure>> {
    const newest = await this.#newestEpoch(options);
    if (!newest.ok || newest.value === 0) return newest;
    // A ledger that was owed for long may have been written after later claims.
    for (let latest = newest.value; latest < newest.value + lateLedgersMax; latest = toEpoch(latest + 1)) {
      const next = await this.#client.retrieve(`${this.#container}/e${latest + 1}`, options);
      if (next.ok) continue;
      return isRejectedWith(next.error, ResponseStatusCode.notFound) ? ok(latest) : next;
    }
    return err({
      kind: 'malformed',
      message: `${this.#container} answers for every epoch that is asked for`,
    });
  }

  async #newestEpoch(options: CallOptions): Promise<Result<Epoch, CseFailure>> {
    const newest = await this.#newestInstance(options);
    if (!newest.ok) return newest;
    if (newest.value !== undefined) return ok(newest.value);
    // An empty container and a missing one answer alike; only the latter is an error.
    const container = await this.#client.retrieve(this.#container, options);
    return container.ok ? ok(toEpoch(0)) : container;
  }

  /** Epoch of the newest instance; undefined when there is none. */
  async #newestInstance(options: CallOptions): Promise<Result<Epoch | undefined, CseFailure>> {
    const outcome = await this.#client.retrieve(`${this.#container}/la`, options);
    if (outcome.ok) return this.#epochOf(outcome.value);
    return isRejectedWith(outcome.error, ResponseStatusCode.notFound) ? ok(undefined) : outcome;
  }

  /** The claim of an epoch; undefined when there is none. */
  async entry(
    epoch: Epoch,
    options: CallOptions = {},
  ): Promise<Result<ServingEntry | undefined, CseFailure>> {
    return this.#read(`e${epoch}`, decodeServingEntry, options);
  }

  /** The ledger of an epoch; undefined while it is owed. */
  async ledger(
    epoch: Epoch,
    options: CallOptions = {},
  ): Promise<Result<ServingLedger | undefined, CseFailure>> {
    const decode = (content: unknown): ServingLedger => ({
      epoch: decodeEpoch(fieldOf(content, 'epoch')),
      firstSeqs: decodeSeqs(fieldOf(content, 'first')),
    });
    return this.#read(`s${epoch}`, decode, options);
  }

  async #read<T>(
    name: string,
    decode: (content: unknown) => T,
    options: CallOptions,
  ): Promise<Result<T | undefined, CseFailure>> {
    const address = `${this.#container}/${name}`;
    const read = await this.#client.retrieve(address, options);
    if (!read.ok) {
      return isRejectedWith(read.error, ResponseStatusCode.notFound) ? ok(undefined) : read;
    }
    try {
      return ok(decode(fieldOf(read.value.primitiveContent?.contentInstance, 'content')));
    } catch (error) {
      return err({ kind: 'malformed', message: `${address}: ${errorText(error)}` });
    }
  }

  /**
   * What a gateway that serves under `epoch` has to know: nothing, or that a higher epoch stands in the record, by a claim
   * of its own that was given up (`displaced`; `ours` are the nonces of such claims) or by another gateway (`overtaken`).
   */
  async look(
    epoch: Epoch,
    ours: readonly string[],
    options: CallOptions = {},
  ): Promise<Result<RecordView, CseFailure>> {
    // The next epoch is the first to be claimed; where a reaper has been, the newest entry tells.
    const [next, newest] = await Promise.all([
      this.#client.retrieve(`${this.#container}/e${epoch + 1}`, options),
      this.#newestEpoch(options),
    ]);
    if (!next.ok && !isRejectedWith(next.error, ResponseStatusCode.notFound)) return next;
    if (!newest.ok) return newest;
    if (!next.ok && newest.value <= epoch) return ok({ kind: 'current' });
    const latest = await this.latestEpoch(options);
    if (!latest.ok) return latest;
    const highest = toEpoch(Math.max(latest.value, next.ok ? epoch + 1 : 0));
    const held = await this.#client.retrieve(`${this.#container}/e${highest}`, options);
    if (!held.ok) return held;
    const content = fieldOf(held.value.primitiveContent?.contentInstance, 'content');
    const nonce = fieldOf(content, 'nonce');
    if (typeof nonce === 'string' && ours.includes(nonce)) return ok({ kind: 'displaced', epoch: highest });
    if (fieldOf(content, 'end') === true) {
      return ok({ kind: 'overtaken', reason: `this gateway was deregistered by order (epoch ${highest})` });
    }
    const cse = fieldOf(fieldOf(content, 'cse'), 'id');
    const where = typeof cse === 'string' ? ` for ${printable(cse, 60)}` : '';
    const reason = `another gateway with the same identity claimed epoch ${highest}${where}; ours is ${epoch}`;
    return ok({ kind: 'overtaken', reason });
  }

  /**
   * Claims an epoch; repeating it under the same nonce is safe and finds out what a lost answer was. `strays` are nonces of
   * claims of this epoch that were given up.
   */
  async claim(
    entry: ServingEntry,
    strays: readonly string[] = [],
    options: CallOptions = {},
  ): Promise<WorkOutcome> {
    const wanted = { entry, strays };
    // A record that is empty and one that is missing answer alike here; the CREATE tells them apart.
    const latest = await this.#newestInstance(options);
    if (!latest.ok) return this.#settleUnclaimed(wanted, latest.error, options);
    if (latest.value !== undefined && latest.value >= entry.epoch) return this.#compare(wanted, options);
    const created = await this.#client.create(
      this.#container,
      ResourceType.contentInstance,
      { contentInstance: { resourceName: `e${entry.epoch}`, content: encodeEntry(entry) } },
      { ...options, resultContent: ResultContent.nothing },
    );
    if (created.ok) return { kind: 'succeeded' };
    if (isRejectedWith(created.error, ResponseStatusCode.conflict)) return this.#compare(wanted, options);
    return this.#settleUnclaimed(wanted, created.error, options);
  }

  /**
   * After an answer that is no success: an earlier attempt whose answer was lost may have made the claim all the same, so
   * only a record that has no such entry settles that it was not made. Anything else leaves it open.
   */
  async #settleUnclaimed(
    wanted: WantedEntry,
    failure: CseFailure,
    options: CallOptions,
  ): Promise<WorkOutcome> {
    if (failure.kind !== 'rejected') return { kind: 'failed', reason: failure.message };
    const held = await this.#client.retrieve(`${this.#container}/e${wanted.entry.epoch}`, options);
    if (held.ok) return this.#judge(wanted, held.value);
    const isAbsent = isRejectedWith(held.error, ResponseStatusCode.notFound);
    return {
      kind: isAbsent && failure.responseStatusCode < 5000 ? 'refused' : 'failed',
      reason: failure.message,
    };
  }

  /** Adds the ledger `s<epoch>`: the first sequence number of each stream at the CSE of this epoch. */
  async writeLedger(
    epoch: Epoch,
    firstSeqs: Readonly<Record<StreamName, Seq>>,
    options: CallOptions = {},
  ): Promise<Result<void, CseFailure>> {
    const created = await this.#client.create(
      this.#container,
      ResourceType.contentInstance,
      { contentInstance: { resourceName: `s${epoch}`, content: { epoch, first: firstSeqs } } },
      { ...options, resultContent: ResultContent.nothing },
    );
    if (created.ok || isRejectedWith(created.error, ResponseStatusCode.conflict)) return ok(undefined);
    return err(created.error);
  }

  /** What others wrote into the record may be anything; it must not pass for an empty one. */
  #epochOf(response: ResponsePrimitive): Result<Epoch, CseFailure> {
    const instance: unknown = response.primitiveContent?.contentInstance;
    const value = fieldOf(fieldOf(instance, 'content'), 'epoch');
    if (isEpoch(value)) return ok(toEpoch(value));
    const name = fieldOf(instance, 'resourceName');
    const which = typeof name === 'string' ? printable(name, 60) : 'its newest instance';
    return err({ kind: 'malformed', message: `${this.#container}: ${which} carries no epoch; remove it` });
  }

  async #compare(wanted: WantedEntry, options: CallOptions): Promise<WorkOutcome> {
    const { entry } = wanted;
    const held = await this.#client.retrieve(`${this.#container}/e${entry.epoch}`, options);
    if (!held.ok) {
      if (isRejectedWith(held.error, ResponseStatusCode.notFound)) {
        return { kind: 'lost', reason: `the serving record is already past epoch ${entry.epoch}` };
      }
      return { kind: 'failed', reason: held.error.message };
    }
    return this.#judge(wanted, held.value);
  }

  /** Whether an entry that is there is ours, made for the same CSE. */
  #judge({ entry, strays }: WantedEntry, response: ResponsePrimitive): WorkOutcome {
    const instance: unknown = response.primitiveContent?.contentInstance;
    const holder = fieldOf(instance, 'content');
    if (holder === undefined) {
      return { kind: 'failed', reason: `${this.#container}/e${entry.epoch} was answered without content` };
    }
    const nonce = fieldOf(holder, 'nonce');
    const isSame = fieldOf(fieldOf(holder, 'cse'), 'id') === entry.cse.cseId;
    if (nonce === entry.nonce && isSame) return { kind: 'succeeded' };
    if (typeof nonce === 'string' && [entry.nonce, ...strays].includes(nonce)) return { kind: 'displaced' };
    return {
      kind: 'lost',
      reason: `epoch ${entry.epoch} was claimed by another gateway with the same identity`,
    };
  }
}

/** Takes a claim from the content of an `e<epoch>` instance; throws `DecodeError` when it is none. */
export function decodeServingEntry(content: unknown): ServingEntry {
  if (typeof content !== 'object' || content === null)
    throw new DecodeError('the serving record holds no object');
  const fields = content as Record<string, unknown>;
  const cse = fields.cse as Record<string, unknown> | undefined;
  const { nonce, link, aes, previous, t } = fields;
  if (
    typeof nonce !== 'string' ||
    typeof link !== 'string' ||
    typeof cse?.id !== 'string' ||
    typeof cse.base !== 'string' ||
    typeof cse.poa !== 'string'
  ) {
    throw new DecodeError('the serving record holds an entry without nonce, link or CSE');
  }
  return {
    epoch: decodeEpoch(fields.epoch),
    nonce,
    cse: { cseId: toCseId(cse.id), cseBaseName: cse.base, pointOfAccess: cse.poa },
    link,
    aes: typeof aes === 'object' && aes !== null ? (aes as Record<string, string>) : {},
    previousEpoch: toEpoch(typeof previous === 'number' ? previous : 0),
    unixMs: (typeof t === 'number' ? t : 0) as UnixMillis,
    ...(fields.end === true ? { isTerminated: true } : {}),
  };
}

function encodeEntry(entry: ServingEntry): Record<string, unknown> {
  const { cse } = entry;
  return {
    epoch: entry.epoch,
    nonce: entry.nonce,
    cse: { id: cse.cseId, base: cse.cseBaseName, poa: cse.pointOfAccess },
    link: entry.link,
    aes: entry.aes,
    previous: entry.previousEpoch,
    t: entry.unixMs,
    ...(entry.isTerminated ? { end: true } : {}),
  };
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
