// Programs of others that a run needs: found or installed from Debian, and run to their end.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { BatonError, errorText } from '../../src/base/errors.ts';

/** The machine or its network lacks something: nothing is proven. */
export class NotRunError extends BatonError {
  readonly code = 'not-run';
}

/** A program and the Debian package it comes in. */
export interface Program {
  readonly command: string;
  readonly debianPackage: string;
}

const aptMs = 420_000;
const shortMs = 60_000;

/** Installs the packages of the programs that are missing. Throws `NotRunError` with the way out when that fails. */
export async function needPrograms(
  programs: readonly Program[],
  tell: (text: string) => void,
): Promise<void> {
  const missing = await missingOf(programs);
  if (missing.length === 0) return;
  await install([...new Set(missing.map(({ debianPackage }) => debianPackage))], tell);
  const [still] = await missingOf(programs);
  if (still !== undefined) {
    throw new NotRunError(`package ${still.debianPackage} is installed and brings no ${still.command}`);
  }
}

async function missingOf(programs: readonly Program[]): Promise<Program[]> {
  const found = await Promise.all(
    programs.map(({ command }) => succeeds('sh', ['-c', 'command -v "$1"', 'sh', command])),
  );
  return programs.filter((_, index) => found[index] === false);
}

/** Installs packages from Debian. Throws `NotRunError` with the way out when that cannot be done. */
export async function install(packages: readonly string[], tell: (text: string) => void): Promise<void> {
  tell(`installing ${packages.join(', ')} from Debian`);
  const asRoot = process.getuid?.() === 0 ? [] : ['sudo', '-n'];
  const apt = [...asRoot, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '-q', '-y'];
  const locked = ['-o', 'DPkg::Lock::Timeout=400'];
  try {
    await run(...split([...apt, ...locked, 'update']), aptMs);
    await run(...split([...apt, ...locked, 'install', '--no-install-recommends', ...packages]), aptMs);
  } catch (cause) {
    const wayOut = `install ${packages.join(' and ')} by hand`;
    throw new NotRunError(`${errorText(cause)}; ${wayOut}`, { cause });
  }
}

function split([command = '', ...args]: readonly string[]): [string, readonly string[]] {
  return [command, args];
}

/** Whether a command can be run and ends well. */
export async function succeeds(command: string, args: readonly string[]): Promise<boolean> {
  return run(command, args, shortMs).then(
    () => true,
    () => false,
  );
}

const running = new Set<ChildProcess>();

/** Ends the commands that are under way. */
export function endCommands(): void {
  for (const child of running) child.kill('SIGTERM');
}

/** What a command prints until its end; rejects with the end of what it said when it fails or takes too long. */
export function run(command: string, args: readonly string[], timeoutMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    });
    running.add(child);
    let said = '';
    let complaint = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (said += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaint = (complaint + text).slice(-4000);
    });
    child.once('error', reject);
    child.once('close', (code, signal) => {
      running.delete(child);
      const last = (complaint || said).trim().split('\n').slice(-2).join(' ').slice(-300);
      if (code === 0) resolve(said);
      else
        reject(new Error(`${command} ${args.slice(0, 4).join(' ')} ended with ${signal ?? code}: ${last}`));
    });
  });
}
