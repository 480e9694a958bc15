/**
 * Our own modules as child processes, speaking lines of text: the parent writes to the child's standard input and
 * reads its standard output.
 *
 * A child must end when its parent dies, however that happens. It therefore watches its standard input: the kernel
 * closes it with the parent, even after `kill -9`. `openParentChannel` is the child's half and reports that end.
 */
import { spawn } from 'node:child_process';
import type { ChildProcessByStdio } from 'node:child_process';
import { realpathSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { IoError, errorText } from '../base/errors.ts';
import { LineSplitter } from './line-splitter.ts';

/** Longest line that either side takes; a longer one is dropped. */
const lineBytesMax = 1_048_576;
/** Octets that may wait for a child that does not read. */
const waitingBytesMax = 1_048_576;

/** How a child ended: one of the two is set. */
export interface ChildExit {
  readonly code: number | null;
  readonly signal: string | null;
}

/** What to start and who listens to it. */
export interface ModuleOptions {
  /** A compiled module of ours: a `file:` URL or a path. */
  readonly module: URL | string;
  readonly args?: readonly string[];
  /** Added to the environment of this process. */
  readonly env?: Readonly<Record<string, string>>;
  readonly onLine?: (line: string) => void;
  readonly onErrorLine?: (line: string) => void;
  readonly onExit?: (exit: ChildExit) => void;
}

/** A running child. */
export interface ModuleProcess {
  readonly pid: number;
  /** Resolves when the child has ended and all of its output has been reported. */
  readonly exited: Promise<ChildExit>;
  /** Sends one line to its standard input; nothing once it has ended. Throws `IoError` when it does not read. */
  writeLine(text: string): void;
  /** Ends its standard input, which asks a child of ours to finish by itself. */
  endInput(): void;
  kill(signal?: 'SIGTERM' | 'SIGKILL' | 'SIGINT' | 'SIGSTOP' | 'SIGCONT'): void;
}

/**
 * Starts one of our own compiled modules in a Node process of its own. Throws `IoError` when it cannot be started.
 */
export async function startModule(options: ModuleOptions): Promise<ModuleProcess> {
  const file = typeof options.module === 'string' ? options.module : fileURLToPath(options.module);
  const child = spawn(process.execPath, ['--enable-source-maps', file, ...(options.args ?? [])], {
    stdio: ['pipe', 'pipe', 'pipe'],
    // In a session of its own: Ctrl-C in a terminal is for the parent alone, which then ends its children in order.
    detached: true,
    env: { ...process.env, ...options.env },
  });
  const exited = new Promise<ChildExit>((resolve) => {
    child.once('close', (code, signal) => {
      options.onExit?.({ code, signal });
      resolve({ code, signal });
    });
  });
  child.stdin.on('error', () => undefined); // EPIPE of a child that has gone: `exited` tells it
  readLines(child.stdout, options.onLine);
  readLines(child.stderr, options.onErrorLine);
  await started(child, file);
  return new NodeModuleProcess(child, file, exited);
}

class NodeModuleProcess implements ModuleProcess {
  readonly pid: number;
  readonly exited: Promise<ChildExit>;
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #file: string;

  constructor(
    child: ChildProcessByStdio<Writable, Readable, Readable>,
    file: string,
    exited: Promise<ChildExit>,
  ) {
    this.#child = child;
    this.#file = file;
    this.exited = exited;
    this.pid = child.pid ?? 0;
  }

  writeLine(text: string): void {
    const input = this.#child.stdin;
    if (!input.writable) return;
    if (input.writableLength > waitingBytesMax) {
      throw new IoError(
        `${this.#file} (pid ${this.pid}) does not read: ${input.writableLength} bytes wait for it`,
      );
    }
    input.write(`${text}\n`);
  }

  endInput(): void {
    this.#child.stdin.end();
  }

  kill(signal: 'SIGTERM' | 'SIGKILL' | 'SIGINT' | 'SIGSTOP' | 'SIGCONT' = 'SIGTERM'): void {
    this.#child.kill(signal);
  }
}

/** The child's half of the lines between it and its parent. */
export interface ParentChannel {
  /** The command line after the module's name. */
  readonly args: readonly string[];
  writeLine(text: string): void;
  /** Resolves when what was written has left this process. */
  flush(): Promise<void>;
}

/** Whether the module at `moduleUrl` (its `import.meta.url`) is the one that this process was started with. */
export function isMainModule(moduleUrl: string): boolean {
  const started = process.argv[1];
  if (started === undefined) return false;
  try {
    return realpathSync(started) === fileURLToPath(moduleUrl);
  } catch {
    return false;
  }
}

/**
 * Opens the child's half. `onEnd` is called once when standard input ends, which is also how a parent's death shows:
 * finish then.
 */
export function openParentChannel(options: {
  onLine: (line: string) => void;
  onEnd: () => void;
}): ParentChannel {
  readLines(process.stdin, options.onLine);
  process.stdin.once('end', options.onEnd);
  process.stdin.once('error', options.onEnd);
  process.stdout.on('error', () => undefined); // the parent has gone: standard input ends as well
  return {
    args: process.argv.slice(2),
    writeLine: (text) => {
      process.stdout.write(`${text}\n`);
    },
    flush: () => new Promise((resolve) => process.stdout.write('', () => resolve())),
  };
}

/** Sets the code with which this process will end; it ends when nothing is left to do. */
export function setExitCode(code: number): void {
  process.exitCode = code;
}

function readLines(stream: Readable, onLine: ((line: string) => void) | undefined): void {
  const splitter = new LineSplitter({
    lengthMax: lineBytesMax,
    onLine: (line) => onLine?.(Buffer.from(line).toString('utf8')),
  });
  stream.on('data', (data: Uint8Array) => splitter.push(data));
  stream.on('end', () => splitter.push(Uint8Array.of(0x0a)));
}

function started(child: ChildProcessByStdio<Writable, Readable, Readable>, file: string): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (cause) =>
      reject(new IoError(`cannot start ${file}: ${errorText(cause)}`, { cause })),
    );
  });
}
