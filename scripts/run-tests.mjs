// Compiles everything into build/ and runs the tests under node-tap; arguments narrow the files by a part of their path
// (`npm test -- decision`). The last line is `N passed, N failed`; the exit code is 0 only if something ran and all of it
// passed. build/ is emptied first, so that the test of a removed file is gone with it.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const resultsPath = join('build', 'results.tap');
// Progress overwrites its own line, which only a terminal can show; elsewhere the results are printed at the end.
const isTerminal = process.stdout.isTTY === true;
const node = (...args) => spawnSync(process.execPath, args, { stdio: 'inherit' }).status === 0;
const tap = (...args) => node('node_modules/tap/dist/esm/run.mjs', ...args);

process.exit(main(process.argv.slice(2)) ? 0 : 1);

function main(filters) {
  rmSync('build', { recursive: true, force: true });
  mkdirSync('build', { recursive: true });
  if (!node('node_modules/typescript/bin/tsc', '-p', 'tsconfig.json'))
    return report(0, 1, 'the compiler refuses');
  if (needsTapBuild() && !tap('build')) return report(0, 1, 'tap build failed');

  const files = testFiles(filters);
  if (files.length === 0) return report(0, 1, `no test file matches ${filters.join(' ')}`);
  const passed = tap(
    `--reporter=${isTerminal ? 'terse' : 'silent'}`,
    `--output-file=${resultsPath}`,
    ...files,
  );
  if (!isTerminal) printResults(resultsPath);
  const { pass, fail } = totals(resultsPath);
  if (pass + fail === 0) return report(0, 1, 'no test ran');
  return report(pass, passed ? fail : Math.max(fail, 1));
}

// A fresh install carries node-tap's default plugins. While they differ from .taprc, which leaves one out, tap stops to
// rebuild itself instead of testing.
function needsTapBuild() {
  const path = join('node_modules', '@tapjs', 'test', 'test-built', 'dist', 'esm', 'index.js');
  return !existsSync(path) || /^@tapjs\/typescript$/m.test(readFileSync(path, 'utf8'));
}

function testFiles(filters) {
  const root = join('build', 'test');
  const names = existsSync(root) ? readdirSync(root, { recursive: true }) : [];
  const tests = names.filter((name) => name.endsWith('.test.js')).sort();
  const wanted = (name) => filters.length === 0 || filters.some((filter) => name.includes(filter));
  return tests.filter(wanted).map((name) => join(root, name));
}

// node-tap closes with `# { total: 12, pass: 11, fail: 1 }`; a count of zero is left out.
function totals(path) {
  const closing = [...readFileSync(path, 'utf8').matchAll(/^# \{ (.*) \}$/gm)].at(-1)?.[1] ?? '';
  const count = (name) => Number(new RegExp(`\\b${name}: (\\d+)`).exec(closing)?.[1] ?? 0);
  return { pass: count('pass'), fail: count('fail') };
}

// One line for each file, and what node-tap says of each failure: the lines up to the end of its YAML block.
function printResults(path) {
  let isTelling = false;
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    const isFile = /^(not )?ok \d+ - build/.test(line);
    if (/^ *not ok /.test(line)) isTelling = true;
    if (isFile || isTelling) console.log(isFile ? line.replace(/ \{$/, '') : line);
    if (/^ *\.\.\.$/.test(line)) isTelling = false;
  }
}

function report(passed, failed, cause) {
  if (cause !== undefined) console.error(`tests: ${cause}`);
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0;
}
