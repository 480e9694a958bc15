import { CancelledError } from '../base/errors.ts';
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import { sleep, withDeadline } from '../host/clock.ts';
import type { Clock } from '../host/clock.ts';
import type { AtCommand, AtSession } from './at-session.ts';
import { nextRung, noTrouble, recovered } from './recovery.ts';
import type { RecoveryCause, RecoveryPolicy, RecoveryState, Rung, RungRecord } from './recovery.ts';

/** Means of recovery that the board offers; each resolves when it is done, long before the modem is back. */
export interface RecoveryActions {
  /** Unbinds and binds the USB port. */
  readonly usbReset?: (signal: AbortSignal) => Promise<void>;
  /** Cuts the supply for a moment, by GPIO or by the hub. */
  readonly powerCycle?: (signal: AbortSignal) => Promise<void>;
}

const plain = (text: string, timeoutMs: number): AtCommand<undefined> => ({
  text,
  parse: () => undefined,
  timeoutMs: millis(timeoutMs),
});
const probe = plain('AT', 1000);
const probePauseMs = millis(500);
const patienceDoublings = 4;

/** Takes one modem up the ladder of `recovery.ts`; lives as long as the source, over all its sessions. */
export class ModemRecovery {
  readonly #clock: Clock;
  readonly #policy: RecoveryPolicy;
  readonly #actions: RecoveryActions;
  readonly #onRung: (record: RungRecord) => void;
  readonly #stopping = new AbortController();
  readonly #available: ReadonlySet<Rung>;
  #state: RecoveryState = noTrouble;
  #pending: { rung: Rung; cause: RecoveryCause; startedMs: Millis } | undefined;
  #lostSinceMs: Millis | undefined;

  constructor(options: {
    clock: Clock;
    policy: RecoveryPolicy;
    actions: RecoveryActions;
    onRung: (record: RungRecord) => void;
  }) {
    this.#clock = options.clock;
    this.#policy = options.policy;
    this.#actions = options.actions;
    this.#onRung = options.onRung;
    this.#available = new Set<Rung>([
      'resync',
      'radioCycle',
      'softReset',
      'reopen',
      ...(options.actions.usbReset === undefined ? [] : (['usbReset'] as const)),
      ...(options.actions.powerCycle === undefined ? [] : (['powerCycle'] as const)),
    ]);
  }

  /** Ends the actions under way. */
  stop(): void {
    this.#stopping.abort();
  }

  /** The modem answered a whole round: the trouble, if there was any, is over. */
  noteServed(): void {
    this.#lostSinceMs = undefined;
    if (this.#state.cause === 'notRegistered') return;
    this.#finish(true);
    this.#state = recovered(this.#state);
  }

  /** The modem is on the network again. */
  noteRegistered(): void {
    if (this.#state.cause !== 'notRegistered') return;
    this.#finish(true);
    this.#state = recovered(this.#state);
  }

  /** None of the ports can be opened; after a while the means beyond the port are tried. */
  noteLost(): void {
    const nowMs = this.#clock.monotonicMs();
    this.#lostSinceMs ??= nowMs;
    const dueMs = Math.max(this.#lostSinceMs + this.#policy.lostMsMax, this.#pendingUntilMs());
    if (nowMs < dueMs) return;
    const rung = this.#begin('lost');
    if (rung === 'usbReset' || rung === 'powerCycle') void this.#act(rung, this.#stopping.signal);
  }

  /**
   * Whether a modem that searches since then is taken for hung. Each rung doubles the patience: where there is no network a
   * reset only delays the return to it.
   */
  isSearchTooLong(sinceMs: Millis): boolean {
    const tried = this.#state.cause === 'notRegistered' ? this.#state.tried : 0;
    return (
      this.#clock.monotonicMs() - sinceMs >=
      this.#policy.searchMsMax * 2 ** Math.min(tried, patienceDoublings)
    );
  }

  /**
   * Tries rung after rung until the modem answers again in this session: true. False when the session has to end for the next
   * one, because the port is to be opened anew, went away, or nothing is left to try.
   */
  async climb(session: AtSession, cause: RecoveryCause, signal: AbortSignal): Promise<boolean> {
    // What the last rung did to the modem may not be over yet.
    if (cause === 'silent' && (await this.#answersBy(session, this.#pendingUntilMs(), signal))) return true;
    while (session.closedReason === undefined && !signal.aborted) {
      const rung = this.#begin(cause);
      if (rung === undefined || rung === 'reopen') return false;
      if (rung === 'usbReset' || rung === 'powerCycle') {
        await this.#act(rung, signal);
        return false;
      }
      await this.#command(rung, session, signal);
      if (await this.#answersBy(session, this.#pendingUntilMs(), signal)) return true;
    }
    return false;
  }

  #begin(cause: RecoveryCause): Rung | undefined {
    const startedMs = this.#clock.monotonicMs();
    this.#finish(false);
    const { state, rung } = nextRung(this.#state, cause, startedMs, this.#available, this.#policy);
    this.#state = state;
    if (rung !== undefined) this.#pending = { rung, cause, startedMs };
    return rung;
  }

  #finish(hasHelped: boolean): void {
    const pending = this.#pending;
    if (pending === undefined) return;
    this.#pending = undefined;
    const durationMs = millis(this.#clock.monotonicMs() - pending.startedMs);
    this.#onRung({ ...pending, durationMs, hasHelped });
  }

  #pendingUntilMs(): number {
    return this.#pending === undefined
      ? 0
      : this.#pending.startedMs + this.#policy.rungMs[this.#pending.rung];
  }

  async #command(
    rung: Exclude<Rung, 'reopen' | 'usbReset' | 'powerCycle'>,
    session: AtSession,
    signal: AbortSignal,
  ): Promise<void> {
    if (rung === 'softReset') await session.shout('AT+CFUN=1,1');
    if (rung !== 'radioCycle') return;
    await session.run(plain('AT+CFUN=0', 15_000), signal);
    await session.run(plain('AT+CFUN=1', 15_000), signal);
  }

  /** An action that fails or hangs is no more than a rung that did not help. */
  async #act(rung: 'usbReset' | 'powerCycle', signal: AbortSignal): Promise<void> {
    const work = this.#actions[rung]?.(signal) ?? Promise.resolve();
    const limitMs = this.#policy.rungMs[rung];
    await withDeadline(this.#clock, limitMs, rung, work).catch(() => undefined);
  }

  async #answersBy(session: AtSession, untilMs: number, signal: AbortSignal): Promise<boolean> {
    while (this.#clock.monotonicMs() < untilMs && session.closedReason === undefined && !signal.aborted) {
      const outcome = await session.run(probe, signal);
      if (outcome.kind === 'ok') return true;
      try {
        await sleep(this.#clock, probePauseMs, signal);
      } catch (error) {
        if (!(error instanceof CancelledError)) throw error;
      }
    }
    return false;
  }
}
