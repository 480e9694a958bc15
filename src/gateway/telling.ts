import type { Alarms } from './alarms.ts';
import type { GatewayEvent, LogLevel } from './status.ts';

/** How the parts of a gateway say what happens. */
export interface Telling {
  readonly alarms: Alarms;
  /** To the clients of the control socket, the log and the flight log. */
  tell(event: GatewayEvent): void;
  log(level: LogLevel, text: string): void;
  /** Detail for the flight log alone. */
  record(event: { kind: string; [key: string]: unknown }): void;
}
