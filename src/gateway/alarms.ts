import type { Millis } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import type { AlarmStatus } from './status.ts';

const alarmsMax = 32;

/** Conditions a person should know of, by a key that says what they are about; bounded, the oldest go. */
export class Alarms {
  readonly #clock: Clock;
  readonly #originMs: Millis;
  readonly #onChange: (text: string, active: boolean) => void;
  readonly #active = new Map<string, AlarmStatus>();

  constructor(clock: Clock, originMs: Millis, onChange: (text: string, active: boolean) => void) {
    this.#clock = clock;
    this.#originMs = originMs;
    this.#onChange = onChange;
  }

  /**
   * Raises the alarm `key`; raising it again changes its text and keeps its beginning. A text that differs by its times only
   * is shown, but told to nobody: it would fill the log with one line for each try.
   */
  raise(key: string, text: string): void {
    const before = this.#active.get(key);
    if (before?.text === text) return;
    const sinceMs = before?.sinceMs ?? this.#clock.monotonicMs() - this.#originMs;
    this.#active.set(key, { sinceMs, text });
    for (const oldest of this.#active.keys()) {
      if (this.#active.size <= alarmsMax) break;
      this.#active.delete(oldest);
    }
    if (before === undefined || withoutTimes(before.text) !== withoutTimes(text)) this.#onChange(text, true);
  }

  /** Raises the alarm `key` with `text`, or clears it when there is none. */
  set(key: string, text: string | undefined): void {
    if (text === undefined) this.clear(key);
    else this.raise(key, text);
  }

  clear(key: string): void {
    const alarm = this.#active.get(key);
    if (alarm === undefined) return;
    this.#active.delete(key);
    this.#onChange(alarm.text, false);
  }

  list(): AlarmStatus[] {
    return [...this.#active.values()];
  }
}

/** What a text says of the thing; how long was waited, and will be, differs from try to try. */
function withoutTimes(text: string): string {
  return text.replace(/(?:; tried again in)? ?\d+ ms/gu, '');
}
