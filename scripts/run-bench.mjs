// Compiles everything into build/ and runs the benchmarks of test/bench/ one after the other; arguments narrow them by a
// part of their path (`npm run bench -- segment-log`).
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const node = (...args) => spawnSync(process.execPath, args, { stdio: 'inherit' }).status === 0;

rmSync('build', { recursive: true, force: true });
if (!node('node_modules/typescript/bin/tsc', '-p', 'tsconfig.json')) process.exit(1);

const root = join('build', 'test', 'bench');
const filters = process.argv.slice(2);
const files = (existsSync(root) ? readdirSync(root).sort() : [])
  .filter((name) => name.endsWith('.bench.js'))
  .filter((name) => filters.length === 0 || filters.some((filter) => name.includes(filter)));
if (files.length === 0) console.error('no benchmark matches: they are test/bench/*.bench.ts');
const failed = files.filter((name) => !node('--expose-gc', join(root, name)));
if (failed.length > 0) console.error(`failed: ${failed.join(', ')}`);
process.exit(files.length > 0 && failed.length === 0 ? 0 : 1);
