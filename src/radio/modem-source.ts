import { printable } from '../base/text.ts';
import { CancelledError } from '../base/errors.ts';
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import { sleep } from '../host/clock.ts';
import type { CancelTimer, Clock } from '../host/clock.ts';
import type { Entropy } from '../host/entropy.ts';
import { ReopeningLine } from '../host/reopening-line.ts';
import type { DeviceReport, ServeEnd } from '../host/reopening-line.ts';
import type { SerialLine, SerialLines } from '../host/serial-line.ts';
import { AlternatePorts } from './alternate-ports.ts';
import { AtSession } from './at-session.ts';
import type { AtCommand, AtCounters } from './at-session.ts';
import { ModemPoller, isRegistered } from './modem-poller.ts';
import type { PollingRound } from './modem-poller.ts';
import { ModemRecovery } from './modem-recovery.ts';
import type { RecoveryActions } from './modem-recovery.ts';
import type { ModemIdentity, Vendor } from './modem-report.ts';
import type { PositionSample, RadioSample } from './radio-sample.ts';
import { defaultRecoveryPolicy, judge, wayOutOf } from './recovery.ts';
import type { Misconfiguration, RecoveryPolicy, RungRecord } from './recovery.ts';
import { present } from './reply-fields.ts';
import { dialects, vendorOf } from './vendor-table.ts';
import { genericDialect, parseIdentity, parseModel } from './vendor/generic.ts';

/** Which modem to read, how often, and who receives what it says. */
export interface ModemSourceOptions {
  readonly serialLines: SerialLines;
  readonly clock: Clock;
  readonly entropy: Entropy;
  /** Name of the source, carried by every sample. */
  readonly source: string;
  /** The AT port, best by `/dev/serial/by-id/...`, which stays when the modem gets another place on the USB. */
  readonly path: string;
  /** More AT ports of the same modem, taken when the first is silent or belongs to another program. */
  readonly alternatePaths?: readonly string[];
  /** The default is 115200. */
  readonly baudRate?: number;
  /** The samples come at this rate, or as fast as the modem answers where that is slower. */
  readonly periodMs: Millis;
  readonly reopenMsMin?: Millis;
  readonly reopenMsMax?: Millis;
  /** Vendor id on the USB, four hexadecimal digits: tells the maker of a modem that does not. */
  readonly usbVendorId?: string;
  readonly recoveryPolicy?: RecoveryPolicy;
  /** Means of recovery beyond the AT port. */
  readonly recoveryActions?: RecoveryActions;
  readonly onSample: (sample: RadioSample) => void;
  readonly onState: (report: DeviceReport) => void;
  /** Takes positions; without it the modem is not asked for any. */
  readonly onPosition?: (sample: PositionSample) => void;
  /** Called once for a sample that has become stale because no other followed. */
  readonly onStale?: (sample: RadioSample) => void;
  /** Called for every rung of the recovery ladder that was tried. */
  readonly onRung?: (record: RungRecord) => void;
  /** Called when the modem turns out to be misconfigured, and with undefined when it no longer is. */
  readonly onMisconfigured?: (problem: Misconfiguration | undefined) => void;
}

/** Rounds without any answer after which the modem counts as silent. */
const silentRoundsMax = 2;
/** Sample periods after which a sample without a successor is stale. */
const validPeriods = 2;

const setting = (text: string): AtCommand<undefined> => ({
  text,
  parse: () => undefined,
  timeoutMs: millis(1500),
});
const askIdentity: AtCommand<ModemIdentity> = {
  text: 'ATI',
  parse: parseIdentity,
  timeoutMs: millis(1500),
  answers: true,
};
const askModel: AtCommand<string | undefined> = {
  text: 'AT+CGMM',
  parse: parseModel,
  timeoutMs: millis(1500),
  answers: true,
};

/**
 * A cellular modem on a serial AT port as a source of radio samples, the serving cell first. The maker is found by what the
 * modem says of itself, and its dialect is spoken, `+CESQ` and `+CSQ` where there is none. Whatever the modem does shows as a
 * state, never as a throw; one that is silent, gone or without network for long is brought back by the recovery ladder.
 */
export class ModemSource {
  readonly #options: ModemSourceOptions;
  readonly #device: ReopeningLine;
  readonly #ports: AlternatePorts;
  readonly #recovery: ModemRecovery;
  #session: AtSession | undefined;
  #identity: ModemIdentity = {};
  #vendor: Vendor = 'generic';
  #problem: Misconfiguration | undefined;
  #cancelStale: CancelTimer = () => undefined;

  constructor(options: ModemSourceOptions) {
    this.#options = options;
    const { serialLines, clock, path, alternatePaths = [] } = options;
    this.#recovery = new ModemRecovery({
      clock,
      policy: options.recoveryPolicy ?? defaultRecoveryPolicy,
      actions: options.recoveryActions ?? {},
      onRung: (record) => options.onRung?.(record),
    });
    this.#ports = new AlternatePorts({
      serialLines,
      paths: [path, ...alternatePaths],
      onFailure: () => this.#recovery.noteLost(),
    });
    this.#device = new ReopeningLine({
      serialLines: this.#ports,
      clock,
      entropy: options.entropy,
      path,
      baudRate: options.baudRate ?? 115_200,
      ...present({ reopenMsMin: options.reopenMsMin, reopenMsMax: options.reopenMsMax }),
      serve: (line, signal) => this.#serve(line, signal),
      onState: options.onState,
    });
  }

  /** Who the modem last said it is; empty before the first answer. */
  get identity(): ModemIdentity {
    return this.#identity;
  }

  /** Whose dialect is spoken. */
  get vendor(): Vendor {
    return this.#vendor;
  }

  /** Counters of the current session, undefined while the port is closed. */
  get counters(): AtCounters | undefined {
    return this.#session?.counters;
  }

  start(): void {
    this.#device.start();
  }

  async stop(): Promise<void> {
    this.#recovery.stop();
    await this.#device.stop();
    this.#cancelStale();
  }

  async #serve(line: SerialLine, signal: AbortSignal): Promise<ServeEnd> {
    let notice = (_text: string): void => undefined;
    const session = new AtSession({
      line,
      clock: this.#options.clock,
      onUnsolicited: (text) => notice(text),
    });
    this.#session = session;
    let worked = false;
    try {
      while (session.closedReason === undefined && !signal.aborted) {
        if (await this.#identify(session, signal)) {
          const poller = this.#createPoller(session, signal);
          notice = (text): void => poller.notice(text);
          const { hasAnswered, isReset } = await this.#poll(session, poller, signal);
          worked ||= hasAnswered;
          if (isReset) continue;
        }
        if (session.closedReason !== undefined || signal.aborted) break;
        const end = this.#endOf(session);
        this.#device.tell(end.state, end.reason);
        if (!(await this.#recovery.climb(session, 'silent', signal))) {
          this.#ports.advance();
          return { ...end, worked };
        }
      }
      return { ...this.#endOf(session), worked };
    } finally {
      this.#session = undefined;
    }
  }

  async #identify(session: AtSession, signal: AbortSignal): Promise<boolean> {
    const identity = await session.run(askIdentity, signal);
    if (identity.kind !== 'ok' && identity.kind !== 'refused') return false;
    this.#identity = identity.kind === 'ok' ? identity.value : {};
    const model = await session.run(askModel, signal);
    if (model.kind === 'ok' && model.value !== undefined)
      this.#identity = { ...this.#identity, model: model.value };
    this.#vendor = vendorOf(this.#identity, this.#options.usbVendorId);
    const own = this.#vendor === 'generic' ? [] : dialects[this.#vendor].setup;
    // A modem may refuse any of these; what it does not report unasked is asked each round.
    for (const text of [...genericDialect.setup, ...own]) {
      const outcome = await session.run(setting(text), signal);
      if (outcome.kind === 'timeout' || outcome.kind === 'closed') return false;
    }
    return session.closedReason === undefined && !signal.aborted;
  }

  #createPoller(session: AtSession, signal: AbortSignal): ModemPoller {
    return new ModemPoller({
      clock: this.#options.clock,
      session,
      signal,
      dialect: dialects[this.#vendor],
      model: this.#identity.model,
      wantsPosition: this.#options.onPosition !== undefined,
    });
  }

  /** Asks round after round until the modem is silent, lost or reset for want of a network. */
  async #poll(
    session: AtSession,
    poller: ModemPoller,
    signal: AbortSignal,
  ): Promise<{ readonly hasAnswered: boolean; readonly isReset: boolean }> {
    const { clock, periodMs } = this.#options;
    let silentRounds = 0;
    let hasAnswered = false;
    let searchingSinceMs: Millis | undefined;
    let dueMs = clock.monotonicMs();
    while (silentRounds < silentRoundsMax && session.closedReason === undefined && !signal.aborted) {
      const startMs = clock.monotonicMs();
      const round = await poller.next();
      if (signal.aborted) break;
      const { answeredAtMs } = round;
      silentRounds = answeredAtMs === undefined ? silentRounds + 1 : 0;
      if (answeredAtMs !== undefined) {
        hasAnswered = true;
        this.#recovery.noteServed();
        if (isRegistered(round.registration)) this.#recovery.noteRegistered();
        this.#take(round, answeredAtMs, millis(clock.monotonicMs() - startMs));
        searchingSinceMs = this.#isSearching(round) ? (searchingSinceMs ?? startMs) : undefined;
        if (searchingSinceMs !== undefined && this.#recovery.isSearchTooLong(searchingSinceMs)) {
          await this.#recovery.climb(session, 'notRegistered', signal);
          return { hasAnswered, isReset: true };
        }
      }
      // A round that took longer than the period delays the next one instead of piling up.
      dueMs = millis(Math.max(dueMs + periodMs, clock.monotonicMs()));
      await pause(clock, millis(dueMs - clock.monotonicMs()), signal);
    }
    return { hasAnswered, isReset: false };
  }

  /** Without network for no reason that a person has to mend. */
  #isSearching(round: PollingRound): boolean {
    return (
      !isRegistered(round.registration) && round.registration !== undefined && this.#problem === undefined
    );
  }

  #take(round: PollingRound, atMs: Millis, roundMs: Millis): void {
    const { source, periodMs, onSample, onPosition } = this.#options;
    const validUntilMs = millis(atMs + validPeriods * Math.max(periodMs, roundMs));
    const { cells, registration, operator, temperatureC, position } = round;
    this.#judge(round);
    const sample: RadioSample = {
      source,
      atMs,
      validUntilMs,
      cells,
      ...present({ registration, operator, temperatureC }),
    };
    this.#watch(sample, validUntilMs);
    onSample(sample);
    if (position !== undefined) onPosition?.({ source, atMs, validUntilMs, position });
  }

  /** Silence watchdog: tells when the sample is not replaced in time. */
  #watch(sample: RadioSample, validUntilMs: Millis): void {
    const { clock, onStale } = this.#options;
    this.#cancelStale();
    const delayMs = millis(Math.max(0, validUntilMs - clock.monotonicMs()));
    this.#cancelStale = clock.schedule(delayMs, () => onStale?.(sample));
  }

  /** Tells `ready`, with what a person has to mend where there is something. */
  #judge(round: PollingRound): void {
    const problem = judge(round);
    const answers = `${this.#describe()} on ${this.#ports.path} answers`;
    this.#device.tell('ready', problem === undefined ? answers : `${answers}, but ${wayOutOf(problem)}`);
    if (problem === this.#problem) return;
    this.#problem = problem;
    this.#options.onMisconfigured?.(problem);
  }

  #endOf(session: AtSession): { state: 'silent' | 'lost'; reason: string } {
    const { baudRate = 115_200 } = this.#options;
    if (session.closedReason !== undefined) {
      return {
        state: 'lost',
        reason: `modem lost: ${session.closedReason}; check its cable and power, it is opened again`,
      };
    }
    const { receivedBytes, garbledLines, overlongLines } = session.counters;
    const noise = garbledLines + overlongLines;
    const heard =
      receivedBytes === 0
        ? 'nothing was received'
        : `${receivedBytes} bytes received, ${noise} unreadable lines`;
    return {
      state: 'silent',
      reason:
        `modem on ${this.#ports.path} does not answer AT (${heard}); check that this is its AT port, that ${baudRate} baud is ` +
        `right and that no other program uses it`,
    };
  }

  #describe(): string {
    const { manufacturer, model } = this.#identity;
    const name = [manufacturer, model].filter((part) => part !== undefined).join(' ');
    return name === '' ? 'modem of unknown make' : printable(name, 64);
  }
}

async function pause(clock: Clock, durationMs: Millis, signal: AbortSignal): Promise<void> {
  try {
    await sleep(clock, durationMs, signal);
  } catch (error) {
    if (!(error instanceof CancelledError)) throw error;
  }
}
