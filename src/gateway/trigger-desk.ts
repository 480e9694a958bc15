/**
 * Where triggers (trigger.ts) are taken, judged (trigger-arbitration.ts), carried out and answered.
 *
 * A trigger is durable before its instance is deleted, and the same id is never taken twice: the newest 512 are known. Every
 * answer is durable too and is written into `<device>-home/events` as soon as the IN-CSE can be reached, under a name that
 * follows from id and state, so that a repeated one is the same. A trigger that was under way when the process died is judged
 * by what came of it: completed if its target serves, failed if not.
 *
 * At most 16 are open and eight are taken at once, one more each 15 s; what is beyond is refused.
 */
import { DecodeError, errorText } from '../base/errors.ts';
import { millis, unixMillis } from '../base/units.ts';
import type { CseId } from '../base/units.ts';
import type { HeldInstance, Taken } from '../downlink/command.ts';
import { fieldsOf } from '../downlink/command.ts';
import { arbitrate } from '../downlink/trigger-arbitration.ts';
import type { ArbitrationView, OpenTrigger, Verdict } from '../downlink/trigger-arbitration.ts';
import { keptTrigger, readTrigger, triggerIdIn } from '../downlink/trigger.ts';
import type { Trigger, TriggerOrigin, TriggerState } from '../downlink/trigger.ts';
import { every } from '../host/clock.ts';
import type { CancelTimer, Clock } from '../host/clock.ts';
import { isRejectedWith } from '../onem2m/cse-client.ts';
import type { CseClient } from '../onem2m/cse-client.ts';
import { ResourceType, ResponseStatusCode, ResultContent } from '../onem2m/enums.ts';

/** What is to be told to whoever gave a trigger. */
interface TriggerEvent {
  readonly id: string;
  readonly kind: string;
  readonly state: TriggerState;
  readonly reason?: string;
  readonly target?: string;
  readonly serving?: string;
  readonly epoch?: number;
  readonly t: number;
}

interface Held extends OpenTrigger {
  /** Being carried out; towards this CSE if it is a move. */
  readonly started?: { readonly target?: string };
  readonly isDeferredTold?: true;
}

/** What is remembered of triggers. */
export interface TriggerMemory {
  readonly open: readonly Held[];
  /** Ids that were taken, the oldest first. */
  readonly known: readonly string[];
  readonly events: readonly TriggerEvent[];
  readonly nextNumber: number;
}

/** Durable memory of triggers; a `DurableState` is one. */
export interface TriggerStore {
  load(): Promise<TriggerMemory | undefined>;
  save(memory: TriggerMemory): Promise<void>;
}

/** What a desk works with. */
export interface TriggerDeskOptions {
  readonly clock: Clock;
  readonly store: TriggerStore;
  /** Acts as the home AE at the IN-CSE. */
  readonly client: CseClient;
  /** Address of the container of answers there. */
  readonly eventsAddress: string;
  readonly view: () => Omit<ArbitrationView, 'nowMs'> & { readonly epoch: number | undefined };
  /** Begins a handover; false when that is not possible now. */
  readonly move: (target: CseId, origin: TriggerOrigin) => Promise<boolean>;
  /** Registers anew, or updates the registration, at the serving CSE; a reason when it fails. */
  readonly register: (kind: 'reRegister' | 'update') => Promise<string | undefined>;
  readonly log: (level: 'info' | 'warn', text: string) => void;
}

const openMax = 16;
const knownMax = 512;
const eventsMax = 64;
const takenMax = 8;
const takenMs = 15_000;
const lookMs = millis(500);

/** Takes, judges and answers triggers; see the header of this file. */
export class TriggerDesk {
  readonly #options: TriggerDeskOptions;
  #memory: TriggerMemory = { open: [], known: [], events: [], nextNumber: 1 };
  #budget = { count: takenMax, atMs: 0 };
  #isStepping = false;
  #isTelling = false;
  #isWorking = false;
  #nextTellMs = 0;

  constructor(options: TriggerDeskOptions) {
    this.#options = options;
  }

  get open(): readonly Trigger[] {
    return this.#memory.open.map(({ trigger }) => trigger);
  }

  /** Takes up what the last run left; what was under way is over by now. */
  async load(): Promise<void> {
    this.#memory = (await this.#options.store.load()) ?? this.#memory;
  }

  /** Judges and answers until `signal` aborts. */
  run(signal: AbortSignal): Promise<void> {
    const cancel: CancelTimer = every(this.#options.clock, lookMs, () => this.step());
    return new Promise((resolve) => {
      const end = (): void => {
        cancel();
        resolve();
      };
      if (signal.aborted) end();
      else signal.addEventListener('abort', end, { once: true });
    });
  }

  /** Takes the trigger in an instance; rejects when it cannot be made durable. */
  async take(instance: HeldInstance, origin: TriggerOrigin): Promise<Taken> {
    const id = triggerIdIn(instance.content);
    if (id === undefined) {
      this.#options.log(
        'warn',
        `a trigger without an id that can be used, from ${instance.cseId ?? 'nowhere'}`,
      );
      return 'rejected';
    }
    if (this.#memory.known.includes(id)) return 'known';
    const read = readTrigger(instance.content, origin, this.#options.clock.unixMs());
    const kind = String(fieldsOf(instance.content)?.kind);
    const refusal = read.ok ? this.#whyFull() : read.error;
    const { known, nextNumber } = this.#memory;
    const next = { known: [...known, id].slice(-knownMax), nextNumber: nextNumber + 1 };
    if (!read.ok || refusal !== undefined) {
      await this.#keep({ ...next }, [this.#event({ id, kind: kind.slice(0, 16) }, 'refused', refusal)]);
      return 'rejected';
    }
    const held: Held = { trigger: read.value, number: nextNumber };
    await this.#keep({ ...next, open: [...this.#memory.open, held] }, [this.#event(read.value, 'accepted')]);
    this.step();
    return 'taken';
  }

  /** Judges what is open; for a caller to do whenever something has changed. */
  step(): void {
    void this.#tell();
    if (this.#isStepping || this.#memory.open.length === 0) return;
    this.#isStepping = true;
    void this.#step()
      .catch((error: unknown) => this.#options.log('warn', `triggers wait: ${errorText(error)}`))
      .finally(() => (this.#isStepping = false));
  }

  /** A handover is over; the trigger that began it is answered. */
  async takeOutcome(target: string, outcome: 'completed' | 'failed', reason?: string): Promise<void> {
    const over = this.#memory.open.filter(
      ({ trigger, started }) =>
        trigger.kind === 'move' &&
        (started?.target === target || (outcome === 'completed' && trigger.target === target)),
    );
    if (over.length === 0) return;
    await this.#end(over.map(({ trigger }) => [trigger, outcome, reason] as const)).catch((error: unknown) =>
      this.#options.log('warn', `the outcome of a trigger cannot be kept: ${errorText(error)}`),
    );
  }

  async #step(): Promise<void> {
    const { clock } = this.#options;
    const { epoch: _, ...view } = this.#options.view();
    await this.#settleStarted(view);
    const waiting = this.#memory.open.filter(({ started }) => started === undefined);
    const isBusy = view.isBusy || this.#isWorking;
    const verdicts = arbitrate(waiting, { ...view, isBusy, nowMs: clock.unixMs() });
    const ended: [Trigger, TriggerState, string][] = [];
    for (const verdict of verdicts) {
      const held = waiting.find(({ trigger }) => trigger.id === verdict.id);
      if (held === undefined) continue;
      if (verdict.kind === 'start') await this.#start(held, verdict);
      else if (verdict.kind === 'deferred') await this.#defer(held, verdict.reason);
      else ended.push([held.trigger, verdict.kind, verdict.reason]);
    }
    if (ended.length > 0) await this.#end(ended);
  }

  /** What was begun by a run that is no more, or by a handover whose end was missed. */
  async #settleStarted({ isBusy, serving }: Pick<ArbitrationView, 'isBusy' | 'serving'>): Promise<void> {
    if (isBusy || this.#isWorking) return;
    const over = this.#memory.open.filter(({ started }) => started !== undefined);
    if (over.length === 0) return;
    await this.#end(
      over.map(({ trigger, started }) => {
        const isThere = trigger.kind === 'move' && started?.target === serving;
        return [
          trigger,
          isThere ? 'completed' : 'failed',
          isThere ? undefined : 'it was broken off',
        ] as const;
      }),
    );
  }

  async #start(held: Held, { target }: Extract<Verdict, { kind: 'start' }>): Promise<void> {
    const { trigger } = held;
    const started = target === undefined ? {} : { target };
    await this.#keep({ open: this.#replaced(held, { ...held, started }) });
    this.#isWorking = true;
    try {
      if (trigger.kind === 'move') {
        const isBegun = await this.#options.move(target as CseId, trigger.origin);
        // Something else was faster; it is judged anew.
        if (!isBegun) await this.#keep({ open: this.#replaced({ ...held, started }, held) });
        return;
      }
      const reason = await this.#options.register(trigger.kind);
      await this.#end([[trigger, reason === undefined ? 'completed' : 'failed', reason]]);
    } finally {
      this.#isWorking = false;
    }
  }

  async #defer(held: Held, reason: string): Promise<void> {
    if (held.isDeferredTold) return;
    const told: Held = { ...held, isDeferredTold: true };
    await this.#keep({ open: this.#replaced(held, told) }, [this.#event(held.trigger, 'deferred', reason)]);
  }

  async #end(ended: readonly (readonly [Trigger, TriggerState, string | undefined])[]): Promise<void> {
    const ids = new Set(ended.map(([{ id }]) => id));
    const events = ended.map(([trigger, state, reason]) => this.#event(trigger, state, reason));
    await this.#keep({ open: this.#memory.open.filter(({ trigger }) => !ids.has(trigger.id)) }, events);
  }

  #replaced(held: Held, other: Held): readonly Held[] {
    return this.#memory.open.map((each) => (each.trigger.id === held.trigger.id ? other : each));
  }

  #whyFull(): string | undefined {
    const nowMs = this.#options.clock.monotonicMs();
    const { count, atMs } = this.#budget;
    const restored = Math.min(takenMax, count + (nowMs - atMs) / takenMs);
    if (this.#memory.open.length >= openMax) return `${openMax} triggers are open already`;
    if (restored < 1) return `more than ${takenMax} at once, and then one each ${takenMs} ms, are not taken`;
    this.#budget = { count: restored - 1, atMs: nowMs };
    return undefined;
  }

  #event(
    { id, kind, target }: { readonly id: string; readonly kind: string; readonly target?: string },
    state: TriggerState,
    reason?: string,
  ): TriggerEvent {
    const { serving, epoch } = this.#options.view();
    this.#options.log(
      'info',
      `trigger ${id} (${kind}) is ${state}${reason === undefined ? '' : `: ${reason}`}`,
    );
    return {
      ...{ id, kind, state },
      ...(reason === undefined ? {} : { reason }),
      ...(target === undefined ? {} : { target }),
      ...(serving === undefined ? {} : { serving }),
      ...(epoch === undefined ? {} : { epoch }),
      t: this.#options.clock.unixMs(),
    };
  }

  /** Durable before anything follows from it. */
  async #keep(change: Partial<TriggerMemory>, events: readonly TriggerEvent[] = []): Promise<void> {
    const former = this.#memory;
    const memory = { ...former, ...change, events: [...former.events, ...events].slice(-eventsMax) };
    this.#memory = memory;
    try {
      await this.#options.store.save(memory);
    } catch (error) {
      if (this.#memory === memory) this.#memory = former;
      throw error;
    }
    void this.#tell();
  }

  /** Writes the answers that are owed, in their order. */
  async #tell(): Promise<void> {
    const { clock, client, eventsAddress } = this.#options;
    if (this.#isTelling || clock.monotonicMs() < this.#nextTellMs) return;
    this.#isTelling = true;
    for (let [event] = this.#memory.events; event !== undefined; [event] = this.#memory.events) {
      const { id, state } = event;
      const written = await client.create(
        eventsAddress,
        ResourceType.contentInstance,
        { contentInstance: { resourceName: `${id}-${state}`, content: { ...event } } },
        { resultContent: ResultContent.nothing },
      );
      const isRefused =
        !written.ok && written.error.kind === 'rejected' && written.error.responseStatusCode < 5000;
      if (!written.ok && !isRefused) break;
      if (!written.ok && !isRejectedWith(written.error, ResponseStatusCode.conflict)) {
        this.#options.log('warn', `the answer to trigger ${id} is refused: ${written.error.message}`);
      }
      const told = event;
      this.#memory = { ...this.#memory, events: this.#memory.events.filter((each) => each !== told) };
      await this.#options.store.save(this.#memory).catch(() => undefined);
    }
    // Out of reach, the IN-CSE is not asked with every look.
    if (this.#memory.events.length > 0) this.#nextTellMs = clock.monotonicMs() + 5000;
    this.#isTelling = false;
  }
}

/** The memory from what was stored; throws `DecodeError` when it is none. */
export function decodeTriggerMemory(value: unknown): TriggerMemory {
  const { open, known, events, nextNumber } = fieldsOf(value) ?? {};
  if (
    !Array.isArray(open) ||
    !Array.isArray(known) ||
    !Array.isArray(events) ||
    typeof nextNumber !== 'number'
  ) {
    throw new DecodeError('the memory of triggers is no such');
  }
  const isEvent = (event: unknown): event is TriggerEvent => {
    const { id, state, t } = fieldsOf(event) ?? {};
    return typeof id === 'string' && typeof state === 'string' && typeof t === 'number';
  };
  return {
    open: open.flatMap((each: unknown): Held[] => {
      const { trigger, number, started, isDeferredTold } = fieldsOf(each) ?? {};
      const kept = keptTrigger(trigger);
      if (kept === undefined || typeof number !== 'number') return [];
      const target = fieldsOf(started)?.target;
      const begun =
        fieldsOf(started) === undefined ? undefined : typeof target === 'string' ? { target } : {};
      return [
        {
          trigger: { ...kept, deadlineMs: unixMillis(kept.deadlineMs) },
          number,
          ...(begun === undefined ? {} : { started: begun }),
          ...(isDeferredTold === true ? { isDeferredTold } : {}),
        },
      ];
    }),
    known: known.filter((id): id is string => typeof id === 'string'),
    events: events.filter(isEvent),
    nextNumber,
  };
}
