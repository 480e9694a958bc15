/**
 * The world of a trial on one machine: CSEs behind relays, a modem and a sensor on pseudo terminals, each a process of its
 * own, and between them the real gateway as its users run it. Nothing here needs root, hardware or a service.
 */
import { join } from 'node:path';
import { stringify } from 'yaml';
import { assert } from '../../base/assert.ts';
import { DeadlineError, IoError, errorText } from '../../base/errors.ts';
import { millis } from '../../base/units.ts';
import type { Millis } from '../../base/units.ts';
import type { StreamConfig } from '../../gateway/config.ts';
import { ControlClient } from '../../gateway/control-client.ts';
import { LinkAccess } from '../../gateway/link-access.ts';
import { loadConfig } from '../../gateway/load-config.ts';
import type { GatewayEvent, GatewayStatus } from '../../gateway/status.ts';
import { parseEvent } from '../../gateway/status-schema.ts';
import { commandContainer } from '../../handover/bundle-manifest.ts';
import { homeAeOf, provisionHomeAe } from '../../handover/home-ae.ts';
import { targetLabel } from '../../handover/candidate-discovery.ts';
import { startModule } from '../../host/child-process.ts';
import type { ModuleProcess } from '../../host/child-process.ts';
import { sleep } from '../../host/clock.ts';
import type { Host } from '../../host/host.ts';
import type { LocalSockets } from '../../host/local-socket.ts';
import { createTemporaryDirectory } from '../../host/temporary-directory.ts';
import type { TemporaryDirectory } from '../../host/temporary-directory.ts';
import { formatPointOfAccess } from '../../onem2m/address.ts';
import type { CseOutcome } from '../../onem2m/cse-client.ts';
import { ResourceType } from '../../onem2m/enums.ts';
import { findDrive } from '../radio-field/drives.ts';
import type { FakeStreamReport } from '../sensor/fake-sensor.ts';
import { inCseNames } from './cse-host-process.ts';
import type { HeldResource, TestbedTransport } from './cse-host-process.ts';
import type { DeliveryOrder } from '../../uplink/lane-options.ts';
import { LineReplies } from './line-replies.ts';

/** CSEs that the world does not start itself, named as its own: `/id-in`, `cse-in`, for each area `/id-<area>`. */
export interface ForeignCses {
  /** Points of access. */
  readonly in: string;
  readonly mn: Readonly<Record<string, string>>;
  /** What they hold, arrivals on the monotonic clock of this process. */
  readonly held: () => Promise<readonly HeldResource[]>;
}

/** What world to build. */
export interface TrialWorldOptions {
  readonly host: Host;
  readonly localSockets: LocalSockets;
  /** Name of the gateway; `gw1` when absent. */
  readonly device?: string;
  readonly drive: string;
  readonly seconds: number;
  readonly seed: number;
  readonly rttMs: number;
  /** Streams of the sensor with their period. */
  readonly streams: Readonly<Record<string, number>>;
  /** Order of delivery of its streams; `inOrder` when absent. */
  readonly order?: DeliveryOrder;
  /** Streams whose readings share instances, with the key `batch` of their configuration. */
  readonly batch?: Readonly<Record<string, NonNullable<StreamConfig['batch']>>>;
  /** Keys of the gateway's configuration that differ from its defaults. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** How the testbed's CSEs are reached; `coap` when absent. */
  readonly transport?: TestbedTransport;
  /** CSEs to use instead of the testbed's; there is no relay before them, and no order can be given to them. */
  readonly cses?: ForeignCses;
  readonly onEvent?: (event: GatewayEvent) => void;
  readonly onStatus?: (status: GatewayStatus) => void;
  /** What a process of the world says on its standard error. */
  readonly onNotice?: (text: string) => void;
}

/** What a sensor made and what the CSEs hold, on the clock of this process. */
export interface TrialEvidenceRaw {
  readonly emitted: Readonly<Record<string, FakeStreamReport>>;
  readonly held: readonly HeldResource[];
}

const deviceDefault = 'gw1';
const statusPeriodMs = millis(250);
const answerMs = millis(10_000);

/** A running world; `stop` ends every process of it and removes its files. */
export class TrialWorld {
  readonly #options: TrialWorldOptions;
  readonly #directory: TemporaryDirectory;
  readonly #sensor = new LineReplies();
  readonly #modem = new LineReplies();
  readonly #cses = new LineReplies();
  #gateway: ModuleProcess | undefined;
  #expectedExit = false;
  #watching = new AbortController();
  #gatewayFailure: string | undefined;
  #gatewayPort = 0;
  #ready: Ready['ready'] | undefined;

  private constructor(options: TrialWorldOptions, directory: TemporaryDirectory) {
    this.#options = options;
    this.#directory = directory;
  }

  /** Starts everything but the gateway. Throws a `BatonError` naming the part that could not be started. */
  static async open(options: TrialWorldOptions): Promise<TrialWorld> {
    const directory = await createTemporaryDirectory('baton-');
    const world = new TrialWorld(options, directory);
    try {
      await world.#open();
      return world;
    } catch (error) {
      await world.stop();
      throw error;
    }
  }

  get configPath(): string {
    return join(this.#directory.path, 'baton.yaml');
  }

  get dataDirectory(): string {
    return join(this.#directory.path, 'data');
  }

  /** Points of access of the MN-CSEs by area. */
  get areas(): Readonly<Record<string, string>> {
    return this.#ready?.mn ?? {};
  }

  /** Why the gateway ended although nobody asked it to; undefined while all is well. */
  get gatewayFailure(): string | undefined {
    return this.#gatewayFailure;
  }

  /** Starts the gateway as a process of its own. */
  async startGateway(): Promise<void> {
    this.#expectedExit = false;
    const errors: string[] = [];
    const gateway = await startModule({
      module: new URL('../../gateway/bin.js', import.meta.url),
      args: ['run', '--config', this.configPath, '--json', '--end-with-input'],
      onLine: (line) => this.#takeEvent(line),
      onErrorLine: (line) => {
        errors.push(line);
        this.#options.onNotice?.(`gateway: ${line}`);
      },
      onExit: ({ code, signal }) => {
        if (this.#expectedExit || this.#gateway !== gateway) return;
        this.#gatewayFailure = `the gateway ended by itself (${signal ?? `exit code ${code}`}): ${errors.slice(-3).join(' ')}`;
      },
    });
    this.#gateway = gateway;
    this.#watching = new AbortController();
    void this.#watch(this.#watching.signal);
  }

  /** Cuts the gateway off as a power cut does. */
  async killGateway(): Promise<void> {
    this.#expectedExit = true;
    this.#watching.abort();
    this.#gateway?.kill('SIGKILL');
    await this.#gateway?.exited;
  }

  /** Ends the gateway in order. */
  async stopGateway(): Promise<void> {
    this.#expectedExit = true;
    this.#watching.abort();
    this.#gateway?.endInput();
    await this.#gateway?.exited;
    this.#gateway = undefined;
  }

  /** One request over the control socket of the gateway, retried while it is starting. */
  async control(
    method: 'status' | 'handover',
    params: Readonly<Record<string, unknown>> = {},
  ): Promise<unknown> {
    const { host } = this.#options;
    const endMs = host.clock.monotonicMs() + answerMs;
    for (;;) {
      try {
        const client = await ControlClient.open(
          { clock: host.clock, localSockets: this.#options.localSockets },
          this.dataDirectory,
        );
        try {
          return await client.request(method, params);
        } finally {
          client.close();
        }
      } catch (error) {
        if (host.clock.monotonicMs() > endMs) throw error;
        await sleep(host.clock, millis(100));
      }
    }
  }

  /** Waits until the status of the gateway satisfies `condition`; throws `DeadlineError` naming `what`. */
  async waitForStatus(
    what: string,
    condition: (status: GatewayStatus) => boolean,
    deadlineMs: Millis,
  ): Promise<GatewayStatus> {
    const { clock } = this.#options.host;
    const endMs = clock.monotonicMs() + deadlineMs;
    for (;;) {
      const status = (await this.control('status')) as GatewayStatus;
      if (condition(status)) return status;
      if (clock.monotonicMs() > endMs) {
        throw new DeadlineError(
          `${what}: not within ${deadlineMs} ms; the gateway is ${JSON.stringify(status.handover ?? status.serving ?? 'detached')}, alarms: ${status.alarms.map(({ text }) => text).join('; ') || 'none'}`,
        );
      }
      await sleep(clock, millis(50));
    }
  }

  /** Orders to the processes around the gateway. */
  tellModem(cmd: string): void {
    this.#modem.send({ cmd });
  }

  tellSensor(cmd: string): void {
    this.#sensor.send({ cmd });
  }

  /** Gives the CSEs an order (see cse-host-process.ts) and waits until it is carried out. */
  async orderCses(order: Readonly<Record<string, unknown>>): Promise<Readonly<Record<string, unknown>>> {
    this.#cses.send(order);
    return this.#cses.next('obeyed', this.#options.host.clock, answerMs);
  }

  /** An operator creates a command for the gateway at the CSE `area`. */
  async createCommand(area: string, content: unknown): Promise<CseOutcome> {
    const container = `cse-${area}/${this.#device}/${commandContainer}`;
    const pointOfAccess = this.#ready?.mn[area];
    assert(pointOfAccess !== undefined, `the world has no CSE ${area}`);
    return this.#asOperator((access) =>
      access
        .cseClient({ cseId: `/id-${area}`, pointOfAccess }, inCseNames.operator)
        .create(container, ResourceType.contentInstance, { contentInstance: { content } }),
    );
  }

  /** Sends datagrams to the port at which the gateway is notified, as anybody who can reach it may. */
  async sendToGateway(datagrams: readonly Uint8Array[]): Promise<void> {
    const { host } = this.#options;
    const socket = await host.network.openDatagram({ localAddress: '127.0.0.1' });
    for (const datagram of datagrams) {
      await socket.send(datagram, { address: '127.0.0.1', port: this.#gatewayPort });
    }
    await socket.close();
  }

  /** The drive begins: its radio field and coverage count from now. */
  async go(): Promise<void> {
    await this.#startModem();
    if (this.#options.cses === undefined) await this.orderCses({ cmd: 'go' });
  }

  /** Ends the sensor's readings and waits until all of them are stored and delivered, at most `deadlineMs`. */
  async drain(deadlineMs: Millis): Promise<void> {
    this.#sensor.send({ cmd: 'finish' });
    await this.#sensor.next('finished', this.#options.host.clock, answerMs);
    const { clock } = this.#options.host;
    const endMs = clock.monotonicMs() + deadlineMs;
    for (;;) {
      const emitted = await this.#emitted();
      const waiting = Object.values(emitted).reduce((sum, { pending }) => sum + pending, 0);
      const status = (await this.control('status')) as GatewayStatus;
      if (waiting === 0 && status.buffer.pending === 0 && status.handover === undefined) return;
      if (clock.monotonicMs() > endMs) return;
      await sleep(clock, millis(100));
    }
  }

  /** Everything that the sensor made and the CSEs hold. */
  async collect(): Promise<TrialEvidenceRaw> {
    const emitted = await this.#emitted();
    const { cses } = this.#options;
    if (cses !== undefined) return { emitted, held: await cses.held() };
    const { clock } = this.#options.host;
    const askedMs = clock.monotonicMs();
    this.#cses.send({ cmd: 'held' });
    const end = await this.#cses.next('heldEnd', clock, answerMs);
    const nowMs = typeof end.nowMs === 'number' ? end.nowMs : 0;
    const offsetMs = nowMs - (askedMs + clock.monotonicMs()) / 2;
    const held = this.#cses
      .takeAll('held')
      .flatMap((line) => line.held as HeldResource[])
      .map((resource) => ({ ...resource, arrivalMs: resource.arrivalMs - offsetMs }));
    return { emitted, held };
  }

  async stop(): Promise<void> {
    await this.stopGateway();
    await Promise.all([this.#sensor, this.#modem, this.#cses].map((process) => process.end()));
    await this.#directory.remove();
  }

  async #open(): Promise<void> {
    const { seed, streams, host } = this.#options;
    const gatewayPort = await this.#freePort();
    this.#gatewayPort = gatewayPort;
    const [ready] = await Promise.all([
      this.#startCses(gatewayPort),
      this.#sensor.start({
        module: new URL('../sensor/fake-sensor-process.js', import.meta.url),
        args: [
          ...Object.entries(streams).flatMap(([name, periodMs]) => ['--stream', `${name}:${periodMs}`]),
          ...['--seed', String(seed), '--link', this.#sensorPath],
        ],
        onErrorLine: (line) => this.#options.onNotice?.(`sensor: ${line}`),
      }),
    ]);
    this.#ready = ready;
    await this.#sensor.next('path', host.clock, answerMs);
    const file = await host.filesystem.open(this.configPath, { create: true });
    await file.write(Buffer.from(stringify(this.#config(ready, gatewayPort))), 0);
    await file.close();
    await this.#provision(ready);
  }

  async #startCses(gatewayPort: number): Promise<Ready['ready']> {
    const { seed, seconds, drive, rttMs, host, cses } = this.#options;
    if (cses !== undefined) {
      const notify = formatPointOfAccess('coap', '127.0.0.1', gatewayPort);
      return { in: cses.in, mn: cses.mn, notify, brokers: [] };
    }
    const areas = [...new Set(findDrive(drive).cells.map(({ area }) => area))];
    const number = (name: string, value: number): string[] => [`--${name}`, String(value)];
    await this.#cses.start({
      module: new URL('./cse-host-process.js', import.meta.url),
      args: [
        ...areas.flatMap((area) => ['--mn', area]),
        ...number('rtt-ms', rttMs),
        ...number('seed', seed),
        ...['--drive', drive],
        ...['--transport', this.#options.transport ?? 'coap'],
        ...number('seconds', seconds),
        ...number('gateway-port', gatewayPort),
      ],
      onErrorLine: (line) => this.#options.onNotice?.(`CSEs: ${line}`),
    });
    return ((await this.#cses.next('ready', host.clock, answerMs)) as unknown as Ready).ready;
  }

  get #device(): string {
    return this.#options.device ?? deviceDefault;
  }

  get #sensorPath(): string {
    return join(this.#directory.path, 'sensor.tty');
  }

  get #modemPath(): string {
    return join(this.#directory.path, 'modem.tty');
  }

  async #startModem(): Promise<void> {
    const { drive, seed, seconds, host } = this.#options;
    await this.#modem.start({
      module: new URL('../modem/fake-modem-process.js', import.meta.url),
      args: [
        ...['--drive', drive, '--seed', String(seed)],
        ...['--seconds', String(seconds), '--link', this.#modemPath],
      ],
      onErrorLine: (line) => this.#options.onNotice?.(`modem: ${line}`),
    });
    await this.#modem.next('path', host.clock, answerMs);
  }

  #config(ready: Ready['ready'], port: number): Record<string, unknown> {
    return {
      device: this.#device,
      dataDirectory: 'data',
      inCse: {
        pointOfAccess: ready.in,
        cseId: inCseNames.cseId,
        cseBaseName: inCseNames.cseBaseName,
      },
      links: [
        {
          name: 'lte0',
          localAddress: '127.0.0.1',
          port,
          advertise: ready.notify,
          modem: { path: this.#modemPath, periodMs: 500 },
        },
      ],
      mqtt: { brokers: ready.brokers.map(([url, advertise]) => ({ url, advertise })) },
      sensors: [
        {
          name: 'weather',
          serialLine: { path: this.#sensorPath, format: 'json', acknowledge: true },
          streams: Object.keys(this.#options.streams).map((name) => ({
            name,
            class: 'A',
            order: this.#options.order ?? 'inOrder',
            ...(this.#options.batch?.[name] === undefined ? {} : { batch: this.#options.batch[name] }),
          })),
        },
      ],
      // Room for minutes of readings: what the default takes would be filled with zeros for a drive of a minute.
      buffer: { quotaBytes: 16 * 1024 * 1024, segmentBytes: 1024 * 1024 },
      decision: { discoveryPeriodMs: 10_000 },
      ...this.#options.config,
    };
  }

  /** What an operator does once: the home AE, and the targets with what they cover. */
  #provision(ready: Ready['ready']): Promise<void> {
    const { drive } = this.#options;
    return this.#asOperator(async (access) => {
      const home = homeAeOf(this.#device, inCseNames.cseBaseName);
      const inCse = { cseId: inCseNames.cseId, pointOfAccess: ready.in };
      const client = access.cseClient(inCse, home.aeId);
      const rights = { operators: [inCseNames.operator], gatewayAeId: `S${this.#device}` };
      const provisioned = await provisionHomeAe(client, home, inCseNames.cseBaseName, rights);
      if (!provisioned.ok) throw new IoError(`the home AE cannot be made: ${provisioned.error.message}`);
      const operator = access.cseClient(inCse, inCseNames.operator);
      for (const [area, pointOfAccess] of Object.entries(ready.mn)) {
        const coverage = findDrive(drive)
          .cells.filter((cell) => cell.area === area)
          .map(({ arfcn, pci }) => ({ arfcn, pci }));
        const content = {
          cseId: `/id-${area}`,
          cseBaseName: `cse-${area}`,
          pointsOfAccess: [pointOfAccess],
          coverage,
        };
        const published = await operator.create(`${home.address}/targets`, ResourceType.contentInstance, {
          contentInstance: { resourceName: area, labels: [targetLabel], content },
        });
        if (!published.ok)
          throw new IoError(`target ${area} cannot be published: ${published.error.message}`);
      }
    });
  }

  /** Lets `work` speak to CSEs from a port of its own, with the credentials of the gateway. */
  async #asOperator<T>(work: (access: LinkAccess) => Promise<T>): Promise<T> {
    const { host } = this.#options;
    const { mqtt, security } = await loadConfig(host.filesystem, this.configPath);
    const link = { name: 'operator', localAddress: '127.0.0.1' };
    const access = await LinkAccess.open({ host, mqtt, security, link, deadlineMs: millis(5000) });
    try {
      return await work(access);
    } finally {
      await access.close();
    }
  }

  async #freePort(): Promise<number> {
    const socket = await this.#options.host.network.openDatagram({ localAddress: '127.0.0.1' });
    await socket.close();
    return socket.local.port;
  }

  async #emitted(): Promise<Readonly<Record<string, FakeStreamReport>>> {
    this.#sensor.send({ cmd: 'report' });
    const report = await this.#sensor.next('emitted', this.#options.host.clock, answerMs);
    return report.emitted as Record<string, FakeStreamReport>;
  }

  #takeEvent(line: string): void {
    try {
      this.#options.onEvent?.(parseEvent(JSON.parse(line)));
    } catch (error) {
      this.#options.onNotice?.(`gateway event not understood: ${errorText(error)}`);
    }
  }

  /** Keeps asking a running gateway for its status. */
  async #watch(signal: AbortSignal): Promise<void> {
    const { host, localSockets, onStatus } = this.#options;
    if (onStatus === undefined) return;
    while (!signal.aborted) {
      try {
        const client = await ControlClient.open({ clock: host.clock, localSockets }, this.dataDirectory);
        await client
          .subscribe({ onStatus, onEvent: () => undefined }, { periodMs: statusPeriodMs, signal })
          .finally(() => client.close());
      } catch {
        // Not there yet, or just killed; whether that was meant is seen by its exit.
      }
      await sleep(host.clock, millis(100), signal).catch(() => undefined);
    }
  }
}

interface Ready {
  readonly ready: {
    readonly in: string;
    readonly mn: Readonly<Record<string, string>>;
    readonly notify: string;
    /** Brokers as the gateway and as the CSEs reach them. */
    readonly brokers: readonly (readonly [relay: string, broker: string])[];
  };
}
