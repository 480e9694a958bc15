/**
 * Routing of one link: what stands in the kernel while the gateway uses it, and by which edits it gets there.
 *
 * Each link has a table and up to three kinds of rules that lead there: one for each of its addresses (`from`, which binds a
 * socket by its local address without any privilege), one for the interface (sockets bound to the device) and one for a mark.
 * The table ends with an `unreachable` default of the last metric: when the kernel has dropped the link's own routes, what was
 * to leave by this link is refused (EHOSTUNREACH) and does not leave by another one with the wrong source.
 *
 * The numbers are ours alone: tables and rule preferences from `base` on, 32 links wide. Whatever is found there was set by
 * this gateway, now or before a crash; nothing outside is ever changed, and so nobody who manages the machine's network
 * (NetworkManager, systemd-networkd, a VPN) is disturbed. All rules come after those of VPNs' usual numbers below 20000 and
 * before the main table (32766). Beside the number, routes carry a protocol of their own, to be recognised by a person.
 */
import { assert } from '../base/assert.ts';
import { lastMetric, subnetOf } from '../host/netlink-message.ts';
import type { AddressFamily, KernelRoute, KernelRule, Prefix } from '../host/netlink-message.ts';
import type { InterfaceState } from '../host/netlink-interfaces.ts';
import type { KernelEdit } from '../host/netlink.ts';

/** First table and first preference of the range. */
export const defaultRoutingBase = 24_600;

/** Links that a range has room for. */
export const linksMax = 32;

/** Who set a route or a rule, in the kernel's lists (`proto 98`). */
export const routingProtocol = 98;

const defaultMetric = 100;
/** Rules of one kind stand together: base + 32 × kind + number of the link. */
const ruleKinds = { from: 0, device: 1, mark: 2 } as const;
const kindCount = 3;

/** What the routing of a link is made from. */
export interface LinkRoutingInput {
  /** Position of the link in the configuration, from 0. */
  readonly number: number;
  readonly interfaceName: string;
  /** Gateways from the configuration; they win over those that are found. */
  readonly gateways?: readonly string[];
  /** Gateways that were found before; they count while an address of the same subnet is there and no other is found. */
  readonly knownGateways?: readonly string[];
  /** Undefined while there is no such interface. */
  readonly state: InterfaceState | undefined;
}

/** Routes and rules that belong together. */
export interface Routing {
  readonly routes: readonly KernelRoute[];
  readonly rules: readonly KernelRule[];
}

/** The mark by which a socket chooses the link of this number (SO_MARK). */
export function markOf(base: number, number: number): number {
  return base + number;
}

/** What is to stand in the kernel for one link. */
export function routingOf(input: LinkRoutingInput, base: number = defaultRoutingBase): Routing {
  const { number, interfaceName, state } = input;
  assert(
    Number.isInteger(number) && number >= 0 && number < linksMax,
    `link number ${number} of ${linksMax}`,
  );
  const table = base + number;
  const families: readonly AddressFamily[] = [4, 6];
  const own = { table, protocol: routingProtocol };
  const routes = families.map((family): KernelRoute => ({
    ...own,
    family,
    kind: 'unreachable',
    metric: lastMetric,
  }));
  const rules = families.flatMap((family): KernelRule[] => [
    { ...own, family, priority: priorityOf(base, 'device', number), outInterface: interfaceName },
    { ...own, family, priority: priorityOf(base, 'mark', number), mark: markOf(base, number) },
  ]);
  for (const { family, address, prefixLength } of usableAddresses(state)) {
    const source = { address, prefixLength: family === 4 ? 32 : 128 };
    rules.push({ ...own, family, priority: priorityOf(base, 'from', number), source });
    if (state === undefined || !carries(state)) continue;
    const destination = subnetOf(family, address, prefixLength);
    const route = {
      ...own,
      family,
      kind: 'unicast' as const,
      interfaceIndex: state.index,
      metric: defaultMetric,
    };
    if (prefixLength < (family === 4 ? 31 : 127)) routes.push({ ...route, destination });
    const gateway = gatewayOf(input, family);
    if (gateway !== undefined) routes.push(gateway === 'onLink' ? route : { ...route, gateway });
  }
  return { routes: distinct(routes), rules: distinct(rules) };
}

/** The edits that lead from what is in the kernel to what is to be there; what lies outside the range is left alone. */
export function editsBetween(
  actual: Routing,
  wanted: Routing,
  base: number = defaultRoutingBase,
): readonly KernelEdit[] {
  const mine = ownPart(actual, base);
  const wantedRoutes = new Set(wanted.routes.map(routeKey));
  const wantedRules = new Set(wanted.rules.map(ruleKey));
  const actualRoutes = new Set(mine.routes.map(routeKey));
  const actualRules = new Set(mine.rules.map(ruleKey));
  // New routes before old ones go, and rules only once their table ends in `unreachable`: at no moment does anything leak.
  return [
    ...wanted.routes
      .filter((route) => !actualRoutes.has(routeKey(route)))
      .map((route) => ({ kind: 'setRoute' as const, route })),
    ...wanted.rules
      .filter((rule) => !actualRules.has(ruleKey(rule)))
      .map((rule) => ({ kind: 'setRule' as const, rule })),
    ...mine.rules
      .filter((rule) => !wantedRules.has(ruleKey(rule)))
      .map((rule) => ({ kind: 'removeRule' as const, rule })),
    ...mine.routes
      .filter((route) => !wantedRoutes.has(routeKey(route)) && !isReplaced(route, wanted.routes))
      .map((route) => ({ kind: 'removeRoute' as const, route })),
  ];
}

/** What of the kernel's routing lies in the range. */
export function ownPart(actual: Routing, base: number = defaultRoutingBase): Routing {
  return {
    routes: actual.routes.filter(({ table }) => table >= base && table < base + linksMax),
    rules: actual.rules.filter(
      ({ priority, table }) =>
        priority >= base &&
        priority < base + kindCount * linksMax &&
        table >= base &&
        table < base + linksMax,
    ),
  };
}

/** Why a link has no way out of its own subnet; undefined when it has one, or no address at all. */
export function missingGateway(input: LinkRoutingInput): string | undefined {
  const { state, interfaceName } = input;
  if (state === undefined || !carries(state) || usableAddresses(state).length === 0) return undefined;
  const hasWay = usableAddresses(state).some(({ family }) => gatewayOf(input, family) !== undefined);
  if (hasWay) return undefined;
  return `${interfaceName} has an address but no gateway: nothing beyond its own subnet is reached; set gateway of this link`;
}

/** The addresses to which sockets of a link can be bound, those that are not on their way out first. */
export function usableAddresses(state: InterfaceState | undefined): InterfaceState['addresses'] {
  const usable = (state?.addresses ?? []).filter(
    ({ usable: isUsable, scope }) => isUsable && scope === 'global',
  );
  return [
    ...usable.filter(({ deprecated }) => !deprecated),
    ...usable.filter(({ deprecated }) => deprecated),
  ];
}

/** Whether frames can leave by the interface: wanted up, and something at the other end as far as the driver says. */
export function carries(state: InterfaceState): boolean {
  return state.up && state.carrier !== false;
}

/**
 * The gateway of the configuration, else that of the main table's best default route over this interface, else the one that
 * it had before, else the link itself where nobody else is on it; undefined where none is known. A link that was down for a
 * moment gets its routes back from us at once, from whoever manages it only when that has noticed.
 */
function gatewayOf(input: LinkRoutingInput, family: AddressFamily): string | undefined {
  const { state, gateways = [], knownGateways = [] } = input;
  const configured = gateways.find((gateway) => gateway.includes(':') === (family === 6));
  if (configured !== undefined) return configured;
  const found = state?.defaultRoutes.find((route) => route.family === family);
  if (found !== undefined) return found.gateway ?? 'onLink';
  const addresses = usableAddresses(state).filter((entry) => entry.family === family);
  const isPointToPoint = addresses[0]?.prefixLength === (family === 4 ? 32 : 128);
  const known = knownGateways.find((gateway) =>
    addresses.some(({ address, prefixLength }) => isInSubnet(family, gateway, address, prefixLength)),
  );
  return known ?? (isPointToPoint ? 'onLink' : undefined);
}

function isInSubnet(family: AddressFamily, gateway: string, address: string, prefixLength: number): boolean {
  if (gateway.includes(':') !== (family === 6)) return false;
  return subnetOf(family, gateway, prefixLength).address === subnetOf(family, address, prefixLength).address;
}

function priorityOf(base: number, kind: keyof typeof ruleKinds, number: number): number {
  return base + linksMax * ruleKinds[kind] + number;
}

/** Setting a route takes the place of the IPv4 route with the same destination and metric in the same table. */
function isReplaced(route: KernelRoute, wanted: readonly KernelRoute[]): boolean {
  return wanted.some((other) => slotKey(other) === slotKey(route) && route.family === 4);
}

function slotKey({ family, table, destination, metric }: KernelRoute): string {
  return `${family} ${table} ${prefixText(destination)} ${metric}`;
}

function routeKey(route: KernelRoute): string {
  // An unreachable route of IPv6 is shown with the loopback interface.
  const way = route.kind === 'unreachable' ? '' : `${route.interfaceIndex ?? ''} ${route.gateway ?? ''}`;
  return `${slotKey(route)} ${route.kind} ${route.protocol} ${way}`;
}

function ruleKey({ family, priority, table, source, outInterface, mark, protocol }: KernelRule): string {
  return `${family} ${priority} ${table} ${prefixText(source)} ${outInterface ?? ''} ${mark ?? ''} ${protocol}`;
}

function prefixText(prefix: Prefix | undefined): string {
  return prefix === undefined ? '' : `${prefix.address}/${prefix.prefixLength}`;
}

function distinct<T>(items: readonly T[]): readonly T[] {
  return [...new Map(items.map((item) => [JSON.stringify(item), item])).values()];
}
