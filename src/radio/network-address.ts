/**
 * Addresses as 3GPP TS 27.007 10.1.23 and 10.1.27 print them: IPv4 with dots, IPv6 with colons or as sixteen numbers
 * with dots, each with the subnet mask appended by some modems (8 or 32 numbers). All zeros mean "none".
 */

/** The address in its usual form, without a mask; undefined for none and for what is no address. */
export function readAddress(text: string): string | undefined {
  const plain = text.trim().replace(/^IPV[46]:/i, '');
  if (plain.includes(':')) {
    const groups = readColons(plain);
    return groups === undefined || groups.every((group) => group === 0) ? undefined : formatIpv6(groups);
  }
  if (!/^\d{1,3}(?:\.\d{1,3}){3,31}$/.test(plain)) return undefined;
  const octets = plain.split('.').map(Number);
  if (octets.some((octet) => octet > 255)) return undefined;
  const isIpv6 = octets.length === 16 || octets.length === 32;
  if (!isIpv6 && octets.length !== 4 && octets.length !== 8) return undefined;
  const address = octets.slice(0, isIpv6 ? 16 : 4);
  if (address.every((octet) => octet === 0)) return undefined;
  if (!isIpv6) return address.join('.');
  return formatIpv6(
    Array.from({ length: 8 }, (_, index) => (address[2 * index] ?? 0) * 256 + (address[2 * index + 1] ?? 0)),
  );
}

/** Every address in a field that may hold several: `IPV4:192.0.2.1    IPV6:::2001:DB8`. */
export function readAddresses(text: string): string[] {
  return text.split(/\s+/).flatMap((part) => readAddress(part) ?? []);
}

function readColons(text: string): number[] | undefined {
  const halves = text.replace(/%.*$|\/\d+$/, '').split('::');
  if (halves.length > 2) return undefined;
  const [head = [], tail = []] = halves.map((half) => (half === '' ? [] : half.split(':')));
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 0) return undefined;
  const groups = [...head, ...Array.from({ length: missing }, () => '0'), ...tail];
  return groups.every((group) => /^[0-9a-f]{1,4}$/i.test(group))
    ? groups.map((group) => Number.parseInt(group, 16))
    : undefined;
}

/** RFC 5952: lower case, the longest run of zero groups shortened. */
function formatIpv6(groups: readonly number[]): string {
  let bestAt = -1;
  let bestLength = 1;
  for (let at = 0; at < groups.length; at++) {
    let length = 0;
    while (groups[at + length] === 0) length++;
    if (length > bestLength) [bestAt, bestLength] = [at, length];
  }
  const text = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(':');
  if (bestAt < 0) return text(groups);
  return `${text(groups.slice(0, bestAt))}::${text(groups.slice(bestAt + bestLength))}`;
}
