import { closeSync, openSync, readSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { millis } from '../../../src/base/units.ts';
import { NodeClock } from '../../../src/host/clock.ts';

/** The worst delays of the event loop over some time, in ms. */
export interface WorstDelays {
  /** As `monitorEventLoopDelay` sees it at a resolution of 1 ms. */
  readonly measuredMs: number;
  /**
   * Between two ticks of a timer of 1 ms, without the time in which the thread could have run and the machine gave its
   * processors to others, as the kernel counts it: what the process itself has done or waited for. Undefined where the
   * kernel does not count.
   */
  readonly ownMs: number | undefined;
}

/** Watches the event loop from now on; the returned function ends it and tells the worst. */
export function watchStalls(): () => WorstDelays {
  const clock = new NodeClock();
  const delays = monitorEventLoopDelay({ resolution: 1 });
  const counts = openCounts();
  let cancel = (): void => undefined;
  let atMs: number = clock.monotonicMs();
  let waitedMs = counts?.waitedMs();
  let ownMs = waitedMs === undefined ? undefined : 0;
  const tick = (): void => {
    const nowMs = clock.monotonicMs();
    const nowWaitedMs = counts?.waitedMs();
    if (ownMs !== undefined && nowWaitedMs !== undefined && waitedMs !== undefined) {
      ownMs = Math.max(ownMs, nowMs - atMs - (nowWaitedMs - waitedMs));
    }
    [atMs, waitedMs] = [nowMs, nowWaitedMs];
    cancel = clock.schedule(millis(1), tick);
  };
  delays.enable();
  cancel = clock.schedule(millis(1), tick);
  return () => {
    cancel();
    delays.disable();
    counts?.close();
    return { measuredMs: delays.max / 1e6, ownMs };
  };
}

/** How long the main thread was runnable without running, by the scheduler's count. */
function openCounts(): { waitedMs: () => number | undefined; close: () => void } | undefined {
  let file: number;
  try {
    file = openSync('/proc/self/schedstat', 'r');
  } catch {
    return undefined;
  }
  const text = Buffer.alloc(128);
  const waitedMs = (): number | undefined => {
    const length = readSync(file, text, 0, text.length, 0);
    const waitedNs = Number(text.toString('latin1', 0, length).split(' ')[1]);
    return Number.isFinite(waitedNs) ? waitedNs / 1e6 : undefined;
  };
  return { waitedMs, close: () => closeSync(file) };
}
