// Compiles into .build-lab/ and runs the network lab, test/lab/lab.ts (see its head):
//
//   npm run lab -- --scenario NAME|all|self-test [--json] [--check] [--repeat N] [--seed N]      (root)
//
// It has its own folder so that it may run beside the tests, and stays until the lab has removed what it made, also when it is
// interrupted.
import { spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';

const out = '.build-lab';
const tsc = 'node_modules/typescript/bin/tsc -p tsconfig.json --incremental --outDir'.split(' ');
const compile = [...tsc, out, '--tsBuildInfoFile', join(out, 'tsbuildinfo')];
if (spawnSync(process.execPath, compile, { stdio: ['ignore', 2, 2] }).status !== 0) process.exit(1);

const main = join(out, 'test', 'lab', 'lab.js');
const run = spawn(process.execPath, ['--enable-source-maps', main, ...process.argv.slice(2)], {
  stdio: 'inherit',
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => run.kill(signal));
run.once('exit', (code) => process.exit(code ?? 1));
