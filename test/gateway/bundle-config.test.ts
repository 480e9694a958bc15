// Proves the bundle in the configuration: every kind of resource becomes what a CSE is to hold, below the AE and the parent that
// its path names; streams lie under the AE that they or their sensor name; each thing that cannot be is told with line, key and
// the way out, in the file where it stands.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { ConfigError } from '../../src/base/errors.ts';
import { cseId, epoch, streamName } from '../../src/base/units.ts';
import { bundleOf } from '../../src/gateway/bundle-of.ts';
import { destinationAt } from '../../src/gateway/destination-at.ts';
import { explainKey } from '../../src/gateway/config-explain.ts';
import { loadConfig, parseConfig } from '../../src/gateway/load-config.ts';
import { whyNotClosed } from '../../src/handover/bundle-manifest.ts';
import type { AeManifest, ResourceManifest } from '../../src/handover/bundle-manifest.ts';
import { planRepair } from '../../src/handover/repair-plan.ts';
import { NodeFilesystem } from '../../src/host/filesystem.ts';
import { containerOf, originatorOf } from '../../src/uplink/destination.ts';

const base = `device: gw1
dataDirectory: data
inCse: {pointOfAccess: 'coap://127.0.0.1:5683', cseId: /id-in, cseBaseName: cse-in}
links:
  - {name: lte0, localAddress: 127.0.0.1}
sensors:
  - name: weather
    ae: gw1-weather
    serialLine: {path: /dev/sensor, format: json}
    streams:
      - {name: temperature, recent: last 5}
      - {name: door, ae: gw1}
`;

const aes = `  - name: gw1-weather
    aeId: Cweather
    appId: Rorg.example.weather
    appName: weather
    priority: 7
    dependsOn: [gw1]
    announceTo: [/id-in]
    labels: [room:12]
    allow:
      - {originators: [/id-in/Cviewer], operations: [retrieve, discovery]}
    policies:
      - {name: viewers, allow: [{originators: [all], operations: [retrieve]}]}
    containers:
      - {path: state, maxNrOfInstances: 100, recent: since 10m, announce: true, labels: [x], policy: viewers}
      - {path: state/raw, maxByteSize: 1000, maxInstanceAge: 60}
    flexContainers:
      - {path: battery, root: 'cod:battery', containerDefinition: org.onem2m.battery, attributes: {lvl: 100, low: false}}
    timeSeries:
      - {path: load, periodicInterval: 1000, maxNrOfInstances: 5, recent: none}
    subscriptions:
      - {path: state/watch, notify: [/id-in/Cviewer]}
      - {path: load/watch, notify: [/id-in/Cviewer]}
      - {path: temperature/watch, notify: [Cweather], events: [update, deleteChild]}
    groups:
      - {path: all, members: [./gw1/door, ./gw1-weather/state]}
  - name: gw1
    labels: [home]
    containers: [{path: notes}]
`;

const whole = `${base}bundle:\n  aes:\n${aes.replace(/^/gmu, '  ')}`;

const containers = new Map([
  [streamName('temperature'), ['temperature', 'temperature.history']],
  [streamName('door'), ['door']],
  [streamName('results'), ['results']],
]);

function names(resources: readonly ResourceManifest[], parent = ''): string[] {
  return resources.flatMap(({ name, children = [] }) => [
    `${parent}${name}`,
    ...names(children, `${parent}${name}/`),
  ]);
}

function at(ae: AeManifest | undefined, path: string): ResourceManifest | undefined {
  let level = ae?.resources;
  let found: ResourceManifest | undefined;
  for (const step of path.split('/')) {
    found = level?.find(({ name }) => name === step);
    level = found?.children;
  }
  return found;
}

void t.test('what is declared is what a CSE is to hold', (t) => {
  const config = parseConfig(whole, 'gw.yaml');
  const bundle = bundleOf(config, containers);
  const [own, weather] = bundle.aes;
  const declared = names(own.resources).filter((name) => !name.startsWith('intents'));
  t.same(declared.sort(), ['acp', 'cmd', 'cmd/cmd-sub', 'door', 'notes', 'results']);
  t.match(own, { aeId: 'Sgw1', labels: ['home'], priority: 10 });
  t.same(names(weather?.resources ?? []).sort(), [
    'acp',
    'all',
    'battery',
    'load',
    'load/watch',
    'state',
    'state/raw',
    'state/watch',
    'temperature',
    'temperature.history',
    'temperature.recent',
    'temperature/watch',
    'viewers',
  ]);
  t.match(weather, {
    aeId: 'Cweather',
    appId: 'Rorg.example.weather',
    priority: 7,
    dependsOn: ['gw1'],
    announceTo: ['/id-in'],
    labels: ['room:12'],
  });
  t.match(at(weather, 'state'), {
    isAnnounced: true,
    recent: { kind: 'since', spanMs: 600_000 },
    attributes: { maxNrOfInstances: 100, labels: ['x'], accessControlPolicyIds: ['./gw1-weather/viewers'] },
  });
  t.same(at(weather, 'load')?.recent, undefined);
  t.match(at(weather, 'temperature')?.recent, { kind: 'last', count: 5 });
  t.match(at(weather, 'temperature.recent')?.attributes, { maxNrOfInstances: 5 });
  t.match(at(weather, 'state/watch')?.attributes, { eventNotificationCriteria: { childResourceType: [4] } });
  t.match(at(weather, 'load/watch')?.attributes, { eventNotificationCriteria: { childResourceType: [30] } });
  t.match(at(weather, 'temperature/watch')?.attributes, {
    eventNotificationCriteria: { notificationEventType: [1, 4] },
  });
  t.match(at(weather, 'acp')?.attributes, {
    privileges: {
      accessControlRule: [
        {},
        { accessControlOriginators: ['/id-in', '/id-in/*'] },
        { accessControlOperations: 34 },
      ],
    },
  });

  const wanted = { epoch: epoch(1), state: 'serving' } as const;
  const plan = planRepair(bundle, 'cse-x', new Map(), wanted);
  const levelOf = (name: string): number =>
    plan.findIndex((level) =>
      level.some(({ content }) =>
        Object.values(content).some((body) => (body as { resourceName?: string }).resourceName === name),
      ),
    );
  t.ok(levelOf('gw1-weather') > levelOf('gw1'), 'what depends comes later');
  t.ok(levelOf('state') > levelOf('viewers'), 'a resource comes after the policy that governs it');
  t.ok(levelOf('all') > levelOf('door'), 'and a group after its members');
  t.end();
});

void t.test('streams lie under their AE, which sends for them', (t) => {
  const config = parseConfig(whole, 'gw.yaml');
  const taken: string[] = [];
  const destination = destinationAt({
    cse: { cseId: cseId('/id-x'), cseBaseName: 'cse-x', pointOfAccess: 'coap://192.0.2.9:5683' },
    epoch: epoch(1),
    client: undefined as never,
    aeAddress: 'cse-x/gw1',
    config,
    desk: { noteWritten: (_cseId, ae, stream) => void taken.push(`${ae}/${stream}`) },
  });
  const [temperature, door] = [streamName('temperature'), streamName('door')];
  t.equal(containerOf(destination, temperature, 'backlog'), 'cse-x/gw1-weather/temperature.history');
  t.same(originatorOf(destination, temperature), { from: 'Cweather' });
  t.equal(containerOf(destination, door, 'live'), 'cse-x/gw1/door');
  t.same(originatorOf(destination, door), {});
  for (const stream of [temperature, door]) destination.onTaken?.(stream, {});
  t.same(taken, ['gw1-weather/temperature'], 'remembered where it is to be taken along');
  t.end();
});

/** The lines of the error that the configuration causes. */
function problems(text: string): string[] {
  try {
    parseConfig(text, 'gw.yaml');
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split('\n');
    throw error;
  }
}

void t.test('what cannot be is told with its line and the way out', (t) => {
  const table: [string, (text: string) => string, RegExp][] = [
    [
      'unknown AE',
      (text) => text.replace('ae: gw1-weather', 'ae: gw1-wether'),
      /gw\.yaml:8: sensors\[0\]\.ae: no AE "gw1-wether".*did you mean "gw1-weather"/u,
    ],
    [
      'circle',
      (text) => text.replace('labels: [home]', 'dependsOn: [gw1-weather]'),
      /dependsOn\[0\]: "gw1" depends on "gw1-weather" in turn; .*remove one/u,
    ],
    [
      'no such AE to depend on',
      (text) => text.replace('dependsOn: [gw1]', 'dependsOn: [gw2]'),
      /:20: bundle\.aes\[0\]\.dependsOn\[0\]: no AE "gw2"/u,
    ],
    [
      'parent',
      (text) => text.replace('path: state/raw', 'path: stat/raw'),
      /containers\[1\]\.path: nothing of this AE is at "stat", did you mean "state"/u,
    ],
    [
      'policy as a parent',
      (text) => text.replace('path: state/raw', 'path: viewers/raw'),
      /nothing of this AE is at "viewers"/u,
    ],
    [
      'twice',
      (text) => text.replace('path: load,', 'path: state,'),
      /timeSeries\[0\]\.path: "state" is taken by another resource/u,
    ],
    [
      'a stream of that name',
      (text) => text.replace('path: load,', 'path: temperature,'),
      /"temperature" is taken by the gateway itself/u,
    ],
    [
      'policy',
      (text) => text.replace('policy: viewers', 'policy: viewer'),
      /policy: no policy "viewer".*did you mean "viewers"/u,
    ],
    [
      'AE twice',
      (text) => text.replace('- name: gw1\n', '- name: gw1-weather\n'),
      /aes\[1\]\.name: "gw1-weather" is taken by another AE/u,
    ],
    [
      'AE-ID of the gateway',
      (text) => text.replace('aeId: Cweather', 'aeId: Sgw1'),
      /aes\[0\]\.aeId: "Sgw1" is taken/u,
    ],
    [
      'AE-ID of the own AE',
      (text) => text.replace('labels: [home]', 'aeId: Sother'),
      /aes\[1\]\.aeId: is that of the gateway itself/u,
    ],
    [
      'recent',
      (text) => text.replace('since 10m', 'since yesterday'),
      /recent: "since yesterday" is not none, last N/u,
    ],
    ['too many', (text) => text.replace('last 5', 'last 5000'), /recent: "last 5000" is not/u],
    [
      'operation',
      (text) => text.replace('[retrieve, discovery]', '[read]'),
      /operations\[0\]: "read" is not one of create/u,
    ],
    [
      'unknown key',
      (text) => text.replace('maxByteSize', 'maxByteSiz'),
      /unknown key, did you mean "maxByteSize"/u,
    ],
    [
      'both places',
      (text) => text.replace('bundle:\n', 'bundle:\n  file: x.yaml\n'),
      /bundle\.file: holds the list aes; give it there or here/u,
    ],
    [
      'stem',
      (text) => text.replace('aeId: Cweather', 'aeId: weather'),
      /aeId: "weather" is not an AE-ID stem/u,
    ],
  ];
  t.same(problems(whole), []);
  for (const [what, change, pattern] of table) {
    t.not(change(whole), whole, what);
    t.match(problems(change(whole)).join('\n'), pattern, what);
  }
  t.match(explainKey('bundle.aes[].containers[].recent'), /last N .*\n/u);
  t.match(explainKey('bundle.aes.priority'), /default +5/u);
  t.end();
});

void t.test('an order to move some AEs is refused, for a bundle is never split', (t) => {
  const names = ['gw1', 'gw1-weather'];
  t.equal(whyNotClosed(names, ['gw1-weather', 'gw1']), undefined);
  t.match(whyNotClosed(names, ['gw1-weather']), /gw1 would be left behind.*never split; name them too/u);
  t.match(
    whyNotClosed(names, ['gw1', 'gw1-wether']),
    /gw1-wether: not in the bundle, which is gw1, gw1-weather/u,
  );
  t.end();
});

void t.test('a file of its own', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'baton-bundle-'));
  t.teardown(() => rm(directory, { recursive: true }));
  const rewrite = (text: string): Promise<void> => writeFile(`${directory}/bundle.yaml`, text);
  await writeFile(
    `${directory}/gw.yaml`,
    `${base}bundle: {file: bundle.yaml}
`,
  );
  await rewrite(`aes:
${aes}`);
  const filesystem = new NodeFilesystem();
  const load = (): ReturnType<typeof loadConfig> => loadConfig(filesystem, `${directory}/gw.yaml`);
  const config = await load();
  t.equal(config.bundle.file, `${directory}/bundle.yaml`);
  t.same(bundleOf(config, containers), bundleOf(parseConfig(whole, 'gw.yaml'), containers), 'says the same');
  await rewrite(`aes:\n${aes.replace('dependsOn: [gw1]', 'dependsOn: [gw7]')}`);
  await t.rejects(load, { message: /bundle\.yaml:7: aes\[0\]\.dependsOn\[0\]: no AE "gw7"/u });
  await rewrite(`aes:\n${aes.replaceAll('gw1-weather', 'gw1-rain')}`);
  await t.rejects(load, { message: /no AE "gw1-weather" is in bundle\.aes/u }, 'that a sensor names');
  await rewrite('');
  await t.rejects(load, { message: /bundle\.yaml: the file is empty/u });
  await rewrite('aes: [');
  await t.rejects(load, ConfigError);
  await rm(`${directory}/bundle.yaml`);
  await t.rejects(load, { message: /bundle\.yaml: no such file; correct bundle\.file/u });
  await mkdir(`${directory}/bundle.yaml`);
  await t.rejects(load, ConfigError);
});
