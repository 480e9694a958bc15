import { millis } from '../../base/units.ts';
import type { CancelTimer } from '../../host/clock.ts';
import { ResourceType } from '../../onem2m/enums.ts';
import { encodeTimestamp, parseTimestamp } from '../../onem2m/primitives.ts';
import type { CseCore, ResourceChange } from './cse-core.ts';
import type { Notifier } from './notifier.ts';
import { numberOf, textOf, textsOf } from './resource-tree.ts';
import type { StoredResource } from './resource-tree.ts';

const listMax = 1000;

interface Watch {
  expectedMs: number;
  cancel: CancelTimer;
}

/** Detects instances of a time series that do not come in time (TS-0001 9.6.36 `missingDataDetect`, 10.2.4.27). */
export class MissingDataWatch {
  readonly #core: CseCore;
  readonly #notifier: Notifier;
  readonly #watches = new Map<string, Watch>();

  constructor(core: CseCore, notifier: Notifier) {
    this.#core = core;
    this.#notifier = notifier;
    core.lifetime.addEventListener('abort', () => this.#end(), { once: true });
  }

  /** Called for every change, after it was made. */
  observe(change: ResourceChange): void {
    const { resource } = change;
    if (change.kind === 'created' && resource.type === ResourceType.timeSeriesInstance) {
      this.#arrived(resource);
    } else if (resource.type === ResourceType.timeSeries && change.kind !== 'created') {
      const isOver = change.kind === 'deleted' || resource.attributes.missingDataDetect !== true;
      if (isOver) this.#forget(resource.id);
    }
  }

  #arrived(instance: StoredResource): void {
    const series = instance.parent;
    const generatedMs = parseTimestamp(textOf(instance, 'dataGenerationTime') ?? '');
    if (series?.attributes.missingDataDetect !== true || generatedMs === undefined) return;
    const { periodMs, toleranceMs, waitMs } = settingsOf(series);
    if (periodMs <= 0) return;
    const watch = this.#watches.get(series.id);
    if (watch !== undefined) {
      if (generatedMs < watch.expectedMs - toleranceMs) return;
      const missing: number[] = [];
      for (let at = watch.expectedMs; at < generatedMs - toleranceMs && missing.length < listMax;) {
        missing.push(at);
        at += periodMs;
      }
      if (missing.length > 0) this.#miss(series, missing);
    }
    this.#expect(series, generatedMs + periodMs, periodMs + waitMs);
  }

  #expect(series: StoredResource, expectedMs: number, waitMs: number): void {
    this.#forget(series.id);
    const cancel = this.#core.clock.schedule(millis(waitMs), () => {
      if (!this.#core.tree.holds(series)) return;
      this.#miss(series, [expectedMs]);
      const { periodMs } = settingsOf(series);
      this.#expect(series, expectedMs + periodMs, periodMs);
    });
    this.#watches.set(series.id, { expectedMs, cancel });
  }

  #miss(series: StoredResource, times: readonly number[]): void {
    const countMax = Math.min(numberOf(series, 'missingDataMaxNr') ?? listMax, listMax);
    const missing = [...textsOf(series, 'missingDataList'), ...times.map(preciseTimestamp)].slice(-countMax);
    series.attributes.missingDataList = missing;
    series.attributes.missingDataCurrentNr = missing.length;
    this.#notifier.reportMissing(series, missing);
  }

  #forget(id: string): void {
    this.#watches.get(id)?.cancel();
    this.#watches.delete(id);
  }

  #end(): void {
    for (const watch of this.#watches.values()) watch.cancel();
    this.#watches.clear();
  }
}

function settingsOf(series: StoredResource): { periodMs: number; toleranceMs: number; waitMs: number } {
  const periodMs = numberOf(series, 'periodicInterval') ?? 0;
  return {
    periodMs,
    toleranceMs: numberOf(series, 'periodicIntervalDelta') ?? periodMs / 2,
    waitMs: numberOf(series, 'missingDataDetectTimer') ?? 0,
  };
}

/** With the fraction, because a series may have several instances in a second. */
function preciseTimestamp(unixMs: number): string {
  const fraction = String(Math.floor(unixMs) % 1000).padStart(3, '0');
  return `${encodeTimestamp(unixMs)},${fraction}`;
}
