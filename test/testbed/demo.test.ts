/**
 * Proves, on the real process, that `baton demo --json` prints one JSON object of the promised shape and ends with 0 only
 * for a pass; that Ctrl-C in a terminal, which signals the whole group of processes, ends it in order with a summary over
 * what was driven, no process and no file left; and that all of its children end by themselves when it is killed; that its gateway tells counters
 * that add up and what it writes to flash.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type { Test } from 'tap';
import { millis } from '../../src/base/units.ts';
import { ControlClient } from '../../src/gateway/control-client.ts';
import type { GatewayStatus } from '../../src/gateway/status.ts';
import { NodeClock, sleep } from '../../src/host/clock.ts';
import { NodeLocalSockets } from '../../src/host/local-socket.ts';

t.setTimeout(90_000);

const binPath = fileURLToPath(new URL('../../src/gateway/bin.js', import.meta.url));
const clock = new NodeClock();
const localSockets = new NodeLocalSockets();
const patienceMs = 20_000;

interface Demo {
  readonly pid: number;
  /** Where it keeps its files. */
  readonly directory: string;
  readonly ended: Promise<{ code: number | null; signal: string | null; out: string; err: string }>;
}

/** A demo in a process group of its own, as a shell starts it. */
async function startDemo(t: Test, ...args: string[]): Promise<Demo> {
  const directory = await mkdtemp(join(tmpdir(), 'bt-'));
  t.teardown(() => rm(directory, { recursive: true }));
  const child = spawn(process.execPath, [binPath, 'demo', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    env: { ...process.env, TMPDIR: directory },
  });
  let out = '';
  let err = '';
  child.stdout.on('data', (data: Buffer) => (out += data.toString()));
  child.stderr.on('data', (data: Buffer) => (err += data.toString()));
  const ended = new Promise<Awaited<Demo['ended']>>((resolve) =>
    child.once('close', (code, signal) => resolve({ code, signal, out, err })),
  );
  return { pid: child.pid ?? 0, directory, ended };
}

/** Waits for `condition`, asked again and again. */
async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  const endMs = clock.monotonicMs() + patienceMs;
  while (!(await condition())) {
    if (clock.monotonicMs() > endMs) throw new Error(`${what}: not within ${patienceMs} ms`);
    await sleep(clock, millis(50));
  }
}

async function childrenOf(parent: number): Promise<number[]> {
  const text = await readFile(`/proc/${parent}/task/${parent}/children`, 'utf8');
  return text.split(' ').filter(Boolean).map(Number);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Waits until the gateway of a demo serves and has delivered; returns the children of the demo. */
async function untilDriving(demo: Demo): Promise<number[]> {
  await until('the gateway of the demo delivers', async () => {
    const [name] = await readdir(demo.directory);
    if (name === undefined) return false;
    const client = await ControlClient.open(
      { clock, localSockets },
      join(demo.directory, name, 'data'),
    ).catch(() => undefined);
    const status = (await client?.request('status', {}).catch(() => undefined)) as GatewayStatus | undefined;
    client?.close();
    const { buffer, flash } = status ?? {};
    if (buffer === undefined) return false;
    const { stored, delivered, evicted, corrupt, pending, capacityBytes } = buffer;
    if (stored !== delivered + evicted + corrupt + pending) throw new Error(JSON.stringify(buffer));
    const isWorn = (flash?.deviceBytes ?? 0) > (flash?.payloadBytes ?? 0) && flash?.disk !== undefined;
    return status?.serving !== undefined && delivered > 10 && isWorn && capacityBytes > 0;
  });
  return childrenOf(demo.pid);
}

void t.test('a drive to its end', async (t) => {
  const demo = await startDemo(t, '--json', '--seconds', '12', '--seed', '5');
  const { code, out, err } = await demo.ended;
  t.equal(code, 0);
  t.equal(err, '', 'nothing else is said');
  t.match(out, /^\{[^\n]+\}\n$/u, 'one object on one line');
  const summary = JSON.parse(out) as Record<string, unknown>;
  t.match(summary, {
    drive: 'ring',
    seconds: 12,
    seed: 5,
    rttMs: 40,
    stored: Number,
    delivered: summary.stored,
    evicted: 0,
    pending: 0,
    duplicates: 0,
    lost: 0,
    reordered: 0,
    verdict: 'pass',
    reasons: [],
  });
  const handovers = summary.handovers as Record<string, unknown>[];
  t.ok(handovers.length > 1, 'it was driven past a border');
  t.notOk('source' in (handovers[0] ?? {}), 'the first attachment leaves no CSE');
  for (const [index, handover] of handovers.entries()) {
    t.match(handover, {
      epoch: Number,
      target: /^\/id-mn\d$/u,
      trigger: /^(?:initial|a3|servingLost)$/u,
      phases: { preparing: Number, claiming: Number, switching: Number },
      uplinkInterruptionMs: Number,
      ...(index === 0 ? {} : { source: /^\/id-mn\d$/u }),
    });
  }
  t.same(await readdir(demo.directory), [], 'no file is left');
});

void t.test('Ctrl-C half-way', async (t) => {
  const demo = await startDemo(t, '--headless', '--seconds', '60');
  const children = await untilDriving(demo);
  t.ok(children.length >= 4, 'CSEs, sensor, modem and gateway are processes');
  process.kill(-demo.pid, 'SIGINT');
  const { code, signal, out, err } = await demo.ended;
  t.match({ code, signal, err }, { code: 0, signal: null, err: '' });
  t.match(out, /pass/iu, 'the summary is printed');
  t.same(children.filter(isAlive), [], 'no process is left');
  t.same(await readdir(demo.directory), [], 'no file is left');
});

void t.test('killed', async (t) => {
  const demo = await startDemo(t, '--json', '--seconds', '60');
  const children = await untilDriving(demo);
  t.ok(children.length >= 4);
  process.kill(demo.pid, 'SIGKILL');
  t.match(await demo.ended, { signal: 'SIGKILL' });
  await until('all children end by themselves', async () => !children.some(isAlive));
});
