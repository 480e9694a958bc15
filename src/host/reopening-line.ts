/**
 * Keeps a serial device in use for months: opens it, hands the open line to its owner, and opens it again after it
 * was unplugged, fell silent or spoke nonsense. The waits between attempts grow and are jittered; they start over
 * once the device has worked.
 */
import { assert } from '../base/assert.ts';
import { CancelledError, errorText } from '../base/errors.ts';
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import { sleep, withDeadline } from './clock.ts';
import type { Clock } from './clock.ts';
import { randomFraction } from './entropy.ts';
import type { Entropy } from './entropy.ts';
import type { SerialLine, SerialLines } from './serial-line.ts';

/**
 * How a device is: `opening` for the first time, `ready` and delivering, `silent` (open, but nothing usable comes),
 * `lost` (cannot be opened or went away), `stopped` by its owner.
 */
export type DeviceState = 'opening' | 'ready' | 'silent' | 'lost' | 'stopped';

/** A change of state; `reason` names the port, what happened and the way out. */
export interface DeviceReport {
  readonly state: DeviceState;
  readonly reason: string;
}

/** How a period of use ended. */
export interface ServeEnd {
  readonly state: 'silent' | 'lost';
  readonly reason: string;
  /** Whether the device worked in between, so that the next attempt need not wait long. */
  readonly worked: boolean;
}

/** What to keep open, and who uses it. */
export interface ReopeningLineOptions {
  readonly serialLines: SerialLines;
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly path: string;
  readonly baudRate: number;
  /** Wait before the second attempt; the default is 250 ms. */
  readonly reopenMsMin?: Millis;
  /** Longest wait between attempts; the default is 10 s. */
  readonly reopenMsMax?: Millis;
  /** Uses the open line until it ends or `signal` aborts. The line is closed afterwards. */
  readonly serve: (line: SerialLine, signal: AbortSignal) => Promise<ServeEnd>;
  /** Called on every change of state or reason. */
  readonly onState: (report: DeviceReport) => void;
}

const openMsMax = millis(5000);

/** A serial device that is opened again whenever it is lost. */
export class ReopeningLine {
  readonly #options: ReopeningLineOptions;
  readonly #minMs: number;
  readonly #maxMs: number;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  #report: DeviceReport | undefined;
  #failures = 0;

  constructor(options: ReopeningLineOptions) {
    this.#options = options;
    this.#minMs = options.reopenMsMin ?? 250;
    this.#maxMs = options.reopenMsMax ?? 10_000;
    assert(this.#minMs > 0 && this.#maxMs >= this.#minMs, `reopen waits ${this.#minMs}..${this.#maxMs} ms`);
  }

  /** The last report. */
  get report(): DeviceReport | undefined {
    return this.#report;
  }

  start(): void {
    assert(this.#running === undefined, `${this.#options.path} is started once`);
    this.tell('opening', `opening ${this.#options.path}`);
    this.#running = this.#run();
  }

  /** Closes the device and ends all attempts. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    this.tell('stopped', `${this.#options.path} was closed by its owner`);
  }

  /** Reports a state, unless it is the one last reported. The user of the line tells `ready` this way. */
  tell(state: DeviceState, reason: string): void {
    if (this.#report?.state === state && this.#report.reason === reason) return;
    this.#report = { state, reason };
    this.#options.onState(this.#report);
  }

  async #run(): Promise<void> {
    const signal = this.#stop.signal;
    while (!signal.aborted) {
      const end = await this.#useOnce(signal);
      if (signal.aborted) return;
      this.#failures = end.worked ? 1 : this.#failures + 1;
      this.tell(end.state, end.reason);
      await this.#pause(signal);
    }
  }

  async #useOnce(signal: AbortSignal): Promise<ServeEnd> {
    let line: SerialLine;
    try {
      line = await this.#open();
    } catch (error) {
      return { state: 'lost', reason: `${errorText(error)}; ${wayOut(errorText(error))}`, worked: false };
    }
    try {
      if (signal.aborted) return { state: 'lost', reason: 'stopped', worked: false };
      return await this.#options.serve(line, signal);
    } finally {
      await line.close();
    }
  }

  async #open(): Promise<SerialLine> {
    const { serialLines, path, baudRate, clock } = this.#options;
    const opening = serialLines.open(path, { baudRate });
    try {
      return await withDeadline(clock, openMsMax, `opening ${path}`, opening);
    } catch (error) {
      // An open that finishes after its deadline must not keep the lock.
      opening.then(
        (late) => void late.close(),
        () => undefined,
      );
      throw error;
    }
  }

  async #pause(signal: AbortSignal): Promise<void> {
    const { clock, entropy } = this.#options;
    const ceilingMs = Math.min(this.#maxMs, this.#minMs * 2 ** Math.min(this.#failures - 1, 16));
    const waitMs = ceilingMs * (0.5 + 0.5 * randomFraction(entropy));
    try {
      await sleep(clock, millis(waitMs), signal);
    } catch (error) {
      if (!(error instanceof CancelledError)) throw error;
    }
  }
}

function wayOut(text: string): string {
  if (/no such file/i.test(text)) return 'plug the device in, or set its path (ls -l /dev/serial/by-id)';
  if (/lock|busy|temporarily unavailable/i.test(text)) {
    return 'another program has it open (ModemManager?): stop that one or use another port of the device';
  }
  if (/permission|EACCES/i.test(text))
    return 'add this user to the group that owns the device (often dialout)';
  if (/ioctl|not a tty/i.test(text)) return 'this is not a serial device: set another path';
  return 'check the path and the device; it is tried again';
}
