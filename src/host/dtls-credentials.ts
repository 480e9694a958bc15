/** Who a client says it is, and the secret that proves it. The key is never part of a message, a log or a status. */
export interface DtlsCredentials {
  readonly identity: string;
  readonly key: Uint8Array;
}

/** Limits of RFC 4279 5.3 and of OpenSSL. */
export const identityBytesMax = 128;
export const keyBytesMax = 256;
