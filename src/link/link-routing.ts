/**
 * Keeps the routing of all links in the kernel as `link-table.ts` says it is to be: set at the start, repaired whenever the
 * kernel or somebody else has removed a part (a link that goes down and up loses its routes, systemd-networkd removes foreign
 * rules when it is restarted), removed at the end. What an earlier run left behind is found by its numbers and goes with the
 * first look.
 *
 * Without CAP_NET_ADMIN nothing can be set. That is told once; sockets bound by address still work as far as somebody else
 * has set rules for it, and where the routing stands already nothing is told at all.
 */
import { errorText } from '../base/errors.ts';
import { millis } from '../base/units.ts';
import type { CancelTimer, Clock } from '../host/clock.ts';
import type { KernelEdit, KernelNetwork, KernelRefusal } from '../host/netlink.ts';
import { defaultRoutingBase, editsBetween, missingGateway, ownPart, routingOf } from './link-table.ts';
import type { LinkRoutingInput, Routing } from './link-table.ts';

/** What the routing is kept with. */
export interface LinkRoutingOptions {
  readonly kernel: KernelNetwork;
  readonly clock: Clock;
  /** First number of the range; the same for every run of this gateway. */
  readonly base?: number;
  /** Told what keeps the routing from standing, and, with `undefined`, that it stands. */
  readonly onProblem: (text: string | undefined) => void;
}

/** Pause before routing that somebody else changed is looked at: a rival who removes it at once must not keep us busy. */
const repairMs = millis(100);
/** Pause before a refused change is tried again. */
const retryMs = millis(5000);
/** The kernel was built, or started, without IPv6. */
const withoutIpv6: readonly string[] = ['EAFNOSUPPORT', 'EOPNOTSUPP'];

/** The routing of all links of the gateway. */
export class LinkRouting {
  readonly #options: LinkRoutingOptions;
  readonly #base: number;
  #inputs: readonly LinkRoutingInput[] = [];
  #hasIpv6 = true;
  #isForbidden = false;
  #isClosed = false;
  /** The work that is underway, and whether there is more to do after it. */
  #running: Promise<void> | undefined;
  #isStale = false;
  #problem: string | undefined;
  #cancelLook: CancelTimer | undefined;

  constructor(options: LinkRoutingOptions) {
    this.#options = options;
    this.#base = options.base ?? defaultRoutingBase;
  }

  /** Says how the links stand; resolves when their routing was made to fit. */
  set(inputs: readonly LinkRoutingInput[]): Promise<void> {
    this.#inputs = inputs;
    return this.#reconcile();
  }

  /** Somebody removed routes or rules: has ours looked at soon. */
  look(): void {
    this.#lookIn(repairMs);
  }

  /** Removes everything that was set. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelLook?.();
    await this.#running;
    if (this.#isForbidden) return;
    try {
      await this.#apply({ routes: [], rules: [] });
    } catch (cause) {
      this.#report(`the routing of the links stays behind: ${errorText(cause)}`);
    }
  }

  #reconcile(): Promise<void> {
    this.#isStale = true;
    this.#running ??= this.#run().finally(() => (this.#running = undefined));
    return this.#running;
  }

  async #run(): Promise<void> {
    while (this.#isStale && !this.#isClosed) {
      this.#isStale = false;
      try {
        const refusal = await this.#apply(this.#wanted());
        const problem =
          refusal?.message ?? this.#inputs.map(missingGateway).find((text) => text !== undefined);
        this.#tell(refusal, problem);
      } catch (cause) {
        this.#report(`the routing of the links cannot be looked at: ${errorText(cause)}`);
        this.#lookIn(retryMs);
      }
    }
  }

  #tell(refusal: KernelRefusal | undefined, problem: string | undefined): void {
    this.#isForbidden = refusal?.errno === 'EPERM';
    const notOurs = '; until then each link has the routes that others set';
    this.#report(this.#isForbidden ? `${problem}${notOurs}` : problem);
    if (refusal !== undefined && !this.#isForbidden) this.#lookIn(retryMs);
  }

  #report(problem: string | undefined): void {
    if (problem === this.#problem) return;
    this.#problem = problem;
    this.#options.onProblem(problem);
  }

  #wanted(): Routing {
    const all = this.#inputs.map((input) => routingOf(input, this.#base));
    const keep = ({ family }: { family: number }): boolean => family === 4 || this.#hasIpv6;
    return {
      routes: all.flatMap(({ routes }) => routes).filter(keep),
      rules: all.flatMap(({ rules }) => rules).filter(keep),
    };
  }

  /** Makes the kernel's routing fit; why it does not, where it does not. */
  async #apply(wanted: Routing): Promise<KernelRefusal | undefined> {
    const { kernel } = this.#options;
    const [routes, rules] = await Promise.all([kernel.routes(), kernel.rules()]);
    let worst: KernelRefusal | undefined;
    for (const edit of editsBetween(ownPart({ routes, rules }, this.#base), wanted, this.#base)) {
      const done = await kernel.change(edit);
      if (done.ok) continue;
      if (done.error.errno === 'EPERM') return done.error;
      if (familyOf(edit) === 6 && withoutIpv6.includes(done.error.errno)) this.#hasIpv6 = false;
      else worst ??= done.error;
    }
    return worst;
  }

  #lookIn(delayMs: typeof repairMs): void {
    if (this.#cancelLook !== undefined || this.#isClosed || this.#isForbidden) return;
    this.#cancelLook = this.#options.clock.schedule(delayMs, () => {
      this.#cancelLook = undefined;
      void this.#reconcile();
    });
  }
}

function familyOf(edit: KernelEdit): number {
  return 'route' in edit ? edit.route.family : edit.rule.family;
}
