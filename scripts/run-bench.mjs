// Compiles everything into build/ and runs the benchmarks of test/bench/ one after the other. Words narrow them by a part
// of their name, options go to each of them: `npm run bench -- buffer --json --check`. With --json standard output holds one
// object, by benchmark.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const options = process.argv.slice(2).filter((word) => word.startsWith('--'));
const filters = process.argv.slice(2).filter((word) => !word.startsWith('--'));
const isJson = options.includes('--json');

rmSync('build', { recursive: true, force: true });
const tsc = ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json'];
if (spawnSync(process.execPath, tsc, { stdio: ['ignore', 2, 2] }).status !== 0) process.exit(1);

const root = join('build', 'test', 'bench');
const files = (existsSync(root) ? readdirSync(root).sort() : [])
  .filter((name) => name.endsWith('.bench.js'))
  .filter((name) => filters.length === 0 || filters.some((filter) => name.includes(filter)));
if (files.length === 0) console.error('no benchmark matches: they are test/bench/*.bench.ts');

const results = {};
const failed = [];
for (const name of files) {
  const stdio = ['ignore', isJson ? 'pipe' : 'inherit', 'inherit'];
  const run = spawnSync(process.execPath, ['--expose-gc', join(root, name), ...options], { stdio });
  if (run.status !== 0) failed.push(name);
  if (isJson) results[name.replace('.bench.js', '')] = JSON.parse(run.stdout.toString() || 'null');
}
if (isJson) console.log(JSON.stringify(results));
if (failed.length > 0) console.error(`failed: ${failed.join(', ')}`);
process.exit(files.length > 0 && failed.length === 0 ? 0 : 1);
