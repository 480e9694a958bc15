// Proves: the command line answers every mistake with one clear line, the nearest valid word and the documented exit code,
// loads only the command that runs, ends in order at the first signal and at once at the second, and survives the end of
// its reader.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { AssertionError } from '../../src/base/assert.ts';
import { CancelledError, IoError } from '../../src/base/errors.ts';
import { commandEntries, runCli } from '../../src/gateway/cli.ts';
import type { CommandEntry } from '../../src/gateway/cli.ts';
import { requireWord } from '../../src/gateway/command.ts';
import type { Command, CommandContext } from '../../src/gateway/command.ts';
import { exampleConfig } from '../../src/gateway/config-example.ts';
import { ControlServer } from '../../src/gateway/control-server.ts';
import type { GatewayStatus } from '../../src/gateway/status.ts';
import { version } from '../../src/gateway/version.ts';
import { createNodeHost } from '../../src/host/host.ts';
import { NodeLocalSockets } from '../../src/host/local-socket.ts';
import type { Terminal } from '../../src/host/terminal.ts';

const binPath = fileURLToPath(new URL('../../src/gateway/bin.js', import.meta.url));
const localSockets = new NodeLocalSockets();

const status: GatewayStatus = {
  device: 'gw\u001b[2J', pid: 4711, uptimeMs: 1, links: [], levels: [], streams: [], sensors: [], alarms: [],
  handovers: { completed: 0, rolledBack: 0, failed: 0 }, service: { state: 'good' },
  buffer: { stored: 7, delivered: 7, evicted: 0, corrupt: 0, pending: 0, bytes: 0, capacityBytes: 0 },
  commands: { received: 0, executed: 0, duplicates: 0 },
}; // prettier-ignore

class TextTerminal implements Terminal {
  readonly isTty = false;
  readonly hasCursorControl = false;
  readonly hasUnicode = true;
  readonly hasColour = false;
  readonly backlogBytes = 0;
  isBroken = false;
  text = '';
  write(text: string): void {
    this.text += text;
  }
  size(): { columns: number; rows: number } {
    return { columns: 80, rows: 24 };
  }
  onResize(): () => void {
    return () => undefined;
  }
  onExit(): () => void {
    return () => undefined;
  }
}

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function baton(
  args: readonly string[],
  entries?: readonly CommandEntry[],
  signal?: AbortSignal,
): Promise<Outcome> {
  const stdout = new TextTerminal();
  const stderr = new TextTerminal();
  const code = await runCli(args, {
    stdout,
    stderr,
    signal: signal ?? new AbortController().signal,
    pid: process.pid,
    openHost: async () => ({ host: createNodeHost(), localSockets }),
    ...(entries === undefined ? {} : { entries }),
  });
  return { code, out: stdout.text, err: stderr.text };
}

function entry(run: (context: CommandContext) => Promise<number>): CommandEntry[] {
  const command: Command = {
    name: 'try',
    summary: 'tries',
    usage: ['try [WORD]', 'try --count N'],
    options: {
      count: { type: 'number', argument: 'N', summary: 'how often', min: 1, max: 9 },
      ratio: { type: 'number', summary: 'how much', max: 1, fraction: true },
      file: { type: 'text', argument: 'FILE', summary: 'which' },
      mode: { type: 'text', summary: 'how', among: ['fast', 'slow'] },
      json: { type: 'flag', summary: 'as JSON' },
    },
    wordsMax: 1,
    run,
  };
  return [{ name: 'try', summary: 'tries', load: async () => ({ command }) }];
}

void t.test('help and version load no command', async (t) => {
  const forbidden: CommandEntry[] = commandEntries.map(({ name, summary }) => ({
    name,
    summary,
    load: () => Promise.reject(new Error('loaded')),
  }));
  for (const args of [[], ['help'], ['--help'], ['-h'], ['help', 'help']]) {
    const { code, out } = await baton(args, forbidden);
    t.equal(code, 0);
    t.match(out, /^Usage: baton COMMAND/u);
    for (const { name } of commandEntries) t.match(out, new RegExp(`^  ${name} `, 'mu'));
    t.match(out, /Exit codes:\n +0 +done\n +1 .*\n +2 .*\n +70 .*\n +130 /u);
  }
  const manifest = JSON.parse(await readFile('package.json', 'utf8')) as { version: string };
  t.same(await baton(['--version'], forbidden), { code: 0, out: `baton ${manifest.version}\n`, err: '' });
  t.equal(version, manifest.version);
});

void t.test('help of a command', async (t) => {
  const entries = entry(async () => 0);
  for (const args of [
    ['help', 'try'],
    ['try', '--help'],
    ['try', '-h', '--nonsense'],
  ]) {
    const { code, out } = await baton(args, entries);
    t.equal(code, 0);
    t.match(
      out,
      /^Usage: baton try \[WORD\]\n {7}baton try --count N\n\ntry: tries\n\nOptions:\n +--count N +how often\n/u,
    );
  }
  for (const known of commandEntries.filter((known) => ['config', 'status'].includes(known.name))) {
    t.match((await known.load()).command, { name: known.name });
    t.match(await baton(['help', known.name]), {
      code: 0,
      out: new RegExp(`Usage: baton ${known.name} `, 'u'),
    });
  }
});

void t.test('arguments reach the command, checked', async (t) => {
  const seen: unknown[] = [];
  const entries = entry(async ({ options, words, isTty, pid }) => {
    seen.push([
      options.number('count'),
      options.number('ratio'),
      options.text('file'),
      options.flag('json'),
      words,
      isTty,
    ]);
    return pid === process.pid ? 3 : 4;
  });
  t.match(await baton(['try', '--count', '3', 'word', '--file=--odd', '--json', '--ratio', '0.5'], entries), {
    code: 3,
    err: '',
  });
  t.match(await baton(['--debug', 'try'], entries), { code: 3 });
  t.same(seen, [[3, 0.5, '--odd', true, ['word'], false], [undefined, undefined, undefined, false, [], false]]); // prettier-ignore

  const mistakes: [string[], RegExp][] = [
    [['tyr'], /unknown command "tyr", /u],
    [['trry'], /unknown command "trry", did you mean "try"\?/u],
    [['--verison'], /unknown option "--verison", /u],
    [['help', 'trry'], /unknown command "trry", did you mean "try"\?/u],
    [['try', '--cuont', '3'], /unknown option "--cuont", /u],
    [['try', '--jsn'], /unknown option "--jsn", did you mean "--json"\?/u],
    [['try', '--constructor'], /unknown option "--constructor"/u],
    [['try', '-x'], /unknown option "-x"/u],
    [['try', '--count'], /--count needs a value: --count N/u],
    [['try', '--file', '--json'], /--file needs a value: --file FILE/u],
    [['try', '--count', '3.5'], /--count "3\.5" is not a whole number from 1 to 9/u],
    [['try', '--count', '0x5'], /--count "0x5" is not a whole number/u],
    [['try', '--count', '10'], /from 1 to 9/u],
    [['try', '--ratio', '2'], /--ratio "2" is not a number from 0 to 1/u],
    [['try', '--mode', 'fats'], /--mode "fats" is unknown, valid: fast, slow/u],
    [['try', '--json=yes'], /--json takes no value/u],
    [['try', '--json', '--json'], /--json is given twice/u],
    [['try', 'a', 'b'], /"b" is one word too many/u],
    [['try', '\u001b[2J', 'b\u001b[2J'], /"b\\x1b\[2J" is one word too many/u],
  ];
  for (const [args, pattern] of mistakes) {
    const { code, out, err } = await baton(args, entries);
    t.equal(code, 2, args.join(' '));
    t.equal(out, '');
    t.match(err, pattern);
    t.match(err, /^baton: [^\n]*\n$/u, 'one line');
  }
});

void t.test('errors', async (t) => {
  const failing = (error: unknown, args: string[] = []): Promise<Outcome> =>
    baton(
      ['try', ...args],
      entry(async () => {
        throw error;
      }),
    );
  const cause = new Error('EACCES');
  t.same(await failing(new IoError('cannot open /dev/x\u001b[2J', { cause })), {
    code: 1,
    out: '',
    err: 'baton: cannot open /dev/x\\x1b[2J\n',
  });
  const { err } = await failing(new IoError('cannot open /dev/x', { cause }), ['--debug']);
  t.match(err, /cannot open[^]*at [^]*caused by: Error: EACCES/u, 'with --debug the way to it');
  t.match(await failing(new AssertionError('impossible')), {
    code: 70,
    err: /a defect in Baton: impossible\n[^]* at /,
  });
  t.match(await failing(new TypeError('x is not a function')), {
    code: 70,
    err: /a defect in Baton: x is not/,
  });
  t.match(await failing('text'), { code: 70, err: /a defect in Baton: text/ });
  const words = entry(async (context) => requireWord(context, 0, 'action', ['init', 'check']).length);
  t.match(await baton(['try'], words), { code: 2, err: /action is missing, valid: init, check/ });
  t.match(await baton(['try', 'chec'], words), {
    code: 2,
    err: /unknown action "chec", did you mean "check"\?/,
  });
  const stopped = AbortSignal.abort();
  const cancelled = entry(() => Promise.reject(new CancelledError('stopped')));
  t.equal((await baton(['try'], cancelled, stopped)).code, 0, 'ending because the user asked is no failure');
  t.equal((await baton(['try'], cancelled)).code, 1);
});

void t.test('config and status', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'baton-cli-'));
  t.teardown(() => rm(directory, { recursive: true }));
  const file = join(directory, 'gw.yaml');
  t.same(await baton(['config', 'init']), { code: 0, out: exampleConfig, err: '' });
  await writeFile(file, exampleConfig);
  const checked = await baton(['config', 'check', file]);
  t.match(checked, { code: 0, err: '', out: /^device: gw1\n[^]*quotaBytes: 536870912\n/ });
  await writeFile(join(directory, 'again.yaml'), checked.out);
  t.equal(
    (await baton(['config', 'check', join(directory, 'again.yaml')])).out,
    checked.out,
    'what it prints is valid',
  );
  await writeFile(join(directory, 'bad.yaml'), 'devcie: gw1\n');
  t.match(await baton(['config', 'check', join(directory, 'bad.yaml')]), {
    code: 1,
    err: /^baton: .*bad\.yaml:1: /,
  });
  t.match(await baton(['config', 'check', join(directory, 'none.yaml')]), {
    code: 1,
    err: /no such file; write one/,
  });
  t.match(await baton(['config', 'check']), { code: 2, err: /FILE is missing/ });
  t.match(await baton(['config', 'init', 'x']), { code: 2, err: /redirect its output/ });
  t.match(await baton(['config', 'explain', 'log.level']), {
    code: 0,
    out: /one of error, warn, info, debug/,
  });

  t.match(await baton(['status', '--config', file, '--data', directory]), {
    code: 2,
    err: /exclude each other/,
  });
  t.match(await baton(['status', '--config', file]), {
    code: 1,
    err: /no gateway runs on .*data; start one with/,
  });
  const server = await ControlServer.open({
    host: { ...createNodeHost(), localSockets },
    directory: join(directory, 'data'),
    pid: 4711,
  });
  t.teardown(() => server.close());
  t.match(await baton(['status', '--config', file]), { code: 1, err: /the gateway is starting/ });
  server.serve({ status: () => status, handover: async () => ({}), stop: () => undefined });
  const shown = await baton(['status', '--data', join(directory, 'data')]);
  t.match(shown, { code: 0, out: /gw\\x1b\[2J[^]*stored 7/ });
  t.same(JSON.parse((await baton(['status', '--config', file, '--json'])).out), status);
  const until = new AbortController();
  const watched = baton(['status', '--config', file, '--watch', '--json'], undefined, until.signal);
  while (!server.hasSubscribers)
    await new Promise((resolve) => process.nextTick(resolve)).then(() => localTurn());
  server.publish({ kind: 'alarm', text: 'x', active: true });
  await localTurn();
  until.abort();
  t.match(await watched, { code: 0, err: '' });
});

/** Lets sockets of this process make progress: one round over a real one. */
async function localTurn(): Promise<void> {
  await readFile('package.json');
}

void t.test('the process', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'baton-bin-'));
  t.teardown(() => rm(directory, { recursive: true }));
  const start = (args: string[]): ChildProcess =>
    spawn(process.execPath, [binPath, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const end = async (
    child: ChildProcess,
  ): Promise<{ code: number | null; signal: string | null; err: string }> => {
    let err = '';
    child.stderr?.on('data', (data: Buffer) => (err += data.toString()));
    return new Promise((resolve) => child.once('close', (code, signal) => resolve({ code, signal, err })));
  };

  await t.test('exit codes', async (t) => {
    t.match(await end(start(['--version'])), { code: 0 });
    t.match(await end(start(['nonsense'])), { code: 2, err: /^baton: unknown command "nonsense"/ });
  });

  const serveStatus = async (): Promise<ControlServer> => {
    const server = await ControlServer.open({
      host: { ...createNodeHost(), localSockets },
      directory,
      pid: 1,
    });
    server.serve({ status: () => status, handover: async () => ({}), stop: () => undefined });
    return server;
  };

  await t.test('a reader that goes away ends it without a crash', async (t) => {
    const server = await serveStatus();
    const child = start(['status', '--data', directory, '--watch', '--json']);
    const ended = end(child);
    while (!server.hasSubscribers) await localTurn();
    child.stdout?.destroy();
    while (server.hasSubscribers) {
      server.publish({ kind: 'alarm', text: 'x', active: true });
      await localTurn();
    }
    t.match(await ended, { code: 0, signal: null, err: '' });
    await server.close();
  });

  await t.test('a signal that came before the gateway was there ends it as well', async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'baton-cli-'));
    t.teardown(() => rm(directory, { recursive: true }));
    const file = join(directory, 'baton.yaml');
    await writeFile(file, exampleConfig);
    t.match(await baton(['run', '--config', file], undefined, AbortSignal.abort()), { code: 0, err: '' });
  });

  await t.test('a signal ends it in order', async (t) => {
    const server = await ControlServer.open({
      host: { ...createNodeHost(), localSockets },
      directory,
      pid: 1,
    });
    t.teardown(() => server.close());
    server.serve({ status: () => status, handover: async () => ({}), stop: () => undefined });
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      const child = start(['status', '--data', directory, '--watch', '--json']);
      const ended = end(child);
      while (!server.hasSubscribers) await localTurn();
      child.kill(signal);
      t.match(await ended, { code: 0, signal: null, err: '' });
      while (server.hasSubscribers) await localTurn();
    }
  });
});
