// A gateway as its users run it: `baton run` in a process of its own, a sensor that is known to the last reading behind a
// pseudo terminal, orders by `baton` on the command line.
import { spawn } from 'node:child_process';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { DeadlineError, errorText } from '../../src/base/errors.ts';
import { millis } from '../../src/base/units.ts';
import type { Millis } from '../../src/base/units.ts';
import { ControlClient } from '../../src/gateway/control-client.ts';
import { parseEvent } from '../../src/gateway/status-schema.ts';
import type { GatewayEvent, GatewayStatus } from '../../src/gateway/status.ts';
import { startModule } from '../../src/host/child-process.ts';
import type { ModuleProcess } from '../../src/host/child-process.ts';
import { sleep } from '../../src/host/clock.ts';
import type { Host } from '../../src/host/host.ts';
import { NodeLocalSockets } from '../../src/host/local-socket.ts';
import { openPseudoTerminal } from '../../src/host/pseudo-terminal.ts';
import type { PseudoTerminal } from '../../src/host/pseudo-terminal.ts';
import { createTemporaryDirectory } from '../../src/host/temporary-directory.ts';
import type { TemporaryDirectory } from '../../src/host/temporary-directory.ts';
import type { ObservedHandover } from '../../src/testbed/drive/verdict.ts';
import { FakeSensor } from '../../src/testbed/sensor/fake-sensor.ts';
import { StepError } from '../real/steps.ts';
import { settleMs } from './ground.ts';
import type { Ground } from './ground.ts';

/** Streams of every site with their periods in ms: ten readings a second, one stream of each class. */
export const streams: Readonly<Record<string, Millis>> = { fast: millis(200), slow: millis(200) };

/** What a command of `baton` came to. */
export interface CommandResult {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** How to set up a site. */
export interface SiteOptions {
  readonly host: Host;
  readonly ground: Ground;
  readonly device: string;
  readonly seed: number;
  /** Keys of the configuration that differ from those of every site. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Without it the sensor is there and says nothing. */
  readonly isSilent?: boolean;
}

const binPath = fileURLToPath(new URL('../../src/gateway/bin.js', import.meta.url));
const localSockets = new NodeLocalSockets();
const noticesMax = 12;

/** A gateway with its sensor and its folder. */
export class GatewaySite {
  /** Handovers that ended, on the clock of this process. */
  readonly handovers: ObservedHandover[] = [];
  /** States of transactions in the order in which they were entered. */
  readonly states: string[] = [];
  /** What the gateway complained of last. */
  readonly notices: string[] = [];
  /** Processes that ended although nobody asked them to. */
  readonly failures: string[] = [];
  readonly #options: SiteOptions;
  readonly #directory: TemporaryDirectory;
  readonly #sensor: FakeSensor;
  readonly #terminal: PseudoTerminal;
  #gateway: ModuleProcess | undefined;
  #onState: (state: string) => void = () => undefined;

  private constructor(
    options: SiteOptions,
    directory: TemporaryDirectory,
    terminal: PseudoTerminal,
    sensor: FakeSensor,
  ) {
    this.#options = options;
    this.#directory = directory;
    this.#terminal = terminal;
    this.#sensor = sensor;
  }

  /** Everything but the gateway process. */
  static async open(options: SiteOptions): Promise<GatewaySite> {
    const { host, seed, isSilent = false } = options;
    const directory = await createTemporaryDirectory('baton-scenario-');
    const terminal = await openPseudoTerminal({ link: join(directory.path, 'sensor.tty') });
    const sensor = new FakeSensor({
      clock: host.clock,
      seed,
      streams: Object.entries(streams).map(([name, periodMs]) => ({ name, periodMs })),
      write: (data) => terminal.write(data),
    });
    terminal.onData((data) => sensor.receive(data));
    if (!isSilent) sensor.start();
    const site = new GatewaySite(options, directory, terminal, sensor);
    await site.configure();
    return site;
  }

  get device(): string {
    return this.#options.device;
  }

  get dataDirectory(): string {
    return join(this.#directory.path, 'data');
  }

  /** What the sensor made. */
  get emitted(): ReturnType<FakeSensor['report']> {
    return this.#sensor.report();
  }

  get seed(): number {
    return this.#options.seed;
  }

  /** Writes the configuration; the next start has it. */
  async configure(config: Readonly<Record<string, unknown>> = this.#options.config ?? {}): Promise<void> {
    const { ground, device, host } = this.#options;
    const { inCse } = ground;
    const socket = await host.network.openDatagram({ localAddress: '127.0.0.1' });
    await socket.close();
    const { handover, ...others } = config as { handover?: object };
    const content = {
      device,
      dataDirectory: 'data',
      inCse: {
        pointOfAccess: inCse.pointOfAccess,
        cseId: inCse.cseId,
        cseBaseName: inCse.cseBaseName,
      },
      links: [{ name: 'lte0', localAddress: '127.0.0.1', port: socket.local.port }],
      sensors: [
        {
          name: 'weather',
          serialLine: { path: join(this.#directory.path, 'sensor.tty'), format: 'json', acknowledge: true },
          streams: [
            { name: 'fast', class: 'A' },
            { name: 'slow', class: 'B' },
          ],
        },
      ],
      buffer: { quotaBytes: 16 * 1024 * 1024, segmentBytes: 1024 * 1024 },
      // No radio is measured: only an order or the loss of a CSE moves the gateway.
      decision: { discoveryPeriodMs: 5_000 },
      handover: { phaseDeadlineMs: 4_000, ...handover },
      ...others,
    };
    // A value that is used twice is written out twice: configurations know no anchors.
    await fs.writeFile(this.#configPath, stringify(content, { aliasDuplicateObjects: false }));
  }

  async start(): Promise<void> {
    const errors: string[] = [];
    const gateway = await startModule({
      module: binPath,
      args: ['run', '--config', this.#configPath, '--json', '--end-with-input'],
      onLine: (line) => this.#take(line),
      onErrorLine: (line) => errors.push(line),
      onExit: ({ code, signal }) => {
        if (this.#gateway !== gateway) return;
        this.failures.push(`the gateway ended by itself (${signal ?? code}): ${errors.slice(-3).join(' ')}`);
      },
    });
    this.#gateway = gateway;
  }

  /** As a power cut of the gateway does. */
  async kill(): Promise<void> {
    const gateway = this.#gateway;
    this.#gateway = undefined;
    gateway?.kill('SIGKILL');
    await gateway?.exited;
  }

  /** In order. */
  async stop(): Promise<void> {
    const gateway = this.#gateway;
    this.#gateway = undefined;
    gateway?.kill('SIGTERM');
    await gateway?.exited;
  }

  /** Runs `work` once as soon as the gateway says that it has entered `state`. */
  at<T>(state: string, work: () => T | Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#onState = (entered) => {
        if (entered !== state) return;
        this.#onState = () => undefined;
        Promise.resolve(work()).then(resolve, reject);
      };
    });
  }

  /** Runs `baton` with these arguments and the configuration of the site. */
  baton(...args: readonly string[]): Promise<CommandResult> {
    const child = spawn(process.execPath, [binPath, ...args, '--config', this.#configPath], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let out = '';
    let err = '';
    child.stdout.on('data', (data: Buffer) => (out += data.toString()));
    child.stderr.on('data', (data: Buffer) => (err += data.toString()));
    return new Promise((resolve) => child.once('close', (code) => resolve({ code, out, err })));
  }

  async status(): Promise<GatewayStatus> {
    const { clock } = this.#options.host;
    const client = await ControlClient.open({ clock, localSockets }, this.dataDirectory);
    try {
      return await client.status();
    } finally {
      client.close();
    }
  }

  /** The status as soon as it satisfies `condition`; throws `DeadlineError` that names `what`. */
  async until(
    what: string,
    condition: (status: GatewayStatus) => boolean,
    limitMs: Millis = settleMs,
  ): Promise<GatewayStatus> {
    const { clock } = this.#options.host;
    const endMs = clock.monotonicMs() + limitMs;
    for (;;) {
      const status = await this.status().catch(errorText);
      if (typeof status !== 'string' && condition(status)) return status;
      const [failure] = this.failures;
      if (failure !== undefined) throw new StepError(failure);
      if (clock.monotonicMs() > endMs) {
        const state = typeof status === 'string' ? status : describe(status);
        throw new DeadlineError(`${what}: not within ${limitMs} ms; ${state}`);
      }
      await sleep(clock, millis(50));
    }
  }

  /** Ends the readings and waits until all of them are delivered. */
  async drain(): Promise<void> {
    this.#sensor.finish();
    await this.until('everything delivered', ({ buffer, handover }) => {
      const waiting = Object.values(this.emitted).reduce((sum, { pending }) => sum + pending, 0);
      return waiting === 0 && buffer.pending === 0 && handover === undefined;
    });
  }

  async close(): Promise<void> {
    await this.kill();
    this.#sensor.stop();
    await this.#terminal.hangUp();
    await this.#directory.remove();
  }

  get #configPath(): string {
    return join(this.#directory.path, 'baton.yaml');
  }

  #take(line: string): void {
    let event: GatewayEvent;
    try {
      event = parseEvent(JSON.parse(line));
    } catch (error) {
      this.#note(`not understood: ${errorText(error)}`);
      return;
    }
    if (event.kind === 'handoverEnded') {
      this.handovers.push({ event, endedMs: this.#options.host.clock.monotonicMs() });
    }
    if (event.kind === 'alarm' && event.active) this.#note(event.text);
    if (event.kind === 'log' && event.level !== 'info' && event.level !== 'debug') this.#note(event.text);
    if (event.kind === 'phase') {
      this.states.push(event.state);
      this.#onState(event.state);
    }
  }

  #note(text: string): void {
    this.notices.push(text.slice(0, 300));
    if (this.notices.length > noticesMax) this.notices.shift();
  }
}

/** Nothing is under way. */
export function isSettled({ serving, handover }: GatewayStatus): boolean {
  return serving !== undefined && handover === undefined;
}

function describe({ handover, serving, alarms, service, streams: each }: GatewayStatus): string {
  const doing = JSON.stringify(handover ?? serving ?? 'detached').slice(0, 300);
  const told = alarms.map(({ text }) => text).join('; ') || 'none';
  const waiting = each.filter(({ pending }) => pending > 0).map(({ name, pending }) => `${pending} ${name}`);
  return `the gateway is ${doing}, path ${service.state}, answer in ${service.responseMs} ms, pending: ${waiting.join(', ') || 'none'}, alarms: ${told.slice(0, 600)}`;
}
