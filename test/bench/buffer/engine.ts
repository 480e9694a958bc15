/**
 * A store under test. Each adapter keeps records of one queue with what a reading needs beside its payload, and makes
 * them durable in the way its makers intend.
 */
export interface Engine {
  /** Stores the payloads in one commit; resolves when they are durable by what the engine promises. */
  append(payloads: readonly Uint8Array[]): Promise<void>;
  /** The payloads of the oldest records that are not acknowledged, at most `max`. */
  deliver(max: number): Promise<readonly Uint8Array[]>;
  /** Settles what `deliver` returned last. */
  acknowledge(): Promise<void>;
  /** Brings a new store where a long life brings it, before a steady state is measured; leaves no record of the queue. */
  prepareSteady?(): Promise<void>;
  close(): Promise<void>;
}

/** What an engine is opened with; those other than Baton's log know only the directory and `isBulk`. */
export interface EngineOptions {
  /** An existing empty directory, or one that the same engine has left. */
  readonly directory: string;
  /** Without a flush per commit, for backlogs that are made fast; `close` makes them durable. */
  readonly isBulk?: boolean;
  /** Disk that the log may take. */
  readonly quotaBytes: number;
  /** Priorities with a stream each; records of a batch go to them in turn. */
  readonly priorities?: number;
  /** Whether records of another stream fill more than half of the log first. */
  readonly isShortOfSpace?: boolean;
}

/** Opens a store; throws when the package of its engine does not load. */
export type OpenEngine = (options: EngineOptions) => Promise<Engine>;

/** Octets of each payload. */
export const payloadBytes = 160;

/** `count` payloads, numbered in their first four octets from `first` up. */
export function makePayloads(first: number, count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, index) => {
    const payload = new Uint8Array(payloadBytes).fill((first + index) & 0xff);
    new DataView(payload.buffer).setUint32(0, first + index, true);
    return payload;
  });
}

/** The number of a payload. */
export function payloadNumber(payload: Uint8Array): number {
  return new DataView(payload.buffer, payload.byteOffset).getUint32(0, true);
}
