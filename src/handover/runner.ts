import { errorText } from '../base/errors.ts';
import { createSharedAbort } from '../base/linked-abort.ts';
import { epoch as toEpoch, millis } from '../base/units.ts';
import type { Epoch, Millis } from '../base/units.ts';
import type { CancelTimer, Clock } from '../host/clock.ts';
import { randomHex } from '../host/entropy.ts';
import type { Entropy } from '../host/entropy.ts';
import { transactionOf } from './handover-state.ts';
import { transition } from './transition.ts';
import type { CseReference, HandoverState, HandoverTrigger, Transaction } from './handover-state.ts';
import type { HandoverEffect, HandoverInput, HandoverWork, TransitionSettings } from './handover-input.ts';

/** What a piece of handover work came to; `refused`, `lost` and `displaced` are answers to a claim. */
export type WorkOutcome =
  | {
      readonly kind: 'succeeded';
      readonly firstSeqs?: Readonly<Record<string, number>>;
      readonly inDoubt?: Readonly<Record<string, number>>;
    }
  | { readonly kind: 'failed'; readonly reason: string }
  | { readonly kind: 'refused'; readonly reason: string }
  | { readonly kind: 'lost'; readonly reason: string }
  /** The epoch is held by a claim of ours that was given up. */
  | { readonly kind: 'displaced' };

/** The world the transaction acts on. Every piece of work can be repeated, and stops when its signal aborts. */
export type HandoverWorker = {
  readonly [Work in HandoverWork]: (transaction: Transaction, context: WorkContext) => Promise<WorkOutcome>;
};

/** Limits of one piece of work. */
export interface WorkContext {
  readonly deadlineMs: Millis;
  readonly signal: AbortSignal;
}

/** Durable memory of the transaction: what `save` has returned is found by the next run. */
export interface HandoverJournal {
  load(): Promise<HandoverState | undefined>;
  save(state: HandoverState): Promise<void>;
}

/** Time spent in a state. */
export interface PhaseTime {
  readonly phase: HandoverState['kind'];
  readonly ms: Millis;
}

/** How far a transaction has come. */
export interface HandoverProgress {
  readonly startedMs: Millis;
  readonly enteredMs: Millis;
  readonly phases: readonly PhaseTime[];
}

/** How a transaction went, with the time spent in each state. */
export interface HandoverRecord {
  readonly epoch: Epoch;
  readonly trigger: HandoverTrigger;
  readonly source?: CseReference;
  readonly target: CseReference;
  readonly outcome: 'completed' | 'rolledBack' | 'fenced';
  readonly reason?: string;
  /** Monotonic time at which it began. */
  readonly startedMs: Millis;
  /** Time spent in each state that was passed, in their order. */
  readonly phases: readonly PhaseTime[];
}

/** What the runner tells the rest of the gateway. */
export interface HandoverObserver {
  /** A state was entered and is durable. */
  onState(state: HandoverState): void;
  onEnded(record: HandoverRecord): void;
  onOrphan(cse: CseReference, epoch: Epoch): void;
  /** What is wrong; undefined when the journal, which was, can be written again while nothing is under way. */
  onAlarm(text: string | undefined): void;
}

/**
 * Runs the handover transaction: makes each state durable, runs its effects, feeds their outcomes back. One transaction
 * at a time; a journal that cannot be written holds the transaction where it is until it can be, because going on would
 * let others see what a restart would not know of (I9).
 */
export class HandoverRunner {
  readonly #clock: Clock;
  /** Of this process; see transition.ts. */
  readonly #nonce: string;
  readonly #settings: TransitionSettings;
  readonly #journal: HandoverJournal;
  readonly #worker: HandoverWorker;
  readonly #observer: HandoverObserver;
  #state: HandoverState = { kind: 'detached', lastEpoch: toEpoch(0) };
  #queue: Promise<boolean> = Promise.resolve(false);
  #run = 0;
  #abort = createSharedAbort();
  #cancelTimers: CancelTimer = () => undefined;
  #startedMs: Millis = millis(0);
  #enteredMs: Millis = millis(0);
  #phases: PhaseTime[] = [];
  #stopped = false;

  constructor(options: {
    clock: Clock;
    entropy: Entropy;
    settings: TransitionSettings;
    journal: HandoverJournal;
    worker: HandoverWorker;
    observer: HandoverObserver;
  }) {
    this.#clock = options.clock;
    this.#nonce = randomHex(options.entropy, 8);
    this.#settings = options.settings;
    this.#journal = options.journal;
    this.#worker = options.worker;
    this.#observer = options.observer;
  }

  get state(): HandoverState {
    return this.#state;
  }

  /** When the transaction, or the idle state, and its present state began, and the states passed before. */
  get progress(): HandoverProgress {
    return { startedMs: this.#startedMs, enteredMs: this.#enteredMs, phases: this.#phases };
  }

  /** True while a transaction is under way that no other may take over from. */
  get isBusy(): boolean {
    return transactionOf(this.#state) !== undefined && this.#state.kind !== 'provisional';
  }

  /** Tells the claims of this process from those of any other. */
  get nonce(): string {
    return this.#nonce;
  }

  /** Takes the state of the last run from the journal; nothing is done about it before `resume`. */
  async load(): Promise<HandoverState> {
    this.#state = (await this.#journal.load()) ?? this.#state;
    this.#startedMs = this.#enteredMs = this.#clock.monotonicMs();
    this.#observer.onState(this.#state);
    return this.#state;
  }

  /** Takes up what the last run left, under an epoch of its own; see transition.ts. */
  async resume(): Promise<void> {
    await this.#feed({ kind: 'restarted', nonce: this.#nonce });
  }

  /** Begins a handover; false when one is under way, the gateway is fenced, or the target already serves. */
  async begin(request: {
    trigger: HandoverTrigger;
    target: CseReference;
    alternatives: readonly CseReference[];
    knownEpoch: Epoch;
    /** The target was prepared and verified ahead. */
    isWarm?: boolean;
  }): Promise<boolean> {
    if (this.isBusy || this.#stopped) return false;
    const { isWarm = false, ...rest } = request;
    return this.#feed({ kind: 'begin', ...rest, nonce: this.#nonce, ...(isWarm ? { isWarm } : {}) });
  }

  /** What a look at the serving record showed; true when it means something now. */
  takeRecord(
    seen: { kind: 'displaced'; epoch: Epoch } | { kind: 'overtaken'; reason: string },
  ): Promise<boolean> {
    return this.#feed(seen.kind === 'displaced' ? { ...seen, nonce: this.#nonce } : seen);
  }

  /** Lets a fenced gateway begin anew; false when it is not fenced. */
  rearm(): Promise<boolean> {
    return this.#feed({ kind: 'rearm' });
  }

  /** Stops running effects; the journal keeps the state for the next run. */
  stop(): void {
    this.#stopped = true;
    this.#abort.abort();
    this.#cancelTimers();
  }

  /** `state` is the one that the input is about, any if undefined. */
  #feed(input: HandoverInput, state?: HandoverState): Promise<boolean> {
    this.#queue = this.#queue
      .then(() => (state === undefined || state === this.#state) && this.#apply(input))
      .catch((error: unknown) => {
        this.#observer.onAlarm(`handover: ${input.kind} was not taken in: ${errorText(error)}`);
        return false;
      });
    return this.#queue;
  }

  /** True when the input led to another state. */
  async #apply(input: HandoverInput): Promise<boolean> {
    if (this.#stopped) return false;
    const before = this.#state;
    const { state, effects } = transition(this.#settings, before, input);
    if (state !== before) {
      try {
        await this.#journal.save(state);
      } catch (error) {
        this.#standStill(input, error);
        return false;
      }
      if (this.#isStopped()) return false;
      this.#enter(state, before);
    }
    for (const effect of effects) this.#perform(effect);
    return state !== before;
  }

  /** What a work came to, or the record told, is taken in when the disk allows; an order is forgotten: nothing came of it. */
  #standStill(input: HandoverInput, cause: unknown): void {
    const state = this.#state;
    const text = `handover stands still in ${state.kind}: its journal cannot be written: ${errorText(cause)}`;
    this.#observer.onAlarm(text);
    const isOrder = input.kind === 'begin' || input.kind === 'rearm';
    // The claim that goes on meanwhile tells of itself.
    if (this.#isStopped() || (isOrder && state.kind === 'provisional')) return;
    this.#cancelTimers = this.#clock.schedule(this.#settings.repeatMs, () => {
      if (isOrder) this.#tryJournal(input, state);
      else void this.#feed(input, state);
    });
  }

  /** Writes the state once more, so that the alarm ends with its cause. */
  #tryJournal(input: HandoverInput, state: HandoverState): void {
    this.#queue = this.#queue.then(async () => {
      if (this.#isStopped() || state !== this.#state) return false;
      await this.#journal.save(state).then(
        () => this.#observer.onAlarm(undefined),
        (error: unknown) => this.#standStill(input, error),
      );
      return false;
    });
  }

  #isStopped(): boolean {
    return this.#stopped;
  }

  #enter(state: HandoverState, before: HandoverState): void {
    const nowMs = this.#clock.monotonicMs();
    if (transactionOf(before) === undefined) {
      this.#startedMs = nowMs;
      this.#phases = [];
    } else {
      this.#phases.push({ phase: before.kind, ms: millis(nowMs - this.#enteredMs) });
    }
    this.#enteredMs = nowMs;
    this.#state = state;
    this.#observer.onState(state);
  }

  #perform(effect: HandoverEffect): void {
    switch (effect.kind) {
      case 'run':
        this.#start(effect);
        return;
      case 'noteOrphan':
        this.#observer.onOrphan(effect.cse, effect.epoch);
        return;
      case 'alarm':
        this.#observer.onAlarm(effect.text);
        return;
      case 'ended':
        this.#report(effect);
    }
  }

  #start(effect: Extract<HandoverEffect, { kind: 'run' }>): void {
    this.#abort.abort();
    this.#cancelTimers();
    const abort = createSharedAbort();
    this.#abort = abort;
    const run = ++this.#run;
    const finish = (outcome: WorkOutcome | { readonly kind: 'deadline' }): void => {
      if (run !== this.#run) return; // the outcome of work that was given up
      this.#run += 1;
      this.#cancelTimers();
      const { epoch } = effect.transaction;
      void this.#feed(outcome.kind === 'displaced' ? { ...outcome, epoch, nonce: this.#nonce } : outcome);
    };
    const work = (): void => {
      // The switch bounds itself by its deadline; the guard behind it is for a defect, not for a slow network.
      const guardMs = millis(
        effect.work === 'switch' ? effect.deadlineMs + this.#settings.phaseDeadlineMs : effect.deadlineMs,
      );
      this.#cancelTimers = this.#clock.schedule(guardMs, () => {
        abort.abort();
        finish({ kind: 'deadline' });
      });
      const context = { deadlineMs: effect.deadlineMs, signal: abort.signal };
      this.#worker[effect.work](effect.transaction, context).then(finish, (error: unknown) => {
        finish({ kind: 'failed', reason: errorText(error) });
      });
    };
    if (effect.delayMs > 0) this.#cancelTimers = this.#clock.schedule(effect.delayMs, work);
    else work();
  }

  #report(effect: Extract<HandoverEffect, { kind: 'ended' }>): void {
    const { transaction, outcome, reason } = effect;
    this.#observer.onEnded({
      epoch: transaction.epoch,
      trigger: transaction.trigger,
      ...(transaction.source === undefined ? {} : { source: transaction.source.cse }),
      target: transaction.target,
      outcome,
      ...(reason === undefined ? {} : { reason }),
      startedMs: this.#startedMs,
      phases: this.#phases,
    });
    this.#phases = [];
    this.#startedMs = this.#clock.monotonicMs();
  }
}
