import type { GatewayEvent, GatewayStatus } from './status.ts';

/**
 * The control socket speaks JSON, one message per line.
 *
 *     → {"id":1,"method":"status"}                              ← {"id":1,"result":{…}}
 *     → {"id":2,"method":"subscribe","params":{"periodMs":500}} ← {"id":2,"result":{}} {"status":{…}} {"event":{…}} …
 *     → {"id":3,"method":"handover","params":{"target":"/id-mn2"}}
 *       with "dryRun":true nothing is begun; "unfence":true lets a fenced gateway serve again
 *       with "aes":["gw1","gw1-weather"] it is refused unless these are all AEs of the bundle
 *     → {"id":6,"method":"context","params":{"cse":"/id-mn2","repair":true}}
 *     → {"id":4,"method":"stop"}
 *     → {"id":5,"method":"hello"}                               ← {"id":5,"result":{"pid":…,"owner":true,"name":"…"}}
 *     ← {"id":null,"error":{"code":"DECODE","message":"…"}}     a line that is no request
 */
export const controlMethods = ['status', 'subscribe', 'handover', 'context', 'stop', 'hello'] as const;

/** Name of the socket in the data directory that clients connect to. */
export const controlSocketName = 'control.sock';

/** What a client may ask for. */
export type ControlMethod = (typeof controlMethods)[number];

/** What went wrong with a request: the `code` of a `BatonError` and its message. */
export interface ControlError {
  readonly code: string;
  readonly message: string;
}

/** What the server sends without being asked each time. */
export type ControlPush = { readonly status: GatewayStatus } | { readonly event: GatewayEvent };

/** Bounds of the period between two pushed states. */
export const periodMsRange = { min: 100, max: 60_000, default: 1000 } as const;

/** One line as a JSON object; undefined for anything else. */
export function parseMessage(line: string): Readonly<Record<string, unknown>> | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  return isRecord(value) ? value : undefined;
}

/** Whether a value is a JSON object. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
