// A whole gateway between an IN-CSE and MN-CSEs on a virtual clock: CoAP over datagrams in memory with a fixed delay, a disk and
// a sensor in memory, no faults but those that a test makes. Everything between the gateway and the CSEs is counted.
import { millis } from '../../src/base/units.ts';
import type { GatewayConfig } from '../../src/gateway/config.ts';
import { parseConfig } from '../../src/gateway/load-config.ts';
import type { GatewayEvent, GatewayStatus, HandoverEndedEvent } from '../../src/gateway/status.ts';
import { settlePromises } from '../../src/host/clock.ts';
import type { SocketAddress } from '../../src/host/network.ts';
import type { CseEvent } from '../../src/testbed/cse/cse-core.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { FakeSensor } from '../../src/testbed/sensor/fake-sensor.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';
import { SimulatedSerialLines } from '../../src/testbed/simulated-serial-lines.ts';
import { Draw } from '../../src/testbed/simulation/draw.ts';
import { GatewayMachine } from '../../src/testbed/simulation/gateway-machine.ts';
import { SimulatedCses } from '../../src/testbed/simulation/simulated-cses.ts';
import { SimulatedNetwork } from '../../src/testbed/simulation/simulated-network.ts';

export const device = 'gw1';
export const stream = 'temperature';
const gatewayAddress = '10.0.1.1';

/** What a world is made of. */
export interface GatewayWorldOptions {
  readonly seed: number;
  readonly mnCount?: number;
  /** One way. */
  readonly delayMs?: number;
  readonly periodMs?: number;
  /** Keys of the configuration beside those of the world. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly onEvent?: (event: GatewayEvent) => void;
  readonly onCseEvent?: (event: CseEvent) => void;
  /** A datagram arrives. */
  readonly onDatagram?: (data: Uint8Array, from: SocketAddress, to: SocketAddress) => void;
}

/** The world of one test; only `pass` and `until` let time pass. */
export class GatewayWorld {
  readonly clock: SimulatedClock = new SimulatedClock({ settle: settlePromises });
  readonly cses: SimulatedCses;
  readonly machine: GatewayMachine;
  readonly events: GatewayEvent[] = [];
  readonly seed: number;
  readonly delayMs: number;
  /** Datagrams to and from the gateway, with their octets. */
  readonly wire: { datagrams: number; bytes: number } = { datagrams: 0, bytes: 0 };
  readonly #sensor: FakeSensor;
  readonly #cut = new Set<string>();

  constructor(options: GatewayWorldOptions) {
    const { seed, mnCount = 3, delayMs = 20, periodMs = 200, config = {} } = options;
    const { clock } = this;
    this.seed = seed;
    this.delayMs = delayMs;
    const entropy = new SeededEntropy(seed);
    const network = new SimulatedNetwork({
      clock,
      draw: new Draw(entropy.fork('network')),
      pathOf: (from, to) =>
        this.#cut.has(from) || this.#cut.has(to)
          ? undefined
          : { delayMs, jitterMs: 0, lossRate: 0, duplicateRate: 0 },
      onDelivered: (data, from, to) => {
        if (from.address === gatewayAddress || to.address === gatewayAddress) {
          this.wire.datagrams += 1;
          this.wire.bytes += data.length;
        }
        options.onDatagram?.(data, from, to);
      },
    });
    this.cses = new SimulatedCses({
      ...{ clock, entropy: entropy.fork('cses'), network, device, mnCount, isSilent: false },
      cellsOf: (index) => [`baton:cell=1850-${index}`],
      onEvent: (event) => options.onCseEvent?.(event),
      onForgot: () => undefined,
    });
    const lines = new SimulatedSerialLines({ clock });
    const line = lines.plug('/dev/sensor');
    const sensor = new FakeSensor({
      clock,
      seed,
      streams: [{ name: stream, periodMs: millis(periodMs) }],
      write: (data) => {
        line.write(data);
        return line.isOpen;
      },
    });
    this.#sensor = sensor;
    line.onData((data) => sensor.receive(data));
    this.machine = new GatewayMachine({
      ...{ clock, entropy: entropy.fork('gateway'), draw: new Draw(entropy.fork('machine')) },
      station: network.station(gatewayAddress),
      serialLines: lines,
      config: configOf(this.cses.inPointOfAccess, config),
      onEvent: (event) => {
        this.events.push(event);
        options.onEvent?.(event);
      },
      onEnded: () => undefined,
      onOperation: () => undefined,
    });
  }

  /** Starts everything and waits until a CSE serves. */
  async open(): Promise<void> {
    await this.clock.advanceUntil(this.cses.start());
    await this.pass(1000);
    await this.clock.advanceUntil(this.cses.provision());
    this.#sensor.start();
    this.machine.start();
    await this.until('a CSE serves', () => this.serving !== undefined && this.status.handover === undefined);
  }

  async close(): Promise<void> {
    this.machine.stop();
    this.#sensor.stop();
    for (const cse of this.cses.all) await cse.stop();
  }

  async pass(durationMs: number): Promise<void> {
    await this.clock.advance(durationMs);
  }

  async until(what: string, isDone: () => boolean, limitMs = 120_000): Promise<void> {
    for (let passed = 0; !isDone(); passed += 10) {
      if (passed >= limitMs) {
        throw new Error(`seed ${this.seed}: not within ${limitMs} ms: ${what}; ${JSON.stringify(this.tail)}`);
      }
      await this.pass(10);
    }
  }

  /** Orders a handover and waits for its end. */
  async handOver(target?: string): Promise<HandoverEndedEvent> {
    const before = this.ended.length;
    const { gateway } = this.machine;
    if (gateway === undefined) throw new Error('no gateway runs');
    const answer = await this.clock.advanceUntil(gateway.orderHandover(target));
    if (answer.accepted !== true) throw new Error(`not accepted: ${JSON.stringify(answer)}`);
    await this.until('the handover ends', () => this.ended.length > before);
    const ended = this.ended.at(-1);
    if (ended === undefined) throw new Error('a handover ended without a word');
    return ended;
  }

  /** Nothing goes to or comes from a CSE any more. */
  cut(cseId: string): void {
    this.#cut.add(this.#addressOf(cseId));
  }

  heal(cseId: string): void {
    this.#cut.delete(this.#addressOf(cseId));
  }

  /** Ends the process at once and starts it again. */
  restart(how: 'kill' | 'powerCut' = 'kill'): void {
    this.machine.end(how);
    this.machine.start();
  }

  get status(): GatewayStatus {
    const status = this.machine.gateway?.status();
    if (status === undefined) throw new Error('no gateway runs');
    return status;
  }

  get serving(): string | undefined {
    return this.machine.gateway?.status().serving?.cseId;
  }

  get ended(): HandoverEndedEvent[] {
    return this.events.filter((event) => event.kind === 'handoverEnded');
  }

  /** Labels of an AE at a CSE; undefined where it is not. */
  labelsAt(cseId: string, ae: string = device): readonly string[] | undefined {
    const cse = this.cses.find(cseId);
    const found = cse?.find(`${cse.settings.cseBaseName}/${ae}`);
    return found === undefined ? undefined : ((found.attributes.labels ?? []) as string[]);
  }

  /** The state that the AE at a CSE is labelled with. */
  stateAt(cseId: string): string | undefined {
    const label = this.labelsAt(cseId)?.find((each) => each.startsWith('baton:state='));
    return label?.slice('baton:state='.length);
  }

  /** An application gives a command at a CSE. */
  command(cseId: string, id: string): Promise<number | undefined> {
    const base = this.cses.find(cseId)?.settings.cseBaseName ?? '';
    const content = { content: { id, command: 'ping' } };
    return this.cses
      .createInstance(cseId, `${base}/${device}/cmd`, content)
      .then((answer) => answer?.responseStatusCode);
  }

  get tail(): unknown {
    return { status: this.machine.gateway?.status(), events: this.events.slice(-10) };
  }

  #addressOf(cseId: string): string {
    const index = this.cses.cseIds.indexOf(cseId);
    return this.cses.addresses[index] ?? '';
  }
}

function configOf(inPointOfAccess: string, more: Readonly<Record<string, unknown>>): GatewayConfig {
  const config = {
    device,
    dataDirectory: '/data',
    inCse: { pointOfAccess: inPointOfAccess, cseId: '/id-in', cseBaseName: 'cse-in' },
    links: [{ name: 'lte0', localAddress: gatewayAddress, port: 40_000 }],
    sensors: [
      {
        name: 'sensor',
        serialLine: { path: '/dev/sensor', format: 'json', acknowledge: true },
        streams: [{ name: stream, class: 'A' }],
      },
    ],
    decision: { discoveryPeriodMs: 15_000, minimumStayMs: 1000, penaltyMs: 2000 },
    ...more,
  };
  // JSON is YAML.
  return parseConfig(JSON.stringify(config), 'world.yaml');
}
