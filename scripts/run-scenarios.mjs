// Compiles into .build-scenarios/ and runs test/scenario/run-scenarios.ts: handover scenarios with the testbed's CSEs and with
// ACME's (see its head). It has its own folder so that it may run beside the tests, and stays until that has ended what it
// started, also when it is interrupted.
import { spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';

const out = '.build-scenarios';
const tsc = 'node_modules/typescript/bin/tsc -p tsconfig.json --incremental --outDir'.split(' ');
const compile = [...tsc, out, '--tsBuildInfoFile', join(out, 'tsbuildinfo')];
if (spawnSync(process.execPath, compile, { stdio: ['ignore', 2, 2] }).status !== 0) process.exit(1);

const main = join(out, 'test', 'scenario', 'run-scenarios.js');
const run = spawn(process.execPath, ['--enable-source-maps', main, ...process.argv.slice(2)], {
  stdio: 'inherit',
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => run.kill(signal));
run.once('exit', (code) => process.exit(code ?? 1));
