import * as v from 'valibot';
import { DecodeError } from '../base/errors.ts';
import { printable } from '../base/text.ts';
import type { GatewayEvent, GatewayStatus, LinkWord } from './status.ts';

/** The status in a message of a gateway; throws `DecodeError` naming the field for anything else. */
export function parseStatus(value: unknown): GatewayStatus {
  return parse(statusSchema, value, 'status');
}

/** The event in a message of a gateway; throws `DecodeError` naming the field for anything else. */
export function parseEvent(value: unknown): GatewayEvent {
  return parse(eventSchema, value, 'event');
}

function parse<T>(schema: v.GenericSchema<unknown, T>, value: unknown, what: string): T {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  const key = [what, ...(issue.path ?? []).map((item) => String(item.key))].join('.');
  throw new DecodeError(
    `the gateway sent ${printable(key)} ${printable(issue.received, 40)} where ${printable(issue.expected ?? 'another value', 80)} is expected; ` +
      'use the same version of baton on both sides',
  );
}

const count = v.pipe(v.number(), v.finite());
const word = v.string();
const some = <S extends v.GenericSchema>(schema: S): v.ExactOptionalSchema<S, undefined> =>
  v.exactOptional(schema);
const linkWords: readonly LinkWord[] = ['up', 'down', 'goingDown', 'detected', 'parametersChange'];
const linkWord = v.picklist(linkWords);

const cell = v.object({
  serving: v.boolean(),
  rat: word,
  pci: some(count),
  arfcn: some(count),
  rsrpDbm: some(count),
  rsrqDb: some(count),
  sinrDb: some(count),
});
const cells = v.array(cell);
const phases = v.array(v.object({ phase: word, ms: count }));
const handover = v.object({
  source: some(word),
  target: word,
  trigger: word,
  epoch: count,
  state: word,
  elapsedMs: count,
  phases,
});
const link = v.object({
  name: word,
  state: linkWord,
  localAddress: word,
  registration: some(word),
  operator: some(word),
  modem: some(v.object({ state: word, reason: some(word) })),
  cells,
  sampleAgeMs: some(count),
});
const buffer = v.object({
  stored: count,
  delivered: count,
  evicted: count,
  corrupt: count,
  pending: count,
  bytes: count,
  capacityBytes: count,
  oldestAgeMs: some(count),
  hoursUntilFull: some(count),
  outageHours: some(count),
});
const diskTypes = ['emmc', 'sd', 'nvme', 'other', 'unknown'] as const;
const flash = v.object({
  payloadBytes: count,
  deviceBytes: count,
  writeAmplification: some(count),
  commits: count,
  flushes: count,
  slotsAside: count,
  bytesPerDay: some(count),
  bytesPerDayOverall: some(count),
  disk: v.object({
    type: v.picklist(diskTypes),
    reason: some(word),
    name: some(word),
    model: some(word),
    sizeBytes: some(count),
    writtenSinceBootBytes: some(count),
    writtenBytes: some(count),
    sinceUnixMs: some(count),
    bytesPerDay: some(count),
    bytesPerDayOverall: some(count),
    lifeTime: some(v.object({ typeA: some(count), typeB: some(count) })),
    preEol: some(v.picklist(['normal', 'warning', 'urgent'])),
  }),
  card: some(
    v.object({
      capacityBytes: count,
      enduranceCycles: count,
      nandFactor: count,
      basis: v.picklist(['disk', 'buffer']),
      years: some(count),
      yearsOverall: some(count),
      wornShare: some(count),
    }),
  ),
});

const statusSchema: v.GenericSchema<unknown, GatewayStatus> = v.object({
  device: word,
  pid: count,
  uptimeMs: count,
  links: v.array(link),
  levels: v.array(v.object({ cseId: word, rsrpDbm: some(count), note: some(word) })),
  serving: some(v.object({ cseId: word, epoch: count, pointOfAccess: word, sinceMs: count })),
  handover: some(handover),
  standby: some(
    v.object({
      state: v.picklist(['none', 'preparing', 'warm', 'failed', 'putOff']),
      cseId: some(word),
      provedAgeMs: some(count),
      reason: some(word),
      requestsLastHour: count,
      bytesLastHour: count,
    }),
  ),
  handovers: v.object({ completed: count, rolledBack: count, failed: count }),
  buffer,
  flash: some(flash),
  streams: v.array(
    v.object({ name: word, stored: count, delivered: count, pending: count, ratePerS: count }),
  ),
  sensors: v.array(
    v.object({ name: word, state: word, reason: some(word), rejected: v.record(word, count) }),
  ),
  service: v.object({ state: word, responseMs: some(count) }),
  commands: v.object({ received: count, executed: count, duplicates: count }),
  alarms: v.array(v.object({ sinceMs: count, text: word })),
});

const eventSchema: v.GenericSchema<unknown, GatewayEvent> = v.variant('kind', [
  v.object({ kind: v.literal('sample'), link: word, cells }),
  v.object({
    kind: v.literal('decision'),
    trigger: word,
    source: some(word),
    target: word,
    explanation: some(word),
  }),
  v.object({
    kind: v.literal('phase'),
    state: word,
    epoch: count,
    source: some(word),
    target: word,
    ms: count,
  }),
  v.object({
    kind: v.literal('handoverEnded'),
    outcome: v.picklist(['completed', 'rolledBack', 'failed']),
    epoch: count,
    source: some(word),
    target: word,
    trigger: word,
    elapsedMs: count,
    phases,
    uplinkInterruptionMs: some(count),
    reason: some(word),
  }),
  v.object({ kind: v.literal('eviction'), stream: word, count, firstSeq: count, lastSeq: count }),
  v.object({ kind: v.literal('damage'), file: word, text: word }),
  v.object({ kind: v.literal('linkState'), link: word, state: linkWord, reason: some(word) }),
  v.object({ kind: v.literal('alarm'), text: word, active: v.boolean() }),
  v.object({ kind: v.literal('log'), level: v.picklist(['error', 'warn', 'info', 'debug']), text: word }),
]);
