/**
 * One conversation with a modem over a serial line (3GPP TS 27.007, ITU-T V.250).
 *
 * Framing: CR, LF and runs of them end a line, so echo with `\r\r\n` and answers with a bare LF read alike. A reply
 * is every line between a command and its final result that belongs to it: a line with a prefix (`+CSQ:`, `^RSSI:`)
 * belongs to the command that names the prefix, anything else with a prefix is unsolicited; a line without a prefix
 * belongs to the running command. The registration prefixes (`+CEREG:` and kin) mean both; their shape tells them
 * apart.
 *
 * A modem has no request identifiers. After a timeout, a cancelled command or noise, the next final result could
 * belong to an earlier command, so the session synchronises before it sends anything else: it listens until the line
 * is quiet, sends a bare `AT` until that is answered, and listens until quiet again. A new session starts in that
 * state. A modem that waits for text of a message (`> `) is told to forget it.
 */
import { assert } from '../base/assert.ts';
import { errorText } from '../base/errors.ts';
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import type { CancelTimer, Clock } from '../host/clock.ts';
import { LineSplitter } from '../host/line-splitter.ts';
import type { SerialLine } from '../host/serial-line.ts';
import { registrationShape } from './registration.ts';

/** A command as data. */
export interface AtCommand<T> {
  /** What is sent, without the ending CR, for example `AT+CSQ`. */
  readonly text: string;
  readonly timeoutMs: Millis;
  /** Reads the lines of a complete reply, without echo and final result. */
  readonly parse: (lines: readonly string[]) => T;
  /** Whether a reply of a bare `OK` is a sign that it was meant for another command. */
  readonly answers?: boolean;
}

/** How a command ended. */
export type AtOutcome<T> =
  | { readonly kind: 'ok'; readonly value: T; readonly lines: readonly string[] }
  /** The modem refused; `code` is its final result, for example `ERROR` or `+CME ERROR: 10`. */
  | { readonly kind: 'refused'; readonly code: string }
  /** No final result in time, or the modem could not be brought back into step. */
  | { readonly kind: 'timeout' }
  /** The modem asked for text (`> `), as a command that sends a message does; it was told to forget it. */
  | { readonly kind: 'prompt' }
  /** The reply exceeded the bound on lines or octets. */
  | { readonly kind: 'overflow' }
  /** The line is closed. */
  | { readonly kind: 'closed'; readonly reason: string }
  /** The caller's signal fired. */
  | { readonly kind: 'cancelled' }
  /** Too many commands are waiting. */
  | { readonly kind: 'busy' };

/** Bounds of a session. */
export interface AtLimits {
  readonly lineBytesMax: number;
  readonly replyLinesMax: number;
  readonly replyBytesMax: number;
  readonly queueMax: number;
  /** Silence that counts as quiet while synchronising. */
  readonly quietMs: Millis;
  /** Longest wait for quiet: a modem that never stops talking is probed all the same. */
  readonly drainMsMax: Millis;
  readonly probeTimeoutMs: Millis;
  readonly probesMax: number;
}

/** What a session has seen so far. */
export interface AtCounters {
  readonly receivedBytes: number;
  readonly overlongLines: number;
  /** Lines with octets that no modem prints: noise, or a wrong baud rate. */
  readonly garbledLines: number;
  readonly unsolicitedLines: number;
  readonly timeouts: number;
  readonly synchronisations: number;
}

export const defaultAtLimits: AtLimits = {
  lineBytesMax: 2048,
  replyLinesMax: 256,
  replyBytesMax: 32_768,
  queueMax: 16,
  quietMs: millis(60),
  drainMsMax: millis(1000),
  probeTimeoutMs: millis(700),
  probesMax: 3,
};

type RawOutcome =
  { readonly kind: 'ok'; readonly lines: readonly string[] } | Exclude<AtOutcome<never>, { kind: 'ok' }>;

interface Job {
  readonly text: string;
  readonly timeoutMs: Millis;
  readonly answers: boolean;
  readonly signal: AbortSignal | undefined;
  readonly settle: (outcome: RawOutcome) => void;
}

interface Exchange {
  readonly text: string;
  readonly prefixes: readonly string[];
  readonly lines: string[];
  /** Registration lines too short to tell a read answer from an unsolicited one. */
  readonly ambiguous: string[];
  bytes: number;
  readonly end: (outcome: RawOutcome) => void;
}

const finalResult =
  /^(?:OK|ERROR|NO CARRIER|NO ANSWER|NO DIALTONE|BUSY|COMMAND NOT SUPPORT|TOO MANY PARAMETERS|\+CM[ES] ERROR:.*)$/i;
const prefixed = /^([+^!#$%*&][A-Z0-9_]{1,24}):/i;
const commandName = /^(?:AT)?([+^!#$%*&][A-Z0-9_]{1,24})/i;
const echoesKept = 4;

/** A conversation with one modem on one open line. It takes over the line's handlers. */
export class AtSession {
  readonly #line: SerialLine;
  readonly #clock: Clock;
  readonly #limits: AtLimits;
  readonly #onUnsolicited: (line: string) => void;
  readonly #splitter: LineSplitter;
  readonly #queue: Job[] = [];
  readonly #echoes: string[] = [];
  #running = false;
  #inStep = false;
  /** The last two octets received. */
  #tail = '';
  #closedReason: string | undefined;
  #exchange: Exchange | undefined;
  #onBytes: () => void = () => undefined;
  readonly #counters = {
    receivedBytes: 0,
    overlongLines: 0,
    garbledLines: 0,
    unsolicitedLines: 0,
    timeouts: 0,
    synchronisations: 0,
  };

  /** `onUnsolicited` receives every unsolicited line, trimmed, in order. */
  constructor(options: {
    line: SerialLine;
    clock: Clock;
    onUnsolicited?: (line: string) => void;
    limits?: Partial<AtLimits>;
  }) {
    this.#line = options.line;
    this.#clock = options.clock;
    this.#limits = { ...defaultAtLimits, ...options.limits };
    this.#onUnsolicited = options.onUnsolicited ?? ((): void => undefined);
    this.#splitter = new LineSplitter({
      lengthMax: this.#limits.lineBytesMax,
      onLine: (line) => this.#takeLine(line),
      onOverlong: () => this.#counters.overlongLines++,
    });
    this.#line.onData((data) => {
      this.#counters.receivedBytes += data.length;
      this.#onBytes();
      this.#splitter.push(data);
      this.#watchPrompt(data);
    });
    this.#line.onClose((error) => this.#end(error?.message ?? `serial line ${this.#line.path} is closed`));
  }

  get counters(): AtCounters {
    return { ...this.#counters };
  }

  /** Why the session is over, or undefined while it is open. */
  get closedReason(): string | undefined {
    return this.#closedReason;
  }

  /** Runs one command after those already waiting. Never rejects for anything that a modem can do. */
  async run<T>(command: AtCommand<T>, signal?: AbortSignal): Promise<AtOutcome<T>> {
    assert(/^[\x20-\x7e]{1,256}$/.test(command.text), `not a command line: ${JSON.stringify(command.text)}`);
    if (signal?.aborted === true) return { kind: 'cancelled' };
    if (this.#closedReason !== undefined) return { kind: 'closed', reason: this.#closedReason };
    if (this.#queue.length >= this.#limits.queueMax) return { kind: 'busy' };
    const outcome = await new Promise<RawOutcome>((resolve) => {
      const { text, timeoutMs, answers = false } = command;
      const onAbort = (): void => this.#cancel(job);
      const job: Job = {
        text,
        timeoutMs,
        answers,
        signal,
        settle: (result) => {
          signal?.removeEventListener('abort', onAbort);
          resolve(result);
        },
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#queue.push(job);
      if (!this.#running) void this.#pump();
    });
    return outcome.kind === 'ok' ? { ...outcome, value: command.parse(outcome.lines) } : outcome;
  }

  /**
   * Sends a command to a modem that may not hear it, and waits for nothing; whatever it answers is drained before the next
   * command. Without effect while a command runs or once the session is over.
   */
  async shout(text: string): Promise<void> {
    if (this.#running || this.#closedReason !== undefined) return;
    this.#inStep = false;
    this.#rememberEcho(text);
    // The line may close over it, which ends the session anyway.
    await this.#line.write(Buffer.from(`\r${text}\r`, 'latin1')).catch(() => undefined);
  }

  /** Closes the line; what waits ends as `closed`. */
  async close(): Promise<void> {
    this.#end(`serial line ${this.#line.path} was closed by its owner`);
    await this.#line.close();
  }

  async #pump(): Promise<void> {
    this.#running = true;
    for (let job = this.#queue.shift(); job !== undefined; job = this.#queue.shift()) {
      if (!this.#inStep && !(await this.#synchronise(job.signal))) {
        job.settle(
          this.#closedOutcome() ??
            (job.signal?.aborted === true ? { kind: 'cancelled' } : { kind: 'timeout' }),
        );
        continue;
      }
      const outcome = await this.#send(job.text, job.timeoutMs, job.signal);
      const empty = outcome.kind === 'ok' && outcome.lines.length === 0;
      this.#inStep = (outcome.kind === 'ok' || outcome.kind === 'refused') && !(job.answers && empty);
      job.settle(outcome);
    }
    this.#running = false;
  }

  /** A waiting job is taken out here; the running one learns of its signal in `#send`. */
  #cancel(job: Job): void {
    const index = this.#queue.indexOf(job);
    if (index < 0) return;
    this.#queue.splice(index, 1);
    job.settle({ kind: 'cancelled' });
  }

  async #synchronise(signal: AbortSignal | undefined): Promise<boolean> {
    this.#counters.synchronisations++;
    await this.#quiet(signal);
    for (let probe = 0; probe < this.#limits.probesMax; probe++) {
      if (this.#closedReason !== undefined || signal?.aborted === true) return false;
      this.#splitter.reset();
      const outcome = await this.#send('AT', this.#limits.probeTimeoutMs, signal);
      if (outcome.kind !== 'ok') continue;
      // A late final result of an earlier command can pose as the answer to the probe: let the true one pass.
      await this.#quiet(signal);
      this.#inStep = this.#closedReason === undefined;
      return this.#inStep;
    }
    return false;
  }

  /** Resolves after a silence of `quietMs`, at the latest after `drainMsMax`, or when closed or cancelled. */
  #quiet(signal: AbortSignal | undefined): Promise<void> {
    if (this.#closedReason !== undefined || signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      let cancelQuiet: CancelTimer = () => undefined;
      const finish = (): void => {
        cancelQuiet();
        cancelDrain();
        signal?.removeEventListener('abort', finish);
        this.#onBytes = (): void => undefined;
        this.#wake = (): void => undefined;
        resolve();
      };
      const rearm = (): void => {
        cancelQuiet();
        cancelQuiet = this.#clock.schedule(this.#limits.quietMs, finish);
      };
      const cancelDrain = this.#clock.schedule(this.#limits.drainMsMax, finish);
      signal?.addEventListener('abort', finish, { once: true });
      this.#onBytes = rearm;
      this.#wake = finish;
      rearm();
    });
  }

  /** Ends a wait for quiet early. */
  #wake: () => void = () => undefined;

  #send(text: string, timeoutMs: Millis, signal: AbortSignal | undefined): Promise<RawOutcome> {
    const closed = this.#closedOutcome();
    if (closed !== undefined) return Promise.resolve(closed);
    if (signal?.aborted === true) return Promise.resolve({ kind: 'cancelled' });
    return new Promise((resolve) => {
      const end = (outcome: RawOutcome): void => {
        if (this.#exchange !== exchange) return;
        this.#exchange = undefined;
        cancelTimeout();
        signal?.removeEventListener('abort', onAbort);
        resolve(outcome);
      };
      const exchange: Exchange = {
        text,
        prefixes: prefixesOf(text),
        lines: [],
        ambiguous: [],
        bytes: 0,
        end,
      };
      const onAbort = (): void => end({ kind: 'cancelled' });
      const cancelTimeout = this.#clock.schedule(timeoutMs, () => {
        this.#counters.timeouts++;
        end({ kind: 'timeout' });
      });
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#exchange = exchange;
      this.#rememberEcho(text);
      // A write that never finishes is ended by the same timeout as a missing reply.
      this.#line.write(Buffer.from(`${text}\r`, 'latin1')).catch((error: unknown) => {
        end({ kind: 'closed', reason: errorText(error) });
      });
    });
  }

  #rememberEcho(text: string): void {
    const echo = text.toUpperCase();
    if (this.#echoes.includes(echo)) return;
    this.#echoes.push(echo);
    if (this.#echoes.length > echoesKept) this.#echoes.shift();
  }

  /**
   * A modem that waits for text takes every command for a part of it and prints `> ` without an end of line. Escape brings it
   * back; this also frees one that another program has left so.
   */
  #watchPrompt(data: Uint8Array): void {
    this.#tail = (this.#tail + Buffer.from(data.subarray(-2)).toString('latin1')).slice(-2);
    if (this.#tail !== '> ' || this.#splitter.heldBytes !== 2 || this.#exchange === undefined) return;
    this.#splitter.reset();
    const exchange = this.#exchange;
    this.#line.write(Uint8Array.of(0x1b)).catch(() => undefined);
    exchange.end({ kind: 'prompt' });
  }

  #takeLine(octets: Uint8Array): void {
    const text = Buffer.from(octets).toString('utf8');
    const line = trimNoise(text);
    if (/[\p{Cc}\ufffd]/u.test(text)) this.#counters.garbledLines++;
    if (line === '' || this.#echoes.includes(line.toUpperCase())) return;
    const exchange = this.#exchange;
    if (exchange === undefined) {
      this.#report(line);
      return;
    }
    if (finalResult.test(line)) {
      this.#finish(exchange, line);
      return;
    }
    const prefix = prefixed.exec(line)?.[1]?.toUpperCase();
    if (prefix === undefined ? isNotice(line) : !exchange.prefixes.includes(prefix)) {
      this.#report(line);
      return;
    }
    const shape = prefix === undefined ? undefined : registrationShape(line);
    if (shape === 'unsolicited') this.#report(line);
    else this.#collect(exchange, line, shape === 'ambiguous' ? exchange.ambiguous : exchange.lines);
  }

  #collect(exchange: Exchange, line: string, into: string[]): void {
    exchange.bytes += line.length;
    if (
      exchange.lines.length + exchange.ambiguous.length >= this.#limits.replyLinesMax ||
      exchange.bytes > this.#limits.replyBytesMax
    ) {
      exchange.end({ kind: 'overflow' });
      return;
    }
    into.push(line);
  }

  #finish(exchange: Exchange, line: string): void {
    const answered = new Set(exchange.lines.map((answer) => prefixed.exec(answer)?.[1]?.toUpperCase()));
    for (const short of exchange.ambiguous) {
      // A bare `+C5GREG: 0` is the whole answer of some modems; beside a full answer it came by itself.
      if (answered.has(prefixed.exec(short)?.[1]?.toUpperCase())) this.#report(short);
      else exchange.lines.push(short);
    }
    if (line.toUpperCase() === 'OK') exchange.end({ kind: 'ok', lines: exchange.lines });
    else exchange.end({ kind: 'refused', code: line });
  }

  #report(line: string): void {
    if (/[\p{Cc}\ufffd]/u.test(line)) return;
    this.#counters.unsolicitedLines++;
    this.#onUnsolicited(line);
  }

  #closedOutcome(): RawOutcome | undefined {
    return this.#closedReason === undefined ? undefined : { kind: 'closed', reason: this.#closedReason };
  }

  #end(reason: string): void {
    if (this.#closedReason !== undefined) return;
    this.#closedReason = reason;
    this.#splitter.reset();
    this.#exchange?.end({ kind: 'closed', reason });
    this.#wake();
    for (const job of this.#queue.splice(0)) job.settle({ kind: 'closed', reason });
  }
}

/** The result prefixes that a command line asks for, one for each of its parts (`AT+CSQ;+CESQ`). */
function prefixesOf(text: string): string[] {
  const prefixes: string[] = [];
  for (const part of text.split(/;(?=(?:[^"]*"[^"]*")*[^"]*$)/)) {
    const name = commandName.exec(part.trim())?.[1];
    if (name !== undefined) prefixes.push(name.toUpperCase());
  }
  return prefixes;
}

/** Lines without a prefix that modems print by themselves. */
function isNotice(line: string): boolean {
  return /^(?:RING|RDY|Ready|(?:SMS|Call|PB|APP) (?:Ready|DONE|RDY)|(?:NORMAL )?POWER(?:ED)? DOWN|UNDER-VOLTAGE.*|OVER-VOLTAGE.*)$/i.test(
    line,
  );
}

function trimNoise(text: string): string {
  // NUL octets around lines are common after a modem has changed its power state.
  return text.replace(/^[\p{Cc}\s]+|[\p{Cc}\s]+$/gu, '');
}
