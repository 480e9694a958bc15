import { printable } from '../base/text.ts';
import { CancelledError } from '../base/errors.ts';
import { millis } from '../base/units.ts';
import type { Dbm, Millis } from '../base/units.ts';
import { sleep } from '../host/clock.ts';
import type { Clock } from '../host/clock.ts';
import type { Entropy } from '../host/entropy.ts';
import { ReopeningLine } from '../host/reopening-line.ts';
import type { DeviceReport, ServeEnd } from '../host/reopening-line.ts';
import type { SerialLine, SerialLines } from '../host/serial-line.ts';
import { AtSession } from './at-session.ts';
import type { AtCommand, AtCounters, AtOutcome } from './at-session.ts';
import {
  parseExtendedSignalQuality,
  parseIdentity,
  parseModel,
  parseOperator,
  parseSignalQuality,
  servingCellsOf,
} from './vendor/generic.ts';
import { present } from './reply-fields.ts';
import type { ModemIdentity, ModemReport } from './modem-report.ts';
import { parseCells } from './vendor/quectel.ts';
import type { CellMeasurement, Metric, RadioSample, RegistrationState } from './radio-sample.ts';
import { parseRegistration } from './registration.ts';
import type { Registration, RegistrationDomain } from './registration.ts';

/** Which modem to read, how often, and who receives what it says. */
export interface ModemSourceOptions {
  readonly serialLines: SerialLines;
  readonly clock: Clock;
  readonly entropy: Entropy;
  /** Name of the source, carried by every sample. */
  readonly source: string;
  /** The AT port, best by `/dev/serial/by-id/...`. */
  readonly path: string;
  /** The default is 115200. */
  readonly baudRate?: number;
  readonly periodMs: Millis;
  readonly reopenMsMin?: Millis;
  readonly reopenMsMax?: Millis;
  readonly onSample: (sample: RadioSample) => void;
  readonly onState: (report: DeviceReport) => void;
}

/** Rounds between two questions for the operator, which changes seldom. */
const operatorEveryRounds = 20;
/** Rounds without any answer after which the modem counts as silent. */
const silentRoundsMax = 2;
/** Timeouts of `+QENG` in a row after which the modem is read without it. */
const quectelTimeoutsMax = 3;
/** Rounds after which a modem that refused `+QENG` is asked again: some refuse it until the SIM is ready. */
const retryQuectelRounds = 120;

const command = <T>(
  text: string,
  parse: (lines: readonly string[]) => T,
  options: { timeoutMs?: number; answers?: boolean } = {},
): AtCommand<T> => ({
  text,
  parse,
  timeoutMs: millis(options.timeoutMs ?? 1500),
  answers: options.answers ?? false,
});
const ignore = (): void => undefined;
const settings = ['ATE0', 'AT+CMEE=1', 'AT+CREG=2', 'AT+CEREG=2', 'AT+C5GREG=2'].map((text) =>
  command(text, ignore),
);
const askIdentity = command('ATI', parseIdentity, { answers: true });
const askModel = command('AT+CGMM', parseModel, { answers: true });
const askOperator = command('AT+COPS?', parseOperator, { timeoutMs: 3000, answers: true });
const askServing = command('AT+QENG="servingcell"', (lines) => parseCells(lines, {}), { answers: true });
const askNeighbours = command('AT+QENG="neighbourcell"', (lines) => parseCells(lines, {}));
const askExtendedQuality = command('AT+CESQ', parseExtendedSignalQuality, { answers: true });
const askQuality = command('AT+CSQ', parseSignalQuality, { answers: true });
const registrationDomains: readonly RegistrationDomain[] = ['CEREG', 'C5GREG', 'CREG'];

/**
 * A cellular modem on a serial AT port as a source of radio samples: one per `periodMs`, the serving cell first.
 * Reads `AT+QENG` where the modem knows it, else `+CESQ` and `+CSQ`. Whatever the modem does shows as a state, never
 * as a throw.
 */
export class ModemSource {
  readonly #options: ModemSourceOptions;
  readonly #device: ReopeningLine;
  #session: AtSession | undefined;
  #identity: ModemIdentity = {};

  constructor(options: ModemSourceOptions) {
    this.#options = options;
    this.#device = new ReopeningLine({
      serialLines: options.serialLines,
      clock: options.clock,
      entropy: options.entropy,
      path: options.path,
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

  /** Counters of the current session, undefined while the port is closed. */
  get counters(): AtCounters | undefined {
    return this.#session?.counters;
  }

  start(): void {
    this.#device.start();
  }

  stop(): Promise<void> {
    return this.#device.stop();
  }

  async #serve(line: SerialLine, signal: AbortSignal): Promise<ServeEnd> {
    const registrations = new Map<RegistrationDomain, Registration>();
    const session = new AtSession({
      line,
      clock: this.#options.clock,
      onUnsolicited: (text) => noteRegistration(registrations, [text]),
    });
    this.#session = session;
    let worked = false;
    try {
      if (await this.#identify(session, signal)) {
        worked = true;
        this.#device.tell('ready', `${this.#describe()} on ${this.#options.path} answers`);
        await this.#poll(session, registrations, signal);
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
    // A modem may refuse any of these; what it does not report unasked is asked each round.
    for (const setting of settings) await session.run(setting, signal);
    return session.closedReason === undefined && !signal.aborted;
  }

  async #poll(
    session: AtSession,
    registrations: Map<RegistrationDomain, Registration>,
    signal: AbortSignal,
  ): Promise<void> {
    const { clock, periodMs, onSample } = this.#options;
    const round = new PollingRounds(this.#options.source, clock, session, registrations, signal);
    let silentRounds = 0;
    let dueMs = clock.monotonicMs();
    while (silentRounds < silentRoundsMax && session.closedReason === undefined && !signal.aborted) {
      const sample = await round.next();
      if (signal.aborted) return;
      silentRounds = sample === undefined ? silentRounds + 1 : 0;
      if (sample !== undefined) onSample(sample);
      // A round that took longer than the period delays the next one instead of piling up.
      dueMs = millis(Math.max(dueMs + periodMs, clock.monotonicMs()));
      await pause(clock, millis(dueMs - clock.monotonicMs()), signal);
    }
  }

  #endOf(session: AtSession): { state: 'silent' | 'lost'; reason: string } {
    const { path, baudRate = 115_200 } = this.#options;
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
        `modem on ${path} does not answer AT (${heard}); check that this is its AT port, that ${baudRate} baud is right ` +
        `and that no other program uses it`,
    };
  }

  #describe(): string {
    const { manufacturer, model } = this.#identity;
    const name = [manufacturer, model].filter((part) => part !== undefined).join(' ');
    return name === '' ? 'modem of unknown make' : printable(name, 64);
  }
}

/** The rounds of questions to one modem. */
class PollingRounds {
  readonly #source: string;
  readonly #clock: Clock;
  readonly #session: AtSession;
  readonly #registrations: Map<RegistrationDomain, Registration>;
  readonly #signal: AbortSignal;
  #rounds = 0;
  #quectelRefusedAt: number | undefined;
  #quectelTimeouts = 0;
  #gaveUp = false;
  #operator: string | undefined;
  #answeredAtMs: Millis | undefined;

  constructor(
    source: string,
    clock: Clock,
    session: AtSession,
    registrations: Map<RegistrationDomain, Registration>,
    signal: AbortSignal,
  ) {
    this.#source = source;
    this.#clock = clock;
    this.#session = session;
    this.#registrations = registrations;
    this.#signal = signal;
  }

  /** One round; undefined when the modem answered nothing in it. */
  async next(): Promise<RadioSample | undefined> {
    this.#answeredAtMs = undefined;
    this.#gaveUp = false;
    const quectel = this.#isQuectelTried() ? await this.#askQuectel() : undefined;
    await this.#askRegistration();
    const cells = quectel?.cells ?? (await this.#askGeneric());
    if (this.#rounds % operatorEveryRounds === 0) {
      const outcome = await this.#ask(askOperator);
      if (outcome.kind === 'ok') this.#operator = outcome.value.operator;
    }
    this.#rounds++;
    if (this.#answeredAtMs === undefined) return undefined;
    const registration = quectel?.modemState === 'searching' ? 'searching' : bestState(this.#registrations);
    return {
      source: this.#source,
      atMs: this.#answeredAtMs,
      ...present({ registration, operator: this.#operator }),
      cells,
    };
  }

  #isQuectelTried(): boolean {
    return (
      this.#quectelRefusedAt === undefined || this.#rounds - this.#quectelRefusedAt >= retryQuectelRounds
    );
  }

  /** Undefined when this modem, or this firmware, does not speak the dialect. */
  async #askQuectel(): Promise<ModemReport | undefined> {
    const serving = await this.#ask(askServing);
    this.#quectelTimeouts = serving.kind === 'timeout' ? this.#quectelTimeouts + 1 : 0;
    if (serving.kind === 'refused' || this.#quectelTimeouts >= quectelTimeoutsMax) {
      this.#quectelRefusedAt = this.#rounds;
      this.#quectelTimeouts = 0;
    }
    if (serving.kind !== 'ok') return undefined;
    const { modemState, cells = [] } = serving.value;
    if (cells.length === 0 && modemState !== 'searching' && modemState !== 'limited') return undefined;
    this.#quectelRefusedAt = undefined;
    const neighbours = await this.#ask(askNeighbours);
    return neighbours.kind === 'ok'
      ? { ...serving.value, cells: [...cells, ...withoutServing(neighbours.value.cells ?? [], cells)] }
      : serving.value;
  }

  async #askRegistration(): Promise<void> {
    for (const domain of registrationDomains) {
      const outcome = await this.#ask(command(`AT+${domain}?`, (lines) => lines, { answers: true }));
      if (outcome.kind === 'ok') noteRegistration(this.#registrations, outcome.value);
      const known = this.#registrations.get(domain);
      if (known !== undefined && isRegistered(known.state)) return;
    }
  }

  async #askGeneric(): Promise<CellMeasurement[]> {
    const quality = await this.#ask(askExtendedQuality);
    const strength = await this.#ask(askQuality);
    const { tac, cellId } = best(this.#registrations) ?? {};
    const rssiDbm: Metric<Dbm> | undefined = strength.kind === 'ok' ? strength.value : undefined;
    return servingCellsOf(
      quality.kind === 'ok' ? quality.value : undefined,
      rssiDbm,
      present({ tac, cellId }),
    );
  }

  async #ask<T>(question: AtCommand<T>): Promise<AtOutcome<T>> {
    // One question without answer ends the round: asking on would only add up timeouts.
    if (this.#gaveUp) return { kind: 'timeout' };
    const outcome = await this.#session.run(question, this.#signal);
    this.#gaveUp = outcome.kind === 'timeout' || outcome.kind === 'closed' || outcome.kind === 'cancelled';
    if (outcome.kind === 'ok' || outcome.kind === 'refused') this.#answeredAtMs ??= this.#clock.monotonicMs();
    return outcome;
  }
}

function noteRegistration(into: Map<RegistrationDomain, Registration>, lines: readonly string[]): void {
  for (const domain of [...registrationDomains, 'CGREG'] as const) {
    const registration = parseRegistration(lines, domain);
    if (registration !== undefined) into.set(domain, registration);
  }
}

function isRegistered(state: RegistrationState): boolean {
  return state === 'home' || state === 'roaming';
}

/** The domain that gives service, else the first that says anything. */
function best(registrations: ReadonlyMap<RegistrationDomain, Registration>): Registration | undefined {
  const known = [...registrationDomains, 'CGREG' as const].flatMap(
    (domain) => registrations.get(domain) ?? [],
  );
  return known.find((registration) => isRegistered(registration.state)) ?? known[0];
}

function bestState(
  registrations: ReadonlyMap<RegistrationDomain, Registration>,
): RegistrationState | undefined {
  return best(registrations)?.state;
}

/** Modems list the serving cell among its own neighbours. */
function withoutServing(
  neighbours: readonly CellMeasurement[],
  serving: readonly CellMeasurement[],
): CellMeasurement[] {
  const key = (cell: CellMeasurement): string => `${cell.rat} ${cell.identity.arfcn} ${cell.identity.pci}`;
  const known = new Set(serving.map(key));
  return neighbours.filter((cell) => !known.has(key(cell)));
}

async function pause(clock: Clock, durationMs: Millis, signal: AbortSignal): Promise<void> {
  try {
    await sleep(clock, durationMs, signal);
  } catch (error) {
    if (!(error instanceof CancelledError)) throw error;
  }
}
