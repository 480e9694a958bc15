import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { millis } from '../base/units.ts';
import type { CancelTimer, Clock } from '../host/clock.ts';
import { plainBytesMax } from '../host/dtls-library.ts';
import type { DtlsEnd, DtlsEngine, DtlsStep } from '../host/dtls-library.ts';
import type { SendError } from '../host/network.ts';

/** What a conversation tells its owner. */
export interface ConversationEvents {
  /** The handshake is done: the peer has proved that it knows the key. */
  onOpen(): void;
  /** A datagram of the peer, deciphered. */
  onPlain(plain: Uint8Array): void;
  /** The session is over; nothing more is told. The system's refusal to send ends a handshake, not an open session. */
  onEnd(end: DtlsEnd | { readonly kind: 'refused'; readonly message: string }): void;
}

/** What a conversation counted. */
export interface ConversationCounters {
  /** Datagrams handed to the network, and those that came. */
  sent: number;
  received: number;
  /** Of those that came: neither authentic nor of use to the handshake. */
  ignored: number;
  /** Flights of the handshake that were sent again because nothing came. */
  repeatedFlights: number;
}

/** OpenSSL's own measure of a flight's pause may end a little after ours: so long until it is asked again. */
const askAgainMs = millis(20);

/** An engine at work with one peer: its flights in time, its datagrams on their way, its end told once. */
export class DtlsConversation {
  readonly counters: ConversationCounters = { sent: 0, received: 0, ignored: 0, repeatedFlights: 0 };
  readonly #engine: DtlsEngine;
  readonly #clock: Clock;
  readonly #sendDatagram: (data: Uint8Array) => Promise<Result<void, SendError>>;
  readonly #events: ConversationEvents;
  #cancelFlight: CancelTimer = () => undefined;
  #isOpen = false;
  #hasEnded = false;

  constructor(options: {
    engine: DtlsEngine;
    clock: Clock;
    send: (data: Uint8Array) => Promise<Result<void, SendError>>;
    events: ConversationEvents;
  }) {
    this.#engine = options.engine;
    this.#clock = options.clock;
    this.#sendDatagram = options.send;
    this.#events = options.events;
  }

  get isOpen(): boolean {
    return this.#isOpen && !this.#hasEnded;
  }

  /** Whether this side has proved that it knows the key, and had to repeat it. */
  get hasProvedInVain(): boolean {
    return this.#engine.proofs > 1;
  }

  get cipher(): string | undefined {
    return this.#engine.cipher;
  }

  /** Sends the first flight of a client. */
  begin(): void {
    this.#take(this.#engine.begin());
  }

  /** Goes on with what a listening engine has answered already. */
  adopt(step: DtlsStep): void {
    this.#take(step);
  }

  /** Takes what came from the peer, or from someone who says that it is the peer. */
  receive(datagram: Uint8Array): void {
    if (this.#hasEnded) return;
    this.counters.received += 1;
    const wasOpen = this.#isOpen;
    const step = this.#engine.receive(datagram);
    const isOfUse = step.incoming.length > 0 || step.outgoing.length > 0 || this.#engine.phase === 'ended';
    if (wasOpen && !isOfUse) this.counters.ignored += 1;
    this.#take(step);
  }

  /** Enciphers and sends a datagram. */
  async send(plain: Uint8Array): Promise<Result<void, SendError>> {
    if (!this.isOpen) return err({ errno: 'ENOTCONN', message: 'the DTLS session is not open' });
    if (plain.length === 0 || plain.length > plainBytesMax) {
      const message = `a datagram of ${plain.length} octets; 1 to ${plainBytesMax} go through DTLS`;
      return err({ errno: 'EMSGSIZE', message });
    }
    const step = this.#engine.write(plain);
    let outcome: Result<void, SendError> = ok(undefined);
    for (const data of step.outgoing) {
      const sent = await this.#sendOne(data);
      if (!sent.ok) outcome = sent;
    }
    if (step.outgoing.length === 0)
      outcome = err({ errno: 'EIO', message: 'the datagram was not enciphered' });
    this.#endIfOver();
    return outcome;
  }

  /** Takes leave of the peer, as far as it is there, and ends without telling; the socket may be closed then. */
  async close(): Promise<void> {
    if (this.#hasEnded) return;
    this.#end();
    const { outgoing } = this.#engine.close();
    this.#engine.free();
    await Promise.all(outgoing.map((data) => this.#sendOne(data)));
  }

  /** Ends without a word to the peer. */
  abandon(): void {
    if (this.#hasEnded) return;
    this.#end();
    this.#engine.free();
  }

  #take(step: DtlsStep): void {
    const wasOpen = this.#isOpen;
    if (step.outgoing.length > 0) this.#armFlight(this.#engine.flightMs);
    if (this.#engine.phase !== 'handshaking') this.#cancelFlight();
    for (const data of step.outgoing) {
      void this.#sendOne(data).then((sent) => {
        if (sent.ok || this.#isOpen || this.#hasEnded) return;
        this.#tellEnd({ kind: 'refused', message: sent.error.message });
      });
    }
    if (!wasOpen && this.#engine.phase === 'open') {
      this.#isOpen = true;
      this.#events.onOpen();
    }
    for (const plain of step.incoming) {
      if (!this.#hasEnded) this.#events.onPlain(plain);
    }
    this.#endIfOver();
  }

  #armFlight(delayMs: number): void {
    this.#cancelFlight();
    this.#cancelFlight = this.#clock.schedule(millis(delayMs), () => {
      const step = this.#engine.continueFlight();
      if (step.outgoing.length > 0) this.counters.repeatedFlights += 1;
      else if (this.#engine.phase === 'handshaking') this.#armFlight(askAgainMs);
      this.#take(step);
    });
  }

  #sendOne(data: Uint8Array): Promise<Result<void, SendError>> {
    this.counters.sent += 1;
    return this.#sendDatagram(data);
  }

  #endIfOver(): void {
    const { end, phase } = this.#engine;
    if (phase === 'ended' && end !== undefined && !this.#hasEnded) this.#tellEnd(end);
  }

  #tellEnd(end: Parameters<ConversationEvents['onEnd']>[0]): void {
    this.#end();
    this.#engine.free();
    this.#events.onEnd(end);
  }

  #end(): void {
    this.#hasEnded = true;
    this.#cancelFlight();
  }
}
