/**
 * Proves that `baton sim` runs seeds in processes of its own and adds them up, that a seed which breaks an invariant is told
 * with a command that runs it again and fails the same way, and that a command line without sense is answered clearly.
 */
import t from 'tap';
import { runCli } from '../../src/gateway/cli.ts';
import { createNodeHost } from '../../src/host/host.ts';
import { NodeLocalSockets } from '../../src/host/local-socket.ts';
import type { Terminal } from '../../src/host/terminal.ts';

t.setTimeout(300_000);

async function run(
  words: readonly string[],
  signal: AbortSignal = new AbortController().signal,
): Promise<{ code: number; out: string; err: string }> {
  const texts = { out: '', err: '' };
  const terminal = (name: 'out' | 'err'): Terminal => ({
    isTty: false,
    hasCursorControl: false,
    hasUnicode: false,
    hasColour: false,
    isBroken: false,
    backlogBytes: 0,
    size: () => ({ columns: 100, rows: 30 }),
    write: (text) => void (texts[name] += text),
    onResize: () => () => undefined,
    onExit: () => () => undefined,
  });
  const code = await runCli(words, {
    stdout: terminal('out'),
    stderr: terminal('err'),
    signal,
    pid: process.pid,
    openHost: () => Promise.resolve({ host: createNodeHost(), localSockets: new NodeLocalSockets() }),
  });
  return { code, ...texts };
}

void t.test('a command line without sense', async (t) => {
  const rows: readonly (readonly [string, RegExp])[] = [
    ['--seeds 5..2', /--seeds "5\.\.2" is not A\.\.B/u],
    ['--seeds 5..', /is not A\.\.B/u],
    ['--seeds x', /is not A\.\.B/u],
    ['--without los', /--without los: .*loss/u],
    ['--mutant none', /--mutant "none" is unknown/u],
    ['--workers 0', /--workers "0" is not a whole number from 1/u],
    ['--trace', /--trace tells of one seed/u],
  ];
  for (const [words, message] of rows) {
    const { code, out, err } = await run(['sim', ...words.split(' ')]);
    t.equal(code, 2, words);
    t.match(err, message);
    t.equal(out, '');
  }
});

void t.test('seeds side by side', async (t) => {
  const { code, out, err } = await run(
    'sim --seeds 1..2 --per-seed 1 --without kills,powerCuts --json'.split(' '),
  );
  const figures = JSON.parse(out) as { seeds: number; virtualHours: number; workers: number };
  t.equal(code, 0, err);
  t.match(figures, {
    verdict: 'pass',
    seeds: 2,
    workers: 2,
    violations: 0,
    failing: [],
    isInterrupted: false,
  });
  t.ok(figures.virtualHours > 0);
});

void t.test('a seed that fails, and its replay', async (t) => {
  const words = 'sim --seeds 1..1 --per-seed 4 --mutant releasedBeforeClaim --json'.split(' ');
  const { code, out, err } = await run([...words, '--shrink']);
  t.equal(code, 1);
  const { failing } = JSON.parse(out) as {
    failing: { replay: string; violations: { invariant: string }[] }[];
  };
  t.match(failing, [{ seed: 1, violations: [{ invariant: 'I4' }], faults: [] }]);
  const replay = failing[0]?.replay ?? '';
  t.match(err, `replay: ${replay}`);
  const again = await run(`${replay.slice('baton '.length)} --json`.split(' '));
  t.equal(again.code, 1);
  t.same(
    (JSON.parse(again.out) as { failing: unknown[] }).failing,
    failing,
    'the same violation, at the same time',
  );
});

void t.test('an interrupted run says so', async (t) => {
  const stop = new AbortController();
  stop.abort();
  const { code, out } = await run(['sim', '--json'], stop.signal);
  t.equal(code, 0);
  t.match(JSON.parse(out), { seeds: 0, isInterrupted: true });
});
