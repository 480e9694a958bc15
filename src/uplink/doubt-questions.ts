import type { StreamName } from '../base/units.ts';
import { isRejectedWith } from '../onem2m/cse-client.ts';
import type { CallOptions } from '../onem2m/cse-client.ts';
import { ResponseStatusCode } from '../onem2m/enums.ts';
import { instanceName, parseInstanceName } from './batch.ts';
import type { Attempt } from './batch.ts';
import { containerOf } from './destination.ts';
import type { Destination, StreamPart } from './destination.ts';

/** What a CSE says of a batch: `absent` for certain, `unclear` when it answered something that does not tell. */
export type HeldAnswer =
  | { readonly kind: 'held'; readonly newest: Attempt }
  | { readonly kind: 'absent' }
  | { readonly kind: 'unclear' }
  | { readonly kind: 'unanswered' };

/**
 * What the newest instance of a part's container is, by its name. Delivery is in order: whatever comes before it in the part
 * is settled somewhere, and the CSE holds nothing after it. An instance that is not of this log tells nothing.
 */
export async function askNewest(
  destination: Destination,
  stream: StreamName,
  part: StreamPart,
  logId: string,
  options: CallOptions,
): Promise<HeldAnswer> {
  const latest = await destination.client.retrieve(`${containerOf(destination, stream, part)}/la`, options);
  if (!latest.ok) {
    if (latest.error.kind !== 'rejected') return { kind: 'unanswered' };
    return isRejectedWith(latest.error, ResponseStatusCode.notFound)
      ? { kind: 'absent' }
      : { kind: 'unclear' };
  }
  const name = latest.value.primitiveContent?.contentInstance?.resourceName;
  const newest = typeof name === 'string' ? parseInstanceName(name) : undefined;
  return newest?.logId === logId ? { kind: 'held', newest } : { kind: 'unclear' };
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
  const held = await destination.client.retrieve(address, options);
  if (held.ok) return { kind: 'held', newest: batch };
  if (isRejectedWith(held.error, ResponseStatusCode.notFound)) return { kind: 'absent' };
  return { kind: held.error.kind === 'rejected' ? 'unclear' : 'unanswered' };
}
