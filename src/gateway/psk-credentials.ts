import { IoError, errorText } from '../base/errors.ts';
import type { DtlsCredentials } from '../host/dtls-credentials.ts';
import { readWhole } from '../host/filesystem.ts';
import type { Filesystem } from '../host/filesystem.ts';
import type { PskConfig } from './config.ts';

const fileBytesMax = 4096;
const keyPattern = /^(?:[0-9a-f]{2}){8,64}$/iu;

/**
 * Reads a pre-shared key: 16 to 128 hexadecimal digits in a file that its owner and, for reading, its group alone may use. Throws
 * `IoError` that names the file and the way out; what the file holds appears in no message.
 */
export async function loadPsk(
  filesystem: Filesystem,
  { identity, keyFile }: PskConfig,
): Promise<DtlsCredentials> {
  const octets = await readWhole(filesystem, keyFile, fileBytesMax).catch((cause: unknown) => {
    throw new IoError(`${keyFile} (the key of ${identity}) cannot be read: ${errorText(cause)}`, { cause });
  });
  if (octets === undefined) {
    const wayOut = `make one with "openssl rand -hex 16 > ${keyFile}", and tell it to the CSE`;
    throw new IoError(`${keyFile} (the key of ${identity}) is not there; ${wayOut}`);
  }
  const mode = (await filesystem.modeOf?.(keyFile)) ?? 0o600;
  if ((mode & 0o027) !== 0) {
    const shown = mode.toString(8);
    throw new IoError(`${keyFile} is open to others (mode ${shown}); "chmod 600 ${keyFile}" closes it`);
  }
  const digits = Buffer.from(octets).toString('latin1').trim();
  if (!keyPattern.test(digits)) {
    throw new IoError(`${keyFile} holds no key; it needs 16 to 128 hexadecimal digits, two for each octet`);
  }
  return { identity, key: Buffer.from(digits, 'hex') };
}
