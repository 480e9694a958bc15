import { dbm, millis } from '../base/units.ts';
import type { Dbm, Millis } from '../base/units.ts';
import type { DeviceReport } from '../host/reopening-line.ts';
import type {
  CellIdentity,
  RadioAccessTechnology,
  RadioSample,
  RegistrationState,
} from '../radio/radio-sample.ts';

/**
 * A way to the network over one radio, told in the words of IEEE 802.21: `detected` (there is a network, we are not on
 * it), `up`, `goingDown` (up, but not for long), `down`; `parametersChange` reports what changed within a state.
 */
export interface AccessLink {
  /** Name in the configuration. */
  readonly name: string;
  readonly state: LinkState;
  readonly sinceMs: Millis;
  /** What led to the state. */
  readonly reason: LinkReason;
  /** Address to which sockets of this link are bound; without one it carries nothing. */
  readonly localAddress?: string;
  readonly rat?: RadioAccessTechnology;
  readonly registration?: RegistrationState;
  readonly operator?: string;
  /** The serving cell. */
  readonly cell?: CellIdentity;
  readonly rsrpDbm?: Dbm;
  /** Time of the newest sample. */
  readonly sampleMs?: Millis;
  /** Samples in a row at or below the weak level. */
  readonly weakSamples: number;
}

/** Where a link stands. */
export type LinkState = 'down' | 'detected' | 'up' | 'goingDown';

/** Why a link stands where it does. */
export type LinkReason =
  | 'initial'
  | 'registered'
  | 'notRegistered'
  | 'registrationDenied'
  | 'weakSignal'
  | 'noSample'
  | 'deviceSilent'
  | 'deviceLost'
  | 'deviceStopped';

/** What a link learns. */
export type LinkInput =
  | { readonly kind: 'sample'; readonly sample: RadioSample }
  /** The modem itself: opened, silent, unplugged. */
  | { readonly kind: 'device'; readonly atMs: Millis; readonly report: DeviceReport }
  | { readonly kind: 'address'; readonly atMs: Millis; readonly localAddress: string | undefined }
  /** Time passes; call it about once a second. */
  | { readonly kind: 'tick'; readonly atMs: Millis };

/** One event of the link, in the order in which it happened. */
export interface LinkEvent {
  readonly kind: LinkState | 'parametersChange';
  readonly link: string;
  readonly atMs: Millis;
  readonly reason: LinkReason;
  /** For `parametersChange`: what changed. */
  readonly changed: readonly ('address' | 'cell' | 'operator' | 'rat' | 'registration')[];
}

/** When a link counts as about to go down. */
export interface LinkPolicy {
  /** Serving level at or below which a sample is weak … */
  readonly weakDbm: Dbm;
  /** … and at or above which the link has recovered. */
  readonly recoveredDbm: Dbm;
  /** Weak samples in a row that make it `goingDown`. */
  readonly weakSamples: number;
  /** Without a sample for this long the level is not known any more. */
  readonly quietMs: Millis;
}

/** Values for a cellular modem asked each second. */
export const defaultLinkPolicy: LinkPolicy = {
  weakDbm: dbm(-118),
  recoveredDbm: dbm(-114),
  weakSamples: 2,
  quietMs: millis(10_000),
};

/** A link of which nothing is known yet. */
export function createLink(name: string, nowMs: Millis, localAddress?: string): AccessLink {
  const address = localAddress === undefined ? {} : { localAddress };
  return { name, state: 'down', sinceMs: nowMs, reason: 'initial', weakSamples: 0, ...address };
}

/** Whether sockets can be opened on it now. */
export function isUsable(link: AccessLink): boolean {
  return link.localAddress !== undefined && (link.state === 'up' || link.state === 'goingDown');
}

/** Takes in one input: the link after it, and what happened. An older sample than the newest one changes nothing. */
export function advanceLink(
  link: AccessLink,
  input: LinkInput,
  policy: LinkPolicy,
): { readonly link: AccessLink; readonly events: readonly LinkEvent[] } {
  switch (input.kind) {
    case 'sample': {
      const { sample } = input;
      if (link.sampleMs !== undefined && sample.atMs <= link.sampleMs) return { link, events: [] };
      const seen = takeParameters(link, sample, policy);
      return report(link, enter(seen, ...judgeSample(link, seen, policy), sample.atMs), sample.atMs);
    }
    case 'device':
      return report(link, takeDevice(link, input.report, input.atMs), input.atMs);
    case 'address': {
      const { localAddress: _, ...rest } = link;
      const address = input.localAddress === undefined ? {} : { localAddress: input.localAddress };
      return report(link, { ...rest, ...address }, input.atMs);
    }
    case 'tick': {
      const isQuiet = link.sampleMs !== undefined && input.atMs - link.sampleMs > policy.quietMs;
      const next = isQuiet && link.state === 'up' ? enter(link, 'goingDown', 'noSample', input.atMs) : link;
      return report(link, next, input.atMs);
    }
  }
}

/** Takes in one input for the link of that name; an input for an unknown link changes nothing. */
export function advanceLinks(
  links: readonly AccessLink[],
  name: string,
  input: LinkInput,
  policy: LinkPolicy,
): { readonly links: readonly AccessLink[]; readonly events: readonly LinkEvent[] } {
  const events: LinkEvent[] = [];
  const next = links.map((link) => {
    if (link.name !== name) return link;
    const step = advanceLink(link, input, policy);
    events.push(...step.events);
    return step.link;
  });
  return { links: next, events };
}

function takeParameters(link: AccessLink, sample: RadioSample, policy: LinkPolicy): AccessLink {
  const { cell: _cell, rsrpDbm: _rsrpDbm, ...rest } = link;
  const serving = sample.cells.find((cell) => cell.serving);
  const metric = serving?.rsrpDbm;
  const levelDbm = metric?.suspect === true ? undefined : metric?.value;
  const registration = sample.registration ?? link.registration;
  const operator = sample.operator ?? link.operator;
  const rat = serving?.rat ?? link.rat;
  const isWeak = levelDbm !== undefined && levelDbm <= policy.weakDbm;
  return {
    ...rest,
    ...(registration === undefined ? {} : { registration }),
    ...(operator === undefined ? {} : { operator }),
    ...(rat === undefined ? {} : { rat }),
    ...(serving === undefined ? {} : { cell: serving.identity }),
    ...(levelDbm === undefined ? {} : { rsrpDbm: levelDbm }),
    sampleMs: sample.atMs,
    weakSamples: isWeak ? link.weakSamples + 1 : 0,
  };
}

/** State after a sample. A registration that the sample does not tell is the one told before. */
function judgeSample(
  before: AccessLink,
  seen: AccessLink,
  policy: LinkPolicy,
): readonly [LinkState, LinkReason] {
  const { registration = 'unknown' } = seen;
  switch (registration) {
    case 'home':
    case 'roaming': {
      const wasWeak = before.state === 'goingDown' && before.reason === 'weakSignal';
      const isStillWeak = wasWeak && (seen.rsrpDbm === undefined || seen.rsrpDbm < policy.recoveredDbm);
      if (isStillWeak || seen.weakSamples >= policy.weakSamples) return ['goingDown', 'weakSignal'];
      return ['up', 'registered'];
    }
    case 'denied':
      return [seen.cell === undefined ? 'down' : 'detected', 'registrationDenied'];
    case 'idle':
    case 'searching':
    case 'limited':
    case 'unknown':
      return [seen.cell === undefined ? 'down' : 'detected', 'notRegistered'];
  }
}

function takeDevice(link: AccessLink, { state }: DeviceReport, atMs: Millis): AccessLink {
  switch (state) {
    case 'opening':
    case 'ready':
      return link;
    case 'silent':
      // A modem that does not answer may still carry data; what it carries is for the service path to judge.
      return link.state === 'up' ? enter(link, 'goingDown', 'deviceSilent', atMs) : link;
    case 'lost':
      return enter(unregistered(link), 'down', 'deviceLost', atMs);
    case 'stopped':
      return enter(unregistered(link), 'down', 'deviceStopped', atMs);
  }
}

function unregistered(link: AccessLink): AccessLink {
  const { registration: _registration, cell: _cell, rsrpDbm: _rsrpDbm, ...rest } = link;
  return { ...rest, weakSamples: 0 };
}

function enter(link: AccessLink, state: LinkState, reason: LinkReason, atMs: Millis): AccessLink {
  return { ...link, state, reason, sinceMs: link.state === state ? link.sinceMs : atMs };
}

function report(
  before: AccessLink,
  after: AccessLink,
  atMs: Millis,
): { readonly link: AccessLink; readonly events: readonly LinkEvent[] } {
  const base = { link: after.name, atMs, reason: after.reason };
  if (before.state !== after.state) {
    return { link: after, events: [{ ...base, kind: after.state, changed: [] }] };
  }
  const changed: LinkEvent['changed'][number][] = [];
  if (before.localAddress !== after.localAddress) changed.push('address');
  if (cellText(before.cell) !== cellText(after.cell)) changed.push('cell');
  if (before.operator !== after.operator) changed.push('operator');
  if (before.rat !== after.rat) changed.push('rat');
  if (before.registration !== after.registration) changed.push('registration');
  if (changed.length === 0) return { link: after, events: [] };
  return { link: after, events: [{ ...base, kind: 'parametersChange', changed }] };
}

/** The cell as far as it names itself; a modem that leaves out the cell identity for once has not moved. */
function cellText(cell: CellIdentity | undefined): string {
  return cell === undefined ? '' : `${cell.arfcn ?? ''}/${cell.pci ?? ''}`;
}
