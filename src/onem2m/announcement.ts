import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import { sleep } from '../host/clock.ts';
import type { Clock } from '../host/clock.ts';
import type { CommonAttributes } from './common-attributes.ts';
import type { CallOptions, CseClient, CseFailure } from './cse-client.ts';
import type { PrimitiveContent } from './resources.ts';

/** What is announced where (TS-0001 9.6.26). */
export interface AnnouncementCall {
  /** Address of the original. */
  readonly to: string;
  /** Root of the original, for example `ae`. */
  readonly root: 'ae' | 'container' | 'timeSeries' | 'group' | 'node' | 'accessControlPolicy';
  /** The CSE that gets the copy, `/id-in`. */
  readonly cseId: string;
  /** Short names of the attributes that are copied beside those that always are. */
  readonly attributes?: readonly string[];
}

const lookMs = { first: millis(50), most: millis(1_000) };

/**
 * Announces a resource (TS-0001 10.2.18) and waits until its CSE tells the address of the copy, which it makes after it has
 * answered. Announcements of the resource elsewhere are kept.
 */
export async function announce(
  client: CseClient,
  clock: Clock,
  { to, root, cseId, attributes }: AnnouncementCall,
  options: CallOptions & { readonly deadlineMs: Millis },
): Promise<Result<string, CseFailure>> {
  const endMs = clock.monotonicMs() + options.deadlineMs;
  const leftMs = (): Millis => millis(Math.max(1, endMs - clock.monotonicMs()));
  const before = await readOriginal(client, to, root, { ...options, deadlineMs: leftMs() });
  if (!before.ok) return before;
  const known = copyAt(before.value, cseId);
  const { announceTo = [], announcedAttribute = [] } = before.value;
  const listed = [...new Set([...announcedAttribute, ...(attributes ?? [])])];
  if (known === undefined || listed.length !== announcedAttribute.length) {
    const targets =
      known === undefined ? [...announceTo.filter((each) => each !== cseId), cseId] : announceTo;
    const changes = { announceTo: targets, ...(listed.length === 0 ? {} : { announcedAttribute: listed }) };
    const content: PrimitiveContent = { [root]: changes };
    const updated = await client.update(to, content, { ...options, deadlineMs: leftMs() });
    if (!updated.ok) return updated;
  }
  for (let waitMs = lookMs.first; ; waitMs = millis(Math.min(lookMs.most, 2 * waitMs))) {
    const read = await readOriginal(client, to, root, { ...options, deadlineMs: leftMs() });
    if (!read.ok) return read;
    const copy = copyAt(read.value, cseId);
    if (copy !== undefined) return ok(copy);
    if (clock.monotonicMs() + waitMs >= endMs) {
      return err({
        kind: 'deadline',
        message: `${to} has no copy at ${cseId} after ${options.deadlineMs} ms`,
      });
    }
    const isCancelled = await sleep(clock, waitMs, options.signal).then(
      () => false,
      () => true,
    );
    if (isCancelled)
      return err({ kind: 'cancelled', message: `waiting for the copy of ${to} was cancelled` });
  }
}

/** An announced copy and what it was made from. */
export interface FollowedLink {
  /** Address of the original, SP-relative. */
  readonly link: string;
  readonly original: PrimitiveContent;
}

/**
 * Reads the original behind an announced copy (TS-0001 9.6.26, `link`). A copy whose AE has deregistered says `INACTIVE`
 * (TS-0001 10.2.2.2): then there is no original, which is told like a resource that is not there.
 */
export async function followLink(
  client: CseClient,
  copy: string,
  options: CallOptions = {},
): Promise<Result<FollowedLink, CseFailure>> {
  const read = await client.retrieve(copy, options);
  if (!read.ok) return read;
  const [attributes] = Object.values(read.value.primitiveContent ?? {}) as (CommonAttributes | undefined)[];
  const link = typeof attributes === 'object' ? attributes.link : undefined;
  if (typeof link !== 'string' || !link.startsWith('/')) {
    return err({
      kind: 'malformed',
      message: `${copy} is no copy of anything that is there (link ${String(link)})`,
    });
  }
  const original = await client.retrieve(link, options);
  return original.ok ? ok({ link, original: original.value.primitiveContent ?? {} }) : original;
}

async function readOriginal(
  client: CseClient,
  to: string,
  root: AnnouncementCall['root'],
  options: CallOptions,
): Promise<Result<CommonAttributes, CseFailure>> {
  const read = await client.retrieve(to, options);
  if (!read.ok) return read;
  const attributes: CommonAttributes | undefined = read.value.primitiveContent?.[root];
  if (typeof attributes === 'object') return ok(attributes);
  return err({ kind: 'malformed', message: `${to} was answered without ${root}` });
}

/** `/id-in` names a CSE, `/id-in/aeA…` a copy there. */
function copyAt({ announceTo }: CommonAttributes, cseId: string): string | undefined {
  return (Array.isArray(announceTo) ? announceTo : []).find((each) => String(each).startsWith(`${cseId}/`));
}
