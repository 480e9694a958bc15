// Import direction and cycles. Each folder of src/ imports itself and the folders above it in this list;
// gateway/ imports them all and is alone in constructing them. testbed/ stands in for the world: only the demo and
// simulation commands, tests and scripts reach it.
const folders = [
  ...['base', 'host', 'onem2m', 'coap', 'mqtt', 'radio', 'link', 'buffer', 'sensor', 'decision', 'handover'],
  ...['uplink', 'downlink', 'mec', 'trial', 'gateway', 'testbed'],
];
const simulating = '^src/gateway/(commands/)?(demo|sim)([-.][^/]*$|/)';

const direction = folders.map((folder, index) => ({
  name: `${folder}-imports-downwards`,
  comment: `${folder}/ imports only ${folders.slice(0, index).join(', ') || 'nothing'}`,
  severity: 'error',
  from: { path: `^src/${folder}/`, ...(folder === 'gateway' ? { pathNot: simulating } : {}) },
  to: { path: `^src/(${folders.slice(index + 1).join('|')})/` },
}));

module.exports = {
  forbidden: [
    ...direction.filter((rule) => !rule.name.startsWith('testbed-')),
    {
      name: 'mec-is-a-leaf',
      comment: 'only gateway/ and testbed/ use the MEC clients',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/((mec|gateway|testbed)/|index\\.ts$)' },
      to: { path: '^src/mec/' },
    },
    {
      name: 'pure-without-host',
      comment: 'decision/ and handover/transition.ts compute: the caller reads clock, disk and network',
      severity: 'error',
      from: { path: '^src/(decision/|handover/transition\\.ts$)' },
      to: { path: '^src/host/' },
    },
    {
      name: 'index-without-testbed',
      comment: 'the package does not export its testbed',
      severity: 'error',
      from: { path: '^src/index\\.ts$' },
      to: { path: '^src/testbed/' },
    },
    ...['from', 'to'].map((side) => ({
      name: `${side}-a-stray-file`,
      comment: 'a file of src/ other than index.ts lives in one of the folders of the house',
      severity: 'error',
      from: {},
      to: {},
      [side]: { path: '^src/', pathNot: `^src/(index\\.ts$|(${folders.join('|')})/)` },
    })),
    {
      name: 'source-without-tests',
      comment: 'what is shipped imports neither tests nor scripts',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^(test|scripts)/' },
    },
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    { name: 'no-unresolved', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'no-undeclared-package',
      comment: 'shipped code imports declared dependencies only',
      severity: 'error',
      from: { path: '^src/' },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'] },
    },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^(build|\\.build-[^/]*|dist)/' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default'] },
  },
};
