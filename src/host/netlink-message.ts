/**
 * Messages of the kernel's routing socket (rtnetlink(7), linux/rtnetlink.h, linux/if_link.h, linux/fib_rules.h), as far as
 * links, addresses, routes and policy rules need them. All numbers are in the byte order of the machine, which is little-endian
 * on every platform that is supported; addresses are in network order.
 *
 *   message    length u32, type u16, flags u16, sequence u32, port u32, payload; padded to 4 octets
 *   payload    a fixed head by type, then attributes: length u16, type u16, value; padded to 4 octets
 *
 * What the kernel adds in later versions is skipped. A message that does not follow the format is a `DecodeError`.
 */
import { SocketAddress, isIPv4, isIPv6 } from 'node:net';
import { DecodeError, EncodeError } from '../base/errors.ts';

/** Internet protocol version of an address, a route or a rule. */
export type AddressFamily = 4 | 6;

/** Types of messages (RTM_*, NLMSG_*). */
export const messageType = {
  error: 2,
  done: 3,
  overrun: 4,
  newLink: 16,
  deleteLink: 17,
  getLink: 18,
  newAddress: 20,
  deleteAddress: 21,
  getAddress: 22,
  newRoute: 24,
  deleteRoute: 25,
  getRoute: 26,
  newRule: 32,
  deleteRule: 33,
  getRule: 34,
} as const;

/** Flags of messages (NLM_F_*). */
export const messageFlag = {
  request: 0x1,
  acknowledge: 0x4,
  dumpInterrupted: 0x10,
  replace: 0x100,
  dump: 0x300,
  exclusive: 0x200,
  create: 0x400,
} as const;

/** Routing tables of the kernel itself (RT_TABLE_*). */
export const mainTable = 254;

/** Rank of the kernel's fallback routes, which never win over another one (RFC 4191 leaves none lower to use). */
export const lastMetric = 4_278_198_272;

/** One message of a datagram. */
export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly payload: Buffer;
}

/** A link as one message tells it. */
export interface LinkMessage {
  readonly index: number;
  readonly name: string;
  /** The administrator wants it to run (IFF_UP). */
  readonly up: boolean;
  /** There is something at the other end; undefined where the driver does not say. */
  readonly carrier: boolean | undefined;
  readonly operstate: OperationalState;
  readonly mtuBytes: number | undefined;
}

/** RFC 2863 ifOperStatus, in the order of the kernel's numbers. */
export type OperationalState = (typeof operationalStates)[number];
const operationalStates = [
  'unknown',
  'notPresent',
  'down',
  'lowerLayerDown',
  'testing',
  'dormant',
  'up',
] as const;

/** An address of an interface. */
export interface AddressMessage {
  readonly index: number;
  readonly family: AddressFamily;
  readonly address: string;
  readonly prefixLength: number;
  readonly scope: 'global' | 'link' | 'host';
  /** Sockets can be bound to it: neither being checked for doubles (tentative) nor found to be one. */
  readonly usable: boolean;
  /** Not to be used for what begins now (RFC 4862 5.5.4). */
  readonly deprecated: boolean;
}

/** Addresses with the same first bits. */
export interface Prefix {
  readonly address: string;
  readonly prefixLength: number;
}

/** A route. */
export interface KernelRoute {
  readonly family: AddressFamily;
  readonly table: number;
  /** Absent for a default route. */
  readonly destination?: Prefix;
  readonly kind: 'unicast' | 'unreachable' | 'other';
  readonly interfaceIndex?: number;
  readonly gateway?: string;
  /** Lower wins; 0 for the best of IPv4. */
  readonly metric: number;
  /** Who set it (RTPROT_*). */
  readonly protocol: number;
}

/** A rule that chooses a table. */
export interface KernelRule {
  readonly family: AddressFamily;
  /** Rules are tried in ascending order. */
  readonly priority: number;
  readonly table: number;
  readonly source?: Prefix;
  readonly outInterface?: string;
  readonly mark?: number;
  /** Who set it (RTPROT_*). */
  readonly protocol: number;
}

const headBytes = 16;
const attributeHeadBytes = 4;
const linkHeadBytes = 16;
const addressHeadBytes = 8;
/** Of `rtmsg` and of `fib_rule_hdr`, which is laid out like it. */
const routeHeadBytes = 12;

const linkAttribute = { name: 3, mtu: 4, operstate: 16, carrier: 33 } as const;
const addressAttribute = { address: 1, local: 2, flags: 8 } as const;
const routeAttribute = {
  destination: 1,
  outInterface: 4,
  gateway: 5,
  priority: 6,
  multipath: 9,
  table: 15,
} as const;
const ruleAttribute = { source: 2, priority: 6, mark: 10, table: 15, mask: 16, outInterface: 17, protocol: 21 } as const; // prettier-ignore

const flagUp = 0x1;
const flagLowerUp = 0x1_0000;
const addressUnusable = 0x40 | 0x08;
const addressDeprecated = 0x20;
const typeUnicast = 1;
const typeUnreachable = 7;
const scopeLink = 253;
const actionToTable = 1;
const nextHopHeadBytes = 8;
const flagOnLink = 4;

/** Splits a datagram into its messages; throws `DecodeError` when a length does not fit. */
export function parseMessages(data: Buffer): readonly NetlinkMessage[] {
  const messages: NetlinkMessage[] = [];
  for (let offset = 0; offset < data.length;) {
    if (data.length - offset < headBytes)
      throw new DecodeError(`netlink: ${data.length - offset} octets are no message`);
    const length = data.readUInt32LE(offset);
    if (length < headBytes || offset + length > data.length) {
      throw new DecodeError(`netlink: a message of ${length} octets in ${data.length - offset}`);
    }
    messages.push({
      type: data.readUInt16LE(offset + 4),
      flags: data.readUInt16LE(offset + 6),
      sequence: data.readUInt32LE(offset + 8),
      payload: data.subarray(offset + headBytes, offset + length),
    });
    offset += align(length);
  }
  return messages;
}

/** A message to the kernel. */
export function encodeMessage(type: number, flags: number, sequence: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(headBytes);
  head.writeUInt32LE(headBytes + payload.length, 0);
  head.writeUInt16LE(type, 4);
  head.writeUInt16LE(flags, 6);
  head.writeUInt32LE(sequence, 8);
  return Buffer.concat([head, payload]);
}

/** Error number of an `error` message, positive; 0 is an acknowledgement. */
export function parseErrorNumber(payload: Buffer): number {
  if (payload.length < 4) throw new DecodeError(`netlink: an error of ${payload.length} octets`);
  return -payload.readInt32LE(0);
}

/** A `newLink` or `deleteLink`. */
export function parseLink(payload: Buffer): LinkMessage {
  const attributes = attributesOf(payload, linkHeadBytes);
  const name = attributes.get(linkAttribute.name);
  if (name === undefined) throw new DecodeError('netlink: a link without a name');
  const flags = payload.readUInt32LE(8);
  const carrier = attributes.get(linkAttribute.carrier)?.[0];
  const operstate = attributes.get(linkAttribute.operstate)?.[0] ?? 0;
  return {
    index: payload.readInt32LE(4),
    name: textOf(name),
    up: (flags & flagUp) !== 0,
    // A link that is not up has no carrier that counts; LOWER_UP is told by kernels that leave the attribute out.
    carrier: carrier === undefined ? (flags & flagLowerUp) !== 0 : carrier === 1,
    operstate: operationalStates[operstate] ?? 'unknown',
    mtuBytes: attributes.get(linkAttribute.mtu)?.readUInt32LE(0),
  };
}

/** A `newAddress` or `deleteAddress`; undefined for families other than IPv4 and IPv6. */
export function parseAddress(payload: Buffer): AddressMessage | undefined {
  const attributes = attributesOf(payload, addressHeadBytes);
  const family = familyOf(payload[0]);
  // On a point-to-point link the second is the peer's; the local one is ours wherever it is told.
  const octets = attributes.get(addressAttribute.local) ?? attributes.get(addressAttribute.address);
  if (family === undefined || octets === undefined) return undefined;
  const flags = attributes.get(addressAttribute.flags)?.readUInt32LE(0) ?? payload[2] ?? 0;
  const scope = payload[3] ?? 0;
  return {
    index: payload.readUInt32LE(4),
    family,
    address: addressText(family, octets),
    prefixLength: payload[1] ?? 0,
    scope: scope < scopeLink ? 'global' : scope === scopeLink ? 'link' : 'host',
    usable: (flags & addressUnusable) === 0,
    deprecated: (flags & addressDeprecated) !== 0,
  };
}

/** A `newRoute` or `deleteRoute`: one route for each next hop; empty for families other than IPv4 and IPv6. */
export function parseRoutes(payload: Buffer): readonly KernelRoute[] {
  const attributes = attributesOf(payload, routeHeadBytes);
  const family = familyOf(payload[0]);
  if (family === undefined) return [];
  const type = payload[7];
  const destination = attributes.get(routeAttribute.destination);
  const route = {
    family,
    table: attributes.get(routeAttribute.table)?.readUInt32LE(0) ?? payload[4] ?? 0,
    kind:
      type === typeUnicast
        ? ('unicast' as const)
        : type === typeUnreachable
          ? ('unreachable' as const)
          : ('other' as const),
    metric: attributes.get(routeAttribute.priority)?.readUInt32LE(0) ?? 0,
    protocol: payload[5] ?? 0,
    ...(destination === undefined
      ? {}
      : { destination: { address: addressText(family, destination), prefixLength: payload[1] ?? 0 } }),
  };
  const hops = attributes.get(routeAttribute.multipath);
  if (hops === undefined) return [{ ...route, ...hopOf(family, attributes) }];
  return nextHops(family, hops).map((hop) => ({ ...route, ...hop }));
}

/** A `newRule` or `deleteRule`; undefined for other families and for rules that do more than choose a table. */
export function parseRule(payload: Buffer): KernelRule | undefined {
  const attributes = attributesOf(payload, routeHeadBytes);
  const family = familyOf(payload[0]);
  if (family === undefined || payload[7] !== actionToTable) return undefined;
  const source = attributes.get(ruleAttribute.source);
  const outInterface = attributes.get(ruleAttribute.outInterface);
  const mark = attributes.get(ruleAttribute.mark)?.readUInt32LE(0);
  return {
    family,
    priority: attributes.get(ruleAttribute.priority)?.readUInt32LE(0) ?? 0,
    table: attributes.get(ruleAttribute.table)?.readUInt32LE(0) ?? payload[4] ?? 0,
    protocol: attributes.get(ruleAttribute.protocol)?.[0] ?? 0,
    ...(source === undefined
      ? {}
      : { source: { address: addressText(family, source), prefixLength: payload[2] ?? 0 } }),
    ...(outInterface === undefined ? {} : { outInterface: textOf(outInterface) }),
    ...(mark === undefined ? {} : { mark }),
  };
}

/** Payload by which a route is set or removed. */
export function encodeRoute(route: KernelRoute): Buffer {
  const { family, table, destination, kind, interfaceIndex, gateway, metric, protocol } = route;
  if (kind === 'other')
    throw new EncodeError('netlink: only unicast and unreachable routes are set from here');
  const head = Buffer.alloc(routeHeadBytes);
  head[0] = familyNumber(family);
  head[1] = destination?.prefixLength ?? 0;
  head[4] = table < 256 ? table : 0;
  head[5] = protocol;
  head[6] = kind === 'unicast' && gateway === undefined ? scopeLink : 0;
  head[7] = kind === 'unicast' ? typeUnicast : typeUnreachable;
  // The gateway need not lie in a subnet of the interface: some DHCP servers give an address without a subnet.
  if (gateway !== undefined) head.writeUInt32LE(flagOnLink, 8);
  return Buffer.concat([
    head,
    ...(destination === undefined
      ? []
      : [attribute(routeAttribute.destination, addressOctets(family, destination.address))]),
    ...(interfaceIndex === undefined ? [] : [numberAttribute(routeAttribute.outInterface, interfaceIndex)]),
    ...(gateway === undefined ? [] : [attribute(routeAttribute.gateway, addressOctets(family, gateway))]),
    numberAttribute(routeAttribute.priority, metric),
    numberAttribute(routeAttribute.table, table),
  ]);
}

/** Payload by which a rule is set or removed. */
export function encodeRule(rule: KernelRule): Buffer {
  const { family, priority, table, source, outInterface, mark, protocol } = rule;
  const head = Buffer.alloc(routeHeadBytes);
  head[0] = familyNumber(family);
  head[2] = source?.prefixLength ?? 0;
  head[4] = table < 256 ? table : 0;
  head[7] = actionToTable;
  return Buffer.concat([
    head,
    ...(source === undefined ? [] : [attribute(ruleAttribute.source, addressOctets(family, source.address))]),
    ...(outInterface === undefined
      ? []
      : [attribute(ruleAttribute.outInterface, Buffer.from(`${outInterface}\0`, 'latin1'))]),
    ...(mark === undefined
      ? []
      : [numberAttribute(ruleAttribute.mark, mark), numberAttribute(ruleAttribute.mask, 0xffff_ffff)]),
    numberAttribute(ruleAttribute.priority, priority),
    numberAttribute(ruleAttribute.table, table),
    attribute(ruleAttribute.protocol, Uint8Array.of(protocol)),
  ]);
}

/** Payload of a request for all entries of a kind. */
export function encodeDump(type: number): Buffer {
  return Buffer.alloc(
    type === messageType.getLink
      ? linkHeadBytes
      : type === messageType.getAddress
        ? addressHeadBytes
        : routeHeadBytes,
  );
}

function attributesOf(payload: Buffer, fixedBytes: number): ReadonlyMap<number, Buffer> {
  if (payload.length < fixedBytes) {
    throw new DecodeError(
      `netlink: a payload of ${payload.length} octets, at least ${fixedBytes} are needed`,
    );
  }
  const attributes = new Map<number, Buffer>();
  for (let offset = align(fixedBytes); payload.length - offset >= attributeHeadBytes;) {
    const length = payload.readUInt16LE(offset);
    if (length < attributeHeadBytes || offset + length > payload.length) {
      throw new DecodeError(`netlink: an attribute of ${length} octets in ${payload.length - offset}`);
    }
    // The two highest bits say how the value is laid out.
    attributes.set(
      payload.readUInt16LE(offset + 2) & 0x3fff,
      payload.subarray(offset + attributeHeadBytes, offset + length),
    );
    offset += align(length);
  }
  for (const [type, value] of attributes) {
    if (value.length >= 4) continue;
    // Whatever is read from here on as a number of four octets has four; text and single octets are padded the same way.
    attributes.set(type, Buffer.concat([value, Buffer.alloc(4 - value.length)]));
  }
  return attributes;
}

function hopOf(
  family: AddressFamily,
  attributes: ReadonlyMap<number, Buffer>,
): Pick<KernelRoute, 'interfaceIndex' | 'gateway'> {
  const gateway = attributes.get(routeAttribute.gateway);
  const interfaceIndex = attributes.get(routeAttribute.outInterface)?.readInt32LE(0);
  return {
    ...(interfaceIndex === undefined ? {} : { interfaceIndex }),
    ...(gateway === undefined ? {} : { gateway: addressText(family, gateway) }),
  };
}

function nextHops(
  family: AddressFamily,
  data: Buffer,
): readonly Pick<KernelRoute, 'interfaceIndex' | 'gateway'>[] {
  const hops: Pick<KernelRoute, 'interfaceIndex' | 'gateway'>[] = [];
  for (let offset = 0; data.length - offset >= nextHopHeadBytes;) {
    const length = data.readUInt16LE(offset);
    if (length < nextHopHeadBytes || offset + length > data.length) {
      throw new DecodeError(`netlink: a next hop of ${length} octets in ${data.length - offset}`);
    }
    const attributes = attributesOf(data.subarray(offset, offset + length), nextHopHeadBytes);
    const { gateway } = hopOf(family, attributes);
    hops.push({
      interfaceIndex: data.readInt32LE(offset + 4),
      ...(gateway === undefined ? {} : { gateway }),
    });
    offset += align(length);
  }
  return hops;
}

function attribute(type: number, value: Uint8Array): Buffer {
  const length = attributeHeadBytes + value.length;
  const encoded = Buffer.alloc(align(length));
  encoded.writeUInt16LE(length, 0);
  encoded.writeUInt16LE(type, 2);
  encoded.set(value, attributeHeadBytes);
  return encoded;
}

function numberAttribute(type: number, value: number): Buffer {
  const octets = Buffer.alloc(4);
  octets.writeUInt32LE(value >>> 0, 0);
  return attribute(type, octets);
}

function textOf(value: Buffer): string {
  const end = value.indexOf(0);
  return value.toString('latin1', 0, end < 0 ? value.length : end);
}

function familyOf(number: number | undefined): AddressFamily | undefined {
  return number === 2 ? 4 : number === 10 ? 6 : undefined;
}

function familyNumber(family: AddressFamily): number {
  return family === 4 ? 2 : 10;
}

function align(length: number): number {
  return (length + 3) & ~3;
}

/** The usual text of an address of 4 or 16 octets (RFC 5952). */
function addressText(family: AddressFamily, octets: Buffer): string {
  if (octets.length !== (family === 4 ? 4 : 16)) {
    throw new DecodeError(`netlink: an IPv${family} address of ${octets.length} octets`);
  }
  if (family === 4) return [...octets].join('.');
  const groups = Array.from({ length: 8 }, (_, index) => octets.readUInt16BE(2 * index).toString(16));
  return new SocketAddress({ address: groups.join(':'), family: 'ipv6' }).address;
}

/** The addresses that share the first bits of this one. */
export function subnetOf(family: AddressFamily, address: string, prefixLength: number): Prefix {
  const octets = addressOctets(family, address);
  const masked = octets.map((octet, index) => {
    const bits = Math.min(8, Math.max(0, prefixLength - 8 * index));
    return octet & (0xff << (8 - bits));
  });
  return { address: addressText(family, Buffer.from(masked)), prefixLength };
}

/** The octets of an address; throws `EncodeError` when the text is no address of that family. */
export function addressOctets(family: AddressFamily, text: string): Buffer {
  if (family === 4 ? !isIPv4(text) : !isIPv6(text) || text.includes('%')) {
    throw new EncodeError(`"${text}" is no IPv${family} address`);
  }
  if (family === 4) return Buffer.from(text.split('.').map(Number));
  // An IPv4 address at the end stands for the last two groups.
  const hexadecimal = text.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, ...parts: string[]) => {
    const [a = 0, b = 0, c = 0, d = 0] = parts.map(Number);
    return `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
  });
  const [head = '', tail] = hexadecimal.split('::');
  const groupsOf = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((group) => parseInt(group, 16));
  const [first, last] = [groupsOf(head), groupsOf(tail ?? '')];
  const groups = [...first, ...Array.from({ length: 8 - first.length - last.length }, () => 0), ...last];
  const octets = Buffer.alloc(16);
  groups.forEach((group, index) => octets.writeUInt16BE(group, 2 * index));
  return octets;
}
