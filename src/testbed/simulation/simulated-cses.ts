import { assert } from '../../base/assert.ts';
import { millis } from '../../base/units.ts';
import { homeAeOf, provisionHomeAe } from '../../handover/home-ae.ts';
import type { Clock } from '../../host/clock.ts';
import { CseClient } from '../../onem2m/cse-client.ts';
import { err, ok } from '../../base/result.ts';
import { CseType, Operation, ResourceType } from '../../onem2m/enums.ts';
import type { RequestPrimitive, ResponsePrimitive } from '../../onem2m/primitives.ts';
import type { PrimitiveContent } from '../../onem2m/resources.ts';
import type { CseEvent } from '../cse/cse-core.ts';
import type { CseTransport } from '../cse/cse-transport.ts';
import type { MisbehaviourAction } from '../cse/misbehaviour.ts';
import { TestbedCse } from '../cse/testbed-cse.ts';
import { OwnCoapTransport } from '../cse/transports/own-coap-transport.ts';
import type { SeededEntropy } from '../seeded-entropy.ts';
import type { Draw } from './draw.ts';
import type { SimulatedNetwork } from './simulated-network.ts';

const operator = 'COperator';
const coapPort = 5683;

/** What the CSEs of a run are made of. */
export interface SimulatedCsesOptions {
  readonly clock: Clock;
  readonly entropy: SeededEntropy;
  readonly network: SimulatedNetwork;
  readonly device: string;
  readonly mnCount: number;
  /** Labels of the cells that an MN-CSE covers. */
  readonly cellsOf: (index: number) => readonly string[];
  /** The CSEs send no notification. */
  readonly isSilent: boolean;
  readonly onEvent: (event: CseEvent) => void;
  /** A CSE that was down starts again without what it held. */
  readonly onForgot: (cseId: string) => void;
  /** Stands between a CSE and its network, for a mutant. */
  readonly wrapTransport?: (cseId: string, transport: CseTransport) => CseTransport;
}

interface Member {
  readonly cse: TestbedCse;
  readonly address: string;
  /** How it comes back when it is down. */
  keepsState: boolean;
  isStarting: boolean;
}

/** The IN-CSE and its MN-CSEs, on a simulated network; they end and come back, and an operator has rights at all of them. */
export class SimulatedCses {
  readonly #options: SimulatedCsesOptions;
  readonly #members: readonly Member[];
  #requests = 0;

  constructor(options: SimulatedCsesOptions) {
    this.#options = options;
    this.#members = Array.from({ length: options.mnCount + 1 }, (_, index) => this.#make(index));
  }

  /** Addresses, the IN-CSE first. */
  get addresses(): readonly string[] {
    return this.#members.map(({ address }) => address);
  }

  get cseIds(): readonly string[] {
    return this.#members.map(({ cse }) => cse.settings.cseId);
  }

  get all(): readonly TestbedCse[] {
    return this.#members.map(({ cse }) => cse);
  }

  /** Where the IN-CSE is reached. */
  get inPointOfAccess(): string {
    return `coap://${this.#members[0]?.address ?? ''}:${coapPort}`;
  }

  find(cseId: string): TestbedCse | undefined {
    return this.all.find(({ settings }) => settings.cseId === cseId);
  }

  async start(): Promise<void> {
    for (const { cse } of this.#members) await cse.start();
  }

  /** Ends a CSE now; it comes back when `downMs` have passed. */
  crash(index: number, downMs: number, keepsState: boolean): void {
    const member = this.#members[index];
    if (member?.cse.isRunning !== true) return;
    member.keepsState = keepsState;
    void member.cse.crash();
    this.#options.clock.schedule(millis(downMs), () => this.#restart(member));
  }

  /** Every CSE that is down comes back. */
  heal(): void {
    for (const member of this.#members) this.#restart(member);
  }

  /** Makes a CSE misbehave until the returned function is called. */
  disturb(index: number, how: 'slow' | 'wrong', draw: Draw): () => void {
    const member = this.#members[index];
    assert(member !== undefined, `there is no CSE ${index}`);
    const action: MisbehaviourAction =
      how === 'slow'
        ? { kind: 'delay', delayMs: millis(draw.spread(50, 4000)), jitterMs: millis(draw.spread(1, 2000)) }
        : wrongAction(draw);
    const probability = action.kind === 'crash' ? 0.1 : draw.spread(0.05, 0.9);
    return member.cse.misbehaviour.add({ action, probability });
  }

  /** Registers the home AE of the gateway, as an operator does once. */
  async provision(): Promise<void> {
    const home = homeAeOf(this.#options.device, 'cse-in');
    const client = new CseClient({
      originator: home.aeId,
      entropy: this.#options.entropy.fork('operator'),
      deadlineMs: millis(1000),
      binding: {
        send: async (request) => {
          const answer = await this.#members[0]?.cse.handle(request, { serialisation: 'cbor' });
          return answer === undefined ? err({ kind: 'deadline', message: 'no answer' }) : ok(answer);
        },
        close: () => Promise.resolve(),
      },
    });
    const rights = { operators: [operator], gatewayAeId: `S${this.#options.device}` };
    const provisioned = await provisionHomeAe(client, home, 'cse-in', rights);
    assert(provisioned.ok, 'the home AE cannot be made');
  }

  /** Creates an instance as somebody who stands beside the CSE; undefined when it does not answer. */
  async createInstance(
    cseId: string,
    container: string,
    content: PrimitiveContent['contentInstance'],
    from: string = operator,
  ): Promise<ResponsePrimitive | undefined> {
    const request: RequestPrimitive = {
      operation: Operation.create,
      to: container,
      from,
      requestIdentifier: `direct-${++this.#requests}`,
      releaseVersionIndicator: '4',
      resourceType: ResourceType.contentInstance,
      primitiveContent: { contentInstance: content ?? {} },
    };
    return this.find(cseId)?.handle(request, { serialisation: 'cbor' });
  }

  #make(index: number): Member {
    const { clock, entropy, network, device, cellsOf, isSilent, wrapTransport } = this.#options;
    const name = index === 0 ? 'in' : `mn${index}`;
    const cseId = `/id-${name}`;
    const address = `10.0.0.${index + 1}`;
    const own = entropy.fork(name);
    const transport: CseTransport = new OwnCoapTransport({
      network: network.station(address),
      clock,
      entropy: own.fork('coap'),
      address,
      port: coapPort,
    });
    const inCse = { cseId: '/id-in', pointOfAccess: `coap://10.0.0.1:${coapPort}`, cseBaseName: 'cse-in' };
    const cse = new TestbedCse({
      cseId,
      cseBaseName: `cse-${name}`,
      cseType: index === 0 ? CseType.inCse : CseType.mnCse,
      spId: '//sp.example',
      adminOriginator: operator,
      clock,
      entropy: own,
      transports: [wrapTransport?.(cseId, transport) ?? transport],
      remoteCseReaders: [homeAeOf(device, 'cse-in').aeId],
      serialisation: 'cbor',
      ...(index === 0 ? {} : { labels: ['baton:target', ...cellsOf(index)], registrar: inCse }),
      onEvent: (event) => this.#see(member, event),
    });
    if (isSilent) {
      cse.misbehaviour.add({
        direction: 'outgoing',
        operation: Operation.notify,
        action: { kind: 'dropRequest' },
      });
    }
    const member: Member = { cse, address, keepsState: true, isStarting: false };
    return member;
  }

  #see(member: Member, event: CseEvent): void {
    this.#options.onEvent(event);
    // A crash that a misbehaviour brought about has nobody else who ends it.
    if (event.kind === 'crashed') {
      this.#options.clock.schedule(millis(20_000), () => this.#restart(member));
    }
  }

  #restart(member: Member): void {
    if (member.cse.isRunning || member.isStarting) return;
    member.isStarting = true;
    const { keepsState } = member;
    member.keepsState = true;
    if (!keepsState) this.#options.onForgot(member.cse.settings.cseId);
    void member.cse.restart({ keepState: keepsState }).finally(() => (member.isStarting = false));
  }
}

function wrongAction(draw: Draw): MisbehaviourAction {
  return draw.pick<() => MisbehaviourAction>([
    () => ({ kind: 'answer', responseStatusCode: draw.pick([5000, 5103, 4008]) }),
    () => ({ kind: 'dropRequest' }),
    () => ({ kind: 'dropAnswer' }),
    () => ({ kind: 'wrongIdentifier' }),
    () => ({ kind: 'corrupt', corruption: draw.pick(['missingStatusCode', 'garbageBody'] as const) }),
    () => ({ kind: 'crash', when: draw.pick(['beforeExecution', 'afterExecution'] as const) }),
  ])();
}
