/**
 * The way down: notifications of the command container at the serving CSE, each command executed once.
 *
 * A notification is answered only when its command is durable, so an unanswered one is repeated by the CSE and a repeat is
 * recognised by the command's own `id` (or its resource ID where it has none), whichever CSE and route it took. A command
 * that was durable but not executed when the process died is executed by the next run. What an execution came to is a
 * reading like any other and takes the way up.
 */
import { DecodeError, errorText } from '../base/errors.ts';
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { printable } from '../base/text.ts';
import type { CallOptions, CseClient, CseFailure } from '../onem2m/cse-client.ts';
import { Operation, ResourceType, ResponseStatusCode } from '../onem2m/enums.ts';
import type { RequestPrimitive, ResponsePrimitive } from '../onem2m/primitives.ts';
import type { ContentInstance, Notification } from '../onem2m/resources.ts';

/** One command as it was found in the command container. */
export interface Command {
  /** The sender's own identifier, or the resource ID of the contentInstance. */
  readonly id: string;
  readonly content: unknown;
}

/** What is remembered of a command; durable once `append` returns. */
export type CommandMark =
  | { readonly kind: 'received'; readonly id: string; readonly content: unknown }
  | { readonly kind: 'executed'; readonly id: string };

/** Durable memory of commands. */
export interface CommandMemory {
  entries(): readonly CommandMark[];
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

/** Commands remembered at least; older ones are forgotten when twice as many have come. */
const rememberedMin = 2048;
const idLengthMax = 256;
const catchUpMax = 256;

/** Receives notifications and executes commands; see the header of this file. */
export class Downlink {
  readonly #memory: CommandMemory;
  readonly #execute: (command: Command) => Promise<void>;
  readonly #onAlarm: (text: string) => void;
  readonly #known = new Map<string, 'received' | 'executed'>();
  readonly #appending = new Map<string, Promise<void>>();
  readonly #echoes = new Map<string, () => void>();
  #queue: Promise<void> = Promise.resolve();
  #figures = { received: 0, executed: 0, duplicates: 0, rejected: 0 };

  constructor(options: {
    memory: CommandMemory;
    /** Carries a command out; runs one at a time, in the order of arrival. */
    execute: (command: Command) => Promise<void>;
    onAlarm: (text: string) => void;
  }) {
    this.#memory = options.memory;
    this.#execute = options.execute;
    this.#onAlarm = options.onAlarm;
  }

  get figures(): DownlinkFigures {
    return { ...this.#figures };
  }

  /** Takes up the memory of the last run and executes what it left behind. */
  async open(): Promise<void> {
    const waiting = new Map<string, unknown>();
    for (const mark of this.#memory.entries()) {
      this.#known.set(mark.id, mark.kind);
      if (mark.kind === 'received') waiting.set(mark.id, mark.content);
      else waiting.delete(mark.id);
    }
    for (const [id, content] of waiting) this.#enqueue({ id, content });
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
      for (const notification of notificationsIn(request)) await this.#receive(notification);
      return answer(ResponseStatusCode.ok);
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

  /**
   * Fetches the commands in a command container and executes those not yet known: the ones that a CSE could not deliver
   * before the gateway left it. Returns how many were new.
   */
  async catchUp(
    client: CseClient,
    container: string,
    options: CallOptions,
  ): Promise<Result<number, CseFailure>> {
    const found = await client.discover(container, { resourceType: [ResourceType.contentInstance] }, options);
    if (!found.ok) return found;
    const before = this.#figures.received;
    const addresses = found.value.filter((address) => !isEcho(address)).slice(-catchUpMax);
    const reads = await Promise.all(addresses.map((address) => client.retrieve(address, options)));
    for (const read of reads) {
      if (!read.ok) return err(read.error);
      const instance = read.value.primitiveContent?.contentInstance;
      if (instance !== undefined) await this.#take(instance);
    }
    return ok(this.#figures.received - before);
  }

  async #receive(notification: Notification): Promise<void> {
    if (notification.verificationRequest === true || notification.subscriptionDeletion === true) return;
    const representation = notification.notificationEvent?.representation;
    const instance = typeof representation === 'object' ? representation.contentInstance : undefined;
    if (typeof instance !== 'object') throw new DecodeError('the notification carries no contentInstance');
    await this.#take(instance);
  }

  async #take(instance: ContentInstance): Promise<void> {
    const { content, resourceId, resourceName } = instance;
    const echo = fieldOf(content, 'echo');
    if (echo !== undefined || isEcho(String(resourceName))) {
      if (echo !== undefined) this.#echoes.get(echo)?.();
      return;
    }
    const id = fieldOf(content, 'id') ?? resourceId;
    if (typeof id !== 'string' || id === '' || id.length > idLengthMax) {
      throw new DecodeError(
        `a command needs an id of 1 to ${idLengthMax} characters, not ${printable(String(id), 40)}`,
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
    const append = this.#memory.append({ kind: 'received', id, content });
    this.#appending.set(id, append);
    try {
      await append;
    } finally {
      this.#appending.delete(id);
    }
    this.#known.set(id, 'received');
    this.#figures.received += 1;
    this.#enqueue({ id, content });
  }

  #enqueue(command: Command): void {
    this.#queue = this.#queue.then(async () => {
      try {
        await this.#execute(command);
        await this.#memory.append({ kind: 'executed', id: command.id });
        this.#known.set(command.id, 'executed');
        this.#figures.executed += 1;
        await this.#forgetOldest();
      } catch (error) {
        this.#onAlarm(`command ${printable(command.id, 40)} failed: ${errorText(error)}`);
      }
    });
  }

  async #forgetOldest(): Promise<void> {
    if (this.#known.size < 2 * rememberedMin) return;
    const executed = [...this.#known].filter(([, kind]) => kind === 'executed');
    for (const [id] of executed.slice(0, this.#known.size - rememberedMin)) this.#known.delete(id);
    await this.#memory.compact((mark) => this.#known.get(mark.id) === mark.kind);
  }
}

/** Name of the echo instance that proves the way down. */
export function echoName(nonce: string): string {
  return `echo-${nonce}`;
}

function isEcho(address: string): boolean {
  return /(?:^|\/)echo-[^/]*$/u.test(address);
}

function notificationsIn(request: RequestPrimitive): Notification[] {
  const content = request.primitiveContent;
  const { notification, aggregatedNotification } = content ?? {};
  if (typeof notification === 'object') return [notification];
  const list = aggregatedNotification?.notification;
  if (Array.isArray(list)) return list;
  throw new DecodeError('the request carries no notification (m2m:sgn)');
}

function fieldOf(content: unknown, name: 'id' | 'echo'): string | undefined {
  if (typeof content !== 'object' || content === null) return undefined;
  const value = (content as Record<string, unknown>)[name];
  return typeof value === 'string' ? value : undefined;
}
