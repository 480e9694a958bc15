/**
 * What to do about a modem that does not serve: a ladder of ever stronger means, and the judgement whether they can help
 * at all. A modem without SIM, with a locked one, or whom the network turns away, is misconfigured: nothing of the
 * ladder mends that, and the attempts would only cost service when the cause is gone.
 *
 *     resync      listen until the line is quiet, then AT until it is answered
 *     radioCycle  AT+CFUN=0 and AT+CFUN=1: the radio forgets the network
 *     softReset   AT+CFUN=1,1, sent whether or not the modem answers; its port may go and come back
 *     reopen      close the port and open it again, the next port of the modem where it has several
 *     usbReset    injected: the USB port is unbound and bound again
 *     powerCycle  injected: the supply is cut
 *
 * The rungs of one hour share a budget, so that a modem beyond help is not reset for ever; the waits between attempts to
 * open its port go on. Every rung ends in a record with its cause, duration and result.
 */
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import type { SimState } from './modem-report.ts';
import type { RegistrationState } from './radio-sample.ts';

/** A means of recovery, the mildest first. */
export type Rung = 'resync' | 'radioCycle' | 'softReset' | 'reopen' | 'usbReset' | 'powerCycle';

/** Why the ladder was entered. */
export type RecoveryCause = 'silent' | 'lost' | 'notRegistered';

/** Why no rung is tried. */
export type Misconfiguration =
  | 'simMissing'
  | 'simPinLocked'
  | 'simPukLocked'
  | 'simNetworkLocked'
  | 'simFailed'
  | 'registrationDenied'
  | 'contextRefused';

/** One rung that was tried. */
export interface RungRecord {
  readonly rung: Rung;
  readonly cause: RecoveryCause;
  readonly startedMs: Millis;
  readonly durationMs: Millis;
  /** Whether the modem served again before the next rung was due. */
  readonly hasHelped: boolean;
}

/** When a rung is due, and how often. */
export interface RecoveryPolicy {
  /** How long each rung has before the next one is tried. */
  readonly rungMs: Readonly<Record<Rung, Millis>>;
  /** Rungs from `softReset` on in any hour. */
  readonly resetsPerHourMax: number;
  /** How long a modem may search before its radio is cycled. */
  readonly searchMsMax: Millis;
  /** How long a port may be gone before the USB port is reset. */
  readonly lostMsMax: Millis;
}

/** The deadlines of the ladder, together under three minutes. */
export const defaultRecoveryPolicy: RecoveryPolicy = {
  rungMs: {
    resync: millis(10_000),
    radioCycle: millis(30_000),
    softReset: millis(40_000),
    reopen: millis(10_000),
    usbReset: millis(20_000),
    powerCycle: millis(40_000),
  },
  resetsPerHourMax: 8,
  searchMsMax: millis(60_000),
  lostMsMax: millis(20_000),
};

const ladders: Readonly<Record<RecoveryCause, readonly Rung[]>> = {
  silent: ['resync', 'softReset', 'reopen', 'usbReset', 'powerCycle'],
  lost: ['usbReset', 'powerCycle'],
  notRegistered: ['radioCycle', 'softReset', 'powerCycle'],
};
const hourMs = 3_600_000;
const resets: readonly Rung[] = ['softReset', 'usbReset', 'powerCycle'];

/** Where a modem stands on the ladder; `tried` counts the rungs of this trouble. */
export interface RecoveryState {
  readonly cause?: RecoveryCause;
  readonly tried: number;
  /** Monotonic times of the resets of the last hour. */
  readonly resetsMs: readonly Millis[];
}

/** A modem without trouble. */
export const noTrouble: RecoveryState = { tried: 0, resetsMs: [] };

/**
 * The next rung for a cause, and the state after taking it; `rung` is undefined when the ladder is at its end or the budget
 * of the hour is spent: then only waiting is left, and after an hour the ladder begins anew.
 */
export function nextRung(
  state: RecoveryState,
  cause: RecoveryCause,
  nowMs: Millis,
  available: ReadonlySet<Rung>,
  policy: RecoveryPolicy,
): { readonly state: RecoveryState; readonly rung: Rung | undefined } {
  const resetsMs = state.resetsMs.filter((atMs) => nowMs - atMs < hourMs);
  const tried = state.cause === cause ? state.tried : 0;
  const ladder = ladders[cause].filter((rung) => available.has(rung));
  const rung = ladder[tried % Math.max(1, ladder.length)];
  if (rung === undefined) return { state: { cause, tried, resetsMs }, rung: undefined };
  if (resets.includes(rung) && resetsMs.length >= policy.resetsPerHourMax)
    return { state: { cause, tried, resetsMs }, rung: undefined };
  const taken = resets.includes(rung) ? [...resetsMs, nowMs] : resetsMs;
  return { state: { cause, tried: tried + 1, resetsMs: taken }, rung };
}

/** The state after the modem served again: the budget of the hour stands. */
export function recovered(state: RecoveryState): RecoveryState {
  return { tried: 0, resetsMs: state.resetsMs };
}

/** Whether a modem that answers but does not serve is misconfigured, and how. */
export function judge(found: {
  readonly sim?: SimState;
  readonly registration?: RegistrationState;
  /** Cause of the last failure in the modem's words. */
  readonly failureCause?: string;
}): Misconfiguration | undefined {
  const { sim, registration, failureCause = '' } = found;
  if (sim === 'missing') return 'simMissing';
  if (sim === 'pinLocked') return 'simPinLocked';
  if (sim === 'pukLocked') return 'simPukLocked';
  if (sim === 'networkLocked') return 'simNetworkLocked';
  if (sim === 'failed') return 'simFailed';
  if (registration === 'denied') return 'registrationDenied';
  // 3GPP TS 24.008 10.5.6.6 and TS 24.301 9.9.4.4: causes 27 to 33 speak of the access point and the subscription.
  const isContext =
    /\b(?:unknown|missing|invalid) (?:or missing )?(?:APN|access point)|not subscribed|cause (?:27|28|29|30|32|33)\b/i;
  return isContext.test(failureCause) ? 'contextRefused' : undefined;
}

/** What a person can do about it. */
export function wayOutOf(problem: Misconfiguration): string {
  const ways: Readonly<Record<Misconfiguration, string>> = {
    simMissing: 'the modem sees no SIM: put one in, or seat it anew',
    simPinLocked: 'the SIM asks for its PIN: switch the PIN off, or enter it (AT+CPIN)',
    simPukLocked: 'the SIM is locked after wrong PINs: enter its PUK with another device',
    simNetworkLocked: 'the modem is locked to another network: unlock it, or use a SIM of that network',
    simFailed: 'the SIM does not work in this modem: clean its contacts, or try another one',
    registrationDenied: 'the network turns this SIM away: check that it is active and allowed to roam here',
    contextRefused: 'the network refuses the data connection: check the access point name (AT+CGDCONT?)',
  };
  return ways[problem];
}
