import type { SocketAddress } from '../host/network.ts';

/**
 * A peer as its datagrams name it: an IPv6 address can be written in many ways, and an answer counts only from the
 * address that was asked. IPv4 addresses, and IPv6 ones that are in order already, are returned as they are.
 */
export function canonicalPeer(peer: SocketAddress): SocketAddress {
  const { address, port } = peer;
  if (!address.includes(':')) return peer;
  const [literal = '', zone] = address.split('%', 2);
  const canonical = canonicalIpv6(literal) + (zone === undefined ? '' : `%${zone}`);
  return canonical === address ? peer : { address: canonical, port };
}

function canonicalIpv6(literal: string): string {
  // RFC 5952 4, but for an address that stands for one of IPv4, which is written as such (RFC 5952 5).
  const text = URL.canParse(`coap://[${literal}]`)
    ? new URL(`coap://[${literal}]`).hostname.slice(1, -1)
    : '';
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/u.exec(text);
  if (mapped === null) return text === '' ? literal : text;
  const [high = 0, low = 0] = mapped.slice(1).map((part) => Number.parseInt(part, 16));
  return `::ffff:${[high >> 8, high & 255, low >> 8, low & 255].join('.')}`;
}
