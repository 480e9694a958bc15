// Compiles everything into build/ and feeds hostile inputs to the parts that read what others send:
//
//   npm run fuzz -- TARGET… [--seconds N] [--inputs N] [--seed N] [--json] [--check]
//
// TARGET is coap, cbor, mqtt, notify, at or all; without an extent each runs for ten seconds. The same seed makes the same
// inputs. What fails is made smaller and written to test/fuzz/corpus/TARGET/, which `npm test` replays. --check also
// fails a run in which some kind of outcome never came about. This process watches the one that fuzzes: an input that
// never ends is told by the count of inputs before it, which with the seed finds it again.
import { spawn, spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';

const silenceMsMax = 60_000;

rmSync('build', { recursive: true, force: true });
const tsc = ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json'];
if (spawnSync(process.execPath, tsc, { stdio: ['ignore', 2, 2] }).status !== 0) process.exit(1);

const script = join('build', 'test', 'fuzz', 'main.js');
const child = spawn(process.execPath, ['--expose-gc', script, ...process.argv.slice(2)], {
  stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
});
let progress = { target: 'no target', inputs: 0 };
let silence = watch();
child.on('message', (message) => {
  progress = message;
  clearTimeout(silence);
  silence = watch();
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.on('close', (status) => {
  clearTimeout(silence);
  process.exitCode = status ?? 1;
});

function watch() {
  return setTimeout(() => {
    console.error(
      `${progress.target}: no sign of life for ${silenceMsMax / 1000} s after ${progress.inputs} inputs`,
    );
    child.kill('SIGKILL');
  }, silenceMsMax);
}
