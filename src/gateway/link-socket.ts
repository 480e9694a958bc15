import { IoError, errnoCode, errorText } from '../base/errors.ts';
import type { DatagramSocket, Network } from '../host/network.ts';
import type { LinkConfig } from './config.ts';

/**
 * Opens a UDP socket on the address of a link, at the port that one of its keys names. Throws `IoError` with the way out when
 * the address is not there or the port is taken.
 */
export async function openLinkSocket(
  network: Network,
  link: LinkConfig,
  portKey: 'port' | 'securePort',
): Promise<DatagramSocket> {
  const { localAddress, [portKey]: port } = link;
  const wanted = { localAddress, ...(port === undefined ? {} : { port }) };
  return network.openDatagram(wanted).catch((cause: unknown) => {
    throw new IoError(`${errorText(cause)}; ${wayOut(cause, link, portKey)}`, { cause });
  });
}

function wayOut(error: unknown, link: LinkConfig, portKey: 'port' | 'securePort'): string {
  const { name, localAddress, [portKey]: port } = link;
  const code = errnoCode(error instanceof Error ? error.cause : error);
  if (code === 'EADDRNOTAVAIL') {
    return `bring the link up, or set localAddress of link ${name} to an address of this machine ("ip address" lists them), not ${localAddress}`;
  }
  if (code === 'EADDRINUSE') {
    return `end the program that uses it ("ss -ulnp" lists them), or set another ${portKey} of link ${name}`;
  }
  if (code === 'EACCES') {
    return `choose a ${portKey} of link ${name} above 1023, not ${port}, or give this user the right to it`;
  }
  return `check localAddress of link ${name}`;
}
