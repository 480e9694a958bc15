/**
 * The sampling plan of a modem. A round asks one command after the other, never two at once, and becomes one sample:
 *
 *     1  what describes the serving cell in the maker's dialect; the first that gives a cell ends this step
 *     2  `+CESQ` and `+CSQ` where 1 gave none
 *     3  the registration, where the modem does not tell it unasked or is not registered
 *     4  the neighbours
 *     5  one of the slow questions in turn (operator, temperature, carriers, SIM), and the position where it is wanted
 *
 * A command that is refused, or times out three times running, is left out for a while; one timeout ends the round, for
 * asking on would only add up timeouts.
 */
import type { Millis } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import type { AtCommand, AtOutcome, AtSession } from './at-session.ts';
import { mergeCells, mergeReports } from './modem-report.ts';
import type { CommandUse, Dialect, DialectCommand, ModemReport, SimState } from './modem-report.ts';
import type { CellMeasurement, RadioPosition, RegistrationState } from './radio-sample.ts';
import type { Registration, RegistrationDomain } from './registration.ts';
import { present } from './reply-fields.ts';
import { genericDialect, simStateOfError } from './vendor/generic.ts';

/** What one round found out. */
export interface PollingRound {
  /** Monotonic time of the first answer; undefined when there was none. */
  readonly answeredAtMs: Millis | undefined;
  readonly cells: readonly CellMeasurement[];
  readonly registration?: RegistrationState;
  readonly operator?: string;
  readonly temperatureC?: number;
  readonly position?: RadioPosition;
  readonly sim?: SimState;
  /** Why the modem has no data connection, in its own words. */
  readonly failureCause?: string;
}

/** Rounds between two turns of the slow questions. */
const slowEveryRounds = 5;
/** Timeouts of one command in a row after which it is left out. */
const timeoutsMax = 3;
/** Rounds for which a command is left out: some are refused only until the SIM is ready. */
const leaveOutRounds = 120;
const registrationDomains: readonly RegistrationDomain[] = ['CEREG', 'C5GREG', 'CREG', 'CGREG'];

/** A dialect's command as the session takes it. */
export function atCommand(command: DialectCommand, model: string | undefined): AtCommand<ModemReport> {
  return {
    text: command.text,
    timeoutMs: command.timeoutMs,
    parse: (lines) => command.parse(lines, { command: command.text, ...present({ model }) }),
    // Neighbours may be none and settings have no answer; any other bare OK was meant for an earlier command.
    answers: command.use !== 'neighbours' && command.use !== 'carriers',
  };
}

/** The rounds of questions to one modem in one session. */
export class ModemPoller {
  readonly #clock: Clock;
  readonly #session: AtSession;
  readonly #signal: AbortSignal;
  readonly #commands: readonly DialectCommand[];
  readonly #model: string | undefined;
  readonly #wantsPosition: boolean;
  readonly #registrations = new Map<RegistrationDomain, Registration>();
  readonly #leftOutUntil = new Map<string, number>();
  readonly #timeouts = new Map<string, number>();
  #rounds = 0;
  #slowTurn = 0;
  #gaveUp = false;
  #answeredAtMs: Millis | undefined;
  #known: Pick<ModemReport, 'operator' | 'sim' | 'temperatures' | 'failureCause'> = {};
  #hasConnection = true;

  constructor(options: {
    clock: Clock;
    session: AtSession;
    signal: AbortSignal;
    dialect: Dialect;
    model?: string | undefined;
    wantsPosition?: boolean;
  }) {
    this.#clock = options.clock;
    this.#session = options.session;
    this.#signal = options.signal;
    this.#model = options.model;
    this.#wantsPosition = options.wantsPosition ?? false;
    const { dialect } = options;
    const own = dialect.vendor === 'generic' ? [] : dialect.commands;
    const names = new Set(own.map(({ name }) => name));
    this.#commands = [...own, ...genericDialect.commands.filter(({ name }) => !names.has(name))];
  }

  /** Takes in what an unsolicited line says. */
  notice(line: string): void {
    const name = /^([+^!#$%*&][A-Z0-9_]{1,24}):/i.exec(line)?.[1]?.toUpperCase();
    for (const command of this.#commands) {
      if (command.name !== name) continue;
      this.#note(command.parse([line], {}));
      return;
    }
  }

  /** One round. Never rejects. */
  async next(): Promise<PollingRound> {
    this.#answeredAtMs = undefined;
    this.#gaveUp = false;
    let report = await this.#askServing();
    await this.#askRegistration();
    const neighbours = report.cells?.length === 0 ? {} : await this.#askEach('neighbours');
    report = mergeReports(report, { cells: withoutServing(neighbours.cells ?? [], report.cells ?? []) });
    if (this.#rounds % slowEveryRounds === 0) await this.#askSlow();
    const { position } = this.#wantsPosition ? await this.#askEach('position') : {};
    this.#rounds++;
    const { operator, sim, temperatures = [] } = this.#known;
    const failureCause = this.#hasConnection ? undefined : this.#known.failureCause;
    const state = this.#bestRegistration()?.state;
    // A modem that was turned away goes on searching; the reason says more.
    const registration = report.modemState === 'searching' && state !== 'denied' ? 'searching' : state;
    const temperatureC =
      temperatures.length === 0 ? undefined : Math.max(...temperatures.map((one) => one.temperatureC));
    return {
      answeredAtMs: this.#answeredAtMs,
      cells: servingFirst(report.cells ?? []),
      ...present({ registration, operator, sim, failureCause, temperatureC, position }),
    };
  }

  async #askServing(): Promise<ModemReport> {
    let report: ModemReport = {};
    for (const command of this.#usable('serving')) {
      report = mergeReports(report, await this.#ask(command));
      const hasWord = report.modemState === 'searching' || report.modemState === 'limited';
      if ((report.cells?.length ?? 0) > 0 || hasWord) return { cells: [], ...report };
    }
    report = mergeReports(report, await this.#askEach('signal'));
    const { tac, cellId } = this.#bestRegistration() ?? {};
    const identity = present({ tac, cellId });
    // Strength and registration describe the one cell that `+CESQ` speaks of first.
    const cells = (report.cells ?? []).map((cell, index) =>
      index > 0
        ? cell
        : { ...cell, identity: { ...identity, ...cell.identity }, ...withStrength(cell, report) },
    );
    return { ...report, cells };
  }

  async #askRegistration(): Promise<void> {
    for (const command of this.#usable('registration')) {
      const report = await this.#ask(command);
      if (report.registrations?.some(({ state }) => isRegistered(state)) === true) return;
    }
  }

  /** One slow question; while there is no service those that tell why come first. */
  async #askSlow(): Promise<void> {
    const others = this.#usable('other');
    const causes = this.#hasConnection ? ['+CPIN', '+CGACT'] : ['+CPIN', '+CGACT', '+CEER'];
    const why = causes.flatMap((name) => others.find((command) => command.name === name) ?? []);
    const slow = (['operator', 'temperature', 'carriers'] as const).flatMap((use) => this.#usable(use));
    const isServed = isRegistered(this.#bestRegistration()?.state);
    const commands = isServed ? [...slow, ...why] : [...why, ...slow];
    const command =
      commands[(isServed ? this.#slowTurn++ : this.#slowTurn++ % 4) % Math.max(1, commands.length)];
    if (command !== undefined) await this.#ask(command);
  }

  async #askEach(use: CommandUse): Promise<ModemReport> {
    let report: ModemReport = {};
    for (const command of this.#usable(use)) report = mergeReports(report, await this.#ask(command));
    return report;
  }

  #usable(use: CommandUse): DialectCommand[] {
    return this.#commands.filter(
      (command) => command.use === use && (this.#leftOutUntil.get(command.text) ?? 0) <= this.#rounds,
    );
  }

  async #ask(command: DialectCommand): Promise<ModemReport> {
    if (this.#gaveUp) return {};
    const outcome = await this.#session.run(atCommand(command, this.#model), this.#signal);
    this.#remember(command, outcome);
    this.#gaveUp = ['timeout', 'closed', 'cancelled'].includes(outcome.kind);
    if (outcome.kind === 'ok' || outcome.kind === 'refused') this.#answeredAtMs ??= this.#clock.monotonicMs();
    if (outcome.kind !== 'ok') {
      const sim = outcome.kind === 'refused' ? simStateOfError(outcome.code) : undefined;
      if (sim !== undefined) this.#note({ sim });
      return {};
    }
    this.#note(outcome.value);
    return outcome.value;
  }

  #remember(command: DialectCommand, outcome: AtOutcome<ModemReport>): void {
    const timeouts = outcome.kind === 'timeout' ? (this.#timeouts.get(command.text) ?? 0) + 1 : 0;
    const isOptional = !['registration', 'signal'].includes(command.use) && command.name !== '+CPIN';
    if (isOptional && (outcome.kind === 'refused' || timeouts >= timeoutsMax)) {
      this.#leftOutUntil.set(command.text, this.#rounds + leaveOutRounds);
      this.#timeouts.delete(command.text);
    } else this.#timeouts.set(command.text, timeouts);
  }

  #note(report: ModemReport): void {
    for (const registration of report.registrations ?? [])
      this.#registrations.set(registration.domain, registration);
    const { operator, sim, temperatures, failureCause, contexts } = report;
    this.#known = { ...this.#known, ...present({ operator, sim, temperatures, failureCause }) };
    const states = contexts?.flatMap(({ active }) => active ?? []) ?? [];
    if (states.length > 0) this.#hasConnection = states.includes(true);
  }

  /** The domain that gives service, else the first that says anything. */
  #bestRegistration(): Registration | undefined {
    const known = registrationDomains.flatMap((domain) => this.#registrations.get(domain) ?? []);
    return known.find(({ state }) => isRegistered(state)) ?? known[0];
  }
}

/** Whether data can flow in this state. */
export function isRegistered(state: RegistrationState | undefined): boolean {
  return state === 'home' || state === 'roaming';
}

function withStrength(cell: CellMeasurement, { rssiDbm }: ModemReport): Pick<CellMeasurement, 'rssiDbm'> {
  return cell.rssiDbm === undefined && rssiDbm?.value !== undefined && cell.rat !== 'nr' ? { rssiDbm } : {};
}

function servingFirst(cells: readonly CellMeasurement[]): CellMeasurement[] {
  return [...cells.filter(({ serving }) => serving), ...cells.filter(({ serving }) => !serving)];
}

/** Modems list the serving cell among its own neighbours, and some name it with them as serving. */
function withoutServing(
  neighbours: readonly CellMeasurement[],
  serving: readonly CellMeasurement[],
): CellMeasurement[] {
  const key = (cell: CellMeasurement): string => `${cell.rat} ${cell.identity.arfcn} ${cell.identity.pci}`;
  const known = new Set(serving.map(key));
  return mergeCells([], neighbours).filter((cell) => cell.serving || !known.has(key(cell)));
}
