/**
 * The way down: notifications of the command container at the serving CSE, each command executed once.
 *
 * A notification is answered only when its command is durable, so an unanswered one is repeated by the CSE and a repeat is
 * recognised by the command's own `id` (or its resource ID where it has none), whichever CSE and route it took. A command
 * that was durable but not executed when the process died is executed by the next run. What an execution came to is a
 * reading like any other and takes the way up.
 *
 * Between an execution and the mark that says so the process may die, and the next run executes once more. The number of
 * the command, which both executions have, lets its executor see that: commands are numbered as they are received and
 * executed in this order, so that one with a number below the last was carried out before. Therefore one that fails holds
 * up those behind it.
 */
import { DecodeError, LimitError, errorText } from '../base/errors.ts';
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { printable } from '../base/text.ts';
import type { CallOptions, CseClient, CseFailure } from '../onem2m/cse-client.ts';
import { Operation, ResourceType, ResponseStatusCode } from '../onem2m/enums.ts';
import type { RequestPrimitive, ResponsePrimitive } from '../onem2m/primitives.ts';

/** One command as it was found in the command container. */
export interface Command {
  /** The sender's own identifier, or the resource ID of the contentInstance. */
  readonly id: string;
  readonly content: unknown;
  /** Its place in the order of reception over all runs; a repeated execution has the same. */
  readonly number: number;
}

/** What is remembered of a command; durable once `append` returns. An old memory has no numbers. */
export type CommandMark =
  | { readonly kind: 'received'; readonly id: string; readonly content: unknown; readonly number?: number }
  | { readonly kind: 'executed'; readonly id: string };

/** Durable memory of commands. */
export interface CommandMemory {
  entries(): readonly CommandMark[];
  /** Rejects with `LimitError` when there is no room before the next `compact`. */
  append(mark: CommandMark): Promise<void>;
  /** Keeps only what `keep` wants, in one step. */
  compact(keep: (mark: CommandMark) => boolean): Promise<void>;
}

/** Counts since the start of the process. */
export interface DownlinkFigures {
  readonly received: number;
  readonly executed: number;
  readonly duplicates: number;
  readonly rejected: number;
}

/** Executed commands remembered at most after a compaction; there is one when twice as many are known, or the room ends. */
const rememberedMax = 2048;
const idLengthMax = 256;
const catchUpMax = 256;

/** Receives notifications and executes commands; see the header of this file. */
export class Downlink {
  readonly #memory: CommandMemory;
  readonly #execute: (command: Command) => Promise<void>;
  readonly #onAlarm: (text: string | undefined) => void;
  readonly #known = new Map<string, 'received' | 'executed'>();
  readonly #appending = new Map<string, Promise<void>>();
  readonly #echoes = new Map<string, () => void>();
  readonly #failed = new Map<string, Command>();
  #queue: Promise<void> = Promise.resolve();
  #nextNumber: number;
  #figures = { received: 0, executed: 0, duplicates: 0, rejected: 0 };

  constructor(options: {
    memory: CommandMemory;
    /** Carries a command out; runs one at a time, in the order of arrival. */
    execute: (command: Command) => Promise<void>;
    /** Number above those of all commands executed so far, as far as their executor knows; 1 when absent. */
    firstNumber?: number;
    /** What is wrong; undefined when commands are kept and carried out again. */
    onAlarm: (text: string | undefined) => void;
  }) {
    this.#memory = options.memory;
    this.#execute = options.execute;
    this.#onAlarm = options.onAlarm;
    this.#nextNumber = options.firstNumber ?? 1;
  }

  get figures(): DownlinkFigures {
    return { ...this.#figures };
  }

  /** Takes up the memory of the last run and executes what it left behind. */
  async open(): Promise<void> {
    const waiting = new Map<string, Extract<CommandMark, { kind: 'received' }>>();
    for (const mark of this.#memory.entries()) {
      this.#known.set(mark.id, mark.kind);
      if (mark.kind === 'received') waiting.set(mark.id, mark);
      else waiting.delete(mark.id);
      const { number = 0 } = mark.kind === 'received' ? mark : {};
      this.#nextNumber = Math.max(this.#nextNumber, number + 1);
    }
    for (const { id, content, number } of waiting.values()) {
      this.#enqueue({ id, content, number: number ?? this.#nextNumber++ });
    }
    await this.#queue;
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
    try {
      const wrong = await this.#receiveAll(notificationsIn(request));
      if (wrong === undefined) return answer(ResponseStatusCode.ok);
      return answer(ResponseStatusCode.badRequest, wrong.message);
    } catch (error) {
      this.#figures.rejected += 1;
      if (error instanceof DecodeError) return answer(ResponseStatusCode.badRequest, error.message);
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

  /** Executes once more the commands that could not be executed; for a caller to do from time to time. */
  retryFailed(): void {
    const commands = [...this.#failed.values()];
    this.#failed.clear();
    for (const command of commands) this.#enqueue(command);
  }

  /**
   * Fetches the commands in a command container and executes those not yet known: the ones that a CSE could not deliver
   * before the gateway left it. Returns how many were new. `seen` spares repeated calls the instances that earlier ones
   * read; it is brought up to date.
   */
  async catchUp(
    client: CseClient,
    container: string,
    options: CallOptions,
    seen: Set<string> = new Set(),
  ): Promise<Result<number, CseFailure>> {
    const found = await client.discover(container, { resourceType: [ResourceType.contentInstance] }, options);
    if (!found.ok) return found;
    const before = this.#figures.received;
    const held = new Set(found.value);
    // A name that was deleted may come back as another command.
    for (const address of seen) if (!held.has(address)) seen.delete(address);
    const fresh = found.value.filter((address) => !isEcho(address) && !seen.has(address));
    const addresses = fresh.slice(-catchUpMax);
    const reads = await Promise.all(addresses.map((address) => client.retrieve(address, options)));
    for (const read of reads) {
      if (!read.ok) return err(read.error);
      const instance = read.value.primitiveContent?.contentInstance;
      try {
        await this.#take(instance);
      } catch (error) {
        // One instance that is no command does not keep the others from being executed.
        if (!(error instanceof DecodeError)) throw error;
        this.#figures.rejected += 1;
      }
    }
    for (const address of addresses) seen.add(address);
    return ok(this.#figures.received - before);
  }

  /** Takes what can be taken; the first notification that is none comes back as the error. */
  async #receiveAll(notifications: readonly unknown[]): Promise<DecodeError | undefined> {
    let wrong: DecodeError | undefined;
    for (const notification of notifications) {
      try {
        await this.#receive(notification);
      } catch (error) {
        if (!(error instanceof DecodeError)) throw error;
        this.#figures.rejected += 1;
        wrong ??= error;
      }
    }
    return wrong;
  }

  async #receive(notification: unknown): Promise<void> {
    const fields = fieldsOf(notification);
    if (fields?.verificationRequest === true || fields?.subscriptionDeletion === true) return;
    const representation = fieldsOf(fieldsOf(fields?.notificationEvent)?.representation);
    await this.#take(representation?.contentInstance);
  }

  async #take(instance: unknown): Promise<void> {
    const fields = fieldsOf(instance);
    if (fields === undefined) throw new DecodeError('there is no contentInstance');
    const { content, resourceId, resourceName } = fields;
    const echo = textOf(fieldsOf(content)?.echo);
    const arrive = echo === undefined ? undefined : this.#echoes.get(echo);
    if (arrive !== undefined || isEcho(textOf(resourceName) ?? '')) {
      arrive?.();
      return;
    }
    const id = textOf(fieldsOf(content)?.id) ?? textOf(resourceId);
    if (id === undefined || id === '' || id.length > idLengthMax) {
      throw new DecodeError(
        `a command needs an id of 1 to ${idLengthMax} characters, not ${printable(id ?? 'none', 40)}`,
      );
    }
    if (this.#known.has(id)) {
      this.#figures.duplicates += 1;
      return;
    }
    const underWay = this.#appending.get(id);
    if (underWay !== undefined) {
      // The repeat is answered like the first one: not before the command is durable.
      this.#figures.duplicates += 1;
      return underWay;
    }
    const number = this.#nextNumber++;
    const append = this.#append({ kind: 'received', id, content: storable(content, id), number });
    this.#appending.set(id, append);
    try {
      await append;
      this.#known.set(id, 'received');
    } finally {
      this.#appending.delete(id);
    }
    this.#figures.received += 1;
    this.#enqueue({ id, content, number });
  }

  #enqueue(command: Command): void {
    this.#queue = this.#queue.then(async () => {
      if (this.#failed.size > 0) {
        this.#failed.set(command.id, command);
        return;
      }
      try {
        await this.#execute(command);
        await this.#append({ kind: 'executed', id: command.id });
        this.#known.set(command.id, 'executed');
        this.#figures.executed += 1;
        this.#onAlarm(undefined);
        if (this.#known.size >= 2 * rememberedMax) await this.#forget(rememberedMax);
      } catch (error) {
        this.#failed.set(command.id, command);
        this.#onAlarm(`command ${printable(command.id, 40)} failed: ${errorText(error)}`);
      }
    });
  }

  async #append(mark: CommandMark): Promise<void> {
    try {
      await this.#memory.append(mark);
    } catch (error) {
      if (!(error instanceof LimitError)) throw error;
      // What an executed command said is not needed any more; when that was not it, half of their names make room.
      await this.#forget(rememberedMax);
      await this.#memory.append(mark).catch(async (again: unknown) => {
        if (!(again instanceof LimitError)) throw again;
        await this.#forget(Math.floor(this.#executed().length / 2));
        await this.#memory.append(mark);
      });
    }
  }

  #executed(): string[] {
    return [...this.#known].filter(([, kind]) => kind === 'executed').map(([id]) => id);
  }

  /** Forgets the oldest executed commands but `kept`, and what all executed ones said. */
  async #forget(kept: number): Promise<void> {
    const executed = this.#executed();
    for (const id of executed.slice(0, Math.max(0, executed.length - kept))) this.#known.delete(id);
    await this.#memory.compact((mark) =>
      mark.kind === 'executed' ? this.#known.has(mark.id) : this.#isWaiting(mark.id),
    );
  }

  /** A command whose execution is not durable yet is kept, whether its reception was just made durable or long ago. */
  #isWaiting(id: string): boolean {
    return this.#known.get(id) !== 'executed' && (this.#known.has(id) || this.#appending.has(id));
  }
}

/** Name of the echo instance that proves the way down. */
export function echoName(nonce: string): string {
  return `echo-${nonce}`;
}

function isEcho(address: string): boolean {
  return /(?:^|\/)echo-[^/]*$/u.test(address);
}

function notificationsIn(request: RequestPrimitive): readonly unknown[] {
  const { notification, aggregatedNotification } = request.primitiveContent ?? {};
  if (fieldsOf(notification) !== undefined) return [notification];
  const list = fieldsOf(aggregatedNotification)?.notification;
  if (Array.isArray(list)) return list;
  throw new DecodeError('the request carries no notification (m2m:sgn)');
}

/** The content of a command as the memory can hold it. */
function storable(content: unknown, id: string): unknown {
  try {
    return JSON.parse(JSON.stringify(content ?? null)) as unknown;
  } catch (error) {
    throw new DecodeError(`command ${printable(id, 40)} cannot be stored: ${errorText(error)}`);
  }
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
