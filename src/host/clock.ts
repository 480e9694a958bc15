import { CancelledError, DeadlineError } from '../base/errors.ts';
import { millis, unixMillis } from '../base/units.ts';
import type { Millis, UnixMillis } from '../base/units.ts';

/** Withdraws a scheduled action; calling it twice, or after the action ran, does nothing. */
export type CancelTimer = () => void;

/**
 * Time as the gateway sees it. Order and durations come from the monotonic clock; the wall clock may step (I11) and
 * serves only as a stamp.
 */
export interface Clock {
  /** Milliseconds since an origin that holds for one boot of the machine, never going back, with sub-millisecond fraction. */
  monotonicMs(): Millis;
  /** Milliseconds since 1970 as the system believes them. */
  unixMs(): UnixMillis;
  /** Runs `action` once after `delayMs`. */
  schedule(delayMs: Millis, action: () => void): CancelTimer;
}

/** The real clock of the machine: its monotonic time is CLOCK_MONOTONIC, which a restarted process finds going on. */
export class NodeClock implements Clock {
  readonly #originMs = monotonicOriginMs();

  monotonicMs(): Millis {
    return millis(this.#originMs + performance.now());
  }

  unixMs(): UnixMillis {
    return unixMillis(Date.now());
  }

  schedule(delayMs: Millis, action: () => void): CancelTimer {
    const timer = setTimeout(action, delayMs);
    return () => clearTimeout(timer);
  }
}

/**
 * CLOCK_MONOTONIC at the origin of `performance.now()`. A pause between the two readings, which the first call of each brings,
 * makes it too early and never too late; clocks of two processes would differ by that.
 */
function monotonicOriginMs(): number {
  const readOnce = (): number => Number(process.hrtime.bigint()) / 1e6 - performance.now();
  return Math.max(...Array.from({ length: 8 }, readOnce));
}

/**
 * Waits `delayMs`, or rejects with `CancelledError` as soon as `signal` aborts. Leaves no listener behind.
 */
export function sleep(clock: Clock, delayMs: Millis, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(new CancelledError('cancelled before the wait began'));
      return;
    }
    const onAbort = (): void => {
      cancel();
      reject(new CancelledError(`cancelled during a wait of ${delayMs} ms`));
    };
    const cancel = clock.schedule(delayMs, () => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    });
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/** Runs `action` every `periodMs`, the first time after one period, until the returned function is called. */
export function every(clock: Clock, periodMs: Millis, action: () => void): CancelTimer {
  let cancel: CancelTimer = () => undefined;
  let stopped = false;
  let dueMs = clock.monotonicMs() + periodMs;
  const arm = (): void => {
    const delayMs = Math.max(0, dueMs - clock.monotonicMs());
    cancel = clock.schedule(millis(delayMs), () => {
      dueMs = Math.max(dueMs + periodMs, clock.monotonicMs());
      action();
      if (!stopped) arm();
    });
  };
  arm();
  return () => {
    stopped = true;
    cancel();
  };
}

/**
 * Settles like `work`, or rejects with `DeadlineError` naming `what` after `limitMs`. The work itself is not stopped:
 * give it the same signal when it can be.
 */
export function withDeadline<T>(clock: Clock, limitMs: Millis, what: string, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const cancel = clock.schedule(limitMs, () => {
      reject(new DeadlineError(`${what}: no answer within ${limitMs} ms`));
    });
    work.then(
      (value) => {
        cancel();
        resolve(value);
      },
      (error: unknown) => {
        cancel();
        reject(error instanceof Error ? error : new Error(String(error)));
      },
    );
  });
}

/** Resolves when everything that is runnable now has run: one turn of the event loop, no time of the clock. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/**
 * The same for promises alone, several times cheaper: resolves when no promise has anything left to run, without a turn of
 * the event loop. Whoever waits like this for long keeps timers, files and sockets of the machine from being served.
 */
export function settlePromises(): Promise<void> {
  // A tick runs only when the queue of promise jobs is empty, whatever the jobs in it add.
  return new Promise((resolve) => queueMicrotask(() => process.nextTick(resolve)));
}
