import { TrafficMeter } from '../onem2m/traffic-meter.ts';
import { referenceOf } from './candidate-reference.ts';
import type { GatewayConfig } from './config.ts';
import { createHandoverWorker, fetchCommands } from './handover-worker.ts';
import type { HandoverWorkerOptions } from './handover-worker.ts';
import type { OwedWork } from './owed-work.ts';
import type { Pilot } from './pilot.ts';
import { WarmStandby } from './warm-standby.ts';
import type { StandbyWork, WarmStandbyOptions } from './warm-standby.ts';

/** A standby at the best alternative that the pilot sees, worked on like the target of a handover. */
export function createStandby(options: {
  readonly worker: HandoverWorkerOptions & { readonly owed: OwedWork };
  readonly settings: Pick<GatewayConfig['handover'], 'standby' | 'phaseDeadlineMs'>;
  readonly pilot: Pick<Pilot, 'bestAlternative'>;
  readonly serving: WarmStandbyOptions['serving'];
  readonly isFree: () => boolean;
  readonly onChange: (text: string) => void;
}): WarmStandby {
  const { worker, settings, pilot, ...rest } = options;
  const meter = new TrafficMeter();
  return new WarmStandby({
    ...rest,
    clock: worker.clock,
    settings: settings.standby,
    deadlineMs: settings.phaseDeadlineMs,
    owed: worker.owed,
    best: () => {
      const { bestAlternative } = pilot;
      return bestAlternative === undefined ? undefined : referenceOf(bestAlternative);
    },
    work: createStandbyWork(worker, meter),
    meter,
  });
}

/** The requests of a standby: the phases of a handover before its claim, counted by `meter`. */
function createStandbyWork(options: HandoverWorkerOptions, meter: TrafficMeter): StandbyWork {
  const { context, link } = options;
  const clientFor: HandoverWorkerOptions['clientFor'] = (cse) =>
    options.clientFor(cse).through((binding) => meter.over(binding));
  const metered = { ...options, clientFor };
  const { prepare, verify } = createHandoverWorker(metered);
  return {
    prepare,
    verify,
    marked: (cse, work) => context.marked(clientFor(cse), cse, work),
    repair: ({ target, epoch }, work) => {
      const wanted = { epoch, state: 'prepared' as const, pointOfAccess: link.pointOfAccessFor(target) };
      return context.repair(clientFor(target), target, wanted, work);
    },
    fetchCommands: ({ target }, work) => fetchCommands(metered, target, work),
    pointOfAccessFor: (cse) => link.pointOfAccessFor(cse),
  };
}
