/**
 * One run: a whole gateway with its sensor and, in some runs, its modem, an IN-CSE and MN-CSEs, the network between them and
 * the gateway's disk, all on one virtual clock and drawn from one seed. Orders and the radio field move the gateway from CSE
 * to CSE under faults until enough handovers have ended; then everything is healed, the run must come to rest within
 * bounded time, and what is seen from outside is held against the invariants.
 *
 * What is the real thing: everything that `Gateway` is composed of, down to its CoAP endpoint, and the CSEs' endpoints as
 * well. What is simulated: datagrams, the disk, serial lines, clocks, chance. What is not: sockets, DNS and DTLS, MQTT, more
 * than one link, the machine's speed (no step takes time), clocks that run at different speeds.
 */
import { millis } from '../../base/units.ts';
import { parseConfig } from '../../gateway/load-config.ts';
import type { GatewayConfig } from '../../gateway/config.ts';
import type { GatewayEvent, GatewayStatus } from '../../gateway/status.ts';
import { settlePromises } from '../../host/clock.ts';
import type { Clock } from '../../host/clock.ts';
import type { Filesystem } from '../../host/filesystem.ts';
import type { CseEvent } from '../cse/cse-core.ts';
import type { CseTransport } from '../cse/cse-transport.ts';
import { FakeModem } from '../modem/fake-modem.ts';
import { findDrive } from '../radio-field/drives.ts';
import { RadioField } from '../radio-field/radio-field.ts';
import { SeededEntropy } from '../seeded-entropy.ts';
import { FakeSensor } from '../sensor/fake-sensor.ts';
import { SimulatedClock } from '../simulated-clock.ts';
import { SimulatedSerialLines } from '../simulated-serial-lines.ts';
import type { SimulatedDevice } from '../simulated-serial-lines.ts';
import { aeName, aeNames, bundleConfig, device } from './bundle-names.ts';
import { Draw } from './draw.ts';
import { FaultInjector } from './fault-injector.ts';
import { GatewayMachine } from './gateway-machine.ts';
import { Observer } from './observer.ts';
import type { SimulationPlan } from './plan.ts';
import { SimulatedCses } from './simulated-cses.ts';
import { SimulatedNetwork } from './simulated-network.ts';
import type { Station } from './simulated-network.ts';
import { TraceHash } from './trace-hash.ts';

const gatewayAddress = '10.0.1.1';
const gatewayPort = 40_000;
const sensorPath = '/dev/sensor';
const modemPath = '/dev/modem';
/** No transaction takes longer, restarts of the gateway included. */
const transactionMsMax = 120_000;
const journalPath = '/data/state/handover.journal';

/** A defect put between the gateway and its world, to see that it is found; see `mutants.ts`. */
export interface Mutant {
  readonly name: string;
  readonly wrapFilesystem?: (filesystem: Filesystem, clock: Clock) => Filesystem;
  readonly wrapTransport?: (cseId: string, transport: CseTransport, simulation: Simulation) => CseTransport;
}

/** How often what happened. */
export interface SimulationCounts {
  completed: number;
  rolledBack: number;
  fenced: number;
  kills: number;
  powerCuts: number;
  /** Ends of the process by itself, for example when the disk refused at its start. */
  failures: number;
  resets: number;
  /** Damage on the disk that the gateway told of. */
  damages: number;
  readonly triggers: Record<string, number>;
}

/** The world of one run, and the hand that moves it; see the header of this file. */
export class Simulation {
  readonly plan: SimulationPlan;
  readonly clock: SimulatedClock = new SimulatedClock({ settle: settlePromises });
  readonly observer: Observer;
  readonly cses: SimulatedCses;
  readonly machine: GatewayMachine;
  readonly sensor: FakeSensor;
  readonly counts: SimulationCounts = {
    ...{ completed: 0, rolledBack: 0, fenced: 0, kills: 0, powerCuts: 0, failures: 0, resets: 0, damages: 0 },
    triggers: {},
  };
  readonly trace: TraceHash = new TraceHash();
  readonly #faults: FaultInjector;
  readonly #draw: Draw;
  readonly #station: Station;
  readonly #lines: SimulatedSerialLines;
  readonly #onNote: (atMs: number, text: string) => void;
  readonly #forgotten = new Set<string>();
  /** When a CSE started last without what it held. */
  readonly #forgotMs = new Map<string, number>();
  #sensorDevice: SimulatedDevice;
  #downMs = 1000;
  #commandCount = 0;
  #isMoving = true;

  constructor(
    plan: SimulationPlan,
    options: { mutant?: Mutant; onNote?: (atMs: number, text: string) => void },
  ) {
    const { mutant, onNote = (): void => undefined } = options;
    const entropy = new SeededEntropy(plan.seed);
    const { clock } = this;
    this.plan = plan;
    this.#onNote = onNote;
    this.#draw = new Draw(entropy.fork('orders'));
    const network = new SimulatedNetwork({
      clock,
      draw: new Draw(entropy.fork('network')),
      pathOf: (from, to) => this.#faults.pathOf(from, to),
      onDelivered: (data, from, to) => {
        this.trace.number(clock.monotonicMs());
        this.trace.text(`${from.address} ${to.address}`);
        this.trace.bytes(data);
      },
    });
    this.#station = network.station(gatewayAddress);
    this.observer = new Observer({
      seed: plan.seed,
      device,
      aes: aeNames(plan),
      streams: plan.streams.map(({ name }) => name),
      isDeferred: plan.claim === 'deferred',
      nowMs: () => clock.monotonicMs(),
      holds: (cseId, path) => this.cses.find(cseId)?.find(path) !== undefined,
    });
    this.cses = new SimulatedCses({
      ...{ clock, entropy: entropy.fork('cses'), network, device, mnCount: plan.mnCount },
      cellsOf: (index) => cellsOf(plan, index),
      isSilent: plan.pollMs !== undefined,
      onEvent: (event) => this.#seeCse(event),
      onForgot: (cseId) => {
        this.#forgotMs.set(cseId, clock.monotonicMs());
        this.observer.forget(cseId);
      },
      ...(mutant?.wrapTransport && {
        wrapTransport: (cseId, transport) => mutant.wrapTransport?.(cseId, transport, this) ?? transport,
      }),
    });
    this.#lines = new SimulatedSerialLines({ clock });
    this.#sensorDevice = this.#lines.plug(sensorPath);
    this.sensor = this.#makeSensor();
    this.machine = new GatewayMachine({
      ...{ clock, entropy: entropy.fork('gateway'), draw: new Draw(entropy.fork('machine')) },
      station: this.#station,
      serialLines: this.#lines,
      config: configOf(plan, this.cses.inPointOfAccess),
      onEvent: (event) => this.#seeGateway(event),
      onEnded: (how, reason) => this.#gatewayEnded(how, reason),
      onOperation: (operation) => {
        this.trace.text(operation.kind);
        this.trace.number(operation.position);
        return this.#faults.onOperation(operation);
      },
      ...(mutant?.wrapFilesystem && { wrapFilesystem: mutant.wrapFilesystem }),
    });
    this.#faults = this.#makeFaults(entropy.fork('faults'), network);
  }

  /** Starts everything, without faults yet. */
  async begin(): Promise<void> {
    await this.clock.advanceUntil(this.cses.start());
    await this.clock.advance(1000);
    await this.clock.advanceUntil(this.cses.provision());
    if (this.plan.hasRadio) this.#plugModem();
    this.sensor.start();
    this.machine.start();
  }

  /** Faults, orders and commands begin. */
  strike(): void {
    this.#faults.start();
    this.#repeat(this.plan.orderMs, () => this.#order());
    this.#repeat(this.plan.commandMs, () => void this.#command());
  }

  /** Handovers that have ended, whatever they came to. */
  get ended(): number {
    const { completed, rolledBack, fenced } = this.counts;
    return completed + rolledBack + fenced;
  }

  /** Ends every fault, and what makes the gateway move; the sensor falls silent. */
  heal(): void {
    this.#isMoving = false;
    this.note('healed');
    this.#faults.heal();
    this.machine.disarm();
    this.cses.heal();
    this.machine.start();
    this.sensor.finish();
  }

  /**
   * What an operator does who is told by an alarm that the gateway is fenced. The gateway then no longer knows where it was
   * before: what it left at other CSEs, and commands that wait there, are not judged.
   */
  resetFenced(): void {
    this.note('the operator resets the fenced gateway');
    this.counts.resets += 1;
    this.observer.setFenced(undefined);
    for (const cseId of this.cses.cseIds) {
      this.#forgotten.add(cseId);
      this.observer.excuseCommands(cseId);
    }
    this.machine.end('kill');
    this.machine.forget(journalPath);
    this.machine.start();
  }

  /** Whether the gateway was made to forget what it may have left at a CSE. */
  isForgotten(cseId: string): boolean {
    return this.#forgotten.has(cseId);
  }

  /** Orders a handover to a CSE other than the one that serves. */
  async orderAny(): Promise<void> {
    await this.machine.gateway?.orderHandover(undefined);
  }

  /** Ends everything, so that nothing keeps it in memory. */
  async stop(): Promise<void> {
    this.machine.stop();
    this.sensor.stop();
    for (const cse of this.cses.all) await cse.stop();
  }

  /** Sockets that the gateway has open. */
  get openSockets(): number {
    return this.#station.openCount;
  }

  status(): GatewayStatus | undefined {
    return this.machine.gateway?.status();
  }

  note(text: string): void {
    const nowMs = this.clock.monotonicMs();
    this.trace.number(nowMs);
    this.trace.text(text);
    this.#onNote(nowMs, text);
  }

  #repeat(meanMs: number, action: () => void): void {
    this.clock.schedule(millis(this.#draw.waitMs(meanMs)), () => {
      if (!this.#isMoving) return;
      action();
      this.#repeat(meanMs, action);
    });
  }

  #order(): void {
    const target = this.#draw.pick(this.cses.cseIds.slice(1));
    const answer = this.machine.gateway?.orderHandover(target);
    void answer?.then((said) => this.note(`order to ${target}: ${JSON.stringify(said)}`));
  }

  /** An application gives a command where the serving record sends it. */
  async #command(): Promise<void> {
    const serving = this.observer.newest?.cse.cseId;
    const cse = serving === undefined ? undefined : this.cses.find(serving);
    if (serving === undefined || cse === undefined) return;
    const id = `c${++this.#commandCount}`;
    const fate = { cseId: serving, mayBeLost: false, results: new Set<string>() };
    this.observer.commands.set(id, fate);
    const container = `${cse.settings.cseBaseName}/${device}/cmd`;
    const answer = await this.cses.createInstance(serving, container, { content: { id, command: 'ping' } });
    this.note(`command ${id} at ${serving}: ${answer?.responseStatusCode ?? 'no answer'}`);
    // Refused, it was never given; without an answer it may have been taken or not. One that a slow CSE took in only after
    // the gateway had left it is found if the gateway comes back in time.
    const ae = cse.find(`${cse.settings.cseBaseName}/${device}`);
    const isLeft = Array.isArray(ae?.attributes.labels) && ae.attributes.labels.includes('baton:state=moved');
    if (answer === undefined || isLeft) fate.mayBeLost = true;
    else if (answer.responseStatusCode >= 4000) this.observer.commands.delete(id);
  }

  /** Somebody claims the next epoch under our identity, for any CSE. */
  #claimAsRival(): void {
    const epoch = (this.observer.newest?.epoch ?? 0) + 1;
    const id = this.#draw.pick(this.cses.cseIds.slice(1));
    const content = {
      ...{ epoch, nonce: `rival-${epoch}`, link: 'lte1', aes: {}, previous: epoch - 1, t: 0 },
      cse: { id, base: `cse-${id.slice('/id-'.length)}`, poa: 'coap://10.0.9.9:5683' },
    };
    this.note(`a rival claims epoch ${epoch} for ${id}`);
    const instance = { resourceName: `e${epoch}`, content };
    void this.cses.createInstance('/id-in', `cse-in/${device}-home/serving`, instance);
  }

  #seeCse(event: CseEvent): void {
    this.observer.see(event);
    if (event.kind === 'crashed' || event.kind === 'restarted') this.note(`${event.cseId} ${event.kind}`);
    else if (event.kind === 'instanceCreated') {
      const labels = event.labels.length === 0 ? '' : ` [${event.labels.join()}]`;
      this.note(`${event.cseId} created ${event.path}${labels} ${JSON.stringify(event.content)}`);
    }
  }

  #seeGateway(event: GatewayEvent): void {
    if (event.kind === 'sample') return;
    this.note(`gateway ${JSON.stringify(event)}`);
    if (event.kind === 'phase') this.#faults.onPhase();
    if (event.kind === 'eviction') this.observer.noteEvicted(event.stream, event.count);
    if (event.kind === 'damage') this.counts.damages += 1;
    if (event.kind === 'alarm' && event.active) this.#seeAlarm(event.text);
    if (event.kind !== 'handoverEnded') return;
    if (event.outcome === 'completed') this.#judgeWhole(event.target, event.elapsedMs);
    const { counts } = this;
    counts.triggers[event.trigger] = (counts.triggers[event.trigger] ?? 0) + 1;
    if (event.outcome === 'completed') counts.completed += 1;
    else if (event.outcome === 'rolledBack') counts.rolledBack += 1;
    else counts.fenced += 1;
  }

  /** A transaction has ended (I5): its target has the bundle whole, unless it has lost its memory since it began. */
  #judgeWhole(target: string, elapsedMs: number): void {
    const cse = this.cses.find(target);
    const forgotMs = this.#forgotMs.get(target) ?? Number.NEGATIVE_INFINITY;
    // What went before a restart of the gateway is not in its own count.
    const beganMs = this.clock.monotonicMs() - Math.max(elapsedMs, transactionMsMax);
    if (cse === undefined || forgotMs >= beganMs) return;
    const missing = aeNames(this.plan).filter(
      (name) => cse.find(`${cse.settings.cseBaseName}/${name}`) === undefined,
    );
    if (missing.length > 0)
      this.observer.violate('I5', `the handover to ${target} has ended, which lacks ${missing.join(', ')}`);
  }

  #seeAlarm(text: string): void {
    if (text.startsWith('fenced: ')) this.observer.setFenced(this.clock.monotonicMs());
    const provisional = /; (\S+) is used provisionally$/u.exec(text)?.[1];
    if (provisional !== undefined) this.observer.noteProvisional(provisional);
  }

  #gatewayEnded(how: 'kill' | 'powerCut' | 'failed', reason: string): void {
    this.note(`the gateway ended (${how}) ${reason}`);
    if (how === 'kill') this.counts.kills += 1;
    else if (how === 'powerCut') this.counts.powerCuts += 1;
    else this.counts.failures += 1;
    this.clock.schedule(millis(how === 'failed' ? 1000 : this.#downMs), () => this.machine.start());
  }

  #makeSensor(): FakeSensor {
    const sensor = new FakeSensor({
      clock: this.clock,
      seed: this.plan.seed,
      streams: this.plan.streams.map(({ name, periodMs }) => ({ name, periodMs: millis(periodMs) })),
      write: (data) => {
        this.#sensorDevice.write(data);
        return this.#sensorDevice.isOpen;
      },
    });
    this.#sensorDevice.onData((data) => sensor.receive(data));
    return sensor;
  }

  #setSensorPlugged(isPlugged: boolean): void {
    this.#sensorDevice.unplug();
    if (!isPlugged) return;
    this.#sensorDevice = this.#lines.plug(sensorPath);
    this.#sensorDevice.onData((data) => this.sensor.receive(data));
  }

  #plugModem(): void {
    const modemDevice = this.#lines.plug(modemPath);
    const seconds = this.#draw.spread(60, 600);
    const modem = new FakeModem({
      clock: this.clock,
      entropy: new SeededEntropy(this.plan.seed).fork('modem'),
      field: new RadioField({ drive: findDrive(driveOf(this.plan)), seed: this.plan.seed, seconds }),
      fieldTimeMs: () => this.clock.monotonicMs(),
      write: (data) => modemDevice.write(data),
    });
    modemDevice.onData((data) => modem.receive(data));
    modem.start();
  }

  #makeFaults(entropy: SeededEntropy, network: SimulatedNetwork): FaultInjector {
    const { machine, cses, clock, plan } = this;
    return new FaultInjector({
      ...{ clock, entropy, plan, gatewayAddress, cseAddresses: cses.addresses },
      crashCse: (index, downMs, keepState) => cses.crash(index, downMs, keepState),
      disturbCse: (index, how, draw) => cses.disturb(index, how, draw),
      endGateway: (how, steps, downMs) => {
        this.#downMs = downMs;
        machine.end(how, steps);
      },
      setLinkUp: (isUp) => void (this.#station.isUp = isUp),
      rotDisk: (draw) => machine.rot(draw),
      setDiskFull: (isFull) =>
        machine.setCapacity(isFull ? machine.disk.usedBytes : Number.POSITIVE_INFINITY),
      stepWall: (deltaMs) => machine.stepWall(deltaMs),
      setSensorPlugged: (isPlugged) => this.#setSensorPlugged(isPlugged),
      sendStrange: (data) =>
        network.inject(
          data,
          { address: '10.0.9.9', port: 9 },
          { address: gatewayAddress, port: gatewayPort },
        ),
      claimAsRival: () => this.#claimAsRival(),
      note: (text) => this.note(text),
    });
  }
}

function driveOf({ mnCount }: SimulationPlan): string {
  return mnCount < 3 ? 'corridor' : 'ring';
}

function cellsOf(plan: SimulationPlan, index: number): string[] {
  if (!plan.hasRadio) return [];
  return findDrive(driveOf(plan))
    .cells.filter(({ area }) => area === `mn${index}`)
    .map(({ arfcn, pci }) => `baton:cell=${arfcn}-${pci}`);
}

function configOf(plan: SimulationPlan, inPointOfAccess: string): GatewayConfig {
  const whole = Math.round;
  const config = {
    device,
    dataDirectory: '/data',
    inCse: { pointOfAccess: inPointOfAccess, cseId: '/id-in', cseBaseName: 'cse-in' },
    links: [
      {
        ...{ name: 'lte0', localAddress: gatewayAddress, port: gatewayPort },
        ...(plan.hasRadio ? { modem: { path: modemPath, periodMs: 1000 } } : {}),
      },
    ],
    sensors: [
      {
        name: 'sensor',
        serialLine: { path: sensorPath, format: 'json', acknowledge: true },
        streams: plan.streams.map(({ name, durability, order, batch, ttlMs, ae }) => ({
          ...{ name, class: durability, order },
          ...(ae === 0 ? {} : { ae: aeName(ae) }),
          ...(batch === undefined ? {} : { batch }),
          ...(ttlMs === undefined ? {} : { ttlMs }),
        })),
      },
    ],
    ...bundleConfig(plan),
    buffer: { quotaBytes: plan.quotaBytes, segmentBytes: 16_384 },
    uplink: { deadlineMs: whole(plan.deadlineMs) },
    decision: { discoveryPeriodMs: 15_000, minimumStayMs: 1000, penaltyMs: 2000 },
    handover: {
      phaseDeadlineMs: whole(plan.phaseDeadlineMs),
      switchDeadlineMs: whole(plan.switchDeadlineMs),
      graceMs: whole(plan.graceMs),
      claim: plan.claim,
      ...(plan.hasStandby ? { standby: { enabled: true, holdMs: 1000, refreshMs: 10_000 } } : {}),
    },
    ...(plan.pollMs === undefined ? {} : { downlink: { pollMs: plan.pollMs } }),
  };
  // JSON is YAML.
  return parseConfig(JSON.stringify(config), 'simulation.yaml');
}
