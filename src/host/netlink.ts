/**
 * The kernel's view of links, addresses, routes and rules, through its routing socket (rtnetlink(7)).
 *
 * Two sockets: one hears what changes, the other asks and sets. So a dump never stands between an event and its listener, and
 * a flood of events, of which the kernel drops some, costs the listening socket only: it is opened again and
 * everything is read anew. Memberships come before the first dump, so that nothing falls between the two; an event that the
 * dump had seen already changes nothing.
 *
 * Changes go through netlink as well, not through the `ip` command: one message and its acknowledgement take a fraction of a
 * millisecond where a child process takes several, on the way between two links of all places; refusals are numbers, not
 * texts of a version; and nothing has to be installed. Reading needs no privilege, changing needs CAP_NET_ADMIN.
 */
import { RawNetlinkSocket } from 'netlink/dist/raw.js';
import { getSystemErrorName } from 'node:util';
import { IoError, errorText } from '../base/errors.ts';
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { millis } from '../base/units.ts';
import type { CancelTimer, Clock } from './clock.ts';
import { every, withDeadline } from './clock.ts';
import { droppedEvents, silenceOverruns } from './netlink-overrun.ts';
import { InterfaceTable } from './netlink-interfaces.ts';
import type { InterfaceState } from './netlink-interfaces.ts';
import {
  encodeDump,
  encodeMessage,
  encodeRoute,
  encodeRule,
  messageFlag,
  messageType,
  parseErrorNumber,
  parseMessages,
  parseRoutes,
  parseRule,
} from './netlink-message.ts';
import type { KernelRoute, KernelRule, NetlinkMessage } from './netlink-message.ts';

/** What the kernel reports of its own accord. */
export type KernelEvent =
  /** An interface has come, or differs from what was told of it last. */
  | { readonly kind: 'interface'; readonly state: InterfaceState }
  | { readonly kind: 'gone'; readonly name: string }
  /** Routes or rules were removed by somebody: what was set may not stand any more. */
  | { readonly kind: 'routingChanged' }
  /** All that can be known now has been told, at the start and whenever events were lost. */
  | { readonly kind: 'complete' };

/** One change of routes or rules. Setting what is there and removing what is not succeed. */
export type KernelEdit =
  | { readonly kind: 'setRoute' | 'removeRoute'; readonly route: KernelRoute }
  | { readonly kind: 'setRule' | 'removeRule'; readonly rule: KernelRule };

/** Why the kernel did not change what it was asked to. */
export interface KernelRefusal {
  /** Such as `EPERM`, `ENETUNREACH`. */
  readonly errno: string;
  readonly message: string;
}

/** Links, addresses and routes of the machine. */
export interface KernelNetwork {
  /**
   * Reports the state of every interface and then every change, until the returned function is called. `onFailure` is told
   * when events cannot be heard, and, with `undefined`, that they are heard (again); it is tried again by itself.
   */
  watch(onEvent: (event: KernelEvent) => void, onFailure: (text: string | undefined) => void): CancelTimer;
  /** All routes of all tables. Throws `IoError` when the kernel does not answer. */
  routes(): Promise<readonly KernelRoute[]>;
  /** All rules that choose a table. Throws `IoError` when the kernel does not answer. */
  rules(): Promise<readonly KernelRule[]>;
  change(edit: KernelEdit): Promise<Result<void, KernelRefusal>>;
  /** Frees the socket by which is asked; whoever watches stops by itself. */
  close(): void;
}

const routeProtocol = 0;
/** Numbers of the groups RTNLGRP_LINK, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR, IPV6_ROUTE, IPV6_RULE. */
const groups: readonly number[] = [1, 5, 7, 8, 9, 11, 19];
const answerMs = millis(2000);
const dropLookMs = millis(1000);
const reopenMsMin = 50;
const reopenMsMax = 5000;
/** A dump during which something changed is not consistent; it is taken again, so often at most. */
const dumpsMax = 5;
/** Room for the events of a storm; the kernel doubles it and may give less. */
const eventBufferBytes = 524_288;

/** The real network of the machine. */
export class NetlinkNetwork implements KernelNetwork {
  readonly #clock: Clock;
  #conversation: Conversation | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  watch(onEvent: (event: KernelEvent) => void, onFailure: (text: string | undefined) => void): CancelTimer {
    const watch = new Watch(this.#clock, (type) => this.#dump(type), onEvent, onFailure);
    watch.open();
    return () => watch.close();
  }

  async routes(): Promise<readonly KernelRoute[]> {
    return (await this.#dump(messageType.getRoute)).flatMap(({ payload }) => parseRoutes(payload));
  }

  async rules(): Promise<readonly KernelRule[]> {
    return (await this.#dump(messageType.getRule)).flatMap(({ payload }) => parseRule(payload) ?? []);
  }

  async change(edit: KernelEdit): Promise<Result<void, KernelRefusal>> {
    const { type, flags, payload, harmless } = encodeEdit(edit);
    const { errorNumber } = await this.#ask(type, flags | messageFlag.acknowledge, payload);
    if (errorNumber === 0) return ok(undefined);
    const errno = errorName(errorNumber);
    return errno === harmless ? ok(undefined) : err({ errno, message: refusalText(edit, errno) });
  }

  close(): void {
    this.#conversation?.close();
    this.#conversation = undefined;
  }

  async #dump(type: number): Promise<readonly NetlinkMessage[]> {
    for (let attempt = 1; ; attempt++) {
      const { messages, errorNumber } = await this.#ask(type, messageFlag.dump, encodeDump(type));
      if (errorNumber !== 0)
        throw new IoError(`the kernel refuses a list of its routing: ${errorName(errorNumber)}`);
      const isWhole = messages.every(({ flags }) => (flags & messageFlag.dumpInterrupted) === 0);
      if (isWhole || attempt >= dumpsMax) return messages;
    }
  }

  /** One question after the other: a second list during the first one is refused (EBUSY). */
  #ask(type: number, flags: number, payload: Uint8Array): Promise<Answer> {
    const turn = this.#turn.then(() => this.#askNow(type, flags, payload));
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async #askNow(type: number, flags: number, payload: Uint8Array): Promise<Answer> {
    if (this.#conversation?.isOpen !== true) this.#conversation = new Conversation();
    const conversation = this.#conversation;
    try {
      return await withDeadline(this.#clock, answerMs, 'netlink', conversation.ask(type, flags, payload));
    } catch (cause) {
      // What comes after a missing answer might be that answer.
      conversation.close();
      if (cause instanceof IoError) throw cause;
      throw new IoError(`the kernel's routing socket: ${errorText(cause)}`, { cause });
    }
  }
}

interface Answer {
  readonly messages: readonly NetlinkMessage[];
  /** 0 when the kernel has done what it was asked for. */
  readonly errorNumber: number;
}

interface Question {
  readonly sequence: number;
  readonly messages: NetlinkMessage[];
  readonly settle: (answer: Answer | Error) => void;
}

/** Questions to the kernel and their answers, in the order in which they were asked. */
class Conversation {
  readonly #socket: RawNetlinkSocket;
  readonly #questions = new Map<number, Question>();
  #sequence = 0;
  isOpen = true;

  constructor() {
    this.#socket = openSocket();
    this.#socket.on('message', (data, { port }) => this.#receive(data, port));
    this.#socket.on('error', (cause) => this.#end(cause));
    // A gateway that has nothing else to do may end.
    this.#socket.unref();
  }

  ask(type: number, flags: number, payload: Uint8Array): Promise<Answer> {
    const sequence = ++this.#sequence;
    return new Promise((resolve, reject) => {
      const settle = (answer: Answer | Error): void => {
        this.#questions.delete(sequence);
        if (this.#questions.size === 0 && this.isOpen) this.#socket.unref();
        if (answer instanceof Error) reject(answer);
        else resolve(answer);
      };
      this.#questions.set(sequence, { sequence, messages: [], settle });
      this.#socket.ref();
      const message = encodeMessage(type, flags | messageFlag.request, sequence, payload);
      this.#socket.send(message, {}, (cause) => {
        if (cause !== undefined) settle(cause);
      });
    });
  }

  close(): void {
    this.#end(new IoError('closed'));
  }

  #receive(data: Buffer, port: number): void {
    // Any process may write to the port of another one; only the kernel has number 0.
    if (port !== 0) return;
    try {
      for (const message of parseMessages(data)) this.#take(message);
    } catch (cause) {
      this.#end(cause);
    }
  }

  #take(message: NetlinkMessage): void {
    const question = this.#questions.get(message.sequence);
    if (question === undefined) return;
    const { messages, settle } = question;
    switch (message.type) {
      case messageType.error:
        return settle({ messages, errorNumber: parseErrorNumber(message.payload) });
      case messageType.done:
        return settle({ messages, errorNumber: 0 });
      default:
        messages.push(message);
    }
  }

  #end(cause: unknown): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    closeSocket(this.#socket);
    const error = new IoError(`the kernel's routing socket: ${errorText(cause)}`, { cause });
    for (const { settle } of [...this.#questions.values()]) settle(error);
  }
}

/** Hears events; opened again, with everything read anew, whenever some may have been lost. */
class Watch {
  readonly #clock: Clock;
  readonly #dump: (type: number) => Promise<readonly NetlinkMessage[]>;
  readonly #onEvent: (event: KernelEvent) => void;
  readonly #onFailure: (text: string | undefined) => void;
  #table: InterfaceTable;
  #socket: RawNetlinkSocket | undefined;
  #cancelReopen: CancelTimer = () => undefined;
  #cancelLook: CancelTimer = () => undefined;
  #reopenMs = reopenMsMin;
  #isClosed = false;

  constructor(
    clock: Clock,
    dump: (type: number) => Promise<readonly NetlinkMessage[]>,
    onEvent: (event: KernelEvent) => void,
    onFailure: (text: string | undefined) => void,
  ) {
    this.#clock = clock;
    this.#dump = dump;
    this.#onEvent = onEvent;
    this.#onFailure = onFailure;
    this.#table = new InterfaceTable();
  }

  open(): void {
    try {
      const socket = openSocket();
      this.#socket = socket;
      socket.setRecvBufferSize(eventBufferBytes);
      socket.on('message', (data, { port }) => this.#receive(socket, data, port));
      socket.on('truncatedMessage', () => this.#reopen(socket, 'an event was cut short'));
      socket.on('error', (cause) => this.#reopen(socket, errorText(cause)));
      void this.#join(socket);
    } catch (cause) {
      this.#reopen(this.#socket, errorText(cause));
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelReopen();
    this.#leave();
  }

  async #join(socket: RawNetlinkSocket): Promise<void> {
    const { port } = socket.address();
    await silenceOverruns(port);
    if (socket !== this.#socket) return;
    for (const group of groups) socket.addMembership(group);
    this.#cancelLook = every(this.#clock, dropLookMs, () => void this.#lookForDrops(socket, port));
    await this.#readAll(socket);
  }

  async #lookForDrops(socket: RawNetlinkSocket, port: number): Promise<void> {
    const drops = await droppedEvents(port);
    if (drops !== undefined && drops > 0) this.#reopen(socket, `the kernel dropped ${drops} events`);
  }

  async #readAll(socket: RawNetlinkSocket): Promise<void> {
    try {
      const links = await this.#dump(messageType.getLink);
      const addresses = await this.#dump(messageType.getAddress);
      const routes = await this.#dump(messageType.getRoute);
      if (socket !== this.#socket) return;
      const before = this.#table;
      this.#table = new InterfaceTable();
      for (const message of [...links, ...addresses, ...routes]) this.#table.take(message);
      this.#tell(this.#table.changesSince(before));
      this.#reopenMs = reopenMsMin;
      this.#onFailure(undefined);
      this.#onEvent({ kind: 'complete' });
    } catch (cause) {
      this.#reopen(socket, errorText(cause));
    }
  }

  #receive(socket: RawNetlinkSocket, data: Buffer, port: number): void {
    if (port !== 0 || socket !== this.#socket) return;
    try {
      for (const message of parseMessages(data)) {
        const { type } = message;
        if (type === messageType.overrun) throw new IoError('events were lost');
        this.#tell(this.#table.take(message));
        if (type === messageType.deleteRoute || type === messageType.deleteRule) {
          this.#onEvent({ kind: 'routingChanged' });
        }
      }
    } catch (cause) {
      this.#reopen(socket, errorText(cause));
    }
  }

  #tell(changes: ReturnType<InterfaceTable['take']>): void {
    for (const change of changes) this.#onEvent(change);
  }

  #reopen(socket: RawNetlinkSocket | undefined, text: string): void {
    if (this.#isClosed || socket !== this.#socket) return;
    this.#leave();
    this.#onFailure(
      `events of the kernel's links are not heard: ${text}; tried again in ${this.#reopenMs} ms`,
    );
    this.#cancelReopen = this.#clock.schedule(millis(this.#reopenMs), () => this.open());
    this.#reopenMs = Math.min(reopenMsMax, 2 * this.#reopenMs);
  }

  #leave(): void {
    this.#cancelLook();
    const socket = this.#socket;
    this.#socket = undefined;
    if (socket !== undefined) closeSocket(socket);
  }
}

function openSocket(): RawNetlinkSocket {
  try {
    return new RawNetlinkSocket(routeProtocol);
  } catch (cause) {
    throw new IoError(
      `cannot open the kernel's routing socket: ${errorText(cause)}; allow AF_NETLINK (RestrictAddressFamilies= of the unit)`,
      { cause },
    );
  }
}

function closeSocket(socket: RawNetlinkSocket): void {
  // Messages that are still underway belong to nobody; an error after this has nobody to tell.
  socket.removeAllListeners('message');
  socket.removeAllListeners('error');
  socket.on('error', () => undefined);
  try {
    socket.close();
  } catch {
    // The package closes it by itself when the kernel reports an error.
  }
}

function encodeEdit(edit: KernelEdit): { type: number; flags: number; payload: Buffer; harmless: string } {
  switch (edit.kind) {
    case 'setRoute':
      return {
        type: messageType.newRoute,
        flags: messageFlag.create | messageFlag.replace,
        payload: encodeRoute(edit.route),
        harmless: 'EEXIST',
      };
    case 'removeRoute':
      return { type: messageType.deleteRoute, flags: 0, payload: encodeRoute(edit.route), harmless: 'ESRCH' };
    case 'setRule':
      return {
        type: messageType.newRule,
        flags: messageFlag.create | messageFlag.exclusive,
        payload: encodeRule(edit.rule),
        harmless: 'EEXIST',
      };
    case 'removeRule':
      return { type: messageType.deleteRule, flags: 0, payload: encodeRule(edit.rule), harmless: 'ENOENT' };
  }
}

function refusalText(edit: KernelEdit, errno: string): string {
  const what =
    'rule' in edit
      ? `the rule with preference ${edit.rule.priority}`
      : `a route in table ${edit.route.table}`;
  const verb = edit.kind === 'setRule' || edit.kind === 'setRoute' ? 'set' : 'remove';
  const wayOut =
    errno === 'EPERM' ? '; give the service AmbientCapabilities=CAP_NET_ADMIN, or run it as root' : '';
  return `the kernel does not ${verb} ${what}: ${errno}${wayOut}`;
}

function errorName(errorNumber: number): string {
  try {
    return getSystemErrorName(-errorNumber);
  } catch {
    return `errno ${errorNumber}`;
  }
}
