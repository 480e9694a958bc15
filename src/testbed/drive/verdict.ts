import { DecodeError } from '../../base/errors.ts';
import { cseId, millis, streamName } from '../../base/units.ts';
import type { Millis, StreamName } from '../../base/units.ts';
import type { GatewayStatus, HandoverEndedEvent } from '../../gateway/status.ts';
import type { DemoSummary } from '../../gateway/view/summary.ts';
import { commandContainer } from '../../handover/bundle-manifest.ts';
import { decodeServingEntry } from '../../handover/serving-record.ts';
import { ResourceType } from '../../onem2m/enums.ts';
import { computeTrialKpis } from '../../trial/kpi.ts';
import type { HandoverSpan, HeldInstance } from '../../trial/kpi.ts';
import { readingsOf } from '../../uplink/batch-instance.ts';
import { containerName } from '../../uplink/destination.ts';
import { inDoubtLabel } from '../../uplink/stream-lane.ts';
import { fakeSensorValue } from '../sensor/fake-sensor.ts';
import type { HeldResource } from './cse-host-process.ts';
import type { TrialEvidenceRaw } from './trial-world.ts';

/** A handover as it was seen from outside, on the clock of the observer. */
export interface ObservedHandover {
  readonly event: HandoverEndedEvent;
  readonly endedMs: Millis;
}

/** What a drive was and what was seen of it. */
export interface DriveRecord {
  readonly drive: string;
  readonly seed: number;
  readonly seconds: number;
  readonly rttMs: number;
  readonly device: string;
  readonly streams: Readonly<Record<string, number>>;
  readonly handovers: readonly ObservedHandover[];
  readonly evidence: TrialEvidenceRaw;
  /** The last status of the gateway: only what no CSE can know is taken from it. */
  readonly status: GatewayStatus | undefined;
  /** What else speaks against the drive. */
  readonly failures: readonly string[];
}

/** Judges a drive by what the sensor emitted and the CSEs hold; the gateway's own counters are not asked for losses. */
export function judgeDrive(record: DriveRecord): DemoSummary {
  const completed = record.handovers.filter(({ event }) => event.outcome === 'completed');
  const spans = completed.map(spanOf);
  const kpis = computeTrialKpis({
    emitted: Object.entries(record.evidence.emitted).map(([name, { first, last }]) => ({
      stream: streamName(name),
      first,
      last,
      periodMs: millis(record.streams[name] ?? 0),
      valueOf: (count) => fakeSensorValue(record.seed, name, count),
    })),
    held: heldInstances(record),
    handovers: spans,
    inDoubtLabel,
  });
  const reasons = [...record.failures, ...kpis.faults, ...splitFaults(record)];
  const worst = kpis.streams
    .map(({ stream, longestGapMs }) => ({ gapMs: longestGapMs, periodMs: record.streams[stream] ?? 0 }))
    .reduce((a, b) => (b.gapMs - b.periodMs > a.gapMs - a.periodMs ? b : a), { gapMs: 0, periodMs: 0 });
  const { evicted = 0, pending = 0 } = record.status?.buffer ?? {};
  return {
    drive: record.drive,
    seed: record.seed,
    seconds: record.seconds,
    rttMs: record.rttMs,
    handovers: completed.map(({ event }, index) => ({
      epoch: event.epoch,
      ...(event.source === undefined ? {} : { source: event.source }),
      target: event.target,
      trigger: event.trigger,
      phases: Object.fromEntries(event.phases.map(({ phase, ms }) => [phase, ms])),
      uplinkInterruptionMs:
        event.source === undefined ? 0 : round(kpis.handovers[index]?.uplinkInterruptionMs),
    })),
    stored: kpis.emitted,
    delivered: kpis.stored,
    evicted,
    pending,
    duplicates: kpis.duplicates,
    inDoubtDoubles: kpis.inDoubtDoubles,
    lost: kpis.lost,
    reordered: kpis.reordered,
    longestGapMs: round(worst.gapMs),
    readingPeriodMs: worst.periodMs,
    verdict: reasons.length === 0 ? 'pass' : 'fail',
    reasons,
  };
}

function spanOf({ event, endedMs }: ObservedHandover): HandoverSpan {
  return {
    source: event.source === undefined ? undefined : cseId(event.source),
    target: cseId(event.target),
    startedMs: millis(endedMs - event.elapsedMs),
    endedMs,
  };
}

/** The readings among what the CSEs hold: instances in the containers of a stream under the gateway's AE. */
function heldInstances(record: DriveRecord): HeldInstance[] {
  const instances: HeldInstance[] = [];
  const streamOf = new Map<string, StreamName>();
  for (const name of Object.keys(record.streams)) {
    const stream = streamName(name);
    streamOf.set(containerName(stream, 'live'), stream).set(containerName(stream, 'backlog'), stream);
  }
  for (const { cse, path, type, labels, arrivalMs, content } of record.evidence.held) {
    const [base, device, container = '', name] = path.split('/');
    const stream = streamOf.get(container);
    const isReading =
      type === ResourceType.contentInstance &&
      base === `cse-${cse}` &&
      device === record.device &&
      name !== undefined;
    if (!isReading || stream === undefined) continue;
    const common = { cseId: cseId(`/id-${cse}`), stream, container, recordName: name, labels };
    for (const { producerSeq, value } of readingsIn(name, content)) {
      instances.push({ ...common, producerSeq, arrivalMs: millis(arrivalMs), value });
    }
  }
  return instances;
}

/** The readings of an instance, one or a batch; what is none of ours is one that was never emitted. */
function readingsIn(name: string, content: unknown): { producerSeq: number; value: unknown }[] {
  try {
    return readingsOf(name, content).map(({ producerSeq = Number.NaN, value }) => ({ producerSeq, value }));
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    return [{ producerSeq: Number.NaN, value: content }];
  }
}

/** Where the bundle is at the end: whole at the CSE of the newest claim, in use nowhere else (I4, I5). */
function splitFaults(record: DriveRecord): string[] {
  const { held } = record.evidence;
  const claims = held
    .filter(({ cse, path }) => cse === 'in' && /\/serving\/e\d+$/u.test(path))
    .map(({ content }) => decodeServingEntry(content))
    .sort((a, b) => b.epoch - a.epoch);
  const [newest] = claims;
  if (newest === undefined) return ['no CSE was ever claimed'];
  const faults: string[] = [];
  const aes = held.filter(
    ({ type, path }) => type === ResourceType.ae && path.split('/')[1] === record.device,
  );
  for (const ae of aes) {
    const state = ae.labels.find((label) => label.startsWith('baton:state='))?.slice('baton:state='.length);
    const isServing = newest.cse.cseId === `/id-${ae.cse}`;
    if (isServing && state !== 'serving')
      faults.push(`the serving CSE ${ae.cse} holds the AE as ${state ?? 'unlabelled'}`);
    if (!isServing && state !== 'moved')
      faults.push(`${ae.cse} does not serve but holds the AE as ${state ?? 'unlabelled'}`);
  }
  const serving = newest.cse.cseId.slice('/id-'.length);
  const wanted = [
    '',
    '/acp',
    `/${commandContainer}`,
    ...Object.keys(record.streams).map((stream) => `/${stream}`),
  ];
  for (const suffix of wanted) {
    if (!isHeld(held, serving, `cse-${serving}/${record.device}${suffix}`)) {
      faults.push(`the serving CSE ${serving} lacks ${record.device}${suffix}`);
    }
  }
  return faults;
}

function isHeld(held: readonly HeldResource[], cse: string, path: string): boolean {
  return held.some((resource) => resource.cse === cse && resource.path === path);
}

function round(ms: number | undefined): number {
  return Math.round((ms ?? 0) * 10) / 10;
}
