/**
 * The calls of OpenSSL that DTLS needs (dtls-library.ts), found in Node itself through koffi. Its callbacks are answered by
 * whoever made the call during which they come: everything here is synchronous.
 */
import type * as KoffiModule from 'koffi';
import { IoError, errorText } from '../base/errors.ts';
import type { DtlsCredentials } from './dtls-credentials.ts';

/**
 * Forward secrecy first; last the suite that RFC 7252 9.1.3.1 makes mandatory. OpenSSL takes its short tag for weak and
 * needs level 0 for it; level 0 adds nothing else to a list as strict as this one.
 */
const ciphers =
  'ECDHE-PSK-CHACHA20-POLY1305:PSK-AES256-GCM-SHA384:PSK-AES128-GCM-SHA256:PSK-AES128-CCM:PSK-AES128-CCM8:@SECLEVEL=0';

/** Constants of openssl/ssl.h, the same in every version since 1.1.1. */
export const ssl = {
  errorSsl: 1,
  errorSyscall: 5,
  errorZeroReturn: 6,
  ctrlSetMtu: 17,
  ctrlSessionCacheMode: 44,
  ctrlHandleTimeout: 74,
  ctrlMinVersion: 123,
  dtls12: 0xfefd,
  /** Reasons above this are alerts of the peer. */
  alertBase: 1000,
  reasonMask: 0x7f_ffff,
} as const;

/** NO_QUERY_MTU, NO_TICKET, NO_COMPRESSION, CIPHER_SERVER_PREFERENCE, NO_RENEGOTIATION. */
const contextOptions = (1n << 12n) | (1n << 14n) | (1n << 17n) | (1n << 22n) | (1n << 30n);

/** An address in OpenSSL's memory. */
export type Pointer = unknown;

/** The calls of OpenSSL that are used, with plain values. */
export interface Openssl {
  readonly version: string;
  newClient(): Pointer;
  newServer(): Pointer;
  free(session: Pointer): void;
  /** A memory BIO pair for a session: the octets that arrive and those that leave. */
  attach(session: Pointer): { readonly arriving: Pointer; readonly leaving: Pointer };
  setMtu(session: Pointer, mtuBytes: number): void;
  setTimer(session: Pointer): void;
  listen(session: Pointer): number;
  handshake(session: Pointer): number;
  handleTimeout(session: Pointer): void;
  shutdown(session: Pointer): void;
  read(session: Pointer, target: Uint8Array): number;
  write(session: Pointer, data: Uint8Array): number;
  errorOf(session: Pointer, result: number): number;
  cipherOf(session: Pointer): string;
  put(bio: Pointer, data: Uint8Array): void;
  take(bio: Pointer): Uint8Array;
  clearErrors(): void;
  /** Reason of the oldest error, with its text. */
  firstError(): { readonly reason: number; readonly text: string };
}

/** What OpenSSL asks for while a call runs. */
export interface Asked {
  readonly credentials?: DtlsCredentials;
  readonly keyOf?: (identity: string) => Uint8Array | undefined;
  readonly cookie: Uint8Array;
  pauseUs(beforeUs: number): number;
}

let asked: Asked | undefined;

/** Makes calls of OpenSSL, whose questions meanwhile are answered by `answers`. */
export function answering(answers: Asked, work: () => void): void {
  const before = asked;
  asked = answers;
  try {
    work();
  } finally {
    asked = before;
  }
}

/** Finds the calls. Throws `IoError` with the way out where this Node cannot be asked for them. */
export async function bindOpenssl(): Promise<Openssl> {
  const wayOut = 'coaps needs the koffi package and a Node that carries OpenSSL, as those from nodejs.org do';
  try {
    const { default: koffi } = await import('koffi');
    const library = koffi.load(null);
    return declareCalls(koffi, (declaration) => library.func(declaration));
  } catch (cause) {
    const reason = `cannot call the OpenSSL of Node ${process.version}: ${errorText(cause)}; ${wayOut}`;
    throw new IoError(reason, { cause });
  }
}

type Koffi = typeof KoffiModule.default;
type Call = (...args: unknown[]) => unknown;

function declareCalls(koffi: Koffi, declare: (declaration: string) => Call): Openssl {
  const contexts = createContexts(koffi, declare);
  const sslNew = declare('void *SSL_new(void *context)');
  const sslFree = declare('void SSL_free(void *session)');
  const sslCtrl = declare('long SSL_ctrl(void *session, int command, long number, void *pointer)');
  const setConnect = declare('void SSL_set_connect_state(void *session)');
  const setAccept = declare('void SSL_set_accept_state(void *session)');
  const setBio = declare('void SSL_set_bio(void *session, void *arriving, void *leaving)');
  const bioNew = declare('void *BIO_new(void *method)');
  const bioMemory = declare('void *BIO_s_mem()')();
  const bioWrite = declare('int BIO_write(void *bio, const uint8_t *data, int length)');
  const bioRead = declare('int BIO_read(void *bio, _Out_ uint8_t *data, int length)');
  const bioPending = declare('size_t BIO_ctrl_pending(void *bio)');
  const setTimer = declare('void DTLS_set_timer_cb(void *session, void *callback)');
  const listen = declare('int DTLSv1_listen(void *session, void *address)');
  const address = declare('void *BIO_ADDR_new()')();
  const handshake = declare('int SSL_do_handshake(void *session)');
  const shutdown = declare('int SSL_shutdown(void *session)');
  const read = declare('int SSL_read(void *session, _Out_ uint8_t *data, int length)');
  const write = declare('int SSL_write(void *session, const uint8_t *data, int length)');
  const errorOf = declare('int SSL_get_error(void *session, int result)');
  const cipherOf = declare('void *SSL_get_current_cipher(void *session)');
  const cipherName = declare('const char *SSL_CIPHER_get_name(void *cipher)');
  const clearErrors = declare('void ERR_clear_error()');
  const getError = declare('unsigned long ERR_get_error()');
  const reasonText = declare('const char *ERR_reason_error_string(unsigned long error)');
  const create = (context: Pointer, setSide: Call): Pointer => {
    const session = notNull(sslNew(context), 'SSL_new');
    setSide(session);
    return session;
  };
  return {
    version: String(declare('const char *OpenSSL_version(int part)')(0)),
    newClient: () => create(contexts.client, setConnect),
    newServer: () => create(contexts.server, setAccept),
    free: (session) => void sslFree(session),
    attach: (session) => {
      const arriving = notNull(bioNew(bioMemory), 'BIO_new');
      const leaving = notNull(bioNew(bioMemory), 'BIO_new');
      setBio(session, arriving, leaving);
      return { arriving, leaving };
    },
    setMtu: (session, mtuBytes) => void sslCtrl(session, ssl.ctrlSetMtu, mtuBytes, null),
    setTimer: (session) => void setTimer(session, contexts.timer),
    listen: (session) => Number(listen(session, address)),
    handshake: (session) => Number(handshake(session)),
    handleTimeout: (session) => void sslCtrl(session, ssl.ctrlHandleTimeout, 0, null),
    shutdown: (session) => void shutdown(session),
    read: (session, target) => Number(read(session, target, target.length)),
    write: (session, data) => Number(write(session, data, data.length)),
    errorOf: (session, result) => Number(errorOf(session, result)),
    cipherOf: (session) => String(cipherName(cipherOf(session))),
    put: (bio, data) => void bioWrite(bio, data, data.length),
    take: (bio) => {
      const data = new Uint8Array(Number(bioPending(bio)));
      if (data.length > 0) bioRead(bio, data, data.length);
      return data;
    },
    clearErrors: () => void clearErrors(),
    firstError: () => {
      const error = Number(getError());
      const text = error === 0 ? null : reasonText(error);
      return {
        reason: error & ssl.reasonMask,
        text: typeof text === 'string' ? text : 'the handshake cannot go on',
      };
    },
  };
}

/** One context for each side; the callbacks answer for the engine whose call is running. */
function createContexts(
  koffi: Koffi,
  declare: (declaration: string) => Call,
): { readonly client: Pointer; readonly server: Pointer; readonly timer: Pointer } {
  const contextNew = declare('void *SSL_CTX_new(void *method)');
  const setCiphers = declare('int SSL_CTX_set_cipher_list(void *context, const char *list)');
  const setOptions = declare('uint64_t SSL_CTX_set_options(void *context, uint64_t options)');
  const ctrl = declare('long SSL_CTX_ctrl(void *context, int command, long number, void *pointer)');
  const create = (method: string): Pointer => {
    const context = notNull(contextNew(declare(`void *${method}()`)()), method);
    if (setCiphers(context, ciphers) !== 1) throw new IoError('it knows none of the PSK cipher suites');
    ctrl(context, ssl.ctrlMinVersion, ssl.dtls12, null);
    ctrl(context, ssl.ctrlSessionCacheMode, 0, null);
    setOptions(context, contextOptions);
    return context;
  };
  const client = create('DTLS_client_method');
  const server = create('DTLS_server_method');
  const register = (prototype: string, callback: (...args: never[]) => number): Pointer =>
    koffi.register(callback, koffi.pointer(koffi.proto(prototype)));
  /** Copies octets to where OpenSSL wants them; their number, or 0 when they do not fit. */
  const fill = (target: Pointer, octets: Uint8Array, bytesMax: number): number => {
    if (octets.length > bytesMax) return 0;
    new Uint8Array(koffi.view(target, octets.length)).set(octets);
    return octets.length;
  };
  const askClient = register(
    'unsigned int BatonPskClient(void *s, void *hint, void *id, unsigned int idMax, void *key, unsigned int keyMax)',
    (_s: Pointer, _hint: Pointer, id: Pointer, idMax: number, key: Pointer, keyMax: number) => {
      const { credentials } = asked ?? {};
      if (credentials === undefined) return 0;
      const identity = Buffer.from(`${credentials.identity}\0`);
      return fill(id, identity, idMax) === 0 ? 0 : fill(key, credentials.key, keyMax);
    },
  );
  const askServer = register(
    'unsigned int BatonPskServer(void *s, const char *id, void *key, unsigned int keyMax)',
    (_s: Pointer, id: string, key: Pointer, keyMax: number) => {
      const found = asked?.keyOf?.(id);
      return found === undefined ? 0 : fill(key, found, keyMax);
    },
  );
  const makeCookie = register(
    'int BatonCookieMake(void *s, void *cookie, void *length)',
    (_s: Pointer, cookie: Pointer, length: Pointer) => {
      const octets = asked?.cookie ?? new Uint8Array();
      new Uint32Array(koffi.view(length, 4))[0] = fill(cookie, octets, 255);
      return octets.length > 0 ? 1 : 0;
    },
  );
  const checkCookie = register(
    'int BatonCookieCheck(void *s, void *cookie, unsigned int length)',
    (_s: Pointer, cookie: Pointer, length: number) => {
      const wanted = asked?.cookie ?? new Uint8Array();
      if (length === 0 || length !== wanted.length) return 0;
      return Buffer.from(koffi.view(cookie, length)).equals(wanted) ? 1 : 0;
    },
  );
  const timer = register(
    'unsigned int BatonDtlsTimer(void *s, unsigned int beforeUs)',
    (_s: Pointer, beforeUs: number) => asked?.pauseUs(beforeUs) ?? 1_000_000,
  );
  declare('void SSL_CTX_set_psk_client_callback(void *context, void *callback)')(client, askClient);
  declare('void SSL_CTX_set_psk_server_callback(void *context, void *callback)')(server, askServer);
  declare('void SSL_CTX_set_cookie_generate_cb(void *context, void *callback)')(server, makeCookie);
  declare('void SSL_CTX_set_cookie_verify_cb(void *context, void *callback)')(server, checkCookie);
  return { client, server, timer };
}

function notNull(pointer: Pointer, call: string): Pointer {
  if (pointer === null || pointer === undefined) throw new IoError(`${call} gave nothing: no memory left?`);
  return pointer;
}
