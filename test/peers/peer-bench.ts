// What each part of the run against real peers works with: checks that are told as they end, programs that end with the
// part, sockets that are closed with it and a folder that is removed.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { errorText } from '../../src/base/errors.ts';
import { millis } from '../../src/base/units.ts';
import { sleep, withDeadline } from '../../src/host/clock.ts';
import type { Host } from '../../src/host/host.ts';
import { createTemporaryDirectory } from '../../src/host/temporary-directory.ts';
import type { Program } from '../real/programs.ts';
import type { Report } from '../real/report.ts';
import { StepError } from '../real/steps.ts';

/** One kind of real peer, as an entry of parts-table.ts. */
export interface PeerPart {
  /** What `--only` calls it. */
  readonly name: string;
  /** What must be installed; without it the part is told as not run. */
  readonly programs: readonly Program[];
  /** Runs its checks; what it rejects with counts as one that failed. */
  readonly run: (bench: PeerBench) => Promise<void>;
}

/** A program that runs until it is stopped. */
export interface PeerProgram {
  /** What it has written to standard output and standard error so far, the last 64 KiB of it. */
  readonly output: () => string;
  readonly isRunning: () => boolean;
  /** Asks it to end, and after some seconds makes it. */
  readonly stop: () => Promise<void>;
}

const endMs = millis(3_000);
const checkMs = millis(60_000);
const outputMax = 65_536;
const pollMs = millis(20);

/** The bench of one part. */
export class PeerBench {
  readonly host: Host;
  readonly #part: string;
  readonly #report: Report;
  readonly #ends: (() => Promise<unknown>)[] = [];
  #directory: Promise<string> | undefined;

  constructor(host: Host, part: string, report: Report) {
    this.host = host;
    this.#part = part;
    this.#report = report;
  }

  /**
   * Runs one check and reports it; the checks after it run whatever becomes of it. It resolves to what was found, and
   * rejects with what was wrong, an assertion for example.
   */
  async check(title: string, work: () => Promise<readonly string[] | void>): Promise<void> {
    const { clock } = this.host;
    const beganMs = clock.monotonicMs();
    let notes: readonly string[];
    let passed = true;
    try {
      notes = (await withDeadline(clock, checkMs, title, work())) ?? [];
    } catch (error) {
      passed = false;
      notes = errorText(error).split('\n').slice(0, 12);
    }
    this.#report.add({
      part: this.#part,
      title,
      passed,
      notes,
      ms: Math.round(clock.monotonicMs() - beganMs),
    });
  }

  /** Has something ended with the part, the last named first. */
  defer(end: () => Promise<unknown>): void {
    this.#ends.push(end);
  }

  /** A folder for files of this part. */
  directory(): Promise<string> {
    this.#directory ??= createTemporaryDirectory(`baton-${this.#part}-`).then((directory) => {
      this.#ends.unshift(() => directory.remove());
      return directory.path;
    });
    return this.#directory;
  }

  /** A UDP port that is free now. */
  async freeUdpPort(localAddress: string): Promise<number> {
    const socket = await this.host.network.openDatagram({ localAddress });
    const { port } = socket.local;
    await socket.close();
    return port;
  }

  /** Starts a program that serves; it ends with the part at the latest. */
  start(command: string, args: readonly string[]): PeerProgram {
    // A session of its own: Ctrl-C is for this process, which then ends the others in order.
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    let said = '';
    const hear = (text: string): void => void (said = (said + text).slice(-outputMax));
    child.stdout.setEncoding('utf8').on('data', hear);
    child.stderr.setEncoding('utf8').on('data', hear);
    child.once('error', (error) => hear(errorText(error)));
    const stop = (): Promise<void> => this.#end(child);
    this.defer(stop);
    return { output: () => said, isRunning: () => isRunning(child), stop };
  }

  /** Waits until something holds. Throws `StepError` that names it when it does not within `limitMs`. */
  async until(what: string, holds: () => boolean | Promise<boolean>, limitMs = 5_000): Promise<void> {
    const { clock } = this.host;
    const untilMs = clock.monotonicMs() + limitMs;
    while (!(await holds())) {
      if (clock.monotonicMs() > untilMs) throw new StepError(`${what}: not within ${limitMs} ms`);
      await sleep(clock, pollMs);
    }
  }

  /** Ends all that was started. */
  async close(): Promise<void> {
    for (let end = this.#ends.pop(); end !== undefined; end = this.#ends.pop()) {
      await end().catch(() => undefined);
    }
  }

  async #end(child: ChildProcess): Promise<void> {
    if (!isRunning(child)) return;
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill('SIGTERM');
    await withDeadline(this.host.clock, endMs, 'its end', gone).catch(async () => {
      child.kill('SIGKILL');
      await gone;
    });
  }
}

function isRunning(child: ChildProcess): boolean {
  return child.pid !== undefined && (child.exitCode ?? child.signalCode) === null;
}
