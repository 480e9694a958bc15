// An IN-CSE and two MN-CSEs over a network in memory and a clock that stands still until somebody waits.
import { millis } from '../../src/base/units.ts';
import type { Millis } from '../../src/base/units.ts';
import { sleep } from '../../src/host/clock.ts';
import { CseClient } from '../../src/onem2m/cse-client.ts';
import { CseType } from '../../src/onem2m/enums.ts';
import type { CseEvent } from '../../src/testbed/cse/cse-core.ts';
import { MemoryNetwork } from '../../src/testbed/cse/memory-transport.ts';
import { TestbedCse } from '../../src/testbed/cse/testbed-cse.ts';
import type { TestbedCseOptions } from '../../src/testbed/cse/testbed-cse.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';
import type { CseName } from './cse-contract-bench.ts';

export const adminOriginator = 'CAdmin';

/** Points of access, one of them in the form that real transports use. */
export const pointsOfAccess: Readonly<Record<CseName, string>> = {
  in: 'coap://192.0.2.1:5683',
  mn1: 'mem://mn1',
  mn2: 'mem://mn2',
};

/** The world of one test; `until` is the only thing that lets time pass. */
export class CseWorld {
  readonly clock: SimulatedClock = new SimulatedClock();
  readonly entropy: SeededEntropy;
  readonly network: MemoryNetwork;
  readonly cses: Readonly<Record<CseName, TestbedCse>>;
  readonly events: CseEvent[] = [];
  readonly #waiting = new Set<Promise<unknown>>();
  #isDriving = false;

  constructor(options: { seed: number; latencyMs?: Millis; settings?: Partial<TestbedCseOptions> }) {
    this.entropy = new SeededEntropy(options.seed);
    this.network = new MemoryNetwork({ clock: this.clock, latencyMs: options.latencyMs ?? millis(1) });
    const make = (name: CseName): TestbedCse =>
      new TestbedCse({
        cseId: `/id-${name}`,
        cseBaseName: `cse-${name}`,
        cseType: name === 'in' ? CseType.inCse : CseType.mnCse,
        spId: '//sp.example',
        adminOriginator,
        clock: this.clock,
        entropy: this.entropy.fork(name),
        transports: [this.network.transport(pointsOfAccess[name])],
        labels: name === 'in' ? [] : ['baton:target'],
        ...(name === 'in'
          ? {}
          : { registrar: { cseId: '/id-in', pointOfAccess: pointsOfAccess.in, cseBaseName: 'cse-in' } }),
        onEvent: (event) => this.events.push(event),
        ...options.settings,
      });
    this.cses = { in: make('in'), mn1: make('mn1'), mn2: make('mn2') };
  }

  /** Starts all three and waits until both MN-CSEs are registered. */
  async start(): Promise<void> {
    for (const cse of Object.values(this.cses)) await cse.start();
    await this.wait(100);
  }

  async stop(): Promise<void> {
    for (const cse of Object.values(this.cses)) await cse.stop();
  }

  /** Settles like `work`, letting time pass meanwhile. */
  until<T>(work: Promise<T>): Promise<T> {
    this.#waiting.add(work);
    const forget = (): void => void this.#waiting.delete(work);
    work.then(forget, forget);
    void this.#drive();
    return work;
  }

  wait(durationMs: number): Promise<void> {
    return this.until(sleep(this.clock, millis(durationMs)));
  }

  /** A client whose requests let time pass until they are answered. */
  client(originator: string, cse: CseName, deadlineMs = 30_000): CseClient {
    const binding = this.network.binding(pointsOfAccess[cse]);
    return new CseClient({
      originator,
      entropy: this.entropy.fork(`${originator}-${this.entropy.uint32()}`),
      deadlineMs: millis(deadlineMs),
      binding: {
        send: (request, options) => this.until(binding.send(request, options)),
        close: () => binding.close(),
      },
    });
  }

  async #drive(): Promise<void> {
    if (this.#isDriving) return;
    this.#isDriving = true;
    try {
      while (this.#waiting.size > 0) {
        await this.clock.advanceUntil(Promise.race(this.#waiting).catch(() => undefined));
        await Promise.resolve();
      }
    } finally {
      this.#isDriving = false;
    }
  }
}
