/**
 * The newest instances of a container or a time series, read at one CSE and copied to another.
 *
 * A copy keeps its name, so that a repeat answers 4105 and doubles nothing, its content, contentInfo and dataGenerationTime, and
 * carries the labels
 *     baton:copy              it was not written by its producer
 *     baton:from=/id-mn1      the CSE that has the original
 *     baton:at=YYYYMMDDTHHMMSS  when that was created
 * since creationTime is the CSE's own. A copy of a copy tells of the original. What the target has already, or had before, is
 * not copied back to it.
 *
 * CSEs have no common way to ask for the newest N: `la` tells the time of the newest one, and a window before it, made longer
 * until it holds enough, is asked for by createdAfter.
 */
import { millis } from '../base/units.ts';
import type { CseId } from '../base/units.ts';
import { isRejectedWith } from '../onem2m/cse-client.ts';
import type { CallOptions, CseClient } from '../onem2m/cse-client.ts';
import { Operation, ResourceType, ResponseStatusCode, ResultContent } from '../onem2m/enums.ts';
import { encodeTimestamp, parseTimestamp } from '../onem2m/primitives.ts';
import type { ContentInstance, TimeSeriesInstance } from '../onem2m/resources.ts';
import type { RecentPolicy } from './bundle-manifest.ts';

/** Label of every copy. */
export const copyLabel = 'baton:copy';

const fromLabel = 'baton:from=';
const atLabel = 'baton:at=';

/** An instance as it was read. */
export interface ReadInstance {
  readonly name: string;
  readonly attributes: Readonly<ContentInstance & TimeSeriesInstance>;
  /** The CSE that has the original. */
  readonly from: string;
  /** When the original was created, `YYYYMMDDTHHMMSS`. */
  readonly at: string;
}

/** What holds instances, and of which type they are. */
export type InstanceRoot = 'contentInstance' | 'timeSeriesInstance';

const instanceTypes = {
  contentInstance: ResourceType.contentInstance,
  timeSeriesInstance: ResourceType.timeSeriesInstance,
} as const;

const readsMax = 8;
const firstWindowMs = 10_000;
const windowMsMax = 31 * 24 * 3600 * 1000;

/** The newest instances that a policy asks for, oldest first; the reason when the CSE does not give them. */
export async function readRecent(
  client: CseClient,
  place: { readonly cseId: CseId; readonly address: string; readonly root: InstanceRoot },
  policy: RecentPolicy,
  options: CallOptions,
): Promise<readonly ReadInstance[] | { readonly reason: string; readonly isAnswer: boolean }> {
  const latest = await client.retrieve(`${place.address}/la`, options);
  if (!latest.ok) {
    if (isRejectedWith(latest.error, ResponseStatusCode.notFound)) return [];
    return { reason: latest.error.message, isAnswer: latest.error.kind === 'rejected' };
  }
  const newest = instanceOf(place.cseId, latest.value.primitiveContent?.[place.root]);
  if (newest === undefined) return { reason: `${place.address}/la shows no instance`, isAnswer: true };
  const endMs = parseTimestamp(String(newest.attributes.creationTime)) ?? 0;
  const count = policy.kind === 'last' ? policy.count : Number.POSITIVE_INFINITY;
  if (count === 1) return [newest];
  let windowMs = policy.kind === 'since' ? policy.spanMs : millis(firstWindowMs);
  let found: readonly ReadInstance[] = [newest];
  for (let reads = 0; reads < readsMax; reads++) {
    const window = await readWindow(client, place, endMs - windowMs, options);
    // Not every CSE filters what it shows: the newest one is better than none.
    if (!Array.isArray(window)) break;
    const before = found.length;
    if (window.length > 0) found = window;
    if (policy.kind === 'since' || found.length >= count || windowMs >= windowMsMax) break;
    // Nothing more in a window many times as long: that is all there is.
    if (reads > 1 && found.length === before && windowMs > 1000 * firstWindowMs) break;
    const factor = found.length > 1 ? Math.min(64, Math.max(2, (1.5 * count) / found.length)) : 8;
    windowMs = millis(Math.min(windowMsMax, windowMs * factor));
  }
  return found.slice(-count);
}

async function readWindow(
  client: CseClient,
  { cseId, address, root }: { cseId: CseId; address: string; root: InstanceRoot },
  sinceMs: number,
  options: CallOptions,
): Promise<readonly ReadInstance[] | undefined> {
  const read = await client.request(
    {
      operation: Operation.retrieve,
      to: address,
      filterCriteria: {
        resourceType: [instanceTypes[root]],
        // Times of a CSE are whole seconds, and its comparison is strict.
        createdAfter: encodeTimestamp(sinceMs - 1000),
      },
    },
    { ...options, resultContent: ResultContent.childResources },
  );
  if (!read.ok) return undefined;
  const found: ReadInstance[] = [];
  for (const parent of Object.values(read.value.primitiveContent ?? {})) {
    const list: unknown =
      typeof parent === 'object' && parent !== null ? Reflect.get(parent, root) : undefined;
    for (const each of Array.isArray(list) ? (list as unknown[]) : []) {
      const instance = instanceOf(cseId, each);
      if (instance !== undefined) found.push(instance);
    }
  }
  return inOrder(found);
}

/** Instances of several sources, each once, oldest original first. */
export function inOrder(instances: readonly ReadInstance[]): ReadInstance[] {
  const byName = new Map(instances.map((each) => [each.name, each]));
  const timeOf = ({ at }: ReadInstance): number => parseTimestamp(at) ?? 0;
  // Within one second, the number at the end of a name tells the order.
  return [...byName.values()].sort(
    (one, other) =>
      timeOf(one) - timeOf(other) || one.name.localeCompare(other.name, 'en', { numeric: true }),
  );
}

function instanceOf(cseId: CseId, value: unknown): ReadInstance | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const attributes = value as ContentInstance & TimeSeriesInstance;
  const { resourceName: name, creationTime } = attributes;
  if (typeof name !== 'string' || typeof creationTime !== 'string') return undefined;
  const labels = textsIn(attributes.labels);
  const valueOf = (prefix: string): string | undefined =>
    labels.find((label) => label.startsWith(prefix))?.slice(prefix.length);
  return { name, attributes, from: valueOf(fromLabel) ?? cseId, at: valueOf(atLabel) ?? creationTime };
}

/**
 * Creates copies, in their order, below `address`; those of which the target has the original are left out. Resolves to how many
 * there are now, and the reason of the first refusal, which ends the work: what comes after it would be newer than what is missing.
 */
export async function writeCopies(
  client: CseClient,
  place: { readonly cseId: CseId; readonly address: string; readonly root: InstanceRoot },
  instances: readonly ReadInstance[],
  options: CallOptions,
): Promise<{ readonly copied: number; readonly reason?: string; readonly isAnswer?: boolean }> {
  let copied = 0;
  for (const { name, attributes, from, at } of instances) {
    if (from === place.cseId) continue;
    const { contentInfo, content, dataGenerationTime, sequenceNr, labels } = attributes;
    const own = textsIn(labels).filter(
      (label) => label !== copyLabel && !label.startsWith(fromLabel) && !label.startsWith(atLabel),
    );
    const copy = {
      resourceName: name,
      content,
      ...(contentInfo === undefined ? {} : { contentInfo }),
      ...(dataGenerationTime === undefined ? {} : { dataGenerationTime }),
      ...(sequenceNr === undefined ? {} : { sequenceNr }),
      labels: [...own, copyLabel, `${fromLabel}${from}`, `${atLabel}${at.slice(0, 15)}`],
    };
    const created = await client.create(
      place.address,
      instanceTypes[place.root],
      { [place.root]: copy },
      { ...options, resultContent: ResultContent.nothing },
    );
    if (!created.ok && !isRejectedWith(created.error, ResponseStatusCode.conflict)) {
      return { copied, reason: created.error.message, isAnswer: created.error.kind === 'rejected' };
    }
    copied += 1;
  }
  return { copied };
}

/** What was written to a CSE, as it would be read there. */
export function writtenInstance(cseId: CseId, instance: ContentInstance, unixMs: number): ReadInstance {
  const creationTime = encodeTimestamp(unixMs);
  const name = instance.resourceName ?? '';
  return { name, attributes: { ...instance, creationTime }, from: cseId, at: creationTime };
}

function textsIn(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((each) => typeof each === 'string') : [];
}
