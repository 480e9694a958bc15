/**
 * What others ask of the gateway, put together: the mailbox at the IN-CSE (home-mailbox.ts), triggers (trigger-desk.ts),
 * what is left of commands at CSEs (command-cleaner.ts), and CSEs that ask though they should not (stale-watch.ts). The
 * service tells it how handovers end, and it asks the service for handovers.
 */
import { LinkedAbort } from '../base/linked-abort.ts';
import type { CseId, Epoch, Millis } from '../base/units.ts';
import { millis } from '../base/units.ts';
import type { Candidate } from '../decision/candidate.ts';
import type { Explanation, RejectionReason } from '../decision/explanation.ts';
import { catchUp } from '../downlink/catch-up.ts';
import type { TargetView } from '../downlink/trigger-arbitration.ts';
import type { TriggerOrigin } from '../downlink/trigger.ts';
import type { Downlink } from '../downlink/downlink.ts';
import { intentContainer } from '../handover/bundle-manifest.ts';
import type { BundleContext } from '../handover/context.ts';
import type { HomeAe } from '../handover/home-ae.ts';
import { servingOf } from '../handover/handover-state.ts';
import type { CseReference, HandoverState, Serving } from '../handover/handover-state.ts';
import type { HandoverRecord } from '../handover/runner.ts';
import { sleep } from '../host/clock.ts';
import type { Host } from '../host/host.ts';
import type { CseClient } from '../onem2m/cse-client.ts';
import { isRunning, referenceOf } from './candidate-reference.ts';
import { CommandCleaner } from './command-cleaner.ts';
import type { GatewayConfig } from './config.ts';
import { inUse } from './held-cses.ts';
import { HomeMailbox } from './home-mailbox.ts';
import type { MailboxMode } from './home-mailbox.ts';
import type { LinkAccess } from './link-access.ts';
import { StaleWatch } from './stale-watch.ts';
import type { Telling } from './telling.ts';
import { TriggerDesk } from './trigger-desk.ts';
import type { TriggerStore } from './trigger-desk.ts';
import type { WayDown } from './way-down.ts';

/** What it works with. */
export interface OutsideRequestsOptions {
  readonly host: Pick<Host, 'clock' | 'entropy'>;
  readonly config: Pick<GatewayConfig, 'inCse' | 'decision' | 'handover'>;
  readonly access: Pick<LinkAccess, 'cseClient' | 'pointOfAccessFor'>;
  readonly downlink: Downlink;
  readonly wayDown: WayDown;
  readonly triggerStore: TriggerStore;
  readonly telling: Telling;
  readonly home: HomeAe;
  /** Acts as the home AE. */
  readonly homeClient: CseClient;
  readonly context: BundleContext;
  readonly clientFor: (cse: CseReference) => CseClient;
  readonly state: () => {
    readonly state: HandoverState;
    readonly isBusy: boolean;
    readonly servingSinceMs: Millis;
  };
  readonly pilot: {
    readonly candidates: readonly Candidate[];
    readonly explanation: Explanation | undefined;
  };
  /** Begins a handover; false when that is not possible now. */
  readonly move: (target: CseReference, trigger: TriggerOrigin) => Promise<boolean>;
  /** Makes the registration at the serving CSE anew, or updates it; a reason when it fails. */
  readonly register: () => Promise<string | undefined>;
  /** Has the commands at the serving CSE fetched soon. */
  readonly refreshLater: () => void;
  /** The CSE at which a standby is kept. */
  readonly standby: () => string | undefined;
  readonly onStale: (cse: CseReference, epoch: Epoch) => Promise<void>;
}

/** Looks into the serving CSE follow each other no faster. */
const lookMs = millis(1000);

/** Everything that comes from outside but readings; see the header of this file. */
export class OutsideRequests {
  readonly #options: OutsideRequestsOptions;
  readonly #mailbox: HomeMailbox;
  readonly #desk: TriggerDesk;
  readonly #cleaner: CommandCleaner;
  readonly #stale: StaleWatch;
  readonly #seen = { cseId: '', intents: new Set<string>() };
  #isToLook = true;

  constructor(options: OutsideRequestsOptions) {
    this.#options = options;
    const { host, config, access, downlink, telling, home, homeClient, wayDown } = options;
    const { inCse } = config;
    this.#desk = this.#createDesk();
    this.#mailbox = new HomeMailbox({
      ...host,
      clock: host.clock,
      downlink,
      inCse,
      home,
      client: homeClient,
      pollClient: access.cseClient(inCse, home.aeId, { staysOpen: true }),
      pointOfAccess: () => access.pointOfAccessFor(inCse),
      wayDown,
      deadlineMs: config.handover.phaseDeadlineMs,
      takeTrigger: (instance) => this.#desk.take(instance, 'orchestrator'),
      onAlarm: (text) => telling.alarms.set('mailbox', text),
    });
    this.#cleaner = new CommandCleaner({ clock: host.clock, clientsOf: (cseId) => this.#clientsOf(cseId) });
    this.#stale = this.#createStaleWatch();
    downlink.listen({
      onTaken: (taken) => {
        this.#cleaner.add(taken);
        const { cseId } = taken;
        const used = [inCse.cseId, options.standby(), ...this.#held()];
        if (!used.includes(cseId)) this.#stale.suspect(cseId);
      },
      onMissed: () => {
        this.#isToLook = true;
        this.#mailbox.lookSoon();
        options.refreshLater();
      },
    });
  }

  get mailboxMode(): MailboxMode {
    return this.#mailbox.mode;
  }

  /** Serves until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#desk.load();
    const own = new LinkedAbort(signal);
    const parts = [this.#mailbox, this.#desk, this.#cleaner, this.#stale];
    await Promise.all([
      ...parts.map((part) => part.run(new LinkedAbort(own.signal).signal)),
      this.#keepLooking(new LinkedAbort(own.signal).signal),
    ]);
  }

  /** A handover is over. */
  takeOutcome(record: HandoverRecord): void {
    const { target, source, outcome, reason, epoch } = record;
    void this.#desk.takeOutcome(target.cseId, outcome === 'completed' ? 'completed' : 'failed', reason);
    this.#isToLook = true;
    // Whoever had the epochs before may have used any of them.
    if (outcome === 'completed' && source === undefined && epoch > 1) this.#stale.suspectAll();
  }

  #createDesk(): TriggerDesk {
    const { host, config, telling, triggerStore, homeClient, home, context, register } = this.#options;
    return new TriggerDesk({
      clock: host.clock,
      store: triggerStore,
      client: homeClient,
      eventsAddress: `${home.address}/events`,
      view: () => {
        const { state, isBusy, servingSinceMs } = this.#options.state();
        const serving = servingOf(state);
        return {
          isFenced: state.kind === 'fenced',
          isBusy,
          serving: serving?.cse.cseId,
          epoch: serving?.epoch,
          stayMs: host.clock.monotonicMs() - servingSinceMs,
          minimumStayMs: config.decision.minimumStayMs,
          aes: context.bundle.aes.map(({ name }) => name),
          targetOf: (target) => this.#targetOf(target),
        };
      },
      move: async (cseId, origin) => {
        const target = this.#candidate(cseId);
        return target !== undefined && this.#options.move(target, origin);
      },
      register: async () => register(),
      log: (level, text) => telling.log(level, text),
    });
  }

  #createStaleWatch(): StaleWatch {
    const { host, config, context, clientFor, pilot, telling, onStale } = this.#options;
    return new StaleWatch({
      clock: host.clock,
      periodMs: config.handover.recordCheckMs,
      context,
      clientFor,
      serving: () => this.#servingNow(),
      candidates: () => pilot.candidates.flatMap((candidate) => referenceOf(candidate) ?? []),
      standby: this.#options.standby,
      onStale,
      onAlarm: (cseId, text) => telling.alarms.set(`stale ${cseId}`, text),
    });
  }

  /** What the decision module says of a target. */
  #targetOf(wanted: string | undefined): TargetView {
    const { candidates, explanation } = this.#options.pilot;
    const serving = this.#servingNow()?.cse.cseId;
    const judged = candidates.map((candidate) => {
      const reasons = explanation?.candidates.find(({ cseId }) => cseId === candidate.cseId)?.reasons ?? [];
      return { candidate, obstacle: obstacleOf(candidate, reasons) };
    });
    if (wanted === undefined) {
      const best = judged.find(
        ({ candidate, obstacle }) => obstacle === undefined && candidate.cseId !== serving,
      );
      if (best !== undefined) return { kind: 'eligible', cseId: best.candidate.cseId };
      return { kind: 'notYet', reason: 'no candidate can take over' };
    }
    const found = judged.find(({ candidate }) => candidate.cseId === wanted);
    if (found === undefined) return { kind: 'notYet', reason: `${wanted} is no candidate so far` };
    return found.obstacle ?? { kind: 'eligible', cseId: wanted };
  }

  #candidate(cseId: CseId): CseReference | undefined {
    const found = this.#options.pilot.candidates.find((candidate) => candidate.cseId === cseId);
    return found === undefined ? undefined : referenceOf(found);
  }

  /** Undefined while a handover is under way. */
  #servingNow(): Serving | undefined {
    const { state, isBusy } = this.#options.state();
    return isBusy ? undefined : servingOf(state);
  }

  #held(): readonly string[] {
    return inUse(this.#options.state().state);
  }

  /** At the IN-CSE what was taken may be the home AE's or, where it serves too, the gateway's own. */
  #clientsOf(cseId: string): readonly CseClient[] {
    const { config, homeClient, clientFor } = this.#options;
    const serving = servingOf(this.#options.state().state);
    const home = cseId === config.inCse.cseId ? [homeClient] : [];
    return serving?.cse.cseId === cseId ? [...home, clientFor(serving.cse)] : home;
  }

  /** Fetches triggers from the serving CSE when there is cause to. */
  async #keepLooking(signal: AbortSignal): Promise<void> {
    const { host, wayDown } = this.#options;
    let lookedMs = 0;
    while (!signal.aborted) {
      await sleep(host.clock, lookMs, signal).catch(() => undefined);
      const serving = this.#servingNow();
      if (signal.aborted || serving === undefined) continue;
      const everyMs = wayDown.pollingOf(serving.cse)?.everyMs;
      const isDue = everyMs !== undefined && host.clock.monotonicMs() - lookedMs >= everyMs;
      if (!this.#isToLook && !isDue) continue;
      lookedMs = host.clock.monotonicMs();
      this.#isToLook = false;
      if (!(await this.#look(serving, signal))) this.#isToLook = true;
    }
  }

  async #look({ cse }: Serving, signal: AbortSignal): Promise<boolean> {
    const { context, clientFor, telling } = this.#options;
    const { cseId } = cse;
    if (this.#seen.cseId !== cseId) this.#seen.intents.clear();
    this.#seen.cseId = cseId;
    const container = `${context.aeAddress(cse)}/${intentContainer}`;
    const source = { cseId, container, seen: this.#seen.intents };
    try {
      const looked = await catchUp(
        clientFor(cse),
        source,
        { signal },
        {
          take: (instance) => this.#desk.take(instance, 'edge'),
          room: () => Promise.resolve(),
        },
      );
      return looked.ok || looked.error.kind === 'rejected';
    } catch {
      telling.log('warn', `triggers at ${cseId} cannot be kept; they are fetched again`);
      return false;
    }
  }
}

/** Reasons for which a candidate cannot take over, as opposed to not being the best. */
const obstacles: Partial<Record<RejectionReason, TargetView['kind']>> = {
  noPointOfAccess: 'never',
  notInstantiated: 'notYet',
  discoveryStale: 'notYet',
  penalised: 'notYet',
};

function obstacleOf(
  candidate: Candidate,
  reasons: readonly RejectionReason[],
): Exclude<TargetView, { kind: 'eligible' }> | undefined {
  const { cseId } = candidate;
  if (referenceOf(candidate) === undefined) {
    return { kind: 'never', reason: `${cseId} has no point of access that this gateway can use` };
  }
  if (!isRunning(candidate)) return { kind: 'notYet', reason: `${cseId} does not run yet` };
  for (const reason of reasons) {
    const kind = obstacles[reason];
    if (kind === 'never' || kind === 'notYet') return { kind, reason: `${cseId}: ${reason}` };
  }
  return undefined;
}
