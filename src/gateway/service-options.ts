import type { StreamName } from '../base/units.ts';
import type { ReadingLog } from '../buffer/reading-log.ts';
import type { Downlink } from '../downlink/downlink.ts';
import type { HandoverJournal } from '../handover/runner.ts';
import type { Host } from '../host/host.ts';
import type { StreamDelivery } from '../uplink/lane-options.ts';
import type { GatewayConfig } from './config.ts';
import type { ContextStore } from './context-desk.ts';
import type { LinkAccess } from './link-access.ts';
import type { OwedStore } from './owed-work.ts';
import type { Telling } from './telling.ts';
import type { TriggerStore } from './trigger-desk.ts';
import type { WayDown } from './way-down.ts';

/** What a service is built from. */
export interface ServiceOptions {
  readonly host: Host;
  readonly config: GatewayConfig;
  readonly streams: ReadonlyMap<StreamName, StreamDelivery>;
  readonly log: ReadingLog;
  readonly access: Pick<LinkAccess, 'cseClient' | 'pointOfAccessFor' | 'obstacleTo' | 'leave'>;
  readonly linkName: string;
  readonly downlink: Downlink;
  readonly journal: HandoverJournal;
  readonly owedStore: OwedStore;
  readonly triggerStore: TriggerStore;
  /** What was seen of the context is forgotten with the process without one. */
  readonly contextStore?: ContextStore;
  readonly wayDown: WayDown;
  readonly telling: Telling;
}
