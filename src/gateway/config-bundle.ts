import * as v from 'valibot';
import { millis } from '../base/units.ts';
import type { RecentPolicy } from '../handover/bundle-manifest.ts';
import type { BundleAeConfig, BundleConfig } from './config.ts';
import { choice, flag, name, note, path, text, whole } from './config-keys.ts';

/**
 * The keys of `bundle`: the AEs that live at the serving CSE beside the gateway's own, and what is to be below them. Each list
 * holds one kind of resource; a `path` says where it is below its AE, so that nesting needs no nested keys.
 */

type Key<Out> = v.GenericSchema<unknown, Out>;

/** AEs of a bundle at most, the gateway's own among them. */
const aesMax = 40;
const resourcesMax = 64;

const unitMs = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** How many instances of one container are copied at most; policies ask for no more. */
export const recentInstancesMax = 1000;

/** What of a container's instances is copied to the next CSE. */
export const recent: Key<RecentPolicy | undefined> = v.pipe(
  v.string(),
  v.check((value) => value === 'none' || parseRecent(value) !== undefined),
  note<string>({
    expected: `none, last N (1 to ${recentInstancesMax}) or since DURATION (such as 90s, 10m, 2h, 1d; at most 7d)`,
    meaning:
      'Newest instances that are copied to the next CSE after a move, with their original times; those of a stream go to STREAM.recent.',
    example: 'last 10',
  }),
  v.transform((value) => parseRecent(value)),
);

function parseRecent(value: string): RecentPolicy | undefined {
  const last = /^last ([1-9]\d{0,3})$/u.exec(value)?.[1];
  if (last !== undefined) {
    return Number(last) <= recentInstancesMax ? { kind: 'last', count: Number(last) } : undefined;
  }
  const [, count = '', unit = 's'] = /^since ([1-9]\d{0,5})([smhd])$/u.exec(value) ?? [];
  const spanMs = Number(count) * unitMs[unit as keyof typeof unitMs];
  return spanMs > 0 && spanMs <= 7 * unitMs.d ? { kind: 'since', spanMs: millis(spanMs) } : undefined;
}

const texts = (
  item: Key<string>,
  max: number,
  expected: string,
  example: string,
  meaning: string,
): Key<string[]> => v.pipe(v.array(item), v.maxLength(max), note({ expected, meaning, example }));

const places = (example: string, meaning: string): Key<string> =>
  text(
    /^[A-Za-z0-9._-]{1,64}(?:\/[A-Za-z0-9._-]{1,64}){0,7}$/u,
    'resource names of letters, digits, dots, hyphens or underscores, with / between a resource and its parent',
    example,
    meaning,
  );

const labels = v.exactOptional(
  texts(
    text(/^[^\p{C}\s+=%]{1,128}$/u, 'a label without blanks and + = %', 'room:12', 'A label.'),
    32,
    'a list of at most 32 labels',
    '[room:12]',
    'Labels of the resource.',
  ),
);

const policy = v.exactOptional(
  name('viewers', 'Name of the policy of this AE that governs the resource; that of the AE when absent.'),
);

const originator = text(
  /^[^\p{C}\s]{1,255}$/u,
  'an originator, such as /id-in/Cviewer, /*/Sapp or all',
  '/id-in/Cviewer',
  'An originator (TS-0001 9.6.2.1).',
);

const operations = ['create', 'retrieve', 'update', 'delete', 'notify', 'discovery'] as const;

const rule = v.strictObject({
  originators: v.pipe(
    v.array(originator),
    v.minLength(1),
    v.maxLength(64),
    note({
      expected: 'a list of 1 to 64 originators',
      meaning:
        'Who is allowed; bare stems are AEs of the CSE at which the bundle is, so others are better written whole.',
      example: '[/id-in/Cviewer]',
    }),
  ),
  operations: v.pipe(
    v.array(choice(operations, 'An operation.')),
    v.minLength(1),
    note({
      expected: `a list of ${operations.join(', ')}`,
      meaning: 'What they may do.',
      example: '[retrieve, discovery]',
    }),
  ),
});

const rules = (meaning: string): Key<v.InferOutput<typeof rule>[]> =>
  v.pipe(
    v.array(rule),
    v.maxLength(32),
    note({ expected: 'a list of at most 32 rules', meaning, example: '- originators: [/id-in/Cviewer]' }),
  );

const several = <Out>(item: Key<Out>, what: string, meaning: string, example: string): Key<Out[]> =>
  v.pipe(
    v.array(item),
    v.maxLength(resourcesMax),
    note({ expected: `a list of at most ${resourcesMax} ${what}`, meaning, example }),
  );

const limit = (max: number, example: number, unit: string, meaning: string): Key<number> =>
  whole({ meaning, min: 1, max, example, unit });

const capacity = {
  maxNrOfInstances: v.exactOptional(limit(1_000_000, 100, '', 'Instances that it keeps at most.')),
  maxByteSize: v.exactOptional(
    limit(4_000_000_000, 65_536, 'bytes', 'Octets of content that it keeps at most.'),
  ),
  maxInstanceAge: v.exactOptional(limit(31_622_400, 86_400, 's', 'Age at which an instance is dropped.')),
};

const announce = flag(false, 'Whether it is announced with its AE, wherever announceTo says.');

const container = v.strictObject({
  path: places('state', 'Where the container is below its AE: state, or state/raw below it.'),
  ...capacity,
  recent: v.exactOptional(recent),
  announce,
  labels,
  policy,
});

const scalars = v.record(v.string(), v.union([v.string(), v.number(), v.boolean(), v.array(v.unknown())]));

const flexContainer = v.strictObject({
  path: places('battery', 'Where the flexContainer is below its AE.'),
  root: text(
    /^[A-Za-z][A-Za-z0-9]{0,31}:[A-Za-z][A-Za-z0-9]{0,63}$/u,
    'a prefix and a name, as PREFIX:NAME',
    'cod:battery',
    'Root element of its representation.',
  ),
  containerDefinition: text(
    /^[^\p{C}\s]{1,256}$/u,
    'an identifier without blanks',
    'org.onem2m.common.moduleclass.battery',
    'Definition that it follows (TS-0001 9.6.35).',
  ),
  attributes: v.pipe(
    scalars,
    note({
      expected: 'custom attributes by their short names, with numbers, texts, truth values or lists',
      meaning: 'Custom attributes as they are at first; what they have become is taken along in a move.',
      example: '{ lvl: 100 }',
    }),
  ),
  announce,
  labels,
  policy,
});

const timeSeries = v.strictObject({
  path: places('load', 'Where the time series is below its AE.'),
  ...capacity,
  periodicInterval: v.exactOptional(limit(86_400_000, 1000, 'ms', 'Time from one instance to the next.')),
  missingDataDetect: v.exactOptional(
    v.pipe(
      v.boolean(),
      note<boolean>({
        expected: 'true or false',
        meaning: 'Whether the CSE watches for instances that do not come; needs periodicInterval.',
        example: 'true',
      }),
    ),
  ),
  missingDataDetectTimer: v.exactOptional(
    limit(86_400_000, 500, 'ms', 'How late an instance may be before it counts as missing.'),
  ),
  recent: v.exactOptional(recent),
  announce,
  labels,
  policy,
});

const events = ['update', 'delete', 'createChild', 'deleteChild'] as const;

const subscription = v.strictObject({
  path: places(
    'state/watch',
    'Where the subscription is below its AE; what is before the last / is watched.',
  ),
  notify: v.pipe(
    v.array(text(/^[^\p{C}\s]{1,512}$/u, 'an address', '/id-in/Cviewer', 'An address.')),
    v.minLength(1),
    v.maxLength(16),
    note({
      expected: 'a list of 1 to 16 addresses',
      meaning: 'Who is notified: AE-IDs or points of access; the AE itself by its AE-ID.',
      example: '[/id-in/Cviewer]',
    }),
  ),
  events: v.exactOptional(
    v.pipe(
      v.array(choice(events, 'An event.')),
      v.minLength(1),
      note({
        expected: `a list of ${events.join(', ')}`,
        meaning: 'What is told; new contentInstances when absent.',
        example: '[update]',
      }),
    ),
  ),
});

const group = v.strictObject({
  path: places('all', 'Where the group is below its AE.'),
  members: v.pipe(
    v.array(text(/^[^\p{C}\s]{1,512}$/u, 'an address', './gw1/temperature', 'An address.')),
    v.minLength(1),
    v.maxLength(256),
    note({
      expected: 'a list of 1 to 256 addresses',
      meaning:
        'Members; an address that begins with ./ is at the CSE where the bundle is, whichever that is.',
      example: '[./gw1/temperature]',
    }),
  ),
  maxNrOfMembers: v.optional(limit(1000, 256, '', 'Members that it may have.'), 256),
  policy,
});

const policies = v.strictObject({
  name: name('viewers', 'Name of the policy, unique in its AE.'),
  allow: rules('Who may do what beside the AE itself.'),
});

const ae = v.strictObject({
  name: name(
    'gw1-weather',
    'Resource name of the AE, the same at every CSE; the name of the gateway adds to its own AE.',
  ),
  aeId: v.exactOptional(
    text(
      /^[CS][A-Za-z0-9._-]{1,63}$/u,
      'an AE-ID stem: S or C, then letters, digits, dots, hyphens or underscores',
      'Sgw1-weather',
      'AE-ID stem, the same at every CSE; S followed by the name when absent.',
    ),
  ),
  appId: v.exactOptional(
    text(
      /^[NR][^\p{C}\s]{1,127}$/u,
      'an App-ID: N or R, then more',
      'Nweather',
      'App-ID; Nbaton when absent.',
    ),
  ),
  appName: v.exactOptional(
    text(/^[^\p{C}]{1,64}$/u, '1 to 64 characters', 'weather', 'Name of the application.'),
  ),
  priority: v.optional(
    whole({
      meaning: 'Requests for an AE of higher priority go first in a move.',
      min: 1,
      max: 10,
      example: 5,
      unit: '',
    }),
    5,
  ),
  dependsOn: v.exactOptional(
    texts(
      name('gw1', 'Name of an AE.'),
      aesMax,
      `a list of at most ${aesMax} names`,
      '[gw1]',
      'AEs that must be registered before this one.',
    ),
  ),
  announceTo: v.exactOptional(
    texts(
      text(/^\/[A-Za-z0-9._~-]{1,64}$/u, 'a CSE-ID', '/id-in', 'A CSE-ID.'),
      8,
      'a list of at most 8 CSE-IDs',
      '[/id-in]',
      'CSEs to which the AE is announced while it serves.',
    ),
  ),
  labels,
  allow: v.exactOptional(
    rules('Who may do what below the AE, beside the AE itself and what the IN-CSE may.'),
  ),
  policies: v.exactOptional(
    several(policies, 'policies', 'Further policies, which single resources can name.', '- name: viewers'),
  ),
  containers: v.exactOptional(
    several(container, 'containers', 'Containers beside those of the streams.', '- path: state'),
  ),
  flexContainers: v.exactOptional(
    several(flexContainer, 'flexContainers', 'flexContainers.', '- path: battery'),
  ),
  timeSeries: v.exactOptional(several(timeSeries, 'time series', 'Time series.', '- path: load')),
  subscriptions: v.exactOptional(
    several(subscription, 'subscriptions', 'Subscriptions.', '- path: state/watch'),
  ),
  groups: v.exactOptional(several(group, 'groups', 'Groups.', '- path: all')),
});

const aes: Key<BundleAeConfig[]> = v.pipe(
  v.array(ae),
  v.minLength(1),
  v.maxLength(aesMax),
  note({
    expected: `a list of 1 to ${aesMax} AEs`,
    meaning: 'AEs that move with the gateway, all together or not at all.',
    example: '- name: gw1-weather',
  }),
);

/** The table of a separate file. */
export const bundleFileKeys: v.GenericSchema<unknown, { aes: BundleAeConfig[] }> = v.strictObject({ aes });

/** `bundle` in the configuration. */
export const bundleKeys: v.GenericSchema<unknown, BundleConfig> = v.strictObject({
  file: v.exactOptional(
    path('bundle.yaml', 'File that holds the list aes instead; relative to the configuration file.'),
  ),
  aes: v.exactOptional(aes),
});
