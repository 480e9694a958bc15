import { Resolver } from 'node:dns/promises';
import { isIP, isIPv6 } from 'node:net';
import { IoError, errorText } from '../base/errors.ts';
import type { Millis } from '../base/units.ts';

/** How a name is asked for over one link. */
export interface BoundLookup {
  readonly host: string;
  /** Name servers that are reached over the link, literal addresses, tried in their order. */
  readonly servers: readonly string[];
  /** Address of the link: queries leave by it. */
  readonly localAddress: string;
  /** For one try at one server. */
  readonly timeoutMs: Millis;
}

const triesMax = 2;

/**
 * An address of a host name, of the same version of IP as `localAddress`, asked for over one link and not by whatever resolver
 * the machine has: that one may sit behind another link, or behind one that is dead. A literal address is returned as it is.
 * Throws `IoError` with the way out when there is none.
 */
export async function resolveOver(lookup: BoundLookup): Promise<string> {
  const { host, servers, localAddress, timeoutMs } = lookup;
  if (isIP(host) !== 0) return host;
  if (servers.length === 0) {
    throw new IoError(
      `host name ${host}: no name server is known for ${localAddress}; set dnsServers of its link`,
    );
  }
  const resolver = new Resolver({ timeout: timeoutMs, tries: triesMax });
  const isSix = isIPv6(localAddress);
  try {
    resolver.setServers(servers.map((server) => (isIPv6(server) ? `[${server}]` : server)));
    resolver.setLocalAddress(isSix ? '0.0.0.0' : localAddress, isSix ? localAddress : '::0');
    const [address] = isSix ? await resolver.resolve6(host) : await resolver.resolve4(host);
    if (address === undefined) throw new IoError('the answer is empty');
    return address;
  } catch (cause) {
    throw new IoError(
      `host name ${host} has no address by ${servers.join(', ')} over ${localAddress}: ${errorText(cause)}`,
      { cause },
    );
  } finally {
    resolver.cancel();
  }
}
