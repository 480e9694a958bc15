import * as v from 'valibot';
import { bytes, cseId, millis, streamName } from '../base/units.ts';
import { cardDefaults } from '../buffer/card-life.ts';
import { filterCoefficients } from '../decision/l3-filter.ts';
import { timesToTriggerMs } from '../decision/events.ts';
import { batchRecordsMax } from '../uplink/batch.ts';
import { mqttKeys, pointOfAccess, securityKeys } from './config-brokers.ts';
import { bundleFileKeys, bundleKeys, recent } from './config-bundle.ts';
import type { BundleAeConfig, GatewayConfig } from './config.ts';
import {
  among,
  choice,
  duration,
  filled,
  flag,
  halfDb,
  name,
  note,
  octets,
  path,
  text,
  whole,
} from './config-keys.ts';
import { standbyKeys } from './config-standby.ts';
import { describeSchema } from './schema-tree.ts';
import type { SchemaNode } from './schema-tree.ts';

/**
 * The configuration as one table: shape, limits, defaults, and for each key what `baton config explain` and the error
 * messages say of it. `notes` reads the table back.
 */

const baudRate = v.optional(
  whole({ meaning: 'Speed of the serial line.', min: 300, max: 4_000_000, example: 115_200, unit: 'Bd' }),
  115_200,
);

const inCse = v.strictObject({
  pointOfAccess: pointOfAccess(
    ['coap', 'coaps', 'mqtt', 'mqtts'],
    'coap://192.0.2.1:5683',
    'Where the IN-CSE answers; a literal address does not depend on DNS.',
  ),
  cseId: v.pipe(
    text(
      /^\/[A-Za-z0-9._~-]{1,64}$/u,
      'a CSE-ID such as /id-in',
      '/id-in',
      'CSE-ID of the IN-CSE (TS-0001 7.2).',
    ),
    v.transform(cseId),
  ),
  cseBaseName: text(
    /^[A-Za-z0-9._~-]{1,64}$/u,
    'a resource name such as cse-in',
    'cse-in',
    'Resource name of its CSEBase.',
  ),
});

const modem = v.strictObject({
  path: path('/dev/serial/by-id/usb-modem-if02', 'Serial line on which the modem takes AT commands.'),
  baudRate,
  periodMs: duration(200, 60_000, 500, 'Time between two readings of the radio.'),
});

const link = v.strictObject({
  name: name('lte0', 'Name of the access link, unique.'),
  localAddress: v.pipe(
    v.string(),
    v.ip(),
    note<string>({
      expected: 'a literal IP address of this machine',
      meaning: 'Address of the link: sockets are bound to it, so that what is sent leaves by this link.',
      example: '192.0.2.10',
    }),
  ),
  port: v.exactOptional(
    whole({
      meaning: 'UDP port of the link; any free one unless a port forwarding needs a fixed one.',
      min: 1,
      max: 65_535,
      example: 5683,
      unit: 'UDP port',
    }),
  ),
  securePort: v.exactOptional(
    whole({
      meaning: 'UDP port of the link for CSEs at coaps points of access; as port.',
      min: 1,
      max: 65_535,
      example: 5684,
      unit: 'UDP port',
    }),
  ),
  advertise: v.exactOptional(
    pointOfAccess(
      ['coap'],
      'coap://203.0.113.7:5683',
      'Point of access that CSEs are told, where a port forwarding makes it differ from the local one.',
    ),
  ),
  modem: v.exactOptional(modem),
});

const batch = v.strictObject({
  max: v.optional(
    whole({
      meaning:
        'Readings of the stream that share one contentInstance (SenML-CBOR) at most; without batch each has its own.',
      min: 2,
      max: batchRecordsMax,
      example: 16,
      unit: '',
    }),
    16,
  ),
  spanMs: duration(
    10,
    60_000,
    1000,
    'Longest time between the first and the last reading of a batch: by so much the first one arrives later.',
  ),
});

const ae = (meaning: string): v.GenericSchema<string, string> => name('gw1-weather', meaning);

const stream = v.strictObject({
  name: v.pipe(
    text(
      /^[a-z][a-z0-9-]{0,31}$/u,
      'a lower-case letter followed by at most 31 lower-case letters, digits or hyphens',
      'temperature',
      'Name of the stream, unique in the gateway; it names the container at the CSE.',
    ),
    v.transform(streamName),
  ),
  class: v.optional(
    choice(
      ['A', 'B', 'C'],
      'When a reading is flushed: A at once, B together with others, C only once the link fails; power loss takes it.',
    ),
    'B',
  ),
  lingerMs: v.exactOptional(
    v.pipe(
      whole({
        meaning: 'Longest wait for company before a class B reading is flushed.',
        min: 0,
        max: 1000,
        example: 100,
        unit: 'ms',
      }),
      v.transform(millis),
    ),
  ),
  priority: v.optional(
    whole({
      meaning: 'Higher is kept longer when the buffer is full.',
      min: 1,
      max: 10,
      example: 5,
      unit: '',
    }),
    5,
  ),
  order: v.optional(
    choice(
      ['inOrder', 'liveFirst'],
      'After an outage: inOrder the oldest reading first; liveFirst new ones first, older ones beside, to NAME.history.',
    ),
    'inOrder',
  ),
  ttlMs: v.exactOptional(
    v.pipe(
      whole({
        meaning:
          'Age at which a reading that is not delivered is given up; time without power counts as far as clocks prove it.',
        min: 1000,
        max: 31_622_400_000,
        example: 3_600_000,
        unit: 'ms',
      }),
      v.transform(millis),
    ),
  ),
  unit: v.exactOptional(
    text(
      /^[^\p{C}]{1,32}$/u,
      '1 to 32 printable characters',
      'Cel',
      'Unit of the values, passed on to the CSE.',
    ),
  ),
  batch: v.exactOptional(batch),
  ae: v.exactOptional(
    ae('AE of the bundle that the container of the stream is under; that of the sensor when absent.'),
  ),
  recent: v.exactOptional(recent),
});

const serialLine = v.strictObject({
  path: path('/dev/serial/by-id/usb-sensor', 'Serial line of the sensor.'),
  baudRate,
  format: choice(['json', 'csv'], 'Form of a line: {"s":stream,"n":count,"v":value}*CRC or stream,value.'),
  acknowledge: flag(
    false,
    'Whether the sensor repeats a line until it is acknowledged as stored; json only.',
  ),
});

const sensor = v.strictObject({
  name: name('weather', 'Name of the sensor, unique.'),
  ae: v.exactOptional(ae("AE of the bundle that the streams are under; the gateway's own when absent.")),
  serialLine,
  streams: v.pipe(
    filled(stream, 64),
    note({
      expected: 'a list of 1 to 64 streams',
      meaning: 'Streams that are taken from the sensor.',
      example: '- name: temperature',
    }),
  ),
});

const a3 = v.strictObject({
  offsetDb: halfDb(-15, 15, 3, 'Event A3: how much better than the serving CSE a candidate must be.'),
  hysteresisDb: halfDb(0, 15, 1, 'Added on the way in, subtracted on the way out.'),
  timeToTriggerMs: v.pipe(
    among(timesToTriggerMs, 'ms', 1024, 'How long the condition must hold (3GPP TS 38.331 6.3.2).'),
    v.transform(millis),
  ),
});

const decision = v.strictObject({
  a3: v.optional(a3, {}),
  filterCoefficient: among(
    filterCoefficients,
    '',
    8,
    'Layer 3 filter coefficient k (3GPP TS 38.331 5.5.3.2); 0 switches the filter off.',
  ),
  minimumStayMs: duration(
    0,
    3_600_000,
    5000,
    'No handover by radio level sooner than this after the last one.',
  ),
  pingPongMs: duration(0, 3_600_000, 15_000, 'For so long the way back to a CSE just left is made harder.'),
  sampleAgeMsMax: duration(500, 60_000, 5000, 'A radio level that is older does not count.'),
  penaltyMs: duration(
    0,
    3_600_000,
    10_000,
    'For so long a CSE is avoided after a first failed handover to it.',
  ),
  candidatesMax: v.optional(
    whole({ meaning: 'Ranked candidates in one decision.', min: 1, max: 8, example: 3, unit: '' }),
    3,
  ),
  discoveryPeriodMs: duration(
    1000,
    3_600_000,
    60_000,
    'Time between two searches for MN-CSEs at the IN-CSE.',
  ),
});

const backlogPercent = whole({
  meaning: 'Share of the deliveries that the backlog of a liveFirst stream has while new readings wait, too.',
  ...{ min: 1, max: 90, example: 50, unit: '%' },
});

const requestsMax = whole({
  meaning:
    'Requests in flight to one CSE at most; below it their number follows what the CSE and the way to it carry.',
  ...{ min: 1, max: 64, example: 16, unit: '' },
});

const mebibyte = 1024 * 1024;

/** What the projected life of the card is computed from (card-life.ts). */
const card = v.strictObject({
  capacityBytes: v.exactOptional(
    v.pipe(
      whole({
        meaning: 'Capacity of the card; that of the disk where it can be told.',
        min: 1_000_000,
        max: 100_000_000_000_000,
        example: 16_000_000_000,
        unit: 'bytes',
      }),
      v.transform(bytes),
    ),
  ),
  enduranceCycles: v.optional(
    whole({
      meaning:
        'Times that each cell of the card can be programmed: SLC 50000, pSLC 20000, MLC 3000, TLC 3000 and down to 300, QLC 100.',
      min: 1,
      max: 1_000_000,
      example: cardDefaults.enduranceCycles,
      unit: '',
    }),
    cardDefaults.enduranceCycles,
  ),
  nandFactor: v.optional(
    whole({
      meaning: 'Octets that the card programs for each octet written to it.',
      min: 1,
      max: 100,
      example: cardDefaults.nandFactor,
      unit: '',
    }),
    cardDefaults.nandFactor,
  ),
});

const schema = v.strictObject({
  device: name('gw1', 'Name of the gateway; its AE-ID stem is S followed by it.'),
  dataDirectory: path('data', 'Where everything durable lives; relative to the configuration file.'),
  inCse,
  links: v.pipe(
    filled(link, 8),
    note({ expected: 'a list of 1 to 8 links', meaning: 'Access links.', example: '- name: lte0' }),
  ),
  mqtt: v.optional(mqttKeys, {}),
  security: v.optional(securityKeys, {}),
  sensors: v.pipe(
    filled(sensor, 32),
    note({ expected: 'a list of 1 to 32 sensors', meaning: 'Attached sensors.', example: '- name: weather' }),
  ),
  bundle: v.optional(bundleKeys, {}),
  buffer: v.optional(
    v.strictObject({
      quotaBytes: octets(65_536, 65_536 * mebibyte, 512 * mebibyte, 'Flash that stored readings may take.'),
      segmentBytes: octets(
        16_384,
        64 * mebibyte,
        4 * mebibyte,
        'Size of a slot, the unit in which the buffer gives space up; counts when the buffer is made.',
      ),
      reserveBytes: octets(
        0,
        32_768 * mebibyte,
        0,
        'Part of the quota that only streams of priority 10 may take, which command results have.',
      ),
      fullAlarmHours: v.optional(
        whole({
          meaning:
            'An alarm tells when nothing is delivered and the buffer will be full sooner than this; 0 for none.',
          min: 0,
          max: 8760,
          example: 24,
          unit: 'hours',
        }),
        24,
      ),
      card: v.optional(card, {}),
    }),
    {},
  ),
  uplink: v.optional(
    v.strictObject({
      deadlineMs: duration(100, 60_000, 2000, 'How long an answer to a delivery is waited for.'),
      retryMsMin: duration(
        10,
        60_000,
        200,
        'First pause after a failed delivery; it doubles from try to try.',
      ),
      retryMsMax: duration(10, 600_000, 10_000, 'Longest pause between tries.'),
      backlogPercent: v.optional(backlogPercent, 50),
      requestsMax: v.optional(requestsMax, 16),
    }),
    {},
  ),
  decision: v.optional(decision, {}),
  handover: v.optional(
    v.strictObject({
      phaseDeadlineMs: duration(100, 60_000, 3000, 'Longest duration of a phase of a handover.'),
      switchDeadlineMs: duration(
        10,
        60_000,
        500,
        'Longest wait for a quiet moment of a stream before it is moved.',
      ),
      graceMs: duration(0, 86_400_000, 3_600_000, 'How long the resources at the source are kept.'),
      claim: v.optional(
        choice(
          ['required', 'deferred'],
          'Whether a switch waits for the claim in the serving record, or goes on provisionally while the IN-CSE is out of reach.',
        ),
        'required',
      ),
      recordCheckMs: duration(
        30_000,
        86_400_000,
        600_000,
        'Time between two looks at the serving record, which show another gateway with this identity.',
      ),
      standby: v.optional(standbyKeys, {}),
    }),
    {},
  ),
  downlink: v.optional(
    v.strictObject({
      pollMs: v.exactOptional(
        v.pipe(
          whole({
            meaning:
              'Only for CSEs that do not notify: how often commands are fetched from the serving one; a target is proved by reading back what was written.',
            min: 200,
            max: 3_600_000,
            example: 2000,
            unit: 'ms',
          }),
          v.transform(millis),
        ),
      ),
    }),
    {},
  ),
  log: v.optional(
    v.strictObject({
      level: v.optional(
        choice(['error', 'warn', 'info', 'debug'], 'Least weight of what is logged.'),
        'info',
      ),
    }),
    {},
  ),
});

/** What does not fit the schema. */
export interface SchemaIssue {
  readonly path: readonly (string | number)[];
  /** Whether the key is absent. */
  readonly isMissing: boolean;
}

/** What a table made of a value. */
export interface ParsedSchema<T> {
  readonly value?: T;
  readonly issues: readonly SchemaIssue[];
}

/** Checks a value against the schema; `dataDirectory` is as written in it. */
export function parseSchema(value: unknown): ParsedSchema<GatewayConfig> {
  return parseBy(schema, value);
}

/** Checks the value of a file that holds the AEs of the bundle. */
export function parseBundleSchema(value: unknown): ParsedSchema<{ aes: readonly BundleAeConfig[] }> {
  return parseBy(bundleFileKeys, value);
}

function parseBy<T>(table: v.GenericSchema<unknown, T>, value: unknown): ParsedSchema<T> {
  const result = v.safeParse(table, value);
  if (result.success) return { value: result.output, issues: [] };
  const issues = result.issues.map((issue) => ({
    path: (issue.path ?? []).map(({ key }) => (typeof key === 'number' ? key : String(key))),
    isMissing: issue.input === undefined,
  }));
  return { issues };
}

/** The whole schema as a tree. */
export const schemaTree: SchemaNode = describeSchema(schema);

/** The table of a file that holds the AEs of the bundle. */
export const bundleTree: SchemaNode = describeSchema(bundleFileKeys);
