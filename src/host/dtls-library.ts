/**
 * DTLS 1.2 with a pre-shared key (RFC 6347, RFC 4279) by OpenSSL: the one that Node itself carries and keeps up to date,
 * called through koffi, because Node offers TLS over streams only. No word of the protocol is spoken here; this file
 * moves datagrams in and out of OpenSSL's memory BIOs and answers its callbacks.
 *
 * Why this way, beside the packages that there are (libcoap's server on loopback, x86-64; median, CPU of our side):
 *
 *                      handshake  CPU       lost flight      socket    calls and is called  brings with it
 *   OpenSSL of Node    2 ms       0.7 ms    sent again       injected  both                 nothing: koffi is here already
 *   node-dtls-client   22 ms      8 ms      handshake ends   its own   calls only           6 packages, Node 22
 *   @nodertc/dtls      13 ms      9 ms      sent again       given     calls only           150 packages
 *   werift-dtls        for the certificates of WebRTC                                       32 packages
 *
 * The symbols are there in Node 20, 22 and 24 of nodejs.org for x86-64 and arm64: add-ons are built against them.
 *
 * One engine is one side of one session. It is fed datagrams and hands out datagrams, and it must be freed. A record that
 * cannot be authenticated is dropped without a trace; nothing that arrives makes these calls throw. A memory BIO knows no
 * datagrams: each one is taken in whole before the next, and what OpenSSL writes is packed anew, so that a flight takes as
 * few datagrams as `mtuBytes` allows (dtls-records.ts).
 *
 * OpenSSL measures the pause before a flight is sent again by itself, on the system's time: `continueFlight` does nothing
 * before it has passed. Should that time be set back meanwhile, the handshake ends at its deadline (I11).
 */
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import type { DtlsCredentials } from './dtls-credentials.ts';
import { isKeyChange, packed, plausible, recordsIn } from './dtls-records.ts';
import { answering, bindOpenssl, ssl } from './openssl.ts';
import type { Asked, Openssl, Pointer } from './openssl.ts';

/** Why a session is over. */
export interface DtlsEnd {
  /** `closed`: the peer said so (close_notify). `alert`: the peer gave it up. `failed`: this side did. */
  readonly kind: 'closed' | 'alert' | 'failed';
  /** Number of the alert (RFC 5246 7.2), where the peer sent one. */
  readonly alert?: number;
  readonly message: string;
}

/** What came of one call of an engine. */
export interface DtlsStep {
  /** Datagrams for the peer, in this order. */
  readonly outgoing: readonly Uint8Array[];
  /** What the peer said, a datagram each, deciphered. */
  readonly incoming: readonly Uint8Array[];
}

/** One side of a session. Every call returns at once. */
export interface DtlsEngine {
  /** `listening`: a server that waits for a hello with its cookie. `ended`: see `end`. */
  readonly phase: 'listening' | 'handshaking' | 'open' | 'ended';
  /** Why it has ended. */
  readonly end: DtlsEnd | undefined;
  /** Pause after which the last flight is to be sent again, from the moment it was sent. */
  readonly flightMs: Millis;
  /** How often this side has sent the proof that it knows the key: more than once when it found no answer. */
  readonly proofs: number;
  /** Name of the cipher suite once the session is open. */
  readonly cipher: string | undefined;
  /** A client's first flight. */
  begin(): DtlsStep;
  /** Takes a datagram of the peer. A listening server compares its cookie with `cookie`, or asks for it. */
  receive(datagram: Uint8Array, cookie?: Uint8Array): DtlsStep;
  /** Sends the last flight again when its pause has passed. */
  continueFlight(): DtlsStep;
  /** Enciphers a datagram of at most `plainBytesMax` octets; nothing goes out unless the session is open. */
  write(plain: Uint8Array): DtlsStep;
  /** Takes leave of the peer (close_notify) and ends. */
  close(): DtlsStep;
  /** Gives its memory back; it has ended then. Calling it twice is fine. */
  free(): void;
}

/** Settings of an engine. */
export interface DtlsEngineOptions {
  /** Largest datagram of a handshake. */
  readonly mtuBytes?: number;
  /** First pause before a flight is sent again; it doubles from time to time. */
  readonly flightMs?: Millis;
}

/** Makes engines. */
export interface DtlsLibrary {
  /** Name and version. */
  readonly version: string;
  createClient(options: DtlsEngineOptions & { readonly credentials: DtlsCredentials }): DtlsEngine;
  /** `keyOf` gives the key of an identity, or undefined for one that is not known. */
  createServer(
    options: DtlsEngineOptions & { readonly keyOf: (identity: string) => Uint8Array | undefined },
  ): DtlsEngine;
}

/** Longest datagram that an engine enciphers or deciphers. */
export const plainBytesMax = 8192;

const defaultMtuBytes = 1200;
const defaultFlightMs = millis(1000);
const flightMsMax = 8000;
let loading: Promise<DtlsLibrary> | undefined;

/** The library, loaded once. Throws `IoError` with the way out where this Node cannot be asked for it. */
export function loadDtlsLibrary(): Promise<DtlsLibrary> {
  loading ??= bindOpenssl().then((openssl) => ({
    version: openssl.version,
    createClient: (options) => new OpensslEngine(openssl, 'client', options),
    createServer: (options) => new OpensslEngine(openssl, 'server', options),
  }));
  return loading;
}

class OpensslEngine implements DtlsEngine {
  phase: DtlsEngine['phase'];
  end: DtlsEnd | undefined;
  flightMs: Millis;
  proofs = 0;
  cipher: string | undefined;
  readonly #openssl: Openssl;
  readonly #asked: Omit<Asked, 'cookie'>;
  readonly #mtuBytes: number;
  readonly #arriving: Pointer;
  readonly #leaving: Pointer;
  #session: Pointer;

  constructor(
    openssl: Openssl,
    side: 'client' | 'server',
    options: DtlsEngineOptions & Pick<Asked, 'credentials' | 'keyOf'>,
  ) {
    const firstMs = options.flightMs ?? defaultFlightMs;
    this.#openssl = openssl;
    this.#mtuBytes = options.mtuBytes ?? defaultMtuBytes;
    this.#asked = {
      ...options,
      pauseUs: (beforeUs) => {
        this.flightMs = millis(beforeUs === 0 ? firstMs : Math.min((2 * beforeUs) / 1000, flightMsMax));
        return this.flightMs * 1000;
      },
    };
    this.flightMs = firstMs;
    this.phase = side === 'client' ? 'handshaking' : 'listening';
    this.#session = side === 'client' ? openssl.newClient() : openssl.newServer();
    const { arriving, leaving } = openssl.attach(this.#session);
    this.#arriving = arriving;
    this.#leaving = leaving;
    openssl.setMtu(this.#session, this.#mtuBytes);
    openssl.setTimer(this.#session);
  }

  begin(): DtlsStep {
    return this.#run((incoming) => this.#advance(incoming));
  }

  receive(datagram: Uint8Array, cookie: Uint8Array = new Uint8Array()): DtlsStep {
    const tooLong = datagram.length > plainBytesMax + defaultMtuBytes;
    const arriving = tooLong ? new Uint8Array() : plausible(datagram, this.cipher);
    if (arriving.length === 0) return { outgoing: [], incoming: [] };
    return this.#run((incoming) => {
      this.#openssl.put(this.#arriving, arriving);
      if (this.phase === 'listening') this.#listen();
      this.#advance(incoming);
    }, cookie);
  }

  continueFlight(): DtlsStep {
    return this.#run((incoming) => {
      if (this.phase !== 'handshaking') return;
      this.#openssl.handleTimeout(this.#session);
      this.#advance(incoming);
    });
  }

  write(plain: Uint8Array): DtlsStep {
    return this.#run(() => {
      if (this.phase !== 'open' || plain.length === 0 || plain.length > plainBytesMax) return;
      this.#check(this.#openssl.write(this.#session, plain));
    });
  }

  close(): DtlsStep {
    return this.#run(() => {
      if (this.phase === 'open') this.#openssl.shutdown(this.#session);
      this.#finish({ kind: 'closed', message: 'closed on this side' });
    });
  }

  free(): void {
    if (this.#session === undefined) return;
    this.#openssl.free(this.#session);
    this.#session = undefined;
    this.#finish({ kind: 'closed', message: 'closed on this side' });
  }

  /** Calls OpenSSL with this engine's answers at hand and collects what it wrote. */
  #run(work: (incoming: Uint8Array[]) => void, cookie: Uint8Array = new Uint8Array()): DtlsStep {
    const incoming: Uint8Array[] = [];
    if (this.#session === undefined || this.phase === 'ended') return { outgoing: [], incoming };
    this.#openssl.clearErrors(); // the queue is shared with the rest of Node, and what was left there is not ours
    answering({ ...this.#asked, cookie }, () => work(incoming));
    this.#openssl.clearErrors();
    const records = recordsIn(this.#openssl.take(this.#leaving));
    if (records.some(isKeyChange)) this.proofs += 1;
    return { outgoing: packed(records, this.#mtuBytes), incoming };
  }

  #listen(): void {
    if (this.#openssl.listen(this.#session) === 1) this.phase = 'handshaking';
  }

  /** Goes on as far as what has arrived allows. */
  #advance(incoming: Uint8Array[]): void {
    if (this.phase === 'handshaking') {
      const result = this.#openssl.handshake(this.#session);
      if (result === 1) {
        this.phase = 'open';
        this.cipher = this.#openssl.cipherOf(this.#session);
      } else this.#check(result);
    }
    while (this.phase === 'open') {
      const length = this.#openssl.read(this.#session, scratch);
      if (length <= 0) {
        this.#check(length);
        return;
      }
      incoming.push(scratch.slice(0, length));
    }
  }

  /** Ends the engine where a result says that it cannot go on; waiting for the peer is no such case. */
  #check(result: number): void {
    if (result > 0) return;
    switch (this.#openssl.errorOf(this.#session, result)) {
      case ssl.errorZeroReturn:
        this.#finish({ kind: 'closed', message: 'closed by the peer' });
        return;
      case ssl.errorSsl:
      case ssl.errorSyscall: {
        const { reason, text } = this.#openssl.firstError();
        const alert = reason - ssl.alertBase;
        if (alert >= 0 && alert < 256) this.#finish({ kind: 'alert', alert, message: text });
        else this.#finish({ kind: 'failed', message: text });
      }
    }
  }

  #finish(end: DtlsEnd): void {
    this.end ??= end;
    this.phase = 'ended';
  }
}

/** Every engine deciphers into it; its content is copied out before the next call. */
const scratch = new Uint8Array(16_384 + 1024);
