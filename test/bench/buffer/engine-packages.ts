import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import * as fs from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { packageFolder } from './require-engine.ts';

/**
 * Installs the packages and builds those named, each for itself; returns what is wrong with each that does not load.
 */
export async function installEngines(names: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const failures = new Map<string, string>();
  const lock = await fs.readFile(join(packageFolder, 'package-lock.json'), 'utf8');
  const mark = join(packageFolder, 'node_modules', '.installed-lock.json');
  const installed = await fs.readFile(mark, 'utf8').catch(() => '');
  let problem: string | undefined;
  if (installed !== lock) {
    console.error(`installing the other engines in ${packageFolder}`);
    // Without scripts: an engine that does not build must not take the others along.
    problem = await npm('ci', '--ignore-scripts', '--no-audit', '--no-fund');
    if (problem === undefined) await fs.writeFile(mark, lock);
  }
  for (const name of names) {
    const reason = problem ?? (await provideEngine(name));
    if (reason !== undefined) failures.set(name, reason);
  }
  return failures;
}

async function provideEngine(name: string): Promise<string | undefined> {
  if ((await loadFailure(name)) === undefined) return undefined;
  console.error(`building ${name}, this may take minutes`);
  const problem = await npm('rebuild', name);
  return problem ?? (await loadFailure(name));
}

/** In a process of its own, so that a module that was missing is not remembered as missing. */
async function loadFailure(name: string): Promise<string | undefined> {
  const probes: Readonly<Record<string, string>> = {
    'better-sqlite3': "new (require('better-sqlite3'))(':memory:').close()",
  };
  return execute(process.execPath, ['-e', probes[name] ?? `require('${name}')`]);
}

function npm(...words: string[]): Promise<string | undefined> {
  const prefix = dirname(dirname(process.execPath));
  const headers = join(prefix, 'include', 'node', 'node.h');
  const isTold = process.env['npm_config_nodedir'] !== undefined || !existsSync(headers);
  const extra = isTold ? {} : { npm_config_nodedir: prefix };
  return execute('npm', words, extra);
}

/** Runs a command in the package; answers the end of what it wrote when it fails. */
function execute(
  command: string,
  words: readonly string[],
  extra: Record<string, string> = {},
): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = spawn(command, words, {
      cwd: packageFolder,
      env: { ...process.env, ...extra },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let text = '';
    const take = (chunk: Buffer): void => {
      text = (text + chunk.toString()).slice(-8192);
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.on('error', (error) => resolve(error.message));
    child.on('close', (status) => {
      const lines = text.split('\n').filter((line) => /\berr(or|!)?\b/i.test(line));
      resolve(status === 0 ? undefined : `${command} ${words.join(' ')}: ${lines.slice(0, 3).join(' ')}`);
    });
  });
}
