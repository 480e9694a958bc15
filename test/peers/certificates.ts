// Certificates for a test, made with the openssl tool: authorities, and what they sign.
import { join } from 'node:path';
import { run } from '../real/programs.ts';

const opensslMs = 30_000;

/** A certificate and its key, by their files. */
export interface Pair {
  readonly certFile: string;
  readonly keyFile: string;
}

/** Makes an authority. */
export async function makeAuthority(directory: string, name: string): Promise<Pair> {
  const pair = pairOf(directory, name);
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', pair.keyFile];
  await openssl(['req', '-x509', ...key, '-subj', `/CN=${name}`, '-days', '30', '-out', pair.certFile]);
  return pair;
}

/** Makes a certificate that `authority` signs; for a broker `host` is the name or the address it is reached by. */
export async function makeCertificate(
  directory: string,
  name: string,
  authority: Pair,
  settings: { readonly host?: string; readonly isExpired?: boolean } = {},
): Promise<Pair> {
  const { host, isExpired = false } = settings;
  const pair = pairOf(directory, name);
  const request = join(directory, `${name}.csr`);
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', pair.keyFile];
  const kind = host === undefined ? '' : /^[\d.]+$/u.test(host) ? 'IP' : 'DNS';
  const names = host === undefined ? [] : ['-addext', `subjectAltName=${kind}:${host}`];
  await openssl(['req', '-new', ...key, '-subj', `/CN=${name}`, ...names, '-out', request]);
  const signing = ['-CA', authority.certFile, '-CAkey', authority.keyFile, '-copy_extensions', 'copy'];
  // A day that has passed; less than none is not taken by every version.
  const validity = isExpired ? ['-days', '-1'] : ['-days', '30'];
  await openssl(['x509', '-req', '-in', request, ...signing, ...validity, '-out', pair.certFile]);
  return pair;
}

function openssl(args: readonly string[]): Promise<string> {
  return run('openssl', args, opensslMs);
}

function pairOf(directory: string, name: string): Pair {
  return { certFile: join(directory, `${name}.pem`), keyFile: join(directory, `${name}.key`) };
}
