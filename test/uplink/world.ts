// The world of a stream lane: a log, CSEs on a network that the test has in its hand, and the uplink between them.
import { err, ok } from '../../src/base/result.ts';
import type { Result } from '../../src/base/result.ts';
import { cseId, epoch, millis, seq, streamName, unixMillis } from '../../src/base/units.ts';
import type { Millis, Seq, StreamName } from '../../src/base/units.ts';
import { UnreadableError } from '../../src/buffer/log-results.ts';
import type { StoredRecord } from '../../src/buffer/record.ts';
import type { Binding, DeliveryError, SendOptions } from '../../src/onem2m/binding.ts';
import { CseClient } from '../../src/onem2m/cse-client.ts';
import { Operation } from '../../src/onem2m/enums.ts';
import type { RequestPrimitive, ResponsePrimitive } from '../../src/onem2m/primitives.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';
import type { Destination } from '../../src/uplink/destination.ts';
import { readingsOf } from '../../src/uplink/batch-instance.ts';
import { encodePayload } from '../../src/uplink/instance.ts';
import { inDoubtLabel } from '../../src/uplink/stream-lane.ts';
import type {
  Exchange,
  Moved,
  RecordSource,
  StreamDelivery,
  UplinkSettings,
} from '../../src/uplink/lane-options.ts';
import { Uplink } from '../../src/uplink/uplink.ts';

export const logId = '0a0b0c0d';
export const latencyMs = 10;
export const deadlineMs: Millis = millis(200);
export const settings: UplinkSettings = {
  deadlineMs: () => deadlineMs,
  retryMsMin: millis(50),
  retryMsMax: millis(400),
  backlogPercent: 50,
  shortBacklogMax: 2,
};

/** What is settled of a stream, and the mark of its backlog. */
interface Account {
  readonly settled: ReadonlySet<number>;
  readonly backlogThrough: number;
}

const noAccount: Account = { settled: new Set(), backlogThrough: 0 };

/** The log: records by stream, what is settled, and what of that a power cut leaves. */
export class ModelLog implements RecordSource {
  readonly stored: Map<StreamName, StoredRecord[]> = new Map();
  readonly accounts: Map<StreamName, Account> = new Map();
  readonly givenUp: string[] = [];
  #durable = new Map<StreamName, Account>();
  /** Runs in the middle of a look into the log. */
  onPeek: () => void = () => undefined;
  /** Whether records above pending ones can be settled, and the mark be written. */
  hasRanges = true;
  run = 1;
  logId: string = logId;
  readonly evicted: Set<string> = new Set();
  /** Records that the disk does not let be read now, as `stream seq`. */
  readonly unreadable: Set<string> = new Set();
  readonly #clock: SimulatedClock;

  constructor(clock: SimulatedClock) {
    this.#clock = clock;
  }
  /** `unknown`: the disk reports an error, but has written the mark. */
  takesMark: 'yes' | 'no' | 'unknown' = 'yes';

  /** A record that was taken `ageMs` ago. */
  append(stream: StreamName, ageMs = 0): Seq {
    const records = this.stored.get(stream) ?? [];
    this.stored.set(stream, records);
    const number = seq(records.length + 1);
    records.push({
      stream,
      seq: number,
      logId: this.logId,
      runId: this.runId,
      payload: encodePayload(number),
      monotonicMs: millis(Math.max(0, this.#clock.monotonicMs() - ageMs)),
      wall: { unixMs: unixMillis(1_800_000_000_000 + this.#clock.monotonicMs() - ageMs), source: 'system' },
    });
    return number;
  }

  /** The oldest pending ones are given up. */
  evict(stream: StreamName, count: number): void {
    for (const record of this.pendingOf(stream).slice(0, count)) {
      this.evicted.add(`${stream} ${record.seq}`);
      this.acknowledge(stream, record.seq, record.seq);
    }
  }

  /** Records that were only in memory are gone; their numbers are not given again. */
  loseNewest(stream: StreamName, count: number): void {
    for (const record of this.pendingOf(stream).reverse().slice(0, count)) {
      this.evicted.add(`${stream} ${record.seq}`);
      this.acknowledge(stream, record.seq, record.seq);
    }
  }

  async peek(stream: StreamName, max: number, afterSeq = 0): Promise<readonly StoredRecord[]> {
    const found = this.pendingOf(stream).filter((record) => record.seq > afterSeq);
    await Promise.resolve();
    this.onPeek();
    const bad = found.findIndex((record) => this.unreadable.has(`${stream} ${record.seq}`));
    if (bad === 0) throw new UnreadableError(stream, new Error('EIO'));
    return found.slice(0, bad < 0 ? max : Math.min(bad, max));
  }

  firstPending(stream: StreamName, afterSeq = 0): Seq | undefined {
    return this.pendingOf(stream).find((record) => record.seq > afterSeq)?.seq;
  }

  acknowledge(stream: StreamName, throughSeq: Seq, fromSeq = 1): boolean {
    const { settled, backlogThrough } = this.#account(stream);
    const isBeside = this.pendingOf(stream).some((record) => record.seq < fromSeq);
    if (isBeside && !this.hasRanges) return false;
    const all = Array.from({ length: throughSeq - fromSeq + 1 }, (_, index) => fromSeq + index);
    this.accounts.set(stream, { settled: new Set([...settled, ...all]), backlogThrough });
    return true;
  }

  giveUp(stream: StreamName, throughSeq: Seq, fromSeq?: number): boolean {
    this.givenUp.push(`${stream} ${throughSeq}`);
    return this.acknowledge(stream, throughSeq, fromSeq);
  }

  backlogThrough(stream: StreamName): Seq {
    return seq(this.#account(stream).backlogThrough);
  }

  async markBacklog(stream: StreamName, throughSeq: Seq): Promise<boolean> {
    const { settled, backlogThrough } = this.#account(stream);
    this.accounts.set(stream, { settled, backlogThrough: Math.max(backlogThrough, throughSeq) });
    await Promise.resolve();
    if (this.takesMark !== 'no') this.sync();
    return this.takesMark === 'yes';
  }

  get runId(): string {
    return this.run.toString(16).padStart(8, '0');
  }

  isOwnLogId(id: string): boolean {
    return [...this.stored.values()].some((records) => records.some((record) => record.logId === id));
  }

  lastSeq(stream: StreamName): Seq {
    return seq(this.stored.get(stream)?.length ?? 0);
  }

  pendingOf(stream: StreamName): StoredRecord[] {
    const { settled } = this.#account(stream);
    return (this.stored.get(stream) ?? []).filter((record) => !settled.has(record.seq));
  }

  sync(): void {
    this.#durable = new Map(this.accounts);
  }

  powerCut(): void {
    this.accounts.clear();
    for (const [stream, account] of this.#durable) this.accounts.set(stream, account);
  }

  get pending(): number {
    return [...this.stored.keys()].reduce((sum, stream) => sum + this.pendingOf(stream).length, 0);
  }

  #account(stream: StreamName): Account {
    return this.accounts.get(stream) ?? noAccount;
  }
}

export interface Held {
  readonly name: string;
  readonly seq: number;
  readonly isLabelled: boolean;
  /** Nobody waited for it any more when it arrived. */
  readonly isLate: boolean;
}

/** What happens to one request; latency otherwise. */
export type Fate = 'delivered' | 'requestLost' | 'answerLost' | 'late' | 'lateRequest';

/** A CSE that holds instances by address, on a network that the test has in its hand. */
export class ModelCse {
  readonly id: string;
  readonly held: Map<string, readonly Held[]> = new Map();
  /** Instances in the order of their creation, by stream. */
  readonly order: Map<string, Held[]> = new Map();
  readonly requests: RequestPrimitive[] = [];
  /** Names of the newest instances, by container. */
  readonly #newest = new Map<string, string>();
  /** Answers this to creations instead of executing them. */
  refusal: number | undefined;
  /** Name that it gives for the newest instance of every container, when that is not the true one. */
  newest: string | undefined;
  /** Answers 5207 to these. */
  refuses: (request: RequestPrimitive) => boolean = () => false;
  fate: (request: RequestPrimitive) => Fate = () => 'delivered';
  readonly #clock: SimulatedClock;

  constructor(id: string, clock: SimulatedClock) {
    this.id = id;
    this.#clock = clock;
  }

  destination(at = 1): Destination {
    const binding: Binding = {
      send: (request, options) => this.#send(request, options),
      close: () => Promise.resolve(),
    };
    const client = new CseClient({ binding, originator: 'Sgw1', entropy: new SeededEntropy(3), deadlineMs });
    return { cseId: cseId(`/id-${this.id}`), epoch: epoch(at), client, aeAddress: `cse-${this.id}/gw1` };
  }

  numbers(stream = 's'): number[] {
    return (this.order.get(stream) ?? []).map((held) => held.seq);
  }

  /** Sequence numbers of the creations asked for, repeats included. */
  get creations(): number[] {
    return this.requests.filter(({ operation }) => operation === Operation.create).flatMap(seqsIn);
  }

  #send(request: RequestPrimitive, options: SendOptions): Promise<Result<ResponsePrimitive, DeliveryError>> {
    const { signal } = options;
    if (signal?.aborted === true) return Promise.resolve(err({ kind: 'cancelled', message: 'cancelled' }));
    this.requests.push(request);
    const fate = this.fate(request);
    return new Promise((resolve) => {
      let isOver = false;
      const finish = (outcome: Result<ResponsePrimitive, DeliveryError>): void => {
        isOver = true;
        cancel();
        signal?.removeEventListener('abort', onAbort);
        resolve(outcome);
      };
      const onAbort = (): void => finish(err({ kind: 'cancelled', message: 'cancelled' }));
      const cancel = this.#clock.schedule(options.deadlineMs, () =>
        finish(err({ kind: 'deadline', message: 'no answer' })),
      );
      signal?.addEventListener('abort', onAbort, { once: true });
      if (fate === 'requestLost') return;
      // A request on its way arrives whether or not anybody still waits for its answer.
      this.#clock.schedule(millis(fate === 'lateRequest' ? 1.5 * deadlineMs : latencyMs), () => {
        const response = this.#execute(request, isOver);
        if (fate === 'answerLost') return;
        this.#clock.schedule(millis(fate === 'late' ? 2 * deadlineMs : latencyMs), () =>
          finish(ok(response)),
        );
      });
    });
  }

  #execute(request: RequestPrimitive, isLate: boolean): ResponsePrimitive {
    const answer = (responseStatusCode: number): ResponsePrimitive => ({
      responseStatusCode,
      requestIdentifier: request.requestIdentifier,
    });
    if (request.operation === Operation.retrieve) {
      const container = request.to.slice(0, request.to.lastIndexOf('/'));
      if (!request.to.endsWith('/la')) return answer(this.held.has(request.to) ? 2000 : 4004);
      const resourceName = this.newest ?? this.#newest.get(container);
      if (resourceName === undefined) return answer(4004);
      return { ...answer(2000), primitiveContent: { contentInstance: { resourceName } } };
    }
    const instance = request.primitiveContent?.contentInstance;
    const name = String(instance?.resourceName);
    const address = `${request.to}/${name}`;
    if (this.held.has(address)) return answer(4105);
    if (this.refusal !== undefined) return answer(this.refusal);
    if (this.refuses(request)) return answer(5207);
    const stream = request.to.split('/').at(-1) ?? '';
    const isLabelled = instance?.labels?.includes(inDoubtLabel) ?? false;
    const held = seqsIn(request).map((number): Held => ({ name, seq: number, isLabelled, isLate }));
    this.held.set(address, held);
    this.#newest.set(request.to, name);
    this.order.set(stream, [...(this.order.get(stream) ?? []), ...held]);
    return answer(2001);
  }
}

/** Numbers of the readings in a creation, in their order. */
function seqsIn(request: RequestPrimitive): number[] {
  const instance = request.primitiveContent?.contentInstance;
  return readingsOf(String(instance?.resourceName), instance?.content).map((reading) => reading.seq);
}

export const s: StreamName = streamName('s');

export type Streams = ReadonlyMap<StreamName, StreamDelivery>;

export class World {
  readonly clock: SimulatedClock = new SimulatedClock();
  readonly log: ModelLog = new ModelLog(this.clock);
  readonly a: ModelCse = new ModelCse('a', this.clock);
  readonly b: ModelCse = new ModelCse('b', this.clock);
  readonly exchanges: Exchange[] = [];
  readonly told: string[] = [];
  uplink: Uplink;
  #running: Promise<void>;

  constructor(streams: Streams = new Map([[s, { order: 'inOrder' }]])) {
    this.uplink = this.#open(streams);
    this.#running = this.uplink.run();
  }

  restart(streams: Streams): void {
    this.uplink = this.#open(streams);
    this.#running = this.uplink.run();
  }

  #open(streams: Streams): Uplink {
    return new Uplink({
      streams,
      source: this.log,
      clock: this.clock,
      entropy: new SeededEntropy(9),
      settings,
      observer: {
        onExchange: (_destination, exchange) => this.exchanges.push(exchange),
        onDelivered: (stream, number) => this.told.push(`delivered ${stream} ${number}`),
        onContextLost: () => this.told.push('context lost'),
        onRefused: (stream, number) => this.told.push(`refused ${stream} ${number}`),
        onAlarm: (_stream, text) => {
          if (text !== undefined) this.told.push(text);
        },
      },
    });
  }

  /** Stores records that were taken `ageMs` ago. */
  store(count = 1, stream: StreamName = s, ageMs = 0): void {
    for (let at = 0; at < count; at++) {
      this.log.append(stream, ageMs);
      this.uplink.notice(stream);
    }
  }

  async switchTo(
    target: ModelCse | undefined,
    options: { at?: number; deadlineMs?: number; sourceLost?: boolean } = {},
  ): Promise<Moved | undefined> {
    const { at = 1, deadlineMs: limitMs = 100, sourceLost = false } = options;
    const moves = await this.clock.advanceUntil(
      this.uplink.switchTo(target?.destination(at), { deadlineMs: millis(limitMs), sourceLost }),
    );
    return moves.get(s);
  }

  async stop(): Promise<void> {
    this.uplink.stop();
    await this.#running;
  }
}
