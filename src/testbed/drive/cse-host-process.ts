/**
 * An IN-CSE and its MN-CSEs in one process, each behind a relay that gives its path the conditions of the drive.
 *
 *     node cse-host-process.js --mn mn1 --mn mn2 [--transport coap|mqtt|mqttShared] [--rtt-ms 40] [--seed 1]
 *       [--drive ring --seconds 60] --gateway-port N
 *
 * Over MQTT each CSE has a broker of its own, or (`mqttShared`) all MN-CSEs have one in common. Prints
 * `{"ready":{"in":POA,"mn":{"mn1":POA,…},"notify":POA,"brokers":[[POA,POA],…]}}` once all MN-CSEs are registered: the points of
 * access as the gateway sees them, the one under which the CSEs reach the gateway's UDP port, and for each broker how the gateway
 * and how the CSEs reach it. Takes on standard input `{"cmd":"go"}` (the
 * drive begins now: where it has no coverage, nothing gets through), `{"cmd":"held"}` (prints what the CSEs hold in lines of
 * `{"held":[…]}`, then `{"heldEnd":true,"nowMs":…}`), `{"cmd":"crash","cse":"mn1"}`, `{"cmd":"restart","cse":"mn1","keepState":true}`,
 * `{"cmd":"misbehave","cse":"mn1","rules":[{"action":{"kind":"dropAnswer"},"operation":1,"count":3}]}` (see misbehaviour.ts; no
 * rules: behaves again). Every other command is answered by `{"obeyed":CMD,"hits":N}` or `{"error":TEXT}`; `hits` are those of the rules
 * that a `misbehave` replaces. Ends when standard input ends.
 */
import { parseArgs } from 'node:util';
import { DecodeError, UsageError, errorText } from '../../base/errors.ts';
import { didYouMean } from '../../base/text.ts';
import { millis } from '../../base/units.ts';
import { isMainModule, openParentChannel, setExitCode } from '../../host/child-process.ts';
import type { ParentChannel } from '../../host/child-process.ts';
import { every, sleep } from '../../host/clock.ts';
import { createNodeHost } from '../../host/host.ts';
import type { Host } from '../../host/host.ts';
import { formatPointOfAccess, requirePointOfAccess } from '../../onem2m/address.ts';
import { CseType } from '../../onem2m/enums.ts';
import { parseCount } from '../child-command.ts';
import type { CseTransport } from '../cse/cse-transport.ts';
import type { MisbehaviourRule } from '../cse/misbehaviour.ts';
import { TestbedCse } from '../cse/testbed-cse.ts';
import type { ResourceDump } from '../cse/testbed-cse.ts';
import { ForeignCoapTransport } from '../cse/transports/foreign-coap-transport.ts';
import { MqttTransport } from '../cse/transports/mqtt-transport.ts';
import { MqttBroker } from '../mqtt-broker.ts';
import { TcpRelay } from '../network/tcp-relay.ts';
import { UdpRelay } from '../network/udp-relay.ts';
import { findDrive } from '../radio-field/drives.ts';
import { RadioField } from '../radio-field/radio-field.ts';
import { SeededEntropy } from '../seeded-entropy.ts';

/** Names that the trial driver and this process share. */
export const inCseNames = { cseId: '/id-in', cseBaseName: 'cse-in', operator: 'CAdmin' } as const;

const dumpLinesMax = 200;
const address = '127.0.0.1';

interface Arguments {
  readonly mns: readonly string[];
  readonly rttMs: number;
  readonly seed: number;
  readonly drive: string;
  readonly seconds: number;
  readonly gatewayPort: number;
  readonly transport: TestbedTransport;
}

/** How the CSEs of the testbed are reached. */
export type TestbedTransport = 'coap' | 'mqtt' | 'mqttShared';

/** The valid ones. */
export const testbedTransports: readonly TestbedTransport[] = ['coap', 'mqtt', 'mqttShared'];

/** The CSEs and relays of one drive. */
class CseHost {
  readonly #host: Host;
  readonly #arguments: Arguments;
  readonly #channel: ParentChannel;
  readonly #cses = new Map<string, TestbedCse>();
  readonly #relays: (UdpRelay | TcpRelay)[] = [];
  /** Brokers by the point of access of their relay. */
  readonly #brokers = new Map<string, MqttBroker>();
  readonly #relayOf = new Map<string, string>();
  readonly #entropy: SeededEntropy;
  #shared: MqttBroker | undefined;
  #cancelDrive: () => void = () => undefined;

  constructor(host: Host, options: Arguments, channel: ParentChannel) {
    this.#host = host;
    this.#arguments = options;
    this.#channel = channel;
    this.#entropy = new SeededEntropy(options.seed);
  }

  async start(): Promise<void> {
    const inPoa = await this.#startCse('in', undefined);
    const mn: Record<string, string> = {};
    for (const name of this.#arguments.mns) mn[name] = await this.#relayTo(await this.#startCse(name, inPoa));
    const gateway = formatPointOfAccess('coap', address, this.#arguments.gatewayPort);
    const ready = {
      in: await this.#relayTo(inPoa),
      mn,
      notify: await this.#relayTo(gateway),
      brokers: [...this.#brokers].map(([relay, { pointOfAccess }]) => [relay, pointOfAccess]),
    };
    await this.#registered();
    this.#channel.writeLine(JSON.stringify({ ready }));
  }

  async obey(line: string): Promise<void> {
    const { cmd, cse, keepState, rules } = parseCommand(line);
    let hits = 0;
    switch (cmd) {
      case 'go':
        this.#go();
        break;
      case 'held':
        return this.#tellHeld();
      case 'crash':
        await this.#cse(cse).crash();
        break;
      case 'restart':
        await this.#cse(cse).restart({ keepState: keepState !== false });
        break;
      case 'misbehave':
        hits = misbehave(this.#cse(cse), parseRules(rules));
        break;
      default:
        throw new UsageError(`unknown command "${String(cmd)}"; valid: go, held, crash, restart, misbehave`);
    }
    this.#channel.writeLine(JSON.stringify({ obeyed: cmd, hits }));
  }

  async stop(): Promise<void> {
    this.#cancelDrive();
    await Promise.all([...this.#cses.values()].map((cse) => cse.stop()));
    await Promise.all(this.#relays.map((relay) => relay.close()));
    await Promise.all([...this.#brokers.values()].map((broker) => broker.close()));
  }

  async #startCse(name: string, registrar: string | undefined): Promise<string> {
    const { clock } = this.#host;
    const cse = new TestbedCse({
      cseId: `/id-${name}`,
      cseBaseName: `cse-${name}`,
      cseType: registrar === undefined ? CseType.inCse : CseType.mnCse,
      adminOriginator: inCseNames.operator,
      spId: '//sp.example',
      serialisation: 'cbor',
      clock,
      entropy: this.#entropy,
      transports: [await this.#transportOf(name)],
      ...(registrar === undefined
        ? {}
        : {
            registrar: {
              cseId: inCseNames.cseId,
              cseBaseName: inCseNames.cseBaseName,
              pointOfAccess: registrar,
            },
          }),
    });
    await cse.start();
    this.#cses.set(name, cse);
    const [pointOfAccess] = cse.pointsOfAccess;
    if (pointOfAccess === undefined) throw new UsageError(`CSE ${name} has no point of access`);
    return pointOfAccess;
  }

  async #transportOf(name: string): Promise<CseTransport> {
    const { clock, network } = this.#host;
    const { transport } = this.#arguments;
    if (transport === 'coap') return new ForeignCoapTransport({ network, clock });
    const isShared = transport === 'mqttShared' && name !== 'in';
    const broker = isShared ? (this.#shared ??= await MqttBroker.open()) : await MqttBroker.open();
    const { pointOfAccess } = broker;
    this.#brokers.set(await this.#relayTo(pointOfAccess), broker);
    return new MqttTransport({
      network,
      clock,
      cseId: `/id-${name}`,
      broker: { host: broker.address, port: broker.port },
    });
  }

  /** One relay for each point of access; CSEs that share a broker share its relay. */
  async #relayTo(pointOfAccess: string): Promise<string> {
    const known = this.#relayOf.get(pointOfAccess);
    if (known !== undefined) return known;
    const { scheme, host, port } = requirePointOfAccess(pointOfAccess, 'relay target');
    const relayed = scheme === 'coap' ? await this.#relayUdp(host, port) : await this.#relayTcp(host, port);
    this.#relayOf.set(pointOfAccess, relayed);
    return relayed;
  }

  async #relayTcp(host: string, port: number): Promise<string> {
    const relay = await TcpRelay.open({
      clock: this.#host.clock,
      localAddress: address,
      target: { address: host, port },
      conditions: { delayMs: this.#arguments.rttMs / 2 },
    });
    this.#relays.push(relay);
    return formatPointOfAccess('mqtt', address, relay.local.port);
  }

  async #relayUdp(host: string, port: number): Promise<string> {
    const { network, clock } = this.#host;
    const relay = await UdpRelay.open({
      network,
      clock,
      entropy: this.#entropy,
      listen: { localAddress: address },
      target: { address: host, port },
      conditions: { delayMs: this.#arguments.rttMs / 2 },
    });
    this.#relays.push(relay);
    return formatPointOfAccess('coap', address, relay.local.port);
  }

  /** Waits until the IN-CSE knows every MN-CSE. */
  async #registered(): Promise<void> {
    const isKnown = (name: string): boolean =>
      this.#cse('in')
        .dump()
        .some(({ attributes }) => attributes.cseId === `/id-${name}`);
    for (let attempt = 0; attempt < 100; attempt++) {
      if (this.#arguments.mns.every(isKnown)) return;
      await sleep(this.#host.clock, millis(50));
    }
    throw new UsageError('the MN-CSEs did not register at the IN-CSE within 5 s');
  }

  #go(): void {
    const { drive, seed, seconds } = this.#arguments;
    const field = new RadioField({ drive: findDrive(drive), seed, seconds });
    const { clock } = this.#host;
    const startMs = clock.monotonicMs();
    this.#cancelDrive = every(clock, millis(100), () => {
      const { registration } = field.sampleAt(clock.monotonicMs() - startMs);
      const blackhole = registration !== 'home';
      for (const relay of this.#relays) relay.setConditions({ blackhole });
    });
  }

  #tellHeld(): void {
    for (const [name, cse] of this.#cses) {
      const resources = cse.dump();
      for (let from = 0; from < resources.length; from += dumpLinesMax) {
        const held = resources
          .slice(from, from + dumpLinesMax)
          .map((resource) => describeResource(name, resource));
        this.#channel.writeLine(JSON.stringify({ held }));
      }
    }
    this.#channel.writeLine(JSON.stringify({ heldEnd: true, nowMs: this.#host.clock.monotonicMs() }));
  }

  #cse(name: unknown): TestbedCse {
    const cse = typeof name === 'string' ? this.#cses.get(name) : undefined;
    if (cse === undefined)
      throw new UsageError(`no CSE "${String(name)}"; valid: ${[...this.#cses.keys()].join(', ')}`);
    return cse;
  }
}

/** A resource as one entry of a `held` line. */
export interface HeldResource {
  readonly cse: string;
  readonly path: string;
  readonly type: number;
  readonly labels: readonly string[];
  readonly arrivalMs: number;
  readonly content?: unknown;
}

/** A resource of a CSE as one entry. */
export function describeResource(
  cse: string,
  { path, resourceType, attributes, arrivalMs }: ResourceDump,
): HeldResource {
  const { labels, content } = attributes;
  return {
    cse,
    path,
    type: resourceType,
    labels: Array.isArray(labels) ? labels.map(String) : [],
    arrivalMs,
    ...(content === undefined ? {} : { content }),
  };
}

/** Replaces the rules of a CSE; returns how often those before have hit. */
function misbehave({ misbehaviour }: TestbedCse, rules: readonly MisbehaviourRule[]): number {
  const { hits } = misbehaviour;
  misbehaviour.clear();
  for (const rule of rules) misbehaviour.add(rule);
  return hits;
}

function parseRules(value: unknown): MisbehaviourRule[] {
  if (!Array.isArray(value))
    throw new DecodeError('misbehave needs "rules": a list of rules, or an empty one');
  return value.map((rule: unknown) => {
    const { action } = (rule ?? {}) as { action?: { kind?: unknown } };
    if (typeof action?.kind !== 'string')
      throw new DecodeError(`a rule needs an action like {"kind":"dropAnswer"}, got ${JSON.stringify(rule)}`);
    return rule as MisbehaviourRule;
  });
}

function parseCommand(line: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new DecodeError(`command is not JSON: ${errorText(cause)}`, { cause });
  }
  if (typeof value !== 'object' || value === null)
    throw new DecodeError('a command is an object like {"cmd":"go"}');
  return value as Record<string, unknown>;
}

function parseOptions(args: readonly string[]): Arguments {
  const { values } = parseArgs({
    args: [...args],
    options: {
      'mn': { type: 'string', multiple: true, default: ['mn1', 'mn2', 'mn3'] },
      'rtt-ms': { type: 'string', default: '40' },
      'seed': { type: 'string', default: '1' },
      'drive': { type: 'string', default: 'ring' },
      'seconds': { type: 'string', default: '60' },
      'gateway-port': { type: 'string', default: '0' },
      'transport': { type: 'string', default: 'coap' },
    },
  });
  return {
    mns: values.mn,
    rttMs: parseCount('rtt-ms', values['rtt-ms']),
    seed: parseCount('seed', values.seed),
    drive: values.drive,
    seconds: parseCount('seconds', values.seconds),
    gatewayPort: parseCount('gateway-port', values['gateway-port']),
    transport: parseTransport(values.transport),
  };
}

/** The transport of this name; throws `UsageError` that tells the valid ones. */
export function parseTransport(text: string): TestbedTransport {
  const known = testbedTransports.find((transport) => transport === text);
  if (known === undefined)
    throw new UsageError(`--transport ${text}: ${didYouMean(text, testbedTransports)}`);
  return known;
}

/** Runs the process until its standard input ends. */
export async function runCseHost(): Promise<void> {
  let queue = Promise.resolve();
  let cses: CseHost | undefined;
  let channel: ParentChannel | undefined;
  await new Promise<void>((resolve, reject) => {
    channel = openParentChannel({
      onLine: (line) => {
        queue = queue
          .then(() => cses?.obey(line))
          .catch((error: unknown) => channel?.writeLine(JSON.stringify({ error: errorText(error) })));
      },
      onEnd: resolve,
    });
    cses = new CseHost(createNodeHost(), parseOptions(channel.args), channel);
    queue = cses.start().catch(reject);
  });
  await queue;
  await cses?.stop();
}

if (isMainModule(import.meta.url)) {
  try {
    await runCseHost();
  } catch (error) {
    console.error(errorText(error));
    setExitCode(2);
  }
}
