import { spawnSync } from 'node:child_process';

/** Runs a command to its end and returns what it wrote; throws with its error output when it fails. */
export function run(command: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
  if (status === 0) return stdout.trim();
  throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? stderr.trim()}`);
}

/** Whether a command is there. */
export function isInstalled(command: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${command}`], { stdio: 'ignore' }).status === 0;
}

/** Waits without giving the event loop a turn, as clean-up on the way out has to. */
export function pauseSync(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/**
 * Installs Debian packages when a command of theirs is missing; returns what the user has to do himself, if anything.
 */
export function provide(commands: readonly string[], packages: readonly string[]): string | undefined {
  const missing = (): string[] => commands.filter((command) => !isInstalled(command));
  if (missing().length === 0) return undefined;
  const install = `apt-get install -y --no-install-recommends ${packages.join(' ')}`;
  if (process.getuid?.() === 0 && isInstalled('apt-get')) {
    console.error(`installing ${packages.join(', ')}`);
    spawnSync('sh', ['-c', `apt-get update -qq; ${install}`], { stdio: ['ignore', 2, 2] });
  }
  const left = missing();
  return left.length === 0 ? undefined : `${left.join(', ')} missing; as root: ${install}`;
}
