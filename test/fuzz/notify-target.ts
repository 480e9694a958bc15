import { LimitError } from '../../src/base/errors.ts';
import { ok } from '../../src/base/result.ts';
import { serveRequests } from '../../src/coap/coap-binding.ts';
import type { Actuator } from '../../src/downlink/actuator.ts';
import type { CommandMark, CommandMemory } from '../../src/downlink/command-ledger.ts';
import { waitingMax } from '../../src/downlink/command-lanes.ts';
import { gatewayTarget } from '../../src/downlink/command.ts';
import { Downlink } from '../../src/downlink/downlink.ts';
import { MqttExchange } from '../../src/mqtt/mqtt-exchange.ts';
import type { MqttMessage, MqttSession } from '../../src/mqtt/mqtt-session.ts';
import { OctetWriter, bodyOctets } from './bodies.ts';
import { generateCoap } from './coap-generator.ts';
import { CoapWorld } from './coap-world.ts';
import { mutate } from './mutate.ts';
import { expect } from './target.ts';
import type { Dice, Input, Size, Subject, Target } from './target.ts';

/**
 * Notifications on their whole way: from a datagram, or from a payload of the MQTT binding, to the command that is kept
 * and carried out once. A channel is the number of a CoAP peer, or `mqtt` and a serialisation.
 */
export const notifyTarget: Target = {
  name: 'notify',
  open: () => new NotificationSubject(),
  generate: (dice) => generate(dice),
};

const marksMax = 6_000;

function generate(dice: Dice): () => Input {
  const datagrams = generateCoap(dice, { kind: 'notification', hasClient: false });
  const writer = new OctetWriter();
  return () => {
    if (!dice.oneIn(4)) return datagrams();
    const format = dice.oneIn(3) ? 'json' : 'cbor';
    const data = bodyOctets(dice, writer, 'request', format);
    return { channel: `mqtt ${format}`, data: dice.oneIn(3) ? mutate(dice, data) : data };
  };
}

/** Memory of commands with a bound, as a real one has it. */
class BoundedMemory implements CommandMemory {
  marks: CommandMark[] = [];

  entries(): readonly CommandMark[] {
    return this.marks;
  }

  append(mark: CommandMark): Promise<void> {
    if (this.marks.length >= marksMax) return Promise.reject(new LimitError('no room for commands'));
    this.marks.push(mark);
    return Promise.resolve();
  }

  compact(keep: (mark: CommandMark) => boolean): Promise<void> {
    this.marks = this.marks.filter(keep);
    return Promise.resolve();
  }
}

class NotificationSubject implements Subject {
  readonly #world = new CoapWorld();
  readonly #memory = new BoundedMemory();
  readonly #downlink: Downlink;
  readonly #mqtt: MqttExchange;
  readonly #running = new Set<string>();
  #receive: (message: MqttMessage) => void = () => undefined;
  #isTwiceAtOnce = false;
  #hasFailed = false;
  #pauses = 0;
  #count = 0;

  constructor() {
    this.#downlink = new Downlink({
      clock: this.#world.clock,
      memory: this.#memory,
      actuators: new Map([[gatewayTarget, this.#actuator()]]),
      store: () => {
        if (++this.#count % 256 !== 0) return Promise.resolve();
        this.#hasFailed = true;
        return Promise.reject(new Error('the disk is full'));
      },
      onAlarm: () => undefined,
    });
    serveRequests(this.#world.endpoint, (request) => this.#downlink.handle(request));
    const session = {
      onMessage: (handler: (message: MqttMessage) => void) => (this.#receive = handler),
      publish: () => Promise.resolve(ok(undefined)),
    };
    this.#mqtt = new MqttExchange({ session: session as unknown as MqttSession, clock: this.#world.clock });
    this.#mqtt.onRequest((request) => this.#downlink.handle(request));
  }

  #actuator(): Actuator {
    return {
      afterCrash: 'report',
      perform: async ({ id }) => {
        this.#isTwiceAtOnce ||= this.#running.has(id);
        this.#running.add(id);
        await Promise.resolve();
        this.#running.delete(id);
        return { status: 'done' };
      },
    };
  }

  feed(input: Input): void {
    const [way, format] = input.channel.split(' ');
    if (way !== 'mqtt') this.#world.feed(input);
    else this.#receive({ topic: `/oneM2M/req/id-mn1/Cgw1/${format}`, payload: input.data });
  }

  async settle(): Promise<void> {
    await this.#world.settle();
    expect(!this.#isTwiceAtOnce, 'a command is carried out twice at once');
    // A result that cannot be stored holds up those behind it; some wait at the next try.
    if (this.#hasFailed && ++this.#pauses % 8 === 0) {
      this.#hasFailed = false;
      this.#downlink.retryFailed();
    }
  }

  sizes(): readonly Size[] {
    const { received, executed, expired } = this.#downlink.figures;
    return [
      ...this.#world.sizes(),
      { name: 'kept marks', value: this.#memory.marks.length, max: marksMax },
      // Each execution follows a reception; only what the disk has held up, and what came after it, waits.
      { name: 'waiting commands', value: received - executed - expired, max: waitingMax },
    ];
  }

  reached(): Readonly<Record<string, number>> {
    const { asksAnswered: _, ...reached } = this.#world.reached;
    return { ...this.#downlink.figures, ...reached };
  }

  close(): Promise<void> {
    return this.#world.close();
  }
}
