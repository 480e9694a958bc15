/**
 * An access link between two interfaces: every frame of one comes out of the other with the delay, jitter, loss and rate of its
 * direction. Beside these it can do what networks do to a gateway on top of IPv4: drop a port (a name server that is dead),
 * translate source ports (a NAT, which may forget and choose others), and answer in everybody's place (a captive portal).
 */
import { assert } from '../../base/assert.ts';
import type { Clock } from '../../host/clock.ts';
import type { Entropy } from '../../host/entropy.ts';
import { ConditionedPath } from './conditioned-path.ts';
import type { PathConditions, PathCounters } from './conditioned-path.ts';
import { parseDatagram, portalAnswer, withPort } from './ipv4-frame.ts';

/** One end of the link. */
export interface FrameEnd {
  write(frame: Uint8Array): boolean;
  onFrame(handler: (frame: Uint8Array) => void): void;
}

/** `up` leads from the gateway to the network. */
export type LinkDirection = 'up' | 'down';

/** What the network does beside carrying frames. */
export interface LinkManners {
  /** UDP and TCP ports to which nothing gets through. */
  readonly deadPorts: readonly number[];
  /** Added to the source port of what goes up, and taken from the target port of what comes down; 0 leaves them alone. */
  readonly portShift: number;
  /** True: UDP that goes up is answered by a portal and goes nowhere. */
  readonly isCaptive: boolean;
}

const goodManners: LinkManners = { deadPorts: [], portShift: 0, isCaptive: false };

/** A running link. */
export class LinkEmulator {
  readonly #paths: Readonly<Record<LinkDirection, ConditionedPath<Uint8Array>>>;
  #manners: LinkManners = goodManners;

  constructor(options: {
    clock: Clock;
    entropy: Entropy;
    gatewayEnd: FrameEnd;
    networkEnd: FrameEnd;
    conditions?: Partial<PathConditions>;
  }) {
    const { clock, entropy, gatewayEnd, networkEnd, conditions = {} } = options;
    const create = (to: FrameEnd): ConditionedPath<Uint8Array> => {
      const path: ConditionedPath<Uint8Array> = new ConditionedPath({
        clock,
        entropy,
        conditions,
        bytesOf: (frame) => frame.length,
        deliver: (frame) => {
          if (to.write(frame)) path.counters.delivered++;
          else path.counters.unsent++;
        },
      });
      return path;
    };
    this.#paths = { up: create(networkEnd), down: create(gatewayEnd) };
    gatewayEnd.onFrame((frame) => this.#takeUp(frame));
    networkEnd.onFrame((frame) => this.#takeDown(frame));
  }

  /** Changes conditions of one direction, or of both; what is not named stays. */
  setConditions(changes: Partial<PathConditions>, direction?: LinkDirection): void {
    for (const path of direction === undefined ? Object.values(this.#paths) : [this.#paths[direction]]) {
      path.setConditions(changes);
    }
  }

  /** Changes manners; what is not named stays. */
  setManners(changes: Partial<LinkManners>): void {
    this.#manners = { ...this.#manners, ...changes };
    assert(Math.abs(this.#manners.portShift) < 10_000, `a port shift of ${this.#manners.portShift}`);
  }

  counters(direction: LinkDirection): PathCounters {
    return { ...this.#paths[direction].counters };
  }

  #takeUp(frame: Uint8Array): void {
    const { deadPorts, portShift, isCaptive } = this.#manners;
    const datagram = parseDatagram(frame);
    if (datagram === undefined) return this.#paths.up.pass(frame);
    if (deadPorts.includes(datagram.targetPort)) return;
    if (isCaptive) {
      const answer = portalAnswer(frame, datagram);
      if (answer !== undefined) this.#paths.down.pass(answer);
      return;
    }
    this.#paths.up.pass(
      portShift === 0 ? frame : withPort(frame, datagram, 'source', datagram.sourcePort + portShift),
    );
  }

  #takeDown(frame: Uint8Array): void {
    const { portShift } = this.#manners;
    const datagram = portShift === 0 ? undefined : parseDatagram(frame);
    // What is sent to a port of the mapping before lands on a port of the gateway that nobody listens to, as behind a NAT.
    if (datagram === undefined) return this.#paths.down.pass(frame);
    this.#paths.down.pass(withPort(frame, datagram, 'target', datagram.targetPort - portShift));
  }
}
