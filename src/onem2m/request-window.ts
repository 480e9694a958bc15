/**
 * How many requests to one CSE are in flight together: as many as it and the way to it carry, no more.
 *
 * The window begins small and grows with each answer in time while it is full: by one for each until the first sign of too
 * much, by one for each round trip after it. It is cut by half when there is no answer by the deadline, when the peer or our
 * own message layer says that it has too much to do, or when a message had to be sent again; not more than once for what was
 * in flight together. A peer that works on one request at a time loses none of those that wait for it, so losses alone would
 * let the window grow to its bound: as with TCP Vegas, the answer time beside the best one tells how many requests wait at
 * the peer, and the window stops growing at two of them and shrinks from four on. So no bound for a product is needed: how
 * many are useful at a CSE that works serially follows from the length of the way to it.
 *
 * Requests beyond the window wait here, in order within their queue, the queues in turn. Those without a queue (handover,
 * claim, heartbeat, commands) go first and have a place of their own beside the window. They come in bursts, such as the
 * resources of a bundle, after which there is silence for long: a window that grows from burst to burst would cost a handover
 * round trips. So they may fill `burst` places at once, about what RFC 6928 lets TCP send at first (10 segments, requests
 * having some 300 octets); each sign of too much halves that, each answer in time gives one place back. All of it is bounded:
 * what does not get its turn in time, or finds too many waiting, ends as `busy` and has never left. A cancelled one leaves its
 * queue.
 */
import { err } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import type { CancelTimer, Clock } from '../host/clock.ts';
import type { Binding, DeliveryError, SendOptions } from './binding.ts';
import type { RequestPrimitive, ResponsePrimitive } from './primitives.ts';

/** Bounds of a window. */
export interface WindowSettings {
  /** Requests in flight at the beginning. */
  readonly first: number;
  /** Requests in flight at most, without those in the reserved places. */
  readonly max: number;
  /** Places beside the window for requests without a queue. */
  readonly reserved: number;
  /** Requests in flight up to which those without a queue need no place in the window. */
  readonly burst: number;
  /** Requests that may wait. */
  readonly waitingMax: number;
}

export const defaultWindowSettings: WindowSettings = {
  first: 2,
  max: 16,
  reserved: 1,
  burst: 48,
  waitingMax: 256,
};

/** What a window holds now. */
export interface WindowLoad {
  readonly limit: number;
  readonly inFlight: number;
  readonly waiting: number;
}

type Outcome = Result<ResponsePrimitive, DeliveryError>;

interface Waiting {
  readonly queue: string | undefined;
  start(): void;
}

/** Requests waiting at the peer at which the window grows no more, and from which on it shrinks. */
const queuedGoal = 2;
const queuedMax = 4;
/** The best answer time is that of this period and the one before: a path may become longer. */
const bestPeriodMs = 30_000;

/** The window of one CSE over one link; see the header of this file. */
export class RequestWindow {
  readonly #clock: Clock;
  readonly #settings: WindowSettings;
  readonly #control: Waiting[] = [];
  /** In the order of their turns. */
  readonly #queues = new Map<string, Waiting[]>();
  #limit: number;
  #burst: number;
  /** Below it the window grows by one with each answer. */
  #threshold = Number.POSITIVE_INFINITY;
  #cutMs = Number.NEGATIVE_INFINITY;
  #inFlight = 0;
  #waiting = 0;
  #smoothedMs: number | undefined;
  #best = { sinceMs: 0, nowMs: Number.POSITIVE_INFINITY, beforeMs: Number.POSITIVE_INFINITY };

  constructor(clock: Clock, settings: WindowSettings = defaultWindowSettings) {
    this.#clock = clock;
    this.#settings = settings;
    this.#limit = Math.min(settings.first, settings.max);
    this.#burst = settings.burst;
  }

  get load(): WindowLoad {
    return { limit: Math.floor(this.#limit), inFlight: this.#inFlight, waiting: this.#waiting };
  }

  /** Sends by `binding` when it is the turn of this request. */
  send(binding: Binding, request: RequestPrimitive, options: SendOptions): Promise<Outcome> {
    const { signal, queue, turnMs, deadlineMs } = options;
    if (signal?.aborted === true) return Promise.resolve(unsent('cancelled', 'withdrawn before it was sent'));
    if (this.#waiting >= this.#settings.waitingMax) {
      return Promise.resolve(
        unsent('busy', `${this.#waiting} requests wait for their turn, which is the limit`),
      );
    }
    return new Promise((resolve) => {
      const beganMs = this.#clock.monotonicMs();
      const leave = (): void => {
        cancelTurn();
        signal?.removeEventListener('abort', onAbort);
        this.#remove(waiting);
      };
      const onAbort = (): void => {
        leave();
        resolve(unsent('cancelled', 'withdrawn before its turn'));
      };
      const waiting: Waiting = {
        queue,
        start: () => {
          leave();
          const waitedMs = this.#clock.monotonicMs() - beganMs;
          const leftMs = turnMs === undefined ? millis(Math.max(0, deadlineMs - waitedMs)) : deadlineMs;
          void this.#exchange(binding, request, { ...options, deadlineMs: leftMs }).then(resolve);
        },
      };
      const cancelTurn: CancelTimer = this.#clock.schedule(turnMs ?? deadlineMs, () => {
        leave();
        const waitedMs = Math.round(this.#clock.monotonicMs() - beganMs);
        resolve(unsent('busy', `no turn within ${waitedMs} ms: ${this.#inFlight} requests are in flight`));
      });
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#add(waiting);
      this.#pump();
    });
  }

  async #exchange(binding: Binding, request: RequestPrimitive, options: SendOptions): Promise<Outcome> {
    this.#inFlight += 1;
    const isFull = this.#inFlight >= Math.floor(this.#limit);
    const sentMs = this.#clock.monotonicMs();
    let isRepeated = false;
    options.onSent?.();
    try {
      const outcome = await binding.send(request, {
        ...options,
        onRepeated: () => {
          isRepeated = true;
          this.#cut(sentMs);
          options.onRepeated?.();
        },
      });
      if (outcome.ok && !isRepeated) this.#takeAnswer(sentMs, isFull, options.queue !== undefined);
      else if (!outcome.ok && (outcome.error.kind === 'deadline' || outcome.error.kind === 'busy')) {
        this.#cut(sentMs);
      }
      return outcome;
    } finally {
      this.#inFlight -= 1;
      this.#pump();
    }
  }

  #takeAnswer(sentMs: Millis, isFull: boolean, isReading: boolean): void {
    const nowMs = this.#clock.monotonicMs();
    const tookMs = nowMs - sentMs;
    if (nowMs - this.#best.sinceMs > bestPeriodMs) {
      this.#best = { sinceMs: nowMs, nowMs: tookMs, beforeMs: this.#best.nowMs };
    } else this.#best.nowMs = Math.min(this.#best.nowMs, tookMs);
    const smoothedMs = 0.75 * (this.#smoothedMs ?? tookMs) + 0.25 * tookMs;
    this.#smoothedMs = smoothedMs;
    if (!isReading) this.#burst = Math.min(this.#settings.burst, this.#burst + 1);
    const bestMs = Math.min(this.#best.nowMs, this.#best.beforeMs);
    const queued = smoothedMs > 0 ? this.#limit * (1 - bestMs / smoothedMs) : 0;
    if (queued > queuedMax && isReading) this.#limit = Math.max(1, this.#limit - 1 / this.#limit);
    if (queued >= queuedGoal) this.#threshold = Math.min(this.#threshold, this.#limit);
    else if (isFull) {
      const step = this.#limit < this.#threshold ? 1 : 1 / this.#limit;
      this.#limit = Math.min(this.#settings.max, this.#limit + step);
    }
  }

  /** What was sent before the last cut says nothing about the window after it. */
  #cut(sentMs: Millis): void {
    if (sentMs < this.#cutMs) return;
    this.#cutMs = this.#clock.monotonicMs();
    this.#limit = Math.max(1, this.#limit / 2);
    this.#threshold = this.#limit;
    this.#burst = Math.floor(this.#burst / 2);
  }

  #pump(): void {
    for (;;) {
      const places = Math.floor(this.#limit) - this.#inFlight;
      const controlPlaces = Math.max(places + this.#settings.reserved, this.#burst - this.#inFlight);
      const next =
        controlPlaces > 0 && this.#control.length > 0
          ? this.#control[0]
          : places > 0
            ? this.#nextInTurn()
            : undefined;
      if (next === undefined) return;
      next.start();
    }
  }

  #nextInTurn(): Waiting | undefined {
    for (const [queue, [first]] of this.#queues) {
      // Its next one comes after those of all others.
      const rest = this.#queues.get(queue) ?? [];
      this.#queues.delete(queue);
      this.#queues.set(queue, rest);
      return first;
    }
    return undefined;
  }

  #add(waiting: Waiting): void {
    this.#waiting += 1;
    if (waiting.queue === undefined) {
      this.#control.push(waiting);
      return;
    }
    const queue = this.#queues.get(waiting.queue);
    if (queue === undefined) this.#queues.set(waiting.queue, [waiting]);
    else queue.push(waiting);
  }

  #remove(waiting: Waiting): void {
    const list = waiting.queue === undefined ? this.#control : this.#queues.get(waiting.queue);
    const at = list?.indexOf(waiting) ?? -1;
    if (list === undefined || at < 0) return;
    list.splice(at, 1);
    this.#waiting -= 1;
    if (waiting.queue !== undefined && list.length === 0) this.#queues.delete(waiting.queue);
  }
}

/** CSEs whose windows are kept; of those at rest the one used longest ago gives way. */
const windowsMax = 64;

/** The windows of one link, one for each CSE, whoever sends to it. */
export class RequestWindows {
  readonly #clock: Clock;
  readonly #settings: WindowSettings;
  readonly #windows = new Map<string, RequestWindow>();

  constructor(clock: Clock, settings: Partial<WindowSettings> = {}) {
    this.#clock = clock;
    this.#settings = { ...defaultWindowSettings, ...settings };
  }

  /** The window of the CSE with this point of access. */
  windowOf(pointOfAccess: string): RequestWindow {
    const known = this.#windows.get(pointOfAccess) ?? new RequestWindow(this.#clock, this.#settings);
    this.#windows.delete(pointOfAccess);
    this.#windows.set(pointOfAccess, known);
    for (const [other, { load }] of this.#windows) {
      if (this.#windows.size <= windowsMax) break;
      if (load.inFlight + load.waiting === 0 && other !== pointOfAccess) this.#windows.delete(other);
    }
    return known;
  }

  /** `binding` with its requests in the window of that CSE. */
  bindingThrough(pointOfAccess: string, binding: Binding): Binding {
    return {
      send: (request, options) => this.windowOf(pointOfAccess).send(binding, request, options),
      close: () => binding.close(),
    };
  }
}

function unsent(kind: 'busy' | 'cancelled', message: string): Outcome {
  return err({ kind, message, isUnsent: true });
}
