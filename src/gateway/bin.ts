#!/usr/bin/env node
import { createSharedAbort } from '../base/linked-abort.ts';
import { NodeTerminal } from '../host/terminal.ts';
import { limitYoungGeneration } from '../host/young-generation.ts';
import { runCli } from './cli.ts';
import { exitCodes } from './command.ts';

limitYoungGeneration();
const stopping = createSharedAbort();
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.on(name, () => {
    if (stopping.signal.aborted) process.exit(exitCodes.interrupted);
    stopping.abort();
  });
}

const code = await runCli(process.argv.slice(2), {
  stdout: new NodeTerminal(process.stdout, process.env),
  stderr: new NodeTerminal(process.stderr, process.env),
  signal: stopping.signal,
  pid: process.pid,
  openHost: async () => {
    const [{ createNodeHost }, { NodeLocalSockets }] = await Promise.all([
      import('../host/host.ts'),
      import('../host/local-socket.ts'),
    ]);
    return { host: createNodeHost(), localSockets: new NodeLocalSockets() };
  },
});
process.exit(code);
