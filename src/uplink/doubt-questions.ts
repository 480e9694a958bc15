import type { StreamName } from '../base/units.ts';
import { isRejectedWith } from '../onem2m/cse-client.ts';
import type { CallOptions } from '../onem2m/cse-client.ts';
import { ResponseStatusCode } from '../onem2m/enums.ts';
import { instanceName, parseInstanceName } from './batch.ts';
import type { Attempt, Batch } from './batch.ts';
import { containerOf, originatorOf } from './destination.ts';
import type { Destination, StreamPart } from './destination.ts';

/**
 * What a CSE says of what comes next: it is there, and with `newest` all up to that number; it is not, with `isOfName` not
 * under the name that it would have now; or, `unclear`, it answered something that does not tell.
 */
export type HeldAnswer =
  | { readonly kind: 'held'; readonly newest?: Attempt }
  | { readonly kind: 'absent'; readonly isOfName?: true }
  | { readonly kind: 'unclear' }
  | { readonly kind: 'unanswered' };

/**
 * What the newest instance of a part's container tells of `batch`. Delivery is in order: whatever comes before it in the
 * part is settled somewhere, and the CSE holds nothing after it. A log that was not closed goes on under another name with
 * the numbers that follow, while another log may count from 1: so the newest instance counts only when it is under the
 * name of the batch, or under another that this log has had.
 */
export async function askNewest(
  destination: Destination,
  stream: StreamName,
  part: StreamPart,
  batch: Batch,
  isOwnLogId: (logId: string) => boolean,
  options: CallOptions,
): Promise<HeldAnswer> {
  const latest = await destination.client.retrieve(`${containerOf(destination, stream, part)}/la`, {
    ...options,
    ...originatorOf(destination, stream),
  });
  if (!latest.ok) {
    if (latest.error.kind !== 'rejected') return { kind: 'unanswered' };
    return isRejectedWith(latest.error, ResponseStatusCode.notFound)
      ? { kind: 'absent' }
      : { kind: 'unclear' };
  }
  const name = latest.value.primitiveContent?.contentInstance?.resourceName;
  const newest = typeof name === 'string' ? parseInstanceName(name) : undefined;
  if (newest === undefined) return { kind: 'unclear' };
  // Whichever log it is of, nothing that is still pending came after it.
  if (newest.lastSeq < batch.records[0].seq) return { kind: 'absent' };
  const isOfThisLog = newest.logId === batch.logId || isOwnLogId(newest.logId);
  return isOfThisLog ? { kind: 'held', newest } : { kind: 'unclear' };
}

/** Whether a batch is there under its name. */
export async function askByName(
  destination: Destination,
  stream: StreamName,
  part: StreamPart,
  batch: Attempt,
  options: CallOptions,
): Promise<HeldAnswer> {
  const address = `${containerOf(destination, stream, part)}/${instanceName(batch)}`;
  const held = await destination.client.retrieve(address, {
    ...options,
    ...originatorOf(destination, stream),
  });
  if (held.ok) return { kind: 'held' };
  if (isRejectedWith(held.error, ResponseStatusCode.notFound)) return { kind: 'absent', isOfName: true };
  return { kind: held.error.kind === 'rejected' ? 'unclear' : 'unanswered' };
}
