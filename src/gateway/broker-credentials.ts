import { X509Certificate, createPrivateKey } from 'node:crypto';
import { BatonError, errnoCode, errorText } from '../base/errors.ts';
import { readWhole } from '../host/filesystem.ts';
import type { Host } from '../host/host.ts';
import type { TlsIdentity } from '../host/network.ts';
import { formatPointOfAccess } from '../onem2m/address.ts';
import type { PointOfAccess } from '../onem2m/address.ts';
import type { BrokerConfig } from './config.ts';

/**
 * What a broker is shown and trusted by, read from the files that the configuration names. What is wrong with a file is found
 * here, before any connection; what the broker's side refuses is put into words with the file that it is about. Keys and
 * passwords appear in no message.
 */

/** A file of credentials that cannot be used; the message names it and the way out. */
export class CredentialError extends BatonError {
  readonly code = 'CREDENTIAL';
}

/** The credentials for one broker. */
export interface BrokerCredentials {
  readonly username?: string;
  readonly password?: string;
  readonly tls?: Omit<TlsIdentity, 'serverName'>;
}

/** The settings that name the files. */
export type BrokerSettings = Omit<BrokerConfig, 'url' | 'advertise'>;

const fileBytesMax = 256 * 1024;

/** Reads and checks the files; throws `CredentialError`. */
export async function loadBrokerCredentials(
  host: Pick<Host, 'filesystem' | 'clock'>,
  settings: BrokerSettings,
): Promise<BrokerCredentials> {
  const { username, passwordFile, tls } = settings;
  const read = (path: string | undefined, what: string): Promise<string | undefined> =>
    path === undefined ? Promise.resolve(undefined) : readText(host, path, what);
  const password = (await read(passwordFile, 'the password'))?.replace(/\r?\n$/u, '');
  const caPem = await read(tls?.caFile, 'the certificates of the authorities');
  const certPem = await read(tls?.certFile, 'the certificate of this gateway');
  const keyPem = await read(tls?.keyFile, 'the key of this gateway');
  if (caPem !== undefined) certificateIn(caPem, tls?.caFile ?? '');
  if (certPem !== undefined && keyPem !== undefined)
    checkPair(certPem, keyPem, tls?.certFile ?? '', tls?.keyFile ?? '', host.clock.unixMs());
  return {
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(tls === undefined
      ? {}
      : {
          tls: {
            ...(caPem === undefined ? {} : { caPem }),
            ...(certPem === undefined ? {} : { certPem }),
            ...(keyPem === undefined ? {} : { keyPem }),
          },
        }),
  };
}

async function readText(host: Pick<Host, 'filesystem'>, path: string, what: string): Promise<string> {
  let octets: Uint8Array | undefined;
  try {
    octets = await readWhole(host.filesystem, path, fileBytesMax);
  } catch (cause) {
    throw new CredentialError(`${path} (${what}) cannot be read: ${errorText(cause)}`, { cause });
  }
  if (octets === undefined) throw new CredentialError(`${path} (${what}) is not there; put it there`);
  return Buffer.from(octets).toString();
}

function certificateIn(pem: string, path: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (cause) {
    throw new CredentialError(`${path} holds no certificate in PEM; give one that begins with -----BEGIN`, {
      cause,
    });
  }
}

function checkPair(certPem: string, keyPem: string, certFile: string, keyFile: string, nowMs: number): void {
  const certificate = certificateIn(certPem, certFile);
  let fits: boolean;
  try {
    fits = certificate.checkPrivateKey(createPrivateKey(keyPem));
  } catch (cause) {
    // The cause stays away from the message: it could quote the file.
    throw new CredentialError(`${keyFile} holds no private key in PEM without a passphrase`, { cause });
  }
  if (!fits) {
    throw new CredentialError(
      `the key ${keyFile} does not fit the certificate ${certFile}; give the pair that was made together`,
    );
  }
  const { validTo } = certificate;
  if (Date.parse(validTo) < nowMs)
    throw new CredentialError(`the certificate ${certFile} expired on ${validTo}; renew it`);
}

/** What a connection to a broker failed of, in words that name the file and the way out; undefined for what is plain enough. */
export function explainBroker(
  error: unknown,
  pointOfAccess: PointOfAccess,
  { tls, username, serverName, passwordFile }: BrokerSettings,
): string | undefined {
  const caFile = tls?.caFile ?? 'the authorities of the system, as security.tls.caFile is not given,';
  const certFile = tls?.certFile;
  const name = serverName ?? pointOfAccess.host;
  const broker = formatPointOfAccess(pointOfAccess.scheme, pointOfAccess.host, pointOfAccess.port);
  const code = errnoCode(error) ?? (error as { code?: unknown } | undefined)?.code;
  switch (code) {
    case 'CERT_HAS_EXPIRED':
      return `the certificate of ${broker} has expired; renew it there, or set the clock of this gateway if it is wrong`;
    case 'CERT_NOT_YET_VALID':
      return `the certificate of ${broker} is not valid yet; set the clock of this gateway, it may be wrong`;
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return `the certificate of ${broker} is not for ${name}; set serverName of this broker under mqtt.brokers to a name in it, if that is the broker you mean`;
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
      return `the certificate of ${broker} was not signed by ${caFile}; give the authority that signed it (${code})`;
    case 'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED':
    case 'ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE':
      return certFile === undefined
        ? `${broker} wants a certificate of this gateway; give security.tls.certFile and keyFile`
        : `${broker} does not agree to a connection with ${certFile} (${code})`;
    case 'ERR_SSL_TLSV1_ALERT_UNKNOWN_CA':
      return `${broker} does not know who signed ${certFile}; give a certificate of its authority, or that authority to the broker`;
    case 'ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED':
      return `${broker} says that ${certFile} has expired; renew it`;
    case 'ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE':
    case 'ERR_SSL_SSLV3_ALERT_CERTIFICATE_UNKNOWN':
    case 'ERR_SSL_SSLV3_ALERT_CERTIFICATE_REVOKED':
      return `${broker} refuses ${certFile} (${code}); give another one`;
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
      return `${broker} does not speak TLS at this port; use mqtt:// or its other port`;
    case 'ECONNRESET':
      return pointOfAccess.scheme === 'mqtt'
        ? undefined
        : `${broker} ends the connection without a word; does it speak TLS at this port? If not, use mqtt:// or its other port`;
    case 4:
    case 134:
      return `${broker} refuses the password of ${username ?? 'nobody'}; check username and ${passwordFile ?? 'passwordFile'}`;
    case 5:
    case 135:
      return `${broker} does not allow ${username === undefined ? 'a client without username' : username} in; check username and ${passwordFile ?? 'passwordFile'}, or its access list`;
    default:
      return undefined;
  }
}
