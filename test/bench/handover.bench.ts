// What a handover costs, with the real gateway and real CoAP datagrams on a virtual clock, so that the figures do not depend on
// the machine: a disk and processors take no time, a path delays each datagram by 20 ms, so that a round trip is 40 ms.
//
//   npm run bench -- handover [--quick] [--check] [--json]
//
//   signalling  from the order to the switch, for bundles of 1, 10 and 40 AEs (each one ACP, two containers, one
//               subscription), at a target that knows nothing of us and at a warm standby: round trips, requests, octets
//   uplink      the longest time without a new reading at any CSE while a handover goes on, beside the period of the readings
//   downlink    a command every 10 ms at the CSE that the newest claim in the serving record names: by how much the latest
//               execution during a handover exceeds the normal one
//
// Three kinds of handovers: ordered with nothing prepared (cold), ordered to the warm standby (warm), and by the loss of the
// serving CSE with a warm standby (lost). In the last, uplink and downlink count from the decision: nobody can deliver before
// it, and what the lost CSE has taken waits there. The time from the silence to the decision is told beside and not judged.
//
// --quick makes fewer handovers. --check ends with 1 when one of these is missed: at most 6 round trips to the switch with
// nothing prepared for 1 and 10 AEs, the same for 10 as for 1 (at 40 the window of requests shows: told, not judged); at most
// 2 with a warm standby; readings at most 2 round trips later than their period; a blind time p95 of at most 2 round trips.
import { setMaxListeners } from 'node:events';
import { parseArgs } from 'node:util';
import { millis } from '../../src/base/units.ts';
import { GatewayWorld, device, stream } from '../handover/gateway-world.ts';

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    seed: { type: 'string', default: '1' },
  },
});
// A bundle of 40 AEs waits under one signal.
setMaxListeners(0);
const seed = Number(values.seed);
const delayMs = 20;
const roundTripMs = 2 * delayMs;
const handoversEach = values.quick ? 5 : 100;
const periodMs = 100;
const commandMs = 10;
/** Commands without a result after that are lost. */
const resultsMs = 30_000;
/** Before a handover is ordered, and after it. */
const tailMs = 200;
const warm = {
  standby: { enabled: true, holdMs: 1000, refreshMs: 5000, requestsPerHour: 1_000_000, bytesPerHour: 1e9 },
};
const mn = (at: number): string => `/id-mn${at}`;

interface Signalling {
  readonly aes: number;
  readonly kind: 'cold' | 'warm';
  readonly roundTrips: number;
  readonly requests: number;
  readonly bytes: number;
  readonly phases: Readonly<Record<string, number>>;
}

interface Flow {
  readonly kind: 'cold' | 'warm' | 'lost';
  readonly handovers: number;
  readonly gapMsMax: number;
  readonly blindMsP95: number;
  readonly blindMsMax: number;
  readonly normalMs: number;
  readonly commands: number;
  /** From the silence of the serving CSE to the decision. */
  readonly detectionMsP95?: number;
  /** Losses that the standby was there for. */
  readonly toStandby?: number;
}

interface Measured {
  readonly fromMs: number;
  readonly lostCse: string | undefined;
  readonly stop: () => void;
}

const signalling: Signalling[] = [];
for (const kind of ['cold', 'warm'] as const) {
  for (const aes of [1, 10, 40]) signalling.push(await measureSignalling(aes, kind));
}
const flows: Flow[] = [];
for (const kind of ['cold', 'warm', 'lost'] as const) flows.push(await measureFlow(kind));

const tripsOf = (aes: number, kind: Signalling['kind']): number =>
  signalling.find((row) => row.aes === aes && row.kind === kind)?.roundTrips ?? Number.NaN;
const bounds = [
  ...[1, 10].map((aes) =>
    bound(`${aes} AEs, nothing prepared: round trips to the switch`, 6, tripsOf(aes, 'cold')),
  ),
  ...[1, 10, 40].map((aes) =>
    bound(`${aes} AEs, warm standby: round trips to the switch`, 2, tripsOf(aes, 'warm')),
  ),
  bound(
    'round trips of 10 AEs beyond those of one, nothing prepared',
    0,
    tripsOf(10, 'cold') - tripsOf(1, 'cold'),
  ),
  ...flows.map(({ kind, gapMsMax }) =>
    bound(
      `${kind}: longest time without a reading beyond the period, ms`,
      2 * roundTripMs,
      gapMsMax - periodMs,
    ),
  ),
  ...flows.map(({ kind, blindMsP95 }) =>
    bound(`${kind}: blind time of the downlink p95, round trips`, 2, blindMsP95 / roundTripMs),
  ),
];
if (values.json) console.log(JSON.stringify({ seed, roundTripMs, signalling, flows, bounds }));
else print();
const missed = bounds.filter(({ isMet }) => !isMet);
for (const { name, value, limit } of values.check ? missed : [])
  console.error(`missed: ${name}: ${value} instead of <= ${limit}`);
process.exit(values.check && missed.length > 0 ? 1 : 0);

/** One handover while no readings flow. */
async function measureSignalling(aes: number, kind: Signalling['kind']): Promise<Signalling> {
  let atSwitch: { datagrams: number; bytes: number } | undefined;
  const requests = { count: 0 };
  const world = new GatewayWorld({
    ...{ seed, delayMs, periodMs: 3_600_000, mnCount: 2 },
    config: {
      ...(aes === 1 ? {} : { bundle: { aes: bundleOf(aes) } }),
      decision: { discoveryPeriodMs: 3_600_000, minimumStayMs: 1000 },
      ...(kind === 'warm' ? { handover: warm } : {}),
    },
    onEvent: (event) => {
      if (event.kind === 'phase' && event.state === 'switching') atSwitch ??= { ...world.wire };
    },
    onCseEvent: (event) => {
      if (event.kind === 'answered' && atSwitch === undefined && isOurs(event.request.from))
        requests.count += 1;
    },
  });
  await world.open();
  if (kind === 'warm') await world.until('a standby', () => world.status.standby?.state === 'warm');
  // Nothing else is under way any more.
  await world.pass(3000);
  atSwitch = undefined;
  requests.count = 0;
  const before = { ...world.wire };
  const ended = await world.handOver(mn(2));
  if (ended.outcome !== 'completed') throw new Error(`${aes} AEs, ${kind}: ${JSON.stringify(ended)}`);
  const phases = ended.phases.slice(
    0,
    ended.phases.findIndex(({ phase }) => phase === 'switching'),
  );
  await world.close();
  const at: { bytes: number } = atSwitch ?? { bytes: Number.NaN };
  return {
    ...{ aes, kind },
    roundTrips: rounded(phases.reduce((sum, { ms }) => sum + ms, 0) / roundTripMs),
    requests: requests.count,
    bytes: at.bytes - before.bytes,
    phases: Object.fromEntries(phases.map(({ phase, ms }) => [phase, rounded(ms / roundTripMs)])),
  };
}

function isOurs(originator: string | undefined): boolean {
  return originator?.split('/').pop()?.startsWith(`S${device}`) === true;
}

/** AEs beside the gateway's own, which has an ACP, its containers and a subscription as well. */
function bundleOf(aes: number): unknown[] {
  return Array.from({ length: aes - 1 }, (_, index) => ({
    name: `${device}-${index + 1}`,
    containers: [{ path: 'data' }, { path: 'state' }],
    subscriptions: [{ path: 'data/watch', notify: [`S${device}-${index + 1}`] }],
  }));
}

/** Many handovers while readings and commands flow. */
async function measureFlow(kind: Flow['kind']): Promise<Flow> {
  const given = new Map<string, { readonly atMs: number; readonly cseId: string; deliveredMs?: number }>();
  const arrivals: number[] = [];
  let named = '';
  let onDecision = (): void => undefined;
  const world = new GatewayWorld({
    ...{ seed, delayMs, periodMs, mnCount: 3 },
    config: kind === 'cold' ? {} : { handover: warm },
    onEvent: (event) => {
      if (event.kind === 'decision') onDecision();
    },
    onCseEvent: (event) => {
      if (event.kind !== 'instanceCreated') return;
      if (event.path.includes(`/${device}/${stream}`)) arrivals.push(world.clock.monotonicMs());
      if (event.path.includes(`/${device}/results/`)) noteResult(event.content);
      const claimed = /\/serving\/e\d+$/u.test(event.path)
        ? (event.content as { cse: { id: string } }).cse.id
        : undefined;
      named = claimed ?? named;
    },
  });
  await world.open();
  const [blind, gaps, detection, warmTargets]: number[][] = [[], [], [], []];
  let [normalMs, number] = [0, 0];
  for (let at = 0; at < handoversEach; at++) {
    if (kind === 'cold') await world.pass(500);
    else await world.until('a standby', () => world.status.standby?.state === 'warm');
    given.clear();
    arrivals.splice(0);
    const isLoss = kind === 'lost';
    const { fromMs, lostCse, stop } = await (isLoss ? lose() : moveTo(targetOf(at)));
    await world.pass(tailMs);
    stop();
    const endMs = world.clock.monotonicMs();
    await waitForResults(lostCse);
    if (lostCse !== undefined) world.heal(lostCse);
    // What was given to a CSE that nobody reaches any more waits there: blind until the record names another one.
    const counted = [...given.values()].filter(({ cseId }) => cseId !== lostCse);
    const tookMs = counted.map(({ atMs, deliveredMs = Number.POSITIVE_INFINITY }) => deliveredMs - atMs);
    const usual = percentile(tookMs, 0.5);
    normalMs = Math.max(normalMs, usual);
    const namedMs = isLoss ? Math.min(...counted.map(({ atMs }) => atMs)) - fromMs : 0;
    blind?.push(namedMs + Math.max(...tookMs) - usual);
    const times = [fromMs, ...arrivals.filter((atMs) => atMs >= fromMs && atMs <= endMs), endMs];
    gaps?.push(Math.max(...times.slice(1).map((atMs, index) => atMs - (times[index] ?? atMs))));
    await world.until('the handover is over', () => world.status.handover === undefined);
  }
  await world.close();
  return {
    ...{ kind, handovers: handoversEach, commands: number },
    gapMsMax: rounded(Math.max(...(gaps ?? []))),
    blindMsP95: rounded(percentile(blind ?? [], 0.95)),
    blindMsMax: rounded(Math.max(...(blind ?? []))),
    normalMs: rounded(normalMs),
    ...(kind === 'lost'
      ? {
          detectionMsP95: rounded(percentile(detection ?? [], 0.95)),
          toStandby: (warmTargets ?? []).reduce((sum, one) => sum + one, 0),
        }
      : {}),
  };

  function targetOf(at: number): string {
    if (kind === 'warm') return world.status.standby?.cseId ?? '';
    return [1, 2, 3].map(mn).filter((id) => id !== world.serving)[at % 2] ?? '';
  }

  /** From shortly before the order to the end of the handover. */
  async function moveTo(target: string): Promise<Measured> {
    const fromMs = world.clock.monotonicMs();
    const stop = startCommands();
    await world.pass(tailMs);
    const ended = await world.handOver(target);
    if (ended.outcome !== 'completed') throw new Error(`${kind}: ${JSON.stringify(ended)}`);
    return { fromMs, stop, lostCse: undefined };
  }

  /** From the decision to the next CSE's catching up; what follows waits for the lost CSE, and commands and readings do not. */
  async function lose(): Promise<Measured> {
    const lostCse = world.serving;
    if (lostCse === undefined) throw new Error('no CSE serves');
    const cutMs = world.clock.monotonicMs();
    let decidedMs: number | undefined;
    let stop = (): void => undefined;
    onDecision = () => {
      if (decidedMs !== undefined) return;
      decidedMs = world.clock.monotonicMs();
      stop = startCommands();
    };
    world.cut(lostCse);
    await world.until('the next CSE serves', () => world.status.handover?.state === 'catchingUp');
    const fromMs = decidedMs ?? Number.NaN;
    detection?.push(fromMs - cutMs);
    const isWarm = world.status.handover?.phases.every(({ phase }) => phase !== 'preparing');
    warmTargets?.push(isWarm === true ? 1 : 0);
    return { fromMs, stop: () => stop(), lostCse };
  }

  /** A command is delivered when the gateway has begun it; its result comes later, one after the other. */
  function noteResult(content: unknown): void {
    const { id, begun } = (content as { readonly v: { readonly id: string; readonly begun?: number } }).v;
    const command = given.get(id);
    if (command === undefined || begun === undefined) return;
    command.deliveredMs ??= begun - (world.clock.unixMs() - world.clock.monotonicMs());
  }

  async function waitForResults(lostCse: string | undefined): Promise<void> {
    const isComplete = (): boolean =>
      [...given.values()].every(({ cseId, deliveredMs }) => cseId === lostCse || deliveredMs !== undefined);
    for (let passedMs = 0; passedMs < resultsMs && !isComplete(); passedMs += 100) await world.pass(100);
  }

  function startCommands(): () => void {
    let isOn = true;
    const next = (): void => {
      if (!isOn) return;
      const id = `cmd-${++number}-`;
      given.set(id, { atMs: world.clock.monotonicMs(), cseId: named });
      void world.command(named, id);
      world.clock.schedule(millis(commandMs), next);
    };
    next();
    return () => void (isOn = false);
  }
}

function percentile(list: readonly number[], share: number): number {
  const sorted = [...list].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}

function bound(
  name: string,
  limit: number,
  exact: number,
): { name: string; limit: number; value: number; isMet: boolean } {
  const value = rounded(exact);
  return { name, limit, value, isMet: value <= limit };
}

function print(): void {
  for (const { aes, kind, roundTrips, requests, bytes, phases } of signalling) {
    const parts = Object.entries(phases).map(([phase, trips]) => `${phase} ${trips}`);
    console.log(
      `${kind}, ${aes} AEs: ${roundTrips} round trips (${parts.join(', ')}), ${requests} requests, ${bytes} octets`,
    );
  }
  for (const flow of flows) {
    const { kind, handovers, commands, gapMsMax, blindMsP95, blindMsMax, normalMs } = flow;
    console.log(
      `${kind}, ${handovers} handovers: longest time without a reading ${gapMsMax} ms at a period of ${periodMs} ms; ` +
        `${commands} commands, normally delivered in ${normalMs} ms, blind time p95 ${blindMsP95} ms, max ${blindMsMax} ms`,
    );
    if (flow.detectionMsP95 !== undefined) {
      console.log(
        `lost: decided within ${flow.detectionMsP95} ms of the silence (p95), for the standby in ${flow.toStandby} of ${handovers}`,
      );
    }
  }
  for (const { name, limit, value, isMet } of bounds)
    console.log(`${isMet ? 'met   ' : 'MISSED'} ${name}: ${value} <= ${limit}`);
}
