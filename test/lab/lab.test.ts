// Proves: the lab builds, its sender leaves a link that goes down and loses nothing, everything is gone after the end and, by
// the next lab, after a kill -9; a scenario that does not exist is answered. Needs root, namespaces and TAP devices; skipped
// with the reason elsewhere. Figures are the business of `npm run lab`.
import { execFile, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { settle } from '../../src/host/clock.ts';
import { checkLab, sweepLabs } from './lab-network.ts';

const execute = promisify(execFile);
const lab = fileURLToPath(new URL('lab.js', import.meta.url));
const namespaces = async (pid: number): Promise<string[]> =>
  (await execute('ip', ['netns', 'list'])).stdout
    .split('\n')
    .filter((line) => line.startsWith(`batonlab-${pid}-`));
const why = await checkLab().then(
  () => undefined,
  (cause: unknown) => (cause instanceof Error ? cause.message : String(cause)),
);

await t.test('what is asked for wrongly', async (t) => {
  const failure = await execute(process.execPath, [lab, '--scenario', 'blackhol']).catch(
    (cause: unknown) => cause,
  );
  t.match(failure, { code: 2, stderr: /did you mean "blackhole"\?/u });
});

await t.test('without root', { skip: process.getuid?.() === 0 ? 'this is root' : false }, async (t) => {
  const failure = await execute(process.execPath, [lab, '--scenario', 'carrier']).catch(
    (cause: unknown) => cause,
  );
  t.match(failure, { code: 2, stderr: /NOT RUN: the lab needs root/u });
});

await t.test('a scenario', { skip: why ?? false, timeout: 60_000 }, async (t) => {
  const run = execute(process.execPath, [lab, '--scenario', 'link-down', '--json']);
  const { stdout } = await run;
  const report = JSON.parse(stdout) as Record<string, unknown>;
  t.match(report, { serving: 'wwan0', servingInTheEnd: 'wlan0', lost: 0, doubled: 0 }, stdout);
  t.same(await namespaces(run.child.pid ?? 0), [], 'nothing is left');
});

await t.test('after a kill', { skip: why ?? false, timeout: 60_000 }, async (t) => {
  const child = spawn(process.execPath, [lab, '--scenario', 'blackhole'], { stdio: 'ignore' });
  const pid = child.pid ?? 0;
  for (let turn = 0; turn < 2000 && (await namespaces(pid)).length < 5; turn++) {
    await settle();
  }
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
  t.not((await namespaces(pid)).length, 0, 'there was something to remove');
  await sweepLabs();
  t.same(await namespaces(pid), []);
});
