/**
 * The oneM2M side of the gateway on an open link: takes up the transaction of the last run, then delivers, discovers,
 * decides, repairs and sweeps until it is stopped.
 *
 * After a restart the records of the last run may be at the CSE that served then without our remembering: they are in
 * doubt with regard to it until they are settled. In the middle of a switch nothing is delivered before the switch has
 * been repeated, because only then it is known where each stream goes.
 */
import { assert } from '../base/assert.ts';
import { errorText } from '../base/errors.ts';
import { aeId, epoch as toEpoch, millis } from '../base/units.ts';
import type { AeId, Epoch, Millis, StreamName } from '../base/units.ts';
import type { ReadingLog } from '../buffer/reading-log.ts';
import type { Candidate } from '../decision/candidate.ts';
import type { HandoverDecision } from '../decision/decision.ts';
import { answerDeadlineMs, defaultServicePathPolicy } from '../decision/service-path.ts';
import type { Downlink } from '../downlink/downlink.ts';
import { discoverCandidates } from '../handover/candidate-discovery.ts';
import { BundleContext, commandContainer } from '../handover/context.ts';
import { homeAeOf } from '../handover/home-ae.ts';
import { HandoverRunner } from '../handover/runner.ts';
import type { HandoverJournal, HandoverProgress, HandoverRecord, WorkOutcome } from '../handover/runner.ts';
import { ServingRecord } from '../handover/serving-record.ts';
import { servingOf } from '../handover/transition.ts';
import type { CseReference, HandoverState, HandoverTrigger } from '../handover/transition.ts';
import { every, sleep } from '../host/clock.ts';
import type { Host } from '../host/host.ts';
import { parsePointOfAccess } from '../onem2m/address.ts';
import type { CseClient } from '../onem2m/cse-client.ts';
import type { RadioSample } from '../radio/radio-sample.ts';
import type { Destination } from '../uplink/destination.ts';
import type { Exchange, UplinkObserver } from '../uplink/stream-lane.ts';
import { Uplink } from '../uplink/uplink.ts';
import { decisionPolicy } from './config.ts';
import type { GatewayConfig } from './config.ts';
import { createHandoverWorker } from './handover-worker.ts';
import type { LinkAccess } from './link-access.ts';
import { OwedWork } from './owed-work.ts';
import type { OwedStore } from './owed-work.ts';
import { Pilot } from './pilot.ts';
import type { Telling } from './telling.ts';

/** What a service is built from. */
export interface ServiceOptions {
  readonly host: Host;
  readonly config: GatewayConfig;
  readonly streams: readonly StreamName[];
  readonly log: ReadingLog;
  readonly access: LinkAccess;
  readonly linkName: string;
  readonly downlink: Downlink;
  readonly journal: HandoverJournal;
  readonly owedStore: OwedStore;
  readonly telling: Telling;
}

const decideMs = millis(500);
const sweepMs = millis(15_000);
const retryMs = millis(1000);
/** Wait after a repair, whatever it came to. */
const repairMs = millis(2000);

/** The oneM2M side of a running gateway; see the header of this file. */
export class Service {
  readonly #options: ServiceOptions;
  readonly #aeId: AeId;
  readonly #home: CseClient;
  readonly #record: ServingRecord;
  readonly #context: BundleContext;
  readonly #owed: OwedWork;
  readonly #uplink: Uplink;
  readonly #pilot: Pilot;
  readonly #runner: HandoverRunner;
  #state: HandoverState = { kind: 'detached', lastEpoch: toEpoch(0) };
  #servingSinceMs: Millis;
  #counts = { completed: 0, rolledBack: 0, failed: 0 };
  #responseMs: Millis | undefined;
  #isRepairing = false;
  #isFollowing = false;

  constructor(options: ServiceOptions) {
    this.#options = options;
    const { host, config, access, log, streams } = options;
    const { device, inCse } = config;
    this.#servingSinceMs = host.clock.monotonicMs();
    this.#aeId = aeId(`S${device}`);
    const home = homeAeOf(device, inCse.cseBaseName);
    this.#home = access.cseClient(inCse.pointOfAccess, home.aeId);
    this.#record = new ServingRecord(this.#home, `${home.address}/serving`);
    const readers = [inCse.cseId, `${inCse.cseId}/*`];
    this.#context = new BundleContext({ device, aeId: this.#aeId, streams, readers });
    this.#owed = new OwedWork({
      store: options.owedStore,
      record: this.#record,
      releaseOrphan: (cse, epoch, signal) => this.#releaseOrphan(cse, epoch, signal),
      onAlarm: (text) => options.telling.alarms.raise('owed', text),
    });
    this.#pilot = this.#createPilot();
    this.#uplink = new Uplink({
      streams,
      source: {
        peek: (stream, max) => log.peek(stream, max),
        acknowledge: (stream, throughSeq) => log.acknowledge(stream, throughSeq),
        lastSeq: (stream) => log.lastSeq(stream),
      },
      clock: host.clock,
      entropy: host.entropy,
      settings: { ...config.uplink, deadlineMs: () => this.#answerDeadlineMs() },
      observer: this.#uplinkObserver(),
    });
    this.#runner = this.#createRunner();
  }

  /** Serves until `signal` aborts. Rejects for what a service cannot go on with: a log that cannot be read. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options.host;
    const stopNotice = this.#options.log.onStored(({ stream }) => this.#uplink.notice(stream));
    await this.#owed.open();
    const delivering = this.#uplink.run();
    await this.#takeUp();
    const cancelTick = every(clock, decideMs, () => this.#pilot.decide());
    try {
      await Promise.race([
        delivering,
        Promise.all([this.#keepDiscovering(signal), this.#keepSweeping(signal)]),
      ]);
    } finally {
      cancelTick();
      stopNotice();
      this.#runner.stop();
      this.#uplink.stop();
    }
  }

  takeSample(sample: RadioSample): void {
    this.#pilot.takeSample(sample);
  }

  /** Begins a handover by order of an operator. */
  async orderHandover(target: string | undefined): Promise<Readonly<Record<string, unknown>>> {
    const serving = servingOf(this.#state)?.cse.cseId;
    const others = this.#pilot.candidates.filter(({ cseId }) => cseId !== serving);
    const chosen = target === undefined ? others[0] : others.find(({ cseId }) => cseId === target);
    const reference = chosen === undefined ? undefined : referenceOf(chosen);
    if (reference === undefined) {
      const known = others.map(({ cseId }) => cseId).join(', ');
      return {
        accepted: false,
        reason: `${target ?? 'no target'} is no candidate; known: ${known || 'none'}`,
      };
    }
    const accepted = await this.#begin('operator', reference, []);
    return accepted
      ? { accepted, target: reference.cseId }
      : { accepted, reason: `not possible while ${this.#state.kind}` };
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
    };
  }

  #createPilot(): Pilot {
    return new Pilot({
      clock: this.#options.host.clock,
      policy: decisionPolicy(this.#options.config.decision),
      view: () => ({
        serving: servingOf(this.#state)?.cse.cseId,
        isBusy: this.#runner.isBusy || this.#state.kind === 'fenced',
      }),
      onDecision: (decision) => void this.#follow(decision),
      onStep: (input, explanation) =>
        this.#options.telling.record({ kind: 'decisionStep', input, explanation }),
    });
  }

  #createRunner(): HandoverRunner {
    const { host, config, access, linkName, downlink, log, journal, telling } = this.#options;
    const onAlarm = (text: string): void => telling.alarms.raise('handover', text);
    const { phaseDeadlineMs, switchDeadlineMs, graceMs } = config.handover;
    return new HandoverRunner({
      clock: host.clock,
      entropy: host.entropy,
      settings: { phaseDeadlineMs, switchDeadlineMs, repeatMs: retryMs },
      journal,
      worker: createHandoverWorker({
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
        link: { name: linkName, pointOfAccess: access.pointOfAccess },
        aes: { [config.device]: this.#aeId },
        graceMs,
      }),
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
      onContextLost: (destination, reason) => void this.#repair(destination, reason),
      onRefused: (stream, seq, reason) => {
        telling.log('error', `stream ${stream}: reading ${seq} is refused and set aside: ${reason}`);
      },
      onAlarm: (stream, text) => telling.alarms.raise(`stream ${stream}`, text),
    };
  }

  /** The state of the last run becomes ours. */
  async #takeUp(): Promise<void> {
    const { log, streams } = this.#options;
    const state = await this.#runner.load();
    const serving = servingOf(state);
    if (serving === undefined) return this.#runner.resume();
    const lastSeqs = new Map(streams.map((stream) => [stream, log.lastSeq(stream)]));
    if (state.kind === 'switching') {
      const { source } = state.transaction;
      if (source !== undefined) this.#uplink.doubt(this.#destinationFor(source.cse, source.epoch), lastSeqs);
    } else {
      const destination = this.#destinationFor(serving.cse, serving.epoch);
      this.#uplink.doubt(destination, lastSeqs);
      await this.#uplink.switchTo(destination, { deadlineMs: millis(0), sourceLost: false });
    }
    return this.#runner.resume();
  }

  async #keepDiscovering(signal: AbortSignal): Promise<void> {
    const { host, config, telling } = this.#options;
    const { cseBaseName, pointOfAccess } = config.inCse;
    while (!signal.aborted) {
      const found = await discoverCandidates(this.#home, cseBaseName, { signal });
      if (found.ok) {
        telling.alarms.clear('discovery');
        for (const { address, reason } of found.value.rejected) {
          telling.log('warn', `target ${address} cannot be used: ${reason}`);
        }
        this.#pilot.takeCandidates(found.value.candidates);
      } else {
        const hint = found.error.kind === 'rejected' ? '; was "baton provision" run for this device?' : '';
        telling.alarms.raise(
          'discovery',
          `no candidates from ${pointOfAccess}: ${found.error.message}${hint}`,
        );
      }
      await sleep(host.clock, found.ok ? config.decision.discoveryPeriodMs : retryMs, signal).catch(
        () => undefined,
      );
    }
  }

  async #keepSweeping(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(this.#options.host.clock, sweepMs, signal).catch(() => undefined);
      if (signal.aborted || this.#runner.isBusy) continue;
      const serving = servingOf(this.#state)?.cse.cseId;
      await this.#owed.sweep(serving === undefined ? [] : [serving], signal);
    }
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
        explanation: explain(decision),
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
    }
    return this.#runner.begin({ trigger, target, alternatives, knownEpoch });
  }

  #onState(state: HandoverState): void {
    const wasServing = servingOf(this.#state)?.cse.cseId;
    this.#state = state;
    if ('transaction' in state) {
      const { epoch, source, target } = state.transaction;
      this.#options.telling.tell({
        kind: 'phase',
        state: state.kind,
        epoch,
        ...(source === undefined ? {} : { source: source.cse.cseId }),
        target: target.cseId,
        ms: Math.round(this.#runner.progress.phases.at(-1)?.ms ?? 0),
      });
    }
    if (state.kind === 'fenced') void this.#fence();
    if (servingOf(state)?.cse.cseId !== wasServing) this.#servingSinceMs = this.#runner.progress.enteredMs;
  }

  #onEnded(record: HandoverRecord): void {
    const { telling, host } = this.#options;
    const outcome = record.outcome === 'fenced' ? 'failed' : record.outcome;
    this.#counts[outcome] += 1;
    this.#pilot.takeOutcome(record.target.cseId, record.outcome === 'completed');
    if (record.outcome === 'completed') telling.alarms.clear('handover');
    telling.tell({
      kind: 'handoverEnded',
      outcome,
      epoch: record.epoch,
      ...(record.source === undefined ? {} : { source: record.source.cseId }),
      target: record.target.cseId,
      trigger: record.trigger,
      elapsedMs: Math.round(host.clock.monotonicMs() - record.startedMs),
      phases: record.phases.map(({ phase, ms }) => ({ phase, ms: Math.round(ms) })),
      ...(record.reason === undefined ? {} : { reason: record.reason }),
    });
  }

  /** A fenced gateway never writes as serving (I6). */
  async #fence(): Promise<void> {
    await this.#uplink.switchTo(undefined, { deadlineMs: millis(0), sourceLost: false });
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
  }

  /** The serving CSE has lost the bundle, wholly or in part: what is missing is made again. */
  async #repair(destination: Destination, reason: string): Promise<void> {
    const { host, config, access, telling } = this.#options;
    const serving = servingOf(this.#state);
    if (this.#isRepairing || this.#runner.isBusy || serving?.cse.cseId !== destination.cseId) return;
    this.#isRepairing = true;
    telling.log('warn', `${destination.cseId} has lost our context (${reason}); it is made again`);
    const wanted = { epoch: serving.epoch, state: 'serving' as const, pointOfAccess: access.pointOfAccess };
    const options = { deadlineMs: config.handover.phaseDeadlineMs };
    const outcome = await this.#context.ensure(destination.client, serving.cse, wanted, options);
    if (outcome.kind === 'succeeded') telling.alarms.clear('context');
    else
      telling.alarms.raise(
        'context',
        `context at ${destination.cseId}: ${'reason' in outcome ? outcome.reason : ''}`,
      );
    await sleep(host.clock, repairMs);
    this.#isRepairing = false;
  }

  async #releaseOrphan(cse: CseReference, epoch: Epoch, signal: AbortSignal): Promise<WorkOutcome> {
    const { downlink, config } = this.#options;
    const client = this.#clientFor(cse);
    await downlink.catchUp(client, `${this.#context.aeAddress(cse)}/${commandContainer}`, { signal });
    return this.#context.release(client, cse, { epoch, graceMs: config.handover.graceMs }, { signal });
  }

  #clientFor(cse: CseReference): CseClient {
    return this.#options.access.cseClient(cse.pointOfAccess, this.#aeId);
  }

  #destinationFor(cse: CseReference, epoch: Epoch): Destination {
    return { cseId: cse.cseId, epoch, client: this.#clientFor(cse), aeAddress: this.#context.aeAddress(cse) };
  }

  #answerDeadlineMs(): Millis {
    const learned = answerDeadlineMs(this.#pilot.servicePath, defaultServicePathPolicy);
    return millis(Math.min(this.#options.config.uplink.deadlineMs, learned));
  }
}

/** What the status shows of a service. */
export interface ServiceFacts {
  readonly state: HandoverState;
  readonly progress: HandoverProgress;
  readonly servingSinceMs: Millis;
  readonly counts: { readonly completed: number; readonly rolledBack: number; readonly failed: number };
  readonly explanation: Pilot['explanation'];
  readonly servicePath: string;
  readonly responseMs: Millis | undefined;
}

/** The CSE behind a candidate, by its first point of access that is spoken here. */
function referenceOf(candidate: Candidate): CseReference | undefined {
  const pointOfAccess = candidate.pointsOfAccess.find((poa) => parsePointOfAccess(poa)?.scheme === 'coap');
  if (pointOfAccess === undefined) return undefined;
  return { cseId: candidate.cseId, cseBaseName: candidate.cseBaseName, pointOfAccess };
}

function explain(decision: HandoverDecision): string {
  const chosen = decision.explanation.candidates.find(({ verdict }) => verdict === 'chosen');
  const level = chosen?.levelDbm === undefined ? 'not measured' : `${chosen.levelDbm.toFixed(1)} dBm`;
  const margin = chosen?.marginDb === undefined ? '' : `, ${chosen.marginDb.toFixed(1)} dB beyond the offset`;
  return `${decision.trigger}: ${decision.target.cseId} at ${level}${margin}`;
}
