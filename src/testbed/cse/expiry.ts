import { millis } from '../../base/units.ts';
import type { CancelTimer } from '../../host/clock.ts';
import { parseTimestamp } from '../../onem2m/primitives.ts';
import { removeResource } from './cse-core.ts';
import type { CseCore, ResourceChange } from './cse-core.ts';
import { textOf } from './resource-tree.ts';
import type { StoredResource } from './resource-tree.ts';

/** The wall clock may step (I11): it is looked at again after this time at the latest. */
const lookMsMax = 60_000;

/** Removes resources, each with its subtree, when their `expirationTime` is reached (TS-0001 9.6.1.3.2). */
export class ExpiryWatch {
  readonly #core: CseCore;
  #nextMs = Number.POSITIVE_INFINITY;
  #cancel: CancelTimer = () => undefined;

  constructor(core: CseCore) {
    this.#core = core;
    core.lifetime.addEventListener('abort', () => this.#cancel(), { once: true });
    this.#sweep();
  }

  /** Called for every change, after it was made. */
  observe(change: ResourceChange): void {
    if (change.kind === 'deleted') return;
    const dueMs = expirationMs(change.resource);
    if (dueMs < this.#nextMs) this.#arm(dueMs);
  }

  #arm(dueMs: number): void {
    this.#nextMs = dueMs;
    this.#cancel();
    if (dueMs === Number.POSITIVE_INFINITY) return;
    const waitMs = Math.min(Math.max(dueMs - this.#core.clock.unixMs(), 0), lookMsMax);
    this.#cancel = this.#core.clock.schedule(millis(waitMs), () => {
      if (this.#core.clock.unixMs() < this.#nextMs) this.#arm(this.#nextMs);
      else this.#sweep();
    });
  }

  #sweep(): void {
    const nowMs = this.#core.clock.unixMs();
    const expired: StoredResource[] = [];
    let nextMs = Number.POSITIVE_INFINITY;
    for (const resource of this.#core.tree.all()) {
      const dueMs = expirationMs(resource);
      if (dueMs <= nowMs) expired.push(resource);
      else nextMs = Math.min(nextMs, dueMs);
    }
    for (const resource of expired) removeResource(this.#core, resource);
    this.#arm(nextMs);
  }
}

function expirationMs(resource: StoredResource): number {
  const text = textOf(resource, 'expirationTime');
  return (text === undefined ? undefined : parseTimestamp(text)) ?? Number.POSITIVE_INFINITY;
}
