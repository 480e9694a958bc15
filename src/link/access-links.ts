import { printable } from '../base/text.ts';
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import { every } from '../host/clock.ts';
import type { CancelTimer, Clock } from '../host/clock.ts';
import type { Filesystem } from '../host/filesystem.ts';
import type { KernelEvent, KernelNetwork } from '../host/netlink.ts';
import type { InterfaceState } from '../host/netlink-interfaces.ts';
import { advanceLink, createLink, defaultLinkPolicy, isUsable } from './access-link.ts';
import type { AccessLink, LinkEvent, LinkInput, LinkPolicy } from './access-link.ts';
import { LinkRouting } from './link-routing.ts';
import { LinkdownSetting } from './linkdown-setting.ts';

/** One access link as it is configured. */
export interface AccessLinkConfig {
  readonly name: string;
  /** Interface of the kernel, such as `wwan0`; without one the link is known by its radio and its address alone. */
  readonly interfaceName?: string;
  /** The only address that its sockets are bound to; the interface's own, followed as it changes, when absent. */
  readonly localAddress?: string;
  /** One for each version of IP at most; found by itself when absent. */
  readonly gateways?: readonly string[];
}

/** What the links are watched with. */
export interface AccessLinksOptions {
  readonly kernel: KernelNetwork;
  readonly clock: Clock;
  /** For the settings of the kernel below /proc/sys. */
  readonly filesystem: Filesystem;
  readonly links: readonly AccessLinkConfig[];
  readonly policy?: LinkPolicy;
  /** First number of tables and rule preferences; see `link-table.ts`. */
  readonly routingBase?: number;
  /** False leaves routes and rules to somebody else. */
  readonly isRouting?: boolean;
  /** One event of one link; the links stand as they do after it. */
  readonly onEvent: (event: LinkEvent) => void;
  /** A condition that a person should know of, by what it is about; `undefined` when it is over. */
  readonly onProblem?: (about: 'events' | 'routing', text: string | undefined) => void;
}

interface Watched {
  readonly config: AccessLinkConfig;
  link: AccessLink;
  state: InterfaceState | undefined;
  /** Gateways that were seen last, one for each version of IP at most. */
  knownGateways: readonly string[];
}

const tickMs = millis(1000);

/**
 * The access links of the gateway: what the kernel tells of their interfaces and what others tell of their radios (`take`), put
 * together to link states and events; and the routing by which a socket bound to the address of a link leaves by that link only.
 */
export class AccessLinks {
  readonly #options: AccessLinksOptions;
  readonly #policy: LinkPolicy;
  readonly #watched: readonly Watched[];
  readonly #routing: LinkRouting | undefined;
  readonly #linkdown: LinkdownSetting;
  /** Resolves when everything has been told for the first time and the routing was set. */
  readonly ready: Promise<void>;
  #markReady: () => void = () => undefined;
  #isComplete = false;
  #cancels: readonly CancelTimer[] = [];

  constructor(options: AccessLinksOptions) {
    const {
      kernel,
      clock,
      links,
      policy = defaultLinkPolicy,
      routingBase,
      isRouting = true,
      onProblem,
    } = options;
    this.#options = options;
    this.#policy = policy;
    this.#watched = links.map((config) => ({
      config,
      link: createLink(
        config.name,
        clock.monotonicMs(),
        // An address without an interface to have it is taken at its word.
        config.interfaceName === undefined ? config.localAddress : undefined,
      ),
      state: undefined,
      knownGateways: [],
    }));
    this.#linkdown = new LinkdownSetting(options.filesystem);
    if (isRouting) {
      this.#routing = new LinkRouting({
        kernel,
        clock,
        ...(routingBase === undefined ? {} : { base: routingBase }),
        onProblem: (text) => onProblem?.('routing', text),
      });
    }
    this.ready = new Promise((resolve) => (this.#markReady = resolve));
  }

  start(): void {
    const { kernel, clock, onProblem } = this.#options;
    this.#cancels = [
      kernel.watch(
        (event) => this.#hear(event),
        (text) => onProblem?.('events', text),
      ),
      every(clock, tickMs, () => {
        const atMs = clock.monotonicMs();
        for (const watched of this.#watched) this.#advance(watched, { kind: 'tick', atMs });
      }),
    ];
  }

  /** Ends the watch and takes back everything that was set in the kernel. */
  async stop(): Promise<void> {
    for (const cancel of this.#cancels) cancel();
    this.#cancels = [];
    await this.#routing?.close();
    await this.#linkdown.restore();
  }

  /** Every link as it stands now, in the order of the configuration. */
  links(): readonly AccessLink[] {
    return this.#watched.map(({ link }) => link);
  }

  /** What else is learned of a link: samples and states of its modem. An unknown name changes nothing. */
  take(name: string, input: LinkInput): void {
    const watched = this.#watched.find(({ config }) => config.name === name);
    if (watched !== undefined) this.#advance(watched, input);
  }

  #hear(event: KernelEvent): void {
    switch (event.kind) {
      case 'interface':
        return this.#takeInterface(event.state.name, event.state);
      case 'gone':
        return this.#takeInterface(event.name, undefined);
      case 'routingChanged':
        return this.#routing?.look();
      case 'complete': {
        const isFirst = !this.#isComplete;
        this.#isComplete = true;
        for (const watched of this.#watched) {
          if (watched.state === undefined) this.#tellInterface(watched);
        }
        const routed = this.#setRouting();
        if (isFirst) void routed.then(this.#markReady);
      }
    }
  }

  #takeInterface(name: string, state: InterfaceState | undefined): void {
    for (const watched of this.#watched) {
      if (watched.config.interfaceName !== name) continue;
      watched.state = state;
      const found = (state?.defaultRoutes ?? []).flatMap(({ gateway }) => gateway ?? []);
      const isIpv6 = (gateway: string): boolean => gateway.includes(':');
      const others = watched.knownGateways.filter((old) => !found.some((now) => isIpv6(now) === isIpv6(old)));
      watched.knownGateways = [found.find((now) => !isIpv6(now)), found.find(isIpv6), ...others].flatMap(
        (gateway) => gateway ?? [],
      );
      const routed = this.#isComplete ? this.#setRouting() : Promise.resolve();
      // Bad news at once: sockets are moved before routes are mended. Good news when the routes stand: before that, what is
      // sent over the link is refused.
      if (isUsable(this.#advanced(watched).link) && !isUsable(watched.link)) {
        void routed.then(() => this.#tellInterface(watched));
      } else {
        this.#tellInterface(watched);
      }
    }
  }

  #tellInterface(watched: Watched): void {
    if (watched.config.interfaceName === undefined) return;
    const { link, events } = this.#advanced(watched);
    watched.link = link;
    for (const event of events) this.#options.onEvent(event);
  }

  /** The link with its interface as it is now. */
  #advanced({ link, config, state }: Watched): ReturnType<typeof advanceLink> {
    const { localAddress } = config;
    const pinned = localAddress === undefined ? {} : { pinnedAddress: localAddress };
    return advanceLink(link, { kind: 'interface', atMs: this.#now(), state, ...pinned }, this.#policy);
  }

  async #setRouting(): Promise<void> {
    if (this.#routing === undefined) return;
    const routed = this.#watched.flatMap(({ config, state, knownGateways }, number) =>
      config.interfaceName === undefined
        ? []
        : [
            {
              number,
              interfaceName: config.interfaceName,
              state,
              knownGateways,
              ...(config.gateways === undefined ? {} : { gateways: config.gateways }),
            },
          ],
    );
    const present = routed.flatMap(({ interfaceName, state }) =>
      state === undefined ? [] : [interfaceName],
    );
    await Promise.all([this.#routing.set(routed), this.#linkdown.apply(present)]);
  }

  #advance(watched: Watched, input: LinkInput): void {
    const { link, events } = advanceLink(watched.link, input, this.#policy);
    watched.link = link;
    for (const event of events) this.#options.onEvent(event);
  }

  #now(): Millis {
    return this.#options.clock.monotonicMs();
  }
}

/** Why a name cannot be that of an interface (15 octets at most, no blank, no slash); undefined when it can. */
export function interfaceNameProblem(name: string): string | undefined {
  if (/^[^\s/:]{1,15}$/u.test(name) && name !== '.' && name !== '..') return undefined;
  return `"${printable(name)}" is no name of an interface; "ip link" lists them`;
}
