import { mainTable, messageType, parseAddress, parseLink, parseRoutes } from './netlink-message.ts';
import type {
  AddressFamily,
  AddressMessage,
  KernelRoute,
  LinkMessage,
  NetlinkMessage,
} from './netlink-message.ts';

/** An interface with what sockets need to know of it. */
export interface InterfaceState extends LinkMessage {
  /** In the order in which they came. */
  readonly addresses: readonly InterfaceAddress[];
  /** Default routes of the main table that lead over it, the preferred one first: set by DHCP or whoever manages it. */
  readonly defaultRoutes: readonly DefaultRoute[];
}

/** An address of an interface. */
export type InterfaceAddress = Omit<AddressMessage, 'index'>;

/** A default route of the main table. */
export interface DefaultRoute {
  readonly family: AddressFamily;
  /** Absent on a point-to-point link. */
  readonly gateway?: string;
  readonly metric: number;
}

/** What became of an interface. */
export type InterfaceChange =
  | { readonly kind: 'interface'; readonly state: InterfaceState }
  | { readonly kind: 'gone'; readonly name: string };

/** Addresses and default routes held for one interface: more than any gateway has, so that nobody fills the memory. */
const entriesMax = 256;

/** Links, addresses and default routes put together from the kernel's messages. */
export class InterfaceTable {
  readonly #links = new Map<number, LinkMessage>();
  readonly #addresses = new Map<number, Map<string, AddressMessage>>();
  readonly #defaults = new Map<number, Map<string, DefaultRoute>>();

  /** Takes in one message; what it changed, empty when it told nothing new. Throws `DecodeError` for one that is broken. */
  take(message: NetlinkMessage): readonly InterfaceChange[] {
    const { type, payload } = message;
    switch (type) {
      case messageType.newLink:
        return this.#takeLink(parseLink(payload));
      case messageType.deleteLink:
        return this.#dropLink(parseLink(payload).index);
      case messageType.newAddress:
      case messageType.deleteAddress: {
        const address = parseAddress(payload);
        if (address === undefined) return [];
        return this.#compared(address.index, () => {
          const key = `${address.family} ${address.address}/${address.prefixLength}`;
          put(this.#addresses, address.index, key, type === messageType.newAddress ? address : undefined);
        });
      }
      case messageType.newRoute:
      case messageType.deleteRoute:
        return parseRoutes(payload).flatMap((route) => this.#takeRoute(route, type === messageType.newRoute));
      default:
        return [];
    }
  }

  /** Every interface as it is now. */
  states(): readonly InterfaceState[] {
    return [...this.#links.keys()].flatMap((index) => this.#stateOf(index) ?? []);
  }

  /** What has to be told to whoever knew the other table. */
  changesSince(before: InterfaceTable): readonly InterfaceChange[] {
    const states = this.states();
    const known = before.states();
    const gone = known.filter(({ name }) => states.every((state) => state.name !== name));
    const changed = states.filter((state) => !known.some((other) => isSame(state, other)));
    return [
      ...gone.map(({ name }) => ({ kind: 'gone' as const, name })),
      ...changed.map((state) => ({ kind: 'interface' as const, state })),
    ];
  }

  #takeLink(link: LinkMessage): readonly InterfaceChange[] {
    const before = this.#links.get(link.index);
    const changes = this.#compared(link.index, () => {
      this.#links.set(link.index, link);
      // The kernel drops the routes of a link that goes down, those of IPv4 without a word.
      if (!link.up) this.#defaults.delete(link.index);
    });
    if (before === undefined || before.name === link.name) return changes;
    return [{ kind: 'gone', name: before.name }, ...changes];
  }

  #dropLink(index: number): readonly InterfaceChange[] {
    const before = this.#links.get(index);
    this.#links.delete(index);
    this.#addresses.delete(index);
    this.#defaults.delete(index);
    return before === undefined ? [] : [{ kind: 'gone', name: before.name }];
  }

  #takeRoute(route: KernelRoute, isThere: boolean): readonly InterfaceChange[] {
    const { table, destination, kind, interfaceIndex, family, gateway, metric } = route;
    const isDefault = table === mainTable && destination === undefined && kind === 'unicast';
    if (!isDefault || interfaceIndex === undefined) return [];
    return this.#compared(interfaceIndex, () => {
      const entry = { family, metric, ...(gateway === undefined ? {} : { gateway }) };
      put(
        this.#defaults,
        interfaceIndex,
        `${family} ${metric} ${gateway ?? ''}`,
        isThere ? entry : undefined,
      );
    });
  }

  #compared(index: number, change: () => void): readonly InterfaceChange[] {
    const before = this.#stateOf(index);
    change();
    const after = this.#stateOf(index);
    if (after === undefined || (before !== undefined && isSame(before, after))) return [];
    return [{ kind: 'interface', state: after }];
  }

  #stateOf(index: number): InterfaceState | undefined {
    const link = this.#links.get(index);
    if (link === undefined) return undefined;
    const defaults = [...(this.#defaults.get(index)?.values() ?? [])];
    return {
      ...link,
      addresses: [...(this.#addresses.get(index)?.values() ?? [])].map(({ index: _, ...address }) => address),
      defaultRoutes: defaults.sort((a, b) => a.metric - b.metric),
    };
  }
}

function put<T>(table: Map<number, Map<string, T>>, index: number, key: string, value: T | undefined): void {
  const entries = table.get(index) ?? new Map<string, T>();
  table.set(index, entries);
  if (value === undefined) entries.delete(key);
  else if (entries.has(key) || entries.size < entriesMax) entries.set(key, value);
}

/** All of it is plain values in an order of its own, so its text is the same where it is. */
function isSame(a: InterfaceState, b: InterfaceState): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
