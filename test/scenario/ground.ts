// What a scenario of a handover stands on: an IN-CSE and MN-CSEs on real sockets, each behind a relay that belongs to this
// scenario alone, whoever made the CSEs. A scenario is written against this and nothing else, so that the same one tries the
// testbed's CSEs and foreign ones.
import { assert } from '../../src/base/assert.ts';
import { millis } from '../../src/base/units.ts';
import type { Millis } from '../../src/base/units.ts';
import type { Host } from '../../src/host/host.ts';
import type { SocketAddress } from '../../src/host/network.ts';
import { formatPointOfAccess } from '../../src/onem2m/address.ts';
import type { CseClient } from '../../src/onem2m/cse-client.ts';
import type { HeldResource } from '../../src/testbed/drive/cse-host-process.ts';
import { UdpRelay } from '../../src/testbed/network/udp-relay.ts';
import { speakingOverCoap } from '../real/speaking.ts';

/** Whose CSEs. */
export type CseMaker = 'testbed' | 'acme';

/** An MN-CSE that stays up; one that the scenario may kill; one at which no AE may register. */
export type SeatKind = 'lasting' | 'mortal' | 'closed';

/** Originator with the rights of an operator at every CSE. */
export const operatorOriginator = 'CAdmin';

/** What can be done to the CSE itself. */
export interface CseControl {
  /** Where the CSE itself answers. */
  readonly address: SocketAddress;
  kill(): Promise<void>;
  /** Resolves when it answers again; `keepState` says with what it had. */
  restart(keepState: boolean): Promise<void>;
}

/** A CSE as one scenario sees it. */
export class Seat {
  /** `in`, `mn1` … */
  readonly name: string;
  readonly #host: Host;
  readonly #control: CseControl;
  readonly #relay: UdpRelay;
  #isAlive = true;

  private constructor(name: string, host: Host, control: CseControl, relay: UdpRelay) {
    this.name = name;
    this.#host = host;
    this.#control = control;
    this.#relay = relay;
  }

  static async open(name: string, host: Host, control: CseControl): Promise<Seat> {
    const { network, clock, entropy } = host;
    const listen = { localAddress: '127.0.0.1' };
    const relay = await UdpRelay.open({ network, clock, entropy, listen, target: control.address });
    return new Seat(name, host, control, relay);
  }

  get cseId(): string {
    return `/id-${this.name}`;
  }

  get cseBaseName(): string {
    return `cse-${this.name}`;
  }

  /** Where the gateway reaches it, through the relay. */
  get pointOfAccess(): string {
    const { address, port } = this.#relay.local;
    return formatPointOfAccess('coap', address, port);
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  /** Whether the gateway's datagrams and the answers to them get through. */
  setReachable(isReachable: boolean): void {
    this.#relay.setConditions({ blackhole: !isReachable });
  }

  /** Time that a datagram of the gateway takes, and an answer. */
  setDelayMs(delayMs: number): void {
    this.#relay.setConditions({ delayMs });
  }

  /** Silent at once, then dead. */
  async die(): Promise<void> {
    assert(this.#isAlive, `${this.name} is alive`);
    this.setReachable(false);
    this.#isAlive = false;
    await this.#control.kill();
  }

  /** Up again, with what it had or with nothing. */
  async rise(keepState: boolean): Promise<void> {
    await this.#control.restart(keepState);
    this.#isAlive = true;
    this.setReachable(true);
  }

  /** Lets `work` speak to the CSE itself, past the relay, as the operator or whom else. */
  speaking<T>(work: (client: CseClient) => Promise<T>, originator: string = operatorOriginator): Promise<T> {
    return speakingOverCoap(this.#host, this.#control.address, originator, work);
  }

  /** Leaves the CSE as it was found, and frees the relay. */
  async close(): Promise<void> {
    await this.#relay.close();
    if (!this.#isAlive) await this.#control.restart(false);
  }
}

/** The CSEs of one scenario. */
export interface Ground {
  readonly inCse: Seat;
  /** In the order asked for. */
  readonly mns: readonly Seat[];
  /** Everything at and below the AEs of these names at every CSE that is alive; arrivals on the clock of this process. */
  held(names: readonly string[]): Promise<HeldResource[]>;
  close(): Promise<void>;
}

/** Where grounds come from. */
export interface World {
  readonly maker: CseMaker;
  /** Waits until CSEs of these kinds are free. */
  open(kinds: readonly SeatKind[]): Promise<Ground>;
  close(): Promise<void>;
}

/** Time in which a process under test comes to rest on a machine that has other things to do. */
export const settleMs: Millis = millis(60_000);
