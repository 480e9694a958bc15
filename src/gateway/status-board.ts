import type { Millis, StreamName } from '../base/units.ts';
import type { LogStats } from '../buffer/log-results.ts';
import type { ReadingLog } from '../buffer/reading-log.ts';
import type { Downlink } from '../downlink/downlink.ts';
import { servingOf, transactionOf } from '../handover/handover-state.ts';
import type { Clock } from '../host/clock.ts';
import type { BufferWatch } from './buffer-watch.ts';
import type { Intake } from './intake.ts';
import type { LinkMonitor } from './link-monitor.ts';
import type { ServiceFacts } from './service-facts.ts';
import type {
  AlarmStatus,
  BufferStatus,
  GatewayStatus,
  HandoverStatus,
  LevelStatus,
  StreamStatus,
} from './status.ts';

/** Time over which a stream's rate is taken. */
const rateWindowMs = 5000;

interface Attached {
  readonly log: ReadingLog;
  readonly watch: BufferWatch;
  readonly intake: Intake;
  readonly monitor: LinkMonitor;
}

/** Puts the status together from the parts that are there. */
export class StatusBoard {
  readonly #clock: Clock;
  readonly #originMs: Millis;
  readonly #identity: { readonly device: string; readonly pid: number };
  readonly #history: { atMs: number; delivered: Map<StreamName, number> }[] = [];
  #attached: Attached | undefined;
  #downlink: Downlink | undefined;

  constructor(options: { clock: Clock; originMs: Millis; device: string; pid: number }) {
    this.#clock = options.clock;
    this.#originMs = options.originMs;
    this.#identity = { device: options.device, pid: options.pid };
  }

  attach(parts: Attached): void {
    this.#attached = parts;
  }

  attachDownlink(downlink: Downlink): void {
    this.#downlink = downlink;
  }

  status(facts: ServiceFacts | undefined, alarms: readonly AlarmStatus[]): GatewayStatus {
    const stats = this.#attached?.log.stats();
    const figures = stats === undefined ? undefined : this.#attached?.watch.figures(stats);
    const serving = facts === undefined ? undefined : servingOf(facts.state);
    const handover = facts === undefined ? undefined : this.#handover(facts);
    const { received = 0, executed = 0, duplicates = 0 } = this.#downlink?.figures ?? {};
    return {
      ...this.#identity,
      uptimeMs: Math.round(this.#clock.monotonicMs() - this.#originMs),
      links: this.#attached?.monitor.status() ?? [],
      levels: facts === undefined ? [] : levelsIn(facts),
      ...(serving === undefined || facts === undefined
        ? {}
        : {
            serving: {
              cseId: serving.cse.cseId,
              epoch: serving.epoch,
              pointOfAccess: serving.cse.pointOfAccess,
              sinceMs: Math.round(facts.servingSinceMs - this.#originMs),
            },
          }),
      ...(handover === undefined ? {} : { handover }),
      ...(facts?.standby === undefined ? {} : { standby: facts.standby }),
      handovers: facts?.counts ?? { completed: 0, rolledBack: 0, failed: 0 },
      buffer: figures?.buffer ?? emptyBuffer,
      ...(figures === undefined ? {} : { flash: figures.flash }),
      streams: stats === undefined ? [] : this.#streams(stats),
      sensors: this.#attached?.intake.status() ?? [],
      service: {
        state: facts?.servicePath ?? 'good',
        ...(facts?.responseMs === undefined ? {} : { responseMs: Math.round(facts.responseMs) }),
      },
      commands: { received, executed, duplicates },
      alarms,
    };
  }

  #handover(facts: ServiceFacts): HandoverStatus | undefined {
    const transaction = transactionOf(facts.state);
    if (transaction === undefined) return undefined;
    const nowMs = this.#clock.monotonicMs();
    const { startedMs, enteredMs, phases } = facts.progress;
    const { source, target, trigger, epoch } = transaction;
    return {
      ...(source === undefined ? {} : { source: source.cse.cseId }),
      target: target.cseId,
      trigger,
      epoch,
      state: facts.state.kind,
      elapsedMs: Math.round(nowMs - startedMs),
      phases: [...phases, { phase: facts.state.kind, ms: nowMs - enteredMs }].map(({ phase, ms }) => ({
        phase,
        ms: Math.round(ms),
      })),
    };
  }

  #streams(stats: LogStats): StreamStatus[] {
    const nowMs = this.#clock.monotonicMs();
    const delivered = new Map([...stats.streams].map(([name, stream]) => [name, stream.delivered]));
    this.#history.push({ atMs: nowMs, delivered });
    while (this.#history.length > 2 && nowMs - (this.#history[1]?.atMs ?? nowMs) >= rateWindowMs)
      this.#history.shift();
    const oldest = this.#history[0];
    const spanMs = nowMs - (oldest?.atMs ?? nowMs);
    return [...stats.streams].map(([name, stream]) => {
      const before = oldest?.delivered.get(name) ?? stream.delivered;
      return {
        name,
        stored: stream.stored,
        delivered: stream.delivered,
        pending: stream.pending,
        ratePerS: spanMs === 0 ? 0 : Math.round(((stream.delivered - before) * 10_000) / spanMs) / 10,
      };
    });
  }
}

const emptyBuffer: BufferStatus = {
  stored: 0,
  delivered: 0,
  evicted: 0,
  corrupt: 0,
  pending: 0,
  bytes: 0,
  capacityBytes: 0,
};

function levelsIn(facts: ServiceFacts): LevelStatus[] {
  return (facts.explanation?.candidates ?? []).map(({ cseId, levelDbm, reasons }) => ({
    cseId,
    ...(levelDbm === undefined ? {} : { rsrpDbm: Math.round(levelDbm * 10) / 10 }),
    ...(reasons[0] === undefined || reasons[0] === 'sameAsServing' ? {} : { note: reasons[0] }),
  }));
}
