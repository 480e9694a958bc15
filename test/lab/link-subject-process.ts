// The lab's first subject, in the namespace of the gateway: AccessLinks, path health, probes and the choice of the link, put
// together around a sender that numbers its datagrams and repeats each one until it is answered. It is what the gateway will
// do with its sockets, without the gateway.
import { openParentChannel, setExitCode } from '../../src/host/child-process.ts';
import { NodeClock, every } from '../../src/host/clock.ts';
import { NodeFilesystem } from '../../src/host/filesystem.ts';
import { NetlinkNetwork } from '../../src/host/netlink.ts';
import { NodeNetwork } from '../../src/host/network.ts';
import type { DatagramSocket, SocketAddress } from '../../src/host/network.ts';
import { bytes, millis } from '../../src/base/units.ts';
import { isUsable } from '../../src/link/access-link.ts';
import type { LinkEvent } from '../../src/link/access-link.ts';
import { AccessLinks } from '../../src/link/access-links.ts';
import { chooseLink, defaultLinkChoicePolicy, noLinkChosen } from '../../src/link/link-choice.ts';
import {
  advancePathHealth,
  createPathHealth,
  defaultPathHealthPolicy,
  overdueAfterMs,
  pathHealthAt,
} from '../../src/link/path-health.ts';
import type { PathEvidence, PathHealthState } from '../../src/link/path-health.ts';
import {
  createProbeState,
  defaultProbePolicy,
  probeDueMs,
  takeProbeAnswered,
  takeProbeSent,
} from '../../src/link/probe-plan.ts';
import type { ProbeState } from '../../src/link/probe-plan.ts';

/** What the subject is told: one JSON argument. */
export interface LinkSubjectPlan {
  readonly server: SocketAddress;
  readonly periodMs: number;
  readonly links: readonly { readonly name: string; readonly cost: number }[];
}

interface Path {
  readonly name: string;
  readonly cost: number;
  address?: string;
  socket?: DatagramSocket;
  health: PathHealthState;
  probes: ProbeState;
}

interface Attempt {
  readonly path: Path;
  readonly sentMs: number;
  isJudged: boolean;
}

/** A datagram with its IP and UDP heads, and its echo. */
const probeBytes = bytes(2 * (28 + 16));
const openMax = 1000;

const clock = new NodeClock();
const network = new NodeNetwork();
const channel = openParentChannel({
  onLine: () => tell({ kind: 'sample', sent: seq, probeBytes: probeBytesSent() }),
  onEnd: () => void end(),
});
const plan = JSON.parse(channel.args[0] ?? '') as LinkSubjectPlan;
const paths: readonly Path[] = plan.links.map(({ name, cost }) => ({
  name,
  cost,
  health: createPathHealth(clock.monotonicMs()),
  probes: createProbeState(clock.monotonicMs(), defaultProbePolicy),
}));
const open = new Map<number, Attempt[]>();
let choice = noLinkChosen;
let seq = 0;

const kernel = new NetlinkNetwork(clock);
const links = new AccessLinks({
  kernel,
  clock,
  filesystem: new NodeFilesystem(),
  links: plan.links.map(({ name }) => ({ name, interfaceName: name })),
  onEvent: (event) => void takeLinkEvent(event),
  onProblem: (about, text) => tell({ kind: 'problem', about, text }),
});
links.start();
await links.ready;
for (const path of paths) await fitSocket(path);
look();
tell({ kind: 'ready' });
const cancels = [
  every(clock, millis(plan.periodMs), () => {
    if (open.size < openMax) open.set(++seq, []);
    repeat(seq);
  }),
  every(clock, millis(10), () => {
    judge();
    look();
    probe();
  }),
];

async function takeLinkEvent(event: LinkEvent): Promise<void> {
  tell({ kind: 'event', event: { ...event, toldMs: clock.monotonicMs() } });
  const path = paths.find(({ name }) => name === event.link);
  if (path === undefined) return;
  if (event.kind === 'up') path.health = createPathHealth(clock.monotonicMs());
  await fitSocket(path);
  look();
}

/** A socket on the address that the link has now, none where it has none. */
async function fitSocket(path: Path): Promise<void> {
  const link = links.links().find(({ name }) => name === path.name);
  const address = link !== undefined && isUsable(link) ? link.localAddress : undefined;
  if (address === path.address && path.socket !== undefined) return;
  const former = path.socket;
  delete path.socket;
  delete path.address;
  if (address !== undefined) {
    path.address = address;
    const socket = await network.openDatagram({ localAddress: address }).catch(() => undefined);
    if (socket !== undefined) {
      path.socket = socket;
      socket.onMessage((data) => takeAnswer(path, data));
    }
  }
  await former?.close();
}

function takeAnswer(path: Path, data: Uint8Array): void {
  const atMs = clock.monotonicMs();
  const [first = '', copy = '', sentMs = ''] = Buffer.from(data).toString('latin1').split(' ');
  if (!/^(probe|\d+)$/u.test(first)) return learn(path, { kind: 'portal', atMs });
  learn(path, {
    kind: 'answered',
    sentMs: millis(Number(sentMs)),
    responseMs: millis(atMs - Number(sentMs)),
  });
  if (first === 'probe') {
    path.probes = takeProbeAnswered(path.probes);
    return;
  }
  if (open.delete(Number(first)))
    tell({ kind: 'answered', seq: Number(first), copy: Number(copy), atMs, link: path.name });
}

function learn(path: Path, evidence: PathEvidence): void {
  path.health = advancePathHealth(path.health, evidence, defaultPathHealthPolicy);
}

/** Sends a datagram over the serving link, for the first time or again. */
function repeat(number: number): void {
  const path = paths.find(({ name }) => name === choice.serving);
  const attempts = open.get(number);
  if (path === undefined || attempts === undefined) return;
  const copy = attempts.length;
  attempts.push({ path, sentMs: clock.monotonicMs(), isJudged: false });
  void send(path, `${number} ${copy}`);
}

async function send(path: Path, text: string): Promise<void> {
  if (path.socket === undefined) return;
  const sent = await path.socket.send(Buffer.from(`${text} ${clock.monotonicMs()}`), plan.server);
  if (sent.ok) return;
  learn(path, { kind: 'refused', atMs: clock.monotonicMs() });
  look();
}

/** What has been waited for long enough is evidence, and is sent again. */
function judge(): void {
  const nowMs = clock.monotonicMs();
  for (const [number, attempts] of open) {
    const last = attempts.at(-1);
    if (last === undefined) {
      repeat(number);
      continue;
    }
    const waitedMs = nowMs - last.sentMs;
    const limitMs = overdueAfterMs(last.path.health, defaultPathHealthPolicy);
    if (waitedMs < limitMs) continue;
    if (!last.isJudged) {
      last.isJudged = true;
      learn(last.path, { kind: 'unanswered', sentMs: millis(last.sentMs), waitedMs: millis(waitedMs) });
    }
    if (waitedMs >= Math.min(1000, limitMs * 1.5 ** Math.min(10, attempts.length - 1))) repeat(number);
  }
}

function look(): void {
  const nowMs = clock.monotonicMs();
  const byName = new Map(links.links().map((link) => [link.name, link]));
  const options = paths.flatMap((path) => {
    const link = byName.get(path.name);
    if (link === undefined) return [];
    const { baselineMs } = path.health;
    return {
      name: path.name,
      state: link.state,
      isUsable: isUsable(link) && path.socket !== undefined,
      health: pathHealthAt(path.health, nowMs, undefined, defaultPathHealthPolicy),
      ...(baselineMs === undefined ? {} : { responseMs: baselineMs }),
      preference: { cost: path.cost, isMetered: false, energyClass: 'low' as const },
    };
  });
  const { state, change } = chooseLink(choice, options, nowMs, defaultLinkChoicePolicy);
  choice = state;
  if (change === undefined) return;
  tell({ kind: 'change', change });
  // In flight over the link that was left: continued under the same number.
  for (const number of open.keys()) repeat(number);
}

function probe(): void {
  const nowMs = clock.monotonicMs();
  const serving = paths.find(({ name }) => name === choice.serving);
  const isInDoubt = serving === undefined || serving.health.health.state !== 'good';
  for (const path of paths) {
    if (path.socket === undefined || path === serving) continue;
    const { state } = path.health.health;
    const urgency = state === 'lost' || state === 'captive' ? 'lost' : isInDoubt ? 'doubt' : 'quiet';
    const need = { urgency, evidenceMs: path.health.evidenceMs } as const;
    if (probeDueMs(path.probes, need, probeBytes, nowMs, defaultProbePolicy) > nowMs) continue;
    path.probes = takeProbeSent(path.probes, probeBytes, nowMs, defaultProbePolicy);
    void send(path, 'probe 0');
  }
}

function probeBytesSent(): Record<string, number> {
  return Object.fromEntries(paths.map(({ name, probes }) => [name, probes.spentBytes]));
}

function tell(value: object): void {
  channel.writeLine(JSON.stringify(value));
}

async function end(): Promise<void> {
  for (const cancel of cancels) cancel();
  await links.stop();
  kernel.close();
  for (const { socket } of paths) await socket?.close();
  await channel.flush();
  setExitCode(0);
}
