// Lint rules. What runs where: typed rules on every .ts file; banned calls and modules everywhere but in src/host/;
// third-party libraries only in the folder that wraps them; decision/ and handover/transition.ts synchronous.
// Import direction between folders and import cycles are the business of .dependency-cruiser.cjs.
import { resolve } from 'node:path';
import tseslint from 'typescript-eslint';

/** Modules that touch time, chance, files, processes or sockets. */
const hostModules = [
  'fs', 'fs/promises', 'net', 'dgram', 'tls', 'http', 'http2', 'https', 'dns', 'dns/promises', 'child_process', 'cluster',
  'worker_threads', 'os', 'timers', 'timers/promises', 'perf_hooks', 'readline', 'readline/promises', 'tty', 'path',
]; // prettier-ignore

/** Each wrapped library and the only folder of src/ that may import it. */
const wrappers = {
  'cbor-x': 'onem2m',
  'serialport': 'host',
  'koffi': 'host',
  // The second is the socket alone, without the 700 kB of message formats.
  'netlink': 'host',
  'netlink/dist/raw.js': 'host',
  'coap-packet': 'coap',
  'coap': 'testbed',
  'mqtt': 'mqtt',
  'aedes': 'testbed',
};

/** `path` only computes; it is banned nowhere. */
const harmless = ['path'];
/** What tests need around temporary folders and child processes. */
const testModules = [...harmless, 'fs/promises', 'os', 'child_process'];
/** What benchmarks measure the event loop with, and the client and server of HTTP that they compare with. */
const benchModules = [...testModules, 'fs', 'perf_hooks', 'http', 'net'];
/** What the broker and the CoAP server in the testbed are plugged into. */
const testbedModules = [...harmless, 'net', 'dgram'];

const hostHint =
  'only src/host/ touches time, chance, files, processes and sockets; take the injected interface';
const cryptoRandom = [
  'randomBytes',
  'randomFillSync',
  'randomFill',
  'randomInt',
  'randomUUID',
  'getRandomValues',
  'webcrypto',
];

/** `no-restricted-imports` and its twin for `import()`, which that rule does not see. */
function importBans(folder, allowedModules) {
  const modules = hostModules.filter((name) => !allowedModules.includes(name));
  const libraries = Object.entries(wrappers).filter(([, owner]) => folder !== 'test' && owner !== folder);
  const paths = [
    ...modules.flatMap((name) => [name, `node:${name}`]).map((name) => ({ name, message: hostHint })),
    ...['crypto', 'node:crypto'].map((name) => ({
      name,
      importNames: [...cryptoRandom, 'default'],
      message: hostHint,
    })),
    ...libraries.map(([name, owner]) => ({
      name,
      message: `only src/${owner}/ imports it; use what that folder exports`,
    })),
  ];
  const dynamic = [...modules.map((name) => `(node:)?${name}`), ...libraries.map(([name]) => name)].join('|');
  return {
    paths,
    syntax: {
      selector: `ImportExpression[source.value=/^(${dynamic.replaceAll('/', '\\u002F')})$/]`,
      message: 'a dynamic import of a module that this folder must not import',
    },
  };
}

const clockProperties = [
  ['Date', 'now'],
  ['Math', 'random'],
  ['performance', 'now'],
  ['performance', 'timeOrigin'],
  ['process', 'hrtime'],
  ['process', 'uptime'],
  ['AbortSignal', 'timeout'],
  ['crypto', 'getRandomValues'],
  ['crypto', 'randomUUID'],
  ...['setTimeout', 'setInterval', 'setImmediate', 'performance', 'crypto'].map((name) => [
    'globalThis',
    name,
  ]),
].map(([object, property]) => ({ object, property, message: hostHint }));

const clockGlobals = ['setTimeout', 'setInterval', 'setImmediate', 'fetch', 'WebSocket'].map((name) => ({
  name,
  message: hostHint,
}));

const clockSyntax = [
  { selector: 'NewExpression[callee.name="Date"][arguments.length=0]', message: hostHint },
  { selector: 'CallExpression[callee.name="Date"]', message: hostHint },
];

const pureSyntax = [
  { selector: ':function[async=true]', message: 'this file is pure: values in, values out, no promise' },
  { selector: 'AwaitExpression', message: 'this file is pure: values in, values out, no promise' },
  { selector: 'Identifier[name="Promise"]', message: 'this file is pure: values in, values out, no promise' },
];

/** Everything banned outside src/host/, for one folder. */
function bans(folder, { allowed = harmless, pure = false } = {}) {
  const imports = importBans(folder, allowed);
  const patterns = pure
    ? [{ regex: '/host/', message: 'this file is pure: the caller reads the clock and hands the value in' }]
    : [];
  return {
    'no-restricted-imports': ['error', { paths: imports.paths, patterns }],
    'no-restricted-properties': ['error', ...clockProperties],
    'no-restricted-globals': ['error', ...clockGlobals],
    'no-restricted-syntax': ['error', ...clockSyntax, imports.syntax, ...(pure ? pureSyntax : [])],
  };
}

const folders = [
  'base', 'onem2m', 'coap', 'mqtt', 'radio', 'link', 'buffer', 'sensor', 'decision', 'handover', 'uplink', 'downlink',
  'mec', 'trial', 'gateway',
]; // prettier-ignore

export default tseslint.config(
  { ignores: ['node_modules/**', 'build/**', '.build-*/**', 'dist/**', '.tap/**'] },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  {
    rules: {
      'eqeqeq': 'error',
      'no-var': 'error',
      'prefer-const': 'error',
      'no-fallthrough': 'error',
      'no-self-compare': 'error',
      'no-constant-condition': ['error', { checkLoops: 'allExceptWhileTrue' }],
      'no-unsafe-finally': 'error',
      'no-template-curly-in-string': 'error',
      'no-control-regex': 'off',
      'max-lines': ['error', { max: 500 }],
    },
  },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: resolve(import.meta.dirname, '..') },
    },
    rules: {
      'max-lines-per-function': ['error', { max: 70 }],
      'no-restricted-exports': [
        'error',
        { restrictDefaultExports: { direct: true, named: true, defaultFrom: true } },
      ],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/no-non-null-assertion': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
    },
  },
  ...folders.map((folder) => ({
    files: [`src/${folder}/**/*.ts`, ...(folder === 'gateway' ? ['src/index.ts'] : [])],
    rules: bans(folder),
  })),
  { files: ['src/decision/**/*.ts', 'src/handover/transition.ts'], rules: bans('decision', { pure: true }) },
  {
    files: ['src/host/**/*.ts'],
    rules: {
      'no-restricted-imports': [
        'error',
        { paths: importBans('host', hostModules).paths.filter(({ name }) => name in wrappers) },
      ],
    },
  },
  { files: ['src/testbed/**/*.ts'], rules: bans('testbed', { allowed: testbedModules }) },
  { files: ['test/**/*.ts', 'scripts/**/*.ts'], rules: bans('test', { allowed: testModules }) },
  { files: ['test/bench/**/*.ts'], rules: bans('test', { allowed: benchModules }) },
  {
    files: ['test/host/**/*.ts'],
    rules: {
      'no-restricted-imports': 'off',
      'no-restricted-properties': 'off',
      'no-restricted-globals': 'off',
      'no-restricted-syntax': 'off',
    },
  },
  {
    files: ['test/**/*.ts'],
    rules: {
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off',
      'max-lines-per-function': 'off',
      'max-lines': ['error', { max: 1000 }],
    },
  },
  {
    files: ['**/*-table.ts', '**/*-tables.ts'],
    rules: { 'max-lines-per-function': 'off', 'max-lines': 'off' },
  },
);
