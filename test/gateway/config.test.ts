// Proves: a configuration is checked as a whole (every problem in one error, with file, line, key and the way out), every
// default is filled in, no text and no value makes the loader throw anything but `ConfigError` or keeps it busy, and what
// `baton config` prints comes from the same table.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { stringify } from 'yaml';
import { ConfigError } from '../../src/base/errors.ts';
import { checkDecisionPolicy, defaultDecisionPolicy } from '../../src/decision/decision-policy.ts';
import { exampleConfig } from '../../src/gateway/config-example.ts';
import { explainKey } from '../../src/gateway/config-explain.ts';
import { decisionPolicy } from '../../src/gateway/config.ts';
import { loadConfig, parseConfig } from '../../src/gateway/load-config.ts';
import { parseYaml } from '../../src/gateway/yaml-source.ts';
import { NodeClock } from '../../src/host/clock.ts';
import { NodeFilesystem } from '../../src/host/filesystem.ts';

const minimal = `device: gw1
dataDirectory: data
inCse: {pointOfAccess: 'coap://127.0.0.1:5683', cseId: /id-in, cseBaseName: cse-in}
links:
  - {name: lte0, localAddress: 127.0.0.1, modem: {path: /dev/modem}}
sensors:
  - name: weather
    serialLine: {path: /dev/sensor, format: json}
    streams: [{name: temperature}]
`;

/** The lines of the error that a text causes. */
function problems(text: string): string[] {
  try {
    parseConfig(text, 'gw.yaml');
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split('\n');
    throw error;
  }
}

void t.test('defaults', async (t) => {
  const config = parseConfig(minimal, '/etc/baton/gw.yaml');
  t.equal(config.dataDirectory, '/etc/baton/data', 'relative to the file');
  t.same(config.links[0]?.modem, { path: '/dev/modem', baudRate: 115_200, periodMs: 500 });
  t.same(config.sensors[0]?.serialLine, {
    path: '/dev/sensor',
    baudRate: 115_200,
    format: 'json',
    acknowledge: false,
  });
  t.same(config.sensors[0]?.streams, [{ name: 'temperature', class: 'B', priority: 5, order: 'inOrder' }]);
  t.same(config.buffer, {
    quotaBytes: 512 * 1024 * 1024,
    segmentBytes: 4 * 1024 * 1024,
    reserveBytes: 0,
    fullAlarmHours: 24,
    card: { enduranceCycles: 3000, nandFactor: 4 },
  });
  t.same(config.uplink, {
    ...{ deadlineMs: 2000, retryMsMin: 200, retryMsMax: 10_000, backlogPercent: 50 },
    requestsMax: 16,
  });
  t.same(config.handover, {
    phaseDeadlineMs: 3000,
    switchDeadlineMs: 500,
    graceMs: 3_600_000,
    claim: 'required',
    recordCheckMs: 600_000,
    standby: {
      ...{ enabled: false, holdMs: 10_000, refreshMs: 60_000 },
      ...{ requestsPerHour: 1200, bytesPerHour: 1_048_576 },
    },
  });
  t.same(config.log, { level: 'info' });
  t.same(decisionPolicy(config.decision), defaultDecisionPolicy, 'the defaults are those of the decision');
  t.doesNotThrow(() => checkDecisionPolicy(decisionPolicy(config.decision)));
});

void t.test('brokers and their credentials', async (t) => {
  const config = parseConfig(
    `${minimal.replace('coap://127.0.0.1:5683', 'mqtts://broker.example/plant/7')}
security: {tls: {caFile: pki/ca.pem, certFile: pki/gw.pem, keyFile: /etc/keys/gw.key}}
mqtt:
  username: gw1
  passwordFile: secrets/all
  brokers:
    - {url: 'mqtts://mn1.example:8883', advertise: 'mqtt://10.0.0.5', tls: {caFile: pki/mn1.pem}}
    - {url: 'mqtt://[2001:db8::1]:1883', username: gw1, passwordFile: secrets/mn2}
`,
    '/etc/baton/gw.yaml',
  );
  t.same(config.security, {
    tls: { caFile: '/etc/baton/pki/ca.pem', certFile: '/etc/baton/pki/gw.pem', keyFile: '/etc/keys/gw.key' },
  });
  t.same(config.mqtt, {
    keepaliveS: 30,
    username: 'gw1',
    passwordFile: '/etc/baton/secrets/all',
    brokers: [
      {
        url: 'mqtts://mn1.example:8883',
        advertise: 'mqtt://10.0.0.5',
        tls: { caFile: '/etc/baton/pki/mn1.pem' },
      },
      { url: 'mqtt://[2001:db8::1]:1883', username: 'gw1', passwordFile: '/etc/baton/secrets/mn2' },
    ],
  });
  t.same(parseConfig(minimal, 'gw.yaml').mqtt, { keepaliveS: 30, brokers: [] });
  t.same(parseConfig(minimal, 'gw.yaml').security, {});
  const table: [string, RegExp][] = [
    [
      'security: {tls: {certFile: a.pem}}',
      /security\.tls\.certFile: is of no use without keyFile; give both/u,
    ],
    ['mqtt: {passwordFile: x}', /mqtt\.passwordFile: is of no use without username; give both/u],
    ['mqtt: {brokers: [{username: x}]}', /mqtt\.brokers\[0\]\.url: is missing; add "url: mqtts:/u],
    [
      'mqtt: {brokers: [{url: "coap://a"}]}',
      /brokers\[0\]\.url: "coap:\/\/a" is not a point of access, mqtt:/u,
    ],
    ['mqtt: {brokers: [{url: "mqtt://a/b#"}]}', /brokers\[0\]\.url: "mqtt:\/\/a\/b#" is not/u],
    ['mqtt: {brokers: [{url: "mqtt://gw1:secret@a"}]}', /brokers\[0\]\.url: .* is not a point of access/u],
    [
      'mqtt: {brokers: [{url: "mqtt://a"}, {url: "mqtt://a"}]}',
      /brokers\[1\]\.url: "mqtt:\/\/a" is taken by mqtt\.brokers\[0\]/u,
    ],
    ['mqtt: {keepaliveS: 1}', /keepaliveS: 1 is not a whole number of s from 5 to 3600/u],
    [
      'mqtt: {brokers: [{url: "mqtt://a", tls: {cafile: x}}]}',
      /tls\.cafile: unknown key, did you mean "caFile"/u,
    ],
  ];
  for (const [text, pattern] of table) t.match(problems(`${minimal}${text}\n`).join('\n'), pattern, text);
  t.match(explainKey('mqtt.brokers.advertise'), /told to them as our point of access/u);
});

void t.test('every problem at once, each with line, key and way out', async (t) => {
  const text = `device: "gw 1"
dataDirectory:
inCse:
  pointOfAcces: coap://x
  cseId: id-in
  cseBaseName: cse-in
links: []
sensors:
  - name: a
    serialLine: {path: /dev/x, format: xml, acknowledge: yes}
    streams:
      - {name: temperature, clas: A, priority: 11}
      - {name: temperature, lingerMs: 1.5}
      - Temperature
  - name: a
    serialLine: {path: /dev/x, format: csv, acknowledge: true}
    streams: {name: x}
constructor: 1
decision:
  a3: {offsetDb: 0.7, timeToTriggerMs: 600}
uplink: {retryMsMin: 20000}
buffer:
`;
  const expected = [
    /^gw\.yaml:1: device: "gw 1" is not 1 to 32 letters/u,
    /^gw\.yaml:2: dataDirectory: is empty; give a path/u,
    /^gw\.yaml:3: inCse\.pointOfAccess: is missing; add "pointOfAccess: coap:/u,
    /^gw\.yaml:4: inCse\.pointOfAcces: unknown key, did you mean "pointOfAccess"\?/u,
    /^gw\.yaml:5: inCse\.cseId: "id-in" is not a CSE-ID such as \/id-in/u,
    /^gw\.yaml:7: links: a list of 0 is not a list of 1 to 8 links/u,
    /^gw\.yaml:10: sensors\[0\]\.serialLine\.format: "xml" is not one of json, csv/u,
    /^gw\.yaml:10: sensors\[0\]\.serialLine\.acknowledge: "yes" is not true or false/u,
    /^gw\.yaml:12: sensors\[0\]\.streams\[0\]\.clas: unknown key, did you mean "class"\?/u,
    /^gw\.yaml:12: sensors\[0\]\.streams\[0\]\.priority: 11 is not a whole number from 1 to 10/u,
    /^gw\.yaml:13: sensors\[0\]\.streams\[1\]\.lingerMs: 1\.5 is not a whole number of ms from 0 to 1000/u,
    /^gw\.yaml:13: sensors\[0\]\.streams\[1\]\.name: "temperature" is taken by sensors\[0\]\.streams\[0\]; a stream/u,
    /^gw\.yaml:14: sensors\[0\]\.streams\[2\]: "Temperature" is not a group of keys/u,
    /^gw\.yaml:15: sensors\[1\]\.name: "a" is taken by sensors\[0\]/u,
    /^gw\.yaml:16: sensors\[1\]\.serialLine\.path: "\/dev\/x" is taken by .*one owner/u,
    /^gw\.yaml:16: sensors\[1\]\.serialLine\.acknowledge: true needs "format: json"/u,
    /^gw\.yaml:17: sensors\[1\]\.streams: a group of keys is not a list of 1 to 64 streams/u,
    /^gw\.yaml:18: constructor: unknown key/u,
    /^gw\.yaml:20: decision\.a3\.offsetDb: 0\.7 is not a number of dB from -15 to 15 in steps of 0\.5/u,
    /^gw\.yaml:20: decision\.a3\.timeToTriggerMs: 600 is not one of 0, 40, 64/u,
    /^gw\.yaml:21: uplink\.retryMsMin: retryMsMin \(20000\) is above retryMsMax \(10000\)/u,
    /^gw\.yaml:22: buffer: is empty; give a group of keys \(quotaBytes, segmentBytes, reserveBytes, fullAlarmHours, card\), or remove the key/u,
  ];
  const found = problems(text);
  for (const [index, pattern] of expected.entries()) t.match(found[index] ?? '', pattern);
  t.equal(found.length, expected.length);
});

void t.test('YAML that is broken, ambiguous or hostile', async (t) => {
  const table: [string, string, RegExp][] = [
    ['empty', '', /the file is empty; "baton config init"/u],
    ['comments only', '# nothing\n', /the file is empty/u],
    ['a list', '- 1\n', /gw\.yaml:1: the file: a list of 1 is not a group of keys/u],
    ['a scalar', 'gw1', /gw\.yaml:1: the file: "gw1" is not a group/u],
    ['broken syntax', 'device: gw1\nlinks: [1, 2\nsensors: 3\n', /gw\.yaml:3: YAML: Flow sequence/u],
    ['tab', 'inCse:\n\tcseId: x\n', /gw\.yaml:2: YAML: Tabs are not allowed/u],
    [
      'key twice',
      `${minimal}device: gw2\n`,
      /gw\.yaml:10: the key "device" is given twice \(first in line 1\)/u,
    ],
    ['anchor', 'device: &a gw1\n', /gw\.yaml:1: &a: anchors are not used here/u],
    ['alias', 'device: gw1\nlinks: *a\n', /gw\.yaml:2: \*a: aliases are not used here/u],
    ['tag', 'device: !!js/function gw1\n', /gw\.yaml:1: !!js\/function: tags are not used/u],
    ['directive', '%YAML 1.1\n---\ndevice: gw1\n', /gw\.yaml:1: %YAML 1\.1: directives are not used/u],
    ['second document', 'device: gw1\n---\ndevice: gw2\n', /multiple documents/u],
    ['deep flow', '['.repeat(100_000), /nested more than 24 levels deep/u],
    ['deep block', '- '.repeat(100_000), /nested more than 24 levels deep/u],
    ['many tokens', `[${','.repeat(200_000)}`, /more than 20000 YAML tokens/u],
    ['control characters', 'dev\u001b[2Jice: 1\n', /dev\\x1b\[2Jice: unknown key/u],
  ];
  for (const [what, text, pattern] of table) t.match(problems(text).join('\n'), pattern, what);
  const bomb = `a: &a [x,x,x]\n${'bcdefg'
    .split('')
    .map((key) => `${key}: &${key} [*a,*a,*a,*a]`)
    .join('\n')}`;
  t.match(problems(bomb)[0] ?? '', /anchors are not used here/u, 'billion laughs');
  t.same(parseYaml('a: "*b"\nc: |\n  *d\n  &e\n').problems, [], 'text that only looks like an alias');
});

void t.test('files', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'baton-config-'));
  t.teardown(() => rm(directory, { recursive: true }));
  const filesystem = new NodeFilesystem();
  const load = (name: string) => loadConfig(filesystem, join(directory, name));
  const file = async (name: string, content: string | Uint8Array): Promise<void> =>
    writeFile(join(directory, name), content);
  await file('good.yaml', `\ufeff${minimal.replaceAll('\n', '\r\n')}`);
  t.equal((await load('good.yaml')).dataDirectory, join(directory, 'data'));
  await t.rejects(load('none.yaml'), {
    code: 'CONFIG',
    message: /none\.yaml: no such file; write one with "baton config init > /,
  });
  await file('large.yaml', `# ${'x'.repeat(256 * 1024)}\n${minimal}`);
  await t.rejects(load('large.yaml'), { code: 'CONFIG', message: /large\.yaml: .* at most 262144/ });
  await file('binary.yaml', Uint8Array.of(0xff, 0xfe, 0x00));
  await t.rejects(load('binary.yaml'), {
    code: 'CONFIG',
    message: /binary\.yaml: not UTF-8 text; save it as UTF-8/,
  });
  await mkdir(join(directory, 'folder'));
  await t.rejects(load('folder'), { code: 'CONFIG', message: /folder: cannot be used as a configuration/ });
  await file('long.yaml', minimal.replace('data\n', `${'d'.repeat(100)}\n`));
  await t.rejects(load('long.yaml'), {
    code: 'CONFIG',
    message: /long\.yaml:2: dataDirectory: .* choose a shorter path/,
  });
});

/** Values near the valid configuration: any part replaced, removed or added. */
const anyConfig = fc
  .tuple(
    fc.jsonValue(),
    fc.array(
      fc.tuple(
        fc.constantFrom(
          'device',
          'links',
          'sensors',
          'buffer',
          'decision',
          'name',
          'a3',
          '__proto__',
          'inCse',
        ),
        fc.jsonValue(),
      ),
      {
        maxLength: 5,
      },
    ),
  )
  .map(([other, parts]) => {
    const base = parseYaml(minimal).value as Record<string, unknown>;
    return parts.length === 0 ? other : { ...base, ...Object.fromEntries(parts) };
  });

void t.test('nothing but ConfigError, whatever the file holds', async (t) => {
  const holds = (text: string): void => {
    problems(text);
  };
  const clock = new NodeClock();
  const startMs = clock.monotonicMs();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (data) => holds(Buffer.from(data).toString('latin1'))),
  );
  fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => holds(minimal + text)));
  const piece = fc.constantFrom(
    ...'[]{}:,-?|>&*!%@`"\' \n\t#a1\\'.split(''),
    ': ',
    '- ',
    '? ',
    '\n  ',
    '<<',
    '---\n',
    '...\n',
    '\u0000',
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 120 }), (pieces) => holds(pieces.join(''))),
    { numRuns: 500 },
  );
  fc.assert(fc.property(anyConfig, (value) => holds(JSON.stringify(value))));
  fc.assert(fc.property(anyConfig, (value) => holds(stringify(value, { aliasDuplicateObjects: false }))));
  t.ok(clock.monotonicMs() - startMs < 60_000, 'and quickly');
});

void t.test('the example is valid and explained', async (t) => {
  t.same(problems(exampleConfig), []);
  const [head = '', defaults = ''] = exampleConfig.split(/(?=^# Everything below)/mu);
  const uncommented = head + defaults.replace(/^#(?=[A-Za-z0-9 ]+:)/gmu, '');
  t.not(uncommented, exampleConfig);
  const bundle = parseConfig(head.replace(/^#(?=bundle:| {2})/gmu, ''), 'gw.yaml').bundle;
  t.match(bundle.aes, [{ name: 'gw1-weather', containers: [{ recent: { kind: 'last', count: 10 } }] }]);
  t.same(
    parseConfig(uncommented, 'gw.yaml'),
    parseConfig(exampleConfig, 'gw.yaml'),
    'what it shows as defaults are the defaults',
  );
  t.match(
    explainKey('decision.a3.offsetDb'),
    /type +a number of dB from -15 to 15 in steps of 0\.5\n +unit +dB\n +default +3\n/u,
  );
  t.match(explainKey('links[0].modem.baudRate'), /^links\[\]\.modem\.baudRate\n.*Speed/u);
  t.match(explainKey('device'), /default +none; must be given\n +example +gw1/u);
  t.match(explainKey('buffer'), /default +those of its keys\n\nbuffer\.quotaBytes +Flash/u);
  t.match(
    explainKey('buffer.card.capacityBytes'),
    /Capacity of the card.*\n +type .*\n +unit +bytes\n +default +none; may be left out/u,
  );
  t.throws(() => explainKey('offsetDb'), {
    code: 'USAGE',
    message: /did you mean "decision\.a3\.offsetDb"\?/,
  });
  t.throws(() => explainKey('decision.a3.ofsetDb'), {
    code: 'USAGE',
    message: /did you mean "decision\.a3\.offsetDb"\?/,
  });
  const all = explainKey('').trim().split('\n');
  t.ok(all.length > 40);
  for (const line of all) {
    const [key = '', ...meaning] = line.split(/ {2,}/u);
    t.ok(meaning.join('').endsWith('.'), `${key} has a meaning`);
    t.match(explainKey(key), /type/u);
  }
});
