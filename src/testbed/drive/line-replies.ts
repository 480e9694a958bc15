import { DeadlineError, IoError } from '../../base/errors.ts';
import type { Millis } from '../../base/units.ts';
import { startModule } from '../../host/child-process.ts';
import type { ModuleOptions, ModuleProcess } from '../../host/child-process.ts';
import { withDeadline } from '../../host/clock.ts';
import type { Clock } from '../../host/clock.ts';

type Reply = Readonly<Record<string, unknown>>;

const keptMax = 10_000;

/** A process of ours that answers in JSON lines: replies are waited for by the key that tells them apart. */
export class LineReplies {
  #process: ModuleProcess | undefined;
  #replies: Reply[] = [];
  #waiting: { key: string; resolve: (reply: Reply) => void; reject: (error: Error) => void }[] = [];

  async start(options: Omit<ModuleOptions, 'onLine' | 'onExit'>): Promise<void> {
    this.#process = await startModule({
      ...options,
      onLine: (line) => this.#take(line),
      onExit: ({ code, signal }) => {
        const error = new IoError(`${String(options.module)} ended (${signal ?? `exit code ${code}`})`);
        for (const { reject } of this.#waiting.splice(0)) reject(error);
      },
    });
  }

  send(order: Reply): void {
    this.#process?.writeLine(JSON.stringify(order));
  }

  /** The next reply that has `key`, of those that came already or come within `limitMs`. */
  next(key: string, clock: Clock, limitMs: Millis): Promise<Reply> {
    const index = this.#replies.findIndex((reply) => key in reply);
    const [found] = index < 0 ? [] : this.#replies.splice(index, 1);
    if (found !== undefined) return Promise.resolve(found);
    const reply = new Promise<Reply>((resolve, reject) => this.#waiting.push({ key, resolve, reject }));
    return withDeadline(clock, limitMs, `reply "${key}"`, reply).catch((error: unknown) => {
      const refusal = this.takeAll('error')[0];
      throw error instanceof DeadlineError && refusal !== undefined
        ? new IoError(String(refusal.error))
        : error;
    });
  }

  /** All replies with `key` that came and were not taken. */
  takeAll(key: string): Reply[] {
    const taken = this.#replies.filter((reply) => key in reply);
    this.#replies = this.#replies.filter((reply) => !(key in reply));
    return taken;
  }

  /** Asks the process to end and waits for it. */
  async end(): Promise<void> {
    this.#process?.endInput();
    await this.#process?.exited;
  }

  #take(line: string): void {
    let reply: unknown;
    try {
      reply = JSON.parse(line);
    } catch {
      return; // not for us: a library that prints
    }
    if (typeof reply !== 'object' || reply === null) return;
    const index = this.#waiting.findIndex(({ key }) => key in reply);
    const [waiting] = index < 0 ? [] : this.#waiting.splice(index, 1);
    if (waiting !== undefined) waiting.resolve(reply as Reply);
    else if (this.#replies.length < keptMax) this.#replies.push(reply as Reply);
  }
}
