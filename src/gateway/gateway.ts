/**
 * The gateway process: the place where its parts are constructed and joined.
 *
 * The log and the sensors come first, so that readings are stored from the first moment on, whatever the network does. The
 * sockets of the link are opened again and again until its address is there; on them runs the service (service.ts).
 */
import { LinkedAbort } from '../base/linked-abort.ts';
import { assert } from '../base/assert.ts';
import { errorText } from '../base/errors.ts';
import { millis, streamName } from '../base/units.ts';
import type { StreamName } from '../base/units.ts';
import type { Eviction, LogDamage, StreamOptions } from '../buffer/log-options.ts';
import { openReadingLog } from '../buffer/reading-log.ts';
import type { ReadingLog } from '../buffer/reading-log.ts';
import { Downlink } from '../downlink/downlink.ts';
import { gatewayActuator } from '../downlink/actuator.ts';
import { gatewayTarget } from '../downlink/command.ts';
import type { CommandResult } from '../downlink/command.ts';
import { whyNotClosed } from '../handover/bundle-manifest.ts';
import { every, sleep } from '../host/clock.ts';
import type { CancelTimer } from '../host/clock.ts';
import type { Host } from '../host/host.ts';
import type { DeviceReport } from '../host/reopening-line.ts';
import type { Reading } from '../sensor/reading.ts';
import type { StreamDelivery } from '../uplink/lane-options.ts';
import { Alarms } from './alarms.ts';
import { BufferWatch } from './buffer-watch.ts';
import type { GatewayConfig, LinkConfig } from './config.ts';
import { Intake, storeReading } from './intake.ts';
import { LinkAccess } from './link-access.ts';
import { LinkMonitor, cellStatus } from './link-monitor.ts';
import { Service } from './service.ts';
import { isDelivering } from './service-facts.ts';
import { StatusBoard } from './status-board.ts';
import { deliveryOf } from './stream-delivery.ts';
import type { GatewayEvent, GatewayStatus, LogLevel } from './status.ts';
import {
  openCapabilityStore,
  openCommandMemory,
  openContextStore,
  openHandoverJournal,
  openOwedStore,
  openTriggerStore,
  openWearStore,
} from './stores.ts';
import type { Telling } from './telling.ts';
import { WayDown } from './way-down.ts';

/** Stream of the results of commands; it exists beside the configured ones. */
export const resultStream: StreamName = streamName('results');

const reopenMs = millis(1000);
/** Period in which the buffer hears whether readings go through: class C is in memory for no longer when they do not. */
const linkTellMs = millis(500);
/** Time without a further eviction after which the buffer counts as having room. */
const bufferAlarmMs = millis(60_000);

const notOpen = { accepted: false, reason: 'the link is not open yet' };

/** What a gateway is made of. */
export interface GatewayOptions {
  readonly host: Host;
  readonly config: GatewayConfig;
  readonly pid: number;
  /** Everything that happens. */
  readonly onEvent: (event: GatewayEvent) => void;
  /** Details for the flight log alone. */
  readonly onRecord: (event: { kind: string; [key: string]: unknown }) => void;
}

/** A gateway; see the header of this file. */
export class Gateway {
  readonly #host: Host;
  readonly #config: GatewayConfig;
  readonly #link: LinkConfig;
  readonly #telling: Telling;
  readonly #board: StatusBoard;
  #service: Service | undefined;
  #cancelBufferAlarm: CancelTimer = () => undefined;
  /** Streams whose counters were found unequal in this run. */
  readonly #unequal = new Set<StreamName>();

  constructor(options: GatewayOptions) {
    const { host, config, pid, onEvent, onRecord } = options;
    const [link] = config.links;
    assert(link !== undefined, 'a checked configuration has a link');
    this.#host = host;
    this.#config = config;
    this.#link = link;
    const originMs = host.clock.monotonicMs();
    const alarms = new Alarms(host.clock, originMs, (text, active) =>
      onEvent({ kind: 'alarm', text, active }),
    );
    this.#telling = {
      alarms,
      tell: onEvent,
      log: (level: LogLevel, text: string) => onEvent({ kind: 'log', level, text }),
      record: onRecord,
    };
    this.#board = new StatusBoard({ clock: host.clock, originMs, device: config.device, pid });
  }

  /** What the gateway is doing now. */
  status(): GatewayStatus {
    return this.#board.status(this.#service?.facts(), this.#telling.alarms.list());
  }

  /** Begins a handover by order; resolves to what was begun, or why nothing was. */
  async orderHandover(
    target: string | undefined,
    isDryRun = false,
    aes?: readonly string[],
  ): Promise<Readonly<Record<string, unknown>>> {
    const { device, bundle } = this.#config;
    const names = [...new Set([device, ...(bundle.aes ?? []).map(({ name }) => name)])];
    const reason = aes === undefined ? undefined : whyNotClosed(names, aes);
    if (reason !== undefined) return { accepted: false, reason };
    return (await this.#service?.orderHandover(target, isDryRun)) ?? notOpen;
  }

  /** Compares a CSE with the manifest, the serving one unless named, and repairs it when told to. */
  async inspectContext(
    cse: string | undefined,
    isRepair: boolean,
  ): Promise<Readonly<Record<string, unknown>>> {
    return (await this.#service?.inspectContext(cse, isRepair)) ?? notOpen;
  }

  /** Lets a fenced gateway serve again; resolves to whether it does, or why not. */
  async unfence(): Promise<Readonly<Record<string, unknown>>> {
    return (await this.#service?.unfence()) ?? notOpen;
  }

  /** Runs until `signal` aborts. Rejects when the data directory cannot be used. */
  async run(signal: AbortSignal): Promise<void> {
    const streams = this.#streams();
    const log = await this.#openLog(streams);
    const intake = new Intake({
      host: this.#host,
      sensors: this.#config.sensors,
      log,
      onState: (sensor, report) => this.#tellDevice(`sensor ${sensor}`, report),
    });
    const monitor = this.#createMonitor();
    const watch = this.#createWatch(log, streams);
    this.#board.attach({ log, watch, intake, monitor });
    intake.start();
    monitor.start();
    const ended = new LinkedAbort(signal);
    const watching = watch.run(ended.signal);
    const stopTelling = every(this.#host.clock, linkTellMs, () =>
      log.setLinkUp(isDelivering(this.#service?.facts())),
    );
    try {
      await Promise.all([this.#serve(log, signal), watching]);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      ended.abort();
      stopTelling();
      await Promise.all([intake.stop(), monitor.stop(), watching]);
      await log.close();
      this.#cancelBufferAlarm();
    }
  }

  #streams(): StreamOptions[] {
    return [
      ...this.#config.sensors.flatMap(({ streams, serialLine }) =>
        streams.map(({ class: durability, order: _, batch: _batch, ...stream }) => ({
          ...stream,
          durability,
          // A sensor that keeps its lines until they are stored can wait; what it was told is stored is not given up.
          whenFull: serialLine.acknowledge ? ('refuse' as const) : ('evict' as const),
        })),
      ),
      { name: resultStream, durability: 'A', priority: 10 },
    ];
  }

  #openLog(streams: readonly StreamOptions[]): Promise<ReadingLog> {
    const { buffer } = this.#config;
    const { filesystem, clock, entropy, bootId } = this.#host;
    return openReadingLog({
      filesystem,
      clock,
      entropy,
      ...(bootId === undefined ? {} : { bootId }),
      directory: this.#bufferDirectory,
      limits: {
        quotaBytes: buffer.quotaBytes,
        segmentBytesMax: buffer.segmentBytes,
        reserveBytes: buffer.reserveBytes,
      },
      streams,
      onDamage: (damage) => this.#onDamage(damage),
      onEviction: (eviction) => this.#onEviction(eviction),
    });
  }

  get #bufferDirectory(): string {
    return `${this.#config.dataDirectory}/buffer`;
  }

  get #stores(): Parameters<typeof openWearStore>[0] {
    return {
      host: this.#host,
      directory: `${this.#config.dataDirectory}/state`,
      onDamage: (text: string) => this.#telling.tell({ kind: 'damage', file: 'state', text }),
    };
  }

  #createWatch(log: ReadingLog, streams: readonly StreamOptions[]): BufferWatch {
    return new BufferWatch({
      host: this.#host,
      log,
      directory: this.#bufferDirectory,
      config: this.#config.buffer,
      streams,
      store: openWearStore(this.#stores),
      telling: this.#telling,
    });
  }

  #onDamage({ kind, message, stream }: LogDamage): void {
    if (kind === 'account' && stream !== undefined) {
      // Counters are added up again and again; the watch raises the alarm.
      if (this.#unequal.has(stream)) return;
      this.#unequal.add(stream);
    }
    this.#telling.tell({ kind: 'damage', file: kind, text: message });
  }

  #onEviction(eviction: Eviction): void {
    const { stream, count, fromSeq, toSeq, reason } = eviction;
    this.#telling.record({ ...eviction, kind: 'evicted' });
    this.#telling.tell({ kind: 'eviction', stream, count, firstSeq: fromSeq, lastSeq: toSeq });
    // What expires is meant to; what is given up is told by the service, with the words of the CSE.
    if (reason === 'expired' || reason === 'givenUp') return;
    const cause = reason === 'diskFull' ? 'its disk has no space left: free some' : 'raise buffer.quotaBytes';
    this.#telling.alarms.raise('buffer', `the buffer is full and gives up readings of ${stream}; ${cause}`);
    this.#cancelBufferAlarm();
    this.#cancelBufferAlarm = this.#host.clock.schedule(bufferAlarmMs, () =>
      this.#telling.alarms.clear('buffer'),
    );
  }

  #createMonitor(): LinkMonitor {
    return new LinkMonitor({
      host: this.#host,
      links: this.#config.links,
      onSample: (link, sample) => {
        this.#telling.tell({ kind: 'sample', link, cells: sample.cells.map(cellStatus) });
        if (link === this.#link.name) this.#service?.takeSample(sample);
      },
      onEvent: ({ kind, link, reason }) =>
        this.#telling.tell({ kind: 'linkState', link, state: kind, reason }),
      onModem: (link, report) => this.#tellDevice(`modem ${link}`, report),
    });
  }

  async #serve(log: ReadingLog, signal: AbortSignal): Promise<void> {
    const stores = this.#stores;
    const memory = await openCommandMemory(stores);
    const journal = await openHandoverJournal(stores);
    const downlink = new Downlink({
      clock: this.#host.clock,
      memory,
      actuators: new Map([[gatewayTarget, gatewayActuator]]),
      store: (result, number) => this.#storeResult(log, result, number),
      lastResult: log.lastProducerSeq(resultStream) ?? 0,
      onAlarm: (text) => this.#telling.alarms.set('downlink', text),
    });
    this.#board.attachDownlink(downlink);
    const access = await this.#openAccess(downlink, signal);
    try {
      await downlink.open();
      const streams = new Map<StreamName, StreamDelivery>([
        ...this.#config.sensors.flatMap((sensor) =>
          sensor.streams.map((stream) => [stream.name, deliveryOf(stream)] as const),
        ),
        [resultStream, { order: 'inOrder' }],
      ]);
      const wayDown = new WayDown({
        clock: this.#host.clock,
        pollMs: this.#config.downlink.pollMs,
        store: openCapabilityStore(stores),
        onFailure: (text) => this.#telling.log('warn', text),
      });
      await wayDown.open();
      this.#service = new Service({
        host: this.#host,
        config: this.#config,
        streams,
        log,
        access,
        linkName: this.#link.name,
        downlink,
        journal,
        owedStore: openOwedStore(stores),
        triggerStore: openTriggerStore(stores),
        contextStore: openContextStore(stores),
        wayDown,
        telling: this.#telling,
      });
      await this.#service.run(signal);
    } finally {
      this.#service = undefined;
      downlink.stop();
      await Promise.all([access.close(), memory.close(), journal.close()]);
    }
  }

  /** The sockets of the link, as soon as its address is there. */
  async #openAccess(downlink: Downlink, signal: AbortSignal): Promise<LinkAccess> {
    const { deadlineMs } = this.#config.uplink;
    for (;;) {
      try {
        const access = await LinkAccess.open({
          host: this.#host,
          link: this.#link,
          deadlineMs,
          requestsMax: this.#config.uplink.requestsMax,
          handler: (request) => downlink.handle(request),
          mqtt: this.#config.mqtt,
          security: this.#config.security,
          onBroker: (broker, failure) => this.#tellBroker(broker, failure),
          onKey: (keyFile, failure) => this.#telling.alarms.set(`key ${keyFile}`, failure),
        });
        this.#telling.alarms.clear('link');
        this.#telling.log(
          'info',
          `link ${this.#link.name}: the IN-CSE would notify ${access.pointOfAccessFor(this.#config.inCse)}`,
        );
        return access;
      } catch (error) {
        const text = `link ${this.#link.name}: ${errorText(error)}; readings are stored meanwhile`;
        this.#telling.alarms.raise('link', text);
        await sleep(this.#host.clock, reopenMs, signal);
      }
    }
  }

  #tellBroker(broker: string, failure: string | undefined): void {
    const name = `broker ${broker}`;
    if (failure === undefined) this.#telling.alarms.clear(name);
    else this.#telling.alarms.raise(name, `${name}: ${failure}`);
  }

  /** What a command came to is a reading of the stream `results`, which by its number is stored once (I7). */
  async #storeResult(log: ReadingLog, result: CommandResult, number: number): Promise<void> {
    const { clock } = this.#host;
    await storeReading(log, {
      stream: resultStream,
      value: { ...result } as Reading['value'],
      producerSeq: number,
      monotonicMs: clock.monotonicMs(),
      wall: { unixMs: clock.unixMs(), source: 'system' },
    });
  }

  #tellDevice(device: string, { state, reason }: DeviceReport): void {
    if (state === 'ready') this.#telling.alarms.clear(device);
    if (state === 'silent' || state === 'lost') this.#telling.alarms.raise(device, `${device}: ${reason}`);
    else this.#telling.log('info', `${device} is ${state}: ${reason}`);
  }
}
