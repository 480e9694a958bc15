/**
 * The way down: commands from the command containers at the serving CSE and at the IN-CSE, each carried out once.
 *
 * A notification is answered only when its command is durable, so an unanswered one is repeated by the CSE. A repeat is
 * recognised by the command's own `id`, and where it has none by the address of its resource (CSE-ID and resource ID),
 * whichever CSE, container and route it took: one that was put into both containers under the same `id` is one command,
 * two without `id` are two. How long this holds is said in command-ledger.ts, how commands are carried out in
 * command-lanes.ts, what they are in command.ts.
 *
 * What is no command is answered by a result with the reason, so that its sender learns of it; a burst of them is answered
 * in part, and counted. When more commands wait than there is room for, notifications are refused: the commands stay in
 * their container and are fetched (catch-up.ts) when there is room.
 *
 * A notification whose own request has expired (`rqet`) is refused as late and its command fetched: the CSE's patience says
 * nothing of the command, which has an expiry of its own.
 */
import { DecodeError, errorText } from '../base/errors.ts';
import type { Result } from '../base/result.ts';
import { unixMillis } from '../base/units.ts';
import type { UnixMillis } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import type { CallOptions, CseClient, CseFailure } from '../onem2m/cse-client.ts';
import { Operation, ResponseStatusCode } from '../onem2m/enums.ts';
import { parseTimestamp } from '../onem2m/primitives.ts';
import type { RequestPrimitive, ResponsePrimitive } from '../onem2m/primitives.ts';
import type { Actuator } from './actuator.ts';
import { catchUp, isEcho } from './catch-up.ts';
import type { CommandSource } from './catch-up.ts';
import { CommandLanes } from './command-lanes.ts';
import { CommandLedger } from './command-ledger.ts';
import type { CommandMemory } from './command-ledger.ts';
import {
  addressOf,
  commandBytesMax,
  fieldsOf,
  heldInstance,
  idIn,
  objectIn,
  readCommand,
  textOf,
} from './command.ts';
import type { CommandResult, HeldInstance, Taken } from './command.ts';
import { isTrigger } from './trigger.ts';

/** Counts since the start of the process. */
export interface DownlinkFigures {
  readonly received: number;
  /** Ended with any status but `rejected` and `expired`. */
  readonly executed: number;
  readonly duplicates: number;
  /** No commands, or none that can be taken. */
  readonly rejected: number;
  /** Of these, not answered by a result: there were too many. */
  readonly unanswered: number;
  readonly expired: number;
  /** Notifications refused because too many commands waited. */
  readonly refused: number;
}

/** Who hears of what happens here. */
export interface DownlinkListener {
  /** An instance is done with as far as its CSE is concerned: its command is durable, or it is none. */
  onTaken?(taken: { readonly cseId: string; readonly resourceId: string }): void;
  /** Something waits in the containers that no notification will bring. */
  onMissed?(): void;
}

/** Results for what is no command: so many at once, and one more each `rejectionMs`. */
const rejectionsMax = 32;
const rejectionMs = 2000;

/** Receives notifications and executes commands; see the header of this file. */
export class Downlink {
  readonly #clock: Clock;
  readonly #memory: CommandMemory;
  readonly #actuators: ReadonlyMap<string, Actuator>;
  readonly #store: (result: CommandResult, number: number) => Promise<void>;
  readonly #lastResult: number;
  readonly #onAlarm: (text: string | undefined) => void;
  readonly #ledger: CommandLedger;
  readonly #echoes = new Map<string, () => void>();
  #lanes: CommandLanes;
  #listener: DownlinkListener = {};
  #nextNumber = 1;
  #rejections = { count: rejectionsMax, atMs: 0 };
  #figures = { received: 0, executed: 0, duplicates: 0, rejected: 0, unanswered: 0, expired: 0, refused: 0 };

  constructor(options: {
    clock: Clock;
    memory: CommandMemory;
    /** What commands may name as their target. */
    actuators: ReadonlyMap<string, Actuator>;
    /** Makes a result durable as a reading; results come one after the other, a repeated one with its number again. */
    store: (result: CommandResult, number: number) => Promise<void>;
    /** Number of the last result that is stored; 0 when absent. */
    lastResult?: number;
    /** What is wrong; undefined when commands are kept and carried out again. */
    onAlarm: (text: string | undefined) => void;
  }) {
    this.#clock = options.clock;
    this.#memory = options.memory;
    this.#actuators = options.actuators;
    this.#store = options.store;
    this.#lastResult = options.lastResult ?? 0;
    this.#onAlarm = options.onAlarm;
    this.#ledger = new CommandLedger(this.#memory);
    this.#lanes = this.#createLanes(this.#lastResult + 1);
  }

  get figures(): DownlinkFigures {
    return { ...this.#figures };
  }

  /** From now on this one hears of what happens. */
  listen(listener: DownlinkListener): void {
    this.#listener = listener;
  }

  /** Takes up the memory of the last run and carries out what it left behind. */
  async open(): Promise<void> {
    const left = this.#ledger.open(this.#lastResult);
    this.#nextNumber = left.nextNumber;
    this.#lanes = this.#createLanes(left.nextResult);
    for (const { result, number } of left.results) this.#lanes.report(result, 0, number);
    for (const { mark, isBegun } of left.waiting) {
      const receivedMs = unixMillis(mark.receivedMs ?? this.#clock.unixMs());
      const endsMs = mark.expiresMs === undefined ? undefined : unixMillis(mark.expiresMs);
      const none = { resourceId: undefined, resourceName: undefined, createdMs: undefined };
      const instance: HeldInstance = { ...none, cseId: mark.cseId, content: mark.content, endsMs };
      const command = readCommand(instance, mark.id, receivedMs);
      const number = mark.number ?? this.#nextNumber++;
      if (command.ok) {
        const expiry = endsMs === undefined ? {} : { expiresMs: endsMs };
        this.#lanes.add({ ...command.value, ...expiry, number }, sizeOf(mark.content), isBegun);
      } else this.#lanes.report(this.#rejection(mark.id, command.error, receivedMs));
    }
    await this.#lanes.idle();
  }

  /** Begins no more commands; those that wait are carried out by the next run. */
  stop(): void {
    this.#lanes.stop();
  }

  /** Answers one incoming request; only notifications have a meaning here. */
  async handle(request: RequestPrimitive): Promise<ResponsePrimitive> {
    const answer = (responseStatusCode: number, debugInfo?: string): ResponsePrimitive => ({
      responseStatusCode,
      requestIdentifier: request.requestIdentifier,
      ...(debugInfo === undefined ? {} : { primitiveContent: { debugInfo } }),
    });
    if (request.operation !== Operation.notify) {
      return answer(ResponseStatusCode.operationNotAllowed, 'this AE takes notifications only');
    }
    if (this.#isLate(request)) {
      this.#figures.refused += 1;
      this.#listener.onMissed?.();
      return answer(ResponseStatusCode.requestTimeout, 'the request has expired');
    }
    try {
      const { wrong, isFull } = await this.#receiveAll(request);
      if (isFull) {
        this.#figures.refused += 1;
        this.#listener.onMissed?.();
        return answer(
          ResponseStatusCode.internalServerError,
          'too many commands wait; they are fetched later',
        );
      }
      if (wrong === undefined) return answer(ResponseStatusCode.ok);
      return answer(ResponseStatusCode.badRequest, wrong.message);
    } catch (error) {
      if (error instanceof DecodeError) {
        this.#figures.rejected += 1;
        return answer(ResponseStatusCode.badRequest, error.message);
      }
      // Not every CSE tells it again.
      this.#listener.onMissed?.();
      this.#onAlarm(`a command could not be made durable: ${errorText(error)}`);
      return answer(ResponseStatusCode.internalServerError, 'not stored');
    }
  }

  /** Resolves when the notification of the echo instance `nonce` arrives, rejects when `signal` aborts. */
  awaitEcho(nonce: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const forget = (): void => {
        this.#echoes.delete(nonce);
        signal.removeEventListener('abort', onAbort);
      };
      const onAbort = (): void => {
        forget();
        reject(new DecodeError('no notification of the echo arrived'));
      };
      this.#echoes.set(nonce, () => {
        forget();
        resolve();
      });
      if (signal.aborted) onAbort();
      else signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** Goes on with what a refusing disk has held up; for a caller to do from time to time. */
  retryFailed(): void {
    this.#lanes.retry();
  }

  /**
   * Fetches the commands that wait in a command container, those that its CSE could not deliver. Returns how many were new.
   */
  async catchUp(
    client: CseClient,
    source: CommandSource,
    options: CallOptions,
  ): Promise<Result<number, CseFailure>> {
    const before = this.#figures.received;
    const fetched = await catchUp(client, source, options, {
      take: (instance) => this.take(instance),
      room: (signal) => this.#lanes.room(signal),
    });
    return fetched.ok ? { ok: true, value: this.#figures.received - before } : fetched;
  }

  /** Takes the command in an instance; rejects when the disk refuses, with `DecodeError` when it cannot even be named. */
  async take(instance: HeldInstance): Promise<Taken> {
    const { cseId, createdMs, content } = instance;
    if (cseId !== undefined && createdMs !== undefined) this.#lanes.noteTime(cseId, createdMs);
    const address = addressOf(instance);
    const id = idIn(content) ?? address;
    if (id === undefined) throw new DecodeError('the contentInstance has neither an id nor a resource ID');
    const underWay = this.#ledger.receiving(id);
    if (underWay !== undefined || this.#ledger.isKnown(id)) {
      this.#figures.duplicates += 1;
      // The repeat is answered like the first one: not before the command is durable.
      await underWay;
      return 'known';
    }
    const receivedMs = this.#clock.unixMs();
    const command = readCommand(instance, id, receivedMs);
    const target = command.ok ? this.#actuators.get(command.value.target) : undefined;
    const reason = !command.ok
      ? command.error
      : target === undefined
        ? `there is no target "${command.value.target}"; known: ${[...this.#actuators.keys()].join(', ')}`
        : target.whyNot?.(command.value);
    if (!command.ok || reason !== undefined) return this.#reject(id, reason ?? '', receivedMs);
    const bytes = sizeOf(content);
    if (!this.#lanes.hasRoom(bytes)) return 'full';
    const { expiresMs } = command.value;
    const number = this.#nextNumber++;
    await this.#ledger.receive({
      kind: 'received',
      id,
      content: objectIn(content),
      number,
      receivedMs,
      ...(cseId === undefined ? {} : { cseId }),
      ...(expiresMs === undefined ? {} : { expiresMs }),
    });
    this.#figures.received += 1;
    this.#lanes.add({ ...command.value, number }, bytes);
    return 'taken';
  }

  #createLanes(nextResult: number): CommandLanes {
    return new CommandLanes({
      clock: this.#clock,
      ledger: this.#ledger,
      actuators: this.#actuators,
      store: this.#store,
      nextResult,
      onAlarm: this.#onAlarm,
      onEnded: ({ status }) => {
        if (status === 'expired') this.#figures.expired += 1;
        else if (status !== 'rejected') this.#figures.executed += 1;
      },
    });
  }

  /** A notification that waited too long on its way, in a broker for example; a relative time counts from now on. */
  #isLate({ requestExpirationTimestamp }: RequestPrimitive): boolean {
    const endsMs = parseTimestamp(requestExpirationTimestamp ?? '');
    return endsMs !== undefined && endsMs <= this.#clock.unixMs();
  }

  /** Takes what can be taken; the first notification that is none comes back as `wrong`. */
  async #receiveAll(request: RequestPrimitive): Promise<{ wrong?: DecodeError; isFull: boolean }> {
    let wrong: DecodeError | undefined;
    let isFull = false;
    for (const notification of notificationsIn(request)) {
      try {
        if ((await this.#receive(notification, request.from)) === 'full') isFull = true;
      } catch (error) {
        if (!(error instanceof DecodeError)) throw error;
        this.#figures.rejected += 1;
        wrong ??= error;
      }
    }
    return { isFull, ...(wrong === undefined ? {} : { wrong }) };
  }

  async #receive(notification: unknown, from: string | undefined): Promise<Taken> {
    const fields = fieldsOf(notification);
    if (fields?.verificationRequest === true || fields?.subscriptionDeletion === true) return 'known';
    const representation = fieldsOf(fieldsOf(fields?.notificationEvent)?.representation);
    const cseId = cseIn(fields?.subscriptionReference) ?? cseIn(from);
    const instance = heldInstance(representation?.contentInstance, cseId);
    const { content, resourceId, resourceName } = instance;
    const echo = textOf(fieldsOf(content)?.echo);
    const arrive = echo === undefined ? undefined : this.#echoes.get(echo);
    if (arrive !== undefined || isEcho(resourceName ?? '')) {
      arrive?.();
      return 'known';
    }
    // Which container it lies in decides whether it counts, and only a look into that tells for sure.
    if (isTrigger(content)) {
      this.#listener.onMissed?.();
      return 'known';
    }
    const taken = await this.take(instance);
    if (taken !== 'full' && cseId !== undefined && resourceId !== undefined) {
      this.#listener.onTaken?.({ cseId, resourceId });
    }
    return taken;
  }

  #rejection(id: string, reason: string, received: UnixMillis): CommandResult {
    return { id, status: 'rejected', reason, received, ended: this.#clock.unixMs() };
  }

  #reject(id: string, reason: string, receivedMs: UnixMillis): Taken {
    this.#figures.rejected += 1;
    const nowMs = this.#clock.monotonicMs();
    const { count, atMs } = this.#rejections;
    const restored = Math.min(rejectionsMax, count + (nowMs - atMs) / rejectionMs);
    if (restored < 1 || !this.#lanes.hasRoom(0)) {
      this.#figures.unanswered += 1;
      return 'rejected';
    }
    this.#rejections = { count: restored - 1, atMs: nowMs };
    this.#lanes.report(this.#rejection(id, reason, receivedMs));
    return 'rejected';
  }
}

/** CSE-ID at the head of an SP-relative identifier. */
function cseIn(identifier: unknown): string | undefined {
  return typeof identifier === 'string' ? /^\/[^/]{1,64}/u.exec(identifier)?.[0] : undefined;
}

function notificationsIn(request: RequestPrimitive): readonly unknown[] {
  const { notification, aggregatedNotification } = request.primitiveContent ?? {};
  if (fieldsOf(notification) !== undefined) return [notification];
  const list = fieldsOf(aggregatedNotification)?.notification;
  if (Array.isArray(list)) return list;
  throw new DecodeError('the request carries no notification (m2m:sgn)');
}

/** Octets that a command takes while it waits. */
function sizeOf(content: unknown): number {
  return Math.min(commandBytesMax, Buffer.byteLength(JSON.stringify(content ?? null)));
}
