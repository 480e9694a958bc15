// Compiles src/ into dist/ from scratch, so that nothing of a removed file is shipped, and makes the command executable.
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, rmSync } from 'node:fs';

rmSync('dist', { recursive: true, force: true });
const tsc = ['node_modules/typescript/bin/tsc', '-p', 'scripts/tsconfig.build.json'];
const { status } = spawnSync(process.execPath, tsc, { stdio: 'inherit' });
if (status !== 0) process.exit(1);

const command = 'dist/gateway/bin.js';
if (existsSync(command)) chmodSync(command, 0o755);
