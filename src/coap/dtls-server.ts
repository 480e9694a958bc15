import { createHmac } from 'node:crypto';
import { err } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import type { CancelTimer, Clock } from '../host/clock.ts';
import type { DtlsEngine, DtlsLibrary } from '../host/dtls-library.ts';
import { isHello, isProtected } from '../host/dtls-records.ts';
import type { Entropy } from '../host/entropy.ts';
import type { DatagramSocket, SendError, SocketAddress } from '../host/network.ts';
import { DtlsConversation } from './dtls-conversation.ts';

/** Bounds of a server. */
export interface DtlsServerSettings {
  /** Sessions held at once; the one heard longest ago gives way. */
  readonly sessionsMax: number;
  /** Handshakes that may be under way at once; the oldest gives way. */
  readonly handshakesMax: number;
  /** Time for a handshake. */
  readonly handshakeMs: Millis;
  /** First pause before a flight of a handshake is sent again. */
  readonly flightMs: Millis;
}

export const defaultDtlsServerSettings: DtlsServerSettings = {
  sessionsMax: 64,
  handshakesMax: 16,
  handshakeMs: millis(10_000),
  flightMs: millis(1000),
};

/** What a server counted. */
export interface DtlsServerCounters {
  /** Sessions that came about. */
  opened: number;
  /** Handshakes that did not. */
  failed: number;
  /** Sessions and handshakes given up for others. */
  evicted: number;
  /** Datagrams of unknown senders that are no hello, and those that nobody authenticated. */
  ignored: number;
}

interface Peer {
  readonly conversation: DtlsConversation;
  readonly cancelDeadline: CancelTimer;
}

/** An engine that waits for a hello with its cookie, and who has brought it. */
interface Listener {
  readonly engine: DtlsEngine;
  readonly caller: { address: SocketAddress | undefined };
}

/**
 * The side of a DTLS session that is called, offered as one socket for all of its peers. A hello is answered with a
 * cookie and costs no memory until its sender shows that the answer reaches it (RFC 6347 4.2.1). A peer that begins anew
 * from the same address keeps its session until the new one is open (RFC 6347 4.2.8): a forged hello ends nothing.
 */
export class DtlsServer implements DatagramSocket {
  readonly local: SocketAddress;
  readonly counters: DtlsServerCounters = { opened: 0, failed: 0, evicted: 0, ignored: 0 };
  readonly #socket: DatagramSocket;
  readonly #library: DtlsLibrary;
  readonly #keyOf: (identity: string, from: SocketAddress) => Uint8Array | undefined;
  readonly #clock: Clock;
  readonly #settings: DtlsServerSettings;
  readonly #secret: Uint8Array;
  /** Least recently heard first. */
  readonly #sessions = new Map<string, Peer>();
  /** Oldest first. */
  readonly #handshakes = new Map<string, Peer>();
  #listener: Listener | undefined;
  #onPlain: ((data: Uint8Array, from: SocketAddress) => void) | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: {
    /** It belongs to the server from here on. */
    socket: DatagramSocket;
    library: DtlsLibrary;
    /** The key of an identity, shown by a peer; undefined for one that is not known. */
    keyOf: (identity: string, from: SocketAddress) => Uint8Array | undefined;
    clock: Clock;
    entropy: Entropy;
    settings?: Partial<DtlsServerSettings>;
  }) {
    this.local = options.socket.local;
    this.#socket = options.socket;
    this.#library = options.library;
    this.#keyOf = options.keyOf;
    this.#clock = options.clock;
    this.#settings = { ...defaultDtlsServerSettings, ...options.settings };
    this.#secret = options.entropy.bytes(32);
    this.#socket.onMessage((data, from) => this.#receive(data, from));
  }

  /** What is held at this moment; all of it is bounded. */
  get load(): { readonly sessions: number; readonly handshakes: number } {
    return { sessions: this.#sessions.size, handshakes: this.#handshakes.size };
  }

  /** Sends to a peer that has opened a session. */
  send(data: Uint8Array, to: SocketAddress): Promise<Result<void, SendError>> {
    const peer = this.#sessions.get(keyOf(to));
    if (peer !== undefined) return peer.conversation.send(data);
    const message = `${to.address} port ${to.port} has no DTLS session here`;
    return Promise.resolve(err({ errno: 'ENOTCONN', message }));
  }

  onMessage(handler: (data: Uint8Array, from: SocketAddress) => void): void {
    this.#onPlain = handler;
  }

  /** Takes leave of every peer and closes the socket. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const peers = [...this.#sessions.values(), ...this.#handshakes.values()];
    for (const { cancelDeadline } of peers) cancelDeadline();
    await Promise.all(peers.map(({ conversation }) => conversation.close()));
    this.#sessions.clear();
    this.#handshakes.clear();
    this.#listener?.engine.free();
    this.#listener = undefined;
    await this.#socket.close();
  }

  #receive(data: Uint8Array, from: SocketAddress): void {
    if (this.#closing !== undefined) return;
    const key = keyOf(from);
    const pending = this.#handshakes.get(key);
    const session = this.#sessions.get(key);
    if (pending !== undefined) {
      pending.conversation.receive(data);
      // Until the new session is open, what is enciphered may still belong to the one before it.
      if (isProtected(data) && !pending.conversation.isOpen) session?.conversation.receive(data);
    } else if (session !== undefined && !isHello(data)) {
      session.conversation.receive(data);
    } else if (isHello(data)) {
      this.#listen(data, from);
    } else {
      this.counters.ignored += 1;
    }
  }

  /** Asks a hello for its cookie; one that brings it begins a handshake. */
  #listen(data: Uint8Array, from: SocketAddress): void {
    this.#listener ??= this.#createListener();
    const { engine, caller } = this.#listener;
    const cookie = createHmac('sha256', this.#secret).update(keyOf(from)).digest();
    const step = engine.receive(data, cookie);
    if (engine.phase === 'listening') {
      for (const datagram of step.outgoing) void this.#socket.send(datagram, from);
      return;
    }
    this.#listener = undefined;
    caller.address = from;
    const peer = this.#createPeer(engine, from);
    this.#handshakes.set(keyOf(from), peer);
    this.#evict(this.#handshakes, this.#settings.handshakesMax);
    peer.conversation.adopt(step);
  }

  /** Whose key is asked for is known as soon as a hello has brought its cookie. */
  #createListener(): Listener {
    const caller: Listener['caller'] = { address: undefined };
    const keyOf = (identity: string): Uint8Array | undefined =>
      caller.address === undefined ? undefined : this.#keyOf(identity, caller.address);
    return { engine: this.#library.createServer({ keyOf, flightMs: this.#settings.flightMs }), caller };
  }

  #createPeer(engine: DtlsEngine, from: SocketAddress): Peer {
    const key = keyOf(from);
    const conversation = new DtlsConversation({
      engine,
      clock: this.#clock,
      send: (data) => this.#socket.send(data, from),
      events: {
        onOpen: () => this.#admit(key, peer),
        onPlain: (plain) => {
          this.#touch(key, peer);
          this.#onPlain?.(plain, from);
        },
        onEnd: () => this.#forget(key, peer),
      },
    });
    const peer: Peer = {
      conversation,
      cancelDeadline: this.#clock.schedule(this.#settings.handshakeMs, () => {
        void conversation.close();
        this.#forget(key, peer);
      }),
    };
    return peer;
  }

  #admit(key: string, peer: Peer): void {
    peer.cancelDeadline();
    this.counters.opened += 1;
    this.#handshakes.delete(key);
    // Its client has forgotten the session before this one: to take leave in that would only confuse it.
    const before = this.#sessions.get(key);
    this.#sessions.delete(key);
    this.#sessions.set(key, peer);
    before?.conversation.abandon();
    this.#evict(this.#sessions, this.#settings.sessionsMax);
  }

  #touch(key: string, peer: Peer): void {
    if (this.#sessions.get(key) !== peer) return;
    this.#sessions.delete(key);
    this.#sessions.set(key, peer);
  }

  #forget(key: string, peer: Peer): void {
    peer.cancelDeadline();
    if (this.#handshakes.get(key) === peer) {
      this.#handshakes.delete(key);
      this.counters.failed += 1;
    }
    if (this.#sessions.get(key) === peer) this.#sessions.delete(key);
  }

  #evict(peers: Map<string, Peer>, countMax: number): void {
    for (const [key, peer] of peers) {
      if (peers.size <= countMax) return;
      peers.delete(key);
      this.counters.evicted += 1;
      peer.cancelDeadline();
      void peer.conversation.close();
    }
  }
}

function keyOf({ address, port }: SocketAddress): string {
  return `${address}|${port}`;
}
