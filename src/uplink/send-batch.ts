import { millis } from '../base/units.ts';
import type { Millis, StreamName } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import type { CseFailure, CseOutcome } from '../onem2m/cse-client.ts';
import { ResourceType, ResultContent } from '../onem2m/enums.ts';
import type { ContentInstance } from '../onem2m/resources.ts';
import { senmlContentInfo } from '../onem2m/senml.ts';
import { encodeBatch } from './batch-instance.ts';
import { instanceName } from './batch.ts';
import type { Batch } from './batch.ts';
import { aeOf, containerOf, originatorOf } from './destination.ts';
import type { Destination, StreamPart } from './destination.ts';
import { encodeInstance } from './instance.ts';
import type { Exchange } from './lane-options.ts';

/** Longest wait of a request for its turn beside those of other streams. */
const turnMsMax = millis(2000);

/** What sending a batch came to. */
export interface Sent {
  readonly outcome: CseOutcome;
  /** Undefined for an outcome that says nothing about the CSE. */
  readonly exchange: Exchange | undefined;
}

/** Sends a batch to the container of its part, under its name; the time for its answer runs from when it leaves. */
export async function sendBatch(options: {
  readonly clock: Clock;
  readonly stream: StreamName;
  readonly unit: string | undefined;
  readonly batch: Batch;
  readonly part: StreamPart;
  readonly destination: Destination;
  readonly labels: readonly string[];
  readonly answerMs: Millis;
  readonly signal: AbortSignal;
}): Promise<Sent> {
  const { clock, stream, batch, part, destination, answerMs, signal } = options;
  const contentInstance: ContentInstance = {
    resourceName: instanceName(batch),
    ...contentOf(batch, destination, stream, options.unit),
    ...(options.labels.length === 0 ? {} : { labels: [...options.labels] }),
  };
  let sentMs = clock.monotonicMs();
  const outcome = await destination.client.create(
    containerOf(destination, stream, part),
    ResourceType.contentInstance,
    { contentInstance },
    {
      deadlineMs: answerMs,
      turnMs: turnMsMax,
      queue: stream,
      resultContent: ResultContent.nothing,
      signal,
      ...originatorOf(destination, stream),
      onSent: () => (sentMs = clock.monotonicMs()),
    },
  );
  if (outcome.ok) destination.onTaken?.(stream, contentInstance);
  if (!outcome.ok && saysNothing(outcome.error)) return { outcome, exchange: undefined };
  const isAnswered = outcome.ok || outcome.error.kind === 'rejected';
  const tookMs = millis(clock.monotonicMs() - sentMs);
  return { outcome, exchange: { isAnswered, sentMs, tookMs } };
}

/** Whether an outcome says nothing about the way to the CSE: the request was withdrawn, never left, or was one too many. */
export function saysNothing({ kind }: CseFailure): boolean {
  return kind === 'cancelled' || kind === 'closed' || kind === 'busy';
}

function contentOf(
  { records, firstSeq, lastSeq }: Batch,
  destination: Destination,
  stream: StreamName,
  unit: string | undefined,
): Pick<ContentInstance, 'content' | 'contentInfo'> {
  if (firstSeq === lastSeq) return { content: encodeInstance(records[0], destination.epoch) };
  const name = `${aeOf(destination, stream).split('/').at(-1)}/${stream}`;
  const names = { name, ...(unit === undefined ? {} : { unit }) };
  return { content: encodeBatch(records, destination.epoch, names), contentInfo: senmlContentInfo };
}
