/**
 * Carries commands out: those of one target one after the other in the order of their acceptance, those of different
 * targets side by side (a slow valve does not hold up a lamp).
 *
 * The intent is durable before the effect. What was begun when the process died is answered with `unknown`, or done again
 * where the actuator allows (`Actuator.afterCrash`). What a command came to is made durable, then stored as a reading, one
 * result after the other under growing numbers: the log refuses a number that it has, so that a restart repeats no result.
 *
 * Whether a command has expired is asked when its turn comes, of the later of two clocks: that of the gateway and what is
 * known of that of the CSE, since a gateway without a clock of its own may be years behind. What expires has no effect.
 */
import { CancelledError, errorText } from '../base/errors.ts';
import { printable } from '../base/text.ts';
import { millis, unixMillis } from '../base/units.ts';
import type { Millis, UnixMillis } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import type { Actuator, Performed } from './actuator.ts';
import type { Command, CommandResult } from './command.ts';
import type { CommandLedger } from './command-ledger.ts';

/** Settings of `CommandLanes`. */
export interface CommandLanesOptions {
  readonly clock: Clock;
  readonly ledger: CommandLedger;
  readonly actuators: ReadonlyMap<string, Actuator>;
  /** Stores a result durably; one whose number is not above the last is stored already and passes. */
  readonly store: (result: CommandResult, number: number) => Promise<void>;
  /** Number of the first result. */
  readonly nextResult: number;
  /** What is wrong; undefined when commands are carried out and kept again. */
  readonly onAlarm: (text: string | undefined) => void;
  readonly onEnded: (result: CommandResult) => void;
}

interface Lane {
  readonly waiting: { readonly command: Command; readonly wasBegun: boolean; readonly bytes: number }[];
}

interface Unreported {
  readonly result: CommandResult;
  /** Given when it is about to be made durable. */
  number?: number;
  isFinished: boolean;
  readonly bytes: number;
}

/** Commands that wait or whose results do, at most; and the octets of what they say. */
export const waitingMax = 256;
const waitingBytesMax = 256 * 1024;
/** Longest time for one command; an actuator that needs longer has it reported as unknown. */
const performMs: Millis = millis(30_000);

/** The lanes of all targets; see the header of this file. */
export class CommandLanes {
  readonly #options: CommandLanesOptions;
  readonly #lanes = new Map<string, Lane>();
  readonly #cseLeadMs = new Map<string, number>();
  readonly #unreported: Unreported[] = [];
  readonly #stop = new AbortController();
  #isReporting = false;
  #nextResult: number;
  #count = 0;
  #bytes = 0;
  #retry: (() => void)[] = [];
  #room: (() => void)[] = [];
  #idle: (() => void)[] = [];

  constructor(options: CommandLanesOptions) {
    this.#options = options;
    this.#nextResult = options.nextResult;
  }

  /** Whether one more command of this size can be taken. */
  hasRoom(bytes: number): boolean {
    return this.#count < waitingMax && (this.#count === 0 || this.#bytes + bytes <= waitingBytesMax);
  }

  /** Resolves when at least half of the room is free; rejects with `CancelledError` when `signal` aborts. */
  async room(signal?: AbortSignal): Promise<void> {
    while (this.#count > waitingMax / 2 || this.#bytes > waitingBytesMax / 2) {
      if (signal?.aborted === true) throw new CancelledError('cancelled while commands wait for their turn');
      await waitFor(this.#room, signal);
    }
  }

  /** Resolves when nothing waits that could go on. */
  async idle(): Promise<void> {
    if (this.#count > 0 && this.#retry.length === 0) await waitFor(this.#idle);
  }

  /** What the CSE's clock showed, at least, just now. */
  noteTime(cseId: string, cseMs: UnixMillis): void {
    const leadMs = cseMs - this.#options.clock.monotonicMs();
    const known = this.#cseLeadMs.get(cseId);
    if (known === undefined && this.#cseLeadMs.size >= 64) return;
    this.#cseLeadMs.set(cseId, Math.max(known ?? leadMs, leadMs));
  }

  /** Carries out a command whose reception is durable, in its turn. */
  add(command: Command, bytes: number, wasBegun = false): void {
    const lane = this.#lanes.get(command.target) ?? { waiting: [] };
    lane.waiting.push({ command, wasBegun, bytes });
    this.#count += 1;
    this.#bytes += bytes;
    if (this.#lanes.has(command.target)) return;
    this.#lanes.set(command.target, lane);
    void this.#run(command.target, lane);
  }

  /** Reports what is decided without an effect. */
  report(result: CommandResult, bytes = 0, number?: number): void {
    this.#count += 1;
    this.#bytes += bytes;
    this.#enqueue({
      result,
      bytes,
      isFinished: number !== undefined,
      ...(number === undefined ? {} : { number }),
    });
  }

  /** Goes on with what a refusing disk has held up; for a caller to do from time to time. */
  retry(): void {
    for (const goOn of this.#retry.splice(0)) goOn();
    void this.#drain();
  }

  /** Begins nothing more. */
  stop(): void {
    this.#stop.abort();
  }

  async #run(target: string, lane: Lane): Promise<void> {
    for (;;) {
      const [next] = lane.waiting;
      if (next === undefined || this.#stop.signal.aborted) break;
      const result = await this.#carryOut(next.command, next.wasBegun);
      lane.waiting.shift();
      if (result !== undefined) this.#enqueue({ result, bytes: next.bytes, isFinished: false });
    }
    this.#lanes.delete(target);
  }

  /** Undefined when the gateway stops before it is begun. */
  async #carryOut(command: Command, wasBegun: boolean): Promise<CommandResult | undefined> {
    const { actuators, clock, ledger, onAlarm } = this.#options;
    const actuator = actuators.get(command.target);
    const ended = (status: CommandResult['status'], more: Partial<CommandResult>): CommandResult => ({
      id: command.id,
      target: command.target,
      command: command.command,
      status,
      ...more,
      received: command.receivedMs,
      ended: clock.unixMs(),
    });
    if (wasBegun && actuator?.afterCrash !== 'repeat') {
      return ended('unknown', { reason: 'the gateway stopped after it had begun; it is not begun again' });
    }
    const wrong =
      actuator === undefined ? `there is no target ${command.target}` : actuator.whyNot?.(command);
    if (actuator === undefined || wrong !== undefined) return ended('rejected', { reason: wrong ?? '' });
    if (!wasBegun && this.#hasExpired(command)) {
      return ended('expired', { reason: `it was to be carried out before ${isoOf(command.expiresMs)}` });
    }
    while (actuator.afterCrash === 'report') {
      if (this.#stop.signal.aborted) return undefined;
      try {
        await ledger.begin(command.id);
        break;
      } catch (error) {
        onAlarm(`command ${printable(command.id, 40)} cannot be begun: ${errorText(error)}`);
        await this.#untilRetry();
      }
    }
    if (this.#stop.signal.aborted && actuator.afterCrash === 'repeat') return undefined;
    const begun = clock.unixMs();
    const { status, ...more } = await this.#perform(actuator, command);
    return ended(status, { ...more, begun });
  }

  async #perform(actuator: Actuator, command: Command): Promise<Performed> {
    const late = new AbortController();
    const unknown = (reason: string): Performed => ({ status: 'unknown', reason });
    let cancel = (): void => undefined;
    const tooLate = new Promise<Performed>((resolve) => {
      cancel = this.#options.clock.schedule(performMs, () => {
        resolve(unknown(`${command.target} did not answer within ${performMs} ms`));
        late.abort();
      });
    });
    const performing = actuator
      .perform(command, late.signal)
      .catch((error: unknown) => unknown(errorText(error)));
    try {
      return await Promise.race([performing, tooLate]);
    } finally {
      cancel();
    }
  }

  #hasExpired({ expiresMs, cseId }: Command): boolean {
    if (expiresMs === undefined) return false;
    const leadMs = this.#cseLeadMs.get(cseId);
    const { clock } = this.#options;
    const cseMs = leadMs === undefined ? 0 : clock.monotonicMs() + leadMs;
    return Math.max(clock.unixMs(), cseMs) >= expiresMs;
  }

  #enqueue(unreported: Unreported): void {
    this.#unreported.push(unreported);
    void this.#drain();
  }

  /** Stores results in the order of their numbers; a disk that refuses holds them up until `retry`. */
  async #drain(): Promise<void> {
    if (this.#isReporting) return;
    this.#isReporting = true;
    const { ledger, store, onAlarm, onEnded } = this.#options;
    for (;;) {
      const [next] = this.#unreported;
      if (next === undefined) break;
      const { result } = next;
      try {
        next.number ??= this.#nextResult++;
        if (!next.isFinished) await ledger.finish(result, next.number);
        next.isFinished = true;
        await store(result, next.number);
        await ledger.stored(result.id);
      } catch (error) {
        onAlarm(`the result of command ${printable(result.id, 40)} cannot be kept: ${errorText(error)}`);
        break;
      }
      this.#unreported.shift();
      onEnded(result);
      onAlarm(undefined);
      this.#release(next.bytes);
    }
    this.#isReporting = false;
    if (this.#unreported.length > 0) wake(this.#idle);
  }

  #release(bytes: number): void {
    this.#count -= 1;
    this.#bytes -= bytes;
    if (this.#count <= waitingMax / 2 && this.#bytes <= waitingBytesMax / 2) wake(this.#room);
    if (this.#count === 0) wake(this.#idle);
  }

  async #untilRetry(): Promise<void> {
    wake(this.#idle);
    await waitFor(this.#retry, this.#stop.signal).catch(() => undefined);
  }
}

function wake(waiting: (() => void)[]): void {
  for (const goOn of waiting.splice(0)) goOn();
}

function waitFor(waiting: (() => void)[], signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      const at = waiting.indexOf(goOn);
      if (at >= 0) waiting.splice(at, 1);
      reject(new CancelledError('cancelled while waiting for commands'));
    };
    const goOn = (): void => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    };
    if (signal?.aborted === true) onAbort();
    else {
      signal?.addEventListener('abort', onAbort, { once: true });
      waiting.push(goOn);
    }
  });
}

function isoOf(ms: UnixMillis | undefined): string {
  return new Date(unixMillis(ms ?? 0)).toISOString();
}
