// One IN-CSE and three MN-CSEs of ACME as processes on loopback, each with ports that the system gave, CoAP between them,
// and mosquitto for those who come by MQTT. Everything they write lies in one temporary folder.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { assert } from '../../src/base/assert.ts';
import { DeadlineError, IoError } from '../../src/base/errors.ts';
import { millis } from '../../src/base/units.ts';
import { withDeadline, sleep } from '../../src/host/clock.ts';
import type { Host } from '../../src/host/host.ts';
import { isRejectedWith } from '../../src/onem2m/cse-client.ts';
import type { CseClient } from '../../src/onem2m/cse-client.ts';
import { ResourceType, ResponseStatusCode } from '../../src/onem2m/enums.ts';
import { createTemporaryDirectory } from '../../src/host/temporary-directory.ts';
import type { TemporaryDirectory } from '../../src/host/temporary-directory.ts';
import { MqttBroker } from '../../src/testbed/mqtt-broker.ts';
import { speakingOverCoap } from '../real/speaking.ts';
import type { Wire } from './differences-table.ts';
import type { Programs } from './set-up.ts';

export type AcmeName = 'in' | `mn${number}`;

/** What CSEs to start; the gateway is tried between the MN-CSEs. */
export interface AcmeLayout {
  readonly names: readonly AcmeName[];
  /** Those that know after a restart what was on disk; the others know nothing. */
  readonly onDisk: readonly AcmeName[];
  /** Those at which no AE with an AE-ID of S-type may register. */
  readonly closed: readonly AcmeName[];
}

const defaultLayout: AcmeLayout = { names: ['in', 'mn1', 'mn2', 'mn3'], onDisk: ['mn3'], closed: [] };

/** Originator that may do everything. */
export const adminOriginator = 'CAdmin';

const address = '127.0.0.1';
const endMs = millis(5_000);
/** A start takes 5 s on a quiet machine. */
const readyMs = 60_000;

interface Ports {
  readonly coap: number;
  readonly http: number;
}

/** The running CSEs and their broker; `stop` ends every process by its id and removes the folder. */
export class AcmeNetwork {
  readonly brokerPort: number;
  readonly #host: Host;
  readonly #programs: Programs;
  readonly #directory: TemporaryDirectory;
  readonly #layout: AcmeLayout;
  readonly #ports: ReadonlyMap<AcmeName, Ports>;
  readonly #processes = new Map<string, ChildProcess>();
  readonly #users = new Set<() => Promise<unknown>>();

  private constructor(
    host: Host,
    programs: Programs,
    directory: TemporaryDirectory,
    layout: AcmeLayout,
    ports: ReadonlyMap<AcmeName, Ports>,
    brokerPort: number,
  ) {
    this.#host = host;
    this.#programs = programs;
    this.#directory = directory;
    this.#layout = layout;
    this.#ports = ports;
    this.brokerPort = brokerPort;
  }

  /** Starts the processes; they need some seconds until they answer and know each other. */
  static async start(
    host: Host,
    programs: Programs,
    layout: AcmeLayout = defaultLayout,
  ): Promise<AcmeNetwork> {
    const directory = await createTemporaryDirectory('baton-acme-');
    const ports = new Map<AcmeName, Ports>();
    const closers: (() => Promise<void>)[] = [];
    // All are held open until the last is known, so that no port is given twice.
    const tcpPort = async (): Promise<number> => {
      const broker = await MqttBroker.open();
      closers.push(() => broker.close());
      return broker.port;
    };
    for (const name of layout.names) {
      const socket = await host.network.openDatagram({ localAddress: address });
      closers.push(() => socket.close());
      ports.set(name, { coap: socket.local.port, http: await tcpPort() });
    }
    const brokerPort = await tcpPort();
    for (const close of closers) await close();
    const network = new AcmeNetwork(host, programs, directory, layout, ports, brokerPort);
    try {
      network.#spawn('mosquitto', programs.mosquitto, ['-p', String(brokerPort)]);
      for (const name of layout.names) await network.startCse(name);
      return network;
    } catch (error) {
      await network.stop();
      throw error;
    }
  }

  /** Over MQTT all are reached through one broker; topics tell them apart. */
  pointOfAccess(name: AcmeName, wire: Wire = 'coap'): string {
    return `${wire}://${address}:${wire === 'coap' ? this.coapPort(name) : this.brokerPort}`;
  }

  /** The Python that ACME runs on. */
  get python(): string {
    return this.#programs.python;
  }

  httpPort(name: AcmeName): number {
    return this.#portsOf(name).http;
  }

  coapPort(name: AcmeName): number {
    return this.#portsOf(name).coap;
  }

  /** Why a process ended although nobody asked it to; undefined while all run. */
  get failure(): string | undefined {
    const ended = [...this.#processes].filter(
      ([, { exitCode, signalCode }]) => (exitCode ?? signalCode) !== null,
    );
    return ended.length === 0
      ? undefined
      : ended
          .map(([name, { exitCode, signalCode }]) => `${name} ended (${signalCode ?? exitCode})`)
          .join(', ');
  }

  /** Lets `work` speak to a CSE over CoAP as `originator`. */
  speaking<T>(name: AcmeName, originator: string, work: (client: CseClient) => Promise<T>): Promise<T> {
    return speakingOverCoap(this.#host, { address, port: this.coapPort(name) }, originator, work);
  }

  /** Waits until every CSE answers and each MN-CSE and the IN-CSE know each other. Throws `DeadlineError`. */
  async untilReady(names: readonly AcmeName[] = this.#layout.names): Promise<void> {
    const { clock } = this.#host;
    const waitEndMs = clock.monotonicMs() + readyMs;
    for (const name of names) {
      const to = name === 'in' ? 'cse-in' : '/id-in/cse-in';
      const isReady = (): Promise<boolean> =>
        this.speaking(name, adminOriginator, async (client) => {
          // A refusal by the IN-CSE comes by the same way as its consent.
          const there = await client.retrieve(to);
          if (!there.ok && !isRejectedWith(there.error, ResponseStatusCode.originatorHasNoPrivilege))
            return false;
          if (name === 'in') return there.ok;
          return this.speaking('in', adminOriginator, async (inCse) => {
            const known = await inCse.discover('cse-in', { resourceType: [ResourceType.remoteCse] });
            return known.ok && known.value.some((uri) => uri.includes(name));
          });
        });
      while (!(await isReady())) {
        if (this.failure !== undefined) throw new IoError(this.failure);
        if (clock.monotonicMs() > waitEndMs) {
          const said = (await this.complaints(name)).at(-1) ?? 'nothing';
          throw new DeadlineError(
            `${name} is not ready after ${readyMs} ms; it logged ${said.slice(0, 200)}`,
          );
        }
        await sleep(clock, millis(200));
      }
    }
  }

  /** Starts a CSE with what its folder holds; with nothing when `isFresh`. */
  async startCse(name: AcmeName, isFresh = false): Promise<void> {
    const folder = join(this.#directory.path, name);
    if (isFresh) await fs.rm(folder, { recursive: true, force: true });
    await fs.mkdir(folder, { recursive: true });
    await fs.writeFile(join(folder, 'acme.ini'), this.#configuration(name, folder));
    this.#spawn(name, this.#programs.acmecse, ['-dir', folder, '--config', 'acme.ini', '--headless']);
  }

  /** Ends a CSE at once. */
  async killCse(name: AcmeName): Promise<void> {
    await this.#end(name, 'SIGKILL');
  }

  /** The last lines that a CSE logged of a weight above information. */
  async complaints(name: AcmeName): Promise<string[]> {
    const folder = join(this.#directory.path, name, 'logs');
    const files = await fs.readdir(folder).catch(() => []);
    const texts = await Promise.all(files.map((file) => fs.readFile(join(folder, file), 'utf8')));
    return texts
      .join('\n')
      .split('\n')
      .filter((line) => /^(?:ERROR|WARNING|CRITICAL)/u.test(line));
  }

  /** What speaks to the CSEs while `work` runs; ended by `end` whatever becomes of it, and before the CSEs end. */
  async lending(end: () => Promise<unknown>, work: () => Promise<void>): Promise<void> {
    this.#users.add(end);
    try {
      await work();
    } finally {
      if (this.#users.delete(end)) await end();
    }
  }

  async stop(): Promise<void> {
    const users = [...this.#users];
    this.#users.clear();
    await Promise.allSettled(users.map((end) => end()));
    await Promise.all([...this.#processes.keys()].map((name) => this.#end(name, 'SIGTERM')));
    await this.#directory.remove();
  }

  #portsOf(name: AcmeName): Ports {
    const ports = this.#ports.get(name);
    assert(ports !== undefined, `there is no CSE ${name}`);
    return ports;
  }

  #spawn(name: string, command: string, args: readonly string[]): void {
    const child = spawn(command, args, {
      stdio: 'ignore',
      cwd: this.#directory.path,
      // A session of its own: Ctrl-C is for this process, which then ends the others in order.
      detached: true,
      env: { ...process.env, PYTHONUNBUFFERED: '1' },
    });
    child.once('error', () => undefined);
    this.#processes.set(name, child);
  }

  async #end(name: string, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const child = this.#processes.get(name);
    this.#processes.delete(name);
    if (child?.pid === undefined || (child.exitCode ?? child.signalCode) !== null) return;
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill(signal);
    await withDeadline(this.#host.clock, endMs, `end of ${name}`, gone).catch(async () => {
      child.kill('SIGKILL');
      await gone;
    });
    await sleep(this.#host.clock, millis(0));
  }

  #configuration(name: AcmeName, folder: string): string {
    const { coap, http } = this.#portsOf(name);
    const { names, onDisk, closed } = this.#layout;
    const others = names.filter((each) => each !== 'in').map((each) => `/id-${each}`);
    const registrar = `
[cse.registrar]
address=${this.pointOfAccess('in')}
root=
cseID=/id-in
resourceName=cse-in
INCSEcseID=/id-in
serialization=cbor
`;
    return `[basic.config]
baseDirectory=${folder}
cseType=${name === 'in' ? 'IN' : 'MN'}
cseID=id-${name}
cseName=cse-${name}
adminID=${adminOriginator}
serviceProviderID=//acme.example.com
dataDirectory=${folder}
networkInterface=${address}
cseHost=${address}
httpPort=${http}
logLevel=warning
databaseType=${onDisk.includes(name) ? 'tinydb' : 'memory'}
secret=acme
consoleTheme=dark
[cse]
releaseVersion=4
supportedReleaseVersions=2a,3,4,5
checkExpirationsInterval=1
poa=${this.pointOfAccess(name)}
[cse.registration]
allowedCSROriginators=${others.join(',')}
allowedAEOriginators=${closed.includes(name) ? 'C*' : 'C*,S*'}
checkInterval=1
[http]
enable=true
[coap]
enable=true
port=${coap}
listenIF=${address}
[mqtt]
enable=true
address=${address}
port=${this.brokerPort}
listenIF=${address}
[console]
headless=True
[textui]
enable=false
startWithTUI=False
[webui]
enable=false
[logging]
enableFileLogging=True
enableScreenLogging=False
${name === 'in' ? '' : registrar}`;
  }
}
