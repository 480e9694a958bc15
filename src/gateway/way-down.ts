import { errorText } from '../base/errors.ts';
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import type { CseReference } from '../handover/handover-state.ts';
import type { Clock } from '../host/clock.ts';
import { CapabilityMemory, decodeCapabilityMemory, encodeCapabilityMemory } from '../onem2m/capabilities.ts';
import type { CapabilityName } from '../onem2m/capability-names.ts';
import type { ResponsePrimitive } from '../onem2m/primitives.ts';
import { productOf } from '../onem2m/quirks.ts';

/** What is remembered of CSEs from run to run; a `DurableState` is one. */
export interface CapabilityStore {
  load(): Promise<unknown>;
  save(value: unknown): Promise<void>;
}

/** Commands are fetched from a CSE. */
export interface Polling {
  readonly everyMs: Millis;
  /** It was ordered, or the CSE was found not to notify; else it is only what is known of the product. */
  readonly isSure: boolean;
  /** The configuration says so, for all CSEs. */
  readonly isOrdered: boolean;
}

const defaultPollMs = millis(2_000);

/**
 * How commands come down from each CSE: as notifications, or fetched where a CSE is known not to notify over the binding it
 * is spoken to by. `downlink.pollMs` of the configuration goes before everything. Without it the product of a CSE is told
 * from its answers, and what the echoes of verified targets show goes before what is known of the product.
 */
export class WayDown {
  readonly #clock: Clock;
  readonly #pollMs: Millis | undefined;
  readonly #store: CapabilityStore | undefined;
  readonly #onFailure: (text: string) => void;
  #memory = new CapabilityMemory();

  constructor(options: {
    clock: Clock;
    pollMs: Millis | undefined;
    store: CapabilityStore | undefined;
    onFailure: (text: string) => void;
  }) {
    this.#clock = options.clock;
    this.#pollMs = options.pollMs;
    this.#store = options.store;
    this.#onFailure = options.onFailure;
  }

  /** Takes up what the last run knew; what cannot be read is found out again. */
  async open(): Promise<void> {
    try {
      const kept = await this.#store?.load();
      if (kept !== undefined) this.#memory = decodeCapabilityMemory(kept);
    } catch (error) {
      this.#onFailure(`what was known of CSEs is lost: ${errorText(error)}`);
    }
  }

  /** How commands are fetched from a CSE; undefined where it notifies. */
  pollingOf(cse: CseReference): Polling | undefined {
    if (this.#pollMs !== undefined) return { everyMs: this.#pollMs, isSure: true, isOrdered: true };
    const { value, how } = this.#memory.effective(cse.cseId, this.#clock.unixMs())[capabilityOf(cse)];
    return value === 'no' ? { everyMs: defaultPollMs, isSure: how !== 'quirk', isOrdered: false } : undefined;
  }

  /** Tells the product of a CSE from one of its answers. */
  noteAnswer({ cseId }: CseReference, { originatingTimestamp }: ResponsePrimitive): void {
    if (originatingTimestamp === undefined) return;
    const product = productOf({ hasReleaseThreeOptions: true, originatingTimestamp });
    const known = this.#memory.of(cseId)?.identity.product;
    if (product === 'unknown' || product === known) return;
    this.#keep(
      this.#memory.with({ identity: { cseId, supportedReleaseVersions: [], product }, findings: {} }),
    );
  }

  /** Whether a notification that had to come did come. */
  noteEcho(cse: CseReference, hasCome: boolean): void {
    const name = capabilityOf(cse);
    const foundMs = this.#clock.unixMs();
    const before = this.#memory.effective(cse.cseId, foundMs)[name];
    const value = hasCome ? 'yes' : 'no';
    if (before.value === value && before.how !== 'quirk') return;
    const detail = hasCome ? 'the echo of a verified target came' : 'the echo could only be fetched';
    this.#keep(this.#memory.learnt(cse.cseId, name, { value, how: 'use', detail, foundMs }));
  }

  #keep(memory: CapabilityMemory): void {
    this.#memory = memory;
    this.#store?.save(encodeCapabilityMemory(memory)).catch((error: unknown) => {
      this.#onFailure(`what is known of CSEs cannot be kept: ${errorText(error)}`);
    });
  }
}

function capabilityOf({ pointOfAccess }: CseReference): CapabilityName {
  return pointOfAccess.startsWith('mqtt') ? 'notificationsOverMqtt' : 'notificationsOverCoap';
}
