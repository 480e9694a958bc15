/**
 * Fetching what waits in a container: instances are read page by page, oldest first as far as their CSE lists them so,
 * given on, and deleted at the CSE as soon as they are safe here. A container therefore holds what is still to be looked at
 * and nothing else, a look costs one discovery however many commands there ever were, and any number that waits is paged
 * through. What a CSE does not let go of is remembered while the process lives and not read again; after a restart it is
 * recognised as known.
 *
 * A list longer than a body may be (some ten thousand instances) cannot be read: such a container is worked off from its
 * oldest end, one by one.
 */
import { DecodeError } from '../base/errors.ts';
import { LinkedAbort } from '../base/linked-abort.ts';
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { contentOf, isRejectedWith } from '../onem2m/cse-client.ts';
import type { CallOptions, CseClient, CseFailure, CseOutcome } from '../onem2m/cse-client.ts';
import { ResourceType, ResponseStatusCode } from '../onem2m/enums.ts';
import { heldInstance } from './command.ts';
import type { HeldInstance, Taken } from './command.ts';

/** A container that is looked into. */
export interface CommandSource {
  /** CSE-ID of its CSE, SP-relative. */
  readonly cseId: string;
  /** Its address there. */
  readonly container: string;
  /** Addresses that were looked at and are still there; kept by who looks more than once. */
  readonly seen?: Set<string>;
}

/** What is done with the instances. */
export interface CatchUpWork {
  /** Takes one; `full` when it has to come again. Throws `DecodeError` for what it can make nothing of. */
  take(instance: HeldInstance): Promise<Taken>;
  /** Resolves when there is room for more; rejects when `signal` aborts. */
  room(signal?: AbortSignal): Promise<void>;
}

const pageMax = 32;
const groupMax = 8;
/** Bound of one look; the next one goes on. */
const instancesMax = 20_000;

/** Name of the echo instance that proves the way down. */
export function echoName(nonce: string): string {
  return `echo-${nonce}`;
}

/** Whether this is the name, or the address, of an echo instance. */
export function isEcho(address: string): boolean {
  return /(?:^|\/)echo-[^/]*$/u.test(address);
}

/** Looks into a container once; see the header of this file. */
export async function catchUp(
  client: CseClient,
  source: CommandSource,
  options: CallOptions,
  work: CatchUpWork,
): Promise<Result<void, CseFailure>> {
  const { container, seen = new Set() } = source;
  const found = await client.discover(container, { resourceType: [ResourceType.contentInstance] }, options);
  if (!found.ok) {
    return found.error.kind === 'malformed' ? fromOldest(client, source, options, work) : found;
  }
  const held = new Set(found.value);
  // A name that was deleted may come back as another command.
  for (const address of seen) if (!held.has(address)) seen.delete(address);
  const fresh = found.value.filter((address) => !seen.has(address)).slice(0, instancesMax);
  for (let at = 0; at < fresh.length; at += pageMax) {
    const page = fresh.slice(at, at + pageMax);
    const looked = await takePage(client, { ...source, page }, options, work);
    if (!looked.ok) return looked;
    const left = await clean(client, page, options);
    for (const address of left) seen.add(address);
  }
  return ok(undefined);
}

async function takePage(
  client: CseClient,
  { cseId, page }: CommandSource & { readonly page: readonly string[] },
  options: CallOptions,
  work: CatchUpWork,
): Promise<Result<void, CseFailure>> {
  const wanted = page.filter((address) => !isEcho(address));
  const reads = await together(wanted, options, (address, own) => client.retrieve(address, own));
  const instances: HeldInstance[] = [];
  for (const read of reads) {
    // Deleted meanwhile by whoever put it there.
    if (!read.ok && isRejectedWith(read.error, ResponseStatusCode.notFound)) continue;
    if (!read.ok) return err(read.error);
    const instance = tryHeld(() => heldInstance(contentOf(read.value, 'contentInstance'), cseId));
    if (instance !== undefined) instances.push(instance);
  }
  // The order of a listing is the CSE's own affair.
  instances.sort((one, other) => (one.createdMs ?? 0) - (other.createdMs ?? 0));
  for (const instance of instances) await takeOne(instance, options, work);
  return ok(undefined);
}

async function takeOne(instance: HeldInstance, options: CallOptions, work: CatchUpWork): Promise<void> {
  for (;;) {
    await work.room(options.signal);
    try {
      if ((await work.take(instance)) !== 'full') return;
    } catch (error) {
      // One instance that is no command does not keep the others from being executed.
      if (!(error instanceof DecodeError)) throw error;
      return;
    }
  }
}

/** Deletes what was looked at; gives back what is still there. */
async function clean(client: CseClient, page: readonly string[], options: CallOptions): Promise<string[]> {
  const deleted = await together(page, options, (address, own) => client.delete(address, own));
  return page.filter((_, index) => {
    const outcome = deleted[index];
    return outcome?.ok === false && !isRejectedWith(outcome.error, ResponseStatusCode.notFound);
  });
}

/** Requests side by side; a signal bears ten listeners before Node takes them for a leak. */
async function together(
  addresses: readonly string[],
  options: CallOptions,
  ask: (address: string, options: CallOptions) => Promise<CseOutcome>,
): Promise<CseOutcome[]> {
  const groups: Promise<CseOutcome[]>[] = [];
  for (let at = 0; at < addresses.length; at += groupMax) {
    const group = addresses.slice(at, at + groupMax);
    if (options.signal === undefined) {
      groups.push(Promise.all(group.map((address) => ask(address, options))));
      continue;
    }
    const linked = new LinkedAbort(options.signal);
    const own = { ...options, signal: linked.signal };
    groups.push(Promise.all(group.map((address) => ask(address, own))).finally(() => linked.release()));
  }
  return (await Promise.all(groups)).flat();
}

async function fromOldest(
  client: CseClient,
  { cseId, container }: CommandSource,
  options: CallOptions,
  work: CatchUpWork,
): Promise<Result<void, CseFailure>> {
  for (let count = 0; count < instancesMax; count++) {
    const read = await client.retrieve(`${container}/ol`, options);
    if (!read.ok) return isRejectedWith(read.error, ResponseStatusCode.notFound) ? ok(undefined) : read;
    const instance = tryHeld(() => heldInstance(contentOf(read.value, 'contentInstance'), cseId));
    if (instance?.resourceName === undefined) {
      return err({ kind: 'malformed', message: `the oldest instance of ${container} has no name` });
    }
    const address = `${container}/${instance.resourceName}`;
    if (!isEcho(instance.resourceName)) await takeOne(instance, options, work);
    const deleted = await client.delete(address, options);
    if (!deleted.ok && !isRejectedWith(deleted.error, ResponseStatusCode.notFound)) return deleted;
  }
  return ok(undefined);
}

function tryHeld(read: () => HeldInstance): HeldInstance | undefined {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    return undefined;
  }
}
