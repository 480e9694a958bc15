// The oneM2M side of the gateway (log, uplink, downlink, handover) at ACME's CSEs over MQTT. `baton run` has no MQTT link, so
// the parts are joined here as the gateway joins them, with a session to the broker for each CSE in place of the sockets of
// a link. Notifications of ACME do arrive over MQTT: nothing is fetched here, and a target proves its way down by one.
import { errorText } from '../../src/base/errors.ts';
import { bytes, millis, streamName } from '../../src/base/units.ts';
import { openReadingLog } from '../../src/buffer/reading-log.ts';
import type { ReadingLog } from '../../src/buffer/reading-log.ts';
import { Downlink } from '../../src/downlink/downlink.ts';
import { Alarms } from '../../src/gateway/alarms.ts';
import { storeReading } from '../../src/gateway/intake.ts';
import type { GatewayConfig } from '../../src/gateway/config.ts';
import { parseConfig } from '../../src/gateway/load-config.ts';
import { Service } from '../../src/gateway/service.ts';
import type { GatewayEvent } from '../../src/gateway/status.ts';
import { openCommandMemory, openHandoverJournal, openOwedStore } from '../../src/gateway/stores.ts';
import { targetLabel } from '../../src/handover/candidate-discovery.ts';
import { homeAeOf, provisionHomeAe } from '../../src/handover/home-ae.ts';
import { servingOf } from '../../src/handover/transition.ts';
import { every, sleep } from '../../src/host/clock.ts';
import { randomHex } from '../../src/host/entropy.ts';
import type { Host } from '../../src/host/host.ts';
import { createTemporaryDirectory } from '../../src/host/temporary-directory.ts';
import { MqttBinding } from '../../src/mqtt/mqtt-binding.ts';
import { parsePointOfAccess } from '../../src/onem2m/address.ts';
import type { Binding, RequestHandler } from '../../src/onem2m/binding.ts';
import { CseClient } from '../../src/onem2m/cse-client.ts';
import { ResourceType } from '../../src/onem2m/enums.ts';
import type { Reading } from '../../src/sensor/reading.ts';
import type { HeldResource } from '../../src/testbed/drive/cse-host-process.ts';
import { judgeDrive } from '../../src/testbed/drive/verdict.ts';
import type { ObservedHandover } from '../../src/testbed/drive/verdict.ts';
import { fakeSensorValue } from '../../src/testbed/sensor/fake-sensor.ts';
import { adminOriginator, cseNames } from './acme-network.ts';
import type { AcmeName, AcmeNetwork } from './acme-network.ts';
import { everythingOnce, resultsIn } from './gateway-run.ts';
import { heldBelow } from './held.ts';
import type { Report } from '../real/report.ts';
import { StepError, runSteps } from '../real/steps.ts';

const part = 'service over mqtt';
const device = 'gw2';
const seed = 12;
const stream = streamName('temperature');
const periodMs = millis(250);
const settleMs = 30_000;
const staysMs = millis(2_500);
const deadlineMs = millis(5_000);

/** Runs attachment, commands and handovers; each step is reported. */
export async function runService(host: Host, network: AcmeNetwork, report: Report): Promise<void> {
  const directory = await createTemporaryDirectory('baton-acme-service-');
  const run = new ServiceRun(host, network, directory.path);
  const work = (): Promise<void> =>
    runSteps({ clock: host.clock, report, part, notices: () => run.notices }, [
      ['the gateway attaches to an MN-CSE, proved by a notification, and delivers', () => run.attach()],
      ['a command comes down as a notification, its result comes up', () => run.command('before')],
      ['a handover by order, the target proved by a notification', () => run.handOver()],
      ['a command at the target comes down, its result comes up', () => run.command('moved')],
      ['and back', () => run.handOver()],
      [everythingOnce, () => run.verdict()],
    ]);
  const end = (): Promise<void> => run.stop().finally(() => directory.remove());
  await network.lending(end, work);
}

class ServiceRun {
  readonly notices: string[] = [];
  readonly #host: Host;
  readonly #network: AcmeNetwork;
  readonly #directory: string;
  readonly #handovers: ObservedHandover[] = [];
  readonly #bindings = new Map<AcmeName, Promise<MqttBinding>>();
  readonly #end = new AbortController();
  readonly #commands: string[] = [];
  #stored = 0;
  #endSensor: () => void = () => undefined;
  #ending: (() => Promise<unknown>)[] = [];
  #service: Service | undefined;
  #log: ReadingLog | undefined;

  constructor(host: Host, network: AcmeNetwork, directory: string) {
    this.#host = host;
    this.#network = network;
    this.#directory = directory;
  }

  async attach(): Promise<readonly string[]> {
    const host = this.#host;
    const { clock } = host;
    const stores = {
      host,
      directory: `${this.#directory}/state`,
      onDamage: (text: string) => this.#note(text),
    };
    const log = await openReadingLog({
      ...host,
      directory: `${this.#directory}/buffer`,
      streams: [stream, streamName('results')].map((name) => ({ name, durability: 'A', priority: 5 })),
      limits: { quotaBytes: bytes(4 * 1024 * 1024), segmentBytesMax: bytes(256 * 1024) },
    });
    this.#log = log;
    const memory = await openCommandMemory(stores);
    const journal = await openHandoverJournal(stores);
    this.#ending.push(
      () => memory.close(),
      () => journal.close(),
      () => log.close(),
    );
    const downlink = new Downlink({
      memory,
      execute: ({ id }) => this.#store('results', { id, outcome: 'done' }),
      onAlarm: (text) => this.#note(text ?? 'downlink in order'),
    });
    await downlink.open();
    const originMs = clock.monotonicMs();
    const service = new Service({
      host,
      config: this.#config(),
      streams: new Map(
        [stream, streamName('results')].map((name) => [name, { order: 'inOrder' as const }] as const),
      ),
      log,
      access: {
        pointOfAccessFor: () => `mqtt://127.0.0.1:${this.#network.brokerPort}`,
        obstacleTo: () => undefined,
        leave: () => Promise.resolve(),
        cseClient: ({ pointOfAccess }, originator) =>
          this.#client(this.#nameAt(pointOfAccess), originator, (request) => downlink.handle(request)),
      },
      linkName: 'mqtt0',
      downlink,
      journal,
      owedStore: openOwedStore(stores),
      telling: {
        alarms: new Alarms(clock, originMs, (text, active) =>
          this.#note(`${active ? 'alarm' : 'over'}: ${text}`),
        ),
        tell: (event) => this.#takeEvent(event),
        log: (level, text) => this.#note(`${level}: ${text}`),
        record: () => undefined,
      },
    });
    this.#service = service;
    await this.#provision();
    const running = service.run(this.#end.signal).catch((error: unknown) => this.#note(String(error)));
    this.#ending.unshift(() => running);
    this.#endSensor = every(clock, periodMs, () => void this.#emit());
    // No radio here: the first target is an order like any other.
    await this.#order('/id-mn1');
    await this.#until('delivery', () => log.stats().delivered > 10);
    return [`at ${this.#serving}`];
  }

  async command(id: string): Promise<readonly string[]> {
    const area = (this.#serving ?? '').replace('/id-', '') as AcmeName;
    const beganMs = this.#host.clock.monotonicMs();
    const operator = this.#client(area, adminOriginator);
    const created = await operator.create(`cse-${area}/${device}/cmd`, ResourceType.contentInstance, {
      contentInstance: { content: { id, command: 'ping' } },
    });
    if (!created.ok) throw new StepError(`the command cannot be created: ${created.error.message}`);
    this.#commands.push(id);
    await this.#until(`result of ${id}`, async () => (await this.#results()).includes(id));
    return [`at ${area}, after ${Math.round(this.#host.clock.monotonicMs() - beganMs)} ms at most`];
  }

  async handOver(): Promise<readonly string[]> {
    const source = this.#serving;
    const target = source === '/id-mn1' ? '/id-mn2' : '/id-mn1';
    await this.#order(target);
    const ended = this.#handovers.at(-1)?.event;
    await sleep(this.#host.clock, staysMs);
    return [`${source} to ${target} in ${ended?.elapsedMs} ms`];
  }

  async verdict(): Promise<readonly string[]> {
    this.#endSensor();
    await this.#until('everything to be delivered', () => this.#log?.stats().pending === 0);
    const acknowledged = this.#stored;
    const nothing = { pending: 0, dropped: 0, droppedRanges: [], repeated: 0 };
    const emitted = { first: 1, last: acknowledged, acknowledged, ...nothing };
    const held = await this.#held();
    const summary = judgeDrive({
      drive: 'none',
      seed,
      seconds: 0,
      rttMs: 0,
      device,
      streams: { [stream]: periodMs },
      handovers: this.#handovers,
      evidence: { emitted: { [stream]: emitted }, held },
      status: undefined,
      failures: [],
    });
    const results = await this.#results();
    const reasons = [...summary.reasons];
    if (results.sort().join() !== [...this.#commands].sort().join())
      reasons.push(`results ${results.join(', ')} of commands ${this.#commands.join(', ')}`);
    if (summary.stored !== summary.delivered || summary.stored < 30)
      reasons.push(`${summary.stored} stored, ${summary.delivered} delivered`);
    if (reasons.length > 0) throw new StepError(reasons.join('; '));
    const { stored, delivered, lost, duplicates, reordered } = summary;
    return [
      `${stored} readings stored, ${delivered} held, ${lost} lost, ${duplicates} doubled, ${reordered} reordered`,
    ];
  }

  async stop(): Promise<void> {
    this.#endSensor();
    this.#end.abort();
    for (const end of this.#ending) await end();
    for (const binding of this.#bindings.values()) await (await binding).close();
  }

  get #serving(): string | undefined {
    const state = this.#service?.facts().state;
    return state === undefined ? undefined : servingOf(state)?.cse.cseId;
  }

  #config(): GatewayConfig {
    return parseConfig(
      `
device: ${device}
dataDirectory: ${this.#directory}
inCse: { pointOfAccess: "${this.#network.pointOfAccess('in')}", cseId: /id-in, cseBaseName: cse-in }
links: [{ name: mqtt0, localAddress: 127.0.0.1 }]
sensors:
  - name: s1
    serialLine: { path: /dev/null, baudRate: 9600, format: json, acknowledge: true }
    streams: [{ name: ${stream}, class: A, priority: 5 }]
decision: { minimumStayMs: 3600000, discoveryPeriodMs: 2000 }
handover: { phaseDeadlineMs: 8000 }
uplink: { deadlineMs: ${deadlineMs} }
`,
      'service-run.yaml',
    );
  }

  /** A client through the session to the CSE; the first to ask for a session says who hears notifications. */
  #client(name: AcmeName, originator: string, handler?: RequestHandler): CseClient {
    let opened = this.#bindings.get(name);
    if (opened === undefined) {
      opened = this.#openBinding(name, handler);
      this.#bindings.set(name, opened);
    }
    const through = opened;
    const binding: Binding = {
      send: async (request, options) => (await through).send(request, options),
      close: () => Promise.resolve(),
    };
    return new CseClient({ binding, originator, entropy: this.#host.entropy, deadlineMs });
  }

  async #openBinding(name: AcmeName, handler?: RequestHandler): Promise<MqttBinding> {
    const { network, clock, entropy } = this.#host;
    const endpoint = {
      host: '127.0.0.1',
      port: this.#network.brokerPort,
      clientId: `A::${randomHex(entropy, 6)}`,
    };
    const opened = await MqttBinding.open({
      session: { network, clock, endpoint, deadlineMs, protocolVersion: 5, clean: true },
      cseId: `/id-${name}`,
      serialisation: 'cbor',
      originators: [],
    });
    if (!opened.ok) throw new StepError(opened.error.message);
    if (handler !== undefined) opened.value.onRequest(handler);
    opened.value.onClose((reason) => this.#note(`session to ${name}: ${reason}`));
    return opened.value;
  }

  /** Targets are published by their CoAP addresses, which stand for the CSEs here. */
  #nameAt(pointOfAccess: string): AcmeName {
    const port = parsePointOfAccess(pointOfAccess)?.port;
    const name = cseNames.find((each) => this.#network.coapPort(each) === port);
    if (name === undefined) throw new StepError(`nobody is at ${pointOfAccess}`);
    return name;
  }

  async #provision(): Promise<void> {
    const home = homeAeOf(device, 'cse-in');
    const rights = { operators: [adminOriginator], gatewayAeId: `S${device}` };
    const made = await provisionHomeAe(this.#client('in', home.aeId), home, 'cse-in', rights);
    if (!made.ok) throw new StepError(`the home AE cannot be made: ${made.error.message}`);
    for (const area of ['mn1', 'mn2'] as const) {
      const content = {
        cseId: `/id-${area}`,
        cseBaseName: `cse-${area}`,
        pointsOfAccess: [this.#network.pointOfAccess(area)],
        coverage: [],
      };
      const published = await this.#client('in', adminOriginator).create(
        `${home.address}/targets`,
        ResourceType.contentInstance,
        { contentInstance: { resourceName: area, labels: [targetLabel], content } },
      );
      if (!published.ok) throw new StepError(`target ${area}: ${published.error.message}`);
    }
  }

  async #emit(): Promise<void> {
    const count = ++this.#stored;
    await this.#store(stream, fakeSensorValue(seed, stream, count), count).catch((error: unknown) =>
      this.#note(errorText(error)),
    );
  }

  #store(name: string, value: Reading['value'], producerSeq?: number): Promise<void> {
    const { clock } = this.#host;
    if (this.#log === undefined) throw new StepError('no log');
    return storeReading(this.#log, {
      stream: streamName(name),
      value,
      monotonicMs: clock.monotonicMs(),
      wall: { unixMs: clock.unixMs(), source: 'system' },
      ...(producerSeq === undefined ? {} : { producerSeq }),
    });
  }

  /** Until the handover that was ordered has ended at its target. */
  async #order(target: string): Promise<void> {
    const count = this.#handovers.length;
    let isAccepted = false;
    await this.#until(`the handover to ${target}`, async () => {
      if (!isAccepted) isAccepted = (await this.#service?.orderHandover(target))?.accepted === true;
      return this.#handovers.length > count;
    });
    const ended = this.#handovers.at(-1)?.event;
    if (ended?.outcome !== 'completed') throw new StepError(`${ended?.outcome}: ${ended?.reason}`);
  }

  async #until(what: string, isDone: () => boolean | Promise<boolean>): Promise<void> {
    const { clock } = this.#host;
    const endMs = clock.monotonicMs() + settleMs;
    while (!(await isDone())) {
      if (clock.monotonicMs() > endMs) throw new StepError(`${what}: not within ${settleMs} ms`);
      await sleep(clock, millis(100));
    }
  }

  async #results(): Promise<string[]> {
    return resultsIn(await this.#held()).map(({ id }) => String(id));
  }

  #held(): Promise<HeldResource[]> {
    const aes = [
      ['mn1', device],
      ['mn2', device],
      ['in', `${device}-home`],
    ] as const;
    return heldBelow(this.#network, this.#host.clock, aes);
  }

  #takeEvent(event: GatewayEvent): void {
    if (event.kind !== 'handoverEnded') return;
    this.#handovers.push({ event, endedMs: this.#host.clock.monotonicMs() });
  }

  #note(text: string): void {
    this.notices.push(text);
  }
}
