import { err, ok } from '../../src/base/result.ts';
import type { Result } from '../../src/base/result.ts';
import { millis } from '../../src/base/units.ts';
import { MqttExchange } from '../../src/mqtt/mqtt-exchange.ts';
import type { MqttRoute } from '../../src/mqtt/mqtt-exchange.ts';
import type { MqttMessage, MqttSession } from '../../src/mqtt/mqtt-session.ts';
import { PacketGuard } from '../../src/mqtt/packet-guard.ts';
import { buildTopic, parseTopic } from '../../src/mqtt/topics.ts';
import { settle, sleep } from '../../src/host/clock.ts';
import type { DeliveryError } from '../../src/onem2m/binding.ts';
import { decodeBody, decodeRequest, decodeResponse } from '../../src/onem2m/serialisation.ts';
import type { ResponsePrimitive } from '../../src/onem2m/primitives.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';
import { OctetWriter, bodyOctets } from './bodies.ts';
import { mutate } from './mutate.ts';
import { expect, fateOf } from './target.ts';
import type { Dice, Input, Size, Subject, Target } from './target.ts';

/**
 * The MQTT binding behind its session: topics, payloads in both directions, and the guard on the length of packets. A
 * channel is a topic, after `retained ` that of a message which the broker kept; `ask` opens a request, `packets` is what
 * the guard sees of a connection.
 */
export const mqttTarget: Target = {
  name: 'mqtt',
  open: () => new ExchangeSubject(),
  generate: (dice) => generate(dice),
};

const asksMax = 8;
const askDeadlineMs = 400;
const handlingMax = 64;
const guardBytesMax = 131_072;
const retainedMark = 'retained ';
const answerRoute: MqttRoute = {
  prefix: '',
  kind: 'req',
  originator: 'Cgw1',
  receiver: 'id-mn1',
  serialisation: 'cbor',
};

const accepted: Promise<Result<void, DeliveryError>> = Promise.resolve(ok(undefined));
const refused: Promise<Result<void, DeliveryError>> = Promise.resolve(err({ kind: 'reset', message: 'no' }));

function generate(dice: Dice): () => Input {
  const writer = new OctetWriter();
  const recent: Input[] = [];
  return () => {
    const choice = dice.below(16);
    if (choice === 0) return { channel: 'ask', data: Uint8Array.of(dice.below(8)) };
    if (choice === 1) return { channel: 'packets', data: packets(dice, writer) };
    const before = choice < 8 && recent.length > 0 ? dice.pick(recent) : undefined;
    if (before !== undefined) return dice.oneIn(4) ? before : { ...before, data: mutate(dice, before.data) };
    const isAnswer = dice.oneIn(2);
    const format = dice.oneIn(3) ? 'json' : 'cbor';
    const data = dice.oneIn(16)
      ? dice.bytes(dice.below(64))
      : bodyOctets(dice, writer, isAnswer ? 'response' : 'request', format);
    const kept = dice.oneIn(64) ? retainedMark : '';
    const input = { channel: `${kept}${topic(dice, isAnswer, format)}`, data };
    if (data.length < 4_096) recent[recent.length < 64 ? recent.length : dice.below(64)] = input;
    return input;
  };
}

function topic(dice: Dice, isAnswer: boolean, format: string): string {
  const kind = dice.oneIn(16) ? dice.pick(['reg_req', 'reg_resp', 'x', '']) : isAnswer ? 'resp' : 'req';
  const level = (usual: string): string =>
    dice.oneIn(16) ? dice.pick(['', '+', 'ü', ':a:b', 'x'.repeat(300)]) : usual;
  const prefix = dice.oneIn(16) ? dice.pick(['a/b', '/', 'oneM2M/req']) : '';
  const text = `${prefix}/${dice.oneIn(64) ? 'onem2m' : 'oneM2M'}/${kind}/${level('Cgw1')}/${level('id-mn1')}/${format}`;
  return dice.oneIn(64) ? text.slice(0, dice.below(text.length)) : text;
}

/** Packets one after the other, some of which announce too much; the first octet says how the stream is cut. */
function packets(dice: Dice, writer: OctetWriter): Uint8Array {
  writer.reset();
  writer.octet(1 + dice.below(9));
  for (let count = dice.below(6); count > 0; count--) {
    writer.octet(dice.uint32());
    const length = dice.oneIn(12)
      ? dice.pick([guardBytesMax, guardBytesMax + 1, 2 ** 28 - 1])
      : dice.below(300);
    let rest = length;
    do {
      const isLast = rest < 128 && !dice.oneIn(64);
      writer.octet((rest % 128) + (isLast ? 0 : 128));
      rest = isLast ? -1 : Math.floor(rest / 128);
    } while (rest >= 0);
    for (let index = 0; index < Math.min(length, 300); index++) writer.octet(255);
  }
  const octets = writer.take();
  return dice.oneIn(4) ? mutate(dice, octets) : octets;
}

class ExchangeSubject implements Subject {
  readonly #clock = new SimulatedClock();
  readonly #exchange: MqttExchange;
  readonly #asks = new Map<string, number>();
  #receive: (message: MqttMessage) => void = () => undefined;
  #reached = { handled: 0, published: 0, answeredAsks: 0, guardRefused: 0, guardPassed: 0 };
  #broken: Error | undefined;
  #refused = 0;
  #running = 0;
  #turns = 0;

  constructor() {
    const session = {
      onMessage: (handler: (message: MqttMessage) => void) => (this.#receive = handler),
      publish: (...message: [string, Uint8Array]) => this.#published(...message),
    };
    this.#exchange = new MqttExchange({
      session: session as unknown as MqttSession,
      clock: this.#clock,
      handlingMax,
      outstandingMax: asksMax,
    });
    this.#exchange.onRequest(async (request) => {
      this.#reached.handled++;
      this.#running++;
      try {
        const fate = fateOf(request.requestIdentifier);
        if (fate === 1) throw new Error('the handler broke');
        if (fate < 6) await sleep(this.#clock, millis(fate * 100));
        const { requestIdentifier, primitiveContent } = request;
        const answer: ResponsePrimitive = { responseStatusCode: 2000, requestIdentifier };
        return primitiveContent === undefined ? answer : { ...answer, primitiveContent };
      } finally {
        this.#running--;
      }
    });
  }

  feed({ channel, data }: Input): void {
    if (channel === 'ask') this.#ask(`o${(data[0] ?? 0) % 8}`);
    else if (channel === 'packets') this.#guard(data);
    else {
      const isRetained = channel.startsWith(retainedMark);
      const topic = isRetained ? channel.slice(retainedMark.length) : channel;
      const parsed = parseTopic(topic);
      if (parsed !== undefined) expect(buildTopic(parsed) === topic, 'a topic is not built as it was read');
      this.#receive({ topic, payload: data, isRetained });
    }
  }

  /** What leaves is a primitive on a topic of oneM2M. */
  #published(topicText: string, payload: Uint8Array): Promise<Result<void, DeliveryError>> {
    this.#reached.published++;
    try {
      const parsed = parseTopic(topicText);
      expect(parsed !== undefined, 'published on a topic that is none');
      if (payload.length < 8_192) {
        const wire = decodeBody(payload, parsed.serialisation);
        if (parsed.kind === 'req') decodeRequest(wire);
        else decodeResponse(wire);
      }
    } catch (error) {
      // Thrown here, it would be taken for a broker that refuses.
      this.#broken ??= error instanceof Error ? error : new Error(String(error));
    }
    if (this.#reached.published % 64 !== 0) return accepted;
    this.#refused++;
    return refused;
  }

  #ask(requestIdentifier: string): void {
    if (this.#asks.has(requestIdentifier)) return;
    this.#asks.set(requestIdentifier, this.#clock.monotonicMs() + askDeadlineMs);
    const request = { operation: 2, to: 'cse-mn1', from: 'Cgw1', requestIdentifier } as const;
    const deadlineMs = millis(askDeadlineMs);
    void this.#exchange.request(answerRoute, request, { deadlineMs }).then((result) => {
      this.#asks.delete(requestIdentifier);
      if (result.ok) this.#reached.answeredAsks++;
    });
  }

  /** The guard gives one verdict however the stream is cut, and the one that reading the headers gives. */
  #guard(data: Uint8Array): void {
    const stream = data.subarray(1);
    const piece = Math.max(1, data[0] ?? 1);
    const guard = new PacketGuard(guardBytesMax);
    let accepts = true;
    for (let at = 0; at < stream.length && accepts; at += piece)
      accepts = guard.accepts(stream.subarray(at, at + piece));
    expect(accepts === isWithin(stream), `cut every ${piece} octets the guard says ${accepts}`);
    if (accepts) this.#reached.guardPassed++;
    else this.#reached.guardRefused++;
  }

  async settle(): Promise<void> {
    await settle();
    if (++this.#turns % 8 === 0) await this.#clock.advance(this.#turns % 1024 === 0 ? 61_000 : 5);
    if (this.#broken !== undefined) throw this.#broken;
    // Only what the broker refused stays unsent: whoever asked would wait in vain.
    expect(this.#exchange.counters.unsentAnswer <= this.#refused, 'a request is not answered');
    const nowMs = this.#clock.monotonicMs();
    for (const endMs of this.#asks.values()) expect(nowMs <= endMs, 'a request outlived its deadline');
  }

  sizes(): readonly Size[] {
    return [
      { name: 'running handlers', value: this.#running, max: handlingMax },
      { name: 'timers', value: this.#clock.pendingCount, max: asksMax + handlingMax },
    ];
  }

  reached(): Readonly<Record<string, number>> {
    return { ...this.#exchange.counters, ...this.#reached };
  }

  async close(): Promise<void> {
    this.#exchange.fail({ kind: 'closed', message: 'closed' });
    await settle();
    expect(this.#asks.size === 0, 'a request is open after the end');
  }
}

/** Reads the fixed headers of a whole stream (MQTT 3.1.1 2.2). */
function isWithin(stream: Uint8Array): boolean {
  for (let at = 0; at < stream.length;) {
    at++;
    let length = 0;
    for (let count = 0; ; count++) {
      if (at >= stream.length) return true;
      const octet = stream[at++] ?? 0;
      length += (octet & 127) * 128 ** count;
      if (length > guardBytesMax || (octet >= 128 && count === 3)) return false;
      if (octet < 128) break;
    }
    at += length;
  }
  return true;
}
