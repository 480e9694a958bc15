import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import type { HandoverRunner } from '../handover/runner.ts';
import type { ServingRecord } from '../handover/serving-record.ts';
import type { Serving } from '../handover/handover-state.ts';
import type { CallOptions } from '../onem2m/cse-client.ts';
import { sleep } from '../host/clock.ts';
import type { Clock } from '../host/clock.ts';

/** Looks oftener than this are not taken, whoever asks for them: the budget is some hundred kilobytes a day. */
const spacingMs = millis(30_000);

type MarkCheck = (serving: Serving, limits: CallOptions) => Promise<void>;

/**
 * Compares, now and then and when something gives cause, what the gateway takes itself for with what the serving record says:
 * a clone, a restored disk image or a claim that arrived late shows there (G5).
 */
export class ServingGuard {
  readonly #clock: Clock;
  readonly #record: ServingRecord;
  readonly #runner: HandoverRunner;
  readonly #deadlineMs: Millis;
  readonly #onAlarm: (text: string | undefined) => void;
  readonly #isMarked: MarkCheck;
  #lookedMs: Millis | undefined;

  constructor(options: {
    clock: Clock;
    record: ServingRecord;
    runner: HandoverRunner;
    deadlineMs: Millis;
    /** What is wrong with the record; undefined when it can be read and says what it should. */
    onAlarm: (text: string | undefined) => void;
    /** Looks whether the AE at the serving CSE says that it serves: a release that arrived late marks it as moved. */
    isMarked: MarkCheck;
  }) {
    this.#clock = options.clock;
    this.#record = options.record;
    this.#runner = options.runner;
    this.#deadlineMs = options.deadlineMs;
    this.#onAlarm = options.onAlarm;
    this.#isMarked = options.isMarked;
  }

  /** Looks every `periodMs` until `signal` aborts. */
  async run(periodMs: Millis, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(this.#clock, periodMs, signal).catch(() => undefined);
      if (!signal.aborted) await this.look(signal);
    }
  }

  /** Looks now, unless it was done a moment ago or a transaction is under way: its claim tells the same. */
  async look(signal: AbortSignal): Promise<void> {
    const { state } = this.#runner;
    const nowMs = this.#clock.monotonicMs();
    const isRecent = this.#lookedMs !== undefined && nowMs - this.#lookedMs < spacingMs;
    if (isRecent || state.kind !== 'serving') return;
    this.#lookedMs = nowMs;
    const { serving, strays = [] } = state;
    const limits = { deadlineMs: this.#deadlineMs, signal };
    await this.#isMarked(serving, limits);
    const ours = [this.#runner.nonce, ...strays];
    const view = await this.#record.look(serving.epoch, ours, limits);
    if (!view.ok) {
      // An IN-CSE out of reach is no news; a record that is gone is.
      if (view.error.kind === 'rejected' || view.error.kind === 'malformed') {
        this.#onAlarm(`the serving record cannot be read: ${view.error.message}`);
      }
      return;
    }
    this.#onAlarm(undefined);
    // What has changed meanwhile is judged by another look.
    if (view.value.kind !== 'current' && this.#runner.state === state) {
      await this.#runner.takeRecord(view.value);
    }
  }
}
