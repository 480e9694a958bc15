import { dbm, millis } from '../base/units.ts';
import type { Dbm, Millis } from '../base/units.ts';
import type { InterfaceState } from '../host/netlink-interfaces.ts';
import type { DeviceReport } from '../host/reopening-line.ts';
import type {
  CellIdentity,
  RadioAccessTechnology,
  RadioSample,
  RegistrationState,
} from '../radio/radio-sample.ts';
import { carries, usableAddresses } from './link-table.ts';

/**
 * A way to the network over one bearer, told in the words of IEEE 802.21: `detected` (there is a network, we are not on
 * it), `up`, `goingDown` (up, but not for long), `down`; `parametersChange` reports what changed within a state.
 *
 * Two sides speak of it, the radio (modem) and the kernel (interface, carrier, address). A link has either or both, and
 * stands as the side that says worse: a registered modem carries nothing while its interface is down.
 */
export interface AccessLink {
  /** Name in the configuration. */
  readonly name: string;
  readonly state: LinkState;
  readonly sinceMs: Millis;
  /** What led to the state. */
  readonly reason: LinkReason;
  /** What the radio says; undefined until it says something. */
  readonly radio?: LinkStanding;
  /** What the kernel says; undefined where it is not asked. */
  readonly bearer?: LinkStanding;
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

/** Where a link stands by the word of one side. */
export interface LinkStanding {
  readonly state: LinkState;
  readonly reason: LinkReason;
}

/** Why a link stands where it does. */
export type LinkReason =
  | 'initial'
  | 'connected'
  | 'noInterface'
  | 'interfaceDown'
  | 'noCarrier'
  | 'noAddress'
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
  /** The interface of the link as the kernel tells it; `pinnedAddress` is the only address that counts, where there is one. */
  | {
      readonly kind: 'interface';
      readonly atMs: Millis;
      readonly state: InterfaceState | undefined;
      readonly pinnedAddress?: string;
    }
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
      return report(link, enter(seen, 'radio', judgeSample(link, seen, policy), sample.atMs), sample.atMs);
    }
    case 'device':
      return report(link, takeDevice(link, input.report, input.atMs), input.atMs);
    case 'address':
      return report(link, withAddress(link, input.localAddress), input.atMs);
    case 'interface': {
      const seen = withAddress(link, localAddressOf(link, input.state, input.pinnedAddress));
      const bearer = judgeInterface(input.state, seen.localAddress);
      return report(link, enter(seen, 'bearer', bearer, input.atMs), input.atMs);
    }
    case 'tick': {
      const isQuiet = link.sampleMs !== undefined && input.atMs - link.sampleMs > policy.quietMs;
      const next = isQuiet ? weaken(link, 'noSample', input.atMs) : link;
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
function judgeSample(before: AccessLink, seen: AccessLink, policy: LinkPolicy): LinkStanding {
  const { registration = 'unknown' } = seen;
  switch (registration) {
    case 'home':
    case 'roaming': {
      const wasWeak = before.radio?.state === 'goingDown' && before.radio.reason === 'weakSignal';
      const isStillWeak = wasWeak && (seen.rsrpDbm === undefined || seen.rsrpDbm < policy.recoveredDbm);
      if (isStillWeak || seen.weakSamples >= policy.weakSamples) {
        return { state: 'goingDown', reason: 'weakSignal' };
      }
      return { state: 'up', reason: 'registered' };
    }
    case 'denied':
      return { state: seen.cell === undefined ? 'down' : 'detected', reason: 'registrationDenied' };
    case 'idle':
    case 'searching':
    case 'limited':
    case 'unknown':
      return { state: seen.cell === undefined ? 'down' : 'detected', reason: 'notRegistered' };
  }
}

function takeDevice(link: AccessLink, { state }: DeviceReport, atMs: Millis): AccessLink {
  switch (state) {
    case 'opening':
    case 'ready':
      return link;
    case 'silent':
      // A modem that does not answer may still carry data; what it carries is for the service path to judge.
      return weaken(link, 'deviceSilent', atMs);
    case 'lost':
      return enter(unregistered(link), 'radio', { state: 'down', reason: 'deviceLost' }, atMs);
    case 'stopped':
      return enter(unregistered(link), 'radio', { state: 'down', reason: 'deviceStopped' }, atMs);
  }
}

function unregistered(link: AccessLink): AccessLink {
  const { registration: _registration, cell: _cell, rsrpDbm: _rsrpDbm, ...rest } = link;
  return { ...rest, weakSamples: 0 };
}

/** What an interface with this address to bind to says. */
function judgeInterface(state: InterfaceState | undefined, localAddress: string | undefined): LinkStanding {
  if (state === undefined) return { state: 'down', reason: 'noInterface' };
  if (!state.up) return { state: 'down', reason: 'interfaceDown' };
  if (!carries(state)) return { state: 'down', reason: 'noCarrier' };
  if (localAddress === undefined) return { state: 'detected', reason: 'noAddress' };
  return { state: 'up', reason: 'connected' };
}

/** The address that stays the same as long as it can: a new one costs every session that is bound to it. */
function localAddressOf(
  link: AccessLink,
  state: InterfaceState | undefined,
  pinned: string | undefined,
): string | undefined {
  const usable = usableAddresses(state);
  if (pinned !== undefined) return usable.find(({ address }) => address === pinned)?.address;
  const kept = usable.find(({ address, deprecated }) => address === link.localAddress && !deprecated);
  return (kept ?? usable.find(({ family }) => family === 4) ?? usable[0])?.address;
}

function withAddress(link: AccessLink, localAddress: string | undefined): AccessLink {
  const { localAddress: _, ...rest } = link;
  return { ...rest, ...(localAddress === undefined ? {} : { localAddress }) };
}

/** Takes a radio that was well for one that will not be for long. */
function weaken(link: AccessLink, reason: LinkReason, atMs: Millis): AccessLink {
  return link.radio?.state === 'up' ? enter(link, 'radio', { state: 'goingDown', reason }, atMs) : link;
}

/** From the worst to the best. */
const states: readonly LinkState[] = ['down', 'detected', 'goingDown', 'up'];

function enter(link: AccessLink, side: 'radio' | 'bearer', standing: LinkStanding, atMs: Millis): AccessLink {
  const radio = side === 'radio' ? standing : link.radio;
  const bearer = side === 'bearer' ? standing : link.bearer;
  const isRadioWorse =
    radio !== undefined &&
    (bearer === undefined || states.indexOf(radio.state) <= states.indexOf(bearer.state));
  const { state, reason } = (isRadioWorse ? radio : bearer) ?? standing;
  return { ...link, [side]: standing, state, reason, sinceMs: link.state === state ? link.sinceMs : atMs };
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
