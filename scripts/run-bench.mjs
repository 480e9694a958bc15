// Compiles everything into build/ and runs the benchmarks of test/bench/ one after the other. Words narrow them by a part
// of their name; the first option and all after it go to each of them: `npm run bench -- buffer --engines baton --check`.
// With --json standard output holds one object, by benchmark.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const words = process.argv.slice(2);
const at = words.findIndex((word) => word.startsWith('--'));
const filters = at < 0 ? words : words.slice(0, at);
const options = at < 0 ? [] : words.slice(at);
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
  const { status, output } = await run(join(root, name));
  if (status !== 0) failed.push(name);
  if (isJson) results[name.replace('.bench.js', '')] = JSON.parse(output || 'null');
}
if (isJson) console.log(JSON.stringify(results));
if (failed.length > 0) console.error(`failed: ${failed.join(', ')}`);
process.exitCode = files.length > 0 && failed.length === 0 ? 0 : 1;

/** Runs one benchmark; what tells this process to end is passed on, and it has time to clean up. */
function run(file) {
  const stdio = ['ignore', isJson ? 'pipe' : 'inherit', 'inherit'];
  const child = spawn(process.execPath, ['--expose-gc', file, ...options], { stdio });
  let output = '';
  child.stdout?.on('data', (chunk) => (output += chunk.toString()));
  const passOn = (signal) => child.kill(signal);
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of signals) process.on(signal, passOn);
  return new Promise((resolve) => {
    child.on('close', (status, signal) => {
      for (const each of signals) process.off(each, passOn);
      // Nothing else is begun after a wish to end.
      if (signal !== null || [129, 130, 143].includes(status)) process.exit(1);
      resolve({ status, output });
    });
  });
}
