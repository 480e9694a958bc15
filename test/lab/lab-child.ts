import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { millis } from '../../src/base/units.ts';
import { NodeClock } from '../../src/host/clock.ts';
import { LineSplitter } from '../../src/host/line-splitter.ts';

/** One of our modules as a child of the lab, in a namespace where one is named; it speaks JSON, one value a line. */
export class LabChild {
  readonly exited: Promise<void>;
  readonly #child: ChildProcess;
  readonly #onValue: (value: unknown) => void;
  #waiting: ((value: unknown) => void)[] = [];
  #fail: ((error: Error) => void)[] = [];
  #errors = '';

  /** `onValue` gets what comes when nobody waits for an answer. */
  constructor(options: {
    module: URL;
    namespace?: string;
    args?: readonly string[];
    env?: Readonly<Record<string, string>>;
    onValue?: (value: unknown) => void;
  }) {
    const { module, namespace, args = [], env = {}, onValue = () => undefined } = options;
    const node = [process.execPath, '--enable-source-maps', fileURLToPath(module), ...args];
    const [command = '', ...words] =
      namespace === undefined ? node : ['ip', 'netns', 'exec', namespace, ...node];
    this.#onValue = onValue;
    this.#child = spawn(command, words, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...env } });
    this.exited = new Promise((resolve) => this.#child.once('close', () => resolve()));
    void this.exited.then(() => {
      for (const fail of this.#fail) fail(new Error(`the child ended: ${this.#errors.slice(0, 400)}`));
    });
    this.#child.on('error', (cause) => (this.#errors += cause.message));
    this.#child.stdin?.on('error', () => undefined);
    const lines = new LineSplitter({ lengthMax: 1_048_576, onLine: (line) => this.#take(line) });
    this.#child.stdout?.on('data', (data: Uint8Array) => lines.push(data));
    this.#child.stderr?.on(
      'data',
      (data: Uint8Array) => (this.#errors += Buffer.from(data).toString('utf8').slice(0, 2000)),
    );
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** The next value that comes; rejects when the child ends before. */
  next(): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#waiting.push(resolve);
      this.#fail.push(reject);
    });
  }

  tell(value: unknown): void {
    this.#child.stdin?.write(`${JSON.stringify(value)}\n`);
  }

  /** Ends its input, and the child when it does not end by itself. */
  async stop(): Promise<void> {
    this.#child.stdin?.end();
    const cancel = new NodeClock().schedule(millis(3000), () => this.#child.kill('SIGKILL'));
    await this.exited;
    cancel();
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  #take(line: Uint8Array): void {
    const text = Buffer.from(line).toString('utf8');
    if (!text.startsWith('{')) return;
    const value: unknown = JSON.parse(text);
    const resolve = this.#waiting.shift();
    this.#fail.shift();
    if (resolve === undefined) this.#onValue(value);
    else resolve(value);
  }
}
