/**
 * The oneM2M side of the gateway on an open link: takes up the transaction of the last run, then delivers, discovers,
 * decides, repairs and sweeps until it is stopped.
 *
 * After a restart the records of the last run may be at the CSE that served then without our remembering: they are in
 * doubt with regard to it until they are settled. Nothing is delivered before this process holds an epoch of its own
 * (transition.ts) and the switch that follows has said where each stream goes.
 */
import { assert } from '../base/assert.ts';
import { errorText } from '../base/errors.ts';
import { aeId, epoch as toEpoch, millis, seq as toSeq } from '../base/units.ts';
import type { AeId, Epoch, Millis } from '../base/units.ts';
import type { HandoverDecision } from '../decision/decision.ts';
import { answerDeadlineMs, defaultServicePathPolicy } from '../decision/service-path.ts';
import { BundleContext } from '../handover/context.ts';
import { homeAeOf } from '../handover/home-ae.ts';
import { HandoverRunner } from '../handover/runner.ts';
import type { HandoverRecord } from '../handover/runner.ts';
import { ServingRecord } from '../handover/serving-record.ts';
import { servingOf } from '../handover/handover-state.ts';
import type { CseReference, HandoverState, HandoverTrigger, Serving } from '../handover/handover-state.ts';
import { every } from '../host/clock.ts';
import type { CseClient } from '../onem2m/cse-client.ts';
import type { RadioSample } from '../radio/radio-sample.ts';
import type { Destination } from '../uplink/destination.ts';
import type { Exchange, UplinkObserver } from '../uplink/lane-options.ts';
import { Uplink } from '../uplink/uplink.ts';
import { BundleKeeper } from './bundle-keeper.ts';
import { bundleOf } from './bundle-of.ts';
import { keepPolling } from './command-poll.ts';
import { keepDiscovering } from './candidate-search.ts';
import { chooseTarget, explainDecision, referenceOf } from './candidate-reference.ts';
import { decisionPolicy } from './config.ts';
import { containersOf } from './containers-of.ts';
import { ContextDesk } from './context-desk.ts';
import { destinationAt } from './destination-at.ts';
import { createHandoverWorker } from './handover-worker.ts';
import type { HandoverWorkerOptions } from './handover-worker.ts';
import { outcomeTold, tellEnded, tellFenced, tellPhase } from './handover-telling.ts';
import { holderIn, inUse } from './held-cses.ts';
import { OwedWork } from './owed-work.ts';
import { OutsideRequests } from './outside-requests.ts';
import { Pilot } from './pilot.ts';
import { releaseOrphan } from './release-orphan.ts';
import type { ServiceOptions } from './service-options.ts';
import { ServingGuard } from './serving-guard.ts';
import type { ServiceFacts } from './service-facts.ts';
import { createStandby } from './standby-work.ts';
import { Sweeper } from './sweeper.ts';
import type { WarmStandby } from './warm-standby.ts';

const decideMs = millis(500);
const retryMs = millis(1000);
const shortBacklogMax = 16;

/** The oneM2M side of a running gateway; see the header of this file. */
export class Service {
  readonly #options: ServiceOptions;
  readonly #aeId: AeId;
  readonly #home: CseClient;
  readonly #record: ServingRecord;
  readonly #context: BundleContext;
  readonly #desk: ContextDesk;
  readonly #owed: OwedWork;
  readonly #uplink: Uplink;
  readonly #pilot: Pilot;
  readonly #runner: HandoverRunner;
  readonly #guard: ServingGuard;
  readonly #keeper: BundleKeeper;
  readonly #outside: OutsideRequests;
  readonly #standby: WarmStandby;
  readonly #sweeper: Sweeper;
  #state: HandoverState = { kind: 'detached', lastEpoch: toEpoch(0) };
  #servingSinceMs: Millis;
  #counts = { completed: 0, rolledBack: 0, failed: 0 };
  #responseMs: Millis | undefined;
  #isFollowing = false;
  #isBeginning = false;

  constructor(options: ServiceOptions) {
    this.#options = options;
    const { host, config, access, log, streams } = options;
    const { device, inCse } = config;
    this.#servingSinceMs = host.clock.monotonicMs();
    this.#aeId = aeId(`S${device}`);
    const home = homeAeOf(device, inCse.cseBaseName);
    this.#home = access.cseClient(inCse, home.aeId);
    this.#record = new ServingRecord(this.#home, `${home.address}/serving`);
    this.#context = new BundleContext(bundleOf(config, containersOf(options)), (cse, observed) =>
      this.#desk.note(cse, observed),
    );
    this.#desk = this.#createDesk();
    this.#owed = new OwedWork({
      store: options.owedStore,
      record: this.#record,
      releaseOrphan: (cse, epoch, signal) => {
        const serving = (): Serving | undefined => servingOf(this.#state);
        return releaseOrphan({ ...this.#workerOptions(), serving }, { cse, epoch }, signal);
      },
      onAlarm: (text) => options.telling.alarms.set('owed', text),
    });
    this.#pilot = this.#createPilot();
    this.#uplink = new Uplink({
      streams,
      source: log,
      clock: host.clock,
      entropy: host.entropy,
      settings: { ...config.uplink, shortBacklogMax, deadlineMs: () => this.#answerDeadlineMs() },
      observer: this.#uplinkObserver(),
    });
    const worker = this.#workerOptions();
    this.#runner = this.#createRunner(worker);
    this.#standby = createStandby({
      worker,
      settings: config.handover,
      pilot: this.#pilot,
      serving: () => servingOf(this.#state),
      isFree: () => !this.#isBeginning && !this.#runner.isBusy && this.#state.kind === 'serving',
      onChange: (text) => options.telling.log('info', text),
    });
    this.#keeper = new BundleKeeper({
      ...options,
      clock: host.clock,
      context: this.#context,
      deadlineMs: config.handover.phaseDeadlineMs,
      serving: () => servingOf(this.#state),
      isBusy: () => this.#runner.isBusy,
      clientFor: (cse) => this.#clientFor(cse),
    });
    this.#outside = this.#createOutside();
    this.#sweeper = new Sweeper({
      clock: host.clock,
      owed: this.#owed,
      // Fenced, somebody else with our identity may serve at the very CSE that we would release.
      inUse: () => (this.#runner.isBusy || this.#state.kind === 'fenced' ? undefined : inUse(this.#state)),
      refresh: () => this.#keeper.refresh(),
      retry: () => options.downlink.retryFailed(),
    });
    this.#guard = this.#createGuard();
  }

  /** Serves until `signal` aborts. Rejects for what a service cannot go on with: a log that cannot be read. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options.host;
    const stopNotice = this.#options.log.onStored(({ stream }) => this.#uplink.notice(stream));
    const tending = async (): Promise<void> => {
      await Promise.all([this.#owed.open(), this.#desk.open()]);
      await this.#takeUp();
      cancelTick = every(clock, decideMs, () => this.#pilot.decide());
      await Promise.all([
        keepDiscovering({
          ...this.#options,
          client: this.#home,
          onFound: (candidates) => this.#pilot.takeCandidates(candidates),
          signal,
        }),
        this.#sweeper.run(signal),
        this.#outside.run(signal),
        this.#desk.run(signal),
        this.#standby.run(signal),
        this.#guard.run(this.#options.config.handover.recordCheckMs, signal),
        keepPolling({
          ...this.#options,
          serving: () => (this.#runner.isBusy ? undefined : servingOf(this.#state)),
          clientFor: (cse) => this.#clientFor(cse),
          context: this.#context,
          signal,
        }),
      ]);
    };
    let cancelTick = (): void => undefined;
    try {
      await Promise.race([this.#uplink.run(), tending()]);
    } finally {
      cancelTick();
      this.#keeper.stop();
      stopNotice();
      this.#runner.stop();
      this.#uplink.stop();
    }
  }

  takeSample(sample: RadioSample): void {
    this.#pilot.takeSample(sample);
  }

  /** Begins a handover by order of an operator, or only tells what would be begun. */
  async orderHandover(
    target: string | undefined,
    isDryRun = false,
  ): Promise<Readonly<Record<string, unknown>>> {
    const serving = servingOf(this.#state)?.cse.cseId;
    const chosen = chooseTarget(this.#pilot.candidates, serving, target);
    if (typeof chosen === 'string') return { accepted: false, reason: chosen };
    const isFree = !this.#runner.isBusy && this.#state.kind !== 'fenced';
    const isBegun = isDryRun ? isFree : await this.#begin('operator', chosen, []);
    if (!isBegun) return { accepted: false, reason: `not possible while ${this.#state.kind}` };
    return { accepted: true, target: chosen.cseId, ...(isDryRun ? { isDryRun } : {}) };
  }

  /** Compares a CSE with the manifest, the serving one unless named, and repairs it when told to. */
  inspectContext(cseId: string | undefined, isRepair: boolean): Promise<Readonly<Record<string, unknown>>> {
    const serving = servingOf(this.#state)?.cse;
    const isServing = cseId === undefined || cseId === serving?.cseId;
    const none = 'no CSE serves; name one by --cse';
    const cse = isServing ? (serving ?? none) : chooseTarget(this.#pilot.candidates, undefined, cseId);
    if (typeof cse === 'string') return Promise.resolve({ accepted: false, reason: cse });
    return this.#desk.inspect(cse, isRepair);
  }

  /** Lets a fenced gateway serve again, by order of an operator who has stopped the other one. */
  async unfence(): Promise<Readonly<Record<string, unknown>>> {
    if (this.#state.kind !== 'fenced') {
      return { accepted: false, reason: `this gateway is not fenced, it is ${this.#state.kind}` };
    }
    const accepted = await this.#runner.rearm();
    if (accepted) for (const key of ['fenced', 'handover']) this.#options.telling.alarms.clear(key);
    return accepted ? { accepted } : { accepted, reason: 'the journal cannot be written' };
  }

  /** Facts for the status. */
  facts(): ServiceFacts {
    return {
      state: this.#state,
      progress: this.#runner.progress,
      servingSinceMs: this.#servingSinceMs,
      counts: this.#counts,
      explanation: this.#pilot.explanation,
      servicePath: this.#pilot.servicePath.health.state,
      responseMs: this.#responseMs,
      standby: this.#standby.status,
    };
  }

  #createGuard(): ServingGuard {
    const options = this.#options;
    const { host, config } = options;
    return new ServingGuard({
      clock: host.clock,
      record: this.#record,
      runner: this.#runner,
      deadlineMs: config.handover.phaseDeadlineMs,
      onAlarm: (text) => options.telling.alarms.set('record', text),
      isMarked: async (serving, limits) => {
        const mark = await this.#context.marked(this.#clientFor(serving.cse), serving.cse, limits);
        if (mark === undefined || ('state' in mark && mark.state !== 'serving')) this.#keeper.refreshLater();
      },
    });
  }

  #createOutside(): OutsideRequests {
    const options = this.#options;
    return new OutsideRequests({
      ...options,
      home: homeAeOf(options.config.device, options.config.inCse.cseBaseName),
      homeClient: this.#home,
      context: this.#context,
      pilot: this.#pilot,
      clientFor: (cse) => this.#clientFor(cse),
      state: () => ({
        state: this.#state,
        isBusy: this.#runner.isBusy,
        servingSinceMs: this.#servingSinceMs,
      }),
      move: (target, trigger) => this.#begin(trigger, target, []),
      register: () => this.#keeper.renew(),
      refreshLater: () => this.#keeper.refreshLater(),
      standby: () => this.#owed.standby?.cse.cseId,
      onStale: (cse, epoch) => this.#owed.add({ kind: 'orphan', cse, epoch }),
    });
  }

  #createDesk(): ContextDesk {
    const { host, config, telling, contextStore } = this.#options;
    return new ContextDesk({
      clock: host.clock,
      store: contextStore,
      telling,
      context: () => this.#context,
      clientFor: (cse) => this.#clientFor(cse),
      serving: () => servingOf(this.#state),
      isBusy: () => this.#runner.isBusy,
      deadlineMs: config.handover.phaseDeadlineMs,
      onLacking: () => this.#keeper.refreshLater(),
      graceMs: config.handover.graceMs,
    });
  }

  #createPilot(): Pilot {
    return new Pilot({
      clock: this.#options.host.clock,
      policy: decisionPolicy(this.#options.config.decision),
      view: () => ({
        serving: servingOf(this.#state)?.cse.cseId,
        isBusy: this.#runner.isBusy || this.#state.kind === 'fenced',
        prepared: this.#standby.warm,
      }),
      onDecision: (decision) => void this.#follow(decision),
      onStep: (input, explanation) =>
        this.#options.telling.record({ kind: 'decisionStep', input, explanation }),
    });
  }

  #workerOptions(): HandoverWorkerOptions & { readonly owed: OwedWork } {
    const { host, config, access, linkName, downlink, log, wayDown } = this.#options;
    return {
      clock: host.clock,
      entropy: host.entropy,
      context: this.#context,
      record: this.#record,
      uplink: this.#uplink,
      downlink,
      owed: this.#owed,
      syncLog: () => log.sync(),
      clientFor: (cse) => this.#clientFor(cse),
      destinationFor: (cse, epoch) => this.#destinationFor(cse, epoch),
      link: { name: linkName, pointOfAccessFor: (cse) => access.pointOfAccessFor(cse) },
      leave: (cse) => this.#leave(cse),
      desk: this.#desk,
      aes: this.#context.aeIds,
      graceMs: config.handover.graceMs,
      refreshLater: () => this.#keeper.refreshLater(),
      wayDown,
    };
  }

  #createRunner(worker: HandoverWorkerOptions): HandoverRunner {
    const { host, config, journal, telling } = this.#options;
    const onAlarm = (text: string | undefined): void => telling.alarms.set('handover', text);
    const { phaseDeadlineMs, switchDeadlineMs, claim } = config.handover;
    return new HandoverRunner({
      clock: host.clock,
      entropy: host.entropy,
      settings: { phaseDeadlineMs, switchDeadlineMs, repeatMs: retryMs, claim },
      journal,
      worker: createHandoverWorker(worker),
      observer: {
        onState: (state) => this.#onState(state),
        onEnded: (record) => this.#onEnded(record),
        onOrphan: (cse, epoch) => {
          this.#owed.add({ kind: 'orphan', cse, epoch }).catch((error: unknown) => onAlarm(errorText(error)));
        },
        onAlarm,
      },
    });
  }

  #uplinkObserver(): UplinkObserver {
    const { telling } = this.#options;
    return {
      onExchange: (destination, exchange) => this.#onExchange(destination, exchange),
      onDelivered: (stream) => telling.alarms.clear(`stream ${stream}`),
      onContextLost: (destination, reason) => void this.#keeper.repair(destination, reason),
      onRefused: (stream, seq, reason) => {
        telling.log('error', `stream ${stream}: reading ${seq} is refused and set aside: ${reason}`);
      },
      onAlarm: (stream, text) => telling.alarms.set(`stream ${stream}`, text),
    };
  }

  /** The state of the last run becomes ours. */
  async #takeUp(): Promise<void> {
    const before = holderIn(await this.#runner.load());
    for (const [container, throughSeq] of Object.entries(before?.inDoubt ?? {})) {
      this.#uplink.doubt(undefined, new Map([[container, toSeq(throughSeq)]]));
    }
    if (before !== undefined) this.#uplink.doubtAll(this.#destinationFor(before.cse, before.epoch));
    return this.#runner.resume();
  }

  async #follow(decision: HandoverDecision): Promise<void> {
    const { telling } = this.#options;
    const target = referenceOf(decision.target);
    assert(target !== undefined, 'the decision chose a candidate without a point of access');
    if (this.#isFollowing) return;
    this.#isFollowing = true;
    try {
      const source = servingOf(this.#state)?.cse.cseId;
      telling.tell({
        kind: 'decision',
        trigger: decision.trigger,
        ...(source === undefined ? {} : { source }),
        target: target.cseId,
        explanation: `${explainDecision(decision)}${this.#standby.isWarmAt(target) ? '; prepared ahead' : ''}`,
      });
      const alternatives = decision.alternatives.map(referenceOf).filter((cse) => cse !== undefined);
      await this.#begin(decision.trigger, target, alternatives);
    } finally {
      this.#isFollowing = false;
    }
  }

  async #begin(
    trigger: HandoverTrigger,
    target: CseReference,
    alternatives: readonly CseReference[],
  ): Promise<boolean> {
    if (this.#runner.isBusy || this.#state.kind === 'fenced') return false;
    await this.#sweeper.giveWay();
    const serving = servingOf(this.#state);
    let knownEpoch = serving?.epoch;
    if (knownEpoch === undefined) {
      // Without a serving CSE there may be a record of an earlier life of this device.
      const latest = await this.#record.latestEpoch();
      if (!latest.ok) {
        this.#options.telling.alarms.raise(
          'record',
          `the serving record cannot be read: ${latest.error.message}`,
        );
        return false;
      }
      this.#options.telling.alarms.clear('record');
      knownEpoch = latest.value;
      // A life that is forgotten may have delivered what is pending, nobody knows where.
      const { lastEpoch = 0 } = this.#state.kind === 'detached' ? this.#state : {};
      if (knownEpoch > lastEpoch) this.#uplink.doubtAll(undefined);
    }
    this.#isBeginning = true;
    try {
      const isWarm = await this.#standby.giveWay(target);
      return await this.#runner.begin({ trigger, target, alternatives, knownEpoch, isWarm });
    } finally {
      this.#isBeginning = false;
    }
  }

  #onState(state: HandoverState): void {
    const wasServing = servingOf(this.#state)?.cse.cseId;
    const isServing = servingOf(state)?.cse.cseId;
    this.#state = state;
    if (isServing !== wasServing) this.#keeper.stop();
    // This run has told the target where we are, and the transaction fetches its commands.
    const hasPrepared = this.#runner.progress.phases.some(({ phase }) => phase === 'preparing');
    if (state.kind === 'catchingUp' && hasPrepared) this.#keeper.noteFresh();
    tellPhase(this.#options.telling, state, this.#runner.progress.phases.at(-1)?.ms);
    if (state.kind === 'fenced') this.#fence(state.reason);
    if (isServing !== wasServing) this.#servingSinceMs = this.#runner.progress.enteredMs;
  }

  #onEnded(record: HandoverRecord): void {
    const { telling, host } = this.#options;
    this.#outside.takeOutcome(record);
    this.#counts[outcomeTold(record)] += 1;
    this.#pilot.takeOutcome(record.target.cseId, record.outcome === 'completed');
    this.#standby.noteEnded(record.target.cseId);
    // It was left because it did not answer: not soon again.
    if (record.trigger === 'servingLost' && record.source !== undefined) {
      this.#pilot.takeOutcome(record.source.cseId, false);
    }
    tellEnded(telling, record, host.clock.monotonicMs());
  }

  /** A fenced gateway never writes as serving (I6). */
  #fence(reason: string): void {
    void this.#uplink.switchTo(undefined, { deadlineMs: millis(0), sourceLost: true });
    tellFenced(this.#options.telling, reason);
  }

  #onExchange(destination: Destination, exchange: Exchange): void {
    const { isAnswered, sentMs, tookMs } = exchange;
    if (isAnswered) this.#responseMs = tookMs;
    this.#pilot.takeExchange(
      destination.cseId,
      isAnswered
        ? { kind: 'answered', sentMs, responseMs: tookMs }
        : { kind: 'unanswered', sentMs, waitedMs: tookMs },
    );
    if (this.#pilot.servicePath.health.state === 'lost') this.#keeper.refreshLater();
  }

  /** The IN-CSE is never left: the home AE stays there. */
  #leave(cse: CseReference): void {
    if (cse.cseId !== this.#options.config.inCse.cseId) void this.#options.access.leave(cse);
  }

  #clientFor(cse: CseReference): CseClient {
    return this.#options.access.cseClient(cse, this.#aeId);
  }

  #destinationFor(cse: CseReference, epoch: Epoch): Destination {
    return destinationAt({
      ...{ cse, epoch, client: this.#clientFor(cse), desk: this.#desk },
      ...{ config: this.#options.config, aeAddress: this.#context.aeAddress(cse) },
    });
  }

  #answerDeadlineMs(): Millis {
    const learned = answerDeadlineMs(this.#pilot.servicePath, defaultServicePathPolicy);
    return millis(Math.min(this.#options.config.uplink.deadlineMs, learned));
  }
}
