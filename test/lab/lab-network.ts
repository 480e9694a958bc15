/**
 * The network of the lab, in namespaces of its own:
 *
 *   gw ──wwan0──┐                     ┌── in  10.65.0.2   core
 *   gw ──wlan0──┼── acc (router) ─────┼── ea  10.65.1.2   edge
 *   gw ──bnep0──┘                     └── eb  10.65.2.2   edge
 *
 * Link N (1 wwan0, 2 wlan0, 3 bnep0): gateway 10.64.N.2/24 and fd64:N::2/64, router .1 and ::1. The links are emulated (TAP
 * devices), the rest are veth pairs. In `gw` stand addresses and main-table defaults, as a DHCP client leaves them, and
 * nothing else: tables and rules are the business of what is tested.
 *
 * The names of the namespaces carry the process id of the lab that made them: one whose process is gone is removed by the next
 * lab, with everything that still runs inside.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { PathConditions } from '../../src/testbed/network/conditioned-path.ts';
import { threadsFor } from '../../src/testbed/network/link-emulator-process.ts';
import type {
  EmulatorAnswer,
  EmulatorOrder,
  EmulatorPlan,
} from '../../src/testbed/network/link-emulator-process.ts';
import { LabChild } from './lab-child.ts';

const execute = promisify(execFile);
const prefix = 'batonlab';
const nodes = ['gw', 'acc', 'in', 'ea', 'eb'] as const;
const servers = ['in', 'ea', 'eb'] as const;

/** The links of the gateway, by number from 1. */
export const linkNames = ['wwan0', 'wlan0', 'bnep0'] as const;
/** A link of the lab. */
export type LinkName = (typeof linkNames)[number];

/** Why the lab cannot be built here: nothing was proven, for or against. */
export class NotRunError extends Error {}

/** A running lab. */
export class LabNetwork {
  readonly #id: string;
  #emulator: LabChild | undefined;
  /** Orders are answered in their order, one at a time. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(id: string) {
    this.#id = id;
  }

  /** Builds it; throws `NotRunError` with the reason where that is not possible. */
  static async open(options: {
    seed: number;
    conditions: Readonly<Record<LinkName, Partial<PathConditions>>>;
  }): Promise<LabNetwork> {
    await checkLab();
    await sweepLabs();
    const lab = new LabNetwork(`${prefix}-${process.pid}`);
    try {
      await lab.#build(options);
      return lab;
    } catch (cause) {
      await lab.close();
      throw cause;
    }
  }

  /** Name of the namespace of a node. */
  namespace(node: (typeof nodes)[number]): string {
    return `${this.#id}-${node}`;
  }

  /** Runs `ip` in a node. */
  async ip(node: (typeof nodes)[number], ...words: string[]): Promise<string> {
    return (await execute('ip', ['-n', this.namespace(node), ...words])).stdout;
  }

  /** Changes an emulated link; when that took effect (CLOCK_MONOTONIC), and what it has carried so far. */
  order(order: EmulatorOrder): Promise<EmulatorAnswer & { ok: true }> {
    const turn = this.#turn.then(async () => {
      const answer = this.#emulator?.next();
      this.#emulator?.tell(order);
      return accepted((await answer) as EmulatorAnswer);
    });
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  /** Gives a link its addresses and default route, as its DHCP client would. */
  async configure(link: LinkName): Promise<void> {
    const n = numberOf(link);
    await this.#batch('gw', [
      `link set ${link} up`,
      `addr replace 10.64.${n}.2/24 dev ${link}`,
      `addr replace fd64:${n}::2/64 dev ${link} nodad`,
      `route replace default via 10.64.${n}.1 dev ${link} metric ${n}00`,
    ]);
  }

  /** Removes all of it, whatever of it there is. */
  async close(): Promise<void> {
    this.#emulator?.kill();
    await this.#emulator?.exited;
    this.#emulator = undefined;
    await removeNamespaces((name) => name.startsWith(`${this.#id}-`));
  }

  async #build(options: {
    seed: number;
    conditions: Readonly<Record<LinkName, Partial<PathConditions>>>;
  }): Promise<void> {
    for (const node of nodes) {
      await execute('ip', ['netns', 'add', this.namespace(node)]);
      await this.ip(node, 'link', 'set', 'lo', 'up');
    }
    const plan: EmulatorPlan = {
      seed: options.seed,
      links: linkNames.map((name) => ({
        name,
        gateway: [this.namespace('gw'), name],
        network: [this.namespace('acc'), `a-${name}`],
        conditions: options.conditions[name],
      })),
    };
    this.#emulator = new LabChild({
      module: new URL('../../src/testbed/network/link-emulator-process.js', import.meta.url),
      args: [JSON.stringify(plan)],
      env: { UV_THREADPOOL_SIZE: String(threadsFor(linkNames.length)) },
    });
    accepted((await this.#emulator.next()) as EmulatorAnswer);
    await execute('ip', ['netns', 'exec', this.namespace('acc'), 'sysctl', '-qw', 'net.ipv4.ip_forward=1']);
    await this.#batch('acc', [
      ...linkNames.flatMap((link) => [
        `addr add 10.64.${numberOf(link)}.1/24 dev a-${link}`,
        `addr add fd64:${numberOf(link)}::1/64 dev a-${link} nodad`,
        `link set a-${link} up`,
      ]),
      ...servers.flatMap((node, index) => [
        `link add e${index} type veth peer name eth0 netns ${this.namespace(node)}`,
        `addr add 10.65.${index}.1/24 dev e${index}`,
        `link set e${index} up`,
      ]),
    ]);
    for (const [index, node] of servers.entries()) {
      await this.#batch(node, [
        `addr add 10.65.${index}.2/24 dev eth0`,
        'link set eth0 up',
        `route add default via 10.65.${index}.1`,
      ]);
    }
    for (const link of linkNames) await this.configure(link);
  }

  async #batch(node: (typeof nodes)[number], lines: readonly string[]): Promise<void> {
    const child = execute('ip', ['-n', this.namespace(node), '-batch', '-']);
    child.child.stdin?.end(`${lines.join('\n')}\n`);
    await child;
  }
}

/** Position of a link in the addresses, from 1. */
export function numberOf(link: LinkName): number {
  return linkNames.indexOf(link) + 1;
}

/** Removes what labs left behind whose process is gone. */
export async function sweepLabs(): Promise<void> {
  await removeNamespaces((name) => {
    const pid = new RegExp(`^${prefix}-(\\d+)-`, 'u').exec(name)?.[1];
    return pid !== undefined && Number(pid) !== process.pid && !isAlive(Number(pid));
  });
}

/** Throws `NotRunError` where namespaces and TAP devices cannot be made. */
export async function checkLab(): Promise<void> {
  if (process.getuid?.() !== 0)
    throw new NotRunError('the lab needs root for namespaces and TAP devices: sudo npm run lab');
  try {
    await execute('ip', ['-V']);
  } catch (cause) {
    throw new NotRunError('the command ip is missing: apt-get install iproute2', { cause });
  }
  const probe = `${prefix}-${process.pid}-probe`;
  try {
    await execute('ip', ['netns', 'add', probe]);
    await execute('ip', ['-n', probe, 'tuntap', 'add', 'probe0', 'mode', 'tap']);
    await execute('ip', ['-n', probe, 'link', 'add', 'probe1', 'type', 'veth', 'peer', 'name', 'probe2']);
    await execute('ip', ['-n', probe, 'rule', 'add', 'pref', '1', 'from', '192.0.2.1', 'table', '7']);
  } catch (cause) {
    const text = cause instanceof Error ? cause.message.trim() : String(cause);
    throw new NotRunError(`namespaces, TAP or veth devices cannot be made here: ${text}`, { cause });
  } finally {
    await execute('ip', ['netns', 'del', probe]).catch(() => undefined);
  }
}

async function removeNamespaces(isMeant: (name: string) => boolean): Promise<void> {
  const { stdout } = await execute('ip', ['netns', 'list']);
  for (const line of stdout.split('\n')) {
    const name = line.split(' ')[0] ?? '';
    if (name === '' || !isMeant(name)) continue;
    const { stdout: pids } = await execute('ip', ['netns', 'pids', name]);
    for (const pid of pids.split('\n').filter(Boolean)) {
      if (Number(pid) !== process.pid) process.kill(Number(pid), 'SIGKILL');
    }
    await execute('ip', ['netns', 'del', name]).catch(() => undefined);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function accepted(answer: EmulatorAnswer): EmulatorAnswer & { ok: true } {
  if (answer.ok) return answer;
  throw new Error(answer.message);
}
