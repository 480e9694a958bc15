// Builds dist/ and runs `baton sim` from it with the arguments given: `npm run sim -- --help` shows them.
import { spawn, spawnSync } from 'node:child_process';

if (spawnSync(process.execPath, ['scripts/build.mjs'], { stdio: ['ignore', 2, 2] }).status !== 0)
  process.exit(1);

const child = spawn(process.execPath, ['dist/gateway/bin.js', 'sim', ...process.argv.slice(2)], {
  stdio: 'inherit',
});
// Ctrl-C reaches the child by itself; this process only waits for its summary.
process.on('SIGINT', () => undefined);
process.on('SIGTERM', () => child.kill('SIGTERM'));
child.on('close', (status) => {
  process.exitCode = status ?? 1;
});
